"""Pictures of what the engine does: graphs of computations as SVG, DOT, PNG, PDF and text."""

from tinygrad_opt.viz.graph import Cluster, Edge, Graph, Node, Row, trace
from tinygrad_opt.viz.modules import scope
from tinygrad_opt.viz.view import GraphView, draw, notebook_bundle

__all__ = [
    "Cluster", "Edge", "Graph", "GraphView", "Node", "Row", "draw", "notebook_bundle", "scope",
    "trace",
]
