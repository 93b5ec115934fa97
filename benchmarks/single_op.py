"""What recording costs: an operation on Tensors beside the same on arrays, in microseconds.

    python benchmarks/single_op.py
"""

from __future__ import annotations

import argparse
import statistics
import timeit

import numpy as np

import tinygrad_opt as tg

NUMBER = 50_000
ROUNDS = 9

a = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
x = tg.Tensor(a, requires_grad=True)

PIECES = {
    "x * y": (lambda: a * a, lambda: x * x),
    "x @ y": (lambda: a @ a, lambda: x @ x),
    "x + 1": (lambda: a + 1, lambda: x + 1),
    "np.tanh(x)": (lambda: np.tanh(a), lambda: np.tanh(x)),
    "x.tanh()": (lambda: np.tanh(a), lambda: x.tanh()),
    "x.sum()": (lambda: a.sum(), lambda: x.sum()),
    "x[2]": (lambda: a[2], lambda: x[2]),
    "np.sum(x, axis=1)": (lambda: np.sum(a, axis=1), lambda: np.sum(x, axis=1)),
}


def microseconds(function):
    return min(timeit.repeat(function, number=NUMBER, repeat=1)) / NUMBER * 1e6


def main():
    print(f"{'8x8 float32':20}{'array':>8}{'Tensor':>8}{'ratio':>7}")
    for name, (plain, recorded) in PIECES.items():
        pairs = [(microseconds(plain), microseconds(recorded)) for _ in range(ROUNDS)]
        on_array = statistics.median(p for p, _ in pairs)
        on_tensor = statistics.median(r for _, r in pairs)
        ratio = statistics.median(r / p for p, r in pairs)
        print(f"{name:20}{on_array:8.2f}{on_tensor:8.2f}{ratio:7.1f}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    main()
