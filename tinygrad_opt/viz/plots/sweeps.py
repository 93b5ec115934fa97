"""Many trainings with many options: two options as a heat map, all of them as parallel axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, TypeAlias

import numpy as np

from tinygrad_opt.errors import nearest
from tinygrad_opt.typing import Array, Unpack
from tinygrad_opt.viz.figures import Axes, Options, Picture, drawing, letters_on, ordered, through
from tinygrad_opt.viz.theme import Theme

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

__all__ = ["plot_heat_map", "plot_parallel_coordinates"]

Rows: TypeAlias = Sequence[Mapping[str, object]]


def plot_heat_map(
    rows: Rows, names: Sequence[str], by: str, *, mode: str = "min", x: str | None = None,
    y: str | None = None, **options: Unpack[Options],
) -> Picture:
    """The best value for each pair of two options, whatever the other options were.

    Parameters
    ----------
    rows : sequence of dict
        A trial each: its options and its values by name.
    names : sequence of str
        The options that differ between trials.
    by : str
        The value that is shown.
    mode : {"min", "max"}
        Which is better.
    x, y : str, optional
        The two options; by default the first of `names`. Of one option it is one row.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rest = [name for name in names if name not in (x, y)]
    across, down = (given or (rest.pop(0) if rest else "") for given in (x, y))
    for name in filter(None, (across, down)):
        if not any(name in row for row in rows):
            raise ValueError(f"no option is called {name!r}; {nearest(name, names)}")
    if not across:
        raise ValueError("a heat map needs an option that differs between trials")
    columns, lines = (_levels(row.get(name, "") for row in rows) for name in (across, down))
    best, tried = _table(rows, by, mode, ((down, lines), (across, columns)))
    numbers = {across: np.tile(_text(columns), len(lines)), by: best.ravel()}
    if down:
        numbers[down] = np.repeat(_text(lines), len(columns))
    usual = (max(3.4, 1.8 + 0.75 * len(columns)), max(1.9, 1.3 + 0.5 * len(lines)))
    with drawing(usual, numbers, **options) as (made, page):
        ax, norm = made.subplots(), _norm(best)
        colors = through(ordered(5, page)[:: 1 if mode == "min" else -1])
        ax.imshow(best, cmap=colors, norm=norm, aspect="auto")
        for (i, j), value in np.ndenumerate(best):
            if math.isfinite(value):
                ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=8,
                        color=letters_on(colors(norm(value))))
            elif tried[i, j]:                              # no trial came to a number
                ax.text(j, i, "×", ha="center", va="center", fontsize=12, color=page.alarm)
        ax.set(xticks=range(len(columns)), xticklabels=_text(columns), xlabel=across)
        ax.set(yticks=range(len(lines)), yticklabels=_text(lines), ylabel=down)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        others = f", the best over {', '.join(rest)}" if rest else ""
        scale = "" if type(norm).__name__ == "Normalize" else ", colours by logarithm"
        ax.set_title(f"{by}{others}{scale}", fontsize=9)
    return made


