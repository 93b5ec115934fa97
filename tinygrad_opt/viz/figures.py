"""Blank figures in the theme.

Matplotlib is imported when a figure is made, and its pyplot, which keeps global state and wants a
display, is not used at all.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, cast

import numpy as np

from tinygrad_opt.errors import RenderError, install
from tinygrad_opt.typing import Array, ArrayLike, Unpack
from tinygrad_opt.viz.theme import FIGURE_FONT, NIGHT, OKABE_ITO, Theme, theme_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.patheffects import AbstractPathEffect

    class Picture(Figure):
        """A figure that knows its theme, and the numbers that it shows."""

        theme: Theme
        numbers: Mapping[str, ArrayLike]
else:                                          # names for annotations, where nothing is imported
    Axes = Picture = object

Color: TypeAlias = str | tuple[float, ...]

__all__ = ["Axes", "Options", "Picture", "Unpack", "drawing", "legend_below", "png", "save_picture"]

POINTS = 72                                    # an inch, as SVG is drawn
LARGE = (9.6, 4.8)                             # inches; see `drawing`


class Options(TypedDict, total=False):
    """What every picture takes.

    Parameters
    ----------
    theme : {"light", "dark", "auto"}
        With "auto" the page of a film follows its reader's system; pictures are light.
    size : (float, float)
        Width and height in inches; (9.6, 5.4) is the shape of a slide.
    dpi : float
        Dots per inch, by default 100.
    title : str
        Above the picture.
    """

    theme: str
    size: tuple[float, float] | None
    dpi: float
    title: str


@contextmanager
def drawing(
    usual: tuple[float, float], numbers: Mapping[str, ArrayLike] | None = None, *,
    theme: str | Theme = "light", size: tuple[float, float] | None = None, dpi: float = 100,
    title: str = "",
) -> Iterator[tuple[Picture, Theme]]:
    """A blank figure and its theme, which all that is drawn inside the block takes.

    Parameters
    ----------
    usual : (float, float)
        The size if none is given.
    numbers : dict of str to array-like, optional
        What the picture shows, for `save_numbers`.
    theme, size, dpi, title
        As in `Options`.
    """
    page, (width, height) = theme_of(theme), size or usual
    with styled(page):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        # on what is larger than `LARGE` both ways, such as a slide, words and lines grow with it
        grown = max(1.0, int(32 * min(width / LARGE[0], height / LARGE[1])) / 32)
        made = cast("Picture", Figure(
            figsize=(width / grown, height / grown), dpi=dpi * grown, facecolor=page.page,
            layout="constrained"))
        FigureCanvasAgg(made)
        made.numbers, made.theme = numbers or {}, page
        vars(made)["_repr_png_"] = partial(png, made)         # notebooks show it without pyplot
        if title:
            made.suptitle(title, fontweight="bold", fontsize=11)
        yield made, page


def legend_below(
    made: Figure, handles: Sequence[Artist] | None = None, columns: int = 4
) -> Legend | None:
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
    with matplotlib_or_error().rc_context({
        "font.family": "sans-serif", "font.sans-serif": [FIGURE_FONT], "font.size": 9,
        "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 8,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "text.color": theme.text,
        "axes.edgecolor": theme.muted, "axes.labelcolor": theme.text, "axes.facecolor": theme.page,
        "axes.titlecolor": theme.text, "xtick.color": theme.muted, "ytick.color": theme.muted,
        "xtick.labelcolor": theme.text, "ytick.labelcolor": theme.text, "grid.color": theme.grid,
        "legend.facecolor": theme.page, "legend.edgecolor": theme.grid,
        "legend.labelcolor": theme.text, "legend.framealpha": 0.85, "figure.facecolor": theme.page,
        "savefig.facecolor": theme.page, "axes.spines.top": False, "axes.spines.right": False,
        "figure.constrained_layout.w_pad": 0.08, "figure.constrained_layout.h_pad": 0.08,
        "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.6, "lines.linewidth": 1.6,
        "text.usetex": False, "axes.unicode_minus": True, "svg.hashsalt": "tinygrad_opt",
        "axes.prop_cycle":
        f"cycler('color', {[theme.color(hue) for hue in OKABE_ITO if hue != 'yellow']})",
    }):
        yield


def matplotlib_or_error() -> ModuleType:
    """The module, or one sentence that says how to get it."""
    try:
        import matplotlib
    except ImportError:
        raise RenderError(
            f"pictures need Matplotlib, which is not installed: {install('viz')}") from None
    return matplotlib


def png(picture: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png")
    return buffer.getvalue()


def embedded(picture: Figure, alt: str) -> str:
    """A figure as HTML that needs no file."""
    data = base64.b64encode(png(picture)).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{alt}">'


def save_picture(plot: Callable[..., Picture], path: Path, **options: Unpack[Options]) -> Path:
    """Save what ``plot(**options)`` draws; an SVG of theme "auto" follows its reader's system."""
    made = plot(**options)
    if path.suffix.lower() == ".svg" and options.get("theme") == "auto":
        dark = plot(**{**options, "theme": "dark"})
        width, height = made.get_size_inches() * POINTS
        text = "\n".join([
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            f' width="{width:g}pt" height="{height:g}pt" viewBox="0 0 {width:g} {height:g}">',
            "<style>svg{max-width:100%;height:auto}text{white-space:pre}"
            f"@media {NIGHT}{{.light{{display:none}}.dark{{display:inline}}}}</style>",
            f'<g class="light">{svg_inside(made, made)}</g>',
            f'<g class="dark" display="none">{svg_inside(dark, dark)}</g></svg>', ""])
        path.write_text(text, encoding="utf-8", newline="\n")
    else:
        made.savefig(path)
    return path


