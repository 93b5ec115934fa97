"""Estimators for scikit-learn: fully connected networks, or modules of your own."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

import numpy as np

from tinygrad_opt.data.arguments import whole
from tinygrad_opt.errors import install
from tinygrad_opt.hints import answers
from tinygrad_opt.nn import MLP, cross_entropy, log_softmax, mse_loss, softmax
from tinygrad_opt.optim import Optimizer, get
from tinygrad_opt.train import EarlyStopping, History, fit, predict
from tinygrad_opt.typing import Array, ArrayLike

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError:
    raise ImportError(f"the estimators need scikit-learn: {install('sklearn')}") from None

if TYPE_CHECKING:
    from tinygrad_opt.nn.module import Module
    from tinygrad_opt.tensor import Tensor

__all__ = ["TinyClassifier", "TinyRegressor"]

Loss: TypeAlias = "Callable[[Tensor, Array], Tensor]"
Network = TypeVar("Network", bound="_Network")


@dataclass(eq=False, repr=False)
class _Network(BaseEstimator):
    """What a classifier and a regressor share; their docstrings hold what follows.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Number of neurons in each hidden layer.
    activation : str or callable
        Between the layers: a name that `nn.activation` knows (``"logistic"`` is ``"sigmoid"``),
        a function or a module.
    dropout : float in [0, 1)
        Probability that a hidden activation is dropped while training.
    norm : {None, "layer", "batch"}
        Normalise what goes into each activation.
    model : callable, optional
        Makes the network in place of the four above: ``model(n_inputs, n_outputs, rng)`` is a
        Module.
    optimizer : str, class or Optimizer
        What `optim.get` takes, ``"sgd:lr=0.1,momentum=0.9"``, or an optimizer without parameters.
    lr : float or schedule, optional
        The learning rate; without it, that of `optimizer`.
    weight_decay : float, optional
        As `lr`.
    batch_size : int or "auto"
        ``"auto"``: 200, or all samples where there are fewer.
    max_iter : int, at least 1
        Epochs at most.
    tol, n_iter_no_change : float, int
        Stop when the loss has not fallen by more than `tol` for so many epochs.
    early_stopping : bool
        Watch the loss of samples that are held out of the training, and go back to the weights
        with which it was best.
    validation_fraction : float in (0, 1)
        The share of the samples that is held out.
    warm_start : bool
        Whether a second `fit` goes on from where the first one ended.
    random_state : int, RandomState or None
        Decides the first weights, the order of the samples, dropout, and what is held out.
    verbose : bool
        Whether to show progress.

    Attributes
    ----------
    model_ : Module
        The network.
    optimizer_ : Optimizer
    history_ : History
        What `fit` recorded, the losses of the samples held out among it: ``history_["val_loss"]``.
    loss_curve_ : list of float
        The loss of each epoch; ``loss_`` is the last one.
    n_iter_ : int
        Epochs so far.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    """

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str | Callable[[Tensor], Tensor] = "relu"
    _: KW_ONLY
    dropout: float = 0.0
    norm: str | None = None
    model: Callable[[int, int, np.random.Generator], Module] | None = None
    optimizer: str | type[Optimizer] | Optimizer = "adam"
    lr: float | Callable[[int], float] | None = None
    weight_decay: float | None = None
    batch_size: int | Literal["auto"] = "auto"
    max_iter: int = 200
    tol: float = 1e-4
    n_iter_no_change: int = 10
    early_stopping: bool = False
    validation_fraction: float = 0.1
    warm_start: bool = False
    random_state: int | np.random.RandomState | None = None
    verbose: bool = False

    @property
    def n_iter_(self) -> int:
        """Epochs so far."""
        return self.history_.epochs

    @property
    def loss_curve_(self) -> list[float]:
        """The loss of each epoch."""
        return self.history_["loss"]

    @property
    def loss_(self) -> float:
        """The loss of the last epoch."""
        return self.loss_curve_[-1]

    def fit(
        self: Network, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Network:
        """Train anew; with ``warm_start``, go on from where the last training ended.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Class labels of one type; for a regressor numbers, (n_samples, n_outputs) too.
        sample_weight : array-like of shape (n_samples,), optional
            How much each sample counts. In batches of all samples, 2 is the same as the sample
            twice and 0 as none; in smaller ones this holds on average.

        Returns
        -------
        self
        """
        epochs = whole("max_iter", self.max_iter)
        begins = not (self.warm_start and hasattr(self, "model_"))
        inputs, targets, loss = self._checked(X, y, sample_weight, begins)
        random = self._begin(inputs) if begins else check_random_state(self.random_state)
        held = None
        if self.early_stopping:
            labels = targets if targets.ndim == 1 else None
            inputs, held_inputs, targets, held_targets = train_test_split(
                inputs, targets, test_size=self.validation_fraction, random_state=random,
                stratify=labels)
            held = held_inputs, held_targets
        patience = EarlyStopping(
            self.n_iter_no_change, min_delta=self.tol, restore_best=self.early_stopping)
        self._train(inputs, targets, loss, epochs, callbacks=[patience],
                    validation_data=held, progress=bool(self.verbose))
        if self.history_.stopped is None:
            warnings.warn(
                f"{type(self).__name__} stopped after max_iter={self.max_iter} epochs, and the loss"
                " was still getting better: allow more, or a larger lr", ConvergenceWarning,
                stacklevel=2)
        return self

    def _next_part(
        self: Network, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None,
        classes: Array | None = None,
    ) -> Network:
        """One epoch of data that come part by part."""
        if self.early_stopping:
            raise ValueError("partial_fit sees one part of the data, and cannot hold samples out of"
                             " it for early_stopping: set it to False")
        begins = not hasattr(self, "model_")
        inputs, targets, loss = self._checked(X, y, sample_weight, begins, classes)
        if begins:
            self._begin(inputs)
        # the few batches of a part would not pay for a capture
        self._train(inputs, targets, loss, 1, compile=False, diagnose=False, progress=False)
        return self

    def _checked(
        self, X: ArrayLike, y: ArrayLike, weight: ArrayLike | None, begins: bool,
        classes: Array | None = None,
    ) -> tuple[Array, Array, Loss]:
        """Inputs, targets, and the loss that takes such targets."""
        inputs, labels = validate_data(
            self, X, y, dtype=(np.float64, np.float32), multi_output=True, reset=begins)
        targets = self._targets(labels, inputs.dtype, begins, classes)
        if weight is None:
            return inputs, targets, self._loss
        weights = _check_sample_weight(
            weight, inputs, dtype=inputs.dtype, ensure_non_negative=True)
        return inputs, *self._weighted(targets, weights / weights.mean())

    def _begin(self, X: Array) -> np.random.RandomState:
        """A new network, its optimizer, and an empty history; returns where to draw from."""
        random: np.random.RandomState = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        rng, inputs, outputs = np.random.default_rng(seed), X.shape[1], self.n_outputs_
        if self.model is not None:
            self.model_ = self.model(inputs, outputs, rng)
        else:
            hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
            activation = "sigmoid" if self.activation == "logistic" else self.activation
            self.model_ = MLP([inputs, *hidden, outputs], activation, dropout=self.dropout,
                              norm=self.norm, dtype=X.dtype, rng=rng)
        options: dict[str, Any] = {
            name: value for name, value in (("lr", self.lr), ("weight_decay", self.weight_decay))
            if value is not None}
        self.optimizer_ = get(copy.deepcopy(self.optimizer), **options)
        self.optimizer_.bind(self.model_.parameters())
        self.history_ = History(seed=seed)
        return random

    def _train(self, X: Array, targets: Array, loss: Loss, epochs: int, **options: Any) -> None:
        size = min(200, len(X)) if self.batch_size == "auto" else self.batch_size
        self.history_ = fit(self.model_, X, targets, loss=loss, optimizer=self.optimizer_,
                            epochs=epochs, batch_size=size, history=self.history_, **options)

    def _predict(self, X: ArrayLike) -> Array:
        """What the network makes of X."""
        check_is_fitted(self)
        inputs = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return predict(self.model_, inputs)

    # ---- what differs ----------------------------------------------------------------------------

    _loss: ClassVar[Callable[..., Tensor]]

    def _targets(
        self, y: Array, dtype: np.dtype, begins: bool, classes: Array | None
    ) -> Array:
        """The targets as the loss takes them; at the beginning, how many outputs they need."""
        raise NotImplementedError

    def _weighted(self, targets: Array, weight: Array) -> tuple[Array, Loss]:
        """Targets that hold the weights of their samples too, and the loss that takes them."""
        raise NotImplementedError


_Network.__init__ = answers(_Network.__init__)             # type: ignore[method-assign]


def _documented(kind: type[Network]) -> type[Network]:
    """The class, with the options in its docstring."""
    shared = (inspect.getdoc(_Network) or "").partition("\n\n")[2]
    kind.__doc__ = inspect.cleandoc(kind.__doc__ or "").replace("{shared}", shared)
    return kind


@_documented
class TinyClassifier(ClassifierMixin, _Network):
    """A network that learns classes by their cross-entropy, for scikit-learn.

    {shared}
    classes_ : ndarray of shape (n_classes,)
        The labels, in the order of the columns of `predict_proba`.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from tinygrad_opt.data import digits, train_test_split
    >>> X, X_test, y, y_test = train_test_split(*digits(), rng=0)
    >>> pipe = make_pipeline(StandardScaler(), TinyClassifier(32, lr=0.01, random_state=0))
    >>> pipe.fit(X, y).score(X_test, y_test) > 0.93
    True
    """

    _loss = staticmethod(cross_entropy)

    def predict(self, X: ArrayLike) -> Array:
        """The class of each row of X."""
        best = self._predict(X).argmax(axis=1)             # before classes_: it may not be fitted
        classes: Array = self.classes_[best]
        return classes

    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class, in the order of ``classes_``, for each row of X."""
        return softmax(self._predict(X)).data

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """The logarithms of `predict_proba`, precise also where it is nearly 0."""
        return log_softmax(self._predict(X)).data

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> TinyClassifier:
        """Train one epoch with a part of the data.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array-like
            Every label that will come, needed in the first call.

        Returns
        -------
        self
        """
        labels = None if classes is None else np.unique(classes)
        if labels is None and not hasattr(self, "classes_"):
            raise ValueError("the first call of partial_fit must name all classes: classes=[...]")
        if labels is not None and not np.array_equal(getattr(self, "classes_", labels), labels):
            raise ValueError(f"classes={labels.tolist()}, but the network was made for"
                             f" {self.classes_.tolist()}")
        return self._next_part(X, y, sample_weight, labels)

    def _targets(
        self, y: Array, dtype: np.dtype, begins: bool, classes: Array | None
    ) -> Array:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if begins:
            self.classes_ = np.unique(y) if classes is None else classes
            self.n_outputs_ = len(self.classes_)
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"y holds {unknown.tolist()}, which the network was not made for: its"
                             f" classes are {self.classes_.tolist()}")
        return np.searchsorted(self.classes_, y)

    def _weighted(self, targets: Array, weight: Array) -> tuple[Array, Loss]:
        # −Σⱼ pⱼ log softmax(x)ⱼ is linear in p, so w p in place of p gives w times the loss
        return np.eye(len(self.classes_), dtype=weight.dtype)[targets] * weight[:, None], self._loss


