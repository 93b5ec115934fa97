"""Python's operators and NumPy's methods on Tensors: each applies a row of the operator table.

Names, argument names and defaults are NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_opt import kernels, ops
from tinygrad_opt.errors import ShapeError, subject
from tinygrad_opt.hints import answers
from tinygrad_opt.ops import Op
from tinygrad_opt.typing import Array, ArrayLike, Axis, CapsuleType, DTypeLike, Shape

M = TypeVar("M", bound="Methods")


class Methods:
    """What `Tensor` inherits."""

    __slots__ = ()

    _array: Array
    _needs_grad: bool

    if TYPE_CHECKING:                          # what tinygrad_opt.tensor adds
        def _apply(self: M, op: Op, *inputs: object, **attrs: object) -> M: ...
        def _answer(
            self, function: Callable[..., Array], *args: object, **options: object
        ) -> Array: ...
        def _become(self: M, op: Op, *others: object) -> M: ...
        def _read(self) -> Array: ...
        def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array: ...
        def detach(self: M) -> M: ...

    # ---- operators -------------------------------------------------------------------------------

    def __add__(self: M, y: ArrayLike) -> M:       return self._apply(ops.add, self, y)
    def __radd__(self: M, y: ArrayLike) -> M:      return self._apply(ops.add, y, self)
    def __sub__(self: M, y: ArrayLike) -> M:       return self._apply(ops.subtract, self, y)
    def __rsub__(self: M, y: ArrayLike) -> M:      return self._apply(ops.subtract, y, self)
    def __mul__(self: M, y: ArrayLike) -> M:       return self._apply(ops.multiply, self, y)
    def __rmul__(self: M, y: ArrayLike) -> M:      return self._apply(ops.multiply, y, self)
    def __truediv__(self: M, y: ArrayLike) -> M:   return self._apply(ops.divide, self, y)
    def __rtruediv__(self: M, y: ArrayLike) -> M:  return self._apply(ops.divide, y, self)
    def __floordiv__(self: M, y: ArrayLike) -> M:  return self._apply(ops.floor_divide, self, y)
    def __rfloordiv__(self: M, y: ArrayLike) -> M: return self._apply(ops.floor_divide, y, self)
    def __mod__(self: M, y: ArrayLike) -> M:       return self._apply(ops.remainder, self, y)
    def __rmod__(self: M, y: ArrayLike) -> M:      return self._apply(ops.remainder, y, self)
    def __pow__(self: M, y: ArrayLike) -> M:       return self._apply(ops.power, self, y)
    def __rpow__(self: M, y: ArrayLike) -> M:      return self._apply(ops.power, y, self)
    def __matmul__(self: M, y: ArrayLike) -> M:    return self._apply(ops.matmul, self, y)
    def __rmatmul__(self: M, y: ArrayLike) -> M:   return self._apply(ops.matmul, y, self)
    def __neg__(self: M) -> M:                     return self._apply(ops.negative, self)
    def __pos__(self: M) -> M:                     return self._apply(ops.positive, self)
    def __abs__(self: M) -> M:                     return self._apply(ops.absolute, self)
    def __getitem__(self: M, index: object) -> M:  return self._apply(ops.getitem, self, index)

    def __iadd__(self: M, y: ArrayLike) -> M:      return self._become(ops.add, y)
    def __isub__(self: M, y: ArrayLike) -> M:      return self._become(ops.subtract, y)
    def __imul__(self: M, y: ArrayLike) -> M:      return self._become(ops.multiply, y)
    def __itruediv__(self: M, y: ArrayLike) -> M:  return self._become(ops.divide, y)
    def __ifloordiv__(self: M, y: ArrayLike) -> M: return self._become(ops.floor_divide, y)
    def __imod__(self: M, y: ArrayLike) -> M:      return self._become(ops.remainder, y)
    def __ipow__(self: M, y: ArrayLike) -> M:      return self._become(ops.power, y)
    def __imatmul__(self: M, y: ArrayLike) -> M:   return self._become(ops.matmul, y)

    def __eq__(self, y: object) -> Array:      return self._answer(np.equal, self, y)  # type: ignore[override]
    def __ne__(self, y: object) -> Array:      return self._answer(np.not_equal, self, y)  # type: ignore[override]
    def __lt__(self, y: ArrayLike) -> Array:   return self._answer(np.less, self, y)
    def __le__(self, y: ArrayLike) -> Array:   return self._answer(np.less_equal, self, y)
    def __gt__(self, y: ArrayLike) -> Array:   return self._answer(np.greater, self, y)
    def __ge__(self, y: ArrayLike) -> Array:   return self._answer(np.greater_equal, self, y)
    def __invert__(self) -> Array:             return self._answer(np.invert, self)
    def __and__(self, y: ArrayLike) -> Array:  return self._answer(np.bitwise_and, self, y)
    def __rand__(self, y: ArrayLike) -> Array: return self._answer(np.bitwise_and, y, self)
    def __or__(self, y: ArrayLike) -> Array:   return self._answer(np.bitwise_or, self, y)
    def __ror__(self, y: ArrayLike) -> Array:  return self._answer(np.bitwise_or, y, self)
    def __xor__(self, y: ArrayLike) -> Array:  return self._answer(np.bitwise_xor, self, y)
    def __rxor__(self, y: ArrayLike) -> Array: return self._answer(np.bitwise_xor, y, self)

    def __contains__(self, value: object) -> bool: return bool((self == value).any())
    def __float__(self) -> float:                  return float(self.item())
    def __int__(self) -> int:                      return int(self.item())

    # ---- Python's protocols ----------------------------------------------------------------------

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise TypeError(f"len() of {subject(self)}, a single number")
        length: int = self._array.shape[0]
        return length

    def __iter__(self: M) -> Iterator[M]:
        if self._array.ndim == 0:
            raise TypeError(f"iteration over {subject(self)}, a single number")
        return (self[i] for i in range(len(self)))

    def __index__(self) -> int:
        if self._array.dtype.kind not in "iu" or self._array.ndim:
            raise TypeError(f"only a single integer can be an index, got {subject(self)}")
        return int(self._read())

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise ValueError(
                f"the truth value of {subject(self)} with {self._array.size} entries is ambiguous:"
                " use .any() or .all()"
            )
        return bool(self._read())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self._array.size == 1 else str(self)

    def __dlpack__(self, **options: object) -> CapsuleType:
        if self._needs_grad:
            raise BufferError(f"{subject(self)} requires grad; export its .detach()")
        export: Callable[..., CapsuleType] = self._read().__dlpack__
        return export(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    # ---- methods ---------------------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        """Length along each axis."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._array.size

    @property
    def dtype(self) -> np.dtype:
        """Type of the entries."""
        return self._array.dtype

    def item(self) -> float:
        """The only entry, as a Python number."""
        if self._array.size != 1:
            raise ShapeError(
                f"{subject(self)} has {self._array.size} entries, not one;"
                " reduce it first: .sum() or .mean()"
            )
        number: float = self._read().item()
        return number

    @answers
    def numpy(self) -> Array:
        """The values, as an array that shares memory with the Tensor."""
        return kernels.brought(self._read())

    def tolist(self) -> Any:
        """The values, as nested lists of Python numbers."""
        return self._read().tolist()

    @property
    def T(self: M) -> M:
        """All axes in reverse order."""
        return self._apply(ops.transpose, self)

    @property
    def mT(self: M) -> M:
        """The last two axes swapped."""
        return self._apply(ops.swapaxes, self, axis1=-1, axis2=-2)

    @answers
    def sum(self: M, axis: Axis = None, keepdims: bool = False) -> M:
        """Sum over the axes; over all of them for None."""
        return self._apply(ops.sum, self, axis=axis, keepdims=keepdims)

    @answers
    def mean(self: M, axis: Axis = None, keepdims: bool = False) -> M:
        """Arithmetic mean over the axes."""
        return self._apply(ops.mean, self, axis=axis, keepdims=keepdims)

    @answers
    def prod(self: M, axis: Axis = None, keepdims: bool = False) -> M:
        """Product over the axes."""
        return self._apply(ops.prod, self, axis=axis, keepdims=keepdims)

    @answers
    def var(self: M, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> M:
        """Mean squared distance from the mean; the divisor is n − ddof."""
        return self._apply(ops.var, self, axis=axis, ddof=ddof, keepdims=keepdims)

    @answers
    def std(self: M, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> M:
        """Root of `var`."""
        return self._apply(ops.std, self, axis=axis, ddof=ddof, keepdims=keepdims)

    @answers
    def max(self: M, axis: Axis = None, keepdims: bool = False) -> M:
        """Largest entry; ties share the gradient equally."""
        return self._apply(ops.max, self, axis=axis, keepdims=keepdims)

    @answers
    def min(self: M, axis: Axis = None, keepdims: bool = False) -> M:
        """Smallest entry; ties share the gradient equally."""
        return self._apply(ops.min, self, axis=axis, keepdims=keepdims)

    @answers
    def logsumexp(self: M, axis: Axis = None, keepdims: bool = False) -> M:
        """log Σ exp, without overflow."""
        return self._apply(ops.logsumexp, self, axis=axis, keepdims=keepdims)

    @answers
    def norm(self: M, axis: Axis = None, keepdims: bool = False) -> M:
        """√Σx² over the axes; the gradient at 0 is 0."""
        return self._apply(ops.norm, self, axis=axis, keepdims=keepdims)

    @answers
    def cumsum(self: M, axis: Axis = None) -> M:
        """Running sum along the axis; of the flattened Tensor for None."""
        return self._apply(ops.cumsum, self, axis=axis)

    @answers
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Array:
        """Index of the largest entry, as an array."""
        return self._answer(np.argmax, self, axis=axis, keepdims=keepdims)

    @answers
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Array:
        """Index of the smallest entry, as an array."""
        return self._answer(np.argmin, self, axis=axis, keepdims=keepdims)

    @answers
    def argsort(self, axis: int = -1) -> Array:
        """Indices that sort the axis, ties in order, as an array."""
        return self._answer(np.argsort, self, axis=axis, kind="stable")

    @answers
    def all(self, axis: Axis = None, keepdims: bool = False) -> Array:
        """Whether all entries are non-zero, as an array."""
        return self._answer(np.all, self, axis=axis, keepdims=keepdims)

    @answers
    def any(self, axis: Axis = None, keepdims: bool = False) -> Array:
        """Whether some entry is non-zero, as an array."""
        return self._answer(np.any, self, axis=axis, keepdims=keepdims)

    def reshape(self: M, *shape: int | Sequence[int]) -> M:
        """The same entries in another shape, given as one tuple or as numbers."""
        return self._apply(ops.reshape, self, shape=_one_or_many(shape))

    @answers
    def ravel(self: M) -> M:
        """All entries in one axis."""
        return self._apply(ops.ravel, self)

    @answers
    def flatten(self: M) -> M:
        """All entries in one axis, as by `ravel`."""
        return self.ravel()

    def transpose(self: M, *axes: int | Sequence[int] | None) -> M:
        """Axes in the given order; reversed if none is given."""
        return self._apply(ops.transpose, self, axes=_one_or_many(axes) or None)

    def swapaxes(self: M, axis1: int, axis2: int) -> M:
        """Two axes exchanged."""
        return self._apply(ops.swapaxes, self, axis1=axis1, axis2=axis2)

    @answers
    def squeeze(self: M, axis: Axis = None) -> M:
        """Without axes of length 1."""
        return self._apply(ops.squeeze, self, axis=axis)

    @answers
    def repeat(self: M, repeats: ArrayLike, axis: int | None = None) -> M:
        """Each entry repeated; flattened for axis None."""
        return self._apply(ops.repeat, self, repeats=np.asarray(repeats), axis=axis)

    @answers
    def take(self: M, indices: ArrayLike, axis: int | None = None) -> M:
        """Entries at the indices along the axis."""
        return self._apply(ops.take, self, indices, axis=axis)

    def diagonal(self: M, offset: int = 0, axis1: int = 0, axis2: int = 1) -> M:
        """Entries (i, i + offset) of the two axes."""
        return self._apply(ops.diagonal, self, offset=offset, axis1=axis1, axis2=axis2)

    def trace(self: M, offset: int = 0, axis1: int = 0, axis2: int = 1) -> M:
        """Sum of the diagonal."""
        return self._apply(ops.trace, self, offset=offset, axis1=axis1, axis2=axis2)

    def dot(self: M, other: ArrayLike) -> M:
        """Product in the sense of ``np.dot``."""
        matrices = self._array.ndim == 2 == np.ndim(other)
        return self._apply(ops.matmul, self, other) if matrices else ops.dot(self, other)

    @answers
    def clip(self: M, min: ArrayLike | None = None, max: ArrayLike | None = None) -> M:
        """Limited to [min, max]; at a bound the gradient passes."""
        return self._apply(ops.clip, self, min, max)

    def round(self: M, decimals: int = 0) -> M:
        """Rounded, with gradient 0."""
        return self._apply(ops.round, self, decimals=decimals)

    def astype(self: M, dtype: DTypeLike, copy: bool = True) -> M:
        """Converted to another dtype; gradients come back in this one. Integers are constants."""
        wanted = np.dtype(dtype)
        if wanted == self._array.dtype and not copy:
            return self
        return self._apply(ops.cast, self if wanted.kind == "f" else self.detach(), dtype=wanted)

    @answers
    def sort(self, axis: int = -1) -> None:
        """Sort in place along the axis, as ``ndarray.sort``; ``np.sort`` gives a new Tensor."""
        self._become(ops.put, self._apply(ops.sort, self, axis=axis), ...)

    def copy(self: M) -> M:
        """The same values in memory of its own, recorded."""
        return self._apply(ops.copy, self)

    def exp(self: M) -> M:
        """eˣ, entry by entry."""
        return self._apply(ops.exp, self)

    def log(self: M) -> M:
        """Natural logarithm, entry by entry."""
        return self._apply(ops.log, self)

    def sqrt(self: M) -> M:
        """Square root, entry by entry."""
        return self._apply(ops.sqrt, self)

    def tanh(self: M) -> M:
        """Hyperbolic tangent, entry by entry."""
        return self._apply(ops.tanh, self)

    def sigmoid(self: M) -> M:
        """1 / (1 + e⁻ˣ), entry by entry."""
        return self._apply(ops.sigmoid, self)

    def relu(self: M) -> M:
        """max(x, 0), entry by entry; the slope at 0 is 0."""
        return self._apply(ops.relu, self)

    @answers
    def softmax(self: M, axis: int = -1) -> M:
        """eˣ / Σ eˣ along the axis."""
        return self._apply(ops.softmax, self, axis=axis)

    @answers
    def log_softmax(self: M, axis: int = -1) -> M:
        """x − log Σ eˣ along the axis."""
        return self._apply(ops.log_softmax, self, axis=axis)


def _one_or_many(numbers: tuple[int | Sequence[int] | None, ...]) -> tuple[object, ...] | None:
    """Accept both f(2, 3) and f((2, 3))."""
    if len(numbers) != 1 or isinstance(numbers[0], int | np.integer):
        return numbers
    return None if numbers[0] is None else tuple(numbers[0])
