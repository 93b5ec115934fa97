"""The script of a playback: which step shows what, as plain data for the page.

A pass forwards has one step for each operation in the order of creation; the pass backwards
starts with the gradient of the end and has one step for each operation, the last made first.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias, TypedDict

import numpy as np

from tinygrad_opt.tensor import Tensor, history, values_of
from tinygrad_opt.typing import Array, ArrayLike
from tinygrad_opt.viz.graph.flow import Flow, Part
from tinygrad_opt.viz.graph.model import Graph, Node
from tinygrad_opt.viz.graph.text import number, summary, visible
from tinygrad_opt.viz.steps.words import Words, bare, called, names_in, shape_text, told

__all__ = ["Script", "script"]

SHOWN, SHOWN_IN_LARGE, LARGE = 12, 6, 80   # rows and columns of an array, and what large means
MOST_CARDS = 12                            # inputs of one operation that are told one by one

# a line: what it is, its words, and perhaps the number of an array
Line: TypeAlias = tuple[str, str] | tuple[str, str, int]
# an arrow: its id and tail, the node it leads to, a title, lines, an array, and what it carries
Card: TypeAlias = tuple[str | None, str | None, int | None, str, list[Line], int | None, str]
State: TypeAlias = tuple[int, str, bool, int]              # from which step on; text, alarm, array


class Member(TypedDict):
    """A node; `born` is the step that computes it."""

    id: str
    name: str
    kind: str
    shape: str
    text: tuple[str, bool]
    array: int
    born: int
    grads: list[State]


class Step(TypedDict):
    """What the page shows at a time."""

    phase: str
    node: int
    say: str
    lines: list[Line]
    cards: list[Card]


class Script(TypedDict):
    """All that the page shows; at step `turn` the backward pass begins."""

    nodes: list[Member]
    steps: list[Step]
    arrays: list[dict[str, object]]
    turn: int


def script(graph: Graph, flow: Flow, names: Mapping[Tensor, str]) -> Script:
    """What the page needs to know.

    Parameters
    ----------
    graph : Graph
        What is drawn.
    flow : Flow
        The pass to be played.
    names : mapping of Tensor to str
        Names for Tensors that have none.

    Returns
    -------
    Script
        Ready for JSON.
    """
    return _Writer(graph, flow, names).script()


class _Writer:
    def __init__(self, graph: Graph, flow: Flow, names: Mapping[Tensor, str]) -> None:
        self.graph, self.flow, self.names = graph, flow, names
        self.shown = SHOWN if len(graph.nodes) <= LARGE else SHOWN_IN_LARGE
        self.arrays: list[dict[str, object]] = []
        self.known: dict[str, int] = {}
        self.nodes: list[Member] = []
        self.index: dict[int, int] = {}                    # by id of the Tensor or array
        self.steps: list[Step] = []
        self.edges = {(id(graph.nodes[e.tail].source), e.head): e for e in graph.edges}
        given = names_in(flow.end, names)
        self.words = functools.cache(lambda t: Words(t, names, given))
        self.parts = [part for parts in flow.parts.values() for part in parts]
        self.uses = Counter(part.to for part in self.parts)

    def script(self) -> Script:
        for node in self.graph.nodes.values():
            if node.kind != "alias":
                self._cast(node)
        self._start()
        made = [t for t in history(self.flow.end) if t.op is not None]
        for count, t in enumerate(made, 1):
            self._forward(t, f"{count} of {len(made)}")
        self._seed()
        for z in self.flow.parts:
            self._backward(z)
        for x, total in {part.to: part.total for part in self.parts}.items():
            g, states = self.flow.gradients[x], self._of(x)["grads"]
            if not np.array_equal(total, g, equal_nan=True):           # changed by a hook
                states[-1] = self._state(g, states[-1][0])
        return {"nodes": self.nodes, "steps": self.steps, "arrays": self.arrays,
                "turn": 1 + len(made)}

    # ---- the cast --------------------------------------------------------------------------------

    def _cast(self, node: Node) -> None:
        x, value = node.source, node.values
        self.index[id(x)] = len(self.nodes)
        named = isinstance(x, Tensor) and (x.name or x in self.names or x.op is None)
        self.nodes.append({
            "id": node.id, "name": called(x, self.names) if named else visible(node.title),
            "kind": node.kind, "shape": f"{shape_text(value)} · {np.asarray(value).dtype}",
            "text": summary(value), "array": self._array(value), "born": 0, "grads": [],
        })

    def _state(self, g: Array, step: int) -> State:
        return (step, *summary(g, dead=True), self._array(g))

    def _array(self, x: ArrayLike) -> int:
        """The number of this array among those that the page holds, at least its borders."""
        x = np.asarray(x)
        flat = x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)
        rows, columns = (_ends(n, self.shown) for n in flat.shape)
        cells = [[_json_number(v) for v in row] for row in flat[np.ix_(rows, columns)].tolist()]
        entry: dict[str, object] = {"shape": shape_text(x), "cells": cells}
        key = repr(entry)
        if key not in self.known:
            self.known[key] = len(self.arrays)
            self.arrays.append(entry)
            if len(rows) < flat.shape[0] or x.ndim > 2:
                lead = x.shape[:-1]
                entry["rows"] = [", ".join(map(str, np.unravel_index(r, lead))) for r in rows]
            if len(columns) < flat.shape[1]:
                entry["columns"] = columns
        return self.known[key]

    # ---- steps -----------------------------------------------------------------------------------

    def _add(
        self, phase: str, node: int, say: str, lines: list[Line], cards: list[Card]
    ) -> None:
        self.steps.append({"phase": phase, "node": node, "say": say, "lines": lines,
                           "cards": cards})

    def _start(self) -> None:
        end = self.index[id(self.flow.end)]
        leaves = [n["name"] for n in self.nodes if n["kind"] in ("parameter", "input")]
        shown = ", ".join(leaves[:8]) + (", …" if len(leaves) > 8 else "")
        say = f"Before the forward pass: only what was given has a value: {shown or 'constants'}."
        self._add("start", end, say, [], [])

    def _forward(self, t: Tensor, count: str) -> None:
        i = self.index[id(t)]
        self.nodes[i]["born"] = len(self.steps)
        words = self.words(t)
        equation, *numbers = words.equation()
        lines: list[Line] = [("formula", equation), *(("numbers", line) for line in numbers),
                             *_note(words)]
        cards: list[Card] = [
            (e.id, e.tail, None, e.label, [], None, _brief(self.graph.nodes[e.tail].source))
            for e in self.graph.inputs()[self.nodes[i]["id"]]
        ]
        say = (f"Forward {count}: at {self.nodes[i]['name']}, {equation} gives"
               f" {told(t._array)}.")
        self._add("forward", i, say, lines, cards)

    def _seed(self) -> None:
        end = self.flow.end
        g = self.flow.gradients[end]
        i = self.index[id(end)]
        self.nodes[i]["grads"].append(self._state(g, len(self.steps)))
        text = told(g)
        say = f"The backward pass starts at the end, L: its gradient ∂L/∂L is {text}."
        self._add("seed", i, say, [("formula", f"∂L/∂L = {text}")], [])

    def _backward(self, z: Tensor) -> None:
        i = self.index[id(z)]
        words, g = self.words(z), self.flow.gradients[z]
        arrived = f"{words.g} = ∂L/∂{words.result} = {told(g)}"
        lines: list[Line] = [("formula", words.equation()[0]), *_note(words),
                             ("arrived", arrived, self._array(g))]
        parts = self.flow.parts[z]
        told_here = parts[:MOST_CARDS]
        summed = [p for p in told_here if p.raw.size > p.value.size]
        cards: list[Card] = []
        said: list[str] = []
        for part in parts:
            sent: list[Line] = [*words.sent(part, g)] if part in told_here else []
            if part in summed:
                sent.append(("fitting", "to be summed, which is the next step"))
                cards.append(self._card(words, part, part.raw, sent))
                said.append(f"to {self._of(part.to)['name']} {told(part.raw)}, to be summed")
            else:
                sent += words.fitted(part) if sent else []
                cards.append(self._arriving(words, part, sent, said))
        more = f", and {len(said) - 4} more" if len(said) > 4 else ""
        say = (f"At {self.nodes[i]['name']} the gradient {told(g)} has arrived; on goes"
               f" {'; '.join(said[:4]) or 'nothing'}{more}.")
        self._add("backward", i, say, lines, cards)
        for part in summed:                                # broadcasting is undone after the VJPs
            (_, how), *rest = words.fitted(part)
            sent = [("fitting", how), *rest]
            said = []
            cards = [self._arriving(words, part, sent, said)]
            raw: list[Line] = [("arrived", f"sent: {told(part.raw)}", self._array(part.raw))]
            self._add("backward", i, f"{how}; on goes {said[0]}.", raw, cards)

    def _arriving(
        self, words: Words, part: Part, sent: list[Line], said: list[str]
    ) -> Card:
        """The arrow of a part that is added to a gradient in the step to come."""
        card = self._card(words, part, part.value, [*sent, *self._sum(part)] if sent else [])
        node = self._of(part.to)
        node["grads"].append(self._state(part.total, len(self.steps)))
        plus = "" if part.before is None else f", {told(part.total)} with what it had"
        said.append(f"to {node['name']} {told(part.value)}{plus}")
        return card

    def _card(self, words: Words, part: Part, value: Array, lines: list[Line]) -> Card:
        """One arrow: which, to whom, and how the value on it came about."""
        edge = self.edges.get((id(part.to), self._of(part.node)["id"]))
        letter = words.symbols[part.place]
        name = self._of(part.to)["name"]
        known = name == letter or name.endswith(f".{letter}")
        title = f"to {name}" + ("" if known else f", the {letter} above")
        return (edge.id if edge else None, edge.tail if edge else None, self.index[id(part.to)],
                title, lines, self._array(value), _brief(value))

    def _of(self, t: Tensor) -> Member:
        return self.nodes[self.index[id(t)]]

    def _sum(self, part: Part) -> list[Line]:
        """How the part joins those that came before."""
        uses = self.uses[part.to]
        if uses == 1:
            return []
        name = called(part.to, self.names)
        if part.before is None:
            return [("sum", f"the first of {uses} parts of ∂L/∂{name}")]
        if part.total.size > 1:
            return [("sum", f"added to what ∂L/∂{name} was: now {told(part.total)}")]
        terms = f"{told(part.before)} + {bare(told(part.value))}"
        return [("sum", f"∂L/∂{name} = {terms} = {told(part.total)}")]


def _note(words: Words) -> list[Line]:
    """A line for the letters that stand for something else, if there are any."""
    meanings = words.meanings()
    return [("note", f"where {meanings}")] if meanings else []


def _brief(x: object) -> str:
    """What an arrow carries: a number, or the shape of an array."""
    x = np.asarray(values_of(x))
    return number(x.reshape(-1)[0]) if x.size == 1 else str(x.shape)


def _ends(n: int, most: int) -> list[int]:
    """Which rows of n to show: all, or the first two thirds and the last of them."""
    if n <= most:
        return list(range(n))
    head = 2 * most // 3
    return [*range(head), *range(n - (most - head), n)]


def _json_number(x: float) -> str | float:
    """Four digits; what JSON cannot say, and truth values, as text."""
    if isinstance(x, bool) or not np.isfinite(x):
        return number(x)
    return x if isinstance(x, int) else float(f"{x:.4g}")
