"""Properties: what NumPy computes is computed, in the dtype of the rules, with its gradient.

Values and dtypes are NumPy's own. Gradients are compared with their definition: for a function f,
a direction v and a weighting g, ⟨g, f'(x) v⟩ = ⟨f'(x)ᵀ g, v⟩, the left side by central differences.
`pytest -m drill` tries fifty times as many examples.
"""

import functools

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import Tensor

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

SHORT, LONG = 60, 3_000
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)
SEEDS = st.integers(0, 2**32 - 1)


def property_of(*strategies, **named):
    """A test of a property: on a few examples, the same ones each time, and as a drill on many."""
    def decorated(test):
        @pytest.mark.parametrize(
            "examples", [SHORT, pytest.param(LONG, marks=pytest.mark.drill)])
        @functools.wraps(test)
        def run(examples):
            settings(max_examples=examples, derandomize=True, deadline=None, database=None)(
                given(*strategies, **named)(test))()

        del run.__wrapped__                                # pytest would ask for its arguments
        return run

    return decorated


def drawn(seed, shape, dtype=np.float64):
    """Numbers that are apart from each other and from 0, where functions have their corners."""
    rng, size = np.random.default_rng(seed), int(np.prod(shape))
    values = rng.permutation(np.linspace(0.3, 2, max(size, 1)))[:size] * rng.choice([-1, 1], size)
    return values.reshape(shape).astype(dtype)


