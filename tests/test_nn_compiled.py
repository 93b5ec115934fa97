"""Every layer and every loss in a captured step: replayed, it computes what it computes eagerly."""

import inspect

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn


def numbers(*shape):
    return lambda rng: rng.normal(size=shape).astype(np.float32)


def labels(rng):
    return rng.integers(0, 3, 6)


def shares(rng):
    return rng.dirichlet([1, 1, 1], 6).astype(np.float32)


def some_zero(rng):
    return shares(rng) * [0, 0.5, 1]


def bits(rng):
    return rng.integers(0, 2, (6, 3)).astype(np.float32)


def signs(rng):
    return 2 * bits(rng) - 1


LOSSES = {                               # loss of (logits of shape (6, 3), target), and the targets
    "cross_entropy": (nn.cross_entropy, labels),
    "cross_entropy uint8": (nn.cross_entropy, lambda rng: labels(rng).astype(np.uint8)),
    "cross_entropy sum": (lambda x, y: nn.cross_entropy(x, y, reduction="sum"), labels),
    "cross_entropy smoothed": (lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.1), labels),
    "cross_entropy weight": (lambda x, y: nn.cross_entropy(x, y, weight=[1, 2, 3]), labels),
    "cross_entropy ignore": (lambda x, y: nn.cross_entropy(x, y, ignore_index=1), labels),
    "cross_entropy shares": (lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.1), shares),
    "cross_entropy zeros": (nn.cross_entropy, some_zero),
    "nll_loss": (lambda x, y: nn.nll_loss(nn.log_softmax(x), y), labels),
    "kl_div": (lambda x, y: nn.kl_div(nn.log_softmax(x), y), shares),
    "kl_div zeros": (lambda x, y: nn.kl_div(nn.log_softmax(x), y),
                     lambda rng: shares(rng) * bits(rng)),
    "mse_loss": (nn.mse_loss, numbers(6, 3)),
    "mse_loss float64": (nn.mse_loss, lambda rng: rng.normal(size=(6, 3))),
    "mse_loss int": (nn.mse_loss, lambda rng: rng.integers(0, 5, (6, 3))),
    "l1_loss": (nn.l1_loss, numbers(6, 3)),
    "huber_loss": (nn.huber_loss, numbers(6, 3)),
    "binary_cross_entropy": (lambda x, y: nn.binary_cross_entropy(nn.sigmoid(x), y), bits),
    "binary_cross_entropy_with_logits": (nn.binary_cross_entropy_with_logits, bits),
    "binary_cross_entropy_with_logits weight": (
        lambda x, y: nn.binary_cross_entropy_with_logits(x, y, pos_weight=[1, 2, 3]), bits),
    "hinge_loss": (nn.hinge_loss, signs),
    "cosine_embedding_loss": (
        lambda x, y: nn.cosine_embedding_loss(x, np.ones((6, 3), np.float32), y),
        lambda rng: signs(rng)[:, 0]),
}

