"""Captured steps as JavaScript: node and Chromium compute what Python computes."""

import itertools
import json
import math
import shutil
import subprocess
import warnings

import numpy as np
import pytest
from test_compiler_drill import Recipe
from test_nn_compiled import LOSSES, MODELS, numbers

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.compiler.javascript.vocabulary import WORDS
from tinygrad_opt.errors import CaptureError
from tinygrad_opt.optim.lookup import names

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_node = pytest.mark.skipif(NODE is None, reason="no node here")

# what is run, in node and in a page: calls of a module's functions, one after the other
RUN = """
async function run(modules) {
  const told = x => typeof x == "number" ? (Number.isFinite(x) ? x : String(x))
    : ArrayBuffer.isView(x) || Array.isArray(x) ? Array.from(x, told)
    : x && typeof x == "object"
      ? Object.fromEntries(Object.entries(x).map(([k, v]) => [k, told(v)])) : x;
  const read = x => typeof x == "string" ? Number(x) : Array.isArray(x) ? x.map(read) : x;
  const out = [];
  for (const [text, calls] of modules) {
    const made = (await import("data:text/javascript;base64," + text)).default;
    out.push(calls.map(([name, data, rates]) => {
      try { return told(made[name](Array.isArray(data) ? data.map(read) : data, rates)); }
      catch (error) { return {error: error.message}; }
    }));
  }
  return JSON.stringify(out);
}
"""


def plain(x):
    """What JSON can write; what it cannot, as text."""
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [plain(v) for v in x]
    if isinstance(x, np.ndarray | np.generic):
        return plain(x.tolist())
    if isinstance(x, float) and not math.isfinite(x):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[str(x)]
    return x


def told(x):
    if isinstance(x, list):
        return [told(v) for v in x]
    return {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}.get(x, x) if isinstance(
        x, str) else x


def encoded(modules):
    import base64
    return json.dumps([[base64.b64encode(text.encode()).decode(), plain(calls)]
                       for text, calls in modules])


