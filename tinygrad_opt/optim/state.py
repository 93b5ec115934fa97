"""The state of an optimizer by parameter name: everything checked, then written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.optim.packing import Entry

if TYPE_CHECKING:
    from tinygrad_opt.optim.optimizer import Optimizer

__all__ = ["load", "pickled", "saved", "unpickle"]

SCHEDULE = "schedule"           # stands for the caller's code, which cannot be kept
PARTS: dict[str, Any] = {
    "rule": str, "t": int, "skipped": int, "options": Mapping, "overrides": Mapping,
    "frozen": (list, tuple), "schedules": Mapping, "parameters": Mapping,
}
# what options were that a file has not, as it is older than they are
LATER = {"maximize": False, "velocity": "steps", "bias_correction": True}
FIELDS = {"updates", "shape", "dtype", "state"}
MOST = 2**53                    # steps: up to here a float counts them exactly
LARGEST = 2**36                 # numbers in a parameter that is not here yet


def saved(optimizer: Optimizer) -> dict[str, Any]:
    """Everything that the next step depends on, except what a schedule computes."""
    optimizer._forget_plan()
    options, overrides = _settings(optimizer)
    return {
        "rule": type(optimizer).__name__,
        "t": optimizer.t,
        "skipped": optimizer.skipped,
        "options": _plain(options),
        "overrides": {pattern: _plain(given) for pattern, given in overrides.items()},
        "frozen": list(optimizer.frozen),
        "schedules": {
            where: s.state_dict() for where, s in _schedules(optimizer) if hasattr(s, "state_dict")
        },
        "parameters": {
            name: {
                "updates": int(optimizer._counts[e.index]),
                "shape": list(e.shape),
                "dtype": str(e.dtype),
                "state": {slot: row.copy() for slot, row in e.state.items()},
            }
            for name, e in optimizer._entries.items()
        },
    }


def pickled(optimizer: Optimizer) -> dict[str, Any]:
    """The state with the parameters and the schedules themselves."""
    return saved(optimizer) | {"settings": _settings(optimizer), "bound": optimizer._bound,
                               "targets": optimizer.parameters, "models": optimizer._models,
                               "reduce": optimizer.reduce}


def unpickle(optimizer: Optimizer, kept: Mapping[str, Any]) -> None:
    """Make a new object the optimizer that has been pickled."""
    options, overrides = kept["settings"]
    settings = options | {"overrides": overrides, "frozen": tuple(kept["frozen"])}
    optimizer.__dict__.update(_models=kept["models"], reduce=kept["reduce"])
    _write(optimizer, kept, settings, kept["targets"], kept["bound"])


def load(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Check that every part fits, list all that does not, or else write all of it."""
    settings: dict[str, Any] = {}
    for check in (_misform, _missettings, _misfits):
        problems = list(check(optimizer, state, settings))
        if problems:
            raise CheckpointError(
                f"this state does not fit {type(optimizer).__name__}; nothing was loaded:\n  "
                + "\n  ".join(problems)
            )
    _load_schedules(optimizer, state["schedules"])
    records, targets = state["parameters"], optimizer.parameters
    if optimizer._bound:                       # in our order
        state = {**state, "parameters": {name: records[name] for name in targets}}
    _write(optimizer, state, settings, targets if optimizer._bound else {}, optimizer._bound)


def _write(optimizer: Optimizer, state: Mapping[str, Any], settings: dict[str, Any],
           targets: Mapping[str, Any], is_bound: bool) -> None:
    """Put a state that has been checked in the place of what was there."""
    records = state["parameters"]
    optimizer._set_up({
        name: Entry(name, record["shape"], record["dtype"], i, targets.get(name))
        for i, (name, record) in enumerate(records.items())}, is_bound)
    frozen = {pattern: MappingProxyType(o) for pattern, o in settings["overrides"].items()}
    optimizer.__dict__.update(
        settings, overrides=MappingProxyType(frozen), skipped=int(state["skipped"]),
        _counts=np.array([*(r["updates"] for r in records.values()), state["t"]], np.int64))
    rules = optimizer._rules(settings["overrides"], records)
    for name, e in optimizer._entries.items():
        kept = records[name]["state"]
        e.state = {slot: np.array(kept[slot]) for slot in rules[name].accumulators()}
    if is_bound:
        optimizer._pack(rules)


# ---- what is wrong with a state ------------------------------------------------------------------


def _misform(optimizer: Optimizer, state: Any, settings: dict[str, Any]) -> Iterator[str]:
    """Why this is no state of such an optimizer at all."""
    if not isinstance(state, Mapping):
        yield f"it is a {type(state).__name__}, not a dict"
        return
    wrong = [part for part, kind in PARTS.items() if not isinstance(state.get(part), kind)]
    if wrong:
        yield from (f"{part!r} is missing or of another type" for part in wrong)
        return
    if state["rule"] != type(optimizer).__name__:
        yield f"it was saved by {state['rule']}"
    for part in ("t", "skipped"):
        if not _is_count(state[part]):
            yield f"{part!r} is {_short(state[part])}"
    for name, record in state["parameters"].items():
        if not isinstance(record, Mapping) or record.keys() != FIELDS:
            yield f"the record of {name!r} needs {', '.join(sorted(FIELDS))}"


