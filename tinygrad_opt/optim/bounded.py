"""A mean of gradients whose steps are bounded without a root: Adamax, Lion."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy import divide, multiply

from tinygrad_opt.optim.optimizer import Optimizer, Params
from tinygrad_opt.optim.options import Check, number, share
from tinygrad_opt.optim.pack import Array

__all__ = ["Adamax", "Lion"]


class Adamax(Optimizer):
    """Adam with the largest recent gradient in the place of the root mean square.

        m ← β₁ m + (1 − β₁) g
        u ← max(β₂ u, |g| + ε)
        p ← p − lr / (1 − β₁ᵗ) · m / u

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    beta1, beta2 : float in [0, 1)
        β₁ and β₂.
    eps : float in [0, inf)
        ε, beside |g|; the paper has none.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    m and u start from 0. Equal to ``torch.optim.Adamax``.

    References
    ----------
    D. Kingma and J. Ba, *Adam: a method for stochastic optimization* (2015), Algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = {"w": np.array([1.0])}
    >>> Adamax(lr=0.1).update(w, {"w": np.array([5.0])})
    >>> w["w"].round(6)
    array([0.9])
    """

    options: ClassVar[dict[str, Check]] = Optimizer.options | {
        "beta1": share, "beta2": share, "eps": number(),
    }
    beta1: float
    beta2: float
    eps: float

    def __init__(
        self, params: Params = None, lr: Any = 2e-3, *, beta1: float = 0.9, beta2: float = 0.999,
        eps: float = 1e-8, **options: Any,
    ) -> None:
        super().__init__(params, lr, beta1=beta1, beta2=beta2, eps=eps, **options)

    def accumulators(self) -> dict[str, float]:
        """m, the running mean of gradients, and u, their fading maximum."""
        return {"m": 0.0, "u": 0.0}

    def rule(self, p: Array, g: Array, m: Array, u: Array, s: Array, *, lr: float, t: int) -> None:
        """Mean over fading maximum."""
        b1, a1, b2, eps, rate = self.scalars(
            p, self.beta1, 1 - self.beta1, self.beta2, self.eps, lr / (1 - self.beta1**t)
        )
        m *= b1
        m += multiply(g, a1, s)
        u *= b2
        np.absolute(g, s)
        s += eps
        np.maximum(u, s, out=u)
        divide(m, u, s)
        s *= rate
        p -= s

    def algorithm(self) -> list[str]:
        """The same, number by number."""
        return ["m = beta1*m + (1 - beta1)*g", "u = max(beta2*u, abs(g) + eps)",
                "p = p - lr/(1 - beta1**t)*m/u"]


class Lion(Optimizer):
    """Steps of one size: only the sign of a mean counts.

        u ← sign(β₁ m + (1 − β₁) g)
        p ← p − lr (u + λ p)
        m ← β₂ m + (1 − β₂) g

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
        The size of every step; three to ten times smaller than Adam's.
    beta1, beta2 : float in [0, 1)
        β₁ and β₂.
    **options
        Those of every optimizer; ``weight_decay`` is λ, decoupled.

    Notes
    -----
    m starts from 0, and there is no ε. Equal to ``optax.lion``.

    References
    ----------
    X. Chen et al., *Symbolic discovery of optimization algorithms* (2023), Program 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = {"w": np.array([1.0, 1.0])}
    >>> Lion(lr=0.25).update(w, {"w": np.array([50.0, -0.1])})
    >>> w["w"]
    array([0.75, 1.25])
    """

    options: ClassVar[dict[str, Check]] = Optimizer.options | {"beta1": share, "beta2": share}
    decoupled: ClassVar[bool] = True
    beta1: float
    beta2: float

    def __init__(
        self, params: Params = None, lr: Any = 1e-4, *, beta1: float = 0.9, beta2: float = 0.99,
        **options: Any,
    ) -> None:
        super().__init__(params, lr, beta1=beta1, beta2=beta2, **options)

    def accumulators(self) -> dict[str, float]:
        """m, the running mean of gradients."""
        return {"m": 0.0}

    def rule(self, p: Array, g: Array, m: Array, s: Array, *, lr: float, t: int) -> None:
        """Step by the sign of the mean."""
        b1, b2, a2, rate = self.scalars(p, self.beta1, self.beta2, 1 - self.beta2, lr)
        np.subtract(m, g, s)
        s *= b1
        s += g                                         # β₁ m + (1 − β₁) g
        np.sign(s, s)
        s *= rate
        p -= s
        m *= b2
        m += multiply(g, a2, s)

    def algorithm(self) -> list[str]:
        """The same, number by number."""
        return ["u = sign(beta1*m + (1 - beta1)*g)", "m = beta2*m + (1 - beta2)*g",
                "p = p - lr*u"]
