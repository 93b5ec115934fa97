"""Finite differences.

f takes an array and returns a number. Return the derivative of f by the one entry x[index], where
index may be a tuple such as (0, 1), from two values of f at a distance ε = eps from x, so that the
error falls with ε². Leave x as it was.
"""


def derivative(f, x, index, eps):
    right, left = x.copy(), x.copy()
    right[index] += eps
    left[index] -= eps
    return (f(right) - f(left)) / (2 * eps)
