"""What compiled steps know of an optimizer: the plan of its step, and where its vectors are."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tinygrad_opt.compiler.program import Call
from tinygrad_opt.symbols import InPlace
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, Shape

__all__ = ["Entry", "Optimizer", "Plan", "Run", "optimizer_of", "plan_of"]


class Entry(Protocol):
    """A parameter, and its place in the vectors of its pack."""

    name: str
    target: Tensor
    place: slice
    shape: Shape


class Pack(Protocol):
    """Parameters of one dtype end to end, their gradients, accumulators, and what a step undoes."""

    p: Array
    g: Array
    state: Array
    before: tuple[Array, Array] | None
    slots: tuple[str, ...]
    dtype: np.dtype
    size: int

    def remember(self) -> None: ...


class Run(Protocol):
    """Neighbours in a pack that are updated together, by a version of their rule."""

    entries: Sequence[Entry]
    pack: Pack
    place: slice
    slots: Sequence[str]
    rule: Optimizer
    options: Mapping[str, float]
    version: InPlace | None
    large: bool
    count: int
    t: int
    rate: float
    rates: Array | None
    _constant: float | None
    _fixed: Sequence[float]
    _moving: Array

    def prepare(self, steps: int, done: int) -> bool: ...

    def branches(self) -> list[InPlace | None]: ...


class Plan(Protocol):
    """What a step does for as long as parameters, options and the set of gradients stay."""

    runs: Sequence[Run]
    packs: Sequence[Pack]
    active: Sequence[Entry]
    resting: Sequence[tuple[Tensor, bool]]
    large: Sequence[object]
    guarded: bool
    remembers: bool
    t: int
    _done: array[int]

    def gather_gradients(self) -> bool: ...

    def release(self) -> None: ...


class Optimizer(Protocol):
    """An optimizer that is bound to its parameters."""

    lr: float | tuple[float, ...]
    decay: float
    check_finite: str | None
    clip_value: float | None
    clip_norm: float | None
    clip_norm_each: float | None
    reduce: object
    _reduced: bool
    _plan: Plan | None

    def reduce_gradients(self) -> None: ...

    def _planned(self) -> Plan: ...

    def _guarded(self, plan: Plan) -> bool: ...

    def _rate(self, steps: int) -> float: ...

    def _used(self) -> None: ...

    def _step(self) -> None: ...


def optimizer_of(call: Call) -> Optimizer | None:
    """The optimizer whose step a call is, if it is bound to its parameters."""
    step, owner = call.kernel, getattr(call.kernel, "__self__", None)
    return owner if hasattr(owner, "_planned") and step.__name__ == "_step" else None


def plan_of(optimizer: Optimizer) -> Plan:
    """The plan of its next step."""
    return optimizer._plan or optimizer._planned()
