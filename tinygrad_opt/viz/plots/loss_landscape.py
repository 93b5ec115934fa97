"""The loss around a point of a network's weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_opt.data.arguments import array_of
from tinygrad_opt.recording import in_mode, tick
from tinygrad_opt.tensor import Tensor, no_grad
from tinygrad_opt.typing import Array, ArrayLike, Loss, Model, Seed
from tinygrad_opt.viz.figures import Options, Picture, Unpack, contours, drawing, halo
from tinygrad_opt.viz.tables import Table, save_numbers

__all__ = ["Landscape", "Waypoints", "borrowed", "loss_landscape"]



class Waypoints:
    """Where the weights were while training, for `loss_landscape`; a callback of the loop.

    Parameters
    ----------
    model : object with ``parameters()``
    limit : int, at least 2
        When twice as many are held, every other one is dropped.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> class Model:
    ...     w = tg.Tensor([1.0, 2.0], requires_grad=True)
    ...     def parameters(self):
    ...         return {"w": self.w}
    >>> Waypoints(Model()).points.tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, model: Model, limit: int = 100) -> None:
        self.model, self.limit, self.every, self._count = model, limit, 1, 0
        self._points: list[Array] = []
        self()

    def __call__(self, run: object = None) -> None:
        """Keep a copy of the weights, as vector."""
        if self._count % self.every == 0:
            self._points.append(_flat(p._array for p in self.model.parameters().values()))
        self._count += 1
        if len(self._points) > 2 * self.limit:
            self._points, self.every = self._points[::2], 2 * self.every

    @property
    def points(self) -> Array:
        """One row for each place, oldest first."""
        return np.array(self._points)


