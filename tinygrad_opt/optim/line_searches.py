"""Line searches: how far to go along a direction, in a function of named arrays or of one vector.

    Armijo     f(x + α d) ≤ f(x) + c₁ α g·d            far enough down for so long a step
    Wolfe      and |g(x + α d)·d| ≤ c₂ |g·d|           near enough to where the line is level

An `Objective` is the function that is minimised: of arrays by name to its caller, of one vector x
to every method; a `Point` is its value and its derivatives at one x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.hints import answers
from tinygrad_opt.kernels import brought
from tinygrad_opt.optim.options import choice, flag, number
from tinygrad_opt.recording import with_grad
from tinygrad_opt.tensor import Gradient, Tensor, backward_pass, first_gradient, values_of
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["SEARCHES", "Function", "LineSearch", "Objective", "Params", "Point", "line_search",
           "quietly", "search"]

# a search may leave the finite numbers on its way: that is seen in the value of f
quietly = np.errstate(divide="ignore", invalid="ignore", over="ignore")


Function: TypeAlias = Callable[..., Tensor]                        # of a Tensor, or a dict of them
Part = TypeVar("Part", Array, Tensor)
Params: TypeAlias = "ArrayLike | Mapping[str, ArrayLike]"


class Objective:
    """f(params) as a function of one vector x; its negative if it is to be maximised.

    Parameters
    ----------
    f : callable
    params : array-like, Tensor or dict of str to these
    maximize : bool
    entries : int, optional
        How many f must have.
    """

    def __init__(self, f: Function, params: Params, maximize: bool = False,
                 entries: int | None = 1) -> None:
        self.f, self.sign, self.entries = f, -1.0 if maximize else 1.0, entries
        self.named = isinstance(params, Mapping)
        arrays = {name: _start(name, value) for name, value in _by_name(params).items()}
        self.shapes = {name: a.shape for name, a in arrays.items()}
        if not any(a.size for a in arrays.values()):
            raise ValueError(f"there is nothing to minimise over: params is {params!r}")
        self.start = np.concatenate([a.ravel() for a in arrays.values()])
        self.evaluations = 0

    def parts(self, x: Array) -> dict[str, Array]:
        """Views of the vector's parts, under their names."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            found[name] = x[start:stop].reshape(shape)
            start = stop
        return found

    def form(self, parts: dict[str, Part]) -> Part | dict[str, Part]:
        """The parts in the form in which the start was given."""
        return parts if self.named else parts[""]

    def copied(self, x: Array) -> Array | dict[str, Array]:
        """A copy of the vector in the form of the start."""
        return self.form(self.parts(x.copy()))

    def joined(self, parts: Mapping[str, ArrayLike]) -> Array:
        """One vector of all parts; those that are not there are zero."""
        x = np.zeros_like(self.start)
        for name, part in self.parts(x).items():
            part[...] = parts.get(name, 0)
        return x


def _by_name(params: Params) -> dict[str, ArrayLike]:
    return dict(params) if isinstance(params, Mapping) else {"": params}


class Point:
    """f at one x, with its graph; its derivatives when they are asked for."""

    def __init__(self, objective: Objective, x: Array) -> None:
        self.objective, self.x = objective, x
        self.leaves = {name: Tensor(part, requires_grad=True, name=name or "x")
                       for name, part in objective.parts(x).items()}
        objective.evaluations += 1
        with with_grad():
            self.y = y = objective.f(objective.form(self.leaves))
        if type(y) is not Tensor or objective.entries not in (None, y.size):
            wanted = "a Tensor of one entry" if objective.entries else "a Tensor"
            got = f"one of shape {y.shape}" if type(y) is Tensor else type(y).__name__
            raise GraphError(f"f must return {wanted}, got {got}."
                             " Reduce a Tensor with .sum() or .mean().")
        if not y.requires_grad:
            raise GraphError("f does not depend on its argument: compute its value from the"
                             " Tensors that it is given, without .data, .item() or no_grad()")

    @cached_property
    def value(self) -> float:
        return self.objective.sign * self.y.item()

    @cached_property
    def gradient(self) -> Array:
        return self.pulled()

    def pulled(self, v: Array | None = None) -> Array:
        """v · ∂f/∂x as one vector; without v the gradient of f, which must have one entry."""
        return self._joined(backward_pass(self.y, first_gradient(self.y, v)))

    def times(self, d: Array) -> Array:
        """∂²f/∂x² · d, by differentiating the product of the gradient with d."""
        parts = self.objective.parts(d).values()
        slopes = [self._slopes.get(leaf) for leaf in self.leaves.values()]
        with with_grad():
            terms = [(slope * part).sum() for slope, part in zip(slopes, parts)
                     if slope is not None and slope.requires_grad]
            along = sum(terms, Tensor(0.0, dtype=d.dtype))
        if not terms:                                    # f is linear
            return np.zeros_like(d)
        return self._joined(backward_pass(along, first_gradient(along)))

    @cached_property
    def _slopes(self) -> dict[Tensor, Tensor]:
        """The gradient with its graph, from which every product with the Hessian is taken."""
        with with_grad():
            recorded = backward_pass(self.y, first_gradient(self.y, None, True), record=True)
            return cast("dict[Tensor, Tensor]", recorded)

    def _joined(self, gradients: dict[Tensor, Gradient]) -> Array:
        found = {name: values_of(gradients[leaf]) for name, leaf in self.leaves.items()
                 if leaf in gradients}
        return self.objective.sign * self.objective.joined(found)


