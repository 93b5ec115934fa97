"""Animations: a figure, the parts of it that move, and the files that they are saved in.

Whatever does not move is drawn once. That, and one palette for all frames without dithering,
makes GIFs quick and small.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_opt.typing import Array, ArrayLike
from tinygrad_opt.viz.animation.moving import Part
from tinygrad_opt.viz.figures import Options, Picture
from tinygrad_opt.viz.html_page import in_frame
from tinygrad_opt.viz.tables import save_numbers
from tinygrad_opt.viz.theme import Theme

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Film", "filmed", "save_gif"]

PAGE = 191                                    # of the page, and so many others, in a GIF
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
        self, figure: Picture, parts: Sequence[Part], frames: int, *, theme: Theme, fps: float = 15,
        title: str = "animation", numbers: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        if frames < 1:
            raise ValueError("an animation needs at least one frame.")
        self.figure, self.parts, self.frames, self.fps = figure, list(parts), frames, fps
        self.theme, self.title, self.numbers = theme, title, dict(numbers or {})
        self.in_dark: Callable[[], Film] | None = None       # the same film, for the page alone
        self.show(frames - 1)

    def show(self, frame: int) -> Picture:
        """Put the figure into the state of a frame, and return it."""
        if not -self.frames <= frame < self.frames:
            raise IndexError(f"there is no frame {frame}: the film has {self.frames}.")
        for part in self.parts:
            part.show(frame % self.frames)
        return self.figure

    def images(self, watch: Callable[[int, int], object] | None = None) -> Iterator[Array]:
        """Each frame as bytes of shape (height, width, 3); only what moves is drawn anew.

        ``watch(done, all)`` is called after each.
        """
        canvas: Any = self.figure.canvas                     # Agg's, which has no types
        with self.moving():
            canvas.draw()
            background = canvas.copy_from_bbox(self.figure.bbox)
            for frame in range(self.frames):
                canvas.restore_region(background)
                for part in self.parts:
                    part.show(frame)
                    for artist in part.artists:
                        self.figure.draw_artist(artist)
                yield np.asarray(canvas.buffer_rgba())[..., :3].copy()
                if watch:
                    watch(frame + 1, self.frames)

    def save(
        self, path: str | os.PathLike[str], *, fps: float | None = None,
        watch: Callable[[int, int], object] | None = None,
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
            save_gif(self.images(watch), path, fps=fps)
        elif suffix == ".webp":
            from PIL import Image

            _save_images(map(Image.fromarray, self.images(watch)), path, fps, method=2, quality=80)
        else:
            self.show(self.frames - 1).savefig(path)
        return path

    def html(self, *, fps: float | None = None) -> str:
        """A page that plays the animation and holds all that it needs."""
        from tinygrad_opt.viz.animation.player import film_page

        return film_page(self, fps or self.fps)

    @contextmanager
    def moving(self, hidden: bool = False) -> Iterator[None]:
        """For a while, drawing the figure leaves out what moves, which may be hidden as well."""
        artists = [artist for part in self.parts for artist in part.artists]
        for artist in artists:
            artist.set(animated=True, visible=not hidden)
        try:
            yield
        finally:
            for artist in artists:
                artist.set(animated=False, visible=True)
            self.show(self.frames - 1)

    def _repr_html_(self) -> str:
        return in_frame(self.html(), self.title, self.figure.bbox.height + 90)

    def __repr__(self) -> str:
        size = "×".join(f"{side:.0f}" for side in (self.figure.bbox.width, self.figure.bbox.height))
        return f"<Film {self.title!r}: {self.frames} frames of {size}>"


def filmed(
    draw: Callable[[Options], tuple[Picture, Sequence[Part]]], frames: int, options: Options, *,
    fps: float, title: str,
) -> Film:
    """The film of the figure, and the parts of it that move, which `draw` makes of options.

    Of theme ``"auto"`` it is a light film, and a page holds a dark one too.
    """
    def make(options: Options) -> Film:
        figure, parts = draw(options)
        return Film(figure, parts, frames, theme=figure.theme, fps=fps,
                    title=options.get("title") or title, numbers=figure.numbers)

    film = make(options)
    if options.get("theme") == "auto":
        film.in_dark = lambda: make({**options, "theme": "dark"})
    return film


def save_gif(images: Iterable[Array], path: str | os.PathLike[str], *, fps: float = 15,
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
        PAGE, Image.Quantize.MAXCOVERAGE)
    seen, counts = np.unique(samples[-1].reshape(-1, 3), axis=0, return_counts=True)
    page = seen[counts.argmax()]                             # Pillow would take one near it
    colors = [*(palette.getpalette() or []), *bytes(3 * PAGE)][: 3 * PAGE] + page.tolist()
    before, packed = None, []
    for frame in frames:
        cells = np.asarray(frame.quantize(palette=palette, dither=Image.Dither.NONE))
        cells = np.where((np.asarray(frame) == page).all(axis=-1), PAGE, cells)
        change = cells if before is None else np.where(cells == before, PAGE + 1, cells)
        image = Image.fromarray(change.astype(np.uint8))     # what stays is transparent
        image.putpalette([*colors, 0, 0, 0])
        packed.append(image)
        before = cells
    return _save_images(packed, path, fps, hold, optimize=False, disposal=1, transparency=PAGE + 1)


def _save_images(images: Iterable[Image.Image], path: str | os.PathLike[str], fps: float,
                 hold: float = 2.0, **options: int) -> Path:
    """Write images of Pillow's as a file that plays them, of which the last stays a while."""
    first, *others = images
    step = max(round(100 / fps), 2) * 10       # milliseconds; browsers slow down what is quicker
    durations = [step] * len(others) + [step + int(1000 * hold)]
    first.save(path, None, save_all=True, append_images=others, loop=0, duration=durations,
               **options)
    return Path(path)
