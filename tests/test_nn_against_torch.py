"""Layers and losses equal PyTorch's in float64, values and gradients, over random shapes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tinygrad_opt import nn  # noqa: E402
from tinygrad_opt.tensor import Tensor  # noqa: E402

F = torch.nn.functional
SEEDS = range(6)


def same(ours, theirs):
    theirs = np.asarray(theirs.detach()) if isinstance(theirs, torch.Tensor) else theirs
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def both(*arrays):
    """Leaves of the two libraries with the same values."""
    return ([Tensor(a, requires_grad=True) for a in arrays],
            [torch.tensor(a, requires_grad=True) for a in arrays])


def agree(rng, ours, theirs, ours_leaves, theirs_leaves):
    """Values agree, and gradients of every leaf from a random seed gradient."""
    same(ours.data, theirs)
    seed = rng.normal(size=ours.shape)
    ours.backward(seed)
    theirs.backward(torch.tensor(seed))
    for a, b in zip(ours_leaves, theirs_leaves, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            same(a.grad, b.grad)


def sizes(rng, n):
    return [int(k) for k in rng.integers(1, 6, n)]


# ---- activations ---------------------------------------------------------------------------------

ACTIVATIONS = {
    "ELU": (nn.ELU(1.5), torch.nn.ELU(1.5)),
    "GELU": (nn.GELU(), torch.nn.GELU()),
    "GELU tanh": (nn.GELU("tanh"), torch.nn.GELU("tanh")),
    "Identity": (nn.Identity(), torch.nn.Identity()),
    "LeakyReLU": (nn.LeakyReLU(0.2), torch.nn.LeakyReLU(0.2)),
    "LogSoftmax": (nn.LogSoftmax(), torch.nn.LogSoftmax(-1)),
    "ReLU": (nn.ReLU(), torch.nn.ReLU()),
    "SiLU": (nn.SiLU(), torch.nn.SiLU()),
    "Sigmoid": (nn.Sigmoid(), torch.nn.Sigmoid()),
    "Softmax": (nn.Softmax(1), torch.nn.Softmax(1)),
    "Softplus": (nn.Softplus(), torch.nn.Softplus(threshold=50)),
    "Tanh": (nn.Tanh(), torch.nn.Tanh()),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_pytorchs(name, seed):
    rng = np.random.default_rng(seed)
    ours, theirs = ACTIVATIONS[name]
    (x,), (t,) = both(rng.normal(size=sizes(rng, 3)) * 10 ** rng.uniform(-1, 1.4))
    agree(rng, ours(x), theirs(t), [x], [t])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_pytorchs_where_it_bends_and_in_its_tails(name):
    ours, theirs = ACTIVATIONS[name]
    (x,), (t,) = both(np.array([[0.0, -1e-9, 1e-9, -800.0, 800.0, 1e4, -1e4]]))
    agree(np.random.default_rng(0), ours(x), theirs(t), [x], [t])


# ---- layers --------------------------------------------------------------------------------------


class Turned:
    """A leaf of PyTorch's whose gradient is read transposed."""

    def __init__(self, leaf):
        self.leaf = leaf

    @property
    def grad(self):
        return None if self.leaf.grad is None else self.leaf.grad.T


def loaded(ours, theirs):
    """Our module with the parameters of theirs, and the leaves of both in one order."""
    nn.from_torch(ours, theirs.state_dict())
    turned = [
        f"{path}.{name}".lstrip(".") for path, module in ours.named_modules().items()
        for name in ("weight", "weight_ih", "weight_hh")
        if isinstance(module, nn.Linear | nn.RNN | nn.GRU | nn.LSTM)
    ]
    return list(ours.parameters().values()), [
        Turned(leaf) if name.removesuffix("_l0") in turned else leaf
        for name, leaf in theirs.named_parameters()
    ]


def run(rng, ours, theirs, shape):
    """Both modules on one random input, compared with all gradients."""
    p, q = loaded(ours, theirs)
    (x,), (t,) = both(rng.normal(size=shape))
    agree(rng, ours(x), theirs(t), [x, *p], [t, *q])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_pytorchs(seed, bias):
    rng = np.random.default_rng(seed)
    n, m, *lead = sizes(rng, 2 + seed % 4)
    run(rng, nn.Linear(n, m, bias, dtype="f8"),
        torch.nn.Linear(n, m, bias, dtype=torch.float64), (*lead, n))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_is_pytorchs(seed, bias):
    rng = np.random.default_rng(seed)
    n, m, out, *lead = sizes(rng, 3 + seed % 3)
    ours = nn.Bilinear(n, m, out, bias, dtype="f8")
    theirs = torch.nn.Bilinear(n, m, out, bias, dtype=torch.float64)
    p, q = loaded(ours, theirs)
    a, b = both(rng.normal(size=(*lead, n)), rng.normal(size=(*lead, m)))
    agree(rng, ours(*a), theirs(*b), [*a, *p], [*b, *q])


