"""PyTorch: eager with its default Adam, with the fused one, and compiled by Inductor."""

from __future__ import annotations

import numpy
import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

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


class Block(nn.Module):
    """Attention and two layers, each behind a norm and added to what comes in."""

    def __init__(self, features):
        super().__init__()
        self.packed = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)
        self.up, self.down = nn.Linear(features, 4 * features), nn.Linear(4 * features, features)
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)

    def forward(self, x):
        n, time, features = x.shape
        q, k, v = (part.view(n, time, 4, -1).transpose(1, 2)
                   for part in self.packed(self.norm1(x)).split(features, dim=-1))
        z = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(z.transpose(1, 2).reshape(n, time, features))
        return x + self.down(gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, letters, time, features, blocks):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(time, features))
        self.table = nn.Embedding(letters, features)
        self.blocks = nn.Sequential(*(Block(features) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(features), nn.Linear(features, letters)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.table(x) + self.places))).flatten(0, 1)


class Cell(nn.Module):
    """A recurrent layer, and a layer on its last output."""

    def __init__(self, kind, features, hidden, classes):
        super().__init__()
        layer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind]
        self.cell = layer(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


BETWEEN = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "silu": nn.SiLU,
           "leaky_relu": nn.LeakyReLU, "relu": nn.ReLU, "dropout": lambda: nn.Dropout(0.2)}
NORMS = {"batch_norm": nn.BatchNorm1d, "layer_norm": nn.LayerNorm}


def of_layers(work, shapes):
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
        return Cell(work.between[0], shapes["in_x"][0], *shapes["W0"])
    return GPT(shapes["table"][0], *shapes["places"], 2)


def packed(weights):
    """The weights in the order of the model here: places first, one projection for q, k and v."""
    if "places" not in weights:
        return weights
    rest = dict(weights)
    made = {"places": rest.pop("places"), "table": rest.pop("table")}
    for i in range(2):
        for k in "Wb":
            made[f"{i}.packed.{k}"] = numpy.concatenate(
                [rest.pop(f"{i}.{part}.{k}") for part in ("query", "key", "value")], axis=-1)
        made |= {name: rest.pop(name) for name in list(rest) if name.startswith(f"{i}.")}
    return made | rest


def network(work):
    shapes = {name: a.shape for name, a in work.weights.items()}
    if work.kind in ("stack", "cnn", "cell", "gpt"):
        model = of_layers(work, shapes)
    elif work.kind == "rnn":
        model = Recurrent(*shapes["in_x"], shapes["W0"][1])
    else:
        between = nn.ReLU if work.kind == "mlp" else nn.Tanh
        parts = [p for W, _ in work.layers for p in (nn.Linear(*shapes[W]), between())][:-1]
        if work.kind == "char":
            parts = [nn.Embedding(*shapes["table"]), nn.Flatten(), *parts]
        model = nn.Sequential(*parts)
    for parameter, (name, a) in zip(model.parameters(), packed(work.weights).items(), strict=True):
        turned = a.ndim == 2 and name not in ("table", "places")
        parameter.data = torch.tensor(a.T.copy() if turned else a)
    return model


def adam(parameters, variant):
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPS,
                            fused=True if variant != "eager" else None)


def training_step(work, variant):
    if variant == "inductor" and work.kind in ("rnn", "cell"):
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
