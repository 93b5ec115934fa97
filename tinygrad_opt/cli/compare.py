"""``tinygrad-opt compare``: several optimizers, several seeds, one table."""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_opt.cli import tasks
from tinygrad_opt.cli.command import argument, at_least, command, rivals, sizes

__all__ = ["compare"]

Rival = tuple[str, "float | None"]


@command(
    argument("dataset", choices=tasks.TASKS, help=f"what to learn: {', '.join(tasks.TASKS)}"),
    argument("--optimizers", type=rivals, default="sgd,momentum,rmsprop,adam", metavar="NAMES",
             help="such as adam,sgd:0.1,sgd:1, the number being the learning rate (default:"
                  " sgd,momentum,rmsprop,adam, at rates that suit the data)"),
    argument("--seeds", type=at_least(1), default=3, metavar="N",
             help="runs of each, from other first weights (default: 3)"),
    argument("--epochs", type=at_least(1), metavar="N",
             help=f"passes over the data (default: {tasks.chosen('epochs')})"),
    argument("--batch-size", type=at_least(1), metavar="N",
             help=f"samples per step (default: {tasks.chosen('batch_size')})"),
    argument("--hidden", type=sizes, metavar="SIZES",
             help=f"sizes of the hidden layers (default: {tasks.chosen('hidden')})"),
    argument("--out", type=Path, metavar="FOLDER", help="where to (default: runs/compare-DATASET)"),
    argument("--quiet", action="store_true", help="show no progress"),
    examples="""
    tinygrad-opt compare spiral
    tinygrad-opt compare moons --optimizers adam,adagrad,nesterov --seeds 5
    tinygrad-opt compare digits --optimizers sgd:0.01,sgd:0.1,sgd:1 --epochs 10
    """,
)
def compare(options: argparse.Namespace) -> None:
    """Compare optimizers, each from the same several starts.

    Of each optimizer the table shows the mean over the seeds and, in brackets, the range.
    Seed k gives all optimizers the same first weights and the same order of the samples.

    Written to the folder: compare.csv (every epoch of every run) and, with Matplotlib,
    compare.png (the loss against the epoch, with the range).
    """
    task = tasks.TASKS[options.dataset]
    out = options.out or Path("runs", f"compare-{options.dataset}")
    runs: dict[str, list[Any]] = {}
    labels = {_label(task, rival): rival for rival in options.optimizers}
    if len(labels) < len(options.optimizers):
        raise ValueError(f"two of the optimizers are the same; they are {', '.join(labels)}")
    out.mkdir(parents=True, exist_ok=True)
    samples = task.load()
    start = time.perf_counter()
    for label, rival in labels.items():
        runs[label] = []
        for seed in range(options.seeds):
            runs[label].append(_run(options, task, samples, rival, seed))
            if not options.quiet:
                print(f"{label}, seed {seed}: {runs[label][-1]['val_accuracy'][-1]:.4f}",
                      f"after {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    seeds = f"{options.seeds} seed{'s' * (options.seeds > 1)}"
    print(f"{options.dataset}: {seeds}, {len(samples.x_test)} samples to test on\n")
    print(_table(runs), end="\n\n")
    print(f"{_save(out / 'compare.csv', runs)}  every epoch of every run")
    _plot(out / "compare.png", runs)


def _label(task: tasks.Task, rival: Rival) -> str:
    made = tasks.optimizer(task, *rival)
    return f"{type(made).__name__} lr={made.lr:g}"


def _run(options: Any, task: tasks.Task, samples: tasks.Samples, rival: Rival, seed: int) -> Any:
    """Train once; what happened in each epoch. A run that explodes runs on, and is told of."""
    import numpy as np

    from tinygrad_opt import nn
    from tinygrad_opt.train import fit

    model = nn.MLP(samples.layers(task.hidden if options.hidden is None else options.hidden),
                   rng=seed)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the loss is")   # the table says so
        history = fit(
            model, samples.x_train, samples.y_train, loss=nn.cross_entropy,
            optimizer=tasks.optimizer(task, *rival, model.parameters()),
            epochs=options.epochs or task.epochs, batch_size=options.batch_size or task.batch_size,
            validation_data=(samples.x_test, samples.y_test), metrics=["accuracy"], seed=seed,
            progress=False)
    if history.stopped:
        raise KeyboardInterrupt                            # fit has ended well; so do we
    return history


def _table(runs: dict[str, list[Any]]) -> str:
    """Mean and range of what the runs of each optimizer came to."""
    rows = [("optimizer", "test accuracy", "test loss", "seconds", "")]
    for label, histories in runs.items():
        last = {c: [h[c][-1] for h in histories] for c in ("val_accuracy", "val_loss")}
        lost = sum(not math.isfinite(loss) for loss in last["val_loss"])
        rows.append((
            label, _spread(last["val_accuracy"], ".4f"), _spread(last["val_loss"], ".4g"),
            f"{_mean([sum(h['seconds']) for h in histories]):.2f}",
            f"{lost} of {len(histories)} exploded: try a smaller rate" if lost else ""))
    width = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(f"{c:{w}}" for c, w in zip(row, width)).rstrip() for row in rows)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(values: Sequence[float], style: str) -> str:
    mean = format(_mean(values), style)
    if len(values) == 1 or not all(map(math.isfinite, values)):
        return mean
    return f"{mean} ({min(values):{style}} to {max(values):{style}})"


def _save(path: Path, runs: dict[str, list[Any]]) -> Path:
    """Every epoch of every run as CSV."""
    import csv

    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["optimizer", "seed", *runs[next(iter(runs))][0]])
        for label, histories in runs.items():
            for seed, history in enumerate(histories):
                writer.writerows([label, seed, *row] for row in zip(*history.values()))
    return path


def _plot(path: Path, runs: dict[str, list[Any]]) -> None:
    """Draw the losses; without Matplotlib, say how to get it."""
    from tinygrad_opt.errors import RenderError
    from tinygrad_opt.viz.figures import png
    from tinygrad_opt.viz.plots.learning_curves import plot_compare

    try:
        path.write_bytes(png(plot_compare(runs, size=(9.6, 4.6))))
    except RenderError as error:
        print(f"no plot: {error}")
    else:
        print(f"{path}  the training loss of each, mean and range")
