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

from tinygrad_opt.hints import missing
from tinygrad_opt.viz.graph.draw import GraphView, draw, notebook_bundle
from tinygrad_opt.viz.graph.model import Cluster, Edge, Graph, Node, Row
from tinygrad_opt.viz.graph.modules import scope
from tinygrad_opt.viz.graph.trace import trace

_NAMES_IN = {                              # imported when one of them is asked for
    "animation.film": "Film save_gif",
    "plots.decision_regions": "decision_regions",
    "plots.descents": "animate_descent descend_1d plot_descent",
    "plots.layers": "plot_layers",
    "plots.learning_curves": (
        "contrary plot_batch_sizes plot_batches plot_compare plot_history plot_steps"),
    "plots.learning_rates": "lr_find plot_learning_rates plot_schedule",
    "plots.loss_landscape": "Waypoints loss_landscape",
    "plots.models": (
        "plot_attention plot_confusion plot_gradient_flow plot_samples plot_weights"),
    "plots.races": "animate_race follow plot_race race",
    "plots.sparse_inputs": "learn_sparse plot_sparse",
    "plots.sweeps": "plot_heat_map plot_parallel_coordinates",
    "plots.surfaces": "SURFACES Surface sampled sigmoid_neuron surface",
    "plots.training_animation": "TrainingRecorder animate_training",
    "plots.training_report": "report",
    "steps.explanation": "explain",
    "steps.page": "playback",
    "tables": "save_numbers",
}
_MODULE_OF = {name: module for module, names in _NAMES_IN.items() for name in names.split()}

__all__ = [
    "Cluster", "Edge", "Graph", "GraphView", "Node", "Row", "draw", "notebook_bundle", "scope",
    "trace", *sorted(_MODULE_OF),
]


def __getattr__(name: str) -> Any:
    if name == "formula":
        return import_module(f"{__name__}.steps.formula")
    module = _MODULE_OF.get(name)
    if module is None:
        raise missing("viz", name, __all__)
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
