"""Functions of named parameters in the hands of scipy.optimize."""

import subprocess
import sys

import numpy as np
import pytest

from tinygrad_opt import GraphError, ShapeError, Tensor, nn, optim

START = {"x": np.array([-1.2, 1.0]), "y": np.array([[1.0], [-0.5]])}


def rosenbrock(p):
    """Two of them at once, in parameters of two shapes; the minimum is at 1."""
    y = p["y"][:, 0]
    return ((1 - p["x"]) ** 2 + 100 * (y - p["x"] ** 2) ** 2).sum()


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "Newton-CG", "trust-ncg", "CG", "SLSQP",
                                    "trust-krylov", "trust-constr"])
def test_scipy_reaches_the_minimum(method):
    optimize = pytest.importorskip("scipy.optimize")
    fun, jac, hessp, x0, unflatten = optim.as_scipy(rosenbrock, START)
    curved = method in ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr")
    found = optimize.minimize(fun, x0, jac=jac, method=method, hessp=hessp if curved else None,
                              tol=1e-8)
    end = unflatten(found.x)
    assert end.keys() == START.keys() and end["y"].shape == (2, 1)
    for value in end.values():
        np.testing.assert_allclose(value, 1, atol=1e-4)


def test_derivatives_are_those_of_scipys_rosenbrock():
    optimize = pytest.importorskip("scipy.optimize")
    problem = optim.as_scipy(
        lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(),
        [1.3, 0.7, 0.8, 1.9])
    x, p = problem.x0, np.array([1.0, -2.0, 0.5, 3.0])
    assert problem.fun(x) == pytest.approx(optimize.rosen(x), rel=1e-13)
    np.testing.assert_allclose(problem.jac(x), optimize.rosen_der(x), rtol=1e-12)
    np.testing.assert_allclose(problem.hessp(x, p), optimize.rosen_hess_prod(x, p), rtol=1e-12)
    assert optimize.check_grad(problem.fun, problem.jac, x) < 1e-4


def test_residuals_and_their_jacobian():
    optimize = pytest.importorskip("scipy.optimize")
    t = np.linspace(0, 2, 12)
    measured = 2 * np.exp(-1.5 * t) + 0.25

    def residuals(p):
        return p["height"] * np.exp(-p["rate"] * t) + p["rest"] - measured

    problem = optim.as_scipy(residuals, {"height": 1.0, "rate": 0.5, "rest": np.zeros(1)})
    assert problem.jac(problem.x0).shape == (12, 3)
    numeric = optimize.approx_fprime(problem.x0, problem.fun)
    np.testing.assert_allclose(problem.jac(problem.x0), numeric, atol=1e-6)
    for method in "lm", "trf", "dogbox":
        found = optimize.least_squares(problem.fun, problem.x0, problem.jac, method=method)
        end = problem.unflatten(found.x)
        assert [round(float(v.item()), 6) for v in end.values()] == [2, 1.5, 0.25]
    with pytest.raises(GraphError, match="one entry"):
        problem.hessp(problem.x0, problem.x0)


def test_a_layers_weights_fitted_by_least_squares():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    x, layer = rng.normal(size=(20, 3)), nn.Linear(3, 2, rng=0, dtype=np.float32)
    y = x @ np.arange(6.0).reshape(3, 2) + 1
    before = layer.state_dict()
    problem = optim.as_scipy(lambda p: x @ p["weight"] + p["bias"] - y, layer.parameters())
    found = optimize.least_squares(problem.fun, problem.x0, problem.jac)
    assert problem.x0.dtype == np.float64
    assert all((layer.state_dict()[name] == before[name]).all() for name in before)
    layer.load_state_dict(problem.unflatten(found.x))
    np.testing.assert_allclose(layer(x).data, y, rtol=1e-5)


def test_everything_is_computed_once_at_each_x():
    calls = []

    def f(x):
        calls.append(x)
        return (x**4).sum()

    fun, jac, hessp, x0, _ = optim.as_scipy(f, np.array([1.0, 2.0]))
    calls.clear()
    x = x0 + 1
    fun(x), jac(x), hessp(x, x0), hessp(x, x)
    assert len(calls) == 1
    x += 1                                             # the same array with other numbers in it
    assert fun(x) == pytest.approx(3**4 + 4**4) and len(calls) == 2
    slope = jac(x)
    slope[:] = 0
    np.testing.assert_allclose(jac(x), [4 * 27, 4 * 64])


def test_numbers_arrays_and_tensors_keep_their_form():
    for start in 2.0, [2.0, 1.0], Tensor([[2.0, 3.0]]):
        problem = optim.as_scipy(lambda x: (x * x).sum(), start)
        back = problem.unflatten(problem.x0)
        assert back.shape == np.shape(getattr(start, "data", start)) and back.dtype == np.float64
        back[...] = 7
        assert (problem.x0 != 7).all()
    assert optim.as_scipy(lambda x: x * 3, [1.0]).hessp([1.0], [1.0]) == 0       # f is linear


def test_what_cannot_be_is_said():
    with pytest.raises(GraphError, match="must return a Tensor, got float"):
        optim.as_scipy(lambda x: 3.0, [1.0])
    with pytest.raises(GraphError, match="does not depend"):
        optim.as_scipy(lambda x: Tensor([1.0]), [1.0])
    with pytest.raises(ValueError, match="nothing to minimise"):
        optim.as_scipy(lambda p: p, {})
    problem = optim.as_scipy(lambda x: (x * x).sum(), [1.0, 2.0])
    for call in problem.fun, problem.jac, problem.unflatten, lambda x: problem.hessp(problem.x0, x):
        with pytest.raises(ShapeError, match=r"shape \(2,\).*got \(3,\)"):
            call(np.zeros(3))


def test_scipy_is_not_imported():
    code = ("import sys, tinygrad_opt as tg; p = tg.optim.as_scipy(lambda x: x * x, 3.0);"
            "print(p.fun(p.x0), p.jac(p.x0), 'scipy' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "9.0 [6.] False\n"
