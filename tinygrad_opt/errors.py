"""What can go wrong, and how it is said.

    Exception
    └── TinygradOptError             every error that this package raises on purpose
        ├── ShapeError               (ValueError)          shapes that do not fit together
        ├── GraphError               (RuntimeError)        gradients asked of the wrong graph
        │   ├── NoRuleError          (TypeError)           a NumPy function without a gradient rule
        │   └── CaptureError                               a step that cannot be captured
        ├── GradientError            (AssertionError)      a gradient that is not the derivative
        ├── NonFiniteError           (FloatingPointError)  nan or inf where a number was needed
        ├── RenderError              (RuntimeError)        no engine could draw the picture
        └── CheckpointError          (ValueError)          a file that does not hold what it should

A message says what happened, with which names and shapes, and what to try.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tinygrad_opt.ops import Op

__all__ = [
    "CaptureError",
    "CheckpointError",
    "GradientError",
    "GraphError",
    "NoRuleError",
    "NonFiniteError",
    "RenderError",
    "ShapeError",
    "TinygradOptError",
]


class TinygradOptError(Exception):
    """Base of every error that this package raises on purpose."""


class ShapeError(TinygradOptError, ValueError):
    """Shapes, axes or sizes that do not fit together."""


class GraphError(TinygradOptError, RuntimeError):
    """A gradient was asked of a graph that cannot give it."""


class NoRuleError(GraphError, TypeError):
    """A NumPy function has no gradient rule; running it would lose the graph."""


class CaptureError(GraphError):
    """A training step does something that a captured program cannot repeat."""


class GradientError(TinygradOptError, AssertionError):
    """A gradient differs from its finite differences."""


class NonFiniteError(TinygradOptError, FloatingPointError):
    """A value or a gradient is nan or infinite."""


class RenderError(TinygradOptError, RuntimeError):
    """No engine on this machine could draw the picture."""


class CheckpointError(TinygradOptError, ValueError):
    """A saved file is damaged, or does not fit what it is loaded into."""


_LIBRARIES = tuple(os.path.dirname(file) + os.sep for file in (__file__, np.__file__))


# ---- how it is said ------------------------------------------------------------------------------


def label(x: object) -> str:
    """How a message calls an operand: by its name, if it has one, and its shape."""
    if hasattr(x, "shape"):
        name = getattr(x, "name", None)
        return f"{name} {x.shape}" if name else f"{x.shape}"
    return repr(x)


def subject(x: object) -> str:
    """The same, where the sentence is about one Tensor, or about an optimizer."""
    if hasattr(x, "shape") and not getattr(x, "name", None):
        return f"a Tensor of shape {x.shape}"
    return label(x)


def nearest(word: str, known: Iterable[str]) -> str:
    """How a message goes on after an unknown word: with the one that was meant, or with all."""
    import difflib

    known = sorted(known)

    def likeness(other: str) -> float:         # letters change places more often than they vanish
        if sorted(other) == sorted(word):
            return 1.0
        alike = difflib.SequenceMatcher(None, other, word).ratio()
        return alike - 0.05 * abs(len(other) - len(word))

    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    best = max(close, key=likeness, default=None)
    return f"did you mean {best!r}?" if best else f"known: {', '.join(known)}"


def install(extra: str) -> str:
    """The command that adds an extra; in a checkout it names the folder, so that it works there."""
    from pathlib import Path

    folder = Path(__file__).parents[1]
    package = folder if (folder / "pyproject.toml").is_file() else "tinygrad-opt"
    return f'pip install "{package}[{extra}]"'


def kernel_error(op: Op, inputs: Iterable[object], error: Exception) -> Exception:
    """What a kernel raised, said again with the operation and the names and shapes of its inputs.

    Shapes are not checked before a kernel runs, which would tax every operation.
    """
    shown = [x for x, vjp in zip(inputs, op.vjps) if vjp is not None]
    labels = [label(x) for x in shown]
    operands = " and ".join(labels) if len(labels) < 3 else ", ".join(labels)
    shapes = [np.shape(x) if isinstance(x, list | tuple) else getattr(x, "shape", ())
              for x in shown]
    arrays = [getattr(x, "_array", x) for x in shown]
    kinds = {type(x).__module__ for x in arrays
             if hasattr(x, "__array_function__") and not hasattr(x, "__apply_op__")}
    reason = _mismatch(op, shapes) or str(error)
    if len(kinds) > 1:
        reason += f" (these are arrays of {' and '.join(sorted(kinds))}: bring all to one library)"
    message = f"{op.name} of {operands}: {reason.rstrip('.')}."
    for kind, ours in (
        (TinygradOptError, None),
        (np.exceptions.AxisError, ShapeError),
        (IndexError, IndexError),
        (np.linalg.LinAlgError, np.linalg.LinAlgError),
        (ValueError, ShapeError),
        (TypeError, TypeError),
    ):
        if isinstance(error, kind):
            return ours(message) if ours else error
    return error


def _mismatch(op: Op, shapes: list[tuple[int, ...]]) -> str | None:
    """Why two shapes do not go together, in one clause; None if they are not to blame."""
    product = op.name in ("matmul", "linear")
    if len(shapes) != 2 and not product:
        return None
    a, b = shapes[:2]
    if product:
        if not a or not b:
            return "both need at least one axis; use * to scale by a number"
        inner_a, inner_b = a[-1], b[-2] if len(b) > 1 else b[0]
        if inner_a != inner_b:
            differ = f"inner sizes {inner_a} and {inner_b} differ"
            if op.name == "matmul":
                return differ
            if math.prod(a[1:]) == inner_b:
                return f"{differ}; flatten the samples: x.reshape(len(x), -1), or nn.Flatten()"
            return f"{differ}; give it {inner_b} features, or make the layer for {inner_a}"
        a, b = a[:-2], b[:-2]
    elif not isinstance(op.kernel, np.ufunc):
        return None
    for axis, (n, m) in enumerate(zip(reversed(a), reversed(b)), 1):
        if n != m and 1 not in (n, m):
            return f"sizes {n} and {m} on axis -{axis} do not broadcast"
    return None


def no_rule(name: str, options: Iterable[str] = ()) -> NoRuleError:
    """The error for a NumPy function, or an option of one, that cannot be differentiated."""
    shown = [option if "=" in option else f"{option}=" for option in options]
    given = f" with {', '.join(shown)}" if shown else ""
    return NoRuleError(
        f"np.{name}{given} has no gradient rule, so a Tensor in it would lose its graph."
        " Use its .data if no gradient is wanted, or define the operation: tg.op(...)."
    )


def caller_line() -> tuple[str, int]:
    """File and line of the code outside this package and NumPy that is running."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def line_text(place: tuple[str, int]) -> str:
    """A line of code as a message quotes it."""
    import linecache

    code = linecache.getline(*place).strip()
    return f"line {place[1]}: {code}" if code else f"line {place[1]} of {place[0]}"


