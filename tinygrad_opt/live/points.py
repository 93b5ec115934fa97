"""Points of the plane for a live page: the data sets of the package, or the reader's own."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, TypedDict

import numpy as np

from tinygrad_opt import data
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["SETS", "points", "points_of", "prepared"]

# name -> (a function of noise, the noise that is usual)
SETS: dict[str, tuple[Callable[[float], tuple[Array, Array]], float]] = {
    "spiral": (lambda noise: data.spiral(100, 3, noise=noise, rng=0), 0.2),
    "moons": (lambda noise: data.moons(150, noise=noise, rng=0), 0.1),
    "circles": (lambda noise: data.circles(150, noise=noise, rng=0), 0.05),
    "xor": (lambda noise: data.xor(150, noise=noise, rng=0), 0.25),
    "blobs": (lambda noise: data.blobs(100, 3, noise=noise, rng=0), 1.0),
    "vertical": (lambda noise: data.vertical(100, 3, noise=noise, rng=0), 0.1),
}
LEVELS = (0.0, 0.5, 1.0, 2.0)              # times the usual noise


Points: TypeAlias = str | Path | tuple[ArrayLike, ArrayLike]


class Level(TypedDict):
    """Points with so much noise, as text."""

    noise: float
    x: str


class PointSet(TypedDict):
    """Points and their classes on a page."""

    classes: int
    names: list[str]
    y: str
    levels: list[Level]


def points(name: Points, noise: float | None = None) -> tuple[Array, Array]:
    """The points of a data set as a live page has them.

    Parameters
    ----------
    name : str, path or (x, y)
        "spiral", "moons", "circles", "xor", "blobs" or "vertical"; or a CSV file of two columns
        and a class, or points and classes.
    noise : float, optional
        Standard deviation, as the functions of `data` take it; theirs by default.

    Returns
    -------
    x : float32 array of shape (n, 2)
        Of mean 0 and standard deviation 1.
    y : int64 array of shape (n,)
        In turn one of each class, so that the first rows can serve to train and the others to
        test.

    Examples
    --------
    >>> x, y = points("moons")
    >>> x.shape, y[:4].tolist()
    ((300, 2), [0, 1, 0, 1])
    """
    if isinstance(name, str) and name in SETS:
        make, usual = SETS[name]
        return prepared(*make(usual if noise is None else noise))
    if isinstance(name, str) and not name.endswith(".csv"):
        raise ValueError(f"no data set is called {name!r}; there are: {', '.join(SETS)}.")
    return prepared(*_read(name)[:2])


def prepared(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Two standardised columns, and the classes in turn; each class shuffled."""
    x, y = np.asarray(x, np.float32), np.asarray(y)
    if x.ndim != 2 or x.shape[1] != 2 or y.shape != x.shape[:1]:
        raise ValueError("a live page needs points of the plane and their classes: x of shape"
                         f" (n, 2) and y of shape (n,), got {x.shape} and {y.shape}.")
    if len(x) < 8 or not np.isfinite(x).all():
        raise ValueError("a live page needs at least 8 points, all of them finite.")
    names, y = np.unique(y, return_inverse=True)
    if not 2 <= len(names) <= 8:
        raise ValueError(f"a live page needs 2 to 8 classes, got {len(names)}.")
    order = np.random.default_rng(0).permutation(len(x))
    rank = np.empty(len(x))
    for c in range(len(names)):
        own = order[y[order] == c]
        rank[own] = (np.arange(len(own)) + (c + 1) / (len(names) + 1)) / len(own)
    rows = np.argsort(rank, kind="stable")
    return np.asarray(data.standardize(x[rows])), y[rows].astype(np.int64)


def points_of(given: Points | Mapping[str, Points] | None) -> dict[str, PointSet]:
    """The data sets of a page, as text.

    Parameters
    ----------
    given : None, str, path, (x, y), or dict of them
        All sets of the package; the name of one; a CSV file of two columns and a class; points and
        classes.
    """
    if given is None:
        given = {name: name for name in SETS}
    elif not isinstance(given, Mapping):
        given = {str(given) if isinstance(given, str | Path) else "data": given}
    return {Path(name).stem: _told(what) for name, what in given.items()}


def _told(what: Points) -> PointSet:
    if isinstance(what, str) and what in SETS:
        _, usual = SETS[what]
        made = [(usual * k, points(what, usual * k)) for k in LEVELS]
        names: list[str] = []
    else:
        x, classes, names = _read(what)
        made = [(0.0, prepared(x, classes))]
    y = made[0][1][1]
    return {"classes": int(y.max()) + 1, "names": names, "y": _text(y.astype(np.uint8)),
            "levels": [{"noise": noise, "x": _text(x)} for noise, (x, _) in made]}


def _read(what: Points) -> tuple[ArrayLike, ArrayLike, list[str]]:
    """Points and classes of one's own, and the classes' names."""
    if isinstance(what, str | Path):
        table = data.csv(what)
        return table.x, table.y, [str(n) for n in table.names or ()]
    x, y = what
    return x, y, [str(n) for n in np.unique(np.asarray(y))]


def _text(array: Array) -> str:
    return base64.b64encode(array.tobytes()).decode()
