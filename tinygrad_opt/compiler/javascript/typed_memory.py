"""Where arrays lie in the one typed array of a module."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_opt.compiler.javascript.vocabulary import refused
from tinygrad_opt.compiler.native.fusion import Fused
from tinygrad_opt.compiler.program import Program, Slot

__all__ = ["Function", "Memory", "Region"]


@dataclass
class Region:
    """Memory of an array: what it is called, where it lies outside, what it holds at first."""

    name: str
    size: int
    address: int = 0
    nbytes: int = 0
    values: Any = None
    kind: str = "temporary"


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
    used : set of str
        Helpers that are called.
    functions : list of str
    names : dict of int to str
        Of parameters, by the id of their Tensor.
    wide : bool
        Whether it is a Float64Array, in which float32 is rounded when it is stored.
    """

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self.shown: dict[str, str] = {}
        self.rates: dict[str, float] = {}
        self.used: set[str] = set()
        self.functions: list[str] = []
        self.names: dict[int, str] = {}
        self.wide = False

    def region(self, name: str, size: int, values: Any = None, **rest: Any) -> Region:
        self.regions.append(Region(name, size, values=values, **rest))
        return self.regions[-1]

    def outside(self, array: np.ndarray, name: str, kind: str) -> tuple[Region, int]:
        """The region that an array from outside lies in, and where."""
        where = array.__array_interface__["data"][0]
        below, above = Slot("", array.shape, array.dtype, array.strides).reach
        size = array.dtype.itemsize
        for region in self.regions:
            if region.nbytes and region.address <= where - below and (
                    where + above <= region.address + region.nbytes):
                return region, (where - region.address) // size
        block = np.zeros((below + above) // size, array.dtype)
        np.ndarray(array.shape, array.dtype, block, below, array.strides)[...] = array
        _must_fit(block, name)
        made = self.region(name, block.size, None if kind == "argument" else block,
                           address=where - below, nbytes=below + above, kind=kind)
        return made, below // size

    def place(self, part: Function, slot: int) -> tuple[Region, int]:
        """The region of a slot, and where its first entry is."""
        own, root = part.fused.slots[slot], part.fused.root(slot)
        whole = part.fused.slots[root]
        if own.dtype != whole.dtype:
            raise refused(f"an array of {whole.dtype} that is seen as {own.dtype}")
        size = own.dtype.itemsize
        if whole.array is not None:
            array = whole.array if own.array is None else own.array
            name = whole.name or f"{whole.kind} {len(self.regions)}"
            self.outside(whole.array, name, whole.kind)
            region, at = self.outside(array, name, whole.kind)
            return region, at + (own.offset // size if own.array is None and slot != root else 0)
        if root not in part.regions:
            part.regions[root] = self.region(
                f"temporary {len(self.regions)}", sum(whole.reach) // size), 0
        region, begin = part.regions[root]
        return region, begin + own.offset // size

    def at(self, part: Function, slot: int) -> str:
        """The text of where the first entry of a slot is."""
        return self.written(*self.place(part, slot))

    def written(self, region: Region, begin: int = 0) -> str:
        number = next(i for i, r in enumerate(self.regions) if r is region)
        return f"o{number}" + (f" + {begin}" if begin else "")

    def show(self, name: str, at: str, shape: tuple[int, ...], kind: str) -> None:
        """Tell where an array lies, row by row."""
        if name not in self.shown:
            self.shown[name] = f"{{at: {at}, shape: {list(shape)}, kind: {json.dumps(kind)}}}"


def _must_fit(values: np.ndarray, name: str) -> None:
    """Integers are kept as floats."""
    if values.dtype.kind in "iu" and np.any(np.abs(values.astype(float)) > 1 << 24):
        raise refused(f"the integers of {name}, which float32 does not hold")
