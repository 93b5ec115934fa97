"""Models written as ONNX files, by listening to what they do with an example.

A model's forward is run on two batches. Layers that are one operator of ONNX are written as that;
what is done between them is recorded as rows of the operator table. Numbers that differ between the
two runs follow the size of the batch, which the file leaves open.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from onnx import ModelProto, ValueInfoProto, checker, helper, numpy_helper

from tinygrad_opt.checkpoint import blaming, path_of, replacing
from tinygrad_opt.errors import caller_line, line_text, subject
from tinygrad_opt.hints import answers
from tinygrad_opt.interop.onnx.nodes import Extent, Nodes, Repeated, Step
from tinygrad_opt.interop.onnx.operators import FORMS, LAYERS, WORDS
from tinygrad_opt.kernels import brought
from tinygrad_opt.nn import Module
from tinygrad_opt.ops import Op
from tinygrad_opt.recording import (
    Setting,
    default_dtype,
    nested,
    no_grad,
    set_default_dtype,
    tracer,
)
from tinygrad_opt.symbols import ABOUT_THE_SHAPE
from tinygrad_opt.tensor import Tensor, deep_values, values_of
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["save"]

T = TypeVar("T")
OPSET, IR_VERSION = 20, 9                                  # of one release, in 2023


@answers
def save(
    path: str | os.PathLike[str], model: Module, example: ArrayLike | tuple[ArrayLike, ...]
) -> Path:
    """Write a model as an ONNX file that takes batches of any size.

    Layers become operators of ONNX, and so does what a ``forward`` of your own does between them.
    The model is written as it is in evaluation: no dropout, running statistics.

    Parameters
    ----------
    path : str or path
        Taken as it is; ``.onnx`` is usual.
    model : Module
        It is not changed.
    example : array, Tensor or tuple of them
        What it may be called with, a tuple for several arguments; samples lie along axis 0.
        Arrays of floats are taken in the dtype of the parameters.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If the model does something that has no word in ONNX, or that depends on values or on the
        size of the batch in a way that the file could not repeat: with its name and where it was
        done. If the file cannot be written. Nothing is left behind.

    Notes
    -----
    Operator set 20. Inputs are named after the arguments of ``forward``, parameters by their paths,
    outputs by the keys of a dict that is returned, or ``output``, ``output_1`` and so on. What
    Python decides while the example is run (branches, loops over time) is decided for good; only
    the size of the batch stays open. ONNX Runtime has no convolutions, recurrent layers and several
    activations in float64: give it models of float32.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> from tinygrad_opt.interop import onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = onnx.save(folder + "/moons.onnx", nn.MLP([2, 16, 2]), np.zeros((1, 2)))
    ...     path.stat().st_size > 300
    True
    """
    path = path_of("onnx.save", path, "model, example")
    if not isinstance(model, Module):
        raise TypeError(f"onnx.save writes a Module, as in save(path, model, example); got"
                        f" {type(model).__name__}")
    with blaming(path, "cannot save"):
        content = _proto(model, example).SerializeToString()
        checker.check_model(content, full_check=True)
        with replacing(path) as file:
            file.write(content)
    return path


def _proto(model: Module, example: object) -> ModelProto:
    """The model as ONNX's own object."""
    double = copy.deepcopy(model).eval()
    for path, module in double.named_modules().items():
        object.__setattr__(module, "__class__", _listened_to(type(module), path))
    examples = _examples(double, example)
    n = max(len(examples[0]), 2)                           # one sample alone may be broadcast
    small, large = (_Run(double, examples, n + more) for more in (0, 1))
    inputs = _names_of(model, len(examples))
    names = {id(values_of(x)): path for path, x in double._state().items()}
    nodes = Nodes(inputs[0], names)
    for name in inputs:
        nodes.unique(name)
    known = [*inputs]
    for one, other in zip(small.calls, large.calls):
        with one.blamed():
            if one.function != other.function:
                raise ValueError(f"it is not done for {n + 1} samples, as it is for {n}")
            given, attrs = (_named(_merged(x, y, n), known) for x, y in (
                (one.inputs, other.inputs), (one.attrs, other.attrs)))
            step = Step(nodes, given, one.arrays, attrs, one.made)
            known += one.word(step)
    if len(small.calls) != len(large.calls):
        raise ValueError(f"forward does more for {n + 1} samples than for {n}, or less")
    results = [x if isinstance(x, str) else nodes.constant(x)
               for x in _named(_merged(small.result, large.result, n), known)]
    return _model_of(nodes, small, large, inputs, nodes.outputs(results, small.names))


