"""Callbacks of the training loop.

A callback is asked at fixed moments and sees the whole run: `run.model`, `run.optimizer`,
`run.history`, `run.epoch`, `run.step`, `run.loss`; `run.stop(reason)` ends it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tinygrad_opt import checkpoint
from tinygrad_opt.data.arguments import fraction, whole
from tinygrad_opt.hints import answers
from tinygrad_opt.train.history import mode_of, write_csv
from tinygrad_opt.typing import Stateful

if TYPE_CHECKING:
    from tinygrad_opt.train.loop import Run

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "LambdaCallback",
    "ReduceOnPlateau",
    "StopOnNonFinite",
]


class Callback:
    """What `fit` asks at fixed moments. A subclass defines the moments that it needs.

    Examples
    --------
    >>> class Halve(Callback):
    ...     def on_epoch(self, run):
    ...         run.optimizer.lr /= 2

    Attributes
    ----------
    writes : bool
        Whether it writes files or on the screen: of several processes that train together, the
        first alone has it then.
    """

    writes = False

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            cls.__init__ = answers(cls.__init__)           # type: ignore[method-assign]

    def on_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_loss(self, run: Run) -> None:
        """After a forward pass, before its gradients: `run.loss` is the loss of the batch."""

    def on_step(self, run: Run) -> None:
        """After a step of the optimizer."""

    def on_epoch(self, run: Run) -> None:
        """After an epoch and its validation: the last row of `run.history` is this epoch's."""

    def on_end(self, run: Run) -> None:
        """After the last epoch, also of a run that was stopped; not after an error."""

    def on_finding(self, run: Run) -> None:
        """When something goes wrong: ``run.history.findings[-1]`` says what."""


class LambdaCallback(Callback):
    """A callback made of functions, each of which is given the run.

    Parameters
    ----------
    on_epoch, on_begin, on_loss, on_step, on_end, on_finding : callable, optional

    Examples
    --------
    >>> shout = LambdaCallback(lambda run: print("epoch", run.epoch))
    """

    def __init__(
        self,
        on_epoch: Callable[[Run], object] | None = None,
        *,
        on_begin: Callable[[Run], object] | None = None,
        on_loss: Callable[[Run], object] | None = None,
        on_step: Callable[[Run], object] | None = None,
        on_end: Callable[[Run], object] | None = None,
        on_finding: Callable[[Run], object] | None = None,
    ) -> None:
        given = {"on_epoch": on_epoch, "on_begin": on_begin, "on_loss": on_loss,
                 "on_step": on_step, "on_end": on_end, "on_finding": on_finding}
        for name, function in given.items():
            if function is not None:
                if not callable(function):
                    raise TypeError(f"{name} must be a function of the run, got {function!r}.")
                setattr(self, name, function)


class _Watch(Callback):
    """Follows one column of the history and knows its best value so far."""

    def __init__(
        self, monitor: str | None, mode: str | None, min_delta: float = 0.0, patience: int = 1
    ) -> None:
        mode_of("", mode)                                  # refuses others
        if not min_delta >= 0:
            raise ValueError(f"min_delta must be at least 0, got {min_delta!r}.")
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self.patience = whole("patience", patience)

    def on_begin(self, run: Run) -> None:
        self.column = self.monitor or ("val_loss" if "val_loss" in run.history else "loss")
        if self.column not in run.history:
            raise ValueError(
                f"{type(self).__name__} cannot watch {self.column!r}; there are:"
                f" {', '.join(run.history)}"
            )
        self.sign = 1 if mode_of(self.column, self.mode) == "min" else -1
        self.best, self.best_epoch, self.waited = math.inf, 0, 0

    def better(self, run: Run) -> bool:
        """Whether the epoch is the best so far, which nan never is."""
        value = self.sign * run.history[self.column][-1]
        if value < self.best - self.min_delta:
            self.best, self.best_epoch, self.waited = value, run.epoch, 0
            return True
        self.waited += 1
        return False


