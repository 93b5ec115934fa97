"""Fast forms of what the operator table computes, where plain NumPy is slower or less exact.

Each takes arrays and returns an array, allocates its result, and has a plain form beside it in
``tests/test_kernels.py`` to which it is held. This file imports NumPy and has never heard of
``Tensor``.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeGuard, TypeVar, cast

import numpy as np

from tinygrad_opt.typing import Array, Axis, DTypeLike, Indices, Shape, Size

ndarray = np.ndarray

T = TypeVar("T")
Fast = TypeVar("Fast", bound=Callable[..., Array])
KEPT = 1 << 16           # constants of up to so many entries are kept


@functools.lru_cache(maxsize=64)
def constant(make: str, *args: object) -> Array:
    """The array ``np.<make>(*args)``, made once; nobody can write to it."""
    array: Array = getattr(np, make)(*args)
    array.flags.writeable = False
    return array


def zeros_like(x: Array) -> Array:
    return constant("zeros", x.shape, x.dtype) if x.size <= KEPT and (
        type(x) is ndarray or not is_duck(x)) else created("zeros", x.shape, x.dtype, like=x)


def ones(n: int, like: Array) -> Array:
    return constant("ones", n, like.dtype) if n <= KEPT and (
        type(like) is ndarray or not is_duck(like)) else created("ones", n, like.dtype, like=like)


def arange(stop: int, step: int = 1, *, like: Array) -> Array:
    return constant("arange", 0, stop, step) if stop <= KEPT and (
        type(like) is ndarray or not is_duck(like)) else created("arange", 0, stop, step, like=like)


# ---- arrays of other libraries -------------------------------------------------------------------


def is_duck(x: object) -> TypeGuard[Array]:
    """Whether x is an array of another library that speaks NumPy's protocols, as CuPy's do."""
    kind = type(x)
    return kind is not ndarray and hasattr(kind, "__array_function__") and not (
        issubclass(kind, ndarray) or hasattr(kind, "__apply_op__"))


def speaks_numpy(x: object) -> TypeGuard[Array]:
    """Whether NumPy's functions take x as it is: arrays of all libraries, Tensors, symbols."""
    return type(x) is ndarray or hasattr(type(x), "__array_function__")


def asarray(x: object, dtype: DTypeLike | None = None) -> Array:
    """np.asarray, which leaves arrays of other libraries where they are."""
    if not is_duck(x):
        return np.asarray(x, dtype)
    return x if dtype is None or x.dtype == dtype else x.astype(dtype)


def created(make: str, *args: object, like: object) -> Array:
    """The array ``np.<make>(*args)``, of the library that `like` belongs to."""
    array: Array = getattr(np, make)(*args, **({"like": like} if is_duck(like) else {}))
    return array


def brought(x: object) -> Array:
    """x as an array of NumPy's, which files, pictures and `fit` need."""
    try:
        return np.asarray(x)
    except TypeError as error:
        if not is_duck(x):
            raise
        kind = type(x)
        raise TypeError(f"NumPy's arrays are needed here, got one of {kind.__module__}."
                        f"{kind.__qualname__}: bring it over, as CuPy's x.get() does") from error


def moved(x: T | Array, like: object) -> T | Array:
    """An array, or a list, as one of the library that `like` belongs to."""
    if is_duck(like):
        return np.asarray(x, like=like) if isinstance(x, list | ndarray) else x
    return brought(x) if is_duck(x) else x


# ---- functions that NumPy lacks ------------------------------------------------------------------