ROWS, IMAGES = numbers(6, 3), numbers(5, 2, 8, 8)
MODELS = {                               # modules, and their inputs
    "Linear": (lambda: nn.Linear(3, 2, rng=0), ROWS),
    "MLP": (lambda: nn.MLP([3, 4, 2], rng=0), ROWS),
    "MLP integers": (lambda: nn.MLP([3, 4, 2], rng=0), lambda rng: rng.integers(0, 9, (6, 3))),
    "MLP float64 input": (lambda: nn.MLP([3, 4, 2], rng=0), lambda rng: rng.normal(size=(6, 3))),
    "BatchNorm1d": (lambda: nn.MLP([3, 4, 2], norm="batch", rng=0), ROWS),
    "BatchNorm1d long": (lambda: nn.BatchNorm1d(3), numbers(6, 3, 5)),
    "BatchNorm1d evaluated": (lambda: nn.MLP([3, 4, 2], norm="batch", rng=0).eval(), ROWS),
    "LayerNorm": (lambda: nn.LayerNorm((2, 3)), numbers(6, 2, 3)),
    "Dropout": (lambda: nn.MLP([3, 4, 2], dropout=0.5, rng=0), ROWS),
    "Bilinear": (lambda: Squared(), ROWS),
    "Flatten": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2, rng=0)), numbers(6, 2, 3)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(3, 2, rng=0), np.tanh), ROWS),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1, rng=0), numbers(5, 2, 8)),
    "Conv2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.ReLU(),
                                     nn.Conv2d(3, 2, 2, rng=1)), IMAGES),
    "MaxPool2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.MaxPool2d(2)), IMAGES),
    "MaxPool2d padded": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, rng=0),
                                               nn.MaxPool2d(3, stride=2, padding=1)), IMAGES),
    "AvgPool2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.AvgPool2d(2)), IMAGES),
    "RNN": (lambda: First(nn.RNN(3, 4, rng=0)), numbers(2, 5, 3)),
    "GRU": (lambda: First(nn.GRU(3, 4, rng=0)), numbers(2, 5, 3)),
    "LSTM": (lambda: First(nn.LSTM(3, 4, rng=0)), numbers(2, 5, 3)),
    "Embedding": (lambda: nn.Embedding(5, 3, rng=0), lambda rng: rng.integers(0, 5, (4, 2))),
    "Embedding int32": (lambda: nn.Embedding(5, 3, rng=0),
                        lambda rng: rng.integers(0, 5, (4, 2)).astype(np.int32)),
    **{name: ((lambda name=name: nn.Sequential(nn.Linear(3, 4, rng=0), getattr(nn, name)())), ROWS)
       for name in ("ELU", "GELU", "Identity", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid",
                    "Softmax", "Softplus", "Tanh")},
}


class Squared(nn.Module):
    def __init__(self):
        self.layer = nn.Bilinear(3, 3, 2, rng=0)

    def forward(self, x):
        return self.layer(x, x)


class First(nn.Module):
    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def passes(wrap, model, loss, batches):
    """What three batches leave behind: losses, gradients, statistics."""
    def step(*batch):
        for p in model.parameters().values():
            p.grad = None
        result = loss(*batch)
        result.backward()
        return result

    step, found = wrap(step), []
    for batch in batches:
        value = step(*batch).item()
        found.append([value, {k: p.grad.tobytes() for k, p in model.parameters().items()}])
    return found, {k: v.tobytes() for k, v in model.state_dict().items()}


def batches(*draws):
    rng = np.random.default_rng(0)
    return [[draw(rng) for draw in draws] for _ in range(4)]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_replays_what_it_computes(name):
    loss, target = LOSSES[name]
    runs = []
    for wrap in (tg.compile, lambda step: step):
        model = nn.Linear(2, 3, rng=0)
        runs.append(passes(wrap, model, lambda x, y, m=model: loss(m(x), y),
                           batches(numbers(6, 2), target)))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_replays_what_it_computes(name):
    make, draw = MODELS[name]
    runs = []
    for wrap in (tg.compile, lambda step: step):
        model = make()
        runs.append(passes(wrap, model, lambda x, m=model: np.square(m(x) - 0.5).mean(),
                           batches(draw)))
    assert runs[0] == runs[1]


def test_no_layer_and_no_loss_is_left_out():
    layers = {name for name, x in vars(nn).items() if isinstance(x, type)}
    losses = {name for name, x in vars(nn).items()
              if inspect.isfunction(x) and x.__module__.endswith("losses")}
    tested = {name.split()[0] for name in (*MODELS, *LOSSES)}
    assert layers - tested == {"Module", "Summary"}
    assert losses - tested == set()


@pytest.mark.parametrize(("loss", "target", "bad", "error"), [
    (nn.hinge_loss, np.ones((6, 3)), 0.0, ValueError),
    (nn.binary_cross_entropy_with_logits, np.ones((6, 3)), -1.0, ValueError),
    (lambda x, y: nn.kl_div(x, y), np.full((6, 3), 0.5), -1.0, ValueError),
    (lambda x, y: nn.nll_loss(x, y), np.ones(6, int), 3, IndexError),
    (nn.cross_entropy, np.ones(6, int), 3, IndexError),
])
def test_bad_targets_are_refused_at_a_replay_too(loss, target, bad, error):
    model = nn.Linear(2, 3, rng=0)
    step = tg.compile(lambda x, y: loss(model(x), y))
    x = np.ones((6, 2), np.float32)
    step(x, target)
    target.flat[2] = bad
    with pytest.raises(error):
        step(x, target)
