"""Functions of numbers as instructions of LLVM: what NumPy's ufuncs do with one entry.

`Scalars` has the instructions for numbers of one dtype; a row of `FUNCTIONS` is a function in
terms of these. Dtypes are named as NumPy names them: f4, f8, i1 to i8, u1 to u8, b1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from llvmlite import ir

__all__ = ["FUNCTIONS", "SUPPORTED", "Scalars", "constant", "integer", "typed"]

SUPPORTED = {"f4", "f8", "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}


@functools.cache
def integer(bits: int) -> ir.Type:
    from llvmlite import ir
    return ir.IntType(bits)


@functools.cache
def typed(dtype: str) -> ir.Type:
    """LLVM's type for a value."""
    from llvmlite import ir
    if dtype[0] == "f":
        return ir.FloatType() if dtype == "f4" else ir.DoubleType()
    return integer(1 if dtype == "b1" else 8 * int(dtype[1:]))


def constant(dtype: str, x: float | str) -> ir.Constant:
    """A number, given as itself or as its text."""
    if dtype[0] == "f":
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

    def __init__(self, b: ir.IRBuilder, dtype: str, reassociate: bool = False) -> None:
        self.b, self.dtype, self.kind, self.type = b, dtype, dtype[0], typed(dtype)
        self.flags = ("contract", "reassoc") if reassociate else ("contract",)

    def number(self, x: float) -> ir.Value:
        return constant(self.dtype, x)

    def cast(self, x: ir.Value, dtype: str) -> ir.Value:
        """A value of another dtype as one of this."""
        b, kind, here = self.b, dtype[0], self.type
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

    def call(self, name: str, *operands: Sequence[ir.Value]) -> ir.Value:
        """An intrinsic function of LLVM: sqrt, fabs, copysign, maximum."""
        suffix = "f32" if self.dtype == "f4" else "f64"
        return self._function(f"llvm.{name}.{suffix}", operands)

    def libm(self, name: str, *operands: ir.Value) -> ir.Value:
        """A function of the C library, one number at a time."""
        return self._function(name + ("f" if self.dtype == "f4" else ""), operands)

    def _function(self, name: str, operands: Sequence[ir.Value]) -> ir.Value:
        from llvmlite import ir
        module = self.b.module
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(self.type, [self.type] * len(operands)), name)
        if not name.startswith("llvm."):
            function.attributes.add("nounwind")
        return self.b.call(function, operands)

    # ---- arithmetic ----

    def add(self, x: ir.Value, y: ir.Value) -> ir.Value:
        if self.kind == "f":
            return self.b.fadd(x, y, flags=self.flags)
        return self.b.or_(x, y) if self.kind == "b" else self.b.add(x, y)

    def subtract(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.b.fsub(x, y, flags=self.flags) if self.kind == "f" else self.b.sub(x, y)

    def multiply(self, x: ir.Value, y: ir.Value) -> ir.Value:
        if self.kind == "f":
            return self.b.fmul(x, y, flags=self.flags)
        return self.b.and_(x, y) if self.kind == "b" else self.b.mul(x, y)

    def divide(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.b.fdiv(x, y)

    def negative(self, x: ir.Value) -> ir.Value:
        return self.b.fneg(x) if self.kind == "f" else self.b.neg(x)

    def absolute(self, x: ir.Value) -> ir.Value:
        if self.kind == "f":
            return self.call("fabs", x)
        if self.kind != "i":
            return x
        return self.b.select(self.compare("<", x, self.number(0)), self.negative(x), x)

    def compare(self, sign: str, x: ir.Value, y: ir.Value) -> ir.Value:
        if self.kind == "f":
            unordered = sign == "!="                       # nan differs from everything
            return (self.b.fcmp_unordered if unordered else self.b.fcmp_ordered)(sign, x, y)
        return (self.b.icmp_signed if self.kind == "i" else self.b.icmp_unsigned)(sign, x, y)

    def is_nan(self, x: ir.Value) -> ir.Value:
        return self.b.fcmp_unordered("uno", x, x)

    def maximum(self, x: ir.Value, y: ir.Value, sign: str = ">") -> ir.Value:
        """The larger one, or nan; a choice, which LLVM can do for several entries at once."""
        from llvmlite import ir
        if self.kind != "f":
            return self.b.select(self.compare(sign, x, y), x, y)
        if "reassoc" in self.flags:
            return self.call("maximum" if sign == ">" else "minimum", x, y)
        if isinstance(y, ir.Constant):
            return self.b.select(self.b.fcmp_unordered(sign, x, y), x, y)
        return self.b.select(self.b.or_(self.b.fcmp_ordered(sign, x, y), self.is_nan(x)), x, y)

    def minimum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.maximum(x, y, "<")

    # ---- for the functions below ----

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """x y + z, rounded once."""
        return self.call("fma", x, y, z)

    def polynomial(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """c₀ + x (c₁ + x (c₂ + …))."""
        *rest, last = coefficients
        value = self.number(last)
        for c in reversed(rest):
            value = self.fma(value, x, self.number(c))
        return value

    def bits(self, x: ir.Value) -> ir.Value:
        """A float as the integer of its bits."""
        return self.b.bitcast(x, self.integers)

    def of_bits(self, x: ir.Value) -> ir.Value:
        return self.b.bitcast(x, self.type)

    @property
    def integers(self) -> ir.Type:
        return integer(8 * np.dtype(self.dtype).itemsize)

    def two_to(self, n: ir.Value) -> ir.Value:
        """2ⁿ for an integer n within the exponents."""
        limits = np.finfo(self.dtype)
        place = self.b.add(n, self.integers(1 - int(limits.minexp)))
        return self.of_bits(self.b.shl(place, self.integers(limits.nmant)))

    def truth(self, x: ir.Value) -> ir.Value:
        return x if self.kind == "b" else self.compare("!=", x, self.number(0))


# ---- functions of a few instructions -------------------------------------------------------------

Function: TypeAlias = "Callable[..., ir.Value]"


def _compared(sign: str) -> Function:
    return lambda s, x, y: s.compare(sign, x, y)


def _libm(name: str) -> Function:
    return lambda s, *operands: s.libm(name, *operands)


def _intrinsic(name: str) -> Function:
    return lambda s, *operands: s.call(name, *operands)


def _sign(s: Scalars, x: ir.Value) -> ir.Value:
    zero, one = s.number(0), s.number(1)
    above = s.b.select(s.compare(">", x, zero), one, x)
    return s.b.select(s.compare("<", x, zero), s.number(-1), above) if s.kind != "u" else above


# ---- functions that take several instructions ----------------------------------------------------
#
# Written without branches, so that LLVM does them for as many entries at once as fit a register;
# within 2 units in the last place.

# (eʳ − 1 − r) / r² on |r| ≤ ½ log 2, nearest in the largest error
_EXP = {"f4": [0.5, 0.16666576989698775, 0.041666554617204574, 0.008363179052722578,
               0.0013926183587713494],
        "f8": [0.5, 0.16666666666666669, 0.04166666666662413, 0.008333333333330062,
               0.0013888888917213717, 0.00019841269863053618, 2.4801521295954376e-05,
               2.7557268459997064e-06, 2.7620088445409746e-07, 2.510038549551032e-08]}
# (log((1 + s) / (1 − s)) − 2s) / s on |s| ≤ 0.1716, in s²: those of FreeBSD's msun
_LOG = {"f4": [0.6666666269302368, 0.40000972151756287, 0.2849878668785095, 0.24279078841209412],
        "f8": [6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
               2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
               1.479819860511658591e-01]}
# log 2 in two parts, the first with zeros behind, so that its multiples are exact
_LOG2 = {"f4": (6.9313812256e-01, 9.0580006145e-06),
         "f8": (6.93147180369123816490e-01, 1.90821492927058770002e-10)}
# (tanh x − x) / x³ on |x| ≤ 0.632 in x²
_TANH = {"f4": [-0.3333332843331859, 0.13332718845589667, -0.053843263175278766,
                0.020961329108563815, -0.0060451650965224],
         "f8": [-0.3333333333333333, 0.13333333333333316, -0.053968253968231024,
               0.02186948853488776, -0.008863235493441451, 0.0035921274106953164,
               -0.0014558274668454265, 0.0005899759192143973, -0.00023886464788549952,
               9.597236318160513e-05, -3.696052230333826e-05, 1.2088687226216899e-05,
               -2.3855793111704252e-06]}
# erf(x) / x − 1 on [0, 1.5] in x² 8/9 − 1, and eˣ² erfc(x) on [1.5, 6] in 1/x · 4 − 5/3
_ERF = [-0.18316382521608079, -0.22525254703530073, 0.06590879382585493, -0.016287513685896374,
        0.003385064146382935, -0.0006015929077699525, 9.302926096053098e-05,
        -1.2707918383759878e-05, 1.5529303865526946e-06, -1.7156358888642715e-07,
        1.7287459552144963e-08, -1.6007393126267927e-09, 1.3708008618510665e-10,
        -1.0916736667787404e-11, 8.122804244789699e-13, -5.6726822920392656e-14,
        3.793889128621108e-15, -2.354686638769092e-16]
_ERFC = [0.2184987345370331, 0.11460274749756379, -0.011749767914093275, -8.580232802712723e-05,
         0.00042042587353486466, -0.000115830131541484, 1.374154001356771e-05,
         2.692107743752749e-06, -2.05967228447601e-06, 6.370449934376554e-07,
         -9.97208215028238e-08, -1.3225135718063601e-08, 1.5842128475574336e-08,
         -6.575048652850831e-09, 1.892078252692078e-09, -1.662065413027374e-10,
         -2.5016091668501425e-10, 1.0254812032468186e-10]


def _halved(s: Scalars, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """x = n log 2 + r with |r| ≤ ½ log 2: n as a number and as an integer, and r."""
    high, low = _LOG2[s.dtype]
    half = 1.5 * 2.0 ** np.finfo(s.dtype).nmant            # adding it rounds to an integer
    shifted = s.fma(x, s.number(1 / math.log(2)), s.number(half))
    n = s.b.fsub(shifted, s.number(half))
    r = s.fma(n, s.number(-low), s.fma(n, s.number(-high), x))
    whole = s.b.sub(s.bits(shifted), s.bits(s.number(half)))
    return n, whole, r


def _within(s: Scalars, x: ir.Value, low: float, high: float) -> ir.Value:
    """x brought between two bounds; nan stays nan."""
    x = s.b.select(s.compare("<", x, s.number(low)), s.number(low), x)
    return s.b.select(s.compare(">", x, s.number(high)), s.number(high), x)


def _expm1_of(s: Scalars, r: ir.Value) -> ir.Value:
    """eʳ − 1 on |r| ≤ ½ log 2."""
    return s.fma(s.b.fmul(r, r), s.polynomial(r, _EXP[s.dtype]), r)


def _exp(s: Scalars, x: ir.Value) -> ir.Value:
    """2ⁿ eʳ, scaled in two steps, since 2ⁿ alone may overflow or vanish."""
    x = _within(s, x, *((-104.0, 89.0) if s.dtype == "f4" else (-746.0, 710.0)))
    _, n, r = _halved(s, x)
    one = s.integers(1)
    half = s.b.ashr(n, one)
    value = s.b.fadd(_expm1_of(s, r), s.number(1))
    return s.b.fmul(s.b.fmul(value, s.two_to(half)), s.two_to(s.b.sub(n, half)))


def _expm1(s: Scalars, x: ir.Value) -> ir.Value:
    """2ⁿ (eʳ − 1) + 2ⁿ − 1."""
    bounded = _within(s, x, *((-18.0, 89.0) if s.dtype == "f4" else (-40.0, 710.0)))
    _, n, r = _halved(s, bounded)
    half = s.two_to(s.b.sub(n, s.integers(1)))             # 2ⁿ alone may overflow
    value = s.fma(half, _expm1_of(s, r), s.b.fsub(half, s.number(0.5)))
    value = s.b.fadd(value, value)
    return s.b.select(s.compare("<", s.absolute(x), s.number(1e-20)), x, value)


def _tanh(s: Scalars, x: ir.Value) -> ir.Value:
    """x + x³ times a polynomial near 0, and beyond 1 − 2 / (e²ˣ + 1)."""
    size = _within(s, s.absolute(x), 0.0, 22.0)
    e = _exp(s, s.b.fadd(size, size))
    far = s.b.fsub(s.number(1), s.b.fdiv(s.number(2), s.b.fadd(e, s.number(1))))
    u = s.b.fmul(x, x)
    near = s.fma(s.b.fmul(u, x), s.polynomial(u, _TANH[s.dtype]), x)
    return s.call("copysign", s.b.select(s.compare(">", size, s.number(0.625)), far, near), x)


def _log_of(s: Scalars, x: ir.Value, lost: ir.Value = None, shift: ir.Value = None) -> ir.Value:
    """log x = k log 2 + log(1 + f), for positive normal x; what was `lost` of x, over x, is added,
    and `shift` binary places are taken away."""
    b, limits = s.b, np.finfo(s.dtype)
    root = int(np.array(math.sqrt(0.5), s.dtype).view(f"i{limits.dtype.itemsize}"))
    one = int(np.array(1, s.dtype).view(f"i{limits.dtype.itemsize}"))
    i = b.add(s.bits(x), s.integers(one - root))
    k = b.sub(b.lshr(i, s.integers(limits.nmant)), s.integers(-int(limits.minexp) + 1))
    fraction = b.and_(i, s.integers((1 << limits.nmant) - 1))
    f = b.fsub(s.of_bits(b.add(fraction, s.integers(root))), s.number(1))
    k = b.sitofp(k if shift is None else b.sub(k, shift), s.type)
    q = b.fdiv(f, b.fadd(f, s.number(2)))
    z = b.fmul(q, q)
    rest = b.fmul(z, s.polynomial(z, _LOG[s.dtype]))
    half = b.fmul(b.fmul(f, f), s.number(0.5))
    high, low = _LOG2[s.dtype]
    small = b.fmul(k, s.number(low))
    if lost is not None:
        small = b.fadd(small, lost)
    tail = b.fsub(b.fsub(half, s.fma(q, b.fadd(half, rest), small)), f)
    return b.fsub(b.fmul(k, s.number(high)), tail)


def _log(s: Scalars, x: ir.Value) -> ir.Value:
    limits = np.finfo(s.dtype)
    tiny = s.compare("<", x, s.number(float(limits.tiny)))
    up = s.number(2.0 ** limits.nmant)
    shift = s.b.select(tiny, s.integers(limits.nmant), s.integers(0))
    value = _log_of(s, s.b.select(tiny, s.b.fmul(x, up), x), shift=shift)
    return _ends_of_log(s, x, value, s.number(0))


def _ends_of_log(s: Scalars, x: ir.Value, value: ir.Value, zero: ir.Value) -> ir.Value:
    """−∞ at its zero, nan below it and for nan, ∞ for ∞."""
    value = s.b.select(s.compare(">", x, zero), value, s.number(math.nan))
    value = s.b.select(s.compare("==", x, zero), s.number(-math.inf), value)
    return s.b.select(s.compare("==", x, s.number(math.inf)), x, value)


def _log1p(s: Scalars, x: ir.Value) -> ir.Value:
    """log u for u = 1 + x, and what was lost when 1 was added."""
    b = s.b
    u = b.fadd(s.number(1), x)
    large = s.compare(">", x, s.number(1))
    lost = s.b.select(large, b.fsub(s.number(1), b.fsub(u, x)), b.fsub(x, b.fsub(u, s.number(1))))
    value = _log_of(s, u, b.fdiv(lost, u))
    value = _ends_of_log(s, x, value, s.number(-1))
    small = 2.0 ** -np.finfo(s.dtype).nmant
    return s.b.select(s.compare("<", s.absolute(x), s.number(small / 2)), x, value)


def _logaddexp(s: Scalars, x: ir.Value, y: ir.Value) -> ir.Value:
    """The larger one + log1p(e^−|x − y|); where both are the same infinity, that."""
    top, bottom = s.maximum(x, y), s.minimum(x, y)
    made = s.add(top, _log1p(s, _exp(s, s.subtract(bottom, top))))
    return s.b.select(s.compare("==", x, y), s.add(x, s.number(math.log(2))), made)


def _erf(s: Scalars, x: ir.Value) -> ir.Value:
    """x + x times a polynomial near 0, and beyond 1 − e^−x² times one in 1/x; in float64."""
    w = Scalars(s.b, "f8")
    full = w.cast(x, s.dtype)
    size = _within(w, w.absolute(full), 1.5, 6.0)
    t = w.fma(w.b.fdiv(w.number(1), size), w.number(4), w.number(-5 / 3))
    far = w.b.fsub(w.number(1), w.b.fmul(
        _exp(w, w.b.fneg(w.b.fmul(size, size))), w.polynomial(t, _ERFC)))
    small = _within(w, full, -1.5, 1.5)
    t = w.fma(w.b.fmul(small, small), w.number(8 / 9), w.number(-1))
    near = w.fma(small, w.polynomial(t, _ERF), small)
    value = w.b.select(w.compare("<", w.absolute(full), w.number(1.5)), near,
                     w.call("copysign", far, full))
    return s.cast(w.b.select(w.is_nan(full), full, value), "f8")


# ---- the table -----------------------------------------------------------------------------------


FUNCTIONS: dict[str, Function] = {
    "add": Scalars.add, "subtract": Scalars.subtract, "multiply": Scalars.multiply,
    "divide": Scalars.divide, "negative": Scalars.negative, "positive": lambda s, x: x,
    "absolute": Scalars.absolute, "square": lambda s, x: s.multiply(x, x),
    "reciprocal": lambda s, x: s.divide(s.number(1), x),
    "sign": _sign,
    "maximum": Scalars.maximum, "minimum": Scalars.minimum,
    **{name: _intrinsic(name) for name in ("sqrt", "floor", "ceil", "trunc", "rint", "copysign")},
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
    "where": lambda s, mask, x, y: s.b.select(mask, x, y), "second": lambda s, x, y: y,
    "power": _libm("pow"), "arctan2": _libm("atan2"), "hypot": _libm("hypot"),
    "exp": _exp, "expm1": _expm1, "log": _log, "log1p": _log1p, "tanh": _tanh,
    "logaddexp": _logaddexp, "erf": _erf,
    **{name: _libm(name) for name in (
        "exp2", "log2", "log10", "sin", "cos", "tan", "sinh", "cosh", "cbrt")},
    **{f"arc{name}": _libm(f"a{name}") for name in (
        "sin", "cos", "tan", "sinh", "cosh", "tanh")},
}
