"""Races of optimizers across a surface, all from one start: run, drawn and animated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.markup import aligned, html_table
from tinygrad_opt.typing import Array, ArrayLike
from tinygrad_opt.viz.animation.film import Film, filmed
from tinygrad_opt.viz.animation.moving import Line, Part, Words, arrow, note, within
from tinygrad_opt.viz.figures import (
    Axes,
    Options,
    Picture,
    Unpack,
    contours,
    drawing,
    embedded,
    halo,
    legend_below,
)
from tinygrad_opt.viz.plots.surfaces import Surface, SurfaceLike, surface
from tinygrad_opt.viz.plots.trajectories import Track, check_optimizers, paced, run
from tinygrad_opt.viz.tables import Table, stacked
from tinygrad_opt.viz.theme import Stroke, Theme, looks

__all__ = ["Race", "animate_race", "follow", "plot_race", "race"]



@dataclass(frozen=True)
class Race(Table):
    """What `race` returns: the tracks by name, and what they were run on."""

    surface: Surface
    tracks: dict[str, Track] = field(repr=False)
    unit: str = "step"

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

    def plot(self, **options: Unpack[Options]) -> Picture:
        """The same as `plot_race`."""
        return plot_race(self, **options)

    def arrived(self, name: str) -> int | None:
        """The step from which a track stays within a hundredth of the view of a minimum."""
        near = math.hypot(*self.surface.size) / 100
        steps = [self[name].reaches(m, near) for m in self.surface.minima]
        return min((s for s in steps if s is not None), default=None)

    def _stuck(self, track: Track) -> str:
        """What there is to say of a track that has not arrived: whether it has come to rest."""
        last = np.hypot(*(np.ptp(track.points[-1 - track.steps // 4:], axis=0) / self.surface.size))
        if track.steps <= 9 or last >= 0.01:
            return ""
        return "rests elsewhere" if self.surface.minima else "at rest"

    def _rows(self) -> list[list[str]]:
        """Where each ended, and after how many steps it stayed at a minimum."""
        lines = [["optimizer", "steps", *self.surface.axes, "value", "arrived"]]
        for name, track in self.tracks.items():
            arrived = self.arrived(name)
            end = (f"diverged at step {track.diverged}" if track.diverged is not None
                   else f"step {arrived}" if arrived is not None else self._stuck(track))
            lines.append([name, str(track.steps), *(f"{v:.4g}" for v in track.points[-1]),
                          f"{track.values[-1]:.3g}", end])
        return lines

    def __str__(self) -> str:
        return aligned(self._rows(), left=(0, 5))

    def _repr_html_(self) -> str:
        return embedded(self.plot(), "paths of the optimizers") + html_table(self._rows())


def race(
    f: SurfaceLike,
    optimizers: Mapping[str, object],
    start: Sequence[float] | None = None,
    steps: int = 100,
    *,
    unit: str = "step",
    watch: Callable[[int, int], object] | None = None,
) -> Race:
    """Run optimizers over a surface, all from one start, and keep their paths.

    Parameters
    ----------
    f : str, callable or Surface
        As in `surface`.
    optimizers : dict of str to optimizer or callable
        By the name to be shown: an unbound optimizer that has not stepped yet; whatever makes an
        optimizer when given the parameters, such as its class; or a list of points that something
        else has found, such as the path of a minimisation.
    start : (float, float), optional
        By default the surface's own.
    steps : int, at least 1
    unit : str
        What steps are called on the picture.
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
    tracks: dict[str, Track] = {}
    total = steps * len(optimizers)
    tell = (lambda step, *_: watch(steps * len(tracks) + step, total)) if watch else None
    for name, given in optimizers.items():
        tracks[name] = (follow(f, given[: steps + 1]) if isinstance(given, list | np.ndarray)
                        else run(f, given, at, steps, f.axes, (f.x, f.y), tell))
    if watch:
        watch(total, total)                        # a run that was lost took fewer
    return Race(f, tracks, unit)


def follow(f: SurfaceLike, points: ArrayLike) -> Track:
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
    bad = ~np.isfinite(np.column_stack([points, values, gradients])).all(1)
    lost = int(bad.argmax()) if bad.any() else None
    end = len(points) if lost is None else lost + 1
    return Track(points[:end], values[:end], gradients[:end], lost)


# ---- pictures ------------------------------------------------------------------------------------


