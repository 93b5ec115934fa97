"""``tinygrad-opt play``: backpropagation through a formula or a model, as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_opt.cli.command import argument, command
from tinygrad_opt.cli.draw import MODEL, WHAT, computed

__all__ = ["play"]


@command(
    *WHAT,
    argument("--out", type=Path, default=Path("backprop.html"), metavar="FILE",
             help="where to, such as lesson.html (default: backprop.html)"),
    *MODEL,
    examples="""
    tinygrad-opt play "tanh(a*b + c)" a=2 b=-3 c=10
    tinygrad-opt play "(a*b + c)**2" a=2 b=-3 c=10 --out square.html
    tinygrad-opt play "sum(relu(x @ w))" "x=[1,2]" "w=[[1,-1],[0.5,2]]"
    tinygrad-opt play runs/moons/weights.npz --data moons --rows 8
    """,
)
def play(options: argparse.Namespace) -> None:
    """Make a page that plays backpropagation step by step.

    The page shows every operation forwards and every gradient backwards, with the numbers of
    each step. It needs no network and can be sent to anybody. The formula must give one number.
    A model that was saved by tinygrad-opt train, or by tinygrad_opt.save, is run on a few rows
    of a data set, or of random numbers.
    """
    from tinygrad_opt.viz.steps.page import playback

    if options.out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{options.out} would hold a page: its name must end in .html")
    page = playback(computed(options, number=True), name=options.formula)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    print(f"{page.save(options.out)}  {len(page.script['steps'])} steps: open it in a browser")
