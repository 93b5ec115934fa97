"""Live pages: what they compute is what Python computes, and they can be used by everybody."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import live, nn, optim
from tinygrad_opt.live.live_page import object_text
from tinygrad_opt.live.points import SETS, points_of
from tinygrad_opt.live.rules import rules_of
from tinygrad_opt.live.templates import template
from tinygrad_opt.live.trainable import family, start_of
from tinygrad_opt.nn.init import kaiming_uniform
from tinygrad_opt.optim import schedules
from tinygrad_opt.optim.lookup import names

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HERE = Path(live.__file__).parent
needs_node = pytest.mark.skipif(NODE is None, reason="no node here")


def in_node(tmp_path, code, *files):
    """What a script prints as JSON, behind files of the package."""
    parts = [(HERE / f"{name}.js").read_text() for name in files]
    told = "const told = x => String(x), window = {};"
    path = tmp_path / "run.cjs"
    run = f"console.log(JSON.stringify((() => {{ {code} }})()));"
    path.write_text("\n".join([told, *parts, run]))
    done = subprocess.run([NODE, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    return json.loads(done.stdout)


# ---- modules for all sizes -----------------------------------------------------------------------


def test_numbers_become_products_of_sizes():
    def text(sizes):
        n, m = sizes["n"], sizes["m"]
        one = float(np.float32(1 / n))
        body = f'const o3 = {n * m} + {2 * n}, a = {one}, b = 7, c = "layers.0.x"; return {n * n};'
        return f"export function program() {{ {body} }}\nexport default program();"

    assert template(text, ["n", "m"]) == (
        '({n, m}) => { const o3 = n * m + 2 * n, a = F(1 / (n)), b = 7, c = "layers.0.x";'
        " return n * n; }")


@pytest.mark.parametrize("text", [
    lambda s: f"export function program() {{ return {s['n'] + 1}; }}",
    lambda s: f"export function program() {{ return {'x' if s['n'] == 101 else 'y'}; }}",
    lambda s: f"export function program() {{ return {'1, 2' if s['n'] == 101 else '1'}; }}",
])
def test_other_differences_are_refused(text):
    with pytest.raises(ValueError, match=r"no products of sizes|not the same for all sizes"):
        template(text, ["n"])


# ---- the lab computes what Python computes -------------------------------------------------------


@needs_node
def test_random_numbers_are_those_of_numpy(tmp_path):
    seeds = [0, 1, 7, 2**31, 2**32, 123456789012, 2**70 + 3]
    found = in_node(tmp_path, f"""return {json.dumps([str(s) for s in seeds])}.map(seed => {{
      const a = new Generator(seed), b = new Generator(seed);
      return [[a.random(), a.uniform(-2, 3), a.permutation(11), a.permutation(3), a.random()],
              b.permutation(1000)]; }});""", "updates", "lab")
    for seed, ((first, second, order, short, last), long) in zip(seeds, found):
        a, b = np.random.default_rng(seed), np.random.default_rng(seed)
        assert first == a.random() and second == a.uniform(-2, 3)
        assert order == a.permutation(11).tolist() and short == a.permutation(3).tolist()
        assert last == a.random()
        assert long == b.permutation(1000).tolist()


@needs_node
def test_schedules_are_those_of_the_package(tmp_path):
    ours = {
        "constant": schedules.constant(1.0), "step": schedules.step(1.0, every=100, factor=0.5),
        "exponential": schedules.exponential(1.0, rate=0.01 ** (1 / 400)),
        "cosine": schedules.cosine(1.0, 400),
        "inverse time": schedules.inverse_time(1.0, decay=10 / 400),
        "warm up": schedules.warm_up(1.0, 40, start=1 / 40),
    }
    found = in_node(tmp_path, """return Object.fromEntries(Object.entries(SCHEDULES).map(
      ([name, f]) => [name, Array.from({length: 500}, (_, t) => f(t, 400))]));""", "updates", "lab")
    assert found.keys() == ours.keys()
    for name, schedule in ours.items():
        if name != "warm up":
            np.testing.assert_allclose(found[name], schedule.values(500), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found["warm up"][:40], np.arange(1, 41) / 40)
    assert found["warm up"][40:] == [1] * 460


@pytest.fixture(scope="module")
def pack():
    return {"data": points_of(None), "rules": rules_of(), "given": [],
            "nets": {a: [family(a, d) for d in range(3)] for a in ("tanh", "relu")},
            "starts": {a: start_of(a) for a in ("tanh", "relu")}}


SETTINGS = [
    ("spiral", "tanh", [16, 16], "Adam", 0, 32), ("moons", "relu", [8], "Momentum", 7, 10),
    ("blobs", "tanh", [], "SGD", 123456789012, 32), ("circles", "relu", [5, 4], "RMSprop", 3, 25),
    ("xor", "tanh", [1], "Nadam", 5, 1), ("vertical", "relu", [3, 2], "Lion", 11, 64),
]


def python_losses(data, activation, widths, rule, seed, batch, steps=60):
    x, y = live.points(data)
    n, losses = len(y) - round(len(y) * 0.25), []
    model = nn.MLP([2, *widths, int(y.max()) + 1], activation, rng=seed)
    opt = getattr(optim, rule)(model.parameters(), lr=0.01)
    rng = np.random.default_rng(seed)
    while len(losses) < steps:
        for xb, yb in tg.data.minibatches(x[:n], y[:n], batch, rng=rng, drop_last=True):
            loss = nn.cross_entropy(model(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    return losses[:steps]


@needs_node
def test_the_same_seed_gives_what_python_gives(tmp_path, pack):
    runs = [dict(zip(("data", "activation", "widths", "rule", "seed", "batch"), s), noise=2,
                 lr=0.01) for s in SETTINGS]
    found = in_node(tmp_path, f"""const pack = {object_text(pack)};
      return {json.dumps(runs)}.map(settings => {{ const lab = new Lab(pack, settings);
        for (let i = 0; i < 60; i++) lab.step();
        lab.reset();
        for (let i = 0; i < 60; i++) lab.step();
        return lab.losses; }});""", "updates", "lab")
    for settings, losses in zip(SETTINGS, found):
        wanted = python_losses(*settings)
        np.testing.assert_allclose(losses[:10], wanted[:10], rtol=1e-6, err_msg=str(settings))
        np.testing.assert_allclose(losses, wanted, rtol=1e-3, err_msg=str(settings))


@needs_node
def test_every_rule_explains_the_step_that_it_took(tmp_path, pack):
    rules = sorted(pack["rules"])
    assert len(rules) == len(names())
    found = in_node(tmp_path, f"""const pack = {object_text(pack)}, out = {{}};
      for (const rule of {json.dumps(rules)}) for (const decay of [0, 0.05]) {{
        const lab = new Lab(pack, {{data: "spiral", activation: "tanh", widths: [4], rule, lr: 0.01,
          rates: {{weight_decay: decay}}}});
        for (let i = 0; i < 5; i++) lab.step();
        const now = lab.values(), lines = [0, 3, 9].map(k => [lab.updates.explain(k), now[k]]);
        out[`${{rule}} ${{decay}}`] = lines;
      }} return out;""", "updates", "lab")
    for rule, entries in found.items():
        for lines, now in entries:
            told = [line[3] for line in lines if line[0] == "p"]
            assert told[-1] == pytest.approx(now, rel=1e-4, abs=1e-6), rule
            assert all("NaN" not in line[2] and "undefined" not in line[2] for line in lines)
    assert [line[0] for line in found["Adam 0"][0][0]] == ["m", "v", "m̂", "v̂", "p"]


@needs_node
def test_settings_change_while_it_learns(tmp_path, pack):
    found = in_node(tmp_path, f"""const pack = {object_text(pack)};
      const lab = new Lab(pack, {{data: "spiral", activation: "tanh", widths: [4], rule: "Adam",
        lr: 0.01}});
      for (let i = 0; i < 5; i++) lab.step();
      const before = lab.values();
      lab.change({{batch: 7}});
      const kept = lab.values().every((v, i) => v === before[i]);
      lab.change({{rule: "SGD"}});
      const still = lab.values().every((v, i) => v === before[i]);
      lab.change({{features: [0, 1, 2, 6]}});
      const sizes = lab.parameters.map(p => p.shape);
      for (let i = 0; i < 5; i++) lab.step();
      lab.change({{widths: [3, 2], activation: "relu", data: "moons"}});
      for (let i = 0; i < 5; i++) lab.step();
      const {{train, test}} = lab.measure();
      return [kept, still, sizes, lab.parameters.map(p => p.name),
        lab.look().map(m => m.length), train, test];
    """, "updates", "lab")
    kept, still, sizes, named, maps, train, test = found
    assert kept and still
    assert sizes == [[4, 4], [4], [4, 3], [3]]
    assert named == [f"layers.{i}.{p}" for i in range(3) for p in ("weight", "bias")]
    assert maps == [1600 * 3, 1600 * 2, 1600 * 2]
    assert 0 < train["loss"] < 2 and 0 <= test["accuracy"] <= 1


def test_weights_are_drawn_as_the_package_draws_them():
    for activation in ("tanh", "relu", "sigmoid", "gelu", "silu"):
        told = start_of(activation)
        first = nn.MLP([5, 4, 3], activation, rng=0).layers[0].weight.data
        bound = told["gain"] * math.sqrt(3 / 5 if told["family"] == "kaiming" else 6 / 9)
        plain = np.random.default_rng(0).uniform(-bound, bound, (5, 4))
        np.testing.assert_allclose(first, plain.astype(np.float32), rtol=1e-6)
    assert kaiming_uniform((5, 4), 0).shape == (5, 4)


# ---- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_points_are_standardised_and_their_classes_in_turn(name):
    x, y = live.points(name)
    assert x.dtype == np.float32 and len(x) == len(y) == 300
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-5)
    for n in (60, 150, 240):
        counts = np.bincount(y[:n])
        assert counts.max() - counts.min() <= 1


def test_own_data_are_points_of_the_plane(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    told = points_of({"mine": (x, ["b", "a"] * 20)})["mine"]
    assert told["classes"] == 2 and told["names"] == ["a", "b"] and len(told["levels"]) == 1
    path = tmp_path / "flowers.csv"
    rows = [f"{a},{b},{c}" for (a, b), c in zip(x.tolist(), ["rose", "lily"] * 20)]
    path.write_text("\n".join(["width,length,kind", *rows]))
    assert points_of(path)["flowers"]["names"] == ["lily", "rose"]
    for told in (path, str(path)):
        named, classes = live.points(told)
        np.testing.assert_array_equal(named, live.points((x, ["rose", "lily"] * 20))[0])
        assert classes[:4].tolist() == [0, 1, 0, 1]
    for bad, complaint in (((rng.normal(size=(40, 3)), [0, 1] * 20), "points of the plane"),
                           ((x[:4], [0, 1] * 2), "at least 8 points"),
                           ((x * np.inf, [0, 1] * 20), "finite"),
                           ((x, [1] * 40), "2 to 8 classes, got 1")):
        with pytest.raises(ValueError, match=complaint), np.errstate(invalid="ignore"):
            points_of(bad)
    with pytest.raises(ValueError, match="no data set is called 'spirals'; there are: spiral"):
        live.points("spirals")


# ---- the page ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "playground.html"
    made = live.playground(data={n: n for n in ("spiral", "moons")}, path=path, deepest=2,
                           optimizers=["sgd", "adam"], activations=["tanh", "relu"])
    assert made.save(path).read_text(encoding="utf-8") == str(made)
    return path


def test_the_whole_playground_is_one_small_file(tmp_path):
    made = tg.playground()
    text = str(made)
    assert len(text.encode()) < 400_000
    assert "http://" not in text and "https://" not in text
    assert "default-src 'none'" in text
    assert made._repr_html_() == made.fragment and made.fragment.startswith("<iframe srcdoc=")
    assert "kB>" in repr(made)


def test_a_model_that_has_no_words_is_named():
    with pytest.raises(tg.CaptureError, match="random numbers"):
        live.playground(nn.MLP([2, 4, 3], dropout=0.5, rng=0), "spiral", optimizers=["sgd"])


def test_a_model_that_does_not_fit_the_points_is_refused():
    only = {"optimizers": ["sgd"]}
    for model, data, complaint in (
            (nn.MLP([3, 4, 2], rng=0), "moons", "models of 2 inputs.*MLP takes 3"),
            (nn.MLP([2, 4, 2], rng=0), "spiral", "spiral has 3 classes, and MLP gives 2 numbers"),
            (nn.MLP([2, 4, 5], rng=0), None, "no set of the package"),
            ([nn.MLP([2, 4, 2], rng=0), nn.MLP([2, 4, 3], rng=0)], None, "no set of the package")):
        with pytest.raises(ValueError, match=complaint):
            live.playground(model, data, **only)
    with pytest.raises(TypeError, match="a Module or a list of them, got 'm'"):
        live.playground("mlp")
    with pytest.raises(ValueError, match="hidden layers, got -1"):
        live.playground(deepest=-1)


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


def opened(browser, path, **options):
    tab = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
    tab.complaints, tab.asked = [], []
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.on("request", lambda r: tab.asked.append(r.url) if not r.url.startswith("data:") else None)
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]", state="attached")
    return tab


def until(tab, expression):
    """Wait for something on a page, whose policy lets nobody evaluate text."""
    for _ in range(1000):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(20)
    pytest.fail(f"never: {expression}")


def test_it_is_played_by_keys_alone(browser, page):
    tab = opened(browser, page)
    steps = lambda: int(tab.inner_text("#steps"))
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert steps() == 3
    tab.keyboard.press(" ")
    assert tab.inner_text("#play") == "Pause"
    until(tab, "playground.lab.steps > 20")
    tab.keyboard.press(" ")
    assert tab.inner_text("#play") == "Play" and steps() > 20
    tab.keyboard.press("r")
    assert steps() == 0
    tab.keyboard.press("b")
    assert tab.inner_text("#stage-count") == "1 / 16"
    for k in range(2, 17):
        tab.keyboard.press("ArrowRight")
        assert tab.inner_text("#stage-count") == f"{k} / 16"
    assert steps() == 1                                    # the last stage updates, once
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Escape")
    assert steps() == 1 and not tab.is_visible("#inside")
    for _ in range(60):                                    # every control is reached
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "rule":
            break
    else:
        pytest.fail("the rule cannot be reached by the keyboard")
    tab.keyboard.press("s")
    assert tab.evaluate("playground.lab.settings.rule") == "SGD"
    assert tab.complaints == []
    tab.close()


def test_inside_a_step_are_the_numbers_of_the_engine(browser, page):
    tab = opened(browser, page)
    tab.evaluate("change({activation: 'tanh', widths: [8, 8]})")
    tab.keyboard.press("b")
    x, y = live.points("spiral", 0.1)
    n = 225
    rows = np.random.default_rng(0).permutation(n)[:32]
    model = nn.MLP([2, 8, 8, 3], "tanh", rng=0)
    loss = nn.cross_entropy(model(x[rows]), y[rows])
    loss.backward()
    told = {}
    for _ in range(16):
        told[tab.inner_text("#stage-count")] = tab.inner_text("#stage").replace("−", "-")
        tab.keyboard.press("ArrowRight")
    assert f"{loss.item():.6g}"[:7] in told["7 / 16"]
    assert f"{model.layers[2].weight.grad[0, 0]:.5g}"[:7] in told["9 / 16"]
    assert f"{model.layers[0].bias.grad[0]:.5g}"[:7] in told["15 / 16"]
    tab.close()


def test_a_link_tells_its_weight_and_gradient(browser, page):
    tab = opened(browser, page)
    tab.keyboard.press("ArrowRight")
    a, b = (tab.locator(".column").nth(c).locator(".neuron").nth(0).bounding_box() for c in (0, 1))
    tab.mouse.move(a["x"] + a["width"] + 1.5, a["y"] + a["height"] / 2)
    told = tab.inner_text("#tip")
    number, value, gradient = told.splitlines()
    assert number.startswith("layers.0.weight[0, ")
    j = int(number.split(", ")[1].rstrip("]"))
    weight, slope = tab.evaluate(f"""() => {{ const p = lab.parameters[0], M = lab.net.memory;
      return [M[p.at + {j}], M[p.grad.at + {j}]]; }}""")
    read = lambda text: float(text.split()[1].replace("−", "-"))
    assert read(value) == pytest.approx(weight, rel=1e-3)
    assert abs(slope) < 1e-4 or read(gradient) == pytest.approx(slope, rel=1e-3)
    tab.mouse.click(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2)
    assert tab.input_value("#parameter") == "layers.0.bias"
    assert tab.complaints == []
    tab.close()


def test_the_python_on_the_page_gives_its_losses(browser, page, capsys):
    tab = opened(browser, page)
    tab.evaluate("change({widths: [5], activation: 'relu', data: 'moons', batch: 16, lr: 0.02})")
    code = tab.text_content("#python").replace("range(10)", "range(2)")
    losses = tab.evaluate("() => Array.from({length: 28}, () => playground.lab.step())")
    exec(compile(code, "playground", "exec"), {})
    printed = [float(line.split("(")[1].split(",")[0].rstrip(")"))
               for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(losses, printed, rtol=1e-5, atol=1e-6)
    tab.close()


@pytest.mark.parametrize("schedule", ["step", "exponential", "cosine", "inverse time", "warm up"])
def test_a_schedule_stands_in_the_python_of_the_page(browser, page, capsys, schedule):
    tab = opened(browser, page)
    tab.evaluate("s => change({widths: [3], schedule: s, horizon: 40, rule: 'SGD', lr: 0.5})",
                 schedule)
    code = tab.text_content("#python").replace("range(10)", "range(6)")
    losses = tab.evaluate("() => Array.from({length: 42}, () => playground.lab.step())")
    tab.close()
    exec(compile(code, "playground", "exec"), {})
    printed = [float(line.split("(")[1].split(",")[0].rstrip(")"))
               for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(losses, printed, rtol=1e-4, atol=1e-6)


def test_the_focus_stays_where_layers_are_made_anew(browser, page):
    tab = opened(browser, page)
    label = "document.activeElement.ariaLabel"
    tab.focus("[aria-label='One neuron less in layer 2']")
    for _ in range(2):
        tab.keyboard.press("Enter")
        assert tab.evaluate(label) == "One neuron less in layer 2"
    assert tab.evaluate("playground.lab.settings.widths") == [16, 14]
    tab.focus("#fewer")
    tab.keyboard.press("Enter")
    assert tab.evaluate(label) == "One hidden layer less"
    tab.keyboard.press("Enter")                            # there is no less
    assert tab.evaluate(label) == "One hidden layer more"
    assert tab.complaints == []
    tab.close()


def test_a_seed_that_is_none_is_shown_as_what_it_is_taken_for(browser, page):
    tab = opened(browser, page, viewport={"width": 390, "height": 844})
    for typed, taken in (("-3", "0"), ("", "0"), ("7.5", "7")):
        tab.fill("#seed", typed)
        tab.keyboard.press("Enter")
        assert tab.input_value("#seed") == taken
        assert f"rng={taken})" in tab.text_content("#python")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_numbers_on_neurons_leave_each_other_room(browser, page, width):
    tab = opened(browser, page, viewport={"width": width, "height": 844})
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("b")
    for _ in range(16):
        overlaps = tab.evaluate("""() => {
          const boxes = [...document.querySelectorAll("#columns .value, #columns .name")]
            .map(e => e.getBoundingClientRect());
          return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b =>
            a.left < b.right - 1 && b.left < a.right - 1
            && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length;
        }""")
        assert overlaps == 0, tab.inner_text("#stage-count")
        tab.keyboard.press("ArrowRight")
    tab.close()


def test_a_network_of_the_reader_goes_on_from_its_weights(browser, tmp_path):
    model = nn.Sequential(nn.Linear(2, 5, rng=0), nn.Tanh(), nn.Linear(5, 3, rng=1))
    other = nn.MLP([2, 4, 3], norm="layer", rng=0)         # is not drawn neuron by neuron
    path = tmp_path / "own.html"
    live.playground([model, other], "spiral", path, optimizers=["sgd"])
    tab = opened(browser, path)
    first = tab.evaluate("Array.from(playground.lab.values())")
    wanted = np.concatenate([p.data.ravel() for p in model.parameters().values()])
    np.testing.assert_array_equal(first, wanted)
    assert tab.locator(".neuron").count() == 10
    tab.keyboard.press("ArrowRight")
    tab.select_option("#given", "1")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("playground.lab.losses.length") == 1
    assert tab.complaints == []
    tab.close()


# ---- numbers that can be changed -----------------------------------------------------------------


def graph():
    a, c = (tg.Tensor(v, requires_grad=True, name=n) for v, n in ((2.0, "a"), (0.5, "c")))
    x = tg.Tensor([1.0, 2.0], name="x")
    w = tg.Tensor([[1.0, -1.0], [0.5, 2.0]], requires_grad=True, name="w")
    return ((np.tanh(x @ w) * a - c) ** 2).sum(), {"a": a, "c": c, "x": x, "w": w}


@pytest.fixture(scope="module")
def graph_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "editable.html"
    live.editable(graph()[0], path, optimizers=["sgd", "adam"], engine="builtin", title="a < b")
    return path


def test_values_and_gradients_follow_a_changed_number(browser, graph_page):
    tab = opened(browser, graph_page)
    loss, leaves = graph()
    leaves["a"].data[...] = -0.7
    leaves["x"].data[1] = 0.25
    x, w, a, c = (leaves[n] for n in "xwac")
    loss = ((np.tanh(x @ w) * a - c) ** 2).sum()
    loss.backward()
    tab.get_by_label("a", exact=True).fill("-0.7")
    tab.get_by_label("x[1]", exact=True).fill("0.25")
    assert float(tab.inner_text("#loss").replace("−", "-")) == pytest.approx(loss.item(), rel=1e-4)
    found = tab.evaluate("""() => Object.fromEntries(editable.nodes.filter(node => node.learns)
      .map(node => [node.name, Array.from(editable.gradient(node))]))""")
    for name in "awc":
        np.testing.assert_allclose(found[name], leaves[name].grad.ravel(), rtol=1e-5)
    shown = tab.text_content("#view g.node.parameter:has(title:text-matches('^a ')) .grad")
    assert float(shown.replace("−", "-")) == pytest.approx(a.grad.item(), rel=1e-3)
    assert tab.complaints == []
    tab.close()


def test_a_step_downhill_is_the_optimizers(browser, graph_page):
    tab = opened(browser, graph_page)
    loss, leaves = graph()
    learning = {n: t for n, t in leaves.items() if t.requires_grad}
    opt = optim.SGD(learning, lr=0.01)
    for _ in range(11):
        x, w, a, c = (leaves[n] for n in "xwac")
        loss = ((np.tanh(x @ w) * a - c) ** 2).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
    tab.keyboard.press("d")
    tab.click("#ten")
    found = tab.evaluate("""() => Object.fromEntries(editable.nodes.filter(node => node.learns)
      .map(node => [node.name, Array.from(editable.read(node))]))""")
    for name, t in learning.items():
        np.testing.assert_allclose(found[name], t.data.ravel(), rtol=1e-5)
    tab.click("#back")
    assert tab.inner_text("#loss") == tab.inner_text("#start")
    tab.get_by_label("w[0, 1]", exact=True).focus()
    tab.keyboard.press("ArrowUp")
    assert tab.input_value("[aria-label='w[0, 1]']") == "-0.9"
    assert tab.complaints == []
    tab.close()


def test_a_graph_of_many_numbers_is_refused():
    w = tg.Tensor(np.zeros(2001, np.float32), requires_grad=True)
    with pytest.raises(tg.RenderError, match="2,001 numbers are too many"):
        live.editable((w * 2).sum(), engine="builtin")


# ---- the race ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def race_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "race.html"
    live.race(path=path)
    return path


def test_a_race_is_that_of_the_package(browser, race_page):
    from tinygrad_opt.viz import SURFACES
    tab = opened(browser, race_page)
    assert len(race_page.read_bytes()) < 100_000
    for k, name in enumerate(n for n in SURFACES if n != "noisy_neuron"):
        surface = SURFACES[name]
        tab.evaluate(f"race.useSurface(race.pack.surfaces[{k}])")
        tab.evaluate("byId('all').click()")
        found = tab.evaluate("""() => { for (let i = 0; i < 25; i++) race.forward();
          return Object.fromEntries(race.runnersOf().map(
            r => [r.name, [r.path.at(-1), r.rates.lr]])); }""")
        for rule, (end, rate) in found.items():
            p = {n: np.array(v, float) for n, v in zip("xy", surface.start)}
            opt = getattr(optim, rule)(lr=rate)
            for _ in range(25):
                slope = surface.gradient(*map(float, p.values()))
                opt.update(p, dict(zip("xy", map(np.float64, slope))))
            wanted = [float(v) for v in p.values()]
            assert end == pytest.approx(wanted, rel=1e-6, abs=1e-9), (name, rule)
    assert tab.complaints == []
    tab.close()


FORMULAS = {
    "x^2 + 5y**2 - 3": lambda x, y: x**2 + 5 * y**2 - 3,
    "-x^2*y/2 + sin(3x)·cos(y)": lambda x, y: -(x**2) * y / 2 + np.sin(3 * x) * np.cos(y),
    "exp(-(x²+y²)/2) + max(x, y) * abs(x - 2y)": lambda x, y: (
        np.exp(-(x**2 + y**2) / 2) + np.maximum(x, y) * np.abs(x - 2 * y)),
    "log(x^2+1) − sqrt(y^2 + pi) + tanh(x) / cosh(y) + 2^x + relu(y) + min(x, 1)^3": lambda x, y: (
        np.log(x**2 + 1) - np.sqrt(y**2 + np.pi) + np.tanh(x) / np.cosh(y) + 2.0**x
        + np.maximum(y, 0) + np.minimum(x, 1) ** 3),
    "2 (x + 1)(y - 1) tan(x/3) sinh(y/2)": lambda x, y: (
        2 * (x + 1) * (y - 1) * np.tan(x / 3) * np.sinh(y / 2)),
}


@needs_node
def test_a_formula_is_computed_and_differentiated_by_the_rows_of_the_table(tmp_path):
    from tinygrad_opt.live.typed_formulas import operations
    rng = np.random.default_rng(0)
    points = rng.normal(size=(6, 2)).tolist()
    found = in_node(tmp_path, f"""const operations = {operations()};
      return {json.dumps(list(FORMULAS))}.map(text => {{ const f = new Formula(text, operations);
        return {json.dumps(points)}.map(p => [f.height(...p), f.gradient(...p)]);
      }});""", "formula")
    for (text, f), rows in zip(FORMULAS.items(), found):
        for point, (height, gradient) in zip(points, rows):
            x, y = (tg.Tensor(np.float64(v), requires_grad=True) for v in point)
            z = f(x, y)
            z.backward()
            assert height == pytest.approx(z.item(), rel=1e-12), text
            slope = [float(x.grad), float(y.grad)]
            assert gradient == pytest.approx(slope, rel=1e-10, abs=1e-12), text


@needs_node
@pytest.mark.parametrize("text, complaint", [
    ("", "a formula of x and y is wanted"), ("x +", "ends too early"), ("foo(x)", "no foo"),
    ("(x", ") is missing at the end"), ("x ) y", ") was not expected"), ("x # y", "what is #"),
    ("max(x)", "max takes 2 numbers"), ("sin(x, y)", "sin takes 1 number"), ("neg(x)", "no neg"),
    ("constructor(x)", "there is no constructor"),
])
def test_a_wrong_formula_is_told(tmp_path, text, complaint):
    from tinygrad_opt.live.typed_formulas import operations
    told = in_node(tmp_path, f"""try {{ new Formula({json.dumps(text)}, {operations()}); }}
      catch (error) {{ return error.message; }} return "none";""", "formula")
    assert complaint in told


def test_the_race_is_run_by_keys_and_from_any_start(browser, race_page):
    tab = opened(browser, race_page)
    tab.fill("#formula", "x^2 + y^2 / 4")
    tab.click("#own button")
    tab.focus("#map")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate("race.runnersOf()[0].path[0]") == pytest.approx([-2.55, 2.25])
    tab.click("#map", position={"x": 300, "y": 200})
    tab.focus("#play")
    tab.keyboard.press("ArrowRight")
    assert tab.inner_text("#steps") == "1"
    tab.keyboard.press("Enter")
    until(tab, "Number(byId('steps').textContent) > 5")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#play") == "Start"
    tab.select_option("#surface", "2")
    assert tab.evaluate("race.ground().name") == "Himmelblau" and tab.complaints == []
    tab.close()


# ---- all of them ---------------------------------------------------------------------------------


@pytest.fixture(params=["page", "graph_page", "race_page"])
def any_page(request):
    return request.getfixturevalue(request.param)


def test_axe_finds_nothing_serious(browser, any_page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for scheme in ("light", "dark"):
        tab = opened(browser, any_page, color_scheme=scheme)
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("b")
        found = axe.Axe().run(tab).response["violations"]
        serious = [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in found
                   if v["impact"] in ("serious", "critical")]
        assert serious == []
        tab.close()


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (820, "dark"), (390, "light")])
def test_it_opens_at_every_width(browser, any_page, width, scheme):
    tab = opened(browser, any_page, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.complaints == [] and tab.asked == [any_page.as_uri()]
    tab.close()


def test_the_command_makes_each_page(tmp_path, capsys):
    from tinygrad_opt.cli import main
    out = tmp_path / "page.html"
    for given, shown in ((["playground", "moons", "--optimizers", "sgd:0.1"], "Playground"),
                         (["playground", "--race", "--optimizers", "sgd"], "Race"),
                         (["play", "(a*b)**2", "a=2", "b=3", "--edit"], "(a*b)**2")):
        assert main([*given, "--out", str(out)]) == 0
        assert f"<title>{shown}</title>" in out.read_text(encoding="utf-8")
    assert main(["playground", "moons", "--race", "--out", str(out)]) == 2
    assert main(["playground", "nowhere.csv", "--out", str(out)]) == 1
    assert "nowhere.csv" in capsys.readouterr().err
