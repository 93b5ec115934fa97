"""Derivatives of functions against results found by hand, and against each other."""

import functools
import math

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import ops
from tinygrad_opt.errors import GradientError, GraphError, ShapeError

A = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [1.5, 0.25, -2.0]])
P = np.array([0.5, -1.25, 2.0])


def quadratic(x):
    return x @ A @ x


def bumpy(x):
    return (np.sin(x) * np.exp(x[::-1] * 0.5)).sum() + np.prod(x)


# ---- results -------------------------------------------------------------------------------------


def test_gradient_hessian_and_hessian_product_of_a_quadratic_form():
    np.testing.assert_allclose(tg.grad(quadratic)(P), (A + A.T) @ P, rtol=1e-14)
    np.testing.assert_allclose(tg.hessian(quadratic)(P), A + A.T, rtol=1e-14)
    np.testing.assert_allclose(tg.hvp(quadratic)(P, [1.0, 2.0, 3.0]), (A + A.T) @ [1, 2, 3],
                               rtol=1e-14)


def test_value_and_gradient_come_from_one_run():
    runs = []
    value, slope = tg.value_and_grad(lambda x: (runs.append(1), (x * x).sum())[1])(P)
    assert len(runs) == 1
    assert type(value) is np.ndarray and value == np.sum(P * P)
    np.testing.assert_array_equal(slope, 2 * P)


def test_jacobian_has_the_shape_of_the_result_and_then_of_the_argument():
    x = np.arange(6.0).reshape(2, 3)
    found = tg.jacobian(lambda x: A @ x.T)(x)
    expected = np.einsum("ik,jl->ijlk", A, np.eye(2))
    np.testing.assert_array_equal(found, expected)
    assert tg.jacobian(lambda x: x[:0])(P).shape == (0, 3)
    assert tg.jacobian(np.sum)(P).shape == (3,)


def test_jacobian_of_a_dict_is_a_dict():
    found = tg.jacobian(lambda x: {"double": 2 * x, "sum": x.sum()})(P)
    np.testing.assert_array_equal(found["double"], 2 * np.eye(3))
    np.testing.assert_array_equal(found["sum"], np.ones(3))


def test_jacobian_rows_are_gradients_and_the_hessian_is_the_jacobian_of_the_gradient():
    rows = [tg.grad(lambda x, i=i: np.tanh(A @ x)[i])(P) for i in range(3)]
    np.testing.assert_array_equal(tg.jacobian(lambda x: np.tanh(A @ x))(P), rows)
    curvature = tg.hessian(bumpy)(P)
    np.testing.assert_array_equal(curvature, tg.jacobian(tg.grad(bumpy))(P))
    np.testing.assert_allclose(curvature, curvature.T, rtol=1e-13)
    products = [tg.hvp(bumpy)(P, v) for v in np.eye(3)]
    np.testing.assert_allclose(products, curvature, rtol=1e-13)


# ---- forms of arguments --------------------------------------------------------------------------


def test_the_gradient_has_the_form_of_the_argument():
    f = lambda x: (x * x).sum()
    assert type(tg.grad(f)(P)) is np.ndarray
    assert type(tg.grad(f)(tg.Tensor(P))) is tg.Tensor
    assert tg.grad(f)({"a": P}.get("a")).dtype == np.float64
    assert tg.grad(f)(P.astype(np.float32)).dtype == np.float32
    assert tg.grad(f)(3.0) == 6 and tg.grad(f)([1.0, 2.0]).tolist() == [2, 4]


def test_a_dict_of_arguments_gives_dicts_at_every_order():
    f = lambda w: (w["a"] ** 2 * w["b"]).sum()
    w = {"a": np.array([3.0]), "b": np.array([5.0])}
    assert {k: float(v[0]) for k, v in tg.grad(f)(w).items()} == {"a": 30, "b": 9}
    curvature = tg.hessian(f)(w)
    assert {i: {j: h.item() for j, h in row.items()} for i, row in curvature.items()} == {
        "a": {"a": 10, "b": 6}, "b": {"a": 6, "b": 0}}
    assert tg.hvp(f)(w, {"a": np.array([1.0]), "b": np.array([2.0])})["a"] == 10 + 2 * 6


def test_argnums_choose_arguments_and_tuples_give_tuples():
    f = lambda x, y, scale=1.0: scale * x * x * y
    assert tg.grad(f)(3.0, 5.0) == 30
    assert tg.grad(f, 1)(3.0, 5.0) == 9
    assert tg.grad(f, -1)(3.0, 5.0) == 9
    assert tg.grad(f, (1, 0))(3.0, 5.0, scale=2.0) == (18, 60)
    assert tg.jacobian(f, (0, 1))(3.0, 5.0) == (30, 9)
    assert tg.hessian(f, 0)(3.0, 5.0) == 10
    assert tg.hvp(f, 1)(3.0, 5.0, 1.0) == 0
    assert tg.value_and_grad(f, (0,))(3.0, 5.0) == (45, (30,))


