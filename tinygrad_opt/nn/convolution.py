"""Convolution and pooling: windows that slide over the last axes, and one matrix product.

`windows` views every window of an input, `add_windows` adds windows back where they came from.
Each is the other's vector-Jacobian product, so derivatives of any order are there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from types import EllipsisType
from typing import TypeAlias, cast

import numpy as np

from tinygrad_opt import kernels, ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn.init import Init
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.parameters import as_input, is_whole, positive, weight_and_bias
from tinygrad_opt.recording import composite
from tinygrad_opt.tensor import Tensor, apply
from tinygrad_opt.typing import Array, ArrayLike, DTypeLike, Seed, Shape, Size

Index: TypeAlias = tuple[EllipsisType | slice | int, ...]

# ---- windows -------------------------------------------------------------------------------------


def _windows(x: Array, size: Shape, stride: Shape) -> Array:
    """Windows of the last axes, (n, c, *positions, *size), without a copy."""
    axes = tuple(range(-len(size), 0))
    every = np.lib.stride_tricks.sliding_window_view(x, size, axes)
    steps = [slice(None, None, s) for s in stride]
    index: Index = (..., *steps, *[slice(None)] * len(size))
    return every[index]


def _add_windows(w: Array, size: Shape, stride: Shape, shape: Shape) -> Array:
    """Zeros of the shape, with each window added where it was taken from."""
    out = kernels.created("zeros", shape, w.dtype, like=w)
    counts = w.shape[-2 * len(size):-len(size)]
    for offset in itertools.product(*map(range, size)):
        steps = [slice(o, o + s * (n - 1) + 1, s) for o, s, n in zip(offset, stride, counts)]
        place: Index = (..., *steps)
        entry: Index = (..., *offset)
        out[place] += w[entry]
    return out


windows: ops.Op = ops.op(
    "windows", _windows,
    lambda g, z, x, size, stride: add_windows(g, size=size, stride=stride, shape=x.shape),
)
add_windows: ops.Op = ops.op(
    "Σ windows", _add_windows,
    lambda g, z, w, size, stride, shape: windows(g, size=size, stride=stride),
)
ops.register(windows=windows, add_windows=add_windows)


def _slid(
    name: str, x: Tensor, size: Shape, stride: Shape, padding: Shape, fill: float = 0.0
) -> Tensor:
    """Every window of a padded input; an input that is too small is an error that says so."""
    axes = len(size)
    if x.ndim != axes + 2:
        places = "length" if axes == 1 else "height, width"
        raise ShapeError(f"{name} needs shape (n, channels, {places}), got {x.shape}")
    if any(n + 2 * p < k for n, p, k in zip(x.shape[2:], padding, size)):
        raise ShapeError(f"{name}: a window of {size} does not fit into {x.shape[2:]}"
                         f" with padding {padding}")
    if any(padding):
        pads = ((0, 0), (0, 0), *((p, p) for p in padding))
        x = cast(Tensor, np.pad(x, pads, constant_values=fill))
    return apply(windows, x, size=size, stride=stride)


def _per_axis(name: str, axes: int, value: Size, least: int = 1) -> tuple[int, ...]:
    """One whole number for each axis, from one for all or one for each."""
    values = tuple(value) if isinstance(value, Iterable) else (value,) * axes
    if len(values) != axes or not all(is_whole(v, least) for v in values):
        cure = "; at stride 1 that is kernel // 2" if str(value) == "same" else ""
        raise ValueError(f"{name} needs {axes} whole numbers of at least {least}, got {value!r}"
                         + cure)
    return tuple(int(v) for v in values)


# ---- convolution ---------------------------------------------------------------------------------


def _convolve(
    name: str, x: ArrayLike, weight: Tensor, bias: Tensor | None, stride: Size, padding: Size
) -> Tensor:
    """Each filter times each window: (out, in · size) @ (in · size, n · positions)."""
    x = as_input(x, weight)
    out, channels, *size = weight.shape
    axes = len(size)
    if x.ndim > 1 and x.shape[1] != channels:
        last = x.ndim > 2 and x.shape[-1] == channels
        raise ShapeError(f"{name} of {x.shape}: {weight.name or 'the weight'} is for {channels}"
                         f" channels, axis 1 has {x.shape[1]}"
                         + ("; the last axis has them: np.moveaxis(x, -1, 1)" if last else ""))
    stride = _per_axis(f"{name}: stride", axes, stride)
    padding = _per_axis(f"{name}: padding", axes, padding, 0)
    with composite(f"{name.lower()} {'×'.join(map(str, size))}"):
        w = _slid(name, x, tuple(size), stride, padding)
        positions = w.shape[2:2 + axes]
        # positions last, so that the copy and both products run along memory
        order = (1, *range(2 + axes, 2 + 2 * axes), 0, *range(2, 2 + axes))
        columns = w.transpose(order).reshape((channels * math.prod(size), -1))
        if columns.op is None:                             # nothing of it is recorded
            columns.name = f"windows of {x.name}" if x.name else "windows"
            columns.inputs = (x,)                          # for drawings, which begin there
        z = weight.reshape((out, -1)) @ columns
        z = z if bias is None else z + bias.reshape((-1, 1))
        return z.reshape((out, len(x), *positions)).swapaxes(0, 1)


@answers
def conv1d(
    x: ArrayLike, weight: Tensor, bias: Tensor | None = None, *, stride: Size = 1, padding: Size = 0
) -> Tensor:
    """z[o, t] = Σ W[o, c, i] x[c, t·stride + i] + b[o]: filters that slide along a signal.

    Parameters
    ----------
    x : Tensor or array-like of shape (n, channels, length)
    weight : Tensor of shape (out, channels, size)
        W, a filter for each output channel.
    bias : Tensor of shape (out,), optional
        b.
    stride : int ≥ 1
        Step of the window.
    padding : int ≥ 0
        Zeros added at either end.

    Returns
    -------
    Tensor of shape (n, out, (length + 2 · padding − size) // stride + 1)

    Raises
    ------
    ShapeError
        If x has other channels or another number of axes, or is shorter than the filters.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> nn.conv1d([[[1.0, 2.0, 4.0]]], tg.Tensor([[[-1.0, 1.0]]])).tolist()
    [[[1.0, 2.0]]]
    """
    return _convolve("conv1d", x, weight, bias, stride, padding)


@answers
def conv2d(
    x: ArrayLike, weight: Tensor, bias: Tensor | None = None, *, stride: Size = 1, padding: Size = 0
) -> Tensor:
    """z[o, h, w] = Σ W[o, c, i, j] x[c, h·stride + i, w·stride + j] + b[o].

    Parameters
    ----------
    x : Tensor or array-like of shape (n, channels, height, width)
    weight : Tensor of shape (out, channels, size, size)
        W, a filter for each output channel; height and width may differ.
    bias : Tensor of shape (out,), optional
        b.
    stride : int ≥ 1 or (int, int)
        Step of the window, downwards and to the right.
    padding : int ≥ 0 or (int, int)
        Zeros added above and below, left and right.

    Returns
    -------
    Tensor of shape (n, out, rows, columns)
        rows = (height + 2 · padding − size) // stride + 1, and columns alike.

    Raises
    ------
    ShapeError
        If x has other channels or another number of axes, or is smaller than the filters.

    References
    ----------
    LeCun et al., *Gradient-Based Learning Applied to Document Recognition* (1998).

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> nn.conv2d(np.ones((1, 1, 3, 3)), tg.Tensor(np.ones((1, 1, 2, 2)))).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    return _convolve("conv2d", x, weight, bias, stride, padding)


class _Conv(Module):
    """What the convolutions of one and two axes share."""

    axes = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Size,
        *,
        stride: Size = 1,
        padding: Size = 0,
        bias: bool = True,
        init: Init = None,
        dtype: DTypeLike | None = None,
        rng: Seed = None,
    ) -> None:
        name = type(self).__name__
        n, m = positive(name, in_channels=in_channels, out_channels=out_channels)
        self.size = _per_axis(f"{name}: size", self.axes, size)
        self.stride = _per_axis(f"{name}: stride", self.axes, stride)
        self.padding = _per_axis(f"{name}: padding", self.axes, padding, 0)
        fan_in = n * math.prod(self.size)
        self.weight, self.bias = weight_and_bias(
            (m, n, *self.size), fan_in, m, bias, init, dtype, rng)

    def forward(self, x: ArrayLike) -> Tensor:
        return _convolve(type(self).__name__, x, self.weight, self.bias, self.stride, self.padding)

    def _options(self) -> str:
        out, channels, *size = self.weight.shape
        options = [f"{channels}, {out}, {'×'.join(map(str, size))}"]
        for name, values, usual in (("stride", self.stride, 1), ("padding", self.padding, 0)):
            if any(v != usual for v in values):
                options.append(f"{name}={'×'.join(map(str, values))}")
        return ", ".join(options if self.bias is not None else [*options, "bias=False"])


