"""Micro-benchmarks of what a step is made of.

    OPENBLAS_NUM_THREADS=1 pytest benchmarks/pieces.py        needs pytest-benchmark

Not part of the tests. Where time is too noisy, ``instructions.py`` counts instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from contestants import ours
from workloads import WORKLOADS

import tinygrad_opt as tg


def tensor(*shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return tg.Tensor(values, requires_grad=True)


def multiply():
    x = tensor(8, 8)
    return lambda: x * x


def matmul():
    x = tensor(8, 8)
    return lambda: x @ x


def layer():
    x, model = tensor(300, 2), tg.nn.Linear(2, 64, rng=0)
    return lambda: model(x)


def relu():
    x = tensor(300, 64)
    return lambda: tg.nn.relu(x)


def cross_entropy():
    logits, labels = tensor(300, 3), np.arange(300) % 3
    return lambda: tg.nn.cross_entropy(logits, labels)


def backward():
    work = WORKLOADS["spiral"][1]()
    loss = tg.nn.cross_entropy(ours.network(work)(work.x), work.y)
    return loss.backward


def adam():
    return ours.optimizer(WORKLOADS["spiral"][1](), "eager").call


def eager_step():
    return ours.training_step(WORKLOADS["spiral"][1](), "eager").call


def compiled_step():
    return ours.training_step(WORKLOADS["spiral"][1](), "compiled").call


def chain():
    made = ours.chain(1_000, "eager")
    return lambda: made.call(made.before())


PIECES = {f.__name__: f for f in (
    multiply, matmul, layer, relu, cross_entropy, backward, adam, eager_step, compiled_step, chain,
)}


def pytest_generate_tests(metafunc):
    metafunc.parametrize("piece", PIECES)


def test_piece(benchmark, piece):
    run = PIECES[piece]()
    run()
    benchmark(run)