def _model_of(
    nodes: Nodes, small: _Run, large: _Run, inputs: list[str], outputs: list[str]
) -> ModelProto:
    """The graph with its inputs and outputs, whose first axis is called "batch"."""

    def described(
        names: list[str], pairs: Iterable[tuple[Array, Array]]
    ) -> list[ValueInfoProto]:
        return [helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(one.dtype),
            [int(k) if k == m else "batch" if i == 0 else None
             for i, (k, m) in enumerate(zip(one.shape, other.shape))])
            for name, (one, other) in zip(names, pairs)]

    first, last = (described(names, zip(*arrays)) for names, arrays in (
        (inputs, (small.arrays, large.arrays)), (outputs, (small.returned, large.returned))))
    graph = helper.make_graph(
        nodes.nodes, "tinygrad_opt", first, last,
        [numpy_helper.from_array(a, name) for name, a in nodes.initializers.items()])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="tinygrad_opt")


# ---- what is run -------------------------------------------------------------------------------


def _examples(model: Module, example: object) -> list[Array]:
    """The inputs as arrays, floats in the dtype of the parameters."""
    given = example if isinstance(example, tuple) else (example,)
    dtype = next((p.dtype for p in model.parameters().values()), default_dtype())
    for p in model.parameters().values():
        brought(values_of(p))                              # no arrays of other libraries
    arrays = [brought(values_of(x)) for x in given]
    arrays = [array.astype(dtype) if array.dtype.kind == "f" and type(x) is not Tensor else array
              for x, array in zip(given, arrays)]
    if not arrays or not arrays[0].ndim or not arrays[0].size:
        raise ValueError("an example needs samples, along axis 0")
    return arrays


def _names_of(model: Module, count: int) -> list[str]:
    """What forward calls its first arguments."""
    parameters = [p for p in inspect.signature(model.forward).parameters.values()
                  if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in parameters[:count]]
    return names if len(names) == count else [f"input_{i}" for i in range(count)]


def _listened_to(kind: type[Module], path: str) -> type[Module]:
    """The class of a module, whose calls a run hears of."""

    def call(self: Module, *args: object, **kwargs: object) -> object:
        run = tracer.get()
        if isinstance(run, _Run):
            return run.module(self, kind, path, args, kwargs)
        return kind.__call__(self, *args, **kwargs)

    return type(kind.__name__, (kind,), {"__call__": call})


def _layer_word(kind: type[Module]) -> Callable[[Step, Module], list[str]] | None:
    """The word for a layer, unless a subclass computes something else."""
    for own, word in LAYERS.items():
        methods = ("forward", "step")
        if issubclass(kind, own) and all(
                getattr(kind, name, None) is getattr(own, name, None) for name in methods):
            return word
    return None


class _Ref(NamedTuple):
    """What was computed: its place among the arrays of a run."""

    place: int


