"""Networks as pictures: a frame around each layer, equal layers as one, 50 steps folded.

    python demos/draw_network.py

Writes network.svg, layers.svg, deep.svg and recurrent.svg into the current folder. A weight that
many steps use is drawn once and then as W ↗ wherever it is used again.
"""

import numpy as np

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


def main():
    rng = np.random.default_rng(0)
    model = nn.MLP([2, 64, 3], rng=rng)
    x, labels = rng.normal(size=(64, 2)), rng.integers(0, 3, 64)
    loss = nn.cross_entropy(model(tg.Tensor(x, name="x", dtype="float32")), labels)
    loss.name = "loss"
    loss.backward()

    whole = tg.draw(loss)
    print(whole)
    print("\nwrote", whole.save("network.svg"))
    closed = tg.draw(model, x.astype("float32"), depth=0)
    print("wrote", closed.save("layers.svg"), "  ", closed.graph.caption)
    deep = tg.draw(nn.MLP([2, *[16] * 31, 3], rng=rng), x.astype("float32"))
    print("wrote", deep.save("deep.svg"), "    ", deep.graph.caption)
    folded = tg.draw(recurrent_loss(50, rng))
    print("wrote", folded.save("recurrent.svg"), folded.graph.caption)


if __name__ == "__main__":
    main()
