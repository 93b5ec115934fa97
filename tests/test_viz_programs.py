"""draw(step): the latest program of a compiled step, a box for each call."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from test_viz import SVG

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.errors import CaptureError
from tinygrad_opt.viz import draw

X, Y = tg.data.spiral(100, 3, rng=0)


def spiral(sizes=(2, 64, 3)):
    """A compiled step that trains a network on the spiral, called once."""
    model = nn.MLP(sizes, activation="relu", rng=0)
    opt = tg.optim.Adam(model.parameters(), lr=0.05)

    @tg.compile
    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    step(X, Y)
    return step


@pytest.fixture(scope="module")
def step():
    return spiral()


def compiled(function, *args):
    step = tg.compile(function)
    step(*args)
    return step


def bound_of(step):
    return next(reversed(step.programs.values()))


def boxes(view, *kinds):
    return [n for n in view.graph.nodes.values() if n.kind in kinds]


def row(node, key):
    return next((r.text for r in node.rows if r.key == key), None)


def frames(view):
    return {c.label.partition(":")[0]: c.members for c in view.graph.clusters if c.parent is None}


def calls_in(view, frame):
    """The numbers of the calls in a frame."""
    nodes = [view.graph.nodes[id] for id in frames(view)[frame]]
    return sorted(int(n.tag[1:]) for n in nodes if n.kind in ("op", "loss", "effect"))


def test_each_call_is_a_box_in_order_with_its_kernel_shape_and_dtype(step):
    program = bound_of(step).program
    made = boxes(draw(step), "op", "loss", "effect")
    assert [n.tag for n in made] == [f"#{k}" for k in range(1, len(program.calls) + 1)]
    for node, call in zip(made, program.calls):
        assert node.title.split("(")[0] == call.name
        if not call.is_effect:
            slot = program.slots[call.output]
            assert row(node, "shape") == f"{slot.shape}  {slot.dtype}"


def test_arrows_are_the_operands_of_the_calls(step):
    """Every array that a call takes has an arrow, or stands in the title as a number."""
    program, graph = bound_of(step).program, draw(step).graph
    inputs = graph.inputs()
    plain = {id: re.sub(r"[pu]\d+$", "", id) for id in graph.nodes}
    for k, call in enumerate(program.calls, 1):
        made = {f"n{j}" for j, other in enumerate(program.calls, 1)
                if not other.is_effect and other.output in set(program.reads(call))}
        outside = {program.names()[s] for s in program.reads(call)
                   if program.slots[s].kind in ("leaf", "argument")}
        tails = [e.tail for e in inputs[f"n{k}"]]
        assert made <= {plain[t] for t in tails}
        assert outside <= {graph.nodes[t].title.removesuffix(" ↗") for t in tails}


def test_places_and_views_stand_on_the_arrows():
    a, b = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)
    step = compiled(lambda a, b: (a.T @ b, a - a[:1], a * a, a + a.sum()), a, b)
    labels = {}
    view = draw(step, max_nodes=None)
    for edge in view.graph.edges:
        labels.setdefault(view.graph.nodes[edge.head].title.split("(")[0], []).append(edge.label)
    assert labels["matmul"] == ["1.T", "2"]
    assert labels["multiply"] == ["×2"]
    assert labels["add"] == ["", ""]
    assert labels["subtract"] == ["1, 2[part]"]


def test_numbers_stand_in_the_title_and_equal_entries_are_told():
    step = compiled(lambda x: 1 - np.maximum(x * 3, 0.5), np.ones(4, np.float32))
    titles = [n.title for n in boxes(draw(step), "op", "loss")]
    assert titles[0] == "multiply(·, 3)" and titles[-1] == "subtract(1, ·)"
    assert [n.title for n in boxes(draw(spiral()), "constant")][:1] == ["all 0"]


def test_an_array_that_may_change_is_not_told_by_its_entries():
    shown = np.zeros(3, np.float32)
    step = compiled(lambda x: x + shown, np.ones(3, np.float32))
    assert "all 0" not in [n.title for n in draw(step).graph.nodes.values()]


def test_forward_backward_and_update_are_told_apart(step):
    view, program = draw(step), bound_of(step).program
    names = [call.name for call in program.calls]
    gradients_forgotten = next(k for k, n in enumerate(names, 1) if "forget" in n)
    deliver = names.index("deliver") + 1
    assert calls_in(view, "forward") == list(range(1, gradients_forgotten))
    assert calls_in(view, "backward") == list(range(gradients_forgotten + 1, deliver + 1))
    assert calls_in(view, "update") == [gradients_forgotten, len(names)]


def test_all_is_one_part_where_that_is_not_certain():
    w = tg.Tensor([1.0, 2.0], requires_grad=True, name="w")

    def backward(x):
        loss = ((x @ w) ** 2).mean()
        w.grad = None
        loss.backward()
        return loss

    def with_gradient(x):
        return backward(x), w.grad

    def without_result(x):
        backward(x)

    x = np.ones((3, 2), np.float32)
    assert list(frames(draw(compiled(backward, x)))) == ["forward", "backward", "update"]
    assert frames(draw(compiled(with_gradient, x))) == {}
    assert frames(draw(compiled(without_result, x))) == {}
    assert frames(draw(compiled(lambda x: x @ w, x))) == {}


def test_no_arrow_joins_two_parts_but_names_do(step):
    view = draw(step)
    home = {id: part for part, members in frames(view).items() for id in members}
    assert home.keys() == view.graph.nodes.keys()
    assert all(home[e.tail] == home[e.head] for e in view.graph.edges)
    aliases = {n.title for n in boxes(view, "alias") if home[n.id] == "backward"}
    assert {"#3 maximum ↗", "layers.1.weight ↗", "x ↗"} <= aliases


def test_gradients_say_whose_they_are(step):
    whose = [row(n, "grad") for n in boxes(draw(step), "op") if row(n, "grad")]
    assert sorted(whose) == [f"layers.{k}.{w}" for k in (0, 1) for w in ("bias", "weight")]


def test_calls_with_the_same_block_share_memory_and_others_do_not(step):
    bound, view = bound_of(step), draw(step)
    block = {int(n.tag[1:]): int(row(n, "block").split()[0]) for n in boxes(view, "op", "loss")}
    made = {k: bound.arrays[call.output] for k, call in enumerate(bound.program.calls, 1)
            if not call.is_effect}
    for i, a in made.items():
        for j, b in made.items():
            assert (block[i] == block[j]) == np.may_share_memory(a, b)
    assert f"{len(set(block.values()))} blocks of memory" in view.graph.caption
    assert f"{bound.nbytes / 1000:.3g} kB" in view.graph.caption


def test_a_call_that_writes_over_what_it_reads_says_so(step):
    bound, view = bound_of(step), draw(step)
    for k, call in enumerate(bound.program.calls, 1):
        if not call.is_effect:
            over = any(np.may_share_memory(bound.arrays[s], bound.arrays[call.output])
                       for s in bound.program.reads(call))
            assert row(view.graph.nodes[f"n{k}"], "block").endswith("in place") == over


def test_less_detail_shows_less(step):
    assert {r.key for n in boxes(draw(step, detail=1), "op") for r in n.rows} == {"shape", "grad"}
    assert all(not n.rows for n in draw(step, detail=0).graph.nodes.values())


def test_equal_layers_are_drawn_once_and_counted():
    step = spiral((2, *[8] * 12, 3))
    view = draw(step)
    repeats = [c for c in view.graph.clusters if c.parent is not None]
    assert [c.label for c in repeats] == [
        "layers.1 … layers.11  ×11", "layers.11 … layers.1  ×11"]
    assert [c.parent for c in repeats] == ["c0", "c1"]
    full = draw(step, max_nodes=None)
    assert not any(c.parent for c in full.graph.clusters)
    shown = {int(n.tag[1:]) for n in boxes(view, "op", "loss", "effect")}
    hidden = {n.title for n in boxes(full, "op", "loss", "effect") if int(n.tag[1:]) not in shown}
    inside = {view.graph.nodes[id].title for c in repeats for id in c.members}
    assert hidden <= inside
    folded = sum(10 * len([id for id in c.members if view.graph.nodes[id].kind == "op"])
                 for c in repeats)
    assert len(shown) + folded == len(bound_of(step).program.calls)
    closed = draw(step, depth=0)
    assert sum(n.holds[0] for n in boxes(closed, "folded")) == len(bound_of(step).program.calls)


def test_equal_calls_on_different_values_are_not_drawn_once():
    w = tg.Tensor([1.0, 2.0], requires_grad=True, name="w")
    functions = [np.exp, np.tanh, np.sin, np.cos, np.sqrt, np.log, np.abs, np.arctan]

    def step(x):
        y = w
        for k, function in enumerate(functions):
            y = y * (function(x) * (k + 2) + 1)
        loss = y.sum()
        loss.backward()
        return loss

    view = draw(compiled(step, np.array([0.5, 1.5], np.float32)))
    assert len(view.graph.nodes) > 40 and not view.graph.repeats


def test_layers_that_differ_are_not_drawn_once():
    assert not draw(spiral((2, 8, 9, 10, 11, 12, 13, 14, 3))).graph.repeats


def test_too_many_boxes_become_one_for_each_part(step):
    for view in (draw(step, max_nodes=10), draw(step, depth=0)):
        [forward, backward] = [n for n in boxes(view, "folded") if not n.title.startswith("update")]
        assert forward.title.startswith("forward") and backward.title.startswith("backward")
        assert [(e.tail, e.head) for e in view.graph.edges if e.tail == forward.id] == [
            (forward.id, backward.id)]
        assert sum(n.holds[0] for n in boxes(view, "folded")) == len(bound_of(step).program.calls)


@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_parts_lie_in_order_and_apart(step, direction):
    view = draw(step, direction=direction, engine="builtin")
    layout = view.layout
    parts = [layout.frames[f"c{k}"] for k in range(3)]
    for a, b in pairwise(parts):
        assert a.bottom < b.top if direction == "LR" else a.right < b.left
    for cluster in view.graph.clusters:
        frame = layout.frames[cluster.id]
        for box in (layout.boxes[id] for id in cluster.members):
            assert frame.left <= box.left and box.right <= frame.right
            assert frame.top <= box.top and box.bottom <= frame.bottom
    for edge in view.graph.edges:
        head, (x, y) = layout.boxes[edge.head], layout.paths[edge.id][-1]
        assert head.left - 1 <= x <= head.right + 1 and head.top - 1 <= y <= head.bottom + 1
    assert all(b.right <= layout.width + 0.01 and b.bottom <= layout.height + 0.01 for b in parts)


def test_every_way_to_write_it_shows_every_box(step):
    view = draw(step, engine="builtin")
    root = ET.fromstring(view.svg)
    shown = {g.get("id") for g in root.iter(f"{SVG}g") if (g.get("class") or "").startswith("node")}
    assert shown == view.graph.nodes.keys()
    assert all(f"  {id} [id={id} " in view.dot for id in view.graph.nodes)
    text = str(view)
    assert all(f"#{id[1:]}" in text for id in view.graph.nodes)
    assert "Adam.step" in text and "check_labels" in text and "deliver" in text


def test_effects_have_a_look_and_a_word_of_their_own(step):
    root = ET.fromstring(draw(step, engine="builtin").svg)
    effects = [g for g in root.iter(f"{SVG}g") if g.get("class") == "node effect"]
    assert len(effects) == sum(call.is_effect for call in bound_of(step).program.calls)
    assert all(g.find(f"{SVG}path") is not None for g in effects)      # its corners are cut
    [legend] = [g for g in root.iter(f"{SVG}g") if g.get("class") == "legend"]
    assert "effect" in [t.text for t in legend.iter(f"{SVG}text")]


def test_the_same_step_gives_the_same_drawing():
    assert draw(spiral()).dot == draw(spiral()).dot


def test_the_latest_program_is_drawn():
    step = compiled(lambda x: x * 2, np.ones(3, np.float32))
    step(np.ones((5, 7), np.float32))
    assert [row(n, "shape") for n in boxes(draw(step), "loss")] == ["(5, 7)  float32"]
    step(np.ones(3, np.float32))
    assert [row(n, "shape") for n in boxes(draw(step), "loss")] == ["(3,)  float32"]


def test_drawing_trains_nothing(step):
    before = bound_of(step).program.leaves[0][1].copy()
    draw(step)
    assert np.array_equal(bound_of(step).program.leaves[0][1], before)


def test_a_program_without_calls_is_its_argument_or_says_so():
    x = np.ones(3, np.float32)
    assert [n.title for n in draw(compiled(lambda x: x, x)).graph.nodes.values()] == ["x"]
    empty = draw(compiled(lambda x: None, x), engine="builtin")
    assert [n.title for n in empty.graph.nodes.values()] == ["no calls"] and empty.svg


def test_a_box_is_found_by_its_parameter():
    w = tg.Tensor([1.0, 2.0], requires_grad=True, name="w")
    view = draw(compiled(lambda x: x @ w, np.ones((3, 2), np.float32)))
    assert view.graph.nodes[view.graph.id_of(w)].title == "w"


def test_names_are_text_whatever_is_in_them():
    w = tg.Tensor([1.0, 2.0], requires_grad=True, name='<b>&"\n')
    view = draw(compiled(lambda x: x @ w, np.ones((3, 2), np.float32)), engine="builtin")
    ET.fromstring(view.svg)
    assert "<b>" not in view.svg


def test_a_step_that_was_not_called_has_nothing_to_draw():
    with pytest.raises(CaptureError, match="has not been called yet"):
        draw(tg.compile(lambda x: x))


def test_what_a_step_cannot_be_asked_is_refused(step):
    with pytest.raises(TypeError, match="pass it no arguments"):
        draw(step, X, Y)
    with pytest.raises(ValueError, match="grads=True"):
        draw(step, grads=True)
    with pytest.raises(ValueError, match="style='split'"):
        draw(step, style="split")
