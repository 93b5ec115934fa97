"""A function for LLVM: what it is given, and its loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_opt.compiler.native.elementary_functions import (
    FUNCTIONS,
    Scalars,
    constant,
    integer,
    typed,
)

if TYPE_CHECKING:
    from llvmlite import ir

__all__ = ["FunctionCode", "LoopCode"]


class FunctionCode:
    """A function of a table of arrays, while it is written.

    All that it does is to call another one, whose arguments are the arrays and are known to lie
    apart: so LLVM may read and write several entries at once.

    Parameters
    ----------
    name : str
    count : int
        How many arrays there are.
    entry : llvmlite.ir.Type
        What they are said to hold.

    Attributes
    ----------
    b : llvmlite.ir.IRBuilder
        At the end of what has been written.
    arrays : list
        Addresses.
    """

    def __init__(self, name: str, count: int, entry: ir.Type) -> None:
        from llvmlite import ir
        self.i32, self.i64 = integer(32), integer(64)
        self.module, pointer = ir.Module(name), entry.as_pointer()
        table = ir.FunctionType(self.i32, [pointer.as_pointer()])
        outer = ir.Function(self.module, table, name)
        inner = ir.Function(self.module, ir.FunctionType(self.i32, [pointer] * count), name + "_")
        inner.linkage = "internal"
        inner.attributes.add("noinline")
        for argument in inner.args:
            argument.add_attribute("noalias")
        b = ir.IRBuilder(outer.append_basic_block())
        b.ret(b.call(inner, [b.load(b.gep(outer.args[0], [self.i64(k)])) for k in range(count)]))
        self.b, self.arrays = ir.IRBuilder(inner.append_basic_block()), inner.args

    def text(self, refused: ir.Value = None) -> str:
        """The module, once the function has ended; it returns 0, or what says that it refused."""
        self.b.ret(self.i32(0) if refused is None else refused)
        return str(self.module)

    def at(self, array: ir.Value, *parts: tuple[ir.Value, int]) -> ir.Value:
        """The address of an entry: each index times its step, in units of what arrays hold."""
        b, offset = self.b, self.i64(0)
        for i, step in parts:
            if step:
                offset = b.add(offset, b.mul(i, self.i64(step), flags=("nsw",)), flags=("nsw",))
        return b.gep(array, [offset], inbounds=True)

    def loop(
        self, begin: int, end: int | ir.Value, step: int,
        body: Callable[..., Sequence[ir.Value] | None], carried: Sequence[ir.Value] = (),
    ) -> Sequence[ir.Value]:
        """Do ``body(i, *carried)`` for i from begin to end; it gives what is carried on, and the
        last of that is returned."""
        b, start, stop = self.b, self.i64(begin), self.i64(end) if isinstance(end, int) else end
        if end == begin:
            return carried
        if isinstance(end, int) and end - begin == step:
            return body(start, *carried) or ()
        before, head = b.block, b.append_basic_block()
        b.branch(head)
        b.position_at_end(head)
        phis = [b.phi(x.type) for x in (start, *carried)]
        found = body(*phis) or ()
        if not carried:
            found = ()
        after = b.add(phis[0], self.i64(step), flags=("nuw", "nsw"))
        for phi, first, then in zip(phis, (start, *carried), (after, *found)):
            phi.add_incoming(first, before)
            phi.add_incoming(then, b.block)
        leave = b.append_basic_block()
        b.cbranch(b.icmp_unsigned("<", after, stop), head, leave)
        b.position_at_end(leave)
        return found


class LoopCode(FunctionCode):
    """The function of a loop over entries.

    Parameters
    ----------
    name : str
    layout : sequence of (dtype, strides)
        Of the arrays.
    refuses : bool
        Whether values are checked.
    """

    long = 1024

    def __init__(self, name: str, layout: Sequence[tuple[str, Sequence[int]]],
                 refuses: bool) -> None:
        super().__init__(name, len(layout), integer(8))
        self.layout, self.refused = layout, self.b.alloca(self.i32) if refuses else None
        if refuses:
            self.b.store(self.i32(0), self.refused)

    def text(self, refused: ir.Value = None) -> str:
        return super().text(None if self.refused is None else self.b.load(self.refused))

    def number(self, dtype: str, x: float | str) -> ir.Value:
        return constant(dtype, x)

    def cast(self, x: ir.Value, of: str, to: str) -> ir.Value:
        return Scalars(self.b, to).cast(x, of)

    def call(self, name: str, of: str, to: str, operands: Sequence[ir.Value],
             reassociate: bool = False) -> ir.Value:
        return FUNCTIONS[name](Scalars(self.b, of, reassociate), *operands)

    def check(self, x: ir.Value) -> None:
        bad = self.b.zext(self.b.not_(x), self.i32)
        self.b.store(self.b.or_(self.b.load(self.refused), bad), self.refused)

    def _place(
        self, array: int, at: Sequence[ir.Value], where: Sequence[ir.Value]
    ) -> tuple[ir.Value, ir.Type]:
        """The address of an entry, and of what type it is there."""
        dtype, strides = self.layout[array]
        size, stored = np.dtype(dtype).itemsize, integer(8) if dtype == "b1" else typed(dtype)
        place = self.at(self.arrays[array], *zip(at, strides), *((w, size) for w in where))
        return self.b.bitcast(place, stored.as_pointer()), stored

    def load(self, array: int, at: Sequence[ir.Value], where: Sequence[ir.Value] = ()) -> ir.Value:
        place, stored = self._place(array, at, where)
        x = self.b.load(place)
        return self.b.icmp_unsigned("!=", x, stored(0)) if self.layout[array][0] == "b1" else x

    def store(self, array: int, at: Sequence[ir.Value], x: ir.Value,
              where: Sequence[ir.Value] = ()) -> None:
        place, stored = self._place(array, at, where)
        self.b.store(self.b.zext(x, stored) if self.layout[array][0] == "b1" else x, place)
