"""Native steps: the loops compute what NumPy computes, and keep the contract of a replay."""

import collections
import functools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from test_nn_compiled import LOSSES, MODELS, numbers

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.cases import CASES, Domain, calls_of
from tinygrad_opt.ops import TABLE
from tinygrad_opt.tensor import apply

pytest.importorskip("llvmlite")

import native_demos
import native_exactness

from tinygrad_opt.compiler.native import machine_code
from tinygrad_opt.compiler.native.executable import runner_of
from tinygrad_opt.compiler.native.loops import Loop, Value
from tinygrad_opt.compiler.native.matrix_products import Matrix, Product

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(autouse=True, scope="module")
def _compiled_once(request):
    """What is compiled stays in pytest's cache, for the next run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_OPT_CACHE", str(request.config.cache.mkdir("native")))
        yield


@pytest.fixture(params=TOLERANCE)
def dtype(request):
    tg.set_default_dtype(request.param)
    yield request.param
    tg.set_default_dtype(np.float32)


def close(found, wanted, tolerance, scale=0.0):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    size = max(np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted)), scale)
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * size)


def batches(dtype, *draws):
    rng = np.random.default_rng(0)
    made = [[draw(rng) for draw in draws] for _ in range(3)]
    return [[x.astype(dtype) if x.dtype == np.float32 else x for x in batch] for batch in made]


# what stays NumPy's: looking at values, drawing random numbers, running statistics
BY_NUMPY = {"set_gradient", "deliver", "check_labels", "check_total", "check_probabilities",
            "check_not_negative", "check_signs", "check_range", "draw", "draw_each", "follow",
            "one_hot", "inverse_root"}


def passes(backend, model, loss, batches):
    """What batches leave behind: losses, gradients, statistics."""
    @tg.compile(backend=backend)
    def step(*batch):
        for p in model.parameters().values():
            p.grad = None
        result = loss(*batch)
        result.backward()
        return result

    found = []
    for batch in batches:
        value = step(*batch).data
        found.append((value, {k: p.grad for k, p in model.parameters().items()}))
    if backend == "native":
        pieces = next(reversed(step.programs.values())).pieces
        assert BY_NUMPY.issuperset(p.units[0].nodes[0].name for p in pieces if not p.runner)
    return found, model.state_dict()


def compare(make, batches, dtype):
    (native, state), (plain, wanted) = (
        passes(backend, *make(), batches) for backend in ("native", "numpy"))
    tolerance = TOLERANCE[dtype]
    for (value, gradients), (expected, truth) in zip(native, plain):
        close(value, expected, tolerance)
        scale = max(np.max(np.abs(g), initial=0) for g in truth.values())
        for name, g in truth.items():
            close(gradients[name], g, tolerance, scale)    # some vanish but for rounding
    for name, x in wanted.items():
        close(state[name], x, tolerance)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_computes_what_numpy_computes(name, dtype):
    loss, target = LOSSES[name]

    def make():
        model = nn.Linear(2, 3, rng=0)
        return model, lambda x, y: loss(model(x), y)

    compare(make, batches(dtype, numbers(6, 2), target), dtype)


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_computes_what_numpy_computes(name, dtype):
    layer, inputs = MODELS[name]

    def make():
        model = layer()
        return model, lambda x: (model(x) ** 2).mean()

    compare(make, batches(dtype, inputs), dtype)


def same_operation(name, call, dtype):
    """An operation and its VJPs, on Tensors and weighted by numbers of all sizes."""
    found = []
    for backend in ("native", "numpy"):
        rng = np.random.default_rng(0)
        inputs = [tg.Tensor(x, requires_grad=True) if isinstance(domain, Domain) else x
                  for x, domain in zip(call.draw(rng, dtype), call.inputs)]
        given = [x for x in inputs if isinstance(x, tg.Tensor)]
        weights = rng.normal(size=np.shape(apply(TABLE[name], *inputs, **call.attrs)))

        @tg.compile(backend=backend)
        def step(u):
            z = apply(TABLE[name], *inputs, **call.attrs)   # noqa: B023
            for x in given:                                # noqa: B023
                x.grad = None
            if z.requires_grad:
                (z * u).sum().backward()
            return z

        for _ in range(2):
            z = step(weights.astype(dtype))
        found.append([z.data, *(x.grad for x in given if x.grad is not None)])
    for a, b in zip(*found):
        close(a, b, TOLERANCE[np.dtype(dtype).name], 1.0)  # some vanish but for rounding


@pytest.mark.parametrize("name", CASES)
def test_every_operation_computes_what_numpy_computes(name):
    same_operation(name, calls_of(name)[0], np.float32)


@pytest.mark.drill
@pytest.mark.parametrize("name", CASES)
def test_every_call_of_an_operation_computes_what_numpy_computes(name, dtype):
    for call in calls_of(name):
        same_operation(name, call, dtype)


# ---- optimizers ----------------------------------------------------------------------------------


def trained(backend, make, steps=6, each=lambda optimizer, k: None):
    """Parameters, state and losses of a small regression."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    model = nn.MLP([3, 5, 2], nn.tanh, rng=0)
    optimizer = make(model.parameters())

    def written(x, y):
        loss = nn.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    ways = {b: tg.compile(written, backend=b) for b in ("native", "numpy")} | {"eager": written}
    backends = backend if isinstance(backend, list) else [backend] * steps
    losses = []
    for k, b in enumerate(backends):
        losses.append(ways[b](x.astype(model.parameters()["layers.0.weight"].dtype), y).item())
        each(optimizer, k)
    if backend == "native":                                # the rule itself, not NumPy's calls
        (bound,) = ways["native"].programs.values()
        assert bound.pieces[-1].run.plan is optimizer._plan
    return losses, optimizer


