"""The next letter from the last one: pairs counted, and the same table found by gradient descent.

    python demos/names_bigrams.py [--quick]

A bigram model is a table of 27 × 27 scores, a row for each letter. Counting gives the best one at
once; a network that has nothing but the table learns nearly the same.
"""

import numpy as np
from helpers import command_line
from write_names import SIGNS, TRAIN, climb

from tinygrad_opt import nn


def counted():
    """The table of log p(next | last), with a tenth added to each count, so that none is 0."""
    x, y = TRAIN
    table = nn.Embedding(len(SIGNS), len(SIGNS), init=0.1, rng=0)
    counts = np.full(table.weight.shape, 0.1)
    np.add.at(counts, (x[y >= 0], y[y >= 0]), 1)
    table.weight.data = np.log(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


def main(out="runs", quick=False):
    learned = nn.Embedding(len(SIGNS), len(SIGNS), init=0.1, rng=0)
    return [climb("bigrams counted", counted(), epochs=0),
            climb("bigram network", learned, lr=0.05, quick=quick)]


if __name__ == "__main__":
    command_line(main, __doc__)
