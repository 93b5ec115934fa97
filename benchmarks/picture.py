"""The picture of a comparison: how many times as long everyone's step takes as our compiled one."""

from __future__ import annotations

from contestants import CONTESTANTS
from report import ratio
from workloads import WORKLOADS

from tinygrad_opt.viz.figures import drawing

__all__ = ["draw"]

LIMIT = 20.0                             # what is farther out stands at the edge, as a number
LOOKS = {                                # colour, marker, filled
    "compiled": ("vermillion", "D", True), "eager": ("vermillion", "D", False),
    "native": ("vermillion", "*", True),
    "numpy": ("black", "s", True),
    "torch": ("orange", "o", True), "fused": ("orange", "o", False),
    "inductor": ("orange", "^", True),
    "jit": ("blue", "o", True), "donated": ("blue", "o", False), "scan": ("blue", "^", True),
    "autograd": ("green", "v", True), "mygrad": ("purple", "P", True),
    "micrograd": ("sky", "X", True),
}


def draw(found, theme="light"):
    """A band for each workload, a dot for each contestant, on a logarithmic axis."""
    runs = [r for r in found["runs"] if r["job"] in WORKLOADS and r["allocator"] == "default"]
    runs = [r for r in runs or found["runs"] if r["results"].get("compiled", {}).get("values")]
    names = [n for n in LOOKS if any(r["results"].get(n, {}).get("values") for r in runs)]
    with drawing((8.4, 1.3 + 0.72 * len(runs)), theme=theme) as (fig, theme):
        ax = fig.add_subplot()
        for band, run in enumerate(runs):
            if band % 2 == 0:
                ax.axhspan(band - 0.5, band + 0.5, color=theme.grid, alpha=0.35, linewidth=0)
            for place, name in enumerate(names):
                height = band - 0.4 + 0.8 * (place + 0.5) / len(names)
                _dot(ax, theme, name, height, ratio(run["results"], name, "compiled"))
        ax.axvline(1, color=theme.muted, linewidth=0.8, zorder=1)
        ax.set(xscale="log", xlim=(0.1, LIMIT * 1.35), ylim=(len(runs) - 0.5, -0.5),
               xlabel="time of a training step; tinygrad_opt compiled = 1, shorter is to the left")
        ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.set_yticks(range(len(runs)), [_caption(r["job"]) for r in runs])
        ax.tick_params(axis="y", length=0, labelsize=9)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", linewidth=0.6)
        ax.set_axisbelow(True)
        fig.legend(*_legend(ax, names), loc="outside upper center", ncols=4, frameon=False)
    return fig


def _dot(ax, theme, name, height, found):
    hue, marker, filled = LOOKS[name]
    color = theme.color(hue)
    face = color if filled else theme.page
    style = {"marker": marker, "color": color, "markerfacecolor": face, "markersize": 5,
             "markeredgewidth": 1.2, "linestyle": "none", "label": CONTESTANTS[name].label}
    if found is None:
        return
    middle, low, high = found
    if middle > LIMIT:
        ax.plot([LIMIT], [height], **style)
        two_digits = float(f"{middle:.2g}")
        ax.annotate(f"× {two_digits:,.0f}", (LIMIT, height), (6, 0), va="center", fontsize=7,
                    textcoords="offset points", color=theme.text)
        return
    ax.plot([low, high], [height] * 2, color=color, linewidth=1.1, alpha=0.8, zorder=2)
    ax.plot([middle], [height], zorder=3, **style)


def _legend(ax, names):
    """One entry for each contestant, in the order of the table."""
    handles, labels = ax.get_legend_handles_labels()
    by_label = dict(zip(labels, handles))
    order = [CONTESTANTS[n].label for n in names]
    return [by_label[label] for label in order], order


def _caption(job):
    """The workload's name over what it is."""
    text = WORKLOADS[job][0] if job in WORKLOADS else ""
    return f"{job}\n{text.partition(', ')[0]}"
