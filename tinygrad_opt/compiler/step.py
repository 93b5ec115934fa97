"""A training step captured once and replayed."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from typing import Any, Generic, ParamSpec, TypeAlias, TypeGuard, TypeVar, overload

import numpy as np

from tinygrad_opt.compiler.bound import Bound, copied
from tinygrad_opt.compiler.capture import Recorder
from tinygrad_opt.compiler.program import Program, equal
from tinygrad_opt.errors import CaptureError
from tinygrad_opt.hints import answers
from tinygrad_opt.markup import listing
from tinygrad_opt.recording import default_dtype, nested, recording, tracer
from tinygrad_opt.tensor import Tensor, differentiating
from tinygrad_opt.typing import Array

__all__ = ["CompiledStep", "compile"]

Key: TypeAlias = tuple[object, ...]             # what a program is made for
KEPT = 8                                     # programs a step keeps, the latest used
SETTLED = 2                                  # calls after which a step has set what it sets
CHECKED = 3                                  # calls of each kind that check=True compares


P = ParamSpec("P")
R = TypeVar("R")


class CompiledStep(Generic[P, R]):
    """What `compile` makes of a function.

    Attributes
    ----------
    programs : dict
        The programs that are kept, by the kinds of their arguments, the latest used last.
    """

    def __init__(self, function: Callable[P, R], check: bool | int = False,
                 backend: str = "numpy") -> None:
        functools.update_wrapper(self, function)
        self.backend, self._bound = backend, _backend(backend)
        self.check = CHECKED if check is True else int(check)
        self._checked: dict[Key, int] = {}   # how many calls have been checked, by kind
        self.name = getattr(function, "__name__", "the step")
        self.function: Callable[..., R] = function
        self.programs: OrderedDict[Key, Bound] = OrderedDict()
        self._captures = 0
        self._settling: dict[Key, int] = {}  # how many calls in a row have left things behind
        self._lock = threading.RLock()

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if tracer.get() is not None or differentiating.get():   # it is a part of something larger
            return self.function(*args, **kwargs)
        values: list[Array | np.generic] = []
        try:
            kinds = tuple([_kind(x, values) for x in args])
            key = recording.get(), default_dtype(), kinds, _kind(kwargs, values) if kwargs else ()
        except _Computed:                                  # of what others have begun
            return self.function(*args, **kwargs)
        with self._lock:                                   # its memory serves one call at a time
            bound = self.programs.get(key)
            if bound is None or not bound.is_current():
                return self._capture(key, args, kwargs)
            if self.check and self._checked.get(key, 0) < self.check:
                return self._compared(key, args, kwargs, bound.preview(values))
            self.programs.move_to_end(key)
            if self._settling:
                self._settling.pop(key, None)
            return bound.run(values)                       # type: ignore[no-any-return]

    def _compared(
        self, key: Key, args: Iterable[object], kwargs: Mapping[str, object], replayed: object
    ) -> R:
        """Run the function as it is written, and compare it with what a replay does instead."""
        before = self.programs[key].program
        result = self._capture(key, args, kwargs)
        self._checked[key] = self._checked.get(key, 0) + 1
        if key not in self.programs:                       # it has left things behind
            return result
        found = before.difference(self.programs[key].program)
        if not found and replayed is not None and not equal(replayed, result):
            found = f"a replay returns {replayed} and the function {result}"
        if found:
            raise CaptureError(
                f"{self.name} does not do the same at each call: {found}. Numbers and arrays that"
                " Python and NumPy make by themselves stay what they were at the capture. Pass them"
                " in as arrays, compute them from Tensors, or do without the decorator."
            )
        return result

    def _capture(self, key: Key, args: Iterable[object], kwargs: Mapping[str, object]) -> R:
        """Run the function as it is written, and keep the program that it made."""
        recorder = Recorder()
        program, result = self._recorded(recorder, args, kwargs)
        self.programs.pop(key, None)
        kept = recorder.release()
        stale = next((x for x, name, value in program.seen if getattr(x, name) != value), None)
        left = self._settling.pop(key, 0)
        if kept or stale:
            self._settling[key] = left + 1
        if kept and left:
            raise CaptureError(
                "what a compiled step computes is kept outside of it, where it would stay what it"
                f" was at the capture ({kept}). Return it from the step, and pass it in if the next"
                " call needs it; or do without the decorator."
            )
        if stale and left == SETTLED:
            what = getattr(stale, "changed", stale)
            raise CaptureError(
                f"{self.name} changes {what} at each call, so that no call can be replayed"
                " for the next one. Keep it outside of the model, as an array that is passed in and"
                " returned; or do without the decorator."
            )
        if not kept:                                       # a first call may make what stays
            self._keep(key, program)
        return result

    def _recorded(self, recorder: Recorder, args: Iterable[object], kwargs: Mapping[str, object]
                  ) -> tuple[Program, R]:
        """The program of a call, and its result; nothing else that it has made is held."""
        token = tracer.set(recorder)
        try:
            given = [_fed(x, name, recorder) for x, name in zip(args, self._names())]
            named = {name: _fed(x, name, recorder) for name, x in kwargs.items()}
            result = self.function(*given, **named)
        except Exception:
            if recorder.refusal is None:
                raise
        finally:
            tracer.reset(token)
        if recorder.refusal is not None:                   # which the function or NumPy has caught
            raise recorder.refusal
        program = recorder.program(result)
        return program, copied(program.result, recorder.arrays)        # type: ignore[return-value]

    def _keep(self, key: Key, program: Program) -> None:
        """Make a program ready; of too many, forget the one used longest ago."""
        self.programs[key] = self._bound(program)
        self._captures += 1
        if len(self.programs) > KEPT:
            self.programs.popitem(last=False)
            if self._captures == KEPT + 1:
                warnings.warn(
                    f"{self.name} was captured for more than {KEPT} kinds of arguments: shapes,"
                    " dtypes or numbers change from call to call. Pass numbers as arrays, and"
                    " batches of one size (drop_last=True).",
                    stacklevel=4,
                )

    def __reduce__(self) -> tuple[object, ...]:
        """A copy captures for itself: programs hold memory, and what they were captured from."""
        return type(self), (self.function, self.check, self.backend)

    def _names(self) -> Iterator[str]:
        """What listings call the arguments that are given by position."""
        try:
            parameters = list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):                    # written in C
            parameters = []
        by_place = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
        plain = [p.name for p in parameters if p.kind in by_place]
        return itertools.chain(plain, itertools.repeat("argument"))

    def __repr__(self) -> str:
        return f"<compiled step: {self.name}, {len(self._lines())} calls>"

    def _lines(self) -> list[str]:
        """The latest program, a line for each call; none before the first one."""
        return next(reversed(self.programs.values())).program.lines() if self.programs else []

    def _repr_html_(self) -> str:
        lines = self._lines()
        if not lines:
            return f"<p>{escape(self.name)} has not been called yet.</p>"
        return f"<p>{escape(self.name)}, {len(lines)} calls:</p>{listing(chr(10).join(lines))}"

    def to_javascript(self, **others: CompiledStep[..., Any]) -> str:
        """The latest program as a JavaScript module, which goes on from the values of now.

        Parameters
        ----------
        **others : CompiledStep
            Other captured functions, such as ``predict=``; they become functions of the module
            under their names, and share parameters with the step.

        Returns
        -------
        str
            An ES module without imports. Its default export has ``step(data, rates)``, which
            returns what the step returns, and the others; `data` holds the arguments in order, or
            by name, row by row, and `rates` changes options of the optimizer (``{lr: 0.1}``; the
            rate may be a function of the step count). ``init()`` begins anew, ``memory`` is the one
            typed array in which everything lies, ``slots`` tells where, and ``program()`` makes
            another instance.

        Raises
        ------
        CaptureError
            If the step has not been called, no longer holds, or does what has no words in
            JavaScript: random numbers, running statistics, kernels of one's own. It is named.

        Notes
        -----
        Losses agree with NumPy's to rounding: single operations are rounded as NumPy rounds them,
        sums are added up in double precision. Values that labels and probabilities are checked for
        are checked no more, but for places out of range.

        Examples
        --------
        >>> import numpy as np
        >>> import tinygrad_opt as tg
        >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
        >>> step = tg.compile(lambda x: (x @ w).sum())
        >>> _ = step(np.ones((3, 2), np.float32))
        >>> "export default program();" in step.to_javascript()
        True
        """
        from tinygrad_opt.compiler.javascript import module
        programs = {}
        steps: dict[str, CompiledStep[..., Any]] = {"step": self, **others}
        for name, step in steps.items():
            if not step.programs:
                raise CaptureError(f"{step.name} has not been called yet: call it once, so that"
                                   " there is a program")
            bound = next(reversed(step.programs.values()))
            if not bound.is_current():
                raise CaptureError(f"what {step.name} was captured from has changed since:"
                                   " an array, a module or an option was replaced. Call it once"
                                   " more")
            programs[name] = bound.program
        return module(self.name, programs)

    def explain(self, repeats: int = 200) -> str:
        """The latest program as a listing: each call, what it makes, and its share of the time.

        A native step shows its loops, and which calls of the program each of them does.

        The calls are run again to be timed, on the arguments of the latest replay; effects are
        not, so that nothing is trained.
        """
        if not self.programs:
            raise CaptureError(f"{self.name} has not been called yet")
        with self._lock, np.errstate(all="ignore"):
            return next(reversed(self.programs.values())).listing(repeats)


@overload
def compile(
    function: None = None, *, check: bool | int = ..., backend: str = ...
) -> Callable[[Callable[P, R]], CompiledStep[P, R]]: ...
@overload
def compile(
    function: Callable[P, R], *, check: bool | int = ..., backend: str = ...
) -> CompiledStep[P, R]: ...
@answers
def compile(
    function: Callable[P, R] | None = None, *, check: bool | int = False, backend: str = "numpy"
) -> CompiledStep[P, R] | Callable[[Callable[P, R]], CompiledStep[P, R]]:
    """Capture a training step at its first call, and replay it from then on.

    Parameters
    ----------
    function : callable
        Takes arrays, Tensors, numbers, or dicts, lists and tuples of them, and returns such, or
        None. Without it, ``@compile(check=True)`` gives a decorator.
    check : bool or int
        Run the first calls after the capture (True: three) as they are written too, and compare
        what they do with the captured program. A `CaptureError` names the first thing that
        differs: a number, an array, a call, a result.
    backend : {"numpy", "native"}
        "native" makes the captured program machine code: NumPy's calls become loops that are done
        together, and the optimizer's step one loop over its vectors. It needs llvmlite, takes some
        tenths of a second to compile, and keeps what was compiled in the user's folder for caches
        (or TINYGRAD_OPT_CACHE), by which the next process starts at once.

    Returns
    -------
    CompiledStep
        Called like the function; the same numbers, to the bit (native: to rounding, about 1e-6
        in float32). ``.explain()`` lists the program.

    Raises
    ------
    CaptureError
        When called, if a replay could not do what the function does: it looks at values
        (``float(loss)``, ``if loss > 1``, ``t.data``, ``f"{loss:.3f}"``), reads a ``.grad`` that
        holds more than its own single ``backward()``, makes a shape that depends on values
        (``x[x > 0]``), has a hook that returns nothing, or returns other objects.
    ImportError
        For the native backend without llvmlite.

    Notes
    -----
    Whatever is computed from Tensors and from the arguments is computed by every call; arrays
    outside that are written in place (``buffer[...] = batch``) are read anew. One program is kept
    for each combination of shapes, dtypes, layouts and numbers. These cannot be noticed, and stay
    what they were at the capture; ``check=True`` finds them where they change:

    - Python's own numbers (a counter, a rate in a closure, ``opt.lr``), and branches on them or
      on arrays outside;
    - what NumPy makes by itself inside the step: ``np.random``, ``buffer[indices]``,
      ``np.exp(buffer)``;
    - which array or function a name outside stands for, and whether two arguments are one object;
    - ``print``, files, and other effects that are not the engine's.

    Optimizers, schedules and random operations move on at each replay. Tensors whose array was
    replaced, that were frozen, unfrozen or given hooks, and whatever was replaced in a module (a
    layer, a parameter, an option, its mode) are noticed, and the step is captured anew.

    Results are copies without a graph, gradients are arrays also after ``create_graph=True``, and
    a replay that ends in an error leaves no half-written ``.grad``: it is None. Arguments are
    copied into memory of their layout, gaps (``x[:, ::2]``) included. Calls from several threads
    wait for each other. Inside another compiled step, in a function given to ``tg.grad`` and its
    like, and for Tensors with a graph among the arguments, the function runs as it is written.

    Native steps keep all of this. What they leave to NumPy (random numbers, gathering, whatever
    comes from outside this package) is a call between two compiled stretches. They pay most for
    small layers, where calls cost more than the work, and for what goes entry by entry; a step that
    is a few large products gains least. They give no warnings about floating-point errors.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> @tg.compile
    ... def step(x):
    ...     loss = ((x @ w) ** 2).mean()
    ...     w.grad = None
    ...     loss.backward()
    ...     return loss
    >>> x = np.ones((3, 2))
    >>> float(step(x)), float(step(2 * x))
    (9.0, 36.0)
    """
    if function is None:
        return lambda f: compile(f, check=check, backend=backend)
    if not callable(function):
        raise TypeError(f"compile() takes a function, got {type(function).__name__}: {function!r}")
    return CompiledStep(function, check, backend)


def _backend(name: str) -> Callable[[Program], Bound]:
    """What makes a program ready to run."""
    if name == "native":
        from tinygrad_opt.compiler.native import Native, llvm_binding
        llvm_binding()                                     # it may have to be installed
        return Native
    if name != "numpy":
        raise ValueError(f"backend must be 'numpy' or 'native', got {name!r}")
    return Bound


# ---- small things --------------------------------------------------------------------------------


def _is_fed(x: object) -> TypeGuard[Tensor | Array | np.generic]:
    """Whether an argument's values are copied in at each call; what comes most often, soonest."""
    return (type(x) is np.ndarray or (type(x) is Tensor and not x._needs_grad)
            or isinstance(x, np.ndarray | np.generic))


