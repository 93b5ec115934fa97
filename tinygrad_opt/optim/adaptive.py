"""A rate for each number, from its squared gradients: AdaGrad, RMSprop, AdaDelta."""

from __future__ import annotations

import numpy as np

from tinygrad_opt.optim import options as check
from tinygrad_opt.optim.optimizer import Optimizer, Updated
from tinygrad_opt.optim.options import option
from tinygrad_opt.typing import Array, Rate

__all__ = ["AdaDelta", "AdaGrad", "RMSprop"]


class AdaGrad(Optimizer):
    """A rate for each number, which falls as its squared gradients add up.

        h ← h + g²
        p ← p − η · g / (√h + ε)

    With mean,

        mean ← h / t
        p ← p − η · g / (√mean + ε)

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

    lr: Rate = option(check.rate, default=0.01, kw_only=False)
    eps: float = option(check.number(), default=1e-10)
    initial_accumulator: float = option(check.number(), default=0.0)
    mean: bool = option(check.flag, default=False)


    def accumulators(self) -> dict[str, float]:
        """h, the sum of squared gradients."""
        return {"h": self.initial_accumulator}

    def rule(self, p: Array, g: Array, h: Array, *, lr: float, t: int) -> Updated:
        """Divide by the root of all squared gradients."""
        h = h + g**2
        mean = h / t if self.mean else h
        return p - lr * g / (np.sqrt(mean) + self.eps), h


class RMSprop(Optimizer):
    """AdaGrad that forgets: the second moment of the gradient in the place of the sum of squares.

        h ← ρ · h + (1 − ρ) · g²
        Δ ← η · g / (√h + ε)
        p ← p − Δ

    centered divides by the standard deviation,

        m ← ρ · m + (1 − ρ) · g
        variance ← max(h − m², 0)
        Δ ← η · g / (√variance + ε)

    and momentum adds a velocity:

        v ← μ · v − Δ
        p ← p + v

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    rho : float in [0, 1)
        ρ, the exponential decay rate; 0.9 in Keras and in Hinton's lecture, 0.99 in torch and here.
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

    lr: Rate = option(check.rate, default=0.01, kw_only=False)
    rho: float = option(check.decay_rate, default=0.99)
    eps: float = option(check.number(), default=1e-8)
    momentum: float = option(check.momentum, default=0.0)
    centered: bool = option(check.flag, default=False)


    def accumulators(self) -> dict[str, float]:
        """h, the second moment, and if they are asked for m, the first, and v, a velocity."""
        return {"h": 0.0} | ({"m": 0.0} if self.centered else {}) | (
            {"v": 0.0} if self.momentum else {})

    def rule(self, p: Array, g: Array, h: Array, *rest: Array, lr: float, t: int) -> Updated:
        """Divide by the root of recent squared gradients."""
        h = self.rho * h + (1 - self.rho) * g**2
        kept = [h]
        variance = h
        if self.centered:
            m = self.rho * rest[0] + (1 - self.rho) * g
            variance = np.maximum(h - m**2, 0)          # rounding can leave it just below 0
            kept.append(m)
        delta = lr * g / (np.sqrt(variance) + self.eps)
        if not self.momentum:
            return p - delta, *kept
        v = self.momentum * rest[-1] - delta
        return p + v, *kept, v


class AdaDelta(Optimizer):
    """RMSprop that finds its rate: steps measured by the steps before.

        h ← ρ · h + (1 − ρ) · g²
        Δ ← √(d + ε) / √(h + ε) · g
        d ← ρ · d + (1 − ρ) · Δ²
        p ← p − η · Δ

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
        1 is the paper's algorithm.
    rho : float in [0, 1)
        ρ, the exponential decay rate.
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

    lr: Rate = option(check.rate, default=1.0, kw_only=False)
    rho: float = option(check.decay_rate, default=0.9)
    eps: float = option(check.number(), default=1e-6)


    def accumulators(self) -> dict[str, float]:
        """h and d, the second moments of gradients and of steps."""
        return {"h": 0.0, "d": 0.0}

    def rule(self, p: Array, g: Array, h: Array, d: Array, *, lr: float, t: int) -> Updated:
        """Scale by what steps have been over what gradients have been."""
        h = self.rho * h + (1 - self.rho) * g**2
        delta = np.sqrt(d + self.eps) / np.sqrt(h + self.eps) * g
        d = self.rho * d + (1 - self.rho) * delta**2
        return p - lr * delta, h, d
