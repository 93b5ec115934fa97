"""The page that plays backpropagation: its script, and how it behaves in a real browser."""

import json
import re
import shutil

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.errors import GraphError
from tinygrad_opt.ops import op
from tinygrad_opt.viz import formula, playback
from tinygrad_opt.viz.graph.flow import flow
from tinygrad_opt.viz.graph.text import summary

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = ['"><script>alert(1)</script>', "</script>'|\n中文😀", "$DATA$<!--", "a\\b&amp;\"'"]


def expression():
    f = formula.parse("tanh(a*b + c) * a", a=2, b=-3, c=6.5)
    f.name = "f"
    return f


def network():
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.normal(size=(16, 2)), name="x")
    model = tg.nn.MLP([2, 8, 3], activation="tanh", rng=0)
    return tg.nn.cross_entropy(model(x), rng.integers(0, 3, 16))


def hostile():
    a, b, c, d = (tg.Tensor(float(i), requires_grad=True, name=n) for i, n in enumerate(HOSTILE))
    loss = (a * b + c) * d * b
    loss.name = HOSTILE[0]
    return loss


def large():
    rng = np.random.default_rng(0)
    nodes = [tg.Tensor(v, requires_grad=True) for v in rng.normal(size=9)]
    while len(nodes) < 2000:
        i, j = rng.integers(max(0, len(nodes) - 40), len(nodes), 2)
        nodes.append(np.tanh(nodes[i]) if rng.random() < 0.4 else nodes[i] * 0.5 + nodes[j])
    return sum(nodes[-40:], tg.Tensor(0.0))


