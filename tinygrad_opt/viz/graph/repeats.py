"""What is repeated in a graph: the steps of a loop, and layers that differ in their weights alone.

A run with period p is where operation i + p does what operation i does, with operands that come
from equally far back. In a loop every step uses the same weights. In a stack each has its own.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import numpy as np

from tinygrad_opt.viz.graph.backward import joined
from tinygrad_opt.viz.graph.model import Edge, Graph, Node, Repeat
from tinygrad_opt.viz.graph.trace import told_by_letters

__all__ = ["FEWEST_LAYERS", "MANY_USES", "longest_loop", "longest_run", "once", "stacked"]

MANY_USES = 4                              # from here on a value belongs to no step
LONGEST_STEP, FEWEST_STEPS, FEWEST_LAYERS = 400, 5, 3


# ---- stacks --------------------------------------------------------------------------------------


def stacked(graph: Graph) -> Graph:
    """Each stack of equal layers as one layer, in a frame that says how many it stands for."""
    for _ in range(16):
        found = _stack(graph)
        if found is None:
            break
        graph = once(graph, found)
    return graph


def _stack(graph: Graph) -> list[list[str]] | None:
    """The operations of each layer of the longest stack; None if there is none."""
    signs, ops, back = _signs(graph, exact=True)
    start, end, p = longest_run(signs, back, kept=1, fewest=FEWEST_LAYERS)
    if start == end:
        return None
    crossing = _crossing(ops, back)
    inputs = graph.inputs()

    def layers(first: int) -> list[list[str]]:
        return [ops[k : k + p] for k in range(first, end - p + 1, p)]

    def begins(first: int) -> bool:
        """Whether a layer may begin here: one value goes from each to the next."""
        return all(crossing[k] == 1 for k in range(first + p, end - p + 1, p))

    places = [k for k in range(start, start + p) if begins(k) and len(layers(k)) >= FEWEST_LAYERS]
    places.sort(key=lambda k: (-len(layers(k)), not _weights(graph, inputs, ops[k])))
    return next((layers(k) for k in places if _own_weights(graph, layers(k))), None)


def _weights(graph: Graph, inputs: dict[str, list[Edge]], op: str) -> list[str]:
    """The parameters that an operation takes; a closed module stands for its own."""
    own = [op] if graph.nodes[op].kind == "folded" else []
    return own + [e.tail for e in inputs[op] if graph.nodes[e.tail].kind == "parameter"]


def _own_weights(graph: Graph, layers: list[list[str]]) -> bool:
    """Whether each layer has parameters of its own, and no layer data of its own."""
    inputs, outputs = graph.inputs(), graph.outputs()
    for k, layer in enumerate(layers):
        mine = set(layer)
        weights = {w for op in layer for w in _weights(graph, inputs, op)}
        data = {e.tail for op in layer for e in inputs[op] if graph.nodes[e.tail].kind == "input"}
        if not weights or any(e.head not in mine for w in weights - mine for e in outputs[w]):
            return False
        if k and any(all(e.head in mine for e in outputs[x]) for x in data):
            return False
    return True


def once(graph: Graph, layers: list[list[str]]) -> Graph:
    """The first layer in place of all: what comes out of the last comes out of it."""
    inputs, outputs = graph.inputs(), graph.outputs()
    shown = {op: layers[0][k] for layer in layers[1:] for k, op in enumerate(layer)}
    gone = set(shown) | {
        leaf for leaf, edges in outputs.items()
        if edges and not inputs[leaf] and all(e.head in shown for e in edges)}
    edges: dict[tuple[str, str], Edge] = {}
    for edge in graph.edges:
        if edge.head not in shown and edge.tail not in gone - set(shown):
            new = replace(edge, tail=shown.get(edge.tail, edge.tail))
            old = edges.get((new.tail, new.head))
            edges[new.tail, new.head] = new if old is None else joined(old, new)
    repeat = Repeat(_label(graph, layers), frozenset(layers[0]))
    return replace(
        graph, nodes={id: n for id, n in graph.nodes.items() if id not in gone},
        edges=tuple(edges.values()), end=shown.get(graph.end, graph.end),
        repeats=(*graph.repeats, repeat))


def _label(graph: Graph, layers: list[list[str]]) -> str:
    """``layers.1 … layers.30  ×30``: the modules in which the first and the last layer differ."""
    inputs = graph.inputs()

    def module(layer: list[str]) -> tuple[str, ...]:
        weights = (graph.nodes[w] for op in layer for w in _weights(graph, inputs, op))
        return next(((*n.scope, n.title) if n.kind == "folded" else n.scope for n in weights), ())

    first, last = module(layers[0]), module(layers[-1])
    for k, (a, b) in enumerate(zip(first, last), 1):
        if a != b:
            return f"{'.'.join(first[:k])} … {'.'.join(last[:k])}  ×{len(layers)}"
    return f"×{len(layers)}"


# ---- loops ---------------------------------------------------------------------------------------


def longest_loop(graph: Graph) -> tuple[set[str], int] | None:
    """The boxes of a loop's middle steps and how many steps these are; None without a loop.

    A loop is a period p for which operation i + p does what operation i does, with operands that
    come from equally far back, over many i in a row, each step using the one before.
    """
    signs, ops, back = _signs(graph)
    start, end, p = longest_run(signs, back, kept=3, fewest=FEWEST_STEPS)
    if start == end:
        return None
    crossing = _crossing(ops, back)
    end -= (end - start) % p                               # where the last whole step ends
    first = min(range(start + 2 * p, start + p, -1), key=crossing.__getitem__)
    steps = (end - p - first) // p
    return set(ops[first : first + steps * p]), steps


def longest_run(
    signs: np.ndarray, back: list[list[int]], kept: int, fewest: int
) -> tuple[int, int, int]:
    """Where the run starts and ends that hides most, and its period; 0, 0 without one."""
    best, hidden = (0, 0, 0), 0
    for p in range(1, min(LONGEST_STEP, len(signs) // fewest) + 1):
        same = np.flatnonzero(np.concatenate(([True], signs[p:] != signs[:-p], [True])))
        gap = int(np.argmax(np.diff(same)))
        start, run = int(same[gap]), int(same[gap + 1] - same[gap]) - 1
        steps = (run + p) // p
        if steps < fewest or (steps - kept) * p <= hidden:
            continue
        if any(i - b < start + p for i in range(start + p, start + 2 * p) for b in back[i]):
            best, hidden = (start, start + run + p, p), (steps - kept) * p
    return best


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


def _signs(
    graph: Graph, exact: bool = False
) -> tuple[np.ndarray, list[str], list[list[int]]]:
    """What each operation does, as one number; its place; how far back its operands were made.

    With `exact`, the numbers and axes in its title count as well.
    """
    inputs, outputs = graph.inputs(), graph.outputs()
    ops = [id for id in graph.nodes if inputs[id]]
    place = {id: k for k, id in enumerate(ops)}
    numbers: dict[object, int] = {}
    signs, back = [], []
    for k, id in enumerate(ops):
        node = graph.nodes[id]
        steps: list[int] = []
        sign: list[object] = [
            node.kind, _symbol(node), np.shape(getattr(node.source, "array", 0)),
            exact and node.kind != "folded" and told_by_letters(node.source)]
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
    if node.kind == "folded":                              # folded steps are like no other box
        return repr(node.rows) if node.tag == "module" else node.id
    return str(node.source.op.symbol)
