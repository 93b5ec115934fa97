"""What `fit` adds to a training loop written out by hand, the bar drawn, one thread.

    OPENBLAS_NUM_THREADS=1 python benchmarks/fit_loop.py
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import nn, optim

ROUNDS = 7
WORKLOADS = {                            # data, sizes, batch size, epochs
    "digits, batch 32": ("digits", [64, 32, 10], 32, 30),
    "spiral, full batch": ("spiral", [2, 64, 3], 300, 1000),
    "spiral, batch 64": ("spiral", [2, 64, 3], 64, 200),
}


def start(sizes):
    model = nn.MLP(sizes, rng=0)
    return model, optim.Adam(model.parameters(), lr=0.003)


def by_hand(x, y, sizes, batch_size, epochs, compiled=False):
    model, opt = start(sizes)
    rng = np.random.default_rng(0)

    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()

    step = tg.compile(step) if compiled else step
    for _ in range(epochs):
        shuffle = batch_size < len(x)
        for batch in tg.data.minibatches(x, y, batch_size, shuffle=shuffle, rng=rng):
            step(*batch)


def by_fit(x, y, sizes, batch_size, epochs, compiled=None, metrics=(), diagnose=True):
    model, opt = start(sizes)
    tg.fit(model, x, y, loss=nn.cross_entropy, optimizer=opt, epochs=epochs, compile=compiled,
           batch_size=batch_size, metrics=metrics, progress="bar", seed=0, diagnose=diagnose)


WAYS = {
    "by hand": (by_hand,), "by hand, compiled": (by_hand, True), "fit": (by_fit,),
    "with accuracy": (by_fit, None, ["accuracy"]), "compile=False": (by_fit, False),
    "diagnose=False": (by_fit, None, (), False),
}


def seconds(function, *args):
    begin = time.process_time()                  # other processes do not count
    function(*args)
    return time.process_time() - begin


def main():
    os.environ.setdefault("COLUMNS", "100")
    print(f"{'':20}{'by hand':>11}", *(f"{name:>19}" for name in list(WAYS)[1:]), sep="")
    for name, (data, *rest) in WORKLOADS.items():
        x, y = getattr(tg.data, data)()
        x = x / 16 if data == "digits" else x
        times = {way: [] for way in WAYS}
        for _ in range(ROUNDS):                  # in turn, so that a busy moment meets all
            for way, (function, *options) in WAYS.items():
                times[way].append(seconds(function, x, y, *rest, *options))
        hand, *others = map(min, times.values())
        print(f"{name:20}{hand:9.3f} s", *(f"{t / hand:19.2f}" for t in others), sep="")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    main()
