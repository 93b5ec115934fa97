"""The module: one memory, and a function for each program."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_opt.compiler.javascript.loop_text import LoopText
from tinygrad_opt.compiler.javascript.optimizer_text import Update, place_gradients
from tinygrad_opt.compiler.javascript.typed_memory import Function, Memory, Region
from tinygrad_opt.compiler.javascript.vocabulary import (
    HELPERS,
    heads,
    index,
    is_plain,
    number,
    refused,
)
from tinygrad_opt.compiler.native.fusion import Unit, fuse, writes
from tinygrad_opt.compiler.native.loops import scattering
from tinygrad_opt.compiler.native.lowering import Pairs, Scatter
from tinygrad_opt.compiler.native.optimizer_loop import is_step
from tinygrad_opt.compiler.program import Call, Program, Ref, Slot, slots_in
from tinygrad_opt.tensor import Tensor, deliver, forget_gradients, set_gradient

__all__ = ["module"]

_MODULE = """\
// {title}
export function program() {{
{constants}
const M = new {memory}(end), F = Math.fround;
const filled = (at, text) => M.set(new {memory}(Uint8Array.from(
  atob(text), c => c.charCodeAt(0)).buffer), at);
const feed = (data, k, name, at, size) => {{
  const x = data?.[k] ?? data?.[name], flat = Array.isArray(x) ? x.flat(Infinity) : x;
  if (flat?.length !== size) throw new TypeError(
    `${{name}} takes ${{size}} numbers, row by row; got ${{flat?.length ?? typeof x}}`);
  M.set(flat, at);
}};
const must = (truth, what) => {{ if (!truth) throw new RangeError(what); }};
{helpers}const slots = {slots};
const rates = {rates};
let count = 0;
{functions}
function init() {{
  M.fill(0);
  count = 0;
{init}}}
init();
return {{memory: M, slots, rates, init, {exports}, get count() {{ return count; }}}};
}}
export default program();
"""


def module(name: str, programs: Mapping[str, Program]) -> str:
    """An ES module with a function for each program; the first one may have an optimizer.

    Parameters
    ----------
    name : str
        Of the step, for the first line.
    programs : dict of str to Program
        Those that have arrays in common share them.

    Returns
    -------
    str

    Raises
    ------
    CaptureError
        If a program does what has no words in JavaScript; it is named.
    """
    return _Module(programs).text(name)


class _Module(Memory):
    """Writes programs over one memory."""

    def __init__(self, programs: Mapping[str, Program]) -> None:
        super().__init__()
        self.parts: dict[str, Function] = {}
        for name, program in programs.items():
            fused = fuse(program)
            ends = set(map(fused.root, slots_in(program.result)))
            for call in program.calls:
                if call.is_effect:
                    ends |= {fused.root(s) for s in slots_in((call.inputs, call.attrs))}
            self.parts[name] = Function(program, fused, fused.stored(ends) | ends)
        self.wide = any(part.fused.low.dtype(s) == "f8" for part in self.parts.values()
                        for s in self._used_slots(part))
        for name, part in self.parts.items():
            self._write(name, part)

    # ---- the module ----

    def text(self, name: str) -> str:
        """The whole module."""
        memory = "Float64Array" if self.wide else "Float32Array"
        constants, at = [], "0"
        for i, region in enumerate(self.regions):
            constants.append(f"const o{i} = {at};")
            at = f"o{i} + {region.size}"
        constants.append(f"const end = {at};")
        init = "".join(self._filled(i, region) for i, region in enumerate(self.regions)
                       if region.values is not None and np.any(region.values))
        helpers = "".join(f"const {h} = {text};\n" for h, text in HELPERS.items()
                          if h in self.used)
        calls = sum(len(part.program.calls) for part in self.parts.values())
        shown = ",\n  ".join(f"{json.dumps(n)}: {where}" for n, where in self.shown.items())
        return _MODULE.format(
            title=f"{name}: {calls} calls as JavaScript, written by tinygrad_opt",
            memory=memory, helpers=helpers, constants="\n".join(constants),
            slots=f"{{\n  {shown}}}", rates=_object(self.rates),
            functions="\n".join(self.functions), init=init, exports=", ".join(self.parts))

    def _filled(self, i: int, region: Region) -> str:
        first, many = region.values.flat[0], region.size > 1
        if many and np.all(region.values == first):
            return f"  M.fill({number(first)}, o{i}, o{i} + {region.size});\n"
        steps = np.diff(region.values) if many and region.values.dtype.kind == "i" else [0]
        if np.all(steps == steps[0]) and steps[0]:         # places that kernels keep
            return (f"  for (let i = 0; i < {region.size}; i++)"
                    f" M[o{i} + i] = {number(first)} + {number(steps[0])} * i;\n")
        values = region.values.astype("<f8" if self.wide else "<f4")
        return f'  filled(o{i}, "{base64.b64encode(values.tobytes()).decode()}");\n'

    def _used_slots(self, part: Function) -> Iterator[int]:
        program, fused = part.program, part.fused
        for unit in fused.units:
            for node in unit.nodes:
                yield from fused.read_roots(node)
                if writes(node) >= 0:
                    yield fused.root(writes(node))
        yield from map(program.root, slots_in(program.result))

    # ---- a program as a function ----

    def _write(self, name: str, part: Function) -> None:
        program, body = part.program, part.lines
        optimizers = [_owner(call) for call in program.calls if call.is_effect and is_step(call)]
        updates = {id(opt): Update(self, opt) for opt in dict.fromkeys(optimizers)}
        if program.added_to:
            raise refused("adding to gradients from before: call zero_grad() in the step")
        delivered: dict[Tensor, Any] = {}
        place_gradients(self, part, updates.values())
        for k, slot in enumerate(program.arguments):
            body.append(self._fed(part, k, slot))
        for unit in part.fused.units:
            if unit.is_call:
                body.append(self._effect(part, unit.nodes[0], delivered, updates))
            else:
                body.append(self._unit(part, unit))
        for t, array in program.leaves:
            self.show(*self._leaf(t, array))
        for t, g in delivered.items():                     # of what no optimizer has laid out
            if isinstance(g, Ref) and is_plain(part.fused.slots[g.slot]):
                owner = self.names.get(id(t)) or t.name
                self.show(f"{owner}.grad", self.at(part, g.slot), t.shape, "gradient")
        given = "data, given" if updates else "data"
        rates = ["const R = {...rates, ...given};"] if updates else []
        body.append(f"return {self._result(part, program.result)};")
        text = "\n".join(f"  {line}" for line in [*rates, *filter(None, body)])
        self.functions.append(f"function {name}({given}) {{\n{text}\n}}")

    def _leaf(self, t: Tensor, array: np.ndarray) -> tuple[str, str, tuple[int, ...], str]:
        name = self.names.get(id(t)) or t.name or f"leaf {len(self.shown)}"
        return name, self.written(*self.outside(array, name, "leaf")), array.shape, "leaf"

    def _fed(self, part: Function, k: int, slot: int) -> str:
        own = part.program.slots[slot]
        at, size = self.at(part, slot), math.prod(own.shape)
        if is_plain(own):
            self.show(own.name, at, own.shape, "argument")
            return f"feed(data, {k}, {json.dumps(own.name)}, {at}, {size});"
        rows = self.written(self.region(own.name, size))   # another layout: fed, then laid out
        self.show(own.name, rows, own.shape, "argument")
        flat, steps = ([s // own.dtype.itemsize for s in strides] for strides in (
            np.empty(own.shape, own.dtype).strides, own.strides))
        return (f"feed(data, {k}, {json.dumps(own.name)}, {rows}, {size});\n  {heads(own.shape)}"
                f"M[{index(at, steps)}] = M[{index(rows, flat)}];")

    def _effect(self, part: Function, call: Call, delivered: dict[Tensor, Any],
                updates: Mapping[int, Update]) -> str:
        """An effect, or a call that has no words."""
        kernel = call.kernel
        if kernel is forget_gradients:
            for t in call.inputs[0]:
                delivered.pop(t, None)
            return ""
        if kernel in (deliver, set_gradient):
            pairs = call.inputs[0] if kernel is deliver else [call.inputs]
            for t, g in pairs:
                if kernel is deliver and t in delivered:
                    raise refused("a second backward() that adds to the gradients of the first")
                delivered[t] = g
                if g is None:                              # t.grad = None
                    del delivered[t]
            return ""
        if call.is_effect and is_step(call):
            return updates[id(_owner(call))].called(part, delivered)
        if call.is_effect and call.name.startswith("check"):
            return ""                                      # it computes nothing
        random = any(isinstance(v, np.random.Generator | np.random.RandomState)
                     for v in (*call.inputs, *call.attrs.values()))
        if random:
            raise refused(f"{call.name}, which draws random numbers: hand them in as an argument,"
                           " or call model.eval() before the capture")
        what = "effect" if call.is_effect else "call"
        function = getattr(call.kernel, "function", call.kernel)
        code = getattr(function, "__code__", None)
        does = (getattr(function, "__doc__", None) or "").partition("\n")[0]
        where = "" if code is None else (
            f" ({f'{does} ' * bool(does)}{code.co_filename}:{code.co_firstlineno})")
        raise refused(f"the {what} {call.name}{where}")

    def _result(self, part: Function, x: object) -> str:
        if isinstance(x, Ref):
            own = part.program.slots[x.slot]
            at, size = self.at(part, x.slot), math.prod(own.shape)
            if not own.shape:
                return f"M[{at}]"
            if is_plain(own):
                return f"M.slice({at}, {at} + {size})"
            steps = [s // own.dtype.itemsize for s in own.strides]
            return (f"(() => {{ const out = []; {heads(own.shape)}"
                    f"out.push(M[{index(at, steps)}]); return M.constructor.from(out); }})()")
        if isinstance(x, dict):
            return "{" + ", ".join(f"{json.dumps(str(k))}: {self._result(part, v)}"
                                   for k, v in x.items()) + "}"
        if isinstance(x, list | tuple):
            return f"[{', '.join(self._result(part, v) for v in x)}]"
        if x is None or isinstance(x, str | bool):
            return json.dumps(x)
        return number(x)

    # ---- units ----

    def _unit(self, part: Function, unit: Unit) -> str:
        node, fused = unit.nodes[0], part.fused
        if isinstance(node, Pairs):
            return self._product(part, node)
        if isinstance(node, Scatter):
            slots = [node.out, node.places, node.values]
            into, places, values = (fused.slots[s] for s in slots)
            inner = into.strides[1:] if node.adds else ()
            loop = scattering(fused.low.dtype(node.out), values.shape,
                              (0,) * (len(values.shape) - len(inner)) + inner, places.strides,
                              values.strides, node.adds)
        else:
            loop, slots = fused.loop(unit, part.stored)
        named = " ".join(dict.fromkeys(part.program.calls[c].name for c in unit.calls))
        return LoopText(self, loop, [f"M[{self.at(part, s)}" for s in slots], named).text()

    def _product(self, part: Function, node: Pairs) -> str:
        a, b, c = (part.fused.slots[s] for s in (node.a, node.b, node.out))
        (m, n), (_, k), size = c.shape, a.shape, c.dtype.itemsize

        def entry(slot: int, own: Slot, row: str, column: str) -> str:
            steps = [s // size for s in own.strides]
            return f"M[{index(self.at(part, slot), steps, (row, column))}]"

        total = "F(s)" if self.wide and size == 4 else "s"
        return (f"for (let i = 0; i < {m}; i++) for (let j = 0; j < {n}; j++) {{\n"
                f"    let s = 0;\n"
                f"    for (let k = 0; k < {k}; k++) s += {entry(node.a, a, 'i', 'k')}"
                f" * {entry(node.b, b, 'k', 'j')};\n"
                f"    {entry(node.out, c, 'i', 'j')} = {total};\n  }}")



# ---- small things --------------------------------------------------------------------------------


def _owner(call: Call) -> Any:
    """The optimizer whose step it is."""
    kernel: Any = call.kernel
    return kernel.__self__


def _object(options: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{n}: {number(x)}" for n, x in options.items()) + "}"
