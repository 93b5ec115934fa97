"""Which nodes share a loop, and the loops that come of it.

From the last node to the first: a node joins the loop that reads it first, if that goes through the
same space and reads each entry as it is made; otherwise it gets a loop of its own. Loops of one
space that read the same are then joined where nothing stands in between. So a value that only its
own loop reads is never written to memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinygrad_opt.compiler.bound import SETTING
from tinygrad_opt.compiler.native.loops import Loop, Value
from tinygrad_opt.compiler.native.lowering import Check, Entries, Fold, Lowering, Pairs, Scatter
from tinygrad_opt.compiler.program import Call, Program, slots_in

__all__ = ["Fused", "Unit", "fuse", "writes"]

MOST = 24                                # arrays that a loop reads and writes


class Unit:
    """Something that is run as one: a loop, a product, a scattering, or a call by NumPy.

    Attributes
    ----------
    nodes : list
        In the order of the program. A call by NumPy is itself.
    calls : list of int
        The calls of the program that it belongs to.
    space : tuple of int or None
        Lengths of the axes that a loop goes through, without those of length 1.
    """

    def __init__(self, node: Any, call: int, space: tuple[int, ...] | None) -> None:
        self.nodes, self.calls, self.space = [node], [call], space

    @property
    def is_call(self) -> bool:
        return isinstance(self.nodes[0], Call)


def reads(node: Any) -> Iterator[int]:
    """The slots that a node reads."""
    if isinstance(node, Call):
        yield from slots_in((node.inputs, node.attrs))
    elif isinstance(node, Pairs):
        yield from (node.a, node.b)
    elif isinstance(node, Scatter):
        yield from (node.places, node.values, node.out)
    else:
        yield from _leaves(node.term)


def _leaves(term: Any) -> Iterator[int]:
    if isinstance(term, int):
        yield term
    elif term[0] != "number":
        for x in term[2:]:
            yield from _leaves(x)


def writes(node: object) -> int:
    """The slot that a node writes, or -1."""
    return node.output if isinstance(node, Call) else getattr(node, "out", -1)


class Fused:
    """The units of a program, in order."""

    def __init__(self, low: Lowering, nodes: list[tuple[Any, int]], barriers: set[int]) -> None:
        self.low, self.slots = low, low.slots
        self.barriers = barriers                           # calls that may write what is outside
        self.units: list[Unit] = []
        self._place(nodes)
        self._join()

    def root(self, slot: int) -> int:
        base = self.slots[slot].base
        return slot if base < 0 else base

    def read_roots(self, node: object) -> set[int]:
        """The slots that own the memory that a node reads."""
        return set(map(self.root, reads(node)))

    # ---- how a node goes through memory ----

    def order(self, node: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shape of a node's space, and its axes from the largest step to the smallest."""
        if isinstance(node, Entries):
            guide = self.slots[node.out]
            shape = guide.shape
        else:
            shape = node.shape
            whole = (s for s in _leaves(node.term) if self.slots[s].shape == shape)
            first = next(whole, None)
            if first is None:
                return shape, tuple(a for a, n in enumerate(shape) if n != 1)
            guide = self.slots[first]
        axes = [a for a, n in enumerate(shape) if n != 1]
        return shape, tuple(sorted(axes, key=lambda a: -abs(guide.strides[a])))

    def space(self, node: object) -> tuple[int, ...] | None:
        if not isinstance(node, Entries | Fold | Check):
            return None
        shape, axes = self.order(node)
        return tuple(shape[a] for a in axes)

    def strides(self, slot: int, node: object) -> tuple[int, ...]:
        """The steps of a slot along the axes of a node's space; 0 where it is broadcast."""
        shape, axes = self.order(node)
        own = self.slots[slot]
        lead = len(shape) - len(own.shape)
        return tuple(
            own.strides[a - lead] if a >= lead and own.shape[a - lead] != 1 else 0 for a in axes)

    def key(self, slot: int, node: Any) -> Any:
        """The same for slots that a loop meets at the same entries."""
        own = self.slots[slot]
        return self.root(slot), own.offset, self.strides(slot, node), own.dtype

    def _collecting(self, fold: Fold) -> tuple[int, ...]:
        """The steps of what a fold collects, along the axes of its space."""
        shape, axes = self.order(fold)
        out = self.slots[fold.out]
        if len(out.shape) == len(shape):
            steps = dict(enumerate(out.strides))
        else:
            kept = [a for a in range(len(shape)) if a not in fold.axes]
            steps = dict(zip(kept, out.strides))
        return tuple(0 if a in fold.axes else steps[a] for a in axes)

    # ---- which nodes share a loop ----

    def _place(self, nodes: list[tuple[object, int]]) -> None:
        first: dict[int, Unit] = {}                        # that reads a slot
        order: dict[Unit, int] = {}                        # later units have smaller numbers
        barrier = 0                                        # of the first that may write
        units: list[Unit] = []
        for node, call in reversed(nodes):
            out, space = writes(node), self.space(node)
            reader = first.get(self.root(out)) if out >= 0 else None
            unit = None
            if (isinstance(node, Entries) and reader is not None and reader.space == space
                    and order[reader] >= (barrier if self._reads_outside(node) else 0)
                    and self._alike(node, reader)):
                unit = reader
                unit.nodes.insert(0, node)
                unit.calls.insert(0, call)
            if unit is None:
                unit = Unit(node, call, space)
                units.append(unit)
                order[unit] = len(units)
            if call in self.barriers:
                barrier = order[unit]
            for slot in reads(node):
                root = self.root(slot)
                if root not in first or order[unit] > order[first[root]]:
                    first[root] = unit
        self.units = units[::-1]

    def _reads_outside(self, node: object) -> bool:
        """Whether it reads what effects may write."""
        return any(self.slots[r].kind == "leaf" or (
            self.slots[r].kind == "constant" and not self.low.is_frozen(r))
            for r in map(self.root, reads(node)))

    def _alike(self, node: Entries, unit: Unit) -> bool:
        """Whether a loop meets each entry of what a node makes just where it is made."""
        made, root = self.key(node.out, node), self.root(node.out)
        return (all(self.key(slot, other) == made for other in unit.nodes
                    for slot in self._direct(other) if self.root(slot) == root)
                and not any(self.root(slot) == root for other in unit.nodes
                            for slot in self._gathered(other))
                and not any(self.root(writes(other)) == root for other in unit.nodes
                            if writes(other) >= 0)
                and self._width(unit.nodes) < MOST)

    def _direct(self, node: object) -> Iterator[int]:
        """The slots that are read entry by entry."""
        gathered = list(self._gathered(node))
        for slot in reads(node):
            if slot in gathered:
                gathered.remove(slot)
            else:
                yield slot

    def _gathered(self, node: object) -> Iterator[int]:
        """The slots that are read at places that are computed."""
        def inside(term: object) -> Iterator[int]:
            if isinstance(term, tuple) and term[0] != "number":
                if term[0] == "load":
                    yield term[2]
                for x in term[3 if term[0] == "load" else 2 :]:
                    yield from inside(x)
        if hasattr(node, "term"):
            yield from inside(node.term)

    def _width(self, nodes: list[object]) -> int:
        return len({self.root(s) for n in nodes for s in (*reads(n), writes(n)) if s >= 0})

    def _join(self) -> None:
        """Join loops of one space with earlier ones that read or make the same."""
        units = self.units
        made: dict[int, int] = {}                          # where a slot was last written
        barrier = latest = -1                              # behind effects; behind any call
        kept: list[Unit] = []
        for unit in units:
            place = None
            if unit.space is not None:
                ready = max((made.get(self.root(s), -1) for n in unit.nodes for s in reads(n)),
                            default=-1)
                if any(map(self._reads_outside, unit.nodes)):
                    ready = max(ready, barrier)
                if any(isinstance(n, Check) for n in unit.nodes):      # what comes first, happens
                    ready = max(ready, latest)
                for i in range(len(kept) - 1, max(ready, 0) - 1, -1):
                    if kept[i].space == unit.space and self._may_join(kept[i], unit):
                        place = i
                        break
            if place is None:
                kept.append(unit)
                place = len(kept) - 1
            else:
                kept[place].nodes += unit.nodes
                kept[place].calls += unit.calls
            for n in unit.nodes:
                if writes(n) >= 0:
                    root = self.root(writes(n))
                    made[root] = max(made.get(root, -1), place)
            if unit.is_call:
                latest = len(kept)
                if unit.calls[0] in self.barriers:
                    barrier = len(kept)
        self.units = kept

    def _may_join(self, unit: Unit, later: Unit) -> bool:
        keys = {self.key(s, n) for n in unit.nodes for s in self._direct(n)}
        made = {self.key(n.out, n): self.root(n.out) for n in unit.nodes if isinstance(n, Entries)}
        folded = {self.root(n.out) for n in unit.nodes if isinstance(n, Fold)}
        wanted = [self.key(s, n) for n in later.nodes for s in self._direct(n)]
        roots = [self.root(s) for n in later.nodes for s in reads(n)]
        if not any(k in keys or k in made for k in wanted):
            return False
        own = set(made.values())
        return (folded.isdisjoint(roots)
                and all(k in made for k in wanted if k[0] in own)
                and own.isdisjoint(self.root(s) for n in later.nodes for s in self._gathered(n))
                and not any(self.root(writes(n)) in own for n in later.nodes if writes(n) >= 0)
                and self._width(unit.nodes + later.nodes) <= MOST)

    # ---- what is kept in memory ----

    def stored(self, ends: set[int]) -> set[int]:
        """The slots that own memory which other units than the one that makes them read."""
        home: dict[int, set[int]] = {}
        for i, unit in enumerate(self.units):
            for n in unit.nodes:
                if writes(n) >= 0:
                    home.setdefault(self.root(writes(n)), set()).add(i)
        wanted = set(ends)
        for i, unit in enumerate(self.units):
            for n in unit.nodes:
                wanted |= {r for r in map(self.root, reads(n))
                           if not isinstance(n, Entries | Fold | Check) or home.get(r) != {i}}
                if isinstance(n, Fold):
                    wanted.add(self.root(n.out))
        return wanted

    # ---- the loop of a unit ----

    def loop(self, unit: Unit, stored: set[int]) -> tuple[Loop, list[int]]:
        """The loop of a unit, and the slots of its arrays in their order."""
        return _Building(self, unit, stored).result()