def svg_inside(figure: Picture, artist: Artist) -> str:
    """What an artist of a figure draws, as the inside of an SVG element."""
    from matplotlib.backends.backend_svg import RendererSVG

    text, dpi, figure.dpi = io.StringIO(), figure.dpi, POINTS
    width, height = figure.get_size_inches() * POINTS
    try:
        with matplotlib_or_error().rc_context({
                "svg.fonttype": "none", "svg.hashsalt": figure.theme.name}):
            pen: Any = RendererSVG(                        # type: ignore[no-untyped-call]
                width, height, text, image_dpi=POINTS,
                metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
            artist.draw(pen)
            pen.finalize()
    finally:
        figure.dpi = dpi
    inside = text.getvalue().partition("</style>\n </defs>")[2].rpartition("</svg>")[0]
    return re.sub("<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), inside).strip()


def shown(plot: Callable[[], Figure]) -> bytes | None:
    """What a notebook shows; without Matplotlib, or with nothing to be drawn, text is left."""
    try:
        return png(plot())
    except (RenderError, ValueError):
        return None


def through(colors: Sequence[Color]) -> LinearSegmentedColormap:
    """A colour map from the first colour through the others to the last."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("through", colors)


def contours(
    ax: Axes, x: Array, y: Array, height: Array, levels: Array | int, cmap: str,
    start: Sequence[float], minima: Iterable[Sequence[float]],
) -> Colorbar:
    """Contours, where paths over them start, and stars at the minima; returns the colour bar."""
    from matplotlib.colors import ListedColormap, to_rgb
    from matplotlib.ticker import MaxNLocator

    made = cast("Picture", ax.figure)
    page = made.theme
    colors = matplotlib_or_error().colormaps[cmap](np.linspace(0, 1, 256))[:, :3]
    keep = 0.55 if page.name == "light" else 0.44          # light lines need a darker ground
    pale = ListedColormap(keep * colors + (1 - keep) * np.array(to_rgb(page.page)))
    ax.grid(False)
    filled = ax.contourf(x, y, height, levels, cmap=pale, zorder=0)
    filled.set_edgecolor("face")                           # no gaps between them in an SVG
    ax.contour(x, y, height, levels, colors=page.ink, alpha=0.16, linewidths=0.6,
               linestyles="solid", zorder=0.5)
    if len(start):
        ax.plot(*start, "o", markerfacecolor=page.page, markeredgecolor=page.ink, markersize=8,
                zorder=2)
    for place in minima:
        ax.plot(*place, "*", color=page.star, markeredgecolor="#000000", markersize=13, zorder=10)
    bar = made.colorbar(filled, ax=ax, shrink=0.9, pad=0.02, aspect=30, ticks=MaxNLocator(5))
    bar.outline.set_visible(False)
    return bar


def panels(
    made: Figure, count: int, columns: int, heights: Sequence[float] | None = None
) -> list[Axes]:
    """So many axes, row after row; what is left of the last row stays empty."""
    rows = -(-count // columns)
    axes = [*made.subplots(rows, columns, squeeze=False, height_ratios=heights).flat]
    for ax in axes[count:]:
        ax.set_axis_off()
    return axes[:count]


def reach(sizes: Array) -> tuple[float, float]:
    """From where to where a logarithmic scale shows sizes, with room on both sides."""
    seen = sizes[(sizes > 0) & np.isfinite(sizes)]
    return (seen.min() / 5, seen.max() * 3) if len(seen) else (1e-8, 1.0)


def letters_on(color: Sequence[float]) -> str:
    """Black or white, whichever can be read on a colour."""
    return "#000000" if np.dot(color[:3], [0.3, 0.59, 0.11]) > 0.5 else "#FFFFFF"


def ordered(n: int, theme: Theme) -> list[Color]:
    """So many colours in an order that the eye knows: from far off the page to near it."""
    scale = matplotlib_or_error().colormaps["viridis"]
    ends = (0.1, 0.75) if theme.name == "light" else (0.95, 0.4)
    return [scale(v) for v in np.linspace(*ends, n)]


def halo(theme: Theme) -> list[AbstractPathEffect]:
    """A path effect: an outline in the page's colour, which keeps lines and words apart."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=3, foreground=theme.page, alpha=0.8)]


def rgb(colors: Iterable[str]) -> np.ndarray:
    """Colours such as ``"#D55E00"`` as rows of three bytes."""
    return np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors], np.uint8)