def primitive(
    plain: Callable[..., Array] | None = None, *, like: bool = True
) -> Callable[[Fast], Fast]:
    """A function that is fast on arrays, and its plain form for Tensors and formulas.

    A captured step repeats it as one call, which writes into `out`. Where the result is `like` the
    first input, `out` is always there, inputs are floats, and float16 is computed in float32.
    """
    def decorate(fast: Fast) -> Fast:
        @functools.wraps(fast)
        def called(*inputs: Array, out: Array | None = None, **attrs: object) -> Array:
            for x in inputs:
                if type(x) is not np.ndarray and speaks_numpy(x):
                    kinds = tuple(map(type, inputs))
                    made = x.__array_function__(called, kinds, inputs, attrs)
                    if made is not NotImplemented:
                        return made
                    if plain is not None and is_duck(x):
                        return plain(*inputs, **attrs)
            if not like:
                return fast(*inputs, out=out, **attrs)
            first: Array = inputs[0]
            if type(first) is not np.ndarray or first.dtype.kind != "f":
                first = asarray(first)
                if first.dtype.kind != "f":
                    first = first.astype(float)
                inputs = (first, *inputs[1:])
            if first.dtype == np.float16:
                singles = (single(x) for x in inputs)
                with np.errstate(over="ignore"):
                    made = called(*singles, out=None, **attrs).astype(np.float16)
                return made if out is None else np.positive(made, out=out)
            return fast(*inputs, out=np.empty_like(first) if out is None else out, **attrs)

        called.plain = plain                               # type: ignore[attr-defined]
        return cast(Fast, called)

    return decorate


def single(x: Array) -> Array:
    return x.astype(np.float32) if getattr(x, "dtype", None) == np.float16 else x


@primitive(np.where, like=False)
def where(mask: Array, x: Array | float, y: Array | float, out: Array | None = None) -> Array:
    """np.where without a branch for each entry, which is slow where the mask looks random: the
    bits in which x and y differ are flipped in y where the mask is true."""
    dtype = np.result_type(x, y)
    mask, x, y = np.asarray(mask, bool), np.asarray(x, dtype), np.asarray(y, dtype)
    if mask.size < 1000 or dtype.itemsize > 8:
        z = np.where(mask, x, y)
        return z if out is None else np.positive(z, out=out)
    if out is None:
        out = np.empty(np.broadcast_shapes(mask.shape, x.shape, y.shape), dtype)
    integer = f"i{dtype.itemsize}"
    bits, x, y = out.view(integer), x.view(integer), y.view(integer)
    every = mask.astype(integer)
    np.negative(every, out=every)                          # −1 has all bits set
    np.bitwise_xor(x, y, out=bits)
    bits &= every
    bits ^= y
    return out


# ---- arithmetic ----------------------------------------------------------------------------------


def power(x: Array, y: Array) -> Array:
    """xʸ. For whole numbers y NumPy takes its time with negative x, unless it knows them: −1, 2."""
    if not isinstance(y, int | float) or not hasattr(x, "dtype") or x.dtype.kind != "f":
        return np.power(x, y)
    return x * x * x if y == 3 else (x * x) ** 2 if y == 4 else x**y


def empty_like_both(x: Array, y: Array) -> Array:
    return np.empty(np.broadcast_shapes(np.shape(x), np.shape(y)), np.result_type(x, y))


@primitive(np.logaddexp, like=False)
def logaddexp(x: Array, y: Array, out: Array | None = None) -> Array:
    """log(eˣ + eʸ) = max(x, y) + log(1 + e⁻|ˣ⁻ʸ|)."""
    out = empty_like_both(x, y) if out is None else out
    with np.errstate(invalid="ignore"):                    # ∞ − ∞
        np.subtract(x, y, out=out)
    z = log1p_exp_minus(out, out=out)
    z += np.maximum(x, y)
    if np.isnan(np.minimum.reduce(z, axis=None, initial=0)):
        z = np.logaddexp(x, y, out=z)
    return z


@primitive(np.hypot, like=False)
def hypot(x: Array, y: Array, out: Array | None = None) -> Array:
    """√(x² + y²), by the squares where they neither overflow nor vanish."""
    with np.errstate(over="ignore", under="ignore"):
        z = np.multiply(x, x, out=empty_like_both(x, y) if out is None else out)
        z += y * y
        np.sqrt(z, out=z)
    limits = np.finfo(z.dtype)
    if not (np.minimum.reduce(z, axis=None, initial=1) > math.sqrt(limits.tiny / limits.eps)
            and np.maximum.reduce(z, axis=None, initial=1) <= limits.max):
        z = np.hypot(x, y, out=z)
    return z


# ---- activations ---------------------------------------------------------------------------------


