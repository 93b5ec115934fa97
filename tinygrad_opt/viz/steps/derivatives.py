"""Derivatives as text: the VJPs of an operation run on symbols, with the names of its operands.

Where entries depend on entries alone the text is the local derivative, ``∂z/∂x = 1 − z · z``; where
they mix it is the whole product with the gradient, ``∂L/∂x = g @ yᵀ``. A VJP that moves entries
about by indices cannot say so in a formula: for these few, `CARRIED` holds the words.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.ops import Op
from tinygrad_opt.symbols import Symbol, Trace, Untraceable, name_of, text
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.viz.graph.text import is_number

__all__ = ["CARRIED", "Derivatives", "plain_number", "said"]

_REORDERED = "{g} with its entries back in the places of {x}"
_READ = "{g} added up where its entries were read, 0 elsewhere"
_COPIED = "{g}, summed over the copies"
_PIECE = "the piece of {g} that came from {x}"
_PRODUCT = "{g} times the other inputs, summed over all axes that {x} has not"
_DIAGONAL = "{g} on the diagonal, 0 elsewhere"
_SLOPES = "the slopes of {z} in each entry of {x}, times {g} and added up"
# By row of the table, for all inputs or for each.
CARRIED: dict[str, str | tuple[str, ...]] = {
    **dict.fromkeys(("reshape", "ravel", "transpose", "swapaxes", "moveaxis", "flip", "roll",
                     "sort"), _REORDERED),
    **dict.fromkeys(("getitem", "take", "take_along_axis", "windows"), _READ),
    **dict.fromkeys(("tile", "repeat"), _COPIED),
    **dict.fromkeys(("concatenate", "stack"), _PIECE),
    **dict.fromkeys(("matmul", "linear", "dot", "outer", "einsum"), _PRODUCT),
    **dict.fromkeys(("diagonal", "trace"), _DIAGONAL),
    **dict.fromkeys(("solve", "cholesky", "eigh", "svd", "det", "cofactor", "slogdet", "rnn", "gru",
                     "lstm"), _SLOPES),
    "pad": "{g} without the padding",
    "scatter": "{g} at the entries that were written",
    "put": ("{g}, 0 where entries were replaced", "{g} where entries were replaced"),
    "prod": "{g} · the product of the other entries",
    "cumsum": "sums of {g} from each entry to the end",
    "gelu_tanh": "{g} · the slope of the curve at {x}",
    "binary_entropy": ("", "{g} · (log(1 − {0}) − log({0}))"),
    "normalize": (_SLOPES, "{g} times {0}, less its mean and divided by its spread, summed over all"
                  " axes that {x} has not", "{g}, summed over all axes that {x} has not"),
    "add_windows": "{g} at the entries of each window",
    "lstm_gates": "{g} · {z} · (1 − {z}) of σ, {g} · (1 − {z} · {z}) of tanh",
}
LONGEST = 120                              # characters

_ENTRYWISE = {"where", "astype", "zeros_like", "ones_like", "copy", "reshape"}
_MIXING = {"sum", "mean", "var", "concatenate", "dot", "matmul", "softmax", "residual", "transpose",
           "swapaxes", "moveaxis"}


class _Readable(Trace):
    """Lets a rule make formulas only; what moves entries by indices is `Untraceable`.

    Attributes
    ----------
    entrywise : bool
        Whether each entry of what was made depends on one entry of each input.
    given : list of Symbol
        What the rule was given, and parts of it.
    parted : list of str
        The names of what stands in parts side by side, as gates do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entrywise = True
        self.given: list[Symbol] = []
        self.parted: list[str] = []

    def symbol(self, name: str, value: object) -> Symbol:
        """A symbol for what the rule is given."""
        self.given.append(super().symbol(name, value))
        return self.given[-1]

    def call(
        self, function: Callable[..., object], inputs: Sequence[object], attrs: Mapping[str, object]
    ) -> Symbol:
        """The result of a call, if a reader can follow it."""
        name, x = name_of(function), inputs[0]
        if function is operator.getitem and isinstance(x, Symbol) and any(
                x is given for given in self.given):
            return self._part(x, inputs[1])
        if not (name in _ENTRYWISE or _is_entrywise(function)):
            if name not in _MIXING:
                raise Untraceable(f"{name} in a formula")
            self.entrywise = False
        made = super().call(function, inputs, attrs)
        if name == "reshape" and isinstance(x, Symbol) and made.shape == x.shape:
            return x
        if name == "moveaxis" and isinstance(x, Symbol) and x.ndim == 2:
            turned: Symbol = x.T if made.shape == x.shape[::-1] else x
            return turned
        if not _is_said(name, inputs, made):
            raise Untraceable(f"{name} in a formula")
        return made

    def _part(self, x: Symbol, index: object) -> Symbol:
        """One of the parts of the last axis: x₁, x₂, …"""
        columns = index[-1] if isinstance(index, tuple) and index[0] is Ellipsis else slice(0, 0)
        length = columns.stop - columns.start if isinstance(columns, slice) else 0
        if not length or x.shape[-1] % length or columns.start % length:
            raise Untraceable("an index in a formula")
        self.parted += [] if x.name in self.parted else [str(x.name)]
        self.entrywise = False
        return self.symbol(f"{x.name}{'₁₂₃₄₅₆₇₈₉'[columns.start // length]}", x.array[index])


