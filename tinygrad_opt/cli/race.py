"""``tinygrad-opt race``: optimizers down a surface, from one start."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.command import argument, at_least, command, file, one_of, point, rivals
from tinygrad_opt.cli.learning import QUIET, THEME
from tinygrad_opt.cli.progress import Counter

__all__ = ["race"]

# for each surface a rate at which plain descent is safe; with momentum half of it
RATES = {"beale": 0.01, "rosenbrock": 5e-4, "himmelblau": 5e-3, "saddle": 0.05, "ravine": 0.4,
         "plateau": 0.3, "rastrigin": 2e-3}
# those that scale their steps themselves need none of the surface
SCALED = {"adagrad": 0.4, "rmsprop": 0.03, "adam": 0.1, "adamw": 0.1, "adamax": 0.1, "nadam": 0.1,
          "lion": 0.03, "adadelta": 1.0}
MOVING, STILL, NUMBERS = (".gif", ".webp", ".html"), (".png", ".svg", ".pdf"), (".csv", ".npz")


@command(
    argument("surface", type=one_of("surface", RATES), help=", ".join(RATES)),
    argument("--optimizers", type=rivals, default="sgd,momentum,adam", metavar="NAMES",
             help="such as adam,sgd:0.1,sgd:1, the number being the learning rate (default:"
                  " sgd,momentum,adam, at rates that suit the surface)"),
    argument("--steps", type=at_least(1), default=200, metavar="N",
             help="of each optimizer (default: 200)"),
    argument("--start", type=point, metavar="X,Y",
             help="where all begin, such as --start=-1.5,2 (default: one that suits the surface)"),
    argument("--frames", type=at_least(2), default=100, metavar="N",
             help="of an animation, at most (default: 100)"),
    argument("--out", type=file(*MOVING, *STILL, *NUMBERS), nargs="+", metavar="FILE",
             default=[Path("race.gif")],
             help="where to; .gif, .webp and .html (with a scrubber) move, .png, .svg and .pdf"
                  " stand still, .csv and .npz hold the numbers (default: race.gif)"),
    THEME,
    QUIET,
    examples="""
    tinygrad-opt race beale
    tinygrad-opt race beale --optimizers sgd,momentum,adam --steps 200 --out race.html race.csv
    tinygrad-opt race rosenbrock --optimizers sgd:0.001,nesterov,adam:0.3 --start=-1,1
    tinygrad-opt race ravine --optimizers sgd:0.1,sgd:0.5,sgd:1.1 --steps 50 --out rates.png
    """,
)
def race(options: argparse.Namespace) -> None:
    """Race optimizers down a surface, all from one start.

    The paths are the optimizers' own, step for step. The table shows where each ended, and the
    step after which it stayed at a minimum; one that diverges is marked and stops.
    """
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots.races import race as run
    from tinygrad_opt.viz.plots.surfaces import SURFACES

    optimizers = _optimizers(options)
    if any(path.suffix.lower() not in NUMBERS for path in options.out):
        matplotlib_or_error()
    surface = SURFACES[options.surface]
    with Counter("steps", options.quiet) as watch:
        result = run(surface, optimizers, options.start, options.steps, watch=watch)
    print(f"{surface.name}: f({', '.join(surface.axes)}) = {surface.formula}\n\n{result}\n")
    for path in options.out:
        path.parent.mkdir(parents=True, exist_ok=True)
        print(_written(result, path, options))


def _optimizers(options: argparse.Namespace) -> dict[str, Any]:
    from tinygrad_opt import optim

    made = {}
    for name, lr in options.optimizers:
        optimizer = optim.get(name)
        kind, base = type(optimizer).__name__, RATES[options.surface]
        usual = SCALED.get(kind.lower(), base / 2 if kind in ("Momentum", "Nesterov") else base)
        optimizer = optim.get(name, lr=lr or usual)
        label = f"{kind} lr={optimizer.lr:g}"
        if label in made:
            raise ValueError(f"{label} is there twice; give one another rate, such as {name}:1")
        made[label] = optimizer
    return made


def _written(result: Any, path: Path, options: argparse.Namespace) -> str:
    """Write one file, and say what it is."""
    from tinygrad_opt.viz.plots.races import animate_race, plot_race

    suffix = path.suffix.lower()
    if suffix in NUMBERS:
        return f"{result.save(path)}  every point, value and gradient"
    if suffix in STILL:
        plot_race(result, theme=options.theme).savefig(path)
        return f"{path}  all paths, and the value against the step"
    film = animate_race(result, frames=options.frames, theme=options.theme)
    with Counter("frames", options.quiet) as watch:
        return f"{film.save(path, watch=watch)}  {film.frames} frames"
