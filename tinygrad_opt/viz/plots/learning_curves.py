"""Learning curves: of one run, of several side by side, of sizes of batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from tinygrad_opt.typing import Array, Unpack
from tinygrad_opt.viz.figures import Axes, Options, Picture, drawing, halo, legend_below, ordered
from tinygrad_opt.viz.tables import stacked
from tinygrad_opt.viz.theme import Theme, looks

if TYPE_CHECKING:
    from tinygrad_opt.viz.plots.layers import Finding

__all__ = ["contrary", "plot_batch_sizes", "plot_batches", "plot_compare", "plot_history",
           "plot_steps", "scale_of"]

BESIDE = {"epoch", "seconds", "update_ratio"}  # columns that have no panel unless asked for
CROWD = 5                                      # runs whose ranges do not hide each other
WORDS = {"lr": "learning rate", "gradient_norm": "‖gradient‖", "update_ratio": "‖Δp‖ / ‖p‖"}
Columns: TypeAlias = Mapping[str, Sequence[float]]            # a History, or a dict like one
HUES = {"loss": "value", "lr": "purple", "gradient_norm": "gradient"}


class StepHistory(Protocol):
    """What a History has beside its columns."""

    @property
    def steps(self) -> Columns: ...
    @property
    def findings(self) -> Sequence[Finding]: ...


def plot_history(
    history: Columns, *, columns: Sequence[str] | None = None,
    log: bool | None = None, mark_contrary: bool = False, **options: Unpack[Options],
) -> Picture:
    """Loss, metrics, learning rate and gradient norm of a run, one under the other.

    Training is a thin line with its moving average, validation a dashed line with markers.

    Parameters
    ----------
    history : History or dict of str to sequence
        Columns of one entry per epoch. ``val_`` before a name is the same of validation data.
    columns : sequence of str, optional
        Which to show; by default all but ``epoch``, ``seconds`` and ``update_ratio``.
    log : bool, optional
        Whether losses stand on a logarithmic scale; by default when they span a factor of 30.
    mark_contrary : bool
        Shade where the loss falls and the accuracy falls too, as `contrary` finds it.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a column is not there, or nothing was recorded.
    """
    if not isinstance(history, Mapping):
        raise TypeError("plot_history draws a History, as fit returns it, or a dict of columns; got"
                        f" {type(history).__name__}")
    given = [c for c in history if c not in BESIDE] if columns is None else list(columns)
    if missing := [c for c in given if c not in history]:
        raise ValueError(f"no column {missing[0]!r} was recorded; there are: {', '.join(history)}.")
    curves = {c: np.asarray(history[c], float) for c in given}
    epochs = _epochs(history, max(map(len, curves.values()), default=0))
    if not curves or not len(epochs):
        raise ValueError("the history is empty: nothing has been recorded yet.")
    panels = dict.fromkeys(c.removeprefix("val_") for c in given)
    high = [1.6] + [1.0] * (len(panels) - 1)
    spans = contrary(history) if mark_contrary else []
    size, numbers = (6.4, 0.8 + 1.25 * sum(high)), {"epoch": epochs, **curves}
    with drawing(size, numbers, **options) as (made, page):
        axes = made.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=high)[:, 0]
        for ax, name in zip(axes, panels):
            _panel(ax, epochs, name, {c: curves[c] for c in (name, f"val_{name}") if c in curves},
                   log, page)
            for span in spans:
                ax.axvspan(*span, color=page.alarm, alpha=0.15, linewidth=0)
        if spans:
            axes[0].set_title("shaded: loss and accuracy fall", fontsize=9, color=page.alarm)
        axes[-1].set(xlabel="epoch", xlim=(min(epochs[0], epochs[-1] - 1e-9), epochs[-1]))
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        made.align_ylabels(axes)
    return made


def contrary(
    history: Columns, *, metric: str = "accuracy", by: float = 0.01,
    over: int = 5,
) -> list[tuple[int, int]]:
    """Where the loss falls and the accuracy falls too: the first and last epoch of each stretch.

    Cross entropy asks how sure the model is of each label, accuracy only which side of a boundary
    a point is on: a model that becomes much less wrong about some points may lose others.

    Parameters
    ----------
    history : History or dict of str to sequence
        With the columns ``loss`` and `metric`.
    metric : str
    by : float
        How far the metric must fall in a stretch.
    over : int
        Both are first averaged over so many epochs, so that one jump is no stretch.

    Returns
    -------
    list of (int, int)

    Examples
    --------
    >>> contrary({"loss": [4, 3, 2, 1, 0.5], "accuracy": [0.5, 0.7, 0.6, 0.5, 0.6]}, over=1)
    [(2, 4)]
    """
    loss, seen = (np.convolve(np.asarray(history[name], float), np.full(over, 1 / over), "valid")
                  for name in ("loss", metric))
    epochs = _epochs(history, len(history["loss"]))[over - 1 :]
    found, start = [], 0
    for i in range(1, len(loss) + 1):
        if i == len(loss) or not (loss[i] < loss[i - 1] and seen[i] <= seen[i - 1]):
            if seen[start] - seen[i - 1] >= by:
                found.append((int(epochs[start]), int(epochs[i - 1])))
            start = i
    return found


def plot_steps(history: StepHistory, **options: Unpack[Options]) -> Picture:
    """The loss of every step, and where something went wrong; shaded from where it is not finite.

    Parameters
    ----------
    history : History
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    loss = np.array(history.steps["loss"], float)
    if not len(loss):
        raise ValueError("the history is empty: nothing has been recorded yet.")
    steps = np.arange(1, 1 + len(loss))
    with drawing((6.4, 2.8), {"step": steps, "loss": loss}, **options) as (made, page):
        ax = made.subplots()
        lost = ~np.isfinite(loss)
        few = len(loss) - lost.sum() < 30                      # a single one makes no line
        ax.plot(steps, loss, color=page.value, marker="o" if few else None, markersize=3)
        if lost.any():
            ax.axvspan(steps[lost.argmax()] - 0.5, len(loss) + 0.5, color=page.alarm, alpha=0.12)
        scale_of(ax, loss[loss > 0], None)
        ax.set(xlabel="step", ylabel="loss", xlim=(0.5, len(loss) + 0.5))
        findings = [(f.kind, f.step) for f in history.findings if f.step]
        for row, (kind, step) in enumerate(findings):
            ax.axvline(step, color=page.alarm, linestyle=":", linewidth=1.4)
            early = step < len(loss) / 2
            reach = step + (1 if early else -1) * len(loss) // 3
            beside = loss[slice(*sorted((max(step - 1, 0), max(reach, 0))))]
            place = 0.16 + 0.1 * row if _at_the_top(ax, beside) else 0.94 - 0.1 * row
            ax.annotate(f"{kind}, step {step}", (step, place),
                        xycoords=("data", "axes fraction"), xytext=(4 if early else -4, 0),
                        textcoords="offset points", ha="left" if early else "right", va="top",
                        fontsize=8.5, color=page.alarm, path_effects=halo(page))
        ax.locator_params("x", integer=True)
    return made


