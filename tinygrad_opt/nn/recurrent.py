"""Recurrent networks: a cell that is stepped along a sequence and carries a state.

``cell.step(x, state)`` goes one step, in operations that a drawing shows one by one; calling the
cell runs a whole batch of sequences, in one operation.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any, ClassVar

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
# steps, (time, n, gates · hidden). Both passes are written twice, step by step, as they are
# recorded, and in place: there the gates of a step lie one behind the other, and all calls but
# the products are on arrays of one shape without gaps, which NumPy is fastest at. The gradient of
# W_hh is one product of all steps.


def _of_one_dtype(*arrays: Array) -> list[Array]:
    """Floats of one dtype: products in place take no others."""
    dtype = np.result_type(*arrays, np.float16)
    return [np.asarray(x, dtype) for x in arrays]


def _by_gate(rows: Array, count: int) -> Array:
    """Gates that stand side by side, as one behind the other."""
    return rows.reshape((*rows.shape[:-1], count, rows.shape[-1] // count)).swapaxes(-2, -3)


def _rows(x: Array) -> Array:
    """Each row as one item, which NumPy copies at once."""
    return x.view((np.void, x.shape[-1] * x.itemsize))


def _last_of_each_step_by_step(made: Array, count: int) -> Array:
    """What each step made last, of so many."""
    rows = [made[k] for k in range(count - 1, made.shape[0], count)]
    return np.stack(rows) if rows else made


@kernels.primitive(_last_of_each_step_by_step, like=False)
def _last_of_each(made: Array, count: int, out: Array | None = None) -> Array:
    """The same at once."""
    return np.concatenate([made[count - 1::count]], out=out)


def _weight_gradient(before: Array, products: Array) -> Array:
    """hᵀ @ ∂L/∂(h @ W), added up over the steps; before the first, h is 0 if it is not there."""
    products = products[products.shape[0] - before.shape[0]:]
    return kernels.mT(kernels.as_rows(before)) @ kernels.as_rows(products)


def _rnn_step_by_step(a: Array, w: Array, *h: Array) -> Array:
    """h' = tanh(a + h @ W) for each step."""
    states = [*h]
    for t in range(a.shape[0]):
        states.append(np.tanh(a[t] + kernels.matmul(states[-1], w) if states else a[t]))
    return np.stack(states[len(h):])


@kernels.primitive(_rnn_step_by_step, like=False)
def _rnn(
    a: Array, w: Array, *h: Array, out: Array | None = None, do: ModuleType = np
) -> Array:
    """The same in place."""
    a, w, *first = _of_one_dtype(a, w, *h)
    out = np.empty_like(a) if out is None else out
    states = [*(np.broadcast_to(x, out.shape[1:]) for x in first), *out]
    if not h:
        do.tanh(a[0], out[0])
    for x, before, state in zip(a[1 - len(h):], states, states[1:]):
        do.dot(before, w, state)
        do.add(state, x, state)
        do.tanh(state, state)
    return out


def _rnn_back_step_by_step(g: Array, z: Array, w: Array) -> Array:
    """∂L/∂a of each step."""
    arrived: list[Array] = []
    for t in range(z.shape[0] - 1, -1, -1):
        gh = g[t] + kernels.matmul(arrived[-1], kernels.mT(w)) if arrived else g[t]
        arrived.append(gh * (1 - z[t] * z[t]))
    return np.stack(arrived[::-1])


@kernels.primitive(_rnn_back_step_by_step, like=False)
def _rnn_back(
    g: Array, z: Array, w: Array, out: Array | None = None, do: ModuleType = np
) -> Array:
    """The same in place."""
    g, z, w = _of_one_dtype(g, z, w)
    out = np.empty_like(z) if out is None else out
    slopes, gh = np.empty_like(z), np.empty_like(z[0])
    do.subtract(1, do.multiply(z, z, slopes), slopes)
    do.multiply(g[-1], slopes[-1], out[-1])
    for t in range(len(z) - 2, -1, -1):
        do.dot(out[t + 1], w.T, gh)
        do.add(g[t], gh, gh)
        do.multiply(gh, slopes[t], out[t])
    return out


