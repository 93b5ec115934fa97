"""``tinygrad-opt playground``: pages that compute, without Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import Flag, Page, Rivals, Theme
from tinygrad_opt.cli.outputs import room_for

__all__ = ["playground"]


@command
def playground(
    data: Annotated[str | None, Argument("all of the former", nargs="?", metavar="DATASET")],
    *,
    race: Flag = False,
    optimizers: Rivals | None = None,
    out: Page = Path("playground.html"),
    theme: Theme = "auto",
) -> None:
    """Make a page on which a network learns, with every number to be seen.

    The reader chooses data, noise, layers, activation, batch, optimizer and rate; plays, pauses,
    takes single steps, and goes forward and backward through one of them, layer by layer. The page
    runs the engine's own program and needs neither Python nor a network.

    Parameters
    ----------
    data
        spiral, moons, circles, xor, blobs or vertical, or a CSV file of two columns and a class
    race
        instead of a network, optimizers that race down a surface from where the reader clicks
    optimizers
        such as sgd,adam:0.01 (default: all)
    out
        where to
    theme
        colours; with auto the page follows its reader's system

    Examples
    --------
    tinygrad-opt playground
    tinygrad-opt playground spiral --optimizers sgd,momentum,adam
    tinygrad-opt playground points.csv --out mine.html
    tinygrad-opt playground --race --out race.html
    """
    from tinygrad_opt import live

    if race and data:
        raise ValueError(f"--race takes no data set, got {data}")
    page = live.race(optimizers=optimizers, theme=theme) if race else live.playground(
        None, data, optimizers=optimizers, theme=theme)
    size = len(str(page).encode()) / 1000
    print(f"{page.save(room_for(out))}  {size:.0f} kB: open it in a browser")
