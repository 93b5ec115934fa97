"""What every script has, whatever its library, and how it is put together."""

from __future__ import annotations

import html
import itertools
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_opt.typing import Array

__all__ = ["Names", "Script", "Sections", "listed"]

SMALL = 64                                 # numbers that are written into the text


class Script(str):
    """A training script: text, and the arrays that it reads if they are not in the text.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The weights and the data.
    """

    arrays: dict[str, Array]

    def save(self, path: str | Path) -> Path:
        """Write the script, and its arrays beside it as an ``.npz`` of the same name.

        Parameters
        ----------
        path : str or path
            Should end in ``.py``.

        Returns
        -------
        Path
            Of the script.

        Raises
        ------
        ValueError
            If the name is that of a library: Python would import the script in its place.
        """
        path = Path(path)
        if path.stem in ("jax", "numpy", "torch"):
            raise ValueError(f"{path.name} would stand in the place of the library that it imports:"
                             " give another name, such as train.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self, encoding="utf-8")
        if _size(self.arrays) > SMALL:
            np.savez(path.with_suffix(".npz"), **self.arrays)    # type: ignore[arg-type]
        return path

    def _repr_html_(self) -> str:
        """Notebooks show the lines, not one string."""
        return f"<pre><code>{html.escape(self)}</code></pre>"


@dataclass
class Sections:
    """The parts of a script.

    Attributes
    ----------
    imports : list of str
        One to a line; an empty one after those of Python itself.
    functions, model, data, optimizer : str
        Lines of code.
    loop : list of str
        The lines of a step, which leave the loss in the variable that `loss` reads.
    arrays : dict of str to ndarray
        What the lines find in the dict ``arrays``, x and y aside.
    """

    imports: list[str]
    functions: str
    model: str
    data: str
    optimizer: str
    loop: list[str]
    loss: str
    arrays: dict[str, Array]

    def script(self, title: str, x: Array, y: Array, steps: int) -> Script:
        arrays = {**self.arrays, "x": x, "y": y}
        arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
        imports = list(self.imports)
        if _size(arrays) > SMALL:
            imports.insert(imports.index(""), "from pathlib import Path")
            load = ("# weights and data, under the name of this file\n"
                    'arrays = np.load(Path(__file__).with_suffix(".npz"))')
        else:
            rows = "".join(f"    {name!r}: {_written(a)},\n" for name, a in arrays.items())
            load = f"arrays = {{\n{rows}}}"
        imports = imports[1:] if imports[0] == "" else imports
        body = [*self.loop, f'print(f"{{t + 1:4}}  {{{self.loss}:.8g}}")']
        loop = "\n".join([f"for t in range({steps}):",
                          *(f"    {line}".rstrip() for line in body)])
        functions = f"\n{self.functions}\n" if "def " in self.functions else self.functions
        model = f"\n{self.model}" if self.model.startswith(("class", "def")) else self.model
        parts = [f'"""{title}"""', "\n".join(imports), functions, load, model, self.data,
                 self.optimizer, loop]
        made = Script("\n\n".join(part for part in parts if part) + "\n")
        made.arrays = arrays
        return made


def listed(head: str, names: Iterable[str], tail: str) -> str:
    """A line with names between head and tail, on as many lines as it needs."""
    return "\n".join(textwrap.wrap(f"{head}{', '.join(names)}{tail}", 96, subsequent_indent="    ",
                                   break_long_words=False, break_on_hyphens=False))


def _size(arrays: dict[str, Array]) -> int:
    return sum(a.size for a in arrays.values())


def _written(x: Array) -> str:
    """An array as code, each number as short as it can be read back."""
    def entries(a: Array) -> str:
        return f"[{', '.join(map(entries, a))}]" if np.ndim(a) else str(a)

    text = f"np.array({entries(x)}, np.{x.dtype.name})"
    return text if len(text) < 80 else "\n".join(
        textwrap.wrap(text, 92, subsequent_indent=" " * 8, break_on_hyphens=False))


class Names:
    """New names, with a number behind them from the second on, or all of them."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)

    def new(self, stem: str, numbered: bool = False) -> str:
        names = (f"{stem}{n}" if n > 1 or numbered else stem for n in itertools.count(1))
        name = next(name for name in names if name not in self.taken)
        self.taken.add(name)
        return name
