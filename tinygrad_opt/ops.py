"""The operator table: every operation, its kernel and its vector-Jacobian products side by side.

A row is ``op(symbol, kernel, *vjps)``:

- ``z = kernel(*inputs, **attrs)`` computes the value;
- ``vjps[i](g, z, *inputs, **attrs)`` is ∂L/∂inputs[i] for g = ∂L/∂z, the product of g with the
  Jacobian ∂z/∂inputs[i]. ``None``: no gradient flows there (masks, labels, indices).

A VJP is plain NumPy code. Given arrays it runs at NumPy's speed; given Tensors the same text is
recorded, which is how higher derivatives come about; given symbols it writes its own formula. It
may return the gradient in any shape that broadcasts with the input's: the backward pass sums over
the axes along which the input was stretched, and stretches it along those that were reduced.

What is fast rather than obvious is in ``kernels``. Neither file has ever heard of ``Tensor``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_opt import kernels, vjps
from tinygrad_opt.typing import Array, Indices, Shape

Kernel: TypeAlias = Callable[..., Array | float]
VJP: TypeAlias = Callable[..., Array]
AllVJPs: TypeAlias = Callable[..., list[Array]]
VJPs: TypeAlias = "Sequence[VJP | None] | Joint"


class Op:
    """An operation: how it is written, computed and differentiated.

    Calling it runs the kernel, unless an input's type takes over by a method
    ``__apply_op__(op, inputs, attrs)``, as NumPy's ``__array_ufunc__`` lets types do.
    """

    __slots__ = ("kernel", "name", "shared", "symbol", "vjps")

    def __init__(
        self, symbol: str, kernel: Kernel, vjps: tuple[VJP | None, ...] | Joint,
        shared: Callable[..., object] | None = None,
    ) -> None:
        self.symbol = symbol
        self.kernel = kernel
        self.vjps = vjps
        self.shared = shared
        self.name = getattr(kernel, "__name__", symbol).strip("_<>")

    def __call__(self, *inputs: Any, **attrs: object) -> Any:
        if len(inputs) > len(self.vjps):                   # softmax(x, 0) would lose its axis
            raise TypeError(f"{self.name} takes {len(self.vjps)} input(s), got {len(inputs)}:"
                            " give options by name, as in axis=0")
        for x in inputs:
            take_over = getattr(x, "__apply_op__", None)
            if take_over is not None:
                return take_over(self, inputs, attrs)
        return self.kernel(*inputs, **attrs)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __deepcopy__(self, memo: object) -> Op:
        return self

    def __reduce__(self) -> tuple[Callable[[str], Op], tuple[str]]:
        if TABLE.get(self.name) is not self:
            raise TypeError(f"op {self.name} is not in the operator table and cannot be pickled")
        return row_named, (self.name,)


class Joint:
    """The VJPs of an operation on any number of inputs, all computed at once."""

    __slots__ = ("vjp",)

    def __init__(self, vjp: AllVJPs) -> None:
        self.vjp = vjp

    def __getitem__(self, i: int) -> VJP:
        return lambda g, z, *inputs, **attrs: self.vjp(g, z, *inputs, **attrs)[i]

    def __len__(self) -> int:
        return 1 << 62

    def __iter__(self) -> Iterator[VJP]:
        return map(self.__getitem__, itertools.count())


def op(
    symbol: str, kernel: Kernel, *vjps: VJP | None, joint: AllVJPs | None = None,
    shared: Callable[..., object] | None = None,
) -> Op:
    """Define an operation by its kernel and one vector-Jacobian product per input.

    Parameters
    ----------
    symbol : str
        What drawings show, for example ``"×"``.
    kernel : callable
        ``kernel(*inputs, **attrs)`` computes the value from arrays. Inputs are positional and
        may carry gradients; attributes are keywords and never do. Its ``__name__`` is the name
        that error messages use.
    *vjps : callable or None
        ``vjps[i](g, z, *inputs, **attrs)`` is the gradient with respect to input i, for the
        gradient g of the result z, written in NumPy functions and operators only. ``None``:
        no gradient flows to that input, and its dtype is left as it is.
    joint : callable, optional
        Instead of `vjps`, for any number of inputs: ``joint(g, z, *inputs, **attrs)`` returns
        the gradients with respect to all of them, in a list.
    shared : callable, optional
        ``shared(*inputs, **attrs)`` is what the kernel and the VJPs both need, to be computed
        once. They take it as an option ``shared=None``, and compute it themselves if it is None,
        as it is where the backward pass is recorded.

    Returns
    -------
    Op
        Call it with arrays or Tensors.

    Raises
    ------
    TypeError
        If the kernel or a VJP is not callable, or if both `vjps` and `joint` are given or
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
    if not callable(kernel) or any(vjp is not None and not callable(vjp) for vjp in vjps):
        raise TypeError(f"op {symbol!r}: the kernel and its VJPs must be functions")
    if bool(vjps) == (joint is not None):
        raise TypeError(f"op {symbol!r}: give one VJP per input, or joint=, and not both")
    return Op(symbol, kernel, vjps if joint is None else Joint(joint), shared)

