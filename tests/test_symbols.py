"""Rules run on symbols: their text, their values, their in-place calls."""

import numpy as np
import pytest

from tinygrad_opt import Tensor, ops, optim
from tinygrad_opt.symbols import (
    LATEX,
    InPlace,
    Trace,
    Untraceable,
    assignments,
    text,
    written,
)

SHAPES = {"x": (2, 3), "y": (3, 4), "z": (2, 4), "g": (2, 4)}


def symbols(*names, shapes=None):
    trace, rng = Trace(), np.random.default_rng(0)
    return [trace.symbol(n, rng.uniform(0.2, 0.8, (shapes or {}).get(n, (2, 3)))) for n in names]


def vjp(op, i, *inputs, shapes=None, **attrs):
    """The text of one vector-Jacobian product of a row of the operator table."""
    g, z, *rest = symbols("g", "z", *inputs, shapes=shapes)
    return text(op.vjps[i](g, z, *rest, **attrs))


@pytest.mark.parametrize(("row", "i", "said"), [
    ("add", 0, "g"), ("subtract", 1, "−g"), ("multiply", 0, "g · y"), ("divide", 0, "g / y"),
    ("divide", 1, "−g · z / y"), ("power", 0, "g · y · x^(y − 1)"), ("power", 1, "g · z · log(x)"),
    ("sqrt", 0, "g / (2 · z)"), ("tanh", 0, "g · (1 − z · z)"), ("sigmoid", 0, "g · z · (1 − z)"),
    ("silu", 0, "g · (σ(x) + z · (1 − σ(x)))"), ("relu", 0, "g · [z ≠ 0]"),
    ("leaky_relu", 0, "g where x > 0, else 0.01 · g"), ("arcsin", 0, "g / √(1 − x · x)"),
    ("hypot", 0, "g · x / z"), ("softmax", 0, "z · (g − Σ(g · z))"),
    ("log_softmax", 0, "g − exp(z) · Σ(g)"), ("absolute", 0, "g · sign(x)"),
    ("maximum", 1, "g / 2 where y = x, else g where y > x, else 0"),
])
def test_a_vjp_says_what_it_computes(row, i, said):
    op = ops.TABLE[row]
    assert vjp(op, i, *"xy"[: len(op.vjps)]) == said


def test_shapes_decide_what_a_vjp_says():
    assert vjp(ops.matmul, 0, "x", "y", shapes=SHAPES) == "g @ yᵀ"
    assert vjp(ops.matmul, 1, "x", "y", shapes=SHAPES) == "xᵀ @ g"
    assert vjp(ops.mean, 0, "x", shapes={"g": ()}) == "g / 6"
    assert vjp(ops.var, 0, "x", shapes={"g": (2,)}, axis=1) == "g · 2 · (x − mean x) / 3"
    assert vjp(ops.max, 0, "x", shapes={"g": (), "z": ()}) == "g / Σ([x = z]) where x = z, else 0"


def test_a_text_holds_together_in_both_notations():
    x, y = symbols("x", "y")
    for expression, unicode, latex in [
        ((x + y) * x, "(x + y) · x", r"\left(x + y\right)\,x"),
        (x - (y - x), "x − (y − x)", r"x - \left(y - x\right)"),
        (x / (y * x), "x / (y · x)", r"\frac{x}{y\,x}"),
        (-(x + y), "−(x + y)", r"-\left(x + y\right)"),
        ((-x) ** 2, "(−x)²", r"\left(-x\right)^{2}"),
        (x ** (y + 1), "x^(y + 1)", "x^{y + 1}"),
        (np.sqrt(x + 1), "√(x + 1)", r"\sqrt{x + 1}"),
        (np.abs(x - y), "|x − y|", r"\left|x - y\right|"),
        (np.maximum(x, 0), "max(x, 0)", r"\max\left(x, 0\right)"),
        (ops.sigmoid(x) * 2, "σ(x) · 2", r"\sigma(x)\,2"),
        (np.where(x > 0, x, 2.0), "x where x > 0, else 2",
         r"x\text{ where }x > 0\text{, else }2"),
    ]:
        assert text(expression) == unicode
        assert text(expression, LATEX) == latex


def test_numbers_stand_where_the_names_stood():
    trace = Trace()
    a, b = trace.symbol("a", np.array(2.0)), trace.symbol("b", np.array(-0.5))
    z = a * b + np.sqrt(a + 2)
    assert text(z, numbers=True) == "2 · (-0.5) + √(2 + 2)"
    assert z.array == 1.0


def test_a_call_is_written_from_operands_that_are_written():
    total = written(ops.add, [("a", 6), ("b", 6)])
    assert written(ops.multiply, [total, ("c", 6)])[0] == "(a + b) · c"
    assert written(ops.tanh, [total])[0] == "tanh(a + b)"


