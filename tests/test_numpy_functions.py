"""NumPy's functions and ufuncs on Tensors: equal to NumPy, recorded, and right in their gradients;
or refused by name. No call may quietly answer with an array that has lost its graph.
"""

import inspect
import sys

import numpy as np
import pytest
from numpy.testing.overrides import (
    get_overridable_numpy_array_functions,
    get_overridable_numpy_ufuncs,
)

import tinygrad_opt as tg
from tinygrad_opt import numpy_functions, ops
from tinygrad_opt.errors import GraphError, NoRuleError, ShapeError
from tinygrad_opt.tensor import FUNCTIONS, Tensor

# Twelve numbers without ties or zeros, in no order.
X = ((np.arange(12) * 5 % 12 + 0.3) / 4 - 1.2).reshape(3, 4)
V = X[1] + 0.01
MASK = X > 0
ARRAY = np.linspace(-1.0, 1.0, 12).reshape(3, 4)


def symmetric(x):
    return x @ x.T + np.eye(3)


# Each recorded function with calls of it; x is the array or Tensor X, v the array or Tensor V.
RECORDED = {
    # ---- reductions ----
    np.sum: [lambda x, v: np.sum(x), lambda x, v: np.sum(x, axis=1),
             lambda x, v: np.sum(x, 0, keepdims=True),
             lambda x, v: np.sum(x, axis=(0, 1)), lambda x, v: np.sum(x, dtype=None, out=None)],
    np.mean: [lambda x, v: np.mean(x, -1), lambda x, v: np.mean(x, axis=0, keepdims=True)],
    np.prod: [lambda x, v: np.prod(x, axis=1)],
    np.var: [lambda x, v: np.var(x, axis=1, ddof=1)],
    np.std: [lambda x, v: np.std(x), lambda x, v: np.std(x, 1, ddof=1, keepdims=True)],
    np.max: [lambda x, v: np.max(x, axis=1)],
    np.amax: [lambda x, v: np.amax(x)],
    np.min: [lambda x, v: np.min(x, axis=0)],
    np.amin: [lambda x, v: np.amin(x, 1, keepdims=True)],
    np.cumsum: [lambda x, v: np.cumsum(x), lambda x, v: np.cumsum(x, axis=0)],
    np.average: [lambda x, v: np.average(x), lambda x, v: np.average(x, axis=1, keepdims=True),
                 lambda x, v: np.average(x, axis=1, weights=v * v),
                 lambda x, v: np.average(ARRAY, axis=1, weights=x * x)],
    np.ptp: [lambda x, v: np.ptp(x), lambda x, v: np.ptp(x, axis=0, keepdims=True)],
    np.diff: [lambda x, v: np.diff(x), lambda x, v: np.diff(x, n=2, axis=0),
              lambda x, v: np.diff(x, n=0)],
    np.linalg.norm: [lambda x, v: np.linalg.norm(x), lambda x, v: np.linalg.norm(x, axis=1),
                     lambda x, v: np.linalg.norm(x, "fro", axis=(0, 1), keepdims=True),
                     lambda x, v: np.linalg.norm(v, 1), lambda x, v: np.linalg.norm(v, 3),
                     lambda x, v: np.linalg.norm(x, np.inf, axis=0),
                     lambda x, v: np.linalg.norm(x, -np.inf, axis=0, keepdims=True)],
    np.linalg.vector_norm: [lambda x, v: np.linalg.vector_norm(x, axis=0),
                            lambda x, v: np.linalg.vector_norm(x, ord=1, keepdims=True)],
    np.gradient: [lambda x, v: np.gradient(v), lambda x, v: np.gradient(x, 0.5, axis=1),
                  lambda x, v: np.gradient(x, np.array([0.0, 1.0, 3.0]), 2.0)[0],
                  lambda x, v: np.gradient(x, edge_order=2)[1],
                  lambda x, v: np.gradient(x, [0.0, 1.0, 1.5, 4.0], axis=(1,), edge_order=2),
                  lambda x, v: np.gradient(ARRAY, np.cumsum(v * v), axis=1)],
    # ---- of numbers ----
    np.fmax: [lambda x, v: np.fmax(x, v), lambda x, v: np.fmax(np.where(MASK, x, np.nan), v)],
    np.fmin: [lambda x, v: np.fmin(x, ARRAY), lambda x, v: np.fmin(v, np.where(MASK, np.nan, x))],
    np.logaddexp2: [lambda x, v: np.logaddexp2(x, v), lambda x, v: np.logaddexp2(1.0, x)],
    np.deg2rad: [lambda x, v: np.deg2rad(x)],
    np.radians: [lambda x, v: np.radians(x)],
    np.rad2deg: [lambda x, v: np.rad2deg(x)],
    np.degrees: [lambda x, v: np.degrees(x)],
    np.sinc: [lambda x, v: np.sinc(x), lambda x, v: np.sinc(v / 10)],
    # ---- choosing ----
    np.where: [lambda x, v: np.where(MASK, x, 0), lambda x, v: np.where(MASK, ARRAY, x),
               lambda x, v: np.where(x > 0, x, v)],
    np.clip: [lambda x, v: np.clip(x, -0.5, 0.5), lambda x, v: np.clip(x, None, v),
              lambda x, v: np.clip(x, min=0.0),
              lambda x, v: np.clip(x, a_min=-0.5, a_max=None)],
    np.nan_to_num: [lambda x, v: np.nan_to_num(x / np.where(MASK, 1, 0.5))],
    np.full_like: [lambda x, v: np.full_like(x, v), lambda x, v: np.full_like(v, x[0, 0])],
    np.tril: [lambda x, v: np.tril(x), lambda x, v: np.tril(x, 1)],
    np.triu: [lambda x, v: np.triu(x), lambda x, v: np.triu(x, -1)],
    # ---- products ----
    np.dot: [lambda x, v: np.dot(x, v), lambda x, v: np.dot(v, v),
             lambda x, v: np.dot([1.0, 2.0, 3.0], x)],
    np.einsum: [lambda x, v: np.einsum("ij,kj->ik", x, ARRAY), lambda x, v: np.einsum("ij,j", x, v),
                lambda x, v: np.einsum("...j,...j->...", x, x), lambda x, v: np.einsum("ij->", x),
                lambda x, v: np.einsum("i,i", v, v, optimize=True)],
    np.tensordot: [lambda x, v: np.tensordot(x, x), lambda x, v: np.tensordot(x, v, axes=1),
                   lambda x, v: np.tensordot(x, ARRAY, axes=(0, 0)),
                   lambda x, v: np.tensordot(v, v, axes=0),
                   lambda x, v: np.tensordot(x, ARRAY, axes=([1, 0], [1, 0])),
                   lambda x, v: np.tensordot(x[:0], v, axes=1)],
    np.inner: [lambda x, v: np.inner(x, v), lambda x, v: np.inner(x, ARRAY),
               lambda x, v: np.inner(v, 2.0)],
    np.vdot: [lambda x, v: np.vdot(x, ARRAY)],
    np.outer: [lambda x, v: np.outer(v, v), lambda x, v: np.outer(x, [1.0, 2.0])],
    np.cross: [lambda x, v: np.cross(x.T, ARRAY.T), lambda x, v: np.cross(x, v[:3], axisa=0),
               lambda x, v: np.cross(x, x * x, axis=0), lambda x, v: np.cross(v[:3], x, -1, 0, 0)],
    np.linalg.cross: [lambda x, v: np.linalg.cross(x, ARRAY, axis=0)],
    np.kron: [lambda x, v: np.kron(x, v), lambda x, v: np.kron(v, ARRAY),
              lambda x, v: np.kron(x, x)],
    np.trace: [lambda x, v: np.trace(x), lambda x, v: np.trace(x, offset=1)],
    np.linalg.outer: [lambda x, v: np.linalg.outer(v, v)],
    np.linalg.matmul: [lambda x, v: np.linalg.matmul(x, ARRAY.T)],
    np.linalg.tensordot: [lambda x, v: np.linalg.tensordot(x, x, axes=2)],
    np.linalg.trace: [lambda x, v: np.linalg.trace(x[:, :3]),
                      lambda x, v: np.linalg.trace(x, offset=1)],
    np.linalg.diagonal: [lambda x, v: np.linalg.diagonal(x, offset=-1)],
    np.linalg.vecdot: [lambda x, v: np.linalg.vecdot(x, v),
                       lambda x, v: np.linalg.vecdot(x, ARRAY, axis=0)],
    np.linalg.matrix_transpose: [lambda x, v: np.linalg.matrix_transpose(x)],
    # ---- linear algebra ----
    np.linalg.solve: [lambda x, v: np.linalg.solve(symmetric(x), v[:3]),
                      lambda x, v: np.linalg.solve(symmetric(x), x),
                      lambda x, v: np.linalg.solve(np.eye(3), x),
                      lambda x, v: np.linalg.solve(symmetric(x), [1.0, 2.0, 3.0])],
    np.linalg.inv: [lambda x, v: np.linalg.inv(x[:, :3]),
                    lambda x, v: np.linalg.inv(np.stack([x[:, 1:], symmetric(x)]))],
    np.linalg.det: [lambda x, v: np.linalg.det(x[:, :3]), lambda x, v: np.linalg.det(x.T @ x)],
    np.linalg.slogdet: [lambda x, v: np.linalg.slogdet(x[:, :3])[1],
                        lambda x, v: np.linalg.slogdet(symmetric(x)).sign],
    np.linalg.cholesky: [lambda x, v: np.linalg.cholesky(symmetric(x)),
                         lambda x, v: np.linalg.cholesky(symmetric(x), upper=True)],
    np.linalg.eigh: [lambda x, v: np.linalg.eigh(symmetric(x)).eigenvectors,
                     lambda x, v: np.linalg.eigh(symmetric(x), "U")[0]],
    np.linalg.eigvalsh: [lambda x, v: np.linalg.eigvalsh(symmetric(x))],
    np.linalg.svd: [lambda x, v: np.linalg.svd(x, full_matrices=False).U,
                    lambda x, v: np.linalg.svd(x.T, full_matrices=False)[2],
                    lambda x, v: np.linalg.svd(x[:, :3]).S,
                    lambda x, v: np.linalg.svd(x, compute_uv=False)],
    np.linalg.svdvals: [lambda x, v: np.linalg.svdvals(x)],
    # ---- shape ----
    np.reshape: [lambda x, v: np.reshape(x, (2, 6)), lambda x, v: np.reshape(x, -1, order="C")],
    np.ravel: [lambda x, v: np.ravel(x)],
    np.transpose: [lambda x, v: np.transpose(x), lambda x, v: np.transpose(x, (1, 0)),
                   lambda x, v: np.transpose(x, [-1, 0])],
    np.matrix_transpose: [lambda x, v: np.matrix_transpose(x)],
    np.swapaxes: [lambda x, v: np.swapaxes(x, 0, 1)],
    np.moveaxis: [lambda x, v: np.moveaxis(x, 0, -1)],
    np.squeeze: [lambda x, v: np.squeeze(x[:1]), lambda x, v: np.squeeze(x[:1], axis=0)],
    np.expand_dims: [lambda x, v: np.expand_dims(x, 1),
                     lambda x, v: np.expand_dims(x, axis=(0, -1))],
    np.broadcast_to: [lambda x, v: np.broadcast_to(v, (2, 4))],
    np.broadcast_arrays: [lambda x, v: np.broadcast_arrays(x, v, 1.0)[1]],
    np.atleast_1d: [lambda x, v: np.atleast_1d(v[0]), lambda x, v: np.atleast_1d(x, v)[1]],
    np.atleast_2d: [lambda x, v: np.atleast_2d(v), lambda x, v: np.atleast_2d(v[0])],
    np.flip: [lambda x, v: np.flip(x), lambda x, v: np.flip(x, axis=1)],
    np.fliplr: [lambda x, v: np.fliplr(x)],
    np.flipud: [lambda x, v: np.flipud(x)],
    np.rot90: [lambda x, v, k=k: np.rot90(x, k) for k in range(-1, 4)],
    np.roll: [lambda x, v: np.roll(x, 2), lambda x, v: np.roll(x, (1, -1), axis=(0, 1))],
    np.tile: [lambda x, v: np.tile(v, (2, 2)), lambda x, v: np.tile(x, 2)],
    np.repeat: [lambda x, v: np.repeat(x, 2), lambda x, v: np.repeat(x, [1, 0, 2], axis=0)],
    np.pad: [lambda x, v: np.pad(x, 1), lambda x, v: np.pad(x, ((1, 0), (0, 2)),
                                                            constant_values=3.0),
             lambda x, v: np.pad(v, (1, 2), "edge"), lambda x, v: np.pad(x, (2, 1), mode="reflect"),
             lambda x, v: np.pad(x, ((2, 1), (3, 0)), mode="symmetric"),
             lambda x, v: np.pad(x, 2, mode="wrap")],
    np.copy: [lambda x, v: np.copy(x)],
    np.round: [lambda x, v: np.round(x)],
    np.around: [lambda x, v: np.around(x, 1)],
    np.diag: [lambda x, v: np.diag(x), lambda x, v: np.diag(v, 1), lambda x, v: np.diag(v, -2),
              lambda x, v: np.diag(v)],
    np.diagonal: [lambda x, v: np.diagonal(x), lambda x, v: np.diagonal(x, 1)],
    np.astype: [lambda x, v: np.astype(x, np.float64)],
    np.unstack: [lambda x, v: np.unstack(x)[1], lambda x, v: np.unstack(x, axis=1)[3]],
    # ---- joining and splitting ----
    np.concatenate: [lambda x, v: np.concatenate([x, ARRAY]),
                     lambda x, v: np.concatenate((ARRAY, x, x), axis=1),
                     lambda x, v: np.concatenate([x, v], axis=None),
                     lambda x, v: np.concatenate([v, [1.0, 2.0]])],
    np.stack: [lambda x, v: np.stack([x, ARRAY]), lambda x, v: np.stack([v, v, V], axis=-1),
               lambda x, v: np.stack(x)],
    np.append: [lambda x, v: np.append(x, v), lambda x, v: np.append(x, x, axis=0),
                lambda x, v: np.append(v, 1.0)],
    np.vstack: [lambda x, v: np.vstack([x, v]), lambda x, v: np.vstack([v, V])],
    np.hstack: [lambda x, v: np.hstack([x, ARRAY]), lambda x, v: np.hstack([v, V, 2.0])],
    np.column_stack: [lambda x, v: np.column_stack([v, V]), lambda x, v: np.column_stack([x.T, v])],
    np.split: [lambda x, v: np.split(x, 3)[1], lambda x, v: np.split(x, [1, 3], axis=1)[1]],
    np.array_split: [lambda x, v: np.array_split(v, 3)[0],
                     lambda x, v: np.array_split(x, 2, axis=-1)[1]],
    np.vsplit: [lambda x, v: np.vsplit(x, 3)[2]],
    np.hsplit: [lambda x, v: np.hsplit(x, 2)[0], lambda x, v: np.hsplit(v, [1])[1]],
    # ---- indexing ----
    np.take: [lambda x, v: np.take(x, [0, 5, 5]), lambda x, v: np.take(x, 1, axis=0),
              lambda x, v: np.take(x, [[0, 1]], axis=1)],
    np.take_along_axis: [lambda x, v: np.take_along_axis(x, np.array([[0], [1], [1]]), axis=1)],
    np.sort: [lambda x, v: np.sort(x), lambda x, v: np.sort(x, axis=0),
              lambda x, v: np.sort(x, axis=None)],
    np.partition: [lambda x, v: np.partition(x, 1), lambda x, v: np.partition(x, (0, 2), axis=0),
                   lambda x, v: np.partition(x, 5, axis=None)],
    np.bincount: [lambda x, v: np.bincount([0, 2, 2, 5], v),
                  lambda x, v: np.bincount([0, 1, 1, 0], weights=v, minlength=4)],
}
CALLS = [pytest.param(call, id=f"{f.__name__}-{i}") for f, calls in RECORDED.items() for i,
         call in enumerate(calls)]


