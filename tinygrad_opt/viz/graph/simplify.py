"""Making a large graph one that can be looked at: steps folded, modules closed, leaves repeated.

Each function takes a `Graph` and gives another. What they leave out is said in the caption.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate

import numpy as np

from tinygrad_opt.viz.graph.model import Edge, Graph, Node, Row
from tinygrad_opt.viz.graph.modules import framed

__all__ = ["aliased", "readable"]

MANY_USES, LONG_WAY, SMALL_GRAPH = 4, 3, 40
LONGEST_STEP, FEWEST_STEPS = 400, 5
TOO_MANY = 5000


def readable(graph: Graph, max_nodes: int | None = 300, depth: int | None = None) -> Graph:
    """Fold repeated steps and then close modules until few enough boxes are left, and frame them.

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
    if max_nodes is not None:
        graph = _folded(graph, max_nodes)
    if depth is not None:
        graph = _closed(graph, depth)
    while max_nodes is not None and len(graph.nodes) > max_nodes:
        deepest = max(_levels(framed(graph)).values(), default=0)
        if not deepest:
            break
        graph = _closed(graph, deepest - 1)
    if max_nodes is not None and len(graph.nodes) > TOO_MANY:
        return _counted(whole)
    if len(graph.nodes) < total:
        hint = " – draw(…, max_nodes=None) shows all" if depth is None else ""
        graph = replace(graph, notes=(*graph.notes, f"folded from {total:,}{hint}"))
    return framed(aliased(graph))


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
                alias = f"{id}u{k}"
                nodes[alias] = replace(node, id=alias, kind="alias", title=f"{node.title} ↗",
                                       tag="", rows=(), tip=f"{node.title}, shown elsewhere")
                moved[edge.id] = alias
    edges = [replace(e, tail=moved[e.id]) if e.id in moved else e for e in graph.edges]
    return replace(graph, nodes=nodes, edges=tuple(edges))


def _depths(graph: Graph) -> dict[str, int]:
    """The longest way from a leaf to each box."""
    inputs, outputs = graph.inputs(), graph.outputs()
    waiting = {id: len(edges) for id, edges in inputs.items()}
    depth = dict.fromkeys(graph.nodes, 0)
    free = [id for id, n in waiting.items() if not n]
    while free:
        id = free.pop()
        for edge in outputs[id]:
            depth[edge.head] = max(depth[edge.head], depth[id] + 1)
            waiting[edge.head] -= 1
            if not waiting[edge.head]:
                free.append(edge.head)
    return depth


# ---- many boxes as one ---------------------------------------------------------------------------


def _contracted(graph: Graph, groups: Iterable[tuple[set[str], str, str]]) -> Graph:
    """Each group of boxes as one folded box with the given title and tag.

    Leaves that only the group uses go with it, but for the inputs of a module. Of what comes out,
    the last shape is told.
    """
    inputs, outputs = graph.inputs(), graph.outputs()
    inside: dict[str, str] = {}
    folded: dict[str, Node] = {}
    for members, title, tag in groups:
        id = f"{min(members, key=_number)}m"
        inside.update(dict.fromkeys(members, id))
        inside.update({leaf: id for leaf, edges in outputs.items()
                       if edges and not inputs[leaf] and leaf not in inside
                       and not (tag == "module" and graph.nodes[leaf].kind == "input")
                       and all(inside.get(e.head) == id for e in edges)})
        folded[id] = _folded_node(graph, id, members, title, tag,
                                  [leaf for leaf, m in inside.items() if m == id])
    nodes: dict[str, Node] = {}
    for id, node in graph.nodes.items():
        group = inside.get(id)
        if group is None:
            nodes[id] = node
        else:                                              # it stands where its last box stood
            nodes.pop(group, None)
            nodes[group] = folded[group]
    edges: dict[tuple[str, str], Edge] = {}
    for edge in graph.edges:
        tail, head = inside.get(edge.tail, edge.tail), inside.get(edge.head, edge.head)
        if tail != head:
            label = edge.label if head == edge.head else ""
            edges.setdefault((tail, head), Edge(tail, head, label))
    end = inside.get(graph.end, graph.end)
    return replace(graph, nodes=nodes, edges=tuple(edges.values()), end=end)


def _folded_node(
    graph: Graph, id: str, members: set[str], title: str, tag: str, everything: list[str]
) -> Node:
    """One box for many: how many operations and parameters, and the shape of what comes out."""
    last = graph.nodes[max(members, key=_number)]
    parameters = [graph.nodes[i] for i in everything if graph.nodes[i].kind == "parameter"]
    count = sum(graph.nodes[i].kind not in ("parameter", "constant", "input", "alias", "operation")
                for i in everything)
    rows = [Row("shape", f"{count} operation{'' if count == 1 else 's'}")]
    if parameters:
        values = sum(n.size for n in parameters)
        rows.append(Row("shape", f"{len(parameters)} params, {values:,} values"))
    rows += [r for r in last.rows if r.key == "shape" and last.kind != "folded"]
    return Node(id, "folded", title, tag, tuple(rows), last.scope[:-1], size=len(everything),
                tip=f"{title}: {count} operations")


