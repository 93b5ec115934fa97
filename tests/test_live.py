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
              b.permutation(1000)]; }});""", "lab")
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
      ([name, f]) => [name, Array.from({length: 500}, (_, t) => f(t, 400))]));""", "lab")
    assert found.keys() == ours.keys()
    for name, schedule in ours.items():
        if name != "warm up":
            np.testing.assert_allclose(found[name], schedule.values(500), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found["warm up"][:40], np.arange(1, 41) / 40)
    assert found["warm up"][40:] == [1] * 460


@pytest.fixture(scope="module")
def pack():
    return {"data": points_of(None), "rules": rules_of(), "given": [],
            "nets": {a: [family(a, d)["make"] for d in range(3)] for a in ("tanh", "relu")},
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
        return lab.losses; }});""", "lab")
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
        const now = lab.values(), lines = [0, 3, 9].map(k => [lab.explain(k), now[k]]);
        out[`${{rule}} ${{decay}}`] = lines;
      }} return out;""", "lab")
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
    """, "lab")
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


@pytest.mark.parametrize("width", [1280, 820, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_at_every_width(browser, page, width, scheme):
    tab = opened(browser, page, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.complaints == [] and tab.asked == [page.as_uri()]
    tab.close()


def test_it_is_played_by_keys_alone(browser, page):
    tab = opened(browser, page)
    steps = lambda: int(tab.inner_text("#steps"))
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert steps() == 3
    tab.keyboard.press(" ")
    assert tab.inner_text("#play") == "Pause"
    tab.wait_for_function("playground.lab.steps > 20")
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
    tab.keyboard.press("b")
    x, y = live.points("spiral")
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


def test_axe_finds_nothing_serious(browser, page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for scheme in ("light", "dark"):
        tab = opened(browser, page, color_scheme=scheme)
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("b")
        found = axe.Axe().run(tab).response["violations"]
        serious = [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in found
                   if v["impact"] in ("serious", "critical")]
        assert serious == []
        tab.close()
