"""Arrays as red (positive) and blue (negative) squares."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_opt.typing import Array
from tinygrad_opt.viz.figures import rgb
from tinygrad_opt.viz.theme import Theme

__all__ = ["folded", "folds", "reduced", "shade_colors", "shades", "squares"]

SHADES = 15                                    # of red and of blue
LARGEST = 64                                   # cells of a drawn array along each axis, at most


def reduced(array: Array) -> Array:
    """An array as rows of cells, at most `LARGEST` each way: of a block the largest entry stays.

    Long columns lie on their side.
    """
    rows = np.atleast_2d(array.reshape(len(array), -1) if array.ndim > 2 else array)
    rows = rows.T if rows.shape[0] > rows.shape[1] else rows
    for axis, n in enumerate(rows.shape):
        blocks = np.arange(0, n, max(-(-n // LARGEST), 1))
        high, low = (f.reduceat(rows, blocks, axis) for f in (np.maximum, np.minimum))
        rows = np.where(high >= -low, high, low)
    return rows


def shades(values: Array, most: Array) -> Array:
    """Values as indices into `shade_colors`; the largest gets the full colour."""
    with np.errstate(all="ignore"):
        part = values / np.where(most > 0, most, 1)[:, None, None]
    part = np.clip(np.nan_to_num(part), -1, 1)
    return np.round(SHADES + SHADES * part).astype(np.uint8)


def squares(values: Array, most: Array) -> Array:
    """Arrays of shape (n, rows, columns) as indices into `shade_colors`, wide ones cut in parts."""
    return folded(shades(values, most), folds(*values.shape[1:]))


def folds(rows: int, columns: int) -> int:
    """Into how many parts, one below the other, a wide array is cut so that cells are squares."""
    return max(1, round(math.sqrt(columns / (4 * rows))))


def folded(cells: Array, parts: int) -> Array:
    """Arrays of `shades` cut into parts, one below the other, the last filled up with zeros."""
    n, rows, columns = cells.shape
    more = [(0, 0), (0, 0), (0, -columns % parts)]
    full = np.pad(cells, more, constant_values=SHADES)
    result: Array = full.reshape(n, rows, parts, -1).swapaxes(1, 2).reshape(n, rows * parts, -1)
    return result


def shade_colors(theme: Theme) -> Array:
    """From the colour of negative numbers over the neutral one to that of positive numbers."""
    negative, middle, positive = rgb([theme.negative, theme.neutral, theme.positive]).astype(float)
    part = np.abs(np.linspace(-1, 1, 2 * SHADES + 1))[:, None] ** 0.8
    full = np.repeat([negative, positive], [SHADES, SHADES + 1], axis=0)
    result: Array = np.round(full * part + middle * (1 - part)).astype(np.uint8)
    return result
