"""Placing and painting: nothing overlaps, arrows point forward, the SVG is sound."""

from __future__ import annotations

import itertools
import random
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from test_viz import SVG, Layer, dense, expression, leaf, network, recurrent

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz import draw
from tinygrad_opt.viz.graph.layout import nearest
from tinygrad_opt.viz.graph.look import DARK, LIGHT
from tinygrad_opt.viz.graph.text import width
from tinygrad_opt.viz.theme import NIGHT


def tangle(seed, n=60):
    """A random graph of scalars."""
    rng = random.Random(seed)
    made = [leaf(rng.random(), f"p{i}") for i in range(4)]
    for _ in range(n):
        a, b = rng.choice(made[-12:]), rng.choice(made)
        made.append(rng.choice([np.add, np.multiply, np.subtract])(a, b))
    return sum(made[1:], made[0])


def nested():
    class Block(nn.Module):
        def __init__(self):
            self.norm, self.layers = nn.LayerNorm(4), [Layer(4, 4), Layer(4, 4)]

        def forward(self, x):
            return x + self.layers[1](np.tanh(self.layers[0](self.norm(x))))

    return nn.Sequential(Block(), nn.ReLU(), Block())(tg.Tensor(np.ones((2, 4)), name="x")).sum()


SCENES = {
    "expression": expression,
    "network": lambda: network()[0](tg.Tensor(network()[1], name="x")).sum(),
    "recurrent": lambda: recurrent(8),
    "scalars": lambda: dense([2, 4, 4, 1]),
    "nested": nested,
    **{f"tangle {seed}": lambda seed=seed: tangle(seed) for seed in range(4)},
}
scenes = pytest.mark.parametrize("make", SCENES.values(), ids=SCENES)
ways = pytest.mark.parametrize("direction", ["LR", "TB"])
styles = pytest.mark.parametrize("style", ["merged", "split"])


def overlap(a, b):
    return min(a.right, b.right) - max(a.left, b.left) > 0.01 and (
        min(a.bottom, b.bottom) - max(a.top, b.top) > 0.01)


# ---- the built-in layout -------------------------------------------------------------------------


@scenes
@ways
@styles
def test_no_box_overlaps_another(make, direction, style):
    layout = draw(make(), engine="builtin", direction=direction, style=style).layout
    assert not [pair for pair in itertools.combinations(layout.boxes, 2)
                if overlap(*map(layout.boxes.get, pair))]


@scenes
@ways
def test_arrows_point_forward_and_touch_both_boxes(make, direction):
    view = draw(make(), engine="builtin", direction=direction)
    boxes = view.layout.boxes
    for edge in view.graph.edges:
        tail, head, path = boxes[edge.tail], boxes[edge.head], view.layout.paths[edge.id]
        (x0, y0), (x1, y1) = path[0], path[-1]
        along = [x for x, _ in path] if direction == "LR" else [y for _, y in path]
        assert all(b - a > -0.01 for a, b in itertools.pairwise(along))
        if direction == "LR":
            assert (x0, x1) == pytest.approx((tail.right, head.left), abs=0.1)
            assert tail.top <= y0 <= tail.bottom and head.top <= y1 <= head.bottom
        else:
            assert (y0, y1) == pytest.approx((tail.bottom, head.top), abs=0.1)
            assert tail.left <= x0 <= tail.right and head.left <= x1 <= head.right


@scenes
def test_arrows_pass_no_foreign_box(make):
    view = draw(make(), engine="builtin")
    for edge in view.graph.edges:
        path = view.layout.paths[edge.id]
        points = [path[0]]
        for a, b, c, d in zip(path[::3], path[1::3], path[2::3], path[3::3]):
            for t in np.linspace(0, 1, 9)[1:]:
                w = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
                points.append(tuple(sum(f * p[i] for f, p in zip(w, (a, b, c, d))) for i in (0, 1)))
        for id, box in view.layout.boxes.items():
            if id not in (edge.tail, edge.head):
                assert not [p for p in points if box.left + 1 < p[0] < box.right - 1
                            and box.top + 1 < p[1] < box.bottom - 1], (edge, id)


@ways
@pytest.mark.parametrize("engine", ["builtin", "auto"])
@pytest.mark.parametrize("name", ["network", "nested"])
def test_a_frame_holds_its_boxes_and_no_other(name, engine, direction):
    view = draw(SCENES[name](), engine=engine, direction=direction)
    assert view.graph.clusters
    for cluster in view.graph.clusters:
        frame = view.layout.frames[cluster.id]
        for id, box in view.layout.boxes.items():
            if id in cluster.members:
                assert frame.left < box.left and box.right < frame.right
                assert frame.top + 18 < box.top and box.bottom < frame.bottom
            else:
                assert not overlap(frame, box), (cluster.label, id)
        for other in view.graph.clusters:
            if not cluster.members & other.members:
                assert not overlap(frame, view.layout.frames[other.id])


def test_a_layout_is_the_same_each_time():
    one, two = (draw(tangle(7), engine="builtin").layout for _ in range(2))
    assert one == two


def test_operands_stand_in_the_order_of_their_use():
    a, b, c = leaf(1.0, "a"), leaf(2.0, "b"), leaf(3.0, "c")
    boxes = draw(np.stack([c, a, b]), engine="builtin").layout.boxes
    assert boxes["n2"].y < boxes["n0"].y < boxes["n1"].y


