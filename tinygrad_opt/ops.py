"""The rule book: every operation, its kernel and its gradient rules side by side.

A row is ``op(symbol, kernel, *rules)``:

- ``z = kernel(*inputs, **attrs)`` computes the value;
- ``rules[i](g, z, *inputs, **attrs)`` is ∂L/∂inputs[i] for g = ∂L/∂z, and ``None``
  says that no gradient flows there (masks, labels, indices).

Rules are plain NumPy code. Given arrays they run at NumPy's speed; given Tensors the same
text is recorded, which is how higher derivatives come about. A rule may return its gradient
in any shape that broadcasts with the input's: whoever calls it sums over the axes along which
the input was stretched, and stretches it along the axes that a reduction took away.

This file imports NumPy and nothing else; it has never heard of ``Tensor``.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Rule = Callable[..., Any]


class Op:
    """An operation: how it is written, computed and differentiated.

    Calling it runs the kernel, unless an input's type takes over by a method
    ``__apply_op__(op, inputs, attrs)``, as NumPy's ``__array_ufunc__`` lets types do.
    """

    __slots__ = ("kernel", "name", "rules", "shared", "symbol")

    def __init__(
        self, symbol: str, kernel: Callable[..., Any], rules: Any,
        shared: Callable[..., Any] | None = None,
    ) -> None:
        self.symbol = symbol
        self.kernel = kernel
        self.rules = rules
        self.shared = shared
        self.name = getattr(kernel, "__name__", symbol).strip("_<>")

    def __call__(self, *inputs: Any, **attrs: Any) -> Any:
        if len(inputs) > len(self.rules):                  # softmax(x, 0) would lose its axis
            raise TypeError(f"{self.name} takes {len(self.rules)} input(s), got {len(inputs)}:"
                            " give options by name, as in axis=0")
        for x in inputs:
            take_over = getattr(type(x), "__apply_op__", None)
            if take_over is not None:
                return take_over(x, self, inputs, attrs)
        return self.kernel(*inputs, **attrs)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __deepcopy__(self, memo: Any) -> Op:
        return self

    def __reduce__(self) -> Any:
        if TABLE.get(self.name) is not self:
            raise TypeError(f"op {self.name} is not of the rule book and cannot be pickled")
        return row_named, (self.name,)


class Each:
    """One rule for any number of inputs: ``rule(i, g, z, *inputs, **attrs)``."""

    __slots__ = ("rule",)

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __getitem__(self, i: int) -> Rule:
        return functools.partial(self.rule, i)

    def __len__(self) -> int:
        return sys.maxsize

    def __iter__(self) -> Iterator[Rule]:
        i = 0
        while True:
            yield self[i]
            i += 1


def op(
    symbol: str, kernel: Callable[..., Any], *rules: Rule | None, each: Rule | None = None,
    shared: Callable[..., Any] | None = None,
) -> Op:
    """Define an operation by its kernel and one gradient rule per input.

    Parameters
    ----------
    symbol : str
        What drawings show, for example ``"×"``.
    kernel : callable
        ``kernel(*inputs, **attrs)`` computes the value from arrays. Inputs are positional and
        may carry gradients; attributes are keywords and never do. Its ``__name__`` is the name
        that error messages use.
    *rules : callable or None
        ``rules[i](g, z, *inputs, **attrs)`` is the gradient with respect to input i, for the
        gradient g of the result z, written in NumPy functions and operators only. ``None``:
        no gradient flows to that input, and its dtype is left as it is.
    each : callable, optional
        Instead of `rules`, for any number of inputs: ``each(i, g, z, *inputs, **attrs)``.
    shared : callable, optional
        ``shared(*inputs, **attrs)`` is what the kernel and the rules both need, to be computed
        once. They take it as an option ``shared=None``, and compute it themselves if it is None,
        as it is where the backward pass is recorded.

    Returns
    -------
    Op
        Call it with arrays or Tensors.

    Raises
    ------
    TypeError
        If the kernel or a rule is not callable, or if both `rules` and `each` are given or
        neither is.

    Examples
    --------
    The derivative of x³ is 3x²:

    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> cube = tg.op("x³", lambda x: x**3, lambda g, z, x: g * 3 * x**2)
    >>> x = tg.Tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> float(x.grad)
    12.0
    >>> tg.gradcheck(cube, np.array([0.5, -1.0])).ok
    True
    """
    if not callable(kernel) or any(rule is not None and not callable(rule) for rule in rules):
        raise TypeError(f"op {symbol!r}: the kernel and its rules must be functions")
    if bool(rules) == (each is not None):
        raise TypeError(f"op {symbol!r}: give one rule per input, or each=, and not both")
    return Op(symbol, kernel, Each(each) if each is not None else rules, shared)


KEPT = 1 << 16           # constants of up to so many entries are kept


@functools.lru_cache(maxsize=64)
def constant(make: str, *args: Any) -> np.ndarray:
    """The array ``np.<make>(*args)``, made once; nobody can write to it."""
    array: np.ndarray = getattr(np, make)(*args)
    array.flags.writeable = False
    return array


# ---- arithmetic ----------------------------------------------------------------------------------


def _exponent_less_one(y):
    """y − 1, but 1 where y = 0: the factor y is 0 there already, and 0 · 0⁻¹ would be nan."""
    if isinstance(y, int | float):
        return y - 1 if y else 1
    return np.where(y == 0, 1, y - 1)


def _zero(g, z, *inputs, **attrs):
    """A step function is flat almost everywhere."""
    return np.zeros_like(g)


add          = op("+",  np.add,          lambda g, z, x, y: g,
                                         lambda g, z, x, y: g)
subtract     = op("−",  np.subtract,     lambda g, z, x, y: g,
                                         lambda g, z, x, y: -g)
multiply     = op("×",  np.multiply,     lambda g, z, x, y: g * y,                  # ∂(xy)/∂x = y
                                         lambda g, z, x, y: g * x)
divide       = op("÷",  np.divide,       lambda g, z, x, y: g / y,                  # ∂(x/y)/∂x = 1/y
                                         lambda g, z, x, y: -g * z / y)             # −x/y²
negative     = op("−x", np.negative,     lambda g, z, x: -g)
positive     = op("+x", np.positive,     lambda g, z, x: g)
power        = op("**", np.power,        lambda g, z, x, y: g * (y * x ** _exponent_less_one(y)),
                                         lambda g, z, x, y: g * (z * np.log(    # xʸ ln x, 0 at 0ʸ
                                             np.where((x == 0) & (y >= 0), 1, x).astype(z.dtype))))
floor_divide = op("//", np.floor_divide, _zero, _zero)
remainder    = op("mod", np.remainder,   lambda g, z, x, y: g,                      # x − y⌊x/y⌋
                                         lambda g, z, x, y: -g * np.floor_divide(x, y))
square       = op("x²", np.square,       lambda g, z, x: g * (2 * x))
sqrt         = op("√",  np.sqrt,         lambda g, z, x: g / (2 * z))
cbrt         = op("∛",  np.cbrt,         lambda g, z, x: g / (3 * z * z))
reciprocal   = op("1/x", np.reciprocal,  lambda g, z, x: -g * z * z)
absolute     = op("|x|", np.absolute,    lambda g, z, x: g * np.sign(x))            # 0 at 0
sign         = op("sign", np.sign, _zero)
floor        = op("⌊x⌋", np.floor, _zero)
ceil         = op("⌈x⌉", np.ceil, _zero)
trunc        = op("trunc", np.trunc, _zero)
round        = op("round", np.round, _zero)

# ---- exponentials and logarithms -----------------------------------------------------------------


def _softmax_of_two(x, y):
    """eˣ / (eˣ + eʸ); equal infinities weigh the same."""
    return sigmoid(np.where(x == y, 0, x - y))


exp       = op("exp",   np.exp,       lambda g, z, x: g * z)
expm1     = op("expm1", np.expm1,     lambda g, z, x: g * (z + 1))
exp2      = op("2ˣ",    np.exp2,      lambda g, z, x: g * (z * math.log(2)))
log       = op("log",   np.log,       lambda g, z, x: g / x)
log1p     = op("log1p", np.log1p,     lambda g, z, x: g / (1 + x))
log2      = op("log₂",  np.log2,      lambda g, z, x: g / (x * math.log(2)))
log10     = op("log₁₀", np.log10,     lambda g, z, x: g / (x * math.log(10)))
logaddexp = op("logaddexp", np.logaddexp, lambda g, z, x, y: g * _softmax_of_two(x, y),
                                          lambda g, z, x, y: g * _softmax_of_two(y, x))

# ---- trigonometry --------------------------------------------------------------------------------

sin     = op("sin", np.sin,         lambda g, z, x: g * np.cos(x))
cos     = op("cos", np.cos,         lambda g, z, x: -g * np.sin(x))
tan     = op("tan", np.tan,         lambda g, z, x: g * (1 + z * z))
arcsin  = op("arcsin", np.arcsin,   lambda g, z, x: g / np.sqrt(1 - x * x))
arccos  = op("arccos", np.arccos,   lambda g, z, x: -g / np.sqrt(1 - x * x))
arctan  = op("arctan", np.arctan,   lambda g, z, x: g / (1 + x * x))
arctan2 = op("arctan2", np.arctan2, lambda g, z, y, x: g * x / (x * x + y * y),
                                    lambda g, z, y, x: -g * y / (x * x + y * y))
hypot   = op("hypot", np.hypot,     lambda g, z, x, y: g * _ratio(x, z),
                                    lambda g, z, x, y: g * _ratio(y, z))
sinh    = op("sinh", np.sinh,       lambda g, z, x: g * np.cosh(x))
cosh    = op("cosh", np.cosh,       lambda g, z, x: g * np.sinh(x))
tanh    = op("tanh", np.tanh,       lambda g, z, x: g * (1 - z * z))
arcsinh = op("arcsinh", np.arcsinh, lambda g, z, x: g / np.sqrt(1 + x * x))
arccosh = op("arccosh", np.arccosh, lambda g, z, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
arctanh = op("arctanh", np.arctanh, lambda g, z, x: g / (1 - x * x))


def _ratio(x, r):
    """x / r for a distance r, and 0 where the distance is 0."""
    return x / np.where(r == 0, 1, r)


# ---- activations ---------------------------------------------------------------------------------


def _relu(x):
    return np.maximum(x, _zeros(x))                        # NumPy vectorises this, but not (x, 0)


def _zeros(x):
    return constant("zeros", x.shape, x.dtype) if x.size <= KEPT else np.zeros(x.shape, x.dtype)


def _leaky_relu(x, slope=0.01):
    return np.where(x > 0, x, slope * x)


def _elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))      # expm1 never overflows


def _sigmoid(x):
    tail = np.exp(-np.abs(x))                                          # ≤ 1, exact in both tails
    return np.where(x >= 0, 1, tail) / (1 + tail)


def _softplus(x):
    return np.logaddexp(x, 0)


def _silu(x, shared=None):
    return x * (_sigmoid(x) if shared is None else shared)


@functools.cache
def _erf_series():
    """Taylor series of erf(√u)/√u to u = 1.5², Chebyshev series of exp(x²) erfc(x) in 1/x beyond."""
    near = np.polynomial.Polynomial(
        [2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(24)])
    far = np.polynomial.Chebyshev.interpolate(
        lambda t: np.array([math.exp(x * x) * math.erfc(x) for x in 1 / t]), 20, [1 / 6, 1 / 1.5])
    return near, far


def _erf(x):
    """erf(x) = 2/√π ∫₀ˣ exp(−t²) dt, to within 3 units in the last place of float64."""
    near, far = _erf_series()
    x = np.asarray(x, dtype=None if np.asarray(x).dtype.kind == "f" else float)
    size = np.clip(np.abs(x), 1.5, 6)                                  # 1 − erf(6) = 2·10⁻¹⁷
    tail = np.exp(-size * size) * far(1 / size)
    small = np.clip(x, -1.5, 1.5)
    inner = small * near(small * small)
    return np.where(np.abs(x) < 1.5, inner, np.copysign(1 - tail, x)).astype(x.dtype)


def _normal_cdf(x):
    """Φ(x), written for arrays and Tensors alike."""
    return (1 + erf(x * math.sqrt(0.5))) * 0.5


def _gelu(x, shared=None):
    return x * (_normal_cdf(x) if shared is None else shared)


def _gelu_slope(x, shared):
    cdf = _normal_cdf(x) if shared is None else shared
    return cdf + x * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))   # Φ + xφ


_GELU = math.sqrt(2 / math.pi)


def _gelu_tanh_of(x):
    return np.tanh(_GELU * (x + 0.044715 * x * x * x))


def _gelu_tanh(x, shared=None):
    return 0.5 * x * (1 + (_gelu_tanh_of(x) if shared is None else shared))


def _gelu_tanh_slope(x, shared):
    t = _gelu_tanh_of(x) if shared is None else shared
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_GELU * (1 + 3 * 0.044715 * x * x))


def _silu_slope(x, shared):
    s = sigmoid(x) if shared is None else shared
    return s * (1 + x * (1 - s))


erf        = op("erf", _erf,           lambda g, z, x: g * (np.exp(-x * x) * (2 / math.sqrt(math.pi))))
relu       = op("relu", _relu,         lambda g, z, x: g * (z != _zeros(z)).astype(g.dtype))   # 0 at 0, g at nan
leaky_relu = op("leaky relu", _leaky_relu,
                                       lambda g, z, x, slope=0.01: np.where(x > 0, g, slope * g))
elu        = op("elu", _elu,           lambda g, z, x, alpha=1.0: np.where(x > 0, g, g * (z + alpha)))
sigmoid    = op("σ", _sigmoid,         lambda g, z, x: g * (z * (1 - z)))
softplus   = op("softplus", _softplus, lambda g, z, x: g * sigmoid(x))
silu       = op("silu", _silu,         lambda g, z, x, shared=None: g * _silu_slope(x, shared),
                                       shared=_sigmoid)
gelu       = op("gelu", _gelu,         lambda g, z, x, shared=None: g * _gelu_slope(x, shared),
                                       shared=_normal_cdf)
gelu_tanh  = op("gelu tanh", _gelu_tanh, lambda g, z, x, shared=None: g * _gelu_tanh_slope(x, shared),
                                       shared=_gelu_tanh_of)

# ---- choosing ------------------------------------------------------------------------------------


def _winner(g, x, y):
    """g where x is the larger, half of g where they tie, 0 elsewhere."""
    return np.where(x == y, g / 2, np.where(x > y, g, 0))


def _inside(x, low, high):
    """Whether low ≤ x ≤ high; None is no bound. At a bound the gradient passes."""
    return np.logical_and(True if low is None else x >= low, True if high is None else x <= high)


def _clip(x, low=None, high=None):
    return np.clip(x, low, high)


maximum = op("maximum", np.maximum, lambda g, z, x, y: _winner(g, x, y),
                                    lambda g, z, x, y: _winner(g, y, x))
minimum = op("minimum", np.minimum, lambda g, z, x, y: _winner(g, y, x),
                                    lambda g, z, x, y: _winner(g, x, y))
clip    = op("clip", _clip,         lambda g, z, x, low=None, high=None: np.where(_inside(x, low, high), g, 0),
                                    lambda g, z, x, low=None, high=None: np.where(x < low, g, 0),
                                    lambda g, z, x, low=None, high=None: np.where(x > high, g, 0))
where   = op("where", np.where,     None,
                                    lambda g, z, mask, x, y: np.where(mask, g, 0),
                                    lambda g, z, mask, x, y: np.where(mask, 0, g))

# ---- reductions ----------------------------------------------------------------------------------


def _axes(x, axis):
    """The axes that `axis` means, as non-negative integers."""
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def _unreduce(g, x, axis, keepdims):
    """g with length 1 where the axes of x were reduced, so that it broadcasts with x."""
    if axis is None or keepdims:
        return g
    axes = _axes(x, axis)
    return g.reshape([1 if i in axes else n for i, n in enumerate(x.shape)])


def _count(x, axis):
    """How many entries of x go into each entry of the result."""
    return math.prod(x.shape[a] for a in _axes(x, axis))


def _centred(x, axis):
    return x - x.mean(axis=axis, keepdims=True)


def _share(g, z, x, axis, keepdims):
    """Split g equally among the entries of x that attain the extremum z."""
    hit = x == _unreduce(z, x, axis, keepdims)
    ties = hit.sum(axis=axis, keepdims=True).astype(g.dtype)
    return np.where(hit, _unreduce(g, x, axis, keepdims) / ties, 0)


def _product_before(x):
    """Along the last axis, the product of all entries before each one, by doubling."""
    def shift(y, by):
        return np.concatenate([np.ones((*y.shape[:-1], by), y.dtype), y[..., :-by]], axis=-1)

    y, by = shift(x, 1), 1
    while by < x.shape[-1]:
        y, by = y * shift(y, by), 2 * by
    return y


def _product_of_others(x, axis):
    """For each entry the product of all others that were multiplied with it, zeros or not."""
    axes = _axes(x, axis)
    order = [i for i in range(x.ndim) if i not in axes] + list(axes)
    moved = x.transpose(order)
    if not x.size:
        return x
    rows = moved.reshape((*moved.shape[: x.ndim - len(axes)], -1))
    others = _product_before(rows) * np.flip(_product_before(np.flip(rows, -1)), -1)
    return np.transpose(others.reshape(moved.shape), _inverse(order))


def _logsumexp(x, axis=None, keepdims=False):
    """log Σ exp x, shifted by the maximum so that exp ≤ 1."""
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):                                 # log 0 = −∞ is right
        z = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return z if keepdims else np.squeeze(z, axis=_axes(x, axis))


def _weights(x, z, axis):
    """exp(x − z) for z = log Σ exp x, divided by its sum: z has lost the digits of log 2 at 1e17."""
    e = np.exp(x - z)
    return e / e.sum(axis=axis, keepdims=True)


def _cumsum_rule(g, z, x, axis=None):
    if axis is None:
        return np.flip(np.cumsum(np.flip(g))).reshape(x.shape)
    return np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)


def _norm(x, axis=None, keepdims=False):
    """√Σx², scaled by the largest entry where the squares would overflow or vanish."""
    with np.errstate(over="ignore", under="ignore"):
        z = np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    if x.size and not np.all(np.isfinite(z) & (z > 0)):
        top = np.max(np.abs(x), axis=axis, keepdims=True)
        safe = np.where(np.isfinite(top) & (top > 0), top, 1)
        scaled = x / safe
        z = np.sqrt(np.sum(scaled * scaled, axis=axis, keepdims=keepdims))
        z = z * (safe if keepdims else safe.reshape(np.shape(z)))
    return z


sum       = op("Σ", np.sum,         lambda g, z, x, axis=None, keepdims=False:
                                        _unreduce(g, x, axis, keepdims))
mean      = op("mean", np.mean,     lambda g, z, x, axis=None, keepdims=False:
                                        _unreduce(g, x, axis, keepdims) / _count(x, axis))
prod      = op("Π", np.prod,        lambda g, z, x, axis=None, keepdims=False:
                                        _unreduce(g, x, axis, keepdims) * _product_of_others(x, axis))
var       = op("var", np.var,       lambda g, z, x, axis=None, ddof=0, keepdims=False:
                                        _unreduce(g, x, axis, keepdims)
                                        * (2 * _centred(x, axis) / (_count(x, axis) - ddof)))
std       = op("std", np.std,       lambda g, z, x, axis=None, ddof=0, keepdims=False:   # 0 at 0
                                        _unreduce(g, x, axis, keepdims)
                                        * _ratio(_centred(x, axis), _unreduce(z, x, axis, keepdims))
                                        / (_count(x, axis) - ddof))
max       = op("max", np.max,       lambda g, z, x, axis=None, keepdims=False:
                                        _share(g, z, x, axis, keepdims))
min       = op("min", np.min,       lambda g, z, x, axis=None, keepdims=False:
                                        _share(g, z, x, axis, keepdims))
logsumexp = op("logsumexp", _logsumexp, lambda g, z, x, axis=None, keepdims=False:
                                        _unreduce(g, x, axis, keepdims)
                                        * _weights(x, _unreduce(z, x, axis, keepdims), axis))
norm      = op("‖x‖", _norm,        lambda g, z, x, axis=None, keepdims=False:           # 0 at 0
                                        _unreduce(g, x, axis, keepdims)
                                        * _ratio(x, _unreduce(z, x, axis, keepdims)))
cumsum    = op("cumsum", np.cumsum, _cumsum_rule)

# ---- products of matrices ------------------------------------------------------------------------


def _matmul(x, y):
    """x @ y. For two matrices ``dot`` is the same and costs half as much to call."""
    return x.dot(y) if np.ndim(x) == 2 == np.ndim(y) else np.matmul(x, y)


def _matmul_left(g, x, y):
    if y.ndim == 1:
        return np.expand_dims(g, -1) * y
    if x.ndim == 1:
        return matmul(y, np.expand_dims(g, -1))[..., 0]
    return g.dot(y.T) if g.ndim == 2 == y.ndim else g @ y.mT           # (n,k) = (n,m)(m,k)


def _matmul_right(g, x, y):
    if x.ndim == 1:
        return np.expand_dims(g, -2) * np.expand_dims(x, -1) if y.ndim > 1 else g * x
    if y.ndim == 1:
        return matmul(x.mT, np.expand_dims(g, -1))[..., 0]
    return x.T.dot(g) if x.ndim == 2 == g.ndim else x.mT @ g           # (k,m) = (k,n)(n,m)


def _linear(x, w, b):
    """A layer: the rows of x times w, plus b."""
    z = _matmul(x, w)
    return np.add(z, b, out=z)


def _einsum(*operands, subscripts):
    return np.einsum(subscripts, *operands)


def _einsum_rule(i, g, z, *operands, subscripts):
    """Swap operand i with the result: ij,jk->ik gives g by ik,jk->ij.

    A letter that stands twice in the operand (a diagonal) is split in two that an identity
    matrix joins; a letter that stands nowhere else (summed alone) comes from a row of ones.
    """
    terms, out = subscripts.split("->")
    terms = terms.split(",")
    unused = iter(sorted(set(_LETTERS) - set(subscripts)))
    factors = [(out, g)] + [(t, x) for j, (t, x) in enumerate(zip(terms, operands, strict=True)) if j != i]
    target = ""
    for letter, n in zip(terms[i], operands[i].shape, strict=True):
        fresh = letter
        if letter in target:
            fresh = next(unused)
            factors.append((letter + fresh, np.eye(n, dtype=operands[i].dtype)))
        target += fresh
        if not any(letter in term for term, _ in factors):
            factors.append((letter, np.ones(n, dtype=operands[i].dtype)))
    spec = ",".join(term for term, _ in factors) + "->" + target
    return np.einsum(spec, *[x for _, x in factors])


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def explicit_einsum(subscripts, operands):
    """Write einsum subscripts out: no spaces, no ellipsis, and a result behind ``->``."""
    spec = subscripts.replace(" ", "")
    unused = [c for c in _LETTERS if c not in spec]
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


def _diagonal_index(shape, offset):
    """Where the last two axes of the shape hold their diagonal."""
    rows, columns = shape[-2:]
    first = -offset if offset < 0 else 0
    length = rows - first if offset < 0 else np.minimum(rows, columns - offset)
    i = np.arange(first, first + np.maximum(np.minimum(length, columns - first - offset), 0))
    return (..., i, i + offset)


def _diagonal_rule(g, z, x, offset=0, axis1=0, axis2=1):
    ends = (axis1, axis2), (-2, -1)
    shape = np.moveaxis(np.empty(x.shape, bool), *ends).shape
    return np.moveaxis(scatter(g, _diagonal_index(shape, offset), shape=shape), *ends[::-1])


def _trace_rule(g, z, x, offset=0, axis1=0, axis2=1):
    length = np.diagonal(np.empty(x.shape, bool), offset, axis1, axis2).shape[-1]
    spread = np.broadcast_to(np.expand_dims(g, -1), (*g.shape, length))
    return _diagonal_rule(spread, z, x, offset, axis1, axis2)


matmul   = op("@", _matmul,         lambda g, z, x, y: _matmul_left(g, x, y),
                                    lambda g, z, x, y: _matmul_right(g, x, y))
linear   = op("x@W+b", _linear,     lambda g, z, x, w, b: _matmul_left(g, x, w),
                                    lambda g, z, x, w, b: _matmul_right(g, x, w),
                                    lambda g, z, x, w, b: g)
outer    = op("outer", np.outer,    lambda g, z, x, y: (g @ y.reshape(-1)).reshape(x.shape),
                                    lambda g, z, x, y: (x.reshape(-1) @ g).reshape(y.shape))
dot      = op("dot", np.dot,        lambda g, z, x, y: _dot_left(g, x, y),
                                    lambda g, z, x, y: _dot_right(g, x, y))
einsum   = op("einsum", _einsum, each=_einsum_rule)
diagonal = op("diagonal", np.diagonal, _diagonal_rule)
trace    = op("trace", np.trace, _trace_rule)


def _dot_left(g, x, y):
    """dot sums the last axis of x with the last but one of y; all other axes stay, x's first."""
    if x.ndim == 0 or y.ndim == 0:
        return g * y
    y = np.moveaxis(y, -2, -1) if y.ndim > 1 else y
    columns = math.prod(y.shape[:-1])
    return g.reshape((*x.shape[:-1], columns)) @ y.reshape((columns, y.shape[-1]))


