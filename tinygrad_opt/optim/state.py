"""`state_dict` and `load_state_dict`: by parameter name, everything checked, then written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.optim.pack import Entry

if TYPE_CHECKING:
    from tinygrad_opt.optim.optimizer import Optimizer

__all__ = ["load", "saved"]

SCHEDULE = "schedule"           # stands for the caller's code, which cannot be kept
PARTS: dict[str, Any] = {
    "rule": str, "t": int, "skipped": int, "options": Mapping, "overrides": Mapping,
    "frozen": (list, tuple), "schedules": Mapping, "parameters": Mapping,
}
FIELDS = {"updates", "shape", "dtype", "state"}
MOST = 2**53                    # steps: up to here a float counts them exactly
LARGEST = 2**36                 # numbers in a parameter that is not here yet


def saved(optimizer: Optimizer) -> dict[str, Any]:
    """Everything that the next step depends on, except what a schedule computes."""
    optimizer._forget_plan()
    return {
        "rule": type(optimizer).__name__,
        "t": optimizer.t,
        "skipped": optimizer.skipped,
        "options": {n: _plain(getattr(optimizer, n)) for n in optimizer.options},
        "overrides": {
            pattern: {n: _plain(v) for n, v in given.items()}
            for pattern, given in optimizer.overrides.items()
        },
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


def load(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Check that every part fits, list all that does not, or else write all of it."""
    settings: dict[str, Any] = {}
    needed: dict[str, set[str]] = {}
    problems = _form(optimizer, state)
    if not problems:
        settings = _settings(optimizer, state, problems)
    if not problems:
        problems = _misfits(optimizer, state["parameters"], settings, needed)
    if problems:
        raise CheckpointError(
            f"this state does not fit {type(optimizer).__name__}; nothing was loaded:\n  "
            + "\n  ".join(problems)
        )
    records = state["parameters"]
    entries = optimizer._entries if optimizer._bound else {
        name: Entry(name, record["shape"], record["dtype"], i)
        for i, (name, record) in enumerate(records.items())
    }
    counts = np.array([*(records[name]["updates"] for name in entries), state["t"]], np.int64)
    kept = {name: {slot: np.array(row) for slot, row in records[name]["state"].items()
                   if slot in needed[name]} for name in entries}
    _load_schedules(optimizer, state["schedules"])
    for name, e in entries.items():
        e.state = kept[name]
    optimizer.__dict__.update(
        settings, skipped=int(state["skipped"]), _entries=entries, _counts=counts, _packs=[],
        _plan=None, _last=None,
    )
    if optimizer._bound:
        optimizer._pack()


def _form(optimizer: Optimizer, state: Any) -> list[str]:
    """Why this is no state of such an optimizer at all."""
    if not isinstance(state, Mapping):
        return [f"it is a {type(state).__name__}, not a dict"]
    wrong = [part for part, kind in PARTS.items() if not isinstance(state.get(part), kind)]
    if wrong:
        return [f"{part!r} is missing or of another type" for part in wrong]
    if state["rule"] != type(optimizer).__name__:
        return [f"it was saved by {state['rule']}"]
    wrong = [f"{part!r} is {_short(state[part])}" for part in ("t", "skipped")
             if not _is_count(state[part])]
    if wrong:
        return wrong
    return [
        f"the record of {name!r} needs {', '.join(sorted(FIELDS))}"
        for name, record in state["parameters"].items()
        if not isinstance(record, Mapping) or record.keys() != FIELDS
    ]


def _settings(
    optimizer: Optimizer, state: Mapping[str, Any], problems: list[str]
) -> dict[str, Any]:
    """The options, overrides and frozen names of the state, checked; schedules stay as they are."""
    given = dict(state["options"])
    if given.keys() != optimizer.options.keys():
        problems.append(f"options {sorted(given.keys() ^ optimizer.options.keys())} differ")
        return {}
    overrides = {pattern: dict(o) for pattern, o in state["overrides"].items()}
    places: list[tuple[str, dict[str, Any], Any]] = [("lr", given, optimizer.lr)]
    for pattern, o in overrides.items():
        present = optimizer.overrides.get(pattern, {}).get("lr")
        places.append((f"overrides[{pattern!r}] lr", o, present))
    for where, options, present in places:
        if options.get("lr") == SCHEDULE:
            if not callable(present):
                problems.append(f"{where} was a schedule: give that schedule to the optimizer")
                return {}
            options["lr"] = present
    try:
        settings: dict[str, Any] = {n: optimizer.options[n](n, v) for n, v in given.items()}
        settings["overrides"] = optimizer._checked_overrides(overrides)
        settings["frozen"] = tuple(state["frozen"])
        optimizer._check_patterns("frozen", settings["frozen"])
    except (TypeError, ValueError) as error:
        problems.append(str(error))
        return {}
    return settings


def _misfits(
    optimizer: Optimizer, records: Mapping[str, Any], settings: dict[str, Any],
    needed: dict[str, set[str]],
) -> list[str]:
    """What is wrong with the records, parameter by parameter; fills in the slots of each."""
    entries, problems = optimizer._entries, []
    if optimizer._bound:
        problems += [f"{n!r} is missing" for n in entries if n not in records]
        problems += [f"{n!r} is not a parameter here" for n in records if n not in entries]
    for name, record in records.items():
        try:
            shape, dtype = tuple(record["shape"]), np.dtype(record["dtype"])
        except TypeError as error:
            problems.append(f"{name!r}: {error}")
            continue
        e = entries.get(name)
        if optimizer._bound and e is not None and (shape, dtype) != (e.shape, e.dtype):
            problems.append(f"{name!r} was {dtype} {shape} but is {e.dtype} {e.shape}")
        if dtype.kind != "f" or not all(map(_is_count, shape)) or math.prod(shape) > LARGEST:
            problems.append(f"{name!r} cannot be {dtype} {shape}")
            continue
        if not _is_count(record["updates"]):
            problems.append(f"{name!r} has {_short(record['updates'])} updates")
        if not isinstance(record["state"], Mapping):
            problems.append(f"the state of {name!r} is no dict")
            continue
        own = settings | optimizer._overridden(name, settings["overrides"])
        rule = optimizer._with({n: own[n] for n in optimizer.options})
        needed[name] = set(rule.accumulators())
        for slot in rule.accumulators():
            row = record["state"].get(slot)
            if row is None:
                problems.append(f"{name!r} has no {slot!r}")
            elif np.shape(row) != shape or np.asarray(row).dtype != dtype:
                problems.append(f"{slot!r} of {name!r} is {np.asarray(row).dtype} {np.shape(row)}")
    return problems


def _is_count(x: Any) -> bool:
    return isinstance(x, int | np.integer) and type(x) is not bool and 0 <= int(x) < MOST


def _short(x: Any) -> str:
    """A value in a message; 10**400 would fill a screen."""
    return f"a number of {x.bit_length()} bits" if type(x) is int and abs(x) >= MOST else repr(x)


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


def _plain(value: Any) -> Any:
    return SCHEDULE if callable(value) else value


def _schedules(optimizer: Optimizer) -> list[tuple[str, Any]]:
    given = {"lr": optimizer.lr}
    given |= {f"overrides.{p}.lr": o["lr"] for p, o in optimizer.overrides.items() if "lr" in o}
    return [(where, s) for where, s in given.items() if callable(s)]
