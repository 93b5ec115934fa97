"""Ways to and from other libraries; each is imported when it is first used.

    TinyClassifier, TinyRegressor      estimators for scikit-learn
    onnx                               models as ONNX files
    script                             the same training as a script for another library
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_opt.hints import imported_later

if TYPE_CHECKING:
    from tinygrad_opt.interop import onnx
    from tinygrad_opt.interop.scripts import script
    from tinygrad_opt.interop.sklearn import TinyClassifier, TinyRegressor

__all__ = ["TinyClassifier", "TinyRegressor", "onnx", "script"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = imported_later(__name__, {
        "scripts": "script",
        "sklearn": "TinyClassifier TinyRegressor",
    }, modules="onnx")