def in_node(tmp_path, *modules):
    """What calls of modules return: each is (text, [(function, data, rates), …])."""
    path = tmp_path / "run.mjs"
    path.write_text(f"{RUN}\nconsole.log(await run({encoded(modules)}));")
    done = subprocess.run([NODE, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    return told(json.loads(done.stdout))


def trained(model, loss, opt, batches, dtype=np.float32, **options):
    """A step as a module, and the losses of the batches in Python from there on."""
    @tg.compile
    def step(*batch):
        value = loss(*batch)
        opt.zero_grad()
        value.backward()
        opt.step()
        return value

    step(*batches[0])
    text = step.to_javascript(**options)
    return text, [float(step(*batch).data) for batch in batches]


def close(found, wanted, tolerance, message=""):
    np.testing.assert_allclose(np.array(found, float), wanted, rtol=tolerance,
                               atol=tolerance * 1e-2, err_msg=message)


@needs_node
def test_truths_are_folded(tmp_path):
    x = np.array([[1.0, -1.0, 2.0], [1.0, -1.0, -1.0]], np.float32)
    step = tg.compile(lambda x: [fold(x > 0, axis=axis) * 1.0
                                 for fold in (np.max, np.min) for axis in (0, 1)])
    made = [step(values) for values in (x, -x)]
    text = step.to_javascript()
    found = in_node(tmp_path, (text, [("step", [values]) for values in (x, -x)]))
    for parts, wanted in zip(found[0], made):
        assert [list(part) for part in parts] == [w.tolist() for w in wanted]


# ---- models and optimizers -----------------------------------------------------------------------

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "softplus")


def spiral_batches(steps):
    x, y = tg.data.spiral(32, 3, rng=0)
    rng = np.random.default_rng(0)
    order = [rng.permutation(len(x))[:32] for _ in range(steps)]
    return [(x[rows], y[rows]) for rows in order]


def crossed():
    """30 pairs of a network and an optimizer, with every rule and every activation among them."""
    rules = itertools.cycle(names())
    shapes = itertools.cycle([[2, 8, 3], [2, 6, 5, 3], [2, 8, 8, 8, 3], [2, 16, 16, 3]])
    norms = itertools.cycle([None, None, "layer"])
    for i, activation in zip(range(30), itertools.cycle(ACTIVATIONS)):
        yield f"{i} {activation}", next(shapes), activation, next(norms), next(rules)


@pytest.fixture(scope="module")
def crossings():
    made = {}
    for name, sizes, activation, norm, rule in crossed():
        model = nn.MLP(sizes, activation, norm=norm, rng=0)
        opt = optim.get(rule, model.parameters())
        made[f"{name} {rule}"] = (
            *trained(model, lambda x, y, model=model: nn.cross_entropy(model(x), y), opt,
                     spiral_batches(200)), spiral_batches(200))
    return made


def agree(made, found):
    for name, (_, wanted, _), losses in zip(made, made.values(), found):
        assert len(losses) == 200, name
        close(losses[:10], wanted[:10], 1e-6, name)
        close(losses, wanted, 1e-3, name)


@needs_node
def test_thirty_models_and_optimizers_train_in_node_as_in_python(tmp_path, crossings):
    calls = [(text, [("step", batch) for batch in batches])
             for text, _, batches in crossings.values()]
    agree(crossings, in_node(tmp_path, *calls))


def test_they_train_in_chromium_too(crossings):
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with api.sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = play.chromium.launch(executable_path=CHROMIUM, args=options)
        tab = browser.new_page()
        calls = [(text, [("step", batch) for batch in batches])
                 for text, _, batches in crossings.values()]
        found = tab.evaluate(f"() => {{ {RUN} return run({encoded(calls)}); }}")
        browser.close()
    agree(crossings, told(json.loads(found)))


# ---- every layer and every loss, or a refusal by name --------------------------------------------

REFUSED = {
    "BatchNorm1d": "follow", "BatchNorm1d long": "follow", "BatchNorm2d": "follow",
    "BatchNorm1d evaluated": "inverse_root", "BatchNorm2d evaluated": "inverse_root",
    "MultiHeadAttention": "draw", "TransformerBlock": "draw", "Dropout": "draw", "Stack": "draw",
    "cross_entropy sum": "one_hot", "cross_entropy smoothed": "one_hot",
    "cross_entropy weight": "one_hot", "cross_entropy ignore": "one_hot", "nll_loss": "one_hot",
}


class Logits(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(3, 3, rng=0)

    def forward(self, x):
        return self.layer(x)


@needs_node
def test_every_layer_and_loss_agrees_or_is_refused_by_name(tmp_path):
    rng, made, refused = np.random.default_rng(1), {}, {}
    cases = {name: (make(), [draw], None) for name, (make, draw) in MODELS.items()}
    cases |= {name: (Logits(), [numbers(6, 3), draw], loss)
              for name, (loss, draw) in LOSSES.items()}
    for name, (model, draws, loss) in cases.items():
        batches = [[draw(rng) for draw in draws] for _ in range(4)]

        def value(*batch, model=model, loss=loss):
            return (model(*batch) ** 2).mean() if loss is None else loss(model(batch[0]), batch[1])

        opt = optim.SGD(model.parameters() or {"w": tg.Tensor(1.0, requires_grad=True)}, lr=0.01)
        try:
            made[name] = (*trained(model, value, opt, batches), batches)
        except CaptureError as error:
            refused[name] = str(error)
    assert refused.keys() == REFUSED.keys()
    for name, error in refused.items():
        assert error.startswith("to_javascript() has no words for") and REFUSED[name] in error
    found = in_node(tmp_path, *[(text, [("step", batch) for batch in batches])
                                for text, _, batches in made.values()])
    for name, (_, wanted, _), losses in zip(made, made.values(), found):
        np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=1e-6, err_msg=name)


# ---- random steps --------------------------------------------------------------------------------


def random_step(seed):
    """A step over a random program of `test_against_torch`, and its dtype."""
    recipe, numbers = Recipe(seed), np.random.default_rng(seed)
    dtype = [np.float32, np.float64][seed % 2]
    params = {f"p{i}": tg.Tensor(numbers.normal(size=recipe.values[j].shape).astype(dtype),
                                 requires_grad=True, name=f"p{i}")
              for i, j in enumerate(recipe.leaves)}
    opt = optim.get(("sgd", "adam", "momentum", "rmsprop")[seed % 4], params, lr=0.01)
    weights, other = np.asarray(recipe.end[0]), recipe.end[1]

    @tg.compile
    def step(scale):
        values = recipe.run(list(params.values()), lambda z, values: z)
        loss = ((values[-1] * weights).sum() + (values[other] ** 2).sum()) * scale
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss, values[-1] * 1.0

    return step, dtype


@needs_node
def test_random_steps_agree_or_are_refused(tmp_path):
    modules, wanted = [], []
    for seed in range(60):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            step, dtype = random_step(seed)
            one = np.ones((), dtype)
            step(one)
            try:
                modules.append((step.to_javascript(), [("step", [[1.0]])] * 3))
            except CaptureError:
                continue
            wanted.append((seed, dtype, [step(one) for _ in range(3)]))
    assert len(modules) > 15
    for (seed, dtype, steps), found in zip(wanted, in_node(tmp_path, *modules)):
        tolerance = 2e-4 if dtype is np.float32 else 1e-8
        for (loss, end), (our_loss, our_end) in zip(steps, found):
            values = np.append(end.data.ravel(), loss.data).astype(float)
            scale = max(np.max(np.abs(values), where=np.isfinite(values), initial=0), 0.01)
            ours = np.append(np.array(our_end, float).ravel(), our_loss)
            np.testing.assert_allclose(ours, values, rtol=tolerance, atol=tolerance * scale,
                                       err_msg=f"seed {seed}")


# ---- words ---------------------------------------------------------------------------------------

EDGES = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 1.0, -1.0, 3.0, 1e-8, -1e-8, 20.0, -20.0, 0.3,
         -0.7, math.inf, -math.inf, math.nan]


