"""``tinygrad-opt race`` and ``descend``: the paths of optimizers down surfaces and a curve."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import (
    Count,
    Flag,
    TwoOrMore,
    files,
    labelled,
    listed,
    number,
    one_of,
    optimizer,
    point,
)
from tinygrad_opt.cli.outputs import MOVING, NUMBERS, STILL, Counter, Look, kind_of, save_film

if TYPE_CHECKING:
    from tinygrad_opt.optim import Optimizer
    from tinygrad_opt.optim.second_order import Direction
    from tinygrad_opt.viz import Surface

__all__ = ["SURFACES", "descend", "race"]

# ---- race ----------------------------------------------------------------------------------------

SURFACES = ("beale", "rosenbrock", "himmelblau", "saddle", "ravine", "plateau", "rastrigin",
            "neuron", "noisy_neuron")


def _read(text: str) -> tuple[Direction | Optimizer, int | None, float]:
    """An entrant, an optimizer or a method of `optim.minimize` such as ``cg:beta=hessian``.

    With it come the size of its batches and the noise of its gradients, if they are not exact.
    """
    from tinygrad_opt.optim.lookup import read
    from tinygrad_opt.optim.minimization import method_of
    from tinygrad_opt.optim.options import number, whole

    name, options = read(text)
    batch, noise = options.pop("batch", None), options.pop("noise", 0.0)
    return (method_of(name, **options), batch if batch is None else whole("batch", batch),
            number()("noise", noise))


def _entrant(text: str) -> str:
    _read(text)
    return text


@command
def race(
    surface: Annotated[str, Argument(type=one_of("surface", SURFACES))],
    *,
    optimizers: Annotated[Sequence[str], Argument(type=listed(_entrant), metavar="NAMES")] = (
        "sgd", "momentum", "adam"),
    steps: Count | None = None,
    arrows: Annotated[str, Argument(metavar="NAME")] | None = None,
    start: Annotated[tuple[float, ...], Argument(type=point, metavar="X,Y")] | None = None,
    frames: TwoOrMore = 100,
    out: Annotated[Sequence[Path], files(*MOVING, *STILL, *NUMBERS)] = (Path("race.gif"),),
    look: Look,
    quiet: Flag = False,
) -> None:
    """Race optimizers down a surface, all from one start.

    The paths are the optimizers' own, step for step. The table shows where each ended, and the
    step after which it stayed at a minimum; one that diverges is marked and stops. The neurons
    are the error of one sigmoid neuron, of two samples and of six whose labels contradict.

    Parameters
    ----------
    surface
        beale, rosenbrock, himmelblau, saddle, ravine, plateau, rastrigin, neuron, noisy_neuron
    optimizers
        such as adam,sgd:0.1,sgd:lr=1,momentum=.8, at rates that suit the surface where none is
        given; or methods that need no rate, newton, bfgs, lbfgs, cg:beta=hessian and line_search;
        noise=.1 blurs gradients, on the neurons batch=1 takes a sample for each step
    steps
        of each optimizer; with batch=, samples that it sees (default: as many as the surface takes)
    arrows
        one of them whose gradient and latest step, the velocity of momentum, are drawn as arrows
    start
        where all begin, such as --start=-1.5,2 (default: one that suits the surface)
    frames
        of an animation, at most
    out
        where to; .gif, .webp and .html (with a scrubber) move, .png, .svg and .pdf stand still,
        .csv and .npz hold the numbers
    quiet
        show no progress

    Examples
    --------
    tinygrad-opt race beale
    tinygrad-opt race beale --optimizers sgd,momentum,adam --steps 200 --out race.html race.csv
    tinygrad-opt race rosenbrock --optimizers sgd:0.001,nesterov,adam:0.3 --start=-1,1
    tinygrad-opt race ravine --optimizers sgd:0.1,sgd:0.5,sgd:1.1 --steps 50 --out rates.png
    tinygrad-opt race rosenbrock --optimizers newton,cg,line_search,sgd --out curvature.png
    tinygrad-opt race saddle --optimizers sgd,sgd:noise=.05 --start=-1.6,0 --out saddle.gif
    tinygrad-opt race neuron --optimizers sgd,momentum,adam --steps 1000 --out neuron.html
    tinygrad-opt race noisy_neuron --optimizers sgd,sgd:batch=2,sgd:batch=1 --out noise.png
    """
    from tinygrad_opt import viz
    from tinygrad_opt.viz.figures import matplotlib_or_error

    f = viz.surface(surface)
    steps, start = steps or f.steps, start or f.start
    entered = labelled(optimizers, partial(_entered, f))
    if any(kind_of(path) != NUMBERS for path in out):
        matplotlib_or_error()
    estimates = [_read(text)[1:] for text in optimizers]
    by_samples = any(batch for batch, _ in estimates)
    with Counter("steps", quiet) as watch:
        result = viz.race(f, {
            label: _path(one, f, start, steps, by_samples, *estimate)
            for (label, one), estimate in zip(entered.items(), estimates)
        }, start, steps, watch=watch, unit="samples seen" if by_samples else "step")
    print(f"{f.name}: f({', '.join(f.axes)}) = {f.formula}\n\n{result}\n")
    # red is high and blue is low where an error falls from one half to none
    cmap = "coolwarm" if surface.endswith("neuron") else "viridis"
    for path in out:
        if kind_of(path) == NUMBERS:
            print(f"{result.save(path)}  every point, value and gradient")
        elif kind_of(path) == STILL:
            picture = look.save(partial(viz.plot_race, result, cmap=cmap, arrows=arrows), path)
            print(f"{picture}  all paths, and the value against the step")
        else:
            save_film(viz.animate_race(result, frames=frames, cmap=cmap, arrows=arrows,
                                       **look.options()), path, quiet)


def _entered(f: Surface, text: str) -> Direction | Optimizer:
    """The optimizer or the method, at a rate that suits the surface if it says none."""
    from tinygrad_opt import optim

    made, batch, noise = _read(text)
    if batch and not f.samples:
        raise ValueError(f"{text}: batch= is for the neurons; {f.name} is no sum over samples")
    if isinstance(made, optim.Optimizer):
        if not optim.lookup.says_rate(text):
            made.lr = f.rates.get(type(made).__name__.lower(), made.lr)
    elif batch or noise:
        raise ValueError(f"{text}: a method needs exact gradients; batch= and noise= are for"
                         " optimizers")
    return made


def _path(one: Direction | Optimizer, f: Surface, start: Sequence[float], steps: int,
          by_samples: bool, batch: int | None, noise: float) -> object:
    """What takes part in the race: an optimizer, or the path that a method or samples give."""
    from tinygrad_opt import optim, viz
    from tinygrad_opt.viz.plots.trajectories import Noisy

    if not isinstance(one, optim.Optimizer):
        if by_samples:
            raise ValueError(f"{type(one).__name__} counts no samples; let optimizers with batch="
                             " race alone")
        return optim.minimize(lambda p: f.f(p[0], p[1]), start, one, steps=steps).path
    stepping = Noisy(one, noise) if noise else one
    return viz.sampled(f, stepping, start, steps, batch) if by_samples else stepping


# ---- descend -------------------------------------------------------------------------------------


def _run(text: str) -> tuple[str, str]:
    """The name of one of the runs and its optimizer, or an optimizer of one's own."""
    from tinygrad_opt.optim import names
    from tinygrad_opt.viz.plots.descents import RUNS

    if text not in RUNS and text.replace("-", "").isalpha():
        one_of("run or optimizer", [*RUNS, *names()])(text)
    return text, RUNS.get(text) or optimizer(text)


