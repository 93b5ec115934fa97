"""Pictures of a model: what it mistakes, what it has learned, where its gradients flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.viz.figures import Options, Unpack, drawing, from_page
from tinygrad_opt.viz.plots.heatmaps import folded, folds, reduced, shade_colors, shades

__all__ = ["plot_confusion", "plot_gradient_flow", "plot_samples", "plot_weights"]

Array = np.ndarray
EXPLODED = 1e3                                 # a mean gradient above it is marked


def plot_confusion(
    labels: Any, predicted: Any, *, names: Sequence[str] | None = None,
    **options: Unpack[Options],
) -> Any:
    """How often each class was taken for each other.

    Parameters
    ----------
    labels : array-like of int, shape (n_samples,)
    predicted : array-like
        Classes of shape (n_samples,), or scores of shape (n_samples, n_classes).
    names : sequence of str, optional
        Of the classes.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    labels, predicted = _classes(labels, predicted)
    n = max(int(labels.max()), int(predicted.max())) + 1
    n = max(n, len(names or ()))
    counts = np.zeros((n, n), int)
    np.add.at(counts, (labels, predicted), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(3.6, 0.42 * n + 1.4)
    true, guess = np.indices(counts.shape).reshape(2, -1)
    numbers = {"true": true, "predicted": guess, "count": counts.ravel()}
    with drawing((side, side), numbers, **options) as (made, page):
        ax, colors = made.subplots(), from_page("value", page)
        ax.imshow(share, cmap=colors, vmin=0, vmax=1)
        for row, column in np.ndindex(n, n):
            if counts[row, column]:
                light = colors(share[row, column])[:3] @ np.array([0.3, 0.6, 0.1]) > 0.5
                ax.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8,
                        color="#000000" if light else "#FFFFFF")
        ticks = [str(name) for name in (names or range(n))]
        slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(n), ticks, **(slant if max(map(len, ticks)) > 3 else {}))
        ax.tick_params(length=0)
        ax.set_yticks(range(n), ticks)
        ax.set(xlabel="predicted", ylabel="true",
               title=f"{np.trace(counts) / max(counts.sum(), 1):.1%} right")
        ax.spines[:].set(visible=True, color=page.grid)
    return made


