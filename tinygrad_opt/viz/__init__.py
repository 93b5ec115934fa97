"""Pictures of what happens.

graph       draw(tensor): the graph of a computation as SVG, DOT, PNG, PDF, HTML or text
steps       playback(loss, path), explain(loss, x), formula.parse: both passes, step by step
plots       training, models, surfaces, races and landscapes, still and moving; Matplotlib is
            imported only when one of them is asked for
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tinygrad_opt.viz.graph.model import Cluster, Edge, Graph, Node, Row
from tinygrad_opt.viz.graph.modules import scope
from tinygrad_opt.viz.graph.tracing import trace
from tinygrad_opt.viz.graph.view import GraphView, draw, notebook_bundle

_MODULE_OF = {
    "SURFACES": "plots.surfaces",
    "Film": "plots.film",
    "Surface": "plots.surfaces",
    "TrainingRecorder": "plots.animate",
    "Waypoints": "plots.landscape",
    "animate_descent": "plots.descents",
    "animate_race": "plots.races",
    "animate_training": "plots.animate",
    "decision_regions": "plots.regions",
    "descend_1d": "plots.descending",
    "explain": "steps.explanation",
    "follow": "plots.racing",
    "learn_sparse": "plots.sparse",
    "loss_landscape": "plots.landscape",
    "lr_find": "plots.rates",
    "playback": "steps.page",
    "plot_batch_sizes": "plots.training",
    "plot_compare": "plots.training",
    "plot_confusion": "plots.models",
    "plot_descent": "plots.descents",
    "plot_gradient_flow": "plots.models",
    "plot_history": "plots.training",
    "plot_learning_rates": "plots.rates",
    "plot_race": "plots.races",
    "plot_samples": "plots.models",
    "plot_schedule": "plots.rates",
    "plot_sparse": "plots.sparse",
    "plot_weights": "plots.models",
    "race": "plots.racing",
    "report": "plots.report",
    "save_gif": "plots.film",
    "save_numbers": "plots.numbers",
    "sigmoid_neuron": "plots.surfaces",
    "surface": "plots.surfaces",
}

__all__ = [
    "Cluster", "Edge", "Graph", "GraphView", "Node", "Row", "draw", "notebook_bundle", "scope",
    "trace", *_MODULE_OF,
]


def __getattr__(name: str) -> Any:
    if name == "formula":
        return import_module(f"{__name__}.steps.formula")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