def _dot_right(g, x, y):
    if x.ndim == 0 or y.ndim == 0:
        return g * x
    rest = y.shape[:-2] + y.shape[-1:] if y.ndim > 1 else ()
    rows = math.prod(x.shape[:-1])
    summed = x.reshape((rows, x.shape[-1])).mT @ g.reshape((rows, math.prod(rest)))
    summed = summed.reshape(x.shape[-1:] + rest)
    return np.moveaxis(summed, 0, -2) if y.ndim > 1 else summed


# ---- shape ---------------------------------------------------------------------------------------


def _reshape(x, shape):
    return np.reshape(x, shape)


def _transpose(x, axes=None):
    return np.transpose(x, axes)


def _cast(x, dtype):
    return x.astype(dtype)


def _inverse(axes):
    """The order of axes that undoes `axes`."""
    return None if axes is None else tuple(int(i) for i in np.argsort(np.mod(axes, len(axes))))


def _untile(g, z, x, reps):
    """Sum the copies: split each axis into (copy, entry) and sum over the copies."""
    reps = reps if isinstance(reps, tuple) else (reps,)
    reps = (1,) * (x.ndim - len(reps)) + reps
    shape = (1,) * (len(reps) - x.ndim) + x.shape
    pairs = [n for pair in zip(reps, shape, strict=True) for n in pair]
    return g.reshape(pairs).sum(axis=tuple(range(0, len(pairs), 2))).reshape(x.shape)


