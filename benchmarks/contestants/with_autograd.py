"""HIPS autograd: `value_and_grad` of a loss in its NumPy, Adam in plain NumPy."""

from __future__ import annotations

import autograd.numpy as np
import numpy
from autograd import make_vjp, value_and_grad

from contestants import CannotError, Job
from contestants.by_hand import Adam, copies


def logits(work, p, x):
    if work.kind == "rnn":
        h = numpy.zeros((len(x), len(work.weights["in_h"])), x.dtype)
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ p["in_x"] + p["bias_x"] + h @ p["in_h"] + p["bias_h"])
        x = h
    elif work.kind == "char":
        x = np.reshape(p["table"][x], (len(x), -1))
    *hidden, (W, b) = work.layers
    for V, c in hidden:
        z = x @ p[V] + p[c]
        x = np.maximum(z, 0) if work.kind == "mlp" else np.tanh(z)
    return x @ p[W] + p[b]


def training_step(work, variant):
    weights = copies(work)
    adam = Adam(list(weights.values()))
    classes = weights[work.layers[-1][1]].size
    picked = numpy.eye(classes, dtype=numpy.float32)[work.y]     # as its own examples do

    def loss_of(p):
        z = logits(work, p, work.x)
        z = z - np.max(z, axis=1, keepdims=True)
        z = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
        return -np.sum(z * picked) / len(picked)

    differentiate = value_and_grad(loss_of)

    def step():
        loss, grads = differentiate(weights)
        adam.update(list(grads.values()))
        return loss

    return Job(step)


def optimizer(work, variant):
    raise CannotError("its optimizer here is NumPy's")


def single_op(variant):
    raise CannotError("records inside a differentiated function only")


def chain(length, variant):
    def build():
        def product(x):
            for _ in range(length):
                x = x * 0.9999
            return x

        return make_vjp(product)(1.0)[0]

    return Job(lambda vjp: vjp(1.0), before=build)
