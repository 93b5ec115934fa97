"""A rule, which is plain NumPy code, run on symbols: for its formula and its in-place calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from tinygrad_opt.symbols import InPlace, Symbol, Trace

if TYPE_CHECKING:
    from tinygrad_opt.optim.optimizer import Optimizer

__all__ = ["OF_THE_STEP", "Versions", "in_place", "numbers", "results", "traced"]

# options of the whole step, which cannot differ from parameter to parameter
OF_THE_STEP = ("check_finite", "clip_norm", "clip_norm_each", "clip_value")

Value = TypeVar("Value")
Versions: TypeAlias = dict[tuple[np.dtype, bool, str], list[InPlace | None]]


class Incomplete(TypeError):
    """A rule does not return what it must."""


def results(rule: Optimizer, returned: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    """What a rule has returned, if it is as many values as it should be."""
    names = ["p", *rule.accumulators()]
    values = returned if isinstance(returned, tuple) else (returned,)
    if returned is None or len(values) != len(names):
        got = "None" if returned is None else f"{len(values)} of them"
        raise Incomplete(
            f"{type(rule).__name__}.rule must return the new values of {', '.join(names)}, got"
            f" {got}: end it with  return {', '.join(names)}"
        )
    return values


def numbers(rule: Optimizer) -> dict[str, float]:
    """The options that a rule computes with, in the order of `options`."""
    return {name: value for name, value in _own(rule).items() if type(value) is float}


def _own(rule: Optimizer) -> dict[str, object]:
    return {n: getattr(rule, n) for n in rule.options if n not in ("lr", "decay", *OF_THE_STEP)}


def traced(rule: Optimizer, trace: Trace, lr: float, t: int, values: Mapping[str, object]) -> tuple[
        dict[str, Symbol], dict[str, Symbol], dict[str, Symbol]]:
    """The rule on symbols for p, g and the accumulators: those, all numbers, the results.

    ``"rates"`` among the values are those of models, which lr multiplies.
    """
    fixed = {n: trace.symbol(n, x) for n, x in numbers(rule).items()}
    moving = {"lr": trace.symbol("lr", lr), "t": trace.symbol("t", t)}
    vectors = {n: trace.symbol(n, v) for n, v in values.items()}
    given = [x for n, x in vectors.items() if n != "rates"]
    lr_of_each = moving["lr"] * vectors["rates"] if "rates" in vectors else moving["lr"]
    returned = rule._with(fixed)._update(*given, lr=lr_of_each, t=moving["t"])
    return vectors, moving | fixed, dict(zip(["p", *rule.accumulators()], results(rule, returned)))


def in_place(rule: Optimizer, dtype: np.dtype, lr: float, t: int,
             known: Versions) -> InPlace | None:
    """The rule as in-place calls for update t, if it can be that; from those that are known."""
    plain = {n: x for n, x in _own(rule).items() if type(x) is not float}
    rated = isinstance(rule.lr, tuple)
    versions = known.setdefault((dtype, rated, repr(plain)), [])
    for version in versions:
        if version is None or version.numbers(lr, t, *numbers(rule).values()) is not None:
            return version
    names = ["p", "g", *rule.accumulators(), *["rates"] * rated]
    try:
        vectors, given, new = traced(rule, Trace(), lr, t, dict.fromkeys(names, np.ones(1, dtype)))
        rate, count, *fixed = given.values()
        ends = {names.index(n): x for n, x in new.items()}
        made: InPlace | None = InPlace([*vectors.values()], ends, [rate, count], fixed)
    except Incomplete:
        raise
    except Exception:                          # whatever it is: on arrays it works, or tells why
        made = None
    versions.append(made)
    return made
