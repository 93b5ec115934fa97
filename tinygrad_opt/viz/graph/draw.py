"""`draw`: from a Tensor or a model to a picture that can be shown, saved and printed."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_opt.errors import RenderError
from tinygrad_opt.hints import answer_names, answers
from tinygrad_opt.kernels import brought
from tinygrad_opt.markup import shaded
from tinygrad_opt.recording import with_grad
from tinygrad_opt.tensor import Tensor, history
from tinygrad_opt.viz.graph import dot as dot_text
from tinygrad_opt.viz.graph.engines import engines, place, render
from tinygrad_opt.viz.graph.flow import flow, with_flow
from tinygrad_opt.viz.graph.layout import RANK_GAP, Layout, in_order
from tinygrad_opt.viz.graph.look import Shape, shape_of
from tinygrad_opt.viz.graph.model import Graph
from tinygrad_opt.viz.graph.programs import is_step, program_graph
from tinygrad_opt.viz.graph.simplify import census, composed, readable
from tinygrad_opt.viz.graph.svg import svg
from tinygrad_opt.viz.graph.text import tree, visible
from tinygrad_opt.viz.graph.trace import trace
from tinygrad_opt.viz.html_page import html_page, open_in_browser

if TYPE_CHECKING:
    import graphviz  # type: ignore[import-untyped]

__all__ = ["GraphView", "check_options", "draw", "notebook_bundle"]

CHOICES = {
    "style": ("merged", "split"), "direction": ("LR", "TB"), "theme": ("auto", "light", "dark"),
    "detail": (None, 0, 1, 2),
}
LARGEST, LARGEST_PNG = 200_000, 1500       # boxes in a drawing
WIDE = '<div style="overflow-x:auto">{}</div>'
BACK_ROOM, BACK_RIM = 74.0, 14.0           # between columns and below, for derivatives on arrows


@answers
def draw(
    what: object,
    *inputs: object,
    detail: int | None = None,
    style: str = "merged",
    direction: str = "LR",
    theme: str = "auto",
    engine: str = "auto",
    depth: int | None = None,
    max_nodes: int | None = 300,
    grads: bool = False,
    name: str | None = None,
) -> GraphView:
    """Draw how a Tensor was computed, or what a compiled step does.

    Parameters
    ----------
    what : Tensor, model or compiled step
        The end of the graph; something with ``parameters()``, to be called with `inputs`; or what
        ``compile`` returned, after a call: its latest program is drawn, a box for each call.
    *inputs : Tensor or array
        What a model is called with.
    detail : {0, 1, 2}, optional
        0: names and operations; 1: and shapes; 2: and values and gradients. By default 2 for up
        to 40 boxes and 1 beyond. Of a compiled step 2, the default, is the memory of each call.
    style : {"merged", "split"}
        One box for an operation and its result, or, as in lectures, two. Convolution and pooling
        are several operations, which only the split style shows.
    direction : {"LR", "TB"}
        Left to right, or top to bottom.
    theme : {"auto", "light", "dark"}
        "auto" follows the reader's system.
    engine : {"auto", "dot", "graphviz-pure", "pygraphviz", "builtin"}
        What places the boxes; "auto" takes the first that works.
    depth : int, optional
        How many levels of modules are shown open; 0 shows each as one box. By default as many
        as `max_nodes` permits.
    max_nodes : int or None
        Beyond this many boxes repeated steps are folded, and then modules. Beyond 40, equal
        layers one after another are drawn as the first of them, ``×30``. None shows all.
    grads : bool
        Whether to draw the backward pass too: beside each arrow one that runs back, thicker
        where more flows, with the local derivative (or the norm of an array) on it. The pass is
        run for the drawing; no ``.grad`` is read or changed.
    name : str, optional
        What the drawing is called.

    Returns
    -------
    GraphView

    Raises
    ------
    TypeError
        If `what` is none of these, or a compiled step is given with inputs.
    ValueError
        For an option that is not known, or that a compiled step does not have.
    CaptureError
        If a compiled step has not been called yet.
    GraphError
        With `grads`, as ``backward()`` does.
    RenderError
        If all of more than 200,000 boxes are to be shown.

    Notes
    -----
    The values shown are those of the moment of the call. A gradient is ``–`` before
    ``backward()``: none yet is not the same as 0. After ``backward(create_graph=True)`` a
    gradient has a graph too: ``draw(x.grad)``.

    The calls of a compiled step are numbered in their order and framed by what needs them: the
    result, gradients alone, or neither. A name with ``↗`` is a box of another frame. Calls of one
    ``block`` write to the same memory, ``in place`` over what they read. Where equal layers are
    drawn once, numbers and blocks are those of the first.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt.viz import draw
    >>> a = tg.Tensor(2.0, requires_grad=True, name="a")
    >>> y = a * a + 1
    >>> print(draw(y, engine="builtin"))
    the result: 3 nodes · 2 edges · 1 param (1 value)
    x + 1  data 5  grad –  #2
    └─ ×  data 4  grad –  #1
       └─ a  param  data 2  grad –  #0
    """
    check_options("draw", engine, style=style, direction=direction, theme=theme, detail=detail)
    if is_step(what):
        _refuse_for_steps(inputs, style, grads)
        graph = program_graph(what, detail=detail, direction=direction, name=name,
                              max_nodes=max_nodes, depth=depth)
        _refuse_the_endless(len(graph.nodes))
        return GraphView(graph, theme=theme, engine=engine)
    names: dict[Tensor, str] = {}
    if type(what) is not Tensor:
        what, names, name = _called(what, inputs, name)
    elif inputs:
        raise TypeError(f"draw() of a Tensor takes nothing else, got {inputs[0]!r:.60}; what it"
                        " gives has .save(path)")
    brought(what._array)                                   # pictures show values
    made = history(what)
    if len(made) > LARGEST:
        if max_nodes is None:
            _refuse_the_endless(len(made))
        graph = census(made, visible(name or what.name or "the result"))
    else:
        graph = trace(what, detail=detail, style=style, names=names, name=name,
                      direction=direction, whole=style == "merged")
        graph = with_flow(graph, flow(what)) if grads else graph
        graph = composed(graph) if style == "merged" else graph
        graph = readable(graph, max_nodes, depth)
    return GraphView(graph, theme=theme, engine=engine)


def check_options(caller: str, engine: str, **given: object) -> None:
    """Refuse an engine that is not there, and other options that are not known.

    Raises
    ------
    ValueError, RenderError
    """
    for option, value in given.items():
        if value not in CHOICES[option]:
            allowed = ", ".join(map(repr, CHOICES[option]))
            raise ValueError(
                f"{caller}(): {option}={value!r} is not known; choose one of {allowed}")
    engines(engine)


def _refuse_the_endless(boxes: int) -> None:
    if boxes > LARGEST:
        raise RenderError(
            f"a drawing of {boxes:,} boxes would take minutes and could not be looked at: without"
            " max_nodes=None it says how many there are")


def _refuse_for_steps(inputs: tuple[object, ...], style: str, grads: bool) -> None:
    """What draws a Tensor's graph and says nothing about a compiled step."""
    if inputs:
        raise TypeError("draw(step) shows the program of the latest call: pass it no arguments, or"
                        " call the step with them first")
    if style != "merged" or grads:
        option = "grads=True" if grads else f"style={style!r}"
        raise ValueError(f"draw(step) knows no {option}: a compiled step has a box for each call,"
                         " those of the backward pass too")


