"""What the calls of a program are, entry by entry: the terms, folds and products of loops.

    Term      ("add", "f4", term, term); an array is its slot, a number ("number", dtype, text)
    Entries   a slot whose entries are a term
    Fold      a slot that collects a term along some axes
    Pairs     a slot that is the product of two others
    Check     a term that must be true everywhere
    Scatter   a slot into which values are put, or added, at places of the flattened array

A call that is none of these is left to NumPy. What takes several steps (a variance, a softmax) is
written as the formula it is, in NumPy, and opened into these over slots of its own.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt import kernels
from tinygrad_opt.compiler.bound import put
from tinygrad_opt.compiler.capture import Result
from tinygrad_opt.compiler.native.elementary_functions import FUNCTIONS, SUPPORTED
from tinygrad_opt.compiler.program import Call, Program, Ref, Slot, address, owner_of, slots_in
from tinygrad_opt.compiler.tracing import Opaque, steps_of
from tinygrad_opt.ops import TABLE
from tinygrad_opt.recording import nested

__all__ = ["PLAIN", "Check", "Entries", "Fold", "Lowering", "Pairs", "Scatter", "Term"]

Term = Any

INTEGERS = {
    "add", "subtract", "multiply", "negative", "positive", "absolute", "square", "sign", "maximum",
    "minimum", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
    "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or"}
BOOLEANS = INTEGERS - {"subtract", "negative", "square", "sign", "absolute"} | {"invert"}


class Entries(NamedTuple):
    out: int
    term: Term


class Fold(NamedTuple):
    out: int
    name: str
    term: Term
    shape: tuple[int, ...]
    axes: tuple[int, ...]


class Pairs(NamedTuple):
    out: int
    a: int
    b: int


class Check(NamedTuple):
    term: Term
    shape: tuple[int, ...]


class Scatter(NamedTuple):
    out: int
    places: int
    values: int
    adds: bool = False


class Unknown(Exception):
    """A call that NumPy makes."""


def number(dtype: str, x: Any) -> Term:
    """A number as a term."""
    return "number", dtype, (float(x).hex() if dtype[0] == "f" else str(int(x)))


class Lowering:
    """The calls of a program, lowered one by one.

    Attributes
    ----------
    slots : list of Slot
        The program's, and behind them those that are needed in between.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.slots = program, [*program.slots]

    def of(self, call: Call) -> list[object] | None:
        """What a call is; None if NumPy makes it."""
        known = len(self.slots)
        try:
            kernel = call.kernel
            if isinstance(kernel, np.ufunc):
                made = self._ufunc(call)
            elif isinstance(getattr(kernel, "__self__", None), np.ufunc):
                made = self._reduce(call)
            else:
                made = self._by_table(call)
            if any(self.dtype(s) not in SUPPORTED for n in made for s in _slots_of(n)):
                raise Unknown
            return made
        except (Unknown, TypeError, AttributeError):       # as of options that are not known
            del self.slots[known:]
            return None

    # ---- slots and terms ----

    def dtype(self, slot: int) -> str:
        """The name of a dtype that loops know, or "other"."""
        own = self.slots[slot]
        odd = own.array is not None and not own.array.flags.aligned
        return "other" if odd or not own.dtype.isnative else own.dtype.str[1:]

    def temporary(self, shape: tuple[int, ...], dtype: str) -> int:
        """A new slot."""
        strides = np.empty(shape, dtype).strides if 0 not in shape else (0,) * len(shape)
        self.slots.append(Slot("temporary", shape, np.dtype(dtype), strides))
        return len(self.slots) - 1

    def view(self, slot: int, shape: Any, strides: Any, offset: int = 0) -> int:
        """A new slot that is a part of another one."""
        whole = self.slots[slot]
        base = slot if whole.base < 0 else whole.base
        self.slots.append(Slot("view", tuple(shape), whole.dtype, tuple(strides), base=base,
                               offset=whole.offset + offset))
        return len(self.slots) - 1

    def is_frozen(self, slot: int) -> bool:
        """Whether nobody can write to an array from outside."""
        array = self.slots[slot].array
        if self.slots[slot].kind != "constant" or array.flags.writeable:
            return False
        while isinstance(array.base, np.ndarray):
            array = array.base
        return not array.flags.writeable

    def term(self, x: Any, dtype: str) -> Term:
        """An input of a call as a term of a dtype."""
        if isinstance(x, Ref):
            slot = self.slots[x.slot]
            here = self.dtype(x.slot)
            if here not in SUPPORTED or (here[0] == "f" and dtype[0] in "iu"):
                raise Unknown
            if slot.array is not None and self.is_frozen(x.slot) and slot.array.size:
                first = slot.array.flat[0]
                if np.all(slot.array == first):            # zeros and ones that kernels keep
                    return number(dtype, first)
            return x.slot if here == dtype else ("cast", dtype, x.slot)
        if isinstance(x, bool | int | float | np.bool_ | np.integer | np.floating):
            if dtype not in SUPPORTED:
                raise Unknown
            return number(dtype, x)
        raise Unknown

    def kind(self, x: object) -> Any:
        """What NumPy goes by to choose dtypes."""
        if isinstance(x, Ref):
            return self.slots[x.slot].dtype
        if isinstance(x, np.generic | bool):
            return np.result_type(x)
        if isinstance(x, int | float):
            return type(x)
        raise Unknown

    # ---- calls ----

    def _by_table(self, call: Call) -> list[object]:
        kernel = call.kernel
        try:
            row = _TABLE.get(kernel) or _rows(len(TABLE)).get(kernel)
        except TypeError:                                  # it has no hash
            raise Unknown from None
        if row is not None:
            return row(self, call.output, *call.inputs, **call.attrs)
        plain = PLAIN.get(kernel) or getattr(kernel, "plain", None)
        if plain is None:
            raise Unknown
        if hasattr(kernel, "plain"):                       # ours make integers floats first
            self.must_be_alike(call.output, call.inputs)
        return self._opened(plain, call)

    def must_be_alike(self, out: int, inputs: object) -> None:
        """All arrays have the dtype of the result."""
        if any(self.dtype(slot) != self.dtype(out) for slot in slots_in(inputs)):
            raise Unknown

    def _opened(self, plain: Callable[..., object], call: Call) -> list[object]:
        """The calls of a formula, lowered, on slots of their own."""
        slots: dict[int, tuple[int, np.ndarray]] = {}      # by the number of an array, and it
        wholes: dict[int, tuple[int, np.ndarray]] = {}     # by the number of its memory's owner

        def known(array: np.ndarray, slot: int) -> None:
            slots[id(array)] = slot, array
            wholes.setdefault(id(owner_of(array)), (slot, array))

        def stand_in(x: object) -> Any:
            if not isinstance(x, Ref):
                return nested(stand_in, x)
            own = self.slots[x.slot]
            memory = np.zeros(sum(own.reach), np.uint8)
            array = np.ndarray(own.shape, own.dtype, memory, own.reach[0], own.strides)
            known(array, x.slot)
            return array

        def referred(x: object) -> Any:
            if not isinstance(x, np.ndarray):
                return nested(referred, x)
            if id(x) not in slots:                         # one that the formula makes by itself
                raise Unknown
            return Ref(slots[id(x)][0])

        with np.errstate(all="ignore"):
            try:
                steps, result = steps_of(plain, stand_in(call.inputs), stand_in(call.attrs))
            except Opaque:
                raise Unknown from None
        nodes: list[Any] = []
        for step in steps:
            made = step.made
            if made is None:
                raise Unknown
            if id(made) in slots:
                continue
            base = wholes.get(id(owner_of(made)))
            if base is not None:
                begin = address(made) - address(base[1])
                known(made, self.view(base[0], made.shape, made.strides, begin))
                continue
            slot = call.output if made is result else self.temporary(made.shape, made.dtype.str[1:])
            known(made, slot)
            lowered = self.of(Call(step.kernel, referred(step.inputs), referred(step.attrs), slot))
            if lowered is None:
                raise Unknown
            nodes += lowered
        if id(result) not in slots:
            raise Unknown
        if slots[id(result)][0] != call.output:
            nodes += _same(self, call.output, referred(result))
        return nodes

    def _ufunc(self, call: Call) -> list[object]:
        ufunc: Any = call.kernel
        name = ufunc.__name__
        if ufunc.signature is not None or ufunc.nout != 1 or call.attrs:
            if ufunc is np.matmul and not call.attrs:
                return _matmul(self, call.output, *call.inputs)
            raise Unknown
        *given, out = ufunc.resolve_dtypes((*map(self.kind, call.inputs), None))
        dtype = given[-1].str[1:]
        allowed = {"f": FUNCTIONS, "b": BOOLEANS}.get(dtype[0], INTEGERS)
        if name not in FUNCTIONS or name not in allowed or any(d != given[-1] for d in given):
            raise Unknown
        if name == "power":
            return [Entries(call.output, self._power(dtype, *call.inputs))]
        terms = [self.term(x, dtype) for x in call.inputs]
        if name in ("maximum", "minimum") and isinstance(terms[0], tuple):
            terms.sort(key=lambda t: isinstance(t, tuple) and t[0] == "number")   # the number last
        return [Entries(call.output, (name, out.str[1:], *terms))]

    def _power(self, dtype: str, x: object, y: object) -> Term:
        base, exponent = self.term(x, dtype), self.term(y, dtype)
        if isinstance(exponent, tuple) and exponent[0] == "number":
            n = float.fromhex(exponent[2])
            square = ("multiply", dtype, base, base)
            known = {0: number(dtype, 1), 1: ("positive", dtype, base), 2: square,
                     3: ("multiply", dtype, square, base), -1: ("reciprocal", dtype, base),
                     0.5: ("sqrt", dtype, base)}
            if n in known:
                return known[n]
        return "power", dtype, base, exponent

    def _reduce(self, call: Call) -> list[Any]:
        method: Any = call.kernel
        if method.__name__ != "reduce":
            raise Unknown
        return _fold(self, call.output, *call.inputs, name=method.__self__.__name__,
                     **{"axis": 0, **call.attrs} if len(call.inputs) < 2 else call.attrs)


