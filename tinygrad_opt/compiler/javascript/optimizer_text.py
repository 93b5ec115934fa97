"""An optimizer's step as JavaScript: the loop of its rule, for each branch that it takes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from tinygrad_opt.compiler.javascript.loop_text import LoopText
from tinygrad_opt.compiler.javascript.typed_memory import Function, Memory, Region
from tinygrad_opt.compiler.javascript.vocabulary import heads, index, number, refused
from tinygrad_opt.compiler.native.optimizer_loop import number_loop, update_loop
from tinygrad_opt.compiler.planned_updates import Entry, Optimizer, Run, plan_of
from tinygrad_opt.compiler.program import Ref, address, gradients_set, row_major
from tinygrad_opt.symbols import InPlace
from tinygrad_opt.tensor import Tensor, deliver

__all__ = ["Update", "place_gradients"]


class Update:
    """An optimizer's step: its vectors in memory, and a function for each of its runs."""

    def __init__(self, module: Memory, optimizer: Optimizer) -> None:
        self.module, self.optimizer = module, optimizer
        self.plan = plan = plan_of(optimizer)
        if optimizer.check_finite is not None:
            raise refused("check_finite of an optimizer")
        self.vectors: list[dict[str, Region]] = []         # of each pack, by name
        for pack in plan.packs:
            self.vectors.append({
                "p": module.region(pack.size, np.array(pack.p), address(pack.p), pack.p.nbytes),
                "g": module.region(pack.size)} | {
                slot: module.region(pack.size, np.array(row))
                for slot, row in zip(pack.slots, pack.state)})
            module.wide = module.wide or pack.dtype == np.float64
        for run in plan.runs:                              # show where everything is
            for e in run.entries:
                module.names[id(e.target)] = e.name
                for n, suffix, kind in (("p", "", "parameter"), ("g", ".grad", "gradient"),
                                        *((n, f".{n}", "state") for n in run.slots)):
                    at = self._vectors(run)[n].at(e.place.start)
                    module.show(e.name + suffix, at, e.shape, kind)
        module.rates |= {"lr": optimizer.lr if type(optimizer.lr) is float else math.nan,
                         "decay": optimizer.decay}
        self.body: list[str] = []
        for run in plan.runs:
            self._run(run)

    def _vectors(self, run: Run) -> dict[str, Region]:
        return self.vectors[self.plan.packs.index(run.pack)]

    def _run(self, run: Run) -> None:
        """A function that updates the parameters of a run, for each branch of the rule."""
        optimizer, rule = self.optimizer, type(self.optimizer).__name__
        same = {n: x for n, x in run.options.items() if x == getattr(optimizer, n)}
        self.module.rates |= same
        own = {n: x for n, x in run.options.items() if n not in same}
        lines = [f"const {n} = {number(x)};" for n, x in own.items()]
        if same:
            lines.append(f"const {{{', '.join(same)}}} = R;")
        if run.rule.lr != optimizer.lr:
            if not isinstance(run.rule.lr, float):
                raise refused("a schedule in the overrides of an optimizer")
            lines.append(f"const lr = {number(run.rule.lr)};")
        else:
            lines += [f"const taken = {self.plan.t} + count;",
                      "const lr = (typeof R.lr == 'function' ? R.lr(taken) : R.lr)"
                      " / (1 + R.decay * taken);"]
            told = ("rates.lr follows a schedule in Python: give step(data, {lr: t => …}), a"
                    " function of the step count" if callable(optimizer.lr)
                    else "rates.lr must be a number >= 0, got ${R.lr}")
            lines.append(f"must(lr >= 0, `{told}`);")
        lines += [self._version(run, version) for version in run.branches()]
        lines.append(f"must(false, {json.dumps(f'{rule} takes a branch that was not traced')});")
        name = f"update{len(self.module.functions)}"
        text = "\n  ".join(filter(None, lines))
        self.module.functions.append(f"function {name}(R) {{\n  {text}\n}}")
        self.body.append(f"{name}(R);")

    def _version(self, run: Run, version: InPlace | None) -> str:
        """One branch: its conditions, its numbers, its loop."""
        loop = None if version is None else update_loop(run, version)
        if version is None or loop is None:
            raise refused(f"the rule of {type(self.optimizer).__name__}, which does not go entry by"
                          " entry")
        vectors = [self._vectors(run)[n].at(run.place.start) for n in ("p", "g", *run.slots)]
        cells, (rate, _, *fixed) = [f"c{i}" for i in range(version.size)], version.arguments
        numbers = LoopText(
            self.module, number_loop(run, version, version.wanted),
            ["count", str(run.count + self.plan._done[0] + 1), rate, *fixed, *cells],
            "if (!{}) break branch;")
        update = LoopText(self.module, loop, [*vectors, *cells])
        return f"branch: {{\n  {numbers}\n  {update}\n  return;\n  }}"

    def called(self, part: Function, delivered: Mapping[Tensor, Ref]) -> str:
        """Gradients laid end to end, clipped, and the update."""
        lines: list[str] = []
        for run in self.plan.runs:
            g = self._vectors(run)["g"]
            for e in run.entries:
                ref = delivered.get(e.target)
                if not isinstance(ref, Ref):
                    raise refused(f"a step without a gradient of {e.name} from this step")
                lines += self._gathered(part, ref, g, e)
        return "\n  ".join([*lines, *self._clipped(), *self.body, "count++;"])

    def _gathered(self, part: Function, ref: Ref, g: Region, e: Entry) -> Iterator[str]:
        region, at = self.module.place(part, ref.slot)
        if region is g and at == e.place.start:
            return
        own, to = part.fused.slots[ref.slot], g.at(e.place.start)
        steps = (0,) * (len(e.shape) - len(own.shape)) + own.steps
        yield (f"{heads(e.shape)}M[{index(to, row_major(e.shape, 1))}] ="
               f" M[{index(region.at(at), steps)}];")

    def _clipped(self) -> Iterator[str]:
        def view(run: Run, place: slice) -> str:
            g = self._vectors(run)["g"]
            return f"M.subarray({g.at(place.start)}, {g.at(place.stop)})"

        o, runs = self.optimizer, self.plan.runs
        if o.clip_value is not None:
            for run in runs:
                yield (f"{view(run, run.place)}.forEach((x, i, g) => {{"
                       f" g[i] = Math.max(-{o.clip_value!r}, Math.min({o.clip_value!r}, x)); }});")
        if o.clip_norm_each is not None:
            for run in runs:
                for e in run.entries:
                    yield f"shrink([{view(run, e.place)}], {o.clip_norm_each!r});"
        if o.clip_norm is not None:
            every = ", ".join(view(run, run.place) for run in runs)
            yield f"shrink([{every}], {o.clip_norm!r});"


def place_gradients(module: Memory, part: Function, updates: Iterable[Update]) -> None:
    """Have gradients computed where the optimizer reads them, if nobody else looks at them."""
    for update in updates:
        optimizer = update.optimizer
        if any((optimizer.clip_value, optimizer.clip_norm, optimizer.clip_norm_each)):
            continue
        targets = {id(e.target): (e, update._vectors(run)["g"])
                   for run in update.plan.runs for e in run.entries}
        for call in part.program.calls:
            for t, ref in gradients_set(call) if call.kernel is deliver else ():
                if ref is None or id(t) not in targets or ref.slot in part.regions:
                    continue
                (e, g), own = targets[id(t)], part.fused.slots[ref.slot]
                if own.kind == "temporary" and own.shape == e.shape and own.is_row_major:
                    part.regions[ref.slot] = g, e.place.start
