"""``tinygrad-opt demo``: a tour in seconds that ends in one page, or one demo of the source."""

from __future__ import annotations

import ast
import base64
import shlex
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import Annotated

from tinygrad_opt.cli.command import Argument, command, parser
from tinygrad_opt.cli.kinds import Count, Flag, Folder
from tinygrad_opt.errors import RenderError, nearest

__all__ = ["demo"]

# in the checkout that is installed from, or the one that is the current folder
DEMOS = next((root / "demos" for root in (Path(__file__).parents[2], Path())
              if (root / "demos" / "helpers.py").is_file()), Path("demos"))
NEURON = '"tanh(a*b + c)" a=2 b=-3 c=6.5'
# the stops of the tour: heading, words, command, and the files that it makes
STOPS = (
    ("A network learns to read digits",
     "The graph of the loss of one batch, with the gradients that trained the network.",
     "train digits --epochs {epochs} --quiet --out {out}/digits",
     "digits/graph.svg digits/history.csv"),
    ("A formula is a graph",
     "Every box holds its number and, below it, how much the result changes with it.",
     f"draw {NEURON} --grad --out {{out}}/neuron.svg", "neuron.svg"),
    ("Backpropagation, step by step", "The same formula, played forwards and backwards.",
     f"play {NEURON} --out {{out}}/backprop.html", "backprop.html"),
    ("Optimizers side by side", "Each learns the same data from the same first weights.",
     "compare moons --seeds 2 --epochs 50 --quiet --out {out}/compare",
     "compare/compare.svg compare/compare.csv"),
    ("Optimizers race down a valley",
     "Rosenbrock's function: a bent valley whose floor is almost flat.",
     "race rosenbrock --optimizers sgd,momentum,rmsprop,adam --frames 50 --quiet --out",
     "race.svg race.html race.csv"),
)


@command
def demo(
    name: Annotated[str | None, Argument("the tour", nargs="?", metavar="NAME")],
    *,
    out: Folder | None = None,
    epochs: Count = 5,
    quick: Flag = False,
) -> int:
    """Show what there is: learn, draw, play, compare and race, on one page.

    Each stop prints the command that you can type to do the same with other numbers. Plots and
    races need Matplotlib; without it, the tour says so and goes on. With a name, one of the demos
    that come with the source is run.

    Parameters
    ----------
    name
        one demo of the source's folder, or 'list'
    out
        where to (default: runs/demo, or runs)
    epochs
        passes over the digits of the tour
    quick
        one demo at small size, in seconds

    Examples
    --------
    tinygrad-opt demo
    tinygrad-opt demo --out tour --epochs 20
    tinygrad-opt demo list
    tinygrad-opt demo reinforce --quick
    """
    return _one(name, out, quick) if name else _tour(out or Path("runs/demo"), epochs)


def _one(name: str, out: Path | None, quick: bool) -> int:
    """Run a demo in a process of its own, or list them all."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DEMOS.glob("*.py"))}
    texts = {name: text for name, text in texts.items() if f"python demos/{name}.py" in text}
    if not texts:
        raise ValueError("the demos come with the source, not with the installed package: run this"
                         " in its folder")
    if name == "list":
        wide = max(map(len, texts))
        for one, text in texts.items():
            print(f"{one:{wide}}  {(ast.get_docstring(ast.parse(text)) or '').splitlines()[0]}")
        return 0
    if name not in texts:
        raise ValueError(f"there is no demo {name!r}: {nearest(name, texts)}")
    given = [*(["--quick"] if quick and "[--quick" in texts[name] else []),
             *(["--out", str(out)] if out and "[--out" in texts[name] else [])]
    return subprocess.run([sys.executable, str(DEMOS / f"{name}.py"), *given],
                          check=False).returncode


# ---- the tour ------------------------------------------------------------------------------------

STYLE = """body{max-width:60em;margin:2em auto;padding:0 1em}
img{max-width:100%;max-height:32em;border:1px solid var(--grid);border-radius:6px}
code{background:var(--panel);padding:.2em .4em;border-radius:4px;overflow-wrap:anywhere}
@media print{h2,h2+p,h2+p+p{break-after:avoid}img{break-inside:avoid}}"""


def _tour(out: Path, epochs: int) -> int:
    """All stops, and the page of them."""
    from tinygrad_opt.viz.figures import matplotlib_or_error
    from tinygrad_opt.viz.html_page import html_page

    out.mkdir(parents=True, exist_ok=True)
    parts = ["<h1>tinygrad_opt: a tour</h1>"]
    for title, words, typed, made in STOPS:
        files = made.split()
        typed = typed.format(epochs=epochs, out=shlex.quote(out.as_posix()))
        if typed.startswith("race"):                       # without Matplotlib, its numbers only
            try:
                matplotlib_or_error()
            except RenderError as error:
                print(f"no picture of the race: {error}")
                files = files[-1:]
            typed += "".join(f" {shlex.quote((out / file).as_posix())}" for file in files)
        print(f"$ tinygrad-opt {typed}", flush=True)
        options = parser().parse_args(shlex.split(typed))
        if code := options.run(options) or 0:
            return int(code)
        print()
        parts.append(_part(title, words, typed, out, files))
    page = out / "index.html"
    page.write_text(html_page("tinygrad_opt: a tour", "\n".join(parts), style=STYLE),
                    encoding="utf-8", newline="\n")
    print(f"\n{page}  all of it on one page: open it in a browser")
    return 0


def _part(title: str, words: str, typed: str, out: Path, files: list[str]) -> str:
    """A heading, a sentence, the command, the first picture, and links to what is there."""
    there = [file for file in files if (out / file).is_file()]
    lines = [f"<h2>{escape(title)}</h2>", f"<p>{escape(words)}</p>",
             f"<p><code>{escape(f'tinygrad-opt {typed}')}</code></p>"]
    if picture := next((file for file in there if file.endswith(".svg")), None):
        data = base64.b64encode((out / picture).read_bytes()).decode()
        lines.append(f'<p><a href="{picture}"><img src="data:image/svg+xml;base64,{data}"'
                     f' alt="{escape(title)}"></a></p>')
    lines.append(f"<p>{' · '.join(f'<a href={f!r}>{f}</a>' for f in there)}</p>")
    return "\n".join(lines)
