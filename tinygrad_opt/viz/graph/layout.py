"""Where the boxes go: a layout in plain Python, for when there is no Graphviz.

`layers` does the work for boxes without frames. A frame is laid out by itself, with ports on its
border where arrows cross it, and then is one big box in what is around it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tinygrad_opt.viz.graph.layers import Layers, Point
from tinygrad_opt.viz.graph.model import Graph

__all__ = ["Box", "Layout", "layered", "spaced"]

FRAME_PAD, FRAME_TITLE = 12.0, 20.0


@dataclass(frozen=True)
class Box:
    """A rectangle by its centre."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """x of the left side."""
        return self.x - self.width / 2

    @property
    def top(self) -> float:
        """y of the upper side."""
        return self.y - self.height / 2

    @property
    def right(self) -> float:
        """x of the right side."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """y of the lower side."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Layout:
    """Where everything is. A path is a start and then triples of points of cubic curves."""

    boxes: dict[str, Box]
    frames: dict[str, Box]
    paths: dict[str, list[Point]]
    width: float
    height: float
    engine: str = "builtin"


def layered(
    graph: Graph, sizes: Mapping[str, Point], titles: Mapping[str, float] | None = None
) -> Layout:
    """Lay the graph out.

    Parameters
    ----------
    graph : Graph
        What to lay out; its arrows have no cycle.
    sizes : mapping of str to (width, height)
        Of each box.
    titles : mapping of str to float, optional
        How wide the title of each frame is.

    Returns
    -------
    Layout
    """
    turned = graph.direction == "TB"
    flow = {i: (h, w) if turned else (w, h) for i, (w, h) in sizes.items()}
    root = _Compound(graph, flow, titles or {}, turned).placed()

    def turn(p: Point) -> Point:
        return (p[1], p[0]) if turned else p

    def box(center: Point, size: Point) -> Box:
        return Box(*turn(center), *turn(size))

    return Layout(
        {i: box(root.at[i], flow[i]) for i in graph.nodes},
        {c.id: box(root.at[c.id], root.size[c.id]) for c in graph.clusters},
        {id: [turn(p) for p in path] for id, path in root.paths.items()},
        *turn(root.total),
    )


def spaced(layout: Layout, room: float, rim: float = 0.0) -> Layout:
    """The layout with at least so much room between its columns, for numbers on the arrows.

    x is stretched wherever no box is, so boxes keep their sizes and arrows their ends.
    """
    stops, shifts = [0.0], [0.0]
    reach = 0.0
    for box in sorted(layout.boxes.values(), key=lambda b: b.left):
        if 0 < reach < box.left - 1:
            stops += [reach, box.left]
            shifts += [shifts[-1], shifts[-1] + max(0.0, room - (box.left - reach))]
        reach = max(reach, box.right)

    def moved(x: float) -> float:
        return x + _interpolated(x, stops, shifts)

    def widened(b: Box) -> Box:
        left, right = moved(b.left), moved(b.right)
        return Box((left + right) / 2, b.y, right - left, b.height)

    return replace(
        layout, boxes={id: widened(b) for id, b in layout.boxes.items()},
        frames={id: widened(b) for id, b in layout.frames.items()},
        paths={id: [(moved(x), y) for x, y in path] for id, path in layout.paths.items()},
        width=moved(layout.width) + rim, height=layout.height + rim)


def _interpolated(x: float, at: list[float], values: list[float]) -> float:
    """What is straight between the points, and goes on as it ended beyond them."""
    k = bisect_right(at, x)
    if k in (0, len(at)):
        return values[-1 if k else 0]
    share = (x - at[k - 1]) / (at[k] - at[k - 1])
    return values[k - 1] + share * (values[k] - values[k - 1])


# ---- frames inside frames ------------------------------------------------------------------------

End = tuple[str, Any]                      # a child of a frame and, if it is a frame, which port


@dataclass
class _Inside:
    """One frame's own layout: its children, and ports where arrows cross its border."""

    children: list[str] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    exits: list[str] = field(default_factory=list)
    links: dict[tuple[End, End], int] = field(default_factory=dict)
    at: dict[str, Point] = field(default_factory=dict)
    routes: list[list[Point]] = field(default_factory=list)

    def link(self, tail: End, head: End) -> int:
        return self.links.setdefault((tail, head), len(self.links))


