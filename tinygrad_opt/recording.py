"""The state of the engine while it records: whether it does, in which dtype, and for whom."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

import numpy as np

from tinygrad_opt.typing import DTypeLike

if TYPE_CHECKING:
    from tinygrad_opt.ops import VJPs
    from tinygrad_opt.tensor import Tensor

__all__ = ["Tracer", "default_dtype", "no_grad", "set_default_dtype"]

tick = itertools.count().__next__          # one clock for creations and in-place changes alike
recording: ContextVar[bool] = ContextVar("recording", default=True)
# How many functions of tinygrad_opt.autograd are running: inside one, gradients stay recorded.
differentiating: ContextVar[int] = ContextVar("differentiating", default=0)

_default_dtype: np.dtype = np.dtype(np.float32)


def set_default_dtype(dtype: DTypeLike) -> None:
    """Choose the float dtype that Python numbers and lists become.

    Parameters
    ----------
    dtype : dtype-like
        A float dtype. The default is float32.

    Raises
    ------
    TypeError
        If it is not a float dtype.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> tg.set_default_dtype("float64")
    >>> tg.Tensor(1.5).dtype
    dtype('float64')
    >>> tg.set_default_dtype("float32")
    """
    global _default_dtype
    try:
        chosen = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"no dtype is called {dtype!r}; the float dtypes are float16, float32 and"
                        " float64") from None
    if chosen.kind != "f":
        raise TypeError(f"the default dtype must be a float dtype, got {chosen}")
    _default_dtype = chosen


def default_dtype() -> np.dtype:
    """The float dtype that Python numbers and lists become."""
    return _default_dtype


P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


class Setting(Generic[V]):
    """A block, or a decorated function, in which a context variable has a value of its own.

    The value belongs to the running thread or task, and the one before is restored when the block
    is left in whatever way.
    """

    def __init__(self, variable: ContextVar[V], value: V) -> None:
        self._variable, self._value = variable, value
        self._tokens: list[Token[V]] = []

    def __enter__(self) -> None:
        self._tokens.append(self._variable.set(self._value))

    def __exit__(self, *exc: object) -> None:
        self._variable.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            name = type(self).__name__
            raise TypeError(
                f"{name}() cannot decorate {function.__name__}: a generator or coroutine runs"
                f" after its call has returned. Use `with {name}():` inside it."
            )

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with Setting(self._variable, self._value):
                return function(*args, **kwargs)

        return wrapper


class no_grad(Setting[bool]):
    """Compute without recording: ``with no_grad():`` or ``@no_grad()``.

    Results made inside need no gradient and keep no graph. The state belongs to the running
    thread or task, and is restored when the block is left in whatever way.

    Raises
    ------
    TypeError
        When it decorates a generator or a coroutine function, whose body runs after the
        decorated call has returned; put the ``with`` inside.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     (w * 2).requires_grad
    False
    """

    def __init__(self) -> None:
        super().__init__(recording, False)


class with_grad(Setting[bool]):
    """Record even inside `no_grad`: differentiation needs the graph of what it calls."""

    def __init__(self) -> None:
        super().__init__(recording, True)


@contextmanager
def in_mode(model: object, training: bool) -> Iterator[None]:
    """The model in training or evaluation mode for a while, if it has such modes."""
    if not (hasattr(model, "named_modules") and hasattr(model, "train")):
        yield
        return
    before = [(module, module.training) for module in model.named_modules().values()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


# ---- what belongs together -----------------------------------------------------------------------

composites: deque[tuple[int, int, str]] = deque(maxlen=10_000)     # when each began, and ended


@contextmanager
def composite(name: str) -> Iterator[None]:
    """Let drawings show what is computed inside as one operation: a convolution, say."""
    start = tick()
    yield
    composites.append((start, tick(), name))


# ---- who else listens ----------------------------------------------------------------------------


class Tracer(Protocol):
    """Whatever a captured step must know of passes here: where a tracer is set, the engine lets
    it act instead of acting by itself. `tinygrad_opt.compiler` has the one that captures, and
    `tinygrad_opt.nonfinite` one that only looks on."""

    def compute(
        self, function: Callable[..., object], inputs: Iterable[object], attrs: dict[str, object]
    ) -> tuple[Any, object]:
        """The value of an Op or a NumPy function, and what a kernel shares with its VJPs."""

    def vjps(self, z: Tensor) -> VJPs:
        """The VJPs of the operation that made z, written down when they are called."""

    def lift(self, array: R) -> R:
        """An array that the step has computed, as whoever is outside the engine may use it."""

    def read(self, owner: object, name: str, value: R) -> R:
        """Someone looks at an attribute: refuse, note it, or give what may be looked at."""

    def act(self, action: Callable[..., None], args: tuple[object, ...]) -> None:
        """Do something that is not a computation, now and at each replay."""

    def refuse(self, error: Callable[[object], Exception], x: object) -> None:
        """Raise the error about x, if what is being done to it could not be done again."""


tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)


def observed(x: object, name: str, value: R) -> R:
    """An attribute that Python branches on: once it has another value, a captured step is stale."""
    program = tracer.get()
    return value if program is None else program.read(x, name, value)


def lifted(array: R) -> R:
    """An array that was computed, for whoever called the engine."""
    program = tracer.get()
    return array if program is None else program.lift(array)


def effect(action: Callable[..., None], *args: object) -> None:
    """Do something that is not a computation, now and at each replay of a captured step."""
    program = tracer.get()
    if program is None:
        action(*args)
    else:
        program.act(action, args)


def unrepeatable(error: Callable[[object], Exception], x: object) -> None:
    """Something that a replay would not do again: where a step is captured, an error about x."""
    program = tracer.get()
    if program is not None:
        program.refuse(error, x)


def nested(change: Callable[[object], object], x: object) -> object:
    """A list, tuple or dict with its members changed; anything else as it is."""
    if isinstance(x, list | tuple):
        kind: Callable[..., object] = type(x)
        members = [change(v) for v in x]
        return kind(*members) if hasattr(x, "_fields") else kind(members)
    return {k: change(v) for k, v in x.items()} if isinstance(x, dict) else x
