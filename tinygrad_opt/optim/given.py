"""What callers give an optimizer, checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.optim.pack import Array, Entry
from tinygrad_opt.tensor import Tensor

__all__ = ["bound", "gradient", "updatable"]


def bound(who: str, params: Any) -> list[Entry]:
    """An entry for each parameter, tied ones once; refuses what is not a dict of leaves."""
    if not isinstance(params, Mapping):
        got = f"a {type(params).__name__}"
        raise TypeError(
            f"{who} needs a dict name -> Tensor such as model.parameters(), got {got}"
        )
    if not params:
        raise ValueError(f"{who} got no parameters: the dict is empty")
    entries: list[Entry] = []
    seen = set()
    for name, tensor in params.items():
        if not isinstance(name, str) or type(tensor) is not Tensor:
            raise TypeError(
                f"{who} needs a dict name -> Tensor, got {type(tensor).__name__} under {name!r}"
            )
        if tensor.op is not None or tensor.dtype.kind != "f":
            what = f"of {tensor.dtype}" if tensor.op is None else "computed from others"
            raise TypeError(f"{who} updates leaves of floats, but {name!r} is {what}")
        if tensor not in seen:
            seen.add(tensor)
            entries.append(Entry(name, tensor.shape, tensor.dtype, len(entries), tensor))
    _apart([(e.name, e.values()) for e in entries])
    return entries


def updatable(
    entries: Mapping[str, Entry], params: Any, grads: Any
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
        a = p.array if type(p) is Tensor else p
        if not isinstance(a, np.ndarray) or a.dtype.kind != "f" or not a.flags.writeable:
            got = f"{a.dtype}" if isinstance(a, np.ndarray) else type(a).__name__
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


def gradient(name: str, p: Array, g: Any) -> Array:
    """The gradient of one parameter as an array that fits it."""
    g = g.array if type(g) is Tensor else g
    if not isinstance(g, np.ndarray):
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
        (*np.lib.array_utils.byte_bounds(a), i) for i, (_, a) in enumerate(named) if a.size
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