def fuse(program: Program) -> Fused:
    """The units of a program."""
    low, nodes, barriers = Lowering(program), [], set()
    for i, call in enumerate(program.calls):
        lowered = low.of(call)
        nodes += [(node, i) for node in ([call] if lowered is None else lowered)]
        if call.is_effect and lowered is None and call.kernel not in SETTING:
            barriers.add(i)
    return Fused(low, nodes, barriers)


class _Building:
    """The values of a loop, numbered; equal ones are computed once."""

    def __init__(self, fused: Fused, unit: Unit, stored: set[int]) -> None:
        self.fused, self.unit, self.stored = fused, unit, stored
        self.arrays: list[tuple[str, tuple[int, ...]]] = []
        self.slots: list[int] = []
        self.values: list[Value] = []
        self.known: dict[Any, int] = {}                    # what was computed or loaded -> value

    def result(self) -> tuple[Loop, list[int]]:
        stores, folds, checks = [], [], []
        for node in self.unit.nodes:
            value = self.value(node.term, node)
            if isinstance(node, Entries):
                self.known[self.fused.key(node.out, node)] = value
                if self.fused.root(node.out) in self.stored:
                    stores.append((value, self.array(
                        node.out, self.fused.strides(node.out, node))))
            elif isinstance(node, Fold):
                array = self.array(node.out, self.fused._collecting(node))
                folds.append((node.name, value, array))
            else:
                checks.append(value)
        loop = Loop(self.unit.space or (), tuple(self.arrays), tuple(self.values), tuple(stores),
                    tuple(folds), tuple(checks))
        return loop.merged(), self.slots

    def array(self, slot: int, strides: tuple[int, ...]) -> int:
        """The number of an array; what is read and written at the same entries is one."""
        own = self.fused.slots[slot]
        key = "array", self.fused.root(slot), own.offset, strides, own.dtype
        if key not in self.known:
            self.known[key] = len(self.slots)
            self.arrays.append((self.fused.low.dtype(slot), strides))
            self.slots.append(slot)
        return self.known[key]

    def value(self, term: Any, node: Any) -> int:
        """The number of a term's value."""
        if isinstance(term, int):
            key = self.fused.key(term, node)
            if key not in self.known:
                array = self.array(term, self.fused.strides(term, node))
                self.known[key] = self._new("load", self.fused.low.dtype(term), (array,))
            return self.known[key]
        name, dtype, *operands = term
        if name == "number":
            return self._shared(term, name, dtype, tuple(operands))
        if name == "load":
            slot, where = operands
            place = self.value(where, node)
            key = "gathered", self.fused.key(slot, node), place
            if key not in self.known:
                array = self.array(slot, self.fused.strides(slot, node))
                self.known[key] = self._new("load", dtype, (array, place))
            return self.known[key]
        numbers = tuple(self.value(x, node) for x in operands)
        if name == "positive" and self.values[numbers[0]].dtype == dtype:
            return numbers[0]
        return self._shared((name, dtype, numbers), name, dtype, numbers)

    def _shared(self, key: object, name: str, dtype: str, operands: tuple[object, ...]) -> int:
        if key not in self.known:
            self.known[key] = self._new(name, dtype, operands)
        return self.known[key]

    def _new(self, name: str, dtype: str, operands: tuple[object, ...]) -> int:
        self.values.append(Value(name, dtype, operands))
        return len(self.values) - 1

