"""A function of named arrays as SciPy's methods take it: of one vector, with its derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from tinygrad_opt.errors import GraphError, ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.kernels import brought
from tinygrad_opt.optim.line_searches import Function, Objective, Params, Point, quietly
from tinygrad_opt.tensor import values_of
from tinygrad_opt.typing import Array

__all__ = ["ForSciPy", "as_scipy"]

class ForSciPy(NamedTuple):
    """A function of one float64 vector x, with its derivatives.

    Attributes
    ----------
    fun : callable
        x → f(x), a float; or the residuals, a vector.
    jac : callable
        x → the gradient; or the Jacobian, a row for each residual.
    hessp : callable
        (x, p) → the Hessian at x times the vector p, without forming it; for f of one entry.
    x0 : ndarray of shape (n,)
        The start.
    unflatten : callable
        x → what it stands for, in the form of the parameters: arrays by their names.
    """

    fun: Callable[[Array], object]
    jac: Callable[[Array], Array]
    hessp: Callable[[Array, Array], Array]
    x0: Array
    unflatten: Callable[[Array], object]


@answers
def as_scipy(f: Function, params: Params) -> ForSciPy:
    """A function of parameters as `scipy.optimize` takes it.

    Parameters
    ----------
    f : callable
        As for `minimize`: takes what has the form of `params`, with Tensors in it. It returns a
        Tensor of one entry; or of many, which are residuals for ``least_squares``.
    params : array-like, Tensor or dict of str to these
        Where to start; not changed. It is taken as float64.

    Returns
    -------
    ForSciPy
        ``fun, jac, hessp, x0, unflatten``.

    Raises
    ------
    GraphError
        If f does not return a Tensor that depends on its argument.

    Notes
    -----
    A gradient is one backward pass, a Jacobian one for each row. What was computed at the last x
    is kept: ``jac`` and ``hessp`` at the x of ``fun`` do not compute f again. SciPy's nonlinear
    constraints take functions in this form too.

    Examples
    --------
    >>> def rosenbrock(p):
    ...     return ((1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2).sum()
    >>> problem = as_scipy(rosenbrock, {"x": -1.0, "y": 2.0})
    >>> problem.fun(problem.x0), problem.jac(problem.x0)
    (104.0, array([396., 200.]))
    >>> problem.hessp(problem.x0, np.array([1.0, 0.0]))
    array([402., 400.])

    ``scipy.optimize.minimize(problem.fun, problem.x0, jac=problem.jac)`` then finds x = y = 1,
    which ``problem.unflatten(result.x)`` gives back by name.
    """
    def start(value: object) -> Array:
        return np.array(brought(values_of(value)), np.float64)

    objective = Objective(f, {name: start(value) for name, value in params.items()}
                          if isinstance(params, Mapping) else start(params), entries=None)
    latest = Point(objective, objective.start)
    objective.entries = entries = latest.y.size

    def vector(x: Array) -> Array:
        x = np.array(x, np.float64)
        if x.shape != objective.start.shape:
            raise ShapeError(f"x must be of shape {objective.start.shape}, as x0, got {x.shape}")
        return x

    @quietly
    def at(x: Array) -> Point:
        """f at x, computed once."""
        nonlocal latest
        x = vector(x)
        if not np.array_equal(x, latest.x):
            latest = Point(objective, x)
        return latest

    def fun(x: Array) -> object:
        return at(x).value if entries == 1 else at(x).y.data.ravel().copy()

    @quietly
    def jac(x: Array) -> Array:
        point = at(x)
        if entries == 1:
            return np.array(point.gradient)
        return np.stack([point.pulled(row.reshape(point.y.shape)) for row in np.eye(entries)])

    @quietly
    def hessp(x: Array, p: Array) -> Array:
        if entries != 1:
            raise GraphError(f"the Hessian is that of f of one entry, got {entries} residuals")
        return at(x).times(vector(p))

    return ForSciPy(fun, jac, hessp, objective.start.copy(),
                    lambda x: objective.copied(vector(x)))
