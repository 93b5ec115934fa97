"""Drawing: what is in the graph of a Tensor, and that it says so in DOT, SVG and text."""

from __future__ import annotations

import itertools
import random
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from effort import calls

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz import draw, notebook_bundle, scope, trace

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    '"><script>alert(1)</script>', "a'b\"c", "left|right {x} \\n", "two\nlines\r\t",
    "中文 日本語", "😀👩\u200d🔬", "&amp; <b>", "]]> -->",
    "\x00\x07\u202e\ufffe\ud800", "x" * 300, "label=<<B>", "",
]


def leaf(value, name=None):
    return tg.Tensor(value, requires_grad=True, name=name)


def expression():
    a, b, c = leaf(2.0, "a"), leaf(-3.0, "b"), leaf(10.0, "c")
    return np.tanh((a * b + c) * b - 2 * a)


class Layer(nn.Module):
    """x @ W + b in two operations, whatever `nn.Linear` makes of it."""

    def __init__(self, n, m, rng=0):
        self.weight = leaf(np.random.default_rng(rng).normal(size=(n, m)))
        self.bias = leaf(np.zeros(m))

    def forward(self, x):
        return x @ self.weight + self.bias


class Network(nn.Module):
    def __init__(self, rng=0):
        self.layers = [Layer(2, 16, rng), Layer(16, 3, rng)]

    def forward(self, x):
        return self.layers[1](tg.ops.relu(self.layers[0](x)))


def network(rng=0):
    return Network(rng), np.random.default_rng(0).normal(size=(5, 2))


def recurrent(steps):
    rng = np.random.default_rng(0)
    W, U = leaf(rng.normal(size=(4, 4)), "W"), leaf(rng.normal(size=(2, 4)), "U")
    b = leaf(np.zeros(4), "b")
    h, loss = tg.Tensor(np.zeros((3, 4)), name="h0"), 0
    for t in range(steps):
        h = np.tanh(tg.Tensor(np.ones((3, 2)), name=f"x{t}") @ U + h @ W + b)
        loss = loss + (h * h).mean()
    return loss


def dense(sizes):
    """A network of scalars."""
    rng = random.Random(0)
    xs = [leaf(rng.random(), f"x{i}") for i in range(sizes[0])]
    for n, m in itertools.pairwise(sizes):
        rows = [[leaf(rng.random() - 0.5) for _ in range(n + 1)] for _ in range(m)]
        xs = [np.tanh(sum((w * x for w, x in zip(row, xs)), row[-1])) for row in rows]
    return sum(xs[1:], xs[0])


def titles(graph):
    return [node.title for node in graph.nodes.values()]


# ---- the graph -----------------------------------------------------------------------------------


def test_boxes_are_numbered_in_the_order_of_their_creation():
    graph = trace(expression())
    assert list(graph.nodes) == [f"n{i}" for i in range(9)]
    assert titles(graph) == ["a", "b", "c", "×", "+", "×", "2 × a", "−", "tanh"]
    assert graph.end == "n8"


def test_every_kind_of_box_is_told_apart():
    x, labels = tg.Tensor(np.ones((2, 3)), name="x"), np.array([0, 2])
    w = leaf(np.ones((3, 3)), "w")
    loss = nn.cross_entropy(x @ w * tg.Tensor(2.0), labels)
    kinds = {n.title: n.kind for n in trace(loss).nodes.values()}
    assert kinds == {"x": "input", "w": "parameter", "@": "op", "2": "constant", "×": "op",
                     "labels": "input", "cross entropy": "loss"}


def test_operands_keep_their_places_and_repeats_are_counted():
    a, b = leaf(3.0, "a"), leaf(2.0, "b")
    assert [e.label for e in trace(a - b).edges] == ["1", "2"]
    assert [(e.tail, e.label) for e in trace(b / a).edges] == [("n1", "1"), ("n0", "2")]
    assert [e.label for e in trace(a + b).edges] == ["", ""]
    assert [e.label for e in trace(a + a).edges] == ["×2"]
    assert [e.label for e in trace(a - a).edges] == ["1, 2"]
    assert [e.label for e in trace(np.stack([a, b, a])).edges] == ["1, 3", "2"]


