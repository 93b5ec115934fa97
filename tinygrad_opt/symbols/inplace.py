"""Expressions over vectors as a list of NumPy calls that write into arrays that are there.

What is a single number is computed once per run, in Python. Numbers that scale a vector are
collected, so that ``lr * m_hat / (np.sqrt(v_hat) + eps)`` scales it once. Equal calls are made
once. A result is written where it belongs as soon as nobody needs what stood there; what is needed
in between lies in scratch vectors, which are shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from tinygrad_opt.ops import Op
from tinygrad_opt.symbols.symbol import Symbol, Untraceable, inside, name_of
from tinygrad_opt.typing import Array

__all__ = ["Call", "InPlace"]


class Call(NamedTuple):
    """``function(*operands, out)``; the integers number the arrays of `InPlace.bind`."""

    function: Callable[..., object]
    operands: tuple[int, ...]
    out: int


class _Scaled(NamedTuple):
    """A number times a vector, or a number alone."""

    factor: Symbol
    vector: Symbol | None = None


class _Rewriting:
    """Expressions rewritten as numbers times vectors; equal calls are made once."""

    def __init__(self, vectors: Sequence[Symbol]) -> None:
        self.trace, self.dtype = vectors[0].trace, vectors[0].dtype
        self.calls: dict[object, Symbol] = {}
        self.one = self.literal(1)
        self.known = {x: _Scaled(self.one, x) for x in vectors}
        self.roots: set[Symbol] = set()                    # numbers that are square roots

    def of(self, x: object) -> _Scaled:
        """An expression, or a number."""
        if not isinstance(x, Symbol):
            if not isinstance(x, int | float):
                raise Untraceable(f"a {type(x).__name__} takes part")
            return _Scaled(self.literal(x))
        for s in inside([x], stop=self.known.__contains__):
            if s not in self.known:
                self.known[s] = self.rewritten(s)
        return self.known[x]

    def literal(self, x: float) -> Symbol:
        """A number of the code itself, which is its own name."""
        code = repr(x)
        return self.calls.setdefault(code, self.trace.symbol(code, x))

    def call(self, function: Callable[..., object], *operands: Symbol) -> Symbol:
        key = (function, *map(id, operands))
        if key not in self.calls:
            self.calls[key] = self.trace.call(function, operands, {})
        return self.calls[key]

    def rewritten(self, x: Symbol) -> _Scaled:
        if x.function is None:
            if x.ndim or x.name is None:
                raise Untraceable("an array takes part that the rule was not given")
            return _Scaled(x)
        if x.attrs:
            raise Untraceable(f"{name_of(x.function)} has options")
        operands = [self.of(v) for v in x.inputs]
        if all(v.vector is None for v in operands):
            return _Scaled(self.number(x.function, *[v.factor for v in operands]))
        by_entries = isinstance(x.function, np.ufunc) and x.function.signature is None
        name = name_of(x.function)
        if not (by_entries or x.function is np.where) or x.dtype not in (self.dtype, bool):
            raise Untraceable(f"{name} does not go entry by entry")
        carry: Callable[..., _Scaled | None] = getattr(self, f"_{name}", _not_carried)
        carried = carry(*operands) if x.dtype != bool else None
        if carried is None:
            return _Scaled(self.one, self.call(x.function, *map(self.whole, operands)))
        return carried

    def number(self, function: Callable[..., object], *parts: Symbol) -> Symbol:
        """A number computed from numbers."""
        name = name_of(function)
        if parts[-1] is self.one and name in ("multiply", "divide"):
            return parts[0]
        if parts[0] is self.one and name == "multiply":
            return parts[1]
        if name not in _CODE and not isinstance(function, Op | np.ufunc):
            raise Untraceable(f"{name} of numbers")
        return self.call(function, *parts)

    def whole(self, x: _Scaled) -> Symbol:
        """A vector with its factor multiplied in; numbers as they are."""
        if x.vector is None:
            return x.factor
        return x.vector if x.factor is self.one else self.call(np.multiply, x.vector, x.factor)

    def positive(self, x: Symbol) -> bool:
        """Whether a number is positive; what is built on it holds only as long as it is so."""
        return bool(self.number(np.greater, x, self.literal(0)))

    # ---- where a factor can be carried on; None where not ----

    def _positive(self, x: _Scaled) -> _Scaled:
        return x

    def _negative(self, x: _Scaled) -> _Scaled:
        return _Scaled(self.number(np.negative, x.factor), x.vector)

    def _multiply(self, x: _Scaled, y: _Scaled, function: np.ufunc = np.multiply) -> _Scaled:
        factor = self.number(function, x.factor, y.factor)
        if x.vector is None or y.vector is None:
            return _Scaled(factor, y.vector if x.vector is None else x.vector)
        return _Scaled(factor, self.call(function, x.vector, y.vector))

    def _divide(self, x: _Scaled, y: _Scaled) -> _Scaled:
        if y.vector is None or x.vector is not None:
            return self._multiply(x, y, np.divide)
        ratio = self.number(np.divide, x.factor, y.factor)
        return _Scaled(self.one, self.call(np.divide, ratio, y.vector))

    def _square(self, x: _Scaled) -> _Scaled:
        return self._multiply(x, x)

    def _power(self, x: _Scaled, y: _Scaled) -> _Scaled | None:
        squares = y.vector is None and y.factor.name in ("2", "2.0")
        return self._multiply(x, x) if squares else None

    def _sqrt(self, x: _Scaled) -> _Scaled | None:
        if x.vector is None or x.factor is self.one or not self.positive(x.factor):
            return None
        root = self.number(np.sqrt, x.factor)
        self.roots.add(root)
        return _Scaled(root, self.call(np.sqrt, x.vector))

    def _add(self, x: _Scaled, y: _Scaled, function: np.ufunc = np.add) -> _Scaled | None:
        if x.vector is None:
            return None
        if y.vector is not None:
            if x.vector is not y.vector:
                return None
            return _Scaled(self.number(function, x.factor, y.factor), x.vector)
        if x.factor in self.roots and self.positive(x.factor):
            rest = self.number(np.divide, y.factor, x.factor)          # r√v + ε = r (√v + ε / r)
            return _Scaled(x.factor, self.call(function, x.vector, rest))
        return None

    def _subtract(self, x: _Scaled, y: _Scaled) -> _Scaled | None:
        return self._add(x, y, np.subtract)


def _not_carried(*operands: _Scaled) -> None:
    """No factor goes through other functions."""


class InPlace:
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
    wanted, conditions : list
        The numbers as Symbols; those that decide a branch, and what was decided.
    reads : set of str
        Names of the numbers that all this depends on.
    arguments : list of str
        Names of the numbers that are given, in the order of moving and fixed.
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
        rewriting, branches = _Rewriting(vectors), vectors[0].trace.branches
        ends = {i: rewriting.whole(rewriting.of(x)) for i, x in results.items()}
        if not all(x.ndim for x in ends.values()):
            raise Untraceable("a result is a single number")
        conditions = [(rewriting.of(x).factor, answer) for x, answer in list(branches)]
        order = [x for x in inside(ends.values()) if x.ndim and x.function is not None]
        used = dict.fromkeys(v for x in order for v in x.inputs if not v.ndim)
        moves = {n: not set(moving).isdisjoint(inside([n])) for n in used}
        at_each_run, rarely = ([n for n in used if moves[n] is now] for now in (True, False))
        self.size, self.moves = len(used), len(at_each_run)
        self.wanted, self.conditions = [*at_each_run, *rarely], conditions
        self.reads = {n.name for n in inside([*used, *(n for n, _ in conditions)])}
        self.arguments = [str(x.name) for x in (*moving, *fixed)]
        arguments = ", ".join(self.arguments)
        self.numbers = _compiled(arguments, at_each_run, conditions)
        self.constants = _compiled(arguments, rarely, [])
        self._allocate(vectors, ends, order, self.wanted)

    def _allocate(self, vectors: Sequence[Symbol], ends: dict[int, Symbol], order: list[Symbol],
                  numbers: list[Symbol]) -> None:
        """Decide where each call writes."""
        at, memory = _places(vectors, ends, order)
        scratch = memory[len(vectors):]
        self.scratch = [np.dtype(bool) if m.truth else vectors[0].dtype for m in scratch]
        place = at | {n: len(memory) + i for i, n in enumerate(numbers)}
        self.calls = [Call(_where if x.function is np.where else x.function,
                           tuple(place[v] for v in x.inputs), at[x]) for x in order if x.function]
        copies = [(at[x], i) for i, x in ends.items() if at[x] != i]
        if sum(source < len(vectors) for source, _ in copies) > 1:
            raise Untraceable("it exchanges vectors")
        self.calls += [Call(np.positive, (source,), i) for source, i in sorted(copies)]

    def bind(self, arrays: Sequence[object]) -> list[partial[object]]:
        """The calls, on vectors, scratch vectors and numbers as arrays without axes."""
        calls = []
        for function, operands, out in self.calls:
            inputs = [arrays[i] for i in operands]
            calls.append(partial(function, *inputs, out=arrays[out]) if function in _BY_NAME else
                         partial(function, *inputs, arrays[out]))      # that is a little faster
        return calls


_BY_NAME = (np.maximum, np.minimum)        # want to be told by name where they write


def _where(mask: Array, x: Array, y: Array, out: Array) -> None:
    """np.where, into an array that is neither x nor y."""
    np.copyto(out, y)
    np.copyto(out, x, where=mask)


# ---- where each call writes ----


@dataclass
class _Memory:
    """A vector that calls may write to, while they are given their places."""

    holds: Symbol
    busy: int                  # the last call that reads what it holds
    lent: int                  # the call that writes the result which belongs there
    truth: bool = False        # whether it holds booleans

    def takes(self, x: Symbol, call: int, until: int) -> bool:
        """Whether the call may write x there, where it is needed until another call."""
        over_an_input = x.function is not np.where and any(v is self.holds for v in x.inputs)
        return (self.truth == (x.dtype == bool) and until <= self.lent
                and (self.busy < call or (self.busy == call and over_an_input)))


def _places(
    vectors: Sequence[Symbol], ends: dict[int, Symbol], order: list[Symbol]
) -> tuple[dict[Symbol, int], list[_Memory]]:
    """The number of the vector to which each call writes, and the vectors: given ones, then
    scratch."""
    never, turn = len(order), {x: k for k, x in enumerate(order)}
    home = {x: i for i, x in reversed(ends.items()) if x in turn}
    last = {v: k for k, x in enumerate(order) for v in x.inputs}       # the call that reads it last
    last |= {x: never for i, x in ends.items() if home.get(x) != i}    # copied there at the end
    lent = {i: turn[x] for x, i in home.items()}
    memory = [_Memory(v, last.get(v, -1) if i in ends else never, lent.get(i, never))
              for i, v in enumerate(vectors)]
    at = {v: i for i, v in enumerate(vectors)}
    for k, x in enumerate(order):
        out, until = home.get(x), never
        if out is None or not memory[out].takes(x, k, k):
            until = last.get(x, k) if out is None else never           # copied home at the end
            near = [at[v] for v in x.inputs if v in at]
            out = next((b for b in (*near, *range(len(memory))) if memory[b].takes(x, k, until)),
                       len(memory))
        if out == len(memory):
            memory.append(_Memory(x, until, never))
        m, at[x] = memory[out], out
        m.holds, m.busy, m.truth = x, until, x.dtype == bool
    return at, memory


# ---- numbers, computed by Python ----

Numbers: TypeAlias = tuple[float, ...] | None

_CODE = {name: f"{{}} {sign} {{}}" for name, sign in [
    ("add", "+"), ("subtract", "-"), ("multiply", "*"), ("divide", "/"), ("power", "**"),
    ("equal", "=="), ("not_equal", "!="), ("greater", ">"), ("greater_equal", ">="),
    ("less", "<"), ("less_equal", "<=")]} | {
    "negative": "-{}", "positive": "{}", "sqrt": "sqrt({})", "square": "{0} * {0}",
    "absolute": "abs({})", "maximum": "max({}, {})", "minimum": "min({}, {})"}


def _compiled(arguments: str, wanted: Sequence[Symbol],
              conditions: Sequence[tuple[Symbol, bool]]) -> Callable[..., Numbers]:
    """A function of the given numbers that returns the wanted ones; None if a condition fails."""
    names: dict[Symbol, str] = {}
    space, lines = vars(math).copy(), [f"def numbers({arguments}):"]
    for n in inside([*wanted, *(n for n, _ in conditions)]):
        if n.function is None:
            names[n] = f"({n.name})"
            continue
        name, places = name_of(n.function), ", ".join("{}" for _ in n.inputs)
        if name not in _CODE:
            space[name] = n.function
        code = _CODE.get(name, f"float({name}({places}))").format(*[names[v] for v in n.inputs])
        names[n] = f"_{len(names)}"
        lines.append(f"    {names[n]} = {code}")
    lines += [f"    if {'not ' if answer else ''}{names[n]}: return None"
              for n, answer in conditions]
    lines.append(f"    return ({''.join(names[n] + ', ' for n in wanted)})")
    exec("\n".join(lines), space)
    made: Callable[..., Numbers] = space["numbers"]
    return made
