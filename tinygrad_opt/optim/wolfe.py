"""Line searches: how far to go along a direction.

    Armijo     f(x + α d) ≤ f(x) + c₁ α g·d            far enough down for so long a step
    Wolfe      and |g(x + α d)·d| ≤ c₂ |g·d|           near enough to where the line is level
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt.optim.objective import Array, Objective, Point, quietly
from tinygrad_opt.optim.options import choice, flag, number
from tinygrad_opt.tensor import Tensor

__all__ = ["LineSearch", "line_search", "search"]


class LineSearch(NamedTuple):
    """Where a line search ended. It is true if it found a step.

    Attributes
    ----------
    alpha : float
        The step length; 0 if none was found.
    x : array or dict of str to array
        x + α d, in the form of the start.
    fun : float
        f there.
    evaluations : int
        How many times f was computed, at the start too.
    converged : bool
        Whether the conditions hold.
    """

    alpha: float
    x: Any
    fun: float
    evaluations: int
    converged: bool

    def __bool__(self) -> bool:
        return self.converged


@quietly
def line_search(
    f: Callable[[Any], Tensor], params: Any, direction: Any = None, *, method: str = "wolfe",
    first: float = 1.0, c1: float = 1e-4, c2: float = 0.9, maximize: bool = False,
) -> LineSearch:
    """The step length along a direction, by minimising in one dimension as far as is worth it.

    Parameters
    ----------
    f : callable
        Takes what has the form of `params`, with Tensors in it, and returns a Tensor of one
        entry.
    params : array-like, Tensor or dict of str to these
        Where to start; not changed.
    direction : of the form of `params`, optional
        Must lead downhill; steepest descent, −g, if left out. Uphill for `maximize`.
    method : {"wolfe", "armijo"}
        The strong Wolfe conditions, met by cubic interpolation; or Armijo's alone, for which the
        step is halved until it holds (backtracking).
    first : float in (0, inf)
        The step length to begin with.
    c1 : float in (0, 1)
        The share of the fall that the slope promises.
    c2 : float in (c1, 1)
        The share of the slope that may be left: .9 for Newton-like directions, .1 to minimise
        along the line nearly exactly.
    maximize : bool
        Look for the largest value instead.

    Returns
    -------
    LineSearch

    Raises
    ------
    ValueError
        If the direction does not lead downhill (uphill for `maximize`).

    References
    ----------
    J. Nocedal and S. Wright, *Numerical optimization* (2006), algorithms 3.1, 3.5 and 3.6.

    Examples
    --------
    >>> found = line_search(lambda x: ((x - 3) ** 2).sum(), [0.0], first=0.1, c2=0.1)
    >>> round(found.alpha, 6), found.x
    (0.5, array([3.]))
    """
    objective = Objective(f, params, flag("maximize", maximize))
    point = objective.at(objective.start)
    d = -point.gradient if direction is None else _vector(objective, direction)
    c1 = number(above=0, below=1)("c1", c1)
    c2 = number(above=c1, below=1)("c2", c2)
    slope = float(point.gradient @ d)
    if not slope < 0:
        wanted = "up" if maximize else "down"
        raise ValueError(f"the direction must lead {wanted}hill, but the slope of f along it is"
                         f" {objective.sign * slope:g}")
    first = number(above=0)("first", first)
    found = search(point, d, choice(*SEARCHES)("method", method), first, c1, c2)
    alpha, end = (0.0, point) if found is None else (found.alpha, found.point)
    x = objective.form({name: part.copy() for name, part in objective.parts(end.x).items()})
    return LineSearch(alpha, x, objective.sign * end.value, objective.evaluations,
                      found is not None)


class Trial:
    """A point of the line: φ(α) = f(x + α d) and its slope φ′(α) = g·d."""

    def __init__(self, alpha: float, point: Point, d: Array) -> None:
        self.alpha, self.point, self.d = alpha, point, d
        self.value = point.value

    @property
    def slope(self) -> float:
        return float(self.point.gradient @ self.d)


def search(
    point: Point, d: Array, method: str, first: float, c1: float = 1e-4, c2: float = 0.9
) -> Trial | None:
    """A step from the point along d that meets the conditions, or at least lowers f."""
    def at(alpha: float) -> Trial:
        return Trial(alpha, point.objective.at(point.x + point.x.dtype.type(alpha) * d), d)

    start = Trial(0.0, point, d)
    rounding = 1e3 * float(np.finfo(point.x.dtype).eps) * abs(point.value)
    slope = start.slope

    def falls(trial: Trial) -> bool:
        """Armijo's condition, as far as the rounding of f lets it be seen."""
        return trial.value <= point.value + c1 * trial.alpha * slope + rounding

    return SEARCHES[method](at, start, falls, first, c2)


def _armijo(
    at: Callable[[float], Trial], start: Trial, falls: Callable[[Trial], bool], first: float,
    c2: float,
) -> Trial | None:
    """Halve the step until f falls enough."""
    for halvings in range(60):
        trial = at(first / 2**halvings)
        if falls(trial):
            return trial
    return None


def _wolfe(
    at: Callable[[float], Trial], start: Trial, falls: Callable[[Trial], bool], first: float,
    c2: float,
) -> Trial | None:
    """Enclose a level stretch of the line between `low` and `high`, and close in on it.

    `low` is the lowest trial that falls enough, and the line leads down from it towards `high`.
    While there is no `high`, the step grows.
    """
    low, high, alpha = start, None, first
    for _ in range(40):
        trial = at(alpha)
        if not falls(trial) or (low is not start and trial.value > low.value):
            high = trial
        else:
            slope = trial.slope
            if abs(slope) <= -c2 * start.slope:
                return trial
            ahead = 1.0 if high is None else high.alpha - low.alpha
            before, low = low, trial
            if not slope * ahead < 0:
                high = before
            elif high is None:
                grown = trial.alpha - before.alpha
                alpha = _cubic(before, trial, trial.alpha + 1.1 * grown, trial.alpha + 4 * grown)
                continue
        width = high.alpha - low.alpha
        alpha = _cubic(low, high, low.alpha + 0.1 * width, high.alpha - 0.1 * width)
    return low if low.value < start.value else None


def _cubic(a: Trial, b: Trial, nearest: float, farthest: float) -> float:
    """Where the cubic through two trials and their slopes is lowest, kept between two bounds."""
    if not (math.isfinite(b.value) and math.isfinite(b.slope)):
        return nearest
    width = b.alpha - a.alpha
    theta = a.slope + b.slope - 3 * (b.value - a.value) / width
    root = theta * theta - a.slope * b.slope
    if root < 0:
        return (nearest + farthest) / 2
    bend = math.copysign(math.sqrt(root), width)
    below = b.slope - a.slope + 2 * bend
    alpha = b.alpha - width * (b.slope + bend - theta) / below if below else math.nan
    if math.isnan(alpha):
        return (nearest + farthest) / 2
    return min(max(alpha, min(nearest, farthest)), max(nearest, farthest))


def _vector(objective: Objective, direction: Any) -> Array:
    """The direction as one vector, checked against the form of the start."""
    parts = direction if objective.named else {"": direction}
    shapes = {name: np.shape(part) for name, part in parts.items()}
    if shapes != objective.shapes:
        raise ValueError(f"the direction must have the form of params, {objective.shapes},"
                         f" got {shapes}")
    flat = [np.ravel(np.asarray(parts[name])) for name in objective.shapes]
    return np.concatenate(flat, dtype=objective.start.dtype)


SEARCHES: dict[str, Callable[..., Trial | None]] = {"wolfe": _wolfe, "armijo": _armijo}
