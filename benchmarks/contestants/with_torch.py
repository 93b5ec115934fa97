"""PyTorch: eager with its default Adam, with the fused one, and compiled by Inductor."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from contestants import BETA1, BETA2, EPS, LEARNING_RATE, CannotError, Job

torch.set_num_threads(1)


class Recurrent(nn.Module):
    """A tanh network and a layer on its last state."""

    def __init__(self, features, hidden, classes):
        super().__init__()
        self.rnn = nn.RNN(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        return self.head(self.rnn(x)[1][0])


def network(work):
    shapes = {name: a.shape for name, a in work.weights.items()}
    if work.kind == "rnn":
        model = Recurrent(*shapes["in_x"], shapes["W0"][1])
    else:
        between = nn.ReLU if work.kind == "mlp" else nn.Tanh
        parts = [p for W, _ in work.layers for p in (nn.Linear(*shapes[W]), between())][:-1]
        if work.kind == "char":
            parts = [nn.Embedding(*shapes["table"]), nn.Flatten(), *parts]
        model = nn.Sequential(*parts)
    for parameter, (name, a) in zip(model.parameters(), work.weights.items(), strict=True):
        parameter.data = torch.tensor(a if name == "table" else a.T.copy())
    return model


def adam(parameters, variant):
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPS,
                            fused=True if variant != "eager" else None)


def training_step(work, variant):
    if variant == "inductor" and work.kind == "rnn":
        raise CannotError("torch.compile leaves nn.RNN as it is")
    model = network(work)
    opt = adam(model.parameters(), variant)
    x, y = torch.tensor(work.x), torch.tensor(work.y)

    def loss_of(x, y):
        return cross_entropy(model(x), y)

    if variant == "inductor":
        loss_of = torch.compile(loss_of)

    def step():
        loss = loss_of(x, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return Job(step)


def optimizer(work, variant):
    if variant == "inductor":
        raise CannotError("its training step uses the fused Adam")
    parameters = [torch.tensor(a, requires_grad=True) for a in work.weights.values()]
    for p in parameters:
        p.grad = torch.ones_like(p)
    return Job(adam(parameters, variant).step)


def single_op(variant):
    eager_only(variant)
    x = torch.ones(8, 8, requires_grad=True)
    return Job(lambda: x * x)


def chain(length, variant):
    eager_only(variant)
    x = torch.tensor(1.0, requires_grad=True)

    def build():
        y = x
        for _ in range(length):
            y = y * 0.9999
        return y

    return Job(lambda y: y.backward(), before=build)


def eager_only(variant):
    if variant != "eager":
        raise CannotError("as PyTorch eager")
