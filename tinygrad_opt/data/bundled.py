"""Data sets that come with the package: handwritten digits and first names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_opt.hints import answers
from tinygrad_opt.typing import Array

if TYPE_CHECKING:
    from importlib.abc import Traversable

__all__ = ["digits", "names"]


@answers
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
    with _file("digits.npz").open("rb") as file, np.load(file) as arrays:
        x, y = arrays["x"].astype(np.float32), arrays["y"].astype(np.int64)
    return (x[:-450], x[-450:], y[:-450], y[-450:]) if split else (x, y)


def names() -> list[str]:
    """762 first names in lower-case letters a to z, sorted, for models of characters.

    Returns
    -------
    list of str
        Each once, 3 to 11 letters long.

    Examples
    --------
    >>> names()[:3], len({letter for name in names() for letter in name})
    (['aaron', 'abby', 'abel'], 26)
    """
    result: list[str] = _file("names.txt").read_text(encoding="ascii").split()
    return result


def _file(name: str) -> Traversable:
    """A file of the package, wherever that is installed."""
    from importlib.resources import files

    return files("tinygrad_opt.data") / name
