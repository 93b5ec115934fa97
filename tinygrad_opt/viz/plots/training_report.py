"""A run on one page: what was trained and with what, the curves, the graph, samples, numbers."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from tinygrad_opt.data.arguments import array_of
from tinygrad_opt.markup import html_rows, html_table
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, ArrayLike, Model
from tinygrad_opt.viz.figures import Picture, styled
from tinygrad_opt.viz.graph.draw import draw
from tinygrad_opt.viz.html_page import html_page
from tinygrad_opt.viz.plots.decision_regions import class_shares, decision_regions
from tinygrad_opt.viz.plots.learning_curves import plot_history
from tinygrad_opt.viz.plots.models import plot_confusion, plot_samples, plot_weights
from tinygrad_opt.viz.theme import NIGHT, theme_of

__all__ = ["report"]

STYLE = Path(__file__).with_name("training_report.css").read_text(encoding="utf-8")
# one of each two is hidden; a <picture> would be printed as it is on the screen
BOTH = f".dark{{display:none}}@media {NIGHT}{{.light{{display:none}}.dark{{display:inline}}}}"


def report(
    history: Mapping[str, Sequence[float]],
    model: Model,
    path: str | os.PathLike[str],
    *,
    optimizer: object = None,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str = "Training report",
    theme: str = "auto",
) -> Path:
    """Write a run as one HTML page that holds all its pictures and asks for nothing.

    Parameters
    ----------
    history : History or dict of str to sequence
        As `plot_history` takes it.
    model : object with ``parameters()``
    path : str or path
        Where to; ends in ``.html``.
    optimizer : optional
        What it was trained with; its options are listed.
    x, y : array-like, optional
        Samples to be shown, best those of the validation, and their labels. With them come the
        graph of the model, what it mistakes, and regions if there are two features.
    names : sequence of str, optional
        Of the classes.
    columns : sequence of str, optional
        Of the features.
    title : str
    theme : {"auto", "light", "dark"}
        "auto" follows the reader's system; the page then holds each picture twice.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the path ends in something else, or the history is empty.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a report is a page: the name must end in .html, got {path.name!r}.")
    themes = ["light", "dark"] if theme == "auto" else [theme_of(theme).name]

    def shown(
        title: str, about: str, plot: Callable[..., Picture], *args: object, **options: object
    ) -> str:
        """A section that is a picture, in one theme or in both."""
        return _section(title, "".join(
            f'<img class="{one}" src="{_svg_url(plot(*args, **options, theme=one))}"'
            f' alt="{escape(about)}">' for one in themes))

    parts = [_section("Run", _summary(history, model, optimizer)),
             shown("Curves", "loss and metrics against the epoch", plot_history, history,
                   size=(8, 6))]
    if x is not None:
        x = array_of(x)
        parts += [] if y is None else _samples(shown, model, x, array_of(y), names, columns)
        parts.append(_section("Graph of the model", '<div class="wide graph">'
                              f"{_graph(model, x, theme)}</div>", "all"))
    parts += [shown("Weights", "every parameter as red (positive) and blue (negative) squares",
                    plot_weights, model),
              _section("Numbers", f'<div class="wide">{_numbers(history)}</div>',
                       "all long numbers")]
    body = "\n".join([f"<h1>{escape(title)}</h1>\n<main>", *parts, "</main>"])
    path.parent.mkdir(parents=True, exist_ok=True)
    style = STYLE + BOTH if theme == "auto" else STYLE
    path.write_text(html_page(title, body, style=style, theme=theme), encoding="utf-8",
                    newline="\n")
    return path


# ---- sections ------------------------------------------------------------------------------------


def _section(title: str, content: str, kind: str = "") -> str:
    return f'<section class="{kind}"><h2>{title}</h2>\n{content}</section>'


def _summary(history: Mapping[str, Sequence[float]], model: Model, optimizer: object) -> str:
    """Model, optimizer, epochs, results and versions, as a list."""
    parameters = model.parameters()
    count = sum(p.size for p in parameters.values())
    epochs = max((len(history[c]) for c in history), default=0)
    rows = {"model": f"{type(model).__name__}, {count:,} numbers in {len(parameters)} parameters"}
    if optimizer is not None:
        rows["optimizer"] = _described(optimizer)
    rows["epochs"] = str(epochs)
    for name in history:
        if name.removeprefix("val_") in ("loss", "accuracy") and epochs:
            pick = np.nanmax if name.endswith("accuracy") else np.nanmin
            values = np.asarray(history[name], float)
            best = f", best {pick(values):.4g}" if np.isfinite(values).any() else ""
            rows[name] = f"{values[-1]:.4g} at the end{best}"
    if "seconds" in history:
        rows["time"] = f"{sum(history['seconds']):.2f} s"
    rows["versions"] = f"Python {sys.version.split()[0]}, NumPy {np.__version__}"
    stopped = getattr(history, "stopped", None)
    wrong = [*map(str, getattr(history, "findings", ())),
             *([f"Stopped early: {stopped}"] if stopped else [])]
    note = "".join(f'<p class="warn">{escape(words)}</p>' for words in wrong)
    table = f'<table class="about">{html_rows(rows.items())}</table>'
    return f"{table}{note}<pre>{escape(str(model))}</pre>"


def _described(optimizer: object) -> str:
    options = getattr(optimizer, "options", None)
    if not isinstance(options, Mapping):
        return str(optimizer)
    given = {name: getattr(optimizer, name, None) for name in options}
    shown = ", ".join(f"{k}={v}" for k, v in given.items() if v not in (None, 0.0, False))
    return f"{type(optimizer).__name__}({shown})"


def _samples(
    shown: Callable[..., str], model: Model, x: Array, labels: Array,
    names: Sequence[object] | None, columns: Sequence[str] | None,
) -> Iterator[str]:
    """What the model says about samples, in the pictures that suit their shape."""
    scores = class_shares(model, x)
    right = f"{np.mean(scores.argmax(-1) == labels):.1%} right"
    classes = f" of {', '.join(map(str, names))}" if names else ""
    if x.ndim == 2 and x.shape[1] == 2:
        yield shown("Regions", f"the points over the class predicted around them, {right}",
                    decision_regions, model, x, labels, names=names, columns=columns)
    side = round(x.shape[-1] ** 0.5)
    if x.ndim == 3 or (x.ndim == 2 and x.shape[1] > 4 and side * side == x.shape[1]):
        yield shown("Samples", f"images and what they were taken for, {right}",
                    plot_samples, x, labels, scores, names=names)
    if labels.dtype.kind in "iu":
        yield shown("Confusion", f"how often each class{classes} was taken for each other, {right}",
                    plot_confusion, labels, scores, names=names)


def _graph(model: Model, x: Array, theme: str) -> str:
    """The computation of the first samples; SVG without a program from elsewhere."""
    out = model(x[:4])
    if not isinstance(out, Tensor) or not out.requires_grad:
        return "<p>The model records no graph.</p>"
    svg = draw(out, theme=theme, engine="builtin").svg
    return svg[svg.index("<svg"):]


def _numbers(history: Mapping[str, Sequence[float]]) -> str:
    """One row an epoch; of many, the first and the last ones."""
    rows = list(zip(*(history[column] for column in history)))
    cut = rows if len(rows) <= 40 else [*rows[:20], ["…"] * len(list(history)), *rows[-20:]]
    names = [name.replace("_", "_\u200b") for name in history]      # where a line may break
    return html_table([names, *cut])


def _svg_url(figure: Picture) -> str:
    """A figure as the address of an SVG image."""
    buffer = io.BytesIO()
    with styled(figure.theme):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
