"""NumPy's functions on Tensors: what ``np.sum(t, axis=1)`` or ``np.concatenate([t, a])`` runs.

A NumPy function that is the kernel of a row is called by its own signature. The others are
written here, as NumPy code on Tensors or as a call of the row that fits. Importing this module
fills the table that ``Tensor.__array_function__`` looks functions up in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import numpy as np

from tinygrad_opt import kernels, ops, vjps
from tinygrad_opt.errors import ShapeError, no_rule, subject
from tinygrad_opt.ops import Op
from tinygrad_opt.outside import array_of, as_operand
from tinygrad_opt.recording import effect, observed
from tinygrad_opt.tensor import FUNCTIONS, Tensor, answer, apply, deep_values, values_of
from tinygrad_opt.typing import Array, ArrayLike, Axis, Shape, Size

if TYPE_CHECKING:
    import inspect

__all__ = ["READING"]

Function = TypeVar("Function", bound=Callable[..., object])
Sections: TypeAlias = int | Sequence[int]
Limit: TypeAlias = "ArrayLike | None"
Pads: TypeAlias = Literal["constant", "edge", "reflect", "symmetric", "wrap"]


# ---- rows, by the signature of their kernel ------------------------------------------------------


def _row(row: Op, function: Callable[..., object]) -> Callable[..., Tensor]:
    """Call a row as NumPy's function is called: inputs first, options by NumPy's names."""
    code = next(vjp for vjp in row.vjps if vjp is not None).__code__
    n_inputs = len(row.vjps)
    known = frozenset(code.co_varnames[2 + n_inputs : code.co_argcount])

    @functools.cache
    def signature() -> inspect.Signature:
        import inspect

        return inspect.signature(function)

    def call(*args: Array, **kwargs: object) -> Tensor:
        if len(args) == n_inputs and known.issuperset(kwargs):      # no need to bind
            return apply(row, *map(_constant, args), **kwargs)
        given = signature().bind(*args, **kwargs).arguments
        inputs = [given.pop(name) for name in list(signature().parameters)[:n_inputs]]
        options = {k: v for k, v in given.items() if k in known or v is not None}
        if not known.issuperset(options):
            raise no_rule(row.kernel.__name__, [k for k in options if k not in known])
        return apply(row, *map(_constant, inputs), **{k: values_of(v) for k, v in options.items()})

    return call


def _constant(x: Array) -> Array:
    """Indices and the like may come as lists."""
    return np.asarray(x) if isinstance(x, list) else x


def implements(*functions: Callable[..., object]) -> Callable[[Function], Function]:
    """Register what NumPy's functions do when they meet a Tensor; other options are refused."""

    def register(ours: Function) -> Function:
        code = ours.__code__
        known = frozenset(code.co_varnames[:code.co_argcount + code.co_kwonlyargcount])

        def call(*args: object, **options: object) -> object:
            if not known.issuperset(options):
                unknown = {k for k, v in options.items() if k not in known and v is not None}
                if unknown:
                    raise no_rule(functions[0].__name__, sorted(unknown))
                options = {k: v for k, v in options.items() if k in known}
            return ours(*args, **options)

        FUNCTIONS.update(dict.fromkeys(functions, call))
        return ours

    return register


_BY_SIGNATURE = (
    "sum", "mean", "prod", "var", "std", "max", "min", "cumsum", "outer", "diagonal", "trace",
    "ravel", "swapaxes", "moveaxis", "squeeze", "expand_dims", "broadcast_to", "flip", "roll",
    "tile", "repeat", "copy", "take", "take_along_axis", "round",
)
for _name in _BY_SIGNATURE:
    FUNCTIONS[getattr(np, _name)] = _row(ops.TABLE[_name], getattr(np, _name))
FUNCTIONS.update({np.amax: FUNCTIONS[np.max], np.amin: FUNCTIONS[np.min],
                  np.around: FUNCTIONS[np.round]})


