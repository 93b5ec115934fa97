"""Every way in which a training goes wrong: what `fit` says of it, and a picture.

    python demos/going_wrong.py [--quick] [--out FOLDER]

Each run really goes wrong. Its picture shows values and gradients by layer, or the losses.
"""

import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn, optim

DIGITS = tg.data.digits()[0].astype(np.float32), tg.data.digits()[1]          # 0 to 16
SPIRAL = tg.data.spiral(100, 3, rng=0)
WITH_A_HOLE = SPIRAL[0].copy(), SPIRAL[1]
WITH_A_HOLE[0][100, 1] = np.nan
RAMP = np.linspace(-1.7, 1.7, 64, dtype=np.float32)[:, None]
NOISY, NEW = (tg.data.moons(n, noise=0.4, rng=seed) for n, seed in ((30, 0), (200, 1)))


class Detached(nn.Module):
    """The first layer is cut off from the loss."""

    def __init__(self):
        self.first, self.second = nn.Linear(2, 16, rng=0), nn.Linear(16, 3, rng=1)

    def forward(self, x):
        return self.second(np.tanh(self.first(x)).detach())


def log_of_softmax(scores, labels):
    return -np.log(nn.softmax(scores)[np.arange(len(labels)), labels]).mean()


def distance(points, targets):
    return np.sqrt(np.square(points - targets).sum(axis=1)).mean()


def digits(*sizes, scale=1 / 16, **options):
    return nn.MLP([64, *sizes, 10], rng=0, **options), (DIGITS[0] * scale, DIGITS[1])


def spiral(*sizes, **options):
    return nn.MLP([2, *sizes, 3], rng=0, **options), SPIRAL


SGD, ADAM, CROSS = optim.SGD, optim.Adam(lr=1e-5), "cross_entropy"
CASES = {                                # what fit says: model and data, loss, optimizer, options
    "nan or inf: in the data": (
        (nn.MLP([2, 8, 3], rng=0), WITH_A_HOLE), CROSS, SGD(lr=0.1), {"epochs": 2}),
    "nan or inf: forward": (digits(32, scale=1), log_of_softmax, SGD(lr=0.2), {}),
    "nan or inf: backward": (
        (nn.Linear(2, 2, init="zeros", bias=False), (np.ones((64, 2)), np.eye(64, 2))), distance,
        SGD(lr=0.1), {"epochs": 2}),
    "growing loss": (digits(scale=1), CROSS, SGD(lr=1e9), {}),
    "growing loss: uphill": (spiral(64), CROSS, SGD(lr=0.1, maximize=True), {"epochs": 20}),
    "no gradient": ((Detached(), SPIRAL), CROSS, SGD(lr=0.1), {}),
    "squashed twice": ((nn.Sequential(nn.Linear(2, 3, rng=0), nn.Softmax()), SPIRAL), CROSS,
                       SGD(lr=0.1), {}),
    "symmetric units": (spiral(16, init="zeros", activation="tanh"), CROSS, SGD(lr=0.1), {}),
    "crossed samples": (                                   # (n, 1) less (n,) is (n, n)
        (nn.Linear(1, 1, rng=0), (RAMP, 3 * RAMP[:, 0])), lambda z, y: np.square(z - y).mean(),
        SGD(lr=0.1), {"epochs": 20}),
    "dead units": (digits(32), CROSS, SGD(lr=3), {}),
    "saturated units": (digits(32, scale=1, activation="tanh", init=1.0), CROSS, SGD(lr=0.01), {}),
    "saturated output": (digits(scale=1, init=1.0), CROSS, SGD(lr=1e-4), {}),
    "vanishing gradients": (spiral(*[16] * 8, activation="sigmoid"), CROSS, SGD(lr=1), {}),
    "exploding gradients": (spiral(*[32] * 10, init=1.0, activation="elu"), CROSS, ADAM, {}),
    "large updates": ((nn.Linear(1, 1, rng=0), (RAMP, 3 * RAMP)), "mse", SGD(lr=1),
                      {"epochs": 30, "batch_size": 64}),
    "small updates": (digits(32), CROSS, SGD(lr=1e-7), {}),
    "chance": ((nn.MLP([64, 8, 10], rng=0), (DIGITS[0] / 16, np.roll(DIGITS[1], 1))), CROSS,
               SGD(lr=0.05), {"epochs": 8}),
    "overfitting": ((nn.MLP([2, 128, 128, 2], rng=0), NOISY), CROSS, optim.Adam(lr=0.01),
                    {"epochs": 60, "validation_data": NEW}),
}


def run(case, quick=False):
    """Train; the model and its data, and the history with what was found."""
    (model, (x, y)), loss, optimizer, options = CASES[case]
    with warnings.catch_warnings():                        # what is said is printed below
        warnings.simplefilter("ignore", tg.train.TrainingWarning)
        history = tg.fit(model, x, y, loss=loss, optimizer=optimizer, progress=False, seed=0,
                         **{"epochs": 3 if len(x) > 300 else 6} | options)
    return model, (x, y, loss), history


def gradient_flow(model, x, y, loss, theme):
    """The gradient of each parameter after one pass."""
    model.zero_grad()
    nn.cross_entropy(model(x), y).backward()
    return tg.viz.plot_gradient_flow(model, title="gradients of the parameters", theme=theme)


def main(out="runs", quick=False):
    folder = Path(out, "going_wrong")
    for case in [*CASES][3:8] if quick else CASES:
        model, data, history = run(case)
        print(f"{case}\n    " + "\n    ".join(map(str, history.findings)))
        if case == "overfitting":
            picture = partial(history.plot, columns=["loss", "val_loss"])
        elif "updates" not in case and history.findings[0].where:              # in a layer
            picture = tg.diagnose(model, *data).plot
        else:
            picture = partial(tg.viz.plot_steps, history)
        save_both(partial(picture, title=case), folder, (name := re.sub("[: ]+", "_", case)))
        if case in ("no gradient", "dead units", "vanishing gradients"):
            save_both(partial(gradient_flow, model, *data), folder, f"{name}_flow")


if __name__ == "__main__":
    command_line(main, __doc__)