def _slots_of(node: object) -> list[int]:
    found = [x for x in (getattr(node, n, None) for n in ("out", "a", "b", "places", "values"))
             if isinstance(x, int)]

    def inside(term: Any) -> None:
        if isinstance(term, int):
            found.append(term)
        elif term[0] != "number":
            for x in term[2:]:
                inside(x)

    if hasattr(node, "term"):
        inside(node.term)
    return found


def axes_of(axis: object, ndim: int) -> tuple[int, ...]:
    """An axis, several, or None for all."""
    given = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % ndim for a in given))


def _fold(low: Lowering, out: int, x: Any, axis: Any = None, dtype: Any = None, *,
          name: str, keepdims: bool = False, initial: Any = None) -> list[object]:
    """Sums, products, maxima, minima."""
    if not isinstance(x, Ref) or name not in ("add", "multiply", "maximum", "minimum"):
        raise Unknown
    shape, start = low.slots[x.slot].shape, {"maximum": -math.inf, "minimum": math.inf}.get(name)
    if initial is not None and initial != start and not (name == "add" and initial == 0):
        raise Unknown
    if start is not None and initial is None and 0 in shape:
        raise Unknown                                      # NumPy says that there is none
    return [Fold(out, name, low.term(x, low.dtype(out)), shape, axes_of(axis, len(shape)))]


