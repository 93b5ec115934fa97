"""Arrays of other libraries: the engine, layers and optimizers on a strict mock of CuPy's."""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import data, nn, ops, optim, train
from tinygrad_opt.cases import Domain, calls_of
from tinygrad_opt.tensor import apply

CREATING = {np.array, np.asarray}                          # with like=, they take NumPy's arrays


def inside(x):
    """NumPy's arrays for the mock's; NumPy's own are refused, as CuPy refuses them."""
    if isinstance(x, Duck):
        return x.array
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    if isinstance(x, dict):
        return {key: inside(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        parts = map(inside, x)
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x


def outside(x):
    if isinstance(x, np.ndarray | np.generic):             # no scalars come back
        return Duck(x)
    if isinstance(x, list | tuple):
        parts = map(outside, x)
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x


def attribute(name):
    return property(lambda self: outside(getattr(self.array, name)))


def method(name):
    def call(self, *args, **options):
        if {"initial", "where"} & options.keys():
            raise TypeError(f"{name}() got an unexpected keyword argument")
        return outside(getattr(self.array, name)(*inside(args), **inside(options)))
    return call


class Flags:
    c_contiguous = f_contiguous = True                     # there is no writeable


class Duck(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that speaks NumPy's protocols and no more, as strict as CuPy's.

    It becomes no NumPy array, does not mix with them, has no address, no ufunc methods such as
    ``np.add.reduce``, no options ``initial=`` and ``where=``, and knows NumPy's functions only.
    """

    base = None
    flags = Flags()

    def __init__(self, array):
        self.array = np.asarray(array)

    def __array__(self, *args, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, called, *inputs, out=None, **options):
        if (called != "__call__" or options.keys() - {"dtype", "casting"}
                or any(isinstance(x, tg.Tensor) for x in inputs)):
            return NotImplemented
        if out is None:
            return outside(ufunc(*inside(inputs), **options))
        ufunc(*inside(inputs), out=inside(out), **options)
        return out[0]

    def __array_function__(self, function, types, args, options):
        if (not function.__module__.startswith("numpy") or set(types) - {Duck, np.ndarray}
                or {"initial", "where"} & options.keys()):
            return NotImplemented
        if function in CREATING and isinstance(args[0], np.ndarray):
            return Duck(function(*args, **options))
        made = function(*inside(args), **inside(options))
        return options.get("out") if options.get("out") is not None else outside(made)

    def __getitem__(self, index):
        return outside(self.array[inside(index)])

    def __setitem__(self, index, value):
        self.array[inside(index)] = inside(value)

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        return bool(self.array)

    def __float__(self):
        return float(self.array)

    def __format__(self, spec):
        return format(self.array, spec)


for name in ("shape", "ndim", "size", "dtype", "T", "nbytes", "itemsize",
             "strides"):
    setattr(Duck, name, attribute(name))
for name in ("all any argmax argmin argsort astype clip copy cumsum diagonal dot item max mean min"
             " prod put ravel repeat reshape round squeeze std sum swapaxes take tolist trace"
             " transpose var view").split():
    setattr(Duck, name, method(name))


def ducks(x):
    """The mock's arrays for NumPy's, in tuples too."""
    if isinstance(x, tuple):
        return tuple(map(ducks, x))
    return Duck(x.copy()) if isinstance(x, np.ndarray) else x


def on_ducks(model):
    """A model whose parameters and buffers are the mock's."""
    for p in model.parameters().values():
        p.data = ducks(p.data)
    for module in model.named_modules().values():
        for name in type(module).buffers:
            setattr(module, name, ducks(getattr(module, name)))
    return model


def equal(duck, array, rtol=1e-9):
    assert type(duck) is Duck and duck.dtype == array.dtype
    np.testing.assert_allclose(duck.array, array, rtol=rtol, atol=1e-12)


# ---- operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ops.TABLE)
def test_operations_and_their_gradients_stay_with_the_library(name):
    for call in calls_of(name):
        drawn = call.draw(np.random.default_rng(0))
        arrays = [tg.Tensor(x, requires_grad=True) if isinstance(c, Domain) else x
                  for x, c in zip(drawn, call.inputs)]
        if isinstance(call.attrs.get("repeats"), np.ndarray):
            continue                                       # CuPy takes numbers and lists
        with np.errstate(all="ignore"):
            expected = apply(ops.TABLE[name], *arrays, **call.attrs)
            seed = np.random.default_rng(1).normal(size=expected.shape)
            expected.backward(seed)
            given = [tg.Tensor(ducks(x), requires_grad=True) if isinstance(c, Domain) else ducks(x)
                     for x, c in zip(drawn, call.inputs)]
            attrs = {key: ducks(v) if key == "index" else v for key, v in call.attrs.items()}
            if not call.inputs and not given:
                continue
            made = apply(ops.TABLE[name], *given, **attrs)
            made.backward(Duck(seed))
        equal(made.data, expected.data)
        for ours, theirs in zip(given, arrays):
            if isinstance(theirs, tg.Tensor):
                equal(ours.grad, theirs.grad)


def test_derivatives_of_derivatives_and_of_functions():
    x = np.linspace(0.5, 2, 6).reshape(2, 3)

    def f(t):
        return (nn.softmax(t**3) * np.exp(t)).sum() + np.prod(t) + np.linalg.norm(t @ t.T)

    equal(tg.grad(f)(Duck(x)), tg.grad(f)(x))
    both = []
    for array in (x, Duck(x)):
        t = tg.Tensor(array, requires_grad=True)
        f(t).backward(create_graph=True)
        slope, t.grad = t.grad, None
        (slope * slope).sum().backward()
        both.append(t.grad)
    equal(both[1], both[0])
    equal(tg.jacobian(np.tanh)(Duck(x[0])), tg.jacobian(np.tanh)(x[0]))


def test_arrays_of_numpy_come_along_into_operations():
    t = tg.Tensor(Duck(np.ones((2, 3))), requires_grad=True)
    (t * np.arange(3.0) + [1.0, 2.0, 3.0]).sum().backward()
    equal(t.grad, np.tile(np.arange(3.0), (2, 1)))
    with pytest.raises(TypeError, match=r"multiply of \(2, 3\) and \(3,\): Unsupported type"):
        t * tg.Tensor(np.arange(3.0))                      # whose library is the caller's choice


def test_tensors_change_in_place_have_hooks_and_are_shown():
    t = tg.Tensor(Duck(np.ones(3, "f4")), requires_grad=True, name="t")
    t.register_hook(lambda g: 10 * g)
    y = t * 2
    y += 1
    y.sum().backward()
    equal(t.grad, np.full(3, 20, "f4"))
    t.grad = None
    t.data = np.zeros(3)                                   # to another library, and back
    assert type(t.data) is np.ndarray
    t.data = Duck(np.ones(3))
    assert type(t.data) is Duck and t.dtype == np.float32
    assert "1." in repr(t) and t._repr_mimebundle_().keys() == {"text/plain"}
    assert t.tolist() == [1, 1, 1] and float(t.sum()) == 3


# ---- models --------------------------------------------------------------------------------------


class Reader(nn.Module):
    def __init__(self, kind):
        self.cell, self.head = kind(3, 5, rng=0), nn.Linear(5, 4, rng=1)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


class Transformer(nn.Module):
    def __init__(self):
        self.table, self.places = nn.Embedding(11, 8, rng=0), nn.PositionalEmbedding(6, 8, rng=0)
        self.waves = nn.SinusoidalEmbedding(8)
        self.block = nn.TransformerBlock(8, 2, causal=True, norm="rms", dropout=0.1, rng=1)
        self.head = nn.Linear(8, 4, rng=2)

    def forward(self, codes):
        x = self.waves(self.places(self.table(codes)))
        return self.head(self.block(x).mean(axis=1))


RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 6)
ROWS = RNG.normal(size=(6, 3)).astype("f4")
MODELS = {
    **{name: (lambda name=name: nn.MLP([3, 8, 4], name, norm="layer", rng=0), ROWS)
       for name in ("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "softplus")},
    "batch norm and dropout": (
        lambda: nn.MLP([3, 8, 4], norm="batch", dropout=0.3, rng=0), ROWS),
    "pixels": (lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, rng=0), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 3, 2, rng=1), nn.AvgPool2d(2, padding=1), nn.Flatten(),
        nn.Linear(12, 4, rng=2)), RNG.normal(size=(6, 1, 6, 6)).astype("f4")),
    "signal": (lambda: nn.Sequential(
        nn.Conv1d(2, 3, 3, rng=0), np.tanh, nn.Flatten(), nn.Linear(12, 4, rng=0)),
        RNG.normal(size=(6, 2, 6)).astype("f4")),
    **{kind.__name__: (lambda kind=kind: Reader(kind), RNG.normal(size=(6, 4, 3)).astype("f4"))
       for kind in (nn.RNN, nn.GRU, nn.LSTM)},
    "transformer": (Transformer, RNG.integers(0, 11, (6, 5))),
}


def trained(model, optimizer, x, labels, steps=4):
    losses = []
    for _ in range(steps):
        loss = nn.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize("name", MODELS)
def test_models_are_trained_as_on_numpy(name):
    make, x = MODELS[name]
    tg.seed(0)
    model = make()
    expected = trained(model, optim.SGD(model.parameters(), lr=0.1), x, LABELS)
    tg.seed(0)
    model = on_ducks(make())
    losses = trained(model, optim.SGD(model.parameters(), lr=0.1), Duck(x), Duck(LABELS))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert {type(p.data) for p in model.parameters().values()} == {Duck}


@pytest.mark.parametrize("spec", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam",
                                  "adamw", "adadelta", "adamax", "nadam", "lion"])