class _Compound:
    """All frames of a graph, laid out from the innermost outwards."""

    def __init__(self, graph: Graph, sizes: dict[str, Point], titles: Any, turned: bool) -> None:
        self.size = dict(sizes)
        self.titles, self.turned = titles, turned
        self.parent: dict[str, str | None] = {c.id: c.parent for c in graph.clusters}
        by_size = sorted(graph.clusters, key=lambda c: -len(c.members))
        self.parent.update({id: None for id in graph.nodes})
        for c in by_size:                                  # the innermost frame claims last
            self.parent.update({id: c.id for id in c.members})
        self.inside: dict[str | None, _Inside] = {None: _Inside()}
        self.inside.update({c.id: _Inside() for c in by_size})
        for id in [*graph.nodes, *(c.id for c in by_size)]:
            self.inside[self.parent[id]].children.append(id)
        self.innermost_first = [c.id for c in reversed(by_size)]
        self.pieces = {e.id: self._pieces(e.tail, e.head) for e in graph.edges}
        self.at: dict[str, Point] = {}
        self.paths: dict[str, list[Point]] = {}
        self.total: Point = (0.0, 0.0)

    def _ancestors(self, id: str) -> list[str | None]:
        chain = [self.parent[id]]
        while chain[-1] is not None:
            chain.append(self.parent[chain[-1]])
        return chain

    def _pieces(self, tail: str, head: str) -> list[tuple[str | None, int]]:
        """The links that an arrow runs through: out of frames, across, and into frames."""
        out, into = self._ancestors(tail), self._ancestors(head)
        shared = next(frame for frame in out if frame in into)
        pieces: list[tuple[str | None, int]] = []
        here: End = (tail, None)
        for frame in out[: out.index(shared)]:
            port = f">{tail}"
            inside = self.inside[frame]
            if port not in inside.exits:
                inside.exits.append(port)
            pieces.append((frame, inside.link(here, (port, None))))
            here = (str(frame), port)
        ways = into[: into.index(shared)]
        goal: End = (head, None)
        inner = []
        for frame in ways:
            port = f"<{tail}"
            inside = self.inside[frame]
            if port not in inside.entries:
                inside.entries.append(port)
            inner.append((frame, inside.link((port, None), goal)))
            goal = (str(frame), port)
        return [*pieces, (shared, self.inside[shared].link(here, goal)), *reversed(inner)]

    def placed(self) -> _Compound:
        for frame in self.innermost_first:
            width, height = self._arrange(frame)
            before, above = (FRAME_TITLE, 0.0) if self.turned else (0.0, FRAME_TITLE - 4)
            before += 0.0 if self.inside[frame].entries else FRAME_PAD
            behind = 0.0 if self.inside[frame].exits else FRAME_PAD
            title = self.titles.get(frame, 0.0) + 2 * FRAME_PAD
            shift = (before, above + FRAME_PAD)
            size = (before + width + behind, height + above + 2 * FRAME_PAD)
            if self.turned and size[1] < title:
                shift, size = (shift[0], shift[1] + (title - size[1]) / 2), (size[0], title)
            elif not self.turned and size[0] < title:
                shift, size = ((title - size[0]) / 2, shift[1]), (title, size[1])
            self._shift(frame, *shift)
            self.size[frame] = size
        self.total = self._arrange(None)
        self.at.update(self.inside[None].at)
        for frame in reversed(self.innermost_first):
            (u, v), (length, breadth) = self.at[frame], self.size[frame]
            self._shift(frame, u - length / 2, v - breadth / 2)
            self.at.update(self.inside[frame].at)
        for edge, pieces in self.pieces.items():
            path: list[Point] = []
            for where, link in pieces:
                route = self.inside[where].routes[link]
                if path:                                   # a short straight line joins two ports
                    path += [path[-1], route[0], route[0]]
                path += route[1:] if path else route
            self.paths[edge] = path
        return self

    def _arrange(self, frame: str | None) -> Point:
        inside = self.inside[frame]
        names = [*inside.children, *inside.entries, *inside.exits]
        number = {name: k for k, name in enumerate(names)}
        links = []
        for (tail, tail_port), (head, head_port) in inside.links:
            links.append((number[tail], number[head],
                          self._port(tail, tail_port), self._port(head, head_port)))
        first = {number[name] for name in inside.entries}
        last = {number[name] for name in inside.exits}
        core = Layers([self.size.get(name, (0.0, 0.0)) for name in names], links, first, last)
        inside.at = {name: (core.u[k], core.v[k]) for name, k in number.items()}
        inside.routes = core.routes
        return core.total

    def _port(self, child: str, port: Any) -> float:
        """How far off the child's middle the port is, across the flow."""
        if port is None:
            return 0.0
        return self.inside[child].at[port][1] - self.size[child][1] / 2

    def _shift(self, frame: str | None, du: float, dv: float) -> None:
        inside = self.inside[frame]
        inside.at = {k: (u + du, v + dv) for k, (u, v) in inside.at.items()}
        inside.routes = [[(u + du, v + dv) for u, v in route] for route in inside.routes]
