"""Minimising functions: line searches, second-order methods, and where each of them ends."""

import math
from itertools import pairwise

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import Tensor, optim
from tinygrad_opt.errors import GraphError
from tinygrad_opt.optim.line_searches import Objective, Point
from tinygrad_opt.optim.second_order import METHODS


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def beale(x):
    a, b = x[0], x[1]
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def booth(x):
    return (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2


def rastrigin(x):
    return (x**2 - 10 * np.cos(2 * np.pi * x) + 10).sum()


def saddle(x):
    return x[0] ** 2 - x[1] ** 2 + x[1] ** 4 / 4


def quadratic(condition, n):
    curvatures = np.geomspace(1, condition, n)
    return lambda x: (curvatures * (x - 1) ** 2).sum() / 2


def wood(x):
    a, b, c, d = (x[i] for i in range(4))
    return (100 * (a**2 - b) ** 2 + (a - 1) ** 2 + (c - 1) ** 2 + 90 * (c**2 - d) ** 2
            + 10.1 * ((b - 1) ** 2 + (d - 1) ** 2) + 19.8 * (b - 1) * (d - 1))


def powell(x):
    return ((x[0] + 10 * x[1]) ** 2 + 5 * (x[2] - x[3]) ** 2 + (x[1] - 2 * x[2]) ** 4
            + 10 * (x[0] - x[3]) ** 4)


def camel(x):
    return (4 * x[0] ** 2 - 2.1 * x[0] ** 4 + x[0] ** 6 / 3 + x[0] * x[1] - 4 * x[1] ** 2
            + 4 * x[1] ** 4)


def valley(x):
    return np.log(np.cosh(x - 2)).sum() + 0.01 * (x**2).sum()


# name: function, start, f at the minimum that is reached from there
FUNCTIONS = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0], 0),
    "rosenbrock in 10": (rosenbrock, [-1.2, 1.0] * 5, 0),
    "beale": (beale, [1.0, 1.0], 0),
    "himmelblau": (himmelblau, [0.0, 0.0], 0),
    "booth": (booth, [0.0, 0.0], 0),
    "rastrigin": (rastrigin, [0.8, -1.1], 1.98991811),
    "saddle": (saddle, [1.0, 1e-3], -1),
    "condition 1e4": (quadratic(1e4, 20), [0.0] * 20, 0),
    "condition 1e6": (quadratic(1e6, 10), [0.0] * 10, 0),
    "wood": (wood, [-3.0, -1.0, -3.0, -1.0], 0),
    "powell": (powell, [3.0, -1.0, 0.0, 1.0], 0),
    "camel": (camel, [-1.5, 0.5], -0.215463824),
    "valley": (valley, [9.0, -30.0, 4.0], 0.117647),
}
SECOND_ORDER = ["lbfgs", "bfgs", "newton", "newton_cg", "cg"]


@pytest.mark.parametrize("method", SECOND_ORDER)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_method_ends_at_a_minimum(name, method):
    f, start, lowest = FUNCTIONS[name]
    found = optim.minimize(f, start, method)
    assert found.converged and found.steps < 1000 and "is within 1e-06" in found.message
    assert np.linalg.norm(tg.grad(f)(found.x)) <= 1e-6
    assert np.linalg.eigvalsh(tg.hessian(f)(found.x)).min() > -1e-6
    if name == "rosenbrock in 10":                       # it has a second minimum, of 3.99
        lowest = min(lowest, found.fun) if found.fun < 1 else 3.98657911
    assert found.fun == pytest.approx(lowest, abs=1e-6)
    assert found.values[-1] == found.fun and len(found.path) == found.steps + 1
    assert found.evaluations > found.steps


@pytest.mark.parametrize(("ours", "theirs"), [
    ("lbfgs", "L-BFGS-B"), ("bfgs", "BFGS"), ("cg", "CG"), ("newton_cg", "Newton-CG")])
def test_scipy_finds_the_same_minima_in_about_as_many_evaluations(ours, theirs):
    optimize = pytest.importorskip("scipy.optimize")
    stop = {"L-BFGS-B": {"ftol": 0, "gtol": 1e-6}, "Newton-CG": {"xtol": 1e-9}}
    total = {"ours": 0, "theirs": 0}
    for name, (f, start, lowest) in FUNCTIONS.items():
        if name in ("rosenbrock in 10", "powell"):       # two minima; a minimum without curvature
            continue
        hessian = {"hess": tg.hessian(f)} if theirs == "Newton-CG" else {}
        other = optimize.minimize(
            lambda x, f=f: f(Tensor(x)).item(), start, jac=tg.grad(f), method=theirs,
            options={"maxiter": 5000, **stop.get(theirs, {"gtol": 1e-6})}, **hessian)
        found = optim.minimize(f, start, ours)
        assert found.fun <= other.fun + 1e-8, name
        if abs(other.fun - found.fun) < 1e-8:
            total["ours"] += found.evaluations
            total["theirs"] += other.nfev
        np.testing.assert_allclose(found.fun, lowest, atol=1e-6)
    assert total["ours"] < 1.25 * total["theirs"], total


