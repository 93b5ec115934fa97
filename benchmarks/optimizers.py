"""A step of Adam, eager and native, beside torch's fused one and a loop over a dict, on one thread.

    python benchmarks/optimizers.py            a table of medians and ratios
    python benchmarks/optimizers.py --rounds 5

All contestants run in one process and take turns, round after round; a ratio is the median over
the rounds of the quotient within a round, so that it holds though the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"                      # before NumPy and torch are imported

import numpy as np  # noqa: E402

from tinygrad_opt import Tensor, compile, optim  # noqa: E402

# what is updated: how many arrays of how many numbers, and steps per turn
WORKLOADS = {
    "4 tensors, 387 numbers": ([(2, 64), (64,), (64, 3), (3,)], 300),
    "20 tensors of 50": ([(5, 10)] * 20, 300),
    "10 tensors of 10,000": ([(100, 100)] * 10, 50),
    "1 tensor of 10 million": ([(10_000_000,)], 3),
}


def textbook(params, grads, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-7):
    """Adam over dictionaries, key by key, both corrections folded into the rate."""
    m = {k: np.zeros_like(p) for k, p in params.items()}
    v = {k: np.zeros_like(p) for k, p in params.items()}
    t = 0

    def step():
        nonlocal t
        t += 1
        rate = lr * math.sqrt(1.0 - beta2**t) / (1.0 - beta1**t)
        for key in params:
            m[key] += (1 - beta1) * (grads[key] - m[key])
            v[key] += (1 - beta2) * (grads[key] ** 2 - v[key])
            params[key] -= rate * m[key] / (np.sqrt(v[key]) + eps)

    return step


def contestants(shapes):
    """name -> step, each over its own copy of the same numbers."""
    rng = np.random.default_rng(0)
    arrays = {f"p{i}": rng.standard_normal(s).astype(np.float32) for i, s in enumerate(shapes)}
    grads = {k: rng.standard_normal(a.shape).astype(np.float32) for k, a in arrays.items()}

    def ours():
        parameters = {k: Tensor(a, requires_grad=True) for k, a in arrays.items()}
        for k, p in parameters.items():
            p.grad = grads[k].copy()
        return optim.Adam(parameters).step

    steps = {
        "tinygrad_opt": ours(),
        "textbook": textbook({k: a.copy() for k, a in arrays.items()}, grads),
    }
    try:
        steps["native"] = compile(ours(), backend="native")
    except ImportError:                             # without llvmlite
        pass
    try:
        import torch
    except ImportError:
        return steps
    torch.set_num_threads(1)
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays.values()]
    for p, g in zip(theirs, grads.values()):
        p.grad = torch.tensor(g)
    steps["torch fused"] = torch.optim.Adam(theirs, fused=True).step
    return steps


def main(rounds=15):
    print(f"{'Adam, float32, one thread':<28}{'µs a step':>12}{'native':>12}{'textbook':>12}"
          f"{'torch fused':>13}{'of textbook':>13}{'of torch':>10}{'native':>8}")
    for name, (shapes, turn) in WORKLOADS.items():
        steps = contestants(shapes)
        for step in steps.values():
            step()
            step()
        times = {who: [] for who in steps}
        for _ in range(rounds):
            for who, step in steps.items():
                start = time.perf_counter()
                for _ in range(turn):
                    step()
                times[who].append((time.perf_counter() - start) / turn * 1e6)
        cells = [f"{name:<28}"]
        for who, width in (("tinygrad_opt", 12), ("native", 12), ("textbook", 12),
                           ("torch fused", 13)):
            cells.append(f"{statistics.median(times[who]):>{width}.1f}" if who in times else
                         f"{'-':>{width}}")
        for mine, who, width in (("tinygrad_opt", "textbook", 13),
                                 ("tinygrad_opt", "torch fused", 10), ("native", "torch fused", 8)):
            if mine in times and who in times:
                ratio = statistics.median(a / b for a, b in zip(times[mine], times[who]))
                cells.append(f"{ratio:>{width}.3f}")
        print("".join(cells), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    main(parser.parse_args().rounds)
