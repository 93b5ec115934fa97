"""Adam with and without the correction of its moments, which start from zero.

    python demos/bias_correction.py [--quick] [--out FOLDER]

m and v are means that begin at 0, v the slower one. Uncorrected, the first step is (1 − β₁) / √(1
− β₂) = 3.2 times too long, and steps stay too long for a thousand more: on the spiral at rate .05
that ruins the first weights, and ten thousand epochs don't mend it.
"""

from functools import partial

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.cli.spiral import learned
from tinygrad_opt.viz.plots.learning_curves import plot_compare

KINDS = {"Adam": "adam:lr=0.05,eps=1e-7",
         "Adam, uncorrected": "adam:lr=0.05,eps=1e-7,bias_correction=false"}


def steps(text, count):
    """How long each step is where the gradient is always 1, in learning rates."""
    optimizer, w, seen = tg.optim.get(text), {"w": np.zeros(1)}, []
    for _ in range(count):
        before = w["w"].copy()
        optimizer.update(w, {"w": np.ones(1)})
        seen.append((before - w["w"]).item() / optimizer.lr)
    return seen


def picture_of_steps(lengths, theme):
    figure = plot_compare(lengths, "step length / lr", title="steps under a constant gradient",
                          theme=theme)
    figure.axes[0].set_xlabel("step")
    return figure


def main(out="runs", quick=False):
    lengths = {name: {"step length / lr": steps(text, 3000)} for name, text in KINDS.items()}
    for name, columns in lengths.items():
        (seen,) = columns.values()
        shown = ", ".join(f"{seen[t - 1]:.2f} at step {t}" for t in (1, 10, 100, 1000, 3000))
        print(f"{name:18} step / lr under a constant gradient: {shown}")
    seeds, epochs = (1, 200) if quick else (3, 10_001)
    runs = {name: [learned(text, seed, epochs) for seed in range(seeds)]
            for name, text in KINDS.items()}
    for name, histories in runs.items():
        print(f"{name:18} accuracy on the spiral after {epochs} epochs: "
              + ", ".join(f"{history['accuracy'][-1]:.3f}" for history in histories))
    save_both(partial(picture_of_steps, lengths), out, "bias_correction_steps")
    save_both(partial(plot_compare, runs, "accuracy", title="the spiral"), out, "bias_correction")
    return lengths, runs


if __name__ == "__main__":
    command_line(main, __doc__)
