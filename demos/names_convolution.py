"""The next letter from the last five: two convolutions that see no letter to the right.

    python demos/names_convolution.py [--quick]

A convolution is causal if what it slides over is padded on the left alone. Each one widens what a
place sees by two letters.
"""

import numpy as np
from helpers import command_line
from write_names import SIGNS, climb

from tinygrad_opt import nn

SIZE = 3


class Convolutions(nn.Module):
    """Letters in, scores of the next one out, at every place of a name."""

    def __init__(self, width=32, layers=2, rng=None):
        rng = np.random.default_rng(rng)
        self.letters = nn.Embedding(len(SIGNS), width, rng=rng)
        self.layers = [nn.Conv1d(width, width, SIZE, rng=rng) for _ in range(layers)]
        self.dropout = nn.Dropout(0.2, rng=rng)
        self.head = nn.Linear(width, len(SIGNS), rng=rng)

    def forward(self, x):
        h = self.letters(x).swapaxes(1, 2)                              # (names, width, places)
        for layer in self.layers:
            h = self.dropout(np.tanh(layer(np.pad(h, ((0, 0), (0, 0), (SIZE - 1, 0))))))
        return self.head(h.swapaxes(1, 2))


def main(out="runs", quick=False):
    return [climb("convolutions", Convolutions(rng=0), quick=quick)]


if __name__ == "__main__":
    command_line(main, __doc__)