@needs_node
def test_every_word_says_what_numpy_computes(tmp_path):
    modules, wanted = [], {}
    x = np.array(EDGES)
    pairs = np.array(list(itertools.product(EDGES, EDGES)))
    for word in sorted(WORDS):
        ufunc = getattr(np, word, None)
        if not isinstance(ufunc, np.ufunc) or word in ("bitwise_and", "bitwise_or", "invert"):
            continue
        given = [x] if ufunc.nin == 1 else [pairs[:, 0].copy(), pairs[:, 1].copy()]

        @tg.compile
        def step(*arrays, ufunc=ufunc):
            return ufunc(*arrays) * 1.0

        with np.errstate(all="ignore"):
            wanted[word] = np.asarray(step(*given), float)
        modules.append((step.to_javascript(), [("step", given)]))
    assert len(wanted) > 40
    for (word, values), (found,) in zip(wanted.items(), in_node(tmp_path, *modules)):
        np.testing.assert_allclose(np.array(found, float), values, rtol=4e-15, atol=1e-300,
                                   err_msg=word)


@needs_node
def test_erf_is_exact_to_rounding(tmp_path):
    from tinygrad_opt.kernels import erf
    x = np.concatenate([np.linspace(-7, 7, 1001), [1e-9, -1e-300, math.inf]])
    step = tg.compile(lambda x: tg.ops.TABLE["erf"](x) if "erf" in tg.ops.TABLE else nn.gelu(x))
    step(x)
    ((found,),) = in_node(tmp_path, (step.to_javascript(), [("step", [x])]))
    scale = np.asarray(step(x))
    assert erf is not None
    np.testing.assert_allclose(found, scale, rtol=1e-13, atol=1e-15)


# ---- the module ----------------------------------------------------------------------------------


def fitted(opt_of, dtype=np.float32, sizes=(2, 5, 3)):
    model = nn.MLP(list(sizes), "tanh", rng=0, dtype=dtype)
    opt = opt_of(model.parameters())
    batches = [(x.astype(dtype), y) for x, y in spiral_batches(12)]
    return model, (lambda x, y: nn.cross_entropy(model(x), y)), opt, batches


@needs_node
def test_float64_lies_in_a_float64array_and_agrees_to_rounding(tmp_path):
    *rest, batches = fitted(lambda p: optim.Adam(p, lr=0.05), np.float64)
    text, wanted = trained(*rest, batches)
    assert "new Float64Array" in text and "Float32Array" not in text
    (found,) = in_node(tmp_path, (text, [("step", batch) for batch in batches]))
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


@needs_node
def test_float32_is_rounded_also_beside_float64(tmp_path):
    model, loss, opt, batches = fitted(lambda p: optim.Adam(p, lr=0.05))
    wide = np.linspace(0, 1, 32)

    def mixed(x, y):
        return loss(x, y) + (tg.Tensor(wide) * 0).sum()

    text, wanted = trained(model, mixed, opt, batches)
    assert "new Float64Array" in text
    (found,) = in_node(tmp_path, (text, [("step", batch) for batch in batches]))
    close(found, wanted, 1e-6)


