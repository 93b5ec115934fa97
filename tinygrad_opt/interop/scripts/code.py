"""Expressions as Python code: what a rule leaves behind on symbols, in the words of a library."""

from __future__ import annotations

import ast
import inspect
import operator
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_opt.ops import Op
from tinygrad_opt.symbols import Symbol, Trace, assignments, index_text, inside, name_of
from tinygrad_opt.typing import Array, Shape

__all__ = [
    "ATOM",
    "ROWS",
    "Code",
    "Functional",
    "Unsaid",
    "Writer",
    "as_function",
    "as_written",
    "literal",
    "repeated",
    "text_of",
    "tree_of",
]

# how strongly a text holds together, as Python has it
TEST, OR, AND, SUM, PRODUCT, SIGN, POWER, ATOM = range(8)
_INFIX: dict[str, tuple[str, int, int, int]] = {            # and what each operand must bind
    "add": ("+", SUM, SUM, SUM), "subtract": ("-", SUM, SUM, PRODUCT),
    "multiply": ("*", PRODUCT, PRODUCT, SIGN), "divide": ("/", PRODUCT, PRODUCT, SIGN),
    "floor_divide": ("//", PRODUCT, PRODUCT, SIGN), "remainder": ("%", PRODUCT, PRODUCT, SIGN),
    "matmul": ("@", PRODUCT, PRODUCT, SIGN), "dot": ("@", PRODUCT, PRODUCT, SIGN),
    "power": ("**", POWER, ATOM, SIGN),
    "bitwise_and": ("&", AND, AND, SUM), "bitwise_or": ("|", OR, OR, AND),
    **{name: (sign, TEST, OR, OR) for name, sign in [
        ("equal", "=="), ("not_equal", "!="), ("greater", ">"), ("greater_equal", ">="),
        ("less", "<"), ("less_equal", "<=")]},
}
_BOUNDS = {"torch.maximum": "min", "torch.minimum": "max"}     # what clamp calls a number there
ROWS = {                                                   # what they are in JAX and in PyTorch
    "relu": ("jax.nn.relu", "torch.relu"), "sigmoid": ("jax.nn.sigmoid", "torch.sigmoid"),
    "softplus": ("jax.nn.softplus", "F.softplus"), "silu": ("jax.nn.silu", "F.silu"),
    "elu": ("jax.nn.elu", "F.elu"), "leaky_relu": ("jax.nn.leaky_relu", "F.leaky_relu"),
    "gelu": ("jax.nn.gelu({}, approximate=False)", "F.gelu"),
    "gelu_tanh": ("jax.nn.gelu({}, approximate=True)", 'F.gelu({}, approximate="tanh")'),
    "softmax": ("jax.nn.softmax", "torch.softmax"),
    "log_softmax": ("jax.nn.log_softmax", "torch.log_softmax"),
    "erf": ("jax.scipy.special.erf", "torch.erf"),
    "norm": ("jnp.linalg.norm", "torch.linalg.vector_norm"),
}
# by library and row, or function of NumPy; other functions of NumPy are in JAX, but not in PyTorch
_WORDS: dict[str, dict[str, str]] = {
    "np": {}, "jnp": {row: jax for row, (jax, _) in ROWS.items()},
    "torch": {name: f"torch.{name}" for name in (
        "arccos arccosh arcsin arcsinh arctan arctan2 arctanh ceil copysign cos cosh cumsum einsum"
        " exp exp2 expm1 floor full_like hypot isfinite isinf isnan log log10 log1p log2 logaddexp"
        " logical_and logical_not logical_or maximum mean minimum ones_like prod sign sin sinh sqrt"
        " stack sum tan tanh trace trunc where zeros_like arange").split()}
    | {"absolute": "torch.abs", "clip": "torch.clamp", "concatenate": "torch.cat",
       "max": "torch.amax", "min": "torch.amin"}
    | {row: torch for row, (_, torch) in ROWS.items()},
}
_OPTIONS: dict[str, dict[str, str]] = {                    # and what options are called
    "np": {}, "jnp": {"slope": "negative_slope"},
    "torch": {"axis": "dim", "keepdims": "keepdim", "slope": "negative_slope"},
}
_OPERATORS = {Trace.__module__, "numpy.lib.mixins"}        # whose variables say nothing