def same_training(make, dtype, tolerance=None, **options):
    (losses, native), (wanted, plain) = (
        trained(backend, make, **options) for backend in ("native", "numpy"))
    tolerance = tolerance or 20 * TOLERANCE[dtype]
    np.testing.assert_allclose(losses, wanted, rtol=tolerance)
    for name, p in plain.parameters.items():
        close(native.parameters[name].data, p.data, tolerance)
        for slot, x in plain.state[name].items():
            close(native.state[name][slot], x, tolerance)
    assert native.t == plain.t


@pytest.mark.parametrize("name", optim.names())
def test_every_optimizer_takes_the_steps_that_numpy_takes(name, dtype):
    same_training(lambda params: optim.get(name, params), dtype)


OPTIONS = {
    "schedule": lambda: {"lr": optim.schedules.cosine(0.01, 6)},
    "decay": lambda: {"decay": 0.1}, "weight_decay": lambda: {"weight_decay": 0.1},
    "clip_value": lambda: {"clip_value": 0.01}, "clip_norm": lambda: {"clip_norm": 0.1},
    "clip_norm_each": lambda: {"clip_norm_each": 0.05},
    "check_finite": lambda: {"check_finite": "raise"}, "frozen": lambda: {"frozen": "*.bias"},
    "overrides": lambda: {
        "overrides": {"*.bias": {"lr": 0.1}, "layers.0.*": {"weight_decay": 1.0}}},
}


@pytest.mark.parametrize("rule", ["Adam", "Momentum"])
@pytest.mark.parametrize("options", OPTIONS)
def test_options_do_what_they_do_by_numpy(options, rule, dtype):
    same_training(lambda params: getattr(optim, rule)(params, **OPTIONS[options]()), dtype)


class Warming(optim.Optimizer):
    """A rule that branches on the count, which decides anew from one step to the next."""

    def rule(self, p, g, *, lr, t):
        return p - lr * t * g if t < 4 else p - lr * g / t


@pytest.mark.parametrize("options", [{}, {"decay": 0.1}])
def test_a_rule_may_branch_on_the_count(options, dtype):
    counts = []
    same_training(lambda params: Warming(params, lr=0.1, **options), dtype, steps=8)
    trained("native", lambda params: Warming(params, lr=0.1, **options), steps=8,
            each=lambda optimizer, k: counts.append(optimizer.t))
    assert counts == [*range(1, 9)]


