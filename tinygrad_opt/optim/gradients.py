"""What is done to packed gradients before a rule sees them: a check, and three ways to clip."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_opt.optim.pack import Array
from tinygrad_opt.optim.plan import Plan

__all__ = ["clip", "first_not_finite"]


def first_not_finite(plan: Plan) -> str | None:
    """Name of the first parameter whose gradient holds nan or inf."""
    for run in plan.runs:
        if math.isfinite(_dot(run.gradient)):
            continue
        for e in run.entries:                  # a sum of squares may overflow: look closer
            if not math.isfinite(_largest(run.gradient_of(e))):
                return e.name
    return None


def clip(plan: Plan, value: float | None, each: float | None, total: float | None) -> None:
    """Limit entries, then the norm of each gradient, then the norm of all together; in place."""
    parts = [run.gradient for run in plan.runs]
    if value is not None:
        for g in parts:
            np.clip(g, -value, value, out=g)
    if each is not None:
        for run in plan.runs:
            for e in run.entries:
                _shrink([run.gradient_of(e)], each)
    if total is not None:
        _shrink(parts, total)


def _shrink(parts: list[Array], most: float) -> None:
    """Scale vectors so that their common norm is `most`, if it is larger."""
    norm = math.hypot(*map(_norm, parts))
    if norm > most:
        for g in parts:
            g *= most / norm


def _norm(g: Array) -> float:
    """Euclidean norm, also of numbers whose squares overflow."""
    squares = _dot(g)
    if math.isfinite(squares):
        return math.sqrt(squares)
    top = _largest(g)
    if not math.isfinite(top):
        return top
    return top * math.sqrt(_dot(g / top))      # rare: a copy is fine


def _dot(g: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(g.dot(g))


def _largest(g: Array) -> float:
    """Largest absolute value, without a copy."""
    return max(float(g.max()), -float(g.min())) if g.size else 0.0
