"""The training loop."""

from __future__ import annotations

import functools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeAlias

import numpy as np

from tinygrad_opt.compiler import compile as captured
from tinygrad_opt.data import minibatches
from tinygrad_opt.data.arguments import array_of, samples, whole
from tinygrad_opt.hints import answers
from tinygrad_opt.kernels import brought
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.recording import in_mode
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.train.batch import BatchGradients, Halt
from tinygrad_opt.train.callbacks import Callback, LambdaCallback
from tinygrad_opt.train.diagnosis import UPHILL, Watch, goes_uphill, in_the_data
from tinygrad_opt.train.history import Finding, History
from tinygrad_opt.train.measure import (
    Means,
    Metric,
    Metrics,
    evaluate,
    loss_by_name,
    metrics_by_name,
)
from tinygrad_opt.train.progress import progress_for
from tinygrad_opt.typing import Array, ArrayLike, Loss, Model

__all__ = ["Run", "fit"]

Pair = tuple[Array, Array]
INTERRUPTED = "interrupted"
MEASURED = ("lr", "gradient_norm", "update_ratio", "seconds")


class Stepper(Protocol):
    """What changes parameters along their gradients: an Optimizer, or a class of one's own."""

    def step(self) -> object: ...

    def zero_grad(self) -> object: ...


Chosen: TypeAlias = str | Stepper | Callable[[dict[str, Tensor]], Stepper]


