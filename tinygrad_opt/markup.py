"""HTML that notebooks show, for objects of every part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["html_list", "html_rows", "html_table", "listing", "shaded"]

MOST = 24                                      # cells of a shaded table, each way
RED, BLUE = "178,24,43", "33,102,172"          # positive, negative; see tinygrad_opt.viz.theme


def escape(text: str) -> str:
    """The text as HTML shows it. Only notebooks need ``html``, which is not imported before."""
    import html

    return html.escape(text)


def html_rows(rows: Iterable[Iterable[Any]], tag: str = "td") -> str:
    """Rows of an HTML table."""
    return "".join("<tr>" + "".join(
        f"<{tag}>{escape(f'{v:.4g}' if isinstance(v, float | np.floating) else str(v))}</{tag}>"
        for v in row) + "</tr>" for row in rows)


def html_table(rows: Iterable[Iterable[Any]]) -> str:
    """An HTML table whose first row is its head."""
    head, *body = rows
    return f"<table>{html_rows([head], 'th')}{html_rows(body)}</table>"


def html_list(sentences: Iterable[Any]) -> str:
    """An HTML list; empty if there is nothing to list."""
    items = "".join(f"<li>{escape(str(sentence))}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def listing(text: str) -> str:
    """Lines as they are."""
    return f"<pre>{escape(text)}</pre>"


def shaded(array: np.ndarray) -> str:
    """The entries of an array as a table, red where positive and blue where negative.

    Axes before the last are laid below each other; of a large array the first entries are shown.

    Examples
    --------
    >>> shaded(np.array([1.0, -2.0])).count("<td")
    2
    """
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    part = rows[:MOST, :MOST]
    finite = np.abs(np.where(np.isfinite(part), part, 0).astype(float))
    most = finite.max(initial=0.0) or 1.0
    lines = []
    for row, sizes in zip(part.tolist(), finite / most):
        cells = "".join(
            f'<td style="background:rgba({RED if v > 0 else BLUE},{0.6 * size:.2f})">{v:.4g}</td>'
            if isinstance(v, float) else f"<td>{v}</td>" for v, size in zip(row, sizes))
        lines.append(f"<tr>{cells}{'<td>…</td>' if rows.shape[1] > MOST else ''}</tr>")
    more = "<tr><td>…</td></tr>" if len(rows) > MOST else ""
    return f"<table>{''.join(lines)}{more}</table>"