def test_numbers_and_indices_stand_in_the_title():
    x = leaf(np.ones((4, 4)), "x")
    made = [2 * x, x * 2, x - 1.5, 2 - x, x**3, x[0], x[1:, None], x[np.array([0, 0])],
            x.sum(axis=0), np.clip(x, -1, None), np.maximum(x, 0), x.reshape(2, 8)]
    assert [trace(y).nodes["n1"].title for y in made] == [
        "2 × x", "x × 2", "x − 1.5", "2 − x", "x ** 3", "x[0]", "x[1:, None]", "x[…]",
        "Σ axis=0", "clip(x, −1, –)", "maximum(x, 0)", "reshape"]
    assert all(len(trace(y).nodes) == 2 for y in made)


def test_a_letter_in_a_title_is_the_name_of_no_box():
    a, x = leaf(0.5, "a"), leaf(2.0, "x")
    assert titles(trace((1 - a * a) * x)) == ["a", "x", "×", "1 − y", "×"]
    assert titles(trace((2 * x + 1) * (3 - a))) == [
        "a", "x", "2 × x", "y + 1", "3 − a", "×"]


def test_a_gradient_is_a_dash_before_backward_and_a_number_after():
    x = leaf(3.0, "x")
    y = x * x

    def gradients():
        return {n.title: [r.text for r in n.rows if r.key == "grad"]
                for n in trace(y).nodes.values()}

    assert gradients() == {"x": ["–"], "×": ["–"]}
    y.backward()
    assert gradients() == {"x": ["6"], "×": ["1"]}
    x.grad = np.zeros((), np.float32)
    assert gradients()["x"] == ["0"]


def test_constants_have_no_gradient_row():
    graph = trace(leaf(1.0) * tg.Tensor(2.0, name="k"))
    [k] = [n for n in graph.nodes.values() if n.title == "k"]
    assert [r.key for r in k.rows] == ["data"]


def test_nan_infinity_and_dead_gradients_are_said_in_words():
    x = leaf([1.0, np.nan, 2.0], "x")
    x.grad = np.zeros(3, np.float32)
    rows = {r.key: r for r in trace(x * leaf([np.inf] * 3)).nodes["n0"].rows}
    assert (rows["data"].text, rows["data"].alarm) == ("⚠ NaN in 1 of 3", True)
    assert (rows["grad"].text, rows["grad"].alarm) == ("⚠ all 0", True)
    assert "⚠ ∞ in 3 of 3" in str(draw(x * leaf([np.inf] * 3)))


def test_values_are_written_out_listed_or_summarised_by_their_number():
    def data(x):
        return next(r.text for r in trace(leaf(x)).nodes["n0"].rows if r.key == "data")

    assert data(-0.000123456) == "−0.0001235"
    assert data(-0.0) == "0"
    assert data([1.0, 2.0, 3.0]) == "1, 2, 3"
    assert data([1.0, 2.0, 3.0, 4.0]) == "1, 2, 3, …"
    assert data(np.arange(9.0)) == "4±2.58 [0, 8]"
    assert data(np.ones(9)) == "all 1"
    assert data(np.zeros((0, 2))) == "empty"


def test_detail_adds_shapes_and_then_values():
    x = leaf(np.ones((2, 2)), "x")
    keys = [[r.key for r in trace(x * 1, detail=d).nodes["n0"].rows] for d in (0, 1, 2)]
    assert keys == [[], ["shape"], ["shape", "data", "grad"]]
    assert all(not n.rows for n in trace(dense([2, 8, 1])).nodes.values())     # > 40 scalars: 1


