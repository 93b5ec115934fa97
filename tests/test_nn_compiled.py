"""Every layer and every loss in a captured step: replayed, it computes what it computes eagerly."""

import copy
import functools
import inspect
import pickle

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn


def numbers(*shape):
    return lambda rng: rng.normal(size=shape).astype(np.float32)


def labels(rng):
    return rng.integers(0, 3, 6)


def shares(rng):
    return rng.dirichlet([1, 1, 1], 6).astype(np.float32)


def some_zero(rng):
    return shares(rng) * [0, 0.5, 1]


def bits(rng):
    return rng.integers(0, 2, (6, 3)).astype(np.float32)


def signs(rng):
    return 2 * bits(rng) - 1


LOSSES = {                               # loss of (logits of shape (6, 3), target), and the targets
    "cross_entropy": (nn.cross_entropy, labels),
    "cross_entropy uint8": (nn.cross_entropy, lambda rng: labels(rng).astype(np.uint8)),
    "cross_entropy sum": (lambda x, y: nn.cross_entropy(x, y, reduction="sum"), labels),
    "cross_entropy smoothed": (lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.1), labels),
    "cross_entropy weight": (lambda x, y: nn.cross_entropy(x, y, weight=[1, 2, 3]), labels),
    "cross_entropy ignore": (lambda x, y: nn.cross_entropy(x, y, ignore_index=1), labels),
    "cross_entropy shares": (lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.1), shares),
    "cross_entropy zeros": (nn.cross_entropy, some_zero),
    "nll_loss": (lambda x, y: nn.nll_loss(nn.log_softmax(x), y), labels),
    "kl_div": (lambda x, y: nn.kl_div(nn.log_softmax(x), y), shares),
    "kl_div zeros": (lambda x, y: nn.kl_div(nn.log_softmax(x), y),
                     lambda rng: shares(rng) * bits(rng)),
    "mse_loss": (nn.mse_loss, numbers(6, 3)),
    "mse_loss float64": (nn.mse_loss, lambda rng: rng.normal(size=(6, 3))),
    "mse_loss int": (nn.mse_loss, lambda rng: rng.integers(0, 5, (6, 3))),
    "l1_loss": (nn.l1_loss, numbers(6, 3)),
    "huber_loss": (nn.huber_loss, numbers(6, 3)),
    "binary_cross_entropy": (lambda x, y: nn.binary_cross_entropy(nn.sigmoid(x), y), bits),
    "binary_cross_entropy_with_logits": (nn.binary_cross_entropy_with_logits, bits),
    "binary_cross_entropy_with_logits weight": (
        lambda x, y: nn.binary_cross_entropy_with_logits(x, y, pos_weight=[1, 2, 3]), bits),
    "hinge_loss": (nn.hinge_loss, signs),
    "cosine_embedding_loss": (
        lambda x, y: nn.cosine_embedding_loss(x, np.ones((6, 3), np.float32), y),
        lambda rng: signs(rng)[:, 0]),
    "l1_penalty": (lambda x, y: nn.l1_penalty({"x": x * y, "y": x}, 0.1), bits),
    "l2_penalty": (lambda x, y: nn.l2_penalty({"x": x * y, "y": x}, 0.1), bits),
}

