"""Where a gradient comes from, as text: every part of it, their sum, and a finite difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.errors import GraphError, subject
from tinygrad_opt.kernels import speaks_numpy
from tinygrad_opt.tensor import Tensor, history, values_of
from tinygrad_opt.typing import ArrayLike
from tinygrad_opt.viz.graph.flow import Part, flow
from tinygrad_opt.viz.graph.text import number
from tinygrad_opt.viz.steps.words import Words, bare, called, names_in, shape_text

__all__ = ["Explanation", "explain"]

STEP = 1e-5
FEW = 6                                    # entries that are compared one by one


@dataclass(frozen=True, eq=False)
class Explanation:
    """A gradient taken apart; ``str()`` of it is for readers.

    Attributes
    ----------
    gradient : ndarray
        ∂L/∂x.
    parts : tuple of Part
        What it is the sum of, one for each use of x, in the order of the backward pass.
    compared : tuple of (str, float, float)
        Which derivative, the engine's value of it, and the finite difference.
    text : str
        All of it in words.
    """

    gradient: np.ndarray
    parts: tuple[Part, ...]
    compared: tuple[tuple[str, float, float], ...]
    text: str

    def __str__(self) -> str:
        return self.text


def explain(loss: Tensor, x: Tensor, gradient: ArrayLike | None = None) -> Explanation:
    """Tell where ∂loss/∂x comes from.

    Parameters
    ----------
    loss : Tensor
        What is differentiated.
    x : Tensor
        With respect to what: a leaf, or any Tensor on the way.
    gradient : array-like, optional
        Where the backward pass starts, as for ``backward``.

    Returns
    -------
    Explanation
        Print it.

    Raises
    ------
    TypeError
        If one of them is not a Tensor.
    GraphError
        If `loss` does not depend on `x`, or as ``backward`` does.

    Notes
    -----
    The finite difference (L(x + εd) − L(x − εd)) / 2ε runs the recorded operations again, in
    float64. Arrays of more than six entries are compared at their largest gradient and along
    the direction d = ∇/‖∇‖, where it must be ‖∇‖.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt.viz import explain
    >>> a = tg.Tensor(2.0, requires_grad=True, name="a")
    >>> print(explain(a * a + 3 * a, a))
    ∂L/∂a = 7, a sum of 3 parts
      1. from z = 3 · a
           ∂z/∂a = 3
           g · ∂z/∂a = 1 · 3 = 3
      2. from z = a · a (input 1)
           ∂z/∂a = a = 2
           g · ∂z/∂a = 1 · 2 = 2
      3. from z = a · a (input 2)
           ∂z/∂a = a = 2
           g · ∂z/∂a = 1 · 2 = 2
      sum: 3 + 2 + 2 = 7
      finite difference: 7 (engine 7)
    """
    for t in (loss, x):
        if type(t) is not Tensor:
            raise TypeError(f"explain() takes Tensors, got {type(t).__name__}")
    run = flow(loss, gradient)
    if x not in run.gradients:
        raise GraphError(f"no gradient for {subject(x)}: {subject(loss)} does not depend on it")
    g, parts = run.gradients[x], tuple(run.into(x))
    name = called(x, {})
    lines = [f"∂L/∂{name} = {_size(g)}" + (
        f", a sum of {len(parts)} parts" if len(parts) > 1 else ", one part" if parts else
        ", where the backward pass starts")]
    given = names_in(loss, {})
    for k, part in enumerate(parts, 1):
        lines += _told(k, part, Words(part.node, {}, given), run.gradients[part.node])
    if len(parts) > 1:
        values = [_size(p.value) for p in parts]
        terms = " + ".join(map(bare, values))
        lines.append(f"  sum: {terms} = {_size(parts[-1].total)}" if g.size == 1 else
                     f"  sum of the parts: {_size(parts[-1].total)}")
    if parts and not np.array_equal(parts[-1].total, g, equal_nan=True):
        lines.append(f"  a hook has changed the sum to {_size(g)}")
    compared = tuple(_compared(loss, x, g, run.gradients[loss]))
    for which, engine, difference in compared:
        lines.append(f"  finite difference{which}: {number(difference)} (engine {number(engine)})")
    return Explanation(g, parts, compared, "\n".join(lines))


def _size(x: np.ndarray) -> str:
    """A number, or a shape and a norm."""
    if x.size == 1:
        return number(x.reshape(-1)[0])
    return f"{shape_text(x)} of norm {number(np.linalg.norm(x))}"


def _told(k: int, part: Part, words: Words, g: np.ndarray) -> list[str]:
    """One part: from which operation, by which formula, and how large."""
    repeated = sum(t is part.to for t in part.node.inputs) > 1
    place = f" (input {part.place + 1})" if repeated else ""
    meanings = words.meanings()
    lines = [f"  {k}. from {words.equation()[0]}{place}" + (f", {meanings}" if meanings else "")]
    told = [*words.sent(part, g, _size), *words.fitted(part, _size)]
    return lines + [f"       {line}" for _, line in told]


# ---- finite differences --------------------------------------------------------------------------


def _compared(
    loss: Tensor, x: Tensor, g: np.ndarray, seed: np.ndarray
) -> Iterator[tuple[str, float, float]]:
    """Which derivative, the engine's and the difference: of each entry, or of the telling ones."""
    wide = g.astype(np.float64)

    def along(direction: np.ndarray) -> float:
        step = STEP * max(1.0, float(np.abs(x._array).max(initial=0)))
        ends = [_again(loss, x, sign * step * direction) for sign in (1, -1)]
        return float(np.sum(seed * (ends[0] - ends[1]), dtype=np.float64) / (2 * step))

    if not g.size:
        return
    largest = int(np.argmax(np.abs(np.nan_to_num(wide))))
    for i in range(g.size) if g.size <= FEW else [largest]:
        index = ", ".join(map(str, np.unravel_index(i, g.shape)))
        unit = np.eye(1, g.size, i).reshape(g.shape)
        yield f" at [{index}]" if index else "", float(wide.reshape(-1)[i]), along(unit)
    norm = float(np.linalg.norm(wide))
    if g.size > FEW and np.isfinite(norm) and norm:
        yield " along the gradient", norm, along(wide / norm)


def _again(end: Tensor, x: Tensor, change: np.ndarray) -> np.ndarray:
    """The value of `end` with x changed: the recorded kernels once more, in float64."""
    values = {x: x._array.astype(np.float64) + change}

    def value(t: object) -> object:
        if isinstance(t, Tensor) and t in values:
            return values[t]
        array = values_of(t)
        if speaks_numpy(array) and array.dtype == np.float32:
            return array.astype(np.float64)
        return array

    with np.errstate(all="ignore"):
        for t in history(end):
            if t is not x and any(type(y) is Tensor and y in values for y in t.inputs):
                assert t.op is not None
                values[t] = np.asarray(t.op.kernel(*map(value, t.inputs), **t.attrs))
    return np.asarray(value(end))
