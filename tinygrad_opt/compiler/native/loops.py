"""A loop over entries as plain data, and its code.

A `Loop` reads arrays entry by entry, computes values, writes some of them and adds up others. Its
arrays come by number, with their strides along the axes of the loop: 0 where an array is
broadcast, or where it collects what is folded. The text of a loop is its key: equal loops are one
function.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinygrad_opt.compiler.native.elementary_functions import (
    FUNCTIONS,
    Scalars,
    constant,
    integer,
    typed,
)
from tinygrad_opt.compiler.native.function_code import FunctionCode

if TYPE_CHECKING:
    from llvmlite import ir

__all__ = ["START", "Loop", "Value", "Values", "scattering"]

LONG = 1024                              # so many float32 are added up in float64


class Value(NamedTuple):
    """A value of a loop: ``name(*operands)`` of a dtype.

    Operands are numbers of earlier values. Of a "load" they are the array and, where it is read at
    places that are computed, the value that says where. A "number" has none, but its text.
    """

    name: str
    dtype: str
    operands: tuple[int, ...] = ()
    text: str = ""


class Values(list[Value]):
    """The values of a loop while it is made."""

    def new(self, name: str, dtype: str, *operands: int, text: str = "") -> int:
        """The number of a new value."""
        self.append(Value(name, dtype, operands, text))
        return len(self) - 1


class Loop(NamedTuple):
    """Values computed for each entry of a space.

    Attributes
    ----------
    shape : tuple of int
    arrays : tuple of (dtype, strides)
    values : tuple of Value
    stores : tuple of (value, array), or (value, array, value that says at which place)
    folds : tuple of (name, value, array)
        What is folded along the axes on which the array does not move: "add", "maximum",
        "minimum", "multiply".
    checks : tuple of int
        Values that must be true; otherwise the function returns 1.
    """

    shape: tuple[int, ...]
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    values: tuple[Value, ...]
    stores: tuple[tuple[int, ...], ...]
    folds: tuple[tuple[str, int, int], ...] = ()
    checks: tuple[int, ...] = ()

    @property
    def level(self) -> int:
        """How much LLVM is to do. It ends the process over some loops that read backwards, when it
        weighs how many entries to do at once, so those go entry by entry."""
        backwards = any(step < 0 for _, strides in self.arrays for step in strides)
        return 1 if backwards else 3

    def merged(self) -> Loop:
        """The same with neighbouring axes made one where no array can tell the difference."""
        shape: list[int] = []
        strides: list[list[int]] = [[] for _ in self.arrays]
        for axis, n in enumerate(self.shape):
            if n == 1:
                continue
            now = [own[axis] for _, own in self.arrays]
            if shape and all(s[-1] == n * step for s, step in zip(strides, now)):
                shape[-1] *= n
                for s, step in zip(strides, now):
                    s[-1] = step
            else:
                shape.append(n)
                for s, step in zip(strides, now):
                    s.append(step)
        arrays = tuple((dtype, tuple(s)) for (dtype, _), s in zip(self.arrays, strides))
        return self._replace(shape=tuple(shape), arrays=arrays)

    def __str__(self) -> str:
        """The loop as text."""
        lines, names, pad = [], [], ""
        for axis, n in enumerate(self.shape):
            lines.append(f"{pad}for i{axis} in range({n}):")
            pad += "    "

        def place(array: int, where: Sequence[str] = ()) -> str:
            dtype, strides = self.arrays[array]
            size = np.dtype(dtype).itemsize
            parts = [f"{f'{s // size} * ' if s != size else ''}i{a}"
                     for a, s in enumerate(strides) if s]
            return f"a{array}[{' + '.join([*where, *parts]) or 0}]"

        for k, value in enumerate(self.values):
            if value.name == "number":
                number = value.text
                names.append(f"{float.fromhex(number):.9g}" if value.dtype[0] == "f" else number)
                continue
            names.append(f"v{k}")
            if value.name == "load":
                array, *where = value.operands
                text = place(array, [names[w] for w in where])
            else:
                text = f"{value.name}({', '.join(names[v] for v in value.operands)})"
            lines.append(f"{pad}v{k} = {text}  # {value.dtype}")
        lines += [f"{pad}check({names[v]})" for v in self.checks]
        lines += [f"{pad}{place(a, [names[w] for w in at])} = {names[v]}"
                  for v, a, *at in self.stores]
        lines += [f"{pad}{place(a)} = {name}({place(a)}, {names[v]})" for name, v, a in self.folds]
        return "\n".join(lines)

    def written(self, name: str) -> str:
        """The LLVM text of a module with this loop as a function of that name."""
        return _Writer(self, name).text()


def scattering(dtype: str, shape: tuple[int, ...], into: tuple[int, ...], places: tuple[int, ...],
               values: tuple[int, ...], adds: bool) -> Loop:
    """A loop that puts values into an array at places of it, or adds them, one after the other."""
    steps = [Value("load", "i8", (1,)), Value("load", dtype, (2,))]
    if adds:
        steps += [Value("load", dtype, (0, 0)), Value("add", dtype, (2, 1))]
    return Loop(shape, ((dtype, into), ("i8", places), (dtype, values)), tuple(steps),
                ((len(steps) - 1, 0, 0),)).merged()


START = {"add": 0, "multiply": 1, "maximum": -math.inf, "minimum": math.inf}


def start_of(name: str, dtype: str) -> float:
    """What folding starts from."""
    start = START[name]
    if math.isinf(start) and dtype[0] != "f":
        limits = np.iinfo(dtype)
        return limits.min if start < 0 else limits.max
    return start


class _Writer:
    """Writes the function of a loop."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.loop, self.code = loop, FunctionCode(name, len(loop.arrays), integer(8))
        self.b, self.i64, self.i32 = self.code.b, self.code.i64, self.code.i32
        self.refused: ir.Value = None
        # what is collected in a register along the last axis: and in which dtype
        long = bool(loop.shape) and loop.shape[-1] > LONG
        self.kept = [(name, v, array, "f8" if long and dtype == "f4" else dtype)
                     for name, v, array in loop.folds for dtype, strides in [loop.arrays[array]]
                     if loop.shape and not strides[-1]]

    def text(self) -> str:
        b, loop = self.b, self.loop
        if loop.checks:
            self.refused = b.alloca(self.i32)
            b.store(self.i32(0), self.refused)
        for name, _, array in loop.folds:                  # what is folded starts afresh
            dtype, strides = loop.arrays[array]
            space = tuple(n if s else 1 for n, s in zip(loop.shape, strides))
            start = constant(dtype, start_of(name, dtype))
            self._nest(space, functools.partial(self._store, array, value=start))
        if 0 not in loop.shape:
            self._nest(loop.shape[:-1], self._row if loop.shape else self._entry)
        return self.code.text(b.load(self.refused) if loop.checks else None)

    def _nest(self, shape: tuple[int, ...], body: Callable[[Sequence[ir.Value]], object],
              at: Sequence[ir.Value] = ()) -> None:
        """Loops over a space."""
        if not shape:
            body(at)
        else:
            self.code.loop(0, shape[0], 1, lambda i: self._nest(shape[1:], body, (*at, i)))

    def _row(self, at: Sequence[ir.Value]) -> None:
        """All entries along the last axis."""
        starts = [constant(dtype, start_of(name, dtype)) for name, _, _, dtype in self.kept]
        found = self.code.loop(0, self.loop.shape[-1], 1, lambda i, *registers: self._entry(
            [*at, i], registers), starts)
        for (name, _, array, dtype), value in zip(self.kept, found):
            own = Scalars(self.b, self.loop.arrays[array][0])
            self._fold(name, array, [*at, self.i64(0)], own.cast(value, dtype))

    def _entry(self, at: Sequence[ir.Value],
               registers: Sequence[ir.Value] = ()) -> list[ir.Value]:
        """Everything for one entry; what registers collect is returned."""
        b, loop = self.b, self.loop
        values: list[ir.Value] = []
        for value in loop.values:
            if value.name == "load":
                array, *where = value.operands
                values.append(self._load(array, at, [values[w] for w in where]))
            elif value.name == "number":
                values.append(constant(value.dtype, value.text))
            elif value.name == "cast":
                (x,) = value.operands
                values.append(Scalars(b, value.dtype).cast(values[x], loop.values[x].dtype))
            else:
                of = loop.values[value.operands[-1]].dtype     # comparisons go by their operands
                values.append(FUNCTIONS[value.name](
                    Scalars(b, of), *[values[v] for v in value.operands]))
        for v in loop.checks:
            bad = b.zext(b.not_(values[v]), self.i32)
            b.store(b.or_(b.load(self.refused), bad), self.refused)
        for v, array, *where in loop.stores:
            self._store(array, at, values[v], [values[w] for w in where])
        inner = [f[:3] for f in self.kept]
        for name, v, array in loop.folds:
            if (name, v, array) not in inner:
                self._fold(name, array, at, values[v])
        return [
            FUNCTIONS[name](Scalars(b, dtype, reassociate=True), register,
                            Scalars(b, dtype).cast(values[v], loop.values[v].dtype))
            for (name, v, _, dtype), register in zip(self.kept, registers)]

    def _fold(self, name: str, array: int, at: Sequence[ir.Value], value: ir.Value) -> None:
        dtype = self.loop.arrays[array][0]
        self._store(array, at, FUNCTIONS[name](
            Scalars(self.b, dtype), self._load(array, at), value))

    def _place(
        self, array: int, at: Sequence[ir.Value], where: Sequence[ir.Value] = ()
    ) -> ir.Value:
        """The address of an entry."""
        dtype, strides = self.loop.arrays[array]
        size = np.dtype(dtype).itemsize
        return self.code.at(self.code.arrays[array], *zip(at, strides), *((w, size) for w in where))

    def _load(self, array: int, at: Sequence[ir.Value], where: Sequence[ir.Value] = ()) -> ir.Value:
        b, dtype = self.b, self.loop.arrays[array][0]
        stored = integer(8) if dtype == "b1" else typed(dtype)
        x = b.load(b.bitcast(self._place(array, at, where), stored.as_pointer()))
        return b.icmp_unsigned("!=", x, stored(0)) if dtype == "b1" else x

    def _store(self, array: int, at: Sequence[ir.Value], value: ir.Value,
               where: Sequence[ir.Value] = ()) -> None:
        b, dtype = self.b, self.loop.arrays[array][0]
        if dtype == "b1":
            value = b.zext(value, integer(8))
        b.store(value, b.bitcast(self._place(array, at, where), value.type.as_pointer()))
