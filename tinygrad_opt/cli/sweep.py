"""``tinygrad-opt sweep``: a network learns with each of many options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import Count, Flag, Folder, Rivals, Whole, positive, split
from tinygrad_opt.cli.learning import Problem
from tinygrad_opt.cli.outputs import Look, list_files

if TYPE_CHECKING:
    import numpy as np

    from tinygrad_opt import nn

__all__ = ["sweep"]

Rates = Annotated[Sequence[float], Argument("one that suits optimizer and data",
                                            type=split(",", positive), metavar="RATES")]


@command
def sweep(
    problem: Problem,
    *,
    optimizer: Rivals = ("adam",),
    lr: Rates = (),
    seeds: Count = 1,
    jobs: Annotated[int, Argument(type=int, metavar="N")] = 1,
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
    from tinygrad_opt.optim.lookup import says_rate
    from tinygrad_opt.parallel import Training
    from tinygrad_opt.parallel import sweep as run

    samples, trials = problem.samples, []
    for text in optimizer:
        usual = None if says_rate(text) else problem.rate(text)
        rates: Sequence[float | None] = lr or [usual]
        for rate in rates:
            problem.made(text, rate)                       # each trial can be made
            one = {"optimizer": text} | ({} if rate is None else {"lr": rate})
            trials += [one | ({"start": k} if seeds > 1 else {}) for k in range(seeds)]
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
