"""Many small arrays as one vector: what makes a step cost the same for 4 and for 40 of them.

    Entry   one parameter: its name, where its values live, how often it has been updated
    Pack    the parameters of one dtype end to end in one vector, their state beside them
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt.tensor import Tensor

__all__ = ["Array", "Entry", "Pack"]

Array = np.ndarray[Any, Any]


class Entry:
    """One parameter: its name, its Tensor (or the caller's array) and its place in a pack."""

    __slots__ = ("dtype", "name", "pack", "place", "shape", "size", "t", "target")

    def __init__(self, name: str, target: Any) -> None:
        values = target.array if type(target) is Tensor else target
        self.name, self.target = name, target
        self.shape, self.dtype, self.size = values.shape, values.dtype, values.size
        self.t = 0                              # updates so far
        self.place = slice(0, 0)
        self.pack: Pack | None = None

    def in_place(self) -> bool:
        """Whether the values still live where they were packed."""
        if self.pack is None or self.values().shape != self.shape:
            return False
        return _same_memory(self.pack.p[self.place], self.values())

    def values(self) -> Array:
        """Where the parameter's values live."""
        return self.target.array if type(self.target) is Tensor else self.target

    def packed(self, vector: Array | None = None) -> Array:
        """Its part of the pack's values, or of another vector beside them, in its shape."""
        assert self.pack is not None
        vector = self.pack.p if vector is None else vector
        return vector[self.place].reshape(self.shape)

    def state(self) -> dict[str, Array]:
        """What the rule keeps for this parameter, as views in its shape."""
        if self.pack is None:
            return {}
        return {slot: self.packed(row) for slot, row in zip(self.pack.slots, self.pack.state)}


class Pack:
    """Parameters of one dtype, end to end in one vector, with their state beside it.

    Parameters
    ----------
    entries : list of Entry
        What is packed, in this order.
    slots : tuple of str
        Names of the rule's accumulators, a vector each.
    starts : callable
        entry -> {slot: number that its accumulator starts from}, for what is new here.
    bound : bool
        Whether the vector is to be the parameters' own memory: Tensors are re-pointed at
        their parts of it. Otherwise values are copied in and out.
    """

    def __init__(
        self,
        entries: list[Entry],
        slots: tuple[str, ...],
        starts: Callable[[Entry], dict[str, float]],
        bound: bool,
    ) -> None:
        self.entries, self.slots = entries, slots
        size, dtype = sum(e.size for e in entries), entries[0].dtype
        arrays = [e.values() for e in entries]
        joined = _one_vector(arrays) if bound else None
        if joined is None:
            joined = np.concatenate([a.ravel() for a in arrays], dtype=dtype)
        self.p: Array = joined
        self.g = np.empty(size, dtype)
        self.state = np.empty((len(slots), size), dtype)
        self.before: tuple[Array, Array] | None = None
        start = 0
        places = []
        for e in entries:
            place = slice(start, start := start + e.size)
            held = e.state()
            for slot, row in zip(slots, self.state):
                row[place] = held[slot].ravel() if slot in held else starts(e)[slot]
            places.append(place)
        for e, place in zip(entries, places):
            e.pack, e.place = self, place
            view = self.p[place].reshape(e.shape)
            if bound and not _same_memory(view, e.target.array):
                e.target.array = view

    def remember(self) -> None:
        """Keep what the next step overwrites."""
        if self.before is None:
            self.before = np.empty_like(self.p), np.empty_like(self.state)
        p, state = self.before
        p[...] = self.p                        # half of what np.copyto takes for small vectors
        state[...] = self.state

    def restore(self) -> None:
        """Put back what `remember` kept."""
        assert self.before is not None
        self.p[...], self.state[...] = self.before


def _address(a: Array) -> int:
    return a.__array_interface__["data"][0]


def _same_memory(a: Array, b: Array) -> bool:
    return _address(a) == _address(b) and b.flags.c_contiguous


def _one_vector(arrays: list[Array]) -> Array | None:
    """The vector that the arrays already are, end to end; None if they are not.

    So two optimizers over the same parameters share one vector instead of taking it from each
    other at every step.
    """
    first = arrays[0]
    if not all(a.flags.c_contiguous and a.flags.writeable for a in arrays):
        return None
    if len(arrays) == 1:
        return first.reshape(-1)
    base = first.base
    if not isinstance(base, np.ndarray) or base.ndim != 1 or not base.flags.c_contiguous:
        return None
    start = end = _address(first)
    for a in arrays:
        if a.base is not base or a.dtype != base.dtype or (a.size and _address(a) != end):
            return None
        end += a.nbytes
    offset = (start - _address(base)) // base.itemsize
    return base[offset : offset + (end - start) // base.itemsize]
