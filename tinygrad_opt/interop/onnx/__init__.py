"""ONNX files, written and read: models for other run-times, and models from other libraries."""

from tinygrad_opt.interop.onnx.reader import Graph, load
from tinygrad_opt.interop.onnx.writer import save

__all__ = ["Graph", "load", "save"]
