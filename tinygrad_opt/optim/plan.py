"""What a step does, worked out once for as long as parameters and options stay the same.

    Run     neighbours in a pack that share their options and their count, updated together
    Plan    the runs of all packs, and where their gradients come from
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.optim.pack import Array, Entry, Pack
from tinygrad_opt.symbols import InPlace
from tinygrad_opt.tensor import values_of

__all__ = ["BLOCK", "REMEMBER", "Plan", "Run", "runs_of"]

BLOCK = 1 << 16          # numbers that are worked on at a time, so that they stay in the cache
REMEMBER = 1 << 15       # up to so many numbers in all, what a step overwrites is kept

_consume = deque[Any](maxlen=0).extend
_call: Callable[..., Any] = getattr(operator, "call", partial.__call__)      # Python 3.11 has it


class Run:
    """Neighbours in one pack with the same options and count, updated together.

    Parameters
    ----------
    entries : list of Entry
    pack : Pack
    rule : Optimizer
        The options and the rule.
    schedule : InPlace or None
        The rule as in-place calls; None if it is called on the arrays of each parameter.
    scratch : callable
        (i, dtype) -> scratch vector i of that dtype, of the length of a block.
    """

    def __init__(
        self, entries: list[Entry], pack: Pack, rule: Any, schedule: InPlace | None,
        scratch: Callable[[int, Any], Array],
    ) -> None:
        self.entries, self.pack, self.rule = entries, pack, rule
        self.schedule, self._scratch = schedule, scratch
        self.place = slice(entries[0].place.start, entries[-1].place.stop)
        self.slots = list(rule.accumulators())
        self.own: Array | None = None          # during a step: a gradient that was not copied
        self.calls: list[partial[Any]] = []    # of the step
        self._known: list[partial[Any]] = []   # those that read the gradient in the pack
        self.rate, self.t = -1.0, 0            # of the last step
        self._timeless = schedule is not None and "t" not in schedule.reads
        self._constant = rule.lr if type(rule.lr) is float and not rule.decay else None
        if schedule is not None:
            self._fixed = rule._numbers()
            self._row = np.empty(schedule.size, pack.p.dtype)
            self._row[schedule.moves :] = schedule.constants(0.0, 1, *self._fixed)
            self._moving = self._row[: schedule.moves]

    @property
    def gradient(self) -> Array:
        """The gradient of the whole run, as one vector."""
        return self.pack.g[self.place] if self.own is None else self.own

    def gradient_of(self, e: Entry) -> Array:
        """The part of it that belongs to one parameter."""
        start = e.place.start - self.place.start
        return self.gradient[start : start + e.size]

    def read(self, g: Array) -> None:
        """Take the gradient of a large parameter: where it is, or copied if that will not do."""
        pack = self.pack
        apart = not (np.may_share_memory(g, pack.p) or np.may_share_memory(g, pack.state))
        if apart and g.dtype == pack.p.dtype and g.flags.c_contiguous:
            self.own = g.reshape(-1)
        else:
            self.own = None
            pack.g[self.place].reshape(g.shape)[...] = g
        self.bind()

    def bind(self) -> None:
        """Make the calls for the present gradient, block after block."""
        schedule = self.schedule
        if schedule is None:
            return
        if not self._known:
            pack = self.pack
            rows = [pack.state[pack.slots.index(slot)] for slot in self.slots]
            numbers = [self._row[i, ...] for i in range(schedule.size)]
            for start in range(self.place.start, self.place.stop, BLOCK):
                part = slice(start, min(start + BLOCK, self.place.stop))
                spare = [self._scratch(i, d)[: part.stop - start]
                         for i, d in enumerate(schedule.scratch)]
                self._known += schedule.bind(
                    [pack.p[part], pack.g[part], *[row[part] for row in rows], *spare, *numbers])
        self.calls = self._known
        if self.own is not None:               # the calls that read g read it where it is
            self.calls = list(self._known)
            reading = [(i, call.operands) for i, call in enumerate(schedule.calls)
                       if 1 in call.operands]
            for block, start in enumerate(range(0, self.own.size, BLOCK)):
                g, first = self.own[start : start + BLOCK], block * len(schedule.calls)
                for i, operands in reading:
                    known = self._known[first + i]
                    args = [g if place == 1 else a for place, a in zip((*operands, -1), known.args)]
                    self.calls[first + i] = partial(known.func, *args, **known.keywords)

    def prepare(self, count: int, t: int) -> bool:
        """Compute the numbers of update t; False if the rule takes another branch from here on."""
        rate = self._constant
        if rate is None:
            rate = self.rule._rate(count)
        self.t = t
        if self._timeless and rate == self.rate:
            return True
        self.rate = rate
        if self.schedule is not None:
            numbers = self.schedule.numbers(rate, t, *self._fixed)
            if numbers is None:
                return False
            self._moving[...] = numbers
        return True

    def call_rule(self) -> None:
        """Call the rule as it is, on copies of each parameter's arrays, which are written later."""
        self.calls = []
        for e in self.entries:
            kept = [e.part(self.pack.p), *[e.state[slot] for slot in self.slots]]
            p, *state = [array.copy() for array in kept]
            g = self.gradient_of(e).reshape(e.shape).copy()
            new = self.rule._results(self.rule._update(p, g, *state, lr=self.rate, t=self.t))
            for array, value in zip(kept, new):
                value = values_of(value)
                if np.shape(value) != e.shape:
                    raise ValueError(f"the rule made {np.shape(value)} of {e.name!r}, which is"
                                     f" {e.shape}")
                self.calls.append(
                    partial(array.__setitem__, ..., np.asarray(value, array.dtype)))


