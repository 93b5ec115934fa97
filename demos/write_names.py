"""A ladder of models that write names: from counting pairs of letters to a small GPT.

    python demos/write_names.py [--quick] [--out FOLDER]

Each guesses the next letter of a name from those before it. What they share is here: the data, the
training, the writing; each model stands in a file of its own, and runs by itself, too. The loss is
that of 100 names which no model has seen, in nats a letter.
"""

import time
from importlib import import_module
from typing import NamedTuple

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz.figures import drawing

SIGNS = ".abcdefghijklmnopqrstuvwxyz"                       # a full stop begins and ends a name
LENGTH = 12                                                 # of the longest, with its full stop
RUNGS = ["bigrams", "mlp", "recurrent", "convolution", "gpt"]


class Rung(NamedTuple):
    name: str
    loss: float
    seconds: float
    written: list[str]

    def __str__(self):
        return f"{self.name:16} {self.loss:.3f} {self.seconds:5.1f} s  {', '.join(self.written)}"


def encode(names):
    """Names as rows of codes, and the code that follows at each place: −1 behind the end."""
    x, y = np.zeros((len(names), LENGTH), int), np.full((len(names), LENGTH), -1)
    for i, name in enumerate(names):
        codes = [SIGNS.index(sign) for sign in f".{name}."]
        x[i, : len(codes) - 1], y[i, : len(codes) - 1] = codes[:-1], codes[1:]
    return x, y


NAMES = np.random.default_rng(0).permutation(tg.data.names())
TRAIN, TEST = encode(NAMES[:-100]), encode(NAMES[-100:])


def loss(scores, following):
    """Cross entropy at all places before the end. Scores have shape (names, places, signs)."""
    return nn.cross_entropy(scores.reshape(-1, len(SIGNS)), following.reshape(-1), ignore_index=-1)


def write(model, count=5, rng=0):
    """Names, drawn sign by sign."""
    x, rng = np.zeros((count, LENGTH + 1), int), np.random.default_rng(rng)
    with tg.no_grad():
        for i in range(LENGTH):
            p = model(x[:, :-1]).softmax().data[:, i].cumsum(axis=1)
            x[:, i + 1] = (p > p[:, -1:] * rng.random((count, 1))).argmax(axis=1)
    return ["".join(SIGNS[code] for code in row).split(".")[1] for row in x]


def climb(name, model, epochs=20, lr=0.01, quick=False):
    """Train a model and see what it has learned."""
    start, epochs = time.perf_counter(), min(epochs, 2) if quick else epochs
    rate = tg.optim.schedules.cosine(lr, max(1, epochs * -(-len(TRAIN[0]) // 32)))
    tg.fit(model, *TRAIN, loss=loss, optimizer=tg.optim.AdamW(lr=rate, weight_decay=0.01),
           epochs=epochs, batch_size=32, seed=0, progress=False, compile=True)
    seconds = time.perf_counter() - start
    with tg.no_grad():
        rung = Rung(name, loss(model.eval()(TEST[0]), TEST[1]).item(), seconds, write(model))
    print(rung, flush=True)
    return rung


def picture(rungs, theme):
    with drawing((5.4, 0.7 + 0.32 * len(rungs)), theme=theme) as (figure, page):
        ax = figure.subplots()
        for i, rung in enumerate(rungs):
            ax.plot([rung.loss], [i], "o", color=page.value, markersize=8)
            ax.text(rung.loss, i - 0.3, f"{rung.loss:.2f}, {rung.seconds:.1f} s", ha="center")
        ax.set_yticks(range(len(rungs)), [rung.name for rung in rungs])
        ax.set(xlabel="loss of names never seen, nats a letter", ylim=(len(rungs) - 0.5, -0.8))
        ax.margins(x=0.15)
    return figure


def main(out="runs", quick=False):
    print(f"{len(TRAIN[0])} names to learn from; a blind guess costs {np.log(len(SIGNS)):.2f} nats")
    rungs = [rung for name in RUNGS for rung in import_module(f"names_{name}").main(out, quick)]
    save_both(lambda theme: picture(rungs, theme), out, "write_names")
    return rungs


if __name__ == "__main__":
    command_line(main, __doc__)