def _folding(name: str) -> Callable[..., list[object]]:
    return lambda low, out, x, axis=None, dtype=None, **options: _fold(
        low, out, x, axis, dtype, name=name, **options)


def _product(low: Lowering, out: int, x: object, y: object) -> list[object]:
    """Products of matrices and vectors."""
    if not (isinstance(x, Ref) and isinstance(y, Ref)):
        raise Unknown
    a, b, dtype = low.slots[x.slot], low.slots[y.slot], low.dtype(out)
    alike = low.dtype(x.slot) == low.dtype(y.slot) == dtype
    if dtype[0] != "f" or not alike or 0 in (*a.shape, *b.shape):
        raise Unknown
    if len(a.shape) == len(b.shape) == 2:
        return [Pairs(out, x.slot, y.slot)]
    if len(a.shape) == 1 and len(b.shape) in (1, 2):
        column = b if len(b.shape) == 2 else None
        if column is not None and low.is_frozen(x.slot) and np.all(a.array == 1):
            return [Fold(out, "add", y.slot, b.shape, (0,))]
        across = x.slot if column is None else low.view(
            x.slot, b.shape, (a.strides[0], 0))
        return [Fold(out, "add", ("multiply", dtype, across, y.slot), b.shape, (0,))]
    if len(a.shape) == 2 and len(b.shape) == 1:
        down = low.view(y.slot, a.shape, (0, b.strides[0]))
        return [Fold(out, "add", ("multiply", dtype, x.slot, down), a.shape, (1,))]
    raise Unknown


