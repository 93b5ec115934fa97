"""``tinygrad-opt draw`` and ``play``: the graph of a formula or a saved model, still or played."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_opt.cli.command import (
    UsageError,
    argument,
    at_least,
    command,
    file,
    named,
    room_for,
    wrongly_used,
)
from tinygrad_opt.cli.learning import TITLE, data_set, task_of

if TYPE_CHECKING:
    from tinygrad_opt.nn.module import Module
    from tinygrad_opt.tensor import Tensor
    from tinygrad_opt.typing import DTypeLike

__all__ = ["draw", "play"]

WHAT = (
    argument(
        "formula", metavar="FORMULA",
        help='such as "tanh(a*b + c)": + - * / ** @, functions, numbers, names, pi and e; one that'
             ' begins with a minus goes in brackets, as "(-x)**2". Or a saved model, such as'
             " weights.npz"),
    argument(
        "values", nargs="*", type=named, metavar="NAME=VALUE",
        help='what the names stand for, before any options: a=2, b=-3 or "x=[1,2,3]"; arrays'
             " called x, X, y, Y or t are data, all else has a gradient"),
)
MODEL = (
    argument("--data", type=data_set, metavar="DATASET",
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
    argument("--out", type=file(".svg", ".png", ".pdf", ".html", ".htm", ".gv", ".dot"),
             default=Path("graph.svg"), metavar="FILE",
             help="where to; .svg, .png, .pdf, .html or .gv chooses the format (default:"
                  " graph.svg)"),
    argument("--flow", action="store_true",
             help="draw the backward pass too: beside each arrow one that runs back"),
    argument("--style", choices=("merged", "split"), default="merged",
             help="split: an operation and its result are two boxes, as in lectures"),
    argument("--detail", type=int, choices=(0, 1, 2), metavar="N",
             help="0: names and operations; 1: and shapes; 2: and numbers (default: what fits)"),
    argument("--title", default="", metavar="TEXT",
             help="what it is called: in the text, to screen readers and in a page's tab"),
    *MODEL,
    examples="""
    tinygrad-opt draw "tanh(a*b + c)" a=2 b=-3 c=10
    tinygrad-opt draw "tanh(a*b + c)" a=2 b=-3 c=6.5 --grad --out neuron.html
    tinygrad-opt draw "mean((x @ w - y)**2)" "x=[[1,2],[3,4]]" "w=[1,1]" "y=[3,8]" --grad
    tinygrad-opt draw "sigmoid(w*x + b)" w=1 x=2 b=0 --style split --detail 0
    tinygrad-opt draw runs/moons/weights.npz --data moons --grad
    """,
)
def draw(options: argparse.Namespace) -> int:
    """Draw the graph of a formula, or that of a saved model's loss.

    The formula is read, never run as code. The text under the path is the same graph as a
    tree: each line is computed from the lines below it that are set in further. Where nothing
    paints PNG or PDF, the graph is written as text, a warning says what to install, and the
    exit code is 1.
    """
    from tinygrad_opt import viz

    result = _computed(options, number=options.grad or options.flow)
    if options.grad:
        result.backward()
    view = viz.draw(result, style=options.style, detail=options.detail, grads=options.flow,
                    name=options.title or options.formula)
    written = view.save(room_for(options.out))
    painted = written == options.out
    print(f"{written}  the graph{': open it in a browser or viewer' if painted else ' as text'}"
          f"\n\n{view}")
    return 0 if painted else 1


@command(
    *WHAT,
    argument("--out", type=file(".html", ".htm"), default=Path("backprop.html"), metavar="FILE",
             help="where to, such as lesson.html (default: backprop.html)"),
    argument("--edit", action="store_true",
             help="a page on which the numbers can be changed: values and gradients follow"),
    TITLE,
    *MODEL,
    examples="""
    tinygrad-opt play "tanh(a*b + c)" a=2 b=-3 c=10
    tinygrad-opt play "(a*b + c)**2" a=2 b=-3 c=10 --out square.html
    tinygrad-opt play "(a*b + c)**2" a=2 b=-3 c=10 --edit --out edit.html
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

    loss, title = _computed(options, number=True), options.title or options.formula
    if options.edit:
        from tinygrad_opt.live import editable

        live = editable(loss, title=title)
        print(f"{live.save(room_for(options.out))}  open it in a browser")
        return
    page = playback(loss, name=title)
    print(f"{page.save(room_for(options.out))}  {len(page.script['steps'])} steps: open it in a"
          " browser")


