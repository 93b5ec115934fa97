"""``tinygrad-opt draw``: the graph of a formula or a saved model, as a picture and as text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinygrad_opt.cli import saved
from tinygrad_opt.cli.command import argument, at_least, command, named

__all__ = ["MODEL", "WHAT", "computed", "draw"]

WHAT = (
    argument(
        "formula", metavar="FORMULA",
        help='such as "tanh(a*b + c)": + - * / ** @, functions, numbers, names, pi and e; one that'
             ' begins with a minus goes in brackets, as "(-x)**2". Or a saved model, such as'
             " weights.npz"),
    argument(
        "values", nargs="*", type=named, metavar="NAME=VALUE",
        help='what the names stand for, before any options: a=2, b=-3 or "x=[1,2,3]"'),
)
MODEL = (
    argument("--data", metavar="DATASET",
             help="what a saved model is given: digits, spiral, moons or a file such as iris.csv"
                  " (default: random numbers)"),
    argument("--target", metavar="COLUMN",
             help="column of labels in a CSV file (default: the last)"),
    argument("--rows", type=at_least(1), metavar="N", help="how many rows of it (default: 4)"),
)


@command(
    *WHAT,
    argument("--grad", action="store_true",
             help="run the backward pass too, so that each box shows its gradient"),
    argument("--out", type=Path, default=Path("graph.svg"), metavar="FILE",
             help="where to; .svg, .png, .pdf, .html or .gv chooses the format (default:"
                  " graph.svg)"),
    argument("--flow", action="store_true",
             help="draw the backward pass too: beside each arrow one that runs back"),
    argument("--style", choices=("merged", "split"), default="merged",
             help="split: an operation and its result are two boxes, as in lectures"),
    argument("--detail", type=int, choices=(0, 1, 2), metavar="N",
             help="0: names and operations; 1: and shapes; 2: and numbers (default: what fits)"),
    *MODEL,
    examples="""
    tinygrad-opt draw "tanh(a*b + c)" a=2 b=-3 c=10
    tinygrad-opt draw "tanh(a*b + c)" a=2 b=-3 c=6.5 --grad --out neuron.html
    tinygrad-opt draw "mean((x @ w - y)**2)" "x=[[1,2],[3,4]]" "w=[1,1]" "y=[3,8]" --grad
    tinygrad-opt draw "sigmoid(w*x + b)" w=1 x=2 b=0 --style split --detail 0
    tinygrad-opt draw runs/moons/weights.npz --data moons --grad
    """,
)
def draw(options: argparse.Namespace) -> None:
    """Draw the graph of a formula, or that of a saved model's loss.

    The formula is read, never run as code. The text under the path is the same graph as a
    tree: each line is computed from the lines below it that are set in further.
    """
    from tinygrad_opt import viz

    result = computed(options, number=options.grad or options.flow)
    if options.grad:
        result.backward()
    view = viz.draw(result, style=options.style, detail=options.detail, grads=options.flow,
                    name=options.formula)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    print(f"{view.save(options.out)}  the graph: open it in a browser or viewer\n\n{view}")


def computed(options: argparse.Namespace, number: bool) -> Any:
    """What a formula gives for its values, or a model's loss; one number, to have a gradient."""
    from tinygrad_opt.viz import formula

    given = options.data, options.target, options.rows
    if saved.is_file(options.formula):
        if options.values:
            raise ValueError(f"{options.formula} is a saved model, which takes no"
                             f" {options.values[0][0]}=; name a data set by --data")
        return saved.loss_of(options.formula, *given[:2], options.rows or 4)
    if any(given):
        raise ValueError("--data, --target and --rows are for a saved model, such as weights.npz;"
                         f" {options.formula!r} is a formula")
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