Helpers: TypeAlias = Callable[[object], str | None]        # what a function is called
Code: TypeAlias = tuple[str, int]                          # and how strongly it binds


class Unsaid(Exception):
    """There is no code for this in the script's language."""


class Functional(Trace):
    """A trace in which ``x += y`` is ``x = x + y``: the code must not use x under another name."""

    def call(
        self, function: Callable[..., object], inputs: Sequence[object], attrs: Mapping[str, object]
    ) -> Symbol:
        out = attrs.get("out")
        if isinstance(out, tuple) and out[0] is inputs[0]:
            attrs = {name: value for name, value in attrs.items() if name != "out"}
        return super().call(function, inputs, attrs)

    def symbol(self, name: str, value: object) -> Symbol:
        self.taken = {*getattr(self, "taken", ()), name}
        return super().symbol(name, value)

    def name_locals(self) -> None:
        """Only the function that was traced may use a name again, as in ``g = -g``."""
        frames = [frame for frame in reversed((self.frames or {}).values())
                  if frame.f_code.co_name != "called"      # around every primitive
                  and frame.f_globals["__name__"] not in _OPERATORS]
        for frame in frames:
            for name, x in frame.f_locals.items():
                if (isinstance(x, Symbol) and x.trace is self and x.name is None
                        and (frame is frames[0] or name not in self.taken)):
                    x.name = name
                    self.taken.add(name)
        self.frames = None


def literal(x: object) -> str:
    """A number, a bool, a text or a tuple of these."""
    if isinstance(x, np.generic):
        x = x.item()
    if isinstance(x, float) and x == int(x if np.isfinite(x) else 0) and abs(x) < 1e6:
        return f"{x:.1f}"
    if isinstance(x, float) and not np.isfinite(x):
        return f'float("{x}")'
    return repr(x)


