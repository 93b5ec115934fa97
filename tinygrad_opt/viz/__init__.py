"""Pictures of what happens.

    theme       colours, markers and fonts of all of them, light and dark
    html_page   the frame of every page
    graph       draw(tensor): the graph of a computation as SVG, DOT, PNG, PDF, HTML or text
    steps       playback(loss, path), explain(loss, x), formula.parse: both passes, step by step
    plots       training, models, surfaces, races, landscapes; they import Matplotlib when asked
    animation   the films of some of them, as GIF, WebP and pages that play
    figures     blank figures in the theme
    tables      the numbers behind a picture
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_opt.hints import imported_later
from tinygrad_opt.viz.graph.draw import GraphView, draw, notebook_bundle
from tinygrad_opt.viz.graph.model import Cluster, Edge, Graph, Node, Row
from tinygrad_opt.viz.graph.modules import scope
from tinygrad_opt.viz.graph.trace import trace

if TYPE_CHECKING:                          # as type checkers and editors see them
    from tinygrad_opt.viz.animation.film import Film, save_gif
    from tinygrad_opt.viz.figures import Picture as Picture
    from tinygrad_opt.viz.plots.decision_regions import decision_regions
    from tinygrad_opt.viz.plots.descents import animate_descent, descend_1d, plot_descent
    from tinygrad_opt.viz.plots.layers import plot_layers
    from tinygrad_opt.viz.plots.learning_curves import (
        contrary,
        plot_batch_sizes,
        plot_batches,
        plot_compare,
        plot_history,
        plot_steps,
    )
    from tinygrad_opt.viz.plots.learning_rates import lr_find, plot_learning_rates, plot_schedule
    from tinygrad_opt.viz.plots.loss_landscape import Waypoints, loss_landscape
    from tinygrad_opt.viz.plots.models import (
        plot_attention,
        plot_confusion,
        plot_gradient_flow,
        plot_samples,
        plot_weights,
    )
    from tinygrad_opt.viz.plots.races import Race, animate_race, follow, plot_race, race
    from tinygrad_opt.viz.plots.sparse_inputs import learn_sparse, plot_sparse
    from tinygrad_opt.viz.plots.surfaces import SURFACES, Surface, sampled, sigmoid_neuron, surface
    from tinygrad_opt.viz.plots.sweeps import plot_heat_map, plot_parallel_coordinates
    from tinygrad_opt.viz.plots.training_animation import TrainingRecorder, animate_training
    from tinygrad_opt.viz.plots.training_report import report
    from tinygrad_opt.viz.steps import formula as formula
    from tinygrad_opt.viz.steps.explanation import explain
    from tinygrad_opt.viz.steps.page import playback
    from tinygrad_opt.viz.tables import save_numbers

__all__ = [                                # noqa: RUF022 (as the reference shows them)
    "draw", "playback", "explain", "trace", "scope", "report",
    "animate_descent", "animate_race", "animate_training", "contrary", "decision_regions",
    "descend_1d", "follow", "learn_sparse", "loss_landscape", "lr_find", "notebook_bundle",
    "plot_attention", "plot_batch_sizes", "plot_batches", "plot_compare", "plot_confusion",
    "plot_descent", "plot_gradient_flow", "plot_heat_map", "plot_history", "plot_layers",
    "plot_learning_rates", "plot_parallel_coordinates", "plot_race", "plot_samples",
    "plot_schedule", "plot_sparse", "plot_steps", "plot_weights", "race", "sampled", "save_gif",
    "save_numbers", "sigmoid_neuron", "surface",
    "SURFACES", "Cluster", "Edge", "Film", "Graph", "GraphView", "Node", "Race", "Row",
    "Surface", "TrainingRecorder", "Waypoints",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = imported_later(__name__, {
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
        "plots.races": "Race animate_race follow plot_race race",
        "plots.sparse_inputs": "learn_sparse plot_sparse",
        "plots.sweeps": "plot_heat_map plot_parallel_coordinates",
        "plots.surfaces": "SURFACES Surface sampled sigmoid_neuron surface",
        "plots.training_animation": "TrainingRecorder animate_training",
        "plots.training_report": "report",
        "steps.explanation": "explain",
        "steps.page": "playback",
        "tables": "save_numbers",
    }, modules="steps.formula")
