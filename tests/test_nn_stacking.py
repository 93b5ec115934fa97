"""Many models as one: each does what it would do by itself, or the stack is refused."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 2))
Y = RNG.integers(3, size=12)

MODELS = {
    "relu": lambda k: nn.MLP([2, 7, 3], rng=k, dtype="float64"),
    "tanh, layer norm": lambda k: nn.MLP(
        [2, 7, 7, 3], "tanh", norm="layer", rng=k, dtype="float64"),
    "dropout": lambda k: nn.MLP([2, 7, 7, 3], "gelu", dropout=0.3, rng=k, dtype="float64"),
    "sequential": lambda k: nn.Sequential(
        nn.Linear(2, 5, rng=k, dtype="float64"), np.tanh, nn.RMSNorm(5, dtype="float64"),
        nn.Linear(5, 3, bias=False, rng=k, dtype="float64"), nn.LogSoftmax()),
}


def step(model, loss, optimizer, x, y):
    value = loss(model(x), y)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value


@pytest.mark.parametrize(
    "rule", ["sgd:lr=0.1", "momentum:lr=0.05", "adam:lr=0.01", "adamw", "lion"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", MODELS)
def test_each_model_is_trained_as_by_itself(name, compiled, rule):
    models = [MODELS[name](k) for k in range(5)]
    many = nn.stack(models)
    loss = many.loss(nn.cross_entropy)
    optimizer = optim.get(rule, many.parameters())
    alone = [optim.get(rule, model.parameters()) for model in models]
    run = tg.compile(step) if compiled else step
    for _ in range(3):
        total = run(many, loss, optimizer, X, Y)
        each = [step(m, nn.cross_entropy, o, X, Y).item() for m, o in zip(models, alone)]
        np.testing.assert_allclose(total.item(), sum(each), rtol=1e-14)
    for model, again in zip(models, nn.unstack(many)):
        for path, p in model.parameters().items():
            np.testing.assert_allclose(again.parameters()[path].data, p.data, rtol=1e-12,
                                       atol=1e-15, err_msg=path)


def test_one_step_is_that_of_the_model_to_the_last_digit_but_one():
    models = [nn.MLP([2, 16, 16, 2], rng=k, dtype="float64") for k in range(8)]
    many, y = nn.stack(models), Y % 2
    step(many, many.loss(nn.cross_entropy), optim.SGD(many.parameters(), 0.1), X, y)
    for model, again in zip(models, nn.unstack(many)):
        step(model, nn.cross_entropy, optim.SGD(model.parameters(), 0.1), X, y)
        for path, p in model.parameters().items():
            size = np.abs(p.data).max()
            assert np.abs(again.parameters()[path].data - p.data).max() <= 1e-15 * size


def test_each_model_may_have_its_own_samples():
    models = [nn.Linear(2, 3, rng=k, dtype="float64") for k in range(4)]
    x, y = RNG.normal(size=(4, 6, 2)), RNG.integers(3, size=(4, 6))
    many = nn.stack(models)
    found = many(x)
    for k, model in enumerate(models):
        np.testing.assert_array_equal(found.data[k], model(x[k]).data)
    total = many.loss(nn.cross_entropy)(found, y)
    assert np.isclose(total.item(),
                      sum(nn.cross_entropy(m(a), b).item() for m, a, b in zip(models, x, y)))


def test_targets_may_be_rows():
    many = nn.stack([nn.Linear(2, 3, rng=k) for k in range(4)])
    target = RNG.normal(size=(12, 3)).astype("float32")
    total = many.loss(nn.mse_loss)(many(X), target)
    assert np.isclose(total.item(),
                      sum(nn.mse_loss(m(X), target).item() for m in nn.unstack(many)))


def test_models_are_copied_and_come_back_as_they_were():
    models = [nn.MLP([2, 4, 1], dropout=0.5, rng=k) for k in range(3)]
    many = nn.stack(models)
    for model, again in zip(models, nn.unstack(many)):
        assert repr(model) == repr(again)
        assert model.architecture() == again.architecture()
        for path, p in model.parameters().items():
            np.testing.assert_array_equal(p.data, again.parameters()[path].data)
            assert not np.shares_memory(p.data, again.parameters()[path].data)
        np.testing.assert_array_equal(model(X).data, again(X).data)    # dropout draws the same


def test_a_diverged_model_leaves_the_others_alone():
    models = [nn.Linear(2, 3, rng=k, dtype="float64") for k in range(3)]
    models[1].weight.data[0, 0] = np.nan
    many = nn.stack(models)
    step(many, many.loss(nn.cross_entropy), optim.Adam(many.parameters()), X, Y)
    step(models[0], nn.cross_entropy, optim.Adam(models[0].parameters()), X, Y)
    np.testing.assert_allclose(nn.unstack(many)[0].weight.data, models[0].weight.data, rtol=1e-14)
    assert np.isnan(nn.unstack(many)[1].weight.data).any()


def test_it_is_saved_and_goes_on(tmp_path):
    def made():
        many = nn.stack([nn.MLP([2, 6, 3], dropout=0.5, rng=k) for k in range(3)])
        return many, many.loss(nn.cross_entropy), optim.Adam(many.parameters())

    many, loss, optimizer = made()
    step(many, loss, optimizer, X, Y)
    tg.save(tmp_path / "run.npz", many, optimizer)
    other, other_loss, other_optimizer = made()
    tg.load(tmp_path / "run.npz", other, other_optimizer)
    for _ in range(3):
        assert (step(many, loss, optimizer, X, Y).item()
                == step(other, other_loss, other_optimizer, X, Y).item())


def test_each_models_generator_is_one_of_its_own():
    """As ranks of one training need, which let each of them begin elsewhere."""
    many = nn.stack([nn.MLP([2, 6, 3], dropout=0.5, rng=k) for k in range(3)])
    generators = many.generators()
    assert [*generators] == [f"model.dropout.rng.{k}" for k in range(3)]
    for g in generators.values():
        g.bit_generator.state = type(g.bit_generator)(np.random.SeedSequence(1)).state
    many(np.ones((4, 2)))
    one = np.random.default_rng(np.random.SeedSequence(1))
    one.random((4, 6))                                     # what one model's layer draws
    assert all(g.bit_generator.state == one.bit_generator.state for g in generators.values())


def test_a_copy_draws_by_itself():
    many = nn.stack([nn.MLP([2, 6, 3], dropout=0.5, rng=k) for k in range(3)])
    other = copy.deepcopy(many)
    np.testing.assert_array_equal(many(X).data, other(X).data)
    assert many(X).data.shape == (3, 12, 3)


# ---- rates ---------------------------------------------------------------------------------------

RATES = [0.2, 0.01, 0.0, 1e-3]


@pytest.mark.parametrize("compiled", [None, "numpy", "native"])
@pytest.mark.parametrize("rule", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam",
                                  "adamw", "adadelta", "adamax", "nadam", "lion"])
def test_each_model_has_its_own_rate(rule, compiled):
    if compiled == "native":
        pytest.importorskip("llvmlite")
    models = [nn.MLP([2, 5, 3], rng=k, dtype="float64") for k in range(4)]
    many = nn.stack(models)
    options = {"decay": 0.1, "weight_decay": 0.01, "clip_value": 0.5}
    kind = type(optim.get(rule))
    optimizer = kind(many.parameters(), lr=RATES, **options)
    alone = [kind(model.parameters(), lr=lr, **options) for model, lr in zip(models, RATES)]
    run = tg.compile(step, backend=compiled) if compiled else step
    loss = many.loss(nn.cross_entropy)
    for _ in range(4):
        run(many, loss, optimizer, X, Y)
        for model, o in zip(models, alone):
            step(model, nn.cross_entropy, o, X, Y)
    for model, again in zip(models, nn.unstack(many)):
        for path, p in model.parameters().items():
            np.testing.assert_allclose(again.parameters()[path].data, p.data, rtol=1e-11,
                                       atol=1e-14, err_msg=path)
    assert optimizer.current_lr == pytest.approx([lr / 1.4 for lr in RATES])


def test_rates_may_change_and_be_saved(tmp_path):
    many = nn.stack([nn.Linear(2, 3, rng=k, dtype="float64") for k in range(2)])
    optimizer = optim.Adam(many.parameters(), lr=0.1)
    loss = many.loss(nn.cross_entropy)
    step(many, loss, optimizer, X, Y)
    optimizer.lr = [0.0, 0.1]
    before = [p.data.copy() for p in many.parameters().values()]
    step(many, loss, optimizer, X, Y)
    for old, p in zip(before, many.parameters().values()):
        np.testing.assert_array_equal(old[0], p.data[0])
        assert (old[1] != p.data[1]).any()
    optimizer.explain("model.weight", (1, 0, 0))
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert other.lr == (0.0, 0.1)
        other.clip_norm = 1.0
        for p in other.parameters.values():
            p.grad = np.ones(p.shape)
        with pytest.raises(ValueError, match="clip_norm"):
            other.step()
    tg.save(tmp_path / "run.npz", many, optimizer)
    fresh = optim.Adam(many.parameters())
    tg.load(tmp_path / "run.npz", many, fresh)
    assert fresh.lr == (0.0, 0.1)


def test_new_values_by_each_rate():
    p, g = np.ones((2, 1, 3)), np.full((2, 1, 3), 2.0)
    new, _ = optim.SGD(lr=[0.1, 1.0]).updated({"p": p}, {"p": g})
    np.testing.assert_allclose(new["p"][:, 0, 0], [0.8, -1.0])


class Normed(optim.Optimizer):
    """A rule that sees all entries of a parameter."""

    def rule(self, p, g, *, lr, t):
        return p - lr * g / np.sqrt((g * g).sum())


@pytest.mark.parametrize("make, said", [
    (lambda p: optim.SGD(p, lr=[0.1, 0.2, 0.3]), "3 rates .* these are of 2"),
    (lambda p: optim.SGD({**p}, lr=[0.1, 0.2]), r"2 rates .* nn.stack\(models\).parameters"),
    (lambda p: optim.SGD(p, lr=[0.1, -0.2]), r"lr\[1\] must be .* got -0.2"),
    (lambda p: optim.SGD(p, clip_norm=1.0), "clip_norm would make the models"),
    (lambda p: optim.SGD(p, clip_norm_each=1.0), "clip_norm_each would make the models"),
    (lambda p: optim.SGD(p, check_finite="skip"), "check_finite would make the models"),
    (lambda p: Normed(p), "Normed does not go entry by entry"),
])
def test_optimizers_that_would_couple_the_models_are_refused(make, said):
    many = nn.stack([nn.Linear(2, 3, rng=k) for k in range(2)])
    with pytest.raises(ValueError, match=said):
        step(many, many.loss(nn.cross_entropy), make(many.parameters()), X, Y)


# ---- what is refused -----------------------------------------------------------------------------


class Mean(nn.Module):
    """Sees all samples: model 0 of a stack would see those of the others."""

    def forward(self, x):
        return x - x.mean(axis=0)


class Net(nn.Module):
    """The usual module of one's own."""

    def __init__(self, k):
        self.one, self.two = nn.Linear(2, 5, rng=k), nn.Linear(5, 3, rng=k)

    def forward(self, x):
        return self.two(np.tanh(self.one(x)))


