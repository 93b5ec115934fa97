"""Stochastic, mini-batch and batch descent are one loop with batch_size = 1, k and N.

    python demos/batch_sizes.py [--quick] [--out FOLDER]

For each batch size: time and updates until the validation error is at its lowest, on the digits.
Writes a picture of time and error against the size, and its numbers.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.learning_curves import plot_batch_sizes
from tinygrad_opt.viz.tables import save_numbers


def train(batch_size, epochs, x, y, x_validation, y_validation):
    """Train from the same start; return the validation error after each epoch."""
    model = tg.nn.MLP([64, 32, 10], activation="relu", rng=0)
    # the noise of a gradient falls with the root of the batch, so the rate may grow with it
    opt = tg.optim.SGD(model.parameters(), lr=min(0.02 * batch_size**0.5, 0.5))
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(epochs):
        for xb, yb in tg.data.minibatches(x, y, batch_size, rng=rng):
            loss = tg.nn.cross_entropy(model(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
        with tg.no_grad():
            errors.append(np.mean(np.argmax(model(x_validation), axis=1) != y_validation))
    return errors


def main(out="runs", quick=False):
    epochs, sizes = (2, (32, None)) if quick else (30, (1, 8, 32, 128, None))
    x, y = tg.data.digits()
    split = tg.data.train_test_split(x / 16, y, rng=0)
    x, x_validation, y, y_validation = split
    results = {}
    print(f"{'batch size':>12}{'updates':>9}{'seconds':>9}{'best error':>12}{'at epoch':>10}")
    for size in sizes:
        size = size or len(x)
        start = time.perf_counter()
        errors = train(size, epochs, x, y, x_validation, y_validation)
        seconds = time.perf_counter() - start
        updates = epochs * -(-len(x) // size)
        best = int(np.argmin(errors))
        kind = {1: " (stochastic)", len(x): " (batch)"}.get(size, "")
        print(f"{size:>12}{updates:>9}{seconds:>9.2f}{errors[best]:>12.2%}{best + 1:>10}{kind}")
        results[size] = seconds, errors[best]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    figure = plot_batch_sizes(results)
    figure.savefig(folder / "batch_sizes.png")
    print(f"wrote {save_numbers(folder / 'batch_sizes.csv', figure)} and .png")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
