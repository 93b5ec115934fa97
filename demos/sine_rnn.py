"""A recurrent network learns to continue a sine wave from its own last word.

    python demos/sine_rnn.py [--quick] [--out FOLDER]

It reads 40 values of a wave, predicting the next at every place, and then goes on alone, fed with
what it has just said.
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz.figures import drawing, legend_below


class Oracle(nn.Module):
    """Values of a wave in, the value that follows each of them out."""

    def __init__(self, hidden=24, rng=None):
        rng = np.random.default_rng(rng)
        self.memory = nn.RNN(1, hidden, rng=rng)
        self.speak = nn.Linear(hidden, 1, rng=rng)

    def forward(self, waves):                               # (n, time, 1)
        states, _ = self.memory(waves)
        return self.speak(states)


def waves(n, length, rng):
    """Sine waves of one period length, each starting elsewhere."""
    phase = rng.uniform(0, 2 * np.pi, (n, 1))
    return np.sin(phase + 2 * np.pi / 20 * np.arange(length))[..., None].astype(np.float32)


def continued(model, start, steps):
    """Feed the model with its own predictions."""
    wave = start
    with tg.no_grad():
        for _ in range(steps):
            wave = np.concatenate([wave, model(wave).data[:, -1:]], axis=1)
    return wave[:, start.shape[1] :]


def picture(wave, said, theme):
    """The wave, and how the network goes on from where it was shown no more."""
    shown = len(wave) - len(said)
    with drawing((6.4, 3.2), theme=theme) as (figure, page):
        ax = figure.subplots()
        ax.plot(wave, color=page.value, label="the wave")
        ax.plot(range(shown, len(wave)), said, "o--", markersize=4, color=page.gradient,
                label="what the network says")
        ax.axvspan(0, shown - 1, color=page.grid, alpha=0.5, zorder=0, label="what it was shown")
        ax.set(xlabel="time", xlim=(0, len(wave) - 1))
        legend_below(figure)
    return figure


def main(out="runs", quick=False):
    epochs = 10 if quick else 200
    rng = np.random.default_rng(0)
    model = Oracle(rng=0)
    opt = tg.optim.Adam(model.parameters(), lr=0.01, clip_norm=1.0)
    for epoch in range(epochs):
        batch = waves(16, 41, rng)
        loss = nn.mse_loss(model(batch[:, :-1]), batch[:, 1:])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if epoch % 40 == 39 or epoch == epochs - 1:
            print(f"epoch {epoch + 1:3}  squared error {float(loss):.5f}")

    test = waves(1, 60, rng)
    said = continued(model, test[:, :40], 20)
    for truth, word in zip(test[0, 40:, 0], said[0, :, 0]):
        line = [" "] * 41
        line[round(20 + 19 * float(np.clip(word, -1, 1)))] = "o"
        line[round(20 + 19 * float(truth))] = "·"
        print("".join(line))
    save_both(lambda theme: picture(test[0, :, 0], said[0, :, 0], theme), out, "sine_rnn")
    return float(np.abs(said - test[:, 40:]).max())


if __name__ == "__main__":
    command_line(main, __doc__)
