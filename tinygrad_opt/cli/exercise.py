"""``tinygrad-opt exercise``: files with a gap, and a judge of solutions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import Folder
from tinygrad_opt.cli.outputs import room_for

__all__ = ["exercise"]


@command
def exercise(
    action: Annotated[str, Argument(choices=("list", "start", "check"))],
    name: Annotated[str | None, Argument(nargs="?", metavar="NAME")],
    *,
    folder: Folder = Path("exercises"),
) -> int:
    """Learn by doing: twenty-five exercises, from the derivative of a product to Newton's method.

    `start` writes a file with a sentence and a gap into the folder `exercises`; fill the gap with
    an editor, and `check` compares what your lines compute with finite differences, the engine or
    a known run. It says what differs, never how to write it. The exit code is 1 if something is
    wrong.

    Parameters
    ----------
    action
        list them all; start one, which writes its file; check your solution
    name
        which one; `check` without it checks all
    folder
        where your files are

    Examples
    --------
    tinygrad-opt exercise list
    tinygrad-opt exercise start product
    tinygrad-opt exercise check product
    """
    from tinygrad_opt.exercises import CHECKS, gap

    if name is not None:
        gap(name)                                          # or there is none of that name
    files = {known: folder / f"{known}.py" for known in CHECKS}
    if action == "list":
        return _list(files)
    if action == "check":
        return _check(files, name)
    if name is None:
        raise ValueError("start which one? `tinygrad-opt exercise list` names them all")
    path = room_for(files[name])
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(gap(name))
    except FileExistsError:
        raise ValueError(f"{path} is there already; it stays as it is. To start anew, take it"
                         " away first") from None
    print(f"{path}  fill the gap, then: tinygrad-opt exercise check {name}")
    return 0


def _list(files: Mapping[str, Path]) -> int:
    from tinygrad_opt import exercises

    wide = max(map(len, files))
    for name, (chapter, _) in exercises.CHECKS.items():
        mark = "  (started)" if files[name].is_file() else ""
        print(f"{chapter:2}  {name:{wide}}  {exercises.title(name).rstrip('.')}{mark}")
    return 0


def _check(files: Mapping[str, Path], name: str | None) -> int:
    """Say of one, or of all that were started, what is wrong, and which one comes next."""
    from tinygrad_opt import exercises

    chosen = [name] if name else [known for known, path in files.items() if path.is_file()]
    if not chosen:
        raise ValueError(f"there is nothing to check in {next(iter(files.values())).parent}: start"
                         " an exercise first, such as `tinygrad-opt exercise start product`")
    found = {one: exercises.check(one, files[one]) for one in chosen}
    for one, wrong in found.items():
        print(f"{one}: {wrong or 'right'}")
    if name and not found[name]:
        later = [*files][[*files].index(name) + 1 :]
        for one in [one for one in later if not files[one].is_file()][:1]:
            print(f"next: tinygrad-opt exercise start {one}")
    return 1 if any(found.values()) else 0
