"""A learner's file run beside what it should compute, and differences of numbers in words."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import inspect
import io
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.symbols import Symbol, Trace, Untraceable, text
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["Solution", "Wrong", "agree", "number", "same", "several", "slopes", "solution"]


class Wrong(Exception):
    """What is wrong with a solution, as one tells a learner."""


class Solution:
    """What a learner's file defines; calling it tells errors by the lines of that file."""

    def __init__(self, path: str, names: dict[str, object]) -> None:
        self._path, self._names = path, names

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise Wrong(f"The file no longer defines {name!r}, which the judge calls.")
        thing = self._names[name]
        if not inspect.isfunction(thing):
            return thing

        @functools.wraps(thing)
        def called(*args: object) -> object:
            with _told(self._path, name, dict(zip(inspect.signature(thing).parameters, args))):
                result = thing(*args)
            if result is None or result is ...:
                number(f"What {name}() returns", result)
            return result

        return called

    def told(self, name: str = "") -> contextlib.AbstractContextManager[None]:
        """Errors of the learner's own code inside, with the line."""
        return _told(self._path, name)

    def loops(self) -> bool:
        """Whether the file has a loop or a comprehension."""
        return any(isinstance(node, (ast.For, ast.While, ast.comprehension))
                   for node in ast.walk(ast.parse(_source(self._path))))


def _source(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


@contextlib.contextmanager
def _told(path: str, name: str = "", given: Mapping[str, object] = {}) -> Iterator[None]:
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Wrong:
        raise
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise Wrong(f"Line {error.lineno}, `{line}`, is not Python: {error.msg}.") from None
    except (Exception, SystemExit) as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__)
               if frame.filename == path]
        place = f"Line {own[-1].lineno}, `{own[-1].line}`, raises" if own else f"{name}() raises"
        if "ellipsis" in str(error):
            raise Wrong(f"{place.removesuffix(', raises')}: there is still a gap, the `...`, whose"
                        " value is used. Put your lines there.") from None
        raise Wrong(f"{place} {type(error).__name__}: {error}{_slip(error, given)}") from None


def _slip(error: BaseException, given: Mapping[str, object]) -> str:
    """What an error of Python or NumPy means, where its own words do not say it."""
    said = str(error)
    if isinstance(error, NameError):
        name = error.name or ""
        if name == "np":
            return "; `import numpy as np` belongs at the top of the file"
        return f"; NumPy's is np.{name}" if callable(getattr(np, name, None)) else ""
    if "for ^" in said:
        return "; a power is written ** in Python"
    if "converted to Python scalar" in said:
        return "; functions of `math` take one number, those of NumPy whole arrays"
    shapes = [f"{name} {np.shape(x)}" for name, x in given.items() if isinstance(x, np.ndarray)]
    if shapes and isinstance(error, (ValueError, IndexError)):
        return f"\nThe shapes given are: {', '.join(shapes)}."
    return ""


def solution(path: str) -> Solution:
    """Run a learner's file."""
    names: dict[str, object] = {"__name__": "solution", "__file__": path}
    source = _source(path)
    with _told(path):
        exec(compile(source, path, "exec"), names)
    return Solution(path, names)


def slopes(
    f: Callable[..., Array], g: float | Array = 1.0, **inputs: ArrayLike
) -> dict[str, Array]:
    """∂L/∂ each input where g = ∂L/∂f, by its name, by central differences in float64."""
    arrays = [np.array(x, dtype=np.float64) for x in inputs.values()]
    found, eps = {}, 1e-6
    for name, array in zip(inputs, arrays):
        slope = np.empty(array.shape)
        for i in np.ndindex(array.shape):
            x = array[i]
            ends = []
            for to in (x + eps, x - eps):
                array[i] = to
                ends.append(np.sum(g * f(*arrays)))
            array[i] = x
            slope[i] = (ends[0] - ends[1]) / (2 * eps)
        found[f"∂L/∂{name}"] = slope
    return found


def agree(
    call: Callable[..., object], given: Mapping[str, object], wants: Mapping[str, ArrayLike],
    at: str = "", tolerance: float = 1e-5,
) -> None:
    """Call a solution, and compare each of its results with what it should be.

    Parameters
    ----------
    call : callable
    given : dict
        Its arguments, which it may change: in order, and by the names of its formula.
    wants : dict
        The right results, in order, by what the exercise calls them.
    at, tolerance
        As for `same`.

    Raises
    ------
    Wrong
        As `same` does, and with the formula of what is wrong, if its lines say one.
    """
    def results(arguments: Iterable[object]) -> Sequence[object]:
        made = call(*arguments)
        return [made] if len(wants) == 1 else several(call.__name__, made, [*wants])

    got = results(copy.deepcopy([*given.values()]))
    for i, (what, want) in enumerate(wants.items()):
        try:
            same(what, got[i], want, at=at, tolerance=tolerance)
        except Wrong as wrong:
            said = formula(lambda *symbols, i=i: results(symbols)[i], given)
            raise Wrong(f"{wrong}\nYour lines say: {what} = {said}" if said else str(wrong)
                        ) from None


