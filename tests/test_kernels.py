"""Each function of ``kernels`` beside the plain form that it stands for, written here once more.

Plain forms compute in float64, whatever the kernel is given, in the order of the formula. A kernel
may differ from them by rounding: by a few units in the last place for one entry, and by as many
as there are terms for a sum. Where that differs, the row says why.
"""

import itertools
import math

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import kernels
from tinygrad_opt.kernels import KEPT

INF, NAN = math.inf, math.nan
rng = np.random.default_rng(5)
CORNERS = np.array([0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30, 1e-4, 30.0, -30.0, 80.0, -80.0, INF, -INF,
                    NAN])
ZERO_D = np.array(1.5)
ENTRIES = [CORNERS, np.linspace(-6, 6, 401), np.zeros((0, 3)), np.array(-0.7),
           rng.normal(size=(2, 3, 4))]
SHAPES = [(4, 3), (1, 1), (0, 3), (5,), (2, 3, 4), (3, 70), (70, 3), (2, 64)]
FLOATS = [rng.normal(size=shape) * 5 for shape in SHAPES]


def extremes(axis):
    """Rows along the axis with an entry that is −∞, nan, or far from the others."""
    x = np.array([[-INF, 0.0, 1.0], [NAN, 0.0, 1.0], [600.0, -600.0, 0.0], [80.0, 80.0, -INF]])
    return np.moveaxis(x, -1, axis)


# ---- plain forms ---------------------------------------------------------------------------------


def summed_to(g, shape):
    full = np.broadcast_shapes(g.shape, shape)
    places = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), full)
    out = np.zeros(math.prod(shape))
    np.add.at(out, places.ravel(), np.broadcast_to(g, full).ravel())
    return out.reshape(shape)