@pytest.mark.parametrize("several", [(0, 2), [0, 2], [np.int64(0), np.int8(2)], (-3, 2)])
def test_several_arguments_are_named_in_a_tuple_or_a_list(several):
    def f(a, b, c):
        return a**2 * b * c

    point = 3.0, 5.0, 7.0
    assert [float(g) for g in tg.grad(f, several)(*point)] == [210, 45]
    assert [float(g) for g in tg.value_and_grad(f, several)(*point)[1]] == [210, 45]
    assert [float(g) for g in tg.jacobian(f, several)(*point)] == [210, 45]
    assert [[float(h) for h in row] for row in tg.hessian(f, several)(*point)] == [
        [70, 30], [30, 0]]
    assert float(tg.grad(f, np.int64(1))(*point)) == float(tg.grad(f, np.uint8(1))(*point)) == 63
    assert float(tg.hvp(f, np.int64(0))(*point, 1.0)) == 70


FORMS = [tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("argnums", ["0", 0.0, None, True, (0, 1.0), [False], np.array([0, 1]),
                                     {0}, ((0,), 1)])
def test_argnums_of_another_type_are_refused_when_they_are_given(form, argnums):
    with pytest.raises(TypeError, match="argnums is the number of an argument, or a tuple or list"):
        form(quadratic, argnums)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_an_argument_named_twice_is_refused(form):
    for argnums in [(0, 0), [1, 0, 1], (-1, np.int64(-1))]:
        with pytest.raises(ValueError, match=f"argnums name argument {argnums[-1]} twice"):
            form(quadratic, argnums)
    with pytest.raises(ValueError, match="argnums name argument 1 twice"):
        form(lambda a, b: a * b, (1, -1))(2.0, 3.0)


@pytest.mark.parametrize("form", [*FORMS, tg.hvp], ids=lambda form: form.__name__)
def test_only_functions_are_differentiated(form):
    with pytest.raises(TypeError, match=r"only functions have derivatives, got 3: .*grad\(f\)"):
        form(3)
    with pytest.raises(TypeError, match="differentiates one argument, got argnum=\\[0\\]"):
        tg.hvp(quadratic, [0])


def test_integer_arguments_become_floats():
    slope = tg.grad(lambda x: (x**2).sum())(np.array([1, 2, 3]))
    np.testing.assert_array_equal(slope, [2, 4, 6])
    assert slope.dtype.kind == "f"
    assert tg.grad(lambda x: x**2)(3) == 6


def test_constant_functions_have_gradient_zero():
    np.testing.assert_array_equal(tg.grad(lambda x: tg.Tensor(3.0))(P), np.zeros(3))
    np.testing.assert_array_equal(tg.grad(lambda x, y: tg.Tensor(y).sum())(P, P), np.zeros(3))
    np.testing.assert_array_equal(tg.hessian(lambda x: x.sum())(P), np.zeros((3, 3)))
    np.testing.assert_array_equal(tg.jacobian(lambda x: tg.Tensor([1.0, 2.0]))(P), np.zeros((2, 3)))


def test_what_is_passed_in_is_not_touched():
    x, given = P.copy(), tg.Tensor(P, requires_grad=True)
    tg.hessian(bumpy)(x)
    tg.hessian(bumpy)(given)
    np.testing.assert_array_equal(x, P)
    assert given.grad is None and given.op is None


def test_a_differentiated_function_keeps_its_name_and_words():
    def energy(x):
        """In joules."""
        return (x * x).sum()

    assert tg.grad(energy).__name__ == "energy" and tg.grad(energy).__doc__ == "In joules."


# ---- nesting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(1, 6))
def test_derivatives_of_sine_up_to_the_fifth(order):
    derivative = functools.reduce(lambda f, _: tg.grad(f), range(order), np.sin)
    for x in (-2.0, 0.3, 1.0):
        assert math.isclose(derivative(x), math.sin(x + order * math.pi / 2), rel_tol=1e-6)


def test_derivatives_of_a_power_up_to_zero():
    f, expected = lambda x: x**4, [16, 32, 48, 48, 24, 0]
    for value in expected:
        assert float(f(np.array(2.0))) == value
        f = tg.grad(f)


def test_inner_and_outer_variables_are_not_confused():
    """d/dx (x · d/dy (x + y)) = d/dx x = 1; engines that mix the two levels up say 2."""
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(x))(5.0) == 1
    assert tg.grad(lambda x: x * tg.grad(lambda y: x * y)(2.0))(5.0) == 10
    assert tg.grad(lambda x: tg.grad(lambda y: x * x * y * y)(x))(3.0) == 6 * 9


