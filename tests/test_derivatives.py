"""Each derivative that a reader is shown, evaluated as it is written: it must be the engine's.

A formula is read back into NumPy by `evaluated`; words are looked up in `MEANING`, which says what
they mean without the VJP. So a text that says something else, or a VJP that does something else,
fails here.
"""

import math
import re

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import ops
from tinygrad_opt.cases import CASES, Domain
from tinygrad_opt.viz.steps import derivatives
from tinygrad_opt.viz.steps.derivatives import CARRIED, said
from tinygrad_opt.viz.steps.words import Words

# ---- formulas ------------------------------------------------------------------------------------

PLAIN = {"·": "*", "−": "-", "≠": "!=", "≥": ">=", "≤": "<=", " = ": " == ", " mod ": " % ",
         "^": "**", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")",
         "–": "None", "σ(": "sigmoid(", "[": "(", "]": ")"}
POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def onehot(labels, classes):
    return np.eye(classes)[labels]


def extreme(ufunc):
    """max(x, y) of two, entry by entry; max(x) of all entries."""
    return lambda *xs: ufunc(*xs) if len(xs) == 2 else ufunc.reduce(xs[0], axis=None)


def python(text):
    """A formula as Python: ``g / √(1 − x · x)`` as ``g / sqrt(1 - x * x)``."""
    chosen, where, rest = text.partition(" where ")
    if where:
        mask, _, other = rest.partition(", else ")
        masks = " | ".join(" & ".join(f"({python(m)})" for m in either.split(" and "))
                           for either in mask.split(" or "))
        return f"where({masks}, {python(chosen)}, {python(other)})"
    text = re.sub(r"(\w+)ᵀ", r"transposed(\1)", text)
    for sign, name in PLAIN.items():
        text = text.replace(sign, name)
    text = re.sub("[₁-₉]", lambda m: f"_{'₀₁₂₃₄₅₆₇₈₉'.index(m[0])}", text)
    text = re.sub("[⁰¹²³⁴-⁹]+", lambda m: "**" + m[0].translate(POWERS), text)
    text = re.sub(r"(√|∛|mean )(\w+|(?=\())",
                  lambda m: {"√": "sqrt", "∛": "cbrt"}.get(m[1], "mean")
                  + (f"({m[2]})" if m[2] else ""), text)
    return re.sub(r"\|(.+?)\|", r"absolute(\1)", re.sub("‖(.+?)‖", r"norm(\1)", text))


def side_by_side(*parts):
    return np.concatenate(np.broadcast_arrays(*parts), axis=-1)


def evaluated(text, words, z, g):
    """The value of a formula for the arrays of an operation; reduced axes are kept, of length 1."""
    axis = z.attrs.get("axis", -1 if z.op.name in ("softmax", "log_softmax", "residual") else None)
    arrays = [getattr(x, "_array", x) for x in z.inputs]
    names = {op.name: op for op in ops.TABLE.values()} | {
        "pi": math.pi, "mean": lambda x: x.mean(axis=axis, keepdims=True), "where": np.where,
        "Σ": lambda x: np.sum(x, axis=axis, keepdims=True), "max": extreme(np.maximum),
        "min": extreme(np.minimum), "Π": np.prod,
        "var": lambda x: x.var(axis=axis, keepdims=True), "concatenate": side_by_side,
        "transposed": lambda x: x.mT if x.ndim > 1 else x,
        "onehot": lambda labels: onehot(labels, arrays[0].shape[-1])}
    names |= dict(zip(words.symbols, arrays))
    for name, x in ((words.result, z._array), (words.g, g)):
        kept = isinstance(arrays[0], np.ndarray) and axis is not None and x.ndim < arrays[0].ndim
        names[name] = np.expand_dims(x, axis) if kept else x
    text, _, parted = text.partition(", in parts ")
    for name in parted.partition(" of ")[2].split(", ") if parted else []:
        count = {"gru": 3, "lstm": 4}[z.op.name.split("_")[0]]
        whole = names[name].shape[-1] % count == 0 and names[name].shape[-1] >= count
        names |= {f"{name}_{k}": p for k, p in enumerate(
            np.split(names[name], count, axis=-1) if whole else [], 1)}
    with np.errstate(all="ignore"):
        return np.asarray(eval(python(text), {"__builtins__": {}}, names))