def test_the_split_style_has_a_box_for_each_operation_and_each_number():
    a = leaf(2.0, "a")
    graph = trace(a * 3 + a, style="split")
    assert [(n.id, n.kind, n.title) for n in graph.nodes.values()] == [
        ("n0", "parameter", "a"), ("n1", "constant", "3"), ("n2op", "operation", "×"),
        ("n2", "op", ""), ("n3op", "operation", "+"), ("n3", "loss", "")]
    assert [e.id for e in graph.edges] == [
        "n0_n2op", "n1_n2op", "n2op_n2", "n2_n3op", "n0_n3op", "n3op_n3"]


def test_a_drawing_shows_the_values_of_its_moment():
    x = leaf(1.0, "x")
    view = draw(x * 2, engine="builtin")
    x.data = 5.0
    assert "data 1" in str(view) and "data 5" not in str(view)


def test_the_box_of_a_tensor_can_be_found():
    y = expression()
    graph = trace(y)
    assert graph.id_of(y) == "n8"
    assert [graph.id_of(t) for t in tg.history(y)] == list(graph.nodes)
    with pytest.raises(KeyError, match="does not show"):
        graph.id_of(leaf(1.0))


def test_the_backward_pass_can_be_drawn_and_so_can_a_second_derivative():
    x = leaf(0.5, "x")
    np.tanh(x).backward(create_graph=True)
    slope, x.grad = x.grad, None
    graph = trace(slope)
    assert [graph.nodes[e.tail].title for e in graph.edges if e.head == graph.end] == ["1", "1 − y"]
    slope.backward(create_graph=True)
    assert len(draw(x.grad).graph.nodes) > len(graph.nodes)


def test_a_leaf_alone_and_a_constant_alone_can_be_drawn():
    for t in (leaf(1.0, "w"), tg.Tensor([1.0, 2.0])):
        view = draw(t, engine="builtin")
        assert len(view.graph.nodes) == 1
        ET.fromstring(view.svg)


# ---- large graphs --------------------------------------------------------------------------------


def test_a_leaf_used_often_is_drawn_once_per_use():
    x = leaf(2.0, "x")
    y = x
    for _ in range(7):
        y = y * x
    graph = draw(y).graph
    aliases = [n for n in graph.nodes.values() if n.kind == "alias"]
    assert [n.title for n in aliases] == ["x ↗"] * 6
    assert max(len(edges) for edges in graph.outputs().values()) == 1
    few = draw(x * x + x * 3).graph
    assert not [n for n in few.nodes.values() if n.kind == "alias"]


def test_the_steps_of_a_loop_are_folded():
    view = draw(recurrent(50), engine="builtin")
    folded = [n for n in view.graph.nodes.values() if n.kind == "folded"]
    assert len(folded) == 1 and len(view.graph.nodes) < 100
    steps = int(folded[0].title.split()[1])
    heads = [e.head for e in view.graph.edges if e.tail == folded[0].id]
    tails = [view.graph.nodes[e.tail].title for e in view.graph.edges if e.head == folded[0].id]
    assert sorted(tails) == ["+", "U ↗", "W ↗", "b ↗", "tanh"] and len(heads) == 2   # whole steps
    kept = sum(n.title == "tanh" for n in view.graph.nodes.values())
    assert steps + kept == 50 and folded[0].rows[0].text == f"{8 * steps} operations"
    assert "folded from" in view.graph.caption
    assert len(draw(recurrent(50), max_nodes=None).graph.nodes) > 500


def test_a_small_loop_is_not_folded():
    assert not [n for n in draw(recurrent(5)).graph.nodes.values() if n.kind == "folded"]


def test_a_chain_of_5000_is_drawn_without_recursion():
    x = leaf(1.0, "x")
    y = x
    for _ in range(5000):
        y = np.sin(y)
    view = draw(y, engine="builtin")
    assert len(view.graph.nodes) < 20
    whole = draw(y, engine="builtin", max_nodes=None)
    assert len(whole.graph.nodes) == 5001
    assert whole.svg.count('class="node ') == 5001
    assert whole.dot.count(" -> ") == 5000
    assert str(whole).count("\n") == 5001


