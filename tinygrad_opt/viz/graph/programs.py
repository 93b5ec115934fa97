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

from collections.abc import Iterable, Iterator
from typing import Any

from tinygrad_opt.errors import CaptureError
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.viz.graph.model import Edge, Graph, Node, Row, arrows, counted
from tinygrad_opt.viz.graph.parts import BACKWARD, FORWARD, UPDATE, Parts, readable_parts
from tinygrad_opt.viz.graph.text import number, shorten, visible
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
    return readable_parts(graph, Parts(listed.part, listed.sign), max_nodes, depth)


# ---- boxes and arrows ----------------------------------------------------------------------------


class _Listed:
    """A program written down as boxes; call k is box ``nk``, counted from 1.

    Attributes
    ----------
    part, sign : dict
        As in `Parts`.
    """

    def __init__(self, bound: Any, detail: int) -> None:
        self.bound, self.program, self.detail = bound, bound.program, detail
        self.slots, self.names = self.program.slots, self.program.names()
        self.lines = self.program.lines()
        self.ids = {call.output: f"n{k}" for k, call in enumerate(self.program.calls, 1)
                    if not call.is_effect}
        self.results = set(map(self.program.root, _slots_in(self.program.result)))
        self.gradients = dict(self._gradients())
        self.part = self._parts()
        self.sign: dict[str, object] = {}
        self.outside: list[int] = []
        self.tensors = {id(array): t for t, array in self.program.leaves}
        self.sharing: dict[int, list[int]] = {}
        for slot, block in bound.blocks.items():
            self.sharing.setdefault(block, []).append(slot)

    def graph(self, name: str, direction: str) -> Graph:
        """All of it, each array that is taken from outside as one box."""
        nodes: dict[str, Node] = {}
        edges: list[Edge] = []
        waiting = ""                                       # an effect that another one follows
        for k, (call, line) in enumerate(zip(self.program.calls, self.lines), 1):
            id = f"n{k}"
            uses = list(self._uses(call))
            self._add_outside(nodes, [s for s, _, _ in uses])
            nodes[id] = self._box(id, call, line)
            ordered = not call.is_effect and call.name not in COMMUTE and len(uses) > 1
            edges += arrows([(self.ids[s], place, part) for s, place, part in uses], id, ordered)
            if call.is_effect and not uses:
                edges += [Edge(waiting, id)] if waiting else []
                waiting = id
        self._add_outside(nodes, sorted(self.results))
        if not nodes:
            nodes["n1"] = Node("n1", "constant", "no calls")
        end = next((self.ids[s] for s in sorted(self.results)), next(reversed(nodes)))
        taken = [n.size for n in nodes.values() if n.kind == "parameter"]
        calls, blocks = counted(len(self.lines), "call"), counted(len(self.sharing), "block")
        return Graph(name, nodes, tuple(edges), notes=(
            f"{calls}, {blocks} of memory, {_bytes(self.bound.nbytes)}",
        ), direction=direction, end=end, parameters=(len(taken), sum(taken)))

    def _uses(self, call: Any) -> Iterator[tuple[int, int, str]]:
        """The arrays that a call takes: the slot that owns each, its place, and the part taken.

        A number that nobody can change stands in the title.
        """
        taken = [s for s in _slots_in((call.inputs, call.attrs)) if self._number(s) is None]
        for place, s in enumerate(taken, 1):
            root = self.program.root(s)
            view, whole = self.slots[s], self.slots[root]
            same = (view.shape, view.strides) == (whole.shape, whole.strides)
            part = "" if same else self.program.part(s).replace(" ", "")
            told = len(part) <= 16 and not part.startswith("[")
            yield root, place, part if told else "[part]"

    def _number(self, slot: int) -> str | None:
        """The value of a constant with one entry that nobody can write to."""
        s = self.slots[slot]
        fixed = s.kind == "constant" and s.array.size == 1 and not s.array.flags.writeable
        return number(s.array.item()) if fixed else None

    def _box(self, id: str, call: Any, line: str) -> Node:
        tip = shorten(visible(line), 200)
        if call.is_effect:
            told = [x.name or "·" if type(x) is Tensor else "None"
                    for x in call.inputs if type(x) is Tensor or x is None]
            whose = any(type(x) is Tensor for x in call.inputs)
            self.sign[id] = id
            return Node(id, "effect", visible(f"{call.name}({', '.join(told)})" if whose
                                              else call.name), f"#{id[1:]}", tip=tip)
        slot = self.slots[call.output]
        title = self._title(call)
        self.sign[id] = title, slot.shape, slot.dtype
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
                    tuple(rows), size=max(slot.nbytes // slot.dtype.itemsize, 1), tip=tip)

    def _title(self, call: Any) -> str:
        """``maximum(·, 0)``: the kernel, with the numbers that it is given."""
        words = []
        for x in call.inputs:
            if isinstance(x, bool | int | float | complex):
                words.append(number(x) if not isinstance(x, complex) else str(x))
            else:
                here = list(_slots_in(x))
                value = self._number(here[0]) if len(here) == 1 else None
                words.append(value or ("·" if here else ""))
        words = [w for w in words if w]
        words = words if set(words) - {"·"} else []
        words += [f"{k}={shorten(visible(str(v)), 12)}" for k, v in call.attrs.items()
                  if v is not None and v is not False and k not in ("keepdims", "dtype", "shape")
                  and not list(_slots_in(v))]
        result: str = call.name + (f"({', '.join(words)})" if words else "")
        return result

    def _memory(self, call: Any) -> str:
        """Which block a call writes to, and whether over what it reads."""
        blocks = self.bound.blocks
        block = blocks.get(call.output)
        if block is None:
            return "none: in registers"                    # of machine code
        over = any(blocks.get(s) == block for s in self.program.reads(call))
        size = _bytes(self.slots[call.output].nbytes)
        return f"{block}  {size}{', in place' if over else ''}"

    def _add_outside(self, nodes: dict[str, Node], slots: list[int]) -> None:
        """A box for each of these arrays that no call makes and that has none yet."""
        for slot in slots:
            if slot not in self.ids:
                key = self.ids[slot] = f"n{len(self.lines) + len(self.outside) + 1}"
                self.outside.append(slot)
                nodes[key] = self._outside(key, slot)

    def _outside(self, key: str, slot: int) -> Node:
        """An array that no call makes: an argument, a Tensor's own, or a constant."""
        s = self.slots[slot]
        tensor = self.tensors.get(id(s.array)) if s.kind == "leaf" else None
        title = visible(self.names[slot])
        kind, tag, scope = "input", "", scope_of(title)
        if tensor is not None and tensor._needs_grad:
            kind, tag = "parameter", "param"
        elif s.kind == "constant":
            kind = "constant"
            fixed = s.array.size and not s.array.flags.writeable
            if fixed and (s.array == s.array.flat[0]).all():
                title = f"all {number(s.array.flat[0])}"
        self.sign[key] = kind, s.shape, s.dtype, title if kind == "constant" else ""
        return Node(key, kind, title, tag, tuple(self._shape(s)), scope, tensor,
                    s.nbytes // s.dtype.itemsize, f"{title} {s.shape} {s.dtype}")

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
                    for slot in _slots_in(given):
                        yield self.program.root(slot), tensor.name or "a Tensor"

    def _parts(self) -> dict[str, int]:
        """The part of each call."""
        calls = self.program.calls
        for_result = self._ancestors(self.results)
        if for_result & self.gradients.keys() or not for_result & self.ids.keys():
            return {f"n{k}": FORWARD for k in range(1, len(calls) + 1)}
        for_gradients = self._ancestors(self.gradients)
        part = {s: FORWARD if s in for_result else BACKWARD if s in for_gradients else UPDATE
                for s in self.ids}
        found = {}
        for k, call in enumerate(calls, 1):
            read = [part[s] for s in self.program.reads(call) if s in part]
            found[f"n{k}"] = part[call.output] if not call.is_effect else max(read, default=UPDATE)
        return found

    def _ancestors(self, slots: Iterable[int]) -> set[int]:
        """These slots and all that they are made of."""
        found = set(slots)
        for call in reversed(self.program.calls):          # each reads what earlier ones made
            if not call.is_effect and call.output in found:
                found.update(self.program.reads(call))
        return found


# ---- small things --------------------------------------------------------------------------------


def _slots_in(x: object) -> Iterator[int]:
    """The slots that nested inputs refer to."""
    if isinstance(x, list | tuple):
        for v in x:
            yield from _slots_in(v)
    elif isinstance(x, dict):
        yield from _slots_in(list(x.values()))
    elif not isinstance(x, Tensor) and hasattr(x, "slot"):
        yield x.slot


def _bytes(n: int) -> str:
    """``77 kB``: bytes in thousands."""
    k = min((len(str(n)) - 1) // 3, 3)
    return f"{n / 1000**k:.3g} {('B', 'kB', 'MB', 'GB')[k]}"
