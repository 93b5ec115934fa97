"""An optimizer's step as machine code: the loop of its rule, over the vectors that it owns.

The optimizer keeps its plan: what it updates, the numbers of each step, the count. Its rule is
already a list of in-place calls over flat vectors; here these become one loop, which reads every
vector once. Nothing is kept on this side, so that eager and compiled steps can follow each other.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.compiler.native.elementary_functions import FUNCTIONS
from tinygrad_opt.compiler.native.loops import Loop, Value
from tinygrad_opt.compiler.program import Call

__all__ = ["OptimizerStep", "is_step", "update_loop"]

_consume = deque[Any](maxlen=0).extend
_gradient = operator.attrgetter("_gradient")
_array = operator.attrgetter("_array")
_call: Callable[..., Any] = getattr(operator, "call", partial.__call__)


def is_step(call: Call) -> bool:
    """Whether a call is the step of an optimizer that is bound to its parameters."""
    owner = getattr(call.kernel, "__self__", None)
    return hasattr(owner, "_planned") and call.kernel.__name__ == "_step"


class OptimizerStep:
    """Steps of an optimizer. Where its plan is another one, it makes a step of its own first.

    Parameters
    ----------
    optimizer : Optimizer
    runner_of : callable
        Compiles loops with the addresses of their arrays.
    """

    def __init__(self, optimizer: Any, runner_of: Callable[..., Any]) -> None:
        self.optimizer, self.runner_of = optimizer, runner_of
        self.plan: Any = None                              # that the loops belong to
        self.update: Any = None

    def __call__(self) -> None:
        optimizer, plan = self.optimizer, self.optimizer._plan
        if plan is None or plan is not self.plan or not self._holds(plan) or not plan.prepare():
            optimizer._step()
            self._take(optimizer._plan)
            return
        if plan.guarded:                                   # gradients are looked at, or clipped
            self.gather.call()
            optimizer._advance(plan, self.update)
        else:
            optimizer._advance(plan, self.gather_and_update)

    def _holds(self, plan: Any) -> bool:
        """Whether values and gradients are where they were."""
        return (all(map(operator.is_, map(_gradient, self.tensors), self.gradients))
                and all(map(operator.is_, map(_array, self.tensors), self.values))
                and not (plan.resting and any(
                    (t._gradient is not None) is not given for t, given in plan.resting)))

    def _take(self, plan: Any) -> None:
        """Write the loops of a plan; without them, the optimizer goes on by itself."""
        self.plan = None
        if plan is None or any(run.version is None for run in plan.runs):
            return
        copies: list[Any] = []
        updates: list[Any] = []
        if plan.remembers:                                 # what the step overwrites
            for pack in plan.packs:
                pack.remember()
                for now, kept in zip((pack.p, pack.state), pack.before):
                    updates.append((_copy(now, pack.dtype), [_address(now), _address(kept)]))
        for run in plan.runs:
            loop = update_loop(run, run.version)
            if loop is None:
                return
            pack, size = run.pack, run.pack.dtype.itemsize
            rows = [pack.p, pack.g, *[pack.state[pack.slots.index(slot)] for slot in run.slots]]
            where = [_address(row) + run.place.start * size for row in rows]
            where += [_address(run.rates)] if run.rates is not None else []
            numbers = _address(run._moving.base)
            where += [numbers + i * size for i in range(run.version.size)]
            gradients = [e.target._gradient for e in run.entries]
            if run.large and not plan.guarded and _is_plain(gradients[0], pack.dtype):
                where[1] = _address(gradients[0])          # it is read where it is
            else:
                for e, g in zip(run.entries, gradients):
                    copy = _copy(g, pack.dtype)
                    if copy is None:
                        return
                    copies.append((copy, [_address(g), where[1] + size * (
                        e.place.start - run.place.start)]))
            updates.append((loop, where))
        self.gather = self.runner_of(copies)
        self.update = self.runner_of(updates).call
        self.gather_and_update = self.runner_of(copies + updates).call
        self.tensors = [e.target for e in plan.active]
        self.gradients = [t._gradient for t in self.tensors]
        self.values = [t._array for t in self.tensors]
        self.plan = plan


def _address(array: np.ndarray) -> int:
    where: int = array.__array_interface__["data"][0]
    return where


def _is_plain(g: Any, dtype: Any) -> bool:
    return isinstance(g, np.ndarray) and g.dtype == dtype and g.flags.c_contiguous


def _copy(g: Any, dtype: Any) -> Loop | None:
    """A loop that lays a gradient out as its parameter is."""
    if not isinstance(g, np.ndarray) or g.dtype != dtype:
        return None
    name, flat = dtype.str[1:], np.empty(g.shape, dtype).strides
    loop = Loop(g.shape, ((name, g.strides), (name, flat)), (Value("load", name, (0,)),), ((0, 1),))
    return loop.merged()


def update_loop(run: Any, version: Any) -> Loop | None:
    """The in-place calls of a rule as one loop, which reads and writes each vector once."""
    dtype = run.pack.dtype
    name, size = dtype.str[1:], dtype.itemsize
    vectors = 2 + len(run.slots) + (run.rates is not None)
    arrays = ((name, (size,)),) * vectors + ((name, (0,)),) * version.size
    values: list[Value] = []

    def new(what: str, kind: str, *operands: int) -> int:
        values.append(Value(what, kind, operands))
        return len(values) - 1

    at: dict[int, int] = {}
    first = vectors + len(version.scratch)                 # of the numbers

    def read(i: int) -> int:
        if i not in at:
            at[i] = new("load", name, i if i < vectors else i - len(version.scratch))
        return at[i]

    begun = {i: read(i) for i in range(vectors)}
    for function, operands, out in version.calls:
        what = function.__name__.strip("_")                # _where is where, in place
        if what not in FUNCTIONS or name not in ("f4", "f8"):
            return None
        given = [read(i) for i in operands]
        spare = vectors <= out < first and version.scratch[out - vectors]
        at[out] = new(what, "b1" if spare == np.dtype(bool) else name, *given)
    stores = tuple((at[i], i) for i in range(vectors) if at[i] != begun[i])
    count = run.place.stop - run.place.start
    return Loop((count,), arrays, tuple(values), stores)
