"""``tinygrad-opt draw`` and ``play``: the graph of a formula or a saved model, still or played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from tinygrad_opt import nn
from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import Count, Flag, Page, Text, at_least, file, named
from tinygrad_opt.cli.learning import Column, data_set, task_of
from tinygrad_opt.cli.outputs import room_for
from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_opt.typing import DTypeLike

__all__ = ["draw", "play"]


@dataclass(kw_only=True)
class Computation:
    """What is drawn: a formula, or a saved model on a few rows of a data set.

    Parameters
    ----------
    formula
        such as "tanh(a*b + c)": + - * / ** @, functions, numbers, names, pi and e; one that begins
        with a minus goes in brackets, as "(-x)**2". Or a saved model, such as weights.npz
    values
        what the names stand for, before any options: a=2, b=-3 or "x=[1,2,3]"; arrays called x, X,
        y, Y or t are data, all else has a gradient
    data
        what a saved model is given: digits, spiral, moons or a file such as iris.csv
    target
        column of labels in a CSV file
    rows
        how many rows of it (default: 4)
    """

    formula: Annotated[str, Argument(metavar="FORMULA")] = field(kw_only=False)
    values: Annotated[Sequence[tuple[str, float | list[float]]], Argument(
        nargs="*", type=named, metavar="NAME=VALUE")] = field(kw_only=False)
    data: Annotated[str, Argument("random numbers", type=data_set, metavar="DATASET")] | None = None
    target: Column | None = None
    rows: Count | None = None

    def result(self, number: bool) -> Tensor:
        """What the formula gives, or the model's loss; one number, to have a gradient."""
        if Path(self.formula).suffix.lower() in (".npz", ".safetensors"):
            if self.values:
                raise ValueError(f"{self.formula} is a saved model, which takes no"
                                 f" {self.values[0][0]}=; name a data set by --data")
            return self._loss(self.rows or 4)
        if self.data or self.target or self.rows:
            raise ValueError("--data, --target and --rows are for a saved model, such as"
                             f" weights.npz; {self.formula!r} is a formula")
        return self._value(number)

    def _value(self, number: bool) -> Tensor:
        """What the formula gives for its values."""
        from tinygrad_opt.viz import formula

        names = [name for name, _ in self.values]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"{twice} has two values; give it one, such as {twice}=2")
        result = formula.parse(self.formula, **dict(self.values))
        if number and result.size != 1:
            raise ValueError(f"{self.formula!r} gives numbers of shape {result.shape}; gradients"
                             f" need one number, such as sum({self.formula})")
        if number and not result._needs_grad:
            raise ValueError(f"{self.formula!r} has no names to take gradients by; give it some,"
                             " as in: a*b a=2 b=3")
        return result

    def _loss(self, rows: int) -> Tensor:
        """The loss of a saved model on a few rows of a data set, or on random numbers.

        Without data there is nothing to be right or wrong about: the loss is then the mean of the
        squares of what the model gives. Names in the graph say which of the two it is.
        """
        from tinygrad_opt.checkpoint import load

        content = load(self.formula)
        try:
            model = nn.rebuild(content).eval()
        except CheckpointError as error:
            raise CheckpointError(f"{self.formula}: {error}, then viz.draw(loss) or"
                                  " viz.playback(loss, 'page.html')") from error
        if self.data is not None:
            loss = self._loss_on(self.data, model, rows)
        elif self.target is not None:
            raise ValueError("--target names a column of a CSV file: name the file by --data")
        else:
            loss = (self._output(model, self._random(model, rows)) ** 2).mean()
        loss.name = "loss" if self.data else "mean of squares"
        return loss

    def _loss_on(self, data: str, model: nn.Module, rows: int) -> Tensor:
        samples = task_of(data, self.target).load()
        spread = np.linspace(0, len(samples.x_test) - 1, rows).astype(int)  # classes may be sorted
        x = Tensor(samples.x_test[spread], dtype=_dtype(model), name=f"{rows} rows of"
                   f" {Path(data).stem}")
        y, classes = samples.y_test[spread], samples.layers(())[-1]
        z = self._output(model, x)
        if z.shape == (rows, 1) and classes == 2:
            return nn.binary_cross_entropy_with_logits(z[:, 0], y.astype(z.dtype))
        if z.ndim == 2 and z.shape[1] >= classes:
            return nn.cross_entropy(z, y)
        raise ValueError(f"{self.formula} gives {z.shape} for {rows} rows, {data} has {classes}"
                         " classes")

    def _output(self, model: nn.Module, x: Tensor) -> Tensor:
        z = model(x)
        if type(z) is not Tensor:
            raise ValueError(f"the model in {self.formula} gives a {type(z).__name__}, not one"
                             " Tensor: take the part of it that is to be drawn in Python, and"
                             " viz.draw it")
        return z

    def _random(self, model: nn.Module, rows: int) -> Tensor:
        """Random numbers for what the model begins with."""
        rng, name = np.random.default_rng(0), f"{rows} random rows"
        for layer in model.named_modules().values():
            if isinstance(layer, nn.Embedding):
                return Tensor(rng.integers(0, len(layer.weight), (rows, 1)), name=name)
            if isinstance(layer, nn.Linear):
                x = rng.normal(size=(rows, layer.weight.shape[0]))
                return Tensor(x, dtype=_dtype(model), name=name)
            if layer.__dict__.get("weight") is not None:
                break
        raise ValueError(f"what the model in {self.formula} takes cannot be told from its layers:"
                         " name a data set by --data, or call it in Python and viz.draw what it"
                         " gives")


