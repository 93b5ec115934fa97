"""Activations: as functions of a Tensor, and as modules that stand between layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from tinygrad_opt import ops
from tinygrad_opt.hints import answers, hint
from tinygrad_opt.nn.module import Module
from tinygrad_opt.tensor import Tensor, apply
from tinygrad_opt.typing import ArrayLike

Layer: TypeAlias = Callable[..., Tensor]       # a module, a function, one of NumPy's
Activation: TypeAlias = str | Layer
Same = TypeVar("Same")


def identity(x: Same) -> Same:
    """x itself.

    Parameters
    ----------
    x : any

    Returns
    -------
    any
        The same object.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.identity(3)
    3
    """
    return x


def relu(x: ArrayLike) -> Tensor:
    """max(x, 0); the slope at 0 is 0.

    Parameters
    ----------
    x : Tensor or array-like of any shape

    Returns
    -------
    Tensor of the shape of x

    References
    ----------
    Nair & Hinton, *Rectified Linear Units Improve Restricted Boltzmann Machines* (2010).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.relu([-1.0, 0.0, 2.0]).tolist()
    [0.0, 0.0, 2.0]
    """
    return apply(ops.relu, x)


@answers
def leaky_relu(x: ArrayLike, slope: float = 0.01) -> Tensor:
    """x where x > 0, slope · x elsewhere.

    Parameters
    ----------
    x : Tensor or array-like of any shape
    slope : float
        Slope for x ≤ 0.

    Returns
    -------
    Tensor of the shape of x

    References
    ----------
    Maas et al., *Rectifier Nonlinearities Improve Neural Network Acoustic Models* (2013).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.leaky_relu([-2.0, 2.0], 0.5).tolist()
    [-1.0, 2.0]
    """
    return apply(ops.leaky_relu, x, slope=slope)


@answers
def elu(x: ArrayLike, alpha: float = 1.0) -> Tensor:
    """x where x > 0, α (eˣ − 1) elsewhere.

    Parameters
    ----------
    x : Tensor or array-like of any shape
    alpha : float
        α; −α is the limit for x → −∞.

    Returns
    -------
    Tensor of the shape of x

    References
    ----------
    Clevert et al., *Fast and Accurate Deep Network Learning by Exponential Linear Units* (2015).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.elu([-1000.0, 2.0], 0.5).tolist()
    [-0.5, 2.0]
    """
    return apply(ops.elu, x, alpha=alpha)


@answers
def gelu(x: ArrayLike, approximate: str = "none") -> Tensor:
    """x Φ(x), for the distribution function Φ of the standard normal distribution.

    Parameters
    ----------
    x : Tensor or array-like of any shape
    approximate : {"none", "tanh"}
        ``"tanh"`` is the formula of GPT-2, ½ x (1 + tanh √(2/π) (x + 0.044715 x³)).

    Returns
    -------
    Tensor of the shape of x

    Raises
    ------
    ValueError
        For another `approximate`.

    References
    ----------
    Hendrycks & Gimpel, *Gaussian Error Linear Units* (2016).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.gelu([-1.0, 1.0]).data.round(4)
    array([-0.1587,  0.8413], dtype=float32)
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate is "none" or "tanh", got {approximate!r}')
    return apply(ops.gelu_tanh if approximate == "tanh" else ops.gelu, x)


def silu(x: ArrayLike) -> Tensor:
    """x / (1 + e⁻ˣ) = x σ(x), also called swish.

    Parameters
    ----------
    x : Tensor or array-like of any shape

    Returns
    -------
    Tensor of the shape of x

    References
    ----------
    Elfwing et al., *Sigmoid-Weighted Linear Units for Neural Network Function Approximation in
    Reinforcement Learning* (2017).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.silu([0.0, 100.0]).tolist()
    [0.0, 100.0]
    """
    return apply(ops.silu, x)