# ---- arithmetic ----------------------------------------------------------------------------------

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
power        = op("**", kernels.power,   lambda g, z, x, y: g * (y * x ** vjps.exponent_less_one(x, y)),
                                         lambda g, z, x, y: g * (z * vjps.log_of_base(x, y, z.dtype)))
floor_divide = op("//", np.floor_divide, vjps.zero, vjps.zero)
remainder    = op("mod", np.remainder,   lambda g, z, x, y: g,                      # x − y⌊x/y⌋
                                         lambda g, z, x, y: -g * np.floor_divide(x, y))
square       = op("x²", np.square,       lambda g, z, x: g * (2 * x))
sqrt         = op("√",  np.sqrt,         lambda g, z, x: g / (2 * z))
cbrt         = op("∛",  np.cbrt,         lambda g, z, x: g / (3 * z * z))
reciprocal   = op("1/x", np.reciprocal,  lambda g, z, x: -g * z * z)
absolute     = op("|x|", np.absolute,    lambda g, z, x: g * np.sign(x))            # 0 at 0
sign         = op("sign", np.sign, vjps.zero)
floor        = op("⌊x⌋", np.floor, vjps.zero)
ceil         = op("⌈x⌉", np.ceil, vjps.zero)
trunc        = op("trunc", np.trunc, vjps.zero)
round        = op("round", np.round, lambda g, z, x, decimals=0: vjps.zero(g, z, x))

# ---- exponentials and logarithms -----------------------------------------------------------------


def _softmax_of_two(x: Array, y: Array) -> Array:
    """eˣ / (eˣ + eʸ); equal infinities weigh the same."""
    return sigmoid(kernels.where((x == y) & np.isinf(x), 0, x - y))


