"""What can go wrong, and how it is said.

    Exception
    └── TinygradOptError             every error that this package raises on purpose
        ├── ShapeError               (ValueError)          shapes that do not fit together
        ├── GraphError               (RuntimeError)        gradients asked of the wrong graph
        │   ├── NoRuleError          (TypeError)           a NumPy function without a gradient rule
        │   └── CaptureError                               a step that cannot be captured
        ├── GradientError            (AssertionError)      a gradient that differs from finite differences
        ├── NonFiniteError           (FloatingPointError)  nan or inf where a number was needed
        ├── RenderError              (RuntimeError)        no engine could draw the picture
        └── CheckpointError          (ValueError)          a file that does not hold what it should

A message says what happened, with which names and shapes, and what to try.
"""

from __future__ import annotations

__all__ = [
    "CaptureError",
    "CheckpointError",
    "GradientError",
    "GraphError",
    "NoRuleError",
    "NonFiniteError",
    "RenderError",
    "ShapeError",
    "TinygradOptError",
]


class TinygradOptError(Exception):
    """Base of every error that this package raises on purpose."""


class ShapeError(TinygradOptError, ValueError):
    """Shapes, axes or sizes that do not fit together."""


class GraphError(TinygradOptError, RuntimeError):
    """A gradient was asked of a graph that cannot give it."""


class NoRuleError(GraphError, TypeError):
    """A NumPy function has no gradient rule; running it would lose the graph."""


class CaptureError(GraphError):
    """A training step does something that a captured program cannot repeat."""


class GradientError(TinygradOptError, AssertionError):
    """A gradient differs from its finite differences."""


class NonFiniteError(TinygradOptError, FloatingPointError):
    """A value or a gradient is nan or infinite."""


class RenderError(TinygradOptError, RuntimeError):
    """No engine on this machine could draw the picture."""


class CheckpointError(TinygradOptError, ValueError):
    """A saved file is damaged, or does not fit what it is loaded into."""
