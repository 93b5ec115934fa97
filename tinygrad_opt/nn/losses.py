"""Losses: how far predictions are from targets, as one number to minimise; and penalties.

Each takes the prediction first and then the target. `reduction` says what becomes of the losses
of the entries or samples: ``"mean"``, ``"sum"``, or ``"none"`` to keep them apart. Prediction and
target must have the same shape: (n, 1) beside (n,) would broadcast to (n, n) and train towards
the mean, so it is an error. Raw arrays and integers take the dtype of the float Tensor beside
them, or the default dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn.activations import relu
from tinygrad_opt.nn.module import matching
from tinygrad_opt.nn.parameters import as_input
from tinygrad_opt.outside import as_operand
from tinygrad_opt.recording import effect
from tinygrad_opt.tensor import Tensor, answer, apply, values_of
from tinygrad_opt.typing import Array, ArrayLike


def _clipped(x: Array, delta: float) -> Array:
    return np.clip(x, -delta, delta)


def _huber(x: Array, delta: float, shared: Array | None = None) -> Array:
    """½ x² where |x| ≤ δ, δ (|x| − ½ δ) beyond, without the square of an outlier."""
    near = _clipped(x, delta) if shared is None else shared
    return near * (x + near * -0.5)                        # no temporaries beside one


huber = ops.op("huber", _huber, lambda g, z, x, delta, shared=None:
                   g * (ops.clip(x, -delta, delta) if shared is None else shared),
               shared=_clipped)
ops.register(huber=huber)


@answers
def mse_loss(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Tensor:
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
        If the shapes differ, or there is nothing to take the mean of.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> float(nn.mse_loss([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    x, y = pair("mse_loss", prediction, target)
    return reduced(apply(ops.square, x - y), reduction)


@answers
def l1_loss(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Tensor:
    """|x − y|, the absolute error; its slope at 0 is 0.

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
        If the shapes differ, or there is nothing to take the mean of.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> float(nn.l1_loss([1.0, 2.0], [1.0, 4.0]))
    1.0
    """
    x, y = pair("l1_loss", prediction, target)
    return reduced(abs(x - y), reduction)


@answers
def huber_loss(
    prediction: ArrayLike, target: ArrayLike, *, delta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """½ e² where |e| ≤ δ for e = x − y, δ (|e| − ½ δ) beyond: an outlier pulls with force δ.

    Parameters
    ----------
    prediction, target : Tensor or array-like of one shape
    delta : float > 0
        δ, where the parabola goes over into its tangent.
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
        If delta is not positive.

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
    return reduced(apply(huber, x - y, delta=delta), reduction)


