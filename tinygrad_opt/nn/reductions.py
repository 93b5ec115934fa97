"""What losses share: how two inputs are brought together, and how one number comes out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_opt.errors import ShapeError
from tinygrad_opt.nn.parameters import default_dtype
from tinygrad_opt.tensor import Tensor

__all__ = ["as_tensor", "constant", "pair", "reduced", "values"]


def reduced(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        if not losses.size:
            raise ShapeError(f"no losses to take the mean of: the shape is {losses.shape}")
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f'reduction is "mean", "sum" or "none", got {reduction!r}')


def pair(name: str, x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Prediction and target as Tensors of one shape; a raw array takes the other's dtype."""
    if type(x) is Tensor:
        y = y if type(y) is Tensor else Tensor(y, dtype=_float(x.dtype))
    else:
        x = Tensor(x, dtype=_float(y.dtype)) if type(y) is Tensor else as_tensor(x)
        y = y if type(y) is Tensor else Tensor(y, dtype=x.dtype)
    if x.shape != y.shape:
        hint = _hint(x.shape, y.shape)
        raise ShapeError(f"{name} of shapes {x.shape} and {y.shape}: they must be the same.{hint}")
    return x, y


def _hint(x: tuple[int, ...], y: tuple[int, ...]) -> str:
    """What to try with two shapes that would broadcast to something else."""
    for longer, shorter, name in (x, y, "prediction"), (y, x, "target"):
        if longer == (*shorter, 1):
            return f" Drop the last axis, {name}[..., 0], or give the other one such an axis."
    return " Reshape one of them." if math.prod(x) == math.prod(y) else ""


def _float(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.kind == "f" else default_dtype()


def as_tensor(x: Any) -> Tensor:
    return x if type(x) is Tensor else Tensor(x, dtype=default_dtype())


def constant(x: Any, dtype: Any) -> np.ndarray:
    return np.asarray(values(x), dtype=dtype)


def values(x: Any) -> Any:
    return x.array if type(x) is Tensor else x
