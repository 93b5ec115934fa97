"""ONNX files as models: their nodes run as operations of this package, with gradients."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import onnx
from onnx import checker, helper, inliner, numpy_helper, version_converter

from tinygrad_opt import nn, ops
from tinygrad_opt.checkpoint import blaming, path_of
from tinygrad_opt.interop.onnx.operators import ANSWERS, GATES, OPTIONS, REDUCTIONS, ROWS
from tinygrad_opt.nn import Module
from tinygrad_opt.outside import as_operand
from tinygrad_opt.recording import nested
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["Graph", "load"]

Value: TypeAlias = Tensor | Array                         # arrays of integers stay arrays

OLDEST = 13                                                # operator set whose words are known here


def load(path: str | os.PathLike[str]) -> Graph:
    """Read an ONNX file as a model that computes, is trained and is drawn like any other.

    Parameters
    ----------
    path : str or path
        Written by `save`, by PyTorch's exporters or by others. Weights that lie in a file beside
        it are read too.

    Returns
    -------
    Graph
        A module. Arrays of floats in the file are its parameters, by their names there.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or no ONNX file, or if it holds operators that have no
        counterpart here: with their names.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> from tinygrad_opt.interop import onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = onnx.save(folder + "/m.onnx", nn.MLP([2, 16, 3], rng=0), np.zeros((1, 2)))
    ...     model = onnx.load(path)
    >>> model
    Graph(Gemm, Relu, Gemm)
    >>> list(model.parameters())
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    >>> model(np.zeros((5, 2))).shape
    (5, 3)
    """
    path = path_of("onnx.load", path, "")
    with blaming(path, "cannot load"):
        proto = onnx.load(path)
        checker.check_model(proto)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
        version = next((x.version for x in proto.opset_import if x.domain in _OURS), 0)
        if version < OLDEST:
            proto = version_converter.convert_version(proto, OLDEST)
        return Graph(proto)


_OURS = ("", "ai.onnx")                                    # the two names of ONNX's own domain


class _Node(NamedTuple):
    """``outputs = kind(*inputs, **attrs)``; an input or output that is not there is ``""``."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, object]