def test_modules_of_ones_own_are_compared():
    models = [Net(k) for k in range(3)]
    with pytest.raises(TypeError, match=r"cannot tell whether Net .* stack\(models, x\)"):
        nn.stack(models)
    many = nn.stack(models, X)
    np.testing.assert_allclose(many(X).data[2], models[2](X).data, rtol=1e-6)
    with pytest.raises(ValueError, match=r"model 0 does not compute what it does by itself"):
        nn.stack([nn.Sequential(nn.Linear(2, 3, rng=k), Mean()) for k in range(3)], X)


def test_comparing_moves_no_generator():
    models = [nn.Sequential(Net(k), nn.Dropout(0.5, rng=k)) for k in range(3)]
    many = nn.stack(models, X)
    np.testing.assert_array_equal(many(X).data[1] == 0, models[1](X).data == 0)


@pytest.mark.parametrize("models, said", [
    ([], "a list of at least one Module"),
    ([nn.Linear(2, 3), nn.Linear(2, 4)], r"weight.*\(2, 3\).*in model 0 and .*\(2, 4\)"),
    ([nn.Linear(2, 3), nn.Linear(2, 3, dtype="float64")], "weight.*float64"),
    ([nn.MLP([2, 3, 1]), nn.MLP([2, 3, 3, 1])], r"layers.1.weight.*\(3, 3\)"),
    ([nn.MLP([2, 3, 1]), nn.MLP([2, 3, 1], "tanh")], "activation is"),
    ([nn.MLP([2, 3, 1], dropout=0.1), nn.MLP([2, 3, 1], dropout=0.2)], r"dropout.p is 0.1"),
    ([nn.MLP([2, 3, 1], norm="batch")] * 2, "cannot keep the models apart in BatchNorm1d"),
    ([nn.Conv2d(1, 2, 3)] * 2, "Conv2d"),
    ([nn.LSTM(2, 3)] * 2, "LSTM"),
    ([nn.Softmax(axis=0)] * 2, "Softmax"),
    ([nn.LayerNorm((3, 2))] * 2, "LayerNorm"),
    ([nn.Sequential(nn.Linear(2, 3), nn.Flatten())] * 2, "Flatten"),
    ([nn.Sequential(nn.Linear(2, 3), lambda x: x)] * 2, "lambda"),
])
def test_what_differs_or_may_couple_is_refused(models, said):
    with pytest.raises((TypeError, ValueError), match=said):
        nn.stack(models)


def test_shapes_that_could_be_mistaken_are_refused():
    many = nn.stack([nn.Linear(2, 3, rng=k) for k in range(4)])
    for shape in [(2,), (3, 5, 2), (4, 1, 5, 2)]:
        with pytest.raises(tg.errors.ShapeError, match="a stack of 4 takes"):
            many(np.ones(shape))
    with pytest.raises(tg.errors.ShapeError, match=r"for 12 samples .* got shape \(5,\)"):
        many.loss(nn.cross_entropy)(many(np.ones((12, 2))), np.zeros(5, int))
    with pytest.raises(TypeError, match=r"such as nn\.cross_entropy; got 'cross_entropy'"):
        many.loss("cross_entropy")
    with pytest.raises(TypeError, match="unstack takes what stack made"):
        nn.unstack(many.model)
