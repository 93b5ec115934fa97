"""What an operation does, and what it sends back, in formulas, numbers and shapes for readers."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.symbols import Symbol, Trace, letter
from tinygrad_opt.tensor import Tensor, history, values_of
from tinygrad_opt.typing import Array, ArrayLike
from tinygrad_opt.viz.graph.flow import Part
from tinygrad_opt.viz.graph.text import kind_of, number, shorten, summary, visible
from tinygrad_opt.viz.steps.derivatives import Derivatives, plain_number, said

__all__ = ["Words", "bare", "called", "names_in", "shape_text", "told"]

RESULTS, INPUTS, GRADIENTS = "zyuvz", "xyuvwpqrst…", "gδγg"   # the first that is free, or the last
LONGEST_NAME = 14


def called(t: object, names: Mapping[Tensor, str]) -> str:
    """What a reader calls a Tensor: its name, or the operation that made it."""
    if not isinstance(t, Tensor):
        return kind_of(t)
    name = names.get(t) or t.name
    if name:
        return shorten(visible(name), 36)
    if t.op is not None:
        return t.op.symbol
    return "a parameter" if t._needs_grad else "a constant"


def names_in(end: Tensor, names: Mapping[Tensor, str]) -> set[str]:
    """The names that are given in a graph, which no placeholder may take."""
    tensors = {x for t in history(end) for x in (t, *t.inputs) if type(x) is Tensor}
    return {visible(name) for t in tensors if (name := names.get(t) or t.name)}


def told(x: object) -> str:
    """An array in a few words: its numbers if there are few."""
    return summary(x)[0]


def shape_text(x: ArrayLike) -> str:
    """``(2, 3)``; ``a number`` for no axes."""
    return str(np.shape(x)) if np.ndim(x) else "a number"


class Words:
    """The words for one operation.

    Inputs have their names, those in modules the last part; what has none, or a long one, has a
    letter that names nothing else.

    Parameters
    ----------
    z : Tensor
        The result of the operation.
    names : mapping of Tensor to str
        Names for Tensors that have none.
    given : collection of str
        The names in the graph.
    """

    def __init__(self, z: Tensor, names: Mapping[Tensor, str], given: Collection[str] = ()) -> None:
        assert z.op is not None
        self.z, self.op, self.names = z, z.op, names
        self.g = _free(GRADIENTS, given)
        self.result = _short(names.get(z) or z.name) or _free(RESULTS, given)
        taken: dict[str, object] = {self.result: z, self.g: None}
        self.symbols = [self._symbol(x, taken, given) for x in z.inputs]
        self.single = z.size == 1 and all(np.size(values_of(x)) == 1 for x in z.inputs)

    def _symbol(self, x: object, taken: dict[str, object], given: Collection[str]) -> str:
        """What an input is called, which is taken from then on; a number is told."""
        if x is None or plain_number(x):
            return "–" if x is None else _number(x)
        for known in (s for s, t in taken.items() if t is x):
            return known
        name = _short(self.names.get(x) or x.name, given) if type(x) is Tensor else ""
        if not name or name in taken:
            name = _free(INPUTS, {*given, *taken})
        taken[name] = x
        return name

    @functools.cached_property
    def derivatives(self) -> Derivatives:
        """What the operation sends back to its inputs."""
        return Derivatives(self.z, self.symbols, self.result, self.g)

    # ---- forwards --------------------------------------------------------------------------------

    def equation(self) -> list[str]:
        """``z = a · b``, and the same in numbers or in shapes."""
        lines = [f"{self.result} = {self._right()}"]
        if self.single and self.derivatives.entrywise:
            lines.append(f"{self._right(values=True)} = {_number(self.z)}")
        elif self.op in (ops.matmul, ops.linear):
            lines.append(_product(self.z, *self.z.inputs))
        elif self.z.ndim or any(np.ndim(values_of(x)) for x in self.z.inputs):
            given = [values_of(x) for x, r in zip(self.z.inputs, self.op.vjps) if r is not None]
            shapes = " and ".join(dict.fromkeys(shape_text(x) for x in given))
            lines.append(f"{shapes} → {shape_text(self.z)}")
        return lines

    def _right(self, values: bool = False) -> str:
        """The operation and its operands, by name or by value."""
        options = [f"{k}={shorten(str(v), 12)}" for k, v in self.z.attrs.items()
                   if v is not None and v is not False and not isinstance(v, np.ndarray)]
        given = [(s, x) for s, x, r in zip(self.symbols, self.z.inputs, self.op.vjps)
                 if x is not None and (r is not None or isinstance(values_of(x), np.ndarray))]
        stacked = self.op in (ops.transpose, ops.dot) and any(
            np.ndim(values_of(x)) not in (1, 2) for _, x in given)
        if options or stacked or len(given) > 4:
            return self._as_call([s for s, _ in given], options)
        op = self.op
        if op is ops.clip and len(given) == 2:             # one of its bounds is None
            op = ops.minimum if self.z.inputs[1] is None else ops.maximum
        trace = Trace()
        operands = tuple(trace.symbol(bare(_number(x) if values else s), values_of(x))
                         for s, x in given)
        return _opened(said(Symbol(self.z._array, trace, None, op, operands)))

    def _as_call(self, names: list[str], options: list[str]) -> str:
        """``Σ(x, axis=0)``, of many operands the first three."""
        shown = names if len(names) < 5 else [*names[:3], "…"]
        symbol = self.op.name if re.search(r"\bx\b", self.op.symbol) else self.op.symbol
        return f"{visible(symbol)}({', '.join([*shown, *map(visible, options)])})"

    def meanings(self) -> str:
        """Which letter stands for what, where a name did not fit in."""
        pairs = {s: called(x, self.names) for s, x in zip(self.symbols, self.z.inputs)
                 if not plain_number(x) and (type(x) is Tensor or isinstance(x, np.ndarray))}
        return ", ".join([f"{s} is {name}" for s, name in pairs.items() if s != name][:4])

    # ---- backwards -------------------------------------------------------------------------------

    def sent(
        self, part: Part, g: Array, say: Callable[[Array], str] = told
    ) -> list[tuple[str, str]]:
        """How the part of a gradient comes about, line by line, each with what it is.

        Parameters
        ----------
        part : Part
            What goes to one input.
        g : ndarray
            The gradient of the result.
        say : callable
            Tells an array in a few words.

        Returns
        -------
        list of (str, str)
            ``formula`` and ``numbers``.
        """
        formula, *rest = (self._local if self.derivatives.entrywise else self._whole)(part, g, say)
        return [("formula", formula), *(("numbers", line) for line in rest)]

    def _local(self, part: Part, g: Array, say: Callable[[Array], str]) -> Iterator[str]:
        """The local derivative, and what it makes of the gradient g."""
        local = f"∂{self.result}/∂{self.symbols[part.place]}"
        slope = self.derivatives.local(part.place)
        if not self.single:
            yield f"{local} = {said(slope)}, entry by entry"
            yield f"{self.g} · {local} = {say(part.raw)}"
            return
        factor = _number(part.slopes())
        values = dict(zip(self.symbols, self.z.inputs)) | {self.result: self.z}
        steps = dict.fromkeys([said(slope), _with_numbers(slope, values), factor])
        yield f"{local} = {' = '.join(steps)}"
        yield f"{self.g} · {local} = {_number(g)} · {bare(factor)} = {_number(part.value)}"

    def _whole(self, part: Part, g: Array, say: Callable[[Array], str]) -> Iterator[str]:
        """The gradient of an input, where its entries mix."""
        words = self.derivatives.whole(part.place)
        name = f"∂L/∂{self.symbols[part.place]}"
        yield f"{name} = {words}" if words else f"{name} by the VJP of {visible(self.op.name)}"
        if (self.op in (ops.matmul, ops.linear) and part.place < 2
                and part.raw.ndim == 2 == np.ndim(g)):
            other = values_of(self.z.inputs[1 - part.place])
            factors = (g, other.T) if part.place == 0 else (other.T, g)
            yield _product(part.raw, *factors)
        yield f"= {say(part.raw)}"

    def fitted(self, part: Part, say: Callable[[Array], str] = told) -> list[tuple[str, str]]:
        """How the part was brought to the shape of the input, as ``fitting``; nothing if it had it.
        """
        how = self._fitting(part)
        return [("fitting", how), ("numbers", f"= {say(part.value)}")] if how else []

    def _fitting(self, part: Part) -> str:
        raw, shape, x = part.raw.shape, part.value.shape, self.symbols[part.place]
        if raw == shape:
            return ""
        if part.raw.size > part.value.size:
            lead = len(raw) - len(shape)
            axes = [i for i, n in enumerate(raw) if i < lead or (shape[i - lead] == 1 != n)]
            over = f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"
            return f"{x} was broadcast, so summed over {over}: {raw} → {shape}"
        how = "in the shape of" if part.raw.size == part.value.size else "copied to the shape of"
        return f"{how} {x}: {raw} → {shape}"


def _with_numbers(slope: object, values: Mapping[str, object]) -> str:
    """A formula with numbers in place of its names."""
    if not isinstance(slope, Symbol):
        return said(slope)
    for x in slope.trace.given:                            # type: ignore[attr-defined]
        if x.name in values:
            x.name = bare(_number(values[x.name]))
    return _opened(said(slope))


def bare(text: str) -> str:
    """A negative number in brackets."""
    return f"({text})" if text.startswith("−") else text


def _opened(text: str) -> str:
    """Without the brackets around negative numbers before which no operator stands."""
    return re.sub(r"(^|\(|, )\((−[^ ()]+)\)(?=$|[,) ])", r"\1\2", text)


def _short(name: str | None, given: Collection[str] = ()) -> str:
    """A name that fits in a formula, perhaps its last part if that is no other's, or nothing."""
    name = visible(name or "")
    if name.rpartition(".")[2] not in given:
        name = name.rpartition(".")[2]
    fits = len(name) <= LONGEST_NAME and re.fullmatch(r"\w+", name) and letter(name) == name
    return name if fits and not name[0].isdecimal() else ""


def _free(letters: str, taken: Collection[str]) -> str:
    return next((c for c in letters if c not in taken), letters[-1])


def _number(x: object) -> str:
    return number(np.asarray(values_of(x)).reshape(-1)[0])


def _product(z: ArrayLike, x: ArrayLike, y: ArrayLike, *added: ArrayLike) -> str:
    """The shapes of a matrix product: ``(2, 16) = (2, 64)(64, 16)``."""
    shapes = [np.shape(values_of(t)) for t in (z, x, y, *added)]
    return f"{shapes[0]} = {shapes[1]}{shapes[2]}" + "".join(f" + {s}" for s in shapes[3:])
