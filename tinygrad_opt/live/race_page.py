"""A race: optimizers on a surface, from where the reader clicks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from tinygrad_opt.compiler import compile
from tinygrad_opt.live.live_page import LivePage, live_page, object_text
from tinygrad_opt.live.rules import letters_of, rules_of
from tinygrad_opt.live.templates import template
from tinygrad_opt.live.typed_formulas import operations
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import ArrayLike
from tinygrad_opt.viz.plots.surfaces import SURFACES, Surface, SurfaceLike, backward, surface
from tinygrad_opt.viz.theme import looks

__all__ = ["race"]


def race(
    surfaces: SurfaceLike | Sequence[SurfaceLike] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    optimizers: Sequence[str | Optimizer] | None = None,
    title: str = "Race",
    theme: str = "auto",
) -> LivePage:
    """Make a page on which optimizers race down a surface, from where the reader clicks.

    Parameters
    ----------
    surfaces : str, callable, Surface, or list of them, optional
        As `viz.surface` takes them; those of the package by default. The reader can also type a
        formula of x and y.
    path : str or path, optional
        Where to write the page.
    optimizers : list of str or Optimizer, optional
        As `optim.get` takes them; every rule of the package by default.
    title : str
    theme : {"auto", "light", "dark"}

    Returns
    -------
    LivePage

    Raises
    ------
    CaptureError
        If a surface has operations that JavaScript has no words for; they are named.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> tg.live.race(lambda x, y: x**2 + 5 * y**2, optimizers=["sgd", "adam"])  # doctest: +ELLIPSIS
    <LivePage 'Race', ... kB>
    """
    if surfaces is None:
        surfaces = [s for name, s in SURFACES.items() if name != "noisy_neuron"]
    elif isinstance(surfaces, str) or not isinstance(surfaces, Sequence):
        surfaces = [surfaces]
    chosen = [surface(s) for s in surfaces]
    rules = rules_of(optimizers, np.float64)
    contents = {"surfaces": [_told(s) for s in chosen], "rules": rules, "operations": operations(),
                "letters": letters_of(rules)}
    styles = {scheme: {name: [look.color, look.marker]
                       for name, look in looks(rules, scheme).items()}
              for scheme in ("light", "dark")}
    return live_page("race", title, object_text(contents), {"looks": styles}, path=path,
                     theme=theme)


def _told(s: Surface) -> dict[str, object]:
    return {"name": s.name.replace("_", " "), "formula": s.formula, "x": list(s.x), "y": list(s.y),
            "start": list(s.start), "minima": [list(m) for m in s.minima], "log": s.log,
            "rates": dict(s.rates), "axes": list(s.axes), "make": _module(s)}


def _module(s: Surface) -> str:
    """The height and gradient at a point, and the heights of many, as a function of how many."""
    at = Tensor(np.zeros(2), requires_grad=True, name="at")

    def text_of(sizes: Mapping[str, int]) -> str:
        @compile
        def step() -> dict[str, object]:
            at.grad = None
            height = s.f(at[0], at[1])
            backward(height, s.name)
            return {"height": height, "gradient": at.grad}

        @compile
        def heights(x: ArrayLike, y: ArrayLike) -> object:
            return s.f(Tensor(x), Tensor(y))

        step()
        heights(np.zeros(sizes["n"]), np.zeros(sizes["n"]))
        text: str = step.to_javascript(heights=heights)
        return text

    return template(text_of, ["n"])