class Conv1d(_Conv):
    """Filters that slide along a signal: zₒₜ = Σ W[o, c, i] x[c, t·stride + i] + bₒ.

    Parameters
    ----------
    in_channels, out_channels : int
    size : int
        Length of the filters.
    stride, padding : int
        Step of the window; zeros added at either end.
    bias : bool
        Whether to add b.
    init : str, float or callable, optional
        Of the filters; see `nn.init`. Without it filters and bias start as U(−1/√m, 1/√m) for the
        m numbers under a filter, as PyTorch's do; with it the bias starts as 0.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Attributes
    ----------
    weight : Tensor of shape (out_channels, in_channels, size)
    bias : Tensor of shape (out_channels,), or None

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.Conv1d(2, 4, 3, padding=1, rng=0)(np.zeros((5, 2, 8))).shape
    (5, 4, 8)
    """

    axes = 1


class Conv2d(_Conv):
    """Filters that slide over an image: Σ W[o, c, i, j] x[c, h·stride + i, w·stride + j] + bₒ.

    Parameters
    ----------
    in_channels, out_channels : int
    size : int or (int, int)
        Height and width of the filters.
    stride, padding : int or (int, int)
        Step of the window; zeros added on all four sides.
    bias : bool
        Whether to add b.
    init : str, float or callable, optional
        Of the filters; see `nn.init`. Without it filters and bias start as U(−1/√m, 1/√m) for the
        m numbers under a filter, as PyTorch's do; with it the bias starts as 0.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Attributes
    ----------
    weight : Tensor of shape (out_channels, in_channels, height, width)
    bias : Tensor of shape (out_channels,), or None

    References
    ----------
    LeCun et al., *Gradient-Based Learning Applied to Document Recognition* (1998).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.Conv2d(1, 6, 3, stride=2, rng=0)(np.zeros((5, 1, 9, 9))).shape
    (5, 6, 4, 4)
    """

    axes = 2


