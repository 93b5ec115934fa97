"""What Matplotlib draws in each frame, as data for the player of an HTML page.

The artists that make up a GIF are drawn by Matplotlib here too, onto a renderer that paints
nothing and notes what it is asked for. So the page shows the same film, sharp at every size.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_hex
from matplotlib.path import Path as Outline

from tinygrad_opt.viz.animation.moving import Part
from tinygrad_opt.viz.figures import data_url
from tinygrad_opt.viz.html_page import html_page

__all__ = ["CanvasRenderer", "film_page", "recorded"]

Array = np.ndarray
Command = tuple[int, list[Any], str]           # a style, places in tenths of a pixel, a text
SHARP = 2                                      # pixels of the background for one of the figure
STYLE = """canvas{display:block;width:100%;height:auto}
.film{display:flex;gap:8px;align-items:center;margin-top:8px}
input{flex:1;min-width:60px;accent-color:var(--value)}
output{min-width:6em;text-align:right;color:var(--muted);font-variant-numeric:tabular-nums}"""
BODY = """<canvas id="canvas" role="img"></canvas>
<div class="film"><button id="play" aria-label="play or pause" title="space">▶</button>
<input id="at" type="range" min="0" value="0" aria-label="frame" title="← and →">
<output id="count"></output>
<select id="speed" aria-label="speed"><option value=".25">¼×</option><option value=".5">½×</option>
<option value="1" selected>1×</option><option value="2">2×</option><option value="4">4×</option>
</select></div>"""


class CanvasRenderer(RendererBase):
    """Notes each path, marker, text and image, with its style, as a command for a canvas."""

    def __init__(self, figure: Any) -> None:
        super().__init__()
        self.agg, self.height = figure.canvas.get_renderer(), figure.bbox.height
        self.scale = figure.dpi / 72
        self.styles: list[str] = []
        self.commands: list[Command] = []
        self.cells: list[Array] = []                       # of the images, frame after frame

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        self._note(_places(path, transform, self.height), **self._ink(gc, rgbFace))

    def draw_markers(self, gc: Any, marker_path: Any, marker_trans: Any, path: Any, trans: Any,
                     rgbFace: Any = None) -> None:
        self._note(_places(Outline(path.vertices), trans, self.height, gaps=False),
                   **self._ink(gc, rgbFace), shape=_places(marker_path, marker_trans, 0.0))

    def draw_text(self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float,
                  ismath: Any = False, mtext: Any = None) -> None:
        # a browser may have another font: the text starts, is centred or ends where it does here
        align = "left" if mtext is None else mtext.get_horizontalalignment()
        if mtext is not None:
            x, _ = mtext.get_transform().transform(mtext.get_unitless_position())
        family = '"DejaVu Sans",Verdana,sans-serif'
        size = round(prop.get_size_in_points() * self.scale, 1)
        self._note([round(10 * x), round(10 * y)], s, fill=_color(gc.get_rgb(), gc), align=align,
                   font=f"{prop.get_weight()} {size}px {family}")

    def draw_image(self, gc: Any, x: float, y: float, im: Any, transform: Any = None) -> None:
        (left, low), (right, high) = np.add(transform.transform([(0, 0), (1, 1)]), (x, y))
        top = self.height - max(low, high)
        self.cells.append(im)
        self._note([round(10 * v) for v in (left, top, right - left, abs(high - low))], image=1)

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> Any:
        return self.agg.get_text_width_height_descent(s, prop, ismath)

    def get_canvas_width_height(self) -> Any:
        return self.agg.get_canvas_width_height()

    def points_to_pixels(self, points: Any) -> Any:
        return points * self.scale

    def option_scale_image(self) -> bool:
        return True                                        # the browser scales them

    def _note(self, places: list[Any], text: str = "", **style: Any) -> None:
        said = json.dumps(style)
        if said not in self.styles:
            self.styles.append(said)
        self.commands.append((self.styles.index(said), places, text))

    def _ink(self, gc: Any, face: Any) -> dict[str, Any]:
        width, (_, dashes) = gc.get_linewidth() * self.scale, gc.get_dashes()
        box = gc.get_clip_rectangle()
        return {
            "stroke": _color(gc.get_rgb(), gc) if width else None, "width": round(width, 2),
            "dashes": [round(d * self.scale, 1) for d in dashes or ()],
            "cap": {"projecting": "square"}.get(gc.get_capstyle(), gc.get_capstyle()),
            "fill": None if face is None else _color(face, gc),
            "clip": box and [round(v, 1) for v in (
                box.x0 - 1, self.height - box.y1 - 1, box.width + 2, box.height + 2)],
        }


def _color(color: Any, gc: Any) -> str:
    alpha = gc.get_alpha() if gc.get_forced_alpha() or len(color) == 3 else color[3]
    return to_hex((*color[:3], alpha), keep_alpha=True)


def _places(path: Any, transform: Any, height: float, gaps: bool = True) -> list[Any]:
    """The corners of a path in tenths of a pixel from above, flat; two None between its parts."""
    path = path.cleaned(transform=transform, remove_nans=True, curves=False)
    codes, corners = path.codes[:-1], path.vertices[:-1] * [1, -1] + [0, height]
    flat: list[Any] = []
    starts = np.flatnonzero(codes == Outline.MOVETO)
    for start, end in zip(starts, [*starts[1:], len(codes)]):
        if codes[end - 1] == Outline.CLOSEPOLY:
            corners[end - 1] = corners[start]
        flat += [None, None] if gaps and flat else []
        flat += np.round(10 * corners[start:end]).astype(int).ravel().tolist()
    return flat


def recorded(figure: Any, parts: Sequence[Part], frames: int) -> tuple[dict[str, Any], bytes]:
    """What each artist draws in each frame, and the cells of all images.

    For each artist there is a list of its frames. A frame is 0 if nothing has changed since the
    one before, and else a list of ``[style, kept, places, text]``, where so many of the places
    before are kept. The cells of an image are indices into its colours, and zero where they have
    not changed.
    """
    renderer, binary = CanvasRenderer(figure), bytearray()
    artists: list[Any] = []
    images: list[Any] = []
    for part, artist in ((owner, artist) for owner in parts for artist in owner.artists):
        drawn: list[list[Command]] = [[]]
        renderer.cells = []
        for frame in range(frames):
            part.show(frame)
            renderer.commands = []
            artist.draw(renderer)
            drawn.append(renderer.commands)
        artists.append([_changes(before, now) for before, now in pairwise(drawn)])
        images.append(None)
        if renderer.cells:
            cells = np.stack(renderer.cells)
            colors, flat = np.unique(cells.reshape(-1, 4), axis=0, return_inverse=True)
            index = flat.reshape(cells.shape[:-1]).astype(np.uint8)
            images[-1] = {"at": len(binary), "rows": cells.shape[1], "columns": cells.shape[2],
                          "colors": colors.ravel().tolist()}
            binary += np.diff(index, axis=0, prepend=np.zeros_like(index[:1])).tobytes()
    styles = [json.loads(style) for style in renderer.styles]
    return {"styles": styles, "artists": artists, "images": images}, bytes(binary)


def _changes(before: list[Command], now: list[Command]) -> Any:
    """How the commands of a frame differ from those of the frame before."""
    if before == now:
        return 0
    told = []
    for i, (style, places, text) in enumerate(now):
        known = before[i][1] if i < len(before) else []
        same = min(len(known), len(places))
        kept = next((k for k in range(same) if known[k] != places[k]), same) // 2 * 2
        told.append([style, kept, places[kept:], *([text] if text else [])])
    return told


def film_page(film: Any, fps: float) -> str:
    """The page that plays a film; one that follows the reader's system holds its dark twin too."""
    films, binary = [], b""
    for one in (film, *([film.in_dark()] if film.in_dark else [])):
        with one.moving(hidden=True):
            background = one.figure.canvas
            one.figure.dpi *= SHARP
            background.draw()
            image = data_url(np.asarray(background.buffer_rgba()))
            one.figure.dpi /= SHARP
        with one.moving():
            told, cells = recorded(one.figure, one.parts, one.frames)
        for place in filter(None, told["images"]):
            place["at"] += len(binary)
        binary += cells
        films.append({**told, "background": image})
    box = film.figure.bbox
    about = {"width": int(box.width), "height": int(box.height), "frames": film.frames, "fps": fps,
             "title": film.title}
    text = json.dumps(films, separators=(",", ":"), ensure_ascii=False)
    data = {"film": about, "drawn": _packed(text.encode()), "cells": _packed(binary)}
    script = Path(__file__).with_name("player.js").read_text(encoding="utf-8")
    theme = "auto" if film.in_dark else film.theme
    return html_page(film.title, BODY, style=STYLE, script=script, data=data, theme=theme)


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()