def plot_samples(
    x: Any, labels: Any, scores: Any = None, *, shape: tuple[int, int] | None = None,
    names: Sequence[str] | None = None, count: int = 20, **options: Unpack[Options],
) -> Any:
    """Images with what they were taken for, the wrong ones first and the surest of them at the top.

    Parameters
    ----------
    x : array-like of shape (n_samples, n_pixels) or (n_samples, height, width)
    labels : array-like of int, shape (n_samples,)
    scores : array-like, optional
        Scores of shape (n_samples, n_classes), or classes of shape (n_samples,).
    shape : (int, int), optional
        Height and width of an image; by default square.
    names : sequence of str, optional
        Of the classes.
    count : int
        How many, at most.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    x = np.asarray(getattr(x, "array", x), float)
    images = x.reshape(len(x), *(shape or _square(x)))
    given = labels if scores is None else scores
    labels, predicted = _classes(labels, given)
    if len(images) != len(labels):
        raise ShapeError(f"{len(images)} samples cannot have {len(labels)} labels.")
    order = _wrong_first(labels, predicted, np.asarray(getattr(given, "array", given)))[:count]
    wide = min(len(order), 10)
    high = -(-len(order) // wide)
    numbers = {"sample": order, "label": labels[order], "predicted": predicted[order]}
    size = (0.85 * wide + 0.3, 1.12 * high + 0.45)
    if scores is not None:
        missed = f"{(labels != predicted).sum()} of {len(labels)} wrong"
        options["title"] = ": ".join(filter(None, [options.get("title"), missed]))
    with drawing(size, numbers, **options) as (made, page):
        axes = made.subplots(high, wide, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, i in zip(axes, order):
            ax.imshow(images[i], cmap="gray_r" if page.name == "light" else "gray",
                      interpolation="nearest")
            true, guess = (str(names[k] if names else k) for k in (labels[i], predicted[i]))
            wrong = labels[i] != predicted[i]
            ax.set_title(f"✗ {guess}, is {true}" if wrong else guess, fontsize=8.5, pad=2,
                         color=page.alarm if wrong else page.text)
    return made


def plot_weights(model: Any, *, columns: int = 2, **options: Unpack[Options]) -> Any:
    """Every parameter as red (positive) and blue (negative) squares, scaled to its own maximum.

    Parameters
    ----------
    model : object with ``parameters()``, or dict of str to Tensor or array
    columns : int
        Arrays in a row.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
        Of arrays larger than 64 cells the largest entry of each block is shown; wide arrays are
        cut into parts, one below the other.
    """
    parameters = _parameters(model)
    cells = {n: reduced(np.asarray(getattr(p, "array", p), float)) for n, p in parameters.items()}
    wide = min(columns, len(cells))
    rows = [list(cells)[i : i + wide] for i in range(0, len(cells), wide)]
    parts = {name: folds(*values.shape) for name, values in cells.items()}
    high = [0.45 + 0.05 * min(max(cells[n].shape[0] * parts[n] for n in row), 40) for row in rows]
    size = (3.4 * wide, 0.3 + sum(high) + 0.12 * len(rows))
    with drawing(size, cells, **options) as (made, page):
        axes = made.subplots(len(rows), wide, squeeze=False, height_ratios=high)
        for ax in axes.flat[len(cells):]:
            ax.set_axis_off()
        for ax, (name, values) in zip(axes.flat, cells.items()):
            most = np.abs(values[np.isfinite(values)]).max(initial=0)
            squares = folded(shades(values[None], np.array([most])), parts[name])[0]
            ax.imshow(shade_colors(page)[squares], aspect="auto", interpolation="nearest")
            for part in range(1, parts[name]):
                ax.axhline(part * len(values) - 0.5, color=page.page, linewidth=2)
            shape = "×".join(map(str, parameters[name].shape)) or "1"
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"{name}  {shape}", fontsize=8.5, loc="left", pad=3)
            ax.set_title(f"±{most:.2g}", fontsize=8.5, loc="right", pad=3, color=page.muted)
            ax.spines[:].set_visible(True)
    return made


def plot_gradient_flow(model: Any, **options: Unpack[Options]) -> Any:
    """The mean absolute gradient of each parameter, after a backward pass.

    Bars stand on a logarithmic scale. What is zero throughout, missing, not finite or above
    1000 is framed and named, so that a network that does not learn shows where it stops.

    Parameters
    ----------
    model : object with ``parameters()``, or dict of str to Tensor
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    parameters = _parameters(model)
    gradients = {n: getattr(p, "grad", None) for n, p in parameters.items()}
    if all(g is None for g in gradients.values()):
        raise ValueError("no parameter has a gradient: call loss.backward() first.")
    arrays = {n: None if g is None else np.asarray(getattr(g, "array", g), float)
              for n, g in gradients.items()}
    with np.errstate(all="ignore"):
        mean = {n: 0.0 if a is None else float(np.abs(a).mean()) for n, a in arrays.items()}
        most = {n: 0.0 if a is None else float(np.abs(a).max()) for n, a in arrays.items()}
    good = [v for v in (*mean.values(), *most.values()) if 0 < v < np.inf]
    low, high = (min(good) / 5, max(good) * 3) if good else (1e-8, 1.0)
    names = list(mean)
    numbers = {"parameter": names, "mean": list(mean.values()), "largest": list(most.values())}
    with drawing((6.4, 1.0 + 0.3 * len(names)), numbers, **options) as (made, page):
        ax = made.subplots()
        ax.set_xscale("log")
        ax.set_xlim(low, high * 20)
        for i, name in enumerate(names):
            trouble = _trouble(arrays[name], mean[name])
            value = mean[name] if np.isfinite(mean[name]) else high
            ax.barh(i, max(value - low, 0), left=low, height=0.65, color=page.gradient)
            if 0 < most[name] < np.inf:
                ax.plot([most[name]] * 2, [i - 0.33, i + 0.33], color=page.ink, linewidth=2)
            if trouble:
                ax.barh(i, high - low, left=low, height=0.8, fill=False, edgecolor=page.alarm,
                        linewidth=1.6)
                ax.text(high * 1.2, i, trouble, va="center", color=page.alarm, fontsize=8.5,
                        fontweight="bold")
            else:
                ax.text(max(most[name], value) * 1.2, i, f"{mean[name]:.2g}", va="center",
                        fontsize=8.5)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set(xlabel="|gradient|: mean (bar) and largest (line)")
        ax.grid(True, axis="x", alpha=0.6)
    return made


# ---- details -------------------------------------------------------------------------------------


def _trouble(gradient: Any, mean: float) -> str:
    if gradient is None:
        return "no gradient"
    if not np.isfinite(gradient).all():
        return "not finite"
    return "zero" if not gradient.any() else "explodes" if mean > EXPLODED else ""


def _classes(labels: Any, predicted: Any) -> tuple[Array, Array]:
    labels, predicted = (np.asarray(getattr(a, "array", a)) for a in (labels, predicted))
    if predicted.ndim == 2:
        predicted = predicted.argmax(1) if predicted.shape[1] > 1 else predicted[:, 0] > 0
    labels, predicted = labels.reshape(-1).astype(int), predicted.reshape(-1).astype(int)
    if labels.shape != predicted.shape or not len(labels):
        raise ShapeError(f"labels {labels.shape} and predictions {predicted.shape} must be equally"
                         " many, and at least one.")
    if labels.min() < 0 or predicted.min() < 0:
        raise ValueError("classes are numbered from 0; there is a negative one.")
    return labels, predicted


def _wrong_first(labels: Array, predicted: Array, scores: Array) -> Array:
    sure = np.sort(scores, 1)[:, -1] - np.sort(scores, 1)[:, -2] \
        if scores.ndim == 2 and scores.shape[1] > 1 else np.zeros(len(labels))
    return np.lexsort((-sure, labels == predicted))


def _square(x: Array) -> tuple[int, int]:
    if x.ndim >= 3:
        return x.shape[-2], x.shape[-1]
    side = round(x.shape[-1] ** 0.5)
    if x.ndim != 2 or side * side != x.shape[1]:
        raise ShapeError(f"samples of shape {x.shape} are no square images; give shape=(h, w).")
    return side, side


def _parameters(model: Any) -> dict[str, Any]:
    parameters = model if isinstance(model, Mapping) else model.parameters()
    if not parameters:
        raise ValueError("there are no parameters to be shown.")
    return dict(parameters)
