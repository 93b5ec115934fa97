"""Losses over classes: cross entropy and its relatives; conventions as in `losses`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.nn.reductions import as_tensor, constant, pair, reduced, values
from tinygrad_opt.tensor import Tensor, answer, apply, effect

__all__ = ["cross_entropy", "kl_div", "nll_loss"]


def cross_entropy(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−log softmax(x)ᵧ, in nats: how surprised the model is by the class y.

    Parameters
    ----------
    logits : Tensor or array-like of shape (n, classes)
        x, unnormalised log-probabilities; any finite number is safe. No softmax before.
    target : array-like
        Class indices, ints of shape (n,), or probabilities, floats of shape (n, classes).
    weight : array-like of shape (classes,), optional
        How much each class counts. For class indices the mean is then the weighted one.
    label_smoothing : float in [0, 1]
        The part of each target that is spread evenly over all classes.
    ignore_index : int, optional
        Samples with this label count nothing, in the mean neither.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ShapeError
        If the shapes do not fit, or there is nothing to take the mean of.
    IndexError
        If a label is not in [0, classes).
    TypeError
        If labels are not integers.

    References
    ----------
    Szegedy et al., *Rethinking the Inception Architecture* (2016), for label smoothing.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> round(float(nn.cross_entropy([[0.0, 0.0], [0.0, 0.0]], [0, 1])), 4)
    0.6931
    >>> float(nn.cross_entropy([[1000.0, 0.0]], [1]))
    1000.0
    """
    x = logits if type(logits) is Tensor else as_tensor(logits)
    y = target.array if type(target) is Tensor else np.asarray(target)
    if y.dtype.kind != "f" and reduction == "mean" and x.array.size and not (
        weight is not None or label_smoothing or ignore_index is not None
    ):
        labels = target if type(target) is Tensor else y
        return apply(ops.cross_entropy, x, labels)         # the common case, in one operation
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is in [0, 1], got {label_smoothing!r}")
    if y.dtype.kind != "f":
        mass, counts = _shares("cross_entropy", x, target, weight, label_smoothing, ignore_index)
        return _surprise(apply(ops.log_softmax, x), mass, counts, reduction)
    if y.shape == x.shape[:1]:
        raise TypeError(f"cross_entropy: labels must be integers, got {y.dtype}. Convert them:"
                        " y.astype(int). Floats are probabilities, of the shape of the logits.")
    if ignore_index is not None:
        raise ValueError("cross_entropy: ignore_index goes with class indices, not probabilities")
    x, p = pair("cross_entropy", x, target)
    if x.ndim != 2:
        raise ShapeError(f"cross_entropy: logits need shape (n, classes), got {x.shape}")
    if label_smoothing:
        p = p * (1 - label_smoothing) + label_smoothing / x.shape[1]
    if weight is not None:
        p = p * _class_weights("cross_entropy", x, weight)
    return _surprise(apply(ops.log_softmax, x), p, np.ones(len(x), x.dtype), reduction)


def nll_loss(
    log_probabilities: Any,
    labels: Any,
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−log pᵧ, for log-probabilities: what `cross_entropy` computes after the log softmax.

    Parameters
    ----------
    log_probabilities : Tensor or array-like of shape (n, classes)
        What `log_softmax` gives.
    labels : array-like of int, shape (n,)
    weight, ignore_index, reduction, errors
        As for `cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> round(float(nn.nll_loss(np.log([[0.25, 0.75]]), [0])), 4)
    1.3863
    """
    x = as_tensor(log_probabilities)
    mass, counts = _shares("nll_loss", x, labels, weight, 0.0, ignore_index)
    return _surprise(x, mass, counts, reduction)


def kl_div(
    log_prediction: Any, target: Any, *, log_target: bool = False, reduction: str = "batchmean"
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
        effect(_check_not_negative, p.array)
        there = p > 0
        losses = p * (ops.log(ops.where(there, p, 1)) - ops.where(there, log_q, 0))
    if reduction == "batchmean":
        return losses.sum() / len(losses)
    return reduced(losses, reduction)


# What is computed of labels alone is asked for with `answer` and checked in an `effect`, so that a
# captured step computes and checks it anew at each replay.


def _shares(
    name: str, x: Tensor, labels: Any, weight: Any, smoothing: float, ignored: int | None
) -> tuple[Any, Any]:
    """How much of each log-probability each sample pays, and how much each sample counts."""
    y = labels if type(labels) is Tensor else np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ShapeError(f"{name}: logits need shape (n, classes) and labels shape (n,), got"
                         f" {x.shape} and {y.shape}")
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {y.dtype}")
    effect(_check_labels, name, values(y), x.shape[1], ignored)
    weights = np.ones(x.shape[1], x.dtype) if weight is None else _class_weights(name, x, weight)
    return answer(_label_mass, y, weights, smoothing, ignored), answer(_counts, y, weights, ignored)


def _check_labels(name: str, labels: np.ndarray, classes: int, ignored: int | None) -> None:
    bad = ((labels < 0) | (labels >= classes)) & _counted(labels, ignored)
    if bad.any():
        raise IndexError(f"{name}: label {labels[bad][0]} in row {bad.argmax()}, classes go from 0"
                         f" to {classes - 1}")


def _counted(labels: np.ndarray, ignored: int | None) -> np.ndarray:
    return np.ones(len(labels), bool) if ignored is None else labels != ignored


def _label_mass(
    labels: np.ndarray, weights: np.ndarray, smoothing: float, ignored: int | None
) -> np.ndarray:
    counted, classes = _counted(labels, ignored), len(weights)
    y = np.where(counted, labels, 0)
    mass = np.zeros((len(y), classes), weights.dtype)
    mass[np.arange(len(y)), y] = (1 - smoothing) * weights[y]
    if smoothing:
        mass += smoothing / classes * weights
    return mass * counted[:, None]


def _counts(labels: np.ndarray, weights: np.ndarray, ignored: int | None) -> np.ndarray:
    counted = _counted(labels, ignored)
    return weights[np.where(counted, labels, 0)] * counted


def _surprise(log_p: Tensor, mass: Any, counts: Any, reduction: str) -> Tensor:
    """−Σⱼ mass · log p of each row, where log p = −∞ costs nothing if no mass is there."""
    losses = -(ops.where(answer(np.not_equal, mass, 0), log_p, 0) * mass).sum(axis=-1)
    if reduction != "mean":
        return reduced(losses, reduction)
    return losses.sum() / answer(_total, counts)


def _total(counts: np.ndarray) -> np.ndarray:
    total = counts.sum()
    if not total > 0:
        raise ShapeError("no sample counts, so there is no mean: is the batch empty, or are all"
                         " labels ignored or of weight 0?")
    return total


def _check_not_negative(p: np.ndarray) -> None:
    if not (p >= 0).all():
        raise ValueError("kl_div: targets are probabilities, got a negative one or nan."
                         " For log-probabilities give log_target=True.")


def _class_weights(name: str, x: Tensor, weight: Any) -> np.ndarray:
    weights = constant(weight, x.dtype)
    if weights.shape != x.shape[1:]:
        raise ShapeError(f"{name}: weight needs shape {x.shape[1:]}, one number per class, got"
                         f" {weights.shape}")
    return weights
