"""Many small arrays as one vector: what makes a step cost the same for 4 and for 40 of them.

    Entry   one parameter: its name, where its values live, what the rule keeps for it
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
    """One parameter.

    Attributes
    ----------
    name : str
    target : Tensor or array
        The parameter itself, or the caller's array; None before it has been seen.
    index : int
        Its place among all parameters.
    place : slice
        Its place in the vectors of its pack.
    value : array or None
        Its part of the vector of parameters, in its shape; None before it is packed.
    state : dict of str to array
        What the rule keeps for it, in its shape.
    """

    __slots__ = ("dtype", "index", "name", "place", "shape", "size", "state", "target", "value")

    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any, index: int,
                 target: Any = None) -> None:
        self.name, self.shape, self.dtype, self.index = name, tuple(shape), np.dtype(dtype), index
        self.size = int(np.prod(shape, dtype=object))
        self.target = target
        self.place = slice(0, 0)
        self.value: Array | None = None
        self.state: dict[str, Array] = {}

    def values(self) -> Array:
        """Where the parameter's values live."""
        return self.target.array if type(self.target) is Tensor else self.target

    def part(self, vector: Array) -> Array:
        """Its part of a vector beside that of the parameters, in its shape."""
        return vector[self.place].reshape(self.shape)

    def in_place(self) -> bool:
        """Whether the values still live where they were packed."""
        values = self.values()
        return (self.value is not None and values.shape == self.shape
                and _same_memory(self.value, values))


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
        self, entries: list[Entry], slots: tuple[str, ...],
        starts: Callable[[Entry], dict[str, float]], bound: bool,
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
        for e in entries:
            e.place = slice(start, start := start + e.size)
            for slot, row in zip(slots, self.state):
                row[e.place] = e.state[slot].ravel() if slot in e.state else starts(e)[slot]
            e.state = {slot: e.part(row) for slot, row in zip(slots, self.state)}
            e.value = e.part(self.p)
        for e in entries:
            if bound and not e.in_place():
                e.target.array = e.value

    def remember(self) -> None:
        """Keep what the next step overwrites."""
        if self.before is None:
            self.before = np.empty_like(self.p), np.empty_like(self.state)
        p, state = self.before
        p[...] = self.p                        # half of what np.copyto takes for small vectors
        state[...] = self.state


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
