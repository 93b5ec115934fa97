"""The look: colours, borders and type sizes, and how large a box must be for its text.

No two kinds differ by colour alone: shape, border and words tell them apart as well. The hues
are Okabe and Ito's, which survive every common colour blindness.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_opt.viz.graph.model import Node, Row
from tinygrad_opt.viz.graph.text import shorten, width

__all__ = ["BACKWARD", "DARK", "LEGEND", "LIGHT", "Palette", "Shape", "shape_of"]

TITLE, SMALL = 13.0, 10.0                  # type sizes, in pixels
PAD_X, PAD_Y, LINE = 9.0, 6.0, 14.0
KEY_WIDTH = 28.0                           # what "grad" takes, with the space behind it


@dataclass(frozen=True)
class Palette:
    """The colours of a theme: (fill, border) by kind, and the rest by use."""

    kinds: dict[str, tuple[str, str]]
    page: str
    text: str
    muted: str
    edge: str
    alarm: str
    frame: str
    backward: str


LIGHT = Palette(
    {
        "input": ("#D3E8F7", "#0072B2"), "parameter": ("#FBE3C0", "#B45F00"),
        "constant": ("#FFFFFF", "#777777"), "op": ("#EFEFEF", "#555555"),
        "operation": ("#FFFFFF", "#555555"), "loss": ("#F3D6E6", "#A0417C"),
        "effect": ("#D5EFE3", "#00755A"), "folded": ("#E9EEF2", "#333333"),
        "alias": ("none", "none"),
    },
    page="#FFFFFF", text="#1A1A1A", muted="#555555", edge="#777777", alarm="#B00020",
    frame="#8A8F98", backward="#C04F00",
)
DARK = Palette(
    {
        "input": ("#12364D", "#56B4E9"), "parameter": ("#4D3410", "#E69F00"),
        "constant": ("#20252A", "#9AA0A6"), "op": ("#2C2F33", "#B0B4B8"),
        "operation": ("#1B1E22", "#B0B4B8"), "loss": ("#4A2039", "#E48BC0"),
        "effect": ("#123B2E", "#3CC79A"), "folded": ("#262B30", "#CCCCCC"),
        "alias": ("none", "none"),
    },
    page="#14171A", text="#ECEFF1", muted="#B0B4B8", edge="#9AA0A6", alarm="#FF8A80",
    frame="#7A8088", backward="#FF9D4D",
)
LEGEND = {
    "input": "input", "parameter": "parameter", "constant": "constant", "op": "operation",
    "operation": "operation", "loss": "result", "effect": "effect", "folded": "folded",
    "alias": "W ↗ shown elsewhere",
}
BACKWARD = "gradient: × local derivative, |g| norm of an array"
BORDER = {"parameter": 2.0, "folded": 2.0}
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
    for row in node.rows:
        key = 0.0 if row.key == "shape" else KEY_WIDTH
        wide.append(key + width(row.text, SMALL, mono=True))
    height = 2 * PAD_Y + LINE * (len(node.rows) + bool(title or tag)) + 1
    pad = PAD_X + (3 if node.kind == "loss" else 0)
    if node.kind == "operation":
        pad, height = PAD_X + 4, 30
    return Shape(max(*wide, 22.0, 0.0) + 2 * pad, max(height, 26.0), title, tag, node.rows)
