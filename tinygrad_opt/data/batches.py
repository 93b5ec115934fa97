"""Minibatches: the samples of a pass over the data, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_opt.data.arguments import Seed, array_of, samples, whole
from tinygrad_opt.hints import answers
from tinygrad_opt.typing import Array

__all__ = ["minibatches"]


@overload
def minibatches(x: ArrayLike, y: None = None, batch_size: int = 32, *, shuffle: bool = True,
                rng: Seed = None, drop_last: bool = False) -> Iterator[Array]: ...
@overload
def minibatches(x: ArrayLike, y: ArrayLike, batch_size: int = 32, *, shuffle: bool = True,
                rng: Seed = None, drop_last: bool = False) -> Iterator[tuple[Array, Array]]: ...
@answers
def minibatches(
    x: ArrayLike,
    y: ArrayLike | None = None,
    batch_size: int = 32,
    *,
    shuffle: bool = True,
    rng: Seed = None,
    drop_last: bool = False,
) -> Iterator[Array] | Iterator[tuple[Array, Array]]:
    """One pass over the samples: ⌈n / batch_size⌉ batches, the last with what is left.

    `batch_size` = 1, k and n make stochastic, mini-batch and batch gradient descent.
    Wrong arguments are refused at the call, not at the first batch.

    Parameters
    ----------
    x : array-like of shape (n_samples, ...)
        Only a batch is read at a time: a memory-mapped array may be larger than memory.
    y : array-like of shape (n_samples, ...) or None
    batch_size : int, at least 1
    shuffle : bool
        Visit the samples in random order, each once, which converges faster than
        independent draws (L. Bottou, 2009). Without it batches are views of x and y.
    rng : int, numpy.random.Generator or None
        Over several epochs hand on one Generator: an int repeats the order in each.
    drop_last : bool
        Leave out a last batch that is smaller, for ⌊n / batch_size⌋ batches.

    Yields
    ------
    pair of arrays of shape (batch_size, ...)
        x[rows] and y[rows]; x[rows] alone where y is None.

    Raises
    ------
    ValueError
        If x and y differ in length, or batch_size is less than 1.

    Examples
    --------
    >>> x, y = np.zeros((300, 2)), np.zeros(300)
    >>> [len(xb) for xb, yb in minibatches(x, y, 128, rng=0)]
    [128, 128, 44]
    """
    arrays = [array_of(a) for a in (x, y) if a is not None]
    n = samples(*arrays)
    batch_size = whole("batch_size", batch_size)
    order = np.random.default_rng(rng).permutation(n) if shuffle else None
    stop = n - n % batch_size if drop_last else n

    def parts(array: Array) -> Iterator[Array]:
        for start in range(0, stop, batch_size):
            span = slice(start, start + batch_size)
            yield array[span if order is None else order[span]]

    return parts(arrays[0]) if y is None else zip(*map(parts, arrays))
