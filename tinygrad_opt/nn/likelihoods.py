"""Negative log-likelihoods, in nats: the losses of classifiers; conventions as in `losses`.

What is computed of labels alone is asked for with `answer`, and values are checked in an `effect`,
so that a captured step computes and checks them anew at each replay.
"""

from __future__ import annotations

import numpy as np

from tinygrad_opt import kernels, ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn.losses import pair, reduced
from tinygrad_opt.nn.parameters import as_input
from tinygrad_opt.outside import as_operand
from tinygrad_opt.recording import effect
from tinygrad_opt.tensor import Tensor, answer, apply, values_of
from tinygrad_opt.typing import Array, ArrayLike, DTypeLike

# ---- many classes --------------------------------------------------------------------------------


@answers
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−Σⱼ pⱼ log softmax(x)ⱼ: how surprised the model is by classes that come with shares p.

    Parameters
    ----------
    logits : Tensor or array-like of shape (n, classes)
        x, unnormalised log-probabilities; any finite number is safe. No softmax before.
    target : array-like
        Class indices, ints of shape (n,), or probabilities p, floats of shape (n, classes).
    weight : Tensor or array-like of shape (classes,), optional
        How much each class counts. For class indices the mean is then the weighted one.
    label_smoothing : float in [0, 1]
        The part of each target that is spread evenly over all classes.
    ignore_index : int, optional
        Samples with this label count nothing, in the mean neither.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape (), or (n,) if the reduction is ``"none"``.

    Raises
    ------
    ShapeError
        If the shapes do not fit, or there is nothing to take the mean of.
    IndexError
        If a label is not in [0, classes).
    TypeError
        If labels are not integers.
    ValueError
        If label_smoothing is not in [0, 1], or ignore_index is given with probabilities.

    References
    ----------
    Goodfellow, Bengio & Courville, *Deep Learning* (2016), section 6.2.2.3; Szegedy et al.,
    *Rethinking the Inception Architecture* (2016), for label smoothing.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> round(float(nn.cross_entropy([[0.0, 0.0], [0.0, 0.0]], [0, 1])), 4)
    0.6931
    >>> float(nn.cross_entropy([[1000.0, 0.0]], [1]))
    1000.0
    """
    x, y = as_input(logits), as_operand(target)
    if y.dtype.kind != "f" and reduction == "mean" and x._array.size and not (
        weight is not None or label_smoothing or ignore_index is not None
    ):
        return apply(ops.cross_entropy, x, y)              # the common case, in one operation
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is in [0, 1], got {label_smoothing!r}")
    if y.dtype.kind != "f":
        return _of_labels("cross_entropy", x, y, ops.log_softmax, weight, label_smoothing,
                          ignore_index, reduction)
    if y.shape == x.shape[:1]:
        raise TypeError(f"cross_entropy: labels must be integers, got {y.dtype}. Convert them:"
                        " y.astype(int). Floats are probabilities, of the shape of the logits.")
    if ignore_index is not None:
        raise ValueError("cross_entropy: ignore_index goes with class indices, not probabilities")
    x, p = pair("cross_entropy", x, y)
    if x.ndim != 2:
        raise ShapeError(f"cross_entropy: logits need shape (n, classes), got {x.shape}")
    if label_smoothing:
        p = p * (1 - label_smoothing) + label_smoothing / x.shape[1]
    return reduced(_surprise(ops.log_softmax(x), p, _class_weight("cross_entropy", x, weight)),
                   reduction)


@answers
def nll_loss(
    log_probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−log pᵧ, for log-probabilities: what `cross_entropy` computes after the log softmax.

    Parameters
    ----------
    log_probabilities : Tensor or array-like of shape (n, classes)
        What `log_softmax` gives.
    labels : array-like of int, shape (n,)
        y, in [0, classes).
    weight : Tensor or array-like of shape (classes,), optional
        How much each class counts; the mean is then the weighted one.
    ignore_index : int, optional
        Samples with this label count nothing, in the mean neither.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape (), or (n,) if the reduction is ``"none"``.

    Raises
    ------
    ShapeError, IndexError, TypeError
        As `cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> round(float(nn.nll_loss(np.log([[0.25, 0.75]]), [0])), 4)
    1.3863
    """
    return _of_labels("nll_loss", as_input(log_probabilities), as_operand(labels), ops.positive,
                      weight, 0.0, ignore_index, reduction)


