"""What JavaScript calls what NumPy computes entry by entry, and how numbers are written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import SupportsFloat

import numpy as np

from tinygrad_opt.errors import CaptureError
from tinygrad_opt.symbols import Symbol, name_of
from tinygrad_opt.typing import Shape

__all__ = ["EXACT", "OF_TRUTH", "WORDS", "expression", "heads", "helpers", "index", "number",
           "refused"]

# what is as exact as its operands, and so is not rounded again
EXACT: dict[str, str] = {
    "negative": "(-{0})", "positive": "{0}", "absolute": "Math.abs({0})",
    "maximum": "Math.max({0}, {1})", "minimum": "Math.min({0}, {1})", "sign": "Math.sign({0})",
    "floor": "Math.floor({0})", "ceil": "Math.ceil({0})", "trunc": "Math.trunc({0})",
    "rint": "rint({0})", "copysign": "copysign({0}, {1})", "where": "({0} ? {1} : {2})",
    "second": "{1}", "equal": "({0} == {1})", "not_equal": "({0} != {1})", "less": "({0} < {1})",
    "less_equal": "({0} <= {1})", "greater": "({0} > {1})", "greater_equal": "({0} >= {1})",
    "logical_and": "({0} != 0 && {1} != 0)", "logical_or": "({0} != 0 || {1} != 0)",
    "logical_not": "({0} == 0)", "logical_xor": "(({0} != 0) != ({1} != 0))",
    "bitwise_and": "({0} & {1})", "bitwise_or": "({0} | {1})",
    "invert": "(!{0})", "isnan": "Number.isNaN({0})", "isfinite": "Number.isFinite({0})",
    "isinf": "(Math.abs({0}) == Infinity)",
}
WORDS: dict[str, str] = EXACT | {
    "add": "({0} + {1})", "subtract": "({0} - {1})", "multiply": "({0} * {1})",
    "divide": "({0} / {1})", "square": "square({0})", "reciprocal": "(1 / {0})",
    "power": "power({0}, {1})", "arctan2": "Math.atan2({0}, {1})", "hypot": "Math.hypot({0}, {1})",
    "logaddexp": "logaddexp({0}, {1})", "erf": "erf({0})", "exp2": "power(2, {0})",
    "damping": "damping({0}, {1})",
    **{name: f"Math.{name}({{0}})" for name in (
        "sqrt", "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "sinh",
        "cosh", "tanh", "cbrt")},
    **{f"arc{name}": f"Math.a{name}({{0}})" for name in (
        "sin", "cos", "tan", "sinh", "cosh", "tanh")},
}
OF_TRUTH = {"add": "({0} || {1})", "multiply": "({0} && {1})", "maximum": "({0} || {1})",
             "minimum": "({0} && {1})",
             "logical_and": "({0} && {1})", "logical_or": "({0} || {1})", "logical_not": "(!{0})"}

# what JavaScript lacks
_HELPERS = {
    "square": "x => x * x",
    "power": "(x, y) => x == 1 || x == -1 && Math.abs(y) == Infinity ? 1 : x ** y",
    "rint": "x => { const r = Math.round(x);"
            " return Math.abs(x % 1) == 0.5 && r % 2 ? r - 1 : r; }",
    "copysign": "(x, y) => (y < 0 || Object.is(y, -0)) == (x < 0 || Object.is(x, -0)) ? x : -x",
    "logaddexp": "(x, y) => x == y ? x + Math.LN2"
                 " : Math.max(x, y) + Math.log1p(Math.exp(-Math.abs(x - y)))",
    # W. Cody's expansions would be longer: a series near 0, a continued fraction beyond
    "erf": "x => { const a = Math.abs(x); if (a > 6) return Math.sign(x);"
           " if (a < 3) { let s = a, t = a;"
           " for (let n = 1; t > 1e-17 * s; n++) { t *= 2 * a * a / (2 * n + 1); s += t; }"
           " return Math.sign(x) * s * Math.exp(-a * a) * 2 / Math.sqrt(Math.PI); }"
           " let f = 0; for (let n = 60; n > 0; n--) f = n / 2 / (a + f);"
           " return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + f)); }",
    # Nadam's product over i ≤ t of 1 − 0.96^(i ψ) / 2
    "damping": "(t, psi) => { let p = 1;"
               " for (let i = 1, f = 0; i <= t && f != 1 && p > 1e-300; i++)"
               " p *= f = 1 - 0.96 ** (i * psi) / 2; return p; }",
    "shrink": "(parts, most) => { let s = 0;"
              " for (const g of parts) for (const x of g) s += x * x;"
              " const norm = Math.sqrt(s);"
              " if (norm > most) for (const g of parts)"
              " for (let i = 0; i < g.length; i++) g[i] *= most / norm; }",
}


def refused(what: str) -> CaptureError:
    return CaptureError(f"to_javascript() has no words for {what}.")


def number(x: SupportsFloat) -> str:
    """A number as JavaScript writes it."""
    if isinstance(x, bool | np.bool_):
        return str(int(x))
    if isinstance(x, int | np.integer):
        return str(int(x)) if x >= 0 else f"({int(x)})"
    x = float(x)
    text = "NaN" if math.isnan(x) else "Infinity" if math.isinf(x) else repr(abs(x))
    return f"(-{text})" if math.copysign(1, x) < 0 else text.removesuffix(".0")


def helpers(text: str) -> str:
    """The functions that JavaScript lacks and a text calls."""
    return "".join(f"const {name} = {code};\n" for name, code in _HELPERS.items()
                   if re.search(rf"\b{name}\(", text))


def expression(x: object, names: Mapping[Symbol, str]) -> str:
    """An expression of single numbers; what has a name is a variable."""
    if not isinstance(x, Symbol):
        return number(np.asarray(x).item())
    if x in names:
        return names[x]
    name = name_of(x.function)
    if name in ("astype", "copy", "reshape", "sum_to"):
        return expression(x.inputs[0], names)
    if name not in WORDS:
        raise refused(f"the function {name}")
    return WORDS[name].format(*[expression(v, names) for v in x.inputs])


def heads(shape: Shape) -> str:
    """The beginnings of loops over a shape."""
    return "".join(f"for (let i{a} = 0; i{a} < {n}; i{a}++) " for a, n in enumerate(shape))


def index(begin: str, steps: Sequence[int], names: Sequence[str] = ()) -> str:
    """Where an entry lies: the beginning, and its indices times the steps."""
    names = names or [f"i{a}" for a in range(len(steps))]
    parts = [name if s == 1 else f"{s} * {name}" for name, s in zip(names, steps) if s]
    return " + ".join([begin, *parts])
