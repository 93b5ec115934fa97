"""What commands write, and how they show how far they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tinygrad_opt.cli.command import Argument
from tinygrad_opt.cli.kinds import Positive, Text, Theme, pixels
from tinygrad_opt.errors import RenderError

if TYPE_CHECKING:
    from tinygrad_opt.viz.animation.film import Film
    from tinygrad_opt.viz.figures import Options, Picture

__all__ = ["MOVING", "NUMBERS", "STILL", "Counter", "Look", "kind_of", "list_files", "room_for",
           "save_film"]

MOVING, STILL, NUMBERS = (".gif", ".webp", ".html"), (".png", ".svg", ".pdf"), (".csv", ".npz")


def kind_of(path: Path) -> tuple[str, ...]:
    """Which of the three a file is."""
    return next(kind for kind in (MOVING, STILL, NUMBERS) if path.suffix.lower() in kind)


def list_files(files: Mapping[Path, str]) -> None:
    """Say what has been written, and what each file is."""
    width = max(len(str(path)) for path in files)
    for path, meaning in files.items():
        print(f"  {path!s:{width}}  {meaning}")


def room_for(path: Path) -> Path:
    """The path, once the folder is there that its file is to be written into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@dataclass(kw_only=True)
class Look:
    """How pictures look.

    Parameters
    ----------
    theme
        colours; with auto pages and SVG follow their reader's system, and other pictures are light
    title
        above the picture
    size
        in pixels, such as 1920x1080, on which words and lines grow too
    dpi
        pixels an inch: more of them make words and lines larger, from 201 on also at 1920x1080
    """

    theme: Theme = "auto"
    title: Text = ""
    size: Annotated[tuple[int, int], Argument(type=pixels, metavar="WxH")] | None = None
    dpi: Positive = 100

    def options(self, usual: tuple[float, float] | None = None) -> Options:
        """As functions of `viz` take it: sizes in inches."""
        size = (self.size[0] / self.dpi, self.size[1] / self.dpi) if self.size else usual
        return {"theme": self.theme, "title": self.title, "size": size, "dpi": self.dpi}

    def save(self, plot: Callable[..., Picture], path: Path,
             usual: tuple[float, float] | None = None) -> Path:
        """Save a picture, of the usual size if none was asked for."""
        from tinygrad_opt.viz.figures import save_picture

        return save_picture(plot, room_for(path), **self.options(usual))

    def could_save(self, plot: Callable[..., Picture], path: Path,
                   usual: tuple[float, float] | None = None) -> bool:
        """The same, or say why not: without Matplotlib, or with nothing to be drawn."""
        try:
            return bool(self.save(plot, path, usual))
        except (RenderError, ValueError) as error:
            print(f"no {path.name}: {error}")
            return False


def save_film(film: Film, path: Path, quiet: bool) -> None:
    """Save a film, and say how many frames it has."""
    with Counter("frames", quiet) as watch:
        print(f"{film.save(path, watch=watch)}  {film.frames} frames")


class Counter(AbstractContextManager["Counter"]):
    """How far a command is: called with (done, all), to be closed at the end.

    As in training, a bar is drawn by tqdm where it is installed and a line can be drawn over;
    elsewhere there is a line now and then.
    """

    PAUSE = 2.0                                            # seconds between two lines

    def __init__(self, what: str, quiet: bool) -> None:
        from tinygrad_opt.train.progress import progress_for

        self.what, self.quiet = what, quiet
        self.tqdm = getattr(progress_for(not quiet), "tqdm", None)
        self.bar: Any = None
        self.start = self.printed = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        if self.tqdm:
            self.bar = self.bar or self.tqdm(total=total, desc=self.what, dynamic_ncols=True)
            self.bar.update(done - self.bar.n)
            return
        now = time.perf_counter()
        if not self.quiet and now - self.printed > self.PAUSE:
            self.printed = now
            print(f"{self.what}: {done} of {total} after {now - self.start:.1f} s",
                  file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
