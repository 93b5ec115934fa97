"""Types that many files name: what users may give, and what the engine works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import CapsuleType, Unpack
else:                                          # Python 3.10 has none, and none is evaluated
    CapsuleType, Unpack = object, dict

__all__ = ["Array", "ArrayLike", "Axis", "CapsuleType", "DTypeLike", "Rate", "Seed", "Shape",
           "Size",            "Unpack"]

# Rules, kernels and VJPs are typed as what they say, NumPy code on arrays; the same text runs on
# Tensors and symbols.
Array: TypeAlias = np.ndarray
ArrayLike: TypeAlias = "npt.ArrayLike"         # numbers, nested lists, arrays, and so Tensors
DTypeLike: TypeAlias = "npt.DTypeLike"
Shape: TypeAlias = tuple[int, ...]
Size: TypeAlias = int | tuple[int, ...]                            # one for all axes, or one each
Axis: TypeAlias = int | tuple[int, ...] | None
# a number, a schedule, or one number a model for the parameters of a stack
Rate: TypeAlias = float | Callable[[int], float] | Sequence[float]
Seed: TypeAlias = "int | np.random.Generator | None"
