"""Which nodes share a loop, and the loops that come of it.

From the last node to the first: a node joins the loop that reads it first, if that goes through the
same space and reads each entry as it is made; otherwise it gets a loop of its own. Loops of one
space that read the same are then joined where nothing stands in between. So a value that only its
own loop reads is never written to memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinygrad_opt.compiler.native.loops import Loop, Values, scattering
from tinygrad_opt.compiler.native.lowering import (
    Check,
    Entries,
    Fold,
    Looped,
    Lowering,
    Node,
    Scatter,
    Term,
    reads,
    slots_of,
    writes,
)
from tinygrad_opt.compiler.program import SETTING, Call, Program, row_major, slots_in
from tinygrad_opt.typing import Shape

__all__ = ["Fused", "Unit", "fuse"]

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

    def __init__(self, node: Node, call: int, space: Shape | None) -> None:
        self.nodes, self.calls, self.space = [node], [call], space

    @property
    def call(self) -> Call | None:
        """The call that NumPy makes, if it is one."""
        node = self.nodes[0]
        return node if isinstance(node, Call) else None

    @property
    def looped(self) -> list[Looped]:
        """The nodes of a loop."""
        return [node for node in self.nodes if isinstance(node, Looped)]


class Fused:
    """The units of a program, in order."""

    def __init__(self, low: Lowering, nodes: list[tuple[Node, int]], barriers: set[int]) -> None:
        self.low, self.slots = low, low.slots
        self.barriers = barriers                           # calls that may write what is outside
        self.units: list[Unit] = []
        self._place(nodes)
        self._join()

    def root(self, slot: int) -> int:
        base = self.slots[slot].base
        return slot if base < 0 else base

    def read_roots(self, node: Node) -> set[int]:
        """The slots that own the memory that a node reads."""
        return set(map(self.root, reads(node)))

    def written_root(self, node: Node) -> int:
        """The slot that owns the memory that a node writes, or -1."""
        slot = writes(node)
        return slot if slot < 0 else self.root(slot)

    # ---- how a node goes through memory ----

    def order(self, node: Looped) -> tuple[Shape, Shape]:
        """The shape of a node's space, and its axes from the largest step to the smallest."""
        if isinstance(node, Entries):
            shape, steps = self.slots[node.out].shape, self.slots[node.out].strides
        else:
            shape = node.shape
            steps = next((self.slots[s].strides for s, _ in slots_of(node.term)
                          if self.slots[s].shape == shape), row_major(shape, 1))
        axes = [a for a, n in enumerate(shape) if n != 1]
        return shape, tuple(sorted(axes, key=lambda a: -abs(steps[a])))

    def space(self, node: Node) -> Shape | None:
        if not isinstance(node, Looped):
            return None
        shape, axes = self.order(node)
        return tuple(shape[a] for a in axes)

    def strides(self, slot: int, node: Looped) -> Shape:
        """The steps of a slot along the axes of a node's space; 0 where it is broadcast."""
        shape, axes = self.order(node)
        own = self.slots[slot]
        lead = len(shape) - len(own.shape)
        return tuple(
            own.strides[a - lead] if a >= lead and own.shape[a - lead] != 1 else 0 for a in axes)

    def key(self, slot: int, node: Looped) -> tuple[object, ...]:
        """The same for slots that a loop meets at the same entries."""
        own = self.slots[slot]
        return self.root(slot), own.offset, self.strides(slot, node), own.dtype

    def _collecting(self, fold: Fold) -> Shape:
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

    def _place(self, nodes: list[tuple[Node, int]]) -> None:
        first: dict[int, Unit] = {}                        # that reads a slot
        order: dict[Unit, int] = {}                        # later units have smaller numbers
        barrier = 0                                        # of the first that may write
        ends = set(map(self.root, slots_in(self.low.program.result)))
        for node, call in reversed(nodes):
            space = self.space(node)
            unit = first.get(self.written_root(node))
            if unit is None and isinstance(node, Entries) and self.written_root(node) not in ends:
                continue                                   # a stack of which the parts are read
            if (unit is not None and isinstance(node, Entries) and unit.space == space
                    and order[unit] >= (barrier if self._reads_outside(node) else 0)
                    and self._alike(node, unit)):
                unit.nodes.insert(0, node)
                unit.calls.insert(0, call)
            else:
                unit = Unit(node, call, space)
                order[unit] = len(order) + 1
            if call in self.barriers:
                barrier = order[unit]
            for root in self.read_roots(node):
                if root not in first or order[unit] > order[first[root]]:
                    first[root] = unit
        self.units = [*order][::-1]

    def _reads_outside(self, node: Node) -> bool:
        """Whether it reads what effects may write."""
        return any(self.slots[r].kind == "leaf" or (
            self.slots[r].kind == "constant" and not self.slots[r].is_frozen)
            for r in self.read_roots(node))

    def _alike(self, node: Entries, unit: Unit) -> bool:
        """Whether a loop meets each entry of what a node makes just where it is made."""
        made, root = self.key(node.out, node), self.root(node.out)
        return (all(not gathered and self.key(slot, other) == made for other in unit.looped
                    for slot, gathered in slots_of(other.term) if self.root(slot) == root)
                and root not in map(self.written_root, unit.nodes)
                and self._width(unit.nodes) < MOST)

    def _width(self, nodes: Iterable[Node]) -> int:
        return len({self.root(s) for n in nodes for s in (*reads(n), writes(n)) if s >= 0})

    def _join(self) -> None:
        """Join loops of one space with earlier ones that read or make the same."""
        made: dict[int, int] = {}                          # where a slot was last written
        barrier = latest = -1                              # behind effects; behind any call
        kept: list[Unit] = []
        for unit in self.units:
            place = None
            if unit.space is not None:
                ready = max((made.get(r, -1) for n in unit.nodes for r in self.read_roots(n)),
                            default=-1)
                if any(map(self._reads_outside, unit.nodes)):
                    ready = max(ready, barrier)
                if any(isinstance(n, Check) for n in unit.nodes):      # what comes first, happens
                    ready = max(ready, latest)
                place = next((i for i in range(len(kept) - 1, max(ready, 0) - 1, -1)
                              if self._may_join(kept[i], unit)), None)
            if place is None:
                kept.append(unit)
                place = len(kept) - 1
            else:
                kept[place].nodes += unit.nodes
                kept[place].calls += unit.calls
            for root in map(self.written_root, unit.nodes):
                made[root] = max(made.get(root, -1), place)
            if unit.call is not None:
                latest = len(kept)
                if unit.calls[0] in self.barriers:
                    barrier = len(kept)
        self.units = kept

    def _may_join(self, unit: Unit, later: Unit) -> bool:
        if unit.space != later.space:
            return False
        earlier, wanted = [*self._terms(unit)], [*self._terms(later)]
        keys = {key for key, _, gathered in earlier if not gathered}
        made = {self.key(n.out, n) for n in unit.nodes if isinstance(n, Entries)}
        own = {self.root(n.out) for n in unit.nodes if isinstance(n, Entries)}
        folded = {self.root(n.out) for n in unit.nodes if isinstance(n, Fold)}
        return (any(key in keys or key in made for key, _, gathered in wanted if not gathered)
                and all(root not in folded and (root not in own or (key in made and not gathered))
                        for key, root, gathered in wanted)
                and own.isdisjoint(map(self.written_root, later.nodes))
                and self._width(unit.nodes + later.nodes) <= MOST)

    def _terms(self, unit: Unit) -> Iterator[tuple[tuple[object, ...], int, bool]]:
        """What a loop reads: by which key, whose memory, and whether at places."""
        for node in unit.looped:
            for slot, gathered in slots_of(node.term):
                yield self.key(slot, node), self.root(slot), gathered

    # ---- what is kept in memory ----

    def stored(self, ends: set[int]) -> set[int]:
        """The slots that own memory which other units than the one that makes them read."""
        home: dict[int, set[int]] = {}
        for i, unit in enumerate(self.units):
            for n in unit.nodes:
                home.setdefault(self.written_root(n), set()).add(i)
        wanted = set(ends)
        for i, unit in enumerate(self.units):
            for n in unit.nodes:
                wanted |= {r for r in self.read_roots(n)
                           if not isinstance(n, Looped) or home.get(r) != {i}}
                if isinstance(n, Fold):
                    wanted.add(self.root(n.out))
        return wanted

    def lifetimes(self, ends: set[int]) -> dict[int, int]:
        """Of each slot that owns memory, the place of the unit that needs it last."""
        last: dict[int, int] = {}
        for i, unit in enumerate(self.units):
            end = len(self.units) if unit.call is not None and unit.call.is_effect else i
            for node in unit.nodes:
                for root in self.read_roots(node):
                    last[root] = max(end, last.get(root, 0))
                last.setdefault(self.written_root(node), i)
        return last | dict.fromkeys(ends, len(self.units))

    # ---- the loop of a unit ----

    def loop(self, unit: Unit, stored: set[int]) -> tuple[Loop, list[int]]:
        """The loop of a unit, and the slots of its arrays in their order."""
        node = unit.nodes[0]
        if not isinstance(node, Scatter):
            return _Building(self, unit, stored).result()
        slots = [node.out, node.places, node.values]
        into, places, values = (self.slots[s] for s in slots)
        inner = into.strides[1:] if node.adds else ()
        return scattering(
            self.low.dtype(node.out), values.shape,
            (0,) * (len(values.shape) - len(inner)) + inner, places.strides, values.strides,
            node.adds), slots


