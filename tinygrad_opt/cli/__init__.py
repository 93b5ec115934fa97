"""The command line: ``tinygrad-opt`` and ``python -m tinygrad_opt``.

Each subcommand is one function in a module that is imported here; see `command`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from tinygrad_opt.cli import (  # noqa: F401  (importing a command makes it known)
    animate,
    check,
    compare,
    demo,
    draw,
    landscape,
    play,
    race,
    report,
    train,
)
from tinygrad_opt.cli.command import parser

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0: done; 1: an error, told in one line on standard error; 130: interrupted. Arguments
        that make no sense exit with 2, after a line that says what does.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:                                 # closed by who started us, as by cron
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        if hasattr(stream, "reconfigure"):                 # an old terminal prints ? for what
            stream.reconfigure(errors="replace")           # it cannot show, instead of failing
    reader = parser()
    options, rest = reader.parse_known_args(arguments)
    if rest:
        reader.error(f"unrecognized arguments: {' '.join(rest)}; what goes where is told by:"
                     f" tinygrad-opt {options.run.__name__} --help")
    with warnings.catch_warnings():
        if not options.debug:
            setattr(warnings, "showwarning", _warn)        # noqa: B010 (its type is narrower)
        try:
            code = options.run(options) or 0
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:                            # whoever read our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if options.debug:
                raise
            reason = str(error)
            if isinstance(error, OSError) and error.filename:
                reason = f"{error.filename}: {error.strerror}"
            _say("error", reason or type(error).__name__)
            return 1


def _warn(message: Any, *place: Any) -> None:
    _say("warning", str(message))


def _say(kind: str, text: str) -> None:
    print(f"tinygrad-opt: {kind}: {' '.join(text.split())}", file=sys.stderr)
