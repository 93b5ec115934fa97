"""What the calls of a program are, entry by entry: the terms, folds and products of loops.

    Term      an array, as its slot; a number; what is read at places; a function of terms
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
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import NamedTuple, TypeAlias

import numpy as np

from tinygrad_opt import kernels
from tinygrad_opt.compiler.bound import put
from tinygrad_opt.compiler.capture import Result
from tinygrad_opt.compiler.native.elementary_functions import FUNCTIONS, SUPPORTED
from tinygrad_opt.compiler.native.loops import START
from tinygrad_opt.compiler.program import (
    Call,
    Program,
    Ref,
    Slot,
    address,
    filled,
    owner_of,
    row_major,
    slots_in,
)
from tinygrad_opt.compiler.tracing import Opaque, steps_of
from tinygrad_opt.ops import TABLE
from tinygrad_opt.recording import nested
from tinygrad_opt.typing import Array, Axis, Shape

__all__ = ["PLAIN", "Check", "Entries", "Fold", "Function", "Looped", "Lowering", "Node",
           "Pairs", "Scatter", "Term", "reads", "slots_of", "writes"]

INTEGERS = {
    "add", "subtract", "multiply", "negative", "positive", "absolute", "square", "sign", "maximum",
    "minimum", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
    "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or"}
BOOLEANS = INTEGERS - {"subtract", "negative", "square", "sign", "absolute"} | {"invert"}


class Function(NamedTuple):
    """What a row of `FUNCTIONS`, or a cast, makes of terms; or a "number", given as its text; or
    what is "gathered" from a slot at places that are a term."""

    name: str
    dtype: str
    operands: tuple[Term, ...] = ()
    text: str = ""


Term: TypeAlias = "int | Function"


class Entries(NamedTuple):
    out: int
    term: Term


class Fold(NamedTuple):
    out: int
    name: str
    term: Term
    shape: Shape
    axes: Shape


class Check(NamedTuple):
    term: Term
    shape: Shape


class Pairs(NamedTuple):
    out: int
    a: int
    b: int


class Scatter(NamedTuple):
    out: int
    places: int
    values: int
    adds: bool = False


Looped: TypeAlias = Entries | Fold | Check
Node: TypeAlias = Looped | Pairs | Scatter | Call
Nodes: TypeAlias = list[Node]
Index: TypeAlias = "int | slice | EllipsisType | None"
Row: TypeAlias = Callable[..., Nodes]     # of the nodes of a call: (low, out, *inputs, **attrs)


class Unknown(Exception):
    """A call that NumPy makes."""


def number(dtype: str, x: float | np.bool_ | np.integer | np.floating) -> Function:
    """A number as a term."""
    return Function("number", dtype, text=float(x).hex() if dtype[0] == "f" else str(int(x)))


def function(name: str, dtype: str, *operands: Term) -> Function:
    """A function of terms as a term."""
    return Function(name, dtype, operands)


def slots_of(term: Term) -> list[tuple[int, bool]]:
    """The slots that a term reads, and whether it does so at places that are computed."""
    if isinstance(term, int):
        return [(term, False)]
    if term.name == "gathered":
        slot, where = term.operands
        assert isinstance(slot, int)
        return [(slot, True), *slots_of(where)]
    return [read for x in term.operands for read in slots_of(x)]


def reads(node: Node) -> list[int]:
    """The slots that a node reads."""
    if isinstance(node, Call):
        return slots_in((node.inputs, node.attrs))
    if isinstance(node, Pairs):
        return [node.a, node.b]
    if isinstance(node, Scatter):
        return [node.places, node.values, node.out]
    return [slot for slot, _ in slots_of(node.term)]


def writes(node: Node) -> int:
    """The slot that a node writes, or -1."""
    return node.output if isinstance(node, Call) else -1 if isinstance(node, Check) else node.out


class Lowering:
    """The calls of a program, lowered one by one.

    Attributes
    ----------
    slots : list of Slot
        The program's, and behind them those that are needed in between.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.slots = program, [*program.slots]
        self._copied: dict[object, int] = {}               # parts of stacks -> what was copied

    def of(self, call: Call) -> Nodes | None:
        """What a call is; None if NumPy makes it."""
        known = len(self.slots)
        try:
            inputs = tuple(map(self._traced_back, call.inputs))
            call = Call(call.kernel, inputs, call.attrs, call.output)
            if isinstance(call.kernel, np.ufunc):
                made = self._ufunc(call, call.kernel)
            elif isinstance(call.owner, np.ufunc):
                made = self._reduce(call, call.owner)
            else:
                made = self._by_table(call)
            if any(self.dtype(s) not in SUPPORTED
                   for n in made for s in (*reads(n), writes(n)) if s >= 0):
                raise Unknown
            return made
        except (Unknown, Opaque, TypeError, AttributeError, KeyError):     # as of other options
            del self.slots[known:]
            return None

    # ---- slots and terms ----

    def copied(self, part: int, slot: int) -> None:
        """Note that a part of a stack is a copy of a slot: who reads it may read the slot."""
        if self.dtype(part) == self.dtype(slot):
            self._copied[self._place(part)] = slot

    def _traced_back(self, x: object) -> object:
        """Inputs with what was copied in place of its copies."""
        if isinstance(x, Ref):
            return Ref(self._copied.get(self._place(x.slot), x.slot))
        return nested(self._traced_back, x)

    def _place(self, slot: int) -> object:
        own = self.slots[slot]
        return own.base, own.offset, own.shape, own.strides, own.dtype

    def dtype(self, slot: int) -> str:
        """The name of a dtype that loops know, or "other"."""
        own = self.slots[slot]
        odd = own.array is not None and not own.array.flags.aligned
        return "other" if odd or not own.dtype.isnative else own.dtype.str[1:]

    def temporary(self, shape: Shape, dtype: str) -> int:
        """A new slot."""
        own = np.dtype(dtype)
        self.slots.append(Slot("temporary", shape, own, row_major(shape, own.itemsize)))
        return len(self.slots) - 1

    def view(self, slot: int, shape: Shape, strides: Shape, offset: int = 0) -> int:
        """A new slot that is a part of another one."""
        whole = self.slots[slot]
        base = slot if whole.base < 0 else whole.base
        self.slots.append(Slot("view", tuple(shape), whole.dtype, tuple(strides), base=base,
                               offset=whole.offset + offset))
        return len(self.slots) - 1

    def term(self, x: object, dtype: str) -> Term:
        """An input of a call as a term of a dtype."""
        if isinstance(x, Ref):
            slot, here = self.slots[x.slot], self.dtype(x.slot)
            if here not in SUPPORTED or (here[0] == "f" and dtype[0] in "iu"):
                raise Unknown
            if slot.array is not None and slot.is_frozen and slot.array.size:
                first = slot.array.flat[0]
                if np.all(slot.array == first):            # zeros and ones that kernels keep
                    return number(dtype, first)
            return x.slot if here == dtype else function("cast", dtype, x.slot)
        if isinstance(x, bool | int | float | np.bool_ | np.integer | np.floating):
            if dtype not in SUPPORTED:
                raise Unknown
            return number(dtype, x)
        raise Unknown

    def kind(self, x: object) -> np.dtype | type:
        """What NumPy goes by to choose dtypes."""
        if isinstance(x, Ref):
            return self.slots[x.slot].dtype
        if isinstance(x, np.generic | bool):
            return np.result_type(x)
        if isinstance(x, int | float):
            return type(x)
        raise Unknown

    # ---- calls ----

    def _by_table(self, call: Call) -> Nodes:
        kernel = call.kernel
        row = _TABLE.get(kernel) or _rows(len(TABLE)).get(kernel)
        if row is not None:
            return row(self, call.output, *call.inputs, **call.attrs)
        plain = PLAIN.get(kernel) or getattr(kernel, "plain", None)
        if plain is None:
            raise Unknown
        if hasattr(kernel, "plain"):                       # ours make integers floats first
            self.must_be_alike(call.output, call.inputs)
        return self._opened(plain, call)

    def plain(self, slot: int) -> Slot:
        """A slot that lies row by row, without gaps."""
        own = self.slots[slot]
        if not own.is_row_major or 0 in own.shape:
            raise Unknown
        return own

    def must_be_alike(self, out: int, inputs: object) -> None:
        """All arrays have the dtype of the result."""
        if any(self.dtype(slot) != self.dtype(out) for slot in slots_in(inputs)):
            raise Unknown

    def _opened(self, plain: Callable[..., object], call: Call) -> Nodes:
        """The calls of a formula, lowered, on slots of their own."""
        slots: dict[int, int] = {}                         # of arrays, by their ids
        begins: dict[int, tuple[int, int]] = {}            # by the id of who owns the memory

        def know(array: Array, slot: int) -> None:
            slots[id(array)] = slot
            begins.setdefault(id(owner_of(array)), (slot, address(array)))

        def referred(x: object) -> object:                 # an error of what it makes by itself
            return Ref(slots[id(x)]) if isinstance(x, np.ndarray) else nested(referred, x)

        reads = slots_in((call.inputs, call.attrs))
        arrays = {slot: self.slots[slot].apart() for slot in reads}
        for slot, array in arrays.items():
            know(array, slot)
        inputs, attrs = filled((call.inputs, call.attrs), arrays)
        with np.errstate(all="ignore"):
            steps, result = steps_of(plain, inputs, attrs)
        nodes: Nodes = []
        for step in steps:
            made = step.made
            if made is None:
                raise Unknown
            if id(made) in slots:
                continue
            if id(owner_of(made)) in begins:
                base, begin = begins[id(owner_of(made))]
                know(made, self.view(base, made.shape, made.strides, address(made) - begin))
                continue
            slot = call.output if made is result else self.temporary(made.shape, made.dtype.str[1:])
            know(made, slot)
            lowered = self.of(Call(
                step.kernel, tuple(map(referred, step.inputs)),
                {name: referred(x) for name, x in step.attrs.items()}, slot))
            if lowered is None:
                raise Unknown
            nodes += lowered
        end = slots[id(result)]
        return nodes if end == call.output else nodes + _same(self, call.output, Ref(end))

    def _ufunc(self, call: Call, ufunc: np.ufunc) -> Nodes:
        name = ufunc.__name__
        if ufunc.signature is not None or ufunc.nout != 1 or call.attrs:
            return self._by_table(call)                    # as np.matmul
        *given, out = ufunc.resolve_dtypes((*map(self.kind, call.inputs), None))
        dtype = given[-1].str[1:]
        allowed = {"f": FUNCTIONS, "b": BOOLEANS}.get(dtype[0], INTEGERS)
        if name not in FUNCTIONS or name not in allowed or any(d != given[-1] for d in given):
            raise Unknown
        terms = [self.term(x, dtype) for x in call.inputs]
        if name == "power":
            return [Entries(call.output, _power(dtype, *terms))]
        if name in ("maximum", "minimum") and not isinstance(terms[0], int):
            terms.sort(key=lambda t: getattr(t, "name", "") == "number")       # that is last
        return [Entries(call.output, function(name, out.str[1:], *terms))]

    def _reduce(self, call: Call, ufunc: np.ufunc) -> Nodes:
        if call.kernel.__name__ != "reduce":
            raise Unknown
        return _folding(ufunc.__name__)(
            self, call.output, *call.inputs,
            **{"axis": 0, **call.attrs} if len(call.inputs) < 2 else call.attrs)