def _missettings(
    optimizer: Optimizer, state: Mapping[str, Any], settings: dict[str, Any]
) -> Iterator[str]:
    """What is wrong with options, overrides and frozen names, which come to be the settings."""
    given = {n: v for n, v in LATER.items() if n in optimizer.options} | dict(state["options"])
    if given.keys() != optimizer.options.keys():
        yield f"options {sorted(given.keys() ^ optimizer.options.keys())} differ"
        return
    try:
        overrides = {pattern: dict(o) for pattern, o in state["overrides"].items()}
        places: list[tuple[str, dict[str, Any], object]] = [("lr", given, optimizer.lr)]
        places += [(f"overrides[{pattern!r}] lr", o, optimizer.overrides.get(pattern, {}).get("lr"))
                   for pattern, o in overrides.items()]
        for where, options, present in places:
            if options.get("lr") == SCHEDULE:
                if not callable(present):
                    raise ValueError(f"{where} was a schedule: give that schedule to the optimizer")
                options["lr"] = present
        given |= {"overrides": overrides, "frozen": state["frozen"]}
        settings |= {name: optimizer._checked(name, value) for name, value in given.items()}
    except (TypeError, ValueError) as error:
        yield str(error)


def _misfits(
    optimizer: Optimizer, state: Mapping[str, Any], settings: dict[str, Any]
) -> Iterator[str]:
    """What is wrong with the records, parameter by parameter."""
    entries, records = optimizer._entries, state["parameters"]
    if optimizer._bound:
        yield from (f"{n!r} is missing" for n in entries if n not in records)
        yield from (f"{n!r} is not a parameter here" for n in records if n not in entries)
    rules = optimizer._with({n: settings[n] for n in optimizer.options})._rules(
        settings["overrides"], records)
    for name, record in records.items():
        try:
            shape, dtype = tuple(record["shape"]), np.dtype(record["dtype"])
        except TypeError as error:
            yield f"{name!r}: {error}"
            continue
        e = entries.get(name) if optimizer._bound else None
        if e is not None and (shape, dtype) != (e.shape, e.dtype):
            yield f"{name!r} was {dtype} {shape} but is {e.dtype} {e.shape}"
        if dtype.kind != "f" or not all(map(_is_count, shape)) or math.prod(shape) > LARGEST:
            yield f"{name!r} cannot be {dtype} {shape}"
            continue
        if not _is_count(record["updates"]):
            yield f"{name!r} has {_short(record['updates'])} updates"
        if not isinstance(record["state"], Mapping):
            yield f"the state of {name!r} is no dict"
            continue
        for slot in rules[name].accumulators():
            row = record["state"].get(slot)
            if row is None:
                yield f"{name!r} has no {slot!r}"
            elif np.shape(row) != shape or np.asarray(row).dtype != dtype:
                yield f"{slot!r} of {name!r} is {np.asarray(row).dtype} {np.shape(row)}"


def _is_count(x: Any) -> bool:
    return isinstance(x, int | np.integer) and type(x) is not bool and 0 <= int(x) < MOST


def _short(x: Any) -> str:
    """A value in a message; 10**400 would fill a screen."""
    return f"a number of {x.bit_length()} bits" if type(x) is int and abs(x) >= MOST else repr(x)


# ---- options and schedules -----------------------------------------------------------------------


def _settings(optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The options, and those by pattern."""
    return ({n: getattr(optimizer, n) for n in optimizer.options},
            {pattern: dict(given) for pattern, given in optimizer.overrides.items()})


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {n: SCHEDULE if callable(value) else value for n, value in options.items()}


def _schedules(optimizer: Optimizer) -> list[tuple[str, Any]]:
    given: dict[str, Any] = {"lr": optimizer.lr}
    given |= {f"overrides.{p}.lr": o["lr"] for p, o in optimizer.overrides.items() if "lr" in o}
    return [(where, s) for where, s in given.items() if callable(s)]


def _load_schedules(optimizer: Optimizer, states: Mapping[str, Any]) -> None:
    """All schedules that have a state, or none."""
    before = []
    try:
        for where, schedule in _schedules(optimizer):
            if where in states:
                before.append((schedule, schedule.state_dict()))
                schedule.load_state_dict(states[where])
    except Exception as error:
        for schedule, state in before:
            schedule.load_state_dict(state)
        raise CheckpointError(f"the state of the schedule does not fit: {error}") from error
