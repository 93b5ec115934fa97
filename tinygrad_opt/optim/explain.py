"""A rule as text: its formula in Unicode and LaTeX, and one update with the numbers put in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.kernels import brought
from tinygrad_opt.optim.options import nearest
from tinygrad_opt.optim.rule import traced
from tinygrad_opt.symbols import (
    LATEX,
    Symbol,
    Trace,
    Untraceable,
    assignments,
    inside,
    letter,
    number,
    text,
)

if TYPE_CHECKING:
    from tinygrad_opt.optim.optimizer import Optimizer
    from tinygrad_opt.optim.packing import Entry
    from tinygrad_opt.optim.plan import Run
    from tinygrad_opt.typing import Array

__all__ = ["Formula", "explanation"]

Lines: TypeAlias = list[tuple[str, Symbol]]                # what is assigned, and what to
_MEANINGS = {"p": "before the step", "g": "the gradient, clipped if asked for",
             "lr": "the rate of this step", "t": "the step count of this parameter"}


class Formula:
    """The lines of a rule: LaTeX in a notebook, Unicode when printed."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.name = type(optimizer).__name__
        values = {n: np.array([0.5]) for n in ("p", "g", *optimizer.accumulators())}
        self.lines = _lines(optimizer, 0.1, 2, values)

    def __str__(self) -> str:
        return "\n".join(f"{letter(name)} ← {text(x)}" for name, x in self.lines)

    def __repr__(self) -> str:
        return f"{self.name}\n{self}"

    @property
    def latex(self) -> str:
        """The lines as LaTeX, one below the other."""
        rows = [rf"{letter(name, LATEX)} &\leftarrow {text(x, LATEX)}" for name, x in self.lines]
        return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex}\n$$"


def _lines(
    rule: Optimizer, lr: float, t: int, values: dict[str, Array]
) -> Lines:
    """The assignments of a rule on vectors of one entry."""
    trace = Trace(keep_frames=True)
    try:
        results = traced(rule, trace, lr, t, values)[2]
    except Untraceable as error:
        raise GraphError(f"the rule of {type(rule).__name__} is no formula: {error}") from error
    trace.name_locals()
    return assignments(results)


def explanation(optimizer: Optimizer, name: str, index: int | tuple[int, ...]) -> str:
    """How the last step changed one entry of one parameter, as text."""
    entries = optimizer._entries
    if name not in entries:
        raise KeyError(f"no parameter {name!r}; {nearest(name, entries)}")
    e = entries[name]
    label = _label(e, index)
    run, (before, state) = _last(optimizer, e)
    vectors = {"p": before, "g": run.pack.g} | {
        slot: row for slot, row in zip(run.pack.slots, state) if slot in run.slots}
    values = {n: np.array([brought(e.part(v)[index])], np.float64) for n, v in vectors.items()}
    lines = _lines(run.rule, run.rate_of(e, index), run.t, values)
    now, result = float(e.target._array[index]), _entry(dict(lines)["p"])
    rounding = 1e3 * float(np.finfo(e.dtype).eps) * max(abs(values["p"].item()), abs(result))
    if abs(result - now) > rounding:
        raise GraphError(
            f"{label} has been changed since the last step, which left it at"
            f" {number(result)}: it is {_exact(now, e.dtype)} now"
        )
    order = [*optimizer.options, "t", *values]
    return "\n".join([f"{type(optimizer).__name__}, update {run.t} of {label}", "", "with",
                      *_numbers(lines, order), *_computed(lines, _exact(now, e.dtype))])


def _numbers(lines: Lines, order: list[str]) -> Iterator[str]:
    """The numbers that the lines begin with."""
    given = [s for s in inside([x for _, x in lines]) if s.function is None]
    for s in sorted(given, key=lambda s: order.index(s.name or "")):
        meaning = f"   ({_MEANINGS[s.name]})" if s.name in _MEANINGS else ""
        yield f"  {text(s)} = {number(_entry(s))}{meaning}"


def _computed(lines: Lines, new: str) -> Iterator[str]:
    """Each line, with the numbers put in, and what it comes to: the last of p is what p holds."""
    end = dict(lines)["p"]
    for target, x in lines:
        room = " " * len(letter(target))
        yield from ("", f"  {letter(target)} ← {text(x)}", f"  {room} = {text(x, numbers=True)}",
                    f"  {room} = {new if x is end else number(_entry(x))}")
    if lines[-1][1] is not end:                # what stands below it reads the values from before
        yield from ("", f"  p = {new}")


def _last(optimizer: Optimizer, e: Entry) -> tuple[Run, tuple[Array, Array]]:
    """The run of the last step that holds the parameter, if its values were kept."""
    if optimizer._last is None:
        raise GraphError(
            "there is nothing to explain: no step has been taken, or the last one was left out"
        )
    for run in optimizer._last.runs:
        if any(other is e for other in run.entries):
            if run.pack not in optimizer._packs or e.target._array is not e.value:
                raise GraphError(f"{e.name!r} has been moved since the last step: step() once more")
            if run.pack.before is None:
                optimizer._forget_plan()
                optimizer._remembers = True
                raise GraphError(
                    "a large model keeps the values before a step only when asked to: now it"
                    " does, so call explain() again after the next step"
                )
            return run, run.pack.before
    raise GraphError(f"the last step did not update {e.name!r}: it is frozen or had no gradient")


def _label(e: Entry, index: int | tuple[int, ...]) -> str:
    """The entry of a parameter, as ``W[0, 1]``, once it is one that is there."""
    places = index if isinstance(index, tuple) else (index,)
    first = f"; the first is explain({e.name!r}, {(0,) * len(e.shape)})" if e.size else ""
    try:
        if np.ndim(e.target._array[places]):
            raise IndexError
    except IndexError:
        what = f"no entry {places}" if places else "say which entry"
        raise IndexError(f"{e.name!r} has shape {e.shape}: {what}{first}") from None
    return f"{e.name}[{', '.join(map(str, places))}]" if places else e.name


def _entry(x: Symbol) -> float:
    """The only number that a symbol stands for."""
    return float(np.asarray(x.array).item())


def _exact(x: float, dtype: np.dtype) -> str:
    """All digits that tell a number of this dtype from its neighbours."""
    return str(np.dtype(dtype).type(x))