def _matmul(low: Lowering, out: int, x: Any, y: Any) -> list[object]:
    made = low.slots[out]
    if len(made.shape) <= 2:
        return _product(low, out, x, y)
    lead = made.shape[:-2]
    if not 0 < math.prod(made.shape) or math.prod(lead) > 4096 or low.dtype(out)[0] != "f":
        raise Unknown
    nodes: list[Any] = []
    for at in np.ndindex(*lead):
        parts = []
        for s in (out, x.slot, y.slot):
            slot = low.slots[s]
            if len(slot.shape) < 2 or low.dtype(s) != low.dtype(out):
                raise Unknown
            skip = len(lead) - (len(slot.shape) - 2)
            offset = sum(i * stride for i, n, stride in zip(
                at[skip:], slot.shape, slot.strides) if n != 1)
            parts.append(low.view(s, slot.shape[-2:], slot.strides[-2:], offset))
        nodes.append(Pairs(*parts))
    return nodes


def _where(low: Lowering, out: int, mask: object, x: object, y: object) -> list[object]:
    dtype = low.dtype(out)
    return [Entries(out, ("where", dtype, low.term(mask, "b1"), low.term(x, dtype),
                          low.term(y, dtype)))]


def _same(low: Lowering, out: int, x: Any, *how: Any, copy: bool = True,
          order: str = "K") -> list[object]:
    """A copy, in another dtype or layout."""
    term = low.term(x, low.dtype(out))
    return [Entries(out, ("positive", low.dtype(out), term) if isinstance(term, int) else term)]


def _reshape(low: Lowering, out: int, x: Any, *shape: object) -> list[object]:
    """A copy in another shape: entries keep their order."""
    whole, made = low.slots[x.slot], low.slots[out]
    if made.strides != np.empty(made.shape, made.dtype).strides or 0 in made.shape:
        raise Unknown
    alike = low.view(out, whole.shape, np.empty(whole.shape, whole.dtype).strides)
    return _same(low, alike, x)


def _zeros(low: Lowering, out: int, x: object) -> list[object]:
    return [Entries(out, number(low.dtype(out), 0))]


def _pad(low: Lowering, out: int, x: Any, pads: Any, *, mode: str = "constant",
         constant_values: float = 0) -> list[object]:
    """The fill everywhere, then the array in its place."""
    made, inner = low.slots[out], low.slots[x.slot]
    if mode != "constant" or not isinstance(constant_values, int | float):
        raise Unknown
    offset = sum(before * stride for (before, _), stride in zip(pads, made.strides))
    return [Entries(out, number(low.dtype(out), constant_values)),
            *_over(low, low.view(out, inner.shape, made.strides, offset), x.slot)]


def _over(low: Lowering, part: int, term: Term) -> list[object]:
    """Write over a part of what has been written; reading it keeps the order of the two."""
    dtype = low.dtype(part)
    return [Entries(part, ("second", dtype, part, term))]


