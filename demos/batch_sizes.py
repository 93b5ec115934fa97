"""Stochastic, mini-batch and batch descent are one loop with batch_size = 1, k and N.

    python demos/batch_sizes.py [--quick] [--out FOLDER]

The optimizer is made first and given to the loop, the loss is named, the rate is the same for all
sizes. Learning curves of the validation error on the digits, by epochs and by seconds; how noisy
the gradients of each size are, at the first weights; and for each size the time and the updates
until its error was at its lowest.
"""

from functools import partial
from pathlib import Path

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.learning_curves import plot_batch_sizes, plot_batches
from tinygrad_opt.viz.tables import save_numbers

RATE = 0.05


def network():
    return tg.nn.MLP([64, 32, 10], rng=0)


def error(scores, y):
    return float(np.mean(np.argmax(scores, axis=1) != y))


def gradient(model, x, y):
    """All gradients of the loss of a batch, as one vector."""
    model.zero_grad()
    tg.nn.cross_entropy(model(x), y).backward()
    return np.concatenate([p.grad.ravel() for p in model.parameters().values()])


def noise(x, y, size, draws=12):
    """How far the gradients of batches are from that of all samples, in lengths of it."""
    model, rng = network(), np.random.default_rng(0)
    whole = gradient(model, x, y)
    picks = [rng.choice(len(x), size, replace=False) for _ in range(draws)]
    return [float(np.linalg.norm(gradient(model, x[i], y[i]) - whole) / np.linalg.norm(whole))
            for i in picks]


def main(out="runs", quick=False):
    epochs, sizes = (2, (32, None)) if quick else (30, (1, 8, 32, 128, None))
    x, y = tg.data.digits()
    x, x_validation, y, y_validation = tg.data.train_test_split(
        (x / 16).astype(np.float32), y, rng=0)
    runs, best, noises = {}, {}, {}
    print(f"{'batch size':>12}{'error':>8}{'at epoch':>10}{'updates':>9}{'seconds':>9}{'noise':>8}")
    for size in (size or len(x) for size in sizes):
        optimizer = tg.optim.SGD(lr=RATE)
        runs[size] = history = tg.fit(
            network(), x, y, loss="cross_entropy", optimizer=optimizer, batch_size=size,
            epochs=epochs, validation_data=(x_validation, y_validation), metrics={"error": error},
            seed=0, progress=False)
        if size < len(x):                                     # that of all samples has no noise
            noises[size] = noise(x, y, size)
        at = int(np.argmin(history["val_error"]))
        lowest, seconds = history["val_error"][at], sum(history["seconds"][: at + 1])
        best[size] = seconds, lowest
        kind = {1: " stochastic", len(x): " batch"}.get(size, "")
        print(f"{size:>12}{lowest:>8.1%}{at + 1:>10}{(at + 1) * -(-len(x) // size):>9}"
              f"{seconds:>9.2f}{np.mean(noises.get(size, 0)):>8.2f}{kind}")
    save_both(partial(plot_batches, runs, noises, title=f"rate {RATE} for all"), out,
              "batch_curves")
    save_both(partial(plot_batch_sizes, best), out, "batch_sizes")
    print(f"wrote {save_numbers(Path(out, 'batch_sizes.csv'), plot_batch_sizes(best))}")
    return runs


if __name__ == "__main__":
    command_line(main, __doc__)
