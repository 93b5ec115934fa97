"""The derivative of a quotient.

L depends on z = a / b, and g = ∂L/∂z has already arrived. Return ∂L/∂a and ∂L/∂b.
"""


def gradients(g, a, b):
    to_a = g / b
    to_b = -g * a / b**2
    return to_a, to_b
