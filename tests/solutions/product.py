"""The derivative of a product.

L depends on z = a · b, and g = ∂L/∂z has already arrived. Return ∂L/∂a and ∂L/∂b.
"""


def gradients(g, a, b):
    to_a = g * b
    to_b = g * a
    return to_a, to_b
