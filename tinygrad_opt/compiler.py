"""A training step captured once and replayed: its kernel calls, on the arrays that they made.

    @tg.compile
    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad(); loss.backward(); opt.step()
        return loss

The first call for arguments of some shapes and dtypes runs the function as it is written, while a
`Recorder` writes down every kernel call, the backward pass included (its rules run on Tensors then)
and every effect (gradients delivered, parameters stepped). What nobody reads is dropped, arrays
whose life has ended are used again, and later calls run the list. There is no second set of
kernels: the losses are equal to the bit.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_opt.errors import CaptureError, captured_read
from tinygrad_opt.tensor import Tensor, recording, tape, values_of

__all__ = ["Call", "CompiledStep", "Program", "Slot", "compile"]

KEPT = 8                                     # programs a step keeps, the latest used


# ---- the program, as plain data ------------------------------------------------------------------


@dataclass
class Slot:
    """An array of a program.

    Attributes
    ----------
    kind : {"argument", "leaf", "constant", "temporary", "view"}
        Fed at each call; a Tensor's own array; an array from outside; made by a call; part of
        another slot, at `offset` bytes with `strides`.
    array : ndarray or None
        The array, for what exists outside the program; None for temporaries and views.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    name: str = ""
    array: Any = None
    base: int = -1
    offset: int = 0
    strides: tuple[int, ...] = ()


@dataclass
class Call:
    """``slots[output] = kernel(*inputs, **attrs)``; an effect has no output.

    `inputs` and `attrs` hold numbers and other constants, and `Ref`s to slots.
    """

    kernel: Callable[..., Any]
    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    output: int = -1

    @property
    def is_effect(self) -> bool:
        """Whether it acts on the world outside the program."""
        return self.output < 0


@dataclass(frozen=True)
class Ref:
    """A place in a call where the array of a slot goes."""

    slot: int


class Program:
    """A captured step: slots, calls, and which slots are the arguments and the result.

    Attributes
    ----------
    slots : list of Slot
    calls : list of Call
        In order. Together with `slots`, `arguments` and `result` this is the whole program; a
        bound program is made from it alone.
    """

    def __init__(
        self, slots: list[Slot], calls: list[Call], arguments: list[int], result: Any,
        leaves: list[tuple[Tensor, np.ndarray]],
    ) -> None:
        self.slots, self.calls = slots, calls
        self.arguments, self.result = arguments, result
        self.leaves = leaves
        self._drop_the_unread()

    def bind(self) -> Bound:
        """Give every temporary its memory and make the calls ready to run."""
        return Bound(self)

    def reads(self, call: Call) -> Iterator[int]:
        """The slots that own the memory that a call reads."""
        return map(self.root, _slots_in((call.inputs, call.attrs)))

    def root(self, slot: int) -> int:
        """The slot that owns the memory of this one."""
        base = self.slots[slot].base
        return slot if base < 0 else base

    def _drop_the_unread(self) -> None:
        wanted = set(map(self.root, _slots_in(self.result)))
        kept = []
        for call in reversed(self.calls):
            if call.is_effect or call.output in wanted:
                wanted.update(self.reads(call))
                kept.append(call)
        self.calls = kept[::-1]

    def __str__(self) -> str:
        """One call a line: ``%7 = matmul(%0, layers.0.weight)  float32 (300, 64)``."""
        def shown(x: Any) -> str:
            if isinstance(x, Ref):
                slot = self.slots[x.slot]
                return slot.name or f"%{x.slot}"
            if isinstance(x, list | tuple):
                return f"({', '.join(map(shown, x))})"
            return getattr(x, "name", None) or repr(x)

        lines = []
        for call in self.calls:
            inside = [*map(shown, call.inputs), *(f"{k}={shown(v)}" for k, v in call.attrs.items())]
            text = f"{_kernel_name(call.kernel)}({', '.join(inside)})"
            if not call.is_effect:
                slot = self.slots[call.output]
                text = f"%{call.output} = {text}  {slot.dtype} {slot.shape}"
            lines.append(text)
        return "\n".join(lines)


