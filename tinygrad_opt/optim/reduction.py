"""Gradients of several processes put together before the step, so that all take the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from tinygrad_opt.optim.options import Reduce
from tinygrad_opt.optim.packing import Entry, gradient
from tinygrad_opt.tensor import values_of
from tinygrad_opt.typing import Array, Shape

__all__ = ["Layout", "Reduction"]

Layout: TypeAlias = tuple[tuple[str, Shape, str], ...]     # name, shape, dtype of each parameter


class Reduction:
    """The gradients of all parameters in one vector for each dtype.

    Behind the gradients stand as many flags, 1 for a parameter that has one here: branches may
    use other parameters in each process, and one that nobody used must rest everywhere.

    Parameters
    ----------
    entries : dict of str to Entry
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.layout: Layout = tuple((e.name, e.shape, str(e.dtype)) for e in entries.values())
        self.vectors: list[Array] = []
        self._parts: list[tuple[Entry, Array, Array]] = []
        for dtype in dict.fromkeys(e.dtype for e in entries.values()):
            own = [e for e in entries.values() if e.dtype == dtype]
            ends = np.cumsum([e.size for e in own])
            vector = np.zeros(ends[-1] + len(own), dtype)
            self.vectors.append(vector)
            *parts, flags = np.split(vector, ends)
            self._parts += [(e, part.reshape(e.shape), flags[i, ...])
                            for i, (e, part) in enumerate(zip(own, parts))]

    def __call__(self, reduce: Reduce) -> None:
        """Reduce the vectors in place; the Tensors' gradients are then parts of them."""
        for e, part, flag in self._parts:
            g = e.target._gradient
            if g is None:
                part[...] = flag[...] = 0
                continue
            g = values_of(g)
            part[...] = g if g.shape == e.shape else gradient(e.name, e.target._array, g)
            flag[...] = 1
        reduce(self.vectors, self.layout)
        for e, part, flag in self._parts:
            e.target._gradient = part if flag else None
