"""Training steps and pieces of them, ours beside everybody else's, as ratios.

    python benchmarks/compare.py                                  everything, about 12 minutes
    python benchmarks/compare.py --only spiral,moons --contestants eager,compiled,torch,numpy
    python benchmarks/compare.py --only models --contestants eager,compiled,torch --fastest
    python benchmarks/compare.py --json all.json --picture docs/benchmark.svg
    python benchmarks/compare.py --from all.json --picture benchmark.png --theme dark

Every contestant runs in a process of its own, on one thread and one core, in float32, from the
same weights and data; the losses of the first 20 steps are compared (relative tolerance 1e-3; ours,
compiled, must equal eager to the bit). The rounds go A B C A B C …; a ratio is the median over the
rounds of the quotient within a round, so that it holds though the machine's speed drifts. Who is
not installed or cannot do a job is left out with the reason. Nothing here is a test.

The default allocator is glibc's as it comes. `import tinygrad_opt` frees a block of 32 MiB, which
raises the thresholds at which glibc returns memory to the system for its own process; with
``--allocator kept`` everybody's process keeps its memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import measuring
from contestants import CONTESTANTS
from report import summary, table
from workloads import MODELS, PIECES, WORKLOADS

JOBS = [*WORKLOADS, *PIECES]


def run(job, names, options, allocator):
    """What a job gave: contestant -> values by round, or why it is absent."""
    few = min(options.rounds, 4)
    if job == "import":
        return measuring.import_times(names, rounds=few)
    if job == "memory":
        return measuring.peaks("mnist", names, rounds=few, allocator=allocator)
    return measuring.rounds_of(job, names, rounds=options.rounds, fresh=options.fresh,
                               seconds=options.seconds, allocator=allocator,
                               fastest=options.fastest)


def measure(options):
    """Run every job, and print each table when it is there."""
    found = {"machine": measuring.facts(None if options.any_core else measuring.pin()), "runs": []}
    versions = ", ".join(f"{k} {v}" for k, v in found["machine"]["versions"].items())
    where = "any core" if options.any_core else "one core"
    print(f"{found['machine']['cpu']}, one thread, {where}; {versions}")
    print(f"{options.fresh} times {options.rounds} rounds of {options.seconds} s\n")
    names = [n for n in CONTESTANTS if n in options.contestants]
    for allocator in ["default", "kept"] if options.allocator == "both" else [options.allocator]:
        for job in options.only:
            begin = time.perf_counter()
            results = run(job, names, options, allocator)
            found["runs"].append({"job": job, "allocator": allocator, "results": results})
            print(table(job, results))
            print(f"  {'' if allocator == 'default' else 'memory kept; '}"
                  f"{time.perf_counter() - begin:.0f} s\n", flush=True)
    return found


def some_of(known):
    """An argument type: names out of these, separated by commas."""
    def names(text):
        chosen = [name.strip() for name in text.split(",")]
        if chosen == ["models"]:
            return list(MODELS)
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return chosen
    return names


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=some_of(JOBS), default=JOBS, help=", ".join(JOBS))
    parser.add_argument("--contestants", type=some_of(CONTESTANTS), default=list(CONTESTANTS),
                        help=", ".join(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--fresh", type=int, default=2, help="times that processes are started")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a turn")
    parser.add_argument("--fastest", action="store_true",
                        help="compare the fastest turns of all, on a machine that is shared")
    parser.add_argument("--allocator", choices=["default", "kept", "both"], default="default")
    parser.add_argument("--any-core", action="store_true",
                        help="one thread, but let the system move processes between cores")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--picture", type=Path, help="draw the training steps here")
    parser.add_argument("--theme", choices=["auto", "light", "dark"], default="auto",
                        help="of the picture; with auto an SVG follows its reader's system")
    parser.add_argument("--from", type=Path, dest="old", help="measure nothing, read this JSON")
    return parser.parse_args()


def main():
    options = arguments()
    measuring.on_one_thread()
    found = json.loads(options.old.read_text()) if options.old else measure(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    print(summary(found["runs"]))
    if options.picture:
        from picture import draw

        from tinygrad_opt.viz.figures import save_picture

        save_picture(partial(draw, found), options.picture, theme=options.theme)
    wrong = [f"{run['job']}, {name}: {row['absent']}" for run in found["runs"]
             for name, row in run["results"].items() if "WRONG" in row.get("absent", "")]
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
