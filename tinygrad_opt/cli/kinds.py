"""Kinds of arguments: how each is written, read and refused."""

from __future__ import annotations

import ast
import contextlib
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from tinygrad_opt.cli.command import Argument
from tinygrad_opt.errors import nearest

if TYPE_CHECKING:
    from tinygrad_opt.nn.init import Initialiser
    from tinygrad_opt.optim.schedules import Schedule
    from tinygrad_opt.train import ReduceOnPlateau

__all__ = ["Count", "Flag", "Folder", "Page", "Positive", "Rates", "Rivals", "Text", "Theme",
           "TwoOrMore", "Whole"]

T = TypeVar("T")


# ---- numbers, names and files --------------------------------------------------------------------


def reader(what: str, read: Callable[[str], T], fits: Callable[[T], bool]) -> Callable[[str], T]:
    """What reads a value that must fit, or refuses the text as being not `what`."""
    def value(text: str) -> T:
        with contextlib.suppress(ValueError):
            found = read(text)
            if fits(found):
                return found
        raise ValueError(f"{text!r} is {what}")

    return value


def at_least(least: int) -> Callable[[str], int]:
    """Whole numbers from `least` on."""
    return reader(f"no whole number of at least {least}", int, lambda n: n >= least)


number = reader("no number", float, math.isfinite)
positive = reader("no number above 0", float, lambda value: 0 < value < math.inf)