def test_a_run_may_change_its_backend_at_any_step():
    make = functools.partial(optim.Adam, lr=0.01)
    mixed = ["native", "native", "numpy", "native", "eager", "native", "numpy", "numpy"]
    losses, optimizer = trained(mixed, make)
    wanted, plain = trained("numpy", make, steps=len(mixed))
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    assert optimizer.t == plain.t == len(mixed)


def test_options_may_be_set_between_steps():
    def slower(optimizer, k):
        if k == 2:
            optimizer.lr = 1e-4
        if k == 3:
            optimizer.freeze("*.bias")
        if k == 4:
            optimizer.unfreeze()

    same_training(functools.partial(optim.Adam, lr=0.01), "float32", each=slower, steps=8)


def test_a_step_can_be_explained(capsys):
    _, native = trained("native", functools.partial(optim.Adam, lr=0.01))
    native.explain("layers.0.weight", (0, 1))
    found = capsys.readouterr().out
    _, plain = trained("numpy", functools.partial(optim.Adam, lr=0.01))
    plain.explain("layers.0.weight", (0, 1))
    assert found.splitlines()[0] == capsys.readouterr().out.splitlines()[0]


def test_large_parameters_are_updated_where_they_are():
    def run(backend):
        w = tg.Tensor(np.linspace(-1, 1, 70_000, dtype=np.float32), requires_grad=True)
        b = tg.Tensor(np.zeros(7, np.float32), requires_grad=True)
        optimizer = optim.Adam({"w": w, "b": b}, lr=0.01)

        @tg.compile(backend=backend)
        def step():
            loss = ((w - 0.5) ** 2).sum() + abs(b - 1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss
        return [step().item() for _ in range(6)], w.data, b.data

    (losses, w, b), (wanted, *truth) = run("native"), run("numpy")
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    close(w, truth[0], 1e-5)
    close(b, truth[1], 1e-5)


# ---- the contract of a replay --------------------------------------------------------------------


def classifier(backend="native", **options):
    model = nn.MLP([2, 4, 3], rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1, **options)

    @tg.compile(backend=backend)
    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss
    x, y = batches("float32", numbers(6, 2), lambda rng: rng.integers(0, 3, 6))[0]
    for _ in range(3):
        step(x, y)
    return model, step, x, y


def test_labels_out_of_range_are_refused_as_by_numpy():
    model, step, x, y = classifier()
    before = {k: p.data.copy() for k, p in model.parameters().items()}
    for wrong in (3, -1):
        with pytest.raises(IndexError, match=f"labels go from .*{wrong}"):
            step(x, np.where(np.arange(6) == 2, wrong, y))
    for k, p in model.parameters().items():
        assert np.array_equal(p.data, before[k])
    assert np.isfinite(step(x, y).item())


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_what_comes_before_a_refusal_happens(backend):
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.Dropout(0.5, rng=0))

    @tg.compile(backend=backend)
    def step(x, y):
        for p in model.parameters().values():
            p.grad = None
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        return loss

    x, y = np.ones((4, 2), np.float32), np.array([0, 1, 2, 0])
    for _ in range(2):
        step(x, y)
    drawn = model[1].rng.bit_generator.state
    weight = model[0].weight
    weight.grad[...] = 5
    with pytest.raises(IndexError):
        step(x, y + 1)
    assert model[1].rng.bit_generator.state != drawn
    assert weight.grad is None


def test_gradients_that_are_not_finite_are_refused_by_name():
    _, step, x, y = classifier(check_finite="raise")
    with pytest.raises(tg.NonFiniteError, match=r"layers\.\d\.weight"):
        step(np.full_like(x, np.inf), y)
    assert np.isfinite(step(x, y).item())


def test_an_error_leaves_no_half_written_gradients():
    w = tg.Tensor(np.ones(3, np.float32), requires_grad=True)
    fails = []

    def fail():
        if fails:
            raise KeyError("on purpose")

    @tg.compile(backend="native")
    def step(x):
        w.grad = None
        loss = (w * x).sum()
        loss.backward()
        tg.tensor.effect(fail)
        return loss
    x = np.ones(3, np.float32)
    step(x)
    step(x)
    fails.append(True)
    with pytest.raises(KeyError):
        step(x)
    assert w.grad is None