def test_optimizers_update_where_the_parameters_are(spec):
    options = {"weight_decay": 0.01, "clip_norm": 0.5, "check_finite": "raise", "lr": 0.01}
    losses = []
    for move in (lambda x: x, ducks):
        model = nn.MLP([3, 8, 4], "tanh", rng=0)
        model = model if move is not ducks else on_ducks(model)
        opt = optim.get(spec, model.parameters(), **options)
        losses.append(trained(model, opt, move(ROWS), move(LABELS)))
        assert {type(a) for state in opt.state.values() for a in state.values()} <= {
            type(move(ROWS))}
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_parameters_of_two_libraries_are_packed_apart():
    own, other = tg.Tensor(np.ones(3), True), tg.Tensor(Duck(np.ones(3)), True)
    opt = optim.Adam({"own": own, "other": other}, lr=0.1)
    for _ in range(3):
        opt.zero_grad()
        (own * own).sum().backward()
        (other * other).sum().backward()
        opt.step()
    assert type(own.data) is np.ndarray
    equal(other.data, own.data)
    w = Duck(np.ones(3))
    optim.SGD(lr=0.5).update({"w": w}, {"w": w * 1})
    equal(w, np.full(3, 0.5))


@pytest.mark.parametrize("first, second", [(Duck, Duck), (np.array, Duck), (Duck, np.array)])
def test_an_optimizer_resumes_on_the_arrays_of_any_library(first, second):
    start, plain = optim.Adam(lr=0.1), optim.Adam(lr=0.1)
    v, w, g = first(np.ones(3)), np.ones(3), np.arange(3.0)
    for _ in range(2):
        start.update({"w": v}, {"w": first(g)})
        plain.update({"w": w}, {"w": g})
    state = start.state_dict()
    if second is not Duck:                                 # what CuPy's x.get() does
        kept = state["parameters"]["w"]["state"]
        kept |= {slot: row.array for slot, row in kept.items()}
    unbound, u = optim.Adam(lr=0.1), second(w.copy())
    p = tg.Tensor(second(w.copy()), True)
    bound = optim.Adam({"w": p}, lr=0.1)
    for opt in (unbound, bound):
        opt.load_state_dict(state)
    plain.update({"w": w}, {"w": g})
    unbound.update({"w": u}, {"w": second(g)})
    p.grad = second(g)
    bound.step()
    for x in (u, p.data):
        assert type(x) is type(second(g))
        np.testing.assert_allclose(getattr(x, "array", x), w, rtol=1e-12)


