"""Expressions over vectors as a list of NumPy calls that write into arrays that are there.

What is a single number is computed once per run, in Python. Numbers that scale a vector are
collected, so that ``lr * m_hat / (np.sqrt(v_hat) + eps)`` scales it once. Equal calls are made
once. A result is written where it belongs as soon as nobody needs what stood there; what is needed
in between lies in scratch vectors, which are shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt.ops import Op
from tinygrad_opt.symbols.symbol import Symbol, Untraceable, inside, name_of

__all__ = ["Call", "Schedule"]


class Call(NamedTuple):
    """``function(*operands, out)``; the integers number the arrays of `Schedule.bind`."""

    function: Callable[..., Any]
    operands: tuple[int, ...]
    out: int


class _Number:
    """A single number: the Python code that computes it, and what it is at present."""

    def __init__(self, code: str, value: Any, parts: tuple[_Number, ...] = (),
                 moving: bool = False) -> None:
        self.code, self.value, self.parts = code, value, parts
        self.moving: bool = moving or any(part.moving for part in parts)    # from run to run
        self.root = False                                  # the square root of another factor


class _Vector:
    """One element by element call on vectors and numbers; without a function a given vector."""

    def __init__(self, function: Any = None, operands: tuple[Any, ...] = (), truth: bool = False,
                 place: int = -1) -> None:
        self.function, self.operands, self.truth, self.place = function, operands, truth, place


class _Scaled(NamedTuple):
    """A number times a vector."""

    factor: _Number
    vector: _Vector


_ONE = _Number("1", 1)
_CODE = {"add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "divide": "{} / {}",
         "power": "{} ** {}", "negative": "-{}", "positive": "{}", "sqrt": "math.sqrt({})",
         "square": "{0} * {0}", "absolute": "abs({})", "maximum": "max({}, {})",
         "minimum": "min({}, {})", "equal": "{} == {}", "not_equal": "{} != {}",
         "greater": "{} > {}", "less": "{} < {}", "greater_equal": "{} >= {}",
         "less_equal": "{} <= {}"}


def _where(mask: Any, x: Any, y: Any, out: Any) -> None:
    """np.where, into an array that is neither x nor y."""
    np.copyto(out, y)
    np.copyto(out, x, where=mask)


_BY_NAME = (np.maximum, np.minimum)        # want to be told by name where they write


class _Lowering:
    """Symbols as numbers, vectors and scaled vectors; equal ones are one object."""

    def __init__(self, vectors: Sequence[Symbol], moving: Sequence[Symbol]) -> None:
        self.known: dict[Symbol, Any] = {
            x: _Scaled(_ONE, _Vector(place=i)) for i, x in enumerate(vectors)}
        self.dtype = vectors[0].dtype
        self.moving = set(moving)
        self.one_of_each: dict[Any, Any] = {}
        self.conditions: list[tuple[_Number, bool]] = []
        self.functions: dict[str, Callable[..., Any]] = {}             # that numbers need

    def of(self, x: Any) -> Any:
        """What a symbol or a number is."""
        if not isinstance(x, Symbol):
            if not isinstance(x, int | float):
                raise Untraceable(f"a {type(x).__name__} takes part")
            return self.once(("number", repr(x)), lambda: _Number(repr(x), x))
        for s in inside([x], stop=lambda s: s in self.known):
            if s not in self.known:
                self.known[s] = self.lowered(s)
        return self.known[x]

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self.one_of_each:
            self.one_of_each[key] = make()
        return self.one_of_each[key]

    def lowered(self, x: Symbol) -> Any:
        if x.function is None:
            if x.ndim or x.name is None:
                raise Untraceable("an array takes part that the rule was not given")
            name, moves = x.name, x in self.moving
            return self.once(("given", x), lambda: _Number(name, x.array, moving=moves))
        if x.attrs:
            raise Untraceable(f"{name_of(x.function)} has options")
        operands = [self.of(v) for v in x.inputs]
        if all(isinstance(v, _Number) for v in operands):
            return self.number(x.function, *operands)
        by_entries = isinstance(x.function, np.ufunc) and x.function.signature is None
        if not (by_entries or x.function is np.where) or x.dtype not in (self.dtype, bool):
            raise Untraceable(f"{name_of(x.function)} does not go entry by entry")
        if x.dtype == bool:
            return _Scaled(_ONE, self.vector(x.function, *map(self.whole, operands), truth=True))
        rule = getattr(self, f"_{name_of(x.function)}", None)
        made = None if rule is None else rule(*operands)
        if made is None:
            made = _Scaled(_ONE, self.vector(x.function, *map(self.whole, operands)))
        return made

    def number(self, function: Any, *parts: _Number) -> _Number:
        """A number computed from numbers."""
        name = name_of(function)
        if (name, parts[-1]) in (("multiply", _ONE), ("divide", _ONE)):
            return parts[0]
        if name == "multiply" and parts[0] is _ONE:
            return parts[1]
        code = _CODE.get(name)
        if code is None:
            if not isinstance(function, Op | np.ufunc):
                raise Untraceable(f"{name} of numbers")
            self.functions[name] = function
            code = f"float({name}({', '.join('{}' for _ in parts)}))"

        def make() -> _Number:
            with np.errstate(all="ignore"):
                return _Number(code, function(*[part.value for part in parts]), parts)

        return self.once((code, parts), make)

    def vector(self, function: Any, *operands: Any, truth: bool = False) -> _Vector:
        return self.once((function, operands), lambda: _Vector(function, operands, truth))

    def whole(self, x: Any) -> Any:
        """A vector with its factor multiplied in; numbers as they are."""
        if not isinstance(x, _Scaled) or x.factor is _ONE:
            return x.vector if isinstance(x, _Scaled) else x
        return self.vector(np.multiply, x.vector, x.factor)

    def positive(self, x: _Number) -> bool:
        """Whether a number is positive: what is built on it holds only as long as it is so."""
        condition = self.number(np.greater, x, self.of(0))
        self.conditions.append((condition, bool(condition.value)))
        return bool(condition.value)

    # ---- where a factor can be carried on ----

    def _positive(self, x: _Scaled) -> Any:
        return x

    def _negative(self, x: _Scaled) -> Any:
        return _Scaled(self.number(np.negative, x.factor), x.vector)

    def _multiply(self, x: Any, y: Any) -> Any:
        if isinstance(y, _Number):
            x, y = y, x
        if isinstance(x, _Number):
            return _Scaled(self.number(np.multiply, x, y.factor), y.vector)
        return _Scaled(self.number(np.multiply, x.factor, y.factor),
                       self.vector(np.multiply, x.vector, y.vector))

    def _divide(self, x: Any, y: Any) -> Any:
        if isinstance(y, _Number):
            return _Scaled(self.number(np.divide, x.factor, y), x.vector)
        if isinstance(x, _Number):
            ratio = self.number(np.divide, x, y.factor)
            return _Scaled(_ONE, self.vector(np.divide, ratio, y.vector))
        return _Scaled(self.number(np.divide, x.factor, y.factor),
                       self.vector(np.divide, x.vector, y.vector))

    def _square(self, x: _Scaled) -> Any:
        return self._multiply(x, x)

    def _power(self, x: Any, y: Any) -> Any:
        return self._multiply(x, x) if isinstance(y, _Number) and y.code in ("2", "2.0") else None

    def _sqrt(self, x: _Scaled) -> Any:
        if x.factor is _ONE or not self.positive(x.factor):
            return None
        root = self.number(np.sqrt, x.factor)
        root.root = True
        return _Scaled(root, self.vector(np.sqrt, x.vector))

    def _add(self, x: Any, y: Any) -> Any:
        return self._sum(np.add, x, y)

    def _subtract(self, x: Any, y: Any) -> Any:
        return self._sum(np.subtract, x, y)

    def _sum(self, function: Any, x: Any, y: Any) -> Any:
        if isinstance(x, _Scaled) and isinstance(y, _Scaled):
            if x.vector is not y.vector:
                return None
            return _Scaled(self.number(function, x.factor, y.factor), x.vector)
        if isinstance(y, _Number) and x.factor.root and self.positive(x.factor):
            rest = self.number(np.divide, y, x.factor)                 # r√v + ε = r (√v + ε / r)
            return _Scaled(x.factor, self.vector(function, x.vector, rest))
        return None


class Schedule:
    """The results of a rule as calls that write them over what it was given.

    Parameters
    ----------
    vectors : sequence of Symbol
        What the rule was given entry by entry.
    results : dict of int to Symbol
        Which vector each result takes the place of.
    moving, fixed : sequence of Symbol
        Numbers it was given: those that change at each run, and those that rarely do.

    Attributes
    ----------
    calls : list of Call
        Of arrays numbered from the vectors over the scratch vectors to the numbers.
    scratch : list of dtype
    size, moves : int
        How many numbers there are, and how many of them move, which come first.
    reads : set of str
        Names of the numbers that all this depends on, among other code.
    numbers, constants : callable
        (moving, fixed) -> the numbers that move, None where the rule takes another branch for
        these; (moving, fixed) -> the others.

    Raises
    ------
    Untraceable
        If a result cannot be computed entry by entry.
    """

    def __init__(
        self, vectors: Sequence[Symbol], results: Mapping[int, Symbol],
        moving: Sequence[Symbol], fixed: Sequence[Symbol],
    ) -> None:
        lowering = _Lowering(vectors, moving)
        ends = {i: lowering.whole(lowering.of(x)) for i, x in results.items()}
        if not all(isinstance(x, _Vector) for x in ends.values()):
            raise Untraceable("a result is a single number")
        asked = [(lowering.of(x), answer) for x, answer in vectors[0].trace.branches]
        if not all(isinstance(x, _Number) for x, _ in asked):
            raise Untraceable("it branches on the values of an array")
        self.vectors, self.dtype = len(vectors), lowering.dtype
        order = _in_order(ends.values())
        used = dict.fromkeys(v for x in order for v in x.operands if isinstance(v, _Number))
        numbers = sorted(used, key=lambda n: not n.moving)
        self.size = len(numbers)
        self.moves = sum(n.moving for n in numbers)
        arguments = [str(x.name) for x in (*moving, *fixed)]
        conditions = [*asked, *lowering.conditions]
        self.reads = {n.code for n in _parts([*used, *(n for n, _ in conditions)])}
        self.numbers, self.constants = (
            _compiled(arguments, wanted, asserted, lowering.functions) for wanted, asserted in (
                (numbers[: self.moves], conditions), (numbers[self.moves :], [])))
        self._allocate(ends, order, numbers)

    def _allocate(self, ends: dict[int, _Vector], order: list[_Vector], numbers: Any) -> None:
        """Decide where each call writes."""
        never = len(order)
        last: dict[_Vector, int] = {}
        for k, x in enumerate(order):
            for v in x.operands:
                if isinstance(v, _Vector):
                    last[v] = k
        place = {x: i for i, x in reversed(ends.items()) if x.function is not None}
        for i, x in ends.items():
            if place.get(x) != i:                                      # copied when all is done
                last[x] = never
        leaf = {v.place: v for v in last if v.function is None}
        done = {i: order.index(x) if place.get(x) == i else never for i, x in ends.items()}
        busy = {i: (last[leaf[i]] if i in leaf else -1) if i in ends else never
                for i in range(self.vectors)}
        at: dict[_Vector, int] = {v: i for i, v in leaf.items()}
        truth: dict[int, bool] = dict.fromkeys(busy, False)
        self.calls: list[Call] = []
        steps: list[tuple[Any, Any, int]] = []
        for k, x in enumerate(order):
            until, home = last.get(x, k), place.get(x)
            inputs = [at[v] for v in x.operands if isinstance(v, _Vector)]

            def free(b: int, until: int, k: int = k, x: _Vector = x, inputs: list[int] = inputs,
                     home: int | None = home) -> bool:
                if truth[b] != x.truth or (b in inputs and x.function is np.where):
                    return False
                lent = b >= self.vectors or b == home or until <= done.get(b, -1)
                return lent and (busy[b] < k or (busy[b] == k and b in inputs))

            out = home if home is not None and free(home, until) else None
            if out is None:
                until = until if home is None else never               # copied home at the end
                out = next((b for b in [*inputs, *busy] if free(b, until)), len(busy))
            truth[out] = x.truth
            busy[out] = never if out == home else until
            at[x] = out
            steps.append((_where if x.function is np.where else x.function, x.operands, out))
        self.scratch = [np.dtype(bool) if truth[b] else self.dtype
                        for b in range(self.vectors, len(busy))]
        number_at = {n: len(busy) + i for i, n in enumerate(numbers)}
        for function, operands, out in steps:
            where = tuple(number_at[v] if isinstance(v, _Number) else at[v] for v in operands)
            self.calls.append(Call(function, where, out))
        copies = [(at[x], i) for i, x in ends.items() if at[x] != i]
        if sum(source < self.vectors for source, _ in copies) > 1:
            raise Untraceable("it exchanges vectors")
        self.calls += [Call(np.positive, (source,), i) for source, i in sorted(copies)]

    def bind(self, arrays: Sequence[Any]) -> list[partial[Any]]:
        """The calls, on vectors, scratch vectors and numbers as arrays without axes."""
        calls = []
        for function, operands, out in self.calls:
            inputs = [arrays[i] for i in operands]
            calls.append(partial(function, *inputs, out=arrays[out]) if function in _BY_NAME else
                         partial(function, *inputs, arrays[out]))      # that is a little faster
        return calls


def _parts(numbers: Sequence[_Number]) -> set[_Number]:
    """The numbers, and all that they are computed from."""
    found: set[_Number] = set()
    stack = list(numbers)
    while stack:
        n = stack.pop()
        if n not in found:
            found.add(n)
            stack += n.parts
    return found


def _in_order(ends: Any) -> list[_Vector]:
    """What is to be computed, operands before what is made of them."""
    order: dict[_Vector, None] = {}
    stack = [(x, False) for x in reversed(list(ends))]
    while stack:
        x, ready = stack.pop()
        if not isinstance(x, _Vector) or x.function is None or x in order:
            continue
        if ready:
            order[x] = None
        else:
            stack.append((x, True))
            stack += [(v, False) for v in reversed(x.operands)]
    return list(order)


def _compiled(
    arguments: list[str], wanted: Sequence[_Number], conditions: list[tuple[_Number, bool]],
    functions: Mapping[str, Callable[..., Any]],
) -> Callable[..., Any]:
    """A function of the given numbers that returns the wanted ones; None if a condition fails."""
    names: dict[_Number, str] = {}
    lines = []
    stack: list[Any] = [*reversed(wanted), *(n for n, _ in reversed(conditions))]
    while stack:
        n = stack[-1]
        waiting = [part for part in n.parts if part not in names]
        if n in names or waiting:
            stack += waiting
            if not waiting:
                stack.pop()
            continue
        code = n.code.format(*[names[part] for part in n.parts]) if n.parts else n.code
        names[n] = f"_{len(names)}" if n.parts else f"({code})" if code.startswith("-") else code
        if n.parts:
            lines.append(f"    {names[n]} = {code}")
        stack.pop()
    lines += [f"    if {'not ' if answer else ''}({names[n]}): return None"
              for n, answer in conditions]
    lines.append(f"    return ({''.join(names[n] + ', ' for n in wanted)})")
    space: dict[str, Any] = {"math": math, **functions}
    exec("\n".join([f"def numbers({', '.join(arguments)}):", *lines]), space)
    made: Callable[..., Any] = space["numbers"]
    return made