def _power(dtype: str, base: Term, exponent: Term) -> Term:
    if isinstance(exponent, Function) and exponent.name == "number":
        n = float.fromhex(exponent.text)
        square = function("multiply", dtype, base, base)
        known: dict[float, Term] = {
            0: number(dtype, 1), 1: function("positive", dtype, base), 2: square,
            3: function("multiply", dtype, square, base), -1: function("reciprocal", dtype, base),
            0.5: function("sqrt", dtype, base)}
        if n in known:
            return known[n]
    return function("power", dtype, base, exponent)


# ---- rows ----------------------------------------------------------------------------------------


def axes_of(axis: Axis, ndim: int) -> Shape:
    """An axis, several, or None for all."""
    given = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % ndim for a in given))


def _folding(name: str) -> Row:
    """Sums, products, maxima, minima."""
    def row(low: Lowering, out: int, x: Ref, axis: Axis = None, dtype: object = None, *,
            keepdims: bool = False, initial: float | None = None) -> Nodes:
        shape = low.slots[x.slot].shape
        if initial not in (None, START[name]):
            raise Unknown
        if math.isinf(START[name]) and initial is None and 0 in shape:
            raise Unknown                                  # NumPy says that there is none
        return [Fold(out, name, low.term(x, low.dtype(out)), shape, axes_of(axis, len(shape)))]
    if name not in START:
        raise Unknown
    return row


