"""Derivatives of functions: grad, jacobian, hessian, and a check against finite differences.

    grad(f)(x)          ∇f(x), for f that returns one number
    jacobian(f)(x)      ∂fᵢ/∂xⱼ, in the shape f(x).shape + x.shape
    hessian(f)(x)       ∂²f/∂xᵢ∂xⱼ
    hvp(f)(x, v)        the hessian times v, without forming it

Each takes a function and returns a function of the same arguments. Arguments may be arrays,
numbers, Tensors, or dicts of them, and what comes back has the form of the argument. They nest:
``grad(grad(f))`` is the second derivative.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.errors import GradientError, GraphError, ShapeError
from tinygrad_opt.hints import answers, nothing_called
from tinygrad_opt.kernels import brought, created
from tinygrad_opt.recording import differentiating, lifted, no_grad, with_grad
from tinygrad_opt.tensor import (
    Gradient,
    Tensor,
    apply,
    backward_pass,
    first_gradient,
    values_of,
)
from tinygrad_opt.typing import Array, ArrayLike, Derivative

__all__ = ["GradCheck", "grad", "gradcheck", "hessian", "hvp", "jacobian", "value_and_grad"]

if not TYPE_CHECKING:
    __getattr__ = nothing_called("autograd", __all__)

T = TypeVar("T")
Argument: TypeAlias = "ArrayLike | dict[str, ArrayLike]"           # that can be differentiated


@contextmanager
def _differentiating() -> Iterator[None]:
    """Record what runs inside, gradients that are taken there included."""
    token = differentiating.set(differentiating.get() + 1)
    try:
        with with_grad():
            yield
    finally:
        differentiating.reset(token)


@answers
def grad(f: Callable[..., object], argnums: int | Sequence[int] = 0) -> Derivative:
    """The gradient of a function that returns one number.

    Parameters
    ----------
    f : callable
        Takes arrays, Tensors or dicts of them and returns a Tensor of one entry.
    argnums : int, or tuple or list of int
        Which arguments to differentiate.

    Returns
    -------
    callable
        Takes the arguments of f and returns ∂f/∂argument, in the form of the argument: an array
        for an array or a number, a Tensor for a Tensor, a dict for a dict; a tuple of them if
        `argnums` is a tuple or a list.

    Raises
    ------
    TypeError
        If f is not a function, or `argnums` are not integers.
    ValueError
        If `argnums` name an argument twice.
    GraphError
        When called, if f does not return a Tensor of one entry.

    Notes
    -----
    The gradient is recorded, and can be differentiated in turn, inside another `grad`, and where an
    argument is a Tensor that requires grad: a loss made of derivatives by x then has gradients for
    the weights that f uses. Elsewhere it is a constant, as an adversarial example needs it, and a
    loss made of it sends nothing back through it to the weights.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> tg.grad(lambda x: (x**3).sum())(np.array([1.0, 2.0]))
    array([ 3., 12.])
    >>> float(tg.grad(tg.grad(np.sin))(0.0))
    -0.0
    """
    differentiated = value_and_grad(f, argnums)

    @functools.wraps(f, updated=())
    def gradient(*args: Argument, **kwargs: object) -> object:
        return differentiated(*args, **kwargs)[1]

    return gradient


@answers
def value_and_grad(
    f: Callable[..., object], argnums: int | Sequence[int] = 0
) -> Derivative:
    """The value of a function and its gradient, from one run.

    Parameters
    ----------
    f, argnums
        As for `grad`.

    Returns
    -------
    callable
        Takes the arguments of f and returns ``(value, gradient)``.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> value, slope = tg.value_and_grad(lambda w: (w["a"] * w["b"]).sum())(
    ...     {"a": np.array([2.0]), "b": np.array([5.0])})
    >>> float(value), slope["a"]
    (10.0, array([5.]))
    """

    places = _places(f, argnums)

    def both(*args: Argument, **kwargs: object) -> tuple[Gradient, object]:
        run = _Run(f, places, args, kwargs)
        y = run.result
        if type(y) is not Tensor or y.size != 1:
            raise GraphError(
                f"grad() needs a function that returns a Tensor of one entry, got {_what(y)}."
                " Reduce it with .sum() or .mean(), or use jacobian()."
            )
        value = y if run.wants_tensors else lifted(y._array)
        return value, run.in_form(run.pulled(y))

    return both


@answers
def jacobian(f: Callable[..., object], argnums: int | Sequence[int] = 0) -> Derivative:
    """All partial derivatives of a function that returns a Tensor, or a dict or tuple of them.

    Parameters
    ----------
    f, argnums
        As for `grad`, but f may return any shape.

    Returns
    -------
    callable
        Takes the arguments of f and returns ∂f/∂argument of shape ``f(x).shape + x.shape``.

    Notes
    -----
    One backward pass for each entry of the result.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> tg.jacobian(lambda x: x * x)(np.array([1.0, 3.0]))
    array([[2., 0.],
           [0., 6.]])
    """

    places = _places(f, argnums)

    def rows(*args: Argument, **kwargs: object) -> object:
        run = _Run(f, places, args, kwargs)
        y = run.result
        return tuple(map(run.jacobian, y)) if isinstance(y, tuple) else _map(run.jacobian, y)

    return rows


@answers
def hessian(f: Callable[..., object], argnums: int | Sequence[int] = 0) -> Derivative:
    """All second derivatives of a function that returns one number.

    Parameters
    ----------
    f, argnums
        As for `grad`.

    Returns
    -------
    callable
        Takes the arguments of f and returns ∂²f/∂x∂x of shape ``x.shape + x.shape``; for a dict
        of arrays a dict of dicts, for several arguments a tuple of tuples.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([3.0, 5.0]))
    array([[10.,  6.],
           [ 6.,  0.]])
    """
    return jacobian(grad(f, argnums), argnums)


@answers
def hvp(f: Callable[..., object], argnum: int = 0) -> Derivative:
    """The hessian of a function times a vector: Hv = ∇(∇f · v), without forming H.

    Parameters
    ----------
    f : callable
        As for `grad`.
    argnum : int
        Which argument to differentiate.

    Returns
    -------
    callable
        Takes the arguments of f and then v, in the form of the differentiated argument, and
        returns Hv in that form.

    References
    ----------
    Pearlmutter, *Fast exact multiplication by the Hessian* (1994).

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> tg.hvp(lambda x: (x**3).sum())(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([  6., 120.])
    """
    if isinstance(argnum, tuple | list):
        raise TypeError(f"hvp() differentiates one argument, got argnum={argnum!r}")
    slope = grad(f, argnum)

    def product(*args: Argument, **kwargs: object) -> object:
        *args_of_f, along = args
        v = _named(along)

        def along_v(*inner: object, **options: object) -> Array:
            g = _named(slope(*inner, **options))
            if g.keys() != v.keys():
                raise GraphError("hvp() needs v in the form of the argument: the same names")
            for name, a in g.items():
                if np.shape(a) != np.shape(v[name]):
                    raise ShapeError(
                        f"hvp() needs v of shape {np.shape(a)}, got {np.shape(v[name])}")
            return functools.reduce(operator.add, [np.multiply(g[k], v[k]).sum() for k in g])

        return grad(along_v, argnum)(*args_of_f, **kwargs)

    return product


class _Run:
    """One run of a function on fresh Tensors, ready to be differentiated.

    Every differentiated argument becomes a new Tensor, also where it already is one: then the
    derivative counts only what passed through this argument, even if f reaches the same Tensor
    another way.
    """

    def __init__(
        self, f: Callable[..., object], places: int | tuple[int, ...], args: tuple[Argument, ...],
        kwargs: dict[str, object],
    ) -> None:
        self.single = not isinstance(places, tuple)
        self.places = places if isinstance(places, tuple) else (places,)
        for i in self.places:
            if not -len(args) <= i < len(args):
                raise TypeError(f"argnums={i}, but {_name(f)} was given {len(args)} arguments")
        _different(i % len(args) for i in self.places)
        outer = differentiating.get()
        given = [args[i] for i in self.places]
        tensors = [t for g in given for t in _tensors(g)]
        self.wants_tensors = outer > 0 or bool(tensors)
        self.record = outer > 0 or any(t._needs_grad for t in tensors)
        with _differentiating():
            self.inputs = [_map(_fresh, g) for g in given]
            self.since = min((x.serial for g in self.inputs for x in _tensors(g)), default=0)
            inner: list[object] = list(args)
            for i, x in zip(self.places, self.inputs):
                inner[i] = x
            self.result = f(*inner, **kwargs)

    def pulled(self, y: Tensor, seed: Array | None = None) -> Callable[[Tensor], Gradient]:
        """∂(seed · y)/∂x for each x among the inputs."""
        found: dict[Tensor, Gradient] = {}
        if y._needs_grad and y.serial >= self.since:
            with with_grad() if self.record else no_grad():
                start = first_gradient(y, seed, self.record)
                found = backward_pass(y, start, record=self.record, since=self.since)

        def of(x: Tensor) -> Gradient:
            g = found.get(x)
            if g is None:
                g = created("zeros", x.shape, x.dtype, like=x._array)
            if self.wants_tensors:
                return g if type(g) is Tensor else Tensor(g)
            g = values_of(g)
            return lifted(g.copy() if type(g) is np.ndarray and not g.flags.writeable else g)

        return of

    def in_form(self, of: Callable[[Tensor], Gradient]) -> object:
        """What belongs to each input, in the form of the inputs."""
        made = tuple(_map(of, x) for x in self.inputs)
        return made[0] if self.single else made

    def jacobian(self, y: object) -> object:
        """∂y/∂inputs, a row for each entry of y."""
        if type(y) is not Tensor:
            raise GraphError(f"jacobian() needs a function that returns Tensors, got {_what(y)}")
        shape, rows = y.shape, []
        for i in range(y.size):
            seed = created("zeros", y.size, y.dtype, like=y._array)
            seed[i] = 1
            rows.append(self.pulled(y, seed.reshape(shape)))

        def stacked(x: Tensor) -> Gradient:
            if not rows:
                return np.zeros(shape + x.shape, x.dtype)
            return np.stack([row(x) for row in rows]).reshape(shape + x.shape)

        return self.in_form(stacked)


def _places(f: object, argnums: object) -> int | tuple[int, ...]:
    """Which arguments to differentiate: one, or several in a tuple."""
    if not callable(f):
        raise TypeError(f"only functions have derivatives, got {f!r}: give the function, as in"
                        " grad(f), and call what comes back at a point, as in grad(f)(x)")
    several, numbers = isinstance(argnums, tuple | list), []
    for i in argnums if isinstance(argnums, tuple | list) else [argnums]:
        if not isinstance(i, int | np.integer) or isinstance(i, bool):
            raise TypeError("argnums is the number of an argument, or a tuple or list of numbers,"
                            f" got {argnums!r}")
        numbers.append(int(i))
    return _different(numbers) if several else numbers[0]


def _different(places: Iterable[int]) -> tuple[int, ...]:
    places = tuple(places)
    for i in places:
        if places.count(i) > 1:
            raise ValueError(f"argnums name argument {i} twice")
    return places


def _fresh(x: ArrayLike) -> Tensor:
    """A new Tensor for an argument, linked to it if gradients flow there."""
    if type(x) is Tensor and x._needs_grad:
        return apply(ops.positive, x)
    return Tensor(x, requires_grad=True)


def _named(x: Argument) -> dict[str, ArrayLike]:
    """The members of a dict; what is none, as one without a name."""
    return x if isinstance(x, dict) else {"": x}


def _map(change: Callable[..., T], x: object) -> T | dict[str, T]:
    return {k: change(v) for k, v in x.items()} if isinstance(x, dict) else change(x)


def _tensors(x: object) -> list[Tensor]:
    return [v for v in (x.values() if isinstance(x, dict) else [x]) if type(v) is Tensor]


def _what(y: object) -> str:
    if type(y) is Tensor:
        return f"a Tensor of shape {y.shape}"
    return f"{type(y).__name__}, which has no graph (was .data or float() used inside?)"


def _name(f: object) -> str:
    return getattr(f, "__name__", "the function")


# ---- checking ------------------------------------------------------------------------------------


class GradCheck(NamedTuple):
    """What `gradcheck` found. It is true if the gradients agree.

    Attributes
    ----------
    ok : bool
        Whether every entry agrees, kinks left out.
    worst : str
        Which entry differs most, as ``input 0[2, 1]``.
    analytic, numeric : float
        The engine's derivative and the finite difference at that entry.
    error : float
        |analytic − numeric| / (atol + rtol |numeric|) there; at most 1 if ok.
    kinks : list of str
        Entries where the function has no derivative (the two one-sided slopes differ).
    cause : str
        A likely reason, if not ok.
    """

    ok: bool
    worst: str
    analytic: float
    numeric: float
    error: float
    kinks: Sequence[str] = ()
    cause: str = ""

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        verdict = "gradients agree" if self.ok else "gradients differ"
        text = (f"{verdict}; worst at {self.worst}: engine {self.analytic:.10g},"
                f" finite difference {self.numeric:.10g}.")
        if self.kinks:
            text += f" Kinks left out: {', '.join(self.kinks[:5])}."
        return f"{text} Likely cause: {self.cause}." if self.cause else text


@answers
def gradcheck(
    f: Callable[..., object],
    *inputs: ArrayLike,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-4,
    raises: bool = True,
) -> GradCheck:
    """Compare the engine's gradients with central differences in float64.

    ∂f/∂xᵢ ≈ (f(x + εeᵢ) − f(x − εeᵢ)) / 2ε, for a random weighting of the entries of f.

    Parameters
    ----------
    f : callable
        Takes the inputs and returns a Tensor of any shape. It must give the same result each
        time it is called with the same inputs.
    *inputs : array-like or Tensor
        Converted to float64 copies; what you pass is not touched.
    eps : float
        The step ε.
    atol, rtol : float
        An entry agrees if |engine − difference| ≤ atol + rtol |difference|.
    raises : bool
        Raise on disagreement instead of returning it.

    Returns
    -------
    GradCheck
        True in a condition if the gradients agree.

    Raises
    ------
    GradientError
        If they differ and `raises`, with the worst entry, both numbers and a likely cause.
    GraphError
        If f does not return a Tensor, or is not deterministic.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> tg.gradcheck(lambda x: np.tanh(x) * x, np.array([0.5, -2.0])).ok
    True
    """
    arrays = [np.array(brought(values_of(x)), dtype=np.float64) for x in inputs]
    tensors = [Tensor(a, requires_grad=True) for a in arrays]

    def result_of(tensors: list[Tensor]) -> Tensor:
        with _differentiating():
            y = f(*tensors)
        if type(y) is not Tensor:
            raise GraphError(f"gradcheck() needs a function that returns a Tensor, got {_what(y)}")
        return y

    y = result_of(tensors)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, y.shape)

    def value() -> float:
        y = result_of([Tensor(a) for a in arrays])
        return float(np.sum(weights * y._array, dtype=np.float64))

    centre = value()
    if not np.isclose(centre, value(), rtol=1e-12, atol=0, equal_nan=True):
        raise GraphError("gradcheck() needs the same result from the same inputs: is f random?")
    found = backward_pass(y, weights.astype(y.dtype)) if y._needs_grad else {}
    analytic = [np.asarray(found.get(t, np.zeros(t.shape))) for t in tensors]
    numeric, kinks = _differences(value, centre, arrays, analytic, eps)
    result = _compared(analytic, numeric, atol, rtol, kinks)
    if raises and not result:
        raise GradientError(str(result))
    return result


def _differences(
    value: Callable[[], float], centre: float, arrays: list[Array], analytic: list[Array],
    eps: float,
) -> tuple[list[Array], list[str]]:
    """Central differences by each entry of the arrays that `value` reads, and where it has kinks:
    there any slope between the two of its sides is right."""
    numeric, kinks = [], []
    for number, array in enumerate(arrays):
        slopes = np.empty(array.shape)
        for i in np.ndindex(array.shape):
            x = array[i]
            array[i] = x + eps
            right = value() - centre
            array[i] = x - eps
            left = centre - value()
            array[i] = x
            slopes[i] = (right + left) / (2 * eps)
            bend = abs(right - left) / eps
            if bend > 1e-3 * (1 + abs(slopes[i])):         # a smooth function bends by O(ε)
                a, low, high = analytic[number][i], *sorted((left / eps, right / eps))
                if low - bend * 1e-3 <= a <= high + bend * 1e-3:
                    kinks.append(_place(number, i))
                    slopes[i] = a
        numeric.append(slopes)
    return numeric, kinks


def _place(number: int, index: tuple[int, ...]) -> str:
    return f"input {number}[{', '.join(map(str, index))}]" if index else f"input {number}"


def _compared(
    analytic: list[Array], numeric: list[Array], atol: float, rtol: float, kinks: list[str]
) -> GradCheck:
    """Find the worst entry."""
    worst = GradCheck(True, "no entry", 0.0, 0.0, 0.0, kinks)
    for number, (a, n) in enumerate(zip(analytic, numeric)):
        if not a.size:
            continue
        both_nan = np.isnan(a) & np.isnan(n)
        errors = np.abs(a - n) / (atol + rtol * np.abs(n))
        errors = np.where(both_nan | (a == n), 0, np.where(np.isnan(errors), np.inf, errors))
        i = np.unravel_index(np.argmax(errors), a.shape)
        if errors[i] > worst.error or worst.worst == "no entry":
            ok = bool(errors[i] <= 1)
            cause = "" if ok else _likely_cause(a, n)
            place = _place(number, tuple(int(k) for k in i))
            worst = GradCheck(ok, place, float(a[i]), float(n[i]), float(errors[i]), kinks, cause)
    return worst


def _likely_cause(a: np.ndarray, n: np.ndarray) -> str:
    """What usually makes a gradient differ in this way."""

    def same(x: Array, y: Array) -> bool:
        return np.shape(x) == np.shape(y) and np.allclose(x, y, rtol=1e-3, atol=1e-6)

    if not np.isfinite(a).all():
        return "the rule divides by zero or takes the logarithm of zero"
    if not a.any():
        return "the graph is cut (.data, float() or detach() inside), or a rule is None"
    if same(a, -n):
        return "a sign"
    if a.ndim == 2 and same(a, n.T):
        return "a transpose"
    scale = float((a * n).sum() / (a * a).sum())
    if same(a * scale, n):
        return f"a constant factor: the engine's gradient times {scale:.6g} fits"
    if (np.abs(a - n) > 1e-3 * np.abs(n) + 1e-6).mean() < 0.5:
        return "only some entries differ: a branch, a mask or a repeated index"
    return "the rule is not the derivative of this kernel"
