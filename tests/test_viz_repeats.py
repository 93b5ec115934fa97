"""Equal layers drawn once, ×N, and what is too large for any drawing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from effort import calls
from test_viz import Layer, leaf, recurrent

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz import draw, scope


def deep(layers, activation="tanh", width=16):
    """A network of so many equal layers, between a wider and a narrower one."""
    return nn.MLP([8, *[width] * (layers + 1), 3], activation=activation, rng=0)


def rows(n=4):
    return np.random.default_rng(0).normal(size=(n, 8)).astype("float32")


class Block(nn.Module):
    def __init__(self, n):
        self.up, self.down = Layer(n, 2 * n), Layer(2 * n, n)

    def forward(self, x):
        return x + self.down(np.tanh(self.up(x)))


def titles(graph):
    return [node.title for node in graph.nodes.values()]


def frames(graph):
    return {c.label: {graph.nodes[m].title for m in c.members} for c in graph.clusters}


def test_thirty_equal_layers_are_one_in_a_frame_that_says_so():
    model = deep(30)
    graph = draw(model, rows()).graph
    assert frames(graph)["layers.1 … layers.30  ×30"] == {
        "layers.1.weight", "layers.1.bias", "x@W+b", "tanh"}
    assert set(frames(graph)) == {"layers.0", "layers.1", "layers.1 … layers.30  ×30", "layers.31"}
    inner = next(c for c in graph.clusters if c.label == "layers.1")
    outer = next(c for c in graph.clusters if "×30" in c.label)
    assert inner.parent == outer.id
    parameters = model.parameters().values()
    assert graph.parameters == (len(parameters), sum(p.size for p in parameters))
    assert "folded from" in graph.caption and len(graph.nodes) < 15


def test_arrows_lead_through_the_one_that_stands_for_all():
    graph = draw(deep(30), rows()).graph
    inside = next(c for c in graph.clusters if "×30" in c.label).members
    into = [e for e in graph.edges if e.head in inside and e.tail not in inside]
    out = [e for e in graph.edges if e.tail in inside and e.head not in inside]
    assert len(into) == len(out) == 1
    depth = {}
    for id, edges in graph.inputs().items():
        depth[id] = 1 + max((depth[e.tail] for e in edges), default=0)
    assert depth[graph.end] == 6                           # leaf, three layers, two activations


@pytest.mark.parametrize("options", [{"max_nodes": None}, {"max_nodes": None, "style": "split"}])
def test_they_are_all_shown_on_request(options):
    graph = draw(deep(30), rows(), **options).graph
    assert sum(title.endswith(".weight") for title in titles(graph)) == 32
    assert not [c for c in graph.clusters if "×" in c.label]


def test_closed_modules_are_folded_too():
    graph = draw(deep(30), rows(), depth=0).graph
    assert [n.title for n in graph.nodes.values() if n.kind == "folded"] == [
        "layers.0", "layers.1", "layers.31"]
    assert [c.label for c in graph.clusters] == ["layers.1 … layers.30  ×30"]


def test_blocks_with_residual_connections_are_folded():
    model = nn.Sequential(*[Block(8) for _ in range(10)], Layer(8, 3))
    graph = draw(model, rows()).graph
    [label] = [label for label in frames(graph) if "×" in label]
    assert label in ("0 … 9  ×10", "1 … 9  ×9")
    assert sum(title == "tanh" for title in titles(graph)) <= 2


def test_two_stacks_are_two_frames_and_those_around_and_inside_stay():
    class Net(nn.Module):
        def __init__(self):
            self.encoder = nn.Sequential(*[Block(8) for _ in range(10)])
            self.bridge = Layer(8, 6)
            self.decoder = nn.Sequential(*[Block(6) for _ in range(8)])

        def forward(self, x):
            return self.decoder(np.sin(self.bridge(self.encoder(x))))

    view = draw(Net(), rows(), engine="builtin")
    clusters = view.graph.clusters
    assert len({c.id for c in clusters}) == len(clusters)
    # the block that takes the input and the one that gives the result stand for themselves
    assert [c.label for c in clusters if "×" in c.label] == [
        "encoder.1 … encoder.9  ×9", "decoder.0 … decoder.6  ×7"]
    by_id = {c.id: c for c in clusters}
    for c in clusters:
        assert c.parent is None or c.members < by_id[c.parent].members
    assert titles(view.graph).count("sin") == 1 and titles(view.graph).count("tanh") == 4
    assert view.svg.count("×9<") == 1 and view.dot.count("subgraph") == len(clusters)


def test_a_few_layers_and_unequal_ones_stay_as_they_are():
    for model in (deep(4), nn.MLP([8, *range(9, 40), 3], rng=0),
                  nn.Sequential(*[nn.Linear(8, 8, bias=bool(k % 3), rng=0) for k in range(9)])):
        graph = draw(model, rows()).graph
        assert not [c for c in graph.clusters if "×" in c.label]


def test_layers_whose_operands_have_other_names_are_equal():
    x = tg.Tensor(rows(), name="x")
    for k in range(20):
        x = x @ (leaf(np.eye(8, dtype="float32"), f"w{k}") * 2.0)
    graph = draw(x.sum()).graph
    assert len(graph.repeats) == 1 and len(graph.nodes) < 12


def test_layers_that_differ_in_a_number_are_not_equal():
    x = tg.Tensor(rows(), name="x")
    for k in range(20):
        x = (x @ leaf(np.eye(8, dtype="float32"), f"w{k}")) * (k + 2.0)
    graph = draw(x.sum()).graph
    assert len([t for t in titles(graph) if t.startswith("y × ")]) == 20


def test_a_loop_with_shared_weights_is_no_stack():
    graph = draw(recurrent(50)).graph
    assert not [c for c in graph.clusters if "×" in c.label]
    assert [n for n in graph.nodes.values() if "more steps" in n.title]
    x, w = tg.Tensor(rows(), name="x"), leaf(np.eye(8, dtype="float32"), "w")
    for _ in range(30):
        x = np.tanh(x @ w)
    assert titles(draw(x).graph).count("tanh") == 30


def test_operations_without_weights_are_no_layers():
    x = leaf(1.0, "x")
    for _ in range(60):
        x = np.sin(x)
    assert titles(draw(x).graph).count("sin") == 60


def test_layers_with_data_of_their_own_are_not_folded():
    h = tg.Tensor(rows(), name="h")
    for k in range(20):
        h = np.tanh(h @ leaf(np.eye(8, dtype="float32"), f"w{k}") + tg.Tensor(rows(), name=f"x{k}"))
    assert sum(t.startswith("x") and len(t) > 1 for t in titles(draw(h.sum()).graph)) == 20


def test_the_repeat_stands_in_every_output():
    view = draw(deep(12), rows(), engine="builtin")
    for text in (view.dot, view.svg, view.html):
        assert "layers.1 … layers.12  ×12" in text
    box = next(c for c in view.graph.clusters if "×12" in c.label)
    frame = view.layout.frames[box.id]
    for id, b in view.layout.boxes.items():
        inside = frame.left < b.x < frame.right and frame.top < b.y < frame.bottom
        assert inside == (id in box.members)


def neurons(sizes):
    """A network of scalars, each neuron and each layer in a scope."""
    xs = [leaf(1.0, f"x{i}") for i in range(sizes[0])]
    for k, (n, m) in enumerate(itertools.pairwise(sizes), 1):
        made = []
        with scope(f"layer {k}"):
            for j in range(m):
                with scope(f"neuron {j + 1}"):
                    weights = [leaf(0.5, "w") for _ in range(n)]
                    made.append(np.tanh(sum((w * x for w, x in zip(weights, xs)), leaf(0.0, "b"))))
        xs = made
    return xs[0]


def test_what_is_computed_in_one_scope_is_one_frame_though_nothing_joins_it():
    graph = draw(neurons([2, 4, 1]), max_nodes=None).graph
    labels = [c.label for c in graph.clusters]
    assert labels.count("layer 1") == 1 and labels.count("neuron 3") == 1
    [layer] = [c.id for c in graph.clusters if c.label == "layer 1"]
    assert sum(c.parent == layer for c in graph.clusters) == 4


def test_a_scope_that_is_entered_again_is_another_frame():
    x = leaf(2.0, "x")
    for _ in range(3):
        with scope("step"):
            x = np.sin(x) * leaf(1.0)
    graph = draw(x + 1).graph
    assert [(c.label, len(c.members)) for c in graph.clusters] == [
        ("step", 4), ("step", 3), ("step", 3)]             # x stands with its one use


def test_what_lies_between_two_scopes_is_in_neither():
    x = leaf(2.0, "x")
    with scope("step"):
        x = np.sin(x) * leaf(1.0)
    x = np.exp(x)
    with scope("step"):
        x = np.sin(x) * leaf(1.0)
    graph = draw(x).graph
    [outside] = [id for id, n in graph.nodes.items() if n.title == "exp"]
    assert not [c for c in graph.clusters if outside in c.members]


def test_two_thousand_boxes_with_scopes_become_modules_and_these_become_larger_ones():
    end = neurons([2, 24, 24, 1])
    graph = draw(end).graph
    assert len(graph.nodes) <= 300 and titles(graph).count("neuron 24") == 2
    assert [c.label for c in graph.clusters if c.label.startswith("layer")] == [
        "layer 1", "layer 2", "layer 3"]
    small = draw(end, max_nodes=20).graph
    assert titles(small) == ["layer 1", "layer 2", "layer 3"]
    assert [[r.text for r in n.rows] for n in small.nodes.values()] == [
        ["120 operations", "74 params, 74 values"],
        ["1,176 operations", "600 params, 600 values"], ["49 operations", "25 params, 25 values"]]


def test_a_million_operations_are_counted_and_not_drawn():
    x = leaf(1.0, "x")
    y = x
    for _ in range(210_000):
        y = np.sin(y)
    view = draw(y, engine="builtin", name="deep")
    _, count = calls(lambda: view.svg)
    assert [r.text for r in view.graph.nodes["n0"].rows] == ["210,000 × sin", "1 × parameter"]
    assert view.graph.nodes["n0"].title == "210,001 nodes" and "210,000" in view.svg
    assert count < 30 * 210_000
    with pytest.raises(tg.RenderError, match=r"210,001 boxes would take minutes.*max_nodes=None"):
        draw(y, max_nodes=None)
