"""The theme of all pictures and pages: colours, markers and fonts, in light and dark.

The hues are Okabe and Ito's, which survive every common colour blindness. No meaning rests on
colour alone: shapes, markers, dash patterns and words say the same again.

Everywhere red is positive and blue negative; a value, and the forward pass that computes it, is
blue; a gradient, and the backward pass, is orange.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from matplotlib.patheffects import AbstractPathEffect

__all__ = ["DARK", "FIGURE_FONT", "LIGHT", "MONO", "SANS", "Look", "Stroke", "Theme", "css",
           "looks", "theme_of"]

OKABE_ITO = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73",
    "yellow": "#F0E442", "blue": "#0072B2", "vermillion": "#D55E00", "purple": "#CC79A7",
}
SANS = "Helvetica, Arial, sans-serif"
MONO = "Courier, 'Courier New', monospace"
FIGURE_FONT = "DejaVu Sans"                    # comes with Matplotlib, the same everywhere


@dataclass(frozen=True)
class Theme:
    """The colours of a picture or page."""

    name: str
    page: str
    panel: str                                 # a surface that stands out from the page
    text: str
    muted: str
    grid: str
    ink: str                                   # what black becomes
    edge: str                                  # arrows of a graph
    frame: str                                 # around a group of boxes
    alarm: str
    value: str                                 # values, the forward pass
    gradient: str                              # gradients, the backward pass
    positive: str
    neutral: str
    negative: str
    star: str                                  # a minimum
    late: str                                  # the last steps of many
    faint: float = field(metadata={"css": False})      # opacity of what lies behind an average
    kinds: dict[str, tuple[str, str]] = field(metadata={"css": False})  # fill, border of a box

    def color(self, name: str) -> str:
        """A hue of Okabe and Ito that can be seen on this page, or one of the theme's own."""
        return self.ink if name == "black" else OKABE_ITO.get(name) or str(getattr(self, name))

    @property
    def css(self) -> str:
        """The colours as CSS variables, such as ``var(--page)``."""
        names = [f.name for f in fields(self)[1:] if f.metadata.get("css", True)]
        variables = "".join(f"--{name}:{getattr(self, name)};" for name in names)
        return f":root{{color-scheme:{self.name};{variables}}}"


LIGHT = Theme(
    "light", page="#FFFFFF", panel="#F6F7F9", text="#1A1A1A", muted="#555555", grid="#E3E5E8",
    ink="#000000", edge="#777777", frame="#8A8F98", alarm="#B00020", value="#0072B2",
    gradient="#C04F00", positive="#B2182B", neutral="#EDEDED", negative="#2166AC", star="#F0E442",
    late="#8B1A00", faint=0.35, kinds={
        "input": ("#D3E8F7", "#0072B2"), "parameter": ("#FBE3C0", "#B45F00"),
        "constant": ("#FFFFFF", "#777777"), "op": ("#EFEFEF", "#555555"),
        "operation": ("#FFFFFF", "#555555"), "loss": ("#F3D6E6", "#A0417C"),
        "effect": ("#D5EFE3", "#00755A"), "folded": ("#E9EEF2", "#333333"),
        "alias": ("none", "none"),
    })
DARK = Theme(
    "dark", page="#14171A", panel="#1C2024", text="#ECEFF1", muted="#B0B4B8", grid="#33383D",
    ink="#FFFFFF", edge="#9AA0A6", frame="#7A8088", alarm="#FF8A80", value="#56B4E9",
    gradient="#FF9D4D", positive="#FF6B5E", neutral="#2A2E33", negative="#6BB3F2", star="#F0E442",
    late="#FF7A5C", faint=0.55, kinds={
        "input": ("#12364D", "#56B4E9"), "parameter": ("#4D3410", "#E69F00"),
        "constant": ("#20252A", "#9AA0A6"), "op": ("#2C2F33", "#B0B4B8"),
        "operation": ("#1B1E22", "#B0B4B8"), "loss": ("#4A2039", "#E48BC0"),
        "effect": ("#123B2E", "#3CC79A"), "folded": ("#262B30", "#CCCCCC"),
        "alias": ("none", "none"),
    })