class Bound:
    """A program with its memory: what is run."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.arrays = _allocate(program)
        self.nbytes = _memory_of(program, self.arrays)
        self.fed = [self.arrays[i] for i in program.arguments]
        self.runs = [self._ready(call) for call in program.calls]

    def _ready(self, call: Call) -> Callable[[], Any]:
        """A call with its arrays in it."""
        inputs = _filled(call.inputs, self.arrays)
        attrs = _filled(call.attrs, self.arrays)
        if call.is_effect:
            return functools.partial(call.kernel, *inputs, **attrs)
        out = self.arrays[call.output]
        kernel = _REDUCERS.get(call.kernel, call.kernel)
        if kernel is not call.kernel:
            attrs = {"axis": None, **attrs}
        if _takes_out(kernel):
            return functools.partial(kernel, *inputs, out=out, **attrs)
        return functools.partial(_into, out, kernel, inputs, attrs)

    def run(self, values: list[Any]) -> Any:
        """Feed the arguments, make all calls, and hand out a copy of the result."""
        for buffer, value in zip(self.fed, values):
            np.copyto(buffer, value)
        for call in self.runs:
            call()
        return _copied(_filled(self.program.result, self.arrays))

    @property
    def is_current(self) -> bool:
        """Whether the Tensors that it reads still have the arrays that it reads."""
        return all(t.array is array for t, array in self.program.leaves)


# np.sum and its kin check their arguments in Python before they come to this
_REDUCERS: dict[Any, Any] = {
    np.sum: np.add.reduce, np.prod: np.multiply.reduce,
    np.max: np.maximum.reduce, np.min: np.minimum.reduce,
}


@functools.cache
def _takes_out(kernel: Any) -> bool:
    """Whether a kernel writes into an array that it is given."""
    if isinstance(kernel, np.ufunc) or kernel in _REDUCERS.values():
        return True
    import inspect

    try:
        return "out" in inspect.signature(kernel).parameters
    except ValueError:                                     # some of NumPy's own have none
        return False


def _into(out: np.ndarray, kernel: Callable[..., Any], inputs: Any, attrs: Any) -> None:
    np.copyto(out, kernel(*inputs, **attrs))


# ---- memory --------------------------------------------------------------------------------------


def _allocate(program: Program) -> list[Any]:
    """An array for each slot; temporaries take the memory of those that nobody reads any more."""
    slots, end = program.slots, len(program.calls)
    last = {ref: end for ref in map(program.root, _slots_in(program.result))}
    for i, call in enumerate(program.calls):
        for slot in program.reads(call):
            last[slot] = max(end if call.is_effect else i, last.get(slot, 0))

    arrays: list[Any] = [slot.array for slot in slots]
    blocks: dict[int, np.ndarray] = {}
    free: dict[int, list[np.ndarray]] = {}
    for i, call in enumerate(program.calls):
        if call.is_effect:
            continue
        dying = {s for s in program.reads(call) if slots[s].kind == "temporary" and last[s] == i}
        early = {s for s in dying if _may_overwrite(program, call, s)}
        for s in early:
            free.setdefault(blocks[s].nbytes, []).append(blocks[s])
        out = slots[call.output]
        nbytes = out.dtype.itemsize * math.prod(out.shape)
        spare = free.get(nbytes)
        block = blocks[call.output] = spare.pop() if spare else np.empty(nbytes, np.uint8)
        arrays[call.output] = np.ndarray(out.shape, out.dtype, block, 0, out.strides)
        for s in dying - early:
            free.setdefault(blocks[s].nbytes, []).append(blocks[s])
    for i, view in enumerate(slots):
        if view.kind == "view" and program.root(i) in blocks:
            block = blocks[program.root(i)]
            arrays[i] = np.ndarray(view.shape, view.dtype, block, view.offset, view.strides)
    return arrays


def _may_overwrite(program: Program, call: Call, slot: int) -> bool:
    """Whether a call may write over one of its inputs: entry by entry, in the same layout."""
    source, result = program.slots[slot], program.slots[call.output]
    return (
        isinstance(call.kernel, np.ufunc)
        and call.kernel.signature is None                  # matmul reads entries many times
        and (source.shape, source.dtype, source.strides)
        == (result.shape, result.dtype, result.strides)
        and all(s == slot or program.root(s) != slot for s in _slots_in(call.inputs))
    )


def _memory_of(program: Program, arrays: list[Any]) -> int:
    """Bytes that the temporaries take together."""
    made = [_owner(arrays[call.output]) for call in program.calls if not call.is_effect]
    return sum({id(block): block.nbytes for block in made}.values())


# ---- capture -------------------------------------------------------------------------------------


class Recorder:
    """Writes a program down while a step runs; the engine's `tape` holds it and calls it."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.calls: list[Call] = []
        self.arguments: list[int] = []
        self.leaves: list[tuple[Tensor, np.ndarray]] = []
        self._slot_of: dict[int, int] = {}       # id of an array -> its slot
        self._made_in: dict[int, int] = {}       # id of the owner of a temporary's memory -> slot
        self._alive: list[Any] = []              # so that ids stay valid while the capture runs
        self._arrays: list[np.ndarray] = []      # of each slot, as the capture sees it
        self._weak: set[int] = set()             # ids of Tensors that stand for raw arrays

    # ---- what the engine tells it ----

    def computed(self, op: Any, inputs: Any, attrs: dict[str, Any], z: Tensor) -> None:
        """An operation made z."""
        self._alive.append(z)
        if all(id(x) in self._weak for x in inputs if type(x) is Tensor):
            self._weak.add(id(z))
        if id(z.array) not in self._slot_of:
            self._write(op.kernel, inputs, attrs, z.array)

    def answered(self, function: Any, args: Any, kwargs: Any, result: Any) -> Any:
        """A function without a gradient was asked about Tensors: its answer is computed too."""
        if function in _ABOUT_THE_SHAPE:
            return result
        if not isinstance(result, np.ndarray | np.generic):
            raise captured_read(next(x for x in args if type(x) is Tensor))
        answer = Tensor(np.asarray(result))
        self._alive.append(answer)
        self._weak.add(id(answer))
        self._write(function, args, kwargs, answer.array)
        return answer

    def acted(self, action: Callable[..., None], args: Any) -> None:
        """Something was done that is not a computation."""
        self.calls.append(Call(action, self._refer(args, keep_tensors=True)))

    def is_weak(self, x: Tensor) -> bool:
        """Whether it stands for a raw array, which never decides a dtype."""
        return id(x) in self._weak

    # ---- how it writes ----

    def feed(self, value: Any, name: str) -> Tensor:
        """A Tensor that stands for an argument while the step is captured."""
        array = np.array(values_of(value))
        fed = Tensor(array, name=name)
        self._alive.append(fed)
        if type(value) is not Tensor:
            self._weak.add(id(fed))
        slot = Slot("argument", array.shape, array.dtype, name, array)
        self.arguments.append(self._add(slot, array))
        return fed

    def result(self, x: Any) -> Any:
        """What the step returned, with references for arrays."""
        return self._refer(x)

    def _write(self, kernel: Any, inputs: Any, attrs: Any, made: np.ndarray) -> None:
        call = Call(kernel, self._refer(tuple(inputs)), self._refer(attrs))
        owner = _owner(made)
        base = self._made_in.get(id(owner))
        if base is not None:                               # part of a temporary: costs no call
            self._add(self._view(made, base), made)
            return
        arrays = [self.slots[s].array for s in _slots_in((call.inputs, call.attrs))]
        if any(a is not None and _owner(a) is owner for a in arrays):
            self._add(Slot("view", made.shape, made.dtype, array=made), made)
            return
        strides = made.strides if _is_dense(made) else np.empty_like(made, order="C").strides
        slot = Slot("temporary", made.shape, made.dtype, strides=strides)
        call.output = self._made_in[id(owner)] = self._add(slot, made)
        self.calls.append(call)

    def _view(self, part: np.ndarray, base: int) -> Slot:
        """A part of the memory that a temporary has."""
        whole = self._arrays[base]
        return Slot("view", part.shape, part.dtype, base=base,
                    offset=_address(part) - _address(whole), strides=part.strides)

    def _add(self, slot: Slot, array: np.ndarray) -> int:
        self.slots.append(slot)
        number = self._slot_of[id(array)] = len(self.slots) - 1
        self._arrays.append(array)
        return number

    def _refer(self, x: Any, keep_tensors: bool = False) -> Any:
        """The same nest with references where arrays stand."""
        if type(x) is Tensor and not keep_tensors:
            return Ref(self._slot(x.array, x))
        if isinstance(x, np.ndarray):
            return Ref(self._slot(x))
        if isinstance(x, list | tuple):
            return type(x)([self._refer(v, keep_tensors) for v in x])
        if isinstance(x, dict):
            return {k: self._refer(v, keep_tensors) for k, v in x.items()}
        return x

    def _slot(self, array: np.ndarray, tensor: Tensor | None = None) -> int:
        """The slot of an array; one that no call made exists outside the program."""
        known = self._slot_of.get(id(array))
        if known is not None:
            return known
        base = self._made_in.get(id(_owner(array)))
        if base is not None:
            return self._add(self._view(array, base), array)
        if tensor is None:
            return self._add(Slot("constant", array.shape, array.dtype, array=array), array)
        self.leaves.append((tensor, array))
        name = tensor.name or ""
        return self._add(Slot("leaf", array.shape, array.dtype, name, array), array)


