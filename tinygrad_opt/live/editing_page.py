"""A small graph whose numbers can be changed: values and gradients follow at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from tinygrad_opt.compiler import compile
from tinygrad_opt.errors import RenderError
from tinygrad_opt.live.live_page import LivePage, live_page, object_text
from tinygrad_opt.live.rules import rules_of
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.tensor import Tensor, apply
from tinygrad_opt.viz.graph.text import visible
from tinygrad_opt.viz.steps.page import playback

__all__ = ["editable"]

MOST = 2000                # numbers that can be changed


def editable(
    loss: Tensor,
    path: str | os.PathLike[str] | None = None,
    *,
    names: Mapping[Tensor, str] | None = None,
    optimizers: Sequence[str | Optimizer] | None = None,
    title: str | None = None,
    theme: str = "auto",
    engine: str = "auto",
) -> LivePage:
    """Make a page with the graph of `loss`, on which its numbers can be changed.

    Values and gradients follow at once, by the program that the engine captures from the graph;
    "step downhill" applies an optimizer.

    Parameters
    ----------
    loss : Tensor
        One number: the end of the graph.
    path : str or path, optional
        Where to write the page.
    names : mapping of Tensor to str, optional
        Names for Tensors that have none.
    optimizers : list of str or Optimizer, optional
        As `optim.get` takes them; every rule of the package by default.
    title : str, optional
    theme : {"auto", "light", "dark"}
    engine : str
        What places the boxes, as for ``draw``.

    Returns
    -------
    LivePage

    Raises
    ------
    RenderError
        If there are more than 2000 numbers to change.
    CaptureError
        If the graph has operations that JavaScript has no words for; they are named.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> a, b = (tg.Tensor(v, requires_grad=True, name=n) for v, n in ((2.0, "a"), (-3.0, "b")))
    >>> tg.live.editable((a * b + 1) ** 2, optimizers=["sgd"])          # doctest: +ELLIPSIS
    <LivePage 'the result', ... kB>
    """
    played = playback(loss, names=names, theme=theme, engine=engine)
    sources = {n.id: n.source for n in played.graph.nodes.values() if type(n.source) is Tensor}
    leaves = {id: t for id, t in sources.items() if t.op is None}
    if sum(t.size for t in leaves.values()) > MOST:
        raise RenderError(f"{sum(t.size for t in leaves.values()):,} numbers are too many to be"
                          f" changed by hand: at most {MOST:,}")
    nodes = [{
        "id": id, "name": visible(played.graph.nodes[id].title), "shape": list(t.shape),
        "leaf": id in leaves, "learns": id in leaves and t.requires_grad,
    } for id, t in sources.items()]
    contents = {"make": _module(sources, leaves), "rules": rules_of(optimizers)}
    name = title or visible(played.graph.name)
    return live_page("editable", name, object_text(contents), {"nodes": nodes}, path=path,
                     theme=theme, height=720, body={"TITLE": escape(name), "SVG": played.drawing})


def _module(sources: Mapping[str, Tensor], leaves: Mapping[str, Tensor]) -> str:
    """A function that makes the program of the graph, on copies of its leaves."""
    own = {id: Tensor(np.array(t.data), requires_grad=t.requires_grad, name=id)
           for id, t in leaves.items()}
    copies = {t: own[id] for id, t in leaves.items()}

    @compile
    def step() -> dict[str, object]:
        for t in own.values():
            t.grad = None
        made = dict(copies)
        ends: dict[str, Tensor] = {}
        for id, t in sorted(sources.items(), key=lambda pair: pair[1].serial):
            if t.op is not None:
                inputs = [made.get(x, x) if type(x) is Tensor else x for x in t.inputs]
                ends[id] = made[t] = apply(t.op, *inputs, **t.attrs)
        loss = ends[id]
        loss.backward()
        return {"loss": loss, "values": ends, "gradients": {i: t.grad for i, t in ends.items()}}

    step()
    text: str = step.to_javascript()
    body = text.partition("export function program() ")[2].partition("export default")[0].strip()
    return f"() => {body}"
