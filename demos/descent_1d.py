"""A curve with many valleys: what the learning rate and momentum make of one descent.

    python demos/descent_1d.py [--quick] [--out FOLDER]

Too small a rate is stuck in the first valley, others end in another one, beyond the global minimum
or close to it. Momentum gets over the hills: a very small rate with a large momentum takes about
200 steps to the global minimum, other settings about 100 and 50, the right ones are fairly fast,
better ones there in 4. Too large a rate with momentum leaves the global minimum again, without it
jumps about; a far too large one explodes and says so at once. Writes one picture of all, and a
film of each. The same without writing code is ``tinygrad-opt descend``.
"""

from functools import partial
from pathlib import Path

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.descents import (
    RUNS,
    START,
    VIEW,
    animate_descent,
    descend_1d,
    outcome,
    plot_descent,
    valleys,
)


def report(step, x, value):
    """Called while it runs: an explosion is seen when it happens."""
    if not np.isfinite(value) or value > 1e4:
        print(f"    step {step}: x = {x:.4g}, f = {value:.4g}, this explodes")


def main(out="runs", quick=False, steps=300):
    runs = {}
    for name, text in RUNS.items():
        runs[name] = descend_1d(valleys, tg.optim.get(text), START, steps, x=VIEW,
                                label=f"{name}\n{text}", watch=report)
        print(f"{name:12} {text:34} {outcome(runs[name])}")
    save_both(partial(plot_descent, list(runs.values())), out, "descent_1d")
    for name, run in runs.items():
        film = animate_descent(run, frames=3 if quick else 100)
        print(f"wrote {film.save(Path(out, f'descent_{name}.gif'))}")
    return runs


if __name__ == "__main__":
    command_line(main, __doc__)
