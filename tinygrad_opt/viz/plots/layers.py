"""What passes through the layers of a model: values on the way there, gradients on the way back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from tinygrad_opt.typing import Array, ArrayLike
from tinygrad_opt.viz.figures import Axes, Options, Picture, Unpack, drawing, reach

__all__ = ["plot_layers"]

SHARES = (5, 25, 50, 75, 95)                   # percentiles of the values


class Layer(Protocol):
    """What a diagnosis has seen of a layer: its name, values, and the size of its gradient."""

    @property
    def name(self) -> str: ...
    @property
    def values(self) -> Array: ...
    @property
    def flow(self) -> float: ...


class Finding(Protocol):
    """What a diagnosis has found wrong, where and when."""

    @property
    def kind(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def step(self) -> int | None: ...


def plot_layers(
    layers: Sequence[Layer], findings: Iterable[Finding] = (), **options: Unpack[Options]
) -> Picture:
    """The values that each layer gives, and the size of the gradient that comes back to it.

    A thin line holds 90 % of the values, the thick part half of them, the dot is their median.
    Bars are root mean squares, on a logarithmic scale.

    Parameters
    ----------
    layers : sequence of Layer
        Of ``diagnose(...).probe``, from the input to the output.
    findings : sequence of Finding
        Layers that one of them names are framed; one that no gradient reaches gets an empty row.
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not layers:
        raise ValueError("plot_layers needs at least one layer: the model has no parameters, or its"
                         " loss does not depend on them.")
    kinds = {_owner(finding.where, layers): finding.kind for finding in findings if finding.where}
    spread = {layer.name: np.percentile(layer.values, SHARES) for layer in layers}
    flow = {layer.name: layer.flow for layer in layers}
    names = [*(name for name in kinds if name not in flow), *flow]     # first those cut off
    numbers: dict[str, ArrayLike] = {
        "layer": [*flow], "gradient": np.array([*flow.values()], float),
        **{f"values, {share} %": part for share, part in zip(SHARES, zip(*spread.values()))}}
    with drawing((7.2, 1.3 + 0.36 * len(names)), numbers, **options) as (made, page):
        left, right = made.subplots(1, 2, sharey=True)
        rows, sizes = range(len(names)), np.array([flow.get(name, 0.0) for name in names])
        low, high = reach(sizes)
        least, less, middle, more, most = np.transpose([*spread.values()])
        inside = rows[len(names) - len(flow):]
        left.hlines(inside, least, most, color=page.value, linewidth=1.6)
        left.hlines(inside, less, more, color=page.value, linewidth=7)
        left.plot(middle, inside, "o", color=page.page, markeredgecolor=page.ink, markersize=5)
        bars = right.barh(rows, np.fmax(sizes, low), height=0.55, color=page.gradient, log=True)
        right.bar_label(bars, [f"{size:.2g}" if size else "none" for size in sizes], padding=4,
                        fontsize=8.5)
        for row in (row for row in rows if names[row] in kinds):
            for ax in (left, right):
                ax.axhspan(row - 0.45, row + 0.45, facecolor="none", edgecolor=page.alarm,
                           linewidth=1.6)
        _wide_scale(left, np.array([*spread.values()]))
        left.set(xlabel="values", ylim=(len(names) - 0.4, -0.6))
        right.set(xlim=(low, high * (high / low) ** 0.3), xlabel="gradient (rms)")
        right.xaxis.set_minor_formatter("")
        left.set_yticks(rows, [
            f"{name}\n{kinds[name]}" if name in kinds else name for name in names])
        for label, name in zip(left.get_yticklabels(), names):
            label.set_color(page.alarm if name in kinds else page.text)
        for ax in (left, right):
            ax.grid(False, axis="y")
    return made


def _owner(where: str, layers: Sequence[Layer]) -> str:
    """The layer that a finding names, or whose parameter it names."""
    return where if any(layer.name == where for layer in layers) else where.rpartition(".")[0]


def _wide_scale(ax: Axes, values: np.ndarray) -> None:
    """A scale for values that span many sizes, linear near 0."""
    sizes = np.abs(values[values != 0])
    if len(sizes) and sizes.max() > 100 * np.median(sizes):
        ax.set_xscale("symlog", linthresh=float(np.median(sizes)))
        ax.locator_params("x", numticks=5)