def _dtype(model: nn.Module) -> DTypeLike | None:
    """What its parameters are made of."""
    return next((p.dtype for p in model.parameters().values()), None)


@command
def draw(
    computation: Computation,
    *,
    grad: Flag = False,
    out: Annotated[Path, Argument(type=file(
        ".svg", ".png", ".pdf", ".html", ".htm", ".gv", ".dot"), metavar="FILE")] = Path(
            "graph.svg"),
    flow: Flag = False,
    style: Annotated[str, Argument(choices=("merged", "split"))] = "merged",
    detail: Annotated[int, Argument(type=at_least(0), choices=range(3), metavar="N")] | None = None,
    title: Text = "",
) -> int:
    """Draw the graph of a formula, or that of a saved model's loss.

    The formula is read, never run as code. The text under the path is the same graph as a
    tree: each line is computed from the lines below it that are set in further. Where nothing
    paints PNG or PDF, the graph is written as text, a warning says what to install, and the
    exit code is 1.

    Parameters
    ----------
    grad
        run the backward pass too, so that each box shows its gradient
    out
        where to; .svg, .png, .pdf, .html or .gv chooses the format
    flow
        draw the backward pass too: beside each arrow one that runs back
    style
        split: an operation and its result are two boxes, as in lectures
    detail
        0: names and operations; 1: and shapes; 2: and numbers (default: what fits)
    title
        what it is called: in the text, to screen readers and in a page's tab

    Examples
    --------
    tinygrad-opt draw "tanh(a*b + c)" a=2 b=-3 c=10
    tinygrad-opt draw "tanh(a*b + c)" a=2 b=-3 c=6.5 --grad --out neuron.html
    tinygrad-opt draw "mean((x @ w - y)**2)" "x=[[1,2],[3,4]]" "w=[1,1]" "y=[3,8]" --grad
    tinygrad-opt draw "sigmoid(w*x + b)" w=1 x=2 b=0 --style split --detail 0
    tinygrad-opt draw runs/moons/weights.npz --data moons --grad
    """
    from tinygrad_opt import viz

    result = computation.result(number=grad or flow)
    if grad:
        result.backward()
    view = viz.draw(result, style=style, detail=detail, grads=flow,
                    name=title or computation.formula)
    written = view.save(room_for(out))
    painted = written == out
    print(f"{written}  the graph{': open it in a browser or viewer' if painted else ' as text'}"
          f"\n\n{view}")
    return 0 if painted else 1


@command
def play(computation: Computation, *, out: Page = Path("backprop.html"), edit: Flag = False,
         title: Text = "") -> None:
    """Make a page that plays backpropagation step by step.

    The page shows every operation forwards and every gradient backwards, with the numbers of
    each step. It needs no network and can be sent to anybody. The formula must give one number.
    A model that was saved by tinygrad-opt train, or by tinygrad_opt.save, is run on a few rows
    of a data set, or of random numbers.

    Parameters
    ----------
    out
        where to, such as lesson.html
    edit
        a page on which the numbers can be changed: values and gradients follow
    title
        above the picture

    Examples
    --------
    tinygrad-opt play "tanh(a*b + c)" a=2 b=-3 c=10
    tinygrad-opt play "(a*b + c)**2" a=2 b=-3 c=10 --out square.html
    tinygrad-opt play "(a*b + c)**2" a=2 b=-3 c=10 --edit --out edit.html
    tinygrad-opt play "sum(relu(x @ w))" "x=[1,2]" "w=[[1,-1],[0.5,2]]"
    tinygrad-opt play runs/moons/weights.npz --data moons --rows 8
    """
    from tinygrad_opt import live, viz

    loss, title = computation.result(number=True), title or computation.formula
    if edit:
        written = live.editable(loss, title=title).save(room_for(out))
        print(f"{written}  open it in a browser")
    else:
        page = viz.playback(loss, name=title)
        print(f"{page.save(room_for(out))}  {len(page.script['steps'])} steps: open it in a"
              " browser")
