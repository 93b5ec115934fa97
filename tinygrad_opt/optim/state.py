"""The state of an optimizer by parameter name: everything checked, then written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypedDict, cast

import numpy as np

from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.kernels import asarray
from tinygrad_opt.optim.options import Overrides, read_only
from tinygrad_opt.optim.packing import Entry
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import Array, Stateful

if TYPE_CHECKING:
    from tinygrad_opt.optim.optimizer import Optimizer

__all__ = ["Pickled", "Record", "State", "load", "pickled", "saved", "unpickle"]


class Record(TypedDict):
    """What is kept of one parameter."""

    updates: int
    shape: Sequence[int]
    dtype: str
    state: Mapping[str, Array]


class State(TypedDict):
    """Everything that the next step depends on, except what a schedule computes."""

    rule: str
    t: int
    skipped: int
    options: Mapping[str, object]
    overrides: Overrides
    frozen: Sequence[str]
    schedules: Mapping[str, Mapping[str, object]]
    parameters: Mapping[str, Record]


# a state, all options and what else is set, the parameters, and whether they are bound
Pickled: TypeAlias = tuple[State, dict[str, object], Mapping[str, Tensor | Array], bool]

KINDS: dict[str, type | tuple[type, ...]] = {
    "rule": str, "t": int, "skipped": int, "options": Mapping, "overrides": Mapping,
    "frozen": (list, tuple), "schedules": Mapping, "parameters": Mapping,
}
SCHEDULE = "schedule"           # stands for the caller's code, which cannot be kept
# what options were that a file has not, as it is older than they are
LATER = {"maximize": False, "velocity": "steps", "bias_correction": True}
MOST = 2**53                    # steps: up to here a float counts them exactly
LARGEST = 2**36                 # numbers in a parameter that is not here yet


def saved(optimizer: Optimizer) -> State:
    """The state as it is now, in arrays that are copied."""
    optimizer._forget_plan()
    return {
        "rule": type(optimizer).__name__,
        "t": optimizer.t,
        "skipped": optimizer.skipped,
        "options": _plain({n: getattr(optimizer, n) for n in optimizer.options}),
        "overrides": {pattern: _plain(given) for pattern, given in optimizer.overrides.items()},
        "frozen": [*optimizer.frozen],
        "schedules": {
            where: s.state_dict() for where, s in _schedules(optimizer) if hasattr(s, "state_dict")
        },
        "parameters": {
            name: {
                "updates": int(optimizer._counts[e.index]),
                "shape": [*e.shape],
                "dtype": str(e.dtype),
                "state": {slot: row.copy() for slot, row in e.state.items()},
            }
            for name, e in optimizer._entries.items()
        },
    }


def pickled(optimizer: Optimizer) -> Pickled:
    """The state with the parameters and the schedules themselves."""
    settings = {n: getattr(optimizer, n)
                for n in (*optimizer.options, "frozen", "reduce", "_models")}
    settings["overrides"] = {pattern: dict(own) for pattern, own in optimizer.overrides.items()}
    return saved(optimizer), settings, optimizer.parameters, optimizer._bound


def unpickle(optimizer: Optimizer, kept: Pickled) -> None:
    """Make a new object the optimizer that has been pickled."""
    state, settings, targets, is_bound = kept
    overrides = read_only(cast(Overrides, settings["overrides"]))
    _write(optimizer, state, settings | {"overrides": overrides}, targets, is_bound)


def load(optimizer: Optimizer, given: object) -> None:
    """Check that every part fits, list all that does not, or else write all of it."""
    settings: dict[str, object] = {}
    state = cast(State, given)                 # which the first check looks at
    for check in (_misform, _missettings, _misfits):
        problems = list(check(optimizer, state, settings))
        if problems:
            raise CheckpointError(
                f"this state does not fit {type(optimizer).__name__}; nothing was loaded:\n  "
                + "\n  ".join(problems)
            )
    _load_schedules(optimizer, state["schedules"])
    targets = optimizer.parameters if optimizer._bound else {}
    _write(optimizer, state, settings, targets, optimizer._bound)


def _write(optimizer: Optimizer, state: State, settings: Mapping[str, object],
           targets: Mapping[str, Tensor | Array], is_bound: bool) -> None:
    """Put a state that has been checked in the place of what was there."""
    records = state["parameters"]
    names = [*(targets if is_bound else records)]          # in our order
    optimizer._set_up({
        name: Entry(name, cast(Tensor, targets[name]) if is_bound else _stand_in(records[name]), i)
        for i, name in enumerate(names)}, is_bound)
    counts = [*(records[name]["updates"] for name in names), state["t"]]
    optimizer.__dict__.update(
        settings, skipped=int(state["skipped"]), _counts=np.array(counts, np.int64),
        _seen={n: values_of(a) for n, a in targets.items() if not is_bound})
    rules = optimizer._rules(optimizer.overrides, names)
    for name, e in optimizer._entries.items():
        kept = records[name]["state"]
        e.state = {slot: asarray(kept[slot]).copy() for slot in rules[name].accumulators()}
    if is_bound:
        optimizer._pack(rules)


def _stand_in(record: Record) -> Tensor:
    """What a parameter is that has not been seen yet: it takes no memory."""
    return Tensor(np.broadcast_to(np.zeros((), record["dtype"]), record["shape"]))


# ---- what is wrong with a state ------------------------------------------------------------------


def _misform(optimizer: Optimizer, state: State, settings: object) -> Iterator[str]:
    """Why this is no state of such an optimizer at all."""
    if not isinstance(state, Mapping):
        yield f"it is a {type(state).__name__}, not a dict"
        return
    wrong = [part for part, kind in KINDS.items() if not isinstance(state.get(part), kind)]
    if wrong:
        yield from (f"{part!r} is missing or of another type" for part in wrong)
        return
    if state["rule"] != type(optimizer).__name__:
        yield f"it was saved by {state['rule']}"
    yield from (f"{part!r} is {_short(state[part])}" for part in ("t", "skipped")
                if not _is_count(state[part]))
    fields = Record.__annotations__.keys()
    yield from (f"the record of {name!r} needs {', '.join(sorted(fields))}"
                for name, record in state["parameters"].items()
                if not isinstance(record, Mapping) or record.keys() != fields)


def _missettings(
    optimizer: Optimizer, state: State, settings: dict[str, object]
) -> Iterator[str]:
    """What is wrong with options, overrides and frozen names, which come to be the settings."""
    given = {n: v for n, v in LATER.items() if n in optimizer.options} | dict(state["options"])
    if given.keys() != optimizer.options.keys():
        yield f"options {sorted(given.keys() ^ optimizer.options.keys())} differ"
        return
    try:
        overrides = {
            pattern: _scheduled(f"overrides[{pattern!r}] lr", dict(own),
                                optimizer.overrides.get(pattern, {}).get("lr"))
            for pattern, own in state["overrides"].items()}
        given = _scheduled("lr", given, optimizer.lr) | {
            "overrides": overrides, "frozen": state["frozen"]}
        settings |= {name: optimizer._checked(name, value) for name, value in given.items()}
    except (TypeError, ValueError) as error:
        yield str(error)


def _scheduled(where: str, options: dict[str, object], present: object) -> dict[str, object]:
    """Options with the schedule that is here, if they were saved with one."""
    if options.get("lr") != SCHEDULE:
        return options
    if not callable(present):
        raise ValueError(f"{where} was a schedule: give that schedule to the optimizer")
    return options | {"lr": present}


def _misfits(
    optimizer: Optimizer, state: State, settings: dict[str, object]
) -> Iterator[str]:
    """What is wrong with the records, parameter by parameter."""
    entries, records = optimizer._entries if optimizer._bound else {}, state["parameters"]
    if entries:
        yield from (f"{n!r} is missing" for n in entries if n not in records)
        yield from (f"{n!r} is not a parameter here" for n in records if n not in entries)
    rules = optimizer._with({n: settings[n] for n in optimizer.options})._rules(
        cast(Overrides, settings["overrides"]), records)
    for name, record in records.items():
        yield from _misfit(name, record, entries.get(name), rules[name])


def _misfit(name: str, record: Record, e: Entry | None, rule: Optimizer) -> Iterator[str]:
    """What is wrong with the record of one parameter."""
    try:
        shape, dtype = tuple(record["shape"]), np.dtype(record["dtype"])
    except TypeError as error:
        yield f"{name!r}: {error}"
        return
    if e is not None and (shape, dtype) != (e.shape, e.dtype):
        yield f"{name!r} was {dtype} {shape} but is {e.dtype} {e.shape}"
    if dtype.kind != "f" or not all(map(_is_count, shape)) or math.prod(shape) > LARGEST:
        yield f"{name!r} cannot be {dtype} {shape}"
        return
    if not _is_count(record["updates"]):
        yield f"{name!r} has {_short(record['updates'])} updates"
    if not isinstance(record["state"], Mapping):
        yield f"the state of {name!r} is no dict"
        return
    for slot in rule.accumulators():
        row = record["state"].get(slot)
        if row is None:
            yield f"{name!r} has no {slot!r}"
        elif np.shape(row) != shape or asarray(row).dtype != dtype:
            yield f"{slot!r} of {name!r} is {asarray(row).dtype} {np.shape(row)}"


def _is_count(x: object) -> bool:
    return isinstance(x, int | np.integer) and type(x) is not bool and 0 <= int(x) < MOST


def _short(x: object) -> str:
    """A value in a message; 10**400 would fill a screen."""
    return f"a number of {x.bit_length()} bits" if type(x) is int and abs(x) >= MOST else repr(x)


# ---- schedules -----------------------------------------------------------------------------------


def _plain(options: Mapping[str, object]) -> dict[str, object]:
    return {n: SCHEDULE if callable(value) else value for n, value in options.items()}


def _schedules(optimizer: Optimizer) -> list[tuple[str, Stateful]]:
    """Those of rates; not all of them have a state."""
    given = {f"overrides.{p}.lr": o["lr"] for p, o in optimizer.overrides.items() if "lr" in o}
    return [(where, cast(Stateful, s)) for where, s in {"lr": optimizer.lr, **given}.items()
            if callable(s)]


def _load_schedules(optimizer: Optimizer, states: Mapping[str, Mapping[str, object]]) -> None:
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
