"""The operator table against finite differences, and the values that it promises at corners.

Every operation and call of `cases` is checked by random projections: for random u and v,
v · (Jᵀu) from the rules equals (Jv) · u from central differences, so one pair of evaluations
tests a whole Jacobian.
"""

import inspect
import math
import pickle
import warnings

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import kernels, ops
from tinygrad_opt.cases import CASES, Domain
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.tensor import backward_pass

CALLS = [pytest.param(ops.TABLE[name], call, id=f"{name}({call})")
         for name, calls in CASES.items() for call in calls]

# A central difference with step h errs by about h² |f‴|/6 + 2e-16 |f|/h: 1e-10 each at h = 1e-5,
# times sums over at most 24 entries and third derivatives up to some hundred.
STEP = 1e-5
TOLERANCE = 1e-7


def rng_for(call):
    """The same numbers for the same call, in whatever order tests run."""
    return np.random.default_rng(sum(str(call).encode()))


def seeds_like(z, rng):
    """A gradient to start from; not ones, so that a rule that ignores it is found."""
    return rng.uniform(0.5, 1.5, np.shape(z)) * rng.choice([-1.0, 1.0], np.shape(z))


def moving(call):
    """The places of the inputs that have a gradient."""
    return [i for i, x in enumerate(call.inputs) if isinstance(x, Domain)]


def moved(inputs, directions, step):
    return [x + step * directions[i] if i in directions else x for i, x in enumerate(inputs)]


def gradients_of(op, inputs, attrs, u, places):
    """Jᵀu by the rules, from a backward pass on fresh Tensors."""
    given = [tg.Tensor(x, requires_grad=i in places) if i in places else x
             for i, x in enumerate(inputs)]
    op(*given, **attrs).backward(u)
    return [given[i].grad for i in places]


def projections(op, call):
    """v · (Jᵀu) from the rules and (Jv) · u from central differences."""
    rng = rng_for(call)
    inputs, places = call.draw(rng), moving(call)
    directions = {i: seeds_like(inputs[i], rng) for i in places}
    u = seeds_like(op(*inputs, **call.attrs), rng)
    found = gradients_of(op, inputs, call.attrs, u, places)
    by_rule = sum(np.sum(directions[i] * g) for i, g in zip(places, found))
    ahead, behind = (op(*moved(inputs, directions, s), **call.attrs) for s in (STEP, -STEP))
    return by_rule, np.sum(u * (ahead - behind)) / (2 * STEP)


def agree(by_rule, by_difference):
    return abs(by_rule - by_difference) <= TOLERANCE * (1 + abs(by_difference))


# ---- the table -----------------------------------------------------------------------------------


def test_every_op_has_a_case_and_every_case_an_op():
    assert CASES.keys() == ops.TABLE.keys()


@pytest.mark.parametrize("name", ops.TABLE)
def test_a_row_is_called_what_its_key_says(name):
    row = ops.TABLE[name]
    assert row.name == name
    assert getattr(ops, name, row) is row
    assert CASES[name]


def test_no_two_rows_share_a_symbol():
    symbols = [row.symbol for row in ops.TABLE.values()]
    assert len(symbols) == len(set(symbols))


def test_every_input_that_has_a_rule_is_drawn_by_some_case():
    for name, calls in CASES.items():
        places, rules = {i for call in calls for i in moving(call)}, ops.TABLE[name].vjps
        if isinstance(rules, tuple):
            assert places == {i for i, rule in enumerate(rules) if rule}, name


@pytest.mark.parametrize("name", ops.TABLE)
def test_options_left_out_mean_to_a_vjp_what_they_mean_to_the_kernel(name):
    def defaults(f):
        return {n: p.default for n, p in inspect.signature(f).parameters.items()
                if p.default is not p.empty}

    op = ops.TABLE[name]
    if isinstance(op.kernel, np.ufunc):
        return
    theirs = defaults(op.kernel)
    for vjp in op.vjps if isinstance(op.vjps, tuple) else [op.vjps.vjp]:
        for option, value in (defaults(vjp) if vjp else {}).items():
            if option in theirs and theirs[option] is not np._NoValue:
                assert value == theirs[option], option
            else:
                assert value in (False, None), option


def test_inputs_are_drawn_clear_of_kinks():
    for name, calls in CASES.items():
        for call in calls:
            drawn = [x for x, d in zip(call.draw(rng_for(call)), call.inputs) if isinstance(d,
                                                                                            Domain)]
            assert all(np.abs(2 * x - np.round(2 * x)).min(initial=1) > 2e-3 for x in drawn), name
            assert all(np.diff(np.sort(x, axis=None)).min(initial=1) > 1e-3 for x in drawn), name


