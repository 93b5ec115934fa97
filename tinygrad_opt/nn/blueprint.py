"""What a model is made of, as plain data that a file can hold: `describe` it, `rebuild` it.

A module is its class and its attributes. In a description each of them is a plain value, or a
dict with one key that says what it stands for; parameters are named by their paths and hold no
numbers. Only classes and functions of `tinygrad_opt.nn` and NumPy's ufuncs can be named, so a
description runs no foreign code.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FunctionType
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array

if TYPE_CHECKING:
    from tinygrad_opt.nn.module import Module

Kind = TypeVar("Kind")


def describe(model: Module) -> dict[str, object]:
    """The description of a module, or ``{"missing": why}`` if no description could rebuild it."""
    try:
        return _Describer(model).module(model, "")
    except TypeError as error:
        return {"missing": str(error)}


class _Describer:
    """Describes one model; knows what it has met, since a thing may be held twice."""

    def __init__(self, model: Module) -> None:
        self.met: dict[int, dict[str, object] | None] = {}     # None while a module is described
        for path, x in model._state().items():
            self.met.setdefault(id(x), {"array": path} if not isinstance(x, Tensor) else {
                "tensor": path, "name": x.name, "trained": x.requires_grad})

    def value(self, x: object, place: str) -> object:
        x = x.item() if isinstance(x, np.generic) else x
        if x is None or type(x) in (bool, int, float, str):
            return x
        if (again := self.met.get(id(x))) is not None:
            return again
        if hasattr(type(x), "named_modules"):
            return self.module(cast("Module", x), place)
        if isinstance(x, np.random.Generator):
            return {"generator": None}
        if type(x) is list or type(x) is tuple:
            parts = [self.value(part, f"{place}.{i}") for i, part in enumerate(x)]
            return {type(x).__name__: parts}
        if type(x) is dict and all(type(key) is str for key in x):
            return {"dict": {key: self.value(part, f"{place}.{key}") for key, part in x.items()}}
        name = getattr(x, "__name__", "")
        if name and _public(name, FunctionType) is x:
            return {"function": name}
        if isinstance(x, np.ufunc) and getattr(np, name, None) is x:
            return {"ufunc": name}
        said = f"the function {name}" if callable(x) and name else f"a {type(x).__name__}"
        raise TypeError(f"{place.lstrip('.')} is {said}, and no file can tell how to make that")

    def module(self, module: Module, place: str) -> dict[str, object]:
        if id(module) in self.met:
            raise TypeError(f"{place.lstrip('.')} is a module that this one lies in")
        kind = type(module)
        if _public(kind.__name__, type) is not kind:
            where = f"{place.lstrip('.')} is" if place else "it is"
            raise TypeError(f"{where} a {kind.__name__}, which is no class of tinygrad_opt.nn")
        self.met[id(module)] = None
        holds = {name: self.value(x, f"{place}.{name}") for name, x in vars(module).items()}
        self.met[id(module)] = {"same": place}
        return {"module": kind.__name__, "place": place, "holds": holds}


def rebuild(saved: Mapping[str, object]) -> Module:
    """The model that a checkpoint holds, made anew with its weights.

    Parameters
    ----------
    saved : dict
        What `tinygrad_opt.load` gave.

    Returns
    -------
    Module

    Raises
    ------
    CheckpointError
        If no model was saved, or it is not made of classes and functions of `tinygrad_opt.nn`
        alone, or the description is damaged.

    Notes
    -----
    Random generators, such as that of Dropout, begin anew; ``load(path, model)`` puts those that
    were saved back.

    Examples
    --------
    >>> import tempfile
    >>> import tinygrad_opt as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = tg.save(folder + "/run.npz", tg.nn.MLP([2, 8, 3], "tanh", rng=0))
    ...     model = tg.nn.rebuild(tg.load(path))
    >>> model
    MLP(tanh)
    ├─ layers.0: Linear(2, 8)
    └─ layers.1: Linear(8, 3)
    """
    if not isinstance(saved, Mapping):
        raise TypeError(f"rebuild takes what load gave, as in nn.rebuild(tg.load(path)); got"
                        f" {saved!r:.80}")
    description, state = saved.get("architecture"), saved.get("model")
    make = "make the model in Python and give it the weights: load(path, model)"
    if not isinstance(description, dict) or not isinstance(state, Mapping):
        raise CheckpointError(f"the file does not tell how its model is made: {make}")
    if "missing" in description:
        raise CheckpointError(
            f"the model cannot be made from the file alone: {description['missing']}. Instead,"
            f" {make}")
    try:
        return cast("Module", _Builder(state).value(description))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"the description of the model is damaged: {error}") from error


class _Builder:
    """Builds one model; what was described once stays one thing."""

    def __init__(self, state: Mapping[str, Array]) -> None:
        self.state = state
        self.made: dict[tuple[str, str], object] = {}

    def value(self, node: object) -> object:
        match node:
            case None | bool() | int() | float() | str():
                return node
            case {"module": str(name), "place": str(place), "holds": dict(held)}:
                kind = cast("type[Module] | None", _public(name, type))
                if kind is None or not hasattr(kind, "named_modules"):
                    raise ValueError(f"tinygrad_opt.nn has no layer {name!r}")
                module = self.made["module", place] = kind.__new__(kind)
                for attribute, part in held.items():
                    if not attribute.isidentifier() or attribute.startswith("__"):
                        raise ValueError(f"{attribute!r} is no attribute")
                    setattr(module, attribute, self.value(part))
                return module
            case {"same": str(place)}:
                return self.made["module", place]
            case {"tensor": str(path), "name": str() | None as name, "trained": bool(trained)}:
                return self.made.setdefault(("tensor", path), Tensor(
                    np.array(self.state[path]), requires_grad=trained, name=name))
            case {"array": str(path)}:
                return self.made.setdefault(("array", path), np.array(self.state[path]))
            case {"generator": None}:
                return np.random.default_rng()
            case {"list": list(parts)}:
                return [self.value(part) for part in parts]
            case {"tuple": list(parts) | tuple(parts)}:
                return tuple(self.value(part) for part in parts)
            case {"dict": dict(parts)}:
                return {key: self.value(part) for key, part in parts.items()}
            case {"function": str(name)} if function := _public(name, FunctionType):
                return function
            case {"ufunc": str(name)} if isinstance(function := getattr(np, name, None), np.ufunc):
                return function
        raise ValueError(f"{str(node)[:60]} stands for nothing")


def _public(name: str, kind: type[Kind]) -> Kind | None:
    """What this package exports by that name, if it is of the kind; else None."""
    nn = sys.modules[__package__]                          # which imports this file
    found = getattr(nn, name) if name in nn.__all__ else None
    return found if isinstance(found, kind) else None
