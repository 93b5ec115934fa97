"""Where the first nan or infinity comes from: `detect_nonfinite`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tinygrad_opt.errors import GraphError, NonFiniteError, caller_line, label, line_text
from tinygrad_opt.ops import VJP, Joint, Op, VJPs
from tinygrad_opt.recording import R, Setting, Tracer, tracer, unrepeatable
from tinygrad_opt.tensor import Tensor, deep_values, values_of
from tinygrad_opt.typing import Array

__all__ = ["detect_nonfinite", "entries_that"]


# what to try, by the name of the operation
CURES = {
    "log": "The logarithm is -inf at 0 and nan below: add 1e-7 to what goes in, or leave it out,"
           " as nn.cross_entropy does, which takes scores.",
    "divide": "Something is divided by 0: add 1e-7 below the line.",
    "sqrt": "The root of a negative number is nan, and its slope at 0 is infinite: add 1e-12 under"
            " it.",
    "power": "A power of a negative number may be nan, a negative power of 0 is infinite: keep the"
             " base above 0.",
    "exp": "exp overflows above 88 in float32, above 709 in float64: subtract the largest entry"
           " first, as np.logaddexp and nn.cross_entropy do.",
}
CURES |= {
    "log2": CURES["log"], "log10": CURES["log"], "log1p": "log1p is -inf at -1 and nan below.",
    "reciprocal": CURES["divide"], "remainder": CURES["divide"], "exp2": CURES["exp"],
    "expm1": CURES["exp"], "sinh": CURES["exp"], "cosh": CURES["exp"],
}
OVERFLOW = ("The numbers have grown too large: try a smaller learning rate, or clip_norm=1, and"
            " data scaled to about 1.")


class detect_nonfinite(Setting[Tracer | None]):
    """Stop at the first operation whose result is nan or infinite, forward or backward.

    ``with detect_nonfinite():`` or ``@detect_nonfinite()``, for finding out where a loss or a
    gradient that is nan comes from. Every result is looked at, which nearly doubles the time of a
    small step; a compiled step in the block runs as it is written.

    Parameters
    ----------
    infinite : bool
        Whether infinities count. Without them only nan does: masks of -inf are no fault.

    Raises
    ------
    NonFiniteError
        With the operation, the line that asked for it, the shapes of its inputs, and the range of
        the values in each. Where an input held nan or inf before, it says so.

    Notes
    -----
    It belongs to the running thread or task. What NumPy does beside Tensors is not seen.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> x = tg.Tensor([1.0, 0.0], requires_grad=True, name="x")
    >>> with tg.detect_nonfinite(), np.errstate(all="ignore"):
    ...     np.log(x).sum().backward()
    Traceback (most recent call last):
    ...
    tinygrad_opt.errors.NonFiniteError: log gives -inf in 1 of 2 entries, first at [1], ...
    """

    def __init__(self, infinite: bool = True) -> None:
        self._watcher = Watcher(infinite)
        super().__init__(tracer, self._watcher)

    def __enter__(self) -> None:
        unrepeatable(_inside_a_capture, self)
        self._watcher.home = caller_line()
        super().__enter__()


class Watcher:
    """A tracer that lets everything happen as it would without it, and looks at each result."""

    def __init__(self, infinite: bool) -> None:
        self.is_fault: Callable[[Array], Array] = _is_nonfinite if infinite else np.isnan
        self.home: tuple[str, int] | None = None           # where the block was entered
        self.places: dict[int, tuple[str, int]] = {}       # id of a result -> the line that asked

    def compute(
        self, function: Callable[..., object], inputs: Iterable[object], attrs: dict[str, object]
    ) -> tuple[object, object]:
        arrays = [deep_values(x) for x in inputs]
        if not isinstance(function, Op):
            return function(*arrays, **{k: deep_values(v) for k, v in attrs.items()}), None
        shared = None
        with np.errstate(all="ignore"):
            if function.shared is not None:
                shared = function.shared(*arrays, **attrs)
                attrs = {**attrs, "shared": shared}
            made = np.asarray(function.kernel(*arrays, **attrs))
        place = self.places[id(made)] = caller_line()
        if self._faulty(made):
            line = "" if place == self.home else f" ({line_text(place)})"     # `fit` entered it
            raise self._error(f"{function.name} gives {self._where(made)}, in the forward"
                              f" pass{line}.", function, inputs)
        return made, shared

    def vjps(self, z: Tensor) -> VJPs:
        op = z.op
        assert op is not None                              # it was computed
        place = self.places.get(id(z._array))
        line = f" ({op.name} is in {line_text(place)})" if place and place != self.home else ""

        def looked_at(part: Array, g: object, to: object) -> Array:
            values = np.asarray(part)
            if self._faulty(values):
                raise self._error(
                    f"the gradient that {op.name} passes back to {label(to)} holds"
                    f" {self._where(values)}, in the backward pass{line}. The gradient that"
                    f" came in: {_range(values_of(g))}.", op, z.inputs)
            return part

        def watched(vjp: VJP, x: object) -> VJP:
            return lambda g, *operands, **attrs: looked_at(vjp(g, *operands, **attrs), g, x)

        if isinstance(op.vjps, Joint):
            joint = op.vjps.vjp
            return Joint(lambda g, *operands, **attrs: [
                looked_at(part, g, x)
                for part, x in zip(joint(g, *operands, **attrs), z.inputs)])
        return [vjp and watched(vjp, x) for vjp, x in zip(op.vjps, z.inputs)]

    def lift(self, array: R) -> R:
        return array

    def read(self, owner: object, name: str, value: R) -> R:
        return value

    def act(self, action: Callable[..., None], args: tuple[object, ...]) -> None:
        action(*args)

    def refuse(self, error: Callable[[object], Exception], x: object) -> None:
        pass

    # ---- how it is said ----

    def _faulty(self, made: Array) -> bool:
        return made.dtype.kind == "f" and bool(self.is_fault(made).any())

    def _where(self, made: Array) -> str:
        return entries_that(self.is_fault(made), made)

    def _error(self, what: str, op: Op, inputs: Iterable[object]) -> NonFiniteError:
        """The error, with the ranges of the inputs and what to try."""
        seen = [(x, values_of(x)) for x in inputs]
        arrays = [(x, a) for x, a in seen if isinstance(a, Array | float) and np.size(a)]
        ranges = "; ".join(f"{label(x)} {_range(a)}" if hasattr(x, "shape") else f"the number {a}"
                           for x, a in arrays)
        before = [x for x, a in arrays if self._faulty(np.asarray(a))]
        if not before:
            cure = CURES.get(op.name, OVERFLOW)
        elif type(before[0]) is Tensor and before[0].requires_grad and before[0].is_leaf:
            cure = f"{label(before[0])} held it before: the step that wrote it went wrong."
        else:
            cure = f"{label(before[0])} held it before: look at the data."
        return NonFiniteError(f"{what} Its inputs: {ranges}. {cure}")


def entries_that(mask: Array, array: Array) -> str:
    """``nan in 2 of 8 entries, first at [0, 3]``"""
    first = tuple(int(i) for i in np.unravel_index(int(mask.argmax()), mask.shape))
    at = f", first at {list(first)}" if array.ndim else ""
    return f"{array[first]} in {np.count_nonzero(mask)} of {mask.size} entries{at}"


def _range(values: object) -> str:
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        return "of no numbers"
    finite = values[np.isfinite(values)]
    lost = values.size - finite.size
    span = f"from {finite.min():.4g} to {finite.max():.4g}" if finite.size else "no finite number"
    return span + (f" beside {lost} that are nan or inf" if lost else "")


def _is_nonfinite(values: Array) -> Array:
    result: Array = ~np.isfinite(values)
    return result


def _inside_a_capture(x: object) -> GraphError:
    return GraphError("detect_nonfinite() inside a compiled step would look at its capture only:"
                      " put it around the calls, which then run as they are written.")
