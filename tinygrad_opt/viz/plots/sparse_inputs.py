"""Inputs that are rarely seen: how far each optimizer steps for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.markup import aligned
from tinygrad_opt.typing import Array, Seed
from tinygrad_opt.viz.figures import Options, Picture, Unpack, drawing, legend_below, ordered
from tinygrad_opt.viz.plots.trajectories import Updates, check_optimizers, unbound
from tinygrad_opt.viz.tables import Table, stacked
from tinygrad_opt.viz.theme import CLASS_MARKERS

__all__ = ["SparseRun", "learn_sparse", "plot_sparse"]



@dataclass(frozen=True)
class SparseRun(Table):
    """What `learn_sparse` returns.

    Attributes
    ----------
    shares : ndarray of shape (n_inputs,)
        Of the samples in which each input is there.
    present : ndarray of bool, shape (n_steps, n_inputs)
    weights : dict of str to ndarray of shape (n_steps + 1, n_inputs)
        By optimizer, the start first; each should become 1.
    rates : dict of str to ndarray of shape (n_steps, n_inputs)
        |Δw| / |∂E/∂w|, the rate that a step amounted to; nan where the input was not there.
    """

    shares: Array
    present: Array
    weights: dict[str, Array]
    rates: dict[str, Array]

    def columns(self) -> dict[str, Array]:
        """Weights and rates after each step, one row a step, optimizer after optimizer."""
        n = len(self.shares)
        return stacked("optimizer", [(name, {
            "step": np.arange(1, len(w)),
            **{f"weight_{i}": w[1:, i] for i in range(n)},
            **{f"rate_{i}": self.rates[name][:, i] for i in range(n)},
        }) for name, w in self.weights.items()])

    def plot(self, **options: Unpack[Options]) -> Picture:
        """The same as `plot_sparse`."""
        return plot_sparse(self, **options)

    def __str__(self) -> str:
        """A table: each weight at the end, and the rate of the first step that was for it."""
        lines = [["optimizer", "input in", "weight", "first rate"]]
        for name, w in self.weights.items():
            for i, share in enumerate(self.shares):
                rates = self.rates[name][:, i]
                first = next((f"{rate:.3g}" for rate in rates if np.isfinite(rate)), "none")
                lines.append([name, f"{share:.1%}", f"{w[-1, i]:.3f}", first])
        return aligned(lines)


def learn_sparse(
    optimizers: Mapping[str, Updates],
    shares: Sequence[float] = (1.0, 0.2, 0.02),
    steps: int = 600,
    *,
    noise: float = 0.2,
    rng: Seed = 0,
) -> SparseRun:
    """Learn y = Σ xᵢ + noise, a sample a step, with inputs xᵢ that are 1 in some samples, else 0.

    E = ½ (Σ wᵢ xᵢ − y)², from w = 0, and all weights should become 1. The gradient of a weight
    is 0 whenever its input is not there, so that one which is rarely seen learns slowly by a
    rate that is the same for all. AdaGrad divides by the root of its own squared gradients.

    Parameters
    ----------
    optimizers : dict of str to optimizer
        Unbound ones that have not stepped yet, by the name to be shown.
    shares : sequence of float
        Of the samples in which each input is there, in (0, 1].
    steps : int, at least 1
    noise : float
        Standard deviation of what no weight explains.
    rng : int or Generator
        Of the samples, which are the same for all optimizers.

    Returns
    -------
    SparseRun

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense; nothing has been run then.

    Examples
    --------
    >>> from tinygrad_opt import optim
    >>> run = learn_sparse({"SGD": optim.SGD(lr=0.5)}, shares=[1.0], steps=2, noise=0)
    >>> run.weights["SGD"].ravel().tolist()
    [0.0, 0.5, 0.75]
    """
    check_optimizers(optimizers, steps)
    for name, given in optimizers.items():
        if not unbound(given):
            raise TypeError(f"{name}: an unbound optimizer is needed, such as optim.SGD(lr=0.1),"
                            f" got {given!r}.")
    each = np.asarray(shares, float)
    if each.ndim != 1 or not each.size or not ((each > 0) & (each <= 1)).all():
        raise ValueError(f"shares must be numbers in (0, 1], got {shares!r}.")
    generator = np.random.default_rng(rng)
    present = generator.random((steps, each.size)) < each
    targets = present.sum(1) + noise * generator.standard_normal(steps)
    weights, rates = {}, {}
    for name, given in optimizers.items():
        parameters = {f"w{i}": np.zeros(1) for i in range(each.size)}
        way, slopes = [np.zeros(each.size)], []
        for x, y in zip(present.astype(float), targets):
            slopes.append((way[-1] @ x - y) * x)
            given.update(parameters, {f"w{i}": np.array([g]) for i, g in enumerate(slopes[-1])})
            way.append(np.concatenate(list(parameters.values())))
        weights[name], size = np.array(way), np.abs(slopes)
        with np.errstate(all="ignore"):
            rates[name] = np.where(size != 0, np.abs(np.diff(way, axis=0)) / size, np.nan)
    return SparseRun(each, present, weights, rates)


def plot_sparse(run: SparseRun, **options: Unpack[Options]) -> Picture:
    """The weights of rare and frequent inputs on their way to 1, and the rate of each step.

    Above, what was learned; below, how far a step went for one unit of gradient. Each optimizer
    has its column, each input its colour and marker on all of them.

    Parameters
    ----------
    run : SparseRun
    **options
        Theme, size, dpi and title, as in `Options`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    count = len(run.weights)
    with drawing((max(6.4, 3.2 * count), 4.8), run.columns(), **options) as (made, page):
        axes = made.subplots(2, count, sharex=True, sharey="row", squeeze=False)
        for (name, w), (above, below) in zip(run.weights.items(), axes.T):
            steps = np.arange(len(w))
            above.axhline(1, color=page.muted, linestyle=":", linewidth=1.2)
            for i, (share, color) in enumerate(zip(run.shares, ordered(len(run.shares), page))):
                look = {"color": color, "markersize": 4.5,
                        "marker": CLASS_MARKERS[i % len(CLASS_MARKERS)]}
                above.plot(steps, w[:, i], markevery=max(len(w) // 8, 1), **look,
                           label=f"in {share:.0%} of the samples")
                there = np.isfinite(run.rates[name][:, i])
                rates = run.rates[name][there, i]
                below.plot(steps[1:][there], rates, markevery=max(len(rates) // 8, 1),
                           linewidth=0.8, **look)
            above.set_title(name, fontweight="bold")
            below.set(xlabel="step", yscale="log", xlim=(0, len(w) - 1))
            low, high = below.get_ylim()
            below.yaxis.get_major_locator().set_params(subs=(1, 2, 5) if high < 300 * low else (1,))
            below.yaxis.set_major_formatter("{x:g}")
            below.minorticks_off()
        axes[0, 0].set_ylabel("weight (should be 1)")
        axes[1, 0].set_ylabel("|Δw| / |gradient|")
        made.align_ylabels(axes[:, 0])
        legend_below(made, axes[0, 0].get_legend_handles_labels()[0])
    return made
