"""A captured step as plain data: the arrays it works on, and the calls that it makes.

    Slot      an array: what it is, its shape and dtype, whose memory it is a part of
    Ref       a place in a call where the array of a slot goes
    Call      slots[output] = kernel(*inputs, **attrs), or an effect, which has no output
    Program   slots, calls, which slots are fed and which are the result

There are no closures and no memory in it: `bind` (tinygrad_opt.compiler.bound) makes what is run
from this alone, and so can another backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_opt.recording import nested
from tinygrad_opt.tensor import Tensor, deliver, forget_gradients, set_gradient, values_of
from tinygrad_opt.typing import Array, Shape

if TYPE_CHECKING:
    from numpy._core._ufunc_config import _ErrDict

__all__ = ["SETTING", "Call", "Modes", "Program", "Ref", "Slot", "address", "equal", "filled",
           "gradients_set", "is_random", "key_of", "members", "owner_of", "row_major", "slots_in"]

Modes: TypeAlias = "_ErrDict"            # what NumPy does about floating-point errors


@dataclass
class Slot:
    """An array of a program.

    Attributes
    ----------
    kind : {"argument", "leaf", "constant", "temporary", "view"}
        Fed at each call; a Tensor's own array; an array from outside; made by a call; a part of
        another slot.
    shape, dtype, strides
        As NumPy's.
    name : str
        What listings call it, if it has a name.
    array : ndarray or None
        The array, for what exists outside the program and for views of that; None for temporaries
        and their views.
    base, offset : int
        Of a view: the slot that owns the memory, and how many bytes into it the first entry is.
        A temporary has an offset too, where strides are negative.
    """

    kind: str
    shape: Shape
    dtype: np.dtype
    strides: Shape
    name: str = ""
    array: Array | None = None
    base: int = -1
    offset: int = 0

    @classmethod
    def like(cls, kind: str, array: Array, name: str = "", outside: Array | None = None,
             base: int = -1, offset: int = 0) -> Slot:
        """A slot for arrays that lie in memory as this one does."""
        return cls(kind, array.shape, array.dtype, array.strides, name, outside, base, offset)

    @property
    def nbytes(self) -> int:
        """Bytes of its entries."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def steps(self) -> Shape:
        """Its strides in entries."""
        return tuple(stride // self.dtype.itemsize for stride in self.strides)

    @property
    def reach(self) -> tuple[int, int]:
        """Bytes from its first entry down to its lowest and up to the end of its highest."""
        if 0 in self.shape:
            return 0, 0
        ways = [(n - 1) * stride for n, stride in zip(self.shape, self.strides)]
        return (-sum(way for way in ways if way < 0),
                sum(way for way in ways if way > 0) + self.dtype.itemsize)

    @property
    def is_frozen(self) -> bool:
        """Whether it is a constant that nobody can write to."""
        return (self.kind == "constant" and self.array is not None
                and not self.array.flags.writeable and not owner_of(self.array).flags.writeable)

    @property
    def is_row_major(self) -> bool:
        """Whether it lies in memory row by row, without gaps; axes of length 1 have no steps."""
        wanted = row_major(self.shape, self.dtype.itemsize)
        return 0 in self.shape or all(
            n == 1 or step == want for n, step, want in zip(self.shape, self.strides, wanted))

    def within(self, block: Array) -> Array:
        """Its array, in a block of memory."""
        begin = self.offset if self.nbytes else 0          # an empty block has no other place
        array: Array = np.ndarray(self.shape, self.dtype, block, begin, self.strides)
        return array

    def apart(self) -> Array:
        """An array that lies as it does, gaps included, in memory of its own."""
        below, above = self.reach
        block = np.zeros(below + above, np.uint8)
        array: Array = np.ndarray(self.shape, self.dtype, block, below, self.strides)
        return array


def row_major(shape: Shape, itemsize: int) -> Shape:
    """The strides of an array that lies in memory row by row."""
    return tuple(itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True)
class Ref:
    """A place in a call where the array of a slot goes."""

    slot: int
    is_tensor: bool = False                      # in a result: rather than an array


@dataclass
class Call:
    """``slots[output] = kernel(*inputs, **attrs)``; an effect has no output.

    `inputs` and `attrs` hold numbers and other constants, and `Ref`s to slots. `modes` are what
    NumPy is to do about floating-point errors, where that is not what it does outside.
    """

    kernel: Callable[..., object]
    inputs: tuple[object, ...]
    attrs: dict[str, object] = field(default_factory=dict)
    output: int = -1
    modes: Modes | None = None

    @property
    def is_effect(self) -> bool:
        """Whether it acts on the world outside the program."""
        return self.output < 0

    @property
    def is_elementwise(self) -> bool:
        """Whether it goes entry by entry."""
        return isinstance(self.kernel, np.ufunc) and self.kernel.signature is None

    @property
    def is_random(self) -> bool:
        """Whether it draws random numbers."""
        return is_random((*self.inputs, *self.attrs.values()))

    @property
    def owner(self) -> object:
        """What the kernel is a method of: ``np.add`` of ``np.add.reduce``."""
        return getattr(self.kernel, "__self__", None)

    @property
    def name(self) -> str:
        """What listings call the kernel."""
        name = getattr(self.kernel, "__name__", repr(self.kernel))
        if isinstance(self.owner, np.ufunc):
            return f"{self.owner.__name__}.{name}"
        if self.owner is not None and not hasattr(self.owner, "__path__"):   # as of a builtin
            name = f"{type(self.owner).__name__}.{name.strip('_')}"
        return name.strip("_<>")


class Program:
    """A captured step: slots, calls, and which slots are the arguments and the result.

    Calls that make what neither an effect nor the result depends on are dropped.

    Attributes
    ----------
    slots : list of Slot
    calls : list of Call
        In order; each slot is made by at most one call.
    arguments : list of int
        The slots that are fed, in the order of the arguments.
    result : Ref, constants, or lists, tuples and dicts of them
        What the step returns.
    leaves : list of (Tensor, ndarray)
        Tensors whose arrays are read; a program is stale once one of them has another array.
    seen : list of (object, str, value)
        Attributes that Python branched on; it is stale once one of them has another value.
    fresh : list of Tensor
        It is stale where one of these has a gradient when it begins.
    added_to : list of Tensor
        Those to whose earlier gradients it adds.
    """

    def __init__(
        self, slots: list[Slot], calls: list[Call], arguments: list[int], result: object,
        leaves: list[tuple[Tensor, Array]], *, seen: Sequence[tuple[object, str, object]] = (),
        fresh: Sequence[Tensor] = (), added_to: Sequence[Tensor] = (),
    ) -> None:
        self.slots, self.calls = slots, calls
        self.arguments, self.result = arguments, result
        self.leaves, self.seen, self.fresh, self.added_to = leaves, seen, fresh, added_to
        self._drop_the_unread()

    def reads(self, call: Call) -> Iterator[int]:
        """The slots that own the memory that a call reads."""
        return map(self.root, slots_in((call.inputs, call.attrs)))

    def slots_in(self, x: object) -> list[int]:
        """The slots that inputs, attributes or a result refer to."""
        return slots_in(x)

    def ends(self) -> set[int]:
        """The slots that own the memory of the result."""
        return set(map(self.root, slots_in(self.result)))

    def root(self, slot: int) -> int:
        """The slot that owns the memory of this one."""
        base = self.slots[slot].base
        return slot if base < 0 else base

    def lifetimes(self) -> dict[int, int]:
        """Of each slot that owns memory and is read, the place of the call that reads it last.

        What effects and the result read is read at the end: it may be looked at afterwards.
        """
        end = len(self.calls)
        last: dict[int, int] = {}
        for i, call in enumerate(self.calls):
            for slot in self.reads(call):
                last[slot] = end if call.is_effect else max(i, last.get(slot, 0))
        return last | {self.root(slot): end for slot in slots_in(self.result)}

    def _drop_the_unread(self) -> None:
        wanted = self.ends()
        kept = []
        for call in reversed(self.calls):
            if call.is_effect or call.output in wanted:
                wanted.update(self.reads(call))
                kept.append(call)
        self.calls = kept[::-1]

    def difference(self, again: Program) -> str:
        """The first thing that the step did otherwise when it was captured again; "" if nothing."""
        lines, now = self.lines(), again.lines()
        for i, (call, its) in enumerate(zip(self.calls, again.calls)):
            if key_of((call.kernel, call.inputs, call.attrs), _code_of) != key_of(
                    (its.kernel, its.inputs, its.attrs), _code_of):
                return f"call {i + 1} was {lines[i]} and is {now[i]}"
        if len(lines) != len(now):
            return f"it made {len(lines)} calls and makes {len(now)}"
        constants = ((a.array, b.array) for a, b in zip(self.slots, again.slots)
                     if a.kind == "constant" and a.array is not b.array)
        for a, b in constants:
            if a is not None and b is not None and not equal(a, b):
                return f"an array of shape {a.shape} was {_short(a)} and is {_short(b)}"
        return ""

    # ---- as text ----

    def __str__(self) -> str:
        """One call a line: ``%7 = dot(%0, layers.0.weight)  float32 (300, 64)``.

        The same step on the same shapes gives the same text.
        """
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The text of each call."""
        names = self.names()

        def shown(x: object) -> str:
            if isinstance(x, Ref):
                return names[self.root(x.slot)] + self.part(x.slot)
            if isinstance(x, Tensor):
                return x.name or "tensor"
            if isinstance(x, list | tuple):
                return f"({', '.join(map(shown, x))})"
            return getattr(x, "__qualname__", None) or repr(x)

        lines = []
        for call in self.calls:
            inside = [*map(shown, call.inputs), *(f"{k}={shown(v)}" for k, v in call.attrs.items())]
            text = f"{call.name}({', '.join(inside)})"
            if not call.is_effect:
                slot = self.slots[call.output]
                text = f"{names[call.output]} = {text}  {slot.dtype} {slot.shape}"
            lines.append(text)
        return lines

    def part(self, slot: int) -> str:
        """How a slot looks at the memory that it is a part of, ``.T``; nothing if it owns it."""
        view = self.slots[slot]
        return "" if view.base < 0 else _part(view, self.slots[view.base])

    def names(self) -> list[str]:
        """What listings call the slots: by their names, their values, or numbered in order."""
        counts = dict.fromkeys(("temporary", "constant", "leaf", "argument", "view"), 0)
        order = [call.output for call in self.calls if not call.is_effect]
        names = [slot.name for slot in self.slots]
        for i in [*order, *sorted(set(range(len(names))) - set(order))]:
            slot, array = self.slots[i], self.slots[i].array
            if (slot.kind == "constant" and array is not None and array.size == 1
                    and not array.flags.writeable):
                names[i] = f"{array.item():.6g}"
            elif not names[i]:
                short = "%" if slot.kind == "temporary" else f"{slot.kind} "
                names[i] = f"{short}{counts[slot.kind]}"
                counts[slot.kind] += 1
        return names


def _part(view: Slot, whole: Slot) -> str:
    """How a view looks at the memory of a slot."""
    if view.offset == whole.offset and view.dtype == whole.dtype:
        if (view.shape, view.strides) == (whole.shape[::-1], whole.strides[::-1]):
            return ".T"
        if math.prod(view.shape) == math.prod(whole.shape):
            return f".reshape{view.shape}".replace(",)", ")")
    return f"[byte {view.offset}: {view.shape} by {view.strides}]"


def key_of(x: object, other: Callable[[object], object]) -> object:
    """Inputs as a key: 1, 1.0, True and -0.0 differ, as they do to NumPy; `other` gives the key of
    what is no reference and no number."""
    if isinstance(x, Ref):
        return x
    if isinstance(x, list | tuple):
        return type(x), tuple([key_of(v, other) for v in x])
    if isinstance(x, dict):
        return tuple((k, key_of(v, other)) for k, v in x.items())
    simple = x is None or x is ... or isinstance(
        x, bool | int | float | str | slice | np.dtype | type)
    return type(x), repr(x) if simple else other(x)


def _code_of(x: object) -> object:
    """What two captures of a function that the step defines have in common."""
    cells = getattr(x, "__closure__", None) or ()
    return getattr(x, "__code__", None), tuple(repr(cell.cell_contents) for cell in cells)


def equal(a: object, b: object) -> bool:
    """Whether two results hold the same bits; one nan is as good as another."""
    return bool(_bits(a) == _bits(b))


def _bits(x: object) -> object:
    """The same, in lists, tuples and dicts too, with what can be compared for its arrays."""
    x = values_of(x)
    if not isinstance(x, np.ndarray | np.generic):
        return nested(_bits, x)
    array = np.asarray(x)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), array.dtype.type("nan"), array)
    return array.dtype, array.shape, array.tobytes()


def _short(array: Array) -> str:
    return np.array2string(array, threshold=4, edgeitems=2, precision=4).replace("\n", "")


_NESTED = list, tuple, dict              # made once: unions of types would be made at each call
_RANDOM = np.random.Generator, np.random.RandomState


def members(x: object) -> list[object]:
    """What is in lists, tuples and dicts, and in those that are in them; anything else itself."""
    if not isinstance(x, _NESTED):
        return [x]
    return [m for v in (x.values() if isinstance(x, dict) else x) for m in members(v)]


def slots_in(x: object) -> list[int]:
    """The slots that inputs refer to."""
    return [v.slot for v in members(x) if isinstance(v, Ref)]


def is_random(values: Iterable[object]) -> bool:
    """Whether a generator of random numbers is among them."""
    return any(isinstance(x, _RANDOM) for x in values)


SETTING = (deliver, forget_gradients, set_gradient)       # effects that move no array


def gradients_set(call: Call) -> Iterator[tuple[Tensor, Ref | None]]:
    """The Tensors whose gradients an effect of `SETTING` sets, and to what."""
    given: Any = call.inputs if call.kernel is set_gradient else call.inputs[0]
    if call.kernel is forget_gradients:
        yield from ((t, None) for t in given)
    else:
        yield from [given] if call.kernel is set_gradient else given


def filled(x: object, arrays: Mapping[int, Array]) -> Any:
    """Inputs with arrays where references stand, in lists, tuples and dicts too."""
    return arrays[x.slot] if isinstance(x, Ref) else nested(lambda v: filled(v, arrays), x)


def owner_of(array: Array) -> Array:
    """The array that owns the memory of this one."""
    base = array.base
    while base is not None and hasattr(base, "__array_interface__"):
        array, base = base, getattr(base, "base", None)
    return array


def address(array: Array) -> int:
    """Where the first entry of an array is."""
    where: int = array.__array_interface__["data"][0]
    return where
