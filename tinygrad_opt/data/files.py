"""Data sets read from files: digits and names that come with the package, IDX and CSV files.

A fault in a file is a ValueError that names the path, and in CSV the line. What one reader
alone needs is imported when it runs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO, TypeAlias

import numpy as np

from tinygrad_opt.data.arguments import Array, Floats, whole

__all__ = ["Table", "csv", "digits", "idx", "names"]

Path: TypeAlias = str | os.PathLike[str]


# ---- digits ----


def digits(*, split: bool = False) -> tuple[Array, ...]:
    """1,797 handwritten digits of 8 × 8 pixels, shipped with the package (45 kB).

    A pixel counts the dark dots in a 4 × 4 block of the scan, 0 (paper) to 16 (ink).

    Parameters
    ----------
    split : bool
        Give the last 450 rows apart, for testing, always the same. 1-nearest-neighbour gets
        0.962 of them right, but 0.982 of shuffled rows: those that stand together are alike.

    Returns
    -------
    x : float32 array of shape (1797, 64)
        ``x / 16`` lies in [0, 1], ``x.reshape(-1, 8, 8)`` are images.
    y : int64 array of shape (1797,)
        The digit; each occurs 174 to 183 times.

    With ``split=True`` four arrays: x_train (1347, 64), x_test (450, 64), y_train, y_test.

    References
    ----------
    E. Alpaydin and C. Kaynak (1998), *Optical Recognition of Handwritten Digits*, UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49, its test set, licensed CC BY 4.0.

    Examples
    --------
    >>> x, y = digits()
    >>> x.shape, float(x.max()), y[:5].tolist()
    ((1797, 64), 16.0, [0, 1, 2, 3, 4])
    """
    from importlib.resources import files

    path = files("tinygrad_opt.data") / "digits.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        x, y = arrays["x"].astype(np.float32), arrays["y"].astype(np.int64)
    return (x[:-450], x[-450:], y[:-450], y[-450:]) if split else (x, y)


def names() -> list[str]:
    """762 first names in lower-case letters a to z, sorted, for models of characters.

    Examples
    --------
    >>> names()[:3], len({letter for name in names() for letter in name})
    (['aaron', 'abby', 'abel'], 26)
    """
    from importlib.resources import files

    return (files("tinygrad_opt.data") / "names.txt").read_text(encoding="ascii").split()


# ---- IDX ----

_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(path: Path) -> Array:
    r"""An array from an IDX file, the format of MNIST and its kin, plain or gzip.

    Two zero bytes, type, number of axes, a 4-byte size for each axis, then the values, last
    axis fastest, all big-endian (Y. LeCun, C. Cortes, C. J. C. Burges, *The MNIST database*).

    Parameters
    ----------
    path : str or path-like
        Gzip is told by the first bytes. Memory grows with the bytes that are there, not with
        what the header claims; fewer or more of them are a ValueError, as is damaged gzip.

    Returns
    -------
    array of the file's shape and dtype, native byte order, writable

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(b"\0\0\x08\x01" + b"\0\0\0\x03" + bytes([5, 0, 4]))
    ...     idx(path).tolist()
    [5, 0, 4]
    """
    import gzip
    import zlib

    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            return _idx(gzip.GzipFile(fileobj=file) if zipped else file, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            why = str(error).rstrip(".")
            raise ValueError(f"{path}: expected whole gzip data, found damage: {why}.") from error


def _idx(stream: Any, path: Path) -> Array:
    """The array in an open, unzipped stream."""
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ValueError(
            f"{path}: expected an IDX file, which starts with two zero bytes, a type and a "
            f"number of axes; found {head.hex(' ') or 'nothing'}."
        )
    kind, n_axes = head[2:]
    if kind not in _IDX_DTYPES:
        known = bytes(_IDX_DTYPES).hex(" ")
        raise ValueError(f"{path}: expected one of the IDX types {known}, found {kind:02x}.")
    if not 1 <= n_axes <= 32:
        raise ValueError(f"{path}: expected 1 to 32 axes, found {n_axes}.")
    sizes = stream.read(4 * n_axes)
    if len(sizes) < 4 * n_axes:
        claim = f"{path}: expected {4 * n_axes} bytes of sizes"
        raise ValueError(f"{claim}, found {len(sizes)}: it is cut short.")

    dtype, shape = np.dtype(_IDX_DTYPES[kind]), tuple(np.frombuffer(sizes, ">u4").tolist())
    n_bytes = math.prod(shape) * dtype.itemsize  # of Python's numbers: NumPy's would wrap around
    claim = f"{path}: expected {n_bytes} bytes, {dtype.name} of shape {shape}"
    content = bytearray()
    while piece := stream.read(min(n_bytes - len(content), 1 << 20)):  # n_bytes may be a lie
        content += piece
    if len(content) < n_bytes:
        raise ValueError(f"{claim}; found {len(content)}: it is cut short, or its header is wrong.")
    if stream.read(1):
        raise ValueError(f"{claim}; found more: bytes trail, or its header is wrong.")
    array = np.frombuffer(content, dtype)
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder())
    try:
        return array.reshape(shape)
    except ValueError as error:  # an empty axis beside enormous ones
        raise ValueError(f"{claim}; NumPy cannot hold such a shape: {error}") from error


# ---- CSV ----


class Table(NamedTuple):
    """What `csv` reads: ``names[c]`` is the text that class c stands for, if y holds classes."""

    x: Floats
    y: Array
    names: tuple[str, ...]


def csv(
    path: Path, target: int | str = -1, *, delimiter: str = ",", header: bool | None = None
) -> Table:
    r"""Numeric columns and a target column from a text file in UTF-8 (RFC 4180).

    Parameters
    ----------
    path : str or path-like
        Blank lines are skipped, spaces around cells and a byte-order mark ignored.
    target : int or str
        The column to predict, by its index (negative from the end) or by its name.
    delimiter : str of one character
    header : bool or None
        Whether the first row holds names. None: it does if `target` is a name or if none
        of its feature cells is a number.

    Returns
    -------
    x : float32 array of shape (n_samples, n_features)
    y : int64 array of shape (n_samples,) or float32 array of shape (n_samples, 1)
        int64 for whole numbers, float32 for others; where the target column holds text,
        the index of each in `names`.
    names : tuple of str
        The texts, sorted; empty where the column holds numbers.

    Raises
    ------
    ValueError
        If a row is longer or shorter than the first, a feature is not a finite number, a
        target is missing, or there is no such column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "iris.csv")
    ...     _ = path.write_text("length,width,kind\n6.2,2.9,virginica\n5.1,3.5,setosa\n")
    ...     x, y, names = csv(path, "kind")
    >>> x.shape, y.tolist(), names
    ((2, 2), [1, 0], ('setosa', 'virginica'))
    """
    from array import array
    from itertools import chain

    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = _rows(file, path, delimiter)
        top = next(rows, None)
        if top is None:
            raise ValueError(f"{path}: expected rows of numbers, found none.")
        first = top[1]
        column = _column(path, target, first, header)
        if header is None:
            features = first[:column] + first[column + 1 :]
            header = isinstance(target, str) or all(math.isnan(_number(cell)) for cell in features)
        table, targets = array("f"), []
        for where, cells in rows if header else chain([top], rows):
            if len(cells) != len(first):
                raise ValueError(f"{where}: expected {len(first)} cells, found {len(cells)}.")
            if not cells[column]:
                raise ValueError(f"{where}, column {column + 1}: the target is missing.")
            targets.append(cells[column])
            for number, cell in enumerate(cells, 1):
                table.append(_number(cell))
                if math.isnan(table[-1]) and number != column + 1:
                    fault = f"expected a finite number, found {cell!r}."
                    raise ValueError(f"{where}, column {number}: {fault}")
    if not targets:
        raise ValueError(f"{path}: expected rows below the header, found none.")
    values = np.frombuffer(table, np.float32).reshape(-1, len(first))
    return Table(np.delete(values, column, axis=1), *_targets(targets, values[:, [column]]))


def _rows(file: TextIO, path: Path, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Where each row that is not blank ends, and its cells."""
    from csv import Error, reader

    rows = reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in rows:
            if any(cells) or len(cells) > 1:
                yield f"{path}, line {rows.line_num}", [cell.strip() for cell in cells]
    except Error as error:
        raise ValueError(f"{path}, line {rows.line_num}: {error}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, after line {rows.line_num}: not UTF-8 text: {error}.") from error