def fitted(part, shape):
    """Summed where the input was stretched, copied where it was reduced."""
    if part.size == math.prod(shape) and part.ndim != len(shape):
        return part.reshape(shape)
    part = part.sum(axis=tuple(range(part.ndim - len(shape)))) if part.ndim > len(shape) else part
    first = len(shape) - part.ndim
    stretched = tuple(i for i, n in enumerate(part.shape) if shape[first + i] == 1 != n)
    return np.broadcast_to(part.sum(axis=stretched, keepdims=True), shape)


# ---- words ---------------------------------------------------------------------------------------


def by_units(g, z, x, i):
    """Σ g · (z for a unit more in one entry − z), for each entry: right where z is linear in x."""
    inputs, out = [getattr(v, "_array", v) for v in z.inputs], np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        one = x.copy()
        one[k] += 1
        out[k] = np.sum(g * (z.op.kernel(*inputs[:i], one, *inputs[i + 1:], **z.attrs) - z._array))
    return out


def read_from(z, x):
    """Which entry of x, counted in order, each entry of the result is."""
    places = np.arange(x.size).reshape(x.shape)
    if z.op is ops.sort:
        axis = z.attrs.get("axis", -1)
        return np.take_along_axis(places, np.argsort(x, axis=axis), axis)
    return np.asarray(z.op.kernel(places, *z.inputs[1:], **z.attrs))


def added_up(g, z, x, i):
    out = np.zeros(x.size)
    np.add.at(out, read_from(z, x).reshape(-1), np.ravel(g))
    return out.reshape(x.shape)


def put_back(g, z, x, i):
    out = np.zeros(x.size)
    out[read_from(z, x).reshape(-1)] = np.ravel(g)
    assert z.size == x.size
    return out.reshape(x.shape)


def piece(g, z, x, i):
    marked = [np.full(np.shape(v), k == i, float) for k, v in enumerate(z.inputs)]
    return g[z.op.kernel(*marked, **z.attrs) > 0].reshape(x.shape)


def on_diagonal(g, z, x, i):
    out = np.zeros(x.size)
    diagonal = np.diagonal(np.arange(x.size).reshape(x.shape), **z.attrs)
    out[diagonal] = g[..., None] if z.op is ops.trace else g
    return out.reshape(x.shape)


def written(z, x):
    mask = np.zeros(x.shape, bool)
    mask[z.attrs.get("index", z.inputs[-1])] = True
    return mask


def others(g, z, x, i):
    out = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        with_one, with_none = x.copy(), x.copy()
        with_one[k], with_none[k] = 1, 0
        out[k] = np.sum(g * (z.op.kernel(with_one, **z.attrs) - z.op.kernel(with_none, **z.attrs)))
    return out


def to_the_end(g, z, x, i):
    axis = z.attrs.get("axis")
    rows = g if axis is not None else g.reshape(-1)
    back = np.flip(rows, axis or 0)
    return np.flip(np.add.accumulate(back, axis=axis or 0), axis or 0).reshape(x.shape)


def slope(g, z, x, i):
    return g * (z.op.kernel(x + 1e-6) - z.op.kernel(x - 1e-6)) / 2e-6


def by_slopes(g, z, x, i):
    """Σ g · ∂z/∂x for each entry of x, by central differences."""
    inputs, out = [getattr(v, "_array", v) for v in z.inputs], np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        ahead, behind = x.copy(), x.copy()
        ahead[k] += 1e-5
        behind[k] -= 1e-5
        made = [z.op.kernel(*inputs[:i], near, *inputs[i + 1:], **z.attrs)
                for near in (ahead, behind)]
        out[k] = np.sum(g * (made[0] - made[1])) / 2e-5
    return out


def by_gate(g, z, x, i):
    parts = [s * (1 - s) for s in np.split(z._array, 4, axis=-1)]
    parts[2] = 1 - np.split(z._array, 4, axis=-1)[2] ** 2
    return g * np.concatenate(parts, axis=-1)


