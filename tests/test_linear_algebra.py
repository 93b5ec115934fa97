"""NumPy's linear algebra on Tensors where a decomposition is not unique, what is refused, and
compiled steps.
"""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import Tensor
from tinygrad_opt.errors import NoRuleError, ShapeError

rng = np.random.default_rng(3)
ONE, B = rng.normal(size=(3, 3)), rng.normal(size=(3, 2))


def positive(m):
    """Symmetric and positive definite."""
    return m @ m.mT + np.eye(3)


# ---- where a decomposition is not unique ---------------------------------------------------------


@pytest.mark.parametrize("turn", [np.eye(3), np.linalg.qr(ONE)[0]], ids=["exact", "to rounding"])
def test_functions_of_equal_eigenvalues_have_their_gradients(turn):
    """What does not depend on the choice of eigenvectors, at w = 2, 2, 5 and at w = 2, 2, 2."""
    c = ONE + ONE.T
    for w in ([2.0, 2.0, 5.0], [2.0, 2.0, 2.0]):
        a = turn * w @ turn.T
        a = (a + a.T) / 2
        slope = tg.grad(lambda x: (np.linalg.eigvalsh(x) ** 3).sum())(a)
        np.testing.assert_allclose(slope, 3 * a @ a, atol=1e-12)
        curvature = tg.hvp(lambda x: np.log(np.linalg.eigh(x)[0]).sum())(a, c)
        assert np.isfinite(curvature).all()

    def onto_the_pair(x):                                  # the projector onto a space of two
        v = np.linalg.eigh(x).eigenvectors[:, :2]
        return (v @ v.T * c).sum()

    a = turn * [2.0, 2.0, 5.0] @ turn.T
    a, d = (a + a.T) / 2, np.diag([1.0, -2.0, 0.5]) + c
    slope = (tg.grad(onto_the_pair)(a) * d).sum()
    projector = [np.linalg.eigh(a + h * d)[1][:, :2] for h in (1e-5, -1e-5)]
    ahead, behind = (np.sum(v @ v.T * c) for v in projector)
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_equal_and_distinct_eigenvalues_are_told_apart_at_any_size(size):
    """The gradient of a projector goes with 1/size. A large matrix beside it in a stack is no
    matter."""
    a, c = np.array([[2.0, 1e-3, 0.1], [1e-3, 2.0, 0.2], [0.1, 0.2, 2.001]]), ONE + ONE.T

    def f(x):
        v = np.linalg.eigh(x).eigenvectors[..., :2]
        return (v @ v.mT * c).sum()

    slope = tg.grad(f)(a)
    assert tg.gradcheck(f, a)
    np.testing.assert_allclose(tg.grad(f)(size * a), slope / size, rtol=1e-6)
    beside = tg.grad(f)(np.stack([1e15 * np.diag([1.0, 2.0, 3.0]), size * a]))
    np.testing.assert_allclose(beside[1], slope / size, rtol=1e-6)


def test_the_choice_of_vectors_gets_no_gradient():
    """At equal eigenvalues any basis would do, and at the zero matrix any vectors."""
    for a in (np.eye(3), np.zeros((3, 3))):
        slope = tg.grad(lambda x: (np.linalg.eigh(x).eigenvectors * ONE).sum())(a)
        np.testing.assert_array_equal(slope, 0 * a)
        np.testing.assert_array_equal(tg.grad(lambda x: np.linalg.eigvalsh(x).sum())(a), np.eye(3))
    u_and_v = tg.grad(lambda x: sum((v * ONE).sum() for v in np.linalg.svd(x)[::2]))
    np.testing.assert_array_equal(u_and_v(np.zeros((3, 3))), np.zeros((3, 3)))


@pytest.mark.parametrize("seed", range(20))
def test_eigenvalues_that_differ_by_rounding_are_equal(seed):
    """A projector onto four of six dimensions: rounding over rounding would be noise near 1."""
    numbers = np.random.default_rng(seed)
    q, w = np.linalg.qr(numbers.normal(size=(6, 6)))[0], np.array([2.0, 2.0, 2.0, 2.0, 5.0, 7.0])
    a, c = q * w @ q.T, numbers.normal(size=(6, 6))
    a, c = (a + a.T) / 2, c + c.T

    def f(x):
        v = np.linalg.eigh(x).eigenvectors[:, :4]
        return (v @ v.T * c).sum()

    kept, rest = q[:, :4] @ q[:, :4].T, q[:, 4:] / (2 - w[4:]) @ q[:, 4:].T
    exact = kept @ c @ rest
    np.testing.assert_allclose(tg.grad(f)(a), exact + exact.T, atol=1e-12)


