"""Recurrent networks: a cell that is stepped along a sequence and carries a state.

``cell.step(x, state)`` goes one step, in operations that a drawing shows one by one; calling the
cell runs a whole batch of sequences, in one operation.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_opt import kernels, ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn import init as initialisers
from tinygrad_opt.nn.activations import tanh
from tinygrad_opt.nn.linear import linear
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.parameters import as_input, check_bias, parameter, positive
from tinygrad_opt.tensor import Tensor, apply
from tinygrad_opt.typing import Array, ArrayLike, DTypeLike, Seed

# ---- what gated cells compute --------------------------------------------------------------------

# All gates of a step are one array, and what is made of them is one operation: a slice for each
# gate would cost an array of zeros for each in the backward pass.


def _parts(gates: Array, count: int) -> list[Array]:
    """The gates, which stand side by side along the last axis."""
    n = gates.shape[-1] // count
    return [gates[..., k * n:(k + 1) * n] for k in range(count)]


def _sigmoid(x: Array) -> Array:
    """σ(x) by way of tanh: as exact beside 1, which is what a gate is for, and faster."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _gru_parts(a: Array, b: Array) -> tuple[Array, Array]:
    """r and z = σ(a + b) side by side, and the candidate state n = tanh(a + r · b)."""
    n = a.shape[-1] // 3
    rz = _sigmoid(a[..., :2 * n] + b[..., :2 * n])
    return rz, np.tanh(a[..., 2 * n:] + rz[..., :n] * b[..., 2 * n:])


def _gru_gates(a: Array, b: Array) -> Array:
    """r, z and n side by side."""
    return np.concatenate(_gru_parts(a, b), axis=-1)


def _gru_gates_vjps(g: Array, gates: Array, a: Array, b: Array) -> list[Array]:
    """What reaches the sums inside σ, σ and tanh, by a and by b."""
    (gr, gz, gn), (r, z, n) = _parts(g, 3), _parts(gates, 3)
    dn = gn * (1 - n * n)
    dr, dz = (gr + dn * _parts(b, 3)[2]) * (r * (1 - r)), gz * (z * (1 - z))
    return [np.concatenate([dr, dz, dn], axis=-1), np.concatenate([dr, dz, dn * r], axis=-1)]


def _gru_hidden_state(gates: Array, h: Array) -> Array:
    """n + z (h − n)."""
    _, z, n = _parts(gates, 3)
    return n + z * (h - n)


def _gru_hidden_state_vjp(g: Array, out: Array, gates: Array, h: Array) -> Array:
    _, z, n = _parts(gates, 3)
    return np.concatenate([np.zeros_like(g), g * (h - n), g * (1 - z)], axis=-1)


def _lstm_parts(a: Array) -> tuple[Array, Array, Array]:
    """i and f = σ(a) side by side, the candidate state g = tanh(a), and o = σ(a)."""
    n = a.shape[-1] // 4
    return _sigmoid(a[..., :2 * n]), np.tanh(a[..., 2 * n:3 * n]), _sigmoid(a[..., 3 * n:])


def _lstm_gates(a: Array) -> Array:
    """i, f, g and o side by side."""
    return np.concatenate(_lstm_parts(a), axis=-1)


