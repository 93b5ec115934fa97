"""Which program places the boxes, and which one paints PNG and PDF.

In this order, ten seconds each, then the next: the program named by ``$TINYGRAD_OPT_DOT``, a
``dot`` on the PATH, graphviz-pure (``pip install "tinygrad-opt[viz]"``), pygraphviz
(``pip install "tinygrad-opt[pdf]"``), and the layout that is built in and needs nothing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass

from tinygrad_opt.errors import RenderError, install
from tinygrad_opt.viz.graph.dot import skeleton
from tinygrad_opt.viz.graph.layout import (
    FRAME_PAD,
    FRAME_TITLE,
    RANK_GAP,
    Box,
    Layout,
    Point,
    extent,
    layered,
)
from tinygrad_opt.viz.graph.look import Shape
from tinygrad_opt.viz.graph.model import Graph
from tinygrad_opt.viz.graph.text import width

__all__ = ["NAMES", "Engine", "engines", "place", "render"]

NAMES = ("auto", "dot", "graphviz-pure", "pygraphviz", "builtin")
TIMEOUT = 10.0
ENGINES = "   |   apt install graphviz   |   brew install graphviz   |   winget install graphviz"
INSTALL = {"png": install("viz") + ENGINES, "pdf": install("pdf") + ENGINES}
# In a process of its own, so that a slow layout can be stopped. Only installed code is imported.
_PYGRAPHVIZ = """
import sys
sys.path[:] = [p for p in sys.path if p]
import pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.buffer.write(graph.draw(format=sys.argv[1].removeprefix("-T"), prog="dot"))
"""


@dataclass(frozen=True)
class Engine:
    """A program that reads DOT text: its command up to the format, and what it can paint."""

    name: str
    command: tuple[str, ...]
    formats: tuple[str, ...] = ("plain", "png", "pdf")

    def run(self, text: str, format: str) -> bytes:
        """Feed it DOT text.

        Raises
        ------
        RenderError
            If it cannot be started, takes too long or finds fault with the text.
        """
        options = [f"-T{format}", *(["-Gdpi=144"] if format == "png" else [])]
        try:
            done = subprocess.run([*self.command, *options], input=text.encode(), timeout=TIMEOUT,
                                  capture_output=True, check=False)
        except subprocess.TimeoutExpired:
            raise RenderError(f"{self.name} took more than {TIMEOUT:g} s") from None
        except OSError as error:
            raise RenderError(f"{self.name} could not be started: {error}") from error
        said = done.stderr.decode(errors="replace")
        if done.returncode or not done.stdout or "Error:" in said:
            reason = said.strip() or f"exit status {done.returncode}, no output"
            raise RenderError(f"{self.name} failed: {reason[:300]}")
        return done.stdout


def engines(wanted: str = "auto") -> Iterator[Engine]:
    """The programs on this machine that may be asked, the best first.

    Raises
    ------
    ValueError
        For a name that is not one of `NAMES`.
    RenderError
        If a certain one is wanted and is not there.
    """
    if wanted not in NAMES:
        raise ValueError(f"engine {wanted!r} is not known; choose one of {', '.join(NAMES)}")
    found = list(_installed())
    if wanted in ("auto", "builtin"):
        return iter(found if wanted == "auto" else [])
    chosen = [e for e in found if e.name == wanted]
    if not chosen:
        raise RenderError(
            f"engine {wanted!r} is not on this machine. Any of these adds one:  {INSTALL['png']}")
    return iter(chosen)


def _installed() -> Iterator[Engine]:
    if named := os.environ.get("TINYGRAD_OPT_DOT"):
        yield Engine("dot", (named,))
    if system := shutil.which("dot"):
        yield Engine("dot", (system,))
    folders = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    if pure := shutil.which("graphviz-pure", path=folders):
        yield Engine("graphviz-pure", (pure,), ("plain", "png"))
    if importlib.util.find_spec("pygraphviz") and sys.executable:
        yield Engine("pygraphviz", (sys.executable, "-c", _PYGRAPHVIZ))


def render(text: str, format: str, wanted: str = "auto") -> tuple[bytes, str]:
    """Paint DOT text as png or pdf; gives the file's bytes and the engine's name.

    Raises
    ------
    RenderError
        If no engine on this machine can, with the commands that add one.
    """
    faults = []
    for engine in engines(wanted):
        if format in engine.formats:
            try:
                return engine.run(text, format), engine.name
            except RenderError as error:
                faults.append(str(error))
    reason = f" ({'; '.join(faults)})" if faults else ""
    raise RenderError(
        f"No {format.upper()} engine found{reason}. Any of these adds one:  {INSTALL[format]}")


def place(
    graph: Graph, shapes: dict[str, Shape], wanted: str = "auto", room: float = RANK_GAP
) -> Layout:
    """Lay the graph out with the first engine that manages it; the built-in layout always does.

    Parameters
    ----------
    graph, shapes
        What there is, and how large.
    wanted : str
        One of `NAMES`.
    room : float
        The least distance between two columns, in pixels.

    Returns
    -------
    Layout

    Raises
    ------
    RenderError
        If a certain engine is wanted and cannot.
    """
    for engine in engines(wanted):
        try:
            plain = engine.run(skeleton(graph, shapes, room), "plain").decode()
            return read_plain(plain, graph, shapes, engine.name)
        except (RenderError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
            if wanted != "auto":
                raise RenderError(f"engine {wanted!r} gave no layout: {error}") from error
    sizes = {id: (s.width, s.height) for id, s in shapes.items()}
    titles = {c.id: width(c.label, 12) for c in graph.clusters}
    return layered(graph, sizes, titles, room)


def read_plain(text: str, graph: Graph, shapes: dict[str, Shape], engine: str) -> Layout:
    """Read Graphviz's ``-Tplain``: inches, with y upwards."""
    centers: dict[str, Point] = {}
    paths: dict[str, list[Point]] = {}
    height = 0.0
    for line in text.splitlines():
        kind, *words = line.split()
        if kind == "graph":
            height = float(words[2])
        elif kind == "node":
            [centers[words[0]]] = _points(words[1:3], height)
        elif kind == "edge":
            paths[f"{words[0]}_{words[1]}"] = _points(words[3 : 3 + 2 * int(words[2])], height)
    boxes = {id: Box(*centers[id], s.width, s.height) for id, s in shapes.items()}
    frames: dict[str, Box] = {}
    for cluster in sorted(graph.clusters, key=lambda c: len(c.members)):
        inside = [boxes[m] for m in cluster.members if m in boxes]
        inside += [frames[c.id] for c in graph.clusters if c.parent == cluster.id]
        frames[cluster.id] = _around(inside, width(cluster.label, 12))
    (left, top), (right, bottom) = extent([*boxes.values(), *frames.values()], paths.values())
    layout = Layout(boxes, frames, {e.id: paths[e.id] for e in graph.edges}, 0, 0, engine)
    return layout.moved(dict.fromkeys([*boxes, *frames, *paths], (-left, -top)),
                        right - left, bottom - top)


def _points(words: list[str], height: float) -> list[Point]:
    """Places in inches from below, as pixels from above."""
    numbers = [72 * float(word) for word in words]
    return [(x, 72 * height - y) for x, y in zip(numbers[::2], numbers[1::2])]


def _around(boxes: list[Box], title: float) -> Box:
    """The frame around some boxes, with room for its title above them."""
    pad = FRAME_PAD - 4                                    # less than the margin that was kept free
    (left, top), (right, bottom) = extent(boxes)
    left, top, bottom = left - pad, top - FRAME_TITLE, bottom + pad
    right = max(right + pad, left + title + 2 * pad)
    return Box((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
