"""The gradients of a matrix product.

z = x @ w with shapes (n, k) and (k, m), and g = ∂L/∂z. Return ∂L/∂x and ∂L/∂w.
"""


def gradients(g, x, w):
    to_x = g @ w.T
    to_w = x.T @ g
    return to_x, to_w
