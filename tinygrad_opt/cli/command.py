"""How subcommands are declared, and what kinds of arguments they take."""

from __future__ import annotations

import argparse
import ast
import contextlib
import math
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tinygrad_opt.errors import nearest

__all__ = [
    "UsageError", "argument", "argument_errors", "at_least", "command", "file", "initialiser",
    "labelled", "list_files", "listed", "named", "number", "one_of", "optimizer", "parser",
    "pixels", "point", "positive", "rivals", "room_for", "schedule", "sizes", "wrongly_used",
]

if TYPE_CHECKING:
    from tinygrad_opt.nn.init import Initialiser
    from tinygrad_opt.optim.schedules import Schedule
    from tinygrad_opt.train import ReduceOnPlateau

T = TypeVar("T")
Run: TypeAlias = Callable[[argparse.Namespace], "int | None"]
Argument: TypeAlias = tuple[tuple[str, ...], dict[str, Any]]   # as argparse.add_argument takes it

COMMANDS: dict[str, tuple[Run, str, tuple[Argument, ...]]] = {}

TOUR = """
examples:
  tinygrad-opt demo                    a tour in seconds, ending in one page that shows it all
  tinygrad-opt train digits            learn handwritten digits, about a second
  tinygrad-opt train spiral --lr 0.02  another data set, another learning rate
  tinygrad-opt compare moons           optimizers side by side, each from several starts
  tinygrad-opt sweep digits --lr 1e-3,1e-2 --optimizer adam,sgd --jobs 2   rank options
  tinygrad-opt spiral --seeds 2        nine published runs of optimizers, beside ours
  tinygrad-opt race beale              the paths of optimizers down a surface, as animation
  tinygrad-opt race neuron --optimizers sgd:lr=1,momentum=.8,newton,adam:0.2
  tinygrad-opt descend                 a curve with many valleys: stuck, there, away, exploded
  tinygrad-opt animate spiral          watch a network learn
  tinygrad-opt landscape spiral        the loss around a trained network
  tinygrad-opt report digits           train, and put all of it on one page
  tinygrad-opt draw "tanh(a*b+c)" a=2 b=-3 c=10   the graph of a formula, as a picture
  tinygrad-opt play "tanh(a*b+c)" a=2 b=-3 c=10   backpropagation through it, step by step
  tinygrad-opt check                   every gradient rule against finite differences
  tinygrad-opt exercise list           learn by doing: gaps to fill, and a judge
  tinygrad-opt train --help            all that can be chosen

A command names the files that it has made at its end.
"""


class UsageError(ValueError):
    """Arguments that make no sense, found out by the command itself: the exit code is 2."""


@contextlib.contextmanager
def _told_as(kind: type[Exception], argument: str = "") -> Iterator[None]:
    """What the package says of a wrong value, as another error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise kind(f"{argument}: {error}" if argument else str(error)) from error


wrongly_used = partial(_told_as, UsageError)               # by a command that runs
argument_errors = partial(_told_as, argparse.ArgumentTypeError)


def command(*arguments: Argument, examples: str = "") -> Callable[[Run], Run]:
    """Make a function a subcommand of its name.

    Parameters
    ----------
    *arguments : results of `argument`
        What it takes.
    examples : str
        Shown at the end of its ``--help``.

    Notes
    -----
    The first line of the function's docstring is its line in the list of commands, all of it
    is its description. The function gets the parsed options and returns an exit code or None.
    What it needs it imports when it runs, so that ``--help`` stays quick.
    """
    def register(run: Run) -> Run:
        COMMANDS[run.__name__] = run, examples, arguments
        return run

    return register


def argument(*names: str, **options: Any) -> Argument:
    """An argument of a subcommand, as ``argparse.add_argument`` takes it."""
    return names, options


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    version = sys.modules["tinygrad_opt"].__version__      # this file was loaded through it
    main = argparse.ArgumentParser(
        prog="tinygrad-opt",
        description="A minimal autograd engine with optimizers, on NumPy, that shows what happens.",
        epilog=TOUR,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"tinygrad-opt {version}")
    main.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = main.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (run, examples, arguments) in COMMANDS.items():
        text = textwrap.dedent("    " + (run.__doc__ or "")).strip()
        sub = commands.add_parser(
            name,
            help=text.splitlines()[0].rstrip("."),
            description=text,
            epilog="examples:\n" + textwrap.indent(textwrap.dedent(examples).strip(), "  "),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for names, options in arguments:
            sub.add_argument(*names, **options)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                         help="show the traceback of an error")
        sub.set_defaults(run=run)
    return main


def list_files(files: Mapping[Path, str]) -> None:
    """Say what has been written, and what each file is."""
    width = max(len(str(path)) for path in files)
    for path, meaning in files.items():
        print(f"  {path!s:{width}}  {meaning}")


def room_for(path: Path) -> Path:
    """The path, once the folder is there that its file is to be written into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# ---- kinds of arguments --------------------------------------------------------------------------


