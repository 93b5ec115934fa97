"""What demos share: how they are called, and how their pictures are saved."""

import argparse
from pathlib import Path

from tinygrad_opt.errors import RenderError


def command_line(main, text):
    """Run a demo with the options that it is called with."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="in seconds, to see that it works")
    parser.add_argument("--out", default="runs", help="folder of the pictures")
    options = vars(parser.parse_args())
    print(parser.description)
    main(**options)


def save_both(picture, out, name):
    """Save ``picture(theme=...)``, light and dark; without Matplotlib, say what to install."""
    folder = Path(out)
    try:
        figures = {theme: picture(theme=theme) for theme in ("light", "dark")}
    except RenderError as error:
        print(error)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for theme, figure in figures.items():
        figure.savefig(folder / f"{name}_{theme}.png")
    print(f"wrote {folder / name}_light.png and _dark.png")


def save_drawing(view, out, name, kind="svg"):
    """Save a drawing, or a page of kind "html", which follow their reader's colour scheme."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    print("wrote", view.save(folder / f"{name}.{kind}"))
