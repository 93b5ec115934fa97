"""What every kernel that runs a page does first: show each picture light and dark.

The theme's ``only-light`` and ``only-dark`` hide one of the two, by the reader's system or by the
switch on the page. A figure is made by the last expression of its cell, which is evaluated again
for the dark one, or by pyplot in all of the cell, which is run again. The code on the page stays
what a reader would type.
"""

import ast
import base64
import re
import sys
from unittest import mock

from IPython import get_ipython
from IPython.core.formatters import DisplayFormatter


def picture(bundle):
    """The part of a MIME bundle that is a picture, as HTML; None if there is none."""
    if "image/png" in bundle:
        data = bundle["image/png"]
        if isinstance(data, bytes):
            data = base64.b64encode(data).decode()
        html = f'<img src="data:image/png;base64,{data.strip()}" alt="{bundle["text/plain"]}">'
    else:
        html = bundle.get("text/html", "")
    if "<iframe" in html or not re.search("<(img|svg) ", html):
        return None
    return re.sub(r'<img (?=src="data:image/png;base64,([^"]{32}))', fitted, html)


def fitted(start):
    """The start of an img that shrinks with the page, as far as its words can be read."""
    width = int.from_bytes(base64.b64decode(start[1])[16:20], "big")
    return f'<img style="min-width:{0.75 * width:.0f}px" '


class LightAndDark(DisplayFormatter):
    """Shows pictures in both themes, and all else as IPython does."""

    shell, cell = None, ""                     # where a cell runs, and its source

    def format(self, shown, include=None, exclude=None):
        bundle, about = super().format(shown, include, exclude)
        light = picture(bundle)
        if light is None:
            return bundle, about
        from tinygrad_opt.viz.theme import DARK, LIGHT

        plotted = "image/png" in bundle
        if plotted and self.by_pyplot(shown):  # which knows no theme by itself
            light = self.drawn(shown, LIGHT, plotted, include, exclude)
        dark = self.drawn(shown, DARK, plotted, include, exclude)
        dark = re.sub(r"\bg[0-9a-f]{8}-", r"dark-\g<0>", dark)    # ids are of one element each
        html = "".join(f'<div class="picture only-{name}">{text}</div>'
                       for name, text in (("light", light), ("dark", dark)))
        return {"text/plain": bundle["text/plain"], "text/html": html}, about

    def drawn(self, shown, colours, plotted, include, exclude):
        """The picture in a theme; what was plotted is plotted again."""
        from tinygrad_opt.viz import theme
        from tinygrad_opt.viz.figures import styled
        from tinygrad_opt.viz.graph import svg

        with (mock.patch.object(theme, "LIGHT", colours),
              mock.patch.object(svg, "LIGHT", colours), styled(colours)):
            if plotted:
                shown = self.made_again(shown)
            return picture(super().format(shown, include, exclude)[0])

    def by_pyplot(self, figure):
        pyplot = sys.modules.get("matplotlib.pyplot")
        return pyplot and getattr(figure, "number", None) in pyplot.get_fignums()

    def made_again(self, figure):
        """The figure of the cell that is running, as the settings are now."""
        if self.by_pyplot(figure):
            exec(self.cell, dict(self.shell.user_ns))
            return sys.modules["matplotlib.pyplot"].gcf()
        *_, last = ast.parse(self.cell).body
        expression = compile(ast.Expression(last.value), "the cell above", "eval")
        return eval(expression, self.shell.user_global_ns, self.shell.user_ns)


def show_both(shell):
    """Let a shell show pictures light and dark."""
    shell.display_formatter = formatter = LightAndDark(parent=shell)
    formatter.shell = shell

    def remember(run):
        formatter.cell = run.raw_cell

    shell.events.register("pre_run_cell", remember)


if get_ipython():
    show_both(get_ipython())