def runs_of(
    pack: Pack, active: set[str], rules: dict[str, Any], counts: Array,
    schedule_of: Callable[[Any, Any, int], Any], scratch: Callable[[int, Any], Array],
    large: float,
) -> list[Run]:
    """The active parameters of a pack, neighbours with equal options and counts together.

    From `large` numbers on, a parameter stands alone.
    """
    groups: list[list[Entry]] = []
    for e in (e for e in pack.entries if e.name in active):
        last = groups[-1][-1] if groups else None
        if (last is not None and last.place.stop == e.place.start
                and counts[last.index] == counts[e.index]
                and rules[last.name] is rules[e.name] and max(last.size, e.size) < large):
            groups[-1].append(e)
        else:
            groups.append([e])
    runs = []
    for group in groups:
        rule, t = rules[group[0].name], int(counts[group[0].index]) + 1
        runs.append(Run(group, pack, rule, schedule_of(rule, pack.p.dtype, t), scratch))
    return runs


class Plan:
    """What a step does, as long as parameters, options and the set of gradients stay the same.

    Parameters
    ----------
    entries : list of Entry
        All parameters.
    packs : list of Pack
        Where they live.
    runs : list of Run
        What is updated.
    gradients : list
        Of all parameters, None for those without: a later step with others needs another plan.
    large : float
        From so many numbers on a gradient is read where it is, not copied into the pack.
    counts : array of int
        How often each parameter had been updated before, and last how many steps there were.
    """

    def __init__(
        self, entries: list[Entry], packs: list[Pack], runs: list[Run], gradients: Sequence[Any],
        large: float, counts: Array,
    ) -> None:
        self.packs, self.runs = packs, runs
        self.guarded = False                   # whether gradients are checked or clipped
        self.remembers = sum(p.p.size for p in packs) <= REMEMBER
        self.active = [e for run in runs for e in run.entries]
        self.given = {e.name for e, g in zip(entries, gradients) if g is not None}
        self.packed = [(e.target, e.values(), e.part(run.pack.g))
                       for run in runs for e in run.entries if e.size < large]
        self.large = [(e.target, e.values(), run)
                      for run in runs for e in run.entries if e.size >= large]
        active = {e.name for e in self.active}
        self.resting = [(e.target, e.name in self.given) for e in entries if e.name not in active]
        self._calls_rules = any(run.schedule is None for run in runs)
        self._done = [0]                       # steps by this plan
        self._before = counts
        self._counted = [(run, counts.item(run.entries[0].index) + 1) for run in runs]
        self._count = counts.item(-1)
        self._scatter: list[partial[Any]] = []
        for run in runs:
            if run not in (r for _, _, r in self.large):
                run.bind()
        self._assemble()

    @property
    def counts(self) -> Array:
        """How often each parameter has been updated by now, and last how many steps there were."""
        counts = self._before.copy()
        counts[[*(e.index for e in self.active), -1]] += self._done[0]
        return counts

    @property
    def t(self) -> int:
        """Steps so far."""
        return self._count + self._done[0]

    def _assemble(self) -> None:
        """Put the calls of all runs in one list, which ends with the count."""
        self._calls: list[Any] = [*chain(*[run.calls for run in self.runs]), *self._scatter, None]

    def gather(self) -> bool:
        """Lay the gradients of the Tensors end to end, as the parameters are.

        Returns
        -------
        bool
            Whether the plan still holds: same memory, and gradients for the same parameters.
        """
        try:
            for tensor, values, place in self.packed:
                g = tensor.gradient
                if g is None or tensor.array is not values:
                    return False
                place[...] = g
        except (TypeError, ValueError, GraphError):        # of another shape, or a Tensor
            return False
        for tensor, values, run in self.large:
            g = values_of(tensor.gradient)
            if tensor.array is not values or getattr(g, "shape", None) != values.shape:
                return False
            run.read(g)
        if self.large:
            self._assemble()
        for tensor, given in self.resting:
            if (tensor.gradient is not None) is not given:
                return False
        return True

    def lay(self, gradients: dict[str, Array]) -> None:
        """Lay gradients that have been checked end to end."""
        for run in self.runs:
            for e in run.entries:
                e.part(run.pack.g)[...] = gradients[e.name]
        for _, _, run in self.large:
            run.own = None
            run.bind()
        self._assemble()

    def let_go(self) -> None:
        """Keep no gradient that was read where it is."""
        for _, _, run in self.large:
            run.own = None
            run.calls = []
        self._calls = []

    def collect(self) -> None:
        """Copy the values of an unbound optimizer's arrays in, and have them copied out."""
        for e in self.active:
            np.copyto(e.value, e.target)                   # type: ignore[arg-type]
        self._scatter = [partial(e.target.__setitem__, ..., e.value) for e in self.active]
        self._assemble()

    def prepare(self) -> bool:
        """Compute the numbers of the step; False if another plan is needed for them."""
        done = self._done[0]
        for run, t in self._counted:
            if not run.prepare(self._count + done, t + done):
                return False
        return True

    def call_rules(self) -> None:
        """Call the rules that are no in-place calls; nothing is written yet."""
        if self._calls_rules:
            for run in self.runs:
                if run.schedule is None:
                    run.call_rule()
            self._assemble()

    def commit(self) -> None:
        """Write the new values, with the count last.

        Python runs signal handlers between its own instructions only. All calls are made by one
        of them, so that no Ctrl-C, nor any number of them, comes between two calls.
        """
        self._calls[-1] = partial(self._done.__setitem__, 0, self._done[0] + 1)
        _consume(map(_call, self._calls))

    def undo(self) -> None:
        """Take back what a call that failed has left half done, in one instruction too."""
        parts = [(pack.p, pack.state, pack.before) for pack in self.packs if pack.before]
        _consume(map(_call, chain(
            [partial(now.__setitem__, ..., old) for p, state, before in parts
             for now, old in zip((p, state), before)],
            self._scatter)))
