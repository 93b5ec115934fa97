"""Attention: every place of a sequence looks at every other, and takes from those that matter."""

from __future__ import annotations

import functools
import math
from typing import Literal, overload

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn import init as initialisers
from tinygrad_opt.nn.activations import Activation, softmax
from tinygrad_opt.nn.activations import activation as activation_of
from tinygrad_opt.nn.dropout import Dropout, check_probability
from tinygrad_opt.nn.dropout import dropout as dropped
from tinygrad_opt.nn.linear import Linear
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.normalization import LayerNorm, RMSNorm
from tinygrad_opt.nn.parameters import as_input, positive
from tinygrad_opt.outside import as_operand
from tinygrad_opt.tensor import Tensor, answer
from tinygrad_opt.typing import ArrayLike, DTypeLike, Seed


@answers
@overload
def attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, mask: ArrayLike | None = ..., *,
    causal: bool = ..., dropout: float = ..., rng: Seed = ..., weights: Literal[False] = ...,
) -> Tensor: ...
@overload
def attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, mask: ArrayLike | None = ..., *,
    causal: bool = ..., dropout: float = ..., rng: Seed = ..., weights: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, mask: ArrayLike | None = None, *,
    causal: bool = False, dropout: float = 0.0, rng: Seed = None, weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(Q Kᵀ / √d) V: a mean of the values, weighted by how well their keys fit the query.

    Parameters
    ----------
    query : Tensor or array-like of shape (..., n, d)
        Q, a row for each place that looks.
    key : Tensor or array-like of shape (..., m, d)
        K, a row for each place that is looked at.
    value : Tensor or array-like of shape (..., m, v)
        V, what is found there.
    mask : Tensor or array-like, optional
        Broadcasts with (..., n, m). Of bool: True where a query may look. Of float: added to the
        scores Q Kᵀ / √d. A query that may look nowhere has weights that mean nothing, but are
        finite.
    causal : bool
        Whether place i sees no place after i.
    dropout : float in [0, 1]
        Probability with which a weight is set to 0.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.
    weights : bool
        Whether to return the weights too.

    Returns
    -------
    Tensor of shape (..., n, v), or a tuple of it and the weights of shape (..., n, m)
        The weights are those before dropout; each row of them adds up to 1.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    TypeError
        If the mask is neither bool nor float.

    References
    ----------
    Vaswani et al., *Attention Is All You Need* (2017), equation 1.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> x = [[1.0, 0.0], [0.0, 1.0]]
    >>> z, p = nn.attention(x, x, x, causal=True, weights=True)
    >>> p.data.round(2)
    array([[1.  , 0.  ],
           [0.33, 0.67]], dtype=float32)
    """
    q, k, v = (as_input(x, query) for x in (query, key, value))
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.mT
    if causal:
        scores = scores + _hides_what_follows(*scores.shape[-2:], scores.dtype)
    if mask is not None:
        hides = as_operand(mask)
        if hides.dtype.kind not in "bf":
            raise TypeError(f"attention: a mask is of bool or float, got {hides.dtype}")
        if hides.dtype.kind == "b":
            hides = answer(_hides, hides, scores.dtype)
        scores = scores + hides
    p = softmax(scores)
    z = (dropped(p, dropout, rng=rng) if dropout else p) @ v
    return (z, p) if weights else z


def _hides(mask: np.ndarray, dtype: DTypeLike | None) -> np.ndarray:
    """0 where the mask is True. Elsewhere so little that nothing is left of a score: −∞ would make
    nan of a row that is hidden as a whole."""
    return np.where(mask, 0, np.finfo(dtype).min / 2)


@functools.lru_cache(maxsize=64)
def _hides_what_follows(n: int, m: int, dtype: DTypeLike | None) -> np.ndarray:
    """The mask of `causal`, as it is added."""
    return _hides(np.tri(n, m, dtype=bool), dtype)


class MultiHeadAttention(Module):
    """Attention by several heads at once: each sees its own projection of queries, keys, values.

    Each of the h heads computes `attention` of (Q Wᵠ, K Wᵏ, V Wᵛ), columns of its own; what they
    find stands side by side and goes through one more linear layer.

    Parameters
    ----------
    features : int
        Length of the last axis of input and output.
    heads : int
        How many; divides `features`.
    causal : bool
        Whether place i sees no place after i.
    dropout : float in [0, 1]
        Probability with which a weight is set to 0 while training.
    bias : bool
        Whether the four linear layers add a bias, which starts as 0.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it. Weights
        start as Glorot's, and dropout draws from it.

    Attributes
    ----------
    query, key, value, out_proj : Linear
        The projections, each (features, features).

    Raises
    ------
    ValueError
        If heads do not divide features.

    Notes
    -----
    Call it with ``(query, key=None, value=None, mask=None, weights=False)``; keys are the queries
    without a word from you, and values the keys: self-attention. Inputs have shape (n, time,
    features), or (time, features). A mask broadcasts with (n, heads, time, time) and is True where
    a place may look, as in ``F.scaled_dot_product_attention``; PyTorch's ``MultiheadAttention``
    takes the opposite. To leave out padding: ``mask=(codes != PAD)[:, None, None, :]``. With
    ``weights=True`` it returns the weights of each head, too, of shape (n, heads, time, time).

    `nn.from_torch` takes the state of PyTorch's, which holds the first three as one ``in_proj``.

    References
    ----------
    Vaswani et al., *Attention Is All You Need* (2017), section 3.2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> layer = nn.MultiHeadAttention(8, 2, causal=True, rng=0)
    >>> z, p = layer(np.ones((5, 3, 8)), weights=True)
    >>> z.shape, p.shape
    ((5, 3, 8), (5, 2, 3, 3))
    """

    packed_in_torch = {                                    # noqa: RUF012
        "in_proj_weight": ("query.weight", "key.weight", "value.weight"),
        "in_proj_bias": ("query.bias", "key.bias", "value.bias"),
    }

    def __init__(
        self, features: int, heads: int, *, causal: bool = False, dropout: float = 0.0,
        bias: bool = True, dtype: DTypeLike | None = None, rng: Seed = None,
    ) -> None:
        n, self.heads = positive("MultiHeadAttention", features=features, heads=heads)
        if n % self.heads:
            raise ValueError(f"MultiHeadAttention: {heads} heads cannot share {n} features evenly")
        check_probability(dropout)
        rng = None if rng is None else initialisers.generator(rng)
        self.query, self.key, self.value, self.out_proj = (
            Linear(n, n, bias, init="xavier_uniform", dtype=dtype, rng=rng) for _ in range(4))
        self.causal, self.dropout, self.rng = causal, dropout, rng

    @answers
    def forward(
        self, query: ArrayLike, key: ArrayLike | None = None, value: ArrayLike | None = None,
        mask: ArrayLike | None = None, *, weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = (self._by_head(layer(x)) for layer, x in
                   ((self.query, query), (self.key, key), (self.value, value)))
        z, p = attention(q, k, v, mask, causal=self.causal, rng=self.rng, weights=True,
                         dropout=self.dropout if self.training else 0.0)
        z = z.swapaxes(-3, -2)                             # (..., time, heads, features / heads)
        z = self.out_proj(z.reshape((*z.shape[:-2], z.shape[-2] * z.shape[-1])))
        return (z, p) if weights else z

    def _by_head(self, x: Tensor) -> Tensor:
        """(..., time, features) as (..., heads, time, features / heads)."""
        if x.ndim < 2:
            raise ShapeError(f"attention needs shape (..., time, features), got {x.shape}")
        return x.reshape((*x.shape[:-1], self.heads, x.shape[-1] // self.heads)).swapaxes(-3, -2)

    def _options(self) -> str:
        n = self.query.weight.shape[0]
        return f"{n}, {self.heads}" + (", causal=True" if self.causal else "")


class TransformerBlock(Module):
    """Attention, then two linear layers at each place; both add to what they were given.

        x ← x + attention(norm(x))
        x ← x + linear₂(σ(linear₁(norm(x))))

    Parameters
    ----------
    features : int
        Length of the last axis of input and output.
    heads : int
        Of the attention; divides `features`.
    hidden : int, optional
        Between the two linear layers; 4 · features without it.
    activation : str or callable
        σ; see `nn.activation`.
    causal : bool
        Whether place i sees no place after i, as in a GPT.
    dropout : float in [0, 1]
        Probability of 0 while training: of the weights of the attention, behind σ, and of what is
        added to x.
    norm : {"layer", "rms"}
        `LayerNorm` or `RMSNorm`.
    norm_first : bool
        Whether to normalise before the two parts, as above, or the sums behind them:
        ``x ← norm(x + part(x))``.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it.

    Attributes
    ----------
    self_attn : MultiHeadAttention
    linear1, linear2 : Linear
    norm1, norm2 : LayerNorm or RMSNorm
        Of the attention and of the linear layers.

    Raises
    ------
    ValueError
        If heads do not divide features, or for an unknown norm or activation.

    Notes
    -----
    Call it with ``(x, mask=None, weights=False)``; see `MultiHeadAttention`. With
    ``activation="relu", norm_first=False`` it is PyTorch's ``TransformerEncoderLayer``, whose state
    `nn.from_torch` takes; ``norm_first=True`` is the form of GPT-2, which trains without warm-up.

    References
    ----------
    Vaswani et al., *Attention Is All You Need* (2017); Radford et al., *Language Models are
    Unsupervised Multitask Learners* (2019), for the norm in front.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.TransformerBlock(8, 2, causal=True, rng=0)(np.ones((5, 3, 8))).shape
    (5, 3, 8)
    """

    def __init__(
        self, features: int, heads: int, hidden: int | None = None,
        activation: Activation = "gelu", *,
        causal: bool = False, dropout: float = 0.0, norm: str = "layer", norm_first: bool = True,
        dtype: DTypeLike | None = None, rng: Seed = None,
    ) -> None:
        if norm not in ("layer", "rms"):
            raise ValueError(f'TransformerBlock: norm is "layer" or "rms", got {norm!r}')
        rng = None if rng is None else initialisers.generator(rng)
        self.self_attn = MultiHeadAttention(features, heads, causal=causal, dropout=dropout,
                                            dtype=dtype, rng=rng)
        hidden = 4 * features if hidden is None else hidden
        self.linear1 = Linear(features, hidden, dtype=dtype, rng=rng)
        self.linear2 = Linear(hidden, features, dtype=dtype, rng=rng)
        kind = LayerNorm if norm == "layer" else RMSNorm
        self.norm1, self.norm2 = kind(features, dtype=dtype), kind(features, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)
        self.activation, self.norm_first = activation_of(activation), norm_first

    @answers
    def forward(
        self, x: ArrayLike, mask: ArrayLike | None = None, *, weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        x = as_input(x, self.linear1.weight)
        found = self.self_attn(self.norm1(x) if self.norm_first else x, mask=mask, weights=weights)
        found, p = found if weights else (found, None)
        x = x + self.dropout(found)
        x = x if self.norm_first else self.norm1(x)
        h = self.activation(self.linear1(self.norm2(x) if self.norm_first else x))
        x = x + self.dropout(self.linear2(self.dropout(h)))
        x = x if self.norm_first else self.norm2(x)
        return (x, p) if weights else x

    def _options(self) -> str:
        return f"{self.self_attn._options()}, hidden={self.linear1.weight.shape[1]}"
