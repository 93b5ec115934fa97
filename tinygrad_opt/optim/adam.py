"""Moments of the gradient, steps of bounded size: Adam, AdamW, Nadam, Adamax, Lion."""

from __future__ import annotations

from typing import ClassVar, NoReturn

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.ops import op
from tinygrad_opt.optim import options as check
from tinygrad_opt.optim.optimizer import Optimizer, Updated
from tinygrad_opt.optim.options import option
from tinygrad_opt.typing import Array, Rate

__all__ = ["Adam", "AdamW", "Adamax", "Lion", "Nadam"]


class Adam(Optimizer):
    """First moment over the root of the second, both corrected for their bias towards zero.

        m ← β₁ · m + (1 − β₁) · g
        v ← β₂ · v + (1 − β₂) · g²
        m̂ ← m / (1 − β₁ᵗ)
        v̂ ← v / (1 − β₂ᵗ)
        p ← p − η · m̂ / (√v̂ + ε)

    amsgrad divides by the largest v so far:

        vₘₐₓ ← max(vₘₐₓ, v)
        v̂ ← vₘₐₓ / (1 − β₂ᵗ)

    Without the corrections the last line is

        p ← p − η · m / (√v + ε)

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
        α in the paper.
    beta1, beta2 : float in [0, 1)
        β₁ and β₂, the exponential decay rates of the first and of the second moment.
    eps : float in [0, inf)
        ε, outside the root and after the correction, as in Algorithm 1.
    amsgrad : bool
        Never let the divisor's v fall.
    bias_correction : bool
        Without it the first steps are (1 − β₁) / √(1 − β₂) times too long, by default 3 times,
        and stay too long for about 1 / (1 − β₂) steps.
    **options
        Those of every optimizer; see `Optimizer`.

    Notes
    -----
    m and v start from 0; t is the step count of each parameter. Equal to ``torch.optim.Adam``.
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

    lr: Rate = option(check.rate, default=1e-3, kw_only=False)
    beta1: float = option(check.decay_rate, default=0.9)
    beta2: float = option(check.decay_rate, default=0.999)
    eps: float = option(check.number(), default=1e-8)
    amsgrad: bool = option(check.flag, default=False)
    bias_correction: bool = option(check.flag, default=True)


    def accumulators(self) -> dict[str, float]:
        """m and v, the first and second moment of the gradient, and the largest v."""
        return {"m": 0.0, "v": 0.0} | ({"v_max": 0.0} if self.amsgrad else {})

    def rule(
        self, p: Array, g: Array, m: Array, v: Array, *largest: Array, lr: float, t: int
    ) -> Updated:
        """First moment over the root of the second, both corrected for bias."""
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g**2
        kept = [m, v]
        if self.amsgrad:
            v_max = np.maximum(largest[0], v)
            kept.append(v_max)
        if not self.bias_correction:
            return p - lr * m / (np.sqrt(kept[-1]) + self.eps), *kept
        m_hat = m / (1 - self.beta1**t)
        v_hat = kept[-1] / (1 - self.beta2**t)
        return p - lr * m_hat / (np.sqrt(v_hat) + self.eps), *kept


class AdamW(Adam):
    """Adam with weight decay beside the step, where the adaptive rate does not touch it.

        p ← p − η · λ · p

    and then as in `Adam`:

        m ← β₁ · m + (1 − β₁) · g
        v ← β₂ · v + (1 − β₂) · g²
        m̂ ← m / (1 − β₁ᵗ)
        v̂ ← v / (1 − β₂ᵗ)
        p ← p − η · m̂ / (√v̂ + ε)

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

    weight_decay: float = option(check.number(), default=0.01)
    decoupled: ClassVar[bool] = True


