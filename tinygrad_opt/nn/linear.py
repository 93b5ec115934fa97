"""Layers that multiply by a matrix."""

from __future__ import annotations

from tinygrad_opt import ops
from tinygrad_opt.hints import answers
from tinygrad_opt.nn.init import Init
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.parameters import as_input, positive, weight_and_bias
from tinygrad_opt.tensor import Tensor, apply
from tinygrad_opt.typing import ArrayLike, DTypeLike, Seed


def linear(x: ArrayLike, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ W + b.

    Parameters
    ----------
    x : Tensor or array-like of shape (..., in)
    weight : Tensor of shape (in, out)
        W.
    bias : Tensor of shape (out,), optional
        b.

    Returns
    -------
    Tensor of shape (..., out)

    Raises
    ------
    ShapeError
        If the last axis of x is not as long as W has rows.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> nn.linear([[1.0, 2.0]], tg.Tensor([[1.0], [10.0]]), tg.Tensor([0.5])).tolist()
    [[21.5]]
    """
    x = as_input(x, weight)
    return x @ weight if bias is None else apply(ops.linear, x, weight, bias)


class Linear(Module):
    """A layer of neurons, each a weighted sum: x ↦ x @ W + b.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of the last axis of the input and of the output.
    bias : bool
        Whether to add b.
    init : str, float or callable, optional
        Of the weights; see `nn.init`. Without it weights and bias start as U(−1/√m, 1/√m) for m
        inputs, as PyTorch's do; with it the bias starts as 0.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Attributes
    ----------
    weight : Tensor of shape (in_features, out_features)
    bias : Tensor of shape (out_features,), or None

    Raises
    ------
    ValueError
        If a size is not a positive integer.

    Notes
    -----
    PyTorch holds the weight transposed; `nn.to_torch` and `nn.from_torch` turn it round.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> layer = nn.Linear(2, 3, rng=0)
    >>> layer(np.ones((5, 2))).shape
    (5, 3)
    """

    transposed_in_torch = ("weight",)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Init = None,
        dtype: DTypeLike | None = None,
        rng: Seed = None,
    ) -> None:
        n, m = positive("Linear", in_features=in_features, out_features=out_features)
        self.weight, self.bias = weight_and_bias((n, m), n, m, bias, init, dtype, rng)

    def forward(self, x: ArrayLike) -> Tensor:
        return linear(x, self.weight, self.bias)

    def _options(self) -> str:
        n, m = self.weight.shape[-2:]                      # a stack has an axis before them
        return f"{n}, {m}" + ("" if self.bias is not None else ", bias=False")


@answers
def bilinear(x: ArrayLike, y: ArrayLike, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """zₖ = xᵀ Wₖ y + bₖ.

    Parameters
    ----------
    x : Tensor or array-like of shape (..., m)
    y : Tensor or array-like of shape (..., n)
    weight : Tensor of shape (out, m, n)
        W, a matrix for each output.
    bias : Tensor of shape (out,), optional
        b.

    Returns
    -------
    Tensor of shape (..., out)

    Raises
    ------
    ShapeError
        If the last axes of x and y do not fit.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> nn.bilinear([1.0, 2.0], [3.0], tg.Tensor([[[1.0], [10.0]]])).tolist()
    [63.0]
    """
    x, y = as_input(x, weight), as_input(y, weight)
    rows = (ops.expand_dims(x, axis=(-2, -3)) @ weight)[..., 0, :]     # (..., out, n)
    z = (rows * ops.expand_dims(y, axis=-2)).sum(axis=-1)
    return z if bias is None else z + bias


class Bilinear(Module):
    """A weighted sum of the products of two inputs: zₖ = xᵀ Wₖ y + bₖ.

    Parameters
    ----------
    in1_features, in2_features, out_features : int
        Lengths of the last axes of x, y and z.
    bias : bool
        Whether to add b.
    init : str, float or callable, optional
        Of the weights; see `nn.init`. Without it weights and bias start as U(−1/√m, 1/√m) for the
        m numbers in x, as PyTorch's do; with it the bias starts as 0.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Attributes
    ----------
    weight : Tensor of shape (out_features, in1_features, in2_features)
    bias : Tensor of shape (out_features,), or None

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.Bilinear(2, 3, 4, rng=0)(np.ones((5, 2)), np.ones((5, 3))).shape
    (5, 4)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Init = None,
        dtype: DTypeLike | None = None,
        rng: Seed = None,
    ) -> None:
        m, n, out = positive("Bilinear", in1_features=in1_features, in2_features=in2_features,
                             out_features=out_features)
        # fan_in is that of the first input, as in PyTorch
        self.weight, self.bias = weight_and_bias((out, m, n), m, out, bias, init, dtype, rng)

    def forward(self, x: ArrayLike, y: ArrayLike) -> Tensor:
        return bilinear(x, y, self.weight, self.bias)

    def _options(self) -> str:
        out, m, n = self.weight.shape
        return f"{m}, {n}, {out}" + ("" if self.bias is not None else ", bias=False")