@pytest.fixture
def x():
    return Tensor(X, requires_grad=True, name="x")


def test_every_function_that_is_recorded_is_called_here():
    assert FUNCTIONS.keys() - numpy_functions.READING - ops.UFUNCS.keys() == RECORDED.keys()


@pytest.mark.parametrize("call", CALLS)
def test_a_recorded_function_gives_what_numpy_gives_and_keeps_the_graph(call):
    z = call(Tensor(X, requires_grad=True), Tensor(V, requires_grad=True))
    expected = call(X, V)
    assert type(z) is Tensor and z.requires_grad
    assert z.shape == np.shape(expected) and z.dtype == np.float64
    np.testing.assert_allclose(z.data, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("call", CALLS)
def test_gradients_of_a_recorded_function_agree_with_finite_differences(call):
    assert tg.gradcheck(call, X, V)


@pytest.mark.parametrize("call", CALLS)
def test_a_recorded_function_keeps_float32(call):
    """Raw arrays of float64 and Python numbers beside the Tensors are weak."""
    given = [Tensor(a.astype(np.float32), requires_grad=True) for a in (X, V)]
    z = call(*given)
    assert z.dtype == np.float32 or z.op is ops.cast
    z.sum().backward()
    assert all(t.grad is None or t.grad.dtype == np.float32 for t in given)


# ---- all or nothing ------------------------------------------------------------------------------


def arguments(function, t):
    """Arguments that put a Tensor wherever the function looks for one."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:                                     # written in C, before NumPy 2.5
        made = {"fromstring": ("1",), "fromiter": ((), float), "frombuffer": (b"",)}
        made |= dict.fromkeys(["zeros", "empty", "arange", "array", "asarray", "asanyarray",
                               "ascontiguousarray", "asfortranarray", "fromfile"], (1,))
        given = made.get(function.__name__)
        if given is not None:
            return given, {"like": t}
        return (t,) * (3 if function is np.putmask else 2), {}
    if "like" in parameters:
        wanted = [p for p in parameters.values()
                  if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
        named = {"dtype": float, "string": "1"}
        return tuple(named.get(p.name, 1) for p in wanted), {"like": t}
    args = [t for p in parameters.values()
            if p.kind is p.VAR_POSITIONAL or (p.kind < p.VAR_POSITIONAL and p.default is p.empty)]
    return tuple(args), {}


np.fft.fft  # noqa: B018  (its module is imported when it is first asked for)


def is_public(function):
    return getattr(sys.modules[function.__module__], function.__name__, None) is function


OTHERS = sorted((f for f in get_overridable_numpy_array_functions()
                 if is_public(f) and f not in FUNCTIONS and f not in numpy_functions.READING),
                key=lambda f: (f.__module__, f.__name__))


@pytest.mark.parametrize("function", OTHERS, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_a_function_without_a_rule_is_refused_by_name(function, x):
    args, kwargs = arguments(function, x)
    with pytest.raises(NoRuleError, match=rf"np\.\S*{function.__name__} has no gradient rule"):
        function(*args, **kwargs)


def test_the_walk_over_numpy_meets_the_functions_that_people_use():
    assert {np.fft.fft, np.linalg.pinv, np.median, np.cumprod, np.interp, np.unique,
            np.polyfit} <= set(OTHERS)
    assert len(OTHERS) > 150


@pytest.mark.parametrize("ufunc", sorted(get_overridable_numpy_ufuncs(), key=lambda u: u.__name__),
                         ids=lambda u: u.__name__)
def test_a_ufunc_is_recorded_or_reads_or_is_refused_by_name(ufunc, x):
    inputs = [x @ x.T if ufunc is np.matmul else x] * ufunc.nin
    if ufunc in ops.UFUNCS:
        with np.errstate(invalid="ignore", divide="ignore"):
            assert ufunc(*inputs).op is ops.UFUNCS[ufunc]
    elif ufunc in numpy_functions.READING:
        assert isinstance(ufunc(*inputs), np.ndarray)
    elif ufunc in RECORDED:
        assert ufunc(*inputs).requires_grad
    else:
        with pytest.raises(NoRuleError, match=rf"np\.{ufunc.__name__} has no gradient rule"):
            ufunc(*inputs)


READ = {
    np.all: lambda x: np.all(x > 0),
    np.allclose: lambda x: np.allclose(x, X),
    np.any: lambda x: np.any(x, axis=0),
    np.argmax: lambda x: np.argmax(x, axis=1),
    np.argmin: lambda x: np.argmin(x),
    np.argpartition: lambda x: np.argpartition(x, 1, axis=0),
    np.argsort: lambda x: np.argsort(x, axis=0),
    np.argwhere: lambda x: np.argwhere(x),
    np.array2string: lambda x: np.array2string(x),
    np.array_equal: lambda x: np.array_equal(x, X),
    np.array_equiv: lambda x: np.array_equiv(x, X),
    np.array_repr: lambda x: np.array_repr(x),
    np.array_str: lambda x: np.array_str(x),
    np.bincount: lambda x: np.bincount(np.argmax(x, axis=0)),
    np.can_cast: lambda x: np.can_cast(x, np.float64),
    np.common_type: lambda x: np.common_type(x, ARRAY),
    np.count_nonzero: lambda x: np.count_nonzero(x, axis=0),
    np.digitize: lambda x: np.digitize(x, [0.0]),
    np.empty_like: lambda x: np.empty_like(x).shape,
    np.flatnonzero: lambda x: np.flatnonzero(x),
    np.full_like: lambda x: np.full_like(x, 3.0),
    np.iscomplexobj: lambda x: np.iscomplexobj(x),
    np.isclose: lambda x: np.isclose(x, X),
    np.isin: lambda x: np.isin(x, X[0]),
    np.isneginf: lambda x: np.isneginf(x),
    np.isposinf: lambda x: np.isposinf(x),
    np.isrealobj: lambda x: np.isrealobj(x),
    np.may_share_memory: lambda x: np.may_share_memory(x, ARRAY),
    np.min_scalar_type: lambda x: np.min_scalar_type(x),
    np.ndim: lambda x: np.ndim(x),
    np.nonzero: lambda x: np.nonzero(x)[0],
    np.ones_like: lambda x: np.ones_like(x),
    np.ravel_multi_index: lambda x: np.ravel_multi_index((Tensor(np.array([1, 2])), [0, 3]),
                                                         (3, 4)),
    np.result_type: lambda x: np.result_type(x, np.float32),
    np.searchsorted: lambda x: np.searchsorted(np.array([0.0]), x),
    np.shape: lambda x: np.shape(x),
    np.shares_memory: lambda x: np.shares_memory(x, ARRAY),
    np.signbit: lambda x: np.signbit(x),
    np.size: lambda x: np.size(x, axis=0),
    np.unravel_index: lambda x: np.unravel_index(Tensor(np.array([5])), (3, 4))[0],
    np.where: lambda x: np.where(x > 0)[1],
    np.zeros_like: lambda x: np.zeros_like(x),
}


def test_every_function_that_only_reads_is_called_here():
    assert {f for f in numpy_functions.READING if not isinstance(f, np.ufunc)} <= READ.keys()


@pytest.mark.parametrize("call", READ.values(), ids=[f.__name__ for f in READ])
def test_a_function_that_only_reads_answers_as_for_an_array(call, x):
    answer = call(x)
    assert type(answer) is type(call(X))
    np.testing.assert_array_equal(answer, call(X))


@pytest.mark.parametrize("compare", [np.less, np.less_equal, np.equal, np.not_equal, np.greater,
                                     np.greater_equal])
def test_comparisons_give_boolean_arrays(compare, x):
    for answer in (compare(x, 0.1), compare(ARRAY, x), compare(x, x)):
        assert type(answer) is np.ndarray and answer.dtype == bool


# ---- options -------------------------------------------------------------------------------------

REFUSED = {
    "sum with where=": lambda x: np.sum(x, where=MASK),
    "sum with initial=": lambda x: np.sum(x, initial=1.0),
    "sum with out=": lambda x: np.sum(x, out=np.zeros(())),
    "sum with dtype=": lambda x: np.sum(x, dtype=np.float32),
    "mean with where=": lambda x: np.mean(x, where=MASK),
    "max with initial=": lambda x: np.max(x, initial=0.0),
    "std with correction=": lambda x: np.std(x, correction=1),
    "cumsum with out=": lambda x: np.cumsum(x, out=np.zeros(12)),
    "round with out=": lambda x: np.round(x, out=np.zeros((3, 4))),
    "clip with out=": lambda x: np.clip(x, 0, 1, out=np.zeros((3, 4))),
    "clip with where=": lambda x: np.clip(x, 0, 1, where=MASK),
    "concatenate with out=": lambda x: np.concatenate([x, x], out=np.zeros((6, 4))),
    "concatenate with dtype=": lambda x: np.concatenate([x, x], dtype=np.float32),
    "stack with dtype=": lambda x: np.stack([x, x], dtype=np.float32),
    "vstack with dtype=|concatenate with dtype=": lambda x: np.vstack([x, x], dtype=np.float32),
    "take with mode=": lambda x: np.take(x, [0], mode="clip"),
    "ravel with order=": lambda x: np.ravel(x, order="F"),
    "reshape with order=": lambda x: np.reshape(x, -1, order="F"),
    "dot with out=": lambda x: np.dot(x, V, out=np.zeros(3)),
    "einsum with out=": lambda x: np.einsum("ij->i", x, out=np.zeros(3)),
    "einsum without a subscripts string": lambda x: np.einsum(x, [0, 1], [1]),
    "diff with prepend=": lambda x: np.diff(x, prepend=0.0),
    "ptp with out=": lambda x: np.ptp(x, out=np.zeros(())),
    "average with returned=": lambda x: np.average(x, returned=True),
    "pad with mode='mean' has": lambda x: np.pad(x, 1, mode="mean"),
    "pad with stat_length=": lambda x: np.pad(x, 1, mode="edge", stat_length=2),
    "pad with constant_values=": lambda x: np.pad(x, 1, mode="edge", constant_values=2),
    "linalg.norm with ord=2, axis=None": lambda x: np.linalg.norm(x, 2),
    "linalg.norm with ord='nuc', axis=1": lambda x: np.linalg.norm(x, "nuc", axis=1),
    "linalg.norm with ord=0": lambda x: np.linalg.norm(x, 0, axis=1),
    "linalg.svd with full_matrices=True": lambda x: np.linalg.svd(x),
    "linalg.svd with hermitian=True": lambda x: np.linalg.svd(x, hermitian=True),
    "add with where=": lambda x: np.add(x, 1, where=MASK),
    "exp with dtype=": lambda x: np.exp(x, dtype=np.float32),
    "multiply.outer": lambda x: np.multiply.outer(x, x),
    "logaddexp.reduce": lambda x: np.logaddexp.reduce(x),
    "add.at": lambda x: np.add.at(x, [0], 1.0),
}


@pytest.mark.parametrize("words", REFUSED)
def test_an_option_without_a_rule_is_refused_by_name(words, x):
    with pytest.raises(NoRuleError, match=words.replace(".", r"\.")):
        REFUSED[words](x)
    np.testing.assert_array_equal(x.data, X)


def test_results_cannot_be_written_into_an_array_that_has_no_graph(x):
    out = np.zeros((3, 4))
    with pytest.raises(GraphError, match="would lose the graph of x"):
        np.exp(x, out=out)
    with pytest.raises(GraphError, match="would lose the graph of x"):
        out += x
    np.testing.assert_array_equal(out, 0)


def test_turning_a_recorded_tensor_into_an_array_is_refused(x):
    for lose in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.vectorize(float)):
        with pytest.raises(GraphError, match="would lose its graph"):
            lose(x)
    assert np.shares_memory(np.asarray(x.detach()), x.data)


@pytest.mark.parametrize("function", [np.array, np.sum, np.max, np.mean])
def test_a_list_of_recorded_tensors_is_not_quietly_an_array(function, x):
    for tensors in ([x, x], [x[0, 0], 1.0]):
        with pytest.raises(GraphError, match=r"np\.stack and np\.concatenate"):
            function(tensors)


def test_weights_along_one_axis_need_to_know_which(x):
    with pytest.raises(TypeError, match="average needs the axis"):
        np.average(x, weights=V)


@pytest.mark.parametrize("call, words", [
    (lambda x: np.split(x, 2), "does not divide into 2 equal parts"),
    (lambda x: np.tensordot(x, x, axes=1), "summed axes"),
    (lambda x: np.concatenate([x, V]), r"concatenate of x \(3, 4\) and \(4,\)"),
    (lambda x: np.sum(x, axis=2), r"sum of x \(3, 4\): axis 2 is out of bounds"),
    (lambda x: np.reshape(x, (5, 5)), r"reshape of x \(3, 4\)"),
    (lambda x: np.einsum("ij,jk->ik", x, x), "einsum of x"),
    (lambda x: np.cross(x, x), r"cross of \(3, 4\) and \(3, 4\): vectors have three components"),
    (lambda x: np.gradient(x[:1], axis=0), "axis of length 1 needs at least 2 entries"),
    (lambda x: np.gradient(x[:2], axis=0, edge_order=2), "length 2 needs at least 3 entries"),
    (lambda x: np.gradient(x, [0.0, 1.0], axis=0), r"cannot take coordinates of shape \(2,\)"),
])
def test_shapes_that_do_not_fit_are_named(call, words, x):
    with pytest.raises(ShapeError, match=words):
        call(x)


# ---- reductions by a ufunc -----------------------------------------------------------------------


@pytest.mark.parametrize("call", [
    lambda x: np.add.reduce(x), lambda x: np.add.reduce(x, axis=1, keepdims=True),
    lambda x: np.add.reduce(x, axis=None),
    lambda x: np.multiply.reduce(x, axis=1), lambda x: np.maximum.reduce(x, axis=0),
    lambda x: np.minimum.reduce(x),
    lambda x: np.add.accumulate(x, axis=1),
])
def test_a_reduction_by_a_ufunc_is_recorded_with_numpys_defaults(call, x):
    z = call(x)
    np.testing.assert_allclose(z.data, call(X), rtol=1e-14)
    assert z.requires_grad and tg.gradcheck(call, X)


def test_second_derivatives_pass_through_recorded_functions():
    def f(x):
        return np.sum(np.einsum("ij,kj->ik", x,
                                x) ** 2) + np.linalg.norm(np.concatenate([x, x * x]))

    slope = tg.grad(f)
    direction = np.cos(np.arange(12.0)).reshape(3, 4)
    ahead, behind = slope(X + 1e-5 * direction), slope(X - 1e-5 * direction)
    np.testing.assert_allclose(tg.hvp(f)(X, direction), (ahead - behind) / 2e-5, rtol=1e-6,
                               atol=1e-8)


def test_constants_give_constants():
    z = np.sum(Tensor(X) * 2)
    assert type(z) is Tensor and not z.requires_grad and z.op is None


@pytest.mark.parametrize("call", [
    lambda t: np.cumsum(t, axis=3), lambda t: t.cumsum(-4), lambda t: np.split(t, 2, axis=3),
    lambda t: np.array_split(t, 2, axis=-3),
])
def test_an_axis_that_is_not_there_is_named(call):
    with pytest.raises((ShapeError, np.exceptions.AxisError), match=r"axis -?\d is out of bounds"):
        call(Tensor(np.ones((70, 70))))


def test_padding_with_zeros_is_one_operation():
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    assert np.pad(x, 1, constant_values=0.0).op.name == "pad"
    assert np.pad(x, 1, constant_values=2.0).op.name == "add"


def test_places_to_split_at_may_be_a_tensor():
    parts = np.array_split(Tensor(np.arange(6.0)), Tensor(np.array([1, 3])))
    assert [p.data.tolist() for p in parts] == [[0], [1, 2], [3, 4, 5]]
    assert len(np.split(np.arange(6.0), Tensor(np.array([1, 3])))) == 3


@pytest.mark.parametrize("call", [
    lambda x: np.tensordot(x, x), lambda x: np.tensordot(x, x, ([0, 0], [0, 0])),
    lambda x: np.tensordot(x, x, (0, 0, 0)), lambda x: np.split(x, 4.0),
])
def test_what_numpy_refuses_is_refused(call):
    with pytest.raises((ValueError, IndexError, TypeError)):
        call(np.arange(6.0))
    with pytest.raises((ValueError, IndexError, TypeError)):
        call(Tensor(np.arange(6.0)))


def test_average_returns_no_weights():
    x = Tensor(np.arange(6.0))
    assert np.average(x, returned=False).item() == np.average(x, None, None, False).item() == 2.5
    with pytest.raises(NoRuleError, match="returned"):
        np.average(x, returned=True)
