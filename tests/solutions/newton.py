"""Newton's method.

f takes a vector and returns a number; tg.grad(f) and tg.hessian(f) are its derivatives. At each
step go to where the quadratic that touches f at x, with the same slope and curvature, has slope 0.
Return x after so many steps.
"""

import numpy as np

import tinygrad_opt as tg


def minimize(f, x, steps):
    for _ in range(steps):
        x = x - np.linalg.solve(tg.hessian(f)(x), tg.grad(f)(x))
    return x
