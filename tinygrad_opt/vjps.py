"""Vector-Jacobian products that take more than a line, and the pieces that they are made of.

NumPy functions and operators only: each runs on arrays, on Tensors and on symbols.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from types import EllipsisType

import numpy as np

from tinygrad_opt import kernels
from tinygrad_opt.kernels import LETTERS, mT, where
from tinygrad_opt.typing import Array, Axis, Shape, Size


def exponent_less_one(x: Array, y: Array) -> Array:
    """y − 1, but 0 where y = 0 and x⁻¹ is no number: the factor y makes it 0 there already."""
    if isinstance(y, int | float):
        return y - 1 if y else 0
    return np.where((y == 0) & ((x == 0) | np.isnan(x)), 0, y - 1)


def log_of_base(x: Array, y: Array, dtype: np.dtype) -> Array:
    """ln x, but 0 at 0ʸ for y ≥ 0, where xʸ is constant in y."""
    return np.log(np.where((x == 0) & (y >= 0), 1, x).astype(dtype))


def zero(g: Array, z: Array, *inputs: object, **attrs: object) -> Array:
    """A step function is flat almost everywhere."""
    return np.zeros_like(g)


def ratio(x: Array, r: Array) -> Array:
    """x / r for a distance r, and 0 where the distance is 0."""
    return x / np.where(r == 0, 1, r)


def winner(g: Array, x: Array, y: Array) -> Array:
    """g where x is the larger, half of g where they tie, 0 elsewhere."""
    return where(x == y, g / 2, where(x > y, g, 0))


def at_least(x: Array, low: Array | None) -> Array | bool:
    """Whether x ≥ low, where None is no bound."""
    return True if low is None else x >= low


def at_most(x: Array, high: Array | None) -> Array | bool:
    return True if high is None else x <= high


def ends_above(x: Array, low: Array | None, high: Array) -> Array:
    """Whether max(x, low) > high: then np.clip gives high, wherever low is."""
    return x > high if low is None else np.logical_or(x > high, low > high)


def axes_of(x: Array, axis: Axis) -> Shape:
    """The axes that `axis` means, as non-negative integers."""
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)) if x.ndim)


def unreduce(g: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """g with length 1 where the axes of x were reduced, so that it broadcasts with x."""
    if axis is None or keepdims:
        return g
    axes = axes_of(x, axis)
    return g.reshape([1 if i in axes else n for i, n in enumerate(x.shape)])


def count(x: Array, axis: Axis) -> int:
    """How many entries of x go into each entry of the result."""
    return math.prod(x.shape[a] for a in axes_of(x, axis))


def centred(x: Array, axis: Axis) -> Array:
    return x - x.mean(axis=axis, keepdims=True)


def share(g: Array, z: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """Split g equally among the entries of x that attain the extremum z."""
    hit = x == unreduce(z, x, axis, keepdims)
    ties = hit.sum(axis=axis, keepdims=True).astype(g.dtype)
    return where(hit, unreduce(g, x, axis, keepdims) / ties, 0)


def product_before(x: Array) -> Array:
    """Along the last axis, the product of all entries before each one, by doubling."""
    def shift(y: Array, by: int) -> Array:
        return np.concatenate([np.ones_like(y[..., :by]), y[..., :-by]], axis=-1)

    y, by = shift(x, 1), 1
    while by < x.shape[-1]:
        y, by = y * shift(y, by), 2 * by
    return y


def product_of_others(x: Array, axis: Axis) -> Array:
    """For each entry the product of all others that were multiplied with it, zeros or not."""
    axes = axes_of(x, axis)
    order = [i for i in range(x.ndim) if i not in axes] + list(axes)
    moved = x.transpose(order)
    if not x.size:
        return x
    rows = moved.reshape((*moved.shape[: x.ndim - len(axes)], -1))
    others = product_before(rows) * np.flip(product_before(np.flip(rows, -1)), -1)
    return np.transpose(others.reshape(moved.shape), inverse(order))


@kernels.primitive(lambda z, x, axis: product_of_others(x, axis), like=False)
def quotients(z: Array, x: Array, axis: Axis, out: Array | None = None) -> Array:
    """`product_of_others` by dividing the product z of all, if it has all its digits."""
    size, limits = np.abs(z), np.finfo(z.dtype)
    if size.min(initial=1) >= limits.tiny and size.max(initial=1) <= limits.max:
        return np.divide(z, x, out=out)
    made = product_of_others(x, axis)
    return made if out is None else np.positive(made, out=out)


def weights(x: Array, z: Array, axis: Axis) -> Array:
    """exp(x − z) for z = log Σ exp x, divided by its sum: at 1e17 z has lost log 2."""
    e = np.exp(x - z)
    return e / e.sum(axis=axis, keepdims=True)


def cumsum(g: Array, z: Array, x: Array, axis: int | None = None) -> Array:
    if axis is None:
        return np.flip(kernels.cumsum(np.flip(g))).reshape(x.shape)
    return np.flip(kernels.cumsum(np.flip(g, axis), axis=axis), axis)


def einsum(i: int, g: Array, operands: Sequence[Array], subscripts: str) -> Array:
    """Swap operand i with the result: ij,jk->ik gives g by ik,jk->ij.

    A letter that stands twice in the operand (a diagonal) is split in two that an identity
    matrix joins; a letter that stands nowhere else (summed alone) comes from a row of ones.
    """
    inputs, out = subscripts.split("->")
    terms = inputs.split(",")
    unused = iter(sorted(set(LETTERS) - set(subscripts)))
    factors = list(zip(terms, operands))
    factors[i] = out, g
    target = ""
    for letter, n in zip(terms[i], np.shape(operands[i])):
        fresh = letter
        if letter in target:
            fresh = next(unused)
            factors.append((letter + fresh, kernels.created("eye", n, None, 0, g.dtype, like=g)))
        target += fresh
        if not any(letter in term for term, _ in factors):
            factors.append((letter, kernels.created("ones", n, g.dtype, like=g)))
    spec = ",".join(term for term, _ in factors) + "->" + target
    return kernels.einsum(*[x for _, x in factors], subscripts=spec)


def dot_subscripts(x: Array, y: Array) -> str:
    """np.dot as an einsum: it sums the last axis of x with the last but one of y."""
    left, right = [*LETTERS[:np.ndim(x)]], [*LETTERS[np.ndim(x):][:np.ndim(y)]]
    found = left + right
    if left and right:
        summed = right[-2:][0]
        found = [c for c in found if c not in (summed, left[-1])]
        right[right.index(summed)] = left[-1]
    return f"{''.join(left)},{''.join(right)}->{''.join(found)}"


# ---- linear algebra ------------------------------------------------------------------------------


def solve(g: Array, z: Array, x: Array, y: Array) -> list[Array]:
    """x⁻ᵀg for y, and −(x⁻ᵀg)zᵀ for x."""
    if y.ndim == 1:
        left, right = solve(*(np.expand_dims(a, -1) if a is not x else x for a in (g, z, x, y)))
        return [left, right[..., 0]]
    right = np.linalg.solve(mT(x), g)
    return [-(right @ mT(z)), right]


def cholesky(g: Array, z: Array, x: Array) -> Array:
    """L⁻ᵀ Φ(Lᵀg) L⁻¹ made symmetric, where Φ is the lower triangle with half of the diagonal."""
    h = mT(z) @ g
    h = (np.tril(h) + mT(np.tril(h, -1))) / 2
    return np.linalg.solve(mT(z), mT(np.linalg.solve(mT(z), h)))


def safe_inverse(x: Array, w: Array) -> Array:
    """1 / x, but 0 where x is 0 to within the rounding of the numbers w."""
    rounding = 10 * np.finfo(w.dtype).eps * np.abs(w).sum(axis=-1)[..., None, None]
    none = np.abs(x) <= rounding
    return np.where(none, 0, 1 / np.where(none, 1, x))


def gaps(w: Array) -> Array:
    """wⱼ − wᵢ in row i and column j."""
    return np.expand_dims(w, -2) - np.expand_dims(w, -1)


def skew(x: Array) -> Array:
    return x - mT(x)


def eigh(g: Array, z: Array, x: Array) -> Array:
    """V (diag g_w + F ∘ skew(Vᵀg_V) / 2) Vᵀ with Fᵢⱼ = 1 / (wⱼ − wᵢ), and 0 for equal eigenvalues:
    functions that don't depend on the choice of their eigenvectors have no such part."""
    w, v, g_w, g_v = z[..., 0, :], z[..., 1:, :], g[..., :1, :], g[..., 1:, :]
    return (v * g_w + v @ (safe_inverse(gaps(w), w) * skew(mT(v) @ g_v) / 2)) @ mT(v)