def _fed(x: object, name: str, recorder: Recorder) -> Any:
    """The same, in lists, tuples and dicts too, with what stands for its arrays."""
    return recorder.feed(x, name) if _is_fed(x) else nested(lambda v: _fed(v, name, recorder), x)


def _kind(x: object, values: list[Array | np.generic]) -> object:
    """What a program depends on in its arguments; the values that it is fed are put aside."""
    if _is_fed(x):
        array = x._array if type(x) is Tensor else x
        values.append(array)
        return array is x, array.shape, array.dtype, array.strides
    if isinstance(x, list | tuple):
        return type(x), tuple([_kind(v, values) for v in x])
    if isinstance(x, dict):
        return tuple([(k, _kind(v, values)) for k, v in x.items()])
    if type(x) is Tensor and x.op is not None:
        raise _Computed
    if isinstance(x, float):
        return type(x), x.hex()                            # 0.0 and -0.0 differ, nan is nan
    return (type(x), x) if x is None or isinstance(x, int | str | bytes) else _Same(x)


class _Computed(Exception):
    """There is a Tensor with a graph among the arguments."""


class _Same:
    """A key that is equal for the same object only, and keeps it alive."""

    def __init__(self, x: object) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.x is self.x

    def __hash__(self) -> int:
        return id(self.x)
