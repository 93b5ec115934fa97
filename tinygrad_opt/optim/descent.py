"""Descent along the gradient, and along a velocity: SGD, Momentum, Nesterov."""

from __future__ import annotations

from tinygrad_opt.optim import options as check
from tinygrad_opt.optim.optimizer import Optimizer, Updated
from tinygrad_opt.optim.options import option
from tinygrad_opt.typing import Array, Rate

__all__ = ["Momentum", "Nesterov", "SGD"]  # noqa: RUF022


class SGD(Optimizer):
    """Gradient descent: stochastic, mini-batch or batch, as the gradients are.

        p ← p − η · g

    and with momentum

        v ← μ · v − η · g
        p ← p + v

    with nesterov, the second line looks ahead:

        p ← p + μ · v − η · g

    and with dampening, from the second update on, the first line is

        v ← μ · v − η · (1 − τ) · g

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    momentum : float in [0, 1]
        μ, how much of the velocity is kept.
    dampening : float in [0, 1]
        τ; needs momentum.
    nesterov : bool
        Needs momentum and no dampening.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    v starts from 0. Equal to ``torch.optim.SGD`` while lr is constant; torch's buffer holds
    gradients (v = −lr · buffer), so after a change of lr it goes on with the past at the new
    rate. Keras keeps displacements, as here.

    References
    ----------
    H. Robbins and S. Monro, *A stochastic approximation method* (1951); B. Polyak, *Some
    methods of speeding up the convergence of iteration methods* (1964).

    Examples
    --------
    >>> import numpy as np
    >>> w = {"w": np.array([1.0])}
    >>> SGD(lr=0.5).update(w, {"w": np.array([0.5])})
    >>> w["w"]
    array([0.75])
    """

    lr: Rate = option(check.rate, default=0.01, kw_only=False)
    momentum: float = option(check.momentum, default=0.0)
    dampening: float = option(check.momentum, default=0.0)
    nesterov: bool = option(check.flag, default=False)


    def _check_options(self) -> None:
        if self.nesterov and not (self.momentum and not self.dampening):
            raise ValueError("nesterov needs momentum > 0 and dampening = 0")
        if self.dampening and not self.momentum:
            raise ValueError("dampening needs momentum > 0")

    def accumulators(self) -> dict[str, float]:
        """v, the last displacement, if there is momentum."""
        return {"v": 0.0} if self.momentum else {}

    def rule(self, p: Array, g: Array, *velocity: Array, lr: float, t: int) -> Array | Updated:
        """Descend, with momentum along a velocity."""
        if not self.momentum:
            return p - lr * g
        (v,) = velocity
        if self.dampening and t > 1:
            v = self.momentum * v - lr * (1 - self.dampening) * g
        else:
            v = self.momentum * v - lr * g
        if self.nesterov:
            return p + self.momentum * v - lr * g, v
        return p + v, v


class Momentum(Optimizer):
    """Gradient descent with a velocity, which forgets by a factor μ at each step.

        v ← μ · v − η · g
        p ← p + v

    and with a velocity of gradients, at whose past the rate of now looks back,

        v ← μ · v + g
        p ← p − η · v

    or of their mean, for which comes before these

        g ← (1 − μ) · g

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    momentum : float in [0, 1]
        μ; α or γ in some texts.
    velocity : {"steps", "gradients", "mean"}
        What v holds: displacements, so that a change of lr acts on new gradients only, as in
        Keras; gradients, as in ``torch.optim.SGD(momentum=μ)``; their exponential mean.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    v starts from 0. While lr is constant the first two are the same, and the third is the first
    at the rate (1 − μ) lr.

    References
    ----------
    B. Polyak, *Some methods of speeding up the convergence of iteration methods* (1964).

    Examples
    --------
    >>> import numpy as np
    >>> w = {"w": np.array([1.0])}
    >>> opt = Momentum(lr=0.1, momentum=0.9)
    >>> for _ in range(3):
    ...     opt.update(w, {"w": np.array([1.0])})
    ...     print(w["w"].round(3))
    [0.9]
    [0.71]
    [0.439]
    """

    lr: Rate = option(check.rate, default=0.01, kw_only=False)
    momentum: float = option(check.momentum, default=0.9)
    velocity: str = option(check.choice("steps", "gradients", "mean"), default="steps")


    def accumulators(self) -> dict[str, float]:
        """v, the velocity."""
        return {"v": 0.0}

    def rule(self, p: Array, g: Array, v: Array, *, lr: float, t: int) -> Updated:
        """Descend along a velocity."""
        if self.velocity == "steps":
            v = self.momentum * v - lr * g
            return p + v, v
        if self.velocity == "mean":
            g = (1 - self.momentum) * g
        v = self.momentum * v + g
        return p - lr * v, v


class Nesterov(Momentum):
    """Nesterov's accelerated gradient, at the point that the velocity leads to.

        p ← p + μ² · v − (1 + μ) · η · g
        v ← μ · v − η · g

    and with a velocity of gradients, or of their mean as in `Momentum`,

        g ← (1 − μ) · g
        v ← μ · v + g
        p ← p − η · (g + μ · v)

    Parameters
    ----------
    params : dict of str to Tensor, optional
        They hold the look-ahead point, where the gradient is to be taken.
    lr : float or schedule
    momentum : float in [0, 1]
        μ.
    **options
        ``velocity`` of `Momentum`, and those of every optimizer; see `Optimizer`.

    Notes
    -----
    With θ = p − μ v this is Sutskever's look-ahead: v ← μ v − lr ∇L(θ + μ v), θ ← θ + v. Equal
    to ``torch.optim.SGD(nesterov=True)`` while lr is constant, and to Keras's. Programs that
    update v first and then use it in the line above compute something else, which looks ahead
    by two steps and is unstable for smaller rates. v starts from 0.

    References
    ----------
    Y. Nesterov (1983); I. Sutskever et al., *On the importance of initialization and momentum*
    (2013); Y. Bengio, N. Boulanger-Lewandowski, R. Pascanu, *Advances in optimizing recurrent
    networks* (2012), eq. 7.

    Examples
    --------
    A single unit of gradient, then none:

    >>> import numpy as np
    >>> w = {"w": np.array([0.0])}
    >>> opt = Nesterov(lr=1.0, momentum=0.9)
    >>> for g in (1.0, 0.0, 0.0):
    ...     before = w["w"].copy()
    ...     opt.update(w, {"w": np.array([g])})
    ...     print((w["w"] - before).round(4))
    [-1.9]
    [-0.81]
    [-0.729]
    """

    def rule(self, p: Array, g: Array, v: Array, *, lr: float, t: int) -> Updated:
        """Look ahead along the velocity; both lines read it as it was before."""
        if self.velocity == "steps":
            p = p + self.momentum**2 * v - (1 + self.momentum) * lr * g
            v = self.momentum * v - lr * g
            return p, v
        if self.velocity == "mean":
            g = (1 - self.momentum) * g
        v = self.momentum * v + g
        return p - lr * (g + self.momentum * v), v
