"""One pass forward and backward, looked at layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from tinygrad_opt.recording import in_mode
from tinygrad_opt.tensor import Tensor, backward_pass, first_gradient, history, values_of
from tinygrad_opt.typing import Array, Loss, Model, Shape

__all__ = ["Layer", "Probe", "merged", "probe", "probe_of", "rms"]



@dataclass(frozen=True)
class Layer:
    """What the operations between one layer's parameters and the next one's made of the samples.

    Attributes
    ----------
    name : str
        That of its parameters: ``"layers.0"`` for ``"layers.0.weight"``.
    values, gradient : ndarray
        Its output, and ∂loss/∂output.
    flow : float
        The largest root mean square that the gradient of any of its results has.
    units : int
        The axis of the output along which its units, or channels, lie.
    inside : dict of str to list of ndarray
        The results of its operations by name: ``inside["relu"]``.
    """

    name: str
    values: Array
    gradient: Array
    flow: float
    units: int
    inside: dict[str, list[Array]]


@dataclass(frozen=True)
class Probe:
    """What a pass has shown.

    Attributes
    ----------
    loss : float
    x, y, prediction : ndarray
        The samples, what the model should have made of them, and what it made; empty if that is
        no Tensor.
    squashed_by : str
        ``"softmax"`` or ``"sigmoid"``, if the prediction is probabilities; a softmax written by
        hand is known by its rows, which sum to 1.
    taken_by : frozenset of str
        The operations of the loss that it goes into.
    crossed : bool
        Whether the loss compares each prediction with the label of every sample.
    layers : list of Layer
        From the input to the output.
    parameters, gradients : dict of str to ndarray
        By name; a parameter that the loss does not depend on has no gradient.
    """

    loss: float
    x: Array
    y: Array
    prediction: Array
    squashed_by: str
    taken_by: frozenset[str]
    crossed: bool
    layers: list[Layer]
    parameters: dict[str, Array]
    gradients: dict[str, Array]


def probe(model: Model, loss: Loss, x: Array, y: Array) -> Probe:
    """Look at a pass in evaluation mode; nothing is written, no ``.grad`` either."""
    with in_mode(model, False), np.errstate(all="ignore"):
        prediction = model(x)
        end = loss(prediction, y)
        gradients = backward_pass(end, first_gradient(end))
    return probe_of(model.parameters(), x, y, prediction, end,
                    lambda t: values_of(gradients.get(t)))


def probe_of(
    parameters: dict[str, Tensor], x: Array, y: Array, prediction: object, end: Tensor,
    gradient_of: Callable[[Tensor], Array | None] = attrgetter("_gradient"),
) -> Probe:
    """Look at a pass that has been made; by default its gradients are where `backward` left them.
    """
    last = prediction.serial if type(prediction) is Tensor else end.serial
    made = [z for z in history(end) if z.op]
    nodes = [z for z in made if z.serial <= last]
    trainable = {name: p for name, p in parameters.items() if p.requires_grad}
    gradients = {name: gradient_of(p) for name, p in trainable.items()}
    values, squashed, taken_by = np.empty(0), "", frozenset[str]()
    if type(prediction) is Tensor:
        values = prediction._array
        squashed = _squashed_by(values, prediction.op.name if prediction.op else "")
        taken_by = frozenset(_name(z) for z in made if any(x is prediction for x in z.inputs))
    return Probe(
        end.item(), x, y, values, squashed, taken_by,
        _crossed(values.shape, np.shape(y), [z for z in made if z.serial > last]),
        _layers(nodes, len(x), parameters, gradient_of),
        {name: p._array for name, p in trainable.items()},
        {name: g for name, g in gradients.items() if g is not None},
    )


def _squashed_by(values: Array, made_by: str) -> str:
    if made_by in ("softmax", "sigmoid"):
        return made_by
    sums = values.sum(axis=-1) if values.ndim > 1 and values.shape[-1] > 1 else np.empty(0)
    rows = sums.size > 0 and values.min() >= 0 and np.allclose(sums, 1, rtol=0, atol=1e-3)
    return "softmax" if rows else ""


def _crossed(predicted: Shape, given: Shape, of_loss: list[Tensor]) -> bool:
    """Whether a column met a row, (n, 1) and (n,), and NumPy made (n, n) of them."""
    n = max(given, default=0)
    return n > 1 and {predicted, given} == {(n,), (n, 1)} and any(
        z.shape == (n, n) and any(getattr(x, "shape", ()) == given for x in z.inputs)
        for z in of_loss)


def _name(z: Tensor) -> str:
    """That of its operation; the larger of x and 0 is a ReLU too."""
    name: str = z.op.name                                  # type: ignore[union-attr]
    by_hand = name == "maximum" and any(type(x) is not Tensor and np.ndim(x) == 0 and x == 0
                                        for x in z.inputs)
    return "relu" if by_hand else name


def merged(probes: Sequence[Probe]) -> Probe:
    """Several passes as one of more samples; the last of them, where their shapes differ."""
    *_, last = probes
    try:
        layers = [
            replace(parts[-1], values=np.concatenate([part.values for part in parts]),
                    inside={name: [*map(np.concatenate, zip(*(p.inside[name] for p in parts)))]
                            for name in parts[-1].inside})
            for parts in zip(*(one.layers for one in probes))]
        x, y, prediction = (np.concatenate([getattr(one, name) for one in probes])
                            for name in ("x", "y", "prediction"))
    except (ValueError, KeyError):                         # such as sequences of other lengths
        return last
    return replace(last, x=x, y=y, prediction=prediction, layers=layers)


def rms(values: Array) -> float:
    """Root mean square."""
    return math.sqrt(np.vdot(values, values) / values.size) if values.size else 0.0


def _layers(
    nodes: list[Tensor], rows: int, parameters: dict[str, Tensor],
    gradient_of: Callable[[Tensor], Array | None],
) -> list[Layer]:
    """The operations in order of creation, gathered by the layer whose parameters came last."""
    owner = {p: (name.rpartition(".")[0] or name) for name, p in parameters.items()}
    latest: dict[Tensor, tuple[int, str]] = {}             # when a layer came in, and its name
    found: dict[str, list[Tensor]] = {}
    channels: set[str] = set()                             # layers that convolve
    for z in nodes:
        inputs = [x for x in z.inputs if type(x) is Tensor]
        own = [x for x in inputs if x in owner]
        came = [latest[x] for x in inputs if x in latest] + [(z.serial, owner[x]) for x in own]
        if came:
            latest[z] = max(came)
            found.setdefault(latest[z][1], []).append(z)
            channels |= {owner[x] for x in own if x.ndim > 2}
    return [_layer(name, group, rows, name in channels, gradient_of)
            for name, group in found.items()]


def _layer(
    name: str, group: list[Tensor], rows: int, convolves: bool,
    gradient_of: Callable[[Tensor], Array | None],
) -> Layer:
    """What the operations of one layer made."""
    end, inside = group[-1], dict[str, list[Array]]()
    for z in group:
        inside.setdefault(_name(z), []).append(z._array)
    gradient = gradient_of(end)
    gradient = np.zeros_like(end._array) if gradient is None else gradient
    # those with a row for each sample: not what is made of the parameters alone
    gradients = [gradient_of(z) for z in group if z.shape[:1] == (rows,)]
    flow = max((rms(g) for g in gradients if g is not None), default=rms(gradient))
    axis = 1 if convolves and end.ndim > 2 else -1
    return Layer(name, end._array, gradient, flow, axis, inside)