def triple(z: Array, x: Array) -> tuple[Array, Array, Array]:
    """U, Σ as a row and V of x = UΣVᵀ, from the result of `svd`."""
    rows = x.shape[-2]
    return z[..., :rows, :], z[..., rows : rows + 1, :], z[..., rows + 1 :, :]


def svd(g: Array, z: Array, x: Array) -> Array:
    """U (diag g_s + H) Vᵀ and what leaves the spaces of U and V.

    Hᵢⱼ = (Pᵢⱼ + Qᵢⱼ) / 2(sⱼ − sᵢ) + (Pᵢⱼ − Qᵢⱼ) / 2(sⱼ + sᵢ), where P = skew(Uᵀg_U) and
    Q = skew(Vᵀg_V), and 1 / 0 = 0 as for `eigh`.
    """
    (u, s, v), (g_u, g_s, g_v) = triple(z, x), triple(g, x)
    w = s[..., 0, :]
    p, q = mT(u) @ g_u, mT(v) @ g_v
    h = (skew(p) + skew(q)) * safe_inverse(gaps(w), w) + (skew(p) - skew(q)) * safe_inverse(
        s + mT(s), w)
    inverse_s = safe_inverse(s, w)
    return ((u * g_s + u @ h / 2 + (g_u - u @ p) * inverse_s) @ mT(v)
            + (u * inverse_s) @ mT(g_v - v @ q))


