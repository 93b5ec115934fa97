"""Operations forward and backward on 512 × 512 floats, beside PyTorch, one thread.

    python benchmarks/operations.py                       all of them, about two minutes
    python benchmarks/operations.py gelu softmax          those whose names begin so
    python benchmarks/operations.py --json after.json

Both run in this process and take turns; a figure bounds the fastest tenth of the turns on the clock
of the processor, which other processes do not move, and a ratio is the quotient of two such. The
backward pass starts from a gradient that is given, and gradients are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from measuring import on_one_thread

ROUNDS, SECONDS = 200, 0.0005                    # turns, and about how long one takes
N = 512


def torch_operations():
    """Name -> (inputs, ours, theirs); arrays of floats get gradients, other inputs don't."""
    import torch
    import torch.nn.functional as F

    from tinygrad_opt import nn, ops

    rng = np.random.default_rng(0)

    def real(*shape):
        return rng.standard_normal(shape or (N, N)).astype(np.float32)

    def positive(*shape):
        return np.abs(real(*shape)) + np.float32(0.1)

    def inside(*shape):
        return np.tanh(real(*shape)) * np.float32(0.9)

    def same(name, inputs, theirs=None):
        return name, (inputs, getattr(np, name), theirs or getattr(torch, name))

    def layer(name, theirs, **options):
        ours = getattr(nn, name)
        return name, ([real()], lambda x: ours(x, **options), theirs)

    rows, labels = rng.integers(0, N, 2 * N), rng.integers(0, N, N)
    mask, order = real() > 0, rng.permutation(N * N).reshape(N, N).astype(np.float32)
    target, chance = real(), rng.random((N, N)).astype(np.float32)
    probability = np.clip(chance, 0.01, 0.99)
    one = real()

    def pair(ours, theirs):
        return [one], lambda x: ours(x, target), lambda x: theirs(x, torch.tensor(target))

    found = dict([
        *(same(name, [real()]) for name in "negative square absolute exp expm1 exp2 sin cos tan "
          "arctan sinh cosh tanh arcsinh".split()),
        *(same(name, [positive()]) for name in "sqrt reciprocal log log2 log10 log1p".split()),
        *(same(name, [inside()]) for name in "arcsin arccos arctanh".split()),
        same("arccosh", [positive() + 1]),
        *(same(name, [real(), real()]) for name in "add subtract multiply divide maximum minimum "
          "arctan2 hypot logaddexp".split()),
        ("add a row", ([real(), real(N)], np.add, torch.add)),
        ("multiply by a column", ([real(), real(N, 1)], np.multiply, torch.multiply)),
        ("x ** 3", ([real()], lambda x: x**3, lambda x: x**3)),
        ("x ** y", ([positive(), real()], lambda x, y: x**y, lambda x, y: x**y)),
        layer("relu", F.relu), layer("leaky_relu", F.leaky_relu), layer("elu", F.elu),
        layer("sigmoid", torch.sigmoid), layer("softplus", F.softplus), layer("silu", F.silu),
        layer("gelu", F.gelu),
        ("gelu tanh", ([real()], lambda x: nn.gelu(x, "tanh"),
                       lambda x: F.gelu(x, approximate="tanh"))),
        ("clip", ([real()], lambda x: x.clip(-1, 1), lambda x: x.clip(-1, 1))),
        ("where", ([real(), real()], lambda x, y: np.where(mask, x, y),
                   lambda x, y: torch.where(torch.tensor(mask), x, y))),
        ("sum", ([real()], np.sum, torch.sum)),
        *((f"{name} axis {axis}", ([real()], lambda x, f=name, a=axis: getattr(np, f)(x, axis=a),
                                   lambda x, f=name, a=axis: getattr(torch, f)(x, a)))
          for name, axis in [("sum", 0), ("sum", 1), ("mean", 1), ("cumsum", 1)]),
        ("prod axis 1", ([np.exp(real() / 9)], lambda x: x.prod(axis=1), lambda x: x.prod(1))),
        ("var axis 1", ([real()], lambda x: x.var(axis=1),
                        lambda x: x.var(1, unbiased=False))),
        ("std axis 1", ([real()], lambda x: x.std(axis=1),
                        lambda x: x.std(1, unbiased=False))),
        ("max axis 1", ([real()], lambda x: x.max(axis=1), lambda x: x.amax(1))),
        ("min axis 0", ([real()], lambda x: x.min(axis=0), lambda x: x.amin(0))),
        ("logsumexp axis 1", ([real()], lambda x: ops.logsumexp(x, axis=1),
                              lambda x: x.logsumexp(1))),
        ("norm", ([real()], np.linalg.norm, torch.linalg.norm)),
        ("matmul", ([real(), real()], np.matmul, torch.matmul)),
        ("matmul 32 × 32 × 64 by 64 × 64", ([real(32, 32, 64), real(64, 64)], np.matmul,
                                            torch.matmul)),
        ("matmul 128 × 32 × 32, stacked", ([real(128, 32, 32), real(128, 32, 32)], np.matmul,
                                           torch.matmul)),
        ("linear", ([real(), real(), real(N)], nn.linear, lambda x, w, b: F.linear(x, w.T, b))),
        ("linear 32 × 32 × 64 by 64 × 256", ([real(32, 32, 64), real(64, 256), real(256)],
                                             nn.linear, lambda x, w, b: F.linear(x, w.T, b))),
        ("outer", ([real(N), real(N)], np.outer, torch.outer)),
        *((f"einsum {spec}", (inputs, lambda *x, s=spec: np.einsum(s, *x),
                              lambda *x, s=spec: torch.einsum(s, *x)))
          for spec, inputs in [("ij,kj->ik", [real(), real()]),
                               ("bij,bjk->bik", [real(32, 64, 64), real(32, 64, 64)])]),
        ("transpose", ([real()], lambda x: x.T, lambda x: x.T)),
        ("reshape", ([real()], lambda x: x.reshape(-1, 64), lambda x: x.reshape(-1, 64))),
        ("concatenate", ([real(), real()], lambda x, y: np.concatenate([x, y]),
                         lambda x, y: torch.cat([x, y]))),
        ("stack", ([real(), real()], lambda x, y: np.stack([x, y]),
                   lambda x, y: torch.stack([x, y]))),
        ("repeat", ([real()], lambda x: np.repeat(x, 2, axis=0),
                    lambda x: torch.repeat_interleave(x, 2, dim=0))),
        ("tile", ([real()], lambda x: np.tile(x, (2, 1)), lambda x: x.tile((2, 1)))),
        ("pad", ([real()], lambda x: np.pad(x, 1), lambda x: F.pad(x, (1, 1, 1, 1)))),
        ("flip", ([real()], lambda x: np.flip(x, 1), lambda x: x.flip(1))),
        ("roll", ([real()], lambda x: np.roll(x, 3, 1), lambda x: x.roll(3, 1))),
        ("a slice", ([real()], lambda x: x[10:-10, ::2], lambda x: x[10:-10, ::2])),
        ("rows by index", ([real()], lambda x: x[rows], lambda x: x[torch.tensor(rows)])),
        ("entries by index", ([real()], lambda x: x[labels, rows[:N]],
                              lambda x: x[torch.tensor(labels), torch.tensor(rows[:N])])),
        ("embedding", ([real(27, 64)], lambda w: nn.embedding(rows % 27, w),
                       lambda w: F.embedding(torch.tensor(rows % 27), w))),
        ("sort", ([order], np.sort, lambda x: x.sort()[0])),
        ("softmax", ([real()], nn.softmax, lambda x: x.softmax(-1))),
        ("softmax axis 0", ([real()], lambda x: nn.softmax(x, 0), lambda x: x.softmax(0))),
        ("softmax 32 × 4 × 32 × 32", ([real(32, 4, 32, 32)], nn.softmax,
                                      lambda x: x.softmax(-1))),
        ("softmax of 3 classes", ([real(N * N // 3, 3)], nn.softmax, lambda x: x.softmax(-1))),
        ("log_softmax", ([real()], nn.log_softmax, lambda x: x.log_softmax(-1))),
        ("cross entropy", ([real()], lambda x: nn.cross_entropy(x, labels),
                           lambda x: F.cross_entropy(x, torch.tensor(labels)))),
        ("mse", pair(nn.mse_loss, F.mse_loss)), ("l1", pair(nn.l1_loss, F.l1_loss)),
        ("huber", pair(nn.huber_loss, F.huber_loss)),
        ("binary cross entropy", ([probability], lambda p: nn.binary_cross_entropy(p, chance),
                                  lambda p: F.binary_cross_entropy(p, torch.tensor(chance)))),
        ("binary cross entropy on logits", (
            [real()], lambda x: nn.binary_cross_entropy_with_logits(x, chance),
            lambda x: F.binary_cross_entropy_with_logits(x, torch.tensor(chance)))),
        ("layer norm", ([real(), real(N), real(N)], nn.layer_norm,
                        lambda x, w, b: F.layer_norm(x, (N,), w, b))),
        ("batch norm", ([real(), real(N), real(N)],
                        lambda x, w, b: nn.batch_norm(x, None, None, w, b, training=True),
                        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True))),
        ("dropout", ([real()], lambda x: nn.dropout(x, 0.5), lambda x: F.dropout(x, 0.5))),
        ("conv2d 32 × 8 × 16 × 16 by 16 × 8 × 3 × 3", (
            [real(32, 8, 16, 16), real(16, 8, 3, 3), real(16)],
            lambda *x: nn.conv2d(*x, padding=1), lambda *x: F.conv2d(*x, padding=1))),
        ("max pool", ([real(32, 8, 32, 32)], lambda x: nn.max_pool2d(x, 2),
                      lambda x: F.max_pool2d(x, 2))),
        ("mean pool", ([real(32, 8, 32, 32)], lambda x: nn.avg_pool2d(x, 2),
                       lambda x: F.avg_pool2d(x, 2))),
    ])
    return {name: (inputs, ours, theirs) for name, (inputs, ours, theirs) in found.items()}


def differentiated(function, inputs, seed):
    """A run of a function forward and backward, from this gradient of its result."""
    def run():
        for x in inputs:
            x.grad = None
        function(*inputs).backward(seed)

    return run


def check(name, ours, theirs):
    """Gradients of both, which must be the same."""
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=2e-3, atol=2e-4, err_msg=name)


def fastest(runs, rounds, seconds):
    """The seconds of the fastest tenth of the turns of each; single ones may be the clock's."""
    counts, times = [], [[] for _ in runs]
    for run in runs:
        run()
        begin = time.process_time()
        run()
        counts.append(max(1, round(seconds / (time.process_time() - begin))))
    for _ in range(rounds):
        for i, (run, count) in enumerate(zip(runs, counts)):
            begin = time.process_time()
            for _ in range(count):
                run()
            times[i].append((time.process_time() - begin) / count)
    return [sorted(t)[len(t) // 10] for t in times]


def main(names=(), rounds=ROUNDS, target=None):
    import torch

    import tinygrad_opt as tg

    torch.set_num_threads(1)
    results = {}
    for name, (inputs, ours, theirs) in torch_operations().items():
        if names and not name.startswith(tuple(names)):
            continue
        mine = [tg.Tensor(x, requires_grad=True) for x in inputs]
        its = [torch.tensor(x, requires_grad=True) for x in inputs]
        seed = np.random.default_rng(1).standard_normal(ours(*mine).shape).astype(np.float32)
        best = fastest([differentiated(ours, mine, seed),
                        differentiated(theirs, its, torch.tensor(seed))], rounds, SECONDS)
        if name != "dropout":                              # everybody draws his own
            check(name, mine, its)
        results[name] = best
        print(f"{name:44}{best[0] * 1e6:9.0f} µs{best[0] / best[1]:9.2f}", flush=True)
    ratios = sorted(a / b for a, b in results.values())
    print(f"{len(ratios)} operations, PyTorch = 1: median {statistics.median(ratios):.2f},"
          f" {sum(r <= 1 for r in ratios)} at most 1, {sum(r > 2 for r in ratios)} above 2,"
          f" {sum(r > 3 for r in ratios)} above 3, highest {ratios[-1]:.2f}")
    if target:
        target.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of names")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write seconds here, ours and theirs")
    options = parser.parse_args()
    on_one_thread()
    main(options.names, options.rounds, options.json)