# ---- against central differences -----------------------------------------------------------------


@pytest.mark.parametrize("op, call", CALLS)
def test_rules_agree_with_central_differences(op, call):
    by_rule, by_difference = projections(op, call)
    assert agree(by_rule, by_difference), (by_rule, by_difference)


@pytest.mark.parametrize("op, call", CALLS)
def test_gradients_of_gradients_agree_with_central_differences(op, call):
    """Differentiate v · (J(x)ᵀu) by x and by u, through the recorded rules."""
    rng = rng_for(call)
    inputs, places = call.draw(rng), moving(call)
    directions = {i: seeds_like(inputs[i], rng) for i in places}
    u = seeds_like(op(*inputs, **call.attrs), rng)
    weights = [seeds_like(inputs[i], rng) for i in places]
    du = seeds_like(u, rng)

    given = [tg.Tensor(x, requires_grad=True) if i in places else x for i, x in enumerate(inputs)]
    seed = tg.Tensor(u, requires_grad=True)
    op(*given, **call.attrs).backward(seed, create_graph=True)
    slopes = [given[i].grad for i in places]
    value = sum((w * g).sum() for w, g in zip(weights, slopes))
    found = backward_pass(value, np.ones(())) if value.requires_grad else {}
    by_rule = sum(np.sum(directions[i] * found.get(given[i], 0.0)) for i in places)
    by_rule += np.sum(du * found.get(seed, 0.0))

    def first_order(step):
        found = gradients_of(op, moved(inputs, directions, step), call.attrs, u + step * du, places)
        return sum(np.sum(w * g) for w, g in zip(weights, found))

    by_difference = (first_order(STEP) - first_order(-STEP)) / (2 * STEP)
    assert agree(by_rule, by_difference), (by_rule, by_difference)


EVERY_RULE = [pytest.param(name, i, id=f"{name}[{i}]") for name, calls in CASES.items()
              for i in sorted({i for call in calls for i in moving(call)})]


@pytest.mark.parametrize("name, i", EVERY_RULE)
def test_the_check_finds_an_error_in_every_rule(name, i):
    op, calls = ops.TABLE[name], CASES[name]
    n_inputs = max(len(call.inputs) for call in calls)
    rules = [rule for _, rule in zip(range(n_inputs), op.vjps)]

    def wrong(g, z, *inputs, **attrs):
        return rules[i](g, z, *inputs, **attrs) + 1e-4

    broken = tg.op(name, op.kernel, *rules[:i], wrong, *rules[i + 1 :])
    assert not all(agree(*projections(broken, call)) for call in calls if i in moving(call))


def test_the_check_finds_a_wrong_gradient():
    call = CASES["tanh"][0]
    assert agree(*projections(ops.tanh, call))
    for wrong in (lambda g, z, x: g * (1 + z * z), lambda g, z, x: 1 - z * z,
                  lambda g, z, x: g * (1 - z * z) * 1.00001):
        assert not agree(*projections(tg.op("wrong", np.tanh, wrong), call))


