"""What a model and a loss do with a batch: layers that are called, operations in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tinygrad_opt.interop.scripts.code import Unsaid
from tinygrad_opt.kernels import brought
from tinygrad_opt.nn.module import Module
from tinygrad_opt.recording import in_mode, tick
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.train.batch import moved_by_a_pass, put_back
from tinygrad_opt.typing import Array, Loss

__all__ = ["Called", "Recording", "Step", "record"]


@dataclass(frozen=True, eq=False)
class Called:
    """A layer, or the loss, that was called.

    Attributes
    ----------
    layer : Module or callable
    path : str
        Of the layer in its model.
    inputs : tuple
        What it was given.
    results : tuple of Tensor
        What it gave, in the order in which they stand in it.
    """

    layer: Module | Loss
    path: str
    inputs: tuple[object, ...]
    results: tuple[Tensor, ...]

    @property
    def serial(self) -> int:
        return self.results[0].serial


Step: TypeAlias = Called | Tensor                          # a layer, or the result of an operation


@dataclass(frozen=True)
class Recording:
    """One batch, forward.

    Attributes
    ----------
    x, y : Tensor
        The batch.
    loss : Tensor
    prediction : Tensor
    steps : list of Called or Tensor
        Layers that were called and results of operations between them, in order.
    spans : list of (str, Module, int, int)
        Modules that hold no others, by path, and between which times they were called.
    """

    model: Module
    x: Tensor
    y: Tensor
    prediction: Tensor
    loss: Tensor
    steps: list[Step]
    spans: list[tuple[str, Module, int, int]]

    @property
    def operations(self) -> list[Tensor]:
        """The steps that are no layers."""
        return [step for step in self.steps if isinstance(step, Tensor)]

    def module_of(self, step: Step) -> tuple[str, Module | None]:
        """The path and the module that has computed a step; None for what stands between them."""
        return next(((path, module) for path, module, start, end in self.spans
                     if start < step.serial < end), ("", None))


def record(
    model: Module, loss: Loss, inputs: Array, targets: Array, is_layer: Callable[[object], bool]
) -> Recording:
    """Run the model and the loss on a batch, as in training.

    Parameters
    ----------
    is_layer : callable
        Whether a module, or the loss, is one step; what others compute is written out.
    """
    frozen = [path for path, p in model.parameters().items() if not p.requires_grad]
    if frozen:
        raise Unsaid(f"the frozen parameter {frozen[0]}")
    for p in model.parameters().values():
        brought(values_of(p))                              # no arrays of other libraries
    dtype = next(iter(model.parameters().values())).dtype
    # with gradients, so that all is recorded that is made of them
    x, y = (Tensor(a.astype(dtype), requires_grad=True, name=name) if a.dtype.kind == "f" else
            Tensor(a.astype(np.int64), name=name) for name, a in (("x", inputs), ("y", targets)))
    called: list[Called] = []
    spans: list[tuple[str, Module, int, int]] = []
    moved = moved_by_a_pass(model, model.parameters())
    try:
        with in_mode(model, True), _noted(model, is_layer, called, spans):
            prediction = model(x)
            end = loss(prediction, y)
    finally:
        put_back(moved)
    if type(end) is not Tensor or end.size != 1:
        raise Unsaid(f"a loss that is {end!r:.60}, not a Tensor of one entry")
    if is_layer(loss):
        called.append(Called(loss, "loss", (prediction, y), (end,)))
    return Recording(model, x, y, prediction, end, _steps(end, called), spans)


def _steps(end: Tensor, called: list[Called]) -> list[Step]:
    """What the end was made by, in order."""
    makers = {id(t): call for call in called for t in call.results
              if not any(t is given for given in call.inputs)}
    steps: dict[int, Step] = {}
    waiting = [end]
    while waiting:
        t = waiting.pop()
        step: Step = makers.get(id(t), t)
        if id(step) not in steps and (step is not t or t.op is not None):
            steps[id(step)] = step
            waiting += _tensors(step.inputs)
    return sorted(steps.values(), key=lambda step: step.serial)


@contextmanager
def _noted(
    model: Module, is_layer: Callable[[object], bool], called: list[Called],
    spans: list[tuple[str, Module, int, int]],
) -> Iterator[None]:
    """While it lasts, calls of layers are written down."""
    inside: list[Module] = []

    def noting(path: str, module: Module) -> Callable[..., object]:
        forward = module.forward

        def noted(*inputs: object, **options: object) -> object:
            layer, start = is_layer(module), tick()
            inside.extend([module] * layer)
            try:
                made = forward(*inputs, **options)
            finally:
                if layer:
                    inside.pop()
            if len(module.named_modules()) == 1:
                spans.append((path, module, start, tick()))
            if layer and not inside:
                if options:
                    raise Unsaid(f"{type(module).__name__} called with {', '.join(options)}=")
                called.append(Called(module, path, inputs, tuple(_tensors(made))))
            return made

        return noted

    modules = model.named_modules()
    for path, module in modules.items():
        vars(module)["forward"] = noting(path, module)
    try:
        yield
    finally:
        for module in modules.values():
            del vars(module)["forward"]


def _tensors(x: object) -> list[Tensor]:
    """The Tensors in a result, also those in tuples and lists of it."""
    if isinstance(x, list | tuple):
        return [t for part in x for t in _tensors(part)]
    return [x] if type(x) is Tensor else []
