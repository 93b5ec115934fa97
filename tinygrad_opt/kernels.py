"""Fast forms of what the operator table computes, where plain NumPy is slower or less exact.

Each takes arrays and returns an array, allocates its result, and has a plain form beside it in
``tests/test_kernels.py`` to which it is held. This file imports NumPy and has never heard of
``Tensor``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

KEPT = 1 << 16           # constants of up to so many entries are kept


@functools.lru_cache(maxsize=64)
def constant(make: str, *args: Any) -> Array:
    """The array ``np.<make>(*args)``, made once; nobody can write to it."""
    array: Array = getattr(np, make)(*args)
    array.flags.writeable = False
    return array


def zeros_like(x: Array) -> Array:
    return constant("zeros", x.shape, x.dtype) if x.size <= KEPT else np.zeros(x.shape, x.dtype)


def arange(stop: int, step: int = 1) -> Array:
    return constant("arange", 0, stop, step) if stop <= KEPT else np.arange(0, stop, step)


# ---- activations ---------------------------------------------------------------------------------


def relu(x):
    return np.maximum(x, zeros_like(x))                    # NumPy vectorises this, but not (x, 0)


def leaky_relu(x, slope=0.01):
    return np.where(x > 0, x, slope * x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))      # expm1 never overflows


def sigmoid(x):
    tail = np.exp(-np.abs(x))                                          # ≤ 1, exact in both tails
    return np.where(x >= 0, 1, tail) / (1 + tail)


def softplus(x):
    return np.logaddexp(x, 0)


@functools.cache
def erf_series():
    """Taylor series of erf(√u)/√u to u = 1.5², Chebyshev's of exp(x²) erfc(x) in 1/x beyond."""
    near = np.polynomial.Polynomial(
        [2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(24)])
    far = np.polynomial.Chebyshev.interpolate(
        lambda t: np.array([math.exp(x * x) * math.erfc(x) for x in 1 / t]), 20, [1 / 6, 1 / 1.5])
    return near, far


def erf(x):
    """erf(x) = 2/√π ∫₀ˣ exp(−t²) dt, to within 3 units in the last place of float64."""
    near, far = erf_series()
    x = np.asarray(x, dtype=None if np.asarray(x).dtype.kind == "f" else float)
    size = np.clip(np.abs(x), 1.5, 6)                                  # 1 − erf(6) = 2·10⁻¹⁷
    tail = np.exp(-size * size) * far(1 / size)
    small = np.clip(x, -1.5, 1.5)
    inner = small * near(small * small)
    return np.where(np.abs(x) < 1.5, inner, np.copysign(1 - tail, x)).astype(x.dtype)


# ---- reductions ----------------------------------------------------------------------------------


def sum_rows(x):
    """Σ over axis 0 of a matrix of floats, which BLAS adds up fastest."""
    n = len(x)
    return np.dot(constant("ones", n, x.dtype) if n <= KEPT else np.ones(n, x.dtype), x)


def sum_to(g, shape):
    """Undo broadcasting: sum g over the axes along which an input of the shape was stretched, and
    stretch it along those that a reduction took away."""
    lead = g.ndim - len(shape)
    if lead == 1 and g.ndim == 2 and g.dtype.kind == "f":
        g = sum_rows(g)
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
    whole = np.empty(shape, g.dtype)
    try:
        whole[...] = g
    except ValueError:
        raise ValueError(f"a VJP made a gradient of shape {g.shape} for an input of shape {shape}:"
                         " they must be the same, or broadcast") from None
    return whole


def logsumexp(x, axis=None, keepdims=False):
    """log Σ exp x, shifted by the maximum so that exp ≤ 1."""
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):                                 # log 0 = −∞ is right
        z = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    if keepdims:
        return z
    axes = axis if axis is None or isinstance(axis, tuple) else (axis,)
    return np.squeeze(z, axis=axes)


def norm(x, axis=None, keepdims=False):
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


def matmul(x, y):
    """x @ y. For two matrices ``dot`` is the same and costs half as much to call."""
    return x.dot(y) if np.ndim(x) == 2 == np.ndim(y) else np.matmul(x, y)


def linear(x, w, b):
    """x @ w + b."""
    z = matmul(x, w)
    return np.add(z, b, out=z)


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def explicit_einsum(subscripts, operands):
    """Write einsum subscripts out: no spaces, no ellipsis, and a result behind ``->``."""
    spec = subscripts.replace(" ", "")
    unused = [c for c in LETTERS if c not in spec]
    terms, arrow, out = spec.partition("->")
    terms = terms.split(",")
    widths = [np.ndim(x) - len(t) + 3 for t, x in zip(terms, operands, strict=False) if "..." in t]
    dots = "".join(unused[: np.max([0, *widths])])
    shown = [t.replace("...", dots[len(dots) - (np.ndim(x) - len(t) + 3) :] if "..." in t else "")
             for t, x in zip(terms, operands, strict=False)]
    if not arrow:
        joined = "".join(t.replace("...", "") for t in terms)
        out = "..." + "".join(sorted(c for c in set(joined) if joined.count(c) == 1))
    return ",".join(shown) + "->" + out.replace("...", dots)


# ---- linear algebra: the parts of a decomposition in one array, above each other -----------------


def symmetric(x):
    return (x + x.mT) / 2


