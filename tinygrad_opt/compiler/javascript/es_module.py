"""The module: one memory, and a function for each program."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import SupportsFloat

import numpy as np

from tinygrad_opt.compiler.javascript.loop_text import LoopText
from tinygrad_opt.compiler.javascript.optimizer_text import Update, place_gradients
from tinygrad_opt.compiler.javascript.typed_memory import Function, Memory
from tinygrad_opt.compiler.javascript.vocabulary import heads, helpers, index, number, refused
from tinygrad_opt.compiler.native.fusion import Unit, fuse
from tinygrad_opt.compiler.native.lowering import Pairs, reads, writes
from tinygrad_opt.compiler.planned_updates import optimizer_of
from tinygrad_opt.compiler.program import (
    SETTING,
    Call,
    Program,
    Ref,
    gradients_set,
    row_major,
    slots_in,
)
from tinygrad_opt.tensor import Tensor, deliver
from tinygrad_opt.typing import Array, Shape

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
            used = {s for unit in fused.units for n in unit.nodes for s in (*reads(n), writes(n))}
            self.wide = self.wide or any(fused.slots[s].dtype == np.float64
                                         for s in used.union(slots_in(program.result)) - {-1})
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
        init = "".join(self._filled(i, region.values) for i, region in enumerate(self.regions)
                       if region.values is not None and np.any(region.values))
        functions = "\n".join(self.functions)
        calls = sum(len(part.program.calls) for part in self.parts.values())
        shown = ",\n  ".join(f"{json.dumps(n)}: {where}" for n, where in self.shown.items())
        return _MODULE.format(
            title=f"{name}: {calls} calls as JavaScript, written by tinygrad_opt",
            memory=memory, helpers=helpers(functions), constants="\n".join(constants),
            slots=f"{{\n  {shown}}}", rates=_object(self.rates),
            functions=functions, init=init, exports=", ".join(self.parts))

    def _filled(self, i: int, values: Array) -> str:
        first, size = values.flat[0], values.size
        if size > 1 and np.all(values == first):
            return f"  M.fill({number(first)}, o{i}, o{i} + {size});\n"
        steps = np.diff(values) if size > 1 and values.dtype.kind == "i" else np.zeros(1)
        if np.all(steps == steps[0]) and steps[0]:         # places that kernels keep
            return (f"  for (let i = 0; i < {size}; i++)"
                    f" M[o{i} + i] = {number(first)} + {number(steps[0])} * i;\n")
        content = values.astype("<f8" if self.wide else "<f4").tobytes()
        return f'  filled(o{i}, "{base64.b64encode(content).decode()}");\n'

    # ---- a program as a function ----

    def _write(self, name: str, part: Function) -> None:
        program, body = part.program, part.lines
        optimizers = {id(opt): opt for opt in map(optimizer_of, program.calls) if opt is not None}
        updates = {key: Update(self, opt) for key, opt in optimizers.items()}
        if program.added_to:
            raise refused("adding to gradients from before: call zero_grad() in the step")
        delivered: dict[Tensor, Ref] = {}
        place_gradients(self, part, updates.values())
        for k, slot in enumerate(program.arguments):
            body.append(self._fed(part, k, slot))
        for unit in part.fused.units:
            body.append(self._unit(part, unit) if unit.call is None else
                        self._effect(part, unit.call, delivered, updates))
        for t, array in program.leaves:
            self.show(*self._leaf(t, array))
        for t, g in delivered.items():                     # of what no optimizer has laid out
            if part.fused.slots[g.slot].is_row_major:
                owner = self.names.get(id(t)) or t.name
                self.show(f"{owner}.grad", self.at(part, g.slot), t.shape, "gradient")
        given = "data, given" if updates else "data"
        rates = ["const R = {...rates, ...given};"] if updates else []
        body.append(f"return {self._result(part, program.result)};")
        text = "\n".join(f"  {line}" for line in [*rates, *filter(None, body)])
        self.functions.append(f"function {name}({given}) {{\n{text}\n}}")

    def _leaf(self, t: Tensor, array: Array) -> tuple[str, str, Shape, str]:
        name = self.names.get(id(t)) or t.name or f"leaf {len(self.shown)}"
        region, begin = self.outside(array, name)
        return name, region.at(begin), array.shape, "leaf"

    def _fed(self, part: Function, k: int, slot: int) -> str:
        own = part.program.slots[slot]
        at, size = self.at(part, slot), math.prod(own.shape)
        if own.is_row_major:
            self.show(own.name, at, own.shape, "argument")
            return f"feed(data, {k}, {json.dumps(own.name)}, {at}, {size});"
        rows = self.region(size).at()                      # another layout: fed, then laid out
        self.show(own.name, rows, own.shape, "argument")
        return (f"feed(data, {k}, {json.dumps(own.name)}, {rows}, {size});\n  {heads(own.shape)}"
                f"M[{index(at, own.steps)}] = M[{index(rows, row_major(own.shape, 1))}];")

    def _effect(self, part: Function, call: Call, delivered: dict[Tensor, Ref],
                updates: Mapping[int, Update]) -> str:
        """An effect, or a call that has no words."""
        if call.kernel in SETTING:
            for t, g in gradients_set(call):
                if call.kernel is deliver and t in delivered:
                    raise refused("a second backward() that adds to the gradients of the first")
                delivered.pop(t, None)
                if isinstance(g, Ref):
                    delivered[t] = g
            return ""
        if optimizer_of(call) is not None:
            return updates[id(call.owner)].called(part, delivered)
        if call.is_effect and call.name.startswith("check"):
            return ""                                      # it computes nothing
        if call.is_random:
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
            if own.is_row_major:
                return f"M.slice({at}, {at} + {size})"
            return (f"(() => {{ const out = []; {heads(own.shape)}"
                    f"out.push(M[{index(at, own.steps)}]); return M.constructor.from(out); }})()")
        if isinstance(x, dict):
            return "{" + ", ".join(f"{json.dumps(str(k))}: {self._result(part, v)}"
                                   for k, v in x.items()) + "}"
        if isinstance(x, list | tuple):
            return f"[{', '.join(self._result(part, v) for v in x)}]"
        if x is None or isinstance(x, str | bool):
            return json.dumps(x)
        if isinstance(x, SupportsFloat):
            return number(x)
        raise refused(f"a {type(x).__name__} that the step returns")

    # ---- units ----

    def _unit(self, part: Function, unit: Unit) -> str:
        node = unit.nodes[0]
        if isinstance(node, Pairs):
            return self._product(part, node)
        loop, slots = part.fused.loop(unit, part.stored)
        calls = " ".join(dict.fromkeys(part.program.calls[c].name for c in unit.calls))
        refusal = f"must({{}}, {json.dumps(calls + ': a value out of range')});"
        return str(LoopText(self, loop, [self.at(part, s) for s in slots], refusal))

    def _product(self, part: Function, node: Pairs) -> str:
        def entry(slot: int, *names: str) -> str:
            return f"M[{index(self.at(part, slot), part.fused.slots[slot].steps, names)}]"

        c, depth = part.fused.slots[node.out], part.fused.slots[node.a].shape[1]
        total = "F(s)" if self.wide and c.dtype.itemsize == 4 else "s"
        return (f"for (let i = 0; i < {c.shape[0]}; i++) for (let j = 0; j < {c.shape[1]}; j++)"
                f" {{\n    let s = 0;\n"
                f"    for (let k = 0; k < {depth}; k++) s += {entry(node.a, 'i', 'k')}"
                f" * {entry(node.b, 'k', 'j')};\n"
                f"    {entry(node.out, 'i', 'j')} = {total};\n  }}")


# ---- small things --------------------------------------------------------------------------------


def _object(options: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{n}: {number(x)}" for n, x in options.items()) + "}"
