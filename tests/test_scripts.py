"""Training scripts for other libraries: each is run, and prints the losses of the training here."""

import copy
import functools
import json
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import cli, nn, optim
from tinygrad_opt.interop import script
from tinygrad_opt.optim import schedules

STEPS = 20
LIBRARIES = ["jax", "numpy", "torch"]
RUN_ALL = """
import contextlib, io, json, pathlib, runpy, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    printed, said = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(path), run_name="__main__")
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps([path.stem, printed.getvalue(), said]))
"""


# ---- what is written -----------------------------------------------------------------------------


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def labels(n, classes):
    return np.arange(n) % classes


class Sequences(nn.Module):
    """A recurrent layer, and what is read off its last state."""

    def __init__(self, cell, reads="outputs", **options):
        self.cell = cell(2, 5, rng=0, dtype=np.float64, **options)
        self.head = nn.Linear(5, 3, rng=1, dtype=np.float64)
        self.reads = reads

    def forward(self, x):
        outputs, state = self.cell(x)
        if self.reads == "state":
            return self.head(state[0] if isinstance(state, tuple) else state)
        if self.reads == "mean":
            return self.head(outputs.mean(axis=1))
        return self.head(outputs[:, -1])


class Words(nn.Module):
    """Means of vectors of words, with a detour past the hidden layer."""

    def __init__(self):
        self.table = nn.Embedding(7, 4, rng=0, dtype=np.float64)
        self.inner = nn.Linear(4, 4, rng=1, dtype=np.float64)
        self.scale = tg.Tensor(np.array([1.0, 2.0, -1.0, 0.5]), requires_grad=True)
        self.outer = nn.Linear(4, 3, rng=2, dtype=np.float64)

    def forward(self, x):
        h = self.table(x).mean(axis=1)
        return self.outer(h + np.tanh(self.inner(h)) * self.scale)


def mlp(activation="tanh", sizes=(3, 6, 4), **options):
    return nn.MLP(sizes, activation, dtype=np.float64, rng=0, **options)


def cnn(pool):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, rng=0, dtype=np.float64), nn.relu, pool,
        nn.Conv2d(3, 2, (2, 3), stride=(1, 2), rng=1, dtype=np.float64), np.tanh, nn.Flatten(),
        nn.Linear(4, 3, rng=2, dtype=np.float64))


