"""Functions of two numbers that optimizers are watched on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, ArrayLike, Seed

if TYPE_CHECKING:
    from tinygrad_opt.viz.plots.trajectories import Updates

__all__ = ["SURFACES", "Surface", "sampled", "sigmoid_neuron", "surface"]

Height: TypeAlias = Tensor | Array | float                     # as what it is a function of


@dataclass(frozen=True)
class Surface:
    """A function of two numbers, and the part of the plane that is looked at.

    Parameters
    ----------
    f : callable
        ``f(x, y)`` in NumPy functions and operators, so that it takes numbers, arrays and
        Tensors alike.
    x, y : (float, float)
        The view.
    name, formula : str
    start : (float, float), optional
        Where races begin; by default the lower left corner, a tenth of the view inside.
    minima : tuple of (float, float)
        The known global minima, drawn as stars.
    axes : (str, str)
        What the two numbers are called.
    log : bool
        Whether heights are told apart best on a logarithmic scale.
    steps : int
        How many a race across it takes.
    rates : mapping of str to float
        Learning rates that suit it, by the name of the optimizer.
    samples : tuple of (float, float)
        If it is the sum of errors over samples, these; ``f(x, y, some)`` is then that of some.
    """

    f: Callable[..., Any]
    x: tuple[float, float] = (-2.0, 2.0)
    y: tuple[float, float] = (-2.0, 2.0)
    name: str = "f"
    formula: str = ""
    start: tuple[float, ...] = ()
    minima: tuple[tuple[float, float], ...] = ()
    axes: tuple[str, str] = ("x", "y")
    log: bool = True
    steps: int = 200
    rates: Mapping[str, float] = field(default_factory=dict, compare=False)
    samples: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            view = getattr(self, name)
            if len(view) != 2 or not -math.inf < view[0] < view[1] < math.inf:
                raise ValueError(f"the view in {name} must be (low, high), got {view!r}.")
        if not self.start:
            inside = tuple(a + 0.1 * (b - a) for a, b in (self.x, self.y))
            object.__setattr__(self, "start", inside)

    @property
    def size(self) -> Array:
        """Width and height of the view."""
        return np.array([np.ptp(self.x), np.ptp(self.y)])

    def __call__(self, x: Height, y: Height) -> Height:
        height: Height = self.f(x, y)
        return height

    def gradient(self, x: float, y: float) -> tuple[float, float]:
        """(∂f/∂x, ∂f/∂y) at one point, by the engine."""
        at = [Tensor(np.float64(v), requires_grad=True, name=n) for v, n in zip((x, y), self.axes)]
        backward(self.f(*at), self.name)
        return tuple(0.0 if t.grad is None else float(t.grad) for t in at)  # type: ignore

    def grid(self, n: int = 200) -> tuple[Array, Array, Array]:
        """The two axes and the heights ``z[row of y, column of x]`` on n × n points."""
        x, y = np.linspace(*self.x, n), np.linspace(*self.y, n)
        across, up = np.meshgrid(x, y)
        with np.errstate(all="ignore"):
            try:
                z = np.asarray(self.f(across, up), float)
            except (TypeError, ValueError):               # a function of single numbers
                z = np.empty(0)
            if z.shape != across.shape:
                z = np.array([[float(self.f(a, b)) for a in x] for b in y])
        return x, y, z


SurfaceLike: TypeAlias = str | Surface | Callable[..., Height]

# ---- the classics --------------------------------------------------------------------------------


def _beale(x: Height, y: Height) -> Height:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _rastrigin(x: Height, y: Height) -> Height:
    return 20 + x**2 + y**2 - 10 * (np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y))


def sigmoid_neuron(
    x: ArrayLike, y: ArrayLike, *, view: tuple[float, float] = (-6.0, 6.0),
    minima: tuple[tuple[float, float], ...] = (),
) -> Surface:
    """The error of one sigmoid neuron over its data, as a surface over weight and bias.

    E(w, b) = ½ Σᵢ (σ(w xᵢ + b) − yᵢ)²,  σ(s) = 1 / (1 + exp(−s))

    Parameters
    ----------
    x, y : array-like of shape (n_samples,)
        Inputs, and targets in [0, 1].
    view : (float, float)
        Range of w and of b.
    minima : tuple of (float, float)
        Where they are known.

    Returns
    -------
    Surface
        With the data in ``surface.samples``.

    Examples
    --------
    >>> round(float(sigmoid_neuron([0.5, 2.5], [0.2, 0.9])(-2.0, -2.0)), 4)
    0.4158
    """
    samples = tuple(zip(np.asarray(x, float).ravel().tolist(),
                        np.asarray(y, float).ravel().tolist(), strict=True))

    def error(w: Height, b: Height, some: Sequence[tuple[float, float]] = samples) -> Height:
        return sum((1 / (1 + np.exp(-(w * a + b))) - t) ** 2 for a, t in some) / 2

    return Surface(error, view, view, "sigmoid neuron", "½ Σ (σ(wx + b) − y)²", (-2.0, -2.0),
                   minima, axes=("w", "b"), log=False, samples=samples)


_HIMMELBLAU = ((3.0, 2.0), (-2.805118, 3.131313), (-3.779310, -3.283186), (3.584428, -1.848127))

SURFACES = {
    "beale": Surface(
        _beale, (-1.0, 4.2), (-1.6, 1.6), "Beale",
        "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²", (1.0, 1.4), ((3.0, 0.5),)),
    "rosenbrock": Surface(
        # 5 for the usual 100, with which most optimizers need thousands of steps
        lambda x, y: (1 - x) ** 2 + 5 * (y - x**2) ** 2,
        (-2.0, 2.0), (-1.0, 3.0), "Rosenbrock", "(1 − x)² + 5 (y − x²)²", (-1.5, 2.0),
        ((1.0, 1.0),)),
    "himmelblau": Surface(
        lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
        (-5.0, 5.0), (-5.0, 5.0), "Himmelblau", "(x² + y − 11)² + (x + y² − 7)²", (-0.5, -0.8),
        _HIMMELBLAU),
    "saddle": Surface(
        lambda x, y: x**2 - y**2 + y**4 / 4,
        (-2.0, 2.0), (-2.2, 2.2), "saddle", "x² − y² + y⁴/4", (-1.6, 0.01),
        ((0.0, 2**0.5), (0.0, -(2**0.5))), log=False),
    "ravine": Surface(
        lambda x, y: x**2 / 20 + y**2,
        (-10.0, 10.0), (-5.0, 5.0), "ravine", "x²/20 + y²", (-7.0, 2.0), ((0.0, 0.0),)),
    "plateau": Surface(
        lambda x, y: 1 - np.exp(-(x**2 + y**2) / 2),
        (-4.0, 4.0), (-4.0, 4.0), "plateau", "1 − exp(−(x² + y²)/2)", (-2.6, 2.0),
        ((0.0, 0.0),), log=False),
    "rastrigin": Surface(
        _rastrigin, (-4.0, 4.0), (-4.0, 4.0), "Rastrigin", "20 + x² + y² − 10 (cos 2πx + cos 2πy)",
        (-3.3, 2.7), ((0.0, 0.0),), log=False),
    "neuron": sigmoid_neuron([0.5, 2.5], [0.2, 0.9], minima=((1.791759, -2.282174),)),
    # labels that contradict each other: the gradients of the samples never vanish all at once
    "noisy_neuron": sigmoid_neuron(
        [0.5, 0.5, 1.5, 1.5, 2.5, 2.5], [0.0, 0.4, 0.3, 0.9, 0.7, 1.0],
        minima=((1.611838, -2.099560),)),
}

# Steps, and rates with which each arrives in them wherever it can: AdamW's decay leads beside the
# minimum, Lion's steps are of one length, and out of Rastrigin's first valley leads no gradient.
_OPTIMIZERS = "sgd momentum nesterov adagrad rmsprop adam adamw adadelta adamax nadam lion".split()
for _name, _steps, *_rates in (
    ("beale", 300, 0.03, 0.005, 0.003, 1, 0.05, 0.3, 0.3, 1, 1, 0.2, 0.03),
    ("rosenbrock", 500, 0.02, 0.01, 0.01, 0.5, 0.01, 0.1, 0.1, 3, 0.3, 0.05, 0.03),
    ("himmelblau", 150, 0.005, 0.003, 0.003, 0.5, 0.03, 0.3, 0.3, 3, 0.3, 0.2, 0.05),
    ("saddle", 150, 0.1, 0.03, 0.03, 0.5, 0.03, 0.1, 0.1, 5, 0.2, 0.05, 0.03),
    ("ravine", 160, 0.5, 0.05, 0.1, 1, 0.1, 0.3, 0.3, 20, 0.3, 0.2, 0.2),
    ("plateau", 100, 0.5, 0.2, 0.2, 0.3, 0.02, 0.1, 0.1, 3, 0.2, 0.05, 0.05),
    ("rastrigin", 100, 0.002, 0.001, 0.001, 0.5, 0.03, 0.1, 0.1, 1, 0.1, 0.1, 0.01),
    ("neuron", 300, 1, 0.5, 0.5, 1, 0.05, 0.2, 0.2, 5, 0.3, 0.2, 0.03),
    ("noisy_neuron", 400, 0.25, 0.1, 0.1, 0.5, 0.03, 0.2, 0.2, 3, 0.3, 0.1, 0.03),
):
    SURFACES[_name] = replace(
        SURFACES[_name], steps=_steps, rates=dict(zip(_OPTIMIZERS, _rates)))


def surface(f: SurfaceLike, **options: Any) -> Surface:
    """A surface by its name, or one made of a function of two numbers.

    Parameters
    ----------
    f : str, callable or Surface
        A key of `SURFACES`, or ``f(x, y)``.
    **options
        For a function: what `Surface` takes.

    Returns
    -------
    Surface

    Raises
    ------
    ValueError
        If there is no surface of that name.

    Examples
    --------
    >>> bowl = surface(lambda x, y: x**2 + 3 * y**2, name="bowl")
    >>> bowl.gradient(1.0, 2.0)
    (2.0, 12.0)
    >>> surface("beale")(3.0, 0.5)
    0.0
    """
    if isinstance(f, Surface):
        return f
    if isinstance(f, str):
        if f.lower() not in SURFACES:
            raise ValueError(f"no surface is called {f!r}; there are: {', '.join(SURFACES)}.")
        return SURFACES[f.lower()]
    if not callable(f):
        raise TypeError(f"a surface is a name or a function of two numbers, got {f!r}.")
    options.setdefault("name", getattr(f, "__name__", "f").replace("<lambda>", "f"))
    return Surface(f, **options)


def sampled(
    f: Surface, optimizer: Updates, start: Sequence[float] | None = None, seen: int = 200,
    batch: int | None = None, rng: Seed = 0,
) -> list[list[float]]:
    """The path of an optimizer over the errors of samples, so many to a step, by samples seen.

    The gradient of a batch is scaled up to be an estimate of the whole one: with fewer samples to
    a step there are more steps to an epoch, each of them as long and less sure of its direction.

    Parameters
    ----------
    f : Surface
        With samples, such as `sigmoid_neuron`.
    optimizer : optimizer
        Unbound.
    start : (float, float), optional
    seen : int
        How many samples it sees.
    batch : int, optional
        How many to a step; all by default. Each epoch takes them in another order.
    rng : int or Generator
        Of the order.

    Returns
    -------
    list of [float, float]
        Where it stood after each sample; it moves after the last one of a batch.

    Examples
    --------
    >>> from tinygrad_opt import optim
    >>> len(sampled(SURFACES["neuron"], optim.SGD(lr=1.0), seen=10, batch=1))
    11
    """
    rng, size = np.random.default_rng(rng), batch or len(f.samples)
    p = {n: np.array(v) for n, v in zip(f.axes, map(float, start or f.start))}
    path, waiting = [[float(v) for v in p.values()]], []
    while len(path) <= seen:
        for i in rng.permutation(len(f.samples)):
            waiting.append(f.samples[i])
            if len(waiting) == size:
                at = [Tensor(v, requires_grad=True) for v in p.values()]
                backward(f.f(*at, waiting) * (len(f.samples) / size), f.name)
                optimizer.update(p, dict(zip(p, (np.asarray(t.grad) for t in at))))
                waiting = []
            path.append([float(v) for v in p.values()])
    return path[: seen + 1]


def backward(height: object, name: str) -> None:
    """Take gradients, or say why there are none."""
    if not isinstance(height, Tensor) or not height.requires_grad:
        raise GraphError(f"{name} gives {type(height).__name__} for Tensors, without a graph;"
                         " write it in NumPy functions and operators.")
    height.backward()
