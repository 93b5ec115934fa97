"""``tinygrad-opt train``: a small network learns real data, and shows how."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.command import argument, command
from tinygrad_opt.cli.learning import ARGUMENTS, QUIET, exit_code, prepared

__all__ = ["train"]


@command(
    *ARGUMENTS,
    argument("--out", type=Path, metavar="FOLDER", help="where to (default: runs/DATASET)"),
    QUIET,
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
    from tinygrad_opt.checkpoint import save
    from tinygrad_opt.train import evaluate

    learning = prepared(options)
    model, samples = learning.model, learning.samples
    out = options.out or Path("runs", learning.name)
    out.mkdir(parents=True, exist_ok=True)

    print(learning, flush=True)
    start = time.perf_counter()
    history = learning.fit()
    code = exit_code(history)
    seconds = time.perf_counter() - start
    count = len(samples.x_test)
    score = evaluate(model, samples.x_test, samples.y_test, metrics=["accuracy"])["accuracy"]
    print(f"test accuracy {score:.4f} ({round(score * count)} of {count} right)"
          f" after {history.epochs} epochs, {seconds:.1f} s")

    files = {
        _drawing(model, samples.x_train, samples.y_train, learning.batch_size, out / "graph.svg"):
            "the graph of the loss: open it in a browser",
        history.save(out / "history.csv"): "what happened in each epoch",
        save(out / "weights.npz", model, learning.optimizer, layers=learning.layers,
             history=history, **samples.about):
            "for tinygrad_opt.load",
    }
    width = max(len(str(path)) for path in files)
    for path, meaning in files.items():
        print(f"  {path!s:{width}}  {meaning}")
    return code


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