def test_the_page_is_complete_in_itself_and_small():
    html = playback(expression(), engine="builtin").html
    assert len(html.encode()) < 60_000
    addresses = set(re.findall(r"https?://[^\"' )]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|script|img)[^>]+(href|src)=\"(?!data:)", html)


def test_steps_go_forward_in_order_of_creation_and_back_in_the_order_of_the_walk():
    f = expression()
    page = playback(f, engine="builtin")
    made = [t for t in tg.history(f) if t.op is not None]
    ids = [page.graph.id_of(t) for t in [f, *made, f, *reversed(made)]]
    assert [page.script["nodes"][s["node"]]["id"] for s in page.script["steps"]] == ids


def test_a_reused_value_shows_its_sum_growing():
    nodes = {n["name"]: n for n in playback(expression(), engine="builtin").script["nodes"]}
    assert [text for _, text, *_ in nodes["a"]["grads"]] == ["0.4621", "−4.257"]
    assert len(nodes["b"]["grads"]) == 1


def test_broadcasting_and_shapes_in_the_product_are_told():
    rng = np.random.default_rng(0)
    w = tg.Tensor(rng.normal(size=(64, 16)), requires_grad=True, name="w")
    b = tg.Tensor(np.zeros(16), requires_grad=True, name="b")
    x = tg.Tensor(rng.normal(size=(2, 64)), requires_grad=True, name="x")
    text = json.dumps(playback((x @ w + b).sum(), engine="builtin").script, ensure_ascii=False)
    assert "(2, 16) = (2, 64)(64, 16)" in text
    assert "(64, 16) = (64, 2)(2, 16)" in text
    assert "summed over axis 0: (2, 16) → (16,)" in text


def test_the_sum_over_broadcast_axes_is_a_step_of_its_own():
    x = tg.Tensor([[1.0, 2.0], [3.0, 4.0]], name="x")
    b = tg.Tensor([1.0, -1.0], requires_grad=True, name="b")
    page = playback((x * b).sum(), engine="builtin").script
    sent, added = ((s, c) for s in page["steps"] for c in s["cards"] if c[3] == "to b")
    assert sent[0]["node"] == added[0]["node"] and sent[1][0] == added[1][0]     # of one arrow
    assert sent[1][4] == [("formula", "∂z/∂b = x, entry by entry"),
                          ("numbers", "g · ∂z/∂b = 1, 2, 3, …"),
                          ("fitting", "to be summed, which is the next step")]
    assert added[1][4] == [("fitting", "b was broadcast, so summed over axis 0: (2, 2) → (2,)"),
                           ("numbers", "= 4, 6")]
    assert [page["arrays"][card[5]]["cells"] for _, card in (sent, added)] == [
        [[1, 2], [3, 4]], [[4, 6]]]
    [b] = [n for n in page["nodes"] if n["name"] == "b"]
    assert [step for step, *_ in b["grads"]] == [page["steps"].index(added[0])]


def test_no_placeholder_is_the_name_of_a_node():
    x, z, g = (tg.Tensor(v, requires_grad=True, name=n) for v, n in ((0.5, "x"), (1.0, "z"),
                                                                    (2.0, "g")))
    steps = playback(np.tanh(x * z) * (g * x), engine="builtin").script["steps"]
    said = [line[1] for s in steps for line in s["lines"] if line[0] in ("formula", "note")]
    assert "y = x · z" in said and "y = tanh(u)" in said and "where u is ×" in said
    cards = [line[1] for s in steps for c in s["cards"] for line in c[4]]
    assert "∂y/∂u = 1 − y · y = 1 − 0.4621 · 0.4621 = 0.7864" in cards
    assert "δ · ∂y/∂u = 1 · 0.7864 = 0.7864" in cards


def test_inputs_have_their_own_names_in_formulas():
    x = tg.Tensor(np.ones((4, 2)), name="x")
    steps = playback((tg.nn.MLP([2, 3, 3], rng=0)(x) ** 2).mean(), engine="builtin").script["steps"]
    said = [line[1] for s in steps for line in s["lines"] if line[0] in ("formula", "note")]
    assert "z = x @ weight + bias" in said and "z = y²" in said       # x is a constant's name
    assert "where weight is layers.0.weight, bias is layers.0.bias" in said
    titles = [card[3] for s in steps for card in s["cards"] if s["phase"] == "backward"]
    assert "to layers.1.weight" in titles and "to x@W+b, the y above" in titles


def test_gradients_that_are_computed_together_are_computed_once():
    calls = []

    def joint(g, z, *inputs):
        calls.append(len(inputs))
        return [g * 2 for _ in inputs]

    both = op("both", lambda *inputs: 2 * sum(inputs), joint=joint)
    x, y, z = (tg.Tensor(v, requires_grad=True) for v in (1.0, 2.0, 3.0))
    run = flow(both(x, y, z))
    assert calls == [3]
    assert [float(p.slopes()) for p in run.into(z)] == [2.0]           # and it comes to an end


def test_no_gradient_is_touched():
    f = expression()
    playback(f, engine="builtin")
    assert all(t.grad is None for t in tg.history(f))


def test_bad_input_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "page.html"
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GraphError, match="single number"):
        playback(x * 2, path)
    with pytest.raises(TypeError, match="got float"):
        playback(2.0, path)
    with pytest.raises(ValueError, match="theme='pink'"):
        playback(x.sum(), path, theme="pink")
    assert not path.exists()


def test_a_graph_that_no_page_could_hold_is_refused_at_once():
    y = tg.Tensor(1.0, requires_grad=True)
    for _ in range(20_001):
        y = np.sin(y)
    with pytest.raises(tg.RenderError, match="plays 20,002 nodes would be too large"):
        playback(y)


# ---- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with api.sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


