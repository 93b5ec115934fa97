"""Where arrays lie in the one typed array of a module."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

import numpy as np

from tinygrad_opt.compiler.javascript.vocabulary import refused
from tinygrad_opt.compiler.native.fusion import Fused
from tinygrad_opt.compiler.program import Program, Slot, address, owner_of
from tinygrad_opt.typing import Array, Shape

__all__ = ["Function", "Memory", "Region"]


@dataclass
class Region:
    """Memory of an array: where it lies outside, and what it holds at first."""

    number: int
    size: int
    values: Array | None = None
    address: int = 0
    nbytes: int = 0

    def at(self, begin: int = 0) -> str:
        """The text of where an entry is."""
        return f"o{self.number}" + (f" + {begin}" if begin else "")


@dataclass
class Function:
    """What is written of one program."""

    program: Program
    fused: Fused
    stored: set[int]
    regions: dict[int, tuple[Region, int]] = field(default_factory=dict)   # and entries into it
    lines: list[str] = field(default_factory=list)


class Memory:
    """The regions of a module, and what its parts tell of them.

    Attributes
    ----------
    regions : list of Region
        In order.
    shown : dict of str to str
        What `slots` tells of an array.
    rates : dict of str to float
        Numbers that can be changed from outside.
    functions : list of str
    names : dict of int to str
        Of parameters, by the id of their Tensor.
    numbers : iterator of int
        For variables that are named by a number.
    wide : bool
        Whether it is a Float64Array, in which float32 is rounded when it is stored.
    """

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self.shown: dict[str, str] = {}
        self.rates: dict[str, float] = {}
        self.functions: list[str] = []
        self.names: dict[int, str] = {}
        self.numbers = itertools.count()
        self.wide = False

    def region(self, size: int, values: Array | None = None, address: int = 0,
               nbytes: int = 0) -> Region:
        self.regions.append(Region(len(self.regions), size, values, address, nbytes))
        return self.regions[-1]

    def outside(self, array: Array, name: str, is_fed: bool = False) -> tuple[Region, int]:
        """The region that an array from outside lies in, and where."""
        like = Slot.like("", array)
        (below, above), size = like.reach, array.dtype.itemsize
        begin, nbytes = address(array) - below, below + above
        for region in self.regions:
            if region.nbytes and region.address <= begin and (
                    begin + nbytes <= region.address + region.nbytes):
                return region, (address(array) - region.address) // size
        copy = like.apart()
        copy[...] = array
        block = owner_of(copy).view(array.dtype)
        if block.dtype.kind in "iu" and np.any(np.abs(block.astype(float)) > 1 << 24):
            raise refused(f"the integers of {name}, which float32 does not hold")
        return self.region(block.size, None if is_fed else block, begin, nbytes), below // size

    def place(self, part: Function, slot: int) -> tuple[Region, int]:
        """The region of a slot, and where its first entry is."""
        own, root = part.fused.slots[slot], part.fused.root(slot)
        whole = part.fused.slots[root]
        if own.dtype != whole.dtype:
            raise refused(f"an array of {whole.dtype} that is seen as {own.dtype}")
        size = own.dtype.itemsize
        if whole.array is not None:
            array = whole.array if own.array is None else own.array
            name, is_fed = whole.name or whole.kind, whole.kind == "argument"
            self.outside(whole.array, name, is_fed)
            region, at = self.outside(array, name, is_fed)
            return region, at + (own.offset // size if own.array is None and slot != root else 0)
        if root not in part.regions:
            part.regions[root] = self.region(sum(whole.reach) // size), 0
        region, begin = part.regions[root]
        return region, begin + own.offset // size

    def at(self, part: Function, slot: int) -> str:
        """The text of where the first entry of a slot is."""
        region, begin = self.place(part, slot)
        return region.at(begin)

    def show(self, name: str, at: str, shape: Shape, kind: str) -> None:
        """Tell where an array lies, row by row."""
        if name not in self.shown:
            self.shown[name] = f"{{at: {at}, shape: {list(shape)}, kind: {json.dumps(kind)}}}"
