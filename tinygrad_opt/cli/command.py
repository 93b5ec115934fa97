"""How subcommands are declared, and what kinds of arguments they take."""

from __future__ import annotations

import argparse
import ast
import math
import sys
import textwrap
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tinygrad_opt.errors import nearest

__all__ = [
    "argument", "at_least", "command", "file", "labelled", "named", "one_of", "optimizer", "parser",
    "point", "positive", "rivals", "room_for", "sizes",
]

Run = Callable[[argparse.Namespace], "int | None"]

COMMANDS: dict[str, tuple[Run, str, tuple[Any, ...]]] = {}

TOUR = """
examples:
  tinygrad-opt demo                    a tour in seconds, ending in one page that shows it all
  tinygrad-opt train digits            learn handwritten digits, about a second
  tinygrad-opt train spiral --lr 0.02  another data set, another learning rate
  tinygrad-opt compare moons           optimizers side by side, each from several starts
  tinygrad-opt race beale              the paths of optimizers down a surface, as animation
  tinygrad-opt animate spiral          watch a network learn
  tinygrad-opt landscape spiral        the loss around a trained network
  tinygrad-opt report digits           train, and put all of it on one page
  tinygrad-opt draw "tanh(a*b+c)" a=2 b=-3 c=10   the graph of a formula, as a picture
  tinygrad-opt play "tanh(a*b+c)" a=2 b=-3 c=10   backpropagation through it, step by step
  tinygrad-opt check                   every gradient rule against finite differences
  tinygrad-opt train --help            all that can be chosen

A command names the files that it has made at its end.
"""


def command(*arguments: Any, examples: str = "") -> Callable[[Run], Run]:
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


def argument(*names: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
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


def room_for(path: Path) -> Path:
    """The path, once the folder is there that its file is to be written into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# ---- kinds of arguments --------------------------------------------------------------------------


def at_least(least: int) -> Callable[[str], int]:
    """Whole numbers from `least` on."""
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return number


def positive(text: str) -> float:
    """Finite numbers above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


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
    """The name of an optimizer, under whatever name `optim.get` knows it."""
    from tinygrad_opt import optim

    try:
        return type(optim.get(text)).__name__.lower()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def rivals(text: str) -> list[tuple[str, float | None]]:
    """``adam,sgd:0.1``: optimizers, each with its learning rate if it is to have its own."""
    found = []
    for part in text.split(","):
        name, colon, lr = part.strip().partition(":")
        if not name or (colon and not lr):
            raise argparse.ArgumentTypeError(f"{text!r} is not optimizers such as adam,sgd:0.1")
        found.append((optimizer(name), positive(lr) if lr else None))
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} has the same optimizer twice")
    return found


def labelled(chosen: list[tuple[str, float | None]], make: Callable[..., Any]) -> dict[str, Any]:
    """What ``make(name, lr)`` gives for each of the `rivals`, by what tells them apart."""
    made: dict[str, Any] = {}
    for name, lr in chosen:
        optimizer = make(name, lr)
        label = f"{type(optimizer).__name__} lr={optimizer.lr:g}"
        if label in made:
            raise ValueError(f"{label} is there twice: two of the optimizers are the same; give one"
                             f" another rate, such as {name}:1")
        made[label] = optimizer
    return made


def sizes(text: str) -> tuple[int, ...]:
    """``64,32``: the sizes of hidden layers; ``none`` is none of them."""
    try:
        return () if text == "none" else tuple(map(at_least(1), text.split(",")))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not sizes such as 32 or 64,32, nor none"
        ) from None


def named(text: str) -> tuple[str, Any]:
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
