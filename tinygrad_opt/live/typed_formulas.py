"""The operator table for formulas that are typed on a page: kernels and VJPs as JavaScript."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_opt.compiler.javascript.vocabulary import HELPERS, WORDS, number
from tinygrad_opt.ops import TABLE
from tinygrad_opt.symbols import Symbol, Trace, Untraceable, inside, name_of

__all__ = ["operations"]

# what a formula may say, and the row that it is
NAMES = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "^": "power", "neg": "negative",
    "abs": "absolute", "max": "maximum", "min": "minimum",
    **{name: name for name in (
        "exp", "log", "sqrt", "sin", "cos", "tan", "tanh", "sinh", "cosh", "relu")},
}


def operations() -> str:
    """An object: name -> ``{of: (x, y) => …, slopes: [(g, z, x, y) => …, …]}``.

    Examples
    --------
    >>> '"tanh": {of: (x) => Math.tanh(x)' in operations()
    True
    """
    used: set[str] = set()
    rows = []
    for said, row in NAMES.items():
        op = TABLE[row]
        inputs = "xy"[: 2 if len(op.vjps) == 2 else 1]
        kernel = _function(op.kernel, inputs, used)
        slopes = [_function(vjp, f"gz{inputs}", used) for vjp in op.vjps if vjp is not None]
        rows.append(f'"{said}": {{of: {kernel}, slopes: [{", ".join(slopes)}]}}')
    helpers = "".join(f"const {h} = {HELPERS[h]};\n" for h in sorted(used & HELPERS.keys()))
    return f"(() => {{\n{helpers}return {{{(','+chr(10)).join(rows)}}};\n}})()"


def _function(rule: Callable[..., object], names: str, used: set[str]) -> str:
    """A rule of single numbers as a function."""
    trace = Trace()
    symbols = [trace.symbol(name, np.array(0.5)) for name in names]
    made = rule(*symbols)
    known: dict[Symbol, str] = {}
    for s in inside([made]):
        known[s] = str(s.name) if s.function is None else _call(s, known, used)
    body = known[made] if isinstance(made, Symbol) else number(np.asarray(made).item())
    return f"({', '.join(names)}) => {body}"


def _call(x: Symbol, known: dict[Symbol, str], used: set[str]) -> str:
    name = name_of(x.function)
    if name in ("astype", "copy", "reshape", "sum_to"):
        return known[x.inputs[0]]
    if name not in WORDS:
        raise Untraceable(f"JavaScript has no word for {name}")
    used.add(WORDS[name].split("(")[0])
    return WORDS[name].format(*[known[v] if isinstance(v, Symbol) else number(v)
                                for v in x.inputs])
