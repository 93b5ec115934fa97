"""Symbols: what plain NumPy code computes, left behind as an expression."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Any, TypeVar, overload

import numpy as np

from tinygrad_opt.ops import Op
from tinygrad_opt.recording import nested
from tinygrad_opt.typing import Array

__all__ = ["ABOUT_THE_SHAPE", "WRITING", "Symbol", "Trace", "Untraceable", "inside", "name_of",
           "plain"]


T = TypeVar("T")


class Untraceable(Exception):
    """The code does what an expression cannot repeat, such as a branch on an array's values."""


class Trace:
    """What happens when a function is called on symbols: it is computed, and written down.

    Attributes
    ----------
    keeps_primitives : bool
        Whether the fast forms of `tinygrad_opt.kernels` are calls, or their plain forms run.
    branches : list of (Symbol, bool)
        Single numbers whose truth the code has asked for, and what it was told: for numbers of
        another truth the code may do something else.
    frames : dict
        Of the functions that were called since the trace was made, if they are kept for the names
        of their variables.
    """

    keeps_primitives = False

    def __init__(self, keep_frames: bool = False) -> None:
        self.branches: list[tuple[Symbol, bool]] = []
        self.made = 0                                      # symbols so far
        self.frames: dict[int, FrameType] | None = {} if keep_frames else None
        self._outside = id(sys._getframe(1))               # the function that traces

    def symbol(self, name: str, value: object) -> Symbol:
        """A symbol for an array or a number."""
        return Symbol(value, self, name)

    def call(
        self, function: Callable[..., object], inputs: Sequence[object], attrs: Mapping[str, object]
    ) -> Symbol:
        """The result of ``function(*inputs, **attrs)``."""
        if "out" in attrs:
            raise Untraceable(f"{name_of(function)} writes into an array")
        with np.errstate(all="ignore"):
            value = function(*plain(inputs), **plain(attrs))
        if not isinstance(value, np.ndarray | np.generic | bool | int | float):
            raise Untraceable(f"{name_of(function)} makes a {type(value).__name__}")
        if isinstance(value, np.generic):                  # numbers stay weak beside arrays
            arrays = any(isinstance(x, np.ndarray) for x in plain(tuple(inputs)))
            value = np.asarray(value) if arrays else value.item()
        if self.frames is not None:
            frame = sys._getframe(1)
            while id(frame) != self._outside and frame.f_back is not None:
                self.frames[id(frame)] = frame
                frame = frame.f_back
        return Symbol(value, self, None, function, tuple(inputs), dict(attrs))

    def apply(self, op: Op, inputs: Sequence[object], attrs: Mapping[str, object]) -> Symbol:
        """The result of an operation of the table, as one call."""
        return self.call(op, inputs, attrs)

    def check(self, test: Callable[..., None], inputs: Sequence[object]) -> None:
        """Run a test of values, which makes nothing."""
        test(*plain(inputs))

    def put(self, x: Symbol, places: object, values: object) -> None:
        """``x.put(places, values)``, which changes x."""
        raise Untraceable("put() writes into an array")

    def decide(self, x: Symbol) -> bool:
        """The truth of a symbol, on which the code branches."""
        if any(s.ndim for s in inside([x])):
            raise Untraceable("it branches on the values of an array")
        answer = bool(x.array)
        self.branches.append((x, answer))
        return answer

    def name_locals(self) -> None:
        """Name what has no name after the variables that hold it where the code has ended."""
        for frame in reversed((self.frames or {}).values()):           # from the outermost inwards
            if frame.f_globals.get("__name__") in (__name__, "numpy.lib.mixins"):
                continue
            for name, x in frame.f_locals.items():
                if isinstance(x, Symbol) and x.trace is self and x.name is None:
                    x.name = name
        self.frames = None