def _unrepeat(g, z, x, repeats, axis=None):
    n = x.size if axis is None else x.shape[axis]
    return _untake(g, z, x, np.repeat(np.arange(n), repeats), axis)


def _unpad(g, z, x, pad_width):
    inner = tuple(slice(low, low + n) for (low, _), n in zip(pad_width, x.shape, strict=True))
    return g[inner]


def _pad(x, pad_width):
    return np.pad(x, pad_width)


def _concatenate(*arrays, axis=0):
    return np.concatenate(arrays, axis=axis)


def _concatenate_rule(i, g, z, *arrays, axis=0):
    if axis is None:
        start = int(np.sum([np.size(a) for a in arrays[:i]], dtype=int))
        return g[start : start + arrays[i].size].reshape(arrays[i].shape)
    start = int(np.sum([np.shape(a)[axis] for a in arrays[:i]], dtype=int))
    part = [slice(None)] * g.ndim
    part[axis] = slice(start, start + arrays[i].shape[axis])
    return g[tuple(part)]


def _stack(*arrays, axis=0):
    return np.stack(arrays, axis=axis)


def _stack_rule(i, g, z, *arrays, axis=0):
    return g[(slice(None),) * (axis % g.ndim) + (i,)]


reshape      = op("reshape", _reshape,          lambda g, z, x, shape: g.reshape(x.shape))
ravel        = op("ravel", np.ravel,            lambda g, z, x: g.reshape(x.shape))
transpose    = op("transpose", _transpose,      lambda g, z, x, axes=None: np.transpose(g, _inverse(axes)))
swapaxes     = op("swapaxes", np.swapaxes,      lambda g, z, x, axis1, axis2:
                                                    np.swapaxes(g, axis1, axis2))