def _sum_to(low: Lowering, out: int, x: Any, shape: Any) -> list[object]:
    """Sums over the axes along which an input was stretched, stretched where one was taken away."""
    own, dtype = low.slots[x.slot], low.dtype(out)
    lead = len(own.shape) - len(shape)
    inner = own.shape[max(lead, 0):]
    first = len(shape) - len(inner)
    axes = tuple(range(max(lead, 0))) + tuple(
        max(lead, 0) + i for i, n in enumerate(inner) if shape[first + i] == 1 != n)
    if not axes:
        return _same(low, out, x)
    kept = tuple(1 if i in axes else n for i, n in enumerate(own.shape))
    total = low.temporary(kept[max(lead, 0):], dtype)
    narrow = low.view(total, kept, (0,) * max(lead, 0) + low.slots[total].strides)
    return [Fold(narrow, "add", low.term(x, dtype), own.shape, axes), *_same(low, out, Ref(total))]


def _add_windows(low: Lowering, out: int, w: Any, size: Any, stride: Any,
                 shape: Any = None) -> list[object]:
    """Zeros, with each window added where it was taken from."""
    made, windows, dtype = low.slots[out], low.slots[w.slot], low.dtype(out)
    axes = len(size)
    lead = len(made.shape) - axes
    nodes: list[Any] = [Entries(out, number(dtype, 0))]
    for at in np.ndindex(*size):
        steps = made.strides[lead:]
        place = low.view(out, windows.shape[:-axes], (
            *made.strides[:lead], *(s * step for s, step in zip(stride, steps))),
            sum(o * step for o, step in zip(at, steps)))
        entry = low.view(w.slot, windows.shape[:-axes], windows.strides[:-axes],
                         sum(o * s for o, s in zip(at, windows.strides[-axes:])))
        nodes.append(Entries(place, ("add", dtype, place, entry)))
    return nodes


def _unwindowed(
    low: Lowering, out: int, g: object, z: object, x: object, **attrs: object
) -> list[object]:
    return _add_windows(low, out, g, **attrs)


def _joined(low: Lowering, out: int, arrays: Any, axis: int = 0) -> list[object]:
    """np.concatenate: each array copied into its part."""
    made = low.slots[out]
    axis, begin, nodes = axis % len(made.shape), 0, []
    for x in arrays:
        n = low.slots[x.slot].shape[axis]
        part = low.view(out, low.slots[x.slot].shape, made.strides, begin * made.strides[axis])
        nodes += _same(low, part, x)
        begin += n
    return nodes


def _stacked(low: Lowering, out: int, arrays: Any, axis: int = 0) -> list[object]:
    made = low.slots[out]
    axis, nodes = axis % len(made.shape), []
    inner = made.strides[:axis] + made.strides[axis + 1 :]
    for i, x in enumerate(arrays):
        part = low.view(out, low.slots[x.slot].shape, inner, i * made.strides[axis])
        nodes += _same(low, part, x)
    return nodes


def _entrywise(name: str) -> Callable[..., list[object]]:
    """A function of each entry that is no ufunc."""
    def row(low: Lowering, out: int, x: Any) -> list[Any]:
        dtype = low.dtype(out)
        if dtype != low.dtype(x.slot):
            raise Unknown
        return [Entries(out, (name, dtype, x.slot))]
    return row


def _clipped(x: Any, low: Any, high: Any) -> Any:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _take(low: Lowering, out: int, x: Any, places: object, axis: int | None = None) -> list[object]:
    """Entries of an array without gaps at places of it, or its rows; the places are checked."""
    whole = low.slots[x.slot]
    rows = axis is not None and axis % len(whole.shape) == 0
    if not _is_plain(whole) or not isinstance(places, Ref) or (axis is not None and not rows):
        raise Unknown
    count, width = (whole.shape[0], math.prod(whole.shape[1:])) if rows else (
        math.prod(whole.shape), 1)
    made, index = low.slots[out], low.slots[places.slot]
    where, check = _places(low, places, count, width)
    if not rows:
        return [check, Entries(out, ("load", low.dtype(out), low.view(
            x.slot, made.shape, (0,) * len(made.shape)), where))]
    start = low.temporary(index.shape, "i8")
    inner = len(made.shape) - len(index.shape)
    wide = low.view(start, made.shape, low.slots[start].strides + (0,) * inner)
    row = low.view(x.slot, made.shape, (0,) * len(index.shape) + whole.strides[1:])
    return [check, Entries(start, where), Entries(out, ("load", low.dtype(out), row, wide))]


