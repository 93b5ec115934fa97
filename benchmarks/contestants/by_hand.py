"""NumPy as teaching texts write it: a class for each layer, arrays of its own for each gradient."""

from __future__ import annotations

import numpy as np

from contestants import BETA1, BETA2, EPS, LEARNING_RATE, CannotError, Job


class Dense:
    def __init__(self, weights, biases):
        self.weights, self.biases = weights, biases

    def forward(self, inputs):
        self.inputs = inputs
        return np.dot(inputs, self.weights) + self.biases

    def backward(self, g):
        self.gradients = [np.dot(self.inputs.T, g), np.sum(g, axis=0)]
        return np.dot(g, self.weights.T)


class ReLU:
    gradients = ()

    def forward(self, inputs):
        self.inputs = inputs
        return np.maximum(0, inputs)

    def backward(self, g):
        g = g.copy()
        g[self.inputs <= 0] = 0
        return g


class Tanh:
    gradients = ()

    def forward(self, inputs):
        self.outputs = np.tanh(inputs)
        return self.outputs

    def backward(self, g):
        return g * (1 - self.outputs**2)


class Embedding:
    """Rows of a table, side by side."""

    def __init__(self, table):
        self.table = table

    def forward(self, indices):
        self.indices = indices
        return self.table[indices].reshape(len(indices), -1)

    def backward(self, g):
        rows = np.zeros_like(self.table)
        np.add.at(rows, self.indices, g.reshape(*self.indices.shape, -1))
        self.gradients = [rows]


class RNN:
    """h' = tanh(x @ W + h @ V + b + c), the last state."""

    def __init__(self, in_x, in_h, bias_x, bias_h):
        self.in_x, self.in_h, self.bias_x, self.bias_h = in_x, in_h, bias_x, bias_h

    def forward(self, inputs):
        self.inputs = inputs
        self.states = [np.zeros((len(inputs), len(self.in_h)), inputs.dtype)]
        for t in range(inputs.shape[1]):
            z = np.dot(inputs[:, t], self.in_x) + self.bias_x
            self.states.append(np.tanh(z + np.dot(self.states[-1], self.in_h) + self.bias_h))
        return self.states[-1]

    def backward(self, g):
        in_x, in_h, bias = map(np.zeros_like, (self.in_x, self.in_h, self.bias_x))
        for t in reversed(range(self.inputs.shape[1])):
            g = g * (1 - self.states[t + 1] ** 2)
            in_x += np.dot(self.inputs[:, t].T, g)
            in_h += np.dot(self.states[t].T, g)
            bias += np.sum(g, axis=0)
            g = np.dot(g, self.in_h.T)
        self.gradients = [in_x, in_h, bias, bias]


class Adam:
    """Key by key, in arrays of its own."""

    def __init__(self, weights):
        self.weights = weights
        self.m = [np.zeros_like(a) for a in weights]
        self.v = [np.zeros_like(a) for a in weights]
        self.t = 0

    def update(self, gradients):
        self.t += 1
        for w, m, v, g in zip(self.weights, self.m, self.v, gradients, strict=True):
            m[:] = BETA1 * m + (1 - BETA1) * g
            v[:] = BETA2 * v + (1 - BETA2) * g**2
            right = np.sqrt(v / (1 - BETA2**self.t)) + EPS
            w += -LEARNING_RATE * (m / (1 - BETA1**self.t)) / right


def cross_entropy(z, y):
    """The mean loss, and its gradient by z."""
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    p = e / np.sum(e, axis=1, keepdims=True)
    loss = np.mean(-np.log(np.clip(p[range(len(p)), y], 1e-7, 1 - 1e-7)))
    g = p.copy()
    g[range(len(p)), y] -= 1
    return loss, g / len(p)


def copies(work):
    return {name: a.copy() for name, a in work.weights.items()}


def network(work, weights):
    dense = [Dense(weights[W], weights[b]) for W, b in work.layers]
    between = ReLU if work.kind == "mlp" else Tanh
    parts = [part for layer in dense for part in (layer, between())][:-1]
    if work.kind == "char":
        parts.insert(0, Embedding(weights["table"]))
    if work.kind == "rnn":
        parts.insert(0, RNN(*list(weights.values())[:4]))
    return parts


def training_step(work, variant):
    weights = copies(work)
    layers = network(work, weights)
    adam = Adam(list(weights.values()))
    x, y = work.x, work.y

    def step():
        z = x
        for layer in layers:
            z = layer.forward(z)
        loss, g = cross_entropy(z, y)
        for layer in reversed(layers):
            g = layer.backward(g)
        adam.update([g for layer in layers for g in layer.gradients])
        return loss

    return Job(step)


def optimizer(work, variant):
    weights = list(copies(work).values())
    gradients = [np.ones_like(a) for a in weights]
    adam = Adam(weights)
    return Job(lambda: adam.update(gradients))


def single_op(variant):
    x = np.ones((8, 8), np.float32)
    return Job(lambda: x * x)


def chain(length, variant):
    raise CannotError("records no graph")
