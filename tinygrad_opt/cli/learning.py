"""What commands learn, and with what: data set, network and optimizer, from their arguments."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from tinygrad_opt.cli.command import (
    UsageError,
    argument,
    at_least,
    initialiser,
    one_of,
    optimizer,
    pixels,
    positive,
    schedule,
    sizes,
    wrongly_used,
)

if TYPE_CHECKING:
    from tinygrad_opt import nn
    from tinygrad_opt.optim import Optimizer
    from tinygrad_opt.train import Callback, History, Run
    from tinygrad_opt.train.loop import Together
    from tinygrad_opt.typing import Array, Seed
    from tinygrad_opt.viz.figures import Options, Picture

    Called = Callback | Callable[[Run], object]

__all__ = ["DATA", "LEARNING", "PICTURE", "QUIET", "TASKS", "TITLE", "TRAINING", "Learning",
           "Problem", "data_set", "exit_code", "look", "prepared", "saved", "task_of"]


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
    import numpy as np

    from tinygrad_opt import data

    column: int | str = -1 if target is None else target
    if isinstance(column, str) and column.lstrip("-").isdecimal():
        column = int(column)
    if not path.exists():
        raise UsageError(f"{path}: No such file or directory")
    with wrongly_used():
        x, labels, names = table = data.csv(path, column)
    values, y = np.unique(labels, return_inverse=True)
    called = "the last column" if target is None else f"column {target!r}"
    if labels.dtype.kind == "f" or len(values) > max(2, len(y) // 2):
        raise UsageError(
            f"{path}: {called} has {len(values)} different values in {len(y)} rows, which are no"
            " classes; name the column of labels, such as --target species")
    if len(values) < 2:
        raise UsageError(f"{path}: {called} has one class only; there is nothing to learn")
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
            raise UsageError(f"--target names a column of a CSV file; {name} has no columns")
        return TASKS[name]
    return Task(lambda: _table(Path(name), target), hidden=(32,), epochs=100, batch_size=32,
                rates=_rates(0.1, 0.05, 0.05, 0.003, 0.01))


# ---- arguments -----------------------------------------------------------------------------------


def data_set(text: str) -> str:
    """The name of a task or of a CSV file."""
    if Path(text).suffix.lower() == ".csv":
        return text
    try:
        return one_of("data set", TASKS)(text)
    except argparse.ArgumentTypeError as error:
        more = "" if str(error).endswith("?") else ", or a file such as iris.csv"
        raise argparse.ArgumentTypeError(f"{error}{more}") from None


def _chosen(setting: str) -> str:
    """What is chosen for each data set, for the help."""
    values = {name: getattr(task, setting) for name, task in TASKS.items()}
    return ", ".join(f"{','.join(map(str, v)) if isinstance(v, tuple) else v} for {name}"
                     for name, v in values.items())


DATA = (
    argument("dataset", type=data_set,
             help=f"what to learn: {', '.join(TASKS)} or a file such as iris.csv"),
    argument("--target", metavar="COLUMN",
             help="column of labels in a CSV file: its name, such as species, or its number"
                  " from 0 (default: the last)"),
)
TRAINING = (
    argument("--hidden", type=sizes, metavar="SIZES",
             help="sizes of the hidden layers, such as 64,32, or none (default:"
                  f" {_chosen('hidden')})"),
    argument("--epochs", type=at_least(1), metavar="N",
             help=f"passes over the data (default: {_chosen('epochs')})"),
    argument("--batch-size", type=at_least(1), metavar="N",
             help=f"samples per step (default: {_chosen('batch_size')})"),
    argument("--init", type=initialiser, metavar="NAME",
             help="first weights: a name such as xavier_normal, or 0.01 for as many times a"
                  " standard normal (default: kaiming_uniform)"),
    argument("--schedule", type=schedule, metavar="NAME",
             help="what becomes of the learning rate: cosine, one_cycle, exponential:rate=.99,"
                  " step:every=100,factor=.5, warm_up:steps=50, plateau:patience=5, …"),
    argument("--clip-norm", type=positive, metavar="NORM",
             help="scale gradients down whose norm, of all together, is larger"),
    argument("--native", action="store_true",
             help="train by machine code: sooner, with results equal to rounding"),
)
QUIET = argument("--quiet", action="store_true", help="show no progress")
THEME = argument("--theme", choices=("auto", "light", "dark"), default="auto",
                 help="colours; with auto pages and SVG follow their reader's system, and other"
                      " pictures are light (default: auto)")
TITLE = argument("--title", default="", metavar="TEXT", help="above the picture")
PICTURE = (
    THEME,
    TITLE,
    argument("--size", type=pixels, metavar="WxH",
             help="in pixels, such as 1920x1080, on which words and lines grow too"),
    argument("--dpi", type=positive, default=100.0, metavar="N",
             help="pixels an inch: more of them make words and lines larger, from 201 on also at"
                  " 1920x1080 (default: 100)"),
)
LEARNING = (
    *DATA,
    argument("--optimizer", type=optimizer, default="adam", metavar="NAME",
             help="sgd, momentum, nesterov, adagrad, rmsprop, adam, …, with options if you like,"
                  " such as sgd:lr=1,decay=1e-3,momentum=.8 (default: adam)"),
    argument("--lr", type=positive, metavar="RATE",
             help="learning rate (default: one that suits optimizer and data; adam: 0.003 for"
                  " digits, 0.05 for spiral)"),
    *TRAINING,
    argument("--seed", type=at_least(0), default=0, metavar="N",
             help="chooses the first weights and the order of the samples (default: 0)"),
    QUIET,
)


# ---- what they ask for ---------------------------------------------------------------------------


class Problem:
    """Data and settings of a command that took `DATA` and `TRAINING`."""

    def __init__(self, options: argparse.Namespace) -> None:
        task = task_of(options.dataset, options.target)
        self.name, self.rates = Path(options.dataset).stem, task.rates
        self.samples = task.load()
        self.layers = self.samples.layers(task.hidden if options.hidden is None else options.hidden)
        self.epochs = options.epochs or task.epochs
        self.batch_size = options.batch_size or task.batch_size
        self.init, self.schedule, self.clip_norm = options.init, options.schedule, options.clip_norm
        self.compile = "native" if options.native else None
        self.callbacks: list[Callback] = [self.schedule] if self.schedule and not callable(
            self.schedule) else []
        self.parallel: Together | None = None

    def network(self, rng: Seed) -> nn.MLP:
        """A network with first weights of its own."""
        from tinygrad_opt import nn

        return nn.MLP(self.layers, init=self.init, rng=rng)

    def rate(self, text: str) -> float:
        """The learning rate that suits the data."""
        from tinygrad_opt import optim

        made = optim.get(text)
        return self.rates.get(type(made).__name__.lower()) or float(made.current_lr)

    def optimizer(self, text: str, lr: float | None = None) -> Optimizer:
        """An optimizer as it was asked for; without a rate, at the one that suits the data."""
        from tinygrad_opt import optim

        made = optim.get(text)
        if not optim.lookup.says_rate(text):
            made.lr = lr or self.rate(text)
        elif lr:
            raise UsageError(f"{text} has its rate, and --lr {lr:g} says another")
        if callable(self.schedule):
            steps = self.epochs * -(-len(self.samples.x_train) // self.batch_size)
            with wrongly_used("--schedule"):
                made.lr = self.schedule(made.lr, steps)
        if self.clip_norm:
            if made.clip_norm:
                raise UsageError(f"{text} clips gradients, and --clip-norm {self.clip_norm:g} says"
                                 " another norm")
            made.clip_norm = self.clip_norm
        return made


class Learning:
    """A network and an optimizer for a problem, from the start that a seed gives."""

    def __init__(self, problem: Problem, optimizer: Optimizer, seed: int) -> None:
        self.problem, self.samples, self.seed = problem, problem.samples, seed
        self.model = problem.network(seed)
        with wrongly_used():                               # it may name parameters, to freeze them
            self.optimizer = copy.copy(optimizer).bind(self.model.parameters())

    def __str__(self) -> str:
        count = sum(p.size for p in self.model.parameters().values())
        return (f"{self.problem.name}: {len(self.samples.x_train)} samples to learn from,"
                f" {len(self.samples.x_test)} to test on\n"
                f"network {'-'.join(map(str, self.problem.layers))}, {count:,} parameters,"
                f" {self.optimizer!r}")

    def fit(self, *callbacks: Called, progress: bool, diagnose: bool = True) -> History:
        """Train, and return the history."""
        import numpy as np

        from tinygrad_opt.train import fit

        s = self.samples
        with np.errstate(all="ignore"):                    # StopOnNonFinite speaks of it
            return fit(
                self.model, s.x_train, s.y_train, loss="cross_entropy", optimizer=self.optimizer,
                epochs=self.problem.epochs, batch_size=self.problem.batch_size,
                metrics=["accuracy"], validation_data=(s.x_test, s.y_test),
                callbacks=[*self.problem.callbacks, *callbacks], seed=self.seed,
                progress=progress, compile=self.problem.compile, diagnose=diagnose,
                parallel=self.problem.parallel)

    def run(self, options: argparse.Namespace, *callbacks: Called) -> History:
        """Say what is trained, and train until it is done, interrupted or exploding."""
        from tinygrad_opt.train import StopOnNonFinite

        print(self, flush=True)
        return self.fit(*callbacks, StopOnNonFinite(growth=1000), progress=not options.quiet)


def prepared(options: argparse.Namespace) -> Learning:
    """Data, network and optimizer of a command that took `LEARNING`."""
    problem = Problem(options)
    return Learning(problem, problem.optimizer(options.optimizer, options.lr), options.seed)


def look(options: argparse.Namespace) -> Options:
    """What `PICTURE` chose, as functions of `viz` take it: sizes in inches."""
    size = options.size and tuple(side / options.dpi for side in options.size)
    return {"theme": options.theme, "title": options.title, "size": size, "dpi": options.dpi}


def saved(plot: Callable[..., Picture], path: Path, chosen: Options) -> bool:
    """Whether a picture could be drawn; without Matplotlib, or with nothing to be drawn, say why.
    """
    from tinygrad_opt.errors import RenderError
    from tinygrad_opt.viz.figures import save_picture

    try:
        return bool(save_picture(plot, path, **chosen))
    except (RenderError, ValueError) as error:
        print(f"no {path.name}: {error}")
        return False


def exit_code(history: History) -> int:
    """That of a command whose training has ended: 130 when interrupted.

    Raises
    ------
    NonFiniteError
        If it exploded.
    """
    from tinygrad_opt.errors import NonFiniteError

    if history.stopped not in (None, "interrupted"):
        raise NonFiniteError(history.stopped)
    return 130 if history.stopped else 0