moveaxis     = op("moveaxis", np.moveaxis,      lambda g, z, x, source, destination:
                                                    np.moveaxis(g, destination, source))
squeeze      = op("squeeze", np.squeeze,        lambda g, z, x, axis=None: g.reshape(x.shape))
expand_dims  = op("expand_dims", np.expand_dims, lambda g, z, x, axis: g.reshape(x.shape))
broadcast_to = op("broadcast_to", np.broadcast_to, lambda g, z, x, shape: g)
flip         = op("flip", np.flip,              lambda g, z, x, axis=None: np.flip(g, axis))
roll         = op("roll", np.roll,              lambda g, z, x, shift, axis=None:
                                                    np.roll(g, _negated(shift), axis))
tile         = op("tile", np.tile, _untile)
repeat       = op("repeat", np.repeat, _unrepeat)
pad          = op("pad", _pad, _unpad)
concatenate  = op("concatenate", _concatenate, each=_concatenate_rule)
stack        = op("stack", _stack, each=_stack_rule)
cast         = op("cast", _cast,                lambda g, z, x, dtype: g)
copy         = op("copy", np.copy,              lambda g, z, x: g)


def _negated(shift):
    return tuple(-s for s in shift) if isinstance(shift, tuple) else -shift


def _sum_rows(x):
    """Σ over axis 0 of a matrix of floats, which BLAS adds up fastest."""
    n = len(x)
    return np.dot(constant("ones", n, x.dtype) if n <= KEPT else np.ones(n, x.dtype), x)


