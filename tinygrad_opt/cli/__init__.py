"""A minimal autograd engine with optimizers, on NumPy, that shows what happens.

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
# This is what `tinygrad-opt --help` prints; a file that is imported below makes its commands known.

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from tinygrad_opt.cli import (  # noqa: F401
    check,
    demo,
    exercise,
    graphs,
    live_pages,
    paths,
    pictures,
    spiral,
    train,
)
from tinygrad_opt.cli.command import COMMANDS, parser
from tinygrad_opt.errors import nearest

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
        0: done; 1: an error, told in one line on standard error; 2: no command was given, or
        arguments that make no sense, after a line that says what does; 130: interrupted.
    """
    _prepare_streams()
    options = _parsed([*(sys.argv[1:] if arguments is None else arguments)])
    if options is None:
        return 2
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
            if isinstance(error, OSError) and error.filename:
                _say("error", f"{error.filename}: {error.strerror}")
            else:
                _say("error", str(error) or type(error).__name__)
            return 2 if isinstance(error, (TypeError, ValueError)) else 1


def _prepare_streams() -> None:
    """Let no stream fail that is closed, as under cron, or cannot show a character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _parsed(arguments: list[str]) -> argparse.Namespace | None:
    """The options; None, after the list of commands, where there are no arguments at all."""
    reader = parser()
    if not arguments:
        reader.print_help(sys.stderr)
        return None
    name = next((word for word in arguments if not word.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        reader.error(f"no command is called {name!r}; {nearest(name, COMMANDS)}")
    options, rest = reader.parse_known_args(arguments)
    if rest:
        reader.error(f"unrecognized arguments: {' '.join(rest)}; what goes where is told by:"
                     f" tinygrad-opt {name} --help")
    return options


def _warn(message: object, *place: object) -> None:
    _say("warning", str(message))


def _say(kind: str, text: str) -> None:
    print(f"tinygrad-opt: {kind}: {' '.join(text.split())}", file=sys.stderr)
