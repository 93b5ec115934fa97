"""``tinygrad-opt exercise``: files with a gap, and a judge of solutions."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_opt.cli.command import UsageError, argument, command, room_for, wrongly_used

__all__ = ["exercise"]


@command(
    argument("action", choices=["list", "start", "check"],
             help="list them all; start one, which writes its file; check your solution"),
    argument("name", nargs="?", metavar="NAME", help="which one; `check` without it checks all"),
    argument("--folder", type=Path, default=Path("exercises"), metavar="FOLDER",
             help="where your files are (default: exercises)"),
    examples="""
    tinygrad-opt exercise list
    tinygrad-opt exercise start product
    tinygrad-opt exercise check product
    """,
)
def exercise(options: argparse.Namespace) -> int:
    """Learn by doing: twenty-five exercises, from the derivative of a product to Newton's method.

    `start` writes a file with a sentence and a gap into the folder `exercises`; fill the gap with
    an editor, and `check` compares what your lines compute with finite differences, the engine or
    a known run. It says what differs, never how to write it. The exit code is 1 if something is
    wrong.
    """
    from tinygrad_opt import exercises

    def file_of(name: str) -> Path:
        return Path(options.folder, f"{name}.py")

    if options.name is not None:
        with wrongly_used():
            exercises.gap(options.name)                    # or there is none of that name
    if options.action == "list":
        wide = max(map(len, exercises.CHECKS))
        for name, (chapter, _) in exercises.CHECKS.items():
            mark = "  (started)" if file_of(name).is_file() else ""
            print(f"{chapter:2}  {name:{wide}}  {exercises.title(name).rstrip('.')}{mark}")
        return 0
    if options.action == "start":
        if options.name is None:
            raise UsageError("start which one? `tinygrad-opt exercise list` names them all")
        path = room_for(file_of(options.name))
        try:
            with open(path, "x", encoding="utf-8", newline="\n") as file:
                file.write(exercises.gap(options.name))
        except FileExistsError:
            raise UsageError(f"{path} is there already; it stays as it is. To start anew, take it"
                             " away first") from None
        print(f"{path}  fill the gap, then: tinygrad-opt exercise check {options.name}")
        return 0
    started = [name for name in exercises.CHECKS if file_of(name).is_file()]
    names = [options.name] if options.name else started
    if not names:
        raise UsageError(f"there is nothing to check in {options.folder}: start an exercise first,"
                         " such as `tinygrad-opt exercise start product`")
    wrong = 0
    for name in names:
        found = exercises.check(name, file_of(name))
        wrong += bool(found)
        print(f"{name}: {found or 'right'}")
    if options.name is not None and not wrong:
        known = [*exercises.CHECKS]
        for later in known[known.index(options.name) + 1 :]:
            if later not in started:
                print(f"next: tinygrad-opt exercise start {later}")
                break
    return 1 if wrong else 0
