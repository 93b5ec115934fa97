"""A playground: a network that learns in the browser, with every number to be seen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from tinygrad_opt.live.live_page import LivePage, live_page, object_text
from tinygrad_opt.live.points import Points, points_of
from tinygrad_opt.live.rules import letters_of, rules_of
from tinygrad_opt.live.trainable import family, given_network, slope_of, start_of
from tinygrad_opt.nn.module import Module
from tinygrad_opt.optim import Optimizer

__all__ = ["playground"]

ACTIVATIONS = ("tanh", "relu", "sigmoid", "gelu", "silu")
DEEPEST = 4


def playground(
    model: Module | Sequence[Module] | None = None,
    data: Points | Mapping[str, Points] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    optimizers: Sequence[str | Optimizer] | None = None,
    activations: Sequence[str] = ACTIVATIONS,
    deepest: int = DEEPEST,
    title: str = "Playground",
    theme: str = "auto",
) -> LivePage:
    """Make a page on which a network learns: no Python, no server, nothing from the network.

    The page runs the engine's own program, captured and written as JavaScript: its losses are
    Python's, to rounding.

    Parameters
    ----------
    model : Module or list of Modules, optional
        Networks of one's own, of two inputs, with the weights that they have now. Without it the
        reader builds fully connected ones.
    data : str, path, (x, y), or dict of them, optional
        A name that `tinygrad_opt.live.points` knows, a CSV file of two columns and a class, or
        points of shape (n, 2) and their classes. All data sets of the package by default.
    path : str or path, optional
        Where to write the page.
    optimizers : list of str or Optimizer, optional
        As `optim.get` takes them; every rule of the package by default.
    activations : sequence of str
        That the reader can choose from.
    deepest : int
        How many hidden layers there can be.
    title : str
    theme : {"auto", "light", "dark"}
        "auto" follows the reader's system.

    Returns
    -------
    LivePage
        Shown by notebooks; ``.save(path)``, ``.show()``, ``.fragment``.

    Raises
    ------
    CaptureError
        If a model does what JavaScript has no words for, such as dropout; it is named.
    ValueError
        For data that are no points of the plane with 2 to 8 classes, and for models of other
        inputs than two or of other outputs than the classes.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> page = tg.playground(tg.nn.MLP([2, 4, 3], "tanh", rng=0), "spiral", optimizers=["adam"])
    >>> page.save("playground.html").name                      # doctest: +SKIP
    'playground.html'
    """
    models = [model] if isinstance(model, Module) else list(model or ())
    for m in models:
        if not isinstance(m, Module):
            raise TypeError(f"playground() takes a Module or a list of them, got {m!r}.")
    if deepest < 0:
        raise ValueError(f"deepest is a number of hidden layers, got {deepest}.")
    given, sets = [given_network(m) for m in models], points_of(data)
    for network in given:
        if data is None:                                   # of the package's, those that fit
            sets = {n: s for n, s in sets.items() if s["classes"] == network["classes"]}
        counts = {n: str(s["classes"]) for n, s in sets.items()}
        for n, count in (counts or {"no set of the package": "so many"}).items():
            if count != str(network["classes"]):
                raise ValueError(f"{n} has {count} classes, and {network['name']} gives"
                                 f" {network['classes']} numbers for a point.")
    rules = rules_of(optimizers)
    contents = {
        "data": sets, "rules": rules, "letters": letters_of(rules), "given": given,
        "nets": {} if models else {
            a: [family(a, depth) for depth in range(deepest + 1)] for a in activations},
        "starts": {a: start_of(a) for a in activations},
        "texts": {a: slope_of(a) for a in activations},
    }
    return live_page("playground", title, object_text(contents), path=path, theme=theme,
                     height=1000)
