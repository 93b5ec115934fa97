"""Tensors, the computation graph that they record, and the backward pass through it.

A `Tensor` is an array that remembers how it was made: the operation (`op`), what it was
applied to (`inputs`, `attrs`) and when (`serial`, read off one clock). Nodes point at their
inputs only, so a graph frees itself when its end is dropped; and since inputs are always
older than what is made from them, sorting by `serial` is a topological sort.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from operator import attrgetter
from types import ModuleType
from typing import Any, NoReturn, TypeAlias, TypeVar, final, overload

import numpy as np

from tinygrad_opt import kernels, ops
from tinygrad_opt.errors import (
    GraphError,
    ShapeError,
    captured_hook,
    captured_read,
    changed_in_place,
    kernel_error,
    no_rule,
    subject,
)
from tinygrad_opt.hints import answer_names, answers
from tinygrad_opt.methods import Methods
from tinygrad_opt.ops import Joint, Op
from tinygrad_opt.outside import array_of, as_operand, converted, entered, held
from tinygrad_opt.recording import (
    default_dtype,
    differentiating,
    effect,
    lifted,
    nested,
    no_grad,
    observed,
    recording,
    set_default_dtype,
    tick,
    tracer,
    unrepeatable,
    with_grad,
)
from tinygrad_opt.typing import Array, ArrayLike, DTypeLike

__all__ = ["Gradient", "Tensor", "apply", "backward_pass", "differentiating", "history", "no_grad",
           "set_default_dtype"]

ndarray = np.ndarray
T = TypeVar("T")
Gradient: TypeAlias = "Array | Tensor"              # a Tensor where the backward pass is recorded
Hook: TypeAlias = "Callable[..., ArrayLike | None]"          # of a gradient
_AS_IT_IS = nullcontext()

# What NumPy's functions do when they meet a Tensor; tinygrad_opt.numpy_functions fills it.
FUNCTIONS: dict[object, Callable[..., object]] = {}
# What a notebook shows of a Tensor, by MIME type; the package sets it to a drawing of its graph.
notebook_view: Callable[[Tensor], dict[str, str]] | None = None

# ---- recording -----------------------------------------------------------------------------------


def apply(op: Op, *inputs: object, **attrs: object) -> Tensor:
    """Compute z = op(inputs) and, if a gradient may be wanted, remember how.

    Parameters
    ----------
    op : Op
        A row of the operator table.
    *inputs : Tensor, array or number
        What the kernel is applied to. The float Tensors among them decide the dtype.
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
    arrays: list[object] = []
    needs = mixed = False
    dtype = None                                           # of the Tensors
    for x in inputs:
        if type(x) is Tensor:
            array = x._array
            if array.dtype is not dtype:
                mixed = mixed or dtype is not None
                dtype = array.dtype if dtype is None else _agreed(dtype, array.dtype)
            needs = needs or x._needs_grad
            arrays.append(array)
        else:
            mixed = mixed or not (
                type(x) in _PLAIN or (op.vjps[len(arrays)] is None and _is_index(x)))
            arrays.append(x)
    program = tracer.get()
    data: Array | float
    shared = None
    try:
        if mixed or dtype is None:
            inputs = _fitted(op, inputs, arrays, dtype)
        if program is not None:
            data, shared = program.compute(op, inputs, attrs)
        elif op.shared is None:
            data = op.kernel(*arrays, **attrs)
        else:
            shared = op.shared(*arrays, **attrs)
            data = op.kernel(*arrays, shared=shared, **attrs)
    except Exception as error:
        raise kernel_error(op, inputs, error) from error
    if type(data) is not ndarray or data.dtype is not dtype:
        data = _settled(op, data, dtype)
    if not (needs and recording.get()):
        return constant(data)
    z = _new(Tensor)                                       # slots filled directly: this runs often
    z._array = data
    z._gradient = z._hooks = z.name = None
    z.serial = z._changed = tick()
    z._needs_grad = True
    z.op = op
    z.inputs = inputs
    z.attrs = attrs
    z._operands = arrays
    z._shared = shared
    return z


def constant(array: ndarray) -> Tensor:
    """A Tensor around an array of real numbers, without looking at it: a third of the time."""
    z = _new(Tensor)
    z._array = array
    z._gradient = z._hooks = z.name = z.op = z._shared = None
    z.serial = z._changed = tick()
    z._needs_grad = z._spent = False
    z.inputs, z.attrs = (), {}
    return z