def holds(f, *arrays):
    """The values of f on Tensors are those on arrays, and its gradients are its slopes."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    z, expected = f(*tensors), np.asarray(f(*arrays))
    np.testing.assert_allclose(z.data, expected, rtol=1e-15)     # one may round in one step
    assert (z.shape, z.dtype) == (expected.shape, expected.dtype)
    g = np.random.default_rng(0).normal(size=z.shape)
    z.backward(g)
    for i, (t, a) in enumerate(zip(tensors, arrays)):
        assert (t.grad.shape, t.grad.dtype) == (a.shape, a.dtype)
        v, h = np.random.default_rng(1).normal(size=a.shape), 1e-6

        def moved(step, i=i, a=a, v=v):
            return np.asarray(f(*arrays[:i], np.asarray(a + step * v), *arrays[i + 1:]))

        slope = np.sum(g * (moved(h) - moved(-h))) / (2 * h)
        np.testing.assert_allclose(np.sum(t.grad * v), slope, rtol=1e-5, atol=1e-7)


# ---- indexing ------------------------------------------------------------------------------------


def indices(shape):
    """Every kind of index that NumPy takes for a shape."""
    kinds = [hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True),
             hnp.arrays(bool, shape)]
    if shape:
        kinds += [hnp.integer_array_indices(shape), hnp.arrays(bool, shape[:1]),
                  st.lists(st.integers(-shape[0], shape[0] - 1), max_size=4)]
    return st.one_of(kinds)


WHERE = SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), indices(shape)))


@property_of(WHERE, SEEDS)
def test_an_index_takes_what_numpy_takes_and_gives_back_its_gradient(where, seed):
    shape, index = where
    holds(lambda x: x[index], drawn(seed, shape))


@property_of(WHERE, SEEDS, st.booleans())
def test_an_assignment_by_index_is_numpys_and_keeps_the_graph(where, seed, one):
    shape, index = where
    part = np.zeros(shape)[index]
    counts = np.zeros(shape)
    np.add.at(counts, index, 1)
    assume(counts.max(initial=0) <= 1)                     # else the order would decide

    def f(x, y):
        z = x * 1 if type(x) is Tensor else x.copy()
        z[index] = y
        return z

    holds(f, drawn(seed, shape), drawn(seed + 1, () if one else part.shape))


# ---- broadcasting --------------------------------------------------------------------------------

BINARY = [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.arctan2,
          np.hypot, np.logaddexp, np.fmax]
PAIRS = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)


@property_of(PAIRS, SEEDS, st.sampled_from(BINARY))
def test_operands_are_broadcast_as_numpy_does_and_gradients_summed_back(shapes, seed, function):
    a, b = (drawn(seed + i, shape) for i, shape in enumerate(shapes.input_shapes))
    holds(function, a, b + 0.01)                           # no ties


@property_of(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3), SEEDS)
def test_where_and_clip_broadcast_all_three(shapes, seed):
    a, b, c = (drawn(seed + i, shape) for i, shape in enumerate(shapes.input_shapes))
    mask = c > 0.5
    holds(lambda x, y: np.where(mask, x, y), a, b)
    holds(lambda x, y, z: np.clip(x, y, z), a, b - 3, c + 3)


@property_of(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2,
                                               max_side=3), SEEDS)
def test_products_of_matrices_are_stacked_as_numpy_does(shapes, seed):
    a, b = (drawn(seed + i, shape) for i, shape in enumerate(shapes.input_shapes))
    tensors = [Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)]
    z, expected = np.matmul(*tensors), np.matmul(a, b)
    np.testing.assert_allclose(z.data, expected, rtol=1e-13, atol=1e-13)
    assert z.shape == expected.shape
    g = drawn(seed + 2, z.shape)
    z.backward(g)
    for t, other in ((tensors[0], lambda v: np.matmul(v, b)),
                     (tensors[1], lambda v: np.matmul(a, v))):
        v = drawn(seed + 3, t.shape)                       # it is linear in each
        np.testing.assert_allclose(np.sum(t.grad * v), np.sum(g * other(v)), rtol=1e-10, atol=1e-10)


@property_of(PAIRS, SEEDS)
def test_a_shape_that_does_not_fit_is_refused_where_numpy_refuses_it(shapes, seed):
    a, b = (drawn(seed + i, shape) for i, shape in enumerate(shapes.input_shapes))
    for shape in (a.shape, b.shape, (2, *a.shape), a.shape[::-1], (a.size,), (-1, 1)):
        for function in (np.broadcast_to, np.reshape):
            try:
                expected = function(b, shape)
            except ValueError:
                with pytest.raises(ValueError):
                    function(Tensor(b), shape)
            else:
                np.testing.assert_array_equal(function(Tensor(b), shape).data, expected)


# ---- reductions ----------------------------------------------------------------------------------

REDUCTIONS = [np.sum, np.mean, np.max, np.min, np.prod, np.var, np.std, np.ptp]


def axes(shape):
    if not shape:
        return st.none()
    one = st.integers(-len(shape), len(shape) - 1)
    several = st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1)
    return st.one_of(st.none(), one, several.map(tuple))


@property_of(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), axes(shape))), SEEDS,
             st.sampled_from(REDUCTIONS), st.booleans())
def test_a_reduction_is_numpys_over_any_axes(where, seed, function, keepdims):
    shape, axis = where
    a = drawn(seed, shape)
    if function in (np.std, np.var):                       # of one number it is flat at a corner
        assume(np.size(function(a, axis=axis)) < a.size)
    holds(lambda x: function(x, axis=axis, keepdims=keepdims), a)


@property_of(SHAPES.filter(len).flatmap(lambda shape: st.tuples(
    st.just(shape), st.integers(-len(shape), len(shape) - 1))), SEEDS,
    st.sampled_from([np.cumsum, np.sort, np.flip, np.diff]))
def test_what_runs_along_an_axis_is_numpys(where, seed, function):
    shape, axis = where
    holds(lambda x: function(x, axis=axis), drawn(seed, shape))


# ---- dtypes --------------------------------------------------------------------------------------

FLOATS = st.sampled_from(["f2", "f4", "f8"])
DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", "?", ">f4", ">i2"])
FORMS = {
    "Tensor": lambda a: Tensor(a), "array": lambda a: a, "scalar": lambda a: a.ravel()[0],
    "number": lambda a: a.ravel()[0].item(), "list": lambda a: a.tolist(),
    "0-d": lambda a: a.ravel()[:1].reshape(()),
}


@property_of(FLOATS, DTYPES, st.sampled_from(list(FORMS)), st.booleans(),
             st.sampled_from([np.add, np.multiply, np.maximum, np.subtract, np.arctan2]))
def test_float_tensors_decide_the_dtype_and_all_else_is_weak(dtype, other, form, first, function):
    a = np.array([1, 2, 3], dtype)
    b = FORMS[form](np.array([3, 1, 0]).astype(other))
    wanted = np.dtype(dtype)
    if form == "Tensor" and np.dtype(other).kind == "f":
        wanted = np.result_type(wanted, np.dtype(other).newbyteorder("="))
    p = Tensor(a, requires_grad=True)
    z = function(p, b) if first else function(b, p)
    plain = np.asarray(b.data if type(b) is Tensor else b).astype(wanted)
    given = [a.astype(wanted), plain]
    assert z.dtype == wanted
    np.testing.assert_array_equal(z.data, function(*(given if first else given[::-1])))
    z.sum().backward()
    assert p.grad.dtype == p.dtype and p.grad.shape == p.shape


@property_of(DTYPES, DTYPES, st.sampled_from(["f4", "f8"]))
def test_integer_tensors_compute_in_the_default_dtype(one, other, default):
    a, b = np.array([1, 2, 3]).astype(one), np.array([3, 1, 0]).astype(other)
    floats = [d for d in (a.dtype, b.dtype) if d.kind == "f"]
    tg.set_default_dtype(default)
    try:
        z = np.divide(Tensor(a), Tensor(b + np.ones_like(b)))
    finally:
        tg.set_default_dtype("f4")
    assert z.dtype == (np.result_type(*floats).newbyteorder("=") if floats else default)
