"""What a model computes and its backward pass as lines of code, derived from the operator table.

Each operation is run on symbols: its kernel for the line of the forward pass, its vector-Jacobian
products for those of the backward pass. What takes several lines becomes a function of the script.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from tinygrad_opt import kernels, ops
from tinygrad_opt.compiler.native.lowering import PLAIN
from tinygrad_opt.interop.scripts.code import (
    ATOM,
    ROWS,
    Code,
    Functional,
    Unsaid,
    Writer,
    as_function,
    as_written,
    literal,
    repeated,
    text_of,
    tree_of,
)
from tinygrad_opt.interop.scripts.script_parts import Names
from tinygrad_opt.ops import Op
from tinygrad_opt.symbols import Symbol, Untraceable
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import Array, Shape

__all__ = ["Formulas"]


def _cross_entropy(x: Array, labels: Array) -> Array:
    """Mean of −log softmax(x) at the labels."""
    return -np.mean(ops.log_softmax(x)[np.arange(len(x)), labels])


def _residual(x: Array, labels: Array) -> Array:
    """softmax(x) − onehot(labels)."""
    onehot = labels[:, None] == np.arange(x.shape[1])
    return ops.softmax(x) - onehot


def _erf(x: Array) -> Array:
    """NumPy has none."""
    return np.vectorize(math.erf)(x).astype(x.dtype)


def _linear(x: Array, w: Array, b: Array) -> Array:
    return x @ w + b


def _scatter(g: Array, index: Array | tuple[Array, ...], shape: Shape) -> Array:
    """Zeros of the shape, with g added where the index points."""
    out = np.zeros(math.prod(shape), g.dtype)
    np.add.at(out, np.arange(out.size).reshape(shape)[index], g)
    return out.reshape(shape)


# by kernel: what is written as a function of the script, from the source of its plain form
_BY_SOURCE: dict[object, Callable[..., object]] = {
    kernel: PLAIN[kernel] for kernel in (kernels.softmax, kernels.log_softmax, kernels.sigmoid)
} | {kernels.erf: _erf, kernels.scatter: _scatter, kernels.linear: _linear}
# and the plain forms that are opened; NumPy's own functions stay as they are. Each is compared with
# its kernel when it is used
_PLAIN: dict[object, Callable[..., object]] = {
    kernel: plain for kernel, plain in PLAIN.items()
    if kernel not in _BY_SOURCE and getattr(kernel, "__module__", "") == kernels.__name__
} | {
    kernels.cross_entropy: _cross_entropy, kernels.residual: _residual,
    kernels.linear: _linear, kernels.matmul: lambda x, y: x @ y,
}
_STEMS = {
    "linear": "z", "matmul": "z", "add": "z", "scale_and_shift": "z", "standardize": "normed",
    "rescale": "normed", "windows": "patches", "rnn": "states", "gru": "states", "lstm": "states",
    "getitem": "part", "reshape": "shaped", "transpose": "turned", "swapaxes": "turned",
    "pad": "padded", "max": "largest", "min": "smallest", "mean": "mean", "sum": "total",
    "take": "vectors", "subtract": "e", "multiply": "product", "square": "squares",
} | dict.fromkeys(("tanh", "relu", "sigmoid", "gelu", "gelu_tanh", "elu", "leaky_relu", "silu",
                   "softplus", "softmax", "log_softmax"), "h")


class _Opened(Functional):
    """Runs the kernels of operations too, by their plain forms, unless there is a word for them."""

    rows: Collection[str] = ()

    def apply(self, op: Op, inputs: Sequence[object], attrs: Mapping[str, object]) -> Symbol:
        if op.name in self.rows:
            return self.call(op, inputs, attrs)
        if op.kernel not in _BY_SOURCE or op.kernel in _PLAIN:
            with contextlib.suppress(Untraceable):         # a function of the script, then
                made = _PLAIN.get(op.kernel, op.kernel)(*inputs, **attrs)
                if isinstance(made, Symbol):
                    return made
        return self.call(op.kernel, inputs, attrs)


class Formulas:
    """Lines of code for operations, and the functions that they call.

    Parameters
    ----------
    library : {"np", "jnp", "torch"}
    batch : int
        How many samples there are: the first axis of a constant of that length is left open.

    Attributes
    ----------
    names : dict of int to str
        What a Tensor is called, by its id.
    inlined : dict of str to (str, int)
        By name, the code that stands in the place of what is no variable.
    functions : dict of str to str
        The functions that the lines call, by name, each behind those that it calls.
    """

    def __init__(self, library: str, batch: int) -> None:
        self.library, self.batch = library, batch
        self.rows = ROWS if library != "np" else ()
        self.names: dict[int, str] = {}
        self.inlined: dict[str, Code] = {}
        self.functions: dict[str, str] = {}

    # ---- names -----------------------------------------------------------------------------------

    def name(self, steps: Iterable[Tensor], taken: Names) -> None:
        """Give each its name: z and h, or z1, h1, z2, h2 where there are several."""
        stems = {id(t): _STEMS.get(t.op.name, "a") if t.op is not None else "a"
                 for t in steps if id(t) not in self.names}
        counts = Counter(stems.values())
        self.names.update((i, taken.new(stem, counts[stem] > 1)) for i, stem in stems.items())

    # ---- lines -----------------------------------------------------------------------------------

    def forward(self, t: Tensor) -> Code:
        """The value of an operation."""
        assert t.op is not None
        words = [*map(self.word, t.inputs)]
        if t.op.name in self.rows:
            return self._code(self._traced(t, t.op, (), words, t._array)[2])
        kernel = _PLAIN.get(t.op.kernel, t.op.kernel)
        if _loops(kernel):
            return self._called(t, kernel, words), ATOM
        return self._said(t, kernel, t.op.name, (), t._array)

    def backward(self, t: Tensor, place: int, gradient: str) -> str:
        """The gradient of one input of an operation, in its shape."""
        assert t.op is not None
        vjp, x = t.op.vjps[place], t.inputs[place]
        assert vjp is not None
        name = f"{t.op.name}_vjp"
        if not isinstance(t.op.vjps, ops.Joint) and sum(v is not None for v in t.op.vjps) > 1:
            name += f"_{place + 1}"
        # other numbers than ones, for which the gradients of norms are nothing but rounding
        g = np.cos(np.arange(t.size, dtype=t.dtype)).reshape(t.shape)
        value = vjp(g, t._array, *map(values_of, t.inputs), **t.attrs)
        first = (gradient, g), (self.names[id(t)], t._array)
        return self._said(t, vjp, name, first, value, x)[0]

    def backward_together(self, t: Tensor, gradient: str) -> tuple[str, list[str]] | None:
        """The gradients of all inputs from one call, if they are computed in one loop.

        Returns
        -------
        call : str
            What gives them all.
        shaped : list of str
            For each, how it takes the shape of its input: ``{}.sum(axis=0)``; at the end "" for
            those that are more than there are inputs.
        """
        assert t.op is not None
        vjps = t.op.vjps
        if not isinstance(vjps, ops.Joint) or not _loops(vjps.vjp):
            return None
        words = [gradient, self.names[id(t)], *[self.word(x) for x in t.inputs]]
        made = vjps.vjp(np.ones_like(t._array), t._array, *map(values_of, t.inputs), **t.attrs)
        trace = Functional()
        shaped = [self._code(_in_shape(trace.symbol("{}", part), x, self.word(x)))[0]
                  for part, x in zip(made, t.inputs)]
        return self._called(t, vjps.vjp, words), shaped + [""] * (len(made) - len(shaped))

    def _said(
        self, t: Tensor, function: Callable[..., object], name: str,
        first: Sequence[tuple[str, Array]],
        value: Array, like: object = None,
    ) -> Code:
        """A kernel or a VJP as code: what it computes, or a call where that takes several lines.

        Parameters
        ----------
        first : sequence of (str, ndarray)
            What it is given before the inputs of t: the gradient and the result, for a VJP.
        value : ndarray
            What it gives, with which the code is compared.
        like : Tensor or array, optional
            What its result is the gradient of.
        """
        words = [*(word for word, _ in first), *map(self.word, t.inputs)]
        try:
            *_, made = self._traced(t, function, first, words, value)
            text, binds = self._code(_in_shape(made, like, self.word(like)), {
                x.shape: f"{word}.shape" for word, x in zip(words, [*[t] * len(first), *t.inputs])
                if type(x) is Tensor and x.ndim and word.isidentifier()})
        except (Untraceable, Unsaid):
            return self._called(t, function, words), ATOM
        inlined = sum(len(self.inlined[word][0]) for word in words if word in self.inlined)
        if not repeated([made]) and len(text) <= 80 + inlined:
            return text, binds
        # a function of the script, in the words of the package
        letters = self._letters(function, len(words))
        trace, given, made = self._traced(t, function, first, letters, value)
        are = [isinstance(x, Symbol) for x in given]
        name = self._add(name, as_function(
            name, itertools.compress(letters, are), {"result": made}, trace, self.library,
            self._helper, _about(function)))
        call = f"{name}({', '.join(map(self.whole, itertools.compress(words, are)))})"
        return self._code(_in_shape(trace.symbol(call, made.array), like, self.word(like)))

    def _code(self, made: Symbol, shapes: Mapping[Shape, str] = {}) -> Code:
        return Writer(self.library, self._helper, shapes, self.inlined).whole(made)

    def _traced(
        self, t: Tensor, function: Callable[..., object], first: Sequence[tuple[str, Array]],
        words: list[str], value: Array,
    ) -> tuple[Functional, list[object], Symbol]:
        """The function run on symbols for the inputs of an operation: they, and what it made."""
        trace = _Opened(keep_frames=True)
        trace.rows = self.rows
        given: list[object] = [trace.symbol(*pair) for pair in zip(words, (a for _, a in first))]
        for word, x in zip(words[len(first):], t.inputs):
            a = values_of(x)
            if isinstance(a, np.ndarray) and (a.ndim or id(x) in self.names):
                given.append(trace.symbol(word, a))
            else:
                given.append(a.item() if isinstance(a, np.ndarray) else a)
        made = function(*given, **t.attrs)
        size = np.max(np.abs(value), initial=1.0, where=np.isfinite(value))
        if not isinstance(made, Symbol) or not np.allclose(
                made.array, value, rtol=1e-4, atol=1e-5 * size, equal_nan=True):
            raise Untraceable("it changes what it was given")
        return trace, given, made

    def _called(self, t: Tensor, function: Callable[..., object], words: list[str]) -> str:
        """A call of the package's own function, which is copied into the script."""
        assert t.op is not None
        if getattr(function, "__name__", "<lambda>") == "<lambda>" or self.library == "torch":
            raise Unsaid(f"the operation {t.op.name}")
        options = [f"{k}={literal(v)}" for k, v in t.attrs.items()]
        return f"{self._copied(function)}({', '.join([*filter(None, words), *options])})"

    def _copied(self, function: Callable[..., object]) -> str:
        """The name of a function of the package that has been copied into the script."""
        function = as_written(_BY_SOURCE.get(function, function))
        name = getattr(function, "__name__", repr(function)).strip("_")
        if not name.isidentifier() or not function.__module__.startswith("tinygrad_opt"):
            raise Unsaid(f"the function {name}")
        if name not in self.functions:
            self.functions[name] = ""                      # its own helpers stand before it
            alone = _Alone(vars(inspect.getmodule(function)), self._copied)
            text = text_of(alone.visit(tree_of(function, name)))
            del self.functions[name]
            return self._add(name, text)
        return name

    # ---- pieces ----------------------------------------------------------------------------------

    def whole(self, word: str) -> str:
        """The code of a word."""
        return self.inlined.get(word, (word, ATOM))[0]

    def word(self, x: object) -> str:
        """What an input of an operation is called."""
        if x is None:
            return ""
        if id(x) in self.names:
            return self.names[id(x)]
        values = values_of(x)
        if not isinstance(values, np.ndarray | np.generic | int | float) or not np.size(values):
            return ""                                      # an index, a shape
        first = np.asarray(values).flat[0].item()
        if np.size(values) == 1:
            return literal(first)
        assert isinstance(values, np.ndarray)
        if (values != first).any():
            raise Unsaid(f"a constant of shape {values.shape}, which was computed by NumPy alone")
        axes = [str(n) for n in values.shape]
        axes[0] = "len(x)" if len(values) == self.batch else axes[0]
        shape = f"({', '.join(axes)}{',' * (len(axes) == 1)})"
        return (f"{self.library}.full({shape}, {literal(first)})" if first else
                f"{self.library}.zeros({shape})")

    def _helper(self, function: object) -> str | None:
        """The name of a function of the script for what NumPy has not."""
        if not inspect.isfunction(function):
            return None
        name = function.__name__
        if function in _BY_SOURCE:
            return self._add(name, text_of(tree_of(_BY_SOURCE[function], name)))
        if function in _PLAIN:
            trace = _Opened(keep_frames=True)
            trace.rows = self.rows
            made = _PLAIN[function](trace.symbol("x", np.full((1, 1), 0.5)))
            assert isinstance(made, Symbol)
            return self._add(name, as_function(
                name, ["x"], {"result": made}, trace, self.library, self._helper,
                _about(function)))
        return self._copied(function) if function.__module__.startswith("tinygrad_opt") else None

    def _add(self, name: str, text: str) -> str:
        """Keep a function, under another name if one of that name says something else."""
        text = re.sub(r"\bnp\.(?!errstate)", f"{self.library}.", text)
        body = text.partition("(")[2]
        number = 1
        while name in self.functions and self.functions[name].partition("(")[2] != body:
            number += 1
            name = f"{name.rstrip('0123456789')}{number}"
        self.functions.setdefault(name, f"def {name}({body}")
        return name

    def _letters(self, function: Callable[..., object], count: int) -> list[str]:
        """The names of the parameters in the source."""
        names = [p.name for p in inspect.signature(function).parameters.values()
                 if p.kind is p.POSITIONAL_OR_KEYWORD]
        return names[:count] if len(names) >= count else [*"gzxywvu"][:count]


