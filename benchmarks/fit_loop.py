"""What `fit` adds to a training loop written out by hand, one thread.

    OPENBLAS_NUM_THREADS=1 python benchmarks/fit_loop.py
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import nn, optim

ROUNDS = 7
WORKLOADS = {                            # data, sizes, batch size, epochs
    "digits, batch 32": ("digits", [64, 32, 10], 32, 5),
    "spiral, full batch": ("spiral", [2, 64, 3], 300, 300),
    "spiral, batch 64": ("spiral", [2, 64, 3], 64, 60),
}


def start(sizes):
    model = nn.MLP(sizes, rng=0)
    return model, optim.Adam(model.parameters(), lr=0.003)


def by_hand(x, y, sizes, batch_size, epochs):
    model, opt = start(sizes)
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for xb, yb in tg.data.minibatches(x, y, batch_size, rng=rng):
            loss = nn.cross_entropy(model(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()


def by_fit(x, y, sizes, batch_size, epochs, metrics=()):
    model, opt = start(sizes)
    tg.fit(model, x, y, loss=nn.cross_entropy, optimizer=opt, epochs=epochs,
           batch_size=batch_size, metrics=metrics, progress="bar", seed=0)


def seconds(function, *args):
    begin = time.perf_counter()
    function(*args)
    return time.perf_counter() - begin


def main():
    os.environ.setdefault("COLUMNS", "100")
    rows = []
    for name, (data, *rest) in WORKLOADS.items():
        x, y = getattr(tg.data, data)()
        x = x / 16 if data == "digits" else x
        bare, fit, accuracy = [], [], []
        for _ in range(ROUNDS):
            bare.append(seconds(by_hand, x, y, *rest))
            fit.append(seconds(by_fit, x, y, *rest))
            accuracy.append(seconds(by_fit, x, y, *rest, ["accuracy"]))
        ratios = [statistics.median(f / b for f, b in zip(t, bare)) for t in (fit, accuracy)]
        rows.append(f"{name:20}{min(bare):9.3f} s{ratios[0]:10.2f}{ratios[1]:16.2f}")
    print(f"{'':20}{'by hand':>11}{'fit / it':>10}{'with accuracy':>16}", *rows, sep="\n")


if __name__ == "__main__":
    main()