def _product(low: Lowering, out: int, x: Ref, y: Ref) -> Nodes:
    """Products of matrices and vectors."""
    a, b, dtype = low.slots[x.slot], low.slots[y.slot], low.dtype(out)
    low.must_be_alike(out, (x, y))
    if dtype[0] != "f" or 0 in (*a.shape, *b.shape):
        raise Unknown
    if len(a.shape) == len(b.shape) == 2:
        return [Pairs(out, x.slot, y.slot)]
    if len(a.shape) == 1 and len(b.shape) in (1, 2):
        if len(b.shape) == 2 and a.is_frozen and np.all(a.array == 1):
            return [Fold(out, "add", y.slot, b.shape, (0,))]
        across = x.slot if len(b.shape) == 1 else low.view(x.slot, b.shape, (a.strides[0], 0))
        return [Fold(out, "add", function("multiply", dtype, across, y.slot), b.shape, (0,))]
    if len(a.shape) == 2 and len(b.shape) == 1:
        down = low.view(y.slot, a.shape, (0, b.strides[0]))
        return [Fold(out, "add", function("multiply", dtype, x.slot, down), a.shape, (1,))]
    raise Unknown


def _matmul(low: Lowering, out: int, x: Ref, y: Ref) -> Nodes:
    made = low.slots[out]
    if len(made.shape) <= 2:
        return _product(low, out, x, y)
    lead = made.shape[:-2]
    if not 0 < math.prod(made.shape) or math.prod(lead) > 4096 or low.dtype(out)[0] != "f":
        raise Unknown
    low.must_be_alike(out, (x, y))
    nodes: Nodes = []
    for at in np.ndindex(*lead):
        parts = []
        for s in (out, x.slot, y.slot):
            slot = low.slots[s]
            if len(slot.shape) < 2:
                raise Unknown
            skip = len(lead) - (len(slot.shape) - 2)
            offset = sum(i * stride for i, n, stride in zip(
                at[skip:], slot.shape, slot.strides) if n != 1)
            parts.append(low.view(s, slot.shape[-2:], slot.strides[-2:], offset))
        nodes.append(Pairs(*parts))
    return nodes


