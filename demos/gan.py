"""A generator and a discriminator: noise becomes points on a ring of eight heaps.

    python demos/gan.py [--quick] [--out FOLDER]

The discriminator learns to tell real points from made ones, the generator to be taken for real
(Goodfellow et al., 2014). Each minimises its own loss, so there are two optimizers, and no curve
that must fall: what counts is how far the points are from the real ones.
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz.figures import drawing, legend_below, through

NOISE = 2


def ring(n, rng):
    """Points of eight heaps on a circle of radius 2."""
    angle = 2 * np.pi / 8 * rng.integers(0, 8, n)
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (centres + 0.15 * rng.normal(size=(n, 2))).astype(np.float32)


def energy_distance(a, b):
    """2 E‖a − b‖ − E‖a − a'‖ − E‖b − b'‖: 0 if and only if the distributions are the same."""
    def mean(u, v):
        return np.linalg.norm(u[:, None] - v, axis=-1).mean()

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)


def train(steps, rng, batch=128):
    generator = nn.MLP([NOISE, 64, 64, 2], "relu", rng=0)
    discriminator = nn.MLP([2, 64, 64, 1], nn.LeakyReLU(0.2), rng=1)
    g_opt = tg.optim.Adam(generator.parameters(), lr=1e-3, beta1=0.5)
    d_opt = tg.optim.Adam(discriminator.parameters(), lr=1e-3, beta1=0.5)
    real, made = np.ones((batch, 1)), np.zeros((batch, 1))
    entropy = nn.binary_cross_entropy_with_logits

    def learn(opt, loss):
        g_opt.zero_grad()                                  # the generator's loss has gradients for
        d_opt.zero_grad()                                  # both, but only one is to follow it
        loss.backward()
        opt.step()

    @tg.compile
    def step(points, noise):
        fake = generator(noise)
        learn(d_opt, entropy(discriminator(points), real)
              + entropy(discriminator(fake.detach()), made))
        learn(g_opt, entropy(discriminator(fake), real))

    for _ in range(steps):
        step(ring(batch, rng), rng.normal(size=(batch, NOISE)).astype(np.float32))
    return generator, discriminator


def picture(points, made, discriminator, theme):
    with drawing((4.8, 4.0), theme=theme) as (figure, page):
        ax, axis = figure.subplots(), np.linspace(-3, 3, 90)
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype(np.float32)
        with tg.no_grad():
            belief = nn.sigmoid(discriminator(grid)).data.reshape(90, 90)
        grey = through([page.page, page.grid, page.muted])
        figure.colorbar(ax.contourf(axis, axis, belief, 11, cmap=grey), label="taken for real")
        ax.scatter(*points[:400].T, s=7, color=page.value, marker="s", label="real")
        ax.scatter(*made[:400].T, s=9, color=page.gradient, marker="^", label="made")
        ax.grid(False)
        ax.set(aspect="equal")
        legend_below(figure)
    return figure


def main(out="runs", quick=False):
    rng = np.random.default_rng(0)
    points, noise = ring(1000, rng), rng.normal(size=(1000, NOISE)).astype(np.float32)
    generator, discriminator = train(300 if quick else 6000, rng)
    with tg.no_grad():
        made = generator(noise).data
    before, after = energy_distance(noise, points), energy_distance(made, points)
    print(f"energy distance to the real points: noise {before:.3f}, made of noise {after:.3f}")
    save_both(lambda theme: picture(points, made, discriminator, theme), out, "gan")
    return after, before


if __name__ == "__main__":
    command_line(main, __doc__)
