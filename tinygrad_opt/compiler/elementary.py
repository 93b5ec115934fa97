"""Functions of numbers as instructions of LLVM: what NumPy's ufuncs do with one entry.

`Scalars` has the instructions for numbers of one dtype; a row of `FUNCTIONS` is a function in
terms of these. Dtypes are named as NumPy names them: f4, f8, i1 to i8, u1 to u8, b1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS", "SUPPORTED", "Scalars", "constant", "integer", "kind_of", "typed"]

SUPPORTED = {"f4", "f8", "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}


def kind_of(dtype: str) -> str:
    """"f", "i", "u" or "b"."""
    return dtype[0]


@functools.cache
def integer(bits: int) -> Any:
    import llvmlite.ir as ir
    return ir.IntType(bits)


@functools.cache
def typed(dtype: str) -> Any:
    """LLVM's type for a value."""
    import llvmlite.ir as ir
    if kind_of(dtype) == "f":
        return ir.FloatType() if dtype == "f4" else ir.DoubleType()
    return integer(1 if dtype == "b1" else 8 * int(dtype[1:]))


def constant(dtype: str, x: Any) -> Any:
    """A number, given as itself or as its text."""
    if kind_of(dtype) == "f":
        x = float.fromhex(x) if isinstance(x, str) else float(x)
        with np.errstate(over="ignore"):
            return typed(dtype)(float(np.dtype(dtype).type(x)))
    return typed(dtype)(int(x))


class Scalars:
    """The instructions for numbers of one dtype.

    Parameters
    ----------
    b : llvmlite.ir.IRBuilder
    dtype : str
    reassociate : bool
        Whether sums may be added up in another order.
    """

    def __init__(self, b: Any, dtype: str, reassociate: bool = False) -> None:
        self.b, self.dtype, self.kind, self.type = b, dtype, kind_of(dtype), typed(dtype)
        self.flags = ("contract", "reassoc") if reassociate else ("contract",)

    def number(self, x: float) -> Any:
        return constant(self.dtype, x)

    def cast(self, x: Any, dtype: str) -> Any:
        """A value of another dtype as one of this."""
        b, kind, here = self.b, kind_of(dtype), self.type
        if dtype == self.dtype:
            return x
        if self.kind == "b":
            zero = constant(dtype, 0)
            return b.fcmp_unordered("!=", x, zero) if kind == "f" else b.icmp_signed("!=", x, zero)
        if self.kind == "f":
            if kind == "f":
                return b.fpext(x, here) if self.dtype == "f8" else b.fptrunc(x, here)
            return b.sitofp(x, here) if kind == "i" else b.uitofp(x, here)
        if kind == "f":
            return b.fptosi(x, here) if self.kind == "i" else b.fptoui(x, here)
        if here.width <= x.type.width:
            return b.trunc(x, here) if here.width < x.type.width else x
        return b.sext(x, here) if kind == "i" else b.zext(x, here)

    def call(self, name: str, *operands: Any) -> Any:
        """An intrinsic function of LLVM: sqrt, fabs, copysign, maximum."""
        suffix = "f32" if self.dtype == "f4" else "f64"
        return self._function(f"llvm.{name}.{suffix}", operands)

    def libm(self, name: str, *operands: Any) -> Any:
        """A function of the C library, one number at a time."""
        return self._function(name + ("f" if self.dtype == "f4" else ""), operands)

    def _function(self, name: str, operands: Any) -> Any:
        import llvmlite.ir as ir
        module = self.b.module
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(self.type, [self.type] * len(operands)), name)
        if not name.startswith("llvm."):
            function.attributes.add("nounwind")
        return self.b.call(function, operands)

    # ---- arithmetic ----

    def add(self, x: Any, y: Any) -> Any:
        if self.kind == "f":
            return self.b.fadd(x, y, flags=self.flags)
        return self.b.or_(x, y) if self.kind == "b" else self.b.add(x, y)

    def subtract(self, x: Any, y: Any) -> Any:
        return self.b.fsub(x, y, flags=self.flags) if self.kind == "f" else self.b.sub(x, y)

    def multiply(self, x: Any, y: Any) -> Any:
        if self.kind == "f":
            return self.b.fmul(x, y, flags=self.flags)
        return self.b.and_(x, y) if self.kind == "b" else self.b.mul(x, y)

    def divide(self, x: Any, y: Any) -> Any:
        return self.b.fdiv(x, y)

    def negative(self, x: Any) -> Any:
        return self.b.fneg(x) if self.kind == "f" else self.b.neg(x)

    def absolute(self, x: Any) -> Any:
        if self.kind == "f":
            return self.call("fabs", x)
        if self.kind != "i":
            return x
        return self.b.select(self.compare("<", x, self.number(0)), self.negative(x), x)

    def compare(self, sign: str, x: Any, y: Any) -> Any:
        if self.kind == "f":
            unordered = sign == "!="                       # nan differs from everything
            return (self.b.fcmp_unordered if unordered else self.b.fcmp_ordered)(sign, x, y)
        return (self.b.icmp_signed if self.kind == "i" else self.b.icmp_unsigned)(sign, x, y)

    def is_nan(self, x: Any) -> Any:
        return self.b.fcmp_unordered("uno", x, x)

    def choose(self, mask: Any, x: Any, y: Any) -> Any:
        return self.b.select(mask, x, y)

    def maximum(self, x: Any, y: Any, sign: str = ">") -> Any:
        """The larger one, or nan; a choice, which LLVM can do for several entries at once."""
        import llvmlite.ir as ir
        if self.kind != "f":
            return self.b.select(self.compare(sign, x, y), x, y)
        if "reassoc" in self.flags:
            return self.call("maximum" if sign == ">" else "minimum", x, y)
        if isinstance(y, ir.Constant):
            return self.b.select(self.b.fcmp_unordered(sign, x, y), x, y)
        return self.b.select(self.b.or_(self.b.fcmp_ordered(sign, x, y), self.is_nan(x)), x, y)

    def minimum(self, x: Any, y: Any) -> Any:
        return self.maximum(x, y, "<")

    def truth(self, x: Any) -> Any:
        return x if self.kind == "b" else self.compare("!=", x, self.number(0))


