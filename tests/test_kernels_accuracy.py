"""Each kernel that rounds beside its exact value, computed by mpmath, over all that a dtype holds.

What becomes of infinities and nan is told in ``test_kernels.py``, where kernels are compared with
plain NumPy. Bounds are in units of rounding, ε times a size: of the result, or where a sum cancels
of the largest thing that is added.
"""

import math

import numpy as np
import pytest

from tinygrad_opt import kernels, ops

mpmath = pytest.importorskip("mpmath")

mp = mpmath.MPContext()
mp.prec = 120
INF = math.inf
DTYPES = [np.float32, np.float64]
POINTS, POINTS_OF_A_DRILL = 250, 20_000


# ---- arguments -----------------------------------------------------------------------------------


def everywhere(dtype, count, rng):
    """Numbers of all sizes, denormal ones too, and as many of the sizes that matter most."""
    bits = {4: np.uint32, 8: np.uint64}[np.dtype(dtype).itemsize]
    drawn = rng.integers(0, np.iinfo(bits).max, count, bits, endpoint=True).view(dtype)
    some = rng.normal(size=count) * rng.choice([0.1, 1, 10, 100], count)
    return np.concatenate([np.where(np.isfinite(drawn), drawn, dtype(1)), some.astype(dtype)])


def between(low, high):
    return lambda dtype, count, rng: rng.uniform(low, high, 2 * count).astype(dtype)


def one(dtype, count, rng):
    return np.ones(2 * count, dtype)


# ---- functions of entries ------------------------------------------------------------------------


def log_of_sum(x, y):
    return max(x, y) + mp.log1p(mp.exp(-abs(x - y)))


def sigma(x):
    return 1 / (1 + mp.exp(-x))


def normal_cdf(x):
    return mp.ncdf(min(max(x, -60), 60))                   # mpmath's has limits


def density(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def tanh_of_gelu(x):
    return mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))


def vjp(name, i=0):
    """The VJP of an operation for g = 1, as the backward pass runs it."""
    op = ops.TABLE[name]

    def slope(*xs):
        shared = {} if op.shared is None else {"shared": op.shared(*xs)}
        z = op.kernel(*xs, **shared)
        return op.vjps[i](np.ones_like(z), z, *xs, **shared)

    return slope


def kernel(name, *attrs):
    return lambda *xs: ops.TABLE[name].kernel(*xs, *attrs)


LOGITS = [between(-40, 40), between(0, 1), one]
RESULT = lambda z, *xs: abs(z)
AT_LEAST_1 = lambda z, *xs: max(abs(z), 1)
WITH_X = lambda z, *xs: max(abs(z), *map(abs, xs))

# name: (function, exact one, where each argument is drawn, size, units for each dtype)
ENTRIES = {
    "relu": (kernels.relu, lambda x: max(x, mp.zero), [everywhere], RESULT, 0, 0),
    "leaky_relu": (lambda x: kernels.leaky_relu(x, 0.25), lambda x: x if x > 0 else x / 4,
                   [everywhere], RESULT, 0, 0),
    "elu": (kernels.elu, lambda x: x if x > 0 else mp.expm1(x), [everywhere], RESULT, 2, 2),
    "sigmoid": (kernels.sigmoid, sigma, [everywhere], RESULT, 2, 2),
    "log1p_exp_minus": (kernels.log1p_exp_minus, lambda x: mp.log1p(mp.exp(-abs(x))),
                        [everywhere], RESULT, 3, 2),
    "softplus": (kernels.softplus, lambda x: log_of_sum(x, mp.zero), [everywhere], RESULT, 3, 2),
    "erf": (kernels.erf, mp.erf, [everywhere], RESULT, 2.5, 1),
    "normal_cdf": (kernels.normal_cdf, normal_cdf, [everywhere], AT_LEAST_1, 1, 1),
    "normal_density": (kernels.normal_density, density, [everywhere], AT_LEAST_1, 1, 1),
    "power 3": (lambda x: kernels.power(x, 3), lambda x: x**3, [everywhere], RESULT, 2, 2),
    "power 4": (lambda x: kernels.power(x, 4), lambda x: x**4, [everywhere], RESULT, 2, 2),
    "power -1": (lambda x: kernels.power(x, -1), lambda x: 1 / x, [everywhere], RESULT, 1, 1),
    "power": (kernels.power, lambda x, y: x**y, [between(0.1, 9), between(-9, 9)], RESULT, 2, 2),
    "logaddexp": (kernels.logaddexp, log_of_sum, [everywhere, everywhere], WITH_X, 3, 3),
    "hypot": (kernels.hypot, mp.hypot, [everywhere, everywhere], RESULT, 2, 2),
    "hypot of moderate numbers": (kernels.hypot, mp.hypot, [between(-9, 9)] * 2, RESULT, 2, 2),
    "silu": (kernel("silu"), lambda x: x * sigma(x), [everywhere],     # σ below tiny may be 0
             lambda z, x: max(abs(z), abs(x) * mp.mpf(10) ** -30), 2, 2),
    "gelu": (kernel("gelu"), lambda x: x * normal_cdf(x), [everywhere], WITH_X, 2, 2),
    "gelu_tanh": (kernel("gelu_tanh"), lambda x: x / 2 * (1 + tanh_of_gelu(x)),
                  [between(-1e3, 1e3)], WITH_X, 3, 3),
    "slope of silu": (vjp("silu"), lambda x: sigma(x) * (1 + x * sigma(-x)), [between(-80, 80)],
                      lambda z, x: max(1, abs(x)), 2, 2),
    "slope of gelu": (vjp("gelu"), lambda x: normal_cdf(x) + x * density(x), [between(-80, 80)],
                      AT_LEAST_1, 3, 3),
    "slope of sigmoid": (vjp("sigmoid"), lambda x: sigma(x) * sigma(-x), [everywhere], AT_LEAST_1,
                         1, 1),
    "binary_entropy_of_logits": (
        kernel("binary_entropy_of_logits"), lambda x, y, a: (
            a * y * log_of_sum(-x, mp.zero) + (1 - y) * log_of_sum(x, mp.zero)), LOGITS,
        RESULT, 3, 3),
    "slope of binary_entropy_of_logits": (
        vjp("binary_entropy_of_logits"), lambda x, y, a: (1 - y) * sigma(x) - a * y * sigma(-x),
        LOGITS, lambda z, x, y, a: max((1 - y) * sigma(x), y * sigma(-x)), 3, 3),
}


