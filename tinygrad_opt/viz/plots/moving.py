"""The parts of an animation that move, as Matplotlib artists and as pixels for an HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.viz.plots.style import data_url

__all__ = ["Dot", "Heat", "Line", "Part", "Still", "Stroke", "Words"]

Array = np.ndarray


class Part:
    """Something that moves; `artists` draw it, from below to above."""

    artists: list[Any]

    def show(self, frame: int) -> None:
        """Put the artists into the state of a frame."""

    def script(self, height: int) -> Iterator[dict[str, Any]]:
        """The same in pixels from the upper left corner, for the player of an HTML page."""
        raise NotImplementedError


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
        self.axes, self.cells, self.colors = axes, cells, colors
        self.extent = extent or (0, 1, 0, 1)
        self.image = axes.imshow(colors[cells[-1]], extent=self.extent, aspect="auto",
                                 interpolation="nearest", zorder=0)
        self.artists = [self.image]

    def show(self, frame: int) -> None:
        self.image.set_data(self.colors[self.cells[frame]])

    def script(self, height: int) -> Iterator[dict[str, Any]]:
        corners = self.axes.transData.transform(np.reshape(self.extent, (2, 2)).T)
        (left, bottom), (right, top) = corners
        # most cells keep their colour from frame to frame, and zeros pack well
        change = np.diff(self.cells, axis=0, prepend=np.zeros_like(self.cells[:1]))
        yield {"kind": "heat", "box": _round([left, height - top, right - left, top - bottom]),
               "rows": self.cells.shape[1], "columns": self.cells.shape[2],
               "colors": self.colors.ravel().tolist(), "bytes": change.tobytes()}


class Line(Part):
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
        self.axes, self.until = axes, list(until)
        self.points = within(axes, x, y)
        (self.line,) = axes.plot(self.points[:, 0], self.points[:, 1], **options)
        self.artists = [self.line]

    def show(self, frame: int) -> None:
        self.line.set_data(*self.points[: self.until[frame]].T)

    def script(self, height: int) -> Iterator[dict[str, Any]]:
        dots = self.line.get_linestyle() == "None"
        look = _stamp(self.line) if dots else _pen(self.line)
        yield {"kind": "dots" if dots else "line", "until": self.until,
               "points": _pixels(self.axes, self.points, height),
               "clip": _box(self.axes, height), **look}


class Dot(Part):
    """A marker that moves: a place for each frame, none where it is not finite."""

    def __init__(self, axes: Any, x: Any, y: Any, **options: Any) -> None:
        self.axes, self.points = axes, within(axes, x, y)
        (self.line,) = axes.plot(*self.points[-1:].T, linestyle="none", **options)
        self.artists = [self.line]

    def show(self, frame: int) -> None:
        self.line.set_data(*self.points[frame : frame + 1].T)

    def script(self, height: int) -> Iterator[dict[str, Any]]:
        yield {"kind": "dot", "points": _pixels(self.axes, self.points, height),
               "clip": _box(self.axes, height, self.line.get_markersize()), **_stamp(self.line)}


class Stroke(Part):
    """A line that is another one in each frame, such as a tangent or an arrow.

    Parameters
    ----------
    axes
    x, y : array-like of shape (n_frames, n_points)
    """

    def __init__(self, axes: Any, x: Any, y: Any, **options: Any) -> None:
        x, y = np.asarray(x, float), np.asarray(y, float)
        self.axes, self.frames = axes, within(axes, x.ravel(), y.ravel()).reshape(*x.shape, 2)
        (self.line,) = axes.plot(*self.frames[-1].T, **options)
        self.artists = [self.line]

    def show(self, frame: int) -> None:
        self.line.set_data(*self.frames[frame].T)

    def script(self, height: int) -> Iterator[dict[str, Any]]:
        points = _pixels(self.axes, self.frames.reshape(-1, 2), height)
        yield {"kind": "stroke", "points": points, "size": self.frames.shape[1],
               "clip": _box(self.axes, height), **_pen(self.line)}


class Words(Part):
    """A text for each frame, in a Matplotlib text that is already in its place."""

    def __init__(self, text: Any, words: Sequence[str]) -> None:
        self.text, self.words = text, list(words)
        self.artists = [text]

    def show(self, frame: int) -> None:
        self.text.set_text(self.words[frame])

    def script(self, height: int) -> Iterator[dict[str, Any]]:
        t = self.text
        x, y = t.get_transform().transform(t.get_unitless_position())
        align = {"left": "start", "center": "middle", "right": "end"}[t.get_horizontalalignment()]
        yield {"kind": "words", "words": self.words, "at": _round([x, height - y]), "align": align,
               "base": t.get_verticalalignment(), "color": _color(t.get_color()),
               "size": round(t.get_fontsize() * t.figure.dpi / 72, 1),
               "weight": str(t.get_fontweight())}


class Still(Part):
    """Artists that don't move but stand in front of parts that do."""

    def __init__(self, figure: Any, artists: Sequence[Any]) -> None:
        self.figure, self.artists = figure, list(artists)

    def script(self, height: int) -> Iterator[dict[str, Any]]:
        renderer = self.figure.canvas.get_renderer()
        renderer.clear()
        for artist in self.artists:
            artist.draw(renderer)
        yield {"kind": "still", "image": data_url(np.asarray(renderer.buffer_rgba()))}


# ---- pixels --------------------------------------------------------------------------------------


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


def _pixels(axes: Any, points: Array, height: int) -> list[Any]:
    """Points in tenths of a pixel, flat; None where there is none."""
    pixels = axes.transData.transform(points) * [1, -1] + [0, height]
    flat = np.round(10 * pixels).ravel()
    return [None if v != v else int(v) for v in flat]


def _box(axes: Any, height: int, more: float = 1.0) -> list[float]:
    box = axes.bbox
    return _round([box.x0 - more, height - box.y1 - more, box.width + 2 * more,
                   box.height + 2 * more])


def _pen(line: Any) -> dict[str, Any]:
    scale = line.axes.figure.dpi / 72
    dashes = line._unscaled_dash_pattern[1] or []
    width = line.get_linewidth()
    return {"color": _color(line.get_color(), line.get_alpha()), "pen": round(width * scale, 2),
            "dashes": [round(d * width * scale, 1) for d in dashes]}


def _stamp(line: Any) -> dict[str, Any]:
    """The outline and colours of a line's markers."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(line.get_marker())
    scale = line.axes.figure.dpi / 72
    size = line.get_markersize() * scale
    outline = style.get_path().transformed(style.get_transform())
    flip = np.array([size, -size])
    return {"shapes": [_round(np.asarray(p) * flip) for p in outline.to_polygons()],
            "fill": _color(line.get_markerfacecolor()), "edge": _color(line.get_markeredgecolor()),
            "pen": round(line.get_markeredgewidth() * scale, 2)}


def _color(color: Any, alpha: float | None = None) -> str:
    from matplotlib.colors import to_hex

    return to_hex(color if alpha is None else (color, alpha), keep_alpha=True)


def _round(values: Any) -> Any:
    return np.round(np.asarray(values, float), 1).tolist()
