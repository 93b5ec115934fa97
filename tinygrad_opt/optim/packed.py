"""Options, and the parameters that they are for: laid out, and planned for until they change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.optim.given import gradient
from tinygrad_opt.optim.pack import Array, Entry, Pack
from tinygrad_opt.optim.plan import BLOCK, Plan, Run, runs_of
from tinygrad_opt.optim.settings import Settings

__all__ = ["Packed"]


class Packed(Settings):
    """Settings with the parameters in packs and, from the first step on, a plan."""

    scratch: ClassVar[int] = 1                 # vectors that the rule may write anything into

    _packs: list[Pack]
    _scratch: dict[Any, list[Array]]
    _plan: Plan | None
    _last: list[tuple[Run, float, int]] | None
    _remembers: bool                           # a large model's values too, for `explain`

    @property
    def parameters(self) -> dict[str, Any]:
        """What is updated: name -> Tensor, or the array last seen under that name."""
        return {name: e.target for name, e in self._entries.items()}

    @property
    def state(self) -> dict[str, dict[str, Array]]:
        """What the rule keeps: name -> {accumulator: array}, as views in the parameter's shape."""
        return {name: e.state() for name, e in self._entries.items()}

    def accumulators(self) -> dict[str, float]:
        """Names of what the rule keeps for each number, and what each starts from."""
        return {}

    def _planned(self, gradients: Mapping[str, Any]) -> Plan:
        """A plan for these gradients, which are checked and laid out."""
        self._forget_plan()
        self.__dict__["_last"] = None          # the gradients that it used may be overwritten
        entries = list(self._entries.values())
        given = [gradients.get(e.name) for e in entries]
        if all(g is None for g in given):
            raise GraphError(
                "no parameter has a gradient: call loss.backward() before step()."
                " Were the parameters used in the loss?"
            )
        checked = {e.name: gradient(e.name, e.values(), g)
                   for e, g in zip(entries, given) if g is not None}
        options = self._options_of(entries)
        slots = _slots(options)
        if not self._packs or self._packs[0].slots != slots or self._moved():
            self._pack(options)
        active = {name for name in checked
                  if not any(fnmatchcase(name, pattern) for pattern in self.frozen)}
        clips = bool(self.clip_value or self.clip_norm_each or self.clip_norm)
        large = math.inf if clips or self._remembers or not self._bound else BLOCK
        runs = [run for pack in self._packs for run in
                runs_of(pack, active, options, self._scratch, large)]
        plan = Plan(entries, self._packs, runs, given, large)
        plan.guarded = clips or self.check_finite is not None
        plan.remembers = plan.remembers or self._remembers
        if not (self._bound and plan.gather()):
            plan.lay(checked)
        self.__dict__["_plan"] = plan
        return plan

    def _options_of(self, entries: list[Entry]) -> dict[str, Any]:
        """name -> the options of that parameter, one object for all that have the same."""
        twins: list[tuple[dict[str, Any], Any]] = [({}, self)]
        options: dict[str, Any] = {}
        for e in entries:
            different = self._overridden(e.name, self.overrides)
            known = [twin for given, twin in twins if given == different]
            options[e.name] = known[0] if known else self._with(different)
            if not known:
                twins.append((different, options[e.name]))
        return options

    def _pack(self, options: dict[str, Any] | None = None) -> None:
        """Lay the parameters of each dtype end to end; what they have in state comes along."""
        entries = list(self._entries.values())
        options = self._options_of(entries) if options is None else options
        slots = _slots(options)
        groups: dict[Any, list[Entry]] = {}
        for e in entries:
            groups.setdefault(e.dtype, []).append(e)

        def starts(e: Entry) -> dict[str, float]:
            return dict.fromkeys(slots, 0.0) | options[e.name].accumulators()

        packs = [Pack(group, slots, starts, self._bound) for group in groups.values()]
        keep = self.__dict__
        keep["_packs"] = packs
        keep["_scratch"] = {
            p.p.dtype: [np.empty(min(p.p.size, BLOCK), p.p.dtype)
                        for _ in range(1 + self.scratch)] for p in packs
        }

    def _moved(self) -> bool:
        """Whether somebody has re-pointed a Tensor since it was packed."""
        return self._bound and any(not e.in_place() for e in self._entries.values())

    def _forget_plan(self) -> None:
        """Write the counts of the runs back; the next step plans anew."""
        plan = self._plan
        if plan is not None:
            for run in plan.runs:
                for e in run.entries:
                    e.t = run.t
            self.__dict__["_plan"] = None


def _slots(options: dict[str, Any]) -> tuple[str, ...]:
    """Names of all accumulators that some parameter needs."""
    twins = {id(o): o for o in options.values()}.values()
    return tuple(dict.fromkeys(s for o in twins for s in o.accumulators()))
