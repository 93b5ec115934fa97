"""A graph as DOT text, for Graphviz and for every tool that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from tinygrad_opt.viz.graph.look import KINDS, LIGHT, Shape, ink, legend, shape_of
from tinygrad_opt.viz.graph.model import Cluster, Edge, Graph, Node

__all__ = ["dot", "skeleton"]


def dot(graph: Graph) -> str:
    """Write the graph in the DOT language, with its look.

    The same model gives the same text: ids come from the order of creation, and nothing from
    memory addresses or hashes.
    """
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        f'  graph [rankdir={graph.direction} fontname=Helvetica fontsize=10 nodesep=0.25'
        f' ranksep=0.45 labelloc=b labeljust=l label=<{_legend(graph)}>]',
        f'  node [shape=box fontname=Helvetica fontsize=10 fontcolor="{LIGHT.text}"'
        ' margin="0.08,0.04"]',
        f'  edge [color="{LIGHT.edge}" fontname=Helvetica fontsize=10 arrowsize=0.7'
        f' fontcolor="{LIGHT.muted}"]',
    ]
    lines += _frames(graph, None, graph.innermost(), "  ", full=True)
    for edge in graph.edges:
        lines += _arrows(edge)
    return "\n".join([*lines, "}", ""])


def skeleton(graph: Graph, shapes: dict[str, Shape], room: float) -> str:
    """Only what a layout needs: boxes of fixed size without text, arrows and frames.

    An engine that places these never sees text from users and needs no fonts.
    """
    lines = [
        f"digraph {{ graph [rankdir={graph.direction} nodesep=0.25 ranksep={room / 72:.4g}]",
        '  node [shape=box fixedsize=true label=""] edge [arrowhead=none]',
    ]
    for id, s in shapes.items():
        lines.append(f"  {id} [width={s.width / 72:.4f} height={s.height / 72:.4f}]")
    lines += _frames(graph, None, graph.innermost(), "  ", full=False)
    lines += [f"  {e.tail} -> {e.head}" for e in graph.edges]
    return "\n".join([*lines, "}", ""])


def _frames(graph: Graph, frame: str | None, inner: dict[str, str | None], lead: str,
            full: bool) -> list[str]:
    """The boxes of a frame and the frames in it: modules are nested a few deep at most."""
    lines = []
    for id, node in graph.nodes.items():
        if inner[id] == frame and (full or frame is not None):
            lines.append(f"{lead}{_box(node) if full else id}")
    for cluster in graph.clusters:
        if cluster.parent == frame:
            lines.append(f"{lead}subgraph cluster_{cluster.id} {{")
            lines.append(f"{lead}  {_frame(cluster, full)}")
            lines += _frames(graph, cluster.id, inner, lead + "  ", full)
            lines.append(f"{lead}}}")
    return lines


def _frame(cluster: Cluster, full: bool) -> str:
    label = _quoted(cluster.label) if full else '"M"'
    return (f'graph [id={cluster.id} class="cluster" label={label} labelloc=t labeljust=l'
            f' fontsize=12 style=dashed color="{LIGHT.frame}" fontcolor="{LIGHT.muted}"]')


def _box(node: Node) -> str:
    shape = shape_of(node)
    attributes = [f"id={node.id}", f'class="node {node.kind}"', f"label=<{_label(node, shape)}>"]
    if node.tip:
        attributes.append(f"tooltip={_quoted(node.tip)}")
    kind, (fill, border) = KINDS[node.kind], LIGHT.kinds[node.kind]
    if kind.dot:
        attributes.append(f'style="{kind.dot}" fillcolor="{fill}" color="{border}"')
    return f"{node.id} [{' '.join(filter(None, [*attributes, kind.shape]))}]"


def _label(node: Node, shape: Shape) -> str:
    """A table with one run of text in each cell; two runs in one would overlap in some engines."""
    if node.kind == "alias":
        return f"<U>{escape(shape.title)}</U>"
    title, tag = escape(shape.title), escape(shape.tag)
    cells = [f'<TD ALIGN="LEFT"><FONT POINT-SIZE="13"><B>{title}</B></FONT></TD>'] if title else []
    if tag:
        cells.append(f'<TD ALIGN="RIGHT"><FONT COLOR="{LIGHT.muted}">&#160;{tag}</FONT></TD>')
    if len(cells) == 1 and not shape.rows:
        return f'<FONT POINT-SIZE="13"><B>{title or tag}</B></FONT>'
    if len(cells) == 1:
        cells = [cells[0].replace("<TD ", '<TD COLSPAN="2" ')]
    rows = [f"<TR>{''.join(cells)}</TR>"] if cells else []
    for row in shape.rows:
        color = LIGHT.alarm if row.alarm else LIGHT.muted if row.key == "shape" else LIGHT.text
        text = f'<FONT FACE="Courier" COLOR="{color}">{escape(row.text)}</FONT>'
        if row.key == "shape":
            rows.append(f'<TR><TD ALIGN="LEFT" COLSPAN="2">{text}</TD></TR>')
        else:
            key = f'<FONT COLOR="{LIGHT.muted}">{row.key}&#160;</FONT>'
            rows.append(f'<TR><TD ALIGN="LEFT">{key}</TD><TD ALIGN="LEFT">{text}</TD></TR>')
    return ('<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">'
            f"{''.join(rows)}</TABLE>")


def _legend(graph: Graph) -> str:
    """The kinds that are there, and how much there is, below the drawing."""
    cells = []
    for kind, word in legend(graph).items():
        fill, border = LIGHT.kinds.get(kind, ("", ""))
        paint = f' BGCOLOR="{fill}" COLOR="{border}" BORDER="1"' if kind != "alias" else ""
        cells.append(f'<TD><FONT COLOR="{LIGHT.gradient}">- - → {word}</FONT></TD>'
                     if kind == "back" else f"<TD{paint}>{word}</TD>")
    rows = [f"<TR>{''.join(cells)}</TR>"] if cells else []
    span = f' COLSPAN="{len(cells)}"' if rows else ""
    rows.append(f'<TR><TD{span} ALIGN="LEFT">{escape(graph.caption)}</TD></TR>')
    return f'<TABLE BORDER="0" CELLSPACING="4" CELLPADDING="3">{"".join(rows)}</TABLE>'


def _arrows(edge: Edge) -> Iterator[str]:
    """The arrow forward and, where one is to be seen, the one that runs back beside it."""
    label = f" headlabel={_quoted(edge.label)} labeldistance=1.5" if edge.label else ""
    yield f'  {edge.tail} -> {edge.head} [id={edge.id} class="edge"{label}]'
    if edge.back is not None:
        label = f" label={_quoted(edge.back.text)}" if edge.back.text else ""
        yield (f'  {edge.tail} -> {edge.head} [id={edge.id}b class="back" dir=back style=dashed'
               f' color="{LIGHT.gradient}" fontcolor="{LIGHT.gradient}"'
               f' penwidth={ink(edge.back.size):.2f}{label}]')


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
