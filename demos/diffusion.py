"""Diffusion: points are drowned in noise, and a network learns to take a little of it away.

    python demos/diffusion.py [--quick] [--out FOLDER]

At time t a point is xₜ = √ᾱₜ x + √(1 − ᾱₜ) ε; the network guesses ε, which is a regression. Then
noise itself is led back, step by step, to where points lie (Ho et al., 2020).
"""

import numpy as np
from gan import energy_distance
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz.figures import drawing

STEPS = 50
BETA = np.linspace(1e-3, 0.2, STEPS)                        # how much noise each step adds
LEFT = np.cumprod(1 - BETA)                                 # ᾱₜ, what is left of the point by then


class Denoiser(nn.Module):
    """Rows (x, y, t) in, the noise in the point out."""

    def __init__(self, hidden=96, rng=None):
        self.network = nn.MLP([2 + 16, hidden, hidden, 2], "silu", rng=rng)

    def forward(self, x):
        time = nn.sinusoidal_embedding(x[:, 2], 16, base=100)
        return self.network(np.concatenate([x[:, :2], time], axis=1))


def noised(points, copies, rng):
    """The samples of the regression: each point at many times."""
    x = np.repeat(points, copies, axis=0)
    t, noise = rng.integers(0, STEPS, len(x)), rng.normal(size=x.shape)
    left = LEFT[t, None]
    mixed = np.sqrt(left) * x + np.sqrt(1 - left) * noise
    return np.column_stack([mixed, t]).astype(np.float32), noise.astype(np.float32)


def denoised(model, x, rng):
    """Where points of pure noise are led, at every step of the way."""
    path = [x]
    for t in reversed(range(STEPS)):
        with tg.no_grad():
            noise = model(np.column_stack([x, np.full(len(x), t)]).astype(np.float32)).data
        x = (x - BETA[t] / np.sqrt(1 - LEFT[t]) * noise) / np.sqrt(1 - BETA[t])
        x = x + (np.sqrt(BETA[t]) * rng.normal(size=x.shape) if t else 0)
        path.append(x)
    return path


def picture(path, points, theme):
    with drawing((6.4, 1.7), theme=theme) as (figure, page):
        for ax, k in zip(figure.subplots(1, 5), (0, 30, 40, 45, STEPS)):
            ax.scatter(*points.T, s=1, color=page.muted, alpha=0.4)
            ax.scatter(*path[k].T, s=1.5, color=page.value)
            ax.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal",
                   title=f"t = {STEPS - k}")
    return figure


def main(out="runs", quick=False):
    rng = np.random.default_rng(0)
    points = tg.data.moons(1000, noise=0.05, rng=0)[0]
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    model = Denoiser(rng=0)
    x, noise = noised(points, 20 if quick else 200, rng)
    tg.fit(model, x, noise, loss="mse", optimizer=tg.optim.Adam(lr=0.002), batch_size=256,
           epochs=3 if quick else 10, seed=0, progress=False, compile=True)
    path = denoised(model, rng.normal(size=(1000, 2)), rng)
    before, after = energy_distance(path[0], points), energy_distance(path[-1], points)
    print(f"energy distance to the real points: noise {before:.4f}, led back {after:.4f}")
    save_both(lambda theme: picture(path, points, theme), out, "diffusion")
    return after, before


if __name__ == "__main__":
    command_line(main, __doc__)