def fuse(program: Program) -> Fused:
    """The units of a program."""
    low, barriers = Lowering(program), set()
    nodes: list[tuple[Node, int]] = []
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
        self.arrays: list[tuple[str, Shape]] = []
        self.slots: list[int] = []
        self.values = Values()
        self.known: dict[object, int] = {}                 # what was computed or loaded -> value

    def result(self) -> tuple[Loop, list[int]]:
        stores, folds, checks = [], [], []
        for node in self.unit.looped:
            value = self.value(node.term, node)
            if isinstance(node, Entries):
                self.known[self.fused.key(node.out, node)] = value
                if self.fused.root(node.out) in self.stored:
                    stores.append((value, self.array(node.out, node)))
            elif isinstance(node, Fold):
                folds.append((node.name, value, self.array(node.out, node)))
            else:
                checks.append(value)
        loop = Loop(self.unit.space or (), tuple(self.arrays), tuple(self.values), tuple(stores),
                    tuple(folds), tuple(checks))
        return loop.merged(), self.slots

    def array(self, slot: int, node: Looped) -> int:
        """The number of an array; what is read and written at the same entries is one."""
        own, fused = self.fused.slots[slot], self.fused
        if isinstance(node, Fold) and node.out == slot:
            strides = fused._collecting(node)
        else:
            strides = fused.strides(slot, node)
        key = "array", fused.root(slot), own.offset, strides, own.dtype
        if key not in self.known:
            self.known[key] = len(self.slots)
            self.arrays.append((fused.low.dtype(slot), strides))
            self.slots.append(slot)
        return self.known[key]

    def value(self, term: Term, node: Looped) -> int:
        """The number of a term's value."""
        if isinstance(term, int):
            key = self.fused.key(term, node)
            if key not in self.known:
                self.known[key] = self.values.new(
                    "load", self.fused.low.dtype(term), self.array(term, node))
            return self.known[key]
        name, dtype, operands, text = term
        if name == "gathered":
            slot, where = operands
            assert isinstance(slot, int)
            place = self.value(where, node)
            return self._new((name, self.fused.key(slot, node), place), "load", dtype,
                             self.array(slot, node), place)
        numbers = tuple(self.value(x, node) for x in operands)
        if name == "positive" and self.values[numbers[0]].dtype == dtype:
            return numbers[0]
        return self._new((name, dtype, numbers, text), name, dtype, *numbers, text=text)

    def _new(self, key: object, name: str, dtype: str, *operands: int, text: str = "") -> int:
        if key not in self.known:
            self.known[key] = self.values.new(name, dtype, *operands, text=text)
        return self.known[key]