@pytest.mark.parametrize("seed", SEEDS)
def test_sequential_and_flatten_are_pytorchs_under_the_same_names(seed):
    rng = np.random.default_rng(seed)
    n, a, b, m, out = sizes(rng, 5)
    ours = nn.Sequential(nn.Flatten(), nn.Linear(a * b, m, dtype="f8"), nn.Tanh(),
                         nn.Linear(m, out, dtype="f8"))
    theirs = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(a * b, m), torch.nn.Tanh(),
                                 torch.nn.Linear(m, out)).double()
    assert list(ours.parameters()) == [name for name, _ in theirs.named_parameters()]
    run(rng, ours, theirs, (n, a, b))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_is_pytorchs(seed, affine):
    rng = np.random.default_rng(seed)
    shape = sizes(rng, 1 + seed % 2)
    theirs = torch.nn.LayerNorm(shape, eps=1e-3, elementwise_affine=affine, dtype=torch.float64)
    run(rng, nn.LayerNorm(shape, 1e-3, affine, dtype="f8"), theirs, (*sizes(rng, 2), *shape))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("length", [(), (3,)])
def test_batch_norm_is_pytorchs_in_training_and_in_evaluation(seed, affine, length):
    rng = np.random.default_rng(seed)
    n, channels = int(rng.integers(2, 7)), int(rng.integers(1, 6))
    ours = nn.BatchNorm1d(channels, 1e-4, 0.3, affine, dtype="f8")
    theirs = torch.nn.BatchNorm1d(channels, 1e-4, 0.3, affine, dtype=torch.float64)
    p, q = loaded(ours, theirs)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        ours.zero_grad()
        theirs.zero_grad()
        (x,), (t,) = both(rng.normal(2, 3, size=(n, channels, *length)))
        agree(rng, ours(x), theirs(t), [x, *p], [t, *q])
        same(ours.running_mean, theirs.running_mean)
        same(ours.running_var, theirs.running_var)


@pytest.mark.parametrize("seed", SEEDS)
def test_embedding_is_pytorchs_with_rows_looked_up_many_times(seed):
    rng = np.random.default_rng(seed)
    rows, features = sizes(rng, 2)
    ours = nn.Embedding(rows, features, dtype="f8")
    theirs = torch.nn.Embedding(rows, features, dtype=torch.float64)
    p, q = loaded(ours, theirs)
    i = rng.integers(0, rows, (*sizes(rng, 1 + seed % 3), 7))
    agree(rng, ours(i), theirs(torch.tensor(i)), p, q)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("axes", [1, 2])
def test_convolution_is_pytorchs(axes, seed):
    rng = np.random.default_rng(seed)
    n, channels, out = sizes(rng, 3)
    size, stride, padding = (tuple(int(k) for k in rng.integers(low, 4, axes)) for low in (1, 1, 0))
    bias = bool(seed % 2)
    ours = (nn.Conv1d, nn.Conv2d)[axes - 1](
        channels, out, size, stride=stride, padding=padding, bias=bias, dtype="f8")
    theirs = (torch.nn.Conv1d, torch.nn.Conv2d)[axes - 1](
        channels, out, size, stride, padding, bias=bias, dtype=torch.float64)
    run(rng, ours, theirs, (n, channels, *rng.integers(4, 9, axes)))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["MaxPool2d", "AvgPool2d"])
