"""Digits from two numbers: a variational autoencoder, and the plane of all that it can draw.

    python demos/vae.py [--quick] [--out FOLDER]

The encoder says where a digit lies: mean μ and deviation σ of a normal distribution in the plane.
The decoder draws a point of it. The loss bounds −log p(x): the surprise of the decoder, and how far
the encoder is from N(0, 1), where new digits are drawn from (Kingma & Welling, 2014).
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz.figures import drawing, halo
from tinygrad_opt.viz.theme import CLASS_MARKERS, CLASSES

PLANE = 2


class VAE(nn.Module):
    """Digits in; out come scores of their pixels, and μ and log σ² of the codes."""

    def __init__(self, hidden=128, rng=None):
        self.rng = np.random.default_rng(rng)
        self.encode = nn.MLP([64, hidden, 2 * PLANE], "tanh", rng=self.rng)
        self.decode = nn.MLP([PLANE, hidden, 64], "tanh", rng=self.rng)

    def forward(self, x):
        code = self.encode(x)
        mean, log_variance = code[:, :PLANE], code[:, PLANE:]
        noise = self.rng.normal(size=mean.shape)           # z = μ + σ ε: gradients reach μ and σ
        return self.decode(mean + np.exp(log_variance / 2) * noise), mean, log_variance


def bound(prediction, x):
    """At least −log p(x), in nats a digit."""
    scores, mean, log_variance = prediction
    surprise = nn.binary_cross_entropy_with_logits(scores, x, reduction="sum")
    distance = (np.exp(log_variance) + mean**2 - 1 - log_variance).sum() / 2
    return (surprise + distance) / len(x)


def picture(model, x, y, theme, side=10):
    """Where digits lie, and what is drawn of each point."""
    points = np.linspace(-2.2, 2.2, side)
    grid = np.stack(np.meshgrid(points, -points), axis=-1).reshape(-1, PLANE)
    with tg.no_grad():
        where = model.encode(x).data[:, :PLANE]
        drawn = nn.sigmoid(model.decode(grid)).data.reshape(side, side, 8, 8)
    tiles = np.pad(drawn, ((0, 0), (0, 0), (1, 1), (1, 1))).swapaxes(1, 2)
    with drawing((6.6, 3.6), theme=theme) as (figure, page):
        left, right = figure.subplots(1, 2)
        for digit in range(10):
            left.scatter(*where[y == digit].T, s=8, color=page.color(CLASSES[digit % 8]),
                         marker=CLASS_MARKERS[digit % len(CLASS_MARKERS)])
            left.text(*np.median(where[y == digit], axis=0), str(digit), fontsize=12, va="center",
                      ha="center", fontweight="bold", path_effects=halo(page), zorder=5)
        left.set(title="where test digits lie", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
        right.imshow(tiles.reshape(10 * side, 10 * side), interpolation="nearest",
                     cmap="gray_r" if page.name == "light" else "gray", extent=(-2.2, 2.2) * 2)
        right.set(title="what each point is drawn as")
        right.grid(False)
    return figure


def main(out="runs", quick=False):
    x, x_test, _, y_test = tg.data.digits(split=True)
    x, x_test = x / 16, x_test / 16
    model = VAE(rng=0)
    tg.fit(model, x, x, loss=bound, optimizer=tg.optim.Adam(lr=0.003),
           epochs=15 if quick else 200, seed=0, progress=False)
    with tg.no_grad():
        learned = bound(model(x_test), x_test).item()
    share = np.tile(x.mean(axis=0), (len(x_test), 1))      # each pixel by itself
    alone, least = (64 * nn.binary_cross_entropy(p, x_test).item() for p in (share, x_test))
    learned, alone = learned - least, alone - least        # grey surprises whoever knows it
    print(f"test digits: {learned:.2f} nats each; {alone:.2f} if each pixel is guessed by itself")
    save_both(lambda theme: picture(model, x_test, y_test, theme), out, "vae")
    return learned, alone


if __name__ == "__main__":
    command_line(main, __doc__)
