"""`Optimizer`: everything that rules have in common, so that a rule is only its formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from tinygrad_opt.errors import NonFiniteError
from tinygrad_opt.optim.explain import Formula, explanation
from tinygrad_opt.optim.given import bound, updatable
from tinygrad_opt.optim.gradients import clip, first_not_finite
from tinygrad_opt.optim.interrupts import uninterrupted
from tinygrad_opt.optim.pack import Array, Entry
from tinygrad_opt.optim.packed import Packed
from tinygrad_opt.optim.plan import Plan, Run
from tinygrad_opt.optim.state import load, saved
from tinygrad_opt.tensor import Tensor, effect, forget_gradients, tape, tick

__all__ = ["Optimizer", "Params"]

Params = Mapping[str, Tensor] | None


class Optimizer(Packed):
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
    accumulators and counts as they were, or arrives when all of them have been written. Over
    32768 numbers, of which no copy is kept, that excludes what cannot be foreseen: NumPy's
    warnings made errors, or a rule that fails half way.

    A parameter without a gradient is left alone, and its own count of updates rests.

    Examples
    --------
    A rule of your own: by the sign of the gradient, with one vector of scratch.

    >>> import numpy as np
    >>> class Sign(Optimizer):
    ...     def rule(self, p, g, s, *, lr, t):
    ...         np.sign(g, out=s)
    ...         s *= lr
    ...         p -= s
    >>> w = {"w": np.array([1.0, 2.0])}
    >>> Sign(lr=0.5).update(w, {"w": np.array([3.0, -0.1])})
    >>> w["w"]
    array([0.5, 2.5])
    """

    decoupled: ClassVar[bool] = False          # weight decay beside the step, not in the gradient

    skipped: int
    _targets: list[Tensor]

    def __init__(
        self,
        params: Params = None,
        lr: Any = 1e-3,
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
        keep.update(_entries={}, _targets=[], _cells={}, _bound=params is not None)
        given = dict(
            lr=lr, decay=decay, weight_decay=weight_decay, clip_norm=clip_norm,
            clip_norm_each=clip_norm_each, clip_value=clip_value, check_finite=check_finite,
        )
        for name, value in (given | rule).items():
            if name not in self.options:
                raise TypeError(self._unknown(name))
            setattr(self, name, value)
        if params is not None:
            self._own(params)
        self.overrides = overrides or {}
        self.frozen = frozen                                       # type: ignore[assignment]
        self._check_options()
        if params is not None:
            self._pack()

    def bind(self, params: Mapping[str, Tensor]) -> Optimizer:
        """Make this the optimizer of these parameters, if it has none yet; returns it.

        Parameters
        ----------
        params : dict of str to Tensor

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_opt.optim import SGD
        >>> w = Tensor([1.0], requires_grad=True)
        >>> list(SGD(lr=0.5).bind({"w": w}).parameters)
        ['w']
        """
        if self._entries:
            raise TypeError(f"this {type(self).__name__} has its parameters; make another one")
        self._own(params)
        self.overrides, self.frozen = self.overrides, self.frozen  # now checked against the names
        self._pack()
        return self

    def _own(self, params: Mapping[str, Tensor]) -> None:
        entries = bound(type(self).__name__, params)
        self.__dict__.update(
            _bound=True, _entries=entries, _targets=[e.target for e in entries.values()])

    # ---- what a rule defines ---------------------------------------------------------------------

    def rule(self, *vectors: Any, **step: Any) -> None:
        """Update p in place: ``rule(self, p, g, <accumulators>, <scratch>, *, lr, t)``.

        The gradient g is not to be written. After it come the accumulators in the order of
        `accumulators`, then `scratch` vectors; lr is this step's rate, t counts this parameter's
        updates from 1.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rule")

    def constants(self, t: int) -> dict[str, float]:
        """Further scalars of update t that `algorithm` speaks of."""
        return {}

    def scalars(self, like: Array, *values: float) -> tuple[Array, ...]:
        """Numbers as NumPy takes them fastest: 0-d arrays of the dtype of a vector.

        A Python float beside a vector costs more to look at than a thousand entries to multiply.
        A rule calls this once; its next call writes into the same arrays.
        """
        try:
            row, cells = self._cells[like.dtype, len(values)]
        except KeyError:
            row = np.empty(len(values), like.dtype)
            cells = tuple([row[i, ...] for i in range(len(values))])
            self._cells[like.dtype, len(values)] = row, cells
        row[...] = values
        return cells

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
        if tape.get() is None:
            self._step()
        else:
            effect(self._step)                             # a captured step repeats it

    def _step(self) -> None:
        plan = self._plan
        if not self._bound:
            raise TypeError(
                f"{type(self).__name__} has no parameters: give them to step() by"
                f" {type(self).__name__}(model.parameters(), ...), or call update(params, grads)"
            )
        if plan is None or not plan.gather():
            plan = self._planned({n: e.target.gradient for n, e in self._entries.items()})
        try:
            self._advance(plan)
        finally:
            if plan.large:
                plan.let_go()

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next ``backward()`` starts afresh."""
        effect(forget_gradients, self._targets)

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
        plan = self._plan
        if plan is None or not self._packs or plan.given != gradients.keys():
            plan = self._planned(gradients)
        else:
            plan.lay(gradients)
        plan.collect()
        self._advance(plan)
        now = tick()
        for value in params.values():
            if type(value) is Tensor:
                value.changed = now

    def _advance(self, plan: Plan) -> None:
        """Everything that can fail first, then the step, whole or not at all."""
        count = self.t
        self.__dict__["_last"] = None
        steps = [(run, run.options._rate(count), run.t + 1) for run in plan.runs]
        if plan.guarded:
            if self.check_finite is not None and not self._all_finite(plan):
                return
            clip(plan, self.clip_value, self.clip_norm_each, self.clip_norm)
        if not plan.remembers:
            with uninterrupted():
                self._commit(plan, steps)
            return
        for pack in plan.packs:
            pack.remember()
        try:
            self._commit(plan, steps)
        except BaseException:
            self._undo(plan, steps, count)
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
            decay = run.options.weight_decay
            for call, spare in run.blocks if run.own is None else run.over(run.own):
                if decay:
                    call = self._decayed(call, spare, decay, lr)
                call(lr=lr, t=t)
        if not self._bound:
            plan.scatter()
        self._used()
        for run, _, t in steps:
            run.t = t
        self.__dict__["t"] += 1
        self.__dict__["_last"] = steps

    def _decayed(
        self, call: partial[None], spare: Array, decay: float, lr: float
    ) -> partial[None]:
        """The call of the rule under weight decay, which acts on p or on g."""
        p, g, *rest = call.args
        if self.decoupled:
            p *= 1 - lr * decay
            return call
        return partial(call.func, p, np.add(g, np.multiply(p, decay, out=spare), out=spare), *rest)

    def _undo(self, plan: Plan, steps: list[tuple[Run, float, int]], count: int) -> None:
        """Take back a step that was interrupted."""
        with uninterrupted():
            for pack in plan.packs:
                pack.restore()
            if not self._bound:
                plan.scatter()
            for run, _, t in steps:
                run.t = t - 1
            self.__dict__.update(t=count, _last=None)

    def _used(self) -> None:
        """Tell the engine that values have changed and that the gradients have been used."""
        now = tick()
        for tensor in self._targets:
            tensor.changed = now
            if tensor.spent is False and tensor.gradient is not None:
                tensor.spent = True

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