def tanh(x: ArrayLike) -> Tensor:
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ), the hyperbolic tangent.

    Parameters
    ----------
    x : Tensor or array-like of any shape

    Returns
    -------
    Tensor of the shape of x
        In (−1, 1).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.tanh([0.0, 100.0]).tolist()
    [0.0, 1.0]
    """
    return apply(ops.tanh, x)


def sigmoid(x: ArrayLike) -> Tensor:
    """σ(x) = 1 / (1 + e⁻ˣ), exact in both tails.

    Parameters
    ----------
    x : Tensor or array-like of any shape

    Returns
    -------
    Tensor of the shape of x
        In (0, 1).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.sigmoid([0.0, 100.0]).tolist()
    [0.5, 1.0]
    """
    return apply(ops.sigmoid, x)


def softplus(x: ArrayLike) -> Tensor:
    """log(1 + eˣ), a smooth ReLU; it does not overflow.

    Parameters
    ----------
    x : Tensor or array-like of any shape

    Returns
    -------
    Tensor of the shape of x

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.softplus([-1000.0, 1000.0]).tolist()
    [0.0, 1000.0]
    """
    return apply(ops.softplus, x)


@answers
def softmax(x: ArrayLike, axis: int = -1) -> Tensor:
    """exp xᵢ / Σⱼ exp xⱼ along the axis: positive and adding up to 1.

    Parameters
    ----------
    x : Tensor or array-like of at least one axis
    axis : int

    Returns
    -------
    Tensor of the shape of x

    Notes
    -----
    The largest entry is subtracted first, so no finite x overflows.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.softmax([1000.0, 1000.0]).tolist()
    [0.5, 0.5]
    """
    return apply(ops.softmax, x, axis=axis)


@answers
def log_softmax(x: ArrayLike, axis: int = -1) -> Tensor:
    """xᵢ − log Σⱼ exp xⱼ along the axis.

    Parameters
    ----------
    x : Tensor or array-like of at least one axis
    axis : int

    Returns
    -------
    Tensor of the shape of x
        Finite for finite x, unlike the logarithm of `softmax`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.log_softmax([0.0, 1000.0]).tolist()
    [-1000.0, 0.0]
    """
    return apply(ops.log_softmax, x, axis=axis)


# ---- modules -------------------------------------------------------------------------------------


class Identity(Module):
    """x ↦ x, for a place where a layer is expected.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.Identity()(3)
    3
    """

    def forward(self, x: Same) -> Same:
        return x


class ReLU(Module):
    """x ↦ max(x, 0); see `relu`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.ReLU()([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def forward(self, x: ArrayLike) -> Tensor:
        return relu(x)


class LeakyReLU(Module):
    """x ↦ x where x > 0, slope · x elsewhere; see `leaky_relu`.

    Parameters
    ----------
    slope : float
        Slope for x ≤ 0.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.LeakyReLU(0.5)([-2.0, 2.0]).tolist()
    [-1.0, 2.0]
    """

    _shown = "{0.slope}"

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: ArrayLike) -> Tensor:
        return leaky_relu(x, self.slope)


class ELU(Module):
    """x ↦ x where x > 0, α (eˣ − 1) elsewhere; see `elu`.

    Parameters
    ----------
    alpha : float
        α; −α is the limit for x → −∞.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.ELU(0.5)([-1000.0, 2.0]).tolist()
    [-0.5, 2.0]
    """

    _shown = "{0.alpha}"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: ArrayLike) -> Tensor:
        return elu(x, self.alpha)


class GELU(Module):
    """x ↦ x Φ(x), exactly or by the formula with tanh; see `gelu`.

    Parameters
    ----------
    approximate : {"none", "tanh"}

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.GELU("tanh")([0.0, 100.0]).tolist()
    [0.0, 100.0]
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: ArrayLike) -> Tensor:
        return gelu(x, self.approximate)

    def _options(self) -> str:
        return "" if self.approximate == "none" else repr(self.approximate)


class SiLU(Module):
    """x ↦ x / (1 + e⁻ˣ); see `silu`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.SiLU()([0.0, 100.0]).tolist()
    [0.0, 100.0]
    """

    def forward(self, x: ArrayLike) -> Tensor:
        return silu(x)


class Tanh(Module):
    """x ↦ tanh x; see `tanh`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.Tanh()([0.0, 100.0]).tolist()
    [0.0, 1.0]
    """

    def forward(self, x: ArrayLike) -> Tensor:
        return tanh(x)


class Sigmoid(Module):
    """x ↦ 1 / (1 + e⁻ˣ); see `sigmoid`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.Sigmoid()([0.0, 100.0]).tolist()
    [0.5, 1.0]
    """

    def forward(self, x: ArrayLike) -> Tensor:
        return sigmoid(x)


class Softplus(Module):
    """x ↦ log(1 + eˣ); see `softplus`.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.Softplus()([-1000.0, 1000.0]).tolist()
    [0.0, 1000.0]
    """

    def forward(self, x: ArrayLike) -> Tensor:
        return softplus(x)


class Softmax(Module):
    """x ↦ exp xᵢ / Σⱼ exp xⱼ; see `softmax`. `cross_entropy` takes the logits, without it.

    Parameters
    ----------
    axis : int
        Along which entries add up to 1.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.Softmax()([1000.0, 1000.0]).tolist()
    [0.5, 0.5]
    """

    _shown = "axis={0.axis}"

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: ArrayLike) -> Tensor:
        return softmax(x, self.axis)


class LogSoftmax(Softmax):
    """x ↦ xᵢ − log Σⱼ exp xⱼ; see `log_softmax`. `nll_loss` takes what it gives.

    Parameters
    ----------
    axis : int
        Along which the sum is taken.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.LogSoftmax()([0.0, 1000.0]).tolist()
    [-1000.0, 0.0]
    """

    def forward(self, x: ArrayLike) -> Tensor:
        return log_softmax(x, self.axis)


_BY_NAME: dict[str, Layer] = {
    f.__name__: f
    for f in (elu, gelu, identity, leaky_relu, log_softmax, relu, sigmoid, silu, softmax,
              softplus, tanh)
}


def activation(name: Activation) -> Layer:
    """The function that an `activation=` means.

    Parameters
    ----------
    name : str or callable
        The name of an activation, or a function or module itself.

    Returns
    -------
    callable

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
    raise ValueError(f"no activation {name!r}; {hint('activations', str(name).lower(), _BY_NAME)}")
