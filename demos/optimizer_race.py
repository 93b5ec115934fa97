"""Seven optimizers, one start, one surface: who finds the way down, and along which path.

    python demos/optimizer_race.py [beale|rosenbrock|himmelblau|saddle|ravine|plateau|rastrigin]
                                   [--quick] [--out FOLDER]

Writes the picture, the animation as GIF and as a page with a scrubber, and all numbers as CSV.
"""

import argparse
from pathlib import Path

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import animate_race, plot_race, race

# for each surface the rate of plain descent, and a factor for those that scale their own steps;
# with them all arrive, but for Rosenbrock's flat floor and the many minima of Rastrigin
RATES = {"beale": (0.03, 3), "rosenbrock": (0.002, 1), "himmelblau": (0.01, 2), "saddle": (0.1, 1),
         "ravine": (0.5, 3), "plateau": (0.5, 3), "rastrigin": (0.002, 1)}


def optimizers(lr, scale):
    o = tg.optim
    return {
        "SGD": o.SGD(lr=lr),
        "Momentum": o.Momentum(lr=lr / 3, momentum=0.9),
        "Nesterov": o.Nesterov(lr=lr / 6, momentum=0.9),
        "AdaGrad": o.AdaGrad(lr=0.5 * scale),
        "RMSprop": o.RMSprop(lr=0.03 * scale),
        "Adam": o.Adam(lr=0.1 * scale),
        "AdamW": o.AdamW(lr=0.1 * scale, weight_decay=1e-3),
    }


def main(surface="beale", out="runs", quick=False):
    result = race(surface, optimizers(*RATES[surface]), steps=20 if quick else 300)
    print(result)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        plot_race(result, theme=theme).savefig(folder / f"race_{surface}_{theme}.png")
    film = animate_race(result, frames=5 if quick else 100)
    for suffix in ("gif", "html", "csv"):
        print(f"wrote {film.save(folder / f'race_{surface}.{suffix}')}")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("surface", nargs="?", default="beale", choices=RATES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
