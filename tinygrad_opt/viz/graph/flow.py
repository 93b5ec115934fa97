"""What flows along each arrow in a backward pass, by the engine's own traversal.

It runs on a twin of the graph in which every arrow is a node of its own, one that hands
its gradient on unchanged: the gradient found there is what flowed along the arrow. So there is
no second traversal, and the numbers are the engine's to the bit, in its order of summation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.tensor import Tensor, backward_pass, first_gradient, history, values_of
from tinygrad_opt.typing import ArrayLike
from tinygrad_opt.viz.graph.model import Back, Edge, Graph, Node, Row
from tinygrad_opt.viz.graph.text import number, summary

T = TypeVar("T")
VJPs: TypeAlias = tuple[ops.VJP | None, ...] | ops.Joint

__all__ = ["Flow", "Part", "flow", "with_flow", "with_gradients"]


@dataclass(frozen=True, eq=False)
class Part:
    """What an operation sends back to one of its inputs.

    Attributes
    ----------
    node : Tensor
        The result z of the operation.
    place : int
        Which input.
    to : Tensor
        That input, x.
    raw : ndarray
        What the rule returned.
    value : ndarray
        The same in the shape of x: summed where x was broadcast, stretched where z is a reduction.
    total : ndarray
        The sum of all parts that x has received so far, with this one.
    before : ndarray or None
        The sum before it; None if this is the first.
    """

    node: Tensor
    place: int
    to: Tensor
    raw: np.ndarray
    value: np.ndarray
    total: np.ndarray
    before: np.ndarray | None

    def slopes(self) -> np.ndarray:
        """∂z/∂x by the engine's rule, which multiplies a gradient by it: here by ones."""
        assert self.node.op is not None
        rule = self.node.op.vjps[self.place]
        assert rule is not None
        arrays = [values_of(x) for x in self.node.inputs]
        with np.errstate(all="ignore"):
            return np.asarray(rule(np.ones_like(self.node._array), self.node._array, *arrays,
                                   **self.node.attrs))


@dataclass(frozen=True, eq=False)
class Flow:
    """A backward pass: the gradients, and the parts that they are sums of.

    Attributes
    ----------
    end : Tensor
        What was differentiated.
    gradients : dict of Tensor to ndarray
        ∂L/∂t for every Tensor that was reached.
    parts : dict of Tensor to list of Part
        By operation in the order in which the engine visits them, the last one made first.
    """

    end: Tensor
    gradients: dict[Tensor, np.ndarray]
    parts: dict[Tensor, list[Part]] = field(default_factory=dict)

    def into(self, x: Tensor) -> list[Part]:
        """The parts that x receives, in the order in which they are added."""
        return [p for parts in self.parts.values() for p in parts if p.to is x]


def flow(end: Tensor, gradient: ArrayLike | None = None) -> Flow:
    """Run a backward pass and keep all that passes by; no ``.grad`` is touched.

    Parameters
    ----------
    end : Tensor
        What is differentiated.
    gradient : array-like, optional
        Where to start, as for ``backward``.

    Returns
    -------
    Flow

    Raises
    ------
    GraphError, ShapeError
        As ``backward`` does.

    Notes
    -----
    Hooks are called, once each, since they may change the numbers.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt.viz.graph.flow import flow
    >>> x = tg.Tensor(3.0, requires_grad=True)
    >>> [(float(p.value), float(p.total)) for p in flow(x * x).into(x)]
    [(3.0, 3.0), (3.0, 6.0)]
    """
    seed = first_gradient(end, gradient)
    raw: dict[tuple[Tensor, int], np.ndarray] = {}
    twins: dict[Tensor, Tensor] = {}
    arrows: dict[Tensor, list[tuple[int, Tensor]]] = {}
    for t in history(end):
        twins[t] = _twin(t)
        if t.op is None:
            continue
        inputs, arrows[t] = list(t.inputs), []
        for i, (x, rule) in enumerate(zip(t.inputs, t.op.vjps)):
            if rule is not None and type(x) is Tensor and x._needs_grad:
                just_before = t.serial - (i + 1) / (len(inputs) + 1)
                arrow = _twin(x, op=ops.positive, inputs=(twins[x],), _operands=[x._array],
                              attrs={}, _hooks=None, serial=just_before)
                inputs[i] = arrow
                arrows[t].append((i, arrow))
        twins[t].inputs = tuple(inputs)
        twins[t].op = ops.Op(t.op.symbol, t.op.kernel, _noted(t, t.op.vjps, raw))
    found = {t: values_of(g) for t, g in backward_pass(twins[end], seed).items()}
    result = Flow(end, {t: found[twin] for t, twin in twins.items() if twin in found})
    totals: dict[Tensor, np.ndarray] = {}
    for z in reversed(list(arrows)):
        if z not in result.gradients:
            continue
        result.parts[z] = parts = []
        for i, arrow in arrows[z]:
            x, value = z.inputs[i], found[arrow]
            before = totals.get(x)
            totals[x] = value if before is None else before + value
            parts.append(Part(z, i, x, raw[z, i], value, totals[x], before))
    return result


def _twin(t: Tensor, **slots: object) -> Tensor:
    """A node that looks like t, but for some slots."""
    twin = Tensor.__new__(Tensor)
    for slot in Tensor.__slots__:
        if slot != "__weakref__":
            setattr(twin, slot, slots.get(slot, getattr(t, slot, None)))
    return twin


def _noted(t: Tensor, vjps: VJPs, raw: dict[tuple[Tensor, int], np.ndarray]) -> VJPs:
    """The VJPs of t, writing down what they return."""
    def noting(rule: Callable[..., T], first: int = 0) -> Callable[..., T]:
        def noted(*operands: object, **attrs: object) -> T:
            made = rule(*operands, **attrs)
            for i, part in enumerate(made if isinstance(made, list | tuple) else [made], first):
                raw[t, i] = np.asarray(part)
            return made
        return noted

    if isinstance(vjps, ops.Joint):
        return ops.Joint(noting(vjps.vjp))
    return tuple(rule and noting(rule, i) for i, rule in enumerate(vjps))


# ---- in a drawing -------------------------------------------------------------------------------


def with_gradients(graph: Graph, run: Flow) -> Graph:
    """The graph with the gradients of this pass in its boxes, whatever ``.grad`` holds."""
    return replace(graph, nodes={id: _told(node, run) for id, node in graph.nodes.items()})


def _told(node: Node, run: Flow) -> Node:
    source = node.source
    if type(source) is not Tensor or not source._needs_grad or node.kind in ("alias", "operation"):
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
