"""Animations: a figure, the parts of it that move, and three ways to save them.

A part knows what to show in each frame, and says it twice: as a Matplotlib artist, for GIF and
WebP, and as pixels and text, for the player in an HTML page. Whatever does not move is drawn
once. That, and one palette for all frames without dithering, makes GIFs quick and small.
"""

from __future__ import annotations

import base64
import html
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.viz.plots.film_page import PAGE
from tinygrad_opt.viz.plots.moving import Part
from tinygrad_opt.viz.plots.numbers import save_numbers
from tinygrad_opt.viz.plots.style import data_url
from tinygrad_opt.viz.theme import Theme

__all__ = ["Film", "save_gif"]

Array = np.ndarray
COLORS = 192                                  # in the palette of a GIF
SUFFIXES = (".gif", ".webp", ".html", ".png", ".svg", ".pdf", ".csv", ".npz")


class Film:
    """An animation that is ready to be looked at and saved.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        The last frame, to be restyled or saved as a picture.
    frames : int
    fps : float
        Frames a second.
    numbers : dict of str to ndarray
        What is shown, as `save` writes it to CSV or NPZ.

    Notes
    -----
    In a notebook it shows itself, with a scrubber.
    """

    def __init__(
        self, figure: Any, parts: Sequence[Part], frames: int, *, theme: Theme, fps: float = 15,
        title: str = "", numbers: Mapping[str, Any] | None = None,
    ) -> None:
        if frames < 1:
            raise ValueError("an animation needs at least one frame.")
        self.figure, self.parts, self.frames, self.fps = figure, list(parts), frames, fps
        self.theme, self.title, self.numbers = theme, title, dict(numbers or {})
        self.show(frames - 1)

    def show(self, frame: int) -> Any:
        """Put the figure into the state of a frame, and return it."""
        if not -self.frames <= frame < self.frames:
            raise IndexError(f"there is no frame {frame}: the film has {self.frames}.")
        for part in self.parts:
            part.show(frame % self.frames)
        return self.figure

    def images(self) -> Iterator[Array]:
        """Each frame as bytes of shape (height, width, 3); only what moves is drawn anew."""
        canvas = self.figure.canvas
        with self._moving():
            canvas.draw()
            background = canvas.copy_from_bbox(self.figure.bbox)
            for frame in range(self.frames):
                canvas.restore_region(background)
                for part in self.parts:
                    part.show(frame)
                    for artist in part.artists:
                        self.figure.draw_artist(artist)
                yield np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def save(
        self, path: str | os.PathLike[str], *, fps: float | None = None,
        watch: Callable[[int, int], Any] | None = None,
    ) -> Path:
        """Write the animation, one picture of it, or its numbers.

        Parameters
        ----------
        path : str or path
            The suffix chooses: ``.gif``, ``.webp`` and ``.html`` (a player with a scrubber, in
            one file) move; ``.png``, ``.svg`` and ``.pdf`` hold the last frame; ``.csv`` and
            ``.npz`` hold the numbers.
        fps : float, optional
            Frames a second.
        watch : callable, optional
            ``watch(done, all)`` after each frame of a GIF or WebP.

        Returns
        -------
        Path
        """
        path, fps = Path(path), fps or self.fps
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"cannot save an animation as {path.name!r}; the name must end in"
                             f" {', '.join(SUFFIXES)}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix in (".csv", ".npz"):
            return save_numbers(path, self.numbers)
        if suffix == ".html":
            path.write_text(self.html(fps=fps), encoding="utf-8", newline="\n")
        elif suffix == ".gif":
            save_gif(self._watched(watch), path, fps=fps)
        elif suffix == ".webp":
            _save_webp(self._watched(watch), path, fps)
        else:
            self.show(self.frames - 1).savefig(path)
        return path

    def html(self, *, fps: float | None = None) -> str:
        """A page that plays the animation and holds all that it needs."""
        with self._moving():
            self.figure.canvas.draw()
            background = data_url(np.asarray(self.figure.canvas.buffer_rgba()))
        height = int(self.figure.bbox.height)
        scripts, binary = [], bytearray()
        for part in self.parts:
            for script in part.script(height):
                data = script.pop("bytes", None)
                if data is not None:
                    script["at"] = len(binary)
                    binary += data
                scripts.append(script)
        film = {
            "width": int(self.figure.bbox.width), "height": height, "frames": self.frames,
            "fps": fps or self.fps, "background": background, "parts": scripts,
        }
        theme = self.theme
        text = json.dumps(film, separators=(",", ":"), ensure_ascii=False)
        fill = {
            "TITLE": html.escape(self.title or "animation"), "PAGE": theme.page,
            "TEXT": theme.text, "MUTED": theme.muted, "GRID": theme.grid,
            "FILM": _packed(text.encode()), "BYTES": _packed(bytes(binary)),
        }
        page = PAGE
        for key, value in fill.items():
            page = page.replace(f"%{key}%", value)
        return page

    def _watched(self, watch: Any) -> Iterator[Array]:
        for done, image in enumerate(self.images(), 1):
            yield image
            if watch:
                watch(done, self.frames)

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """Drawing the figure leaves out what moves, for a while."""
        artists = [artist for part in self.parts for artist in part.artists]
        for artist in artists:
            artist.set_animated(True)
        try:
            yield
        finally:
            for artist in artists:
                artist.set_animated(False)
            self.show(self.frames - 1)

    def _repr_html_(self) -> str:
        box = self.figure.bbox
        size = f"width:{box.width + 24:.0f}px;height:{box.height + 70:.0f}px"
        return (f'<iframe srcdoc="{html.escape(self.html())}" style="{size};max-width:100%;'
                f'border:0" title="{html.escape(self.title or "animation")}"></iframe>')

    def __repr__(self) -> str:
        size = "×".join(f"{side:.0f}" for side in (self.figure.bbox.width, self.figure.bbox.height))
        return f"<Film {self.title!r}: {self.frames} frames of {size}>"


