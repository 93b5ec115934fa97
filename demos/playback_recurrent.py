"""A page that plays backpropagation through time: one weight, used once at every step.

    python demos/playback_recurrent.py [--out FOLDER]
"""

import numpy as np
from helpers import command_line, save_drawing

import tinygrad_opt as tg
from tinygrad_opt.viz import playback

STEPS = 8


def main(out="runs", quick=False):
    rng = np.random.default_rng(0)
    w = tg.Tensor(0.9, requires_grad=True, name="w")
    h = tg.Tensor(0.0, name="h0")
    for t in range(STEPS):
        h = np.tanh(w * h + tg.Tensor(rng.normal(), name=f"x{t + 1}"))
        h.name = f"h{t + 1}"
    loss = (h - 1.0) ** 2
    loss.name = "loss"
    page = playback(loss)
    w_parts = page.flow.into(w)
    print(f"∂loss/∂w is a sum of {len(w_parts)} parts, the latest step first:")
    for t, part in zip(range(STEPS, 0, -1), w_parts):
        print(f"  step {t}: {float(part.value):+.6f}, so far {float(part.total):+.6f}")
    print(page)
    save_drawing(page, out, "playback_recurrent", "html")
    return page


if __name__ == "__main__":
    command_line(main, __doc__)
