"""``tinygrad-opt draw``: the graph of a formula, as a picture and as text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.command import argument, command, named

__all__ = ["FORMULA", "VALUES", "computed", "draw"]

FORMULA = argument(
    "formula", metavar="FORMULA",
    help='such as "tanh(a*b + c)": + - * / ** @, functions, numbers, names, pi and e; one that'
         ' begins with a minus goes in brackets, as "(-x)**2"')
VALUES = argument(
    "values", nargs="*", type=named, metavar="NAME=VALUE",
    help='what the names stand for, before any options: a=2, b=-3 or "x=[1,2,3]"')


@command(
    FORMULA,
    VALUES,
    argument("--grad", action="store_true",
             help="run the backward pass too, so that each box shows its gradient"),
    argument("--out", type=Path, default=Path("graph.svg"), metavar="FILE",
             help="where to; .svg, .png, .pdf, .html or .gv chooses the format (default:"
                  " graph.svg)"),
    argument("--style", choices=("merged", "split"), default="merged",
             help="split: an operation and its result are two boxes, as in lectures"),
    argument("--detail", type=int, choices=(0, 1, 2), metavar="N",
             help="0: names and operations; 1: and shapes; 2: and numbers (default: what fits)"),
    examples="""
    tinygrad-opt draw "tanh(a*b + c)" a=2 b=-3 c=10
    tinygrad-opt draw "tanh(a*b + c)" a=2 b=-3 c=6.5 --grad --out neuron.html
    tinygrad-opt draw "mean((x @ w - y)**2)" "x=[[1,2],[3,4]]" "w=[1,1]" "y=[3,8]" --grad
    tinygrad-opt draw "sigmoid(w*x + b)" w=1 x=2 b=0 --style split --detail 0
    """,
)
def draw(options: argparse.Namespace) -> None:
    """Draw the graph of a formula.

    The formula is read, never run as code. The text under the path is the same graph as a
    tree: each line is computed from the lines below it that are set in further.
    """
    from tinygrad_opt import viz

    result = computed(options, number=options.grad)
    if options.grad:
        result.backward()
    view = viz.draw(result, style=options.style, detail=options.detail, name=options.formula)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    print(f"{view.save(options.out)}  the graph: open it in a browser or viewer\n\n{view}")


def computed(options: argparse.Namespace, number: bool) -> Any:
    """The Tensor that a formula gives for its values; one number, if it is to have a gradient."""
    from tinygrad_opt.viz import formula

    names = [name for name, _ in options.values]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{twice} has two values; give it one, such as {twice}=2")
    result = formula.parse(options.formula, **dict(options.values))
    if number and result.size != 1:
        raise ValueError(f"{options.formula!r} gives numbers of shape {result.shape}; gradients"
                         f" need one number, such as sum({options.formula})")
    if number and not result.needs_grad:
        raise ValueError(f"{options.formula!r} has no names to take gradients by; give it some,"
                         " as in: a*b a=2 b=3")
    return result