def opened(browser, loss, tmp_path, where="", **options):
    """The page in a tab, with what it complained about and what it asked the network for."""
    path = tmp_path / "page.html"
    playback(loss, path, engine="builtin")
    tab = browser.new_page(**{"viewport": {"width": 1280, "height": 720}, **options})
    tab.complaints, tab.asked = [], []
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.on("dialog", lambda dialog: (tab.complaints.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda r: tab.asked.append(r.url) if not r.url.startswith("data:") else None)
    tab.goto(path.as_uri() + where)
    return tab


def shown_gradients(tab):
    return tab.evaluate("Object.fromEntries(nodes.filter(n => n.grad)"
                        ".map(n => [n.id, n.grad.textContent]))")


@pytest.mark.parametrize("graph", [expression, network, hostile])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_step_is_reached_by_keys_and_the_last_shows_the_gradients(
    browser, tmp_path, graph, scheme
):
    loss = graph()
    page = playback(loss, engine="builtin")
    tab = opened(browser, loss, tmp_path, color_scheme=scheme)
    for k, step in enumerate(page.script["steps"]):
        assert tab.inner_text("#count") == f"{k} / {len(page.script['steps']) - 1}"
        assert tab.text_content("#say") == step["say"]
        tab.keyboard.press("ArrowRight")
    loss.backward()
    final = {page.graph.id_of(t): summary(t.grad, dead=True)[0].split(" [")[0]
             for t in tg.history(loss)}
    assert shown_gradients(tab) == final
    tab.keyboard.press("Home")
    assert set(shown_gradients(tab).values()) == {"–"}
    tab.keyboard.press("End")
    assert shown_gradients(tab) == final
    assert tab.complaints == []
    assert [url for url in tab.asked if not url.startswith(tmp_path.as_uri())] == []
    tab.close()


def test_a_link_leads_to_its_step(browser, tmp_path):
    for link in ("?step=3", "#step=3"):
        tab = opened(browser, expression(), tmp_path, link)
        assert tab.inner_text("#count") == "3 / 9"
        tab.close()


def test_play_zoom_drag_fit_and_the_numbers_of_a_box(browser, tmp_path):
    tab = opened(browser, network(), tmp_path, reduced_motion="reduce")
    tab.keyboard.press(" ")
    assert tab.inner_text("#play") == "Pause"
    tab.keyboard.press(" ")
    assert tab.inner_text("#play") == "Play"
    tab.keyboard.press("f")
    fitted = tab.get_attribute("#view > svg", "viewBox")
    tab.mouse.move(400, 300)
    tab.mouse.wheel(0, -400)
    tab.wait_for_function("v => document.querySelector('#view > svg').getAttribute('viewBox') != v",
                          arg=fitted)
    tab.click("#fit")
    assert tab.get_attribute("#view > svg", "viewBox") == fitted
    tab.keyboard.press("End")
    tab.locator("#n1 .name").click()
    assert tab.locator("#node table").count() == 2
    assert tab.evaluate("getComputedStyle(document.querySelector('.edge.bwd path')).animationName"
                        ) == "none"
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#node")
    assert tab.complaints == []
    tab.close()


def test_pointing_at_a_cell_tells_its_entry(browser, tmp_path):
    x = tg.Tensor([[1.0, 2.0, 3.0], [4.0, -5.0, 6.0]], requires_grad=True, name="x")
    tab = opened(browser, (x * x).sum(), tmp_path, "#step=1")
    for cells in (".cells", ".map"):
        box = tab.locator(cells).first.bounding_box()
        tab.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.75 * box["height"])
        assert tab.inner_text("#tip") == ("[1, 1]  −5" if cells == ".cells" else "[1, 1]  25")
    tab.mouse.move(2, 2)
    assert tab.is_hidden("#tip")
    assert tab.complaints == []
    tab.close()


def seen(tab):
    """The part of the drawing that is in view: x, y and how many of its points a pixel is."""
    x, y, width, _ = map(float, tab.get_attribute("#view > svg", "viewBox").split())
    return x, y, width / tab.evaluate("document.getElementById('view').clientWidth")


def under(tab, x, y):
    """The point of the drawing that lies under a point of the window."""
    left, top, scale = seen(tab)
    corner = tab.locator("#view").bounding_box()
    return left + scale * (x - corner["x"]), top + scale * (y - corner["y"])


def test_dragging_moves_the_drawing_with_the_pointer_and_picks_no_box(browser, tmp_path):
    tab = opened(browser, network(), tmp_path)
    tab.keyboard.press("0")
    box = tab.locator("#n1 .box").bounding_box()
    x, y = box["x"] + 5, box["y"] + 5
    held = under(tab, x, y)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 40, y + 25, steps=4)
    tab.mouse.move(x + 90, y - 30, steps=4)
    tab.mouse.up()
    assert under(tab, x + 90, y - 30) == pytest.approx(held, abs=1)
    assert tab.is_hidden("#node")
    tab.mouse.move(x + 300, y + 100)                       # after letting go nothing is dragged
    assert under(tab, x + 90, y - 30) == pytest.approx(held, abs=1)
    assert tab.complaints == []
    tab.close()


