"""From a Tensor to its graph: `trace` writes down all that it was made from.

Values are written down at once, so a drawing shows those of the moment at which it was traced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    things = list(_things(end, not split, whole))
    if detail is None:
        detail = 2 if len(things) <= 40 else 1
    called = _Names(names or {}, things)
    ids: dict[Key, str] = {}
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    for position, thing in enumerate(things):
        id = f"n{position}"
        ids[_key(thing)] = id
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
    return Graph(title, nodes, tuple(edges), direction=direction, end=ids[_key(end)],
                 parameters=(len(sizes), sum(sizes)))


def _things(end: Tensor, fold_numbers: bool, whole: bool) -> Iterator[Thing]:
    """All that `end` was made from, oldest first: Tensors, and arrays and numbers before their use.

    An array that has no clock stands just before the first operation that uses it.
    """
    computed = history(end)
    seen = {id(t) for t in computed}
    constants = []
    for t in computed:
        for x in _operands(t, whole):
            if isinstance(x, Tensor) and id(x) not in seen:
                seen.add(id(x))
                constants.append(x)
    for t in sorted(computed + constants, key=lambda t: t.serial):
        for x in _operands(t, whole):
            if is_number(x):                               # equal ones may be one object
                if not fold_numbers:
                    yield _Number(x, t)
            elif isinstance(x, np.ndarray) and id(x) not in seen:
                seen.add(id(x))
                yield x
        yield t


@dataclass(frozen=True)
class _Number:
    """One use of a number, which the split style draws as a box of its own."""

    value: Number
    user: Tensor


Thing: TypeAlias = Tensor | Array | _Number              # what has a box
Key: TypeAlias = int | tuple[int, int]


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


def _key(thing: Thing) -> Key:
    return (id(thing.user), id(thing.value)) if isinstance(thing, _Number) else id(thing)


def _operands(t: Tensor, whole: bool) -> list[object]:
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
    tails = [ids.get(id(x)) or ids.get((id(t), id(x))) for x in _operands(t, whole)]
    uses = [(tail, place, "") for place, tail in enumerate(tails, 1) if tail is not None]
    return arrows(uses, head, len(uses) > 1 and t.op.name not in COMMUTE)


# ---- what a box says -----------------------------------------------------------------------------


def _node(id: str, x: Thing, is_end: bool, detail: int, split: bool, called: _Names) -> Node:
    if isinstance(x, _Number):
        return Node(id, "constant", number(x.value), source=x.value, tip="a number")
    if not isinstance(x, Tensor):
        title = kind_of(x)
        return Node(
            id, "input", title, "", _rows(x, None, False, detail),
            source=x, size=x.size, tip=_tip(title, x, None))
    name = called.of(x)
    kind, title, tag = _kind(x, is_end, split, called)
    return Node(
        id, kind, title, tag, _rows(x._array, x.grad, x._needs_grad, detail),
        scope=scope_of(name) if x.op is None and name else (), source=x, size=x.size,
        tip=_tip(name or title, x._array, x.grad))


def _kind(x: Tensor, is_end: bool, split: bool, called: _Names) -> tuple[str, str, str]:
    """What sort of box it is, its title and the word beside it."""
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
    words = []
    folded = False
    for x, rule, name in zip(t.inputs, t.op.vjps, called.of_operands(t.inputs)):
        if fold_numbers and rule is not None and (is_number(x) or x is None):
            folded = True
            words.append("–" if x is None else number(x))
        else:
            words.append(name)
    if folded:
        if symbol in INFIX:
            return f"{words[0]} {symbol} {words[1]}"
        return f"{symbol}({', '.join(words)})"
    for key, v in t.attrs.items():
        if v is not None and v is not False and key not in ("shape", "keepdims", "dtype"):
            symbol += f" {key}={number(v) if is_number(v) else shorten(visible(str(v)), 18)}"
    return shorten(symbol, 32)


def _part_text(part: object) -> str:
    """What stands between the brackets of an index; arrays of indices as ``…``."""
    return "…" if isinstance(part, np.ndarray) and part.ndim else str(part)


def _rows(x: Array, grad: object, flows: bool, detail: int) -> tuple[Row, ...]:
    rows = []
    if detail >= 1 and np.ndim(x):
        rows.append(Row("shape", f"{np.shape(x)}  {np.asarray(x).dtype}"))
    if detail >= 2:
        rows.append(Row("data", *summary(x)))
        if flows:
            rows.append(Row("grad", *summary(values_of(grad), dead=True)) if grad is not None
                        else Row("grad", "–"))             # none yet is not the same as 0
    return tuple(rows)


def _tip(name: str, x: Array, grad: object) -> str:
    """What hovering shows."""
    with np.printoptions(threshold=20, edgeitems=2, precision=4):
        text = f"{name} {np.shape(x)} {np.asarray(x).dtype}\n{x}"
        if grad is not None:
            text += f"\ngrad {values_of(grad)}"
    return shorten("\n".join(map(visible, text.splitlines())), 200)


def scope_of(name: str) -> tuple[str, ...]:
    """The modules in a dotted name: ``encoder.layers.0.weight`` lies in encoder, in layers.0."""
    scope: list[str] = []
    waiting = ""
    parts = name.split(".")[:-1]
    for part, after in zip(parts, [*parts[1:], ""]):
        waiting = f"{waiting}.{part}" if waiting else part
        if not after.isdecimal():
            scope.append(waiting)
            waiting = ""
    return tuple(scope[:DEEPEST])