def plot_compare(
    runs: Mapping[str, Columns | Sequence[Columns]], column: str = "loss", *,
    log: bool | None = None, **options: Unpack[Options],
) -> Picture:
    """One column of several runs; of runs with several seeds, the mean and the range.

    Of more than five runs the ranges, which would hide each other, stand beside the curves.

    Parameters
    ----------
    runs : dict of str to History or to sequence of History
        By the name to be shown; an optimizer's name gives it that optimizer's colour.
    column : str
    log : bool, optional
        Whether the scale is logarithmic; by default for losses that span a factor of 30.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not runs:
        raise ValueError("plot_compare needs at least one run.")
    with drawing((6.4, 4.0), **options) as (made, page):
        ax, chosen = made.subplots(), looks(runs, page)
        numbers, every = [], {name: _seeds(name, given, column) for name, given in runs.items()}
        same = len({len(seeds) for seeds in every.values()}) == 1
        crowded = len(every) > CROWD
        for place, (name, seeds) in enumerate(every.items(), 1):
            length = min(len(s[column]) for s in seeds)
            values = np.array([s[column][:length] for s in seeds], float)
            epochs, look, mean = _epochs(seeds[0], length), chosen[name], values.mean(0)
            label = name if same or len(seeds) == 1 else f"{name} ({len(seeds)} seeds)"
            ax.plot(epochs, mean, **look.line(length), label=label)
            if crowded and len(seeds) > 1:
                beside = epochs[-1] + 0.012 * place * (epochs[-1] - epochs[0])
                ends = np.array([[values[:, -1].min()], [values[:, -1].max()]])
                ax.errorbar(beside, mean[-1], abs(ends - mean[-1]), color=look.color,
                            marker=look.marker, markersize=5, elinewidth=2)
            elif len(seeds) > 1:
                ax.fill_between(epochs, values.min(0), values.max(0), color=look.color, alpha=0.15,
                                linewidth=0)
            _mark_lost(ax, epochs, mean, look.color)
            numbers += [(name, {"seed": np.full(length, seed), "epoch": epochs, column: row})
                        for seed, row in enumerate(values)]
        made.numbers = columns = stacked("run", numbers)
        scale_of(ax, columns[column], log if "loss" in column or log else False)
        _leave_out_spikes(ax, columns[column])
        ax.set(xlabel="epoch", ylabel=WORDS.get(column, column))
        ax.locator_params("x", integer=True)
        if same and len(seeds) > 1:
            what = "mean, and the range at the end," if crowded else "mean and range"
            ax.set_title(f"{what} of {len(seeds)} seeds", fontsize=9, color=page.muted)
        legend_below(made)
    return made


def plot_batch_sizes(
    results: Mapping[int, tuple[float, float]], **options: Unpack[Options]
) -> Picture:
    """Training time and validation error against the size of the batches.

    Parameters
    ----------
    results : dict of int to (float, float)
        Seconds, and error in [0, 1], by batch size.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not results:
        raise ValueError("plot_batch_sizes needs at least one result.")
    sizes = sorted(results)
    seconds, errors = np.array([results[s] for s in sizes], float).T
    numbers = {"batch_size": np.array(sizes), "seconds": seconds, "error": errors}
    with drawing((6.4, 3.6), numbers, **options) as (made, page):
        for ax, title, values, hue, marker, log in zip(
                made.subplots(1, 2), ("seconds to train", "validation error, %"),
                (seconds, 100 * errors), ("blue", "vermillion"), "os", (None, False)):
            ax.plot(sizes, values, color=page.color(hue), marker=marker, markersize=6)
            ax.set_xscale("log", base=2)
            ax.set_xticks(sizes, [str(s) for s in sizes], rotation=45 if len(sizes) > 6 else 0)
            ax.minorticks_off()
            ax.set(xlabel="batch size", title=title)
            scale_of(ax, values, log)
            if ax.get_yscale() == "linear":
                ax.set_ylim(bottom=0)
            ax.yaxis.set_major_formatter("{x:g}")
    return made


