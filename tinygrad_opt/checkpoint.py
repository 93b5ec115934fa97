"""Checkpoints: named arrays and plain values in one file, complete or not there at all.

A ``.npz`` file is what `numpy.savez` writes and `numpy.load` reads, with one more array, ``tree``,
whose bytes say as JSON which array belongs where. A ``.safetensors`` file holds the same, with
the tree in its metadata. Nothing is ever pickled, so that loading a file runs none of its bytes,
and no size that a file claims is believed before it is compared with the file.
"""

from __future__ import annotations

import glob
import json
import math
import os
import re
import secrets
import signal
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import count
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, BinaryIO, Literal

import numpy as np

from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.hints import answers
from tinygrad_opt.kernels import brought, is_duck
from tinygrad_opt.tensor import values_of
from tinygrad_opt.typing import Array, Stateful

try:
    import fcntl
except ImportError:                                        # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["load", "save"]

FORMAT, VERSION = "tinygrad_opt", 1
TREE = "tree"                                              # the array that holds the tree



@answers
def save(
    path: str | os.PathLike[str], model: object = None, optimizer: object = None, **more: object
) -> Path:
    """Write a model, an optimizer and whatever else is to be kept.

    The file appears under its name when it is complete and on the disk; until then a file that
    was there before stays as it was, even if the power fails. The new file has its permissions.

    Parameters
    ----------
    path : str or path
        Taken as it is; ``.safetensors`` at its end chooses that format (which needs the package
        safetensors), anything else is npz.
    model, optimizer : object with ``state_dict()``, or dict
        Kept under the names ``"model"`` and ``"optimizer"``; with a model that draws random
        numbers, as dropout does, the states of its generators as ``"random"``; with a
        `nn.Module`, what it is made of as ``"architecture"``, of which `nn.rebuild` makes it.
    **more
        Kept under their names: arrays and Tensors of any shape, numbers, strings, booleans and
        None, whatever has ``state_dict()``, and dicts (whose keys are any strings), lists and
        tuples of them.

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
    file bear their bare names, as other libraries expect. A process that is killed while it
    saves leaves ``.<name>.<random>.tmp`` beside the file; the next save to that path removes it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(folder + "/run.npz", {"w": np.arange(3.0)}, epoch=7)
    ...     saved = load(path)
    >>> saved["epoch"], saved["model"]["w"]
    (7, array([0., 1., 2.]))
    """
    path = path_of("save", path)
    states = {name: g.bit_generator.state for name, g in _generators(model).items()}
    parts = {"model": model, "optimizer": optimizer, "random": states or None,
             "architecture": getattr(model, "architecture", lambda: None)()}
    own = {key: part for key, part in parts.items() if part is not None}
    if taken := sorted(own.keys() & more.keys()):
        raise CheckpointError(f"cannot save {path}: the name {taken[0]!r} is taken, by what is kept"
                              " of the model")
    write, name = _write_npz, _npz_name
    if _is_safetensors(path):
        write, name = _write_safetensors, _safetensors_name
    arrays: dict[str, Array] = {}
    with blaming(path, "cannot save"):
        tree = _pack(own | more, (), arrays, name)
        text = json.dumps({"format": FORMAT, "version": VERSION, "tree": tree})
        with replacing(path) as file:
            write(file, text, arrays)
    return path


