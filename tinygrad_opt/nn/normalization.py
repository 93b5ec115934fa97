"""Normalisation: mean 0 and variance 1, then a learned scale and shift."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_opt import kernels, ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.parameters import as_input, parameter, positive
from tinygrad_opt.recording import default_dtype, effect
from tinygrad_opt.tensor import Tensor, answer, apply
from tinygrad_opt.typing import Array, ArrayLike, DTypeLike, Shape, Size

# Squares of float16 overflow from 256 on: all is computed in float32 there, as in PyTorch.


def _centred(x: Array, axis: Shape) -> Array:
    """x − mean along the axes."""
    x = kernels.single(x)
    return x - kernels.sum_along(x, axis) / _count(x, axis)


def _length(x: Array, axis: Shape, eps: float) -> Array:
    """√(mean of x² + ε) along the axes."""
    x = kernels.single(x)
    return np.sqrt(kernels.dot_along(x, x, axis) / _count(x, axis) + eps)


def _count(x: Array, axis: Shape) -> int:
    return math.prod(x.shape[a] for a in axis)


def _in_dtype_of(x: Array, z: Array) -> Array:
    return z if z.dtype == x.dtype else z.astype(x.dtype)


def _rescale(x: Array, axis: Shape, eps: float, shared: Array | None = None) -> Array:
    """x / √(mean of x² + ε) along the axes."""
    return _in_dtype_of(x, x / (_length(x, axis, eps) if shared is None else shared))


def _rescale_vjp(
    g: Array, z: Array, x: Array, axis: Shape, eps: float, shared: Array | None = None
) -> Array:
    """What moves the length has no effect: it is taken out of g."""
    g, x = kernels.single(g), kernels.single(x)
    if shared is None:                                     # as a formula says it
        length = np.sqrt((x * x).mean(axis=axis, keepdims=True) + eps)
        return (g - z * (g * z).mean(axis=axis, keepdims=True)) / length
    along = z * (kernels.dot_along(g, z, axis) / -_count(x, axis))
    along += g
    along /= shared
    return along


def _standardized(x: Array, axis: Shape, eps: float) -> tuple[Array, Array]:
    """(x − mean) / √(var + ε) along the axes, and that root."""
    z = _centred(x, axis)
    spread = _length(z, axis, eps)
    z /= spread
    return z, spread


def _standardize(
    x: Array, axis: Shape, eps: float, shared: tuple[Array, Array] | None = None
) -> Array:
    z, _ = _standardized(x, axis, eps) if shared is None else shared
    return _in_dtype_of(x, z)


def _standardize_vjp(
    g: Array, z: Array, x: Array, axis: Shape, eps: float,
    shared: tuple[Array, Array] | None = None,
) -> Array:
    """As for `rescale`; what moves the mean has no effect either."""
    if shared is None:
        g, x = kernels.single(g), kernels.single(x)
        spread = np.sqrt(x.var(axis=axis, keepdims=True) + eps)
        along = g - g.mean(axis=axis, keepdims=True) - z * (g * z).mean(axis=axis, keepdims=True)
        return along / spread
    along = _rescale_vjp(g, z, x, axis, eps, shared[1])
    along -= kernels.sum_along(along, axis) / _count(x, axis)
    return along


def _scale_and_shift(x: Array, weight: Array, bias: Array) -> Array:
    z = x * weight
    z += bias
    return z


def _normalized(
    x: Array, weight: Array, bias: Array, axis: Shape, eps: float
) -> tuple[Array, Array, Array]:
    """x − mean, 1 / √(var + ε), and that times γ."""
    z = _centred(x, axis)
    inverse = 1 / _length(z, axis, eps)
    if x.size > kernels.KEPT and (*inverse.shape, *weight.shape) == (x.shape[0], 1, x.shape[-1]):
        return z, inverse, inverse.dot(weight.reshape((1, weight.size)))   # each row by γ, by BLAS
    return z, inverse, inverse * weight


def _normalize(
    x: Array, weight: Array, bias: Array, axis: Shape, eps: float,
    shared: tuple[Array, Array, Array] | None = None,
) -> Array:
    """γ (x − mean) / √(var + ε) + β."""
    z, _, scale = _normalized(x, weight, bias, axis, eps) if shared is None else shared
    return _in_dtype_of(x, _scale_and_shift(z, scale, bias))


def _normalize_vjps(
    g: Array, out: Array, x: Array, weight: Array, bias: Array, axis: Shape, eps: float,
    shared: tuple[Array, Array, Array] | None = None,
) -> list[Array]:
    """As for `standardize`, for γ by channel, or in the shape of the last axes."""
    z, inverse, scale = _normalized(x, weight, bias, axis, eps) if shared is None else shared
    g, n = kernels.single(g), _count(x, axis)
    gz, along = g * z, g * scale
    if scale.shape == inverse.shape:
        summed = kernels.sum_along(gz, axis)
        moved, slope = summed * scale, summed * inverse
    else:
        moved = kernels.dot_along(along, z, axis)
        slope = inverse.reshape((1, inverse.size)) @ gz.reshape((inverse.size, n))
        slope = slope.reshape(weight.shape)
    back = z * (moved * (inverse * inverse / -n))
    back -= kernels.sum_along(along, axis) / n
    back += along
    return [back, slope, g]


standardize = ops.op("standardize", _standardize, _standardize_vjp, shared=_standardized)
rescale = ops.op("rescale", _rescale, _rescale_vjp, shared=_length)
scale_and_shift = ops.op("scale and shift", _scale_and_shift,
                         lambda g, z, x, weight, bias: g * weight,
                         lambda g, z, x, weight, bias: g * x,
                         lambda g, z, x, weight, bias: g)
normalize = ops.op("normalize", _normalize, joint=_normalize_vjps, shared=_normalized)
ops.register(standardize=standardize, rescale=rescale, scale_and_shift=scale_and_shift,
             normalize=normalize)


@answers
def layer_norm(
    x: ArrayLike, weight: Tensor | None = None, bias: Tensor | None = None, *,
    shape: Size | None = None, eps: float = 1e-5,
) -> Tensor:
    """γ (x − mean) / √(var + ε) + β, each sample by its own mean and variance.

    Parameters
    ----------
    x : Tensor or array-like
    weight, bias : Tensor, optional
        γ and β, in the shape that is normalised over.
    shape : tuple of int, optional
        Lengths of the last axes, over which mean and variance are taken: the shape of `weight`,
        or the last axis.
    eps : float
        ε, which keeps constant samples finite.

    Returns
    -------
    Tensor of the shape of x

    Raises
    ------
    ShapeError
        If the last axes of x have other lengths.

    References
    ----------
    Ba, Kiros & Hinton, *Layer Normalization* (2016).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.layer_norm([[1.0, 3.0], [5.0, 5.0]], eps=0.0625).data.round(4)
    array([[-0.9701,  0.9701],
           [ 0.    ,  0.    ]], dtype=float32)
    """
    return _over_last_axes("layer norm", standardize, x, weight, bias, shape, eps)


@answers
def rms_norm(
    x: ArrayLike, weight: Tensor | None = None, *, shape: Size | None = None,
    eps: float | None = None,
) -> Tensor:
    """γ x / √(mean of x² + ε), each sample by its own root mean square.

    Parameters
    ----------
    x : Tensor or array-like
    weight : Tensor, optional
        γ, in the shape that is normalised over.
    shape : tuple of int, optional
        Lengths of the last axes, over which the mean is taken: the shape of `weight`, or the last
        axis.
    eps : float, optional
        ε, which keeps zeros finite; the machine epsilon of the dtype without it, as in PyTorch.

    Returns
    -------
    Tensor of the shape of x

    Raises
    ------
    ShapeError
        If the last axes of x have other lengths.

    References
    ----------
    Zhang & Sennrich, *Root Mean Square Layer Normalization* (2019).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.rms_norm([[3.0, 4.0, 0.0, 0.0]], eps=0.0).tolist()
    [[1.2000000476837158, 1.600000023841858, 0.0, 0.0]]
    """
    x = as_input(x, weight)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    return _over_last_axes("RMS norm", rescale, x, weight, None, shape, eps)


def _over_last_axes(
    name: str, op: ops.Op, x: ArrayLike, weight: Tensor | None, bias: Tensor | None,
    shape: Size | None, eps: float,
) -> Tensor:
    """Normalise over the last axes, then scale and shift."""
    x = as_input(x, weight)
    if shape is None:
        shape = x.shape[-1:] if weight is None else weight.shape
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    if x.shape[x.ndim - len(lengths):] != lengths:
        raise ShapeError(f"{name} over {lengths}: the input has shape {x.shape}")
    return _affine_of(op, x, weight, bias, axis=tuple(range(-len(lengths), 0)), eps=eps)


class LayerNorm(Module):
    """γ (x − mean) / √(var + ε) + β, each sample by its own mean and variance.

    Parameters
    ----------
    shape : int or tuple of int
        Lengths of the last axes, over which mean and variance are taken.
    eps : float
        ε, which keeps constant samples finite.
    affine : bool
        Whether there are γ, which starts as 1, and β, which starts as 0.
    dtype : dtype-like, optional
        Of the parameters.

    Attributes
    ----------
    weight, bias : Tensor of the given shape, or None
        γ and β.

    References
    ----------
    Ba, Kiros & Hinton, *Layer Normalization* (2016).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> z = nn.LayerNorm(4)(np.array([[1.0, 2.0, 3.0, 4.0]])).data
    >>> round(float(z.mean()), 3) + 0, round(float(z.std()), 3)
    (0.0, 1.0)
    """

    def __init__(
        self, shape: Size, eps: float = 1e-5, affine: bool = True, *, dtype: DTypeLike | None = None
    ) -> None:
        self.shape = _lengths("LayerNorm", shape, eps)
        self.eps = eps
        self.weight, self.bias = _affine(self.shape, affine, dtype)

    def forward(self, x: ArrayLike) -> Tensor:
        return layer_norm(x, self.weight, self.bias, shape=self.shape, eps=self.eps)

    def _options(self) -> str:
        return _one_or_all(self.shape)


class RMSNorm(Module):
    """γ x / √(mean of x² + ε), each sample by its own root mean square.

    Parameters
    ----------
    shape : int or tuple of int
        Lengths of the last axes, over which the mean is taken.
    eps : float, optional
        ε, which keeps zeros finite; the machine epsilon of the dtype without it, as in PyTorch.
    affine : bool
        Whether there is γ, which starts as 1.
    dtype : dtype-like, optional
        Of the parameter.

    Attributes
    ----------
    weight : Tensor of the given shape, or None
        γ.

    References
    ----------
    Zhang & Sennrich, *Root Mean Square Layer Normalization* (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> z = nn.RMSNorm(4)(np.array([[1.0, 2.0, 3.0, 4.0]])).data
    >>> round(float((z**2).mean()), 3)
    1.0
    """

    def __init__(
        self, shape: Size, eps: float | None = None, affine: bool = True, *,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.shape = _lengths("RMSNorm", shape, eps)
        self.eps = eps
        self.weight = _affine(self.shape, affine, dtype)[0]

    def forward(self, x: ArrayLike) -> Tensor:
        return rms_norm(x, self.weight, shape=self.shape, eps=self.eps)

    def _options(self) -> str:
        return _one_or_all(self.shape)


def _lengths(owner: str, shape: object, eps: object) -> tuple[int, ...]:
    lengths = tuple(shape) if np.iterable(shape) else (shape,)
    if isinstance(eps, int) and eps >= 1:
        raise ValueError(f"{owner}: the second argument is eps, a small number, got {eps!r}. The"
                         f" lengths of several axes are one tuple: {owner}({(*lengths, eps)}).")
    return positive(owner, **{f"shape[{i}]": n for i, n in enumerate(lengths)})


def _one_or_all(shape: tuple[int, ...]) -> str:
    return str(shape if len(shape) > 1 else shape[0])


@answers
def batch_norm(
    x: ArrayLike, mean: np.ndarray | None = None, var: np.ndarray | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, *,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:
    """γ (x − mean) / √(var + ε) + β, each channel by the mean and variance of the batch.

    Parameters
    ----------
    x : Tensor or array-like of shape (n, channels) or (n, channels, ...)
    mean, var : ndarray of shape (channels,), optional
        Running statistics: used if not `training`, else moved a part `momentum` of the way
        towards those of the batch (with the variance of n − 1), in place.
    weight, bias : Tensor of shape (channels,), optional
        γ and β.
    training : bool
        Whether to normalise by the batch; it is done without running statistics, too.
    momentum : float
        How far the running statistics move, from 0 (not at all) to 1 (to those of the batch).
    eps : float
        ε, which keeps constant channels finite.

    Returns
    -------
    Tensor of the shape of x

    Raises
    ------
    ShapeError
        If x has other channels, or one value per channel while training.

    References
    ----------
    Ioffe & Szegedy, *Batch Normalization* (2015).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.batch_norm([[7.0]], np.array([1.0]), np.array([4.0]), eps=0.0).tolist()
    [[3.0]]
    """
    like = weight if weight is not None or mean is None else Tensor(mean)
    x = as_input(x, like)
    if x.ndim < 2 or (like is not None and x.shape[1] != like.shape[0]):
        channels = "channels" if like is None else f"{like.shape[0]}"
        raise ShapeError(f"batch norm needs shape (n, {channels}, ...), got {x.shape}")
    along = (-1,) + (1,) * (x.ndim - 2)                    # (channels,) along axis 1
    weight, bias = (p if p is None or x.ndim == 2 else p.reshape(along) for p in (weight, bias))
    if not training and mean is not None and var is not None:
        x = x - mean.reshape(along)                        # both are asked anew at each replay
        return _affine_of(ops.multiply, x, weight, bias, answer(_inverse_root, var, eps, along))
    if x.size <= x.shape[1]:
        raise ShapeError(f"batch norm needs more than one value per channel to train on, got"
                         f" shape {x.shape}. Call model.eval() to use the running statistics.")
    if mean is not None and var is not None:
        effect(_follow, x._array, mean, var, momentum)     # a captured step follows too
    return _affine_of(standardize, x, weight, bias, axis=_all_but_channels(x), eps=eps)


def _inverse_root(var: np.ndarray, eps: float, shape: tuple[int, ...]) -> np.ndarray:
    """1 / √(var + ε)."""
    return (1 / np.sqrt(var + eps)).reshape(shape)


def _follow(x: np.ndarray, mean: np.ndarray, var: np.ndarray, momentum: float) -> None:
    """Let the running statistics follow those of the batch x."""
    axis, x = _all_but_channels(x), kernels.single(x)
    n = x.size // x.shape[1]
    mean += momentum * (x.mean(axis=axis) - mean)
    var += momentum * (x.var(axis=axis) * (n / (n - 1)) - var)


def _all_but_channels(x: Array | Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


class _BatchNorm(Module):
    """What the two share: they differ in how many axes they take."""

    buffers = ("running_mean", "running_var")
    axes: tuple[int, ...] = ()
    _shown = "{0.running_mean.size}"

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True,
        *, dtype: DTypeLike | None = None,
    ) -> None:
        shape = positive(type(self).__name__, channels=channels)
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = _affine(shape, affine, dtype)
        self.running_mean = np.zeros(shape, dtype or default_dtype())
        self.running_var = np.ones(shape, dtype or default_dtype())

    def forward(self, x: ArrayLike) -> Tensor:
        if np.ndim(x) not in self.axes:
            raise ShapeError(f"{type(self).__name__} needs {' or '.join(map(str, self.axes))} axes,"
                             f" got shape {np.shape(x)}")
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                          training=self.training, momentum=self.momentum, eps=self.eps)


class BatchNorm1d(_BatchNorm):
    """γ (x − mean) / √(var + ε) + β, each channel by the mean and variance of the batch.

    While training, running statistics follow those of the batches; in evaluation they are used.

    Parameters
    ----------
    channels : int
        Length of axis 1 of the input, of shape (n, channels) or (n, channels, length).
    eps : float
        ε, which keeps constant channels finite.
    momentum : float
        How far the running statistics move towards the batch's.
    affine : bool
        Whether there are γ, which starts as 1, and β, which starts as 0.
    dtype : dtype-like, optional
        Of parameters and statistics.

    Attributes
    ----------
    weight, bias : Tensor of shape (channels,), or None
        γ and β.
    running_mean, running_var : ndarray of shape (channels,)
        Buffers, which start as 0 and 1.

    References
    ----------
    Ioffe & Szegedy, *Batch Normalization* (2015).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> layer = nn.BatchNorm1d(2)
    >>> z = layer(np.array([[0.0, 5.0], [4.0, 7.0]]))
    >>> layer.running_mean
    array([0.2, 0.6], dtype=float32)
    """

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for images: each channel by its mean and variance over batch and pixels.

    Parameters
    ----------
    channels : int
        Length of axis 1 of the input, of shape (n, channels, height, width).
    eps : float
        ε, which keeps constant channels finite.
    momentum : float
        How far the running statistics move towards the batch's.
    affine : bool
        Whether there are γ, which starts as 1, and β, which starts as 0.
    dtype : dtype-like, optional
        Of parameters and statistics.

    Attributes
    ----------
    weight, bias : Tensor of shape (channels,), or None
        γ and β.
    running_mean, running_var : ndarray of shape (channels,)
        Buffers, which start as 0 and 1.

    References
    ----------
    Ioffe & Szegedy, *Batch Normalization* (2015).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> images = np.random.default_rng(0).normal(3.0, 2.0, (8, 2, 4, 4))
    >>> nn.BatchNorm2d(2)(images).data.mean(axis=(0, 2, 3)).round(3) + 0
    array([0., 0.], dtype=float32)
    """

    axes = (4,)


def _affine_of(
    op: ops.Op, x: Tensor, weight: Tensor | None, bias: Tensor | None, *others: Array,
    **attrs: object,
) -> Tensor:
    """γ op(x) + β."""
    along = attrs.get("axis", ())
    if (op is standardize and weight is not None and bias is not None
            and isinstance(along, tuple) and weight.ndim == len(along)):       # not of a stack
        return apply(normalize, x, weight, bias, **attrs)
    z = apply(op, x, *others, **attrs)
    if weight is not None and bias is not None:
        return apply(scale_and_shift, z, weight, bias)
    z = z if weight is None else z * weight
    return z if bias is None else z + bias


def _affine(
    shape: Shape, wanted: bool, dtype: DTypeLike | None
) -> tuple[Tensor | None, Tensor | None]:
    """γ = 1 and β = 0."""
    if not wanted:
        return None, None
    return (parameter("weight", shape, lambda shape, rng: np.ones(shape), dtype, None),
            parameter("bias", shape, "zeros", dtype, None))
