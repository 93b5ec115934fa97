"""What terminals and notebooks show of objects of every part: tables, HTML, Treescope's trees."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

import numpy as np

__all__ = ["aligned", "html_list", "html_rows", "html_table", "listing", "shaded", "tree"]

LEFT = ' style="text-align:left"'            # notebooks put all cells on the right
MOST = 24                                      # cells of a shaded table, each way
RED, BLUE = "178,24,43", "33,102,172"          # positive, negative; see tinygrad_opt.viz.theme


def escape(text: str) -> str:
    """The text as HTML shows it. Only notebooks need ``html``, which is not imported before."""
    import html

    return html.escape(text)


def html_rows(
    rows: Iterable[Iterable[object]], tag: str = "td", words: Container[int] = ()
) -> str:
    """Rows of an HTML table, with columns of words on the left and of numbers on the right."""
    return "".join("<tr>" + "".join(
        f"<{tag}{LEFT if i in words else ''}>"
        f"{escape(f'{v:.4g}' if isinstance(v, float | np.floating) else str(v))}</{tag}>"
        for i, v in enumerate(row)) + "</tr>" for row in rows)


def html_table(rows: Iterable[Iterable[object]]) -> str:
    """An HTML table whose first row is its head."""
    head, *body = [list(row) for row in rows]
    words = {i for row in body for i, v in enumerate(row)
             if isinstance(v, str) and re.search("[^\\W\\d]{2}", v)}
    return f"<table>{html_rows([head], 'th', words)}{html_rows(body, words=words)}</table>"


def html_list(sentences: Iterable[object]) -> str:
    """An HTML list; empty if there is nothing to list."""
    items = "".join(f"<li>{escape(str(sentence))}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def listing(text: str) -> str:
    """Lines as they are."""
    return f"<pre><code>{escape(text)}</code></pre>"


def aligned(rows: Iterable[Iterable[str]], left: Iterable[int] = (0,)) -> str:
    """Rows of cells as lines of text; the columns `left` are aligned left, the others right."""
    cells = [list(row) for row in rows]
    wide = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(
        cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, wide))
    ).rstrip() for row in cells)


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


def tree(x: object, attributes: Mapping[str, object], path: str | None, render: object) -> object:
    """The object as a tree of its attributes that opens and closes, which Treescope has asked for.

    Parameters
    ----------
    x : object
    attributes : dict
        What its branches are called, and what they hold.
    path, render
        What ``__treescope_repr__`` is given.
    """
    from treescope.repr_lib import render_object_constructor

    return render_object_constructor(type(x), dict(attributes), path, render)
