"""Clip by the global norm.

grads is a dict of arrays. The norm of all their entries together, as one vector, shall be at most
`limit`: if it is more, scale all of them by the same factor. Return a new dict; leave the arrays
that you were given as they are.
"""

import numpy as np


def clip(grads, limit):
    norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
    factor = min(1, limit / norm) if norm else 1
    return {name: g * factor for name, g in grads.items()}