def _start(name: str, value: ArrayLike) -> Array:
    """The start as an array of finite floats."""
    array = brought(values_of(value))
    of = f" of {name!r}" if name else ""
    if array.dtype.kind not in "fiu":
        raise TypeError(f"the start{of} must hold numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        where = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        raise ValueError(f"the start{of} must be finite, got {array[where]} at {list(where)}")
    keeps = array.dtype.kind == "f" and hasattr(value, "dtype")
    return array if keeps else array.astype(np.float64)


# ---- along a line --------------------------------------------------------------------------------


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


@answers
@quietly
def line_search(
    f: Function, params: Params, direction: Params | None = None, *, method: str = "wolfe",
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
    point = Point(objective, objective.start)
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
    return LineSearch(alpha, objective.copied(end.x), objective.sign * end.value,
                      objective.evaluations, found is not None)


class Trial(NamedTuple):
    """A point of a line, x + α d."""

    alpha: float
    point: Point

    @property
    def value(self) -> float:
        return self.point.value


class Line:
    """φ(α) = f(x + α d), with φ′(α) = g·d, and what a step along it must meet."""

    def __init__(self, point: Point, d: Array, c1: float, c2: float) -> None:
        self.start, self.d, self.c1 = Trial(0.0, point), d, c1
        self.slope_at_start = self.slope(self.start)
        self.level = -c2 * self.slope_at_start           # no steeper than this
        self.rounding = 1e3 * float(np.finfo(point.x.dtype).eps) * abs(point.value)

    def at(self, alpha: float) -> Trial:
        x = self.start.point.x
        return Trial(alpha, Point(self.start.point.objective, x + x.dtype.type(alpha) * self.d))

    def slope(self, trial: Trial) -> float:
        return float(trial.point.gradient @ self.d)

    def falls(self, trial: Trial) -> bool:
        """Armijo's condition, as far as the rounding of f lets it be seen."""
        fall = self.c1 * trial.alpha * self.slope_at_start
        return trial.value <= self.start.value + fall + self.rounding

    def armijo(self, first: float) -> Trial | None:
        """Halve the step until f falls enough."""
        trials = (self.at(first / 2**halvings) for halvings in range(60))
        return next(filter(self.falls, trials), None)

    def wolfe(self, first: float) -> Trial | None:
        """Enclose a level stretch of the line between `low` and `high`, and close in on it.

        `low` is the lowest trial that falls enough, and the line leads down from it towards
        `high`. While there is no `high`, the step grows.
        """
        low, high, alpha = self.start, None, first
        for _ in range(40):
            trial = self.at(alpha)
            if not self.falls(trial) or (low is not self.start and trial.value > low.value):
                high = trial
            else:
                slope = self.slope(trial)
                if abs(slope) <= self.level:
                    return trial
                ahead = 1.0 if high is None else high.alpha - low.alpha
                before, low = low, trial
                if not slope * ahead < 0:
                    high = before
                elif high is None:
                    grown = trial.alpha - before.alpha
                    alpha = self.lowest(before, trial, alpha + 1.1 * grown, alpha + 4 * grown)
                    continue
            width = high.alpha - low.alpha
            alpha = self.lowest(low, high, low.alpha + 0.1 * width, high.alpha - 0.1 * width)
        return low if low.value < self.start.value else None

    def lowest(self, a: Trial, b: Trial, nearest: float, farthest: float) -> float:
        """Where the cubic through two trials and their slopes is lowest, kept between bounds."""
        if not (math.isfinite(b.value) and math.isfinite(self.slope(b))):
            return nearest
        width, from_a, from_b = b.alpha - a.alpha, self.slope(a), self.slope(b)
        theta = from_a + from_b - 3 * (b.value - a.value) / width
        root = theta * theta - from_a * from_b
        if root < 0:
            return (nearest + farthest) / 2
        bend = math.copysign(math.sqrt(root), width)
        below = from_b - from_a + 2 * bend
        alpha = b.alpha - width * (from_b + bend - theta) / below if below else math.nan
        if math.isnan(alpha):
            return (nearest + farthest) / 2
        return min(max(alpha, min(nearest, farthest)), max(nearest, farthest))


SEARCHES = {"wolfe": Line.wolfe, "armijo": Line.armijo}


def search(
    point: Point, d: Array, method: str, first: float, c1: float = 1e-4, c2: float = 0.9
) -> Trial | None:
    """A step from the point along d that meets the conditions, or at least lowers f."""
    return SEARCHES[method](Line(point, d, c1, c2), first)


def _vector(objective: Objective, direction: Params) -> Array:
    """The direction as one vector, checked against the form of the start."""
    parts = _by_name(direction)
    shapes = {name: np.shape(part) for name, part in parts.items()}
    if shapes != objective.shapes:
        raise ValueError(f"the direction must have the form of params, {objective.shapes},"
                         f" got {shapes}")
    return objective.joined(parts)