def test_a_tree_has_no_crossings():
    leaves = [leaf(float(i)) for i in range(16)]
    random.Random(0).shuffle(leaves)
    while len(leaves) > 1:
        leaves = [a * b for a, b in zip(leaves[::2], leaves[1::2])]
    view = draw(leaves[0], engine="builtin")
    ends = [(path[0], path[-1]) for path in view.layout.paths.values()]
    for (p, q), (r, s) in itertools.combinations(ends, 2):
        if abs(p[0] - r[0]) < 20:
            assert (p[1] - r[1]) * (q[1] - s[1]) >= 0


def test_nearest_solves_its_least_squares_problem():
    rng = np.random.default_rng(0)
    for _ in range(20):
        wish, weight = rng.normal(size=6) * 10, rng.uniform(0.5, 2, 6)
        gaps = rng.uniform(1, 5, 5)
        found = np.array(nearest(list(wish), list(weight), list(gaps)))
        assert (np.diff(found) > gaps - 1e-9).all()
        best = (weight * (found - wish) ** 2).sum()
        for _ in range(200):                               # no feasible point nearby is better
            other = found + rng.normal(size=6) * 0.3
            if (np.diff(other) >= gaps).all():
                assert (weight * (other - wish) ** 2).sum() >= best - 1e-9


# ---- SVG -----------------------------------------------------------------------------------------


@scenes
@styles
@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_the_svg_is_xml_with_unique_ids_and_every_box_and_arrow(make, style, theme):
    view = draw(make(), engine="builtin", style=style, theme=theme)
    root = ET.fromstring(view.svg)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    groups = {kind: [g.get("id") for g in root.iter(f"{SVG}g")
                     if (g.get("class") or "").split()[:1] == [kind]] for kind in ("node", "edge")}
    assert groups["node"] == list(view.graph.nodes)
    assert groups["edge"] == [e.id for e in view.graph.edges]
    assert {c.id for c in view.graph.clusters} <= set(ids)


@scenes
@ways
def test_all_that_is_painted_lies_on_the_page_and_text_inside_its_box(make, direction):
    view = draw(make(), engine="builtin", direction=direction, detail=2)
    root = ET.fromstring(view.svg)
    wide, high = float(root.get("width")), float(root.get("height"))
    for path in root.iter(f"{SVG}path"):
        numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", path.get("d"))]
        assert max(numbers, default=0) <= max(wide, high)
    for box in view.layout.boxes.values():
        assert box.left >= -0.01 and box.top >= -0.01
        assert box.right <= wide - 32 + 0.6 and box.bottom <= high - 32
    for group in root.iter(f"{SVG}g"):
        if not (group.get("class") or "").startswith("node"):
            continue
        box = view.layout.boxes[group.get("id")]
        for text in group.iter(f"{SVG}text"):
            long = width(text.text, float(text.get("font-size")),
                         bold=bool(text.get("font-weight")),
                         mono="Courier" in (text.get("font-family") or ""))
            share = {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")]
            left = float(text.get("x")) - share * long
            assert box.left < left + 0.1 and left + long < box.right + 0.1, text.text
            assert box.top < float(text.get("y")) < box.bottom


def test_every_number_on_the_picture_can_be_found_by_its_class():
    y = expression()
    y.backward()
    root = ET.fromstring(draw(y, engine="builtin").svg)
    [node] = [g for g in root.iter(f"{SVG}g") if g.get("id") == "n0"]
    texts = {t.get("class"): t.text for t in node.iter(f"{SVG}text")}
    assert texts["name"] == "a" and texts["data"] == "2" and "grad" in texts


def test_the_legend_names_the_kinds_that_are_there():
    def words(end):
        root = ET.fromstring(draw(end, engine="builtin").svg)
        [legend] = [g for g in root.iter(f"{SVG}g") if g.get("class") == "legend"] or [[]]
        return [t.text for t in legend.iter(f"{SVG}text")] if len(legend) else []

    assert words(expression()) == ["parameter", "operation", "result"]
    assert words(leaf(1.0) + leaf(2.0)) == []              # a handful of boxes needs none


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_borders_stand_out(palette):
    for kind, (fill, border) in palette.kinds.items():
        if kind != "alias":
            assert contrast(palette.text, fill) >= 7, kind
            assert contrast(palette.muted, fill) >= 4.5, kind
            assert contrast(palette.alarm, fill) >= 4.5, kind
            assert contrast(border, palette.page) >= 3, kind
    assert contrast(palette.edge, palette.page) >= 3
    assert contrast(palette.gradient, palette.page) >= 4.5


def test_themes_are_light_dark_or_by_the_readers_system():
    texts = {theme: draw(expression(), engine="builtin", theme=theme).svg
             for theme in ("light", "dark", "auto")}
    assert DARK.page not in texts["light"] and LIGHT.page not in texts["dark"]
    assert f"@media {NIGHT}" in texts["auto"] and DARK.page in texts["auto"]
    assert NIGHT.startswith("screen and ")                     # paper is white
    assert f'fill="{LIGHT.kinds["op"][0]}"' in texts["auto"]   # for programs without style sheets
