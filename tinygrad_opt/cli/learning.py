"""A training as a command is told to run it: its arguments, its parts, its course."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_opt.cli import tasks
from tinygrad_opt.cli.command import argument, at_least, one_of, positive, sizes

__all__ = ["ARGUMENTS", "QUIET", "THEME", "Learning", "exit_code", "prepared"]


def _dataset(text: str) -> str:
    """The name of a task or of a CSV file."""
    if Path(text).suffix.lower() == ".csv":
        return text
    try:
        return one_of("data set", tasks.TASKS)(text)
    except argparse.ArgumentTypeError as error:
        more = "" if str(error).endswith("?") else ", or a file such as iris.csv"
        raise argparse.ArgumentTypeError(f"{error}{more}") from None


ARGUMENTS = (
    argument("dataset", type=_dataset,
             help=f"what to learn: {', '.join(tasks.TASKS)} or a file such as iris.csv"),
    argument("--target", metavar="COLUMN",
             help="column of labels in a CSV file: its name, such as species, or its number"
                  " from 0 (default: the last)"),
    argument("--hidden", type=sizes, metavar="SIZES",
             help="sizes of the hidden layers, such as 64,32, or none (default:"
                  f" {tasks.chosen('hidden')})"),
    argument("--optimizer", default="adam", metavar="NAME",
             help="sgd, momentum, nesterov, adagrad, rmsprop, adam, … (default: adam)"),
    argument("--lr", type=positive, metavar="RATE",
             help="learning rate (default: one that suits optimizer and data; adam: 0.003 for"
                  " digits, 0.05 for spiral)"),
    argument("--epochs", type=at_least(1), metavar="N",
             help=f"passes over the data (default: {tasks.chosen('epochs')})"),
    argument("--batch-size", type=at_least(1), metavar="N",
             help=f"samples per step (default: {tasks.chosen('batch_size')})"),
    argument("--seed", type=at_least(0), default=0, metavar="N",
             help="chooses the first weights and the order of the samples (default: 0)"),
)
QUIET = argument("--quiet", action="store_true", help="show no progress")
THEME = argument("--theme", choices=("auto", "light", "dark"), default="auto",
                 help="colours; with auto a page follows its reader's system, and pictures are"
                      " light (default: auto)")


@dataclass(frozen=True)
class Learning:
    """What is to be trained, and with what."""

    name: str
    samples: tasks.Samples
    layers: list[int]
    model: Any
    optimizer: Any
    epochs: int
    batch_size: int
    seed: int
    quiet: bool

    def __str__(self) -> str:
        count = sum(p.size for p in self.model.parameters().values())
        return (f"{self.name}: {len(self.samples.x_train)} samples to learn from,"
                f" {len(self.samples.x_test)} to test on\n"
                f"network {'-'.join(map(str, self.layers))}, {count:,} parameters,"
                f" {self.optimizer!r}")

    def fit(self, callbacks: Sequence[Any] = ()) -> Any:
        """Train, and return the history; ``history.stopped`` says why it ended early."""
        import numpy as np

        from tinygrad_opt import nn
        from tinygrad_opt.train import StopOnNonFinite, fit

        s = self.samples
        with np.errstate(all="ignore"):                    # a run that explodes is told of once
            return fit(
                self.model, s.x_train, s.y_train, loss=nn.cross_entropy, optimizer=self.optimizer,
                epochs=self.epochs, batch_size=self.batch_size, metrics=["accuracy"],
                validation_data=(s.x_test, s.y_test), callbacks=[*callbacks, StopOnNonFinite()],
                seed=self.seed, progress=not self.quiet)


def exit_code(history: Any) -> int:
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


def prepared(options: argparse.Namespace) -> Learning:
    """Data, network and optimizer of a command that took `ARGUMENTS` and `QUIET`."""
    from tinygrad_opt import nn

    task = tasks.task_of(options.dataset, options.target)
    tasks.optimizer(task, options.optimizer, options.lr)   # a wrong name is told before reading
    samples = task.load()
    layers = samples.layers(task.hidden if options.hidden is None else options.hidden)
    model = nn.MLP(layers, rng=options.seed)
    return Learning(
        Path(options.dataset).stem, samples, layers, model,
        tasks.optimizer(task, options.optimizer, options.lr, model.parameters()),
        options.epochs or task.epochs, options.batch_size or task.batch_size,
        options.seed, options.quiet)
