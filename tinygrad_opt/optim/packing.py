"""Parameters: checked as they are given, and laid end to end in one vector for each dtype.

    Entry   one parameter: its name, where its values live, what the rule keeps for it
    Pack    the parameters of one dtype end to end in one vector, their state beside them

One vector is what makes a step cost the same for 4 and for 40 small arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.kernels import created, is_duck, moved
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import Array

__all__ = ["Entry", "Gradient", "Pack", "bound", "gradient", "updatable"]

Gradient: TypeAlias = Tensor | Array | float


class Entry:
    """One parameter.

    Attributes
    ----------
    name : str
    target : Tensor
        The parameter itself; a Tensor of our own, which stands for the caller's array, where the
        optimizer is not bound.
    index : int
        Its place among all parameters.
    place : slice
        Its place in the vectors of its pack.
    value : array
        Its part of the vector of parameters, in its shape: the data of `target`, until somebody
        re-points that.
    state : dict of str to array
        What the rule keeps for it, in its shape.
    """

    __slots__ = ("dtype", "index", "name", "place", "shape", "size", "state", "target", "value")
    value: Array

    def __init__(self, name: str, target: Tensor, index: int) -> None:
        self.name, self.target, self.index = name, target, index
        self.shape, self.dtype, self.size = target.shape, target.dtype, target.size
        self.place = slice(0, 0)
        self.state: dict[str, Array] = {}

    def part(self, vector: Array) -> Array:
        """Its part of a vector beside that of the parameters, in its shape."""
        return vector[self.place].reshape(self.shape)


class Pack:
    """Parameters of one dtype and library, end to end in one vector, with their state beside it.

    Parameters
    ----------
    entries : list of Entry
        What is packed, in this order.
    slots : tuple of str
        Names of the rule's accumulators, a vector each.
    starts : callable
        entry -> {slot: number that its accumulator starts from}, for what is new here.
    """

    def __init__(
        self, entries: list[Entry], slots: tuple[str, ...],
        starts: Callable[[Entry], dict[str, float]],
    ) -> None:
        self.entries, self.slots = entries, slots
        self.size, self.dtype = sum(e.size for e in entries), entries[0].dtype
        arrays = [e.target._array for e in entries]
        joined = _one_vector(arrays)
        self.p: Array = joined if joined is not None else np.concatenate(
            [a.ravel() for a in arrays], dtype=self.dtype)
        self.g = created("empty", self.size, self.dtype, like=self.p)
        self.state = created("empty", (len(slots), self.size), self.dtype, like=self.p)
        self.before: tuple[Array, Array] | None = None
        self._scratch: dict[tuple[int, np.dtype], Array] = {}
        start = 0
        for e in entries:
            e.place = slice(start, start := start + e.size)
            for slot, row in zip(slots, self.state):
                row[e.place] = (moved(e.state[slot].ravel(), row) if slot in e.state
                                else starts(e)[slot])
            e.state = {slot: e.part(row) for slot, row in zip(slots, self.state)}
            if joined is None:
                e.target._array = e.part(self.p)
            e.value = e.target._array

    def scratch(self, i: int, dtype: np.dtype, size: int) -> Array:
        """Scratch vector i, in which nothing is kept from one parameter to the next."""
        known = self._scratch.get((i, dtype))
        if known is None or known.size < size:
            known = self._scratch[i, dtype] = np.empty(size, dtype)
        return known[:size]

    def remember(self) -> None:
        """Keep what the next step overwrites."""
        if self.before is None:
            self.before = np.empty_like(self.p), np.empty_like(self.state)
        p, state = self.before
        p[...] = self.p                        # half of what np.copyto takes for small vectors
        state[...] = self.state


def _address(a: Array) -> int:
    address: int = a.__array_interface__["data"][0]
    return address


def _one_vector(arrays: list[Array]) -> Array | None:
    """The vector that the arrays already are, end to end; None if they are not.

    So two optimizers over the same parameters share one vector instead of taking it from each
    other at every step.
    """
    first = arrays[0]
    if is_duck(first) or not all(a.flags.c_contiguous and a.flags.writeable for a in arrays):
        return None
    if len(arrays) == 1:
        return first.reshape(-1)
    base = first.base
    if not isinstance(base, np.ndarray) or base.ndim != 1 or not base.flags.c_contiguous:
        return None
    start = end = _address(first)
    for a in arrays:
        if a.base is not base or a.dtype != base.dtype or (a.size and _address(a) != end):
            return None
        end += a.nbytes
    offset = (start - _address(base)) // base.itemsize
    return base[offset : offset + (end - start) // base.itemsize]


# ---- what callers give, checked before anything is done with it ---------------------------------


def bound(who: str, params: object) -> dict[str, Entry]:
    """An entry for each parameter, tied ones once; refuses what is not a dict of leaves."""
    if not isinstance(params, Mapping):
        got = f"a {type(params).__name__}"
        groups = isinstance(params, list) and any(isinstance(x, Mapping) for x in params)
        raise TypeError(
            f"{who} needs a dict name -> Tensor such as model.parameters(), got {got}"
            + groups * "; groups are named by overrides={'*.bias': {'weight_decay': 0.0}}"
        )
    if not params:
        raise ValueError(f"{who} got no parameters: the dict is empty")
    names: dict[Tensor, str] = {}
    for name, tensor in params.items():
        _check_leaf(who, name, tensor)
        names.setdefault(tensor, name)
    entries = {name: Entry(name, tensor, i) for i, (tensor, name) in enumerate(names.items())}
    _apart([(name, e.target._array) for name, e in entries.items()])
    return entries


def _check_leaf(who: str, name: object, tensor: object) -> None:
    """Refuse what could not be updated, or never would be."""
    if not isinstance(name, str) or type(tensor) is not Tensor:
        raise TypeError(
            f"{who} needs a dict name -> Tensor, got {type(tensor).__name__} under {name!r}"
        )
    if tensor.op is not None or tensor.dtype.kind != "f":
        what = f"of {tensor.dtype}" if tensor.op is None else "computed from others"
        raise TypeError(f"{who} updates leaves of floats, but {name!r} is {what}")
    if not tensor.requires_grad and tensor.name is None:         # frozen parameters have names
        raise TypeError(
            f"{who} would never update {name!r}, which requires no grad: make it by"
            " Tensor(..., requires_grad=True), or leave it out. A parameter that is frozen for"
            " a time has a name: Tensor(..., name=...), or as a part of a Module"
        )


def updatable(
    entries: Mapping[str, Entry], params: object, grads: object
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The arrays of `update`, all of them checked before any is written."""
    if not (isinstance(params, Mapping) and isinstance(grads, Mapping) and params):
        raise TypeError("update() needs two dicts name -> array, and at least one parameter")
    if params.keys() != grads.keys():
        raise KeyError(
            "params and grads must have the same keys:"
            f" without gradient {sorted(params.keys() - grads.keys())},"
            f" without parameter {sorted(grads.keys() - params.keys())}"
        )
    arrays, gradients = {}, {}
    for name, p in params.items():
        a = values_of(p)
        known = (isinstance(a, np.ndarray) and a.flags.writeable) or is_duck(a)
        if not known or a.dtype.kind != "f":
            got = f"{a.dtype}" if hasattr(a, "dtype") else type(a).__name__
            raise TypeError(f"parameter {name!r} must be a writeable float array, got {got}")
        entry = entries.get(name)
        if entry is not None and (entry.shape, entry.dtype) != (a.shape, a.dtype):
            raise ShapeError(
                f"parameter {name!r} is {a.dtype} {a.shape} but was {entry.dtype}"
                f" {entry.shape} when its state was made"
            )
        arrays[name], gradients[name] = a, gradient(name, a, grads[name])
    _apart(list(arrays.items()))
    return arrays, gradients