def _column(path: Path, target: int | str, first: list[str], header: bool | None) -> int:
    """The index of the target column, from 0."""
    n = len(first)
    if n < 2:
        fault = "expected features and a target, found 1 column. Is the delimiter right?"
        raise ValueError(f"{path}: {fault}")
    if isinstance(target, str):
        if header is False:
            raise ValueError(f"target {target!r} is a name, but header=False says there are none.")
        if (found := first.count(target)) != 1:
            raise ValueError(f"{path}: expected one column {target!r}, found {found} in {first}.")
        return first.index(target)
    column = whole("target", target, least=-n)
    if column >= n:
        raise ValueError(f"{path}: expected a column {column}, found {n} columns.")
    return column % n


def _number(cell: str) -> float:
    """What the text says, or nan if that is no number that float32 can hold."""
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    # Python reads "1_000" as a number; nobody else does.
    return number if abs(number) <= _LARGEST and "_" not in cell else math.nan


_LARGEST = float(np.finfo(np.float32).max)


def _targets(cells: list[str], numbers: Floats) -> tuple[Array, tuple[str, ...]]:
    """The target column, from its text and what numbers that says, and the names of classes."""
    if np.isnan(numbers).any():
        names, y = np.unique(cells, return_inverse=True)
        return y.astype(np.int64), tuple(names.tolist())
    try:
        return np.array([int(cell) for cell in cells], np.int64), ()
    except (ValueError, OverflowError):
        return numbers, ()
