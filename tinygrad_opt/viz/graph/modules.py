"""Which boxes belong to which use of a module, and the frames around them.

A module is known by the dotted names of its parameters: what multiplies ``layers.0.weight`` lies
in ``layers.0``, and so does what lies between two such boxes. `scope` names a part by hand. A
module that is used again gets another frame, so that a recurrent cell has one for each step.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import product, takewhile
from typing import TypeVar

from tinygrad_opt.recording import tick
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.viz.graph.model import Cluster, Graph, Node, topological
from tinygrad_opt.viz.graph.text import visible
from tinygrad_opt.viz.graph.trace import DEEPEST

__all__ = ["entries_of", "framed", "scope", "scoped"]

T = TypeVar("T")
Path = tuple[str, ...]
Entry = tuple[int, Path]                   # a scope that was entered, and when

_path: ContextVar[Path] = ContextVar("scope", default=())
_scopes: deque[tuple[int, int, Path]] = deque(maxlen=10_000)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Frame what is computed inside in drawings: ``with scope("encoder"):``.

    Parameters
    ----------
    name : str
        What the frame is called. Scopes may lie inside scopes.

    Notes
    -----
    The clock is read on entry and exit, and a drawing looks up which Tensors were made between;
    recording itself is not touched. The last 10,000 scopes are remembered. What other threads
    compute meanwhile is taken for part of the scope.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt.viz import draw, scope
    >>> x = tg.Tensor(2.0, requires_grad=True, name="x")
    >>> with scope("square"):
    ...     y = x * x + x
    >>> [frame.label for frame in draw(y - 1).graph.clusters]
    ['square']
    """
    path = (*_path.get(), visible(name))[:DEEPEST]
    token, start = _path.set(path), tick()
    try:
        yield
    finally:
        _path.reset(token)
        _scopes.append((start, tick(), path))


def framed(graph: Graph) -> Graph:
    """The graph with a frame around each use of a module."""
    by_hand = entries_of(graph, _scopes)
    own = _own_scopes(graph, by_hand)
    scopes = _with_between(graph, own, by_hand)
    between = {id for id, path in own.items() if not path}
    clusters: list[Cluster] = []
    frames: dict[str, Cluster] = {}                        # the innermost around each box
    order = {id: k for k, id in enumerate(graph.nodes)}
    use: dict[str, str] = {}                               # box → first box of its use
    for level in range(1, max(map(len, scopes.values()), default=0) + 1):
        found = _uses(graph, scopes, by_hand, level, use)
        use = _without_cycles(graph, _with_leaves(graph, found, scopes, between))
        members: dict[str, set[str]] = {}
        for id, first in use.items():
            members.setdefault(first, set()).add(id)
        for first in sorted(members, key=order.__getitem__):
            boxes, path, outer = frozenset(members[first]), scopes[first][:level], frames.get(first)
            if outer is not None and not boxes <= outer.members:
                outer = None
            if len(boxes) == 1 or (outer is not None and boxes == outer.members):
                continue                                   # two frames around the same boxes
            new = Cluster(f"c{len(clusters)}", path[-1] if outer else ".".join(path), boxes,
                          outer.id if outer else None, path)
            clusters.append(new)
            frames.update(dict.fromkeys(boxes, new))
    nodes = {id: _within(node, frames[id]) if id in frames else node
             for id, node in graph.nodes.items()}
    for repeat in graph.repeats:
        clusters = _around(graph, clusters, repeat)
    return replace(graph, nodes=nodes, clusters=tuple(clusters))


def _around(graph: Graph, clusters: list[Cluster], repeat: Cluster) -> list[Cluster]:
    """The frames, with one more around what is repeated; those that it would cut are left out."""
    members = repeat.members & graph.nodes.keys() | graph.leaves_of(repeat.members)
    same = [c for c in clusters if c.members == members]
    if same:
        return [replace(c, label=repeat.label) if c is same[0] else c for c in clusters]
    kept = [c for c in clusters if c.members < members or members < c.members
            or not c.members & members]
    frames = [*kept, replace(repeat, members=frozenset(members))]
    frames.sort(key=lambda c: -len(c.members))
    return [replace(c, parent=next((outer.id for outer in reversed(frames)
                                    if c.members < outer.members), None)) for c in frames]


def _within(node: Node, frame: Cluster) -> Node:
    """A leaf whose title leaves out the module that the frame around it names."""
    module = ".".join(node.scope)
    if node.scope and module.endswith(frame.label) and node.title.startswith(f"{module}."):
        return replace(node, short=node.title[len(module) + 1:])
    return node


# ---- which module a box belongs to ---------------------------------------------------------------


def _own_scopes(graph: Graph, by_hand: dict[str, list[Entry]]) -> dict[str, Path]:
    """The module of each box that is computed, as its weights or a `scope` name it."""
    weights = {id: n.scope for id, n in graph.nodes.items()
               if n.kind in ("parameter", "alias") and n.scope}
    scopes: dict[str, Path] = {}
    for id, edges in graph.inputs().items():
        node, tails = graph.nodes[id], [e.tail for e in edges]
        near = [weights[tail] for tail in tails if tail in weights]
        if not tails:
            continue
        if node.kind == "folded":
            scopes[id] = node.scope or _shared(near)
        else:
            scopes[id] = by_hand[id][-1][1] if id in by_hand else _shared(near)
        if near and len(near) == len(tails):               # a transposed weight is still a weight
            weights[id] = scopes[id]
        elif graph.nodes[tails[0]].kind == "operation":    # in the split style, a result
            scopes[id] = scopes[tails[0]]
    return scopes