class Graph(Module):
    """The graph of an ONNX file.

    Calling it takes the inputs of the graph in order, and gives its output, or a tuple of them.
    Dropout does nothing, and BatchNormalization keeps its statistics, also while training.

    Parameters
    ----------
    proto : onnx.ModelProto

    Attributes
    ----------
    inputs, outputs : tuple of str
        Their names.

    Raises
    ------
    ValueError
        If it has operators that have no counterpart here.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        graph = proto.graph
        self.weights: dict[str, Tensor] = {}
        self.constants: dict[str, Array] = {}
        nodes = [_node(node) for node in graph.node]
        _refuse_unknown(nodes)
        statistics = {name for node in nodes if node.kind == "BatchNormalization"
                      for name in node.inputs[3:]}
        for stored in graph.initializer:
            name, array = stored.name, numpy_helper.to_array(stored)
            if array.dtype.kind == "f" and array.ndim:
                self.weights[name] = Tensor(array, name not in statistics, name=name)
            else:
                self.constants[name] = array
        self.constants |= {node.outputs[0]: _constant(**node.attrs)
                           for node in nodes if node.kind == "Constant"}
        self.nodes = [node for node in nodes if node.kind != "Constant"]
        known = self.weights.keys() | self.constants.keys()
        given = [x for x in graph.input if x.name not in known]
        self.inputs = tuple(x.name for x in given)
        self.outputs = tuple(x.name for x in graph.output)
        self._dtypes = [helper.tensor_dtype_to_np_dtype(x.type.tensor_type.elem_type)
                        for x in given]

    def _members(self) -> Iterator[tuple[str, Module | Tensor]]:
        return iter(self.weights.items())

    def forward(self, *inputs: ArrayLike) -> Value | tuple[Value, ...]:
        if len(inputs) != len(self.inputs):
            raise TypeError(f"the graph takes {len(self.inputs)} input(s),"
                            f" {', '.join(self.inputs)}; got {len(inputs)}")
        values: dict[str, Value] = {**self.constants, **self.weights}
        for name, dtype, x in zip(self.inputs, self._dtypes, inputs):
            floats = np.dtype(dtype).kind == "f"
            values[name] = as_operand(x) if not floats else (
                x.astype(dtype, copy=False) if type(x) is Tensor else Tensor(x, dtype=dtype))
        for node in self.nodes:
            made = _OPERATORS[node.kind](*map(values.get, node.inputs), **node.attrs)
            several = made if isinstance(made, tuple) else (made,)
            values.update((name, z) for name, z in zip(node.outputs, several) if name)
        results = tuple(values[name] for name in self.outputs)
        return results if len(results) > 1 else results[0]

    def _options(self) -> str:
        kinds = [node.kind for node in self.nodes]
        return ", ".join(kinds if len(kinds) < 9 else [*kinds[:4], "…", *kinds[-4:]])


# ---- nodes ---------------------------------------------------------------------------------------


def _node(node: onnx.NodeProto) -> _Node:
    kind = node.op_type if node.domain in _OURS else f"{node.domain}.{node.op_type}"
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return _Node(kind, tuple(node.input), tuple(node.output),
                 {key: nested(_text, _text(value)) for key, value in attrs.items()})


def _text(x: object) -> object:
    return x.decode() if isinstance(x, bytes) else x


# The only values of options that are known; others are refused when a file is read.
_ONLY: dict[str, dict[str, tuple[object, ...]]] = {
    "Conv": {"auto_pad": ("NOTSET", "VALID")},
    "MaxPool": {"auto_pad": ("NOTSET", "VALID"), "ceil_mode": (0,), "storage_order": (0,)},
    "AveragePool": {"auto_pad": ("NOTSET", "VALID"), "ceil_mode": (0,)},
    "BatchNormalization": {"training_mode": (0,)},
    "CumSum": {"exclusive": (0,), "reverse": (0,)},
    "Pad": {"mode": ("constant",)},
    "ArgMax": {"select_last_index": (0,)}, "ArgMin": {"select_last_index": (0,)},
    "RNN": {"direction": ("forward",), "activations": (["Tanh"],)},
    "GRU": {"direction": ("forward",), "activations": (["Sigmoid", "Tanh"],),
            "linear_before_reset": (1,)},
    "LSTM": {"direction": ("forward",), "activations": (["Sigmoid", "Tanh", "Tanh"],),
             "input_forget": (0,)},
}


def _refuse_unknown(nodes: list[_Node]) -> None:
    """Everything in the nodes that has no counterpart here, in one error."""
    problems = dict.fromkeys(node.kind for node in nodes
                             if node.kind not in _OPERATORS and node.kind != "Constant")
    found = [f"the operators {', '.join(problems)}"] if problems else []
    for node in nodes:
        for name, values in _ONLY.get(node.kind, {}).items():
            default = 0 if name == "linear_before_reset" else values[0]
            if node.attrs.get(name, default) not in values:
                found.append(f"{node.kind} with {name}={node.attrs.get(name, default)}")
        if {*_ints(node.attrs.get("dilations", ()))} - {1}:
            found.append(f"{node.kind} with dilations={node.attrs['dilations']}")
    if found:
        raise ValueError(f"it needs what there is no counterpart of here:"
                         f" {'; '.join(dict.fromkeys(found))}")


def _constant(**attrs: object) -> Array:
    """The value of a Constant, which has one attribute."""
    ((kind, value),) = attrs.items()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.array(value, np.float32 if kind.startswith("value_float") else np.int64)


def _ints(x: object) -> list[int]:
    return [int(n) for n in np.asarray(values_of(x)).flat]


# ---- operators -----------------------------------------------------------------------------------

# Each is a function of the node's inputs, with its attributes as options by ONNX's names.
Operator: TypeAlias = Callable[..., Value | tuple[Value, ...]]


def _row(kind: str, row: ops.Op) -> Operator:
    renamed = OPTIONS.get(kind, {})

    def run(x: Value, *others: Value, **attrs: object) -> Value:
        options = {renamed[key]: value for key, value in attrs.items()}
        for y in others or ((),):
            x = row(x, *([y] if others else []), **options)
        return x

    return run


def _reduction(row: ops.Op) -> Operator:
    def run(
        x: Value, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Value:
        axis = None if axes is None else tuple(_ints(axes))
        if not axis:
            axis = () if noop_with_empty_axes else None
        return row(x, axis=axis, keepdims=bool(keepdims))

    return run


def _div(x: Value, y: Value) -> Value:
    whole = all(np.asarray(values_of(v)).dtype.kind in "iu" for v in (x, y))
    return np.trunc(np.divide(x, y)).astype(x.dtype) if whole else ops.divide(x, y)


def _gemm(a: Value, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0,
          transA: int = 0, transB: int = 0) -> Value:
    a, b = a.T if transA else a, b.T if transB else b
    if alpha == beta == 1 and c is not None and c.ndim == 1:
        return nn.linear(a, b, c)
    z = a @ b if alpha == 1 else (a @ b) * alpha
    return z if c is None else z + (c if beta == 1 else c * beta)


def _padding(
    x: Value, pads: Sequence[int] | None, size: Sequence[int], fill: float = 0.0
) -> tuple[Value, tuple[int, ...]]:
    """x, padded if its two sides differ or are wide, and what is left to pad on both."""
    axes = len(size)
    before, after = tuple(pads or [0] * 2 * axes)[:axes], tuple(pads or [0] * 2 * axes)[axes:]
    if before == after and all(2 * p <= k for p, k in zip(before, size)):
        return x, before
    widths = ((0, 0), (0, 0), *zip(before, after))
    return np.pad(x, widths, constant_values=fill), (0,) * axes


def _conv(
    x: Value, w: Tensor, b: Tensor | None = None, *, auto_pad: str = "NOTSET", group: int = 1,
    dilations: Sequence[int] = (), kernel_shape: Sequence[int] = (),
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:
    size = w.shape[2:]
    convolve = {1: nn.conv1d, 2: nn.conv2d}.get(len(size))
    if convolve is None:
        raise NotImplementedError(f"convolutions over {len(size)} axes")
    x, padding = _padding(x, pads, size)
    options = {"stride": tuple(strides or [1] * len(size)), "padding": padding}
    if group == 1:
        return convolve(x, w, b, **options)
    n, m = x.shape[1] // group, w.shape[0] // group
    return np.concatenate([
        convolve(x[:, i * n:(i + 1) * n], w[i * m:(i + 1) * m],
                 None if b is None else b[i * m:(i + 1) * m], **options)
        for i in range(group)], axis=1)


def _pool(kind: str) -> Operator:
    largest = kind == "MaxPool"
    pool = nn.max_pool2d if largest else nn.avg_pool2d

    def run(
        x: Value, *, kernel_shape: Sequence[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
        count_include_pad: int = 0, dilations: Sequence[int] = (),
        pads: Sequence[int] | None = None, storage_order: int = 0,
        strides: Sequence[int] | None = None,
    ) -> Value:
        size, stride = tuple(kernel_shape), tuple(strides or [1] * len(kernel_shape))
        if len(size) == 1:                                 # a signal is an image of one row
            pads = [0, pads[0], 0, pads[1]] if pads else None
            z = run(x[:, :, None], kernel_shape=(1, *size), pads=pads, strides=(1, *stride),
                    count_include_pad=count_include_pad)
            return z[:, :, 0]
        padded, padding = _padding(x, pads, size, -np.inf if largest else 0.0)
        z = pool(padded, size, stride=stride, padding=padding)
        if largest or count_include_pad or not any(pads or ()):
            return z
        ones, padding = _padding(np.ones((1, 1, *x.shape[2:]), x.dtype), pads, size)
        return z / pool(ones, size, stride=stride, padding=padding)

    return run


def _global_pool(row: ops.Op) -> Operator:
    return lambda x: row(x, axis=tuple(range(2, x.ndim)), keepdims=True)


def _batch_norm(
    x: Value, weight: Tensor, bias: Tensor, mean: Value, var: Value, *, epsilon: float = 1e-5,
    momentum: float = 0.9, training_mode: int = 0,
) -> Value:
    return nn.batch_norm(x, values_of(mean), values_of(var), weight, bias, eps=epsilon)


def _layer_norm(
    x: Value, weight: Value, bias: Value | None = None, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Value:
    z = nn.layer_norm(x, shape=x.shape[axis:], eps=epsilon) * weight
    return z if bias is None else z + bias


def _reshape(x: Value, shape: Value, allowzero: int = 0) -> Value:
    return x.reshape(tuple(x.shape[i] if n == 0 and not allowzero else n
                           for i, n in enumerate(_ints(shape))))


def _split(
    x: Value, split: Value | None = None, *, axis: int = 0, num_outputs: int = 0
) -> tuple[Value, ...]:
    length = -(-x.shape[axis] // num_outputs) if split is None else 0
    ends = list(itertools.accumulate(_ints(split) if split is not None else [length] * num_outputs))
    return tuple(np.split(x, ends[:-1], axis=axis))


def _slice(
    x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None
) -> Value:
    first, last = _ints(starts), _ints(ends)
    where = range(len(first)) if axes is None else [axis % x.ndim for axis in _ints(axes)]
    stride = [1] * len(first) if steps is None else _ints(steps)
    index = [slice(None)] * x.ndim
    for axis, i, j, k in zip(where, first, last, stride):
        index[axis] = slice(i, None if k < 0 and j <= -x.shape[axis] - 1 else j, k)
    return x[tuple(index)]


def _constant_of_shape(shape: Value, value: onnx.TensorProto | None = None) -> Array:
    fill = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    return np.full(_ints(shape), fill[0], fill.dtype)


def _pad(
    x: Value, pads: Value, value: Value | None = None, axes: Value | None = None, *,
    mode: str = "constant",
) -> Value:
    where = range(x.ndim) if axes is None else _ints(axes)
    widths, numbers = [(0, 0)] * x.ndim, _ints(pads)
    for axis, pair in zip(where, zip(numbers, numbers[len(numbers) // 2:])):
        widths[axis] = pair
    return np.pad(x, widths, constant_values=0 if value is None else values_of(value).item())


def _best(function: Operator) -> Operator:
    return lambda x, axis=0, keepdims=1, select_last_index=0: function(
        x, axis=axis, keepdims=bool(keepdims))


def _recurrent(kind: type[nn.RNN | nn.GRU | nn.LSTM]) -> Operator:
    order = np.argsort(GATES[kind])                        # ours, as places in ONNX's
    step: Callable[..., Tensor | tuple[Tensor, Tensor]] = (
        nn.lstm_step if kind is nn.LSTM else nn.gru_step if kind is nn.GRU else nn.rnn_step)

    def ours(w: Value) -> Value:
        """The gates of one direction, outputs first, in the order that they have here."""
        n = w.shape[0] // len(order)
        parts = [w[k * n:(k + 1) * n] for k in order]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def run(
        x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
        h: Value | None = None, c: Value | None = None, peepholes: Value | None = None, *,
        layout: int = 0, **attrs: object,
    ) -> tuple[Value, ...]:
        if lengths is not None or peepholes is not None:
            raise NotImplementedError(f"{kind.__name__} with lengths of sequences or peepholes")
        w, r = ours(w[0]).T, ours(r[0]).T
        half = 0 if b is None else b.shape[1] // 2
        biases = () if b is None else (ours(b[0, :half]), ours(b[0, half:]))
        x = np.swapaxes(x, 0, 1) if layout else x
        zeros = Tensor(np.zeros((x.shape[1], r.shape[0]), x.dtype))
        first = [zeros if s is None else s[:, 0] if layout else s[0] for s in (h, c)]
        state = tuple(first) if kind is nn.LSTM else first[0]
        outputs = []
        for t in range(x.shape[0]):
            state = step(x[t], state, w, r, *biases)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        ends = state if isinstance(state, tuple) else (state,)
        z = np.stack(outputs)[:, None]                     # (time, direction, samples, hidden)
        if layout:
            return (z.transpose(2, 0, 1, 3), *(s[:, None] for s in ends))
        return (z, *(s[None] for s in ends))

    return run


_OPERATORS: dict[str, Operator] = {
    **{kind: _row(kind, row) for kind, row in ROWS.items()},
    **{kind: _reduction(row) for kind, row in REDUCTIONS.items()},
    **ANSWERS,
    # numbers
    "Div": _div, "Gelu": lambda x, approximate="none": nn.gelu(x, approximate), "Round": np.round,
    "Clip": lambda x, low=None, high=None: np.clip(x, low, high),
    "PRelu": lambda x, slope: np.where(np.greater(x, 0), x, x * slope),
    "Where": lambda mask, x, y: np.where(mask, x, y), "Identity": lambda x: x,
    "Cast": lambda x, to, saturate=1: x.astype(helper.tensor_dtype_to_np_dtype(to)),
    "Sum": lambda *xs: sum(xs[1:], xs[0]), "Dropout": lambda x, *rest, **attrs: x,
    "CumSum": lambda x, axis, exclusive=0, reverse=0: np.cumsum(x, axis=int(axis)),
    "ArgMax": _best(np.argmax), "ArgMin": _best(np.argmin),
    # products and layers
    "Gemm": _gemm, "Einsum": lambda *xs, equation: np.einsum(equation, *xs), "Conv": _conv,
    "MaxPool": _pool("MaxPool"), "AveragePool": _pool("AveragePool"),
    "GlobalAveragePool": _global_pool(ops.mean), "GlobalMaxPool": _global_pool(ops.max),
    "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    **{kind.__name__: _recurrent(kind) for kind in GATES},
    # shapes
    "Reshape": _reshape, "Split": _split, "Pad": _pad, "ConstantOfShape": _constant_of_shape,
    "Flatten": lambda x, axis=1: x.reshape((math.prod(x.shape[:axis]), -1)),
    "Transpose": lambda x, perm=None: np.transpose(x, perm),
    "Squeeze": lambda x, axes=None: np.squeeze(x, None if axes is None else tuple(_ints(axes))),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(_ints(axes))),
    "Concat": lambda *xs, axis: np.concatenate(xs, axis=axis),
    "Expand": lambda x, shape: np.broadcast_to(
        x, np.broadcast_shapes(x.shape, tuple(_ints(shape)))),
    "Tile": lambda x, repeats: np.tile(x, _ints(repeats)),
    "Shape": lambda x, start=0, end=None: np.array(x.shape[start:end], np.int64),
    "Range": lambda *ends: np.arange(
        *(values_of(x).item() for x in ends), dtype=ends[0].dtype),
    "Trilu": lambda x, k=0, upper=1: (np.triu if upper else np.tril)(x, int(k)),
    # indices
    "Slice": _slice, "Gather": lambda x, indices, axis=0: np.take(x, values_of(indices), axis=axis),
    "GatherElements": lambda x, indices, axis=0: np.take_along_axis(
        x, values_of(indices), axis=axis),
}
