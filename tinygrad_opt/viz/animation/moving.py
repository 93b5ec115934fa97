"""The parts of a figure that move from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_opt.typing import Array, ArrayLike, Unpack
from tinygrad_opt.viz.figures import Axes
from tinygrad_opt.viz.theme import Stroke

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.text import Text

__all__ = ["Heat", "Line", "Part", "Words", "arrow", "note", "within"]


class Part:
    """Artists, from below to above, and how each frame changes them."""

    def __init__(self, *artists: Artist) -> None:
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

    def __init__(
        self, axes: Axes, cells: Array, colors: Array,
        extent: tuple[float, float, float, float] = (0, 1, 0, 1),
    ) -> None:
        self.cells, self.colors = cells, colors
        self.image = axes.imshow(colors[cells[-1]], extent=extent, aspect="auto",
                                 interpolation="none", zorder=0)
        super().__init__(self.image)

    def show(self, frame: int) -> None:
        self.image.set_data(self.colors[self.cells[frame]])


class Line(Part):
    """A Matplotlib line, or a row of markers, through other points in each frame.

    Parameters
    ----------
    axes
    x, y : array-like of shape (n_frames, n_points), or (n_points,) of a line that grows
        What is not finite leaves a gap.
    until : sequence of int, optional
        Of a line that grows: for each frame, the number of points that are shown.
    **options
        Of the Matplotlib line.
    """

    def __init__(
        self, axes: Axes, x: ArrayLike, y: ArrayLike, until: Sequence[int] | None = None,
        **options: Unpack[Stroke],
    ) -> None:
        points = within(axes, x, y)
        self.frames = points if until is None else [points[:n] for n in until]
        (self.line,) = axes.plot([], [], **options)
        super().__init__(self.line)

    def show(self, frame: int) -> None:
        self.line.set_data(*self.frames[frame].T)


class Words(Part):
    """A text for each frame, in a Matplotlib text that is already in its place."""

    def __init__(self, text: Text, words: Sequence[str]) -> None:
        self.text, self.words = text, list(words)
        super().__init__(text)

    def show(self, frame: int) -> None:
        self.text.set_text(self.words[frame])


def note(axes: Axes, x: float, y: float, **options: str | float) -> Text:
    """A text in front of an axes, at a place in shares of it, for what is said in each frame."""
    box = {"facecolor": axes.get_facecolor(), "alpha": 0.8, "linewidth": 0, "pad": 2}
    return axes.text(x, y, "", None, transform=axes.transAxes, fontweight="bold", zorder=8,
                     bbox=box, **options)


def within(axes: Axes, x: ArrayLike, y: ArrayLike, views: float = 20.0) -> Array:
    """The points of lines, of shape (..., 2), those far outside moved to some views from the axes.

    A run that explodes thus leaves the picture in the direction that it took, and no number is
    too large to be drawn.
    """
    with np.errstate(all="ignore"):
        points = np.stack([np.asarray(x, float), np.asarray(y, float)], -1)
        points[~np.isfinite(points).all(-1)] = np.nan
        to, box = axes.transData, axes.bbox
        pixels = to.transform(points.reshape(-1, 2)).reshape(points.shape)
        room = np.multiply(views, box.size)
        near = np.clip(pixels, box.min - room, box.max + room)
        moved = to.inverted().transform(near.reshape(-1, 2)).reshape(points.shape)
        far = (np.abs(pixels - near) > 0).any(-1, keepdims=True)
        return np.where(far, moved, points)


def arrow(
    axes: Axes, x: ArrayLike, y: ArrayLike, dx: ArrayLike, dy: ArrayLike, head: float = 6.0
) -> tuple[Array, Array]:
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