def _is_said(name: str, inputs: Sequence[object], made: Symbol) -> bool:
    """Whether the text says what was done to the shape, but for axes of length 1."""
    shape = inputs[0].shape if isinstance(inputs[0], Symbol) else ()
    if name == "concatenate":
        return isinstance(inputs[0], Sequence) and len(inputs[0]) > 2
    if name == "reshape":
        return [n for n in shape if n > 1] == [n for n in made.shape if n > 1]
    if name in ("transpose", "swapaxes"):                  # ᵀ is of the last two axes
        return len(shape) == 2 or (len(shape) > 2 and inputs[1:] == (-1, -2))
    if name in ("dot", "matmul"):                          # rows and columns must be what they were
        return not any(isinstance(x, Symbol) and name_of(x.function) == "reshape" for x in inputs)
    return name != "moveaxis"


@functools.cache
def _is_entrywise(function: object) -> bool:
    """Whether it is a ufunc of numbers, or an operation whose VJPs consist of such."""
    if isinstance(function, np.ufunc):
        return function.signature is None                  # that of np.matmul is of matrices
    if not isinstance(function, Op):
        return False
    op, trace = function, _Readable()
    g, z, *inputs = (trace.symbol("x", np.full(1, 0.5)) for _ in range(2 + min(len(op.vjps), 3)))
    try:
        for rule in op.vjps if not isinstance(op.vjps, ops.Joint) else ():
            if rule is not None:
                rule(g, z, *inputs)
    except Exception:
        return False
    return trace.entrywise and not isinstance(op.vjps, ops.Joint) and op.name not in _MIXING


class _Slope(_Readable):
    """A VJP with 1 for the gradient, which a product leaves out: ``g · y`` becomes y."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.one, self.less = (self.symbol(name, np.full(shape, value))
                               for name, value in (("1", 1.0), ("−1", -1.0)))

    def call(
        self, function: Callable[..., object], inputs: Sequence[Any], attrs: Mapping[str, object]
    ) -> Any:
        """The result of a call, without factors of 1."""
        if function is np.negative and inputs[0] is self.one:
            return self.less
        if inputs[0] is self.one and getattr(function, "__name__", "") == "astype":
            return self.one
        if function is np.multiply and any(x is self.one for x in inputs):
            return inputs[inputs[0] is self.one]
        if function is np.multiply and any(x is self.less for x in inputs):
            return -inputs[inputs[0] is self.less]
        return super().call(function, inputs, attrs)


class Derivatives:
    """The derivatives of one operation that was computed, by input.

    Parameters
    ----------
    z : Tensor
        The result.
    symbols : sequence of str
        What each input is called; of a number that was written into the expression, the number.
    result, g : str
        What z and ∂L/∂z are called.

    Attributes
    ----------
    entrywise : bool
        Whether each entry of z depends on one entry of each input; `local` says how.
    """

    def __init__(self, z: Tensor, symbols: Sequence[str], result: str, g: str) -> None:
        assert z.op is not None
        self.z, self.op, self.symbols, self.result, self.g = z, z.op, symbols, result, g
        flows = [i for i, (x, rule) in enumerate(zip(z.inputs, z.op.vjps))
                 if rule is not None and x is not None]
        self._whole = {i: self._run(i, _Readable()) for i in flows}
        shapes = [np.shape(values_of(z.inputs[i])) for i in flows]
        told = self._whole.values()
        self.entrywise = (all(made is not None and made[1].entrywise for made in told)
                          and z.shape == np.broadcast_shapes(*shapes))

    def _run(self, place: int, trace: _Readable) -> tuple[object, _Readable] | None:
        """The VJP of an input on symbols, and its trace; None if no text says it."""
        z = self.z
        rule = list(zip(z.inputs, self.op.vjps))[place][1]
        g = trace.one if isinstance(trace, _Slope) else trace.symbol(self.g, np.ones_like(z._array))
        result = trace.symbol(self.result, z._array)
        for plainly in (True, False):
            inputs = [self._argument(trace, x, name, plainly)
                      for x, name in zip(z.inputs, self.symbols)]
            try:
                assert rule is not None
                made = rule(g, result, *inputs, **z.attrs)
                words = text(made)
            except Exception:                              # a user's own rule may do anything
                return None
            if "False" not in words:                       # a number that was compared is a name
                break
        return None if "…" in words or len(words) > LONGEST else (made, trace)

    def _argument(self, trace: Trace, x: object, name: str, plainly: bool) -> object:
        values = values_of(x)
        if plain_number(x) and plainly:
            return np.asarray(values).item()
        known = isinstance(values, np.ndarray) or plain_number(x)
        return trace.symbol(name, values) if known else values

    def local(self, place: int) -> object:
        """∂z/∂x where entries depend on entries: a symbol or a number."""
        found = self._run(place, _Slope(self.z.shape))
        return found[0] if found is not None else 1

    def whole(self, place: int) -> str:
        """∂L/∂x in the letters of the operation; "" if nothing can be said."""
        found = self._whole.get(place)
        if found is not None:
            names = found[1].parted
            return said(found[0]) + (f", in parts {names[0]}₁, {names[0]}₂, … of {', '.join(names)}"
                                     if names else "")
        row = CARRIED.get(self.op.name, "") if self.op in ops.TABLE.values() else ""
        words = row if isinstance(row, str) else row[place] if place < len(row) else ""
        return words.format(*self.symbols, g=self.g, x=self.symbols[place], z=self.result)


def plain_number(x: object) -> bool:
    """A number that was written into the expression, not one with a name or a gradient."""
    if isinstance(x, Tensor):
        return not x._needs_grad and x.name is None and x.ndim == 0
    return is_number(x)


def said(x: object) -> str:
    """An expression as text, with true minus signs."""
    return text(x).replace("-", "−")
