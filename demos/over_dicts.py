"""Optimizers over two dicts of plain arrays: update(params, grads), with no engine at all.

    python demos/over_dicts.py [--quick] [--out FOLDER]

The gradients of f(x, y) = x²/20 + y² are written by hand, the state is made at the first call, a
record for each key. Then Nesterov's method beside a widely published program of it, which updates
v first and looks ahead with the new one: its formula is right, the program is another method, and
diverges at rates at which the method is sound.
"""

from functools import partial

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import plot_race, race

OPTIMIZERS = {
    "SGD": tg.optim.SGD(lr=0.95), "Momentum": tg.optim.Momentum(lr=0.1, momentum=0.9),
    "Nesterov": tg.optim.Nesterov(lr=0.1, momentum=0.9), "AdaGrad": tg.optim.AdaGrad(lr=1.5),
    "RMSprop": tg.optim.RMSprop(lr=0.1, rho=0.99), "Adam": tg.optim.Adam(lr=0.3),
}


class PublishedNesterov:
    """The program as it is published; compare `Nesterov.rule`, which reads v as it was before."""

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr, self.momentum, self.v = lr, momentum, None

    def update(self, params, grads):
        if self.v is None:
            self.v = {key: np.zeros_like(value) for key, value in params.items()}
        for key in params:
            self.v[key] *= self.momentum
            self.v[key] -= self.lr * grads[key]
            params[key] += self.momentum**2 * self.v[key]              # v is the new one here
            params[key] -= (1 + self.momentum) * self.lr * grads[key]


def path(optimizer, steps):
    """Where an optimizer goes from (-7, 2)."""
    params = {"x": np.array(-7.0), "y": np.array(2.0)}
    points = [[float(value) for value in params.values()]]
    for _ in range(steps):
        optimizer.update(params, {"x": params["x"] / 10, "y": 2 * params["y"]})
        points.append([float(value) for value in params.values()])
    return points


def main(out="runs", quick=False):
    steps = 8 if quick else 40
    paths = {name: path(optimizer, steps) for name, optimizer in OPTIMIZERS.items()}
    for name, optimizer in OPTIMIZERS.items():
        state = {key: sorted(record) for key, record in optimizer.state.items()}
        print(f"{name:10} ends at ({paths[name][-1][0]:+.3f}, {paths[name][-1][1]:+.3f}),"
              f" and keeps {state}")
    nesterov = {}
    for lr in (0.1, 0.6):
        for kind, rule in (("formula", tg.optim.Nesterov), ("published program",
                                                            PublishedNesterov)):
            nesterov[f"{kind}, lr {lr}"] = found = path(rule(lr=lr, momentum=0.9), steps)
            print(f"Nesterov, {kind}, lr {lr}: |y| = {abs(found[-1][1]):.3g}")
    for name, tracks in (("over_dicts", paths), ("nesterov", nesterov)):
        shown = steps if name == "over_dicts" else 12
        save_both(partial(plot_race, race("ravine", tracks, steps=shown)), out, name)
    return nesterov


if __name__ == "__main__":
    command_line(main, __doc__)
