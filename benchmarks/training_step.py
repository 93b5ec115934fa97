"""One training step (forward, backward, Adam) beside PyTorch's and hand-written NumPy's.

    python benchmarks/training_step.py                 every workload, a table of ratios
    python benchmarks/training_step.py spiral --rounds 9

Every contestant runs in a process of its own, on one thread, from the same weights and the same
data, and their losses are compared. The rounds go A B C A B C …; a ratio is the median over the
rounds of the quotient within a round, so that it holds though the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WORKLOADS = {                            # rows, sizes of the network
    "spiral": (300, [2, 64, 3]),
    "784-256-128-10": (128, [784, 256, 128, 10]),
}
CONTESTANTS = ["tinygrad_opt", "torch", "numpy", "compiled"]
SECONDS = 1.0                            # a contestant's turn in a round
CHECKED = 20                             # losses that are compared


def start(rows, sizes):
    """Data and weights, the same for everyone."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], rows)
    layers = [
        ((rng.standard_normal((n, m)) * (2 / n) ** 0.5).astype(np.float32), np.zeros(m, np.float32))
        for n, m in itertools.pairwise(sizes)
    ]
    return x, y, layers


def with_tinygrad_opt(x, y, layers):
    import tinygrad_opt as tg

    sizes = [layers[0][0].shape[0], *(len(bias) for _, bias in layers)]
    model = tg.nn.MLP(sizes, activation="relu")
    for parameter, values in zip(model.parameters().values(), [a for pair in layers for a in pair]):
        parameter.data = values
    opt = tg.optim.Adam(model.parameters(), lr=1e-3)
    x = tg.Tensor(x)

    def step():
        loss = tg.nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


def with_compiled(x, y, layers):
    """The same step, captured once and replayed."""
    import tinygrad_opt as tg

    return tg.compile(with_tinygrad_opt(x, y, layers))


def with_torch(x, y, layers):
    import torch

    torch.set_num_threads(1)
    parts = []
    for weight, bias in layers:
        linear = torch.nn.Linear(*weight.shape)
        linear.weight.data = torch.tensor(weight.T.copy())
        linear.bias.data = torch.tensor(bias)
        parts += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*parts[:-1])
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.tensor(x), torch.tensor(y)

    def step():
        loss = torch.nn.functional.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


def with_numpy(x, y, layers):
    """As teaching texts write it: a class for each layer, arrays of its own for each gradient."""
    import numpy as np

    class Dense:
        def __init__(self, weights, biases):
            self.weights, self.biases = weights.copy(), biases[None].copy()
            self.caches = [np.zeros_like(a) for a in (self.weights, self.weights)]
            self.bias_caches = [np.zeros_like(a) for a in (self.biases, self.biases)]

        def forward(self, inputs):
            self.inputs = inputs
            return np.dot(inputs, self.weights) + self.biases

        def backward(self, g):
            self.dweights = np.dot(self.inputs.T, g)
            self.dbiases = np.sum(g, axis=0, keepdims=True)
            return np.dot(g, self.weights.T)

    class ReLU:
        def forward(self, inputs):
            self.inputs = inputs
            return np.maximum(0, inputs)

        def backward(self, g):
            g = g.copy()
            g[self.inputs <= 0] = 0
            return g

    def adam(values, gradient, caches, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m, v = caches
        m[:] = beta1 * m + (1 - beta1) * gradient
        v[:] = beta2 * v + (1 - beta2) * gradient**2
        values += -lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)

    dense = [Dense(weight, bias) for weight, bias in layers]
    network = [part for layer in dense for part in (layer, ReLU())][:-1]
    t = 0

    def step():
        nonlocal t
        t += 1
        z = x
        for layer in network:
            z = layer.forward(z)
        e = np.exp(z - np.max(z, axis=1, keepdims=True))
        p = e / np.sum(e, axis=1, keepdims=True)
        loss = np.mean(-np.log(np.clip(p[range(len(p)), y], 1e-7, 1 - 1e-7)))
        g = p.copy()
        g[range(len(p)), y] -= 1
        g = g / len(p)
        for layer in reversed(network):
            g = layer.backward(g)
        for layer in dense:
            adam(layer.weights, layer.dweights, layer.caches, t)
            adam(layer.biases, layer.dbiases, layer.bias_caches, t)
        return loss

    return step


def turn(contestant, workload):
    """Run one contestant in this process; print its time per step and its first losses."""
    step = globals()[f"with_{contestant}"](*start(*WORKLOADS[workload]))
    losses = [float(step()) for _ in range(CHECKED)]
    end = time.perf_counter() + SECONDS / 4
    while time.perf_counter() < end:
        step()
    times = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(10):
            step()
        times.append((time.perf_counter() - begin) / 10)
    print(json.dumps({"seconds": statistics.median(times), "losses": losses}))


def measure(contestant, workload):
    """One turn in a process of its own, on one thread."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, __file__, workload, "--turn", contestant],
        env={**os.environ, **one, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True, text=True, check=True,
    )
    return json.loads(run.stdout)


def compare(workload, rounds):
    """Ratios of our time to everyone else's, round by round."""
    results = {c: [] for c in CONTESTANTS}
    for _ in range(rounds):
        for contestant in CONTESTANTS:
            results[contestant].append(measure(contestant, workload))
    ours = results["tinygrad_opt"]
    for theirs in results.values():
        for a, b in zip(ours[0]["losses"], theirs[0]["losses"]):
            assert abs(a - b) <= 1e-3 * abs(b), f"{workload}: losses differ, {a} and {b}"
    micros = {c: statistics.median(r["seconds"] for r in runs) * 1e6 for c, runs in results.items()}
    print(f"{workload:16} {micros['tinygrad_opt']:8.1f} µs", end="")
    for contestant in CONTESTANTS[1:]:
        ratios = sorted(a["seconds"] / b["seconds"] for a, b in zip(ours, results[contestant]))
        print(f"   / {contestant} {statistics.median(ratios):.2f}"
              f" ({ratios[0]:.2f} to {ratios[-1]:.2f})", end="")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", nargs="?", choices=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turn", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        turn(options.turn, options.workload)
        return
    for workload in [options.workload] if options.workload else WORKLOADS:
        compare(workload, options.rounds)


if __name__ == "__main__":
    main()
