"""Look inside a kernel: which NumPy functions it is made of.

The kernels of the operator table are plain NumPy code. Run once on symbols with arrays behind them,
such a kernel lists the calls that it makes; a compiled program makes these calls itself, so that
their results get memory that stays, and what two kernels compute alike is computed once. What
cannot be listed faithfully (a branch on values, a loop over entries) raises `Opaque` and stays one
call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt.compiler.bound import put
from tinygrad_opt.ops import Op
from tinygrad_opt.recording import nested
from tinygrad_opt.symbols import Symbol, Trace, plain
from tinygrad_opt.symbols import Untraceable as Opaque
from tinygrad_opt.typing import Array

__all__ = ["Opaque", "Step", "steps_of"]


class Step(NamedTuple):
    """A call that a kernel made; `made` is None for a check, which makes nothing."""

    kernel: Callable[..., object]
    inputs: tuple[object, ...]
    attrs: Mapping[str, object]
    made: Array | None


def steps_of(
    kernel: Callable[..., object], inputs: tuple[object, ...], attrs: Mapping[str, object]
) -> tuple[list[Step], Any]:
    """The calls that a kernel makes on these arrays, and its result, which may be a tuple.

    Raises
    ------
    Opaque
        If it does what a list of calls cannot repeat.
    """
    tracing = Tracing()

    def symbol(x: object) -> object:
        return tracing.known(x) if isinstance(x, np.ndarray) else x

    try:
        if "shared" in attrs:
            attrs = {**attrs, "shared": nested(symbol, symbol(attrs["shared"]))}
        result = plain(kernel(*map(symbol, inputs), **attrs))
        if not tracing.steps:
            raise Opaque
        return tracing.steps, result
    finally:
        tracing.release()


class Tracing(Trace):
    """The list that grows while a kernel runs."""

    keeps_primitives = True

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.symbols: list[Symbol] = []
        self.modes = np.geterr()

    def known(self, array: Array) -> Symbol:
        """A symbol for an array, which can be released."""
        self.symbols.append(Symbol(array, self))
        return self.symbols[-1]

    def release(self) -> None:
        """Part from all arrays: NumPy never frees some symbols, where a call of it has failed."""
        for symbol in self.symbols:
            symbol.array = None
        self.steps, self.symbols = [], []

    def call(
        self, kernel: Callable[..., object], inputs: Sequence[object], attrs: Mapping[str, object]
    ) -> Symbol:
        """Make a call and write it down."""
        if np.geterr() != self.modes:                      # a replay would warn where this does not
            raise Opaque
        out = attrs.get("out")
        if isinstance(out, tuple):
            (out,) = out
        given = plain(tuple(inputs))
        options = {name: plain(x) for name, x in attrs.items() if name != "out"}
        made = kernel(*given, **options)
        if not isinstance(made, np.ndarray | np.generic):
            raise Opaque
        array = np.asarray(made)
        if out is None:
            known = self.known(array)
        else:                                              # in place: a new value of that array
            known = self._own(out)
            if array.shape != known.shape or array.dtype != known.dtype:
                raise Opaque
            known.array = array
        self.steps.append(Step(kernel, given, options, array))
        return known

    def apply(self, op: Op, inputs: Sequence[object], attrs: Mapping[str, object]) -> Any:
        """What the kernel of an operation does."""
        return op.kernel(*inputs, **attrs)

    def check(self, test: Callable[..., None], inputs: Sequence[object]) -> None:
        """Run a test of values, which a replay repeats."""
        given = plain(tuple(inputs))
        test(*given)
        self.steps.append(Step(test, given, {}, None))

    def put(self, x: Symbol, places: object, values: object) -> None:
        """x.put(places, values), as a new value of x."""
        arrays = plain(self._own(x)), np.asarray(plain(places)), np.asarray(plain(values))
        x.array = put(*arrays)
        self.steps.append(Step(put, arrays, {}, x.array))

    def decide(self, x: Symbol) -> bool:
        """A branch on values is no list of calls."""
        raise Opaque

    def _own(self, x: object) -> Symbol:
        """A symbol that may be changed: the kernel made it, and sees it under no other name."""
        made = [step.made for step in self.steps if step.made is not None]
        if not isinstance(x, Symbol) or not any(m is x.array for m in made):
            raise Opaque
        if any(m is not x.array and np.may_share_memory(m, x.array) for m in made):
            raise Opaque
        return x
