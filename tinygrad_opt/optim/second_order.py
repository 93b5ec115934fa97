"""Minimising a function: nonlinear conjugate gradients, and any rule with a stop test.

All unknowns are one vector x here, one leaf of the graph; the function sees its parts under
their names. So a gradient, and a Hessian times a vector, is one walk back to one leaf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.optim.lookup import get
from tinygrad_opt.optim.options import number
from tinygrad_opt.tensor import Tensor, no_grad, seed_for, walk

__all__ = ["Result", "conjugate_gradient", "minimize"]

Array = np.ndarray[Any, Any]
_tolerance = number()


@dataclass(frozen=True)
class Result:
    """Where a minimisation ended, and how it went there. It is true if it converged.

    Attributes
    ----------
    params : array or dict of str to array
        The last point, in the form of the start.
    value : float
        f there.
    steps : int
        Steps taken.
    converged : bool
        Whether the norm of the gradient fell to the tolerance.
    message : str
        Why it stopped.
    path : list
        The points from the start to the last, each in the form of the start.
    values : list of float
        f at each of them.
    """

    params: Any
    value: float
    steps: int
    converged: bool
    message: str
    path: list[Any] = field(repr=False)
    values: list[float] = field(repr=False)

    def __bool__(self) -> bool:
        return self.converged


def minimize(
    f: Callable[[Any], Tensor], params: Any, method: Any = "adam", *, steps: int = 1000,
    tol: float = 1e-6, **options: Any,
) -> Result:
    """Follow an optimizer down a function until its gradient is nearly zero.

    Parameters
    ----------
    f : callable
        Takes what has the form of `params`, with Tensors in it, and returns a Tensor of one
        entry.
    params : array-like, Tensor or dict of str to these
        Where to start; not changed. Numbers and lists are taken as float64.
    method : str or class
        Any name that `get` knows, or ``"conjugate_gradient"`` (``"cg"``).
    steps : int
        At most so many.
    tol : float in [0, inf)
        Stop when the Euclidean norm of the gradient is no larger.
    **options
        Those of the method, such as lr.

    Returns
    -------
    Result
        With the path and the values along it. A run that leaves the finite numbers ends there,
        and says so in its ``message``.

    Raises
    ------
    GraphError
        If f does not return a Tensor of one entry that depends on its argument.

    Examples
    --------
    >>> found = minimize(lambda x: ((x - 3) ** 2).sum(), [0.0], "momentum", lr=0.1)
    >>> found.converged, found.params.round(4)
    (True, array([3.]))
    """
    if isinstance(method, str) and method.lower() in ("cg", "conjugate_gradient"):
        return conjugate_gradient(f, params, steps=steps, tol=tol, **options)
    problem = _Problem(f, params)
    rule = get(method, {"x": problem.x}, **options)
    run = _Run(problem, steps, tol)
    while run.goes_on():
        problem.x.grad = run.gradient
        rule.step()
        run.arrive()
    return run.result()


def conjugate_gradient(
    f: Callable[[Any], Tensor], params: Any, *, steps: int | None = None, tol: float = 1e-8,
    restart: int | None = None,
) -> Result:
    """Nonlinear conjugate gradients, with the exact curvature along each direction.

        α = −g·d / d·Hd        x ← x + α d
        β = max(g′·(g′ − g) / g·g, 0)        d ← −g′ + β d,  and −g′ after `restart` steps

    Parameters
    ----------
    f, params, tol
        As for `minimize`.
    steps : int, optional
        At most so many; 100 n for n unknowns by default.
    restart : int, optional
        Begin again with d = −g after so many steps; n by default.

    Returns
    -------
    Result

    Notes
    -----
    Hd comes from the graph of the gradient, not from differences. A convex quadratic function
    of n unknowns is solved in at most n steps. Elsewhere α is only a guess: it is halved until
    f falls, and where the curvature is not positive its size is used.

    References
    ----------
    J. Shewchuk, *An introduction to the conjugate gradient method without the agonizing pain*
    (1994), §14; E. Polak and G. Ribière (1969).

    Examples
    --------
    >>> found = conjugate_gradient(lambda x: x[0] ** 2 + 10 * x[1] ** 2 + x[0] * x[1], [3.0, -1.0])
    >>> found.converged, found.steps
    (True, 2)
    """
    problem = _Problem(f, params)
    x = problem.x.array
    n = x.size
    every = n if restart is None else restart
    if not isinstance(every, int) or every < 1:
        raise ValueError(f"restart must be a whole number of at least 1, got {restart!r}")
    run = _Run(problem, 100 * n if steps is None else steps, tol)
    g, d, since = run.gradient, -run.gradient, 0
    while run.goes_on():
        if since == every or not g @ d < 0:              # not downhill: begin again
            d, since = -g, 0
        curvature = float(d @ problem.hessian_times(d))
        alpha = -float(g @ d) / abs(curvature) if curvature else 1.0
        if not _descend(problem, alpha * d, run.values[-1]):
            if since == 0:
                run.message = "no step downhill lowers the value any more"
                break
            since = every
            continue
        run.arrive()
        new = run.gradient
        beta = max(float(new @ (new - g)) / float(g @ g), 0.0)
        g, d, since = new, beta * d - new, since + 1
    return run.result()


def _descend(problem: _Problem, step: Array, value: float) -> bool:
    """Move by the step, halved until f does not rise; stay if it always does."""
    start = problem.x.array.copy()
    for _ in range(50):
        problem.move_to(start + step)
        new = problem.value()
        if new <= value + 1e-15 * abs(value):            # rounding at the bottom is no rise
            return True
        step = step / 2
    problem.move_to(start)
    return False


class _Problem:
    """A function of named arrays as a function of one vector."""

    def __init__(self, f: Callable[[Any], Tensor], params: Any) -> None:
        self.f = f
        self.named = isinstance(params, Mapping)
        given = dict(params) if isinstance(params, Mapping) else {"": params}
        if not given:
            raise ValueError("there is nothing to minimise over: params is empty")
        arrays = {name: _floats(name, value) for name, value in given.items()}
        self.shapes = {name: a.shape for name, a in arrays.items()}
        vector = np.concatenate([a.ravel() for a in arrays.values()])
        self.x = Tensor(vector, requires_grad=True, name="x")

    def parts(self, x: Any) -> Any:
        """The vector's parts under their names, as Tensors or as arrays."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            found[name] = x[start:stop].reshape(shape)
            start = stop
        return found if self.named else found[""]

    def at(self) -> Tensor:
        """f at the present point, with its graph."""
        y = self.f(self.parts(self.x))
        if type(y) is not Tensor or y.size != 1:
            got = f"a Tensor of shape {y.shape}" if type(y) is Tensor else type(y).__name__
            raise GraphError(f"f must return a Tensor of one entry, got {got}")
        return y

    def value(self) -> float:
        with no_grad():
            return self.at().item()

    def value_and_gradient(self) -> tuple[float, Array]:
        y = self.at()
        return y.item(), walk(y, seed_for(y))[self.x]

    def hessian_times(self, d: Array) -> Array:
        """∂²f/∂x² · d, by differentiating the product of the gradient with d."""
        y = self.at()
        slope = walk(y, seed_for(y, None, True), record=True)[self.x]
        along = (slope * d).sum()
        if not along.requires_grad:                      # f is linear
            return np.zeros_like(d)
        return walk(along, seed_for(along)).get(self.x, np.zeros_like(d))

    def move_to(self, x: Array) -> None:
        self.x.data = x