ACTIVATIONS = {
    "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "gelu": "gelu", "elu": "elu",
    "silu": "silu", "softplus": "softplus", "leaky": "leaky_relu", "softmax": "softmax",
    "log-softmax": "log_softmax", "identity": "identity", "sine": np.sin,
    "module": nn.LeakyReLU(0.2), "elu2": nn.ELU(0.5), "gelu-tanh": nn.GELU("tanh"),
}
X3, LABELS = data(12, 3), labels(12, 4)
# name -> model, loss, x, y
MODELS = {
    "linear": (lambda: nn.Linear(3, 1, rng=0, dtype=np.float64), "mse", X3, data(12, 1, seed=1)),
    "logistic": (lambda: nn.Linear(3, 1, rng=0, dtype=np.float64),
                 "binary_cross_entropy_with_logits", X3, labels(12, 2)[:, None] * 1.0),
    "softmax-regression": (lambda: nn.Linear(3, 4, rng=0, dtype=np.float64), "cross_entropy",
                           X3, LABELS),
    **{f"mlp-{name}": (functools.partial(mlp, f), "cross_entropy", X3, LABELS)
       for name, f in ACTIVATIONS.items()},
    "batch-norm": (functools.partial(mlp, norm="batch", sizes=(3, 6, 5, 4)), "cross_entropy",
                   X3, LABELS),
    "layer-norm": (functools.partial(mlp, norm="layer"), "cross_entropy", X3, LABELS),
    "rms-norm": (lambda: nn.Sequential(
        nn.Linear(3, 5, rng=0, dtype=np.float64), nn.RMSNorm(5, dtype=np.float64),
        nn.Linear(5, 4, rng=1, dtype=np.float64)), "cross_entropy", X3, LABELS),
    "cnn-max": (lambda: cnn(nn.MaxPool2d(2)), "cross_entropy", data(6, 1, 6, 8), labels(6, 3)),
    "cnn-mean": (lambda: cnn(nn.AvgPool2d(2)), "cross_entropy", data(6, 1, 6, 8), labels(6, 3)),
    "conv1d": (lambda: nn.Sequential(
        nn.Conv1d(2, 3, 3, padding=1, rng=0, dtype=np.float64), nn.tanh, nn.Flatten(),
        nn.Linear(18, 3, rng=1, dtype=np.float64)), "cross_entropy", data(6, 2, 6), labels(6, 3)),
    "batch-norm2d": (lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3, rng=0, dtype=np.float64), nn.BatchNorm2d(2, dtype=np.float64), nn.relu,
        nn.Flatten(), nn.Linear(8, 3, rng=1, dtype=np.float64)),
        "cross_entropy", data(6, 1, 4, 4), labels(6, 3)),
    **{f"{cell.__name__.lower()}-{reads}": (
        functools.partial(Sequences, cell, reads), "cross_entropy", data(6, 5, 2), labels(6, 3))
       for cell in (nn.RNN, nn.GRU, nn.LSTM) for reads in ("outputs", "state", "mean")},
    "gru-plain": (lambda: Sequences(nn.GRU, bias=False), "cross_entropy", data(6, 4, 2),
                  labels(6, 3)),
    "embedding": (Words, "cross_entropy", np.random.default_rng(0).integers(0, 7, (9, 4)),
                  labels(9, 3)),
    "no-bias": (lambda: nn.MLP([3, 5, 4], bias=False, rng=0, dtype=np.float64), "cross_entropy",
                X3, LABELS),
    "xor": (lambda: nn.MLP([2, 3, 1], "tanh", rng=0), "mse",
            np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([[0], [1], [1], [0.0]])),
}
SIGNS = np.sign(data(12, 4, seed=3))
LOSSES = {
    "l1": ("l1", data(12, 4, seed=2)), "huber": ("huber", data(12, 4, seed=2)),
    "huber2": (functools.partial(nn.huber_loss, delta=0.3), data(12, 4, seed=2)),
    "sum": (functools.partial(nn.mse_loss, reduction="sum"), data(12, 4, seed=2)),
    "hinge": ("hinge", SIGNS), "own": (lambda p, y: (np.abs(p - y) ** 1.5).mean(), SIGNS),
    "nll": (lambda p, y: nn.mse_loss(np.exp(p), y * 0.1), SIGNS),
}
OPTIMIZERS = {
    "sgd": lambda: optim.SGD(lr=0.1),
    "sgd-decay": lambda: optim.SGD(lr=0.1, decay=0.1, weight_decay=0.02),
    "sgd-momentum": lambda: optim.SGD(lr=0.05, momentum=0.8, dampening=0.2),
    "sgd-nesterov": lambda: optim.SGD(lr=0.05, momentum=0.8, nesterov=True),
    "sgd-momentum-decay": lambda: optim.SGD(lr=0.05, momentum=0.8, decay=0.1),
    "momentum": lambda: optim.Momentum(lr=0.05, weight_decay=0.01),
    "momentum-gradients": lambda: optim.Momentum(lr=0.05, velocity="gradients", decay=0.05),
    "momentum-mean": lambda: optim.Momentum(lr=0.1, velocity="mean"),
    "nesterov": lambda: optim.Nesterov(lr=0.05),
    "nesterov-decay": lambda: optim.Nesterov(lr=0.05, decay=0.1),
    "adagrad": lambda: optim.AdaGrad(lr=0.1, initial_accumulator=0.2),
    "adagrad-mean": lambda: optim.AdaGrad(lr=0.1, mean=True),
    "rmsprop": lambda: optim.RMSprop(lr=0.01, rho=0.9),
    "rmsprop-all": lambda: optim.RMSprop(lr=0.01, momentum=0.5, centered=True),
    "rmsprop-moving": lambda: optim.RMSprop(lr=0.01, momentum=0.5, centered=True, decay=0.1),
    "adadelta": lambda: optim.AdaDelta(lr=1.0),
    "adam": lambda: optim.Adam(lr=0.02, beta1=0.8),
    "adam-decay": lambda: optim.Adam(lr=0.02, weight_decay=0.1, amsgrad=True),
    "adam-uncorrected": lambda: optim.Adam(lr=0.02, bias_correction=False),
    "adamw": lambda: optim.AdamW(lr=0.02),
    "adamax": lambda: optim.Adamax(lr=0.02),
    "nadam": lambda: optim.Nadam(lr=0.02),
    "lion": lambda: optim.Lion(lr=0.002, weight_decay=0.1),
    "clip-value": lambda: optim.SGD(lr=0.1, clip_value=0.05),
    "clip-norm": lambda: optim.Momentum(lr=0.1, clip_norm=0.1),
    "clip-each": lambda: optim.SGD(lr=0.1, clip_norm_each=0.05),
    "maximize": lambda: optim.SGD(lr=0.01, maximize=True),
    "maximize-lion": lambda: optim.Lion(lr=0.001, maximize=True),
}
SCHEDULES = {
    "constant": schedules.constant(0.02), "inverse": schedules.inverse_time(0.1, 0.2),
    "step": schedules.step(0.1, every=4, factor=0.5),
    "exponential": schedules.exponential(0.1, 0.9),
    "polynomial": schedules.polynomial(0.1, 12, power=2.0, last=0.01),
    "cosine": schedules.cosine(0.1, 15, last=0.01),
    "restarts": schedules.cosine(0.1, 4, restarts=True, growth=2.0),
    "cycle": schedules.one_cycle(0.1, 18),
    "warm-up": schedules.warm_up(schedules.exponential(0.1, 0.95), 5),
    "then": schedules.constant(0.1).then(schedules.step(0.1, 3, 0.5) * 0.5, after=6),
}
CASES = (
    {name: (*case, lambda: optim.Adam(lr=0.02)) for name, case in MODELS.items()}
    | {f"loss-{name}": (mlp, loss, X3, y, lambda: optim.SGD(lr=0.05))
       for name, (loss, y) in LOSSES.items()}
    | {f"opt-{name}": (mlp, "cross_entropy", X3, LABELS, make)
       for name, make in OPTIMIZERS.items()}
    | {f"lr-{name}": (mlp, "cross_entropy", X3, LABELS, functools.partial(kind, lr=lr))
       for name, lr in SCHEDULES.items() for kind in [optim.SGD if name != "cycle" else optim.Adam]}
)