exp       = op("exp",   np.exp,       lambda g, z, x: g * z)
expm1     = op("expm1", np.expm1,     lambda g, z, x: g * (z + 1))
exp2      = op("2ˣ",    np.exp2,      lambda g, z, x: g * (z * math.log(2)))
log       = op("log",   np.log,       lambda g, z, x: g / x)
log1p     = op("log1p", np.log1p,     lambda g, z, x: g / (1 + x))
log2      = op("log₂",  np.log2,      lambda g, z, x: g / (x * math.log(2)))
log10     = op("log₁₀", np.log10,     lambda g, z, x: g / (x * math.log(10)))
logaddexp = op("logaddexp", kernels.logaddexp, lambda g, z, x, y: g * _softmax_of_two(x, y),
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
hypot   = op("hypot", kernels.hypot,   lambda g, z, x, y: g * vjps.ratio(x, z),
                                    lambda g, z, x, y: g * vjps.ratio(y, z))
sinh    = op("sinh", np.sinh,       lambda g, z, x: g * np.cosh(x))
cosh    = op("cosh", np.cosh,       lambda g, z, x: g * np.sinh(x))
tanh    = op("tanh", np.tanh,       lambda g, z, x: g * (1 - z * z))
arcsinh = op("arcsinh", np.arcsinh, lambda g, z, x: g / np.sqrt(1 + x * x))
arccosh = op("arccosh", np.arccosh, lambda g, z, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
arctanh = op("arctanh", np.arctanh, lambda g, z, x: g / (1 - x * x))

# ---- activations ---------------------------------------------------------------------------------


def _normal_cdf(x: Array) -> Array:
    """Φ(x), the normal distribution function."""
    return (1 + erf(x * math.sqrt(0.5))) * 0.5             # Φ(−x) = 1 − Φ(x)


def _gelu(x: Array, shared: Array | None = None) -> Array:
    return x * (kernels.normal_cdf(x) if shared is None else shared)


def _gelu_slope(x: Array, cdf: Array | None) -> Array:
    return (_normal_cdf(x) if cdf is None else cdf) + x * kernels.normal_density(x)   # Φ + xφ


_GELU = math.sqrt(2 / math.pi)


def _gelu_tanh_bend(x: Array) -> Array:
    """x where the tanh of `gelu_tanh` is not ±1 yet: beyond, x³ may overflow, and 0 · x² be nan."""
    return np.clip(x, -10, 10)


def _gelu_tanh_of(x: Array) -> Array:
    x = _gelu_tanh_bend(x)
    return np.tanh(_GELU * (x + 0.044715 * x * x * x))


def _gelu_tanh(x: Array, shared: Array | None = None) -> Array:
    return 0.5 * x * (1 + (_gelu_tanh_of(x) if shared is None else shared))


def _gelu_tanh_slope(x: Array, t: Array | None) -> Array:
    t, x = _gelu_tanh_of(x) if t is None else t, _gelu_tanh_bend(x)
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_GELU * (1 + 3 * 0.044715 * x * x))


def _silu(x: Array, shared: Array | None = None) -> Array:
    return x * (sigmoid(x) if shared is None else shared)


def _silu_slope(z: Array, x: Array, s: Array | None) -> Array:
    s = sigmoid(x) if s is None else s
    return s + z * (1 - s)


erf        = op("erf", kernels.erf,           lambda g, z, x: g * (np.exp(-x * x) * (2 / math.sqrt(math.pi))))
relu       = op("relu", kernels.relu,         lambda g, z, x:                        # 0 at 0, g at nan
                                                  g * (z != kernels.zeros_like(z)).astype(g.dtype))
leaky_relu = op("leaky relu", kernels.leaky_relu,
                                              lambda g, z, x, slope=0.01, shared=None:
                                                  kernels.where(x > 0, g, slope * g) if shared is None else g * shared,
                                              shared=kernels.leaky_factor)
elu        = op("elu", kernels.elu,           lambda g, z, x, alpha=1.0: kernels.where(x > 0, g, g * (z + alpha)))
sigmoid    = op("σ", kernels.sigmoid,         lambda g, z, x: g * (z * (1 - z)))
softplus   = op("softplus", kernels.softplus, lambda g, z, x: g * sigmoid(x))
silu       = op("silu", _silu,                lambda g, z, x, shared=None: g * _silu_slope(z, x, shared),
                                              shared=kernels.sigmoid)
gelu       = op("gelu", _gelu,                lambda g, z, x, shared=None: g * _gelu_slope(x, shared),
                                              shared=kernels.normal_cdf)
gelu_tanh  = op("gelu tanh", _gelu_tanh,      lambda g, z, x, shared=None: g * _gelu_tanh_slope(x, shared),
                                              shared=_gelu_tanh_of)

# ---- choosing ------------------------------------------------------------------------------------


def _clip(x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    return np.clip(x, low, high)


maximum = op("maximum", np.maximum, lambda g, z, x, y: vjps.winner(g, x, y),
                                    lambda g, z, x, y: vjps.winner(g, y, x))
minimum = op("minimum", np.minimum, lambda g, z, x, y: vjps.winner(g, y, x),
                                    lambda g, z, x, y: vjps.winner(g, x, y))
clip    = op("clip", _clip,         lambda g, z, x, low=None, high=None:             # g at the bounds
                                        kernels.where(np.logical_and(vjps.at_least(x, low), vjps.at_most(x, high)), g, 0),
                                    lambda g, z, x, low=None, high=None:
                                        kernels.where(np.logical_and(x < low, vjps.at_most(low, high)), g, 0),
                                    lambda g, z, x, low=None, high=None:
                                        kernels.where(vjps.ends_above(x, low, high), g, 0))
where   = op("where", kernels.where, None,
                                    lambda g, z, mask, x, y: kernels.where(mask, g, 0),
                                    lambda g, z, mask, x, y: kernels.where(mask, 0, g))

# ---- reductions ----------------------------------------------------------------------------------

sum       = op("Σ", np.sum,         lambda g, z, x, axis=None, keepdims=False:
                                        vjps.unreduce(g, x, axis, keepdims))
mean      = op("mean", np.mean,     lambda g, z, x, axis=None, keepdims=False:
                                        vjps.unreduce(g, x, axis, keepdims) / vjps.count(x, axis))
prod      = op("Π", np.prod,        lambda g, z, x, axis=None, keepdims=False:
                                        vjps.unreduce(g, x, axis, keepdims)
                                        * vjps.quotients(vjps.unreduce(z, x, axis, keepdims), x, axis=axis))
var       = op("var", np.var,       lambda g, z, x, axis=None, ddof=0, keepdims=False:
                                        vjps.unreduce(g, x, axis, keepdims)
                                        * (2 * vjps.centred(x, axis) / (vjps.count(x, axis) - ddof)))
std       = op("std", np.std,       lambda g, z, x, axis=None, ddof=0, keepdims=False:   # 0 at 0
                                        vjps.unreduce(g, x, axis, keepdims)
                                        * vjps.ratio(vjps.centred(x, axis), vjps.unreduce(z, x, axis, keepdims))
                                        / (vjps.count(x, axis) - ddof))
max       = op("max", np.max,       lambda g, z, x, axis=None, keepdims=False:
                                        vjps.share(g, z, x, axis, keepdims))
min       = op("min", np.min,       lambda g, z, x, axis=None, keepdims=False:
                                        vjps.share(g, z, x, axis, keepdims))
logsumexp = op("logsumexp", kernels.logsumexp, lambda g, z, x, axis=None, keepdims=False:
                                        vjps.unreduce(g, x, axis, keepdims)
                                        * vjps.weights(x, vjps.unreduce(z, x, axis, keepdims), axis))
norm      = op("‖x‖", kernels.norm, lambda g, z, x, axis=None, keepdims=False:           # 0 at 0
                                        vjps.unreduce(g, x, axis, keepdims)
                                        * vjps.ratio(x, vjps.unreduce(z, x, axis, keepdims)))
cumsum    = op("cumsum", kernels.cumsum, vjps.cumsum)
sum_to    = op("Σ to", kernels.sum_to, lambda g, z, x, shape: g)       # undoes broadcasting

# ---- products of matrices ------------------------------------------------------------------------


def _matmul_left(g: Array, x: Array, y: Array) -> Array:
    if g.ndim == y.ndim == 2:
        return g.dot(y.T)                                              # (n,k) = (n,m)(m,k)
    if y.ndim == 1:
        return np.expand_dims(g, -1) * y
    if x.ndim == 1:
        return matmul(y, np.expand_dims(g, -1))[..., 0]
    return matmul(g, kernels.mT(y))


def _matmul_right(g: Array, x: Array, y: Array) -> Array:
    if g.ndim == x.ndim == 2:
        return x.T.dot(g)                                              # (k,m) = (k,n)(n,m)
    if x.ndim == 1:
        return np.expand_dims(g, -2) * np.expand_dims(x, -1) if y.ndim > 1 else g * x
    if y.ndim == 1:
        return matmul(kernels.mT(x), np.expand_dims(g, -1))[..., 0]
    if y.ndim == 2 < x.ndim:                                           # all rows at once
        return kernels.mT(kernels.as_rows(x)) @ kernels.as_rows(g)
    return kernels.mT(x) @ g


def _diagonal_vjp(
    g: Array, z: Array, x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1
) -> Array:
    ends = (axis1, axis2), (-2, -1)
    shape = np.moveaxis(np.empty(x.shape, bool), *ends).shape
    return np.moveaxis(scatter(g, vjps.diagonal_index(shape, offset), shape=shape), *ends[::-1])


def _trace_vjp(
    g: Array, z: Array, x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1
) -> Array:
    length = np.diagonal(np.empty(x.shape, bool), offset, axis1, axis2).shape[-1]
    spread = np.broadcast_to(np.expand_dims(g, -1), (*g.shape, length))
    return _diagonal_vjp(spread, z, x, offset, axis1, axis2)


matmul   = op("@", kernels.matmul,  lambda g, z, x, y: _matmul_left(g, x, y),
                                    lambda g, z, x, y: _matmul_right(g, x, y))
linear   = op("x@W+b", kernels.linear, lambda g, z, x, w, b: _matmul_left(g, x, w),
                                    lambda g, z, x, w, b: _matmul_right(g, x, w),
                                    lambda g, z, x, w, b: g)
outer    = op("outer", np.outer,    lambda g, z, x, y: (g @ np.reshape(y, -1)).reshape(x.shape),
                                    lambda g, z, x, y: (np.reshape(x, -1) @ g).reshape(y.shape))
dot      = op("dot", np.dot,        lambda g, z, x, y: vjps.einsum(0, g, (x, y), vjps.dot_subscripts(x, y)),
                                    lambda g, z, x, y: vjps.einsum(1, g, (x, y), vjps.dot_subscripts(x, y)))
einsum   = op("einsum", kernels.einsum, joint=lambda g, z, *xs, subscripts:
                                    [vjps.einsum(i, g, xs, subscripts) for i in range(len(xs))])
diagonal = op("diagonal", np.diagonal, _diagonal_vjp)
trace    = op("trace", np.trace, _trace_vjp)

# ---- linear algebra ------------------------------------------------------------------------------


def _cofactor(x: Array) -> Array:
    return vjps.cofactors(*vjps.triple(svd(x), x))


solve    = op("solve", np.linalg.solve, joint=vjps.solve)
cholesky = op("cholesky", kernels.cholesky, vjps.cholesky)
eigh     = op("eigh", kernels.eigh, vjps.eigh)
svd: Op  = op("svd", kernels.svd, vjps.svd)
det      = op("det", np.linalg.det, lambda g, z, x: g[..., None, None] * cofactor(x))
cofactor: Op = op("cofactor", _cofactor, lambda g, z, x: vjps.cofactor(g, *vjps.triple(svd(x), x)))
slogdet  = op("slogdet", kernels.slogdet,                        # the sign is flat
                                    lambda g, z, x: g[1][..., None, None] * kernels.mT(np.linalg.inv(x)))

# ---- shape ---------------------------------------------------------------------------------------


def _reshape(x: Array, shape: Shape) -> Array:
    return np.reshape(x, shape)


def _transpose(x: Array, axes: Shape | None = None) -> Array:
    return np.transpose(x, axes)


def _cast(x: Array, dtype: np.dtype) -> Array:
    return x.astype(dtype)


def _pad(x: Array, pad_width: Sequence[tuple[int, int]]) -> Array:
    return np.pad(x, pad_width)


def _concatenate(*arrays: Array, axis: int = 0) -> Array:
    return np.concatenate(arrays, axis=axis)


def _stack(*arrays: Array, axis: int = 0) -> Array:
    return np.stack(arrays, axis=axis)


def _unrepeat(g: Array, z: Array, x: Array, repeats: Array, axis: int | None = None) -> Array:
    n = x.size if axis is None else x.shape[axis]
    if isinstance(repeats, int):
        lead, rest = ((), ()) if axis is None else (x.shape[:axis % x.ndim],
                                                    x.shape[axis % x.ndim + 1:])
        return g.reshape((*lead, n, repeats, *rest)).sum(axis=len(lead) + 1).reshape(x.shape)
    return _untake(g, z, x, np.repeat(np.arange(n), repeats), axis)


reshape      = op("reshape", _reshape,          lambda g, z, x, shape: g.reshape(x.shape))
ravel        = op("ravel", np.ravel,            lambda g, z, x: g.reshape(x.shape))
transpose    = op("transpose", _transpose,      lambda g, z, x, axes=None: np.transpose(g, vjps.inverse(axes)))
swapaxes     = op("swapaxes", np.swapaxes,      lambda g, z, x, axis1, axis2:
                                                    np.swapaxes(g, axis1, axis2))
moveaxis     = op("moveaxis", np.moveaxis,      lambda g, z, x, source, destination:
                                                    np.moveaxis(g, destination, source))
squeeze      = op("squeeze", np.squeeze,        lambda g, z, x, axis=None: g.reshape(x.shape))
expand_dims  = op("expand_dims", np.expand_dims, lambda g, z, x, axis: g.reshape(x.shape))
broadcast_to = op("broadcast_to", np.broadcast_to, lambda g, z, x, shape: g)
flip         = op("flip", np.flip,              lambda g, z, x, axis=None: np.flip(g, axis))
roll         = op("roll", np.roll,              lambda g, z, x, shift, axis=None:
                                                    np.roll(g, vjps.negated(shift), axis))
tile         = op("tile", np.tile, vjps.untile)
repeat       = op("repeat", np.repeat, _unrepeat)
pad          = op("pad", _pad, vjps.unpad)
concatenate  = op("concatenate", _concatenate, joint=vjps.split)
stack        = op("stack", _stack, joint=vjps.unstack)
cast         = op("cast", _cast,                lambda g, z, x, dtype: g)
copy         = op("copy", np.copy,              lambda g, z, x: g)

# ---- indexing ------------------------------------------------------------------------------------


def _getitem(x: Array, index: Indices) -> Array:
    return x[index]


def _unwritten(g: Array, z: Array, x: Array, value: Array, index: Indices) -> Array:
    """g, but 0 where x was overwritten."""
    return put(g, 0, index)


def _written(g: Array, z: Array, x: Array, value: Array, index: Indices) -> Array:
    """g at the index; where it repeats, only the value that was written last is there."""
    part = g[index]
    if kernels.reads_each_entry_once(index):
        return part
    turn = kernels.created("arange", part.size, like=part).reshape(part.shape)
    none = kernels.created("zeros", x.shape, int, like=part)
    last = kernels.put(none, turn, index)[index] == turn
    return np.where(last, part, 0)


def _untake(g: Array, z: Array, x: Array, indices: Array, axis: int | None = None) -> Array:
    if axis is None:
        return scatter(g, indices, shape=(x.size,)).reshape(x.shape)
    return scatter(g, (slice(None),) * (axis % x.ndim) + (indices,), shape=x.shape)


def _untake_along(g: Array, z: Array, x: Array, indices: Array, axis: int | None = -1) -> Array:
    if axis is None:
        return scatter(g, indices, shape=(x.size,)).reshape(x.shape)
    return scatter(g, vjps.along(axis, indices, x.shape), shape=x.shape)


def _unsort(g: Array, z: Array, x: Array, axis: int = -1) -> Array:
    return _untake_along(g, z, x, np.argsort(x, axis=axis, kind="stable"), axis)


getitem: Op = op("x[i]", _getitem,    lambda g, z, x, index: scatter(g, index, shape=x.shape), None)
scatter: Op = op("scatter", kernels.scatter, lambda g, z, x, index, shape: g[index], None)
put      = op("x[i]=", kernels.put, _unwritten,
                                   _written, None)
take     = op("take", np.take, _untake, None)
take_along_axis = op("take_along_axis", np.take_along_axis, _untake_along, None)
sort     = op("sort", np.sort, _unsort)

# ---- probabilities -------------------------------------------------------------------------------


def _slope_of_logits(x: Array, labels: Array, shared: kernels.Exponentials | None) -> Array:
    return residual(x, labels) if shared is None else kernels.residual(x, labels, shared)


softmax       = op("softmax", kernels.softmax, lambda g, z, x, axis=-1:
                                                   kernels.softmax_vjp(g, z, axis=axis))
log_softmax   = op("log softmax", kernels.log_softmax,
                                               lambda g, z, x, axis=-1:
                                                   kernels.log_softmax_vjp(g, z, axis=axis))
residual      = op("p − y", kernels.residual,  lambda g, z, x, labels:
                                                   kernels.softmax_vjp(g, softmax(x), axis=-1),
                                               None)
cross_entropy = op("cross entropy", kernels.cross_entropy,
                                               lambda g, z, x, labels, shared=None:  # (p − y) / n
                                                   _slope_of_logits(x, labels, shared) * (g / len(x)),
                                               None, shared=kernels.checked_exponentials)

# The whole table by name. A row's name in it is its name in this file.
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
UFUNCS: dict[np.ufunc, Op] = {
    row.kernel: row for row in TABLE.values() if isinstance(row.kernel, np.ufunc)
} | {np.matmul: matmul, np.power: power, np.logaddexp: logaddexp, np.hypot: hypot}
REDUCES: dict[tuple[np.ufunc, str], Op] = {
    (np.add, "reduce"): sum,
    (np.add, "accumulate"): cumsum,
    (np.multiply, "reduce"): prod,
    (np.maximum, "reduce"): max,
    (np.minimum, "reduce"): min,
}
