"""The look of plots: themes, one colour and one marker for each optimizer, and blank figures.

The hues are Okabe and Ito's, which survive every common colour blindness; a marker and a dash
pattern say the same again without colour. Matplotlib is imported when a figure is made, and
its pyplot, which keeps global state and wants a display, is not used at all.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.errors import RenderError

__all__ = ["Look", "Theme", "figure", "legend_below", "looks", "png", "theme_of"]

OKABE_ITO = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73",
    "yellow": "#F0E442", "blue": "#0072B2", "vermillion": "#D55E00", "purple": "#CC79A7",
}
CLASSES = ("sky", "orange", "green", "purple", "blue", "vermillion", "yellow", "black")
CLASS_MARKERS = "o^sDvPX*<>"
LARGE = (9.6, 4.8)                             # inches; see `figure`

# Each family of optimizers has a hue; within it marker and dashes differ.
_OPTIMIZERS = {
    "sgd": ("black", "o", "-"),
    "gradientdescent": ("black", "o", "-"),
    "momentum": ("orange", "s", "--"),
    "nesterov": ("sky", "^", "-."),
    "adagrad": ("green", "D", (0, (5, 1))),
    "rmsprop": ("purple", "v", (0, (3, 1, 1, 1))),
    "adam": ("vermillion", "X", "-"),
    "adamw": ("blue", "P", (0, (4, 1, 1, 1, 1, 1))),
    "adadelta": ("green", "d", ":"),
    "adamax": ("vermillion", "p", "--"),
    "amsgrad": ("vermillion", "<", ":"),
    "nadam": ("vermillion", "h", "-."),
    "radam": ("vermillion", "H", (0, (5, 1))),
    "lion": ("blue", ">", "--"),
    "conjugategradient": ("purple", "<", "--"),
    "newton": ("sky", "8", ":"),
    "lbfgs": ("sky", "p", "--"),
}
_ALIASES = {"nag": "nesterov", "gd": "sgd", "heavyball": "momentum", "batch": "sgd",
            "cg": "conjugategradient"}
_REST = [("blue", "o", "-"), ("orange", "D", "--"), ("green", "^", "-."), ("purple", "s", ":"),
         ("vermillion", "v", (0, (5, 1))), ("sky", "X", (0, (3, 1, 1, 1))), ("black", "P", "--")]


@dataclass(frozen=True)
class Theme:
    """The colours of a page."""

    name: str
    page: str
    text: str
    muted: str
    grid: str
    ink: str                       # what black becomes
    alarm: str
    faint: float                   # opacity of what lies behind an average

    def color(self, name: str) -> str:
        """A hue of Okabe and Ito that can be seen on this page."""
        return self.ink if name == "black" else OKABE_ITO[name]


@dataclass(frozen=True)
class Look:
    """How the line of one optimizer looks, on every picture."""

    color: str
    marker: str
    dashes: Any


LIGHT = Theme("light", "#FFFFFF", "#1A1A1A", "#555555", "#E3E5E8", "#000000", "#B00020", 0.35)
DARK = Theme("dark", "#14171A", "#ECEFF1", "#B0B4B8", "#33383D", "#FFFFFF", "#FF8A80", 0.55)


def theme_of(name: str | Theme) -> Theme:
    """The theme of this name, ``"light"`` or ``"dark"``."""
    if isinstance(name, Theme):
        return name
    themes = {"light": LIGHT, "dark": DARK}
    if name not in themes:
        raise ValueError(f"theme must be 'light' or 'dark', got {name!r}.")
    return themes[name]


def looks(names: Iterable[str], theme: str | Theme = "light") -> dict[str, Look]:
    """A look for each name: that of the optimizer it begins with, or else one that is free.

    Parameters
    ----------
    names : iterable of str
        Such as ``["SGD", "Adam lr=0.1"]``. Two of one optimizer share its colour and get
        different markers and dashes.
    theme : {"light", "dark"}

    Returns
    -------
    dict of str to Look

    Examples
    --------
    >>> looks(["Adam lr=0.1", "SGD"])["Adam lr=0.1"].color
    '#D55E00'
    """
    theme = theme_of(theme)
    chosen: dict[str, tuple[str, str, Any]] = {}
    for name in dict.fromkeys(names):
        known = _OPTIMIZERS.get(_optimizer(name) or "")
        taken = set(chosen.values())
        pool = [*([known] if known else []), *([(known[0], m, d) for _, m, d in _REST]
                                               if known else _REST)]
        chosen[name] = next((look for look in pool if look not in taken), pool[-1])
    return {name: Look(theme.color(hue), *rest) for name, (hue, *rest) in chosen.items()}


def _optimizer(name: str) -> str | None:
    """The optimizer that a label such as "Adam, lr 0.1" begins with."""
    key = re.sub(r"[^a-z]", "", name.lower())
    both = {**{k: k for k in _OPTIMIZERS}, **_ALIASES}
    return next((both[k] for k in sorted(both, key=len, reverse=True) if key.startswith(k)), None)


def figure(size: tuple[float, float], theme: str | Theme = "light", **options: Any) -> Any:
    """A blank figure of so many inches at 100 dots each, with an Agg canvas of its own.

    On one that is larger than `LARGE` both ways, such as a slide, words and lines grow with it.
    What a picture shows goes to ``figure.numbers``, for `save_numbers`.
    """
    matplotlib_or_error()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    theme = theme_of(theme)
    grown = max(1.0, int(32 * min(side / large for side, large in zip(size, LARGE))) / 32)
    with styled(theme):
        made: Any = Figure(figsize=(size[0] / grown, size[1] / grown), dpi=100 * grown,
                           facecolor=theme.page, **options)
        FigureCanvasAgg(made)
    made.numbers = {}
    made._repr_png_ = partial(png, made)          # notebooks show it, with or without pyplot
    return made


def legend_below(made: Any, handles: Any = None, columns: int = 4) -> Any:
    """A legend under all axes, in as many columns as there is room for."""
    if handles is None:
        handles = [h for ax in made.axes for h in ax.get_legend_handles_labels()[0]]
    legend = None
    for wide in range(min(columns, len(handles)), 0, -1):
        if legend:
            legend.remove()
        rows = -(-len(handles) // wide)
        legend = made.legend(handles=handles, loc="outside lower center", frameon=False,
                             ncols=-(-len(handles) // rows), handlelength=3.4)
        if legend.get_window_extent().width <= 0.98 * made.bbox.width:
            break
    return legend


@contextmanager
def styled(theme: Theme) -> Iterator[None]:
    """Artists that are made inside take the theme; Matplotlib's settings are put back after."""
    rc = matplotlib_or_error().rc_context({
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9,
        "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 8,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "text.color": theme.text,
        "axes.edgecolor": theme.muted, "axes.labelcolor": theme.text, "axes.facecolor": theme.page,
        "axes.titlecolor": theme.text, "xtick.color": theme.muted, "ytick.color": theme.muted,
        "xtick.labelcolor": theme.text, "ytick.labelcolor": theme.text, "grid.color": theme.grid,
        "legend.facecolor": theme.page, "legend.edgecolor": theme.grid,
        "legend.labelcolor": theme.text, "legend.framealpha": 0.85, "figure.facecolor": theme.page,
        "savefig.facecolor": theme.page, "axes.spines.top": False, "axes.spines.right": False,
        "figure.constrained_layout.w_pad": 0.08, "figure.constrained_layout.h_pad": 0.08,
        "axes.grid": False, "lines.linewidth": 1.6, "svg.hashsalt": "tinygrad_opt",
        "axes.unicode_minus": True, "text.usetex": False, "axes.prop_cycle": "cycler('color', "
        + repr([theme.color(h) for h, _, _ in _REST]) + ")",
    })
    with rc:
        yield


