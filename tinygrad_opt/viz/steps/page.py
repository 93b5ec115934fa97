"""Backpropagation as a page that plays it: every step, every number, nothing from the network."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np

from tinygrad_opt.errors import RenderError
from tinygrad_opt.hints import answers
from tinygrad_opt.kernels import brought
from tinygrad_opt.tensor import Tensor, history
from tinygrad_opt.typing import ArrayLike
from tinygrad_opt.viz.graph.draw import check_options
from tinygrad_opt.viz.graph.engines import place
from tinygrad_opt.viz.graph.flow import Flow, flow, with_gradients
from tinygrad_opt.viz.graph.look import Shape, shape_of
from tinygrad_opt.viz.graph.model import Graph, Node, Row
from tinygrad_opt.viz.graph.simplify import readable
from tinygrad_opt.viz.graph.svg import svg
from tinygrad_opt.viz.graph.text import visible
from tinygrad_opt.viz.graph.trace import trace
from tinygrad_opt.viz.html_page import Page, filled_page
from tinygrad_opt.viz.steps.script import Script, script
from tinygrad_opt.viz.steps.words import shape_text

__all__ = ["Playback", "playback"]

PAGE = Path(__file__).with_name("playback.html")
LARGEST = 20_000                           # nodes
MAP_LINES = 3                              # room for the heat maps, in lines of a box
ROOM = 68.0                                # between two columns, for a number on an arrow


@answers
def playback(
    loss: Tensor,
    path: str | os.PathLike[str] | None = None,
    *,
    gradient: ArrayLike | None = None,
    names: Mapping[Tensor, str] | None = None,
    name: str | None = None,
    theme: str = "auto",
    engine: str = "auto",
) -> Playback:
    """Make a page that plays the forward and the backward pass of `loss`, step by step.

    Parameters
    ----------
    loss : Tensor
        The end of the graph.
    path : str or path, optional
        Where to write the page.
    gradient : array-like, optional
        Where the backward pass starts, as for ``backward``; needed if `loss` is not one number.
    names : mapping of Tensor to str, optional
        Names for Tensors that have none.
    name : str, optional
        The title; by default the name of `loss`.
    theme : {"auto", "light", "dark"}
        "auto" follows the reader's system.
    engine : str
        What places the boxes, as for ``draw``.

    Returns
    -------
    Playback
        Shown by notebooks; ``.save(path)``, ``.show()``.

    Raises
    ------
    TypeError
        If `loss` is not a Tensor.
    GraphError, ShapeError
        As ``loss.backward(gradient)`` does.
    ValueError
        For a theme or an engine that is not known.
    RenderError
        For more than 20,000 nodes.

    Notes
    -----
    The gradients are those of one backward pass, run for the page: no ``.grad`` is read or
    changed, but hooks are called, since they may change the numbers.

    Examples
    --------
    >>> from tinygrad_opt.viz import formula
    >>> from tinygrad_opt.viz import playback
    >>> page = playback(formula.parse("tanh(a*b + c)", a=2, b=-3, c=6.5), engine="builtin")
    >>> page
    <Playback of the result: 8 steps, 6 nodes · 5 edges · 3 params (3 values)>
    """
    if type(loss) is not Tensor:
        raise TypeError(f"playback() takes the Tensor that was computed, got {type(loss).__name__}")
    check_options("playback", engine, theme=theme)
    brought(loss._array)
    steps = len(history(loss))
    if steps > LARGEST:
        raise RenderError(f"a page that plays {steps:,} nodes would be too large to be opened: play"
                          " a part, or viz.draw it, which folds what is repeated")
    run = flow(loss, gradient)
    names = dict(names or {})
    graph = readable(trace(loss, detail=2, names=names, name=name), max_nodes=None)
    page = Playback(_with_gradients(graph, run), run, names, theme, engine)
    if path is not None:
        page.save(path)
    return page


class Playback(Page):
    """A backward pass, ready to be played by a page.

    Attributes
    ----------
    graph : Graph
        What is drawn.
    flow : Flow
        The gradients and what they are sums of.
    """

    def __init__(
        self, graph: Graph, flow: Flow, names: Mapping[Tensor, str], theme: str, engine: str
    ) -> None:
        self.graph, self.flow, self.names = graph, flow, names
        self.theme, self.engine = theme, engine
        self.title, self.height = visible(graph.name), 640

    @functools.cached_property
    def script(self) -> Script:
        """The nodes, steps and arrays that the page shows."""
        return script(self.graph, self.flow, self.names)

    @functools.cached_property
    def drawing(self) -> str:
        """The graph as SVG; its boxes carry the ids of the nodes."""
        shapes = {node.id: _shape(node) for node in self.graph.nodes.values()}
        layout = place(self.graph, shapes, self.engine, ROOM)
        drawn = svg(self.graph, shapes, layout, theme=self.theme)
        return re.sub(r'<text class="shape muted"[^>]*></text>', "", drawn)

    @functools.cached_property
    def html(self) -> str:
        """The page, complete in itself."""
        title = f"Backpropagation: {self.title}"
        return filled_page(PAGE, title, data={"data": self.script}, theme=self.theme,
                           name=escape(title), svg=self.drawing)

    def __repr__(self) -> str:
        steps = len(self.script["steps"])
        return f"<Playback of {self.graph.name}: {steps} steps, {self.graph.caption}>"


def _with_gradients(graph: Graph, run: Flow) -> Graph:
    """The graph with this pass's gradients in its boxes, and room for heat maps of arrays."""
    nodes = {}
    for id, node in with_gradients(graph, run).nodes.items():
        # the maps tell more than the ranges
        source, rows = node.source, [replace(r, text=r.text.split(" [")[0]) for r in node.rows]
        if rows and np.ndim(node.values):
            rows += [Row("shape", "")] * MAP_LINES
        tip = f"{node.title} {shape_text(node.values)}" if source is not None else node.title
        nodes[id] = replace(node, rows=tuple(rows), tip=tip)
    return replace(graph, nodes=nodes)


def _shape(node: Node) -> Shape:
    """The box, wide enough for any number that it may show on the way."""
    shape = shape_of(node)
    scalar = any(row.key == "grad" for row in node.rows) and np.size(node.values) == 1
    return replace(shape, width=max(shape.width, 116.0)) if scalar else shape
