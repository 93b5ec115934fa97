"""The recorder that writes a program down while a step runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt.compiler.bound import put
from tinygrad_opt.compiler.program import Call, Program, Ref, Slot, slots_in
from tinygrad_opt.compiler.tracing import ABOUT_THE_SHAPE, steps_of
from tinygrad_opt.errors import CaptureError, captured_gradient, captured_read, subject
from tinygrad_opt.ops import TABLE
from tinygrad_opt.tensor import (
    Tensor,
    deliver,
    forget_gradients,
    nested,
    set_gradient,
    tick,
    values_of,
)

__all__ = ["Recorder"]

# Kernels that are a single call already, or that mean the same whenever they are called
_BOOK = {row.kernel for row in TABLE.values()}


class Recorder:
    """Writes calls and effects down; the engine's `tape` holds it and calls it.

    Arrays are known by identity: what a call made, what it made a view of, or what exists outside
    the program. Equal calls on equal slots are written once, calls on constants not at all.
    """

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.calls: list[Call] = []
        self.arguments: list[int] = []
        self.leaves: list[tuple[Tensor, np.ndarray]] = []
        self._slot_of: dict[int, int] = {}       # id of an array -> its slot
        self._memory: dict[int, tuple[int, int]] = {}   # id of an owner -> slot, where it begins
        self._written: dict[Any, int] = {}       # what was computed -> its slot
        self.seen: list[tuple[Any, str, Any]] = []      # (object, attribute, value) branched on
        self.fresh: list[Tensor] = []            # that had no gradient when the step began
        self.added_to: list[Tensor] = []         # whose gradients from before the step count
        self._forgotten: set[Tensor] = set()     # whose gradients were set by the step itself
        self._began = tick()
        self._modes = np.geterr()
        self._effects = 0
        self._weak: set[int] = set()             # ids of Tensors that stand for raw arrays
        self._alive: dict[int, Any] = {}         # by id, so that ids stay valid meanwhile

    def program(self, result: Any) -> Program:
        """The program of a step that has returned this."""
        return Program(self.slots, self.calls, self.arguments, self._refer(handed_out(result)),
                       self.leaves, seen=self.seen, fresh=self.fresh, added_to=self.added_to)

    # ---- what the engine tells it ----

    def feed(self, value: Any, name: str) -> Tensor:
        """A Tensor that stands for an array among the arguments while the step is captured."""
        array = _copy(values_of(value))
        taken = sum(self.slots[i].name.split(" ")[0] == name for i in self.arguments)
        name = f"{name} {taken}" if taken else name        # several in one argument
        fed = Tensor(array, name=name)
        self._alive[id(fed)] = fed
        if type(value) is not Tensor:
            self._weak.add(id(fed))
        self.arguments.append(self._add(_slot("argument", array, name=name, array=array), array))
        return fed

    def computed(self, op: Any, inputs: Any, attrs: dict[str, Any], z: Tensor) -> None:
        """An operation made z."""
        self._alive[id(z)] = z
        if all(id(x) in self._weak for x in inputs if type(x) is Tensor):
            self._weak.add(id(z))
        if id(z.array) not in self._slot_of:
            self._write(op.kernel, tuple(map(values_of, inputs)), attrs, z.array, inputs)

    def answered(self, function: Any, args: Any, kwargs: Any, result: Any) -> Any:
        """A function without a gradient was asked about Tensors: its answer is computed too."""
        if function in ABOUT_THE_SHAPE:
            return result
        if not isinstance(result, np.ndarray | np.generic):
            raise captured_read(next(x for x in args if type(x) is Tensor))
        answer = Tensor(np.asarray(result))
        self._alive[id(answer)] = answer
        self._weak.add(id(answer))
        if id(answer.array) not in self._slot_of:
            self._call(function, args, kwargs, answer.array)
        return answer

    def acted(self, action: Callable[..., None], args: Any) -> None:
        """Something was done that is not a computation."""
        if action is deliver:                              # to those that outlive the step
            arrived = [(t, self._refer(g)) for t, g in args[0] if self._outlives(t)]
            self.added_to += [t for t, _ in arrived if t not in self._forgotten]
            self.calls.append(Call(action, (arrived,)))
        else:
            if action is forget_gradients:
                self._forgotten.update(args[0])
            elif action is set_gradient:
                self._forgotten.add(args[0])
            self.calls.append(Call(action, self._refer(args, keep_tensors=True)))
        self._effects += 1

    def copied(self, source: Any, made: np.ndarray) -> None:
        """The values of a Tensor or an array were copied, for a Tensor with its own memory."""
        if (type(source) is Tensor or id(source) in self._slot_of
                or id(_owner(source)) in self._memory):
            self._call(np.ndarray.astype, (source, made.dtype), {}, made)

    def gradient_of(self, t: Tensor) -> Any:
        """What ``t.grad`` is inside the step, where it is known to be the same at each replay."""
        g = t.gradient
        if self._outlives(t) and t not in self._forgotten:
            self.fresh.append(t)
        if g is None or (type(g) is Tensor and id(g.array) in self._slot_of):
            return g
        if id(g) not in self._slot_of:
            raise captured_gradient(t)
        return Tensor(g)

    def is_weak(self, x: Tensor) -> bool:
        """Whether it stands for a raw array, which never decides a dtype."""
        return id(x) in self._weak

    def _outlives(self, t: Tensor) -> bool:
        """Whether it is a leaf that the step finds, rather than one that it makes each time."""
        slot = self._slot_of.get(id(t.array))
        if t.serial < self._began or slot is None:
            return t.op is None
        return t.op is None and self.slots[slot].kind == "leaf"

    # ---- how it writes ----

    def _write(self, kernel: Any, arrays: Any, attrs: Any, made: np.ndarray, inputs: Any) -> None:
        """Write a row's call down, as the calls that its kernel is made of where that can be."""
        made_of_calls = _is_book(kernel) and not isinstance(kernel, np.ufunc)
        if made_of_calls and not self._is_part(made, arrays):
            for x in inputs:
                if type(x) is Tensor:
                    self._slot(x.array, x)
            if self._looked_into(kernel, arrays, attrs, made):
                return
        self._call(kernel, inputs, attrs, made)

    def _looked_into(self, kernel: Any, arrays: Any, attrs: Any, made: np.ndarray) -> bool:
        """Write the calls that a kernel is made of; False if they do not make the same array."""
        try:
            steps, twin = steps_of(kernel, arrays, attrs)
        except Exception:                                  # whatever it is, the kernel itself works
            return False
        same = (twin.shape, twin.dtype, twin.strides) == (made.shape, made.dtype, made.strides)
        if not same or twin.tobytes() != made.tobytes() or self._is_part(twin, arrays):
            return False
        inner = [step.made for step in steps if step.made is not None]
        ids = {i for array in inner for i in (id(array), id(_owner(array)))}
        ids = {i for i in ids if i not in self._slot_of and i not in self._memory}
        for step in steps:
            if step.made is None:
                self.calls.append(Call(step.kernel, self._refer(step.inputs)))
            else:
                self._call(step.kernel, step.inputs, step.attrs, step.made)
        slot = self._slot_of[id(twin)]
        for table in (self._slot_of, self._memory, self._alive):
            for i in ids:                                  # nobody outside the kernel has seen them
                table.pop(i, None)
        self._alias(made, slot)
        return True

    def _is_part(self, made: np.ndarray, arrays: Any) -> bool:
        """Whether it lies in memory that is known already, or in that of the inputs."""
        owner = _owner(made)
        return id(owner) in self._memory or any(
            _owner(a) is owner for a in arrays if isinstance(a, np.ndarray))

    def _call(self, kernel: Any, inputs: Any, attrs: Any, made: np.ndarray) -> None:
        """Write one call down, unless its result is known or is a part of what is known."""
        call = Call(kernel, self._refer(tuple(inputs)), self._refer(attrs))
        if id(made) in self._slot_of:                      # astype and its kin may do nothing
            return
        reads = list(slots_in((call.inputs, call.attrs)))
        known = self._memory.get(id(_owner(made)))
        if known is not None:                              # a part of a temporary costs no call
            self._view(made, *known)
            return
        for s in reads:                                    # and so does a part of what is outside
            base = s if self.slots[s].base < 0 else self.slots[s].base
            outside = self.slots[base].array
            if outside is not None and _owner(outside) is _owner(made):
                offset = _address(made) - _address(outside)
                self._add(_slot("view", made, array=made, base=base, offset=offset), made)
                return
        if _is_pure(kernel):
            if all(map(self._is_frozen, reads)):
                constant = _copy(made)
                constant.flags.writeable = _owner(constant).flags.writeable = False
                self._add(_slot("constant", made, array=constant), made)
                return
            key = self._key(call, reads)
            if key in self._written:
                self._alias(made, self._written[key])
                return
            self._written[key] = len(self.slots)
        self._temporary(call, made)

    def _temporary(self, call: Call, made: np.ndarray) -> None:
        """A new array that this call makes."""
        slot = _slot("temporary", made)
        slot.offset = slot.reach[0]
        call.output = self._add(slot, made)
        self._memory[id(_owner(made))] = call.output, _address(made) - slot.offset
        modes = np.geterr()
        call.modes = modes if modes != self._modes else None
        self.calls.append(call)

    def _alias(self, made: np.ndarray, slot: int) -> None:
        """Take an array for one that is known: the same values in the same layout."""
        self._slot_of[id(made)] = slot
        self._alive[id(made)] = made
        part = self.slots[slot]
        base = slot if part.base < 0 else part.base
        if self.slots[base].kind == "temporary":
            self._memory[id(_owner(made))] = base, _address(made) - part.offset

    def _view(self, part: np.ndarray, base: int, begin: int) -> int:
        """A part of the memory of a temporary; the same part is the same slot."""
        offset = _address(part) - begin
        key = base, offset, part.shape, part.strides, part.dtype
        known = self._written.get(key)
        if known is None:
            known = self._written[key] = self._add(
                _slot("view", part, base=base, offset=offset), part)
        self._slot_of[id(part)] = known
        self._alive[id(part)] = part
        return known

    def _add(self, slot: Slot, array: np.ndarray) -> int:
        self._alive[id(array)] = array
        self.slots.append(slot)
        number = self._slot_of[id(array)] = len(self.slots) - 1
        return number

    def _slot(self, array: np.ndarray, tensor: Tensor | None = None) -> int:
        """The slot of an array; one that no call made exists outside the program."""
        known = self._slot_of.get(id(array))
        if known is not None:
            return known
        memory = self._memory.get(id(_owner(array)))
        if memory is not None:
            return self._view(array, *memory)
        if tensor is not None and tensor.op is not None and tensor.serial > self._began:
            raise CaptureError(
                f"{subject(tensor)} was computed in another thread than the compiled step that uses"
                " it: a replay would not compute it again. Compute it in the step, or pass it in."
            )
        if tensor is None or not array.flags.writeable:
            return self._add(_slot("constant", array, array=array), array)
        self.leaves.append((tensor, array))
        return self._add(_slot("leaf", array, name=tensor.name or "", array=array), array)

    def _refer(self, x: Any, keep_tensors: bool = False) -> Any:
        """The same nest with references where arrays stand."""
        if type(x) is Tensor and not keep_tensors:
            return Ref(self._slot(x.array, x))
        if isinstance(x, np.ndarray):
            return Ref(self._slot(x))
        return nested(lambda v: self._refer(v, keep_tensors), x)

    def _is_frozen(self, slot: int) -> bool:
        """Whether nobody can write to it."""
        array = self.slots[slot].array
        return (self.slots[slot].kind == "constant" and not array.flags.writeable
                and not _owner(array).flags.writeable)

    def _key(self, call: Call, reads: list[int]) -> Any:
        """Equal for calls that compute the same; effects may have written to what is outside."""
        outside = any(
            self.slots[s].array is not None and self.slots[s].kind != "argument"
            and not self._is_frozen(s) for s in reads)
        return (call.kernel, _frozen(call.inputs), _frozen(call.attrs),
                self._effects if outside else 0)