class Writer:
    """Writes expressions as Python code; named symbols inside them are written by their names.

    `inside` has put operands first, so there is no deep recursion.

    Parameters
    ----------
    library : {"np", "jnp", "torch"}
        The module in which functions are looked up.
    helpers : callable
        What a function is called that no library has; None for one that cannot be called.
    shapes : dict
        Shapes of arrays, and how they are written.
    inlined : dict
        By name, the code that stands in the place of a symbol, and how strongly that binds.
    """

    def __init__(
        self, library: str, helpers: Helpers = lambda f: None, shapes: Mapping[Shape, str] = {},
        inlined: Mapping[str, Code] = {},
    ) -> None:
        self.library, self.helpers, self.shapes = library, helpers, shapes
        self.inlined = inlined

    def operand(self, x: object, least: int = TEST) -> str:
        named = isinstance(x, Symbol) and x.name
        text, binds = self.inlined.get(named, (named, ATOM)) if named else self.whole(x)
        return f"({text})" if binds < least else text

    def whole(self, x: object) -> Code:
        """An expression, and how strongly it binds."""
        if not isinstance(x, Symbol):
            return self.constant(x)
        if x.function is None:
            return str(x.name), ATOM
        name, inputs = name_of(x.function), x.inputs
        if name in _INFIX and len(inputs) == 2 and not x.attrs:
            sign, binds, left, right = _INFIX[name]
            a, b = self.operand(inputs[0], left), self.operand(inputs[1], right)
            between = sign if sign == "**" else f" {sign} "
            return f"{a}{between}{b}", binds
        if name in ("negative", "positive"):
            text = self.operand(inputs[0], POWER)
            return (f"-{text}", SIGN) if name == "negative" else (text, POWER)
        if name == "square":
            return f"{self.operand(inputs[0], ATOM)}**2", POWER
        if name == "reciprocal":
            return f"1 / {self.operand(inputs[0], SIGN)}", PRODUCT
        if x.function is operator.getitem:
            return f"{self.operand(inputs[0], ATOM)}[{self.index(inputs[1])}]", ATOM
        if name in ("astype", "copy") and isinstance(inputs[0], Symbol):
            return self.whole(inputs[0]) if inputs[0].name is None else (inputs[0].name, ATOM)
        return self.call(x, name), ATOM

    def call(self, x: Symbol, name: str) -> str:
        given = list(x.inputs)
        options = {k: v for k, v in x.attrs.items()
                   if v is not np._NoValue and v is not None and v is not False}
        if name in ("reshape", "transpose", "swapaxes"):
            return self.view(x, name, _flat([*given[1:], *options.values()]))
        word = self.word(x.function, name)
        if _is_method(x.function) and "." not in word:
            word = f"{self.operand(given.pop(0), ATOM)}.{word}"
        numbers = [i for i in given if isinstance(i, int | float)]
        if word in _BOUNDS and numbers:
            given = [i for i in given if i is not numbers[0]]
            word, options = "torch.clamp", {_BOUNDS[word]: numbers[0]}
        renamed = _OPTIONS[self.library]
        text = ", ".join([*map(self.operand, given), *(
            f"{renamed.get(k, k)}={self.operand(v)}" for k, v in options.items())])
        return word.format(text) if "{}" in word else f"{word}({text})"

    def word(self, function: object, name: str) -> str:
        """What a function is called; a method without its array."""
        word = _WORDS[self.library].get(name) or self.helpers(function)
        if word is None and _is_method(function):
            return name
        if word is None and (
                self.library == "torch" or isinstance(function, Op) or not hasattr(np, name)):
            raise Unsaid(f"the operation {name}")
        return word or f"{self.library}.{name}"

    def view(self, x: Symbol, name: str, numbers: list[Any]) -> str:
        """The same entries with other axes, as a method."""
        first = self.operand(x.inputs[0], ATOM)
        if name != "reshape" and x.ndim == 2:
            order = [n % 2 for n in numbers]
            stays = order == [0, 1] if name == "transpose" else order[0] == order[1]
            return first if stays else f"{first}.T"
        if name == "swapaxes" and numbers in ([-1, -2], [-2, -1]):
            return f"{first}.mT"
        if name == "reshape" and -1 not in numbers and len(numbers) > 1:
            numbers[0] = -1                                # the batch may be of any size
        if name == "transpose" and self.library == "torch":
            name, numbers = "permute", numbers or [*range(x.ndim)][::-1]
        return f"{first}.{name}({', '.join(map(str, numbers))})"

    def constant(self, x: object) -> Code:
        if isinstance(x, np.ndarray):
            return self.array(x)
        if isinstance(x, slice | list | tuple):
            return self.sequence(x), ATOM
        if isinstance(x, np.dtype) or x in (np.float32, np.float64):
            return f"{self.library}.{np.dtype(x).name}", ATOM
        if not isinstance(x, bool | int | float | np.generic | str | None):
            raise Unsaid(f"a {type(x).__name__}")
        text = literal(x)
        return text, SIGN if text.startswith("-") else ATOM

    def sequence(self, x: slice | list[Any] | tuple[Any, ...]) -> str:
        """A shape, an index or a list."""
        if isinstance(x, tuple) and all(type(n) is int for n in x) and x in self.shapes:
            return self.shapes[x]
        parts = [x] if isinstance(x, slice) else x
        if any(isinstance(part, slice) or part is Ellipsis for part in parts):
            return f"np.s_[{self.index(x)}]"
        inner = ", ".join(map(self.operand, parts))
        if isinstance(x, list):
            return f"[{inner}]"
        return f"({inner},)" if len(parts) == 1 else f"({inner})"

    def index(self, x: object) -> str:
        """An index as it is typed between brackets."""
        def place(part: object) -> str:
            if isinstance(part, np.ndarray) and not _counts(part):
                numbers = repr(part.tolist())              # of which JAX takes no lists
                return f"jnp.array({numbers})" if self.library == "jnp" else numbers
            return str(int(part)) if isinstance(part, int | np.integer) else self.operand(part)

        return index_text(x, place)

    def array(self, x: Array) -> Code:
        """Equal entries as a number, equal runs by `repeat`."""
        if x.size and (x == x.flat[0]).all():
            value = x.flat[0].item()
            return self.constant(int(value) if value == int(value) else value)
        if _counts(x):
            return f"{self.library}.arange({x.size})", ATOM
        if x.ndim == 1:
            starts = np.flatnonzero(np.diff(x)) + 1
            run = int(np.gcd.reduce([*starts, x.size]))
            entries = [int(v) if v == int(v) else v for v in x[::run].tolist()]
            if len(entries) <= 16:
                return f"{self.library}.repeat({self.library}.array({entries}), {run})", ATOM
        raise Unsaid(f"a constant array of shape {x.shape}")


