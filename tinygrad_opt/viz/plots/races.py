"""Races as pictures and animations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_opt.viz.plots.film import Film
from tinygrad_opt.viz.plots.moving import Dot, Line, Part, Stroke, Words, arrow, within
from tinygrad_opt.viz.plots.racing import Race
from tinygrad_opt.viz.plots.style import figure, halo, legend_below, pale, styled
from tinygrad_opt.viz.plots.tracks import Track
from tinygrad_opt.viz.theme import Look, Theme, looks, theme_of

__all__ = ["animate_race", "plot_race"]

Array = np.ndarray


def plot_race(
    race: Race,
    *,
    theme: str = "light",
    size: tuple[float, float] = (9.6, 4.8),
    cmap: str = "viridis",
    arrows: str | None = None,
) -> Any:
    """All paths of a race over the contours of its surface, and the value against the step.

    Parameters
    ----------
    race : Race
    theme : {"light", "dark"}
    size : (float, float)
        Width and height in inches of 100 dots.
    cmap : str
        Matplotlib colour map of the heights; ``"coolwarm"`` is red high and blue low.
    arrows : str, optional
        Name of the optimizer whose gradient and last step are drawn as arrows, at some of its
        points: a step of momentum is a mixture of the two.

    Returns
    -------
    matplotlib.figure.Figure
    """
    return _RaceStage(race, theme_of(theme), size, cmap, arrows).still()


def animate_race(
    race: Race,
    *,
    frames: int = 100,
    fps: float = 15,
    theme: str = "light",
    size: tuple[float, float] = (9.6, 4.8),
    cmap: str = "viridis",
    arrows: str | None = None,
) -> Film:
    """The same, growing step by step.

    Parameters
    ----------
    race : Race
    frames : int
        At most so many; the steps are spread over them evenly.
    fps, theme, size, cmap, arrows
        As in `plot_race`, the arrows at the latest point.

    Returns
    -------
    Film
        ``film.save("race.gif")``.
    """
    return _RaceStage(race, theme_of(theme), size, cmap, arrows).film(frames, fps)


class _RaceStage:
    """The axes of a race: the map, and the heights against the steps."""

    def __init__(self, race: Race, theme: Theme, size: Any, cmap: str, arrows: Any) -> None:
        self.race, self.theme, self.arrows = race, theme, arrows
        self.hues = ("vermillion", "blue") if theme.name == "light" else ("orange", "sky")
        self.looks: dict[str, Look] = looks(race.tracks, theme)
        self.figure = figure(size, theme, layout="constrained")
        with styled(theme):
            self.map, self.curve = self.figure.subplots(1, 2, width_ratios=(1.25, 1))
            self._draw_map(cmap)
            self._draw_curve()
            self._legend(arrows)
            self.figure.canvas.draw()
        self.figure.set_layout_engine("none")

    def _draw_map(self, cmap: str) -> None:
        s, ax = self.race.surface, self.map
        x, y, z = s.grid(160)
        z = np.where(np.isfinite(z), z, np.nan)
        low = np.nanmin(z)
        height = np.log10(z - low + 1e-3 * (np.nanmax(z) - low) ** 0.5) if s.log else z
        levels = np.linspace(np.nanmin(height), np.nanmax(height), 24)
        ax.contourf(x, y, height, levels=levels, cmap=pale(cmap, self.theme, 0.55), zorder=0)
        ax.contour(x, y, height, levels=levels, colors=self.theme.ink, alpha=0.16, linewidths=0.6,
                   linestyles="solid", zorder=0.5)
        for a, b in s.minima:
            ax.plot(a, b, "*", color="#F0E442", markeredgecolor="#000000", markersize=13,
                    zorder=5.5)
        ax.set(xlim=s.x, ylim=s.y, xlabel=s.axes[0], ylabel=s.axes[1], title=s.name)
        start = next(iter(self.race.tracks.values())).points[0]
        ax.plot(*start, "o", markerfacecolor=self.theme.page, markeredgecolor=self.theme.ink,
                markersize=8, zorder=2)
        ax.annotate("start", start, (0, 7), textcoords="offset points", ha="center", va="bottom",
                    fontsize=8, path_effects=halo(self.theme), zorder=7)

    def _draw_curve(self) -> None:
        tracks, ax, s = self.race.tracks.values(), self.curve, self.race.surface
        bottom = _floor(s, tracks)
        self.heights = {name: t.values - bottom for name, t in self.race.tracks.items()}
        finite = np.concatenate([h[np.isfinite(h)] for h in self.heights.values()])
        first = next(iter(self.heights.values()))[0]
        ax.set(xlabel="step", xlim=(0, max(t.steps for t in tracks)))
        name = f"f({', '.join(s.axes)})"
        ax.set_title(name if not bottom else f"{name} − minimum")
        self.log = s.log or 0 < 1e3 * finite.min() < finite.max()
        if self.log:
            positive = finite[finite > 0]
            ax.set_yscale("log")
            least = max(positive.min(initial=first), 1e-12 * max(first, 1e-12))
            ax.set_ylim(least / 2, 20 * max(first, least))
        else:
            seen = np.clip(finite, None, finite.min() + 3 * max(first - finite.min(), 1e-9))
            room = 0.06 * (np.ptp(seen) or 1)
            ax.set_ylim(seen.min() - room, seen.max() + room)
        ax.grid(True, alpha=0.6)

    def still(self) -> Any:
        with styled(self.theme):
            for i, (name, track) in enumerate(self.race.tracks.items()):
                pen, stamp = self._pens(name)
                for ax, points in ((self.map, self._path(track)), (self.curve, self._values(name))):
                    seen = within(ax, *points.T)
                    ax.plot(*seen.T, **pen)
                    # markers are as many steps apart on all lines, and not above each other
                    apart = max(len(points) // 8, 1)
                    first = apart * (i + 1) // (len(self.race.tracks) + 1)
                    ax.plot(*seen[first::apart].T, **stamp, linestyle="none", markersize=5.5)
                self._mark(name, track)
            if self.arrows is not None:
                track = _track(self.race, self.arrows)
                some = np.arange(1, track.steps, max(track.steps // 12, 1))
                for x, y, options in self._arrow_strokes(track, some):
                    self.map.plot(x.T, y.T, **options)
        self.figure.numbers = self.race.columns()
        return self.figure

    def film(self, frames: int, fps: float) -> Film:
        tracks = self.race.tracks
        steps = max(t.steps for t in tracks.values())
        at = np.unique(np.linspace(0, steps, min(frames, steps + 1)).round().astype(int))
        parts: list[Part] = []
        with styled(self.theme):
            for name, track in tracks.items():
                until = np.minimum(at, track.steps)
                pen, stamp = self._pens(name)
                path = self._path(track)
                shown = np.minimum(until, len(path) - 1)
                for ax, points, end in ((self.map, path, shown),
                                        (self.curve, self._values(name), until)):
                    parts.append(Line(ax, points[:, 0], points[:, 1], (end + 1).tolist(), **pen))
                    parts.append(Dot(ax, *points[end].T, **stamp, markersize=8))
            if self.arrows is not None:
                track = _track(self.race, self.arrows)
                for x, y, options in self._arrow_strokes(track, np.minimum(at, track.steps)):
                    parts.append(Stroke(self.map, x, y, **options))
            parts.append(Words(self._counter(), [f"step {t}" for t in at]))
            lost = [(t.diverged, n) for n, t in tracks.items() if t.diverged is not None]
            note = self.map.text(0.02, 0.02, "", transform=self.map.transAxes, fontsize=8,
                                 va="bottom", color=self.theme.alarm, fontweight="bold", zorder=8,
                                 path_effects=halo(self.theme))
            parts.append(Words(note, [", ".join(
                f"{n} diverged at step {k}" for k, n in lost if k <= t) for t in at]))
        return Film(self.figure, parts, len(at), theme=self.theme, fps=fps,
                    title=f"race on {self.race.surface.name}", numbers=self.race.columns())

    # ---- details ---------------------------------------------------------------------------------

    def _values(self, name: str) -> Array:
        heights = self.heights[name]
        if self.log:
            heights = np.maximum(heights, self.curve.get_ylim()[0])     # log 0 is off the picture
        return np.column_stack([np.arange(len(heights)), heights])

    def _pens(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """How the line and the markers of an optimizer are drawn."""
        look = self.looks[name]
        return ({"color": look.color, "linestyle": look.dashes, "linewidth": 2.0, "zorder": 5,
                 "path_effects": halo(self.theme)},
                {"color": look.color, "marker": look.marker, "zorder": 6,
                 "markeredgecolor": self.theme.page, "markeredgewidth": 0.6})

    def _mark(self, name: str, track: Track) -> None:
        """The end of a path, and where a lost one left the picture."""
        end = within(self.map, *track.points.T)[-1]
        if track.diverged is None:
            self.map.plot(*end, **self._pens(name)[1], markersize=9, linestyle="none")
            return
        inside = _inside(self.race, track)
        self.map.annotate(f"{name} diverged\nat step {track.diverged}", track.points[inside],
                          (0, 14), textcoords="offset points", ha="center", va="bottom",
                          color=self.theme.alarm, fontsize=8, fontweight="bold", zorder=8,
                          path_effects=halo(self.theme), arrowprops={
                              "arrowstyle": "-", "color": self.theme.alarm})

    def _arrow_strokes(self, track: Track, at: Array) -> Any:
        """The direction against the gradient, and the last step, each of a length to be seen."""
        view = np.array([np.ptp(self.race.surface.x), np.ptp(self.race.surface.y)])
        last = track.points[at] - track.points[np.maximum(at - 1, 0)]
        for direction, hue in zip((-track.gradients[at], last), self.hues):
            with np.errstate(all="ignore"):
                length = np.hypot(*(direction / view).T)[:, None]
                shown = direction / length * 0.09 * np.tanh(length / np.nanmedian(length))
            x, y = arrow(self.map, *track.points[at].T, *np.nan_to_num(shown).T)
            yield x, y, {"color": self.theme.color(hue), "linewidth": 1.8, "zorder": 7,
                         "solid_capstyle": "round"}

    def _path(self, track: Track) -> Array:
        """The points of a track; of a lost one only until it leaves the view."""
        return track.points[: _inside(self.race, track) + 2 if track.diverged is not None else None]

    def _counter(self) -> Any:
        return self.curve.text(0.98, 0.98, "", transform=self.curve.transAxes, ha="right", va="top",
                               fontsize=11, fontweight="bold", zorder=8,
                               path_effects=halo(self.theme))

    def _legend(self, arrows: str | None) -> None:
        from matplotlib.lines import Line2D

        handles = []
        for name in self.race.tracks:
            pen, stamp = self._pens(name)
            del pen["path_effects"], pen["zorder"]
            handles.append(Line2D([], [], label=name, **{**stamp, **pen}, markersize=6))
        if arrows is not None:
            labels = (f"−gradient of {arrows}", "its last step (momentum)")
            handles += [Line2D([], [], color=self.theme.color(h), linewidth=1.8, label=label)
                        for h, label in zip(self.hues, labels)]
        legend_below(self.figure, handles, columns=7)


def _track(race: Race, name: str) -> Track:
    if name not in race.tracks:
        raise ValueError(f"no {name!r} took part; there were: {', '.join(race.tracks)}.")
    return race.tracks[name]


def _floor(surface: Any, tracks: Any) -> float:
    """The height that a logarithmic scale counts from: the minimum, where it is known."""
    if not surface.log:
        return 0.0
    known = [float(surface(*m)) for m in surface.minima]
    seen = min(float(np.nanmin(np.where(np.isfinite(t.values), t.values, np.nan))) for t in tracks)
    bottom = min([*known, seen]) if known or seen < 0 else 0.0
    return bottom if abs(bottom) > 1e-6 else 0.0


def _inside(race: Race, track: Track) -> int:
    """The last point of a track before it left the view."""
    (x0, x1), (y0, y1) = race.surface.x, race.surface.y
    x, y = track.points.T
    outside = ~((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
    return max(int(outside.argmax()) - 1, 0) if outside.any() else track.steps