def plot_batches(
    runs: Mapping[int, Columns], noise: Mapping[int, Sequence[float]], *, column: str = "val_error",
    **options: Unpack[Options],
) -> Picture:
    """Learning curves of sizes of batches, by epochs and by seconds, and how noisy gradients are.

    Parameters
    ----------
    runs : dict of int to History
        By batch size, with `column` and ``seconds``.
    noise : dict of int to sequence of float
        By batch size, ‖g − G‖ / ‖G‖ for gradients g of some batches, where G is that of all; not
        needed for every size.
    column : str
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    curves = {size: {"epoch": np.arange(1, 1 + len(run[column])),
                     "seconds": np.cumsum(run["seconds"]), column: np.asarray(run[column], float)}
              for size, run in runs.items()}
    numbers = stacked("batch_size", [(str(size), curve) for size, curve in curves.items()])
    with drawing((9.6, 3.8), numbers, **options) as (made, page):
        epochs, seconds, last = made.subplots(1, 3)
        for (size, curve), hue in zip(curves.items(), ordered(len(runs), page)):
            epochs.plot(curve["epoch"], curve[column], color=hue, label=f"batch of {size}")
            seconds.plot(curve["seconds"], curve[column], color=hue)
            blur = noise.get(size, ())
            last.plot([size] * len(blur), blur, "o", color=hue, markersize=4, alpha=0.6)
        sizes = np.array(sorted(noise), float)
        first = float(np.mean(noise[min(noise)]) * min(noise) ** 0.5)
        last.plot(sizes, first / sizes**0.5, color=page.muted, linestyle="--", zorder=0,
                  label="∝ 1 / √size")
        epochs.set(title="after epochs", xlabel="epoch",
                   ylabel=WORDS.get(column, column.replace("val_", "validation ")))
        seconds.set(title="after seconds", xlabel="seconds", xscale="log")
        last.set(title="noise of gradients", xlabel="batch size", ylabel="‖g − G‖ / ‖G‖",
                 xscale="log", yscale="log", xticks=sizes)
        epochs.xaxis.get_major_locator().set_params(integer=True)
        few = np.divide(*seconds.dataLim.intervalx[::-1]) < 30
        seconds.xaxis.get_major_locator().set_params(subs=(1, 2, 5) if few else (1,))
        seconds.xaxis.set_minor_formatter("")
        last.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
        for axis in (seconds.xaxis, last.xaxis, last.yaxis):
            axis.set_major_formatter("{x:g}")
        last.minorticks_off()
        legend_below(made, columns=6)
    return made


# ---- details -------------------------------------------------------------------------------------


def _epochs(history: Columns, length: int) -> Array:
    """Those of a history's first rows, counted from 1 if it does not tell."""
    return np.asarray(history.get("epoch", range(1, length + 1)))[:length]


