"""`Optimizer`: everything that rules have in common, so that a rule is only its formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from tinygrad_opt.errors import GraphError, NonFiniteError
from tinygrad_opt.optim.explain import Formula, explanation
from tinygrad_opt.optim.given import bound, gradient, shapes, updatable
from tinygrad_opt.optim.gradients import clip, first_not_finite
from tinygrad_opt.optim.interrupts import uninterrupted
from tinygrad_opt.optim.pack import BLOCK, Array, Entry, Pack, Plan, Run, runs_of
from tinygrad_opt.optim.settings import Settings
from tinygrad_opt.optim.state import load, saved
from tinygrad_opt.tensor import Tensor, effect, tick

__all__ = ["Optimizer", "Params"]

Params = Mapping[str, Tensor] | None

_grad_of = attrgetter("gradient")

class Optimizer(Settings):
    """What all optimizers share; a subclass adds its options, accumulators and `rule`.

    Parameters
    ----------
    params : dict of str to Tensor, optional
        What ``step()`` updates, such as ``model.parameters()``. A Tensor under two names is
        updated once. Without it the optimizer is unbound and used by ``update(params, grads)``.
    lr : float or callable
        The learning rate: a number in [0, inf), or a schedule t -> lr with t = 0 at the first
        step.
    decay : float in [0, inf)
        Inverse time decay: step t uses lr / (1 + decay · t).
    weight_decay : float in [0, inf)
        Adds weight_decay · p to the gradient (L2 penalty). In `AdamW` and `Lion` it is
        decoupled: p shrinks by lr · weight_decay · p beside the step.
    clip_value : float, optional
        Limit each entry of the gradients to [-clip_value, clip_value].
    clip_norm_each : float, optional
        Scale down the gradient of each parameter whose Euclidean norm exceeds it.
    clip_norm : float, optional
        Scale down all gradients together if their common norm exceeds it. When several are
        given they act in this order: value, each, all.
    check_finite : {None, "raise", "skip"}
        What a gradient with nan or inf in it does: "raise" names the parameter, "skip" leaves
        the step out and counts it in ``skipped``. Either way nothing has been touched.
    overrides : dict of str to dict
        Other options for parameters whose name fits a pattern, later patterns first:
        ``{"*.bias": {"weight_decay": 0.0}, "layers.0.*": {"lr": 1e-4}}``.
    frozen : str or sequence of str
        Patterns of names that are not updated; their accumulators rest too.

    Attributes
    ----------
    t : int
        Steps so far.
    current_lr : float
        The rate that the next step uses.
    skipped : int
        Steps left out by ``check_finite="skip"``.

    Raises
    ------
    TypeError, ValueError
        For options that are unknown or out of range, when given and when set later.

    Notes
    -----
    The parameters are laid end to end in one vector for each dtype, and every Tensor's data
    becomes a view of it, so that a step costs a handful of NumPy calls however many parameters
    there are. Whoever re-points a Tensor at other data is noticed at the next step.

    A step either happens or does not: an error or Ctrl-C within it leaves parameters,
    accumulators and counts as they were, or arrives when all of them have been written.

    A parameter without a gradient is left alone, and its own count of updates rests.
    """

    decoupled: ClassVar[bool] = False          # weight decay beside the step, not in the gradient
    scratch: ClassVar[int] = 1                 # vectors that the rule may write anything into

    skipped: int
    _targets: list[Tensor]
    _packs: list[Pack]
    _scratch: dict[Any, list[Array]]
    _plan: Plan | None
    _last: list[tuple[Run, float, int]] | None
    _remembers: bool                           # a large model's values too, for `explain`

    def __init__(
        self,
        params: Params,
        lr: Any,
        *,
        decay: float = 0.0,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_norm_each: float | None = None,
        clip_value: float | None = None,
        check_finite: str | None = None,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        frozen: str | Iterable[str] = (),
        **rule: Any,
    ) -> None:
        keep = self.__dict__
        keep.update(_plan=None, _packs=[], _last=None, _remembers=False, t=0, skipped=0)
        keep.update(_entries={}, _targets=[], _bound=params is not None)
        given = dict(
            lr=lr, decay=decay, weight_decay=weight_decay, clip_norm=clip_norm,
            clip_norm_each=clip_norm_each, clip_value=clip_value, check_finite=check_finite,
        )
        for name, value in (given | rule).items():
            if name not in self.options:
                raise TypeError(self._unknown(name))
            setattr(self, name, value)
        if params is not None:
            keep["_entries"] = bound(type(self).__name__, params)
            keep["_targets"] = [e.target for e in self._entries.values()]
        self.overrides = overrides or {}
        self.frozen = frozen                                       # type: ignore[assignment]
        self._check_options()
        if params is not None:
            self._pack()

    # ---- what a rule defines ---------------------------------------------------------------------

    def accumulators(self) -> dict[str, float]:
        """Names of what the rule keeps for each number, and what each starts from."""
        return {}

    def rule(self, p: Array, g: Array, *state: Any, lr: float, t: int) -> None:
        """Update p in place, given its gradient g, which is not to be written.

        After g come the accumulators in the order of `accumulators`, then scratch vectors; lr is
        this step's rate, t counts this parameter's updates from 1.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rule")

    def constants(self, t: int) -> dict[str, float]:
        """Further scalars of update t that `algorithm` speaks of."""
        return {}

    def algorithm(self) -> list[str]:
        """The rule as assignments to single numbers, for `explain` and `formula`."""
        raise NotImplementedError(f"{type(self).__name__} defines no algorithm")

    # ---- stepping --------------------------------------------------------------------------------

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        Raises
        ------
        GraphError
            If no parameter has a gradient.
        NonFiniteError
            With ``check_finite="raise"``.
        ShapeError
            If a gradient has not the shape of its parameter.
        """
        effect(self._step)                                 # a captured step repeats it

    def _step(self) -> None:
        targets = self._targets
        gradients = list(map(_grad_of, targets))
        if Tensor in map(type, gradients):
            gradients = [g.array if type(g) is Tensor else g for g in gradients]
        plan = self._plan
        if plan is None or not plan.fits(targets, gradients):
            if not self._bound:
                raise TypeError(
                    f"{type(self).__name__} has no parameters: give them to step() by"
                    f" {type(self).__name__}(model.parameters(), ...), or call"
                    " update(params, grads)"
                )
            plan = self._planned(gradients)
        self._advance(plan, gradients)

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next ``backward()`` starts afresh."""
        effect(self._forget_gradients)

    def _forget_gradients(self) -> None:
        for tensor in self._targets:
            tensor.gradient = None

    def update(self, params: Mapping[str, Any], grads: Mapping[str, Any]) -> None:
        """Update arrays in place, of an optimizer that is not bound to parameters.

        Parameters
        ----------
        params, grads : dict of str to array
            With the same keys and shapes. Accumulators are kept by key and made when a key is
            first seen; known keys that are missing from both rest.

        Raises
        ------
        KeyError
            If the keys differ.
        ShapeError
            If a shape differs from that of the gradient, or from what it was before.
        TypeError, ValueError
            For what is not a writeable array of floats, or arrays that share memory. Nothing
            has been written when an error is raised.
        """
        if self._bound:
            raise TypeError("this optimizer is bound to its parameters: call step()")
        arrays, gradients = updatable(self._entries, params, grads)
        entries = self._entries
        if arrays.keys() - entries.keys():
            new = {n: Entry(n, a) for n, a in arrays.items() if n not in entries}
            self.__dict__["_entries"] = entries = entries | new
            self.__dict__["_packs"] = []
        for name, array in arrays.items():
            entries[name].target = array
        ordered = [gradients.get(name) for name in entries]
        plan = self._plan
        if plan is None or not self._packs or plan.shapes != shapes(ordered):
            plan = self._planned(ordered)
        plan.collect()
        self._advance(plan, ordered)
        now = tick()
        for value in params.values():
            if type(value) is Tensor:
                value.changed = now

    def _advance(self, plan: Plan, gradients: list[Any]) -> None:
        """Everything that can fail first, then the step, whole or not at all."""
        steps = [(run, run.options._rate(self.t), run.t + 1) for run in plan.runs]
        plan.gather(gradients)
        if self.check_finite is not None and not self._all_finite(plan):
            return
        if self.clip_value or self.clip_norm_each or self.clip_norm:
            clip(plan, self.clip_value, self.clip_norm_each, self.clip_norm)
        self.__dict__["_last"] = None
        if not (plan.remembers or self._remembers):
            with uninterrupted():
                self._commit(plan, steps)
            return
        for pack in plan.packs:
            pack.remember()
        try:
            self._commit(plan, steps)
        except BaseException:
            self._undo(plan, steps)
            raise

    def _all_finite(self, plan: Plan) -> bool:
        """Whether the step may go on; raises or counts a skip as `check_finite` says."""
        culprit = first_not_finite(plan)
        if culprit is None:
            return True
        if self.check_finite == "raise":
            raise NonFiniteError(
                f"the gradient of {culprit!r} holds nan or inf; nothing has been updated."
                ' A smaller lr or clip_norm may help, or check_finite="skip".'
            )
        self.__dict__["skipped"] += 1
        self._used()
        return False

    def _commit(self, plan: Plan, steps: list[tuple[Run, float, int]]) -> None:
        """Write the new values: rule after rule, block after block."""
        for run, lr, t in steps:
            options = run.options
            decay = options.weight_decay
            for p, g, rest, spare in run.blocks:
                if decay and self.decoupled:
                    p *= 1 - lr * decay
                elif decay:
                    g = np.add(g, np.multiply(p, decay, out=spare), out=spare)
                options.rule(p, g, *rest, lr=lr, t=t)
        if not self._bound:
            plan.scatter()
        self._used()
        for run, _, t in steps:
            run.t = t
        self.__dict__["t"] += 1
        self.__dict__["_last"] = steps

    def _undo(self, plan: Plan, steps: list[tuple[Run, float, int]]) -> None:
        """Take back a step that was interrupted; its count has not been written or is the last."""
        with uninterrupted():
            for pack in plan.packs:
                pack.restore()
            if not self._bound:
                plan.scatter()
            for run, _, t in steps:
                run.t = t - 1

    def _used(self) -> None:
        """Tell the engine that values have changed and that the gradients have been used."""
        now = tick()
        for tensor in self._targets:
            tensor.changed = now
            if tensor.spent is False and tensor.gradient is not None:
                tensor.spent = True

    @property
    def parameters(self) -> dict[str, Any]:
        """What is updated: name -> Tensor, or the array last seen under that name."""
        return {name: e.target for name, e in self._entries.items()}

    @property
    def state(self) -> dict[str, dict[str, Array]]:
        """What the rule keeps: name -> {accumulator: array}, as views in the parameter's shape."""
        return {name: e.state() for name, e in self._entries.items()}

    # ---- packing ---------------------------------------------------------------------------------

    def _planned(self, gradients: list[Any]) -> Plan:
        """Pack again if need be, and group the parameters that have a gradient into runs."""
        self._forget_plan()
        entries = list(self._entries.values())
        if all(g is None for g in gradients):
            raise GraphError(
                "no parameter has a gradient: call loss.backward() before step()."
                " Were the parameters used in the loss?"
            )
        for e, g in zip(entries, gradients):
            if g is not None:
                gradient(e.name, e.values(), g)
        twins: list[tuple[dict[str, Any], Any]] = [({}, self)]
        options: dict[str, Any] = {}
        for e in entries:
            different = self._overridden(e.name, self.overrides)
            known = [twin for given, twin in twins if given == different]
            options[e.name] = known[0] if known else self._with(different)
            if not known:
                twins.append((different, options[e.name]))
        slots = tuple(dict.fromkeys(s for _, twin in twins for s in twin.accumulators()))
        if not self._packs or self._packs[0].slots != slots or self._moved():
            self._pack(slots, options)
        active = {
            e.name for e, g in zip(entries, gradients) if g is not None
            and not any(fnmatchcase(e.name, pattern) for pattern in self.frozen)
        }
        runs = [run for pack in self._packs for run in
                runs_of(pack, active, options, self._scratch)]
        plan = self.__dict__["_plan"] = Plan(entries, self._packs, shapes(gradients), runs)
        return plan

    def _pack(self, slots: tuple[str, ...] | None = None, options: Any = None) -> None:
        """Lay the parameters of each dtype end to end; what they have in state comes along."""
        entries = list(self._entries.values())
        if options is None:
            options = {e.name: self._with(self._overridden(e.name, self.overrides))
                       for e in entries}
            slots = tuple(dict.fromkeys(s for o in options.values() for s in o.accumulators()))
        groups: dict[Any, list[Entry]] = {}
        for e in entries:
            groups.setdefault(e.dtype, []).append(e)

        def starts(e: Entry) -> dict[str, float]:
            return dict.fromkeys(slots or (), 0.0) | options[e.name].accumulators()

        packs = [Pack(group, slots or (), starts, self._bound) for group in groups.values()]
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

    # ---- saving and showing ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, by name: counts, options, accumulators.

        Returns
        -------
        dict
            Of numbers, strings and copied arrays, nested by parameter name, for `save`. A
            schedule is not in it, only its own state if it has any.
        """
        return saved(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`: the next step is the one that would have come next.

        Parameters
        ----------
        state : dict
            From an optimizer of the same rule over parameters of the same names and shapes, in
            any order.

        Raises
        ------
        CheckpointError
            If anything does not fit; all of it is listed, and nothing has been changed.
        """
        load(self, state)

    @property
    def formula(self) -> Formula:
        """The rule with its present options: LaTeX in a notebook, Unicode when printed."""
        return Formula(self)

    def explain(self, name: str, index: Any = ()) -> None:
        """Print how the last step changed one number, down to what it holds now.

        Parameters
        ----------
        name : str
            The parameter.
        index : int or tuple of int
            Which entry; nothing for a single number.

        Raises
        ------
        KeyError, IndexError
            For a name or an index that is not there.
        GraphError
            If there was no step yet, or it did not change this parameter. Over 32768 numbers
            the values before a step are kept only after the first call of `explain`.
        """
        print(explanation(self, name, index))

    def __repr__(self) -> str:
        given = ", ".join(f"{n}={self.__dict__[n]!r}" for n in self.options
                          if self.__dict__[n] not in (None, 0.0, False))
        return f"{type(self).__name__}({given}; {len(self._entries)} parameters, t={self.t})"
