"""A program with its memory: what is run.

A call that goes entry by entry writes over the input that dies with it.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from tinygrad_opt.compiler.conditions import all_of
from tinygrad_opt.compiler.memory import Memory
from tinygrad_opt.compiler.program import (
    SETTING,
    Call,
    Modes,
    Program,
    Ref,
    filled,
    slots_in,
)
from tinygrad_opt.errors import CaptureError
from tinygrad_opt.recording import nested
from tinygrad_opt.tensor import constant, forget_gradients
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["Bound", "Run", "copied", "in_modes", "put", "ready", "timed"]

Run: TypeAlias = Callable[[], object]


def put(x: Array, places: Array, values: Array, out: Array | None = None) -> Array:
    """x with values at places of the flattened array, as ``ndarray.put`` leaves it."""
    if out is None:
        out = np.array(x)
    elif out is not x:
        np.copyto(out, x)
    out.put(places, values)
    return out


class Bound:
    """A program with its memory.

    Attributes
    ----------
    program : Program
    memory : Memory
    arrays : dict of int to ndarray
        Of each slot that has memory.
    nbytes : int
        Bytes that the temporaries take together.
    runs : list of callable
        The calls with their arrays in them.
    is_current : callable
        Whether everything outside that it rests on is as it was.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._followed = self._followed_calls()
        self.memory = self._take_memory()
        self.arrays, self.nbytes = self.memory.arrays, self.memory.nbytes
        self._make_ready()
        self._fed = [self.arrays[i] for i in program.arguments]
        self.is_current = all_of([
            *(("{}._array is {}", t, array) for t, array in program.leaves),
            *((f"not {{}}.{name} != {{}}", x, value) for x, name, value in program.seen),
            *(("{}._gradient is None", t) for t in program.fresh)])

    def _take_memory(self) -> Memory:
        """Memory for the temporaries."""
        program, slots, last = self.program, self.program.slots, self.program.lifetimes()
        memory = Memory(slots)
        for i, call in enumerate(program.calls):
            if call.is_effect:
                continue
            dying = {s for s in program.reads(call)
                     if slots[s].kind == "temporary" and last[s] == i}
            early = {s for s in dying if _may_overwrite(program, call, s)}
            for s in early:
                memory.give(s)
            memory.take(call.output)
            for s in dying - early:
                memory.give(s)
        memory.see()
        return memory

    def _make_ready(self) -> None:
        """Put the arrays into the calls."""
        calls = self.program.calls
        self.runs = [self._ready(i) for i in range(len(calls))]
        self._stretches = in_modes((call.modes, run) for call, run in zip(calls, self.runs))

    def _ready(self, i: int, run: Run | None = None) -> Run:
        """A call of the program with its arrays in it, or what is run in its place."""
        run = run or ready(self.program.calls[i], self.arrays)
        return functools.partial(self._follow, run) if i in self._followed else run

    @property
    def blocks(self) -> dict[int, int]:
        """Of each temporary that has memory, the block that it lies in."""
        blocks = self.memory.blocks
        return {c.output: blocks[c.output] for c in self.program.calls if c.output in blocks}

    def run(self, values: Sequence[ArrayLike]) -> Any:
        """Feed the arguments, make all calls, and hand out a copy of the result.

        An error on the way leaves no gradients in the memory that it has half written.
        """
        for buffer, value in zip(self._fed, values):
            buffer[...] = value                            # half of what np.copyto takes
        for t in self.program.added_to:
            t.grad                                         # noqa: B018  moves it out of our memory
        try:
            for modes, runs in self._stretches:
                if modes is None:
                    _call(runs)
                else:
                    with np.errstate(**modes):
                        _call(runs)
        except BaseException:
            self._let_go()
            raise
        return copied(self.program.result, self.arrays)

    def preview(self, values: Sequence[ArrayLike]) -> object:
        """The result for these arguments, computed without effects; None if it rests on effects
        or on random numbers."""
        calls = self.program.calls
        if any(call.is_random for call in calls):
            return None
        wanted = self.program.ends()
        for buffer, value in zip(self._fed, values):
            np.copyto(buffer, value)
        with np.errstate(all="ignore"):
            for call, run in zip(calls, self.runs):
                if not call.is_effect:
                    run()
                    wanted.discard(call.output)
                elif call.kernel not in SETTING:
                    break
        made = any(self.program.slots[s].kind == "temporary" for s in wanted)
        return None if made else copied(self.program.result, self.arrays)

    def listing(self, repeats: int) -> str:
        """Each call, what it makes, and its share of the time."""
        program, blocks = self.program, self.blocks
        if not program.calls:
            return "no calls: the step computes nothing"
        seconds = timed([None if call.is_effect else run
                         for call, run in zip(program.calls, self.runs)], repeats)
        total = sum(seconds) or 1.0
        shares = [
            "effect" if call.is_effect
            else f"block {blocks[call.output]:<3} {s * 1e6:6.1f} µs {s / total:4.0%}"
            for call, s in zip(program.calls, seconds)
        ]
        lines = program.lines()
        width = max(map(len, lines))
        listed = [f"{line:{width}}  {share}" for line, share in zip(lines, shares)]
        return "\n".join([*listed, f"{len(lines)} calls, {len(set(blocks.values()))} blocks of"
                                   f" memory, {self.nbytes:,} bytes"])

    def _followed_calls(self) -> set[int]:
        """The effects that may move Tensors which are read after them."""
        program = self.program
        reads = [slots_in((call.inputs, call.attrs)) for call in program.calls]
        last = max((i for i, slots in enumerate([*reads, slots_in(program.result)])
                    if any(program.slots[program.root(s)].kind == "leaf" for s in slots)),
                   default=0)
        return {i for i, call in enumerate(program.calls[:last])
                if call.is_effect and call.kernel not in SETTING}

    def _follow(self, effect: Run) -> None:
        """Act, and bring values over if that gave Tensors other arrays, which are read later."""
        effect()
        for t, array in self.program.leaves:
            if t._array is not array:
                np.copyto(array, t._array)

    def _let_go(self) -> None:
        """Forget the gradients that lie in memory of its own."""
        own = set(map(id, self.arrays.values()))
        forget_gradients([t for t, _ in self.program.leaves if id(t._gradient) in own])