def test_what_is_beyond_drawing_is_counted_instead():
    rng = random.Random(0)
    made = [leaf(float(i)) for i in range(9)]
    for _ in range(6000):
        made.append(rng.choice(made[-20:]) + np.sin(made[-1]))
    graph = draw(made[-1], engine="builtin").graph
    assert len(graph.nodes) == 1
    counts = [row.text for row in graph.nodes["n0"].rows]
    assert {c.split(" × ")[1] for c in counts} == {"+", "sin", "parameter"}
    assert sum(int(c.split()[0].replace(",", "")) for c in counts) == len(tg.history(made[-1]))


@pytest.mark.parametrize("small, large", [
    (lambda: dense([2, 12, 12, 1]), lambda: dense([2, 24, 24, 1])),
    (lambda: recurrent(50), lambda: recurrent(200)),
], ids=["scalars", "recurrent"])
def test_two_thousand_boxes_are_hardly_more_work_per_box_than_six_hundred(small, large):
    work = []
    for make in (small, large):
        view = draw(make(), engine="builtin", max_nodes=None)
        text, count = calls(lambda view=view: view.svg)
        work.append(count / len(view.graph.nodes))
        assert text.count('class="node ') == len(view.graph.nodes)
    assert 2000 < len(view.graph.nodes) < 3000
    assert work[1] < 1.5 * work[0]


# ---- modules -------------------------------------------------------------------------------------


def test_modules_become_frames_by_the_dotted_names_of_their_parameters():
    model, x = network()
    graph = draw(model, x).graph
    frames = {c.label: {graph.nodes[m].title for m in c.members} for c in graph.clusters}
    assert frames == {"layers.0": {"layers.0.weight", "layers.0.bias", "@", "+"},
                      "layers.1": {"layers.1.weight", "layers.1.bias", "@", "+"}}
    assert graph.name == "Network" and "x" in titles(graph)


def test_frames_lie_inside_frames_and_hold_what_is_between():
    class Block(nn.Module):
        def __init__(self):
            self.layers = [Layer(4, 4), Layer(4, 4)]

        def forward(self, x):
            return self.layers[1](np.tanh(self.layers[0](x)))

    class Net(nn.Module):
        def __init__(self):
            self.encoder, self.decoder = Block(), Block()

        def forward(self, x):
            return self.decoder(np.sin(self.encoder(x)))

    graph = draw(Net(), np.ones((2, 4))).graph
    labels = {c.id: c.label for c in graph.clusters}
    nest = [(c.label, labels.get(c.parent)) for c in graph.clusters]
    assert sorted(nest, key=str) == sorted([
        ("encoder", None), ("decoder", None), ("layers.0", "encoder"), ("layers.1", "encoder"),
        ("layers.0", "decoder"), ("layers.1", "decoder")], key=str)
    outer = {c.label: {graph.nodes[m].title for m in c.members}
             for c in graph.clusters if not c.parent}
    assert "tanh" in outer["encoder"] and "sin" not in outer["encoder"] | outer["decoder"]


def test_a_module_used_again_gets_another_frame():
    layer = nn.Sequential(Layer(3, 3))
    y = layer(np.tanh(layer(tg.Tensor(np.ones((2, 3)), name="x"))))
    graph = draw(y).graph
    assert [(c.label, len(c.members)) for c in graph.clusters] == [("0", 4), ("0", 4)]
    assert [n.title for n in graph.nodes.values() if n.kind == "alias"] == [
        "0.weight ↗", "0.bias ↗"]