def test_the_defaults_end_at_the_minimum():
    assert optim.minimize(lambda v: (v - 3) ** 2, 0.0).x == pytest.approx(3)
    np.testing.assert_allclose(optim.minimize(rosenbrock, [-1.2, 1.0]).x, 1, rtol=1e-5)


@pytest.mark.parametrize("method", [*SECOND_ORDER, "steepest_descent", "L-BFGS", "Newton-CG"])
@pytest.mark.parametrize("line_search", ["wolfe", "armijo"])
def test_every_method_takes_either_line_search(method, line_search):
    found = optim.minimize(himmelblau, [0.0, 0.0], method, line_search=line_search)
    assert found and found.fun < 1e-9


@pytest.mark.parametrize("method", [*SECOND_ORDER, "steepest_descent"])
def test_the_form_of_the_start_is_kept(method):
    a = np.array([[2.0, 0.5], [0.5, 1.0]])

    def f(p):
        return ((p["w"] @ a) * p["w"]).sum() + (p["b"] - 4) ** 2 - p["w"].sum()

    start = {"w": Tensor(np.ones((1, 2)), requires_grad=True), "b": 1.0}
    found = optim.minimize(f, start, method)
    assert found and found.x["w"].shape == (1, 2) and found.x["b"].shape == ()
    np.testing.assert_allclose(found.x["w"][0], np.linalg.solve(2 * a, [1, 1]), atol=1e-6)
    assert found.x["b"] == pytest.approx(4) and found.path[0]["b"] == 1.0
    assert start["w"].data.tolist() == [[1, 1]] and start["w"].grad is None
    small = optim.minimize(lambda x: ((x - 3) ** 2).sum(), np.zeros(2, np.float32), method)
    assert small.x.dtype == np.float32 and small.x.tolist() == pytest.approx([3, 3])
    np.testing.assert_allclose(optim.minimize(booth, Tensor([0.0, 0.0]), method, tol=1e-3).x,
                               [1, 3], atol=1e-3)


@pytest.mark.parametrize("method", [*SECOND_ORDER, "steepest_descent", "momentum"])
def test_maximize_goes_up(method):
    options = {"lr": 0.1} if method == "momentum" else {}
    found = optim.minimize(lambda x: 7 - ((x - 2) ** 2).sum(), [0.0, 5.0], method, maximize=True,
                           **options)
    assert found and found.fun == pytest.approx(7) and found.values[0] == -6
    assert found.values[-1] >= found.values[1] > found.values[0]
    np.testing.assert_allclose(found.x, 2, atol=1e-5)


def test_evaluations_are_the_calls_of_f():
    calls = []

    def f(x):
        calls.append(x)
        return beale(x)

    for method in (*SECOND_ORDER, "adam"):
        calls.clear()
        assert optim.minimize(f, [1.0, 1.0], method, steps=30).evaluations == len(calls), method


def test_other_parameters_that_f_uses_keep_their_gradients():
    model = tg.nn.MLP([2, 3, 1])
    parameters = list(model.parameters().values())
    for method in SECOND_ORDER:
        optim.minimize(lambda x: (model(x.reshape(1, 2)) ** 2).sum() + (x**2).sum(), [1.0, 2.0],
                       method, steps=3)
    assert all(p.grad is None for p in parameters)


def test_it_works_where_gradients_are_switched_off():
    with tg.no_grad():
        assert optim.minimize(rosenbrock, [-1.2, 1.0], "newton").converged


# ---- Newton --------------------------------------------------------------------------------------


def test_newton_solves_a_quadratic_function_in_one_step():
    found = optim.minimize(quadratic(1e4, 20), [0.0] * 20, "newton")
    assert found.steps == 1 and found.evaluations == 2
    np.testing.assert_allclose(found.x, 1, rtol=1e-12)


def test_newtons_step_is_g_over_the_size_of_the_curvature():
    found = optim.minimize(lambda x: x**4, 1.0, "newton", steps=1)
    assert found.x == pytest.approx(1 - 4 / 12)
    top = optim.minimize(np.cos, 1.2, "newton", steps=1)         # the curvature is −cos 1.2
    assert top.x == pytest.approx(1.2 + math.tan(1.2))


