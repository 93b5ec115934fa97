"""Descents of a function of one number, as pictures and animations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_opt.viz.plots.descending import Descent, outcome
from tinygrad_opt.viz.plots.film import Film
from tinygrad_opt.viz.plots.moving import Dot, Line, Part, Stroke, Words, arrow, within
from tinygrad_opt.viz.plots.numbers import stacked
from tinygrad_opt.viz.plots.style import figure, halo, legend_below, styled
from tinygrad_opt.viz.plots.tracks import Track
from tinygrad_opt.viz.theme import Theme, theme_of

__all__ = ["animate_descent", "plot_descent"]

Array = np.ndarray


def plot_descent(
    descents: Descent | Sequence[Descent],
    *,
    theme: str = "light",
    size: tuple[float, float] | None = None,
    columns: int = 3,
) -> Any:
    """Descents of functions of one number: the curve, and where each step came to.

    The points go from green to red as steps go by.

    Parameters
    ----------
    descents : Descent or sequence of Descent
        Each gets an axes of its own, entitled with its label and its outcome.
    theme : {"light", "dark"}
    size : (float, float), optional
        Width and height in inches of 100 dots.
    columns : int
        Axes in a row, at most.

    Returns
    -------
    matplotlib.figure.Figure
    """
    runs = [descents] if isinstance(descents, Descent) else list(descents)
    if not runs:
        raise ValueError("plot_descent needs at least one descent.")
    page = theme_of(theme)
    wide = min(columns, len(runs))
    high = -(-len(runs) // wide)
    made = figure(size or (max(3.3 * wide, 5.0), 2.7 * high), page, layout="constrained")
    made.numbers = stacked("run", [(r.label or str(i), r.columns()) for i, r in enumerate(runs)])
    with styled(page):
        for run, ax in zip(runs, made.subplots(high, wide, squeeze=False).flat):
            _curve(ax, run, page)
            points = within(ax, run.track.points[:, 0], run.track.values)
            ax.plot(*points.T, color=page.muted, linewidth=0.5, alpha=0.5, zorder=2)
            ax.scatter(*points.T, c=_colors(len(points), page), s=24, edgecolors=page.page,
                       linewidths=0.5, zorder=3)
            ax.plot(*points[:1].T, "o", markerfacecolor="none", markeredgecolor=page.ink,
                    markersize=10, zorder=4)
            lost = run.track.diverged is not None
            ax.set_title(f"{run.label}\n{outcome(run)}".strip(),
                         color=page.alarm if lost else page.text, fontsize=9)
        for ax in made.axes[len(runs):]:
            ax.set_axis_off()
    return made


def animate_descent(
    descent: Descent,
    *,
    frames: int = 100,
    fps: float = 12,
    theme: str = "light",
    size: tuple[float, float] = (6.4, 4.0),
) -> Film:
    """One descent, step by step, with the tangent and the step to come.

    Parameters
    ----------
    descent : Descent
    frames : int
        At most so many; the steps are spread over them evenly.
    fps, theme, size
        As in `plot_descent`.

    Returns
    -------
    Film
    """
    page, track = theme_of(theme), descent.track
    at = np.unique(np.linspace(0, track.steps, min(frames, track.steps + 1)).round().astype(int))
    made = figure(size, page, layout="constrained")
    with styled(page):
        ax = made.subplots()
        _curve(ax, descent, page)
        ax.set_title(descent.label or " ")
        for color, label in ((_tangent_color(page), "tangent"),
                             (page.color("purple"), "next step")):
            ax.plot([], [], color=color, linewidth=2, label=label)
        legend_below(made)
        made.canvas.draw()
        made.set_layout_engine("none")
        parts = _moving(ax, descent, at, page)
        note = ax.text(0.5, 0.97, "", transform=ax.transAxes, ha="center", va="top", fontsize=10,
                       fontweight="bold", path_effects=halo(page), zorder=9)
        words = [_caption(track, t) for t in at]
        words[-1] = f"step {track.steps}: {outcome(descent)}"
        parts.append(Words(note, words))
    return Film(made, parts, len(at), theme=page, fps=fps, title=descent.label or "descent",
                numbers=descent.columns())


def _moving(ax: Any, run: Descent, at: Array, page: Theme) -> list[Part]:
    track = run.track
    x, y = track.points[:, 0], track.values
    slope = track.gradients[:, 0]
    half = 0.09 * (run.x[1] - run.x[0])
    with np.errstate(all="ignore"):
        tangent = [np.stack([x[at] - half, x[at] + half], 1),
                   np.stack([y[at] - half * slope[at], y[at] + half * slope[at]], 1)]
        nxt = np.minimum(at + 1, track.steps)
        step = arrow(ax, x[at], y[at], x[nxt] - x[at], np.zeros(len(at)))
    parts: list[Part] = []
    colors = _colors(len(x), page)
    # the points behind are drawn in a few groups of one colour, and not one by one
    for some in np.array_split(np.arange(len(x)), min(len(x), 12)):
        until = np.clip(at + 1 - some[0], 0, len(some)).tolist()
        parts.append(Line(ax, x[some], y[some], until, linestyle="none", marker="o", markersize=5,
                          color=colors[some[0]], markeredgecolor=page.page, markeredgewidth=0.4,
                          zorder=3))
    parts.append(Stroke(ax, *tangent, color=_tangent_color(page), linewidth=2, zorder=5))
    parts.append(Stroke(ax, *step, color=page.color("purple"), linewidth=2, zorder=5))
    parts.append(Dot(ax, x[at], y[at], color=page.color("vermillion"), marker="o", markersize=9,
                     markeredgecolor=page.page, markeredgewidth=1, zorder=6))
    return parts


def _curve(ax: Any, run: Descent, page: Theme) -> None:
    """The function over its view, with room above for what is said."""
    x = np.linspace(*run.x, 400)
    with np.errstate(all="ignore"):
        y = np.array([float(run.f(v)) for v in x])
    low, high = np.nanmin(y), np.nanmax(y)
    ax.plot(x, y, color=page.ink, linewidth=1.4, zorder=1)
    ax.set(xlim=run.x, ylim=(low - 0.1 * (high - low), high + 0.2 * (high - low)))
    ax.set(xlabel="x", ylabel="f(x)")


def _tangent_color(page: Theme) -> str:
    return page.color("blue" if page.name == "light" else "sky")


def _caption(track: Track, t: int) -> str:
    return f"step {t}   x = {track.points[t, 0]:.3f}   f′ = {track.gradients[t, 0]:+.2g}"


def _colors(n: int, page: Theme) -> Array:
    """From green to red, through a light yellow; the last of them stand out from the page."""
    from matplotlib.colors import LinearSegmentedColormap

    last = "#8B1A00" if page.name == "light" else "#FF7A5C"
    scale = LinearSegmentedColormap.from_list("steps", ["#009E73", "#F0E442", "#D55E00", last])
    return scale(np.linspace(0, 1, n))
