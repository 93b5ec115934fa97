"""``tinygrad-opt sweep``: a network learns with each of many options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_opt.cli.command import argument, at_least, command, list_files, positive, rivals
from tinygrad_opt.cli.learning import DATA, PICTURE, QUIET, TRAINING, Problem, look, saved

if TYPE_CHECKING:
    import numpy as np

    from tinygrad_opt import nn
    from tinygrad_opt.parallel import Sweep
    from tinygrad_opt.viz.figures import Options

__all__ = ["sweep"]


def _rates(text: str) -> list[float]:
    """``1e-3,1e-2``: several rates."""
    return [positive(part) for part in text.split(",")]


@command(
    *DATA,
    argument("--optimizer", type=rivals, default="adam", metavar="NAMES",
             help="such as adam,sgd,sgd:lr=1,momentum=.8 (default: adam)"),
    argument("--lr", type=_rates, metavar="RATES",
             help="learning rates, such as 1e-3,1e-2 (default: one that suits optimizer and data)"),
    argument("--seeds", type=at_least(1), default=1, metavar="N",
             help="trainings with the same options, from other first weights (default: 1)"),
    *TRAINING,
    argument("--jobs", type=int, default=1, metavar="N",
             help="processes, -1 for all cores; the numbers are the same for any (default: 1)"),
    argument("--seed", type=at_least(0), default=0, metavar="N",
             help="what all random numbers come from (default: 0)"),
    argument("--resume", action="store_true",
             help="go on where a sweep with the same options was interrupted or killed"),
    argument("--out", type=Path, metavar="FOLDER", help="where to (default: runs/sweep-DATASET)"),
    *PICTURE,
    QUIET,
    examples="""
    tinygrad-opt sweep digits --lr 1e-3,1e-2 --optimizer adam,sgd --jobs 2
    tinygrad-opt sweep moons --lr 1e-4,1e-3,1e-2,1e-1,1 --seeds 3
    tinygrad-opt sweep digits --lr 1e-3,1e-2 --optimizer adam,sgd --jobs 2 --resume
    """,
)
def sweep(options: argparse.Namespace) -> int:
    """Train with each of many options, and rank them.

    Every optimizer is tried at every rate. Small networks are trained as one. The loss on the
    samples to test on decides; trials that explode are kept, below the others.

    Written to the folder: trials.jsonl (a line for each trial as it ends, from which --resume
    goes on), trials.csv (the table) and, with Matplotlib, sweep.png (the best loss for each
    optimizer and rate) and parallel.png (all trials).
    """
    from tinygrad_opt.parallel import Training
    from tinygrad_opt.parallel import sweep as run

    problem = Problem(options)
    samples, trials = problem.samples, _trials(options, problem)
    out = options.out or Path("runs", f"sweep-{problem.name}")
    out.mkdir(parents=True, exist_ok=True)
    log = out / "trials.jsonl"
    if not options.resume:
        log.unlink(missing_ok=True)

    def model(rng: np.random.Generator, **unused: object) -> nn.MLP:
        return problem.network(rng)

    special = {"callbacks": problem.callbacks, "compile": problem.compile}
    train = Training(model, samples.x_train, samples.y_train, loss="cross_entropy",
                     get=problem.optimizer, epochs=problem.epochs, metrics="accuracy",
                     batch_size=problem.batch_size,
                     validation_data=(samples.x_test, samples.y_test),
                     fit=special if any(special.values()) else None)
    layers = "-".join(map(str, problem.layers))
    print(f"{problem.name}: {len(trials)} trials of a network {layers}", flush=True)
    found = run(train, trials, seed=options.seed, jobs=options.jobs, resume=log,
                progress=not options.quiet)
    print(found, end="\n\n")
    list_files({log: "a line for each trial; --resume goes on from it",
                found.save(out / "trials.csv"): "the table"} | _pictures(found, out, look(options)))
    return 130 if found.stopped else 0


def _trials(options: argparse.Namespace, problem: Problem) -> list[dict[str, object]]:
    """The options of all trials, each of which can be made."""
    from tinygrad_opt.optim.lookup import says_rate

    trials: list[dict[str, object]] = []
    for text in options.optimizer:
        for lr in options.lr or [None if says_rate(text) else problem.rate(text)]:
            problem.optimizer(text, lr)
            one = {"optimizer": text} | ({} if lr is None else {"lr": lr})
            trials += [one | ({"start": k} if options.seeds > 1 else {})
                       for k in range(options.seeds)]
    return trials


def _pictures(found: Sweep, out: Path, chosen: Options) -> dict[Path, str]:
    """The pictures; without Matplotlib, or with one trial alone, none."""
    return {out / name: meaning for name, plot, meaning in (
        ("sweep.png", found.plot, "the best loss for each of two options"),
        ("parallel.png", found.plot_parallel, "all trials, an axis for each option"),
    ) if saved(plot, out / name, chosen)}