@answers
def kl_div(
    log_prediction: ArrayLike, target: ArrayLike, *, log_target: bool = False,
    reduction: str = "batchmean",
) -> Tensor:
    """p (log p − log q): how much is lost by taking q for the true distribution p.

    Parameters
    ----------
    log_prediction : Tensor or array-like of shape (n, ...)
        log q.
    target : Tensor or array-like of the same shape
        p, not negative; where it is 0 nothing is added.
    log_target : bool
        Whether the target is log p.
    reduction : {"batchmean", "mean", "sum", "none"}
        ``"batchmean"`` divides the sum by n and is the divergence; ``"mean"`` by all entries.

    Returns
    -------
    Tensor
        Of shape () unless the reduction is ``"none"``.

    Raises
    ------
    ShapeError
        If the shapes differ.
    ValueError
        If a probability is negative.

    References
    ----------
    Kullback & Leibler, *On Information and Sufficiency* (1951).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> round(float(nn.kl_div(np.log([[0.5, 0.5]]), [[1.0, 0.0]])), 4)
    0.6931
    """
    log_q, p = pair("kl_div", log_prediction, target)
    if log_target:
        losses = p.exp() * (p - log_q)
    else:
        effect(_check_not_negative, p._array)
        there = p > 0
        losses = p * (ops.log(ops.where(there, p, 1)) - ops.where(there, log_q, 0))
    if reduction == "batchmean":
        return losses.sum() / len(losses)
    return reduced(losses, reduction)


def _of_labels(
    name: str, x: Tensor, y: Array | Tensor, log_p: ops.Op, weight: ArrayLike | None,
    smoothing: float, ignored: int | None, reduction: str,
) -> Tensor:
    """The loss of log_p(x) for class indices y, each of which stands for a one-hot row."""
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ShapeError(f"{name}: logits need shape (n, classes) and labels shape (n,), got"
                         f" {x.shape} and {y.shape}")
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {y.dtype}")
    w = _class_weight(name, x, weight)
    effect(_check_labels, name, values_of(y), x.shape[1], ignored)
    p = Tensor(answer(_one_hot, y, x.shape[1], x.dtype, ignored))
    total = _weighted(p, w).sum() if reduction == "mean" else None
    if smoothing:                                          # an ignored row stays 0
        p = p * (1 - smoothing) + p.sum(axis=-1, keepdims=True) * (smoothing / x.shape[1])
    losses = _surprise(log_p(x), p, w)
    if total is None:
        return reduced(losses, reduction)
    effect(_check_total, total._array)
    return losses.sum() / total


def _surprise(log_p: Tensor, p: Tensor, w: Tensor | None) -> Tensor:
    """−Σⱼ wⱼ pⱼ log pⱼ of each row, where log p = −∞ costs nothing if p is 0 there."""
    return -(ops.where(p != 0, log_p, 0) * _weighted(p, w)).sum(axis=-1)


def _weighted(p: Tensor, w: Tensor | None) -> Tensor:
    return p if w is None else p * w


def _class_weight(name: str, x: Tensor, weight: ArrayLike | None) -> Tensor | None:
    """A Tensor with a number for each class."""
    if weight is None:
        return None
    weight = as_input(weight, x)
    if weight.shape != x.shape[1:]:
        raise ShapeError(f"{name}: weight needs shape {x.shape[1:]}, one number per class, got"
                         f" {weight.shape}")
    return weight


def _one_hot(
    labels: np.ndarray, classes: int, dtype: DTypeLike | None, ignored: int | None
) -> np.ndarray:
    """1 in the column of each row's label, 0 elsewhere and in the rows that are ignored."""
    hot = (labels[:, None] == kernels.created("arange", classes, like=labels)).astype(dtype)
    if ignored is not None:
        hot[labels == ignored] = 0
    return hot


def _check_labels(name: str, labels: np.ndarray, classes: int, ignored: int | None) -> None:
    bad = (labels < 0) | (labels >= classes)
    if ignored is not None:
        bad &= labels != ignored
    if bad.any():
        raise IndexError(f"{name}: label {labels[bad][0]} in row {bad.argmax()}, classes go from 0"
                         f" to {classes - 1}")


def _check_total(total: np.ndarray) -> None:
    if not total > 0:
        raise ShapeError("no sample counts, so there is no mean: is the batch empty, or are all"
                         " labels ignored or of weight 0?")


def _check_not_negative(p: np.ndarray) -> None:
    if not (p >= 0).all():
        raise ValueError("kl_div: targets are probabilities, got a negative one or nan."
                         " For log-probabilities give log_target=True.")


# ---- two classes ---------------------------------------------------------------------------------


