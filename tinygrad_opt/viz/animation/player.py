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
from tinygrad_opt.viz.html_page import html_page

if TYPE_CHECKING:
    from tinygrad_opt.viz.animation.film import Film

__all__ = ["film_page"]

STYLE = """#film{display:block;margin:auto;width:100%;height:auto}#film.large{min-width:720px}
#film text{white-space:pre}.wide{overflow-x:auto}
.bar{display:flex;gap:8px;align-items:center;margin-top:8px}
input{flex:1;min-width:60px;accent-color:var(--value)}
output{min-width:6em;text-align:right;color:var(--muted);font-variant-numeric:tabular-nums}
@media (min-width:760px){#whole{display:none}}@media (max-width:480px){output{min-width:0}}
@media print{.bar{display:none}}"""
BODY = """<div class="wide"><svg id="film" role="img"></svg></div>
<div class="bar"><button id="play" aria-label="play or pause" title="space">▶</button>
<input id="at" type="range" min="0" value="0" aria-label="frame" title="← and →">
<output id="count"></output>
<select id="speed" aria-label="speed"><option value=".25">¼×</option><option value=".5">½×</option>
<option value="1" selected>1×</option><option value="2">2×</option><option value="4">4×</option>
</select><button id="whole" aria-label="larger or whole" title="larger or whole">+</button></div>"""


def film_page(film: Film, fps: float) -> str:
    """The page that plays a film; one that follows the reader's system holds its dark twin too."""
    films = [_drawn(one) for one in (film, *([film.in_dark()] if film.in_dark else []))]
    width, height = (POINTS * side for side in film.figure.get_size_inches())
    ends = (part.words[-1] for part in film.parts if isinstance(part, Words))
    about = {"width": width, "height": height, "frames": film.frames, "fps": fps,
             "alt": ". ".join(filter(None, [film.title, *ends]))}
    text = json.dumps(films, separators=(",", ":"), ensure_ascii=False).encode()
    data = {"about": about, "drawn": base64.b64encode(zlib.compress(text, 9)).decode()}
    script = Path(__file__).with_name("player.js").read_text(encoding="utf-8")
    theme = "auto" if film.in_dark else film.theme
    return html_page(film.title, BODY, style=STYLE, script=script, data=data, theme=theme)


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
