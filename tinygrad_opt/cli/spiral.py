"""``tinygrad-opt spiral``: the spiral classifier of two textbooks, what they print beside ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from tinygrad_opt import nn
from tinygrad_opt.cli.command import Argument, command
from tinygrad_opt.cli.kinds import Count, Flag, files, labelled, optimizer
from tinygrad_opt.cli.outputs import Look, room_for
from tinygrad_opt.cli.train import Histories, save_histories

if TYPE_CHECKING:
    from tinygrad_opt.train import History
    from tinygrad_opt.typing import Unpack
    from tinygrad_opt.viz.figures import Options, Picture

__all__ = ["EPOCHS", "ROWS", "learned", "picture", "spiral", "table"]

EPOCHS = 10_001


class Row(NamedTuple):
    """A setting, and the accuracies and losses that the texts print for its last epoch."""

    optimizer: str
    published: tuple[tuple[float, float], ...] = ()
    remark: str = ""

    @property
    def rate(self) -> float:
        """The learning rate that is printed beside them: that of the step before."""
        from tinygrad_opt import optim

        made = optim.get(self.optimizer)
        return made._rate(EPOCHS - 2)


ROWS = (
    Row("sgd:lr=1", ((0.683, 0.661), (0.647, 0.874))),
    Row("sgd:lr=0.85", ((0.603, 0.942),)),
    Row("sgd:lr=1,decay=1e-2", ((0.647, 0.874),), "faulty: the run without decay; it is stuck"),
    Row("sgd:lr=1,decay=1e-3", ((0.693, 0.693),)),
    Row("sgd:lr=1,decay=1e-3,momentum=0.8", ((0.950, 0.162),)),
    Row("adagrad:lr=1,decay=1e-3,eps=1e-7", ((0.747, 0.523),)),
    Row("rmsprop:lr=1e-3,rho=0.9,eps=1e-7", ((0.657, 0.753),)),
    Row("rmsprop:lr=0.02,decay=1e-5,rho=0.999,eps=1e-7", ((0.880, 0.260),)),
    Row("adam:lr=0.05,decay=5e-7,eps=1e-7", ((0.817, 0.399),),
        "faulty: of 64 runs here 63 end above"),
)


def _row(text: str) -> Row:
    """One of the rows by its number from 1, or an optimizer of one's own."""
    if text.isdecimal():
        if not 1 <= int(text) <= len(ROWS):
            raise ValueError(f"there are rows 1 to {len(ROWS)}, got {text}")
        return ROWS[int(text) - 1]
    return Row(optimizer(text))


@command
def spiral(
    rows: Annotated[Sequence[Row], Argument("all nine", nargs="*", type=_row, metavar="ROW")],
    *,
    seeds: Count = 8,
    epochs: Count = EPOCHS,
    out: Annotated[Sequence[Path], files(".csv", ".png", ".svg", ".pdf")] = (),
    look: Look,
    quiet: Flag = False,
) -> None:
    """Train the spiral classifier of two textbooks by the optimizers that they print.

    Three arms of 100 points; 2-64-3 with ReLU, first weights 0.01 times a standard normal, full
    batches, accuracy and loss of the last epoch before its step. Ours is the range over the
    seeds; published rates are those of the step before. All rows and seeds take some minutes.

    Parameters
    ----------
    rows
        1 to 9, or an optimizer such as adam:lr=0.05,bias_correction=false
    seeds
        runs of each, with other data and other first weights
    epochs
        as many as the texts take, or fewer
    out
        every epoch as .csv, the accuracies as .png, .svg or .pdf
    quiet
        show no progress

    Examples
    --------
    tinygrad-opt spiral --seeds 2
    tinygrad-opt spiral 1 3 4 --seeds 3 --out decay.png
    tinygrad-opt spiral 9 adam:lr=0.05,decay=5e-7,eps=1e-7,bias_correction=false
    """
    from tinygrad_opt import optim

    runs: Histories = {}
    rows = rows or ROWS
    for row, label in zip(rows, labelled([row.optimizer for row in rows], optim.get), strict=True):
        runs[label] = []
        for seed in range(seeds):
            runs[label].append(learned(row.optimizer, seed, epochs))
            if not quiet:
                print(f"{label}, seed {seed}: {runs[label][-1]['accuracy'][-1]:.3f}",
                      file=sys.stderr, flush=True)
    print(table(rows, runs))
    for path in out:
        if path.suffix.lower() == ".csv":
            print(save_histories(room_for(path), runs))
        else:
            print(look.save(partial(picture, runs), path))


def learned(text: str, seed: int, epochs: int = EPOCHS) -> History:
    """The history of one run."""
    from tinygrad_opt import data
    from tinygrad_opt.train import fit

    rng = np.random.default_rng(seed)
    x, y = data.spiral(100, 3, rng=rng)
    history = fit(nn.MLP([2, 64, 3], init=0.01, rng=rng), x, y, loss="cross_entropy",
                  optimizer=text, epochs=epochs, batch_size=len(x), metrics=["accuracy"],
                  progress=False, diagnose=False)
    if history.stopped:
        raise KeyboardInterrupt                            # fit has ended well; so do we
    return history


def picture(runs: Histories, **options: Unpack[Options]) -> Picture:
    """The accuracy of all runs, each point the mean over a hundredth of the epochs."""
    from tinygrad_opt.viz.plots.learning_curves import plot_compare

    def thinned(history: History) -> dict[str, list[float]]:
        parts = min(100, history.epochs)
        return {name: [float(part.mean()) for part in np.array_split(history[name], parts)]
                for name in ("epoch", "accuracy")}

    options["size"] = options.get("size") or (9.6, 3.6 + 0.3 * len(runs))
    return plot_compare({label: [*map(thinned, histories)] for label, histories in runs.items()},
                        "accuracy", **options)


def table(rows: Sequence[Row], runs: Histories) -> str:
    """What is published and what came out, row by row."""
    from tinygrad_opt.markup import aligned

    head = [["", "published: accuracy, loss", "rate", "here: accuracy", "loss", "rate", ""]]
    return aligned([*head, *_lines(rows, runs)], left=(0, 6))


def _lines(rows: Sequence[Row], runs: Histories) -> Iterator[list[str]]:
    for row, (label, histories) in zip(rows, runs.items(), strict=True):
        printed = " and ".join(f"{a:.3f}, {loss:.3f}" for a, loss in row.published) or "none"
        ends = {name: [h[name][-1] for h in histories] for name in ("accuracy", "loss", "lr")}
        ours = [f"{fmean(v):.3f} ({min(v):.3f} to {max(v):.3f})"
                for v in (ends["accuracy"], ends["loss"])]
        yield [label, printed, f"{row.rate:.5f}" if row.published else "", *ours,
               f"{ends['lr'][-1]:.5f}", row.remark]
