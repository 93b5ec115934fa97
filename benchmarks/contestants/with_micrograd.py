"""micrograd: one object for each number. It has no exp and no log; two lines here make up for it.

Only the smallest workload fits: its step is hundreds of thousands of Python objects.
"""

from __future__ import annotations

import math
import sys

from micrograd.engine import Value

from contestants import BETA1, BETA2, EPS, LEARNING_RATE, CannotError, Job

MOST = 50_000                                      # rows times weights, about a second a step
sys.setrecursionlimit(100_000)                     # its walk through the graph is recursive


def function(x, value, slope):
    """A `Value` made from another, with dvalue/dx."""
    out = Value(value, (x,))

    def backward():
        x.grad += slope * out.grad

    out._backward = backward
    return out


def exp(x):
    return function(x, math.exp(x.data), math.exp(x.data))


def log(x):
    return function(x, math.log(x.data), 1 / x.data)


def training_step(work, variant):
    if work.kind != "mlp" or len(work.x) * sum(a.size for a in work.weights.values()) > MOST:
        raise CannotError("one object for each number: seconds to minutes a step")
    weights = {k: [[Value(float(w)) for w in row] for row in a.reshape(-1, a.shape[-1])]
               for k, a in work.weights.items()}
    numbers = [w for a in weights.values() for row in a for w in row]
    m, v, t = [0.0] * len(numbers), [0.0] * len(numbers), 0

    def row_loss(x, y):
        for i, (W, b) in enumerate(work.layers):
            x = [z.relu() for z in x] if i else x
            columns = zip(*weights[W])
            x = [sum((a * w for a, w in zip(x, column)), bias)
                 for column, bias in zip(columns, weights[b][0])]
        return log(sum(exp(z) for z in x)) - x[y]

    def step():
        nonlocal t
        t += 1
        rows = zip(work.x.tolist(), work.y.tolist())
        loss = sum(row_loss(x, y) for x, y in rows) * (1 / len(work.y))
        for p in numbers:
            p.grad = 0.0
        loss.backward()
        for i, p in enumerate(numbers):
            m[i] = BETA1 * m[i] + (1 - BETA1) * p.grad
            v[i] = BETA2 * v[i] + (1 - BETA2) * p.grad**2
            right = math.sqrt(v[i] / (1 - BETA2**t)) + EPS
            p.data -= LEARNING_RATE * (m[i] / (1 - BETA1**t)) / right
        return loss.data

    return Job(step)


def optimizer(work, variant):
    raise CannotError("it has none")


def single_op(variant):
    raise CannotError("has no arrays")


def chain(length, variant):
    def build():
        x = Value(1.0)
        for _ in range(length):
            x = x * 0.9999
        return x

    return Job(lambda y: y.backward(), before=build)
