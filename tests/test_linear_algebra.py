"""NumPy's linear algebra on Tensors: against PyTorch to second order, at the points where a
decomposition is not unique, and in compiled steps.
"""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import Tensor
from tinygrad_opt.errors import NoRuleError, ShapeError

torch = pytest.importorskip("torch")
rng = np.random.default_rng(3)
ONE, MANY, WIDE = (rng.normal(size=shape) for shape in [(3, 3), (2, 3, 3), (2, 3, 5)])
B = rng.normal(size=(3, 2))


def positive(m):
    """Symmetric and positive definite, for either library."""
    return m @ m.mT + (np if isinstance(m, np.ndarray | Tensor) else torch).eye(3)


def projectors(pairs):
    """What does not depend on the signs of eigenvectors: wᵢ² vᵢvᵢᵀ."""
    w, v = pairs
    return (v[..., None, :, :] * v[..., :, None, :]).sum(-1), v**2 * w[..., None, :], w


def of_triples(triples):
    u, s, vt = triples
    return u**2, s, vt**2, u @ vt, (u[..., :2] * s[..., None, :2]) @ vt[..., :2, :]


# name: (ours, PyTorch's, points); each returns one result or a tuple of them
SAME = {
    "solve": (np.linalg.solve, torch.linalg.solve, [ONE, B], [MANY, MANY], [ONE, B[:, 0]]),
    "inv": (np.linalg.inv, torch.linalg.inv, [ONE], [MANY]),
    "det": (np.linalg.det, torch.linalg.det, [ONE], [MANY], [ONE[:1, :1]]),
    "slogdet": (lambda x: np.linalg.slogdet(x)[1], lambda x: torch.linalg.slogdet(x)[1],
                [ONE], [MANY]),
    "cholesky": (lambda x: np.linalg.cholesky(positive(x)),
                 lambda x: torch.linalg.cholesky(positive(x)), [ONE], [MANY]),
    "eigh": (lambda x: projectors(np.linalg.eigh(positive(x))),
             lambda x: projectors(torch.linalg.eigh(positive(x))), [ONE], [MANY]),
    "svd": (lambda x: of_triples(np.linalg.svd(x, full_matrices=False)),
            lambda x: of_triples(torch.linalg.svd(x, full_matrices=False)),
            [MANY], [WIDE], [WIDE[0].T]),
    "cross": (np.cross, torch.linalg.cross, [ONE[None], MANY]),
    "gradient": (lambda x: np.gradient(x, 0.5), lambda x: torch.gradient(x, spacing=0.5),
                 [ONE], [MANY]),
    "gradient, order 2": (lambda x: np.gradient(x, edge_order=2),
                          lambda x: torch.gradient(x, edge_order=2), [ONE]),
    "sinc": (np.sinc, torch.sinc, [ONE], [ONE / 20]),
    "fmax": (np.fmax, torch.fmax, [ONE, np.where(MANY > 0, MANY, np.nan)]),
    "fmin": (np.fmin, torch.fmin, [ONE, np.where(MANY > 0, MANY, np.nan)]),
    "logaddexp2": (np.logaddexp2, torch.logaddexp2, [ONE, MANY]),
    "deg2rad": (np.deg2rad, torch.deg2rad, [ONE]),
    "degrees": (np.degrees, torch.rad2deg, [ONE]),
}


def weighed(results):
    """One number from results of any shapes, in which no two entries count the same."""
    results = results if isinstance(results, tuple | list) else [results]
    total = 0
    for z in results:
        weights = np.cos(np.arange(z.numel() if hasattr(z, "numel") else z.size))
        weights = weights.reshape(tuple(z.shape))
        z = z * (weights if type(z) is Tensor else torch.from_numpy(weights))
        total = total + (z * z + z).sum()
    return total


@pytest.mark.parametrize("ours, theirs, point", [
    pytest.param(ours, theirs, point, id=f"{name} {i}")
    for name, (ours, theirs, *points) in SAME.items() for i, point in enumerate(points)])
def test_values_gradients_and_second_derivatives_are_those_of_pytorch(ours, theirs, point):
    mine = [Tensor(x, requires_grad=True) for x in point]
    other = [torch.from_numpy(x.copy()).requires_grad_() for x in point]
    loss, their_loss = weighed(ours(*mine)), weighed(theirs(*other))
    np.testing.assert_allclose(loss.data, their_loss.detach(), rtol=1e-11)
    loss.backward(create_graph=True)
    slopes = [t.grad for t in mine]
    their_slopes = torch.autograd.grad(their_loss, other, create_graph=True)
    for g, h in zip(slopes, their_slopes):
        scale = np.abs(h.detach().numpy()).max()
        np.testing.assert_allclose(g.data, h.detach(), rtol=1e-9, atol=1e-10 * scale)
    bend, their_bend = weighed(slopes), weighed(list(their_slopes))
    for t in mine:
        t.grad = None
    if not their_bend.requires_grad:                       # a linear function
        return
    bend.backward()
    for t, h in zip(mine, torch.autograd.grad(their_bend, other)):
        scale = np.abs(h.numpy()).max()
        np.testing.assert_allclose(t.grad, h, rtol=1e-8, atol=1e-9 * scale)


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