@pytest.mark.parametrize("op, call", CALLS)
def test_the_eager_and_the_recorded_rule_give_the_same_numbers(op, call):
    rng = rng_for(call)
    inputs, places = call.draw(rng), moving(call)
    u = seeds_like(op(*inputs, **call.attrs), rng)
    eager = gradients_of(op, inputs, call.attrs, u, places)
    given = [tg.Tensor(x, requires_grad=True) if i in places else x for i, x in enumerate(inputs)]
    op(*given, **call.attrs).backward(u, create_graph=True)
    for i, g in zip(places, eager):
        assert given[i].grad.shape == g.shape == inputs[i].shape
        np.testing.assert_allclose(given[i].grad.data, g, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("op, call", CALLS)
def test_values_equal_the_kernel_and_nothing_writes_into_what_it_is_given(op, call):
    """Inputs, results and seeds are read-only here, so a write is an error."""
    rng = rng_for(call)
    inputs, places = call.draw(rng), moving(call)
    for i in places:
        inputs[i].flags.writeable = False
    given = [tg.Tensor(x, requires_grad=True) if i in places else x for i, x in enumerate(inputs)]
    for i in places:
        given[i]._array = inputs[i]
    z = op(*given, **call.attrs)
    np.testing.assert_array_equal(z.data, op.kernel(*inputs, **call.attrs))
    z._array = z._array.view()
    z._array.flags.writeable = False
    seed = np.ones(z.shape)
    seed.flags.writeable = False
    backward_pass(z, seed)


# ---- dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("op, call", CALLS)
def test_float32_in_gives_float32_out(op, call):
    inputs, places = call.draw(rng_for(call), np.float32), moving(call)
    given = [tg.Tensor(x, requires_grad=True) if i in places else x for i, x in enumerate(inputs)]
    z = op(*given, **call.attrs)
    assert z.dtype == call.attrs.get("dtype", np.float32)
    z.backward(np.ones(z.shape))
    assert all(given[i].grad.dtype == np.float32 for i in places)


@pytest.mark.parametrize("op, call", CALLS)
def test_float32_gives_the_derivatives_of_float64_to_its_precision(op, call):
    """First order and second order, v · (J(x)ᵀu) differentiated by x."""
    def derivatives(dtype):
        rng = rng_for(call)
        inputs, places = call.draw(rng, np.float32), moving(call)
        u = seeds_like(op(*inputs, **call.attrs), rng)
        weights = [seeds_like(inputs[i], rng) for i in places]
        given = [tg.Tensor(x.astype(dtype), requires_grad=True) if i in places else x
                 for i, x in enumerate(inputs)]
        op(*given, **call.attrs).backward(u, create_graph=True)
        slopes = [given[i].grad for i in places]
        value = sum((g * w).sum() for w, g in zip(weights, slopes))
        found = backward_pass(value, np.ones((), value.dtype)) if value.requires_grad else {}
        return [g.data for g in slopes] + [found.get(given[i], np.zeros(())) for i in places]

    for single, double in zip(derivatives(np.float32), derivatives(np.float64)):
        assert single.dtype == np.float32 or not single.any()
        scale = np.abs(double).max(initial=1)
        np.testing.assert_allclose(single, double, rtol=2e-4, atol=2e-5 * scale)


BESIDE = [pytest.param(op, call, i, id=f"{op.name}({call})[{i}]")
          for op, call in (p.values for p in CALLS) if len(moving(call)) > 1 for i in moving(call)]


@pytest.mark.parametrize("op, call, place", BESIDE)
def test_numbers_and_float64_arrays_beside_a_float32_tensor_leave_it_float32(op, call, place):
    inputs, places = call.draw(rng_for(call)), moving(call)
    for kind in (np.asarray, lambda x: x[()], lambda x: x.item() if x.ndim == 0 else x):
        given = [kind(x) if i in places else x for i, x in enumerate(inputs)]
        given[place] = tg.Tensor(inputs[place].astype(np.float32), requires_grad=True)
        z = op(*given, **call.attrs)
        assert z.dtype == np.float32
        z.backward(np.ones(z.shape))
        assert given[place].grad.dtype == np.float32
        assert given[place].grad.shape == inputs[place].shape


# ---- corners: what the policies promise ----------------------------------------------------------

INF, NAN = math.inf, math.nan
CORNERS = {
    # name: (function, point, gradient of the sum)
    "relu is flat at 0": (ops.relu, [-1.0, 0.0, 1.0], [0, 0, 1]),
    "relu of an infinity has no nan": (ops.relu, [-INF, INF], [0, 1]),
    "relu lets the gradient of nan pass": (ops.relu, [NAN], [1]),
    "leaky relu at 0": (ops.leaky_relu, [0.0], [0.01]),
    "abs at 0": (np.abs, [-2.0, 0.0, 3.0], [-1, 0, 1]),
    "sqrt at 0": (np.sqrt, [0.0, 4.0], [INF, 0.25]),
    "log at 0": (np.log, [0.0, 2.0], [INF, 0.5]),
    "cbrt at 0": (np.cbrt, [0.0], [INF]),
    "x ** 0": (lambda x: x**0, [-1.0, 0.0, 2.0], [0, 0, 0]),
    "x ** 0.0": (lambda x: x**0.0, [-1.0, 0.0, 2.0], [0, 0, 0]),
    "x ** 0 far out": (lambda x: x**0, [INF, -INF, NAN], [0, 0, 0]),
    "x ** zeros far out": (lambda x: x ** np.zeros(4), [INF, -INF, NAN, 0.0], [0, 0, 0, 0]),
    "x ** 1 at 0": (lambda x: x**1, [0.0], [1]),
    "x ** 2 at 0": (lambda x: x**2, [-1.0, 0.0], [-2, 0]),
    "x ** 1.5 at 0": (lambda x: x**1.5, [0.0], [0]),
    "x ** 0.5 at 0": (lambda x: x**0.5, [0.0], [INF]),
    "x ** -1 at 0": (lambda x: x**-1, [0.0], [-INF]),
    "x ** array of exponents at 0": (lambda x: x ** np.array([0.0, 1.0, 2.0]), [0.0] * 3,
                                     [0, 1, 0]),
    "a negative number to the power of a half": (lambda x: x**0.5, [-1.0], [NAN]),
    "0 ** n by its exponent": (lambda n: 0.0**n, [0.0, 1.0, 2.5], [0, 0, 0]),
    "(-2) ** n by its exponent": (lambda n: (-2.0) ** n, [2.0], [NAN]),
    "x ** x": (lambda x: x**x, [1.0], [1]),
    "norm at the zero vector": (np.linalg.norm, [0.0, 0.0], [0, 0]),
    "norm of huge numbers": (np.linalg.norm, [3e200, 4e200], [0.6, 0.8]),
    "norm of tiny numbers": (np.linalg.norm, [3e-200, 4e-200], [0.6, 0.8]),
    "hypot at 0": (lambda x: np.hypot(x, x), [0.0], [0]),
    "std of constants": (np.std, [2.0, 2.0], [0, 0]),
    "std of one entry": (np.std, [2.0], [0]),
    "max with ties": (np.max, [1.0, 3.0, 3.0], [0, 0.5, 0.5]),
    "min with ties": (np.min, [1.0, 1.0, 3.0, 1.0], [1 / 3, 1 / 3, 0, 1 / 3]),
    "maximum at a tie": (lambda x: np.maximum(x, 1.0), [0.0, 1.0, 2.0], [0, 0.5, 1]),
    "minimum at a tie": (lambda x: np.minimum(x, 1.0), [0.0, 1.0, 2.0], [1, 0.5, 0]),
    "maximum of a tensor and itself": (lambda x: np.maximum(x, x), [0.0, 1.0], [1, 1]),
    "clip at its bounds": (lambda x: np.clip(x, 0.0, 1.0), [-1.0, 0.0, 0.5, 1.0, 2.0],
                           [0, 1, 1, 1, 0]),
    "prod with one zero": (np.prod, [2.0, 0.0, 3.0], [0, 6, 0]),
    "prod with two zeros": (np.prod, [2.0, 0.0, 0.0], [0, 0, 0]),
    "sigmoid far out": (ops.sigmoid, [-1e4, 0.0, 1e4], [0, 0.25, 0]),
    "softplus far out": (ops.softplus, [-1e4, 0.0, 1e4], [0, 0.5, 1]),
    "silu far out": (ops.silu, [-1e4, 0.0, 1e4], [0, 0.5, 1]),
    "gelu far out": (ops.gelu, [-1e4, 0.0, 1e4], [0, 0.5, 1]),
    "gelu_tanh far out": (ops.gelu_tanh, [-1e2, 0.0, 1e200], [0, 0.5, 1]),
    "elu far out": (ops.elu, [-1e4, 1e4], [0, 1]),
    "tanh far out": (np.tanh, [-1e4, 0.0, 1e4], [0, 1, 0]),
    "erf far out": (ops.erf, [-1e200, 1e200], [0, 0]),
    "logaddexp of huge numbers": (lambda x: np.logaddexp(x, x[::-1]), [1e30, 1e30], [1, 1]),
    "logaddexp of minus infinities": (lambda x: np.logaddexp(x, -INF), [-INF, 0.0], [0.5, 1]),
    "logsumexp of huge numbers": (ops.logsumexp, [1e38, 1e38], [0.5, 0.5]),
    "logsumexp with minus infinity": (ops.logsumexp, [-INF, 0.0], [0, 1]),
    "sum of nothing": (np.sum, [], []),
    "prod of nothing": (np.prod, [], []),
    "a repeated index": (lambda x: x[[0, 2, 2, 0, 2]], [1.0, 2.0, 3.0], [2, 0, 3]),
    "a repeated negative index": (lambda x: x[[0, -3]], [1.0, 2.0, 3.0], [2, 0, 0]),
    "overlapping slices": (lambda x: x[:2] * x[1:], [1.0, 2.0, 5.0], [2, 6, 2]),
    "take with repeats": (lambda x: np.take(x, [1, 1]), [1.0, 2.0], [0, 2]),
    "the same tensor twice: x * x": (lambda x: x * x, [3.0, -1.0], [6, -2]),
    "the same tensor twice: x @ x": (lambda x: x @ x, [3.0, -1.0], [6, -2]),
    "the same tensor twice: concatenate": (lambda x: np.concatenate([x, x, x]), [3.0, -1.0],
                                           [3, 3]),
    "the same tensor twice: x - x": (lambda x: x - x, [3.0], [0]),
    "the same tensor twice: x / x": (lambda x: x / x, [3.0], [0]),
    "sort with ties": (lambda x: np.sort(x) * [1.0, 10.0, 100.0], [2.0, 1.0, 2.0], [10, 1, 100]),
}


@pytest.mark.parametrize("f, point, slope", CORNERS.values(), ids=CORNERS.keys())
def test_gradient_at_a_corner(f, point, slope):
    x = tg.Tensor(np.array(point), requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):   # log 0 and √−1 warn, as NumPy does
        z = f(x)
    z.sum().backward()                                     # but no backward pass does
    np.testing.assert_allclose(x.grad, slope, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("f, point, slope", CORNERS.values(), ids=CORNERS.keys())
def test_gradient_at_a_corner_is_the_same_when_recorded(f, point, slope):
    x = tg.Tensor(np.array(point), requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = f(x)
    z.sum().backward(create_graph=True)
    np.testing.assert_allclose(x.grad.data, slope, rtol=1e-12, atol=1e-300)


def value_and_slope(f, point):
    x = tg.Tensor(np.array(point), requires_grad=True)
    z = f(x)
    z.sum().backward()
    return z.data, x.grad


def test_sigmoid_and_softplus_are_exact_far_out_in_both_precisions():
    for dtype in (np.float32, np.float64):
        x = np.array([-1e4, -80.0, 80.0, 1e4], dtype)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            np.testing.assert_allclose(ops.sigmoid(x), [0, np.exp(-80.0), 1, 1], rtol=1e-6)
            np.testing.assert_allclose(ops.softplus(x), [0, np.exp(-80.0), 80, 1e4], rtol=1e-6)


def test_softmax_survives_the_largest_float32_logits():
    p, slope = value_and_slope(ops.softmax, np.array([1e38, 1e38, -1e38], np.float32))
    np.testing.assert_array_equal(p, [0.5, 0.5, 0])
    np.testing.assert_array_equal(slope, [0, 0, 0])
    assert np.isnan(quietly(ops.softmax, np.array([-INF, -INF]))).all()


def test_log_softmax_survives_where_the_logarithm_of_softmax_would_not():
    log_p, _ = value_and_slope(ops.log_softmax, [0.0, 1000.0])
    np.testing.assert_array_equal(log_p, [-1000, 0])


def test_cross_entropy_of_confident_and_wrong_logits_keeps_its_gradient():
    """log(p + 1e-7), which many books write, caps this loss at 16 and kills its gradient."""
    loss, slope = value_and_slope(lambda x: ops.cross_entropy(x, np.array([1])), [[1000.0, 0.0]])
    assert loss == 1000
    np.testing.assert_array_equal(slope, [[1, -1]])


@pytest.mark.parametrize("name", ["cross_entropy", "residual", "softmax", "log_softmax"])
def test_fused_rows_use_the_gradient_that_they_are_given(name):
    """Ten times the loss has ten times the gradient."""
    call = CASES[name][0]
    inputs = call.draw(np.random.default_rng(0))
    x = tg.Tensor(inputs[0], requires_grad=True)
    weights = np.arange(1.0, 13).reshape(3, 4)
    once, tenfold = (
        tg.grad(lambda x, k=k: (k * ops.TABLE[name](x, *inputs[1:],
                                                    **call.attrs) * weights).sum())(x)
        for k in (1, 10))
    assert np.abs(once.data).max() > 1e-3
    np.testing.assert_allclose(tenfold.data, 10 * once.data, rtol=1e-12)


@pytest.mark.parametrize("labels, error, words", [
    (np.array([3]), IndexError, "labels go from 3 to 3, classes from 0 to 2"),
    (np.array([-1]), IndexError, "labels go from -1 to -1"),
    (np.array([0, 1]), ShapeError, r"labels shape \(n,\), got labels of shape \(2,\)"),
    (np.array([1.0]), TypeError, r"labels must be integers, got float64: y\.astype\(int\)"),
    (np.array(["1"]), TypeError, "labels must be integers, got <U1.$"),
])
def test_cross_entropy_refuses_labels_that_do_not_fit(labels, error, words):
    logits = tg.Tensor([[0.0, 1.0, 2.0]], requires_grad=True)
    with pytest.raises(error, match=words):
        ops.cross_entropy(logits, labels)


def test_an_unused_branch_of_where_leaks_nan_unless_its_input_is_made_safe():
    """where(x > 0, log x, 0) has gradient 0 · ∞ at 0 in every engine; the way round it works."""
    naive = value_and_slope(lambda x: np.where(x > 0, quietly(np.log, x), 0.0), [0.0, 2.0])[1]
    np.testing.assert_array_equal(naive, [NAN, 0.5])
    safe = value_and_slope(lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0),
                           [0.0, 2.0])[1]
    np.testing.assert_array_equal(safe, [0, 0.5])


def test_mean_of_nothing_is_nan_and_max_of_nothing_an_error():
    nothing = tg.Tensor(np.zeros(0), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)    # NumPy's words for an empty mean
        assert np.isnan(nothing.mean().item())
    with pytest.raises(ValueError, match=r"max of \(0,\): zero-size array"):
        nothing.max()


def test_a_product_over_an_empty_inner_axis_is_zero_and_has_empty_gradients():
    x = tg.Tensor(np.zeros((5, 0)), requires_grad=True)
    y = tg.Tensor(np.zeros((0, 10)), requires_grad=True)
    z = x @ y
    z.sum().backward()
    np.testing.assert_array_equal(z.data, np.zeros((5, 10)))
    assert x.grad.shape == (5, 0) and y.grad.shape == (0, 10)


def test_x_times_its_transpose_counts_x_twice():
    x = np.random.default_rng(0).normal(size=(3, 4))
    g = np.random.default_rng(1).normal(size=(3, 3))
    slope = tg.grad(lambda x: (x @ x.T * g).sum())(x)
    np.testing.assert_allclose(slope, (g + g.T) @ x, rtol=1e-12)


def test_prod_with_zeros_has_second_derivatives():
    curvature = tg.hessian(np.prod)(np.array([2.0, 0.0, 3.0]))
    np.testing.assert_array_equal(curvature, [[0, 3, 0], [3, 0, 2], [0, 2, 0]])


def test_gradient_of_norm_at_zero_is_zero_along_each_axis():
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    slope = tg.grad(lambda x: np.linalg.norm(x, axis=1).sum())(x)
    np.testing.assert_allclose(slope, [[0, 0], [0.6, 0.8]])


def test_erf_is_accurate_to_three_units_in_the_last_place():
    x = np.concatenate([np.linspace(-7, 7, 20_001), np.logspace(-300, 0, 601),
                        np.linspace(1.49, 1.51, 501)])     # about the cut between its two series
    exact = np.array([math.erf(v) for v in x])
    assert np.max(np.abs(ops.erf(x) - exact) / np.spacing(np.abs(exact) + 5e-324)) <= 3
    np.testing.assert_array_equal(ops.erf(np.array([-INF, -0.0, INF, NAN])), [-1, -0.0, 1, NAN])
    single = x.astype(np.float32)
    assert ops.erf(single).dtype == np.float32
    np.testing.assert_allclose(ops.erf(single), [math.erf(v) for v in single],
                               rtol=3e-7, atol=1e-38)      # float32 ends at 1e-38


def quietly(f, *args):
    with np.errstate(all="ignore"):
        return f(*args)


# ---- where rules once went wrong -----------------------------------------------------------------


def test_logaddexp_is_smooth_where_its_arguments_are_equal():
    """Its curvature is p (1 − p), a quarter at equal arguments, finite or not in their sum."""
    for x in (0.5, 0.0, -800.0, 1e300):
        curvature = tg.hessian(lambda v: np.logaddexp(v[0], v[1]))(np.array([x, x]))
        np.testing.assert_allclose(curvature, [[0.25, -0.25], [-0.25, 0.25]])
    third = tg.grad(tg.grad(tg.grad(lambda x: np.logaddexp(x, 0.0))))
    for x in (0.0, 0.1):                                   # p (1 − p) (1 − 2p)
        p = 1 / (1 + math.exp(-x))
        np.testing.assert_allclose(third(np.array(x)), p * (1 - p) * (1 - 2 * p), atol=1e-15)


def test_equal_entries_are_sorted_in_the_order_in_which_they_stand():
    x, weights = np.arange(64.0) % 2, np.arange(64.0)      # NumPy sorts up to 16 in order anyway
    slope = tg.grad(lambda x: (np.sort(x) * weights).sum())(x)
    np.testing.assert_array_equal(slope, np.arange(64) // 2 + 32 * x)


def test_a_power_at_exponent_zero_has_the_mixed_derivatives_of_any_other():
    for x in (2.0, 0.5):
        curvature = tg.hessian(lambda v: v[0] ** v[1])(np.array([x, 0.0]))
        np.testing.assert_allclose(curvature, [[0, 1 / x], [1 / x, math.log(x) ** 2]])


def test_clip_hands_its_gradient_on_once_wherever_its_arguments_tie():
    x, low, high = (a.ravel() for a in np.meshgrid(*[[0.0, 1.0, 2.0]] * 3))
    slopes = tg.grad(lambda *args: np.clip(*args).sum(), (0, 1, 2))(x, low, high)
    np.testing.assert_array_equal(np.add.reduce(slopes), np.ones(27))
    unbounded = tg.grad(lambda x, high: np.clip(x, None, high).sum(), (0, 1))(x, high)
    np.testing.assert_array_equal(np.add.reduce(unbounded), np.ones(27))


def test_bounds_of_clip_that_cross_give_the_gradient_to_the_upper_one():
    x, low, high = np.array([0.5, 5.0, -5.0, 1.5]), np.full(4, 2.0), np.full(4, 1.0)

    def f(*args):
        return (np.clip(*args) * [1.0, 2.0, 3.0, 4.0]).sum()

    np.testing.assert_array_equal(np.clip(x, low, high), high)
    slopes = tg.grad(f, (0, 1, 2))(x, low, high)
    np.testing.assert_array_equal(slopes, [[0] * 4, [0] * 4, [1, 2, 3, 4]])
    recorded = tg.grad(lambda s: sum((a * b).sum() for a, b in zip(
        tg.grad(f, (0, 1, 2))(x * s, low, high), (x, low, high))))(1.0)
    assert recorded == 0
    assert tg.gradcheck(np.clip, x, low, high)


@pytest.mark.parametrize("shape, indices, axis", [
    ((5, 5), np.array([[0, 1]]), 1), ((1, 5), np.array([[0, 1]] * 5), 1),
    ((2, 3, 4), np.zeros((1, 1, 4), int), 1), ((2, 1, 4), np.array([[[3, 3, 0]]] * 1), -1),
    ((3, 1), np.array([[0, 2, 2, 1]]), 0)])
def test_indices_of_take_along_axis_may_broadcast(shape, indices, axis):
    x = np.random.default_rng(0).normal(size=shape)
    weights = np.cos(np.arange(np.take_along_axis(x, indices, axis).size))
    assert tg.gradcheck(lambda t: (np.take_along_axis(t, indices, axis).ravel() * weights).sum(), x)


@pytest.mark.parametrize("f", [np.sum, np.max, np.min, np.prod])
@pytest.mark.parametrize("axis", [0, -1])
def test_one_number_is_reduced_along_its_axis_0_as_numpy_allows(f, axis):
    x = tg.Tensor(3.0, requires_grad=True)
    z = f(x, axis=axis)
    z.backward()
    assert z.item() == 3 and x.grad == 1 and x.grad.shape == ()


@pytest.mark.parametrize("kind", [">i4", ">i8", ">u2", "<i4", "u1"])
def test_labels_in_any_byte_order_are_labels(kind):
    x, y = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 2, 1])

    def loss(t, y):
        return ops.cross_entropy(t, y)

    np.testing.assert_array_equal(tg.grad(loss)(x, y.astype(kind)), tg.grad(loss)(x, y))
    with pytest.raises(IndexError, match="labels go from 0 to 3"):
        loss(tg.Tensor(x), np.array([0, 3, 0, 0]).astype(kind))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16])
