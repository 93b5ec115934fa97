"""Arrays as red (positive) and blue (negative) squares."""

from __future__ import annotations

import numpy as np

from tinygrad_opt.viz.figures import rgb
from tinygrad_opt.viz.theme import Theme

__all__ = ["folded", "folds", "reduced", "shade_colors", "shades"]

Array = np.ndarray
SHADES = 15                                    # of red and of blue
LARGEST = 64                                   # cells of a drawn array along each axis, at most


def reduced(array: Array) -> Array:
    """An array as rows of cells, at most `LARGEST` each way: of a block the largest entry stays.

    Long columns lie on their side.
    """
    rows = np.atleast_2d(array.reshape(len(array), -1) if array.ndim > 2 else array)
    rows = rows.T if rows.shape[0] > rows.shape[1] else rows
    for axis in (0, 1):
        n = rows.shape[axis]
        if n > LARGEST:
            block = -(-n // LARGEST)
            pad = [(0, -n % block if a == axis else 0) for a in (0, 1)]
            parts = np.moveaxis(np.pad(rows, pad), axis, 0)
            parts = parts.reshape(-1, block, parts.shape[1])
            most = np.abs(parts).argmax(1)[:, None]
            rows = np.moveaxis(np.take_along_axis(parts, most, 1)[:, 0], 0, axis)
    return rows.copy()


def shades(values: Array, most: Array) -> Array:
    """Values as indices into `shade_colors`; the largest gets the full colour."""
    with np.errstate(all="ignore"):
        part = values / np.where(most > 0, most, 1)[:, None, None]
    part = np.clip(np.nan_to_num(part), -1, 1)
    return np.round(SHADES + SHADES * part).astype(np.uint8)


def folds(rows: int, columns: int) -> int:
    """Into how many parts, one below the other, a wide array is cut so that cells are squares."""
    return max(1, round((columns / (4 * rows)) ** 0.5))


def folded(cells: Array, parts: int) -> Array:
    """Arrays of `shades` cut into parts, one below the other, the last filled up with zeros."""
    n, rows, columns = cells.shape
    more = [(0, 0), (0, 0), (0, -columns % parts)]
    full = np.pad(cells, more, constant_values=SHADES)
    return full.reshape(n, rows, parts, -1).swapaxes(1, 2).reshape(n, rows * parts, -1)


def shade_colors(theme: Theme) -> Array:
    """From the colour of negative numbers over the neutral one to that of positive numbers."""
    negative, middle, positive = rgb([theme.negative, theme.neutral, theme.positive]).astype(float)
    part = np.abs(np.linspace(-1, 1, 2 * SHADES + 1))[:, None] ** 0.8
    full = np.repeat([negative, positive], [SHADES, SHADES + 1], axis=0)
    return np.round(full * part + middle * (1 - part)).astype(np.uint8)