def _called(
    model: object, inputs: tuple[object, ...], name: str | None
) -> tuple[Tensor, dict[Tensor, str], str]:
    """Run a model on its inputs; what it gave, the names of its Tensors and its own."""
    if not (callable(model) and hasattr(model, "parameters")):
        raise TypeError(
            f"draw() takes a Tensor, or a model and its input; got {type(model).__name__}, which is"
            " no compiled step either")
    if not inputs:
        raise TypeError(
            f"draw({type(model).__name__}) needs what the model is to be applied to, to see what it"
            " does: draw(model, x), or draw(loss)")
    names = {t: key for key, t in dict(model.parameters()).items()}
    tensors = []
    for k, x in enumerate(inputs):
        t = x if type(x) is Tensor else Tensor(brought(x))
        if not t.name:
            names.setdefault(t, "x" if len(inputs) == 1 else f"x{k}")
        tensors.append(t)
    with with_grad():
        result = model(*tensors)
    if type(result) is not Tensor:
        raise TypeError(
            f"draw(model, x) needs a model that returns a Tensor, got {type(result).__name__}:"
            " call it yourself and draw one of the results")
    return result, names, name or type(model).__name__


class GraphView:
    """A drawing: shown by notebooks, printed as a tree, saved by suffix.

    Attributes
    ----------
    graph : Graph
        What is drawn.
    theme, engine : str
        How, and by what.
    """

    def __init__(self, graph: Graph, *, theme: str = "auto", engine: str = "auto") -> None:
        self.graph, self.theme, self.engine = graph, theme, engine

    @functools.cached_property
    def dot(self) -> str:
        """The drawing in the DOT language."""
        return dot_text.dot(self.graph)

    @functools.cached_property
    def shapes(self) -> dict[str, Shape]:
        """How large each box is, and what it says."""
        return {id: shape_of(node) for id, node in self.graph.nodes.items()}

    @functools.cached_property
    def layout(self) -> Layout:
        """Where everything is, and which engine has put it there."""
        flows_back = self.graph.flows_back
        room = BACK_ROOM if flows_back and self.graph.direction == "LR" else RANK_GAP
        layout = in_order(self.graph, place(self.graph, self.shapes, self.engine, room))
        rim = BACK_RIM if flows_back else 0.0
        return replace(layout, width=layout.width + rim, height=layout.height + rim)

    @functools.cached_property
    def svg(self) -> str:
        """The drawing as SVG text."""
        return svg(self.graph, self.shapes, self.layout, theme=self.theme)

    @property
    def html(self) -> str:
        """A page that holds the drawing and nothing from anywhere else."""
        return html_page(self.graph.name, WIDE.format(self._fitted(self.svg)), theme=self.theme)

    def _fitted(self, text: str) -> str:
        """SVG that shrinks with the place that it has, as far as it can be read, then scrolls."""
        wide = round(self.layout.width)
        fit = f'style="width:100%;height:auto;max-width:{wide + 32}px;min-width:{wide * 0.6:.0f}px"'
        return text.replace("<svg ", f"<svg {fit} ", 1)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the drawing to a file: svg, png, pdf, html, or gv and dot for DOT text.

        Where no engine paints PNG or PDF, DOT text is written beside it and a warning says how
        to get one.

        Parameters
        ----------
        path : str or path
            Where to; the suffix chooses the format.

        Returns
        -------
        Path
            The file that was written.

        Raises
        ------
        ValueError
            For another suffix.
        RenderError
            For a PNG of a graph that is too large to be looked at as one.
        """
        path = Path(path)
        suffix = path.suffix.lower().lstrip(".")
        texts = {"svg": "svg", "html": "html", "htm": "html", "gv": "dot", "dot": "dot"}
        if suffix in texts:
            path.write_text(getattr(self, texts[suffix]), encoding="utf-8", newline="\n")
            return path
        if suffix not in ("png", "pdf"):
            raise ValueError(
                f"cannot save a drawing as {path.name!r}: the name must end in .svg, .png, .pdf,"
                " .html or .gv")
        if suffix == "png" and len(self.graph.nodes) > LARGEST_PNG:
            raise RenderError(
                f"a PNG of {len(self.graph.nodes):,} boxes would be too large to look at:"
                " save it as .svg or .html, or draw it with a smaller max_nodes")
        try:
            picture, _ = render(self.dot, suffix, self.engine)
        except RenderError as error:
            path = path.with_suffix(".gv")
            path.write_text(self.dot, encoding="utf-8", newline="\n")
            warnings.warn(f"Wrote {path} (text). {error}", stacklevel=2)
            return path
        path.write_bytes(picture)
        return path

    def show(self) -> None:
        """Open the drawing in a browser."""
        open_in_browser(self.html)

    def to_graphviz(self) -> graphviz.Source:
        """The drawing as a ``graphviz.Source``, for use with that package."""
        import graphviz

        return graphviz.Source(self.dot)

    def __str__(self) -> str:
        return tree(self.graph)

    def __repr__(self) -> str:
        return f"<GraphView of {self.graph.name}: {self.graph.caption}>"

    def _inline(self) -> str:
        """SVG for a page that other drawings may share, on a panel of its own colour."""
        token = f"g{hashlib.sha256(self.dot.encode()).hexdigest()[:8]}-"
        theme = "light" if self.theme == "auto" else self.theme
        return self._fitted(svg(self.graph, self.shapes, self.layout, theme=theme, prefix=token,
                                panel=True))

    def _repr_html_(self) -> str | None:
        return self._repr_mimebundle_().get("text/html")

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What notebooks show. Whatever goes wrong, there is text."""
        try:
            inline = self._inline()
            return {"text/plain": repr(self), "image/svg+xml": inline,
                    "text/html": WIDE.format(inline)}
        except Exception as error:                         # a display must not end a cell
            print(f"the drawing failed: {error}", file=sys.stderr)
            return {"text/plain": repr(self)}


answer_names(GraphView, "GraphView")


def notebook_bundle(tensor: Tensor) -> dict[str, str]:
    """What a notebook shows for a Tensor: its values, and its graph if it was computed.

    Parameters
    ----------
    tensor : Tensor
        Any Tensor.

    Returns
    -------
    dict of str to str
        By MIME type; at least ``text/plain``. Nothing is ever raised.
    """
    plain = repr(tensor)
    if tensor.op is None:
        return {"text/plain": plain, "text/html": shaded(tensor.data)}
    try:
        bundle = draw(tensor)._repr_mimebundle_()
    except Exception:
        bundle = {}
    return {**bundle, "text/plain": plain}
