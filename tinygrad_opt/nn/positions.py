"""Positional embeddings: where in a sequence a vector stands, added to it.

Attention takes its input for a set; without them it could not tell "ab" from "ba".
"""

from __future__ import annotations

import numpy as np

from tinygrad_opt import kernels, ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn.init import Init
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.parameters import as_input, parameter, positive
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import ArrayLike, DTypeLike, Seed


class PositionalEmbedding(Module):
    """Adds to place t of a sequence row t of a table that is learned.

    Parameters
    ----------
    length : int
        The longest sequence.
    features : int
        Length of the last axis of the input, of shape (..., time, features).
    init : str, float or callable, optional
        Of the table; N(0, 1) without it. See `nn.init`.
    dtype : dtype-like, optional
        Of the table; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Attributes
    ----------
    weight : Tensor of shape (length, features)

    Raises
    ------
    ShapeError
        If a sequence is longer, or of other vectors.

    References
    ----------
    Gehring et al., *Convolutional Sequence to Sequence Learning* (2017).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.PositionalEmbedding(16, 4, rng=0)(np.zeros((5, 10, 4))).shape
    (5, 10, 4)
    """

    _shown = "{0.weight.shape[0]}, {0.weight.shape[1]}"

    def __init__(
        self, length: int, features: int, *, init: Init = None, dtype: DTypeLike | None = None,
        rng: Seed = None,
    ) -> None:
        shape = positive("PositionalEmbedding", length=length, features=features)
        self.weight = parameter("weight", shape, init, dtype, rng, "normal")

    def forward(self, x: ArrayLike) -> Tensor:
        x, (length, features) = as_input(x, self.weight), self.weight.shape
        if x.ndim < 2 or x.shape[-2] > length or x.shape[-1] != features:
            raise ShapeError(f"there are positions for sequences of shape (..., up to {length},"
                             f" {features}), got {x.shape}")
        return x + self.weight[:x.shape[-2]]


@answers
def sinusoidal_embedding(positions: ArrayLike, features: int, *, base: float = 10000.0) -> Tensor:
    """Position t as sines and cosines of many frequencies, like the hands of many clocks.

        P₂ᵢ = sin(t ωᵢ),  P₂ᵢ₊₁ = cos(t ωᵢ),  ωᵢ = base^(−2i / features)

    Parameters
    ----------
    positions : Tensor or array-like of any shape
        t, any numbers: places in a sequence, or times.
    features : int
        How many numbers tell a position.
    base : float
        The longest wave is 2π · base long.

    Returns
    -------
    Tensor of the shape of `positions`, then features

    References
    ----------
    Vaswani et al., *Attention Is All You Need* (2017), section 3.5.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.sinusoidal_embedding([0, 1], 4).data.round(2)
    array([[0.  , 1.  , 0.  , 1.  ],
           [0.84, 0.54, 0.01, 1.  ]], dtype=float32)
    """
    t, (features,) = as_input(positions), positive("sinusoidal_embedding", features=features)
    frequencies = base ** (-np.arange(0, features, 2) / features)
    angles = ops.expand_dims(t, axis=-1) * frequencies
    waves = ops.stack(np.sin(angles), np.cos(angles), axis=-1)
    return waves.reshape((*t.shape, -1))[..., :features]


class SinusoidalEmbedding(Module):
    """Adds to place t of a sequence its `sinusoidal_embedding`: nothing is learned.

    Parameters
    ----------
    features : int
        Length of the last axis of the input, of shape (..., time, features).
    base : float
        The longest wave is 2π · base long.

    Raises
    ------
    ShapeError
        If the input has other vectors.

    References
    ----------
    Vaswani et al., *Attention Is All You Need* (2017), section 3.5.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.SinusoidalEmbedding(4)(np.zeros((1, 2, 4))).data.round(2)
    array([[[0.  , 1.  , 0.  , 1.  ],
            [0.84, 0.54, 0.01, 1.  ]]], dtype=float32)
    """

    _shown = "{0.features}"

    def __init__(self, features: int, *, base: float = 10000.0) -> None:
        (self.features,), self.base = positive("SinusoidalEmbedding", features=features), base

    def forward(self, x: ArrayLike) -> Tensor:
        x = as_input(x)
        if x.ndim < 2 or x.shape[-1] != self.features:
            raise ShapeError(f"SinusoidalEmbedding needs shape (..., time, {self.features}), got"
                             f" {x.shape}")
        places = Tensor(kernels.created("arange", 0, x.shape[-2], 1, x.dtype, like=x._array))
        return x + sinusoidal_embedding(places, self.features, base=self.base)