def test_the_inner_derivative_counts_only_what_passes_through_its_own_argument():
    assert tg.grad(lambda x: tg.grad(lambda y: y * x)(x))(5.0) == 1
    shared = tg.Tensor(2.0, requires_grad=True, dtype=np.float64)
    assert tg.grad(lambda y: y * shared)(shared).item() == 2


def test_gradients_reach_outer_variables_through_a_closure():
    w = tg.Tensor([2.0, 3.0], requires_grad=True, dtype=np.float64)
    slope = tg.grad(lambda x: (w * x * x).sum())(tg.Tensor([5.0, 7.0], requires_grad=True,
                                                           dtype=np.float64))
    np.testing.assert_array_equal(slope.data, [20, 42])
    slope.sum().backward()                                 # Σ 2wx by w is 2x
    np.testing.assert_array_equal(w.grad, [10, 14])


def test_gradient_penalties_train():
    """The norm of an input gradient, differentiated by the weights."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 3)), rng.normal(size=(3, 2))

    def penalty(w):
        return np.linalg.norm(tg.grad(lambda x: np.tanh(x @ w).sum())(x))

    assert tg.gradcheck(penalty, w)


def test_derivatives_work_inside_no_grad():
    with tg.no_grad():
        np.testing.assert_array_equal(tg.grad(lambda x: (x**3).sum())(P), 3 * P**2)
        np.testing.assert_array_equal(tg.hessian(lambda x: (x**3).sum())(P), np.diag(6 * P))


def test_an_error_inside_a_function_leaves_later_derivatives_right():
    def broken(x):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        tg.grad(tg.grad(broken))(1.0)
    assert type(tg.grad(lambda x: (x * x).sum())(P)) is np.ndarray


def test_backward_twice_agrees_with_the_functional_forms():
    x = tg.Tensor(P, requires_grad=True)
    bumpy(x).backward(create_graph=True)
    slope, x.grad = x.grad, None
    (slope * [1.0, 2.0, 3.0]).sum().backward()
    np.testing.assert_allclose(x.grad, tg.hvp(bumpy)(P, [1.0, 2.0, 3.0]), rtol=1e-13)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, error, words", [
    (lambda: tg.grad(lambda x: x * 2)(P), GraphError,
     r"one entry, got a Tensor of shape \(3,\).*jacobian"),
    (lambda: tg.grad(lambda x: 3.0)(P), GraphError, "got float, which has no graph"),
    (lambda: tg.grad(lambda x: x.data.sum())(P), GraphError,
     r"was \.data or float\(\) used inside"),
    (lambda: tg.grad(lambda x, y: y.sum())(P, P), GraphError, "got float64, which has no graph"),
    (lambda: tg.grad(lambda x: None)(P), GraphError, "got NoneType"),
    (lambda: tg.jacobian(lambda x: x.data)(P), GraphError, "jacobian.*got ndarray"),
    (lambda: tg.grad(quadratic, 1)(P), TypeError, "argnums=1, but quadratic was given 1 argument"),
    (lambda: tg.grad(quadratic)(), TypeError, "quadratic was given 0 arguments"),
    (lambda: tg.hvp(quadratic)(P, np.ones(2)), ShapeError, r"v of shape \(3,\), got \(2,\)"),
    (lambda: tg.hvp(lambda w: w["a"].sum())({"a": P}, {"b": P}), GraphError, "the same names"),
    (lambda: tg.hvp(lambda w: w["a"].sum())({"a": P}, P), GraphError, "the same names"),
    (lambda: tg.grad(lambda x: x.sum())("text"), TypeError, "a Tensor holds real numbers"),
    (lambda: tg.grad(lambda x: x.sum())(np.array([1j])), TypeError, "a Tensor holds real numbers"),
])
def test_misuse_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


# ---- gradcheck -----------------------------------------------------------------------------------


def with_rule(rule, kernel=np.tanh):
    return tg.op("wrong", kernel, rule)


@pytest.mark.parametrize("f, point, cause", [
    (with_rule(lambda g, z, x: -g * (1 - z * z)), P, "a sign"),
    (with_rule(lambda g, z, x: 3 * g * (1 - z * z)), P, r"a constant factor: .* times 0\.333333"),
    (with_rule(lambda g, z, x: 0 * g), P, "the graph is cut"),
    (with_rule(lambda g, z, x: g / (x - x)), P, "divides by zero"),
    (with_rule(lambda g, z, x: g * x), P, "not the derivative of this kernel"),
    (with_rule(lambda g, z, x: np.where(x < 1, g * (1 - z * z), g)), P, "only some entries"),
    (lambda x: with_rule(lambda g, z, x: (2 * g * x).mT, np.square)(x), A, "a transpose"),
    (lambda x: tg.Tensor(np.tanh(x.data)) + 0 * x, P, "the graph is cut"),
    (with_rule(lambda g, z, x: 1 - z * z), P, ""),         # ignores the gradient it is given
])
def test_gradcheck_finds_a_wrong_gradient_and_says_what_is_likely(f, point, cause):
    with pytest.raises(GradientError, match=rf"gradients differ; worst at input 0.*{cause}"):
        tg.gradcheck(f, point)
    result = tg.gradcheck(f, point, raises=False)
    assert not result and not result.ok and result.error > 1 and result.cause


def test_gradcheck_names_the_worst_entry_and_both_numbers():
    def rule(g, z, x, y):
        part = g * x
        return part + np.where(np.arange(3) == 1, 0.5, 0.0)

    wrong = tg.op("wrong", np.multiply, lambda g, z, x, y: g * y, rule)
    result = tg.gradcheck(wrong, P, np.ones(3), raises=False)
    assert result.worst == "input 1[1]"
    assert math.isclose(result.analytic - result.numeric, 0.5, rel_tol=1e-6)
    assert "worst at input 1[1]: engine" in str(result) and "finite difference" in str(result)


def test_gradcheck_agrees_and_says_so():
    result = tg.gradcheck(bumpy, P)
    assert result and result.cause == "" and result.error <= 1
    assert str(result).startswith("gradients agree; worst at input 0[")


@pytest.mark.parametrize("f, point, kinks", [
    (ops.relu, [-1.0, 0.0, 2.0], ["input 0[1]"]),
    (np.abs, [0.0, 1.0], ["input 0[0]"]),
    (lambda x: np.maximum(x, 1.0), [1.0], ["input 0[0]"]),
    (np.max, [3.0, 3.0, 1.0], ["input 0[0]", "input 0[1]"]),
    (lambda x: np.clip(x, 0, 1), [0.0, 0.5, 1.0], ["input 0[0]", "input 0[2]"]),
    (np.tanh, [0.0, 1.0], []),
])
def test_gradcheck_knows_kinks(f, point, kinks):
    result = tg.gradcheck(f, np.array(point))
    assert result.kinks == kinks
    assert not kinks or f"Kinks left out: {kinks[0]}" in str(result)


def test_a_slope_that_lies_on_neither_side_of_a_kink_is_wrong():
    with pytest.raises(GradientError):
        tg.gradcheck(with_rule(lambda g, z, x: g * np.where(x == 0, 2.0, np.sign(x)), np.abs),
                     np.array([0.0, 1.0]))


def test_gradcheck_leaves_the_callers_arrays_alone():
    x, t = P.copy(), tg.Tensor(P, requires_grad=True)
    x.flags.writeable = False
    assert tg.gradcheck(bumpy, x) and tg.gradcheck(bumpy, t)
    np.testing.assert_array_equal(t.data, P)
    assert t.grad is None and t.dtype == np.float64


def test_gradcheck_computes_in_float64_whatever_it_is_given():
    """A step of 1e-6 in float32 would read the slope of x² at 3 as 5.72."""
    single = tg.Tensor(np.array([3.0], np.float32), requires_grad=True)
    assert math.isclose(tg.gradcheck(np.square, single).numeric / 6, 1.0, rel_tol=0.51)
    assert tg.gradcheck(np.square, P.astype(np.float32))
    assert tg.gradcheck(np.square, np.array([1, 2]))
    assert single.dtype == np.float32


def test_gradcheck_works_inside_no_grad():
    with tg.no_grad():
        assert tg.gradcheck(bumpy, P)


def test_gradcheck_refuses_what_it_cannot_check():
    rng = np.random.default_rng(0)
    with pytest.raises(GraphError, match="is f random"):
        tg.gradcheck(lambda x: x * rng.normal(), P)
    with pytest.raises(GraphError, match="returns a Tensor, got ndarray"):
        tg.gradcheck(lambda x: x.data, P)


def test_gradcheck_of_nothing_agrees():
    assert tg.gradcheck(lambda x: x * 2, np.zeros((0, 3)))
    assert tg.gradcheck(lambda x: x * 2, 1.5)
