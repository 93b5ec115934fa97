"""What passes through the layers of a model: values on the way there, gradients on the way back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.viz.figures import Options, Unpack, drawing

__all__ = ["plot_layers"]

SHARES = (5, 25, 50, 75, 95)                   # percentiles of the values


def plot_layers(
    layers: Sequence[Any], findings: Iterable[Any] = (), **options: Unpack[Options]
) -> Any:
    """The values that each layer gives, and the size of the gradient that comes back to it.

    A thin line holds 90 % of the values, the thick part half of them, the dot is their median.
    Bars are root mean squares, on a logarithmic scale.

    Parameters
    ----------
    layers : sequence of Layer
        Of ``diagnose(...).probe``, from the input to the output.
    findings : sequence of Finding
        Layers that one of them names are framed, and carry its kind.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not layers:
        raise ValueError("plot_layers needs at least one layer: the model has no parameters, or its"
                         " loss does not depend on them.")
    spread = np.array([np.percentile(layer.values, SHARES) for layer in layers])
    flow = np.array([layer.flow for layer in layers], float)
    names = [layer.name for layer in layers]
    kinds = {name: finding.kind for finding in findings for name in names
             if finding.where in (name, f"{name}.weight")}
    labels = [f"{name}\n{kinds[name]}" if name in kinds else name for name in names]
    rows = np.arange(len(layers))
    numbers = {"layer": names, "gradient": flow,
               **{f"values, {share} %": part for share, part in zip(SHARES, spread.T)}}
    with drawing((7.2, 1.3 + 0.36 * len(layers)), numbers, **options) as (made, page):
        left, right = made.subplots(1, 2, sharey=True)
        left.hlines(rows, spread[:, 0], spread[:, 4], color=page.value, linewidth=1.6)
        left.hlines(rows, spread[:, 1], spread[:, 3], color=page.value, linewidth=7)
        left.plot(spread[:, 2], rows, "o", color=page.page, markeredgecolor=page.ink, markersize=5)
        left.set(xlabel="values there")
        _wide_scale(left, spread)
        seen = flow[flow > 0]
        low, high = (seen.min() / 5, seen.max() * 3) if len(seen) else (1e-8, 1.0)
        right.barh(rows, np.maximum(flow - low, 0), left=low, height=0.55, color=page.gradient)
        right.set(xscale="log", xlim=(low, high * (high / low) ** 0.3), xlabel="gradient back")
        for row, (size, name) in enumerate(zip(flow, names)):
            right.text(max(size, low) * 1.15, row, f"{size:.2g}" if size else "zero", va="center",
                       fontsize=8.5)
            if name in kinds:
                for ax in (left, right):
                    ax.axhspan(row - 0.45, row + 0.45, facecolor="none", edgecolor=page.alarm,
                               linewidth=1.6)
        left.set_yticks(rows, labels)
        for label, name in zip(left.get_yticklabels(), names):
            label.set_color(page.alarm if name in kinds else page.text)
        left.set_ylim(len(layers) - 0.4, -0.6)
        for ax in (left, right):
            ax.grid(False, axis="y")
    return made


def _wide_scale(ax: Any, values: np.ndarray) -> None:
    """A scale for values that span many sizes, linear near 0."""
    sizes = np.abs(values[values != 0])
    if len(sizes) and sizes.max() > 100 * max(np.median(sizes), 1e-30):
        ax.set_xscale("symlog", linthresh=float(np.median(sizes)))
