"""``tinygrad-opt check``: every gradient rule against finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import one_of

if TYPE_CHECKING:
    from tinygrad_opt.autograd import GradCheck
    from tinygrad_opt.cases import Call
    from tinygrad_opt.tensor import Tensor

__all__ = ["check"]


@command
def check(
    op: Annotated[list[str], Argument("all", nargs="*", type=one_of("operation", ops.TABLE),
                                      metavar="OP")],
) -> int:
    """Check every gradient rule against finite differences.

    Each operation is called with float64 numbers from where it is defined, in several shapes, and
    its gradient is compared with (f(x + ε) - f(x - ε)) / 2ε, ε = 1e-6. Shown is the largest
    difference of all calls, beside the derivative there; up to 1e-6 + 1e-4 |derivative| is the
    rounding of the differences. The exit code is 1 if a rule is wrong.

    Parameters
    ----------
    op
        such as tanh or matmul

    Examples
    --------
    tinygrad-opt check
    tinygrad-opt check tanh matmul cross_entropy
    """
    chosen = op or [*ops.TABLE]
    width = max(map(len, ["operation", *chosen]))
    print(f"{'operation':{width}}  calls    error  derivative  verdict")
    wrong = []
    for name in chosen:
        results = [*_results(name)]
        call, worst = max(results, key=lambda found: (not found[1], found[1].error))
        verdict = "right" if worst else f"wrong for {call}: {worst.cause}"
        if not worst:
            wrong.append(name)
        print(f"{name:{width}}  {len(results):5}  {abs(worst.analytic - worst.numeric):7.0e}"
              f"  {worst.numeric:10.3g}  {verdict}", flush=True)
    print(f"{len(chosen) - len(wrong)} of {len(chosen)} operations have the right gradient"
          + (f"; wrong: {', '.join(wrong)}" if wrong else ""))
    return 1 if wrong else 0


def _results(name: str) -> Iterator[tuple[Call, GradCheck]]:
    """The calls of an operation that have a derivative, and what gradcheck finds in each."""
    from tinygrad_opt.autograd import gradcheck
    from tinygrad_opt.cases import Domain, calls_of

    for call in calls_of(name):
        drawn = call.draw(np.random.default_rng(0))
        moving = [i for i, x in enumerate(call.inputs) if isinstance(x, Domain)]
        found = gradcheck(partial(_called, ops.TABLE[name], call, drawn, moving),
                          *(np.asarray(drawn[i]) for i in moving), raises=False)
        if found.worst != "no entry":
            yield call, found


def _called(
    op: ops.Op, call: Call, drawn: list[object], moving: list[int], *tensors: Tensor
) -> object:
    """The operation on what was drawn, with Tensors for what moves."""
    given = dict(zip(moving, tensors))
    return op(*(given.get(i, x) for i, x in enumerate(drawn)), **call.attrs)