def relu(x: Array) -> Array:
    if x.size > KEPT:
        return np.clip(x, 0, np.inf)
    return np.maximum(x, zeros_like(x))                    # NumPy vectorises this, but not (x, 0)


def leaky_factor(x: Array, slope: float = 0.01) -> Array:
    """1 where x > 0, else the slope."""
    factor = (x > 0).astype(x.dtype)
    return np.clip(factor, slope, 1) if 0 <= slope <= 1 else where(x > 0, factor, slope)


def leaky_relu(x: Array, slope: float = 0.01, shared: Exponentials | None = None) -> Array:
    return x * (leaky_factor(x, slope) if shared is None else shared)


@primitive()
def elu(x: Array, alpha: float = 1.0, out: Array | None = None) -> Array:
    """x where x > 0, else α (eˣ − 1), by eˣ − 1 = 2t / (1 − t) for t = tanh x/2."""
    t = np.clip(x, -np.inf, 0, out=out)
    t *= 0.5
    np.tanh(t, out=t)
    t /= 1 - t
    t *= 2 * alpha
    t += relu(x)
    return t


@primitive()
def sigmoid(x: Array, out: Array | None = None) -> Array:
    """1 / (1 + e⁻ˣ), which keeps its digits in both tails."""
    with np.errstate(over="ignore"):                       # 1 / (1 + ∞) is right
        z = np.exp(np.negative(x, out=out), out=out)
    z += 1
    return np.divide(1, z, out=z)                          # half of what np.reciprocal takes


@primitive()
def log1p_exp_minus(x: Array, out: Array | None = None) -> Array:
    """log(1 + e⁻|ˣ|)."""
    size = np.abs(x, out=out)
    e = np.exp(np.negative(size, out=size), out=size)
    u = np.add(e, 1, out=np.empty_like(e))
    lost = (u - 1) - e                                     # rounded off when 1 was added
    return np.subtract(np.log(u, out=u), lost, out=out)


@primitive()
def softplus(x: Array, out: Array | None = None) -> Array:
    """log(1 + eˣ) = max(x, 0) + log(1 + e⁻|ˣ|)."""
    z = log1p_exp_minus(x, out=out)
    z += relu(x)
    return z


def polynomial(u: Array, coefficients: Sequence[float], out: Array | None = None) -> Array:
    """Σ cₖ uᵏ by Horner's rule."""
    z = np.multiply(u, coefficients[-1], out=out)
    for c in coefficients[-2:0:-1]:
        z += c
        z *= u
    z += coefficients[0]
    return z


# atanh(erf x) / x as a polynomial in x². Of its degree it has the smallest relative error of erf
# for |x| < 4.2, 1e-7, found by linear programming; beyond it grows, and tanh of that is 1.
ERF = [1.1283792743009098, 0.10276905586157796, -1.9183108674114937e-4, -6.197843890778682e-4,
       8.763724753642918e-5, -5.668466989185551e-6, 1.4185196697619502e-7]

# For float64, from Moshier's Cephes library: erf x = x + x p(x²) / q(x²) for |x| < 1, and
# 1 − erf x = exp(−x²) p(x) / q(x) from there on.
ERF_NEAR = ([6324.907040175904, -15625.674920261043, -2362.318483762958, -431.33193005976841,
             -23.95674042487979, -1.0],
            [49267.39426086359, 22629.00006138909, 4594.323829709801, 521.3579497801527,
             33.5617141647503, 1.0])
ERF_FAR = ([557.5353353693994, 1027.5518868951572, 934.5285271719576, 526.4451949954773,
            196.52083295607710, 48.63719709856814, 7.463210564422699, 0.5641895648310688,
            2.4619698147353052e-10],
           [557.5353408177277, 1656.6630919416134, 2246.3376081871097, 1823.9091668790974,
            975.7085017432055, 354.9377788878199, 86.70721408859897, 13.228195115474499, 1.0])


def polynomial_of_erf(x: Array, out: Array | None, scale: float = 1.0) -> Array:
    """atanh(erf(scale · x)) for float32; its infinities are right where it overflows."""
    with np.errstate(over="ignore"):
        z = polynomial(x * x, [c * scale**(2 * k + 1) for k, c in enumerate(ERF)], out)
        z *= x
    return z