def test_a_module_left_and_entered_again_has_no_frame():
    inside = leaf(2.0, "m.w") * tg.Tensor(1.5, name="x")
    outside = inside * leaf(3.0, "other.w")
    y = np.stack([inside, outside, leaf(4.0, "m.v")])
    view = draw(y, engine="builtin")
    assert [c.label for c in view.graph.clusters] == ["other"]
    assert len(ET.fromstring(view.svg)) > 0
    closed = draw(y, engine="builtin", depth=0)
    assert [n.title for n in closed.graph.nodes.values() if n.kind == "folded"] == ["other"]


def test_modules_that_need_each_other_have_no_frames():
    x = tg.Tensor(1.5, name="x")
    a, b = leaf(2.0, "one.w") * x, leaf(3.0, "two.w") * x
    y = np.stack([a, b, leaf(4.0, "one.v")]) + np.stack([b, a, leaf(5.0, "two.v")])
    assert not draw(y).graph.clusters
    assert len(draw(y, depth=0).graph.nodes) == len(draw(y).graph.nodes)


def test_depth_closes_modules():
    model, x = network()
    graph = draw(model, x, depth=0).graph
    assert [(n.title, n.kind) for n in graph.nodes.values() if n.kind != "input"] == [
        ("layers.0", "folded"), ("relu", "op"), ("layers.1", "folded")]
    assert {(graph.nodes[e.tail].title, graph.nodes[e.head].title) for e in graph.edges} == {
        ("x", "layers.0"), ("layers.0", "relu"), ("relu", "layers.1")}
    assert graph.parameters == (4, 2 * 16 + 16 + 16 * 3 + 3)


def test_modules_are_closed_when_there_are_too_many_boxes():
    model = nn.MLP([4, 5, 6, 7, 8, 9], rng=0)
    graph = draw(model, np.ones((2, 4)), max_nodes=15).graph
    assert [n.title for n in graph.nodes.values() if n.kind == "folded"] == [
        f"layers.{i}" for i in range(5)]


def test_scopes_frame_what_is_computed_inside():
    x = leaf(2.0, "x")
    with scope("outer"):
        a = x * x
        with scope("inner"):
            b = np.sin(a) + a
        y = b * a
    graph = draw(y - x).graph
    assert [(c.label, c.parent) for c in graph.clusters] == [("outer", None), ("inner", "c0")]
    assert [len(c.members) for c in graph.clusters] == [4, 2]


def test_a_frozen_parameter_is_drawn_as_a_constant():
    model, x = network()
    model.parameters()["layers.1.weight"].requires_grad = False
    [node] = [n for n in draw(model, x).graph.nodes.values() if n.title == "layers.1.weight"]
    assert (node.kind, node.tag) == ("constant", "frozen")


# ---- DOT -----------------------------------------------------------------------------------------

GOLDEN = """\
digraph "y" {
  graph [rankdir=LR fontname=Helvetica fontsize=10 nodesep=0.25 ranksep=0.45 labelloc=b \
labeljust=l label=<<TABLE BORDER="0" CELLSPACING="4" CELLPADDING="3"><TR><TD ALIGN="LEFT">\
3 nodes · 3 edges · 1 param (1 value)</TD></TR></TABLE>>]
  node [shape=box fontname=Helvetica fontsize=10 fontcolor="#1A1A1A" margin="0.08,0.04"]
  edge [color="#777777" fontname=Helvetica fontsize=10 arrowsize=0.7 fontcolor="#555555"]
  n0 [id=n0 class="node parameter" label=<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" \
CELLPADDING="1"><TR><TD ALIGN="LEFT"><FONT POINT-SIZE="13"><B>a</B></FONT></TD><TD ALIGN="RIGHT">\
<FONT COLOR="#555555">&#160;param</FONT></TD></TR></TABLE>> tooltip="a () float32\\n2.0" \
style="filled,bold" fillcolor="#FBE3C0" color="#B45F00"]
  n1 [id=n1 class="node op" label=<<FONT POINT-SIZE="13"><B>a + 1</B></FONT>> \
tooltip="a + 1 () float32\\n3.0" style="filled,rounded" fillcolor="#EFEFEF" color="#555555"]
  n2 [id=n2 class="node loss" label=<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" \
CELLPADDING="1"><TR><TD ALIGN="LEFT"><FONT POINT-SIZE="13"><B>y</B></FONT></TD><TD ALIGN="RIGHT">\
<FONT COLOR="#555555">&#160;−</FONT></TD></TR></TABLE>> tooltip="y () float32\\n1.0" \
style="filled" fillcolor="#F3D6E6" color="#A0417C" peripheries=2]
  n0 -> n1 [id=n0_n1 class="edge"]
  n1 -> n2 [id=n1_n2 class="edge" headlabel="1" labeldistance=1.5]
  n0 -> n2 [id=n0_n2 class="edge" headlabel="2" labeldistance=1.5]
}
"""


