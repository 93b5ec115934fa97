"""Ways to and from other libraries; each is imported when it is first used.

    TinyClassifier, TinyRegressor      estimators for scikit-learn
    onnx                               models as ONNX files
    script                             the same training as a script for another library
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygrad_opt.interop import onnx
    from tinygrad_opt.interop.scripts import script
    from tinygrad_opt.interop.sklearn import TinyClassifier, TinyRegressor

__all__ = ["TinyClassifier", "TinyRegressor", "onnx", "script"]

# where the names live, none of which is imported before it is used
_HOMES = {"TinyClassifier": "sklearn", "TinyRegressor": "sklearn", "onnx": "onnx",
          "script": "scripts"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        from tinygrad_opt.hints import missing

        raise missing("interop", name, __all__)
    home = import_module(f"{__name__}.{_HOMES[name]}")
    return home if _HOMES[name] == name else getattr(home, name)