def in_modes(
    runs: Iterable[tuple[Modes | None, Run]]
) -> list[tuple[Modes | None, list[Run]]]:
    """Neighbours that want NumPy to treat floating-point errors alike, together."""
    return [(modes, [run for _, run in stretch])
            for modes, stretch in itertools.groupby(runs, lambda pair: pair[0])]


def copied(x: object, arrays: Mapping[int, Array]) -> object:
    """The result with arrays that the next replay cannot change; Tensors come as constants."""
    if not isinstance(x, Ref):
        return nested(lambda v: copied(v, arrays), x)
    array = arrays[x.slot].copy("K")
    return constant(array) if x.is_tensor else array[()]


def timed(runs: Sequence[Run | None], repeats: int) -> list[float]:
    """Seconds that each takes, run in order, because they share their memory; None is left out."""
    seconds = [0.0] * len(runs)
    for _ in range(repeats):
        for i, run in enumerate(runs):
            if run is not None:
                begin = time.perf_counter()
                run()
                seconds[i] += (time.perf_counter() - begin) / repeats
    return seconds


def _may_overwrite(program: Program, call: Call, slot: int) -> bool:
    """Whether a call may write over one of its inputs: entry by entry, in the same layout."""
    source, result = program.slots[slot], program.slots[call.output]
    return (
        (call.is_elementwise or call.kernel is put)
        and (source.shape, source.dtype, source.strides)
        == (result.shape, result.dtype, result.strides)
        and all(s == slot or program.root(s) != slot for s in slots_in((call.inputs, call.attrs)))
    )


# ---- calls ---------------------------------------------------------------------------------------


# NumPy's own functions come to these, by way of Python
_REDUCERS: dict[Callable[..., object], Callable[..., Array]] = {
    np.sum: np.add.reduce, np.prod: np.multiply.reduce,
    np.max: np.maximum.reduce, np.min: np.minimum.reduce,
    np.ndarray.sum: np.add.reduce, np.ndarray.prod: np.multiply.reduce,
    np.ndarray.max: np.maximum.reduce, np.ndarray.min: np.minimum.reduce,
}
_MEANS = (np.mean, np.ndarray.mean)                        # of float16 in float32, but into an out=
_COPIES = (np.ndarray.copy, np.ndarray.astype, np.copy)
_RESHAPES = (np.ndarray.reshape, np.reshape, np.ndarray.ravel, np.ravel)