def test_results_are_copies():
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    step = tg.compile(lambda x: (w * x, {"sum": (w * x).sum()}), backend="native")
    first = [step(np.ones(2, np.float32)) for _ in range(2)][-1]
    step(np.zeros(2, np.float32))
    assert first[0].data.tolist() == [1, 2]
    assert first[1]["sum"].item() == 3
    assert first[0].op is None


def test_what_changes_outside_is_noticed():
    w, offset = tg.Tensor([1.0, 2.0], requires_grad=True), np.zeros(2, np.float32)
    step = tg.compile(lambda: (w + offset).sum(), backend="native")
    assert [step().item() for _ in range(2)] == [3, 3]
    offset[0] = 10
    assert step().item() == 13
    w.data = np.float32([5, 5])
    assert step().item() == 20


def test_values_are_read_before_an_effect_changes_them():
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD({"w": w}, lr=1.0)

    @tg.compile(backend="native")
    def step():
        before = w * 1
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
        return before * 2, w * 2
    for k in range(4):
        before, after = step()
        assert before.data.tolist() == [2 - 2 * k, 4 - 2 * k]
        assert after.data.tolist() == [-2 * k, 2 - 2 * k]


def test_threads_wait_for_each_other():
    step = tg.compile(lambda x: (x * x).sum(), backend="native")
    step(tg.Tensor(np.ones(1000, np.float32)))
    found = {}

    def run(k):
        x = tg.Tensor(np.full(1000, k, np.float32))
        found[k] = {step(x).item() for _ in range(50)}

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == {k: {1000.0 * k * k} for k in range(4)}


def test_parts_of_a_stack_are_read_where_they_were_made():
    def step(x):
        parts = [np.tanh(x * k) for k in (1.0, 2.0, 3.0)]
        stack = np.stack(parts)
        half = np.stack([stack[1][:1], stack[2][:1]])
        return (stack[0] * stack[2]).sum() + half.sum(), stack[1]

    def of_all(x):
        stack = np.stack([x, x + 1])
        return stack, stack[1] * 2, stack.sum()

    x = np.arange(6.0).reshape(2, 3) / 7
    for function in (step, of_all):
        compiled = tg.compile(function, backend="native")
        for value in (x, x + 1, x - 1):
            for found, wanted in zip(compiled(value), function(value), strict=True):
                close(found, wanted, 1e-12)


def test_random_numbers_come_from_numpy():
    def run(backend):
        drop = nn.Dropout(0.5, rng=3)
        step = tg.compile(lambda x: drop(x), backend=backend)
        return [step(np.ones(50, np.float32)).data.tolist() for _ in range(4)]
    assert run("native") == run("numpy")


def test_a_power_of_a_half_is_a_root():
    x, found = np.array([0, -0.0, 2, np.inf, -np.inf, -1, np.nan], np.float32), []
    for backend in ("native", "numpy"):
        step = tg.compile(lambda x: tg.Tensor(x) ** 0.5, backend=backend)
        with np.errstate(all="ignore"):
            found.append([step(x).data for _ in range(2)][1])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", ["u1", "u8", "i8", "?", "f2", "f4"])
@pytest.mark.parametrize("function", [
    nn.softmax, nn.log_softmax, nn.sigmoid, nn.softplus, nn.gelu, nn.elu, nn.relu, np.mean, np.sum,
    np.var, np.sqrt, lambda x: np.clip(x, 1, 2), lambda x: (x * 3, x - 1, x / 2, x > 1, -(x * 1))],
    ids=lambda f: f.__name__)
def test_numbers_of_every_dtype(function, dtype):
    x, found = np.array([[3, 1, 2], [0, 1, 5]]).astype(dtype), []
    for backend in ("native", "numpy"):
        step = tg.compile(lambda x: function(tg.Tensor(x)), backend=backend)
        try:
            found.append([step(x) for _ in range(2)][1])
        except TypeError as error:                         # a boolean minus
            found.append(str(error))
    native, plain = (f if isinstance(f, tuple) else (f,) for f in found)
    for a, b in zip(native, plain):
        if isinstance(b, str):
            assert a == b
        else:
            close(a.data, b.data, 2e-3 if b.dtype == np.float16 else 1e-6)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("fold", [np.max, np.min])
