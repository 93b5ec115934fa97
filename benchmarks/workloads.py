"""What is trained: data and starting weights, the same for every contestant."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

__all__ = ["PIECES", "WORKLOADS", "Work"]


@dataclass
class Work:
    """A network, its data and its starting weights, all in float32.

    Attributes
    ----------
    kind : {"mlp", "char", "rnn"}
        Linear layers with ReLU between; an embedding, then layers with tanh between; a tanh
        network along a sequence, then a layer on its last state.
    x : ndarray
        Rows of numbers; rows of indices; (rows, time, features).
    y : ndarray of int
        Classes; the loss is the mean cross entropy.
    weights : dict of str to ndarray
        In the order in which the network uses them, matrices as (in, out).
    """

    kind: str
    x: np.ndarray
    y: np.ndarray
    weights: dict[str, np.ndarray]

    @property
    def layers(self):
        """The names of weights and biases of the linear layers."""
        return [(f"W{i}", f"b{i}") for i in range(sum(k.startswith("W") for k in self.weights))]


def mlp(rows, sizes):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], rows)
    return Work("mlp", x, y, _layers(rng, sizes))


def char(rows, letters=27, features=10, context=3, hidden=200):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, letters, (rows, context)), rng.integers(0, letters, rows)
    table = rng.standard_normal((letters, features)).astype(np.float32)
    sizes = [context * features, hidden, letters]
    return Work("char", x, y, {"table": table, **_layers(rng, sizes)})


def rnn(rows, time=50, features=16, hidden=64, classes=10):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, time, features)).astype(np.float32)
    y = rng.integers(0, classes, rows)
    shapes = {"in_x": (features, hidden), "in_h": (hidden, hidden),
              "bias_x": (hidden,), "bias_h": (hidden,)}
    bound = hidden**-0.5
    cell = {k: rng.uniform(-bound, bound, s).astype(np.float32) for k, s in shapes.items()}
    return Work("rnn", x, y, {**cell, **_layers(rng, [hidden, classes])})


def _layers(rng, sizes):
    weights = {}
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        weights[f"W{i}"] = (rng.standard_normal((n, m)) * (2 / n) ** 0.5).astype(np.float32)
        weights[f"b{i}"] = np.zeros(m, np.float32)
    return weights


WORKLOADS = {
    "spiral": ("2-64-3, 300 rows", lambda: mlp(300, [2, 64, 3])),
    "moons": ("2-16-16-2, 100 rows", lambda: mlp(100, [2, 16, 16, 2])),
    "digits": ("64-128-64-10, 128 rows", lambda: mlp(128, [64, 128, 64, 10])),
    "mnist": ("784-256-128-10, 128 rows", lambda: mlp(128, [784, 256, 128, 10])),
    "deep": ("30 layers of 16, 32 rows", lambda: mlp(32, [16] * 31)),
    "char": ("30-200-27 on letters, embedded by 27 × 10, tanh, 32 rows", lambda: char(32)),
    "rnn": ("50 tanh steps of 64, 16 inputs, 10 classes, 32 rows", lambda: rnn(32)),
}
PIECES = {
    "optimizer": "Adam alone, on the weights of `digits`, gradients given",
    "op": "x * y on 8 × 8, recorded",
    "chain": "backward pass through a chain of 10,000 operations on one number",
    "import": "a process that imports it and nothing else",
    "memory": "peak above the bare import: data, model, and 30 steps of `mnist`",
}
