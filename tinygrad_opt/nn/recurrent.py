"""Recurrent networks: a cell that is stepped along a sequence, remembering as it goes.

Each class is the cell and the loop over it: ``cell.step(x, state)`` goes one step, and calling
it runs a whole batch of sequences.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.nn import init as initialisers
from tinygrad_opt.nn.activations import tanh
from tinygrad_opt.nn.linear import linear
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.parameters import as_input, parameter, positive
from tinygrad_opt.tensor import Tensor, apply

_sigmoid = ops.sigmoid.kernel

__all__ = ["GRU", "LSTM", "RNN", "gru_step", "lstm_step", "rnn_step"]


def rnn_step(
    x: Any, h: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """h' = tanh(x @ W_ih + b_ih + h @ W_hh + b_hh)."""
    return tanh(linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh))


# ---- gated cells ---------------------------------------------------------------------------------

# All gates of a step are one array, and what is made of them is one operation: a slice for each
# gate would cost an array of zeros for each, on the way back.


def _parts(z, count):
    """The gates that stand side by side in the columns."""
    n = z.shape[-1] // count
    return [z[..., k * n:(k + 1) * n] for k in range(count)]


def gru_gates(a, b):
    """r, z = σ(a + b), n = tanh(a + r · b)."""
    out, n = a + b, a.shape[-1] // 3
    out[..., :2 * n] = _sigmoid(out[..., :2 * n])
    out[..., 2 * n:] = np.tanh(a[..., 2 * n:] + out[..., :n] * b[..., 2 * n:])
    return out


def _gru_slopes(g, gates, b):
    """What reaches the sums inside σ, σ and tanh."""
    (gr, gz, gn), (r, z, n) = _parts(g, 3), _parts(gates, 3)
    dn = gn * (1 - n * n)
    return (gr + dn * _parts(b, 3)[2]) * (r * (1 - r)), gz * (z * (1 - z)), dn


def _gru_gates_rule_b(g, gates, a, b):
    dr, dz, dn = _gru_slopes(g, gates, b)
    return np.concatenate([dr, dz, dn * _parts(gates, 3)[0]], axis=-1)


def gru_hidden_state(gates, h):
    """n + z (h − n)."""
    _, z, n = _parts(gates, 3)
    return n + z * (h - n)


def _gru_hidden_state_rule(g, out, gates, h):
    _, z, n = _parts(gates, 3)
    return np.concatenate([np.zeros_like(g), g * (h - n), g * (1 - z)], axis=-1)


_gru_gates = ops.op(
    "GRU gates", gru_gates,
    lambda g, z, a, b: np.concatenate(_gru_slopes(g, z, b), axis=-1),
    _gru_gates_rule_b,
)
_gru_hidden_state = ops.op(
    "n + z(h−n)", gru_hidden_state, _gru_hidden_state_rule,
    lambda g, out, gates, h: g * _parts(gates, 3)[1],
)


