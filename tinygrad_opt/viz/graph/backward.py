"""The backward pass in a drawing: beside each arrow a second one, for what flows back along it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_opt.tensor import Tensor
from tinygrad_opt.viz.graph.flow import Flow, Part
from tinygrad_opt.viz.graph.layout import Point
from tinygrad_opt.viz.graph.model import Back, Edge, Graph, Node, Row
from tinygrad_opt.viz.graph.text import number, summary

__all__ = ["beside", "ink", "joined", "with_flow", "with_gradients"]

BESIDE = 6.0                               # between an arrow and the one that runs back


def with_gradients(graph: Graph, run: Flow) -> Graph:
    """The graph with the gradients of this pass in its boxes, whatever ``.grad`` holds."""
    return replace(graph, nodes={id: _told(node, run) for id, node in graph.nodes.items()})


def _told(node: Node, run: Flow) -> Node:
    source: Any = node.source
    if type(source) is not Tensor or not source.needs_grad or node.kind in ("alias", "operation"):
        return node
    rows = [row for row in node.rows if row.key != "grad"]
    g = run.gradients.get(source)
    grad = Row("grad", "–") if g is None else Row("grad", *summary(g, dead=True))
    return replace(node, rows=(*rows, grad)) if any(r.key == "data" for r in node.rows) else node


def with_flow(graph: Graph, run: Flow) -> Graph:
    """The same, and with what flows back along every arrow.

    A part of a gradient that is one number is told by the local derivative that it was
    multiplied by, an array by its norm.
    """
    graph = with_gradients(graph, run)
    return replace(graph, edges=tuple(_flowing(graph, edge, run) for edge in graph.edges))


def _flowing(graph: Graph, edge: Edge, run: Flow) -> Edge:
    x, z = graph.nodes[edge.tail].source, graph.nodes[edge.head].source
    if type(x) is not Tensor or type(z) is not Tensor or z not in run.gradients:
        return edge
    if x is z:                                             # from an operation to its own result
        return replace(edge, back=Back("", _norm([run.gradients[z]])))
    parts = [part for part in run.parts.get(z, ()) if part.to is x]
    if not parts:
        return edge
    size = _norm([part.value for part in parts])
    return replace(edge, back=Back(_words(parts, size), size))


def _words(parts: list[Part], size: float) -> str:
    if all(part.raw.size == part.value.size == 1 for part in parts):
        return f"∂ {number(sum(float(part.slopes().reshape(-1)[0]) for part in parts))}"
    return f"|g| {number(float(f'{size:.2g}'))}"


def _norm(arrays: Iterable[np.ndarray]) -> float:
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(sum(a.astype(np.float64) for a in arrays)))


def joined(one: Edge, other: Edge) -> Edge:
    """Two arrows between the same boxes as one: what flows back along both is told by its size."""
    sizes = [e.back.size for e in (one, other) if e.back is not None]
    return replace(one, back=Back("", math.hypot(*sizes)) if sizes else None)


# ---- how it is painted ---------------------------------------------------------------------------


def ink(size: float) -> float:
    """How thick the arrow is, from 1 to 4: a step for each factor of twenty."""
    return min(4.0, max(1.0, 2.0 + 0.75 * math.log10(size))) if size > 0 else 1.0


def beside(path: list[Point]) -> list[Point]:
    """The way back: the path a little to its right, from its end to its start."""
    moved: list[Point] = []
    for k in range(0, len(path) - 1, 3):
        a, b, c, d = path[k : k + 4]
        start, end = _aside(a, b if b != a else c if c != a else d), _aside(c if c != d else a, d)
        shifted = [(a, start), (b, start), (c, end), (d, end)]
        moved += [(x + dx, y + dy) for (x, y), (dx, dy) in shifted[bool(moved):]]
    return moved[::-1]


def _aside(a: Point, b: Point) -> Point:
    """A step to the right of the way from a to b."""
    length = math.dist(a, b) or 1.0
    return BESIDE * (a[1] - b[1]) / length, BESIDE * (b[0] - a[0]) / length
