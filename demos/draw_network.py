"""Networks as pictures: a frame around each layer, equal layers as one, 50 steps folded.

    python demos/draw_network.py [--out FOLDER]

A weight that many steps use is drawn once and then as W ↗ wherever it is used again.
"""

import numpy as np
from helpers import command_line, save_drawing

import tinygrad_opt as tg
from tinygrad_opt import nn


def recurrent_loss(steps, rng):
    W = tg.Tensor(rng.normal(size=(8, 8)) * 0.3, requires_grad=True, name="W")
    U = tg.Tensor(rng.normal(size=(4, 8)), requires_grad=True, name="U")
    b = tg.Tensor(np.zeros(8), requires_grad=True, name="b")
    h = tg.Tensor(np.zeros((1, 8)), name="h₀")
    for t in range(steps):
        x = tg.Tensor(rng.normal(size=(1, 4)), name=f"x{t + 1}")
        h = np.tanh(x @ U + h @ W + b)
    loss = (h * h).mean()
    loss.name = "loss"
    return loss


def main(out="runs", quick=False):
    rng = np.random.default_rng(0)
    model = nn.MLP([2, 64, 3], rng=rng)
    x, labels = rng.normal(size=(64, 2)), rng.integers(0, 3, 64)
    loss = nn.cross_entropy(model(tg.Tensor(x, name="x", dtype="float32")), labels)
    loss.name = "loss"
    loss.backward()

    x = x.astype("float32")
    views = {"network": tg.draw(loss), "layers": tg.draw(model, x, depth=0),
             "deep": tg.draw(nn.MLP([2, *[16] * 31, 3], rng=rng), x),
             "unrolled": tg.draw(recurrent_loss(50, rng))}
    print(views["network"])
    for name, view in views.items():
        print(f"\n{view.graph.caption}")
        save_drawing(view, out, name)


if __name__ == "__main__":
    command_line(main, __doc__)
