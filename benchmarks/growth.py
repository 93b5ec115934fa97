"""How the time of a step grows with parameters, batch, depth and the length of a graph.

    python benchmarks/growth.py                        four tables and the exponents
    python benchmarks/growth.py --json growth.json --picture docs/growth.svg

An exponent is the slope on log-log paper, by least squares over the larger half of the sizes,
where what a step costs at any size no longer counts: 1 is linear. One thread, one core.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
from functools import partial
from pathlib import Path

import measuring
from workloads import mlp

LOOKS = {"eager": ("black", "o-"), "compiled": ("vermillion", "D-"), "gc off": ("blue", "s--")}


def square_network(parameters):
    """Two square layers of about so many weights, 32 rows."""
    width = max(2, round(math.sqrt(parameters / 2)))
    return mlp(32, [width] * 3)


AXES = {                                 # what grows: sizes, work of a size
    "parameters": ([10**k for k in range(2, 8)], square_network),
    "batch": ([4**k for k in range(1, 8)], lambda rows: mlp(rows, [64, 128, 64, 10])),
    "depth": ([2**k for k in range(1, 10)], lambda depth: mlp(32, [16] * (depth + 1))),
    "chain": ([10**k for k in range(1, 6)], None),
}
WHAT = {
    "parameters": "weights of two square layers, 32 rows",
    "batch": "rows through 64-128-64-10",
    "depth": "layers of width 16, 32 rows",
    "chain": "operations in a row, built and walked back",
}


def job_of(axis, size, variant):
    from contestants import Job, ours

    if axis != "chain":
        return ours.training_step(AXES[axis][1](size), variant)
    chain = ours.chain(size, "eager")

    def build_and_walk_back():
        if variant == "gc off":                  # Python's collector looks through long graphs
            gc.disable()
        chain.call(chain.before())
        gc.enable()

    return Job(build_and_walk_back)


def started(job):
    """The job after its first call, in which a compiled step is captured."""
    job.call()
    return job


def curves(seconds, largest, sweeps):
    """axis -> variant -> rows of size and seconds per step, the median over the sweeps."""
    from worker import measure

    found = {axis: dict.fromkeys(("eager", "gc off" if axis == "chain" else "compiled"), ())
             for axis in AXES}
    for axis, (sizes, _) in AXES.items():
        sizes = [n for n in sizes if n <= largest]
        for variant in found[axis]:
            times = [[measure(started(job_of(axis, n, variant)), seconds)[0] for n in sizes]
                     for _ in range(sweeps)]
            found[axis][variant] = list(zip(sizes, map(statistics.median, zip(*times))))
    return found


def exponent(rows):
    """The slope of log time by log size over the larger half."""
    half = rows[-max(2, (len(rows) + 1) // 2):]
    x, y = ([math.log(row[i]) for row in half] for i in (0, 1))
    x0, y0 = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - x0) ** 2 for a in x)
    return sum((a - x0) * (b - y0) for a, b in zip(x, y)) / spread if spread else math.nan


def report(found):
    for axis, by_variant in found.items():
        print(f"{axis}: {WHAT[axis]}")
        for variant, rows in by_variant.items():
            times = "  ".join(f"{size:g}: {t * 1e6:.4g}" for size, t in rows)
            print(f"  {variant:9} exponent {exponent(rows):5.2f}   µs  {times}")


def draw(found, theme="light"):
    """Four panels on log-log paper, with a line of slope 1 to compare with."""
    from tinygrad_opt.viz.figures import drawing

    with drawing((8.4, 6.0), theme=theme) as (fig, theme):
        for ax, (axis, by_variant) in zip(fig.subplots(2, 2).flat, found.items()):
            for variant, rows in by_variant.items():
                color, line = LOOKS[variant]
                ax.loglog(*zip(*rows), line, color=theme.color(color), markersize=4,
                          label=f"{variant}, n^{exponent(rows):.2f}")
            size, top = rows[-1]
            ax.loglog([rows[0][0], size], [top * rows[0][0] / size, top], ":",
                      color=theme.muted, linewidth=1, label="linear", zorder=1)
            ax.set(title=axis, xlabel=WHAT[axis], ylabel="seconds a step")
            ax.set_ylim(bottom=min(t for rows in by_variant.values() for _, t in rows) / 2)
            ax.grid(linewidth=0.5)
            ax.legend(frameon=False)
    return fig


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="for each size")
    parser.add_argument("--sweeps", type=int, default=5, help="over all sizes; the median counts")
    parser.add_argument("--largest", type=float, default=1e7, help="leave out larger sizes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--theme", choices=["auto", "light", "dark"], default="auto")
    options = parser.parse_args()
    measuring.on_one_thread()
    found = {"machine": measuring.facts(measuring.pin()),
             "curves": curves(options.seconds, options.largest, options.sweeps)}
    report(found["curves"])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.picture:
        from tinygrad_opt.viz.figures import save_picture

        save_picture(partial(draw, found["curves"]), options.picture, theme=options.theme)


if __name__ == "__main__":
    main()
