"""Expressions as Python code: what a rule leaves behind on symbols, in the words of a library."""

from __future__ import annotations

import ast
import inspect
import operator
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from tinygrad_opt.ops import Op
from tinygrad_opt.symbols import Symbol, Trace, assignments, index_text, inside, name_of
from tinygrad_opt.typing import Array, Shape

__all__ = [
    "BOUNDS",
    "INFIX",
    "Functional",
    "Helpers",
    "Unsaid",
    "as_function",
    "as_written",
    "code",
    "indexed",
    "literal",
    "repeated",
    "text_of",
    "tree_of",
    "turns",
]

# how strongly a text holds together, as Python has it
TEST, OR, AND, SUM, PRODUCT, SIGN, POWER, ATOM = range(8)
INFIX: dict[str, tuple[str, int, int, int]] = {            # and what each operand must bind
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
BOUNDS = {"maximum": "min", "minimum": "max"}              # what torch.clamp calls a number there
_TORCH = {"absolute": "abs", "concatenate": "cat"}
_OPERATORS = {Trace.__module__, "numpy.lib.mixins"}        # whose variables say nothing

Helpers: TypeAlias = Callable[[object], str | None]        # what a function is called


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


def code(
    x: object, library: str = "np", helpers: Helpers = lambda f: None,
    shapes: Mapping[Shape, str] = {},
) -> str:
    """An expression as Python code; named symbols inside it are written by their names.

    Parameters
    ----------
    x : Symbol, array, number, or list or tuple of these
    library : {"np", "jnp", "torch"}
        The module in which functions are looked up.
    helpers : callable
        What a function is called that no library has; None for one that cannot be called.
    shapes : dict
        Shapes of arrays, and how they are written.
    """
    return _Writer(library, helpers, shapes).whole(x)[0]


class _Writer:
    """Writes an expression; `inside` has put operands first, so there is no deep recursion."""

    def __init__(self, library: str, helpers: Helpers, shapes: Mapping[Shape, str] = {}) -> None:
        self.library, self.helpers, self.shapes = library, helpers, shapes

    def operand(self, x: object, least: int = TEST) -> str:
        text, binds = (x.name, ATOM) if isinstance(x, Symbol) and x.name else self.whole(x)
        return f"({text})" if binds < least else text

    def whole(self, x: object) -> tuple[str, int]:
        if not isinstance(x, Symbol):
            return self.constant(x)
        if x.function is None:
            return str(x.name), ATOM
        name, inputs = name_of(x.function), x.inputs
        if name in INFIX and len(inputs) == 2 and not x.attrs:
            sign, binds, left, right = INFIX[name]
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
            return f"{self.operand(inputs[0], ATOM)}[{indexed(inputs[1], self.operand)}]", ATOM
        if name in ("astype", "copy") and isinstance(inputs[0], Symbol):
            return self.whole(inputs[0]) if inputs[0].name is None else (inputs[0].name, ATOM)
        return self.call(x, name), ATOM

    def call(self, x: Symbol, name: str) -> str:
        inputs = list(x.inputs)
        helper = self.helpers(x.function)
        options = {k: v for k, v in x.attrs.items()
                   if v is not np._NoValue and v is not None and v is not False}
        if _is_method(x.function) and turns(name, x.ndim, inputs[1:]):
            return f"{self.operand(inputs[0], ATOM)}.T"
        if name == "swapaxes" and inputs[1:] in ([-1, -2], [-2, -1]):
            return f"{self.operand(inputs[0], ATOM)}.mT"
        if name in ("reshape", "transpose", "swapaxes"):
            first = self.operand(inputs.pop(0), ATOM)
            numbers = [n for v in (*inputs, *options.values())
                       for n in (v if isinstance(v, list | tuple) else [v])]
            if name == "reshape" and -1 not in numbers and len(numbers) > 1:
                numbers[0] = -1                            # the batch may be of any size
            return f"{first}.{name}({', '.join(map(str, numbers))})"
        if helper is not None:
            head = helper
        elif _is_method(x.function):
            head = f"{self.operand(inputs.pop(0), ATOM)}.{name}"
        elif isinstance(x.function, Op) or not hasattr(np, name):
            raise Unsaid(name)
        elif name in BOUNDS and self.library == "torch" and not isinstance(inputs[1], Symbol):
            first, bound = map(self.operand, inputs)
            return f"torch.clamp({first}, {BOUNDS[name]}={bound})"
        else:
            words = _TORCH if self.library == "torch" else {}
            head = f"{self.library}.{words.get(name, name)}"
        if name == "sum" and head.endswith("reduce"):
            head = f"{self.library}.sum"
        given = [self.operand(v) for v in inputs]
        given += [f"{k}={self.operand(v)}" for k, v in options.items()]
        return f"{head}({', '.join(given)})"

    def constant(self, x: object) -> tuple[str, int]:
        if isinstance(x, tuple) and all(type(n) is int for n in x) and x in self.shapes:
            return self.shapes[x], ATOM
        if isinstance(x, slice) or (isinstance(x, tuple) and any(
                isinstance(part, slice) or part is Ellipsis for part in x)):
            return f"np.s_[{indexed(x, self.operand)}]", ATOM
        if isinstance(x, list | tuple):
            inner = ", ".join(self.operand(v) for v in x)
            if isinstance(x, list):
                return f"[{inner}]", ATOM
            return f"({inner},)" if len(x) == 1 else f"({inner})", ATOM
        if isinstance(x, np.ndarray):
            return self.array(x)
        if isinstance(x, np.dtype) or x in (np.float32, np.float64):
            return f"{self.library}.{np.dtype(x).name}", ATOM
        if not isinstance(x, bool | int | float | np.generic | str | None):
            raise Unsaid(f"a {type(x).__name__}")
        text = literal(x)
        return text, SIGN if text.startswith("-") else ATOM

    def array(self, x: Array) -> tuple[str, int]:
        """Equal entries as a number, equal runs by `repeat`."""
        if x.size and (x == x.flat[0]).all():
            value = x.flat[0].item()
            return self.constant(int(value) if value == int(value) else value)
        if x.ndim == 1 and x.size > 1 and (x == np.arange(x.size)).all():
            return f"{self.library}.arange({x.size})", ATOM
        if x.ndim == 1:
            starts = np.flatnonzero(np.diff(x)) + 1
            run = int(np.gcd.reduce([*starts, x.size]))
            entries = [int(v) if v == int(v) else v for v in x[::run].tolist()]
            if len(entries) <= 16:
                return f"{self.library}.repeat({self.library}.array({entries}), {run})", ATOM
        raise Unsaid(f"a constant array of shape {x.shape}")


def turns(name: str, ndim: int, axes: Iterable[object]) -> bool:
    """Whether a call of ``transpose`` or ``swapaxes`` is ``x.T`` for a matrix x."""
    if name not in ("transpose", "swapaxes") or ndim != 2:
        return False
    order = [int(n) % 2 for n in np.ravel([*axes])]
    return order in ([], [1, 0]) or (name == "swapaxes" and order == [0, 1])


def _is_method(function: object) -> bool:
    return inspect.ismethoddescriptor(function) and getattr(
        function, "__objclass__", None) is np.ndarray


def _as_list(part: object) -> str:
    return repr(part.tolist() if isinstance(part, np.ndarray) else part)


def indexed(index: object, operand: Callable[[object], str] = _as_list) -> str:
    """An index as it is typed between brackets, NumPy's integers as Python's."""
    return index_text(index, lambda part: str(int(part)) if isinstance(part, int | np.integer)
                      else operand(part))


def repeated(ends: Iterable[object]) -> bool:
    """Whether an expression uses what it has computed more than once."""
    uses = Counter(id(i) for s in inside(ends) for v in (*s.inputs, *s.attrs.values())
                   for i in (v if isinstance(v, list | tuple) else (v,))
                   if isinstance(i, Symbol) and i.name is None)
    return any(count > 1 for count in uses.values())


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
    lines = assignments(results)
    made = {id(s) for _, s in lines}
    writer = _Writer(library, helpers)
    body = [f"{target} = {writer.whole(s)[0]}" for target, s in lines]
    ends = ", ".join(code(x, library, helpers) if id(x) not in made else str(x.name)
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
