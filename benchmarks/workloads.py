"""What is trained: data and starting weights, the same for every contestant."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

__all__ = ["MODELS", "PIECES", "WORKLOADS", "Work"]


@dataclass
class Work:
    """A network, its data and its starting weights, all in float32.

    Attributes
    ----------
    kind : {"mlp", "char", "rnn", ...}
        Linear layers with ReLU between; an embedding, then layers with tanh between; a tanh
        network along a sequence, then a layer on its last state. The other kinds are of a library's
        own layers: "stack" is linear layers with ``between`` after each but the last, "cell" is
        "rnn" with another cell, "cnn" two convolutions with pooling, "gpt" a small transformer.
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
    between: tuple[str, ...] = ()

    @property
    def layers(self):
        """The names of weights and biases of the linear layers."""
        return [(f"W{i}", f"b{i}") for i in range(sum(k.startswith("W") for k in self.weights))]


def mlp(rows, sizes):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], rows)
    return Work("mlp", x, y, _layers(rng, sizes))


def stack(rows, sizes, *between):
    work = mlp(rows, sizes)
    weights = {}
    for i, (name, a) in enumerate(work.weights.items()):
        weights[name] = a
        if i % 2 and "norm" in between[0] and i < len(work.weights) - 1:
            weights |= {f"gamma{i}": np.ones_like(a), f"beta{i}": np.zeros_like(a)}
    return Work("stack", work.x, work.y, weights, between)


def cnn(rows):
    work, rng = mlp(rows, [64, 10]), np.random.default_rng(0)
    shapes = {"W0": (8, 1, 3, 3), "b0": (8,), "W1": (16, 8, 3, 3), "b1": (16,), "W2": (64, 10),
              "b2": (10,)}
    weights = {k: rng.uniform(-0.2, 0.2, s).astype(np.float32) for k, s in shapes.items()}
    return Work("cnn", work.x.reshape(rows, 1, 8, 8), work.y, weights)


def gpt(rows, time=32, letters=27, features=64, blocks=2):
    rng = np.random.default_rng(0)
    x = rng.integers(0, letters, (rows, time + 1))
    linear = {"W": (features, features), "b": (features,)}
    norm = {"gamma": (features,), "beta": (features,)}
    parts = {"query": linear, "key": linear, "value": linear, "out": linear,
             "up": {"W": (features, 4 * features), "b": (4 * features,)},
             "down": {"W": (4 * features, features), "b": (features,)}, "norm1": norm,
             "norm2": norm}
    shapes = {"table": (letters, features), "places": (time, features)}
    shapes |= {f"{i}.{part}.{k}": s for i in range(blocks) for part, row in parts.items()
               for k, s in row.items()}
    shapes |= {"gamma": (features,), "beta": (features,), "W": (features, letters),
               "b": (letters,)}
    weights = {k: np.ones(s, np.float32) if "gamma" in k else
               (rng.standard_normal(s) * s[0]**-0.5 * (len(s) > 1)).astype(np.float32)
               for k, s in shapes.items()}
    return Work("gpt", x[:, :-1], x[:, 1:].reshape(-1), weights)


def cell(kind, gates, rows=32, time=20, features=64, hidden=64, classes=10):
    work = rnn(rows, time, features, hidden, classes)
    wide = {k: np.concatenate([a] * gates, axis=-1) for k, a in work.weights.items()
            if k not in ("W0", "b0")}
    return Work("cell", work.x, work.y, {**work.weights, **wide}, (kind,))


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
MODELS = {
    "tanh": ("2-32-32-3, tanh, 300 rows", lambda: stack(300, [2, 32, 32, 3], "tanh")),
    "sigmoid": ("2-32-32-3, sigmoid, 300 rows", lambda: stack(300, [2, 32, 32, 3], "sigmoid")),
    **{name: (f"64-128-128-10, {' and '.join(between)}, 64 rows",
              lambda between=between: stack(64, [64, 128, 128, 10], *between))
       for name, between in {
           "gelu": ["gelu"], "silu": ["silu"], "leaky": ["leaky_relu"],
           "batch norm": ["batch_norm", "relu"], "layer norm": ["layer_norm", "relu"],
           "dropout": ["relu", "dropout"]}.items()},
    "cnn": ("two convolutions 3 × 3 and pooling on 8 × 8 digits, 64 rows", lambda: cnn(64)),
    "rnn 20": ("20 tanh steps of 64, 32 rows", lambda: cell("rnn", 1)),
    "gru": ("20 GRU steps of 64, 32 rows", lambda: cell("gru", 3)),
    "lstm": ("20 LSTM steps of 64, 32 rows", lambda: cell("lstm", 4)),
    "gpt": ("GPT, 2 blocks of 64, 4 heads, 32 × 32 tokens", lambda: gpt(32)),
}
WORKLOADS |= MODELS
PIECES = {
    "optimizer": "Adam alone, on the weights of `digits`, gradients given",
    "op": "x * y on 8 × 8, recorded",
    "chain": "backward pass through a chain of 10,000 operations on one number",
    "import": "a process that imports it and nothing else",
    "memory": "peak above the bare import: data, model, and 30 steps of `mnist`",
}
