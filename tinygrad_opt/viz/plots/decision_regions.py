"""What a model predicts all over the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_opt.data.arguments import array_of
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.kernels import sigmoid, softmax
from tinygrad_opt.recording import in_mode
from tinygrad_opt.tensor import no_grad
from tinygrad_opt.typing import Array, ArrayLike, Model
from tinygrad_opt.viz.figures import Axes, Options, Picture, Unpack, drawing, legend_below, rgb
from tinygrad_opt.viz.theme import CLASS_MARKERS, CLASSES, Theme

if TYPE_CHECKING:
    from matplotlib.collections import PathCollection

__all__ = ["decision_regions"]

LEVELS = 8                                     # of confidence that are told apart


def decision_regions(
    model: Model, x: ArrayLike, y: ArrayLike, *, resolution: int = 200,
    names: Sequence[object] | None = None, columns: Sequence[str] | None = None,
    **options: Unpack[Options],
) -> Picture:
    """The data points over the class that the model predicts everywhere around them.

    A colour is the fuller, the surer the model is.

    Parameters
    ----------
    model : callable
        Scores of shape (n, n_classes), of which softmax makes shares; or one score per point,
        which a sigmoid turns into the share of class 1. Rows that are shares already stay.
    x : array-like of shape (n_samples, 2)
    y : array-like of int, shape (n_samples,)
        Labels 0, 1, …; −1 and 1 count as 0 and 1.
    resolution : int
        Points along each axis.
    names : sequence of str, optional
        Of the classes.
    columns : sequence of str, optional
        Names of the two features, for the axes.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If x has not two features.
    """
    x, y = points_and_labels(x, y)
    plane = Plane(x, resolution)
    shares = class_shares(model, plane.points)
    wrong = class_shares(model, x).argmax(1) != y
    numbers = {"x0": plane.points[:, 0], "x1": plane.points[:, 1],
               "predicted": shares.argmax(1), "share": shares.max(1)}
    with drawing((4.8, 4.4), numbers, **options) as (made, page):
        ax = made.subplots()
        ax.grid(False)
        count = max(shares.shape[1], int(y.max()) + 1)
        cells = plane.cells(shares)
        ax.imshow(region_colors(count, page)[cells], extent=plane.extent, aspect="auto",
                  interpolation="nearest", zorder=0)
        scatter(ax, x, y, page, size=26, names=names)
        across, up = x[wrong].T
        ax.scatter(across, up, s=70, facecolors="none", edgecolors=page.ink, linewidths=0.9,
                   zorder=4, label=f"wrong ({wrong.sum()})")
        names_of = columns or ("x₀", "x₁")
        ax.set(xlim=plane.extent[:2], ylim=plane.extent[2:], xlabel=names_of[0], ylabel=names_of[1],
               title=f"accuracy {1 - wrong.mean():.1%}")
        legend_below(made, columns=5)
    return made


class Plane:
    """A grid over the part of the plane that the data lie in, and a margin around it."""

    def __init__(self, x: Array, resolution: int, margin: float = 0.08) -> None:
        low, high = x.min(0), x.max(0)
        room = margin * np.where(high > low, high - low, 1.0)
        (left, bottom), (right, top) = low - room, high + room
        self.extent = (float(left), float(right), float(bottom), float(top))
        self.resolution = resolution
        # centres of the cells, row after row from the top
        middle = (np.arange(resolution) + 0.5) / resolution
        across, down = np.meshgrid(left + middle * (right - left), top + middle * (bottom - top))
        self.points = np.stack([across.ravel(), down.ravel()], 1).astype(x.dtype)

    def cells(self, shares: Array) -> Array:
        """Class and confidence of each cell in one byte, as `region_colors` numbers them."""
        n, best = shares.shape[1], shares.argmax(1)
        with np.errstate(all="ignore"):
            sure = (shares.max(1) - 1 / n) / (1 - 1 / n)
        level = np.clip(np.nan_to_num(sure) * LEVELS, 0, LEVELS - 1)
        cells = best * LEVELS + level.astype(int)
        return np.reshape(cells.astype(np.uint8), (self.resolution, self.resolution))


def region_colors(classes: int, theme: Theme) -> Array:
    """The colours of all classes at all levels of confidence, from the page to the full hue."""
    page = rgb([theme.page]).astype(float)
    full = rgb([class_color(c, theme) for c in range(classes)]).astype(float)
    mix = np.linspace(0.12, 0.55, LEVELS)[None, :, None]
    return np.round(full[:, None] * mix + page * (1 - mix)).astype(np.uint8).reshape(-1, 3)


def class_color(c: int, theme: Theme) -> str:
    return theme.color(CLASSES[c % len(CLASSES)])


def scatter(
    ax: Axes, x: Array, y: Array, theme: Theme, size: float, names: Sequence[object] | None = None
) -> list[PathCollection]:
    """The data points: a colour and a marker for each class."""
    return [
        ax.scatter(x[y == c, 0], x[y == c, 1], s=size, color=class_color(c, theme),
                   marker=CLASS_MARKERS[c % len(CLASS_MARKERS)], edgecolors=theme.ink,
                   linewidths=0.4, zorder=3, label=str(names[c] if names else f"class {c}"))
        for c in range(int(y.max()) + 1)
    ]


def class_shares(model: Model, x: Array) -> Array:
    """The share of each class that a model gives each point, without a graph."""
    with in_mode(model, False), no_grad():
        out = model(x)
    scores = array_of(out, float)
    if scores.ndim == 1 or scores.shape[-1] == 1:
        one = sigmoid(scores.reshape(-1))
        return np.stack([1 - one, one], 1)
    if scores.ndim != 2:
        raise ShapeError(f"a classifier of points gives (n, n_classes) scores, got {scores.shape}.")
    if (scores >= 0).all() and np.allclose(scores.sum(1), 1, atol=1e-4):
        return scores
    with np.errstate(all="ignore"):
        return softmax(scores)


def points_and_labels(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Points of the plane and labels from 0, or what is wrong with them."""
    x, y = map(array_of, (x, y))
    if x.ndim != 2 or x.shape[1] != 2:
        raise ShapeError(f"regions need points of two features, (n_samples, 2), got {x.shape}.")
    y = y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
    if len(x) != len(y) or not len(x):
        raise ShapeError(f"as many labels as points are needed, got {len(y)} for {len(x)}.")
    if set(np.unique(y).tolist()) == {-1, 1}:
        y = (y + 1) // 2
    return (x if x.dtype.kind == "f" else x.astype(np.float32)), y.astype(int)