@pytest.mark.parametrize("method", ["newton", "newton_cg"])
def test_newton_leaves_a_saddle_and_a_top_downhill(method):
    for start in ([1.0, 1e-6], [0.0, -1e-6]):
        found = optim.minimize(saddle, start, method)
        assert found and found.fun == pytest.approx(-1) and found.steps < 12
        assert all(b < a for a, b in pairwise(found.values))


# ---- conjugate gradients -------------------------------------------------------------------------


def test_conjugate_gradients_take_the_steps_of_the_textbook():
    """Shewchuk's example: A = [[3, 2], [2, 6]], b = [2, −8], from (−2, −2)."""
    a, b = np.array([[3.0, 2.0], [2.0, 6.0]]), np.array([2.0, -8.0])
    found = optim.conjugate_gradient(
        lambda x: ((a @ x) * x).sum() / 2 - (b * x).sum(), [-2.0, -2.0])
    np.testing.assert_allclose(found.path, [[-2, -2], [0.08, -46 / 75], [2, -2]], atol=1e-12)


def random_quadratic(n, seed):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    a, b = root @ root.T + np.eye(n), rng.standard_normal(n)
    return lambda x: 0.5 * (x @ (Tensor(a) @ x.reshape(n, 1))).sum() - (x * b).sum()


@pytest.mark.parametrize("beta", [
    "polak_ribiere", "fletcher_reeves", "hestenes_stiefel", "hessian"])
@pytest.mark.parametrize(("n", "most"), [(20, 23), (60, 80)])
def test_rounding_costs_conjugate_gradients_a_few_steps_only(n, most, beta):
    for seed in range(3):
        found = optim.conjugate_gradient(random_quadratic(n, seed), np.zeros(n), beta=beta)
        assert found.converged and found.steps <= most and found.evaluations == found.steps + 1


def test_beginning_again_after_n_steps_is_to_be_had_and_costs_steps():
    f = random_quadratic(20, 1)
    assert optim.conjugate_gradient(f, np.zeros(20), restart=20).steps > 30
    anew = optim.minimize(beale, [1.0, 1.0], "cg", restart=1, steps=5)
    for a, b in pairwise(anew.path):                     # each step goes along −g
        g = tg.grad(beale)(a)
        assert (b - a) @ -g == pytest.approx(np.linalg.norm(b - a) * np.linalg.norm(g))


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_conjugate_gradients_solve_a_quadratic_in_at_most_n_steps(n):
    rng = np.random.default_rng(n)
    root = rng.standard_normal((n, n))
    a, b = root @ root.T + np.eye(n), rng.standard_normal(n)
    found = optim.conjugate_gradient(
        lambda x: 0.5 * (x @ (Tensor(a) @ x.reshape(n, 1))).sum() - (x * b).sum(), np.zeros(n))
    assert found.converged and found.steps <= n
    np.testing.assert_allclose(found.x, np.linalg.solve(a, b), rtol=1e-7, atol=1e-9)
    assert len(found.path) == len(found.values) == found.steps + 1


def test_conjugate_gradients_solve_rosenbrock_over_a_dict():
    start = {"x": np.array([-1.2]), "y": np.array([1.0])}
    found = optim.conjugate_gradient(
        lambda p: ((1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2).sum(), start)
    assert found.converged and found.steps < 100
    np.testing.assert_allclose([found.x["x"][0], found.x["y"][0]], 1, rtol=1e-6)
    assert start["x"][0] == -1.2
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(found.values))


@pytest.mark.parametrize("method", ["adam", "nag", optim.RMSprop])
def test_minimize_follows_any_optimizer_to_the_bottom(method):
    found = optim.minimize(lambda x: ((x - 2) ** 2).sum(), [0.0, 5.0], method, steps=2000,
                           tol=1e-3, lr=lambda t: 0.1 / (1 + 0.02 * t))
    assert found and found.fun == found.values[-1] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.x, 2, atol=1e-3)


def test_a_minimisation_that_explodes_or_runs_out_of_steps_says_so():
    with np.errstate(all="ignore"):
        exploded = optim.minimize(lambda x: (x**4).sum(), [3.0], "sgd", lr=1.0, steps=100)
    assert not exploded.converged and "no longer finite after step" in exploded.message
    short = optim.minimize(lambda x: (x**2).sum(), [3.0], "sgd", lr=1e-3, steps=5)
    assert not short and short.steps == 5 and "stopped after 5 steps" in short.message


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: x * 2])
def test_a_function_that_returns_no_single_tensor_is_refused(f):
    with pytest.raises(GraphError, match="must return a Tensor of one entry"):
        optim.minimize(f, [1.0, 2.0])