def _rnn_vjps(g: Array, z: Array, a: Array, w: Array, *h: Array) -> list[Array]:
    ga = _rnn_back(g, z, w)
    before = np.concatenate([*(np.expand_dims(x, 0) for x in h), z[:-1]]) if h else z[:-1]
    return [ga, _weight_gradient(before, ga), *(kernels.matmul(ga[0], kernels.mT(w)) for _ in h)]


def _gru_step_by_step(a: Array, h: Array, w: Array, *b: Array) -> Array:
    """Of each step r, z, n, what r is multiplied by, and h': (5 · time, n, hidden)."""
    made = []
    for t in range(a.shape[0]):
        product = ops.linear(h, w, *b) if b else kernels.matmul(h, w)
        gates, n = _gru_parts(a[t], product)
        r, z = _parts(gates, 2)
        h = n + z * (h - n)
        made += [r, z, n, _parts(product, 3)[2], h]
    return np.stack(made)


@kernels.primitive(_gru_step_by_step, like=False)
def _gru_run(
    a: Array, h: Array, w: Array, *b: Array, out: Array | None = None, do: ModuleType = np
) -> Array:
    """The same in place."""
    a, h, w, *b = _of_one_dtype(a, h, w, *b)               # type: ignore[assignment]
    (time, n, width), size = a.shape, len(w)
    out = np.empty((5 * time, n, size), a.dtype) if out is None else out
    product, sums = np.empty((2, n, width), a.dtype)
    by_gate, parts, half = _by_gate(product, 3), _by_gate(sums, 3), np.array(0.5, a.dtype)
    bias = [do.add(np.zeros_like(sums), x, np.empty_like(sums)) for x in b]
    h = np.broadcast_to(h, (n, size))
    for x, made, (_, _, xn) in zip(a, out.reshape((time, 5, n, size)), _by_gate(a, 3)):
        rz, (r, z, candidate, inner, state) = made[:2], made
        do.dot(h, w, product)
        if b:
            do.add(product, *bias, product)
        do.positive(by_gate[2], inner)
        do.add(product, x, sums)
        do.multiply(parts[:2], half, rz)
        do.tanh(rz, rz)
        do.multiply(rz, half, rz)
        do.add(rz, half, rz)
        do.multiply(r, inner, candidate)
        do.add(candidate, xn, candidate)
        do.tanh(candidate, candidate)
        do.subtract(h, candidate, state)
        do.multiply(z, state, state)
        h = do.add(candidate, state, state)
    return out


def _gru(a: Array, h: Array, w: Array, *b: Array, shared: Array | None = None) -> Array:
    """h' = n + z (h − n) for each step; see `_gru_parts`."""
    return _last_of_each(_gru_run(a, h, w, *b) if shared is None else shared, count=5)


def _gru_back_step_by_step(g: Array, made: Array, h: Array, w: Array) -> Array:
    """∂L/∂ the product's part for n of each step, beside it ∂L/∂a; and behind them ∂L/∂h, four
    times over: (time + 1, n, 4 · hidden)."""
    arrived, back = [], kernels.mT(w)
    gh: Array | None = None
    for t in range(g.shape[0] - 1, -1, -1):
        gh = g[t] if gh is None else g[t] + gh
        step = made[5 * t:5 * t + 5]
        r, z, n, inner = (step[k] for k in range(4))
        dn = gh * ((1 - z) * (1 - n * n))
        dz = gh * (((made[5 * t - 1] if t else h) - n) * (z - z * z))
        dr = dn * (inner * (r - r * r))
        arrived.append(np.concatenate([dn * r, dr, dz, dn], axis=-1))
        gh = gh * z + kernels.matmul(np.concatenate([dr, dz, dn * r], axis=-1), back)
    return np.stack([*arrived[::-1], np.concatenate([gh] * 4, axis=-1)])


