"""MyGrad, memory guarding off as its documentation advises for speed; Adam in plain NumPy."""

from __future__ import annotations

import mygrad as mg
import numpy as np
from mygrad.nnet.activations import relu
from mygrad.nnet.losses import softmax_crossentropy

from contestants import CannotError, Job
from contestants.by_hand import Adam

mg.turn_memory_guarding_off()


def logits(work, p, x):
    if work.kind == "rnn":
        h = np.zeros((len(x), len(work.weights["in_h"])), x.dtype)
        for t in range(x.shape[1]):
            h = mg.tanh(x[:, t] @ p["in_x"] + p["bias_x"] + h @ p["in_h"] + p["bias_h"])
        x = h
    elif work.kind == "char":
        x = p["table"][x].reshape(len(x), -1)
    between = relu if work.kind == "mlp" else mg.tanh
    *hidden, (W, b) = work.layers
    for V, c in hidden:
        x = between(x @ p[V] + p[c])
    return x @ p[W] + p[b]


def training_step(work, variant):
    p = {name: mg.tensor(a) for name, a in work.weights.items()}
    adam = Adam([t.data for t in p.values()])

    def step():
        loss = softmax_crossentropy(logits(work, p, work.x), work.y)
        loss.backward()
        adam.update([t.grad for t in p.values()])
        return loss

    return Job(step)


def optimizer(work, variant):
    raise CannotError("it has none")


def single_op(variant):
    x = mg.tensor(np.ones((8, 8), np.float32))
    return Job(lambda: x * x)


def chain(length, variant):
    def build():
        x = mg.tensor(1.0)
        for _ in range(length):
            x = x * 0.9999
        return x

    return Job(lambda y: y.backward(), before=build)