@answers
def load(
    path: str | os.PathLike[str], model: Stateful | None = None, optimizer: Stateful | None = None
) -> dict[str, Any]:
    """Read what `save` wrote, and give a model and an optimizer their states back.

    Parameters
    ----------
    path : str or path
        ``.safetensors`` at its end chooses that format, anything else is npz.
    model, optimizer : object with ``load_state_dict()``, optional
        Take over what was saved, both or neither, also under any number of Ctrl-C; the model's
        random generators too.

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
    path = path_of("load", path)
    with blaming(path, "cannot load"):
        text, arrays = (_read_safetensors if _is_safetensors(path) else _read_npz)(path)
        content = {"model": arrays} if text is None else _parsed(text, arrays)
        _put_back(content, model, optimizer)
        return content


def _parsed(text: str, arrays: dict[str, Array]) -> dict[str, object]:
    """The dict that a tree describes, its arrays in their places."""
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("its tree is not one of this package")
    if header.get("version") != VERSION:
        raise ValueError(f"its version is {header.get('version')!r}, not {VERSION}")
    content = _unpack(header.get("tree"), arrays)
    if not isinstance(content, dict):
        raise ValueError("its tree does not start with a dict")
    return content


def _generators(model: object) -> dict[str, np.random.Generator]:
    """The random generators of a model that can name them."""
    return model.generators() if hasattr(model, "generators") else {}


def _put_back(
    content: dict[str, Any], model: Stateful | None, optimizer: Stateful | None
) -> None:
    """Load the states into a model and an optimizer, all or none."""
    for name, target in (("model", model), ("optimizer", optimizer)):
        if target is not None and name not in content:
            raise ValueError(f"it holds no {name}, only {', '.join(content) or 'nothing'}")
    generators = _generators(model)
    states = {} if model is None else content.get("random", {})
    if states and states.keys() != generators.keys():
        raise ValueError(f"it holds the random generators {', '.join(states)}, the model has"
                         f" {', '.join(generators) or 'none'}")
    for name, state in states.items():
        type(generators[name].bit_generator)().state = state       # refuses what is none
    with uninterrupted():
        before = None if model is None else model.state_dict()
        if model is not None:
            model.load_state_dict(content["model"])
        try:
            if optimizer is not None:
                optimizer.load_state_dict(content["optimizer"])
        except BaseException:
            if model is not None:
                model.load_state_dict(before)
            raise
        for name, state in states.items():
            generators[name].bit_generator.state = state


def _is_safetensors(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


def path_of(function: str, path: object, rest: str = "model, optimizer") -> Path:
    """The path, which is easily swapped with the model."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{function} takes the path first, as in {function}(path"
                        f"{', ' * bool(rest)}{rest}); got {type(path).__name__}.")
    return Path(path)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold SIGINT back until the block has ended; only the main thread ever receives it."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    if handler is None:                         # another thread, or a handler not set from Python
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: arrived.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if arrived and callable(handler):
            handler(*arrived[-1])


@contextmanager
def blaming(path: Path, what: str) -> Iterator[None]:
    """Turn whatever goes wrong into one kind of error that names the file."""
    try:
        yield
    except Exception as error:                             # zipfile alone raises half a dozen
        why = str(error) or type(error).__name__
        if isinstance(error, FileNotFoundError):
            why = "no such file or folder"
        elif isinstance(error, OSError):
            why = error.strerror or why
        elif isinstance(error, zipfile.BadZipFile):
            why = f"it is no whole .npz file ({why})"
        raise CheckpointError(f"{what} {path}: {why}") from error


# ---- the tree ------------------------------------------------------------------------------------

# Each JSON object in the tree has one key, which says what it stands for, so that no dict of the
# user's can be mistaken for something else.


def _pack(value: object, place: tuple[str, ...], arrays: dict[str, Array],
          name: Callable[[tuple[str, ...]], str | None]) -> object:
    """The JSON form of a value; its arrays are put aside under names of their own."""
    if value is None or isinstance(value, bool | str) or type(value) in (int, float):
        return value
    if hasattr(value, "state_dict"):
        value = value.state_dict()
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{_where(place)} has a key that is no string: {key!r}")
        return {"dict": {k: _pack(v, (*place, k), arrays, name) for k, v in value.items()}}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(v, (*place, str(i)), arrays, name) for i, v in enumerate(value)]}
    array = values_of(value)
    array = brought(array) if is_duck(array) else array
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(
            f"{_where(place)} is {type(value).__name__}: no array, Tensor, number, string, bool,"
            " None, dict, list or tuple, and without a state_dict()"
        )
    if array.dtype.kind in "OV":
        raise TypeError(f"{_where(place)} has dtype {array.dtype}, which only pickle could keep")
    chosen = name(place)
    if chosen is None or chosen in arrays:
        chosen = next(free for i in count(len(arrays)) if (free := f"array {i}") not in arrays)
    arrays[chosen] = np.asarray(array)
    return {"array": chosen}


def _unpack(node: object, arrays: dict[str, Array]) -> object:
    """The value that a JSON form stands for."""
    if not isinstance(node, dict | list):
        return node
    match list(node.items()) if isinstance(node, dict) else None:
        case [("array", str(name))]:
            if name not in arrays:
                raise ValueError(f"the array {name!r} is missing")
            return arrays[name]
        case [("dict", dict(items))]:
            return {k: _unpack(v, arrays) for k, v in items.items()}
        case [("list" | "tuple" as kind, list(items))]:
            members = [_unpack(v, arrays) for v in items]
            return members if kind == "list" else tuple(members)
    raise ValueError("its tree is damaged")


def _where(place: tuple[str, ...]) -> str:
    return "".join(f"[{key!r}]" for key in place)


# ---- npz -----------------------------------------------------------------------------------------


def _npz_name(place: tuple[str, ...]) -> str | None:
    """``model/layers.0.weight``; None where it would not come back, or `numpy.savez` not take it.

    Archives cut names at a null byte, turn backslashes round on Windows, take no lone surrogates
    and count 65,535 bytes at most; numpy.load drops an ending ``.npy``.
    """
    name = "/".join(place)
    plain = re.fullmatch(r"[\w /.:+-]{1,200}", name, re.ASCII) and not name.endswith(".npy")
    return name if plain and name not in (TREE, "file", "allow_pickle") else None