@kernels.primitive(_gru_back_step_by_step, like=False)
def _gru_back(
    g: Array, made: Array, h: Array, w: Array, out: Array | None = None, do: ModuleType = np
) -> Array:
    """The same in place."""
    g, made, h, w = _of_one_dtype(g, made, h, w)
    time, n, size = g.shape
    out = np.empty((time + 1, n, 4 * size), g.dtype) if out is None else out
    r, z, candidate, inner, states = made.reshape((time, 5, n, size)).swapaxes(0, 1)
    to_n, to_z, to_r, spare = np.empty((4, *states.shape), made.dtype)
    gh, dn, product = np.empty((3, n, size), made.dtype)
    back = np.concatenate([np.empty_like(w[:, :size])] * 3, axis=1)
    do.concatenate([w[:, 2 * size:], w[:, :2 * size]], 1, back)        # n stands first
    do.subtract(1, do.multiply(candidate, candidate, to_n), to_n)
    do.multiply(to_n, do.subtract(1, z, spare), to_n)
    do.subtract(z, do.multiply(z, z, to_z), to_z)
    do.subtract(np.expand_dims(h, 0), candidate[:1], spare[:1])
    do.subtract(states[:-1], candidate[1:], spare[1:])
    do.multiply(to_z, spare, to_z)
    do.subtract(r, do.multiply(r, r, to_r), to_r)
    do.multiply(to_r, inner, to_r)
    do.positive(g[-1], gh)
    for t in range(time - 1, -1, -1):
        by_product, dr, dz, by_n = _by_gate(out[t], 4)
        do.multiply(gh, to_n[t], dn)
        do.positive(dn, by_n)
        do.multiply(dn, to_r[t], dr)
        do.multiply(dn, r[t], by_product)
        do.multiply(gh, to_z[t], dz)
        do.dot(out[t, :, :3 * size], back.T, product)
        do.multiply(gh, z[t], gh)
        do.add(gh, product, gh)
        if t:
            do.add(g[t - 1], gh, gh)
    do.positive(gh, _by_gate(out[time], 4))
    return out


def _gru_vjps(
    g: Array, out: Array, a: Array, h: Array, w: Array, *b: Array, shared: Array | None = None
) -> list[Array]:
    made, size = _gru_run(a, h, w, *b) if shared is None else shared, w.shape[0]
    back = _gru_back(g, made, h, w)
    before = np.concatenate([np.expand_dims(h, 0), out[:-1]])
    gw = _weight_gradient(before, back[:-1, :, :3 * size])
    gb = back[:-1, :, :3 * size].sum(axis=(0, 1))
    return [back[:-1, :, size:], back[-1, :, :size],
            *(np.concatenate([x[..., size:], x[..., :size]], axis=-1) for x in (gw, gb))]


def _lstm_step_by_step(a: Array, w: Array, c: Array, *h: Array) -> Array:
    """All states h from the first on, if it is there, and the last c'; behind them, from the last
    step to the first, i, o and f, and what each is multiplied by: g, tanh c' and c."""
    states, made = [*h], []                                # type: list[Array], list[Array]
    for t in range(a.shape[0]):
        gates, g, o = _lstm_parts(a[t] + kernels.matmul(states[-1], w) if states else a[t])
        i, f = _parts(gates, 2)
        after = i * g + f * c
        curved = np.tanh(after)
        made = [i, o, f, g, curved, c, *made]
        states.append(o * curved)
        c = after
    return np.stack([*states, c, *made])


