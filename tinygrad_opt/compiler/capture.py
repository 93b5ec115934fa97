"""The recorder that writes a program down while a step runs."""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar

import numpy as np

from tinygrad_opt.compiler.bound import put
from tinygrad_opt.compiler.program import (
    SETTING,
    Call,
    Program,
    Ref,
    Slot,
    address,
    gradients_set,
    is_random,
    key_of,
    members,
    owner_of,
    slots_in,
)
from tinygrad_opt.compiler.tracing import Step, steps_of
from tinygrad_opt.errors import (
    CaptureError,
    caller_line,
    captured_foreign,
    captured_gradient,
    captured_read,
    captured_write,
    line_text,
    subject,
)
from tinygrad_opt.kernels import is_duck
from tinygrad_opt.ops import TABLE, Joint, Op, VJPs
from tinygrad_opt.recording import nested, tick, tracer
from tinygrad_opt.symbols import ABOUT_THE_SHAPE, WRITING, Symbol, Trace, plain
from tinygrad_opt.tensor import (
    Tensor,
    apply,
    deep_values,
    deliver,
    values_of,
)
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["Recorder"]

R = TypeVar("R")
_KERNELS = {row.kernel for row in TABLE.values()}


class Recorder:
    """Writes calls and effects down; it is the engine's `tracer` while a step is captured.

    Arrays are known by identity: what a call made, what it made a view of, or what exists outside
    the program. Equal calls on equal slots are written once, calls on constants not at all.
    """

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.calls: list[Call] = []
        self.arguments: list[int] = []
        self.leaves: list[tuple[Tensor, Array]] = []
        self.seen: list[tuple[object, str, object]] = []   # object, attribute, value branched on
        self.fresh: list[Tensor] = []            # that had no gradient when the step began
        self.added_to: list[Tensor] = []         # whose gradients from before the step count
        self.refusal: Exception | None = None    # the first thing that a replay would leave out
        self._known: dict[int, tuple[int, Array]] = {}  # id of an array -> its slot, and itself
        self._owners: dict[int, tuple[int, int, Array]] = {}    # of the memory of temporaries: by
                                                 # id the slot, where it begins, the owner itself
        self._written: dict[object, int] = {}    # what was computed -> its slot
        self._forgotten: set[Tensor] = set()     # whose gradients were set by the step itself
        self._made: list[tuple[weakref.ref[object], tuple[str, int]]] = []     # by which line
        self._began = tick()
        self._modes = np.geterr()
        self._effects = 0
        self._trace = ArgumentTrace(self)

    def program(self, result: object) -> Program:
        """The program of a step that has returned this."""
        return Program(self.slots, self.calls, self.arguments,
                       self._refer(returned(result), is_result=True),
                       self.leaves, seen=self.seen, fresh=self.fresh, added_to=self.added_to)

    @property
    def arrays(self) -> dict[int, Array]:
        """The array of each slot."""
        return dict(self._known.values())

    def release(self) -> str:
        """Release what the capture has computed, and name the lines whose results somebody else
        still holds: a replay would not compute them anew."""
        for t in {*self._forgotten, *self.added_to, *self.fresh, *(t for t, _ in self.leaves)}:
            if (id(values_of(t._gradient)) in self._known
                    or _made_after(self._began, t._gradient)):         # no name may hold it here
                t._gradient = np.array(values_of(t._gradient))         # a replay leaves no graph
        self._known.clear()
        self._owners.clear()
        if any(ref() is not None for ref, _ in self._made):
            gc.collect()                                   # cycles of the caller's own
        alive = [x for ref, _ in self._made if (x := ref()) is not None]
        held = _held(alive) if alive else set()
        places = dict.fromkeys(place for ref, place in self._made if id(ref()) in held)
        return "; ".join(map(line_text, places))

    # ---- what the engine asks of it (tinygrad_opt.tensor.Tracer) ----

    def feed(self, value: Tensor | ArrayLike, name: str) -> object:
        """What stands for an array or a Tensor among the arguments while the step is captured."""
        if is_duck(values_of(value)):
            self.refuse(captured_foreign, value)
        array = _copy(np.asarray(values_of(value)))
        taken = sum(self.slots[i].name.split(" ")[0] == name for i in self.arguments)
        name = f"{name} {taken}" if taken else name        # several in one argument
        self.arguments.append(self._add(Slot.like("argument", array, name, array), array))
        given = Tensor(array, name=name) if type(value) is Tensor else self.lift(array, name)
        self._made.append((weakref.ref(given), caller_line()))
        return given

    def compute(
        self, function: Callable[..., object], inputs: Iterable[object], attrs: Mapping[str, object]
    ) -> tuple[Any, object]:
        """Call a function and write it down: an Op as the NumPy calls that its kernel makes."""
        inputs = tuple(inputs)
        self._know(inputs)
        arrays, attrs = deep_values(plain(inputs)), deep_values(plain(attrs))
        if isinstance(function, Op):
            known = TABLE.get(function.name) is function and not is_random(attrs.values())
            if function.shared is not None:                # once for the kernel and the VJPs
                attrs = {**attrs, "shared": self._run(function.shared, arrays, attrs, known)}
            return self._run(function.kernel, arrays, attrs, known), attrs.get("shared")
        made = function(*arrays, **attrs)
        if function in ABOUT_THE_SHAPE:
            return made, None
        if not isinstance(made, list | tuple | np.ndarray | np.generic):
            self.refuse(captured_read, next(x for x in inputs if hasattr(x, "shape")))
        return self._write(function, arrays, attrs, made), None

    def vjps(self, z: Tensor) -> VJPs:
        """The VJPs of the operation that made z, written down when they are called."""
        op = z.op
        assert op is not None                              # it was computed
        self._know((z, *z.inputs))
        known = TABLE.get(op.name) is op

        def traced(vjp: Callable[..., object]) -> Callable[..., Any]:
            def product(*operands: object, **attrs: object) -> object:
                return self.lift(self._run(Result(vjp), plain(operands), attrs, known))
            return product

        if isinstance(op.vjps, Joint):
            return Joint(traced(op.vjps.vjp))
        return [vjp and traced(vjp) for vjp in op.vjps]

    def lift(self, array: object, name: str | None = None) -> Any:
        """An array that the step has computed, as a symbol that records what is done with it."""
        if isinstance(array, list | tuple):
            return nested(self.lift, array)
        if isinstance(array, Symbol) or not isinstance(array, np.ndarray):
            return array
        return ArgumentArray(array, self._trace, name)

    def read(self, owner: object, name: str, value: object) -> Any:
        """Note an attribute that Python branches on; give a gradient that the step has computed."""
        if type(owner) is not Tensor:
            self.seen.append((owner, name, value))
            return value
        if name == "array":                                # another Tensor shares it
            self._know((owner,))
            return value
        if self._outlives(owner) and owner not in self._forgotten:
            self.fresh.append(owner)
        if value is None or type(value) is Tensor:
            return value
        if id(value) not in self._known:
            self.refuse(captured_gradient, owner)
        return self.lift(value)

    def act(self, action: Callable[..., None], args: Sequence[Any]) -> None:
        """Do something that is not a computation, now and at each replay."""
        args = plain(args)
        token = tracer.set(None)
        try:
            action(*args)
        finally:
            tracer.reset(token)
        if action is deliver:                              # to those that outlive the step
            arrived = [(t, self._refer(values_of(g))) for t, g in args[0] if self._outlives(t)]
            self.added_to += [t for t, _ in arrived if t not in self._forgotten]
            self.calls.append(Call(action, (arrived,)))
        else:
            call = Call(action, self._refer(tuple(args)))
            if action in SETTING:
                self._forgotten.update(t for t, _ in gradients_set(call))
            self.calls.append(call)
        self._effects += 1

    def refuse(self, error: Callable[[object], Exception], x: object) -> NoReturn:
        """Raise the error about x: a replay would not do this again, whoever catches it."""
        self.refusal = self.refusal or error(x)
        raise self.refusal

    def _outlives(self, t: Tensor) -> bool:
        """Whether it is a leaf that the step finds, rather than one that it makes each time."""
        known = self._known.get(id(t._array))
        found = t.serial < self._began or known is None or self.slots[known[0]].kind == "leaf"
        return t.op is None and found

    # ---- how it writes ----

    def _know(self, inputs: Iterable[object]) -> None:
        """Tensors that the step finds are leaves of the program."""
        for x in inputs:
            if type(x) is Tensor:
                self._slot(x._array, x)

    def _run(self, function: Callable[..., object], arrays: tuple[object, ...],
             attrs: Mapping[str, object], known: bool) -> Any:
        """Call a function and write it down; one of the table as the calls that it makes, if these
        make the same arrays as the function itself."""
        made = function(*arrays, **attrs)
        if known and not isinstance(function, np.ufunc):
            try:
                steps, result = steps_of(function, arrays, attrs)
            except Exception:                              # whatever it is, the function works
                steps, result = [], None
            if steps and self._same(result, made, steps):
                for step in steps:
                    if step.made is None:
                        self.calls.append(Call(step.kernel, self._refer(step.inputs)))
                    else:
                        self._call(step.kernel, step.inputs, step.attrs, step.made)
                return result
        return self._write(function, arrays, attrs, made)

    def _same(self, ends: object, made: object, steps: list[Step]) -> bool:
        """Whether what traced calls have made, or been given, is the same to the bit."""
        if isinstance(made, list | tuple):
            return isinstance(ends, list | tuple) and len(ends) == len(made) and all(
                self._same(e, m, steps) for e, m in zip(ends, made))
        if not isinstance(made, np.ndarray | np.generic):
            return type(ends) is type(made) and ends == made
        array = np.asarray(made)
        return (
            isinstance(ends, np.ndarray)
            and (ends.shape, ends.dtype, ends.strides) == (array.shape, array.dtype, array.strides)
            and ends.tobytes() == array.tobytes()
            and (any(ends is step.made for step in steps) or id(ends) in self._known)
        )

    def _write(self, function: Callable[..., object], inputs: Sequence[object],
               attrs: Mapping[str, object], made: object) -> Array | list[Array]:
        """Write down a call, or one for each of several results, which get memory of their own or
        that of an input."""
        if not isinstance(made, list | tuple):
            return self._call(function, inputs, attrs, made)
        owners = {id(owner_of(x)) for x in members(inputs) if isinstance(x, np.ndarray)}
        whole = function if isinstance(function, Result) else Result(function)
        return [
            self._call(replace(whole, member=i), inputs, attrs, member
                       if isinstance(member, np.ndarray) and id(owner_of(member)) in owners
                       else _copy(np.asarray(member)))
            for i, member in enumerate(made)]

    def _call(self, kernel: Callable[..., object], inputs: Sequence[object],
              attrs: Mapping[str, object], made: object) -> Array:
        """Write one call down, unless its result is known or is a part of what is known."""
        array = np.asarray(made)
        call = Call(kernel, *self._refer((tuple(inputs), dict(attrs))))
        if not self._is_known(call, array):
            slot, modes = Slot.like("temporary", array), np.geterr()
            slot.offset = slot.reach[0]
            call.output = self._add(slot, array)
            call.modes = modes if modes != self._modes else None
            self.calls.append(call)
        return array

    def _is_known(self, call: Call, made: Array) -> bool:
        """Whether it costs no call to have what a call has made, and note where it is then."""
        if self._found(made) is not None:                  # astype and its kin may do nothing
            return True
        reads = slots_in((call.inputs, call.attrs))
        for s in reads:                                    # a part of what is outside
            base = self._root(s)
            outside = self.slots[base].array
            if outside is not None and owner_of(outside) is owner_of(made):
                offset = address(made) - address(outside)
                self._add(Slot.like("view", made, "", made, base, offset), made)
                return True
        if not _is_pure(call.kernel) or call.is_random:
            return False
        if all(self.slots[s].is_frozen for s in reads):
            constant = _copy(made)
            constant.flags.writeable = owner_of(constant).flags.writeable = False
            self._add(Slot.like("constant", made, outside=constant), made)
            return True
        key = self._key(call, reads)
        if key in self._written:                           # the same values in the same layout
            self._note(made, self._written[key])
            return True
        self._written[key] = len(self.slots)
        return False

    def _found(self, array: Array) -> int | None:
        """The slot of an array that is known, or is a part of a temporary."""
        known = self._known.get(id(array))
        if known is not None:
            return known[0]
        memory = self._owners.get(id(owner_of(array)))
        if memory is None:
            return None
        base, begin, _ = memory
        view = Slot.like("view", array, base=base, offset=address(array) - begin)
        key = base, view.offset, view.shape, view.strides, view.dtype
        if key in self._written:                           # the same part is the same slot
            return self._note(array, self._written[key])
        number = self._written[key] = self._add(view, array)
        return number

    def _add(self, slot: Slot, array: Array) -> int:
        self.slots.append(slot)
        return self._note(array, len(self.slots) - 1)

    def _note(self, array: Array, number: int) -> int:
        """Hold an array of a slot while the capture lasts; note who computed it, and where."""
        self._known[id(array)] = number, array
        slot, owner = self.slots[number], owner_of(array)
        if slot.array is None:
            self._owners[id(owner)] = self._root(number), address(array) - slot.offset, owner
            self._made.append((weakref.ref(array), caller_line()))
        return number

    def _slot(self, array: Array, tensor: Tensor | None = None) -> int:
        """The slot of an array; one that no call made exists outside the program."""
        known = self._found(array)
        if known is not None:
            return known
        if is_duck(array):
            self.refuse(captured_foreign, array if tensor is None else tensor)
        if tensor is not None and tensor.op is not None and tensor.serial > self._began:
            raise CaptureError(
                f"{subject(tensor)} was computed in another thread than the compiled step that uses"
                " it: a replay would not compute it again. Compute it in the step, or pass it in."
            )
        if tensor is None or not array.flags.writeable:
            return self._add(Slot.like("constant", array, outside=array), array)
        self.leaves.append((tensor, array))
        return self._add(Slot.like("leaf", array, tensor.name or "", array), array)

    def _refer(self, x: object, is_result: bool = False) -> Any:
        """The same, in lists, tuples and dicts too, with references where arrays stand; for
        Tensors only in a result."""
        if type(x) is Tensor and is_result:
            return Ref(self._slot(x._array, x), is_tensor=True)
        if isinstance(x, np.ndarray):
            return Ref(self._slot(plain(x)))
        return nested(lambda v: self._refer(v, is_result), x)

    def _root(self, slot: int) -> int:
        """The slot that owns the memory of this one."""
        base = self.slots[slot].base
        return slot if base < 0 else base

    def _key(self, call: Call, reads: list[int]) -> object:
        """Equal for calls that compute the same; effects may have written to what is outside."""
        outside = any(
            self.slots[s].array is not None and not self.slots[s].is_frozen
            and self.slots[self._root(s)].kind != "argument" for s in reads)
        return call.kernel, key_of((call.inputs, call.attrs), id), self._effects if outside else 0


