"""The training loop."""

from __future__ import annotations

import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_opt.data import minibatches
from tinygrad_opt.data.arguments import samples, whole
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.train.callbacks import Callback, LambdaCallback
from tinygrad_opt.train.history import History
from tinygrad_opt.train.measure import Means, array_of, evaluate, in_mode, metrics_by_name
from tinygrad_opt.train.progress import Quiet, progress_for
from tinygrad_opt.train.step import Halt, Step

__all__ = ["Run", "fit"]

Array = np.ndarray
INTERRUPTED = "interrupted"
MEASURED = ("lr", "gradient_norm", "update_ratio", "seconds")


def fit(
    model: Any,
    x: Any,
    y: Any,
    *,
    loss: Callable[[Any, Any], Tensor],
    optimizer: Any = "adam",
    epochs: int = 10,
    batch_size: int = 32,
    validation_data: tuple[Any, Any] | None = None,
    metrics: Any = (),
    callbacks: Iterable[Any] = (),
    progress: bool | str = True,
    seed: int | None = None,
    accumulate: int = 1,
    history: History | None = None,
    compile: bool | None = None,
) -> History:
    """Train a model: shuffle, predict, differentiate the loss, step; again and again.

    Parameters
    ----------
    model : callable with ``parameters()``
        ``model(x_batch)`` predicts. Its ``parameters()`` is a dict of name → Tensor.
    x, y : array-like of shape (n_samples, ...)
        May be memory-mapped files larger than memory.
    loss : callable
        ``loss(prediction, y_batch)``: a Tensor of one number, the mean over the batch.
    optimizer : object, str or callable
        An optimizer of the model's parameters; a name for ``optim.get`` such as ``"adam"``; or
        what makes an optimizer when given the parameters, such as the class ``optim.SGD``.
    epochs : int, at least 0
        Passes over the samples.
    batch_size : int, at least 1
        1, k and n_samples make stochastic, mini-batch and batch gradient descent.
    validation_data : (x, y), optional
        Measured after each epoch, never trained on.
    metrics : sequence or dict
        ``"accuracy"``, or functions of the arrays (prediction, y); a dict gives them names.
    callbacks : sequence of Callback or callable
        A plain function is called with the run after each epoch.
    progress : bool or {"bar", "lines"}
        True: a bar where tqdm is installed and a bar can be drawn, else a line an epoch, at
        most 100; False: nothing. It goes to standard error.
    seed : int, optional
        Makes the order of the samples repeatable, in each epoch its own; that of `history`
        without it.
    accumulate : int, at least 1
        Add up the gradients of so many batches before each step: the step of one large batch.
    history : History, optional
        Of a run to be continued: its epochs are counted on from, and it is not changed. That of
        a checkpoint is ``History(**load(path)["history"])``.
    compile : bool, optional
        Whether forward and backward pass are captured for each shape of batch and replayed, with
        the same results to the bit; see `tinygrad_opt.compile` for what a capture freezes.
        Without a word from you this is done where the loss and all of the model are made of
        this package's functions and modules, whose replays leave nothing out. If True and the
        capture fails, a warning says why and the pass is run as it is written.

    Returns
    -------
    History
        Ctrl-C ends the training after the step in hand, and what was trained and recorded
        so far is kept; an epoch that was cut short is in ``history.steps`` only. A second Ctrl-C
        raises KeyboardInterrupt at once.

    Raises
    ------
    TypeError, ValueError
        If an argument makes no sense; nothing has been trained then.

    Notes
    -----
    The model is in training mode while it is trained, in evaluation mode while it is measured,
    and afterwards in the mode that it was in before.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> class Line:
    ...     def __init__(self):
    ...         self.w = tg.Tensor([[0.0]], requires_grad=True)
    ...     def __call__(self, x):
    ...         return x @ self.w
    ...     def parameters(self):
    ...         return {"w": self.w}
    >>> class Descent:
    ...     def __init__(self, parameters, lr=0.1):
    ...         self.p, self.lr = parameters, lr
    ...     def step(self):
    ...         for p in self.p.values():
    ...             p.data = p.data - self.lr * p.grad
    ...     def zero_grad(self):
    ...         for p in self.p.values():
    ...             p.grad = None
    >>> model, x = Line(), np.linspace(-1, 1, 20)[:, None]
    >>> history = fit(model, x, 3 * x, loss=lambda p, y: np.square(p - y).mean(), epochs=40,
    ...               optimizer=Descent, batch_size=5, progress=False, seed=0)
    >>> round(model.w.item(), 3), len(history["loss"])
    (3.0, 40)
    """
    x, y = array_of(x), array_of(y)
    if not samples(x, y):
        raise ValueError("fit needs at least one sample, got none.")
    validation = None
    if validation_data is not None:
        validation = _pair(validation_data)
    screen = progress_for(progress)
    run = Run(model, loss, optimizer, metrics_by_name(metrics), len(x), batch_size, epochs,
              accumulate, seed, history, validation is not None, compile,
              [*_callbacks(callbacks), screen])
    try:
        with in_mode(model, True), _gentle_interrupt(run):
            run.optimizer.zero_grad()
            for callback in run.callbacks:
                callback.on_begin(run)
            try:
                while run.epoch < run.epochs and not run.stopped:
                    run.train(x, y, validation)
            except KeyboardInterrupt:
                if run.stopped == INTERRUPTED:               # the second one
                    raise
                run.stop(INTERRUPTED)
            run.optimizer.zero_grad()
            for callback in run.callbacks:
                callback.on_end(run)
    finally:
        screen.close()
    return run.history


