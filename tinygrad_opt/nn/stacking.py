"""Many small models of one shape as one: every weight gets an axis in front, one entry a model.

A small network costs calls, not arithmetic. K of them in one cost the calls of one.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.hints import answers
from tinygrad_opt.nn import activations
from tinygrad_opt.nn.dropout import Dropout
from tinygrad_opt.nn.linear import Linear
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.networks import MLP, Sequential
from tinygrad_opt.nn.normalization import LayerNorm, RMSNorm
from tinygrad_opt.nn.parameters import as_input
from tinygrad_opt.outside import as_operand
from tinygrad_opt.recording import in_mode
from tinygrad_opt.tensor import Tensor, no_grad
from tinygrad_opt.typing import ArrayLike, Loss

# Each works on the last axis, or entry by entry, whatever stands before it.
_LAST_AXIS = (MLP, Sequential, Linear, LayerNorm, RMSNorm, Dropout, *(
    kind for kind in vars(activations).values()
    if isinstance(kind, type) and issubclass(kind, Module) and kind is not Module))


class Stacked(dict[str, Tensor]):
    """The parameters of a stack, from which an optimizer knows how many models they are of."""

    def __init__(self, parameters: dict[str, Tensor], models: int) -> None:
        super().__init__(parameters)
        self.models = models


class Stack(Module):
    """K models of one shape as one; `stack` makes it and `unstack` takes it apart.

    Parameters
    ----------
    model : Module
        The first model, with parameters of shape (K, ...). Vectors are rows of matrices in them:
        a bias of shape (n,) is (K, 1, n).
    count : int
        K.
    shapes : dict of str to tuple of int
        Of the parameters of one model.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> many = nn.stack([nn.MLP([2, 16, 3], rng=k) for k in range(8)])
    >>> many.model.layers[0].weight.shape, many.model.layers[0].bias.shape
    ((8, 2, 16), (8, 1, 16))
    """

    _shown = "{0.count}"

    def __init__(self, model: Module, count: int, shapes: dict[str, tuple[int, ...]]) -> None:
        self.model, self.count, self._shapes = model, count, shapes

    def forward(self, x: ArrayLike) -> Tensor:
        """What each model makes of x.

        Parameters
        ----------
        x : Tensor or array-like of shape (n, features) or (K, n, features)
            The same samples for all models, or for each its own.

        Returns
        -------
        Tensor of shape (K, n, ...)
        """
        given = as_input(x, next(iter(self.model.parameters().values()), None))
        if given.ndim == 2:
            given = ops.broadcast_to(given, shape=(self.count, *given.shape))
        if given.ndim != 3 or given.shape[0] != self.count:
            raise ShapeError(f"a stack of {self.count} takes (n, features), or"
                             f" ({self.count}, n, features) for each its own; got {given.shape}")
        return self.model(given)

    def parameters(self) -> Stacked:
        """The parameters of all models, for an optimizer with one rate for all or one for each.

        Returns
        -------
        dict of str to Tensor

        Examples
        --------
        >>> from tinygrad_opt import nn, optim
        >>> many = nn.stack([nn.Linear(2, 3, rng=k) for k in range(2)])
        >>> optim.SGD(many.parameters(), lr=[0.1, 0.01])
        SGD(lr=(0.1, 0.01); 2 parameters, t=0)
        """
        return Stacked(super().parameters(), self.count)

    def loss(self, loss: Loss) -> Loss:
        """The sum of the models' losses, whose gradient is for each model that of its own loss.

        Parameters
        ----------
        loss : callable
            ``loss(prediction, target)``: the mean over samples, as the losses of `nn` give it.

        Returns
        -------
        callable
            Of the prediction of shape (K, n, ...), and of the target: that of one model for all,
            or with an axis of length K before its own.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_opt import nn
        >>> many = nn.stack([nn.Linear(2, 3, rng=k) for k in range(4)])
        >>> loss = many.loss(nn.cross_entropy)
        >>> loss(many(np.ones((5, 2))), np.zeros(5, int)).shape
        ()
        """

        if not callable(loss):
            raise TypeError("loss is a function of (prediction, target), such as"
                            f" nn.cross_entropy; got {loss!r}")

        @functools.wraps(loss)
        def total(prediction: Tensor, target: ArrayLike) -> Tensor:
            models, n = prediction.shape[:2]
            given = as_operand(target)
            if given.shape[:2] != (models, n):
                given = ops.broadcast_to(given, shape=(models, *given.shape))
            if given.shape[:2] != (models, n):
                raise ShapeError(f"predictions of {models} models for {n} samples need as many"
                                 f" targets, got shape {given.shape[1:]}")
            rows, targets = (x.reshape((models * n, *x.shape[2:])) for x in (prediction, given))
            return models * loss(rows, targets)

        return total


@answers
def stack(models: Sequence[Module], x: ArrayLike | None = None) -> Stack:
    """K models of one shape as one that computes, and is trained, as each by itself.

    Parameters
    ----------
    models : sequence of Module
        Of the same layers and sizes. They are copied, not changed.
    x : array-like of shape (n, features), optional
        A few samples, to compare what the stack and the models make of them. It is needed
        where modules or functions of your own take part.

    Returns
    -------
    Stack

    Raises
    ------
    ValueError
        If the models differ in more than numbers, or one would see the others' samples, as
        batch normalisation does.
    TypeError
        If they hold what may do that, and no x is given.

    Notes
    -----
    An optimizer of ``many.parameters()`` takes one rate for each model, ``lr=[0.1, 0.01]``, and
    refuses what would make them depend on each other, such as clip_norm.

    Minimise the sum of the losses, not their mean: ``many.loss(nn.cross_entropy)``. `Dropout`
    draws for each model from a copy of that model's generator.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> x, y = tg.data.moons(100, rng=0)
    >>> many = nn.stack([nn.MLP([2, 8, 2], rng=k) for k in range(5)])
    >>> history = tg.fit(many, x, y, loss=many.loss(nn.cross_entropy), optimizer="adam:lr=0.01",
    ...                  epochs=30, progress=False, seed=0)
    >>> [tg.train.evaluate(model, x, y, metrics="accuracy")["accuracy"] > 0.8
    ...  for model in nn.unstack(many)]
    [True, True, True, True, True]
    """
    models = list(models)
    if not models or not all(isinstance(model, Module) for model in models):
        raise TypeError("stack takes a list of at least one Module")
    _check_alike(models)
    doubtful = next(_doubtful(models[0]), None)
    if doubtful and x is None:
        raise TypeError(f"stack cannot tell whether {doubtful} keeps the models apart. Give it"
                        " some samples, stack(models, x), and it compares.")
    own = copy.deepcopy(models)                            # generators too, which are drawn from
    tensors, drawn = [m.parameters() for m in own], [m.generators() for m in own]
    shapes = {path: p.shape for path, p in tensors[0].items()}
    for path, p in tensors[0].items():
        rows = (1,) * (2 - p.ndim) + p.shape
        _put(p, np.stack([held[path].data for held in tensors]).reshape(len(models), *rows))
    for path, module in own[0].named_modules().items():
        if isinstance(module, Dropout) and module.rng is not None:
            module.rng = [held[f"{path}.rng".lstrip(".")] for held in drawn]
    made = Stack(own[0], len(models), shapes)
    if x is not None:
        _compare(made, models, x)
    return made


@answers
def unstack(many: Stack) -> list[Module]:
    """The models of a stack, each by itself again, as far as they were trained.

    Parameters
    ----------
    many : Stack

    Returns
    -------
    list of Module
        Copies; the stack stays as it is.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.unstack(nn.stack([nn.Linear(2, 3, rng=k) for k in range(4)]))[2]
    Linear(2, 3)
    """
    if not isinstance(many, Stack):
        raise TypeError(f"unstack takes what stack made, got {type(many).__name__}")
    models = []
    for k in range(many.count):
        model = copy.deepcopy(many.model)
        for path, p in model.parameters().items():
            p.name = path
            _put(p, p.data[k].reshape(many._shapes[path]).copy())
        for module in model.named_modules().values():
            if isinstance(module, Dropout) and isinstance(module.rng, list):
                module.rng = module.rng[k]
        models.append(model)
    return models


# ---- whether models can be stacked ---------------------------------------------------------------


def _put(p: Tensor, values: np.ndarray) -> None:
    """Give a parameter another shape."""
    p.grad = None
    p._array = values


def _check_alike(models: Sequence[Module]) -> None:
    """Refuse models that differ in more than the numbers in their parameters."""
    first = _anatomy(models[0])
    for k, model in enumerate(models):
        other = _anatomy(model)
        for path in [*first, *other]:
            one, two = first.get(path, "nothing"), other.get(path, "nothing")
            if one is not two and one != two:
                raise ValueError(f"stack needs models that differ in their numbers alone:"
                                 f" {path or 'the model'} is {one} in model 0 and {two} in"
                                 f" model {k}")


def _anatomy(model: Module) -> dict[str, object]:
    """What must be the same in all models, by path."""
    kinds = {path: type(module).__name__ for path, module in model.named_modules().items()}
    options = {path: x for path, x in model._attributes()
               if not isinstance(x, Module | Tensor | np.random.Generator | np.ndarray)}
    shapes = {f"{path}, its shape and dtype": (p.shape, str(p.dtype), p.requires_grad)
              for path, p in model.parameters().items()}
    return {**kinds, **options, **shapes}


def _doubtful(model: Module) -> Iterator[str]:
    """What may see other axes than the last; what certainly does is refused."""
    for path, module in model.named_modules().items():
        said = f"{type(module).__name__}{f' at {path}' if path else ''}"
        if module._buffers():
            raise ValueError(f"stack cannot keep the models apart in {said}: its statistics are"
                             " those of one model")
        if type(module) not in _LAST_AXIS or getattr(module, "axis", -1) != -1 or len(
                getattr(module, "shape", (1,))) != 1:
            yield said
    yield from (f"{path}, {x!r}," for path, x in model._attributes()
                if callable(x) and not isinstance(x, Module | np.ufunc)
                and getattr(x, "__module__", "") != activations.__name__)


def _compare(made: Stack, models: Sequence[Module], x: object) -> None:
    """Refuse a stack whose models do not compute what they do by themselves."""
    made, models = copy.deepcopy((made, models))           # nothing is drawn from theirs
    with in_mode(made, True), no_grad():
        together = made(x).data
        for k, model in enumerate(models):
            with in_mode(model, True):
                alone = np.asarray(model(x).data)
            if together[k].shape != alone.shape or not np.allclose(
                    together[k], alone, rtol=1e-4, atol=1e-6, equal_nan=True):
                raise ValueError(f"in the stack, model {k} does not compute what it does by itself:"
                                 " something in it works on other axes than the last")
