"""The words of ONNX for what models do: rows of the operator table, and layers.

`ROWS` and the tables after it hold what is the same here and there. `WORDS` has a function for each
row that ONNX has an operator for; `FORMS` says what other rows come to, in NumPy, which is recorded
in their place; `LAYERS` has the layers that are one operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from tinygrad_opt import nn, ops
from tinygrad_opt.compiler.native.lowering import PLAIN
from tinygrad_opt.interop.onnx.nodes import Extent, Nodes, Step
from tinygrad_opt.ops import Op
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import Array, Axis, DTypeLike, Shape, Size

__all__ = ["ANSWERS", "FORMS", "GATES", "LAYERS", "OPTIONS", "REDUCTIONS", "ROWS", "WORDS"]

# Operators that are a row of the table, with the same operands, and those of their options that we
# have, by their names here and there.
ROWS: dict[str, Op] = {
    "Add": ops.add, "Sub": ops.subtract, "Mul": ops.multiply, "Div": ops.divide,
    "Neg": ops.negative, "Pow": ops.power, "Sqrt": ops.sqrt, "Reciprocal": ops.reciprocal,
    "Abs": ops.absolute, "Sign": ops.sign, "Floor": ops.floor, "Ceil": ops.ceil, "Exp": ops.exp,
    "Log": ops.log, "Sin": ops.sin, "Cos": ops.cos, "Tan": ops.tan, "Asin": ops.arcsin,
    "Acos": ops.arccos, "Atan": ops.arctan, "Sinh": ops.sinh, "Cosh": ops.cosh, "Tanh": ops.tanh,
    "Asinh": ops.arcsinh, "Acosh": ops.arccosh, "Atanh": ops.arctanh, "Erf": ops.erf,
    "Relu": ops.relu, "Sigmoid": ops.sigmoid, "Softplus": ops.softplus, "Gelu": ops.gelu,
    "LeakyRelu": ops.leaky_relu, "Elu": ops.elu, "Softmax": ops.softmax,
    "LogSoftmax": ops.log_softmax, "Max": ops.maximum, "Min": ops.minimum, "MatMul": ops.matmul,
}
OPTIONS: dict[str, dict[str, str]] = {
    "LeakyRelu": {"alpha": "slope"}, "Elu": {"alpha": "alpha"}, "Softmax": {"axis": "axis"},
    "LogSoftmax": {"axis": "axis"},
}
REDUCTIONS: dict[str, Op] = {
    "ReduceSum": ops.sum, "ReduceMean": ops.mean, "ReduceProd": ops.prod, "ReduceMax": ops.max,
    "ReduceMin": ops.min, "ReduceL2": ops.norm, "ReduceLogSumExp": ops.logsumexp,
}
ANSWERS: dict[str, np.ufunc] = {                           # what has no gradient
    "Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or,
    "Not": np.logical_not, "IsNaN": np.isnan, "IsInf": np.isinf,
}
# ONNX's order, as places in ours
GATES: dict[type[nn.RNN | nn.GRU | nn.LSTM], list[int]] = {
    nn.RNN: [0], nn.GRU: [1, 0, 2], nn.LSTM: [0, 3, 1, 2]}

Word = Callable[[Step], str]


def _same(kind: str, renamed: dict[str, str]) -> Word:
    """An operator that is the row, with the row's options under other names."""

    def word(step: Step) -> str:
        options = {new: step.attrs[old] for new, old in renamed.items() if old in step.attrs}
        return step.nodes.add(kind, *step.operands(), **options)

    return word


def _compared(kind: str) -> Word:
    """A comparison, of operands in the dtype that they share."""

    def word(step: Step) -> str:
        return step.nodes.add(kind, *step.operands(np.result_type(*step.arrays)))

    return word


def _reduced(kind: str) -> Word:
    def word(step: Step) -> str:
        axis = step.attrs.get("axis")
        if axis == ():
            return step.nodes.add("Abs" if kind == "ReduceL2" else "Identity", step.operand(0))
        axes = None if axis is None else step.nodes.vector(_tuple(axis))
        return step.nodes.add(kind, step.operand(0), *([] if axes is None else [axes]),
                              keepdims=int(step.attrs.get("keepdims", False)))

    return word