def _where(low: Lowering, out: int, mask: object, x: object, y: object) -> Nodes:
    dtype = low.dtype(out)
    return [Entries(out, function("where", dtype, low.term(mask, "b1"), low.term(x, dtype),
                                  low.term(y, dtype)))]


def _same(low: Lowering, out: int, x: object, *how: object, copy: bool = True,
          order: str = "K") -> Nodes:
    """A copy, in another dtype or layout."""
    dtype = low.dtype(out)
    term = low.term(x, dtype)
    return [Entries(out, function("positive", dtype, term) if isinstance(term, int) else term)]


def _reshape(low: Lowering, out: int, x: Ref, *shape: object) -> Nodes:
    """A copy in another shape: entries keep their order."""
    whole = low.slots[x.slot]
    strides = row_major(whole.shape, low.plain(out).dtype.itemsize)
    return _same(low, low.view(out, whole.shape, strides), x)


def _zeros(low: Lowering, out: int, x: object = None) -> Nodes:
    return [Entries(out, number(low.dtype(out), 0))]


def _pad(low: Lowering, out: int, x: Ref, pads: Sequence[tuple[int, int]], *,
         mode: str = "constant", constant_values: object = 0) -> Nodes:
    """The fill everywhere, then the array in its place."""
    made, inner = low.slots[out], low.slots[x.slot]
    if mode != "constant" or not isinstance(constant_values, int | float):
        raise Unknown
    offset = sum(before * stride for (before, _), stride in zip(pads, made.strides))
    return [Entries(out, number(low.dtype(out), constant_values)),
            *_over(low, low.view(out, inner.shape, made.strides, offset), x.slot)]


def _over(low: Lowering, part: int, term: Term) -> Nodes:
    """Write over a part of what has been written; reading it keeps the order of the two."""
    return [Entries(part, function("second", low.dtype(part), part, term))]


def _sum_to(low: Lowering, out: int, x: Ref, shape: Shape) -> Nodes:
    """Sums over the axes along which an input was stretched, stretched where one was taken away."""
    own, dtype = low.slots[x.slot], low.dtype(out)
    lead = max(len(own.shape) - len(shape), 0)
    inner = own.shape[lead:]
    first = len(shape) - len(inner)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(inner) if shape[first + i] == 1 != n)
    if not axes:
        return _same(low, out, x)
    kept = tuple(1 if i in axes else n for i, n in enumerate(own.shape))
    total = low.temporary(kept[lead:], dtype)
    narrow = low.view(total, kept, (0,) * lead + low.slots[total].strides)
    return [Fold(narrow, "add", low.term(x, dtype), own.shape, axes), *_same(low, out, Ref(total))]