class _Call(NamedTuple):
    """An operation that was run: rows of the operator table, layers and functions of NumPy."""

    function: object
    write: Callable[[Step], str | list[str]]
    inputs: tuple[object, ...]                             # references, and constants as they are
    arrays: tuple[Any, ...]                                # the inputs, as they were
    attrs: dict[str, object]
    made: tuple[Array, ...]
    place: str                                             # where it was done

    def word(self, step: Step) -> list[str]:
        """The names of its results, once it is written."""
        names = self.write(step)
        return [names] if isinstance(names, str) else names

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Let errors say what could not be written."""
        try:
            yield
        except (ValueError, NotImplementedError) as error:
            raise ValueError(f"{_name_of(self.function)}{self.place}: {error}") from error


class _Run:
    """What a model does with samples, and the engine's `tracer` meanwhile.

    Arrays are known by identity: the inputs, and what was made of them.
    """

    def __init__(self, model: Module, examples: list[Array], n: int) -> None:
        self.calls: list[_Call] = []
        self.arrays: list[Array] = []
        self._places: dict[int, int] = {}
        self._modules: list[str] = []
        self._opened: list[object] = []                       # functions whose inside is recorded
        rows = np.arange(n) % len(examples[0])
        inputs = [Tensor(x[rows] if x.ndim and len(x) == len(examples[0]) else x)
                  for x in examples]
        for x in inputs:
            self._know(x._array)
        token = tracer.set(self)
        try:
            with no_grad():
                result: object = model(*inputs)
        finally:
            tracer.reset(token)
        self.returned = _arrays(result)
        self.result = tuple(map(self._refer, self.returned))
        self.names = ["output"] * len(self.returned)
        if isinstance(result, dict) and len(result) == len(self.returned):
            self.names = list(result)

    def module(
        self, layer: Module, kind: type[Module], path: str, args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        """Call a module: as one operation, if ONNX has one that computes the same."""
        word, given = _layer_word(kind), _arrays(args)
        if word is None or kwargs or not self._knows(given[:1]):
            self._modules.append(path)
            try:
                return layer.forward(*args, **kwargs)
            finally:
                self._modules.pop()
        with no_grad(), Setting(tracer, None):
            results = layer.forward(*args)
        self._write(layer, lambda step: word(step, layer), given, {}, _arrays(results))
        return results

    # ---- what the engine asks of it (tinygrad_opt.recording.Tracer) ----

    def compute(
        self, function: Callable[..., object], inputs: Iterable[object],
        attrs: dict[str, object],
    ) -> tuple[object, None]:
        """Call a function, and write it down if it is given what was computed."""
        arrays, options = deep_values(tuple(inputs)), deep_values(attrs)
        kernel = getattr(function, "kernel", function)
        if function in ABOUT_THE_SHAPE or not self._knows([arrays, list(options.values())]):
            return _as_array(kernel(*arrays, **options)), None
        if function in WORDS:
            made = _as_array(kernel(*arrays, **options))
            self._write(function, WORDS[function], arrays, options, [made])
            return made, None
        return self._inside(function, FORMS.get(function, kernel), arrays, options), None

    def vjps(self, z: object) -> NoReturn:
        """A model that asks for gradients is not written."""
        raise NotImplementedError(f"backward(){self._place()} has no word in ONNX")

    def lift(self, array: object) -> Any:
        """An array as a Tensor, so that what is done with it is heard of."""
        return Tensor(array) if isinstance(array, np.ndarray) else nested(self.lift, array)

    def read(self, owner: object, name: str, value: T) -> T:
        """Attributes are those of the copy that is run."""
        return value

    def act(self, action: Callable[..., None], args: tuple[object, ...]) -> None:
        """Do something that is not a computation: checks, which the file leaves out."""
        with Setting(tracer, None):
            action(*args)

    def refuse(self, error: Callable[[object], Exception], x: object) -> NoReturn:
        """A file cannot look at values, nor change what is outside."""
        raise NotImplementedError(f"values of {subject(x)} are read or written{self._place()};"
                                  " the file could not do that")

    # ---- how it writes ----

    def _inside(
        self, function: Callable[..., object], form: Callable[..., object],
        arrays: tuple[object, ...], options: dict[str, object],
    ) -> object:
        """The result of a function that has no word, of which every part is written instead."""

        def tensor(x: object) -> Any:
            if isinstance(x, np.ndarray) and self._knows(x):
                return Tensor(x)
            return nested(tensor, x)

        before = default_dtype()
        self._opened.append(function)
        try:
            if not isinstance(form, FunctionType) or function in self._opened[:-1]:
                raise NotImplementedError
            if not isinstance(function, Op):               # its numbers become what NumPy's would
                made = np.asarray(function(*arrays, **options)).dtype
                set_default_dtype(made if made.kind == "f" else before)
            return _as_array(values_of(form(*tensor(arrays), **tensor(options))))
        except Exception as error:
            name = _name_of(function)
            raise NotImplementedError(f"ONNX has no word for {name}{self._place()}") from error
        finally:
            self._opened.pop()
            set_default_dtype(before)

    def _write(
        self, function: object, word: Callable[[Step], str | list[str]],
        inputs: Iterable[object], attrs: dict[str, object], made: list[Array],
    ) -> None:
        given = tuple(inputs)
        self.calls.append(_Call(function, word, self._refer(given), given, self._refer(attrs),
                                tuple(made), self._place()))
        for array in made:
            self._know(array)

    def _know(self, array: Array) -> None:
        self._places[id(array)] = len(self.arrays)
        self.arrays.append(array)                          # alive, so that its id stays valid

    def _knows(self, x: object) -> bool:
        """Whether any of it was computed."""
        if isinstance(x, list | tuple):
            return any(map(self._knows, x))
        return id(values_of(x)) in self._places

    def _refer(self, x: object) -> Any:
        if isinstance(x, np.ndarray):
            return _Ref(self._places[id(x)]) if id(x) in self._places else x
        return nested(self._refer, x)

    def _place(self) -> str:
        module = f" in {self._modules[-1]}" if self._modules and self._modules[-1] else ""
        return f"{module} ({line_text(caller_line())})"


def _arrays(x: object) -> list[Array]:
    """The arrays of Tensors in tuples, lists and dicts, one after the other."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, list | tuple):
        return [part for member in x for part in _arrays(member)]
    return [] if x is None else [np.asarray(values_of(x))]