def _tuple(axis: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(axis) if isinstance(axis, Sequence) else (int(axis),)


# ---- numbers -------------------------------------------------------------------------------------


def _round(step: Step) -> str:
    scale = 10.0 ** step.attrs.get("decimals", 0)
    if scale == 1:
        return step.nodes.add("Round", step.operand(0))
    power = step.nodes.constant(scale, step.made[0].dtype)
    return step.nodes.add("Div", step.nodes.add("Round", step.nodes.add(
        "Mul", step.operand(0), power)), power)


def _clip(step: Step) -> str:
    x = step.operand(0)
    for i, kind in ((1, "Max"), (2, "Min")):
        if len(step.inputs) > i and step.inputs[i] is not None:
            x = step.nodes.add(kind, x, step.operand(i))
    return x


def _cast(step: Step) -> str:
    return step.nodes.cast(step.operand(0, step.arrays[0].dtype), step.made[0].dtype)


# ---- products ------------------------------------------------------------------------------------


def _linear(step: Step) -> str:
    x, w, b = step.operands()
    if step.arrays[0].ndim == step.arrays[1].ndim == 2 and step.arrays[2].ndim == 1:
        return step.nodes.add("Gemm", x, w, b)
    return step.nodes.add("Add", step.nodes.add("MatMul", x, w), b)


# ---- shapes --------------------------------------------------------------------------------------


def _in_shape(nodes: Nodes, x: str, shape: Sequence[int | Extent]) -> str:
    """Reshape; one length that follows the batch is worked out by ONNX."""
    following = [i for i, n in enumerate(shape) if isinstance(n, Extent)]
    if len(following) == 1 and -1 not in shape:
        shape = [-1 if isinstance(n, Extent) else n for n in shape]
    return nodes.add("Reshape", x, nodes.vector(shape), allowzero=1 if 0 in shape else None)


def _reshape(step: Step) -> str:
    shape = step.attrs["shape"]
    return _in_shape(step.nodes, step.operand(0),
                     (shape,) if isinstance(shape, int) else tuple(shape))


def _transpose(step: Step) -> str:
    axes = step.attrs.get("axes")
    return step.nodes.add("Transpose", step.operand(0), perm=None if axes is None else [
        axis % len(axes) for axis in axes])


def _squeeze(step: Step) -> str:
    x, axis = step.arrays[0], step.attrs.get("axis")
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else _tuple(axis)
    return step.nodes.add("Squeeze", step.operand(0), step.nodes.vector(axes))


def _broadcast_to(step: Step) -> str:
    shape = step.attrs["shape"]
    return step.nodes.add("Expand", step.operand(0), step.nodes.vector(
        shape if isinstance(shape, tuple) else (shape,)))


def _tile(step: Step) -> str:
    reps = list(_tuple(step.attrs["reps"]))
    n = step.arrays[0].ndim
    x = step.operand(0)
    if len(reps) > n:
        x = step.nodes.add("Unsqueeze", x, step.nodes.vector(range(len(reps) - n)))
    return step.nodes.add("Tile", x, step.nodes.vector([1] * (n - len(reps)) + reps))


def _pad(step: Step) -> str:
    before, after = zip(*step.attrs["pad_width"])
    return step.nodes.add("Pad", step.operand(0), step.nodes.vector([*before, *after]))


def _along(step: Step, usual: int | None = None, dtype: DTypeLike | None = None) -> tuple[str, int]:
    """The first operand and the axis of it; without an axis, its entries in one row."""
    axis, x = step.attrs.get("axis", usual), step.operand(0, dtype)
    return (_in_shape(step.nodes, x, [-1]), 0) if axis is None else (x, axis)


def _concatenate(step: Step) -> str:
    axis = step.attrs.get("axis", 0)
    parts = step.operands()
    if axis is None:
        parts = [_in_shape(step.nodes, x, [-1]) for x in parts]
    return step.nodes.add("Concat", *parts, axis=axis or 0)


# ---- indices -------------------------------------------------------------------------------------


def _getitem(step: Step) -> str:
    """Slices first, then the numbers or the array, then axes that are added."""
    index = step.inputs[1] if len(step.inputs) > 1 else step.attrs["index"]
    parts, nodes = _parts(index, step.arrays[0].ndim), step.nodes
    by_axis = [*enumerate(p for p in parts if p is not None)]
    gathered = [(axis, p) for axis, p in by_axis if not isinstance(p, slice)]
    if len(gathered) > 1 and not all(isinstance(p, _NUMBER) for _, p in gathered):
        raise NotImplementedError("an index of several arrays")
    x = _sliced(nodes, step.operand(0), [
        (axis, p) for axis, p in by_axis if isinstance(p, slice) and p != slice(None)])
    for axis, part in reversed(gathered):                  # a number takes its axis away
        x = nodes.add("Gather", x, _places(nodes, part), axis=axis)
    kept = [p for p in parts if not isinstance(p, _NUMBER)]
    added = [i for i, p in enumerate(kept) if p is None]
    return nodes.add("Unsqueeze", x, nodes.vector(added)) if added else x


def _parts(index: object, ndim: int) -> list[object]:
    """The parts of an index, one for each axis, and None for each that is added."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if not any(p is ... for p in parts):
        parts.append(...)
    where = next(i for i, p in enumerate(parts) if p is ...)
    taken = sum(p is not None and p is not ... for p in parts)
    return [*parts[:where], *[slice(None)] * (ndim - taken), *parts[where + 1:]]


_NUMBER = int, np.integer, Extent


def _sliced(nodes: Nodes, x: str, slices: list[tuple[int, slice]]) -> str:
    if not slices:
        return x
    far = np.iinfo(np.int64).max
    steps = [1 if s.step is None else s.step for _, s in slices]
    starts = [s.start if s.start is not None else 0 if n > 0 else far
              for (_, s), n in zip(slices, steps)]
    stops = [s.stop if s.stop is not None else far if n > 0 else -far
             for (_, s), n in zip(slices, steps)]
    axes = [axis for axis, _ in slices]
    return nodes.add("Slice", x, *map(nodes.vector, (starts, stops, axes, steps)))


def _places(nodes: Nodes, part: object) -> str:
    """A number or an array of an index."""
    if isinstance(part, Extent):
        return nodes.number(part, np.int64)
    if isinstance(part, str):
        return part
    array = np.asarray(part)
    if array.dtype == bool:
        if array.ndim != 1:
            raise NotImplementedError("a mask as an index")
        array = np.flatnonzero(array)
    return nodes.constant(array.astype(np.int64))


def _take(step: Step) -> str:
    x, axis = _along(step)
    return step.nodes.add("Gather", x, step.operand(1, np.int64), axis=axis)


def _take_along_axis(step: Step) -> str:
    x, axis = _along(step, -1)
    return step.nodes.add("GatherElements", x, step.operand(1, np.int64), axis=axis)


def _cumsum(step: Step) -> str:
    x, axis = _along(step)
    return step.nodes.add("CumSum", x, step.nodes.constant(np.int64(axis)))


def _best(kind: str) -> Word:
    def word(step: Step) -> str:
        x, axis = _along(step, dtype=step.arrays[0].dtype)
        return step.nodes.add(kind, x, axis=axis, keepdims=int(step.attrs.get("keepdims", False)))

    return word


WORDS: dict[object, Word] = {
    **{row: _same(kind, OPTIONS.get(kind, {})) for kind, row in ROWS.items()},
    **{row: _reduced(kind) for kind, row in REDUCTIONS.items()},
    **{function: _compared(kind) for kind, function in ANSWERS.items()},
    ops.positive: _same("Identity", {}), ops.copy: _same("Identity", {}),
    ops.gelu_tanh: lambda step: step.nodes.add("Gelu", step.operand(0), approximate="tanh"),
    ops.where: lambda step: step.nodes.add(
        "Where", step.operand(0, bool), step.operand(1), step.operand(2)),
    ops.einsum: lambda step: step.nodes.add(
        "Einsum", *step.operands(), equation=step.attrs["subscripts"]),
    ops.expand_dims: lambda step: step.nodes.add(
        "Unsqueeze", step.operand(0), step.nodes.vector(_tuple(step.attrs["axis"]))),
    ops.round: _round, ops.clip: _clip, ops.linear: _linear, ops.reshape: _reshape,
    ops.transpose: _transpose, ops.squeeze: _squeeze, ops.broadcast_to: _broadcast_to,
    ops.tile: _tile, ops.pad: _pad, ops.concatenate: _concatenate, ops.cast: _cast,
    np.ndarray.astype: _cast, ops.getitem: _getitem, ops.take: _take,
    ops.take_along_axis: _take_along_axis, ops.cumsum: _cumsum,
    np.argmax: _best("ArgMax"), np.argmin: _best("ArgMin"),
    np.not_equal: lambda step: step.nodes.add("Not", _compared("Equal")(step)),
    np.bitwise_and: _compared("And"), np.bitwise_or: _compared("Or"), np.invert: _compared("Not"),
}

# ---- rows that come to others --------------------------------------------------------------------


_var = cast("Callable[..., Array]", PLAIN[np.var])


def _standardize(x: Array, axis: Axis, eps: float) -> Array:
    return _rescale(x - np.mean(x, axis=axis, keepdims=True), axis, eps)


def _rescale(x: Array, axis: Axis, eps: float) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=axis, keepdims=True) + eps)


def _windows(x: Array, size: Sequence[int], stride: Sequence[int]) -> Array:
    axes = len(size)
    for i, (k, s) in enumerate(zip(size, stride)):         # (…, positions, k, …) for each axis
        axis = 2 + 2 * i
        first = np.arange(0, x.shape[axis] - k + 1, s)
        x = np.take(x, first[:, None] + np.arange(k), axis=axis)
    return x.transpose(0, 1, *range(2, 2 + 2 * axes, 2), *range(3, 3 + 2 * axes, 2))


def _repeat(x: Array, repeats: int | Array, axis: int | None = None) -> Array:
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return np.take(x, np.repeat(np.arange(x.shape[axis]), repeats), axis=axis)


def _dot(x: Array, y: Array) -> Array:
    return x @ y if np.ndim(x) and 0 < np.ndim(y) <= 2 else np.tensordot(x, y, (-1, -2)) if (
        np.ndim(x) and np.ndim(y)) else x * y


def _swapaxes(x: Array, axis1: int, axis2: int) -> Array:
    order = list(range(np.ndim(x)))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return x.transpose(order)


def _flip(x: Array, axis: Axis = None) -> Array:
    flipped = range(np.ndim(x)) if axis is None else [a % np.ndim(x) for a in _tuple(axis)]
    return x[tuple(slice(None, None, -1 if i in flipped else None) for i in range(np.ndim(x)))]


def _roll(x: Array, shift: Size, axis: Axis = None) -> Array:
    if axis is None:
        return _roll(x.reshape(-1), shift, 0).reshape(x.shape)
    for n, a in np.broadcast(shift, axis):
        x = np.take(x, np.roll(np.arange(x.shape[a]), n), axis=a)
    return x


def _arctan2(y: Array, x: Array) -> Array:
    behind = np.where(np.less(y, 0), -math.pi, math.pi)
    return np.arctan(y / x) + np.where(np.less(x, 0), behind, 0.0)


FORMS: dict[object, Callable[..., Array]] = {
    ops.square: lambda x: x * x,
    ops.cbrt: lambda x: np.sign(x) * np.abs(x) ** (1 / 3),
    ops.trunc: lambda x: np.sign(x) * np.floor(np.abs(x)),
    ops.floor_divide: lambda x, y: np.floor(x / y),
    ops.remainder: lambda x, y: x - np.floor(x / y) * y,
    ops.expm1: lambda x: np.exp(x) - 1,
    ops.exp2: lambda x: np.exp(x * math.log(2)),
    ops.log1p: lambda x: np.log(x + 1),
    ops.log2: lambda x: np.log(x) / math.log(2),
    ops.log10: lambda x: np.log(x) / math.log(10),
    ops.logaddexp: lambda x, y: np.maximum(x, y) + nn.softplus(-np.abs(x - y)),
    ops.hypot: lambda x, y: np.sqrt(x * x + y * y),
    ops.arctan2: _arctan2,
    ops.var: _var,
    ops.std: lambda x, **options: np.sqrt(_var(x, **options)),
    ops.TABLE["standardize"]: _standardize,
    ops.TABLE["scale_and_shift"]: lambda x, weight, bias: x * weight + bias,
    ops.TABLE["normalize"]: lambda x, weight, bias, axis, eps: (
        _standardize(x, axis, eps) * weight + bias),
    ops.TABLE["windows"]: _windows,
    ops.outer: lambda x, y: x.reshape(-1, 1) * y.reshape(1, -1),
    ops.dot: _dot,
    ops.ravel: lambda x: x.reshape(-1),
    ops.swapaxes: _swapaxes,
    ops.moveaxis: lambda x, source, destination: x.transpose(
        np.moveaxis(np.empty(range(np.ndim(x))), source, destination).shape),
    ops.stack: lambda *xs, axis=0: np.concatenate([np.expand_dims(x, axis) for x in xs], axis),
    ops.flip: _flip,
    ops.repeat: _repeat,
    ops.roll: _roll,
}

# ---- layers --------------------------------------------------------------------------------------


def _conv(step: Step, layer: nn.Conv1d | nn.Conv2d) -> list[str]:
    bias = [] if layer.bias is None else [_array(step, layer.bias)]
    return [step.nodes.add(
        "Conv", step.operand(0), _array(step, layer.weight), *bias,
        strides=layer.stride, pads=layer.padding * 2, kernel_shape=layer.size)]


def _pool(step: Step, layer: nn.MaxPool2d | nn.AvgPool2d) -> list[str]:
    size, padding = _two(layer.size), _two(layer.padding)
    stride = size if layer.stride is None else _two(layer.stride)
    averages = isinstance(layer, nn.AvgPool2d)
    return [step.nodes.add(
        "AveragePool" if averages else "MaxPool", step.operand(0), kernel_shape=size,
        strides=stride, pads=padding * 2, count_include_pad=1 if averages else None)]


def _two(size: Size) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _batch_norm(step: Step, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> list[str]:
    return [step.nodes.add(
        "BatchNormalization", step.operand(0), *_affine(step, layer, layer.running_mean.shape),
        _array(step, layer.running_mean), _array(step, layer.running_var), epsilon=layer.eps)]


def _layer_norm(step: Step, layer: nn.LayerNorm) -> list[str]:
    return [step.nodes.add("LayerNormalization", step.operand(0),
                           *_affine(step, layer, layer.shape), axis=-len(layer.shape),
                           epsilon=layer.eps)]


def _affine(
    step: Step, layer: nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm, shape: Shape
) -> list[str]:
    """γ and β; 1 and 0 where the layer does without."""
    if layer.weight is None or layer.bias is None:
        dtype = step.made[0].dtype
        return [step.nodes.constant(make(shape, dtype)) for make in (np.ones, np.zeros)]
    return [_array(step, layer.weight), _array(step, layer.bias)]


def _recurrent(step: Step, layer: nn.RNN | nn.GRU | nn.LSTM) -> list[str]:
    """Time comes first in ONNX, and after it the directions, of which there is one."""
    nodes, kind = step.nodes, next(kind for kind in GATES if isinstance(layer, kind))
    order, hidden = GATES[kind], layer.weight_hh.shape[0]

    def turned(*weights: Tensor) -> str:
        """The gates of each in ONNX's order, outputs first, under one direction."""
        arrays = [w._array.astype(step.made[0].dtype, copy=False) for w in weights]
        parts = [np.split(array, len(order), axis=-1)[i].T for array in arrays for i in order]
        return nodes.constant(np.concatenate(parts)[None], name=nodes.name_of(weights[0]._array))

    x = nodes.add("Transpose", step.operand(0), perm=[1, 0, 2])
    biases = [b for b in (layer.bias_ih, layer.bias_hh) if b is not None]
    bias = turned(*biases) if biases else ""
    state = [nodes.add("Unsqueeze", step.operand(i), nodes.vector([0]))
             for i in range(1, len(step.inputs))]
    results = nodes.add_all(
        kind.__name__, len(step.made), x, turned(layer.weight_ih), turned(layer.weight_hh), bias,
        "", *state, hidden_size=hidden, linear_before_reset=1 if kind is nn.GRU else None)
    outputs = nodes.add("Squeeze", results[0], nodes.vector([1]))
    return [nodes.add("Transpose", outputs, perm=[1, 0, 2]),
            *(nodes.add("Squeeze", r, nodes.vector([0])) for r in results[1:])]


def _array(step: Step, x: Tensor | Array) -> str:
    """A parameter or a buffer, in the dtype of the result."""
    array, dtype = values_of(x), step.made[0].dtype
    return step.nodes.constant(array if array.dtype == dtype else array.astype(dtype))


LAYERS: dict[type[nn.Module], Callable[[Step, Any], list[str]]] = {
    nn.Conv1d: _conv, nn.Conv2d: _conv, nn.AvgPool2d: _pool, nn.MaxPool2d: _pool,
    nn.BatchNorm1d: _batch_norm, nn.BatchNorm2d: _batch_norm, nn.LayerNorm: _layer_norm,
    nn.RNN: _recurrent, nn.GRU: _recurrent, nn.LSTM: _recurrent,
}
