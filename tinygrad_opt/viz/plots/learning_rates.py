"""Learning rates: what they do to the loss, their schedules, and one that suits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from tinygrad_opt.data.arguments import array_of
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, ArrayLike, Loss, Model, Rate
from tinygrad_opt.viz.figures import Options, Picture, Unpack, drawing, legend_below
from tinygrad_opt.viz.plots.loss_landscape import borrowed
from tinygrad_opt.viz.plots.trajectories import Stepper
from tinygrad_opt.viz.tables import Table, stacked
from tinygrad_opt.viz.theme import looks

__all__ = ["LearningRates", "lr_find", "plot_learning_rates", "plot_schedule"]

Schedule: TypeAlias = Callable[[int], float]


class Rated(Stepper, Protocol):
    """An optimizer whose learning rate can be set."""

    lr: Rate


def plot_schedule(
    schedules: Schedule | Mapping[str, Schedule], steps: int, *, log: bool = False,
    **options: Unpack[Options],
) -> Picture:
    """Learning rates against the step.

    Parameters
    ----------
    schedules : callable, or dict of str to callable
        ``t -> lr``, t = 0 at the first step.
    steps : int, at least 1
    log : bool
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    named = schedules if isinstance(schedules, Mapping) else {"": schedules}
    if not named or not all(map(callable, named.values())):
        raise TypeError(f"schedules are functions t -> lr, got {schedules!r}.")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}.")
    t = range(steps)
    rates = {name: np.array([schedule(i) for i in t], float) for name, schedule in named.items()}
    numbers = {"step": np.array(t), **{name or "lr": r for name, r in rates.items()}}
    with drawing((6.4, 3.2), numbers, **options) as (made, page):
        ax = made.subplots()
        for (name, values), look in zip(rates.items(), looks(named, page).values()):
            ax.plot(t, values, **look.line(steps), label=name)
        ax.set(xlabel="step", ylabel="learning rate", xlim=(0, max(steps - 1, 1)))
        if log:
            ax.set_yscale("log", nonpositive="mask")
        else:
            ax.set_ylim(bottom=0)
        if len(named) > 1:
            legend_below(made)
    return made