def ready(call: Call, arrays: Mapping[int, Array]) -> Run:
    """A call with its arrays in it, which writes where its result belongs.

    Arguments by position cost a call a third of what they cost by name.
    """
    kernel = call.kernel
    inputs, attrs = filled((call.inputs, call.attrs), arrays)
    if call.is_effect:
        return functools.partial(kernel, *inputs, **attrs)
    out = arrays[call.output]
    if isinstance(kernel, np.ufunc):
        inputs = inputs if kernel is np.ldexp else _numbers_converted(inputs)      # takes integers
        if kernel not in (np.maximum, np.minimum):         # where it is deprecated
            return functools.partial(kernel, *inputs, out, **attrs)
    if kernel in _COPIES:
        return functools.partial(np.copyto, out, inputs[0], casting="unsafe")
    if kernel in _RESHAPES and out.flags.c_contiguous and not (
            attrs or any(isinstance(x, str) for x in inputs)):         # of another order
        return functools.partial(np.copyto, out.reshape(inputs[0].shape), inputs[0])
    if (kernel in (np.dot, np.ndarray.dot) and out.flags.c_contiguous
            and isinstance(inputs[0], np.ndarray)):
        return functools.partial(np.ndarray.dot, *inputs, out)
    if kernel in _REDUCERS:
        kernel, attrs = _REDUCERS[kernel], attrs if inputs[1:] else {"axis": None, **attrs}
    of_ufunc = isinstance(getattr(kernel, "__self__", kernel), np.ufunc)
    if of_ufunc and kernel.__name__ == "reduce":
        options = {"axis": 0, "dtype": None, "out": out, "keepdims": False}
        given = dict(zip(("axis", "dtype"), inputs[1:])) | attrs
        if len(inputs) <= 3 and given.keys() <= options.keys():
            return functools.partial(kernel, inputs[0], *(options | given).values())
    if "do" in _parameters(kernel):
        notes = Notes()
        call.kernel(*inputs, out=out, do=notes, **attrs)
        return functools.partial(_call, notes.runs)
    rounds_otherwise = kernel is np.einsum or (out.dtype == np.float16 and kernel in _MEANS)
    if (of_ufunc or "out" in _parameters(kernel)) and not rounds_otherwise:
        return functools.partial(kernel, *inputs, out=out, **attrs)
    return functools.partial(_into, out, kernel, inputs, attrs)


def _numbers_converted(inputs: tuple[object, ...]) -> tuple[object, ...]:
    """Python's numbers beside floats of one dtype as such floats, which NumPy would make at each
    call: that takes as long as the call itself."""
    dtypes = {x.dtype for x in inputs if isinstance(x, np.ndarray)}
    if len(dtypes) != 1 or next(iter(dtypes)).kind != "f":
        return inputs
    with np.errstate(over="ignore"):
        return tuple(np.array(x, *dtypes) if type(x) in (int, float) else x for x in inputs)


class Notes(ModuleType):
    """Stands for NumPy where a kernel works in place: writes calls down instead of making them.

    The last argument of each is the array that it writes into.
    """

    def __init__(self) -> None:
        super().__init__("numpy")
        self.runs: list[Run] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        function: Callable[..., object] = np.ndarray.dot if name == "dot" else getattr(np, name)

        def note(*inputs: object) -> object:
            given = _numbers_converted(inputs) if type(function) is np.ufunc else inputs
            self.runs.append(functools.partial(function, *given))
            return inputs[-1]
        return note


@functools.cache
def _parameters(kernel: Callable[..., object]) -> frozenset[str]:
    """The names of what a kernel takes, as far as they are known."""
    try:
        return frozenset(inspect.signature(kernel).parameters)
    except ValueError:                                     # some of NumPy's own have none
        return frozenset()


def _into(out: Array, kernel: Callable[..., object], inputs: tuple[object, ...],
          attrs: dict[str, object]) -> None:
    made = np.asarray(kernel(*inputs, **attrs))
    if made.shape != out.shape:
        raise CaptureError(
            f"{getattr(kernel, '__name__', kernel)} made shape {out.shape} when the step was"
            f" captured and {made.shape} now: a shape that depends on values cannot be replayed."
            " Use np.where(mask, x, 0) instead of x[mask], or do without the decorator."
        )
    np.copyto(out, made)


def _call(runs: list[Run]) -> None:
    for run in runs:
        run()
