"""``tinygrad-opt demo``: a tour in seconds that ends in one page, or one demo of the source."""

from __future__ import annotations

import argparse
import base64
import shlex
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from tinygrad_opt.cli.command import UsageError, argument, at_least, command, parser
from tinygrad_opt.errors import nearest

__all__ = ["demo"]

# in the checkout that is installed from, or the one that is the current folder
DEMOS = next((root / "demos" for root in (Path(__file__).parents[2], Path())
              if (root / "demos" / "helpers.py").is_file()), Path("demos"))
NEURON = ("tanh(a*b + c)", "a=2", "b=-3", "c=6.5")


class Stop(NamedTuple):
    """One stop of the tour: a command, and what it makes."""

    title: str
    words: str
    command: tuple[str, ...]
    files: tuple[str, ...]


@command(
    argument("name", nargs="?", metavar="NAME",
             help="one demo of the source's folder, or 'list'; without it, the tour"),
    argument("--out", type=Path, metavar="FOLDER", help="where to (default: runs/demo, or runs)"),
    argument("--epochs", type=at_least(1), default=5, metavar="N",
             help="passes over the digits of the tour (default: 5)"),
    argument("--quick", action="store_true", help="one demo at small size, in seconds"),
    examples="""
    tinygrad-opt demo
    tinygrad-opt demo --out tour --epochs 20
    tinygrad-opt demo list
    tinygrad-opt demo reinforce --quick
    """,
)
def demo(options: argparse.Namespace) -> int:
    """Show what there is: learn, draw, play, compare and race, on one page.

    Each stop prints the command that you can type to do the same with other numbers. Plots and
    races need Matplotlib; without it, the tour says so and goes on. With a name, one of the demos
    that come with the source is run.
    """
    return _tour(options) if options.name is None else _one(options)


def _one(options: argparse.Namespace) -> int:
    """Run a demo in a process of its own, or list them all."""
    import ast
    import subprocess

    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DEMOS.glob("*.py"))}
    texts = {name: text for name, text in texts.items() if f"python demos/{name}.py" in text}
    if not texts:
        raise UsageError("the demos come with the source, not with the installed package: run this"
                         " in its folder")
    if options.name == "list":
        wide = max(map(len, texts))
        for name, text in texts.items():
            print(f"{name:{wide}}  {(ast.get_docstring(ast.parse(text)) or '').splitlines()[0]}")
        return 0
    if options.name not in texts:
        raise UsageError(f"there is no demo {options.name!r}: {nearest(options.name, texts)}")
    given = {"--quick": options.quick, "--out": options.out}
    taken = [[option, str(value)][:1 if value is True else 2] for option, value in given.items()
             if value and f"[{option}" in texts[options.name]]
    path = DEMOS / f"{options.name}.py"
    return subprocess.run([sys.executable, str(path), *(x for part in taken for x in part)],
                          check=False).returncode


def _tour(options: argparse.Namespace) -> int:
    """All stops, and the page of them."""
    from tinygrad_opt.viz.html_page import html_page

    out = options.out or Path("runs/demo")
    out.mkdir(parents=True, exist_ok=True)
    parts = []
    for stop in _stops(out, options.epochs):
        print(f"$ tinygrad-opt {shlex.join(stop.command)}", flush=True)
        chosen = parser().parse_args(stop.command)
        if code := chosen.run(chosen) or 0:
            return int(code)
        print()
        parts.append(_part(stop, out))
    page = out / "index.html"
    title = "tinygrad_opt: a tour"
    text = html_page(title, "\n".join([f"<h1>{title}</h1>", *parts]), style=STYLE)
    page.write_text(text, encoding="utf-8", newline="\n")
    print(f"\n{page}  all of it on one page: open it in a browser")
    return 0


def _stops(out: Path, epochs: int) -> Iterator[Stop]:
    """One by one, as what a stop has to say belongs there."""
    yield from [
        Stop("A network learns to read digits",
             "The graph of the loss of one batch, with the gradients that trained the network.",
             ("train", "digits", "--epochs", str(epochs), "--quiet", "--out", str(out / "digits")),
             ("digits/graph.svg", "digits/history.csv")),
        Stop("A formula is a graph",
             "Every box holds its number and, below it, how much the result changes with it.",
             ("draw", *NEURON, "--grad", "--out", str(out / "neuron.svg")),
             ("neuron.svg",)),
        Stop("Backpropagation, step by step",
             "The same formula, played forwards and backwards.",
             ("play", *NEURON, "--out", str(out / "backprop.html")),
             ("backprop.html",)),
        Stop("Optimizers side by side",
             "Each learns the same data from the same first weights.",
             ("compare", "moons", "--seeds", "2", "--epochs", "50", "--quiet",
              "--out", str(out / "compare")),
             ("compare/compare.svg", "compare/compare.csv")),
    ]
    yield _race(out)


def _race(out: Path) -> Stop:
    """Optimizers race down a valley; without Matplotlib there are its numbers only."""
    from tinygrad_opt.errors import RenderError
    from tinygrad_opt.viz.figures import matplotlib_or_error

    files = ["race.svg", "race.html", "race.csv"]
    try:
        matplotlib_or_error()
    except RenderError as error:
        print(f"no picture of the race: {error}")
        files = files[2:]
    return Stop("Optimizers race down a valley",
                "Rosenbrock's function: a bent valley whose floor is almost flat.",
                ("race", "rosenbrock", "--optimizers", "sgd,momentum,rmsprop,adam",
                 "--frames", "50", "--quiet", "--out", *(str(out / file) for file in files)),
                tuple(files))


# ---- the page ------------------------------------------------------------------------------------

STYLE = """body{max-width:60em;margin:2em auto;padding:0 1em}
img{max-width:100%;max-height:32em;border:1px solid var(--grid);border-radius:6px}
code{background:var(--panel);padding:.2em .4em;border-radius:4px;overflow-wrap:anywhere}
@media print{h2,h2+p,h2+p+p{break-after:avoid}img{break-inside:avoid}}"""


def _part(stop: Stop, out: Path) -> str:
    """A heading, a sentence, the command, the first picture, and links to what is there."""
    there = [file for file in stop.files if (out / file).is_file()]
    picture = next((f for f in there if f.endswith((".svg", ".png"))), None)
    lines = [f"<h2>{escape(stop.title)}</h2>", f"<p>{escape(stop.words)}</p>",
             f"<p><code>{escape(f'tinygrad-opt {shlex.join(stop.command)}')}</code></p>"]
    if picture:
        kind = "svg+xml" if picture.endswith(".svg") else "png"
        data = base64.b64encode((out / picture).read_bytes()).decode()
        lines.append(f'<p><a href="{picture}"><img src="data:image/{kind};base64,{data}"'
                     f' alt="{escape(stop.title)}"></a></p>')
    lines.append(f"<p>{' · '.join(f'<a href={f!r}>{f}</a>' for f in there)}</p>")
    return "\n".join(lines)
