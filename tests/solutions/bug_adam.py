"""Find the planted bug: Adam on plain arrays.

It runs, and it learns, but not as Adam does. One line is wrong. Mend it.
"""

import numpy as np


def minimize(gradient, p, steps, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8):
    path = [p]
    m = np.zeros_like(p)
    v = np.zeros_like(p)
    for t in range(1, steps + 1):
        g = gradient(p)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
        path.append(p)
    return path
