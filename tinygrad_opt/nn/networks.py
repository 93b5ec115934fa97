"""Networks made of layers: one after another, or fully connected."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn import init as initialisers
from tinygrad_opt.nn.activations import Activation, Layer
from tinygrad_opt.nn.activations import activation as activation_of
from tinygrad_opt.nn.dropout import Dropout
from tinygrad_opt.nn.init import Init
from tinygrad_opt.nn.linear import Linear
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.normalization import BatchNorm1d, LayerNorm
from tinygrad_opt.nn.parameters import positive
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import ArrayLike, DTypeLike, Seed


@answers
def flatten(x: ArrayLike, start_axis: int = 1) -> Tensor:
    """All axes from `start_axis` on as one: (n, c, h, w) becomes (n, c·h·w).

    Parameters
    ----------
    x : Tensor or array-like
    start_axis : int
        The first axis that is joined with those after it.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If x has no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.flatten(np.zeros((5, 2, 3, 4))).shape
    (5, 24)
    """
    x = x if type(x) is Tensor else Tensor(x)
    if not -x.ndim <= start_axis < max(x.ndim, 1):
        raise ShapeError(f"flatten from axis {start_axis}: the input has shape {x.shape}")
    return x.reshape((*x.shape[:start_axis], math.prod(x.shape[start_axis:])))


class Flatten(Module):
    """All axes from `start_axis` on as one, between convolutions and linear layers.

    Parameters
    ----------
    start_axis : int
        The first axis that is joined with those after it.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.Flatten()(np.zeros((5, 2, 3, 4))).shape
    (5, 24)
    """

    def __init__(self, start_axis: int = 1) -> None:
        self.start_axis = start_axis

    def forward(self, x: ArrayLike) -> Tensor:
        return flatten(x, self.start_axis)

    def _options(self) -> str:
        return "" if self.start_axis == 1 else f"{self.start_axis}"


class Sequential(Module):
    """One function after another: modules, or any functions of one Tensor.

    Parameters
    ----------
    *layers : callable
        Applied from left to right. Their parameters are called ``0.weight``, ``2.bias`` and so
        on, as PyTorch calls them.

    Raises
    ------
    TypeError
        If a layer cannot be called, or is a class.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> model = nn.Sequential(nn.Linear(2, 8, rng=0), np.tanh, nn.Linear(8, 1, rng=1))
    >>> list(model.parameters())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *layers: Layer) -> None:
        for layer in layers:
            if not callable(layer):
                raise TypeError(f"Sequential takes layers one by one, got {type(layer).__name__}")
            if isinstance(layer, type):
                raise TypeError(f"Sequential takes layers, got the class {layer.__name__}: make"
                                f" one, {layer.__name__}(...)")
        self.layers = list(layers)

    def _members(self) -> Iterator[tuple[str, Module | Tensor]]:
        return ((str(i), x) for i, x in enumerate(self.layers) if isinstance(x, Module | Tensor))

    def forward(self, x: ArrayLike) -> ArrayLike:
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, i: int) -> Layer: ...
    @overload
    def __getitem__(self, i: slice) -> Sequential: ...
    def __getitem__(self, i: int | slice) -> Layer | Sequential:
        return Sequential(*self.layers[i]) if isinstance(i, slice) else self.layers[i]

    def _options(self) -> str:
        plain = [_name(x) for x in self.layers if not isinstance(x, Module)]
        return ", ".join(plain)


class MLP(Module):
    """A fully connected network: x ↦ W_L σ(… σ(x W₀ + b₀) …) + b_L, rows of x are samples.

    Parameters
    ----------
    sizes : sequence of int
        Number of inputs, of neurons in each hidden layer, of outputs: ``[2, 16, 3]``.
    activation : str or callable
        σ, between the layers: ``"relu"``, ``"tanh"``, …, a function or a module.
    dropout : float
        Probability that a hidden activation is dropped while training.
    norm : {None, "layer", "batch"}
        Normalise what goes into each activation.
    output : str or callable, optional
        Applied to the result. The losses that end in ``with_logits`` and `cross_entropy` want none.
    bias : bool
        Whether the layers add b.
    init : str, float or callable, optional
        Of the weights; see `nn.init`. Without it they suit the activation: Kaiming uniform
        (He et al., 2015) before a ReLU or a relative of it, Xavier uniform (Glorot & Bengio,
        2010) before the others and at the output. The biases start as 0.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it. Weights
        and dropout draw from it.

    Raises
    ------
    ValueError
        For fewer than two sizes, or a size that is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> model = nn.MLP([2, 16, 3], activation="relu", rng=0)
    >>> model
    MLP(relu)
    ├─ layers.0: Linear(2, 16)
    └─ layers.1: Linear(16, 3)
    >>> model(np.zeros((5, 2))).shape
    (5, 3)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Activation = "relu",
        *,
        dropout: float = 0.0,
        norm: str | None = None,
        output: Activation | None = None,
        bias: bool = True,
        init: Init = None,
        dtype: DTypeLike | None = None,
        rng: Seed = None,
    ) -> None:
        sizes = _sizes(sizes)
        if norm not in (None, "layer", "batch"):
            raise ValueError(f'MLP: norm is None, "layer" or "batch", got {norm!r}')
        rng = None if rng is None else np.random.default_rng(rng)
        self.activation = activation_of(activation)
        starts = [_suiting(self.activation)] * (len(sizes) - 2) + ["xavier_uniform"]
        self.layers = [
            Linear(n, m, bias, init=start if init is None else init, dtype=dtype, rng=rng)
            for (n, m), start in zip(pairwise(sizes), starts)
        ]
        kind = {"layer": LayerNorm, "batch": BatchNorm1d}.get(norm or "")
        self.norms = [kind(n, dtype=dtype) for n in sizes[1:-1]] if kind else []
        self.dropout = Dropout(dropout, rng=rng) if dropout else None
        self.output = None if output is None else activation_of(output)

    def forward(self, x: ArrayLike) -> Tensor:
        *hidden, last = self.layers
        for i, layer in enumerate(hidden):
            x = layer(x)
            if self.norms:
                x = self.norms[i](x)
            x = self.activation(x)
            if self.dropout is not None:
                x = self.dropout(x)
        x = last(x)
        return x if self.output is None else self.output(x)

    def _options(self) -> str:
        name = _name(self.activation)
        return name if self.output is None else f"{name}, output={_name(self.output)}"


def _sizes(sizes: Sequence[int]) -> list[int]:
    numbers = list(sizes) if np.iterable(sizes) and not isinstance(sizes, str) else [sizes]
    if len(numbers) < 2:
        raise ValueError(f"MLP needs the numbers of inputs and of outputs at least, got {sizes!r}")
    return list(positive("MLP", **{f"sizes[{i}]": n for i, n in enumerate(numbers)}))


def _suiting(activation: Layer) -> initialisers.Initialiser:
    """The initialiser before an activation: He's where half of it is cut off, else Glorot's."""
    name = _name(activation)
    gain = initialisers.gain(name)
    cut = gain != 1 and name.lower() != "tanh"
    family = initialisers.kaiming_uniform if cut else initialisers.xavier_uniform
    return functools.partial(family, gain=gain)


def _name(function: Layer) -> str:
    """What a function, or a module that serves as one, is called."""
    return getattr(function, "__name__", type(function).__name__)
