"""A graph and a layout as SVG text.

Every box is ``<g id="n3" class="node op">`` with a text of class ``name`` and one of class
``data`` and ``grad`` each where they are shown, every arrow ``<g id="n0_n3" class="edge">``, so
that a style sheet or a script can find them, whichever engine has placed them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template

from tinygrad_opt.viz.graph import look
from tinygrad_opt.viz.graph.layout import Box, Layout, Point
from tinygrad_opt.viz.graph.look import KINDS, SMALL, TITLE, Shape, ink, legend
from tinygrad_opt.viz.graph.model import Back, Graph, Node
from tinygrad_opt.viz.graph.text import shorten, width
from tinygrad_opt.viz.theme import DARK, LIGHT, MONO, NIGHT, SANS, Theme

__all__ = ["svg"]

STYLE = Template(Path(__file__).with_name("drawing.css").read_text(encoding="utf-8"))
MARGIN = 16.0
BESIDE = 6.0                               # between an arrow and the one that runs back


def svg(
    graph: Graph, shapes: dict[str, Shape], layout: Layout, *, theme: str = "auto",
    prefix: str = "", panel: bool = False,
) -> str:
    """Write the drawing.

    Parameters
    ----------
    graph, shapes, layout
        What there is, how large, and where.
    theme : {"auto", "light", "dark"}
        "auto" follows the reader's system by a style sheet; programs that know none show light.
    prefix : str
        Put before every id, so that several drawings can share a page.
    panel : bool
        Paint the page behind the drawing, for places whose own colour is not known.

    Returns
    -------
    str
    """
    palette = DARK if theme == "dark" else LIGHT
    pen = _Pen(graph, shapes, layout, palette, prefix)
    glyphs, legend_width = pen.legend()
    caption = graph.caption
    total_width = max(layout.width, legend_width, width(caption, SMALL)) + 2 * MARGIN
    total_height = layout.height + 2 * MARGIN + (24 if glyphs else 0) + 16
    w, h = f"{total_width:.0f}", f"{total_height:.0f}"
    bottom = MARGIN + layout.height
    body = [
        f'<rect class="page" width="{w}" height="{h}" rx="8" fill="{palette.page}"/>'
        if panel or theme != "light" else "",
        f'<g transform="translate({MARGIN:g} {MARGIN:g})">',
        *pen.frames(), *pen.edges(), *pen.nodes(), *pen.frame_labels(), "</g>",
    ]
    if glyphs:
        body += [f'<g class="legend" transform="translate({MARGIN:g} {bottom + 16:.1f})">',
                 *glyphs, "</g>"]
        bottom += 24
    body.append(pen.text(MARGIN, bottom + 20, caption, "caption muted"))
    about = f"{graph.caption}. " + " ".join(_sentence(graph))
    return "\n".join(filter(None, [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tg-graph tg-{theme}" role="img"'
        f' width="{w}" height="{h}" viewBox="0 0 {w} {h}"'
        f' aria-labelledby="{prefix}title {prefix}about" font-family="{SANS}">',
        f"<!-- engine: {layout.engine} -->",
        f'<title id="{prefix}title">Computation graph of {escape(graph.name)}</title>',
        f'<desc id="{prefix}about">{escape(shorten(about, 400))}</desc>',
        _style(total_width) if theme == "auto" else "",
        f"<defs>{''.join(pen.tips())}</defs>",
        *body, "</svg>\n",
    ]))


def _sentence(graph: Graph) -> Iterator[str]:
    """What was made from what, in words, for those who cannot see it."""
    inputs = graph.inputs()
    for id, edges in inputs.items():
        if edges:
            names = " and ".join(graph.nodes[e.tail].title or e.tail for e in edges)
            yield f"{graph.nodes[id].title or id} from {names}."


def _style(width: float) -> str:
    """The dark colours, for readers whose system asks for them; opened alone it is as wide as the
    window, as long as its words stay legible.
    """
    kinds = "\n".join(f"svg.tg-auto .{kind} .box{{fill:{fill};stroke:{stroke}}}"
                      for kind, (fill, stroke) in DARK.kinds.items() if kind != "alias")
    rules = STYLE.substitute(vars(DARK), night=NIGHT, least=f"{0.6 * width:.0f}", kinds=kinds,
                             parameter=DARK.kinds["parameter"][1])
    return f"<style>\n{rules}</style>"


class _Pen:
    """Writes the parts of one drawing."""

    def __init__(self, graph: Graph, shapes: dict[str, Shape], layout: Layout, palette: Theme,
                 prefix: str) -> None:
        self.graph, self.shapes, self.layout = graph, shapes, layout
        self.palette, self.prefix = palette, prefix

    def text(self, x: float, y: float, words: str, kind: str, size: float = SMALL,
             anchor: str = "start", *, color: str = "", bold: bool = False, mono: bool = False
             ) -> str:
        """A run of text; its class decides its colour, and whether lines behind it stop short."""
        page, classes = self.palette, kind.split()
        color = color or next((getattr(page, c) for c in ("muted", "alarm") if c in classes),
                              page.text)
        more = "" if anchor == "start" else f' text-anchor="{anchor}"'
        more += ' font-weight="bold"' if bold else ""
        more += f' font-family="{MONO}"' if mono else ""
        if "halo" in classes:
            more = (f' stroke="{page.page}" stroke-width="4" paint-order="stroke"'
                    f' stroke-linejoin="round"{more}')
        return (f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{color}"'
                f' xml:space="preserve"{more}>{escape(words)}</text>')

    def frames(self) -> Iterator[str]:
        for cluster in sorted(self.graph.clusters, key=lambda c: -len(c.members)):
            box = self.layout.frames[cluster.id]
            yield (f'<g id="{self.prefix}{cluster.id}" class="cluster"><rect {_place(box)} rx="6"'
                   f' fill="none" stroke="{self.palette.frame}" stroke-dasharray="5 4"/></g>')

    def frame_labels(self) -> Iterator[str]:
        """Above everything: an arrow may enter a frame where its label stands."""
        for cluster in self.graph.clusters:
            box = self.layout.frames[cluster.id]
            yield self.text(box.left + 8, box.top + 15, cluster.label, "muted halo", 12)

    def edges(self) -> Iterator[str]:
        inputs, outputs = self.graph.inputs(), self.graph.outputs()
        for edge in self.graph.edges:
            path = self.layout.paths[edge.id]
            label = ""
            if edge.label:
                siblings = inputs[edge.head]       # if there are many, in two columns
                more = 12 * (siblings.index(edge) % 2) if len(siblings) > 3 else 0
                x, y = _near_the_tip(path, 19 + more + width(edge.label, SMALL) / 2)
                label = self.text(x, y + 3.5, edge.label, "place halo", anchor="middle")
            yield (f'<g id="{self.prefix}{edge.id}" class="edge"><path d="{_curve(path)}"'
                   f' fill="none" stroke="{self.palette.edge}"'
                   f' marker-end="url(#{self.prefix}arrow)"/>{label}</g>')
            if edge.back is not None:
                crowded = len(inputs[edge.head]) > 1, len(outputs[edge.tail]) > 1
                yield self._back(edge.id, edge.back, beside(path), crowded)

    def _back(
        self, id: str, back: Back, path: list[Point], crowded: tuple[bool, bool] = (False, False)
    ) -> str:
        """The arrow against the flow; its label beside it, where few others come close."""
        hue, label = self.palette.gradient, ""
        if back.text:
            half = width(back.text, SMALL) / 2
            way = path[::-1] if crowded == (False, True) else path
            length = sum(math.dist(a, b) for a, b in pairwise(path))
            near = 0.5 * length if crowded == (True, True) else min(11 + half, 0.5 * length)
            (x, y), (x0, y0) = _near_the_tip(way, near), _near_the_tip(way, near - 2)
            level = abs(x - x0) / (math.dist((x, y), (x0, y0)) or 1.0)
            y += 9 * level if path[0][0] > path[-1][0] else 0.0
            label = self.text(x, y + 3.5, back.text, "halo", anchor="middle", color=hue)
        return (f'<g id="{self.prefix}{id}b" class="back"><path d="{_curve(path)}" fill="none"'
                f' stroke="{hue}" stroke-width="{ink(back.size):.2f}" stroke-dasharray="5 4"'
                f' marker-end="url(#{self.prefix}back)"/>{label}</g>')

    def tips(self) -> Iterator[str]:
        """The heads of the arrows."""
        yield _tip(f"{self.prefix}arrow", "tip", self.palette.edge)
        if self.graph.flows_back:
            yield _tip(f"{self.prefix}back", "back-tip", self.palette.gradient)

    def nodes(self) -> Iterator[str]:
        for id, node in self.graph.nodes.items():
            yield (f'<g id="{self.prefix}{id}" class="node {node.kind}" tabindex="0">'
                   f"<title>{escape(node.tip or node.title)}</title>"
                   f"{self._outline(node, self.layout.boxes[id])}"
                   f"{''.join(self._words(node, self.shapes[id], self.layout.boxes[id]))}</g>")

    def _outline(self, node: Node, box: Box) -> str:
        fill, stroke = self.palette.kinds[node.kind]
        ink = f'class="box" fill="{fill}" stroke="{stroke}"'
        if node.kind == "operation":
            return (f'<ellipse {ink} cx="{box.x:.1f}" cy="{box.y:.1f}" rx="{box.width / 2:.1f}"'
                    f' ry="{box.height / 2:.1f}"/>')
        if node.kind == "alias":
            hue = self.palette.kinds["parameter"][1]
            return (f'<path class="box" fill="none" stroke="{hue}" stroke-dasharray="1.5 2.5"'
                    f' d="M{box.left + 2:.1f} {box.bottom - 2:.1f} H{box.right - 2:.1f}"/>')
        if node.kind == "effect":
            c, (w, h) = look.CUT, (box.width - 2 * look.CUT, box.height - 2 * look.CUT)
            return (f'<path {ink} d="M{box.left + c:.1f} {box.top:.1f} h{w:.1f} l{c:g} {c:g}'
                    f' v{h:.1f} l-{c:g} {c:g} h{-w:.1f} l-{c:g} -{c:g} v{-h:.1f} z"/>')
        if node.kind == "loss":
            inner = Box(box.x, box.y, box.width - 6, box.height - 6)
            return f'<rect {ink} {_place(box)}/><rect {ink} {_place(inner)}/>'
        more = KINDS[node.kind].svg
        outline = f"<rect {ink} {_place(box)}{more}/>"
        if node.kind == "folded":                          # a tab, as on a folder
            tab = min(26.0, box.width / 2)
            outline += f'<path {ink}{more} d="M{box.left:.1f} {box.top:.1f} v-6 h{tab:g} l5 6 z"/>'
        return outline

    def _words(self, node: Node, shape: Shape, box: Box) -> Iterator[str]:
        if node.kind == "alias":
            yield self.text(box.x, box.y + 3, shape.title, "name", SMALL + 1, "middle")
            return
        pad = KINDS[node.kind].pad
        left, right = box.left + pad, box.right - pad
        titled = bool(shape.title or shape.tag)
        y = box.y - look.LINE * (len(shape.rows) + titled) / 2 + 11
        if not shape.rows and not (shape.tag and shape.title):
            word = shape.title or shape.tag
            yield self.text(box.x, y + 0.5, word, "name", TITLE, "middle", bold=True)
            return
        if shape.title:
            yield self.text(left, y, shape.title, "name", TITLE, bold=True)
        if shape.tag:
            yield self.text(right, y, shape.tag, "tag muted", anchor="end")
        for k, row in enumerate(shape.rows):
            at = y + titled + look.LINE * (k + titled)
            if row.key == "shape":
                yield self.text(left, at, row.text, "shape muted", mono=True)
            else:
                kind = f"{row.key} alarm" if row.alarm else row.key
                if row.key:
                    yield self.text(left, at, row.key, "key muted")
                yield self.text(left + look.KEY_WIDTH, at, row.text, kind, mono=True)

    def legend(self) -> tuple[list[str], float]:
        """One glyph for each kind that is there, and how wide they are together."""
        glyphs, x = [], 0.0
        for kind, word in legend(self.graph).items():
            if kind == "back":
                glyphs.append(self._back("legend", Back("", 1.0),
                                         [(x + 30, 0), (x + 20, 0), (x + 10, 0), (x, 0)]))
                x += 36
            elif kind != "alias":
                outline = self._outline(Node("", kind, ""), Box(x + 10, 0, 20, 13))
                glyphs.append(f'<g class="{kind}">{outline}</g>')
                x += 26
            glyphs.append(self.text(x, 4, word, "muted"))
            x += width(word, SMALL) + 18
        return glyphs, x


def _curve(path: list[Point]) -> str:
    start, *rest = [f"{x:.1f} {y:.1f}" for x, y in path]
    curves = " ".join(f"C{a},{b},{c}" for a, b, c in zip(rest[::3], rest[1::3], rest[2::3]))
    return f"M{start} {curves}"


def _tip(id: str, kind: str, color: str) -> str:
    """The head of an arrow, in its colour."""
    return (f'<marker id="{id}" viewBox="0 0 10 10" refX="9.5" refY="5" markerWidth="7"'
            f' markerHeight="7" orient="auto-start-reverse" markerUnits="userSpaceOnUse">'
            f'<path class="{kind}" d="M0 1 L10 5 L0 9 z" fill="{color}"/></marker>')


def _near_the_tip(path: list[Point], distance: float) -> Point:
    """The point of a path that is so far from its end."""
    points = [complex(*point) for point in reversed(path)]
    here = points[0]
    for k in range(0, len(points) - 1, 3):
        a, b, c, d = points[k : k + 4]
        for t in (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0):
            there = ((1 - t)**3 * a + 3 * t * (1 - t)**2 * b + 3 * t**2 * (1 - t) * c + t**3 * d)
            step = abs(there - here)
            if step >= distance > 0:
                here += (there - here) * distance / step
                return here.real, here.imag
            here, distance = there, distance - step
    return here.real, here.imag


def _place(box: Box) -> str:
    return (f'x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}"'
            f' height="{box.height:.1f}"')


def beside(path: list[Point]) -> list[Point]:
    """The way back: the path a little to its right, from its end to its start."""
    points = [complex(*point) for point in path]
    moved: list[complex] = []
    for k in range(0, len(points) - 1, 3):
        a, b, c, d = points[k : k + 4]
        start, end = _right_of(b - a or c - a or d - a), _right_of(d - c or d - a)
        moved += [a + start, b + start, c + end, d + end][bool(moved):]
    return [(point.real, point.imag) for point in reversed(moved)]


def _right_of(way: complex) -> complex:
    """A step to the right of a way, which is a turn by 1j where y runs down."""
    return BESIDE * 1j * way / (abs(way) or 1.0)
