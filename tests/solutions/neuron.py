"""One neuron and its loss.

y = σ(w · x + b) with σ(s) = 1 / (1 + exp(−s)), and L = (y − target)². w and x are vectors of the
same length, b and target are numbers. Return ∂L/∂w and ∂L/∂b.
"""

import numpy as np


def gradients(w, b, x, target):
    y = 1 / (1 + np.exp(-(w @ x + b)))
    g = 2 * (y - target) * y * (1 - y)
    to_w = g * x
    to_b = g
    return to_w, to_b