@answers
def cosine_embedding_loss(
    x1: ArrayLike, x2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 − cos(x₁, x₂) for pairs that belong together, max(0, cos(x₁, x₂) − margin) for others.

    Parameters
    ----------
    x1, x2 : Tensor or array-like of shape (n, features)
    target : array-like of shape (n,)
        1 where the two belong together, −1 where they don't.
    margin : float in [−1, 1]
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape (), or (n,) if the reduction is ``"none"``.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    ValueError
        If a target is neither −1 nor 1.

    Notes
    -----
    10⁻¹² is added to the squared lengths, as in PyTorch: a zero vector has cosine 0.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> float(nn.cosine_embedding_loss([[1.0, 0.0]], [[0.0, 2.0]], [1]))
    1.0
    """
    x1, x2 = pair("cosine_embedding_loss", x1, x2)
    sign = as_operand(target)
    effect(_check_signs, "cosine_embedding_loss", values_of(sign))
    if x1.ndim != 2 or sign.shape != x1.shape[:1]:
        raise ShapeError(f"cosine_embedding_loss needs inputs of shape (n, features) and targets"
                         f" of shape (n,), got {x1.shape} and {sign.shape}")
    lengths = (((x1 * x1).sum(axis=1) + 1e-12) * ((x2 * x2).sum(axis=1) + 1e-12)).sqrt()
    cos = (x1 * x2).sum(axis=1) / lengths
    together = answer(np.greater, sign, 0)
    return reduced(ops.where(together, 1 - cos, relu(cos - margin)), reduction)


@answers
def hinge_loss(
    scores: ArrayLike, target: ArrayLike, *, margin: float = 1.0, reduction: str = "mean"
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

    Returns
    -------
    Tensor
        Of shape () unless the reduction is ``"none"``.

    Raises
    ------
    ShapeError
        If the shapes differ, or there is nothing to take the mean of.
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
    effect(_check_signs, "hinge_loss", y._array)
    return reduced(relu(margin - y * x), reduction)


def _check_signs(name: str, signs: np.ndarray) -> None:
    if not (np.abs(signs) == 1).all():
        raise ValueError(f"{name}: targets are -1 and 1. For labels of 0 and 1: 2 * y - 1.")


# ---- penalties -----------------------------------------------------------------------------------


@answers
def l1_penalty(parameters: dict[str, Tensor], strength: float, pattern: str = "*") -> Tensor:
    """strength · Σ |p|, to be added to a loss: it drives parameters to 0.

    Parameters
    ----------
    parameters : dict of str to Tensor
        ``model.parameters()``.
    strength : float
    pattern : str
        Which names, as in a shell: ``"*weight"`` leaves the biases alone.

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    ValueError
        If no name matches.

    References
    ----------
    Tibshirani, *Regression Shrinkage and Selection via the Lasso* (1996).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> model = nn.Linear(2, 1, init=nn.init.constant)
    >>> float(nn.l1_penalty(model.parameters(), 0.1, "*weight"))
    0.0
    """
    return _penalty(parameters, strength, pattern, abs)


@answers
def l2_penalty(parameters: dict[str, Tensor], strength: float, pattern: str = "*") -> Tensor:
    """strength · Σ p², to be added to a loss. Its gradient is 2 · strength · p.

    Parameters
    ----------
    parameters : dict of str to Tensor
        ``model.parameters()``.
    strength : float
    pattern : str
        Which names, as in a shell: ``"*weight"`` leaves the biases alone.

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    ValueError
        If no name matches.

    Notes
    -----
    With plain SGD it is `weight_decay` of 2 · strength; with other optimizers the two differ.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> w = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> float(nn.l2_penalty({"w": w}, 2.0))
    50.0
    """
    return _penalty(parameters, strength, pattern, lambda p: p * p)


def _penalty(
    parameters: dict[str, Tensor], strength: float, pattern: str, size: Callable[..., Tensor]
) -> Tensor:
    first, *rest = [size(p).sum() for p in matching(parameters, pattern).values()]
    return strength * sum(rest, first)


# ---- what losses share ---------------------------------------------------------------------------


def pair(name: str, x: ArrayLike, y: ArrayLike) -> tuple[Tensor, Tensor]:
    """Prediction and target as float Tensors of one shape."""
    x = as_input(x, y)
    y = as_input(y, x)
    if x.shape != y.shape:
        raise ShapeError(f"{name} of shapes {x.shape} and {y.shape}: they must be the same."
                         f"{_hint(x.shape, y.shape)}")
    return x, y


def _hint(x: tuple[int, ...], y: tuple[int, ...]) -> str:
    """What to try with two shapes that would broadcast to something else."""
    for longer, shorter, name in (x, y, "prediction"), (y, x, "target"):
        if longer == (*shorter, 1):
            return f" Drop the last axis, {name}[..., 0], or give the other one such an axis."
    return " Reshape one of them." if math.prod(x) == math.prod(y) else ""


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The losses as `reduction` says."""
    if reduction == "mean":
        if not losses.size:
            raise ShapeError(f"no losses to take the mean of: the shape is {losses.shape}")
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f'reduction is "mean", "sum" or "none", got {reduction!r}')
