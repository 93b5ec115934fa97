"""The graph of a Tensor as plain data: boxes, arrows and frames, with no idea of how they look.

`trace` makes one of a Tensor. All that comes after (simplifying, DOT text, layout, SVG, the text
tree) is made from a `Graph` by pure functions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias, TypeVar

from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import ArrayLike
from tinygrad_opt.viz.graph.text import Number

__all__ = ["Back", "Cluster", "Edge", "Graph", "Node", "Row", "arrows", "counted",
           "merged", "topological"]

T = TypeVar("T", bound=Hashable)
Source: TypeAlias = Tensor | Number | None


@dataclass(frozen=True)
class Row:
    """A line in a box below its title: ``data 0.5``. `alarm` is set for nan and dead gradients."""

    key: str
    text: str
    alarm: bool = False


@dataclass(frozen=True)
class Node:
    """A box.

    Attributes
    ----------
    id : str
        ``n0``, ``n1``, … in order of creation, so that the same model gives the same drawing.
    kind : str
        input, parameter, constant, op, loss, operation (the ellipse of the split style), effect
        (what a compiled step does besides computing), alias (a box again, at another use) or
        folded (one box for many).
    title, tag : str
        Its name, and a word beside it.
    rows : tuple of Row
        What stands below the title.
    scope : tuple of str
        The modules that it belongs to, outermost first.
    source : Tensor, array or number
        What it shows, if one thing; of a folded box the last result in it.
    size : int
        Entries of the value; for a folded box, how many boxes it stands for.
    tip : str
        More about it, shown by hovering.
    short : str
        The title where a frame around it tells the rest.
    holds : (int, int, int)
        For a folded box: how many operations, parameters and values of these it stands for.
    part : int or None
        Of a compiled step: whether a call belongs to the forward pass, the backward pass or the
        update; arrays from outside belong to none.
    sign : object
        Of a compiled step: equal for boxes that do the same to, or hold, arrays of the same kind.
    """

    id: str
    kind: str
    title: str
    tag: str = ""
    rows: tuple[Row, ...] = ()
    scope: tuple[str, ...] = ()
    source: Source = field(default=None, repr=False, compare=False)
    size: int = 1
    tip: str = field(default="", repr=False, compare=False)
    short: str = ""
    holds: tuple[int, int, int] = (0, 0, 0)
    part: int | None = None
    sign: object = field(default=None, repr=False, compare=False)

    @property
    def values(self) -> ArrayLike:
        """The array or number that it shows, or else 0."""
        return 0 if self.source is None else values_of(self.source)

    def alias(self, id: str, words: str) -> Node:
        """A small box that names this one at another use."""
        return replace(self, id=id, kind="alias", title=f"{words} ↗", tag="", rows=(), part=None,
                       tip=f"{words}, shown elsewhere")


@dataclass(frozen=True)
class Back:
    """What flows back along an arrow: a few words, and how much (the norm of it)."""

    text: str
    size: float


@dataclass(frozen=True)
class Edge:
    """An arrow from an operand to what was made of it. The label tells its place or repeats."""

    tail: str
    head: str
    label: str = ""
    back: Back | None = None

    @property
    def id(self) -> str:
        """``n0_n2``: there is one arrow between two boxes."""
        return f"{self.tail}_{self.head}"


@dataclass(frozen=True)
class Cluster:
    """A frame around the boxes of one use of a module, perhaps inside another frame."""

    id: str
    label: str
    members: frozenset[str]                # of the frames inside it too
    parent: str | None = None
    path: tuple[str, ...] = ()             # of the module, the outermost first


@dataclass(frozen=True)
class Graph:
    """What is to be drawn: boxes in order of creation, arrows, frames, and remarks on it."""

    name: str
    nodes: dict[str, Node]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...] = ()
    notes: tuple[str, ...] = ()
    direction: str = "LR"
    end: str = "n0"
    parameters: tuple[int, int] = (0, 0)                   # how many, and their values in all
    repeats: tuple[Cluster, ...] = ()                      # that stand for several each: ``×30``

    def inputs(self) -> dict[str, list[Edge]]:
        """Arrows into each box, in the order of the operands."""
        return self._arrows[0]

    def outputs(self) -> dict[str, list[Edge]]:
        """Arrows out of each box."""
        return self._arrows[1]

    @functools.cached_property
    def _arrows(self) -> tuple[dict[str, list[Edge]], dict[str, list[Edge]]]:
        """Into and out of each box."""
        into: dict[str, list[Edge]] = {id: [] for id in self.nodes}
        out: dict[str, list[Edge]] = {id: [] for id in self.nodes}
        for edge in self.edges:
            into[edge.head].append(edge)
            out[edge.tail].append(edge)
        return into, out

    def leaves_of(self, boxes: Collection[str], inputs: bool = False) -> set[str]:
        """Leaves that only these boxes take; data given from outside only with `inputs`."""
        into, out = self._arrows
        return {id for id, edges in out.items() if edges and not into[id]
                and (inputs or self.nodes[id].kind != "input")
                and all(e.head in boxes for e in edges)}

    def innermost(self) -> dict[str, str | None]:
        """The innermost frame around each box."""
        inner: dict[str, str | None] = dict.fromkeys(self.nodes)
        for cluster in sorted(self.clusters, key=lambda c: -len(c.members)):
            inner.update(dict.fromkeys(cluster.members, cluster.id))
        return inner

    @property
    def flows_back(self) -> bool:
        """Whether the backward pass is drawn too."""
        return any(edge.back is not None for edge in self.edges)

    def id_of(self, tensor: object) -> str:
        """The box that shows this Tensor.

        Raises
        ------
        KeyError
            If none does.
        """
        for node in self.nodes.values():
            if node.source is tensor and node.kind not in ("alias", "folded", "operation"):
                return node.id
        raise KeyError(f"the drawing {self.name!r} does not show {tensor!r}")

    @property
    def caption(self) -> str:
        """``12 nodes · 13 edges · 4 params (57 values)``."""
        parts = [counted(len(self.nodes), "node"), counted(len(self.edges), "edge")]
        if self.parameters[0]:
            parameters, values = self.parameters
            parts.append(f"{counted(parameters, 'param')} ({counted(values, 'value')})")
        return " · ".join([*parts, *self.notes])


def topological(nodes: Iterable[T], arrows: Iterable[tuple[T, T]]) -> list[T]:
    """The nodes, each after those that have an arrow to it.

    What lies on a cycle, or behind one, is left out.
    """
    sorter = TopologicalSorter({node: () for node in nodes})
    for tail, head in arrows:
        sorter.add(head, tail)
    with suppress(CycleError):                             # it goes on as far as it can
        sorter.prepare()
    order: list[T] = []
    while ready := sorter.get_ready():
        order += ready
        sorter.done(*ready)
    return order


def arrows(uses: Iterable[tuple[str, int, str]], head: str, ordered: bool) -> Iterator[Edge]:
    """One arrow from each operand to `head`, with its places where their order matters.

    Parameters
    ----------
    uses : iterable of (str, int, str)
        The box of each operand, its place, and which part of it is taken; "" for all of it.
    """
    by_tail: dict[str, list[str]] = {}
    for tail, place, part in uses:
        by_tail.setdefault(tail, []).append(f"{place if ordered else ''}{part}")
    for tail, words in by_tail.items():
        told = ", ".join(filter(None, words))
        yield Edge(tail, head, told or (f"×{len(words)}" if len(words) > 1 else ""))


def merged(edges: Iterable[Edge]) -> tuple[Edge, ...]:
    """One arrow between two boxes: what flows back along several is told by its size."""
    found: dict[str, Edge] = {}
    for edge in edges:
        same = found.get(edge.id)
        if same is not None:
            sizes = [e.back.size for e in (same, edge) if e.back is not None]
            edge = replace(same, back=Back("", math.hypot(*sizes)) if sizes else None)
        found[edge.id] = edge
    return tuple(found.values())


def counted(n: int, noun: str) -> str:
    """``1 node``, ``1,200 nodes``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
