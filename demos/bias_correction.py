"""Adam with and without the correction of its moments, which start from zero.

    python demos/bias_correction.py [--quick] [--out FOLDER]

m and v are means that begin at 0, v the slower one. Uncorrected, the first step is (1 − β₁) / √(1
− β₂) = 3.2 times too long, and steps stay too long for a thousand more: on the spiral at rate .05
that ruins the first weights, and ten thousand epochs don't mend it.
"""

import argparse
from pathlib import Path

import numpy as np

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
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    figure = plot_compare(lengths, "step length / lr", title="steps under a constant gradient")
    figure.axes[0].set_xlabel("step")
    figure.savefig(folder / "bias_correction_steps.png")
    plot_compare(runs, "accuracy", title="the spiral").savefig(folder / "bias_correction.png")
    print(f"wrote {folder}/bias_correction.png and bias_correction_steps.png")
    return lengths, runs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
