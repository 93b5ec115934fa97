"""``tinygrad-opt playground``: pages that compute, without Python."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_opt.cli.command import (
    UsageError,
    argument,
    command,
    file,
    rivals,
    room_for,
)
from tinygrad_opt.cli.learning import THEME

__all__ = ["playground"]


@command(
    argument("data", nargs="?", metavar="DATASET",
             help="spiral, moons, circles, xor, blobs or vertical, or a CSV file of two columns and"
                  " a class (default: all of the former)"),
    argument("--race", action="store_true",
             help="instead of a network, optimizers that race down a surface from where the reader"
                  " clicks"),
    argument("--optimizers", type=rivals, metavar="NAMES",
             help="such as sgd,adam:0.01 (default: all)"),
    argument("--out", type=file(".html", ".htm"), default=Path("playground.html"), metavar="FILE",
             help="where to (default: playground.html)"),
    THEME,
    examples="""
    tinygrad-opt playground
    tinygrad-opt playground spiral --optimizers sgd,momentum,adam
    tinygrad-opt playground points.csv --out mine.html
    tinygrad-opt playground --race --out race.html
    """,
)
def playground(options: argparse.Namespace) -> None:
    """Make a page on which a network learns, with every number to be seen.

    The reader chooses data, noise, layers, activation, batch, optimizer and rate; plays, pauses,
    takes single steps, and goes forward and backward through one of them, layer by layer. The page
    runs the engine's own program and needs neither Python nor a network.
    """
    from tinygrad_opt import live

    if options.race and options.data:
        raise UsageError(f"--race takes no data set, got {options.data}")
    chosen = {"optimizers": options.optimizers, "theme": options.theme}
    page = live.race(**chosen) if options.race else live.playground(None, options.data, **chosen)
    size = len(str(page).encode()) / 1000
    print(f"{page.save(room_for(options.out))}  {size:.0f} kB: open it in a browser")
