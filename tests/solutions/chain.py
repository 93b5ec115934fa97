"""A chain of four functions.

f(x) = exp(−sin²(x)). Return f′(x), for an array of x.
"""

import numpy as np


def slope(x):
    return -2 * np.sin(x) * np.cos(x) * np.exp(-np.sin(x) ** 2)