def formula(f: Callable[..., object], given: Mapping[str, object]) -> str:
    """What a function of a learner computes, as a short formula; empty where there is none."""
    trace = Trace()
    with contextlib.suppress(Untraceable, TypeError, ValueError, AttributeError, Wrong):
        made = f(*(trace.symbol(name, x) for name, x in given.items()))
        said = text(made) if isinstance(made, Symbol) else ""
        return said if len(said) < 100 else ""
    return ""


# ---- differences in words ------------------------------------------------------------------------


def same(
    what: str, got: object, want: ArrayLike, *, at: str = "", tolerance: float = 1e-5
) -> None:
    """Compare a learner's numbers with the right ones.

    Parameters
    ----------
    what : str
        What the numbers are, as the exercise calls them.
    got, want : array-like
    at : str
        For which inputs, if it helps.
    tolerance : float
        Largest difference, relative to the largest number.

    Raises
    ------
    Wrong
        With the first entry that differs, both numbers, and what such a difference often means.
    """
    want = np.asarray(want, dtype=np.float64)
    got = number(what, got)
    if got.shape != want.shape:
        raise Wrong(f"{what} has the shape {got.shape}, and should have {want.shape}."
                    + _shape_hint(got, want))
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(got - want) <= tolerance * max(1.0, np.max(np.abs(want), initial=0)))
    if not wrong.any():
        return
    i = tuple(int(n) for n in np.argwhere(wrong)[0])
    entry = f"[{', '.join(map(str, i))}]" if i else ""
    said = f"{what}{entry} is {got[i]:.6g}, and should be {want[i]:.6g}{at}."
    raise Wrong(f"{said} {_cause(got, want, wrong)}".rstrip())


def several(call: str, got: object, names: Sequence[str]) -> Sequence[object]:
    """Results that come together.

    Raises
    ------
    Wrong
        If there are more or fewer of them than there are names.
    """
    many = isinstance(got, (tuple, list)) or (isinstance(got, np.ndarray) and got.ndim > 0)
    things = [*got] if many else [got]                     # type: ignore[misc]
    if not many or len(things) != len(names):
        count = f"{len(things) if many else 'one'} thing{'s' * (len(things) != 1)}"
        raise Wrong(f"{call}() returns {count}, and should return {len(names)}:"
                    f" {', '.join(names)}.")
    return things


def number(what: str, x: object) -> Array:
    """Numbers of a learner as an array.

    Raises
    ------
    Wrong
        If they are a gap, None, or no numbers.
    """
    if x is ...:
        raise Wrong(f"{what} is still a gap: put your lines where the ... stand.")
    if x is None:
        raise Wrong(f"{what} is None: is there a `return`?")
    try:
        return np.asarray(x.data if type(x) is Tensor else x, dtype=np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"{what} is a {type(x).__name__}, and not an array of numbers.") from None


def _shape_hint(got: Array, want: Array) -> str:
    if got.shape == want.shape[::-1]:
        return " Is something transposed?"
    if got.ndim < want.ndim:
        return " An axis was lost: was something summed that should stay apart?"
    if got.size > want.size:
        return (" It has more numbers than there are unknowns: what is used many times gets the sum"
                " over its uses.")
    return ""


_FACTORS = {-1.0: "the sign is turned around", 2.0: "it is twice too large",
            0.5: "it is half of what it should be",
            -2.0: "the sign is turned around, and it is twice too large",
            -0.5: "the sign is turned around, and a factor of 2 is missing"}


def _cause(got: Array, want: Array, wrong: Array) -> str:
    """What a difference of this kind often means."""
    if not np.isfinite(got).all():
        return "There are inf or nan: is something divided by 0, or too large for exp?"
    if not got.any():
        return "All of it is 0." if got.ndim else ""
    which = "In each entry " if got.size > 1 else "So "
    apart = np.abs(want) > 1e-9 * max(1.0, np.max(np.abs(want)))
    ratios = got[apart] / want[apart]
    if ratios.size and np.ptp(ratios) < 1e-4 * abs(ratios[0]) and not got[~apart].any():
        ratio = float(ratios[0])
        for known, words in _FACTORS.items():
            if abs(ratio - known) < 1e-3:
                return f"{which}{words}."
        if got.size == 1:
            return ""
        times = max(abs(ratio), 1 / abs(ratio))
        mean = " A sum where a mean is meant, or the other way around?"
        return (f"Each entry is {ratio:.4g} times what it should be: a constant factor."
                + mean * (abs(times - round(times)) < 1e-3))
    shift = got - want
    if got.size > 1 and np.ptp(shift) < 1e-4 * abs(shift.flat[0]):
        return f"Each entry is too large by {shift.flat[0]:.4g}: a constant term."
    if got.ndim == 2 and got.shape[0] == got.shape[1] and np.allclose(got, want.T, atol=1e-6):
        return "It is the transpose of what it should be."
    if got.size > 1 and not wrong.all():
        return f"{int(wrong.sum())} of {wrong.size} entries are wrong, the others are right."
    return ""
