"""A training step as the list of calls that it comes down to, replayed: the same losses, sooner.

    python demos/compiled_step.py [--quick] [--out FOLDER]

Draws the list too: each call, what it reads, and the block of memory that it writes to.
"""

import time

import numpy as np
from helpers import command_line, save_drawing

import tinygrad_opt as tg


def make_step():
    """A network, its optimizer, and one step of training; always the same start."""
    model = tg.nn.MLP([2, 64, 3], activation="relu", rng=0)
    opt = tg.optim.Adam(model.parameters(), lr=0.05)

    def step(x, y):
        loss = tg.nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


def train(step, x, y, steps):
    """Losses, and microseconds for the fastest tenth of the steps."""
    losses, times = [], []
    for _ in range(steps):
        begin = time.perf_counter()
        losses.append(step(x, y))
        times.append(time.perf_counter() - begin)
    return [float(loss) for loss in losses], 1e6 * sorted(times)[steps // 10]


def main(out="runs", quick=False):
    x, y = tg.data.spiral(100, 3, rng=0)
    steps = 30 if quick else 1000
    eager, compiled = make_step(), tg.compile(make_step())
    slow, slow_time = train(eager, x, y, steps)
    fast, fast_time = train(compiled, x, y, steps)
    assert slow == fast
    print(f"{steps} steps: loss {slow[0]:.3f} -> {slow[-1]:.3f}, equal to the bit")
    print(f"a step: {slow_time:.0f} µs eager, {fast_time:.0f} µs compiled\n")
    print(compiled.explain(repeats=20))
    save_drawing(tg.draw(compiled, direction="TB", engine="builtin"), out, "compiled_step")

    try:
        tg.compile(lambda x: x if float(x.sum()) > 0 else -x)(np.ones(3))
    except tg.errors.CaptureError as error:
        print(f"\nWhat a list of calls cannot repeat is refused:\n{error}")


if __name__ == "__main__":
    command_line(main, __doc__)