def _add_windows(low: Lowering, out: int, w: Ref, size: Shape, stride: Shape,
                 shape: object = None) -> Nodes:
    """Zeros, with each window added where it was taken from."""
    made, windows, dtype = low.slots[out], low.slots[w.slot], low.dtype(out)
    axes = len(size)
    lead = len(made.shape) - axes
    nodes = _zeros(low, out)
    for at in np.ndindex(*size):
        steps = made.strides[lead:]
        place = low.view(out, windows.shape[:-axes], (
            *made.strides[:lead], *(s * step for s, step in zip(stride, steps))),
            sum(o * step for o, step in zip(at, steps)))
        entry = low.view(w.slot, windows.shape[:-axes], windows.strides[:-axes],
                         sum(o * s for o, s in zip(at, windows.strides[-axes:])))
        nodes.append(Entries(place, function("add", dtype, place, entry)))
    return nodes


def _joined(low: Lowering, out: int, arrays: Sequence[Ref], axis: int = 0) -> Nodes:
    """np.concatenate: each array copied into its part."""
    made, begin = low.slots[out], 0
    nodes: Nodes = []
    for x in arrays:
        shape = low.slots[x.slot].shape
        nodes += _same(low, low.view(out, shape, made.strides, begin * made.strides[axis]), x)
        begin += shape[axis]
    return nodes


def _stacked(low: Lowering, out: int, arrays: Sequence[Ref], axis: int = 0) -> Nodes:
    strides, nodes = [*low.slots[out].strides], []
    step = strides.pop(axis)
    for i, x in enumerate(arrays):
        part = low.view(out, low.slots[x.slot].shape, tuple(strides), i * step)
        nodes += _same(low, part, x)
        low.copied(part, x.slot)
    return nodes


def _erf(low: Lowering, out: int, x: Ref) -> Nodes:
    low.must_be_alike(out, x)
    return [Entries(out, function("erf", low.dtype(out), x.slot))]


def _take(low: Lowering, out: int, x: Ref, places: Ref, axis: int | None = None) -> Nodes:
    """Entries of an array without gaps at places of it, or its rows; the places are checked."""
    whole, made = low.plain(x.slot), low.slots[out]
    if axis is None:
        where, check = _places(low, places, math.prod(whole.shape))
        entry = low.view(x.slot, made.shape, (0,) * len(made.shape))
        return [check, Entries(out, function("gathered", low.dtype(out), entry, where))]
    nodes, begins = _rows_at(low, places, whole, axis, made.shape)
    rows = len(low.slots[places.slot].shape)
    row = low.view(x.slot, made.shape, (0,) * rows + whole.strides[1:])
    return [*nodes, Entries(out, function("gathered", low.dtype(out), row, begins))]


def _untake(low: Lowering, out: int, g: Ref, z: object, x: object, places: Ref,
            axis: int | None = None) -> Nodes:
    """Zeros, with rows added at places."""
    if axis is None:
        raise Unknown
    nodes, begins = _rows_at(low, places, low.plain(out), axis, low.slots[g.slot].shape)
    return [*nodes, *_zeros(low, out), Scatter(out, begins, g.slot, adds=True)]


def _rows_at(low: Lowering, places: Ref, whole: Slot, axis: int, shape: Shape) -> tuple[Nodes, int]:
    """Where the rows at places begin, as a slot of the shape that they make together."""
    if axis % len(whole.shape):
        raise Unknown
    where, check = _places(low, places, whole.shape[0], math.prod(whole.shape[1:]))
    begins = low.temporary(low.slots[places.slot].shape, "i8")
    strides = low.slots[begins].strides
    wide = low.view(begins, shape, strides + (0,) * (len(shape) - len(strides)))
    return [check, Entries(begins, where)], wide


def _places(low: Lowering, places: Ref, size: int, width: int = 1) -> tuple[Term, Check]:
    """Where the rows of some width begin, out of `size`, counted from the end where negative; and
    that there are such."""
    if not isinstance(places, Ref):
        raise Unknown
    i = low.term(places, "i8")
    above = function("where", "i8", function("less", "b1", i, number("i8", 0)),
                     function("add", "i8", i, number("i8", size)), i)
    inside = _is_below(above, size)
    safe = function("where", "i8", inside, above, number("i8", 0))
    if width != 1:
        safe = function("multiply", "i8", safe, number("i8", width))
    return safe, Check(inside, low.slots[places.slot].shape)


def _is_below(i: Term, size: int) -> Term:
    """That an integer lies in 0 … size − 1."""
    return function("logical_and", "b1", function("greater_equal", "b1", i, number("i8", 0)),
                    function("less", "b1", i, number("i8", size)))


