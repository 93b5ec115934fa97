"""The page that plays a film: what Matplotlib draws in each frame, as SVG.

What stands still is drawn once, and each artist that moves is kept frame by frame. So the page
shows the same film as a GIF, sharp at every size.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_opt.viz.animation.moving import Words
from tinygrad_opt.viz.figures import POINTS, svg_inside
from tinygrad_opt.viz.html_page import filled_page

if TYPE_CHECKING:
    from tinygrad_opt.viz.animation.film import Film

__all__ = ["film_page"]

PAGE = Path(__file__).with_name("player.html")


def film_page(film: Film, fps: float) -> str:
    """The page that plays a film; one that follows the reader's system holds its dark twin too."""
    films = [_drawn(one) for one in (film, *([film.in_dark()] if film.in_dark else []))]
    width, height = (POINTS * side for side in film.figure.get_size_inches())
    ends = (part.words[-1] for part in film.parts if isinstance(part, Words))
    about = {"width": width, "height": height, "frames": film.frames, "fps": fps,
             "alt": ". ".join(filter(None, [film.title, *ends]))}
    text = json.dumps(films, separators=(",", ":"), ensure_ascii=False).encode()
    data = {"about": about, "drawn": base64.b64encode(zlib.compress(text, 9)).decode()}
    return filled_page(PAGE, film.title, data=data, theme="auto" if film.in_dark else film.theme)


def _drawn(film: Film) -> dict[str, object]:
    """What stands still, and of each artist what it draws in each frame; 0 if nothing changed."""
    figure = film.figure
    with film.moving(hidden=True):
        still = svg_inside(figure, figure)
    with film.moving():
        artists: list[list[object]] = []
        for part, artist in ((owner, a) for owner in film.parts for a in owner.artists):
            drawn = [""]
            artists.append([])
            for frame in range(film.frames):
                part.show(frame)
                drawn.append(svg_inside(figure, artist))
                artists[-1].append(drawn[-1] if drawn[-1] != drawn[-2] else 0)
    return {"still": still, "artists": artists}