@primitive()
def erf(x: Array, out: Array | None = None) -> Array:
    """erf(x) = 2/√π ∫₀ˣ exp(−t²) dt, to within 2 units in the last place, 4 of float32."""
    if x.dtype == np.float32:
        return np.tanh(polynomial_of_erf(x, out), out=out)

    def quotient(u: Array, parts: tuple[list[float], list[float]]) -> Array:
        above, below = (polynomial(u, part) for part in parts)
        return above / below

    size, small = np.clip(np.abs(x), 1, 6), np.clip(x, -1, 1)          # 1 − erf(6) = 2·10⁻¹⁷
    tail = np.exp(-size * size) * quotient(size, ERF_FAR)
    near = small + small * quotient(small * small, ERF_NEAR)
    return where(np.abs(x) < 1, near, np.copysign(1 - tail, x), out=out)


@primitive()
def normal_cdf(x: Array, out: Array | None = None) -> Array:
    """Φ(x) = (1 + erf x/√2) / 2, the normal distribution function."""
    if x.dtype == np.float32:
        z = np.tanh(polynomial_of_erf(x, out, math.sqrt(0.5)), out=out)
    else:
        z = erf(x * math.sqrt(0.5), out=out)
    z += 1
    z *= 0.5
    return z


@primitive(lambda x: np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))
def normal_density(x: Array, out: Array | None = None) -> Array:
    """φ(x) = exp(−x²/2) / √2π."""
    z = np.multiply(x, x, out=out)
    z = rough_exp(z, -0.5, out=z)
    z *= 1 / math.sqrt(2 * math.pi)
    return z


def rough_exp(x: Array, factor: float = 1.0, out: Array | None = None) -> Array:
    """exp(factor · x) to within |factor · x| units in the last place: in float32 as a power of two,
    which NumPy computes in half the time."""
    if x.dtype == np.float32:
        return np.exp2(np.multiply(x, factor / math.log(2), out=out), out=out)
    return np.exp(x if factor == 1 else np.multiply(x, factor, out=out), out=out)


# ---- reductions ----------------------------------------------------------------------------------


def sum_rows(x: Array) -> Array:
    """Σ over axis 0 of a matrix of floats, which BLAS adds up fastest."""
    return np.dot(ones(len(x), x), x)


@primitive(lambda x, y, axis: (x * y).sum(axis=axis, keepdims=True), like=False)
def dot_along(x: Array, y: Array, axis: Size, out: Array | None = None) -> Array:
    """Σ x · y over an axis or several, kept with length 1."""
    if axis not in (-1, (-1,)) or not x.ndim:
        return sum_along(x * y, axis, out=out)
    return np.vecdot(x, y, out=None if out is None else out[..., 0])[..., None]


@primitive(lambda x, axis: x.sum(axis=axis, keepdims=True), like=False)
def sum_along(x: Array, axis: Size, out: Array | None = None) -> Array:
    """Σ over an axis or several, kept with length 1; what lies side by side is added by BLAS."""
    if not x.ndim:
        return np.add.reduce(x, axis=axis, out=out)
    axes = sorted(np.lib.array_utils.normalize_axis_tuple(axis, x.ndim))
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    run = 0                                                # how many of the last axes
    while run < len(axes) and axes[-1 - run] == x.ndim - 1 - run:
        run += 1
    if axes == [0] and x.ndim == 2:
        total = sum_rows(x)
    elif run and x.flags.c_contiguous:
        lead = x.shape[:x.ndim - run]
        n = math.prod(x.shape[x.ndim - run:])
        total = x.reshape((math.prod(lead), n)).dot(ones(n, x)).reshape(lead)
        total = np.add.reduce(total, axis=tuple(axes[:len(axes) - run]))
    else:
        return np.add.reduce(x, axis=tuple(axes), keepdims=True, out=out)
    total = total.reshape(kept)
    return total if out is None else np.positive(total, out=out)


