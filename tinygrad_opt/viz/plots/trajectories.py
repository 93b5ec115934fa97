"""The path of one optimizer over a function, run by the engine and by the optimizer itself.

Every point of a track is what the optimizer left in the parameter, to the bit, and every gradient
is the one that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np

from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, Seed
from tinygrad_opt.viz.plots.surfaces import Height, backward

__all__ = ["Noisy", "Track", "check_optimizers", "run", "unbound"]

FAR = 1e2                                      # a run so many views away is lost


@dataclass(frozen=True)
class Track:
    """The path of one optimizer.

    Attributes
    ----------
    points : ndarray of shape (n_steps + 1, n_numbers)
        Where it stood, the start first.
    values : ndarray of shape (n_steps + 1,)
        The height there.
    gradients : ndarray of shape (n_steps + 1, n_numbers)
        The gradient there; the last was not used for a step.
    diverged : int or None
        The step after which it was lost: a value was not finite, or it had left for good.
    """

    points: Array
    values: Array
    gradients: Array
    diverged: int | None = None

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.points) - 1

    def reaches(self, target: Sequence[float], within: float) -> int | None:
        """The step after which it comes, and stays, within a distance of a point."""
        away = np.hypot.reduce(self.points - np.asarray(target, float), axis=1) > within
        if self.diverged is not None or away[-1]:
            return None
        return int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0


class Updates(Protocol):
    """An optimizer that changes the arrays that it is given."""

    def update(self, params: Mapping[str, Array], grads: Mapping[str, Array], /) -> object: ...


@runtime_checkable
class Steps(Protocol):
    """An optimizer that is bound to its parameters."""

    def step(self) -> object: ...


@runtime_checkable
class Stepper(Steps, Protocol):
    """One whose gradients are cleared by itself."""

    def zero_grad(self) -> object: ...


class Noisy:
    """An optimizer whose gradients are blurred by normal noise, as those of minibatches are.

    Parameters
    ----------
    optimizer : optimizer
        Unbound.
    noise : float
        Its standard deviation.
    rng : int or Generator
    """

    def __init__(self, optimizer: Updates, noise: float, rng: Seed = 0) -> None:
        self.optimizer, self.noise, self.rng = optimizer, noise, np.random.default_rng(rng)

    def update(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """A step along the gradients and noise."""
        self.optimizer.update(params, {
            name: g + self.noise * self.rng.standard_normal(np.shape(g))
            for name, g in grads.items()})


def run(f: Callable[..., Height], given: object, start: Sequence[float], steps: int,
        names: Sequence[str], views: Sequence[tuple[float, float]],
        watch: Callable[..., object] | None = None) -> Track:
    """Step and record until the steps are done or the run is lost.

    ``views`` are those in each number; ``watch(step, *point, value)`` is called while it runs.
    """
    low, high = np.transpose(views)
    middle, far = (low + high) / 2, FAR * np.linalg.norm(high - low)
    at = {n: Tensor(np.float64(v), requires_grad=True, name=n) for n, v in zip(names, start)}
    step = _stepping(given, at)
    points, values, gradients, diverged = [], [], [], None
    with np.errstate(all="ignore"):
        for t in range(steps + 1):
            height = f(*at.values())
            points.append(np.array([p._array for p in at.values()], float))
            values.append(float(height))
            if watch:
                watch(t, *points[-1].tolist(), values[-1])
            backward(height, getattr(f, "name", "f"))
            gradients.append([0.0 if p.grad is None else float(p.grad) for p in at.values()])
            finite = np.isfinite([*points[-1], values[-1], *gradients[-1]]).all()
            if not finite or np.linalg.norm(points[-1] - middle) > far:
                diverged = t
                break
            if t < steps:
                step(gradients[-1])
            for p in at.values():
                p.grad = None
    return Track(np.array(points), np.array(values), np.array(gradients), diverged)


def _stepping(given: object, at: Mapping[str, Tensor]) -> Callable[[Sequence[float]], object]:
    """What takes a step by gradients: an optimizer, or what is made by it of the parameters."""
    if unbound(given):
        return lambda slopes: given.update({name: p._array for name, p in at.items()},
                                           dict(zip(at, map(np.asarray, slopes))))
    made = given(at) if callable(given) else given
    if not isinstance(made, Steps):
        raise TypeError(f"{given!r} made {type(made).__name__}, which has no step().")
    return lambda slopes: made.step()


def pace(tracks: Sequence[Track], view: object) -> Array:
    """How much of a film has passed at each step, from 0 to 1: more where more happens.

    Nine tenths are shared out by the distance that the fastest goes, in views of ``view[i]``
    along each axis, and a tenth by the steps.
    """
    steps = max(t.steps for t in tracks)
    fastest = np.zeros(steps)
    for t in tracks:
        with np.errstate(all="ignore"):
            moved = np.hypot.reduce(np.diff(t.points, axis=0) / view, axis=1)
        fastest[: t.steps] = np.fmax(fastest[: t.steps], np.fmin(moved, 0.2))
    gone = np.concatenate([[0.0], np.cumsum(fastest)])
    return 0.9 * gone / (gone[-1] or 1) + np.linspace(0, 0.1 if gone[-1] else 1, steps + 1)


def paced(tracks: Sequence[Track], view: object, frames: int) -> Array:
    """The steps that a film shows: all if there is room, else evenly by their `pace`.

    None is shown twice, and none to fill the room: a run that stands still gets fewer frames.
    """
    passed = pace(tracks, view)
    if len(passed) <= frames:
        return np.arange(len(passed))
    even = np.linspace(0, passed[-1], frames)
    return np.unique(np.interp(even, passed, np.arange(len(passed))).round().astype(int))


def unbound(given: object) -> TypeGuard[Updates]:
    """Whether it is an optimizer that updates the arrays that it is given, and no class of them."""
    return hasattr(given, "update") and not isinstance(given, type)


def check_optimizers(optimizers: object, steps: object) -> None:
    """Refuse what cannot be run, before anything is."""
    if not isinstance(optimizers, Mapping) or not optimizers:
        raise TypeError('optimizers must be a dict of name -> optimizer, such as {"Adam":'
                        f" optim.Adam(lr=0.1)}}, got {optimizers!r}.")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}.")
    for name, given in optimizers.items():
        if unbound(given):
            if taken := getattr(given, "t", None):
                raise ValueError(f"{name} has taken {taken} steps already; a fresh optimizer is"
                                 " needed.")
            if getattr(given, "parameters", None):
                raise ValueError(f"{name} is bound to other parameters; leave them out:"
                                 f" {type(given).__name__}(lr=...).")
        elif not callable(given) and not isinstance(given, list | np.ndarray):
            raise TypeError(f"{name}: an optimizer or what makes one from parameters is needed,"
                            f" got {given!r}.")