def _in_shape(made: Symbol, like: object, name: str) -> Symbol:
    """Summed over the axes along which an input was stretched; stretched where it was reduced."""
    if like is None:
        return made
    call, total = made.trace.call, np.ndarray.sum
    shape, own = np.asarray(values_of(like)).shape, np.shape(made.array)
    lead = tuple(range(len(own) - len(shape)))
    if lead:
        made = call(total, (made,), {"axis": lead if len(lead) > 1 else lead[0]})
    kept = np.shape(made.array)
    first = len(shape) - len(kept)
    ones = tuple(i for i, n in enumerate(kept) if shape[first + i] == 1 != n)
    if ones:
        made = call(total, (made,), {"axis": ones, "keepdims": True})
    if np.shape(made.array) == shape:
        return made
    if not made.ndim:
        whole = made.trace.symbol(name, values_of(like))
        return call(np.full_like, (whole, made), {})
    return call(np.broadcast_to, (made, shape), {})


def _about(function: object) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


class _Alone(ast.NodeTransformer):
    """Makes a function of the package one that stands alone: without what kernels and VJPs share,
    and with its helpers under the names that they have been copied to."""

    def __init__(
        self, known: Mapping[str, object], copied: Callable[[Callable[..., object]], str]
    ) -> None:
        self.known, self.copied = known, copied

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        arguments = node.args
        if arguments.args and arguments.args[-1].arg == "shared":
            arguments.args.pop()
            arguments.defaults.pop()
        for i, argument in enumerate(arguments.kwonlyargs):
            if argument.arg == "shared":
                del arguments.kwonlyargs[i], arguments.kw_defaults[i]
        self.own = {a.arg for a in arguments.args}
        return self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        shared = any(isinstance(n, ast.Name) and n.id == "shared" for n in ast.walk(node.test))
        kept: ast.AST = self.visit(node.body) if shared else self.generic_visit(node)
        return kept

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        first = node.values[0]
        if isinstance(first, ast.Name) and first.id == "shared":
            node = self.visit(node.values[1])
            return node
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func) == "kernels.created":    # "zeros" of whatever library
            make, *arguments = node.args
            assert isinstance(make, ast.Constant)
            numpy = ast.Attribute(ast.Name("np"), str(make.value))
            return self.generic_visit(ast.Call(numpy, arguments, []))
        node = self.generic_visit(node)                    # type: ignore[assignment]
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "matmul":
            return ast.BinOp(node.args[0], ast.MatMult(), node.args[1])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in ("kernels", "ops", "vjps"):
            return ast.Name(self._helper(getattr(self.known[node.value.id], node.attr)))
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        found = self.known.get(node.id)
        if node.id not in self.own and (isinstance(found, Op) or (
                inspect.isfunction(found) and found.__module__.startswith("tinygrad_opt"))):
            return ast.Name(self._helper(found))
        return node

    def _helper(self, found: Op | Callable[..., object]) -> str:
        function = found.kernel if isinstance(found, Op) else found
        return "matmul" if function is kernels.matmul else self.copied(function)


def _loops(function: Callable[..., object]) -> bool:
    """Whether a function of the package, or a helper of it, goes through its input in a loop."""
    function = as_written(function)
    if not (inspect.isfunction(function) and function.__module__.startswith("tinygrad_opt.nn")):
        return False
    if function.__name__ == "<lambda>":
        return False
    known = vars(inspect.getmodule(function))
    return any(isinstance(node, ast.For) for node in ast.walk(tree_of(function))) or any(
        _loops(known[n]) for n in function.__code__.co_names if inspect.isfunction(known.get(n)))
