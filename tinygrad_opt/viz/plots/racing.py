"""Races of optimizers across a surface."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.viz.plots.numbers import save_numbers, stacked
from tinygrad_opt.viz.plots.surfaces import Surface, surface
from tinygrad_opt.viz.plots.tracks import FAR, Track, check_optimizers, run

__all__ = ["Race", "follow", "race"]

Array = np.ndarray


@dataclass(frozen=True)
class Race:
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

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns as CSV or NPZ."""
        return save_numbers(path, self.columns())

    def __str__(self) -> str:
        """A table: where each ended, and after how many steps it stayed at a minimum."""
        view = math.hypot(*(b - a for a, b in (self.surface.x, self.surface.y)))
        a, b = self.surface.axes
        lines = [["optimizer", "steps", a, b, "value", "arrived"]]
        for name, track in self.tracks.items():
            steps = [track.reaches(m, view / 100) for m in self.surface.minima]
            arrived = min((s for s in steps if s is not None), default=None)
            end = "" if arrived is None else f"step {arrived}"
            if track.diverged is not None:
                end = f"diverged at step {track.diverged}"
            lines.append([name, str(track.steps), *(f"{v:.4g}" for v in track.points[-1]),
                          f"{track.values[-1]:.3g}", end])
        wide = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join("  ".join(
            cell.ljust(w) if i in (0, 5) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, wide))).rstrip() for line in lines)


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
    >>> way = race(lambda x, y: x**2 + y**2, {"descent": Descent()}, (1.0, 2.0), steps=2)["descent"]
    >>> way.points.round(2).tolist()
    [[1.0, 2.0], [0.8, 1.6], [0.64, 1.28]]
    """
    f = surface(f)
    at = tuple(map(float, f.start if start is None else start))
    if len(at) != 2 or not all(map(math.isfinite, at)):
        raise ValueError(f"start must be two numbers, got {start!r}.")
    check_optimizers(optimizers, steps)
    size = FAR * math.hypot(f.x[1] - f.x[0], f.y[1] - f.y[0])
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
