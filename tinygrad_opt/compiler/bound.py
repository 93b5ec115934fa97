"""A program with its memory: what is run.

Each temporary gets a block; blocks whose contents nobody reads any more are given to later
temporaries, and a call that goes entry by entry writes over the input that dies with it.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt.compiler.conditions import all_of
from tinygrad_opt.compiler.program import Call, Program, Ref, filled, slots_in
from tinygrad_opt.errors import CaptureError
from tinygrad_opt.recording import nested
from tinygrad_opt.tensor import constant, deliver, forget_gradients, set_gradient

__all__ = ["SETTING", "Bound", "copied", "in_modes", "put", "ready", "timed"]

SETTING = (deliver, forget_gradients, set_gradient)       # effects that move no array


def put(x: np.ndarray, places: Any, values: Any, out: np.ndarray | None = None) -> np.ndarray:
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
    arrays : list of ndarray
        Of each slot.
    nbytes : int
        Bytes that the temporaries take together.
    is_current : callable
        Whether everything outside that it rests on is as it was.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.arrays: list[Any] = []
        self.nbytes = 0
        self.runs: list[Callable[[], Any]] = []
        self._stretches: list[tuple[Any, list[Callable[[], Any]]]] = []
        self._make_ready()
        self._fed = [self.arrays[i] for i in program.arguments]
        self.is_current = all_of([
            *(("{}._array is {}", t, array) for t, array in program.leaves),
            *((f"not {{}}.{name} != {{}}", x, value) for x, name, value in program.seen),
            *(("{}._gradient is None", t) for t in program.fresh)])

    def _make_ready(self) -> None:
        """Take memory, and put the arrays into the calls."""
        calls = self.program.calls
        self.arrays, self.nbytes = _allocated(self.program)
        self.runs = [ready(call, self.arrays) for call in calls]
        self._make_followed()
        self._stretches = in_modes([(call.modes, run) for call, run in zip(calls, self.runs)])

    def run(self, values: list[Any]) -> Any:
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

    def preview(self, values: list[Any]) -> Any:
        """The result for these arguments, computed without effects; None if it rests on effects
        or on random numbers."""
        calls = self.program.calls
        if any(isinstance(v, np.random.Generator | np.random.RandomState)
               for call in calls for v in (*call.inputs, *call.attrs.values())):
            return None
        wanted = set(map(self.program.root, slots_in(self.program.result)))
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

    @property
    def blocks(self) -> dict[int, int]:
        """Of each temporary, the block that it lies in, numbered in the order of first use."""
        numbers: dict[int, int] = {}
        made = [call.output for call in self.program.calls if not call.is_effect]
        return {s: numbers.setdefault(id(self.arrays[s].base), len(numbers)) for s in made}

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

    def _make_followed(self) -> None:
        """Wrap the effects that may move Tensors which are read after them."""
        calls = self.program.calls
        end = len(calls) if self._reads_leaves(self.program.result) else max(
            (i for i, call in enumerate(calls) if self._reads_leaves((call.inputs, call.attrs))),
            default=0)
        for i, call in enumerate(calls[:end]):
            if call.is_effect and call.kernel not in SETTING:
                self.runs[i] = functools.partial(self._follow, self.runs[i])

    def _reads_leaves(self, x: Any) -> bool:
        roots = map(self.program.root, slots_in(x))
        return any(self.program.slots[s].kind == "leaf" for s in roots)

    def _follow(self, effect: Callable[[], Any]) -> None:
        """Act, and bring values over if that gave Tensors other arrays, which are read later."""
        effect()
        for t, array in self.program.leaves:
            if t._array is not array:
                np.copyto(array, t._array)

    def _let_go(self) -> None:
        """Forget the gradients that lie in memory of its own."""
        own = set(map(id, self.arrays))
        forget_gradients([t for t, _ in self.program.leaves if id(t._gradient) in own])


def in_modes(runs: Any) -> list[tuple[Any, list[Callable[[], Any]]]]:
    """Neighbours that want NumPy to treat floating-point errors alike, together."""
    return [(modes, [run for _, run in stretch])
            for modes, stretch in itertools.groupby(runs, lambda pair: pair[0])]


def copied(x: Any, arrays: list[Any]) -> Any:
    """The result with arrays that the next replay cannot change; Tensors come as constants."""
    if not isinstance(x, Ref):
        return nested(lambda v: copied(v, arrays), x)
    array = arrays[x.slot].copy("K")
    return constant(array) if x.is_tensor else array[()]


def timed(runs: list[Any], repeats: int) -> list[float]:
    """Seconds that each takes, run in order, because they share their memory; None is left out."""
    seconds = [0.0] * len(runs)
    for _ in range(repeats):
        for i, run in enumerate(runs):
            if run is not None:
                begin = time.perf_counter()
                run()
                seconds[i] += (time.perf_counter() - begin) / repeats
    return seconds


# ---- memory --------------------------------------------------------------------------------------


def _allocated(program: Program) -> tuple[list[Any], int]:
    """An array for each slot, and how many bytes were taken for temporaries."""
    slots, last = program.slots, program.lifetimes()
    arrays: list[Any] = [slot.array for slot in slots]
    blocks: dict[int, np.ndarray] = {}
    free: dict[int, list[np.ndarray]] = {}
    taken = 0
    for i, call in enumerate(program.calls):
        if call.is_effect:
            continue
        dying = {s for s in program.reads(call) if slots[s].kind == "temporary" and last[s] == i}
        early = {s for s in dying if _may_overwrite(program, call, s)}
        for s in early:
            free.setdefault(blocks[s].nbytes, []).append(blocks[s])
        out = slots[call.output]
        nbytes = sum(out.reach)
        spare = free.get(nbytes)
        if spare:
            block = spare.pop()
        else:
            block = np.empty(nbytes, np.uint8)
            taken += nbytes
        blocks[call.output] = block
        arrays[call.output] = np.ndarray(out.shape, out.dtype, block, out.offset, out.strides)
        for s in dying - early:
            free.setdefault(blocks[s].nbytes, []).append(blocks[s])
    for i, view in enumerate(slots):
        if view.kind == "view" and program.root(i) in blocks:
            block = blocks[program.root(i)]
            begin = view.offset if view.nbytes else 0      # an empty block has no other place
            arrays[i] = np.ndarray(view.shape, view.dtype, block, begin, view.strides)
    return arrays, taken


def _may_overwrite(program: Program, call: Call, slot: int) -> bool:
    """Whether a call may write over one of its inputs: entry by entry, in the same layout."""
    source, result = program.slots[slot], program.slots[call.output]
    elementwise = isinstance(call.kernel, np.ufunc) and call.kernel.signature is None
    return (
        (elementwise or call.kernel is put)
        and (source.shape, source.dtype, source.strides)
        == (result.shape, result.dtype, result.strides)
        and all(s == slot or program.root(s) != slot for s in slots_in((call.inputs, call.attrs)))
    )


# ---- calls ---------------------------------------------------------------------------------------


# NumPy's own functions come to these, by way of Python
_REDUCERS: dict[Any, Any] = {
    np.sum: np.add.reduce, np.prod: np.multiply.reduce,
    np.max: np.maximum.reduce, np.min: np.minimum.reduce,
    np.ndarray.sum: np.add.reduce, np.ndarray.prod: np.multiply.reduce,
    np.ndarray.max: np.maximum.reduce, np.ndarray.min: np.minimum.reduce,
}
_MEANS = (np.mean, np.ndarray.mean)                        # of float16 in float32, but into an out=
_COPIES = (np.ndarray.copy, np.ndarray.astype, np.copy)


def ready(call: Call, arrays: list[Any]) -> Callable[[], Any]:
    """A call with its arrays in it, which writes where its result belongs.

    Arguments by position cost a call a third of what they cost by name.
    """
    kernel = call.kernel
    inputs, attrs = filled(call.inputs, arrays), filled(call.attrs, arrays)
    if call.is_effect:
        return functools.partial(kernel, *inputs, **attrs)
    out = arrays[call.output]
    if isinstance(kernel, np.ufunc) and kernel is not np.ldexp:        # which takes integers
        inputs = _numbers_converted(inputs)
    if isinstance(kernel, np.ufunc) and kernel not in (np.maximum, np.minimum):   # deprecated there
        return functools.partial(kernel, *inputs, out, **attrs)
    if kernel in _COPIES:
        return functools.partial(np.copyto, out, inputs[0], casting="unsafe")
    if kernel is np.ndarray.dot and out.flags.c_contiguous:
        return functools.partial(kernel, *inputs, out)
    if kernel is np.dot and out.flags.c_contiguous and isinstance(inputs[0], np.ndarray):
        return functools.partial(np.ndarray.dot, *inputs, out)
    if kernel in _REDUCERS:
        kernel, attrs = _REDUCERS[kernel], attrs if inputs[1:] else {"axis": None, **attrs}
    if isinstance(getattr(kernel, "__self__", None), np.ufunc) and kernel.__name__ == "reduce":
        options = {"axis": 0, "dtype": None, "out": out, "keepdims": False}
        given = dict(zip(("axis", "dtype"), inputs[1:])) | attrs
        if len(inputs) <= 3 and given.keys() <= options.keys():
            return functools.partial(kernel, inputs[0], *(options | given).values())
    if _takes_out(kernel) and not (out.dtype == np.float16 and kernel in _MEANS):
        return functools.partial(kernel, *inputs, out=out, **attrs)
    return functools.partial(_into, out, kernel, inputs, attrs)


def _numbers_converted(inputs: Any) -> Any:
    """Python's numbers beside floats of one dtype as such floats, which NumPy would make at each
    call: that takes as long as the call itself."""
    dtypes = {x.dtype for x in inputs if isinstance(x, np.ndarray)}
    if len(dtypes) != 1 or next(iter(dtypes)).kind != "f":
        return inputs
    with np.errstate(over="ignore"):
        return tuple(np.array(x, *dtypes) if type(x) in (int, float) else x for x in inputs)


@functools.cache
def _takes_out(kernel: Any) -> bool:
    """Whether a kernel writes into an array that it is given, and rounds alike when it does."""
    if kernel is np.einsum:
        return False
    if isinstance(kernel, np.ufunc) or isinstance(getattr(kernel, "__self__", None), np.ufunc):
        return True
    try:
        return "out" in inspect.signature(kernel).parameters
    except ValueError:                                     # some of NumPy's own have none
        return False


def _into(out: np.ndarray, kernel: Callable[..., Any], inputs: Any, attrs: Any) -> None:
    made = np.asarray(kernel(*inputs, **attrs))
    if made.shape != out.shape:
        raise CaptureError(
            f"{getattr(kernel, '__name__', kernel)} made shape {out.shape} when the step was"
            f" captured and {made.shape} now: a shape that depends on values cannot be replayed."
            " Use np.where(mask, x, 0) instead of x[mask], or do without the decorator."
        )
    np.copyto(out, made)


def _call(runs: list[Callable[[], Any]]) -> None:
    for run in runs:
        run()