# Functions whose answer has no gradient: they read values and answer with arrays.
READING: frozenset[Callable[..., object]] = frozenset({
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.isfinite, np.isinf, np.isnan, np.signbit,
    np.allclose, np.array_equal, np.array_equiv, np.isclose, np.all, np.any, np.argmax,
    np.argmin, np.argpartition, np.argsort, np.argwhere, np.nonzero, np.flatnonzero,
    np.count_nonzero, np.searchsorted, np.shape, np.ndim, np.size, np.zeros_like, np.ones_like,
    np.empty_like, np.result_type, np.can_cast, np.min_scalar_type, np.common_type,
    np.may_share_memory, np.shares_memory, np.array_repr, np.array_str, np.array2string,
    np.isin, np.digitize, np.iscomplexobj, np.isrealobj, np.isposinf, np.isneginf,
    np.unravel_index, np.ravel_multi_index,
})
FUNCTIONS.update({f: functools.partial(answer, f) for f in READING})


# ---- choosing ------------------------------------------------------------------------------------


@implements(np.where)
def _where(condition: Array, *branches: Array) -> Tensor | tuple[Array, ...]:
    if not branches:
        return np.nonzero(condition)
    return apply(ops.where, condition, *branches)


@implements(np.clip)
def _clip(a: Array, a_min: Limit = None, a_max: Limit = None, *, min: Limit = None,
          max: Limit = None) -> Tensor:
    return apply(ops.clip, a, min if a_min is None else a_min, max if a_max is None else a_max)


@implements(np.nan_to_num)
def _nan_to_num(x: Array, copy: bool = True, nan: float = 0.0, posinf: float | None = None,
                neginf: float | None = None) -> Array:
    limits = np.finfo(x.dtype)
    x = np.where(np.isnan(x), nan, x)
    x = np.where(np.isposinf(x), limits.max if posinf is None else posinf, x)
    return np.where(np.isneginf(x), limits.min if neginf is None else neginf, x)


def _full_like(a: Array, fill_value: ArrayLike, *more: object, **options: object) -> Array:
    if not isinstance(fill_value, Tensor):
        return answer(np.full_like, a, fill_value, *more, **options)
    if more or options:
        raise no_rule("full_like", options or ["dtype"])
    filled: Array = np.broadcast_to(fill_value, np.shape(a)).copy()
    return filled


FUNCTIONS[np.full_like] = _full_like


@implements(np.bincount)
def _bincount(x: Array, /, weights: Array | None = None, minlength: int = 0) -> Array:
    counts = answer(np.bincount, x, None, minlength)
    return counts if weights is None else ops.scatter(weights, values_of(x), shape=counts.shape)


def _on_or_below(m: Array, k: int) -> np.ndarray:
    """Where the last two axes of m are on its k-th diagonal or below it."""
    rows, columns = (m.shape[-1:] + m.shape)[-2:]
    return np.tri(rows, columns, k, bool)


# ---- of numbers ----------------------------------------------------------------------------------


@implements(np.sinc)
def _sinc(x: Array) -> Array:
    """sin(πx) / πx; near 0 its Taylor series, which has all derivatives right."""
    y = math.pi * x
    near = np.abs(y) < 0.5
    square, far = np.where(near, y * y, 0), np.where(near, 1, y)
    series: Array | float = 1
    for k in range(16, 0, -2):
        series = 1 - square * series / (k * (k + 1))
    return np.where(near, series, np.sin(far) / far)


# ---- reductions ----------------------------------------------------------------------------------


@implements(np.linalg.norm)
def _norm(
    x: Array, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False
) -> Tensor | Array:
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if ord is None or (ord == "fro" and len(axes) == 2):
        ord = 2
    elif len(axes) != 1 or isinstance(ord, str):
        raise no_rule("linalg.norm", [f"ord={ord!r}", f"axis={axis!r}"])
    return _vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)


