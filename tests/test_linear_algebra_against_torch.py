"""NumPy's linear algebra and kin on Tensors against PyTorch's, to second order."""

import numpy as np
import pytest

from tinygrad_opt import Tensor

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
