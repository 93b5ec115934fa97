"""A table of vectors, one for each of a number of things."""

from __future__ import annotations

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.nn.init import Init
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.parameters import parameter, positive
from tinygrad_opt.outside import as_operand
from tinygrad_opt.recording import effect
from tinygrad_opt.tensor import Tensor, answer, apply, values_of
from tinygrad_opt.typing import ArrayLike, DTypeLike, Seed


def embedding(indices: ArrayLike, weight: Tensor) -> Tensor:
    """Row i of the table for each index i: shape (...) gives (..., features).

    Parameters
    ----------
    indices : array-like of int
        In [0, number of rows).
    weight : Tensor of shape (rows, features)

    Returns
    -------
    Tensor of shape (..., features)

    Raises
    ------
    TypeError
        If the indices are not integers.
    IndexError
        If one is out of range; negative ones do not count from the end.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> nn.embedding([2, 0], tg.Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist()
    [[5.0, 6.0], [1.0, 2.0]]
    """
    i = as_operand(indices)
    if i.dtype.kind not in "iu" and i.size:
        raise TypeError(f"embedding: indices must be integers, got {i.dtype}")
    effect(_check_range, values_of(i), weight.shape[0])
    if i.dtype != np.intp:
        i = answer(np.ndarray.astype, i, np.intp)
    return apply(ops.take, weight, i, axis=0)


def _check_range(i: np.ndarray, rows: int) -> None:
    if i.size and not 0 <= i.min() <= i.max() < rows:
        raise IndexError(f"embedding: indices go from {i.min()} to {i.max()}, the table's rows"
                         f" from 0 to {rows - 1}")


class Embedding(Module):
    """A table of vectors that are learned: index i ↦ row i.

    Parameters
    ----------
    rows, features : int
        How many things there are, and the length of the vector of each.
    init : str, float or callable, optional
        Of the table; N(0, 1) without it. See `nn.init`.
    dtype : dtype-like, optional
        Of the table; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Attributes
    ----------
    weight : Tensor of shape (rows, features)

    Raises
    ------
    ValueError
        If a size is not a positive integer.

    Notes
    -----
    A language model may score the next thing with the same table: ``h @ embedding.weight.T``. The
    weight is one parameter then, and its gradient the sum of both uses.

    References
    ----------
    Bengio et al., *A Neural Probabilistic Language Model* (2003).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.Embedding(27, 2, rng=0)([[0, 5, 26]]).shape
    (1, 3, 2)
    """

    _shown = "{0.weight.shape[0]}, {0.weight.shape[1]}"

    def __init__(
        self, rows: int, features: int, *, init: Init = None, dtype: DTypeLike | None = None,
        rng: Seed = None,
    ) -> None:
        shape = positive("Embedding", rows=rows, features=features)
        self.weight = parameter("weight", shape, init, dtype, rng, "normal")

    def forward(self, indices: ArrayLike) -> Tensor:
        return embedding(indices, self.weight)
