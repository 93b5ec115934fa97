"""Races of optimizers across a surface, all from one start: run, drawn and animated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.viz.animation.film import Film, in_theme
from tinygrad_opt.viz.animation.moving import Dot, Line, Part, Stroke, Words, arrow, within
from tinygrad_opt.viz.figures import Options, Unpack, drawing, halo, legend_below, pale, styled
from tinygrad_opt.viz.plots.surfaces import Surface, surface
from tinygrad_opt.viz.plots.trajectories import FAR, Track, check_optimizers, paced, run
from tinygrad_opt.viz.tables import Table, aligned, stacked
from tinygrad_opt.viz.theme import looks

__all__ = ["Race", "animate_race", "follow", "plot_race", "race"]

Array = np.ndarray


@dataclass(frozen=True)
class Race(Table):
    """What `race` returns: the tracks by name, and what they were run on."""

    surface: Surface
    tracks: dict[str, Track] = field(repr=False)

    def __getitem__(self, name: str) -> Track:
        return self.tracks[name]

    def columns(self) -> dict[str, Array]:
        """Every point, value and gradient: one row a step, track after track."""
        a, b = self.surface.axes
        return stacked("optimizer", [(name, {
            "step": np.arange(len(track.points)),
            a: track.points[:, 0], b: track.points[:, 1], "value": track.values,
            f"d_{a}": track.gradients[:, 0], f"d_{b}": track.gradients[:, 1],
        }) for name, track in self.tracks.items()])

    def arrived(self, name: str) -> int | None:
        """The step from which a track stays within a hundredth of the view of a minimum."""
        near = math.hypot(np.ptp(self.surface.x), np.ptp(self.surface.y)) / 100
        steps = [self[name].reaches(m, near) for m in self.surface.minima]
        return min((s for s in steps if s is not None), default=None)

    def __str__(self) -> str:
        """A table: where each ended, and after how many steps it stayed at a minimum."""
        lines = [["optimizer", "steps", *self.surface.axes, "value", "arrived"]]
        for name, track in self.tracks.items():
            arrived = self.arrived(name)
            end = "" if arrived is None else f"step {arrived}"
            if track.diverged is not None:
                end = f"diverged at step {track.diverged}"
            lines.append([name, str(track.steps), *(f"{v:.4g}" for v in track.points[-1]),
                          f"{track.values[-1]:.3g}", end])
        return aligned(lines, left=(0, 5))


def race(
    f: Any,
    optimizers: Mapping[str, Any],
    start: Sequence[float] | None = None,
    steps: int = 100,
    *,
    watch: Callable[[int, int], Any] | None = None,
) -> Race:
    """Run optimizers over a surface, all from one start, and keep their paths.

    Parameters
    ----------
    f : str, callable or Surface
        As in `surface`.
    optimizers : dict of str to optimizer or callable
        By the name to be shown: an unbound optimizer that has not stepped yet, or whatever
        makes an optimizer when given the parameters, such as its class.
    start : (float, float), optional
        By default the surface's own.
    steps : int, at least 1
    watch : callable, optional
        ``watch(done, all)`` after each step of all that are to be taken.

    Returns
    -------
    Race

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense; nothing has been run then.

    Notes
    -----
    The two numbers are float64 parameters of shape (), called as the surface's axes are. A run
    ends early when a value or a gradient is not finite, or when it is 100 views away.

    Examples
    --------
    >>> class Descent:
    ...     t = 0
    ...     def update(self, params, grads):
    ...         for name, p in params.items():
    ...             p -= 0.1 * grads[name]
    >>> run = race(lambda x, y: x**2 + y**2, {"descent": Descent()}, (1.0, 2.0), steps=2)
    >>> run["descent"].points.round(2).tolist()
    [[1.0, 2.0], [0.8, 1.6], [0.64, 1.28]]
    """
    f = surface(f)
    at = tuple(map(float, f.start if start is None else start))
    if len(at) != 2 or not all(map(math.isfinite, at)):
        raise ValueError(f"start must be two numbers, got {start!r}.")
    check_optimizers(optimizers, steps)
    size = FAR * math.hypot(np.ptp(f.x), np.ptp(f.y))
    middle = np.array([sum(f.x) / 2, sum(f.y) / 2])
    tracks: dict[str, Track] = {}
    total = steps * len(optimizers)
    for name, given in optimizers.items():
        tell = _counting(watch, steps * len(tracks), total) if watch else None
        tracks[name] = run(f, given, at, steps, f.axes,
                           lambda p: np.hypot(*(p - middle)) > size, tell)
    if watch:
        watch(total, total)                        # a run that was lost took fewer
    return Race(f, tracks)


def _counting(watch: Callable[[int, int], Any], before: int, total: int) -> Any:
    return lambda step, *_: watch(before + step, total)


def follow(f: Any, points: Any) -> Track:
    """The track of points that something else has found, such as the path of a minimisation.

    Parameters
    ----------
    f : str, callable or Surface
        As in `surface`.
    points : array-like of shape (n_steps + 1, 2)

    Returns
    -------
    Track
        To be drawn alone or beside others: ``Race(surface, {**other.tracks, "CG": track})``.

    Examples
    --------
    >>> follow(lambda x, y: x**2 + y**2, [(3.0, 4.0), (0.0, 1.0)]).values.tolist()
    [25.0, 1.0]
    """
    f, points = surface(f), np.array(points, float)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ShapeError(f"points of a track have the shape (n_steps + 1, 2), got {points.shape}.")
    with np.errstate(all="ignore"):
        values = np.array([float(f(*p)) for p in points])
        gradients = np.array([f.gradient(*p) for p in points])
    finite = np.isfinite(np.column_stack([points, values, gradients])).all(1)
    lost = None if finite.all() else int((~finite).argmax())
    end = None if lost is None else lost + 1
    return Track(points[:end], values[:end], gradients[:end], lost)


# ---- pictures ------------------------------------------------------------------------------------


def plot_race(
    race: Race, *, cmap: str = "viridis", arrows: str | None = None, **options: Unpack[Options]
) -> Any:
    """All paths of a race over the contours of its surface, and the value against the step.

    Parameters
    ----------
    race : Race
    cmap : str
        Matplotlib colour map of the heights; ``"coolwarm"`` is red high and blue low.
    arrows : str, optional
        Name of the optimizer whose gradient and last step are drawn as arrows, at some of its
        points: a step of momentum is a mixture of the two.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    stage = _RaceStage(race, cmap, arrows, options)
    stage.draw_paths()
    return stage.figure


