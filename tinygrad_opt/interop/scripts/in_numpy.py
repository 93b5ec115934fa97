"""The training of a model as a program in NumPy: forward, backward and update, line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tinygrad_opt import nn
from tinygrad_opt.interop.scripts.calls import Recording, Step
from tinygrad_opt.interop.scripts.code import literal
from tinygrad_opt.interop.scripts.derivation import Formulas
from tinygrad_opt.interop.scripts.script_parts import Names, Sections, listed
from tinygrad_opt.interop.scripts.updates import learning_rate, update_of
from tinygrad_opt.nn.module import Module
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.tensor import Tensor

__all__ = ["Program", "is_layer", "numpy_script"]

S = TypeVar("S", bound=Step)

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.RMSNorm)
_STEMS = {"weight": "W", "bias": "b", "weight_ih": "W_ih", "weight_hh": "W_hh", "bias_ih": "b_ih",
          "bias_hh": "b_hh"}
# names that the scripts use themselves, and those of options
_TAKEN = {"x", "y", "t", "p", "g", "lr", "name", "loss", "prediction", "parameters", "gradients",
          "state", "arrays", "norm", "key", "rng", "np", "jnp", "jax", "math", "itertools", "Path",
          "update", "learning_rate", "beta1", "beta2", "eps", "rho", "momentum", "dampening",
          "weight_decay", "psi"}


def is_layer(x: object) -> bool:
    """Nothing is: all operations are written."""
    return False


def parameter_names(model: Module) -> dict[str, str]:
    """Path -> W, b, scale, …, with the number of the layer where there are several."""
    modules, stems = model.named_modules(), {}
    for path in model.parameters():
        owner, _, own = path.rpartition(".")
        norm = isinstance(modules.get(owner), _NORMS)
        stems[path] = ({"weight": "scale", "bias": "shift"} if norm else _STEMS).get(own, own)
    numbers: dict[str, dict[str, int]] = {}
    for path, stem in stems.items():                       # W and b of a layer have one number
        owners = numbers.setdefault({"b": "W"}.get(stem, stem), {})
        owners.setdefault(path.rpartition(".")[0], len(owners) + 1)
    names = {}
    for path, stem in stems.items():
        owners = numbers[{"b": "W"}.get(stem, stem)]
        name = stem + (str(owners[path.rpartition(".")[0]]) if len(owners) > 1 else "")
        names[path] = f"{name}_" if name in _TAKEN else name
    return names


class Program:
    """The lines of a recording, and what stands around them in NumPy and in JAX.

    Parameters
    ----------
    found : Recording
    opt : Optimizer
    formulas : Formulas
    parameter : str
        How a parameter is written, with its name in the place of ``{}``.
    """

    def __init__(
        self, found: Recording, opt: Optimizer, formulas: Formulas, parameter: str = "{}"
    ) -> None:
        self.found, self.opt, self.formulas = found, opt, formulas
        self.library = formulas.library
        self.rate, self.schedule = learning_rate(opt)
        self.rule = update_of(opt, self.library)
        self.paths = {name: path for path, name in parameter_names(found.model).items()}
        tensors = found.model.parameters()
        self.names = formulas.names
        self.names.update({id(tensors[path]): parameter.format(name)
                           for name, path in self.paths.items()})
        self.names.update({id(found.x): "x", id(found.y): "y"})
        self.names.update({id(found.prediction): "prediction", id(found.loss): "loss"})
        self.arrays = {name: tensors[path].data for name, path in self.paths.items()}
        self.random, self.drawn = "", 0                    # how dropout draws, and how often

    def by_module(self, steps: Sequence[S], write: Callable[[S], list[str]]) -> list[str]:
        """The lines of all steps, with the module above those that it computes."""
        lines, before = [], ""
        for step in steps:
            written, (path, module) = write(step), self.found.module_of(step)
            title = f"{path}: {module!r}".removeprefix(": ") if module is not None else ""
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                title += "; running statistics, which evaluation needs, are left out"
            lines += [f"# {title}"] * bool(written and title and title != before) + written
            before = title if written else before
        return lines

    def compute(self, t: Tensor) -> list[str]:
        """The line of an operation."""
        _, module = self.found.module_of(t)
        drawn = []
        if isinstance(module, nn.Dropout) and t.op is not None and t.op.name == "where":
            self.drawn += 1
            kept = self.names[id(t.inputs[0])] = f"kept{self.drawn}"
            shape = ", ".join(map(str, ["len(x)", *t.shape[1:]]))
            text = self.random.format(shape=f"({shape})", share=1 - module.p, number=self.drawn)
            drawn = [f"{kept} = {text}"]
        return [*drawn, f"{self.names[id(t)]} = {self.formulas.forward(t)[0]}"]

    def functions(self) -> str:
        return "\n\n\n".join(filter(None, [
            *self.formulas.functions.values(), self.schedule, self.rule.whole]))

    def imports(self) -> list[str]:
        used = self.functions()
        return [*(f"import {name}" for name in ("itertools", "math") if f"{name}." in used), ""]

    def parameters(self, value: str) -> str:
        """The parameters as a dict, each with the value that is given in code."""
        names = [f'"{name}"' for name in self.paths]
        comma = "," * (len(names) == 1)
        return listed(f"parameters = {{name: {value} for name in (", names, f"{comma})}}")

    def state(self) -> str:
        """What the optimizer keeps of each parameter at first."""
        rows = f"{self.rule.start(self.library)} for name, p in parameters.items()"
        slots = ", ".join(self.rule.slots)
        return f"# {slots} of each parameter\nstate = {{name: {rows}}}" if slots else ""

    def update(self, target: str) -> str:
        """The line of a step, for the parameter p with the gradient g."""
        kept = ", *state[name]" if self.rule.slots else ""
        return f"{target}{kept} = update(p, g{kept}, lr={self.rate}, t=t + 1)"

    def clips(self) -> list[str]:
        """The gradients made smaller, as the options say."""
        lines, opt, library = [], self.opt, self.library
        each = "{{name: {} for name, g in gradients.items()}}"
        if opt.clip_value:
            most = literal(opt.clip_value)
            lines.append("gradients = " + each.format(f"{library}.clip(g, -{most}, {most})"))
        if opt.clip_norm_each:
            text = f"g * min(1.0, {literal(opt.clip_norm_each)} / {library}.linalg.norm(g))"
            lines.append("gradients = " + each.format(text))
        if opt.clip_norm:
            text = f"g * min(1.0, {literal(opt.clip_norm)} / norm)"
            lines += [f"norm = {library}.sqrt(sum({library}.sum(g**2)"
                      " for g in gradients.values()))", "gradients = " + each.format(text)]
        return lines


class _Backward:
    """The backward pass of a program."""

    def __init__(self, program: Program) -> None:
        self.formulas, self.names = program.formulas, program.names
        steps = program.found.operations
        self.wanted = {id(p) for p in program.found.model.parameters().values()}
        for t in steps:
            if any(id(x) in self.wanted for x in t.inputs):
                self.wanted.add(id(t))
        self.there = {"dloss"}                             # gradients that have a value already
        self.lines = ["dloss = 1.0", *program.by_module(steps[::-1], self._of)]

    def _of(self, t: Tensor) -> list[str]:
        """The gradients of the inputs of an operation."""
        gradient = f"d{self.names[id(t)]}"
        if id(t) not in self.wanted or gradient not in self.there:
            return []
        together = self.formulas.backward_together(t, gradient)
        if together is not None:
            return self._unpacked(t, *together)
        return [self._added(f"d{self.names[id(x)]}", self.formulas.backward(t, place, gradient))
                for place, x in enumerate(t.inputs) if id(x) in self.wanted]

    def _unpacked(self, t: Tensor, call: str, shaped: list[str]) -> list[str]:
        """The line of a call that gives several gradients, and what brings them into shape."""
        targets, lines = [], []
        for x, shape in zip([*t.inputs, *[None] * len(shaped)], shaped):
            wanted = x is not None and id(x) in self.wanted
            target = f"d{self.names[id(x)]}" if wanted else "_"
            fresh = f"more_{target}" if target in self.there else target
            targets.append(fresh)
            if wanted and (shape != "{}" or fresh != target):
                lines.append(self._added(target, shape.format(fresh)))
            self.there |= {target} - {"_"}
        return [f"{', '.join(targets)} = {call}", *lines]

    def _added(self, target: str, text: str) -> str:
        if target in self.there:
            return f"{target} = {target} + {text}"
        self.there.add(target)
        return f"{target} = {text}"


def numpy_script(found: Recording, opt: Optimizer) -> Sections:
    """What stands in the script."""
    program = Program(found, opt, Formulas("np", len(found.x)))
    program.random = "rng.random({shape}) < {share}"
    program.formulas.name(found.operations, Names([*program.names.values(), *_TAKEN]))
    forward, backward = program.by_module(found.operations, program.compute), _Backward(program)
    names = [*program.paths]
    comma = "," * (len(names) == 1)
    gradients = [f'"{name}": d{name}' for name in names if f"d{name}" in backward.there]
    gathered = listed("gradients = {", gradients, "}").splitlines()
    drops = any("rng." in line for line in forward)
    loop = ["# forward", *forward, "", "# backward: d… is the gradient of the loss by …",
            *backward.lines, "", *gathered, *program.clips(),
            "for name, g in gradients.items():", "    p = parameters[name]",
            f"    {program.update('p[...]')}"]
    return Sections(
        imports=[*program.imports(), "import numpy as np"],
        functions=program.functions(), model="\n".join([
            "# they are written in place", program.parameters("arrays[name].copy()"),
            listed("", names, f"{comma} = parameters.values()")]),
        data='x, y = arrays["x"], arrays["y"]' + drops * "\nrng = np.random.default_rng(0)",
        optimizer=program.state(), loop=loop, loss="loss", arrays=program.arrays)