@pytest.mark.parametrize("order", [None, 1, 2, 3, np.inf, -np.inf])
def test_norms_of_small_integers_do_not_wrap_around(kind, order):
    x = np.array([100, 7, 120]).astype(kind)
    x = -x - 8 if kind == np.int8 else x                   # −128 has no opposite
    np.testing.assert_allclose(np.linalg.norm(tg.Tensor(x), order).data,
                               np.linalg.norm(x.astype(float), order), rtol=1e-7)


# ---- einsum subscripts ---------------------------------------------------------------------------


@pytest.mark.parametrize("subscripts, shapes, explicit", [
    ("ij,jk", [(2, 3), (3, 4)], "ij,jk->ik"),
    ("ba", [(2, 3)], "ba->ab"),
    ("ii", [(3, 3)], "ii->"),
    (" i j , j -> i ", [(2, 3), (3,)], "ij,j->i"),
    ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)], "aij,jk->aik"),
    ("...i->...", [(5, 2, 3)], "abi->ab"),
    ("...i,...i", [(5, 3), (4, 5, 3)], "bi,abi->ab"),
])
def test_subscripts_are_written_out(subscripts, shapes, explicit):
    operands = [np.ones(s) for s in shapes]
    assert kernels.explicit_einsum(subscripts, operands) == explicit
    np.testing.assert_array_equal(np.einsum(subscripts, *operands), np.einsum(explicit, *operands))