ROWS, IMAGES = numbers(6, 3), numbers(5, 2, 8, 8)
MODELS = {                               # modules, and their inputs
    "Stack": (lambda: nn.stack([nn.MLP([3, 4, 2], norm="layer", dropout=0.4, rng=k)
                                for k in range(2)]), ROWS),
    "Linear": (lambda: nn.Linear(3, 2, rng=0), ROWS),
    "MLP": (lambda: nn.MLP([3, 4, 2], rng=0), ROWS),
    "MLP integers": (lambda: nn.MLP([3, 4, 2], rng=0), lambda rng: rng.integers(0, 9, (6, 3))),
    "MLP float64 input": (lambda: nn.MLP([3, 4, 2], rng=0), lambda rng: rng.normal(size=(6, 3))),
    "BatchNorm1d": (lambda: nn.MLP([3, 4, 2], norm="batch", rng=0), ROWS),
    "BatchNorm1d long": (lambda: nn.BatchNorm1d(3), numbers(6, 3, 5)),
    "BatchNorm1d evaluated": (lambda: nn.MLP([3, 4, 2], norm="batch", rng=0).eval(), ROWS),
    "LayerNorm": (lambda: nn.LayerNorm((2, 3)), numbers(6, 2, 3)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(2), IMAGES),
    "BatchNorm2d evaluated": (lambda: nn.BatchNorm2d(2).eval(), IMAGES),
    "RMSNorm": (lambda: nn.RMSNorm((2, 3)), numbers(6, 2, 3)),
    "MultiHeadAttention": (lambda: nn.MultiHeadAttention(4, 2, causal=True, dropout=0.3, rng=0),
                           numbers(2, 5, 4)),
    "TransformerBlock": (lambda: nn.TransformerBlock(4, 2, dropout=0.3, rng=0), numbers(2, 5, 4)),
    "TransformerBlock norm last": (lambda: nn.TransformerBlock(
        4, 2, 6, np.tanh, norm="rms", norm_first=False, rng=0), numbers(2, 5, 4)),
    "PositionalEmbedding": (lambda: nn.PositionalEmbedding(9, 4, rng=0), numbers(2, 5, 4)),
    "SinusoidalEmbedding": (lambda: nn.Sequential(
        nn.Linear(3, 4, rng=0), nn.SinusoidalEmbedding(4)), numbers(2, 5, 3)),
    "Dropout": (lambda: nn.MLP([3, 4, 2], dropout=0.5, rng=0), ROWS),
    "Bilinear": (lambda: Squared(), ROWS),
    "Flatten": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2, rng=0)), numbers(6, 2, 3)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(3, 2, rng=0), np.tanh), ROWS),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1, rng=0), numbers(5, 2, 8)),
    "Conv2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.ReLU(),
                                     nn.Conv2d(3, 2, 2, rng=1)), IMAGES),
    "MaxPool2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.MaxPool2d(2)), IMAGES),
    "MaxPool2d padded": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, rng=0),
                                               nn.MaxPool2d(3, stride=2, padding=1)), IMAGES),
    "AvgPool2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.AvgPool2d(2)), IMAGES),
    "RNN": (lambda: First(nn.RNN(3, 4, rng=0)), numbers(2, 5, 3)),
    "GRU": (lambda: First(nn.GRU(3, 4, rng=0)), numbers(2, 5, 3)),
    "LSTM": (lambda: First(nn.LSTM(3, 4, rng=0)), numbers(2, 5, 3)),
    "Embedding": (lambda: nn.Embedding(5, 3, rng=0), lambda rng: rng.integers(0, 5, (4, 2))),
    "Embedding int32": (lambda: nn.Embedding(5, 3, rng=0),
                        lambda rng: rng.integers(0, 5, (4, 2)).astype(np.int32)),
    **{name: ((lambda name=name: nn.Sequential(nn.Linear(3, 4, rng=0), getattr(nn, name)())), ROWS)
       for name in ("ELU", "GELU", "Identity", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid",
                    "Softmax", "Softplus", "Tanh")},
}


class Squared(nn.Module):
    def __init__(self):
        self.layer = nn.Bilinear(3, 3, 2, rng=0)

    def forward(self, x):
        return self.layer(x, x)


class First(nn.Module):
    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def passes(wrap, model, loss, batches):
    """What three batches leave behind: losses, gradients, statistics."""
    def step(*batch):
        for p in model.parameters().values():
            p.grad = None
        result = loss(*batch)
        result.backward()
        return result

    step, found = wrap(step), []
    for batch in batches:
        value = step(*batch).item()
        found.append([value, {k: p.grad.tobytes() for k, p in model.parameters().items()}])
    return found, {k: v.tobytes() for k, v in model.state_dict().items()}


def batches(*draws):
    rng = np.random.default_rng(0)
    return [[draw(rng) for draw in draws] for _ in range(4)]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_replays_what_it_computes(name):
    loss, target = LOSSES[name]
    runs = []
    for wrap in (tg.compile, lambda step: step):
        model = nn.Linear(2, 3, rng=0)
        runs.append(passes(wrap, model, lambda x, y, m=model: loss(m(x), y),
                           batches(numbers(6, 2), target)))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_replays_what_it_computes(name):
    make, draw = MODELS[name]
    runs = []
    for wrap in (tg.compile, lambda step: step):
        model = make()
        runs.append(passes(wrap, model, lambda x, m=model: np.square(m(x) - 0.5).mean(),
                           batches(draw)))
    assert runs[0] == runs[1]


def test_no_layer_and_no_loss_is_left_out():
    public = {name: getattr(nn, name) for name in nn.__all__}
    layers = {name for name, x in public.items() if isinstance(x, type)}
    losses = {name for name, x in public.items()
              if inspect.isfunction(x) and x.__module__.endswith(("losses", "likelihoods"))}
    tested = {name.split()[0] for name in (*MODELS, *LOSSES)}
    assert layers - tested == {"Module", "Summary"}
    assert losses - tested == set()