def split(mark: str, one: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Values of one kind with marks between them."""
    return lambda text: tuple(map(one, text.split(mark)))


# inches times dots: 400 MB of a square
pixels = reader("no size such as 1920x1080, of 100 to 10000 pixels each", split("x", int),
                lambda sides: len(sides) == 2 and all(100 <= side <= 10_000 for side in sides))
point = reader("no point such as 1,-2.5", split(",", number), lambda place: len(place) == 2)
sizes = reader("not sizes such as 32 or 64,32, nor none",
               lambda text: () if text == "none" else split(",", at_least(1))(text), lambda _: True)


def one_of(what: str, names: Collection[str]) -> Callable[[str], str]:
    """A name out of several, in any case; another one is refused with the nearest."""
    def name(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(
                f"no {what} is called {text!r}; {nearest(text.lower(), names)}")
        return text.lower()

    return name


def file(*suffixes: str) -> Callable[[str], Path]:
    """A file whose suffix says what is written to it."""
    def path(text: str) -> Path:
        suffix = Path(text).suffix.lower()
        if suffix not in suffixes:
            raise ValueError(
                f"the end of {text!r} chooses no format; {nearest(suffix, suffixes)}")
        return Path(text)

    return path


def files(*suffixes: str) -> Argument:
    """Several such files."""
    return Argument(type=file(*suffixes), nargs="+", metavar="FILE")


def named(text: str) -> tuple[str, float | list[float]]:
    """``a=2`` or ``x=[1,2]``: a name and its value, a number or lists of numbers."""
    name, _, value = map(str.strip, text.partition("="))
    if not name.isidentifier() or not value:
        raise ValueError(f"{text!r} is not a name and a value, such as a=2")
    with contextlib.suppress(ValueError):
        return name, float(value)
    with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        if isinstance(found := ast.literal_eval(value), list):
            return name, found
    raise ValueError(
        f"{value!r} is no value for {name}: give a number such as {name}=2, or a list such as"
        f" {name}=[1,2]")


# ---- optimizers, schedules, initialisers ---------------------------------------------------------


def optimizer(text: str) -> str:
    """``adam`` or ``sgd:lr=1,momentum=.8``: an optimizer as `optim.get` reads it."""
    from tinygrad_opt import optim

    optim.get(text)
    return text


def listed(one: Callable[[str], str]) -> Callable[[str], list[str]]:
    """``adam,sgd:lr=1,momentum=.8``: several of one kind; what has an = goes on with the last."""
    def several(text: str) -> list[str]:
        found: list[str] = []
        for part in text.split(","):
            if found and "=" in part.partition(":")[0]:
                found[-1] += f",{part}"
            else:
                found.append(part.strip())
        return [one(part) for part in found]

    return several


def labelled(chosen: Iterable[str], make: Callable[[str], T]) -> dict[str, T]:
    """What is made of each of the `Rivals`, by what tells them apart."""
    from tinygrad_opt.optim.lookup import read

    made: dict[str, T] = {}
    for text in chosen:
        one, options = make(text), read(text)[1]
        if hasattr(one, "lr"):
            own = {n: v for n, v in options.items() if n not in ("lr", "learning_rate")}
            options = {"lr": one.lr} | own
        given = (f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}" for n, v in options.items())
        label = " ".join([type(one).__name__, *given])
        if label in made:
            raise ValueError(f"{label} is there twice: two of the optimizers are the same; give one"
                             f" another rate, such as {read(text)[0]}:1")
        made[label] = one
    return made


def _check_options(name: str, options: dict[str, object], make: Callable[..., object],
                   *given: str) -> None:
    """Refuse options that it does not take, and missing ones; some are given in another way."""
    takes = {n: p.default is p.empty for n, p in inspect.signature(make).parameters.items()
             if n not in given}
    for unknown in sorted(options.keys() - takes):
        raise ValueError(f"{name} has no option {unknown!r}; {nearest(unknown, takes)}")
    for missing in sorted({n for n, needed in takes.items() if needed} - options.keys()):
        raise ValueError(f"{name} needs {missing}, such as {name}:{missing}=100")


def schedule(text: str) -> Callable[[float, int], Schedule] | ReduceOnPlateau:
    """``cosine`` or ``step:every=100,factor=.5``: what makes a schedule of a rate and all steps.

    ``plateau:patience=5`` is the callback that lowers the rate.
    """
    from tinygrad_opt.optim import schedules
    from tinygrad_opt.optim.lookup import read
    from tinygrad_opt.train import ReduceOnPlateau

    kinds = {n: vars(schedules)[n] for n in schedules.__all__ if n.islower()}
    kinds["plateau"] = kinds.pop("reduce_on_plateau")
    name, options = read(text)
    if name not in kinds:
        raise ValueError(f"no schedule is called {name!r}; {nearest(name, kinds)}")
    if name == "plateau":
        _check_options(name, options, ReduceOnPlateau)
        return ReduceOnPlateau(**options)
    first, *rest = inspect.signature(kinds[name]).parameters
    usual = {"steps"} & {*rest} - {*options} if name != "warm_up" else set()
    _check_options(name, options, kinds[name], first, *usual)

    def made(lr: float, steps: int) -> Schedule:
        result: Schedule = kinds[name](**{first: lr} | dict.fromkeys(usual, steps) | options)
        return result

    made(1.0, 100)
    return made


def initialiser(text: str) -> Initialiser:
    """``0.01``, ``xavier_normal`` or ``normal:scale=.01``: first weights as layers take them."""
    from tinygrad_opt.nn import init
    from tinygrad_opt.optim.lookup import read
    from tinygrad_opt.optim.options import number

    name, options = read(text)
    value: float | str = name
    with contextlib.suppress(ValueError):
        value = float(name)
    made = init.get(value)
    _check_options(name, options, made, "shape", "rng")
    return partial(made, **{n: number()(n, value) for n, value in options.items()})


# ---- as annotations ------------------------------------------------------------------------------

Text = Annotated[str, Argument(metavar="TEXT")]
Flag = Annotated[bool, Argument(action="store_true")]
Whole = Annotated[int, Argument(type=at_least(0), metavar="N")]
Count = Annotated[int, Argument(type=at_least(1), metavar="N")]
TwoOrMore = Annotated[int, Argument(type=at_least(2), metavar="N")]
Positive = Annotated[float, Argument(type=positive, metavar="N")]
Folder = Annotated[Path, Argument(type=Path, metavar="FOLDER")]
Page = Annotated[Path, Argument(type=file(".html", ".htm"), metavar="FILE")]
Theme = Annotated[str, Argument(choices=("auto", "light", "dark"))]
Rivals = Annotated[Sequence[str], Argument(type=listed(optimizer), metavar="NAMES")]
Rates = Annotated[Sequence[float], Argument("one that suits optimizer and data",
                                            type=split(",", positive), metavar="RATES")]
