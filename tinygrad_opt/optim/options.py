"""Checks for the options of optimizers: each takes (name, value) and gives what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from numbers import Real
from types import MappingProxyType
from typing import ClassVar, NamedTuple, TypeVar, cast

import numpy as np

from tinygrad_opt.data.arguments import whole
from tinygrad_opt.errors import nearest
from tinygrad_opt.hints import LIBRARIES, hint
from tinygrad_opt.typing import Rate, dataclass_transform

__all__ = ["SYNONYMS", "Check", "HasOptions", "choice", "decay_rate", "flag", "meant", "momentum",
           "nearest", "number", "option", "optional", "overrides", "patterns", "positive", "rate",
           "read_only", "whole"]

# what `get` takes for an option besides its name: PyTorch's and Keras's names of the same
SYNONYMS = {word: ours for library in ("PyTorch", "Keras")
            for word, ours in LIBRARIES[library]["options"].items() if ours.isidentifier()}

Check = Callable[[str, object], object]      # (name, value) -> what is kept
Overrides = Mapping[str, Mapping[str, object]]


# (vectors, layout), see `reduction`
Reduce = Callable[[list[np.ndarray], tuple[tuple[str, tuple[int, ...], str], ...]], object]


Kept = TypeVar("Kept")
Default = TypeVar("Default")


class Option(NamedTuple):
    """A field of an optimizer before its class is made; without a check it is not in `options`."""

    check: Check | None
    default: object


def option(
    check: Callable[[str, object], Kept] | None, *, default: Default,
    kw_only: bool = True,
) -> Kept | Default:
    """A field of an optimizer: how its values are checked, and what it is if none is given."""
    return cast(Default, Option(check, default))  # until the class is made


@dataclass_transform(kw_only_default=True, field_specifiers=(option,))
class HasOptions:
    """A class whose fields are its options; type checkers see them as arguments."""

    options: ClassVar[dict[str, Check]] = {}

    def __init_subclass__(cls) -> None:
        fields = {n: x for n, x in vars(cls).items() if isinstance(x, Option)}
        cls.options = cls.options | {n: o.check for n, o in fields.items() if o.check is not None}
        for name, field in fields.items():
            setattr(cls, name, field.default)


def meant(name: str, known: Collection[str]) -> str:
    """How a message goes on after an option that an optimizer does not have."""
    return hint("options", name, [*known, *(w for w, ours in SYNONYMS.items() if ours in known)])


def number(
    least: float = 0.0,
    below: float = math.inf,
    *,
    most: float | None = None,
    above: float | None = None,
) -> Callable[[str, object], float]:
    """Check for a finite number in [least, below), [least, most] or (above, below)."""
    left = f"[{least:g}" if above is None else f"({above:g}"
    right = f"{below:g})" if most is None else f"{most:g}]"

    def check(name: str, value: object) -> float:
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a number, got {value!r}")
        kept = float(value)            # an np.float64 would turn float32 vectors to float64
        inside = kept > above if above is not None else kept >= least
        inside = inside and (kept <= most if most is not None else kept < below)
        if not (math.isfinite(kept) and inside):
            raise ValueError(f"{name} must be a finite number in {left}, {right}, got {value!r}")
        return kept

    return check


decay_rate = number(0, 1)                  # exponential, of a moving average
momentum = number(0, most=1)               # the coefficient of a velocity


def optional(check: Callable[[str, object], Kept]) -> Callable[[str, object], Kept | None]:
    """Check for None, or for what another check lets through."""
    return lambda name, value: None if value is None else check(name, value)


def flag(name: str, value: object) -> bool:
    """Check for True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def choice(*allowed: Kept) -> Callable[[str, object], Kept]:
    """Check for one of a few values."""

    def check(name: str, value: object) -> Kept:
        for known in allowed:
            if value is known or (isinstance(known, str) and value == known):
                return known
        one_of = ", ".join(map(repr, allowed))
        raise ValueError(f"{name} must be one of {one_of}, got {value!r}")

    return check


positive = number()


def rate(name: str, value: object) -> Rate:
    """Check for a learning rate: a number in [0, inf), a schedule t -> lr, or one a model."""
    if callable(value) and not isinstance(value, type):
        return value
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return tuple(positive(f"{name}[{k}]", x) for k, x in enumerate(value))
    if not isinstance(value, Real | np.ndarray):
        raise TypeError(
            f"{name} must be a number or a schedule (a callable t -> {name}), got {value!r}"
        )
    return positive(name, value)


def patterns(option: str, given: object, names: Collection[str] | None) -> tuple[str, ...]:
    """Check for patterns of names; one that fits no name would be ignored without a word."""
    kept = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for pattern in kept:
        if not isinstance(pattern, str):
            raise TypeError(f"{option} takes patterns of names, got {pattern!r}")
        if names is not None and not any(fnmatchcase(n, pattern) for n in names):
            raise ValueError(
                f"{option}: no parameter fits {pattern!r}; {nearest(pattern, names)}")
    return kept


def overrides(
    given: object, checks: Mapping[str, Check], names: Collection[str] | None
) -> Overrides:
    """Check for options by pattern of names; a read-only copy."""
    checked = {}
    if not isinstance(given, Mapping):
        raise TypeError(f"overrides must be a dict of pattern -> options, got {given!r}")
    for pattern, options in given.items():
        where = f"overrides[{pattern!r}]"
        if not isinstance(options, Mapping):
            raise TypeError(f"{where} must be a dict of options, got {options!r}")
        for name in options.keys() - checks.keys():
            raise TypeError(f"{where} cannot set {name!r}; {nearest(name, checks)}")
        checked[pattern] = {n: checks[n](f"{where}[{n!r}]", x) for n, x in options.items()}
    patterns("overrides", checked, names)
    return read_only(checked)


def read_only(overrides: Overrides) -> Overrides:
    """Overrides that nobody can change behind the optimizer's back."""
    return MappingProxyType({p: MappingProxyType({**own}) for p, own in overrides.items()})