def _at_the_top(ax: Axes, values: Array) -> bool:
    """Whether half of the values lie in the upper third of the axes."""
    seen = values[np.isfinite(values)]
    ax.get_ylim()                                          # the scale is set when it is asked for
    places = ax.transAxes.inverted().transform(
        ax.transData.transform(np.column_stack([np.zeros(len(seen)), seen])))
    return len(seen) > 0 and float(np.nanmedian(places[:, 1])) > 2 / 3


def _leave_out_spikes(ax: Axes, values: Array) -> None:
    """Let a rare spike leave the picture at the top, where it would flatten all other curves."""
    seen = np.sort(values[np.isfinite(values)])
    if len(seen) < 100 or ax.get_yscale() == "log":
        return
    low, high = seen[0], seen[-1 - len(seen) // 100]
    if seen[-1] - low > 2 * (high - low) > 0:
        ax.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))


def _seeds(name: str, given: Columns | Sequence[Columns], column: str) -> list[Columns]:
    """The runs of one name, each of which has the column."""
    seeds = [given] if isinstance(given, Mapping) else list(given)
    if not seeds or any(column not in s for s in seeds):
        there = ", ".join(seeds[0]) if seeds else "no run"
        raise ValueError(f"{name} has no column {column!r}; there are: {there}.")
    return seeds


def _panel(ax: Axes, epochs: Array, name: str, curves: Mapping[str, Array], log: bool | None,
           page: Theme) -> None:
    """One quantity against the epochs, of training and of validation."""
    hue = page.color(HUES.get(name, "green"))
    for part, values in curves.items():
        if part.startswith("val_"):
            ax.plot(epochs, values, color=page.ink, linestyle="--", linewidth=1.2, marker="o",
                    markersize=3.5, markevery=max(len(values) // 15, 1), label="validation")
            continue
        seen = values[np.isfinite(values)]
        # only what jumps up and down is averaged: of a smooth curve the average would lag behind
        if len(seen) > 40 and np.abs(np.diff(seen)).sum() > 3 * np.ptp(seen):
            ax.plot(epochs, values, color=hue, alpha=page.faint, linewidth=1)
            ax.plot(epochs, smoothed(values), color=hue, label="training (average)")
        else:
            ax.plot(epochs, values, "." if len(values) == 1 else "-", color=hue, label="training")
        _mark_lost(ax, epochs, values, page.alarm)
    by_size = None if name == "gradient_norm" else False
    scale_of(ax, np.concatenate([*curves.values()]), log if "loss" in name else by_size)
    ax.set_ylabel(WORDS.get(name, name))
    if name == "lr":
        ax.set_ylim(bottom=0)
    if len(curves) > 1:
        ax.legend(loc="best")


def _mark_lost(ax: Axes, epochs: Array, values: Array, color: str) -> None:
    """Say where a run stopped being numbers."""
    lost = ~np.isfinite(values)
    if lost.any():
        at = epochs[int(lost.argmax())]
        ax.axvline(at, color=color, linestyle=":", linewidth=1.2)
        ax.annotate(f"not finite from epoch {at}", (at, 0.95), xycoords=("data", "axes fraction"),
                    xytext=(-4, 0), textcoords="offset points", ha="right", va="top", fontsize=8,
                    color=color)


def smoothed(values: Array, keep: float = 0.9) -> Array:
    """Exponential moving average, unbiased at the start; gaps are passed over."""
    total = weight = 0.0
    out = np.empty(len(values))
    for i, v in enumerate(values):
        if math.isfinite(v):
            total, weight = keep * total + (1 - keep) * v, keep * weight + 1 - keep
        out[i] = total / weight if weight else math.nan
    return out


def scale_of(ax: Axes, values: Array, log: bool | None) -> None:
    """A logarithmic scale, if asked for; with None, for what spans a factor of 30."""
    seen = values[np.isfinite(values)]
    least, most = seen.min(initial=np.inf), seen.max(initial=0)
    if log or (log is None and least > 0 and most > 30 * least):
        ax.set_yscale("log", nonpositive="mask")
        if 10 * least < most < 100 * least:                # one or two powers of ten are in view
            ax.yaxis.set_minor_formatter(lambda v, _: f"{v:g}" if f"{v:e}"[0] == "3" else "")
