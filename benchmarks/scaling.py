"""Training on several ranks: measured here, and what the cost model says of more of them.

    python benchmarks/scaling.py                                     # one rank
    mpiexec -n 2 python -m mpi4py benchmarks/scaling.py              # also -n 4
    mpiexec -n 2 python -m mpi4py benchmarks/scaling.py --gain 90    # on a busy machine
    python benchmarks/scaling.py --draw docs/scaling                 # the curves

The first command measures and keeps the numbers in scaling.json beside this file; the second fits
the model to them and draws. One thread a rank. In each round the same step is made by one rank with
the whole batch while the others sleep, then by all with a part each: minima are compared.

A step of p ranks takes

    T(p) = a + c · B / p + A(p, n)

a: Python and calls, whatever the batch; c: a sample's part; B: samples of the batch; A: the
all-reduce of n numbers of w bytes, by p ranks with latency α and β seconds a byte between two:

    ring   2 (p − 1) α + 2 (p − 1) / p · n w β
    tree   2 ⌈log₂ p⌉ (α + n w β)
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")                      # before NumPy is imported

import numpy as np  # noqa: E402

import tinygrad_opt as tg  # noqa: E402
from tinygrad_opt import nn, optim  # noqa: E402

KEPT = Path(__file__).with_name("scaling.json")
WORK = {                                                   # sizes, samples of a batch
    "digits 64-32-10, batch 32": ([64, 32, 10], 32),
    "784-32-10, batch 2048": ([784, 32, 10], 2048),
    "784-256-128-10, batch 1024": ([784, 256, 128, 10], 1024),
}
VARIANTS = {"every step": {}, "16 bits": {"bits": 16}, "every 8 steps": {"every": 8}}
COUNTS = [1, 1 << 8, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20]      # numbers of an all-reduce

# Latency and seconds a byte between two ranks: what makers and users of such networks report.
NETWORKS = {"InfiniBand, 100 Gbit/s": (2e-6, 1 / 12.5e9),
            "Ethernet, 10 Gbit/s": (30e-6, 1 / 1.25e9)}


# ---- measuring -----------------------------------------------------------------------------------


def parts(batch):
    """Batches through whose times the cost of one rank is drawn."""
    return {"whole": batch, "half": batch // 2, "quarter": batch // 4, "small": batch // 32}


class Training:
    """A compiled step of a network over its own rows of each batch, as a loop of one's own."""

    def __init__(self, sizes, batch, part, reduce=None):
        self.rng = np.random.default_rng(0)
        n = 4 * batch
        self.x = self.rng.normal(size=(n, sizes[0])).astype(np.float32)
        self.y = self.rng.integers(sizes[-1], size=n)
        self.batch, self.part = batch, part
        self.model = nn.MLP(sizes, rng=0)
        self.share = (part.stop - part.start) / batch
        opt = optim.Momentum(self.model.parameters(), lr=1e-3, reduce=reduce)

        def step(x, y):
            loss = nn.cross_entropy(self.model(x), y)
            opt.zero_grad()
            (loss * self.share).backward()
            opt.step()
            return loss

        self.step = tg.compile(step)

    def __call__(self, times, clock=time.perf_counter):
        """Shortest of so many steps, the rows taken out of shuffled data included."""
        best = math.inf
        for _ in range(times):
            start = clock()
            rows = self.rng.integers(len(self.x), size=self.batch)[self.part]
            self.step(self.x[rows], self.y[rows])
            best = min(best, clock() - start)
        return best


