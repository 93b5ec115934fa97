"""Linear regression without a loop.

L is the mean over the rows of x of (x @ w − y)². x has the shape (n, k), w (k,), y (n,).
Return ∂L/∂w.
"""


def gradient(x, w, y):
    return 2 * x.T @ (x @ w - y) / len(y)