def plot_race(
    race: Race, *, cmap: str = "viridis", arrows: str | None = None, **options: Unpack[Options]
) -> Picture:
    """All paths of a race over the contours of its surface, and the value against the step.

    Parameters
    ----------
    race : Race
    cmap : str
        Matplotlib colour map of the heights; ``"coolwarm"`` is red high and blue low.
    arrows : str, optional
        Name of the optimizer, or its beginning, whose gradient and last step are drawn as arrows,
        at some of its points: a step of momentum is a mixture of the two.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    with drawing((9.6, 4.8), race.columns(), **options) as (made, page):
        _Stage(race, made, page, cmap, arrows).draw_paths()
    return made


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
    at = paced(list(race.tracks.values()), race.surface.size, frames)

    def draw(options: Options) -> tuple[Picture, list[Part]]:
        with drawing((9.6, 4.8), race.columns(), **options) as (made, page):
            return made, _Stage(race, made, page, cmap, arrows).parts(at)
    return filmed(draw, len(at), options, fps=fps, title=f"race on {race.surface.name}")


class _Stage:
    """The axes of a race: the map, and the heights against the steps."""

    def __init__(self, race: Race, made: Picture, page: Theme, cmap: str, arrows: str | None
                 ) -> None:
        self.race, self.theme, tracks = race, page, race.tracks
        named = [name for name in tracks if arrows and name.lower().startswith(arrows.lower())]
        if arrows is not None and not named:
            raise ValueError(f"no {arrows!r} took part; there were: {', '.join(tracks)}.")
        self.watched = tracks[named[0]] if named else None
        self.map, self.curve = made.subplots(1, 2, width_ratios=(1.25, 1))
        self._draw_map(cmap, made.get_figwidth())
        self._draw_curve()
        self.lines: dict[str, Stroke] = {}
        self.stamps: dict[str, Stroke] = {}
        for name, look in looks(tracks, page).items():
            self.lines[name] = {"color": look.color, "linestyle": look.dashes, "linewidth": 2.0,
                                "path_effects": halo(page), "zorder": 5}
            self.stamps[name] = {"color": look.color, "marker": look.marker, "linestyle": "none",
                                 "markeredgecolor": page.page, "markeredgewidth": 0.6, "zorder": 6}
            sample = {**self.stamps[name], **self.lines[name], "path_effects": None}
            self.map.plot([], [], **sample, markersize=6, label=name)
        self.arrows: list[Stroke] = [
            {"color": page.color(hue), "linewidth": 1.8, "zorder": 7, "solid_capstyle": "round"}
            for hue in ("gradient", "value")]
        words = (f"−gradient of {named[0]}", "its last step (momentum)") if named else ()
        for word, stroke in zip(words, self.arrows):
            self.map.plot([], [], **stroke, label=word)
        legend_below(made, columns=7)
        made.canvas.draw()
        made.set_layout_engine("none")

    def _draw_map(self, cmap: str, width: float) -> None:
        s, ax = self.race.surface, self.map
        start = next(iter(self.race.tracks.values())).points[0]
        x, y, z = s.grid(160)
        z = np.where(np.isfinite(z), z, np.nan)
        low, high = min([np.nanmin(z), *(float(s(*m)) for m in s.minima)]), np.nanmax(z)
        shift = 1e-3 * (high - low) ** 0.5                  # the logarithm of 0 is not needed
        height = np.log10(z - low + shift) if s.log else z
        levels = np.linspace(np.nanmin(height), np.nanmax(height), 24)
        bar = contours(ax, x, y, height, levels, cmap, start, s.minima)
        if s.log:
            marks = 10.0 ** (np.floor(np.log10(high - low)) + np.arange(-3, 1))
            base = low if abs(low) > marks[0] / 50 else 0.0
            bar.set_ticks(np.log10(marks + shift), labels=[f"{base + mark:,.4g}" for mark in marks])
        ax.set(xlim=s.x, ylim=s.y, xlabel=s.axes[0], ylabel=s.axes[1])
        fits = min(1.0, width / 9.6)                        # formulas are written for that width
        whole = s.formula and fits > 0.7                    # smaller letters would not be read
        ax.set_title(f"{s.name}: f({', '.join(s.axes)}) = {s.formula}" if whole else s.name,
                     fontsize=9.5 * fits if whole else 9.5)
        ax.annotate("start", start, (0, 7), textcoords="offset points", ha="center", va="bottom",
                    fontsize=8, path_effects=halo(self.theme), zorder=7)

    def _draw_curve(self) -> None:
        tracks, ax, s = self.race.tracks, self.curve, self.race.surface
        bottom = _floor(self.race)
        self.heights = {name: t.values - bottom for name, t in tracks.items()}
        finite = np.concatenate([h[np.isfinite(h)] for h in self.heights.values()])
        first = next(iter(self.heights.values()))[0]
        ax.set(xlabel=self.race.unit, xlim=(0, max(t.steps for t in tracks.values())),
               title=f"f({', '.join(s.axes)})" + (" − minimum" if bottom else ""))
        if s.log or 0 < 1e3 * finite.min() < finite.max():
            least = max(finite[finite > 0].min(initial=first), 1e-12 * max(first, 1e-12))
            ax.set(yscale="log", ylim=(least / 2, 20 * max(first, least)))
            # the logarithm of 0 is off the picture
            self.heights = {n: np.maximum(h, least / 2) for n, h in self.heights.items()}
        else:
            seen = np.clip(finite, None, finite.min() + 3 * max(first - finite.min(), 1e-9))
            room = 0.06 * (np.ptp(seen) or 1)
            ax.set_ylim(seen.min() - room, seen.max() + room)

    def draw_paths(self) -> None:
        """All paths to their ends."""
        tracks = self.race.tracks
        for i, (name, track) in enumerate(tracks.items()):
            stamp = self.stamps[name]
            for ax, points in self._paths(name):
                seen = within(ax, *points.T)
                ax.plot(*seen.T, **self.lines[name])
                # markers are as many steps apart on all lines, and not above each other
                apart = max(len(points) // 8, 1)
                first = apart * (i + 1) // (len(tracks) + 1)
                ax.plot(*seen[first::apart].T, **stamp, markersize=5.5)
            if track.diverged is None:
                self.map.plot(*within(self.map, *track.points[-1:].T).T, **stamp, markersize=9)
            else:
                self._mark_lost(name, track)
        if self.watched:
            at = paced([self.watched], self.race.surface.size, 14)[1:-1]
            for x, y, look in self._arrows(self.watched, at):
                self.map.plot(x.T, y.T, **look)

    def parts(self, at: Array) -> list[Part]:
        """What moves, in frames that show the steps `at`."""
        parts: list[Part] = []
        tracks = self.race.tracks
        for name in tracks:
            head: Stroke = {**self.stamps[name], "markersize": 8}
            for ax, points in self._paths(name):
                end, (x, y) = np.minimum(at, len(points) - 1), points.T
                parts += [Line(ax, x, y, end + 1, **self.lines[name]),
                          Line(ax, x[end, None], y[end, None], **head)]
        if self.watched:
            parts += [Line(self.map, x, y, **look) for x, y, look
                      in self._arrows(self.watched, np.minimum(at, self.watched.steps))]
        parts.append(Part(*(line for line in self.map.lines if line.get_marker() == "*")))
        step = note(self.curve, 0.98, 0.98, ha="right", va="top", fontsize=11)
        lost = note(self.map, 0.02, 0.02, va="bottom", color=self.theme.alarm, fontsize=8)
        return [*parts, Words(step, [f"{self.race.unit} {t}" for t in at]), Words(lost, [
            ", ".join(f"{name} diverged at step {track.diverged}" for name, track in tracks.items()
                      if track.diverged is not None and track.diverged <= t) for t in at])]

    # ---- details ---------------------------------------------------------------------------------

    def _paths(self, name: str) -> list[tuple[Axes, Array]]:
        """The path on the map, of a lost run until it leaves the view, and the heights."""
        track, heights = self.race[name], self.heights[name]
        until = None if track.diverged is None else self._inside(track) + 2
        return [(self.map, track.points[:until]),
                (self.curve, np.column_stack([np.arange(len(heights)), heights]))]

    def _mark_lost(self, name: str, track: Track) -> None:
        """Say where a run left the picture."""
        at, page = track.points[self._inside(track)], self.theme
        down = at[1] > sum(self.race.surface.y) / 2         # away from the title
        self.map.annotate(f"{name} diverged\nat step {track.diverged}", at,
                          (0, -14 if down else 14), textcoords="offset points", ha="center",
                          va="top" if down else "bottom", color=page.alarm, fontsize=8,
                          fontweight="bold", zorder=8, path_effects=halo(page),
                          arrowprops={"arrowstyle": "-", "color": page.alarm})

    def _inside(self, track: Track) -> int:
        """The last point of a track before it left the view."""
        low, high = np.array([self.race.surface.x, self.race.surface.y]).T
        outside = ~((track.points >= low) & (track.points <= high)).all(1)
        return max(int(outside.argmax()) - 1, 0) if outside.any() else track.steps

    def _arrows(self, track: Track, at: Array) -> Iterator[tuple[Array, Array, Stroke]]:
        """The direction against the gradient, and the last step, each of a length to be seen."""
        last = track.points[at] - track.points[np.maximum(at - 1, 0)]
        for direction, look in zip((-track.gradients[at], last), self.arrows):
            with np.errstate(all="ignore"):
                length = np.hypot(*(direction / self.race.surface.size).T)[:, None]
                shown = direction / length * 0.09 * np.tanh(length / np.nanmedian(length))
            yield *arrow(self.map, *track.points[at].T, *np.nan_to_num(shown).T), look


def _floor(race: Race) -> float:
    """The height that a logarithmic scale counts from: the minimum, where it is known."""
    s = race.surface
    values = np.concatenate([t.values for t in race.tracks.values()])
    lowest = float(values[np.isfinite(values)].min())
    bottom = min([lowest, *(float(s(*m)) for m in s.minima)]) if s.minima or lowest < 0 else 0.0
    return bottom if s.log and abs(bottom) > 1e-6 else 0.0
