"""An ONNX graph while it is written: nodes, constants, and sizes that follow the batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, helper

from tinygrad_opt.typing import Array, DTypeLike

__all__ = ["Extent", "Nodes", "Repeated", "Step"]


class Extent(NamedTuple):
    """A whole number that follows the batch: slope · n + rest for n samples."""

    slope: int
    rest: int


class Repeated(NamedTuple):
    """A constant array with as many rows as there are samples, all alike."""

    row: Array                                        # with its axis, of length 1


class Nodes:
    """The nodes and constants of a graph, in order.

    Parameters
    ----------
    batch : str
        The input along whose axis 0 the samples lie.
    names : dict
        What to call constants, by the id of the array.
    """

    def __init__(self, batch: str, names: dict[int, str]) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self._batch, self._names = batch, names
        self._taken: dict[str, int] = {}
        self._made: dict[Hashable, str] = {}                    # constants and sizes that are there
        self._alive: list[object] = []                        # what is known by its id

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """A node with one result, whose name it gives."""
        return self.add_all(kind, 1, *inputs, **attributes)[0]

    def add_all(self, kind: str, results: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node, and the names of its results."""
        name = self.unique(kind)
        outputs = [name] if results == 1 else [f"{name}_{i}" for i in range(results)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, **attributes))
        return outputs

    def unique(self, name: str) -> str:
        """The name, with a number behind it if it is taken."""
        count = self._taken[name] = self._taken.get(name, -1) + 1
        return self.unique(f"{name}_{count}") if count else name

    def constant(
        self, value: object, dtype: DTypeLike | None = None, name: str | None = None
    ) -> str:
        """A constant array; the same one is there once."""
        array = np.asarray(value, dtype)
        name = self.name_of(value) if name is None else name
        small = array.size < 64
        key = (name, array.dtype, array.shape, array.tobytes() if small else id(value))
        if key not in self._made:
            self._alive.append(value)
            self._made[key] = self.unique(name or "constant")
            self.initializers[self._made[key]] = array
        return self._made[key]

    def name_of(self, array: object) -> str | None:
        """What a parameter or a buffer is called."""
        return self._names.get(id(array))

    def vector(self, numbers: Sequence[int | Extent]) -> str:
        """A list of whole numbers, of which some may follow the batch."""
        if not any(isinstance(n, Extent) for n in numbers):
            return self.constant(np.array(numbers, np.int64))
        return self.add("Concat", *(
            self._extent(n) if isinstance(n, Extent) else self.constant(np.array([n], np.int64))
            for n in numbers), axis=0)

    def number(self, extent: Extent, dtype: DTypeLike) -> str:
        """A number that follows the batch, as an array without axes."""
        return self.cast(self.add("Squeeze", self._extent(extent)), dtype)

    def repeated(self, rows: Repeated) -> str:
        """A constant array with a row for each sample."""
        shape = self.vector([Extent(1, 0), *rows.row.shape[1:]])
        return self.add("Expand", self.constant(rows.row), shape)

    def cast(self, name: str, dtype: DTypeLike) -> str:
        """The array in another dtype."""
        return self.add("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def outputs(self, results: Sequence[str], wishes: Sequence[str]) -> list[str]:
        """Give results the names of outputs, and leave out whatever none of them needs."""
        made = {name for node in self.nodes for name in node.output}
        renamed: dict[str, str] = {}
        names = [self.unique(str(wish)) for wish in wishes]
        for result, name in zip(results, names):
            if result in made and result not in renamed:
                renamed[result] = name
        for node in self.nodes:
            for field in (node.input, node.output):
                field[:] = [renamed.get(name, name) for name in field]
        for result, name in zip(results, names):
            if renamed.get(result) != name:                # an input, a constant, a result again
                self.nodes.append(helper.make_node(
                    "Identity", [renamed.get(result, result)], [name]))
        self._keep(names)
        return names

    def _keep(self, names: Iterable[str]) -> None:
        """Only the nodes and constants that these results need."""
        wanted, kept = set(names), []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.initializers = {k: v for k, v in self.initializers.items() if k in wanted}

    def _extent(self, extent: Extent) -> str:
        """A vector of one number that follows the batch."""
        if extent not in self._made:
            name = self.add("Shape", self._batch, start=0, end=1)
            if extent.slope != 1:
                name = self.add("Mul", name, self.vector([extent.slope]))
            if extent.rest:
                name = self.add("Add", name, self.vector([extent.rest]))
            self._made[extent] = name
        return self._made[extent]


@dataclass
class Step:
    """One operation that a model has made, to be written as nodes.

    Attributes
    ----------
    nodes : Nodes
    inputs : tuple
        Names of what was computed, as `str`; anything else is constant.
    arrays : tuple
        The inputs as the example had them.
    attrs : dict
        The options.
    made : tuple of ndarray
        The results that the example had.
    """

    nodes: Nodes
    inputs: tuple[object, ...]
    arrays: tuple[Array, ...]
    attrs: Mapping[str, Any]
    made: tuple[Array, ...]

    def operands(self, dtype: DTypeLike | None = None) -> list[str]:
        """The names of the inputs, in the dtype of the result or in that which is given."""
        return [self.operand(i, dtype) for i in range(len(self.inputs))]

    def operand(self, i: int, dtype: DTypeLike | None = None) -> str:
        """The name of an input, in the dtype of the result or in that which is given."""
        x, nodes = self.inputs[i], self.nodes
        wanted = self.made[0].dtype if dtype is None else np.dtype(dtype)
        if isinstance(x, str):
            return x if self.arrays[i].dtype == wanted else nodes.cast(x, wanted)
        if isinstance(x, Extent):
            return nodes.number(x, wanted)
        if isinstance(x, Repeated):
            return nodes.repeated(Repeated(x.row.astype(wanted)))
        same = isinstance(x, np.ndarray) and x.dtype == wanted
        return nodes.constant(x if same else np.asarray(x, wanted))