def trained(model, opt, loss, x, y, steps=STEPS):
    """The losses of training in this library."""
    dtype = next(iter(model.parameters().values())).dtype
    opt.bind(model.parameters())
    loss = tg.train.measure.loss_by_name(loss)
    x, y = (a.astype(dtype) if a.dtype.kind == "f" else a for a in (x, y))
    losses = []
    for _ in range(steps):
        end = loss(model(x), y)
        opt.zero_grad()
        end.backward()
        opt.step()
        losses.append(float(end))
    return losses


def printed_by(path):
    """The losses that a script prints."""
    run = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return losses_in(run.stdout)


def losses_in(text):
    return [float(line.split()[1]) for line in text.splitlines()]


# JAX compiles each script for a second: those that say something new there, the rest are a drill
FOR_JAX = ["logistic", "mlp-gelu", "mlp-leaky", "batch-norm", "layer-norm", "cnn-max", "conv1d",
           "rnn-outputs", "gru-outputs", "lstm-outputs", "embedding", "xor", "opt-lion", "lr-then"]
PAIRS = [(library, name, False) for library in LIBRARIES for name in CASES
         if library != "jax" or name in FOR_JAX]
PAIRS += [pytest.param("jax", name, True, marks=pytest.mark.drill)
          for name in CASES if name not in FOR_JAX]


