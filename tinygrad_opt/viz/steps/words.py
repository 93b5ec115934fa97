"""What an operation does, and what it sends back, in formulas, numbers and shapes for readers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.viz.graph.flow import Part
from tinygrad_opt.viz.graph.text import number, shorten, summary, visible
from tinygrad_opt.viz.steps.derivatives import SLOPES, WHOLE
from tinygrad_opt.viz.steps.formula import written

__all__ = ["Words", "called", "shape_text", "told"]

FORMAL = "xyw"                             # what the tables call the inputs
SPARE = "xyuvwpqrst"
TAKEN = {"g", "z", "n", "L"}               # these mean something else in the formulas
LONGEST_NAME = 14


def called(t: Any, names: Mapping[Any, str]) -> str:
    """What a reader calls a Tensor: its name, or the operation that made it."""
    if type(t) is not Tensor:
        return "data"
    name = names.get(t) or t.name
    if name:
        return shorten(visible(name), 36)
    if t.op is not None:
        return t.op.symbol
    return "a parameter" if t.needs_grad else "a constant"


def told(x: Any) -> str:
    """An array in a few words: its numbers if there are few."""
    return summary(x)[0]


def shape_text(x: Any) -> str:
    """``(2, 3)``; ``a number`` for no axes."""
    return str(np.shape(x)) if np.ndim(x) else "a number"


class Words:
    """The words for one operation: z is its result, and inputs have their names or letters."""

    def __init__(self, z: Tensor, names: Mapping[Any, str]) -> None:
        assert z.op is not None
        self.z, self.op, self.names = z, z.op, names
        self.result = _short(names.get(z) or z.name, {}) or "z"
        taken = {self.result: z}
        self.symbols: list[str] = []
        spare = iter(SPARE)
        for x in z.inputs:
            symbol = (number(values_of(x)) if _plain_number(x)
                      else _short(names.get(x) or x.name, taken) if type(x) is Tensor else "")
            while not symbol or (taken.get(symbol, x) is not x and not _plain_number(x)):
                symbol = next(spare, "…")
                if symbol == "…":
                    break
            taken[symbol] = x
            self.symbols.append(symbol)
        self.single = z.size == 1 and all(np.size(values_of(x)) == 1 for x in z.inputs)

    def _filled(self, text: str, values: bool = False) -> str:
        """A formula of the tables with this operation's own symbols, or with its numbers."""
        names = dict(zip(FORMAL, self.symbols)) | {"z": self.result}
        if self.op in SLOPES:
            if values:
                arrays = dict(zip(FORMAL, self.z.inputs)) | {"z": self.z}
                names = {k: _one(v) for k, v in arrays.items()}
            return written(text, names)
        return re.sub(r"(?<![^\W_])[wxyz](?![A-Za-z])",
                      lambda m: names.get(m[0], m[0]), text)

    def equation(self) -> list[str]:
        """``z = a · b``, and the same in numbers or in shapes."""
        row = SLOPES.get(self.op) or WHOLE.get(self.op, ("",))
        right = self._filled(row[0]) if row[0] else self._call()
        lines = [f"{self.result} = {right}"]
        if self.single and self.op in SLOPES:
            lines.append(f"{self._filled(row[0], values=True)} = {_one(self.z)}")
        elif self.op in (ops.matmul, ops.linear):
            lines.append(_product(self.z, *self.z.inputs))
        elif self.z.ndim or any(np.ndim(values_of(x)) for x in self.z.inputs):
            given = [values_of(x) for x, r in zip(self.z.inputs, self.op.rules) if r is not None]
            shapes = " and ".join(dict.fromkeys(shape_text(x) for x in given))
            lines.append(f"{shapes} → {shape_text(self.z)}")
        return lines

    def _call(self) -> str:
        given = [s for s, r in zip(self.symbols, self.op.rules) if r is not None]
        shown = given if len(given) < 5 else [*given[:3], "…"]
        options = [f"{k}={shorten(str(v), 12)}" for k, v in self.z.attrs.items()
                   if v is not None and v is not False and not isinstance(v, np.ndarray)]
        symbol = self.op.symbol if not re.search(r"\bx\b", self.op.symbol) else self.op.name
        return f"{visible(symbol)}({', '.join([*shown, *map(visible, options)])})"

    def meanings(self) -> str:
        """Which letter stands for what, where a name did not fit in."""
        pairs = {
            s: called(x, self.names) for s, x in zip(self.symbols, self.z.inputs)
            if type(x) is Tensor and len(s) == 1 and not _plain_number(x)
        }
        said = [f"{s} is {name}" for s, name in pairs.items() if s != name]
        return ", ".join(said[:4])

    # ---- backwards -------------------------------------------------------------------------------

    def slope(self, part: Part, g: Any) -> list[str]:
        """The local derivative as formula and as numbers, and what it makes of the gradient g."""
        x = self.symbols[part.place]
        row = SLOPES.get(self.op)
        if row is None:
            return self._whole(part, x, g)
        lines = []
        formula = self._filled(row[1 + part.place])
        local = f"∂{self.result}/∂{x}"
        if self.single:
            numbers = self._filled(row[1 + part.place], values=True)
            factor = _one(part.slopes())
            steps = dict.fromkeys([formula, numbers, factor])
            lines.append(f"{local} = {' = '.join(steps)}")
            factor = f"({factor})" if factor.startswith("−") else factor
            lines.append(f"g · {local} = {_one(g)} · {factor} = {_one(part.value)}")
        else:
            lines.append(f"{local} = {formula}, entry by entry")
            lines.append(f"g · {local} = {told(part.value)}")
        return lines

    def _whole(self, part: Part, x: str, g: Any) -> list[str]:
        row = WHOLE.get(self.op)
        text = (row[1 + part.place] if row and 1 + part.place < len(row) else
                row[1] if row and len(row) == 2 else "")
        lines = [f"∂L/∂{x} = {self._filled(text)}" if text else
                 f"∂L/∂{x} by the rule of {visible(self.op.name)}"]
        if (self.op in (ops.matmul, ops.linear) and part.place < 2
                and part.raw.ndim == 2 == np.ndim(g)):
            other = values_of(self.z.inputs[1 - part.place])
            factors = (g, other.T) if part.place == 0 else (other.T, g)
            lines.append(_product(part.raw, *factors))
        lines.append(f"= {told(part.value)}")
        return lines

    def fitting(self, part: Part) -> str:
        """How the part was brought to the shape of the input; nothing if it had it."""
        raw, shape = part.raw.shape, part.value.shape
        if raw == shape:
            return ""
        if part.raw.size > part.value.size:
            lead = len(raw) - len(shape)
            axes = [i for i, n in enumerate(raw) if i < lead or (shape[i - lead] == 1 != n)]
            over = f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"
            return f"broadcast in the forward pass, so summed over {over}: {raw} → {shape}"
        if part.raw.size == part.value.size:
            return f"in the shape of {self.symbols[part.place]}: {raw} → {shape}"
        return f"copied to the shape of {self.symbols[part.place]}: {raw} → {shape}"


def _short(name: str | None, taken: Mapping[str, Any]) -> str:
    """A name that fits in a formula, or nothing."""
    name = visible(name or "")
    fits = len(name) <= LONGEST_NAME and re.fullmatch(r"\w+", name)
    return name if fits and not name[0].isdecimal() and name not in TAKEN else ""


def _plain_number(x: Any) -> bool:
    """A number that was written into the expression, not one with a name or a gradient."""
    if type(x) is Tensor:
        return not x.needs_grad and x.name is None and x.ndim == 0
    return isinstance(x, int | float | np.generic) or (isinstance(x, np.ndarray) and not x.ndim)


def _one(x: Any) -> str:
    return number(np.asarray(values_of(x)).reshape(-1)[0])


def _product(z: Any, x: Any, y: Any, *added: Any) -> str:
    """The shapes of a matrix product: ``(2, 16) = (2, 64)(64, 16)``."""
    shapes = [np.shape(values_of(t)) for t in (z, x, y, *added)]
    return f"{shapes[0]} = {shapes[1]}{shapes[2]}" + "".join(f" + {s}" for s in shapes[3:])
