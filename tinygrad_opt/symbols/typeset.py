"""Expressions as they are written on a blackboard, in Unicode and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tinygrad_opt.symbols.symbol import Symbol, inside, name_of, plain

__all__ = [
    "LATEX", "UNICODE", "assignments", "index_text", "letter", "number", "text", "written",
]

UNICODE, LATEX = 0, 1

# How strongly a text holds together. An operand that binds less than its place needs is put in
# parentheses.
_CASES, _TRUTH, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(7)


class _Form(NamedTuple):
    """How a call is written: a template, and how strongly the operand in each place must bind."""

    binds: int
    template: str
    places: tuple[int, ...]


_FORMS: dict[str, tuple[_Form, _Form]] = {
    name: (_Form(binds, unicode, places),
           _Form(_ATOM if r"\frac" in latex else binds, latex or unicode, inside or places))
    for names, binds, unicode, places, latex, inside in [
        ("add", _SUM, "{} + {}", (_SUM, _SUM), "", ()),
        ("subtract", _SUM, "{} − {}", (_SUM, _PRODUCT), "{} - {}", ()),
        ("multiply", _PRODUCT, "{} · {}", (_PRODUCT, _PRODUCT), r"{}\,{}", ()),
        ("divide", _PRODUCT, "{} / {}", (_PRODUCT, _SIGN), r"\frac{{{}}}{{{}}}", (0, 0)),
        ("reciprocal", _PRODUCT, "1 / {}", (_SIGN,), r"\frac{{1}}{{{}}}", (0,)),
        ("matmul dot", _PRODUCT, "{} @ {}", (_PRODUCT, _SIGN), r"{}\,{}", ()),
        ("linear", _SUM, "{} @ {} + {}", (_PRODUCT, _SIGN, _PRODUCT), r"{}\,{} + {}", ()),
        ("residual", _SUM, "softmax({}) − onehot({})", (0, 0),
         r"\operatorname{{softmax}}({}) - \operatorname{{onehot}}({})", ()),
        ("remainder", _PRODUCT, "{} mod {}", (_SIGN, _SIGN), r"{} \bmod {}", ()),
        ("floor_divide", _ATOM, "⌊{} / {}⌋", (_PRODUCT, _SIGN),
         r"\left\lfloor\frac{{{}}}{{{}}}\right\rfloor", (0, 0)),
        ("negative", _SIGN, "−{}", (_SIGN,), "-{}", ()),
        ("positive", _SIGN, "{}", (_SIGN,), "", ()),
        ("square", _POWER, "{}²", (_ATOM,), "{}^{{2}}", ()),
        ("sqrt", _ATOM, "√{}", (_ATOM,), r"\sqrt{{{}}}", (0,)),
        ("cbrt", _ATOM, "∛{}", (_ATOM,), r"\sqrt[3]{{{}}}", (0,)),
        ("exp2", _POWER, "2^{}", (_ATOM,), "2^{{{}}}", (0,)),
        ("absolute", _ATOM, "|{}|", (0,), r"\left|{}\right|", ()),
        ("norm", _ATOM, "‖{}‖", (0,), r"\left\|{}\right\|", ()),
        ("floor", _ATOM, "⌊{}⌋", (0,), r"\left\lfloor {}\right\rfloor", ()),
        ("ceil", _ATOM, "⌈{}⌉", (0,), r"\left\lceil {}\right\rceil", ()),
        ("maximum", _ATOM, "max({}, {})", (0, 0), r"\max\left({}, {}\right)", ()),
        ("minimum", _ATOM, "min({}, {})", (0, 0), r"\min\left({}, {}\right)", ()),
        ("clip", _ATOM, "min(max({}, {}), {})", (0, 0, 0),
         r"\min\left(\max\left({}, {}\right), {}\right)", ()),
        ("sum", _ATOM, "Σ({})", (0,), r"\sum\left({}\right)", ()),
        ("prod", _ATOM, "Π({})", (0,), r"\prod\left({}\right)", ()),
        ("mean", _SIGN, "mean {}", (_ATOM,), r"\overline{{{}}}", (0,)),
        ("transpose swapaxes", _POWER, "{}ᵀ", (_ATOM,), r"{}^\top", ()),
        ("zeros_like", _ATOM, "0", (), "", ()),
        ("ones_like", _ATOM, "1", (), "", ()),
        ("getitem", _ATOM, "{}[…]", (_ATOM,), r"{}[\ldots]", ()),
        ("equal", _TRUTH, "{} = {}", (_SUM, _SUM), "", ()),
        ("not_equal", _TRUTH, "{} ≠ {}", (_SUM, _SUM), r"{} \ne {}", ()),
        ("greater", _TRUTH, "{} > {}", (_SUM, _SUM), "", ()),
        ("greater_equal", _TRUTH, "{} ≥ {}", (_SUM, _SUM), r"{} \ge {}", ()),
        ("less", _TRUTH, "{} < {}", (_SUM, _SUM), "", ()),
        ("less_equal", _TRUTH, "{} ≤ {}", (_SUM, _SUM), r"{} \le {}", ()),
        ("logical_and bitwise_and", _TRUTH, "{} and {}", (_TRUTH, _TRUTH), r"{} \wedge {}", ()),
        ("logical_or bitwise_or", _TRUTH, "{} or {}", (_TRUTH, _TRUTH), r"{} \vee {}", ()),
        ("where", _CASES, "{1} where {0}, else {2}", (_CASES, _TRUTH, _CASES),
         r"{1}\text{{ where }}{0}\text{{, else }}{2}", ()),
    ] for name in names.split()
}
_SAME_VALUES = {"copy", "astype", "cast", "ascontiguousarray", "asarray", "broadcast_to"}
_LETTERS = {
    "beta1": ("β₁", r"\beta_1"), "beta2": ("β₂", r"\beta_2"), "eps": ("ε", r"\varepsilon"),
    "rho": ("ρ", r"\rho"), "momentum": ("μ", r"\mu"), "dampening": ("τ", r"\tau"),
    "weight_decay": ("λ", r"\lambda"), "lr": ("η", r"\eta"), "psi": ("ψ", r"\psi"),
    "alpha": ("α", r"\alpha"), "delta": ("Δ", r"\Delta"), "mu": ("μₜ", r"\mu_t"),
    "mu_next": ("μₜ₊₁", r"\mu_{t+1}"), "product": ("Πμ", r"\Pi\mu"),
    "sigmoid": ("σ", r"\sigma"), "inf": ("∞", r"\infty"),
}
_SUPERSCRIPTS = str.maketrans("0123456789-−t", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻ᵗ")


def number(x: float) -> str:
    """A number with up to seven digits."""
    return f"{x:.7g}"


def letter(name: str, notation: int = UNICODE) -> str:
    """How a name is written: ``beta1`` as β₁, ``m_hat`` as m̂, ``v_max`` as vₘₐₓ."""
    if name in _LETTERS:
        return _LETTERS[name][notation]
    stem, _, mark = name.partition("_")
    if mark == "hat":
        return (f"{letter(stem)}̂", rf"\hat {letter(stem, LATEX)}")[notation]
    if mark == "max":
        return (f"{letter(stem)}ₘₐₓ", rf"{letter(stem, LATEX)}_{{\max}}")[notation]
    if notation == UNICODE or len(name) == 1:
        return name
    plainly = name.replace("_", r"\_")
    return rf"\text{{{plainly}}}"


def index_text(index: object, operand: Callable[[object], str] = str) -> str:
    """An index as it is typed between brackets; `operand` writes what is no slice."""
    words = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, slice):
            ends = ["" if v is None else str(v) for v in (part.start, part.stop, part.step)]
            words.append(":".join(ends[: 3 if part.step is not None else 2]))
        elif part is None or part is Ellipsis:
            words.append("None" if part is None else "...")
        else:
            words.append(operand(part))
    return ", ".join(words)


def text(x: object, notation: int = UNICODE, *, numbers: bool = False) -> str:
    """An expression as it is written on a blackboard.

    Parameters
    ----------
    x : Symbol, array or number
        Named symbols inside it are written by their names.
    notation : {UNICODE, LATEX}
    numbers : bool
        Write numbers where the names stand.
    """
    typesetter = _Typesetter(notation, numbers)
    for part in inside([x], stop=lambda s: s is not x and s.name is not None):
        if part is not x:                                  # innermost first: no deep recursion
            typesetter.operand(part)
    return typesetter.whole(x)[0]


def written(
    function: object, operands: Iterable[tuple[str, int]], notation: int = UNICODE
) -> tuple[str, int]:
    """A call, of operands that have been written: the text, and how strongly it binds.

    Parameters
    ----------
    function : callable or Op
    operands : iterable of (str, int)
        Each with how strongly it binds, as this function gives it; 6 for a name.
    """
    parts = list(operands)
    form = _FORMS.get(name_of(function))
    if form is None or len(parts) < len(form[notation].places):
        name = name_of(function)
        head = letter(name, notation) if name in _LETTERS or notation == UNICODE else (
            rf"\operatorname{{{name}}}")
        return f"{head}({', '.join(part for part, _ in parts)})", _ATOM
    binds, template, places = form[notation]
    shown = [_fenced(part, held < place, notation) for (part, held), place in zip(parts, places)]
    return template.format(*shown), binds


def _fenced(part: str, fence: bool, notation: int) -> str:
    if not fence:
        return part
    return f"({part})" if notation == UNICODE else rf"\left({part}\right)"


class _Typesetter:
    """Writes an expression: each symbol once, however often it occurs."""

    def __init__(self, notation: int, numbers: bool) -> None:
        self.notation, self.numbers = notation, numbers
        self.known: dict[Symbol, tuple[str, int]] = {}

    def operand(self, x: object) -> tuple[str, int]:
        """An expression inside another, which a name ends."""
        if isinstance(x, Symbol) and x.name is not None:
            if not self.numbers or np.size(x.array) != 1:
                return letter(x.name, self.notation), _ATOM
            return _value(np.asarray(x.array).item())
        if not isinstance(x, Symbol):
            return self.whole(x)
        if x not in self.known:
            whole, binds = self.whole(x)
            self.known[x] = (whole, binds) if len(whole) <= _LONG else ("…", _ATOM)
        return self.known[x]

    def whole(self, x: object) -> tuple[str, int]:
        """An expression, and how strongly it binds."""
        if not isinstance(x, Symbol):
            entries = np.asarray(x)
            if entries.size and entries.dtype.kind in "fiub" and (entries == entries.flat[0]).all():
                return _value(entries.flat[0].item())
            return ("…", r"\ldots")[self.notation], _ATOM
        if x.function is None:
            return self.operand(x)
        same = _same_value(x)
        if same is not None:
            part, binds = self.operand(same)
            return self.counted(part, binds) if x.dtype.kind != "b" else (part, binds)
        name = name_of(x.function)
        members = [v for i in x.inputs for v in (i if isinstance(i, list | tuple) else (i,))]
        parts = [self.operand(v) for v in members if _is_operand(v, name)]
        if name == "power":
            return _power(parts[0], parts[1], self.notation)
        if name not in _CONDITIONAL:
            parts = [self.counted(*part) for part in parts]
        return written(x.function, parts, self.notation)

    def counted(self, part: str, binds: int) -> tuple[str, int]:
        """A condition where a number is wanted: 1 or 0, as Iverson's bracket says."""
        return (f"[{part}]", _ATOM) if binds == _TRUTH else (part, binds)


