"""What a step does, worked out once for as long as parameters and options stay the same.

    Run     neighbours in a pack that share their options and their count, updated together
    Plan    the runs of all packs, and where their gradients come from
"""

from __future__ import annotations

import math
import operator
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.kernels import asarray, is_duck
from tinygrad_opt.optim.packing import Entry, Pack
from tinygrad_opt.optim.rule import Versions, in_place, numbers, results
from tinygrad_opt.symbols import InPlace
from tinygrad_opt.tensor import values_of
from tinygrad_opt.typing import Array

if TYPE_CHECKING:
    from tinygrad_opt.optim.optimizer import Optimizer

__all__ = ["BLOCK", "REMEMBER", "Plan", "Run"]

BLOCK = 1 << 16          # numbers that are worked on at a time, so that they stay in the cache
REMEMBER = 1 << 15       # up to so many numbers in all, what a step overwrites is kept

_consume = deque[object](maxlen=0).extend
_call: Callable[..., object] = getattr(operator, "call", partial.__call__)      # Python 3.11 has it


class Run:
    """Neighbours in one pack with the same options and count, updated together.

    Parameters
    ----------
    entries : list of Entry
    pack : Pack
    rule : Optimizer
        The options and the rule.
    counts : array of int
        How often each parameter has been updated, and last how many steps there were.
    versions : dict
        Rules as in-place calls, as far as they are known.
    large : bool
        Whether the gradient is read where it is, not copied into the pack.

    Attributes
    ----------
    version : InPlace or None
        The rule as in-place calls; None if it is called on the arrays of each parameter.
    """

    def __init__(self, entries: list[Entry], pack: Pack, rule: Optimizer, counts: Array,
                 versions: Versions, large: bool) -> None:
        self.entries, self.pack, self.rule, self.large = entries, pack, rule, large
        self.count: int = counts.item(entries[0].index)
        self.version = version = None if is_duck(pack.p) else in_place(
            rule, pack.dtype, rule._rate(counts.item(-1)), self.count + 1, versions)
        self.place = slice(entries[0].place.start, entries[-1].place.stop)
        self.slots = list(rule.accumulators())
        self.gradient = pack.g[self.place]     # of the whole run, as one vector
        self.calls: list[partial[object]] = []    # of the step
        self._reading: list[tuple[int, partial[object], Array, slice]] = []    # a large gradient
        self.rate, self.t = -1.0, 0            # of the last step
        self.rates = np.concatenate([          # of models, entry by entry
            np.repeat(rule.lr, e.size // len(rule.lr)) for e in entries
        ]).astype(pack.dtype) if isinstance(rule.lr, tuple) else None
        self._constant = rule.lr if type(rule.lr) is float and not rule.decay else None
        self._timeless = version is not None and "t" not in version.reads
        if version is not None:
            self._fixed = [*numbers(rule).values()]
            row = np.empty(version.size, pack.dtype)
            row[version.moves :] = version.constants(0.0, 1, *self._fixed)
            self._moving = row[: version.moves]
            self._bind(version, [row[i, ...] for i in range(version.size)])

    def _bind(self, version: InPlace, cells: list[Array]) -> None:
        """Make the calls, block after block."""
        pack = self.pack
        rows = [pack.p, pack.g, *[pack.state[pack.slots.index(slot)] for slot in self.slots]]
        vectors = [row[self.place] for row in rows] + [r for r in [self.rates] if r is not None]
        for start in range(0, len(self.gradient), BLOCK):
            inside = slice(start, start + BLOCK)
            parts = [vector[inside] for vector in vectors]
            g = parts[1]
            spare = [pack.scratch(i, d, len(g)) for i, d in enumerate(version.scratch)]
            bound = version.bind([*parts, *spare, *cells])
            if self.large:
                self._reading += [(len(self.calls) + i, call, g, inside)
                                  for i, call in enumerate(bound) if any(a is g for a in call.args)]
            self.calls += bound

    @property
    def options(self) -> dict[str, float]:
        """The numbers that the rule computes with, by name."""
        return numbers(self.rule)

    def branches(self) -> list[InPlace | None]:
        """The rule as in-place calls: a version for each branch that it takes at some step, and
        for options that are 0 now and might not be, or the other way round."""
        others = (self.rule._with({n: 0.0 if x else 0.5}) for n, x in self.options.items())
        known: Versions = {}
        for rule in (self.rule, *(o for o in others if [*o.accumulators()] == self.slots)):
            for t in (*range(1, 65), *(1 << k for k in range(7, 31))):
                in_place(rule, self.pack.dtype, rule._rate(t - 1), t, known)
        (versions,) = known.values()
        return versions

    def part(self, vector: Array, e: Entry) -> Array:
        """The part of a vector of the run that belongs to one parameter."""
        start = e.place.start - self.place.start
        return vector[start : start + e.size]

    def rate_of(self, e: Entry, index: int | tuple[int, ...]) -> float:
        """The rate of the last step for an entry of a parameter."""
        rates = 1.0 if self.rates is None else self.part(self.rates, e).reshape(e.shape)[index]
        return self.rate * float(rates)

    def read(self, g: Array) -> None:
        """Take the gradient of a large parameter: where it is, or copied if that will not do."""
        pack, packed = self.pack, self.pack.g[self.place]
        apart = not (np.may_share_memory(g, pack.p) or np.may_share_memory(g, pack.state))
        if apart and g.dtype == pack.dtype and g.flags.c_contiguous:
            self.gradient = g.reshape(-1)
        else:
            self.gradient = packed
            packed.reshape(g.shape)[...] = g
        for i, call, block, inside in self._reading:
            part = self.gradient[inside]
            operands = [part if a is block else a for a in call.args]
            self.calls[i] = partial(call.func, *operands, **call.keywords)

    def release(self) -> None:
        """Keep no gradient that was read where it is."""
        self.gradient = self.pack.g[self.place]
        for i, call, *_ in self._reading:
            self.calls[i] = call

    def prepare(self, steps: int, done: int) -> bool:
        """Compute the numbers of the next update; False if the rule takes another branch now."""
        rate, self.t = self._constant, self.count + done + 1
        if rate is None:
            rate = self.rule._rate(steps)
        if self._timeless and rate == self.rate:
            return True
        self.rate = rate
        if self.version is not None:
            moving = self.version.numbers(rate, self.t, *self._fixed)
            if moving is None:
                return False
            self._moving[...] = moving
        return True

    def call_rule(self) -> None:
        """Call the rule as it is, on copies of each parameter's arrays, which are written later."""
        self.calls.clear()
        for e in self.entries:
            kept = [e.part(self.pack.p), *[e.state[slot] for slot in self.slots]]
            p, *state = [array.copy() for array in kept]
            g = self.part(self.gradient, e).reshape(e.shape).copy()
            returned = self.rule._update(p, g, *state, lr=self.rate, t=self.t)
            for into, value in zip(kept, map(values_of, results(self.rule, returned))):
                if np.shape(value) != e.shape:
                    raise ValueError(f"the rule made {np.shape(value)} of {e.name!r}, which is"
                                     f" {e.shape}")
                self.calls.append(
                    partial(into.__setitem__, ..., asarray(value, into.dtype)))


def _runs(optimizer: Optimizer, rules: Mapping[str, Optimizer], large: float) -> list[Run]:
    """Those of the parameters that have rules, of which some are so large that they stand alone."""
    counts = optimizer._counts

    def together(e: Entry) -> tuple[object, ...] | None:
        """What is the same for all of a run."""
        return None if e.name not in rules else (
            rules[e.name], counts[e.index], e.index if e.size >= large else -1)

    groups = ((pack, [*group]) for pack in optimizer._packs
              for same, group in groupby(pack.entries, together) if same)
    return [Run(group, pack, rules[group[0].name], counts, optimizer._versions,
                group[0].size >= large) for pack, group in groups]


class Plan:
    """What a step does, as long as parameters, options and the set of gradients stay the same.

    Parameters
    ----------
    optimizer : Optimizer
        Whose parameters are packed.
    rules : dict of str to Optimizer
        The options of each parameter that is updated.

    Attributes
    ----------
    guarded : bool
        Whether gradients are checked or clipped.
    remembers : bool
        Whether what a step overwrites is kept.
    """

    def __init__(self, optimizer: Optimizer, rules: Mapping[str, Optimizer]) -> None:
        self.packs, self._before = optimizer._packs, optimizer._counts
        clips = optimizer.clip_value or optimizer.clip_norm_each or optimizer.clip_norm
        self.guarded = bool(clips) or optimizer.check_finite is not None
        self.remembers = optimizer._remembers or sum(p.size for p in self.packs) <= REMEMBER
        self.runs = _runs(optimizer, rules,
                          math.inf if clips or optimizer._remembers else BLOCK)
        pairs = [(e, run) for run in self.runs for e in run.entries]
        self.active = [e for e, _ in pairs]
        self.packed = [(e.target, e.value, e.part(r.pack.g)) for e, r in pairs if not r.large]
        self.large = [(e.target, e.value, run) for e, run in pairs if run.large]
        self.resting = [(e.target, e.target._gradient is not None)
                        for name, e in optimizer._entries.items() if name not in rules]
        self._by_hand = [run for run in self.runs if run.version is None]
        self._steps: int = self._before.item(-1)
        self._done = array("q", [0])           # machine code counts on too
        self._scatter: list[partial[object]] = []
        self._lists = [*(run.calls for run in self.runs), self._scatter]
        changes = self.large or self._by_hand or not optimizer._bound
        self._calls: list[partial[object] | None] = [] if changes else [*chain(*self._lists), None]

    @property
    def counts(self) -> Array:
        """How often each parameter has been updated by now, and last how many steps there were."""
        counts: Array = self._before.copy()
        counts[[*(e.index for e in self.active), -1]] += self._done[0]
        return counts

    @property
    def t(self) -> int:
        """Steps so far."""
        return self._steps + self._done[0]

    # ---- gradients -------------------------------------------------------------------------------

    def gather_gradients(self) -> bool:
        """Lay the gradients of the Tensors end to end, as the parameters are.

        Returns
        -------
        bool
            Whether the plan still holds: same memory, and gradients for the same parameters.
        """
        try:
            for tensor, values, place in self.packed:
                g = tensor._gradient
                if g is None or tensor._array is not values:
                    return False
                place[...] = g
        except (TypeError, ValueError, GraphError):        # of another shape, or a Tensor
            return False
        for tensor, values, run in self.large:
            g = values_of(tensor._gradient)
            if tensor._array is not values or getattr(g, "shape", None) != values.shape:
                return False
            run.read(g)
        for tensor, given in self.resting:
            if (tensor._gradient is not None) is not given:
                return False
        return True

    def place_gradients(self, gradients: Mapping[str, Array]) -> None:
        """Lay gradients that have been checked end to end."""
        for run in self.runs:
            for e in run.entries:
                e.part(run.pack.g)[...] = gradients[e.name]
        self.release()

    def release(self) -> None:
        """Keep no gradient that was read where it is."""
        for _, _, run in self.large:
            run.release()

    def not_finite(self) -> str | None:
        """Name of the first parameter whose gradient holds nan or inf."""
        suspects = [run for run in self.runs if not math.isfinite(_squares(run.gradient))]
        return next((e.name for run in suspects for e in run.entries    # squares may overflow
                     if not math.isfinite(_largest(run.part(run.gradient, e)))), None)

    def clip(self, value: float | None, each: float | None, total: float | None) -> None:
        """Limit entries, then the norm of each gradient, then the norm of all together."""
        parts = [run.gradient for run in self.runs]
        if value is not None:
            for g in parts:
                np.clip(g, -value, value, out=g)
        if each is not None:
            for run in self.runs:
                for e in run.entries:
                    _shrink([run.part(run.gradient, e)], each)
        if total is not None:
            _shrink(parts, total)

    # ---- the step --------------------------------------------------------------------------------

    def carry(self, arrays: Mapping[str, Array]) -> None:
        """Copy the values of the caller's arrays in, and have the new ones copied out."""
        for e in self.active:
            e.value[...] = arrays[e.name]
        self._scatter[:] = [partial(arrays[e.name].__setitem__, ..., e.value) for e in self.active]

    def prepare(self) -> bool:
        """Compute the numbers of the step; False if another plan is needed for them."""
        done = self._done[0]
        for run in self.runs:
            if not run.prepare(self._steps + done, done):
                return False
        return True

    def call_rules(self) -> None:
        """Call the rules that are no in-place calls; nothing is written yet."""
        for run in self._by_hand:
            run.call_rule()

    def commit(self) -> None:
        """Write the new values, with the count last.

        Python runs signal handlers between its own instructions only. All calls are made by one
        of them, so that no Ctrl-C, nor any number of them, comes between two calls.
        """
        done = self._done[0]
        calls = self._calls or [*chain(*self._lists), None]
        calls[-1] = partial(self._done.__setitem__, 0, done + 1)
        try:
            _consume(map(_call, calls))
        except BaseException:
            if self.remembers and self._done[0] == done:   # else all has been written
                self._undo()
            raise

    def _undo(self) -> None:
        """Take back what a call that failed has left half done, in one instruction too."""
        parts = [(pack.p, pack.state, pack.before) for pack in self.packs if pack.before]
        _consume(map(_call, chain(
            [partial(now.__setitem__, ..., old) for p, state, before in parts
             for now, old in zip((p, state), before)],
            self._scatter)))


def _shrink(parts: list[Array], most: float) -> None:
    """Scale vectors so that their common norm is `most`, if it is larger."""
    norm = math.hypot(*map(_norm, parts))
    if norm > most:
        for g in parts:
            g *= most / norm


def _norm(g: Array) -> float:
    """Euclidean norm, also of numbers whose squares overflow."""
    squares = _squares(g)
    if math.isfinite(squares):
        return math.sqrt(squares)
    top = _largest(g)
    return top * math.sqrt(_squares(g / top)) if math.isfinite(top) else top    # a rare copy


def _squares(g: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(g.dot(g))


def _largest(g: Array) -> float:
    """Largest absolute value, without a copy."""
    return max(float(g.max()), -float(g.min())) if g.size else 0.0