def small():
    a = leaf(2.0, "a")
    y = (a + 1) - a
    y.name = "y"
    return y


def test_the_dot_text_of_a_small_graph():
    assert draw(small(), detail=0).dot == GOLDEN


def test_the_same_model_gives_the_same_text():
    texts = []
    for _ in range(2):
        model, x = network(rng=3)
        texts.append((draw(model, x).dot, draw(model, x, engine="builtin").svg))
    assert texts[0] == texts[1]


def test_frames_are_clusters_in_dot():
    model, x = network()
    lines = draw(model, x).dot.splitlines()
    inside = lines[lines.index("  subgraph cluster_c0 {"):][:6]
    assert 'label="layers.0"' in inside[1] and "style=dashed" in inside[1]
    assert [line.split()[0] for line in inside[2:]] == ["n0", "n1", "n5", "n6"]


# ---- hostile names -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_text_everywhere(name):
    a = leaf([1.0, 2.0], f"{name}.{name}")
    with scope(name):
        y = tg.op(name or "op", np.sin, lambda g, z, x: g)(a) * a
    y.name = name
    view = draw(y, engine="builtin", name=name)
    root = ET.fromstring(view.svg)
    assert not root.findall(f".//{SVG}script") and "<script" not in view.svg
    shown = {t.text for t in root.iter(f"{SVG}text")}
    if name in HOSTILE[:1] + HOSTILE[4:8]:
        assert name in shown
    assert "<script" not in view.html
    assert str(view).count("\n") == 4 and "\x00" not in str(view) + view.dot + view.svg
    str(view).encode(), view.dot.encode(), repr(view).encode()
    assert set(view._repr_mimebundle_()) == {"text/plain", "text/html", "image/svg+xml"}


# ---- text ----------------------------------------------------------------------------------------


def test_the_text_tree_tells_shared_parts_once():
    a = leaf(2.0, "a")
    b = np.sin(a)
    assert str(draw(b * np.cos(b), detail=0, name="f")).splitlines() == [
        "f: 4 nodes · 4 edges · 1 param (1 value)",
        "×  #3",
        "├─ sin  #1",
        "│  └─ a  param  #0",
        "└─ cos  #2",
        "   └─ sin  (above)  #1",
    ]


# ---- the view ------------------------------------------------------------------------------------


def test_files_are_saved_by_their_suffix(tmp_path):
    view = draw(expression(), engine="builtin")
    for suffix, start in (("svg", "<svg "), ("html", "<!doctype html>"), ("gv", "digraph "),
                          ("dot", "digraph ")):
        path = view.save(tmp_path / f"g.{suffix}")
        assert path.read_text(encoding="utf-8").startswith(start)
    with pytest.raises(ValueError, match=r"'g.bmp': the name must end in .svg, .png"):
        view.save(tmp_path / "g.bmp")
    assert not (tmp_path / "g.bmp").exists()


def test_the_page_asks_nothing_of_the_network():
    page = draw(expression(), engine="builtin").html
    addresses = {word for word in page.split('"') if "://" in word}
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "<link" not in page and "@import" not in page


