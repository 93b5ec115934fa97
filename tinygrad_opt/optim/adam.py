"""A mean of gradients over the root of their mean square: Adam, AdamW, Nadam."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy import add, divide, multiply, sqrt, subtract

from tinygrad_opt.optim.optimizer import Optimizer, Params
from tinygrad_opt.optim.options import Check, flag, number, share
from tinygrad_opt.optim.pack import Array

__all__ = ["Adam", "AdamW", "Nadam"]


class Adam(Optimizer):
    """Momentum over RMSprop, both corrected for starting from zero.

        m ← β₁ m + (1 − β₁) g            m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²           v̂ = v / (1 − β₂ᵗ)
        p ← p − lr m̂ / (√v̂ + ε)

    amsgrad divides by the largest v so far, corrected in the same way.

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
        α in the paper.
    beta1, beta2 : float in [0, 1)
        β₁ and β₂, the shares of the past.
    eps : float in [0, inf)
        ε, outside the root and after the correction, as in Algorithm 1.
    amsgrad : bool
        Never let the divisor's v fall.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    m and v start from 0; t counts each parameter's own updates. Equal to ``torch.optim.Adam``.
    Keras, and textbooks that fold both corrections into the rate, add ε before the correction
    (the variant just before §2.1): a different rule where gradients are as small as ε.

    References
    ----------
    D. Kingma and J. Ba, *Adam: a method for stochastic optimization* (2015), Algorithm 1;
    amsgrad: S. Reddi, S. Kale, S. Kumar, *On the convergence of Adam and beyond* (2018).

    Examples
    --------
    The first step is lr, whatever the size of the gradient:

    >>> import numpy as np
    >>> w = {"w": np.array([1.0, 1.0])}
    >>> Adam(lr=0.1).update(w, {"w": np.array([20.0, -1e-3])})
    >>> w["w"].round(4)
    array([0.9, 1.1])
    """

    options: ClassVar[dict[str, Check]] = Optimizer.options | {
        "beta1": share, "beta2": share, "eps": number(), "amsgrad": flag,
    }
    beta1: float
    beta2: float
    eps: float
    amsgrad: bool

    def __init__(
        self, params: Params = None, lr: Any = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999,
        eps: float = 1e-8, amsgrad: bool = False, **options: Any,
    ) -> None:
        super().__init__(
            params, lr, beta1=beta1, beta2=beta2, eps=eps, amsgrad=amsgrad, **options
        )

    def accumulators(self) -> dict[str, float]:
        """m and v, running means of gradients and of their squares, and the largest v."""
        return {"m": 0.0, "v": 0.0} | ({"v_max": 0.0} if self.amsgrad else {})

    def rule(self, p: Array, g: Array, m: Array, v: Array, *rest: Array, lr: float, t: int) -> None:
        """Mean over root mean square; the corrections are two scalars c1 and c2."""
        s = rest[-1]
        beta1, beta2 = self.beta1, self.beta2
        c1, c2 = 1 - beta1**t, math.sqrt(1 - beta2**t)
        b1, a1, b2, a2, eps, rate = self.scalars(
            p, beta1, 1 - beta1, beta2, 1 - beta2, self.eps * c2, lr * c2 / c1
        )
        add(multiply(m, b1, m), multiply(g, a1, s), m)             # m ← β₁ m + (1 − β₁) g
        multiply(multiply(g, g, s), a2, s)
        add(multiply(v, b2, v), s, v)                              # v ← β₂ v + (1 − β₂) g²
        if self.amsgrad:
            v = np.maximum(rest[0], v, out=rest[0])
        add(sqrt(v, s), eps, s)
        multiply(divide(m, s, s), rate, s)                         # c2/c1 · lr m/(√v + ε c2)
        subtract(p, s, p)                                          # p ← p − lr m̂/(√v̂ + ε)

    def algorithm(self) -> list[str]:
        """The same, number by number."""
        largest = ["v_max = max(v_max, v)"] if self.amsgrad else []
        v = "v_max" if self.amsgrad else "v"
        return ["m = beta1*m + (1 - beta1)*g", "v = beta2*v + (1 - beta2)*g**2", *largest,
                "m_hat = m/(1 - beta1**t)", f"v_hat = {v}/(1 - beta2**t)",
                "p = p - lr*m_hat/(sqrt(v_hat) + eps)"]


class AdamW(Adam):
    """Adam with weight decay beside the step, where the adaptive rate does not touch it.

        p ← p − lr λ p
        p ← p − lr m̂ / (√v̂ + ε)          with m̂ and v̂ as in `Adam`

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    weight_decay : float in [0, inf)
        λ.
    **options
        Those of `Adam` and of every optimizer.

    Notes
    -----
    Equal to ``torch.optim.AdamW``. In the paper λ is not multiplied by lr but by its schedule.

    References
    ----------
    I. Loshchilov and F. Hutter, *Decoupled weight decay regularization* (2019), Algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = {"w": np.array([1.0])}
    >>> AdamW(lr=0.1, weight_decay=0.5).update(w, {"w": np.array([0.0])})
    >>> w["w"]
    array([0.95])
    """

    decoupled: ClassVar[bool] = True

    def __init__(
        self, params: Params = None, lr: Any = 1e-3, *, weight_decay: float = 0.01, **options: Any
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay, **options)


class Nadam(Optimizer):
    """Adam with Nesterov's look-ahead in its mean.

        μₜ = β₁ (1 − 0.96^(t ψ) / 2)     Πμ = μ₁ · … · μₜ
        m ← β₁ m + (1 − β₁) g            m̂ = μₜ₊₁ m / (1 − Πμ μₜ₊₁) + (1 − μₜ) g / (1 − Πμ)
        v ← β₂ v + (1 − β₂) g²           v̂ = v / (1 − β₂ᵗ)
        p ← p − lr m̂ / (√v̂ + ε)

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    beta1, beta2 : float in [0, 1)
        β₁ and β₂.
    eps : float in [0, inf)
        ε, outside the root.
    psi : float in [0, inf)
        ψ, how fast μₜ grows from β₁ / 2 to β₁; momentum_decay in torch.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    m and v start from 0. Equal to ``torch.optim.NAdam``. Πμ follows from t, so it is no part of
    the state; when β₁ or ψ is changed later it counts as if it had been so from the start.

    References
    ----------
    T. Dozat, *Incorporating Nesterov momentum into Adam* (2016).

    Examples
    --------
    >>> import numpy as np
    >>> w = {"w": np.array([1.0])}
    >>> Nadam(lr=0.1).update(w, {"w": np.array([5.0])})
    >>> w["w"].round(4)
    array([0.8944])
    """

    options: ClassVar[dict[str, Check]] = Optimizer.options | {
        "beta1": share, "beta2": share, "eps": number(), "psi": number(),
    }
    scratch: ClassVar[int] = 2
    beta1: float
    beta2: float
    eps: float
    psi: float

    def __init__(
        self, params: Params = None, lr: Any = 2e-3, *, beta1: float = 0.9, beta2: float = 0.999,
        eps: float = 1e-8, psi: float = 0.004, **options: Any,
    ) -> None:
        super().__init__(params, lr, beta1=beta1, beta2=beta2, eps=eps, psi=psi, **options)

    def accumulators(self) -> dict[str, float]:
        """m and v, running means of gradients and of their squares."""
        return {"m": 0.0, "v": 0.0}

    def constants(self, t: int) -> dict[str, float]:
        """Scalars of update t: μₜ, μₜ₊₁ and their product so far, taken up where it was left."""
        made = self.__dict__.get("_product", (None, 0, 1.0))
        key = (self.beta1, self.psi)
        _, start, product = made if made[0] == key and made[1] <= t else (key, 0, 1.0)
        for i in range(start + 1, t + 1):
            product *= self._mu(i)
        self.__dict__["_product"] = key, t, product
        return {"mu": self._mu(t), "mu_next": self._mu(t + 1), "product": product}

    def _mu(self, t: int) -> float:
        return self.beta1 * (1 - 0.5 * 0.96 ** (t * self.psi))

    def rule(
        self, p: Array, g: Array, m: Array, v: Array, s: Array, r: Array, *, lr: float, t: int
    ) -> None:
        """Mean, looked ahead, over root mean square."""
        mu, mu_next, product = self.constants(t).values()
        b1, a1, b2, a2, root, eps, ahead, now = self.scalars(
            p, self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2,
            math.sqrt(1 - self.beta2**t), self.eps,
            lr * mu_next / (1 - product * mu_next), lr * (1 - mu) / (1 - product),
        )
        m *= b1
        m += multiply(g, a1, s)
        v *= b2
        multiply(g, g, s)
        s *= a2
        v += s
        sqrt(v, s)
        s /= root
        s += eps
        multiply(m, ahead, r)
        r /= s
        p -= r
        multiply(g, now, r)
        r /= s
        p -= r

    def algorithm(self) -> list[str]:
        """The same, number by number."""
        return ["m = beta1*m + (1 - beta1)*g", "v = beta2*v + (1 - beta2)*g**2",
                "m_hat = mu_next*m/(1 - product*mu_next) + (1 - mu)*g/(1 - product)",
                "v_hat = v/(1 - beta2**t)", "p = p - lr*m_hat/(sqrt(v_hat) + eps)"]
