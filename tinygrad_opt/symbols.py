"""Run a rule on symbols: what it computes as plain data, its text, its in-place calls.

A rule is plain NumPy code: a VJP of the operator table, the update of an optimizer, a kernel. Given
`Symbol`s instead of arrays the same code leaves an expression behind,

    Symbol    function, inputs and attributes, its name if it has one, the array it stands for
    Trace     what happens when a function is called on a symbol; subclasses do it differently
    text      the expression in Unicode or LaTeX, with names or with numbers

What such an expression cannot repeat faithfully raises `Untraceable`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt.ops import Op
from tinygrad_opt.tensor import nested

__all__ = ["ABOUT_THE_SHAPE", "LATEX", "UNICODE", "Symbol", "Trace", "Untraceable", "assignments",
           "letter", "number", "plain", "text", "written"]

Array = np.ndarray[Any, Any]


class Untraceable(Exception):
    """The code does what an expression cannot repeat, such as a branch on an array's values."""


# ---- recording -----------------------------------------------------------------------------------


class Trace:
    """What happens when a function is called on symbols: it is computed, and written down.

    Attributes
    ----------
    branches : list of (Symbol, bool)
        Single numbers whose truth the code has asked for, and what it was told: for numbers of
        another truth the code may do something else.
    frames : dict
        Of the Python functions that were running then, if they are kept for their local names.
    """

    def __init__(self, keep_frames: bool = False) -> None:
        self.branches: list[tuple[Symbol, bool]] = []
        self.frames: dict[int, Any] | None = {} if keep_frames else None

    def symbol(self, name: str, value: Any) -> Symbol:
        """A symbol for an array or a number."""
        return Symbol(value, self, name)

    def call(self, function: Callable[..., Any], inputs: Any, attrs: Any) -> Symbol:
        """The result of ``function(*inputs, **attrs)``."""
        if "out" in attrs:
            raise Untraceable(f"{_name(function)} writes into an array")
        with np.errstate(all="ignore"):
            value = function(*plain(inputs), **plain(attrs))
        if not isinstance(value, np.ndarray | np.generic | bool | int | float):
            raise Untraceable(f"{_name(function)} makes a {type(value).__name__}")
        if isinstance(value, np.generic):                  # numbers stay weak beside arrays
            arrays = any(isinstance(x, np.ndarray) for x in plain(tuple(inputs)))
            value = np.asarray(value) if arrays else value.item()
        if self.frames is not None:
            frame = sys._getframe(1)
            while frame is not None:
                self.frames[id(frame)] = frame
                frame = frame.f_back                                   # type: ignore[assignment]
        return Symbol(value, self, None, function, tuple(inputs), dict(attrs))

    def apply(self, op: Op, inputs: Any, attrs: Any) -> Symbol:
        """The result of an operation of the table, as one call."""
        return self.call(op, inputs, attrs)

    def check(self, test: Callable[..., None], inputs: Any) -> None:
        """Run a test of values, which makes nothing."""
        test(*plain(inputs))

    def put(self, x: Symbol, places: Any, values: Any) -> None:
        """``x.put(places, values)``, which changes x."""
        raise Untraceable("put() writes into an array")

    def decide(self, x: Symbol) -> bool:
        """The truth of a symbol, on which the code branches."""
        if x.ndim:
            raise Untraceable("it branches on the values of an array")
        answer = bool(x.array)
        self.branches.append((x, answer))
        return answer

    def name_locals(self) -> None:
        """Name what has no name after the variables that hold it where the code has ended."""
        for frame in reversed((self.frames or {}).values()):           # from the outermost inwards
            if frame.f_globals.get("__name__") in (__name__, "numpy.lib.mixins"):
                continue
            for name, x in frame.f_locals.items():
                if isinstance(x, Symbol) and x.trace is self and x.name is None:
                    x.name = name
        self.frames = None