def entries_off(made, exact, sizes):
    """The largest distance of an entry from the exact one, in units."""
    limits = np.finfo(made.dtype)
    worst = 0.0
    for m, e, size in zip(made.ravel().tolist(), exact, sizes, strict=True):
        if math.isinf(m):                                  # right beyond the largest number
            assert abs(e) > float(limits.max) * (1 - 8 * float(limits.eps)) and (m > 0) == (e > 0)
        elif abs(m - e) > limits.tiny.item():              # NumPy may give 0 for less
            worst = max(worst, float(abs(m - e) / (size * limits.eps.item())))
    return worst


def check_entries(name, dtype, points, seed=0):
    function, exact, domains, size, *units = ENTRIES[name]
    rng = np.random.default_rng(seed)
    xs = [draw(dtype, points, rng) for draw in domains]
    with np.errstate(all="ignore"):
        made = function(*xs)
    assert made.dtype == dtype
    wide = [[mp.mpf(v) for v in x.tolist()] for x in xs]
    right = [exact(*x) for x in zip(*wide)]
    worst = entries_off(made, right, [size(z, *x) for z, *x in zip(right, *wide)])
    assert worst <= units[DTYPES.index(dtype)], f"{worst:.2f} units of rounding"
    return worst


# ---- sums and products ---------------------------------------------------------------------------


def dot(x, y):
    return mp.fdot(zip(x, y))


def log_sum(x):
    top = max(x)
    return top + mp.log(mp.fsum(mp.exp(v - top) for v in x))


def standard(x, *affine, eps=1e-5):
    mean = mp.fsum(x) / len(x)
    root = mp.sqrt(mp.fsum((v - mean) ** 2 for v in x) / len(x) + mp.mpf(eps))
    z = [(v - mean) / root for v in x]
    return [w * v + b for v, w, b in zip(z, *affine)] if affine else z


def running(x):
    return [mp.fsum(x[:i + 1]) for i in range(len(x))]


def largest(*xs):
    return max((abs(v) for x in xs for v in x), default=mp.zero)


def of_rows(function, **attrs):
    return lambda *xs: function(*xs, **attrs)


def in_labels(function):
    """A function of logits and labels, each row of which is labelled by its first column."""
    return lambda x: function(x, np.zeros(len(x), int))


