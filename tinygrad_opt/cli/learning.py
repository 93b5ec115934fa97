"""What commands learn, and with what: data set, network and optimizer, from their arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypedDict, cast

import numpy as np

from tinygrad_opt import nn
from tinygrad_opt.cli.command import Argument
from tinygrad_opt.cli.kinds import (
    Flag,
    Whole,
    at_least,
    initialiser,
    one_of,
    optimizer,
    positive,
    schedule,
    sizes,
)
from tinygrad_opt.errors import NonFiniteError
from tinygrad_opt.nn.init import Initialiser

if TYPE_CHECKING:
    from tinygrad_opt.optim import Optimizer
    from tinygrad_opt.train import Callback, History, Run
    from tinygrad_opt.train.loop import Together
    from tinygrad_opt.typing import Array, Rate, Seed

    Called = Callback | Callable[[Run], object]

__all__ = ["TASKS", "Column", "Learning", "Problem", "data_set", "exit_code", "task_of"]


# ---- data sets, with settings under which they are learned ---------------------------------------


class About(TypedDict, total=False):
    """Of a CSV file, saved beside the weights: its names, and what standardized its columns."""

    classes: list[object]
    columns: list[str]
    mean: Array
    spread: Array


class Samples(NamedTuple):
    """What to learn from and what to test on; y holds classes 0, 1, …"""

    x_train: Array
    x_test: Array
    y_train: Array
    y_test: Array
    about: About = About()

    def layers(self, hidden: tuple[int, ...]) -> list[int]:
        """The sizes of all layers of a network for these samples."""
        classes = 1 + max(int(y.max()) for y in (self.y_train, self.y_test))
        return [self.x_train.shape[1], *hidden, classes]

    @property
    def names(self) -> list[str] | None:
        """What a CSV file calls its classes."""
        return [*map(str, self.about.get("classes", ()))] or None


@dataclass(frozen=True)
class Task:
    """A data set, and settings under which a network learns it well."""

    load: Callable[[], Samples]
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    rates: dict[str, float]                            # learning rate by the name of the optimizer


def _digits() -> Samples:
    from tinygrad_opt import data

    x, y = data.digits()
    return Samples(*data.train_test_split(x / 16, y, test_size=0.25, rng=0))


def _made(name: str) -> Samples:
    """Points made by the function of that name, and as many new ones for testing."""
    from tinygrad_opt import data

    (x_train, y_train), (x_test, y_test) = (getattr(data, name)(rng=rng) for rng in (0, 1))
    return Samples(x_train, x_test, y_train, y_test)


def _table(path: Path, target: str | None) -> Samples:
    """Standardized features and the classes of a CSV file, a quarter of its rows for testing."""
    from tinygrad_opt import data

    column: int | str = -1 if target is None else target
    if isinstance(column, str) and column.lstrip("-").isdecimal():
        column = int(column)
    if not path.exists():
        raise ValueError(f"{path}: No such file or directory")
    x, labels, names = table = data.csv(path, column)
    values, y = np.unique(labels, return_inverse=True)
    called = "the last column" if target is None else f"column {target!r}"
    if labels.dtype.kind == "f" or len(values) > max(2, len(y) // 2):
        raise ValueError(
            f"{path}: {called} has {len(values)} different values in {len(y)} rows, which are no"
            " classes; name the column of labels, such as --target species")
    if len(values) < 2:
        raise ValueError(f"{path}: {called} has one class only; there is nothing to learn")
    x_train, x_test, y_train, y_test = data.train_test_split(
        x, y.reshape(-1), test_size=0.25, rng=0)
    about: About = {
        "classes": list(names) or values.tolist(), "columns": list(table.columns),
        "mean": x_train.mean(axis=0), "spread": x_train.std(axis=0)}
    x_train, x_test = data.standardize(x_train, x_test)
    return Samples(x_train, x_test, y_train, y_test, about)


def _rates(sgd: float, momentum: float, adagrad: float, rmsprop: float,
           adam: float) -> dict[str, float]:
    return {"sgd": sgd, "momentum": momentum, "nesterov": momentum, "adagrad": adagrad,
            "rmsprop": rmsprop, "adam": adam}


TASKS = {
    "digits": Task(_digits, hidden=(32,), epochs=30, batch_size=32,
                   rates=_rates(0.1, 0.05, 0.05, 0.003, 0.003)),
    "spiral": Task(lambda: _made("spiral"), hidden=(64,), epochs=1000, batch_size=300,
                   rates=_rates(1.0, 0.3, 0.3, 0.01, 0.05)),
    "moons": Task(lambda: _made("moons"), hidden=(16,), epochs=200, batch_size=50,
                  rates=_rates(0.5, 0.1, 0.1, 0.01, 0.02)),
}


def task_of(name: str, target: str | None) -> Task:
    """The task of that name, or that of a CSV file."""
    if name in TASKS:
        if target is not None:
            raise ValueError(f"--target names a column of a CSV file; {name} has no columns")
        return TASKS[name]
    return Task(lambda: _table(Path(name), target), hidden=(32,), epochs=100, batch_size=32,
                rates=_rates(0.1, 0.05, 0.05, 0.003, 0.01))


def data_set(text: str) -> str:
    """The name of a task or of a CSV file."""
    if Path(text).suffix.lower() == ".csv":
        return text
    try:
        return one_of("data set", TASKS)(text)
    except ValueError as error:
        more = "" if str(error).endswith("?") else ", or a file such as iris.csv"
        raise ValueError(f"{error}{more}") from None


def _usual(setting: str) -> str:
    """What is chosen for each data set, for the help."""
    values = {name: getattr(task, setting) for name, task in TASKS.items()}
    return ", ".join(f"{','.join(map(str, v)) if isinstance(v, tuple) else v} for {name}"
                     for name, v in values.items())


# ---- arguments -----------------------------------------------------------------------------------

Column = Annotated[str, Argument("the last", metavar="COLUMN")]
Sizes = Annotated[tuple[int, ...], Argument(_usual("hidden"), type=sizes, metavar="SIZES")]
Epochs = Annotated[int, Argument(_usual("epochs"), type=at_least(1), metavar="N")]
BatchSize = Annotated[int, Argument(_usual("batch_size"), type=at_least(1), metavar="N")]
Init = Annotated[Initialiser, Argument("kaiming_uniform", type=initialiser, metavar="NAME")]
Schedule = Annotated[object, Argument(type=schedule, metavar="NAME")]
Norm = Annotated[float, Argument(type=positive, metavar="NORM")]
Name = Annotated[str, Argument(type=optimizer, metavar="NAME")]
LearningRate = Annotated[float, Argument(
    f"one that suits optimizer and data; adam: {TASKS['digits'].rates['adam']} for digits,"
    f" {TASKS['spiral'].rates['adam']} for spiral", type=positive, metavar="RATE")]


@dataclass(kw_only=True)
class Problem:
    """A data set, and the settings under which networks learn it.

    Parameters
    ----------
    dataset
        what to learn: digits, spiral, moons or a file such as iris.csv
    target
        column of labels in a CSV file: its name, such as species, or its number from 0
    hidden
        sizes of the hidden layers, such as 64,32, or none
    epochs
        passes over the data
    batch_size
        samples per step
    init
        first weights: a name such as xavier_normal, or 0.01 for as many times a standard normal
    schedule
        what becomes of the learning rate: cosine, one_cycle, exponential:rate=.99,
        step:every=100,factor=.5, warm_up:steps=50, plateau:patience=5, …
    clip_norm
        scale gradients down whose norm, of all together, is larger
    native
        train by machine code: sooner, with results equal to rounding
    """

    dataset: Annotated[str, Argument(type=data_set)] = field(kw_only=False)
    target: Column | None = None
    hidden: Sizes | None = None
    epochs: Epochs = 0
    batch_size: BatchSize = 0
    init: Init | None = None
    schedule: Schedule | None = None
    clip_norm: Norm | None = None
    native: Flag = False

    def __post_init__(self) -> None:
        task = task_of(self.dataset, self.target)
        self.name, self.rates = Path(self.dataset).stem, task.rates
        self.samples = task.load()
        self.layers = self.samples.layers(task.hidden if self.hidden is None else self.hidden)
        self.epochs = self.epochs or task.epochs
        self.batch_size = self.batch_size or task.batch_size
        self.compile = "native" if self.native else None
        self.callbacks: list[Callback] = []
        if self.schedule and not callable(self.schedule):
            self.callbacks.append(cast("Callback", self.schedule))
        self.parallel: Together | None = None

    def network(self, rng: Seed) -> nn.MLP:
        """A network with first weights of its own."""
        return nn.MLP(self.layers, init=self.init, rng=rng)

    def rate(self, text: str) -> float:
        """The learning rate that suits the data."""
        from tinygrad_opt import optim

        made = optim.get(text)
        return self.rates.get(type(made).__name__.lower()) or float(made.current_lr)

    def made(self, text: str, lr: float | None = None) -> Optimizer:
        """An optimizer as it was asked for; without a rate, at the one that suits the data."""
        from tinygrad_opt import optim

        made = optim.get(text)
        if not optim.lookup.says_rate(text):
            made.lr = lr or self.rate(text)
        elif lr:
            raise ValueError(f"{text} has its rate, and --lr {lr:g} says another")
        if callable(self.schedule):
            steps = self.epochs * -(-len(self.samples.x_train) // self.batch_size)
            try:
                made.lr = cast("Rate", self.schedule(made.lr, steps))
            except (TypeError, ValueError) as error:
                raise ValueError(f"--schedule: {error}") from error
        if self.clip_norm:
            if made.clip_norm:
                raise ValueError(f"{text} clips gradients, and --clip-norm {self.clip_norm:g} says"
                                 " another norm")
            made.clip_norm = self.clip_norm
        return made


@dataclass(kw_only=True)
class Learning:
    """A network that learns a problem, and the optimizer that it learns by.

    Parameters
    ----------
    optimizer
        sgd, momentum, nesterov, adagrad, rmsprop, adam, …, with options if you like, such as
        sgd:lr=1,decay=1e-3,momentum=.8
    lr
        learning rate
    seed
        chooses the first weights and the order of the samples
    quiet
        show no progress
    """

    problem: Problem
    optimizer: Name = "adam"
    lr: LearningRate | None = None
    seed: Whole = 0
    quiet: Flag = False

    def __post_init__(self) -> None:
        self.samples, self.model = self.problem.samples, self.problem.network(self.seed)
        self.bound = self.problem.made(self.optimizer, self.lr).bind(self.model.parameters())

    def __str__(self) -> str:
        count = sum(p.size for p in self.model.parameters().values())
        return (f"{self.problem.name}: {len(self.samples.x_train)} samples to learn from,"
                f" {len(self.samples.x_test)} to test on\n"
                f"network {'-'.join(map(str, self.problem.layers))}, {count:,} parameters,"
                f" {self.bound!r}")

    def fit(self, *callbacks: Called, progress: bool = False, diagnose: bool = False) -> History:
        """Train, and return the history."""
        from tinygrad_opt.train import fit

        s, problem = self.samples, self.problem
        with np.errstate(all="ignore"):                    # StopOnNonFinite speaks of it
            return fit(
                self.model, s.x_train, s.y_train, loss="cross_entropy", optimizer=self.bound,
                epochs=problem.epochs, batch_size=problem.batch_size, metrics=["accuracy"],
                validation_data=(s.x_test, s.y_test), callbacks=[*problem.callbacks, *callbacks],
                seed=self.seed, progress=progress, compile=problem.compile, diagnose=diagnose,
                parallel=problem.parallel)

    def run(self, *callbacks: Called) -> History:
        """Say what is trained, and train until it is done, interrupted or exploding."""
        from tinygrad_opt.train import StopOnNonFinite

        print(self, flush=True)
        return self.fit(*callbacks, StopOnNonFinite(growth=1000), progress=not self.quiet,
                        diagnose=True)


def exit_code(history: History) -> int:
    """That of a command whose training has ended: 130 when interrupted.

    Raises
    ------
    NonFiniteError
        If it exploded.
    """
    if history.stopped not in (None, "interrupted"):
        raise NonFiniteError(history.stopped)
    return 130 if history.stopped else 0
