"""Conjugate gradients.

Solve A x = b for a symmetric positive definite A of n rows, that is only known by `multiply`,
which takes a vector d and returns A @ d. Start from 0, and multiply at most n times.
"""

import numpy as np


def solve(multiply, b):
    x, r = np.zeros_like(b), b
    d = r
    for _ in range(len(b)):
        if not r @ r:
            break
        product = multiply(d)
        alpha = r @ r / (d @ product)
        x = x + alpha * d
        r, before = r - alpha * product, r
        d = r + (r @ r) / (before @ before) * d
    return x
