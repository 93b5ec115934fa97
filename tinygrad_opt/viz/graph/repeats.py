"""What is repeated in a graph: the steps of a loop, and layers that differ in their weights alone.

A run with period p is where operation i + p does what operation i does, with operands that come
from equally far back. In a loop every step uses the same weights. In a stack each has its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

import numpy as np

from tinygrad_opt.tensor import Tensor
from tinygrad_opt.viz.graph.model import Cluster, Graph, merged
from tinygrad_opt.viz.graph.trace import told_by_letters

__all__ = ["each_once", "longest_loop", "longest_run", "signed", "stacked", "stretches"]

MANY_USES = 4                              # from here on a value belongs to no step
LONGEST_STEP, FEWEST_STEPS, FEWEST_LAYERS = 400, 5, 3


# ---- stacks --------------------------------------------------------------------------------------


def stacked(graph: Graph) -> Graph:
    """Each stack of equal layers as one layer, in a frame that says how many it stands for."""
    return each_once(graph, _stack)


def each_once(graph: Graph, find: Callable[[Graph], list[list[str]]]) -> Graph:
    """Draw what `find` gives once, and look again, until it gives nothing."""
    for _ in range(16):
        layers = find(graph)
        if not layers:
            break
        graph = _once(graph, layers)
    return graph


def _stack(graph: Graph) -> list[list[str]]:
    """The operations of each layer of the longest stack; none if there is none."""
    ops, signs, back = _computed(graph, exact=True)
    crossing = _crossing(ops, back)

    def begins(layers: list[list[str]]) -> bool:
        """Whether a layer may begin here: one value goes from each to the next."""
        first, p = ops.index(layers[0][0]), len(layers[0])
        between = range(first + p, first + p * len(layers), p)
        return len(layers) >= FEWEST_LAYERS and all(crossing[k] == 1 for k in between)

    found = [layers for layers in stretches(ops, signs, back) if begins(layers)]
    found.sort(key=lambda layers: (-len(layers), not _weights(graph, layers[0][0])))
    return next((layers for layers in found if _own_weights(graph, layers)), [])


def stretches(ops: list[str], signs: np.ndarray, back: list[list[int]]) -> list[list[list[str]]]:
    """The longest run cut into equal stretches of operations, in each of the possible ways."""
    start, end, p = longest_run(signs, back, kept=1, fewest=FEWEST_LAYERS)
    return [[ops[k : k + p] for k in range(first, end - p + 1, p)]
            for first in range(start, start + p)] if start < end else []


def _weights(graph: Graph, op: str) -> list[str]:
    """The parameters that an operation takes; a closed module stands for its own."""
    own = [op] if graph.nodes[op].kind == "folded" else []
    return own + [e.tail for e in graph.inputs()[op] if graph.nodes[e.tail].kind == "parameter"]


def _own_weights(graph: Graph, layers: list[list[str]]) -> bool:
    """Whether each layer has parameters of its own, and no layer data of its own."""
    inputs, outputs = graph.inputs(), graph.outputs()
    for k, layer in enumerate(layers):
        mine = set(layer)
        weights = {w for op in layer for w in _weights(graph, op)}
        data = {e.tail for op in layer for e in inputs[op] if graph.nodes[e.tail].kind == "input"}
        if not weights or any(e.head not in mine for w in weights - mine for e in outputs[w]):
            return False
        if k and any(all(e.head in mine for e in outputs[x]) for x in data):
            return False
    return True


def _once(graph: Graph, layers: list[list[str]]) -> Graph:
    """The first layer in place of all: what comes out of the last comes out of it."""
    shown = {op: layers[0][k] for layer in layers[1:] for k, op in enumerate(layer)}
    gone = shown.keys() | graph.leaves_of(shown, inputs=True)
    edges = merged(replace(e, tail=shown.get(e.tail, e.tail))
                   for e in graph.edges if e.head not in shown)
    repeat = Cluster(f"r{len(graph.repeats)}", _label(graph, layers), frozenset(layers[0]))
    return replace(
        graph, nodes={id: n for id, n in graph.nodes.items() if id not in gone},
        edges=edges, end=shown.get(graph.end, graph.end),
        repeats=(*graph.repeats, repeat))


def _label(graph: Graph, layers: list[list[str]]) -> str:
    """``layers.1 … layers.30  ×30``: the modules in which the first and the last layer differ."""
    def module(layer: list[str]) -> tuple[str, ...]:
        weights = (graph.nodes[w] for op in layer for w in _weights(graph, op))
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
    ops, signs, back = _computed(graph, exact=False)
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


def signed(
    graph: Graph, ops: list[str], own: Callable[[str], object], other: Callable[[str], object]
) -> tuple[list[str], np.ndarray, list[list[int]]]:
    """The operations, what each does as one number, and how far back its operands were made.

    Parameters
    ----------
    ops : list of str
        In order of creation.
    own, other : callable
        Tell what an operation does, and what a value is that none of `ops` makes for one step.
    """
    inputs, place = graph.inputs(), {id: k for k, id in enumerate(ops)}
    uses = Counter(edge.tail for edge in graph.edges if edge.head in place)
    numbers: dict[object, int] = {}
    signs: list[int] = []
    back: list[list[int]] = []
    for k, id in enumerate(ops):
        sign: list[object] = [own(id)]
        back.append([])
        for edge in inputs[id]:
            tail: object = other(edge.tail)
            if edge.tail in place and uses[edge.tail] <= MANY_USES:
                tail = k - place[edge.tail]
                back[-1].append(k - place[edge.tail])
            sign.append((edge.label, tail))
        signs.append(numbers.setdefault(repr(sign), len(numbers)))
    return ops, np.array(signs, dtype=np.int64), back


def _computed(graph: Graph, exact: bool) -> tuple[list[str], np.ndarray, list[list[int]]]:
    """All that is computed, as `signed`; with `exact`, numbers and axes tell operations apart."""

    def other(id: str) -> object:
        node = graph.nodes[id]
        return node.kind, np.shape(node.values)

    def own(id: str) -> object:
        node = graph.nodes[id]
        if node.kind == "folded" or not isinstance(node.source, Tensor):
            return other(id), repr(node.rows) if node.tag == "module" else id
        op = node.source.op
        return other(id), told_by_letters(node.source) if exact else op and op.symbol

    return signed(graph, [id for id, edges in graph.inputs().items() if edges], own, other)
