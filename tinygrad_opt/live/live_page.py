"""A page that computes: what it runs is packed into one file, beside what it shows."""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from tinygrad_opt.viz.html_page import Page, html_page
from tinygrad_opt.viz.theme import CLASSES, DARK, LIGHT

__all__ = ["LivePage", "live_page", "object_text", "packed"]

HERE = Path(__file__).parent

# what every page does first: unpack its modules, and run them as a script
START = """\
"use strict";
const byId = id => document.getElementById(id);
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = document.createElement("script");
  script.textContent = `window.LIVE = ${await new Response(stream).text()};`;
  document.head.append(script);
  return window.LIVE;
}
"""


class LivePage(Page):
    """A page that computes in the browser.

    Notebooks show it; ``.save(path)`` writes it, ``.show()`` opens it in a browser, ``str(page)``
    is the whole file, and ``.fragment`` is an element for pages of one's own, such as the
    documentation.
    """

    def __init__(self, page: str, title: str, height: int = 900) -> None:
        self.page, self.title, self.height = page, title, height

    @property
    def html(self) -> str:
        return self.page

    def __str__(self) -> str:
        return self.page

    def __repr__(self) -> str:
        return f"<LivePage {self.title!r}, {len(self.page.encode()) / 1000:.0f} kB>"

    @property
    def fragment(self) -> str:
        """The page as an element, in a frame of its own."""
        return self._repr_html_()


def live_page(
    name: str, title: str, modules: str, data: Mapping[str, object] | None = None, *,
    path: str | os.PathLike[str] | None = None, theme: str = "auto", height: int = 900,
    body: Mapping[str, str] | None = None,
) -> LivePage:
    """The page of the files ``<name>.html``, ``.css`` and ``.js`` beside this one.

    Parameters
    ----------
    name, title : str
    modules : str
        What ``LIVE`` is, as JavaScript.
    data : dict, optional
        Of what JSON can write, one element each.
    path : str or path, optional
        Where to write it.
    body : dict of str to str, optional
        HTML for places such as ``$SVG$``.
    """
    def file(suffix: str) -> str:
        return (HERE / f"{name}.{suffix}").read_text(encoding="utf-8")

    colors = {"light": [LIGHT.color(c) for c in CLASSES], "dark": [DARK.color(c) for c in CLASSES]}
    html = re.sub(r"\$([A-Z]+)\$", lambda m: (body or {})[m[1]], file("html"))
    html += f'\n<script type="text/plain" id="modules">{packed(modules)}</script>'
    uses = re.findall(r"(\w+)\.js", file("js").partition("\n")[0])
    scripts = [START, *((HERE / f"{part}.js").read_text(encoding="utf-8") for part in uses),
               file("js")]
    style = (HERE / "live.css").read_text(encoding="utf-8") + file("css")
    page = LivePage(html_page(title, html, style=style, script="\n".join(scripts), theme=theme,
                    data={**(data or {}), "colors": colors}), title, height)
    if path is not None:
        page.save(path)
    return page


def packed(text: str) -> str:
    """Text, compressed, as text."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def object_text(x: object) -> str:
    """Nested dicts and lists as JavaScript; a text that is a function stays one."""
    if isinstance(x, dict):
        return "{" + ",\n".join(f"{json.dumps(str(k))}: {object_text(v)}"
                                for k, v in x.items()) + "}"
    if isinstance(x, list | tuple):
        return f"[{', '.join(map(object_text, x))}]"
    if isinstance(x, str) and "=>" in x:
        return x
    return json.dumps(x)
