"""Tables of numbers in text files, with a column to predict.

Rows and cells are those of Python's `csv`, which knows the line that it is in; NumPy's readers
count rows without blank lines and quoted line ends, and could not say where a fault is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, TextIO

import numpy as np

from tinygrad_opt.data.arguments import Floats, Path, whole
from tinygrad_opt.hints import answers
from tinygrad_opt.typing import Array

__all__ = ["Table", "csv"]


class _Samples(NamedTuple):
    x: Floats
    y: Array
    names: tuple[str, ...]


class Table(_Samples):
    """What `csv` reads: ``names[c]`` is the text that class c stands for, if y holds classes;
    ``columns`` are the names of the features, if the file has a header."""

    columns: tuple[str, ...] = ()


@answers
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
    found = Table(np.delete(values, column, axis=1), *_targets(targets, values[:, [column]]))
    if header:
        found.columns = (*first[:column], *first[column + 1 :])
    return found


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
        names = sorted(set(cells))                  # np.unique would pad all to the longest
        index = {name: i for i, name in enumerate(names)}
        return np.array([index[cell] for cell in cells], np.int64), tuple(names)
    try:
        return np.array([int(cell) for cell in cells], np.int64), ()
    except (ValueError, OverflowError):
        return numbers, ()
