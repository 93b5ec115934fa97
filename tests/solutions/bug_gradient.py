"""Find the planted bug: a network of two layers.

loss() is right; in gradients() one line is wrong. Mend it.
"""

import numpy as np


def loss(x, y, w1, b1, w2, b2):
    hidden = np.maximum(x @ w1 + b1, 0)
    return np.mean((hidden @ w2 + b2 - y) ** 2)


def gradients(x, y, w1, b1, w2, b2):
    hidden = np.maximum(x @ w1 + b1, 0)
    error = hidden @ w2 + b2 - y
    g = 2 * error / error.size
    to_w2 = hidden.T @ g
    to_b2 = g.sum(axis=0)
    g = g @ w2.T * (hidden > 0)
    to_w1 = x.T @ g
    to_b1 = g.sum(axis=0)
    return to_w1, to_b1, to_w2, to_b2