@dataclass(frozen=True)
class Landscape(Table):
    """The loss along one direction, or over the plane of two.

    Attributes
    ----------
    a, b : ndarray of shape (n,)
        Distances along the directions; b is None for one direction.
    loss : ndarray of shape (n,) or (n, n)
        ``loss[i, j]`` at ``a[j], b[i]``. The model's own is at 0.
    path : ndarray of shape (n_points, 2) or None
        The waypoints, projected into the plane.
    share : float or None
        Of the variance of the waypoints that lies in the plane.
    """

    a: Array
    b: Array | None
    loss: Array
    path: Array | None = None
    share: float | None = None

    def columns(self) -> dict[str, Array]:
        """Place and loss of every point, one row each."""
        if self.b is None:
            return {"a": self.a, "loss": self.loss}
        a, b = np.meshgrid(self.a, self.b)
        return {"a": a.ravel(), "b": b.ravel(), "loss": self.loss.ravel()}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns as CSV, or the arrays, the path among them, as NPZ."""
        if Path(path).suffix.lower() != ".npz":
            return save_numbers(path, self.columns())
        return save_numbers(path, {name: array for name, array in vars(self).items()
                                   if isinstance(array, np.ndarray)})

    def plot(self, *, cmap: str = "viridis", **options: Unpack[Options]) -> Picture:
        """A curve, or contours with the path, as a Matplotlib figure with such `Options`."""
        with drawing((5.6, 4.6), self.columns(), **options) as (made, page):
            ax = made.subplots()
            if self.b is None:
                ax.plot(self.a, self.loss, color=page.value)
                ax.axvline(0, color=page.muted, linestyle=":")
                ax.set(ylabel="loss", xlabel="distance, in lengths of the weights"
                       if self.share is None else "distance along the way of training")
                return made
            height = np.where(np.isfinite(self.loss), self.loss, np.nan)
            logarithmic = bool((height > 0).all())
            height = np.log10(height) if logarithmic else height
            start = () if self.path is None else self.path[0]
            bar = contours(ax, self.a, self.b, height, 20, cmap, start, [(0, 0)])
            bar.set_label("log₁₀ loss" if logarithmic else "loss")
            words = "directions of the length of the weights"
            if self.path is not None:
                ax.plot(*self.path.T, color=page.color("orange"), path_effects=halo(page), zorder=1)
                ax.plot(*self.path[1:].T, "o", color=page.color("orange"), markersize=4, zorder=1,
                        markeredgecolor=page.ink, markeredgewidth=0.3)
                words = f"path of training, projected: {self.share:.0%} of its variance"
            ax.set_title(words, fontsize=9.5)
            ax.set(xlabel="first direction", ylabel="second direction")
        return made


def loss_landscape(
    model: Model,
    loss: Loss,
    x: ArrayLike,
    y: ArrayLike,
    *,
    dimensions: int = 2,
    n: int = 31,
    span: float = 1.0,
    waypoints: Waypoints | ArrayLike | None = None,
    rng: Seed = 0,
    watch: Callable[[int, int], object] | None = None,
) -> Landscape:
    """The loss around the weights that the model has now, which it has again afterwards.

    L(α, β) = loss(θ + α d₁ + β d₂). Random directions are normalised filter by filter:
    each column of a weight's direction gets the length of that column of the weight, and
    biases and other vectors stay as they are. With `waypoints` d₁ and d₂ are the two
    principal directions of the path instead, and the view is wide enough for all of it.

    Parameters
    ----------
    model : callable with ``parameters()``
    loss : callable
        ``loss(prediction, y)``.
    x, y : array-like
        The samples that the loss is taken of, all in one batch.
    dimensions : {1, 2}
    n : int, at least 2
        Points along each direction; the model runs n or n² times.
    span : float
        The view reaches from −span to span.
    waypoints : Waypoints or array of shape (n_points, n_weights), optional
    rng : int or Generator
        Of the random directions.
    watch : callable, optional
        ``watch(done, all)`` after each evaluation.

    Returns
    -------
    Landscape

    Notes
    -----
    A path of many dimensions does not lie in the plane: where it is drawn the loss is not the
    loss that it had. ``share`` says how much of its variance the plane holds.

    References
    ----------
    H. Li et al., "Visualizing the loss landscape of neural nets" (2018).
    """
    if dimensions not in (1, 2):
        raise ValueError(f"dimensions must be 1 or 2, got {dimensions!r}.")
    if n < 2 or not span > 0:
        raise ValueError(f"n must be at least 2 and span above 0, got {n!r} and {span!r}.")
    parameters, path, share = model.parameters(), None, None
    center = _flat(p._array for p in parameters.values())
    if waypoints is None:
        generator = np.random.default_rng(rng)
        directions = [_direction(parameters, generator) for _ in range(dimensions)]
        views = [(-span, span)] * dimensions
    else:
        points = np.asarray(getattr(waypoints, "points", waypoints), float) - center
        directions, share = _principal(points, dimensions)
        path = points @ np.array(directions).T
        room = 0.25 * max(np.ptp(path), 1e-12)
        views = [(min(c.min(), 0) - room, max(c.max(), 0) + room) for c in path.T]
        path = path if dimensions == 2 else None
    axes = [np.linspace(*view, n) for view in views]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, dimensions)
    values = []
    x, y = map(array_of, (x, y))
    with borrowed(parameters), in_mode(model, False), no_grad(), np.errstate(all="ignore"):
        for place in grid:
            _set(parameters, center + sum(c * d for c, d in zip(place, directions)))
            values.append(float(loss(model(x), y)))
            if watch:
                watch(len(values), len(grid))
    height = np.array(values).reshape([n] * dimensions)
    return Landscape(axes[0], axes[1] if dimensions == 2 else None, height, path, share)


# ---- details -------------------------------------------------------------------------------------


def _flat(arrays: Iterable[Array]) -> Array:
    return np.concatenate([np.ravel(a).astype(float) for a in arrays])


def _set(parameters: Mapping[str, Tensor], vector: Array) -> None:
    """Write a vector into the parameters, in place, so that optimizers keep their views."""
    now, ends = tick(), np.cumsum([p.size for p in parameters.values()])
    for p, part in zip(parameters.values(), np.split(vector, ends)):
        p._array[...] = part.reshape(p.shape)
        p._changed = now


@contextmanager
def borrowed(parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """The parameters, bit for bit as they were afterwards."""
    before = [(p, p._array, p._array.copy(), p.grad, p._spent) for p in parameters.values()]
    try:
        yield
    finally:
        for p, array, values, grad, spent in before:
            p._array = array                        # an optimizer may have moved it to its own
            p._array[...] = values
            p._changed, p.grad, p._spent = tick(), grad, spent


def _direction(parameters: Mapping[str, Tensor], rng: np.random.Generator) -> Array:
    """A random direction, of each filter as long as the filter; nothing for vectors."""
    parts = []
    for p in parameters.values():
        if p.ndim < 2:
            parts.append(np.zeros(p.size))
            continue
        # a weight of (in, out) has a filter in each column, one of (out, in, ...) in each entry
        axes = (0,) if p.ndim == 2 else tuple(range(1, p.ndim))
        d = rng.standard_normal(p.shape)
        length, own = (np.sqrt(np.square(a, dtype=float).sum(axes, keepdims=True))
                       for a in (p._array, d))
        parts.append((d * (length / (own + 1e-10))).ravel())
    return np.concatenate(parts)


def _principal(points: Array, count: int) -> tuple[list[Array], float]:
    """The directions in which the points spread most, and their share of the variance."""
    if len(points) < count + 1:
        raise ValueError(f"a path of {len(points)} waypoints has no {count} directions.")
    _, s, directions = np.linalg.svd(points - points.mean(0), full_matrices=False)
    return list(directions[:count]), float((s[:count] ** 2).sum() / max((s**2).sum(), 1e-300))
