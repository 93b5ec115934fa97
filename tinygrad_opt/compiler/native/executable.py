"""A program as machine code: loops and products in the place of NumPy's calls.

What NumPy must do itself stays a call between two compiled stretches, and so do effects; an
optimizer's step is the loop of its rule, over the vectors that the optimizer owns, so that a run
may change its backend at any step.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_opt.compiler.bound import SETTING, Bound, in_modes, ready, timed
from tinygrad_opt.compiler.native.fusion import Unit, fuse, writes
from tinygrad_opt.compiler.native.loops import Loop, scattering
from tinygrad_opt.compiler.native.lowering import Check, Pairs, Scatter
from tinygrad_opt.compiler.native.machine_code import Runner, addresses, lanes
from tinygrad_opt.compiler.native.matrix_products import Matrix, Product
from tinygrad_opt.compiler.native.optimizer_loop import OptimizerStep, is_step
from tinygrad_opt.compiler.program import Call, Ref, address, slots_in
from tinygrad_opt.recording import nested
from tinygrad_opt.tensor import Tensor, deliver, forget_gradients

__all__ = ["Native"]

LINE = 64                                # bytes that the processor fetches at a time

Step = tuple[Loop | Product, list[int]]  # and where its arrays are


@dataclass
class Piece:
    """Compiled units that are run as one, or a single call."""

    units: list[Unit]
    modes: Any
    run: Callable[[], Any]
    made: list[Loop | Product] = field(default_factory=list)
    runner: Runner | None = None


class Native(Bound):
    """A program with its memory, run as machine code.

    Attributes
    ----------
    pieces : list of Piece
        What is run: stretches of compiled units, and single calls.
    """

    def _make_ready(self) -> None:
        self.fused = fused = fuse(self.program)
        ends = set(map(fused.root, slots_in(self.program.result)))
        self.stored = fused.stored(ends)
        self._allocate(ends)
        self.steps: dict[int, OptimizerStep] = {}          # of optimizers, by the id of their unit
        self.pieces: list[Piece] = []
        for is_call, group in itertools.groupby(_settled(fused.units), lambda unit: unit.is_call):
            units = list(group)
            self.pieces += map(self._called, units) if is_call else [self._compiled(units)]
        self._renew_at_once()
        self._follow_movers()
        self.runs = [piece.run for piece in self.pieces]
        self._stretches = in_modes([(piece.modes, piece.run) for piece in self.pieces])

    def _compiled(self, units: list[Unit]) -> Piece:
        """A stretch of units as one."""
        steps = [self._step(unit) for unit in units]
        runner = runner_of(steps)
        return Piece(units, None, functools.partial(self._run, runner.call, units),
                     [made for made, _ in steps], runner)

    def _run(self, call: Callable[[], int], units: list[Unit]) -> None:
        stopped = call()
        if stopped >= 0:
            unit = units[stopped]
            self._set_before(units, min(
                call for call, node in zip(unit.calls, unit.nodes) if isinstance(node, Check)))
            self._raise(unit)

    def _set_before(self, stretch: list[Unit], refused: int) -> None:
        """Set the gradients that the program sets before a call, which wait behind its stretch."""
        place = next(i for i, piece in enumerate(self.pieces) if piece.units is stretch)
        for piece in self.pieces[place + 1 :]:
            for unit in piece.units:
                node = unit.nodes[0]
                if unit.is_call and node.kernel in SETTING and unit.calls[0] < refused:
                    ready(node, self.arrays)()

    def _called(self, unit: Unit) -> Piece:
        """A call that NumPy makes, or an effect."""
        call = unit.nodes[0]
        if not is_step(call):
            return Piece([unit], call.modes, ready(call, self.arrays))
        self.steps[id(unit)] = step = OptimizerStep(call.kernel.__self__, runner_of)
        return Piece([unit], call.modes, step)

    def _raise(self, unit: Unit) -> None:
        """Have NumPy make the call that refuses a value, for its error."""
        made = {call.output: call for call in self.program.calls if not call.is_effect}
        known: dict[int, np.ndarray] = {}

        def again(x: object) -> Any:
            """Inputs with arrays in them; what was not kept is computed again."""
            if not isinstance(x, Ref):
                return nested(again, x)
            slot, root = self.program.slots[x.slot], self.program.root(x.slot)
            if root not in made:
                return self.arrays[x.slot]
            if root not in known:
                call, whole = made[root], self.program.slots[root]
                known[root] = np.empty(sum(whole.reach), np.uint8)
                _view(whole, known[root])[...] = call.kernel(*again(call.inputs),
                                                             **again(call.attrs))
            return _view(slot, known[root])

        for i in sorted(set(unit.calls)):
            call = self.program.calls[i]
            call.kernel(*again(call.inputs), **again(call.attrs))
        raise RuntimeError("a native step refused values that NumPy takes; please report this")

    def _renew_at_once(self) -> None:
        """Make forgetting gradients and giving new ones to the same Tensors one piece."""
        for i in range(len(self.pieces) - 2, -1, -1):
            first, second = self.pieces[i : i + 2]
            if first.runner or second.runner:
                continue
            before, after = first.units[0].nodes[0], second.units[0].nodes[0]
            if before.kernel is not forget_gradients or after.kernel is not deliver:
                continue
            given = [(t, self.arrays[ref.slot]) for t, ref in after.inputs[0]]
            left = set(before.inputs[0])
            if left.issuperset(t for t, _ in given):
                rest = list(left.difference(t for t, _ in given))
                self.pieces[i : i + 2] = [Piece(
                    first.units + second.units, None, functools.partial(renew, given, rest))]

    def _follow_movers(self) -> None:
        """Wrap the effects that may move Tensors which are read after them."""
        later = self._reads_leaves(self.program.result)
        for piece in reversed(self.pieces):
            (node, *_) = piece.units[0].nodes
            if piece.runner is None and node.is_effect and node.kernel not in SETTING and later:
                piece.run = functools.partial(self._follow, piece.run)
            later = later or any(
                self.fused.slots[root].kind == "leaf" for unit in piece.units
                for n in unit.nodes for root in self.fused.read_roots(n))

    def preview(self, values: list[object]) -> Any:
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
        rows, runs = [], []
        for piece in self.pieces:
            for i, unit in enumerate(piece.units):
                calls = [lines[c] for c in sorted(set(unit.calls))]
                made = [piece.made[i]] if piece.runner else getattr(
                    self.steps.get(id(unit)), "loops", [])
                code = "\n".join(map(str, made)).splitlines()
                effect = not piece.runner and unit.nodes[0].is_effect
                rows.append((calls, code, effect))
                runs.append(None if effect else piece.runner.one[i] if piece.runner else piece.run)
        seconds = timed(runs, repeats)
        total = sum(seconds) or 1.0
        text = []
        for (calls, code, effect), s in zip(rows, seconds):
            kind = "effect" if effect else f"{s * 1e6:.1f} µs {s / total:.0%}"
            text += [f"{kind}{'' if code or effect else ', by NumPy'}",
                     *(f"  {call}" for call in calls), *(f"      {line}" for line in code)]
        loops = sum(bool(code) for _, code, effect in rows if not effect)
        return "\n".join([*text, f"{len(lines)} calls in {loops} loops; {len(set(self._blocks))}"
                                 f" arrays are kept, in {self.nbytes:,} bytes"])

    # ---- memory ----

    def _allocate(self, ends: set[int]) -> None:
        """An array for each slot that is kept, in blocks that are used again."""
        fused, slots = self.fused, self.fused.slots
        last: dict[int, int] = {}
        for i, unit in enumerate(fused.units):
            for node in unit.nodes:
                effect = isinstance(node, Call) and node.is_effect
                for root in fused.read_roots(node):
                    last[root] = len(fused.units) if effect else max(i, last.get(root, 0))
                if writes(node) >= 0:
                    last.setdefault(fused.root(writes(node)), i)
        last |= dict.fromkeys(ends, len(fused.units))
        self.arrays = [slot.array for slot in slots]
        self._blocks: dict[int, int] = {}
        free: dict[int, list[tuple[int, np.ndarray]]] = {}
        held: dict[int, tuple[int, np.ndarray]] = {}
        for i, unit in enumerate(fused.units):
            for node in unit.nodes:
                root = fused.root(writes(node)) if writes(node) >= 0 else -1
                if root < 0 or root in held or root not in self.stored:
                    continue
                slot = slots[root]
                nbytes = sum(slot.reach)
                spare = free.get(nbytes)
                if not spare:
                    whole = np.empty(nbytes + LINE, np.uint8)
                    begin = -whole.__array_interface__["data"][0] % LINE
                    spare = [(len(held) + 1, whole[begin : begin + nbytes])]
                    self.nbytes += nbytes
                held[root] = spare.pop()
                self._blocks[root] = held[root][0]
                self.arrays[root] = _view(slot, held[root][1])
            for root in [r for r in held if last[r] == i and slots[r].kind == "temporary"]:
                free.setdefault(held[root][1].nbytes, []).append(held[root])
                last[root] = -1
        for i, slot in enumerate(slots):
            if slot.base in held:
                self.arrays[i] = _view(slot, held[slot.base][1])

    def address(self, slot: int) -> int:
        """Where the first entry of a slot is."""
        array, own = self.arrays[slot], self.fused.slots[slot]
        if array is None:                                  # a view that lowering made
            return address(self.arrays[own.base]) + own.offset
        return address(array)

    @property
    def blocks(self) -> dict[int, int]:
        """Of each temporary that is kept, the block that it lies in."""
        made = (call.output for call in self.program.calls)
        return {s: self._blocks[s] for s in made if s in self._blocks}

    # ---- units as steps ----

    def _step(self, unit: Unit) -> Step:
        """What a unit runs, and where its arrays are."""
        node = unit.nodes[0]
        made: Loop | Product
        if isinstance(node, Pairs):
            made, slots = self._product(node)
        elif isinstance(node, Scatter):
            slots = [node.out, node.places, node.values]
            into, places, values = (self.fused.slots[s] for s in slots)
            inner = into.strides[1:] if node.adds else ()
            made = scattering(
                self.fused.low.dtype(node.out), values.shape,
                (0,) * (len(values.shape) - len(inner)) + inner, places.strides, values.strides,
                node.adds)
        else:
            made, slots = self.fused.loop(unit, self.stored)
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
        if unit.is_call and unit.nodes[0].kernel in SETTING:
            waiting.append(unit)
        else:
            if unit.is_call:
                ordered += waiting
                waiting = []
            ordered.append(unit)
    return ordered + waiting


def renew(gradients: list[tuple[Tensor, np.ndarray]], rest: list[Tensor]) -> None:
    """What forgetting gradients and then delivering new ones comes to."""
    for t, g in gradients:
        t._gradient = g
        if t._spent:
            t._spent = False
    for t in rest:
        t._gradient = None


def runner_of(steps: list[Step]) -> Runner:
    """Loops and products with their arrays, compiled."""
    functions = addresses(made for made, _ in steps)
    return Runner([(function, where) for function, (_, where) in zip(functions, steps)])


def _view(slot: Any, block: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.ndarray(slot.shape, slot.dtype, block, slot.offset, slot.strides)
    return result
