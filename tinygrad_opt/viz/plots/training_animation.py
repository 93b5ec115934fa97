"""The animation of a training: regions, weights and their updates, curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.data import minibatches
from tinygrad_opt.data.arguments import array_of
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, ArrayLike, Loss, Model
from tinygrad_opt.viz.animation.film import Film, filmed
from tinygrad_opt.viz.animation.moving import Heat, Line, Part, Words
from tinygrad_opt.viz.figures import Options, Picture, Unpack, drawing, matplotlib_or_error
from tinygrad_opt.viz.plots.decision_regions import (
    LEVELS,
    Plane,
    class_shares,
    points_and_labels,
    region_colors,
    scatter,
)
from tinygrad_opt.viz.plots.heatmaps import reduced, shade_colors, squares
from tinygrad_opt.viz.plots.trajectories import Stepper
from tinygrad_opt.viz.theme import Stroke, Theme

__all__ = ["TrainingRecorder", "animate_training"]

SHOWN = 6                                      # arrays on the picture, at most
VALIDATION = ("val_loss", "val_accuracy")      # what a history may have of data not trained on


def animate_training(
    model: Model,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: Loss,
    optimizer: Stepper | Callable[[dict[str, Tensor]], Stepper],
    epochs: int = 1000,
    batch_size: int | None = None,
    seed: int | None = None,
    frames: int = 100,
    resolution: int = 88,
    fps: float = 15,
    scale: str = "frame",
    **options: Unpack[Options],
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
    frames, resolution, fps, scale, **options
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
    recorder.film(scale=scale, **options)                  # whether the options make sense
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs!r}.")
    if isinstance(optimizer, Stepper) and not isinstance(optimizer, type):
        stepper = optimizer
    elif callable(optimizer):
        stepper = optimizer(model.parameters())
    else:
        raise TypeError("optimizer must be an optimizer of the model's parameters, or what makes"
                        f" one, got {optimizer!r}.")
    x, y = map(array_of, (x, y))
    rng, batch = np.random.default_rng(seed), batch_size or len(x)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for some, labels in minibatches(x, y, batch, shuffle=batch < len(x), rng=rng):
            value = loss(model(some), labels)
            stepper.zero_grad()
            value.backward()
            total += float(value) * len(some)
            rate = float(getattr(stepper, "current_lr", getattr(stepper, "lr", math.nan)))
            stepper.step()
            del value
        recorder.record(epoch, total / len(x), rate, last=epoch == epochs)
    stepper.zero_grad()
    return recorder.film(fps=fps, scale=scale, **options)


class TrainingRecorder:
    """Records what the training animation shows, in memory that does not grow.

    Give it to the training loop, ``fit(..., callbacks=[recorder])``, and then ask for its
    ``film()``. When twice as many frames as wanted are held, every other one is dropped, and from
    then on half as many are taken.

    Parameters
    ----------
    model, x, y
        As in `animate_training`.
    frames : int, at least 2
        How many the film shall have, at most.
    resolution : int
        Points along each axis at which regions are predicted.
    names : sequence of str, optional
        Of the classes.

    Attributes
    ----------
    epochs : list of int
        Those that are held; epoch 0 is before the first step.
    """

    def __init__(
        self, model: Model, x: ArrayLike, y: ArrayLike, *, frames: int = 100, resolution: int = 88,
        names: Sequence[object] | None = None,
    ) -> None:
        self.x, self.y = points_and_labels(x, y)
        self.names = names
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
        self.rows: list[dict[str, Array]] = []             # what each frame shows, by name
        self._before = self._weights()
        self.record(0, math.nan, math.nan)

    @property
    def epochs(self) -> list[int]:
        return [int(row["epoch"]) for row in self.rows]

    def __call__(self, run: Any) -> None:
        """After an epoch of `fit`."""
        history = run.history
        self.record(run.epoch, history["loss"][-1], history["lr"][-1],
                    last=run.epoch >= run.epochs or bool(run.stopped),
                    **{name: history[name][-1] for name in VALIDATION if name in history})

    def record(self, epoch: int, loss: float, lr: float, *, last: bool = False,
               **validation: float) -> None:
        """Take a frame, if this epoch is one to be shown."""
        weights = self._weights()
        if epoch % self.every == 0 or last:
            shares = class_shares(self.model, self.plane.points)
            right = (class_shares(self.model, self.x).argmax(1) == self.y).mean()
            self.classes = max(shares.shape[1], int(self.y.max()) + 1)
            numbers = {"epoch": epoch, "loss": loss, "accuracy": right, "lr": lr} | validation
            self.rows.append({
                **{name: np.array(number) for name, number in numbers.items()},
                **{f"weights.{n}": reduced(w) for n, w in weights.items()},
                **{f"updates.{n}": reduced(w - self._before[n]) for n, w in weights.items()},
                "cells": self.plane.cells(shares)})
        if len(self.rows) > 2 * self.limit:
            self.every *= 2
            self.rows = [r for r in self.rows if r["epoch"] % self.every == 0 or r is self.rows[-1]]
        self._before = weights

    def columns(self) -> dict[str, Array]:
        """What was recorded: curves, weights and updates, and the classes of the regions.

        ``regions[frame, row, column]``, the first row at the top, fills ``extent``: left, right,
        bottom and top.
        """
        columns = _stacked(self.rows)
        regions = columns.pop("cells") // LEVELS
        return {**columns, "regions": regions, "extent": np.array(self.plane.extent)}

    def film(
        self, *, fps: float = 15, scale: str = "frame", **options: Unpack[Options]
    ) -> Film:
        """What was recorded, as an animation.

        Parameters
        ----------
        fps : float
            Frames a second.
        scale : {"frame", "run"}
            Whether the full colour of an array is its largest entry of the frame, as it says
            beside it, or of the whole film.
        **options
            Theme, size, dpi and title, as in `Options`.

        Returns
        -------
        Film
        """
        if scale not in ("frame", "run"):
            raise ValueError(f"scale must be 'frame' or 'run', got {scale!r}.")
        some = np.linspace(0, len(self.rows) - 1, min(self.limit, len(self.rows))).round()
        rows = [self.rows[int(i)] for i in some]

        def draw(options: Options) -> tuple[Picture, list[Part]]:
            untitled: Options = {**options, "title": ""}
            with drawing((6.4, 4.8), self.columns(), **untitled) as (made, page):
                return made, _Stage(self, _stacked(rows), made, page).parts(
                    scale, options.get("title"))
        return filmed(draw, len(rows), options, fps=fps, title="training")

    def _repr_html_(self) -> str:
        return self.film()._repr_html_()

    def _weights(self) -> dict[str, Array]:
        return {name: np.array(p._array) for name, p in self.parameters.items()}


def _stacked(rows: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """What rows hold by name; nan where one lacks it, as validation before the first epoch."""
    none = np.array(math.nan)
    return {name: np.stack([row.get(name, none) for row in rows]) for name in rows[-1]}


# ---- the picture ---------------------------------------------------------------------------------


class _Stage:
    """The axes of the training animation, and what moves on them."""

    def __init__(
        self, recorder: TrainingRecorder, shown: dict[str, Array], made: Picture, page: Theme
    ) -> None:
        self.recorder, self.shown, self.figure, self.theme = recorder, shown, made, page
        made.set_layout_engine("none")

    def parts(self, scale: str, title: str | None) -> list[Part]:
        """Draw it all; those parts that move."""
        self._key()
        shapes = {n: "×".join(map(str, p.shape)) for n, p in self.recorder.parameters.items()}
        names = {n: n if len(n) <= 18 else "…" + n[-17:] for n in shapes}
        title = f"{title}   " if title else ""
        words = [f"{title}epoch {epoch}{'' if math.isnan(loss) else f'   loss {loss:.3f}'}"
                 f"   accuracy {right:.1%}"
                 for epoch, loss, right in zip(self.shown["epoch"], self.shown["loss"],
                                               self.shown["accuracy"])]
        return [
            Words(self.figure.text(0.02, 0.955, "", fontsize=11, fontweight="bold", va="center"),
                  words),
            *self._regions(),
            *self._arrays("weights", "weights, biases", 0.46, names, scale),
            *self._arrays("updates", "latest change", 0.735, shapes, scale),
            *self._curves("loss", "value", 0.075), *self._curves("accuracy", "green", 0.4),
            *self._curves("lr", "purple", 0.725)]

    def _key(self) -> None:
        """Which colours are which numbers."""
        ax = self.figure.add_axes((0.87, 0.945, 0.08, 0.02))
        ax.imshow(shade_colors(self.theme)[None], aspect="auto")
        ax.set_axis_off()
        for x, sign, side in ((-0.08, "−", "right"), (1.08, "+", "left")):
            ax.text(x, 0.5, sign, transform=ax.transAxes, ha=side, va="center", fontsize=9)

    def _regions(self) -> Iterator[Part]:
        r, ax = self.recorder, self.figure.add_axes((0.02, 0.36, 0.41, 0.55))
        extent, colors = r.plane.extent, region_colors(r.classes, self.theme)
        yield Heat(ax, self.shown["cells"], colors, extent)
        ax.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
        points = scatter(ax, r.x, r.y, self.theme, size=9, names=r.names)
        yield Part(*points)
        if len(points) <= 5:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=5, frameon=False,
                      fontsize=7.5, handletextpad=0.1, columnspacing=1, borderpad=0.1)

    def _arrays(
        self, kind: str, title: str, left: float, told: dict[str, str], scale: str
    ) -> Iterator[Part]:
        """A column of arrays as squares, each below what is told of it and its largest entry."""
        y, width, label = 0.905, 0.245, 0.042               # label: height of the line above each
        self.figure.text(left, y, title, fontsize=9, va="top", fontweight="bold")
        arrays = {n: self.shown[f"{kind}.{n}"] for n in told}
        most = {n: np.abs(np.where(np.isfinite(a), a, 0)).max((1, 2)) for n, a in arrays.items()}
        if scale == "run":
            most = {n: np.full_like(m, m.max()) for n, m in most.items()}
        cells = {n: squares(a, most[n]) for n, a in arrays.items()}
        high = {n: 4 + min(c.shape[1], 16) for n, c in cells.items()}
        unit = (0.545 - label * (len(cells) + 1)) / sum(high.values())
        y -= label
        for name, c in cells.items():
            above, y = y - label + 0.006, y - label - high[name] * unit
            ax = self.figure.add_axes((left, y, width, high[name] * unit))
            ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
            ax.spines[:].set_visible(True)
            yield Heat(ax, c, shade_colors(self.theme))
            rows = arrays[name].shape[1]
            yield Part(*(ax.axhline(cut / c.shape[1], color=self.theme.page, linewidth=2)
                         for cut in range(rows, c.shape[1], rows)))
            self.figure.text(left, above, told[name], fontsize=8, va="bottom")
            text = self.figure.text(left + width, above, "", fontsize=8, ha="right", va="bottom",
                                    color=self.theme.muted)
            yield Words(text, [f"±{m:.2g}" for m in most[name]])

    def _curves(self, key: str, hue: str, left: float) -> Iterator[Part]:
        ax, epochs = self.figure.add_axes((left, 0.095, 0.25, 0.19)), self.shown["epoch"]
        lines = [self.shown[name] for name in (key, f"val_{key}") if name in self.shown]
        ax.set(xlim=(0, max(epochs[-1], 1)), ylim=_limits(key, np.array(lines)))
        ax.set_title("learning rate" if key == "lr" else key, fontsize=9, pad=3)
        ax.set_xlabel("epoch", fontsize=8, labelpad=1)
        ax.tick_params(labelsize=7.5, pad=2, length=3)
        ax.locator_params(nbins=4)
        ax.yaxis.set_major_formatter("{x:g}")
        looks: list[Stroke] = [
            {"color": self.theme.color(hue), "label": "training"},
            {"color": self.theme.ink, "label": "validation", "linestyle": "--", "linewidth": 1.2}]
        for values, look in zip(lines, looks):
            yield Line(ax, epochs, values, range(1, len(epochs) + 1), **look)
        if len(lines) > 1:
            ax.legend(loc="best", fontsize=7, frameon=False, borderpad=0.1)


def _limits(key: str, values: Array) -> tuple[float, float]:
    if key == "accuracy":
        return 0.0, 1.02
    seen, first = (some[np.isfinite(some)] for some in (values, values[:, :5]))
    if not len(seen):
        return 0.0, 1.0
    top = seen.max() if key == "lr" or not len(first) else min(seen.max(), 3 * np.median(first))
    return 0.0, 1.06 * top if top > 0 else 1.0