def orientation(u: Array, v: Array) -> Array:
    """det(U) det(V) of orthogonal matrices: 1 or −1."""
    return np.sign(np.linalg.det(u @ mT(v)))[..., None, None]


def cofactors(u: Array, s: Array, v: Array) -> Array:
    """∂det(x)/∂x for x = UΣVᵀ, also where x is singular: what Σ has, between U and Vᵀ."""
    return orientation(u, v) * ((u * product_of_others(s, -1)) @ mT(v))


def cofactor(g: Array, u: Array, s: Array, v: Array) -> Array:
    """The cofactors of Σ + E differ from those of Σ by −Eⱼᵢ Pᵢⱼ at (i, j) and Σⱼ Eⱼⱼ Pᵢⱼ at (i, i),
    where Pᵢⱼ is the product of all singular values but the i-th and the j-th."""
    same = kernels.created("eye", s.shape[-1], None, 0, bool, like=s)
    p = np.where(same, 0, product_of_others(np.where(same, 1, s), -1))
    h = mT(u) @ g @ v
    traces = (np.where(same, h, 0) @ p).sum(axis=-2, keepdims=True)
    return orientation(u, v) * ((u * traces - u @ mT(p * h)) @ mT(v))


# ---- indexing and joining ------------------------------------------------------------------------


def diagonal_index(shape: Shape, offset: int) -> tuple[EllipsisType, Array, Array]:
    """Where the last two axes of the shape hold their diagonal."""
    rows, columns = shape[-2:]
    i = np.arange(max(0, -offset), min(rows, columns - offset))
    return (..., i, i + offset)


def inverse(axes: Sequence[int] | None) -> Shape | None:
    """The order of axes that undoes `axes`."""
    return None if axes is None else tuple(int(i) for i in np.argsort(np.mod(axes, len(axes))))


def negated(shift: Size) -> Size:
    return tuple(-s for s in shift) if isinstance(shift, tuple) else -shift


def untile(g: Array, z: Array, x: Array, reps: Size) -> Array:
    """Sum the copies: split each axis into (copy, entry) and sum over the copies."""
    reps = tuple(reps) if np.iterable(reps) else (reps,)
    reps = (1,) * (x.ndim - len(reps)) + reps
    shape = (1,) * (len(reps) - x.ndim) + x.shape
    pairs = [n for pair in zip(reps, shape) for n in pair]
    return g.reshape(pairs).sum(axis=tuple(range(0, len(pairs), 2))).reshape(x.shape)


def unpad(g: Array, z: Array, x: Array, pad_width: Sequence[tuple[int, int]]) -> Array:
    inner = tuple(slice(low, low + n) for (low, _), n in zip(pad_width, x.shape))
    return g[inner]


def split(g: Array, z: Array, *arrays: Array, axis: int | None = 0) -> list[Array]:
    """The parts of g that came from each of the arrays."""
    lengths = [a.size if axis is None else a.shape[axis] for a in arrays]
    ends = list(itertools.accumulate(lengths))
    lead = (slice(None),) * (0 if axis is None else axis % g.ndim)
    indices = [(*lead, slice(end - n, end)) for n, end in zip(lengths, ends)]
    parts = [g[index] for index in indices]
    return [part.reshape(a.shape) for part, a in zip(parts, arrays)] if axis is None else parts


def unstack(g: Array, z: Array, *arrays: Array, axis: int = 0) -> list[Array]:
    return [g[(slice(None),) * (axis % g.ndim) + (i,)] for i in range(len(arrays))]


def along(axis: int, indices: Array, shape: Shape) -> tuple[Array, ...]:
    """The index tuple by which take_along_axis reads: all entries of the other axes."""
    grid = list(np.ogrid[tuple(slice(n) for n in shape)])
    grid[axis % len(shape)] = indices
    return tuple(grid)
