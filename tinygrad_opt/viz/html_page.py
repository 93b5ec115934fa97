"""The frame of every HTML page: one file that holds all it needs and asks for nothing."""

from __future__ import annotations

import json
import os
import re
import tempfile
import webbrowser
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from tinygrad_opt.viz.theme import SANS, Theme, css

__all__ = ["Page", "filled_page", "html_page", "in_frame", "open_in_browser"]

# neither a name in the data nor an injected script can make a page fetch or send anything
PAGE = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


class Page:
    """A page: notebooks show it, ``.save(path)`` writes it, ``.show()`` opens it in a browser.

    Attributes
    ----------
    html : str
        The page, complete in itself.
    title : str
    height : int
        In pixels, where it stands inside another page.
    """

    title: str
    height: int

    @property
    def html(self) -> str:
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, and return where."""
        path = Path(path)
        path.write_text(self.html, encoding="utf-8", newline="\n")
        return path

    def show(self) -> None:
        """Open the page in a browser."""
        open_in_browser(self.html)

    def _repr_html_(self) -> str:
        return in_frame(self.html, self.title, self.height)


def html_page(
    title: str, body: str, *, style: str = "", script: str = "",
    data: Mapping[str, object] | None = None, theme: str | Theme = "auto",
) -> str:
    """A complete page.

    Parameters
    ----------
    title : str
        Plain text.
    body, style, script : str
        HTML, CSS and JavaScript. CSS finds the theme's colours in variables: ``var(--page)``.
    data : mapping of str to object that JSON can write, optional
        Each goes into an element of its name, for ``JSON.parse(element.textContent)``.
    theme : {"auto", "light", "dark"}
        "auto" follows the reader's system.

    Returns
    -------
    str

    Examples
    --------
    >>> page = html_page("a < b", "<p>yes</p>", theme="dark")
    >>> page.startswith("<!doctype html>"), "<title>a &lt; b</title>" in page
    (True, True)
    """
    parts = [body]
    for name, value in (data or {}).items():
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        text = text.replace("<", "\\u003c")                # nothing in it can end the element
        parts.append(f'<script type="application/json" id="{escape(name)}">{text}</script>')
    if script:
        parts.append(f"<script>\n{script}</script>")
    return PAGE.substitute(title=escape(title), css=css(theme), sans=SANS, style=style,
                           body="\n".join(parts))


def filled_page(
    template: Path, title: str, *, data: Mapping[str, object], theme: str | Theme = "auto",
    **parts: str,
) -> str:
    """A page whose style, body and script stand in a file: ``$name`` in the body is a part.

    Parameters
    ----------
    template : Path
        ``<style>``, a body and ``<script>``, in this order.
    title, data, theme
        As for `html_page`.
    **parts : str
        HTML.
    """
    style, body, script = re.split(
        r"</?(?:style|script)>\n", template.read_text(encoding="utf-8"))[1:4]
    return html_page(title, Template(body).substitute(parts), style=style, script=script,
                     data=data, theme=theme)


def in_frame(page: str, title: str, height: float) -> str:
    """A page inside another one, such as a notebook's, each with its own ids and styles."""
    return (f'<iframe srcdoc="{escape(page)}" title="{escape(title)}"'
            f' style="border:0;max-width:100%;width:100%;height:{height:.0f}px"></iframe>')


def open_in_browser(page: str) -> None:
    """Write a page to a temporary file and open it."""
    with tempfile.NamedTemporaryFile(
        "w", suffix=".html", prefix="tinygrad_opt-", delete=False, encoding="utf-8"
    ) as file:
        file.write(page)
    webbrowser.open(Path(file.name).as_uri())