@kernels.primitive(_lstm_step_by_step, like=False)
def _lstm_run(
    a: Array, w: Array, c: Array, *h: Array, out: Array | None = None, do: ModuleType = np
) -> Array:
    """The same in place, with one tanh for all gates."""
    a, w, c, *first = _of_one_dtype(a, w, c, *h)
    (time, n, width), size, given = a.shape, len(w), len(h)
    out = np.empty((given + 7 * time + 1, n, size), a.dtype) if out is None else out
    states, cells = out[:given + time], out[given + time::6][::-1]
    steps = out[given + time + 1:].reshape((time, 6, n, size))[::-1]
    sums, (ig, fc) = np.empty((n, width), a.dtype), np.empty((2, n, size), a.dtype)
    by_gate, half = _rows(_by_gate(sums, 4)), np.array(0.5, a.dtype)
    i_and_o, f_and_g = by_gate[::3], by_gate[1:3]
    do.positive(c, cells[0])
    before = [do.positive(x, states[0]) for x in first]
    for x, step, rows, after, cell in zip(a, steps, _rows(steps), states[given:], cells[1:]):
        sigmoids, gates, (i, o, f, g, curved, c) = step[:3], step[:4], step
        if before:
            do.add(do.dot(*before, w, sums), x, sums)
        else:
            do.positive(x, sums)
        do.copyto(rows[:2], i_and_o)
        do.copyto(rows[2:4], f_and_g)
        do.multiply(sigmoids, half, sigmoids)
        do.tanh(gates, gates)
        do.multiply(sigmoids, half, sigmoids)
        do.add(sigmoids, half, sigmoids)
        do.multiply(i, g, ig)
        do.multiply(f, c, fc)
        do.add(ig, fc, cell)
        do.tanh(cell, curved)
        before = [do.multiply(o, curved, after)]
    return out


def _lstm(a: Array, w: Array, c: Array, *h: Array, shared: Array | None = None) -> Array:
    """h' = o tanh c' for each step, with c' = i g + f c; behind them the last c'."""
    made = _lstm_run(a, w, c, *h) if shared is None else shared
    return made[len(h):len(h) + a.shape[0] + 1]


def _lstm_back_step_by_step(d: Array, made: Array, w: Array) -> Array:
    """∂L/∂a of each step, and behind them ∂L/∂c four times over: (time + 1, n, 4 · hidden)."""
    arrived: list[Array] = []
    dc = d[-1]
    for t in range(d.shape[0] - 2, -1, -1):
        i, o, f, g, curved, c = (made[k - 6 * t - 6] for k in range(6))
        ig, h, fc = i * g, o * curved, f * c
        dh = d[t] + kernels.matmul(arrived[-1], kernels.mT(w)) if arrived else d[t]
        dc = dc + dh * (o - h * curved)                                # o (1 − tanh² c')
        arrived.append(np.concatenate([
            dc * (ig - ig * i), dc * (fc - fc * f), dc * (i - ig * g), dh * (h - h * o)], axis=-1))
        dc = dc * f
    return np.stack([*arrived[::-1], np.concatenate([dc] * 4, axis=-1)])


@kernels.primitive(_lstm_back_step_by_step, like=False)
def _lstm_back(
    d: Array, made: Array, w: Array, out: Array | None = None, do: ModuleType = np
) -> Array:
    """The same in place."""
    d, made, w = _of_one_dtype(d, made, w)
    time, n, size = len(d) - 1, *d.shape[1:]
    out = np.empty((time + 1, n, 4 * size), d.dtype) if out is None else out
    steps = made[-6 * time:].reshape((time, 2, 3, n, size))[::-1]
    products, slopes = np.empty((2, 3, n, size), d.dtype)
    two_products, two_slopes, (first, second, third) = products[:2], slopes[:2], slopes
    da, (dh, dc) = np.empty((4, n, size), d.dtype), np.empty((2, n, size), d.dtype)
    (di, df, dg, do_), rows, by_gate, back = da, _rows(da), _rows(_by_gate(out, 4)), w.T
    do.positive(d[-1], dc)
    do.positive(d[-2], dh)
    for t in range(time - 1, -1, -1):
        sigmoids, others = steps[t]
        do.multiply(sigmoids, others, products)
        do.multiply(two_products, others[:2], two_slopes)              # for g and tanh c'
        do.subtract(sigmoids[:2], two_slopes, two_slopes)
        do.multiply(dh, second, second)
        do.add(dc, second, dc)
        do.multiply(dc, first, dg)
        do.multiply(products, sigmoids, slopes)                        # for i, o and f
        do.subtract(products, slopes, slopes)
        do.multiply(dc, first, di)
        do.multiply(dh, second, do_)
        do.multiply(dc, third, df)
        do.copyto(by_gate[t], rows)
        do.multiply(dc, sigmoids[2], dc)
        if t:
            do.dot(out[t], back, dh)
            do.add(d[t - 1], dh, dh)
    do.copyto(by_gate[time], _rows(dc))
    return out


