"""Descents of a function of one number."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.viz.plots.numbers import save_numbers
from tinygrad_opt.viz.plots.tracks import FAR, Track, check_optimizers, run

__all__ = ["Descent", "descend_1d", "outcome"]

Array = np.ndarray


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
    check_optimizers({"it": optimizer}, steps)
    if not math.isfinite(start):
        raise ValueError(f"start must be a number, got {start!r}.")
    far, middle = FAR * (x[1] - x[0]), sum(x) / 2
    track = run(f, optimizer, (float(start),), steps, ("x",),
                 lambda p: abs(p[0] - middle) > far, watch)
    return Descent(f, (float(x[0]), float(x[1])), track, label)


def outcome(descent: Descent) -> str:
    """What became of a run, in words."""
    track, n = descent.track, descent.track.steps
    if track.diverged is not None:
        return f"exploded at step {track.diverged}"
    x, end = track.points[:, 0], f"x = {round(track.points[-1, 0], 2) + 0.0:.2f}"
    near = np.abs(x - x[-1]) <= 0.01 * (descent.x[1] - descent.x[0])
    settled = n if not near[-1] else int(np.flatnonzero(~near)[-1]) + 1 if not near.all() else 0
    late = abs(x[-1] - x[-1 - n // 4])                       # how far it went in the last quarter
    if settled > 0.9 * n or late > 0.1 * abs(x[-1] - x[0]):
        half = x[n // 2:]
        moves = np.diff(half)
        there_and_back = np.mean(moves[1:] * moves[:-1] < 0) > 0.25
        if there_and_back and np.ptp(half) > 0.05 * np.ptp(descent.x):
            return f"jumps about, after {n} steps at {end}"
        return f"still on its way after {n} steps, at {end}"
    return f"settled at {end} in {settled} steps"