# Python's numbers are weak to NumPy too, and slices are what they are
_PLAIN = {float, int, bool, slice, type(None), type(...)}


def _is_index(x: object) -> bool:
    """Whether NumPy takes an index, a mask or labels as they are."""
    return type(x) is ndarray or (type(x) is tuple and _PLAIN.issuperset(map(type, x)))


def _agreed(a: np.dtype, b: np.dtype) -> np.dtype:
    """The dtype on which two Tensors agree: floats decide."""
    if b.kind != "f":
        return a
    return np.result_type(a, b) if a.kind == "f" else b


def _fitted(
    op: Op, inputs: tuple[object, ...], arrays: list[Any], dtype: np.dtype | None
) -> tuple[object, ...]:
    """The inputs, weak ones converted to the dtype of the float Tensors; `arrays` alike."""
    given, vjps, duck = list(inputs), op.vjps, None
    floats = dtype if dtype is not None and dtype.kind == "f" else None
    for i, x in enumerate(inputs):
        if type(x) is Tensor:
            if type(arrays[i]) is not ndarray:
                duck = arrays[i]
            if floats is not None and arrays[i].dtype.kind != "f" and vjps[i] is not None:
                given[i] = x = Tensor(x, dtype=floats, name=x.name)
                arrays[i] = x._array
        elif vjps[i] is None:
            given[i] = arrays[i] = index_of(x)
        elif dtype is None:                                # no Tensor is there
            given[i] = arrays[i] = _as_array(x, False, None)
        elif type(x) not in _PLAIN and (type(x) is not ndarray or x.dtype is not dtype):
            given[i] = arrays[i] = entered(x, floats)
    if duck is not None:                                   # what comes from outside goes there
        for i, x in enumerate(inputs):
            if type(x) is not Tensor and vjps[i] is not None:
                given[i] = arrays[i] = kernels.moved(arrays[i], duck)
    return tuple(given)


def _settled(op: Op, made: Array | float, dtype: np.dtype | None) -> Array:
    """What a kernel has made as an array, of the dtype on which the float Tensors agree."""
    array = np.asarray(made) if isinstance(made, np.generic) else kernels.asarray(made)
    if dtype is None or array.dtype is dtype or array.dtype.kind != "f" or op is ops.cast:
        return array
    return converted(array, dtype if dtype.kind == "f" else default_dtype())


def index_of(x: object) -> Any:
    """An input through which no gradient flows, its Tensors and lists as arrays."""
    if type(x) is Tensor:
        return x._array
    if isinstance(x, list):
        return np.asarray(deep_values(x), dtype=None if x else int)
    if isinstance(x, tuple):
        return tuple(map(index_of, x))
    return array_of(x) if hasattr(x, "dtype") else x


def answer(function: Callable[..., T], *args: object, **kwargs: object) -> T:
    """Ask a function that has no gradient about values: it answers with an array."""
    program = tracer.get()
    if program is None:
        result = function(*deep_values(args), **deep_values(kwargs))
    else:
        result = program.lift(program.compute(function, args, kwargs)[0])
    return result


def records(*operands: object) -> bool:
    """Whether an operation on these would be recorded."""
    return any(type(x) is Tensor and x._needs_grad for x in operands) and recording.get()


# ---- the Tensor ----------------------------------------------------------------------------------