class Run:
    """A training run, as callbacks see it.

    Attributes
    ----------
    model, optimizer
        What is trained, and how. ``run.optimizer.lr = 0.01`` changes the rate from here on.
    history : History
        What was recorded so far.
    epoch, epochs : int
        The number of the epoch, from 1, and of the last one to come.
    step, steps_per_epoch : int
        Steps of the optimizer so far, and in each epoch.
    loss : float
        Of the latest batch.
    stopped : str or None
        The reason given to `stop`.
    """

    def __init__(
        self, model: Any, loss: Any, optimizer: Any, metrics: Mapping[str, Any], n_samples: int,
        batch_size: int, epochs: int, accumulate: int, seed: Any, history: History | None,
        validates: bool, compiled: bool | None, callbacks: Sequence[Callback],
    ) -> None:
        if not callable(loss):
            raise TypeError("loss must be a function of (prediction, y) such as nn.cross_entropy,"
                            f" got {loss!r}.")
        if compiled not in (True, False, None):
            raise ValueError(f"compile must be True, False or None, got {compiled!r}.")
        self.model, self.loss_function, self.metrics = model, loss, metrics
        self.batch_size = whole("batch_size", batch_size)
        self.accumulate = whole("accumulate", accumulate)
        self.steps_per_epoch = -(-n_samples // (self.batch_size * self.accumulate))
        if not isinstance(history, History | None):
            raise TypeError(f"history must be a History, got {type(history).__name__}. That of a"
                            " checkpoint is History(**tg.load(path)['history']).")
        if seed is None and history is not None:
            seed = history.seed
        self.seed: Any = np.random.SeedSequence(seed).entropy
        measured = ["loss", *metrics]
        taken = {"loss", "epoch", *MEASURED} & metrics.keys()
        if taken:
            raise ValueError(f"a metric cannot be called {taken.pop()!r}: the history has its own.")
        columns = ["epoch", *measured, *(f"val_{k}" for k in measured if validates), *MEASURED]
        if history is None or not history.epochs:
            history = History(dict.fromkeys(columns, ()))
        if list(history) != columns:
            raise ValueError(f"the history to go on with has the columns {', '.join(history)};"
                             f" this run records {', '.join(columns)}.")
        self.history = History(history, history.steps, self.seed)
        self.epoch = self.history.epochs
        self.epochs = self.epoch + whole("epochs", epochs, 0)
        self.step, self.loss = len(self.history.steps["loss"]), math.nan
        self.stopped: str | None = None
        self.callbacks = callbacks
        self._on_loss, self._on_step = _hooks(callbacks, "on_loss"), _hooks(callbacks, "on_step")
        self._parameters = _parameters(model)
        self.optimizer = _optimizer(optimizer, self._parameters)
        self._step = Step(model, loss, self._parameters, self._look, compiled, bool(metrics))
        # A capture is looked over after everything that may have changed what it rests on.
        theirs = [c for c in callbacks if not isinstance(c, Quiet)]
        within = _hooks(theirs, "on_loss") or _hooks(theirs, "on_step") or not self._step.known
        self._looked_over = "each batch" if within else "each epoch" if theirs else "once"
        self._warned = False

    def stop(self, reason: str) -> None:
        """End the training after the step in hand; from `on_loss`, before it."""
        self.stopped = self.history.stopped = reason

    def train(self, x: Array, y: Array, validation: Any) -> None:
        """One epoch, and its row in the history."""
        start = time.perf_counter()
        self.epoch += 1
        row = self._pass(x, y)
        if row is None:
            return
        if validation:
            seen = evaluate(self.model, *validation, loss=self.loss_function,
                            metrics=self.metrics, batch_size=max(self.batch_size, 256))
            row |= {f"val_{name}": value for name, value in seen.items()}
        row["seconds"] = time.perf_counter() - start
        self.history.append(row)
        for callback in self.callbacks:
            callback.on_epoch(self)

    def _pass(self, x: Array, y: Array) -> dict[str, Any] | None:
        """Train on every sample once; None if it was cut short."""
        try:
            return self._batches(x, y)
        except Halt:
            return None

    def _batches(self, x: Array, y: Array) -> dict[str, Any] | None:
        step, optimizer, steps = self._step, self.optimizer, self.history.steps
        n, group = len(x), self.batch_size * self.accumulate
        shuffle = self.batch_size < n
        rng = np.random.default_rng([self.seed, self.epoch]) if shuffle else None
        seen, done, share, step_loss = Means(self.metrics), 0, 1.0, 0.0
        if self._looked_over == "each epoch" or not step.frozen:
            step.refresh()
        for xb, yb in minibatches(x, y, self.batch_size, shuffle=shuffle, rng=rng):
            if self.accumulate > 1:
                share = len(xb) / min(group, n - done // group * group)
            if self._looked_over == "each batch":
                step.refresh()
            prediction = step(xb, yb, share)
            if not math.isfinite(self.loss):
                self._warn()
            seen.add(self.loss, prediction, yb)
            prediction = None                  # the graph goes before the next one is made
            step_loss += share * self.loss
            done += len(xb)
            if done % group and done < n:
                continue
            steps["loss"].append(step_loss)
            if done == n:
                measured = self._measured_step()
            else:
                steps["lr"].append(_rate(optimizer))
                optimizer.step()
                optimizer.zero_grad()
            step_loss = 0.0
            self.step += 1
            for hook in self._on_step:
                hook(self)
            if self.stopped and done < n:
                return None
        return {"epoch": self.epoch, **seen.means(), **measured}

    def _look(self, loss: Array) -> None:
        """Between the forward and the backward pass of each batch."""
        self.loss = loss.item()
        for hook in self._on_loss:
            hook(self)
        if self.stopped:
            raise Halt

    def _measured_step(self) -> dict[str, float]:
        """One step, and how it went; this takes copies of the parameters."""
        arrays = [p.array for p in self._parameters.values()]
        gradients = [g for g in [p.grad for p in self._parameters.values()] if g is not None]
        with np.errstate(all="ignore"):
            before, gradient = _flat(arrays), _norm(_flat(gradients))
            rate = _rate(self.optimizer)
            self.optimizer.step()
            self.optimizer.zero_grad()
            moved = _flat([p.array for p in self._parameters.values()])
            moved -= before
            size, change = _norm(before), _norm(moved)
        self.history.steps["lr"].append(rate)
        ratio = change / size if size else math.inf if change else 0.0
        return {"lr": rate, "gradient_norm": gradient, "update_ratio": ratio}

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"the loss is {self.loss} in step {self.step + 1}, epoch {self.epoch}: try a"
                " smaller learning rate, or end such runs with StopOnNonFinite().",
                RuntimeWarning,
                stacklevel=6,
            )


# ---- what fit is given ---------------------------------------------------------------------------


def _pair(data: Any) -> tuple[Array, Array]:
    """Validation data as arrays."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"validation_data must be a pair (x, y), got {type(data).__name__}"
                        + (f" of {len(data)}." if isinstance(data, tuple | list) else "."))
    x, y = map(array_of, data)
    samples(x, y)
    return x, y


def _callbacks(given: Any) -> list[Any]:
    if isinstance(given, Callback) or not isinstance(given, Iterable):
        raise TypeError(f"callbacks must be a list, such as [EarlyStopping()], got {given!r}.")
    return [_callback(callback) for callback in given]


def _callback(callback: Any) -> Any:
    if isinstance(callback, Callback):
        return callback
    if callable(callback) and not isinstance(callback, type):
        return LambdaCallback(callback)
    raise TypeError(f"a callback is a Callback or a function of the run, got {callback!r}.")


def _hooks(callbacks: Iterable[Callback], moment: str) -> list[Callable[[Run], Any]]:
    """Bound methods of the callbacks that do something at this moment."""
    hooks = [getattr(callback, moment) for callback in callbacks]
    return [h for h in hooks if getattr(h, "__func__", h) is not getattr(Callback, moment)]


def _parameters(model: Any) -> dict[str, Any]:
    parameters = model.parameters() if hasattr(model, "parameters") else None
    if not isinstance(parameters, dict) or not parameters:
        raise TypeError(f"fit needs a model whose parameters() is a dict of name → Tensor, as that"
                        f" of nn.Module is; {type(model).__name__} has {parameters!r}.")
    return parameters


def _optimizer(optimizer: Any, parameters: dict[str, Any]) -> Any:
    """An optimizer of the parameters, whatever form it was given in."""
    if isinstance(optimizer, str):
        from tinygrad_opt import optim

        return optim.get(optimizer, parameters)
    if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
        if not callable(optimizer):
            raise TypeError(f"optimizer must be an optimizer or a name, got {optimizer!r}.")
        return optimizer(parameters)
    updated = getattr(optimizer, "parameters", None)
    if isinstance(updated, dict) and not {*map(id, updated.values())} & {
            *map(id, parameters.values())}:
        raise ValueError("the optimizer updates none of the model's parameters: make it from"
                         " model.parameters(), or give fit its name.")
    return optimizer


def _rate(optimizer: Any) -> float:
    rate = getattr(optimizer, "current_lr", None)
    return getattr(optimizer, "lr", math.nan) if rate is None else rate


def _flat(arrays: list[Array]) -> Array:
    """All entries in one new vector."""
    return np.concatenate([a.ravel() for a in arrays] or [np.empty(0)])


def _norm(vector: Array) -> float:
    return math.sqrt(vector.dot(vector))


@contextmanager
def _gentle_interrupt(run: Run) -> Iterator[None]:
    """The first Ctrl-C asks the run to stop, so that no step is left half taken.

    Only where Ctrl-C would be a KeyboardInterrupt: a handler of the user's own stays.
    """
    if (threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler):
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if run.stopped == INTERRUPTED:
            raise KeyboardInterrupt
        run.stop(INTERRUPTED)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
