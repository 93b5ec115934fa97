"""How long a training animation takes and how large it is: 100 frames at 640 × 480.

    OPENBLAS_NUM_THREADS=1 python benchmarks/animation.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import tinygrad_opt as tg


def main(epochs=10_001, frames=100):
    x, y = tg.data.spiral(100, 3, rng=0)
    model = tg.nn.MLP([2, 64, 3], activation="relu", rng=0)
    opt = tg.optim.Adam(model.parameters(), lr=0.05, decay=5e-7)
    begin = time.perf_counter()
    film = tg.viz.animate_training(model, x, y, loss=tg.nn.cross_entropy, optimizer=opt,
                                   epochs=epochs, frames=frames)
    print(f"trained and recorded in {time.perf_counter() - begin:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("gif", "webp", "html"):
            begin, busy = time.perf_counter(), time.process_time()
            path = film.save(Path(folder) / f"training.{suffix}")
            seconds, busy = time.perf_counter() - begin, time.process_time() - busy
            print(f"{suffix:5}{seconds:6.2f} s, of the processor {busy:5.2f} s"
                  f"{path.stat().st_size / 1e6:8.2f} MB")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    main()