@needs_node
@pytest.mark.parametrize("options", [
    {"clip_norm": 0.01}, {"clip_norm_each": 0.005}, {"clip_value": 0.002}, {"decay": 0.1},
    {"weight_decay": 0.1}, {"overrides": {"*.bias": {"lr": 0.5}}}, {"frozen": ["layers.0.*"]},
    {"overrides": {"*.bias": {"weight_decay": 0.3}}},
])
def test_options_of_an_optimizer_are_kept(tmp_path, options):
    *rest, batches = fitted(lambda p: optim.SGD(p, lr=0.1, **options))
    text, wanted = trained(*rest, batches)
    (found,) = in_node(tmp_path, (text, [("step", batch) for batch in batches]))
    close(found, wanted, 1e-6)


@needs_node
def test_rates_are_changed_from_outside(tmp_path):
    model, loss, opt, batches = fitted(lambda p: optim.Momentum(p, lr=0.1, momentum=0.9))
    text, _ = trained(model, loss, opt, batches[:1])
    _, loss, opt, _ = fitted(lambda p: optim.Momentum(p, lr=0.02, momentum=0.5))

    @tg.compile
    def step(x, y):
        value = loss(x, y)
        opt.zero_grad()
        value.backward()
        opt.step()
        return value

    opt.lr, opt.momentum = 0.1, 0.9
    for _ in range(1):
        step(*batches[0])
    opt.lr, opt.momentum = 0.02, 0.5
    # the first module stands behind its first step too
    wanted = [float(step(*batch).data) for batch in batches]
    calls = [("step", batch, {"lr": 0.02, "momentum": 0.5}) for batch in batches]
    (found,) = in_node(tmp_path, (text, calls))
    close(found, wanted, 1e-6)


@needs_node
def test_a_rule_that_branches_on_the_step_count_keeps_its_branches(tmp_path):
    class Switching(optim.SGD):
        def rule(self, p, g, *, lr, t):
            return p - (lr if t <= 4 else 3 * lr) * g

    *rest, batches = fitted(lambda p: Switching(p, lr=0.1))
    text, wanted = trained(*rest, batches)
    (found,) = in_node(tmp_path, (text, [("step", batch) for batch in batches]))
    close(found, wanted, 1e-6)


@needs_node
def test_a_schedule_is_a_function_of_the_caller(tmp_path):
    *rest, batches = fitted(lambda p: optim.SGD(p, lr=optim.schedules.cosine(0.1, 12)))
    text, wanted = trained(*rest, batches)
    path = tmp_path / "module.mjs"
    path.write_text(text)
    run = tmp_path / "schedule.mjs"
    run.write_text(f"""import made from "./module.mjs";
const lr = t => t >= 12 ? 0 : 0.05 * (1 + Math.cos(Math.PI * t / 12));
let refused = "";
try {{ made.step({json.dumps(plain(batches[0]))}); }} catch (error) {{ refused = error.message; }}
console.log(JSON.stringify([refused, {json.dumps(plain(batches))}.map(b => made.step(b, {{lr}}))]));
""")
    done = subprocess.run([NODE, str(run)], capture_output=True, text=True, check=True)
    refused, found = json.loads(done.stdout)
    assert refused.startswith("rates.lr follows a schedule in Python: give step(data, {lr: t =>")
    close(found, wanted, 1e-6)


@needs_node
def test_others_share_parameters_and_init_begins_anew(tmp_path):
    model, loss, opt, batches = fitted(lambda p: optim.Adam(p, lr=0.05))

    @tg.compile
    def predict(x):
        hidden = np.tanh(model.layers[0](x))
        return {"hidden": hidden.T, "out": nn.softmax(model(x)), "pair": (x.sum(), 2.5, None)}

    x = batches[0][0][:4]
    predict(x)
    text, wanted = trained(model, loss, opt, batches, predict=predict)
    after = predict(x)
    steps = [("step", batch) for batch in batches]
    named = ("predict", {"x": x})
    (found,) = in_node(tmp_path, (text, [
        ("predict", [x]), *steps, named, ("init", []), named, *steps, named]))
    n = len(batches)
    close(found[1:n + 1], wanted, 1e-6)
    assert found[n + 3:] == found[:n + 2]
    assert found[0] != found[n + 1]
    close(found[n + 1]["out"], after["out"].data.ravel(), 1e-5)
    close(found[n + 1]["hidden"], after["hidden"].data.ravel(), 1e-5)
    close(found[n + 1]["pair"][0], float(x.sum()), 1e-6)
    assert found[n + 1]["pair"][1:] == [2.5, None]


