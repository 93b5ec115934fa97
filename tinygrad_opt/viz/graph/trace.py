"""From a Tensor to its graph: `trace` writes down all that it was made from.

Values are written down at once, so a drawing shows those of the moment at which it was traced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import numpy as np

from tinygrad_opt.symbols import index_text
from tinygrad_opt.tensor import Tensor, history, values_of
from tinygrad_opt.typing import Array
from tinygrad_opt.viz.graph.model import Edge, Graph, Node, Row, arrows
from tinygrad_opt.viz.graph.text import (
    Number,
    is_number,
    kind_of,
    number,
    options,
    shorten,
    summary,
    visible,
)

__all__ = ["COMMUTE", "DEEPEST", "scope_of", "told_by_letters", "trace"]

INFIX = {"+", "−", "×", "÷", "**", "//", "mod", "@"}
COMMUTE = {"add", "multiply", "maximum", "minimum", "logaddexp", "hypot", "equal", "not_equal",
           "logical_and", "logical_or"}
LETTERS, SHORT = "xyzuvwpqrst", 6          # for operands without a name of so many characters
DEEPEST = 8                                # levels of modules that are told apart


def trace(
    end: Tensor,
    *,
    detail: int | None = None,
    style: str = "merged",
    names: Mapping[Tensor, str] | None = None,
    name: str | None = None,
    direction: str = "LR",
    whole: bool = False,
) -> Graph:
    """Write down the graph of a Tensor.

    Parameters
    ----------
    end : Tensor
        What was computed.
    detail : {0, 1, 2}, optional
        0: names; 1: and shapes; 2: and values and gradients. By default 2 up to 40 boxes.
    style : {"merged", "split"}
        One box for an operation and its result, or two, as in lectures.
    names : mapping of Tensor to str, optional
        Names for Tensors that have none.
    name : str, optional
        What the drawing is called; by default the name of `end`.
    direction : {"LR", "TB"}
        Which way the arrows run.
    whole : bool
        Show what a convolution is given, not the windows of it that are multiplied.

    Returns
    -------
    Graph
    """
    split = style == "split"
    things = _things(end, not split, whole)
    if detail is None:
        detail = 2 if len(things) <= 40 else 1
    called = _Names(names or {}, things.values())
    ids = {key: f"n{position}" for position, key in enumerate(things)}
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    for id, thing in zip(ids.values(), things.values()):
        if isinstance(thing, Tensor) and thing.op is not None:
            made = f"{id}op" if split else id
            edges += _operand_edges(thing, whole, ids, made)
            if split:
                symbol = _op_title(thing, False, called)
                nodes[made] = Node(made, "operation", symbol, source=thing, tip=symbol)
                edges.append(Edge(made, id))
        nodes[id] = _node(id, thing, thing is end, detail, split, called)
    title = shorten(visible(name or "") or called.of(end) or "the result", 80)
    sizes = [n.size for n in nodes.values() if n.kind == "parameter"]
    return Graph(title, nodes, tuple(edges), direction=direction, end=ids[_key(end, end)],
                 parameters=(len(sizes), sum(sizes)))


Thing: TypeAlias = Tensor | Array | Number               # what has a box
Key: TypeAlias = int | tuple[int, int]


def _things(end: Tensor, fold_numbers: bool, whole: bool) -> dict[Key, Thing]:
    """All that `end` was made from, oldest first: Tensors, and arrays and numbers before their use.

    An array, which has no clock, stands just before the first operation that uses it. Each use of a
    number, since equal ones may be one object, has a box of its own in the split style.
    """
    made: dict[Key, tuple[float, Thing]] = {}
    for t in history(end):
        for x in _operands(t, whole):
            if not (is_number(x) and fold_numbers):
                made.setdefault(_key(x, t), (x.serial if type(x) is Tensor else t.serial - 0.5, x))
        made[id(t)] = t.serial, t
    return {key: thing for key, (_, thing) in sorted(made.items(), key=lambda item: item[1][0])}


def _key(x: Thing, user: Tensor) -> Key:
    return (id(user), id(x)) if is_number(x) else id(x)


class _Names:
    """What Tensors are called: a given name or their own, and letters that name nothing else."""

    def __init__(self, names: Mapping[Tensor, str] | None, things: Iterable[Thing] = ()) -> None:
        self.names = names                                 # None: letters alone
        given = {self.of(x) for x in things}
        self.letters = [c for c in LETTERS if c not in given]

    def of(self, x: object) -> str:
        """The name; "" for what has none."""
        if type(x) is not Tensor or self.names is None:
            return ""
        return visible(self.names.get(x) or x.name or "")

    def of_operands(self, inputs: Iterable[object]) -> Iterator[str]:
        """A short name of each, or a letter."""
        free = iter(self.letters)
        for x in inputs:
            name = self.of(x)
            fits = is_number(x) or (name.isidentifier() and len(name) <= SHORT)
            yield name if fits else next(free, "…")


def _operands(t: Tensor, whole: bool) -> list[Thing]:
    """The inputs that are values: not indices, shapes or bounds that are left open.

    Of arrays without a gradient, masks and labels are worth a box, indices are not. With `whole`,
    a constant that tells what it was laid out from, as windows do, is that.
    """
    if t.op is None:
        return []
    indexed = t.op.symbol.startswith("x[") or t.op.name.startswith(("take", "scatter"))
    given = (x.inputs[0] if whole and type(x) is Tensor and x.op is None and x.inputs else x
             for x in t.inputs)
    return [x for x, rule in zip(given, t.op.vjps) if type(x) is Tensor
            or (isinstance(x, np.ndarray) and not (rule is None and indexed))
            or (rule is not None and is_number(x))]


def _operand_edges(t: Tensor, whole: bool, ids: dict[Key, str], head: str) -> Iterator[Edge]:
    """One arrow from each operand, with its places where the order matters."""
    assert t.op is not None
    tails = [ids.get(_key(x, t)) for x in _operands(t, whole)]
    uses = [(tail, place, "") for place, tail in enumerate(tails, 1) if tail is not None]
    return arrows(uses, head, len(uses) > 1 and t.op.name not in COMMUTE)


# ---- what a box says -----------------------------------------------------------------------------


def _node(id: str, x: Thing, is_end: bool, detail: int, split: bool, called: _Names) -> Node:
    kind, title, tag = _kind(x, is_end, split, called)
    if is_number(x):
        return Node(id, kind, title, source=x, tip="a number")
    name, array, grad, flows, leaf = called.of(x), np.asarray(values_of(x)), None, False, False
    if isinstance(x, Tensor):
        grad, flows, leaf = x.grad, x._needs_grad, x.op is None
    return Node(id, kind, title, tag, _rows(array, grad, flows, detail),
                scope_of(name) if leaf else (), x, array.size, _tip(name or title, array, grad))


def _kind(x: Thing, is_end: bool, split: bool, called: _Names) -> tuple[str, str, str]:
    """What sort of box it is, its title and the word beside it."""
    if not isinstance(x, Tensor):
        return ("constant", number(x), "") if is_number(x) else ("input", kind_of(x), "")
    name = called.of(x)
    if x.op is not None:
        symbol = _op_title(x, not split, called)
        kind = "loss" if is_end else "op"
        if split:
            return kind, name, ""
        return (kind, name, symbol) if name else (kind, symbol, "")
    if x._needs_grad:
        return "parameter", name or "parameter", "param" if name else ""
    if name:
        return ("constant", name, "frozen") if "." in name else ("input", name, "input")
    return ("constant", number(x.item()), "") if x.size == 1 else ("input", "data", "")


def told_by_letters(t: Tensor) -> str:
    """The operation with its numbers and indices, the same for operands of any name."""
    return _op_title(t, True, _Names(None))


def _op_title(t: Tensor, fold_numbers: bool, called: _Names) -> str:
    """The operation, with the numbers and indices it was given: ``a × 2``, ``Σ axis=0``.

    An operand has its name, or a letter if it has none or a long one.
    """
    assert t.op is not None
    symbol = visible(t.op.symbol)
    if symbol == "x[i]":
        [read] = called.of_operands(t.inputs[:1])
        return f"{read}[{shorten(index_text(t.inputs[1], _part_text), 18)}]"
    folded = {place: "–" if x is None else number(x)
              for place, (x, rule) in enumerate(zip(t.inputs, t.op.vjps))
              if fold_numbers and rule is not None and (is_number(x) or x is None)}
    if folded:
        names = [name for name, _ in zip(called.of_operands(t.inputs), t.op.vjps)]
        words = [folded.get(place, name) for place, name in enumerate(names)]
        return f" {symbol} ".join(words) if symbol in INFIX else f"{symbol}({', '.join(words)})"
    return shorten(" ".join([symbol, *options(t.attrs)]), 32)


def _part_text(part: object) -> str:
    """What stands between the brackets of an index; arrays of indices as ``…``."""
    return "…" if isinstance(part, np.ndarray) and part.ndim else str(part)


def _rows(x: Array, grad: object, flows: bool, detail: int) -> tuple[Row, ...]:
    rows = []
    if detail >= 1 and x.ndim:
        rows.append(Row("shape", f"{x.shape}  {x.dtype}"))
    if detail >= 2:
        rows.append(Row("data", *summary(x)))
        if flows:
            rows.append(Row("grad", *summary(values_of(grad), dead=True)) if grad is not None
                        else Row("grad", "–"))             # none yet is not the same as 0
    return tuple(rows)


def _tip(name: str, x: Array, grad: object) -> str:
    """What hovering shows."""
    with np.printoptions(threshold=20, edgeitems=2, precision=4):
        text = f"{name} {x.shape} {x.dtype}\n{x}"
        if grad is not None:
            text += f"\ngrad {values_of(grad)}"
    return shorten("\n".join(map(visible, text.splitlines())), 200)


def scope_of(name: str) -> tuple[str, ...]:
    """The modules in a dotted name: ``encoder.layers.0.weight`` lies in encoder, in layers.0."""
    modules = name.rpartition(".")[0]
    return tuple(re.split(r"\.(?!\d+(?:\.|$))", modules)[:DEEPEST]) if modules else ()
