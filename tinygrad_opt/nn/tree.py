"""`Tree`: objects that hold Tensors and each other, and the names of all of them.

Nothing is registered. The attributes of an object are its tree: whatever Tensors and modules they
hold, directly or in lists, tuples and dicts, are found when they are asked for, in the order in
which they were assigned. So there is no ``super().__init__()`` to forget and no list that hides
its layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import is_
from typing import Any

from tinygrad_opt.tensor import Tensor

__all__ = ["Tree", "enter"]


class Tree:
    """What a `Module` holds: its parameters, its modules and their paths."""

    buffers: tuple[str, ...] = ()                  # attributes that are arrays, saved, not trained
    transposed_in_torch: tuple[str, ...] = ()      # parameters that PyTorch holds as (out, in)
    _reserved: frozenset[str] = frozenset()        # names of methods that no attribute may take

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._reserved:
            raise AttributeError(f"{name!r} is a method of Module: choose another attribute name")
        new = [member for _, member in _held(value, name)]  # refuses what cannot be named
        object.__setattr__(self, name, value)
        if new and not any(_holds(member, self) for member in new):
            for path, _, tensor in self._tensors():
                _christen(tensor, path)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known = ", ".join(vars(self)) or "none: is __init__ spelled with two underscores each side?"
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name!r}. Its own attributes: {known}"
        )

    def _members(self) -> Iterator[tuple[str, Any]]:
        """The Tensors and Modules that this module holds itself, with their names."""
        for name, value in vars(self).items():
            yield from _held(value, name)

    def parameters(self) -> dict[str, Tensor]:
        """Every parameter of the tree by its path, in the order of definition, each once.

        Frozen parameters are among them; their ``requires_grad`` is False.

        Raises
        ------
        ValueError
            If two different parameters have the same path, as dict keys with dots can cause.
        """
        found: dict[str, Tensor] = {}
        seen = set()
        for path, _, tensor in self._tensors():
            _christen(tensor, path)
            if id(tensor) not in seen:
                seen.add(id(tensor))
                enter(found, path, tensor)
        return found

    def named_modules(self) -> dict[str, Tree]:
        """Every module of the tree by its path, each once; this one is ``""``."""
        found: dict[str, Tree] = {}
        seen = set()
        for path, module in self._modules():
            if id(module) not in seen:
                seen.add(id(module))
                enter(found, path, module)
        return found

    def _modules(
        self, prefix: str = "", above: tuple[int, ...] = ()
    ) -> Iterator[tuple[str, Tree]]:
        """Every path to every module; one that holds a module above it leads nowhere."""
        yield prefix.rstrip("."), self
        above = (*above, id(self))
        for name, member in self._members():
            if isinstance(member, Tree) and id(member) not in above:
                yield from member._modules(f"{prefix}{name}.", above)

    def _tensors(
        self, prefix: str = "", above: tuple[int, ...] = ()
    ) -> Iterator[tuple[str, Tree, Tensor]]:
        """Every path to every parameter, with the module that holds it."""
        above = (*above, id(self))
        for name, member in self._members():
            if type(member) is not Tensor:
                if id(member) not in above:
                    yield from member._tensors(f"{prefix}{name}.", above)
            elif _is_parameter(member):
                yield prefix + name, self, member

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: computed Tensors go as their values, without their graph."""
        return {name: _without_graph(value) for name, value in vars(self).items()}

    def _options(self) -> str:
        """What stands between the parentheses of its line in the tree."""
        return ""

    def __repr__(self) -> str:
        return "\n".join(_lines(self, ()))


def _held(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Tensors and Modules in a value, also in lists, tuples and dicts, with dotted paths."""
    if type(value) is Tensor or isinstance(value, Tree):
        yield path, value
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _held(part, f"{path}.{i}")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _held(part, f"{path}.{key}")
    elif isinstance(value, set | frozenset) and any(isinstance(x, Tensor | Tree) for x in value):
        raise TypeError(f"{path} is a set, whose order differs between runs: use a list")


def _holds(member: Any, module: Tree) -> bool:
    """Whether a member leads to a module: one that knows its owner does, and names nothing."""
    return isinstance(member, Tree) and any(module is below for _, below in member._modules())


def _is_parameter(tensor: Tensor) -> bool:
    """A leaf that requires grad, or one that has a name: it did, and has been frozen."""
    return tensor.op is None and (tensor.needs_grad or tensor.name is not None)


def _christen(tensor: Tensor, path: str) -> None:
    """Name a parameter by its path, unless it has a name that is not the end of this one."""
    if _is_parameter(tensor) and (tensor.name is None or path.endswith(f".{tensor.name}")):
        tensor.name = path


def enter(table: dict[str, Any], path: str, value: Any) -> None:
    """Put a thing into a table by its path, unless another one has that path."""
    if table.setdefault(path, value) is not value:
        raise ValueError(f"two different things are both called {path!r}: rename a dict key")


def _without_graph(value: Any) -> Any:
    """The value with constants in place of the computed Tensors in it; itself if there are none."""
    if type(value) is Tensor:
        return value if value.op is None else Tensor(value.array)
    if type(value) in (list, tuple):
        parts = [_without_graph(x) for x in value]
        return value if all(map(is_, parts, value)) else type(value)(parts)
    if type(value) is dict:
        table = {key: _without_graph(x) for key, x in value.items()}
        return value if all(map(is_, table.values(), value.values())) else table
    return value


def _lines(module: Tree, above: tuple[int, ...]) -> Iterator[str]:
    """The lines of a module's repr: its own, then those of what it holds, indented."""
    yield f"{type(module).__name__}({module._options()})"
    above = (*above, id(module))
    shown = [(name, x) for name, x in module._members()
             if isinstance(x, Tree) and id(x) not in above]
    for i, (name, member) in enumerate(shown):
        branch, rest = ("└─ ", "   ") if i == len(shown) - 1 else ("├─ ", "│  ")
        first, *others = _lines(member, above)
        yield f"{branch}{name}: {first}"
        yield from (rest + line for line in others)
