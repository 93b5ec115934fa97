"""Where boxes and arrows go: a layered layout in plain Python, for when there is no Graphviz.

1. Rank: every arrow points forward; a leaf stands right before its first use.
2. Order: sweeps of barycentres, as long as fewer arrows cross. An arrow over several ranks is a
   chain of points, one in each rank.
3. Place: across the flow each box goes as near to its neighbours as order and distance permit,
   which is isotonic regression: least squares under v₀ + d₀ ≤ v₁, v₁ + d₁ ≤ v₂, …

Positions are computed along the flow (u) and across it (v). A frame is laid out by itself, with
ports on its border where arrows cross it, and then is one big box in what is around it.

References
----------
Sugiyama, Tagawa, Toda, *Methods for visual understanding of hierarchical system structures*
(1981). Gansner et al., *A technique for drawing directed graphs* (1993).
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from tinygrad_opt.viz.graph.model import Graph, topological

__all__ = ["Box", "Layout", "Point", "extent", "in_order", "layered", "nearest", "shifted"]

Point = tuple[float, float]

BOX_GAP, CHAIN_GAP = 18.0, 9.0             # between two boxes of a rank, and beside an arrow
RANK_GAP = 38.0                            # between two ranks; half of it beside a border
WIDEST_GAP = 150.0                         # where arrows between two ranks are steep
FRAME_PAD, FRAME_TITLE = 12.0, 20.0
PART_GAP = 20.0                            # between two parts of a program
CHAIN, MAIN_LINE = 8.0, 20.0               # how much straighter than from a leaf arrows run


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

    def moved(self, dx: float, dy: float) -> Box:
        """The same box elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)


@dataclass(frozen=True)
class Layout:
    """Where everything is. A path is a start and then triples of points of cubic curves."""

    boxes: dict[str, Box]
    frames: dict[str, Box]
    paths: dict[str, list[Point]]
    width: float
    height: float
    engine: str = "builtin"

    def moved(self, by: Mapping[str, Point], width: float, height: float) -> Layout:
        """The same with each box, frame and arrow elsewhere."""
        return Layout({id: box.moved(*by[id]) for id, box in self.boxes.items()},
                      {id: frame.moved(*by[id]) for id, frame in self.frames.items()},
                      {id: shifted(path, *by[id]) for id, path in self.paths.items()},
                      width, height, self.engine)


