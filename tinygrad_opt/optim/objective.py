"""The function that is minimised: of arrays by name to its caller, of one vector to a method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.tensor import Tensor, seed_for, walk, with_grad

__all__ = ["Array", "Objective", "Point", "quietly"]

Array = np.ndarray[Any, Any]
# a search may leave the finite numbers on its way: that is seen in the value of f
quietly = np.errstate(divide="ignore", invalid="ignore", over="ignore")


class Objective:
    """f(params) as a function of one vector x; its negative if it is to be maximised."""

    def __init__(self, f: Callable[[Any], Tensor], params: Any, maximize: bool = False) -> None:
        self.f, self.sign = f, -1.0 if maximize else 1.0
        self.named = isinstance(params, Mapping)
        given = dict(params) if isinstance(params, Mapping) else {"": params}
        arrays = {name: _start(name, value) for name, value in given.items()}
        self.shapes = {name: a.shape for name, a in arrays.items()}
        if not any(a.size for a in arrays.values()):
            raise ValueError(f"there is nothing to minimise over: params is {params!r}")
        self.start = np.concatenate([a.ravel() for a in arrays.values()])
        self.evaluations = 0

    def parts(self, x: Array) -> dict[str, Array]:
        """Views of the vector's parts, under their names."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            found[name] = x[start:stop].reshape(shape)
            start = stop
        return found

    def form(self, parts: dict[str, Any]) -> Any:
        """The parts in the form in which the start was given."""
        return parts if self.named else parts[""]

    def joined(self, parts: Mapping[str, Any]) -> Array:
        """One vector of all parts; those without a gradient are zero."""
        zeros = ((name, np.zeros(shape)) for name, shape in self.shapes.items())
        flat = [np.ravel(parts.get(name, zero)) for name, zero in zeros]
        return self.sign * np.concatenate(flat, dtype=self.start.dtype)

    def at(self, x: Array) -> Point:
        return Point(self, x)


class Point:
    """f at one x: its value now, its derivatives when they are asked for."""

    def __init__(self, objective: Objective, x: Array) -> None:
        self.objective, self.x = objective, x
        self.leaves = {name: Tensor(part, requires_grad=True, name=name or "x")
                       for name, part in objective.parts(x).items()}
        objective.evaluations += 1
        with with_grad():
            y = objective.f(objective.form(self.leaves))
        if type(y) is not Tensor or y.size != 1:
            got = f"a Tensor of shape {y.shape}" if type(y) is Tensor else type(y).__name__
            raise GraphError(f"f must return a Tensor of one entry, got {got}."
                             " Reduce it with .sum() or .mean().")
        if not y.requires_grad:
            raise GraphError("f does not depend on its argument: compute its value from the"
                             " Tensors that it is given, without .data, .item() or no_grad()")
        self.y = y
        self.value = objective.sign * y.item()

    @cached_property
    def gradient(self) -> Array:
        return self._joined(walk(self.y, seed_for(self.y)))

    def times(self, d: Array) -> Array:
        """∂²f/∂x² · d, by differentiating the product of the gradient with d."""
        parts = self.objective.parts(d).values()
        slopes = [self._slopes.get(leaf) for leaf in self.leaves.values()]
        with with_grad():
            terms = [(slope * part).sum() for slope, part in zip(slopes, parts)
                     if slope is not None and slope.requires_grad]
            along: Any = sum(terms)
        if not terms:                                    # f is linear
            return np.zeros_like(d)
        return self._joined(walk(along, seed_for(along)))

    @cached_property
    def _slopes(self) -> dict[Tensor, Any]:
        """The gradient with its graph, from which every product with the Hessian is taken."""
        with with_grad():
            return walk(self.y, seed_for(self.y, None, True), record=True)

    def _joined(self, gradients: dict[Tensor, Any]) -> Array:
        found = {name: gradients[leaf] for name, leaf in self.leaves.items() if leaf in gradients}
        return self.objective.joined(found)


def _start(name: str, value: Any) -> Array:
    """The start as an array of finite floats."""
    array = value.array if type(value) is Tensor else np.asarray(value)
    of = f" of {name!r}" if name else ""
    if array.dtype.kind not in "fiu":
        raise TypeError(f"the start{of} must hold numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        where = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        raise ValueError(f"the start{of} must be finite, got {array[where]} at {list(where)}")
    keeps = array.dtype.kind == "f" and hasattr(value, "dtype")
    return array if keeps else array.astype(np.float64)