@command
def descend(
    runs: Annotated[list[tuple[str, str]], Argument("all eleven", nargs="*", type=_run,
                                                    metavar="RUN")],
    *,
    steps: Count = 300,
    start: Annotated[float, Argument(type=number, metavar="X")] = 4.7,
    frames: TwoOrMore = 100,
    out: Annotated[Sequence[Path], files(*MOVING, *STILL)] = (Path("descend.png"),),
    look: Look,
    quiet: Flag = False,
) -> None:
    """Go down a curve with many valleys: what rate and momentum make of it.

    f(x) = x⁴/100 + x²/20 − cos 3x + 1, whose global minimum is at 0. Too small a rate is stuck in
    the first valley, momentum gets over the hills, too large a rate jumps about or explodes.

    Parameters
    ----------
    runs
        stuck, another, close, 200-steps, 100-steps, 50-steps, fairly-fast, a-few-steps, leaving,
        jumping, exploding, or an optimizer such as sgd:lr=.1,momentum=.5
    steps
        of each
    start
        where to begin
    frames
        of an animation, at most
    out
        where to; .png, .svg and .pdf show all runs, .gif, .webp and .html make a film of each,
        with its name in theirs if there are several
    quiet
        show no progress

    Examples
    --------
    tinygrad-opt descend
    tinygrad-opt descend stuck jumping --out film.gif
    tinygrad-opt descend sgd:lr=.28,momentum=.3 adam:.3 --start=-3 --out mine.png
    """
    from tinygrad_opt import optim
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.graph.model import counted
    from tinygrad_opt.viz.plots import descents as d

    matplotlib_or_error()
    chosen = dict(runs or d.RUNS)
    width, found = max(12, *map(len, chosen)), {}
    for (name, text), label in zip(chosen.items(), labelled(chosen.values(), optim.get)):
        found[name] = d.descend_1d(d.valleys, optim.get(text), start, steps, x=d.VIEW, label=label)
        print(f"{name:{width}} {label:34} {d.outcome(found[name])}")
    for path in out:
        if kind_of(path) == STILL:
            picture = look.save(partial(d.plot_descent, [*found.values()]), path)
            print(f"{picture}  {counted(len(found), 'descent')}")
            continue
        for name, run in found.items():
            word = "".join(c if c.isalnum() or c in "-." else "-" for c in name)
            own = path if len(found) == 1 else path.with_stem(f"{path.stem}_{word}")
            save_film(d.animate_descent(run, frames=frames, **look.options()), own, quiet)
