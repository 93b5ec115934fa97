"""Losses: how far predictions are from targets, as one number to minimise.

Each takes the prediction first and then the target. `reduction` says what becomes of the losses
of the entries or samples: ``"mean"``, ``"sum"``, or ``"none"`` to keep them apart. Prediction and
target must have the same shape: (n, 1) beside (n,) would broadcast to (n, n) and train towards
the mean, so it is an error. Raw arrays take the dtype of the Tensor beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.nn.activations import relu
from tinygrad_opt.nn.reductions import constant, pair, reduced, values
from tinygrad_opt.tensor import Tensor, apply, effect

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "l1_loss",
    "mse_loss",
]

# ---- numbers -------------------------------------------------------------------------------------


def mse_loss(prediction: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """(x − y)², the squared error.

    Parameters
    ----------
    prediction, target : Tensor or array-like of one shape
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape () unless the reduction is ``"none"``.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> float(nn.mse_loss([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    x, y = pair("mse_loss", prediction, target)
    return reduced(apply(ops.square, x - y), reduction)


def l1_loss(prediction: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """|x − y|, the absolute error; its slope at 0 is 0.

    Parameters, errors and result as for `mse_loss`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> float(nn.l1_loss([1.0, 2.0], [1.0, 4.0]))
    1.0
    """
    x, y = pair("l1_loss", prediction, target)
    return reduced(abs(x - y), reduction)


def huber_loss(
    prediction: Any, target: Any, *, delta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """½ d² where d = |x − y| ≤ δ, δ (d − ½ δ) beyond: outliers pull with a force of δ at most.

    Parameters
    ----------
    prediction, target : Tensor or array-like of one shape
    delta : float > 0
        δ, where the parabola goes over into its tangent.
    reduction : {"mean", "sum", "none"}

    References
    ----------
    Huber, *Robust Estimation of a Location Parameter* (1964).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.huber_loss([0.0, 0.0], [1.0, 10.0], reduction="none").tolist()
    [0.5, 9.5]
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta!r}")
    x, y = pair("huber_loss", prediction, target)
    distance = abs(x - y)
    near = ops.minimum(distance, delta)
    return reduced(near * (distance - 0.5 * near), reduction)     # no square of an outlier


def cosine_embedding_loss(
    x1: Any, x2: Any, target: Any, *, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 − cos(x₁, x₂) for pairs that belong together, max(0, cos(x₁, x₂) − margin) for others.

    Parameters
    ----------
    x1, x2 : Tensor or array-like of shape (n, features)
    target : array-like of shape (n,)
        1 where the two belong together, −1 where they don't.
    margin : float in [−1, 1]
    reduction : {"mean", "sum", "none"}

    Notes
    -----
    10⁻¹² is added to the squared lengths, as in PyTorch: a zero vector has cosine 0.
    """
    x1, x2 = pair("cosine_embedding_loss", x1, x2)
    sign = _signs("cosine_embedding_loss", target)
    if x1.ndim != 2 or sign.shape != x1.shape[:1]:
        raise ShapeError(f"cosine_embedding_loss needs inputs of shape (n, features) and targets"
                         f" of shape (n,), got {x1.shape} and {sign.shape}")
    lengths = (((x1 * x1).sum(axis=1) + 1e-12) * ((x2 * x2).sum(axis=1) + 1e-12)).sqrt()
    cos = (x1 * x2).sum(axis=1) / lengths
    return reduced(ops.where(sign > 0, 1 - cos, relu(cos - margin)), reduction)


# ---- two classes ---------------------------------------------------------------------------------


def _log_above(p):
    return np.where(p > 0, np.maximum(np.log(np.where(p > 0, p, 1)), -100), -100)


def binary_entropy(p, y):
    """−y log p − (1 − y) log(1 − p)."""
    return -(y * _log_above(p) + (1 - y) * _log_above(1 - p))


def binary_entropy_of_logits(x, y, a):
    """a y log(1 + e⁻ˣ) + (1 − y) log(1 + eˣ); a is the weight of y = 1."""
    return a * y * np.logaddexp(-x, 0) + (1 - y) * np.logaddexp(x, 0)


_binary_entropy = ops.op(
    "binary cross entropy", binary_entropy,
    lambda g, z, p, y: g * (p - y) / np.maximum(p * (1 - p), 1e-12),
    lambda g, z, p, y: g * (_log_above(1 - p) - _log_above(p)),
)

_binary_entropy_of_logits = ops.op(
    "binary cross entropy of logits", binary_entropy_of_logits,
    lambda g, z, x, y, a: g * ((1 - y) * ops.sigmoid(x) - a * y * ops.sigmoid(-x)),
    lambda g, z, x, y, a: g * (a * ops.softplus(-x) - ops.softplus(x)),
    lambda g, z, x, y, a: g * y * ops.softplus(-x),
)
ops.register(
    binary_entropy=_binary_entropy, binary_entropy_of_logits=_binary_entropy_of_logits,
)


def binary_cross_entropy(prediction: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """−y log p − (1 − y) log(1 − p), in nats, for probabilities p.

    Prefer `binary_cross_entropy_with_logits`, which keeps its precision where p is near 0 or 1.

    Parameters
    ----------
    prediction : Tensor or array-like
        Probabilities p, in [0, 1].
    target : Tensor or array-like of the same shape
        0 and 1, or probabilities.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ShapeError
        If the shapes differ.
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
    _probabilities("binary_cross_entropy: predictions", p,
                   " Are they logits? Use binary_cross_entropy_with_logits.")
    _probabilities("binary_cross_entropy: targets", y)
    return reduced(apply(_binary_entropy, p, y), reduction)


def binary_cross_entropy_with_logits(
    logits: Any, target: Any, *, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """y log(1 + e⁻ˣ) + (1 − y) log(1 + eˣ): the binary cross entropy of p = σ(x).

    Parameters
    ----------
    logits : Tensor or array-like
        x, any finite number is safe.
    target : Tensor or array-like of the same shape
        0 and 1, or probabilities.
    pos_weight : array-like, optional
        How much more the case y = 1 counts; broadcasts with the logits.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ShapeError
        If the shapes differ.
    ValueError
        If targets are not in [0, 1]; labels of −1 and 1 belong to `hinge_loss`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> float(nn.binary_cross_entropy_with_logits([1000.0], [0.0]))
    1000.0
    """
    name = "binary_cross_entropy_with_logits"
    x, y = pair(name, logits, target)
    _probabilities(f"{name}: targets", y)
    weight = 1.0 if pos_weight is None else constant(pos_weight, x.dtype)
    return reduced(apply(_binary_entropy_of_logits, x, y, weight), reduction)


def hinge_loss(
    scores: Any, target: Any, *, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin − y x): nothing once the score x is on the right side by the margin.

    Parameters
    ----------
    scores : Tensor or array-like
        x, the sign is the predicted class.
    target : array-like of the same shape
        y, −1 or 1.
    margin : float
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ShapeError
        If the shapes differ.
    ValueError
        If a target is neither −1 nor 1.

    References
    ----------
    Cortes & Vapnik, *Support-Vector Networks* (1995).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.hinge_loss([2.0, 0.5, -1.0], [1, 1, 1], reduction="none").tolist()
    [0.0, 0.5, 2.0]
    """
    x, y = pair("hinge_loss", scores, target)
    _signs("hinge_loss", y)
    return reduced(relu(margin - y * x), reduction)


# ---- checks --------------------------------------------------------------------------------------

# Effects, so that a captured step checks the targets of each batch.


def _signs(name: str, target: Any) -> Any:
    signs = target if type(target) is Tensor else np.asarray(target)
    effect(_check_signs, name, values(signs))
    return signs


def _check_signs(name: str, signs: np.ndarray) -> None:
    if not (np.abs(signs) == 1).all():
        raise ValueError(f"{name}: targets are -1 and 1. For labels of 0 and 1: 2 * y - 1.")


def _probabilities(what: str, p: Tensor, hint: str = "") -> None:
    effect(_check_probabilities, what, p.array, hint)


def _check_probabilities(what: str, p: np.ndarray, hint: str) -> None:
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"{what} must be in [0, 1], they go from {p.min():.4g} to"
                         f" {p.max():.4g}.{hint}")
