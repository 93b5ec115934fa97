"""The next letter from the last three: each becomes a vector, all go through one hidden layer.

    python demos/names_mlp.py [--quick]

The model of Bengio et al., *A Neural Probabilistic Language Model* (2003), for letters.
"""

import numpy as np
from helpers import command_line
from write_names import LENGTH, SIGNS, climb

from tinygrad_opt import nn

CONTEXT = 3


class MLP(nn.Module):
    """Three letters in, scores of the next one out, at every place of a name."""

    def __init__(self, width=10, hidden=64, rng=None):
        rng = np.random.default_rng(rng)
        self.letters = nn.Embedding(len(SIGNS), width, rng=rng)
        self.dropout = nn.Dropout(0.2, rng=rng)
        self.network = nn.MLP([CONTEXT * width, hidden, len(SIGNS)], "tanh", rng=rng)

    def forward(self, x):
        v = self.letters(np.pad(x, ((0, 0), (CONTEXT - 1, 0))))         # full stops in front
        last = np.concatenate([v[:, k : k + LENGTH] for k in range(CONTEXT)], axis=-1)
        return self.network(self.dropout(last))


def main(out="runs", quick=False):
    return [climb("MLP", MLP(rng=0), quick=quick)]


if __name__ == "__main__":
    command_line(main, __doc__)
