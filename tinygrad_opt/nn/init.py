"""Initialisers: what the weights are before the first step.

Each takes a shape and a generator and returns a float64 array, so that a model of float32 and
one of float64 start from the same numbers. Layers take one as `init=`: its name, the function
itself, or a number s for s · normal.

The scale keeps the variance of what flows through a layer about 1: forward it is multiplied by
fan_in · var(w) · E[σ(x)²], backward by fan_out · var(w) · E[σ'(x)²].

Randomness is explicit: `rng` is anything that `numpy.random.default_rng` takes. Where it is left
out, the package's own generator draws, and `seed` starts that one anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tinygrad_opt.hints import hint, nothing_called
from tinygrad_opt.recording import effect
from tinygrad_opt.typing import Seed, Shape

__all__ = [
    "constant", "fan_in_uniform", "gain", "generator", "get", "kaiming_normal", "kaiming_uniform",
    "normal", "orthogonal", "seed", "uniform", "xavier_normal", "xavier_uniform", "zeros",
]

Initialiser: TypeAlias = Callable[..., np.ndarray]           # of a shape and a generator
Init: TypeAlias = str | float | Initialiser | None

_own: dict[str, np.random.Generator] = {}      # filled when first asked: numpy.random takes long


def seed(n: int) -> None:
    """Start the package's generator anew, which draws wherever no `rng` is given.

    Parameters
    ----------
    n : int
        Same seed, same weights and same dropout, in every process.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.init.seed(0)
    >>> a = nn.Linear(2, 3).weight.data
    >>> nn.init.seed(0)
    >>> bool((a == nn.Linear(2, 3).weight.data).all())
    True
    """
    # the object stays the same: whoever holds it, a captured step too, goes on from the new seed
    effect(_restart, n)


def _restart(n: int) -> None:
    generator().bit_generator.state = np.random.default_rng(n).bit_generator.state


def generator(rng: Seed = None) -> np.random.Generator:
    """The generator that `rng` means.

    Parameters
    ----------
    rng : optional
        Anything that `numpy.random.default_rng` takes. None: the package's own, see `seed`.

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> rng = np.random.default_rng(0)
    >>> nn.init.generator(rng) is rng
    True
    """
    if rng is not None:
        return np.random.default_rng(rng)
    return _own.get("rng") or _own.setdefault("rng", np.random.default_rng())


def gain(activation: str, slope: float = 0.01) -> float:
    """How much larger weights may be, since the activation shrinks what passes through it.

    Parameters
    ----------
    activation : str
        √2 for ``"relu"`` and its smooth relatives, √(2 / (1 + slope²)) for ``"leaky_relu"``,
        5/3 for ``"tanh"``, 1 for all others.
    slope : float
        Slope of the leaky ReLU below 0.

    Returns
    -------
    float

    References
    ----------
    He et al., *Delving Deep into Rectifiers* (2015); the 5/3 of tanh is PyTorch's.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> round(nn.init.gain("relu"), 4)
    1.4142
    """
    name = activation.lower().replace("_", "")             # LeakyReLU is leaky_relu
    if name == "leakyrelu":
        return math.sqrt(2 / (1 + slope**2))
    if name in ("relu", "elu", "gelu", "silu", "softplus"):
        return math.sqrt(2)
    return 5 / 3 if name == "tanh" else 1.0


def kaiming_uniform(shape: Shape, rng: Seed = None, *, gain: float = math.sqrt(2)) -> np.ndarray:
    """U(−b, b) with b = gain · √(3 / fan_in): keeps the variance of the forward pass.

    Parameters
    ----------
    shape : tuple of int
        (in, out) of a linear layer, or (out, in, ...) of a convolution.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.
    gain : float
        √2 suits ReLU; see `gain`.

    Returns
    -------
    ndarray of float64 of the shape

    References
    ----------
    He et al., *Delving Deep into Rectifiers* (2015).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> w = nn.init.kaiming_uniform((6, 1000), rng=0)
    >>> bool(abs(w).max() <= 1.0)
    True
    """
    bound = gain * math.sqrt(3 / max(1, fans(shape)[0]))
    return uniform(shape, rng, bound=bound)


def kaiming_normal(shape: Shape, rng: Seed = None, *, gain: float = math.sqrt(2)) -> np.ndarray:
    """N(0, gain² / fan_in): keeps the variance of the forward pass.

    Parameters
    ----------
    shape : tuple of int
        (in, out) of a linear layer, or (out, in, ...) of a convolution.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.
    gain : float
        √2 suits ReLU; see `gain`.

    Returns
    -------
    ndarray of float64 of the shape

    References
    ----------
    He et al., *Delving Deep into Rectifiers* (2015).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> round(float(nn.init.kaiming_normal((50, 2000), rng=0).std()), 2)
    0.2
    """
    return generator(rng).normal(0, gain / math.sqrt(max(1, fans(shape)[0])), shape)


def fan_in_uniform(shape: Shape, rng: Seed = None) -> np.ndarray:
    """U(−b, b) with b = 1 / √fan_in: what PyTorch's Linear and Conv layers start from.

    Parameters
    ----------
    shape : tuple of int
        (in, out) of a linear layer, or (out, in, ...) of a convolution.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Returns
    -------
    ndarray of float64 of the shape

    References
    ----------
    LeCun et al., *Efficient BackProp* (1998), section 4.6, give the 1 / √fan_in.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> bool(abs(nn.init.fan_in_uniform((4, 1000), rng=0)).max() <= 0.5)
    True
    """
    return kaiming_uniform(shape, rng, gain=1 / math.sqrt(3))


def xavier_uniform(shape: Shape, rng: Seed = None, *, gain: float = 1.0) -> np.ndarray:
    """U(−b, b) with b = gain · √(6 / (fan_in + fan_out)): forward and backward in balance.

    Parameters
    ----------
    shape : tuple of int
        (in, out) of a linear layer, or (out, in, ...) of a convolution.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.
    gain : float
        See `gain`.

    Returns
    -------
    ndarray of float64 of the shape

    References
    ----------
    Glorot & Bengio, *Understanding the difficulty of training deep feedforward neural networks*
    (2010), equation 16.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> bool(abs(nn.init.xavier_uniform((12, 12), rng=0)).max() <= 0.5)
    True
    """
    bound = gain * math.sqrt(6 / max(1, sum(fans(shape))))
    return uniform(shape, rng, bound=bound)


def xavier_normal(shape: Shape, rng: Seed = None, *, gain: float = 1.0) -> np.ndarray:
    """N(0, 2 gain² / (fan_in + fan_out)): forward and backward in balance.

    Parameters
    ----------
    shape : tuple of int
        (in, out) of a linear layer, or (out, in, ...) of a convolution.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.
    gain : float
        See `gain`.

    Returns
    -------
    ndarray of float64 of the shape

    References
    ----------
    Glorot & Bengio, *Understanding the difficulty of training deep feedforward neural networks*
    (2010), equation 12.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> round(float(nn.init.xavier_normal((200, 200), rng=0).std()), 2)
    0.07
    """
    return generator(rng).normal(0, gain * math.sqrt(2 / max(1, sum(fans(shape)))), shape)


def orthogonal(shape: Shape, rng: Seed = None, *, gain: float = 1.0) -> np.ndarray:
    """gain · Q with orthonormal rows or columns, whichever are fewer: lengths are kept exactly.

    Parameters
    ----------
    shape : tuple of int
        At least two axes; those after the first count as one.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.
    gain : float
        See `gain`.

    Returns
    -------
    ndarray of float64 of the shape

    References
    ----------
    Saxe et al., *Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks* (2014). The signs make Q uniform over all such matrices (Mezzadri, 2007).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> q = nn.init.orthogonal((3, 5), rng=0)
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """
    rows, columns = shape[0], math.prod(shape[1:])
    tall = generator(rng).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return gain * (q if rows >= columns else q.T).reshape(shape)


def normal(shape: Shape, rng: Seed = None, *, scale: float = 1.0) -> np.ndarray:
    """scale · N(0, 1).

    Parameters
    ----------
    shape : tuple of int
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.
    scale : float of at least 0
        Standard deviation.

    Returns
    -------
    ndarray of float64 of the shape

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.init.normal((2, 3), rng=0).shape
    (2, 3)
    """
    return generator(rng).normal(0, _deviation(scale), shape)


def _deviation(scale: float) -> float:
    if not 0 <= scale < math.inf:
        raise ValueError(f"scale must be a finite number of at least 0, got {scale!r}.")
    return scale


def uniform(shape: Shape, rng: Seed = None, *, bound: float = 1.0) -> np.ndarray:
    """U(−bound, bound).

    Parameters
    ----------
    shape : tuple of int
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.
    bound : float

    Returns
    -------
    ndarray of float64 of the shape

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> bool(abs(nn.init.uniform((2, 3), rng=0, bound=0.1)).max() <= 0.1)
    True
    """
    return generator(rng).uniform(-bound, bound, shape)


def constant(shape: Shape, rng: Seed = None, *, value: float = 0.0) -> np.ndarray:
    """The same value everywhere.

    Parameters
    ----------
    shape : tuple of int
    rng : optional
        Not used.
    value : float

    Returns
    -------
    ndarray of float64 of the shape

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.init.constant((2,), value=3.0)
    array([3., 3.])
    """
    return np.full(shape, value, dtype=float)


def zeros(shape: Shape, rng: Seed = None) -> np.ndarray:
    """0 everywhere.

    Parameters
    ----------
    shape : tuple of int
    rng : optional
        Not used.

    Returns
    -------
    ndarray of float64 of the shape

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.init.zeros((2,))
    array([0., 0.])
    """
    return np.zeros(shape)


def fans(shape: Shape) -> tuple[int, int]:
    """How many numbers each output is summed from, and how many each input goes into."""
    if len(shape) < 2:
        return (math.prod(shape),) * 2
    if len(shape) == 2:
        return shape[0], shape[1]                          # x @ W
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window            # a convolution


NAMES: dict[str, Initialiser] = {
    f.__name__: f
    for f in (fan_in_uniform, kaiming_normal, kaiming_uniform, normal, orthogonal, uniform,
              xavier_normal, xavier_uniform, zeros)
}


def get(init: Init) -> Initialiser:
    """The initialiser that a layer's `init=` means.

    Parameters
    ----------
    init : str, float or callable
        A name, a number s for s · normal, or a function of a shape and a generator.

    Returns
    -------
    callable
        Takes a shape and a generator, and gives an array.

    Raises
    ------
    ValueError
        For an unknown name, with the known ones; for a number that is no standard deviation.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.init.get("zeros") is nn.init.zeros
    True
    """
    if callable(init):
        return init
    if isinstance(init, int | float) and not isinstance(init, bool):
        scale = _deviation(init)
        return lambda shape, rng=None: normal(shape, rng, scale=scale)
    if isinstance(init, str) and init in NAMES:
        return NAMES[init]
    raise ValueError(f"no initialiser {init!r}; {hint('init', str(init), NAMES)}")


if not TYPE_CHECKING:
    __getattr__ = nothing_called("init", __all__)
