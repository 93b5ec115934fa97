"""One batch forward and backward, as it is written or captured and replayed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

from tinygrad_opt.compiler import CompiledStep, equal
from tinygrad_opt.compiler import compile as captured
from tinygrad_opt.errors import (
    CaptureError,
    GraphError,
    caller_line,
    changed_in_place,
    subject,
)
from tinygrad_opt.nn.module import Contents
from tinygrad_opt.recording import effect, observed, tracer
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, Loss, Model

__all__ = ["BatchGradients", "Halt", "moved_by_a_pass", "put_back"]

MANY = 8                                         # captures, after which they must be worth it
STATE = attrgetter("_changed", "_needs_grad", "_hooks")


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
    compiled : bool, None, "check" or "native"
        True: captured for each kind of batch; "native": as machine code; None: where model and
        loss are made of this package's parts alone, of which a replay leaves nothing out; False:
        never; "check": as True, and each batch is run as it is written too, and compared.
    predicts : bool
        Whether the predictions are wanted.
    """

    def __init__(
        self, model: Model, loss: Loss, parameters: dict[str, Tensor],
        look: Callable[[Array], None], compiled: bool | str | None, predicts: bool,
    ) -> None:
        self.model, self.loss, self.parameters = model, loss, parameters
        self.look, self.predicts = look, predicts
        self.asked, self.checks = bool(compiled), compiled == "check"
        known = _is_known(loss) and _made_of_known_parts(model)
        self.replay: CompiledStep[..., object] | None = None
        heard = tracer.get() is not None                   # as it is written, by detect_nonfinite
        if not heard and (self.asked or (compiled is None and known)):
            backend = "native" if compiled == "native" else "numpy"
            self.replay = captured(self.written, backend=backend)
        self.calls = self.captures = 0
        self.before: Moved | None = None                   # what a capture has found
        self.losses: list[Array] = []                      # of this batch, each time it was run
        self.witness: Callable[..., object] | None = None    # sees the next pass, before it is gone

    def written(self, x: Array, y: Array, share: float) -> object:
        """The pass itself; `share` is what the batch counts in the step's loss."""
        if self.replay is not None:
            self.captures += 1
            self.before = moved_by_a_pass(self.model, self.parameters)
            observed(Contents((self.loss,)), "unchanged", True)
        prediction = self.model(x)
        loss = self.loss(prediction, y)
        if type(loss) is not Tensor:
            raise TypeError(f"the loss function must return a Tensor, got {type(loss).__name__}:"
                            " without its graph there are no gradients.")
        if loss.size != 1:
            loss.item()                                    # says what is wrong
        effect(self._look, loss._array)
        if share == 1:
            loss.backward()
        else:
            loss.backward(np.full(loss.shape, share))
        if self.witness is not None:
            witness, self.witness = self.witness, None
            witness(prediction, loss)
        return prediction if self.predicts else None

    def __call__(self, x: Array, y: Array, share: float = 1.0) -> object:
        """The prediction, if it is wanted; the gradients are left in the parameters."""
        self.before, self.losses = None, []
        if self.replay is None or self.witness is not None:
            return self._as_written(x, y, share)
        self.calls += 1
        hooked = next((name for name, p in self.parameters.items() if p._hooks), None)
        if hooked:
            self._give_up(f"{hooked} has a hook, which must see every gradient.")
        elif self.captures >= MANY and 2 * self.captures > self.calls:
            self._give_up("It had to be captured anew for most batches: parameters, options or"
                          " shapes change all the time.")
        else:
            try:
                return (self._compared if self.checks else self.replay)(x, y, share)
            except Exception as error:
                wrong = isinstance(error, GraphError) and not isinstance(error, CaptureError)
                if self.before is None or wrong or self.checks:
                    raise                                  # however it is run, this would happen
                put_back(self.before)
                self._give_up(f"{type(error).__name__}: {error}")
        return self.written(x, y, share)                   # if this fails too, it fails alone

    def _as_written(self, x: Array, y: Array, share: float) -> object:
        """Run the batch without the replay, which does the same to the bit."""
        replay, self.replay = self.replay, None
        try:
            return self.written(x, y, share)
        finally:
            self.replay = replay

    def _compared(self, x: Array, y: Array, share: float) -> object:
        """Run the batch captured or replayed, then from the same start as it is written."""
        for p in self.parameters.values():
            p.grad                                         # noqa: B018  moves it out of a program
        before = moved_by_a_pass(self.model, self.parameters)
        replayed = self._left(self.replay(x, y, share))    # type: ignore[misc]
        put_back(before)
        prediction = self._as_written(x, y, share)
        for name, value in self._left(prediction).items():
            if not equal(replayed[name], value):
                raise CaptureError(
                    f"the compiled training step does not do what is written: {name} is"
                    f" {replayed[name]}, and {value} where the model and the loss are run. Numbers"
                    " and arrays that Python and NumPy make by themselves stay what they were at"
                    " the capture: pass them in as arrays, or train with compile=False."
                )
        return prediction

    def _left(self, prediction: object) -> dict[str, object]:
        """What a pass leaves behind, by name."""
        moved = moved_by_a_pass(self.model, self.parameters)
        return {"the loss": self.losses[-1], "the prediction": prediction,
                **{name: value for name, (_, value) in moved.items()}}

    def _look(self, loss: Array) -> None:
        """Show the loss, once for each batch; a replay cannot follow what is changed by that."""
        self.losses.append(loss.copy())
        if len(self.losses) > 1:
            return
        leaves = []
        if self.replay is not None and self.before is None:
            running = next(reversed(self.replay.programs.values()))
            leaves = [t for t, _ in running.program.leaves]
        states = [*map(STATE, leaves)]
        try:
            self.look(loss)
        except BaseException:
            self.before = None                             # theirs: nothing is tried again
            raise
        for t, state in zip(leaves, states):
            if t._changed != state[0]:
                raise changed_in_place(t)
            if STATE(t) != state:
                raise GraphError(f"{subject(t)} was frozen, unfrozen or given a hook in on_loss,"
                                 " which a compiled step cannot follow. Do so in on_step, or train"
                                 " with compile=False.")

    def _give_up(self, reason: str) -> None:
        if self.checks:
            raise CaptureError(f"the training step is not compiled. {reason}")
        self.replay = None
        if self.asked:
            warnings.warn_explicit(f"the training step is not compiled. {reason}", UserWarning,
                                   *caller_line())


