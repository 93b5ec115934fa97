"""The next letter from all before it, in one hidden state: a recurrent network, plain and gated.

    python demos/names_recurrent.py [--quick]
"""

import numpy as np
from helpers import command_line
from write_names import SIGNS, climb

from tinygrad_opt import nn


class Recurrent(nn.Module):
    """Letters in, scores of the next one out, after each of them."""

    def __init__(self, cell, width=16, hidden=48, rng=None):
        rng = np.random.default_rng(rng)
        self.letters = nn.Embedding(len(SIGNS), width, rng=rng)
        self.memory = cell(width, hidden, rng=rng)
        self.dropout = nn.Dropout(0.3, rng=rng)
        self.head = nn.Linear(hidden, len(SIGNS), rng=rng)

    def forward(self, x):
        states, _ = self.memory(self.letters(x))
        return self.head(self.dropout(states))


def main(out="runs", quick=False):
    return [climb("RNN", Recurrent(nn.RNN, rng=0), quick=quick),
            climb("GRU", Recurrent(nn.GRU, rng=0), quick=quick)]


if __name__ == "__main__":
    command_line(main, __doc__)