def changed_in_place(x: object, op: Op | None = None) -> GraphError:
    """The error for values that a backward pass needs as they were; `op` has used them."""
    used = f" after {op.name} used it" if op else ""
    return GraphError(
        f"{subject(x)} was changed in place{used}, so its gradient would be wrong: an optimizer"
        " step or an in-place operator came between forward and backward."
        " Compute the loss again before backward()."
    )


def _captured(what: str, why: str) -> Callable[[object], CaptureError]:
    """The error about something that a replay would not do again, with the line that does it."""
    return lambda x: CaptureError(
        f"{what.format(subject(x))} inside a compiled step ({line_text(caller_line())}): {why}, or"
        " do without the decorator.")


captured_write = _captured(
    "{} is used to write in place", "a replay would not write again. Return the value and write it"
    " outside")
captured_read = _captured(
    "the values of {} were read", "what Python does with them would be the same at every replay."
    " Return the Tensor and read it outside")
captured_option = _captured(
    "an option of {} is set", "a replay would not set it again. Set it outside, let a schedule say"
    " what the rate is")
captured_hook = _captured(
    "a hook on {} returned nothing", "what it does with the gradient would not be done again at a"
    " replay. Return a new gradient")
captured_gradient = _captured(
    "the gradient of {} was read", "more than one backward() of this step put there what it holds."
    " Call zero_grad() in the step before backward(), and read .grad after the only one")


def captured_foreign(x: object) -> CaptureError:
    """The error for an array of another library in a step that is being captured."""
    kind = type(getattr(x, "_array", x))
    return CaptureError(
        f"{subject(x)} holds an array of {kind.__module__}.{kind.__qualname__}, and compiled steps"
        " work on NumPy's alone. Do without the decorator, or give arrays of NumPy."
    )