@_documented
class TinyRegressor(MultiOutputMixin, RegressorMixin, _Network):
    """A network that learns numbers by their squared error, for scikit-learn.

    {shared}

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = TinyRegressor(16, "tanh", lr=0.02, max_iter=500, random_state=0)
    >>> model.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99
    True
    """

    _loss = staticmethod(mse_loss)

    def predict(self, X: ArrayLike) -> Array:
        """What the network gives for each row of X, in the shape of the y that it learned."""
        values = self._predict(X)
        return values.reshape(len(values), *self._rows)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> TinyRegressor:
        """Train one epoch with a part of the data; X, y and sample_weight are as for `fit`."""
        return self._next_part(X, y, sample_weight)

    def _targets(
        self, y: Array, dtype: np.dtype, begins: bool, classes: Array | None
    ) -> Array:
        columns = y.astype(dtype).reshape(len(y), -1)
        if begins:
            self.n_outputs_, self._rows = columns.shape[1], y.shape[1:]
        if y.shape[1:] != self._rows:
            raise ValueError(f"y has rows of shape {y.shape[1:]}, and the network was made for"
                             f" {self._rows}")
        return columns

    def _weighted(self, targets: Array, weight: Array) -> tuple[Array, Loss]:
        return np.column_stack([targets, weight]), _weighted_squares


def _weighted_squares(prediction: Tensor, target: Array) -> Tensor:
    """The mean of w (x − y)²; the last column of the target is w."""
    return ((prediction - target[:, :-1]) ** 2 * target[:, -1:]).mean()
