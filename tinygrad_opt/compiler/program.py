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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_opt.recording import nested
from tinygrad_opt.tensor import Tensor

__all__ = ["Call", "Program", "Ref", "Slot", "address", "filled", "owner_of", "slots_in"]


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
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]
    name: str = ""
    array: Any = None
    base: int = -1
    offset: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of its entries."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def reach(self) -> tuple[int, int]:
        """Bytes from its first entry down to its lowest and up to the end of its highest."""
        if 0 in self.shape:
            return 0, 0
        ways = [(n - 1) * stride for n, stride in zip(self.shape, self.strides)]
        return (-sum(way for way in ways if way < 0),
                sum(way for way in ways if way > 0) + self.dtype.itemsize)


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

    kernel: Callable[..., Any]
    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    output: int = -1
    modes: Any = None

    @property
    def is_effect(self) -> bool:
        """Whether it acts on the world outside the program."""
        return self.output < 0

    @property
    def name(self) -> str:
        """What listings call the kernel."""
        return _name(self.kernel)


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
        self, slots: list[Slot], calls: list[Call], arguments: list[int], result: Any,
        leaves: list[tuple[Tensor, np.ndarray]], *, seen: Any = (), fresh: Any = (),
        added_to: Any = (),
    ) -> None:
        self.slots, self.calls = slots, calls
        self.arguments, self.result = arguments, result
        self.leaves, self.seen, self.fresh, self.added_to = leaves, seen, fresh, added_to
        self._drop_the_unread()

    def reads(self, call: Call) -> Iterator[int]:
        """The slots that own the memory that a call reads."""
        return map(self.root, slots_in((call.inputs, call.attrs)))

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
        wanted = set(map(self.root, slots_in(self.result)))
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
            if _signature((call.kernel, call.inputs, call.attrs)) != _signature(
                    (its.kernel, its.inputs, its.attrs)):
                return f"call {i + 1} was {lines[i]} and is {now[i]}"
        if len(lines) != len(now):
            return f"it made {len(lines)} calls and makes {len(now)}"
        for a, b in zip(self.slots, again.slots):
            if a.kind == "constant" and a.array is not b.array and not _same_values(a, b):
                return (f"an array of shape {a.shape} was {_short(a.array)} and is"
                        f" {_short(b.array)}")
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

        def shown(x: Any) -> str:
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
            slot = self.slots[i]
            if slot.kind == "constant" and slot.array.size == 1 and not slot.array.flags.writeable:
                names[i] = f"{slot.array.item():.6g}"
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


def _name(kernel: Any) -> str:
    """What a listing calls a kernel."""
    owner = getattr(kernel, "__self__", None)
    if isinstance(owner, np.ufunc):
        return f"{owner.__name__}.{kernel.__name__}"
    name = getattr(kernel, "__name__", repr(kernel))
    if owner is not None and not hasattr(owner, "__path__"):           # a module owns a builtin
        name = f"{type(owner).__name__}.{name.strip('_')}"
    return name.strip("_<>")


def _signature(x: Any) -> Any:
    """What two captures of the same call have in common."""
    if isinstance(x, Ref):
        return x.slot
    if isinstance(x, list | tuple):
        return tuple(map(_signature, x))
    if isinstance(x, dict):
        return tuple((k, _signature(v)) for k, v in x.items())
    code = getattr(x, "__code__", None)
    if code is not None:                                   # a function that the step defines
        return code, tuple(repr(cell.cell_contents) for cell in x.__closure__ or ())
    simple = x is None or isinstance(x, bool | int | float | str | slice | np.dtype)
    return repr(x) if simple else type(x)


def _same_values(a: Slot, b: Slot) -> bool:
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.array.tobytes() == b.array.tobytes()


def _short(array: np.ndarray) -> str:
    return np.array2string(array, threshold=4, edgeitems=2, precision=4).replace("\n", "")


def slots_in(x: Any) -> Iterator[int]:
    """The slots that inputs refer to, in lists, tuples and dicts too."""
    if isinstance(x, Ref):
        yield x.slot
    elif isinstance(x, list | tuple):
        for v in x:
            yield from slots_in(v)
    elif isinstance(x, dict):
        yield from slots_in(list(x.values()))


def filled(x: Any, arrays: list[Any]) -> Any:
    """Inputs with arrays where references stand, in lists, tuples and dicts too."""
    return arrays[x.slot] if isinstance(x, Ref) else nested(lambda v: filled(v, arrays), x)


def owner_of(array: Any) -> Any:
    """The array that owns the memory of this one."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "__array_interface__"):
        array = array.base
    return array


def address(array: np.ndarray) -> int:
    """Where the first entry of an array is."""
    where: int = array.__array_interface__["data"][0]
    return where
