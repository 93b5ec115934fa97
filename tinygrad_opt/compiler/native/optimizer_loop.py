"""An optimizer's step as machine code: the loop of its rule, over the vectors that it owns.

The optimizer keeps its plan: what it updates, the rates, the count. Its rule is already a list of
in-place calls over flat vectors; here these become one loop, which reads every vector once, and
the numbers of the step are computed from the count by another. Nothing is kept on this side, so
that eager and compiled steps can follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from tinygrad_opt.compiler.conditions import all_of
from tinygrad_opt.compiler.native.elementary_functions import FUNCTIONS
from tinygrad_opt.compiler.native.loops import Loop, Value, Values
from tinygrad_opt.compiler.native.machine_code import Runner
from tinygrad_opt.compiler.planned_updates import Optimizer, Plan, Run, plan_of
from tinygrad_opt.compiler.program import address, row_major
from tinygrad_opt.symbols import InPlace, Symbol, inside, name_of
from tinygrad_opt.typing import Array

__all__ = ["OptimizerStep", "number_loop", "update_loop"]

Step: TypeAlias = tuple[Loop, list[int]]                   # a loop, and where its arrays are


class OptimizerStep:
    """Steps of an optimizer, by loops for as long as its plan holds.

    Parameters
    ----------
    optimizer : Optimizer
    runner_of : callable
        Compiles loops with the addresses of their arrays.
    """

    def __init__(
        self, optimizer: Optimizer, runner_of: Callable[[Sequence[Step]], Runner]
    ) -> None:
        self.optimizer, self.runner_of = optimizer, runner_of
        self.plan: Plan | None = None                      # that the loops belong to
        self.left: Plan | None = None                      # a plan of which no loops can be made
        self.kept: list[Array] = []                        # of each run: its count, rate, options
        self.moving: list[tuple[Run, Array | None]] = []   # runs for which Python computes numbers
        self.loops: list[Loop] = []                        # of the latest plan

    def __call__(self) -> None:
        self.optimizer.reduce_gradients()
        if self._by_loops():
            self.optimizer._reduced = False
        else:
            self.optimizer._step()

    def _by_loops(self) -> bool:
        """Make the step, or leave it out as its options say; False if NumPy is to make it."""
        optimizer = self.optimizer
        plan = optimizer._plan or plan_of(optimizer)
        if plan is not self.plan and not self._take(plan):
            return False
        update = self.update
        if not self.holds():                               # gradients may lie elsewhere now
            if plan.large or not plan.gather_gradients():
                self.plan = None
                return False
        elif plan.guarded:
            self.gather()
        else:
            update = self.gather_and_update
        for run, given in self.moving:
            if given is None:
                if not run.prepare(plan.t, plan._done[0]):
                    return False
            else:
                given[1] = run.rate = run.rule._rate(plan.t)
        optimizer.__dict__["_last"] = None
        if plan.guarded and not optimizer._guarded(plan):
            return True
        optimizer._used()
        if update() >= 0:                                  # the rule takes another branch now
            return False
        for run in plan.runs:
            run.t = run.count + plan._done[0]                  # `explain` tells of the last step
        optimizer.__dict__["_last"] = plan
        return True

    def _take(self, plan: Plan) -> bool:
        """Write the loops of a plan, if it holds and there are such."""
        if plan is self.left or not plan.gather_gradients():
            return False
        plan.release()
        self.plan, self.left = None, plan
        self.kept, self.moving = [], []
        numbers: list[Step] = []
        copies: list[Step] = []
        updates: list[Step] = []
        if not all(self._takes(run, plan, numbers, copies, updates) for run in plan.runs):
            return False
        for pack in plan.packs if plan.remembers else ():  # what the step overwrites
            pack.remember()
            updates[:0] = [(_copy(now, pack.dtype), [address(now), address(kept)])
                           for now, kept in zip((pack.p, pack.state), pack.before or ())]
        updates.append((_COUNT, [plan._done.buffer_info()[0]]))
        self.loops[:] = [loop for loop, _ in numbers + copies + updates]
        self.gather = self.runner_of(copies).call
        self.update = self.runner_of(numbers + updates).call
        self.gather_and_update = self.runner_of(numbers + copies + updates).call
        self.holds = all_of([
            *(("{0}._gradient is {1}", e.target, e.target._gradient) for e in plan.active),
            *(("{0}._array is {1}", e.target, e.target._array) for e in plan.active),
            *((f"{{}}._gradient is {'not ' * given}None", t) for t, given in plan.resting)])
        self.plan, self.left = plan, None
        return True

    def _takes(self, run: Run, plan: Plan, numbers: list[Step], copies: list[Step],
               updates: list[Step]) -> bool:
        """Add the loops of a run, if there are such: of its numbers, of its gradients where they
        are copied, and of its vectors."""
        pack, size, version = run.pack, run.pack.dtype.itemsize, run.version
        update = None if version is None else update_loop(run, version)
        gradients = [e.target._gradient for e in run.entries]
        if version is None or update is None or not all(
                type(g) is np.ndarray and g.dtype == pack.dtype for g in gradients):
            return False
        rows = [pack.p, pack.g, *[pack.state[pack.slots.index(slot)] for slot in run.slots]]
        where = [address(row) + run.place.start * size for row in rows]
        where += [address(run.rates)] if run.rates is not None else []
        if run.large and not plan.guarded and gradients[0].flags.c_contiguous:
            where[1] = address(gradients[0])              # it is read where it is
        else:
            copies += [(_copy(g, pack.dtype), [
                address(g), where[1] + size * (e.place.start - run.place.start)])
                for e, g in zip(run.entries, gradients)]
        cells = [address(run._moving) + size * i for i in range(version.size)]
        updates.append((update, where + cells))
        moving = number_loop(run, version, version.wanted[: version.moves])
        if not FUNCTIONS.keys() | {"load", "cast", "number"} >= {v.name for v in moving.values}:
            self.moving.append((run, None))
            return True
        given = np.array([run.count + 1, run.rate, *run._fixed])
        self.kept.append(given)
        if run._constant is None:
            self.moving.append((run, given))
        inputs = [address(given) + 8 * i for i in range(len(given))]
        numbers.append((moving, [plan._done.buffer_info()[0], *inputs, *cells[: version.moves]]))
        return True


def _copy(g: Array, dtype: np.dtype) -> Loop:
    """A loop that lays a gradient out as its parameter is."""
    name, flat = dtype.str[1:], row_major(g.shape, dtype.itemsize)
    loop = Loop(g.shape, ((name, g.strides), (name, flat)), (Value("load", name, (0,)),), ((0, 1),))
    return loop.merged()


_COUNT = Loop((), (("i8", ()),), (Value("load", "i8", (0,)), Value("number", "i8", text="1"),
                                  Value("add", "i8", (0, 1))), ((2, 0),))


def number_loop(run: Run, version: InPlace, wanted: Sequence[Symbol]) -> Loop:
    """Numbers of a step, from the steps done, the count at the first, the rate and the options. It
    is refused where the rule takes another branch."""
    name, (rate, _, *fixed) = run.pack.dtype.str[1:], version.arguments
    known = {n: i for i, n in enumerate([rate, *fixed], 2)}
    values, at = Values(), dict[Symbol, int]()
    done = values.new("cast", "f8", values.new("load", "i8", 0))
    count = values.new("add", "f8", done, values.new("load", "f8", 1))
    for s in inside([*wanted, *(s for s, _ in version.conditions)]):
        if s.function is not None:
            at[s] = values.new(name_of(s.function), "b1" if s.dtype == bool else "f8",
                               *[at[x] for x in s.inputs])
        elif s.name == "t":
            at[s] = count
        elif s.name in known:
            at[s] = values.new("load", "f8", known[s.name])
        else:
            at[s] = values.new("number", "f8", text=float(s.array).hex())
    checks = [values.new("cast" if answer else "logical_not", "b1", at[s])
              for s, answer in version.conditions]
    first = 2 + len(known)
    stores = [(values.new("cast", name, at[s]), first + i) for i, s in enumerate(wanted)]
    arrays = (("i8", ()),) + (("f8", ()),) * (first - 1) + ((name, ()),) * len(wanted)
    return Loop((), arrays, tuple(values), tuple(stores), (), tuple(checks))


def update_loop(run: Run, version: InPlace) -> Loop | None:
    """The in-place calls of a rule as one loop, which reads and writes each vector once."""
    name, size = run.pack.dtype.str[1:], run.pack.dtype.itemsize
    vectors = 2 + len(run.slots) + (run.rates is not None)
    arrays = ((name, (size,)),) * vectors + ((name, (0,)),) * version.size
    first = vectors + len(version.scratch)                 # of the numbers
    values = Values()
    at = {i: values.new("load", name, i) for i in range(vectors)}
    begun = dict(at)
    for function, operands, out in version.calls:
        what = function.__name__.strip("_")                # _where is where, in place
        if what not in FUNCTIONS or name not in ("f4", "f8"):
            return None
        for i in operands:
            if i not in at:
                at[i] = values.new("load", name, i - len(version.scratch))
        truth = vectors <= out < first and version.scratch[out - vectors] == np.dtype(bool)
        at[out] = values.new(what, "b1" if truth else name, *[at[i] for i in operands])
    stores = tuple((at[i], i) for i in range(vectors) if at[i] != begun[i])
    return Loop((run.place.stop - run.place.start,), arrays, tuple(values), stores)