class Nadam(Optimizer):
    """Adam with Nesterov's look-ahead in its first moment.

        μₜ ← β₁ · (1 − 0.96^(t · ψ) / 2)
        μₜ₊₁ ← β₁ · (1 − 0.96^((t + 1) · ψ) / 2)
        Πμ ← β₁ᵗ · damping(t, ψ)
        m ← β₁ · m + (1 − β₁) · g
        v ← β₂ · v + (1 − β₂) · g²
        m̂ ← μₜ₊₁ · m / (1 − Πμ · μₜ₊₁) + (1 − μₜ) · g / (1 − Πμ)
        v̂ ← v / (1 − β₂ᵗ)
        p ← p − η · m̂ / (√v̂ + ε)

    with Πμ = μ₁ · … · μₜ, where damping(t, ψ) is what the second factors of all μ make.

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    beta1, beta2 : float in [0, 1)
        β₁ and β₂, the exponential decay rates of the first and of the second moment.
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

    lr: Rate = option(check.rate, default=2e-3, kw_only=False)
    beta1: float = option(check.decay_rate, default=0.9)
    beta2: float = option(check.decay_rate, default=0.999)
    eps: float = option(check.number(), default=1e-8)
    psi: float = option(check.number(), default=0.004)


    def accumulators(self) -> dict[str, float]:
        """m and v, the first and second moment of the gradient."""
        return {"m": 0.0, "v": 0.0}

    def rule(self, p: Array, g: Array, m: Array, v: Array, *, lr: float, t: int) -> Updated:
        """First moment, looked ahead, over the root of the second."""
        mu = self.beta1 * (1 - 0.96 ** (t * self.psi) / 2)
        mu_next = self.beta1 * (1 - 0.96 ** ((t + 1) * self.psi) / 2)
        product = self.beta1**t * _damping(t, self.psi)
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g**2
        m_hat = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
        v_hat = v / (1 - self.beta2**t)
        return p - lr * m_hat / (np.sqrt(v_hat) + self.eps), m, v


def _factors(t: float, psi: float) -> float:
    """Product over i ≤ t of 1 − 0.96^(i ψ) / 2, taken up where it was left."""
    t, psi = int(t), float(psi)
    known = _products.get(psi, (0, 1.0))
    done, product = known if known[0] <= t else (0, 1.0)
    for i in range(done + 1, t + 1):
        factor = 1 - 0.96 ** (i * psi) / 2
        product *= factor
        if product < 1e-300 or factor == 1.0:              # the others don't matter any more
            break
    _products.clear()
    _products[psi] = t, product
    return product


def _no_derivative(g: object, z: object, t: object, psi: object) -> NoReturn:
    raise GraphError("Nadam cannot be differentiated by psi: the product over all steps has no"
                     " derivative here. Its lr, beta1, beta2 and eps have one")


_products: dict[float, tuple[int, float]] = {}
_damping = op("damping", _factors, None, _no_derivative)
_damping.name = "damping"


class Adamax(Optimizer):
    """Adam with the largest recent gradient in the place of the root mean square.

        m ← β₁ · m + (1 − β₁) · g
        u ← max(β₂ · u, |g| + ε)
        p ← p − η / (1 − β₁ᵗ) · m / u

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
    beta1, beta2 : float in [0, 1)
        β₁ and β₂, the exponential decay rates of the first moment and of the norm.
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

    lr: Rate = option(check.rate, default=2e-3, kw_only=False)
    beta1: float = option(check.decay_rate, default=0.9)
    beta2: float = option(check.decay_rate, default=0.999)
    eps: float = option(check.number(), default=1e-8)


    def accumulators(self) -> dict[str, float]:
        """m, the first moment, and u, the exponentially weighted infinity norm."""
        return {"m": 0.0, "u": 0.0}

    def rule(self, p: Array, g: Array, m: Array, u: Array, *, lr: float, t: int) -> Updated:
        """First moment over infinity norm."""
        m = self.beta1 * m + (1 - self.beta1) * g
        u = np.maximum(self.beta2 * u, np.abs(g) + self.eps)
        return p - lr / (1 - self.beta1**t) * m / u, m, u


class Lion(Optimizer):
    """Steps of one size: only the sign of a mean counts.

        u ← sign(β₁ · m + (1 − β₁) · g)
        m ← β₂ · m + (1 − β₂) · g
        p ← p − η · u

    and with weight decay, before these,

        p ← p − η · λ · p

    Parameters
    ----------
    params : dict of str to Tensor, optional
    lr : float or schedule
        The size of every step; three to ten times smaller than Adam's.
    beta1, beta2 : float in [0, 1)
        β₁ and β₂, the exponential decay rates in the step and in the moment that is kept.
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

    lr: Rate = option(check.rate, default=1e-4, kw_only=False)
    beta1: float = option(check.decay_rate, default=0.9)
    beta2: float = option(check.decay_rate, default=0.99)
    decoupled: ClassVar[bool] = True


    def accumulators(self) -> dict[str, float]:
        """m, the first moment of the gradient."""
        return {"m": 0.0}

    def rule(self, p: Array, g: Array, m: Array, *, lr: float, t: int) -> Updated:
        """Step by the sign of the mean."""
        u = np.sign(self.beta1 * m + (1 - self.beta1) * g)
        m = self.beta2 * m + (1 - self.beta2) * g
        return p - lr * u, m
