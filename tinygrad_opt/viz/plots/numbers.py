"""The numbers behind a picture, as a file."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["save_numbers"]


def save_numbers(path: str | os.PathLike[str], columns: Mapping[str, Any]) -> Path:
    """Write columns of one length as CSV, or any arrays as NPZ; the suffix chooses.

    Raises
    ------
    ValueError
        For another suffix, or for a table whose columns differ in shape.
    """
    path = Path(path)
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