class ArgumentTrace(Trace):
    """What happens when NumPy's functions are called on arrays of a step that is captured."""

    keeps_primitives = True

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def call(
        self, function: Callable[..., object], inputs: Iterable[object], attrs: Mapping[str, object]
    ) -> Any:
        """Compute and write down, as NumPy does outside."""
        return self.recorder.lift(self.recorder.compute(function, inputs, attrs)[0])

    def decide(self, x: Symbol) -> bool:
        """A branch on values would be taken at the capture only."""
        self.recorder.refuse(captured_read, x)

    def put(self, x: Symbol, places: object, values: object) -> None:
        """Writing into an argument would be done at the capture only."""
        self.recorder.refuse(captured_write, x)


class ArgumentArray(Symbol):
    """An array in a step that is captured: an argument, or computed from one by NumPy.

    It does what the array does that stands there when the step runs as it is written. What looks at
    its values, or writes into it, is refused.
    """

    __slots__ = ("__weakref__",)

    trace: ArgumentTrace

    __class__ = property(lambda self: np.ndarray)
    base = None

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: object, **attrs: object
    ) -> Any:
        if attrs.get("out") is not None or method == "at":             # as x += 1 has
            self._refuse_write()
        if any(type(x) is Tensor for x in inputs):
            return NotImplemented
        return super().__array_ufunc__(ufunc, method, *inputs, **attrs)

    def __apply_op__(
        self, op: Op, inputs: Sequence[object], attrs: Mapping[str, object]
    ) -> object:
        if any(type(x) is Tensor for x in inputs):
            return apply(op, *inputs, **attrs)
        return super().__apply_op__(op, inputs, attrs)

    def __array_function__(self, func: Callable[..., object], types: Any,
                           args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        if Tensor in types:
            return NotImplemented
        if func in WRITING or kwargs.get("out") is not None:
            self._refuse_write()
        return super().__array_function__(func, types, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self.WRITING:
            self._refuse_write()
        if name in self.READING:
            self._refuse_read()
        member = getattr(self.array, name)
        if not callable(member):
            return member
        return functools.partial(self._call, getattr(np.ndarray, name))

    def _call(
        self, method: Callable[..., object], *args: object, out: object = None, **attrs: object
    ) -> Any:
        if out is not None:
            self._refuse_write()
        return self.trace.call(method, (self, *args), attrs)

    def __iter__(self, *args: object) -> Iterator[object]:
        return (self[i] for i in range(len(self)))

    def _refuse_read(self, *args: object, **kwargs: object) -> NoReturn:
        self.trace.recorder.refuse(captured_read, self)

    def _refuse_write(self, *args: object) -> NoReturn:
        self.trace.recorder.refuse(captured_write, self)

    __array__ = __float__ = __int__ = __index__ = __complex__ = _refuse_read
    __repr__ = __str__ = __format__ = __reduce__ = __contains__ = _refuse_read
    __setitem__ = _refuse_write
    __hash__ = object.__hash__


# ---- small things --------------------------------------------------------------------------------


def returned(x: R) -> R:
    """What a step returned, if it is of a kind that replays can make again."""
    for v in members(x):
        if not (v is None or type(v) is Tensor
                or isinstance(v, np.ndarray | np.generic | bool | int | float | str | bytes)):
            raise CaptureError(
                f"a compiled step returned {type(v).__name__!r}, in which a replay could not put"
                " new values. Return Tensors, arrays, numbers, or dicts, lists and tuples of them."
            )
    return x


def _made_after(time: int, g: object) -> bool:
    """Whether a gradient is a Tensor that was made after this time on the clock."""
    return type(g) is Tensor and g.serial > time


def _held(arrays: list[object]) -> set[int]:
    """Ids of those arrays that are in somebody's hands, by way of a graph or a symbol too.

    NumPy never frees some of its operands, where a call of it has failed: nobody holds these, nor
    what they were computed from.
    """
    links = {id(x): x for x in arrays}                     # what is held only if its holder is
    holders: list[object] = []
    newest = arrays
    while newest:
        found = gc.get_referrers(*newest)
        ours = {id(links), id(arrays), id(newest), id(found)}
        newest = []
        for x in found:
            if isinstance(x, types.FrameType) or id(x) in ours or id(x) in links:
                continue
            if type(x) in (Tensor, Symbol, ArgumentArray, tuple):
                links[id(x)] = x
                newest.append(x)
            else:
                holders.append(x)
    held: set[int] = set()
    while holders:
        for x in gc.get_referents(holders.pop()):
            if id(x) in links and id(x) not in held:
                held.add(id(x))
                holders.append(x)
    return held


@dataclass(frozen=True)
class Result:
    """A function as one call of a program, or one of the several results that it has."""

    function: Callable[..., object]
    member: int | None = None

    @property
    def __name__(self) -> str:
        return getattr(self.function, "__name__", "call")

    def __call__(self, *inputs: object, **attrs: object) -> object:
        made: Any = self.function(*inputs, **attrs)
        return made if self.member is None else made[self.member]


def _is_pure(kernel: Callable[..., object]) -> bool:
    """Whether equal inputs give equal results: so do the operator table's kernels and NumPy's, but
    for its generators of random numbers."""
    if isinstance(kernel, Result):
        return _is_pure(kernel.function)
    try:
        if kernel is put or kernel in _KERNELS or hasattr(kernel, "plain"):
            return True
    except TypeError:                                      # what has no hash is not in the table
        pass
    module = getattr(kernel, "__module__", None) or ""
    return (
        isinstance(getattr(kernel, "__self__", kernel), np.ufunc)
        or getattr(kernel, "__objclass__", None) is np.ndarray
        or (module.split(".")[0] in ("numpy", "_operator") and ".random" not in module)
    )


def _copy(array: Array) -> Array:
    """A copy that lies in memory as the array does, so that sums are rounded alike."""
    copy = Slot.like("", array).apart()
    copy[...] = array
    return copy
