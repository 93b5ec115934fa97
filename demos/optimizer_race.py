"""Seven optimizers, one start, one surface: who finds the way down, and along which path.

    python demos/optimizer_race.py [beale|rosenbrock|himmelblau|saddle|ravine|plateau|rastrigin]
                                   [--quick] [--out FOLDER]

Writes the picture, the animation as GIF and as a page with a scrubber, and all numbers as CSV.
"""

import argparse
from functools import partial
from pathlib import Path

from helpers import save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import animate_race, plot_race, race
from tinygrad_opt.viz.plots.surfaces import SURFACES


def optimizers(surface):
    """At rates that suit the surface: all arrive, but in Rastrigin's many valleys."""
    o = tg.optim
    makers = {"SGD": o.SGD, "Momentum": o.Momentum, "Nesterov": o.Nesterov, "AdaGrad": o.AdaGrad,
              "RMSprop": o.RMSprop, "Adam": o.Adam,
              "AdamW": lambda lr: o.AdamW(lr=lr, weight_decay=1e-3)}
    return {name: make(lr=SURFACES[surface].rates[name.lower()]) for name, make in makers.items()}


def main(surface="beale", out="runs", quick=False):
    steps = 20 if quick else SURFACES[surface].steps
    result = race(surface, optimizers(surface), steps=steps)
    print(result)
    save_both(partial(plot_race, result), out, f"race_{surface}")
    film = animate_race(result, frames=5 if quick else 100, theme="auto")
    for suffix in ("gif", "html", "csv"):
        print(f"wrote {film.save(Path(out, f'race_{surface}.{suffix}'))}")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("surface", nargs="?", default="beale", choices=SURFACES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