def _range(stop, step=1):
    return constant("arange", 0, stop, step) if stop <= KEPT else np.arange(0, stop, step)


def _fit(g, shape):
    """Sum g over the axes along which an input of the shape was stretched, and stretch it along
    those that a reduction took away: what is left of broadcasting after a rule."""
    lead = g.ndim - len(shape)
    if lead == 1 and g.ndim == 2 and g.dtype.kind == "f":
        g = _sum_rows(g)
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
        raise ValueError(f"a rule made a gradient of shape {g.shape} for an input of shape {shape}:"
                         " they must be the same, or broadcast") from None
    return whole


fit          = op("fit", _fit,                  lambda g, z, x, shape: g)

# ---- indexing ------------------------------------------------------------------------------------


def _getitem(x, index):
    return x[index]


def _meets_each_entry_once(index):
    """Slices, integers and boolean masks do; integer arrays may repeat."""
    parts = index if isinstance(index, tuple) else (index,)
    return not any(isinstance(p, list | np.ndarray) and np.asarray(p).dtype.kind != "b" for p in parts)


def _scatter(g, index, shape):
    """Zeros of the shape, with g added at the index; where the index repeats, entries add up."""
    out = np.zeros(shape, np.asarray(g).dtype)
    if _meets_each_entry_once(index):
        out[index] = g
    elif out.size > 16 * np.size(g):                       # few rows of a large table
        np.add.at(out, index, g)
    else:                                                  # add.at is far faster along one axis
        places = np.arange(out.size).reshape(shape)[index]
        np.add.at(out.reshape(-1), places.reshape(-1), np.broadcast_to(g, places.shape).reshape(-1))
    return out


