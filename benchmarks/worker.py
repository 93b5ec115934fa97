"""One contestant at one job, in a process of its own, measured whenever it is asked to.

Started by compare.py as ``worker.py CONTESTANT JOB``. It says on standard output that it is
ready, with its first losses, or why it cannot; then each line on standard input, a number of
seconds, is answered with the median seconds per step over that time. Lines are JSON.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import statistics
import sys
import time

from contestants import CONTESTANTS, CannotError
from workloads import MODELS, WORKLOADS

CHECKED = 20                             # losses that are compared
PATIENCE = 5.0                           # seconds for them, the first not counted
CHAIN = 10_000                           # operations
BATCH = 5e-3                             # seconds between two looks at the clock
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def job_of(module, variant, name):
    """The job of this name as the contestant does it."""
    if name in MODELS and not hasattr(module, "of_layers"):
        raise CannotError("a model of the library's own layers")
    if name in WORKLOADS:
        return module.training_step(WORKLOADS[name][1](), variant)
    if name == "optimizer":
        return module.optimizer(WORKLOADS["digits"][1](), variant)
    return module.single_op(variant) if name == "op" else module.chain(CHAIN, variant)


def first_losses(job):
    """The losses of the first steps, as far as patience goes."""
    losses: list[float] = []
    end = None
    while len(losses) < CHECKED and (end is None or time.perf_counter() < end):
        result = job.call()
        # a step's loss, or an array of the losses of several
        losses += [float(x) for x in (result if job.steps > 1 else [result])]
        if end is None:
            end = time.perf_counter() + PATIENCE           # the first step may have compiled
    return losses[:CHECKED]


def time_of(job, calls, clock=time.perf_counter):
    """Seconds per step over a number of calls."""
    if job.before:
        made = job.before()
        begin = clock()
        job.call(made)
    else:
        begin = clock()
        for _ in range(calls):
            job.call()
    return (clock() - begin) / calls / job.steps


def measure(job, seconds, clock=time.perf_counter):
    """Seconds per step of batches over some time, after a fifth of it to warm up: their median, and
    what a tenth of them stays below."""
    begin = time.perf_counter()
    once = time_of(job, 1)
    calls = 1 if job.before else max(1, round(BATCH / (once * job.steps)))
    while time.perf_counter() < begin + seconds / 5 and once < seconds:
        once = time_of(job, calls)
        calls = 1 if job.before else max(1, round(BATCH / (once * job.steps)))
    if once * job.steps > seconds:
        return once, once
    times, begin = [], time.perf_counter()
    while not times or time.perf_counter() < begin + seconds:
        times.append(time_of(job, calls, clock))
    return statistics.median(times), sorted(times)[len(times) // 10]


def memory(module, variant, name, steps=30):
    """By how many bytes a training run raises the peak of the process: model, state and steps."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")                                    # the peak is what there is now
    before = _status("VmRSS")
    job = job_of(module, variant, name)
    for _ in itertools.repeat(None, steps):
        job.call()
    return _status("VmHWM") - before


def _status(key):
    """A line of what Linux says about this process, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


def main(contestant, name, *options):
    clock = CLOCKS["processor" if "--processor" in options else "wall"]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                                          # what libraries print goes elsewhere

    def say(**answer):
        print(json.dumps(answer), file=out, flush=True)

    row = CONTESTANTS[contestant]
    try:
        module = importlib.import_module(f"contestants.{row.module}")
        if "--memory" in options:
            say(value=memory(module, row.variant, name))
            return
        job = job_of(module, row.variant, name)
        losses = first_losses(job) if name in WORKLOADS else []
        time_of(job, 1)                                    # what is compiled is compiled now
        say(losses=losses)
    except CannotError as error:
        say(absent=str(error))
        return
    except Exception as error:                             # one that fails does not stop the rest
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        say(absent=f"not available: {text[:90]}")
        return
    for line in sys.stdin:
        median, fastest = measure(job, float(line), clock)
        say(value=median, fastest=fastest)


if __name__ == "__main__":
    main(*sys.argv[1:])