@answers
def fit(
    model: Model,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: Loss | str,
    optimizer: Chosen = "adam",
    epochs: int = 10,
    batch_size: int = 32,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    metrics: Metrics = (),
    callbacks: Iterable[Callback | Callable[[Run], object]] = (),
    progress: bool | str = True,
    seed: int | None = None,
    accumulate: int = 1,
    history: History | None = None,
    compile: bool | str | None = None,
    diagnose: bool = True,
    parallel: Together | None = None,
) -> History:
    """Train a model: shuffle, predict, differentiate the loss, step; again and again.

    Parameters
    ----------
    model : callable with ``parameters()``
        ``model(x_batch)`` predicts. Its ``parameters()`` is a dict of name → Tensor.
    x, y : array-like of shape (n_samples, ...)
        May be memory-mapped files larger than memory.
    loss : callable or str
        ``loss(prediction, y_batch)``: a Tensor of one number, the mean over the batch. Or the
        name of one of `nn`, such as ``"cross_entropy"`` or ``"mean_squared_error"``.
    optimizer : object, str or callable
        An optimizer of the model's parameters; one that was made without parameters, such as
        ``optim.Adam(lr=0.01)``, and gets the model's; a text for ``optim.get`` such as
        ``"adam"`` or ``"sgd:lr=0.1,momentum=0.9"``; or what makes an optimizer when given the
        parameters, such as the class ``optim.SGD``.
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
    compile : bool, "check" or "native", optional
        Whether forward and backward pass are captured for each shape of batch and replayed, with
        the same results to the bit; see `tinygrad_opt.compile` for what a capture freezes.
        Without a word from you this is done where the loss and all of the model are made of
        this package's functions and modules, whose replays leave nothing out. If True and the
        capture fails, a warning says why and the pass is run as it is written. ``"check"``: every
        batch is also run as it is written, and a `CaptureError` names the first thing that a
        replay did otherwise: the loss, a prediction, a gradient, a buffer. It takes at least
        twice the time, and shows whether ``compile=True`` may be trusted with your own model.
        ``"native"``: as True, by machine code; results agree to rounding. It needs llvmlite.
    diagnose : bool
        Whether to look now and then at how the run goes, and to say once, as a `TrainingWarning`
        and in ``history.findings``, what goes wrong: nan and where it comes from, a growing loss,
        dead, saturated or symmetric units, vanishing or exploding gradients, steps too long or too
        short, overfitting, accuracy at chance. NumPy does not warn of nan and inf then. Results are
        the same without, except that with ``"native"`` the few steps that are looked at are made
        without machine code.

    parallel : optional
        ``parallel.mpi()``: each of several processes computes a part of every batch, and all take
        the same step. See `tinygrad_opt.parallel.mpi`.

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
    validation = None if validation_data is None else _pair(validation_data)
    found, parameters = metrics_by_name(metrics), _parameters(model)
    with progress_for(progress) as screen:
        made = Run if parallel is None else parallel.run
        run = made(
            model=model, parameters=parameters, optimizer=_optimizer(optimizer, parameters),
            loss_function=loss_by_name(loss), metrics=found, data=(x, y), validation=validation,
            history=_continued(history, _columns(found, validation is not None), seed),
            epochs=epochs, batch_size=batch_size, accumulate=accumulate, compile=compile,
            callbacks=[*_callbacks(callbacks), *([Watch()] if diagnose else []), screen])
        with in_mode(model, True), on_interrupt(run.interrupt), _one_voice(run):
            run.train()
    return run.history


class Together(Protocol):
    """Several processes that train together, such as ``parallel.mpi()``."""

    def run(self, **given: Any) -> Run:
        """The run of this process, given what a `Run` is made of."""


@dataclass(eq=False, repr=False)
class Run:
    """A training run, as callbacks see it.

    Attributes
    ----------
    model, optimizer
        What is trained, and how. ``run.optimizer.lr = 0.01`` changes the rate from here on.
    parameters : dict of str to Tensor
        Those of the model.
    data, batch : (ndarray, ndarray)
        All samples with their targets, and the latest batch of them.
    validation : (ndarray, ndarray) or None
        What is measured after each epoch.
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

    model: Model
    parameters: dict[str, Tensor]
    optimizer: Any
    loss_function: Loss
    metrics: Mapping[str, Metric]
    data: Pair
    validation: Pair | None
    history: History
    epochs: int
    batch_size: int
    accumulate: int
    compile: bool | str | None
    callbacks: Sequence[Callback]

    def __post_init__(self) -> None:
        if self.compile not in (True, False, None, "check", "native"):
            raise ValueError(
                f"compile must be True, False, None, 'check' or 'native', got {self.compile!r}.")
        group = whole("batch_size", self.batch_size) * whole("accumulate", self.accumulate)
        self.steps_per_epoch = -(-len(self.data[0]) // group)
        self.epoch = self.history.epochs
        self.epochs = self.epoch + whole("epochs", self.epochs, 0)
        self.step, self.loss = len(self.history.steps["loss"]), math.nan
        self.batch: Pair = (np.empty(0), np.empty(0))
        self.stopped: str | None = None
        self.watch = next((c for c in self.callbacks if isinstance(c, Watch)), None)
        self._on_loss, self._on_step = self._hooks("on_loss"), self._hooks("on_step")
        self._gradients = BatchGradients(
            self.model, self.loss_function, self.parameters, self._look, self.compile,
            bool(self.metrics))
        native = self.compile == "native" and isinstance(self.optimizer, Optimizer)
        self._update: Callable[[], object] = (
            captured(self.optimizer.step, backend="native") if native else self.optimizer.step)

    def _hooks(self, moment: str) -> list[Callable[[Run], object]]:
        """Bound methods of the callbacks that do something at this moment."""
        hooks = [getattr(callback, moment) for callback in self.callbacks]
        return [h for h in hooks if getattr(h, "__func__", h) is not getattr(Callback, moment)]

    def stop(self, reason: str) -> None:
        """End the training after the step in hand; from `on_loss`, before it."""
        self.stopped = self.history.stopped = reason

    def interrupt(self) -> None:
        """The first Ctrl-C asks to stop, so that no step is left half taken; the second does not.
        """
        if self.stopped == INTERRUPTED:
            raise KeyboardInterrupt
        self.stop(INTERRUPTED)

    def train(self) -> None:
        """All epochs. Ctrl-C ends them after the step in hand, a second one at once."""
        self.optimizer.zero_grad()
        self._tell("on_begin")
        try:
            while self.epoch < self.epochs and not self.stopped:
                self._epoch()
        except KeyboardInterrupt:
            self.interrupt()
        self.optimizer.zero_grad()
        self._tell("on_end")

    def show(self, witness: Callable[[Run, object, Tensor], object]) -> None:
        """Let someone see the next pass, before its graph is gone: its prediction and loss."""
        self._gradients.witness = functools.partial(witness, self)

    def found(self, finding: Finding) -> None:
        """Record that something goes wrong, and let the callbacks know."""
        self.history.findings.append(finding)
        self._tell("on_finding")

    def _tell(self, moment: str) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(self)

    def _epoch(self) -> None:
        """One epoch, and its row in the history if it was not cut short."""
        start = time.perf_counter()
        self.epoch += 1
        try:
            row = self._pass()
        except Halt:
            return
        if self.validation:
            seen = evaluate(self.model, *self.validation, loss=self.loss_function,
                            metrics=self.metrics, batch_size=max(self.batch_size, 256))
            row |= {f"val_{name}": value for name, value in seen.items()}
        row["seconds"] = time.perf_counter() - start
        self.history.append(self._agreed(row))
        self._tell("on_epoch")

    def _pass(self) -> dict[str, float]:
        """Train on every sample once."""
        n, group = len(self.data[0]), self.batch_size * self.accumulate
        shuffle = self.batch_size < n
        rng = np.random.default_rng([self.history.seed, self.epoch]) if shuffle else None
        batches = self._batches(rng)
        means = Means(self.metrics)
        for start in range(0, n, group):
            rows, loss = min(group, n - start), 0.0
            for xb, yb in islice(batches, self.accumulate):
                loss += self._train_on(xb, yb, rows, means)
            self.history.steps["loss"].append(loss)
            last = start + rows == n
            measured = self._measured_step() if last else self._take_step()
            for hook in self._on_step:
                hook(self)
            if self.stopped and not last:
                raise Halt
        return {"epoch": self.epoch, **self._means(means), **measured}

    def _batches(self, rng: np.random.Generator | None) -> Iterator[Pair]:
        """Those of an epoch, shuffled if there is a generator."""
        return minibatches(*self.data, self.batch_size, shuffle=rng is not None, rng=rng)

    def _train_on(self, x: Array, y: Array, rows: int, means: Means) -> float:
        """Leave the gradients of a batch, of so many rows of its step; its part of the loss."""
        self.batch, share = (x, y), len(x) / rows
        prediction = self._gradients(x, y, share)
        means.add(self.loss, prediction, y)
        return share * self.loss

    def _means(self, means: Means) -> dict[str, float]:
        """The loss and the metrics of an epoch."""
        return means.means()

    def _agreed(self, row: dict[str, float]) -> dict[str, float]:
        """What is recorded of an epoch; of several processes, the same on each."""
        return row

    def _look(self, loss: Array) -> None:
        """Between the forward and the backward pass of each batch."""
        self.loss = loss.item()
        for hook in self._on_loss:
            hook(self)
        if self.stopped:
            raise Halt

    def _take_step(self) -> dict[str, float]:
        """One step of the optimizer, and the rate that it used."""
        now = getattr(self.optimizer, "current_lr", None)
        rate: float = getattr(self.optimizer, "lr", math.nan) if now is None else now
        self.history.steps["lr"].append(rate)
        self._update()
        self.optimizer.zero_grad()
        self.step += 1
        return {"lr": rate}

    def _measured_step(self) -> dict[str, float]:
        """One step, and how it went; this takes copies of the parameters."""
        parameters = self.parameters.values()
        with np.errstate(all="ignore"):
            gradient = _norm(_flat([g for g in [p.grad for p in parameters] if g is not None]))
            before = _flat([p._array for p in parameters])
            measured = self._take_step()
            moved = _flat([p._array for p in parameters])
            moved -= before
            size, change = _norm(before), _norm(moved)
        ratio = change / size if size else math.inf if change else 0.0
        return measured | {"gradient_norm": gradient, "update_ratio": ratio}

    def advice(self) -> str:
        """What to do about a loss that is not finite or far too large."""
        if self.watch and not math.isfinite(self.loss):
            return self.watch.cause(self).rstrip(".")
        steps = UPHILL.rstrip(".") if goes_uphill(self) else "try a smaller learning rate"
        return in_the_data(*self.batch) or steps


# ---- what fit is given ---------------------------------------------------------------------------


def _pair(data: object) -> Pair:
    """Validation data as arrays."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"validation_data must be a pair (x, y), got {type(data).__name__}"
                        + (f" of {len(data)}." if isinstance(data, tuple | list) else "."))
    x, y = map(array_of, data)
    samples(x, y)
    return x, y


def _callbacks(given: Iterable[Callback | Callable[[Run], object]]) -> list[Callback]:
    if isinstance(given, Callback) or not isinstance(given, Iterable):
        raise TypeError(f"callbacks must be a list, such as [EarlyStopping()], got {given!r}.")
    given = [*given]
    for callback in given:
        if not isinstance(callback, Callback) and (
                isinstance(callback, type) or not callable(callback)):
            raise TypeError(f"a callback is a Callback or a function of the run, got {callback!r}.")
    return [c if isinstance(c, Callback) else LambdaCallback(c) for c in given]


def _parameters(model: Model) -> dict[str, Tensor]:
    if isinstance(model, type):
        raise TypeError(f"fit needs a model, got the class {model.__name__}: make one of it, as in"
                        f" fit({model.__name__}(...), x, y).")
    parameters = model.parameters() if hasattr(model, "parameters") else None
    if not isinstance(parameters, dict) or not parameters:
        raise TypeError(f"fit needs a model whose parameters() is a dict of name → Tensor, as that"
                        f" of nn.Module is; {type(model).__name__} has {parameters!r}.")
    for p in parameters.values():
        brought(values_of(p))                              # no arrays of other libraries
    return parameters


def _optimizer(optimizer: object, parameters: dict[str, Tensor]) -> Any:
    """An optimizer of the parameters, whatever form it was given in."""
    if isinstance(optimizer, str):
        from tinygrad_opt import optim

        return optim.get(optimizer, parameters)
    if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
        if not callable(optimizer):
            raise TypeError(f"optimizer must be an optimizer or a name, got {optimizer!r}.")
        return optimizer(parameters)
    updated = getattr(optimizer, "parameters", None)
    if updated == {} and hasattr(optimizer, "bind"):
        return optimizer.bind(parameters)
    if isinstance(updated, dict) and not {*map(id, updated.values())} & {
            *map(id, parameters.values())}:
        raise ValueError("the optimizer updates none of the model's parameters: make it from"
                         " model.parameters(), or give fit its name.")
    return optimizer


def _columns(metrics: Mapping[str, Metric], validates: bool) -> list[str]:
    """What is recorded of each epoch."""
    measured = ["loss", *metrics]
    taken = {"loss", "epoch", *MEASURED} & metrics.keys()
    if taken:
        raise ValueError(f"a metric cannot be called {taken.pop()!r}: the history has its own.")
    return ["epoch", *measured, *(f"val_{k}" for k in measured if validates), *MEASURED]


def _continued(history: History | None, columns: list[str], seed: int | None) -> History:
    """A new history, or one that goes on from where the given one ends."""
    if not isinstance(history, History | None):
        raise TypeError(f"history must be a History, got {type(history).__name__}. That of a"
                        " checkpoint is History(**tg.load(path)['history']).")
    if seed is None and history is not None:
        seed = history.seed
    if history is None or not history.epochs:
        history = History(dict.fromkeys(columns, ()))
    if list(history) != columns:
        raise ValueError(f"the history to go on with has the columns {', '.join(history)};"
                         f" this run records {', '.join(columns)}.")
    return History(history, history.steps, np.random.SeedSequence(seed).entropy, history.findings)


# ---- small things --------------------------------------------------------------------------------


def _flat(arrays: list[Array]) -> Array:
    """All entries in one new vector."""
    return np.concatenate([a.ravel() for a in arrays] or [np.empty(0)])


def _norm(vector: Array) -> float:
    return math.sqrt(vector.dot(vector))


def _one_voice(run: Run) -> np.errstate:
    """What is diagnosed, NumPy does not warn of; what is to raise or to be called still is."""
    heard = np.geterr().items() if run.watch else ()
    quiet = {fault: "ignore" for fault, told in heard if told == "warn"}
    return np.errstate(**quiet)                            # type: ignore[arg-type]


@contextmanager
def on_interrupt(act: Callable[[], object]) -> Iterator[None]:
    """What Ctrl-C does in a block, where it would be a KeyboardInterrupt: a handler of the user's
    own stays."""
    ours = (threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    if ours:
        signal.signal(signal.SIGINT, lambda number, frame: act())
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
