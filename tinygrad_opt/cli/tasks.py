"""What commands learn: data sets with settings under which they are learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["TASKS", "Samples", "Task", "chosen", "optimizer", "task_of"]


class Samples(NamedTuple):
    """What to learn from and what to test on; y holds classes 0, 1, …"""

    x_train: Any
    x_test: Any
    y_train: Any
    y_test: Any
    about: dict[str, Any]                              # what else is saved beside the weights

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
    lr: dict[str, float] = field(default_factory=dict)     # by the name of the optimizer


def _digits() -> Samples:
    from tinygrad_opt import data

    x, y = data.digits()
    return Samples(*data.train_test_split(x / 16, y, test_size=0.25, rng=0), about={})


def _made(name: str) -> Samples:
    """Points made by the function of that name, and as many new ones for testing."""
    from tinygrad_opt import data

    (x_train, y_train), (x_test, y_test) = (getattr(data, name)(rng=rng) for rng in (0, 1))
    return Samples(x_train, x_test, y_train, y_test, about={})


TASKS = {
    "digits": Task(_digits, hidden=(32,), epochs=30, batch_size=32, lr={
        "sgd": 0.1, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.05, "rmsprop": 0.003,
        "adam": 0.003}),
    "spiral": Task(lambda: _made("spiral"), hidden=(64,), epochs=1000, batch_size=300, lr={
        "sgd": 1.0, "momentum": 0.3, "nesterov": 0.3, "adagrad": 0.3, "rmsprop": 0.01,
        "adam": 0.05}),
    "moons": Task(lambda: _made("moons"), hidden=(16,), epochs=200, batch_size=50, lr={
        "sgd": 0.5, "momentum": 0.1, "nesterov": 0.1, "adagrad": 0.1, "rmsprop": 0.01,
        "adam": 0.02}),
}


def chosen(field: str) -> str:
    """What is chosen for each data set, for the help."""
    def shown(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return ", ".join(f"{shown(getattr(task, field))} for {name}" for name, task in TASKS.items())


def optimizer(task: Task, name: str, lr: float | None, parameters: Any = None) -> Any:
    """An optimizer by name; without a learning rate, at the one that suits the task."""
    from tinygrad_opt import optim

    lr = lr or task.lr.get(name.lower())
    return optim.get(name, parameters, **({"lr": lr} if lr else {}))


# ---- CSV -----------------------------------------------------------------------------------------


def task_of(name: str, target: str | None) -> Task:
    """The task of that name, or that of a CSV file."""
    if name in TASKS:
        if target is not None:
            raise ValueError(f"--target names a column of a CSV file; {name} has no columns")
        return TASKS[name]
    return Task(lambda: _table(Path(name), target), hidden=(32,), epochs=100, batch_size=32, lr={
        "sgd": 0.1, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.05, "rmsprop": 0.003,
        "adam": 0.01})


def _table(path: Path, target: str | None) -> Samples:
    """Standardized features and the classes of a CSV file, a quarter of its rows for testing."""
    import numpy as np

    from tinygrad_opt import data

    column: int | str = -1 if target is None else target
    if isinstance(column, str) and column.lstrip("-").isdecimal():
        column = int(column)
    x, labels, names = data.csv(path, column)
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
    about = {"classes": list(names) or values.tolist(),
             "mean": x_train.mean(axis=0), "spread": x_train.std(axis=0)}
    x_train, x_test = data.standardize(x_train, x_test)
    return Samples(x_train, x_test, y_train, y_test, about)
