"""Minimising a function: the loop, the stop test and the result, for every method."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np

from tinygrad_opt.hints import answers
from tinygrad_opt.markup import html_table
from tinygrad_opt.optim.line_searches import (
    Function,
    Objective,
    Params,
    Point,
    quietly,
    search,
)
from tinygrad_opt.optim.lookup import get, names, read
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.options import flag, nearest, number, whole
from tinygrad_opt.optim.second_order import METHODS, Direction

__all__ = ["Result", "conjugate_gradient", "method_of", "minimize"]


Method: TypeAlias = str | Direction | Optimizer | type[Optimizer]


@dataclass(frozen=True)
class Result:
    """Where a minimisation ended, and how it went there. It is true if it converged.

    Attributes
    ----------
    x : array or dict of str to array
        The last point, in the form of the start.
    fun : float
        f there.
    steps : int
        Steps taken.
    evaluations : int
        How many times f was computed, in line searches too.
    converged : bool
        Whether the norm of the gradient fell to the tolerance.
    message : str
        Why it stopped.
    path : list
        The points from the start to the last, each in the form of the start.
    values : list of float
        f at each of them.
    """

    x: Any
    fun: float
    steps: int
    evaluations: int
    converged: bool
    message: str
    path: list[object] = field(repr=False)
    values: list[float] = field(repr=False)

    def __bool__(self) -> bool:
        return self.converged

    def _repr_html_(self) -> str:
        return html_table([("", "result"), *(
            (f.name, getattr(self, f.name)) for f in fields(self) if f.repr)])


@answers
@quietly
def minimize(
    f: Function, params: Params, method: Method = "lbfgs", *, steps: int = 1000,
    tol: float = 1e-6, maximize: bool = False, **options: object,
) -> Result:
    """Go down a function until its gradient is nearly zero.

    Parameters
    ----------
    f : callable
        Takes what has the form of `params`, with Tensors in it, and returns a Tensor of one
        entry.
    params : array-like, Tensor or dict of str to these
        Where to start; not changed. Numbers and lists are taken as float64.
    method : str, Optimizer, or class of one
        One of the methods below, with options if you like, ``"cg:beta=hessian"``; or an optimizer
        in any way that `get` knows, or made without parameters.
    steps : int
        At most so many.
    tol : float in [0, inf)
        Stop when the Euclidean norm of the gradient is no larger.
    maximize : bool
        Go up instead.
    **options
        Those of the method, such as lr for an optimizer.

    Returns
    -------
    Result
        With the path and the values along it. A run that leaves the finite numbers ends there,
        and says so in its ``message``.

    Raises
    ------
    GraphError
        If f does not return a Tensor of one entry that depends on its argument.
    ValueError
        If the start is empty or not finite, or for an unknown method.

    Notes
    -----
    These methods search along each direction for a step that meets the strong Wolfe conditions
    (``line_search="armijo"``: that falls enough), so they need no learning rate; but f must be
    the same function at each call. For a loss over random minibatches take an optimizer.

    ======================  ======================================  ==========================
    method                  direction                               options
    ======================  ======================================  ==========================
    ``"lbfgs"``             −B⁻¹ g, B from the last steps           ``memory=10``
    ``"bfgs"``              −B⁻¹ g, B an n × n matrix from all
    ``"newton"``            −\\|H\\|⁻¹ g from the eigenvalues of H
    ``"newton_cg"``         −H⁻¹ g nearly, by products with H
    ``"cg"``                as `conjugate_gradient`                 ``beta``, ``restart``
    ``"steepest_descent"``  −g; ``"line_search"`` too
    ======================  ======================================  ==========================

    A gradient of zero ends each of them, at a saddle or a top as well.

    References
    ----------
    J. Nocedal and S. Wright, *Numerical optimization* (2006), chapters 3 to 7; Y. Dauphin et al.,
    *Identifying and attacking the saddle point problem* (2014), for \\|H\\|.

    Examples
    --------
    >>> found = minimize(lambda x: ((x - 3) ** 2).sum(), [0.0])
    >>> found.converged, found.x
    (True, array([3.]))
    >>> minimize(lambda x: ((x - 3) ** 2).sum(), [0.0], "momentum", lr=0.1).x.round(4)
    array([3.])
    """
    way = method_of(method, **options)
    objective = Objective(f, params, flag("maximize", maximize))
    most, tol = whole("steps", steps, 0), number()("tol", tol)
    path: list[object] = []
    values: list[float] = []
    for point in _searched(way, objective) if isinstance(way, Direction) else (
            _followed(way, objective)):
        path.append(objective.copied(point.x))
        values.append(objective.sign * point.value)
        norm, taken = float(np.linalg.norm(point.gradient)), len(path) - 1
        if not (math.isfinite(point.value) and math.isfinite(norm)):
            where = (f"no longer finite after step {taken}" if taken
                     else "not finite at the start: start elsewhere")
            message = f"the value or its gradient is {where}"
        elif norm <= tol:
            message = f"the gradient's norm {norm:.3g} is within {tol:g}"
        elif taken >= most:
            message = f"stopped after {taken} steps, the gradient's norm {norm:.3g}"
        else:
            continue
        break
    else:
        message = ("no step along the direction lowers the value any more, the gradient's norm is"
                   f" {norm:.3g}")
    return Result(path[-1], values[-1], taken, objective.evaluations, norm <= tol, message, path,
                  values)


def _searched(way: Direction, objective: Objective) -> Iterator[Point]:
    """Search along each direction; where that fails, forget what was learned and try again."""
    point, anew = Point(objective, objective.start), True
    yield point
    while True:
        d, found = way.at(point), None
        if point.gradient @ d < 0:
            found = search(point, d, way.line_search, way.first_step(point, d), c2=way.slope_left)
        if found is not None:
            way.learn(point, found.point, found.alpha)
            point, anew = found.point, False
            yield point
        elif anew:
            return
        else:
            way.forget()
            anew = True


def _followed(rule: Optimizer, objective: Objective) -> Iterator[Point]:
    """Step after step of an optimizer."""
    x = objective.start.copy()
    while True:
        point = Point(objective, x.copy())
        yield point
        rule.update(objective.parts(x), objective.parts(point.gradient))


@answers
def conjugate_gradient(
    f: Function, params: Params, *, steps: int | None = None, tol: float = 1e-8,
    beta: str = "polak_ribiere", restart: int | None = None, maximize: bool = False,
    line_search: str = "wolfe",
) -> Result:
    """Nonlinear conjugate gradients, with the exact curvature along each direction.

        α = −g·d / d·Hd        x ← x + α d        d ← −g′ + β d

    Parameters
    ----------
    f, params, tol, maximize, line_search
        As for `minimize`.
    steps : int, optional
        At most so many; 100 n for n unknowns by default.
    beta : {"polak_ribiere", "fletcher_reeves", "hestenes_stiefel", "hessian"}
        max(g′·(g′ − g) / g·g, 0); g′·g′ / g·g; g′·(g′ − g) / d·(g′ − g); or g′·Hd / d·Hd.
    restart : int, optional
        Begin again with d = −g after so many steps; only where d leads uphill by default.

    Returns
    -------
    Result

    Notes
    -----
    Hd comes from the graph of the gradient, not from differences. A convex quadratic function
    of n unknowns is solved in at most n steps in exact arithmetic, whatever β; in floating point
    large or ill-conditioned ones take a few more, and about twice as many with ``restart=n``,
    which throws away what has been learned just before the end. Elsewhere α is where the line
    search begins, with the size of the curvature where that is negative.

    References
    ----------
    J. Shewchuk, *An introduction to the conjugate gradient method without the agonizing pain*
    (1994), §14; E. Polak and G. Ribière (1969); R. Fletcher and C. Reeves (1964); M. Hestenes and
    E. Stiefel (1952).

    Examples
    --------
    >>> found = conjugate_gradient(lambda x: x[0] ** 2 + 10 * x[1] ** 2 + x[0] * x[1], [3.0, -1.0])
    >>> found.converged, found.steps
    (True, 2)
    """
    unknowns = Objective(f, params).start.size
    return minimize(
        f, params, "cg", steps=100 * unknowns if steps is None else steps, tol=tol, beta=beta,
        restart=restart, maximize=maximize, line_search=line_search)


def method_of(method: Method, **options: Any) -> Direction | Optimizer:
    """The method by its name, with its options, or an optimizer without parameters."""
    if isinstance(method, Direction):
        return method
    if isinstance(method, str):
        method, own = read(method)
        word, options = re.sub(r"[\s_-]", "", method).lower(), own | options
        if word in METHODS:
            return METHODS[word](**options)
        try:
            get(word)
        except ValueError:
            close = nearest(word, [*METHODS, *names()])
            raise ValueError(f"no method is called {method!r}; {close}") from None
    rule = get(method, **options)
    if rule.parameters:
        raise ValueError(f"minimize() moves params itself: give {type(rule).__name__} without"
                         f" parameters, as {type(rule).__name__}(lr=...)")
    return rule
