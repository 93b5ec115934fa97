"""Dropout: noise that keeps units from relying on each other."""

from __future__ import annotations

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.hints import answers
from tinygrad_opt.kernels import moved
from tinygrad_opt.nn import init
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.parameters import as_input
from tinygrad_opt.tensor import Tensor, answer
from tinygrad_opt.typing import ArrayLike, Seed


@answers
def dropout(
    x: ArrayLike, p: float = 0.5, *, training: bool = True,
    rng: Seed | list[np.random.Generator] = None,
) -> Tensor:
    """Set each entry to 0 with probability p and scale the others by 1 / (1 − p).

    Parameters
    ----------
    x : Tensor or array-like
    p : float in [0, 1]
        Probability of 0. The scale keeps the mean as it is, so nothing is left to do at the end.
    training : bool
        False gives x back.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it. A list
        of generators: each draws for one entry of the first axis.

    Returns
    -------
    Tensor of the shape of x

    Raises
    ------
    ValueError
        If p is not in [0, 1].

    References
    ----------
    Srivastava et al., *Dropout* (2014).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> y = nn.dropout(np.ones(1000), 0.25, rng=0)
    >>> sorted(set(y.data.round(3).tolist()))
    [0.0, 1.3329999446868896]
    """
    check_probability(p)
    x = as_input(x)
    if not training or p == 0:
        return x
    # An answer, so that a captured step draws anew at each replay. A seed stays one, so that it
    # draws the same numbers each time, as it does where nothing is captured.
    if isinstance(rng, list):
        kept = answer(_draw_each, x.shape[1:], 1 - p, *rng)
    else:
        kept = answer(_draw, x.shape, 1 - p, rng=init.generator() if rng is None else rng)
    kept = moved(kept, x._array)
    return ops.where(kept, x / (1 - p) if p < 1 else x, 0)


def _draw(shape: tuple[int, ...], keep: float, rng: Seed) -> np.ndarray:
    """Which entries stay."""
    return init.generator(rng).random(shape) < keep


def _draw_each(shape: tuple[int, ...], keep: float, *each: np.random.Generator) -> np.ndarray:
    return np.stack([_draw(shape, keep, rng) for rng in each])


class Dropout(Module):
    """While training, set each entry to 0 with probability p and scale the others by 1 / (1 − p).

    Parameters
    ----------
    p : float in [0, 1]
        Probability of 0.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Raises
    ------
    ValueError
        If p is not in [0, 1].

    References
    ----------
    Srivastava et al., *Dropout* (2014).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> layer = nn.Dropout(0.5, rng=0)
    >>> layer([1.0, 1.0, 1.0, 1.0]).tolist()
    [0.0, 2.0, 2.0, 2.0]
    >>> layer.eval()([1.0, 1.0]).tolist()
    [1.0, 1.0]
    """

    _shown = "{0.p}"

    def __init__(self, p: float = 0.5, *, rng: Seed = None) -> None:
        check_probability(p)
        self.p = p
        self.rng: np.random.Generator | list[np.random.Generator] | None = (
            None if rng is None else init.generator(rng))

    def forward(self, x: ArrayLike) -> Tensor:
        return dropout(x, self.p, training=self.training, rng=self.rng)


def check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is a probability, in [0, 1], got {p!r}")