def gradient(name: str, p: Array, g: object) -> Array:
    """The gradient of one parameter as an array that fits it."""
    g = values_of(g)
    if not (isinstance(g, np.ndarray) or is_duck(g)):
        if not isinstance(g, float | int | np.floating) or p.shape:
            raise TypeError(f"the gradient of {name!r} must be an array, got {type(g).__name__}")
        g = np.asarray(g, p.dtype)
    if g.dtype.kind not in "fiu":
        raise TypeError(f"the gradient of {name!r} must hold numbers, got {g.dtype}")
    if g.shape != p.shape:
        raise ShapeError(f"the gradient of {name!r} is {g.shape} but the parameter is {p.shape}")
    return g


def _apart(named: list[tuple[str, Array]]) -> None:
    """Refuse arrays that share memory: each would be updated once for every name it has."""
    bounds = sorted(
        (*np.lib.array_utils.byte_bounds(a), i) for i, (_, a) in enumerate(named)
        if a.size and not is_duck(a)
    )
    end, owner = -1, -1
    for low, high, i in bounds:
        if low < end and np.shares_memory(named[owner][1], named[i][1]):
            raise ValueError(
                f"parameters {named[owner][0]!r} and {named[i][0]!r} share memory:"
                " give what is tied under one name"
            )
        if high > end:
            end, owner = high, i