def layered(
    graph: Graph, sizes: Mapping[str, Point], titles: Mapping[str, float] | None = None,
    room: float = RANK_GAP,
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
    room : float
        The least distance between two ranks.

    Returns
    -------
    Layout
    """
    turned = graph.direction == "TB"
    flow = {i: (h, w) if turned else (w, h) for i, (w, h) in sizes.items()}
    frames = _Frames(graph, flow, titles or {}, turned, room)

    def turn(p: Point) -> Point:
        return (p[1], p[0]) if turned else p

    placed = {id: Box(*turn(frames.at[id]), *turn(size)) for id, size in frames.size.items()}
    return Layout(
        {id: placed[id] for id in graph.nodes}, {c.id: placed[c.id] for c in graph.clusters},
        {e.id: [turn(p) for p in frames.path(e.tail, e.head)] for e in graph.edges},
        *turn(frames.total))


def in_order(graph: Graph, layout: Layout) -> Layout:
    """The layout with frames that no arrow joins in their order, wherever an engine put them."""
    parts = [c for c in graph.clusters if c.parent is None]
    home = {id: c.id for c in parts for id in c.members}
    if len(parts) < 2 or home.keys() != graph.nodes.keys() or any(
            home[e.tail] != home[e.head] for e in graph.edges):
        return layout
    home |= {c.id: home[next(iter(c.members))] for c in graph.clusters}
    home |= {e.id: home[e.tail] for e in graph.edges}
    shift: dict[str, Point] = {}
    width = height = 0.0
    for c in parts:
        paths = (path for id, path in layout.paths.items() if home[id] == c.id)
        (left, top), (right, bottom) = extent([layout.frames[c.id]], paths)
        gap = PART_GAP if shift else 0.0
        x, y = (0.0, height + gap) if graph.direction == "LR" else (width + gap, 0.0)
        shift[c.id] = (x - left, y - top)
        width, height = max(width, x + right - left), max(height, y + bottom - top)
    return layout.moved({id: shift[part] for id, part in home.items()}, width, height)


def extent(boxes: Iterable[Box], paths: Iterable[list[Point]] = ()) -> tuple[Point, Point]:
    """The corners of what holds all of this: left and top, right and bottom."""
    points = [p for b in boxes for p in ((b.left, b.top), (b.right, b.bottom))]
    x, y = zip(*points, *(p for path in paths for p in path))
    return (min(x), min(y)), (max(x), max(y))


def shifted(path: list[Point], du: float, dv: float) -> list[Point]:
    return [(u + du, v + dv) for u, v in path]


# ---- frames inside frames ------------------------------------------------------------------------


class _Frames:
    """All frames of a graph, each laid out by itself, from the innermost outwards.

    Attributes
    ----------
    at, size : dict of str to (u, v)
        Of each box and frame: its centre, and its length and breadth.
    total : (float, float)
        The extent of everything.
    """

    def __init__(self, graph: Graph, sizes: dict[str, Point], titles: Mapping[str, float],
                 turned: bool, room: float) -> None:
        self.size, self.titles, self.turned = dict(sizes), titles, turned
        self.parent = {id: frame or "" for id, frame in graph.innermost().items()}
        self.parent.update({c.id: c.parent or "" for c in graph.clusters})
        outer_first = sorted(graph.clusters, key=lambda c: -len(c.members))
        self.inside = {frame: _Ranks() for frame in ["", *(c.id for c in outer_first)]}
        for id, parent in self.parent.items():
            self.inside[parent].add(id)
        for edge in graph.edges:
            for frame, tail, head in self._pieces(edge.tail, edge.head):
                self.inside[frame].links[tail, head] = []
        for frame in reversed(self.inside):
            inside = self.inside[frame]
            inside.arrange(self.size, self._ends(inside), room)
            if frame:
                self.size[frame] = self._bordered(frame, inside)
        self.total, self.at = self.inside[""].total, dict(self.inside[""].at)
        for frame, inside in list(self.inside.items())[1:]:
            (u, v), (length, breadth) = self.at[frame], self.size[frame]
            inside.shift(u - length / 2, v - breadth / 2)
            self.at.update(inside.at)

    def path(self, tail: str, head: str) -> list[Point]:
        """The way of an arrow, through all frames."""
        path: list[Point] = []
        for frame, *link in self._pieces(tail, head):
            route = self.inside[frame].links[link[0], link[1]]
            if path:                                       # a short straight line joins two ports
                path += [path[-1], route[0], route[0]]
            path += route[1:] if path else route
        return path

    def _pieces(self, tail: str, head: str) -> list[tuple[str, str, str]]:
        """The links that an arrow is made of: out of frames, across, and into frames.

        What one box sends into a frame, or out of it, takes one port for all.
        """
        out, into = self._around(tail), self._around(head)
        shared = next(frame for frame in out if frame in into)
        leaving, entering = out[: out.index(shared)], into[: into.index(shared)][::-1]
        ports = [*(f"{f}>{tail}" for f in leaving), *(f"{f}<{tail}" for f in entering)]
        for frame, port in zip([*leaving, *entering], ports):
            self.inside[frame].add(port)
        stops = [tail, *ports, head]
        return list(zip([*leaving, shared, *entering], stops, stops[1:]))

    def _around(self, id: str) -> list[str]:
        """The frames around a box, the innermost first, and "" for what is around them all."""
        chain = [self.parent[id]]
        while chain[-1]:
            chain.append(self.parent[chain[-1]])
        return chain

    def _ends(self, inside: _Ranks) -> dict[str, tuple[str, float]]:
        """Where links end: a port of a frame in here is a place off the middle of the frame."""
        ends = {name: (name, 0.0) for name in inside.names}
        for port in {name for link in inside.links for name in link} - inside.names.keys():
            frame = re.split("[<>]", port)[0]
            ends[port] = frame, self.inside[frame].at[port][1] - self.size[frame][1] / 2
        return ends

    def _bordered(self, frame: str, inside: _Ranks) -> Point:
        """Make room for the border of a frame and its title; gives how large it is then."""
        title = self.titles.get(frame, 0.0) + 2 * FRAME_PAD
        before, above = (FRAME_TITLE, 0.0) if self.turned else (0.0, FRAME_TITLE - 4)
        before += 0.0 if inside.first else FRAME_PAD
        length = before + inside.total[0] + (0.0 if inside.last else FRAME_PAD)
        breadth = above + inside.total[1] + 2 * FRAME_PAD
        wide = 0.0 if self.turned else max(0.0, title - length)
        broad = max(0.0, title - breadth) if self.turned else 0.0
        inside.shift(before + wide / 2, above + FRAME_PAD + broad / 2)
        return length + wide, breadth + broad


# ---- ranks ---------------------------------------------------------------------------------------

Near = tuple[int, float, float]            # a neighbour, how far off it is to be, and how strongly


class _Ranks:
    """The boxes, frames and ports inside one frame, and the links between them.

    Attributes
    ----------
    names : dict of str to int
        What is in here: a port ``c1<n2`` stands at the border where arrows of n2 enter the frame
        c1, and a port ``c1>n2`` where they leave it.
    first, last : set of int
        The ports by which arrows enter, and leave.
    links : dict of (str, str) to list of points
        From where to where, and by which way.
    at : dict of str to (u, v)
        The centre of each.
    total : (float, float)
        The extent.
    """

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.links: dict[tuple[str, str], list[Point]] = {}
        self.at: dict[str, Point] = {}
        self.total: Point = (0.0, 0.0)

    def add(self, name: str) -> None:
        """One more thing that stands in here."""
        self.names.setdefault(name, len(self.names))

    def shift(self, du: float, dv: float) -> None:
        """Move all of it."""
        self.at = {name: (u + du, v + dv) for name, (u, v) in self.at.items()}
        self.links = {link: shifted(path, du, dv) for link, path in self.links.items()}

    def arrange(
        self, sizes: Mapping[str, Point], ends: Mapping[str, tuple[str, float]], room: float
    ) -> None:
        """Give everything its place."""
        self.length, self.breadth = ([sizes.get(name, (0.0, 0.0))[k] for name in self.names]
                                     for k in (0, 1))
        self.first, self.last = ({k for name, k in self.names.items() if sign in name}
                                 for sign in "<>")
        self.ends = [tuple((self.names[ends[name][0]], ends[name][1]) for name in link)
                     for link in self.links]
        self.rank = self._ranked([(tail, head) for (tail, _), (head, _) in self.ends])
        self._chain()
        self.effort = max(4, min(24, 12_000 // max(len(self.rank), 1)))
        self.layers = self._ordered()
        self.v = self._across()
        self.sides = self._along(room)
        self.at = {name: (sum(self.sides[self.rank[k]]) / 2, self.v[k])
                   for name, k in self.names.items()}
        self._route()
        self.total = (self.sides[-1][1], max(v + b / 2 for v, b in zip(self.v, self.breadth)))

    def _ranked(self, links: list[tuple[int, int]]) -> list[int]:
        """The longest way to each; leaves, and what is made of leaves alone, move to their use."""
        first, last = self.first, self.last
        before: list[list[int]] = [[] for _ in self.names]
        after: list[list[int]] = [[] for _ in self.names]
        for tail, head in links:
            before[head].append(tail)
            after[tail].append(head)
        order = topological(range(len(before)), links)
        rank = [int(bool(first))] * len(before)
        movable = set()
        for i in order:
            rank[i] = 0 if i in first else max((rank[j] + 1 for j in before[i]), default=rank[i])
            if i not in first | last and all(j in movable and len(after[j]) == 1
                                             for j in before[i]):
                movable.add(i)
        end = max((rank[i] + 1 for i in order if i not in last), default=0)
        for i in reversed(order):
            if i in last:
                rank[i] = end
            elif i in movable and after[i]:
                rank[i] = min(rank[j] for j in after[i]) - 1
        return rank

    def _chain(self) -> None:
        """Make a link over several ranks a chain of points, one per rank between its ends."""
        leaves = {*self.names.values()} - self.first - {head for _, (head, _) in self.ends}
        self.chains: list[list[int]] = []
        for (a, _), (b, _) in self.ends:
            between = range(self.rank[a] + 1, self.rank[b])
            self.chains.append([a, *range(len(self.rank), len(self.rank) + len(between)), b])
            self.rank += between
        for column in (self.length, self.breadth):
            column += [0.0] * (len(self.rank) - len(column))
        self.before: list[list[Near]] = [[] for _ in self.rank]
        self.after: list[list[Near]] = [[] for _ in self.rank]
        for chain, ((a, a_off), (b, b_off)) in zip(self.chains, self.ends):
            for x, y in pairwise(chain):
                shift = a_off * (x == a) - b_off * (y == b)
                weight = CHAIN if x != a and y != b else 1.0 if a in leaves else MAIN_LINE
                self.after[x].append((y, -shift, weight))
                self.before[y].append((x, shift, weight))

    # ---- order ----

    def _ordered(self) -> list[list[int]]:
        """The items of each rank from one side to the other, with few crossings."""
        layers: list[list[int]] = [[] for _ in range(max(self.rank, default=-1) + 1)]
        for item in self._from_the_ends():
            layers[self.rank[item]].append(item)
        best, fewest = layers, self._crossings(layers)
        for sweep in range(self.effort):
            if fewest:
                layers = self._swept(layers, forward=sweep % 2 == 0, turn=sweep % 4 > 1)
                crossings = self._crossings(layers)
                if crossings < fewest:
                    best, fewest = layers, crossings
        place = {item: k for layer in best for k, item in enumerate(layer)}
        operands = [pair for near in self.before for pair in pairwise(x for x, _, _ in near)]
        mirrored = sum(place[a] > place[b] for a, b in operands) * 2 > len(operands)
        return [layer[::-1] for layer in best] if mirrored else best

    def _from_the_ends(self) -> list[int]:
        """All items, depth first from the results back: operands keep their order."""
        found: dict[int, None] = {}
        stack = [i for i in reversed(range(len(self.names))) if not self.after[i]]
        while stack:
            item = stack.pop()
            if item not in found:
                found[item] = None
                stack += [x for x, _, _ in reversed(self.before[item])]
        return list(found)

    def _swept(self, layers: list[list[int]], forward: bool, turn: bool) -> list[list[int]]:
        """Each rank sorted by the middle of what its items have in the rank before, or behind.

        With `turn`, equal ones change places.
        """
        near, swept = self.before if forward else self.after, []
        place: dict[int, int] = {}
        for layer in layers if forward else layers[::-1]:
            key = {item: sum(place[x] + shift / 1000 for x, shift, _ in near[item])
                   / len(near[item]) for item in (layer[::-1] if turn else layer) if near[item]}
            moving = iter(sorted(key, key=key.__getitem__))
            swept.append([next(moving) if item in key else item for item in layer])
            place = {item: k for k, item in enumerate(swept[-1])}
        return swept if forward else swept[::-1]

    def _crossings(self, layers: list[list[int]]) -> int:
        total = 0
        for layer, following in pairwise(layers):
            place = {item: k for k, item in enumerate(following)}
            heads: list[int] = []
            for item in layer:
                mine = [place[x] for x, _, _ in self.after[item]]
                total += sum(len(heads) - bisect_right(heads, p) for p in mine)
                for p in mine:
                    insort(heads, p)
        return total

    # ---- place ----

    def _across(self) -> list[float]:
        """v of each item: near its neighbours, in order, and no closer than the gaps."""
        v = [0.0] * len(self.rank)
        gaps = [[(self.breadth[a] + self.breadth[b]) / 2
                 + (BOX_GAP if max(a, b) < len(self.names) else CHAIN_GAP)
                 for a, b in pairwise(layer)] for layer in self.layers]
        ranks = list(zip(self.layers, gaps))
        for layer, gap in ranks:
            for item, position in zip(layer, accumulate(gap, initial=-sum(gap) / 2)):
                v[item] = position
        both = [a + b for a, b in zip(self.before, self.after)]
        for k, near in enumerate([self.before, self.after] * self.effort + [both, both]):
            for layer, gap in ranks[:: -1 if k % 2 else 1]:
                for item, new in zip(layer, _pulled(layer, gap, near, v)):
                    v[item] = new
        low = min(x - b / 2 for x, b in zip(v, self.breadth))
        return [x - low for x in v]

    def _along(self, room: float) -> list[Point]:
        """Where each rank begins and ends: it is as wide as its longest box."""
        sides: list[Point] = []
        for layer in self.layers:
            length = max(self.length[i] for i in layer)
            start = 0.0
            if sides:
                rise = max((abs(self.v[x] + shift - self.v[i]) for i in layer
                            for x, shift, _ in self.before[i]), default=0.0)
                border = not length or sides[-1][0] == sides[-1][1]
                gap = max(room, min(RANK_GAP + 0.12 * rise, WIDEST_GAP))
                start = sides[-1][1] + gap / (2 if border else 1)
            sides.append((start, start + length))
        return sides

    def _route(self) -> None:
        """The way of each link: straight along the ranks that it passes, curved between them."""
        entered = self._entered()
        for k, (link, ((tail, off), (head, _))) in enumerate(zip(self.links, self.ends)):
            left, right = self.sides[self.rank[tail]]
            path = [((left + right + self.length[tail]) / 2, self.v[tail] + off)]
            for item in self.chains[k][1:]:
                (_, start), (left, right) = self.sides[self.rank[item] - 1 :][:2]
                path += _line(path[-1], start)
                v = entered[k] if item == head else self.v[item]
                path += [((start + left) / 2, path[-1][1]), ((start + left) / 2, v), (left, v)]
                path += _line(path[-1], (left + right - self.length[item]) / 2 if item == head
                              else right)
            self.links[link] = path

    def _entered(self) -> list[float]:
        """Where links enter: spread along the side of a box, in the order they come from."""
        coming: dict[int, list[int]] = {}
        for k, (_, (head, off)) in enumerate(self.ends):
            if not off and self.breadth[head]:
                coming.setdefault(head, []).append(k)
        v = [self.v[head] + off for _, (head, off) in self.ends]
        for head, links in coming.items():
            links.sort(key=lambda k: self.v[self.chains[k][-2]])
            step = min(12.0, (self.breadth[head] - 10) / max(len(links), 2))
            for place, k in enumerate(links):
                v[k] += step * (place - (len(links) - 1) / 2)
        return v


def _pulled(layer: list[int], gap: list[float], near: list[list[Near]], v: list[float]
            ) -> list[float]:
    """Where the items of a rank stand nearest to their neighbours."""
    weight = [sum(w for _, _, w in near[item]) for item in layer]
    wish = [sum(w * (v[x] + shift) for x, shift, w in near[item]) / total if total else v[item]
            for item, total in zip(layer, weight)]
    return nearest(wish, [total or 0.05 for total in weight], gap)


def _line(a: Point, u: float) -> list[Point]:
    """A straight piece along the flow as a cubic curve; nothing if it has no length."""
    return [] if abs(a[0] - u) < 0.01 else [a, (u, a[1]), (u, a[1])]


def nearest(wish: list[float], weight: list[float], distance: list[float]) -> list[float]:
    """The places nearest to the wished ones, in order and at least the distances apart.

    Minimises Σ wᵢ (vᵢ − wishᵢ)² subject to vᵢ + distanceᵢ ≤ vᵢ₊₁. Taking the distances off turns
    it into isotonic regression, which pooling adjacent violators solves exactly.

    Examples
    --------
    >>> nearest([0.0, 0.0], [1.0, 1.0], [10.0])
    [-5.0, 5.0]
    """
    offsets = list(accumulate(distance, initial=0.0))
    blocks: list[list[float]] = []                         # mean, weight, count
    for x, w, offset in zip(wish, weight, offsets):
        blocks.append([x - offset, w, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, w2, count = blocks.pop()
            other = blocks[-1]
            other[0] = (other[0] * other[1] + mean * w2) / (other[1] + w2)
            other[1] += w2
            other[2] += count
    means = [mean for mean, _, count in blocks for _ in range(int(count))]
    return [mean + offset for mean, offset in zip(means, offsets)]