class Symbol(np.lib.mixins.NDArrayOperatorsMixin):
    """An array or a number in code that is traced.

    Attributes
    ----------
    array : ndarray or number
        What it stands for.
    trace : Trace
    name : str or None
    function, inputs, attrs
        The call that made it; ``None, (), {}`` for what the code was given.
    serial : int
        Symbols of a trace are numbered as they are made.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt.symbols import text
    >>> trace = Trace()
    >>> g, z = trace.symbol("g", np.ones(3)), trace.symbol("z", np.zeros(3))
    >>> text(g * (1 - z * z))
    'g · (1 − z · z)'
    """

    __slots__ = ("array", "attrs", "function", "inputs", "name", "serial", "trace")

    array: Any
    inputs: tuple[Any, ...]

    # methods of arrays that write into them, and that look at their values
    WRITING = frozenset({"fill", "itemset", "partition", "put", "resize", "setfield", "setflags",
                         "sort", "byteswap"})
    READING = frozenset({"flat", "data", "ctypes", "tobytes", "tolist", "tofile", "item", "dump",
                         "dumps"})

    def __init__(
        self, value: object, trace: Trace, name: str | None = None,
        function: Callable[..., object] | None = None, inputs: tuple[object, ...] = (),
        attrs: Mapping[str, object] = {},
    ) -> None:
        self.array, self.trace, self.name = value, trace, name
        self.function, self.inputs, self.attrs = function, inputs, attrs
        self.serial = trace.made = trace.made + 1

    shape = property(lambda self: np.shape(self.array))
    ndim = property(lambda self: np.ndim(self.array))
    size = property(lambda self: np.size(self.array))
    dtype = property(lambda self: np.asarray(self.array).dtype)
    itemsize = property(lambda self: self.dtype.itemsize)
    T = property(lambda self: self.transpose())
    mT = property(lambda self: self.swapaxes(-1, -2))

    def __traced_array__(self) -> object:
        return self.array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: object) -> Symbol:
        return self.trace.call(operator.getitem, (self, index), {})

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: object, **attrs: object
    ) -> Symbol:
        if method == "at":
            raise Untraceable("ufunc.at() writes into an array")
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return self.trace.call(function, inputs, attrs)

    def __array_function__(
        self, func: Callable[..., object], types: object, args: Sequence[object],
        kwargs: Mapping[str, object],
    ) -> object:
        if func in ABOUT_THE_SHAPE:
            return func(*plain(args), **kwargs)
        plain_form = getattr(func, "plain", None)
        if plain_form is not None and not self.trace.keeps_primitives:
            return plain_form(*args, **kwargs)
        if func in WRITING or "out" in kwargs:
            raise Untraceable(f"{name_of(func)} writes into an array")
        return self.trace.call(func, args, dict(kwargs))

    def __apply_op__(self, op: Op, inputs: Sequence[object], attrs: Mapping[str, object]) -> object:
        return self.trace.apply(op, inputs, attrs)

    def __check__(self, test: Callable[..., None], inputs: Sequence[object]) -> None:
        self.trace.check(test, inputs)

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "put":
            return partial(self.trace.put, self)
        method = getattr(np.ndarray, name, None)
        if not callable(method) or name in self.WRITING | self.READING | {"view", "nonzero"}:
            raise Untraceable(f".{name} of an array")
        return lambda *args, **attrs: self.trace.call(method, (self, *args), attrs)

    def __bool__(self) -> bool:
        return self.trace.decide(self)

    def _refuse(self, *args: object) -> object:
        raise Untraceable("it asks for the values of an array")

    __array__ = __float__ = __int__ = __index__ = __iter__ = __setitem__ = _refuse
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        made = name_of(self.function) if self.function is not None else self.array
        return f"Symbol({self.name or made})"


WRITING = {np.copyto, np.put, np.putmask, np.place, np.put_along_axis, np.fill_diagonal}
ABOUT_THE_SHAPE = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type}


@overload
def plain(x: Symbol) -> Array: ...
@overload
def plain(x: T) -> T: ...
def plain(x: object) -> object:
    """The same, in lists, tuples and dicts too, with arrays and numbers for symbols."""
    return x.array if isinstance(x, Symbol) else nested(plain, x)


def name_of(function: object) -> str:
    """What a function is called: ``sum`` for np.sum, np.add.reduce, ndarray.sum and ops.sum."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        result: str = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}.get(
                   owner.__name__, owner.__name__)
        return result
    return function.name if isinstance(function, Op) else getattr(function, "__name__", "call")


def inside(
    ends: Iterable[object], stop: Callable[[Symbol], bool] = lambda s: False
) -> list[Symbol]:
    """All symbols in expressions, inputs before what is made of them."""
    order: dict[Symbol, None] = {}
    stack = [(x, False) for x in reversed(list(ends))]
    while stack:
        x, ready = stack.pop()
        if not isinstance(x, Symbol) or x in order:
            continue
        if ready or (stop(x) or not x.inputs):
            order[x] = None
            continue
        stack.append((x, True))
        members = [v for i in (*x.inputs, *x.attrs.values())
                   for v in (i if isinstance(i, list | tuple) else (i,))]
        stack += [(v, False) for v in reversed(members)]
    return list(order)
