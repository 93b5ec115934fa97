"""Many trainings with many options: two options as a heat map, all of them as parallel axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, TypeAlias

import numpy as np

from tinygrad_opt.errors import nearest
from tinygrad_opt.typing import Array
from tinygrad_opt.viz.figures import Options, Unpack, drawing, ordered, through

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinygrad_opt.viz.figures import Picture
    from tinygrad_opt.viz.theme import Theme

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
    found: dict[tuple[str, str], list[float]] = {}         # values by line and column
    for row in rows:
        cell = repr(row.get(down, "")), repr(row.get(across, ""))
        found.setdefault(cell, []).append(_value(row, by))
    cells = [[found.get((repr(line), repr(column)), []) for column in columns] for line in lines]
    better = min if mode == "min" else max
    best = np.array([[better(filter(math.isfinite, values), default=math.nan) for values in line]
                     for line in cells])
    numbers = {across: np.tile(_text(columns), len(lines)), by: best.ravel()}
    if down:
        numbers[down] = np.repeat(_text(lines), len(columns))
    usual = (max(3.4, 1.8 + 0.75 * len(columns)), max(1.9, 1.3 + 0.5 * len(lines)))
    with drawing(usual, numbers, **options) as (made, page):
        ax = made.subplots()
        shown, scale = _scaled(best)
        colors = through(ordered(5, page)[:: 1 if mode == "min" else -1])
        image = ax.imshow(shown, cmap=colors, aspect="auto")
        _write_cells(ax, image.to_rgba(shown), best, cells, page)
        ax.set(xticks=range(len(columns)), xticklabels=_text(columns), xlabel=across)
        ax.set(yticks=range(len(lines)), yticklabels=_text(lines), ylabel=down)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        others = ", the best over " + ", ".join(rest) if rest else ""
        ax.set_title(f"{by}{others}{scale}", fontsize=9)
    return made


def _write_cells(
    ax: Axes, colors: Array, best: Array, cells: Sequence[Sequence[object]], page: Theme
) -> None:
    """Numbers into the cells; a cross where no trial came to a number."""
    from matplotlib.colors import to_rgb

    for (i, j), value in np.ndenumerate(best):
        if math.isfinite(value):
            red, green, blue, _ = colors[i, j]
            bright = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
            ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=8,
                    color="#000000" if bright else "#FFFFFF")
        elif cells[i][j]:
            ax.text(j, i, "×", ha="center", va="center", fontsize=12, color=to_rgb(page.alarm))


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
    columns = [_heights([row.get(name, "") for row in rows]) for name in names]
    value = np.array([_value(row, by) for row in rows])
    lost = ~np.isfinite(value)
    ends, ticks = _heights(np.where(lost, np.nan, value).tolist())
    order = np.argsort(np.where(lost, np.inf, value if mode == "min" else -value)).tolist()
    best = order[: max(1, len(rows) // 20)]
    numbers = {name: np.array([str(row.get(name, "")) for row in rows]) for name in names}
    with drawing((max(5.0, 1.5 + 1.4 * len(names)), 3.6), numbers | {by: value},
                 **options) as (made, page):
        ax = made.subplots()
        for k, hue in [*zip(order, ordered(max(len(rows), 2), page))][::-1]:
            heights = [column[0][k] for column in columns] + [1.12 if lost[k] else ends[k]]
            hue = page.alarm if lost[k] else hue
            chosen = k in best and not lost[k]
            ax.plot(range(len(heights)), heights, color=hue, linewidth=2.6 if chosen else 1.0,
                    alpha=1.0 if chosen else 0.6, zorder=3 if chosen else 2,
                    linestyle=":" if lost[k] else "-")
            if lost[k]:
                ax.plot(len(names), 1.12, "x", color=page.alarm, markersize=6, zorder=4)
        for i, marks in enumerate([*(column[1] for column in columns), ticks]):
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


def _value(row: Mapping[str, object], by: str) -> float:
    """What a trial came to, or nan."""
    value = row.get(by)
    return float(value) if isinstance(value, SupportsFloat) else math.nan


def _heights(values: Sequence[Any]) -> tuple[Array, list[tuple[float, str]]]:
    """Where values stand on an axis from 0 to 1, and what is written there.

    Numbers over more than a factor of 20 stand by their logarithms, words side by side.
    """
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    levels = _levels(v for v in values if not (isinstance(v, float) and math.isnan(v)))
    if not numeric or len(levels) < 2:
        at = np.linspace(0, 1, len(levels)) if len(levels) > 1 else np.array([0.5])
        by_level = dict(zip(map(repr, levels), at.tolist()))
        return (np.array([by_level.get(repr(v), math.nan) for v in values]),
                [*zip(at.tolist(), _text(levels))])
    numbers = np.array(values, float)
    low, high = float(levels[0]), float(levels[-1])
    by_logarithm = low > 0 and high / low > 20
    along = np.log(numbers) if by_logarithm else numbers
    ends = np.log([low, high]) if by_logarithm else np.array([low, high])
    marks = levels if len(levels) <= 8 else (
        np.geomspace(low, high, 5) if by_logarithm else np.linspace(low, high, 5)).tolist()
    where = (np.log(marks) if by_logarithm else np.array(marks, float)) - ends[0]
    return ((along - ends[0]) / (ends[1] - ends[0]),
            [*zip((where / (ends[1] - ends[0])).tolist(), _text(marks))])


def _levels(values: Iterable[Any]) -> list[Any]:
    """Different values, numbers in order of size."""
    found = list({repr(v): v for v in values}.values())
    try:
        return sorted(found)
    except (TypeError, ValueError):                        # ValueError: arrays
        return found


def _text(levels: Sequence[object]) -> list[str]:
    return [f"{v:.3g}" if isinstance(v, float) else str(v) for v in levels]


def _scaled(values: Array) -> tuple[Array, str]:
    """Values over more than a factor of 20 by their logarithms, and how that is said."""
    seen = values[np.isfinite(values)]
    if len(seen) and seen.min() > 0 and seen.max() > 20 * seen.min():
        return np.log(values), ", colours by logarithm"
    return values, ""
