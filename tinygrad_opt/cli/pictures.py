"""``tinygrad-opt animate``, ``landscape`` and ``report``: pictures of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tinygrad_opt import nn
from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import Page, Text, Theme, TwoOrMore, files, positive
from tinygrad_opt.cli.learning import Learning, exit_code
from tinygrad_opt.cli.outputs import MOVING, NUMBERS, STILL, Counter, Look, kind_of, save_film

__all__ = ["animate", "landscape", "report"]


@command
def animate(
    learning: Learning,
    *,
    frames: TwoOrMore = 100,
    out: Annotated[Sequence[Path], files(*MOVING, *STILL, ".npz")] = (Path("training.gif"),),
    look: Look,
) -> int:
    """Train a network on points of the plane, and animate how it learns.

    Left, the points over the regions that the network predicts; right, weights and biases as
    red (positive) and blue (negative) squares and beside them their latest change; below, loss,
    accuracy and learning rate. The data need two features, as those of spiral and moons. A
    training that explodes is shown until then, and is an error.

    Parameters
    ----------
    frames
        of an animation, at most
    out
        where to; .gif, .webp and .html (with a scrubber) move, .png, .svg and .pdf hold the last
        frame, .npz the numbers

    Examples
    --------
    tinygrad-opt animate spiral
    tinygrad-opt animate spiral --optimizer sgd --epochs 2000 --out sgd.html
    tinygrad-opt animate moons --hidden 8,8 --theme dark --out moons.gif moons.npz
    """
    from tinygrad_opt.viz import TrainingRecorder
    from tinygrad_opt.viz.figures import matplotlib_or_error

    x, y = learning.samples.x_train, learning.samples.y_train
    if x.shape[1] != 2:
        raise ValueError(f"{learning.problem.name} has {x.shape[1]} features; the animation shows"
                         " points of the plane, which have two: try spiral or moons")
    matplotlib_or_error()
    recorder = TrainingRecorder(learning.model, x, y, names=learning.samples.names, frames=frames)
    history = learning.run(recorder)
    film = recorder.film(**look.options())
    last = recorder.rows[-1]
    print(f"loss {last['loss']:.4g}, accuracy {last['accuracy']:.4f}"
          f" after {history.epochs} epochs")
    for path in out:
        save_film(film, path, learning.quiet)
    return exit_code(history)


@command
def landscape(
    learning: Learning,
    *,
    kind: Annotated[str, Argument(choices=("1d", "2d", "path"))] = "2d",
    points: TwoOrMore = 31,
    span: Annotated[float, Argument(type=positive, metavar="LENGTH")] = 1,
    out: Annotated[Sequence[Path], files(*STILL, *NUMBERS)] = (Path("landscape.png"),),
    look: Look,
) -> int:
    """Train a network, and draw the loss around its weights.

    Random directions are normalised filter by filter, so that networks can be compared (Li et
    al., 2018). The loss is that of the samples learned from, all in one batch.

    Parameters
    ----------
    kind
        along one random direction, over two, or over the plane in which the training moved, with
        its path
    points
        along each direction; the network runs N or N² times
    span
        how far to look along random directions, in lengths of the weights
    out
        where to; .csv and .npz hold the numbers

    Examples
    --------
    tinygrad-opt landscape spiral
    tinygrad-opt landscape spiral --kind path --optimizer sgd --out path.png
    tinygrad-opt landscape digits --kind 1d --epochs 5 --out line.png line.csv
    """
    from tinygrad_opt.viz import Waypoints, loss_landscape
    from tinygrad_opt.viz.figures import matplotlib_or_error

    if any(kind_of(path) == STILL for path in out):
        matplotlib_or_error()
    way = Waypoints(learning.model)
    history = learning.run(way)
    code = exit_code(history)
    with Counter("points", learning.quiet) as watch:
        found = loss_landscape(
            learning.model, nn.cross_entropy, learning.samples.x_train, learning.samples.y_train,
            dimensions=1 if kind == "1d" else 2, n=points, span=span,
            waypoints=way if kind == "path" else None, rng=learning.seed, watch=watch)
    print(f"the loss around the weights after {history.epochs} epochs: {found.loss.min():.4g} to"
          f" {found.loss.max():.4g}")
    for path in out:
        if kind_of(path) == STILL:
            print(f"{look.save(found.plot, path)}  the loss at {found.loss.size} points")
        else:
            print(f"{found.save(path)}  its numbers at {found.loss.size} points")
    return code


@command
def report(learning: Learning, *, out: Page = Path("report.html"), theme: Theme = "auto",
           title: Text = "") -> int:
    """Train a network, and put all of it on one page.

    The page shows what was trained and with what, the curves, samples and what they were taken
    for, regions if there are two features, the graph, the weights and the numbers of each
    epoch. It needs no network and can be sent to anybody. A training that explodes is reported
    until then, and is an error.

    Parameters
    ----------
    out
        where to
    theme
        colours; with auto the page follows its reader's system
    title
        above the page

    Examples
    --------
    tinygrad-opt report digits
    tinygrad-opt report spiral --optimizer sgd --lr 0.5 --epochs 300 --out spiral.html
    tinygrad-opt report iris.csv --target species --theme dark
    """
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots.training_report import report as write

    matplotlib_or_error()
    history = learning.run()
    if history.epochs:                                     # there is something to be shown
        samples, optimizer = learning.samples, learning.bound
        title = title or f"{learning.problem.name}, learned by {type(optimizer).__name__}"
        page = write(history, learning.model, out, optimizer=optimizer, x=samples.x_test,
                     y=samples.y_test, names=samples.names, columns=samples.about.get("columns"),
                     title=title, theme=theme)
        print(f"{page}  the run on one page: open it in a browser")
    return exit_code(history)
