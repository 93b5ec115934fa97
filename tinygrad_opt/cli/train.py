"""``tinygrad-opt train``: a small network learns real data, and shows how."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.command import argument, at_least, command, positive, sizes

__all__ = ["train"]

@dataclass(frozen=True)
class Task:
    """A data set, and settings under which a network learns it well."""

    load: Callable[[], tuple[Any, Any, Any, Any]]      # x_train, x_test, y_train, y_test
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: dict[str, float]                               # by the name of the optimizer


def _digits() -> tuple[Any, Any, Any, Any]:
    from tinygrad_opt import data

    x, y = data.digits()
    return data.train_test_split(x / 16, y, test_size=0.25, rng=0)


def _spiral() -> tuple[Any, Any, Any, Any]:
    from tinygrad_opt import data

    (x_train, y_train), (x_test, y_test) = data.spiral(rng=0), data.spiral(rng=1)
    return x_train, x_test, y_train, y_test


TASKS = {
    "digits": Task(_digits, hidden=(32,), epochs=30, batch_size=32, lr={
        "sgd": 0.1, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.05, "rmsprop": 0.003,
        "adam": 0.003}),
    "spiral": Task(_spiral, hidden=(64,), epochs=1000, batch_size=300, lr={
        "sgd": 1.0, "momentum": 0.3, "nesterov": 0.3, "adagrad": 0.3, "rmsprop": 0.01,
        "adam": 0.05}),
}


def _each(field: str) -> str:
    """What is chosen for each data set, for the help."""
    def shown(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return ", ".join(f"{shown(getattr(task, field))} for {name}" for name, task in TASKS.items())


@command(
    argument("dataset", choices=TASKS, help=f"what to learn: {' or '.join(TASKS)}"),
    argument("--hidden", type=sizes, metavar="SIZES",
             help="sizes of the hidden layers, such as 64,32, or none (default:"
                  f" {_each('hidden')})"),
    argument("--optimizer", default="adam", metavar="NAME",
             help="sgd, momentum, nesterov, adagrad, rmsprop, adam, … (default: adam)"),
    argument("--lr", type=positive, metavar="RATE",
             help="learning rate (default: one that suits optimizer and data; adam: 0.003 for"
                  " digits, 0.05 for spiral)"),
    argument("--epochs", type=at_least(1), metavar="N",
             help=f"passes over the data (default: {_each('epochs')})"),
    argument("--batch-size", type=at_least(1), metavar="N",
             help=f"samples per step (default: {_each('batch_size')})"),
    argument("--seed", type=at_least(0), default=0, metavar="N",
             help="chooses the first weights and the order of the samples (default: 0)"),
    argument("--out", type=Path, metavar="FOLDER", help="where to (default: runs/DATASET)"),
    argument("--quiet", action="store_true", help="show no progress"),
    examples="""
    tinygrad-opt train digits
    tinygrad-opt train digits --optimizer sgd --lr 0.5 --out runs/fast
    tinygrad-opt train spiral --hidden 64,64 --epochs 100
    tinygrad-opt train digits --hidden none        softmax regression, for comparison
    """,
)
def train(options: argparse.Namespace) -> int:
    """Train a small network and draw the graph that trained it.

    digits: 1,797 handwritten digits of 8 × 8 pixels, a quarter of them for testing.
    spiral: three arms of 100 points each, tested on as many new points.

    Written to the folder: graph.svg (the graph of a batch's loss, with its gradients),
    history.csv (loss, accuracy, learning rate and more for each epoch) and weights.npz
    (for tinygrad_opt.load). Ctrl-C ends the training and keeps what was learned so far.
    """
    import numpy as np

    from tinygrad_opt import nn
    from tinygrad_opt.checkpoint import save
    from tinygrad_opt.errors import NonFiniteError
    from tinygrad_opt.train import StopOnNonFinite, evaluate, fit

    task = TASKS[options.dataset]
    out = options.out or Path("runs", options.dataset)
    x_train, x_test, y_train, y_test = task.load()
    hidden = task.hidden if options.hidden is None else options.hidden
    layers = [x_train.shape[1], *hidden, int(y_train.max()) + 1]
    model = nn.MLP(layers, rng=options.seed)
    optimizer = _optimizer(options, task, model)
    out.mkdir(parents=True, exist_ok=True)
    batch_size = options.batch_size or task.batch_size

    print(f"{options.dataset}: {len(x_train)} samples to learn from, {len(x_test)} to test on")
    print(f"network {'-'.join(map(str, layers))}, {_count(model):,} parameters, {optimizer!r}",
          flush=True)
    start = time.perf_counter()
    with np.errstate(all="ignore"):                        # a run that explodes is told of once
        history = fit(
            model, x_train, y_train, loss=nn.cross_entropy, optimizer=optimizer,
            epochs=options.epochs or task.epochs, batch_size=batch_size, metrics=["accuracy"],
            validation_data=(x_test, y_test), callbacks=[StopOnNonFinite()], seed=options.seed,
            progress=not options.quiet,
        )
    if history.stopped not in (None, "interrupted"):
        raise NonFiniteError(history.stopped)
    seconds = time.perf_counter() - start
    score = evaluate(model, x_test, y_test, metrics=["accuracy"])["accuracy"]
    print(f"test accuracy {score:.4f} ({round(score * len(x_test))} of {len(x_test)} right)"
          f" after {history.epochs} epochs, {seconds:.1f} s")

    files = {
        _drawing(model, x_train, y_train, batch_size, out / "graph.svg"):
            "the graph of the loss: open it in a browser",
        history.save(out / "history.csv"): "what happened in each epoch",
        save(out / "weights.npz", model, optimizer, layers=layers, history=history):
            "for tinygrad_opt.load",
    }
    width = max(len(str(path)) for path in files)
    for path, meaning in files.items():
        print(f"  {path!s:{width}}  {meaning}")
    return 130 if history.stopped == "interrupted" else 0


def _optimizer(options: argparse.Namespace, task: Task, model: Any) -> Any:
    from tinygrad_opt import optim

    lr = options.lr or task.lr.get(options.optimizer.lower())
    return optim.get(options.optimizer, model.parameters(), **({"lr": lr} if lr else {}))


def _count(model: Any) -> int:
    return sum(p.size for p in model.parameters().values())


def _drawing(model: Any, x: Any, y: Any, batch_size: int, path: Path) -> Path:
    """Draw the loss of one batch under the trained weights, its gradients included."""
    from tinygrad_opt import nn
    from tinygrad_opt.tensor import Tensor
    from tinygrad_opt.viz import draw

    model.zero_grad()
    loss = nn.cross_entropy(model(Tensor(x[:batch_size], name="x")), y[:batch_size])
    loss.name = "loss"
    loss.backward()
    drawing = draw(loss, name="the loss").save(path)
    model.zero_grad()
    return drawing
