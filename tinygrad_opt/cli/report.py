"""``tinygrad-opt report``: a training on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_opt.cli.command import argument, command, file
from tinygrad_opt.cli.learning import ARGUMENTS, QUIET, THEME, exit_code, prepared

__all__ = ["report"]


@command(
    *ARGUMENTS,
    argument("--out", type=file(".html", ".htm"), default=Path("report.html"), metavar="FILE",
             help="where to (default: report.html)"),
    THEME,
    QUIET,
    examples="""
    tinygrad-opt report digits
    tinygrad-opt report spiral --optimizer sgd --lr 0.5 --epochs 300 --out spiral.html
    tinygrad-opt report iris.csv --target species --theme dark
    """,
)
def report(options: argparse.Namespace) -> int:
    """Train a network, and put all of it on one page.

    The page shows what was trained and with what, the curves, samples and what they were taken
    for, regions if there are two features, the graph, the weights and the numbers of each
    epoch. It needs no network and can be sent to anybody. A training that explodes is reported
    until then, and is an error.
    """
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.plots.training_report import report as write

    matplotlib_or_error()
    learning = prepared(options)
    print(learning, flush=True)
    history = learning.fit()
    names = [str(name) for name in learning.samples.about.get("classes", ())]
    page = write(history, learning.model, options.out, optimizer=learning.optimizer,
                 x=learning.samples.x_test, y=learning.samples.y_test, names=names or None,
                 title=f"{learning.name}, learned by {type(learning.optimizer).__name__}",
                 theme=options.theme)
    print(f"{page}  the run on one page: open it in a browser")
    return exit_code(history)
