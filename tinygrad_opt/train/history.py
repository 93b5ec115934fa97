"""What happened while training, epoch by epoch and step by step."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_opt.errors import RenderError
from tinygrad_opt.hints import answer_names
from tinygrad_opt.markup import aligned, html_list, html_table
from tinygrad_opt.typing import Unpack

if TYPE_CHECKING:
    from tinygrad_opt.viz.figures import Options, Picture

__all__ = ["Finding", "History"]


@dataclass(frozen=True)
class Finding:
    """Something that goes wrong.

    Attributes
    ----------
    kind : str
        In two words: ``"dead units"``.
    where : str
        The layer or parameter; empty if it is the whole model.
    value : float
        The number seen.
    what, hint : str
        What is wrong, and what to try.
    step, epoch : int or None
        When it was seen, in a run.
    """

    kind: str
    where: str
    value: float
    what: str
    hint: str
    step: int | None = None
    epoch: int | None = None

    def __str__(self) -> str:
        when = "" if self.step is None else f" (step {self.step}, epoch {self.epoch})"
        return f"{self.kind}: {self.what}{when}. {self.hint}"


def mode_of(name: str, mode: str | None) -> str:
    """Whether less of a value is better, "min", or more of it, as of an accuracy."""
    if mode not in (None, "min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}.")
    return mode or ("max" if name.endswith("accuracy") else "min")


class History(Mapping[str, list[float]]):
    """The record of a training run: a dict of columns with one entry per epoch.

    Parameters
    ----------
    columns : mapping of str to sequence, optional
        What was recorded so far, all of one length.
    steps : mapping of str to sequence, optional
        The same for single steps.
    seed : int, optional
        What decided the order of the samples, so that a run which goes on shuffles on.
    findings : sequence of Finding or dict, optional
        What went wrong so far.

    Attributes
    ----------
    steps : dict of list of float
        ``"loss"`` and ``"lr"`` of every step: the loss that its gradient was taken of, and the
        learning rate that it used.
    stopped : str or None
        Why training ended before its last epoch.
    findings : list of Finding
        What went wrong, in the order in which it was seen.

    Notes
    -----
    `fit` writes these columns:

    ============== ==============================================================================
    epoch          number of the epoch, from 1
    loss           mean over the epoch's samples, each as it was when its batch was trained on
    *metric*       of the predictions that the training made
    val_loss, …    the same of `validation_data`, after the epoch
    lr             learning rate of the epoch's last step
    gradient_norm  ‖g‖₂ over all parameters in the epoch's last step
    update_ratio   ‖Δp‖₂ / ‖p‖₂ over all parameters in that step; about 1e-3 is usual
    seconds        time that the epoch took, validation included
    ============== ==============================================================================

    Examples
    --------
    >>> history = History()
    >>> history.append({"epoch": 1, "loss": 0.75, "val_loss": 1.5})
    >>> history.append({"epoch": 2, "loss": 0.5, "val_loss": 2.0})
    >>> history["loss"]
    [0.75, 0.5]
    >>> history.best("val_loss")
    (1, 1.5)
    >>> print(history)
    epoch  loss  val_loss
        1  0.75       1.5
        2   0.5         2
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[float]] | None = None,
        steps: Mapping[str, Sequence[float]] | None = None,
        seed: int | Sequence[int] | None = None,
        findings: Iterable[Finding | Mapping[str, Any]] = (),
    ) -> None:
        self._columns = {name: list(column) for name, column in (columns or {}).items()}
        if len({len(column) for column in self._columns.values()}) > 1:
            sizes = {name: len(column) for name, column in self._columns.items()}
            raise ValueError(f"the columns of a history must be of one length, got {sizes}.")
        self.steps = {name: list(values) for name, values in (steps or {}).items()}
        self.steps = {"loss": [], "lr": []} | self.steps
        self.seed: Any = seed                              # or several numbers
        self.stopped: str | None = None
        self.findings = [f if isinstance(f, Finding) else Finding(**f) for f in findings]

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._columns:
            known = ", ".join(self._columns) or "none yet"
            raise KeyError(f"no column {name!r} was recorded; there are: {known}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def epochs(self) -> int:
        """Number of epochs recorded."""
        return len(next(iter(self._columns.values()), ()))

    def append(self, row: Mapping[str, float]) -> None:
        """Add an epoch: a value for each column, the same columns every time."""
        self._columns = self._columns or {name: [] for name in row}
        if row.keys() != self._columns.keys():
            differ = ", ".join(sorted(row.keys() ^ self._columns.keys()))
            raise ValueError(f"an epoch must have the columns of those before it: {differ} differ.")
        for name, value in row.items():
            self._columns[name].append(value)

    def rows(self) -> list[dict[str, float]]:
        """One dict per epoch."""
        return [dict(zip(self._columns, row)) for row in zip(*self._columns.values())]

    def best(self, name: str, mode: str = "min") -> tuple[int, float]:
        """The first epoch with the smallest (``mode="max"``: largest) value, and that value."""
        values = self[name]
        pick = min if mode_of(name, mode) == "min" else max
        numbers = [v for v in values if v == v]              # nan is never the best
        if not numbers:
            raise ValueError(f"{name} has no number to choose from, in {self.epochs} epochs.")
        value = pick(numbers)
        at = values.index(value)
        return int(self._columns["epoch"][at]) if "epoch" in self else at + 1, value

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns as CSV; every number reads back as the same number."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_csv(path, [self._columns, *zip(*self._columns.values())])

    def plot(self, **options: Unpack[Options]) -> Picture:
        """The columns as a Matplotlib figure; options are those of ``viz.plot_history``."""
        from tinygrad_opt.viz import plot_history

        return plot_history(self, **options)

    def _repr_png_(self) -> bytes | None:
        """For notebooks: the curves."""
        from tinygrad_opt.viz.figures import shown

        return shown(self.plot)

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint keeps; ``History(**state)`` is this history again."""
        return {"columns": dict(self._columns), "steps": dict(self.steps), "seed": self.seed,
                "findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        """A table, and what went wrong. Of more than 20 epochs the middle is left out."""
        rows = list(zip(*self._columns.values()))
        cut = rows if len(rows) <= 20 else [*rows[:10], ["…"] * len(self._columns), *rows[-9:]]
        lines = [list(self._columns), *([_short(v) for v in row] for row in cut)]
        table = aligned(lines, left=())
        stopped = [f"stopped: {self.stopped}"] if self.stopped else []
        return "\n".join([table, *map(str, self.findings), *stopped])

    def _repr_html_(self) -> str:
        try:
            from tinygrad_opt.viz.figures import embedded

            shown = embedded(self.plot(), "columns against the epoch")
        except (RenderError, ValueError):                  # no Matplotlib; nothing recorded yet
            shown = html_table([self, *zip(*self._columns.values())])
        return shown + html_list(self.findings)

    def __repr__(self) -> str:
        names = ", ".join(self._columns)
        return f"<History of {self.epochs} epochs: {names}>"


answer_names(History, "History")


def write_csv(path: Path, rows: Iterable[Iterable[object]], mode: str = "w") -> Path:
    """Write rows into a file, or with mode "a" below those that it holds."""
    with open(path, mode, newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
