"""Many small arrays as one vector: what makes a step cost the same for 4 and for 40 of them.

    Entry   one parameter: its name, where its values live, how often it has been updated
    Pack    the parameters of one dtype end to end in one vector, their state beside them
    Run     neighbours in a pack that share their options, updated by one call of the rule
    Plan    what a step does, as long as the parameters and their options stay as they are
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter, is_
from typing import Any

import numpy as np

from tinygrad_opt.tensor import Tensor

__all__ = ["BLOCK", "Array", "Entry", "Pack", "Plan", "Run", "runs_of"]

Array = np.ndarray[Any, Any]

BLOCK = 1 << 16          # numbers that a rule works on at a time, so that they stay in the cache
REMEMBER = 1 << 15       # up to so many numbers in all, what a step overwrites is kept

_array_of = attrgetter("array")
_shape_of = attrgetter("shape")


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

    def packed(self) -> Array:
        """Its part of the pack, in its shape."""
        assert self.pack is not None
        return self.pack.p[self.place].reshape(self.shape)

    def state(self) -> dict[str, Array]:
        """What the rule keeps for this parameter, as views in its shape."""
        if self.pack is None:
            return {}
        rows = zip(self.pack.slots, self.pack.state)
        return {slot: row[self.place].reshape(self.shape) for slot, row in rows}


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
        np.copyto(self.before[0], self.p)
        np.copyto(self.before[1], self.state)

    def restore(self) -> None:
        """Put back what `remember` kept."""
        assert self.before is not None
        np.copyto(self.p, self.before[0])
        np.copyto(self.state, self.before[1])


class Run:
    """Neighbours in one pack with the same options and count, updated by one call of the rule."""

    __slots__ = ("blocks", "entries", "options", "pack", "place", "t")

    def __init__(self, entries: list[Entry], options: Any, scratch: dict[Any, list[Array]]) -> None:
        pack = entries[0].pack
        assert pack is not None
        self.entries, self.options, self.pack = entries, options, pack
        self.t = entries[0].t
        self.place = slice(entries[0].place.start, entries[-1].place.stop)
        rows = [pack.state[pack.slots.index(slot)] for slot in options.accumulators()]
        spare = scratch[pack.p.dtype]
        self.blocks = []
        for start in range(self.place.start, self.place.stop, BLOCK):
            part = slice(start, min(start + BLOCK, self.place.stop))
            n = part.stop - part.start
            state = [row[part] for row in rows]
            self.blocks.append(
                (pack.p[part], pack.g[part], (*state, *(s[:n] for s in spare[1:])),
                 spare[0][:n])
            )


def runs_of(
    pack: Pack, active: set[str], options: dict[str, Any], scratch: dict[Any, list[Array]]
) -> list[Run]:
    """The active parameters of a pack, neighbours with equal options and counts together."""
    groups: list[list[Entry]] = []
    for e in (e for e in pack.entries if e.name in active):
        last = groups[-1][-1] if groups else None
        if (last is not None and last.place.stop == e.place.start and last.t == e.t
                and options[last.name] is options[e.name]):
            groups[-1].append(e)
        else:
            groups.append([e])
    return [Run(group, options[group[0].name], scratch) for group in groups]


class Plan:
    """What a step does, as long as parameters, options and the set of gradients stay the same."""

    def __init__(
        self,
        entries: list[Entry],
        packs: list[Pack],
        shapes: list[tuple[int, ...] | None],
        runs: list[Run],
    ) -> None:
        self.packs, self.runs, self.shapes = packs, runs, shapes
        self.arrays = [e.values() for e in entries]
        self.remembers = sum(p.p.size for p in packs) <= REMEMBER
        self.active = [e for run in runs for e in run.entries]
        place_of = {e.name: i for i, e in enumerate(entries)}
        self.order = [place_of[e.name] for e in self.active]
        self.whole = self.order == list(range(len(entries)))
        self.gathers: list[tuple[int, int, Array]] = []
        start = 0
        for pack in packs:
            for first, last in _stretches([e for e in self.active if e.pack is pack]):
                stop = start + len(last)
                place = slice(first.place.start, last[-1].place.stop)
                self.gathers.append((start, stop, pack.g[place]))
                start = stop

    def fits(self, targets: Sequence[Any], gradients: list[Any]) -> bool:
        """Whether the plan still holds: same memory, and gradients for the same parameters."""
        if not all(map(is_, map(_array_of, targets), self.arrays)):
            return False
        try:
            return list(map(_shape_of, gradients)) == self.shapes
        except AttributeError:                                       # some are None
            return [getattr(g, "shape", None) for g in gradients] == self.shapes

    def gather(self, gradients: list[Any]) -> None:
        """Lay the gradients end to end, as the parameters are."""
        if not self.whole:
            gradients = [gradients[i] for i in self.order]
        flat = [g.ravel() for g in gradients]
        for start, stop, out in self.gathers:
            np.concatenate(flat[start:stop], out=out)

    def collect(self) -> None:
        """Copy the values of an unbound optimizer's arrays in."""
        for e in self.active:
            np.copyto(e.packed(), e.target)

    def scatter(self) -> None:
        """Copy them out again."""
        for e in self.active:
            np.copyto(e.target, e.packed())


def _stretches(entries: list[Entry]) -> Iterator[tuple[Entry, list[Entry]]]:
    """Entries that follow each other without a gap."""
    stretch: list[Entry] = []
    for e in entries:
        if stretch and stretch[-1].place.stop != e.place.start:
            yield stretch[0], stretch
            stretch = []
        stretch.append(e)
    if stretch:
        yield stretch[0], stretch


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
