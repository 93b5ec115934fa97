"""A program's graph as a drawing of few boxes: equal stretches once, and its parts side by side.

Each part is a graph of its own: what it takes from another part is named, ``#3 maximum ↗``, so
that no arrow runs across the whole drawing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

from tinygrad_opt.viz.graph.model import Cluster, Graph
from tinygrad_opt.viz.graph.repeats import each_once, signed, stretches
from tinygrad_opt.viz.graph.simplify import SMALL_GRAPH, aliased, contracted, noted

__all__ = ["BACKWARD", "FORWARD", "UPDATE", "readable_parts"]

TITLES = ("forward: makes the result", "backward: makes only gradients",
          "update: what else is done")
FORWARD, BACKWARD, UPDATE = range(3)


def readable_parts(graph: Graph, max_nodes: int | None = 300, depth: int | None = None) -> Graph:
    """Make the graph of a program small enough to be looked at, and frame its parts.

    Beyond 40 boxes equal stretches of calls, one after another, are drawn once; beyond
    `max_nodes`, or with ``depth=0``, each part is one box.
    """
    total, small = len(graph.nodes), graph
    if max_nodes is not None and total > min(SMALL_GRAPH, max_nodes):
        for part in range(len(TITLES)):
            small = each_once(small, functools.partial(_stretch, part))
    drawn = _parted(small)
    fits = max_nodes is None or len(drawn.nodes) <= max_nodes
    closed = not fits if depth is None else depth < 1
    if closed:
        drawn = _closed(graph)
    return noted(drawn, total, depth) if closed or drawn.repeats else drawn


# ---- equal stretches once ------------------------------------------------------------------------


def _stretch(part: int, graph: Graph) -> list[list[str]]:
    """The calls of each of the equal stretches of a part that hide most, one after another."""
    ops = [id for id, node in graph.nodes.items() if node.part == part]
    done = {id for repeat in graph.repeats for id in repeat.members}

    def own(id: str) -> object:
        return graph.nodes[id].sign, id if id in done else ""

    def other(id: str) -> object:                          # each may have a weight of its own
        return graph.nodes[id].sign if graph.nodes[id].part is None else id

    def modules(layers: list[list[str]]) -> int:
        """How many modules a stretch that begins here has weights of."""
        tails = (graph.nodes[e.tail] for op in layers[0] for e in graph.inputs()[op])
        return len({node.scope for node in tails if node.kind == "parameter"})

    return min(stretches(*signed(graph, ops, own, other)), default=[],
               key=lambda layers: (-len(layers), modules(layers)))


# ---- parts ---------------------------------------------------------------------------------------


def _parted(graph: Graph, arrows: bool = False) -> Graph:
    """Each part in a frame: what it takes from outside of it is named, not drawn again.

    With `arrows`, what calls of another part make is left to arrows.
    """
    inside = {id: node.part for id, node in graph.nodes.items() if node.part is not None}
    outputs = graph.outputs()
    for id, edges in outputs.items():
        if id not in inside and edges:                     # an array belongs where it is used first
            inside[id] = min(inside[e.head] for e in edges)
    nodes = dict(graph.nodes)
    edges = []
    for edge in graph.edges:
        part = inside[edge.head]
        node = graph.nodes[edge.tail]
        if inside[edge.tail] != part and (node.part is None or not arrows):
            alias = f"{edge.tail}p{edge.head[1:]}"
            call = f"{node.tag} {node.title.split('(')[0]}"
            told = node.title if node.part is None else call
            nodes[alias] = node.alias(alias, told)
            inside[alias] = part
            edge = replace(edge, tail=alias)
        edges.append(edge)
    graph = aliased(replace(graph, nodes=nodes, edges=tuple(edges)))
    for edge in graph.edges:
        inside.setdefault(edge.tail, inside[edge.head])
    return replace(graph, clusters=tuple(_frames(graph, inside)))


def _frames(graph: Graph, inside: dict[str, int]) -> Iterator[Cluster]:
    """A frame around each part, if there are several, and in it around what is repeated."""
    present = sorted({inside[id] for id in graph.nodes if id in inside})
    several = len(present) > 1
    for part in present if several else ():
        members = frozenset(id for id in graph.nodes if inside.get(id) == part)
        yield Cluster(f"c{part}", TITLES[part], members)
    for repeat in graph.repeats:
        members = repeat.members & graph.nodes.keys() | graph.leaves_of(repeat.members)
        part = inside[next(iter(repeat.members))]
        yield replace(repeat, members=frozenset(members), parent=f"c{part}" if several else None)


def _closed(graph: Graph) -> Graph:
    """Each part as one box."""
    graph = _parted(graph, arrows=True)
    members: dict[int, set[str]] = {}
    for id, node in graph.nodes.items():
        if node.part is not None:
            members.setdefault(node.part, set()).add(id)
    groups = [(members[part], TITLES[part] if len(members) > 1 else graph.name, "calls", ())
              for part in sorted(members)]
    return replace(contracted(graph, groups), clusters=())
