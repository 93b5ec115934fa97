"""Watch a network learn the spiral: regions, weights and updates, loss, accuracy and rate.

    python demos/training_animation.py [--quick] [--optimizer NAME] [--out FOLDER]

By each of the texts' optimizers, or the one that is named. Writes GIF and last frame, light and
dark, a page with a scrubber, and the numbers as NPZ; ``tinygrad-opt animate spiral`` does too.
"""

import argparse
import time
from pathlib import Path

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.training_animation import animate_training

SETTINGS = {
    "sgd": "sgd:lr=1,decay=1e-3",
    "momentum": "momentum:lr=1,decay=1e-3,momentum=0.8",
    "adagrad": "adagrad:lr=1,decay=1e-3",
    "rmsprop": "rmsprop:lr=0.02,decay=1e-5,rho=0.999",
    "adam": "adam:lr=0.05,decay=5e-7",
}


def main(optimizer="adam", out="runs", quick=False):
    x, y = tg.data.spiral(100, 3, rng=0)
    model = tg.nn.MLP([2, 64, 3], activation="relu", rng=0)
    opt = tg.optim.get(SETTINGS[optimizer], model.parameters())
    start = time.perf_counter()
    film = animate_training(model, x, y, loss=tg.nn.cross_entropy, optimizer=opt,
                            epochs=30 if quick else 2000, frames=5 if quick else 100,
                            theme="auto")
    loss, accuracy = (film.numbers[name][-1] for name in ("loss", "accuracy"))
    print(f"{optimizer}: loss {loss:.3f}, accuracy {accuracy:.1%},"
          f" trained and recorded in {time.perf_counter() - start:.1f} s")
    night = film.in_dark()
    for ending in (".html", ".npz", "_light.gif", "_light.png", "_dark.gif", "_dark.png"):
        start = time.perf_counter()
        shown = night if "dark" in ending else film
        path = shown.save(Path(out, f"training_{optimizer}{ending}"))
        seconds = time.perf_counter() - start
        print(f"wrote {path}: {path.stat().st_size / 1000:.0f} kB in {seconds:.1f} s")
    return film


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--optimizer", nargs="+", default=SETTINGS, choices=SETTINGS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    options = parser.parse_args()
    for name in options.optimizer:
        main(name, options.out, options.quick)
