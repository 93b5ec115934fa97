"""The loss around a trained network, and the path by which the training came there.

    python demos/loss_landscape.py [--quick] [--out FOLDER]

Two views: over two random directions, and over the plane in which the training moved most.
"""

from pathlib import Path

from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.loss_landscape import Waypoints, loss_landscape


def main(out="runs", quick=False):
    x, y = tg.data.spiral(100, 3, rng=0)
    model = tg.nn.MLP([2, 64, 3], activation="relu", rng=0)
    way = Waypoints(model)
    history = tg.fit(model, x, y, loss=tg.nn.cross_entropy, epochs=20 if quick else 1000,
                     optimizer=tg.optim.Adam(model.parameters(), lr=0.05), callbacks=[way],
                     seed=0, progress=False)
    print(f"loss {history['loss'][-1]:.3f} after {history.epochs} epochs")
    for name, points in (("random", None), ("path", way)):
        found = loss_landscape(model, tg.nn.cross_entropy, x, y, n=5 if quick else 41,
                               waypoints=points)
        save_both(lambda theme: found.plot(theme=theme), out, f"landscape_{name}")  # noqa: B023
        share = "" if found.share is None else f", {found.share:.1%} of the path's variance"
        print(f"wrote {found.save(Path(out, f'landscape_{name}.npz'))}: the loss from"
              f" {found.loss.min():.3f} to {found.loss.max():.3f}{share}")
    return found


if __name__ == "__main__":
    command_line(main, __doc__)
