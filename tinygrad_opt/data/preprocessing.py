"""What is done to data before training: split, standardize, encode the labels."""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_opt.data.arguments import Floats, Seed, array_of, fraction, samples, whole
from tinygrad_opt.hints import answers
from tinygrad_opt.typing import Array

__all__ = ["one_hot", "standardize", "train_test_split"]


@answers
def train_test_split(
    x: ArrayLike, y: ArrayLike, *, test_size: float = 0.25, stratify: bool = True, rng: Seed = None
) -> tuple[Array, Array, Array, Array]:
    """Shuffled rows in two parts that share none and lose none.

    Parameters
    ----------
    x, y : array-like of shape (n_samples, ...), at least 2 samples
    test_size : float in (0, 1)
        The test set has round(test_size · n_samples) rows, but neither part is left empty.
    stratify : bool
        Give every class of one-dimensional integer labels its share of the test set, to
        within one sample (Kohavi, IJCAI 1995). Other targets are split whatever they are.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    x_train, x_test, y_train, y_test : arrays
        Copies, of the dtypes of x and y.

    Raises
    ------
    ValueError
        If x and y differ in length, or there are fewer than 2 samples.

    Examples
    --------
    >>> x, y = np.arange(300), np.repeat([0, 1, 2], 100)
    >>> x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, rng=0)
    >>> np.bincount(y_train).tolist(), np.bincount(y_test).tolist()
    ([80, 80, 80], [20, 20, 20])
    """
    x, y = array_of(x), array_of(y)
    n = samples(x, y)
    if n < 2:
        raise ValueError(f"a split needs at least 2 samples, got {n}.")
    test_size, rng = fraction("test_size", test_size), np.random.default_rng(rng)
    if not isinstance(stratify, bool | np.bool_):
        raise TypeError("stratify is True or False: the classes are those of y.")
    classes = y if stratify and y.ndim == 1 and y.dtype.kind in "biu" else np.zeros(n)
    _, labels, counts = np.unique(classes, return_inverse=True, return_counts=True)

    # Each class gives its share rounded down; the largest remainders give one more, ties at random.
    share = test_size * counts
    quota = np.floor(share).astype(int)
    n_test = min(max(round(test_size * n), 1), n - 1)
    quota[np.lexsort((rng.random(len(quota)), quota - share))[: n_test - quota.sum()]] += 1

    order = rng.permutation(n)
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled within
    place = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    in_test = place < np.repeat(quota, counts)
    train, test = rng.permutation(order[~in_test]), rng.permutation(order[in_test])
    return x[train], x[test], y[train], y[test]


@overload
def standardize(x_train: ArrayLike) -> Array: ...
@overload
def standardize(x_train: ArrayLike, *others: ArrayLike) -> tuple[Array, ...]: ...
@answers
def standardize(x_train: ArrayLike, *others: ArrayLike) -> Array | tuple[Array, ...]:
    """Columns of mean 0 and standard deviation 1, by what the training set knows.

    z = (x − μ) / σ, with μ and σ (dividing by n, not n − 1) of `x_train`, in float64.
    A column that is constant there says nothing and becomes 0, in the others too.
    See Y. LeCun, L. Bottou, G. Orr and K.-R. Müller, "Efficient BackProp" (1998), §4.3.

    Parameters
    ----------
    x_train : array-like of shape (n_samples, ...), finite, at least 1 sample
    *others : array-like of shape (any, ...), of the same other axes
        Moved and scaled by the same μ and σ, so that nothing of the test set leaks.

    Returns
    -------
    array, or tuple of one for each argument, of its shape and float dtype; float32 for integers

    Raises
    ------
    ValueError
        If there is no sample, or the other axes differ.

    Examples
    --------
    >>> train, test = standardize([[1, 7], [3, 7]], [[5, 8]])
    >>> train.tolist(), test.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [[3.0, 0.0]])
    """
    arrays = [array_of(x) for x in (x_train, *others)]
    first = arrays[0]
    if first.ndim == 0 or len(first) == 0:
        raise ValueError(f"x_train must hold at least 1 sample, got shape {first.shape}.")
    for number, x in enumerate(arrays):
        if x.ndim == 0 or x.shape[1:] != first.shape[1:]:
            shapes = f"array {number} has shape {x.shape}, x_train {first.shape}"
            raise ValueError(f"{shapes}: all axes but the first must agree.")
    mean, spread = first.mean(axis=0, dtype=np.float64), first.std(axis=0, dtype=np.float64)
    # Rounding may leave a constant column a spread of 1e-17, so that is not what decides.
    constant = (first == first[0]).all(axis=0) | (spread == 0)
    spread = np.where(constant, 1, spread)

    def scaled(x: Array) -> Array:
        z = np.where(constant, 0, (x - mean) / spread)
        return z.astype(x.dtype if x.dtype.kind == "f" else np.float32)

    return tuple(map(scaled, arrays)) if others else scaled(first)


@answers
def one_hot(labels: ArrayLike, n_classes: int | None = None) -> Floats:
    """Rows that are 1 at the label and 0 elsewhere: zᵢⱼ = 1 if j = yᵢ, else 0.

    The 1-of-K scheme of C. M. Bishop, *Pattern Recognition and Machine Learning* (2006), §2.2.

    Parameters
    ----------
    labels : array-like of int in ``[0, n_classes)``, of any shape
    n_classes : int, at least 1, or None for the largest label plus 1

    Returns
    -------
    float32 array of shape (*labels.shape, n_classes)

    Raises
    ------
    ValueError
        If a label lies outside, at either end (NumPy would take −1 as the last class).
    TypeError
        If the labels are not integers.

    Examples
    --------
    >>> one_hot([2, 0], 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    y = array_of(labels)
    if y.size == 0:
        y = y.astype(np.int64)  # an empty list comes as float64
        if n_classes is None:
            raise ValueError("no labels to count the classes by: give n_classes.")
    if y.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {y.dtype.name}.")
    n_classes = int(y.max()) + 1 if n_classes is None else whole("n_classes", n_classes)
    outside = np.flatnonzero((y < 0) | (y >= n_classes))
    if len(outside):
        at = outside[0]
        raise ValueError(f"label {y.flat[at]} at position {at} lies outside [0, {n_classes}).")
    hot: Floats = np.equal(y[..., None], np.arange(n_classes)).astype(np.float32)
    return hot
