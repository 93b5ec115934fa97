"""The optimizers of a live page: their updates as modules, their formulas as functions of numbers.

Both come from the rule, run on symbols: nothing is stated a second time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from tinygrad_opt import optim
from tinygrad_opt.compiler import compile
from tinygrad_opt.compiler.javascript.vocabulary import expression, helpers
from tinygrad_opt.live.templates import template
from tinygrad_opt.optim.lookup import names
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.symbols import inside, letter, text
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import DTypeLike

__all__ = ["formula_of", "letters_of", "rule_of", "rules_of"]

# domains of options, for sliders
_RANGES: dict[str, tuple[float, float]] = {
    "beta1": (0, 0.999), "beta2": (0.5, 0.9999), "momentum": (0, 0.999), "rho": (0, 0.999),
    "dampening": (0, 1), "weight_decay": (0, 0.1), "psi": (0, 0.1),
}
_FIRST = 7_000_001         # numbers of seven digits that stand for names in a text


class Rule(TypedDict):
    """An optimizer on a page: its module and formula as JavaScript, and what can be chosen.

    Of an option there are its value and its domain.
    """

    make: str
    state: list[str]
    lines: str
    options: dict[str, tuple[float, float, float]]
    lr: float


def rules_of(
    chosen: Sequence[str | Optimizer] | None = None, dtype: DTypeLike = np.float32
) -> dict[str, Rule]:
    """The optimizers of a page, by the names of their classes.

    Parameters
    ----------
    chosen : sequence of str or Optimizer, optional
        As `optim.get` takes them; all rules of the package by default.
    dtype : dtype
        Of the numbers that they update.
    """
    made = [optim.get(o) if isinstance(o, str) else o for o in (
        chosen or ["sgd", "momentum", "nesterov", "adam", *sorted(
            set(names()) - {"sgd", "momentum", "nesterov", "adam"})])]
    return {type(o).__name__: rule_of(o, dtype) for o in made}


def letters_of(rules: Mapping[str, Rule]) -> dict[str, str]:
    """How the options of rules are written, β₁ for ``beta1``."""
    return {name: letter(name) for rule in rules.values() for name in rule["options"]}


def rule_of(optimizer: Optimizer, dtype: DTypeLike = np.float32) -> Rule:
    """A rule: the module that updates a vector of any length, and its lines with numbers in."""
    options = {n: getattr(optimizer, n) for n in optimizer.options}
    plain = {n: x for n, x in options.items() if type(x) in (float, bool, str)}

    def text_of(sizes: Mapping[str, int]) -> str:
        w = Tensor(np.zeros(sizes["n"], dtype), requires_grad=True, name="p")
        own = type(optimizer)({"p": w}, **plain)

        @compile
        def update(g: np.ndarray) -> None:
            w.grad = g
            own.step()

        start = own.state_dict()
        update(np.zeros(sizes["n"], dtype))
        own.load_state_dict(start)                         # before the first update
        module: str = update.to_javascript()
        return module

    numbers = {n: x for n, x in plain.items() if type(x) is float and n != "decay"}
    return {
        "make": template(text_of, ["n"]), "state": [*optimizer.accumulators()],
        "lines": formula_of(optimizer),
        "options": {n: (x, *_RANGES[n]) for n, x in numbers.items()
                    if n in _RANGES and _keeps_state(optimizer, n, x)},
        "lr": numbers.get("lr", 0.01),
    }


def _keeps_state(optimizer: Optimizer, name: str, value: float) -> bool:
    """Whether the rule keeps the same accumulators where an option is 0, and where it is not."""
    other = optimizer._with({name: 0.0 if value else 0.5})
    return [*other.accumulators()] == [*optimizer.accumulators()]


def formula_of(optimizer: Optimizer) -> str:
    """A JavaScript function of the numbers of an update that gives its lines, each as
    ``[name, formula, the same with numbers, result]``."""
    options = {n: x for n, x in vars(optimizer).items() if n in optimizer.options
               and type(x) in (float, bool, str) and n not in ("lr", "decay")}
    def lines(**own: float) -> str:
        return _lines_of(type(optimizer)(**options | own))

    if "weight_decay" not in options:
        return lines()
    plain, decayed = lines(weight_decay=0.0), lines(weight_decay=0.01)
    return plain if plain == decayed else f"V => V.weight_decay ? ({decayed})(V) : ({plain})(V)"


def _lines_of(optimizer: Optimizer) -> str:
    lines = optimizer.formula.lines
    given = [s for s in inside([x for _, x in lines]) if s.function is None and s.name]
    names = {s: str(s.name) for s in given}
    body = []
    for k, (name, x) in enumerate(lines):
        shown = [s for s in inside(x.inputs, stop=lambda s: s.name is not None) if s.name]
        before = [s.array for s in shown]
        for i, s in enumerate(shown):
            s.array = float(_FIRST + i)
        numbers = text(x, numbers=True)
        for s, value in zip(shown, before):
            s.array = value
        for i, s in enumerate(shown):
            numbers = numbers.replace(str(_FIRST + i), f"${{told({names[s]})}}")
        body.append(f"const x{k} = {expression(x, names)};")
        body.append(f"out.push([{json.dumps(letter(name), ensure_ascii=False)},"
                    f" {json.dumps(text(x), ensure_ascii=False)}, `{numbers}`, x{k}]);")
        names[x] = f"x{k}"
    inputs = ", ".join(dict.fromkeys(s.name for s in given if s.name))
    listed = "\n".join(body)
    return f"({{{inputs}}}) => {{\n{helpers(listed)}const out = [];\n{listed}\nreturn out;\n}}"