class _Run:
    """The book-keeping of a minimisation: where it is, where it was, whether to go on."""

    def __init__(self, problem: _Problem, steps: int, tol: float) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
            raise ValueError(f"steps must be a whole number of at least 0, got {steps!r}")
        self.problem, self.most, self.tol = problem, steps, _tolerance("tol", tol)
        self.path: list[Any] = []
        self.values: list[float] = []
        self.message = ""
        self.arrive()

    def arrive(self) -> None:
        """Look at the point that has been reached."""
        value, self.gradient = self.problem.value_and_gradient()
        self.path.append(_copied(self.problem.parts(self.problem.x.array)))
        self.values.append(value)
        self.norm = float(np.linalg.norm(self.gradient))

    def goes_on(self) -> bool:
        if not (math.isfinite(self.values[-1]) and math.isfinite(self.norm)):
            self.message = f"the value or its gradient is no longer finite after step {self.steps}"
        elif self.norm <= self.tol:
            self.message = f"the gradient's norm {self.norm:.3g} is within {self.tol:g}"
        elif self.steps >= self.most:
            self.message = f"stopped after {self.steps} steps, the gradient's norm {self.norm:.3g}"
        return not self.message

    @property
    def steps(self) -> int:
        return len(self.values) - 1

    def result(self) -> Result:
        return Result(
            params=self.path[-1], value=self.values[-1], steps=self.steps,
            converged=self.norm <= self.tol, message=self.message, path=self.path,
            values=self.values,
        )


def _floats(name: str, value: Any) -> Array:
    """The start as an array of floats."""
    array = value.array if type(value) is Tensor else np.asarray(value)
    if array.dtype.kind not in "fiu":
        of = f" of {name!r}" if name else ""
        raise TypeError(f"the start{of} must hold numbers, got {array.dtype}")
    keeps = array.dtype.kind == "f" and hasattr(value, "dtype")
    return array if keeps else array.astype(np.float64)


def _copied(parts: Any) -> Any:
    return {k: v.copy() for k, v in parts.items()} if isinstance(parts, dict) else parts.copy()
