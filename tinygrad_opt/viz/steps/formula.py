"""Formulas as text, read into a graph without running any code.

A formula is parsed by Python's own parser, and then only numbers, names, operators and the
functions in `FUNCTIONS` are understood; nothing is ever evaluated as code.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import ArrayLike
from tinygrad_opt.viz.graph.text import shorten

__all__ = ["FUNCTIONS", "parse"]

LONGEST = 10_000                           # characters
DATA = {"x", "X", "y", "Y", "t"}          # what inputs and targets are called
CONSTANTS = {"pi": math.pi, "e": math.e}
OPTIONS = {"alpha", "axis", "ddof", "keepdims", "slope"}
OPERATORS: dict[type[ast.AST], Callable[..., ArrayLike]] = {
    ast.Add: ops.add, ast.Sub: ops.subtract, ast.Mult: ops.multiply, ast.Div: ops.divide,
    ast.Pow: ops.power, ast.FloorDiv: ops.floor_divide, ast.Mod: ops.remainder,
    ast.MatMult: ops.matmul, ast.USub: ops.negative, ast.UAdd: ops.positive,
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
}
FUNCTIONS: dict[str, ops.Op] = {
    name: ops.TABLE[name]
    for name in (
        "square sqrt cbrt reciprocal sign floor ceil trunc round exp expm1 exp2 log log1p log2"
        " log10 logaddexp sin cos tan arcsin arccos arctan arctan2 hypot sinh cosh tanh arcsinh"
        " arccosh arctanh erf relu leaky_relu elu sigmoid softplus silu gelu maximum minimum clip"
        " where sum mean prod var std max min logsumexp norm matmul dot outer softmax log_softmax"
    ).split()
} | {"abs": ops.absolute, "ln": ops.log}
PLACES = {ops.clip: (3, 3), ops.where: (3, 3)}          # fewest and most inputs, if not its rules'


def parse(text: str, /, **leaves: ArrayLike) -> Tensor:
    """Compute a formula, recording its graph.

    Parameters
    ----------
    text : str
        Operators as in Python (``+ - * / // % ** @``, and comparisons inside ``where``), the
        functions in `FUNCTIONS` with options such as ``axis=0``, numbers, ``pi`` and ``e``.
    **leaves : number, array or Tensor
        The names in it. What is not yet a Tensor becomes one of that name that requires grad, but
        for data: arrays called x, X, y, Y or t beside names that are none.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        For anything else: the message shows the place.

    Examples
    --------
    >>> from tinygrad_opt.viz import formula
    >>> f = formula.parse("tanh(a*b + c)", a=2, b=-3, c=6.5)
    >>> f.backward()
    >>> [x.name for x in (f.inputs[0].inputs[1],)], round(float(f), 4)
    (['c'], 0.4621)
    """
    data = {name for name, value in leaves.items() if name in DATA and np.ndim(value)}
    data = data if data != leaves.keys() else set()        # something is to have a gradient
    tensors = {}
    for name, value in leaves.items():
        if isinstance(value, str):
            raise ValueError(f"{name} needs a number or an array, got the text {value!r}")
        tensors[name] = (value if type(value) is Tensor else
                         Tensor(value, name not in data, name=name))
    try:
        tree = _tree(text)
        with np.errstate(all="ignore"):
            result = _Formula(text, tensors).value(tree)
    except (RecursionError, MemoryError):
        raise ValueError(f"the formula {_quoted(text)} is nested too deeply") from None
    except (OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"the formula {_quoted(text)} has no value: {error}") from None
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    unused = [name for name in leaves if name not in used]
    if unused:
        raise ValueError(f"{unused[0]!r} has a value but is not in the formula {_quoted(text)}")
    return result if isinstance(result, Tensor) else Tensor(result)


def _tree(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise ValueError(f"a formula may have {LONGEST:,} characters, got {len(text):,}")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        place = f"at character {error.offset}" if error.offset else "to its end"
        why = f" {place}: {error.msg}"
    except ValueError as error:                            # a null character
        why = f": {error}"
    raise ValueError(f"cannot read the formula {_quoted(text)}{why}")


def _quoted(text: str) -> str:
    return repr(shorten(text, 60))


class _Formula:
    """A formula, and what its names stand for."""

    def __init__(self, text: str, names: Mapping[str, ArrayLike]) -> None:
        self.text, self.names = text, {**CONSTANTS, **names}

    def value(self, node: ast.AST) -> ArrayLike:
        """The value of a part of the syntax tree; what has no case here is refused."""
        match node:
            case ast.Constant():
                return self._number(node)
            case ast.Name(id=name):
                if name not in self.names:
                    raise self._refused(node, (
                        "is a function and needs its argument in parentheses" if name in FUNCTIONS
                        else f"has no value; give it one: {name}=1.5"))
                return self.names[name]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as number):
                return -self._number(number)               # −3 is a number, not an operation
            case ast.UnaryOp(op=sign, operand=x):
                return self._operated(node, sign, self.value(x))
            case ast.Compare(left=x, ops=[sign], comparators=[y]):
                return self._operated(node, sign, self.value(x), self.value(y))
            case ast.Compare():
                raise self._refused(node, "compares more than two things")
            case ast.BinOp():
                return self._chain(node)
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
                return self._call(node, FUNCTIONS[name])
            case ast.Call(func=function):
                raise self._refused(function, "is not a known function; known are "
                                    + ", ".join(sorted(FUNCTIONS)))
        raise self._refused(node, "is not part of a formula")

    def _number(self, node: ast.Constant) -> float:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self._refused(node, "is not a real number")
        return float(node.value)                           # powers of integers could grow for ever

    def _chain(self, node: ast.BinOp) -> ArrayLike:
        """Operators one after another: sums of many terms lean to the left."""
        first: ast.expr = node
        chain = []
        while isinstance(first, ast.BinOp):
            chain.append(first)
            first = first.left
        value = self.value(first)
        for step in reversed(chain):
            value = self._operated(step, step.op, value, self.value(step.right))
        return value

    def _call(self, node: ast.Call, op: ops.Op) -> ArrayLike:
        if None in (k.arg for k in node.keywords) or any(
                isinstance(x, ast.Starred) for x in node.args):
            raise self._refused(node, "unpacks its arguments, which is not part of a formula")
        count = len(list(op.vjps))
        fewest, most = PLACES.get(op, (count, count))
        if not fewest <= len(node.args) <= most:
            raise self._refused(node, f"needs {count} argument{'s' if count > 1 else ''},"
                                      f" got {len(node.args)}")
        options = {}
        for keyword in node.keywords:
            if keyword.arg not in OPTIONS:
                raise self._refused(node, f"has the option {keyword.arg!r}; known are "
                                    + ", ".join(sorted(OPTIONS)))
            options[keyword.arg] = self._option(keyword.value)
        operands = [np.float64(v) if type(v) is float else v for v in map(self.value, node.args)]
        return self._computed(node, op, *operands, **options)

    def _option(self, node: ast.expr) -> object:
        """A literal: a number, True, False, None or a tuple of integers."""
        try:
            value = ast.literal_eval(node)
        except (TypeError, ValueError):
            value = node
        numbers = value if type(value) is tuple else [0]
        if not isinstance(value, int | float | tuple | None) or {*map(type, numbers)} - {int}:
            raise self._refused(node, "is not a number, True, False, None or a tuple of integers")
        return value

    def _operated(self, node: ast.AST, sign: ast.AST, *operands: ArrayLike) -> ArrayLike:
        if type(sign) not in OPERATORS:
            raise self._refused(node, "uses an operator that is not part of a formula")
        return self._computed(node, OPERATORS[type(sign)], *operands)

    def _computed(
        self, node: ast.AST, op: Callable[..., ArrayLike], *operands: ArrayLike, **options: object
    ) -> ArrayLike:
        try:
            return op(*operands, **options)
        except (OverflowError, ZeroDivisionError):
            raise
        except Exception as error:                         # kernels refuse in many ways
            raise self._refused(node, f"cannot be computed: {error}") from error

    def _refused(self, node: ast.AST, why: str) -> ValueError:
        part = ast.get_source_segment(self.text.strip(), node) or type(node).__name__
        return ValueError(f"{_quoted(part)} in the formula {_quoted(self.text)} {why}")