def test_truths_are_folded(fold, axis):
    x = np.array([[1.0, -1.0, 2.0], [1.0, -1.0, -1.0]], np.float32)
    step = tg.compile(lambda x: fold(x > 0, axis=axis), backend="native")
    for values in (x, -x, np.abs(x), -np.abs(x)):
        np.testing.assert_array_equal(step(values), fold(values > 0, axis=axis))


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="'numpy' or 'native', got 'gpu'"):
        tg.compile(lambda: None, backend="gpu")


def test_explain_shows_the_loops_and_draw_the_program():
    _, step, *_ = classifier()
    text = step.explain(repeats=2)
    for line in ("for i0 in range(6):", "maximum(v2, 0)", "check_labels", "SGD.step()",
                 "in tiles of", "calls in", "  block 1", "  in registers"):
        assert line in text
    update = text[text.index("SGD.step()"):]
    assert "v4 = subtract(v0, v3)" in update and "a0[i0] = v4" in update   # p - lr · g
    assert "in registers" in tg.draw(step).dot


def test_check_compares_with_the_function_as_it_is_written():
    counter = []
    w = tg.Tensor([1.0], requires_grad=True)

    @tg.compile(check=True, backend="native")
    def step():
        counter.append(0)
        return (w * len(counter)).sum()
    step()
    with pytest.raises(tg.CaptureError, match="does not do the same at each call"):
        step()


# ---- loops and products --------------------------------------------------------------------------


SIZES = [(1, 1, 1), (7, 5, 17), (33, 3, 70), (64, 300, 3), (13, 520, 33), (40, 700, 90),
         (100, 16, 2)]


@pytest.mark.parametrize(("size", "turned", "dtype"), [
    (size, turned, dtype) for size in SIZES for turned in range(8) for dtype in ("f4", "f8")
    if turned in (0, 3) or (dtype == "f4" and size[0] * size[1] < 5000)])