def _put(x, value, index):
    """x with value at the index."""
    out = np.array(x)
    out[index] = value
    return out


def _unread(g, z, x, index):
    """g at the index, 0 where nothing was read."""
    return scatter(g, index, shape=x.shape)


def _unwritten(g, z, x, value, index):
    """g, but 0 where x was overwritten."""
    return put(g, 0, index)


def _written(g, z, x, value, index):
    """g at the index; where it repeats, only the value that was written last is there."""
    part = g[index]
    if _meets_each_entry_once(index):
        return part
    turn = np.arange(part.size).reshape(part.shape)
    return np.where(_put(np.zeros(x.shape, int), turn, index)[index] == turn, part, 0)


def _along(axis, indices, shape):
    """The index tuple by which take_along_axis reads."""
    grid = list(np.ogrid[tuple(slice(n) for n in np.shape(indices))])
    grid[axis % len(shape)] = indices
    return tuple(grid)


def _untake(g, z, x, indices, axis=None):
    if axis is None:
        return scatter(g, indices, shape=(x.size,)).reshape(x.shape)
    return scatter(g, (slice(None),) * (axis % x.ndim) + (indices,), shape=x.shape)


def _untake_along(g, z, x, indices, axis=-1):
    if axis is None:
        return scatter(g, indices, shape=(x.size,)).reshape(x.shape)
    return scatter(g, _along(axis, indices, x.shape), shape=x.shape)