def animate_race(
    race: Race, *, frames: int = 100, fps: float = 15, cmap: str = "viridis",
    arrows: str | None = None, **options: Unpack[Options],
) -> Film:
    """The same, growing step by step.

    Parameters
    ----------
    race : Race
    frames : int
        At most so many; where the paths go far, they are close in steps.
    fps : float
        Frames a second.
    cmap, arrows, **options
        As in `plot_race`, the arrows at the latest point.

    Returns
    -------
    Film
        ``film.save("race.gif")``.
    """
    view = np.ptp(race.surface.x), np.ptp(race.surface.y)
    at = paced(list(race.tracks.values()), view, frames)

    def film(options: Any) -> Film:
        stage = _RaceStage(race, cmap, arrows, options)
        return Film(stage.figure, stage.parts(at), len(at), theme=stage.theme, fps=fps,
                    title=options.get("title") or f"race on {race.surface.name}",
                    numbers=race.columns())
    return in_theme(film, options)


class _RaceStage:
    """The axes of a race: the map, and the heights against the steps."""

    def __init__(self, race: Race, cmap: str, arrows: str | None, options: Any) -> None:
        self.race, self.arrows = race, arrows
        if arrows is not None and arrows not in race.tracks:
            raise ValueError(f"no {arrows!r} took part; there were: {', '.join(race.tracks)}.")
        self.watched = None if arrows is None else race[arrows]
        with drawing((9.6, 4.8), race.columns(), **options) as (self.figure, self.theme):
            self.looks = looks(race.tracks, self.theme)
            self.map, self.curve = self.figure.subplots(1, 2, width_ratios=(1.25, 1))
            self._draw_map(cmap)
            self._draw_curve()
            self._legend()
            self.figure.canvas.draw()
        self.figure.set_layout_engine("none")

    def _draw_map(self, cmap: str) -> None:
        from matplotlib.ticker import MaxNLocator

        s, ax, page = self.race.surface, self.map, self.theme
        x, y, z = s.grid(160)
        z = np.where(np.isfinite(z), z, np.nan)
        low = np.nanmin(z)
        height = np.log10(z - low + 1e-3 * (np.nanmax(z) - low) ** 0.5) if s.log else z
        levels = np.linspace(np.nanmin(height), np.nanmax(height), 24)
        filled = ax.contourf(x, y, height, levels=levels, cmap=pale(cmap, page, 0.55), zorder=0)
        bar = self.figure.colorbar(filled, ax=ax, shrink=0.9, pad=0.02, aspect=30,
                                   ticks=MaxNLocator(5))
        bar.outline.set_visible(False)
        if s.log:
            most = np.floor(np.log10(np.nanmax(z) - low))
            marks = 10.0 ** np.arange(most - 3, most + 1)
            shift = 1e-3 * (np.nanmax(z) - low) ** 0.5
            base = low if abs(low) > marks[0] / 50 else 0.0    # the grid may miss the minimum
            bar.set_ticks(np.log10(marks + shift), labels=[f"{base + mark:,.4g}" for mark in marks])
        ax.contour(x, y, height, levels=levels, colors=page.ink, alpha=0.16, linewidths=0.6,
                   linestyles="solid", zorder=0.5)
        for a, b in s.minima:
            ax.plot(a, b, "*", color=page.star, markeredgecolor="#000000", markersize=13,
                    zorder=10)
        ax.set(xlim=s.x, ylim=s.y, xlabel=s.axes[0], ylabel=s.axes[1])
        ax.set_title(f"{s.name}: f({', '.join(s.axes)}) = {s.formula}" if s.formula else s.name,
                     fontsize=9.5)
        start = next(iter(self.race.tracks.values())).points[0]
        ax.plot(*start, "o", markerfacecolor=page.page, markeredgecolor=page.ink, markersize=8,
                zorder=2)
        ax.annotate("start", start, (0, 7), textcoords="offset points", ha="center", va="bottom",
                    fontsize=8, path_effects=halo(page), zorder=7)

    def _draw_curve(self) -> None:
        tracks, ax, s = self.race.tracks, self.curve, self.race.surface
        bottom = _floor(s, tracks.values())
        self.heights = {name: t.values - bottom for name, t in tracks.items()}
        finite = np.concatenate([h[np.isfinite(h)] for h in self.heights.values()])
        first = next(iter(self.heights.values()))[0]
        ax.set(xlabel="step", xlim=(0, max(t.steps for t in tracks.values())))
        name = f"f({', '.join(s.axes)})"
        ax.set_title(name if not bottom else f"{name} − minimum")
        if s.log or 0 < 1e3 * finite.min() < finite.max():
            least = max(finite[finite > 0].min(initial=first), 1e-12 * max(first, 1e-12))
            ax.set(yscale="log", ylim=(least / 2, 20 * max(first, least)))
            # the logarithm of 0 is off the picture
            self.heights = {n: np.maximum(h, least / 2) for n, h in self.heights.items()}
        else:
            seen = np.clip(finite, None, finite.min() + 3 * max(first - finite.min(), 1e-9))
            room = 0.06 * (np.ptp(seen) or 1)
            ax.set_ylim(seen.min() - room, seen.max() + room)
        ax.grid(True, alpha=0.6)

    def _legend(self) -> None:
        from matplotlib.lines import Line2D

        handles = []
        for name in self.race.tracks:
            pen, stamp = self._pens(name)
            del pen["path_effects"], pen["zorder"]
            handles.append(Line2D([], [], label=name, **{**stamp, **pen}, markersize=6))
        if self.watched:
            labels = (f"−gradient of {self.arrows}", "its last step (momentum)")
            handles += [Line2D([], [], color=self.theme.color(hue), linewidth=1.8, label=label)
                        for hue, label in zip(ARROWS, labels)]
        legend_below(self.figure, handles, columns=7)

    def draw_paths(self) -> None:
        """All paths to their ends."""
        with styled(self.theme):
            for i, name in enumerate(self.race.tracks):
                pen, stamp = self._pens(name)
                for ax, points in self._lines(name):
                    seen = within(ax, *points.T)
                    ax.plot(*seen.T, **pen)
                    # markers are as many steps apart on all lines, and not above each other
                    apart = max(len(points) // 8, 1)
                    first = apart * (i + 1) // (len(self.race.tracks) + 1)
                    ax.plot(*seen[first::apart].T, **stamp, linestyle="none", markersize=5.5)
                self._mark_end(name)
            if self.watched:
                view = np.ptp(self.race.surface.x), np.ptp(self.race.surface.y)
                for x, y, options in self._arrows(paced([self.watched], view, 14)[1:-1]):
                    self.map.plot(x.T, y.T, **options)

    def parts(self, at: Array) -> list[Part]:
        """What moves, in frames that show the steps `at`."""
        tracks = self.race.tracks
        parts: list[Part] = []
        with styled(self.theme):
            for name, track in tracks.items():
                until = np.minimum(at, track.steps)
                pen, stamp = self._pens(name)
                for ax, points in self._lines(name):
                    end = np.minimum(until, len(points) - 1)
                    x, y = points.T
                    parts += [Line(ax, x, y, (end + 1).tolist(), **pen),
                              Dot(ax, x[end], y[end], **stamp, markersize=8)]
            if self.watched:
                parts += [Stroke(self.map, x, y, **options) for x, y, options
                          in self._arrows(np.minimum(at, self.watched.steps))]
            parts.append(Words(self._note(self.curve, 0.98, 0.98, ha="right", va="top",
                                          fontsize=11), [f"step {t}" for t in at]))
            lost = {n: t.diverged for n, t in tracks.items() if t.diverged is not None}
            parts.append(Words(
                self._note(self.map, 0.02, 0.02, va="bottom", color=self.theme.alarm, fontsize=8),
                [", ".join(f"{n} diverged at step {k}" for n, k in lost.items() if k <= t)
                 for t in at]))
        return parts

    # ---- details ---------------------------------------------------------------------------------

    def _lines(self, name: str) -> list[tuple[Any, Array]]:
        """The path on the map, of a lost run until it leaves the view, and the heights."""
        track, heights = self.race[name], self.heights[name]
        until = None if track.diverged is None else self._inside(track) + 2
        return [(self.map, track.points[:until]),
                (self.curve, np.column_stack([np.arange(len(heights)), heights]))]

    def _pens(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """How the line and the markers of an optimizer are drawn."""
        look = self.looks[name]
        return ({"color": look.color, "linestyle": look.dashes, "linewidth": 2.0, "zorder": 5,
                 "path_effects": halo(self.theme)},
                {"color": look.color, "marker": look.marker, "zorder": 6,
                 "markeredgecolor": self.theme.page, "markeredgewidth": 0.6})

    def _note(self, ax: Any, x: float, y: float, **options: Any) -> Any:
        """A text in a corner, for what is said in each frame."""
        box = {"facecolor": self.theme.page, "alpha": 0.8, "linewidth": 0, "pad": 2}
        return ax.text(x, y, "", transform=ax.transAxes, fontweight="bold", zorder=8, bbox=box,
                       **options)

    def _mark_end(self, name: str) -> None:
        """The end of a path, and where a lost one left the picture."""
        track, page = self.race[name], self.theme
        if track.diverged is None:
            end = within(self.map, *track.points.T)[-1]
            self.map.plot(*end, **self._pens(name)[1], markersize=9, linestyle="none")
            return
        at = track.points[self._inside(track)]
        down = at[1] > sum(self.race.surface.y) / 2         # away from the title
        self.map.annotate(f"{name} diverged\nat step {track.diverged}", at,
                          (0, -14 if down else 14), textcoords="offset points", ha="center",
                          va="top" if down else "bottom", color=page.alarm, fontsize=8,
                          fontweight="bold", zorder=8, path_effects=halo(page),
                          arrowprops={"arrowstyle": "-", "color": page.alarm})

    def _inside(self, track: Track) -> int:
        """The last point of a track before it left the view."""
        (x0, x1), (y0, y1) = self.race.surface.x, self.race.surface.y
        x, y = track.points.T
        outside = ~((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
        return max(int(outside.argmax()) - 1, 0) if outside.any() else track.steps

    def _arrows(self, at: Array) -> Any:
        """The direction against the gradient, and the last step, each of a length to be seen."""
        track: Any = self.watched
        view = np.array([np.ptp(self.race.surface.x), np.ptp(self.race.surface.y)])
        last = track.points[at] - track.points[np.maximum(at - 1, 0)]
        for direction, hue in zip((-track.gradients[at], last), ARROWS):
            with np.errstate(all="ignore"):
                length = np.hypot(*(direction / view).T)[:, None]
                shown = direction / length * 0.09 * np.tanh(length / np.nanmedian(length))
            x, y = arrow(self.map, *track.points[at].T, *np.nan_to_num(shown).T)
            yield x, y, {"color": self.theme.color(hue), "linewidth": 1.8, "zorder": 7,
                         "solid_capstyle": "round"}


ARROWS = ("gradient", "value")                 # colours of the theme: −gradient, the last step


def _floor(surface: Any, tracks: Any) -> float:
    """The height that a logarithmic scale counts from: the minimum, where it is known."""
    if not surface.log:
        return 0.0
    known = [float(surface(*m)) for m in surface.minima]
    seen = min(float(np.nanmin(np.where(np.isfinite(t.values), t.values, np.nan))) for t in tracks)
    bottom = min([*known, seen]) if known or seen < 0 else 0.0
    return bottom if abs(bottom) > 1e-6 else 0.0