def sum_to(g: Array, shape: Shape) -> Array:
    """Undo broadcasting: sum g over the axes along which an input of the shape was stretched, and
    stretch it along those that a reduction took away."""
    lead = g.ndim - len(shape)
    if g.ndim - lead == 1 <= lead and g.dtype.kind == "f":
        g = sum_rows(g if g.ndim == 2 else as_rows(g))
        if g.shape == shape:
            return g
    elif lead > 0:
        g = g.sum(axis=tuple(range(lead)))
    first = len(shape) - g.ndim
    stretched = tuple(i for i, n in enumerate(g.shape) if shape[first + i] == 1 != n)
    if stretched:
        g = g.sum(axis=stretched, keepdims=True)
    if g.shape == shape:
        return g
    whole = created("empty", shape, g.dtype, like=g)
    try:
        whole[...] = g
    except ValueError:
        raise ValueError(f"a VJP made a gradient of shape {g.shape} for an input of shape {shape}:"
                         " they must be the same, or broadcast") from None
    return whole


@primitive(np.cumsum, like=False)
def cumsum(x: Array, axis: int | None = None, out: Array | None = None) -> Array:
    """np.cumsum; many long rows are added one to the next, rather than entry by entry."""
    if axis is not None:
        axis = np.lib.array_utils.normalize_axis_index(axis, x.ndim)
    if axis is None or x.ndim < 2 or x.size < 4096 or x.size < 64 * x.shape[axis]:
        return np.cumsum(x, axis, out=out)
    z = axis_first(x, axis)
    for before, row in itertools.pairwise(z):
        row += before
    z = np.moveaxis(z, 0, axis)
    return z if out is None else np.positive(z, out=out)


def axis_first(x: Array, axis: int) -> Array:
    """A contiguous copy with the axis in front. A last axis goes there in strips: in long columns
    each entry of the source would evict another from the cache."""
    x = np.moveaxis(x, axis, 0)
    z = np.empty(x.shape, x.dtype)
    for i in range(0, x.shape[1], 16):
        z[:, i:i + 16] = x[:, i:i + 16]
    return z


