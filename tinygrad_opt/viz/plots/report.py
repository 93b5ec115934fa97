"""A run on one page: what was trained and with what, the curves, the graph, samples, numbers."""

from __future__ import annotations

import html
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.tensor import Tensor
from tinygrad_opt.viz.graph.view import draw
from tinygrad_opt.viz.plots.models import plot_confusion, plot_samples, plot_weights
from tinygrad_opt.viz.plots.regions import class_shares, decision_regions
from tinygrad_opt.viz.plots.training import plot_history
from tinygrad_opt.viz.theme import theme_of

__all__ = ["report"]

STYLE = """body{{margin:24px auto;max-width:60em;padding:0 16px;background:{page};color:{text};
font:15px/1.5 "DejaVu Sans",Verdana,sans-serif}}h1{{font-size:1.5em}}h2{{font-size:1.15em;
margin-top:2em;border-bottom:1px solid {grid}}}svg{{max-width:100%;height:auto}}
table{{border-collapse:collapse;font-size:.87em;font-variant-numeric:tabular-nums}}
td,th{{padding:2px 12px 2px 0;text-align:right}}td:first-child,th:first-child{{text-align:left}}
pre,.wide{{overflow-x:auto}}.whole svg{{max-width:max(100%,72em)}}
.warn{{color:{alarm};font-weight:bold}}"""


def report(
    history: Any,
    model: Any,
    path: str | os.PathLike[str],
    *,
    optimizer: Any = None,
    x: Any = None,
    y: Any = None,
    names: Sequence[str] | None = None,
    title: str = "Training report",
    theme: str = "light",
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
    title : str
    theme : {"light", "dark"}

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the path ends in something else, or the history is empty.
    """
    path, page = Path(path), theme_of(theme)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a report is a page: the name must end in .html, got {path.name!r}.")
    parts = [f"<h1>{html.escape(title)}</h1>", _summary(history, model, optimizer)]
    parts += _section("Curves", _svg(plot_history(history, theme=theme, size=(8, 6))),
                      whole=True)
    if x is not None:
        parts += _samples(model, np.asarray(getattr(x, "array", x)), y, names, theme)
        parts += _section("Graph of the model", _graph(model, x, theme), whole=True)
    parts += _section("Weights", _svg(plot_weights(model, theme=theme)))
    parts += _section("Numbers", _table(history))
    style = STYLE.format(page=page.page, text=page.text, grid=page.grid, alarm=page.alarm)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{html.escape(title)}</title><style>{style}</style>'
        f"</head><body>\n{chr(10).join(parts)}\n</body></html>\n", encoding="utf-8", newline="\n")
    return path


# ---- sections ------------------------------------------------------------------------------------


def _summary(history: Any, model: Any, optimizer: Any) -> str:
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
    lines = "".join(f"<tr><td>{html.escape(k)}</td><td style='text-align:left'>{html.escape(v)}"
                    "</td></tr>" for k, v in rows.items())
    stopped = getattr(history, "stopped", None)
    note = f'<p class="warn">Stopped early: {html.escape(stopped)}</p>' if stopped else ""
    return f"<table>{lines}</table>{note}<pre>{html.escape(str(model))}</pre>"


def _described(optimizer: Any) -> str:
    options = getattr(optimizer, "options", None)
    if not isinstance(options, Mapping):
        return str(optimizer)
    given = {name: getattr(optimizer, name, None) for name in options}
    shown = ", ".join(f"{k}={v}" for k, v in given.items() if v not in (None, 0.0, False))
    return f"{type(optimizer).__name__}({shown})"


def _samples(model: Any, x: Any, y: Any, names: Any, theme: str) -> list[str]:
    if y is None:
        return []
    scores, labels = class_shares(model, x), np.asarray(getattr(y, "array", y))
    parts = []
    if x.ndim == 2 and x.shape[1] == 2:
        parts += _section("Regions", _svg(decision_regions(model, x, labels, theme=theme,
                                                           names=names)))
    side = round(x.shape[-1] ** 0.5)
    if x.ndim == 3 or (x.ndim == 2 and x.shape[1] > 4 and side * side == x.shape[1]):
        parts += _section("Samples", _svg(plot_samples(x, labels, scores, names=names,
                                                       theme=theme)))
    if labels.dtype.kind in "iu":
        parts += _section("Confusion", _svg(plot_confusion(labels, scores, names=names,
                                                           theme=theme)))
    return parts


def _graph(model: Any, x: Any, theme: str) -> str:
    """The computation of the first samples; SVG without a program from elsewhere."""
    some = np.asarray(getattr(x, "array", x))[:4]
    out = model(some)
    if not isinstance(out, Tensor) or not out.requires_grad:
        return "<p>The model records no graph.</p>"
    svg = draw(out, theme=theme, engine="builtin").svg
    return svg[svg.index("<svg"):]


def _table(history: Any) -> str:
    """One row an epoch; of many, the first and the last ones."""
    columns = list(history)
    rows = list(zip(*(history[c] for c in columns)))
    cut = rows if len(rows) <= 40 else [*rows[:20], ["…"] * len(columns), *rows[-20:]]

    def cell(v: Any) -> str:
        return f"{v:.4g}" if isinstance(v, float | np.floating) else html.escape(str(v))

    head = "".join(f"<th>{html.escape(c)}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell(v)}</td>" for v in row) + "</tr>" for row in cut)
    return f"<table><tr>{head}</tr>{body}</table>"


def _section(title: str, content: str, whole: bool = False) -> list[str]:
    """A heading and what is below it; with `whole`, a narrow window scrolls and doesn't shrink."""
    kind = "wide whole" if whole else "wide"
    return [f"<h2>{title}</h2>", f'<div class="{kind}">{content}</div>']


def _svg(figure: Any) -> str:
    """A figure as inline SVG. Two that use an id alike mean the same shape by it."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "tinygrad_opt"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg"):]