def _untake(low: Lowering, out: int, g: Any, z: object, x: object, places: Any,
            axis: int | None = None) -> list[object]:
    """Zeros, with rows added at places."""
    made, index = low.slots[out], low.slots[places.slot]
    if axis is None or axis % len(made.shape) or not _is_plain(made) or not isinstance(places, Ref):
        raise Unknown
    width = math.prod(made.shape[1:])
    where, check = _places(low, places, made.shape[0], width)
    start, rows = low.temporary(index.shape, "i8"), low.slots[g.slot]
    wide = low.view(start, rows.shape, low.slots[start].strides + (0,) * (
        len(rows.shape) - len(index.shape)))
    return [check, Entries(out, number(low.dtype(out), 0)), Entries(start, where),
            Scatter(out, wide, g.slot, adds=True)]


def _places(low: Lowering, places: Any, size: int, width: int = 1) -> tuple[Term, Check]:
    """Where the rows of some width begin, out of `size`, counted from the end where negative; and
    that there are such."""
    i = low.term(places, "i8")
    above = ("where", "i8", ("less", "b1", i, number("i8", 0)),
             ("add", "i8", i, number("i8", size)), i)
    inside = ("logical_and", "b1", ("greater_equal", "b1", above, number("i8", 0)),
              ("less", "b1", above, number("i8", size)))
    safe: Term = ("where", "i8", inside, above, number("i8", 0))
    if width != 1:
        safe = ("multiply", "i8", safe, number("i8", width))
    return safe, Check(inside, low.slots[places.slot].shape)


def _is_plain(slot: Slot) -> bool:
    """Whether it lies in memory row by row, without gaps."""
    return 0 not in slot.shape and slot.strides == np.empty(slot.shape, slot.dtype).strides


def _put(low: Lowering, out: int, x: object, places: object, values: object) -> list[object]:
    made = low.slots[out]
    if not (_is_plain(made) and isinstance(places, Ref) and isinstance(values, Ref)):
        raise Unknown
    shape = low.slots[places.slot].shape
    if low.slots[values.slot].shape != shape or low.dtype(values.slot) != low.dtype(out):
        raise Unknown
    where, check = _places(low, places, math.prod(made.shape))
    safe = low.temporary(shape, "i8")
    return [check, *_same(low, out, x), Entries(safe, where), Scatter(out, safe, values.slot)]


def _check_labels(low: Lowering, out: int, x: Any, labels: Any) -> list[object]:
    """That labels lie among the classes; their shape and dtype cannot change."""
    classes, (n,) = low.slots[x.slot].shape[1], low.slots[labels.slot].shape
    i = low.term(labels, "i8")
    term = ("logical_and", "b1", ("greater_equal", "b1", i, number("i8", 0)),
            ("less", "b1", i, number("i8", classes)))
    return [Check(term, (n,))]


def _picked(low: Lowering, slot: int, index: object) -> int:
    """A view of what slices and integers pick from a slot."""
    whole = low.slots[slot]
    parts = index if isinstance(index, tuple) else (index,)
    if not all(p is None or p is ... or isinstance(p, int | np.integer | slice) for p in parts):
        raise Unknown
    alike = np.ndarray(whole.shape, whole.dtype, np.zeros(sum(whole.reach), np.uint8),
                       whole.reach[0], whole.strides)
    part = alike[index if ... in parts else (*parts, ...)]
    if not part.size:
        raise Unknown
    return low.view(slot, part.shape, part.strides, address(part) - address(alike))


