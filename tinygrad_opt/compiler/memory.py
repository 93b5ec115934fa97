"""Memory of a program: blocks for what its calls make.

A block whose contents nobody reads any more is given to later calls that make as many bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_opt.compiler.program import Slot, address
from tinygrad_opt.typing import Array

__all__ = ["Memory"]

LINE = 64                                # bytes that the processor fetches at a time


class Memory:
    """Blocks of memory, and the arrays in them.

    Parameters
    ----------
    slots : list of Slot

    Attributes
    ----------
    arrays : dict of int to ndarray
        Of each slot that has memory.
    blocks : dict of int to int
        Of each temporary that has memory the number of its block.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = slots
        self.arrays = {i: slot.array for i, slot in enumerate(slots) if slot.array is not None}
        self.blocks: dict[int, int] = {}
        self._blocks: list[Array] = []
        self._free: dict[int, list[int]] = {}              # their numbers, by their bytes

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return sum(block.nbytes for block in self._blocks)

    def take(self, slot: int) -> None:
        """Memory for a temporary: a block that is free, or a new one."""
        nbytes = sum(self.slots[slot].reach)
        free = self._free.get(nbytes)
        if not free:
            whole = np.empty(nbytes + LINE, np.uint8)
            begin = -address(whole) % LINE
            free = [len(self._blocks)]
            self._blocks.append(whole[begin : begin + nbytes])
        self.blocks[slot] = free.pop()
        self.arrays[slot] = self.slots[slot].within(self._blocks[self.blocks[slot]])

    def give(self, slot: int) -> None:
        """Nobody reads a temporary any more."""
        block = self.blocks[slot]
        self._free.setdefault(self._blocks[block].nbytes, []).append(block)

    def see(self) -> None:
        """The arrays of slots that are parts of temporaries."""
        for i, slot in enumerate(self.slots):
            if slot.base in self.blocks:
                self.arrays[i] = slot.within(self._blocks[self.blocks[slot.base]])
