"""How numbers are written, how wide text is, and a graph as lines of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, SupportsFloat, TypeAlias, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from tinygrad_opt.viz.graph.model import Graph, Node

Number: TypeAlias = float | np.floating | np.integer | np.bool_ | np.ndarray

__all__ = ["Number", "is_number", "kind_of", "number", "options", "shorten", "summary", "tree",
           "visible", "width"]

# Advance widths of Helvetica for the characters from space to tilde, in 1/1000 of the size
_HELVETICA = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
]
_JOINER = "\u200d"                          # it makes one emoji of several
_WIDER = {"…": 1000, "↗": 1000, "⚠": 1000, "×": 584, "−": 584, "÷": 584, "±": 584, "·": 333,
          "�": 1050, "↵": 800}


def number(x: SupportsFloat) -> str:
    """A number with four digits and a true minus sign."""
    if isinstance(x, bool | np.bool_):
        return str(bool(x))
    if isinstance(x, int | np.integer) and abs(int(x)) < 10**6:
        text = str(int(x))
    else:
        text = f"{float(x) + 0.0:.4g}"                     # + 0.0: no sign on a zero
        mantissa, e, exponent = text.partition("e")
        text = f"{mantissa}e{int(exponent)}" if e else text
    return text.replace("-", "−").replace("nan", "NaN").replace("inf", "∞")


def is_number(x: object) -> TypeGuard[Number]:
    """A Python or NumPy number, or an array without axes."""
    return isinstance(x, int | float | np.generic) or (isinstance(x, np.ndarray) and not x.ndim)


def summary(x: object, dead: bool = False) -> tuple[str, bool]:
    """An array in a few numbers, and whether something is wrong with it.

    One entry is written out, up to three are listed, more are told by mean ± deviation and range.
    With `dead`, an array of nothing but zeros is wrong too.
    """
    x = np.asarray(x)
    if x.size == 0:
        return "empty", False
    if x.dtype.kind == "f":
        finite = np.isfinite(x)
        if not finite.all():
            bad = "NaN" if np.isnan(x).any() else "∞"
            return (f"⚠ {bad}" if x.size == 1 else
                    f"⚠ {bad} in {int((~finite).sum()):,} of {x.size:,}"), True
        if dead and x.size > 1 and not x.any():
            return "⚠ all 0", True
    if x.size <= 6:
        shown = ", ".join(number(v) for v in x.reshape(-1)[:3].tolist())
        return (f"{shown}, …" if x.size > 3 else shown), False
    if x.dtype.kind == "b":
        return f"{int(x.sum()):,} of {x.size:,} True", False
    low, high = number(x.min()), number(x.max())
    if x.dtype.kind != "f":
        return f"[{low}, {high}]", False
    if x.min() == x.max():
        return f"all {low}", False
    wide = x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(wide.mean()), float(wide.std())
    if abs(mean) < deviation / 100:                        # noise: say 0, in fewer characters
        mean = 0.0
    return f"{_short(mean)}±{_short(deviation)} [{_short(wide.min())}, {_short(wide.max())}]", False


def _short(x: float) -> str:
    """Two or three digits, for the four numbers of a summary in one line."""
    return number(float(f"{x:.2g}" if abs(x) < 1 else f"{x:.3g}"))


def options(attrs: Mapping[str, object], longest: int = 18) -> list[str]:
    """What an operation was told beside its operands, such as ``axis=0``; not shape and dtype."""
    return [f"{key}={number(v) if is_number(v) else shorten(visible(str(v)), longest)}"
            for key, v in attrs.items()
            if v is not None and v is not False and key not in ("dtype", "keepdims", "shape")]


def kind_of(x: object) -> str:
    """What an array without a name is: truth values choose, whole numbers are labels."""
    return {"b": "mask", "i": "labels", "u": "labels"}.get(np.asarray(x).dtype.kind, "data")


def shorten(text: str, limit: int) -> str:
    """The text with an ellipsis where it is longer than the limit."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def width(text: str, size: float, *, bold: bool = False, mono: bool = False) -> float:
    """How wide a browser draws the text in Helvetica or Courier, a little generously."""
    total = 0.0
    for c in text:
        if unicodedata.combining(c):
            continue
        if unicodedata.east_asian_width(c) in "WF":
            total += 1000
        elif mono:
            total += 600
        elif " " <= c <= "~":
            total += _HELVETICA[ord(c) - 32]
        else:
            total += _WIDER.get(c, 720)
    return total * size / 1000 * (1.08 if bold else 1.0)


def visible(text: str) -> str:
    """User text on one line: what does not print, or would not be XML, becomes a symbol."""

    def shown(c: str) -> str:
        if c in "\n\r":
            return "↵"
        hidden = unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") and c != _JOINER
        return "�" if hidden or c in "\ufffe\uffff" else c

    return "".join(map(shown, str(text)))


def tree(graph: Graph) -> str:
    """The graph as indented lines, the result first and below each box what it was made from.

    A box that has been told before is named again with its number but not unfolded again. Further
    ends follow the result.
    """
    inputs, outputs = graph.inputs(), graph.outputs()
    lines = [f"{graph.name}: {graph.caption}"]
    told: set[str] = set()
    others = [id for id, edges in outputs.items() if not edges and id != graph.end]
    stack = [(id, "", "") for id in [*reversed(others), graph.end]]
    while stack:
        id, lead, branch = stack.pop()
        above = id in told and bool(inputs[id])
        lines.append(f"{lead}{branch}{_line(graph.nodes[id], above)}  #{id[1:]}")
        if id in told:
            continue
        told.add(id)
        below = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        if len(below) > 120:                               # a deep graph would run off the page
            below = f"… {len(lines)} "
        branches = ["└─ ", *["├─ "] * len(inputs[id])]     # from the last to the first
        stack += [(e.tail, below, branch) for e, branch in zip(inputs[id][::-1], branches)]
    return "\n".join(lines)


def _line(node: Node, above: bool) -> str:
    """A box in one line; of one that is told above, its title."""
    values = "  ".join(r.text if r.key == "shape" else f"{r.key} {r.text}" for r in node.rows)
    words = [w for w in (node.title, node.tag, values) if w and w != f"#{node.id[1:]}"]
    return "  ".join([*words[:1], "(above)"] if above else words)
