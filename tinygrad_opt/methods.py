"""NumPy's methods on Tensors: each calls a row of the rule book.

Names, argument names and defaults are NumPy's. A row that is called with a Tensor is recorded by
it, so this file needs to know the rule book only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tinygrad_opt import ops

M = TypeVar("M", bound="Methods")


class Methods:
    """What `Tensor` inherits."""

    __slots__ = ()

    array: np.ndarray
    detach: Callable[[], Any]

    @property
    def T(self: M) -> M:
        """All axes in reverse order."""
        return ops.transpose(self)

    @property
    def mT(self: M) -> M:
        """The last two axes swapped."""
        return ops.swapaxes(self, axis1=-1, axis2=-2)

    def sum(self: M, axis: Any = None, keepdims: bool = False) -> M:
        """Sum over the axes; over all of them for None."""
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self: M, axis: Any = None, keepdims: bool = False) -> M:
        """Arithmetic mean over the axes."""
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def prod(self: M, axis: Any = None, keepdims: bool = False) -> M:
        """Product over the axes."""
        return ops.prod(self, axis=axis, keepdims=keepdims)

    def var(self: M, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> M:
        """Mean squared distance from the mean; the divisor is n − ddof."""
        return ops.var(self, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self: M, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> M:
        """Root of `var`."""
        return ops.std(self, axis=axis, ddof=ddof, keepdims=keepdims)

    def max(self: M, axis: Any = None, keepdims: bool = False) -> M:
        """Largest entry; ties share the gradient equally."""
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self: M, axis: Any = None, keepdims: bool = False) -> M:
        """Smallest entry; ties share the gradient equally."""
        return ops.min(self, axis=axis, keepdims=keepdims)

    def logsumexp(self: M, axis: Any = None, keepdims: bool = False) -> M:
        """log Σ exp, without overflow."""
        return ops.logsumexp(self, axis=axis, keepdims=keepdims)

    def norm(self: M, axis: Any = None, keepdims: bool = False) -> M:
        """√Σx² over the axes; the gradient at 0 is 0."""
        return ops.norm(self, axis=axis, keepdims=keepdims)

    def cumsum(self: M, axis: Any = None) -> M:
        """Running sum along the axis; of the flattened Tensor for None."""
        return ops.cumsum(self, axis=axis)

    def argmax(self: Any, axis: Any = None, keepdims: bool = False) -> Any:
        """Index of the largest entry, as an array."""
        return np.argmax(self, axis=axis, keepdims=keepdims)

    def argmin(self: Any, axis: Any = None, keepdims: bool = False) -> Any:
        """Index of the smallest entry, as an array."""
        return np.argmin(self, axis=axis, keepdims=keepdims)

    def argsort(self: Any, axis: int = -1) -> Any:
        """Indices that sort the axis, ties in order, as an array."""
        return np.argsort(self, axis=axis, kind="stable")

    def all(self: Any, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether all entries are non-zero, as an array."""
        return np.all(self, axis=axis, keepdims=keepdims)

    def any(self: Any, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether some entry is non-zero, as an array."""
        return np.any(self, axis=axis, keepdims=keepdims)

    def reshape(self: M, *shape: Any) -> M:
        """The same entries in another shape, given as one tuple or as numbers."""
        return ops.reshape(self, shape=_one_or_many(shape))

    def ravel(self: M) -> M:
        """All entries in one axis."""
        return ops.ravel(self)

    flatten = ravel

    def transpose(self: M, *axes: Any) -> M:
        """Axes in the given order; reversed if none is given."""
        given = axes and axes[0] is not None
        return ops.transpose(self, axes=_one_or_many(axes) if given else None)

    def swapaxes(self: M, axis1: int, axis2: int) -> M:
        """Two axes exchanged."""
        return ops.swapaxes(self, axis1=axis1, axis2=axis2)

    def squeeze(self: M, axis: Any = None) -> M:
        """Without axes of length 1."""
        return ops.squeeze(self, axis=axis)

    def repeat(self: M, repeats: Any, axis: int | None = None) -> M:
        """Each entry repeated; flattened for axis None."""
        return ops.repeat(self, repeats=np.asarray(repeats), axis=axis)

    def take(self: M, indices: Any, axis: int | None = None) -> M:
        """Entries at the indices along the axis."""
        return ops.take(self, indices, axis=axis)

    def diagonal(self: M, offset: int = 0, axis1: int = 0, axis2: int = 1) -> M:
        """Entries (i, i + offset) of the two axes."""
        return ops.diagonal(self, offset=offset, axis1=axis1, axis2=axis2)

    def trace(self: M, offset: int = 0, axis1: int = 0, axis2: int = 1) -> M:
        """Sum of the diagonal."""
        return ops.trace(self, offset=offset, axis1=axis1, axis2=axis2)

    def dot(self: M, other: Any) -> M:
        """Product in the sense of ``np.dot``."""
        matrices = self.array.ndim == 2 == np.ndim(other)
        return ops.matmul(self, other) if matrices else ops.dot(self, other)

    def clip(self: M, min: Any = None, max: Any = None) -> M:
        """Limited to [min, max]; at a bound the gradient passes."""
        return ops.clip(self, min, max)

    def round(self: M, decimals: int = 0) -> M:
        """Rounded, with gradient 0."""
        return ops.round(self, decimals=decimals)

    def astype(self: M, dtype: Any, copy: bool = True) -> M:
        """Converted to another dtype; gradients come back in this one. Integers are constants."""
        wanted = np.dtype(dtype)
        if wanted == self.array.dtype and not copy:
            return self
        return ops.cast(self if wanted.kind == "f" else self.detach(), dtype=wanted)

    def copy(self: M) -> M:
        """The same values in memory of its own, recorded."""
        return ops.copy(self)

    def exp(self: M) -> M:
        """eˣ, entry by entry."""
        return ops.exp(self)

    def log(self: M) -> M:
        """Natural logarithm, entry by entry."""
        return ops.log(self)

    def sqrt(self: M) -> M:
        """Square root, entry by entry."""
        return ops.sqrt(self)

    def tanh(self: M) -> M:
        """Hyperbolic tangent, entry by entry."""
        return ops.tanh(self)

    def sigmoid(self: M) -> M:
        """1 / (1 + e⁻ˣ), entry by entry."""
        return ops.sigmoid(self)

    def relu(self: M) -> M:
        """max(x, 0), entry by entry; the slope at 0 is 0."""
        return ops.relu(self)

    def softmax(self: M, axis: int = -1) -> M:
        """eˣ / Σ eˣ along the axis."""
        return ops.softmax(self, axis=axis)

    def log_softmax(self: M, axis: int = -1) -> M:
        """x − log Σ eˣ along the axis."""
        return ops.log_softmax(self, axis=axis)


def _one_or_many(numbers: tuple[Any, ...]) -> tuple[int, ...]:
    """Accept both f(2, 3) and f((2, 3))."""
    if len(numbers) == 1 and not isinstance(numbers[0], int | np.integer):
        return tuple(numbers[0])
    return tuple(numbers)
