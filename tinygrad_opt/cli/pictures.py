"""``tinygrad-opt animate``, ``landscape`` and ``report``: pictures of a training."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.command import (
    UsageError,
    argument,
    at_least,
    command,
    file,
    positive,
    room_for,
)
from tinygrad_opt.cli.learning import (
    LEARNING,
    PICTURE,
    THEME,
    TITLE,
    Samples,
    exit_code,
    look,
    prepared,
)

__all__ = ["FRAMES", "MOVING", "NUMBERS", "STILL", "Counter", "animate", "kind_of", "landscape",
           "report"]

MOVING, STILL, NUMBERS = (".gif", ".webp", ".html"), (".png", ".svg", ".pdf"), (".csv", ".npz")
FRAMES = argument("--frames", type=at_least(2), default=100, metavar="N",
                  help="of an animation, at most (default: 100)")


def kind_of(path: Path) -> tuple[str, ...]:
    """Which of the three a file is."""
    return next(kind for kind in (MOVING, STILL, NUMBERS) if path.suffix.lower() in kind)


@command(
    *LEARNING,
    FRAMES,
    argument("--out", type=file(*MOVING, *STILL, ".npz"), nargs="+", metavar="FILE",
             default=[Path("training.gif")],
             help="where to; .gif, .webp and .html (with a scrubber) move, .png, .svg and .pdf"
                  " hold the last frame, .npz the numbers (default: training.gif)"),
    *PICTURE,
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

    learning = prepared(options)
    x, y = learning.samples.x_train, learning.samples.y_train
    if x.shape[1] != 2:
        raise UsageError(f"{learning.problem.name} has {x.shape[1]} features; the animation shows"
                         " points of the plane, which have two: try spiral or moons")
    matplotlib_or_error()
    recorder = TrainingRecorder(learning.model, x, y, names=_classes(learning.samples),
                                frames=options.frames)
    history = learning.run(options, recorder)
    film = recorder.film(**look(options))
    last = recorder.rows[-1].numbers
    print(f"loss {last['loss']:.4g}, accuracy {last['accuracy']:.4f}"
          f" after {history.epochs} epochs")
    for path in options.out:
        with Counter("frames", options.quiet) as watch:
            print(f"{film.save(room_for(path), watch=watch)}  {film.frames} frames")
    return exit_code(history)


@command(
    *LEARNING,
    argument("--kind", choices=("1d", "2d", "path"), default="2d",
             help="along one random direction, over two, or over the plane in which the training"
                  " moved, with its path (default: 2d)"),
    argument("--points", type=at_least(2), default=31, metavar="N",
             help="along each direction; the network runs N or N² times (default: 31)"),
    argument("--span", type=positive, default=1.0, metavar="LENGTH",
             help="how far to look along random directions, in lengths of the weights"
                  " (default: 1)"),
    argument("--out", type=file(*STILL, *NUMBERS), nargs="+", metavar="FILE",
             default=[Path("landscape.png")],
             help="where to; .csv and .npz hold the numbers (default: landscape.png)"),
    *PICTURE,
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
    from tinygrad_opt.viz.figures import matplotlib_or_error, save_picture
    from tinygrad_opt.viz.plots.loss_landscape import Waypoints, loss_landscape

    if any(kind_of(path) == STILL for path in options.out):
        matplotlib_or_error()
    learning = prepared(options)
    way = Waypoints(learning.model)
    history = learning.run(options, way)
    code = exit_code(history)
    with Counter("points", options.quiet) as watch:
        found = loss_landscape(
            learning.model, nn.cross_entropy, learning.samples.x_train, learning.samples.y_train,
            dimensions=1 if options.kind == "1d" else 2, n=options.points, span=options.span,
            waypoints=way if options.kind == "path" else None, rng=options.seed, watch=watch)
    print(f"the loss around the weights after {history.epochs} epochs: {found.loss.min():.4g} to"
          f" {found.loss.max():.4g}")
    for path in map(room_for, options.out):
        if kind_of(path) == STILL:
            save_picture(found.plot, path, **look(options))
            print(f"{path}  the loss at {found.loss.size} points")
        else:
            print(f"{found.save(path)}  its numbers at {found.loss.size} points")
    return code


@command(
    *LEARNING,
    argument("--out", type=file(".html", ".htm"), default=Path("report.html"), metavar="FILE",
             help="where to (default: report.html)"),
    THEME,
    TITLE,
    examples="""
    tinygrad-opt report digits
    tinygrad-opt report spiral --optimizer sgd --lr 0.5 --epochs 300 --out spiral.html
    tinygrad-opt report iris.csv --target species --theme dark
    """,
)
def report(options: argparse.Namespace) -> int:
    """Train a network, and put all of it on one page.

    The page shows what was trained and with what, the curves, samples and what they were taken
    for, regions if there are two features, the graph, the weights and the numbers of each
    epoch. It needs no network and can be sent to anybody. A training that explodes is reported
    until then, and is an error.
    """
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots.training_report import report as write

    matplotlib_or_error()
    learning = prepared(options)
    history = learning.run(options)
    if not history.epochs:                                 # there is nothing to be shown
        return exit_code(history)
    samples, optimizer = learning.samples, learning.optimizer
    page = write(history, learning.model, options.out, optimizer=optimizer,
                 x=samples.x_test, y=samples.y_test, names=_classes(samples),
                 columns=samples.about.get("columns"),
                 title=options.title or (
                     f"{learning.problem.name}, learned by {type(optimizer).__name__}"),
                 theme=options.theme)
    print(f"{page}  the run on one page: open it in a browser")
    return exit_code(history)


def _classes(samples: Samples) -> list[str] | None:
    """What a CSV file calls its classes."""
    return [*map(str, samples.about.get("classes", ()))] or None


# ---- progress ------------------------------------------------------------------------------------


class Counter(AbstractContextManager["Counter"]):
    """How far a command is: called with (done, all), to be closed at the end.

    As in training, a bar is drawn by tqdm where it is installed and a line can be drawn over;
    elsewhere there is a line now and then.
    """

    PAUSE = 2.0                                            # seconds between two lines

    def __init__(self, what: str, quiet: bool) -> None:
        from tinygrad_opt.train.progress import progress_for

        self.what, self.quiet = what, quiet
        self.tqdm = getattr(progress_for(not quiet), "tqdm", None)
        self.bar: Any = None
        self.start = self.printed = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        if self.tqdm:
            if self.bar is None:
                self.bar = self.tqdm(total=total, desc=self.what, dynamic_ncols=True)
            self.bar.update(done - self.bar.n)
            return
        now = time.perf_counter()
        if not self.quiet and now - self.printed > self.PAUSE:
            self.printed = now
            print(f"{self.what}: {done} of {total} after {now - self.start:.1f} s",
                  file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