MEANING = {
    "{g} with its entries back in the places of {x}": put_back,
    "{g} added up where its entries were read, 0 elsewhere": added_up,
    "{g}, summed over the copies": added_up,
    "the piece of {g} that came from {x}": piece,
    "{g} times the other inputs, summed over all axes that {x} has not": by_units,
    "{g} on the diagonal, 0 elsewhere": on_diagonal,
    "the slopes of {z} in each entry of {x}, times {g} and added up": by_slopes,
    "{g} without the padding": lambda g, z, x, i: g[
        np.pad(np.ones(x.shape), z.attrs["pad_width"]) > 0].reshape(x.shape),
    "{g} at the entries that were written": lambda g, z, x, i: g[z.attrs["index"]],
    "{g}, 0 where entries were replaced": lambda g, z, x, i: np.where(written(z, x), 0, g),
    "{g} where entries were replaced": by_units,
    "{g} · the product of the other entries": others,
    "sums of {g} from each entry to the end": to_the_end,
    "{g} · the slope of the curve at {x}": slope,
    "{g} · (log(1 − {0}) − log({0}))": lambda g, z, x, i: g * np.log(1 / z.inputs[0]._array - 1),
    "{g} at the entries of each window": lambda g, z, x, i: ops.TABLE["windows"](
        g, size=z.attrs["size"], stride=z.attrs["stride"]),
    "{g} times {0}, less its mean and divided by its spread, summed over all axes that {x} has not":
        by_units,
    "{g}, summed over all axes that {x} has not": by_units,
    "{g} · {z} · (1 − {z}) of σ, {g} · (1 − {z} · {z}) of tanh": by_gate,
}


# ---- every operation -----------------------------------------------------------------------------


CALLS = [pytest.param(ops.TABLE[name], call, seed, id=f"{name} {seed}")
         for name, calls in CASES.items() for seed, call in enumerate(calls)]
every_call = pytest.mark.parametrize("op, call, seed", CALLS)


def computed(op, call, seed):
    """The result of a call whose numbers require gradients."""
    drawn = call.draw(np.random.default_rng(seed))
    return op(*(tg.Tensor(x, requires_grad=True) if isinstance(d, Domain) else x
                for d, x in zip(call.inputs, drawn)), **call.attrs)


def given_words(words, i):
    """The words of the table for an input, if it is told by words."""
    row = CARRIED.get(words.op.name)
    row = row[i] if isinstance(row, tuple) else row
    told = row and row.format(*words.symbols, g=words.g, x=words.symbols[i], z=words.result)
    return row if row and told == words.derivatives.whole(i) else None


@every_call
def test_the_derivative_that_readers_see_is_the_vjp(op, call, seed):
    z = computed(op, call, seed)
    words, rng = Words(z, {}), np.random.default_rng(0)
    g = np.asarray(rng.uniform(0.5, 1.5, z.shape))
    z.backward(g)
    for i, x in enumerate(z.inputs):
        if type(x) is not tg.Tensor or x.grad is None or not x.size or not z.size:
            continue
        carried = given_words(words, i)
        if words.derivatives.entrywise:
            shown = g * evaluated(said(words.derivatives.local(i)), words, z, g)
        elif carried:
            shown = MEANING[carried](g, z, x._array, i)
        else:
            shown = evaluated(words.derivatives.whole(i), words, z, g)
        np.testing.assert_allclose(fitted(np.asarray(shown), x.shape), x.grad, rtol=1e-5, atol=1e-6)


@every_call
def test_the_formula_of_an_operation_is_what_it_computes(op, call, seed):
    z = computed(op, call, seed)
    words = Words(z, {})
    _, right = words.equation()[0].split(" = ", 1)
    if not z.attrs and "…" not in right and z.size:
        np.testing.assert_allclose(evaluated(right, words, z, z._array).reshape(z.shape), z._array,
                                   rtol=1e-6)


def test_every_row_of_the_table_is_told_and_no_words_are_left_over():
    derived, carried = set(), set()
    for case in CALLS:
        z = computed(*case.values)
        words = Words(z, {})
        for i, (x, rule) in enumerate(zip(z.inputs, z.op.vjps)):
            if type(x) is tg.Tensor and rule is not None and x.size:
                (carried if given_words(words, i) else derived).add(z.op.name)
                assert words.derivatives.entrywise or words.derivatives.whole(i), z.op.name
    assert carried == set(CARRIED)
    assert {row for words in CARRIED.values() for row in (
        words if isinstance(words, tuple) else [words])} - {""} == set(MEANING)
    assert {op.name for op in ops.TABLE.values()} <= derived | carried


def test_a_changed_vjp_shows(monkeypatch):
    """The text of a matrix product is that of its own VJP."""
    x, y = (tg.Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(2))
    other = ops.Op("@", ops.matmul.kernel, (lambda g, z, x, y: y.T @ g, *ops.matmul.vjps[1:]))
    assert Words(other(x, y), {}).derivatives.whole(0) == "yᵀ @ g"
    monkeypatch.setitem(derivatives.CARRIED, "flip", "{g} as it is")
    with pytest.raises(KeyError):
        case = next(c for c in CALLS if c.values[0] is ops.flip)
        test_the_derivative_that_readers_see_is_the_vjp(*case.values)