def test_states_go_from_library_to_library():
    model, other = nn.MLP([3, 4, 2], norm="batch", rng=0), on_ducks(nn.MLP([3, 4, 2], norm="batch"))
    other.load_state_dict(model.state_dict())
    state = other.state_dict()
    assert {type(x) for x in state.values()} == {Duck}
    for path, array in model.state_dict().items():
        equal(state[path], array)


@pytest.mark.parametrize("loss", [
    nn.mse_loss, nn.l1_loss, nn.huber_loss, nn.binary_cross_entropy_with_logits, nn.kl_div,
    nn.binary_cross_entropy])
def test_losses_stay_with_the_library(loss):
    p, y = np.full((3, 2), 0.3), np.full((3, 2), 0.5)
    t, u = tg.Tensor(p, requires_grad=True), tg.Tensor(Duck(p), requires_grad=True)
    loss(t, y).backward()
    loss(u, Duck(y)).backward()
    equal(u.grad, t.grad)


def test_cross_entropy_with_weights_and_smoothing():
    logits, weight = RNG.normal(size=(6, 4)), np.array([1.0, 2.0, 0.5, 1.0])
    options = {"label_smoothing": 0.1}
    expected = nn.cross_entropy(tg.Tensor(logits), LABELS, weight=weight, **options)
    made = nn.cross_entropy(tg.Tensor(Duck(logits)), Duck(LABELS), weight=Duck(weight), **options)
    equal(made.data, expected.data)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("of_model", [True, False])
