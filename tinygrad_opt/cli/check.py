"""``tinygrad-opt check``: every gradient rule against finite differences."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from tinygrad_opt.cli.command import argument, command

__all__ = ["calls", "check"]


class Numbers(NamedTuple):
    """An input: numbers between two bounds, in an array of that shape."""

    low: float
    high: float
    shape: tuple[int, ...]


def real(*shape: int) -> Numbers:
    return Numbers(-2.0, 2.0, shape)


# where a function of numbers is defined and tame, if that is not everywhere
POSITIVE, INSIDE_ONE, ABOVE_ONE = (0.3, 2.5), (-0.9, 0.9), (1.2, 3.0)
DOMAINS = {
    "sqrt": POSITIVE, "cbrt": POSITIVE, "reciprocal": POSITIVE, "log": POSITIVE, "log2": POSITIVE,
    "log10": POSITIVE, "log1p": INSIDE_ONE, "tan": (-1.2, 1.2), "arcsin": INSIDE_ONE,
    "arccos": INSIDE_ONE, "arctanh": INSIDE_ONE, "arccosh": ABOVE_ONE,
}
REDUCTIONS = ("sum", "mean", "prod", "var", "std", "max", "min", "logsumexp", "norm", "cumsum")


def calls(name: str, op: Any) -> list[tuple[Any, ...]]:
    """What an operation is called with: inputs, and options in a dict at the end.

    One that is not in the table gets real numbers for each input, the second to be broadcast.
    """
    if name in REDUCTIONS:
        return [(real(3, 4), {}), (real(3, 4), {"axis": 1})]
    special = _special()
    if name in special:
        return [c if isinstance(c[-1], dict) else (*c, {}) for c in special[name]]
    low, high = DOMAINS.get(name, (-2.0, 2.0))
    shapes = [(3, 4), (4,), (3, 1)][: len(op.rules)]
    return [(*(Numbers(low, high, shape) for shape in shapes), {})]


def _special() -> dict[str, list[tuple[Any, ...]]]:
    """The calls of operations that need more than real numbers of any shape."""
    import numpy as np

    positive, some = Numbers(*POSITIVE, (4,)), np.arange(12).reshape(3, 4) % 5 < 2
    chance = Numbers(0.05, 0.95, (3, 4))
    labels, rows = np.array([0, 3, 3]), np.array([0, 2, 2])
    return {
        # ---- two domains, or inputs that have no gradient ----
        "divide": [(real(3, 4), positive)],
        "floor_divide": [(real(3, 4), positive)],
        "remainder": [(Numbers(-5, 5, (3, 4)), Numbers(1.1, 1.4, (4,)))],
        "power": [(Numbers(*POSITIVE, (3, 4)), real(4)), (real(3, 4), 3), (2.0, real(3, 4))],
        "arctan2": [(real(3, 4), positive)],
        "clip": [(real(3, 4), -1.03, 1.03)],
        "where": [(some, real(3, 4), real(4))],
        "residual": [(real(3, 4), labels)],
        "cross_entropy": [(real(3, 4), labels)],
        # ---- products ----
        "matmul": [(real(3, 4), real(4, 2)), (real(2, 3, 4), real(4, 2))],
        "linear": [(real(5, 2), real(2, 3), real(3))],
        "outer": [(real(3), real(4))],
        "dot": [(real(3, 4), real(4, 2)), (real(4), real(4))],
        "einsum": [(real(3, 4), real(4, 2), {"subscripts": "ij,jk->ik"}),
                   (real(3, 3), {"subscripts": "ii->"})],
        # ---- shape ----
        "reshape": [(real(3, 4), {"shape": (2, 6)})],
        "swapaxes": [(real(3, 4), {"axis1": 0, "axis2": 1})],
        "moveaxis": [(real(2, 3, 4), {"source": 0, "destination": -1})],
        "squeeze": [(real(1, 3, 1), {})],
        "expand_dims": [(real(3, 4), {"axis": 1})],
        "broadcast_to": [(real(3, 1), {"shape": (2, 3, 4)})],
        "roll": [(real(3, 4), {"shift": 1, "axis": 1})],
        "tile": [(real(2, 3), {"reps": 2})],
        "repeat": [(real(2, 3), {"repeats": 2, "axis": 1})],
        "pad": [(real(2, 3), {"pad_width": ((1, 0), (2, 1))})],
        "concatenate": [(real(2, 1), real(2, 3), {"axis": 1})],
        "stack": [(real(2, 3), real(2, 3), {"axis": 1})],
        "cast": [(real(3, 4), {"dtype": np.dtype(float)})],
        "fit": [(real(3, 4), {"shape": (4,)}), (real(3, 1), {"shape": (3, 4)})],
        # ---- indexing ----
        "getitem": [(real(3, 4), {"index": rows})],
        "scatter": [(real(3, 4), {"index": rows, "shape": (3, 4)})],
        "put": [(real(3, 4), real(4), {"index": 1})],
        "take": [(real(3, 4), rows, {"axis": 0})],
        "take_along_axis": [(real(3, 4), np.array([[0], [2], [2]]), {"axis": 1})],
        # ---- layers and losses ----
        "binary_entropy": [(chance, chance)],
        "binary_entropy_of_logits": [(real(3, 4), chance, positive)],
        "standardize": [(real(3, 4), {"axis": (-1,), "eps": 1e-5})],
        "windows": [(real(2, 3, 7), {"size": (3,), "stride": (2,)})],
        "add_windows": [(real(2, 3, 3, 3), {"size": (3,), "stride": (2,), "shape": (2, 3, 7)})],
        "gru_gates": [(real(3, 6), real(3, 6))],
        "gru_hidden_state": [(real(3, 6), real(3, 2))],
        "lstm_cell_state": [(real(3, 8), real(3, 2))],
        "lstm_hidden_state": [(real(3, 8), real(3, 2))],
    }


@command(
    argument("op", nargs="*", metavar="OP", help="such as tanh or matmul (default: all)"),
    examples="""
    tinygrad-opt check
    tinygrad-opt check tanh matmul cross_entropy
    """,
)
def check(options: argparse.Namespace) -> int:
    """Check every gradient rule against finite differences.

    Each operation is called with float64 numbers from where it is defined, and its gradient is
    compared with (f(x + ε) - f(x - ε)) / 2ε, ε = 1e-6. Shown is the largest difference, beside
    the derivative there; up to 1e-6 + 1e-4 |derivative| is the rounding of the differences. The
    exit code is 1 if a rule is wrong.
    """
    from tinygrad_opt import ops

    chosen = {name: _op(name) for name in options.op} or ops.TABLE
    width = max(map(len, ["operation", *chosen]))
    print(f"{'operation':{width}}  {'inputs':38}    error  derivative  verdict")
    wrong = set()
    for name, op in chosen.items():
        for inputs, result in _results(name, op):
            error = abs(result.analytic - result.numeric)
            verdict = "right" if result else f"wrong: {result.cause}"
            if not result:
                wrong.add(name)
            print(f"{name:{width}}  {inputs:38}  {error:7.0e}  {result.numeric:10.3g} "
                  f" {verdict}", flush=True)
    right = f"{len(chosen) - len(wrong)} of {len(chosen)}"
    print(f"{right} operations have the right gradient"
          + (f"; wrong: {', '.join(sorted(wrong))}" if wrong else ""))
    return 1 if wrong else 0


def _op(name: str) -> Any:
    import difflib

    from tinygrad_opt import ops

    if name not in ops.TABLE:
        near = difflib.get_close_matches(name, ops.TABLE, 3) or list(ops.TABLE)
        raise ValueError(f"no operation is called {name!r}; there is {', '.join(near)}")
    return ops.TABLE[name]


def _results(name: str, op: Any) -> Iterator[tuple[str, Any]]:
    """For each call the text of its inputs and what gradcheck found."""
    import numpy as np

    from tinygrad_opt.autograd import gradcheck

    for *inputs, attrs in calls(name, op):
        rng = np.random.default_rng(0)
        drawn = [_points(x, rng, 0.37 + 0.06 * i) for i, x in enumerate(inputs)
                 if isinstance(x, Numbers)]

        def f(*tensors: Any, inputs: Any = inputs, attrs: Any = attrs) -> Any:
            free = iter(tensors)
            return op(*(next(free) if isinstance(x, Numbers) else x for x in inputs), **attrs)

        yield _written(inputs, attrs), gradcheck(f, *drawn, raises=False)


def _points(numbers: Numbers, rng: Any, offset: float) -> Any:
    """Evenly spaced in random order; the offset keeps inputs off each other, zero and kinks."""
    import math

    low, high, shape = numbers
    n = math.prod(shape)
    return (low + (high - low) * (rng.permutation(n) + offset) / n).reshape(shape)


def _written(inputs: Any, attrs: Any) -> str:
    def short(x: Any) -> str:
        if isinstance(x, Numbers):
            return str(x.shape)
        return str(x.tolist()) if hasattr(x, "tolist") and x.size < 5 else (
            f"{x.dtype} {x.shape}" if hasattr(x, "tolist") else str(x))

    return " ".join([*map(short, inputs), *(f"{k}={short(v)}" for k, v in attrs.items())])
