"""One batch forward and backward, as it is written or captured and replayed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt.compiler import CompiledStep
from tinygrad_opt.compiler import compile as captured
from tinygrad_opt.tensor import Tensor, effect

__all__ = ["BatchGradients", "Halt"]

Array = np.ndarray
MANY = 8                                         # captures, after which they must be worth it
PLAIN = (bool, int, float, str)


class Halt(Exception):
    """Raised by what looks at the loss, to leave out the backward pass."""


class BatchGradients:
    """Predict, compare, look at the loss and differentiate it, all in one call.

    Parameters
    ----------
    model, loss : callable
    parameters : dict of str to Tensor
    look : callable
        Given the loss as an array, between the forward and the backward pass.
    compiled : bool or None
        True: captured for each kind of batch; None: where model and loss are made of this
        package's parts alone, of which a replay leaves nothing out; False: never.
    predicts : bool
        Whether the predictions are wanted.
    """

    def __init__(
        self, model: Any, loss: Callable[..., Any], parameters: dict[str, Tensor],
        look: Callable[[Array], None], compiled: bool | None, predicts: bool,
    ) -> None:
        self.model, self.loss, self.parameters = model, loss, parameters
        self.look, self.predicts = look, predicts
        self.known = _is_known(loss) and _made_of_known_parts(model)
        self.asked = compiled is True
        self.replay: CompiledStep | None = None
        if self.asked or (compiled is None and self.known):
            self.replay = captured(self.written)
        self.kinds: set[tuple[int, float]] = set()         # lengths and shares that were captured
        self.frozen: list[Any] = []                        # what the captures rest on
        self.calls = self.captures = 0
        self.error: BaseException | None = None

    def written(self, x: Any, y: Any, share: float) -> Any:
        """The pass itself; `share` is what the batch counts in the step's loss."""
        self.captures += 1
        prediction = self.model(x)
        loss = self.loss(prediction, y)
        if type(loss) is not Tensor:
            raise TypeError(f"the loss function must return a Tensor, got {type(loss).__name__}:"
                            " without its graph there are no gradients.")
        if loss.size != 1:
            loss.item()                                    # says what is wrong
        effect(self._look, loss.array)
        if share == 1:
            loss.backward()
        else:
            loss.backward(np.full(loss.shape, share))
        return prediction if self.predicts else None

    def __call__(self, x: Array, y: Array, share: float = 1.0) -> Any:
        """The prediction, if it is wanted; the gradients are left in the parameters."""
        if self.replay is None:
            return self.written(x, y, share)
        self.calls += 1
        kind = len(x), share
        if self.captures >= MANY and 2 * self.captures > self.calls:
            self._give_up("It had to be captured anew for most batches: parameters, options or"
                          " shapes change all the time.")
        elif kind in self.kinds:
            return self.replay(x, y, share)
        else:
            before = _moved_by_a_pass(self.model, self.parameters)
            try:
                prediction = self.replay(x, y, share)
            except Exception as error:
                if error is self.error:                    # the callbacks' own
                    raise
                _put_back(before)
                self._give_up(f"{type(error).__name__}: {error}")
            else:
                self.kinds.add(kind)
                return prediction
        return self.written(x, y, share)                   # if this fails too, it fails alone

    def refresh(self) -> None:
        """Forget the captures if something that they rest on has changed since."""
        if self.replay is None:
            return
        hooked = next((name for name, p in self.parameters.items() if p.hooks), None)
        if hooked:
            self._give_up(f"{hooked} has a hook, which must see every gradient.")
            return
        now = _rested_on(self.model, self.parameters)
        if not _same(now, self.frozen):
            self.frozen, self.kinds = now, set()
            self.replay = captured(self.written)

    def _look(self, loss: Array) -> None:
        try:
            self.look(loss)
        except BaseException as error:
            self.error = error
            raise

    def _give_up(self, reason: str) -> None:
        self.replay = None
        if self.asked:
            warnings.warn(f"the training step is not compiled. {reason}", stacklevel=8)


# ---- what a capture rests on, and what a pass moves ----------------------------------------------


def _modules(model: Any) -> list[Any]:
    return [*model.named_modules().values()] if hasattr(model, "named_modules") else []


def _rested_on(model: Any, parameters: dict[str, Tensor]) -> list[Any]:
    """Everything besides arrays that a pass depends on: modes, options, what is trained."""
    found: list[Any] = []
    for p in parameters.values():
        found += (p, p.needs_grad)
    for module in _modules(model):
        found += (module, getattr(module, "training", None), *vars(module).values())
    return found


def _same(a: list[Any], b: list[Any]) -> bool:
    """Whether two such lists are one: the same objects, equal numbers and words."""
    return len(a) == len(b) and all(
        x is y or (type(x) is type(y) and isinstance(x, PLAIN) and x == y) for x, y in zip(a, b)
    )


Moved = tuple[list[tuple[Tensor, Any]], list[tuple[Array, Array]], list[tuple[Any, Any]]]


def _moved_by_a_pass(model: Any, parameters: dict[str, Tensor]) -> Moved:
    """Gradients, running statistics and random generators, each with its value."""
    buffers = [getattr(module, name) for module in _modules(model)
               for name in getattr(module, "buffers", ())]
    generators = model.generators().values() if hasattr(model, "generators") else ()
    return ([(p, p.grad) for p in parameters.values()],
            [(a, a.copy()) for a in buffers if a is not None],
            [(g, g.bit_generator.state) for g in generators])


def _put_back(moved: Moved) -> None:
    gradients, buffers, generators = moved
    for p, gradient in gradients:
        p.grad = gradient
    for array, values in buffers:
        array[...] = values
    for generator, state in generators:
        generator.bit_generator.state = state


# ---- whether a replay leaves nothing out ---------------------------------------------------------


def _made_of_known_parts(model: Any) -> bool:
    """Whether all modules, and the functions in them, are this package's or NumPy's."""
    modules = _modules(model)
    return bool(modules) and all(
        _is_known(type(module)) and all(map(_holds_only_known, vars(module).values()))
        for module in modules
    )


def _holds_only_known(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_holds_only_known, value))
    return not callable(value) or _is_known(value)


def _is_known(function: Any) -> bool:
    """Whether a function has no other effects than those that a capture notes."""
    if isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "kernel", function)       # an Op may hold anybody's
    home = str(getattr(function, "__module__", ""))
    return isinstance(function, np.ufunc) or home.startswith(("tinygrad_opt.nn.",
                                                              "tinygrad_opt.ops"))
