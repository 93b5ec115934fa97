"""Seven optimizers, one start, one surface: who finds the way down, and along which path.

    python demos/optimizer_race.py [beale|rosenbrock|himmelblau|saddle|ravine|plateau|rastrigin]
                                   [--quick] [--out FOLDER]

Writes the picture, the animation as GIF and as a page with a scrubber, and all numbers as CSV.
"""

import argparse
from pathlib import Path

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import animate_race, plot_race, race
from tinygrad_opt.viz.plots.surfaces import SURFACES

# for each surface a rate for plain descent that is safe; the others are set in proportion
RATES = {"beale": 0.01, "rosenbrock": 5e-4, "himmelblau": 5e-3, "saddle": 0.05, "ravine": 0.4,
         "plateau": 0.3, "rastrigin": 2e-3}


def optimizers(lr):
    o = tg.optim
    return {
        "SGD": o.SGD(lr=lr),
        "Momentum": o.Momentum(lr=lr / 2, momentum=0.9),
        "Nesterov": o.Nesterov(lr=lr / 2, momentum=0.9),
        "AdaGrad": o.AdaGrad(lr=0.4),
        "RMSprop": o.RMSprop(lr=0.03),
        "Adam": o.Adam(lr=0.1),
        "AdamW": o.AdamW(lr=0.1, weight_decay=0.1),
    }


def main(surface="beale", out="runs", quick=False):
    result = race(surface, optimizers(RATES[surface]), steps=20 if quick else 150)
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
    parser.add_argument("surface", nargs="?", default="beale", choices=SURFACES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