class EarlyStopping(_Watch):
    """Stop when a value has not improved for some epochs, and go back to the best weights.

    Parameters
    ----------
    patience : int, at least 1
        Epochs without improvement after which to stop.
    monitor : str, optional
        A column of the history: by default ``val_loss`` if there are validation data, else
        ``loss``.
    mode : {"min", "max"}, optional
        What is better; by default "max" for columns that end in ``accuracy``.
    min_delta : float, at least 0
        What counts as an improvement must be larger.
    restore_best : bool
        At the end, also when training ran to its last epoch, load the best epoch's weights.

    Attributes
    ----------
    best_epoch : int
        The epoch of the best value.

    References
    ----------
    L. Prechelt, "Early stopping — but when?" (1998).
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        monitor: str | None = None,
        mode: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, mode, min_delta, patience)
        self.restore_best = restore_best

    def on_begin(self, run: Run) -> None:
        super().on_begin(run)
        self._weights: Mapping[str, object] | None = None

    def on_epoch(self, run: Run) -> None:
        if self.better(run):
            if self.restore_best:
                self._weights = cast(Stateful, run.model).state_dict()
        elif self.waited >= self.patience:
            best = self.sign * self.best
            run.stop(f"{self.column} has not been better than {best:.4g}, in epoch"
                     f" {self.best_epoch}, for {self.waited} epochs")

    def on_end(self, run: Run) -> None:
        if self._weights is not None:
            cast(Stateful, run.model).load_state_dict(self._weights)
        self._weights = None


class ReduceOnPlateau(_Watch):
    """Multiply the learning rate by a factor when a value has not improved for some epochs.

    Parameters
    ----------
    patience : int, at least 1
        Epochs without improvement after which to reduce the rate; then counting starts anew.
    factor : float in (0, 1)
    min_lr : float, at least 0
        The rate does not fall below.
    monitor, mode, min_delta
        As in `EarlyStopping`.
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        factor: float = 0.5,
        min_lr: float = 0.0,
        monitor: str | None = None,
        mode: str | None = None,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, patience)
        if not min_lr >= 0:
            raise ValueError(f"min_lr must be at least 0, got {min_lr!r}.")
        self.factor, self.min_lr = fraction("factor", factor), min_lr

    def on_begin(self, run: Run) -> None:
        super().on_begin(run)
        if callable(run.optimizer.lr):
            raise TypeError("ReduceOnPlateau needs a learning rate that is a number: a schedule"
                            " would set it back at every step.")

    def on_epoch(self, run: Run) -> None:
        if not self.better(run) and self.waited >= self.patience:
            lr = run.optimizer.lr
            run.optimizer.lr = min(lr, max(lr * self.factor, self.min_lr))
            self.waited = 0


class StopOnNonFinite(Callback):
    """Stop before a step is taken along the gradient of a loss that is nan or infinite.

    Parameters
    ----------
    growth : float above 1, optional
        Stop also where the loss of a batch is more than so many times that of the first one: a
        run that explodes may stay finite, in float32 up to 3e38. By default only infinity counts.
    """

    def __init__(self, growth: float = math.inf) -> None:
        if not growth > 1:
            raise ValueError(f"growth must be above 1, got {growth!r}.")
        self.growth = growth

    def on_begin(self, run: Run) -> None:
        self.first: float | None = None

    def on_loss(self, run: Run) -> None:
        self.first = run.loss if self.first is None else self.first
        if not math.isfinite(run.loss) or run.loss > self.growth * abs(self.first):
            run.stop(f"the loss was {run.loss:.4g} in step {run.step + 1}, epoch {run.epoch};"
                     f" {run.advice()}")


class Checkpoint(_Watch):
    """Save model, optimizer and history after epochs, with `tinygrad_opt.save`.

    Parameters
    ----------
    path : str or path
        ``{epoch}`` in it becomes the number of the epoch, and each is then kept.
    every : int, at least 1
        Save after every so many epochs.
    best : str, optional
        Save only epochs in which this column of the history was the best so far.
    mode : {"min", "max"}, optional
        As in `EarlyStopping`.

    Notes
    -----
    To go on as if training had never stopped, dropout and the order of the samples included, with
    a model and an optimizer that are made as those of the first run were::

        saved = tg.load(path, model, optimizer)
        tg.fit(model, x, y, optimizer=optimizer, history=History(**saved["history"]), ...)

    Callbacks begin anew: early stopping knows nothing of the epochs before.
    """

    writes = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        best: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(best, mode)
        self.path, self.every = os.fspath(path), whole("every", every)

    def on_begin(self, run: Run) -> None:
        if self.monitor is not None:
            super().on_begin(run)

    def on_epoch(self, run: Run) -> None:
        if run.epoch % self.every or (self.monitor is not None and not self.better(run)):
            return
        path = Path(self.path.replace("{epoch}", str(run.epoch)))
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, run.model, run.optimizer, history=run.history)


class CSVLog(Callback):
    """Write the history to a CSV file as it grows: after each epoch the file is complete.

    Parameters
    ----------
    path : str or path
    """

    writes = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_begin(self, run: Run) -> None:
        run.history.save(self.path)

    def on_epoch(self, run: Run) -> None:
        write_csv(self.path, [[column[-1] for column in run.history.values()]], "a")
