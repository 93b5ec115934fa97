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
    tree = _tree(text)
    data = {name for name, value in leaves.items() if name in DATA and np.ndim(value)}
    data = data if data != leaves.keys() else set()        # something is to have a gradient
    tensors = {}
    for name, value in leaves.items():
        if isinstance(value, str):
            raise ValueError(f"{name} needs a number or an array, got the text {value!r}")
        tensors[name] = (value if type(value) is Tensor else
                         Tensor(value, name not in data, name=name))
    result = _evaluated(tree, tensors, text)
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
        raise ValueError(f"cannot read the formula {_quoted(text)} {place}: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"the formula {_quoted(text)} is nested too deeply") from None
    except ValueError as error:                            # a null character
        raise ValueError(f"cannot read the formula {_quoted(text)}: {error}") from None


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


# ---- to values -----------------------------------------------------------------------------------


def _evaluated(tree: ast.expr, names: Mapping[str, Tensor], text: str) -> ArrayLike:
    """The value of a formula for values of its names, or what it cannot hold."""
    try:
        with np.errstate(all="ignore"):
            return _Evaluator(names, text).value(tree)
    except RecursionError:
        raise ValueError(f"the formula {_quoted(text)} is nested too deeply") from None
    except (OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"the formula {_quoted(text)} has no value: {error}") from None


class _Evaluator:
    """Computes the nodes of a syntax tree; what it has no method for is refused."""

    def __init__(self, names: Mapping[str, Tensor], text: str) -> None:
        self.names, self.text = names, text

    def value(self, node: ast.AST) -> ArrayLike:
        name = f"_{type(node).__name__}"
        if not hasattr(self, name):
            raise self._refused(node, "is not part of a formula")
        method: Callable[[ast.AST], ArrayLike] = getattr(self, name)
        return method(node)

    def _refused(self, node: ast.AST, why: str) -> ValueError:
        part = ast.get_source_segment(self.text.strip(), node) or type(node).__name__
        return ValueError(f"{_quoted(part)} in the formula {_quoted(self.text)} {why}")

    def _Constant(self, node: ast.Constant) -> float:
        if type(node.value) not in (int, float):
            raise self._refused(node, "is not a real number")
        assert isinstance(node.value, int | float)
        return float(node.value)                           # powers of integers could grow for ever

    def _Name(self, node: ast.Name) -> ArrayLike:
        if node.id in self.names:
            return self.names[node.id]
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        why = ("is a function and needs its argument in parentheses" if node.id in FUNCTIONS
               else f"has no value; give it one: {node.id}=1.5")
        raise self._refused(node, why)

    def _computed(
        self, node: ast.AST, op: Callable[..., ArrayLike], *operands: ArrayLike, **options: object
    ) -> ArrayLike:
        try:
            return op(*operands, **options)
        except (OverflowError, ZeroDivisionError):
            raise
        except Exception as error:                         # kernels refuse in many ways
            raise self._refused(node, f"cannot be computed: {error}") from error

    def _operator(self, node: ast.AST, kind: ast.AST) -> Callable[..., ArrayLike]:
        op = OPERATORS.get(type(kind))
        if op is None:
            raise self._refused(node, "uses an operator that is not part of a formula")
        return op

    def _BinOp(self, node: ast.BinOp) -> ArrayLike:
        first: ast.expr = node                             # sums of many terms lean to the left
        chain = []
        while isinstance(first, ast.BinOp):
            chain.append(first)
            first = first.left
        value = self.value(first)
        for step in reversed(chain):
            op = self._operator(step, step.op)
            value = self._computed(step, op, value, self.value(step.right))
        return value

    def _UnaryOp(self, node: ast.UnaryOp) -> ArrayLike:
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return -self._Constant(node.operand)           # −3 is a number, not an operation
        return self._computed(node, self._operator(node, node.op), self.value(node.operand))

    def _Compare(self, node: ast.Compare) -> ArrayLike:
        if len(node.ops) != 1:
            raise self._refused(node, "compares more than two things")
        op = self._operator(node, node.ops[0])
        return self._computed(node, op, self.value(node.left), self.value(node.comparators[0]))

    def _Call(self, node: ast.Call) -> ArrayLike:
        op = FUNCTIONS.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if op is None:
            raise self._refused(node.func, "is not a known function; known are "
                                + ", ".join(sorted(FUNCTIONS)))
        if any(isinstance(a, ast.Starred) for a in node.args) or None in {
            keyword.arg for keyword in node.keywords
        }:
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
