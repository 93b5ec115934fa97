"""``tinygrad-opt race``, ``descend``, ``animate``, ``landscape``, ``report``: how it is learned."""

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
    entrants,
    file,
    labelled,
    number,
    one_of,
    optimizer,
    point,
    positive,
    room_for,
)
from tinygrad_opt.cli.learning import (
    LEARNING,
    PICTURE,
    QUIET,
    THEME,
    TITLE,
    exit_code,
    look,
    prepared,
)

__all__ = ["Counter", "animate", "descend", "landscape", "race", "report"]

MOVING, STILL, NUMBERS = (".gif", ".webp", ".html"), (".png", ".svg", ".pdf"), (".csv", ".npz")
FRAMES = argument("--frames", type=at_least(2), default=100, metavar="N",
                  help="of an animation, at most (default: 100)")


def _kind(path: Path) -> tuple[str, ...]:
    return next(kind for kind in (MOVING, STILL, NUMBERS) if path.suffix.lower() in kind)


# ---- race ----------------------------------------------------------------------------------------

SURFACES = ("beale", "rosenbrock", "himmelblau", "saddle", "ravine", "plateau", "rastrigin",
            "neuron", "noisy_neuron")


@command(
    argument("surface", type=one_of("surface", SURFACES), help=", ".join(SURFACES)),
    argument("--optimizers", type=entrants, default="sgd,momentum,adam", metavar="NAMES",
             help="such as adam,sgd:0.1,sgd:lr=1,momentum=.8; or methods that need no rate, newton,"
                  " bfgs, lbfgs, cg:beta=hessian and line_search; on the neurons batch=1 takes a"
                  " sample for each step (default: sgd,momentum,adam, at rates that suit the"
                  " surface)"),
    argument("--steps", type=at_least(1), metavar="N",
             help="of each optimizer; with batch=, samples that it sees (default: as many as the"
                  " surface takes)"),
    argument("--start", type=point, metavar="X,Y",
             help="where all begin, such as --start=-1.5,2 (default: one that suits the surface)"),
    FRAMES,
    argument("--out", type=file(*MOVING, *STILL, *NUMBERS), nargs="+", metavar="FILE",
             default=[Path("race.gif")],
             help="where to; .gif, .webp and .html (with a scrubber) move, .png, .svg and .pdf"
                  " stand still, .csv and .npz hold the numbers (default: race.gif)"),
    *PICTURE,
    QUIET,
    examples="""
    tinygrad-opt race beale
    tinygrad-opt race beale --optimizers sgd,momentum,adam --steps 200 --out race.html race.csv
    tinygrad-opt race rosenbrock --optimizers sgd:0.001,nesterov,adam:0.3 --start=-1,1
    tinygrad-opt race ravine --optimizers sgd:0.1,sgd:0.5,sgd:1.1 --steps 50 --out rates.png
    tinygrad-opt race rosenbrock --optimizers newton,cg,line_search,sgd --out curvature.png
    tinygrad-opt race neuron --optimizers sgd,momentum,adam --steps 1000 --out neuron.html
    tinygrad-opt race noisy_neuron --optimizers sgd,sgd:batch=2,sgd:batch=1 --out noise.png
    """,
)
def race(options: argparse.Namespace) -> None:
    """Race optimizers down a surface, all from one start.

    The paths are the optimizers' own, step for step. The table shows where each ended, and the
    step after which it stayed at a minimum; one that diverges is marked and stops. The neurons
    are the error of one sigmoid neuron, of two samples and of six whose labels contradict.
    """
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots.races import race as run
    from tinygrad_opt.viz.plots.surfaces import surface as known

    surface = known(options.surface)
    options.steps = options.steps or surface.steps
    entered = labelled(options.optimizers, lambda text: _entered(text, options))
    if any(_kind(path) != NUMBERS for path in options.out):
        matplotlib_or_error()
    seen = any("batch=" in text for text in options.optimizers)
    start = options.start or surface.start
    with Counter("steps", options.quiet) as watch:
        result = run(surface, {
            label: _path(one, surface, start, options.steps, size, seen)
            for (label, one), size in zip(entered.items(), map(_batch, options.optimizers))
        }, start, options.steps, watch=watch, unit="samples seen" if seen else "step")
    print(f"{surface.name}: f({', '.join(surface.axes)}) = {surface.formula}\n\n{result}\n")
    for path in options.out:
        print(_written(result, room_for(path), options))


def _batch(text: str) -> int | None:
    """The size of the batches that one asks for."""
    from tinygrad_opt.optim.lookup import read

    return read(text)[1].get("batch")


def _entered(text: str, options: argparse.Namespace) -> Any:
    """The optimizer or the method, at a rate that suits the surface if it says none."""
    from tinygrad_opt import optim
    from tinygrad_opt.optim.lookup import read, says_rate
    from tinygrad_opt.optim.minimization import method_of
    from tinygrad_opt.viz.plots.surfaces import surface as known

    name, given = read(text)
    if given.pop("batch", None) and not options.surface.endswith("neuron"):
        raise UsageError(f"batch= is for the neurons; {options.surface} is no sum over samples")
    made: Any = method_of(name, **given)
    if isinstance(made, optim.Optimizer) and not says_rate(text):
        made.lr = known(options.surface).rates.get(type(made).__name__.lower(), made.lr)
    return made


