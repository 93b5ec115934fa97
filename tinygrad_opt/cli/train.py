"""``tinygrad-opt train``: a small network learns real data, and shows how."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tinygrad_opt.cli import tasks
from tinygrad_opt.cli.command import argument, at_least, command, positive, sizes

__all__ = ["train"]


def _dataset(text: str) -> str:
    """The name of a task or of a CSV file."""
    if text not in tasks.TASKS and Path(text).suffix.lower() != ".csv":
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from {', '.join(tasks.TASKS)}, or a file such as"
            " iris.csv)")
    return text


@command(
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
    argument("--out", type=Path, metavar="FOLDER", help="where to (default: runs/DATASET)"),
    argument("--quiet", action="store_true", help="show no progress"),
    examples="""
    tinygrad-opt train digits
    tinygrad-opt train digits --optimizer sgd --lr 0.5 --out runs/fast
    tinygrad-opt train spiral --hidden 64,64 --epochs 100
    tinygrad-opt train digits --hidden none        softmax regression, for comparison
    tinygrad-opt train iris.csv --target species   your own table: numbers and a label
    """,
)
def train(options: argparse.Namespace) -> int:
    """Train a small network and draw the graph that trained it.

    digits: 1,797 handwritten digits of 8 × 8 pixels, a quarter of them for testing.
    spiral: three arms of 100 points each, tested on as many new points.
    moons: two half circles of 100 points each, tested on as many new points.
    FILE.csv: columns of numbers, which are standardized, and one of labels; a quarter of the
    rows is for testing.

    Written to the folder: graph.svg (the graph of a batch's loss, with its gradients),
    history.csv (loss, accuracy, learning rate and more for each epoch) and weights.npz
    (for tinygrad_opt.load). Ctrl-C ends the training and keeps what was learned so far.
    """
    import numpy as np

    from tinygrad_opt import nn
    from tinygrad_opt.checkpoint import save
    from tinygrad_opt.errors import NonFiniteError
    from tinygrad_opt.train import StopOnNonFinite, evaluate, fit

    task = tasks.task_of(options.dataset, options.target)
    name = Path(options.dataset).stem
    out = options.out or Path("runs", name)
    samples = task.load()
    x_train, x_test, y_train, y_test, about = samples
    hidden = task.hidden if options.hidden is None else options.hidden
    layers = samples.layers(hidden)
    model = nn.MLP(layers, rng=options.seed)
    optimizer = tasks.optimizer(task, options.optimizer, options.lr, model.parameters())
    out.mkdir(parents=True, exist_ok=True)
    batch_size = options.batch_size or task.batch_size

    print(f"{name}: {len(x_train)} samples to learn from, {len(x_test)} to test on")
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
        save(out / "weights.npz", model, optimizer, layers=layers, history=history,
             **about):
            "for tinygrad_opt.load",
    }
    width = max(len(str(path)) for path in files)
    for path, meaning in files.items():
        print(f"  {path!s:{width}}  {meaning}")
    return 130 if history.stopped == "interrupted" else 0


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
