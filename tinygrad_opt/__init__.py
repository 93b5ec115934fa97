"""tinygrad_opt: a minimal autograd engine with optimizers, on NumPy.

>>> import tinygrad_opt as tg
>>> x = tg.Tensor(3.0, requires_grad=True)
>>> (x * x).backward()
>>> float(x.grad)
6.0
"""

from __future__ import annotations

from sys import meta_path
from typing import TYPE_CHECKING

# for their effects: numpy_functions teaches Tensors NumPy's functions, and nn registers its rows
# in the operator table
from tinygrad_opt import errors, nn, numpy_functions, ops, tensor  # noqa: F401
from tinygrad_opt.errors import (
    CaptureError,
    CheckpointError,
    GradientError,
    GraphError,
    NonFiniteError,
    NoRuleError,
    RenderError,
    ShapeError,
    TinygradOptError,
)
from tinygrad_opt.hints import imported_later
from tinygrad_opt.ops import op
from tinygrad_opt.tensor import Tensor, history, no_grad, set_default_dtype

if TYPE_CHECKING:
    from tinygrad_opt import data, interop, live, optim, parallel, train, viz
    from tinygrad_opt.autograd import grad, gradcheck, hessian, hvp, jacobian, value_and_grad
    from tinygrad_opt.checkpoint import load, save
    from tinygrad_opt.compiler import compile
    from tinygrad_opt.live import playground
    from tinygrad_opt.nn.init import seed
    from tinygrad_opt.nonfinite import detect_nonfinite
    from tinygrad_opt.train import History, diagnose, fit
    from tinygrad_opt.viz import draw, playback

__version__ = "0.1.0"

__all__ = [
    "CaptureError",
    "CheckpointError",
    "GradientError",
    "GraphError",
    "History",
    "NoRuleError",
    "NonFiniteError",
    "RenderError",
    "ShapeError",
    "Tensor",
    "TinygradOptError",
    "compile",
    "data",
    "detect_nonfinite",
    "diagnose",
    "draw",
    "errors",
    "fit",
    "grad",
    "gradcheck",
    "hessian",
    "history",
    "hvp",
    "interop",
    "jacobian",
    "live",
    "load",
    "nn",
    "no_grad",
    "op",
    "ops",
    "optim",
    "parallel",
    "playback",
    "playground",
    "save",
    "seed",
    "set_default_dtype",
    "train",
    "value_and_grad",
    "viz",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = imported_later(__name__, {
        "autograd": "grad gradcheck hessian hvp jacobian value_and_grad",
        "checkpoint": "load save",
        "compiler": "compile",
        "live": "playground",
        "nn.init": "seed",
        "nonfinite": "detect_nonfinite",
        "train": "History diagnose fit",
        "viz": "draw playback",
    }, modules="data interop live optim parallel train viz")


class _NamesOfOthers:
    """Asked last where an import finds nothing: says what other libraries' names are here."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        package, _, last = name.rpartition(".")
        if package.partition(".")[0] == "tinygrad_opt":
            from tinygrad_opt.hints import of_others

            if cure := of_others(package.rpartition(".")[2], last):
                raise ImportError(f"{package} has no {last!r}; {cure}", name=name)


if not any(finder.__module__ == __name__ for finder in meta_path if isinstance(finder, type)):
    meta_path.append(_NamesOfOthers)                       # once, however often it is reloaded


def _notebook_view(t: Tensor) -> dict[str, str]:
    from tinygrad_opt.viz import notebook_bundle

    return notebook_bundle(t)


tensor.notebook_view = _notebook_view


def _keep_freed_memory() -> None:
    """Let the C library keep up to 32 MiB of freed memory for this process.

    glibc hands freed blocks back to the system at every training step and takes them again page by
    page, which doubles the time of a small step. Once a block of just under 32 MiB has been freed
    it keeps that much (mallopt(3), "dynamic mmap threshold"). None of its pages is ever touched,
    so nothing is used by it; other C libraries take no notice.
    """
    import numpy

    numpy.empty((1 << 25) - (1 << 13), numpy.uint8)


_keep_freed_memory()
