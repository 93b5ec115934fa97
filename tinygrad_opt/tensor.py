"""Tensors, the graph that they record, and the walk that takes gradients back through it.

A `Tensor` is an array that remembers how it was made: the operation (`op`), what it was
applied to (`inputs`, `attrs`) and when (`serial`, read off one clock). Nodes point at their
inputs only, so a graph frees itself when its end is let go of; and since inputs are always
older than what is made from them, sorting by `serial` is a topological sort.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from contextvars import ContextVar
from operator import attrgetter, is_
from typing import Any

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.errors import (
    GraphError,
    ShapeError,
    captured_hook,
    captured_read,
    kernel_error,
    no_rule,
    subject,
)
from tinygrad_opt.methods import Methods
from tinygrad_opt.ops import Op

__all__ = ["Tensor", "apply", "history", "no_grad", "set_default_dtype", "walk"]

tick = itertools.count().__next__          # one clock for creations and in-place changes alike
recording: ContextVar[bool] = ContextVar("recording", default=True)
# How many functions of tinygrad_opt.autograd are running: inside one, gradients stay recorded.
differentiating: ContextVar[int] = ContextVar("differentiating", default=0)
# What writes down the kernel calls of a step that is being captured (tinygrad_opt.compiler).
tape: ContextVar[Any] = ContextVar("tape", default=None)
ndarray = np.ndarray
_AS_IT_IS: Any = nullcontext()

# What NumPy's functions do when they meet a Tensor; tinygrad_opt.numpy_functions fills it.
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
# What a notebook shows of a Tensor, by MIME type; the package sets it to a drawing of its graph.
notebook_view: Callable[[Any], dict[str, Any]] | None = None

_default_dtype = np.dtype(np.float32)

# glibc hands freed memory back to the system at every step and takes it again page by page,
# which doubles the time of a small training step. Once a block of just under 32 MiB has been
# freed it keeps that much (mallopt(3), "dynamic mmap threshold"). No page of it is touched.
np.empty((1 << 25) - (1 << 13), np.uint8)


def set_default_dtype(dtype: Any) -> None:
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
    chosen = np.dtype(dtype)
    if chosen.kind != "f":
        raise TypeError(f"the default dtype must be a float dtype, got {chosen}")
    _default_dtype = chosen


class no_grad:
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

    _records = False

    def __init__(self) -> None:
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        self._tokens.append(recording.set(self._records))

    def __exit__(self, *exc: object) -> None:
        recording.reset(self._tokens.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"no_grad() cannot decorate {function.__name__}: a generator or coroutine runs"
                " after its call has returned. Use `with no_grad():` inside it."
            )

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapper


class with_grad(no_grad):
    """Record even inside `no_grad`: differentiation needs the graph of what it calls."""

    _records = True


class Tensor(Methods):
    """An array that remembers how it was computed, so that gradients can flow back.

    Parameters
    ----------
    data : array-like
        A float array keeps its dtype; Python numbers and lists take the default dtype
        (float32). Integer and boolean arrays are kept as they are unless `requires_grad`.
    requires_grad : bool
        Whether ``backward()`` leaves a gradient in ``.grad``. Such a Tensor owns a copy of
        `data`; one that does not wraps the array it is given.
    dtype : dtype-like, optional
        Convert to this dtype.
    name : str, optional
        What error messages and drawings call it.

    Attributes
    ----------
    data : ndarray
        The values. Assigning re-points the Tensor at other values of the same shape.
    grad : ndarray or None
        ∂L/∂self after ``L.backward()``: added up over passes on leaves, set afresh by each pass
        on computed Tensors. On leaves a Tensor after ``backward(create_graph=True)``.
    requires_grad : bool
        Whether gradients flow here.
    op, inputs, attrs
        How it was made; ``None, (), {}`` for a leaf or a constant.

    Raises
    ------
    TypeError
        For data that are not real numbers, or for `requires_grad` with an integer `dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_opt as tg
    >>> x = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="x")
    >>> loss = (np.square(x) * 3).sum()
    >>> loss.backward()
    >>> x.grad
    array([[ 6., 12.]], dtype=float32)
    """

    __slots__ = (
        "__weakref__", "array", "attrs", "changed", "gradient", "hooks", "inputs", "name",
        "needs_grad", "op", "serial", "shared", "spent",
    )

    array: ndarray             # the values; `data` is the same behind a checked door
    attrs: dict[str, Any]
    changed: int               # when the values were last written
    gradient: Any              # what `grad` holds
    hooks: list[Callable[[Any], Any]] | None
    inputs: tuple[Any, ...]
    name: str | None
    needs_grad: bool           # what `requires_grad` reads
    op: Op | None
    serial: int                # when it was made
    shared: Any                # what its kernel has computed for the rules too
    spent: bool | None         # leaves: an optimizer has used this grad; None: and has said so

    def __init__(
        self,
        data: Any,
        requires_grad: bool = False,
        *,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        self.array = _as_array(data, requires_grad, dtype)
        self.needs_grad = bool(requires_grad)
        self.name = name
        self.gradient = self.hooks = self.op = None
        self.inputs, self.attrs = (), {}
        self.serial = self.changed = tick()
        self.spent = False

    def __init_subclass__(cls) -> None:
        raise TypeError("Tensor cannot be subclassed: operations would not record the subclass")

    # ---- the values ------------------------------------------------------------------------------

    @property
    def data(self) -> ndarray:
        """The values, as an array."""
        return self._read()

    @data.setter
    def data(self, values: Any) -> None:
        self._read()
        new = np.asarray(values, dtype=self.array.dtype)
        if new.shape != self.array.shape:
            raise ShapeError(f"data of {subject(self)} cannot take values of shape {new.shape}")
        if self.needs_grad and new is not self.array:
            new = new.copy()
        self.array = new
        self.changed = tick()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor; may be set on leaves."""
        return self.needs_grad

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if flag == self.needs_grad:
            return
        if self.op is not None:
            raise GraphError(
                f"requires_grad of {subject(self)} follows from what it was computed from;"
                " use .detach() for a constant"
            )
        if flag:
            self.array = _as_array(self.array, True, None)
        self.needs_grad = bool(flag)

    @property
    def grad(self) -> Any:
        """∂L/∂self: an array, a Tensor after ``create_graph=True``, or None."""
        program = tape.get()
        if program is not None:
            return program.gradient_of(self)
        g = self.gradient
        if type(g) is ndarray and (g.base is not None or not g.flags.writeable):
            g = self.gradient = g.copy()                   # a compiled step would write into it
        return g

    @grad.setter
    def grad(self, g: Any) -> None:
        if g is not None and np.shape(g) != self.array.shape:
            raise ShapeError(f"the gradient of {subject(self)} cannot have shape {np.shape(g)}")
        if g is not None and type(g) is not Tensor:
            g = np.asarray(g, dtype=self.array.dtype)
        elif g is not None and tape.get() is not None:
            g = g.array                                    # what a captured step made
        effect(set_gradient, self, g)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each axis."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the entries."""
        return self.array.dtype

    @property
    def is_leaf(self) -> bool:
        """Whether it was given rather than computed."""
        return self.op is None

    def item(self) -> float:
        """The only entry, as a Python number."""
        if self.array.size != 1:
            raise ShapeError(
                f"{subject(self)} has {self.array.size} entries, not one;"
                " reduce it first: .sum() or .mean()"
            )
        return self._read().item()

    def numpy(self) -> ndarray:
        """The values, as an array that shares memory with the Tensor."""
        return self._read()

    def tolist(self) -> Any:
        """The values, as nested lists of Python numbers."""
        return self._read().tolist()

    def _read(self) -> ndarray:
        """The values, for eyes outside the engine: a captured step would freeze what they see."""
        if tape.get() is not None:
            raise captured_read(self)
        return self.array

    def detach(self) -> Tensor:
        """A constant with the same values, sharing memory."""
        return Tensor(self.array, name=self.name)

    # ---- gradients -------------------------------------------------------------------------------

    def backward(self, gradient: Any = None, *, create_graph: bool = False) -> None:
        """Leave ∂self/∂t in ``t.grad`` of every Tensor t that self was computed from.

        Leaves add the new gradient to what ``grad`` holds; computed Tensors are set afresh.
        The graph stays as it is, so a second call is right and doubles the leaves' gradients.

        Parameters
        ----------
        gradient : array-like, optional
            Where to start: ∂L/∂self, of the shape of self. Needed unless self is one number.
        create_graph : bool
            Record the backward pass too: the leaves' gradients are then Tensors with a graph.

        Raises
        ------
        GraphError
            If self has no graph, or is not one number and no `gradient` is given, or if a
            value has been changed in place since it was recorded.
        ShapeError
            If `gradient` has another shape. No ``grad`` is touched when an error is raised.

        Examples
        --------
        The second derivative of x³ at 2:

        >>> import tinygrad_opt as tg
        >>> x = tg.Tensor(2.0, requires_grad=True)
        >>> (x**3).backward(create_graph=True)
        >>> slope, x.grad = x.grad, None
        >>> slope.backward()
        >>> float(x.grad)
        12.0
        """
        on_tensors = create_graph or tape.get() is not None
        with with_grad() if create_graph else no_grad() if on_tensors else _AS_IT_IS:
            gradients = walk(self, seed_for(self, gradient, on_tensors), record=on_tensors)
        arrived = []
        for t, g in gradients.items():
            if t.op is None:
                g = g.copy() if t is self else g           # a leaf's gradient owns its memory
                arrived.append((t, g if create_graph else values_of(g)))
            else:
                t.gradient = values_of(g)  # a Tensor here, whose graph leads back to t, is a cycle
        effect(deliver, arrived)

    def register_hook(self, hook: Callable[[Any], Any]) -> Callable[[], None]:
        """Call ``hook(g)`` in each backward pass, when the gradient g of this Tensor is complete.

        What the hook returns, if not None, takes the place of g. It is given a read-only
        array (a Tensor with ``create_graph=True``).

        Returns
        -------
        callable
            Takes the hook away again.

        Examples
        --------
        >>> import tinygrad_opt as tg
        >>> x = tg.Tensor(3.0, requires_grad=True)
        >>> remove = x.register_hook(lambda g: 10 * g)
        >>> (x * x).backward()
        >>> float(x.grad)
        60.0
        >>> remove()
        """
        if not self.needs_grad:
            raise GraphError(f"no gradient ever reaches {subject(self)}: it does not require grad")
        if not callable(hook):
            raise TypeError(f"a hook is a function of the gradient, got {hook!r}")
        hooks = self.hooks = self.hooks or []
        hooks.append(hook)
        return lambda: hooks.remove(hook)

    # ---- operators -------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:      return _binary(ops.add, self, other)
    def __radd__(self, other: Any) -> Tensor:     return _binary(ops.add, other, self)
    def __sub__(self, other: Any) -> Tensor:      return _binary(ops.subtract, self, other)
    def __rsub__(self, other: Any) -> Tensor:     return _binary(ops.subtract, other, self)
    def __mul__(self, other: Any) -> Tensor:      return _binary(ops.multiply, self, other)
    def __rmul__(self, other: Any) -> Tensor:     return _binary(ops.multiply, other, self)
    def __truediv__(self, other: Any) -> Tensor:  return _binary(ops.divide, self, other)
    def __rtruediv__(self, other: Any) -> Tensor: return _binary(ops.divide, other, self)
    def __floordiv__(self, other: Any) -> Tensor: return _binary(ops.floor_divide, self, other)
    def __rfloordiv__(self, other: Any) -> Tensor: return _binary(ops.floor_divide, other, self)
    def __mod__(self, other: Any) -> Tensor:      return _binary(ops.remainder, self, other)
    def __rmod__(self, other: Any) -> Tensor:     return _binary(ops.remainder, other, self)
    def __pow__(self, other: Any) -> Tensor:      return _binary(ops.power, self, other)
    def __rpow__(self, other: Any) -> Tensor:     return _binary(ops.power, other, self)
    def __matmul__(self, other: Any) -> Tensor:   return _binary(ops.matmul, self, other)
    def __rmatmul__(self, other: Any) -> Tensor:  return _binary(ops.matmul, other, self)
    def __neg__(self) -> Tensor:                  return apply(ops.negative, self)
    def __pos__(self) -> Tensor:                  return apply(ops.positive, self)
    def __abs__(self) -> Tensor:                  return apply(ops.absolute, self)

    def __iadd__(self, other: Any) -> Tensor:     return self._change(ops.add, other)
    def __isub__(self, other: Any) -> Tensor:     return self._change(ops.subtract, other)
    def __imul__(self, other: Any) -> Tensor:     return self._change(ops.multiply, other)
    def __itruediv__(self, other: Any) -> Tensor: return self._change(ops.divide, other)
    def __ifloordiv__(self, other: Any) -> Tensor: return self._change(ops.floor_divide, other)
    def __imod__(self, other: Any) -> Tensor:     return self._change(ops.remainder, other)
    def __ipow__(self, other: Any) -> Tensor:     return self._change(ops.power, other)
    def __imatmul__(self, other: Any) -> Tensor:  return self._change(ops.matmul, other)

    def __eq__(self, other: Any) -> Any: return answer(np.equal, self, other)
    def __ne__(self, other: Any) -> Any: return answer(np.not_equal, self, other)
    def __lt__(self, other: Any) -> Any: return answer(np.less, self, other)
    def __le__(self, other: Any) -> Any: return answer(np.less_equal, self, other)
    def __gt__(self, other: Any) -> Any: return answer(np.greater, self, other)
    def __ge__(self, other: Any) -> Any: return answer(np.greater_equal, self, other)

    def __invert__(self) -> Any:        return answer(np.invert, self)
    def __and__(self, other: Any) -> Any: return answer(np.bitwise_and, self, other)
    def __rand__(self, other: Any) -> Any: return answer(np.bitwise_and, other, self)
    def __or__(self, other: Any) -> Any: return answer(np.bitwise_or, self, other)
    def __ror__(self, other: Any) -> Any: return answer(np.bitwise_or, other, self)
    def __xor__(self, other: Any) -> Any: return answer(np.bitwise_xor, self, other)
    def __rxor__(self, other: Any) -> Any: return answer(np.bitwise_xor, other, self)

    __hash__ = object.__hash__             # a Tensor is a key by identity

    def __getitem__(self, index: Any) -> Tensor:
        return apply(ops.getitem, self, _plain_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _plain_index(index)
        if _records(self, value):
            self._change(ops.put, value, index)
            return
        try:
            self._read()[index] = values_of(value)
        except Exception as error:
            raise kernel_error(ops.put, (self, value, index), error) from error
        self.changed = tick()

    def _change(self, op: Op, *others: Any) -> Tensor:
        """Become op(self, *others) in place, keeping the graph right.

        With nothing to record the values are overwritten. Otherwise this object becomes the
        new node, and a twin takes its place as the node it has been so far.
        """
        if not _records(self, *others):
            self._read()                                   # a captured step could not repeat it
            before = Tensor(self.array)
            with no_grad():
                result = apply(op, before, *others).array
            if result.shape != self.array.shape:
                raise ShapeError(f"{subject(self)} cannot become {result.shape} in place")
            np.copyto(self.array, result, casting="same_kind")
            self.changed = tick()
            return self
        if self.op is None and self.needs_grad:
            raise GraphError(
                f"{subject(self)} is a leaf that requires grad and cannot be changed in place"
                " while recording. Update it under no_grad(), or write t = t + ... instead."
            )
        before = _new(Tensor)
        for slot in Tensor.__slots__[1:]:
            setattr(before, slot, getattr(self, slot, None))
        # what was computed from the old value, as in y += y * 2, stays linked to it
        for other in others:
            for node in history(other, since=self.serial) if type(other) is Tensor else ():
                node.inputs = tuple(before if x is self else x for x in node.inputs)
        others = tuple(before if x is self else x for x in others)
        after = apply(op, before, *others)
        if after.shape != self.shape:
            raise ShapeError(f"{subject(self)} cannot become {after.shape} in place")
        for slot in ("array", "attrs", "changed", "inputs", "needs_grad", "op", "serial"):
            setattr(self, slot, getattr(after, slot))
        self.hooks = None
        return self

    def sort(self, axis: int = -1) -> None:
        """Sort in place along the axis, as ``ndarray.sort``; ``np.sort`` gives a new Tensor."""
        order = np.argsort(self, axis=axis, kind="stable")
        grid = list(np.ogrid[tuple(slice(n) for n in self.shape)])
        grid[axis] = order
        self._change(ops.put, self[tuple(grid)], ...)

    # ---- Python's protocols ----------------------------------------------------------------------

    def __len__(self) -> int:
        if self.array.ndim == 0:
            raise TypeError(f"len() of {subject(self)}, a single number")
        return self.array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.array.ndim == 0:
            raise TypeError(f"iteration over {subject(self)}, a single number")
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.array.dtype.kind not in "iu" or self.array.ndim:
            raise TypeError(f"only a single integer can be an index, got {subject(self)}")
        return int(self._read())

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ValueError(
                f"the truth value of {subject(self)} with {self.array.size} entries is ambiguous:"
                " use .any() or .all()"
            )
        return bool(self._read())

    def __repr__(self) -> str:
        text = np.array2string(self.array, separator=", ", prefix="Tensor(", threshold=200)
        parts = [text if self.array.ndim else str(self.array)]
        if self.array.dtype != _default_dtype:
            parts.append(f"dtype={self.array.dtype}")
        if self.name:
            parts.append(f"name={self.name!r}")
        if self.op is not None:
            parts.append(f"op={self.op.name}")
        elif self.needs_grad:
            parts.append("requires_grad=True")
        return f"Tensor({', '.join(parts)})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.array.size == 1 else str(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if notebook_view is None or self.op is None or tape.get() is not None:
            return {"text/plain": repr(self)}
        return notebook_view(self)

    def __reduce__(self) -> Any:
        if self.op is not None:
            raise GraphError(
                f"{subject(self)} was computed; copy or pickle its values: .detach() or .data"
            )
        return _rebuilt, (self._read(), self.needs_grad, self.name)

    # ---- NumPy's protocols -----------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        if self.needs_grad and recording.get():
            raise GraphError(
                f"turning {subject(self)} into an array would lose its graph: use .data for the"
                " values, or np.stack and np.concatenate to join Tensors"
            )
        return np.array(self._read(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        if out is not None:
            return _into(out, ufunc, method, inputs, options)
        if method == "__call__" and not options:
            row = ops.UFUNCS.get(ufunc)
            if row is not None:
                return apply(row, *map(_operand, inputs))
            if ufunc in ops.READING:
                return answer(ufunc, *inputs)
        reduce = ops.REDUCES.get((ufunc, method))
        if reduce is not None:
            return apply(reduce, *inputs, **{"axis": 0, **options})
        how = "" if method == "__call__" else f".{method}"
        raise no_rule(ufunc.__name__ + how, options)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        recorded = FUNCTIONS.get(func)
        if recorded is not None:
            return recorded(*args, **kwargs)
        if func in ops.READING:
            return answer(func, *args, **kwargs)
        module = getattr(func, "__module__", "numpy").removeprefix("numpy").lstrip(".")
        raise no_rule(".".join(filter(None, (module, func.__name__))), {})

    def __apply_op__(self, op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Tensor:
        if tuple in map(type, inputs):                     # an index may hold computed integers
            inputs = tuple(deep_values(x) if type(x) is tuple else x for x in inputs)
        return apply(op, *inputs, **attrs)

    def __dlpack__(self, **options: Any) -> Any:
        if self.needs_grad:
            raise BufferError(f"{subject(self)} requires grad; export its .detach()")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


# ---- recording -----------------------------------------------------------------------------------

_new = Tensor.__new__


def apply(op: Op, *inputs: Any, **attrs: Any) -> Tensor:
    """Compute z = op(inputs) and, if a gradient may be wanted, remember how.

    Parameters
    ----------
    op : Op
        A row of the rule book.
    *inputs : Tensor, array or number
        What the kernel is applied to.
    **attrs
        The kernel's options.

    Returns
    -------
    Tensor
        Linked to its inputs if one of them requires grad and recording is on.

    Raises
    ------
    ShapeError, IndexError, TypeError
        What the kernel raised, with the names and shapes of the inputs.
    """
    arrays = []
    needs = False
    dtype = None
    for x in inputs:
        if type(x) is Tensor:
            array = x.array
            dtype = array.dtype
            needs = needs or x.needs_grad
            arrays.append(array)
        else:
            arrays.append(x)
    shared = None
    try:
        if op.shared is None:
            data = op.kernel(*arrays, **attrs)
        else:
            shared = op.shared(*arrays, **attrs)
            data = op.kernel(*arrays, shared=shared, **attrs)
    except Exception as error:
        raise kernel_error(op, inputs, error) from error
    if type(data) is not ndarray:
        data = np.asarray(data)
    if data.dtype is not dtype or tape.get() is not None:
        first = data
        data, inputs = _settled(op, inputs, attrs, data)
        shared = shared if data is first else None
    z = _recorded(op, inputs, attrs, data, needs)
    z.shared = shared if z.op is not None else None
    return z


def _binary(op: Op, x: Any, y: Any) -> Tensor:
    """`apply` for an operator, where a Python call must cost as little as it can."""
    if type(x) is Tensor:
        a = x.array
        dtype = a.dtype
        needs = x.needs_grad
    else:
        a = x = _operand(x)
        needs = False
    if type(y) is Tensor:
        b = y.array
        dtype = b.dtype
        needs = needs or y.needs_grad
    else:
        b = y = _operand(y)
    try:
        data = op.kernel(a, b)
    except Exception as error:
        raise kernel_error(op, (x, y), error) from error
    if type(data) is not ndarray:
        data = np.asarray(data)
    if data.dtype is not dtype or tape.get() is not None:
        data, (x, y) = _settled(op, (x, y), {}, data)
    return _recorded(op, (x, y), {}, data, needs)


def _recorded(op: Op, inputs: Any, attrs: dict[str, Any], data: ndarray, needs: bool) -> Tensor:
    """A Tensor for the result, its slots filled directly: this runs once per operation."""
    z = _new(Tensor)
    z.array = data
    z.gradient = z.hooks = z.name = None
    z.serial = z.changed = tick()
    if needs and recording.get():
        z.needs_grad = True
        z.op = op
        z.inputs = inputs
        z.attrs = attrs
    else:
        z.needs_grad = z.spent = False
        z.op = None
        z.inputs = ()
        z.attrs = {}
    program = tape.get()
    if program is not None:
        program.computed(op, inputs, attrs, z)
    return z


def answer(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Ask a function that has no gradient about values: it answers with an array."""
    result = function(*deep_values(args), **deep_values(kwargs))
    program = tape.get()
    return result if program is None else program.answered(function, args, kwargs, result)


def observed(x: Any, name: str, value: Any) -> Any:
    """An attribute that Python branches on: once it has another value, a captured step is stale."""
    program = tape.get()
    if program is not None:
        program.seen.append((x, name, value))
    return value


def effect(action: Callable[..., None], *args: Any) -> None:
    """Do something that is not a computation, now and at each replay of a captured step."""
    program = tape.get()
    if program is None:
        action(*args)
        return
    token = tape.set(None)
    try:
        action(*args)
    finally:
        tape.reset(token)
    program.acted(action, args)


def _records(*operands: Any) -> bool:
    """Whether an operation on these would be recorded."""
    return any(type(x) is Tensor and x.needs_grad for x in operands) and recording.get()


def _operand(x: Any) -> Any:
    """What may stand beside a Tensor: a number, which is weak, or an array."""
    if isinstance(x, np.generic):
        return x.item()
    return np.asarray(x) if isinstance(x, list | tuple) else x


def _settled(op: Op, inputs: Any, attrs: dict[str, Any], data: ndarray) -> tuple[ndarray, Any]:
    """Redo an op whose result left the dtype on which the float Tensors among its inputs agree.

    Numbers, raw arrays and integer Tensors are weak: they are converted to that dtype, or to
    the default dtype where no Tensor is a float.
    """
    if data.dtype.kind != "f" or op is ops.cast:
        return data, inputs
    program = tape.get()
    strong = [x for x in inputs if type(x) is Tensor and not (program and program.is_weak(x))]
    floats = [x.dtype for x in strong if x.dtype.kind == "f"]
    wanted = np.result_type(*floats) if floats else _default_dtype
    if data.dtype == wanted or not strong:
        return data, inputs
    settled = tuple(
        x if rule is None or x is None
        else x.astype(wanted, copy=False) if type(x) is Tensor
        else np.asarray(x, dtype=wanted)
        for x, rule in zip(inputs, op.rules)
    )
    if all(map(is_, inputs, settled)):                     # the kernel alone left the dtype
        return data.astype(wanted), inputs
    return np.asarray(op.kernel(*map(values_of, settled), **attrs), dtype=wanted), settled


# ---- the walk ------------------------------------------------------------------------------------


def history(end: Tensor, since: int = -1) -> list[Tensor]:
    """Tensors that `end` was computed from and through which gradients flow, oldest first.

    Parameters
    ----------
    end : Tensor
        Where to start; it is the last of the list.
    since : int
        Leave out what was made before this time on the clock.

    Returns
    -------
    list of Tensor
        In order of creation, which is a topological order.
    """
    seen = {end}
    stack = [end]
    while stack:
        for x in stack.pop().inputs:
            if type(x) is Tensor and x.needs_grad and x.serial >= since and x not in seen:
                seen.add(x)
                if x.op is not None:
                    stack.append(x)
    return sorted(seen, key=attrgetter("serial"))


def walk(end: Tensor, seed: Any, *, record: bool = False, since: int = -1) -> dict[Tensor, Any]:
    """Take the gradient `seed` of `end` back through its history.

    Parameters
    ----------
    end : Tensor
        The Tensor that is differentiated.
    seed : ndarray or Tensor
        ∂L/∂end, of its shape and dtype.
    record : bool
        Compute with Tensors instead of arrays, so that the gradients have graphs too.
    since : int
        Stop at Tensors made before this time.

    Returns
    -------
    dict
        Tensor → ∂L/∂Tensor, for every Tensor that was reached.
    """
    gradients = {end: seed}
    quiet = np.errstate(divide="ignore", invalid="ignore", over="ignore")   # d√x/dx at 0 is inf
    with quiet:
        for z in reversed(history(end, since)):
            g = gradients.get(z)
            if g is None:                                  # no rule leads here
                continue
            if z.hooks:
                g = gradients[z] = _hooked(z, g)
            op, inputs, attrs, made = z.op, z.inputs, z.attrs, z.serial
            if op is None:
                continue
            if z.changed > made:
                raise _changed(z, z)
            if op.shared is not None and not record:
                attrs = {**attrs, "shared": z.shared}
            if record:                                     # masks, labels, indices stay arrays
                value: Any = z
                values = [values_of(x) if r is None else Tensor(x) if type(x) is ndarray else x
                          for x, r in zip(inputs, op.rules)]
            else:
                value = z.array
                values = [x.array if type(x) is Tensor else x for x in inputs]
            for x, rule in zip(inputs, op.rules):
                if type(x) is not Tensor:
                    continue
                if x.changed > made:
                    raise _changed(x, z)
                if rule is None or not x.needs_grad or x.serial < since:
                    continue
                part = rule(g, value, *values, **attrs)
                if record or type(part) is not ndarray:
                    part = _whole(part, record)
                array = x.array
                if part.shape != array.shape:
                    fit = ops.fit if record else ops.fit.kernel
                    part = _whole(fit(part, shape=array.shape), record)
                if part.dtype is not array.dtype:
                    part = part.astype(array.dtype, copy=False)
                other = gradients.get(x)
                if other is not None:
                    part = _whole(other + part, record)    # never +=: `other` may be shared
                elif x.op is None and (part is g or values_of(part).base is not None):
                    part = part.copy()                     # a leaf's gradient owns its memory
                gradients[x] = part
    return gradients


def _whole(g: Any, record: bool) -> Any:
    """A gradient as an array, which NumPy makes a scalar where it can, or as a Tensor."""
    if record:
        return g if type(g) is Tensor else Tensor(g)
    return g if type(g) is ndarray else np.asarray(g)


def set_gradient(t: Tensor, g: Any) -> None:
    """Let g be the gradient of t, whatever it was before."""
    t.gradient = g


def forget_gradients(tensors: list[Tensor]) -> None:
    """Let them have no gradients."""
    for t in tensors:
        t.gradient = None


def deliver(gradients: list[tuple[Tensor, Any]]) -> None:
    """Add gradients to the leaves that they belong to."""
    for t, _ in gradients:
        if t.spent and t.gradient is not None:
            warnings.warn(
                f"backward() adds to a gradient of {subject(t)} that step() has already used."
                " Call zero_grad() between steps, or set .grad = None.",
                stacklevel=4,
            )
            t.spent = None
            break
    for t, g in gradients:
        if t.spent:
            t.spent = False
        if t.gradient is None:
            t.gradient = g
        elif type(g) is Tensor:
            t.gradient = t.gradient + g
        else:
            t.gradient = np.asarray(values_of(t.gradient) + g)


def seed_for(end: Tensor, gradient: Any = None, record: bool = False) -> Any:
    """Check where a walk is to start, and make its first gradient."""
    if not end.needs_grad:
        raise GraphError(
            f"backward() on {subject(end)}, which has no graph: it was made from constants only,"
            " or under no_grad(). Does any input have requires_grad=True?"
        )
    if gradient is None:
        if end.array.size != 1:
            raise GraphError(
                f"backward() needs a single number, got shape {end.shape}."
                " Reduce it first: loss.sum() or loss.mean()."
            )
        ones = ops.constant("ones", end.array.shape, end.array.dtype)
        return Tensor(ones) if record else ones
    if np.shape(gradient) != end.shape:
        raise ShapeError(
            f"backward() of {subject(end)} needs a gradient of that shape, got {np.shape(gradient)}"
        )
    if not record:
        return np.array(values_of(gradient), dtype=end.dtype)
    if type(gradient) is Tensor:
        return gradient.astype(end.dtype)
    return Tensor(np.array(gradient, dtype=end.dtype))


def _hooked(z: Tensor, g: Any) -> Any:
    """Let the hooks of z see its gradient and replace it."""
    for hook in list(z.hooks or ()):
        if type(g) is ndarray:
            shown = g.view()
            shown.flags.writeable = False
        else:
            shown = g
        new = hook(shown)
        if new is None:
            if tape.get() is not None:
                raise captured_hook(z)
            continue
        g = new if type(new) is Tensor and type(g) is Tensor else np.array(values_of(new), z.dtype)
        if g.shape != z.shape:
            raise ShapeError(f"a hook on {subject(z)} returned a gradient of shape {g.shape}")
    return g


def _changed(x: Tensor, z: Tensor) -> GraphError:
    used = f" after {z.op.name} used it" if x is not z and z.op else ""
    return GraphError(
        f"{subject(x)} was changed in place{used}, so its gradient would be wrong: an optimizer"
        " step or an in-place operator came between forward and backward."
        " Compute the loss again before backward()."
    )


# ---- small conversions ---------------------------------------------------------------------------


def values_of(x: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return x.array if type(x) is Tensor else x


def deep_values(x: Any) -> Any:
    """The arrays in a nest of lists, tuples and dicts of Tensors."""
    return x.array if type(x) is Tensor else nested(deep_values, x)


def nested(change: Callable[[Any], Any], x: Any) -> Any:
    """A list, tuple or dict with its members changed; anything else as it is."""
    if isinstance(x, list | tuple):
        members = [change(v) for v in x]
        return type(x)(*members) if hasattr(x, "_fields") else type(x)(members)
    return {k: change(v) for k, v in x.items()} if isinstance(x, dict) else x


def _plain_index(index: Any) -> Any:
    """An index without Tensors in it."""
    if isinstance(index, tuple):
        return tuple(_plain_index(i) for i in index)
    if type(index) is Tensor:
        return index.array
    return np.asarray(index, dtype=None if index else int) if isinstance(index, list) else index


def _as_array(data: Any, own: bool, dtype: Any) -> ndarray:
    """The array of a Tensor: what is wrapped, what is copied and in which dtype."""
    if type(data) is Tensor and data.needs_grad:
        raise GraphError(f"Tensor({subject(data)}) would lose its graph; use .detach() or .copy()")
    source, data = data, values_of(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"the rows of the list have different lengths: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"a Tensor holds real numbers, got {type(data).__name__} of {array.dtype}")
    if dtype is not None:
        wanted = np.dtype(dtype)
    elif not hasattr(data, "dtype") or (own and array.dtype.kind != "f"):
        wanted = _default_dtype
    else:
        wanted = array.dtype
    if own and wanted.kind != "f":
        raise TypeError(f"only floats can require gradients, got {wanted}")
    made = np.array(array, dtype=wanted) if own else array.astype(wanted, copy=False)
    program = tape.get()
    if program is not None and made is not data and type(data) is ndarray:
        program.copied(source, made)
    return made


def _rebuilt(array: ndarray, requires_grad: bool, name: str | None) -> Tensor:
    return Tensor(array, requires_grad, name=name)


def _into(out: Any, ufunc: np.ufunc, method: str, inputs: Any, options: dict[str, Any]) -> Any:
    """A ufunc that writes into an array: fine as long as no graph is lost."""
    targets = [x for x in out if type(x) is Tensor]
    lost = targets or [x for x in inputs if _records(x)]
    if lost:
        raise GraphError(
            f"np.{ufunc.__name__} into an existing array would lose the graph of"
            f" {subject(lost[0])}: write a = a + t instead of a += t, or use t.data"
        )
    return getattr(ufunc, method)(*map(values_of, inputs), out=out, **options)
