"""Who is compared. Each file holds one library's own way to write the same work.

A module has a function for each kind of job that it can do, ``training_step(work, variant)``,
``optimizer(work, variant)``, ``single_op(variant)`` and ``chain(length, variant)``, which makes a
`Job`. It raises `CannotError` with the reason for what it cannot do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["CONTESTANTS", "CannotError", "Contestant", "Job"]

LEARNING_RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8      # of everybody's Adam


class CannotError(Exception):
    """Why a contestant sits out."""


@dataclass
class Job:
    """A piece of work that is repeated.

    Attributes
    ----------
    call : callable
        Does it. A training step returns its loss, or its losses when it is several steps.
    steps : int
        How many steps one call is.
    before : callable, optional
        What must be there anew for each call, made outside the measured time and handed to it.
    """

    call: Callable[..., Any]
    steps: int = 1
    before: Callable[[], Any] | None = None


@dataclass
class Contestant:
    """A row of the tables: `module` is its file here, `imports` what its import time is of."""

    label: str
    module: str
    variant: str
    imports: str


CONTESTANTS = {
    "eager": Contestant("tinygrad_opt", "ours", "eager", "tinygrad_opt"),
    "compiled": Contestant("tinygrad_opt compiled", "ours", "compiled", "tinygrad_opt"),
    "native": Contestant("tinygrad_opt native", "ours", "native", "tinygrad_opt"),
    "numpy": Contestant("NumPy by hand", "by_hand", "", "numpy"),
    "torch": Contestant("PyTorch eager", "with_torch", "eager", "torch"),
    "fused": Contestant("PyTorch, fused Adam", "with_torch", "fused", "torch"),
    "inductor": Contestant("PyTorch compiled", "with_torch", "inductor", "torch"),
    "jit": Contestant("JAX jit", "with_jax", "jit", "jax"),
    "donated": Contestant("JAX jit, donated", "with_jax", "donated", "jax"),
    "scan": Contestant("JAX jit + scan", "with_jax", "scan", "jax"),
    "autograd": Contestant("HIPS autograd", "with_autograd", "", "autograd.numpy"),
    "mygrad": Contestant("MyGrad", "with_mygrad", "", "mygrad"),
    "micrograd": Contestant("micrograd", "with_micrograd", "", "micrograd.engine"),
}
