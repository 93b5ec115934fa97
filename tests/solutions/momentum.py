"""Momentum.

The velocity v keeps the part μ of itself and gains −η · g; the parameter moves by the new velocity.
Return the new p and the new v. μ is self.momentum, η is lr.
"""

from tinygrad_opt.optim import Optimizer


class Momentum(Optimizer):
    momentum = 0.9

    def accumulators(self):
        return {"v": 0.0}

    def rule(self, p, g, v, *, lr, t):
        v = self.momentum * v - lr * g
        p = p + v
        return p, v
