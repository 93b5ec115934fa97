"""`Optimizer`: everything that rules have in common, so that a rule is only its formula."""

from __future__ import annotations

import inspect
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

import numpy as np

from tinygrad_opt.errors import (
    GraphError,
    NonFiniteError,
    captured_option,
    captured_read,
    captured_write,
    nearest,
)
from tinygrad_opt.hints import answer_names, answers
from tinygrad_opt.markup import html_table, listing
from tinygrad_opt.optim import options as check
from tinygrad_opt.optim.explain import Formula, explanation
from tinygrad_opt.optim.options import option
from tinygrad_opt.optim.packing import Entry, Pack, bound, gradient, updatable
from tinygrad_opt.optim.plan import Plan
from tinygrad_opt.optim.reduction import Reduction
from tinygrad_opt.optim.rule import OF_THE_STEP, Versions, results
from tinygrad_opt.optim.state import State, load, pickled, saved, unpickle
from tinygrad_opt.recording import effect, tick, tracer, unrepeatable
from tinygrad_opt.tensor import Tensor, deep_values, forget_gradients
from tinygrad_opt.typing import Array, Rate

if TYPE_CHECKING:
    from dataclasses import InitVar

__all__ = ["Optimizer", "Params", "Updated"]

Params = Mapping[str, Tensor] | None
BY_NAMES = ("overrides", "frozen", "reduce")   # options whose checks know the parameters
Arrays: TypeAlias = Mapping[str, Tensor] | Mapping[str, Array]
Updated: TypeAlias = tuple[Array, ...]                    # p and the accumulators
RuleState: TypeAlias = dict[str, dict[str, object]]        # accumulators, and t, by parameter
Values = TypeVar("Values", bound=Tensor | Array)
Self = TypeVar("Self", bound="Optimizer")


class Signature:
    """The signature of a class, all options told if its ``__init__`` hands ``**options`` on."""

    def __get__(self, instance: object, kind: type[Optimizer]) -> inspect.Signature:
        own = [*inspect.signature(kind.__init__).parameters.values()][1:]
        told = {p.name: p for p in own if p.kind is not p.VAR_KEYWORD}
        if len(told) < len(own):
            types = ChainMap(*map(inspect.get_annotations, kind.__mro__))
            rest = [n for n in (*kind.options, *BY_NAMES) if n not in told]
            told |= {n: inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY,
                                          default=getattr(kind, n, inspect.Parameter.empty),
                                          annotation=types.get(n, inspect.Parameter.empty))
                     for n in sorted(rest, key=vars(Optimizer).__contains__)}      # own ones first
        return inspect.Signature([p.replace(default=kind.lr, annotation="Rate")
                                  if p.default is ... else p for p in told.values()])


