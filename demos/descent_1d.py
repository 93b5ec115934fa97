"""A curve with many valleys: what the learning rate and momentum make of one descent.

    python demos/descent_1d.py [--quick] [--out FOLDER]

Too small a rate is stuck in the first valley, a larger one ends in another, momentum rolls into
the deepest; too large a rate jumps about, a far too large one explodes and says so at once.
Writes one picture of all, and an animation of each as GIF.
"""

import argparse
from pathlib import Path

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.descents import animate_descent, descend_1d, outcome, plot_descent

START, VIEW = 4.7, (-5.5, 5.5)
SETTINGS = {
    "stuck": (tg.optim.SGD, {"lr": 0.01}),
    "another valley": (tg.optim.SGD, {"lr": 0.18}),
    "about 200 steps": (tg.optim.Momentum, {"lr": 0.15, "momentum": 0.975}),
    "about 100 steps": (tg.optim.Momentum, {"lr": 0.01, "momentum": 0.95}),
    "about 50 steps": (tg.optim.Momentum, {"lr": 0.03, "momentum": 0.9}),
    "jumping": (tg.optim.SGD, {"lr": 0.6}),
    "exploding": (tg.optim.SGD, {"lr": 1.5}),
}


def f(x):
    return x**4 / 100 + x**2 / 20 - np.cos(3 * x) + 1


def report(step, x, value):
    """Called while it runs: an explosion is seen when it happens."""
    if not np.isfinite(value) or value > 1e4:
        print(f"    step {step}: x = {x:.4g}, f = {value:.4g}, this explodes")


def main(out="runs", quick=False, steps=300):
    runs = {}
    for name, (rule, options) in SETTINGS.items():
        label = f"{rule.__name__}, " + ", ".join(f"{k} {v}" for k, v in options.items())
        runs[name] = descend_1d(f, rule(**options), START, steps, x=VIEW, label=label, watch=report)
        print(f"{name:16} {label:32} {outcome(runs[name])}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    plot_descent(list(runs.values())).savefig(folder / "descent_1d.png")
    for name, run in runs.items():
        film = animate_descent(run, frames=5 if quick else 100)
        path = film.save(folder / f"descent_{name.replace(' ', '_')}.gif")
        print(f"wrote {path}")
    return runs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
