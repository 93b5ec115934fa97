"""How good a model is: predictions, losses and metrics over whole data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, cast

import numpy as np

from tinygrad_opt.data import minibatches
from tinygrad_opt.data.arguments import array_of, samples
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import LIBRARIES, answers, hint
from tinygrad_opt.recording import in_mode
from tinygrad_opt.tensor import no_grad
from tinygrad_opt.typing import Array, ArrayLike, Loss, Predicts

__all__ = ["evaluate", "predict"]

Metric: TypeAlias = Callable[[Array, Array], float]
Metrics: TypeAlias = str | Metric | Iterable[str | Metric] | Mapping[str, str | Metric]


@answers
def predict(model: Predicts, x: ArrayLike, *, batch_size: int = 256) -> Array:
    """What the model makes of x, batch by batch, in evaluation mode and without a graph.

    Parameters
    ----------
    model : callable
    x : array-like of shape (n_samples, ...)
    batch_size : int, at least 1

    Returns
    -------
    ndarray of shape (n_samples, ...)

    Examples
    --------
    >>> predict(lambda x: x * 2, np.arange(3.0), batch_size=2)
    array([0., 2., 4.])
    """
    x = array_of(x)
    with in_mode(model, False), no_grad():
        if not samples(x):
            return array_of(model(x))
        batches = minibatches(x, None, batch_size, shuffle=False)
        return np.concatenate([array_of(model(xb)) for xb in batches])


@answers
def evaluate(
    model: Predicts,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: Loss | str | None = None,
    metrics: Metrics = (),
    batch_size: int = 256,
) -> dict[str, float]:
    """Loss and metrics of a model on data, in evaluation mode and without a graph.

    Parameters
    ----------
    model, x, y, loss, metrics
        As in `fit`; without `loss` only the metrics are measured.
    batch_size : int, at least 1

    Returns
    -------
    dict of str to float

    Notes
    -----
    Metrics see the predictions of all samples at once, up to about a million numbers; of more
    than that the result is the mean over parts, weighted by their samples.

    Examples
    --------
    >>> scores = np.array([[0.2, 0.8], [0.9, 0.1], [0.7, 0.3]])
    >>> evaluate(lambda x: scores[x], [0, 1, 2], [1, 0, 0], metrics=["accuracy"])
    {'accuracy': 1.0}
    """
    x, y = array_of(x), array_of(y)
    if not samples(x, y):
        raise ValueError("evaluate needs at least one sample, got none.")
    if loss is None and not metrics:
        raise ValueError("evaluate measures a loss=, such as 'cross_entropy', or metrics=, such as"
                         " 'accuracy': got neither.")
    means = Means(metrics_by_name(metrics))
    loss = None if loss is None else loss_by_name(loss)
    with in_mode(model, False), no_grad():
        for xb, yb in minibatches(x, y, batch_size, shuffle=False):
            prediction = model(xb)
            means.add(float(loss(prediction, yb)) if loss else 0.0, prediction, yb)
    found = means.means()
    return found if loss else {k: v for k, v in found.items() if k != "loss"}


class Means:
    """Loss and metrics over samples that come batch by batch."""

    KEPT = 1 << 20                                         # numbers kept for the metrics at a time

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics, self.sums = metrics, dict.fromkeys(metrics, 0.0)
        self.batches: list[tuple[Array, Array]] = []
        self.loss, self.count, self.kept = 0.0, 0, 0

    def add(self, loss: float, prediction: object, y: Array) -> None:
        self.loss += loss * len(y)
        self.count += len(y)
        if self.metrics:
            values = np.array(getattr(prediction, "_array", prediction))
            self.batches.append((values, y))
            self.kept += values.size + y.size
            if self.kept > self.KEPT:
                self._measure()

    def means(self) -> dict[str, float]:
        if self.batches:
            self._measure()
        sums = {"loss": self.loss, **self.sums}
        return {name: total / self.count for name, total in sums.items()}

    def _measure(self) -> None:
        prediction, y = (np.concatenate(parts) for parts in zip(*self.batches))
        self.batches, self.kept = [], 0
        for name, metric in self.metrics.items():
            self.sums[name] += len(y) * float(metric(prediction, y))


def accuracy(prediction: Array, y: Array) -> float:
    """Share of samples whose class is predicted right.

    Scores of shape (..., n_classes) predict the largest, for labels or one-hot rows; a single
    score predicts by its sign, for labels 0 and 1 or −1 and 1.
    """
    if prediction.shape[-1:] == (1,) or prediction.ndim == 1:
        right = (prediction > 0) == (y.reshape(prediction.shape) > 0)
    else:
        labels = y.argmax(-1) if y.shape == prediction.shape else y
        if labels.shape != prediction.shape[:-1]:
            raise ShapeError(f"accuracy of predictions {prediction.shape} needs labels of shape"
                             f" {prediction.shape[:-1]} or one-hot rows, got {y.shape}")
        right = prediction.argmax(-1) == labels
    result: float = np.count_nonzero(right) / right.size
    return result


# ---- helpers -------------------------------------------------------------------------------------


def metrics_by_name(metrics: Metrics) -> dict[str, Metric]:
    """Metrics by their names."""
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    given = dict(metrics) if isinstance(metrics, Mapping) else {
        m if isinstance(m, str) else getattr(m, "__name__", "metric"): m for m in metrics}
    known = {name: accuracy if m == "accuracy" else m for name, m in given.items()}
    for metric in known.values():
        if not callable(metric):
            raise ValueError(f"no metric {metric!r}; give a function of (prediction, y), or"
                             ' "accuracy".')
    return cast("dict[str, Metric]", known)


# what textbooks and other libraries call the losses of nn
LOSSES = {name: cure.removeprefix("nn.") for table in LIBRARIES.values()
          for name, cure in table.get("nn", {}).items()
          if name.islower() and cure.endswith("_loss") and cure.removeprefix("nn.").isidentifier()}


def loss_by_name(loss: Loss | str) -> Loss:
    """A function of (prediction, y), or that of a name such as ``"cross_entropy"``."""
    if callable(loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError("loss must be a function of (prediction, y) such as nn.cross_entropy, or"
                        f" its name, got {loss!r}.")
    from tinygrad_opt import nn

    known = [n for n in nn.__all__ if n.endswith(("_loss", "_entropy", "_logits", "kl_div"))
             and n != "cosine_embedding_loss"]         # of three arguments
    name = LOSSES.get(loss, loss)
    if name not in known:
        raise ValueError(f"no loss is called {loss!r}; {hint('nn', loss, [*known, *LOSSES])}")
    found: Loss = getattr(nn, name)
    return found
