"""Types that many files name: what users may give, and what the engine works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from typing import Protocol

    import numpy.typing as npt
    from typing_extensions import CapsuleType, Unpack

    class Model(Protocol):
        """What can be trained: a Module, or anything that predicts and has parameters."""

        def __call__(self, x: Any, /) -> Any: ...

        def parameters(self) -> dict[str, Any]: ...
else:                                          # Python 3.10 has none, and none is evaluated
    CapsuleType = Model = object
    Unpack = dict

__all__ = ["Array", "ArrayLike", "Axis", "CapsuleType", "DTypeLike", "Loss", "Model", "Predicts",
           "Rate", "Seed", "Shape", "Size", "Unpack"]

# Rules, kernels and VJPs are typed as what they say, NumPy code on arrays; the same text runs on
# Tensors and symbols.
Array: TypeAlias = np.ndarray
ArrayLike: TypeAlias = "npt.ArrayLike"         # numbers, nested lists, arrays, and so Tensors
DTypeLike: TypeAlias = "npt.DTypeLike"
Shape: TypeAlias = tuple[int, ...]
Size: TypeAlias = int | tuple[int, ...]                            # one for all axes, or one each
Axis: TypeAlias = int | tuple[int, ...] | None
# a number, a schedule, or one number a model for the parameters of a stack
Loss: TypeAlias = Callable[[Any, Any], Any]                        # of a prediction, and the truth
Predicts: TypeAlias = Callable[[Any], Any]                         # a model, or what acts as one
Rate: TypeAlias = float | Callable[[int], float] | Sequence[float]
Seed: TypeAlias = "int | np.random.Generator | None"
