"""The parts of a figure that move from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Dot", "Heat", "Line", "Part", "Stroke", "Words", "arrow", "within"]

Array = np.ndarray


class Part:
    """Artists, from below to above, and how each frame changes them."""

    def __init__(self, *artists: Any) -> None:
        self.artists = list(artists)

    def show(self, frame: int) -> None:
        """Put the artists into the state of a frame; without a change, they stand in front."""


class Heat(Part):
    """Coloured cells that fill an axes: one byte each, an index into a list of colours.

    Parameters
    ----------
    axes
    cells : ndarray of uint8, shape (n_frames, n_rows, n_columns)
        The first row is drawn at the top.
    colors : ndarray of uint8, shape (n_colors, 3)
    extent : (left, right, bottom, top), optional
        In data coordinates; by default 0 to 1.
    """

    def __init__(self, axes: Any, cells: Array, colors: Array, extent: Any = None) -> None:
        self.cells, self.colors = cells, colors
        self.image = axes.imshow(colors[cells[-1]], extent=extent or (0, 1, 0, 1), aspect="auto",
                                 interpolation="none", zorder=0)
        super().__init__(self.image)

    def show(self, frame: int) -> None:
        self.image.set_data(self.colors[self.cells[frame]])


class _Curve(Part):
    """A Matplotlib line that shows some of its points in each frame."""

    def __init__(self, axes: Any, points: Array, **options: Any) -> None:
        self.points = points
        (self.line,) = axes.plot([], [], **options)
        super().__init__(self.line)

    def show(self, frame: int) -> None:
        self.line.set_data(*self.at(frame).T)

    def at(self, frame: int) -> Array:
        """The points of a frame, as rows."""
        raise NotImplementedError


class Line(_Curve):
    """A line that grows, or a row of markers: how many of its points each frame shows.

    Parameters
    ----------
    axes
    x, y : array-like of shape (n_points,)
        What is not finite leaves a gap.
    until : sequence of int
        For each frame, the number of points that are shown.
    **options
        Of the Matplotlib line.
    """

    def __init__(self, axes: Any, x: Any, y: Any, until: Sequence[int], **options: Any) -> None:
        self.until = list(until)
        super().__init__(axes, within(axes, x, y), **options)

    def at(self, frame: int) -> Array:
        return self.points[: self.until[frame]]


class Dot(_Curve):
    """A marker that moves: a place for each frame, none where it is not finite."""

    def __init__(self, axes: Any, x: Any, y: Any, **options: Any) -> None:
        super().__init__(axes, within(axes, x, y), linestyle="none", **options)

    def at(self, frame: int) -> Array:
        return self.points[frame, None]


class Stroke(_Curve):
    """A line that is another one in each frame, such as a tangent or an arrow.

    Parameters
    ----------
    axes
    x, y : array-like of shape (n_frames, n_points)
    **options
        Of the Matplotlib line.
    """

    def __init__(self, axes: Any, x: Any, y: Any, **options: Any) -> None:
        x, y = np.asarray(x, float), np.asarray(y, float)
        super().__init__(axes, within(axes, x.ravel(), y.ravel()).reshape(*x.shape, 2), **options)

    def at(self, frame: int) -> Array:
        return self.points[frame]


class Words(Part):
    """A text for each frame, in a Matplotlib text that is already in its place."""

    def __init__(self, text: Any, words: Sequence[str]) -> None:
        self.text, self.words = text, list(words)
        super().__init__(text)

    def show(self, frame: int) -> None:
        self.text.set_text(self.words[frame])


def within(axes: Any, x: Any, y: Any, views: float = 20.0) -> Array:
    """Points of a line as rows, those far outside moved to some views from the axes.

    A run that explodes thus leaves the picture in the direction that it took, and no number is
    too large to be drawn.
    """
    with np.errstate(all="ignore"):
        points = np.column_stack([np.asarray(x, float), np.asarray(y, float)])
        points[~np.isfinite(points).all(axis=1)] = np.nan
        to = axes.transData
        pixels = to.transform(points)
        box = axes.bbox
        low = [box.x0 - views * box.width, box.y0 - views * box.height]
        high = [box.x1 + views * box.width, box.y1 + views * box.height]
        far = (pixels < low) | (pixels > high)
        moved = to.inverted().transform(np.clip(pixels, low, high))
        return np.where(far.any(axis=1, keepdims=True), moved, points)


def arrow(axes: Any, x: Any, y: Any, dx: Any, dy: Any, head: float = 6.0) -> tuple[Array, Array]:
    """Arrows from (x, y) to (x + dx, y + dy) as strokes, with heads of so many pixels."""
    to = axes.transData
    tail = to.transform(np.column_stack([x, y]))
    tip = to.transform(np.column_stack([np.add(x, dx), np.add(y, dy)]))
    along = tip - tail
    length = np.hypot(*along.T)[:, None]
    with np.errstate(all="ignore"):
        unit = np.where(length > 0.5, along / length, np.nan)
    side = unit[:, ::-1] * [-1, 1]
    barbs = [tip - head * unit + s * head / 2 * side for s in (1, -1)]
    line = np.stack([tail, tip, barbs[0], tip, barbs[1]], axis=1)
    line[np.isnan(unit).any(axis=1)] = np.nan
    points = to.inverted().transform(line.reshape(-1, 2)).reshape(line.shape)
    return points[..., 0], points[..., 1]
