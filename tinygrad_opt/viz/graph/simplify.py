"""Making a large graph one that can be looked at: steps folded, modules closed, leaves repeated.

Each function takes a `Graph` and gives another. What they leave out is said in the caption.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from tinygrad_opt.recording import composites
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.viz.graph.model import Graph, Node, Row, counted, merged, topological
from tinygrad_opt.viz.graph.modules import entries_of, framed, scoped
from tinygrad_opt.viz.graph.repeats import MANY_USES, longest_loop, stacked
from tinygrad_opt.viz.graph.text import visible

__all__ = ["SMALL_GRAPH", "aliased", "census", "composed", "contracted", "noted", "readable"]

LONG_WAY, SMALL_GRAPH = 3, 40
TOO_MANY = 5000


def readable(graph: Graph, max_nodes: int | None = 300, depth: int | None = None) -> Graph:
    """Make the graph small enough to be looked at, and frame its modules.

    Beyond 40 boxes equal layers one after another become one, in a frame that says ``×30``.
    Beyond `max_nodes` the steps of loops are folded, and then modules closed.

    Parameters
    ----------
    graph : Graph
        As traced.
    max_nodes : int or None
        How many boxes are few enough; None folds nothing.
    depth : int, optional
        Close modules below this level in any case.

    Returns
    -------
    Graph
    """
    whole, total = graph, len(graph.nodes)
    if depth is not None:
        graph = _closed(framed(graph), depth)
    if max_nodes is not None and len(graph.nodes) > min(SMALL_GRAPH, max_nodes):
        graph = _smaller(graph, max_nodes)
        if len(graph.nodes) > max(TOO_MANY, max_nodes):
            return _tallied(whole, (node.title for node in whole.nodes.values()),
                            (*whole.notes, "draw(…, max_nodes=None) shows all"))
    if len(graph.nodes) < total:
        graph = noted(graph, total, depth)
    return framed(aliased(_told_apart(graph)))


def noted(graph: Graph, total: int, depth: int | None) -> Graph:
    """The graph with a remark that it had so many boxes, and how to see them."""
    hint = " – draw(…, max_nodes=None) shows all" if depth is None else ""
    return replace(graph, notes=(*graph.notes, f"folded from {total:,}{hint}"))


def _smaller(graph: Graph, max_nodes: int) -> Graph:
    """Fold equal layers; if that is not enough, fold loops, close modules and fold again.

    Where the user has set scopes, modules are closed first: what was given a name stays whole.
    """
    small = stacked(graph)
    if len(small.nodes) <= max_nodes:
        return small
    for shrink in (_shut, _folded) if scoped(graph) else (_folded, _shut):
        graph = shrink(graph, max_nodes)
    return stacked(graph)


# ---- leaves --------------------------------------------------------------------------------------


def aliased(graph: Graph) -> Graph:
    """Draw leaves that are used often, far apart or by a module's other uses again at each use.

    Without it the arrows from a weight to every step of a recurrent network keep any layout
    busy for minutes.
    """
    rank = _depths(graph)
    outputs = graph.outputs()
    inputs = graph.inputs()
    nodes: dict[str, Node] = {}
    moved: dict[str, str] = {}
    for id, node in graph.nodes.items():
        nodes[id] = node
        uses = outputs[id]
        if inputs[id] or len(uses) < 2:
            continue
        at = [rank[e.head] for e in uses]
        far = len(graph.nodes) > SMALL_GRAPH and max(at) - min(at) > LONG_WAY
        if len(uses) > MANY_USES or far or (node.scope and node.kind == "parameter"):
            for k, edge in enumerate(sorted(uses, key=lambda e: rank[e.head])[1:], 1):
                moved[edge.id] = alias = f"{id}u{k}"
                nodes[alias] = node.alias(alias, node.title)
    edges = [replace(e, tail=moved[e.id]) if e.id in moved else e for e in graph.edges]
    return replace(graph, nodes=nodes, edges=tuple(edges))


def _told_apart(graph: Graph) -> Graph:
    """Several leaves without a name of their own get numbers: ``data 1``, ``data 2``."""
    leaves = [n for n in graph.nodes.values() if n.kind in ("input", "parameter") and not n.tag]
    count = Counter(n.title for n in leaves)
    numbers = {title: itertools.count(1) for title, n in count.items() if n > 1}
    return replace(graph, nodes=graph.nodes | {
        n.id: replace(n, title=f"{n.title} {next(numbers[n.title])}")
        for n in leaves if n.title in numbers})


def _depths(graph: Graph) -> dict[str, int]:
    """The longest way from a leaf to each box."""
    outputs, depth = graph.outputs(), dict.fromkeys(graph.nodes, 0)
    for id in topological(graph.nodes, [(e.tail, e.head) for e in graph.edges]):
        for edge in outputs[id]:
            depth[edge.head] = max(depth[edge.head], depth[id] + 1)
    return depth


# ---- many boxes as one ---------------------------------------------------------------------------


def contracted(
    graph: Graph, groups: Iterable[tuple[set[str], str, str, tuple[str, ...]]]
) -> Graph:
    """Each group of boxes as one folded box with the given title, tag and modules around it.

    Leaves that only the group uses go with it, but for the inputs of one with a tag. Of what comes
    out, the last shape is told.
    """
    inside: dict[str, str] = {}
    folded: dict[str, Node] = {}
    for members, title, tag, scope in groups:
        everything = members | graph.leaves_of(members, inputs=not tag)
        id, end = f"{min(members, key=_number)}m", graph.nodes[max(members, key=_number)]
        held = zip(*(_holds(graph.nodes[id]) for id in everything))
        count, parameters, values = map(sum, held)
        rows = [Row("shape", counted(count, "operation"))]
        if parameters:
            rows.append(Row("shape", f"{parameters} params, {values:,} values"))
        rows += [r for r in end.rows if r.key == "shape" and end.kind != "folded"]
        folded[id] = Node(id, "folded", title, tag, tuple(rows), scope, end.source, len(everything),
                          f"{count} operations", holds=(count, parameters, values))
        inside.update(dict.fromkeys(everything, id))
    return _joined(graph, inside, folded)


def composed(graph: Graph) -> Graph:
    """What one function computed in several operations, such as a convolution, as one box."""
    inside: dict[str, str] = {}
    joined: dict[str, Node] = {}
    last: dict[int, str] = {}
    found = entries_of(graph, composites)
    for id, ((start, name), *_) in reversed(found.items()):
        inside[id] = end = last.setdefault(start, id)
        if end == id:
            node = graph.nodes[id]
            joined[id] = replace(node, tag=name) if node.tag else replace(node, title=name)
    return _joined(graph, inside, joined)


def _joined(graph: Graph, inside: dict[str, str], joined: dict[str, Node]) -> Graph:
    """The graph with one box for those that lie inside it."""
    nodes: dict[str, Node] = {}
    for id, node in graph.nodes.items():
        group = inside.get(id)
        if group is None:
            nodes[id] = node
        else:                                              # it stands where its last box stood
            nodes.pop(group, None)
            nodes[group] = joined[group]
    edges = []
    for edge in graph.edges:
        tail, head = inside.get(edge.tail, edge.tail), inside.get(edge.head, edge.head)
        if tail != head:
            label = edge.label if head == edge.head else ""
            edges.append(replace(edge, tail=tail, head=head, label=label))
    end = inside.get(graph.end, graph.end)
    return replace(graph, nodes=nodes, edges=merged(edges), end=end)


def _holds(node: Node) -> tuple[int, int, int]:
    """How many operations, parameters and values of these a box stands for."""
    if node.kind == "parameter":
        return 0, 1, node.size
    made = int(node.kind in ("op", "loss", "effect"))
    return node.holds if node.kind == "folded" else (made, 0, 0)


def _number(id: str) -> int:
    """n12u3 → 12."""
    return int("".join(c if c.isdecimal() else " " for c in id[1:]).split()[0])


# ---- repeated steps ------------------------------------------------------------------------------


def _folded(graph: Graph, max_nodes: int) -> Graph:
    """Fold loops, the longest first: two steps, "… 47 more …" and the last step stay."""
    for _ in range(64):
        if len(graph.nodes) <= max_nodes:
            break
        middle = longest_loop(graph)
        if middle is None:
            break
        members, steps = middle
        graph = contracted(graph, [(members, f"… {steps} more steps …", "", ())])
    return graph


# ---- modules -------------------------------------------------------------------------------------


def _levels(graph: Graph) -> dict[str, int]:
    """How deep each frame lies, from 1."""
    levels: dict[str, int] = {}
    for cluster in graph.clusters:                         # parents come first
        levels[cluster.id] = levels.get(cluster.parent or "", 0) + 1
    return levels


def _closed(graph: Graph, depth: int) -> Graph:
    """Every module below the depth as one box, of a graph with its frames."""
    levels = _levels(graph)
    return replace(contracted(graph, [
        (set(c.members), c.label, "module", c.path[:-1])
        for c in graph.clusters if levels[c.id] == depth + 1
    ]), clusters=())


def _shut(graph: Graph, max_nodes: int) -> Graph:
    """Modules closed, the deepest first, until few enough boxes are left."""
    while len(graph.nodes) > max_nodes:
        with_frames = framed(graph)
        deepest = max(_levels(with_frames).values(), default=0)
        if not deepest:
            break
        graph = _closed(with_frames, deepest - 1)
    return graph


# ---- beyond all drawing --------------------------------------------------------------------------


def census(tensors: Iterable[Tensor], name: str) -> Graph:
    """One box that counts Tensors by what they are, for so many that boxes would take minutes."""
    return _tallied(Graph(name, {}, ()), (
        visible(t.op.symbol) if t.op is not None else "parameter" if t._needs_grad else "constant"
        for t in tensors))


def _tallied(graph: Graph, titles: Iterable[str], notes: tuple[str, ...] = ()) -> Graph:
    """The graph as one box that counts these."""
    counts = Counter(titles)
    total = sum(counts.values())
    rows = [Row("shape", f"{n:,} × {title}") for title, n in counts.most_common(12)]
    if len(counts) > 12:
        rows.append(Row("shape", f"and {len(counts) - 12:,} other kinds"))
    node = Node("n0", "folded", f"{total:,} nodes", "too many to draw", tuple(rows),
                size=total)
    return replace(graph, nodes={"n0": node}, edges=(), notes=notes, end="n0", clusters=())
