"""Look inside a kernel: which NumPy functions it is made of.

The rule book's kernels are plain NumPy code. Run once on `Traced` arrays, such a kernel lists the
calls that it makes; a compiled program makes these calls itself, so that their results get
memory that stays, and what two kernels compute alike is computed once. What cannot be listed
faithfully (a branch on values, a loop over entries) raises `Opaque` and stays one call.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt.compiler.bound import put
from tinygrad_opt.tensor import nested

__all__ = ["ABOUT_THE_SHAPE", "Opaque", "Step", "Traced", "steps_of"]


class Opaque(Exception):
    """This kernel can only be called as a whole."""


class Step(NamedTuple):
    """A call that a kernel made; `made` is None for a check, which makes nothing."""

    kernel: Callable[..., Any]
    inputs: tuple[Any, ...]
    attrs: dict[str, Any]
    made: np.ndarray | None


def steps_of(
    kernel: Callable[..., Any], inputs: tuple[Any, ...], attrs: dict[str, Any]
) -> tuple[list[Step], np.ndarray]:
    """The calls that a kernel makes on these arrays, and its result.

    Raises
    ------
    Opaque
        If it does what a list of calls cannot repeat.
    """
    steps: list[Step] = []
    modes = np.geterr()
    tracing = Tracing(steps, modes)
    result = kernel(*[tracing.traced(x) for x in inputs], **attrs)
    if not isinstance(result, Traced) or not steps:
        raise Opaque
    return steps, result.array


class Tracing:
    """The list that grows while a kernel runs."""

    def __init__(self, steps: list[Step], modes: Any) -> None:
        self.steps, self.modes = steps, modes

    def traced(self, x: Any) -> Any:
        """An array that writes down what is done with it; anything else as it is."""
        return Traced(x, self) if isinstance(x, np.ndarray) else x

    def call(self, kernel: Callable[..., Any], inputs: Any, attrs: Any) -> Traced:
        """Make a call and write it down."""
        if np.geterr() != self.modes:                      # a replay would warn where this does not
            raise Opaque
        out = attrs.pop("out", None)
        if isinstance(out, tuple):
            (out,) = out
        inputs, attrs = _arrays(inputs), _arrays(attrs)
        made = kernel(*inputs, **attrs)
        if not isinstance(made, np.ndarray | np.generic):
            raise Opaque
        made = np.asarray(made)
        if out is not None:                                # in place: a new value of that array
            self._own(out, inputs)
            if made.shape != out.shape or made.dtype != out.dtype:
                raise Opaque
            self.steps.append(Step(kernel, inputs, attrs, made))
            out.array = made
            return out
        self.steps.append(Step(kernel, inputs, attrs, made))
        return Traced(made, self)

    def put(self, x: Traced, places: Any, values: Any) -> None:
        """x.put(places, values), as a new value of x."""
        self._own(x, ())
        inputs = _arrays((x, places, values))
        made = put(*inputs)
        self.steps.append(Step(put, inputs, {}, made))
        x.array = made

    def _own(self, x: Any, inputs: Any) -> None:
        """Refuse to change what the kernel did not make, or what is seen under another name."""
        made = [step.made for step in self.steps]
        if not isinstance(x, Traced) or not any(m is x.array for m in made):
            raise Opaque
        if any(m is not None and m is not x.array and np.may_share_memory(m, x.array)
               for m in made):
            raise Opaque


class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """An array inside a kernel that is looked into."""

    def __init__(self, array: np.ndarray, tracing: Tracing) -> None:
        self.array, self.tracing = array, tracing

    shape = property(lambda self: self.array.shape)
    ndim = property(lambda self: self.array.ndim)
    size = property(lambda self: self.array.size)
    dtype = property(lambda self: self.array.dtype)
    itemsize = property(lambda self: self.array.itemsize)
    T = property(lambda self: self.transpose())

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Traced:
        return self.tracing.call(operator.getitem, (self, index), {})

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **attrs: Any) -> Traced:
        if method == "at":
            raise Opaque
        kernel = ufunc if method == "__call__" else getattr(ufunc, method)
        return self.tracing.call(kernel, inputs, attrs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Traced:
        if func in ABOUT_THE_SHAPE:
            return func(*_arrays(args), **kwargs)
        if func in _WRITING or "out" in kwargs:
            raise Opaque
        return self.tracing.call(func, args, dict(kwargs))

    def __apply_op__(self, op: Any, inputs: Any, attrs: Any) -> Any:
        return op.kernel(*inputs, **attrs)

    def __check__(self, test: Callable[..., None], inputs: Any) -> None:
        inputs = _arrays(inputs)
        test(*inputs)
        self.tracing.steps.append(Step(test, inputs, {}, None))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(np.ndarray, name, None)
        if name == "put":
            return lambda places, values: self.tracing.put(self, places, values)
        if not callable(method) or name in _CHANGING or name.startswith("__"):
            raise AttributeError(name) if name.startswith("__") else Opaque
        return lambda *args, **attrs: self.tracing.call(method, (self, *args), attrs)

    def _refuse(self, *args: Any) -> Any:
        raise Opaque

    __array__ = __bool__ = __float__ = __int__ = __index__ = __iter__ = __setitem__ = _refuse


_CHANGING = {"fill", "itemset", "partition", "resize", "setfield", "setflags", "sort", "byteswap",
             "tofile", "tolist", "tobytes", "item", "dump", "dumps", "view", "nonzero"}
_WRITING = {np.copyto, np.put, np.putmask, np.place, np.put_along_axis, np.fill_diagonal}
ABOUT_THE_SHAPE = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type}


def _arrays(x: Any) -> Any:
    """A nest with the arrays of what is traced."""
    return x.array if isinstance(x, Traced) else nested(_arrays, x)
