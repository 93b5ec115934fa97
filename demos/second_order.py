"""Newton, BFGS and conjugate gradients beside steepest descent: what knowing the curvature saves.

    python demos/second_order.py [beale|rosenbrock|himmelblau|ravine] [--quick] [--out FOLDER]

Prints how many steps and evaluations of f each takes to the minimum; draws the first
40 steps.
"""

import argparse
from pathlib import Path

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import Race, follow, plot_race
from tinygrad_opt.viz.plots.surfaces import surface as surface_of

METHODS = {
    "Steepest descent": "steepest_descent", "Conjugate gradient": "cg", "BFGS": "bfgs",
    "Newton": "newton",
}


def main(surface="beale", out="runs", quick=False):
    f = surface_of(surface)
    tracks = {}
    for name, method in METHODS.items():
        found = tg.optim.minimize(lambda p: f(p[0], p[1]), f.start, method,
                                  steps=20 if quick else 5000)
        print(f"{name:18}{found.steps:6} steps{found.evaluations:7} evaluations"
              f"   f = {found.fun:.3g}")
        tracks[name] = follow(f, found.path[:41])
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        plot_race(Race(f, tracks), theme=theme).savefig(folder / f"second_order_{theme}.png")
    print(f"wrote {folder}/second_order_light.png and second_order_dark.png")
    return tracks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("surface", nargs="?", default="beale",
                        choices=("beale", "rosenbrock", "himmelblau", "ravine"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
