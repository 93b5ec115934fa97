"""Learning rates: low, good, high and very high in one picture, and a test that suggests one.

    python demos/learning_rates.py [--quick] [--out FOLDER]

The four rates go down ½ Σ λᵢ wᵢ², where λ are the curvatures along the axes: each step multiplies
wᵢ by 1 − η λᵢ. A low rate is slow everywhere. A good one is soon down. A high one, just below 2 /
λ of the steepest axis, falls as fast at first and then stays level: it jumps from one side of the
valley to the other and back. Above 2 / λ each jump leads higher up than the one before.
"""

from functools import partial

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.learning_rates import lr_find, plot_learning_rates, plot_schedule

CURVATURES, START = np.array([1.0, 0.4, 0.2, 0.1]), np.array([1.0, 2.0, 3.0, 4.0])
RATES = {"low: 0.08": 0.08, "good: 1.4": 1.4, "high: 1.998": 1.998, "very high: 2.2": 2.2}


def losses(lr, steps):
    """Gradient descent from always the same point."""
    w, seen = tg.Tensor(START, requires_grad=True), []
    opt = tg.optim.SGD({"w": w}, lr=lr)
    for _ in range(steps):
        loss = (CURVATURES * w**2).sum() / 2
        seen.append(float(loss))
        opt.zero_grad()
        loss.backward()
        opt.step()
    return seen


def main(out="runs", quick=False):
    runs = {name: losses(lr, 50) for name, lr in RATES.items()}
    for name, seen in runs.items():
        print(f"{name:14} loss {seen[0]:.3f} -> {seen[10]:.3f} -> {seen[-1]:.3f}")
    save_both(partial(plot_learning_rates, runs), out, "learning_rates")
    x, y = tg.data.digits()
    found = lr_find(tg.nn.MLP([64, 32, 10], rng=0), tg.nn.cross_entropy, x[:500] / 16, y[:500],
                    lambda p: tg.optim.SGD(p, lr=1.0), low=1e-4, high=1e3,
                    steps=30 if quick else 150)
    print(f"suggested learning rate for the digits: {found.suggestion:.2g}")
    save_both(lambda theme: found.plot(theme=theme), out, "lr_find")
    s = tg.optim.schedules
    save_both(partial(plot_schedule, {
        "inverse time": s.inverse_time(0.5, 0.05),
        "step": s.step(0.5, every=25, factor=0.5),
        "exponential": s.exponential(0.5, 0.97),
        "cosine": s.cosine(0.5, 100),
        "one cycle": s.one_cycle(0.5, 100),
    }, 100, title="optim.schedules"), out, "schedules")
    return runs, found


if __name__ == "__main__":
    command_line(main, __doc__)
