"""ONNX files, written and read: models for other run-times, and models from other libraries."""

from tinygrad_opt.errors import install
from tinygrad_opt.hints import nothing_called

try:
    from tinygrad_opt.interop.onnx.reader import Graph, load
    from tinygrad_opt.interop.onnx.writer import save
except ModuleNotFoundError as error:
    raise ImportError(f"ONNX files need the package onnx: {install('onnx')}") from error

__all__ = ["Graph", "load", "save"]

__getattr__ = nothing_called("onnx", __all__)
