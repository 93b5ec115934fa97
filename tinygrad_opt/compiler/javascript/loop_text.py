"""A loop over entries as JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from tinygrad_opt.compiler.javascript.typed_memory import Memory
from tinygrad_opt.compiler.javascript.vocabulary import (
    EXACT,
    OF_TRUTH,
    WORDS,
    index,
    number,
    refused,
)
from tinygrad_opt.compiler.native.loops import Loop, Writing

__all__ = ["LoopText"]


class LoopText:
    """A loop as text: each value is a variable.

    Parameters
    ----------
    module : Memory
    loop : Loop
    arrays : list of str
        Where each array begins, as ``o3 + 2``; or a variable that is a number.
    check : str
        What is done where a value is refused.
    """

    long = 0

    def __init__(self, module: Memory, loop: Loop, arrays: list[str], check: str = "") -> None:
        self.module, self.layout, self.arrays, self.refusal = module, loop.arrays, arrays, check
        self.lines: list[str] = []
        self.depth = 0
        Writing(loop, self).all()

    def __str__(self) -> str:
        return "\n  ".join(self.lines)

    def _line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def _named(self, what: str, text: str) -> str:
        name = f"v{next(self.module.numbers)}"
        self._line(f"{what} {name} = {text};")
        return name

    def loop(self, begin: int, end: int, step: int, body: Callable[..., Sequence[str] | None],
             carried: Sequence[str] = ()) -> Sequence[str]:
        if end - begin == step:
            return body(str(begin), *carried) or ()
        registers = [self._named("let", x) for x in carried]
        i = f"i{self.depth}"
        self._line(f"for (let {i} = {begin}; {i} < {end}; {i}++) {{")
        self.depth += 1
        for register, x in zip(registers, body(i, *registers) or ()):
            self._line(f"{register} = {x};")
        self.depth -= 1
        self._line("}")
        return registers

    def number(self, dtype: str, x: float | str) -> str:
        if isinstance(x, str):
            x = float.fromhex(x) if dtype[0] == "f" else int(x)
        return number(x)

    def cast(self, x: str, of: str, to: str) -> str:
        if of == "b1" != to:
            return f"({x} ? 1 : 0)"
        if to == "b1" != of:
            return f"({x} != 0)"
        if to[0] in "iu" and (of[0], to[0]) != ("u", "i") and int(to[1:]) < int(of[1:]):
            raise refused(f"{of} made {to}, where numbers may not fit")
        return f"F({x})" if to == "f4" != of else x

    def call(self, name: str, of: str, to: str, operands: Sequence[str],
             reassociate: bool = False) -> str:
        template = OF_TRUTH.get(name, WORDS.get(name)) if of == "b1" else WORDS.get(name)
        if template is None or (name.startswith("bitwise") and of[0] == "u"):
            raise refused(f"the function {name}")
        text, rounded = template.format(*operands), to == "f4" and name not in EXACT
        return self._named("const", f"F({text})" if rounded and not reassociate else text)

    def check(self, x: str) -> None:
        self._line(self.refusal.format(x))

    def _place(self, array: int, at: Sequence[str], where: Sequence[str]) -> str:
        begin, (dtype, strides) = self.arrays[array], self.layout[array]
        if not re.match(r"o\d", begin):
            return ""
        steps = [s // np.dtype(dtype).itemsize for s in strides]
        return f"M[{index(' + '.join([begin, *where]), steps, at)}]"

    def load(self, array: int, at: Sequence[str], where: Sequence[str] = ()) -> str:
        place = self._place(array, at, where)
        return self._named("const", place) if place else self.arrays[array]

    def store(self, array: int, at: Sequence[str], x: str, where: Sequence[str] = ()) -> None:
        place = self._place(array, at, where)
        self._line(f"{place or f'const {self.arrays[array]}'} = {x};")
