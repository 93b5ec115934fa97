"""``tinygrad-opt race`` and ``descend``: the paths of optimizers down surfaces and a curve."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tinygrad_opt.cli.command import (
    UsageError,
    argument,
    argument_errors,
    at_least,
    command,
    file,
    labelled,
    listed,
    number,
    one_of,
    optimizer,
    point,
    room_for,
)
from tinygrad_opt.cli.learning import PICTURE, QUIET, look
from tinygrad_opt.cli.pictures import FRAMES, MOVING, NUMBERS, STILL, Counter, kind_of

if TYPE_CHECKING:
    from tinygrad_opt.optim import Optimizer
    from tinygrad_opt.optim.second_order import Direction
    from tinygrad_opt.viz import Race, Surface

__all__ = ["SURFACES", "descend", "race"]

# ---- race ----------------------------------------------------------------------------------------

SURFACES = ("beale", "rosenbrock", "himmelblau", "saddle", "ravine", "plateau", "rastrigin",
            "neuron", "noisy_neuron")


class Estimate(TypedDict, total=False):
    """Of what kind the gradients of an entrant are, if they are not exact."""

    batch: int
    noise: float


def _read(text: str) -> tuple[str, dict[str, object], Estimate]:
    """Name and options of an entrant, and of what kind its gradients are."""
    from tinygrad_opt.optim.lookup import read
    from tinygrad_opt.optim.options import number as real
    from tinygrad_opt.optim.options import whole

    name, options = read(text)
    gradients: Estimate = {}
    if "batch" in options:
        gradients["batch"] = whole("batch", options.pop("batch"))
    if "noise" in options:
        gradients["noise"] = real()("noise", options.pop("noise"))
    return name, options, gradients


def _entrant(text: str) -> str:
    """An optimizer or a method of `optim.minimize` such as ``cg:beta=hessian``."""
    from tinygrad_opt.optim.minimization import method_of

    with argument_errors():
        name, options, _ = _read(text)
        method_of(name, **options)
    return text


@command(
    argument("surface", type=one_of("surface", SURFACES), help=", ".join(SURFACES)),
    argument("--optimizers", type=listed(_entrant), default="sgd,momentum,adam", metavar="NAMES",
             help="such as adam,sgd:0.1,sgd:lr=1,momentum=.8; or methods that need no rate, newton,"
                  " bfgs, lbfgs, cg:beta=hessian and line_search; noise=.1 blurs gradients, on the"
                  " neurons batch=1 takes a sample for each step (default: sgd,momentum,adam, at"
                  " rates that suit the surface)"),
    argument("--steps", type=at_least(1), metavar="N",
             help="of each optimizer; with batch=, samples that it sees (default: as many as the"
                  " surface takes)"),
    argument("--arrows", metavar="NAME",
             help="one of them whose gradient and latest step, the velocity of momentum, are drawn"
                  " as arrows"),
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
    tinygrad-opt race saddle --optimizers sgd,sgd:noise=.05 --start=-1.6,0 --out saddle.gif
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
    if any(kind_of(path) != NUMBERS for path in options.out):
        matplotlib_or_error()
    gradients = [_read(text)[2] for text in options.optimizers]
    by_samples, start = any("batch" in g for g in gradients), options.start or surface.start
    with Counter("steps", options.quiet) as watch:
        result = run(surface, {
            label: _path(one, surface, start, options.steps, by_samples, **given)
            for (label, one), given in zip(entered.items(), gradients)
        }, start, options.steps, watch=watch, unit="samples seen" if by_samples else "step")
    print(f"{surface.name}: f({', '.join(surface.axes)}) = {surface.formula}\n\n{result}\n")
    for path in options.out:
        print(_written(result, room_for(path), options))


def _entered(text: str, options: argparse.Namespace) -> Direction | Optimizer:
    """The optimizer or the method, at a rate that suits the surface if it says none."""
    from tinygrad_opt import optim
    from tinygrad_opt.optim.lookup import says_rate
    from tinygrad_opt.optim.minimization import method_of
    from tinygrad_opt.viz.plots.surfaces import surface as known

    name, given, gradients = _read(text)
    made = method_of(name, **given)
    if gradients and not isinstance(made, optim.Optimizer):
        raise UsageError(f"{text}: a method needs exact gradients; batch= and noise= are for"
                         " optimizers")
    if "batch" in gradients and not known(options.surface).samples:
        raise UsageError(f"batch= is for the neurons; {options.surface} is no sum over samples")
    if isinstance(made, optim.Optimizer) and not says_rate(text):
        made.lr = known(options.surface).rates.get(type(made).__name__.lower(), made.lr)
    return made


def _path(one: Direction | Optimizer, surface: Surface, start: Sequence[float], steps: int,
          by_samples: bool, *, batch: int | None = None, noise: float = 0.0) -> object:
    """What takes part in the race: an optimizer, or the path that a method or samples give."""
    from tinygrad_opt import optim
    from tinygrad_opt.viz.plots.surfaces import sampled
    from tinygrad_opt.viz.plots.trajectories import Noisy

    if not isinstance(one, optim.Optimizer):
        if by_samples:
            raise UsageError(f"{type(one).__name__} counts no samples; let optimizers with batch="
                             " race alone")
        return optim.minimize(lambda p: surface.f(p[0], p[1]), start, one, steps=steps).path
    stepping = Noisy(one, noise) if noise else one
    return sampled(surface, stepping, start, steps, batch) if by_samples else stepping


def _written(result: Race, path: Path, options: argparse.Namespace) -> str:
    """Write one file, and say what it is."""
    from tinygrad_opt.viz.figures import save_picture
    from tinygrad_opt.viz.plots.races import animate_race, plot_race

    if kind_of(path) == NUMBERS:
        return f"{result.save(path)}  every point, value and gradient"
    # red is high and blue is low where an error falls from one half to none
    cmap = "coolwarm" if options.surface.endswith("neuron") else "viridis"
    if kind_of(path) == STILL:
        plot = partial(plot_race, result, cmap=cmap, arrows=options.arrows)
        save_picture(plot, path, **look(options))
        return f"{path}  all paths, and the value against the step"
    film = animate_race(result, frames=options.frames, cmap=cmap, arrows=options.arrows,
                        **look(options))
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
    from tinygrad_opt.viz.figures import matplotlib_or_error, save_picture
    from tinygrad_opt.viz.graph.model import counted
    from tinygrad_opt.viz.plots import descents as d

    matplotlib_or_error()
    chosen = dict(options.runs or d.RUNS)
    labels = labelled(chosen.values(), optim.get)
    width, runs = max(12, *map(len, chosen)), {}
    for (name, text), label in zip(chosen.items(), labels):
        runs[name] = d.descend_1d(d.valleys, optim.get(text), options.start, options.steps,
                                  x=d.VIEW, label=label)
        print(f"{name:{width}} {label:34} {d.outcome(runs[name])}")
    for path in map(room_for, options.out):
        if kind_of(path) == STILL:
            save_picture(partial(d.plot_descent, [*runs.values()]), path, **look(options))
            print(f"{path}  {counted(len(runs), 'descent')}")
            continue
        for name, run in runs.items():
            film = d.animate_descent(run, frames=options.frames, **look(options))
            own = path if len(runs) == 1 else path.with_stem(f"{path.stem}_{_word(name)}")
            with Counter("frames", options.quiet) as watch:
                print(f"{film.save(own, watch=watch)}  {film.frames} frames")


def _word(name: str) -> str:
    """A name as a part of a file's."""
    return "".join(c if c.isalnum() or c in "-." else "-" for c in name)
