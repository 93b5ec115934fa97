"""Races of optimizers across a surface, and descents of a function of one number.

They are run by the engine and by the optimizers themselves: every point of a track is what the
optimizer left in the parameter, to the bit, and every gradient is the one that it was given.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.tensor import Tensor, tick
from tinygrad_opt.viz.plots.numbers import save_numbers
from tinygrad_opt.viz.plots.surfaces import Surface, backward, surface

__all__ = ["Descent", "Race", "Track", "descend_1d", "follow", "race"]

Array = np.ndarray
FAR = 1e2                                     # a run so many views away is lost


@dataclass(frozen=True)
class Track:
    """The way of one optimizer.

    Attributes
    ----------
    points : ndarray of shape (n_steps + 1, n_numbers)
        Where it stood, the start first.
    values : ndarray of shape (n_steps + 1,)
        The height there.
    gradients : ndarray of shape (n_steps + 1, n_numbers)
        The gradient there; the last was not used for a step.
    diverged : int or None
        The step after which it was lost: a value was not finite, or it had left for good.
    """

    points: Array
    values: Array
    gradients: Array
    diverged: int | None = None

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.points) - 1

    def reaches(self, target: Sequence[float], within: float) -> int | None:
        """The step after which it comes, and stays, within a distance of a point."""
        away = np.hypot.reduce(self.points - np.asarray(target, float), axis=1) > within
        if self.diverged is not None or away[-1]:
            return None
        return int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0


@dataclass(frozen=True)
class Race:
    """What `race` returns: the tracks by name, and what they were run on."""

    surface: Surface
    tracks: dict[str, Track] = field(repr=False)

    def __getitem__(self, name: str) -> Track:
        return self.tracks[name]

    def columns(self) -> dict[str, Array]:
        """Every point, value and gradient: one row a step, track after track."""
        parts: dict[str, list[Array]] = {}
        a, b = self.surface.axes
        for name, track in self.tracks.items():
            n = len(track.points)
            columns = {"optimizer": np.full(n, name), "step": np.arange(n),
                       a: track.points[:, 0], b: track.points[:, 1], "value": track.values,
                       f"d_{a}": track.gradients[:, 0], f"d_{b}": track.gradients[:, 1]}
            for key, column in columns.items():
                parts.setdefault(key, []).append(column)
        return {key: np.concatenate(columns) for key, columns in parts.items()}

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
    _check(optimizers, steps)
    size = FAR * math.hypot(f.x[1] - f.x[0], f.y[1] - f.y[0])
    middle = np.array([sum(f.x) / 2, sum(f.y) / 2])
    return Race(f, {
        name: _run(f, given, at, steps, f.axes, lambda p: np.hypot(*(p - middle)) > size)
        for name, given in optimizers.items()
    })


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


@dataclass(frozen=True)
class Descent:
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

    f: Callable[[Any], Any]
    x: tuple[float, float]
    track: Track
    label: str = ""

    def columns(self) -> dict[str, Array]:
        """Every point, value and slope: one row a step."""
        t = self.track
        return {"step": np.arange(len(t.points)), "x": t.points[:, 0], "value": t.values,
                "slope": t.gradients[:, 0]}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns as CSV or NPZ."""
        return save_numbers(path, self.columns())

    def __str__(self) -> str:
        t = self.track
        where = f"after {t.steps} steps x = {t.points[-1, 0]:.4g}, f = {t.values[-1]:.4g}"
        lost = "" if t.diverged is None else f" (diverged at step {t.diverged})"
        return f"{self.label}: {where}{lost}" if self.label else f"{where}{lost}"


def descend_1d(
    f: Callable[[Any], Any],
    optimizer: Any,
    start: float,
    steps: int = 100,
    *,
    x: tuple[float, float] = (-2.0, 2.0),
    label: str = "",
    watch: Callable[[int, float, float], Any] | None = None,
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
    >>> class Descent2:
    ...     def __init__(self, parameters):
    ...         self.x = parameters["x"]
    ...     def step(self):
    ...         self.x.data = self.x.data - 0.25 * self.x.grad
    ...     def zero_grad(self):
    ...         self.x.grad = None
    >>> descend_1d(lambda x: x**2, Descent2, 2.0, steps=2).track.points.ravel().tolist()
    [2.0, 1.0, 0.5]
    """
    _check({"it": optimizer}, steps)
    if not math.isfinite(start):
        raise ValueError(f"start must be a number, got {start!r}.")
    far, middle = FAR * (x[1] - x[0]), sum(x) / 2
    track = _run(f, optimizer, (float(start),), steps, ("x",),
                 lambda p: abs(p[0] - middle) > far, watch)
    return Descent(f, (float(x[0]), float(x[1])), track, label)


# ---- running -------------------------------------------------------------------------------------


def _run(f: Any, given: Any, start: tuple[float, ...], steps: int, names: tuple[str, ...],
         lost: Callable[[Array], Any], watch: Any = None) -> Track:
    """Step and record until the steps are done or the run is lost."""
    at = _tensors(start, names)
    advance = _stepper(given, at)
    points, values, gradients, diverged = [], [], [], None
    with np.errstate(all="ignore"):
        for t in range(steps + 1):
            height = f(*at.values())
            points.append(np.array([p.array for p in at.values()], float))
            values.append(float(height))
            if watch:
                watch(t, *points[-1].tolist(), values[-1])
            backward(height, getattr(f, "name", "f"))
            gradients.append([0.0 if p.grad is None else float(p.grad) for p in at.values()])
            if not np.isfinite([*points[-1], values[-1], *gradients[-1]]).all() or lost(points[-1]):
                diverged = t
                break
            if t < steps:
                advance()
            for p in at.values():
                p.grad = None
    return Track(np.array(points), np.array(values), np.array(gradients), diverged)


def _tensors(start: Sequence[float], names: Sequence[str]) -> dict[str, Tensor]:
    return {n: Tensor(np.float64(v), requires_grad=True, name=n) for n, v in zip(names, start)}


def _stepper(given: Any, at: dict[str, Tensor]) -> Callable[[], None]:
    """One step of an optimizer, in whatever form it was given."""
    if _unbound(given):
        def advance() -> None:
            arrays = {name: p.array for name, p in at.items()}
            zero = np.zeros(())
            given.update(arrays, {n: zero if p.grad is None else p.grad for n, p in at.items()})
            now = tick()
            for p in at.values():
                p.changed = now
        return advance
    made = given(at)
    if not hasattr(made, "step"):
        raise TypeError(f"{given!r} made {type(made).__name__}, which has no step().")
    return made.step


def _unbound(given: Any) -> bool:
    return hasattr(given, "update") and not isinstance(given, type)


def _check(optimizers: Any, steps: Any) -> None:
    if not isinstance(optimizers, Mapping) or not optimizers:
        raise TypeError('optimizers must be a dict of name -> optimizer, such as {"Adam":'
                        f" optim.Adam(lr=0.1)}}, got {optimizers!r}.")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}.")
    for name, given in optimizers.items():
        if not _unbound(given) and not callable(given):
            raise TypeError(f"{name}: an optimizer or what makes one from parameters is needed,"
                            f" got {given!r}.")
        steps_taken = getattr(given, "t", None) if _unbound(given) else None
        if steps_taken:
            raise ValueError(f"{name} has taken {steps_taken} steps already; a race needs a fresh"
                             " optimizer.")
        if _unbound(given) and getattr(given, "parameters", None):
            raise ValueError(f"{name} is bound to other parameters; leave them out:"
                             f" {type(given).__name__}(lr=...).")