def _vector_norm(
    x: Array, *, axis: Axis = None, keepdims: bool = False, ord: float = 2
) -> Tensor | Array:
    if ord == 2:
        return apply(ops.norm, x, axis=axis, keepdims=keepdims)
    size = np.abs(x if x.dtype.kind == "f" else x.astype(float))       # small integers wrap around
    if abs(ord) == math.inf:
        return (np.max if ord > 0 else np.min)(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        raise no_rule("linalg.norm", ["ord=0"])
    return (size**ord).sum(axis=axis, keepdims=keepdims) ** (1 / ord)


@implements(np.average)
def _average(a: Array, axis: Axis = None, weights: Array | None = None,
             returned: bool = False, *, keepdims: bool = False) -> Array:
    if returned:
        raise no_rule("average", ["returned"])
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    if np.ndim(weights) == 1 < np.ndim(a):
        if not isinstance(axis, int):
            raise TypeError("average needs the axis, one number, for weights along one axis")
        shape = [1] * np.ndim(a)
        shape[axis] = -1
        weights = np.reshape(weights, shape)
    weights = np.broadcast_to(weights, np.shape(a))
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    return np.sum(a * weights, axis=axis, keepdims=keepdims) / total


@implements(np.ptp)
def _ptp(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@implements(np.diff)
def _diff(a: Array, n: int = 1, axis: int = -1) -> Array:
    if n < 0:
        raise ValueError(f"diff needs an order n of at least 0, got {n}.")
    for _ in range(n):
        a = np.swapaxes(a, axis, -1)
        a = np.swapaxes(a[..., 1:] - a[..., :-1], axis, -1)
    return a


@implements(np.gradient)
def _gradient(
    f: Array, *spacing: Array | float, axis: Axis = None, edge_order: int = 1
) -> Array | tuple[Array, ...]:
    axes = range(f.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    steps = spacing * len(axes) if len(spacing) == 1 else spacing or (1,) * len(axes)
    if len(steps) != len(axes) or edge_order not in (1, 2):
        raise ValueError(f"gradient along {len(axes)} axes needs one spacing or one for each, got"
                         f" {len(spacing)}, and an edge_order of 1 or 2, got {edge_order}")
    slopes = tuple(_slope(f, h, a, edge_order) for h, a in zip(steps, axes))
    return slopes[0] if len(slopes) == 1 else slopes


def _slope(f: Array, spacing: Array | float, axis: int, edge_order: int) -> Array:
    """The slope at each point of the parabola through it and its neighbours."""
    f = np.moveaxis(f, axis, -1)
    if f.shape[-1] <= edge_order:
        raise ShapeError(f"gradient along an axis of length {f.shape[-1]} needs at least"
                         f" {edge_order + 1} entries")
    if np.ndim(spacing) and np.shape(spacing) != f.shape[-1:]:
        raise ShapeError(f"gradient along an axis of length {f.shape[-1]} cannot take coordinates"
                         f" of shape {np.shape(spacing)}")
    h = np.diff(spacing) if np.ndim(spacing) else spacing * np.ones(f.shape[-1] - 1)
    slope, left, right = np.diff(f) / h, h[:-1], h[1:]
    bend = np.diff(slope) / (left + right)
    first, last = slope[..., :1], slope[..., -1:]
    if edge_order == 2:
        first, last = first - h[:1] * bend[..., :1], last + h[-1:] * bend[..., -1:]
    return np.moveaxis(np.concatenate([first, slope[..., :-1] + left * bend, last], -1), -1, axis)


# ---- products ------------------------------------------------------------------------------------


@implements(np.dot)
def _dot(a: Array, b: Array) -> Tensor:
    return apply(ops.dot, *map(as_operand, (a, b)))


@implements(np.einsum)
def _einsum(subscripts: str, *operands: Array, optimize: object = None) -> Tensor:
    if not isinstance(subscripts, str):
        raise no_rule("einsum without a subscripts string")
    operands = tuple(map(as_operand, operands))
    return apply(ops.einsum, *operands, subscripts=kernels.explicit_einsum(subscripts, operands))


@implements(np.tensordot)
def _tensordot(a: Array, b: Array, axes: int | Sequence[Size] = 2) -> Tensor:
    a, b = as_operand(a), as_operand(b)
    of_a, of_b = (range(a.ndim - axes, a.ndim), range(axes)) if isinstance(axes, int) else axes
    left, right = (np.lib.array_utils.normalize_axis_tuple(i, v.ndim)
                   for v, i in ((a, of_a), (b, of_b)))
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ShapeError(f"tensordot of {a.shape} and {b.shape}: the summed axes {[*left]} and"
                         f" {[*right]} differ in size.")
    first, second = kernels.LETTERS[:a.ndim], [*kernels.LETTERS[a.ndim:a.ndim + b.ndim]]
    for i, j in zip(left, right):
        second[j] = first[i]
    rest = "".join(c for c in (*first, *second) if (c in first) + (c in second) == 1)
    return apply(ops.einsum, a, b, subscripts=f"{first},{''.join(second)}->{rest}")


@implements(np.inner)
def _inner(a: Array, b: Array) -> Array | Tensor:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return _tensordot(a, b, axes=(-1, -1))


@implements(np.cross)
def _cross(a: Array, b: Array, axisa: int = -1, axisb: int = -1, axisc: int = -1,
           axis: int | None = None) -> Array:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = (np.moveaxis(as_operand(v), i, -1) for v, i in ((a, axisa), (b, axisb)))
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ShapeError(f"cross of {a.shape} and {b.shape}: vectors have three components; for"
                         " two, write a[0] * b[1] - a[1] * b[0]")
    return np.moveaxis(np.roll(a, -1, -1) * np.roll(b, 1, -1)
                       - np.roll(a, 1, -1) * np.roll(b, -1, -1), -1, axisc)


@implements(np.kron)
def _kron(a: Array, b: Array) -> Array:
    a, b = as_operand(a), as_operand(b)
    n = max(a.ndim, b.ndim)
    left = (1,) * (n - a.ndim) + a.shape
    right = (1,) * (n - b.ndim) + b.shape
    split = np.reshape(a, [d for k in left for d in (k, 1)])
    product = split * np.reshape(b, [d for k in right for d in (1, k)])
    return np.reshape(product, [p * q for p, q in zip(left, right)])


# ---- linear algebra ------------------------------------------------------------------------------
#
# A decomposition is one row of the table, whose result holds its parts above each other; they are
# slices of it. Each is a function of matrices as a whole, so there is no gradient where it jumps:
# at equal eigenvalues or singular values the vectors are arbitrary in their space, and what
# depends on the choice gets none. Functions that do not, such as sums of eigenvalues, have theirs.


@implements(np.linalg.slogdet)
def _slogdet(a: Array) -> tuple[Array, ...]:
    return type(np.linalg.slogdet(np.eye(1)))(*apply(ops.slogdet, a))


@implements(np.linalg.cholesky)
def _cholesky(a: Array, /, *, upper: bool = False) -> Tensor:
    factor = apply(ops.cholesky, _symmetric(a, "cholesky"))
    return factor.mT if upper else factor


@implements(np.linalg.eigh)
def _eigh(a: Array, UPLO: str = "L") -> tuple[Array, ...]:
    pairs = ops.eigh(_symmetric(a, "eigh"))
    return type(np.linalg.eigh(np.eye(1)))(pairs[..., 0, :], pairs[..., 1:, :])


def _symmetric(a: Array, name: str) -> Array:
    """A matrix that is symmetric to rounding, at each replay of a captured step too."""
    array = observed(a, "array", a._array) if type(a) is Tensor else array_of(a)
    effect(_check_symmetry, array, f"{name} of {subject(a)}")
    return a


def _check_symmetry(x: np.ndarray, subject: str) -> None:
    if x.ndim > 1 and x.shape[-1] == x.shape[-2] and (
            np.abs(x - x.swapaxes(-1, -2)).max(initial=0) > 1e-3 * np.abs(x).max(initial=0)):
        raise ValueError(f"{subject} needs a symmetric matrix: NumPy would read one"
                         " triangle of it only. Use (a + a.mT) / 2, or both of its triangles")


@implements(np.linalg.svd)
def _svd(a: Array, full_matrices: bool = True, compute_uv: bool = True,
         hermitian: bool = False) -> Array | tuple[Array, ...]:
    if hermitian:
        raise no_rule("linalg.svd", ["hermitian=True"])
    if a.ndim < 2:
        raise ShapeError(f"svd of {a.shape}: it takes matrices, of two axes or more.")
    rows, columns = a.shape[-2:]
    if full_matrices and compute_uv and rows != columns:
        raise no_rule("linalg.svd", ["full_matrices=True (some of its vectors are arbitrary: say"
                                     " full_matrices=False)"])
    u, s, v = vjps.triple(ops.svd(a), a)
    return type(np.linalg.svd(np.eye(1)))(u, s[..., 0, :], v.mT) if compute_uv else s[..., 0, :]


# ---- shape ---------------------------------------------------------------------------------------


@implements(np.reshape)
def _reshape(a: Array, shape: Shape | int, order: str = "C") -> Array:
    if order != "C":
        raise no_rule("reshape", ["order"])
    return a.reshape(shape)


@implements(np.transpose)
def _transpose(a: Array, axes: Sequence[int] | None = None) -> Tensor:
    return apply(ops.transpose, a, axes=None if axes is None else tuple(axes))


@implements(np.atleast_1d)
def _atleast_1d(*arrays: Array) -> Array | tuple[Array, ...]:
    return _each(lambda a: a if a.ndim else a.reshape((1,)), arrays)


@implements(np.atleast_2d)
def _atleast_2d(*arrays: Array) -> Array | tuple[Array, ...]:
    return _each(lambda a: a if a.ndim > 1 else a.reshape((1, -1)), arrays)


@implements(np.broadcast_arrays)
def _broadcast_arrays(*arrays: Array, subok: bool = False) -> tuple[Array, ...]:
    shape = np.broadcast_shapes(*(np.shape(a) for a in arrays))
    return tuple(np.broadcast_to(a, shape) for a in arrays)


def _each(
    change: Callable[[Array], Array], arrays: Sequence[Array]
) -> Array | tuple[Array, ...]:
    changed = tuple(change(as_operand(a)) for a in arrays)
    return changed[0] if len(changed) == 1 else changed


@implements(np.rot90)
def _rot90(m: Array, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    turns = {0: m, 2: np.flip(m, tuple(axes))}
    if k % 4 in turns:
        return turns[k % 4]
    return np.flip(np.swapaxes(m, *axes), axes[0] if k % 4 == 1 else axes[1])


@implements(np.pad)
def _pad(
    array: Array, pad_width: ArrayLike, mode: Pads = "constant", *,
    constant_values: ArrayLike | None = None,
) -> Array | Tensor:
    widths = [tuple(int(n) for n in w)
              for w in np.broadcast_to(np.asarray(pad_width), (array.ndim, 2))]
    if mode == "constant":
        padded: Array | Tensor = apply(ops.pad, array, pad_width=tuple(widths))
        if constant_values is None or (np.ndim(constant_values) == 0 and constant_values == 0):
            return padded
        return padded + np.pad(np.zeros(array.shape), widths, constant_values=constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise no_rule("pad", [f"mode={mode!r}"])
    if constant_values is not None:
        raise no_rule("pad", ["constant_values"])
    for axis, (n, width) in enumerate(zip(array.shape, widths)):
        array = np.take(array, np.pad(np.arange(n), width, mode=mode), axis=axis)
    return array


# ---- joining and splitting -----------------------------------------------------------------------


@implements(np.concatenate)
def _concatenate(arrays: Sequence[Array], /, axis: Axis = 0) -> Tensor:
    return apply(ops.concatenate, *map(as_operand, arrays), axis=axis)


@implements(np.stack)
def _stack(arrays: Sequence[Array], axis: int = 0) -> Tensor:
    return apply(ops.stack, *map(as_operand, arrays), axis=axis)


@implements(np.vstack)
def _vstack(tup: Sequence[Array]) -> Tensor:
    return _concatenate([np.atleast_2d(a) for a in tup], axis=0)


@implements(np.hstack)
def _hstack(tup: Sequence[Array]) -> Tensor:
    parts = [np.atleast_1d(a) for a in tup]
    return _concatenate(parts, axis=0 if parts[0].ndim == 1 else 1)


@implements(np.column_stack)
def _column_stack(tup: Sequence[Array]) -> Array:
    parts = [as_operand(a) for a in tup]
    return np.concatenate([a.reshape((-1, 1)) if a.ndim < 2 else a for a in parts], axis=1)


@implements(np.array_split)
def _array_split(ary: Array, indices_or_sections: Sections, axis: int = 0) -> list[Array]:
    axis = np.lib.array_utils.normalize_axis_index(axis, ary.ndim)
    lead = (slice(None),) * axis
    places = np.array_split(np.arange(ary.shape[axis]), deep_values(indices_or_sections))
    slices = [slice(p[0], p[-1] + 1) if len(p) else slice(0) for p in places]
    return [ary[lead + (part,)] for part in slices]  # noqa: RUF005


@implements(np.split)
def _split(ary: Array, indices_or_sections: Sections, axis: int = 0) -> list[Array]:
    n = ary.shape[np.lib.array_utils.normalize_axis_index(axis, ary.ndim)]
    if np.ndim(indices_or_sections) == 0 and n % indices_or_sections:
        raise ShapeError(f"split of {ary.shape}: axis {axis} of length {n} does not divide into"
                         f" {indices_or_sections} equal parts; np.array_split allows unequal ones.")
    return _array_split(ary, indices_or_sections, axis)


# ---- sorting -------------------------------------------------------------------------------------


@implements(np.sort)
def _sort(a: Array, axis: Axis = -1, kind: object = None, *, stable: object = None) -> Tensor:
    if axis is None:
        a, axis = a.ravel(), -1
    return apply(ops.sort, a, axis=axis)


@implements(np.partition)
def _partition(
    a: Array, kth: int | Sequence[int], axis: int | None = -1,
    kind: Literal["introselect"] = "introselect", order: str | None = None,
) -> Array:
    if axis is None:
        a, axis = a.ravel(), -1
    return np.take_along_axis(a, np.argpartition(a, kth, axis, kind, order), axis)


@implements(np.diag)
def _diag(v: Array, k: int = 0) -> Array:
    if v.ndim != 1:
        return np.diagonal(v, k)
    n = len(v) + abs(k)
    i = np.arange(len(v))
    return ops.scatter(v, (i - min(k, 0), i + max(k, 0)), shape=(n, n))


# ---- what others make up -------------------------------------------------------------------------

FUNCTIONS.update({
    np.append: lambda arr, values, axis=None: np.concatenate([arr, values], axis),
    np.degrees: lambda x: x * (180 / math.pi),
    np.fliplr: lambda m: np.flip(m, 1),
    np.flipud: lambda m: np.flip(m, 0),
    np.fmax: lambda x, y: np.maximum(np.where(np.isnan(x), y, x), np.where(np.isnan(y), x, y)),
    np.fmin: lambda x, y: np.minimum(np.where(np.isnan(x), y, x), np.where(np.isnan(y), x, y)),
    np.hsplit: lambda ary, indices_or_sections: _split(ary, indices_or_sections, int(ary.ndim > 1)),
    np.linalg.det: lambda a: apply(ops.det, a),
    np.linalg.eigvalsh: lambda a, UPLO="L": _eigh(a)[0],
    np.linalg.inv: lambda a: apply(ops.solve, a, np.eye(a.shape[-1])),
    np.linalg.solve: lambda a, b: apply(ops.solve, as_operand(a), as_operand(b)),
    np.logaddexp2: lambda x, y: np.logaddexp(x * math.log(2), y * math.log(2)) / math.log(2),
    np.radians: lambda x: x * (math.pi / 180),
    np.tril: lambda m, k=0: np.where(_on_or_below(m, k), m, 0),
    np.triu: lambda m, k=0: np.where(_on_or_below(m, k - 1), 0, m),
    np.vdot: lambda a, b: np.ravel(a) @ np.ravel(b),
    np.vsplit: lambda ary, indices_or_sections: _split(ary, indices_or_sections, 0),
})
FUNCTIONS.update({np.deg2rad: FUNCTIONS[np.radians], np.rad2deg: FUNCTIONS[np.degrees]})


# ---- the array API's names for the same ----------------------------------------------------------

FUNCTIONS.update({
    np.astype: lambda x, dtype, **_: x.astype(dtype),
    np.matrix_transpose: lambda x: x.mT,
    np.linalg.matrix_transpose: lambda x: x.mT,
    np.linalg.vector_norm: _vector_norm,
    np.linalg.outer: FUNCTIONS[np.outer],
    np.linalg.matmul: lambda a, b: a @ b,
    np.linalg.tensordot: lambda a, b, axes=2: _tensordot(a, b, axes),
    np.linalg.trace: lambda x, offset=0: np.trace(x, offset, -2, -1),
    np.linalg.diagonal: lambda x, offset=0: np.diagonal(x, offset, -2, -1),
    np.linalg.cross: lambda x1, x2, axis=-1: _cross(x1, x2, axis=axis),
    np.linalg.svdvals: lambda x: _svd(x, compute_uv=False),
    np.linalg.vecdot: lambda a, b, axis=-1: (a * b).sum(axis=axis),
})
if hasattr(np, "unstack"):                                 # since NumPy 2.1
    FUNCTIONS[np.unstack] = lambda x, axis=0: tuple(np.moveaxis(x, axis, 0))