def waiting(comm):
    """Wait for all without using the core, which MPI's own barrier would."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(2e-4)


def together(comm, run, times):
    """A step of a block that all ranks begin at the same time, by the rank that takes longest.

    The mean, not the shortest step: a rank whose others are ahead of it makes a short one.
    """
    from mpi4py import MPI

    comm.Barrier()
    start = time.perf_counter()
    run(times)
    return comm.allreduce((time.perf_counter() - start) / times, MPI.MAX)


def measure(rounds):
    """Compute alone and together, and all-reduces, on the ranks that there are."""
    from tinygrad_opt.parallel import mpi

    comm, p = mpi.comm, mpi.size
    found = {"ranks": p, "cores": os.cpu_count(), "work": {}, "all-reduce": {},
             "learned": {v: learned(mpi(**o)) for v, o in VARIANTS.items()} if p > 1 else {}}
    for name, (sizes, batch) in WORK.items():
        alone = {b: Training(sizes, n, slice(0, n)) for b, n in parts(batch).items()}
        part = mpi._span(0, batch)
        runs = {}
        if p > 1:
            runs = {v: Training(sizes, batch, part, None if "every" in o else mpi(**o).sum)
                    for v, o in VARIANTS.items()}
            local = mpi(every=8)
            runs["every 8 steps"] = Averaging(runs["every 8 steps"], local)
        times = comm.bcast(8 * math.ceil(0.05 / 8 / alone["whole"](5, time.thread_time)))
        best = {}
        for _ in range(rounds):
            for b, run in alone.items():
                if mpi.rank == 0:                          # its thread alone counts
                    best[b] = min(best.get(b, math.inf), run(times, time.thread_time))
                waiting(comm)
            for v, run in runs.items():
                best[v] = min(best.get(v, math.inf), together(comm, run, times))
        best["parameters"] = sum(q.size for q in alone["whole"].model.parameters().values())
        best["batch"] = batch
        found["work"][name] = best
    for count in COUNTS if p > 1 else ():
        vector, best = np.ones(count, np.float32), math.inf
        for _ in range(rounds * 5):
            comm.Barrier()
            for _ in range(5):
                start = time.perf_counter()
                mpi._add(vector)
                best = min(best, time.perf_counter() - start)
            vector[...] = 1
        found["all-reduce"][str(count)] = comm.allreduce(best, __import__("mpi4py").MPI.MAX)
    if mpi.rank == 0:
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        kept[str(p)] = found
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        report(found)


def learned(ranks):
    """Loss and accuracy on new digits after 30 epochs, and the bytes that a rank sent a step."""
    x, y = tg.data.digits()
    x, x_test, y, y_test = tg.data.train_test_split(x / 16, y, test_size=0.25, rng=0)
    model = nn.MLP([64, 32, 10], rng=0)
    history = tg.fit(model, x, y, loss="cross_entropy", optimizer="momentum:lr=0.05", epochs=30,
                     metrics="accuracy", validation_data=(x_test, y_test), seed=0, progress=False,
                     diagnose=False, parallel=ranks)
    size = sum(p.size for p in model.parameters().values())
    sent = 2 * (ranks.size - 1) / ranks.size * size * ranks.bits / 8
    return {"val_loss": history["val_loss"][-1], "val_accuracy": history["val_accuracy"][-1],
            "bytes": sent / ranks.every}


def gain(name, seconds):
    """What all ranks gain over one: short turns for so long that each meets an idle machine."""
    from tinygrad_opt.parallel import mpi

    sizes, batch = WORK[name]
    alone, own = (Training(sizes, n, slice(0, n)) for n in (batch, batch // mpi.size))
    shared = Training(sizes, batch, mpi._span(0, batch), mpi.sum)
    best = [math.inf] * 3
    end = time.monotonic() + seconds
    while mpi.comm.bcast(time.monotonic() < end):
        for i, run in enumerate((alone, own)):
            if mpi.rank == 0:
                best[i] = min(best[i], run(4))
            waiting(mpi.comm)
        best[2] = min(best[2], together(mpi.comm, shared, 6))
    if mpi.rank == 0:
        one, part, many = best
        print(f"{name}: one rank {1e3 * one:.3f} ms, {mpi.size} ranks {1e3 * many:.3f} ms: gain"
              f" {one / many:.2f}, of {one / part:.2f} without a word to each other")


class Averaging:
    """Steps without a word to the others, and the mean of the parameters after every eighth."""

    def __init__(self, training, ranks):
        self.training, self.ranks = training, ranks

    def __call__(self, times):
        for _ in range(times // 8):
            self.training(8)
            for p in self.training.model.parameters().values():
                self.ranks._average(p._array)


def report(found):
    """What was measured, as a table."""
    print(f"{found['ranks']} ranks on {found['cores']} cores; milliseconds a step")
    names = ["whole", "half", "quarter", "small", *VARIANTS]
    print(f"{'':28}" + "".join(f"{n:>15}" for n in names) + f"{'gain':>8}{'bound':>8}")
    for name, best in found["work"].items():
        cells = "".join(f"{1e3 * best[n]:15.3f}" if n in best else f"{'':15}" for n in names)
        gain = bound = ""
        if "every step" in best:
            gain = f"{best['whole'] / best['every step']:8.2f}"
            bound = f"{best['whole'] / alone_with(best, found['ranks']):8.2f}"
        print(f"{name:28}{cells}{gain}{bound}")
    for name, seen in found.get("learned", {}).items():
        print(f"digits, 30 epochs, {name:14} loss {seen['val_loss']:.4f}  accuracy"
              f" {seen['val_accuracy']:.4f}  {seen['bytes']:,.0f} bytes a step")
    for count, seconds in found["all-reduce"].items():
        print(f"all-reduce of {int(count):>8,} float32: {1e6 * seconds:9.1f} µs")


def alone_with(best, p):
    """A step of a rank's own part without a word to the others: the bound of the gain."""
    sizes = parts(best["batch"])
    names = sorted(sizes, key=sizes.get)
    return np.interp(best["batch"] / p, [sizes[n] for n in names], [best[n] for n in names])


# ---- the model -----------------------------------------------------------------------------------


def compute(best):
    """a and c of one rank, through the times of batches of several sizes."""
    b = np.array([*parts(best["batch"]).values()], float)
    seconds = np.array([best[name] for name in parts(1)])
    weights = 1 / seconds                                  # relative errors
    rows = np.stack([np.ones(len(b)), b], axis=1) * weights[:, None]
    a, c = np.linalg.lstsq(rows, seconds * weights, rcond=None)[0]
    return max(float(a), 0.0), float(c)