# ---- BFGS ----------------------------------------------------------------------------------------


def test_bfgs_learns_the_inverse_of_the_hessian():
    way = METHODS["bfgs"]()
    a = np.array([[3.0, 1.0], [1.0, 2.0]])
    objective = Objective(lambda x: ((a @ x) * x).sum() / 2, [1.0, -2.0])
    points = [Point(objective, np.array(x)) for x in ([1.0, -2.0], [0.5, 1.0], [-1.0, 0.0])]
    for old, new in pairwise(points):
        way.learn(old, new, 1.0)
        s, y = new.x - old.x, new.gradient - old.gradient
        np.testing.assert_allclose(way.inverse @ y, s, rtol=1e-12)
    assert np.linalg.eigvalsh(way.inverse).min() > 0
    np.testing.assert_allclose(way.at(points[-1]), -way.inverse @ points[-1].gradient)


def test_lbfgs_is_bfgs_from_the_last_pairs():
    rng = np.random.default_rng(0)
    objective = Objective(valley, [1.0, 2.0, 3.0])
    points = [Point(objective, rng.standard_normal(3)) for _ in range(6)]
    limited, full = METHODS["lbfgs"](memory=3), METHODS["bfgs"]()
    for old, new in pairwise(points):
        limited.learn(old, new, 1.0)
    s, y = points[-1].x - points[-2].x, points[-1].gradient - points[-2].gradient
    full.inverse = np.eye(3) * (s @ y) / (y @ y)
    for old, new in pairwise(points[2:]):
        full.learn(old, new, 1.0)
    np.testing.assert_allclose(limited.at(points[0]), full.at(points[0]), rtol=1e-10)


# ---- line searches -------------------------------------------------------------------------------


def test_backtracking_halves_the_step_until_f_falls_enough():
    found = optim.line_search(lambda x: ((x - 3) ** 2).sum(), [0.0], method="armijo", first=8.0)
    assert found and found.alpha == 0.5 and found.x == [3.0] and found.fun == 0
    assert found.evaluations == 6                        # the start, 8, 4, 2, 1 and .5
    strict = optim.line_search(lambda x: ((x - 3) ** 2).sum(), [0.0], method="armijo", c1=0.6)
    assert strict.alpha == 0.25                          # f falls by 1 − α of the slope's promise


