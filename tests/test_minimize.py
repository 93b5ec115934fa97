"""Minimising functions: conjugate gradients and the other methods, and where each of them ends."""

import numpy as np
import pytest

from tinygrad_opt import Tensor, optim
from tinygrad_opt.errors import GraphError


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_conjugate_gradients_solve_a_quadratic_in_at_most_n_steps(n):
    rng = np.random.default_rng(n)
    root = rng.standard_normal((n, n))
    a, b = root @ root.T + np.eye(n), rng.standard_normal(n)
    found = optim.conjugate_gradient(
        lambda x: 0.5 * (x @ (Tensor(a) @ x.reshape(n, 1))).sum() - (x * b).sum(), np.zeros(n))
    assert found.converged and found.steps <= n
    np.testing.assert_allclose(found.params, np.linalg.solve(a, b), rtol=1e-7, atol=1e-9)
    assert len(found.path) == len(found.values) == found.steps + 1


def rosenbrock(p):
    return ((1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2).sum()


def test_conjugate_gradients_solve_rosenbrock_over_a_dict():
    start = {"x": np.array([-1.2]), "y": np.array([1.0])}
    found = optim.conjugate_gradient(rosenbrock, start)
    assert found.converged and found.steps < 100
    np.testing.assert_allclose([found.params["x"][0], found.params["y"][0]], 1, rtol=1e-6)
    assert start["x"][0] == -1.2
    assert all(b <= a * (1 + 1e-12) for a, b in zip(found.values, found.values[1:]))


@pytest.mark.parametrize("method", ["adam", "nag", "cg", optim.RMSprop])
def test_minimize_follows_any_method_to_the_bottom(method):
    options = {} if method == "cg" else {"lr": lambda t: 0.1 / (1 + 0.02 * t)}
    found = optim.minimize(lambda x: ((x - 2) ** 2).sum(), [0.0, 5.0], method, steps=2000,
                           tol=1e-3, **options)
    assert found and found.value == found.values[-1] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.params, 2, atol=1e-3)


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
