"""What the calls of a program are, entry by entry: the terms, folds and products of loops.

    Term      ("add", "f4", term, term); an array is its slot, a number ("number", dtype, text)
    Entries   a slot whose entries are a term
    Fold      a slot that collects a term along some axes
    Pairs     a slot that is the product of two others
    Check     a term that must be true everywhere
    Scatter   a slot into which values are put, at places of the flattened array

A call that is none of these is left to NumPy. What takes several steps (a variance) is opened into
these, over slots of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt import kernels
from tinygrad_opt.compiler.bound import put
from tinygrad_opt.compiler.elementary import FUNCTIONS, SUPPORTED
from tinygrad_opt.compiler.program import Call, Program, Ref, Slot

__all__ = ["Check", "Entries", "Fold", "Lowering", "Pairs", "Scatter", "Term"]

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

    def of(self, call: Call) -> list[Any] | None:
        """What a call is; None if NumPy makes it."""
        known = len(self.slots)
        try:
            kernel = call.kernel
            if isinstance(kernel, np.ufunc):
                made = self._ufunc(call)
            elif isinstance(getattr(kernel, "__self__", None), np.ufunc):
                made = self._reduce(call)
            else:
                try:
                    row = _TABLE[kernel]
                except (KeyError, TypeError):
                    raise Unknown from None
                made = row(self, call.output, *call.inputs, **call.attrs)
            if any(self.dtype(s) not in SUPPORTED for n in made for s in _slots_of(n)):
                raise Unknown
            return made
        except (Unknown, TypeError):                       # TypeError: options that are not known
            del self.slots[known:]
            return None

    # ---- slots and terms ----

    def dtype(self, slot: int) -> str:
        return self.slots[slot].dtype.str[1:] if self.slots[slot].dtype.isnative else "other"

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

    def kind(self, x: Any) -> Any:
        """What NumPy goes by to choose dtypes."""
        if isinstance(x, Ref):
            return self.slots[x.slot].dtype
        if isinstance(x, np.generic | bool):
            return np.result_type(x)
        if isinstance(x, int | float):
            return type(x)
        raise Unknown

    # ---- calls ----

    def _ufunc(self, call: Call) -> list[Any]:
        ufunc: Any = call.kernel
        name = ufunc.__name__
        if ufunc.signature is not None or ufunc.nout != 1 or call.attrs:
            if ufunc is np.matmul and not call.attrs:
                return _product(self, call.output, *call.inputs)
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

    def _power(self, dtype: str, x: Any, y: Any) -> Term:
        base, exponent = self.term(x, dtype), self.term(y, dtype)
        if isinstance(exponent, tuple) and exponent[0] == "number":
            n = float.fromhex(exponent[2])
            square = ("multiply", dtype, base, base)
            known = {0: number(dtype, 1), 1: ("positive", dtype, base), 2: square,
                     3: ("multiply", dtype, square, base), -1: ("reciprocal", dtype, base)}
            if n in known:
                return known[int(n)]
        return "power", dtype, base, exponent

    def _reduce(self, call: Call) -> list[Any]:
        method: Any = call.kernel
        if method.__name__ != "reduce":
            raise Unknown
        return _fold(self, call.output, *call.inputs, name=method.__self__.__name__,
                     **{"axis": 0, **call.attrs} if len(call.inputs) < 2 else call.attrs)


def _slots_of(node: Any) -> list[int]:
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


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """An axis, several, or None for all."""
    given = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % ndim for a in given))


def _fold(low: Lowering, out: int, x: Any, axis: Any = None, dtype: Any = None, *,
          name: str, keepdims: bool = False, initial: Any = None) -> list[Any]:
    """Sums, products, maxima, minima."""
    if not isinstance(x, Ref) or name not in ("add", "multiply", "maximum", "minimum"):
        raise Unknown
    shape, start = low.slots[x.slot].shape, {"maximum": -math.inf, "minimum": math.inf}.get(name)
    if initial is not None and initial != start and not (name == "add" and initial == 0):
        raise Unknown
    if start is not None and initial is None and 0 in shape:
        raise Unknown                                      # NumPy says that there is none
    return [Fold(out, name, low.term(x, low.dtype(out)), shape, axes_of(axis, len(shape)))]


def _folding(name: str) -> Callable[..., list[Any]]:
    return lambda low, out, x, axis=None, dtype=None, **options: _fold(
        low, out, x, axis, dtype, name=name, **options)


def _mean(low: Lowering, out: int, x: Any, axis: Any = None, keepdims: bool = False) -> list[Any]:
    slot, made, dtype = low.slots[x.slot], low.slots[out], low.dtype(out)
    axes = axes_of(axis, len(slot.shape))
    count = math.prod(slot.shape[a] for a in axes)
    if not count or dtype[0] != "f":
        raise Unknown
    total = low.temporary(made.shape, dtype)
    return [Fold(total, "add", low.term(x, dtype), slot.shape, axes),
            Entries(out, ("divide", dtype, total, number(dtype, count)))]


def _var(low: Lowering, out: int, x: Any, axis: Any = None, ddof: int = 0,
         keepdims: bool = False) -> list[Any]:
    slot, dtype = low.slots[x.slot], low.dtype(out)
    axes = axes_of(axis, len(slot.shape))
    count = math.prod(slot.shape[a] for a in axes)
    if count <= ddof or dtype != low.dtype(x.slot):
        raise Unknown
    kept = tuple(1 if a in axes else n for a, n in enumerate(slot.shape))
    mean, squares = low.temporary(kept, dtype), low.temporary(low.slots[out].shape, dtype)
    gap = ("subtract", dtype, x.slot, mean)
    return [*_mean(low, mean, x, axis, True),
            Fold(squares, "add", ("multiply", dtype, gap, gap), slot.shape, axes),
            Entries(out, ("divide", dtype, squares, number(dtype, count - ddof)))]


def _product(low: Lowering, out: int, x: Any, y: Any) -> list[Any]:
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


def _matmul(low: Lowering, out: int, x: Any, y: Any) -> list[Any]:
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


def _where(low: Lowering, out: int, mask: Any, x: Any, y: Any) -> list[Any]:
    dtype = low.dtype(out)
    return [Entries(out, ("where", dtype, low.term(mask, "b1"), low.term(x, dtype),
                          low.term(y, dtype)))]


def _same(low: Lowering, out: int, x: Any, *how: Any, copy: bool = True,
          order: str = "K") -> list[Any]:
    """A copy, in another dtype or layout."""
    term = low.term(x, low.dtype(out))
    return [Entries(out, ("positive", low.dtype(out), term) if isinstance(term, int) else term)]


def _reshape(low: Lowering, out: int, x: Any, *shape: Any) -> list[Any]:
    """A copy in another shape: entries keep their order."""
    whole, made = low.slots[x.slot], low.slots[out]
    if made.strides != np.empty(made.shape, made.dtype).strides or 0 in made.shape:
        raise Unknown
    alike = low.view(out, whole.shape, np.empty(whole.shape, whole.dtype).strides)
    return _same(low, alike, x)


def _clip(low: Lowering, out: int, x: Any, least: Any, most: Any) -> list[Any]:
    dtype = low.dtype(out)
    term = low.term(x, dtype)
    for name, bound in (("maximum", least), ("minimum", most)):
        if bound is not None:
            term = (name, dtype, term, low.term(bound, dtype))
    return [Entries(out, term)]


def _joined(low: Lowering, out: int, arrays: Any, axis: int = 0) -> list[Any]:
    """np.concatenate: each array copied into its part."""
    made = low.slots[out]
    axis, begin, nodes = axis % len(made.shape), 0, []
    for x in arrays:
        n = low.slots[x.slot].shape[axis]
        part = low.view(out, low.slots[x.slot].shape, made.strides, begin * made.strides[axis])
        nodes += _same(low, part, x)
        begin += n
    return nodes


def _stacked(low: Lowering, out: int, arrays: Any, axis: int = 0) -> list[Any]:
    made = low.slots[out]
    axis, nodes = axis % len(made.shape), []
    inner = made.strides[:axis] + made.strides[axis + 1 :]
    for i, x in enumerate(arrays):
        part = low.view(out, low.slots[x.slot].shape, inner, i * made.strides[axis])
        nodes += _same(low, part, x)
    return nodes


def _take(low: Lowering, out: int, x: Any, places: Any) -> list[Any]:
    """Entries of an array without gaps at places of it, where they are checked."""
    whole = low.slots[x.slot]
    size = math.prod(whole.shape)
    if not _is_plain(whole) or not isinstance(places, Ref) or not size:
        raise Unknown
    where, check = _places(low, places, size)
    return [check, Entries(out, ("load", low.dtype(out), x.slot, where))]


def _places(low: Lowering, places: Any, size: int) -> tuple[Term, Check]:
    """Places of `size` entries, counted from the end where negative, and that they are such."""
    i = low.term(places, "i8")
    above = ("where", "i8", ("less", "b1", i, number("i8", 0)),
             ("add", "i8", i, number("i8", size)), i)
    inside = ("logical_and", "b1", ("greater_equal", "b1", above, number("i8", 0)),
              ("less", "b1", above, number("i8", size)))
    safe = ("where", "i8", inside, above, number("i8", 0))
    return safe, Check(inside, low.slots[places.slot].shape)


def _is_plain(slot: Slot) -> bool:
    """Whether it lies in memory row by row, without gaps."""
    return 0 not in slot.shape and slot.strides == np.empty(slot.shape, slot.dtype).strides


def _put(low: Lowering, out: int, x: Any, places: Any, values: Any) -> list[Any]:
    made = low.slots[out]
    if not (_is_plain(made) and isinstance(places, Ref) and isinstance(values, Ref)):
        raise Unknown
    shape = low.slots[places.slot].shape
    if low.slots[values.slot].shape != shape or low.dtype(values.slot) != low.dtype(out):
        raise Unknown
    where, check = _places(low, places, math.prod(made.shape))
    safe = low.temporary(shape, "i8")
    return [check, *_same(low, out, x), Entries(safe, where), Scatter(out, safe, values.slot)]


def _check_labels(low: Lowering, out: int, x: Any, labels: Any) -> list[Any]:
    """That labels lie among the classes; their shape and dtype cannot change."""
    classes, (n,) = low.slots[x.slot].shape[1], low.slots[labels.slot].shape
    i = low.term(labels, "i8")
    term = ("logical_and", "b1", ("greater_equal", "b1", i, number("i8", 0)),
            ("less", "b1", i, number("i8", classes)))
    return [Check(term, (n,))]


_TABLE: dict[Any, Callable[..., list[Any]]] = {
    np.sum: _folding("add"), np.ndarray.sum: _folding("add"),
    np.prod: _folding("multiply"), np.ndarray.prod: _folding("multiply"),
    np.max: _folding("maximum"), np.ndarray.max: _folding("maximum"),
    np.min: _folding("minimum"), np.ndarray.min: _folding("minimum"),
    np.mean: _mean, np.ndarray.mean: _mean, np.var: _var, np.ndarray.var: _var,
    np.dot: _product, np.ndarray.dot: _product, np.matmul: _matmul,
    np.where: _where, np.clip: _clip, np.ndarray.clip: _clip,
    np.copy: _same, np.ndarray.copy: _same, np.ndarray.astype: _same,
    np.ascontiguousarray: _same,
    np.reshape: _reshape, np.ndarray.reshape: _reshape,
    np.concatenate: _joined, np.stack: _stacked,
    np.ndarray.take: _take, put: _put, kernels.check_labels.__wrapped__: _check_labels,        # type: ignore[attr-defined]
}