def gru_step(
    x: Any, h: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """h' = (1 − z) n + z h, with gates r, z and a proposal n.

        r, z = σ(x @ W + h @ V)       n = tanh(x @ W + r · (h @ V))

    The weights hold the columns of r, z and n side by side. Each product has its bias.
    """
    gates = apply(_gru_gates, linear(x, w_ih, b_ih), linear(h, w_hh, b_hh))
    return apply(_gru_hidden_state, gates, h)


def lstm_gates(a):
    """i, f, o = σ(a), g = tanh(a)."""
    out, n = _sigmoid(a), a.shape[-1] // 4
    out[..., 2 * n:3 * n] = np.tanh(a[..., 2 * n:3 * n])
    return out


def _lstm_gates_rule(d, z, a):
    """z (1 − z) behind σ, (1 + z) (1 − z) behind tanh."""
    n = z.shape[-1] // 4
    behind_tanh = np.repeat(np.array([0, 0, 1, 0], a.dtype), n)
    return d * ((z + behind_tanh) * (1 - z))


def lstm_cell_state(gates, c):
    """f c + i g."""
    i, f, g, _ = _parts(gates, 4)
    return f * c + i * g


def _lstm_cell_state_rule(d, out, gates, c):
    i, _, g, _ = _parts(gates, 4)
    return np.concatenate([d * g, d * c, d * i, np.zeros_like(d)], axis=-1)


def lstm_hidden_state(gates, c):
    """o tanh(c)."""
    return _parts(gates, 4)[3] * np.tanh(c)


def _lstm_hidden_state_rule(d, out, gates, c):
    do = d * np.tanh(c)
    none = np.zeros_like(do)
    return np.concatenate([none, none, none, do], axis=-1)


_lstm_gates = ops.op("LSTM gates", lstm_gates, _lstm_gates_rule)
_lstm_cell_state = ops.op(
    "fc + ig", lstm_cell_state, _lstm_cell_state_rule,
    lambda d, out, gates, c: d * _parts(gates, 4)[1],
)
_lstm_hidden_state = ops.op(
    "o tanh c", lstm_hidden_state, _lstm_hidden_state_rule,
    lambda d, out, gates, c: d * _parts(gates, 4)[3] * (1 - np.tanh(c) ** 2),
)
ops.register(
    gru_gates=_gru_gates, gru_hidden_state=_gru_hidden_state, lstm_gates=_lstm_gates,
    lstm_cell_state=_lstm_cell_state, lstm_hidden_state=_lstm_hidden_state,
)


def lstm_step(
    x: Any, state: tuple[Any, Any], w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> tuple[Tensor, Tensor]:
    """c' = f c + i g and h' = o tanh(c'), for state (h, c), gates i, f, o and a proposal g.

        i, f, o = σ(x @ W + h @ V)    g = tanh(x @ W + h @ V)

    The weights hold the columns of i, f, g and o side by side. Each product has its bias.
    """
    h, c = state
    gates = apply(_lstm_gates, linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh))
    c = apply(_lstm_cell_state, gates, c)
    return apply(_lstm_hidden_state, gates, c), c


class _Recurrent(Module):
    """What the three cells share: their parameters, the first state and the loop."""

    transposed_in_torch = ("weight_ih", "weight_hh")
    gates = 1

    def __init__(
        self, in_features: int, hidden: int, bias: bool = True, *,
        dtype: Any = None, rng: Any = None,
    ) -> None:
        n, h = positive(type(self).__name__, in_features=in_features, hidden=hidden)
        rng = initialisers.generator(rng)
        start = functools.partial(initialisers.uniform, bound=h**-0.5)
        width = self.gates * h
        self.weight_ih = parameter("weight_ih", (n, width), start, dtype, rng)
        self.weight_hh = parameter("weight_hh", (h, width), start, dtype, rng)
        self.bias_ih = parameter("bias_ih", (width,), start, dtype, rng) if bias else None
        self.bias_hh = parameter("bias_hh", (width,), start, dtype, rng) if bias else None

    def _weights(self) -> tuple[Any, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def first_state(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Zeros for samples of the given shape."""
        return Tensor(np.zeros((*shape, self.weight_hh.shape[0]), dtype))

    def step(self, x: Any, state: Any) -> Any:
        """The state after one more input of shape (n, in_features)."""
        raise NotImplementedError

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Run whole sequences.

        Parameters
        ----------
        x : Tensor or array-like of shape (n, time, in_features)
        state : optional
            What an earlier call returned; zeros without it.

        Returns
        -------
        outputs : Tensor of shape (n, time, hidden)
        state
            After the last step.
        """
        x = as_input(x, self.weight_ih)
        if x.ndim != 3 or not x.shape[1]:
            raise ShapeError(f"{type(self).__name__} needs sequences of shape (n, time, features)"
                             f" with at least one step, got {x.shape}")
        if state is None:
            state = self.first_state(x.shape[:1], x.dtype)
        outputs = []
        for t in range(x.shape[1]):
            state = self.step(x[:, t], state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return ops.stack(*outputs, axis=1), state

    def _options(self) -> str:
        return f"{self.weight_ih.shape[0]}, {self.weight_hh.shape[0]}"


class RNN(_Recurrent):
    """The simple recurrent network: h' = tanh(x @ W_ih + b_ih + h @ W_hh + b_hh).

    Parameters
    ----------
    in_features, hidden : int
        Lengths of an input and of the state.
    bias : bool
        Whether there are biases.
    dtype, rng
        As for `Linear`. All parameters start as U(−1/√hidden, 1/√hidden), as PyTorch's do.

    Attributes
    ----------
    weight_ih : Tensor of shape (in_features, hidden)
    weight_hh : Tensor of shape (hidden, hidden)
    bias_ih, bias_hh : Tensor of shape (hidden,), or None
        The names and values of PyTorch's ``RNNCell``, weights transposed; ``nn.RNN`` there calls
        them ``weight_ih_l0`` and so on, which `nn.from_torch` takes too.

    References
    ----------
    Elman, *Finding Structure in Time* (1990).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> outputs, h = nn.RNN(2, 8, rng=0)(np.zeros((5, 20, 2)))
    >>> outputs.shape, h.shape
    ((5, 20, 8), (5, 8))
    """

    def step(self, x: Any, state: Any) -> Tensor:
        return rnn_step(x, state, *self._weights())


class GRU(_Recurrent):
    """Gated recurrent unit: a state that is kept or replaced, entry by entry; see `gru_step`.

    Parameters and attributes as for `RNN`, with three times as many columns.

    References
    ----------
    Cho et al., *Learning Phrase Representations using RNN Encoder-Decoder* (2014), with the
    reset gate behind the product, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> nn.GRU(2, 8, rng=0)(np.zeros((5, 20, 2)))[0].shape
    (5, 20, 8)
    """

    gates = 3

    def step(self, x: Any, state: Any) -> Tensor:
        return gru_step(x, state, *self._weights())


class LSTM(_Recurrent):
    """Long short-term memory: the state is (h, c), what is told and what is kept; see `lstm_step`.

    Parameters and attributes as for `RNN`, with four times as many columns.

    References
    ----------
    Hochreiter & Schmidhuber, *Long Short-Term Memory* (1997); Gers et al. (2000) added f.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> outputs, (h, c) = nn.LSTM(2, 8, rng=0)(np.zeros((5, 20, 2)))
    >>> outputs.shape, c.shape
    ((5, 20, 8), (5, 8))
    """

    gates = 4

    def first_state(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return super().first_state(shape, dtype), super().first_state(shape, dtype)

    def step(self, x: Any, state: Any) -> tuple[Tensor, Tensor]:
        return lstm_step(x, state, *self._weights())