def plot_parallel_coordinates(
    rows: Rows, names: Sequence[str], by: str, *, mode: str = "min", **options: Unpack[Options],
) -> Picture:
    """An axis for each option and one for the value; a line is a trial.

    Parameters
    ----------
    rows : sequence of dict
        A trial each: its options and its values by name.
    names : sequence of str
        The options that differ between trials.
    by : str
        The value that is shown; a trial without one ends at a cross above the axis.
    mode : {"min", "max"}
        Which is better: the best are drawn last, and thick.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not rows or not names:
        raise ValueError("parallel coordinates need trials with options that differ")
    value = np.array([_value(row, by) for row in rows])
    order = np.argsort(value if mode == "min" else -value, kind="stable").tolist()   # nan last
    best = order[: max(1, len(rows) // 20)]
    numbers = {name: np.array([str(row.get(name, "")) for row in rows]) for name in names}
    with drawing((max(5.0, 1.5 + 1.4 * len(names)), 3.6), numbers | {by: value},
                 **options) as (made, page):
        columns = [_heights([row.get(name, "") for row in rows]) for name in names]
        ends, ticks = _heights(value.tolist())
        ax = made.subplots()
        for k, hue in [*zip(order, ordered(max(len(rows), 2), page))][::-1]:
            _draw_trial(ax, [*(at[k] for at, _ in columns), ends[k]], hue, k in best, page)
        for i, marks in enumerate([*(marks for _, marks in columns), ticks]):
            ax.axvline(i, color=page.muted, linewidth=0.8, zorder=1)
            for height, text in marks:
                ax.annotate(text, (i, height), (4, 0), textcoords="offset points", fontsize=7.5,
                            va="center", color=page.text, zorder=5, bbox={
                                "facecolor": page.page, "alpha": 0.75, "pad": 0.8,
                                "edgecolor": "none"})
        ax.set(xticks=range(len(names) + 1), xticklabels=[*names, by], yticks=[],
               xlim=(-0.1, len(names) + 0.45), ylim=(-0.08, 1.22))
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    return made


def _table(
    rows: Rows, by: str, mode: str, axes: Sequence[tuple[str, Sequence[object]]]
) -> tuple[Array, Array]:
    """The best value for each of the levels of two options, and where there was a trial."""
    best = np.full([len(levels) for _, levels in axes], math.nan)
    tried = np.zeros(best.shape, bool)
    better = np.fmin if mode == "min" else np.fmax         # of a number and nan, the number
    for row in rows:
        cell = tuple([*map(repr, levels)].index(repr(row.get(name, ""))) for name, levels in axes)
        best[cell], tried[cell] = better(best[cell], _value(row, by)), True
    return best, tried


def _draw_trial(ax: Axes, heights: Sequence[float], hue: str | tuple[float, ...],
                best: bool, page: Theme) -> None:
    """A line through its options to its value, or to a cross above the axis."""
    if math.isnan(heights[-1]):
        ax.plot([*heights[:-1], 1.12], ":", color=page.alarm, linewidth=1.0, alpha=0.6)
        ax.plot(len(heights) - 1, 1.12, "x", color=page.alarm, markersize=6, zorder=4)
    elif best:
        ax.plot(heights, color=hue, linewidth=2.6, zorder=3)
    else:
        ax.plot(heights, color=hue, linewidth=1.0, alpha=0.6)


def _value(row: Mapping[str, object], by: str) -> float:
    """What a trial came to; nan if it came to no number."""
    value = row.get(by)
    number = float(value) if isinstance(value, SupportsFloat) else math.nan
    return number if math.isfinite(number) else math.nan


def _heights(values: Sequence[Any]) -> tuple[Array, list[tuple[float, str]]]:
    """Where values stand on an axis from 0 to 1, and what is written there; words side by side."""
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    levels = _levels(v for v in values if not (isinstance(v, float) and math.isnan(v)))
    if not numeric or len(levels) < 2:
        at = np.linspace(0, 1, len(levels)) if len(levels) > 1 else np.array([0.5])
        by_level = dict(zip(map(repr, levels), at.tolist()))
        return (np.array([by_level.get(repr(v), math.nan) for v in values]),
                [*zip(at.tolist(), _text(levels))])
    norm = _norm(np.array(values, float))
    marks: list[float] = levels if len(levels) <= 8 else [
        *map(float, norm.inverse(np.linspace(0, 1, 5)))]
    return (np.ma.filled(norm(values), math.nan),
            [(float(norm(mark)), text) for mark, text in zip(marks, _text(marks))])


def _levels(values: Iterable[Any]) -> list[Any]:
    """Different values, numbers in order of size."""
    found = list({repr(v): v for v in values}.values())
    try:
        return sorted(found)
    except (TypeError, ValueError):                        # ValueError: arrays
        return found


def _text(levels: Sequence[object]) -> list[str]:
    return [f"{v:.3g}" if isinstance(v, float) else str(v) for v in levels]


def _norm(values: Array) -> Normalize:
    """A scale from 0 to 1: of numbers over more than a factor of 20 by their logarithms."""
    from matplotlib.colors import LogNorm, Normalize

    seen = values[np.isfinite(values)]
    low, high = (seen.min(), seen.max()) if len(seen) else (0, 1)
    return LogNorm(low, high) if 0 < 20 * low < high else Normalize(low, high)
