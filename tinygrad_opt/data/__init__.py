"""Data sets, made and real, and what turns them into batches. Nothing here downloads.

Samples are rows: features are float32 of shape (n_samples, n_features), class labels
int64 of shape (n_samples,), targets of a regression float32 of shape (n_samples, 1).

Every `rng` is anything that `numpy.random.default_rng` takes: an int seed (same seed,
same bits), a Generator (which moves on), or None for fresh entropy.

What is of the wrong kind is a TypeError; a number, shape or file that does not fit is a
ValueError. Both say what was expected and what was found.
"""

from typing import TYPE_CHECKING

from tinygrad_opt.data.batches import minibatches
from tinygrad_opt.data.bundled import digits, names
from tinygrad_opt.data.csv_reader import Table, csv
from tinygrad_opt.data.idx_reader import idx
from tinygrad_opt.data.preprocessing import one_hot, standardize, train_test_split
from tinygrad_opt.data.synthetic import blobs, circles, moons, sine, spiral, vertical, xor
from tinygrad_opt.hints import nothing_called

__all__ = [
    "Table",
    "blobs",
    "circles",
    "csv",
    "digits",
    "idx",
    "minibatches",
    "moons",
    "names",
    "one_hot",
    "sine",
    "spiral",
    "standardize",
    "train_test_split",
    "vertical",
    "xor",
]

if not TYPE_CHECKING:
    __getattr__ = nothing_called("data", __all__)
