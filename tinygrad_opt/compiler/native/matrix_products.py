"""The product of two matrices as code: tiles of the result in registers.

Entries of one factor meet registers full of the other, whose rows lie without gaps; where they do
not, a strip of it is first copied so. It is as fast as BLAS is once it is under way, and costs
nothing to call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinygrad_opt.compiler.native.elementary_functions import constant, integer, typed
from tinygrad_opt.compiler.native.function_code import FunctionCode

if TYPE_CHECKING:
    from llvmlite import ir

__all__ = ["Matrix", "Product"]

TILE = 24                                # registers that hold a tile of the result, of 32
NARROW = 10                              # of 16
DEPTH = 256                              # rows of the second factor that are gone through at once
NEAR = 1 << 17                           # bytes over which rows may lie without being copied


class Matrix(NamedTuple):
    """How a factor or the result lies in memory: strides in entries."""

    row: int
    column: int

    @property
    def T(self) -> Matrix:
        return Matrix(self.column, self.row)


class Product(NamedTuple):
    """c = a @ b, of shapes (m, n) = (m, k) (k, n)."""

    dtype: str
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    c: Matrix
    lanes: int

    @property
    def level(self) -> int:
        """Tiles are written as they are to be; copying entries is left to LLVM."""
        return 1 if self.copies or self.c.column != 1 else 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.m, self.n, self.k

    def __str__(self) -> str:
        return (f"for i in range({self.m}):\n    for j in range({self.n}):\n"
                f"        for k in range({self.k}):\n            c[i, j] += a[i, k] * b[k, j]"
                f"  # {self.dtype}, in tiles of {self.tile[0]} by {self.tile[1] * self.lanes}")

    @property
    def flipped(self) -> Product:
        """The same numbers as cᵀ = bᵀ aᵀ."""
        return self._replace(m=self.n, n=self.m, a=self.b.T, b=self.a.T, c=self.c.T)

    @property
    def copies(self) -> bool:
        """Whether b is copied first: where its rows have gaps, or are many and far apart."""
        far = self.k * abs(self.b.row) * np.dtype(self.dtype).itemsize > NEAR
        return self.b.column != 1 or (far and self.m > self.lanes and self.registers > 4)

    @property
    def registers(self) -> int:
        """How many hold a row of the result."""
        return -(-self.n // self.lanes)

    @property
    def cost(self) -> float:
        """Roughly, in instructions."""
        copied = self.k * self.n * self.copies * (2 if self.b.column != 1 else 1 / self.lanes)
        stored = self.m * self.n * 2 * (self.c.column != 1)
        return self.m * self.registers * self.k + copied + stored

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and registers of a tile."""
        room = TILE if self.lanes * np.dtype(self.dtype).itemsize == 64 else NARROW
        wide = min(self.registers, 4 if room == TILE else 2)
        return min(self.m, room // wide, 8), wide

    def better(self) -> Product:
        """This or its transpose, whichever is cheaper."""
        return min(self, self.flipped, key=lambda p: p.cost)

    def written(self, name: str) -> str:
        return _Writer(self, name).text()


class _Writer:
    def __init__(self, product: Product, name: str) -> None:
        from llvmlite import ir
        self.ir, self.p, self.size = ir, product, np.dtype(product.dtype).itemsize
        self.scalar = typed(product.dtype)
        self.vector = ir.VectorType(self.scalar, product.lanes)
        self.zero = ir.Constant(self.vector, [constant(product.dtype, 0)] * product.lanes)
        self.code = FunctionCode(name, 3, self.scalar)
        self.b, self.i32, self.i64 = self.code.b, self.code.i32, self.code.i64
        self.module, self._at, self._loop = self.code.module, self.code.at, self.code.loop
        self.fma = ir.Function(self.module, ir.FunctionType(
            self.vector, [self.vector] * 3),
            f"llvm.fma.v{product.lanes}f{8 * self.size}")

    def text(self) -> str:
        p, b = self.p, self.b
        self.a, self.rows, self.c = self.code.arrays
        self.adds = p.k > DEPTH
        high, wide = p.tile
        if p.copies:
            self.strip = self._room(min(p.k, DEPTH) * wide * p.lanes)
        if p.c.column != 1:
            self.tile = self._room(high * wide * p.lanes)
        if self.adds:
            self._loop(0, p.m, 1, lambda i: self._loop(0, p.n, 1, lambda j: b.store(
                constant(p.dtype, 0), self._at(self.c, (i, p.c.row), (j, p.c.column)))))
        for first, last, depth in _spans(p.k, min(p.k, DEPTH)):
            for begin, end, r in _spans(p.registers, wide):
                self._loop(first, last, depth, lambda k, begin=begin, end=end, r=r, depth=depth:
                           self._loop(begin, end, r, lambda j: self._strip(k, j, depth, r)))
        return self.code.text()

    def _room(self, entries: int) -> ir.Value:
        """Memory of the function's own."""
        room = self.b.alloca(self.ir.ArrayType(self.scalar, entries))
        room.align = 64
        return self.b.bitcast(room, self.scalar.as_pointer())

    def _strip(self, k: ir.Value, j: ir.Value, depth: int, wide: int) -> None:
        """What some rows of b, in some registers, add to the result."""
        p = self.p
        rows = self._at(self.rows, (k, p.b.row), (j, p.lanes * p.b.column))
        if p.copies:
            rows = self._copied(rows, j, depth, wide)
        for first, last_row, h in _spans(p.m, p.tile[0]):
            self._loop(first, last_row, h, lambda i, h=h: self._tile(i, j, k, rows, depth, h, wide))

    def _copied(self, source: ir.Value, j: ir.Value, depth: int, wide: int) -> ir.Value:
        """A strip of b without gaps."""
        p, b = self.p, self.b
        width = wide * p.lanes
        if p.b.column == 1:
            def row(k: ir.Value) -> None:
                for w in range(wide):
                    place = self._at(source, (k, p.b.row), (self.i64(w), p.lanes))
                    to = self._at(self.strip, (k, width), (self.i64(w), p.lanes))
                    b.store(self._load(place, self._mask(j, w, wide)),
                            b.bitcast(to, self.vector.as_pointer()), align=self.size)
            self._loop(0, depth, 1, row)
            return self.strip
        count = self._columns(j, wide)
        self._loop(0, depth, 1, lambda k: self._loop(0, count, 1, lambda c: b.store(
            b.load(self._at(source, (k, p.b.row), (c, p.b.column))),
            self._at(self.strip, (k, width), (c, 1)))))
        return self.strip

    def _tile(
        self, i: ir.Value, j: ir.Value, k0: ir.Value, rows: ir.Value, depth: int, high: int,
        wide: int,
    ) -> None:
        """high rows by wide registers of the result, begun at row i and register j."""
        p, b = self.p, self.b
        step = wide * p.lanes if p.copies else p.b.row
        def row(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            across = []
            for w in range(wide):
                place = self._at(rows, (k, step), (self.i64(w), p.lanes))
                if p.copies:
                    place = b.bitcast(place, self.vector.as_pointer())
                    across.append(b.load(place, align=self.size))
                else:
                    across.append(self._load(place, self._mask(j, w, wide)))
            done = []
            for h in range(high):
                x = self._splat(b.load(self._at(self.a, (i, p.a.row), (self.i64(h), p.a.row),
                                                (k, p.a.column), (k0, p.a.column))))
                done += [b.call(self.fma, [x, across[w], sums[h * wide + w]]) for w in range(wide)]
            return done

        done = self._loop(0, depth, 1, row, [self.zero] * (high * wide))
        if p.c.column != 1:
            self._scatter(done, i, j, high, wide)
            return
        for h in range(high):
            for w in range(wide):
                place = self._at(self.c, (i, p.c.row), (self.i64(h), p.c.row),
                                 (b.add(j, self.i64(w)), p.lanes))
                self._store(done[h * wide + w], place, self._mask(j, w, wide))

    def _scatter(
        self, done: Sequence[ir.Value], i: ir.Value, j: ir.Value, high: int, wide: int
    ) -> None:
        """Add a tile to a result whose rows have gaps, or write it there, entry by entry."""
        p, b = self.p, self.b
        for at, register in enumerate(done):
            place = self._at(self.tile, (self.i64(at), p.lanes))
            b.store(register, b.bitcast(place, self.vector.as_pointer()), align=self.size)
        count = self._columns(j, wide)

        def entry(h: ir.Value, column: ir.Value) -> None:
            x = b.load(self._at(self.tile, (h, wide * p.lanes), (column, 1)))
            place = self._at(self.c, (i, p.c.row), (h, p.c.row), (j, p.lanes * p.c.column),
                             (column, p.c.column))
            b.store(b.fadd(x, b.load(place)) if self.adds else x, place)

        self._loop(0, high, 1, lambda h: self._loop(0, count, 1, lambda c: entry(h, c)))

    def _splat(self, x: ir.Value) -> ir.Value:
        b = self.b
        one = b.insert_element(self.ir.Constant(self.vector, self.ir.Undefined), x, self.i32(0))
        mask = self.ir.Constant(self.ir.VectorType(self.i32, self.p.lanes), [0] * self.p.lanes)
        return b.shuffle_vector(one, one, mask)

    def _may_end(self, wide: int) -> bool:
        """Whether a strip of so many registers may end before the last of them is full."""
        p = self.p
        return p.n % p.lanes != 0 and p.registers % p.tile[1] in (0, wide)

    def _columns(self, j: ir.Value, wide: int) -> ir.Value:
        """How many columns the strip has that begins at register j."""
        p, b, width = self.p, self.b, self.i64(wide * self.p.lanes)
        if not self._may_end(wide):
            return width
        left = b.sub(self.i64(p.n), b.mul(j, self.i64(p.lanes)))
        return b.select(b.icmp_unsigned("<", left, width), left, width)

    def _mask(self, j: ir.Value, w: int, wide: int) -> ir.Value:
        """Which entries of register j + w belong to a row."""
        p, bits = self.p, self.ir.VectorType(integer(1), self.p.lanes)
        every = self.ir.Constant(bits, [1] * p.lanes)
        if w != wide - 1 or not self._may_end(wide):
            return every
        some = self.ir.Constant(bits, [int(lane < p.n % p.lanes) for lane in range(p.lanes)])
        if p.registers <= p.tile[1] or p.registers % p.tile[1]:        # the only strip like this
            return some
        last = self.b.icmp_unsigned("==", j, self.i64(p.registers - wide))
        return self.b.select(last, some, every)

    def _load(self, place: ir.Value, mask: ir.Value, rest: ir.Value = None) -> ir.Value:
        """A register of a row, which may end before it is full."""
        place = self.b.bitcast(place, self.vector.as_pointer())
        rest = self.zero if rest is None else rest
        load = self._intrinsic("load", self.vector, [place.type, self.i32, mask.type, self.vector])
        return self.b.call(load, [place, self.i32(self.size), mask, rest])

    def _store(self, value: ir.Value, place: ir.Value, mask: ir.Value) -> None:
        """Add a register to the result, or write it there."""
        if self.adds:
            value = self.b.fadd(value, self._load(place, mask, value))
        place = self.b.bitcast(place, self.vector.as_pointer())
        store = self._intrinsic("store", self.ir.VoidType(), [
            self.vector, place.type, self.i32, mask.type])
        self.b.call(store, [value, place, self.i32(self.size), mask])

    def _intrinsic(self, what: str, result: ir.Type, operands: list[ir.Type]) -> ir.Value:
        ir, p = self.ir, self.p
        name = f"llvm.masked.{what}.v{p.lanes}f{8 * self.size}.p0"
        return self.module.globals.get(name) or ir.Function(
            self.module, ir.FunctionType(result, operands), name)


def _spans(total: int, step: int) -> list[tuple[int, int, int]]:
    """(begin, end, step) of the whole steps, and of the rest."""
    whole = total // step * step
    spans = [(0, whole, step)] if whole else []
    return [*spans, (whole, total, total - whole)] if whole < total else spans