# ---- ops of one's own ----------------------------------------------------------------------------


def test_an_op_of_ones_own_runs_on_arrays_and_records_on_tensors():
    cube = tg.op("x³", lambda x: x**3, lambda g, z, x: g * 3 * x**2)
    assert isinstance(cube(np.ones(2)), np.ndarray)
    np.testing.assert_array_equal(tg.hessian(lambda x: cube(x).sum())(np.array([2.0])), [[12]])
    assert repr(tg.op("twice", np.add, None)) == "<op add>"


@pytest.mark.parametrize("arguments, words", [
    (("f", None, None), "functions"), (("f", np.sin, 3), "functions"),
    (("f", np.sin), "one VJP per"),
])
def test_an_op_without_kernel_or_rules_is_refused(arguments, words):
    with pytest.raises(TypeError, match=words):
        tg.op(*arguments)


def test_an_op_with_rules_and_a_rule_for_each_input_is_refused():
    with pytest.raises(TypeError, match="not both"):
        tg.op("f", np.sin, lambda g, z, x: g, joint=lambda g, z, *xs: [g])


def test_one_vjp_of_a_joint_is_its_part_of_all():
    g, x, y = (np.random.default_rng(i).normal(size=(2, 2)) for i in range(3))
    z, rules = ops.solve(x, y), ops.solve.vjps
    for i, part in enumerate(rules.vjp(g, z, x, y)):
        np.testing.assert_array_equal(rules[i](g, z, x, y), part)