_LONG = 400                # characters; what is longer inside another expression is an ellipsis


def _value(x: float) -> tuple[str, int]:
    """A number as an operand."""
    shown = str(x) if isinstance(x, bool) else number(x)
    return (f"({shown})" if shown.startswith("-") else shown), _POWER if "e" in shown else _ATOM


_AND = {"logical_and", "bitwise_and"}
_CONDITIONAL = {"where", "logical_or", "bitwise_or"} | _AND


def _is_operand(x: object, name: str) -> bool:
    """Whether an input is a value, rather than an axis, a shape or an index."""
    return isinstance(x, Symbol | np.ndarray) or (
        isinstance(x, int | float | np.generic) and name in ("power", *_FORMS)
        and name not in ("swapaxes", "transpose", "sum", "prod", "mean", "getitem"))


def _same_value(x: Symbol) -> object:
    """The input whose value it has, which is written in its place; None if there is none."""
    name, first = name_of(x.function), x.inputs[0]
    if name in _SAME_VALUES or (name == "reshape" and _without_ones(x) == _without_ones(first)):
        return first
    if name in _AND:                                       # True is a bound that is not there
        bounds = [v for v in x.inputs if v is not True] or [True]
        return bounds[0] if len(bounds) == 1 else None
    return x.inputs[2] if name == "where" and _guarded(*x.inputs) else None


