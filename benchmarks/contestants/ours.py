"""tinygrad_opt, eager and compiled: the same text with and without the decorator."""

from __future__ import annotations

import numpy as np

import tinygrad_opt as tg
from contestants import BETA1, BETA2, EPS, LEARNING_RATE, CannotError, Job
from tinygrad_opt import nn


class Recurrent(nn.Module):
    """A tanh network and a layer on its last state."""

    def __init__(self, features, hidden, classes):
        self.rnn = nn.RNN(features, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        return self.head(self.rnn(x)[1])


def network(work):
    """The model of a workload, with its weights."""
    shapes = {name: a.shape for name, a in work.weights.items()}
    if work.kind == "mlp":
        sizes = [shapes["W0"][0], *(shapes[W][1] for W, _ in work.layers)]
        model = nn.MLP(sizes, activation="relu")
    elif work.kind == "char":
        model = nn.Sequential(nn.Embedding(*shapes["table"]), nn.Flatten(),
                              nn.Linear(*shapes["W0"]), nn.Tanh(), nn.Linear(*shapes["W1"]))
    else:
        model = Recurrent(*shapes["in_x"], shapes["W0"][1])
    for parameter, values in zip(model.parameters().values(), work.weights.values(), strict=True):
        parameter.data = values
    return model


def adam(parameters):
    return tg.optim.Adam(parameters, lr=LEARNING_RATE, beta1=BETA1, beta2=BETA2, eps=EPS)


def training_step(work, variant):
    model = network(work)
    opt = adam(model.parameters())
    x = work.x if work.kind == "char" else tg.Tensor(work.x)
    y = work.y

    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    run = tg.compile(step) if variant == "compiled" else step
    return Job(lambda: run(x, y))


def optimizer(work, variant):
    eager_only(variant)
    parameters = {k: tg.Tensor(a, requires_grad=True) for k, a in work.weights.items()}
    for p in parameters.values():
        p.grad = np.ones_like(p.data)
    return Job(adam(parameters).step)


def single_op(variant):
    eager_only(variant)
    x = tg.Tensor(np.ones((8, 8), np.float32), requires_grad=True)
    return Job(lambda: x * x)


def chain(length, variant):
    eager_only(variant)
    x = tg.Tensor(1.0, requires_grad=True)

    def build():
        y = x
        for _ in range(length):
            y = y * 0.9999
        return y

    return Job(lambda y: y.backward(), before=build)


def eager_only(variant):
    if variant == "compiled":
        raise CannotError("a piece of an eager step")