def log_of_sum(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def root_of_squares(x, axis=None, keepdims=False):
    return np.sqrt(np.sum(x.astype(float) ** 2, axis=axis, keepdims=keepdims))


def rows_times_columns(x, y):
    x, y = np.asarray(x), np.asarray(y)
    a, b = (x[None] if x.ndim == 1 else x), (y[:, None] if y.ndim == 1 else y)
    z = (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2)
    z = z[..., 0, :] if x.ndim == 1 else z
    return z[..., 0] if y.ndim == 1 else z


def added(g, index, shape):
    out = np.zeros(shape)
    np.add.at(out, index, g)
    return out


def replaced(x, value, index):
    out, places = x.copy().ravel(), np.arange(x.size).reshape(x.shape)[index]
    for place, v in zip(places.ravel(), np.broadcast_to(value, places.shape).ravel()):
        out[place] = v
    return out.reshape(x.shape)


def is_read_once(index):
    """For an index into a matrix of three by four; of integer arrays it is not asked."""
    places = np.arange(12).reshape(3, 4)[index]
    return np.unique(places).size == places.size


def shifted(x, axis):
    return x - x.max(axis=axis, keepdims=True)


def probabilities(x, axis=-1):
    return np.exp(shifted(x, axis)) / np.exp(shifted(x, axis)).sum(axis=axis, keepdims=True)


def log_probabilities(x, axis=-1):
    return shifted(x, axis) - np.log(np.exp(shifted(x, axis)).sum(axis=axis, keepdims=True))


def mean_of_losses(x, labels):
    rows = [-log_probabilities(row)[label] for row, label in zip(x, labels)]
    return sum(rows) / len(rows)


def less_one_hot(x, labels):
    return probabilities(x) - np.eye(x.shape[1])[labels]


def with_axis_back(function):
    """x after the function has moved the axis to the front, moved back."""
    def values(x, axis, *rest):
        made = function(x, axis, *rest)
        value, along = made
        return value if along == axis else value.swapaxes(along, axis)
    return values


def unpacked_eigh(x):
    """V diag(w) Vᵀ."""
    z = kernels.eigh(x)
    return z[..., 1:, :] * z[..., :1, :] @ z[..., 1:, :].mT


def unpacked_svd(x):
    z, rows = kernels.svd(x), x.shape[-2]
    return z[..., :rows, :] * z[..., rows : rows + 1, :] @ z[..., rows + 1 :, :].mT


def square(*shape):
    return rng.normal(size=shape) / 4 + np.eye(shape[-1]) * np.arange(2, 2 + shape[-1])


INDICES = [1, (-1, 2), slice(1, None), (..., slice(None, None, -2)), (slice(None), None, 1), None,
           np.array([0, 2, 2, 0]), (np.array([0, 1, 1]), np.array([3, 2, 2])), np.zeros(0, int),
           np.arange(12).reshape(3, 4) % 3 == 0, (np.array([[0], [2]]), slice(0, 2)), [0, 0, -1]]
LABELS = [(rng.normal(size=(n, c)) * 9, rng.integers(0, c, n).astype(kind))
          for n, c, kind in [(5, 3, int), (1, 1, np.uint8), (4, 70, np.int8), (300, 64, ">i4"),
                             (3, 2, np.uint64)]]
EXTREME_LABELS = [(np.array([[1e30, 0.0, -1e30], [-INF, 0.0, 700.0]]), np.array([0, 1])),
                  (np.array([[NAN, 0.0], [0.0, 1.0]]), np.array([1, 1]))]
SQUARES = [square(3, 3), square(1, 1), square(2, 4, 4), np.zeros((0, 0))]

MASKED = [(rng.normal(size=m) > 0, rng.normal(size=a), rng.normal(size=b)) for m, a, b in [
    ((3, 4), (3, 4), (4,)), ((50, 40), (50, 40), (50, 40)), ((50, 40), (40,), ()),
    ((40,), (50, 40), (50, 1))]]
MASKED += [(np.arange(2000) % 3 == 0, np.tile([INF, NAN, -0.0, 1e-310], 500), v)
           for v in (0, 0.0, 1.5, np.tile([-INF, 1.0, NAN, 0.0], 500))]

# name: (kernel, plain form, arguments, units in the last place of its largest entry)
ROWS = {
    "relu": (kernels.relu, lambda x: np.where(x <= 0, 0, x),
             [(x,) for x in [*ENTRIES, np.linspace(-9, 9, KEPT + 1)]], 0),
    "leaky_relu": (kernels.leaky_relu, lambda x, slope=0.01: np.where(x > 0, x, slope * x),
                   [(x,) for x in ENTRIES], 1),
    "elu": (kernels.elu, lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(x)),
            [(x,) for x in ENTRIES], 2),
    "where": (kernels.where, np.where, MASKED + [(m, y, x) for m, x, y in MASKED], 0),
    "leaky_factor": (kernels.leaky_factor, lambda x, slope=0.01: np.where(x > 0, 1, slope),
                     [(x, slope) for x in ENTRIES for slope in (0.01, 0.0, -1.0, 1.5)], 0),
    "power": (kernels.power, lambda x, y: np.power(x, y),
              [(x, n) for x in ENTRIES for n in (0, 1, 2, 3, 4, 5, -1, -2, 0.5, 3.0)]
              + [(np.abs(x), x) for x in FLOATS], 2),
    "logaddexp": (kernels.logaddexp, np.logaddexp,
                  [(x, x[::-1]) for x in FLOATS] + [(FLOATS[0], 0.5), (0.5, FLOATS[0])]
                  + [(CORNERS, v) for v in (0.0, INF, -INF, NAN, 80.0)], 4),
    "hypot": (kernels.hypot, np.hypot,
              [(x, x[::-1]) for x in FLOATS] + [(FLOATS[0], 0.5), (1e30 * FLOATS[0], FLOATS[0])]
              + [(size * FLOATS[0], size) for size in (1e-22, 1e-160)]
              + [(CORNERS, v) for v in (0.0, INF, NAN, 1e-30)], 2),
    "cumsum": (kernels.cumsum, np.cumsum,
               [(x, axis) for x in [*FLOATS, rng.normal(size=(60, 150)), rng.normal(size=(150, 60)),
                                    rng.normal(size=(9, 20, 50))]
                for axis in (None, 0, -1, x.ndim // 2)], 200),
    "einsum": (lambda *xs, **out: kernels.einsum(*xs[1:], subscripts=xs[0], **out),
               lambda *xs: kernels.einsum.plain(*xs[1:], subscripts=xs[0]),
               [(spec, *(rng.normal(size=s) for s in shapes)) for spec, *shapes in [
                   ("ij,kj->ik", (3, 4), (5, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
                   ("ab,bcd->cda", (3, 4), (4, 2, 5)), ("abc,dbc->ad", (3, 4, 2), (5, 4, 2)),
                   ("ij,ij->", (3, 4), (3, 4)), ("i,ij->j", (3,), (3, 4)),
                   ("ij,ij->ij", (3, 4), (3, 4)), ("ij,jk->k", (3, 4), (4, 2)),
                   ("ii,ij->j", (3, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4), (1, 4, 5)),
                   ("ij,jk->ik", (3, 0), (0, 2)), ("i,j->ij", (3,), (4,)), ("i->i", (3,))]], 12),
    "log1p_exp_minus": (kernels.log1p_exp_minus,
                        lambda x: np.log1p(np.exp(-np.abs(x))), [(x,) for x in ENTRIES], 4),
    "sigmoid": (kernels.sigmoid, lambda x: 1 / (1 + np.exp(-x)), [(x,) for x in ENTRIES], 4),
    "softplus": (kernels.softplus, lambda x: np.log1p(np.exp(x)), [(x,) for x in ENTRIES], 4),
    "normal_cdf": (kernels.normal_cdf, lambda x: np.reshape(
        [(1 + math.erf(v / math.sqrt(2))) / 2 for v in x.ravel()], x.shape),
        [(x,) for x in ENTRIES], 6),
    "rough_exp": (kernels.rough_exp, lambda x, factor: np.exp(
        factor * x), [(x, factor) for x in FLOATS for factor in (1.0, -0.5)], 40),
    "polynomial": (lambda u, c: kernels.polynomial(u, c), lambda u, c: sum(
        k * u**i for i, k in enumerate(c)), [(x, [3.0, 2.0, 1.0]) for x in FLOATS], 20),
    "normal_density": (kernels.normal_density, kernels.normal_density.plain,
                       [(x,) for x in [np.linspace(-6, 6, 401), np.array([0, -0.0, INF, NAN]),
                                       np.zeros((0, 3)), np.array(-0.7)]], 40),
    "axis_first": (kernels.axis_first, lambda x, axis: np.moveaxis(x, axis, 0).copy(),
                   [(x, axis) for x in [rng.normal(size=(50, 9)), FLOATS[4]] for axis in (0, -1)],
                   0),
    "erf": (kernels.erf, lambda x: np.reshape([math.erf(v) for v in x.ravel()], x.shape),
            [(x,) for x in ENTRIES], 4),
    "sum_rows": (kernels.sum_rows, lambda x: x.sum(axis=0),
                 [(x,) for x in FLOATS if x.ndim == 2] + [(np.ones((KEPT + 1, 2)),)], 70),
    "sum_along": (kernels.sum_along, kernels.sum_along.plain, [(ZERO_D, -1), (ZERO_D, 0)] +
                  [(x, axis) for x in [*FLOATS, FLOATS[4].T, np.ones((1, KEPT + 1))]
                   for axis in [0, -1, (0, -1), (0, 2), (1, 2), (0, 1, 2)]
                   if np.max(axis) < x.ndim and (axis != (0, -1) or x.ndim > 1)], 70),
    "dot_along": (kernels.dot_along, kernels.dot_along.plain, [(ZERO_D, ZERO_D, -1)] +
                  [(x, x[..., ::-1], axis) for x in FLOATS
                   for axis in [*range(-x.ndim, x.ndim), (-1,), (-x.ndim,)]], 70),
    "sum_to": (kernels.sum_to, summed_to,
               [(rng.normal(size=a), b) for a, b in [
                   ((3, 4), (4,)), ((3, 4), (3, 1)), ((4,), (3, 4)), ((3, 1), (3, 4)), ((), (2,)),
                   ((2, 3, 4), ()), ((3, 4), (1, 1)), ((3, 4), (1,)), ((2, 3, 4), (3, 1)),
                   ((2, 1, 4), (3, 4)), ((0, 4), (4,)), ((0, 4), (0, 1)), ((3, 4), (3, 4)),
                   ((2, 3, 4), (2, 1, 4)), ((2, 3, 4), (1, 3, 1)), ((2, 3, 4), (3, 4)),
                   ((2, 3, 2, 4), (2, 4)), ((3, 4), (2, 3, 4))]], 12),
    "logsumexp": (kernels.logsumexp, log_of_sum,
                  [(x, axis, keep) for x in [*FLOATS, extremes(1), extremes(0)]
                   for axis in (None, 0, -1, (0, -1)) if axis != (0, -1) or x.ndim > 1
                   for keep in (False, True)] + [(FLOATS[0],)], 70),
    "norm": (kernels.norm, root_of_squares,
             [(x, axis, keep) for x in [*FLOATS, np.zeros((2, 3)), FLOATS[0] * 1e30,
                                        FLOATS[0] * 1e-30,             # float32 squares to ∞ and 0
                                        np.array([[INF, 1.0], [NAN, 1.0], [-0.0, 0.0]])]
              for axis in (None, 0, -1) for keep in (False, True)] + [(FLOATS[0],)], 70),
    "matmul": (kernels.matmul, rows_times_columns,
               [(rng.normal(size=a), rng.normal(size=b)) for a, b in [
                   ((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((0, 4), (4, 2)),
                   ((3, 0), (0, 2)), ((2, 3, 4), (4, 2)), ((3, 4), (2, 4, 3)), ((1, 1), (1, 1))]]
               + [(np.array([[INF, 1.0], [NAN, 0.0]]), np.ones((2, 2)))], 8),
    "linear": (kernels.linear, lambda x, w, b: rows_times_columns(x, w) + b,
               [(rng.normal(size=a), rng.normal(size=w), rng.normal(size=b)) for a, w, b in [
                   ((3, 4), (4, 2), (2,)), ((4,), (4, 2), (2,)), ((2, 3, 4), (4, 2), (2,)),
                   ((3, 4), (4, 2), (3, 2)), ((0, 4), (4, 2), (2,)), ((2, 3, 4), (4, 2), (3, 2)),
                   ((2, 3, 4), (2, 4, 2), (2,))]], 8),
    "as_rows": (kernels.as_rows, lambda x: x.reshape(x.size // x.shape[-1], x.shape[-1]),
                [(x,) for x in FLOATS if x.ndim > 1], 0),
    "symmetric": (kernels.symmetric, lambda x: np.array([[(x[i, j] + x[j, i]) / 2 for j in range(3)]
                                                         for i in range(3)]), [(square(3, 3),)], 0),
    # What a decomposition says of its matrix holds to the rounding of a few hundred operations.
    "cholesky": (lambda x: kernels.cholesky(x) @ kernels.cholesky(x).mT, lambda x: (x + x.mT) / 2,
                 [(x,) for x in SQUARES], 50),
    "slogdet": (kernels.slogdet, lambda x: np.stack([np.sign(np.linalg.det(x)),
                                                     np.log(np.abs(np.linalg.det(x)))]),
                [(x,) for x in [*SQUARES, -square(3, 3), np.zeros((2, 2))]], 50),
    "eigh": (unpacked_eigh, lambda x: (x + x.mT) / 2, [(x,) for x in SQUARES], 50),
    "svd": (unpacked_svd, lambda x: x,
            [(x,) for x in [*SQUARES, square(3, 3)[:2], square(2, 4, 4)[..., :2]]], 50),
    "scatter": (kernels.scatter, added,
                [(rng.normal(size=np.empty(shape)[i].shape), i, shape)
                 for shape in [(3, 4), (3, 4, 100), (3, 4, 0)] for i in INDICES
                 if shape == (3, 4) or not isinstance(i, tuple)]
                + [(np.ones(3), np.array([0, 9, 0]), (1000,)), (np.array(2.0), (), ()),
                   (np.array([NAN, INF]), np.array([1, 1]), (2,))], 4),
    "put": (kernels.put, replaced,
            [(rng.normal(size=(3, 4)), rng.normal(size=np.empty((3, 4))[i].shape), i)
             for i in INDICES] + [(np.ones((3, 4)), NAN, i) for i in INDICES], 0),
    "short_axis_first": (with_axis_back(kernels.short_axis_first), lambda x, axis: x,
                         [(x, axis) for x in FLOATS for axis in (0, -1)], 0),
    "less_maximum": (with_axis_back(kernels.less_maximum), shifted,
                     [(x, axis) for x in FLOATS for axis in (0, -1) if x.shape[axis]], 1),
    "exp_and_sum": (lambda x, axis: kernels.exp_and_sum(x, axis)[1].reshape(-1),
                    lambda x, axis: np.exp(x).sum(axis=axis).reshape(-1),
                    [(x, axis) for x in FLOATS for axis in (0, -1)], 70),
    "softmax": (kernels.softmax, probabilities,
                [(FLOATS[4],), (ZERO_D, -1), (ZERO_D, 0)] + [
                    (x, axis) for x in [*FLOATS, extremes(1)] for axis in range(-x.ndim, x.ndim)
                    if x.shape[axis]] + [(extremes(0), 0)], 70),
    "log_softmax": (kernels.log_softmax, log_probabilities,
                    [(FLOATS[4],), (ZERO_D, -1), (ZERO_D, 0)] + [
                        (x, axis) for x in [*FLOATS, extremes(1)] for axis in range(-x.ndim, x.ndim)
                        if x.shape[axis]] + [(extremes(0), 0)], 70),
    "exp_and_total": (lambda x, axis: kernels.exp_and_total(x, axis, np.empty_like(x))[1],
                      lambda x, axis: np.exp(x).sum(axis=axis, keepdims=True),
                      [(x / 3, axis) for x in FLOATS for axis in (0, -1) if x.shape[axis]], 70),
    "along": (lambda x, axis: kernels.along(x.sum(axis=axis, keepdims=True), x, axis) + 0 * x,
              lambda x, axis: x.sum(axis=axis, keepdims=True) + 0 * x,
              [(x, axis) for x in FLOATS for axis in (0, -1)], 70),
    "softmax_vjp": (kernels.softmax_vjp, kernels.softmax_vjp.plain,
                    [(x[::-1], probabilities(x, axis), axis) for x in FLOATS
                     for axis in range(-x.ndim, x.ndim) if x.shape[axis]], 70),
    "log_softmax_vjp": (kernels.log_softmax_vjp, kernels.log_softmax_vjp.plain,
                        [(x[::-1], log_probabilities(x, axis), axis) for x in FLOATS
                         for axis in range(-x.ndim, x.ndim) if x.shape[axis]], 70),
    "places_of": (lambda x, y: kernels.places_of(y, x.shape[::-1], 0).astype(float),
                  lambda x, y: [float(label * len(x) + i) for i, label in enumerate(y.tolist())],
                  LABELS, 0),
    "exponentials": (lambda x, y: kernels.exponentials(x, y)[2].reshape(-1),
                     lambda x, y: np.exp(shifted(x, 1)).sum(axis=1), LABELS, 70),
    "checked_exponentials": (lambda x, y: kernels.checked_exponentials(x, y)[2].reshape(-1),
                             lambda x, y: np.exp(shifted(x, 1)).sum(axis=1), LABELS, 70),
    "cross_entropy": (kernels.cross_entropy, mean_of_losses, LABELS + EXTREME_LABELS, 370),
    "residual": (kernels.residual, less_one_hot, LABELS + EXTREME_LABELS, 70),
}


def as_float(x, dtype):
    return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype == float else x


def widened(x):
    return x.astype(float) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ROWS)
def test_a_kernel_is_its_plain_form(name, dtype):
    kernel, plain, calls, units = ROWS[name]
    for args in calls:
        args = tuple(as_float(x, dtype) for x in args)
        kept = [x.copy() if isinstance(x, np.ndarray) else x for x in args]
        with np.errstate(all="ignore"):
            made, expected = np.asarray(kernel(*args)), np.asarray(plain(*map(widened, args)))
            expected = expected.astype(dtype).astype(float)            # what dtype cannot hold
        assert made.shape == expected.shape, args
        assert made.dtype == (dtype if any(isinstance(x, np.ndarray) and x.dtype == dtype
                                           for x in args) and name != "places_of" else float), args
        finite = np.abs(expected[np.isfinite(expected)])
        entrywise = units <= 4                             # no sums: each entry by itself
        scale = finite.max(initial=0) if not entrywise else 0
        np.testing.assert_allclose(
            made, expected, rtol=(units + 1) * np.finfo(dtype).eps,
            atol=units * np.finfo(dtype).eps * scale + np.finfo(dtype).tiny, err_msg=str(args))
        for x, before in zip(args, kept):                  # nothing writes into what it is given
            if isinstance(x, np.ndarray):
                np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", [n for n in ROWS if hasattr(getattr(kernels, n), "plain")])
def test_a_primitive_writes_the_same_where_it_is_told(name, dtype):
    kernel, _, calls, _ = ROWS[name]
    for args in calls:
        args = tuple(as_float(x, dtype) for x in args)
        with np.errstate(all="ignore"):
            made = np.asarray(kernel(*args))
            out = np.full(made.shape, 7, made.dtype)
            returned = kernel(*args, out=out)
        np.testing.assert_array_equal(out, made, err_msg=str(args))
        np.testing.assert_array_equal(returned, made, err_msg=str(args))


@pytest.mark.parametrize("dtype", [complex, np.longdouble, np.complex64])
def test_where_chooses_between_numbers_of_any_width(dtype):
    mask, x = np.arange(2000) % 3 == 0, np.arange(2000).astype(dtype) / 7
    made = kernels.where(mask, x, -x)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, np.where(mask, x, -x))


OTHERS = {"primitive", "single", "constant", "zeros_like", "ones", "arange", "polynomial_of_erf",
          "explicit_einsum", "product_of", "_contracted", "empty_like_both", "check",
          "check_labels", "reads_each_entry_once", "is_duck", "asarray", "created", "moved",
          "speaks_numpy", "brought", "_scattered", "largest", "mT"}


def test_every_kernel_is_compared():
    here = {name for name, f in vars(kernels).items()
            if callable(f) and getattr(f, "__module__", None) == kernels.__name__}
    assert here == ROWS.keys() | OTHERS


# ---- what is no formula --------------------------------------------------------------------------


def test_a_constant_is_made_once_and_nobody_can_write_to_it():
    for make, args, expected in [("ones", (3, np.dtype("f4")), np.ones(3, "f4")),
                                 ("zeros", ((2, 3), float), np.zeros((2, 3)))]:
        array = kernels.constant(make, *args)
        assert array is kernels.constant(make, *args) and array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("n", [1, KEPT, KEPT + 1])
def test_the_ones_that_add_up_rows_are_kept_if_they_are_few(n):
    kernels.constant.cache_clear()
    for _ in range(2):
        np.testing.assert_array_equal(kernels.sum_rows(np.ones((n, 2))), [n, n])
    assert kernels.constant.cache_info()[:2] == ((1, 1) if n <= KEPT else (0, 0))


def test_infinities_and_zeros_in_a_sum_of_exponentials_are_no_reason_to_warn():
    x = np.array([[-INF, -INF], [INF, -INF], [0, -INF], [INF, INF]])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(kernels.logsumexp(x, 1), [-INF, INF, 0, INF])
        np.testing.assert_array_equal(kernels.logsumexp(x.astype("f4")).dtype, np.float32)


def test_a_norm_warns_neither_of_squares_that_overflow_nor_of_those_that_vanish():
    with np.errstate(all="raise"):
        for size in (1e-200, 1.0, 1e200):
            np.testing.assert_allclose(kernels.norm(np.array([3, 4]) * size), 5 * size)
            np.testing.assert_allclose(kernels.hypot(3 * size, 4 * size), 5 * size)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_kernels_do_not_warn_where_their_limits_are_right(dtype):
    most = np.finfo(dtype).max
    x = np.array([most, -most, 80, -80, 0, INF, -INF], dtype)
    with np.errstate(all="raise", under="ignore"):
        for kernel in (kernels.relu, kernels.elu, kernels.sigmoid, kernels.softplus, kernels.erf,
                       kernels.log1p_exp_minus, kernels.normal_cdf):
            assert kernel(x).dtype == dtype
        np.testing.assert_array_equal(kernels.logaddexp(x, x), np.logaddexp(x, x))
        np.testing.assert_array_equal(kernels.hypot(x, 0 * x[4]), np.abs(x))
        assert kernels.softmax(10 * x[2:5]).tolist() == [1, 0, 0]
        assert kernels.softmax(x[:2]).tolist() == [1, 0]
        assert kernels.elu(np.array([-80], "f2"), alpha=1e9) == -INF


@pytest.mark.parametrize("y", [3, 4.0, 3.0, 0.5, np.float32(3)])
def test_power_has_the_dtype_of_numpys(y):
    for x in (np.arange(4, dtype="i1"), np.arange(4, dtype="f4"), 2, np.float32(2)):
        made, expected = kernels.power(x, y), np.power(x, y)
        np.testing.assert_allclose(made, expected, rtol=1e-6)
        assert np.asarray(made).dtype == expected.dtype


@pytest.mark.parametrize("x", [2, 0.5, np.int8(-1), np.arange(-2, 3), np.array([[True, False]])])
def test_erf_of_whole_numbers_is_a_float(x):
    made = kernels.erf(x)
    assert made.dtype == np.float64 and made.shape == np.shape(x)
    np.testing.assert_allclose(made.ravel(), [math.erf(v) for v in np.ravel(x)], rtol=1e-15)


@pytest.mark.parametrize("n", [0, 1, 7, KEPT, KEPT + 1])
def test_zeros_and_ranges_are_numpys_and_kept_if_they_are_small(n):
    x = np.empty(n, np.float32)
    for make in (lambda: kernels.zeros_like(x), lambda: kernels.arange(n, like=x)):
        assert (make() is make()) == (n <= KEPT)
        assert make().flags.writeable == (n > KEPT)
    np.testing.assert_array_equal(kernels.zeros_like(x), np.zeros(n))
    assert kernels.zeros_like(x).dtype == np.float32
    np.testing.assert_array_equal(kernels.arange(n, like=x), np.arange(n))
    np.testing.assert_array_equal(kernels.arange(3 * n, 3, like=x), np.arange(0, 3 * n, 3))


# The exact value, and by how many units in the last place a kernel may miss it in each dtype.
EXACT = {
    "sigmoid": (lambda m, x: 1 / (1 + m.exp(-x)), {"f2": 0.501, "f4": 3, "f8": 3}),
    "softplus": (lambda m, x: m.log1p(m.exp(x)), {"f2": 0.501, "f4": 4, "f8": 3}),
    "elu": (lambda m, x: x if x > 0 else m.expm1(x), {"f2": 0.501, "f4": 3, "f8": 3}),
    "erf": (lambda m, x: m.erf(x), {"f2": 0.501, "f4": 4, "f8": 3}),
}


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("name", EXACT)
def test_a_kernel_is_exact_to_a_few_units_over_its_whole_domain(name, dtype):
    mpmath = pytest.importorskip("mpmath")
    exact, units = EXACT[name][0], EXACT[name][1][dtype]
    limits = np.finfo(dtype)
    with np.errstate(over="ignore", under="ignore"):
        x = np.concatenate([
            np.linspace(-30, 30, 301), np.linspace(-120, 120, 61), np.linspace(-800, 800, 41),
            *(s * np.logspace(-320, 300, 156) for s in (1, -1)), rng.normal(size=300),
            *([s * v, s * v / 3] for s in (1, -1) for v in (limits.max, limits.tiny))],
        ).astype(dtype)
    x = x[np.isfinite(x)]
    made = getattr(kernels, name)(x)
    assert made.dtype == dtype
    with mpmath.workdps(60):
        for v, z in zip(x.tolist(), made.tolist()):
            right = exact(mpmath, mpmath.mpf(v))           # below the smallest normal number,
            unit = abs(right) * float(limits.eps)          # that is all that is promised
            assert abs(mpmath.mpf(z) - right) <= units * unit + float(limits.tiny), (v, z)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_kernels_of_infinities_and_nan(dtype):
    x = np.array([INF, -INF, NAN, 0.0], dtype)
    for name, expected in {"sigmoid": [1, 0, NAN, 0.5], "softplus": [INF, 0, NAN, math.log(2)],
                           "elu": [INF, -1, NAN, 0], "erf": [1, -1, NAN, 0],
                           "relu": [INF, 0, NAN, 0], "leaky_relu": [INF, -INF, NAN, 0]}.items():
        np.testing.assert_allclose(getattr(kernels, name)(x), expected, rtol=np.finfo(dtype).eps)


def test_a_primitive_writes_where_it_is_told_and_hands_others_over():
    x = np.linspace(-2, 2, 12).reshape(3, 4)
    out = np.empty((4, 3)).T
    assert kernels.sigmoid(x, out=out) is out
    np.testing.assert_array_equal(out, kernels.sigmoid(x))
    half = np.empty(3, np.float16)
    assert kernels.sigmoid(np.zeros(3, np.float16), out=half) is half and (half == 0.5).all()
    assert kernels.sigmoid(np.array([0])).tolist() == [0.5]            # integers are numbers too
    assert kernels.sigmoid(np.float32(0)).dtype == np.float32
    np.testing.assert_array_equal(kernels.softmax_vjp([1, 0], x[0, :2], axis=-1),
                                  kernels.softmax_vjp(np.array([1.0, 0.0]), x[0, :2], axis=-1))
    assert kernels.softmax_vjp(tg.Tensor(x), x, axis=-1).op is None
    masked = kernels.where(x > 0, tg.Tensor(x, requires_grad=True), 0.0)
    assert masked.op is tg.ops.where


@pytest.mark.parametrize("spec, shapes", [
    ("ij,jk", [(2, 3), (3, 4)]), ("ba", [(2, 3)]), ("...i,...i", [(5, 3), (4, 5, 3)]),
    ("i...", [(2, 3)]), ("b...,ba", [(2, 4, 5), (2, 3)]),
    (" i j , j -> i ", [(2, 3), (3,)]), ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)])])
def test_explicit_subscripts_mean_the_same(spec, shapes):
    operands = [rng.normal(size=shape) for shape in shapes]
    explicit = kernels.explicit_einsum(spec, operands)
    assert "->" in explicit and "." not in explicit and " " not in explicit
    np.testing.assert_array_equal(np.einsum(explicit, *operands), np.einsum(spec, *operands))


@pytest.mark.parametrize("spec, found", [
    ("ij,jk->ik", ("ij", "jk", "ik", 0, 1, 1)), ("ij,kj->ki", ("ij", "jk", "ik", 0, 1, 1)),
    ("bij,bjk->bik", ("bij", "bjk", "bik", 1, 1, 1)),
    ("abc,dbc->ad", ("abc", "bcd", "ad", 0, 1, 2)), ("i,i->", ("i", "i", "", 0, 0, 1)),
    ("...ij,...jk->...ik", None), ("ii,ij->j", None), ("ij,jj->i", None), ("i,j->ij", None),
    ("ij,jk->k", None), ("ij,jk->i", None), ("i,i->ii", None)])
def test_einsum_knows_a_product_of_matrices(spec, found):
    plan = kernels.product_of(spec)
    if found is None:
        assert plan is None
    else:
        x, y, z = spec.replace("->", ",").split(",")
        first, second, back, *counts = plan
        made = "".join(found[2][i] for i in back)          # from that of the product to `out`
        assert (*("".join(t[i] for i in order) for t, order in ((x, first), (y, second))),
                made, *counts) == (*found[:2], z, *found[3:])


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_that_is_said_to_read_each_entry_once_does(index):
    assert not kernels.reads_each_entry_once(index) or is_read_once(index)
    plain = not any(isinstance(i, list) or (isinstance(i, np.ndarray) and i.dtype != bool)
                    for i in (index if isinstance(index, tuple) else (index,)))
    assert kernels.reads_each_entry_once(index) == plain


def test_a_check_runs_on_arrays_and_is_handed_over_by_what_asks_for_it():
    seen = []

    @kernels.check
    def test(x, y):
        seen.append((x, y))

    class Traced:
        def __check__(self, test, inputs):
            seen.append(("traced", inputs))

    x, plain, traced = np.ones(2), [1.0], Traced()
    test(x, 3)
    test(plain, traced)
    test(traced, x)
    assert seen == [(x, 3), (plain, traced), ("traced", (traced, x))]


def test_labels_are_accepted_if_and_only_if_they_are_classes():
    x = np.zeros((2, 3))
    for kind, pair in itertools.product(["i1", "u1", ">i4", "i8", "u8"],
                                        itertools.product([-1, 0, 2, 3, 120], repeat=2)):
        if kind.startswith("u") and min(pair) < 0:
            continue
        labels = np.array(pair).astype(kind)
        if all(0 <= v < 3 for v in pair):
            kernels.check_labels(x, labels)
        else:
            with pytest.raises(IndexError, match="classes from 0 to 2"):
                kernels.check_labels(x, labels)


@pytest.mark.parametrize("labels, text", [
    ([True, False], r"bool: y\.astype\(int\)$"), ([0.0, 1.0], r"float64: y\.astype\(int\)$"),
    (["a", "b"], "<U1$")])
def test_labels_of_another_kind_are_refused_with_the_cure(labels, text):
    with pytest.raises(TypeError, match=f"labels must be integers, got {text}"):
        kernels.check_labels(np.zeros((2, 3)), np.array(labels))