def test_a_png_of_thousands_of_boxes_is_refused(tmp_path):
    y = leaf(1.0)
    for _ in range(1600):
        y = np.sin(y)
    with pytest.raises(tg.RenderError, match="1,601 boxes would be too large"):
        draw(y, max_nodes=None).save(tmp_path / "g.png")


def test_notebooks_are_given_a_picture_with_ids_of_its_own():
    one, two = draw(small(), engine="builtin"), draw(expression(), engine="builtin")
    bundle = one._repr_mimebundle_()
    assert bundle["text/plain"].startswith("<GraphView of y: 3 nodes")
    ids = [{e.get("id") for e in ET.fromstring(v._repr_mimebundle_()["image/svg+xml"]).iter()
            if e.get("id")} for v in (one, two)]
    assert len(ids[0]) > 5 and not ids[0] & ids[1]
    assert one._repr_html_() == bundle["text/html"]
    assert "<style" not in bundle["text/html"]             # it would leak into the notebook's page
    width = float(ET.fromstring(one.svg).get("width"))     # a file fits the window, within limits
    _, narrowest, *_ = one.svg.replace("(min-width:", "px){svg:root").split("px){svg:root")
    assert float(narrowest) == pytest.approx(0.6 * width, abs=1)


def test_a_display_never_raises(monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("no layout today")

    monkeypatch.setattr("tinygrad_opt.viz.graph.draw.place", broken)
    view = draw(small())
    assert set(view._repr_mimebundle_()) == {"text/plain"} and view._repr_html_() is None
    assert "no layout today" in capsys.readouterr().err
    assert notebook_bundle(small())["text/plain"].startswith("Tensor(")
    monkeypatch.setattr("tinygrad_opt.viz.graph.draw.draw", broken)
    assert notebook_bundle(small()) == {"text/plain": repr(small())}


def test_a_notebook_shows_a_computed_tensor_with_its_graph():
    y = small()
    bundle = notebook_bundle(y)
    assert bundle["text/plain"] == repr(y) and "<svg" in bundle["text/html"]
    bundle = notebook_bundle(leaf(1.0))
    assert bundle["text/plain"] == "Tensor(1.0, requires_grad=True)"
    assert set(bundle) == {"text/plain", "text/html"} and ">1</td>" in bundle["text/html"]


def test_drawing_leaves_the_graph_as_it_was():
    y = expression()
    serials = [(t.serial, t._changed, t.grad) for t in tg.history(y)]
    assert draw(y).svg
    assert serials == [(t.serial, t._changed, t.grad) for t in tg.history(y)]
    y.backward()
    assert y.inputs[0].grad is not None


def test_the_graphviz_package_is_handed_the_same_text():
    graphviz = pytest.importorskip("graphviz")
    source = draw(small()).to_graphviz()
    assert isinstance(source, graphviz.Source) and source.source == draw(small()).dot


def test_wrong_arguments_are_named():
    y = small()
    with pytest.raises(ValueError, match="style='merge' is not known; choose one of 'merged'"):
        draw(y, style="merge")
    with pytest.raises(ValueError, match="detail=3"):
        draw(y, detail=3)
    with pytest.raises(ValueError, match="engine 'neato' is not known"):
        draw(y, engine="neato")
    with pytest.raises(TypeError, match="takes a Tensor, or a model and its input; got ndarray"):
        draw(np.ones(3))
    with pytest.raises(TypeError, match="needs a model that returns a Tensor, got tuple"):
        draw(nn.RNN(2, 2, rng=0), np.ones((1, 2, 2), np.float32))


def test_a_model_is_drawn_even_where_nothing_is_recorded():
    model, x = network()
    with tg.no_grad():
        assert len(draw(model, x).graph.nodes) == 10


# ---- what is one operation to a reader -----------------------------------------------------------


def test_convolution_and_pooling_are_one_box_each():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.Conv2d(4, 2, (3, 2), rng=0),
                          nn.MaxPool2d(2), nn.AvgPool2d((1, 2)))
    images = tg.Tensor(rng.normal(size=(2, 1, 8, 8)), name="images", dtype="float32")
    out = model(images)
    out.name = "out"
    view = draw(out)
    made = [(n.title, n.tag) for n in view.graph.nodes.values() if n.kind in ("op", "loss")]
    assert made == [("conv2d 3×3", ""), ("conv2d 3×2", ""), ("max_pool2d 2", ""),
                    ("out", "avg_pool2d (1, 2)")]
    assert [c.label for c in view.graph.clusters] == ["0", "1"]
    [first] = [n for n in view.graph.nodes.values() if n.kind == "input"]
    assert (first.title, first.rows[0].text) == ("images", "(2, 1, 8, 8)  float32")
    twice = draw(nn.conv2d(images, model[0].weight) + nn.conv2d(images, model[0].weight)).graph
    assert [n.title for n in twice.nodes.values() if n.kind == "input"] == ["images"]
    split = draw(out, style="split").graph
    assert "windows of images" in {n.title for n in split.nodes.values()}
    assert "windows" in {n.title.split()[0] for n in split.nodes.values() if n.title}