def test_products_of_all_layouts(size, turned, dtype):
    m, k, n = size
    rng = np.random.default_rng(0)

    def matrix(rows, columns, turn):
        x = rng.normal(size=(columns, rows) if turn else (rows, columns)).astype(dtype)
        return x.T if turn else x

    a, b, c = matrix(m, k, turned & 1), matrix(k, n, turned & 2), matrix(m, n, turned & 4)
    wanted = a.astype("f8") @ b.astype("f8")
    lie = [Matrix(*(s // x.itemsize for s in x.strides)) for x in (a, b, c)]
    product = Product(dtype, m, n, k, *lie, machine_code.lanes(a.itemsize))
    for made, arrays in ((product, (a, b, c)), (product.flipped, (b, a, c))):
        c[...] = np.nan
        where = [x.__array_interface__["data"][0] for x in arrays]
        assert runner_of([(made, where)]).call() == -1
        np.testing.assert_allclose(c, wanted, atol=1e-5 * k if dtype == "f4" else 1e-13 * k)


FUNCTIONS = {                            # where they are tried
    "exp": (-746, 710), "expm1": (-50, 710), "log": None, "log1p": None, "tanh": (-23, 23),
    "erf": (-6.5, 6.5)}
SPECIAL = [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 1e-38, 1e-42, 1e-320, 88.7, 88.8, -87.4,
           -103.9, -104.1, 709.7, 709.9, -745, -746, 0.625, 1.5, -1.5, 6]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_right_to_two_units_in_the_last_place(name, dtype):
    mpmath = pytest.importorskip("mpmath")
    rng, bounds = np.random.default_rng(0), FUNCTIONS[name]
    near = rng.normal(size=400) * np.exp(rng.uniform(-30, 0, 400))
    wide = (np.exp(rng.uniform(-700, 700, 800)) if bounds is None else
            rng.uniform(*bounds, 800) * rng.choice([1, 0.12], 800))
    with np.errstate(over="ignore", under="ignore"):
        x = np.concatenate([near, wide, rng.uniform(0.4, 2, 400), SPECIAL]).astype(dtype)
    z, size = np.empty_like(x), x.itemsize
    loop = Loop((len(x),), ((dtype, (size,)),) * 2,
                (Value("load", dtype, (0,)), Value(name, dtype, (0,))), ((1, 1),))
    assert runner_of([(loop, [a.__array_interface__["data"][0] for a in (x, z)])]).call() == -1
    with mpmath.workprec(120):
        for a, b in zip(x.tolist(), z.tolist()):
            if np.isnan(a) or (name == "log" and a < 0) or (name == "log1p" and a < -1):
                assert np.isnan(b)
                continue
            if (name, a) in (("log", 0), ("log1p", -1)):
                assert b == -np.inf
                continue
            exact = getattr(mpmath, name)(mpmath.mpf(a))
            with np.errstate(over="ignore"):
                wanted = np.dtype(dtype).type(float(exact))
            if not np.isfinite(wanted) or not np.isfinite(b):
                assert b == wanted, a
            else:
                error = abs(float((mpmath.mpf(b) - exact) / float(np.spacing(abs(wanted)))))
                assert error <= 2, a


def test_equal_loops_are_compiled_once(monkeypatch):
    compiled = []
    monkeypatch.setattr(machine_code._Machine, "compiled", lambda self, text, level:
                        compiled.append(text) or _COMPILED(self, text, level))
    monkeypatch.setattr(machine_code, "_kept", lambda name: None)
    loops = [Loop((n,), (("f4", (4,)),) * 2, (Value("load", "f4", (0,)),), ((0, 1),))
             for n in (1234, 1235, 1234)]
    x, y = np.ones(1235, np.float32), np.zeros(1235, np.float32)
    where = [a.__array_interface__["data"][0] for a in (x, y)]
    runner_of([(loop, where) for loop in loops]).call()
    assert y.tolist() == [1] * 1235
    assert len(compiled) == 2


_COMPILED = machine_code._Machine.compiled

BACKWARDS = """
import numpy as np, tinygrad_opt as tg
w = tg.Tensor(np.ones(30, np.float32), requires_grad=True)
step = tg.compile(lambda x: (w * x[::-1] + w[::-1] * 2, x), backend="native")
for dtype in ("f4", "f8", "i2", "u2", "i4", "u4", "i8"):
    x = np.arange(30).astype(dtype)
    step(x)
    print((step(x)[0].data == x[::-1] + 2).all())
"""


def test_arrays_may_be_read_backwards(tmp_path):
    """LLVM 22 ends the process if it weighs how to do such loops on processors with AVX-512."""
    assert set(printed(BACKWARDS, tmp_path)) == {"True"}


# ---- the cache on disk ---------------------------------------------------------------------------

SCRIPT = """
import numpy as np, tinygrad_opt as tg
from tinygrad_opt.compiler.native import machine_code
compiled, original = [], machine_code._Machine.compiled
machine_code._Machine.compiled = lambda self, *a: compiled.append(1) or original(self, *a)
step = tg.compile(lambda x: (x * 3 + 1).sum(), backend="native")
x = np.arange(5.0, dtype=np.float32)
step(x)
print(step(x).item(), len(compiled))
"""


def printed(script, folder):
    """What another process prints that keeps its code in a folder."""
    environment = os.environ | {"TINYGRAD_OPT_CACHE": str(folder), "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", script], env=environment, text=True,
                          capture_output=True)
    assert not done.returncode, done.stderr
    return done.stdout.split()


def process(folder):
    value, compiled = printed(SCRIPT, folder)
    return float(value), int(compiled)


def test_a_second_process_compiles_nothing(tmp_path):
    value, compiled = process(tmp_path)
    assert value == 35
    assert compiled > 0
    assert process(tmp_path) == (35, 0)


def test_a_damaged_file_is_compiled_again(tmp_path):
    process(tmp_path)
    files = sorted(tmp_path.iterdir())
    for k, file in enumerate(files):
        content = file.read_bytes()
        file.write_bytes([b"", content[:-7], content[:40] + b"?" + content[41:]][k % 3])
    assert process(tmp_path) == (35, len(files))
    assert process(tmp_path) == (35, 0)


def test_without_a_place_to_write_everything_works(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert process(blocked)[0] == 35


def test_a_quoted_home_is_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", "~/kept")
    assert machine_code.cache_folder() == tmp_path / "kept"


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", str(tmp_path))

    def interrupt(*args):
        raise KeyboardInterrupt
    monkeypatch.setattr(machine_code.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        machine_code._keep("name", b"code")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_compiling_leaves_nothing_half_written(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", str(tmp_path))
    compiled = []

    def compile_two(self, text, level):
        compiled.append(text)
        if len(compiled) == 3:
            raise KeyboardInterrupt
        return _COMPILED(self, text, level)

    def make(backend):
        model = nn.MLP([3, 19, 2], rng=0)                  # of a size that nothing else has
        optimizer = optim.Adam(model.parameters())

        @tg.compile(backend=backend)
        def step(x, y):
            loss = nn.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss
        return step

    monkeypatch.setattr(machine_code._Machine, "compiled", compile_two)
    x, y = np.ones((17, 3), np.float32), np.zeros((17, 2), np.float32)
    native, plain = make("native"), make("numpy")
    with pytest.raises(KeyboardInterrupt):                 # the call itself has been made by then
        native(x, y)
    assert len(list(tmp_path.iterdir())) == 2
    assert all(machine_code._kept(file.stem) for file in tmp_path.iterdir())
    plain(x, y)
    for _ in range(3):
        np.testing.assert_allclose(native(x, y).item(), plain(x, y).item(), rtol=1e-5)


def test_without_llvmlite_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    machine_code.llvm_binding.cache_clear()
    with pytest.raises(ImportError, match=r"native steps need llvmlite: pip install .*\[native\]"):
        tg.compile(lambda: None, backend="native")
    monkeypatch.undo()
    machine_code.llvm_binding.cache_clear()


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd:lr=0.1,decay=0.01"])
def test_fit_trains_natively(optimizer):
    x, y = tg.data.moons(60, rng=0)
    runs = []
    for compile in ("native", True):
        model = nn.MLP([2, 8, 2], rng=0)
        history = tg.fit(
            model, x, y, loss="cross_entropy", optimizer=optimizer, epochs=3, batch_size=20,
            progress=False, metrics=["accuracy"], seed=0, compile=compile)
        runs.append((history, model))
    np.testing.assert_allclose(runs[0][0]["loss"], runs[1][0]["loss"], rtol=1e-5)
    assert runs[0][0]["accuracy"] == runs[1][0]["accuracy"]
    for a, b in zip(*(m.parameters().values() for _, m in runs)):
        close(a.data, b.data, 1e-4)


def same_learning(name, quick):
    (wanted, _), (found, _) = (
        native_demos.learned(name, backend, quick) for backend in ("numpy", "native"))
    _, apart = native_demos.RUNS[name]
    np.testing.assert_allclose(found, wanted, rtol=apart, atol=apart)


@pytest.mark.parametrize("name", ["moons", "spiral", "digits", "autoencoder", "sine_rnn"])
def test_a_demo_begins_to_learn_as_much_as_by_numpy(name):
    same_learning(name, quick=True)


@pytest.mark.drill
@pytest.mark.parametrize("name", native_demos.RUNS)
def test_a_demo_learns_as_much_as_by_numpy(name):
    pytest.importorskip("matplotlib")
    same_learning(name, quick=False)


def test_the_command_line_trains_natively(tmp_path, capsys):
    from tinygrad_opt.cli import main
    main(["train", "moons", "--epochs", "2", "--native", "--quiet", "--out", str(tmp_path)])
    assert "test accuracy" in capsys.readouterr().out


# ---- random steps --------------------------------------------------------------------------------


def check_random_steps(seeds):
    ended = collections.Counter(native_exactness.compare(seed).split(":")[0] for seed in seeds)
    assert not ended["different"], ended
    assert sum(n for how, n in ended.items() if how.startswith("equal")) > 0.7 * len(seeds)


@pytest.mark.parametrize("block", range(3))
def test_random_steps_compute_what_numpy_computes(block):
    check_random_steps(range(5 * block, 5 * block + 5))


@pytest.mark.drill
@pytest.mark.parametrize("block", range(24))
def test_two_thousand_random_steps_compute_what_numpy_computes(block):
    check_random_steps(range(100 * block, 100 * block + 100))
