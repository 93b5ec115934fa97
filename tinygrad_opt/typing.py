"""Types that many files name: what users may give, and what the engine works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from types import EllipsisType
    from typing import Any, Protocol

    import numpy.typing as npt
    from typing_extensions import CapsuleType, Unpack, dataclass_transform

    from tinygrad_opt.tensor import Tensor

    class Model(Protocol):
        """What can be trained: a Module, or anything that predicts and has parameters."""

        def __call__(self, x: Any, /) -> Tensor: ...       # each model says of what

        def parameters(self) -> dict[str, Tensor]: ...

    class Stateful(Protocol):
        """What a checkpoint keeps and gives back: a Module, an optimizer, a schedule."""

        def state_dict(self) -> Mapping[str, object]: ...

        def load_state_dict(self, state: Any, /) -> object: ...

    class Derivative(Protocol):
        """Takes the arguments of a function; what it gives has the form of one of them, or of
        several."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
else:                                          # Python 3.10 has none, and none is evaluated
    CapsuleType = Derivative = Model = Stateful = object
    Unpack = dict

    def dataclass_transform(**how: object) -> Callable[[type], type]:
        return lambda kind: kind

__all__ = ["Array", "ArrayLike", "Axis", "CapsuleType", "DTypeLike", "Derivative", "Index",
           "Indices", "Loss", "Model", "Predicts", "Rate", "Seed", "Shape", "Size", "Stateful",
           "Unpack", "dataclass_transform"]

# Rules, kernels and VJPs are typed as what they say, NumPy code on arrays; the same text runs on
# Tensors and symbols.
Array: TypeAlias = np.ndarray
ArrayLike: TypeAlias = "npt.ArrayLike"         # numbers, nested lists, arrays, and so Tensors
DTypeLike: TypeAlias = "npt.DTypeLike"
Shape: TypeAlias = tuple[int, ...]
Size: TypeAlias = int | tuple[int, ...]                            # one for all axes, or one each
Axis: TypeAlias = int | tuple[int, ...] | None
Index: TypeAlias = "int | slice | EllipsisType | Sequence[int] | Array | None"     # of one axis
Indices: TypeAlias = "Index | tuple[Index, ...]"
# of a prediction and the truth
Loss: TypeAlias = "Callable[..., Tensor]"
Predicts: TypeAlias = "Callable[..., Tensor | Array]"  # a model, or what acts as one
# a number, a schedule, or one number a model for the parameters of a stack
Rate: TypeAlias = float | Callable[[int], float] | Sequence[float]
Seed: TypeAlias = "int | np.random.Generator | None"
