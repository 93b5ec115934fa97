"""``tinygrad-opt train``, ``script``, ``compare``, ``sweep``: a network learns, once or often."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, TypeAlias

from tinygrad_opt import nn
from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import Count, Flag, Folder, Rates, Rivals, Whole, at_least, labelled
from tinygrad_opt.cli.learning import Learning, Problem, exit_code
from tinygrad_opt.cli.outputs import Look, list_files
from tinygrad_opt.tensor import Tensor

if TYPE_CHECKING:
    import numpy as np

    from tinygrad_opt.train import History

__all__ = ["Histories", "compare", "save_histories", "script", "sweep", "train"]

Histories: TypeAlias = "dict[str, list[History]]"          # of the seeds, by the optimizer


@command
def train(learning: Learning, *, parallel: Annotated[str, Argument(choices=("mpi",))] | None = None,
          out: Folder | None = None) -> int:
    """Train a small network and draw the graph that trained it.

    digits: 1,797 handwritten digits of 8 × 8 pixels, a quarter of them for testing.
    spiral: three arms of 100 points each, tested on as many new points.
    moons: two half circles of 100 points each, tested on as many new points.
    FILE.csv: columns of numbers, which are standardized, and one of labels; a quarter of the
    rows is for testing.

    Written to the folder: graph.svg (the graph of a batch's loss, with its gradients),
    history.csv (loss, accuracy, learning rate and more for each epoch) and weights.npz
    (for tinygrad_opt.load). Ctrl-C ends the training and keeps what was learned so far. A
    training that explodes, to nan or to 1000 times its first loss, is an error. What else goes
    wrong is told in a warning while it happens, with the layer, the step and what to try: a
    growing loss, dead or saturated units, vanishing or exploding gradients, steps too long or
    too short, overfitting, accuracy at chance.

    Parameters
    ----------
    parallel
        several processes train as one, each with a part of every batch: mpiexec -n 2 python -m
        mpi4py -m tinygrad_opt train digits --parallel mpi
    out
        where to (default: runs/DATASET)

    Examples
    --------
    tinygrad-opt train digits
    tinygrad-opt train digits --optimizer sgd --lr 0.5 --out runs/fast
    tinygrad-opt train spiral --optimizer sgd:lr=1,decay=1e-3,momentum=.8 --init 0.01
    tinygrad-opt train digits --schedule cosine --clip-norm 1
    tinygrad-opt train spiral --hidden 64,64 --epochs 100
    tinygrad-opt train digits --hidden none        softmax regression, for comparison
    tinygrad-opt train iris.csv --target species   your own table: numbers and a label
    """
    out = out or Path("runs", learning.problem.name)
    if not parallel:
        return _trained(learning, out)
    from tinygrad_opt.parallel import mpi

    learning.problem.parallel = mpi()
    if mpi.rank:                                           # the first one tells and writes
        with redirect_stdout(StringIO()):
            code = exit_code(learning.run())
    else:
        code = _trained(learning, out)
    mpi.comm.barrier()                                     # an exit code ends the one that writes
    return code


def _trained(learning: Learning, out: Path) -> int:
    """Train, and write what came of it."""
    from tinygrad_opt.checkpoint import save
    from tinygrad_opt.train import evaluate

    samples, model = learning.samples, learning.model
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    history = learning.run()
    code = exit_code(history)
    seconds = time.perf_counter() - start
    count = len(samples.x_test)
    score = evaluate(model, samples.x_test, samples.y_test, metrics=["accuracy"])["accuracy"]
    print(f"test accuracy {score:.4f} ({round(score * count)} of {count} right)"
          f" after {history.epochs} epochs, {seconds:.1f} s")
    list_files({
        _drawing(learning, out / "graph.svg"): "the graph of the loss: open it in a browser",
        history.save(out / "history.csv"): "what happened in each epoch",
        save(out / "weights.npz", model, learning.bound, layers=learning.problem.layers,
             history=history, **samples.about): "for tinygrad_opt.load",
    })
    return code


def _drawing(learning: Learning, path: Path) -> Path:
    """Draw the loss of one batch under the trained weights, its gradients included."""
    from tinygrad_opt.viz import draw

    model, batch = learning.model, slice(learning.problem.batch_size)
    model.zero_grad()
    loss = nn.cross_entropy(model(Tensor(learning.samples.x_train[batch], name="x")),
                            learning.samples.y_train[batch])
    loss.name = "loss"
    loss.backward()
    drawing = draw(loss, name="the loss").save(path)
    model.zero_grad()
    return drawing


@command
def script(
    learning: Learning,
    *,
    library: Annotated[str, Argument(choices=("torch", "jax", "numpy"))] = "torch",
    out: Annotated[Path, Argument(type=Path, metavar="FILE.py")] | None = None,
) -> None:
    """Write the training of a small network as a script for PyTorch, JAX or NumPy.

    It starts from the same weights, takes twenty steps on all samples at once, and prints the
    losses that training has here; weights and data lie beside it. The one for NumPy spells out
    the forward pass, the backward pass and the update.

    Parameters
    ----------
    library
        what the script is written for
    out
        where to (default: runs/DATASET_LIBRARY.py)

    Examples
    --------
    tinygrad-opt script moons
    tinygrad-opt script moons --library numpy --optimizer momentum --hidden 8
    tinygrad-opt script digits --library jax --optimizer lion --out digits.py
    """
    from tinygrad_opt import interop

    text = interop.script(learning.model, learning.bound, "cross_entropy", library,
                          learning.samples.x_train, learning.samples.y_train)
    path = text.save(out or Path("runs", f"{learning.problem.name}_{library}.py"))
    print(f"{path}  run it with: python {path}")


@command
def compare(
    problem: Problem,
    *,
    optimizers: Rivals = ("sgd", "momentum", "rmsprop", "adam"),
    seeds: Count = 3,
    out: Folder | None = None,
    look: Look,
    quiet: Flag = False,
) -> None:
    """Compare optimizers, each from the same several starts.

    Of each optimizer the table shows the mean over the seeds and, in brackets, the range.
    Seed k gives all optimizers the same first weights and the same order of the samples.

    Written to the folder: compare.csv (every epoch of every run) and, with Matplotlib,
    compare.png and compare.svg (the loss against the epoch, with the range).

    Parameters
    ----------
    optimizers
        such as adam,sgd:0.1,sgd:lr=1,decay=1e-3,momentum=.8, at rates that suit the data where
        none is given
    seeds
        runs of each, from other first weights
    out
        where to (default: runs/compare-DATASET)
    quiet
        show no progress

    Examples
    --------
    tinygrad-opt compare spiral
    tinygrad-opt compare moons --optimizers adam,adagrad,nesterov --seeds 5
    tinygrad-opt compare digits --optimizers sgd:0.01,sgd:0.1,sgd:1 --epochs 10
    tinygrad-opt compare iris.csv --target species --optimizers adam,adam:bias_correction=false
    """
    from tinygrad_opt.viz import plot_compare

    labels = labelled(optimizers, problem.made)
    out = out or Path("runs", f"compare-{problem.name}")
    out.mkdir(parents=True, exist_ok=True)
    runs: Histories = {label: [] for label in labels}
    start = time.perf_counter()
    for label, optimizer in zip(labels, optimizers):
        for seed in range(seeds):
            history = Learning(problem=problem, optimizer=optimizer, seed=seed).fit()
            if history.stopped:
                raise KeyboardInterrupt                    # fit has ended well; so do we
            runs[label].append(history)
            if not quiet:
                print(f"{label}, seed {seed}: {history['val_accuracy'][-1]:.4f}",
                      f"after {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    print(f"{problem.name}: {seeds} seed{'s' * (seeds > 1)}, {len(problem.samples.x_test)} samples"
          f" to test on\n\n{_table(runs)}\n")
    print(f"{save_histories(out / 'compare.csv', runs)}  every epoch of every run")
    for path in (out / "compare.png", out / "compare.svg"):
        if not look.could_save(partial(plot_compare, runs), path, usual=(9.6, 4.6)):
            break                                          # nor will the others be drawn
        print(f"{path}  the training loss of each, mean and range")


def _table(runs: Histories) -> str:
    """Mean and range of what the runs of each optimizer came to."""
    from tinygrad_opt.markup import aligned

    rows = [("optimizer", "test accuracy", "test loss", "seconds", "")]
    for label, histories in runs.items():
        accuracy, loss = ([h[c][-1] for h in histories] for c in ("val_accuracy", "val_loss"))
        seconds = [sum(h["seconds"]) for h in histories]
        lost = sum(not math.isfinite(value) for value in loss)
        verdict = f"{lost} of {len(loss)} exploded: try a smaller rate" if lost else ""
        rows.append((label, _spread(accuracy, ".4f"), _spread(loss, ".4g"),
                     f"{fmean(seconds):.2f}", verdict))
    return aligned(rows, left=range(5))


def _spread(values: Sequence[float], style: str) -> str:
    mean = format(fmean(values), style)
    if len(values) == 1 or not all(map(math.isfinite, values)):
        return mean
    return f"{mean} ({min(values):{style}} to {max(values):{style}})"


def save_histories(path: Path, runs: Histories) -> Path:
    """Every epoch of every run as CSV."""
    from tinygrad_opt.train.history import write_csv

    rows = [[label, seed, *row] for label, histories in runs.items()
            for seed, history in enumerate(histories) for row in zip(*history.values())]
    return write_csv(path, [["optimizer", "seed", *next(iter(runs.values()))[0]], *rows])


@command
def sweep(
    problem: Problem,
    *,
    optimizer: Rivals = ("adam",),
    lr: Rates = (),
    seeds: Count = 1,
    jobs: Annotated[int, Argument(type=at_least(-1), metavar="N")] = 1,
    seed: Whole = 0,
    resume: Flag = False,
    out: Folder | None = None,
    look: Look,
    quiet: Flag = False,
) -> int:
    """Train with each of many options, and rank them.

    Every optimizer is tried at every rate. Small networks are trained as one. The loss on the
    samples to test on decides; trials that explode are kept, below the others.

    Written to the folder: trials.jsonl (a line for each trial as it ends, from which --resume
    goes on), trials.csv (the table) and, with Matplotlib, sweep.png (the best loss for each
    optimizer and rate) and parallel.png (all trials).

    Parameters
    ----------
    optimizer
        such as adam,sgd,sgd:lr=1,momentum=.8
    lr
        learning rates, such as 1e-3,1e-2
    seeds
        trainings with the same options, from other first weights
    jobs
        processes, -1 for all cores; the numbers are the same for any
    seed
        what all random numbers come from
    resume
        go on where a sweep with the same options was interrupted or killed
    out
        where to (default: runs/sweep-DATASET)
    quiet
        show no progress

    Examples
    --------
    tinygrad-opt sweep digits --lr 1e-3,1e-2 --optimizer adam,sgd --jobs 2
    tinygrad-opt sweep moons --lr 1e-4,1e-3,1e-2,1e-1,1 --seeds 3
    tinygrad-opt sweep digits --lr 1e-3,1e-2 --optimizer adam,sgd --jobs 2 --resume
    """
    from tinygrad_opt.parallel import Training
    from tinygrad_opt.parallel import sweep as run

    samples = problem.samples
    trials = [*_trials(problem, optimizer, lr, seeds)]
    out = out or Path("runs", f"sweep-{problem.name}")
    out.mkdir(parents=True, exist_ok=True)
    log = out / "trials.jsonl"
    if not resume:
        log.unlink(missing_ok=True)

    def model(rng: np.random.Generator, **unused: object) -> nn.MLP:
        return problem.network(rng)

    special = {"callbacks": problem.callbacks, "compile": problem.compile}
    train = Training(model, samples.x_train, samples.y_train, loss="cross_entropy",
                     get=problem.made, epochs=problem.epochs, metrics="accuracy",
                     batch_size=problem.batch_size,
                     validation_data=(samples.x_test, samples.y_test),
                     fit=special if any(special.values()) else None)
    layers = "-".join(map(str, problem.layers))
    print(f"{problem.name}: {len(trials)} trials of a network {layers}", flush=True)
    found = run(train, trials, seed=seed, jobs=jobs, resume=log, progress=not quiet)
    print(found, end="\n\n")
    pictures = ((found.plot, "sweep.png", "the best loss for each of two options"),
                (found.plot_parallel, "parallel.png", "all trials, an axis for each option"))
    list_files({log: "a line for each trial; --resume goes on from it",
                found.save(out / "trials.csv"): "the table"} | {
        out / name: meaning for plot, name, meaning in pictures
        if look.could_save(plot, out / name)})
    return 130 if found.stopped else 0


def _trials(problem: Problem, optimizers: Sequence[str], rates: Sequence[float],
            seeds: int) -> Iterator[dict[str, object]]:
    """The options of all trials, each of which can be made."""
    from tinygrad_opt.optim.lookup import says_rate

    for text in optimizers:
        usual = None if says_rate(text) else problem.rate(text)
        for rate in rates or (usual,):
            problem.made(text, rate)
            one: dict[str, object] = {"optimizer": text} | ({} if rate is None else {"lr": rate})
            yield from ([one | {"start": k} for k in range(seeds)] if seeds > 1 else [one])
