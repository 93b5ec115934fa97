"""What other libraries call it, and what it is called here: for the end of error messages.

These are hints only; the names themselves are not defined. The tables stand in `hints.txt`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from os.path import splitext
from typing import NoReturn, TypeVar, cast

import numpy as np

from tinygrad_opt.errors import nearest

__all__ = ["answer_names", "answers", "hint", "missing", "nothing_called", "of_others"]

Function = TypeVar("Function", bound=Callable[..., object])


def _read(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """Library -> owner -> name -> what is said of it, from `hints.txt`."""
    sentences: dict[str, str] = {}
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for line in text.splitlines():
        names, _, said = line.partition(": ")
        if line.startswith("["):
            rows = tables.setdefault(names[1:], {}).setdefault(said[:-1], {})
        elif line.startswith("$"):
            sentences[names] = said
        elif said and not line.startswith("#"):
            for word, sentence in sentences.items() if "$" in said else ():
                said = said.replace(word, sentence)
            rows.update((name, said.replace("$name", name)) for name in names.split())
    return tables


with open(splitext(__file__)[0] + ".txt", encoding="utf-8") as file:     # pathlib loads slowly
    LIBRARIES = _read(file.read())


def hint(owner: str, name: str, known: Iterable[str]) -> str:
    """How a message goes on after a name that is not there."""
    known = set(known)
    return (of_others(owner, name, known) or (_where_it_is(name) if owner in PARTS else "")
            or nearest(name, known))


def of_others(owner: str, name: str, known: Collection[str] = ()) -> str:
    """What another library's name is here; nothing if none has it."""
    cures = [(library, table[owner][name]) for library, table in LIBRARIES.items()
             if name in table.get(owner, {})]
    if owner in ("arguments", "options"):      # another name for it, if there is one, then advice
        cures = sorted(((library, cure) for library, cure in cures
                        if cure in known or not cure.isidentifier()),
                       key=lambda pair: not pair[1].isidentifier())
    for library, cure in cures:
        whose = f"{library}'s {name} " if library else ""
        return f"{whose}here: {cure}"
    return ""


PARTS = "tinygrad_opt", "nn", "optim", "data", "train", "viz"


def _where_it_is(name: str) -> str:
    """Which part of the package has the name, or NumPy."""
    if name in import_module("tinygrad_opt.ops").TABLE and hasattr(np, name):
        return f"NumPy's functions take Tensors, as in np.{name}(t)"
    for part in PARTS[1:]:
        if name in import_module(f"tinygrad_opt.{part}").__all__:
            return f"it is {part}.{name}"
    return f"it is np.{name}" if hasattr(np, name) else ""


def missing(owner: str, name: str, known: Iterable[str], who: str = "",
            own: Iterable[str] | None = None) -> AttributeError:
    """The error for an attribute that is not there; if nothing else fits it lists `own`."""
    if name.startswith("_"):                   # asked for by protocols, not by people
        return AttributeError(name)
    known = [x for x in known if not x.startswith("_")]
    said = hint(owner, name, known)
    if said.startswith("known:") and own is not None:
        none = "none: is __init__ spelled with two underscores each side?"
        said = f"its own attributes: {', '.join(own) or none}"
    return AttributeError(f"{who or owner} has no attribute {name!r}; {said}")


class _NameOfOthers:
    """An attribute that only other libraries have."""

    def __init__(self, owner: str, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: object, kind: type) -> NoReturn:
        raise missing(self.owner, self.name, ())


def answer_names(kind: type, owner: str) -> None:
    """Let a class say what its attributes are that other libraries have.

    A ``__getattr__`` would too, and make every attribute of its objects slower to read.
    """
    for table in LIBRARIES.values():
        for name in table.get(owner, {}):
            setattr(kind, name, _NameOfOthers(owner, name))

    def own(self: object) -> list[str]:
        return [name for name in object.__dir__(self)
                if not isinstance(inspect.getattr_static(kind, name, None), _NameOfOthers)]

    setattr(kind, "__dir__", own)                          # noqa: B010 (mypy knows it is one)


def nothing_called(owner: str, known: Iterable[str]) -> Callable[[str], object]:
    """What a package answers when it is asked for a name that it does not have."""

    def refuse(name: str) -> NoReturn:
        raise missing(owner, name, known)

    return refuse


def imported_later(
    package: str, homes: Mapping[str, str], modules: str = "",
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports names when they are first used.

    Parameters
    ----------
    package : str
        Its ``__name__``; it has its ``__all__``.
    homes : dict of str to str
        Names, put apart by spaces, by the module in the package where they live.
    modules : str
        Modules in the package that are such names themselves.
    """
    module_of = {name: home for home, names in homes.items() for name in names.split()}
    module_named = {path.rpartition(".")[2]: path for path in modules.split()}
    space = vars(sys.modules[package])
    refuse = nothing_called(package.rpartition(".")[2], space["__all__"])

    def find(name: str) -> object:
        if name in module_named:
            space[name] = import_module(f"{package}.{module_named[name]}")
        elif name in module_of:
            space[name] = getattr(import_module(f"{package}.{module_of[name]}"), name)
        else:
            refuse(name)
        return space[name]

    return find, lambda: sorted({*space, *space["__all__"]})


def answers(function: Function) -> Function:
    """Let a function say what was meant when it is called with arguments that it does not have."""

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> object:
        try:
            if kwargs:
                return function(*args, **kwargs)
            return function(args[0]) if len(args) == 1 else function(*args)    # for less
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise                          # from inside: the arguments did fit
            raise _misfit(call, args, kwargs, error) from None

    return cast(Function, call)


def _misfit(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object],
            error: TypeError) -> TypeError:
    """What is wrong with the arguments of a call, in the words of its caller."""
    name, signature = function.__qualname__, inspect.signature(function)
    parameters = [*signature.parameters.values()]
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
        if function.__name__ == "__init__":
            name = type(args[0]).__name__
    known = [p.name for p in parameters]
    for argument in kwargs.keys() - set(known):
        return TypeError(f"{name}() has no argument {argument!r}; "
                         + hint("arguments", argument, known))
    shown = signature.replace(parameters=parameters, return_annotation=signature.empty)
    plain = shown.replace(parameters=[p.replace(annotation=p.empty) for p in parameters])
    reason = str(error).split("() ", 1)[-1]
    return TypeError(f"{name}() {reason}; it is called as {name}{plain}")