@needs_node
def test_slots_tell_where_everything_is(tmp_path):
    model, loss, opt, batches = fitted(lambda p: optim.Adam(p, lr=0.05))
    text, _ = trained(model, loss, opt, batches)
    (tmp_path / "module.mjs").write_text(text)
    run = tmp_path / "slots.mjs"
    run.write_text(f"""import made, {{program}} from "./module.mjs";
for (const batch of {json.dumps(plain(batches))}) made.step(batch);
const told = {{}};
for (const [name, {{at, shape}}] of Object.entries(made.slots))
  told[name] = [...made.memory.slice(at, at + shape.reduce((a, b) => a * b, 1))];
const other = program();
console.log(JSON.stringify([told, made.count, other.count, other.memory[0] != made.memory[0]]));
""")
    done = subprocess.run([NODE, str(run)], capture_output=True, text=True, check=True)
    found, count, other, apart = json.loads(done.stdout)
    assert (count, other, apart) == (12, 0, True)
    for name, p in model.parameters().items():
        close(found[name], p.data.ravel(), 1e-5)
        close(found[f"{name}.grad"], np.asarray(p.grad).ravel(), 1e-4)
        for slot, values in opt.state[name].items():
            close(found[f"{name}.{slot}"], values.ravel(), 1e-4)
    close(found["argument"], batches[-1][0].ravel(), 1e-7)


@needs_node
def test_arguments_of_another_layout_are_given_row_by_row(tmp_path):
    step = tg.compile(lambda x: (x * np.arange(6, dtype=np.float32).reshape(2, 3)).sum(axis=0))
    x = np.arange(6, dtype=np.float32).reshape(3, 2).T
    wanted = step(x)
    ((found,),) = in_node(tmp_path, (step.to_javascript(), [("step", [x])]))
    assert found == wanted.tolist()


@needs_node
@pytest.mark.parametrize("data, complaint", [
    ([[1.0, 2.0]], "x takes 3 numbers, row by row; got 2"),
    ([], "x takes 3 numbers, row by row; got undefined"), ([[0, 1, 9]], "out of range"),
])
def test_wrong_data_is_refused(tmp_path, data, complaint):
    table = tg.Tensor(np.arange(8.0))
    step = tg.compile(lambda x: np.take(table, x) * 1)
    step(np.array([0, 1, 2]))
    ((found,),) = in_node(tmp_path, (step.to_javascript(), [("step", data)]))
    assert complaint in found["error"]


# ---- refusals ------------------------------------------------------------------------------------


def test_a_step_that_was_not_called_has_no_program():
    step = tg.compile(lambda x: x * 2)
    with pytest.raises(CaptureError, match="has not been called yet"):
        step.to_javascript()


def test_a_program_that_no_longer_holds_is_refused():
    model = Logits()
    x = np.ones((2, 3), np.float32)
    step = tg.compile(lambda x: model(x).sum())
    step(x)
    model.layer = nn.Linear(3, 3, rng=1)
    with pytest.raises(CaptureError, match="what <lambda> was captured from has changed since"):
        step.to_javascript()
    step(x)
    step.to_javascript()

    @tg.compile
    def adding(x):
        model(x).sum().backward()

    adding(x)
    with pytest.raises(CaptureError, match="adding to gradients from before: call zero_grad"):
        adding.to_javascript()


def refused(step, *arguments):
    step = tg.compile(step)
    step(*arguments)
    with pytest.raises(CaptureError) as error:
        step.to_javascript()
    return str(error.value)


def test_what_has_no_words_is_named():
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    x = np.ones(2, np.float32)
    assert "which draws random numbers" in refused(
        lambda x: nn.dropout(w * x, 0.5, training=True), x)
    own = tg.op("sorted twice", lambda x: np.sort(np.sort(x)), lambda g, z, x: g)
    assert f"the call lambda ({__file__}:" in refused(lambda x: own(w * x), x)

    def twice(x):
        w.grad = None
        (w * x).sum().backward()
        (w * x * x).sum().backward()
    assert "a second backward()" in refused(twice, x)

    big = np.array([0, 1 << 30])
    big.flags.writeable = False
    assert "integers" in refused(lambda x: (x * tg.Tensor(big)).sum(), x)
    opt = optim.SGD({"w": w}, check_finite="skip")

    def guarded(x):
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()
    assert "check_finite" in refused(guarded, x)


def test_a_rule_that_is_no_formula_is_named():
    class Odd(optim.SGD):
        def rule(self, p, g, *, lr, t):
            return p - lr * (g if g.sum() > 0 else 2 * g)

    *rest, batches = fitted(lambda p: Odd(p, lr=0.1))
    with pytest.raises(CaptureError, match="the rule of Odd"):
        trained(*rest, batches)
