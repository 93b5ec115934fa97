"""The layered layout of boxes and links, without frames: ranks, order, places, routes.

1. Rank: every link points forward; a leaf stands right before its first use.
2. Order: sweeps of barycentres keep what crosses least; a link over several ranks is a chain.
3. Place: across the flow each box goes as near to its neighbours as order and distance permit,
   which is isotonic regression: least squares under v₀ + d₀ ≤ v₁, v₁ + d₁ ≤ v₂, …

All is computed along the flow (u) and across it (v).

References
----------
Sugiyama, Tagawa, Toda, *Methods for visual understanding of hierarchical system structures*
(1981). Gansner et al., *A technique for drawing directed graphs* (1993).
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from itertools import pairwise
from typing import Any

__all__ = ["Layers", "Link", "Point", "nearest"]

BOX_GAP, CHAIN_GAP = 18.0, 9.0             # between two boxes of a rank, and beside a link
MAIN_LINE = 20.0                           # how much straighter than a leaf's other links run
RANK_GAP, WIDEST_RANK_GAP = 38.0, 150.0

Point = tuple[float, float]
Link = tuple[int, int, float, float]       # tail, head, and where they attach, off the middle


class Layers:
    """Boxes 0 … n−1 of the given (length, breadth), and the links between them, laid out."""

    def __init__(
        self, sizes: list[Point], links: list[Link], first: set[int], last: set[int]
    ) -> None:
        self.length = [s[0] for s in sizes]
        self.breadth = [s[1] for s in sizes]
        self.boxes = len(sizes)
        self.links = links
        self.rank = _ranks(self.boxes, links, first, last)
        self.leaves = set(range(self.boxes)) - first - {head for _, head, _, _ in links}
        self._chains()
        self.layers = self._ordered()
        self.v = self._across()
        self._attach()
        self.u, self.total = self._along()
        self.routes = [self._route(k) for k in range(len(links))]

    def _chains(self) -> None:
        """Make a link over several ranks a chain of points, one per rank between its ends."""
        self.chains: list[list[int]] = []
        self.before: list[list[tuple[int, float, float]]] = [[] for _ in self.rank]
        self.after: list[list[tuple[int, float, float]]] = [[] for _ in self.rank]
        for tail, head, tail_off, head_off in self.links:
            chain = [tail]
            for r in range(self.rank[tail] + 1, self.rank[head]):
                chain.append(len(self.rank))
                self.rank.append(r)
                self.length.append(0.0)
                self.breadth.append(0.0)
                self.before.append([])
                self.after.append([])
            chain.append(head)
            for k, (a, b) in enumerate(pairwise(chain)):
                weight = (8.0 if a >= self.boxes and b >= self.boxes else
                          1.0 if tail in self.leaves else MAIN_LINE)
                shift = (tail_off if k == 0 else 0.0) - (head_off if b == head else 0.0)
                self.after[a].append((b, -shift, weight))
                self.before[b].append((a, shift, weight))
            self.chains.append(chain)

    # ---- 2. order -------------------------------------------------------------------------------

    def _ordered(self) -> list[list[int]]:
        """The items of each rank from one side to the other, with few crossings."""
        depth = max(self.rank, default=0) + 1
        layers: list[list[int]] = [[] for _ in range(depth)]
        for item in self._from_the_end():
            layers[self.rank[item]].append(item)
        best, fewest = [list(x) for x in layers], self._crossings(layers)
        for sweep in range(16 if len(self.rank) < 1000 else 6):
            if not fewest:
                break
            ranks = range(1, depth) if sweep % 2 == 0 else range(depth - 2, -1, -1)
            neighbours = self.before if sweep % 2 == 0 else self.after
            for r in ranks:
                other = layers[r - 1 if sweep % 2 == 0 else r + 1]
                place = {item: float(k) for k, item in enumerate(other)}
                self._sort_by_barycentre(layers[r], place, neighbours, sweep % 4 > 1)
            if len(self.rank) < 1000:
                self._swap(layers)
            crossings = self._crossings(layers)
            if crossings < fewest:
                best, fewest = [list(x) for x in layers], crossings
        return self._first_operand_first(best)

    def _first_operand_first(self, layers: list[list[int]]) -> list[list[int]]:
        """The layout or its mirror image: where more operands stand in the order of their use."""
        place = {item: k for layer in layers for k, item in enumerate(layer)}
        right = 0
        for near in self.before:
            for (a, _, _), (b, _, _) in pairwise(near):
                right += (place[a] < place[b]) - (place[a] > place[b])
        return layers if right >= 0 else [layer[::-1] for layer in layers]

    def _from_the_end(self) -> list[int]:
        """All items, depth first from the results back: operands keep their order."""
        seen = [False] * len(self.rank)
        found: list[int] = []
        ends = [i for i in range(self.boxes) if not self.after[i]]
        stack = ends[::-1]
        while stack:
            item = stack.pop()
            if not seen[item]:
                seen[item] = True
                found.append(item)
                stack += [x for x, _, _ in reversed(self.before[item])]
        return found

    def _sort_by_barycentre(
        self, layer: list[int], place: dict[int, float], near: Any, turn: bool
    ) -> None:
        """Sort those that have neighbours; with `turn`, equal ones change places."""
        key = {}
        for item in layer:
            if near[item]:
                breadth = [place[x] + shift / 1000 for x, shift, _ in near[item]]
                key[item] = sum(breadth) / len(breadth)
        known = [i for i in layer if i in key]
        moving = iter(sorted(known[::-1] if turn else known, key=key.__getitem__))
        layer[:] = [next(moving) if item in key else item for item in layer]

    def _swap(self, layers: list[list[int]]) -> None:
        """Exchange neighbours wherever that leaves fewer crossings, until none is left."""
        place = {item: k for layer in layers for k, item in enumerate(layer)}

        def tangled(a: int, b: int) -> int:
            """Crossings between the arrows of a and b with a before b."""
            return sum(place[x] > place[y] for near in (self.before, self.after)
                       for x, _, _ in near[a] for y, _, _ in near[b])

        for _ in range(4):
            swapped = False
            for layer in layers:
                for k in range(len(layer) - 1):
                    a, b = layer[k], layer[k + 1]
                    if tangled(a, b) > tangled(b, a):
                        layer[k], layer[k + 1] = b, a
                        place[a], place[b] = k + 1, k
                        swapped = True
            if not swapped:
                break

    def _crossings(self, layers: list[list[int]]) -> int:
        total = 0
        for layer, following in pairwise(layers):
            place = {item: k for k, item in enumerate(following)}
            heads: list[int] = []
            for item in layer:
                mine = sorted(place[x] for x, _, _ in self.after[item])
                total += sum(len(heads) - bisect_right(heads, p) for p in mine)
                for p in mine:
                    insort(heads, p)
        return total

    # ---- 3. place -------------------------------------------------------------------------------

    def _across(self) -> list[float]:
        """v of each item: near its neighbours, in order, and no closer than the gaps."""
        v = [0.0] * len(self.rank)
        room = [self._distances(layer) for layer in self.layers]
        for layer, distances in zip(self.layers, room):
            position = -sum(distances) / 2
            for item, step in zip(layer, [*distances, 0.0]):
                v[item] = position
                position += step
        depth = len(self.layers)
        sweeps = 24 if len(self.rank) < 600 else 8 if len(self.rank) < 4000 else 4
        for sweep in range(2 * sweeps + 2):
            both = sweep >= 2 * sweeps
            forward = sweep % 2 == 0
            for r in range(depth) if forward else range(depth - 1, -1, -1):
                wish, weight = [], []
                for item in self.layers[r]:
                    near = (self.before[item] + self.after[item] if both else
                            self.before[item] if forward else self.after[item])
                    total = sum(w for _, _, w in near)
                    wish.append(sum(w * (v[x] + shift) for x, shift, w in near) / total
                                if total else v[item])
                    weight.append(total or 0.05)
                for item, new in zip(self.layers[r], nearest(wish, weight, room[r])):
                    v[item] = new
        self._straighten(v, room)
        low = min((v[i] - self.breadth[i] / 2 for i in range(len(v))), default=0.0)
        return [x - low for x in v]

    def _straighten(self, v: list[float], room: list[list[float]]) -> None:
        """Let each chain run straight over as many ranks as its neighbours leave it room."""
        place = {item: k for layer in self.layers for k, item in enumerate(layer)}
        for (tail, head, tail_off, head_off), chain in zip(self.links, self.chains):
            run: list[int] = []
            low, high = -math.inf, math.inf
            for item in [*chain[1:-1], None]:
                if item is not None:
                    r, k = self.rank[item], place[item]
                    layer = self.layers[r]
                    below = v[layer[k - 1]] + room[r][k - 1] if k else -math.inf
                    above = v[layer[k + 1]] - room[r][k] if k + 1 < len(layer) else math.inf
                    if max(low, below) <= min(high, above):
                        run.append(item)
                        low, high = max(low, below), min(high, above)
                        continue
                if run:
                    wish = sum(v[i] for i in run) / len(run)
                    if run[0] == chain[1] and item is not None:
                        wish = v[tail] + tail_off
                    elif run[0] != chain[1] and item is None:
                        wish = v[head] + head_off
                    for i in run:
                        v[i] = min(max(wish, low), high)
                if item is not None:
                    run, low, high = [item], below, above

    def _distances(self, layer: list[int]) -> list[float]:
        """How far apart the middles of neighbours in a rank must be."""
        distances = []
        for a, b in pairwise(layer):
            gap = BOX_GAP if a < self.boxes and b < self.boxes else CHAIN_GAP
            distances.append((self.breadth[a] + self.breadth[b]) / 2 + gap)
        return distances

    def _attach(self) -> None:
        """Spread arrows along the side of the box that they enter, in the order they come from."""
        self.enters = [self.v[head] + off for _, head, _, off in self.links]
        coming: dict[int, list[int]] = {}
        for k, (_, head, _, off) in enumerate(self.links):
            if not off and self.breadth[head]:
                coming.setdefault(head, []).append(k)
        for head, links in coming.items():
            links.sort(key=lambda k: self.v[self.chains[k][-2]])
            step = min(12.0, (self.breadth[head] - 10) / max(len(links), 2))
            for place, k in enumerate(links):
                self.enters[k] += step * (place - (len(links) - 1) / 2)

    def _along(self) -> tuple[list[float], Point]:
        """u of each item, and the whole extent. A rank is as wide as its longest box."""
        self.sides: list[Point] = []
        position = 0.0
        for r, layer in enumerate(self.layers):
            longest = max((self.length[i] for i in layer), default=0.0)
            if r:
                rise = max((abs(self.v[x] + s - self.v[i]) for i in layer
                            for x, s, _ in self.before[i]), default=0.0)
                is_port = not longest or self.sides[-1][0] == self.sides[-1][1]
                base = RANK_GAP / 2 if is_port else RANK_GAP
                position += min(base + 0.12 * rise, WIDEST_RANK_GAP)
            self.sides.append((position, position + longest))
            position += longest
        u = [sum(self.sides[r]) / 2 for r in self.rank]
        breadth = max((self.v[i] + self.breadth[i] / 2 for i in range(len(self.v))), default=0.0)
        return u, (position, breadth)

    def _route(self, k: int) -> list[Point]:
        """The path of a link: straight along the ranks it passes, curved between them."""
        tail, head, off, _ = self.links[k]
        v = self.v[tail] + off
        path = [(self.u[tail] + self.length[tail] / 2, v)]
        for item in self.chains[k][1:]:
            start = self.sides[self.rank[item] - 1][1]     # where the rank before ends
            left, right = self.sides[self.rank[item]]
            path += _line(path[-1], (start, v))
            v_next = self.enters[k] if item == head else self.v[item]
            middle = (start + left) / 2
            path += [(middle, v), (middle, v_next), (left, v_next)]
            v = v_next
            end = self.u[head] - self.length[head] / 2 if item == head else right
            path += _line(path[-1], (end, v))
        return path


def _line(a: Point, b: Point) -> list[Point]:
    """A straight piece as a cubic curve; nothing if it has no length."""
    return [] if abs(a[0] - b[0]) + abs(a[1] - b[1]) < 0.01 else [a, b, b]


def _ranks(n: int, links: list[Link], first: set[int], last: set[int]) -> list[int]:
    """The longest path to each box; leaves, and what is made of leaves alone, move to their use."""
    before: list[list[int]] = [[] for _ in range(n)]
    after: list[list[int]] = [[] for _ in range(n)]
    for tail, head, _, _ in links:
        before[head].append(tail)
        after[tail].append(head)
    waiting = [len(x) for x in before]
    order = [i for i in range(n) if not waiting[i]]
    rank = [0] * n
    for i in order:                                        # grows while it is walked
        if first and i not in first and not before[i]:
            rank[i] = 1
        for j in after[i]:
            rank[j] = max(rank[j], rank[i] + 1)
            waiting[j] -= 1
            if not waiting[j]:
                order.append(j)
    if last:
        end = max([rank[i] for i in range(n) if i not in last], default=0) + 1
        for i in last:
            rank[i] = end
    movable = set()
    for i in order:
        alone = all(j in movable and len(after[j]) == 1 for j in before[i])
        if i not in first and i not in last and alone:
            movable.add(i)
    for i in reversed(order):
        if i in movable and after[i]:
            rank[i] = min(rank[j] for j in after[i]) - 1
    low = min(rank, default=0)
    return [r - low for r in rank]


def nearest(wish: list[float], weight: list[float], distance: list[float]) -> list[float]:
    """The places nearest to the wished ones, in order and at least the distances apart.

    Minimises Σ wᵢ (vᵢ − wishᵢ)² subject to vᵢ + distanceᵢ ≤ vᵢ₊₁. Taking the distances off turns
    it into isotonic regression, which pooling adjacent violators solves exactly.

    Examples
    --------
    >>> nearest([0.0, 0.0], [1.0, 1.0], [10.0])
    [-5.0, 5.0]
    """
    offsets = [0.0]
    for d in distance:
        offsets.append(offsets[-1] + d)
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
