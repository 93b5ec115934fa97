"""Learning rates that change with the step: callables t -> lr, with t = 0 at the first step.

    constant            η
    inverse_time        η / (1 + decay t)
    step                η · factor^⌊t / every⌋
    exponential         η · rate^t
    polynomial          from η to last along (1 − t/steps)^power
    cosine              from η to last along half a cosine, again and again with restarts
    warm_up             a straight line from start up to η, then another schedule
    one_cycle           up to η and down to nearly nothing
    reduce_on_plateau   η, cut whenever the loss that it is fed stops falling

Every function of t will do in their place. These also compose: ``cosine(0.1, 100) * 0.5``,
``constant(0.1).then(exponential(0.1, 0.99), after=50)``; and ``values(n)`` is ready to plot. They
are plain data: they print as they were made, compare by value, and can be copied and pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, ClassVar, SupportsFloat

import numpy as np

from tinygrad_opt.hints import answers, nothing_called
from tinygrad_opt.optim.options import Check, flag, number, rate, whole
from tinygrad_opt.typing import Array, dataclass_transform

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "one_cycle",
    "polynomial",
    "reduce_on_plateau",
    "step",
    "warm_up",
]


def _at(part: Callable[[int], float] | float, t: int) -> float:
    """What a schedule or a number says for step t."""
    return part(t) if callable(part) else part


_rate, _positive, _share = number(), number(above=0), number(above=0, below=1)


class Schedule:
    """A function t -> lr that can be scaled, continued by another, and plotted.

    Parameters
    ----------
    rate : callable
        Takes the step t = 0, 1, 2, … and returns the rate.
    text : str
        What it prints as.

    Examples
    --------
    >>> from tinygrad_opt.optim import schedules
    >>> lr = schedules.constant(0.4).then(schedules.step(0.2, every=2, factor=0.5), after=2)
    >>> lr.values(6)
    array([0.4, 0.4, 0.2, 0.2, 0.1, 0.1])
    >>> (0.5 * lr)(5)
    0.05
    """

    def __init__(self, rate: Callable[[int], float], text: str = "a schedule") -> None:
        self._rate, self._text = rate, text

    def __call__(self, t: int) -> float:
        return self._rate(t)

    def __mul__(self, factor: Callable[[int], float] | float) -> Schedule:
        """The product with a number or with another schedule."""
        return _Product(self, factor)

    __rmul__ = __mul__

    def then(self, following: Callable[[int], float] | float, after: int) -> Schedule:
        """This one for `after` steps, then another, which starts at its own t = 0."""
        return _Sequence(self, following, after)

    def values(self, steps: int) -> Array:
        """The rates of the first steps, to plot."""
        return np.array([self(t) for t in range(whole("steps", steps, 0))], dtype=float)

    def __repr__(self) -> str:
        return self._text


# ---- schedules of t alone ------------------------------------------------------------------------


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
@dataclass(frozen=True, repr=False)
class _Made(Schedule):
    """A frozen dataclass of options, each checked by its name and printed unless left out."""

    checks: ClassVar[dict[str, Check]] = {
        "lr": _rate, "first": _rate, "last": _rate, "start": _rate, "decay": _rate,
        "rate": _positive, "factor": _positive, "power": _positive, "rise": _share,
        "steps": whole, "every": whole, "after": partial(whole, least=0), "growth": number(1),
        "restarts": flag, "following": rate,
    }

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, repr=False)(cls)
        cls.__init__ = answers(cls.__init__)                       # type: ignore[method-assign]

    def __post_init__(self) -> None:
        for option in fields(self):
            name, value = option.name, getattr(self, option.name)
            if name in self.checks and not value is option.default is None:
                object.__setattr__(self, name, self.checks[name](name, value))

    def __repr__(self) -> str:
        given = [(o, getattr(self, o.name)) for o in fields(self)]
        texts = [f"{value!r}" if o.default is MISSING else f"{o.name}={value!r}"
                 for o, value in given if value != o.default]
        return f"{type(self).__name__}({', '.join(texts)})"


class constant(_Made):
    """Always lr.

    Parameters
    ----------
    lr : float in [0, inf)

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """

    lr: float

    def __call__(self, t: int) -> float:
        return self.lr


class inverse_time(_Made):
    """lr / (1 + decay · t), which the option ``decay`` of every optimizer multiplies by as well.

    Parameters
    ----------
    lr, decay : float in [0, inf)

    Examples
    --------
    >>> inverse_time(1.0, 0.5).values(3).round(3)
    array([1.   , 0.667, 0.5  ])
    """

    lr: float
    decay: float

    def __call__(self, t: int) -> float:
        return self.lr / (1 + self.decay * t)


class step(_Made):
    """lr · factor^⌊t / every⌋: a staircase.

    Parameters
    ----------
    lr : float in [0, inf)
    every : int
        Length of a stair.
    factor : float in (0, inf)

    Examples
    --------
    >>> step(0.8, every=2, factor=0.5).values(5)
    array([0.8, 0.8, 0.4, 0.4, 0.2])
    """

    lr: float
    every: int
    factor: float = 0.1

    def __call__(self, t: int) -> float:
        return self.lr * self.factor ** (t // self.every)


class exponential(_Made):
    """lr · rate^t.

    Parameters
    ----------
    lr : float in [0, inf)
    rate : float in (0, inf)

    Examples
    --------
    >>> exponential(1.0, 0.5).values(4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """

    lr: float
    rate: float

    def __call__(self, t: int) -> float:
        return self.lr * self.rate**t


class polynomial(_Made):
    """last + (lr − last) (1 − t / steps)^power, and last from then on.

    Parameters
    ----------
    lr, last : float in [0, inf)
        Where it starts and where it ends.
    steps : int
    power : float in (0, inf)

    Examples
    --------
    >>> polynomial(1.0, 4).values(6)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """

    lr: float
    steps: int
    power: float = 1.0
    last: float = 0.0

    def __call__(self, t: int) -> float:
        left: float = (1 - min(t / self.steps, 1.0)) ** self.power
        return self.last + (self.lr - self.last) * left


class cosine(_Made):
    """last + (lr − last) (1 + cos πu) / 2, where u = t / steps runs from 0 to 1.

    Parameters
    ----------
    lr, last : float in [0, inf)
        Where it starts and where it ends.
    steps : int
        How long the way down is, the first time.
    restarts : bool
        Start again at lr at its end, instead of staying at `last`.
    growth : float, at least 1
        How many times longer each way down is than the one before.

    References
    ----------
    I. Loshchilov and F. Hutter, *SGDR: stochastic gradient descent with warm restarts* (2017).

    Examples
    --------
    >>> cosine(1.0, 2).values(4)
    array([1. , 0.5, 0. , 0. ])
    >>> cosine(1.0, 2, restarts=True, growth=2).values(7).round(2)
    array([1.  , 0.5 , 1.  , 0.85, 0.5 , 0.15, 1.  ])
    """

    lr: float
    steps: int
    last: float = 0.0
    restarts: bool = field(default=False, kw_only=True)
    growth: float = field(default=1.0, kw_only=True)

    def __call__(self, t: int) -> float:
        steps, growth = self.steps, self.growth
        if not self.restarts:
            u = min(t / steps, 1.0)
        elif growth == 1:
            u = t % steps / steps
        else:
            cycle = int(math.log(1 + t * (growth - 1) / steps, growth) + 1e-12)
            start = steps * (growth**cycle - 1) / (growth - 1)
            u = max(t - start, 0.0) / (steps * growth**cycle)
        return _along_cosine(self.lr, self.last, u)


class one_cycle(_Made):
    """Along a cosine from `first` up to lr, then along another down to `last`.

    Parameters
    ----------
    lr : float in [0, inf)
        The highest rate.
    steps : int, at least 3
        Length of the whole cycle.
    rise : float in (0, 1)
        The share of the steps that goes up.
    first, last : float, optional
        lr / 25 and lr / 250000, as the paper's authors and torch have them.

    References
    ----------
    L. Smith and N. Topin, *Super-convergence: very fast training of neural networks using large
    learning rates* (2018).

    Examples
    --------
    >>> one_cycle(1.0, 5, rise=0.5, first=0.0, last=0.0).values(5).round(3)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """

    lr: float
    steps: int
    rise: float = field(default=0.3, kw_only=True)
    first: float | None = field(default=None, kw_only=True)
    last: float | None = field(default=None, kw_only=True)

    checks: ClassVar = {**_Made.checks, "steps": partial(whole, least=3)}

    def __call__(self, t: int) -> float:
        first = self.lr / 25 if self.first is None else self.first
        last = self.lr / 250000 if self.last is None else self.last
        end = self.steps - 1
        top = min(max(round(self.rise * end), 1), end - 1)
        if t < top:
            return _along_cosine(first, self.lr, t / top)
        return _along_cosine(self.lr, last, min((t - top) / (end - top), 1.0))


def _along_cosine(first: float, last: float, u: float) -> float:
    """From first to last along half a cosine, as u goes from 0 to 1."""
    return last + (first - last) * (1 + math.cos(math.pi * u)) / 2


# ---- composed of others --------------------------------------------------------------------------


class warm_up(_Made):
    """A straight line from `start` to where the following schedule begins, then that schedule.

    Parameters
    ----------
    following : float or schedule
        Begins, at its own t = 0, after `steps` steps.
    steps : int
        Length of the line.
    start : float in [0, inf)
        The rate at t = 0.

    Examples
    --------
    >>> warm_up(0.4, 4).values(6)
    array([0. , 0.1, 0.2, 0.3, 0.4, 0.4])
    """

    following: Callable[[int], float] | float
    steps: int
    start: float = 0.0

    def __call__(self, t: int) -> float:
        if t >= self.steps:
            return _at(self.following, t - self.steps)
        return self.start + (_at(self.following, 0) - self.start) * t / self.steps


class _Sequence(_Made):
    earlier: Schedule
    following: Callable[[int], float] | float
    after: int

    def __call__(self, t: int) -> float:
        return self.earlier(t) if t < self.after else _at(self.following, t - self.after)

    def __repr__(self) -> str:
        return f"{self.earlier!r}.then({self.following!r}, after={self.after})"


class _Product(_Made):
    schedule: Schedule
    factor: Callable[[int], float] | float

    checks: ClassVar = {"factor": rate}

    def __call__(self, t: int) -> float:
        return self.schedule(t) * _at(self.factor, t)

    def __repr__(self) -> str:
        return f"({self.schedule!r} * {self.factor!r})"


# ---- of the loss ---------------------------------------------------------------------------------


class reduce_on_plateau(Schedule):
    """lr, multiplied by `factor` when the loss has not fallen for more than `patience` feeds.

    Give it to an optimizer as lr and call ``feed(loss)``. Optimizers save its state.

    Parameters
    ----------
    lr : float in [0, inf)
    factor : float in (0, 1)
    patience : int
        How many losses in a row may be no better than the best.
    better_by : float
        The relative fall that counts as better.
    lowest : float
        Where cutting ends.

    Attributes
    ----------
    lr : float
        The rate of now.
    best : float
        The lowest loss so far; inf before the first.
    waited : int
        How many losses since then were no better, or since the rate was cut.

    Examples
    --------
    >>> lr = reduce_on_plateau(0.5, factor=0.5, patience=1)
    >>> [lr.feed(loss) for loss in (3.0, 2.0, 2.0, 2.0, 1.0)]
    [0.5, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(
        self, lr: float, factor: float = 0.1, patience: int = 10, *, better_by: float = 1e-4,
        lowest: float = 0.0,
    ) -> None:
        self.lr = _rate("lr", lr)
        self.factor, self.patience = _share("factor", factor), whole("patience", patience, 0)
        self.better_by, self.lowest = _rate("better_by", better_by), _rate("lowest", lowest)
        self.best, self.waited = math.inf, 0
        self._text = (f"reduce_on_plateau({self.lr}, {self.factor}, {self.patience},"
                     f" better_by={self.better_by}, lowest={self.lowest})")

    def __call__(self, t: int) -> float:
        return self.lr

    def feed(self, loss: SupportsFloat) -> float:
        """Take note of a loss, once per epoch or per step, and return the rate from now on.

        A loss that is nan counts as no better.
        """
        value = float(loss)
        if value < self.best * (1 - math.copysign(self.better_by, self.best)):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.lr, self.waited = max(self.lr * self.factor, min(self.lr, self.lowest)), 0
        return self.lr

    def state_dict(self) -> dict[str, float]:
        """What the loss so far has led to."""
        return {"lr": self.lr, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a `state_dict`."""
        if set(state) != {"lr", "best", "waited"}:
            raise ValueError(f"a plateau's state has lr, best and waited, got {sorted(state)}")
        lr, best = _rate("lr", state["lr"]), float(state["best"])
        waited = whole("waited", state["waited"], 0)
        self.lr, self.best, self.waited = lr, best, waited


if not TYPE_CHECKING:
    __getattr__ = nothing_called("schedules", __all__)
