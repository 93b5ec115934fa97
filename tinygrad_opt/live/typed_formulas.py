"""The operator table for formulas that are typed on a page: kernels and VJPs as JavaScript."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_opt.compiler.javascript.vocabulary import expression, helpers
from tinygrad_opt.ops import TABLE
from tinygrad_opt.symbols import Trace

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
    rows = []
    for said, row in NAMES.items():
        op = TABLE[row]
        inputs = "xy"[: 2 if len(op.vjps) == 2 else 1]
        slopes = [_function(vjp, f"gz{inputs}") for vjp in op.vjps if vjp is not None]
        rows.append(f'"{said}": {{of: {_function(op.kernel, inputs)},'
                    f' slopes: [{", ".join(slopes)}]}}')
    table = f"return {{{(','+chr(10)).join(rows)}}};"
    return f"(() => {{\n{helpers(table)}{table}\n}})()"


def _function(rule: Callable[..., object], names: str) -> str:
    """A rule of single numbers as a function."""
    trace = Trace()
    symbols = {trace.symbol(name, np.array(0.5)): name for name in names}
    return f"({', '.join(names)}) => {expression(rule(*symbols), symbols)}"
