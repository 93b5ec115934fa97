"""Newton, BFGS, conjugate gradients and line search: what knowing the curvature saves.

    python demos/second_order.py [beale|rosenbrock|himmelblau|ravine] [--quick] [--out FOLDER]

Prints how many steps and evaluations of f each takes to the minimum; draws the first 40 steps.
Then quadratic functions of n unknowns by conjugate gradients, whose β has three classic forms,
with the exact step α = −g·d / d·Hd: at most n steps in exact arithmetic, some more in floating
point. At last a maximum: the same methods go up with maximize=True, and so does every optimizer.
"""

import argparse
from pathlib import Path

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import plot_race, race
from tinygrad_opt.viz.plots.surfaces import surface as surface_of

METHODS = {
    "Line search along −g": "line_search", "CG Fletcher-Reeves": "cg:beta=fletcher_reeves",
    "CG Polak-Ribière": "cg:beta=polak_ribiere", "CG Hessian": "cg:beta=hessian",
    "BFGS": "bfgs", "Newton": "newton",
}


def quadratic(n):
    """½ xᵀA x − bᵀx, with A = RRᵀ + I of random numbers R."""
    rng = np.random.default_rng(1)
    root, b = rng.standard_normal((n, n)), rng.standard_normal(n)
    return lambda x: x @ ((root @ root.T + np.eye(n)) @ x) / 2 - b @ x


def main(surface="beale", out="runs", quick=False):
    f = surface_of(surface)
    paths = {}
    for name, method in METHODS.items():
        found = tg.optim.minimize(lambda p: f(p[0], p[1]), f.start, method,
                                  steps=20 if quick else 5000)
        print(f"{name:22}{found.steps:6} steps{found.evaluations:7} evaluations"
              f"   f = {found.fun:.3g}")
        paths[name] = found.path[:41]
    for n in (5, 20, 60):
        took = [tg.optim.conjugate_gradient(quadratic(n), np.zeros(n), beta=beta).steps
                for beta in ("fletcher_reeves", "polak_ribiere", "hessian")]
        print(f"a quadratic function of {n:2} unknowns takes {took} steps")
    for method in ("newton", "adam:lr=0.05"):
        top = tg.optim.minimize(lambda p: np.exp(-((p - 1) ** 2).sum()), [0.5, 1.5], method,
                                maximize=True)
        print(f"{method} goes up to {np.round(top.x, 4)} in {top.steps} steps")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    result = race(f, paths, steps=40)
    for theme in ("light", "dark"):
        plot_race(result, theme=theme).savefig(folder / f"second_order_{theme}.png")
    print(f"wrote {folder}/second_order_light.png and second_order_dark.png")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("surface", nargs="?", default="beale",
                        choices=("beale", "rosenbrock", "himmelblau", "ravine"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