def _binary_entropy(p: Array, y: Array) -> Array:
    """−y log p − (1 − y) log(1 − p)."""
    return -(y * _log(p) + (1 - y) * _log(1 - p))


def _binary_entropy_of_logits(x: Array, y: Array, a: Array) -> Array:
    """a y log(1 + e⁻ˣ) + (1 − y) log(1 + eˣ): with t = log(1 + e⁻|ˣ|) the two logarithms are
    max(−x, 0) + t and max(x, 0) + t."""
    no, yes = 1 - y, _times(a, y)
    t = kernels.log1p_exp_minus(x)
    x = np.float64(x) if isinstance(x, int | float) else x
    return kernels.relu(-x) * yes + kernels.relu(x) * no + (t if yes is y else t * (yes + no))


def _times(a: Array | float, y: Array) -> Array:
    """a y, which is y itself where a is the number 1."""
    return y if isinstance(a, float) and a == 1 else a * y


def _log(p: Array) -> Array:
    """log p, and −100 below e⁻¹⁰⁰."""
    return np.where(p > 0, np.maximum(np.log(np.where(p > 0, p, 1)), -100), -100)


binary_entropy = ops.op(
    "binary cross entropy", _binary_entropy,
    lambda g, z, p, y: g * (p - y) / np.maximum(p * (1 - p), 1e-12),
    lambda g, z, p, y: g * (_log(1 - p) - _log(p)),
)
binary_entropy_of_logits = ops.op(
    "binary cross entropy of logits", _binary_entropy_of_logits,
    lambda g, z, x, y, a: g * ((1 - y) * ops.sigmoid(x) - _times(a, y) * ops.sigmoid(-x)),
    lambda g, z, x, y, a: g * (a * ops.softplus(-x) - ops.softplus(x)),
    lambda g, z, x, y, a: g * y * ops.softplus(-x),
)
ops.register(binary_entropy=binary_entropy, binary_entropy_of_logits=binary_entropy_of_logits)


@answers
def binary_cross_entropy(
    prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> Tensor:
    """−y log p − (1 − y) log(1 − p), for probabilities p.

    Prefer `binary_cross_entropy_with_logits`, which keeps its precision where p is near 0 or 1.

    Parameters
    ----------
    prediction : Tensor or array-like
        Probabilities p, in [0, 1].
    target : Tensor or array-like of the same shape
        y: 0 and 1, or probabilities.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape () unless the reduction is ``"none"``.

    Raises
    ------
    ShapeError
        If the shapes differ, or there is nothing to take the mean of.
    ValueError
        If predictions or targets are not in [0, 1].

    Notes
    -----
    Logarithms stop at −100 and the divisor p (1 − p) of the gradient at 10⁻¹², as in PyTorch, so
    a wrong answer given with certainty costs 100 and not infinity.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> round(float(nn.binary_cross_entropy([0.5, 0.5], [0.0, 1.0])), 4)
    0.6931
    """
    p, y = pair("binary_cross_entropy", prediction, target)
    effect(_check_probabilities, "binary_cross_entropy: predictions", p._array,
           " Are they logits? Use binary_cross_entropy_with_logits.")
    effect(_check_probabilities, "binary_cross_entropy: targets", y._array)
    return reduced(apply(binary_entropy, p, y), reduction)


@answers
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *, pos_weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """a y log(1 + e⁻ˣ) + (1 − y) log(1 + eˣ): with a = 1 the binary cross entropy of p = σ(x).

    Parameters
    ----------
    logits : Tensor or array-like
        x, any finite number is safe.
    target : Tensor or array-like of the same shape
        y: 0 and 1, or probabilities.
    pos_weight : Tensor or array-like, optional
        a, how much more the case y = 1 counts; broadcasts with the logits.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape () unless the reduction is ``"none"``.

    Raises
    ------
    ShapeError
        If the shapes differ, or there is nothing to take the mean of.
    ValueError
        If targets are not in [0, 1]; labels of −1 and 1 belong to `hinge_loss`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> float(nn.binary_cross_entropy_with_logits([1000.0], [0.0]))
    1000.0
    """
    x, y = pair("binary_cross_entropy_with_logits", logits, target)
    effect(_check_probabilities, "binary_cross_entropy_with_logits: targets", y._array)
    a = 1.0 if pos_weight is None else as_input(pos_weight, x)
    return reduced(apply(binary_entropy_of_logits, x, y, a), reduction)


def _check_probabilities(what: str, p: np.ndarray, hint: str = "") -> None:
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise ValueError(f"{what} must be in [0, 1], they go from {p.min():.4g} to"
                         f" {p.max():.4g}.{hint}")
