"""The table that ``model.summary()`` prints."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from tinygrad_opt.kernels import created
from tinygrad_opt.markup import aligned, html_table
from tinygrad_opt.tensor import Tensor, no_grad, values_of
from tinygrad_opt.typing import ArrayLike, DTypeLike, Size

if TYPE_CHECKING:
    from tinygrad_opt.nn.module import Module


class Row(NamedTuple):
    """One module: its path, how it is written, the shape it gave, how many numbers it holds."""

    name: str
    layer: str
    output: object
    parameters: int


class Summary:
    """What `Module.summary` found. Prints as a table.

    Attributes
    ----------
    rows : list of Row
        One for each module, the whole model first. A row counts what is below it, too.
    parameters, trainable : int
        Numbers in the whole model; those that are not frozen.
    """

    def __init__(self, rows: list[Row], parameters: int, trainable: int) -> None:
        self.rows, self.parameters, self.trainable = rows, parameters, trainable

    def _table(self) -> list[list[str]]:
        """Head and rows; the column of shapes only if there are any."""
        with_shapes = any(row.output is not None for row in self.rows)
        rows = [["name", "layer", "output", "parameters"], *(
            [r.name, r.layer, str(r.output or "not called"), f"{r.parameters:,}"]
            for r in self.rows)]
        return rows if with_shapes else [[*row[:2], row[3]] for row in rows]

    @property
    def _total(self) -> str:
        return f"{self.parameters:,} parameters, {self.trainable:,} trainable"

    def __str__(self) -> str:
        rows = self._table()
        return f"{aligned(rows, left=range(len(rows[0]) - 1))}\n{self._total}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"{html_table(self._table())}<p>{self._total}</p>"


def summarize(model: Module, example: object, dtype: DTypeLike | None) -> Summary:
    """Send zeros through a copy of the model, whose modules note the shapes that they give."""
    modules = model.named_modules()
    shape = getattr(example, "shape", example)             # an example in the place of its shape
    dtype = getattr(example, "dtype", None) if dtype is None else dtype
    shapes = {} if shape is None else _shapes(model, cast(Size, shape), dtype)
    rows = []
    for path, module in modules.items():
        size = sum({id(p): p.size for _, p in module._paths(Tensor)}.values())
        line = f"{type(module).__name__}({module._options()})".removesuffix("()")
        rows.append(Row(path or "(model)", line, shapes.get(path), size))
    own = model.parameters().values()
    return Summary(rows, sum(p.size for p in own), sum(p.size for p in own if p.requires_grad))


def _shapes(model: Module, input_shape: Size, dtype: DTypeLike | None) -> dict[str, object]:
    shapes: dict[str, object] = {}
    double = copy.deepcopy(model).eval()
    first = next(iter(model.parameters().values()), None)
    if dtype is None:
        dtype = np.float32 if first is None else first.dtype

    def noting(kind: type, path: str) -> type:
        def call(self: Module, *args: object, **kwargs: object) -> object:
            result = self.forward(*args, **kwargs)
            shapes[path] = _shape(result)
            return result

        return type(kind.__name__, (kind,), {"__call__": call})

    for path, module in double.named_modules().items():
        object.__setattr__(module, "__class__", noting(type(module), path))
    with no_grad():
        double(Tensor(created("zeros", input_shape, dtype, like=values_of(first))))
    return shapes


def _shape(result: object) -> object:
    """The shape of a result; of each, where there are several."""
    if isinstance(result, tuple | list):
        return tuple(_shape(part) for part in result)
    return np.shape(cast("ArrayLike", result))