def cholesky(x):
    return np.linalg.cholesky(symmetric(x))


def slogdet(x):
    """The sign of det x, then log |det x|."""
    return np.stack(np.linalg.slogdet(x))


def eigh(x):
    """In each column an eigenvalue of a symmetric matrix, then its eigenvector."""
    values, vectors = np.linalg.eigh(symmetric(x))
    return np.concatenate([values[..., None, :], vectors], axis=-2)


def svd(x):
    """In each column a left singular vector, then its singular value, then the right vector."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([u, s[..., None, :], vt.mT], axis=-2)


# ---- indexing ------------------------------------------------------------------------------------


def reads_each_entry_once(index):
    """Slices, integers and boolean masks do; integer arrays may repeat."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(not isinstance(p, list | np.ndarray) or np.asarray(p).dtype.kind == "b"
               for p in parts)


def scatter(g, index, shape):
    """Zeros of the shape, with g added at the index; where the index repeats, entries add up."""
    out = np.zeros(shape, np.asarray(g).dtype)
    if reads_each_entry_once(index):
        out[index] = g
    elif out.size > 16 * np.size(g):                       # few rows of a large table
        np.add.at(out, index, g)
    else:                                                  # add.at is far faster along one axis
        places = np.arange(out.size).reshape(shape)[index]
        np.add.at(out.reshape(-1), places.reshape(-1), np.broadcast_to(g, places.shape).reshape(-1))
    return out


def put(x, value, index):
    """x with value at the index."""
    out = np.array(x)
    out[index] = value
    return out


# ---- probabilities -------------------------------------------------------------------------------


def short_axis_first(x, axis):
    """A contiguous copy of x to reduce along axis 0, where that is faster than along `axis`.

    NumPy reduces a last axis of a few classes some ten times more slowly than a first one.
    """
    if x.ndim > 1 and x.shape[axis] < 64:
        return x.swapaxes(axis, 0).copy(), 0
    return x, axis


def less_maximum(x, axis):
    """x − max x along the axis, so that exp ≤ 1, and which axis of the result that is."""
    t, along = short_axis_first(x, axis)
    return t - np.maximum.reduce(t, axis=along, keepdims=True), along


def exp_and_sum(t, axis):
    """eᵗ and its sum along the axis."""
    e = np.exp(t)
    if axis == 0 and e.ndim == 2:
        return e, sum_rows(e)
    return e, np.add.reduce(e, axis=axis, keepdims=True)


def softmax(x, axis=-1):
    t, along = less_maximum(x, axis)
    e, total = exp_and_sum(t, along)
    e /= total
    return e if along == axis else e.swapaxes(axis, 0).copy()


def log_softmax(x, axis=-1):
    t, along = less_maximum(x, axis)
    t = t - np.log(exp_and_sum(t, along)[1])
    return t if along == axis else t.swapaxes(axis, 0).copy()


def check(test: Callable[..., None]) -> Callable[..., None]:
    """A function that looks at values and raises: a captured kernel repeats it as it is."""
    @functools.wraps(test)
    def checked(*inputs):
        if type(inputs[0]) is np.ndarray or not hasattr(inputs[0], "__check__"):
            test(*inputs)
        else:
            inputs[0].__check__(test, inputs)
    return checked


@check
def check_labels(x, labels):
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError("logits need shape (n, classes) and labels shape (n,), got labels of"
                         f" shape {labels.shape}")
    if labels.dtype.kind not in "iu":
        cure = ": y.astype(int)" if labels.dtype.kind in "bf" else ""
        raise TypeError(f"labels must be integers, got {labels.dtype}{cure}")
    if not labels.dtype.isnative:
        labels = labels.astype(labels.dtype.newbyteorder("="))
    unsigned = labels.view(f"u{labels.itemsize}")                      # negatives wrap around
    if len(labels) and np.maximum.reduce(unsigned) >= x.shape[1]:
        raise IndexError(f"labels go from {labels.min()} to {labels.max()}, classes from 0 to"
                         f" {x.shape[1] - 1}")


def places_of(labels, shape, axis):
    """Where (i, labelᵢ) stands in a flattened array of the shape whose classes lie on the axis."""
    labels = labels.astype(np.intp, copy=False)                        # room for the product
    n = shape[1]
    return labels * n + arange(n) if axis == 0 else labels + arange(math.prod(shape), n)


def exponentials(x, labels):
    """x less its maxima, exp of that, its sums, and where the labels stand among these."""
    t, along = less_maximum(x, -1)
    return t, *exp_and_sum(t, along), places_of(labels, t.shape, along), along


def checked_exponentials(x, labels):
    check_labels(x, labels)
    return exponentials(x, labels)


def cross_entropy(x, labels, shared=None):
    """Mean over rows i of log Σⱼ exp xᵢⱼ − xᵢ,labelᵢ, in nats."""
    t, _, total, here, _ = shared or checked_exponentials(x, labels)
    return np.add.reduce(np.log(total).reshape(-1) - t.take(here)) / len(x)


def residual(x, labels, shared=None):
    """softmax(x) − onehot(labels): how far the predicted distribution is from the labels."""
    _, e, total, here, along = shared or exponentials(x, labels)
    p = e / total
    p.put(here, p.take(here) - 1)
    return p if along else p.swapaxes(0, 1)