def plot_learning_rates(
    runs: Mapping[float, Sequence[float]] | Mapping[str, Sequence[float]],
    **options: Unpack[Options],
) -> Picture:
    """Loss against step for learning rates low, good, high and very high, in one picture.

    Parameters
    ----------
    runs : dict of float or str to sequence of float
        The losses of each rate; what is not finite, or explodes, leaves at the top.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not runs:
        raise ValueError("plot_learning_rates needs at least one run.")
    losses = {str(k): np.asarray(v, float) for k, v in runs.items()}
    start = max(v[0] for v in losses.values() if len(v) and math.isfinite(v[0]))
    low = min(v[np.isfinite(v)].min(initial=np.inf) for v in losses.values())
    most = np.concatenate([*losses.values()]).max()        # nan where one is
    top = start + max(start - min(low, 0.0), 1e-9)         # losses may be negative
    top = min(top, start + 0.04 * (start - low)) if most <= start > low else top
    numbers = stacked("rate", [(name, {"step": np.arange(len(v)), "loss": v})
                               for name, v in losses.items()])
    with drawing((6.4, 4.0), numbers, **options) as (made, page):
        ax = made.subplots()
        ax.set_ylim(low - 0.04 * (top - low), top)
        for (name, values), look in zip(losses.items(), looks(losses, page).values()):
            lost = ~np.isfinite(values) | (values > top)
            end = int(lost.argmax()) + 1 if lost.any() else len(lost)
            label = f"{name}: explodes at step {end - 1}" if lost.any() else name
            seen = np.where(lost, top + 0.2 * (top - low), values)[:end]
            ax.plot(seen, **look.line(len(values)), label=label)
        ax.set(xlabel="step", ylabel="loss", xlim=(0, max(map(len, losses.values())) - 1))
        legend_below(made, columns=2)
    return made


@dataclass(frozen=True)
class LearningRates(Table):
    """What `lr_find` returns.

    Attributes
    ----------
    rates, losses : ndarray
        Up to where the loss exploded.
    suggestion : float
        The rate at which the loss fell fastest.
    """

    rates: Array
    losses: Array
    suggestion: float

    def columns(self) -> dict[str, Array]:
        """Rates and losses, one row each."""
        return {"lr": self.rates, "loss": self.losses}

    def plot(self, **options: Unpack[Options]) -> Picture:
        """Loss against rate, as a Matplotlib figure with such `Options`."""
        with drawing((6.4, 3.6), self.columns(), **options) as (made, page):
            ax = made.subplots()
            ax.plot(self.rates, self.losses, color=page.value, alpha=page.faint)
            ax.plot(self.rates, _smooth(self.losses), color=page.value)
            ax.axvline(self.suggestion, color=page.color("green"), linestyle="--")
            low, start = self.losses.min(), self.losses[0]
            room = max(start - low, 1e-9)
            ax.set(xscale="log", xlabel="learning rate", ylabel="loss",
                   ylim=(low - 0.1 * room, start + 0.8 * room))
            ax.set_title(f"suggested learning rate: {self.suggestion:.2g}", fontsize=10)
        return made


def lr_find(
    model: Model,
    loss: Loss,
    x: ArrayLike,
    y: ArrayLike,
    optimizer: Callable[[dict[str, Tensor]], Rated],
    *,
    low: float = 1e-5,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int | None = None,
    seed: int | None = None,
) -> LearningRates:
    """Range test: let the rate grow from step to step, and see where the loss falls fastest.

    The weights are put back afterwards, also after an error.

    Parameters
    ----------
    model, loss, x, y
        As in `loss_landscape`.
    optimizer : callable
        Makes the optimizer that is tried when given the parameters, such as its class.
    low, high : float
        The rates, growing by a constant factor; it ends early when the loss explodes.
    steps : int, at least 5
    batch_size : int, optional
        By default all samples.
    seed : int, optional
        Of the choice of the batches.

    Returns
    -------
    LearningRates

    References
    ----------
    L. N. Smith, "Cyclical learning rates for training neural networks" (2017), section 3.3.
    """
    if not 0 < low < high < math.inf or steps < 5:
        raise ValueError(f"0 < low < high and steps ≥ 5 are needed, got low={low!r}, high={high!r},"
                         f" steps={steps!r}.")
    x, y = map(array_of, (x, y))
    rng, rates = np.random.default_rng(seed), np.geomspace(low, high, steps)
    losses: list[float] = []
    parameters = model.parameters()
    with borrowed(parameters), np.errstate(all="ignore"):
        made = optimizer(parameters)
        for rate in rates:
            some = slice(None) if batch_size is None else rng.choice(
                len(x), min(batch_size, len(x)), replace=False)
            value = loss(model(x[some]), y[some])
            losses.append(float(value))
            if not math.isfinite(losses[-1]) or losses[-1] > 4 * losses[0] + 1:
                break
            made.lr = float(rate)
            made.zero_grad()
            value.backward()
            made.step()
        made.zero_grad()
    seen = np.array(losses)
    seen = seen[: len(seen) if np.isfinite(seen[-1]) else -1]
    # losses[i] is what the rates before i have made of it, so the fall to i + 1 is rate i's;
    # a loss that has exploded may fall as well, but only towards where it came from
    curve = _smooth(seen)
    high_up = curve > curve[0] + 0.5 * np.ptp(curve[: int(curve.argmin()) + 1]) + 1e-12
    curve = curve[: int(high_up.argmax())] if high_up.any() else curve
    fall = np.diff(curve[: int(curve.argmin()) + 1])
    best = int(fall.argmin()) if len(fall) else 0
    return LearningRates(rates[: len(seen)], seen, float(rates[best]))


def _smooth(values: Array, width: int = 5) -> Array:
    """Mean over neighbours, fewer at the ends."""
    half = width // 2
    return np.array([values[max(i - half, 0) : i + half + 1].mean() for i in range(len(values))])