# name: (function of rows, exact one of a row, how many arguments, size of a row)
VECTORS = {
    "sum_along": (of_rows(kernels.sum_along, axis=-1), lambda x: [mp.fsum(x)], 1,
                  lambda z, x: mp.fsum(map(abs, x))),
    "dot_along": (of_rows(kernels.dot_along, axis=-1), lambda x, y: [dot(x, y)], 2,
                  lambda z, x, y: dot(map(abs, x), map(abs, y))),
    "cumsum": (of_rows(kernels.cumsum, axis=-1), running, 1,
               lambda z, x: mp.fsum(map(abs, x))),
    "norm": (of_rows(kernels.norm, axis=-1, keepdims=True), lambda x: [mp.sqrt(dot(x, x))], 1,
             lambda z, x: z[0]),
    "logsumexp": (of_rows(kernels.logsumexp, axis=-1, keepdims=True), lambda x: [log_sum(x)], 1,
                  lambda z, x: largest(x, z) + 1),
    "softmax": (kernels.softmax, lambda x: [mp.exp(v - s) for s in [log_sum(x)] for v in x], 1,
                lambda z, x: largest(x) + 1),
    "log_softmax": (kernels.log_softmax, lambda x: [v - s for s in [log_sum(x)] for v in x], 1,
                    lambda z, x: largest(x, z) + 1),
    "softmax_vjp": (of_rows(kernels.softmax_vjp, axis=-1),
                    lambda g, p: [q * (v - dot(g, p)) for v, q in zip(g, p)], 2,
                    lambda z, g, p: largest(p) * (largest(g) + dot(map(abs, g), map(abs, p)))),
    "log_softmax_vjp": (of_rows(kernels.log_softmax_vjp, axis=-1),
                        lambda g, z: [v - mp.exp(-abs(s)) * mp.fsum(g) for v, s in zip(g, z)], 2,
                        lambda d, g, z: mp.fsum(map(abs, g))),
    "residual": (in_labels(kernels.residual), lambda x: [
        mp.exp(v - s) - (i == 0) for s in [log_sum(x)] for i, v in enumerate(x)], 1,
        lambda z, x: largest(x) + 1),
    "standardize": (of_rows(ops.TABLE["standardize"].kernel, axis=(-1,), eps=1e-5), standard, 1,
                    lambda z, x: largest(z) + largest(x) / mp.sqrt(mp.mpf(1e-5))),
    "normalize": (lambda x, w, b: ops.TABLE["normalize"].kernel(
        x.T, w.T, b.T, axis=(0,), eps=1e-5).T, standard, 3, lambda z, x, w, b: largest(
            z, b) + largest(w) * largest(x) / mp.sqrt(mp.mpf(1e-5))),
    "rescale": (of_rows(ops.TABLE["rescale"].kernel, axis=(-1,), eps=1e-5),
                lambda x: [v / mp.sqrt(dot(x, x) / len(x) + mp.mpf(1e-5)) for v in x], 1,
                lambda z, x: largest(z)),
}


def check_rows(name, dtype, points, seed=0):
    function, exact, count, size = VECTORS[name]
    rng, worst = np.random.default_rng(seed), 0.0
    for n in (1, 2, 7, 70):
        for scale in (1e-3, 1.0, 30.0, 1e3):
            rows = max(2, points // (16 * n))
            xs = [(rng.normal(size=(rows, n)) * scale).astype(dtype) for _ in range(count)]
            if name == "log_softmax_vjp":
                xs[1] = -np.abs(xs[1])
            if name == "normalize":                        # a channel is a column there
                xs[1:] = [np.repeat(x[:, :1], n, axis=1) for x in xs[1:]]
            with np.errstate(all="ignore"):
                made = np.asarray(function(*xs))
            assert made.dtype == dtype
            for z, *row in zip(made, *xs):
                row = [[mp.mpf(v) for v in x.tolist()] for x in row]
                right = exact(*row)
                off = entries_off(z, right, [size(right, *row) + mp.mpf(10) ** -40] * len(right))
                worst = max(worst, off)
                assert off <= 3, f"{off:.2f} units of rounding, rows of {n} by {scale}"
    return worst


# ---- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ENTRIES)
def test_entries_are_exact_but_for_rounding(name, dtype):
    check_entries(name, dtype, POINTS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VECTORS)
def test_rows_are_exact_but_for_the_rounding_of_their_terms(name, dtype):
    check_rows(name, dtype, POINTS)


@pytest.mark.drill
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*ENTRIES, *VECTORS])
def test_many_more_numbers_are_exact_but_for_rounding(name, dtype):
    (check_entries if name in ENTRIES else check_rows)(name, dtype, POINTS_OF_A_DRILL, seed=1)


def test_a_mean_of_losses_is_exact_but_for_rounding():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 9)) * 20, rng.integers(0, 9, 40)
    exact = mp.fsum(log_sum([mp.mpf(v) for v in row]) - mp.mpf(row[label])
                    for row, label in zip(x.tolist(), labels)) / 40
    assert abs(float(kernels.cross_entropy(x, labels)) - exact) < 60 * 40 * 2.3e-16


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_of_large_scores_is_exact_beside_their_size(dtype):
    x = np.array([[1e5, 1e5 + 1], [-1e5, 3e4]], dtype)
    exact = [[-1.3132616875182228, -0.31326168751822286], [-1.3e5, 0]]
    np.testing.assert_allclose(kernels.log_softmax(x), exact, rtol=4 * np.finfo(dtype).eps)
