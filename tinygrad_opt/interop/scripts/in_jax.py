"""The training of a model as a script for JAX: plain functions, and `jax.value_and_grad`."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_opt import nn
from tinygrad_opt.interop.scripts.calls import Called, Recording, Step
from tinygrad_opt.interop.scripts.derivation import Formulas
from tinygrad_opt.interop.scripts.in_numpy import Program
from tinygrad_opt.interop.scripts.script_parts import Names, Sections
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.tensor import Tensor

__all__ = ["is_layer", "jax_script"]


def is_layer(x: object) -> bool:
    """JAX has convolutions and windows; of all others the operations are written."""
    return isinstance(x, nn.Conv1d | nn.Conv2d | nn.MaxPool2d)          # AvgPool2d is one


def _convolution(m: object, x: str, names: dict[int, str]) -> str:
    assert isinstance(m, nn.Conv1d | nn.Conv2d)            # of what is_layer knows
    pads = [(p, p) for p in m.padding]
    bias = "" if m.bias is None else f" + {names[id(m.bias)]}[:{', None' * len(m.size)}]"
    return (f"jax.lax.conv_general_dilated({x}, {names[id(m.weight)]}, {tuple(m.stride)},"
            f" {pads}){bias}")


def _pooling(m: nn.MaxPool2d, x: str) -> str:
    size, stride, padding = (tuple(np.broadcast_to(v, 2).tolist()) for v in (
        m.size, m.size if m.stride is None else m.stride, m.padding))
    pads = [(0, 0), (0, 0), *((p, p) for p in padding)]
    first, fold = ("0.0", "add") if isinstance(m, nn.AvgPool2d) else ("-jnp.inf", "max")
    text = (f"jax.lax.reduce_window({x}, {first}, jax.lax.{fold}, {(1, 1, *size)},"
            f" {(1, 1, *stride)}, {pads})")
    return f"{text} / {math.prod(size)}" if fold == "add" else text


def jax_script(found: Recording, opt: Optimizer) -> Sections:
    """What stands in the script."""
    formulas = Formulas("jnp", len(found.x))
    program = Program(found, opt, formulas, 'parameters["{}"]')
    program.random = "jax.random.bernoulli(jax.random.fold_in(key, {number}), {share}, {shape})"
    names = Names([*program.names.values(), "t"])
    for step in found.steps:
        if isinstance(step, Called) and id(step.results[0]) not in program.names:
            stem = "pooled" if isinstance(step.layer, nn.MaxPool2d) else "convolved"
            program.names[id(step.results[0])] = names.new(stem)
    formulas.name(found.operations, names)

    def line(step: Step) -> list[str]:
        if isinstance(step, Tensor):
            return program.compute(step)
        x, made = (program.names[id(t)] for t in (step.inputs[0], step.results[0]))
        text = _pooling(step.layer, x) if isinstance(step.layer, nn.MaxPool2d) else (
            _convolution(step.layer, x, program.names))
        return [f"{made} = {text}"]

    forward = program.by_module(found.steps, line)
    drops = any("(key" in text for text in forward)
    key = ", key" * drops
    body = "".join(f"    {text}\n" for text in forward)
    loss = f"def loss_of(parameters, x, y{key}):\n{body}    return loss"
    double = found.loss.dtype == np.float64
    fold = ", jax.random.key(t)" * drops
    return Sections(
        imports=[*program.imports(), "import jax", "import jax.numpy as jnp",
                 "import numpy as np",
                 *['\njax.config.update("jax_enable_x64", True)'] * double],
        functions="\n\n\n".join(filter(None, [program.functions(), loss])),
        model=program.parameters("jnp.array(arrays[name])"),
        data='x, y = jnp.array(arrays["x"]), jnp.array(arrays["y"])',
        optimizer="\n\n".join(filter(None, [
            "loss_and_gradients = jax.jit(jax.value_and_grad(loss_of))",
            program.state()])),
        loop=[f"loss, gradients = loss_and_gradients(parameters, x, y{fold})", *program.clips(),
              "for name, p in parameters.items():", "    g = gradients[name]",
              f"    {program.update('parameters[name]')}"],
        loss="loss", arrays=program.arrays)