def test_a_text_that_would_explode_is_cut():
    (x,) = symbols("x")
    for _ in range(200):
        x = x * x + x
    assert len(text(x)) < 2000


def test_numbers_stay_weak_beside_arrays():
    trace = Trace()
    x = trace.symbol("x", np.ones(3, np.float32))
    rate = trace.symbol("lr", 0.1)
    assert (np.sqrt(1 - rate**2) * x).dtype == np.float32


def test_assignments_name_the_steps_and_read_old_values_before_they_change():
    trace = Trace(keep_frames=True)
    p, v, lr = (trace.symbol(n, np.array(0.5)) for n in ("p", "v", "lr"))

    def rule(p, v):
        ahead = p + v
        v = v * 0.5
        return ahead - lr, v

    p_new, v_new = rule(p, v)
    trace.name_locals()
    lines = [f"{name} ← {text(x)}" for name, x in assignments({"p": p_new, "v": v_new})]
    assert lines == ["ahead ← p + v", "v ← v · 0.5", "p ← ahead − η"]
    lines = [f"{name} ← {text(x)}" for name, x in assignments({"v": v * 0.5, "p": p + v})]
    assert lines == ["p ← p + v", "v ← v · 0.5"]


@pytest.mark.parametrize("code", [
    lambda x: x if x.sum(axis=0)[0:2].any(axis=0, keepdims=True) else -x,
    lambda x: x if (x > 0) else -x, float, list, lambda x: x.item(), lambda x: x.sort(),
    lambda x: np.copyto(x, 0), lambda x: np.add(x, 1, out=x), lambda x: x.__setitem__(0, 1),
    lambda x: np.asarray(x), lambda x: x.put(0, 1), lambda x: np.add.at(x, 0, 1),
])
def test_what_an_expression_cannot_repeat_is_refused(code):
    (x,) = symbols("x")
    with pytest.raises(Untraceable):
        code(x)


def test_a_branch_on_a_single_number_is_remembered():
    trace = Trace()
    t = trace.symbol("t", 1)
    assert (t == 1) and not (t > 3)
    said = [(text(x), answer) for x, answer in trace.branches]
    assert said == [("t = 1", True), ("t > 3", False)]


# ---- in-place calls ------------------------------------------------------------------------------


def random_rule(rng):
    """A rule of random arithmetic, as a function of vectors and two numbers."""
    plan = [(rng.integers(9), *rng.integers(0, 1000, 2)) for _ in range(rng.integers(3, 14))]
    ends = rng.integers(0, 1000, 3)

    functions = [
        lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / (abs(y) + 2),
        lambda x, y: -x, lambda x, y: np.sqrt(abs(x) * 3), lambda x, y: x**2, np.maximum,
        lambda x, y: np.where(np.greater(x, y), x, y) if np.ndim(x) or np.ndim(y) else x,
    ]

    def rule(p, g, m, v, a, t):
        pool = [p, g, m, v, a, 1 - a**t, np.sqrt(a)]
        for kind, i, j in plan:
            pool.append(functions[kind](pool[i % len(pool)], pool[j % len(pool)]))
        vectors = [x for x in pool if np.ndim(x)]
        return [vectors[i % len(vectors)] for i in ends]

    return rule


@pytest.mark.parametrize("seed", range(400))
def test_the_in_place_calls_compute_what_the_expressions_say(seed):
    rng = np.random.default_rng(seed)
    rule, trace = random_rule(rng), Trace()
    vectors = [trace.symbol(n, np.ones(1)) for n in "pgmv"]
    a, t = trace.symbol("a", 0.3), trace.symbol("t", 2)
    new = rule(*vectors, a, t)
    try:
        schedule = InPlace(vectors, {0: new[0], 2: new[1], 3: new[2]}, [t], [a])
    except Untraceable as reason:
        assert "exchanges" in str(reason)
        return
    arrays = [rng.uniform(-1, 1, 7) for _ in vectors]
    scratch = [np.empty(7, d) for d in schedule.scratch]
    numbers = np.array([*schedule.numbers(5, 0.3), *schedule.constants(5, 0.3)])
    cells = [numbers[i, ...] for i in range(schedule.size)]
    with np.errstate(all="ignore"):
        expected = rule(*[x.copy() for x in arrays], 0.3, 5)
        g = arrays[1].copy()
        for call in schedule.bind([*arrays, *scratch, *cells]):
            call()
    for array, x in zip([arrays[0], arrays[2], arrays[3]], expected):
        np.testing.assert_allclose(array, x, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(arrays[1], g)


def test_adam_takes_twelve_calls_and_one_scratch_vector():
    opt = optim.Adam({"w": Tensor(np.ones(3), requires_grad=True)})
    opt.parameters["w"].grad = np.ones(3)
    opt.step()
    (schedule,) = (run.version for run in opt._plan.runs)
    assert (len(schedule.calls), len(schedule.scratch)) == (12, 1)