def matplotlib_or_error() -> Any:
    """The module, or one sentence that says how to get it."""
    try:
        import matplotlib
    except ImportError:
        raise RenderError(
            'pictures need Matplotlib, which is not installed: pip install "tinygrad-opt[viz]"'
        ) from None
    return matplotlib


def png(picture: Any, **options: Any) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png", **options)
    return buffer.getvalue()


def pale(name: str, theme: Theme, keep: float = 0.5, n: int = 256) -> Any:
    """A colour map mixed with the page, so that lines in front of it stand out."""
    matplotlib = matplotlib_or_error()
    from matplotlib.colors import ListedColormap, to_rgb

    colors = matplotlib.colormaps[name](np.linspace(0, 1, n))[:, :3]
    keep = keep if theme.name == "light" else 0.8 * keep       # light lines need a darker ground
    return ListedColormap(keep * colors + (1 - keep) * np.array(to_rgb(theme.page)))


def from_page(hue: str, theme: Theme) -> Any:
    """A colour map from the page to a hue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(hue, [theme.page, theme.color(hue)])


def ordered(n: int, theme: Theme) -> list[Any]:
    """So many colours in an order that the eye knows: from far off the page to near it."""
    scale = matplotlib_or_error().colormaps["viridis"]
    ends = (0.1, 0.75) if theme.name == "light" else (0.95, 0.4)
    return [scale(v) for v in np.linspace(*ends, n)]


def halo(theme: Theme, width: float = 3.0) -> list[Any]:
    """A path effect: an outline in the page's colour, which keeps lines and words apart."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground=theme.page, alpha=0.8)]


def rgb(colors: Iterable[str]) -> np.ndarray:
    """Colours such as ``"#D55E00"`` as rows of three bytes."""
    return np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors], np.uint8)


def data_url(pixels: np.ndarray) -> str:
    """An image of shape (height, width, 4) as the address of a PNG of at most 255 colours."""
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if (pixels[..., 3] == 255).all():
        # the default method would merge a thin line's colour with a large area's
        image = image.convert("RGB").quantize(255, Image.Quantize.MAXCOVERAGE)
    else:
        image = image.quantize(255, Image.Quantize.FASTOCTREE)
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