def _lstm_vjps(
    d: Array, out: Array, a: Array, w: Array, c: Array, *h: Array, shared: Array | None = None
) -> list[Array]:
    made = _lstm_run(a, w, c, *h) if shared is None else shared
    back = _lstm_back(d, made, w)
    # a copy of the states, so that machine code need not store all that was made
    da, before = back[:-1], _last_of_each(made[:len(h) + a.shape[0] - 1], count=1)
    return [da, _weight_gradient(before, da), back[-1, :, :w.shape[0]],
            *(kernels.matmul(da[0], kernels.mT(w)) for _ in h)]


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
    state_names: ClassVar[tuple[str, ...]] = ("h",)

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
        state = () if state is None else self._checked(state, len(x))
        states, last = self._run(x.swapaxes(0, 1), state, *self._weights())
        return states.swapaxes(0, 1), last

    def _checked(self, state: ArrayLike | tuple[ArrayLike, ...], n: int) -> tuple[ArrayLike, ...]:
        """The parts of a state for n samples, each of shape (n, hidden)."""
        name, shape = type(self).__name__, (n, self.weight_hh.shape[0])
        parts = state if isinstance(state, tuple) else (state,)
        if len(parts) != len(self.state_names):
            names = ", ".join(self.state_names)
            wanted = f"a tuple ({names})" if len(self.state_names) > 1 else names
            got = f"a tuple of {len(parts)}" if isinstance(state, tuple) else "one array"
            raise TypeError(f"{name} needs a state that is {wanted}, got {got}")
        for part in parts:
            if part is None or np.ndim(part) > 2:
                raise ShapeError(f"{name} needs a state of shape (n, hidden) = {shape}, and no axis"
                                 f" of layers, got {part if part is None else np.shape(part)}")
        return parts

    def _run(self, x: Tensor, state: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any) -> Any:
        """The hidden states after all steps, for x of shape (time, n, in_features), and the state
        after the last. The state before the first is a tuple, empty where it is 0."""
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
        states = apply(rnn, linear(x, w_ih, _sum(b_ih, b_hh)), w_hh, *state)
        return states, states[-1]


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
        (h,) = state or [self.first_state(x.shape[1:2], x.dtype)]
        states = apply(gru, linear(x, w_ih, b_ih), h, w_hh, *b)
        return states, states[-1]


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
    state_names = ("h", "c")

    def first_state(self, shape: tuple[int, ...], dtype: DTypeLike | None) -> Any:
        h = super().first_state(shape, dtype)
        return h, Tensor(h, name="c")

    def step(self, x: ArrayLike, state: Any) -> tuple[Tensor, Tensor]:
        h, c = self._checked(state, np.shape(x)[0])
        return lstm_step(x, (h, c), *self._weights())

    def _run(self, x: Tensor, state: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any) -> Any:
        *h, c = state or self.first_state(x.shape[1:2], x.dtype)[1:]
        both = apply(lstm, linear(x, w_ih, _sum(b_ih, b_hh)), w_hh, c, *h)
        return both[:-1], (both[-2], both[-1])
