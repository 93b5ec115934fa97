"""Undo broadcasting.

An input of the given shape was broadcast, by NumPy's rules, to the shape of g, which is ∂L by the
broadcast array. Return ∂L by the input: an array of the given shape.
"""


def undo(g, shape):
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    for axis, n in enumerate(shape):
        if n == 1:
            g = g.sum(axis=axis, keepdims=True)
    return g