# ---- small things --------------------------------------------------------------------------------


def handed_out(x: Any) -> Any:
    """What a step returned, if it is of a kind that replays can make again."""
    if isinstance(x, dict):
        handed_out(list(x.values()))
    elif isinstance(x, list | tuple):
        for v in x:
            handed_out(v)
    elif not (x is None or type(x) is Tensor
              or isinstance(x, np.ndarray | np.generic | bool | int | float | str | bytes)):
        raise CaptureError(
            f"a compiled step returned {type(x).__name__!r}, in which a replay could not put new"
            " values. Return Tensors, numbers, or dicts, lists and tuples of them."
        )
    return x


def _slot(kind: str, like: np.ndarray, **rest: Any) -> Slot:
    return Slot(kind, like.shape, like.dtype, **{"strides": like.strides, **rest})


def _is_book(kernel: Any) -> bool:
    try:
        return kernel in _BOOK
    except TypeError:                                      # what has no hash is not in the book
        return False


def _is_pure(kernel: Any) -> bool:
    """Whether equal inputs give equal results: so do the rule book's kernels and NumPy's, but for
    its generators of random numbers."""
    module = getattr(kernel, "__module__", None) or ""
    return (
        kernel is put or _is_book(kernel)
        or isinstance(getattr(kernel, "__self__", kernel), np.ufunc)
        or getattr(kernel, "__objclass__", None) is np.ndarray
        or (module.split(".")[0] in ("numpy", "_operator") and ".random" not in module)
    )


def _frozen(x: Any) -> Any:
    """A nest of inputs as a key: 1, 1.0, True and -0.0 differ, as they do to NumPy."""
    if isinstance(x, Ref):
        return x
    if isinstance(x, list | tuple):
        return type(x), tuple(map(_frozen, x))
    if isinstance(x, dict):
        return tuple((k, _frozen(v)) for k, v in x.items())
    plain = x is None or isinstance(x, bool | int | float | str | slice | np.dtype | type)
    return type(x), repr(x) if plain or x is ... else id(x)


def _owner(array: Any) -> Any:
    """The array that owns the memory of this one."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "__array_interface__"):
        array = array.base
    return array


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _copy(array: Any) -> np.ndarray:
    """A copy that lies in memory as the array does, so that sums are rounded alike; if that
    would leave gaps, one without."""
    like = _slot("", np.asarray(array))
    below, above = like.reach
    if below + above > like.nbytes:
        return np.array(array)
    block = np.empty(below + above, np.uint8)
    copy = np.ndarray(like.shape, like.dtype, block, below, like.strides)
    np.copyto(copy, array)
    return copy
