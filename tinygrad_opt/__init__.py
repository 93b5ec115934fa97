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

# where the names live that are imported when they are first used
_LATER = {
    "History": "tinygrad_opt.train",
    "compile": "tinygrad_opt.compiler",
    "data": "tinygrad_opt",
    "detect_nonfinite": "tinygrad_opt.nonfinite",
    "diagnose": "tinygrad_opt.train",
    "draw": "tinygrad_opt.viz",
    "fit": "tinygrad_opt.train",
    "grad": "tinygrad_opt.autograd",
    "gradcheck": "tinygrad_opt.autograd",
    "hessian": "tinygrad_opt.autograd",
    "hvp": "tinygrad_opt.autograd",
    "interop": "tinygrad_opt",
    "jacobian": "tinygrad_opt.autograd",
    "live": "tinygrad_opt",
    "load": "tinygrad_opt.checkpoint",
    "optim": "tinygrad_opt",
    "parallel": "tinygrad_opt",
    "playback": "tinygrad_opt.viz",
    "playground": "tinygrad_opt.live",
    "save": "tinygrad_opt.checkpoint",
    "seed": "tinygrad_opt.nn.init",
    "train": "tinygrad_opt",
    "value_and_grad": "tinygrad_opt.autograd",
    "viz": "tinygrad_opt",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    home = _LATER.get(name)
    if home is None:
        from tinygrad_opt.hints import missing

        raise missing("tinygrad_opt", name, __all__)
    if home == __name__:
        return import_module(f"{home}.{name}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LATER.keys())


class _Elsewhere:
    """Asked last where an import finds nothing: says what other libraries' names are here."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        package, _, last = name.rpartition(".")
        if package.partition(".")[0] == "tinygrad_opt":
            from tinygrad_opt.hints import of_others

            if cure := of_others(package.rpartition(".")[2], last):
                raise ImportError(f"{package} has no {last!r}; {cure}", name=name)


if not any(finder.__module__ == __name__ for finder in meta_path if isinstance(finder, type)):
    meta_path.append(_Elsewhere)                           # once, however often it is reloaded


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