# ---- the table -----------------------------------------------------------------------------------

Function = Callable[..., Any]


def _compared(sign: str) -> Function:
    return lambda s, x, y: s.compare(sign, x, y)


def _libm(name: str) -> Function:
    return lambda s, *operands: s.libm(name, *operands)


def _sign(s: Scalars, x: Any) -> Any:
    zero, one = s.number(0), s.number(1)
    above = s.choose(s.compare(">", x, zero), one, x)
    return s.choose(s.compare("<", x, zero), s.number(-1), above) if s.kind != "u" else above


def _logaddexp(s: Scalars, x: Any, y: Any) -> Any:
    """The larger one + log1p(e^−|x − y|); where both are the same infinity, that."""
    top, bottom = s.maximum(x, y), s.minimum(x, y)
    gap = FUNCTIONS["exp"](s, s.subtract(bottom, top))
    made = s.add(top, FUNCTIONS["log1p"](s, gap))
    return s.choose(s.compare("==", x, y), s.add(x, s.number(math.log(2))), made)


FUNCTIONS: dict[str, Function] = {
    "add": Scalars.add, "subtract": Scalars.subtract, "multiply": Scalars.multiply,
    "divide": Scalars.divide, "negative": Scalars.negative, "positive": lambda s, x: x,
    "absolute": Scalars.absolute, "square": lambda s, x: s.multiply(x, x),
    "reciprocal": lambda s, x: s.divide(s.number(1), x),
    "sqrt": lambda s, x: s.call("sqrt", x), "sign": _sign,
    "maximum": Scalars.maximum, "minimum": Scalars.minimum,
    "copysign": lambda s, x, y: s.call("copysign", x, y),
    "floor": lambda s, x: s.call("floor", x), "ceil": lambda s, x: s.call("ceil", x),
    "trunc": lambda s, x: s.call("trunc", x), "rint": lambda s, x: s.call("rint", x),
    "equal": _compared("=="), "not_equal": _compared("!="), "less": _compared("<"),
    "less_equal": _compared("<="), "greater": _compared(">"), "greater_equal": _compared(">="),
    "logical_and": lambda s, x, y: s.b.and_(s.truth(x), s.truth(y)),
    "logical_or": lambda s, x, y: s.b.or_(s.truth(x), s.truth(y)),
    "logical_xor": lambda s, x, y: s.b.xor(s.truth(x), s.truth(y)),
    "logical_not": lambda s, x: s.b.not_(s.truth(x)),
    "bitwise_and": lambda s, x, y: s.b.and_(x, y), "bitwise_or": lambda s, x, y: s.b.or_(x, y),
    "invert": lambda s, x: s.b.not_(x),
    "isnan": lambda s, x: s.is_nan(x),
    "isfinite": lambda s, x: s.compare("<", s.absolute(x), s.number(math.inf)),
    "isinf": lambda s, x: s.compare("==", s.absolute(x), s.number(math.inf)),
    "where": lambda s, mask, x, y: s.choose(mask, x, y),
    "power": lambda s, x, y: s.libm("pow", x, y),
    "arctan2": lambda s, x, y: s.libm("atan2", x, y), "hypot": _libm("hypot"),
    "logaddexp": _logaddexp,
    **{name: _libm(name) for name in (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh",
        "cosh", "tanh", "cbrt", "erf")},
    **{f"arc{name}": _libm(f"a{name}") for name in (
        "sin", "cos", "tan", "sinh", "cosh", "tanh")},
}