@pytest.mark.parametrize("c2", [0.1, 0.9])
@pytest.mark.parametrize("first", [1e-6, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_strong_wolfe_conditions_hold_where_the_search_ends(name, first, c2):
    f, start, _ = FUNCTIONS[name]
    start = np.array(start)
    gradient = tg.grad(f)
    d = -gradient(start)
    found = optim.line_search(f, start, d, first=first, c2=c2)
    slope = gradient(start) @ d
    assert found and found.evaluations < 30
    np.testing.assert_allclose(found.x, start + found.alpha * d, rtol=1e-12)
    assert found.fun <= f(Tensor(start)).item() + 1e-4 * found.alpha * slope
    assert abs(gradient(found.x) @ d) <= c2 * abs(slope)


def test_a_line_search_comes_back_from_where_f_is_not_finite():
    def f(x):
        return (np.exp(x) - x).sum() if abs(x.data[0]) < 5 else (x * np.inf).sum()

    assert optim.line_search(f, [-3.0], [1.0], first=1e6).x == pytest.approx([0], abs=3)
    assert optim.minimize(lambda x: (x - np.log(x)).sum(), [1e-3, 50.0]).x == pytest.approx([1, 1])


def test_a_line_search_goes_uphill_for_a_maximum_and_over_a_dict():
    def f(p):
        return 5 - (p["a"] - 1) ** 2 - 2 * p["b"] ** 2

    found = optim.line_search(f, {"a": 0.0, "b": 1.0}, {"b": -1.0, "a": 1.0}, maximize=True, c2=0.1)
    assert found.fun == pytest.approx(5) and found.alpha == pytest.approx(1)
    with pytest.raises(ValueError, match="must lead uphill, but the slope of f along it is -6"):
        optim.line_search(f, {"a": 0.0, "b": 1.0}, {"b": 1.0, "a": -1.0}, maximize=True)
    with pytest.raises(ValueError, match="must lead downhill, but the slope of f along it is 0"):
        optim.line_search(f, {"a": 1.0, "b": 0.0})
    with pytest.raises(ValueError, match="must have the form of params"):
        optim.line_search(f, {"a": 0.0, "b": 1.0}, {"a": 1.0})


# ---- where it cannot end well --------------------------------------------------------------------


@pytest.mark.parametrize("method", [*SECOND_ORDER, "steepest_descent", "adam"])
def test_a_start_that_is_not_finite_is_refused_or_reported(method):
    with pytest.raises(ValueError, match=r"the start of 'b' must be finite, got nan at \[1, 0\]"):
        optim.minimize(lambda p: (p["b"] ** 2).sum(), {"b": np.array([[1.0], [np.nan]])}, method)
    found = optim.minimize(lambda x: np.log(x).sum(), [-1.0], method)
    assert not found and found.steps == 0 and "not finite at the start" in found.message


@pytest.mark.parametrize("method", [*SECOND_ORDER, "steepest_descent"])
@pytest.mark.parametrize("f", [
    lambda x: x.sum(), lambda x: -(x**2).sum(), lambda x: -np.exp(x).sum()],
    ids=["linear", "top", "exponential"])
def test_a_function_without_a_minimum_ends_without_convergence(f, method):
    found = optim.minimize(f, [1.0, 2.0], method, steps=30)
    assert not found.converged and found.fun < -10


@pytest.mark.parametrize("method", SECOND_ORDER)
def test_a_search_that_cannot_get_lower_says_so(method):
    found = optim.minimize(lambda x: abs(x).sum() + (x**2).sum(), [0.3, -0.2], method, steps=200)
    assert not found or found.fun < 1e-6
    noise = np.random.default_rng(0)
    noisy = optim.minimize(lambda x: (x**2).sum() + noise.standard_normal(), [3.0], method)
    assert noisy.message


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda f: optim.minimize(f, [1.0], "lbfsg"), ValueError, "did you mean 'lbfgs'"),
    (lambda f: optim.minimize(f, [1.0], "adm"), ValueError, "did you mean 'adam'"),
    (lambda f: optim.minimize(f, [1.0], lr=0.1), TypeError, "'lbfgs' has no option 'lr', only"),
    (lambda f: optim.minimize(f, [1.0], memory=0), ValueError, "memory must be at least 1"),
    (lambda f: optim.minimize(f, [1.0], line_search="exact"), ValueError, "'wolfe', 'armijo'"),
    (lambda f: optim.minimize(f, [1.0], "cg", beta="daniel"), ValueError, "beta must be one of"),
    (lambda f: optim.minimize(f, [1.0], "cg", restart=0), ValueError, "restart must be at least"),
    (lambda f: optim.minimize(f, [1.0], steps=-1), ValueError, "steps must be at least 0"),
    (lambda f: optim.minimize(f, [1.0], tol=math.nan), ValueError, "tol must be a finite"),
    (lambda f: optim.minimize(f, [1.0], maximize="no"), TypeError, "maximize must be True or"),
    (lambda f: optim.minimize(f, []), ValueError, "nothing to minimise over"),
    (lambda f: optim.minimize(f, {}), ValueError, "nothing to minimise over"),
    (lambda f: optim.minimize(f, ["a"]), TypeError, "the start must hold numbers"),
    (lambda f: optim.line_search(f, [1.0], first=0), ValueError, "first must be"),
    (lambda f: optim.line_search(f, [1.0], c1=0.5, c2=0.4), ValueError, "c2 must be"),
    (lambda f: optim.line_search(lambda p: f(p["x"]), {"x": [1.0]}, [-1.0]), ValueError,
     "must have the form of params"),
    (lambda f: optim.minimize(lambda x: Tensor(3.0), [1.0]), GraphError, "does not depend on"),
    (lambda f: optim.minimize(f, [1.0], optim.SGD({"x": Tensor([1.0], requires_grad=True)})),
     ValueError, "give SGD without parameters"),
])
def test_what_cannot_be_meant_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(lambda x: (x**2).sum())


def test_an_optimizer_can_be_given_ready_made():
    found = optim.minimize(booth, [0.0, 0.0], optim.Adam(lr=0.3), tol=1e-4)
    assert found
    np.testing.assert_allclose(found.x, [1, 3], atol=1e-3)


def test_an_error_in_f_names_what_it_was_given():
    for params, name in [(np.zeros(2), "x"), ({"a": np.zeros(2)}, "a")]:
        with pytest.raises(ValueError, match=rf"matmul of {name} \(2,\) and \(3,\)"):
            optim.minimize(lambda x: (x["a"] if isinstance(x, dict) else x) @ np.ones(3), params)