def network(found):
    """α and β of the measured all-reduces, read as a ring."""
    p = found["ranks"]
    bytes_ = 4 * np.array([int(n) for n in found["all-reduce"]])
    seconds = np.array([*found["all-reduce"].values()])
    rows = np.stack([np.full(len(bytes_), 2 * (p - 1)), 2 * (p - 1) / p * bytes_], axis=1)
    weights = 1 / seconds
    alpha, beta = np.linalg.lstsq(rows * weights[:, None], seconds * weights, rcond=None)[0]
    return float(alpha), float(beta)


def ring(p, size, alpha, beta):
    return 2 * (p - 1) * alpha + 2 * (p - 1) / p * size * beta


def tree(p, size, alpha, beta):
    return 2 * np.ceil(np.log2(p)) * (alpha + size * beta)


def draw(folder, kept):
    """Speed against ranks: one batch shared by all, and batches that grow with the ranks."""
    from tinygrad_opt.viz.figures import drawing, legend_below, png

    p = np.unique(np.geomspace(1, 10_000, 200).round())
    for theme in ("light", "dark"):
        with drawing((9.6, 6.6), theme=theme) as (made, page):
            axes = made.subplots(2, 2, sharex=True)
            for column, (label, (alpha, beta)) in zip(axes.T, NETWORKS.items()):
                for name, hue in zip(WORK, ("sky", "vermillion", "green")):
                    best = kept["1"]["work"][name]
                    a, c = compute(best)
                    size, batch = 4 * best["parameters"], best["batch"]
                    for kind, dashes in (ring, "-"), (tree, "--"):
                        said = kind(p, size, alpha, beta)
                        own = a + c * np.maximum(batch / p, 1)         # no rank has half a sample
                        line = {"color": page.color(hue), "linestyle": dashes,
                                "label": f"{name}, {kind.__name__}"}
                        column[0].plot(p, (a + c * batch) / (own + said), **line)
                        column[1].plot(p, (a + c * batch) / (a + c * batch + said), **line)
                column[0].plot(p, p, color=page.muted, linewidth=0.8)
                column[0].set(xscale="log", yscale="log", ylim=(0.1, 100), title=label,
                              ylabel="times as fast, the same batch")
                column[1].set(xscale="log", ylim=(0, 1.05), xlabel="ranks",
                              ylabel="efficiency, a batch for each rank")
            legend_below(made, axes[0, 0].lines[:-1], columns=3)
        Path(f"{folder}_{theme}.png").write_bytes(png(made))


def compare(kept):
    """What the model says of the runs that were made here, beside what was seen."""
    print("| ranks | work | model, ms | seen, ms |\n|---|---|---|---|")
    for p, found in sorted((int(p), found) for p, found in kept.items() if p != "1"):
        shared = max(1, p / found["cores"])                # so many ranks take turns on a core
        for name, seen in found["work"].items():
            said = (shared * alone_with(kept["1"]["work"][name], p)
                    + ring(p, 4 * seen["parameters"], *network(found)))
            print(f"| {p} | {name} | {1e3 * said:.3f} | {1e3 * seen['every step']:.3f} |")


def predict(kept):
    """The table of docs/scaling.md."""
    for label, (alpha, beta) in NETWORKS.items():
        print(f"\n{label}\n| work | a, ms | c, µs | best gain, ring | best gain, tree |"
              " ranks at half efficiency, a batch each (ring, tree) |\n|---|---|---|---|---|---|")
        for name in WORK:
            best = kept["1"]["work"][name]
            a, c = compute(best)
            size, batch, p = 4 * best["parameters"], best["batch"], np.arange(1, 10_001)
            one = a + c * batch
            cells = []
            for kind in (ring, tree):
                gains = one / (a + c * np.maximum(batch / p, 1) + kind(p, size, alpha, beta))
                cells.append(f"{gains.max():.1f} on {p[gains.argmax()]}")
            halves = []
            for kind in (ring, tree):
                low = one / (one + kind(p, size, alpha, beta)) < 0.5
                halves.append(str(p[low.argmax()]) if low.any() else "over 10,000")
            print(f"| {name} | {1e3 * a:.3f} | {1e6 * c:.2f} | {' | '.join(cells)} |"
                  f" {', '.join(halves)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--gain", type=float, metavar="SECONDS",
                        help="of all ranks over one, for 784-32-10 at batch 2048")
    parser.add_argument("--draw", metavar="PATH", help="draw PATH_light.png and PATH_dark.png")
    chosen = parser.parse_args()
    if chosen.draw:
        numbers = json.loads(KEPT.read_text())
        for ranks, measured in numbers.items():
            report(measured)
            if measured["all-reduce"]:
                alpha, beta = network(measured)
                print(f"{ranks} ranks: α {1e6 * alpha:.1f} µs, {1e-9 / beta:.2f} GB/s\n")
        compare(numbers)
        predict(numbers)
        draw(chosen.draw, numbers)
    elif chosen.gain:
        gain("784-32-10, batch 2048", chosen.gain)
    else:
        measure(chosen.rounds)
    sys.stdout.flush()
