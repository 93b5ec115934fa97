"""A compiled step as a graph: a box for each call of its latest program, numbered in order.

A program is plain data (tinygrad_opt.compiler.program), and nothing but its documented attributes
is read here. Calls are told apart by what needs them, which the data decides:

    forward     what the result is made of
    backward    what gradients are made of, and the result is not
    update      what neither needs: what is done to the optimizer, and what that needs

These are the passes of a step that returns its loss; where the result is made of gradients, or
of nothing, all is one part. An effect belongs with what it reads. `parts` makes of this what can
be looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from tinygrad_opt.errors import CaptureError
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.viz.graph.model import Edge, Graph, Node, Row, arrows, counted
from tinygrad_opt.viz.graph.parts import BACKWARD, FORWARD, UPDATE, readable_parts
from tinygrad_opt.viz.graph.text import number, options, shorten, visible
from tinygrad_opt.viz.graph.trace import COMMUTE, scope_of

__all__ = ["is_step", "program_graph"]

GIVING = {"deliver", "set_gradient"}       # effects that hand gradients over


def is_step(what: object) -> bool:
    """Whether it is a step made by `compile`."""
    return callable(what) and isinstance(getattr(what, "programs", None), dict)


def program_graph(
    step: Any, *, detail: int | None = None, direction: str = "LR", name: str | None = None,
    max_nodes: int | None = 300, depth: int | None = None,
) -> Graph:
    """The latest program of a compiled step as a graph.

    Parameters
    ----------
    step : CompiledStep
        What ``tg.compile(f)`` returns, after a call.
    detail, direction, name, max_nodes, depth
        As for ``draw``; ``detail=2`` adds the memory that each call writes to.

    Returns
    -------
    Graph

    Raises
    ------
    CaptureError
        If the step has not been called yet.
    """
    if not step.programs:
        raise CaptureError(
            f"{step.name} has not been called yet: its first call writes the program down that is"
            " to be drawn")
    bound = next(reversed(step.programs.values()))
    listed = _Listed(bound, 2 if detail is None else detail)
    graph = listed.graph(shorten(visible(name or step.name), 80), direction)
    return readable_parts(graph, max_nodes, depth)


# ---- boxes and arrows ----------------------------------------------------------------------------


class _Listed:
    """A program written down as boxes; call k is box ``nk``, counted from 1."""

    def __init__(self, bound: Any, detail: int) -> None:
        self.bound, self.program, self.detail = bound, bound.program, detail
        self.slots, self.names = self.program.slots, self.program.names()
        self.lines = self.program.lines()
        self.ids = {call.output: f"n{k}" for k, call in enumerate(self.program.calls, 1)
                    if not call.is_effect}
        self.results = self.program.ends()
        self.gradients = dict(self._gradients())
        self.nodes: dict[str, Node] = {}
        self.further = itertools.count(len(self.lines) + 1)
        self.tensors = {id(array): t for t, array in self.program.leaves}
        self.sharing: dict[int, list[int]] = {}
        for slot, block in bound.blocks.items():
            self.sharing.setdefault(block, []).append(slot)

    def graph(self, name: str, direction: str) -> Graph:
        """All of it, each array that is taken from outside as one box."""
        edges: list[Edge] = []
        waiting = ""                                       # an effect that another one follows
        for k, (call, part) in enumerate(zip(self.program.calls, self._parts())):
            id = f"n{k + 1}"
            uses = list(self._uses(call))
            self.nodes[id] = self._box(id, call, visible(self.lines[k]), part)
            ordered = not call.is_effect and call.name not in COMMUTE and len(uses) > 1
            edges += arrows(uses, id, ordered)
            if call.is_effect and not uses:
                edges += [Edge(waiting, id)] if waiting else []
                waiting = id
        ends = [self._made(slot) for slot in sorted(self.results)]
        nodes = self.nodes or {"n1": Node("n1", "constant", "no calls")}
        taken = [n.size for n in nodes.values() if n.kind == "parameter"]
        calls, blocks = counted(len(self.lines), "call"), counted(len(self.sharing), "block")
        return Graph(name, nodes, tuple(edges), notes=(
            f"{calls}, {blocks} of memory, {_bytes(self.bound.nbytes)}",
        ), direction=direction, end=ends[0] if ends else next(reversed(nodes)),
            parameters=(len(taken), sum(taken)))

    def _uses(self, call: Any) -> Iterator[tuple[str, int, str]]:
        """The arrays that a call takes: the box of each, its place, and the part taken.

        A number that nobody can change stands in the title.
        """
        given = self.program.slots_in((call.inputs, call.attrs))
        taken = [s for s in given if self._number(s) is None]
        for place, s in enumerate(taken, 1):
            root = self.program.root(s)
            view, whole = self.slots[s], self.slots[root]
            same = (view.shape, view.strides) == (whole.shape, whole.strides)
            part = "" if same else self.program.part(s).replace(" ", "")
            told = len(part) <= 16 and not part.startswith("[")
            yield self._made(root), place, part if told else "[part]"

    def _number(self, slot: int) -> str | None:
        """The value of a constant with one entry that nobody can write to."""
        s = self.slots[slot]
        fixed = s.kind == "constant" and s.array.size == 1 and not s.array.flags.writeable
        return number(s.array.item()) if fixed else None

    def _box(self, id: str, call: Any, line: str, part: int) -> Node:
        tip = shorten(line, 200)
        if call.is_effect:
            whose = [x for x in call.inputs if x is None or type(x) is Tensor]
            told = ", ".join("None" if x is None else x.name or "·" for x in whose)
            title = f"{call.name}({told})" if any(x is not None for x in whose) else call.name
            return Node(id, "effect", visible(title), f"#{id[1:]}", tip=tip, part=part, sign=id)
        slot, title = self.slots[call.output], self._title(call)
        rows = self._shape(slot)
        if self.detail >= 1 and call.output in self.gradients:
            rows.append(Row("grad", shorten(visible(self.gradients[call.output]), 24)))
        if self.detail >= 2:
            rows.append(Row("block", self._memory(call)))
        sharing = self.sharing.get(self.bound.blocks.get(call.output), [])
        others = [f"#{self.ids[s][1:]}" for s in sharing if s != call.output]
        if others:
            tip += shorten(f"\nits memory is also that of {', '.join(others)}", 200)
        return Node(id, "loss" if call.output in self.results else "op", title, f"#{id[1:]}",
                    tuple(rows), size=max(slot.nbytes // slot.dtype.itemsize, 1), tip=tip,
                    part=part, sign=(title, slot.shape, slot.dtype))

    def _title(self, call: Any) -> str:
        """``maximum(·, 0)``: the kernel, with the numbers that it is given."""
        words = list(filter(None, map(self._word, call.inputs)))
        words = words if set(words) - {"·"} else []
        words += options({k: v for k, v in call.attrs.items() if not self.program.slots_in(v)}, 12)
        return str(call.name) + (f"({', '.join(words)})" if words else "")

    def _word(self, x: object) -> str:
        """A number as it is, a dot for an array, nothing for the rest."""
        if isinstance(x, bool | int | float | complex):
            return str(x) if isinstance(x, complex) else number(x)
        here = self.program.slots_in(x)
        return (self._number(here[0]) if len(here) == 1 else "") or ("·" if here else "")

    def _memory(self, call: Any) -> str:
        """Which block a call writes to, and whether over what it reads."""
        blocks = self.bound.blocks
        block = blocks.get(call.output)
        if block is None:
            return "none: in registers"                    # of machine code
        over = any(blocks.get(s) == block for s in self.program.reads(call))
        size = _bytes(self.slots[call.output].nbytes)
        return f"{block}  {size}{', in place' if over else ''}"

    def _made(self, slot: int) -> str:
        """The box of the call that makes this array, or one for what comes from outside."""
        if slot not in self.ids:
            box = self.ids[slot] = f"n{next(self.further)}"
            self.nodes[box] = self._outside(box, slot)
        return self.ids[slot]

    def _outside(self, box: str, slot: int) -> Node:
        """An array that no call makes: an argument, a Tensor's own, or a constant."""
        s, title = self.slots[slot], visible(self.names[slot])
        tensor = self.tensors.get(id(s.array)) if s.kind == "leaf" else None
        kind, tag, scope, sign = "input", "", scope_of(title), ""
        if tensor is not None and tensor._needs_grad:
            kind, tag = "parameter", "param"
        elif s.kind == "constant":
            fixed = s.array.size and not s.array.flags.writeable
            if fixed and (s.array == s.array.flat[0]).all():
                title = f"all {number(s.array.flat[0])}"
            kind, sign = "constant", title
        return Node(box, kind, title, tag, tuple(self._shape(s)), scope, tensor,
                    s.nbytes // s.dtype.itemsize, f"{title} {s.shape} {s.dtype}",
                    sign=(kind, s.shape, s.dtype, sign))

    def _shape(self, slot: Any) -> list[Row]:
        """What a box says first, unless it has names only."""
        return [Row("shape", f"{slot.shape}  {slot.dtype}")] if self.detail >= 1 else []

    # ---- what needs a call ----

    def _gradients(self) -> Iterator[tuple[int, str]]:
        """The slots that are handed over as gradients, and the names of whose they are."""
        for call in self.program.calls:
            if call.is_effect and call.name in GIVING:
                pairs = [call.inputs] if call.name == "set_gradient" else call.inputs[0]
                for tensor, given in pairs:
                    for slot in self.program.slots_in(given):
                        yield self.program.root(slot), tensor.name or "a Tensor"

    def _parts(self) -> list[int]:
        """The part of each call."""
        calls = self.program.calls
        for_result = self._ancestors(self.results)
        if for_result & self.gradients.keys() or not for_result & self.ids.keys():
            return [FORWARD] * len(calls)
        for_gradients = self._ancestors(self.gradients)
        part = {s: FORWARD if s in for_result else BACKWARD if s in for_gradients else UPDATE
                for s in self.ids}
        return [max((part[s] for s in self.program.reads(call) if s in part), default=UPDATE)
                if call.is_effect else part[call.output] for call in calls]

    def _ancestors(self, slots: Iterable[int]) -> set[int]:
        """These slots and all that they are made of."""
        found = set(slots)
        for call in reversed(self.program.calls):          # each reads what earlier ones made
            if not call.is_effect and call.output in found:
                found.update(self.program.reads(call))
        return found


# ---- small things --------------------------------------------------------------------------------


def _bytes(n: int) -> str:
    """``77 kB``: bytes in thousands."""
    k = min((len(str(n)) - 1) // 3, 3)
    return f"{n / 1000**k:.3g} {('B', 'kB', 'MB', 'GB')[k]}"