_ABOUT_THE_SHAPE = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type}


class CompiledStep:
    """What `compile` makes of a function.

    Attributes
    ----------
    programs : dict
        The programs that are kept, by the kinds of their arguments, the latest used last.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.name = getattr(function, "__name__", "the step")
        self.function = function
        self.programs: OrderedDict[Any, Bound] = OrderedDict()
        self._captures = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if tape.get() is not None:                         # inside another compiled step
            return self.function(*args, **kwargs)
        values: list[Any] = []
        key = (recording.get(), _kind(args, values), _kind(kwargs, values))
        bound = self.programs.get(key)
        if bound is not None and bound.is_current:
            self.programs.move_to_end(key)
            return bound.run(values)
        return self._capture(key, args, kwargs)

    def _capture(self, key: Any, args: Any, kwargs: Any) -> Any:
        """Run the function as it is written, and keep the program that it made."""
        recorder = Recorder()
        names = iter(range(1 << 30))

        def fed(x: Any) -> Any:
            if _is_fed(x):
                return recorder.feed(x, f"argument {next(names)}")
            if isinstance(x, list | tuple):
                return type(x)([fed(v) for v in x])
            return {k: fed(v) for k, v in x.items()} if isinstance(x, dict) else x

        token = tape.set(recorder)
        try:
            result = self.function(*fed(args), **fed(kwargs))
        finally:
            tape.reset(token)
        made = recorder.result(result)
        program = Program(recorder.slots, recorder.calls, recorder.arguments, made, recorder.leaves)
        self.programs.pop(key, None)
        self.programs[key] = program.bind()
        self._captures += 1
        if len(self.programs) > KEPT:
            self.programs.popitem(last=False)
            if self._captures == KEPT + 1:
                warnings.warn(
                    f"{self.name} was captured for more than {KEPT} kinds of arguments: shapes,"
                    " dtypes or numbers change from call to call. Pass numbers as arrays, and"
                    " batches of one size (drop_last=True).",
                    stacklevel=3,
                )
        return _copied(result)

    def explain(self, repeats: int = 200) -> str:
        """The latest program as a listing: each call, what it makes, and its share of the time.

        The calls are run to be timed, on whatever their arrays hold; effects are not.
        """
        if not self.programs:
            raise CaptureError(f"{self.name} has not been called yet")
        bound = next(reversed(self.programs.values()))
        lines = str(bound.program).splitlines()
        seconds = []
        with np.errstate(all="ignore"):
            for call, run in zip(bound.program.calls, bound.runs):
                begin = time.perf_counter()
                for _ in range(0 if call.is_effect else repeats):
                    run()
                seconds.append((time.perf_counter() - begin) / repeats)
        total = sum(seconds) or 1.0
        shares = [
            "effect" if call.is_effect else f"{s * 1e6:6.1f} µs {s / total:4.0%}"
            for call, s in zip(bound.program.calls, seconds)
        ]
        width = max(map(len, lines))
        listing = [f"{line:{width}}  {share:>14}" for line, share in zip(lines, shares)]
        return "\n".join([*listing, f"{len(lines)} calls, {bound.nbytes:,} bytes of memory"])


def compile(function: Callable[..., Any]) -> CompiledStep:
    """Capture a training step at its first call, and replay it from then on.

    Parameters
    ----------
    function : callable
        Takes arrays, Tensors, numbers, or dicts, lists and tuples of them, and returns Tensors in
        such a nest, or None. Inside, arrays are Tensors.

    Returns
    -------
    CompiledStep
        Called like the function; the same numbers, to the bit. ``.explain()`` lists the program.

    Raises
    ------
    CaptureError
        When called, if the function looks at values (``float(loss)``, ``if loss > 1``, ``t.data``,
        ``print(f"{loss}")``): a replay could not follow what Python does with them.

    Notes
    -----
    A capture freezes shapes, dtypes, Python's branches and loops, Python numbers, and arrays that
    NumPy alone makes inside. One program is kept for each combination of shapes, dtypes and
    numbers. Optimizers, schedules and random operations move on at each replay; a Tensor whose
    array was replaced is noticed, and the step is captured anew. Results are copies, but ``.grad``
    is memory that the next replay writes into.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> @tg.compile
    ... def step(x):
    ...     loss = ((x @ w) ** 2).mean()
    ...     w.grad = None
    ...     loss.backward()
    ...     return loss
    >>> x = np.ones((3, 2))
    >>> float(step(x)), float(step(2 * x))
    (9.0, 36.0)
    """
    return CompiledStep(function)


# ---- small things --------------------------------------------------------------------------------


def _is_fed(x: Any) -> bool:
    """Whether an argument's values are copied in at each call."""
    return isinstance(x, np.ndarray | np.generic) or (type(x) is Tensor and not x.needs_grad)


