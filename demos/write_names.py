"""A network that reads three letters and guesses the next one writes names that nobody has.

    python demos/write_names.py [--quick]

Letters become vectors (an embedding), three of them go through one hidden layer, and the softmax
over 27 signs (a full stop and a to z) is what the next letter is drawn from.
"""

import argparse

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import nn

CONTEXT = 3
SIGNS = ".abcdefghijklmnopqrstuvwxyz"


class Writer(nn.Module):
    """Three letters in, scores of the next one out."""

    def __init__(self, width=10, hidden=100, rng=None):
        rng = np.random.default_rng(rng)
        self.letters = nn.Embedding(len(SIGNS), width, rng=rng)
        self.network = nn.MLP([CONTEXT * width, hidden, len(SIGNS)], activation="tanh", rng=rng)

    def forward(self, context):
        vectors = self.letters(context)                     # (n, 3, width)
        return self.network(vectors.reshape(len(context), -1))


def samples(names):
    """Every place in every name: the three signs before it, and the sign that stands there."""
    contexts, following = [], []
    for name in names:
        padded = "." * CONTEXT + name + "."
        codes = [SIGNS.index(sign) for sign in padded]
        for i in range(CONTEXT, len(codes)):
            contexts.append(codes[i - CONTEXT : i])
            following.append(codes[i])
    return np.array(contexts), np.array(following)


def write(model, rng, longest=12):
    """Draw one sign after another until the full stop."""
    name = "." * CONTEXT
    while len(name) < CONTEXT + longest:
        context = np.array([[SIGNS.index(sign) for sign in name[-CONTEXT:]]])
        with tg.no_grad():
            p = model(context).softmax().data[0].astype(float)
        sign = SIGNS[rng.choice(len(SIGNS), p=p / p.sum())]
        if sign == ".":
            break
        name += sign
    return name[CONTEXT:]


def main(epochs=20):
    names = tg.data.names()
    rng = np.random.default_rng(0)
    x, y = samples(names)
    model = Writer(rng=0)
    opt = tg.optim.Adam(model.parameters(), lr=0.01)
    print(f"{len(x)} places in {len(names)} names; a blind guess costs {np.log(27):.2f} nats")
    for epoch in range(epochs):
        losses = []
        for xb, yb in tg.data.minibatches(x, y, 128, rng=rng):
            loss = nn.cross_entropy(model(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(float(loss))
        if epoch % 5 == 4 or epoch == epochs - 1:
            print(f"epoch {epoch + 1:2}  {np.mean(losses):.3f} nats a letter")
    written = [write(model, rng) for _ in range(20)]
    print("written:", ", ".join(name for name in written if name not in names))
    return np.mean(losses)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    main(epochs=2 if parser.parse_args().quick else 20)
