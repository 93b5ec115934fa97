"""The axes of the training animation, and what moves on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_opt.viz.plots.film import Film
from tinygrad_opt.viz.plots.moving import Heat, Line, Part, Still, Words
from tinygrad_opt.viz.plots.regions import region_colors, scatter
from tinygrad_opt.viz.plots.squares import shade_colors, shades
from tinygrad_opt.viz.plots.style import figure, styled
from tinygrad_opt.viz.theme import Theme

__all__ = ["TrainingStage"]

Array = np.ndarray


class TrainingStage:
    """The axes of the training animation."""

    def __init__(self, recorder: Any, rows: Any, theme: Theme, size: Any, scale: str) -> None:
        self.recorder, self.rows, self.theme, self.scale = recorder, rows, theme, scale
        self.figure = figure(size, theme)
        self.parts: list[Part] = []
        with styled(theme):
            self._title()
            self._regions()
            self._arrays()
            self._curves()

    def film(self, fps: float) -> Film:
        return Film(self.figure, self.parts, len(self.rows), theme=self.theme, fps=fps,
                    title="training", numbers=self.recorder.columns())

    def _title(self) -> None:
        text = self.figure.text(0.02, 0.955, "", fontsize=11, fontweight="bold", va="center")
        self.parts.append(Words(text, [_headline(row) for row in self.rows]))

    def _regions(self) -> None:
        r, ax = self.recorder, self.figure.add_axes((0.02, 0.36, 0.41, 0.55))
        plane = r.plane
        cells = np.stack([row["cells"] for row in self.rows])
        self.parts.append(Heat(ax, cells, region_colors(r.classes, self.theme), plane.extent))
        ax.set(xlim=plane.extent[:2], ylim=plane.extent[2:], xticks=[], yticks=[])
        self.parts.append(Still(self.figure, scatter(ax, r.x, r.y, self.theme, size=9)))

    def _arrays(self) -> None:
        """Weights and biases on the left, their latest changes on the right."""
        names = list(self.recorder.parameters)
        shapes = [self.rows[0]["weights"][n].shape for n in names]
        share = np.array([4 + min(rows, 16) for rows, _ in shapes], float)
        label = 0.042                                       # height of the line above an array
        share *= (0.545 - label * (len(names) + 1)) / share.sum()
        top = 0.905
        for kind, left in (("weights", 0.46), ("updates", 0.735)):
            words = "weights, biases" if kind == "weights" else "latest change"
            self.figure.text(left, top, words, fontsize=9, va="top", fontweight="bold")
        for kind, left in (("weights", 0.46), ("updates", 0.735)):
            y = top - label
            for name, high in zip(names, share):
                y -= label
                self._array(kind, name, (left, y - high, 0.245, high), y)
                y -= high

    def _array(self, kind: str, name: str, box: Any, above: float) -> None:
        values = np.stack([row[kind][name] for row in self.rows])
        with np.errstate(all="ignore"):
            most = np.nanmax(np.abs(np.where(np.isfinite(values), values, 0)), axis=(1, 2))
        if self.scale == "run":
            most = np.full_like(most, most.max())
        ax = self.figure.add_axes(box)
        self.parts.append(Heat(ax, shades(values, most), shade_colors(self.theme)))
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set_visible(True)
        if kind == "weights":
            self.figure.text(box[0], above + 0.006, _short(name), fontsize=8, va="bottom")
        text = self.figure.text(box[0] + box[2], above + 0.006, "", fontsize=8, va="bottom",
                                ha="right", color=self.theme.muted)
        self.parts.append(Words(text, [f"±{m:.2g}" for m in most]))

    def _curves(self) -> None:
        epochs = np.array([row["epoch"] for row in self.rows])
        until = list(range(1, len(epochs) + 1))
        for i, (key, hue) in enumerate((("loss", "vermillion"), ("accuracy", "green"),
                                        ("lr", "purple"))):
            ax = self.figure.add_axes((0.075 + 0.325 * i, 0.095, 0.25, 0.19))
            values = np.array([row[key] for row in self.rows])
            ax.set(xlim=(0, max(epochs[-1], 1)), ylim=_limits(key, values))
            ax.set_title("learning rate" if key == "lr" else key, fontsize=9, pad=3)
            ax.set_xlabel("epoch", fontsize=8, labelpad=1)
            ax.tick_params(labelsize=7.5, pad=2, length=3)
            ax.locator_params(nbins=4)
            ax.yaxis.set_major_formatter("{x:g}")
            ax.grid(True, alpha=0.6)
            self.parts.append(Line(ax, epochs, values, until, color=self.theme.color(hue)))


def _headline(row: Mapping[str, Any]) -> str:
    loss = "" if math.isnan(row["loss"]) else f"   loss {row['loss']:.3f}"
    return f"epoch {row['epoch']}{loss}   accuracy {row['accuracy']:.1%}"


def _limits(key: str, values: Array) -> tuple[float, float]:
    if key == "accuracy":
        return 0.0, 1.02
    seen = values[np.isfinite(values)]
    if not len(seen):
        return 0.0, 1.0
    top = seen.max() if key == "lr" else min(seen.max(), 3 * np.median(seen[: 5]))
    return 0.0, 1.06 * top if top > 0 else 1.0


def _short(name: str) -> str:
    return name if len(name) <= 18 else "…" + name[-17:]
