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
        from tinygrad_opt.viz import theme
        from tinygrad_opt.viz.figures import styled
        from tinygrad_opt.viz.graph import svg

        with (mock.patch.object(theme, "LIGHT", theme.DARK),
              mock.patch.object(svg, "LIGHT", theme.DARK), styled(theme.DARK)):
            if "image/png" in bundle:
                shown = self.made_again(shown)
            dark = picture(super().format(shown, include, exclude)[0])
        dark = re.sub(r"\bg[0-9a-f]{8}-", r"dark-\g<0>", dark)    # ids are of one element each
        html = "".join(f'<div class="picture only-{name}">{text}</div>'
                       for name, text in (("light", light), ("dark", dark)))
        return {"text/plain": bundle["text/plain"], "text/html": html}, about

    def made_again(self, figure):
        """The figure of the cell that is running, as the settings are now."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot and getattr(figure, "number", None) in pyplot.get_fignums():
            exec(self.cell, dict(self.shell.user_ns))
            return pyplot.gcf()
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
