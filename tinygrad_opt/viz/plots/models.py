"""Pictures of a model: what it mistakes, what it has learned, where its gradients flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_opt.data.arguments import array_of
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, ArrayLike, Model
from tinygrad_opt.viz.figures import (
    Axes,
    Options,
    Picture,
    Unpack,
    drawing,
    letters_on,
    panels,
    reach,
    through,
)
from tinygrad_opt.viz.plots.heatmaps import reduced, shade_colors, squares

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

    from tinygrad_opt.viz.theme import Theme

__all__ = ["plot_attention", "plot_confusion", "plot_gradient_flow", "plot_samples", "plot_weights"]

EXPLODED = 1e3                                 # a mean gradient above it is marked


def plot_confusion(
    labels: ArrayLike, predicted: ArrayLike, *, names: Sequence[str] | None = None,
    **options: Unpack[Options],
) -> Picture:
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
    n = max(labels.max() + 1, predicted.max() + 1, len(names or ()))
    counts = np.zeros((n, n), int)
    np.add.at(counts, (labels, predicted), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(3.6, 0.42 * n + 1.4)
    true, guess = np.indices(counts.shape).reshape(2, -1)
    numbers = {"true": true, "predicted": guess, "count": counts.ravel()}
    with drawing((side, side), numbers, **options) as (made, page):
        ax, ticks = made.subplots(), [str(name) for name in (names or range(n))]
        image = _cells(ax, share, ticks, ticks, page)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ax.text(column, row, str(count), ha="center", va="center", fontsize=8,
                        color=letters_on(image.cmap(share[row, column])))
        if max(map(len, ticks)) > 3:
            for tick in ax.get_xticklabels():
                tick.set(rotation=45, ha="right", rotation_mode="anchor")
        ax.set(xlabel="predicted", ylabel="true",
               title=f"{(labels == predicted).mean():.1%} right")
    return made


def plot_samples(
    x: ArrayLike, labels: ArrayLike, scores: ArrayLike | None = None, *,
    shape: tuple[int, int] | None = None, names: Sequence[str] | None = None, count: int = 20,
    **options: Unpack[Options],
) -> Picture:
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
    x = array_of(x, float)
    images = x.reshape(len(x), *(shape or _square(x)))
    given = labels if scores is None else scores
    labels, predicted = _classes(labels, given)
    if len(images) != len(labels):
        raise ShapeError(f"{len(images)} samples cannot have {len(labels)} labels.")
    order = _wrong_first(labels, predicted, array_of(given))[:count]
    wide = min(len(order), 10)
    numbers = {"sample": order, "label": labels[order], "predicted": predicted[order]}
    size = (0.85 * wide + 0.3, 1.12 * -(-len(order) // wide) + 0.45)
    if scores is not None:
        missed = f"{(labels != predicted).sum()} of {len(labels)} wrong"
        options["title"] = ": ".join(filter(None, [options.get("title"), missed]))
    with drawing(size, numbers, **options) as (made, page):
        for ax, i in zip(panels(made, len(order), wide), order):
            ax.set_axis_off()
            ax.imshow(images[i], cmap="gray_r" if page.name == "light" else "gray",
                      interpolation="nearest")
            true, guess = (str(names[k] if names else k) for k in (labels[i], predicted[i]))
            wrong = labels[i] != predicted[i]
            ax.set_title(f"✗ {guess}, is {true}" if wrong else guess, fontsize=8.5, pad=2,
                         color=page.alarm if wrong else page.text)
    return made


def plot_weights(
    model: Model | Mapping[str, Tensor | Array], *, columns: int = 2, **options: Unpack[Options]
) -> Picture:
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
    cells = {name: reduced(array_of(p, float)) for name, p in parameters.items()}
    most = [np.abs(c[np.isfinite(c)]).max(initial=0) for c in cells.values()]
    drawn = [squares(c[None], np.array([m]))[0] for c, m in zip(cells.values(), most)]
    wide = min(columns, len(drawn))
    high = [0.45 + 0.05 * min(max(map(len, drawn[i : i + wide])), 40)
            for i in range(0, len(drawn), wide)]
    size = (3.4 * wide, 0.3 + sum(high) + 0.12 * len(high))
    with drawing(size, cells, **options) as (made, page):
        axes = panels(made, len(drawn), wide, high)
        for ax, (name, values), image, largest in zip(axes, cells.items(), drawn, most):
            ax.imshow(shade_colors(page)[image], aspect="auto", interpolation="nearest")
            for cut in range(len(values), len(image), len(values)):
                ax.axhline(cut - 0.5, color=page.page, linewidth=2)
            shape = "×".join(map(str, parameters[name].shape)) or "1"
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"{name}  {shape}", fontsize=8.5, loc="left", pad=3)
            ax.set_title(f"±{largest:.2g}", fontsize=8.5, loc="right", pad=3, color=page.muted)
            ax.spines[:].set_visible(True)
    return made


def plot_gradient_flow(
    model: Model | Mapping[str, Tensor], **options: Unpack[Options]
) -> Picture:
    """The mean and the largest absolute gradient of each parameter, after a backward pass.

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
    gradients = {n: getattr(p, "grad", None) for n, p in _parameters(model).items()}
    if all(g is None for g in gradients.values()):
        raise ValueError("no parameter has a gradient: call loss.backward() first.")
    with np.errstate(all="ignore"):
        sizes = [np.abs(array_of(0.0 if g is None else g, float)) for g in gradients.values()]
        mean, most = (np.array([pick(s) for s in sizes]) for pick in (np.mean, np.max))
    low, high = reach(np.concatenate([mean, most]))
    numbers: dict[str, ArrayLike] = {"parameter": list(gradients), "mean": mean, "largest": most}
    with drawing((6.4, 1.0 + 0.3 * len(mean)), numbers, **options) as (made, page):
        ax, rows = made.subplots(), np.arange(len(mean))
        value, seen = np.where(np.isfinite(mean), mean, high), (most > 0) & (most < np.inf)
        ax.barh(rows, value, height=0.65, color=page.gradient, log=True)
        ax.vlines(most[seen], rows[seen] - 0.33, rows[seen] + 0.33, color=page.ink, linewidth=2)
        for i, gradient in enumerate(gradients.values()):
            trouble = _trouble(gradient, mean[i], most[i])
            if trouble:
                ax.barh(i, high - low, left=low, height=0.8, fill=False, edgecolor=page.alarm,
                        linewidth=1.6)
            ax.annotate(trouble or f"{mean[i]:.2g}, {most[i]:.2g}",
                        (high if trouble else max(most[i], value[i]), i), xytext=(6, 0),
                        textcoords="offset points", va="center", fontsize=8.5,
                        color=page.alarm if trouble else page.text,
                        fontweight="bold" if trouble else "normal")
        ax.set_yticks(rows, list(gradients))
        ax.set(xlabel="|gradient|: mean (bar) and largest (line)", xlim=(low, high * 20),
               ylim=(len(rows) - 0.5, -0.5))
        ax.grid(False, axis="y")
    return made


