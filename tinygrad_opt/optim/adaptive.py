"""A rate for each number, from its squared gradients: AdaGrad, RMSprop, AdaDelta."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy import divide, multiply, sqrt

from tinygrad_opt.optim.optimizer import Optimizer, Params
from tinygrad_opt.optim.options import Check, flag, number, share, velocity
from tinygrad_opt.optim.pack import Array

__all__ = ["AdaDelta", "AdaGrad", "RMSprop"]


class AdaGrad(Optimizer):
    """A rate for each number, which falls as its squared gradients add up.

        h ← h + g²
        p ← p − lr g / (√h + ε)          or, with mean, √(h / t) in the place of √h

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    eps : float in [0, inf)
        ε, outside the root.
    initial_accumulator : float in [0, inf)
        What h starts from.
    mean : bool
        Divide by the root of the mean square of all gradients so far, not of their sum.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    Equal to ``torch.optim.Adagrad`` at its defaults, with ``decay`` for its lr_decay. Keras and
    optax start h from 0.1 and put ε inside the root.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, *Adaptive subgradient methods* (2011).

    Examples
    --------
    The first step is lr, whatever the size of the gradient:

    >>> import numpy as np
    >>> w = {"w": np.array([1.0, 1.0])}
    >>> AdaGrad(lr=0.5).update(w, {"w": np.array([2.0, -1e-3])})
    >>> w["w"].round(6)
    array([0.5, 1.5])
    """

    options: ClassVar[dict[str, Check]] = Optimizer.options | {
        "eps": number(), "initial_accumulator": number(), "mean": flag,
    }
    eps: float
    initial_accumulator: float
    mean: bool

    def __init__(
        self, params: Params = None, lr: Any = 0.01, *, eps: float = 1e-10,
        initial_accumulator: float = 0.0, mean: bool = False, **options: Any,
    ) -> None:
        super().__init__(
            params, lr, eps=eps, initial_accumulator=initial_accumulator, mean=mean, **options
        )

    def accumulators(self) -> dict[str, float]:
        """h, the sum of squared gradients."""
        return {"h": self.initial_accumulator}

    def rule(self, p: Array, g: Array, h: Array, s: Array, *, lr: float, t: int) -> None:
        """Divide by the root of all that was."""
        eps, rate, root = self.scalars(p, self.eps, lr, math.sqrt(t))
        h += multiply(g, g, s)
        sqrt(h, s)
        if self.mean:
            s /= root
        s += eps
        divide(g, s, s)
        s *= rate
        p -= s

    def algorithm(self) -> list[str]:
        """The same, number by number."""
        return ["h = h + g**2", f"p = p - lr*g/(sqrt({'h/t' if self.mean else 'h'}) + eps)"]


class RMSprop(Optimizer):
    """AdaGrad that forgets: a running mean of squared gradients in the place of their sum.

        h ← ρ h + (1 − ρ) g²
        p ← p − lr g / (√h + ε)

    centered subtracts the squared mean, m ← ρ m + (1 − ρ) g, √(h − m²) for √h; momentum adds
    a velocity, v ← μ v − lr g / (√h + ε), p ← p + v.

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    rho : float in [0, 1)
        ρ, the share of the past; 0.9 in Keras and in Hinton's lecture, 0.99 in torch and here.
    eps : float in [0, inf)
        ε, outside the root.
    momentum : float in [0, 1]
        μ.
    centered : bool
        Divide by the standard deviation of the gradient.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    h, m and v start from 0 and are not corrected for it, so first steps are up to 1/√(1 − ρ)
    times lr. Equal to ``torch.optim.RMSprop``, whose alpha is ρ. Keras puts ε inside the root.

    References
    ----------
    G. Hinton, *Neural networks for machine learning*, lecture 6e (2012); centered: A. Graves,
    *Generating sequences with recurrent neural networks* (2013).

    Examples
    --------
    >>> import numpy as np
    >>> w = {"w": np.array([1.0])}
    >>> RMSprop(lr=0.1, rho=0.99).update(w, {"w": np.array([3.0])})
    >>> w["w"].round(6)
    array([0.])
    """

    options: ClassVar[dict[str, Check]] = Optimizer.options | {
        "rho": share, "eps": number(), "momentum": velocity, "centered": flag,
    }
    rho: float
    eps: float
    momentum: float
    centered: bool

    def __init__(
        self, params: Params = None, lr: Any = 0.01, *, rho: float = 0.99, eps: float = 1e-8,
        momentum: float = 0.0, centered: bool = False, **options: Any,
    ) -> None:
        super().__init__(
            params, lr, rho=rho, eps=eps, momentum=momentum, centered=centered, **options
        )

    def accumulators(self) -> dict[str, float]:
        """h, and m and v if they are asked for."""
        return {"h": 0.0} | ({"m": 0.0} if self.centered else {}) | (
            {"v": 0.0} if self.momentum else {})

    def rule(self, p: Array, g: Array, h: Array, *rest: Array, lr: float, t: int) -> None:
        """Divide by the root of what was lately."""
        s = rest[-1]
        rho, new, eps, rate, mu = self.scalars(
            p, self.rho, 1 - self.rho, self.eps, lr, self.momentum
        )
        h *= rho
        multiply(g, g, s)
        s *= new
        h += s
        if self.centered:
            m = rest[0]
            m *= rho
            m += multiply(g, new, s)
            np.subtract(h, multiply(m, m, s), s)
            np.maximum(s, 0, out=s)                     # rounding can leave it just below
            sqrt(s, s)
        else:
            sqrt(h, s)
        s += eps
        divide(g, s, s)
        s *= rate
        if self.momentum:
            v = rest[-2]
            v *= mu
            v -= s
            p += v
        else:
            p -= s

    def algorithm(self) -> list[str]:
        """The same, number by number."""
        root = "sqrt(max(h - m**2, 0))" if self.centered else "sqrt(h)"
        mean = ["m = rho*m + (1 - rho)*g"] if self.centered else []
        step = f"lr*g/({root} + eps)"
        roll = [f"v = momentum*v - {step}", "p = p + v"] if self.momentum else [f"p = p - {step}"]
        return ["h = rho*h + (1 - rho)*g**2", *mean, *roll]


class AdaDelta(Optimizer):
    """RMSprop that finds its rate: steps measured by the steps before.

        h ← ρ h + (1 − ρ) g²
        Δ ← √(d + ε) / √(h + ε) · g
        d ← ρ d + (1 − ρ) Δ²
        p ← p − lr Δ

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
        1 is the paper's algorithm.
    rho : float in [0, 1)
        ρ, the share of the past.
    eps : float in [0, inf)
        ε, inside both roots; it sets the size of the first steps.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    h and d start from 0. Equal to ``torch.optim.Adadelta``.

    References
    ----------
    M. Zeiler, *ADADELTA: an adaptive learning rate method* (2012), Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = {"w": np.array([1.0])}
    >>> AdaDelta().update(w, {"w": np.array([3.0])})
    >>> w["w"].round(6)
    array([0.996838])
    """

    options: ClassVar[dict[str, Check]] = Optimizer.options | {"rho": share, "eps": number()}
    scratch: ClassVar[int] = 2
    rho: float
    eps: float

    def __init__(
        self, params: Params = None, lr: Any = 1.0, *, rho: float = 0.9, eps: float = 1e-6,
        **options: Any,
    ) -> None:
        super().__init__(params, lr, rho=rho, eps=eps, **options)

    def accumulators(self) -> dict[str, float]:
        """h and d, running means of squared gradients and of squared steps."""
        return {"h": 0.0, "d": 0.0}

    def rule(
        self, p: Array, g: Array, h: Array, d: Array, s: Array, r: Array, *, lr: float, t: int
    ) -> None:
        """Scale by what steps have been over what gradients have been."""
        rho, new, eps, rate = self.scalars(p, self.rho, 1 - self.rho, self.eps, lr)
        h *= rho
        multiply(g, g, s)
        s *= new
        h += s
        sqrt(np.add(d, eps, s), s)
        sqrt(np.add(h, eps, r), r)
        s /= r
        s *= g
        d *= rho
        multiply(s, s, r)
        r *= new
        d += r
        s *= rate
        p -= s

    def algorithm(self) -> list[str]:
        """The same, number by number."""
        return ["h = rho*h + (1 - rho)*g**2", "delta = sqrt(d + eps)/sqrt(h + eps)*g",
                "d = rho*d + (1 - rho)*delta**2", "p = p - lr*delta"]
