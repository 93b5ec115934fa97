"""A loop over entries as plain data, and its code.

A `Loop` reads arrays entry by entry, computes values, writes some of them and adds up others. Its
arrays come by number, with their strides along the axes of the loop: 0 where an array is
broadcast, or where it collects what is folded. The text of a loop is its key: equal loops are one
function.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt.compiler.native.elementary_functions import (
    FUNCTIONS,
    Scalars,
    constant,
    integer,
    kind_of,
    typed,
)

__all__ = ["START", "Loop", "Value", "scattering"]

LONG = 1024                              # so many float32 are added up in float64


class Value(NamedTuple):
    """A value of a loop: ``name(*operands)`` of a dtype.

    Operands are numbers of earlier values. Of a "load" they are the array and, where it is read at
    places that are computed, the value that says where; of a "number" its text.
    """

    name: str
    dtype: str
    operands: tuple[Any, ...]


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
    level: int = 3

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

        def place(array: int, where: Any = ()) -> str:
            dtype, strides = self.arrays[array]
            size = np.dtype(dtype).itemsize
            parts = [f"{f'{s // size} * ' if s != size else ''}i{a}"
                     for a, s in enumerate(strides) if s]
            return f"a{array}[{' + '.join([*where, *parts]) or 0}]"

        for k, value in enumerate(self.values):
            if value.name == "number":
                (text,) = value.operands
                names.append(f"{float.fromhex(text):.9g}" if value.dtype[0] == "f" else text)
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


def start_of(name: str, dtype: str) -> Any:
    """What folding starts from."""
    start = START[name]
    if math.isinf(start) and kind_of(dtype) != "f":
        limits = np.iinfo(dtype)
        return limits.min if start < 0 else limits.max
    return start


class _Writer:
    """Writes the two functions of a loop: one on a table of arrays, which calls one on arrays
    that are known to lie apart."""

    def __init__(self, loop: Loop, name: str) -> None:
        import llvmlite.ir as ir
        self.ir, self.loop = ir, loop
        self.module = ir.Module(name)
        pointer, self.i64, self.i32 = ir.IntType(8).as_pointer(), ir.IntType(64), ir.IntType(32)
        count = len(loop.arrays)
        outer = ir.Function(self.module, ir.FunctionType(self.i32, [pointer.as_pointer()]), name)
        inner = ir.Function(self.module, ir.FunctionType(self.i32, [pointer] * count), name + "_")
        inner.linkage = "internal"
        inner.attributes.add("noinline")
        for argument in inner.args:
            argument.add_attribute("noalias")
        b = ir.IRBuilder(outer.append_basic_block())
        b.ret(b.call(inner, [b.load(b.gep(outer.args[0], [self.i64(k)])) for k in range(count)]))
        self.b, self.pointers = ir.IRBuilder(inner.append_basic_block()), inner.args
        self.function = inner
        self.refused: Any = None

    def text(self) -> str:
        b, loop = self.b, self.loop
        if loop.checks:
            self.refused = b.alloca(self.i32)
            b.store(self.i32(0), self.refused)
        if 0 not in loop.shape or loop.folds:
            for name, _, array in loop.folds:              # what is folded starts afresh
                dtype, strides = loop.arrays[array]
                space = tuple(n if s else 1 for n, s in zip(loop.shape, strides))
                start = constant(dtype, start_of(name, dtype))
                self._nest(space, lambda at, array=array, start=start: self._store(
                    array, at, start))
            if 0 not in loop.shape:
                self._nest(loop.shape, self._entry, self._inner_folds())
        b.ret(b.load(self.refused) if loop.checks else self.i32(0))
        return str(self.module)

    def _inner_folds(self) -> list[tuple[str, int, int, str]]:
        """What is collected in a register along the last axis, and in which dtype."""
        loop = self.loop
        if not loop.shape:
            return []
        kept = [f for f in loop.folds if not loop.arrays[f[2]][1][-1]]
        wide = {"f4": "f8"} if loop.shape[-1] > LONG else {}
        return [(*f, wide.get(loop.arrays[f[2]][0], loop.arrays[f[2]][0])) for f in kept]

    def _nest(self, shape: tuple[int, ...], body: Any, kept: Any = ()) -> None:
        """Loops over a space; what is kept is collected along the last axis."""
        b, at = self.b, []
        ends = []
        for axis, n in enumerate(shape):
            before = b.block
            head = self.function.append_basic_block()
            b.branch(head)
            b.position_at_end(head)
            i = b.phi(self.i64)
            i.add_incoming(self.i64(0), before)
            registers = []
            if axis == len(shape) - 1:
                for name, _, _, dtype in kept:
                    register = b.phi(typed(dtype))
                    register.add_incoming(constant(dtype, start_of(name, dtype)), before)
                    registers.append(register)
            at.append(i)
            ends.append((head, i, n, registers))
        carried = body(at, *([ends[-1][3]] if kept else []))
        for head, i, n, registers in reversed(ends):
            after = b.add(i, self.i64(1), flags=("nuw", "nsw"))
            i.add_incoming(after, b.block)
            for register, value in zip(registers, carried or ()):
                register.add_incoming(value, b.block)
            leave = self.function.append_basic_block()
            b.cbranch(b.icmp_unsigned("<", after, self.i64(n)), head, leave)
            b.position_at_end(leave)
            if registers:
                for (name, _, array, dtype), value in zip(kept, carried):
                    own = self.loop.arrays[array][0]
                    outer = [*at[:-1], self.i64(0)]
                    value = Scalars(b, own).cast(value, dtype)
                    self._fold(name, array, outer, value)

    def _entry(self, at: list[Any], registers: Any = ()) -> list[Any]:
        """Everything for one entry; what registers collect is returned."""
        b, loop = self.b, self.loop
        values: list[Any] = []
        for value in loop.values:
            if value.name == "load":
                array, *where = value.operands
                values.append(self._load(array, at, [values[w] for w in where]))
            elif value.name == "number":
                values.append(constant(value.dtype, value.operands[0]))
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
        inner = [f[:3] for f in self._inner_folds()]
        for name, v, array in loop.folds:
            if (name, v, array) not in inner:
                self._fold(name, array, at, values[v])
        return [
            FUNCTIONS[name](Scalars(b, dtype, reassociate=True), register,
                            Scalars(b, dtype).cast(values[v], loop.values[v].dtype))
            for (name, v, _, dtype), register in zip(self._inner_folds(), registers)]

    def _fold(self, name: str, array: int, at: list[Any], value: Any) -> None:
        dtype = self.loop.arrays[array][0]
        self._store(array, at, FUNCTIONS[name](
            Scalars(self.b, dtype), self._load(array, at), value))

    def _place(self, array: int, at: list[Any], where: Any = ()) -> Any:
        """The address of an entry."""
        b, (dtype, strides) = self.b, self.loop.arrays[array]
        offset = self.i64(0)
        for i, stride in [*zip(at, strides), *((w, np.dtype(dtype).itemsize) for w in where)]:
            if stride:
                offset = b.add(offset, b.mul(i, self.i64(stride), flags=("nsw",)), flags=("nsw",))
        return b.gep(self.pointers[array], [offset], inbounds=True)

    def _load(self, array: int, at: list[Any], where: Any = ()) -> Any:
        b, dtype = self.b, self.loop.arrays[array][0]
        stored = integer(8) if dtype == "b1" else typed(dtype)
        x = b.load(b.bitcast(self._place(array, at, where), stored.as_pointer()))
        return b.icmp_unsigned("!=", x, stored(0)) if dtype == "b1" else x

    def _store(self, array: int, at: list[Any], value: Any, where: Any = ()) -> None:
        b, dtype = self.b, self.loop.arrays[array][0]
        if dtype == "b1":
            value = b.zext(value, integer(8))
        b.store(value, b.bitcast(self._place(array, at, where), value.type.as_pointer()))