def plot_attention(
    weights: ArrayLike, tokens: Sequence[str] = (), *, keys: Sequence[str] | None = None,
    columns: int = 2, **options: Unpack[Options],
) -> Picture:
    """How much each place of a sequence takes from each other, head by head.

    Parameters
    ----------
    weights : Tensor or array-like of shape (heads, n, m) or (n, m)
        Of one sequence, as ``attention(..., weights=True)`` gives them; each row adds up to 1.
    tokens : sequence of str, optional
        What stands at the n places that look; numbers without it.
    keys : sequence of str, optional
        What stands at the m places that are looked at: `tokens` again without it.
    columns : int
        Heads in a row.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    p = array_of(weights, float)
    p = p[None] if p.ndim == 2 else p
    if p.ndim != 3 or not p.size:
        raise ShapeError(f"attention weights need shape (heads, n, m) or (n, m), got {p.shape}:"
                         " those of one sequence are weights[0].")
    names = [[*map(str, given or range(n))]
             for given, n in zip((tokens, tokens if keys is None else keys), p.shape[1:])]
    if tuple(map(len, names)) != p.shape[1:]:
        raise ShapeError(f"{len(names[0])} and {len(names[1])} tokens cannot be the axes of weights"
                         f" of shape {p.shape[1:]}.")
    head, look, seen = np.indices(p.shape).reshape(3, -1)
    numbers = {"head": head, "from": look, "to": seen, "weight": p.ravel()}
    wide = min(columns, len(p))
    down, across = (max(1.5, 0.17 * n + 0.5) for n in p.shape[1:])
    size = (across * wide + 0.7, (down + 0.2) * -(-len(p) // wide) + 0.25)
    with drawing(size, numbers, **options) as (made, page):
        axes = panels(made, len(p), wide)
        for i, (ax, weight) in enumerate(zip(axes, p)):
            image = _cells(ax, weight, names[0], names[1], page)
            if len(p) > 1:
                ax.set_title(f"head {i + 1}")
        made.supxlabel("looks at", fontsize=9)
        made.supylabel("from", fontsize=9)
        made.colorbar(image, ax=made.axes, shrink=0.8, aspect=25, pad=0.02,
                      ticks=[0, 0.5, 1]).outline.set_visible(False)
    return made


# ---- details -------------------------------------------------------------------------------------


def _cells(
    ax: Axes, shares: Array, rows: Sequence[str], columns: Sequence[str], page: Theme
) -> AxesImage:
    """A matrix of shares, from the page's colour to that of values, with names at its sides."""
    image = ax.imshow(shares, cmap=through([page.page, page.value]), vmin=0, vmax=1)
    ax.grid(False)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.spines[:].set(visible=True, color=page.grid)
    return image


def _trouble(gradient: object, mean: float, most: float) -> str:
    if gradient is None:
        return "no gradient"
    if not np.isfinite(most):
        return "not finite"
    return "zero" if most == 0 else "explodes" if mean > EXPLODED else ""


def _classes(labels: ArrayLike, predicted: ArrayLike) -> tuple[Array, Array]:
    labels, predicted = map(array_of, (labels, predicted))
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
    best = np.sort(scores, 1)[:, -2:] if scores.ndim == 2 else np.zeros((len(labels), 1))
    return np.lexsort((best[:, 0] - best[:, -1], labels == predicted))


def _square(x: Array) -> tuple[int, int]:
    if x.ndim >= 3:
        return x.shape[-2], x.shape[-1]
    side = round(x.shape[-1] ** 0.5)
    if x.ndim != 2 or side * side != x.shape[1]:
        raise ShapeError(f"samples of shape {x.shape} are no square images; give shape=(h, w).")
    return side, side


def _parameters(model: Model | Mapping[str, Tensor | Array]) -> dict[str, Tensor | Array]:
    parameters = model if isinstance(model, Mapping) else model.parameters()
    if not parameters:
        raise ValueError("there are no parameters to be shown.")
    return dict(parameters)