@final
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
    serial : int
        When it was made: a Tensor is younger than all that it was computed from.

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
        "__weakref__",
        "_array",
        "_changed",
        "_gradient",
        "_hooks",
        "_needs_grad",
        "_operands",
        "_shared",
        "_spent",
        "attrs",
        "inputs",
        "name",
        "op",
        "serial",
    )

    # The values; `data` reads and writes them with checks. Of a leaf it is another object, of the
    # same memory, once the leaf is frozen or hooked: captured steps compare this one slot.
    _array: Array
    attrs: dict[str, Any]       # the options of its kernel
    _changed: int               # when the values were last written
    _gradient: Any              # what `grad` holds
    _hooks: list[Hook] | None
    inputs: tuple[Any, ...]     # Tensors, arrays, numbers, indices
    name: str | None
    _needs_grad: bool           # what `requires_grad` reads
    op: Op | None
    serial: int
    _operands: list[object]     # what its kernel was given: the arrays of the inputs
    _shared: object             # what its kernel has computed for the VJPs too
    _spent: bool | None         # leaves: an optimizer has used this grad; None: and has said so

    _apply = staticmethod(apply)
    _answer = staticmethod(answer)

    @answers
    def __init__(
        self,
        data: ArrayLike,
        requires_grad: bool = False,
        *,
        dtype: DTypeLike | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(requires_grad, bool | np.bool_):
            raise TypeError(f"requires_grad is True or False, got {requires_grad!r:.60}; values of"
                            " some shape are made by NumPy: Tensor(np.zeros((2, 3)))")
        self._array = _as_array(data, requires_grad, dtype)
        self._needs_grad = bool(requires_grad)
        self.name = name
        self._gradient = self._hooks = self.op = self._shared = None
        self.inputs, self.attrs = (), {}
        self.serial = self._changed = tick()
        self._spent = False

    def __init_subclass__(cls) -> None:
        raise TypeError("Tensor cannot be subclassed: operations would not record the subclass")

    # ---- the values ------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The values, as an array."""
        return self._read()

    @data.setter
    def data(self, values: ArrayLike) -> None:
        self._read()
        new = kernels.asarray(values, self._array.dtype)
        if new.shape != self._array.shape:
            raise ShapeError(f"data of {subject(self)} cannot take values of shape {new.shape}")
        if self._needs_grad and new is not self._array:
            new = new.copy()
        self._array = new
        self._changed = tick()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor; may be set on leaves."""
        return self._needs_grad

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if flag == self._needs_grad:
            return
        if self.op is not None:
            raise GraphError(
                f"requires_grad of {subject(self)} follows from what it was computed from;"
                " use .detach() for a constant"
            )
        self._array = _as_array(self._array, True, None) if flag else self._array.view()
        self._needs_grad = bool(flag)

    @property
    def grad(self) -> Array | None:
        """∂L/∂self: an array, a Tensor after ``create_graph=True``, or None."""
        g: Array | None = self._gradient
        program = tracer.get()
        if program is not None:
            g = program.read(self, "grad", g)
        if type(g) is ndarray and (g.base is not None or not g.flags.writeable):
            g = self._gradient = g.copy()                   # a compiled step would write into it
        return g

    @grad.setter
    def grad(self, g: ArrayLike | None) -> None:
        if g is not None and np.shape(g) != self._array.shape:
            raise ShapeError(f"the gradient of {subject(self)} cannot have shape {np.shape(g)}")
        if g is not None and (type(g) is not Tensor or tracer.get() is not None):
            g = converted(array_of(values_of(g)), self._array.dtype)
        effect(set_gradient, self, g)

    @property
    def is_leaf(self) -> bool:
        """Whether it was given rather than computed."""
        return self.op is None

    def _read(self) -> Array:
        """The values, for eyes outside the engine: a captured step would freeze what they see."""
        if tracer.get() is not None:
            unrepeatable(captured_read, self)
        return self._array

    def detach(self) -> Tensor:
        """A constant with the same values, sharing memory."""
        return Tensor(observed(self, "array", self._array), name=self.name)

    # ---- gradients -------------------------------------------------------------------------------

    @answers
    def backward(self, gradient: ArrayLike | None = None, *, create_graph: bool = False) -> None:
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
        with with_grad() if create_graph else _AS_IT_IS:
            seed = first_gradient(self, gradient, create_graph)
            if gradient is not None and type(seed) is ndarray:
                seed.flags.writeable = False               # so that leaves may share it, unread
            gradients = backward_pass(self, seed, record=create_graph)
        leaves = []
        for t, g in gradients.items():
            if t.op is None:
                leaves.append((t, g))
            else:
                t._gradient = g if type(g) is ndarray else array_of(values_of(g))   # no cycle
        effect(deliver, leaves)

    def register_hook(self, hook: Hook) -> Callable[[], None]:
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
        if not self._needs_grad:
            raise GraphError(f"no gradient ever reaches {subject(self)}: it does not require grad")
        if not callable(hook):
            raise TypeError(f"a hook is a function of the gradient, got {hook!r}")
        hooks = self._hooks = self._hooks or []

        def change(how: Callable[[Hook], None]) -> None:
            how(hook)
            if self.op is None:                            # whoever compares its array notices
                self._array = self._array.view()

        change(hooks.append)
        return lambda: change(hooks.remove)

    # ---- changes in place ------------------------------------------------------------------------

    def __setitem__(self, index: object, value: ArrayLike) -> None:
        if records(self, value):
            self._become(ops.put, value, index)
            return
        try:
            self._read()[index_of(index)] = values_of(value)
        except Exception as error:
            raise kernel_error(ops.put, (self, value, index), error) from error
        self._changed = tick()

    def _become(self, op: Op, *others: object) -> Tensor:
        """Become op(self, *others) in place, keeping the graph right.

        With nothing to record the values are overwritten. Otherwise this object becomes the
        new node, and a copy takes its place as the node it has been so far.
        """
        if not records(self, *others):
            self._read()                                   # a captured step could not repeat it
            with no_grad():
                result = apply(op, Tensor(self._array), *others)._array
            if result.shape != self._array.shape:
                raise ShapeError(f"{subject(self)} cannot become {result.shape} in place")
            np.copyto(self._array, result)
            self._changed = tick()
            return self
        if self.op is None and self._needs_grad:
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
        after = apply(op, before, *(before if x is self else x for x in others))
        if after.shape != self.shape:
            raise ShapeError(f"{subject(self)} cannot become {after.shape} in place")
        for slot in Tensor.__slots__[1:]:
            if slot not in ("_gradient", "_spent", "name"):
                setattr(self, slot, getattr(after, slot, None))
        return self

    # ---- Python's protocols ----------------------------------------------------------------------

    __hash__ = object.__hash__             # a Tensor is a key by identity

    def __repr__(self) -> str:
        array = self._read()
        text = np.array2string(array, separator=", ", prefix="Tensor(", threshold=200)
        parts = [text if array.ndim else str(array)]
        if array.dtype != default_dtype():
            parts.append(f"dtype={array.dtype}")
        if self.name:
            parts.append(f"name={self.name!r}")
        if self.op is not None:
            parts.append(f"op={self.op.name}")
        elif self._needs_grad:
            parts.append("requires_grad=True")
        return f"Tensor({', '.join(parts)})"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, str]:
        if notebook_view is None or tracer.get() is not None or kernels.is_duck(self._array):
            return {"text/plain": repr(self)}
        return notebook_view(self)

    def __treescope_repr__(self, path: str | None, render: object) -> object:
        from tinygrad_opt.markup import tree

        shown = {"data": self._read(), "grad": self.grad, "name": self.name,
                 "requires_grad": self._needs_grad, "op": self.op}
        return tree(self, {k: v for k, v in shown.items() if v is not None}, path, render)

    def __reduce__(self) -> tuple[object, ...]:
        if self.op is not None:
            raise GraphError(
                f"{subject(self)} was computed; copy or pickle its values: .detach() or .data"
            )
        return partial(Tensor, name=self.name), (self._read(), self._needs_grad)

    # ---- NumPy's protocols -----------------------------------------------------------------------

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if self._needs_grad and recording.get():
            raise GraphError(
                f"turning {subject(self)} into an array would lose its graph: use .data for the"
                " values, or np.stack and np.concatenate to join Tensors"
            )
        return np.array(self._read(), dtype=dtype, copy=copy)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: object, out: tuple[object, ...] | None = None,
        **options: object,
    ) -> object:
        if out is not None:
            lost: list[object] = [x for x in out if type(x) is Tensor]
            lost = lost or [x for x in inputs if records(x)]
            if lost:
                raise GraphError(
                    f"np.{ufunc.__name__} into an existing array would lose the graph of"
                    f" {subject(lost[0])}: write a = a + t instead of a += t, or use t.data"
                )
            return getattr(ufunc, method)(*[x._read() if type(x) is Tensor else x for x in inputs],
                                          out=out, **options)
        if method == "__call__" and not options:
            row = ops.UFUNCS.get(ufunc)
            if row is not None:
                return apply(row, *inputs)
            if ufunc in FUNCTIONS:
                return FUNCTIONS[ufunc](*inputs)
        reduce = ops.REDUCES.get((ufunc, method))
        if reduce is not None:
            return apply(reduce, *inputs, **{"axis": 0, **options})
        how = "" if method == "__call__" else f".{method}"
        raise no_rule(ufunc.__name__ + how, options)

    def __array_function__(
        self, func: Callable[..., object], types: object, args: Sequence[object],
        kwargs: Mapping[str, object],
    ) -> object:
        recorded = FUNCTIONS.get(func) or getattr(func, "plain", None)
        if recorded is not None:
            return recorded(*args, **kwargs)
        module = getattr(func, "__module__", "numpy").removeprefix("numpy").lstrip(".")
        raise no_rule(".".join(filter(None, (module, func.__name__))), {})

    def __apply_op__(self, op: Op, inputs: tuple[object, ...], attrs: dict[str, object]) -> Tensor:
        return apply(op, *inputs, **attrs)



_new = Tensor.__new__



class _Module(ModuleType):
    """This file, which is called by mistake where `Tensor` is meant."""

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("tg.tensor is a module; PyTorch's tensor here: tg.Tensor(...)")


sys.modules[__name__].__class__ = _Module
answer_names(Methods, "Tensor")
for _name, _method in vars(Methods).items():               # a user's error names the Tensor
    if callable(_method):
        _method.__qualname__ = f"Tensor.{_name}"


def _as_array(data: object, own: bool, dtype: DTypeLike | None) -> Array:
    """The array of a Tensor: what is wrapped, what is copied and in which dtype."""
    if type(data) is Tensor and data._needs_grad:
        raise GraphError(f"Tensor({subject(data)}) would lose its graph; use .detach() or .copy()")
    if type(data) is Tensor:
        data = observed(data, "array", data._array)
    return held(data, own, dtype)


# ---- the backward pass ---------------------------------------------------------------------------


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
            if type(x) is Tensor and x._needs_grad and x.serial >= since and x not in seen:
                seen.add(x)
                if x.op is not None:
                    stack.append(x)
    return sorted(seen, key=attrgetter("serial"))


def backward_pass(
    end: Tensor, seed: Gradient, *, record: bool = False, since: int = -1
) -> dict[Tensor, Gradient]:
    """Reverse-mode differentiation: from the gradient `seed` of `end` to those of its history.

    Parameters
    ----------
    end : Tensor
        The Tensor that is differentiated.
    seed : ndarray or Tensor
        ∂L/∂end, of its shape and dtype; see `first_gradient`.
    record : bool
        Compute with Tensors instead of arrays, so that the gradients have graphs too.
    since : int
        Stop at Tensors made before this time.

    Returns
    -------
    dict
        Tensor → ∂L/∂Tensor, for every Tensor that was reached; Tensors too if `record`.
    """
    gradients: dict[Tensor, Gradient] = {end: seed}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):    # d√x/dx at 0 is inf
        for z in reversed(history(end, since)):
            g = gradients.get(z)
            if g is not None and z._hooks:
                g = gradients[z] = _hooked(z, g)
            if g is None or z.op is None:                  # nothing arrives here, or it stays here
                continue
            for x, part in _products(z, z.op, g, record, since):
                if x in gradients:                         # never +=: the other may be shared
                    part = _like(x, gradients[x] + part, record)
                elif x.op is None and (
                        type(part) is Tensor or part is g or part.base is not None):
                    part = _owned(part, g)
                gradients[x] = part
    return gradients


def _products(
    z: Tensor, op: Op, g: Gradient, record: bool, since: int
) -> Iterator[tuple[Tensor, Gradient]]:
    """The inputs of z through which gradients flow, with the products of g and their Jacobians."""
    made, inputs, attrs = z.serial, z.inputs, z.attrs
    if z._changed > made:
        raise changed_in_place(z)
    program = None if record else tracer.get()
    vjps = op.vjps if program is None else program.vjps(z)
    if record:
        operands = [g, z, *map(_as_tensor, inputs, vjps)]
    else:
        operands = [g, z._array, *z._operands]
        if op.shared is not None:
            attrs = {**attrs, "shared": z._shared}
    parts = vjps.vjp(*operands, **attrs) if type(vjps) is Joint else None
    for i, x in enumerate(inputs):
        if type(x) is not Tensor:
            continue
        if x._changed > made:
            raise changed_in_place(x, op)
        vjp = vjps[i]
        if not x._needs_grad or x.serial < since or vjp is None:
            continue
        part: Gradient = vjp(*operands, **attrs) if parts is None else parts[i]
        array = x._array
        if (record or type(part) is not ndarray or part.shape != array.shape
                or part.dtype is not array.dtype):
            part = _like(x, part, record)
        yield x, part


def _owned(part: Gradient, g: Gradient) -> Gradient:
    """A gradient that a leaf may keep: neither g itself, nor memory that others may write to."""
    if part is not g and values_of(part).base is None:
        return part
    if type(part) is Tensor:
        return part.copy()
    return part if type(part) is ndarray and not _may_be_written(part) else part.copy("K")


def _may_be_written(array: ndarray) -> bool:
    """Whether anybody could write to its memory; `Tensor.grad` copies what nobody can."""
    while type(array.base) is ndarray:
        array = array.base
    return array.flags.writeable or array.base is not None


def _as_tensor(x: object, vjp: object) -> object:
    """An input as a VJP takes it that is to be recorded; masks, labels, indices stay arrays."""
    return values_of(x) if vjp is None else Tensor(x) if type(x) is ndarray else x


def _like(x: Tensor, g: Gradient, record: bool) -> Gradient:
    """A gradient in the shape and dtype of x: broadcasting undone, NumPy's scalars as arrays."""
    array = x._array
    if record:
        g = g if type(g) is Tensor else Tensor(g)
    elif type(g) is not ndarray and (not hasattr(g, "reshape") or isinstance(g, np.generic)):
        g = np.asarray(g)
    if g.shape != array.shape:
        total: Callable[..., Gradient] = kernels.sum_to if type(g) is ndarray else ops.sum_to
        g = total(g, shape=array.shape)
        g = np.asarray(g) if isinstance(g, np.generic) else g
    return g if g.dtype is array.dtype else g.astype(array.dtype, copy=False)


def first_gradient(
    end: Tensor, gradient: ArrayLike | None = None, record: bool = False
) -> Gradient:
    """∂end/∂end, or the gradient that is given, checked: where a backward pass starts."""
    if not end._needs_grad:
        raise GraphError(
            f"backward() on {subject(end)}, which has no graph: it was made from constants only,"
            " or under no_grad(). Does any input have requires_grad=True?"
        )
    if gradient is None and end._array.size != 1:
        raise GraphError(
            f"backward() needs a single number, got shape {end.shape}."
            " Reduce it first: loss.sum() or loss.mean()."
        )
    if gradient is not None and np.shape(gradient) != end.shape:
        raise ShapeError(
            f"backward() of {subject(end)} needs a gradient of that shape, got {np.shape(gradient)}"
        )
    if record and type(gradient) is Tensor:
        return gradient.astype(end.dtype)
    if gradient is None:
        array = end._array
        g = kernels.constant("ones", array.shape, array.dtype) if type(array) is ndarray else (
            kernels.created("ones", array.shape, array.dtype, like=array))
    else:
        g = converted(array_of(values_of(gradient)), end.dtype, copy=True)
    return Tensor(g) if record else lifted(g)


def _hooked(z: Tensor, g: Gradient) -> Gradient:
    """Let the hooks of z see its gradient and replace it."""
    for hook in list(z._hooks or ()):
        shown = g
        if type(g) is ndarray:
            shown = g.view()
            shown.flags.writeable = False
        new = hook(shown)
        if new is None:
            unrepeatable(captured_hook, z)
            continue
        same = type(new) is type(g) and type(g) is not ndarray
        g = as_operand(new) if same else converted(array_of(values_of(new)), z.dtype, copy=True)
        if g.shape != z.shape:
            raise ShapeError(f"a hook on {subject(z)} returned a gradient of shape {g.shape}")
    return g


def set_gradient(t: Tensor, g: Gradient | None) -> None:
    """Let g be the gradient of t, whatever it was before."""
    t._gradient = g


def forget_gradients(tensors: list[Tensor]) -> None:
    """Let them have no gradients."""
    for t in tensors:
        t._gradient = None


def deliver(gradients: list[tuple[Tensor, Gradient]]) -> None:
    """Add gradients to the leaves that they belong to."""
    for t, _ in gradients:
        if t._spent and t._gradient is not None:
            warnings.warn(
                f"backward() adds to a gradient of {subject(t)} that step() has already used."
                " Call zero_grad() between steps, or set .grad = None.",
                stacklevel=5,                              # past the hints on names
            )
            t._spent = None
            break
    for t, g in gradients:
        if t._spent:
            t._spent = False
        if t._gradient is None:
            t._gradient = g
        elif type(g) is Tensor:
            t._gradient = t._gradient + g
        else:
            t._gradient = kernels.asarray(values_of(t._gradient) + g)


# ---- small conversions ---------------------------------------------------------------------------


@overload
def values_of(x: Tensor) -> Array: ...
@overload
def values_of(x: T) -> T: ...
def values_of(x: object) -> object:
    """The array of a Tensor; anything else as it is."""
    return x._array if type(x) is Tensor else x


@overload
def deep_values(x: Tensor) -> Array: ...
@overload
def deep_values(x: T) -> T: ...
def deep_values(x: object) -> object:
    """The arrays in lists, tuples and dicts of Tensors."""
    return x._array if type(x) is Tensor else nested(deep_values, x)


