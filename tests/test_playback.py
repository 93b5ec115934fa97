"""The page that plays backpropagation: its script, and how it behaves in a real browser."""

import json
import re
import shutil

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.errors import GraphError
from tinygrad_opt.viz import formula, playback
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
    final = {page.graph.id_of(t): summary(t.grad, dead=True)[0] for t in tg.history(loss)}
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
    spent = tab.evaluate("(() => { const t = performance.now(); show(LAST); show(LAST - 1);"
                         " return performance.now() - t; })()")
    assert spent < 5000
    assert tab.evaluate("nodes.length") >= 2000
    assert tab.is_checked("#follow")
    assert tab.complaints == []
    tab.close()
