"""Each rule is the published algorithm: against torch, the textbook's dicts, and hand figures."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tinygrad_opt import Tensor, optim
from tinygrad_opt.errors import GraphError

# rule, its options, and the same in torch
TORCH = {
    "SGD": (optim.SGD, {}, "SGD", {}),
    "SGD momentum": (optim.SGD, dict(momentum=0.9), "SGD", dict(momentum=0.9)),
    "SGD dampening": (optim.SGD, dict(momentum=0.9, dampening=0.3), "SGD",
                      dict(momentum=0.9, dampening=0.3)),
    "SGD nesterov": (optim.SGD, dict(momentum=0.9, nesterov=True), "SGD",
                     dict(momentum=0.9, nesterov=True)),
    "SGD weight decay": (optim.SGD, dict(momentum=0.9, weight_decay=0.1), "SGD",
                         dict(momentum=0.9, weight_decay=0.1)),
    "Momentum": (optim.Momentum, dict(momentum=0.8), "SGD", dict(momentum=0.8)),
    "Nesterov": (optim.Nesterov, dict(momentum=0.8), "SGD", dict(momentum=0.8, nesterov=True)),
    "AdaGrad": (optim.AdaGrad, {}, "Adagrad", {}),
    "AdaGrad decay": (optim.AdaGrad, dict(decay=0.1, initial_accumulator=0.3, eps=1e-7),
                      "Adagrad", dict(lr_decay=0.1, initial_accumulator_value=0.3, eps=1e-7)),
    "RMSprop": (optim.RMSprop, {}, "RMSprop", {}),
    "RMSprop centered": (optim.RMSprop, dict(rho=0.9, centered=True), "RMSprop",
                         dict(alpha=0.9, centered=True)),
    "RMSprop momentum": (optim.RMSprop, dict(momentum=0.9), "RMSprop", dict(momentum=0.9)),
    "RMSprop all": (optim.RMSprop, dict(momentum=0.9, centered=True, weight_decay=0.1), "RMSprop",
                    dict(momentum=0.9, centered=True, weight_decay=0.1)),
    "AdaDelta": (optim.AdaDelta, {}, "Adadelta", dict(lr=1.0)),
    "Adam": (optim.Adam, {}, "Adam", {}),
    "Adam eps": (optim.Adam, dict(beta1=0.8, beta2=0.99, eps=1e-4), "Adam",
                 dict(betas=(0.8, 0.99), eps=1e-4)),
    "Adam amsgrad": (optim.Adam, dict(amsgrad=True), "Adam", dict(amsgrad=True)),
    "Adam weight decay": (optim.Adam, dict(weight_decay=0.1), "Adam", dict(weight_decay=0.1)),
    "AdamW": (optim.AdamW, {}, "AdamW", {}),
    "AdamW amsgrad": (optim.AdamW, dict(weight_decay=0.2, amsgrad=True), "AdamW",
                      dict(weight_decay=0.2, amsgrad=True)),
    "Adamax": (optim.Adamax, {}, "Adamax", {}),
    "Nadam": (optim.Nadam, {}, "NAdam", {}),
    "Nadam weight decay": (optim.Nadam, dict(psi=0.02, weight_decay=0.1), "NAdam",
                           dict(momentum_decay=0.02, weight_decay=0.1)),
}


def recorded_gradients(dtype, steps=25):
    """Scales from 1e-8 to 1e4, zeros, and signs that flip: for (7, 13), whatever the parameters."""
    rng = np.random.default_rng(1)
    scale = np.logspace(-8, 4, 91).reshape(7, 13)
    for t in range(steps):
        g = rng.standard_normal((7, 13)) * scale
        g *= rng.random((7, 13)) > 0.2
        yield (-g if t % 3 == 2 else g).astype(dtype)


def relative(a, b, largest=1.0):
    """Largest difference, relative to the largest values on the way: signs flip and cancel."""
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), largest)))


@pytest.mark.parametrize("case", TORCH)
@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 1e-6)])
def test_on_recorded_gradients_the_rule_equals_torch(case, dtype, close, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)  # NAdam's product
    rule, options, theirs, their_options = TORCH[case]
    start = np.random.default_rng(0).standard_normal((7, 13)).astype(dtype)
    lr = {"lr": 0.01} | {k: v for k, v in options.items() if k == "lr"}
    if rule is optim.AdaDelta:
        lr = {"lr": 1.0}
    p = Tensor(start, requires_grad=True)
    q = torch.tensor(start, requires_grad=True)
    ours = rule({"p": p}, **lr, **options)
    torchs = getattr(torch.optim, theirs)([q], **lr | their_options)
    largest = np.ones((7, 13))
    for g in recorded_gradients(dtype):
        p.grad, q.grad = g.copy(), torch.tensor(g)
        ours.step()
        torchs.step()
        assert p.dtype == dtype
        theirs_now = q.detach().numpy()
        largest = np.maximum(largest, np.abs(theirs_now))
        assert relative(p.data, theirs_now, largest) < close


SAVED = Path(__file__).with_name("saved") / "torch-optimizers.json"


def steps_of(case, theirs):
    """How far twelve numbers come in twenty steps, with gradients of sizes from 1e-8 to 1e3."""
    rule, options, name, their_options = TORCH[case]
    lr = {"lr": 1.0 if rule is optim.AdaDelta else 0.01}
    start, sizes = np.cos(np.arange(12.0)), np.logspace(-8, 3, 12)
    p = {"w": start.copy()}
    if theirs:
        torch = pytest.importorskip("torch")
        w = torch.from_numpy(p["w"])
        optimizer = getattr(torch.optim, name)([w], **lr | their_options)
    else:
        optimizer = rule(**lr, **options)
    for t in range(20):
        g = np.sin(np.arange(12) * (t + 1.3) + t) * sizes * (np.arange(12) % 5 != t % 7)
        if theirs:
            w.grad = torch.from_numpy(g)
            optimizer.step()
        else:
            optimizer.update(p, {"w": g})
    return p["w"] - start


def save_torchs_steps():
    rows = [f"{json.dumps(case)}: {steps_of(case, True).tolist()}" for case in TORCH]
    SAVED.write_text("{\n" + ",\n".join(rows) + "\n}\n")


@pytest.mark.parametrize("theirs", [False, True], ids=["ours", "torch"])
@pytest.mark.parametrize("case", TORCH)
def test_steps_are_those_that_torch_has_made(case, theirs, monkeypatch):
    """As kept in a file, so that it needs no torch; where there is one, the file is compared."""
    if theirs:
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
    np.testing.assert_allclose(steps_of(case, theirs), json.loads(SAVED.read_text())[case],
                               rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("rule", "their_name", "options"), [
    (optim.Momentum, "SGD", dict(momentum=0.9)),
    (optim.Adam, "Adam", {}),
    (optim.RMSprop, "RMSprop", dict(momentum=0.9)),
])
def test_each_parameter_counts_its_own_updates_as_in_torch(rule, their_name, options):
    torch = pytest.importorskip("torch")
    ps = {n: Tensor(np.ones(3), requires_grad=True) for n in "ab"}
    qs = [torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in "ab"]
    ours, theirs = rule(ps, lr=0.1, **options), getattr(torch.optim, their_name)(
        qs, lr=0.1, **options)
    rng = np.random.default_rng(0)
    for t in range(12):
        for i, (p, q) in enumerate(zip(ps.values(), qs)):
            g = rng.standard_normal(3) if i == 0 or t % 3 == 2 else None
            p.grad, q.grad = g, None if g is None else torch.tensor(g)
        ours.step()
        theirs.step()
    for p, q in zip(ps.values(), qs):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12)


# ---- the textbook's form, over dictionaries ------------------------------------------------------


class Textbook:
    """update(params, grads) with two dicts of equal keys; state made at the first call, per key."""

    def __init__(self, lr=0.01, **options):
        self.lr, self.t, self.state = lr, 0, None
        self.__dict__.update(options)

    def update(self, params, grads):
        if self.state is None:
            self.state = {k: [np.zeros_like(p), np.zeros_like(p)] for k, p in params.items()}
        self.t += 1
        for k in params:
            self.one(params[k], grads[k], *self.state[k])


class BookSGD(Textbook):
    def one(self, p, g, a, b):
        p -= self.lr * g


class BookMomentum(Textbook):
    def one(self, p, g, v, b):
        v[...] = 0.9 * v - self.lr * g
        p += v


class BookNesterov(Textbook):
    """The published formula: v from before the step."""

    def one(self, p, g, v, b):
        p += 0.9**2 * v - (1 + 0.9) * self.lr * g
        v[...] = 0.9 * v - self.lr * g


class BookNesterovCode(Textbook):
    """The published code, which updates v first: another method."""

    def one(self, p, g, v, b):
        v[...] = 0.9 * v - self.lr * g
        p += 0.9**2 * v - (1 + 0.9) * self.lr * g


class BookAdaGrad(Textbook):
    def one(self, p, g, h, b):
        h += g * g
        p -= self.lr * g / (np.sqrt(h) + 1e-7)


class BookRMSprop(Textbook):
    def one(self, p, g, h, b):
        h[...] = 0.99 * h + 0.01 * g * g
        p -= self.lr * g / (np.sqrt(h) + 1e-7)


class BookAdam(Textbook):
    """Both corrections folded into the rate; ε added before them."""

    def one(self, p, g, m, v):
        rate = self.lr * math.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        m += 0.1 * (g - m)
        v += 0.001 * (g * g - v)
        p -= rate * m / (np.sqrt(v) + 1e-7)


def after(optimizer, scale=None, steps=30):
    """Two parameters after some steps on recorded gradients of a dict."""
    rng = np.random.default_rng(2)
    params = {"W": rng.standard_normal((3, 4)), "b": rng.standard_normal(4)}
    for _ in range(steps):
        grads = {k: rng.standard_normal(p.shape) * (scale or 10.0 ** rng.integers(-8, 5))
                 for k, p in params.items()}
        optimizer.update(params, grads)
    return np.concatenate([p.ravel() for p in params.values()])


@pytest.mark.parametrize(("ours", "book"), [
    (optim.SGD(lr=0.01), BookSGD()),
    (optim.Momentum(lr=0.01), BookMomentum()),
    (optim.Nesterov(lr=0.01), BookNesterov()),
    (optim.AdaGrad(lr=0.01, eps=1e-7), BookAdaGrad()),
    (optim.RMSprop(lr=0.01, rho=0.99, eps=1e-7), BookRMSprop()),
], ids=lambda o: type(o).__name__)
def test_where_the_formula_is_the_same_the_rule_equals_the_textbook(ours, book):
    assert relative(after(ours), after(book)) < 1e-12


def test_adam_equals_the_folded_form_only_where_gradients_are_far_above_eps():
    def adam():
        return optim.Adam(lr=0.01, eps=1e-7)

    assert relative(after(adam(), scale=1.0), after(BookAdam(), scale=1.0)) < 1e-5
    # the first step as a part of lr, at a gradient of 1e-6: ε = 1e-7 stands elsewhere
    moves = []
    for optimizer in (adam(), BookAdam()):
        p = {"w": np.array([0.0])}
        optimizer.update(p, {"w": np.array([1e-6])})
        moves.append(-p["w"][0] / 0.01)
    assert moves[0] == pytest.approx(1 / 1.1, rel=1e-12)
    assert moves[1] == pytest.approx(1 / (1 + 1e-7 / 1e-6 / math.sqrt(0.001)), rel=1e-9)


def displacements(optimizer, pulses, start=0.0):
    p = {"w": np.array([start])}
    moved = []
    for g in pulses:
        before = p["w"][0]
        optimizer.update(p, {"w": np.array([g])})
        moved.append(p["w"][0] - before)
    return moved


def test_a_unit_impulse_moves_nesterov_by_the_published_displacements():
    impulse = [1.0, 0.0, 0.0, 0.0]
    moved = displacements(optim.Nesterov(lr=1.0, momentum=0.9), impulse)
    np.testing.assert_allclose(moved, [-1.9, -0.81, -0.729, -0.6561], rtol=1e-12)
    wrong = displacements(BookNesterovCode(lr=1.0), impulse)
    np.testing.assert_allclose(wrong, [-2.71, -0.729, -0.6561, -0.59049], rtol=1e-12)


def test_nesterov_holds_the_point_that_the_look_ahead_form_looks_at():
    mu, lr, scale = 0.9, 0.01, np.array([1.0, 30.0])
    theta, v = np.array([3.0, -2.0]), np.zeros(2)
    p = {"w": theta.copy()}
    opt = optim.Nesterov(lr=lr, momentum=mu)
    for _ in range(100):
        np.testing.assert_allclose(p["w"], theta + mu * v, atol=1e-14)
        opt.update(p, {"w": scale * p["w"]})
        v = mu * v - lr * scale * (theta + mu * v)
        theta = theta + v


def test_nesterov_is_stable_where_the_wrong_form_diverges():
    """On curvature L the bounds are lr L < (2 + 2μ)/(1 + 2μ) and < (2 + 2μ)/(1 + 2μ + 2μ²)."""
    def run(opt):
        p = {"w": np.array([1.0])}
        for _ in range(400):
            opt.update(p, {"w": p["w"].copy()})
        return abs(p["w"][0])

    assert run(optim.Nesterov(lr=1.0)) < 1e-6
    assert run(BookNesterovCode(lr=1.0)) > 1e6


def test_velocity_holds_displacements_so_that_a_new_rate_leaves_the_past_alone():
    for rule in (optim.Momentum(lr=0.1), optim.SGD(lr=0.1, momentum=0.9)):
        p = {"w": np.array([1.0])}
        rule.update(p, {"w": np.array([1.0])})
        rule.lr = 0.01
        rule.update(p, {"w": np.array([1.0])})
        assert p["w"][0] == pytest.approx(0.8)                       # −0.1, then −0.09 − 0.01


@pytest.mark.parametrize("velocity", ["steps", "gradients", "mean"])
def test_momentum_is_to_be_had_as_it_is_printed_and_as_it_is_coded(velocity):
    """Under decay the forms part: v of gradients meets the rate of now with all of its past."""
    rng = np.random.default_rng(3)
    opt = optim.Momentum(lr=0.5, decay=0.1, momentum=0.8, velocity=velocity)
    p, w, v = {"w": np.ones(3)}, np.ones(3), np.zeros(3)
    for t in range(20):
        g, lr = rng.standard_normal(3), 0.5 / (1 + 0.1 * t)
        new = {"steps": -lr * g, "gradients": g, "mean": 0.2 * g}[velocity]
        v = 0.8 * v + new
        w = w + v if velocity == "steps" else w - lr * v
        opt.update(p, {"w": g})
        np.testing.assert_allclose(p["w"], w, rtol=1e-13)


@pytest.mark.parametrize("rule", [optim.Momentum, optim.Nesterov])
def test_at_a_constant_rate_the_forms_of_velocity_are_one_but_for_the_rate(rule):
    gradients = np.random.default_rng(7).standard_normal(30)
    steps, sums, means = (
        displacements(rule(lr=lr, momentum=0.8, velocity=velocity), gradients)
        for velocity, lr in (("steps", 0.1), ("gradients", 0.1), ("mean", 0.5)))
    np.testing.assert_allclose(sums, steps, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(means, steps, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("rule", "nesterov"), [(optim.Momentum, False), (optim.Nesterov, True)])
@pytest.mark.parametrize("maximize", [False, True])
def test_a_velocity_of_gradients_is_torchs_while_the_rate_changes(rule, nesterov, maximize):
    torch = pytest.importorskip("torch")
    rates = optim.schedules.cosine(0.5, 20)
    p, q = {"w": np.ones(3)}, torch.ones(3, dtype=torch.float64, requires_grad=True)
    ours = rule(lr=rates, velocity="gradients", maximize=maximize, weight_decay=0.1)
    theirs = torch.optim.SGD([q], lr=0.5, momentum=0.9, nesterov=nesterov, maximize=maximize,
                             weight_decay=0.1)
    for t, g in enumerate(np.random.default_rng(4).standard_normal((20, 3))):
        theirs.param_groups[0]["lr"], q.grad = rates(t), torch.tensor(g)
        ours.update(p, {"w": g})
        theirs.step()
        np.testing.assert_allclose(p["w"], q.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", optim.names())
def test_maximising_is_minimising_the_negative(name):
    up, down = {"w": np.array([1.0, -2.0])}, {"w": np.array([1.0, -2.0])}
    rising, falling = optim.get(name, lr=0.1, maximize=True), optim.get(name, lr=0.1)
    for g in np.random.default_rng(6).standard_normal((10, 2)):
        rising.update(up, {"w": g})
        falling.update(down, {"w": -g})
        np.testing.assert_array_equal(up["w"], down["w"])


def test_without_its_corrections_adam_begins_with_steps_three_times_too_long():
    first = {corrected: displacements(optim.Adam(lr=0.1, bias_correction=corrected), [2.0])[0]
             for corrected in (True, False)}
    assert first[True] == pytest.approx(-0.1, rel=1e-6)
    assert first[False] == pytest.approx(-0.1 * 0.1 / math.sqrt(0.001), rel=1e-6)


def test_without_corrections_too_amsgrad_divides_by_the_largest_so_far():
    optimizer = optim.Adam(lr=1.0, beta1=0.0, beta2=0.0, eps=0.0, amsgrad=True,
                           bias_correction=False)
    moved = displacements(optimizer, [2.0, 1.0, 4.0, 1.0])
    np.testing.assert_allclose(moved, [-1, -0.5, -1, -0.25], rtol=1e-12)


def test_adagrad_with_mean_divides_by_the_root_mean_square():
    gradients = [3.0, -1.0, 0.5, 2.0]
    moved = displacements(optim.AdaGrad(lr=0.1, mean=True, eps=1e-7), gradients)
    for t, g in enumerate(gradients):
        mean = np.mean(np.square(gradients[: t + 1]))
        assert moved[t] == pytest.approx(-0.1 * g / (math.sqrt(mean) + 1e-7), rel=1e-9)


def test_lion_steps_by_the_sign_of_a_mean_and_decays_beside_it():
    p, m = 0.5, 0.0
    ours = {"w": np.array([p])}
    opt = optim.Lion(lr=0.01, beta1=0.9, beta2=0.99, weight_decay=0.1)
    for g in np.random.default_rng(3).standard_normal(50):
        p -= 0.01 * (np.sign(0.9 * m + 0.1 * g) + 0.1 * p)
        m = 0.99 * m + 0.01 * g
        opt.update(ours, {"w": np.array([g])})
        assert ours["w"][0] == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("velocity", ["gradients", "mean"])
@pytest.mark.parametrize("rule", [optim.Momentum, optim.Nesterov])
def test_a_velocity_of_gradients_is_multiplied_by_the_rate_of_now(rule, velocity):
    p, v, expected = {"w": np.zeros(1)}, 0.0, 0.0
    optimizer = rule(lr=0.1, momentum=0.6, velocity=velocity)
    for g, lr in [(1.0, 0.1), (-3.0, 0.2), (2.0, 0.0), (5.0, 0.3)]:
        optimizer.lr = lr
        optimizer.update(p, {"w": np.array([g])})
        g = 0.4 * g if velocity == "mean" else g
        v = 0.6 * v + g
        expected -= lr * (v if rule is optim.Momentum else g + 0.6 * v)
        np.testing.assert_allclose(p["w"], expected, rtol=1e-12)


def test_equal_gradients_have_no_variance_and_not_less():
    p = {"w": np.zeros(64)}
    optimizer = optim.RMSprop(lr=0.01, rho=0.7, centered=True)
    with np.errstate(all="raise"):
        for _ in range(100):                               # rounding makes some of them negative
            optimizer.update(p, {"w": np.linspace(0.1, 1.9, 64)})
    assert np.isfinite(p["w"]).all()


def test_zero_gradients_let_velocity_roll_on_and_a_missing_one_rests():
    for rule, after_one in ((optim.Momentum, -0.09), (optim.Adam, -0.067), (optim.AdaGrad, 0.0)):
        moved = displacements(rule(lr=0.1), [1.0, 0.0])
        assert moved[1] == pytest.approx(after_one, abs=5e-4)
    ps = {n: Tensor(np.ones(1), requires_grad=True) for n in "ab"}
    opt = optim.Momentum(ps, lr=0.1)
    for p in ps.values():
        p.grad = np.ones(1)
    opt.step()
    ps["a"].grad = None
    before = ps["a"].data.copy()
    opt.step()
    assert ps["a"].data == before and ps["b"].data != before


# ---- one rule, one text --------------------------------------------------------------------------

VARIANTS = [
    optim.SGD(lr=0.1), optim.SGD(lr=0.1, momentum=0.9, nesterov=True),
    optim.SGD(lr=0.1, momentum=0.9, dampening=0.5),
    optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.1), optim.Momentum(lr=0.1),
    *(rule(lr=0.1, velocity=v) for rule in (optim.Momentum, optim.Nesterov)
      for v in ("gradients", "mean")), optim.Adam(bias_correction=False),
    optim.Nesterov(lr=0.1), optim.AdaGrad(lr=0.1), optim.AdaGrad(lr=0.1, mean=True),
    optim.RMSprop(), optim.RMSprop(centered=True, momentum=0.5), optim.AdaDelta(), optim.Adam(),
    optim.Adam(amsgrad=True), optim.AdamW(weight_decay=0.3), optim.Adamax(), optim.Nadam(),
    optim.Lion(lr=0.1, weight_decay=0.1),
]


@pytest.mark.parametrize("opt", VARIANTS, ids=lambda o: type(o).__name__)
def test_the_formula_stands_in_the_docstring(opt):
    said = {line.strip() for line in type(opt).__doc__.splitlines()}
    lines = str(opt.formula).splitlines()
    decay = ["g ← g + λ · p"] if opt.weight_decay and not opt.decoupled else []
    assert lines[: len(decay)] == decay
    assert [line for line in lines[len(decay) :] if line not in said] == []


@pytest.mark.parametrize("opt", VARIANTS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_in_place_calls_compute_what_the_rule_returns(opt, dtype):
    opt = optim.get(type(opt), **{n: getattr(opt, n) for n in opt.options})
    rng = np.random.default_rng(5)
    start = {n: rng.standard_normal(s).astype(dtype) for n, s in (("a", (3, 2)), ("b", 4))}
    eps = np.finfo(dtype).eps
    arrays, plain, state = {n: a.copy() for n, a in start.items()}, start, None
    for _ in range(14):
        grads = {n: rng.standard_normal(a.shape).astype(dtype) for n, a in start.items()}
        opt.update(arrays, grads)
        plain, state = opt.updated(plain, grads, state)
        for n in plain:
            assert plain[n].dtype == dtype
            np.testing.assert_allclose(arrays[n], plain[n], rtol=100 * eps, atol=10 * eps)
            for slot, array in opt.state[n].items():
                np.testing.assert_allclose(array, state[n][slot], rtol=100 * eps, atol=10 * eps)
    assert state["a"]["t"] == opt.t == 14
    assert all(run.version is not None for run in opt._plan.runs)


# ---- they find the minimum -----------------------------------------------------------------------

# rule, rate and options with which it comes to the bottom of both
CONVERGING = {
    "sgd": (dict(lr=0.1), dict(lr=1e-3)),
    "momentum": (dict(lr=0.05), dict(lr=2e-4)),
    "nesterov": (dict(lr=0.05), dict(lr=2e-4)),
    "adagrad": (dict(lr=1.0), dict(lr=0.5)),
    "rmsprop": (dict(lr=0.05, decay=0.01), dict(lr=0.01, decay=1e-3)),
    "adadelta": (dict(lr=10.0), dict(rho=0.99, decay=1e-4)),
    "adam": (dict(lr=0.1), dict(lr=0.02)),
    "adamw": (dict(lr=0.1, weight_decay=0.0), dict(lr=0.02, weight_decay=0.0)),
    "adamax": (dict(lr=0.2), dict(lr=0.05)),
    "nadam": (dict(lr=0.1), dict(lr=0.02)),
    "lion": (dict(lr=0.1, decay=0.1), dict(lr=0.02, decay=2e-3)),
}


def test_every_rule_has_a_row_in_the_table_of_convergence():
    assert sorted(CONVERGING) == optim.names()


@pytest.mark.parametrize("name", CONVERGING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_rule_comes_to_the_bottom_of_a_parabola(name, dtype):
    p = {"x": np.array([5.0, -3.0], dtype)}
    opt = optim.get(name, **CONVERGING[name][0])
    for _ in range(2000):
        opt.update(p, {"x": 2 * (p["x"] - 1) * np.array([1, 4], dtype)})
    assert p["x"].dtype == dtype
    np.testing.assert_allclose(p["x"], 1, atol=0.01)


@pytest.mark.parametrize("name", CONVERGING)
def test_every_rule_comes_down_the_valley_of_rosenbrock(name):
    p = {"x": np.array([-1.2, 1.0])}
    opt = optim.get(name, **CONVERGING[name][1])
    for _ in range(20_000):
        x, y = p["x"]
        opt.update(p, {"x": np.array([2 * (x - 1) - 400 * x * (y - x * x), 200 * (y - x * x)])})
    np.testing.assert_allclose(p["x"], 1, atol=0.05)


def test_what_nadam_has_no_derivative_by_is_said():
    psi = Tensor(np.array(0.01), requires_grad=True)
    new, _ = optim.Nadam(lr=0.1).updated({"w": Tensor([1.0])}, {"w": Tensor([2.0])}, psi=psi)
    with pytest.raises(GraphError, match="cannot be differentiated by psi"):
        new["w"].sum().backward()
