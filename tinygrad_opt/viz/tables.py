"""The numbers behind a picture, as tables in files and as text."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from tinygrad_opt.typing import ArrayLike
from tinygrad_opt.viz.figures import Options, Picture, Unpack, shown

__all__ = ["Table", "save_numbers", "stacked"]

Columns: TypeAlias = Mapping[str, ArrayLike]


class Table:
    """What has ``columns()`` and ``plot()``, and can so be saved, and shown by notebooks."""

    def columns(self) -> Mapping[str, np.ndarray]:
        """Arrays by name."""
        raise NotImplementedError

    def plot(self, **options: Unpack[Options]) -> Picture:
        """A Matplotlib figure with such `Options`."""
        raise NotImplementedError

    def _repr_png_(self) -> bytes | None:
        return shown(self.plot)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns as CSV or NPZ."""
        return save_numbers(path, self.columns())


def save_numbers(path: str | os.PathLike[str], numbers: Mapping[str, ArrayLike]) -> Path:
    """Write columns of one length as CSV, or any arrays as NPZ; the suffix chooses.

    Parameters
    ----------
    path : str or path
    numbers : figure, Film or dict of str to array-like
        A picture of this package, to write what it shows; or the columns themselves.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        For another suffix, or for a table whose columns differ in shape.
    """
    path, columns = Path(path), getattr(numbers, "numbers", numbers)
    suffix = path.suffix.lower()
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    if suffix not in (".csv", ".npz"):
        raise ValueError(f"numbers are saved as .csv or .npz, got {path.name!r}.")
    shapes = {array.shape for array in arrays.values()}
    if suffix == ".csv" and (len(shapes) > 1 or any(len(shape) != 1 for shape in shapes)):
        raise ValueError("these arrays are not columns of one length; save them as .npz.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".npz":
        np.savez_compressed(path, **arrays)               # type: ignore[arg-type]
        return path
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(arrays)
        writer.writerows(zip(*(array.tolist() for array in arrays.values())))
    return path


def stacked(name: str, tables: Iterable[tuple[str, Columns]]) -> dict[str, np.ndarray]:
    """Tables of equal columns as one, below each other, with a first column that names each."""
    parts: dict[str, list[np.ndarray]] = {}
    for label, columns in tables:
        length = len(np.asarray(next(iter(columns.values()))))
        for key, column in {name: np.full(length, label), **columns}.items():
            parts.setdefault(key, []).append(np.asarray(column))
    return {key: np.concatenate(columns) for key, columns in parts.items()}