# ---- what a pass moves ---------------------------------------------------------------------------


Moved: TypeAlias = dict[str, tuple[Any, Any]]              # where it is, and what it was


def _modules(model: object) -> list[object]:
    return [*model.named_modules().values()] if hasattr(model, "named_modules") else []


def moved_by_a_pass(model: object, parameters: dict[str, Tensor]) -> Moved:
    """Gradients, running statistics and random generators, by name, each with its value."""
    buffers = [getattr(module, name) for module in _modules(model)
               for name in getattr(module, "buffers", ())]
    generators = model.generators().values() if hasattr(model, "generators") else ()
    return {
        **{f"the gradient of {n}": (p, p._gradient) for n, p in parameters.items()},
        **{f"a buffer of shape {a.shape}, number {i}": (a, a.copy())
           for i, a in enumerate(buffers) if a is not None},
        **{f"random generator {i}": (g, g.bit_generator.state) for i, g in enumerate(generators)}}


def put_back(moved: Moved) -> None:
    for place, value in moved.values():
        if isinstance(place, Tensor):
            place._gradient = value
        elif isinstance(place, np.random.Generator):
            place.bit_generator.state = value
        else:
            place[...] = value


# ---- whether a replay leaves nothing out ---------------------------------------------------------


def _made_of_known_parts(model: object) -> bool:
    """Whether all modules, and the functions in them, are this package's or NumPy's."""
    modules = _modules(model)
    return bool(modules) and all(
        _is_known(type(module)) and all(map(_holds_only_known, vars(module).values()))
        for module in modules
    )


def _holds_only_known(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_holds_only_known, value))
    return not callable(value) or _is_known(value)


def _is_known(function: object) -> bool:
    """Whether a function has no other effects than those that a capture notes."""
    if isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "kernel", function)       # an Op may hold anybody's
    home = str(getattr(function, "__module__", ""))
    return isinstance(function, np.ufunc) or home.startswith(("tinygrad_opt.nn.",
                                                              "tinygrad_opt.ops"))