@pytest.mark.parametrize("a", [np.eye(3), np.linalg.qr(ONE)[0], 2 * np.eye(3)[:, :2]])
def test_the_nearest_orthogonal_matrix_has_a_gradient_at_equal_singular_values(a):
    """UVᵀ is smooth there, though U and V are arbitrary; PyTorch gives nan or numbers of 1e16."""
    def nearest(x):
        u, _, vt = np.linalg.svd(x, full_matrices=False)
        return u @ vt

    assert tg.gradcheck(nearest, a)
    assert tg.gradcheck(lambda x: np.linalg.svd(x, compute_uv=False).sum(), a)


def test_the_sum_of_singular_values_has_a_finite_gradient_where_one_is_zero():
    a = np.outer([1.0, 2.0, 2.0], [3.0, 4.0])
    slope = tg.grad(lambda x: np.linalg.svdvals(x).sum())(a)
    np.testing.assert_allclose(slope.T @ a, np.array([[3.0, 4.0]]).T * [[3, 4]] * 15 / 25,
                               atol=1e-12)
    assert np.isfinite(tg.hvp(lambda x: (np.linalg.svd(x, compute_uv=False)).max())(a, a)).all()


SINGULAR = {"rank 2": np.arange(9.0).reshape(3, 3), "rank 1": np.ones((3, 3)),
            "rank 0": np.zeros((3, 3)), "rank 1 of 2": np.ones((2, 2)), "1 by 1": np.zeros((1, 1)),
            "rank 2 of 4": np.add.outer(np.arange(4.0), np.arange(4.0) ** 2)}


@pytest.mark.parametrize("a", SINGULAR.values(), ids=SINGULAR.keys())
def test_det_has_derivatives_of_two_orders_at_singular_matrices(a):
    """Against the cofactors by minors, and differences of these, which are polynomials."""
    def minors(x):
        n = range(len(x))
        return np.array([[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(x, i, 0), j, 1))
                          for j in n] for i in n])

    d = ONE[: len(a), : len(a)] if len(a) < 4 else rng.normal(size=a.shape)
    np.testing.assert_allclose(tg.grad(np.linalg.det)(a), minors(a), atol=1e-12)
    slope = (minors(a + 1e-4 * d) - minors(a - 1e-4 * d)) / 2e-4       # exact but for O(1e-8)
    np.testing.assert_allclose(tg.hvp(np.linalg.det)(a, d), slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("x", [0.0, 1e-12, 1e-6, 0.1, 0.15, 0.16, 0.2, 1.0, 30.0])
def test_sinc_is_smooth_at_zero(x):
    """All orders, on both sides of the end of its Taylor series at |x| = 0.159."""
    mpmath = pytest.importorskip("mpmath")
    f = np.sinc
    for order in range(4):
        with mpmath.workdps(60):
            exact = mpmath.diff(lambda t: mpmath.sincpi(t), mpmath.mpf(x), order)
        value = f(Tensor(x, dtype=np.float64)).item()
        np.testing.assert_allclose(value, float(exact), rtol=1e-9, atol=1e-12)
        f = tg.grad(f)


@pytest.mark.parametrize("f", [np.linalg.cholesky, np.linalg.eigvalsh])
def test_a_replay_refuses_a_matrix_that_is_not_symmetric_too(f):
    step = tg.compile(lambda x: f(tg.Tensor(x)))
    x = positive(ONE)
    step(x)
    np.testing.assert_array_equal(step(2 * x).data, f(tg.Tensor(2 * x)).data)
    with pytest.raises(ValueError, match="needs a symmetric matrix"):
        step(np.triu(x))


def test_symmetric_matrices_have_symmetric_gradients():
    a = positive(ONE)
    for f in (np.linalg.cholesky, lambda x: np.linalg.eigh(x)[0], np.linalg.eigvalsh,
              lambda x: np.linalg.eigh(x)[1], lambda x: np.linalg.cholesky(x, upper=True)):
        slope = tg.grad(lambda x, f=f: (f(x) * np.cos(np.arange(f(x).size)).reshape(f(x).shape)
                                        ).sum())(a)
        np.testing.assert_allclose(slope, slope.T, atol=1e-12)
        assert tg.gradcheck(f, a)


# ---- what is refused, and results ----------------------------------------------------------------


def test_results_are_numpys_own_types():
    a = positive(Tensor(ONE, requires_grad=True))
    for f in (np.linalg.slogdet, np.linalg.eigh, np.linalg.svd):
        ours, theirs = f(a), f(a.data)
        assert type(ours) is type(theirs)
        for t, x in zip(ours, theirs):
            assert type(t) is Tensor and t.requires_grad
            np.testing.assert_array_equal(t.data, x)
    assert type(np.gradient(a)) is type(np.gradient(a.data)) is tuple


@pytest.mark.parametrize("call, error, words", [
    (lambda x: np.linalg.cholesky(x), ValueError,
     r"cholesky of x \(3, 3\) needs a symmetric matrix.*\(a \+ a\.mT\) / 2"),
    (lambda x: np.linalg.eigh(np.tril(x)), ValueError, "eigh of a Tensor of shape"),
    (lambda x: np.linalg.cholesky(-positive(x)), np.linalg.LinAlgError, "not positive definite"),
    (lambda x: np.linalg.inv(x * 0), np.linalg.LinAlgError, "solve of .*Singular matrix"),
    (lambda x: np.linalg.det(x[:2]), np.linalg.LinAlgError, r"det of \(2, 3\).*square"),
    (lambda x: np.linalg.solve(x, np.ones(2)), ShapeError, r"solve of x \(3, 3\) and \(2,\)"),
    (lambda x: np.linalg.svd(x[:2]), NoRuleError, "say full_matrices=False"),
    (lambda x: np.linalg.qr(x), NoRuleError, r"np\.linalg\.qr has no gradient rule"),
    (lambda x: np.gradient(x, 1.0, 1.0, 1.0), ValueError, "one spacing or one for each, got 3"),
    (lambda x: np.gradient(x, edge_order=3), ValueError, "edge_order of 1 or 2, got 3"),
])
def test_what_is_not_defined_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(ONE, requires_grad=True, name="x"))