def _with_between(
    graph: Graph, own: dict[str, Path], by_hand: dict[str, list[Entry]]
) -> dict[str, Path]:
    """The modules, also of boxes without one: what those before and those behind them share."""
    before = {id: [e.tail for e in graph.inputs()[id] if e.tail in own] for id in own}
    after = {id: [e.head for e in graph.outputs()[id]] for id in own}
    between = [id for id, path in own.items() if not path]
    # a scope holds what it says, no more
    behind = {id: () if id in by_hand else path for id, path in own.items()}
    ahead, scopes = dict(behind), dict(own)
    for id in between:
        behind[id] = _shared([behind[x] for x in before[id]])
    for id in reversed(between):
        ahead[id] = _shared([ahead[x] for x in after[id]])
    for id in [*between, *reversed(between)]:              # where two streams meet, in the one
        ways = product((behind[x] for x in before[id]), (ahead[x] for x in after[id]))
        scopes[id] = max(map(_shared, ways), key=len, default=())
        behind[id], ahead[id] = (max(path, scopes[id], key=len) for path in (behind[id], ahead[id]))
    return scopes


def _shared(paths: Sequence[Path]) -> Path:
    """The beginning that all the paths share."""
    same = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths))
    return tuple(part for part, *_ in same)


def scoped(graph: Graph) -> bool:
    """Whether any of it was computed in a `scope`."""
    return bool(entries_of(graph, _scopes))


def entries_of(
    graph: Graph, recorded: Iterable[tuple[int, int, T]]
) -> dict[str, list[tuple[int, T]]]:
    """The recorded stretches of time in which each box was computed, the outermost first.

    Each has a start, an end and whatever it stands for, of which all but the end is told.
    """
    made = ("op", "loss", "operation", "folded")
    boxes = sorted((n.source.serial, id) for id, n in graph.nodes.items()
                   if n.kind in made and isinstance(n.source, Tensor) and n.source.op is not None)
    serials = [serial for serial, _ in boxes]
    found: dict[str, list[tuple[int, T]]] = {}
    for start, end, what in sorted(s for s in recorded if serials and s[1] > serials[0]):
        for _, id in boxes[bisect(serials, start) : bisect(serials, end)]:
            found.setdefault(id, []).append((start, what))
    return found


# ---- uses ----------------------------------------------------------------------------------------


@dataclass
class _Use:
    """Boxes that make up one use of a module, and the parameters that it has taken so far."""

    boxes: list[str]
    taken: set[int]


def _uses(
    graph: Graph, scopes: dict[str, Path], by_hand: dict[str, list[Entry]], level: int,
    outer: dict[str, str],
) -> dict[str, str]:
    """Join neighbours of one module; where a parameter comes a second time, a new use begins.

    What was computed in one entry of a `scope` is one use, whatever is joined in it.
    """
    use: dict[str, _Use] = {}
    place: dict[str, tuple[Path, Entry | None, str | None]] = {}
    entered: dict[Entry, str] = {}                         # the first box of each

    def join(one: _Use, other: _Use) -> _Use:
        small, large = sorted((one, other), key=lambda u: len(u.boxes))
        if small is not large:
            large.boxes += small.boxes
            large.taken |= small.taken
            use.update(dict.fromkeys(small.boxes, large))
        return large

    for box, path in scopes.items():
        if len(path) < level:
            continue
        entry = next((e for e in by_hand.get(box, ()) if e[1] == path[:level]), None)
        place[box] = path[:level], entry, outer.get(box)
        tails = [e.tail for e in graph.inputs()[box]]
        leaves = [graph.nodes[tail] for tail in tails if tail not in scopes]
        mine = use[box] = _Use([box], {id(n.source) for n in leaves if n.scope})
        if entry is not None:
            mine = join(use[entered.setdefault(entry, box)], mine)
        for tail in tails:
            if place.get(tail) == place[box] and not use[tail].taken & mine.taken:
                mine = join(use[tail], mine)
    firsts: dict[int, str] = {}
    return {box: firsts.setdefault(id(use[box]), box) for box in graph.nodes if box in use}


def _with_leaves(
    graph: Graph, found: dict[str, str], scopes: dict[str, Path], between: set[str]
) -> dict[str, str]:
    """The uses without what lies between two of them, and with the leaves that only one takes."""
    outputs = graph.outputs()
    for box in reversed(list(scopes)):
        if box in between and box in found:
            if all(found.get(e.head) != found[box] for e in outputs[box]):
                del found[box]
    for box, edges in outputs.items():
        users = {found.get(e.head) for e in edges}
        user = users.pop() if len(users) == 1 else None
        if user is not None and box not in scopes and graph.nodes[box].kind != "input":
            found[box] = user
    return found


def _without_cycles(graph: Graph, use: dict[str, str]) -> dict[str, str]:
    """Give up uses that an arrow leaves and comes back to: no frame could hold them."""
    guilty = {first for first in _tangled(graph, use)
              if _tangled(graph, {id: f for id, f in use.items() if f == first})}
    use = {id: first for id, first in use.items() if first not in guilty}
    rest = _tangled(graph, use)                            # each is fine alone, but not with others
    return {id: first for id, first in use.items() if first not in rest}


def _tangled(graph: Graph, use: dict[str, str]) -> set[str]:
    """The uses that lie on a cycle, or between two, when each is taken for one box."""
    block = {id: use.get(id, id) for id in graph.nodes}
    arrows = {(block[e.tail], block[e.head]) for e in graph.edges if block[e.tail] != block[e.head]}
    blocks = set(block.values())
    blocks -= set(topological(blocks, arrows))
    backwards = [(head, tail) for tail, head in arrows if {tail, head} <= blocks]
    return (blocks - set(topological(blocks, backwards))) & set(use.values())
