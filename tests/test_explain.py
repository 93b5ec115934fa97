"""What flows along each arrow, the readable derivatives, formulas, and explained gradients."""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.errors import GraphError
from tinygrad_opt.tensor import backward_pass, first_gradient
from tinygrad_opt.viz import explain, formula
from tinygrad_opt.viz.graph.flow import flow


def network():
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.normal(size=(6, 2)), name="x")
    model = tg.nn.MLP([2, 4, 3], activation="tanh", rng=0)
    return tg.nn.cross_entropy(model(x), rng.integers(0, 3, 6)), model.parameters()


def reused():
    w = tg.Tensor([[1.0, -2.0]], requires_grad=True, name="w")
    y = w * np.ones((3, 2)) + w
    return (y * y * w).mean(), {"w": w}


@pytest.mark.parametrize("graph", [network, reused])
def test_the_parts_add_up_to_the_gradients_of_the_walk_bit_for_bit(graph):
    loss, _ = graph()
    expected = backward_pass(loss, first_gradient(loss))
    run = flow(loss)
    assert run.gradients.keys() == expected.keys()
    for t, g in expected.items():
        assert np.array_equal(run.gradients[t], g)
        if t is not loss:
            assert np.array_equal(run.into(t)[-1].total, g)


def test_a_hook_runs_once_and_its_gradient_flows_on():
    x = tg.Tensor(3.0, requires_grad=True)
    y = x * x
    calls = []
    y.register_hook(lambda g: calls.append(g) or 10 * g)
    run = flow(y * 2)
    assert len(calls) == 1
    assert float(run.gradients[x]) == 120.0
    assert x.grad is None


def test_a_value_changed_after_the_forward_pass_is_refused_by_name():
    x = tg.Tensor(3.0, requires_grad=True, name="speed")
    y = x * x
    x.data = 4.0
    with pytest.raises(GraphError, match="speed"):
        flow(y)


# ---- explain -------------------------------------------------------------------------------------


def test_each_use_its_part_the_sum_and_the_difference_are_told():
    a = tg.Tensor(2.0, requires_grad=True, name="a")
    text = str(explain(a * a + 3 * a, a))
    assert "a sum of 3 parts" in text
    assert "sum: 3 + 2 + 2 = 7" in text
    assert "finite difference: 7 (engine 7)" in text


@pytest.mark.parametrize("graph", [network, reused])
def test_finite_differences_agree_with_the_engine(graph):
    loss, parameters = graph()
    for p in parameters.values():
        compared = explain(loss, p).compared
        assert compared
        for which, engine, difference in compared:
            assert difference == pytest.approx(engine, rel=2e-5, abs=1e-7), which


def test_a_wrong_rule_shows_in_the_finite_difference():
    wrong = tg.op("x³", lambda x: x**3, lambda g, z, x: g * 2 * x**2)
    x = tg.Tensor(2.0, requires_grad=True)
    [(_, engine, difference)] = explain(wrong(x), x).compared
    assert engine == 8
    assert difference == pytest.approx(12)


def test_a_tensor_that_the_loss_does_not_depend_on_is_named():
    a, b = (tg.Tensor(2.0, requires_grad=True, name=n) for n in "ab")
    with pytest.raises(GraphError, match="no gradient for b"):
        explain(a * a, b)
    with pytest.raises(TypeError, match="explain\\(\\) takes Tensors, got float"):
        explain(a * a, 2.0)


def test_a_chain_of_five_thousand_is_explained_without_recursion():
    x = y = tg.Tensor(0.5, requires_grad=True)
    for _ in range(5000):
        y = y * 1.0001
    assert explain(y, x).compared[0][2] == pytest.approx(1.0001**5000, rel=1e-3)


# ---- formulas ------------------------------------------------------------------------------------


def test_a_formula_becomes_a_graph_with_named_leaves():
    f = formula.parse("tanh(a*b + c)", a=2, b=-3, c=10)
    f.backward()
    assert float(f) == pytest.approx(np.tanh(4.0))
    leaves = {t.name: float(t.grad) for t in tg.history(f) if t.op is None}
    slope = 1 - np.tanh(4.0) ** 2
    assert leaves == pytest.approx({"a": -3 * slope, "b": 2 * slope, "c": slope}, rel=1e-3)


def test_arrays_options_and_comparisons_are_understood():
    x = np.array([[1.0, -2.0], [3.0, 4.0]])
    assert formula.parse("sum(where(x > 0, x, 0.5*x), axis=0)", x=x).tolist() == [4.0, 3.0]


@pytest.mark.parametrize("text, message", [
    ("__import__('os').system('true')", "not a known function"),
    ("a.data", "not part of a formula"),
    ("(lambda: 1)()", "not a known function"),
    ("[a for a in a]", "not part of a formula"),
    ("a[0]", "not part of a formula"),
    ("a if a else a", "not part of a formula"),
    ("a and a", "not part of a formula"),
    ("'text' + a", "not a real number"),
    ("1j * a", "not a real number"),
    ("a + q", "'q' in the formula .* has no value; give it one: q=1.5"),
    ("tanh + a", "needs its argument in parentheses"),
    ("tanh(a, a)", "needs 1 argument, got 2"),
    ("sum(a, out=a)", "has the option 'out'"),
    ("tanh(a", "cannot read the formula"),
    ("a +", "cannot read the formula 'a \\+' to its end: invalid syntax"),
    ("a b", "at character 3: invalid syntax"),
    ("", "cannot read the formula"),
    ("a << 2", "operator that is not part of a formula"),
    ("a" + " + a" * 20_000, "may have 10,000 characters"),
    ("-" * 5000 + "a", "nested too deeply|cannot read"),
    ("(" * 5000 + "a" + ")" * 4000, "nested too deeply|cannot read"),
    ("logsumexp(3, axis=1) + a", r"'logsumexp\(3, axis=1\)' in the .* be computed: .*axis 1"),
    ("a + sum(a, axis=7)", r"'sum\(a, axis=7\)' in the formula .* cannot be computed: .* axis 7"),
    ("sum(a, axis=1.5)", "cannot be computed: .* integer"),
    ("sum(a, axis={[]: 1})", "is not a number, True, False, None or a tuple of integers"),
    ("sum(a, axis={0: 1})", "is not a number, True, False, None or a tuple of integers"),
    ("sum(a, axis=(0, 'x'))", "is not a number, True, False, None or a tuple of integers"),
    ("sum(*a)", r"'sum\(\*a\)' in the formula .* unpacks its arguments"),
    ("sum(**a)", "unpacks its arguments"),
])
def test_what_is_no_formula_is_refused_with_the_reason(text, message):
    with pytest.raises(ValueError, match=message):
        formula.parse(text, a=1.0)


@pytest.mark.parametrize("sign, value", [(" + ", 2001.0), (" - ", -1999.0), (" * ", 1.0)])
def test_a_sum_may_have_thousands_of_terms(sign, value):
    f = formula.parse(sign.join(["a"] * 2001), a=1.0)
    f.backward()
    (leaf,) = (t for t in tg.history(f) if t.op is None)
    assert float(f) == value and float(leaf.grad) == (2001.0 if sign == " * " else value)


def test_a_tower_of_powers_overflows_at_once_instead_of_growing_for_ever():
    assert float(formula.parse("9**9**9**9 * a", a=1.0)) == np.inf


def test_functions_of_arrays_take_numbers():
    assert float(formula.parse("softmax(3) + sum(2) * a", a=1.0)) == 3.0


def test_a_value_for_a_name_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'b' has a value but is not in the formula"):
        formula.parse("a + 1", a=1, b=2)