def test_pooling_is_pytorchs(kind, seed):
    rng = np.random.default_rng(seed)
    size = tuple(int(k) for k in rng.integers(1, 4, 2))
    stride = None if seed % 3 == 0 else tuple(int(k) for k in rng.integers(1, 4, 2))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in size)
    ours = getattr(nn, kind)(size, stride=stride, padding=padding)
    theirs = getattr(torch.nn, kind)(size, stride, padding)
    run(rng, ours, theirs, (*sizes(rng, 2), *rng.integers(4, 9, 2)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_recurrent_network_is_pytorchs_from_its_start_and_from_a_given_state(kind, seed):
    rng = np.random.default_rng(seed)
    n, time, features, hidden = sizes(rng, 4)
    bias = bool(seed % 2)
    ours = getattr(nn, kind)(features, hidden, bias, dtype="f8")
    theirs = getattr(torch.nn, kind)(features, hidden, bias=bias, batch_first=True,
                                     dtype=torch.float64)
    p, q = loaded(ours, theirs)
    start = [rng.normal(size=(n, hidden)) for _ in range(2 if kind == "LSTM" else 1)]
    for given in (False, True):
        (x, *s), (t, *u) = both(rng.normal(size=(n, time, features)), *start)
        state, torch_state = (tuple(s), tuple(h[None] for h in u)) if kind == "LSTM" else (
            s[0], u[0][None])
        z, after = ours(x, state) if given else ours(x)
        zt, after_t = theirs(t, torch_state) if given else theirs(t)
        ours.zero_grad()
        theirs.zero_grad()
        for a, b in zip(after, after_t, strict=True) if kind == "LSTM" else [(after, after_t)]:
            same(a.data, b[0])
        agree(rng, z, zt, [x, *s, *p], [t, *u, *q])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_the_state_of_a_recurrent_network_fits_pytorchs_cell(kind):
    rng = np.random.default_rng(0)
    ours = getattr(nn, kind)(3, 4, dtype="f8", rng=0)
    cell = getattr(torch.nn, f"{kind}Cell")(3, 4, dtype=torch.float64)
    cell.load_state_dict({k: torch.tensor(v) for k, v in nn.to_torch(ours).items()})
    x, h = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    state = (h, h) if kind == "LSTM" else h
    given = tuple(map(torch.tensor, state)) if kind == "LSTM" else torch.tensor(state)
    step, theirs = ours.step(x, state), cell(torch.tensor(x), given)
    for a, b in zip(step, theirs, strict=True) if kind == "LSTM" else [(step, theirs)]:
        same(a.data, b)


def test_a_whole_state_goes_to_pytorch_and_back():
    ours = nn.Sequential(
        nn.Conv2d(1, 3, 3, rng=0), nn.Flatten(), nn.Linear(12, 4, rng=1), nn.BatchNorm1d(4),
        nn.LayerNorm(4), nn.Linear(4, 2, bias=False, rng=2),
    )
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten(), torch.nn.Linear(12, 4),
        torch.nn.BatchNorm1d(4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2, bias=False),
    )
    ours(np.random.default_rng(3).normal(size=(8, 1, 4, 4)))            # moves the statistics
    theirs.load_state_dict({k: torch.tensor(v) for k, v in nn.to_torch(ours).items()})
    x = np.random.default_rng(4).normal(size=(5, 1, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(
        ours.eval()(x).data, theirs.eval()(torch.tensor(x)).detach(), atol=1e-6)
    copy = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.LayerNorm(4),
        nn.Linear(4, 2, bias=False),
    )
    nn.from_torch(copy, theirs.state_dict())
    before, after = ours.state_dict(), copy.state_dict()
    assert before.keys() == after.keys()
    assert all((before[k] == after[k]).all() for k in before)


# ---- losses --------------------------------------------------------------------------------------

REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("ours", "theirs", "options"), [
    (nn.mse_loss, F.mse_loss, {}),
    (nn.l1_loss, F.l1_loss, {}),
    (nn.huber_loss, F.huber_loss, {"delta": 0.7}),
])
def test_a_loss_of_numbers_is_pytorchs(ours, theirs, options, reduction, seed):
    rng = np.random.default_rng(seed)
    shape = sizes(rng, seed % 4)
    a, b = both(rng.normal(size=shape), rng.normal(size=shape))
    agree(rng, ours(*a, reduction=reduction, **options),
          theirs(*b, reduction=reduction, **options), a, b)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cosine_embedding_loss_is_pytorchs(reduction, seed):
    rng = np.random.default_rng(seed)
    n, features = sizes(rng, 2)
    x = rng.normal(size=(2, n, features))
    x[:, 0] = 0 if seed == 0 else x[:, 0]
    a, b = both(*x)
    y = rng.choice([-1, 1], n)
    margin = float(rng.uniform(-0.5, 0.5))
    agree(rng, nn.cosine_embedding_loss(*a, y, margin=margin, reduction=reduction),
          F.cosine_embedding_loss(*b, torch.tensor(y), margin, reduction=reduction), a, b)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_is_pytorchs(reduction, seed):
    rng = np.random.default_rng(seed)
    p, y = rng.uniform(size=(2, *sizes(rng, seed % 3), 6))
    if seed % 2:
        y = y.round()
    (x,), (t,) = both(p)
    agree(rng, nn.binary_cross_entropy(x, y, reduction=reduction),
          F.binary_cross_entropy(t, torch.tensor(y), reduction=reduction), [x], [t])


def test_binary_cross_entropy_is_pytorchs_where_it_is_certain():
    (p,), (q,) = both(np.array([0.0, 1.0, 0.0, 1.0, 1e-60]))
    y = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    ours, theirs = nn.binary_cross_entropy(p, y), F.binary_cross_entropy(q, torch.tensor(y))
    same(ours.data, theirs)
    ours.backward()
    theirs.backward()
    np.testing.assert_allclose(p.grad, q.grad, rtol=1e-8)      # its 10⁻¹² there is a float32


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy_with_logits_is_pytorchs(reduction, weighted, seed):
    rng = np.random.default_rng(seed)
    shape = (*sizes(rng, seed % 3), 5)
    x, y = rng.normal(size=shape) * 10 ** rng.uniform(-1, 1), rng.uniform(size=shape)
    if seed % 2:
        y = y.round()
    x.flat[:2] = [1000, -1000]
    weight = rng.uniform(0.5, 4, 5) if weighted else None
    a, b = both(x, y)
    agree(rng, nn.binary_cross_entropy_with_logits(*a, pos_weight=weight, reduction=reduction),
          F.binary_cross_entropy_with_logits(
              *b, pos_weight=None if weight is None else torch.tensor(weight), reduction=reduction),
          a, b)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_hinge_loss_is_pytorchs_for_one_class_of_pairs(reduction, seed):
    # margin_ranking_loss(x, 0, y) = max(0, margin − y (x − 0))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=sizes(rng, 1 + seed % 2))
    y = rng.choice([-1.0, 1.0], x.shape)
    (a,), (b,) = both(x)
    agree(rng, nn.hinge_loss(a, y, margin=0.8, reduction=reduction),
          F.margin_ranking_loss(b, torch.zeros(x.shape, dtype=b.dtype), torch.tensor(y), 0.8,
                                reduction=reduction), [a], [b])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignoring", [False, True])
def test_cross_entropy_of_labels_is_pytorchs(reduction, smoothing, weighted, ignoring, seed):
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(2, 7)), int(rng.integers(1, 6))
    x = rng.normal(size=(n, classes)) * 10 ** rng.uniform(-1, 3)
    y = rng.integers(0, classes, n)
    if ignoring:
        y[0] = 77
    weight = rng.uniform(0.5, 2, classes) if weighted else None
    (a,), (b,) = both(x)
    ours = nn.cross_entropy(a, y, weight=weight, label_smoothing=smoothing, reduction=reduction,
                            ignore_index=77 if ignoring else None)
    theirs = F.cross_entropy(b, torch.tensor(y), reduction=reduction, label_smoothing=smoothing,
                             weight=None if weight is None else torch.tensor(weight),
                             ignore_index=77 if ignoring else -100)
    agree(rng, ours, theirs, [a], [b])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_probabilities_is_pytorchs(reduction, smoothing, weighted, seed):
    rng = np.random.default_rng(seed)
    n, classes = sizes(rng, 2)
    target = rng.dirichlet(np.ones(classes), n)
    weight = rng.uniform(0.5, 2, classes) if weighted else None
    a, b = both(rng.normal(size=(n, classes)) * 10, target)
    ours = nn.cross_entropy(*a, weight=weight, label_smoothing=smoothing, reduction=reduction)
    theirs = F.cross_entropy(*b, reduction=reduction, label_smoothing=smoothing,
                             weight=None if weight is None else torch.tensor(weight))
    agree(rng, ours, theirs, a, b)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss_is_pytorchs(reduction, weighted, seed):
    rng = np.random.default_rng(seed)
    n, classes = sizes(rng, 2)
    weight = rng.uniform(0.5, 2, classes) if weighted else None
    y = rng.integers(0, classes, n)
    (a,), (b,) = both(rng.normal(size=(n, classes)))
    agree(rng, nn.nll_loss(a, y, weight=weight, reduction=reduction),
          F.nll_loss(b, torch.tensor(y), reduction=reduction,
                     weight=None if weight is None else torch.tensor(weight)), [a], [b])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.filterwarnings("ignore:reduction")             # PyTorch's, about its own "mean"
def test_kl_div_is_pytorchs(reduction, log_target, seed):
    rng = np.random.default_rng(seed)
    n, classes = sizes(rng, 2)
    p = rng.dirichlet(np.ones(classes), n)
    a, b = both(np.log(rng.dirichlet(np.ones(classes), n)), np.log(p) if log_target else p)
    agree(rng, nn.kl_div(*a, log_target=log_target, reduction=reduction),
          F.kl_div(*b, log_target=log_target, reduction=reduction), a, b)