def test_the_logarithm_of_a_singular_determinant_has_no_gradient():
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    sign, value = np.linalg.slogdet(x)
    assert value.item() == -np.inf and sign.item() == 0
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        value.backward()


# ---- compiled steps ------------------------------------------------------------------------------


IN_A_STEP = {
    "solve": lambda x, b: np.linalg.solve(positive(x), b),
    "inv": lambda x, b: np.linalg.inv(positive(x)) @ b,
    "det": lambda x, b: np.linalg.det(x) + b,
    "slogdet": lambda x, b: np.linalg.slogdet(x).logabsdet * b,
    "cholesky": lambda x, b: np.linalg.cholesky(positive(x)) @ b,
    "eigh": lambda x, b: np.linalg.eigh(positive(x)).eigenvectors @ b,
    "svd": lambda x, b: np.linalg.svd(x)[0] @ b,
    "singular values": lambda x, b: np.linalg.svdvals(x) @ b,
    "cross": lambda x, b: np.cross(x, b[:, 0]),
    "gradient": lambda x, b: np.gradient(x, b[:, 0] * 0 + [1.0, 2.0, 4.0], axis=1),
    "sinc": lambda x, b: np.sinc(x) @ b,
    "fmax": lambda x, b: np.fmax(x, b[:, :1]) - np.fmin(x, b[:, 1:]),
    "logaddexp2": lambda x, b: np.logaddexp2(x, b[:, :1]),
    "degrees": lambda x, b: np.degrees(x) + np.deg2rad(b[:, :1]),
    "partition": lambda x, b: np.partition(x, 1) @ b,
}


@pytest.mark.parametrize("f", IN_A_STEP.values(), ids=IN_A_STEP.keys())
def test_a_compiled_step_is_the_eager_one_to_the_bit(f):
    runs = []
    for wrap in (lambda s: s, tg.compile):
        w = Tensor(ONE, requires_grad=True)

        @wrap
        def step(x, b, w=w):
            w.grad = None
            y = f(w * x, b)
            loss = (y * y + y).sum()
            loss.backward()
            return loss, y

        made = []
        for seed in range(4):
            drawn = np.random.default_rng(seed)
            loss, y = step(drawn.normal(size=(3, 3)), drawn.normal(size=(3, 2)))
            made.append((loss.data.tobytes(), y.data.tobytes(), w.grad.tobytes()))
        runs.append(made)
    assert runs[0] == runs[1] and len(set(runs[0])) == 4
