"""The training of a model as a script for PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt import nn, optim
from tinygrad_opt.interop.scripts.calls import Called, Recording, Step
from tinygrad_opt.interop.scripts.code import Unsaid, literal
from tinygrad_opt.interop.scripts.derivation import Formulas
from tinygrad_opt.interop.scripts.script_parts import Names, Sections
from tinygrad_opt.interop.scripts.updates import learning_rate, update_of
from tinygrad_opt.nn.module import Module
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import Array, Size

__all__ = ["is_layer", "torch_script"]


# ---- layers --------------------------------------------------------------------------------------

_RECURRENT = nn.RNN, nn.GRU, nn.LSTM


def _sized(x: Size) -> Size:
    """One number for all axes, if they are the same."""
    values: tuple[int, ...] = tuple(np.ravel(x).tolist())
    return values[0] if len(set(values)) == 1 else values


def _new(m: Module, *given: object, **options: object) -> str:
    """What makes a layer, without the options that PyTorch takes without a word."""
    usual = {"stride": 1, "padding": 0, "bias": True, "affine": True, "elementwise_affine": True}
    said = [f"{name}={value!r}" for name, value in options.items()
            if value is not None and value != usual.get(name)]
    return f"nn.{type(m).__name__}({', '.join([*map(str, given), *said])})"


_LAYERS: dict[type, Callable[[Any], str]] = {
    nn.Linear: lambda m: _new(m, *m.weight.shape, bias=m.bias is not None),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d), lambda m: _new(
        m, m.weight.shape[1], m.weight.shape[0], _sized(m.size), stride=_sized(m.stride),
        padding=_sized(m.padding), bias=m.bias is not None)),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d), lambda m: _new(
        m, _sized(m.size), *([] if m.stride is None else [_sized(m.stride)]),
        padding=_sized(m.padding))),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), lambda m: _new(
        m, len(m.running_mean), eps=m.eps, momentum=m.momentum, affine=m.weight is not None)),
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm), lambda m: _new(
        m, _sized(m.shape) if len(m.shape) == 1 else m.shape, eps=m.eps,
        elementwise_affine=m.weight is not None)),
    **dict.fromkeys(_RECURRENT, lambda m: _new(
        m, m.weight_ih.shape[0], m.weight_hh.shape[0], bias=m.bias_ih is not None,
        batch_first=True)),
    nn.Embedding: lambda m: _new(m, *m.weight.shape),
    nn.Dropout: lambda m: _new(m, m.p),
    nn.Flatten: lambda m: _new(m, *[m.start_axis] * (m.start_axis != 1)),
}
# by the row of the operator table that they compute
_ACTIVATIONS = {
    "tanh": "Tanh", "relu": "ReLU", "sigmoid": "Sigmoid", "softplus": "Softplus", "silu": "SiLU",
    "gelu": "GELU", "gelu_tanh": "GELU", "elu": "ELU", "leaky_relu": "LeakyReLU",
    "softmax": "Softmax", "log_softmax": "LogSoftmax",
}
_LOSSES = {nn.cross_entropy, nn.mse_loss, nn.l1_loss, nn.huber_loss, nn.binary_cross_entropy,
           nn.binary_cross_entropy_with_logits, nn.nll_loss, nn.kl_div}


def is_layer(x: object) -> bool:
    """Whether PyTorch has this layer, or this loss."""
    return type(x) in _LAYERS or getattr(x, "func", x) in _LOSSES


# ---- the model -----------------------------------------------------------------------------------


class _Model:
    """Writes the model: as a `nn.Sequential` if one thing follows another, else as a class."""

    def __init__(self, found: Recording) -> None:
        self.found = found
        self.formulas = Formulas("torch", len(found.x))
        self.names = self.formulas.names
        self.names.update({id(found.x): "x", id(found.y): "y", id(found.prediction): "prediction"})
        self.state: dict[str, Array] = {}
        self.kept: dict[int, str] = {}                     # parameter -> the layer that has it
        end = next((i for i, step in enumerate(found.steps) if any(
            made is found.prediction for made in getattr(step, "results", (step,)))), -1)
        body, tail = found.steps[:end + 1], found.steps[end + 1:]
        if type(found.prediction) is not Tensor:
            kind = type(found.prediction).__name__
            raise Unsaid(f"a model that gives a {kind}: forward must return one Tensor")
        self.text = self._chain(body) or self._class(body)
        self._own_parameters(tail, None)
        taken = Names(self.names.values())
        self.loss: list[str] = []
        for step in tail:
            if isinstance(step, Called):
                self.loss.append(f"loss = {self._loss(step)}")
            else:
                self.loss += self._lines(step, taken, "loss" if step is found.loss else "")

    def _chain(self, steps: list[Step]) -> str:
        """The layers, if each takes what the one before gave."""
        texts, now = [], self.found.x
        for i, step in enumerate(steps):
            if step.inputs[0] is not now:
                break
            if isinstance(step, Called) and len(step.results) == len(step.inputs) == 1:
                texts.append(self._made(step, str(i)))
                now = step.results[0]
            elif isinstance(step, Tensor) and step.op and step.op.name in _ACTIVATIONS:
                given = ['"tanh"'] if step.op.name == "gelu_tanh" else map(
                    repr, step.attrs.values())
                texts.append(f"nn.{_ACTIVATIONS[step.op.name]}({', '.join(given)})")
                now = step
            else:
                break
        else:
            rows = "".join(f"    {text},\n" for text in texts)
            return f"model = nn.Sequential(\n{rows})"
        self.state.clear()
        self.kept.clear()
        return ""

    def _class(self, steps: list[Step]) -> str:
        layers: dict[str, str] = {}
        called: dict[int, str] = {}
        for step in steps:
            if isinstance(step, Called) and id(step.layer) not in called:
                name = _attribute(step.path or type(step.layer).__name__.lower())
                called[id(step.layer)] = name
                layers[name] = self._made(step, name)
        self._own_parameters(steps, layers)
        taken, lines = Names(self.names.values()), []
        for step in steps:
            if isinstance(step, Called):
                given = ", ".join(self.formulas.whole(self.formulas.word(i)) for i in step.inputs)
                lines.append(f"{self._results(step, taken)} ="
                             f" self.{called[id(step.layer)]}({given})")
            else:
                lines += self._lines(step, taken)
        made = "".join(f"        self.{name} = {text}\n" for name, text in layers.items())
        run = "".join(f"        {line}\n" for line in lines)
        end = self.names[id(self.found.prediction)]
        return (f"class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                f"{made}"
                f"\n    def forward(self, x):\n{run}        return {end}\n\n\nmodel = Net()")

    def _own_parameters(self, steps: list[Step], layers: dict[str, str] | None) -> None:
        """Parameters that stand in no layer become attributes of the class, if there is one."""
        paths = {id(p): path for path, p in self.found.model.parameters().items()}
        for x in (x for step in steps if isinstance(step, Tensor) for x in step.inputs):
            if id(x) in paths and id(x) not in self.names:
                path = paths[id(x)]
                if id(x) in self.kept:
                    raise Unsaid(f"tied weights: {path} is used outside its layer too")
                if layers is None:
                    raise Unsaid(f"a loss of the parameter {path}")
                name = _attribute(path)
                layers[name] = f"nn.Parameter(torch.zeros({x.shape}))"
                self.state[name], self.names[id(x)] = x.data, f"self.{name}"

    def _results(self, step: Called, taken: Names) -> str:
        """The names of what a layer gives."""
        if not isinstance(step.layer, _RECURRENT):
            [result] = step.results
            return self.names.setdefault(id(result), taken.new("z"))
        if len(step.inputs) > 1:
            raise Unsaid(f"{type(step.layer).__name__} from a given state")
        outputs, *state = step.results
        kept = [taken.new("state") for _ in state]
        self.names[id(outputs)] = taken.new("outputs")
        self.names.update((id(t), f"{name}[0]") for t, name in zip(state, kept))
        inner = f"({', '.join(kept)})" if len(kept) > 1 else kept[0]     # [0]: an axis of layers
        return f"{self.names[id(outputs)]}, {inner}"

    def _lines(self, t: Tensor, taken: Names, target: str = "") -> list[str]:
        """The line of an operation; none, if the one line that needs it can hold it."""
        assert t.op is not None
        text, binds = self.formulas.forward(t)
        users = sum(i is t for step in self.found.steps for i in step.inputs)
        target = target or self.names.get(id(t), "")
        if not target and users == 1 and len(text) < 50:
            self.names[id(t)] = f"({t.serial})"            # which is no name, so none has it
            self.formulas.inlined[self.names[id(t)]] = text, binds
            return []
        stem = "h" if t.op.name in _ACTIVATIONS else "z"
        self.names[id(t)] = target = target or taken.new(stem)
        return [f"{target} = {text}"]

    def _loss(self, step: Called) -> str:
        function = getattr(step.layer, "func", step.layer)
        given = [self.formulas.whole(self.formulas.word(i)) for i in step.inputs]
        if isinstance(step.layer, functools.partial):
            if step.layer.args:
                raise Unsaid(f"a loss with {len(step.layer.args)} arguments before the prediction")
            for name, value in step.layer.keywords.items():
                value = values_of(value)
                row = f"torch.tensor({np.asarray(value).tolist()}, dtype=prediction.dtype)"
                given += [f"{name}={row if np.ndim(value) else literal(value)}"] * (
                    value is not None)
        if function is nn.kl_div and not any(g.startswith("reduction") for g in given):
            given.append('reduction="batchmean"')
        return f"F.{function.__name__}({', '.join(given)})"

    def _made(self, step: Called, name: str) -> str:
        """What makes a layer, whose parameters are kept under its name."""
        layer = step.layer
        assert isinstance(layer, Module)                   # the loss is written by itself
        suffix = "_l0" if isinstance(layer, _RECURRENT) else ""
        for own, p in layer.parameters().items():
            if self.kept.setdefault(id(p), name) != name:
                raise Unsaid(f"tied weights: {name}.{own} is that of {self.kept[id(p)]}")
        for own, array in nn.to_torch(layer).items():
            self.state[f"{name}.{own}{suffix}"] = array
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            self.state[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
        return _LAYERS[type(layer)](layer)


def _attribute(path: str) -> str:
    name = path.replace(".", "_")
    return f"layer_{name}" if name[0].isdigit() else name


# ---- the script ----------------------------------------------------------------------------------


def torch_script(found: Recording, opt: Optimizer) -> Sections:
    """What stands in the script."""
    model = _Model(found)
    text = model.text
    if next(iter(found.model.parameters().values())).dtype == np.float64:
        text += "\nmodel.double()"
    text += ("\nmodel.load_state_dict({name: torch.from_numpy(arrays[name])"
             " for name in model.state_dict()})")
    rate, schedule = learning_rate(opt)
    rule, make, step = (_own_step if _is_own(opt, "t" in rate) else _their_step)(opt, rate)
    functions = "\n\n\n".join(filter(None, [*model.formulas.functions.values(), schedule, rule]))
    functional = any("F." in part for part in (functions, text, *model.loss))
    return Sections(
        imports=[*["import math"] * ("math." in functions), "", "import numpy as np",
                 "import torch", "from torch import nn",
                 *["from torch.nn import functional as F"] * functional],
        functions=functions, model=text,
        data='x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])',
        optimizer=make, loop=["prediction = model(x)", *model.loss, *step], loss="loss.item()",
        arrays=model.state)


# The optimizers that PyTorch has: how they are called there, and the options that they have too
_OPTIMIZERS: dict[type[Optimizer], str] = {
    optim.SGD: "SGD momentum dampening nesterov", optim.Momentum: "SGD momentum",
    optim.Nesterov: "SGD momentum", optim.RMSprop: "RMSprop alpha=rho eps momentum centered",
    optim.AdaGrad: "Adagrad eps initial_accumulator_value=initial_accumulator",
    optim.AdaDelta: "Adadelta rho eps",
    optim.Adam: "Adam betas=beta1+beta2 eps amsgrad",
    optim.AdamW: "AdamW betas=beta1+beta2 eps amsgrad",
    optim.Adamax: "Adamax betas=beta1+beta2 eps",
    optim.Nadam: "NAdam betas=beta1+beta2 eps momentum_decay=psi",
}


def _is_own(opt: Optimizer, moves: bool) -> bool:
    """Whether PyTorch has no optimizer with the same rule.

    Velocities hold gradients there, which is another rule where the rate moves.
    """
    velocity = getattr(opt, "velocity", "steps")
    return (type(opt) not in _OPTIMIZERS or velocity == "mean" or getattr(opt, "mean", False)
            or not getattr(opt, "bias_correction", True)
            or (isinstance(opt, optim.Momentum) and not opt.momentum)
            or (moves and velocity == "steps" and bool(getattr(opt, "momentum", 0))))


def _their_step(opt: Optimizer, rate: str) -> tuple[str, str, list[str]]:
    """An optimizer of PyTorch: no function, what makes it, and a step."""
    kind, *words = f"{_OPTIMIZERS[type(opt)]} weight_decay maximize".split()
    usual = optim.SGD() if kind == "SGD" else type(opt)()
    given = {"lr": rate.replace("(t)", "(0)").partition(" / (1 + ")[0]}
    for word in words:
        their, _, own = word.partition("=")
        now, before = (tuple(getattr(x, name) for name in (own or their).split("+"))
                       for x in (opt, usual))
        if now != before:
            given[their] = literal(now if len(now) > 1 else now[0])
    if isinstance(opt, optim.Nesterov):
        given["nesterov"] = "True"
    options = ", ".join(f"{name}={value}" for name, value in given.items())
    lines = ["optimizer.zero_grad()", "loss.backward()", *_clips(opt)]
    if "t" in rate:
        lines.append(f'optimizer.param_groups[0]["lr"] = {rate}')
    return "", f"optimizer = torch.optim.{kind}(model.parameters(), {options})", [
        *lines, "optimizer.step()"]


def _own_step(opt: Optimizer, rate: str) -> tuple[str, str, list[str]]:
    """A rule that PyTorch has not: its function, what it starts from, and a step."""
    update = update_of(opt, "torch")
    make = "parameters = list(model.parameters())"
    kept = ""
    if update.slots:
        make += (f"\nstate = [{update.start('torch')} for p in parameters]"
                 f"    # {', '.join(update.slots)} of each")
        kept = ", *state[i]"
    lines = ["model.zero_grad()", "loss.backward()", *_clips(opt), "with torch.no_grad():",
             "    for i, p in enumerate(parameters):",
             f"        new{kept} = update(p, p.grad{kept}, lr={rate}, t=t + 1)",
             "        p.copy_(new)"]
    return update.whole, make, lines


def _clips(opt: Optimizer) -> list[str]:
    lines = []
    if opt.clip_value:
        lines.append(f"nn.utils.clip_grad_value_(model.parameters(), {opt.clip_value!r})")
    if opt.clip_norm_each:
        lines += ["for p in model.parameters():",
                  f"    nn.utils.clip_grad_norm_(p, {opt.clip_norm_each!r})"]
    if opt.clip_norm:
        lines.append(f"nn.utils.clip_grad_norm_(model.parameters(), {opt.clip_norm!r})")
    return lines
