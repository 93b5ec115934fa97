"""What was measured, as text: ratios within a round, their median and quartiles."""

from __future__ import annotations

import statistics

from contestants import CONTESTANTS
from workloads import PIECES, WORKLOADS

__all__ = ["OURS", "medians", "ratio", "summary", "table"]

OURS = ("eager", "compiled", "native")
TITLES = {**{k: text for k, (text, _) in WORKLOADS.items()}, **PIECES}


def ratio(results, mine, theirs):
    """Median, lower and upper quartile of the quotient within a round, or None."""
    pairs = [(a, b) for a, b in zip(*(results.get(n, {}).get("values", []) for n in (mine, theirs)))
             if a and b]
    if not pairs:
        return None
    quotients = [a / b for a, b in pairs]
    low, middle, high = (
        statistics.quantiles(quotients, n=4, method="inclusive") if len(pairs) > 1
        else quotients * 3
    )
    return middle, low, high


def quantity(value, job):
    """A time or a size with its unit."""
    if job == "memory":
        return f"{value / 1e6:.1f} MB"
    units = [(1, "s"), (1e-3, "ms"), (1e-6, "µs")]
    unit, name = next(((u, n) for u, n in units if value >= u), units[-1])
    return f"{value / unit:.3g} {name}" if value >= 1e-6 else f"{value / 1e-6:.2f} µs"


def figure(x):
    """A ratio with two decimals, or two digits where that is more."""
    return f"{x:.2f}" if x >= 0.1 else f"{x:.2g}"


def table(job, results):
    """One line for each contestant."""
    lines = [f"{job}: {TITLES[job]}",
             f"  {'':24}{'median':>10}   {'eager / it (quartiles)':26}{'compiled / it':26}"
             "native / it"]
    for name, row in results.items():
        label = CONTESTANTS[name].label
        values = [v for v in row.get("values", []) if v]
        if not values:
            lines.append(f"  {label:24}{'–':>10}   {row.get('absent', 'ended')}")
            continue
        cells = [f"  {label:24}{quantity(statistics.median(values), job):>10}   "]
        for mine in OURS:
            found = None if mine == name else ratio(results, mine, name)
            text = "{} ({} to {})".format(*map(figure, found)) if found else ""
            cells.append(f"{text:26}")
        lines.append("".join(cells).rstrip())
    return "\n".join(lines)


def medians(run, mine):
    """Contestant -> the median ratio of one of ours to it, or None."""
    return {name: (ratio(run["results"], mine, name) or [None])[0] for name in run["results"]}


def summary(runs):
    """Two tables in Markdown, ours to everyone else's: a row for each job."""
    names = [n for n in CONTESTANTS if any(n in run["results"] for run in runs)]
    parts = []
    for mine in OURS:
        others = [n for n in names if n != mine]
        if mine not in names or not others:
            continue
        heads = [f"{CONTESTANTS[mine].label} /", *(CONTESTANTS[n].label for n in others)]
        lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for run in runs:
            found = medians(run, mine)
            cells = ["–" if found.get(n) is None else figure(found[n]) for n in others]
            if any(c != "–" for c in cells):
                name = run["job"] + ("" if run["allocator"] == "default" else ", memory kept")
                lines.append(f"| {name} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
