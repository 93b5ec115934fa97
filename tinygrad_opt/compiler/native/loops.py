"""A loop over entries as plain data, and how it is written in a language.

A `Loop` reads arrays entry by entry, computes values, writes some of them and adds up others. Its
arrays come by number, with their strides along the axes of the loop: 0 where an array is
broadcast, or where it collects what is folded. The text of a loop is its key: equal loops are one
function.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from tinygrad_opt.compiler.native.function_code import LoopCode

if TYPE_CHECKING:
    from tinygrad_opt.compiler.javascript.loop_text import LoopText

__all__ = ["START", "Loop", "Value", "Values", "Writing", "scattering"]


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
        code = LoopCode(name, self.arrays, bool(self.checks))
        Writing(self, code).all()
        return code.text()


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
    if dtype == "b1":
        return start > 0
    if math.isinf(start) and dtype[0] != "f":
        limits = np.iinfo(dtype)
        return limits.min if start < 0 else limits.max
    return start


Expression: TypeAlias = Any              # of a language: a value of LLVM, or a text


class Writing:
    """A loop, written in a language: LLVM's or JavaScript."""

    def __init__(self, loop: Loop, code: LoopCode | LoopText) -> None:
        self.loop, self.code = loop, code
        # what is collected in a register along the last axis: and in which dtype
        long = bool(loop.shape) and loop.shape[-1] > code.long
        self.kept = {fold: "f8" if long and dtype == "f4" else dtype for fold in loop.folds
                     for dtype, strides in [loop.arrays[fold[2]]] if loop.shape and not strides[-1]}

    def all(self) -> None:
        """The whole loop."""
        loop = self.loop
        for fold in loop.folds:                            # what is folded starts afresh
            name, _, array = fold
            dtype, strides = loop.arrays[array]
            space = tuple(n if s else 1 for n, s in zip(loop.shape, strides))
            start = self.code.number(dtype, start_of(name, dtype))
            if not self._is_whole(fold):
                self._nest(space, functools.partial(self.code.store, array, x=start))
        if 0 not in loop.shape:
            self._nest(loop.shape[:-1], self._row if loop.shape else self._entry)

    def _is_whole(self, fold: tuple[str, int, int]) -> bool:
        """Whether a register collects all that comes to an entry."""
        _, strides = self.loop.arrays[fold[2]]
        return fold in self.kept and 0 not in self.loop.shape and all(strides[:-1])

    def _nest(self, shape: Sequence[int], body: Callable[[Sequence[Expression]], object],
              at: Sequence[Expression] = ()) -> None:
        """Loops over a space."""
        if not shape:
            body(at)
        else:
            self.code.loop(0, shape[0], 1, lambda i: self._nest(shape[1:], body, (*at, i)))

    def _row(self, at: Sequence[Expression]) -> None:
        """All entries along the last axis."""
        starts = [self.code.number(dtype, start_of(name, dtype))
                  for (name, _, _), dtype in self.kept.items()]
        found = self.code.loop(0, self.loop.shape[-1], 1, lambda i, *registers: self._entry(
            [*at, i], registers), starts)
        for (fold, dtype), x in zip(self.kept.items(), found):
            name, _, array = fold
            x = self.code.cast(x, dtype, self.loop.arrays[array][0])
            if self._is_whole(fold):
                self.code.store(array, at, x)
            else:
                self._fold(name, array, at, x)

    def _entry(
        self, at: Sequence[Expression], registers: Sequence[Expression] = ()
    ) -> list[Expression]:
        """Everything for one entry; what registers collect is returned."""
        code, loop = self.code, self.loop
        values: list[Expression] = []
        for name, dtype, operands, text in loop.values:
            if name == "load":
                array, *where = operands
                values.append(code.load(array, at, [values[w] for w in where]))
            elif name == "number":
                values.append(code.number(dtype, text))
            elif name == "cast":
                (v,) = operands
                values.append(code.cast(values[v], loop.values[v].dtype, dtype))
            else:
                of = loop.values[operands[-1]].dtype       # by which comparisons go
                values.append(code.call(name, of, dtype, [values[v] for v in operands]))
        for v in loop.checks:
            code.check(values[v])
        for v, array, *where in loop.stores:
            code.store(array, at, values[v], [values[w] for w in where])
        for name, v, array in loop.folds:
            if (name, v, array) not in self.kept:
                self._fold(name, array, at, values[v])
        return [code.call(name, dtype, dtype, [
                    register, code.cast(values[v], loop.values[v].dtype, dtype)], reassociate=True)
                for ((name, v, _), dtype), register in zip(self.kept.items(), registers)]

    def _fold(self, name: str, array: int, at: Sequence[Expression], x: Expression) -> None:
        dtype = self.loop.arrays[array][0]
        self.code.store(array, at, self.code.call(
            name, dtype, dtype, [self.code.load(array, at), x]))