def theme_of(name: str | Theme) -> Theme:
    """The theme of a picture, which cannot follow its reader's system: ``"auto"`` is light."""
    if isinstance(name, Theme):
        return name
    themes = {"auto": LIGHT, "light": LIGHT, "dark": DARK}
    if name not in themes:
        raise ValueError(f"theme must be 'auto', 'light' or 'dark', got {name!r}.")
    return themes[name]


NIGHT = "screen and (prefers-color-scheme: dark)"          # paper is white for everybody


def css(theme: str | Theme = "auto") -> str:
    """The colours of a theme as CSS variables; ``"auto"`` follows the reader's system."""
    if theme == "auto":
        return f"{LIGHT.css}\n@media {NIGHT}{{{DARK.css}}}"
    return theme_of(theme).css


# ---- optimizers and classes ----------------------------------------------------------------------

CLASSES = ("sky", "orange", "green", "purple", "blue", "vermillion", "yellow", "black")
CLASS_MARKERS = "o^sDvPX*<>"

# Each family of optimizers has a hue; within it marker and dashes differ.
# as Matplotlib's linestyle
Dashes: TypeAlias = Literal["-", "--", "-.", ":", "none"] | tuple[int, tuple[int, ...]]

_OPTIMIZERS: dict[str, tuple[str, str, Dashes]] = {
    "sgd": ("black", "o", "-"),
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
_OPTIMIZERS |= {alias: _OPTIMIZERS[name] for alias, name in (
    ("nag", "nesterov"), ("gd", "sgd"), ("gradientdescent", "sgd"), ("batch", "sgd"),
    ("heavyball", "momentum"), ("cg", "conjugategradient"))}
_OTHERS: list[tuple[str, str, Dashes]] = [
    ("blue", "o", "-"), ("orange", "D", "--"), ("green", "^", "-."), ("purple", "s", ":"),
    ("vermillion", "v", (0, (5, 1))), ("sky", "X", (0, (3, 1, 1, 1))), ("black", "P", "--")]


class Stroke(TypedDict, total=False):
    """How a line or its markers look, as Matplotlib says it."""

    color: str
    linestyle: Dashes
    linewidth: float
    marker: str
    markevery: int
    markersize: float
    markeredgecolor: str
    markeredgewidth: float
    zorder: float
    label: str
    path_effects: list[AbstractPathEffect]
    solid_capstyle: Literal["round"]


@dataclass(frozen=True)
class Look:
    """How the line of one optimizer looks, on every picture."""

    color: str
    marker: str
    dashes: Dashes

    def line(self, points: int) -> Stroke:
        """What Matplotlib needs for a line of so many points, about ten of them marked."""
        return {"color": self.color, "linestyle": self.dashes, "marker": self.marker,
                "markevery": max(points // 10, 1), "markersize": 5}


def looks(names: Iterable[str], theme: str | Theme = "light") -> dict[str, Look]:
    """A look for each name: that of the optimizer it begins with, or else one that is free.

    Parameters
    ----------
    names : iterable of str
        Such as ``["SGD", "Adam lr=0.1"]``. Two of one optimizer share its colour and get
        different markers and dashes; where there is no other optimizer, different colours too.
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
    chosen: dict[str, tuple[str, str, Dashes]] = {}
    names = dict.fromkeys(names)
    alone = len({_pool(name)[0] for name in names}) == 1
    for name in names:
        pool = _pool(name)
        pool = [pool[0], *_OTHERS] if alone else pool
        chosen[name] = next((look for look in pool if look not in chosen.values()), pool[-1])
    return {name: Look(theme.color(hue), marker, dashes)
            for name, (hue, marker, dashes) in chosen.items()}


def _pool(name: str) -> list[tuple[str, str, Dashes]]:
    """The looks for a label such as "Adam, lr 0.1", the optimizer's own first."""
    letters = re.sub(r"[^a-z]", "", name.lower())
    begins = max((k for k in _OPTIMIZERS if letters.startswith(k)), key=len, default=None)
    if begins is None:
        return _OTHERS
    own = _OPTIMIZERS[begins]
    return [own, *((own[0], marker, dashes) for _, marker, dashes in _OTHERS if dashes != own[2])]