def _kind(x: Any, values: list[Any]) -> Any:
    """What a program depends on in its arguments; the values that it is fed are put aside."""
    if _is_fed(x):
        values.append(values_of(x))
        return type(x) is Tensor, x.shape, x.dtype
    if isinstance(x, list | tuple):
        return type(x), tuple([_kind(v, values) for v in x])
    if isinstance(x, dict):
        return tuple([(k, _kind(v, values)) for k, v in x.items()])
    plain = x is None or isinstance(x, int | float | str | bytes)
    return (type(x), x) if plain else _Same(x)


class _Same:
    """A key that is equal for the same object only, and keeps it alive."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.x is self.x

    def __hash__(self) -> int:
        return id(self.x)


def _slots_in(x: Any) -> Iterator[int]:
    """The slots that a nest of inputs refers to."""
    if isinstance(x, Ref):
        yield x.slot
    elif isinstance(x, list | tuple):
        for v in x:
            yield from _slots_in(v)
    elif isinstance(x, dict):
        yield from _slots_in(list(x.values()))


def _filled(x: Any, arrays: list[Any]) -> Any:
    """A nest of inputs with arrays where references stand."""
    if isinstance(x, Ref):
        return arrays[x.slot]
    if isinstance(x, list | tuple):
        return type(x)([_filled(v, arrays) for v in x])
    return {k: _filled(v, arrays) for k, v in x.items()} if isinstance(x, dict) else x


def _copied(x: Any) -> Any:
    """A result that the next replay cannot change: arrays and Tensors become constant Tensors."""
    if isinstance(x, np.ndarray) or type(x) is Tensor:
        return Tensor(values_of(x).copy())
    if isinstance(x, list | tuple):
        return type(x)([_copied(v) for v in x])
    return {k: _copied(v) for k, v in x.items()} if isinstance(x, dict) else x


def _owner(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of this one."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _is_dense(array: np.ndarray) -> bool:
    """Whether its entries fill its memory without gaps, in whatever order of axes."""
    order = np.argsort(array.strides, kind="stable")[::-1]
    return array.transpose(order).flags.c_contiguous


def _kernel_name(kernel: Any) -> str:
    return getattr(kernel, "__qualname__", getattr(kernel, "__name__", repr(kernel))).strip("_<>")