def _as_array(x: object) -> Any:
    return np.asarray(x) if isinstance(x, np.generic) else x


def _name_of(function: object) -> str:
    if isinstance(function, Module):
        return type(function).__name__
    return getattr(function, "name" if isinstance(function, Op) else "__name__", "a function")


# ---- what follows the batch ----------------------------------------------------------------------


def _merged(one: object, other: object, n: int) -> Any:
    """What was the same for n samples and n + 1, or how it follows their number."""
    match one, other:
        case np.ndarray(), np.ndarray():
            if one is other or np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
                return one
            rows = one.shape == (n, *other.shape[1:]) and len(other) == n + 1
            if rows and (other == one[:1]).all():
                return Repeated(one[:1])
        case dict(), dict():
            return {key: _merged(x, other[key], n) for key, x in one.items()}
        case slice(), slice():
            return slice(*(_merged(getattr(one, end), getattr(other, end), n)
                           for end in ("start", "stop", "step")))
        case _Ref(), _Ref():
            if one == other:
                return one
        case (list() | tuple(), list() | tuple()):
            if type(one) is type(other) and len(one) == len(other):
                return type(one)(_merged(x, y, n) for x, y in zip(one, other))
        case _ if type(one) is type(other) and one == other:
            return one
        case (int(), int()) if not isinstance(one, bool):
            return Extent(other - one, one - (other - one) * n)
    raise ValueError("it takes numbers that follow the size of the batch, or its values")


def _named(x: object, names: list[str]) -> Any:
    """The same, with the names of what was computed."""
    if isinstance(x, _Ref):
        return names[x.place]
    return x if isinstance(x, Extent | Repeated) else nested(lambda v: _named(v, names), x)
