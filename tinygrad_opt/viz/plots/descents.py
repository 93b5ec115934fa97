"""Descents of a function of one number: run, drawn and animated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.typing import Array, Unpack
from tinygrad_opt.viz.animation.film import Film, filmed
from tinygrad_opt.viz.animation.moving import Line, Part, Words, arrow, note, within
from tinygrad_opt.viz.figures import Axes, Options, Picture, drawing, legend_below, panels, through
from tinygrad_opt.viz.plots.surfaces import Height
from tinygrad_opt.viz.plots.trajectories import Track, check_optimizers, pace, paced, run
from tinygrad_opt.viz.tables import Table, stacked
from tinygrad_opt.viz.theme import Theme

__all__ = ["RUNS", "START", "VIEW", "Descent", "animate_descent", "descend_1d", "outcome",
           "plot_descent", "valleys"]


# what rate and momentum make of a descent of `valleys`, by optimizers as `optim.get` reads them
START, VIEW = 4.7, (-5.5, 5.5)
RUNS = {
    "stuck": "sgd:lr=0.01",                                # in the first valley
    "another": "sgd:lr=0.8,decay=0.2",                     # minimum, beyond the global one
    "close": "sgd:lr=0.18",                                # to the global one, a valley before it
    "200-steps": "momentum:lr=0.002,momentum=0.975",       # a very small rate, a large momentum
    "100-steps": "momentum:lr=0.01,momentum=0.95",
    "50-steps": "momentum:lr=0.03,momentum=0.9",
    "fairly-fast": "momentum:lr=0.18,momentum=0.7",
    "a-few-steps": "momentum:lr=0.28,momentum=0.3",
    "leaving": "momentum:lr=0.15,momentum=0.9",            # it was in the global minimum
    "jumping": "sgd:lr=0.6",
    "exploding": "sgd:lr=1.5",
}


def valleys(x: Height) -> Height:
    """x⁴/100 + x²/20 − cos 3x + 1: minima at ±3.83, at ±2.03 and, the global one, at 0."""
    return x**4 / 100 + x**2 / 20 - np.cos(3 * x) + 1


@dataclass(frozen=True)
class Descent(Table):
    """What `descend_1d` returns: a function of one number, the view and the track.

    Attributes
    ----------
    f : callable
    x : (float, float)
        The view.
    track : Track
        With points of shape (n_steps + 1, 1).
    label : str
    """

    f: Callable[..., Height]
    x: tuple[float, float]
    track: Track
    label: str = ""

    def columns(self) -> dict[str, Array]:
        """Every point, value and slope: one row a step."""
        t = self.track
        return {"step": np.arange(len(t.points)), "x": t.points[:, 0], "value": t.values,
                "slope": t.gradients[:, 0]}

    def plot(self, **options: Unpack[Options]) -> Picture:
        """The same as `plot_descent`."""
        return plot_descent(self, **options)

    def __str__(self) -> str:
        t = self.track
        name = f"{self.label}: " if self.label else ""
        where = f"after {t.steps} steps x = {t.points[-1, 0]:.4g}, f = {t.values[-1]:.4g}"
        lost = "" if t.diverged is None else f" (diverged at step {t.diverged})"
        return f"{name}{where}{lost}"


def descend_1d(
    f: Callable[..., Height],
    optimizer: object,
    start: float,
    steps: int = 100,
    *,
    x: tuple[float, float] = (-2.0, 2.0),
    label: str = "",
    watch: Callable[[int, float, float], object] | None = None,
) -> Descent:
    """Run an optimizer down a function of one number.

    Parameters
    ----------
    f : callable
        ``f(x)`` in NumPy functions and operators.
    optimizer
        As in `race`.
    start : float
    steps : int, at least 1
    x : (float, float)
        The view.
    label : str
        What the picture says about the setting.
    watch : callable, optional
        ``watch(step, x, value)`` is called while it runs, the start being step 0.

    Returns
    -------
    Descent

    Examples
    --------
    >>> class Quarter:
    ...     def __init__(self, parameters):
    ...         self.x = parameters["x"]
    ...     def step(self):
    ...         self.x.data = self.x.data - 0.25 * self.x.grad
    ...     def zero_grad(self):
    ...         self.x.grad = None
    >>> descend_1d(lambda x: x**2, Quarter, 2.0, steps=2).track.points.ravel().tolist()
    [2.0, 1.0, 0.5]
    """
    check_optimizers({"it": optimizer}, steps)
    if not math.isfinite(start):
        raise ValueError(f"start must be a number, got {start!r}.")
    track = run(f, optimizer, (float(start),), steps, ("x",), [x], watch)
    return Descent(f, (float(x[0]), float(x[1])), track, label)


def outcome(descent: Descent) -> str:
    """What became of a run, in words."""
    track, n = descent.track, descent.track.steps
    if track.diverged is not None:
        return f"exploded at step {track.diverged}"
    x, end = track.points[:, 0], f"x = {round(track.points[-1, 0], 2) + 0.0:.2f}"
    settled = track.reaches(track.points[-1], 0.01 * np.ptp(descent.x)) or 0
    late = abs(x[-1] - x[-1 - n // 4])                       # how far it went in the last quarter
    if settled > 0.9 * n or late > 0.1 * abs(x[-1] - x[0]):
        half = x[n // 2:]
        moves = np.diff(half)
        there_and_back = np.mean(moves[1:] * moves[:-1] < 0) > 0.25
        if there_and_back and np.ptp(half) > 0.05 * np.ptp(descent.x):
            return f"jumps about, after {n} steps at {end}"
        return f"still on its way after {n} steps, at {end}"
    return f"settled at {end} in {settled} steps"


# ---- pictures ------------------------------------------------------------------------------------


def plot_descent(
    descents: Descent | Sequence[Descent], *, columns: int = 3, **options: Unpack[Options]
) -> Picture:
    """Descents of functions of one number: the curve, and where each step came to.

    The points go from green to red on their way. The view of a run that explodes grows with it.

    Parameters
    ----------
    descents : Descent or sequence of Descent
        Each gets an axes of its own, entitled with its label and its outcome.
    columns : int
        Axes in a row, at most.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    runs = [descents] if isinstance(descents, Descent) else list(descents)
    if not runs:
        raise ValueError("plot_descent needs at least one descent.")
    wide = min(columns, len(runs))
    size = max(3.3 * wide, 5.0), 2.7 * -(-len(runs) // wide)
    numbers = stacked("run", [(r.label or str(i), r.columns()) for i, r in enumerate(runs)])
    with drawing(size, numbers, **options) as (made, page):
        for run, ax in zip(runs, panels(made, len(runs), wide)):
            _draw_curve(ax, run, page)
            x, y = within(ax, run.track.points[:, 0], run.track.values).T
            ax.plot(x, y, color=page.muted, linewidth=0.5, alpha=0.5, zorder=2)
            ax.scatter(x, y, c=_colors(run, page), s=24, edgecolors=page.page,
                       linewidths=0.5, zorder=3)
            ax.plot(x[:1], y[:1], "o", markerfacecolor="none", markeredgecolor=page.ink,
                    markersize=10, zorder=4)
            lost = run.track.diverged is not None
            ax.set_title(f"{run.label}\n{outcome(run)}".strip(),
                         color=page.alarm if lost else page.text, fontsize=9)
    return made


def animate_descent(
    descent: Descent, *, frames: int = 100, fps: float = 12, **options: Unpack[Options]
) -> Film:
    """One descent, step by step, with the tangent and the step to come.

    Parameters
    ----------
    descent : Descent
    frames : int
        At most so many; where the path goes far, they are close in steps.
    fps : float
        Frames a second.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    Film
    """
    track = descent.track
    at = paced([track], np.ptp(descent.x), frames)

    def draw(options: Options) -> tuple[Picture, list[Part]]:
        with drawing((6.4, 4.0), descent.columns(), **options) as (made, page):
            ax = made.subplots()
            _draw_curve(ax, descent, page)
            ax.set_title(descent.label or " ")
            for hue, label in (("gradient", "tangent"), ("purple", "next step")):
                ax.plot([], [], color=page.color(hue), linewidth=2, label=label)
            legend_below(made)
            made.canvas.draw()
            made.set_layout_engine("none")
            return made, _moving(ax, descent, at, page)
    return filmed(draw, len(at), options, fps=fps, title=descent.label or "descent")


def _moving(ax: Axes, descent: Descent, at: Array, page: Theme) -> list[Part]:
    track = descent.track
    x, y, slope = track.points[:, 0], track.values, track.gradients[:, 0]
    half = 0.09 * np.ptp(_view(descent)) * np.array([-1, 1])
    with np.errstate(all="ignore"):
        tangent = x[at, None] + half, y[at, None] + half * slope[at, None]
        after = np.minimum(at + 1, track.steps)
        step = arrow(ax, x[at], y[at], x[after] - x[at], np.zeros(len(at)))
    parts: list[Part] = []
    colors = _colors(descent, page)
    # the points behind are drawn in a few groups of one colour, and not one by one
    group = (12 * pace([track], np.ptp(descent.x))).astype(int)
    for some in (np.flatnonzero(group == g) for g in np.unique(group)):
        until = np.clip(at + 1 - some[0], 0, len(some))
        parts.append(Line(ax, x[some], y[some], until, linestyle="none", marker="o", markersize=5,
                          color=colors[some[0]], markeredgecolor=page.page, markeredgewidth=0.4,
                          zorder=3))
    for points, hue in ((tangent, "gradient"), (step, "purple")):
        parts.append(Line(ax, *points, color=page.color(hue), linewidth=2, zorder=5))
    parts.append(Line(ax, x[at, None], y[at, None], linestyle="none", marker="o", markersize=9,
                      color=page.value, markeredgecolor=page.page, markeredgewidth=1, zorder=6))
    words = [f"step {t}   x = {x[t]:.3f}   f′ = {slope[t]:+.3g}" for t in at]
    parts.append(Words(note(ax, 0.5, 0.97, ha="center", va="top", fontsize=10),
                       [*words[:-1], f"step {track.steps}: {outcome(descent)}"]))
    return parts


def _draw_curve(ax: Axes, descent: Descent, page: Theme) -> None:
    """The function over its view, with room above for what is said."""
    view = _view(descent)
    x = np.linspace(*view, 400)
    with np.errstate(all="ignore"):
        y = np.array([float(descent.f(v)) for v in x])
    low, high = np.nanmin(y), np.nanmax(y)
    ax.grid(False)
    ax.plot(x, y, color=page.ink, linewidth=1.4, zorder=1)
    ax.set(xlim=view, ylim=(low - 0.1 * (high - low), high + 0.2 * (high - low)),
           xlabel="x", ylabel="f(x)")


def _view(descent: Descent) -> tuple[float, float]:
    """The view, of a run that explodes so far that its first steps are seen."""
    low, high = descent.x
    if descent.track.diverged is None:
        return low, high
    x = descent.track.points[:, 0]
    near = (x > 3 * low - 2 * high) & (x < 3 * high - 2 * low)
    seen = x[: len(x) if near.all() else int(near.argmin())]
    room = 0.03 * np.ptp([low, high, *seen])
    return min(low, *(seen - room)), max(high, *(seen + room))


def _colors(descent: Descent, page: Theme) -> Array:
    """From green to red on the way; the last of them stand out from the page."""
    hues = [page.color(hue) for hue in ("green", "yellow", "vermillion", "late")]
    result: Array = through(hues)(pace([descent.track], np.ptp(descent.x)))
    return result
