"""Learning rates: low, good, high and very high in one picture, and a test that suggests one.

    python demos/learning_rates.py [--quick] [--out FOLDER]
"""

import argparse
from pathlib import Path

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.learning_rates import lr_find, plot_learning_rates, plot_schedule

RATES = {"low: 0.01": 0.01, "good: 0.5": 0.5, "high: 2": 2.0, "very high: 30": 30.0}


def network():
    return tg.nn.MLP([64, 32, 10], activation="relu", rng=0)


def losses(lr, x, y, steps):
    """Batch gradient descent from always the same weights."""
    model = network()
    opt, seen = tg.optim.SGD(model.parameters(), lr=lr), []
    with np.errstate(all="ignore"):
        for _ in range(steps):
            loss = tg.nn.cross_entropy(model(x), y)
            seen.append(float(loss))
            opt.zero_grad()
            loss.backward()
            opt.step()
    return seen


def main(out="runs", quick=False):
    x, y = tg.data.digits()
    x, y = x[:500] / 16, y[:500]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    runs = {name: losses(lr, x, y, 10 if quick else 100) for name, lr in RATES.items()}
    for name, seen in runs.items():
        print(f"{name:14} loss {seen[0]:.3f} -> {seen[-1]:.3f}, at worst {max(seen):.3g}")
    plot_learning_rates(runs).savefig(folder / "learning_rates.png")
    found = lr_find(network(), tg.nn.cross_entropy, x, y,
                    lambda p: tg.optim.SGD(p, lr=1.0), low=1e-4, high=1e3,
                    steps=30 if quick else 150)
    print(f"suggested learning rate: {found.suggestion:.2g}")
    found.plot().savefig(folder / "lr_find.png")
    s = tg.optim.schedules
    plot_schedule({
        "inverse time": s.inverse_time(0.5, 0.05),
        "step": s.step(0.5, every=25, factor=0.5),
        "exponential": s.exponential(0.5, 0.97),
        "cosine": s.cosine(0.5, 100),
        "one cycle": s.one_cycle(0.5, 100),
    }, 100, title="optim.schedules").savefig(folder / "schedules.png")
    print(f"wrote {folder}/learning_rates.png, lr_find.png and schedules.png")
    return runs, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