@pytest.fixture(scope="session")
def printed(tmp_path_factory):
    """What the scripts of a library print, all run by one process beside this one."""
    @functools.cache
    def of(library, drill):
        if library != "numpy":
            pytest.importorskip(library)
        folder = tmp_path_factory.mktemp(library)
        for name in [n for n in CASES if library != "jax" or (n not in FOR_JAX) == drill]:
            make, loss, x, y, optimizer = CASES[name]
            text = script(make(), optimizer(), loss, library, x, y, steps=STEPS)
            text.save(folder / f"{name}.py")
        run = subprocess.run([sys.executable, "-W", "error", "-c", RUN_ALL, str(folder)],
                             capture_output=True, text=True, check=True, timeout=900)
        found = map(json.loads, run.stdout.splitlines())
        return folder, {name: (text, said) for name, text, said in found}

    return of


@pytest.mark.parametrize("library, name, drill", PAIRS)
def test_the_script_has_the_losses_of_the_training_here(printed, library, name, drill):
    folder, found = printed(library, drill)
    text, said = found[name]
    assert said is None, (said, folder / name)
    make, loss, x, y, optimizer = CASES[name]
    np.testing.assert_allclose(losses_in(text), trained(make(), optimizer(), loss, x, y),
                               rtol=1e-5, err_msg=str(folder / name))


@pytest.mark.parametrize("library", LIBRARIES)
def test_dropout_is_said_for_what_it_is(library, tmp_path):
    model = nn.MLP([3, 50, 4], dropout=0.5, rng=0)
    text = script(model, "sgd:0.1", "cross_entropy", library, X3, LABELS, steps=50)
    assert "Dropout draws other random numbers here:\nthe losses are the same on average" in text
    if library != "numpy":
        pytest.importorskip(library)
    losses = printed_by(text.save(tmp_path / "dropout.py"))
    assert len(set(losses)) == 50 and np.mean(losses[-5:]) < losses[0] - 0.1


# ---- how it is written ---------------------------------------------------------------------------


def test_few_numbers_stand_in_the_text_and_many_beside_it(tmp_path):
    few = script(nn.MLP([2, 3, 1], rng=0), "sgd:0.1", "mse", "torch", [[1.0, 2]], [[1.0]])
    assert few.save(tmp_path / "few.py").read_text() == few and "np.array(" in few
    many = script(nn.MLP([2, 40, 1], rng=0), "sgd:0.1", "mse", "torch", [[1.0, 2]], [[1.0]])
    many.save(tmp_path / "deeper" / "many.py")
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["few.py", "many.npz", "many.py"]
    assert many.arrays["0.weight"].shape == (40, 2)


def test_nothing_is_changed_by_it():
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(0.5, rng=1))
    opt = optim.Adam(model.parameters())
    before, drawn = model.state_dict(), copy.deepcopy(model.layers[2].rng)
    script(model, opt, "mse", "torch", X3, data(12, 4))
    after = model.state_dict()
    assert all((after[name] == before[name]).all() for name in before)
    assert model.layers[2].rng.bit_generator.state == drawn.bit_generator.state
    assert opt.t == 0 and model.training and all(p.grad is None for p in opt.parameters.values())
    assert all("forward" not in vars(m) for m in model.named_modules().values())
    with pytest.raises(ZeroDivisionError):
        script(model, opt, lambda p, y: 1 / 0, "torch", X3, data(12, 4))
    after = model.state_dict()
    assert all((after[name] == before[name]).all() for name in before)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("make, loss", [
    (lambda: nn.MLP([3, 4, 2]), "cross_entropy"), (lambda: nn.Embedding(5, 2), "mse"),
    (lambda: Sequences(nn.GRU), "cross_entropy"), (lambda: nn.Linear(2, 1), "hinge"),
    (lambda: nn.Linear(2, 2), "binary_cross_entropy_with_logits"),
])
def test_a_batch_is_made_up_where_none_is_given(library, make, loss):
    text = script(make(), "adam", loss, library)
    assert text.arrays["x"].shape[0] == 8 == text.arrays["y"].shape[0]


