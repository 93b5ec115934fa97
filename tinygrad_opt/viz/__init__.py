"""Pictures of what happens.

theme       colours, markers and fonts of all of them, light and dark
html_page   the frame of every page
graph       draw(tensor): the graph of a computation as SVG, DOT, PNG, PDF, HTML or text
steps       playback(loss, path), explain(loss, x), formula.parse: both passes, step by step
plots       training, models, surfaces, races and landscapes; Matplotlib is imported only when
            one of them is asked for
animation   the films of some of them, as GIF, WebP and pages that play
figures     blank figures in the theme
tables      the numbers behind a picture
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tinygrad_opt.viz.graph.draw import GraphView, draw, notebook_bundle
from tinygrad_opt.viz.graph.model import Cluster, Edge, Graph, Node, Row
from tinygrad_opt.viz.graph.modules import scope
from tinygrad_opt.viz.graph.trace import trace

_MODULE_OF = {
    "SURFACES": "plots.surfaces",
    "Film": "animation.film",
    "Surface": "plots.surfaces",
    "TrainingRecorder": "plots.training_animation",
    "Waypoints": "plots.loss_landscape",
    "animate_descent": "plots.descents",
    "animate_race": "plots.races",
    "animate_training": "plots.training_animation",
    "decision_regions": "plots.decision_regions",
    "descend_1d": "plots.descents",
    "explain": "steps.explanation",
    "follow": "plots.races",
    "learn_sparse": "plots.sparse_inputs",
    "loss_landscape": "plots.loss_landscape",
    "lr_find": "plots.learning_rates",
    "playback": "steps.page",
    "plot_batch_sizes": "plots.learning_curves",
    "plot_compare": "plots.learning_curves",
    "plot_confusion": "plots.models",
    "plot_descent": "plots.descents",
    "plot_gradient_flow": "plots.models",
    "plot_history": "plots.learning_curves",
    "plot_learning_rates": "plots.learning_rates",
    "plot_race": "plots.races",
    "plot_samples": "plots.models",
    "plot_schedule": "plots.learning_rates",
    "plot_sparse": "plots.sparse_inputs",
    "plot_weights": "plots.models",
    "race": "plots.races",
    "report": "plots.training_report",
    "save_gif": "animation.film",
    "save_numbers": "tables",
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
