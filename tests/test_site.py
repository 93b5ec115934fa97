"""What the site adds to its pages: links that are checked, pictures in both themes."""

import base64
import importlib.util
import inspect
import io
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.viz.theme import DARK, LIGHT

DOCS = Path(__file__).parents[1] / "docs"


def module(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_links_that_lead_nowhere_are_found(tmp_path):
    links = pytest.importorskip("sphinx") and module("links")
    (tmp_path / "sub").mkdir()
    (tmp_path / "picture.svg").touch()
    (tmp_path / "sub" / "b.html").write_text('<p id="there">')
    (tmp_path / "a.html").write_text(
        '<a href="sub/b.html#there"></a><a href="#here" id="here"></a><img src="picture.svg">'
        '<a href="https://numpy.org/doc"></a><a href="sub/b.html#not"></a><a href="gone.html"></a>'
        '<a href="#nowhere"></a><img src="gone.png"><a href="http://old.org"></a>')
    found = [link.partition(": ")[2] for link in links.broken(tmp_path)]
    assert found == ["#nowhere", "gone.html", "gone.png", "http://old.org", "sub/b.html#not"]


def shown(cell):
    """What a page holds for the last expression of a cell."""
    formatter = module("in_kernel").LightAndDark()
    names = {"tg": tg, "np": np}
    formatter.shell = SimpleNamespace(user_ns=names, user_global_ns=names)
    formatter.cell = cell
    return formatter.format(eval(cell, names))[0]


@pytest.mark.parametrize("cell", ["tg.viz.plot_schedule({'c': lambda t: 0.1}, 10)",
                                  "tg.draw(np.tanh(tg.Tensor(1.0, requires_grad=True)) + 1)"])
def test_a_picture_is_shown_light_and_dark(cell):
    pytest.importorskip("IPython")
    pytest.importorskip("matplotlib")
    html = shown(cell)["text/html"]
    light, dark = html.split('<div class="picture only-dark">')
    assert light.startswith('<div class="picture only-light">')
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids)) and dark.count("url(#dark-") == light.count("url(#")
    if "<svg" in light:
        assert LIGHT.page in light and DARK.page in dark and DARK.page not in light
    else:
        assert [corner(part) for part in (light, dark)] == [LIGHT.page, DARK.page]
    assert LIGHT.name == "light"                           # as it was


def corner(html):
    """The colour of the first pixel of the PNG in an element."""
    image = pytest.importorskip("PIL.Image")
    data = re.search("base64,([^\"]*)", html)[1]
    r, g, b, *_ = image.open(io.BytesIO(base64.b64decode(data))).convert("RGB").getpixel((0, 0))
    return f"#{r:02X}{g:02X}{b:02X}"


def test_a_picture_of_pyplot_is_shown_light_and_dark():
    tools = pytest.importorskip("IPython.core.pylabtools")
    plt = pytest.importorskip("matplotlib.pyplot")
    formatter = module("in_kernel").LightAndDark()
    formatter.formatters["image/png"].for_type(plt.Figure, tools.print_figure)
    sizes = []
    formatter.shell = SimpleNamespace(user_ns={"plt": plt, "sizes": sizes})
    formatter.cell = "plt.figure()\nplt.plot([1, 2]); sizes.append(plt.rcParams['font.size'])"
    try:
        exec(formatter.cell, formatter.shell.user_ns)
        light, dark = formatter.format(plt.gcf())[0]["text/html"].split("only-dark")
        assert [corner(part) for part in (light, dark)] == [LIGHT.page, DARK.page]
        assert sizes[1:] == [9, 9] != sizes[:1] * 2        # both in the theme's own style
    finally:
        plt.close("all")


def test_what_is_no_picture_is_shown_as_ever():
    pytest.importorskip("IPython")
    assert shown("tg.Tensor(1.0).item()") == {"text/plain": "1.0"}
    assert shown("tg.playback(np.tanh(tg.Tensor(1.0, requires_grad=True)))")[
        "text/html"].startswith("<iframe")


def test_formulas_and_tables_of_docstrings_stand_as_they_are(monkeypatch):
    pytest.importorskip("sphinx")
    pytest.importorskip("latex2mathml")
    monkeypatch.setattr(os, "environ", {**os.environ})     # both of which a build of the site sets
    monkeypatch.setattr(sys, "path", [*sys.path])
    conf = module("conf")

    def kept(text, what="function", obj=None):
        lines = inspect.cleandoc(text).splitlines()
        conf.keep_lines(None, what, "name", obj, None, lines)
        conf.keep_bars(None, what, "name", obj, None, lines)
        return lines

    assert kept("""The size |x|.

        y ← |x|

        z ← y

    Where
    - one
      goes on

    Parameters
    ----------
    x : array

        That is large.

    Notes
    -----
    As in::

        x | y
    """) == [
        "The size \\|x\\|.", "", "::", "", "    y ← |x|", "", "    z ← y", "", "Where", "- one",
        "  goes on", "", "Parameters", "----------", "x : array", "", "    That is large.", "",
        "Notes", "-----", "As in::", "", "    x | y"]
    assert kept("``a_b``: an edge.", "property") == ["``a_b`` – an edge."]
    table = SimpleNamespace(__doc__="Parts.\n\n    one   first\n")
    assert kept(table.__doc__, "module", table) == ["Parts.", "", "::", "", "    one   first", ""]