def test_options_are_given_by_name():
    """softmax(x, 0) would take its axis for a second input."""
    for x in (np.ones(3), tg.Tensor([1.0, 2.0], requires_grad=True)):
        with pytest.raises(TypeError,
                           match=r"softmax takes 1 input\(s\), got 2: give options by name"):
            ops.softmax(x, 0)


def test_a_bound_of_clip_may_be_left_out():
    for call in (lambda x: ops.clip(x, 0.0), lambda x: ops.clip(x, high=0.0),
                 lambda x: ops.clip(x)):
        assert tg.gradcheck(call, np.array([-1.0, 2.0]))


# ---- what kernel and rules share -----------------------------------------------------------------


def test_what_kernel_and_rule_share_is_computed_once():
    computed = []

    def half(x):
        computed.append(x)
        return x / 2

    def kernel(x, shared=None):
        return np.square(half(x) if shared is None else shared)

    quarter = ops.op("x²/4", kernel, lambda g, z, x, shared=None: g * (half(x) if shared is None
                                                                        else shared), shared=half)
    x = tg.Tensor([2.0, 6.0], requires_grad=True)
    y = quarter(x)
    y.sum().backward()
    assert len(computed) == 1
    np.testing.assert_array_equal(y.data, [1, 9])
    np.testing.assert_array_equal(x.grad, [1, 3])
    slope = tg.grad(lambda x: quarter(x).sum())
    np.testing.assert_array_equal(tg.grad(lambda x: slope(x).sum())(np.array([2.0, 6.0])), 0.5)
    assert quarter(tg.Tensor([2.0]))._shared is None        # a constant keeps nothing


