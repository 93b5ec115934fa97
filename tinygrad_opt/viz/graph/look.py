"""The boxes: borders and type sizes, and how large one must be for its text.

No two kinds differ by colour alone: shape, border and words tell them apart as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from tinygrad_opt.viz.graph.model import Graph, Node, Row
from tinygrad_opt.viz.graph.text import shorten, width
from tinygrad_opt.viz.theme import DARK, LIGHT

__all__ = ["DARK", "KINDS", "LIGHT", "Shape", "ink", "legend", "shape_of"]

TITLE, SMALL = 13.0, 10.0                  # type sizes, in pixels
PAD_X, PAD_Y, LINE = 9.0, 6.0, 14.0
KEY_WIDTH = 28.0                           # what "grad" takes, with the space behind it


class Kind(NamedTuple):
    """How a kind of box is told from others: its word in the legend, and its border."""

    word: str
    dot: str                               # the style in DOT
    shape: str = ""                        # and what else DOT needs
    svg: str = ""                          # attributes of the border in SVG
    pad: float = PAD_X                     # left and right of its words


KINDS = {
    "input": Kind("input", "filled"),
    "parameter": Kind("parameter", "filled,bold", svg=' stroke-width="2"'),
    "constant": Kind("constant", "filled,dashed", svg=' stroke-dasharray="4 3"'),
    "op": Kind("operation", "filled,rounded", svg=' rx="8"'),
    "operation": Kind("operation", "filled", "shape=ellipse", pad=PAD_X + 4),
    "loss": Kind("result", "filled", "peripheries=2", pad=PAD_X + 3),
    "effect": Kind("effect", "filled,diagonals"),
    "folded": Kind("folded", "filled,bold", "shape=tab", ' stroke-width="2"'),
    "alias": Kind("W ↗ shown elsewhere", "", 'shape=plaintext margin="0.02,0.02"'),
}
BACK = "gradient: ∂ local derivative, |g| norm of an array"
CUT = 7.0                                  # off the corners of an effect


@dataclass(frozen=True)
class Shape:
    """A box ready to be drawn: its size and its lines of text."""

    width: float
    height: float
    title: str
    tag: str
    rows: tuple[Row, ...]


def shape_of(node: Node) -> Shape:
    """How large the box is, and what it says, shortened where it would grow too wide."""
    title = shorten(node.short or node.title, 36)
    tag = shorten(node.tag, 24)
    if node.kind == "alias":
        return Shape(width(title, SMALL + 1) + 8, 18, title, "", ())
    wide = [width(title, TITLE, bold=True)
            + (12 + width(tag, SMALL) if tag and title else width(tag, SMALL))]
    rows = tuple(line for row in node.rows for line in _lines(row))
    for row in rows:
        key = 0.0 if row.key == "shape" else KEY_WIDTH
        wide.append(key + width(row.text, SMALL, mono=True))
    height = 2 * PAD_Y + LINE * (len(rows) + bool(title or tag)) + 1
    height = 30 if node.kind == "operation" else max(height, 26.0)
    return Shape(max(*wide, 22.0) + 2 * KINDS[node.kind].pad, height, title, tag, rows)


def _lines(row: Row) -> Iterator[Row]:
    """A row as it is drawn: the range below the mean, so that boxes are narrow."""
    mean, ranged, limits = row.text.partition(" [")
    yield replace(row, text=mean)
    if ranged:
        yield Row("", f"[{limits}", row.alarm)


def ink(size: float) -> float:
    """How thick the arrow is, from 1 to 4: a step for each factor of twenty."""
    return min(4.0, max(1.0, 2.0 + 0.75 * math.log10(size))) if size > 0 else 1.0


def legend(graph: Graph) -> dict[str, str]:
    """The kinds that are there and what they are called; none for a handful of boxes."""
    if len(graph.nodes) < 6:
        return {}
    kinds = {n.kind for n in graph.nodes.values()}
    kinds -= {"op"} if "operation" in kinds else set()
    words = {name: kind.word for name, kind in KINDS.items() if name in kinds}
    return words | ({"back": BACK} if graph.flows_back else {})