def test_the_wheel_zooms_about_the_pointer(browser, tmp_path):
    tab = opened(browser, network(), tmp_path)
    tab.mouse.move(300, 250)
    for turn, grows in ((-300, True), (500, False)):
        held, (*_, before) = under(tab, 300, 250), seen(tab)
        tab.mouse.wheel(0, turn)
        tab.wait_for_timeout(50)
        assert (seen(tab)[2] < before) == grows
        assert under(tab, 300, 250) == pytest.approx(held, abs=1)
    assert tab.complaints == []
    tab.close()


def test_two_fingers_zoom_and_one_moves(browser, tmp_path):
    tab = opened(browser, network(), tmp_path, has_touch=True)
    fingers = tab.context.new_cdp_session(tab)

    def touch(kind, *points):
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [
            {"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]})

    (*_, before), held = seen(tab), under(tab, 200, 200)
    touch("touchStart", (200, 200))
    touch("touchStart", (200, 200), (300, 200))
    for x in (340, 400):
        touch("touchMove", (200, 200), (x, 200))
    touch("touchEnd")
    assert seen(tab)[2] == pytest.approx(before / 2, rel=0.02)
    assert under(tab, 200, 200) == pytest.approx(held, abs=1)
    touch("touchStart", (200, 200))
    touch("touchMove", (230, 260))
    touch("touchEnd")
    assert under(tab, 230, 260) == pytest.approx(held, abs=1)
    assert tab.complaints == []
    tab.close()


def test_keys_and_buttons_zoom_and_a_double_click_shows_all(browser, tmp_path):
    tab = opened(browser, network(), tmp_path)
    tab.keyboard.press("0")
    fitted = seen(tab)
    for larger, smaller in (("+", "-"), ("=", "_")):
        tab.keyboard.press(larger)
        assert seen(tab)[2] == pytest.approx(fitted[2] / 1.3)
        tab.keyboard.press(smaller)
        assert seen(tab)[2] == pytest.approx(fitted[2])
    tab.click("#in")
    tab.click("#in")
    tab.click("#out")
    assert seen(tab)[2] == pytest.approx(fitted[2] / 1.3)
    tab.mouse.dblclick(30, 500)                            # beside all boxes
    assert seen(tab) == pytest.approx(fitted)
    tab.keyboard.press("+")
    tab.keyboard.press("f")
    assert seen(tab) == pytest.approx(fitted)
    assert tab.inner_text("#count").startswith("0 ")       # none of it has gone to another step
    assert tab.complaints == []
    tab.close()


def test_the_end_of_a_link_and_a_changed_link_lead_to_steps(browser, tmp_path):
    tab = opened(browser, expression(), tmp_path, "#step=999")
    assert tab.inner_text("#count") == "9 / 9"
    tab.evaluate("location.hash = 'step=2'")
    tab.wait_for_function("document.getElementById('count').textContent.startsWith('2 ')")
    tab.close()


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_window(browser, tmp_path, width):
    tab = opened(browser, network(), tmp_path, "#step=5", viewport={"width": width, "height": 700})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for part in ("#play", "#slider", "#count", "#follow", "#fit"):
        box = tab.locator(part).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, part
    tab.close()


def test_hostile_names_are_text(browser, tmp_path):
    tab = opened(browser, hostile(), tmp_path)
    assert tab.evaluate("document.scripts.length") == 2
    assert HOSTILE[0] in tab.inner_text("h1")
    names = tab.evaluate("[...document.querySelectorAll('#view .name')].map(e => e.textContent)")
    assert {name.replace("\n", "↵") for name in HOSTILE} <= set(names)
    assert tab.complaints == []
    tab.close()


def test_a_graph_of_two_thousand_is_usable(browser, tmp_path):
    tab = opened(browser, large(), tmp_path)
    tab.evaluate("show(LAST); show(LAST - 1)")
    assert tab.evaluate("nodes.length") >= 2000
    assert tab.is_checked("#follow")
    assert tab.complaints == []
    tab.close()
