"""Synthetic data sets, made by a formula and a seed.

All but `sine` give `n_points` of each class, class after class, and the class of each. N(0, 1)
stands for normal deviates, which `rng` draws; `noise` is thus a standard deviation.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_opt.data.arguments import Floats, Labels, Seed, fraction, whole
from tinygrad_opt.hints import answers
from tinygrad_opt.typing import Array

__all__ = ["blobs", "circles", "moons", "sine", "spiral", "vertical", "xor"]


@answers
def spiral(
    n_points: int = 100, n_classes: int = 3, *, noise: float = 0.2, rng: Seed = None
) -> tuple[Floats, Labels]:
    """Arms of a spiral, one for each class c: the classic that no straight line separates.

    x = (r sin 2.5t, r cos 2.5t), where along an arm r runs evenly from 0 to 1 and t evenly
    from 4c to 4(c + 1), plus noise · N(0, 1)

    A sixth arm falls 0.27 rad from the first. From A. Karpathy, CS231n notes (2015), and in
    this form H. Kinsley and D. Kukieła, *Neural Networks from Scratch in Python* (2020).

    Parameters
    ----------
    n_points : int, at least 1
        Of each class.
    n_classes : int, at least 1
    noise : float, at least 0
        Standard deviation of t.
    rng : int, numpy.random.Generator or None
        An int gives the same bits each time, a Generator moves on, None draws afresh.

    Returns
    -------
    x : float32 array of shape (n_classes * n_points, 2)
    y : int64 array of shape (n_classes * n_points,)

    Examples
    --------
    >>> x, y = spiral(100, 3, rng=0)
    >>> x.shape, x.dtype.name, y[[0, 100, 200]].tolist()
    ((300, 2), 'float32', [0, 1, 2])
    """
    n_points, n_classes = whole("n_points", n_points), whole("n_classes", n_classes)
    arm, r = np.arange(n_classes), np.linspace(0, 1, n_points)
    t = np.linspace(4 * arm, 4 * (arm + 1), n_points, axis=1)
    t += _normal(noise, t.shape, rng)
    return _labelled(np.stack([r * np.sin(2.5 * t), r * np.cos(2.5 * t)], axis=-1))


@answers
def vertical(
    n_points: int = 100, n_classes: int = 3, *, noise: float = 0.1, rng: Seed = None
) -> tuple[Floats, Labels]:
    """Upright clouds side by side, one for each class c: straight lines separate them.

    x = (c / n_classes, 1/2) + noise · N(0, 1)

    From H. Kinsley and D. Kukieła, *Neural Networks from Scratch in Python* (2020).

    Parameters
    ----------
    n_points : int, at least 1
        Of each class.
    n_classes : int, at least 1
    noise : float, at least 0
        Standard deviation of each coordinate.
    rng : int, numpy.random.Generator or None
        An int gives the same bits each time, a Generator moves on, None draws afresh.

    Returns
    -------
    x : float32 array of shape (n_classes * n_points, 2)
    y : int64 array of shape (n_classes * n_points,)

    Examples
    --------
    >>> vertical(1, 4, noise=0)[0].tolist()
    [[0.0, 0.5], [0.25, 0.5], [0.5, 0.5], [0.75, 0.5]]
    """
    n_points, n_classes = whole("n_points", n_points), whole("n_classes", n_classes)
    points = _normal(noise, (n_classes, n_points, 2), rng)
    points[..., 0] += np.arange(n_classes)[:, None] / n_classes
    points[..., 1] += 0.5
    return _labelled(points)


@answers
def moons(n_points: int = 100, *, noise: float = 0.1, rng: Seed = None) -> tuple[Floats, Labels]:
    """Two half circles that reach into each other, those of `sklearn.datasets.make_moons`.

    x = (cos t, sin t) in class 0 and (1 − cos t, 1/2 − sin t) in class 1, t evenly from 0
    to π, plus noise · N(0, 1)

    Parameters
    ----------
    n_points : int, at least 1
        Of each class.
    noise : float, at least 0
        Standard deviation of each coordinate.
    rng : int, numpy.random.Generator or None
        An int gives the same bits each time, a Generator moves on, None draws afresh.

    Returns
    -------
    x : float32 array of shape (2 * n_points, 2)
    y : int64 array of shape (2 * n_points,)

    Examples
    --------
    >>> moons(2, noise=0)[0].round(6).tolist()
    [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [2.0, 0.5]]
    """
    t = np.linspace(0, math.pi, whole("n_points", n_points))
    upper = np.stack([np.cos(t), np.sin(t)], axis=-1)
    points = np.stack([upper, (1, 0.5) - upper])
    return _labelled(points + _normal(noise, points.shape, rng))


@answers
def circles(
    n_points: int = 100, *, inner: float = 0.5, noise: float = 0.05, rng: Seed = None
) -> tuple[Floats, Labels]:
    """A circle inside a circle, those of `sklearn.datasets.make_circles`.

    x = ρ (cos t, sin t) + noise · N(0, 1), where t runs evenly over [0, 2π), ρ = 1 in class 0
    and ρ = inner in class 1

    Parameters
    ----------
    n_points : int, at least 1
        Of each class.
    inner : float in (0, 1)
        Radius of class 1; that of class 0 is 1.
    noise : float, at least 0
        Standard deviation of each coordinate.
    rng : int, numpy.random.Generator or None
        An int gives the same bits each time, a Generator moves on, None draws afresh.

    Returns
    -------
    x : float32 array of shape (2 * n_points, 2)
    y : int64 array of shape (2 * n_points,)

    Examples
    --------
    >>> circles(2, noise=0)[0].round(6).tolist()
    [[1.0, 0.0], [-1.0, 0.0], [0.5, 0.0], [-0.5, 0.0]]
    """
    t = np.linspace(0, 2 * math.pi, whole("n_points", n_points), endpoint=False)
    circle = np.stack([np.cos(t), np.sin(t)], axis=-1)
    points = np.stack([circle, fraction("inner", inner) * circle])
    return _labelled(points + _normal(noise, points.shape, rng))


@answers
def xor(n_points: int = 100, *, noise: float = 0.25, rng: Seed = None) -> tuple[Floats, Labels]:
    """Clouds on the corners of a square, opposite corners of one class.

    x = (a, b) + noise · N(0, 1) with a, b = ±1, y = 1 where a ≠ b

    The points of a class take its two corners in turn. No straight line separates the classes
    (M. Minsky and S. Papert, *Perceptrons*, 1969).

    Parameters
    ----------
    n_points : int, at least 1
        Of each class.
    noise : float, at least 0
        Standard deviation of each coordinate.
    rng : int, numpy.random.Generator or None
        An int gives the same bits each time, a Generator moves on, None draws afresh.

    Returns
    -------
    x : float32 array of shape (2 * n_points, 2)
    y : int64 array of shape (2 * n_points,)

    Examples
    --------
    >>> xor(2, noise=0)[0].tolist()
    [[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]
    """
    corners = np.array([[[1, 1], [-1, -1]], [[1, -1], [-1, 1]]])
    points = corners[:, np.arange(whole("n_points", n_points)) % 2]
    return _labelled(points + _normal(noise, points.shape, rng))


@answers
def blobs(
    n_points: int = 100,
    n_classes: int = 3,
    n_features: int = 2,
    *,
    noise: float = 1.0,
    rng: Seed = None,
) -> tuple[Floats, Labels]:
    """Round clouds, one for each class c, distributed as in `sklearn.datasets.make_blobs`.

    x = μ_c + noise · N(0, 1), each coordinate of μ_c uniform in [−10, 10) and drawn first

    Parameters
    ----------
    n_points : int, at least 1
        Of each class.
    n_classes : int, at least 1
    n_features : int, at least 1
    noise : float, at least 0
        Standard deviation of each coordinate.
    rng : int, numpy.random.Generator or None
        An int gives the same bits each time, a Generator moves on, None draws afresh.

    Returns
    -------
    x : float32 array of shape (n_classes * n_points, n_features)
    y : int64 array of shape (n_classes * n_points,)

    Examples
    --------
    >>> blobs(50, 4, 3, rng=0)[0].shape
    (200, 3)
    """
    n_points, n_classes = whole("n_points", n_points), whole("n_classes", n_classes)
    n_features = whole("n_features", n_features)
    rng = np.random.default_rng(rng)
    centres = rng.uniform(-10, 10, (n_classes, 1, n_features))
    return _labelled(centres + _normal(noise, (n_classes, n_points, n_features), rng))


@answers
def sine(n_points: int = 100, *, noise: float = 0.1, rng: Seed = None) -> tuple[Floats, Floats]:
    """One period of a sine, for regression.

    y = sin 2πx + noise · N(0, 1), x evenly from 0 to 1

    From C. M. Bishop, *Pattern Recognition and Machine Learning* (2006), §1.1.

    Parameters
    ----------
    n_points : int, at least 1
    noise : float, at least 0
        Standard deviation of y.
    rng : int, numpy.random.Generator or None
        An int gives the same bits each time, a Generator moves on, None draws afresh.

    Returns
    -------
    x, y : float32 arrays of shape (n_points, 1)

    Examples
    --------
    >>> x, y = sine(5, noise=0)
    >>> x[:, 0].tolist(), y[:, 0].round(3).tolist()
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 1.0, 0.0, -1.0, -0.0])
    """
    x = np.linspace(0, 1, whole("n_points", n_points))[:, None]
    y = np.sin(2 * math.pi * x) + _normal(noise, x.shape, rng)
    return x.astype(np.float32), y.astype(np.float32)


def _normal(noise: float, shape: tuple[int, ...], rng: Seed) -> Array:
    """Normal deviates of standard deviation `noise`; as many are drawn where it is 0."""
    if isinstance(noise, str) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a finite number >= 0, got {noise!r}.")
    return noise * np.random.default_rng(rng).standard_normal(shape)


def _labelled(points: Array) -> tuple[Floats, Labels]:
    """Points of shape (class, point, feature) as rows, and the class of each row."""
    n_classes, n_points, n_features = points.shape
    y = np.repeat(np.arange(n_classes, dtype=np.int64), n_points)
    return points.reshape(-1, n_features).astype(np.float32), y