class Tied(nn.Module):
    """Words are scored with the table of their vectors."""

    def __init__(self):
        self.table = nn.Embedding(7, 4, rng=0, dtype=np.float64)
        self.inner = nn.Linear(4, 4, rng=1, dtype=np.float64)

    def forward(self, x):
        return np.tanh(self.inner(self.table(x))) @ self.table.weight.T


def test_weights_used_twice_are_one_parameter_or_refused(tmp_path):
    x, y = np.arange(7), (3 * np.arange(7)) % 7
    case = Tied(), optim.SGD(lr=0.5), "cross_entropy"
    path = script(*case, "numpy", x, y).save(tmp_path / "tied.py")
    np.testing.assert_allclose(printed_by(path), trained(*case, x, y), rtol=1e-6)
    with pytest.raises(ValueError, match=r"tied weights: table\.weight"):
        script(Tied(), "sgd", "cross_entropy", "torch", x, y)
    twice = nn.Sequential(nn.Linear(3, 3), nn.tanh, nn.Linear(3, 3))
    twice.layers[2].weight = twice.layers[0].weight
    with pytest.raises(ValueError, match=r"tied weights: 2\.weight is that of 0"):
        script(twice, "sgd", "mse", "torch", X3, X3)


class Named(nn.Module):
    """Parameters called as a script calls other things."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.p, self.momentum, self.x, self.loss, self.t = (
            tg.Tensor(rng.normal(size=(3, 3)), requires_grad=True) for _ in range(5))

    def forward(self, x):
        return np.tanh(x @ self.p @ self.momentum + x @ self.x) @ self.loss * self.t[0]


BETWEEN = {                                # what users write between layers
    "minimum": lambda x: np.minimum(x, 0.2), "maximum": lambda x: np.maximum(x, -0.2),
    "number first": lambda x: np.minimum(0.1, x) + np.maximum(0, x),
    "of two": lambda x: np.minimum(x, x * x) + np.maximum(x, x * x),
    "clip": lambda x: np.clip(x, -0.5, 0.5), "absolute": lambda x: abs(x) + np.sign(x) * x,
    "logarithms": lambda x: np.log1p(x * x) + np.log(x * x + 1) + np.log2(x * x + 1),
    "exponentials": lambda x: np.exp(-x) + np.expm1(x) + np.sinh(x) + np.cosh(x),
    "roots": lambda x: np.sqrt(x * x + 1) + np.hypot(x, 2 * x) + x**3 - np.square(x),
    "circle": lambda x: np.sin(x) + np.cos(x) * np.arctan(x) - np.arctan2(x, x * x + 1),
    "reductions": lambda x: x - x.mean(axis=1, keepdims=True) + x.sum(axis=0) * x.max(axis=-1)[0],
    "smallest": lambda x: x - x.min(axis=1, keepdims=True) - nn.softmax(x) * nn.log_softmax(x),
    "activations": lambda x: nn.elu(x, 0.5) + nn.leaky_relu(x, 0.2) + nn.silu(x) + nn.gelu(x),
    "products": lambda x: x.prod(axis=1) + x.prod(axis=0)[0] + x[0] @ x[1],
    "norm": lambda x: x / x.norm(axis=1, keepdims=True), "trace": lambda x: np.trace(x),
    "sums": lambda x: np.einsum("ij,ik->jk", x, x) + np.cumsum(x, axis=1)[:3],
    "indices": lambda x: x[[0, 2, 0], :] * x[1, -1] + x[1:4] + x[[1, 1, 1]],
    "swapped": lambda x: np.swapaxes(x, 0, 0) + x.reshape(2, 3, 3).transpose()[:, :, 0].T[:1],
    "order": lambda x: np.transpose(x, (0, 1)) + np.swapaxes(x, 1, 0).sum() + x.transpose()[0, 0],
    "axes": lambda x: x.T.reshape(3, 6).swapaxes(0, 1) @ np.concatenate([x[:3], x[3:]]).T[:, :3].T,
}


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", BETWEEN)
def test_what_stands_between_layers_is_the_same(library, name, capsys):
    pytest.importorskip(library)

    class Net(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 3, rng=0, dtype=np.float64)

        def forward(self, x):
            return BETWEEN[name](self.layer(x))

    x = data(6, 3, seed=4)
    y = np.zeros(Net()(x).shape)
    text = script(Net(), "sgd:0.01", "mse", library, x, y, steps=3)
    exec(text, {"__name__": "script"})
    expected = trained(Net(), optim.SGD(lr=0.01), nn.mse_loss, x, y, 3)
    np.testing.assert_allclose(losses_in(capsys.readouterr().out), expected, rtol=1e-5)


class Several(nn.Module):
    """A model that gives a dict."""

    def __init__(self):
        self.layer = nn.Linear(3, 2, rng=0, dtype=np.float64)

    def forward(self, x):
        return {"z": self.layer(x)}


def test_a_model_that_gives_a_dict_is_refused_where_it_cannot_be_said():
    with pytest.raises(ValueError, match="PyTorch cannot say a model that gives a dict"):
        script(Several(), "sgd", lambda p, y: (p["z"]**2).mean(), "torch", X3, data(12, 2))


def test_layers_of_a_sequence_have_names_that_python_takes(capsys):
    pytest.importorskip("torch")

    def model():
        return nn.Sequential(nn.LSTM(2, 3, rng=0, dtype=np.float64), lambda made: made[0][:, -1],
                             nn.Linear(3, 2, rng=1, dtype=np.float64))

    x, y = data(3, 4, 2), data(3, 2)
    text = script(model(), "sgd:0.1", "mse", "torch", x, y, steps=3)
    code = str(text).replace('np.load(Path(__file__).with_suffix(".npz"))', "given")
    exec(code, {"given": text.arrays})
    expected = trained(model(), optim.SGD(lr=0.1), "mse", x, y, 3)
    np.testing.assert_allclose(losses_in(capsys.readouterr().out), expected, rtol=1e-5)


class Scaled(nn.Module):
    """A parameter without axes."""

    def __init__(self):
        self.scale = tg.Tensor(np.float64(0.5), requires_grad=True)
        self.layer = nn.Linear(3, 2, rng=0, dtype=np.float64)

    def forward(self, x):
        return self.layer(x) * self.scale


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_parameters_without_axes_stay_so(library, capsys):
    pytest.importorskip(library)
    x, y = data(4, 3), data(4, 2)
    text = script(Scaled(), "sgd:0.1", "mse", library, x, y, steps=3)
    assert text.arrays["scale"].shape == ()
    exec(text, {})
    expected = trained(Scaled(), optim.SGD(lr=0.1), "mse", x, y, 3)
    np.testing.assert_allclose(losses_in(capsys.readouterr().out), expected, rtol=1e-5)


def test_a_script_is_not_saved_under_the_name_of_its_library(tmp_path):
    text = script(nn.Linear(2, 1), "sgd", "mse", "torch")
    with pytest.raises(ValueError, match=r"torch\.py would stand in the place of the library"):
        text.save(tmp_path / "torch.py")
    assert not [*tmp_path.iterdir()]


def test_names_of_parameters_hide_nothing(tmp_path):
    case = Named(), optim.Momentum(lr=0.05), "mse"
    path = script(*case, "numpy", X3, data(12, 3, seed=5)).save(tmp_path / "named.py")
    np.testing.assert_allclose(printed_by(path), trained(*case, X3, data(12, 3, seed=5)), rtol=1e-6)


def frozen():
    model = mlp()
    model.requires_grad_("layers.0.*", False)
    return model


def stepped():
    model = mlp()
    opt = optim.SGD(model.parameters())
    nn.mse_loss(model(X3), data(12, 4)).backward()
    opt.step()
    return model, opt, "mse"


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("make, words", [
    (lambda: (frozen(), optim.SGD(), "mse"), r"the frozen parameter layers\.0\.weight"),
    (lambda: (mlp(), optim.SGD(nn.Linear(2, 2).parameters()), "mse"), "other parameters"),
    (stepped, "has taken 1 steps"),
    (lambda: (mlp(), optim.SGD(frozen=["*"]), "mse"), r"frozen=\('\*',\) of SGD"),
    (lambda: (mlp(), optim.SGD(overrides={"*bias": {"lr": 0.0}}), "mse"), "overrides="),
    (lambda: (mlp(), optim.SGD(check_finite="skip"), "mse"), "check_finite='skip'"),
    (lambda: (mlp(), optim.SGD(lr=lambda t: 0.1), "mse"), "lr=<function"),
    (lambda: (mlp(), optim.SGD(lr=schedules.reduce_on_plateau(0.1)), "mse"), "lr=reduce_on"),
    (lambda: (mlp(), optim.SGD(), lambda p, y: (np.linalg.det(p.T @ p) - y).mean()),
     "det"),
    (lambda: (mlp(), optim.SGD(), lambda p, y: (p * np.arange(4.0)).mean() + y.sum()),
     r"a constant of shape \(4,\)"),
])
def test_what_cannot_be_said_is_refused_by_name(library, make, words):
    model, opt, loss = make()
    with pytest.raises(ValueError, match=f"a script for .* cannot say .*{words}"):
        script(model, opt, loss, library, X3, data(12, 4))


def test_the_command_writes_a_script_that_runs(tmp_path, capsys):
    out = tmp_path / "moons.py"
    options = ["--library", "numpy", "--hidden", "5", "--out", str(out)]
    assert cli.main(["script", "moons", *options]) == 0
    assert f"run it with: python {out}" in capsys.readouterr().out
    losses = printed_by(out)
    assert len(losses) == 20 and losses[-1] < losses[0]


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match=r"one of 'jax'.* got 'keras'"):
        script(mlp(), "adam", "mse", "keras")
    with pytest.raises(TypeError, match=r"nn\.Module, got function"):
        script(lambda x: x, "adam", "mse", "torch")
    with pytest.raises(ValueError, match="give a batch"):
        script(cnn(nn.MaxPool2d(2)), "adam", "cross_entropy", "torch")


def test_rounding_is_not_taken_for_another_result():
    """Far from 0, a mean is rounded by more than what is left after it."""
    x = 100 + data(60, 3, seed=5)
    model = nn.Sequential(nn.Linear(3, 8, rng=0), nn.BatchNorm1d(8), nn.ReLU(),
                          nn.Linear(8, 4, rng=1))
    text = script(model, "adamw", "cross_entropy", "numpy", x, np.arange(60) % 4)
    assert "is_duck" not in text and "lambda" not in text


def test_what_is_used_twice_is_computed_once():
    text = script(nn.MLP([3, 4, 2], nn.GELU("tanh"), rng=0), "adam", "mse", "numpy", X3, X3[:, :2])
    assert text.count("np.clip(x, -10, 10)") == 3 and "part1 * part1 * part1" in text


class Careful(optim.Adam):
    """A rule of one's own, on the options of another."""

    def rule(self, p, g, m, v, *, lr, t):
        m = self.beta1 * m + (1 - self.beta1) * g
        return p - lr * m, m, v


def test_a_rule_made_from_another_is_written_as_it_is(tmp_path):
    case = mlp(), Careful(lr=0.1), "cross_entropy"
    text = script(*case, "torch", X3, LABELS)
    assert "torch.optim" not in text and "One step of Careful" in text
    pytest.importorskip("torch")
    printed = printed_by(text.save(tmp_path / "own.py"))
    np.testing.assert_allclose(printed, trained(*case, X3, LABELS), rtol=1e-6)
