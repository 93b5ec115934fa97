"""How far training is: a bar in a terminal or notebook, a line an epoch elsewhere."""

from __future__ import annotations

import importlib
import os
import sys
import time
import warnings
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tinygrad_opt.errors import install
from tinygrad_opt.train.callbacks import Callback

if TYPE_CHECKING:
    from tinygrad_opt.train.loop import Run

__all__ = ["progress_for"]

LINES = 100                       # at most so many lines, however many epochs there are
PAUSE = 0.1                       # seconds between two drawings of the bar


class Quiet(Callback, AbstractContextManager["Quiet"]):
    """Shows nothing."""

    writes = True

    def __exit__(self, *error: object) -> None:
        """Leave the screen tidy, whatever happened."""


class Lines(Quiet):
    """``epoch 12/30 [####------] 0.2 s left  loss 0.123  val_accuracy 0.97  lr 0.003``"""

    def on_begin(self, run: Run) -> None:
        self.start, self.first = time.perf_counter(), run.epoch
        self.every = max(1, -(-(run.epochs - self.first) // LINES))

    def on_epoch(self, run: Run) -> None:
        done, total = run.epoch - self.first, run.epochs - self.first
        if done % self.every and run.epoch != run.epochs and not run.stopped:
            return
        spent = time.perf_counter() - self.start
        bar = "#" * (10 * done // total)
        when = f"{_duration(spent / done * (total - done))} left"
        if done == total or run.stopped:
            when = f"in {_duration(spent)}"
        width = len(str(run.epochs))
        print(f"epoch {run.epoch:{width}}/{run.epochs} [{bar:-<10}] {when:>11}  {_figures(run)}",
              file=sys.stderr, flush=True)

    def on_end(self, run: Run) -> None:
        if run.stopped:
            print(f"stopped: {run.stopped}", file=sys.stderr, flush=True)


class Bar(Quiet):
    """tqdm's bar over all steps, with the figures of the last epoch."""

    def __init__(self, tqdm: Any) -> None:
        self.tqdm = tqdm
        self.bar: Any = None

    def on_begin(self, run: Run) -> None:
        self.drawn, self.first = 0.0, run.step
        total = (run.epochs - run.epoch) * run.steps_per_epoch
        self.bar = self.tqdm(total=total, unit="step", dynamic_ncols=True)

    def on_step(self, run: Run) -> None:
        now = time.perf_counter()
        if now - self.drawn > PAUSE:
            self.drawn = now
            self._draw(run)

    def on_finding(self, run: Run) -> None:
        self.bar.clear()                                   # the warning gets a line of its own

    def on_end(self, run: Run) -> None:
        self._draw(run, f"  stopped: {run.stopped}" if run.stopped else "")

    def _draw(self, run: Run, more: str = "") -> None:
        self.bar.n = run.step - self.first
        self.bar.set_description_str(f"epoch {run.epoch}/{run.epochs}", refresh=False)
        self.bar.set_postfix_str((_figures(run) or f"loss {run.loss:.4g}") + more, refresh=False)
        self.bar.refresh()

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()


def progress_for(choice: bool | str) -> Quiet:
    """What shows the progress: True chooses by where standard error goes.

    A bar needs a place where a line can be drawn over: a terminal or a notebook. In a pipe, a
    log file or a continuous integration it would be one endless line.
    """
    if choice not in (True, False, "bar", "lines"):
        raise ValueError(f"progress must be True, False, 'bar' or 'lines', got {choice!r}.")
    if choice is False or sys.stderr is None:
        return Quiet()
    if choice == "lines" or (choice is True and not _can_redraw()):
        return Lines()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                  # tqdm's about notebook widgets
            tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError as error:
        if choice is True:
            return Lines()
        raise ImportError(f"progress='bar' needs tqdm: {install('progress')}") from error
    return Bar(tqdm)


def _can_redraw() -> bool:
    """Whether a line can be drawn over; tqdm draws nothing in a terminal that tells no size."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    if "ipykernel" in sys.modules and shell is not None and shell() is not None:
        return True                                          # a notebook
    try:
        height = os.get_terminal_size(sys.stderr.fileno()).lines
    except (OSError, ValueError, AttributeError):            # no terminal
        return False
    return height > 1 and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def _figures(run: Run) -> str:
    """The last epoch's loss, metrics and rate."""
    hidden = ("epoch", "gradient_norm", "update_ratio", "seconds")
    shown = {k: column for k, column in run.history.items() if k not in hidden and column}
    return "  ".join(f"{name} {column[-1]:<8.4g}" for name, column in shown.items()).rstrip()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else (
        f"{minutes}:{seconds:02} min")