def _put(low: Lowering, out: int, x: object, places: Ref, values: Ref) -> Nodes:
    made, shape = low.plain(out), low.slots[places.slot].shape
    low.must_be_alike(out, values)
    if low.slots[values.slot].shape != shape:
        raise Unknown
    where, check = _places(low, places, math.prod(made.shape))
    safe = low.temporary(shape, "i8")
    return [check, *_same(low, out, x), Entries(safe, where), Scatter(out, safe, values.slot)]


def _check_labels(low: Lowering, out: int, x: Ref, labels: Ref) -> Nodes:
    """That labels lie among the classes; their shape and dtype cannot change."""
    classes, shape = low.slots[x.slot].shape[1], low.slots[labels.slot].shape
    return [Check(_is_below(low.term(labels, "i8"), classes), shape)]


def _picked(low: Lowering, slot: int, index: Index | tuple[Index, ...]) -> int:
    """A view of what slices and integers pick from a slot."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(p is None or p is ... or isinstance(p, int | np.integer | slice) for p in parts):
        raise Unknown
    alike = low.slots[slot].apart()
    part = alike[index if ... in parts else (*parts, ...)]
    if not part.size:
        raise Unknown
    return low.view(slot, part.shape, part.strides, address(part) - address(alike))


def _read(low: Lowering, out: int, x: Ref, index: Index) -> Nodes:
    """What slices and integers pick, copied."""
    return _same(low, out, Ref(_picked(low, x.slot, index)))


def _scatter(low: Lowering, out: int, g: object, index: Index, shape: object = None) -> Nodes:
    """Zeros, with g at what slices and integers pick."""
    place = _picked(low, out, index)
    return [*_zeros(low, out), *_over(low, place, low.term(g, low.dtype(out)))]


# ---- formulas ------------------------------------------------------------------------------------


def _clipped(x: Array, low: Array | None, high: Array | None) -> Array:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _var(x: Array, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Array:
    gap = x - np.mean(x, axis=axis, keepdims=True)
    total = np.sum(gap * gap, axis=axis, keepdims=keepdims)
    return total / (_count(x, axis) - ddof)


def _mean(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    return np.sum(x, axis=axis, keepdims=keepdims) / _count(x, axis)


def _count(x: Array, axis: Axis) -> int:
    return math.prod(x.shape[a] for a in axes_of(axis, x.ndim))


def _softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def _log_softmax(x: Array, axis: int = -1) -> Array:
    t = x - np.max(x, axis=axis, keepdims=True)
    return t - np.log(np.sum(np.exp(t), axis=axis, keepdims=True))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


_TABLE: dict[object, Row] = {
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
    kernels.erf: _erf,
    operator.getitem: _read, np.take: _take, np.ndarray.take: _take, put: _put,
    kernels.check_labels.__wrapped__: _check_labels,                   # type: ignore[attr-defined]
}

# what is a formula of others; kernels that have a plain form bring it along
PLAIN: dict[object, Callable[..., object]] = {
    np.mean: _mean, np.ndarray.mean: _mean, np.var: _var, np.ndarray.var: _var,
    np.clip: _clipped, np.ndarray.clip: _clipped,
    kernels.sigmoid: _sigmoid, kernels.softmax: _softmax, kernels.log_softmax: _log_softmax,
    kernels.softplus: lambda x: np.logaddexp(x, 0),
    kernels.log1p_exp_minus: lambda x: np.log1p(np.exp(-np.abs(x))),
    kernels.normal_cdf: lambda x: (1 + kernels.erf(x * math.sqrt(0.5))) * 0.5,
    kernels.elu: lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
}


# of the first VJP of an operation
_VJPS: dict[str, Row] = {
    "windows": lambda low, out, g, z, x, **attrs: _add_windows(low, out, g, **attrs),
    "getitem": lambda low, out, g, z, x, index: _scatter(low, out, g, index),
    "take": _untake,
}


@functools.cache
def _rows(count: int) -> dict[object, Row]:
    """Rows of the operator table, into which later parts of the package put more."""
    rows: dict[object, Row] = {}
    for name, row in _VJPS.items():
        vjp = TABLE[name].vjps[0] if name in TABLE else None
        if vjp is not None:
            rows[Result(vjp)] = row
    if "add_windows" in TABLE:
        rows[TABLE["add_windows"].kernel] = _add_windows
    return rows
