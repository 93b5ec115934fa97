"""What comes in from outside, as operations work with it: arrays, numbers, lists, Tensors' values.

Nothing else lets an array in, so that a captured step can neither miss one nor freeze it: it reads
arrays outside anew, and converts them anew, at each replay.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_opt import kernels
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.recording import default_dtype, tracer
from tinygrad_opt.typing import Array, DTypeLike

__all__ = ["array_of", "as_operand", "converted", "entered", "held"]


def entered(x: object, dtype: np.dtype | None = None) -> Array | float:
    """What an operation works with when it is given x from outside, which is not a Tensor.

    Arrays are converted to the dtype, if there is one; NumPy's numbers become Python's, which are
    weak, and lists arrays; what can stand for no real numbers is refused.
    """
    if isinstance(x, np.generic) and x.dtype.kind in "fiub":
        number: float = x.item()
        return number
    array = real(array_of(x))
    return converted(array, dtype) if dtype is not None else array


def held(data: object, own: bool, dtype: DTypeLike | None) -> Array:
    """What a Tensor holds of such data: a copy of its own or the array itself, in which dtype."""
    try:
        array = real(array_of(data))
    except ValueError as error:
        raise ShapeError(f"the rows of the list have different lengths: {error}") from error
    if dtype is not None:
        wanted = np.dtype(dtype)
    elif not hasattr(data, "dtype") or (own and array.dtype.kind != "f"):
        wanted = default_dtype()
    else:
        wanted = np.dtype(array.dtype.type)                # of this machine's byte order
    if own and wanted.kind != "f":
        raise TypeError(f"only floats can require gradients, got {wanted}")
    return converted(kernels.asarray(array), wanted, copy=own)


def as_operand(x: object) -> Array:
    """A Tensor or an array as it is, also one of a step that is captured; anything else as one."""
    return x if kernels.speaks_numpy(x) else np.asarray(x)


def array_of(x: object) -> Array:
    """The array that stands behind something array-like."""
    if type(x) is np.ndarray:
        return x
    # see tinygrad_opt.compiler
    stands_for: Callable[[], Array] | None = getattr(x, "__traced_array__", None)
    if stands_for:
        return stands_for()
    return x if kernels.is_duck(x) else np.asanyarray(x)


def converted(array: Array, dtype: np.dtype, copy: bool = False) -> Array:
    """The array in a dtype, converted anew at each replay of a captured step."""
    if array.dtype == dtype and not copy:
        return array
    program = tracer.get()
    if program is None:
        result: Array = kernels.asarray(array).astype(dtype)
    else:
        result = program.compute(np.ndarray.astype, (array, dtype), {})[0]
    return result


def real(array: Array) -> Array:
    """The array, if it holds real numbers and nothing beside them."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("a Tensor cannot hold a masked array: its mask would be lost. Fill it"
                        " first, x.filled(0), or weigh the entries by the mask")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"a Tensor holds real numbers, got an array of {array.dtype}")
    return array
