"""A derivative from the result alone.

z = tanh(x) was computed, and x was thrown away. From g = ∂L/∂z and z, return ∂L/∂x.
"""


def gradient(g, z):
    return g * (1 - z * z)
