"""`Training`: what `fit` is given, for a sweep, which trains small networks as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from tinygrad_opt import nn, optim
from tinygrad_opt.compiler import compile as captured
from tinygrad_opt.nn.module import Module
from tinygrad_opt.parallel.trials import Settings, drawing_from
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.train.loop import fit
from tinygrad_opt.train.measure import Metrics, evaluate, loss_by_name
from tinygrad_opt.typing import ArrayLike, Loss, Model

__all__ = ["Training"]

TOGETHER = 8                      # models trained as one, however many jobs there are
SMALL = 20_000                    # parameters of a model, above which there is little to gain


class How(NamedTuple):
    """How a model is trained, as far as trials may differ in it."""

    optimizer: str
    lr: float | None
    epochs: int
    batch_size: int


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
        own, how = self._split(options)
        model, seed = self._made(rng, own)
        with np.errstate(all="ignore"):                    # a trial that diverges is told as such
            history = fit(model, self.x, self.y, loss=self.loss,
                          optimizer=self.get(how.optimizer, how.lr),
                          epochs=how.epochs, batch_size=how.batch_size, seed=seed,
                          **{"progress": False, "diagnose": False} | dict(self.fit or {}))
            if history.stopped == "interrupted":
                raise KeyboardInterrupt
            return self._measured(model)

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
        splits = [self._split(options) for _, options in trials]
        made = []
        for (rng, _), (own, _) in zip(trials, splits):
            with drawing_from(rng):
                made.append(self._made(rng, own))
        optimizers = [self.get(how.optimizer, how.lr) for _, how in splits]
        many = nn.stack(cast("list[Module]", [model for model, _ in made]))
        loss, optimizer = many.loss(loss_by_name(self.loss)), optimizers[0]
        optimizer.lr = [float(one.current_lr) for one in optimizers]
        optimizer.bind(many.parameters())

        @captured
        def step(x: np.ndarray, y: np.ndarray) -> Tensor:
            total = loss(many(x), y)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            return total

        x, y, how = np.asarray(self.x), np.asarray(self.y), splits[0][1]
        x = x.astype(next(iter(many.parameters().values())).dtype)
        n, size = len(x), how.batch_size
        with np.errstate(all="ignore"):
            for epoch in range(1, how.epochs + 1):
                orders = np.stack([
                    np.random.default_rng([seed, epoch]).permutation(n) if size < n
                    else np.arange(n) for _, seed in made])
                for start in range(0, n, size):
                    rows = orders[:, start : start + size]
                    step(x[rows], y[rows])
            return [self._measured(model) for model in nn.unstack(many)]

    def _split(self, options: Settings) -> tuple[Settings, How]:
        """The options of the model, and how it is trained."""
        usual = How(self.optimizer, None, self.epochs, self.batch_size)
        return ({n: v for n, v in options.items() if n not in How._fields},
                usual._replace(**{n: v for n, v in options.items() if n in How._fields}))

    def _made(self, rng: np.random.Generator, own: Settings) -> tuple[Model, int]:
        """A model, and the seed for the order of the samples."""
        return self.model(rng=rng, **own), int(rng.integers(2**63))

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
        own, how = self._split(options)
        try:
            model, _ = self._made(np.random.default_rng(0), own)
            optimizer = self.get(how.optimizer, how.lr)
            if not isinstance(model, Module) or sum(
                    p.size for p in model.parameters().values()) > SMALL or any(
                    isinstance(m, nn.Dropout) and m.rng is None
                    for m in model.named_modules().values()):
                return None
            optimizer.bind(nn.stack([model]).parameters())
        except (TypeError, ValueError):                    # it will say so when it is trained
            return None
        plain = {n: getattr(optimizer, n) for n in optimizer.options if n != "lr"}
        if not isinstance(optimizer.lr, float):
            return None
        return repr((type(optimizer).__name__, plain, how.epochs, how.batch_size, own))