def _read(low: Lowering, out: int, x: Any, index: Any) -> list[Any]:
    """What slices and integers pick, copied."""
    return _same(low, out, Ref(_picked(low, x.slot, index)))


def _scatter(low: Lowering, out: int, g: object, index: object, shape: object) -> list[Any]:
    """Zeros, with g at what slices and integers pick."""
    place = _picked(low, out, index)
    return [Entries(out, number(low.dtype(out), 0)),
            *_over(low, place, low.term(g, low.dtype(out)))]


def _unread(
    low: Lowering, out: int, g: object, z: object, x: object, index: object
) -> list[object]:
    return _scatter(low, out, g, index, None)


def _var(x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    gap = x - np.mean(x, axis=axis, keepdims=True)
    total = np.sum(gap * gap, axis=axis, keepdims=keepdims)
    return total / (math.prod(x.shape[a] for a in axes_of(axis, x.ndim)) - ddof)


def _mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    count = math.prod(x.shape[a] for a in axes_of(axis, x.ndim))
    return np.sum(x, axis=axis, keepdims=keepdims) / count


def _softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def _log_softmax(x: Any, axis: int = -1) -> Any:
    t = x - np.max(x, axis=axis, keepdims=True)
    return t - np.log(np.sum(np.exp(t), axis=axis, keepdims=True))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


_TABLE: dict[object, Callable[..., list[object]]] = {
    np.sum: _folding("add"), np.ndarray.sum: _folding("add"),
    np.prod: _folding("multiply"), np.ndarray.prod: _folding("multiply"),
    np.max: _folding("maximum"), np.ndarray.max: _folding("maximum"),
    np.min: _folding("minimum"), np.ndarray.min: _folding("minimum"),
    np.dot: _product, np.ndarray.dot: _product, np.matmul: _matmul,
    np.where: _where, kernels.where: _where,
    np.copy: _same, np.ndarray.copy: _same, np.ndarray.astype: _same,
    np.ascontiguousarray: _same,
    np.reshape: _reshape, np.ndarray.reshape: _reshape,
    np.concatenate: _joined, np.stack: _stacked,
    kernels.scatter: _scatter, np.zeros_like: _zeros, np.pad: _pad, kernels.sum_to: _sum_to,
    kernels.erf: _entrywise("erf"),
    operator.getitem: _read, np.take: _take, np.ndarray.take: _take, put: _put,
    kernels.check_labels.__wrapped__: _check_labels,                   # type: ignore[attr-defined]
}

# what is a formula of others; kernels that have a plain form bring it along
PLAIN: dict[object, Callable[..., object]] = {
    np.mean: _mean, np.ndarray.mean: _mean, np.var: _var, np.ndarray.var: _var,
    np.clip: lambda x, low, high: _clipped(x, low, high),
    np.ndarray.clip: lambda x, low, high: _clipped(x, low, high),
    kernels.sigmoid: _sigmoid, kernels.softmax: _softmax, kernels.log_softmax: _log_softmax,
    kernels.softplus: lambda x: np.logaddexp(x, 0),
    kernels.log1p_exp_minus: lambda x: np.log1p(np.exp(-np.abs(x))),
    kernels.normal_cdf: lambda x: (1 + kernels.erf(x * math.sqrt(0.5))) * 0.5,
    kernels.elu: lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
}


@functools.cache
def _rows(count: int) -> dict[object, Callable[..., list[object]]]:
    """What later parts of the package have put into the operator table."""
    rows: dict[Any, Callable[..., list[Any]]] = {}
    if "windows" in TABLE:
        rows[_vjp("windows")] = _unwindowed
        rows[TABLE["add_windows"].kernel] = _add_windows
    rows[_vjp("take")] = _untake
    rows[_vjp("getitem")] = _unread
    return rows


def _vjp(name: str) -> Result:
    """The first VJP of a row."""
    vjp = TABLE[name].vjps[0]
    assert vjp is not None
    return Result(vjp)