def logsumexp(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """log Σ exp x, shifted by the maximum so that exp ≤ 1."""
    top = np.max(x, axis=axis, keepdims=True) if x.size or is_duck(x) else (
        np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):                                 # log 0 = −∞ is right
        z = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    if keepdims:
        return z
    axes = axis if axis is None or isinstance(axis, tuple) else (axis,)
    return np.squeeze(z, axis=axes)


def norm(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """√Σx², scaled by the largest entry where the squares would overflow or vanish."""
    if x.dtype.kind != "f":
        x = x.astype(float)                                # squares of small integers wrap around
    with np.errstate(over="ignore", under="ignore"):
        z = np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    if x.size and not np.all(np.isfinite(z) & (z > 0)):
        top = np.max(np.abs(x), axis=axis, keepdims=True)
        safe = np.where(np.isfinite(top) & (top > 0), top, 1)
        scaled = x / safe
        z = np.sqrt(np.sum(scaled * scaled, axis=axis, keepdims=keepdims))
        z = z * (safe if keepdims else safe.reshape(np.shape(z)))
    return z


# ---- products of matrices ------------------------------------------------------------------------


def matmul(x: Array, y: Array) -> Array:
    """x @ y. For two matrices ``dot`` is the same and costs half as much to call; a stack of
    matrices times one matrix is one product of all their rows."""
    if getattr(y, "ndim", 0) != 2 or getattr(x, "ndim", 0) < 2:
        return np.matmul(x, y)
    if x.ndim == 2:
        return x.dot(y)
    return as_rows(x).dot(y).reshape((*x.shape[:-1], y.shape[-1]))


def mT(x: Array) -> Array:
    """x.mT, which the arrays of not every library have."""
    return x.swapaxes(-1, -2)


def as_rows(x: Array) -> Array:
    """The rows of a stack of matrices as one matrix."""
    return x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


def linear(x: Array, w: Array, b: Array) -> Array:
    """x @ w + b."""
    if x.ndim == 2 == w.ndim:
        z = x.dot(w)
    elif x.ndim > 2 == w.ndim and b.ndim < 2:
        return linear(as_rows(x), w, b).reshape((*x.shape[:-1], w.shape[-1]))
    else:
        z = matmul(x, w)
    return np.add(z, b, out=z)


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def explicit_einsum(subscripts: str, operands: Sequence[Array]) -> str:
    """Write einsum subscripts out: no spaces, no ellipsis, and a result behind ``->``."""
    spec = subscripts.replace(" ", "")
    unused = [c for c in LETTERS if c not in spec]
    inputs, arrow, out = spec.partition("->")
    terms = inputs.split(",")
    widths = [np.ndim(x) - len(t) + 3 for t, x in zip(terms, operands) if "..." in t]
    dots = "".join(unused[: np.max([0, *widths])])
    shown = [t.replace("...", dots[len(dots) - (np.ndim(x) - len(t) + 3) :])
             for t, x in zip(terms, operands)]
    if not arrow:
        joined = "".join(terms)                            # no dot stands alone
        out = "..." + "".join(sorted(c for c in set(joined) if joined.count(c) == 1))
    return ",".join(shown) + "->" + out.replace("...", dots)


# the order of the axes of two operands and of their product, and how many are in all three, rows,
# and summed
Matrices: TypeAlias = tuple[list[int], list[int], list[int], int, int, int]


@functools.cache
def product_of(subscripts: str) -> Matrices | None:
    """How an einsum of two operands is a product of matrices, or None."""
    terms, out = subscripts.split("->")
    x, y = terms.split(",")
    if any(len(set(t)) < len(t) for t in (x, y, out)):
        return None                                        # a diagonal, or an ellipsis
    both = [c for c in out if c in x and c in y]
    summed = [c for c in x if c in y and c not in out]
    rows, columns = ([c for c in t if c in out and c not in both] for t in (x, y))
    first, second, found = both + rows + summed, both + summed + columns, both + rows + columns
    if not summed or len(first) < len(x) or len(second) < len(y):
        return None                                        # a letter that is summed alone
    orders = [[t.index(c) for c in order] for t, order in ((x, first), (y, second), (found, out))]
    return orders[0], orders[1], orders[2], len(both), len(rows), len(summed)


@primitive(lambda *operands, subscripts: np.einsum(subscripts, *operands), like=False)
def einsum(*operands: Array, subscripts: str, out: Array | None = None) -> Array:
    """np.einsum, and a product of two operands by way of `matmul`.

    np.einsum adds up in another order when it is told where to write: it is not.
    """
    z = _contracted(operands, subscripts)
    return z if out is None else np.positive(z, out=out)


def _contracted(operands: Sequence[Array], subscripts: str) -> Array:
    plan = product_of(subscripts) if len(operands) == 2 else None
    if plan is None:
        return np.einsum(subscripts, *operands)
    x, y = operands[0].transpose(plan[0]), operands[1].transpose(plan[1])
    order, both, rows, summed = plan[2:]
    lead, inner = x.shape[:both], x.shape[both + rows:]
    if y.shape[:both + summed] != lead + inner:            # lengths of 1 are stretched
        return np.einsum(subscripts, *operands)
    n, k = math.prod(x.shape[both:both + rows]), math.prod(inner)
    z = matmul(x.reshape((*lead, n, k)), y.reshape((*lead, k, math.prod(y.shape[both + summed:]))))
    return z.reshape(x.shape[:both + rows] + y.shape[both + summed:]).transpose(order)


# ---- linear algebra: the parts of a decomposition in one array, above each other -----------------


def symmetric(x: Array) -> Array:
    return (x + mT(x)) / 2


def cholesky(x: Array) -> Array:
    return np.linalg.cholesky(symmetric(x))


def slogdet(x: Array) -> Array:
    """The sign of det x, then log |det x|."""
    return np.stack(np.linalg.slogdet(x))


def eigh(x: Array) -> Array:
    """In each column an eigenvalue of a symmetric matrix, then its eigenvector."""
    values, vectors = np.linalg.eigh(symmetric(x))
    return np.concatenate([values[..., None, :], vectors], axis=-2)


def svd(x: Array) -> Array:
    """In each column a left singular vector, then its singular value, then the right vector."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([u, s[..., None, :], mT(vt)], axis=-2)


# ---- indexing ------------------------------------------------------------------------------------


add_at: Callable[..., None] = np.add.at                    # takes slices and tuples too


def reads_each_entry_once(index: object) -> bool:
    """Slices, integers and boolean masks do; integer arrays may repeat."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(asarray(p).dtype.kind == "b" for p in parts
               if isinstance(p, list) or (hasattr(p, "shape") and p.shape != ()))


def scatter(g: Array, index: Indices, shape: Shape) -> Array:
    """Zeros of the shape, with g added at the index; where the index repeats, entries add up."""
    if is_duck(g):
        return _scattered(g, index, shape)
    out = np.zeros(shape, np.asarray(g).dtype)
    if reads_each_entry_once(index):
        out[index] = g
    elif out.size > 16 * np.size(g):                       # few rows of a large table
        add_at(out, index, g)
    else:                                                  # add.at is far faster along one axis
        places = np.arange(out.size).reshape(shape)[index]
        add_at(out.reshape(-1), places.reshape(-1), np.broadcast_to(g, places.shape).reshape(-1))
    return out


def _scattered(g: Array, index: Indices, shape: Shape) -> Array:
    """`scatter` for arrays of other libraries, whose ufuncs may have no ``at``."""
    parts = index if isinstance(index, tuple) else (index,)
    every = created("arange", math.prod(shape), like=g).reshape(shape)
    places = every[tuple(moved(part, g) for part in parts)]
    sums = np.bincount(places.reshape(-1), np.broadcast_to(g, places.shape).reshape(-1),
                       math.prod(shape))
    return sums.reshape(shape).astype(g.dtype)


def put(x: Array, value: Array, index: Indices) -> Array:
    """x with value at the index."""
    out = np.copy(x)
    out[index] = value
    return out


# ---- probabilities -------------------------------------------------------------------------------


def largest(x: Array, axis: int) -> Array:
    """max x along the axis, kept with length 1; NumPy calls its ufuncs for less."""
    if type(x) is ndarray or not is_duck(x):
        return np.maximum.reduce(x, axis=axis, keepdims=True)
    return np.max(x, axis=axis, keepdims=True)


def short_axis_first(x: Array, axis: int) -> tuple[Array, int]:
    """A contiguous copy of x to reduce along axis 0, where that is faster than along `axis`.

    NumPy reduces a last axis of a few classes some ten times more slowly than a first one.
    """
    if x.ndim > 1 and x.shape[axis] < 64:
        return x.swapaxes(axis, 0).copy(), 0
    return x, axis


def less_maximum(x: Array, axis: int) -> tuple[Array, int]:
    """x − max x along the axis, so that exp ≤ 1, and which axis of the result that is."""
    t, along = short_axis_first(x, axis)
    return t - largest(t, along), along


def exp_and_sum(t: Array, axis: int) -> tuple[Array, Array]:
    """eᵗ and its sum along the axis."""
    e = np.exp(t)
    if axis == 0 and e.ndim == 2:
        return e, sum_rows(e)
    if type(e) is ndarray or not is_duck(e):
        return e, np.add.reduce(e, axis=axis, keepdims=True)
    return e, np.sum(e, axis=axis, keepdims=True)


def exp_and_total(
    x: Array, axis: int, out: Array | None, exp: Callable[..., Array] = np.exp
) -> tuple[Array, Array, Array | int]:
    """eˣ and its sum along the axis; less the maximum, if that is needed for honest sums."""
    with np.errstate(over="ignore"):
        e = exp(x, out=out)
        total = sum_along(e, axis)
        if (not is_duck(total) and np.minimum.reduce(total, axis=None, initial=1) > 1e-6
                and np.maximum.reduce(total, axis=None, initial=1) < 1e30):
            return e, total, 0
        top = largest(x, axis)
        e = exp(np.subtract(x, top, out=out), out=out)       # exp of -inf is the 0 that is meant
        return e, sum_along(e, axis), top


def along(column: Array, x: Array, axis: int) -> Array:
    """A number for each row, stretched as far as NumPy is slow to do it by itself."""
    if axis in (-1, x.ndim - 1) and x.ndim and x.shape[-1] <= 256 and x.flags.c_contiguous:
        return np.repeat(column, x.shape[-1]).reshape(x.shape)
    return column


@primitive()
def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    e, total, _ = exp_and_total(x, axis, out)
    e *= along(np.reciprocal(total), e, axis)
    return e


@primitive()
def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    _, total, top = exp_and_total(x, axis, out, rough_exp)
    if not isinstance(top, int):                           # first: log Σ would drown in it
        x = np.subtract(x, along(top, x, axis), out=out)
    return np.subtract(x, along(np.log(total), x, axis), out=out)


@primitive(lambda g, p, axis: p * (g - (g * p).sum(axis=axis, keepdims=True)))
def softmax_vjp(g: Array, p: Array, axis: int, out: Array | None = None) -> Array:
    np.subtract(g, along(dot_along(g, p, axis), g, axis), out=out)
    out *= p
    return out


@primitive(lambda g, z, axis: g - np.exp(z) * g.sum(axis=axis, keepdims=True))
def log_softmax_vjp(g: Array, z: Array, axis: int, out: Array | None = None) -> Array:
    rough_exp(z, out=out)                                  # z itself is rounded as much
    out *= along(sum_along(g, axis), g, axis)
    return np.subtract(g, out, out=out)


def check(test: Callable[..., None]) -> Callable[..., None]:
    """A function that looks at values and raises: a captured kernel repeats it as it is."""
    @functools.wraps(test)
    def checked(*inputs: object) -> None:
        if type(inputs[0]) is np.ndarray or not hasattr(inputs[0], "__check__"):
            test(*inputs)
        else:
            inputs[0].__check__(test, inputs)
    return checked


@check
def check_labels(x: Array, labels: Array) -> None:
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError("logits need shape (n, classes) and labels shape (n,), got labels of"
                         f" shape {labels.shape}")
    dtype = labels.dtype
    if dtype.kind not in "iu":
        cure = ": y.astype(int)" if dtype.kind in "bf" else ""
        raise TypeError(f"labels must be integers, got {dtype}{cure}")
    if not dtype.isnative:
        labels = labels.astype(dtype.newbyteorder("="))
    unsigned = labels.view(f"u{dtype.itemsize}")                       # negatives wrap around
    if len(labels) and (np.maximum.reduce(unsigned) if type(unsigned) is ndarray
                        else np.max(unsigned)) >= x.shape[1]:
        raise IndexError(f"labels go from {labels.min()} to {labels.max()}, classes from 0 to"
                         f" {x.shape[1] - 1}")


def places_of(labels: Array, shape: Shape, axis: int) -> Array:
    """Where (i, labelᵢ) stands in a flattened array of the shape whose classes lie on the axis."""
    labels = labels.astype(np.intp, copy=False)                        # room for the product
    n = shape[1]
    if axis == 0:
        return labels * n + arange(n, like=labels)
    return labels + arange(math.prod(shape), n, like=labels)


Exponentials: TypeAlias = tuple[Array, Array, Array, Array, int]


def exponentials(x: Array, labels: Array) -> Exponentials:
    """x less its maxima, exp of that, its sums, and where the labels stand among these."""
    t, along = less_maximum(x, -1)
    return t, *exp_and_sum(t, along), places_of(labels, t.shape, along), along


def checked_exponentials(x: Array, labels: Array) -> Exponentials:
    check_labels(x, labels)
    return exponentials(x, labels)


def cross_entropy(x: Array, labels: Array, shared: Exponentials | None = None) -> Array:
    """Mean over rows i of log Σⱼ exp xᵢⱼ − xᵢ,labelᵢ, in nats."""
    t, _, total, here, _ = shared or checked_exponentials(x, labels)
    losses = np.log(total).reshape(-1) - t.take(here)
    if type(losses) is ndarray or not is_duck(losses):
        return np.add.reduce(losses) / len(x)
    return np.sum(losses) / len(x)


def residual(x: Array, labels: Array, shared: Exponentials | None = None) -> Array:
    """softmax(x) − onehot(labels): how far the predicted distribution is from the labels."""
    _, e, total, here, along = shared or exponentials(x, labels)
    p = e / total
    p.put(here, p.take(here) - 1)
    return p if along else p.swapaxes(0, 1)
