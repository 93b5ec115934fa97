"""Contestants in processes of their own, on one core and one thread, taking turns in rounds."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

from contestants import CONTESTANTS
from workloads import WORKLOADS

__all__ = ["ALLOCATORS", "check", "environment", "facts", "import_times", "on_one_thread",
           "peaks", "pin", "rounds_of"]

HERE = Path(__file__).parent
TOLERANCE = 1e-3                         # of losses, relative; compiled and eager must be equal
SLOWEST_START = 300                      # seconds that a contestant may take to compile

# What glibc does with freed memory: as it does by itself, or kept whatever its size.
ALLOCATORS = {
    "default": {},
    "kept": {"MALLOC_TRIM_THRESHOLD_": str(1 << 32), "MALLOC_TOP_PAD_": str(1 << 26),
             "MALLOC_MMAP_THRESHOLD_": str(1 << 25)},
}
ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def environment(allocator="default"):
    """What a contestant's process sees."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)              # as on a user's machine
    places = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {**kept, **ONE_THREAD, **ALLOCATORS[allocator],
            "PYTHONPATH": os.pathsep.join(filter(None, places))}


def on_one_thread(allocator="default"):
    """Start this program again with one thread; libraries read the variables when imported."""
    wanted = {**ONE_THREAD, **ALLOCATORS[allocator]}
    if any(os.environ.get(k) != v for k, v in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], environment(allocator))


def pin():
    """Stay on one core, with all processes started from here; None where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def facts(core):
    """The machine and the versions, as they belong to every figure."""
    versions = {"python": platform.python_version()}
    for name in ("numpy", "torch", "jax", "autograd", "mygrad", "micrograd"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return {"cpu": _processor(), "cores": os.cpu_count(), "pinned to core": core,
            "threads": 1, "system": platform.platform(), "versions": versions,
            "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "as OpenBLAS chooses")}


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


class Worker:
    """A process of worker.py, and what it answers."""

    def __init__(self, contestant, job, allocator, *options):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), contestant, job, *options],
            env=environment(allocator), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.first = self._answer()

    def _answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], SLOWEST_START)
        line = self.process.stdout.readline() if ready else ""
        ended = f"ended without an answer, or took more than {SLOWEST_START} s"
        return json.loads(line) if line else {"absent": f"not available: {ended}"}

    def ask(self, seconds, which="value"):
        """Its median seconds per step over some time, or its fastest; None if it has gone."""
        try:
            print(seconds, file=self.process.stdin, flush=True)
        except OSError:
            return None
        return self._answer().get(which)

    def close(self):
        self.process.kill()
        self.process.communicate()


def rounds_of(job, names, *, rounds, fresh, seconds, allocator="default", fastest=False):
    """Measure a job: for each contestant its seconds per step by round, or why it sits out.

    Processes are started `fresh` times, since where things lie in memory is drawn anew with
    each; in between there are `rounds` rounds, A B C A B C. On a busy machine the `fastest`
    tenth of the turns says more, on the clock of the processor, which others do not move.
    """
    results = {name: {"values": []} for name in names}
    for _ in range(fresh):
        options = ["--processor"] if fastest else []
        workers = {n: Worker(n, job, allocator, *options) for n in names
                   if "absent" not in results[n]}
        try:
            check(job, workers, results)
            for _ in range(rounds):
                for name, worker in workers.items():
                    if "absent" not in results[name]:
                        results[name]["values"].append(worker.ask(
                            seconds, "fastest" if fastest else "value"))
        finally:
            for worker in workers.values():
                worker.close()
    if fastest:
        results = {n: {**row, "values": [statistics.median(v for v in row["values"] if v)]}
                   if any(row.get("values", [])) else row for n, row in results.items()}
    return results


def check(job, workers, results):
    """Put down who sits out, and whose losses are not those of the first."""
    for name, worker in workers.items():
        if "absent" in worker.first:
            results[name] = worker.first
    if job not in WORKLOADS:
        return
    present = {n: w.first["losses"] for n, w in workers.items() if "losses" in w.first}
    right = next(iter(present.values()), [])
    if job == "dropout":                                   # everybody draws his own
        present = {n: losses for n, losses in present.items() if CONTESTANTS[n].module == "ours"}
    for name, losses in present.items():
        results[name]["losses"] = losses
        tolerance = 0 if name in ("eager", "compiled") else TOLERANCE
        for step, (a, b) in enumerate(zip(losses, right)):
            if not abs(a - b) <= tolerance * abs(b):
                results[name] = {"absent": f"WRONG: loss {a} after {step} steps, not {b}"}
                break


def import_times(names, *, rounds):
    """Seconds of whole processes that import what a contestant needs, and nothing else."""
    first = {CONTESTANTS[n].imports: n for n in reversed(names)}     # once for each library
    results = {n: {"values": []} if n in first.values() else {"absent": "the same library"}
               for n in names}
    for turn in range(rounds + 1):
        for name, row in results.items():
            if "absent" in row:
                continue
            begin = time.perf_counter()
            code = subprocess.run([sys.executable, "-c", f"import {CONTESTANTS[name].imports}"],
                                  env=environment(), capture_output=True).returncode
            if code:
                results[name] = {"absent": "not available: cannot be imported"}
            elif turn:                                     # the first turn writes bytecode
                row["values"].append(time.perf_counter() - begin)
    return results


def peaks(job, names, *, rounds, allocator="default"):
    """Bytes by which a training run raises the peak of its process, by round."""
    results = {name: {"values": []} for name in names}
    for _ in range(rounds):
        for name, row in results.items():
            if "absent" not in row:
                worker = Worker(name, job, allocator, "--memory")
                worker.close()
                if "absent" in worker.first:
                    results[name] = worker.first
                else:
                    row["values"].append(worker.first["value"])
    return results
