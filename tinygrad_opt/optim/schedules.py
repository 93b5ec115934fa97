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

Any function of t will do in their place. These also compose: ``cosine(0.1, 100) * 0.5``,
``constant(0.1).then(exponential(0.1, 0.99), after=50)``; and ``values(n)`` is ready to plot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_opt.optim.options import flag, number

__all__ = [
    "Plateau",
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

_rate = number()
_positive = number(above=0)
_share = number(above=0, below=1)


def _steps(name: str, value: Any, least: int = 1) -> int:
    """Check for a whole number of steps."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


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

    def __mul__(self, factor: Any) -> Schedule:
        """The product with a number or with another schedule."""
        if callable(factor):
            return Schedule(lambda t: self(t) * factor(t), f"{self!r} * {factor!r}")
        k = _rate("factor", factor)
        return Schedule(lambda t: self(t) * k, f"{self!r} * {k:g}")

    __rmul__ = __mul__

    def then(self, following: Callable[[int], float] | float, after: int) -> Schedule:
        """This one for `after` steps, then another, which starts at its own t = 0."""
        after = _steps("after", after, 0)
        other = following if callable(following) else constant(following)
        return Schedule(
            lambda t: self(t) if t < after else other(t - after),
            f"{self!r}.then({other!r}, after={after})",
        )

    def values(self, steps: int) -> np.ndarray[Any, Any]:
        """The rates of the first steps, to plot."""
        return np.array([self(t) for t in range(_steps("steps", steps, 0))], dtype=float)

    def __repr__(self) -> str:
        return self._text


def constant(lr: float) -> Schedule:
    """Always lr.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    lr = _rate("lr", lr)
    return Schedule(lambda t: lr, f"constant({lr:g})")


def inverse_time(lr: float, decay: float) -> Schedule:
    """lr / (1 + decay · t), which the option ``decay`` of every optimizer multiplies by as well.

    Examples
    --------
    >>> inverse_time(1.0, 0.5).values(3).round(3)
    array([1.   , 0.667, 0.5  ])
    """
    lr, decay = _rate("lr", lr), _rate("decay", decay)
    return Schedule(lambda t: lr / (1 + decay * t), f"inverse_time({lr:g}, {decay:g})")


def step(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """lr · factor^⌊t / every⌋: a staircase.

    Examples
    --------
    >>> step(0.8, every=2, factor=0.5).values(5)
    array([0.8, 0.8, 0.4, 0.4, 0.2])
    """
    lr, every, factor = _rate("lr", lr), _steps("every", every), _positive("factor", factor)
    return Schedule(lambda t: lr * factor ** (t // every), f"step({lr:g}, {every}, {factor:g})")


def exponential(lr: float, rate: float) -> Schedule:
    """lr · rate^t.

    Examples
    --------
    >>> exponential(1.0, 0.5).values(4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    lr, rate = _rate("lr", lr), _positive("rate", rate)
    return Schedule(lambda t: lr * rate**t, f"exponential({lr:g}, {rate:g})")


def polynomial(lr: float, steps: int, power: float = 1.0, last: float = 0.0) -> Schedule:
    """last + (lr − last) (1 − t / steps)^power, and last from then on.

    Examples
    --------
    >>> polynomial(1.0, 4).values(6)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    lr, steps, power, last = (
        _rate("lr", lr), _steps("steps", steps), _positive("power", power), _rate("last", last))
    return Schedule(
        lambda t: last + (lr - last) * (1 - min(t / steps, 1.0)) ** power,
        f"polynomial({lr:g}, {steps}, {power:g}, {last:g})",
    )


def cosine(
    lr: float, steps: int, last: float = 0.0, *, restarts: bool = False, growth: float = 1.0
) -> Schedule:
    """last + (lr − last) (1 + cos πu) / 2, where u = t / steps runs from 0 to 1.

    Parameters
    ----------
    lr, last : float
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
    lr, steps, last = _rate("lr", lr), _steps("steps", steps), _rate("last", last)
    restarts, growth = flag("restarts", restarts), number(1)("growth", growth)

    def rate(t: int) -> float:
        length: float = steps
        if not restarts:
            u = min(t / length, 1.0)
        elif growth == 1:
            u = t % steps / steps
        else:
            cycle = int(math.log(1 + t * (growth - 1) / steps, growth) + 1e-12)
            start = steps * (growth**cycle - 1) / (growth - 1)
            u = max(t - start, 0.0) / (steps * growth**cycle)
        return last + (lr - last) * (1 + math.cos(math.pi * u)) / 2

    again = f", restarts=True, growth={growth:g}" if restarts else ""
    return Schedule(rate, f"cosine({lr:g}, {steps}, {last:g}{again})")


def warm_up(
    following: Callable[[int], float] | float, steps: int, start: float = 0.0
) -> Schedule:
    """A straight line from `start` to where the following schedule begins, then that schedule.

    Parameters
    ----------
    following : float or schedule
        Begins, at its own t = 0, after `steps` steps.
    steps : int
        Length of the line.
    start : float
        The rate at t = 0.

    Examples
    --------
    >>> warm_up(0.4, 4).values(6)
    array([0. , 0.1, 0.2, 0.3, 0.4, 0.4])
    """
    other = following if callable(following) else constant(following)
    steps, start = _steps("steps", steps), _rate("start", start)
    line = Schedule(lambda t: start + (other(0) - start) * t / steps, f"line({start:g})")
    rising = line.then(other, after=steps)
    return Schedule(rising, f"warm_up({other!r}, {steps}, {start:g})")


def one_cycle(
    lr: float, steps: int, *, rise: float = 0.3, first: float | None = None,
    last: float | None = None,
) -> Schedule:
    """Along a cosine from `first` up to lr, then along another down to `last`.

    Parameters
    ----------
    lr : float
        The highest rate.
    steps : int
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
    lr, steps, rise = _rate("lr", lr), _steps("steps", steps, 3), _share("rise", rise)
    first = _rate("first", lr / 25 if first is None else first)
    last = _rate("last", lr / 250000 if last is None else last)
    top = min(max(round(rise * (steps - 1)), 1), steps - 2)

    def rate(t: int) -> float:
        a, b, u = (first, lr, t / top) if t < top else (lr, last, (t - top) / (steps - 1 - top))
        return b + (a - b) * (1 + math.cos(math.pi * min(u, 1.0))) / 2

    return Schedule(rate, f"one_cycle({lr:g}, {steps})")


class Plateau(Schedule):
    """What `reduce_on_plateau` returns: a schedule that looks at the loss instead of at t."""

    def __init__(
        self, lr: float, factor: float, patience: int, better_by: float, lowest: float
    ) -> None:
        super().__init__(lambda t: self.lr, f"reduce_on_plateau({lr:g}, {factor:g}, {patience})")
        self.lr = _rate("lr", lr)
        self.factor = _share("factor", factor)
        self.patience = _steps("patience", patience, 0)
        self.better_by, self.lowest = _rate("better_by", better_by), _rate("lowest", lowest)
        self.best = math.inf
        self.waited = 0

    def feed(self, loss: Any) -> float:
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

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        if set(state) != {"lr", "best", "waited"}:
            raise ValueError(f"a plateau's state has lr, best and waited, got {sorted(state)}")
        lr, best = _rate("lr", state["lr"]), float(state["best"])
        waited = _steps("waited", state["waited"], 0)
        self.lr, self.best, self.waited = lr, best, waited


def reduce_on_plateau(
    lr: float, factor: float = 0.1, patience: int = 10, *, better_by: float = 1e-4,
    lowest: float = 0.0,
) -> Plateau:
    """lr, multiplied by `factor` when the loss has not fallen for more than `patience` feeds.

    Parameters
    ----------
    lr : float
    factor : float in (0, 1)
    patience : int
        How many losses in a row may be no better than the best.
    better_by : float
        The relative fall that counts as better.
    lowest : float
        Where cutting ends.

    Returns
    -------
    Plateau
        Give it to an optimizer as lr and call ``feed(loss)``. Optimizers save its state.

    Examples
    --------
    >>> lr = reduce_on_plateau(0.5, factor=0.5, patience=1)
    >>> [lr.feed(loss) for loss in (3.0, 2.0, 2.0, 2.0, 1.0)]
    [0.5, 0.5, 0.5, 0.25, 0.25]
    """
    return Plateau(lr, factor, patience, better_by, lowest)