def _write_npz(file: BinaryIO, text: str, arrays: dict[str, Array]) -> None:
    # NumPy's stubs take a name among them for one of the options
    write: Callable[..., None] = np.savez
    write(file, **{TREE: np.frombuffer(text.encode("ascii"), np.uint8), **arrays})


def _read_npz(path: Path) -> tuple[str | None, dict[str, Array]]:
    arrays: dict[str, Array] = {}
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.filename.endswith("data.pkl") for entry in entries):
            raise ValueError("it is a file of torch.save, which runs code: load it with PyTorch,"
                             " then nn.from_torch(model, state_dict)")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed; np.savez writes files that can be read here")
        if sum(max(entry.file_size, entry.compress_size) for entry in entries) > size:
            raise ValueError(f"its members claim more than the {size} bytes of the file")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds two arrays called {name!r}")
            try:
                arrays[name] = _npy(archive.read(entry))
            except (ValueError, SyntaxError) as error:
                raise ValueError(f"{name}: {error}") from error
    tree = arrays.get(TREE)
    if tree is None or tree.dtype != np.uint8 or tree.ndim != 1:
        return None, arrays
    return arrays.pop(TREE).tobytes().decode("ascii"), arrays


def _npy(content: bytes) -> Array:
    """One array from the bytes of a .npy file, whose header must fit what follows."""
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}", None)
    if read_header is None:
        raise ValueError(f"npy version {version} is not read here")
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code when loaded")
    if any(n < 0 for n in shape):
        raise ValueError(f"it claims the shape {shape}")
    # Python's integers cannot overflow; NumPy makes strings of no bytes one byte long
    claimed, found = math.prod(shape) * max(dtype.itemsize, 1), len(content) - stream.tell()
    if claimed != found:
        raise ValueError(f"its header claims {claimed} bytes of data, the file has {found}")
    order: Literal["F", "C"] = "F" if fortran else "C"
    result: Array = np.ndarray(shape, dtype, content, stream.tell(), order=order).copy("K")
    return result


# ---- safetensors ---------------------------------------------------------------------------------

SAFETENSORS_DTYPES = "b1 u1 i1 u2 i2 f2 u4 i4 f4 u8 i8 f8 c8".split()


def _safetensors_name(place: tuple[str, ...]) -> str | None:
    name = "/".join(place[1:] if place[0] == "model" else place)
    return None if name == "__metadata__" or not name.isprintable() else name


def _safetensors() -> ModuleType:
    """The package, whose NumPy side is imported with it."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("the format needs a package: pip install safetensors") from error
    return safetensors


def _write_safetensors(file: BinaryIO, text: str, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        if array.dtype.str[1:] not in SAFETENSORS_DTYPES:
            raise ValueError(f"safetensors has no dtype {array.dtype} for {name!r}; use .npz")
    # it writes the memory of an array, which is in the order of the numbers in this layout only
    rows = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    file.write(_safetensors().numpy.save(rows, {FORMAT: text}))


def _read_safetensors(path: Path) -> tuple[str | None, dict[str, Array]]:
    with _safetensors().safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        for name, array in arrays.items():
            if array.dtype.kind == "V":                    # ml_dtypes, if imported, brings bfloat16
                raise ValueError(f"{name} holds {array.dtype}, which NumPy alone does not know")
        return (file.metadata() or {}).get(FORMAT), arrays


# ---- the file ------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` at the end, if all went well."""
    target = os.path.realpath(path)                        # a link goes on pointing at the file
    folder, name = os.path.split(target)
    mode = stat.S_IMODE(os.stat(target).st_mode) if os.path.exists(target) else None
    file = _unfinished(os.path.join(folder, f".{name[:50]}."), 0o666 if mode is None else 0o600)
    try:
        with file:
            yield file
            file.flush()
            if mode is not None:
                os.chmod(file.name, mode)
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()                               # Windows renames no open file
            os.replace(file.name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(file.name)
        raise
    if os.name == "posix":                                 # the new name must last, too
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unfinished(beginning: str, mode: int) -> BinaryIO:
    """A new file under a name of its own, once those of killed processes are removed.

    Who writes such a file holds a lock on it; Windows deletes no file that is open.
    """
    for path in glob.glob(glob.escape(beginning) + "*.tmp"):
        with suppress(OSError), open(path, "r+b") as left:
            if fcntl is None:
                left.close()
            else:
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    while True:
        file = open(f"{beginning}{secrets.token_hex(8)}.tmp", "xb",
                    opener=lambda name, flags: os.open(name, flags, mode))
        if fcntl is not None:
            with suppress(OSError):                        # not every file system has locks
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):                      # else removed before it was locked
            return file
        file.close()