@pytest.mark.parametrize(("loss", "target", "bad", "error"), [
    (nn.hinge_loss, np.ones((6, 3)), 0.0, ValueError),
    (nn.binary_cross_entropy_with_logits, np.ones((6, 3)), -1.0, ValueError),
    (lambda x, y: nn.kl_div(x, y), np.full((6, 3), 0.5), -1.0, ValueError),
    (lambda x, y: nn.nll_loss(x, y), np.ones(6, int), 3, IndexError),
    (nn.cross_entropy, np.ones(6, int), 3, IndexError),
])
def test_bad_targets_are_refused_at_a_replay_too(loss, target, bad, error):
    model = nn.Linear(2, 3, rng=0)
    step = tg.compile(lambda x, y: loss(model(x), y))
    x = np.ones((6, 2), np.float32)
    step(x, target)
    target.flat[2] = bad
    with pytest.raises(error):
        step(x, target)


# ---- what a module holds may change between calls ------------------------------------------------


class Holder(nn.Module):
    """A list in a dict in an attribute, a plain number, a function."""

    def __init__(self):
        self.table = {"layers": [nn.Linear(3, 3, rng=0), nn.Dropout(0.0, rng=0)]}
        self.scale, self.function = 1.0, np.tanh

    def forward(self, x):
        for layer in self.table["layers"]:
            x = layer(x)
        return self.function(x) * self.scale


def norm(**options):
    return nn.Sequential(nn.BatchNorm1d(3, **options))


def other(seed=1):
    return nn.Linear(3, 3, rng=seed)


def drop(p=0.5):
    return nn.Sequential(nn.Dropout(p, rng=0))


