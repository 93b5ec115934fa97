"""An optimizer as code: its rule, by the text that the package has of it, and its schedule."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.interop.scripts.code import (
    Functional,
    Unsaid,
    as_function,
    literal,
    text_of,
    tree_of,
)
from tinygrad_opt.nn.module import Module
from tinygrad_opt.ops import Op
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.optim.rule import numbers, traced
from tinygrad_opt.optim.schedules import Schedule, reduce_on_plateau
from tinygrad_opt.symbols import Untraceable, inside

__all__ = ["Update", "learning_rate", "refuse_options", "update_of"]


@dataclass(frozen=True)
class Update:
    """The rule of an optimizer as a function of one parameter.

    Attributes
    ----------
    slots : dict of str to float
        What it keeps of each parameter, and where that starts.
    constants : dict of str to float
        The options that its text names.
    text : str
        The function ``update(p, g, *slots, lr, t)``, which returns the new p and slots, and what
        it calls.
    """

    slots: dict[str, float]
    constants: dict[str, float]
    text: str

    @property
    def whole(self) -> str:
        """The constants, then the function."""
        constants = "\n".join(f"{name} = {value!r}" for name, value in self.constants.items())
        return "\n\n\n".join(filter(None, [constants, self.text]))

    def start(self, library: str) -> str:
        """What it keeps of the parameter p at first, as a tuple."""
        starts = [f"{library}.full_like(p, {start!r})" if start else f"{library}.zeros_like(p)"
                  for start in self.slots.values()]
        return f"({', '.join(starts)}{',' * (len(starts) == 1)})"


def refuse_options(optimizer: Optimizer, model: Module) -> None:
    """Say by name what of an optimizer no script knows."""
    mine = {*map(id, optimizer.parameters.values())}
    if mine and mine != {*map(id, model.parameters().values())}:
        raise Unsaid("an optimizer of other parameters than those of the model")
    if optimizer.t:
        raise Unsaid(f"an optimizer that has taken {optimizer.t} steps: give a new one")
    for name in ("overrides", "frozen", "check_finite"):
        if value := getattr(optimizer, name):
            if name == "overrides":
                value = {pattern: dict(options) for pattern, options in value.items()}
            raise Unsaid(f"{name}={value!r} of {type(optimizer).__name__}")
    if isinstance(optimizer.lr, tuple):
        raise Unsaid("rates of stacked models")


def update_of(optimizer: Optimizer, library: str) -> Update:
    """The rule in the words of a library."""
    slots = dict(optimizer.accumulators())
    helpers: dict[str, str] = {}

    def helper(function: object) -> str | None:
        if not isinstance(function, Op):
            return None
        kept = next((f"{name} = {{}}\n\n" for name, value in inspect.getmodule(
            function.kernel).__dict__.items() if isinstance(value, dict)
            and name in function.kernel.__code__.co_names), "")
        helpers[function.name] = kept + text_of(tree_of(function.kernel, function.name))
        return function.name

    names: dict[str, None] = {}

    def text(t: int) -> str:
        trace = Functional(keep_frames=True)
        values = {n: np.array([0.5]) for n in ("p", "g", *slots)}
        results = traced(optimizer, trace, 0.1, t, values)[2]
        made = as_function("update", ["p", "g", *slots, "lr", "t"], results, trace, library,
                           helper, f"One step of {type(optimizer).__name__}, number t.")
        names.update((str(s.name), None) for s in inside(results.values()) if s.function is None)
        return made

    try:
        first, later = text(1), text(2)
    except Untraceable as error:
        raise Unsaid(f"the rule of {type(optimizer).__name__}, which is no formula: {error}"
                     ) from error
    if first != later:                                     # it does something else at first
        head, *rest = later.splitlines()
        begin = textwrap.indent("\n".join(first.splitlines()[2:]), "    ")
        later = "\n".join([head, rest[0], "    if t == 1:", begin, *rest[1:]])
    constants = {n: x for n, x in numbers(optimizer).items() if n in names}
    return Update(slots, constants, "\n\n\n".join([*helpers.values(), later]))


# ---- schedules -----------------------------------------------------------------------------------


def learning_rate(optimizer: Optimizer) -> tuple[str, str]:
    """The rate of step t = 0, 1, 2, … as an expression, and the functions that it calls."""
    functions: dict[str, str] = {}
    rate = _rate(optimizer.lr, "learning_rate", functions) if callable(optimizer.lr) else (
        literal(optimizer.lr))
    if optimizer.decay:
        rate = f"{rate} / (1 + {literal(optimizer.decay)} * t)"
    return rate, "\n\n\n".join(functions.values())


def _rate(schedule: object, name: str, functions: dict[str, str]) -> str:
    """A call of the schedule at t; its function goes among the functions."""
    if not isinstance(schedule, Schedule) or isinstance(schedule, reduce_on_plateau) or (
            type(schedule) is Schedule):
        what = type(schedule).__name__ if isinstance(schedule, Schedule) else repr(schedule)
        raise Unsaid(f"lr={what}: of schedules only those of optim.schedules that depend on t"
                     " alone can be written")
    while name in functions:
        name += "_"
    functions[name] = ""                                   # taken, whatever stands in it
    folded = _Fold(schedule, name, functions).visit(tree_of(type(schedule).__call__, name))
    folded.args.args = [ast.arg("t")]
    folded.body.insert(0, ast.Expr(ast.Constant(f"{schedule!r} at t = 0, 1, 2, ...")))
    del functions[name]
    functions[name] = text_of(folded)
    return f"{name}(t)"


class _Fold(ast.NodeTransformer):
    """Puts the options of a schedule where its text reads them, and leaves out what is not run."""

    def __init__(self, schedule: Schedule, name: str, functions: dict[str, str]) -> None:
        self.schedule, self.name, self.functions = schedule, name, functions

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            value = getattr(self.schedule, node.attr)
            if callable(value):
                call = _rate(value, f"{self.name}_of_{node.attr}", self.functions)
                return ast.Name(call.removesuffix("(t)"))
            return ast.Constant(value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node = self.generic_visit(node)                    # type: ignore[assignment]
        if not isinstance(node.func, ast.Name):
            return node
        if node.func.id == "_at":                          # of a schedule, or a number
            part, t = node.args
            return part if isinstance(part, ast.Constant) else ast.Call(part, [t], [])
        function = inspect.getmodule(type(self.schedule)).__dict__.get(node.func.id)
        if inspect.isfunction(function):
            node.func.id = node.func.id.lstrip("_")
            self.functions.setdefault(node.func.id, text_of(tree_of(function, node.func.id)))
        return node

    def _decided(self, node: ast.If | ast.IfExp) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        known = _known(node.test)
        return node if known is None else node.body if known else node.orelse

    visit_If = visit_IfExp = _decided


def _known(test: ast.expr) -> bool | None:
    """Whether a condition of constants is true; None for any other."""
    if any(isinstance(part, ast.Name | ast.Call) for part in ast.walk(test)):
        return None
    return bool(eval(ast.unparse(test), {}))