def _sort(x, axis=-1):
    return np.sort(x, axis=axis, kind="stable")


def _unsort(g, z, x, axis=-1):
    return _untake_along(g, z, x, np.argsort(x, axis=axis, kind="stable"), axis)


getitem  = op("x[i]", _getitem,    _unread, None)
scatter  = op("scatter", _scatter, lambda g, z, x, index, shape: g[index], None)
put      = op("x[i]=", _put,       _unwritten,
                                   _written, None)
take     = op("take", np.take, _untake, None)
take_along_axis = op("take_along_axis", np.take_along_axis, _untake_along, None)
sort     = op("sort", _sort, _unsort)

# ---- probabilities -------------------------------------------------------------------------------


def _short_axis_first(x, axis):
    """A contiguous copy of x to reduce along axis 0, where that is faster than along `axis`.

    NumPy reduces a last axis of a few classes some ten times more slowly than a first one.
    """
    if x.ndim > 1 and x.shape[axis] < 64:
        return x.swapaxes(axis, 0).copy(), 0
    return x, axis


def _less_maximum(x, axis):
    """x − max x along the axis, so that exp ≤ 1, and which axis of the result that is."""
    t, along = _short_axis_first(x, axis)
    return t - np.maximum.reduce(t, axis=along, keepdims=True), along


def _exp_and_sum(t, axis):
    """eᵗ and its sum along the axis."""
    e = np.exp(t)
    if axis == 0 and e.ndim == 2:
        return e, _sum_rows(e)
    return e, np.add.reduce(e, axis=axis, keepdims=True)


def _softmax(x, axis=-1):
    t, along = _less_maximum(x, axis)
    e, total = _exp_and_sum(t, along)
    e /= total
    return e if along == axis else e.swapaxes(axis, 0).copy()


def _log_softmax(x, axis=-1):
    t, along = _less_maximum(x, axis)
    t = t - np.log(_exp_and_sum(t, along)[1])
    return t if along == axis else t.swapaxes(axis, 0).copy()


