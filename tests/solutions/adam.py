"""Adam.

m and v are the first and second moment, exponential means of g and of g², and start from 0. As
they are too small at first, each is divided by 1 − βᵗ; t is 1 at the first step. The parameter
moves by −η · m̂ / (√v̂ + ε). Return the new p, m and v.
"""

import numpy as np

from tinygrad_opt.optim import Optimizer


class Adam(Optimizer):
    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def accumulators(self):
        return {"m": 0.0, "v": 0.0}

    def rule(self, p, g, m, v, *, lr, t):
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g**2
        m_hat = m / (1 - self.beta1**t)
        v_hat = v / (1 - self.beta2**t)
        p = p - lr * m_hat / (np.sqrt(v_hat) + self.eps)
        return p, m, v