class Symbol(np.lib.mixins.NDArrayOperatorsMixin):
    """An array or a number in code that is traced.

    Attributes
    ----------
    array : ndarray or number
        What it stands for.
    trace : Trace
    name : str or None
    function, inputs, attrs
        The call that made it; ``None, (), {}`` for what the code was given.

    Examples
    --------
    >>> import numpy as np
    >>> trace = Trace()
    >>> g, z = trace.symbol("g", np.ones(3)), trace.symbol("z", np.zeros(3))
    >>> text(g * (1 - z * z))
    'g · (1 − z · z)'
    """

    __slots__ = ("array", "attrs", "function", "inputs", "name", "trace")

    def __init__(
        self, value: Any, trace: Trace, name: str | None = None,
        function: Callable[..., Any] | None = None, inputs: tuple[Any, ...] = (),
        attrs: Mapping[str, Any] = {},
    ) -> None:
        self.array, self.trace, self.name = value, trace, name
        self.function, self.inputs, self.attrs = function, inputs, attrs

    shape = property(lambda self: np.shape(self.array))
    ndim = property(lambda self: np.ndim(self.array))
    size = property(lambda self: np.size(self.array))
    dtype = property(lambda self: np.asarray(self.array).dtype)
    itemsize = property(lambda self: self.dtype.itemsize)
    T = property(lambda self: self.transpose())
    mT = property(lambda self: self.swapaxes(-1, -2))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Symbol:
        return self.trace.call(operator.getitem, (self, index), {})

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **attrs: Any) -> Symbol:
        if method == "at":
            raise Untraceable("ufunc.at() writes into an array")
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return self.trace.call(function, inputs, attrs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in ABOUT_THE_SHAPE:
            return func(*plain(args), **kwargs)
        if func in _WRITING or "out" in kwargs:
            raise Untraceable(f"{_name(func)} writes into an array")
        return self.trace.call(func, args, dict(kwargs))

    def __apply_op__(self, op: Op, inputs: Any, attrs: Any) -> Any:
        return self.trace.apply(op, inputs, attrs)

    def __check__(self, test: Callable[..., None], inputs: Any) -> None:
        self.trace.check(test, inputs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "put":
            return partial(self.trace.put, self)
        method = getattr(np.ndarray, name, None)
        if not callable(method) or name in _CHANGING:
            raise Untraceable(f".{name} of an array")
        return lambda *args, **attrs: self.trace.call(method, (self, *args), attrs)

    def __bool__(self) -> bool:
        return self.trace.decide(self)

    def _refuse(self, *args: Any) -> Any:
        raise Untraceable("it asks for the values of an array")

    __array__ = __float__ = __int__ = __index__ = __iter__ = __setitem__ = _refuse
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Symbol({text(self)})"


_CHANGING = {"fill", "itemset", "partition", "resize", "setfield", "setflags", "sort", "byteswap",
             "tofile", "tolist", "tobytes", "item", "dump", "dumps", "view", "nonzero"}
_WRITING = {np.copyto, np.put, np.putmask, np.place, np.put_along_axis, np.fill_diagonal}
ABOUT_THE_SHAPE = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type}


def plain(x: Any) -> Any:
    """A nest with arrays and numbers where it has symbols."""
    return x.array if isinstance(x, Symbol) else nested(plain, x)


def _name(function: Any) -> str:
    """What a function is called: ``sum`` for np.sum, np.add.reduce, ndarray.sum and ops.sum."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        return {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}.get(
            owner.__name__, owner.__name__)
    return function.name if isinstance(function, Op) else getattr(function, "__name__", "call")


# ---- text ----------------------------------------------------------------------------------------

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
    for name, binds, unicode, places, latex, inside in [
        ("add", _SUM, "{} + {}", (_SUM, _SUM), "", ()),
        ("subtract", _SUM, "{} − {}", (_SUM, _PRODUCT), "{} - {}", ()),
        ("multiply", _PRODUCT, "{} · {}", (_PRODUCT, _PRODUCT), r"{}\,{}", ()),
        ("divide", _PRODUCT, "{} / {}", (_PRODUCT, _SIGN), r"\frac{{{}}}{{{}}}", (0, 0)),
        ("reciprocal", _PRODUCT, "1 / {}", (_SIGN,), r"\frac{{1}}{{{}}}", (0,)),
        ("matmul", _PRODUCT, "{} @ {}", (_PRODUCT, _SIGN), r"{}\,{}", ()),
        ("dot", _PRODUCT, "{} @ {}", (_PRODUCT, _SIGN), r"{}\,{}", ()),
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
        ("sum", _ATOM, "Σ({})", (0,), r"\sum\left({}\right)", ()),
        ("prod", _ATOM, "Π({})", (0,), r"\prod\left({}\right)", ()),
        ("mean", _SIGN, "mean {}", (_ATOM,), r"\overline{{{}}}", (0,)),
        ("transpose", _POWER, "{}ᵀ", (_ATOM,), r"{}^\top", ()),
        ("swapaxes", _POWER, "{}ᵀ", (_ATOM,), r"{}^\top", ()),
        ("zeros_like", _ATOM, "0", (), "", ()),
        ("ones_like", _ATOM, "1", (), "", ()),
        ("getitem", _ATOM, "{}[…]", (_ATOM,), r"{}[\ldots]", ()),
        ("equal", _TRUTH, "{} = {}", (_SUM, _SUM), "", ()),
        ("not_equal", _TRUTH, "{} ≠ {}", (_SUM, _SUM), r"{} \ne {}", ()),
        ("greater", _TRUTH, "{} > {}", (_SUM, _SUM), "", ()),
        ("greater_equal", _TRUTH, "{} ≥ {}", (_SUM, _SUM), r"{} \ge {}", ()),
        ("less", _TRUTH, "{} < {}", (_SUM, _SUM), "", ()),
        ("less_equal", _TRUTH, "{} ≤ {}", (_SUM, _SUM), r"{} \le {}", ()),
        ("logical_and", _TRUTH, "{} and {}", (_TRUTH, _TRUTH), r"{} \wedge {}", ()),
        ("bitwise_and", _TRUTH, "{} and {}", (_TRUTH, _TRUTH), r"{} \wedge {}", ()),
        ("logical_or", _TRUTH, "{} or {}", (_TRUTH, _TRUTH), r"{} \vee {}", ()),
        ("bitwise_or", _TRUTH, "{} or {}", (_TRUTH, _TRUTH), r"{} \vee {}", ()),
        ("where", _CASES, "{1} where {0}, else {2}", (_CASES, _TRUTH, _CASES),
         r"{1}\text{{ where }}{0}\text{{, else }}{2}", ()),
    ]
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


def text(x: Any, notation: int = UNICODE, *, numbers: bool = False) -> str:
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
    for part in _inside([x], stop=lambda s: s is not x and s.name is not None):
        if part is not x:                                  # innermost first: no deep recursion
            typesetter.operand(part)
    return typesetter.whole(x)[0]


def written(
    function: Any, operands: Iterable[tuple[str, int]], notation: int = UNICODE
) -> tuple[str, int]:
    """A call, of operands that have been written: the text, and how strongly it binds.

    Parameters
    ----------
    function : callable or Op
    operands : iterable of (str, int)
        Each with how strongly it binds, as this function gives it; 6 for a name.
    """
    parts = list(operands)
    form = _FORMS.get(_name(function))
    if form is None or len(parts) < len(form[notation].places):
        name = _name(function)
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

    def operand(self, x: Any) -> tuple[str, int]:
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

    def whole(self, x: Any) -> tuple[str, int]:
        """An expression, and how strongly it binds."""
        if not isinstance(x, Symbol):
            entries = np.asarray(x)
            if entries.size and entries.dtype.kind in "fiub" and (entries == entries.flat[0]).all():
                return _value(entries.flat[0].item())
            return ("…", r"\ldots")[self.notation], _ATOM
        if x.function is None:
            return self.operand(x)
        name, inputs = _name(x.function), x.inputs
        if _guarded(x):
            return self.operand(inputs[2])
        if name in _SAME_VALUES or (name == "reshape" and _one_axes(x)):
            part, binds = self.operand(inputs[0])
            return self.counted(part, binds) if x.dtype.kind != "b" else (part, binds)
        if name in ("logical_and", "bitwise_and"):                     # a bound that is not there
            inputs = tuple(v for v in inputs if v is not True) or (True,)
            if len(inputs) == 1:
                return self.operand(inputs[0])
        members = [v for i in inputs for v in (i if isinstance(i, list | tuple) else (i,))]
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


def _value(x: Any) -> tuple[str, int]:
    """A number as an operand."""
    shown = str(x) if isinstance(x, bool) else number(x)
    return (f"({shown})" if shown.startswith("-") else shown), _POWER if "e" in shown else _ATOM


_CONDITIONAL = {"where", "logical_and", "logical_or", "bitwise_and", "bitwise_or"}


def _is_operand(x: Any, name: str) -> bool:
    """Whether an input is a value, rather than an axis, a shape or an index."""
    return isinstance(x, Symbol | np.ndarray) or (
        isinstance(x, int | float | np.generic) and name in ("power", *_FORMS)
        and name not in ("swapaxes", "transpose", "sum", "prod", "mean", "getitem"))


def _guarded(x: Symbol) -> bool:
    """Whether it is like ``where(x == 0, 1, x)``: the number only keeps an error away."""
    if _name(x.function) != "where" or len(x.inputs) < 3:
        return False
    mask, yes, no = x.inputs
    while isinstance(mask, Symbol) and mask.function is not None and _name(mask.function) in (
            "logical_and", "bitwise_and"):
        mask = mask.inputs[0]
    if not (isinstance(mask, Symbol) and mask.function is not None and isinstance(no, Symbol)):
        return False
    compared = [v for v in mask.inputs if isinstance(v, Symbol)]
    if _name(mask.function) != "equal" or isinstance(yes, Symbol):
        return False
    return any(v in _leaves(no) for c in compared for v in _leaves(c))


def _leaves(x: Any) -> set[Symbol]:
    """The symbols that an expression begins with."""
    return {s for s in _inside([x]) if s.function is None}


def _inside(ends: Iterable[Any], stop: Callable[[Symbol], bool] = lambda s: False) -> list[Symbol]:
    """All symbols in expressions, inputs before what is made of them."""
    order: dict[Symbol, None] = {}
    stack = [(x, False) for x in reversed(list(ends))]
    while stack:
        x, ready = stack.pop()
        if not isinstance(x, Symbol) or x in order:
            continue
        if ready or (stop(x) or not x.inputs):
            order[x] = None
            continue
        stack.append((x, True))
        members = [v for i in (*x.inputs, *x.attrs.values())
                   for v in (i if isinstance(i, list | tuple) else (i,))]
        stack += [(v, False) for v in reversed(members)]
    return list(order)


def _one_axes(x: Symbol) -> bool:
    """Whether a reshape takes away or puts in axes of length 1 only."""
    before = [n for n in np.shape(plain(x.inputs[0])) if n != 1]
    return before == [n for n in x.shape if n != 1]


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


def assignments(results: Mapping[str, Any]) -> list[tuple[str, Symbol]]:
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
    lines = [s for s in _inside(results.values()) if s.function is not None and s.name]
    reads = {s: set(_inside(s.inputs, stop=lambda x: x.name is not None)) for s in lines}
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