def _number(id: str) -> int:
    """n12u3 → 12."""
    return int("".join(c if c.isdecimal() else " " for c in id[1:]).split()[0])


# ---- repeated steps ------------------------------------------------------------------------------


def _folded(graph: Graph, max_nodes: int) -> Graph:
    """Fold loops, the longest first: two steps, "… 47 more …" and the last step stay."""
    for _ in range(64):
        if len(graph.nodes) <= max_nodes:
            break
        middle = _longest_loop(graph)
        if middle is None:
            break
        members, steps = middle
        graph = _contracted(graph, [(members, f"… {steps} more steps …", "")])
    return graph


def _longest_loop(graph: Graph) -> tuple[set[str], int] | None:
    """The boxes of a loop's middle steps and how many steps these are; None without a loop.

    A loop is a period p for which operation i + p does what operation i does, with operands that
    come from equally far back, over many i in a row, each step using the one before.
    """
    signs, ops, back = _signs(graph)
    best: tuple[int, int, int] = (0, 0, 0)                 # hidden operations, start, period
    for p in range(1, min(LONGEST_STEP, len(ops) // FEWEST_STEPS) + 1):
        same = np.flatnonzero(np.concatenate(([True], signs[p:] != signs[:-p], [True])))
        gap = int(np.argmax(np.diff(same)))
        run = int(same[gap + 1] - same[gap]) - 1
        steps = (run + p) // p
        hidden = (steps - 3) * p
        if steps < FEWEST_STEPS or hidden <= best[0]:
            continue
        start = int(same[gap])
        if any(i - b < start + p for i in range(start + p, start + 2 * p) for b in back[i]):
            best = hidden, start, p
    hidden, start, p = best
    if not hidden:
        return None
    crossing = _crossing(ops, back)
    end = start + hidden + 3 * p                           # where the last repeated step ends
    first = min(range(start + 2 * p, start + p, -1), key=crossing.__getitem__)
    steps = (end - p - first) // p
    return set(ops[first : first + steps * p]), steps


def _crossing(ops: list[str], back: list[list[int]]) -> list[int]:
    """How many values pass each place between two operations: few do between two steps."""
    last = list(range(len(ops)))
    for k, steps in enumerate(back):
        for step in steps:
            last[k - step] = k
    change = [0] * (len(ops) + 2)
    for k, end in enumerate(last):
        change[k + 1] += 1
        change[end + 1] -= 1
    return list(accumulate(change))


def _signs(graph: Graph) -> tuple[np.ndarray, list[str], list[list[int]]]:
    """What each operation does, as one number; its place; how far back its operands were made."""
    inputs, outputs = graph.inputs(), graph.outputs()
    ops = [id for id in graph.nodes if inputs[id]]
    place = {id: k for k, id in enumerate(ops)}
    numbers: dict[object, int] = {}
    signs, back = [], []
    for k, id in enumerate(ops):
        node = graph.nodes[id]
        steps: list[int] = []
        sign: list[object] = [
            node.kind, _symbol(node), np.shape(getattr(node.source, "array", 0))]
        for edge in inputs[id]:
            tail = edge.tail
            if tail in place and len(outputs[tail]) <= MANY_USES:
                steps.append(k - place[tail])
                sign.append(k - place[tail])
            else:                                          # a leaf, or what every step uses
                other = graph.nodes[tail]
                sign.append((other.kind, np.shape(getattr(other.source, "array", 0))))
        back.append(steps)
        signs.append(numbers.setdefault(repr(sign), len(numbers)))
    return np.array(signs, dtype=np.int64), ops, back


def _symbol(node: Node) -> str:
    op = getattr(node.source, "op", None)
    return node.id if op is None else op.symbol            # folded boxes are like nothing else


# ---- modules -------------------------------------------------------------------------------------


def _levels(graph: Graph) -> dict[str, int]:
    """How deep each frame lies, from 1."""
    levels: dict[str, int] = {}
    for cluster in graph.clusters:                         # parents come first
        levels[cluster.id] = levels.get(cluster.parent or "", 0) + 1
    return levels


def _closed(graph: Graph, depth: int) -> Graph:
    """Every module below the depth as one box."""
    graph = framed(graph)
    levels = _levels(graph)
    return replace(_contracted(graph, [
        (set(c.members), c.label, "module") for c in graph.clusters if levels[c.id] == depth + 1
    ]), clusters=())


def _counted(graph: Graph) -> Graph:
    """One box that counts what there is, for a graph beyond all drawing."""
    counts = Counter(n.title for n in graph.nodes.values())
    rows = [Row("shape", f"{n:,} × {title}") for title, n in counts.most_common(12)]
    if len(counts) > 12:
        rows.append(Row("shape", f"and {len(counts) - 12:,} other kinds"))
    node = Node("n0", "folded", f"{len(graph.nodes):,} nodes", "too many to draw", tuple(rows),
                size=len(graph.nodes))
    return replace(graph, nodes={"n0": node}, edges=(), end="n0", clusters=(), notes=(
        *graph.notes, "draw(…, max_nodes=None) shows all"))
