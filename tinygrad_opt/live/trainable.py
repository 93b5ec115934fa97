"""The networks of a live page, as modules whose rows and widths are variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict

import numpy as np

from tinygrad_opt import nn
from tinygrad_opt.compiler import compile
from tinygrad_opt.live.templates import template
from tinygrad_opt.nn.init import gain
from tinygrad_opt.nn.module import Module
from tinygrad_opt.ops import TABLE
from tinygrad_opt.symbols import Trace, text
from tinygrad_opt.tensor import Tensor, no_grad
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["family", "given_network", "slope_of", "start_of"]

Layers = list[tuple[nn.Linear, str]]
ROWS = ("B", "G", "N")     # of a batch, of the grid that is drawn, of the points that are measured


def family(activation: str, depth: int) -> str:
    """Fully connected networks of a depth, for all widths.

    Parameters
    ----------
    activation : str
    depth : int, at least 0
        How many hidden layers.
    """
    widths = ["I", *(f"H{i}" for i in range(depth)), "C"]

    def network(sizes: Mapping[str, int]) -> nn.MLP:
        model = nn.MLP([sizes[w] for w in widths], activation, rng=0)
        for p in model.parameters().values():
            p.data[...] = 0
        return model

    return template(lambda sizes: _text(network(sizes), sizes["I"], sizes), [*ROWS, *widths])


class Network(TypedDict):
    """A network on a page: its module, and what the reader sees of it."""

    make: str
    inputs: int
    classes: int
    name: str
    layers: list[dict[str, object]]


def given_network(model: Module) -> Network:
    """A network that the reader wrote, with the weights that it has now."""
    layers = layers_of(model)
    inputs = layers[0][0].weight.shape[0] if layers else _inputs_of(model)
    if inputs != 2:
        raise ValueError(f"a playground needs models of 2 inputs, points of the plane;"
                         f" {type(model).__name__} takes {inputs}.")
    made = template(lambda sizes: _text(model, inputs, sizes), ROWS)
    with no_grad():
        classes = model(Tensor(np.zeros((2, inputs), np.float32))).shape[-1]
    return {"make": made, "inputs": inputs, "classes": classes, "name": type(model).__name__,
            "layers": [{"in": layer.weight.shape[0], "out": layer.weight.shape[1],
                        "activation": name} for layer, name in layers]}


def layers_of(model: Module) -> Layers:
    """Linear layers with the activations behind them, if that is all that there is."""
    stages = _stages(model)
    return [(layer, "".join(map(_name, stages[i + 1 : i + 2]))) for i, layer in enumerate(stages)
            if isinstance(layer, nn.Linear) and layer is not model]


def _name(function: object) -> str:
    return str(getattr(function, "__name__", type(function).__name__)).lower()


def _inputs_of(model: Module) -> int:
    for p in model.parameters().values():
        if p.ndim == 2:
            return int(p.shape[0])
    raise ValueError("a playground needs a model of two-dimensional inputs, rows of features")


def _stages(model: Module) -> list[Callable[[ArrayLike], Tensor]]:
    """What a network does one after the other: weighted sums and activations in turn; otherwise
    the network itself."""
    stages: list[Callable[[ArrayLike], Tensor]] = []
    if (isinstance(model, nn.MLP) and not model.norms and model.dropout is None
            and model.output is None):
        stages = [f for layer in model.layers for f in (layer, model.activation)][:-1]
    elif isinstance(model, nn.Sequential):
        stages = list(model.layers)
    sums, activations = stages[::2], stages[1::2]
    in_turn = all(isinstance(f, nn.Linear) for f in sums) and not any(
        isinstance(f, nn.Linear) or list(getattr(f, "parameters", dict)()) for f in activations)
    return stages if stages and in_turn else [model]


def _text(model: Module, inputs: int, sizes: Mapping[str, int]) -> str:
    """The programs of a network for so many rows: a step up to its gradients, what its neurons
    show on a grid, the loss of some points."""
    stages = _stages(model)

    def run(x: ArrayLike) -> list[Tensor]:
        values: list[Tensor] = []
        for stage in stages:
            x = stage(x)
            values.append(x)
        return values

    @compile
    def step(x: Array, y: Array) -> dict[str, object]:
        for p in model.parameters().values():
            p.grad = None
        values = run(x)
        loss = nn.cross_entropy(values[-1], y)
        loss.backward()
        return {"loss": loss, "values": values, "gradients": [v.grad for v in values]}

    @compile
    def look(x: Array) -> list[Tensor]:
        values = run(x)
        return [*values[1:-1:2], nn.softmax(values[-1])]

    @compile
    def measure(x: Array, y: Array) -> dict[str, Tensor]:
        z = model(x)
        return {"loss": nn.cross_entropy(z, y), "logits": z}

    def rows(n: str) -> Array:
        return np.zeros((sizes[n], inputs), np.float32)

    step(rows("B"), np.zeros(sizes["B"], int))
    look(rows("G"))
    measure(rows("N"), np.zeros(sizes["N"], int))
    module: str = step.to_javascript(look=look, measure=measure)
    return module


def start_of(activation: str) -> dict[str, object]:
    """How `nn.MLP` draws the weights before an activation."""
    factor = gain(activation)
    cut = factor != 1 and activation != "tanh"
    return {"family": "kaiming" if cut else "xavier", "gain": factor}


def slope_of(activation: str) -> list[str]:
    """An activation of z, and its product with a gradient g, as they are written; a is its value.

    Examples
    --------
    >>> slope_of("tanh")
    ['tanh(z)', 'g · (1 − a · a)']
    """
    row, trace = TABLE[activation], Trace()
    z, a, g = (trace.symbol(name, np.ones(1)) for name in "zag")
    (vjp,) = row.vjps
    assert vjp is not None
    return [text(row.kernel(z)), text(vjp(g, a, z))]
