"""Two moons told apart with the hinge loss: the classic of scalar engines, here on Tensors.

    python demos/moons.py [--quick] [--out FOLDER]
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz import decision_regions


def main(out="runs", quick=False):
    epochs = 10 if quick else 100
    x, y = tg.data.moons(50, noise=0.1, rng=1)
    sign = (2 * y - 1).reshape(-1, 1)                        # labels −1 and +1
    model = tg.nn.MLP([2, 16, 16, 1], activation="relu", rng=1)
    opt = tg.optim.SGD(model.parameters(), lr=lambda t: 1.0 - 0.9 * t / epochs)

    for epoch in range(epochs):
        scores = model(x)
        margin_loss = np.maximum(0, 1 - sign * scores).mean()
        penalty = 1e-4 * sum((p * p).sum() for p in model.parameters().values())
        loss = margin_loss + penalty
        opt.zero_grad()
        loss.backward()
        opt.step()
        accuracy = np.mean((scores > 0) == (sign > 0))
        if epoch % 10 == 0 or epoch == epochs - 1:
            print(f"epoch {epoch:3}  loss {float(loss):.4f}  accuracy {accuracy:.2%}")

    print(picture(model))
    save_both(lambda theme: decision_regions(model, x, y, theme=theme), out, "moons")
    return accuracy


def picture(model, rows=20, columns=60):
    """Which side of the boundary every point of the plane is on, in letters."""
    across, down = np.linspace(-1.7, 2.7, columns), np.linspace(1.6, -1.1, rows)
    grid = np.stack(np.meshgrid(across, down), axis=-1).astype(np.float32)
    with tg.no_grad():
        scores = model(grid.reshape(-1, 2)).data.reshape(rows, columns)
    return "\n".join("".join("·o"[int(s > 0)] for s in row) for row in scores)


if __name__ == "__main__":
    command_line(main, __doc__)