def save_gif(images: Any, path: str | os.PathLike[str], *, fps: float = 15,
             hold: float = 2.0) -> Path:
    """Write frames as a GIF that loops: one palette for all, no dithering, changes only.

    Parameters
    ----------
    images : iterable of uint8 arrays of shape (height, width, 3)
    path : str or path
    fps : float
        Frames a second; GIF keeps time in hundredths of a second.
    hold : float
        Seconds that the last frame stays.

    Returns
    -------
    Path
    """
    from PIL import Image

    frames = [Image.fromarray(image) for image in images]
    samples = [np.asarray(f)[::2, ::2] for f in [*frames[:: len(frames) // 6 + 1], frames[-1]]]
    # the default method would merge a thin line's colour with a large area's
    palette = Image.fromarray(np.concatenate(samples)).quantize(
        COLORS, Image.Quantize.MAXCOVERAGE)
    colors = _with_page(palette.getpalette() or [], samples[-1])
    palette.putpalette(colors)
    before, packed = None, []
    for frame in frames:
        cells = np.asarray(frame.quantize(palette=palette, dither=Image.Dither.NONE))
        change = cells if before is None else np.where(cells == before, COLORS, cells)
        image = Image.fromarray(change.astype(np.uint8))     # what stays is transparent
        image.putpalette([*colors[: 3 * COLORS], 0, 0, 0])
        packed.append(image)
        before = cells
    packed[0].save(path, save_all=True, append_images=packed[1:], loop=0, optimize=False,
                   disposal=1, transparency=COLORS, duration=_durations(len(frames), fps, hold))
    return Path(path)


def _with_page(palette: list[int], frame: Array) -> list[int]:
    """The palette with the commonest colour of a frame, its page, exactly as it is."""
    colors = np.array(palette).reshape(-1, 3)
    seen, counts = np.unique(frame.reshape(-1, 3), axis=0, return_counts=True)
    page = seen[counts.argmax()].astype(int)
    colors[np.abs(colors - page).sum(1).argmin()] = page
    return colors.ravel().tolist()


def _save_webp(images: Any, path: Path, fps: float) -> None:
    from PIL import Image

    frames = [Image.fromarray(image) for image in images]
    frames[0].save(path, save_all=True, append_images=frames[1:], loop=0, method=2, quality=80,
                   duration=_durations(len(frames), fps, 2.0))


def _durations(frames: int, fps: float, hold: float) -> list[int]:
    """Milliseconds of each frame."""
    step = max(round(100 / fps), 2) * 10                     # browsers slow down what is quicker
    return [step] * (frames - 1) + [step + int(1000 * hold)]


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()
