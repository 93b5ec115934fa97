"""tinygrad_opt, eager, compiled and native: the same text with and without the decorator."""

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
        return self.head(self.rnn(x)[0][:, -1])


class GPT(nn.Module):
    """Tokens and places embedded, transformer blocks, a norm and a layer."""

    def __init__(self, letters, time, features, blocks):
        self.table = nn.Embedding(letters, features)
        self.places = tg.Tensor(np.zeros((time, features), np.float32), requires_grad=True)
        self.blocks = nn.Sequential(*(
            nn.TransformerBlock(features, 4, causal=True) for _ in range(blocks)))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, letters)

    def forward(self, x):
        z = self.head(self.norm(self.blocks(self.table(x) + self.places)))
        return z.reshape(-1, z.shape[-1])


BETWEEN = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "silu": nn.SiLU,
           "leaky_relu": nn.LeakyReLU, "relu": nn.ReLU, "dropout": lambda: nn.Dropout(0.2, rng=0)}
NORMS = {"batch_norm": nn.BatchNorm1d, "layer_norm": nn.LayerNorm}


def of_layers(work, shapes):
    """The networks that are made of layers of the library's own."""
    if work.kind == "stack":
        parts = [p for W, _ in work.layers for p in (
            nn.Linear(*shapes[W]), *(NORMS[b](shapes[W][1]) if b in NORMS else BETWEEN[b]()
                                     for b in work.between))]
        return nn.Sequential(*parts[:-len(work.between)])
    if work.kind == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(64, 10))
    if work.kind == "cell":
        model = Recurrent(*work.weights["in_x"].shape[:1], *work.weights["W0"].shape)
        model.rnn = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[work.between[0]](
            shapes["in_x"][0], shapes["W0"][0])
        return model
    return GPT(shapes["table"][0], *shapes["places"], 2)


def network(work):
    """The model of a workload, with its weights."""
    shapes = {name: a.shape for name, a in work.weights.items()}
    if work.kind == "mlp":
        sizes = [shapes["W0"][0], *(shapes[W][1] for W, _ in work.layers)]
        model = nn.MLP(sizes, activation="relu")
    elif work.kind == "char":
        model = nn.Sequential(nn.Embedding(*shapes["table"]), nn.Flatten(),
                              nn.Linear(*shapes["W0"]), nn.Tanh(), nn.Linear(*shapes["W1"]))
    elif work.kind == "rnn":
        model = Recurrent(*shapes["in_x"], shapes["W0"][1])
    else:
        model = of_layers(work, shapes)
    for parameter, values in zip(model.parameters().values(), work.weights.values(), strict=True):
        parameter.data = values
    return model


def adam(parameters):
    return tg.optim.Adam(parameters, lr=LEARNING_RATE, beta1=BETA1, beta2=BETA2, eps=EPS)


def training_step(work, variant):
    model = network(work)
    opt = adam(model.parameters())
    x = work.x if work.kind in ("char", "gpt") else tg.Tensor(work.x)
    y = work.y

    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    run = as_variant(step, variant)
    return Job(lambda: run(x, y))


def optimizer(work, variant):
    if variant == "compiled":
        raise CannotError("a piece of an eager step")
    parameters = {k: tg.Tensor(a, requires_grad=True) for k, a in work.weights.items()}
    for p in parameters.values():
        p.grad = np.ones_like(p.data)
    return Job(as_variant(adam(parameters).step, variant))


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


def as_variant(step, variant):
    """The step as it is written, replayed, or as machine code."""
    if variant == "eager":
        return step
    try:
        return tg.compile(step, backend="native" if variant == "native" else "numpy")
    except ImportError as error:
        raise CannotError(str(error)) from None


def eager_only(variant):
    if variant != "eager":
        raise CannotError("a piece of an eager step")
