"""Subcommands: functions whose signatures and docstrings tell argparse all that it needs.

What a command takes by place is a positional argument, what it takes by keyword an option. An
annotation says how one is read, the docstring what it means. A parameter of a dataclass stands
for an argument for each of its fields, and the command is given one that is filled in.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial
from typing import Any, TypeVar, get_args, get_type_hints

__all__ = ["Argument", "command", "parser"]

T = TypeVar("T")
Run = TypeVar("Run", bound=Callable[..., "int | None"])

COMMANDS: dict[str, Callable[..., int | None]] = {}
DEBUG = "show the traceback of an error"


class Argument:
    """How an argument is read: stands in its annotation.

    Parameters
    ----------
    usual : str
        What happens without it, if the help cannot tell that from the default.
    type : callable
        Makes a value of what is typed; what is wrong with that, its errors say.
    **options
        Others for ``argparse.add_argument``.
    """

    def __init__(
        self, usual: str = "", *, type: Callable[[str], object] | None = None, **options: Any
    ) -> None:
        def read(text: str) -> object:
            try:
                return type(text) if type else text
            except (TypeError, ValueError) as error:
                raise argparse.ArgumentTypeError(str(error)) from error

        self.usual, self.options = usual, options if type is None else options | {"type": read}


def command(run: Run) -> Run:
    """Make a function a subcommand of its name, which returns an exit code or None.

    The first line of its docstring is its line in the list of commands. What it needs it imports
    when it runs, so that ``--help`` stays quick.
    """
    COMMANDS[run.__name__] = run
    return run


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, whose options ``run(options)``."""
    package = sys.modules["tinygrad_opt"]                  # this file was loaded through it
    about, _, tour = (package.cli.__doc__ or "").partition("\n\n")
    plain = argparse.RawDescriptionHelpFormatter
    main = argparse.ArgumentParser("tinygrad-opt", description=about, epilog=tour,
                                   formatter_class=plain)
    main.add_argument("--version", action="version", version=f"tinygrad-opt {package.__version__}")
    main.add_argument("--debug", action="store_true", help=DEBUG)
    commands = main.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, run in COMMANDS.items():
        text, _, examples = _documented(run)
        one = commands.add_parser(
            name, help=text.partition("\n")[0].rstrip("."), description=text, formatter_class=plain,
            epilog=f"examples:\n{textwrap.indent(examples, '  ')}")
        _add_arguments(one, run)
        one.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=DEBUG)
        one.set_defaults(run=partial(_filled, run))
    return main


def _documented(made: Callable[..., object]) -> tuple[str, dict[str, str], str]:
    """What a docstring says first, of each parameter, and as examples."""
    text, *rest = re.split(r"\n\n(\w+)\n-+\n", inspect.getdoc(made) or "")
    sections = dict(zip(rest[::2], rest[1::2]))
    words = re.findall(r"^(\w+)((?:\n .*)+)", sections.get("Parameters", ""), re.M)
    return (text, {name: " ".join(said.split()) for name, said in words},
            sections.get("Examples", ""))


def _add_arguments(parser: argparse.ArgumentParser, made: Callable[..., object]) -> None:
    """An argument for each parameter of a command, or field of a dataclass."""
    kinds, words = get_type_hints(made, include_extras=True), _documented(made)[1]
    for name, p in inspect.signature(made).parameters.items():
        kind = kinds[name]
        if is_dataclass(kind):
            _add_arguments(parser, kind)             # type: ignore[arg-type]
            continue
        default = None if p.default is p.empty else p.default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        # of Annotated[int, Argument()], and of the same | None
        read = next((argument for part in (kind, *get_args(kind))
                     for argument in getattr(part, "__metadata__", ())), Argument())
        usual = read.usual or ("" if default is None or default is False else shown)
        said = f"{words[name]} (default: {usual})" if usual else words[name]
        flag = "--" + name.replace("_", "-") if p.kind is p.KEYWORD_ONLY else name
        parser.add_argument(flag, default=default, help=said, **read.options)


def _filled(made: Callable[..., T], options: argparse.Namespace) -> T:
    """What it returns for the options, its dataclasses being filled in first."""
    kinds = get_type_hints(made)
    return made(**{
        name: _filled(kinds[name], options) if is_dataclass(kinds[name]) else getattr(options, name)
        for name in inspect.signature(made).parameters})