def test_compiled_steps_refuse_them_by_name(backend, of_model):
    if backend == "native":
        pytest.importorskip("llvmlite")
    model = nn.Linear(3, 4, rng=0)
    model = on_ducks(model) if of_model else model
    step = tg.compile(lambda x: model(x).sum(), backend=backend)
    for x in (tg.Tensor(Duck(ROWS)), Duck(ROWS)) if not of_model else (ROWS, tg.Tensor(ROWS)):
        with pytest.raises(tg.CaptureError, match=r"holds an array of .*Duck, and compiled steps"):
            step(x)


def test_a_model_and_its_input_are_of_one_library():
    said = r"linear of \(6, 3\), weight \(3, 4\).*arrays of numpy and test_duck_arrays: bring all"
    with pytest.raises(TypeError, match=said):
        on_ducks(nn.Linear(3, 4, rng=0))(ROWS)


def small():
    return on_ducks(nn.MLP([3, 2], rng=0))


def stepped(model):
    opt = optim.Adam(model.parameters())
    nn.cross_entropy(model(Duck(ROWS)), Duck(LABELS % 2)).backward()
    opt.step()
    return opt


def squares(x):
    return (x**2).sum()


QUIET = {"loss": "cross_entropy", "epochs": 1, "progress": False}
NEED_NUMPY = {
    "fit: x": lambda at: tg.fit(nn.MLP([3, 2]), Duck(ROWS), LABELS, **QUIET),
    "fit: y": lambda at: tg.fit(nn.MLP([3, 2]), ROWS, Duck(LABELS), **QUIET),
    "fit: model": lambda at: tg.fit(small(), ROWS, LABELS % 2, **QUIET),
    "predict": lambda at: train.predict(small(), Duck(ROWS)),
    "evaluate": lambda at: train.evaluate(small(), Duck(ROWS), LABELS, loss="cross_entropy"),
    "minibatches": lambda at: list(data.minibatches(Duck(ROWS), Duck(LABELS), 2)),
    "standardize": lambda at: data.standardize(Duck(ROWS)),
    "draw: Tensor": lambda at: tg.draw(squares(tg.Tensor(Duck(ROWS), requires_grad=True))),
    "draw: model": lambda at: tg.draw(small(), Duck(ROWS)),
    "playback": lambda at: tg.playback(squares(tg.Tensor(Duck(ROWS), requires_grad=True))),
    "save": lambda at: tg.save(at / "a.npz", small()),
    "save optimizer": lambda at: tg.save(at / "a.npz", stepped(small())),
    "into a model of NumPy": lambda at: nn.MLP([3, 2]).load_state_dict(small().state_dict()),
    "to_torch": lambda at: nn.to_torch(small()),
    "numpy": lambda at: tg.Tensor(Duck(ROWS)).numpy(),
    "explain": lambda at: stepped(small()).explain("layers.0.bias", 0),
    "gradcheck": lambda at: tg.gradcheck(squares, Duck(ROWS)),
    "minimize": lambda at: optim.minimize(squares, Duck(ROWS)),
    "as_scipy": lambda at: optim.as_scipy(squares, Duck(ROWS)),
    "script": lambda at: tg.interop.script(small(), "adam", "mse", "numpy", ROWS, LABELS),
}


@pytest.mark.parametrize("name", NEED_NUMPY)
def test_what_needs_arrays_of_numpy_says_so(name, tmp_path):
    with pytest.raises((TypeError, tg.CheckpointError), match=r"got one of .*Duck: bring it over"):
        NEED_NUMPY[name](tmp_path)
    assert not [*tmp_path.iterdir()]


def test_files_and_summaries_of_models_of_other_libraries(tmp_path):
    model = nn.MLP([3, 2], rng=1)
    tg.save(tmp_path / "a.npz", model)
    other = small()
    tg.load(tmp_path / "a.npz", other)
    equal(other.layers[0].weight.data, model.layers[0].weight.data)
    assert str(other.summary(ROWS)) == str(other.summary(Duck(ROWS))) == str(model.summary(ROWS))
