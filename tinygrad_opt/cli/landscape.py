"""``tinygrad-opt landscape``: the loss around a trained network."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_opt.cli.command import argument, at_least, command, file, positive
from tinygrad_opt.cli.learning import ARGUMENTS, QUIET, THEME, exit_code, prepared
from tinygrad_opt.cli.progress import Counter

__all__ = ["landscape"]


@command(
    *ARGUMENTS,
    argument("--kind", choices=("1d", "2d", "path"), default="2d",
             help="along one random direction, over two, or over the plane in which the training"
                  " moved, with its path (default: 2d)"),
    argument("--points", type=at_least(2), default=31, metavar="N",
             help="along each direction; the network runs N or N² times (default: 31)"),
    argument("--span", type=positive, default=1.0, metavar="LENGTH",
             help="how far to look along random directions, in lengths of the weights"
                  " (default: 1)"),
    argument("--out", type=file(".png", ".svg", ".pdf", ".csv", ".npz"), nargs="+",
             metavar="FILE", default=[Path("landscape.png")],
             help="where to; .csv and .npz hold the numbers (default: landscape.png)"),
    THEME,
    QUIET,
    examples="""
    tinygrad-opt landscape spiral
    tinygrad-opt landscape spiral --kind path --optimizer sgd --out path.png
    tinygrad-opt landscape digits --kind 1d --epochs 5 --out line.png line.csv
    """,
)
def landscape(options: argparse.Namespace) -> int:
    """Train a network, and draw the loss around its weights.

    Random directions are normalised filter by filter, so that networks can be compared (Li et
    al., 2018). The loss is that of the samples learned from, all in one batch.
    """
    from tinygrad_opt import nn
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots.loss_landscape import Waypoints, loss_landscape

    drawn = [path for path in options.out if path.suffix.lower() not in (".csv", ".npz")]
    if drawn:
        matplotlib_or_error()
    learning = prepared(options)
    print(learning, flush=True)
    way = Waypoints(learning.model)
    history = learning.fit([way])
    code = exit_code(history)
    with Counter("points", options.quiet) as watch:
        found = loss_landscape(
            learning.model, nn.cross_entropy, learning.samples.x_train, learning.samples.y_train,
            dimensions=1 if options.kind == "1d" else 2, n=options.points, span=options.span,
            waypoints=way if options.kind == "path" else None, rng=options.seed, watch=watch)
    print(f"the loss around the weights after {history.epochs} epochs: {found.loss.min():.4g} to"
          f" {found.loss.max():.4g}")
    for path in options.out:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path in drawn:
            found.plot(theme=options.theme).savefig(path)
        else:
            found.save(path)
        print(f"{path}  {'the loss' if path in drawn else 'its numbers'} at {found.loss.size}"
              " points")
    return code
