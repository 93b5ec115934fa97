"""The animation of a training: regions, weights and their updates, curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt.viz.plots.film import Film
from tinygrad_opt.viz.plots.regions import LEVELS, Plane, class_shares, points_and_labels
from tinygrad_opt.viz.plots.squares import reduced
from tinygrad_opt.viz.plots.style import matplotlib_or_error
from tinygrad_opt.viz.plots.training_stage import TrainingStage
from tinygrad_opt.viz.theme import theme_of

__all__ = ["TrainingRecorder", "animate_training"]

Array = np.ndarray
SHOWN = 6                                      # arrays on the picture, at most


def animate_training(
    model: Any,
    x: Any,
    y: Any,
    *,
    loss: Callable[[Any, Any], Any],
    optimizer: Any,
    epochs: int = 1000,
    batch_size: int | None = None,
    seed: int | None = None,
    frames: int = 100,
    resolution: int = 88,
    fps: float = 15,
    theme: str = "light",
    size: tuple[float, float] = (6.4, 4.8),
    scale: str = "frame",
) -> Film:
    """Train a classifier of points in the plane, and show what happens.

    On the left, the points over the regions that the model predicts; on the right, weights and
    biases as red (positive) and blue (negative) squares and beside them their latest changes,
    each scaled to its own maximum; below, loss, accuracy and learning rate.

    Parameters
    ----------
    model : callable with ``parameters()``
        As for `decision_regions`.
    x : array-like of shape (n_samples, 2)
    y : array-like of int, shape (n_samples,)
    loss : callable
        ``loss(prediction, y_batch)``: a Tensor of one number.
    optimizer
        Of the model's parameters; or what makes one of them, such as its class.
    epochs : int, at least 1
    batch_size : int, optional
        By default all samples: batch gradient descent.
    seed : int, optional
        Of the order of the samples.
    frames, resolution, fps, theme, size, scale
        As in `TrainingRecorder` and `TrainingRecorder.film`.

    Returns
    -------
    Film
        ``film.save("training.gif")``; it holds the recorded numbers too.

    Raises
    ------
    ShapeError
        If x has not two features.
    TypeError, ValueError
        For other arguments that make no sense; nothing has been trained then.
    """
    matplotlib_or_error()
    recorder = TrainingRecorder(model, x, y, frames=frames, resolution=resolution)
    theme_of(theme), _check_scale(scale)
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs!r}.")
    if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
        if not callable(optimizer):
            raise TypeError("optimizer must be an optimizer of the model's parameters, or what"
                            f" makes one, got {optimizer!r}.")
        optimizer = optimizer(model.parameters())
    x, y = (np.asarray(getattr(a, "array", a)) for a in (x, y))
    rng = np.random.default_rng(seed)
    n, batch = len(x), batch_size or len(x)
    for epoch in range(1, epochs + 1):
        order = rng.permutation(n) if batch < n else np.arange(n)
        total = 0.0
        for first in range(0, n, batch):
            some = order[first : first + batch]
            value = loss(model(x[some]), y[some])
            optimizer.zero_grad()
            value.backward()
            total += float(value) * min(batch, n - first)
            rate = float(getattr(optimizer, "current_lr", getattr(optimizer, "lr", math.nan)))
            optimizer.step()
            del value
        recorder.record(epoch, total / n, rate, last=epoch == epochs)
    optimizer.zero_grad()
    return recorder.film(theme=theme, size=size, fps=fps, scale=scale)


class TrainingRecorder:
    """Records what the training animation shows, in memory that does not grow.

    Give it to the training loop, ``fit(..., callbacks=[recorder])``, and then ask for its
    ``film()``. When twice as many frames as wanted are held, every other one is let go of, and
    from then on half as many are taken.

    Parameters
    ----------
    model, x, y
        As in `animate_training`.
    frames : int, at least 2
        How many the film shall have, at most.
    resolution : int
        Points along each axis at which regions are predicted.

    Attributes
    ----------
    epochs : list of int
        Those that are held; epoch 0 is before the first step.
    """

    def __init__(
        self, model: Any, x: Any, y: Any, *, frames: int = 100, resolution: int = 88
    ) -> None:
        self.x, self.y = points_and_labels(x, y)
        if frames < 2 or resolution < 2:
            raise ValueError(f"frames and resolution must be at least 2, got {frames!r} and"
                             f" {resolution!r}.")
        parameters = model.parameters() if hasattr(model, "parameters") else None
        if not isinstance(parameters, dict) or not parameters:
            raise TypeError("the model's parameters() must be a dict of name -> Tensor, got"
                            f" {parameters!r}.")
        self.model, self.limit, self.every = model, frames, 1
        self.plane = Plane(self.x, resolution)
        names = sorted(parameters, key=lambda n: parameters[n].ndim < 2)[:SHOWN]
        self.parameters = {n: p for n, p in parameters.items() if n in names}
        self.hidden = len(parameters) - len(names)
        self.rows: list[dict[str, Any]] = []
        self._before = self._weights()
        self.record(0, math.nan, math.nan)

    @property
    def epochs(self) -> list[int]:
        return [row["epoch"] for row in self.rows]

    def __call__(self, run: Any) -> None:
        """After an epoch of `fit`."""
        history = run.history
        last = run.epoch >= run.epochs or bool(run.stopped)
        self.record(run.epoch, history["loss"][-1], history["lr"][-1], last=last)

    def record(self, epoch: int, loss: float, lr: float, *, last: bool = False) -> None:
        """Take a frame, if this epoch is one to be shown."""
        weights = self._weights()
        if epoch % self.every == 0 or last:
            shares = class_shares(self.model, self.plane.points)
            right = class_shares(self.model, self.x).argmax(1) == self.y
            self.classes = max(shares.shape[1], int(self.y.max()) + 1)
            self.rows.append({
                "epoch": epoch, "loss": float(loss), "accuracy": float(right.mean()),
                "lr": float(lr), "cells": self.plane.cells(shares),
                "weights": {n: reduced(w) for n, w in weights.items()},
                "updates": {n: reduced(w - self._before[n]) for n, w in weights.items()},
            })
        if len(self.rows) > 2 * self.limit:
            self.every *= 2
            self.rows = [r for r in self.rows if r["epoch"] % self.every == 0 or r is self.rows[-1]]
        self._before = weights

    def columns(self) -> dict[str, Array]:
        """What was recorded: curves, weights and updates, and the classes of the regions.

        ``regions[frame, row, column]``, the first row at the top, fills ``extent``: left, right,
        bottom and top.
        """
        rows = self.rows
        columns = {k: np.array([r[k] for r in rows]) for k in ("epoch", "loss", "accuracy", "lr")}
        for kind in ("weights", "updates"):
            for name in self.parameters:
                columns[f"{kind}.{name}"] = np.stack([r[kind][name] for r in rows])
        columns["regions"] = np.stack([r["cells"] for r in rows]) // LEVELS
        columns["extent"] = np.array(self.plane.extent)
        return columns

    def film(
        self, *, theme: str = "light", size: tuple[float, float] = (6.4, 4.8), fps: float = 15,
        scale: str = "frame",
    ) -> Film:
        """What was recorded, as an animation.

        Parameters
        ----------
        theme : {"light", "dark"}
        size : (float, float)
            Width and height in inches of 100 dots.
        fps : float
        scale : {"frame", "run"}
            Whether the full colour of an array is its largest entry of the frame, as it says
            beside it, or of the whole film.

        Returns
        -------
        Film
        """
        some = np.linspace(0, len(self.rows) - 1, min(self.limit, len(self.rows))).round()
        rows = [self.rows[int(i)] for i in some]
        return TrainingStage(self, rows, theme_of(theme), size, _check_scale(scale)).film(fps)

    def _weights(self) -> dict[str, Array]:
        return {name: np.array(p.array) for name, p in self.parameters.items()}


def _check_scale(scale: str) -> str:
    if scale not in ("frame", "run"):
        raise ValueError(f"scale must be 'frame' or 'run', got {scale!r}.")
    return scale
