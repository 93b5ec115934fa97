"""A program as machine code: loops and products in the place of NumPy's calls.

What NumPy must do itself stays a call between two compiled stretches, and so do effects; an
optimizer's step is the loop of its rule, over the vectors that the optimizer owns, so that a run
may change its backend at any step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tinygrad_opt.compiler.bound import Bound, Run, in_modes, timed
from tinygrad_opt.compiler.memory import Memory
from tinygrad_opt.compiler.native.fusion import Unit, fuse
from tinygrad_opt.compiler.native.loops import Loop
from tinygrad_opt.compiler.native.lowering import Pairs
from tinygrad_opt.compiler.native.machine_code import Runner, addresses, lanes
from tinygrad_opt.compiler.native.matrix_products import Matrix, Product
from tinygrad_opt.compiler.native.optimizer_loop import OptimizerStep
from tinygrad_opt.compiler.planned_updates import optimizer_of
from tinygrad_opt.compiler.program import (
    SETTING,
    Modes,
    Program,
    Ref,
    address,
    gradients_set,
    slots_in,
)
from tinygrad_opt.tensor import Tensor, deliver, forget_gradients
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["Native"]

Step: TypeAlias = "tuple[Loop | Product, list[int]]"       # and where its arrays are


@dataclass
class Piece:
    """Compiled units that are run as one, or a single call."""

    units: list[Unit]
    run: Run
    modes: Modes | None = None
    made: Sequence[Loop | Product] = ()
    runner: Runner | None = None


class Native(Bound):
    """A program with its memory, run as machine code.

    Attributes
    ----------
    pieces : list of Piece
        What is run: stretches of compiled units, and single calls.
    """

    def _take_memory(self) -> Memory:
        """Memory for the slots that are kept."""
        self.fused = fused = fuse(self.program)
        ends = set(map(fused.root, slots_in(self.program.result)))
        self.stored = fused.stored(ends)
        memory, last = Memory(fused.slots), fused.lifetimes(ends)
        for i, unit in enumerate(fused.units):
            for root in map(fused.written_root, unit.nodes):
                if root in self.stored and root not in memory.blocks:
                    memory.take(root)
            for root in [root for root in memory.blocks if last[root] == i]:
                memory.give(root)
        memory.see()
        return memory

    def _make_ready(self) -> None:
        self.pieces: list[Piece] = []
        for is_call, group in itertools.groupby(
                _settled(self.fused.units), lambda unit: unit.call is not None):
            units = list(group)
            self.pieces += map(self._called, units) if is_call else [self._compiled(units)]
        self._renew_at_once()
        self.runs = [piece.run for piece in self.pieces]
        self._stretches = in_modes((piece.modes, piece.run) for piece in self.pieces)

    def _compiled(self, units: list[Unit]) -> Piece:
        """A stretch of units as one."""
        steps = [self._step(unit) for unit in units]
        runner = runner_of(steps)
        return Piece(units, partial(self._run, runner.call, units),
                     made=[made for made, _ in steps], runner=runner)

    def _run(self, call: Callable[[], int], units: list[Unit]) -> None:
        stopped = call()
        if stopped >= 0:
            self._raise(units, units[stopped])

    def _called(self, unit: Unit) -> Piece:
        """A call that NumPy makes, or an effect."""
        call = self.program.calls[unit.calls[0]]
        optimizer = optimizer_of(call)
        if optimizer is None:
            return Piece([unit], self._ready(unit.calls[0]), call.modes)
        step = OptimizerStep(optimizer, runner_of)
        return Piece([unit], self._ready(unit.calls[0], step), call.modes, step.loops)

    def _raise(self, stretch: list[Unit], unit: Unit) -> None:
        """Have NumPy make the calls of a unit that has refused a value, for its error; gradients
        that the program sets before wait behind the stretch."""
        program, blamed = self.program, set(unit.calls)
        place = next(i for i, piece in enumerate(self.pieces) if piece.units is stretch)
        behind = {i for piece in self.pieces[place + 1 :] for later in piece.units
                  for i in later.calls if program.calls[i].kernel in SETTING}
        again = [call for i, call in enumerate(program.calls[: max(blamed) + 1])
                 if i in blamed | behind or not call.is_effect]
        made = [Ref(program.calls[i].output) for i in blamed if not program.calls[i].is_effect]
        Bound(Program(program.slots, again, [], made, program.leaves)).run([])
        raise RuntimeError("a native step refused values that NumPy takes; please report this")

    def _renew_at_once(self) -> None:
        """Make forgetting gradients and giving new ones to the same Tensors one piece."""
        for i in range(len(self.pieces) - 2, -1, -1):
            (first, *_), (second, *_) = (piece.units for piece in self.pieces[i : i + 2])
            if (first.call is None or first.call.kernel is not forget_gradients
                    or second.call is None or second.call.kernel is not deliver):
                continue
            left = {t for t, _ in gradients_set(first.call)}
            given = {t: self.arrays[ref.slot] for t, ref in gradients_set(second.call) if ref}
            if left.issuperset(given):
                self.pieces[i : i + 2] = [
                    Piece([first, second], partial(renew, given, left.difference(given)))]

    def preview(self, values: Sequence[ArrayLike]) -> object:
        """As NumPy computes it, to compare with the step as it is written."""
        return Bound(self.program).preview(values)

    def listing(self, repeats: int) -> str:
        """Each loop, the calls that it does, and its share of the time; of an optimizer's step,
        which is an effect and not timed, the loops of its latest call."""
        lines, blocks = self.program.lines(), self.blocks
        for c, call in enumerate(self.program.calls):
            if not call.is_effect:
                where = f"block {blocks[call.output]}" if call.output in blocks else "in registers"
                lines[c] += f"  {where}"
        rows = []
        for piece in self.pieces:
            runs: Sequence[Run] = piece.runner.one if piece.runner else [piece.run]
            for i, (unit, run) in enumerate(zip(piece.units, runs)):
                made = piece.made[i : i + 1] if piece.runner else piece.made
                code = "\n".join(map(str, made)).splitlines()
                effect = unit.call is not None and unit.call.is_effect
                rows.append((unit, code, None if effect else run))
        seconds = timed([run for _, _, run in rows], repeats)
        total = sum(seconds) or 1.0
        text = []
        for (unit, code, timed_run), s in zip(rows, seconds):
            share = f"{s * 1e6:.1f} µs {s / total:.0%}{'' if code else ', by NumPy'}"
            text += ["effect" if timed_run is None else share,
                     *(f"  {lines[c]}" for c in sorted(set(unit.calls))),
                     *(f"      {line}" for line in code)]
        loops = sum(bool(code) for _, code, run in rows if run is not None)
        return "\n".join([*text, f"{len(lines)} calls in {loops} loops; {len(self.memory.blocks)}"
                                 f" arrays are kept, in {self.nbytes:,} bytes"])

    # ---- units as steps ----

    def address(self, slot: int) -> int:
        """Where the first entry of a slot is."""
        if slot in self.arrays:
            return address(self.arrays[slot])
        view = self.fused.slots[slot]                      # that lowering made, of what is outside
        return address(self.arrays[view.base]) + view.offset

    def _step(self, unit: Unit) -> Step:
        """What a unit runs, and where its arrays are."""
        node = unit.nodes[0]
        made, slots = (self._product(node) if isinstance(node, Pairs)
                       else self.fused.loop(unit, self.stored))
        return made, [self.address(s) for s in slots]

    def _product(self, node: Pairs) -> tuple[Product, list[int]]:
        a, b, c = (self.fused.slots[s] for s in (node.a, node.b, node.out))
        size = c.dtype.itemsize
        (m, n), (_, k) = c.shape, a.shape
        lie = [Matrix(*(s // size for s in x.strides)) for x in (a, b, c)]
        plain = Product(c.dtype.str[1:], m, n, k, lie[0], lie[1], lie[2], lanes(size))
        best = plain.better()
        return best, ([node.a, node.b, node.out] if best == plain else [node.b, node.a, node.out])


def _settled(units: list[Unit]) -> list[Unit]:
    """Units with gradients set as late as can be: no loop looks at those."""
    ordered: list[Unit] = []
    waiting: list[Unit] = []
    for unit in units:
        if unit.call is not None and unit.call.kernel in SETTING:
            waiting.append(unit)
        else:
            if unit.call is not None:
                ordered += waiting
                waiting = []
            ordered.append(unit)
    return ordered + waiting


def renew(gradients: dict[Tensor, Array], rest: set[Tensor]) -> None:
    """What forgetting gradients and then delivering new ones comes to."""
    for t, g in gradients.items():
        t._gradient = g
        if t._spent:
            t._spent = False
    for t in rest:
        t._gradient = None


def runner_of(steps: Sequence[Step]) -> Runner:
    """Loops and products with their arrays, compiled."""
    functions = addresses(made for made, _ in steps)
    return Runner([(function, where) for function, (_, where) in zip(functions, steps)])
