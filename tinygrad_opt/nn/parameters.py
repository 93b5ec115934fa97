"""What layers share: how a parameter is made, and how an array comes in."""

from __future__ import annotations

import functools

import numpy as np

from tinygrad_opt.nn import init as initialisers
from tinygrad_opt.nn.init import Init
from tinygrad_opt.recording import default_dtype
from tinygrad_opt.tensor import Tensor, constant
from tinygrad_opt.typing import ArrayLike, DTypeLike, Seed, Shape


def parameter(
    name: str, shape: Shape, init: Init, dtype: DTypeLike | None, rng: Seed, usual: Init = None
) -> Tensor:
    """A leaf that requires grad, drawn by an initialiser; by the usual one if there is none."""
    values = np.asarray(initialisers.get(usual if init is None else init)(shape, rng))
    if values.shape != tuple(shape):
        raise ValueError(f"the initialiser of {name} gave shape {values.shape}, not {shape}")
    return Tensor(values, True, dtype=default_dtype() if dtype is None else dtype, name=name)


def weight_and_bias(
    shape: Shape, fan_in: int, out: int, bias: bool, init: Init, dtype: DTypeLike | None, rng: Seed
) -> tuple[Tensor, Tensor | None]:
    """What most layers have: both U(−1/√fan_in, 1/√fan_in) as in PyTorch, or `init` and 0."""
    check_bias(bias)
    rng = initialisers.generator(rng)                      # one for both: a seed would repeat
    start = functools.partial(initialisers.uniform, bound=fan_in**-0.5)
    weight = parameter("weight", shape, init, dtype, rng, start)
    if not bias:
        return weight, None
    return weight, parameter("bias", (out,), None if init is None else "zeros", dtype, rng, start)


def check_bias(bias: object) -> None:
    """What stands in its place in other libraries is no bias: layers, an activation."""
    if not isinstance(bias, bool | np.bool_):
        raise TypeError(f"bias is True or False, got {bias!r:.60}; activations and further layers"
                        " are layers of their own: nn.Sequential(nn.Linear(2, 3), nn.ReLU())")


def as_input(x: ArrayLike, like: object = None) -> Tensor:
    """x as a Tensor of floats: arrays and integers in the dtype of `like`, or in the default.

    `like` is what stands beside x: only a float Tensor decides.
    """
    if type(x) is Tensor and x._array.dtype.kind == "f":
        return x
    dtype = default_dtype()
    if type(like) is Tensor and like._array.dtype.kind == "f":
        dtype = like._array.dtype
    if type(x) is np.ndarray and x.dtype is dtype:
        return constant(x)                                 # nothing to convert
    return x.astype(dtype) if type(x) is Tensor else Tensor(x, dtype=dtype)


def is_whole(n: object, least: int = 1) -> bool:
    """Whether it is a whole number of at least so much; True is none."""
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n >= least)


def positive(owner: str, **sizes: int) -> tuple[int, ...]:
    """The sizes as ints, checked to be at least 1."""
    for name, n in sizes.items():
        if not is_whole(n):
            raise ValueError(f"{owner}: {name} must be a positive integer, got {n!r}")
    return tuple(map(int, sizes.values()))
