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
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_opt import ops
from tinygrad_opt.errors import GraphError, NoRuleError, ShapeError
from tinygrad_opt.ops import Op

__all__ = ["Tensor", "apply", "history", "no_grad", "set_default_dtype", "walk"]

tick = itertools.count().__next__          # one clock for creations and in-place changes alike
recording: ContextVar[bool] = ContextVar("recording", default=True)
ndarray = np.ndarray

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


class Tensor:
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
        on computed Tensors. A Tensor after ``backward(create_graph=True)``.
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
        "__weakref__", "array", "attrs", "changed", "grad", "hooks", "inputs", "name",
        "needs_grad", "op", "serial", "spent",
    )

    array: ndarray             # the values; `data` is the same behind a checked door
    attrs: dict[str, Any]
    changed: int               # when the values were last written
    grad: Any
    hooks: list[Callable[[Any], Any]] | None
    inputs: tuple[Any, ...]
    name: str | None
    needs_grad: bool           # what `requires_grad` reads
    op: Op | None
    serial: int                # when it was made
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
        self.grad = self.hooks = self.op = None
        self.inputs, self.attrs = (), {}
        self.serial = self.changed = tick()
        self.spent = False

    def __init_subclass__(cls) -> None:
        raise TypeError("Tensor cannot be subclassed: operations would not record the subclass")

    # ---- the values ------------------------------------------------------------------------------

    @property
    def data(self) -> ndarray:
        """The values, as an array."""
        return self.array

    @data.setter
    def data(self, values: Any) -> None:
        new = np.asarray(values, dtype=self.array.dtype)
        if new.shape != self.array.shape:
            raise ShapeError(f"data of {_label(self)} cannot take values of shape {new.shape}")
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
                f"requires_grad of {_label(self)} follows from what it was computed from;"
                " use .detach() for a constant"
            )
        if flag:
            self.array = _as_array(self.array, True, None)
        self.needs_grad = bool(flag)

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
                f"{_label(self)} has {self.array.size} entries, not one;"
                " reduce it first: .sum() or .mean()"
            )
        return self.array.item()

    def numpy(self) -> ndarray:
        """The values, as an array that shares memory with the Tensor."""
        return self.array

    def tolist(self) -> Any:
        """The values, as nested lists of Python numbers."""
        return self.array.tolist()

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
            Record the backward pass too: gradients are then Tensors with a graph of their own.

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
        gradients = walk(self, seed_for(self, gradient, create_graph), record=create_graph)
        leaves = [t for t in gradients if t.op is None]
        forgotten = [t for t in leaves if t.spent and t.grad is not None]
        if forgotten:
            warnings.warn(
                f"backward() adds to a gradient of {_label(forgotten[0])} that step() has already"
                " used. Call zero_grad() between steps, or set .grad = None.",
                stacklevel=2,
            )
            for t in forgotten:
                t.spent = None
        for t, g in gradients.items():
            if t.op is not None or t.grad is None:
                t.grad = g
            else:
                t.grad = (t.grad if create_graph else _values(t.grad)) + g
        for t in leaves:
            if t.spent:
                t.spent = False

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
            raise GraphError(f"no gradient ever reaches {_label(self)}: it does not require grad")
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

    def __eq__(self, other: Any) -> Any: return np.equal(self.array, _values(other))
    def __ne__(self, other: Any) -> Any: return np.not_equal(self.array, _values(other))
    def __lt__(self, other: Any) -> Any: return np.less(self.array, _values(other))
    def __le__(self, other: Any) -> Any: return np.less_equal(self.array, _values(other))
    def __gt__(self, other: Any) -> Any: return np.greater(self.array, _values(other))
    def __ge__(self, other: Any) -> Any: return np.greater_equal(self.array, _values(other))

    __hash__ = object.__hash__             # a Tensor is a key by identity

    def __getitem__(self, index: Any) -> Tensor:
        return apply(ops.getitem, self, _plain_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _plain_index(index)
        if _records(self, value):
            self._change(ops.put, value, index)
            return
        try:
            self.array[index] = _values(value)
        except Exception as error:
            raise _blame(ops.put, (self, value, index), {}, error) from error
        self.changed = tick()

    def _change(self, op: Op, *others: Any) -> Tensor:
        """Become op(self, *others) in place, keeping the graph right.

        With nothing to record the values are overwritten. Otherwise this object becomes the
        new node, and a twin takes its place as the node it has been so far.
        """
        if not _records(self, *others):
            before = Tensor(self.array)
            with no_grad():
                result = apply(op, before, *others).array
            if result.shape != self.array.shape:
                raise ShapeError(f"{_label(self)} cannot become {result.shape} in place")
            np.copyto(self.array, result, casting="same_kind")
            self.changed = tick()
            return self
        if self.op is None and self.needs_grad:
            raise GraphError(
                f"{_label(self)} is a leaf that requires grad and cannot be changed in place"
                " while recording. Update it under no_grad(), or write t = t + ... instead."
            )
        before = Tensor.__new__(Tensor)
        for slot in Tensor.__slots__[1:]:
            setattr(before, slot, getattr(self, slot, None))
        after = apply(op, before, *others)
        if after.shape != self.shape:
            raise ShapeError(f"{_label(self)} cannot become {after.shape} in place")
        for slot in ("array", "attrs", "changed", "inputs", "needs_grad", "op", "serial"):
            setattr(self, slot, getattr(after, slot))
        self.hooks = None
        return self

    # ---- methods, named and defaulted as NumPy's ------------------------------------------------

    @property
    def T(self) -> Tensor:
        """All axes in reverse order."""
        return apply(ops.transpose, self)

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        if self.array.ndim < 2:
            raise ShapeError(f"mT of {_label(self)} needs at least two axes")
        return apply(ops.swapaxes, self, axis1=-1, axis2=-2)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Sum over the axes; over all of them for None."""
        return apply(ops.sum, self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Arithmetic mean over the axes."""
        return apply(ops.mean, self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Product over the axes."""
        return apply(ops.prod, self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """Mean squared distance from the mean; the divisor is n − ddof."""
        return apply(ops.var, self, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """Root of `var`."""
        return apply(ops.std, self, axis=axis, ddof=ddof, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Largest entry; ties share the gradient equally."""
        return apply(ops.max, self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Smallest entry; ties share the gradient equally."""
        return apply(ops.min, self, axis=axis, keepdims=keepdims)

    def logsumexp(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """log Σ exp, without overflow."""
        return apply(ops.logsumexp, self, axis=axis, keepdims=keepdims)

    def norm(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """√Σx² over the axes; the gradient at 0 is 0."""
        return apply(ops.norm, self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: Any = None) -> Tensor:
        """Running sum along the axis; of the flattened Tensor for None."""
        return apply(ops.cumsum, self, axis=axis)

    def argmax(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Index of the largest entry, as an array."""
        return self.array.argmax(axis=axis, keepdims=keepdims)

    def argmin(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Index of the smallest entry, as an array."""
        return self.array.argmin(axis=axis, keepdims=keepdims)

    def argsort(self, axis: int = -1) -> ndarray:
        """Indices that sort the axis, ties in order, as an array."""
        return self.array.argsort(axis=axis, kind="stable")

    def all(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether all entries are non-zero, as an array."""
        return self.array.all(axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether some entry is non-zero, as an array."""
        return self.array.any(axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """The same entries in another shape, given as one tuple or as numbers."""
        return apply(ops.reshape, self, shape=_one_or_many(shape))

    def ravel(self) -> Tensor:
        """All entries in one axis."""
        return apply(ops.ravel, self)

    flatten = ravel

    def transpose(self, *axes: Any) -> Tensor:
        """Axes in the given order; reversed if none is given."""
        order = _one_or_many(axes) if axes else None
        return apply(ops.transpose, self, axes=order)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged."""
        return apply(ops.swapaxes, self, axis1=axis1, axis2=axis2)

    def squeeze(self, axis: Any = None) -> Tensor:
        """Without axes of length 1."""
        return apply(ops.squeeze, self, axis=axis)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Each entry repeated; flattened for axis None."""
        return apply(ops.repeat, self, repeats=_values(repeats), axis=axis)

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """Entries at the indices along the axis."""
        return apply(ops.take, self, _values(indices), axis=axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """Entries (i, i + offset) of the two axes."""
        return apply(ops.diagonal, self, offset=offset, axis1=axis1, axis2=axis2)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """Sum of the diagonal."""
        return apply(ops.trace, self, offset=offset, axis1=axis1, axis2=axis2)

    def dot(self, other: Any) -> Tensor:
        """Product in the sense of ``np.dot``."""
        return _binary(ops.dot, self, other)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Limited to [min, max]; at a bound the gradient passes."""
        return apply(ops.clip, self, min, max)

    def round(self, decimals: int = 0) -> Tensor:
        """Rounded, with gradient 0."""
        return apply(ops.round, self, decimals=decimals)

    def sort(self, axis: int = -1) -> None:
        """Sort in place along the axis, as ``ndarray.sort`` does; ``np.sort`` gives a new Tensor."""
        order = np.argsort(self.array, axis=axis, kind="stable")
        grid = list(np.ogrid[tuple(slice(n) for n in self.shape)])
        grid[axis] = order
        self._change(ops.put, self[tuple(grid)], ...)

    def astype(self, dtype: Any, copy: bool = True) -> Tensor:
        """Converted to another dtype; gradients come back in this one."""
        wanted = np.dtype(dtype)
        return self if wanted == self.dtype and not copy else apply(ops.cast, self, dtype=wanted)

    def copy(self) -> Tensor:
        """The same values in memory of its own, recorded."""
        return apply(ops.copy, self)

    def exp(self) -> Tensor:
        """eˣ, entry by entry."""
        return apply(ops.exp, self)

    def log(self) -> Tensor:
        """Natural logarithm, entry by entry."""
        return apply(ops.log, self)

    def sqrt(self) -> Tensor:
        """Square root, entry by entry."""
        return apply(ops.sqrt, self)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent, entry by entry."""
        return apply(ops.tanh, self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + e⁻ˣ), entry by entry."""
        return apply(ops.sigmoid, self)

    def relu(self) -> Tensor:
        """max(x, 0), entry by entry; the slope at 0 is 0."""
        return apply(ops.relu, self)

    def softmax(self, axis: int = -1) -> Tensor:
        """eˣ / Σ eˣ along the axis."""
        return apply(ops.softmax, self, axis=axis)

    def log_softmax(self, axis: int = -1) -> Tensor:
        """x − log Σ eˣ along the axis."""
        return apply(ops.log_softmax, self, axis=axis)

    # ---- Python's protocols ----------------------------------------------------------------------

    def __len__(self) -> int:
        if self.array.ndim == 0:
            raise TypeError(f"len() of {_label(self)}, a single number")
        return self.array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.array.ndim == 0:
            raise TypeError(f"iteration over {_label(self)}, a single number")
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.array.dtype.kind not in "iu" or self.array.ndim:
            raise TypeError(f"only a single integer can be an index, got {_label(self)}")
        return int(self.array)

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ValueError(
                f"the truth value of {_label(self)} with {self.array.size} entries is ambiguous:"
                " use .any() or .all()"
            )
        return bool(self.array)

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

    def __reduce__(self) -> Any:
        if self.op is not None:
            raise GraphError(
                f"{_label(self)} was computed; copy or pickle its values: .detach() or .data"
            )
        return _rebuilt, (self.array, self.needs_grad, self.name)

    # ---- NumPy's protocols -----------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        if self.needs_grad and recording.get():
            raise GraphError(
                f"turning {_label(self)} into an array would lose its graph: use .data for the"
                " values, or np.stack and np.concatenate to join Tensors"
            )
        return np.array(self.array, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        if out is not None:
            return _into(out, ufunc, method, inputs, options)
        if method == "__call__" and not options:
            row = UFUNCS.get(ufunc)
            if row is not None:
                return apply(row, *inputs)
            if ufunc in READING:
                return ufunc(*map(_values, inputs))
        reduce = {"reduce": REDUCES, "accumulate": {np.add: ops.cumsum}}.get(method, {}).get(ufunc)
        if reduce is not None:
            return apply(reduce, *inputs, **{"axis": 0, **options})
        how = "" if method == "__call__" else f".{method}"
        raise _no_rule(ufunc.__name__ + how, options)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        recorded = FUNCTIONS.get(func)
        if recorded is not None:
            return recorded(*args, **kwargs)
        if func in READING:
            return func(*_deep_values(args), **_deep_values(kwargs))
        module = getattr(func, "__module__", "numpy").removeprefix("numpy").lstrip(".")
        raise _no_rule(".".join(filter(None, (module, func.__name__))), {})

    def __apply_op__(self, op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Tensor:
        return apply(op, *inputs, **attrs)

    def __dlpack__(self, **options: Any) -> Any:
        if self.needs_grad:
            raise BufferError(f"{_label(self)} requires grad; export its .detach()")
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
    try:
        data = op.kernel(*arrays, **attrs)
    except Exception as error:
        raise _blame(op, inputs, attrs, error) from error
    if type(data) is not ndarray:
        data = np.asarray(data)
    if data.dtype is not dtype:
        data, inputs = _settled(op, inputs, attrs, data)
    return _recorded(op, inputs, attrs, data, needs)


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
        raise _blame(op, (x, y), {}, error) from error
    if type(data) is not ndarray:
        data = np.asarray(data)
    if data.dtype is not dtype:
        data, (x, y) = _settled(op, (x, y), {}, data)
    return _recorded(op, (x, y), {}, data, needs)


def _recorded(op: Op, inputs: Any, attrs: dict[str, Any], data: ndarray, needs: bool) -> Tensor:
    """A Tensor for the result, its slots filled directly: this runs once per operation."""
    z = _new(Tensor)
    z.array = data
    z.grad = z.hooks = z.name = None
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
    return z


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
    floats = [x.dtype for x in inputs if type(x) is Tensor and x.dtype.kind == "f"]
    wanted = np.result_type(*floats) if floats else _default_dtype
    if data.dtype == wanted:
        return data, inputs
    inputs = tuple(
        x if type(x) is Tensor or rule is None or x is None else np.asarray(x, dtype=wanted)
        for x, rule in zip(inputs, op.rules)
    )
    arrays = [
        np.asarray(_values(x), dtype=wanted) if rule is not None and x is not None else _values(x)
        for x, rule in zip(inputs, op.rules)
    ]
    return np.asarray(op.kernel(*arrays, **attrs)), inputs


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
    with quiet, with_grad() if record else nullcontext():
        for z in reversed(history(end, since)):
            g = gradients.get(z)
            if g is None:                                  # no rule leads here
                continue
            if z.hooks:
                g = gradients[z] = _hooked(z, g)
            if z.op is None:
                continue
            if z.changed > z.serial:
                raise _changed(z, z)
            value = z if record else z.array
            values = z.inputs if record else [
                x.array if type(x) is Tensor else x for x in z.inputs
            ]
            for x, rule in zip(z.inputs, z.op.rules):
                if type(x) is not Tensor:
                    continue
                if x.changed > z.serial:
                    raise _changed(x, z)
                if rule is None or not x.needs_grad or x.serial < since:
                    continue
                part = rule(g, value, *values, **z.attrs)
                if record:
                    part = part if type(part) is Tensor else Tensor(part)
                elif type(part) is not ndarray:
                    part = np.asarray(part)
                array = x.array
                if part.shape != array.shape:
                    part = _fitted(part, array.shape)
                if part.dtype is not array.dtype:
                    part = part.astype(array.dtype, copy=False)
                other = gradients.get(x)
                if other is not None:
                    part = other + part                    # never +=: `other` may be shared
                elif x.op is None and (part is g or record or part.base is not None):
                    part = part.copy()                     # a leaf's gradient owns its memory
                gradients[x] = part
    return gradients


def seed_for(end: Tensor, gradient: Any = None, record: bool = False) -> Any:
    """Check where a walk is to start, and make its first gradient."""
    if not end.needs_grad:
        raise GraphError(
            f"backward() on {_label(end)}, which has no graph: it was made from constants only,"
            " or under no_grad(). Does any input have requires_grad=True?"
        )
    if gradient is None:
        if end.array.size != 1:
            raise GraphError(
                f"backward() needs a single number, got shape {end.shape}."
                " Reduce it first: loss.sum() or loss.mean()."
            )
        gradient = np.ones(end.shape, end.dtype)
    elif np.shape(gradient) != end.shape:
        raise ShapeError(
            f"backward() of {_label(end)} needs a gradient of that shape, got {np.shape(gradient)}"
        )
    if not record:
        return np.array(_values(gradient), dtype=end.dtype)
    if type(gradient) is Tensor:
        return gradient.astype(end.dtype)
    return Tensor(np.array(gradient, dtype=end.dtype))


def _fitted(part: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: sum where an input was stretched, stretch where a reduction shrank it."""
    lead = part.ndim - len(shape)
    if lead > 0:
        if type(part) is ndarray and part.ndim == 2 and lead == 1:
            part = np.ones(len(part), part.dtype) @ part   # BLAS sums a bias's rows fastest
        else:
            part = part.sum(axis=tuple(range(lead)))
        lead = 0
    if part.shape == shape:
        return part
    stretched = tuple(i for i, n in enumerate(part.shape) if shape[i - lead] == 1 != n)
    if stretched:
        part = part.sum(axis=stretched, keepdims=True)
    if part.shape == shape:
        return part
    if type(part) is Tensor:
        return apply(ops.broadcast_to, part, shape=shape)
    whole = np.empty(shape, part.dtype)
    whole[...] = part
    return whole


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
            continue
        g = new if type(new) is Tensor and type(g) is Tensor else np.array(_values(new), z.dtype)
        if g.shape != z.shape:
            raise ShapeError(f"a hook on {_label(z)} returned a gradient of shape {g.shape}")
    return g


def _changed(x: Tensor, z: Tensor) -> GraphError:
    used = f" after {z.op.name} used it" if x is not z and z.op else ""
    return GraphError(
        f"{_label(x)} was changed in place{used}, so its gradient would be wrong: an optimizer"
        " step or an in-place operator came between forward and backward."
        " Compute the loss again before backward()."
    )


# ---- words and small conversions -----------------------------------------------------------------


def _label(x: Any) -> str:
    """How a message calls an operand: its name, if it has one, and its shape."""
    if type(x) is Tensor:
        return f"{x.name} {x.shape}" if x.name else f"a Tensor of shape {x.shape}"
    return f"{np.shape(x)}" if isinstance(x, ndarray | list | tuple) else repr(x)


def _blame(op: Op, inputs: Any, attrs: dict[str, Any], error: Exception) -> Exception:
    """Say a kernel's error again, with the operation and the names and shapes of its inputs."""
    if isinstance(error, GraphError | FloatingPointError | MemoryError):
        return error
    shown = [x for x, rule in zip(inputs, op.rules) if rule is not None]
    labels = [
        f"{x.name} {x.shape}" if type(x) is Tensor and x.name else
        f"{x.shape}" if type(x) is Tensor or isinstance(x, ndarray) else repr(x)
        for x in shown
    ]
    what = f"{op.name} of {' and '.join(labels) if len(labels) < 3 else ', '.join(labels)}"
    reason = _reason(op, [np.shape(_values(x)) for x in shown]) or f"{error}"
    message = f"{what}: {reason.rstrip('.')}."
    for kind, ours in ((np.exceptions.AxisError, ShapeError), (IndexError, IndexError),
                       (ValueError, ShapeError), (TypeError, TypeError)):
        if isinstance(error, kind):
            return ours(message)
    return error


def _reason(op: Op, shapes: list[tuple[int, ...]]) -> str | None:
    """Why two shapes do not go together, in one clause; None if they are not to blame."""
    if len(shapes) != 2:
        return None
    a, b = shapes
    if op is ops.matmul:
        if not a or not b:
            return "matmul needs at least one axis on either side; use * to scale"
        inner_a, inner_b = a[-1], b[-2] if len(b) > 1 else b[0]
        if inner_a != inner_b:
            return f"inner sizes {inner_a} and {inner_b} differ"
        a, b = a[:-2], b[:-2]
    elif not isinstance(op.kernel, np.ufunc):
        return None
    for axis, (n, m) in enumerate(zip(reversed(a), reversed(b)), 1):
        if n != m and 1 not in (n, m):
            return f"sizes {n} and {m} on axis -{axis} do not broadcast"
    return None


def _no_rule(name: str, options: dict[str, Any]) -> NoRuleError:
    given = f" with {', '.join(f'{k}=' for k in options)}" if options else ""
    return NoRuleError(
        f"np.{name}{given} has no gradient rule, so a Tensor in it would lose its graph."
        " Use its .data if no gradient is wanted, or define the operation: tg.op(...)."
    )


def _values(x: Any) -> Any:
    return x.array if type(x) is Tensor else x


def _deep_values(x: Any) -> Any:
    """The arrays in a nest of lists, tuples and dicts of Tensors."""
    if isinstance(x, list | tuple):
        return type(x)([_deep_values(v) for v in x])
    if isinstance(x, dict):
        return {k: _deep_values(v) for k, v in x.items()}
    return _values(x)


def _plain_index(index: Any) -> Any:
    """An index without Tensors in it."""
    if isinstance(index, tuple):
        return tuple(_plain_index(i) for i in index)
    if type(index) is Tensor:
        return index.array
    return np.asarray(index, dtype=None if index else int) if isinstance(index, list) else index


def _one_or_many(numbers: tuple[Any, ...]) -> tuple[int, ...]:
    """Accept both f(2, 3) and f((2, 3))."""
    if len(numbers) == 1 and not isinstance(numbers[0], int | np.integer):
        return tuple(numbers[0])
    return tuple(numbers)


def _as_array(data: Any, own: bool, dtype: Any) -> ndarray:
    """The array of a Tensor: what is wrapped, what is copied and in which dtype."""
    if type(data) is Tensor and data.needs_grad:
        raise GraphError(f"Tensor({_label(data)}) would lose its graph; use .detach() or .copy()")
    data = _values(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"the rows of the list have different lengths: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"a Tensor holds real numbers, got {array.dtype} from {type(data).__name__}")
    if dtype is not None:
        wanted = np.dtype(dtype)
    elif not hasattr(data, "dtype") or (own and array.dtype.kind != "f"):
        wanted = _default_dtype
    else:
        wanted = array.dtype
    if own and wanted.kind != "f":
        raise TypeError(f"only floats can require gradients, got {wanted}")
    return np.array(array, dtype=wanted) if own else array.astype(wanted, copy=False)


def _rebuilt(array: ndarray, requires_grad: bool, name: str | None) -> Tensor:
    return Tensor(array, requires_grad, name=name)


def _into(out: Any, ufunc: np.ufunc, method: str, inputs: Any, options: dict[str, Any]) -> Any:
    """A ufunc that writes into an array: fine as long as no graph is lost."""
    lost = [x for x in (*inputs, *out) if type(x) is Tensor and (x.needs_grad or x in out)]
    if lost and (recording.get() or any(type(x) is Tensor for x in out)):
        raise GraphError(
            f"np.{ufunc.__name__} into an existing array would lose the graph of"
            f" {_label(lost[0])}: write a = a + t instead of a += t, or use t.data"
        )
    return getattr(ufunc, method)(*map(_values, inputs), out=out, **options)


# ---- NumPy's functions ---------------------------------------------------------------------------

# ufuncs that are rows of the rule book, and those that reduce by one
UFUNCS: dict[Any, Op] = {
    row.kernel: row for row in ops.TABLE.values() if isinstance(row.kernel, np.ufunc)
}
REDUCES: dict[Any, Op] = {
    np.add: ops.sum, np.multiply: ops.prod, np.maximum: ops.max, np.minimum: ops.min,
}
# functions that record; tinygrad_opt.numpy_functions fills it
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
# functions whose answer has no gradient: they read the values and answer with arrays
READING: set[Any] = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.isfinite, np.isinf, np.isnan, np.signbit,
    np.allclose, np.array_equal, np.array_equiv, np.isclose, np.all, np.any, np.argmax,
    np.argmin, np.argsort, np.argwhere, np.nonzero, np.flatnonzero, np.count_nonzero,
    np.searchsorted, np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.full_like,
    np.empty_like, np.result_type, np.can_cast, np.min_scalar_type, np.common_type,
    np.may_share_memory, np.shares_memory, np.array_repr, np.array_str, np.array2string,
    np.isin, np.bincount, np.digitize, np.iscomplexobj, np.isrealobj, np.isposinf, np.isneginf,
    np.unravel_index, np.ravel_multi_index, np.broadcast_shapes,
}
