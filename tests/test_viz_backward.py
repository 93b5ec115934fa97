"""draw(..., grads=True): the backward pass beside the forward arrows."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from test_viz import SVG, expression, leaf, network, recurrent

import tinygrad_opt as tg
from tinygrad_opt.errors import GraphError
from tinygrad_opt.viz import draw
from tinygrad_opt.viz.graph.flow import flow
from tinygrad_opt.viz.graph.look import ink
from tinygrad_opt.viz.graph.svg import beside


def told(view):
    """What stands on the arrows that run back, by the arrow beside which they run."""
    return {edge.id: edge.back.text for edge in view.graph.edges if edge.back}


def loss_of_network():
    model, x = network()
    loss = (model(tg.Tensor(x, name="x")) ** 2).mean()
    loss.name = "loss"
    return loss


def test_numbers_are_told_by_their_local_derivatives():
    a, b = leaf(2.0, "a"), leaf(-3.0, "b")
    assert told(draw(np.tanh(a * b + 6.5), grads=True)) == {
        "n0_n2": "∂ −3", "n1_n2": "∂ 2", "n2_n3": "∂ 1", "n3_n4": "∂ 0.7864"}


def test_an_operand_that_is_used_twice_has_the_sum_of_its_derivatives():
    a = leaf(3.0, "a")
    assert told(draw(a * a, grads=True)) == {"n0_n1": "∂ 6"}
    assert told(draw(a - a, grads=True)) == {"n0_n1": "∂ 0"}


def test_arrays_are_told_by_the_norm_of_what_flows():
    w = leaf([[3.0, 0.0], [0.0, 4.0]], "w")
    view = draw((w * 1.0).sum(), grads=True)
    assert told(view) == {"n0_n1": "|g| 2", "n1_n2": "|g| 2"}
    assert [edge.back.size for edge in view.graph.edges] == [2.0, 2.0]


def test_the_boxes_show_the_gradients_of_the_drawn_pass_and_no_gradient_is_touched():
    y = expression()
    run = flow(y)
    view = draw(y, grads=True)
    assert all(t.grad is None for t in tg.history(y))
    for node in view.graph.nodes.values():
        [row] = [r for r in node.rows if r.key == "grad"]
        expected = float(run.gradients[node.source])
        assert float(row.text.replace("−", "-")) == pytest.approx(expected, rel=1e-3)


def test_every_gradient_is_the_sum_of_slope_times_gradient_over_its_arrows():
    """The chain rule holds on the picture itself, to the digits that it shows."""
    graph = draw(expression(), grads=True).graph

    def shown(text):
        return float(text.replace("−", "-").replace("∂", ""))

    grads = {id: shown(next(r.text for r in n.rows if r.key == "grad"))
             for id, n in graph.nodes.items()}
    for id, edges in graph.outputs().items():
        if edges:
            total = sum(shown(e.back.text) * grads[e.head] for e in edges)
            assert total == pytest.approx(grads[id], rel=2e-3)


def test_nothing_flows_to_constants_and_labels():
    x, labels = tg.Tensor(np.ones((2, 3)), name="x"), np.array([0, 2])
    view = draw(tg.nn.cross_entropy(x @ leaf(np.ones((3, 3)), "w"), labels), grads=True)
    still = [view.graph.nodes[e.tail].title for e in view.graph.edges if e.back is None]
    assert still == ["x", "labels"]


def test_an_array_or_a_constant_cannot_be_the_end():
    with pytest.raises(GraphError, match="single number"):
        draw(leaf([1.0, 2.0]) * 2, grads=True)
    with pytest.raises(GraphError, match="no graph"):
        draw(tg.Tensor(1.0), grads=True)


@pytest.mark.parametrize("style", ["merged", "split"])
@pytest.mark.parametrize("direction", ["LR", "TB"])
@pytest.mark.parametrize("make", [expression, loss_of_network, lambda: recurrent(8)],
                         ids=["expression", "network", "recurrent"])
def test_each_arrow_back_lies_beside_its_own_and_on_the_page(make, direction, style):
    view = draw(make(), grads=True, engine="builtin", direction=direction, style=style)
    root = ET.fromstring(view.svg)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    back = {g.get("id"): g for g in root.iter(f"{SVG}g") if g.get("class") == "back"}
    assert back.keys() == {f"{e.id}b" for e in view.graph.edges if e.back} | {"legendb"}
    boxes = view.layout.boxes
    for edge in view.graph.edges:
        if edge.back is None:
            continue
        numbers = re.findall(r"-?\d+\.\d", back[f"{edge.id}b"].find(f"{SVG}path").get("d"))
        values = list(map(float, numbers))
        points = list(zip(values[::2], values[1::2]))
        path = view.layout.paths[edge.id]
        for ours, theirs in ((points[0], path[-1]), (points[-1], path[0])):
            assert 5 < np.hypot(ours[0] - theirs[0], ours[1] - theirs[1]) < 7
        assert max(y for _, y in points) < float(root.get("height"))
        tail = boxes[edge.tail]
        end = points[-1]
        assert tail.left - 0.2 <= end[0] <= tail.right + 0.2
        assert tail.top - 0.2 <= end[1] <= tail.bottom + 0.2


def test_labels_of_the_way_back_cover_no_box():
    for make in (expression, loss_of_network):
        view = draw(make(), grads=True, engine="builtin")
        for group in ET.fromstring(view.svg).iter(f"{SVG}g"):
            if group.get("class") != "back":
                continue
            for text in group.iter(f"{SVG}text"):
                x, y = float(text.get("x")), float(text.get("y")) - 3.5
                inside = [id for id, b in view.layout.boxes.items()
                          if b.left < x < b.right and b.top < y < b.bottom]
                assert not inside, (text.text, inside)


def test_the_dot_text_holds_both_arrows():
    a = leaf(2.0, "a")
    y = a * a
    assert [line for line in draw(y, grads=True).dot.splitlines() if "->" in line] == [
        '  n0 -> n1 [id=n0_n1 class="edge" headlabel="×2" labeldistance=1.5]',
        '  n0 -> n1 [id=n0_n1b class="back" dir=back style=dashed color="#C04F00"'
        ' fontcolor="#C04F00" penwidth=2.45 label="∂ 4"]']
    assert "class=\"back\"" not in draw(y).dot and 'class="back"' not in draw(y).svg


def test_more_flow_is_drawn_thicker_between_bounds():
    assert [ink(size) for size in (0.0, 1e-9, 1.0, 1e9, np.inf)] == [1, 1, 2, 4, 4]
    assert ink(0.1) < ink(1.0) < ink(10.0)


def test_the_way_back_is_the_path_turned_round_and_moved_aside():
    path = [(0.0, 0.0), (10.0, 0.0), (20.0, 0.0), (30.0, 0.0)]
    assert beside(path) == [(30, 6), (20, 6), (10, 6), (0, 6)]


def test_folded_boxes_tell_how_much_flows_and_no_derivative():
    view = draw(recurrent(50), grads=True, engine="builtin")
    [folded] = [n.id for n in view.graph.nodes.values() if n.kind == "folded"]
    into = [e.back for e in view.graph.edges if e.head == folded and e.back]
    assert into and any(not back.text for back in into)
    assert all(back.size > 0 for back in into)
    assert view.svg.count('class="back"') > 50
