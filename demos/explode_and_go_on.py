"""A training explodes; what was saved before is loaded, and goes on at a lower rate.

    python demos/explode_and_go_on.py [--quick] [--out FOLDER]

The rate can be changed at any time while training runs. Here somebody is impatient and doubles it
again and again. Each best epoch is saved; the explosion is seen at the batch where it happens, and
told; then model and optimizer are loaded, and a rate that falls on plateaus finishes the work.
"""

from functools import partial
from pathlib import Path

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.train import Checkpoint, History, ReduceOnPlateau, StopOnNonFinite
from tinygrad_opt.viz.plots.learning_curves import plot_history

OPTIONS = {"loss": "cross_entropy", "metrics": ["accuracy"], "batch_size": 300, "progress": False}


def double(run):
    """Called after each epoch: twice the rate after every 50."""
    if run.epoch % 50 == 0:
        run.optimizer.lr *= 2


def main(out="runs", quick=False):
    x, y = tg.data.spiral(100, 3, rng=0)
    model = tg.nn.MLP([2, 64, 3], rng=0)
    optimizer = tg.optim.Momentum(model.parameters(), lr=0.5)
    saved = Path(out, "before_the_explosion.npz")
    saved.parent.mkdir(parents=True, exist_ok=True)
    with np.errstate(all="ignore"):
        lost = tg.fit(model, x, y, optimizer=optimizer, epochs=1000, **OPTIONS, callbacks=[
            double, Checkpoint(saved, best="loss"), StopOnNonFinite(growth=1.5)])
    print(f"stopped: {lost.stopped}")
    before = tg.load(saved, model, optimizer)
    history = History(**before["history"])
    print(f"loaded epoch {history.epochs}, loss {history['loss'][-1]:.4f}, from"
          f" {optimizer.lr:g} down to a rate of 0.5")
    optimizer.lr = 0.5
    history = tg.fit(model, x, y, optimizer=optimizer, epochs=100 if quick else 1000, **OPTIONS,
                     history=history, callbacks=[ReduceOnPlateau(50, monitor="loss")])
    print(f"after {history.epochs} epochs: loss {history['loss'][-1]:.4f}, accuracy"
          f" {history['accuracy'][-1]:.1%}, the rate fell to {optimizer.lr:g}")
    for name, run in (("exploded", lost), ("went_on", history)):
        save_both(partial(plot_history, run, columns=["loss", "accuracy", "lr"],
                          title=name.replace("_", " ")), out, name)
    return lost, history


if __name__ == "__main__":
    command_line(main, __doc__)
