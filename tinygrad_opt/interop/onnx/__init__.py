"""ONNX files, written and read: models for other run-times, and models from other libraries."""

from tinygrad_opt.interop.onnx.writer import save

__all__ = ["save"]
