"""A loop over entries as JavaScript."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from tinygrad_opt.compiler.javascript.typed_memory import Memory
from tinygrad_opt.compiler.javascript.vocabulary import (
    EXACT,
    OF_TRUTH,
    WORDS,
    cast,
    index,
    number,
    refused,
)
from tinygrad_opt.compiler.native.loops import START, Loop, Value

__all__ = ["LoopText"]


class LoopText:
    """A loop as text. A value that is used once stands where it is used.

    Parameters
    ----------
    module : Memory
    loop : Loop
    arrays : list of str
        Where each array begins, as ``M[o3``; or the name of a number.
    what : str, optional
        What a check says of itself.
    """

    def __init__(self, module: Memory, loop: Loop, arrays: list[str], what: str = "") -> None:
        self.module, self.loop, self.arrays, self.what = module, loop, arrays, what
        self.uses = [0] * len(loop.values)
        used = [*loop.checks, *(v for v, *_ in loop.stores), *(v for _, v, _ in loop.folds),
                *(w for _, _, *at in loop.stores for w in at)]
        for value in loop.values:
            used += value.operands[1:] if value.name == "load" else value.operands
        for v in used:
            self.uses[v] += 1
        self.written = {a for _, a, *_ in loop.stores} | {a for _, _, a in loop.folds}
        self.names: list[str] = []
        self.bare: list[str] = []                          # before it is rounded

    def text(self) -> str:
        loop, depth = self.loop, len(self.loop.shape)
        heads = [f"for (let i{a} = 0; i{a} < {n}; i{a}++)" for a, n in enumerate(loop.shape)]
        kept = [f for f in loop.folds if loop.shape and not loop.arrays[f[2]][1][-1]]
        body = self._values()
        body += [f"must({self.names[v]}, {json.dumps(self.what + ': a value out of range')});"
                 for v in loop.checks]
        for v, a, *where in loop.stores:
            narrow = loop.arrays[a][0] == "f4" and self.module.wide
            body.append(f"{self._entry(a, where)} = {(self.names if narrow else self.bare)[v]};")
        body += [self._folded(f, f"s{f[2]}" if f in kept else self._entry(f[2]))
                 for f in loop.folds]
        starts = [self._start(f) for f in loop.folds if f not in kept]
        if not depth:
            return "\n  ".join([*starts, "{ " + " ".join(body) + " }"])
        inner = f"{heads[-1]} {{\n      " + "\n      ".join(body) + "\n    }"
        if kept:
            ends = []
            for f in kept:
                inner = f"let s{f[2]} = {number(START[f[0]])};\n    {inner}"
                narrow = loop.arrays[f[2]][0] == "f4" and self.module.wide
                ends.append(f"{self._entry(f[2])} = {f'F(s{f[2]})' if narrow else f's{f[2]}'};")
            if depth > 1:                                  # what the other axes fold, adds up
                ends = [self._across(f, end) for f, end in zip(kept, ends)]
                starts += [self._start(f) for f in kept if self._is_across(f)]
            inner = f"{{\n    {inner}\n    " + "\n    ".join(ends) + "\n  }"
        return "\n  ".join([*starts, " ".join([*heads[:-1], inner])])

    def _is_across(self, fold: tuple[str, int, int]) -> bool:
        """Whether a fold goes over an outer axis as well as the last."""
        return not all(self.loop.arrays[fold[2]][1][:-1])

    def _across(self, fold: tuple[str, int, int], end: str) -> str:
        if not self._is_across(fold):
            return end
        return self._combined(fold[0], self._entry(fold[2]), f"s{fold[2]}", fold[2])

    def _start(self, fold: tuple[str, int, int]) -> str:
        """Set what a fold collects to what it starts from."""
        name, _, a = fold
        heads = [f"for (let i{k} = 0; i{k} < {n}; i{k}++) " for k, (n, s) in enumerate(
            zip(self.loop.shape, self.loop.arrays[a][1])) if s]
        return f"{''.join(heads)}{self._entry(a)} = {number(START[name])};"

    def _folded(self, fold: tuple[str, int, int], into: str) -> str:
        name, v, a = fold
        return self._combined(name, into, self.names[v], a)

    def _combined(self, name: str, into: str, value: str, a: int) -> str:
        dtype = self.loop.arrays[a][0]
        text = (OF_TRUTH if dtype == "b1" else WORDS)[name].format(into, value)
        if dtype == "f4" and self.module.wide and into[0] == "M":
            text = f"F({text})"
        return f"{into} = {text};"

    def _entry(self, a: int, where: Sequence[int] = ()) -> str:
        dtype, strides = self.loop.arrays[a]
        if not self.arrays[a].startswith("M"):
            return self.arrays[a]                          # a number
        size = np.dtype(dtype).itemsize
        begin = " + ".join([self.arrays[a][2:], *(self.names[w] for w in where)])
        return f"M[{index(begin, [s // size for s in strides])}]"

    def _values(self) -> list[str]:
        lines = []
        for k, value in enumerate(self.loop.values):
            text, rounded = self._value(value)
            keep = self.uses[k] > 1 and value.name != "number"
            if value.name == "load":
                keep = keep or value.operands[0] in self.written
                if not self.arrays[value.operands[0]].startswith("M"):
                    keep = False
            full = f"F({text})" if rounded else text
            if keep:
                lines.append(f"const v{k} = {full};")
                text = full = f"v{k}"
            self.names.append(full)
            self.bare.append(text)
        return lines

    def _value(self, value: Value) -> tuple[str, bool]:
        """The text of a value, and whether it has yet to be rounded."""
        name, dtype, operands, text = value
        if name == "load":
            return self._entry(operands[0], operands[1:]), False
        if name == "number":
            return number(float.fromhex(text) if dtype[0] == "f" else int(text)), False
        given = [self.names[v] for v in operands]
        if name == "cast":
            return cast(given[0], self.loop.values[operands[0]].dtype, dtype)
        of = self.loop.values[operands[-1]].dtype
        template = OF_TRUTH.get(name, WORDS.get(name)) if of == "b1" else WORDS.get(name)
        if template is None or (name.startswith("bitwise") and of[0] == "u"):
            raise refused(f"the function {name}")
        self.module.used.add(template.split("(")[0])
        return template.format(*given), dtype == "f4" and name not in EXACT