def at_least(least: int) -> Callable[[str], int]:
    """Whole numbers from `least` on."""
    def whole(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return whole


def number(text: str) -> float:
    """Finite numbers."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def positive(text: str) -> float:
    """Finite numbers above 0."""
    with contextlib.suppress(argparse.ArgumentTypeError):
        if number(text) > 0:
            return number(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")


def one_of(what: str, names: Collection[str]) -> Callable[[str], str]:
    """A name out of several, in any case; another one is refused with the nearest."""
    def name(text: str) -> str:
        if text.lower() not in names:
            raise argparse.ArgumentTypeError(
                f"no {what} is called {text!r}; {nearest(text.lower(), names)}")
        return text.lower()

    return name


def file(*suffixes: str) -> Callable[[str], Path]:
    """A file whose suffix says what is written to it."""
    def path(text: str) -> Path:
        suffix = Path(text).suffix.lower()
        if suffix not in suffixes:
            raise argparse.ArgumentTypeError(
                f"the end of {text!r} chooses no format; {nearest(suffix, suffixes)}")
        return Path(text)

    return path


def point(text: str) -> tuple[float, float]:
    """``-1.5,2``: two finite numbers."""
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        x = y = math.nan
    if not math.isfinite(x + y):
        raise argparse.ArgumentTypeError(f"{text!r} is no point such as 1,-2.5")
    return x, y


def optimizer(text: str) -> str:
    """``adam`` or ``sgd:lr=1,momentum=.8``: an optimizer as `optim.get` reads it."""
    from tinygrad_opt import optim

    with argument_errors():
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


rivals = listed(optimizer)


def labelled(chosen: Iterable[str], make: Callable[[str], T]) -> dict[str, T]:
    """What is made of each of the `rivals`, by what tells them apart."""
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
            raise UsageError(f"{label} is there twice: two of the optimizers are the same; give one"
                             f" another rate, such as {read(text)[0]}:1")
        made[label] = one
    return made


def _check_options(name: str, options: dict[str, object], make: Callable[..., object],
                   *given: str) -> None:
    """Refuse options that it does not take, and missing ones; some are given in another way."""
    import inspect

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
    from dataclasses import fields

    from tinygrad_opt.optim import schedules
    from tinygrad_opt.optim.lookup import read
    from tinygrad_opt.train import ReduceOnPlateau

    kinds = {n: vars(schedules)[n] for n in schedules.__all__ if n.islower()}
    kinds["plateau"] = kinds.pop("reduce_on_plateau")
    with argument_errors():
        name, options = read(text)
        if name not in kinds:
            raise ValueError(f"no schedule is called {name!r}; {nearest(name, kinds)}")
        if name == "plateau":
            _check_options(name, options, ReduceOnPlateau)
            return ReduceOnPlateau(**options)
        first, *rest = (f.name for f in fields(kinds[name]))
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

    with argument_errors():
        name, options = read(text)
        try:
            value: float | str = float(name)
        except ValueError:
            value = name
        made = init.get(value)
        _check_options(name, options, made, "shape", "rng")
        return partial(made, **{n: number()(n, value) for n, value in options.items()})


MOST_PIXELS = 10_000                                       # of each side: 400 MB of a square


def pixels(text: str) -> tuple[int, int]:
    """``1920x1080``: width and height."""
    try:
        width, height = map(at_least(100), text.split("x"))
        if max(width, height) > MOST_PIXELS:
            raise ValueError
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size such as 1920x1080, of 100 to {MOST_PIXELS} pixels each") from None
    return width, height


def sizes(text: str) -> tuple[int, ...]:
    """``64,32``: the sizes of hidden layers; ``none`` is none of them."""
    try:
        return () if text == "none" else tuple(map(at_least(1), text.split(",")))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not sizes such as 32 or 64,32, nor none"
        ) from None


def named(text: str) -> tuple[str, float | list[float]]:
    """``a=2`` or ``x=[1,2]``: a name and its value, a number or lists of numbers."""
    name, _, value = text.partition("=")
    if not name.strip().isidentifier() or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name and a value, such as a=2")
    try:
        return name.strip(), float(value)
    except ValueError:
        pass
    try:
        found = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = None
    if not isinstance(found, list):
        raise argparse.ArgumentTypeError(
            f"{value!r} is no value for {name}: give a number such as {name}=2, or a list such as"
            f" {name}=[1,2]")
    return name.strip(), found