def _without_ones(x: Symbol) -> list[int]:
    """The lengths of its axes, but for those of length 1."""
    return [n for n in np.shape(plain(x)) if n != 1]


def _guarded(mask: object, yes: object, no: object) -> bool:
    """Whether it is like ``where(x == 0, 1, x)``: the number only keeps an error away."""
    while isinstance(mask, Symbol) and name_of(mask.function) in _AND:
        mask = mask.inputs[0]
    if isinstance(yes, Symbol) or not isinstance(mask, Symbol) or name_of(mask.function) != "equal":
        return False
    compared, without = inside(mask.inputs), set(inside([no]))
    return any(s.function is None and s in without for s in compared)


def _power(base: tuple[str, int], exponent: tuple[str, int], notation: int) -> tuple[str, int]:
    if exponent[0] == "1":
        return base
    low = _fenced(base[0], base[1] < _ATOM, notation)
    if notation == LATEX:
        return f"{low}^{{{exponent[0]}}}", _POWER
    raised = exponent[0].translate(_SUPERSCRIPTS)
    if len(exponent[0]) > 2 or any(c in exponent[0] for c in ".e") or raised == exponent[0]:
        raised = "^" + _fenced(exponent[0], exponent[1] < _ATOM, notation)
    return f"{low}{raised}", _POWER


def assignments(results: Mapping[str, object]) -> list[tuple[str, Symbol]]:
    """The named steps of a computation, as lines that can be read one after the other.

    Parameters
    ----------
    results : dict of str to Symbol
        What each variable is to become.

    Returns
    -------
    list of (str, Symbol)
        A line that needs the old value of a variable stands before the one that changes it.
    """
    for name, x in results.items():
        if isinstance(x, Symbol) and x.function is not None:
            x.name = name
    lines = [s for s in inside(results.values()) if s.function is not None and s.name]
    lines.sort(key=lambda s: s.serial)
    reads = {s: set(inside(s.inputs, stop=lambda x: x.name is not None)) for s in lines}
    ordered: list[Symbol] = []
    while lines:
        ready = [s for s in lines if not any(
            other in reads[s] or _reads_old(s.name, reads[other])
            for other in lines if other is not s)]
        ordered.append((ready or lines)[0])
        lines.remove(ordered[-1])
    return [(s.name or "", s) for s in ordered]


def _reads_old(name: str | None, symbols: set[Symbol]) -> bool:
    """Whether the value that a variable had at first is among the symbols."""
    return any(s.function is None and s.name == name for s in symbols)