def _path(one: Any, surface: Any, start: Any, steps: int, batch: int | None, seen: bool) -> Any:
    """What takes part in the race: an optimizer, or the path that a method or samples give."""
    from tinygrad_opt import optim
    from tinygrad_opt.viz.plots.surfaces import sampled

    if not isinstance(one, optim.Optimizer):
        if seen:
            raise UsageError(f"batch= and {type(one).__name__}: a method needs the same function"
                             " at each step; let optimizers race alone")
        return optim.minimize(lambda p: surface(p[0], p[1]), start, one, steps=steps).path
    return sampled(surface, one, start, steps, batch) if seen else one


def _written(result: Any, path: Path, options: argparse.Namespace) -> str:
    """Write one file, and say what it is."""
    from tinygrad_opt.viz.plots.races import animate_race, plot_race

    if _kind(path) == NUMBERS:
        return f"{result.save(path)}  every point, value and gradient"
    # red is high and blue is low where an error falls from one half to none
    chosen = look(options) | ({"cmap": "coolwarm"} if options.surface.endswith("neuron") else {})
    if _kind(path) == STILL:
        plot_race(result, **chosen).savefig(path)
        return f"{path}  all paths, and the value against the step"
    film = animate_race(result, frames=options.frames, **chosen)
    with Counter("frames", options.quiet) as watch:
        return f"{film.save(path, watch=watch)}  {film.frames} frames"


# ---- descend -------------------------------------------------------------------------------------


def _run(text: str) -> tuple[str, str]:
    """The name of one of the runs and its optimizer, or an optimizer of one's own."""
    from tinygrad_opt.optim import names
    from tinygrad_opt.viz.plots.descents import RUNS

    if text not in RUNS and text.replace("-", "").isalpha():
        one_of("run or optimizer", [*RUNS, *names()])(text)
    return text, RUNS.get(text) or optimizer(text)


@command(
    argument("runs", nargs="*", type=_run, metavar="RUN",
             help="stuck, another, close, 200-steps, 100-steps, 50-steps, fairly-fast, a-few-steps,"
                  " leaving, jumping, exploding, or an optimizer such as sgd:lr=.1,momentum=.5"
                  " (default: all eleven)"),
    argument("--steps", type=at_least(1), default=300, metavar="N",
             help="of each (default: 300)"),
    argument("--start", type=number, default=4.7, metavar="X",
             help="where to begin (default: 4.7)"),
    FRAMES,
    argument("--out", type=file(*MOVING, *STILL), nargs="+", metavar="FILE",
             default=[Path("descend.png")],
             help="where to; .png, .svg and .pdf show all runs, .gif, .webp and .html make a film"
                  " of each, with its name in theirs if there are several (default: descend.png)"),
    *PICTURE,
    QUIET,
    examples="""
    tinygrad-opt descend
    tinygrad-opt descend stuck jumping --out film.gif
    tinygrad-opt descend sgd:lr=.28,momentum=.3 adam:.3 --start=-3 --out mine.png
    """,
)
def descend(options: argparse.Namespace) -> None:
    """Go down a curve with many valleys: what rate and momentum make of it.

    f(x) = x⁴/100 + x²/20 − cos 3x + 1, whose global minimum is at 0. Too small a rate is stuck in
    the first valley, momentum gets over the hills, too large a rate jumps about or explodes.
    """
    from tinygrad_opt import optim
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots import descents as d

    matplotlib_or_error()
    chosen = dict(options.runs or d.RUNS)
    labels = labelled(chosen.values(), optim.get)
    runs = {}
    for (name, text), label in zip(chosen.items(), labels):
        runs[name] = d.descend_1d(d.valleys, optim.get(text), options.start, options.steps,
                                  x=d.VIEW, label=label)
        print(f"{name:12} {label:34} {d.outcome(runs[name])}")
    for path in map(room_for, options.out):
        if _kind(path) == STILL:
            d.plot_descent([*runs.values()], **look(options)).savefig(path)
            print(f"{path}  {len(runs)} descents")
            continue
        for name, run in runs.items():
            film = d.animate_descent(run, frames=options.frames, **look(options))
            own = path if len(runs) == 1 else path.with_stem(f"{path.stem}_{_word(name)}")
            with Counter("frames", options.quiet) as watch:
                print(f"{film.save(own, watch=watch)}  {film.frames} frames")


def _word(name: str) -> str:
    """A name as a part of a file's."""
    return "".join(c if c.isalnum() or c in "-." else "-" for c in name)


# ---- pictures of a training ----------------------------------------------------------------------


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

    matplotlib_or_error()
    learning = prepared(options)
    x, y = learning.samples.x_train, learning.samples.y_train
    if x.shape[1] != 2:
        raise UsageError(f"{learning.problem.name} has {x.shape[1]} features; the animation shows"
                         " points of the plane, which have two: try spiral or moons")
    recorder = TrainingRecorder(learning.model, x, y, frames=options.frames)
    history = learning.run(options, recorder)
    film = recorder.film(**look(options))
    print(f"loss {recorder.rows[-1]['loss']:.4g}, accuracy {recorder.rows[-1]['accuracy']:.4f}"
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
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots.loss_landscape import Waypoints, loss_landscape

    if any(_kind(path) == STILL for path in options.out):
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
        if _kind(path) == STILL:
            found.plot(**look(options)).savefig(path)
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
    names = [str(name) for name in samples.about.get("classes", ())]
    page = write(history, learning.model, options.out, optimizer=optimizer,
                 x=samples.x_test, y=samples.y_test, names=names or None,
                 title=options.title or (
                     f"{learning.problem.name}, learned by {type(optimizer).__name__}"),
                 theme=options.theme)
    print(f"{page}  the run on one page: open it in a browser")
    return exit_code(history)


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

    def __exit__(self, *error: Any) -> None:
        if self.bar is not None:
            self.bar.close()
