"""Checkpoints: named arrays and plain values in one file, whole or not at all.

A ``.npz`` file is a zip archive with one ``.npy`` member per array, which ``numpy.load`` reads
too, and a member ``tree`` that says, as JSON, which array belongs where. A ``.safetensors`` file
holds the same, with the tree in its metadata. Nothing is ever pickled, so that loading a file
runs none of its bytes; and nothing that a file claims about itself is believed unchecked.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tinygrad_opt.errors import CheckpointError

__all__ = ["load", "save"]

TREE = "tree"                                   # the member that holds the tree
MARK = "tinygrad_opt"                           # and its place in safetensors metadata
VERSION = 1

Array = np.ndarray


def save(
    path: str | os.PathLike[str], model: Any = None, optimizer: Any = None, **more: Any
) -> Path:
    """Write a model, an optimizer and whatever else is to be kept.

    The file appears under its name when it is complete and on the disk; until then a file that
    was there before stays as it was, even if the power fails.

    Parameters
    ----------
    path : str or path
        Taken as it is; ``.safetensors`` at its end chooses that format, anything else is npz.
    model, optimizer : object with ``state_dict()``, or dict
        Kept under the names ``"model"`` and ``"optimizer"``; with a model that draws random
        numbers, as dropout does, the states of its generators as ``"random"``; with a
        `nn.Module`, what it is made of as ``"architecture"``, of which `nn.rebuild` makes it.
    **more
        Kept under their names: arrays and Tensors, numbers, strings, booleans and None,
        whatever has ``state_dict()``, and dicts (whose keys are any strings), lists and tuples
        of them.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If a value is of another kind (named by its place), or the file cannot be written.
        Nothing is left behind.

    Notes
    -----
    Arrays keep their dtype and their bits. Of the model's arrays those in a ``.safetensors``
    file bear their bare names, as other libraries expect.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(folder + "/run.npz", {"w": np.arange(3.0)}, epoch=7)
    ...     saved = load(path)
    >>> saved["epoch"], saved["model"]["w"]
    (7, array([0., 1., 2.]))
    """
    path = Path(path)
    states = {name: g.bit_generator.state for name, g in _generators(model).items()}
    parts = {"model": model, "optimizer": optimizer, "random": states or None,
             "architecture": model.architecture() if hasattr(model, "architecture") else None}
    own = {key: part for key, part in parts.items() if part is not None}
    taken = sorted(own.keys() & more.keys())
    if taken:
        raise CheckpointError(f"cannot save {path}: the name {taken[0]!r} is taken, by what is kept"
                              " of the model")
    content = own | more
    write, name = _write_npz, _npz_name
    if _is_safetensors(path):
        write, name = _write_safetensors, _safetensors_name
    arrays: dict[str, Array] = {}
    with _blaming(path, "cannot save"):
        tree = _pack(content, (), arrays, name)
        text = json.dumps({"format": MARK, "version": VERSION, "tree": tree})
        with _replacing(path) as file:
            write(file, text, arrays)
    return path


def load(
    path: str | os.PathLike[str], model: Any = None, optimizer: Any = None
) -> dict[str, Any]:
    """Read what `save` wrote, and give a model and an optimizer their states back.

    Parameters
    ----------
    path : str or path
        ``.safetensors`` at its end chooses that format, anything else is npz.
    model, optimizer : object with ``load_state_dict()``, optional
        Take over what was saved, both or neither; the model's random generators too.

    Returns
    -------
    dict
        ``"model"``, ``"optimizer"`` and the other names given to `save`. Arrays are new and
        writable. A file from elsewhere (``numpy.savez``, safetensors) gives ``{"model": arrays}``.

    Raises
    ------
    CheckpointError
        If the file is missing, cut short, damaged, or not what it claims to be: with the path
        and the reason. Sizes are checked against the file before memory is asked for.
        If the states do not fit the model or the optimizer; nothing is changed then.

    Examples
    --------
    To go on where a run was saved, as if it had never stopped::

        tg.load("run.npz", model, optimizer)
    """
    path = Path(path)
    with _blaming(path, "cannot load"):
        content = _read(path)
        _put_back(content, model, optimizer)
        return content


def _read(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        text, arrays = (_read_safetensors if _is_safetensors(path) else _read_npz)(file, size)
        if text is None:
            return {"model": arrays}
        header = json.loads(text)
        if not isinstance(header, dict) or header.get("format") != MARK:
            raise ValueError("its tree is not one of this package")
        if header.get("version") != VERSION:
            raise ValueError(f"its version is {header.get('version')!r}, not {VERSION}")
        content = _unpack(header.get("tree"), arrays)
        if not isinstance(content, dict):
            raise ValueError("its tree does not start with a dict")
        return content


def _generators(model: Any) -> dict[str, np.random.Generator]:
    """The random generators of a model that can name them."""
    return model.generators() if hasattr(model, "generators") else {}


def _put_back(content: dict[str, Any], model: Any, optimizer: Any) -> None:
    """Load the states into a model and an optimizer, all or none."""
    for name, target in (("model", model), ("optimizer", optimizer)):
        if target is not None and name not in content:
            raise ValueError(f"it holds no {name}, only {', '.join(content) or 'nothing'}")
    if model is None:
        if optimizer is not None:
            optimizer.load_state_dict(content["optimizer"])
        return
    generators, states = _generators(model), content.get("random", {})
    if states and states.keys() != generators.keys():
        raise ValueError(f"it holds the random generators {', '.join(states)}, the model has"
                         f" {', '.join(generators) or 'none'}")
    for name, state in states.items():
        type(generators[name].bit_generator)().state = state       # refuses what is none
    before = model.state_dict()
    model.load_state_dict(content["model"])
    if optimizer is not None:
        try:
            optimizer.load_state_dict(content["optimizer"])
        except BaseException:
            model.load_state_dict(before)
            raise
    for name, state in states.items():
        generators[name].bit_generator.state = state


def _is_safetensors(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


@contextmanager
def _blaming(path: Path, what: str) -> Iterator[None]:
    """Turn whatever goes wrong into one kind of error that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{what} {path}: no such file or folder") from error
    except OSError as error:
        raise CheckpointError(f"{what} {path}: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{what} {path}: it is no whole .npz file ({error})") from error
    except Exception as error:                             # zipfile alone raises half a dozen
        raise CheckpointError(f"{what} {path}: {error or type(error).__name__}") from error


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` at the end, if all went well."""
    target = os.path.realpath(path)                        # a link goes on pointing at the file
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    if os.name == "posix":                                 # the new name must last, too
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---- the tree ------------------------------------------------------------------------------------

# Each JSON object in the tree has one key, which says what it stands for, so that no dict of the
# user's can be mistaken for something else.


def _pack(value: Any, place: tuple[str, ...], arrays: dict[str, Array], name: Callable) -> Any:
    """The JSON form of a value; its arrays are put aside under names of their own."""
    if value is None or isinstance(value, bool | str) or type(value) in (int, float):
        return value
    if hasattr(value, "state_dict"):
        value = value.state_dict()
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{_where(place)} has a key that is no string: {key!r}")
        packed = {k: _pack(v, (*place, k), arrays, name) for k, v in value.items()}
        return {"dict": packed}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(v, (*place, str(i)), arrays, name) for i, v in enumerate(value)]}
    array = getattr(value, "array", value)                 # a Tensor's values
    if isinstance(array, np.generic):
        array = np.asarray(array)
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{_where(place)} is {type(value).__name__}: no array, Tensor, number, string, bool,"
            " None, dict, list or tuple, and without a state_dict()"
        )
    if array.dtype.kind in "OV":
        raise TypeError(f"{_where(place)} has dtype {array.dtype}, which only pickle could keep")
    chosen = name(place)
    if chosen is None or chosen in arrays:
        chosen = f"array {len(arrays)}"
        while chosen in arrays:
            chosen += "'"
    arrays[chosen] = array
    return {"array": chosen}


def _unpack(node: Any, arrays: dict[str, Array]) -> Any:
    """The value that a JSON form stands for."""
    if not isinstance(node, dict | list):
        return node
    if isinstance(node, list) or len(node) != 1:
        raise ValueError("its tree is damaged")
    (kind, inner), = node.items()
    if kind == "array" and isinstance(inner, str):
        if inner not in arrays:
            raise ValueError(f"the array {inner!r} is missing")
        return arrays[inner]
    if kind == "dict" and isinstance(inner, dict):
        return {k: _unpack(v, arrays) for k, v in inner.items()}
    if kind in ("list", "tuple") and isinstance(inner, list):
        items = [_unpack(v, arrays) for v in inner]
        return items if kind == "list" else tuple(items)
    raise ValueError("its tree is damaged")


def _where(place: tuple[str, ...]) -> str:
    return "".join(f"[{key!r}]" for key in place) or "this"


def _npz_name(place: tuple[str, ...]) -> str | None:
    """``model/layers.0.weight``; None where a zip archive would not keep it as it is.

    Archives cut names at a null byte, turn backslashes round on Windows, take no lone surrogates
    and count 65,535 bytes at most; numpy.load drops an ending ``.npy``.
    """
    name = "/".join(place)
    plain = re.fullmatch(r"[\w /.:+-]{1,200}", name, re.ASCII) and not name.endswith(".npy")
    return name if plain and name != TREE else None


def _safetensors_name(place: tuple[str, ...]) -> str | None:
    name = "/".join(place[1:] if place[0] == "model" else place)
    return None if name == "__metadata__" or not name.isprintable() else name


# ---- npz -----------------------------------------------------------------------------------------


def _write_npz(file: BinaryIO, text: str, arrays: dict[str, Array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        tree = np.frombuffer(text.encode("ascii"), np.uint8)
        for name, array in {TREE: tree, **arrays}.items():
            entry = zipfile.ZipInfo(name + ".npy")         # dated 1980: equal content, equal bytes
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _read_npz(file: BinaryIO, size: int) -> tuple[str | None, dict[str, Array]]:
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > size:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("it is compressed; np.savez writes files that can be read here")
            raise ValueError(f"its members claim more than the {size} bytes of the file")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds two arrays called {name!r}")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed; np.savez writes files that can be read here")
            try:
                arrays[name] = _read_npy(archive.read(entry))
            except (ValueError, SyntaxError) as error:
                raise ValueError(f"{name}: {error}") from error
    tree = arrays.pop(TREE, None)
    if tree is None:
        return None, arrays
    if tree.dtype != np.uint8 or tree.ndim != 1:
        return None, {TREE: tree, **arrays}
    return tree.tobytes().decode("ascii"), arrays


def _read_npy(content: bytes) -> Array:
    """One array from the bytes of a .npy file, whose header must fit what follows."""
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version} is not read here")
    read_header = {(1, 0): np.lib.format.read_array_header_1_0,
                   (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code when loaded")
    return _array(content[stream.tell():], dtype, shape, "F" if fortran else "C")


def _array(content: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Any = "C") -> Array:
    """A new array from its bytes; Python's integers cannot overflow in the check."""
    if any(n < 0 for n in shape):
        raise ValueError(f"it claims the shape {shape}")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != len(content):
        raise ValueError(f"its header claims {claimed} bytes of data, the file has {len(content)}")
    return np.ndarray(shape, dtype, content, order=order).copy("K")


# ---- safetensors ---------------------------------------------------------------------------------

# Eight bytes: the length of the header. The header: JSON, name → dtype, shape and where the data
# begin and end. Then the data, little-endian and row by row, without a gap or an overlap.
# https://huggingface.co/docs/safetensors

CODES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2",
         "U32": "<u4", "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
         "C64": "<c8"}
LONGEST_HEADER = 100_000_000


def _write_safetensors(file: BinaryIO, text: str, arrays: dict[str, Array]) -> None:
    codes = {np.dtype(kind): code for code, kind in CODES.items()}
    rows = []
    for name, array in arrays.items():
        code = codes.get(array.dtype.newbyteorder("<"))
        if code is None:
            raise ValueError(f"safetensors has no dtype {array.dtype} for {name!r}; use .npz")
        rows.append((-array.dtype.itemsize, name, code, array))
    rows.sort(key=lambda row: row[:2])                     # widest first, so that all are aligned
    header: dict[str, Any] = {"__metadata__": {MARK: text}}
    end = 0
    for _, name, code, array in rows:
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": code, "shape": array.shape, "data_offsets": [begin, end]}
    head = json.dumps(header, separators=(",", ":")).encode("ascii")
    head += b" " * (-len(head) % 8)
    file.write(struct.pack("<Q", len(head)) + head)
    for *_, code, array in rows:
        file.write(np.ascontiguousarray(array, CODES[code]).tobytes())


def _read_safetensors(file: BinaryIO, size: int) -> tuple[str | None, dict[str, Array]]:
    if size < 8:
        raise ValueError(f"it ends after {size} bytes")
    length = struct.unpack("<Q", file.read(8))[0]
    if length > min(size - 8, LONGEST_HEADER):
        raise ValueError(f"its header claims {length} bytes, the file has {size}")
    header = json.loads(file.read(length).decode(), object_pairs_hook=_no_repeats)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    found = {name: _slot(name, entry) for name, entry in header.items()}
    arrays, at = {}, 0
    for name, (dtype, shape, begin, end) in sorted(found.items(), key=lambda item: item[1][2:]):
        if begin != at or end < begin or end > size - 8 - length:
            raise ValueError(f"the data of {name!r} overlap, leave a gap or go beyond the end")
        arrays[name], at = _array(file.read(end - begin), dtype, shape), end
    if at != size - 8 - length:
        raise ValueError(f"{size - 8 - length - at} bytes at its end belong to no array")
    text = metadata.get(MARK) if isinstance(metadata, dict) else None
    return text, {name: arrays[name] for name in header}


def _slot(name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """What the header says about one array, if it has the form that it should have."""
    def whole(numbers: Any) -> bool:
        return isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers)

    if (not isinstance(entry, dict) or entry.get("dtype") not in CODES
            or not whole(entry.get("shape")) or not whole(entry.get("data_offsets"))
            or len(entry["data_offsets"]) != 2):
        raise ValueError(f"the entry of {name!r} in its header is damaged")
    return np.dtype(CODES[entry["dtype"]]), tuple(entry["shape"]), *entry["data_offsets"]


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("its header names an array twice")
    return dict(pairs)
