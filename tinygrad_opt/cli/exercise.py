"""``tinygrad-opt exercise``: files with a gap, and a judge of solutions."""

from __future__ import annotations

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
    from tinygrad_opt import exercises

    files = {known: folder / f"{known}.py" for known in exercises.CHECKS}
    started = [known for known, path in files.items() if path.is_file()]
    if name is not None:
        exercises.gap(name)                                # or there is none of that name
    if action == "list":
        wide = max(map(len, files))
        for known, (chapter, _) in exercises.CHECKS.items():
            mark = "  (started)" if known in started else ""
            print(f"{chapter:2}  {known:{wide}}  {exercises.title(known).rstrip('.')}{mark}")
        return 0
    if action == "start":
        if name is None:
            raise ValueError("start which one? `tinygrad-opt exercise list` names them all")
        _start(room_for(files[name]), exercises.gap(name))
        print(f"{files[name]}  fill the gap, then: tinygrad-opt exercise check {name}")
        return 0
    chosen = [name] if name else started
    if not chosen:
        raise ValueError(f"there is nothing to check in {folder}: start an exercise first,"
                         " such as `tinygrad-opt exercise start product`")
    found = {one: exercises.check(one, files[one]) for one in chosen}
    for one, wrong in found.items():
        print(f"{one}: {wrong or 'right'}")
    if name and not found[name]:
        order = [*files]
        later = (one for one in order[order.index(name) + 1 :] if one not in started)
        if (following := next(later, None)) is not None:
            print(f"next: tinygrad-opt exercise start {following}")
    return 1 if any(found.values()) else 0


def _start(path: Path, text: str) -> None:
    """Write the file of an exercise, and never over one that is there."""
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise ValueError(f"{path} is there already; it stays as it is. To start anew, take it"
                         " away first") from None
