"""Pictures of what happens. Matplotlib is imported only when a plot is asked for.

graphs      draw(tensor), GraphView, scope, trace
            graph (the model), modules, simplify, layers and layout (built-in), dot, svg, text,
            engines, look, view
playback    playback(loss, path), explain(loss, x), formula.parse
            flow (the walk, step by step), script + words + derivatives (what a step says)
training    plot_history, plot_compare, plot_schedule, plot_learning_rates, plot_batch_sizes (plots),
            plot_confusion, plot_samples, plot_weights, plot_gradient_flow (model_plots),
            decision_regions (regions), animate_training (animate), report (report_page)
optimizers  SURFACES, surface (surfaces), race, follow, descend_1d (racing), plot_race, animate_race
            (race_pictures), plot_descent, animate_descent (descent_pictures),
            loss_landscape, lr_find (landscape)
files       Film and save_gif (film, film_page, moving), save_numbers (numbers), style
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tinygrad_opt.viz.graph import Cluster, Edge, Graph, Node, Row, trace
from tinygrad_opt.viz.modules import scope
from tinygrad_opt.viz.view import GraphView, draw, notebook_bundle

_MODULE_OF = {
    "SURFACES": "surfaces",
    "Film": "film",
    "Surface": "surfaces",
    "TrainingRecorder": "animate",
    "Waypoints": "landscape",
    "animate_descent": "descent_pictures",
    "animate_race": "race_pictures",
    "animate_training": "animate",
    "decision_regions": "regions",
    "descend_1d": "racing",
    "explain": "explain",
    "follow": "racing",
    "loss_landscape": "landscape",
    "lr_find": "landscape",
    "playback": "playback",
    "plot_batch_sizes": "plots",
    "plot_compare": "plots",
    "plot_confusion": "model_plots",
    "plot_descent": "descent_pictures",
    "plot_gradient_flow": "model_plots",
    "plot_history": "plots",
    "plot_learning_rates": "plots",
    "plot_race": "race_pictures",
    "plot_samples": "model_plots",
    "plot_schedule": "plots",
    "plot_weights": "model_plots",
    "race": "racing",
    "report": "report_page",
    "save_gif": "film",
    "save_numbers": "numbers",
    "sigmoid_neuron": "surfaces",
    "surface": "surfaces",
}

__all__ = [
    "Cluster", "Edge", "Graph", "GraphView", "Node", "Row", "draw", "notebook_bundle", "scope",
    "trace", *_MODULE_OF,
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value                                # in the place of the module's own name
    return value