# ---- pooling -------------------------------------------------------------------------------------


def _pooled(
    name: str, x: ArrayLike, size: Size, stride: Size | None, padding: Size, fill: float
) -> Tensor:
    """The windows of a pooling layer, to reduce along axis 0: short last axes are slow in NumPy."""
    x = as_input(x)
    size = _per_axis(f"{name}: size", 2, size)
    stride = size if stride is None else _per_axis(f"{name}: stride", 2, stride)
    padding = _per_axis(f"{name}: padding", 2, padding, 0)
    if any(2 * p > k for p, k in zip(padding, size)):
        raise ValueError(f"{name}: padding {padding} is more than half of the window {size}")
    w = _slid(name, x, size, stride, padding, fill).transpose((4, 5, 0, 1, 2, 3))
    return w.reshape((math.prod(size), *w.shape[2:]))


@answers
def max_pool2d(
    x: ArrayLike, size: Size, *, stride: Size | None = None, padding: Size = 0
) -> Tensor:
    """The largest entry of each window of an image.

    Parameters
    ----------
    x : Tensor or array-like of shape (n, channels, height, width)
    size : int or (int, int)
        Height and width of the window.
    stride : int or (int, int), optional
        Its step; its size without it, so that windows lie side by side.
    padding : int or (int, int)
        −∞ added on all four sides, half of the size at most.

    Returns
    -------
    Tensor of shape (n, channels, rows, columns)

    Raises
    ------
    ShapeError
        If x has another number of axes, or is smaller than the window.

    Notes
    -----
    Entries that tie share the gradient equally (PyTorch gives it to the first).

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.max_pool2d([[[[1.0, 2.0], [3.0, 4.0]]]], 2).tolist()
    [[[[4.0]]]]
    """
    with composite(f"max_pool2d {size}"):
        return _pooled("max_pool2d", x, size, stride, padding, -np.inf).max(axis=0)


@answers
def avg_pool2d(
    x: ArrayLike, size: Size, *, stride: Size | None = None, padding: Size = 0
) -> Tensor:
    """The mean of each window of an image, zeros of the padding included.

    Parameters
    ----------
    x : Tensor or array-like of shape (n, channels, height, width)
    size : int or (int, int)
        Height and width of the window.
    stride : int or (int, int), optional
        Its step; its size without it, so that windows lie side by side.
    padding : int or (int, int)
        Zeros added on all four sides, half of the size at most.

    Returns
    -------
    Tensor of shape (n, channels, rows, columns)

    Raises
    ------
    ShapeError
        If x has another number of axes, or is smaller than the window.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.avg_pool2d([[[[1.0, 2.0], [3.0, 4.0]]]], 2).tolist()
    [[[[2.5]]]]
    """
    with composite(f"avg_pool2d {size}"):
        return _pooled("avg_pool2d", x, size, stride, padding, 0.0).mean(axis=0)


class MaxPool2d(Module):
    """The largest entry of each window of an image (n, channels, height, width).

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    stride : int or (int, int), optional
        Its step; its size without it.
    padding : int or (int, int)
        −∞ added on all four sides.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """

    def __init__(self, size: Size, *, stride: Size | None = None, padding: Size = 0) -> None:
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: ArrayLike) -> Tensor:
        return max_pool2d(x, self.size, stride=self.stride, padding=self.padding)

    def _options(self) -> str:
        text = f"{self.size}" + ("" if self.stride is None else f", stride={self.stride}")
        return text + (f", padding={self.padding}" if self.padding else "")


class AvgPool2d(MaxPool2d):
    """The mean of each window of an image (n, channels, height, width).

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    stride : int or (int, int), optional
        Its step; its size without it.
    padding : int or (int, int)
        Zeros added on all four sides; they count in the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """

    def forward(self, x: ArrayLike) -> Tensor:
        return avg_pool2d(x, self.size, stride=self.stride, padding=self.padding)
