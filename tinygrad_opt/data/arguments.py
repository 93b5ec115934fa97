"""Types of arguments, and their checks."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, SupportsIndex, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tinygrad_opt.kernels import brought
from tinygrad_opt.typing import Array, DTypeLike

if TYPE_CHECKING:  # numpy.random loads when it is first used
    from collections.abc import Sequence

    from numpy.random import BitGenerator, Generator, SeedSequence

Floats: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Path: TypeAlias = str | os.PathLike[str]
Seed: TypeAlias = "int | Sequence[int] | SeedSequence | BitGenerator | Generator | None"


def array_of(x: object, dtype: DTypeLike | None = None) -> Array:
    """The array in a Tensor, or made from anything else; memory-mapped files stay so."""
    return np.asarray(brought(getattr(x, "_array", x)), dtype)


def whole(name: str, value: object, least: int = 1) -> int:
    """A whole number of at least `least`; True is none, nor is 3.0."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(cast(SupportsIndex, value))
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}.") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}.")
    return number


def fraction(name: str, value: float) -> float:
    """A number between 0 and 1, neither of them included."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {value!r}.")
    return value


def samples(x: Array, y: Array | None = None) -> int:
    """The number of rows, which x and y share."""
    for name, array in ("x", x), ("y", y):
        if array is not None and array.ndim == 0:
            one = array.item()
            if callable(one):
                raise ValueError(f"{name} must have samples as rows, got {type(one).__name__}: the"
                                 " model comes first, then x, then y.")
            raise ValueError(f"{name} must have samples as rows, got a single number.")
    if y is not None and len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples, y has {len(y)}: give each sample one target.")
    return len(x)
