"""The options of an optimizer: checked whenever they are set, other ones by name pattern."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from tinygrad_opt.optim.options import Check, choice, nearest, number, rate, rate_at
from tinygrad_opt.optim.pack import Entry

__all__ = ["Settings"]

Self = TypeVar("Self", bound="Settings")

# options of the whole step, which cannot differ from parameter to parameter
_GLOBAL = ("check_finite", "clip_norm", "clip_norm_each", "clip_value")


class Settings:
    """Options as attributes. A subclass extends `options` by its own."""

    options: ClassVar[dict[str, Check]] = {
        "lr": rate,
        "decay": number(),
        "weight_decay": number(),
        "clip_norm": number(above=0, optional=True),
        "clip_norm_each": number(above=0, optional=True),
        "clip_value": number(above=0, optional=True),
        "check_finite": choice(None, "raise", "skip"),
    }
    lr: Any
    decay: float
    weight_decay: float
    clip_norm: float | None
    clip_norm_each: float | None
    clip_value: float | None
    check_finite: str | None
    overrides: Mapping[str, Mapping[str, Any]]
    frozen: tuple[str, ...]
    t: int                                     # steps so far
    _bound: bool
    _entries: dict[str, Entry]
    _cells: dict[Any, Any]                     # of `Optimizer.scalars`

    def __setattr__(self, name: str, value: Any) -> None:
        check = self.options.get(name)
        if check is not None:
            value = check(name, value)
        elif name == "overrides":
            value = self._checked_overrides(value)
        elif name == "frozen":
            value = (value,) if isinstance(value, str) else tuple(value)
            self._check_patterns("frozen", value)
        elif not hasattr(type(self), name):
            raise AttributeError(self._unknown(name))
        self._forget_plan()
        object.__setattr__(self, name, value)

    @property
    def current_lr(self) -> float:
        """The rate that the next step uses: schedule and decay worked out at the present t."""
        return self._rate(self.t)

    def freeze(self, *patterns: str) -> None:
        """Stop updating the parameters whose names fit, from the next step on."""
        self.frozen = (*self.frozen, *(p for p in patterns if p not in self.frozen))

    def unfreeze(self, *patterns: str) -> None:
        """Take patterns back that were given to `freeze`; all of them if none is named."""
        for pattern in patterns:
            if pattern not in self.frozen:
                raise ValueError(f"{pattern!r} is not frozen; {nearest(pattern, self.frozen)}")
        self.frozen = tuple(p for p in self.frozen if patterns and p not in patterns)

    def _rate(self, t: int) -> float:
        lr = self.lr
        if type(lr) is not float:
            lr = rate_at(lr, t)
        return lr / (1 + self.decay * t) if self.decay else lr

    def _unknown(self, name: str) -> str:
        known = [*self.options, "overrides", "frozen"]
        return f"{type(self).__name__} has no option {name!r}; {nearest(name, known)}"

    def _checked_overrides(self, overrides: Any) -> Mapping[str, Mapping[str, Any]]:
        """A read-only copy, every pattern and every option checked."""
        checked = {}
        for pattern, given in dict(overrides).items():
            if not isinstance(given, Mapping):
                raise TypeError(
                    f"overrides[{pattern!r}] must be a dict of options, got {given!r}"
                )
            for name in given:
                if name not in self.options or name in _GLOBAL:
                    known = [n for n in self.options if n not in _GLOBAL]
                    raise TypeError(
                        f"overrides[{pattern!r}] cannot set {name!r}; {nearest(name, known)}"
                    )
            checked[pattern] = MappingProxyType(
                {n: self.options[n](f"overrides[{pattern!r}][{n!r}]", v) for n, v in given.items()}
            )
        self._check_patterns("overrides", checked)
        for name in self._entries:
            self._with(self._overridden(name, checked))._check_options()
        return MappingProxyType(checked)

    def _check_patterns(self, option: str, patterns: Iterable[Any]) -> None:
        """Refuse a pattern that fits no name: it would be ignored without a word."""
        for pattern in patterns:
            if not isinstance(pattern, str):
                raise TypeError(f"{option} takes patterns of names, got {pattern!r}")
            if self._bound and not any(fnmatchcase(n, pattern) for n in self._entries):
                raise ValueError(
                    f"{option}: no parameter fits {pattern!r}; {nearest(pattern, self._entries)}"
                )

    def _overridden(self, name: str, overrides: Any) -> dict[str, Any]:
        """The options that differ for this parameter; later patterns win."""
        options: dict[str, Any] = {}
        for pattern, given in overrides.items():
            if fnmatchcase(name, pattern):
                options |= given
        return options

    def _with(self: Self, options: dict[str, Any]) -> Self:
        """These options over mine, as an object that the rule can read them from."""
        if not options:
            return self
        twin = object.__new__(type(self))
        twin.__dict__.update({n: self.__dict__[n] for n in self.options} | options, _cells={})
        return twin

    def _check_options(self) -> None:
        """Refuse options that do not go together."""

    def _forget_plan(self) -> None:
        """What has been worked out from the options no longer holds."""