def _computed(options: argparse.Namespace, number: bool) -> Tensor:
    """What a formula gives for its values, or a model's loss; one number, to have a gradient."""
    if Path(options.formula).suffix.lower() in (".npz", ".safetensors"):
        if options.values:
            raise UsageError(f"{options.formula} is a saved model, which takes no"
                             f" {options.values[0][0]}=; name a data set by --data")
        with wrongly_used():
            return _loss_of_model(options)
    if options.data or options.target or options.rows:
        raise UsageError("--data, --target and --rows are for a saved model, such as weights.npz;"
                         f" {options.formula!r} is a formula")
    return _value_of_formula(options.formula, options.values, number)


# ---- a formula -----------------------------------------------------------------------------------


def _value_of_formula(
    text: str, values: list[tuple[str, float | list[float]]], number: bool
) -> Tensor:
    from tinygrad_opt.viz import formula

    names = [name for name, _ in values]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"{twice} has two values; give it one, such as {twice}=2")
    with wrongly_used():
        result = formula.parse(text, **dict(values))
    if number and result.size != 1:
        raise UsageError(f"{text!r} gives numbers of shape {result.shape}; gradients need one"
                         f" number, such as sum({text})")
    if number and not result._needs_grad:
        raise UsageError(f"{text!r} has no names to take gradients by; give it some, as in:"
                         " a*b a=2 b=3")
    return result


# ---- a saved model -------------------------------------------------------------------------------


def _loss_of_model(options: argparse.Namespace) -> Tensor:
    """The loss of the model in a file on a few rows of a data set, or on random numbers.

    Without data there is nothing to be right or wrong about: the loss is then the mean of the
    squares of what the model gives. Names in the graph say which of the two it is.
    """
    from tinygrad_opt import nn
    from tinygrad_opt.checkpoint import load
    from tinygrad_opt.errors import CheckpointError

    path, rows = options.formula, options.rows or 4
    content = load(path)
    try:
        model = nn.rebuild(content).eval()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}, then viz.draw(loss) or"
                              " viz.playback(loss, 'page.html')") from error
    if options.data is not None:
        loss = _loss_on_data(model, options, rows)
    elif options.target is not None:
        raise UsageError("--target names a column of a CSV file: name the file by --data")
    else:
        loss = (_output(model, _random_rows(model, path, rows), path) ** 2).mean()
    loss.name = "loss" if options.data else "mean of squares"
    return loss


def _loss_on_data(model: Module, options: argparse.Namespace, rows: int) -> Tensor:
    import numpy as np

    from tinygrad_opt import nn
    from tinygrad_opt.tensor import Tensor

    path, data = options.formula, options.data
    samples = task_of(data, options.target).load()
    spread = np.linspace(0, len(samples.x_test) - 1, rows).astype(int)     # classes may be sorted
    name = f"{rows} rows of {Path(data).stem}"
    x = Tensor(samples.x_test[spread], dtype=_dtype(model), name=name)
    y, classes = samples.y_test[spread], samples.layers(())[-1]
    z = _output(model, x, path)
    if z.shape == (rows, 1) and classes == 2:
        return nn.binary_cross_entropy_with_logits(z[:, 0], y.astype(z.dtype))
    if z.ndim == 2 and z.shape[1] >= classes:
        return nn.cross_entropy(z, y)
    raise UsageError(f"{path} gives {z.shape} for {rows} rows, {data} has {classes} classes")


def _output(model: Module, x: Tensor, path: str) -> Tensor:
    from tinygrad_opt.tensor import Tensor

    z = model(x)
    if type(z) is not Tensor:
        raise UsageError(f"the model in {path} gives a {type(z).__name__}, not one Tensor: take the"
                         " part of it that is to be drawn in Python, and viz.draw it")
    return z


def _dtype(model: Module) -> DTypeLike | None:
    """What its parameters are made of."""
    return next((p.dtype for p in model.parameters().values()), None)


def _random_rows(model: Module, path: str, rows: int) -> Tensor:
    """Random numbers for what the model begins with."""
    import numpy as np

    from tinygrad_opt import nn
    from tinygrad_opt.tensor import Tensor

    rng, name = np.random.default_rng(0), f"{rows} random rows"
    for layer in model.named_modules().values():
        if isinstance(layer, nn.Embedding):
            return Tensor(rng.integers(0, len(layer.weight), (rows, 1)), name=name)
        if isinstance(layer, nn.Linear):
            x = rng.normal(size=(rows, layer.weight.shape[0]))
            return Tensor(x, dtype=_dtype(model), name=name)
        if layer.__dict__.get("weight") is not None:
            break
    raise UsageError(f"what the model in {path} takes cannot be told from its layers: name a data"
                     " set by --data, or call it in Python and viz.draw what it gives")