def test_what_flows_back_through_a_convolution_reaches_its_filters():
    x = tg.Tensor(np.ones((1, 1, 4)), name="x")
    loss = nn.Conv1d(1, 1, 2, rng=0)(x).sum()
    graph = draw(loss, grads=True).graph
    backs = {graph.nodes[e.tail].title: e.back for e in graph.edges}
    assert backs["weight"].text == "|g| 4.2" and backs["bias"].text == "∂ 1"


def test_leaves_without_names_are_told_apart():
    w = leaf(np.ones((2, 3)), "w")
    x, y = np.ones((5, 2)), np.zeros((5, 3))
    titles = [n.title for n in draw(((x @ w - y) ** 2).mean()).graph.nodes.values()]
    assert titles[:4] == ["w", "data 1", "@", "data 2"]
    labels = np.array([0, 1, 2, 0, 1])
    titles = {n.title for n in draw(nn.cross_entropy(x @ w, labels)).graph.nodes.values()}
    assert {"data", "labels"} <= titles                      # and need no numbers


def test_the_range_of_an_array_stands_below_its_mean():
    view = draw(np.tanh(leaf(np.linspace(-1, 1, 9), "x")), engine="builtin")
    [data, *_] = [r.text for r in view.graph.nodes["n0"].rows if r.key == "data"]
    mean, limits = data.split(" ", 1)
    texts = {t.text: t for t in ET.fromstring(view.svg).iter(f"{SVG}text")}
    assert float(texts[limits].get("y")) > float(texts[mean].get("y"))
    assert f">{limits}<" in view.dot and f">{mean}<" in view.dot


def test_data_of_a_formula_are_no_parameters():
    from tinygrad_opt.viz import formula

    x, y, W = np.ones((2, 2)), np.zeros((2, 1)), np.ones((2, 1))
    graph = draw(formula.parse("mean((x @ W - y)**2)", x=x, W=W, y=y)).graph
    assert {n.title: n.kind for n in graph.nodes.values() if not graph.inputs()[n.id]} == {
        "x": "input", "W": "parameter", "y": "input"}
    assert "1 param (2 values)" in graph.caption
    assert formula.parse("sum(x**2)", x=x).inputs[0].inputs[0].requires_grad
    assert formula.parse("x * a", x=2.0, a=3.0).inputs[0].requires_grad


def test_a_page_shrinks_a_drawing_as_far_as_it_can_be_read_and_then_scrolls():
    view = draw(expression(), engine="builtin")
    wide = round(view.layout.width)
    assert f"max-width:{wide + 32}px;min-width:{wide * 0.6:.0f}px" in view.html
    assert view.html.index("overflow-x:auto") < view.html.index("<svg")