def _lstm_gates_vjp(d: Array, z: Array, a: Array) -> Array:
    """z (1 − z) behind σ, (1 + z) (1 − z) behind tanh."""
    order = kernels.created("array", [0, 0, 1, 0], a.dtype, like=a)
    behind_tanh = np.repeat(order, z.shape[-1] // 4)
    return d * ((z + behind_tanh) * (1 - z))


def _lstm_cell_state(gates: Array, c: Array) -> Array:
    """f c + i g."""
    i, f, g, _ = _parts(gates, 4)
    return f * c + i * g


def _lstm_cell_state_vjp(d: Array, out: Array, gates: Array, c: Array) -> Array:
    i, _, g, _ = _parts(gates, 4)
    return np.concatenate([d * g, d * c, d * i, np.zeros_like(d)], axis=-1)


def _tanh_of_cell(gates: Array, c: Array) -> Array:
    return np.tanh(c)


def _lstm_hidden_state(gates: Array, c: Array, shared: Array | None = None) -> Array:
    """o tanh(c)."""
    return _parts(gates, 4)[3] * (np.tanh(c) if shared is None else shared)


def _lstm_hidden_state_vjp(
    d: Array, out: Array, gates: Array, c: Array, shared: Array | None = None
) -> Array:
    do = d * (np.tanh(c) if shared is None else shared)
    none = np.zeros_like(do)
    return np.concatenate([none, none, none, do], axis=-1)


gru_gates = ops.op("GRU gates", _gru_gates, joint=_gru_gates_vjps)
gru_hidden_state = ops.op(
    "n + z(h−n)", _gru_hidden_state, _gru_hidden_state_vjp,
    lambda g, out, gates, h: g * _parts(gates, 3)[1],
)
lstm_gates = ops.op("LSTM gates", _lstm_gates, _lstm_gates_vjp)
lstm_cell_state = ops.op(
    "fc + ig", _lstm_cell_state, _lstm_cell_state_vjp,
    lambda d, out, gates, c: d * _parts(gates, 4)[1],
)
lstm_hidden_state = ops.op(
    "o tanh c", _lstm_hidden_state, _lstm_hidden_state_vjp,
    lambda d, out, gates, c, shared=None: d * _parts(gates, 4)[3] * (
        1 - (np.tanh(c) if shared is None else shared) ** 2),
    shared=_tanh_of_cell,
)

# ---- whole sequences -----------------------------------------------------------------------------

# What a layer computes of a whole batch, in one operation: `a` is x @ W_ih and the biases for all
# steps, (n, time, gates · hidden). Its backward pass goes through the steps in reverse, and then
# makes the gradient of W_hh by one product of all steps.


Made: TypeAlias = tuple[Array, ...]                        # of all steps, kind after kind


def _over_time(steps: Sequence[Array]) -> Array:
    return np.stack(steps, axis=1)


def _weight_gradient(h: Array, states: Sequence[Array], products: Array) -> Array:
    """hᵀ @ ∂L/∂(h @ W), added up over the steps, which begin with h and go on with the states."""
    before = kernels.as_rows(_over_time([h, *states[:-1]]))
    return before.mT @ kernels.as_rows(products)


def _rnn(a: Array, h: Array, w: Array) -> Array:
    """h' = tanh(a + h @ W) for each step."""
    states = []
    for t in range(a.shape[1]):
        h = np.tanh(a[:, t] + kernels.matmul(h, w))
        states.append(h)
    return _over_time(states)


def _rnn_vjps(g: Array, z: Array, a: Array, h: Array, w: Array) -> list[Array]:
    last, back, arrived = a.shape[1] - 1, w.mT, []
    gh: Any = None                                         # the gradient of a state
    for t in range(last, -1, -1):
        gh = g[:, t] if gh is None else g[:, t] + gh
        arrived.append(gh * (1 - z[:, t] * z[:, t]))
        gh = kernels.matmul(arrived[-1], back)
    ga = _over_time(arrived[::-1])
    return [ga, gh, _weight_gradient(h, [z[:, t] for t in range(last + 1)], ga)]


def _by_kind(made: Made, a: Array) -> list[Made]:
    """What was made in all steps, kind by kind."""
    time = a.shape[1]
    return [made[k:k + time] for k in range(0, len(made), time)]


def _gru_run(a: Array, h: Array, w: Array, *b: Array) -> Made:
    """Of each step h @ W + b, then r and z, then n, then h'."""
    made = []
    for t in range(a.shape[1]):
        product = ops.linear(h, w, *b) if b else kernels.matmul(h, w)
        gates, n = _gru_parts(a[:, t], product)
        h = n + _parts(gates, 2)[1] * (h - n)
        made.append((product, gates, n, h))
    return tuple(itertools.chain(*zip(*made)))


def _gru(a: Array, h: Array, w: Array, *b: Array, shared: Made | None = None) -> Array:
    """h' = n + z (h − n) for each step; see `_gru_parts`."""
    return _over_time(_by_kind(shared or _gru_run(a, h, w, *b), a)[-1])


def _gru_vjps(
    g: Array, out: Array, a: Array, h: Array, w: Array, *b: Array, shared: Made | None = None
) -> list[Array]:
    products, gates, candidates, states = _by_kind(shared or _gru_run(a, h, w, *b), a)
    back, arrived, by_products = w.mT, [], []
    gh: Any = None
    for t in range(len(states) - 1, -1, -1):
        gh = g[:, t] if gh is None else g[:, t] + gh
        (r, z), n = _parts(gates[t], 2), candidates[t]
        dn = gh * (1 - z) * (1 - n * n)
        dz = gh * ((states[t - 1] if t else h) - n)
        d = np.concatenate([dn * _parts(products[t], 3)[2], dz], axis=-1)
        d = d * (gates[t] * (1 - gates[t]))
        arrived.append(np.concatenate([d, dn], axis=-1))
        by_products.append(np.concatenate([d, dn * r], axis=-1))
        gh = gh * z + kernels.matmul(by_products[-1], back)
    gb = _over_time(by_products[::-1])
    return [_over_time(arrived[::-1]), gh, _weight_gradient(h, states, gb), gb]


def _lstm_run(a: Array, h: Array, c: Array, w: Array) -> Made:
    """Of each step i and f, then i g and f c, then g, then o, then tanh c', then h', then c'."""
    made = []
    for t in range(a.shape[1]):
        gates, g, o = _lstm_parts(a[:, t] + kernels.matmul(h, w))
        addends = gates * np.concatenate([g, c], axis=-1)
        ig, fc = _parts(addends, 2)
        c = ig + fc
        curved = np.tanh(c)
        h = o * curved
        made.append((gates, addends, g, o, curved, h, c))
    return tuple(itertools.chain(*zip(*made)))


def _lstm(a: Array, h: Array, c: Array, w: Array, shared: Made | None = None) -> Array:
    """h' = o tanh c' for each step, with c' = i g + f c; behind them the last c'."""
    *_, states, cells = _by_kind(shared or _lstm_run(a, h, c, w), a)
    return _over_time([*states, cells[-1]])


def _lstm_vjps(
    d: Array, out: Array, a: Array, h: Array, c: Array, w: Array, shared: Made | None = None
) -> list[Array]:
    gates, addends, candidates, o, curved, states, _ = _by_kind(
        shared or _lstm_run(a, h, c, w), a)
    back, arrived, dc = w.mT, [], d[:, len(o)]
    dh: Any = None
    for t in range(len(o) - 1, -1, -1):
        dh = d[:, t] if dh is None else d[:, t] + dh
        (i, f), (ig, _) = _parts(gates[t], 2), _parts(addends[t], 2)
        dc = dc + dh * (o[t] - states[t] * curved[t])                  # o (1 − tanh² c)
        arrived.append(np.concatenate([
            np.concatenate([dc, dc], axis=-1) * (addends[t] - addends[t] * gates[t]),
            dc * (i - ig * candidates[t]),                             # i (1 − g²)
            dh * (states[t] - states[t] * o[t])], axis=-1))            # tanh c · o (1 − o)
        dc, dh = dc * f, kernels.matmul(arrived[-1], back)
    da = _over_time(arrived[::-1])
    return [da, dh, dc, _weight_gradient(h, states, da)]


rnn = ops.op("RNN", _rnn, joint=_rnn_vjps)
gru = ops.op("GRU", _gru, joint=_gru_vjps, shared=_gru_run)
lstm = ops.op("LSTM", _lstm, joint=_lstm_vjps, shared=_lstm_run)
ops.register(
    gru_gates=gru_gates, gru_hidden_state=gru_hidden_state, lstm_gates=lstm_gates,
    lstm_cell_state=lstm_cell_state, lstm_hidden_state=lstm_hidden_state, rnn=rnn, gru=gru,
    lstm=lstm,
)

# ---- one step ------------------------------------------------------------------------------------


@answers
def rnn_step(
    x: ArrayLike, h: ArrayLike, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """h' = tanh(x @ W_ih + b_ih + h @ W_hh + b_hh).

    Parameters
    ----------
    x : Tensor or array-like of shape (n, in_features)
        Inputs of one time step.
    h : Tensor or array-like of shape (n, hidden)
        Hidden state.
    w_ih : Tensor of shape (in_features, hidden)
    w_hh : Tensor of shape (hidden, hidden)
    b_ih, b_hh : Tensor of shape (hidden,), optional

    Returns
    -------
    Tensor of shape (n, hidden)
        h', the next hidden state.

    References
    ----------
    Elman, *Finding Structure in Time* (1990).

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> one = tg.Tensor([[1.0]])
    >>> nn.rnn_step([[50.0]], [[50.0]], one, one).tolist()
    [[1.0]]
    """
    return tanh(linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh))


@answers
def gru_step(
    x: ArrayLike, h: ArrayLike, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """h' = (1 − z) n + z h, with reset gate r, update gate z and candidate state n.

        r, z = σ(x @ W_ih + b_ih + h @ W_hh + b_hh)
        n = tanh(x @ W_ih + b_ih + r · (h @ W_hh + b_hh))

    Parameters
    ----------
    x : Tensor or array-like of shape (n, in_features)
        Inputs of one time step.
    h : Tensor or array-like of shape (n, hidden)
        Hidden state.
    w_ih : Tensor of shape (in_features, 3 · hidden)
        The columns of r, z and n side by side.
    w_hh : Tensor of shape (hidden, 3 · hidden)
    b_ih, b_hh : Tensor of shape (3 · hidden,), optional

    Returns
    -------
    Tensor of shape (n, hidden)
        h', the next hidden state.

    References
    ----------
    Cho et al., *Learning Phrase Representations using RNN Encoder-Decoder* (2014), with the
    reset gate behind the product, as in PyTorch.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> w = tg.Tensor([[0.0, 0.0, 0.0]])
    >>> nn.gru_step([[5.0]], [[4.0]], w, w).tolist()
    [[2.0]]
    """
    gates = apply(gru_gates, linear(x, w_ih, b_ih), linear(h, w_hh, b_hh))
    return apply(gru_hidden_state, gates, h)


@answers
def lstm_step(
    x: ArrayLike, state: tuple[Any, Any], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """c' = f c + i g and h' = o tanh(c'): input, forget and output gate, candidate state g.

        i, f, o = σ(x @ W_ih + b_ih + h @ W_hh + b_hh)
        g = tanh(x @ W_ih + b_ih + h @ W_hh + b_hh)

    Parameters
    ----------
    x : Tensor or array-like of shape (n, in_features)
        Inputs of one time step.
    state : tuple of two Tensors or array-likes of shape (n, hidden)
        (h, c), hidden and cell state.
    w_ih : Tensor of shape (in_features, 4 · hidden)
        The columns of i, f, g and o side by side.
    w_hh : Tensor of shape (hidden, 4 · hidden)
    b_ih, b_hh : Tensor of shape (4 · hidden,), optional

    Returns
    -------
    tuple of two Tensors of shape (n, hidden)
        (h', c'), the next hidden and cell state.

    References
    ----------
    Hochreiter & Schmidhuber, *Long Short-Term Memory* (1997); Gers et al., *Learning to Forget*
    (2000), added f.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> w = tg.Tensor([[0.0, 0.0, 0.0, 0.0]])
    >>> h, c = nn.lstm_step([[5.0]], ([[9.0]], [[4.0]]), w, w)
    >>> c.tolist()
    [[2.0]]
    """
    h, c = state
    gates = apply(lstm_gates, linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh))
    c = apply(lstm_cell_state, gates, c)
    return apply(lstm_hidden_state, gates, c), c


# ---- layers --------------------------------------------------------------------------------------


class _Recurrent(Module):
    """What the three cells share: their parameters, the first state and the loop."""

    transposed_in_torch = ("weight_ih", "weight_hh")
    gates = 1

    def __init__(
        self, in_features: int, hidden: int, bias: bool = True, *,
        dtype: DTypeLike | None = None, rng: Seed = None,
    ) -> None:
        check_bias(bias)
        n, h = positive(type(self).__name__, in_features=in_features, hidden=hidden)
        rng = initialisers.generator(rng)
        start = functools.partial(initialisers.uniform, bound=h**-0.5)
        width = self.gates * h
        self.weight_ih = parameter("weight_ih", (n, width), start, dtype, rng)
        self.weight_hh = parameter("weight_hh", (h, width), start, dtype, rng)
        self.bias_ih = parameter("bias_ih", (width,), start, dtype, rng) if bias else None
        self.bias_hh = parameter("bias_hh", (width,), start, dtype, rng) if bias else None

    def first_state(self, shape: tuple[int, ...], dtype: DTypeLike | None) -> Any:
        """The state before the first step: zeros.

        Parameters
        ----------
        shape : tuple of int
            Of the samples, ``(n,)``.
        dtype : dtype-like

        Returns
        -------
        Tensor of shape (n, hidden), or a tuple of two for an LSTM
        """
        own = self.weight_hh
        return Tensor(kernels.created("zeros", (*shape, own.shape[0]), dtype, like=own._array),
                      name="h")

    def step(self, x: ArrayLike, state: object) -> Any:
        """Go one step.

        Parameters
        ----------
        x : Tensor or array-like of shape (n, in_features)
        state : Tensor or array-like of shape (n, hidden), or a tuple of two for an LSTM

        Returns
        -------
        Tensor, or a tuple of two Tensors
            The next state, of the same shape.
        """
        raise NotImplementedError

    def forward(self, x: ArrayLike, state: Any = None) -> tuple[Tensor, Any]:
        """Run whole sequences.

        Parameters
        ----------
        x : Tensor or array-like of shape (n, time, in_features)
        state : optional
            What an earlier call returned; zeros without it.

        Returns
        -------
        outputs : Tensor of shape (n, time, hidden)
            The hidden state after each step.
        state
            After the last step.

        Raises
        ------
        ShapeError
            If x has other axes, or no time step.
        """
        x = as_input(x, self.weight_ih)
        if x.ndim != 3 or not x.shape[1]:
            raise ShapeError(f"{type(self).__name__} needs sequences of shape (n, time, features)"
                             f" with at least one step, got {x.shape}")
        if state is None:
            state = self.first_state(x.shape[:1], x.dtype)
        for part in state if isinstance(state, tuple) else (state,):
            if np.ndim(part) > 2:
                raise ShapeError(f"{type(self).__name__} needs a state of shape (n, hidden), and no"
                                 f" axis of layers, got {np.shape(part)}")
        return self._run(x, state, *self._weights())

    def _run(self, x: Tensor, state: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any) -> Any:
        """The outputs of all steps, and the state after the last."""
        raise NotImplementedError

    def _weights(self) -> tuple[Any, ...]:
        self._note()                                       # step may be called by itself
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def _options(self) -> str:
        return f"{self.weight_ih.shape[0]}, {self.weight_hh.shape[0]}"


def _sum(b_ih: Any, b_hh: Any) -> Any:
    """Both biases, which are added to the same."""
    return None if b_ih is None else b_ih + b_hh


class RNN(_Recurrent):
    """The simple recurrent network: h' = tanh(x @ W_ih + b_ih + h @ W_hh + b_hh).

    Parameters
    ----------
    in_features, hidden : int
        Lengths of an input and of the hidden state.
    bias : bool
        Whether there are biases.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it. All
        parameters start as U(−1/√hidden, 1/√hidden), as PyTorch's do.

    Attributes
    ----------
    weight_ih : Tensor of shape (in_features, hidden)
    weight_hh : Tensor of shape (hidden, hidden)
    bias_ih, bias_hh : Tensor of shape (hidden,), or None

    Notes
    -----
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

    def step(self, x: ArrayLike, state: Any) -> Tensor:
        return rnn_step(x, state, *self._weights())

    def _run(self, x: Tensor, state: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any) -> Any:
        outputs = apply(rnn, linear(x, w_ih, _sum(b_ih, b_hh)), state, w_hh)
        return outputs, outputs[:, -1]


class GRU(_Recurrent):
    """Gated recurrent unit: a state that is kept or replaced, entry by entry; see `gru_step`.

    Parameters
    ----------
    in_features, hidden : int
        Lengths of an input and of the hidden state.
    bias : bool
        Whether there are biases.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it. All
        parameters start as U(−1/√hidden, 1/√hidden), as PyTorch's do.

    Attributes
    ----------
    weight_ih : Tensor of shape (in_features, 3 · hidden)
        The columns of r, z and n side by side.
    weight_hh : Tensor of shape (hidden, 3 · hidden)
    bias_ih, bias_hh : Tensor of shape (3 · hidden,), or None

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

    def step(self, x: ArrayLike, state: Any) -> Tensor:
        return gru_step(x, state, *self._weights())

    def _run(self, x: Tensor, state: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any) -> Any:
        b = () if b_hh is None else (b_hh,)
        outputs = apply(gru, linear(x, w_ih, b_ih), state, w_hh, *b)
        return outputs, outputs[:, -1]


class LSTM(_Recurrent):
    """Long short-term memory, whose state (h, c) is the hidden and the cell state; see `lstm_step`.

    Parameters
    ----------
    in_features, hidden : int
        Lengths of an input and of the hidden state.
    bias : bool
        Whether there are biases.
    dtype : dtype-like, optional
        Of the parameters; the default dtype, float32, without it.
    rng : optional
        Anything that `numpy.random.default_rng` takes; the package's generator without it. All
        parameters start as U(−1/√hidden, 1/√hidden), as PyTorch's do.

    Attributes
    ----------
    weight_ih : Tensor of shape (in_features, 4 · hidden)
        The columns of i, f, g and o side by side.
    weight_hh : Tensor of shape (hidden, 4 · hidden)
    bias_ih, bias_hh : Tensor of shape (4 · hidden,), or None

    References
    ----------
    Hochreiter & Schmidhuber, *Long Short-Term Memory* (1997); Gers et al., *Learning to Forget*
    (2000), added f.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> outputs, (h, c) = nn.LSTM(2, 8, rng=0)(np.zeros((5, 20, 2)))
    >>> outputs.shape, c.shape
    ((5, 20, 8), (5, 8))
    """

    gates = 4

    def first_state(self, shape: tuple[int, ...], dtype: DTypeLike | None) -> Any:
        h = super().first_state(shape, dtype)
        return h, Tensor(h, name="c")

    def step(self, x: ArrayLike, state: Any) -> tuple[Tensor, Tensor]:
        return lstm_step(x, state, *self._weights())

    def _run(self, x: Tensor, state: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any) -> Any:
        both = apply(lstm, linear(x, w_ih, _sum(b_ih, b_hh)), *state, w_hh)
        return both[:, :-1], (both[:, -2], both[:, -1])