def _flat(places: Iterable[object]) -> list[Any]:
    """The numbers in numbers and tuples, without None."""
    return [n for v in places if v is not None for n in (v if isinstance(v, list | tuple) else [v])]


def _counts(x: Array) -> bool:
    """Whether x is 0, 1, 2, …"""
    return x.ndim == 1 and x.size > 1 and x.dtype != bool and bool((x == np.arange(x.size)).all())


def _is_method(function: object) -> bool:
    return inspect.ismethoddescriptor(function) and getattr(
        function, "__objclass__", None) is np.ndarray


def repeated(ends: Iterable[object]) -> list[Symbol]:
    """What an expression computes once and uses more than once, without a name."""
    uses = Counter(i for s in inside(ends) for v in (*s.inputs, *s.attrs.values())
                   for i in (v if isinstance(v, list | tuple) else (v,))
                   if isinstance(i, Symbol) and i.name is None)
    return [s for s, count in uses.items() if count > 1]


def as_function(
    name: str, given: Iterable[str], results: Mapping[str, Symbol], trace: Trace, library: str,
    helpers: Helpers, words: str = "",
) -> str:
    """A function that computes the results, line by line, by the names of the code that was traced.

    Parameters
    ----------
    results : dict of str to Symbol
        What it returns, in order.
    """
    trace.name_locals()
    for i, part in enumerate(repeated(results.values())):
        part.name = f"part{i + 1}"
    lines = assignments(results)
    made = {id(s) for _, s in lines}
    writer = Writer(library, helpers)
    body = [f"{target} = {writer.whole(s)[0]}" for target, s in lines]
    ends = ", ".join(writer.whole(x)[0] if id(x) not in made else str(x.name)
                     for x in results.values())
    if len(results) == 1 and body and body[-1].startswith(f"{ends} = "):
        ends = body.pop().partition(" = ")[2]
    doc = [f'"""{words}"""'] if words else []
    return f"def {name}({', '.join(given)}):\n" + textwrap.indent(
        "\n".join([*doc, *body, f"return {ends}"]), "    ")


# ---- functions that are copied -------------------------------------------------------------------


def as_written(function: Callable[..., object]) -> Callable[..., object]:
    """The function that stands in the source: of a fast one that has a plain form, that."""
    own = inspect.unwrap(function)
    plain: Callable[..., object] | None = getattr(function, "plain", None)
    if plain is None or getattr(plain, "__module__", "") != own.__module__:
        return own
    return plain


def tree_of(function: Callable[..., object], name: str = "f") -> ast.FunctionDef:
    """A function of the package, under the given name, without its types and decorators."""
    source = textwrap.dedent(inspect.getsource(as_written(function)))
    tree: ast.FunctionDef = _Untyped().visit(ast.parse(source).body[0])
    tree.name, tree.decorator_list = name, []
    return tree


def text_of(tree: ast.AST) -> str:
    """A function as code again."""
    return ast.unparse(ast.fix_missing_locations(tree))


class _Untyped(ast.NodeTransformer):
    """Takes the annotations out."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return None if node.value is None else ast.Assign([node.target], self.visit(node.value))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Subscript):           # list[Array]()
            node.func = node.func.value
        return self.generic_visit(node)
