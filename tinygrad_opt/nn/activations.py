"""Activations: as functions of a Tensor, and as modules that stand between layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_opt import ops
from tinygrad_opt.nn.module import Module
from tinygrad_opt.tensor import Tensor, apply

__all__ = [
    "ELU",
    "GELU",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "activation",
    "elu",
    "gelu",
    "identity",
    "leaky_relu",
    "log_softmax",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


def identity(x: Any) -> Any:
    """x itself."""
    return x


def relu(x: Any) -> Tensor:
    """max(x, 0); the slope at 0 is 0."""
    return apply(ops.relu, x)


def leaky_relu(x: Any, slope: float = 0.01) -> Tensor:
    """x where x > 0, slope · x elsewhere."""
    return apply(ops.leaky_relu, x, slope=slope)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where x > 0, α (eˣ − 1) elsewhere. Clevert et al. (2015)."""
    return apply(ops.elu, x, alpha=alpha)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x Φ(x), Φ the normal distribution function. Hendrycks & Gimpel (2016).

    Parameters
    ----------
    x : Tensor or array-like
    approximate : {"none", "tanh"}
        ``"tanh"`` is the formula of GPT-2, ½ x (1 + tanh √(2/π) (x + 0.044715 x³)).
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate is "none" or "tanh", got {approximate!r}')
    return apply(ops.gelu_tanh if approximate == "tanh" else ops.gelu, x)


def silu(x: Any) -> Tensor:
    """x / (1 + e⁻ˣ), also called swish."""
    return apply(ops.silu, x)


def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent."""
    return apply(ops.tanh, x)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + e⁻ˣ), exact in both tails."""
    return apply(ops.sigmoid, x)


def softplus(x: Any) -> Tensor:
    """log(1 + eˣ), without overflow."""
    return apply(ops.softplus, x)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """eˣ / Σ eˣ along the axis: positive and adding up to 1."""
    return apply(ops.softmax, x, axis=axis)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """x − log Σ eˣ along the axis."""
    return apply(ops.log_softmax, x, axis=axis)


class Identity(Module):
    """x ↦ x."""

    def forward(self, x: Any) -> Any:
        return x


class ReLU(Module):
    """x ↦ max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return relu(x)


class LeakyReLU(Module):
    """x ↦ x where x > 0, slope · x elsewhere."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: Any) -> Tensor:
        return leaky_relu(x, self.slope)

    def _options(self) -> str:
        return f"{self.slope}"


class ELU(Module):
    """x ↦ x where x > 0, α (eˣ − 1) elsewhere."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Tensor:
        return elu(x, self.alpha)

    def _options(self) -> str:
        return f"{self.alpha}"


class GELU(Module):
    """x ↦ x Φ(x), exactly or by the formula with tanh."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        return gelu(x, self.approximate)

    def _options(self) -> str:
        return "" if self.approximate == "none" else repr(self.approximate)


class SiLU(Module):
    """x ↦ x / (1 + e⁻ˣ)."""

    def forward(self, x: Any) -> Tensor:
        return silu(x)


class Tanh(Module):
    """x ↦ tanh x."""

    def forward(self, x: Any) -> Tensor:
        return tanh(x)


class Sigmoid(Module):
    """x ↦ 1 / (1 + e⁻ˣ)."""

    def forward(self, x: Any) -> Tensor:
        return sigmoid(x)


class Softplus(Module):
    """x ↦ log(1 + eˣ)."""

    def forward(self, x: Any) -> Tensor:
        return softplus(x)


class Softmax(Module):
    """x ↦ eˣ / Σ eˣ along an axis. For `cross_entropy` leave it out: that takes the logits."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        return softmax(x, self.axis)

    def _options(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """x ↦ x − log Σ eˣ along an axis; `nll_loss` takes what it gives."""

    def forward(self, x: Any) -> Tensor:
        return log_softmax(x, self.axis)


_BY_NAME: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (elu, gelu, identity, leaky_relu, log_softmax, relu, sigmoid, silu, softmax,
              softplus, tanh)
}


def activation(name: Any) -> Callable[..., Any]:
    """The function that an `activation=` means: its name, or the function or module itself.

    Raises
    ------
    ValueError
        For an unknown name, with the known ones.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.activation("relu") is nn.relu
    True
    """
    if callable(name):
        return name
    if name in _BY_NAME:
        return _BY_NAME[name]
    raise ValueError(f"no activation {name!r}; there are {', '.join(sorted(_BY_NAME))}")
