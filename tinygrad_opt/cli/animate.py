"""``tinygrad-opt animate``: a network learns, frame by frame."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_opt.cli.command import argument, at_least, command, file
from tinygrad_opt.cli.learning import ARGUMENTS, QUIET, THEME, exit_code, prepared
from tinygrad_opt.cli.progress import Counter

__all__ = ["animate"]


@command(
    *ARGUMENTS,
    argument("--frames", type=at_least(2), default=100, metavar="N",
             help="of the animation, at most (default: 100)"),
    argument("--out", type=file(".gif", ".webp", ".html", ".png", ".svg", ".pdf", ".npz"),
             nargs="+", metavar="FILE", default=[Path("training.gif")],
             help="where to; .gif, .webp and .html (with a scrubber) move, .png, .svg and .pdf"
                  " hold the last frame, .npz the numbers (default: training.gif)"),
    THEME,
    QUIET,
    examples="""
    tinygrad-opt animate spiral
    tinygrad-opt animate spiral --optimizer sgd --epochs 2000 --out sgd.html
    tinygrad-opt animate moons --hidden 8,8 --theme dark --out moons.gif moons.npz
    """,
)
def animate(options: argparse.Namespace) -> int:
    """Train a network on points of the plane, and animate how it learns.

    Left, the points over the regions that the network predicts; right, weights and biases as
    red (positive) and blue (negative) squares and beside them their latest change; below, loss,
    accuracy and learning rate. The data need two features, as those of spiral and moons. A
    training that explodes is shown until then, and is an error.
    """
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots.training_animation import TrainingRecorder

    matplotlib_or_error()
    learning = prepared(options)
    features = learning.samples.x_train.shape[1]
    if features != 2:
        raise ValueError(f"{learning.name} has {features} features; the animation shows points of"
                         " the plane, which have two: try spiral or moons")
    recorder = TrainingRecorder(learning.model, learning.samples.x_train, learning.samples.y_train,
                                frames=options.frames)
    print(learning, flush=True)
    history = learning.fit([recorder])
    film = recorder.film(theme=options.theme)
    print(f"loss {recorder.rows[-1]['loss']:.4g}, accuracy {recorder.rows[-1]['accuracy']:.4f}"
          f" after {history.epochs} epochs")
    for path in options.out:
        with Counter("frames", options.quiet) as watch:
            print(f"{film.save(path, watch=watch)}  {film.frames} frames")
    return exit_code(history)