def check(test):
    """A function that looks at values and raises: a captured kernel repeats it as it is."""
    @functools.wraps(test)
    def checked(*inputs):
        if type(inputs[0]) is np.ndarray or not hasattr(inputs[0], "__check__"):
            test(*inputs)
        else:
            inputs[0].__check__(test, inputs)
    return checked


@check
def _check_labels(x, labels):
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError("logits need shape (n, classes) and labels shape (n,), got labels of"
                         f" shape {labels.shape}")
    if labels.dtype.kind not in "iu":
        cure = ": y.astype(int)" if labels.dtype.kind in "bf" else ""
        raise TypeError(f"labels must be integers, got {labels.dtype}{cure}")
    if len(labels) and np.maximum.reduce(labels.view(f"u{labels.itemsize}")) >= x.shape[1]:   # negatives wrap
        raise IndexError(f"labels go from {labels.min()} to {labels.max()}, classes from 0 to"
                         f" {x.shape[1] - 1}")


def _places(labels, shape, axis):
    """Where (i, labelᵢ) stands in a flattened array of the shape whose classes lie on the axis."""
    labels = labels.astype(np.intp, copy=False)                        # room for the product
    n = shape[1]
    return labels * n + _range(n) if axis == 0 else labels + _range(math.prod(shape), n)


def _exponentials(x, labels):
    """x less its maxima, exp of that, its sums, and where the labels stand among these."""
    t, along = _less_maximum(x, -1)
    return t, *_exp_and_sum(t, along), _places(labels, t.shape, along), along


def _checked_exponentials(x, labels):
    _check_labels(x, labels)
    return _exponentials(x, labels)


def _cross_entropy(x, labels, shared=None):
    """Mean over rows i of log Σⱼ exp xᵢⱼ − xᵢ,labelᵢ, in nats."""
    t, _, total, here, _ = shared or _checked_exponentials(x, labels)
    return np.add.reduce(np.log(total).reshape(-1) - t.take(here)) / len(x)


def _residual(x, labels, shared=None):
    """softmax(x) − onehot(labels): how far the predicted distribution is from the labels."""
    _, e, total, here, along = shared or _exponentials(x, labels)
    p = e / total
    p.put(here, p.take(here) - 1)
    return p if along else p.swapaxes(0, 1)


def _slope_of_logits(x, labels, shared):
    return residual(x, labels) if shared is None else _residual(x, labels, shared)


def _softmax_rule(g, p, axis=-1):
    return p * (g - (g * p).sum(axis=axis, keepdims=True))


softmax       = op("softmax", _softmax,         lambda g, z, x, axis=-1: _softmax_rule(g, z, axis))
log_softmax   = op("log softmax", _log_softmax, lambda g, z, x, axis=-1:
                                                    g - np.exp(z) * g.sum(axis=axis, keepdims=True))
residual      = op("p − y", _residual,          lambda g, z, x, labels: _softmax_rule(g, softmax(x)),
                                                None)
cross_entropy = op("cross entropy", _cross_entropy,
                                                lambda g, z, x, labels, shared=None:
                                                    _slope_of_logits(x, labels, shared) * (g / len(x)),
                                                None, shared=_checked_exponentials)

# The whole book by name. A row's name in this table is its name in this file.
TABLE: dict[str, Op] = {name: row for name, row in list(globals().items()) if isinstance(row, Op)}


def row_named(name: str) -> Op:
    """The row of the operator table with this name."""
    return TABLE[name]


def register(**rows: Op) -> None:
    """Add rows that are defined beside the layers which use them.

    Raises
    ------
    ValueError
        If a name is taken, or is not the name of its row.
    """
    for name, row in rows.items():
        if TABLE.get(name, row) is not row or row.name != name:
            raise ValueError(f"the operator table cannot take {row} under the name {name!r}")
        TABLE[name] = row


# The rows by the NumPy function that they answer: ufuncs, and reductions by one.
UFUNCS: dict[Any, Op] = {
    row.kernel: row for row in TABLE.values() if isinstance(row.kernel, np.ufunc)
} | {np.matmul: matmul}
REDUCES: dict[Any, Op] = {
    (np.add, "reduce"): sum,
    (np.add, "accumulate"): cumsum,
    (np.multiply, "reduce"): prod,
    (np.maximum, "reduce"): max,
    (np.minimum, "reduce"): min,
}

# Functions whose answer has no gradient: they read values and answer with arrays.
READING: set[Any] = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.isfinite, np.isinf, np.isnan, np.signbit,
    np.allclose, np.array_equal, np.array_equiv, np.isclose, np.all, np.any, np.argmax,
    np.argmin, np.argsort, np.argwhere, np.nonzero, np.flatnonzero, np.count_nonzero,
    np.searchsorted, np.shape, np.ndim, np.size, np.zeros_like, np.ones_like,
    np.empty_like, np.result_type, np.can_cast, np.min_scalar_type, np.common_type,
    np.may_share_memory, np.shares_memory, np.array_repr, np.array_str, np.array2string,
    np.isin, np.digitize, np.iscomplexobj, np.isrealobj, np.isposinf, np.isneginf,
    np.unravel_index, np.ravel_multi_index,
}