class Optimizer(check.HasOptions):
    """What all optimizers share; a subclass adds its options, accumulators and `rule`.

    Parameters
    ----------
    params : dict of str to Tensor, optional
        What ``step()`` updates, such as ``model.parameters()``. A Tensor under two names is
        updated once. Without it the optimizer is unbound and used by ``update(params, grads)``.
    lr : float, callable or sequence of float
        The learning rate: a number in [0, inf), or a schedule t -> lr with t = 0 at the first
        step; one number a model for the parameters of `nn.stack`.
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
    maximize : bool
        Go up: the rule gets −g. Weight decay shrinks p as ever.
    check_finite : {None, "raise", "skip"}
        What a gradient with nan or inf in it does: "raise" names the parameter, "skip" leaves
        the step out and counts it in ``skipped``. Either way nothing has been touched.
    overrides : dict of str to dict
        Other options for parameters whose name fits a pattern, later patterns first:
        ``{"*.bias": {"weight_decay": 0.0}, "layers.0.*": {"lr": 1e-4}}``.
    frozen : str or sequence of str
        Patterns of names that are not updated; their accumulators rest too.
    reduce : callable, optional
        ``reduce(vectors, layout)`` puts the gradients of several processes together before they
        are checked and clipped, such as ``parallel.mpi.mean``: it writes into the vectors, one
        for each dtype, in which flags stand behind the gradients, 1 for a parameter that has
        one. The layout is a tuple of (name, shape, dtype).

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

    A rule is traced once, on symbols, and made a list of NumPy calls that write in place; so it
    may depend on nothing but what it is given and its options. One that branches on values, or
    does not go entry by entry, is called as it is, on the arrays of one parameter at a time.

    A step either happens or does not: Ctrl-C, however often, leaves parameters, accumulators
    and counts as they were, or arrives when all of them have been written. So does an error; but
    over 32768 numbers, of which no copy is kept, that excludes NumPy's warnings made errors.

    A parameter without a gradient is left alone, and its own count of updates rests.

    Examples
    --------
    A rule of your own: by the sign of the gradient, as far as it is larger than a bound. Options
    are fields; they are checked when they are given or set, saved, and overridden by name.

    >>> import numpy as np
    >>> from tinygrad_opt.optim.options import number, option
    >>> class Sign(Optimizer):
    ...     bound: float = option(number(), default=0.0)
    ...     def rule(self, p, g, *, lr, t):
    ...         return p - lr * np.where(np.abs(g) > self.bound, np.sign(g), 0)
    >>> w = {"w": np.array([1.0, 2.0, 3.0])}
    >>> Sign(lr=0.5, bound=0.01).update(w, {"w": np.array([3.0, -0.1, 0.001])})
    >>> w["w"]
    array([0.5, 2.5, 3. ])
    """

    if TYPE_CHECKING:
        params: InitVar[Params] = option(None, default=None, kw_only=False)
    lr: Rate = option(check.rate, default=1e-3, kw_only=False)
    decay: float = option(check.number(), default=0.0)
    weight_decay: float = option(check.number(), default=0.0)
    clip_norm: float | None = option(check.optional(check.number(above=0)), default=None)
    clip_norm_each: float | None = option(check.optional(check.number(above=0)), default=None)
    clip_value: float | None = option(check.optional(check.number(above=0)), default=None)
    check_finite: str | None = option(check.choice(None, "raise", "skip"), default=None)
    maximize: bool = option(check.flag, default=False)
    overrides: check.Overrides = option(None, default={})
    frozen: str | Collection[str] = option(None, default=())
    reduce: check.Reduce | None = option(None, default=None)
    decoupled: ClassVar[bool] = False          # weight decay beside the step, not in the gradient

    __signature__: ClassVar = Signature()
    skipped = 0
    _bound = False                             # whether it has its parameters
    _reduced = False                           # whether the gradients are those of all processes

    def __init__(self, params: Params = None, lr: object = ..., **options: object) -> None:
        self._set_up({}, False)
        self._models: int | None = None        # whose parameters these are, if of a stack
        given = options if lr is ... else {"lr": lr, **options}
        names = (*self.options, *BY_NAMES)
        self._refuse_unknown(given, names)
        for name in names:
            setattr(self, name, given[name] if name in given else getattr(self, name))
        self._check_options()
        if params is not None:
            self.bind(params)

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
        entries = bound(type(self).__name__, params)
        models = getattr(params, "models", None)
        self._check_models(models)
        settings = {n: self._checked(n, getattr(self, n), entries) for n in ("overrides", "frozen")}
        self._set_up(entries, True)
        self.__dict__.update(settings, _models=models)
        self._pack(self._rules(self.overrides, entries))
        return self

    def _set_up(self, entries: dict[str, Entry], is_bound: bool) -> None:
        """No step has been taken yet with these parameters."""
        self._bound, self._entries = is_bound, entries
        self._targets = [e.target for e in entries.values()] if is_bound else []
        self._seen: dict[str, Array] = {}      # where it is not: the arrays updated last
        self._counts = np.zeros(len(entries) + 1, np.int64)    # updates of each, then all steps
        self._packs: list[Pack] = []
        self._versions: Versions = {}    # of the rule as in-place calls
        self._plan: Plan | None = None         # None until options are set and a step is taken
        self._last: Plan | None = None         # whose step `explain` tells of
        self._reduction: Reduction | None = None
        self._remembers = False                # a large model's values too, for `explain`

    # ---- what a rule defines ---------------------------------------------------------------------

    def accumulators(self) -> dict[str, float]:
        """Names of what the rule keeps for each number, and what each starts from."""
        return {}

    def rule(self, *vectors: Any, **step: Any) -> Any:
        """The new values: ``rule(self, p, g, <accumulators>, *, lr, t)`` returns p and those.

        p are the parameters and g is their gradient, which are not to be written; the accumulators
        come and go in the order of `accumulators`. lr is the rate of this step, t counts this
        parameter's updates from 1.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rule")

    def _check_options(self) -> None:
        """Refuse options that do not go together."""

    def _update(self, p: Any, g: Any, *accumulators: object, lr: Any, t: object) -> Any:
        """The rule under weight decay, of −g to maximise."""
        if self.maximize:
            g = -g
        if self.weight_decay:
            if self.decoupled:
                p = p - lr * self.weight_decay * p
            else:
                g = g + self.weight_decay * p
        return self.rule(p, g, *accumulators, lr=lr, t=t)

    def updated(
        self, params: Mapping[str, Values], grads: Mapping[str, Values],
        state: RuleState | None = None, **options: float | Tensor,
    ) -> tuple[dict[str, Values], RuleState]:
        """What the rule makes of values, which are not written; of Tensors it makes a graph.

        Parameters
        ----------
        params, grads : dict of str to Tensor or array
        state : dict, optional
            As the step before returned it; None at the first one.
        **options
            Numbers or Tensors in the place of this optimizer's options: ``lr=rate``.

        Returns
        -------
        params, state : dict
            New ones, by the rule and its weight decay alone: nothing is clipped or frozen, and
            overrides are not looked at.

        Examples
        --------
        How the loss after one step depends on the rate:

        >>> import tinygrad_opt as tg
        >>> rate = tg.Tensor(0.1, requires_grad=True)
        >>> w, g = {"w": tg.Tensor(3.0)}, {"w": tg.Tensor(6.0)}
        >>> w, _ = tg.optim.SGD().updated(w, g, lr=rate)
        >>> (w["w"] ** 2).backward()
        >>> float(rate.grad).__round__(4)
        -28.8
        """
        self._refuse_unknown(options, self.options)
        rule, state = self._with(options), state or {}
        done = {name: cast(int, of["t"]) for name, of in state.items()}
        lr = rule._rate(max(done.values(), default=0))
        rates = rule.lr if isinstance(rule.lr, tuple) else None
        starts, new, kept = rule.accumulators(), {}, {}
        for name, p in params.items():
            old = state.get(name) or {
                slot: np.full(np.shape(p), start, np.result_type(deep_values(p)))
                for slot, start in starts.items()}
            t = done.get(name, 0) + 1
            own = lr if rates is None else lr * np.reshape(rates, (-1, *(1,) * (np.ndim(p) - 1)))
            returned = rule._update(p, grads[name], *[old[slot] for slot in starts], lr=own, t=t)
            new[name], *slots = results(rule, returned)
            kept[name] = dict(zip(starts, slots)) | {"t": t}
        return new, kept

    # ---- options ---------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):
            value = self._checked(name, value)
            if name in vars(self):
                unrepeatable(captured_option, self)
            self._forget_plan()
        object.__setattr__(self, name, value)

    def _checked(self, name: str, value: object,
                 entries: Mapping[str, Entry] | None = None) -> object:
        """What is kept when an option is set to this value, for these parameters or its own."""
        if name in self.options:
            return self.options[name](name, value)
        names = self._entries if self._bound else entries
        if name == "overrides":
            known = {n: test for n, test in self.options.items() if n not in OF_THE_STEP}
            checked = check.overrides(value, known, names)
            for rule in self._rules(checked, names or ()).values():
                rule._check_options()
            return checked
        if name == "frozen":
            return check.patterns("frozen", value, names)
        if name == "reduce" and value is not None and not callable(value):
            raise TypeError(f"reduce must be a function (vectors, layout), got {value!r}")
        if not hasattr(type(self), name):
            if "_entries" not in vars(self):               # in the __init__ of a class of one's own
                raise AttributeError(f"{type(self).__name__} has no option {name!r}; declare it in "
                                     f"the class: {name} = option(check, default={value!r})")
            raise AttributeError(self._unknown(name))
        return value

    @property
    def t(self) -> int:
        """Steps so far."""
        unrepeatable(captured_read, self)
        return self._taken

    @property
    def _taken(self) -> int:
        return self._counts.item(-1) if self._plan is None else self._plan.t

    @property
    def current_lr(self) -> Any:
        """The rate that the next step uses: schedule and decay worked out at the present t."""
        rate = self._rate(self.t)
        return tuple(rate * lr for lr in self.lr) if isinstance(self.lr, tuple) else rate

    def freeze(self, *patterns: str) -> None:
        """Stop updating the parameters whose names fit, from the next step on."""
        self.frozen = (*self.frozen, *(p for p in patterns if p not in self.frozen))

    def unfreeze(self, *patterns: str) -> None:
        """Take patterns back that were given to `freeze`; all of them if none is named."""
        for pattern in patterns:
            if pattern not in self.frozen:
                raise ValueError(f"{pattern!r} is not frozen; {nearest(pattern, self.frozen)}")
        self.frozen = tuple(p for p in self.frozen if patterns and p not in patterns)

    def _rate(self, t: int) -> float:
        """The rate at step t; what the rates of models are multiplied by."""
        lr = 1.0 if isinstance(self.lr, Sequence) else self.lr
        if callable(lr):
            lr = check.positive(f"the rate that the schedule gives at t={t}", lr(t))
        return lr / (1 + self.decay * t) if self.decay else lr

    def _refuse_unknown(self, given: Iterable[str], known: Iterable[str]) -> None:
        for name in sorted({*given} - {*known}):
            raise TypeError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        known = [*self.options, *BY_NAMES]
        return f"{type(self).__name__} has no option {name!r}; {check.meant(name, known)}"

    def _with(self: Self, options: Mapping[str, object]) -> Self:
        """These options over mine, as an object that has the rule and nothing to update."""
        twin = object.__new__(type(self))
        twin.__dict__.update({n: self.__dict__[n] for n in self.options} | dict(options))
        return twin

    def _rules(self: Self, overrides: check.Overrides,
               names: Iterable[str]) -> dict[str, Self]:
        """name -> the options of that parameter, one object for all that have the same."""
        twins: dict[tuple[object, ...], Self] = {}
        rules = {}
        for name in names:
            own = {n: value for pattern, given in overrides.items() if fnmatchcase(name, pattern)
                   for n, value in given.items()}                      # later patterns win
            key = tuple((n, id(value) if callable(value) else value) for n, value in own.items())
            if key not in twins:
                twins[key] = self._with(own)
            rules[name] = twins[key]
        return rules

    def _check_models(self, models: int | None) -> None:
        """Refuse rates that are not one a model, and what would make models depend on others."""
        given = [self.lr, *(own["lr"] for own in self.overrides.values() if "lr" in own)]
        counts = {len(lr) for lr in given if isinstance(lr, tuple)}
        if counts - {models}:
            has = f"these are of {models}" if models else (
                "these are not: give nn.stack(models).parameters()")
            raise ValueError(f"{min(counts - {models})} rates are for the parameters of as"
                             f" many stacked models; {has}")
        couples = [name for name in ("clip_norm", "clip_norm_each") if getattr(self, name)]
        couples += ["check_finite"] * (self.check_finite == "skip")
        if models and couples:
            raise ValueError(f"{couples[0]} would make the models of a stack depend on each other;"
                             " clip_value and check_finite='raise' do not")

    # ---- parameters, packed and planned for ------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Tensor | Array]:
        """What is updated: name -> Tensor, or the array last seen under that name."""
        return {n: e.target for n, e in self._entries.items()} if self._bound else {**self._seen}

    @property
    def state(self) -> dict[str, dict[str, Array]]:
        """What the rule keeps: name -> {accumulator: array}, as views in the parameter's shape."""
        return {name: e.state for name, e in self._entries.items()}

    def _planned(self) -> Plan:
        """A plan for the present gradients, which are checked and laid out."""
        self._forget_plan()
        self._check_models(self._models)
        self._last = None                      # the gradients that it used may be overwritten
        given = {name: gradient(name, e.target._array, e.target._gradient)
                 for name, e in self._entries.items() if e.target._gradient is not None}
        if not given:
            frozen = not any(p.requires_grad for p in self._targets)
            raise GraphError("no parameter has a gradient: " + (
                "none of them requires grad. Set .requires_grad = True, or call"
                " model.requires_grad_(True)." if frozen else
                "call loss.backward() before step(). Were the parameters used in the loss?"))
        rules = self._rules(self.overrides, self._entries)
        self._pack(rules)
        plan = Plan(self, {name: rules[name] for name in given if not any(
            fnmatchcase(name, pattern) for pattern in self.frozen)})
        if self._models and any(run.version is None for run in plan.runs):
            raise ValueError(f"{type(self).__name__} does not go entry by entry: the models of a"
                             " stack would depend on each other")
        if not plan.gather_gradients():
            plan.place_gradients(given)
        plan.prepare()
        self._plan = plan
        return plan

    def _forget_plan(self) -> None:
        """Keep the counts of a plan that no longer holds."""
        if self._plan is not None:
            self._counts, self._plan = self._plan.counts, None

    def _pack(self, rules: Mapping[str, Optimizer]) -> None:
        """Lay the parameters of each dtype end to end, unless they are; state comes along."""
        entries = [*self._entries.values()]
        slots = tuple(dict.fromkeys(
            slot for rule in dict.fromkeys(rules.values()) for slot in rule.accumulators()))
        if self._packs and self._packs[0].slots == slots and all(
                e.target._array is e.value for e in entries):
            return

        def starts(e: Entry) -> dict[str, float]:
            return dict.fromkeys(slots, 0.0) | rules[e.name].accumulators()

        groups: dict[object, list[Entry]] = {}
        for e in entries:
            groups.setdefault((e.dtype, type(e.target._array)), []).append(e)
        self._packs = []                       # an interrupt must not leave half of them
        self._packs = [Pack(group, slots, starts) for group in groups.values()]

    # ---- stepping --------------------------------------------------------------------------------

    @answers
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
        effect(self._step)                     # a captured step repeats it

    def reduce_gradients(self) -> None:
        """Put the gradients of all processes together now, by `reduce`, before step() does it.

        Examples
        --------
        >>> w = Tensor([1.0], requires_grad=True)
        >>> def double(vectors, layout):
        ...     vectors[0][:] *= 2
        >>> opt = Optimizer({"w": w}, reduce=double)
        >>> w.grad = Tensor([3.0]).data
        >>> opt.reduce_gradients()
        >>> w.grad
        array([6.], dtype=float32)
        """
        if self.reduce is not None and not self._reduced:
            if self._reduction is None:
                self._reduction = Reduction(self._entries)
            self._reduction(self.reduce)
            self._reduced = True

    def _step(self) -> None:
        if not self._bound:
            raise TypeError(
                f"{type(self).__name__} has no parameters: give them to step() by"
                f" {type(self).__name__}(model.parameters(), ...), or call update(params, grads)"
            )
        if self.reduce is not None:
            self.reduce_gradients()
            self._reduced = False
        self._advance()

    @answers
    def zero_grad(self) -> None:
        """Forget the gradients, so that the next ``backward()`` starts afresh."""
        effect(forget_gradients, self._targets)

    @answers
    def update(self, params: Arrays, grads: Arrays) -> None:
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

        Notes
        -----
        In a compiled step it is repeated at each call, as ``step()`` is.
        """
        if self._bound:
            raise TypeError("this optimizer is bound to its parameters: call step()")
        if self.reduce is not None:
            raise TypeError("reduce= goes with parameters that are bound: give them at the start")
        if tracer.get() is None:
            self._update_given(params, grads)
        else:                                              # a captured step repeats it
            effect(self._update_given, params, deep_values(grads))

    def _update_given(self, params: Arrays, grads: Arrays) -> None:
        arrays, gradients = updatable(self._entries, params, grads)
        new = [name for name in arrays if name not in self._entries]
        if new:
            self._forget_plan()
            entries = {name: Entry(name, Tensor(arrays[name].copy()), i)
                       for i, name in enumerate(new, len(self._entries))}
            counts = np.insert(self._counts, -1, [0] * len(new))
            self.__dict__.update(                          # at once, whatever signals come
                _packs=[], _counts=counts, _entries=self._entries | entries)
        for name, e in self._entries.items():
            e.target._gradient = gradients.get(name)
            if name in arrays and type(e.target._array) is not type(arrays[name]):
                e.target._array = arrays[name].copy()      # of another library from now on
        self._seen |= arrays
        self._targets = [p for p in params.values() if type(p) is Tensor]
        try:
            self._advance(arrays)
        finally:
            forget_gradients([e.target for e in self._entries.values()])

    def _advance(self, arrays: Mapping[str, Array] | None = None) -> None:
        """Everything that can fail first, then the step, whole or not at all.

        Where arrays are given, their values are updated in the place of the parameters' own.
        """
        plan = self._plan
        if plan is None or not plan.gather_gradients() or not plan.prepare():
            plan = self._planned()
        try:
            if arrays is not None:
                plan.carry(arrays)
            self.__dict__["_last"] = None      # past __setattr__: each step does it
            if plan.guarded and not self._guarded(plan):
                return
            plan.call_rules()
            if plan.remembers:
                for pack in plan.packs:
                    pack.remember()
            self._used()
            plan.commit()
            self.__dict__["_last"] = plan
        finally:
            if plan.large:
                plan.release()

    def _guarded(self, plan: Plan) -> bool:
        """Whether the step may go on, once its gradients have been looked at and clipped."""
        culprit = None if self.check_finite is None else plan.not_finite()
        if culprit is None:
            plan.clip(self.clip_value, self.clip_norm_each, self.clip_norm)
        elif self.check_finite == "raise":
            raise NonFiniteError(
                f"the gradient of {culprit!r} holds nan or inf; nothing has been updated."
                ' A smaller lr or clip_norm may help, or check_finite="skip".'
            )
        else:
            self.skipped += 1
            self._used()
        return culprit is None

    def _used(self) -> None:
        """Tell the engine that values change and that the gradients have been used."""
        now = tick()
        for tensor in self._targets:
            tensor._changed = now
            if tensor._spent is False and tensor._gradient is not None:
                tensor._spent = True

    # ---- saving and showing ----------------------------------------------------------------------

    __getstate__, __setstate__ = pickled, unpickle

    def state_dict(self) -> State:
        """Everything that the next step depends on, by name: counts, options, accumulators.

        Returns
        -------
        dict
            Of numbers, strings and copied arrays, nested by parameter name, for `save`. A
            schedule is not in it, only its own state if it has any.
        """
        unrepeatable(captured_read, self)                    # a replay would not copy again
        return saved(self)

    def load_state_dict(self, state: Mapping[str, object]) -> None:
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
        unrepeatable(captured_write, self)
        load(self, state)

    @property
    def formula(self) -> Formula:
        """The rule with its present options: LaTeX in a notebook, Unicode when printed.

        Examples
        --------
        >>> import tinygrad_opt as tg
        >>> tg.optim.Momentum(weight_decay=0.1).formula
        Momentum
        g ← g + λ · p
        v ← μ · v − η · g
        p ← p + v
        """
        return Formula(self)

    def explain(self, name: str, index: int | tuple[int, ...] = ()) -> None:
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

    def _repr_html_(self) -> str:
        try:
            rule = listing(str(self.formula))
        except GraphError:                                 # one that branches on values
            rule = ""
        options = {name: getattr(self, name) for name in self.options}
        return f"<b>{type(self).__name__}</b>{rule}" + html_table(
            [("option", "value"), *options.items(), ("steps so far", self.t)])

    def __repr__(self) -> str:
        own = {n: self.__dict__[n] for n in self.options}
        if self.overrides:
            own["overrides"] = {pattern: dict(given) for pattern, given in self.overrides.items()}
        given = ", ".join(f"{n}={v!r}" for n, v in own.items()
                          if (type(v) is float and v) or v != getattr(type(self), n, None))
        if "_entries" not in self.__dict__:                # one that only has the rule
            return f"{type(self).__name__}({given})"
        return f"{type(self).__name__}({given}; {len(self._entries)} parameters, t={self._taken})"


answer_names(Optimizer, "Optimizer")
