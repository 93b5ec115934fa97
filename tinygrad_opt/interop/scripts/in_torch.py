"""The training of a model as a script for PyTorch."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt import nn, optim
from tinygrad_opt.interop.scripts.calls import Called, Recording, Step
from tinygrad_opt.interop.scripts.code import BOUNDS, INFIX, Unsaid, indexed, literal, turns
from tinygrad_opt.interop.scripts.script_parts import Names, Sections
from tinygrad_opt.interop.scripts.updates import learning_rate, update_of
from tinygrad_opt.nn.module import Module
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import Array, Loss, Shape, Size

__all__ = ["is_layer", "torch_script"]


# ---- layers --------------------------------------------------------------------------------------

_RECURRENT = nn.RNN, nn.GRU, nn.LSTM


def _sized(x: Size) -> Size:
    """One number for all axes, if they are the same."""
    values: tuple[int, ...] = tuple(np.ravel(x).tolist())
    return values[0] if len(set(values)) == 1 else values


def _bias(bias: Tensor | None) -> str:
    return "" if bias is not None else ", bias=False"


def _conv(m: nn.Conv1d | nn.Conv2d) -> str:
    out, channels = m.weight.shape[:2]
    options = "".join(f", {name}={_sized(getattr(m, name))}" for name, usual in
                      (("stride", 1), ("padding", 0)) if _sized(getattr(m, name)) != usual)
    return f"nn.{type(m).__name__}({channels}, {out}, {_sized(m.size)}{options}{_bias(m.bias)})"


def _recurrent(m: nn.RNN | nn.GRU | nn.LSTM) -> str:
    n, h = m.weight_ih.shape[0], m.weight_hh.shape[0]
    return f"nn.{type(m).__name__}({n}, {h}{_bias(m.bias_ih)}, batch_first=True)"


def _pool(m: nn.MaxPool2d | nn.AvgPool2d) -> str:
    stride = "" if m.stride is None else f", stride={_sized(m.stride)}"
    padding = f", padding={_sized(m.padding)}" if np.any(m.padding) else ""
    return f"nn.{type(m).__name__}({_sized(m.size)}{stride}{padding})"


def _norm(m: nn.LayerNorm | nn.RMSNorm) -> str:
    shape = m.shape[0] if len(m.shape) == 1 else m.shape
    eps = "" if m.eps is None else f", eps={m.eps!r}"
    affine = "" if m.weight is not None else ", elementwise_affine=False"
    return f"nn.{type(m).__name__}({shape}{eps}{affine})"


def _batch_norm(m: nn.BatchNorm1d | nn.BatchNorm2d) -> str:
    affine = "" if m.weight is not None else ", affine=False"
    return (f"nn.{type(m).__name__}({len(m.running_mean)}, eps={m.eps!r}, momentum={m.momentum!r}"
            f"{affine})")


_LAYERS: dict[type, Callable[[Any], str]] = {
    nn.Linear: lambda m: f"nn.Linear({', '.join(map(str, m.weight.shape))}{_bias(m.bias)})",
    nn.Conv1d: _conv, nn.Conv2d: _conv,
    nn.MaxPool2d: _pool, nn.AvgPool2d: _pool,
    nn.BatchNorm1d: _batch_norm, nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _norm, nn.RMSNorm: _norm,
    nn.Embedding: lambda m: f"nn.Embedding({', '.join(map(str, m.weight.shape))})",
    nn.Dropout: lambda m: f"nn.Dropout({m.p})",
    nn.Flatten: lambda m: "nn.Flatten()" if m.start_axis == 1 else f"nn.Flatten({m.start_axis})",
    **dict.fromkeys(_RECURRENT, _recurrent),
}
# by the row of the operator table that they compute
_ACTIVATIONS: dict[str, Callable[..., str]] = {
    "tanh": lambda: "nn.Tanh()", "relu": lambda: "nn.ReLU()", "sigmoid": lambda: "nn.Sigmoid()",
    "softplus": lambda: "nn.Softplus()", "silu": lambda: "nn.SiLU()", "gelu": lambda: "nn.GELU()",
    "gelu_tanh": lambda: 'nn.GELU("tanh")', "elu": lambda alpha=1.0: f"nn.ELU({alpha})",
    "leaky_relu": lambda slope=0.01: f"nn.LeakyReLU({slope})",
    "softmax": lambda axis=-1: f"nn.Softmax({axis})",
    "log_softmax": lambda axis=-1: f"nn.LogSoftmax({axis})",
}
_LOSSES = {nn.cross_entropy, nn.mse_loss, nn.l1_loss, nn.huber_loss, nn.binary_cross_entropy,
           nn.binary_cross_entropy_with_logits, nn.nll_loss, nn.kl_div}


def is_layer(x: object) -> bool:
    """Whether PyTorch has this layer, or this loss."""
    return type(x) in _LAYERS or getattr(x, "func", x) in _LOSSES


# ---- operations ----------------------------------------------------------------------------------

_NAMED = {name: f"torch.{name}" for name in (
    "tanh relu sigmoid exp expm1 log log1p log2 log10 logaddexp sqrt square sin cos tan sinh cosh"
    " sign floor ceil trunc maximum minimum where erf hypot arctan arctan2").split()} | {
    "absolute": "torch.abs", "softplus": "F.softplus", "silu": "F.silu", "gelu": "F.gelu"}
_REDUCED = {"sum": "sum", "mean": "mean", "max": "amax", "min": "amin", "softmax": "softmax",
            "log_softmax": "log_softmax", "logsumexp": "logsumexp", "prod": "prod", "norm": "norm",
            "cumsum": "cumsum"}


def _operation(t: Tensor, words: list[str], batch: int) -> str:
    """The code of an operation of the table."""
    assert t.op is not None
    name, attrs = t.op.name, {k: v for k, v in t.attrs.items() if v is not None and v is not False}
    first = _fenced(words[0])
    if name in INFIX and not attrs:
        return f" {INFIX[name][0]} ".join(map(_fenced, words))
    if name == "linear":
        return f"{first} @ {words[1]} + {words[2]}"
    if name in ("negative", "positive"):
        return f"-{first}" if name == "negative" else first
    if name in BOUNDS and any(map(_is_number, words)):
        x, bound = words if _is_number(words[1]) else words[::-1]
        return f"torch.clamp({x}, {BOUNDS[name]}={bound})"
    if name == "einsum":
        return f"torch.einsum({attrs['subscripts']!r}, {', '.join(words)})"
    if name == "clip":
        return f"torch.clamp({', '.join(words)})"
    if name in _NAMED and not attrs:
        return f"{_NAMED[name]}({', '.join(words)})"
    if name in ("elu", "leaky_relu", "gelu_tanh"):
        option = {"elu": "alpha", "leaky_relu": "negative_slope"}.get(name, "")
        given = [f", {option}={literal(v)}" for v in attrs.values()]
        return (f'F.gelu({words[0]}, approximate="tanh")' if name == "gelu_tanh"
                else f"F.{name}({words[0]}{''.join(given)})")
    if name in _REDUCED and attrs.keys() <= {"axis", "keepdims"}:
        options = [f"dim={attrs['axis']}"] if "axis" in attrs else []
        options += ["keepdim=True"] if "keepdims" in attrs else []
        return f"{first}.{_REDUCED[name]}({', '.join(options)})"
    if name == "getitem":
        return f"{first}[{indexed(t.inputs[1])}]"
    if name == "reshape":
        return f"{first}.reshape({_shape(t.shape, batch)})"
    if turns(name, t.ndim, [attrs["axes"]] if "axes" in attrs else [*attrs.values()]):
        return f"{first}.T"
    if name == "swapaxes":
        return f"{first}.swapaxes({', '.join(map(str, attrs.values()))})"
    if name == "transpose":
        return f"{first}.permute({', '.join(map(str, attrs['axes']))})"
    if name in ("concatenate", "stack"):
        word = "cat" if name == "concatenate" else "stack"
        return f"torch.{word}([{', '.join(words)}], dim={attrs.get('axis', 0)})"
    raise Unsaid(f"the operation {name}")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[\d.]+(e-?\d+)?", text) is not None


def _fenced(text: str) -> str:
    """In parentheses, if it is a sum or a product."""
    depth = 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if (c == " " or text[0] == "-") and not depth:
            return f"({text})"
    return text


def _shape(shape: Shape, batch: int) -> str:
    """The shape with one axis left open where the batch is."""
    return ", ".join("-1" if i == 0 and n == batch else str(n) for i, n in enumerate(shape))


# ---- the script ----------------------------------------------------------------------------------


class _Torch:
    """Writes the model: as a `nn.Sequential` if one thing follows another, else as a class."""

    def __init__(self, found: Recording) -> None:
        self.found = found
        self.state: dict[str, Array] = {}
        self.layers: dict[str, str] = {}                   # name -> what makes it
        self.kept: dict[int, str] = {}                     # parameter -> the layer that has it
        self.lines: list[str] = []                         # of forward
        self.loss: list[str] = []
        self.names: dict[int, str] = {id(found.x): "x", id(found.y): "y",
                                      id(found.prediction): "prediction"}

    def model(self) -> str:
        if type(self.found.prediction) is not Tensor:
            kind = type(self.found.prediction).__name__
            raise Unsaid(f"a model that gives a {kind}: forward must return one Tensor")
        body, tail = self._parts()
        chain = self._chain(body)
        if chain is not None:
            self._write_loss(tail)
            rows = "".join(f"    {text},\n" for text in chain)
            return f"model = nn.Sequential(\n{rows})"
        return self._class(body, tail)

    def _parts(self) -> tuple[list[Step], list[Step]]:
        """The steps of the model and those of the loss."""
        end = next((i for i, s in enumerate(self.found.steps)
                    if _makes(s, self.found.prediction)), -1)
        return self.found.steps[:end + 1], self.found.steps[end + 1:]

    def _chain(self, steps: list[Step]) -> list[str] | None:
        """The layers, if each takes what the one before gave."""
        texts, now = [], self.found.x
        for i, step in enumerate(steps):
            if isinstance(step, Called):
                if len(step.results) != 1 or step.inputs[0] is not now or len(step.inputs) > 1:
                    break
                texts.append(self._made(step.layer, str(i)))
                now = step.results[0]
            elif step.op and step.op.name in _ACTIVATIONS and step.inputs[0] is now:
                texts.append(_ACTIVATIONS[step.op.name](**step.attrs))
                now = step
            else:
                break
        else:
            return texts
        self.state, self.kept = {}, {}
        return None

    def _class(self, steps: list[Step], tail: list[Step]) -> str:
        called: dict[int, str] = {}
        for step in steps:
            if isinstance(step, Called) and id(step.layer) not in called:
                name = self._attribute(step.path or type(step.layer).__name__.lower())
                called[id(step.layer)] = name
                self.layers[name] = self._made(step.layer, name)
        names = Names({*self.names.values()})
        for step in steps:
            if isinstance(step, Called):
                self._call(step, called[id(step.layer)], names)
            else:
                self._compute(step, self._target(step, names), self.lines)
        end = self.names[id(self.found.prediction)]
        self._write_loss(tail)
        made = "".join(f"        self.{name} = {text}\n" for name, text in self.layers.items())
        run = "".join(f"        {line}\n" for line in self.lines)
        return (f"class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                f"{made}"
                f"\n    def forward(self, x):\n{run}        return {end}\n\n\nmodel = Net()")

    def _target(self, t: Tensor, names: Names) -> str:
        return "prediction" if t is self.found.prediction else names.new(
            "h" if t.op is not None and t.op.name in _ACTIVATIONS else "z")

    def _call(self, step: Called, layer: str, names: Names) -> None:
        given = ", ".join(self._operand(i) for i in step.inputs)
        if isinstance(step.layer, _RECURRENT):
            if len(step.inputs) > 1:
                raise Unsaid(f"{type(step.layer).__name__} from a given state")
            outputs, *state = step.results
            kept = [names.new("state") for _ in state]
            target = names.new("outputs")
            self.names[id(outputs)] = target
            for t, name in zip(state, kept):
                self.names[id(t)] = f"{name}[0]"           # PyTorch has an axis of layers
            inner = f"({', '.join(kept)})" if len(kept) > 1 else kept[0]
            self.lines.append(f"{target}, {inner} = self.{layer}({given})")
            return
        [result] = step.results
        self.names[id(result)] = target = self._target(result, names)
        self.lines.append(f"{target} = self.{layer}({given})")

    def _write_loss(self, steps: list[Step]) -> None:
        names = Names({*self.names.values()})
        for step in steps:
            if isinstance(step, Called):
                self.loss.append(f"loss = {self._loss(step)}")
            else:
                target = "loss" if step is self.found.loss else names.new("e")
                self._compute(step, target, self.loss)

    def _compute(self, t: Tensor, target: str, lines: list[str]) -> None:
        """A line, unless the one line that needs it can hold it."""
        text = self._operation(t)
        users = [i for step in self.found.steps for i in step.inputs
                 for i in (i if isinstance(i, list | tuple) else (i,)) if i is t]
        if len(users) == 1 and target not in ("prediction", "loss") and len(text) < 60:
            self.names[id(t)] = text
        else:
            self.names[id(t)] = target
            lines.append(f"{target} = {text}")

    def _loss(self, step: Called) -> str:
        function = getattr(step.layer, "func", step.layer)
        given = [self._operand(i) for i in step.inputs]
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

    def _operation(self, t: Tensor) -> str:
        words = [self._operand(i) for i in t.inputs]
        return _operation(t, words, len(self.found.x))

    def _operand(self, x: object) -> str:
        if id(x) in self.names:
            return self.names[id(x)]
        if type(x) is Tensor:
            paths = {id(p): path for path, p in self.found.model.parameters().items()}
            if id(x) in paths:
                if id(x) in self.kept:
                    raise Unsaid(f"tied weights: {paths[id(x)]} is used outside its layer too")
                name = self._attribute(paths[id(x)])
                self.layers.setdefault(name, f"nn.Parameter(torch.zeros({tuple(x.shape)}))")
                self.state[name] = x.data
                return f"self.{name}"
        if isinstance(x, tuple | slice):
            return ""                                      # an index
        array = np.asarray(values_of(x))
        if array.size == 1:
            return literal(array.item())
        raise Unsaid(f"a constant of shape {array.shape}, which was computed by NumPy alone")

    def _made(self, layer: Module | Loss, name: str) -> str:
        """What makes a layer, whose parameters are kept under its name."""
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

    @staticmethod
    def _attribute(path: str) -> str:
        name = path.replace(".", "_")
        return f"layer_{name}" if name[0].isdigit() else name


def _makes(step: Step, t: Tensor) -> bool:
    """Whether a step gives this Tensor."""
    return any(made is t for made in getattr(step, "results", (step,)))


def torch_script(found: Recording, opt: Optimizer) -> Sections:
    """What stands in the script."""
    made = _Torch(found)
    model = made.model()
    if next(iter(found.model.parameters().values())).dtype == np.float64:
        model += "\nmodel.double()"
    model += ("\nmodel.load_state_dict({name: torch.from_numpy(arrays[name])"
              " for name in model.state_dict()})")
    rate, functions = learning_rate(opt)
    theirs = _theirs(opt, "t" in rate)
    if theirs is not None:
        make, step = _their_step(opt, *theirs, rate)
    else:
        rule, make, step = _own_step(opt, rate)
        functions = "\n\n\n".join(filter(None, [functions, rule]))
    functional = any("F." in text for text in (model, *made.loss))
    return Sections(
        imports=[*["import math"] * ("math." in functions), "", "import numpy as np",
                 "import torch", "from torch import nn",
                 *["from torch.nn import functional as F"] * functional],
        functions=functions, model=model,
        data='x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])',
        optimizer=make, loop=["prediction = model(x)", *made.loss, *step], loss="loss.item()",
        arrays=made.state)


def _their_step(
    opt: Optimizer, kind: str, options: dict[str, str], rate: str
) -> tuple[str, list[str]]:
    """An optimizer of PyTorch: what makes it, and a step."""
    given = {"lr": rate.replace("(t)", "(0)").partition(" / (1 + ")[0]} | options
    if opt.weight_decay != type(opt)().weight_decay:       # AdamW has one without a word
        given["weight_decay"] = literal(opt.weight_decay)
    if opt.maximize:
        given["maximize"] = "True"
    words = ", ".join(f"{name}={value}" for name, value in given.items())
    lines = ["optimizer.zero_grad()", "loss.backward()", *_clips(opt)]
    if "t" in rate:
        lines.append(f'optimizer.param_groups[0]["lr"] = {rate}')
    return f"optimizer = torch.optim.{kind}(model.parameters(), {words})", [
        *lines, "optimizer.step()"]


def _own_step(opt: Optimizer, rate: str) -> tuple[str, str, list[str]]:
    """A rule that PyTorch has not: its function, what it starts from, and a step."""
    update = update_of(opt, "torch")
    make = "parameters = list(model.parameters())"
    lr = f"lr={rate}, t=t + 1"
    if update.slots:
        zeros = "".join("torch.zeros_like(p), " if not start else
                        f"torch.full_like(p, {start!r}), " for start in update.slots.values())
        make += f"\nstate = [({zeros.rstrip() if len(update.slots) == 1 else zeros[:-2]})"
        make += f" for p in parameters]    # {', '.join(update.slots)} of each"
        step = f"new, *state[i] = update(p, p.grad, *state[i], {lr})"
    else:
        step = f"new = update(p, p.grad, {lr})"
    lines = ["model.zero_grad()", "loss.backward()", *_clips(opt), "with torch.no_grad():",
             "    for i, p in enumerate(parameters):", f"        {step}", "        p.copy_(new)"]
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


def _theirs(opt: Optimizer, moves: bool) -> tuple[str, dict[str, str]] | None:
    """The optimizer of PyTorch with the same rule, and its options; None if there is none.

    Velocities hold gradients there, which is another rule where the rate moves.
    """
    usual = type(opt)()

    def options(**names: str) -> dict[str, str]:
        """Those that are not what both libraries take without a word."""
        return {name: literal(getattr(opt, own)) for name, own in names.items()
                if getattr(opt, own) != getattr(usual, own)}

    def betas(opt: optim.Adam | optim.Adamax | optim.Nadam) -> dict[str, str]:
        moved = options(beta1="beta1", beta2="beta2")
        return {"betas": f"({opt.beta1!r}, {opt.beta2!r})"} if moved else {}

    match opt:
        case optim.Momentum():                             # Nesterov is one
            if opt.velocity == "mean" or (opt.velocity == "steps" and moves) or not opt.momentum:
                return None
            ahead = {"nesterov": "True"} if isinstance(opt, optim.Nesterov) else {}
            return "SGD", {"momentum": literal(opt.momentum)} | ahead
        case optim.SGD() if not (opt.momentum and moves):
            given = options(momentum="momentum", dampening="dampening")
            return "SGD", given | ({"nesterov": "True"} if opt.nesterov else {})
        case optim.AdaGrad() if not opt.mean:
            return "Adagrad", options(eps="eps", initial_accumulator_value="initial_accumulator")
        case optim.RMSprop() if not (opt.momentum and moves):
            given = options(alpha="rho", eps="eps", momentum="momentum")
            return "RMSprop", given | ({"centered": "True"} if opt.centered else {})
        case optim.AdaDelta():
            return "Adadelta", options(rho="rho", eps="eps")
        case optim.Adam() if opt.bias_correction:          # AdamW is one
            return type(opt).__name__, betas(opt) | options(eps="eps") | (
                {"amsgrad": "True"} if opt.amsgrad else {})
        case optim.Adamax():
            return "Adamax", betas(opt) | options(eps="eps")
        case optim.Nadam():
            return "NAdam", betas(opt) | options(eps="eps", momentum_decay="psi")
    return None
