"""A saddle, with and without noise: exactly on its ridge no gradient says which side to take.

    python demos/saddle.py [--quick] [--out FOLDER]

On x² − y² + y⁴/4, from y = 0, plain descent ends at the saddle, a momentum ever so large too:
∂f/∂y is 0 to the last bit. A little noise in the gradient, as that of minibatches, and it leaves
for a minimum. Newton's method would go to the saddle as well; with the sizes of the curvatures it
does not stay near it, once it is off the ridge. ``tinygrad-opt race saddle --optimizers
sgd,sgd:noise=.05 --start=-1.6,0`` races the first two.
"""

from functools import partial
from pathlib import Path

from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import animate_race, plot_race, race
from tinygrad_opt.viz.plots.surfaces import SURFACES
from tinygrad_opt.viz.plots.trajectories import Noisy

SADDLE, START = SURFACES["saddle"], (-1.6, 0.0)


def main(out="runs", quick=False):
    steps, o = 20 if quick else 200, tg.optim
    result = race(SADDLE, {
        "SGD": o.SGD(lr=0.1),
        "SGD with noise": Noisy(o.SGD(lr=0.1), 0.05),
        "Momentum": o.Momentum(lr=0.05),
        "Momentum with noise": Noisy(o.Momentum(lr=0.05), 0.05),
        "Newton, off the ridge": o.minimize(lambda p: SADDLE(p[0], p[1]), (-1.6, 1e-3),
                                            "newton").path,
    }, START, steps)
    print(result)
    save_both(partial(plot_race, result), out, "saddle")
    film = animate_race(result, frames=3 if quick else 80)
    print(f"wrote {film.save(Path(out, 'saddle.gif'))}")
    return result


if __name__ == "__main__":
    command_line(main, __doc__)
