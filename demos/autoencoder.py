"""Digits squeezed through 8 numbers and drawn again: an autoencoder.

    python demos/autoencoder.py [--quick] [--out FOLDER]
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz import plot_samples


def main(out="runs", quick=False):
    epochs = 3 if quick else 40
    x, y = tg.data.digits()
    x = x / 16
    encode = nn.MLP([64, 32, 8], activation="tanh", rng=0)
    decode = nn.MLP([8, 32, 64], activation="tanh", rng=1)
    model = nn.Sequential(encode, nn.Tanh(), decode, nn.Sigmoid())
    opt = tg.optim.Adam(model.parameters(), lr=0.005)
    rng = np.random.default_rng(0)

    baseline = np.mean((x - x.mean(axis=0)) ** 2)
    for epoch in range(epochs):
        for batch in tg.data.minibatches(x, batch_size=64, rng=rng):
            loss = nn.mse_loss(model(batch), batch)
            opt.zero_grad()
            loss.backward()
            opt.step()
        if epoch % 10 == 9 or epoch == epochs - 1:
            with tg.no_grad():
                error = float(nn.mse_loss(model(x), x))
            print(f"epoch {epoch + 1:2}  error {error:.4f}, {error / baseline:.0%} of the variance")

    with tg.no_grad():
        drawn = model(x[:10]).data
    for digit, copy in zip(x, drawn[:3]):
        print("\n".join(f"{a}    {b}" for a, b in zip(lines(digit), lines(copy))), end="\n\n")
    pairs = np.concatenate([x[:10], drawn])                 # above as given, below as drawn again
    save_both(lambda theme: plot_samples(pairs, np.tile(y[:10], 2), theme=theme), out,
              "autoencoder")
    return error / baseline


def lines(digit):
    """An 8 × 8 image in letters, two to a pixel."""
    return ["".join(" ·+#@"[int(np.clip(4 * v + 0.5, 0, 4))] * 2 for v in row)
            for row in digit.reshape(8, 8)]


if __name__ == "__main__":
    command_line(main, __doc__)