def test_what_is_shared_is_computed_of_the_converted_inputs():
    x = tg.Tensor(np.array([0.5], np.float32), requires_grad=True)
    seen = []

    def product(x, y):
        return x * y

    def rule(g, z, x, y, shared=None):
        seen.append(shared)
        return g * y

    times = ops.op("×", lambda x, y, shared=None: x * y, rule, rule, shared=product)
    z = times(x, np.array([3.0]))
    z.backward()
    assert z.dtype == np.float32 and seen == [np.array([1.5], np.float32)]
    assert seen[0].dtype == np.float32
    np.testing.assert_array_equal(x.grad, np.float32([3.0]))


@pytest.mark.parametrize("name", ops.TABLE)
def test_every_row_is_pickled_by_its_name(name):
    assert pickle.loads(pickle.dumps(ops.TABLE[name])) is ops.TABLE[name]


def test_a_row_is_registered_under_its_own_name_if_that_is_free():
    def tanh(x):
        return np.tanh(x)

    other = tg.op("other", tanh, lambda g, z, x: g * (1 - z * z))
    for name in ("tanh", "arcus"):
        with pytest.raises(ValueError, match=f"cannot take <op tanh> under the name '{name}'"):
            ops.register(**{name: other})
    assert ops.TABLE["tanh"] is ops.tanh and "arcus" not in ops.TABLE
