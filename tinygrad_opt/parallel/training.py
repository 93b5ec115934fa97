"""`Training`: what `fit` is given, for a sweep, which trains small networks as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, cast

import numpy as np

from tinygrad_opt import nn, optim
from tinygrad_opt.compiler import compile as captured
from tinygrad_opt.data import minibatches
from tinygrad_opt.nn import init
from tinygrad_opt.nn.module import Module
from tinygrad_opt.parallel.trials import Settings, drawing_from
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.train.loop import fit
from tinygrad_opt.train.measure import Metrics, evaluate, loss_by_name
from tinygrad_opt.typing import ArrayLike, Loss, Model

__all__ = ["Training"]

TOGETHER = 8                      # models trained as one, however many jobs there are
SMALL = 20_000                    # parameters of a model, above which there is little to gain


class Prepared(NamedTuple):
    """What one trial is to train, and how."""

    model: Model
    optimizer: optim.Optimizer
    epochs: int
    batch_size: int
    seed: int                     # for the order of the samples
    own: Settings                 # options of the model


def _optimizer(chosen: str, lr: float | None) -> optim.Optimizer:
    """An optimizer as the options say."""
    made = optim.get(chosen)
    if lr is not None:
        if isinstance(chosen, str) and optim.lookup.says_rate(chosen):
            raise ValueError(f"{chosen} has its rate, and lr={lr} says another")
        made.lr = lr
    return made


@dataclass(frozen=True)
class Training:
    """A training for `sweep`: small networks of equal shapes are trained as one.

    Parameters
    ----------
    model : callable
        ``model(rng=..., **options)`` makes one, of those options that are not named below.
    x, y : array-like of shape (n_samples, ...)
    loss : str or callable
        As in `fit`.
    optimizer : str
        As `optim.get` reads it. The sweep's options ``optimizer`` and ``lr`` come before it.
    epochs, batch_size : int
        As in `fit`; they may be options of the sweep.
    validation_data : (x, y), optional
    metrics : sequence or dict
        As in `fit`.
    get : callable
        ``get(optimizer, lr)`` makes an optimizer of these options; by default `optim.get` does.
    stack : bool
        Whether to train as one what can be; the results differ in rounding.
    fit : dict, optional
        What else `fit` is given; then no models are trained as one.

    Notes
    -----
    A trial's values are loss and metrics of the trained model, measured at the end.

    Eight models of 2-16-16-2 are trained in a third of the time that they take one by one. What
    would make them depend on each other (batch normalisation, clip_norm) is trained by itself;
    so are models of more than 20000 parameters, and a loss or layers of your own.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt.parallel import Training, sweep
    >>> x, y = tg.data.moons(100, rng=0)
    >>> train = Training(lambda hidden, rng: tg.nn.MLP([2, hidden, 2], rng=rng), x, y,
    ...                  loss="cross_entropy", epochs=20, metrics="accuracy")
    >>> found = sweep(train, {"hidden": [8, 16], "lr": [0.0001, 0.001, 0.01, 0.1]}, seed=0,
    ...               progress=False)
    >>> len(found), found.best.options["lr"] > 0.001, found.best.values["accuracy"] > 0.9
    (8, True, True)
    """

    model: Callable[..., Model]
    x: ArrayLike
    y: ArrayLike
    loss: Loss | str = "cross_entropy"
    optimizer: str = "adam"
    epochs: int = 10
    batch_size: int = 32
    validation_data: tuple[ArrayLike, ArrayLike] | None = None
    metrics: Metrics = ()
    get: Callable[[str, float | None], optim.Optimizer] = _optimizer
    stack: bool = True
    fit: Settings | None = None

    def __call__(self, *, rng: np.random.Generator, **options: object) -> dict[str, float]:
        """Train one model with these options.

        Parameters
        ----------
        rng : numpy.random.Generator
        **options

        Returns
        -------
        dict of str to float
        """
        one = self._prepared(rng, options)
        with np.errstate(all="ignore"):                    # a trial that diverges is told as such
            history = fit(one.model, self.x, self.y, loss=self.loss, optimizer=one.optimizer,
                          epochs=one.epochs, batch_size=one.batch_size, seed=one.seed,
                          **{"progress": False, "diagnose": False} | dict(self.fit or {}))
            if history.stopped == "interrupted":
                raise KeyboardInterrupt
            return self._measured(one.model)

    def groups(self, settings: Sequence[Settings]) -> list[list[int]]:
        """Which trials are trained as one, whatever runs them."""
        alike: dict[str | int, list[int]] = {}
        for k, options in enumerate(settings):
            alike.setdefault(self._kind(options) or k, []).append(k)
        return [some[i : i + TOGETHER] for some in alike.values()
                for i in range(0, len(some), TOGETHER)]

    def together(
        self, trials: Sequence[tuple[np.random.Generator, Settings]]
    ) -> list[dict[str, float]]:
        """Train as one, each as by itself."""
        made = []
        for rng, options in trials:
            with drawing_from(rng):
                made.append(self._prepared(rng, options))
        many, optimizer = nn.stack([cast("Module", one.model) for one in made]), made[0].optimizer
        loss = many.loss(loss_by_name(self.loss))
        optimizer.lr = [float(one.optimizer.current_lr) for one in made]
        optimizer.bind(many.parameters())

        @captured
        def step(x: np.ndarray, y: np.ndarray) -> Tensor:
            total = loss(many(x), y)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            return total

        x, y, size = np.asarray(self.x), np.asarray(self.y), made[0].batch_size
        x = x.astype(next(iter(many.parameters().values())).dtype)
        n = len(x)
        with np.errstate(all="ignore"):
            for epoch in range(1, made[0].epochs + 1):
                orders = [minibatches(np.arange(n), None, size, shuffle=size < n,
                                      rng=[one.seed, epoch]) for one in made]
                for rows in map(np.stack, zip(*orders)):
                    step(x[rows], y[rows])
            return [self._measured(model) for model in nn.unstack(many)]

    def _prepared(self, rng: np.random.Generator, options: Settings) -> Prepared:
        """The model and optimizer of these options."""
        usual: Settings = {"optimizer": self.optimizer, "lr": None, "epochs": self.epochs,
                           "batch_size": self.batch_size}
        name, lr, epochs, size = itemgetter(*usual)({**usual, **options})
        own = {option: value for option, value in options.items() if option not in usual}
        model = self.model(rng=rng, **own)
        return Prepared(model, self.get(name, lr), epochs, size, int(rng.integers(2**63)), own)

    def _measured(self, model: Model) -> dict[str, float]:
        def measured(x: ArrayLike, y: ArrayLike) -> dict[str, float]:
            return evaluate(model, x, y, loss=self.loss, metrics=self.metrics)

        seen = measured(self.x, self.y)
        if self.validation_data is not None:
            seen |= {f"val_{name}": v for name, v in measured(*self.validation_data).items()}
        return seen

    def _kind(self, options: Settings) -> str | None:
        """The same for trials that can be trained as one; None for one that is trained alone."""
        known = isinstance(self.loss, str) or getattr(
            self.loss, "__module__", "").startswith("tinygrad_opt.nn.")
        if not self.stack or self.fit is not None or not known or np.ndim(self.x) != 2:
            return None
        try:
            model, optimizer, *how = self._prepared(np.random.default_rng(0), options)
            if not isinstance(model, Module) or sum(
                    p.size for p in model.parameters().values()) > SMALL or any(
                    rng is init.generator() for rng in model.generators().values()):
                return None
            optimizer.bind(nn.stack([model]).parameters())
        except (TypeError, ValueError):                    # it will say so when it is trained
            return None
        plain = {n: getattr(optimizer, n) for n in optimizer.options if n != "lr"}
        if not isinstance(optimizer.lr, float):
            return None
        return repr((type(optimizer).__name__, plain, how))