CHANGES = {                              # a model, and what is done to it between two calls
    "dropout.p": (drop, lambda m: setattr(m[0], "p", 0.0)),
    "dropout.rng": (drop, lambda m: setattr(m[0], "rng", np.random.default_rng(9))),
    "eval": (drop, lambda m: m.eval()),
    "momentum": (norm, lambda m: setattr(m[0], "momentum", 0.9)),
    "batch eps": (norm, lambda m: setattr(m[0], "eps", 2.0)),
    "batch eps, eval": (lambda: norm().eval(), lambda m: setattr(m[0], "eps", 2.0)),
    "running_var[...] =": (lambda: norm().eval(), lambda m: m[0].running_var.__setitem__(..., 9.0)),
    "running_mean =": (lambda: norm().eval(),
                       lambda m: setattr(m[0], "running_mean", np.full(3, 5, np.float32))),
    "running_var = equal, then written": (lambda: norm().eval(), lambda m: (
        setattr(m[0], "running_var", m[0].running_var.copy()),
        m[0].running_var.__setitem__(0, 7.0))),
    "load_state_dict": (lambda: norm().eval(), lambda m: m.load_state_dict(
        {k: v * 9 + 1 for k, v in m.state_dict().items()})),
    "astype": (lambda: norm().eval(), lambda m: m.astype("float64")),
    "layer eps": (lambda: nn.Sequential(nn.LayerNorm(3)), lambda m: setattr(m[0], "eps", 1.0)),
    "layers[0] =": (lambda: nn.Sequential(other(0)), lambda m: m.layers.__setitem__(0, other())),
    "layers.append": (lambda: nn.Sequential(other(0)), lambda m: m.layers.append(other())),
    "layers.pop": (lambda: nn.Sequential(other(0), other()), lambda m: m.layers.pop()),
    "layers reversed": (lambda: nn.Sequential(other(0), other()), lambda m: m.layers.reverse()),
    "weight =": (lambda: nn.Sequential(other(0)),
                 lambda m: setattr(m[0], "weight", other().weight)),
    "bias = None": (lambda: nn.Sequential(other(0)), lambda m: setattr(m[0], "bias", None)),
    "activation": (lambda: nn.MLP([3, 4, 2], "relu", rng=0),
                   lambda m: setattr(m, "activation", nn.tanh)),
    "slope": (lambda: nn.LeakyReLU(0.1), lambda m: setattr(m, "slope", 0.5)),
    "a list in a dict": (Holder, lambda m: m.table["layers"].__setitem__(0, other())),
    "a function": (Holder, lambda m: setattr(m, "function", np.sin)),
    "a number": (Holder, lambda m: setattr(m, "scale", 3.0)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_compiled_step_notices_what_is_changed_in_a_module(name):
    make, change = CHANGES[name]
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    results = []
    for wrap in (lambda step: step, tg.compile):
        model = make()
        step = wrap(lambda x, model=model: model(x))
        before = [step(x).data for _ in range(2)]
        change(model)
        results.append([*before, step(x).data, step(x).data, *model.state_dict().values()])
    for eager, compiled in zip(*results, strict=True):
        np.testing.assert_array_equal(eager, compiled)
    if name not in ("momentum", "dropout.rng"):            # the test itself can fail
        assert not np.array_equal(results[0][1], results[0][2])


def test_a_step_is_captured_once_while_nothing_is_changed():
    model = nn.MLP([3, 4, 2], norm="batch", dropout=0.5, rng=0)
    captures = []

    @tg.compile
    def step(x):
        captures.append(1)
        return model(x).sum() + nn.l2_penalty(model.parameters(), 0.1)

    x = np.ones((6, 3), np.float32)
    for _ in range(3):
        step(x)
    model.dropout.p = 0.25 + 0.25                          # an equal number is no change
    model.norms[0].eps = float("1e-5")
    model.train()
    model.norms[0].running_mean[...] = 1
    step(x)
    assert len(captures) == 1
    model.train(False)
    step(x), step(x)
    assert len(captures) == 2


class Counts(nn.Module):
    def __init__(self):
        self.layer, self.calls, self.log = nn.Linear(3, 2, rng=0), 0, []

    def forward(self, x):
        self.note(x)
        return self.layer(x) * 2


KEPT = "kept outside of it|changes Counts.log at each call"


@pytest.mark.parametrize(("note", "words"), [
    (lambda self, x: setattr(self, "calls", self.calls + 1), "changes Counts.calls at each call"),
    (lambda self, x: self.log.append(1), r"changes \[1, 1, 1\] at each call"),
    (lambda self, x: setattr(self, "log", x), KEPT),
    (lambda self, x: setattr(self, "log", x * 2), KEPT),
    (lambda self, x: setattr(self, "log", [self.layer(x)]), KEPT),
], ids=["number", "list", "argument", "array", "Tensor"])
@pytest.mark.parametrize("kind", [np.asarray, tg.Tensor], ids=["array", "Tensor"])
def test_a_module_that_changes_at_each_call_is_refused(note, words, kind, monkeypatch):
    monkeypatch.setattr(Counts, "note", note, raising=False)
    step, x = tg.compile(Counts()), np.ones((4, 3), np.float32)
    step(kind(x))                                          # a first call may make what stays
    with pytest.raises(tg.CaptureError, match=words):
        for _ in range(2):
            step(kind(x))


def test_what_a_step_sets_in_a_module_is_set_at_each_replay():
    model, captures = nn.MLP([3, 4, 2], dropout=0.5, rng=0), []

    def step(x):
        captures.append(1)
        model.train()
        trained = model(x)
        model.eval()
        model.dropout.p, model.note = 0.25, "seen"
        return trained, model(x), nn.Dropout(0.5, rng=0).eval()(x)

    compiled, x = tg.compile(step), np.ones((6, 3), np.float32)
    for _ in range(4):
        compiled(x)
    assert len(captures) == 3                              # they left another state each
    for change in (lambda: None, model.train, lambda: setattr(model, "note", "unseen")):
        for _ in range(2):
            change()
            state = model.dropout.rng.bit_generator.state
            expected = compiled(x)
            assert (model.training, model.dropout.p, model.note) == (False, 0.25, "seen")
            model.dropout.rng.bit_generator.state = state
            for a, b in zip(step(x), expected):
                np.testing.assert_array_equal(a.data, b.data)


def test_parameters_and_cells_that_are_read_without_a_call_are_noticed_too():
    model, cell = nn.Linear(2, 1, rng=0), nn.RNN(2, 3, rng=0)
    penalty = tg.compile(lambda: nn.l2_penalty(model.parameters(), 1.0))
    one_step = tg.compile(lambda x, h: cell.step(x, h))
    x, h = np.ones((4, 2), np.float32), np.ones((4, 3), np.float32)
    penalty(), one_step(x, h)
    model.weight, cell.bias_ih = nn.Linear(2, 1, rng=5).weight, None
    assert penalty().item() == nn.l2_penalty(model.parameters(), 1.0).item()
    np.testing.assert_array_equal(one_step(x, h).data, cell.step(x, h).data)


def test_a_module_is_noticed_to_which_no_attribute_of_its_caller_leads():
    inner = nn.Dropout(0.5, rng=0)

    class Outer(nn.Module):
        def forward(self, x):
            return inner(x)

    step = tg.compile(Outer())
    x = np.ones((2, 50), np.float32)
    step(x)
    inner.p = 0.0
    np.testing.assert_array_equal(step(x).data, x)


def test_a_seed_draws_the_same_mask_at_every_call_compiled_or_not():
    def step(x):
        return nn.dropout(x, 0.5, rng=3)

    compiled, x = tg.compile(step), np.ones(30, np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(x).data, step(x).data)
    own = tg.compile(lambda x: nn.dropout(x, 0.5))
    assert not np.array_equal(own(x).data, own(x).data)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("loss", [
    lambda x, y, p: nn.binary_cross_entropy_with_logits(x, y, pos_weight=p),
    lambda x, y, p: nn.cross_entropy(x, y, weight=p),
    lambda x, y, p: nn.cross_entropy(x, np.array([0, 1, 2, 1]), weight=p),
    lambda x, y, p: nn.cross_entropy(x, np.array([0, 1, 2, 1]), weight=p, label_smoothing=0.1),
    lambda x, y, p: nn.nll_loss(nn.log_softmax(x), np.array([0, 1, 2, 1]), weight=p),
])
def test_weights_of_any_dtype_may_be_arguments_of_a_compiled_step(loss, dtype):
    x = tg.Tensor(np.arange(12, dtype=np.float32).reshape(4, 3) / 5, requires_grad=True)
    y = np.array([[1, 0, 1]] * 4, np.float32)
    compiled = tg.compile(lambda p: loss(x, y, p))
    for p in ([1, 2, 3], [5, 1, 1], [1, 1, 9]):
        p = np.array(p, dtype)
        assert compiled(p).item() == loss(x, y, p).item()


def test_signs_that_are_written_in_place_are_read_anew():
    x = tg.Tensor(np.eye(3, dtype=np.float32), requires_grad=True)
    signs = np.ones(3, int)
    step = tg.compile(lambda: nn.cosine_embedding_loss(x, np.ones((3, 3), np.float32), signs))
    step()
    signs[...] = -1
    assert step().item() == pytest.approx(3**-0.5)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
                         ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", MODELS)
def test_every_module_is_copied_and_pickled_after_a_capture_too(name, duplicate):
    make, batch = MODELS[name]
    model, x = make(), batch(np.random.default_rng(0))
    step = tg.compile(model)
    step(x)
    other = duplicate(model)
    np.testing.assert_array_equal(other(x).data, step(x).data)
    assert repr(other) == repr(model) and other.architecture() == model.architecture()
    before = model.state_dict()
    for p in other.parameters().values():
        p.data[...] = 9
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


@pytest.mark.parametrize("model", [nn.Linear(2, 1, rng=0), nn.BatchNorm1d(2, affine=False)],
                         ids=["parameters", "buffers"])
def test_a_state_is_not_read_or_loaded_inside_a_compiled_step(model):
    state = model.state_dict()
    x = np.ones((3, 2), np.float32)
    for inside, words in ((lambda: model.state_dict(), "were read inside"),
                          (lambda: model.load_state_dict(state), "write in place inside")):
        @tg.compile
        def step(x, inside=inside):
            inside()
            return model(x)

        with pytest.raises(tg.CaptureError, match=words):
            step(x)
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[path])


@pytest.mark.parametrize("bound", [True, False])
def test_the_state_of_an_optimizer_is_not_read_or_loaded_inside_a_compiled_step(bound):
    model = nn.Linear(2, 1, rng=0)
    optimizer = tg.optim.Adam(model.parameters() if bound else None)
    state = optimizer.state_dict()
    loads = functools.partial(optimizer.load_state_dict, state)
    for inside, words in ((optimizer.state_dict, r"of Adam\(.*\) were read inside"),
                          (loads, r"Adam\(.*\) is used to write")):
        @tg.compile
        def step(x, inside=inside):
            inside()
            return model(x)

        with pytest.raises(tg.CaptureError, match=words):
            step(np.ones((3, 2), np.float32))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_recurrent_layer_takes_a_batch_of_no_samples(kind):
    net = kind(2, 3, rng=0)

    def step(x):
        loss = net(x)[0].sum()
        loss.backward()
        return loss

    x = np.zeros((0, 4, 2), np.float32)
    captured = tg.compile(step)
    assert [captured(x).data, captured(x).data, step(x).data] == [0, 0, 0]
