"""`fit` with a captured pass: the same to the bit as with one that is run as it is written."""

import copy
import functools
import signal

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.train import (
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    LambdaCallback,
    ReduceOnPlateau,
    StopOnNonFinite,
    fit,
)
from tinygrad_opt.train.batch import BatchGradients

X, Y = tg.data.spiral(23, 3, rng=0)                          # 69 samples: the last batch is ragged
VALIDATION = tg.data.spiral(10, 3, rng=1)


def noisy():
    return nn.MLP([2, 12, 3], norm="batch", dropout=0.3, rng=0)


def exact(column):
    """Numbers to the last bit; nan is as good as another nan."""
    return [repr(x) for x in column]


def fitted(compiled, model=noisy, optimizer="adam", loss=nn.cross_entropy, make=None, **options):
    """All that can be told of a run: the weights, the statistics and the history."""
    model = model()
    settings = options.pop("settings", {})
    if isinstance(optimizer, str):
        optimizer = optim.get(optimizer, model.parameters(), **settings)
    options = {"epochs": 3, "batch_size": 16, "progress": False, "seed": 0} | options
    if make:
        options["callbacks"] = make()
    data = options.pop("data", (X, Y))
    history = fit(model, *data, loss=loss, optimizer=optimizer, compile=compiled, **options)
    told = {name: exact(column) for name, column in history.items() if name != "seconds"}
    steps = {name: exact(column) for name, column in history.steps.items()}
    state = {name: np.where(np.isnan(array), np.nan, array).tobytes()      # one nan for all
             for name, array in model.state_dict().items()}
    return state, told, steps, history.stopped


def captures(monkeypatch, **options):
    """How many passes of a run were written out rather than replayed, and the run itself."""
    written, count = BatchGradients.written, []

    def counting(self, *args):
        count.append(args[0].shape)
        return written(self, *args)

    monkeypatch.setattr(BatchGradients, "written", counting)
    result = fitted(**options, diagnose=False)              # which would look at one more
    monkeypatch.undo()
    return len(count), result


@pytest.mark.parametrize("name", optim.names())
def test_every_optimizer_goes_the_same_way(monkeypatch, name):
    count, result = captures(monkeypatch, compiled=None, optimizer=name)
    assert count == 2                                        # one for each size of batch, of 15
    assert result == fitted(False, optimizer=name)


@pytest.mark.parametrize("options", [
    {"metrics": ["accuracy"], "validation_data": VALIDATION},
    {"accumulate": 3}, {"accumulate": 4, "batch_size": 5}, {"batch_size": 100}, {"batch_size": 1,
     "model": lambda: nn.MLP([2, 8, 3], dropout=0.5, rng=0), "epochs": 1},
    {"settings": {"clip_norm": 0.1}}, {"settings": {"clip_value": 0.01}},
    {"settings": {"weight_decay": 0.1}}, {"settings": {"lr": optim.schedules.cosine(0.1, 10)}},
    {"settings": {"overrides": {"*bias": {"lr": 0.5}}}}, {"settings": {"frozen": "layers.0.*"}},
    {"loss": functools.partial(nn.cross_entropy, label_smoothing=0.1)},
    {"loss": functools.partial(nn.cross_entropy, ignore_index=1)},
    {"model": lambda: nn.MLP([2, 8, 3], activation=np.tanh, norm="layer", rng=0)},
], ids=lambda options: "-".join(options))
def test_whatever_is_asked_of_the_run_it_goes_the_same_way(options):
    assert fitted(None, **options) == fitted(False, **options)


class At(Callback):
    """Do something to the run before the step of a number."""

    def __init__(self, step, action):
        self.at, self.action = step, action

    def on_step(self, run):
        if run.step == self.at:
            self.action(run)


@pytest.mark.parametrize("action", [
    lambda run: setattr(run.optimizer, "lr", 0.5),
    lambda run: run.model.requires_grad_("layers.0.*", False),
    lambda run: setattr(run.model.dropout, "p", 0.9),
    lambda run: setattr(run.model, "activation", nn.tanh),
    lambda run: run.model.eval(),
    lambda run: setattr(run.model.layers[1].weight, "data", np.ones((12, 3))),
    lambda run: run.model.layers.__setitem__(0, nn.Linear(2, 12, rng=5)),
    lambda run: run.model.load_state_dict(noisy().state_dict()),
    lambda run: run.stop("enough"),
    lambda run: run.loss_function.keywords.update(weight=np.array([1.0, 1.0, 9.0])),
    lambda run: run.loss_function.keywords.update(label_smoothing=0.2),
], ids=["lr", "freeze", "dropout", "activation", "eval", "data", "layer", "load", "stop",
        "class weights", "smoothing"])
@pytest.mark.parametrize("moment", ["on_step", "on_epoch"])
@pytest.mark.filterwarnings("ignore::tinygrad_opt.train.TrainingWarning")
def test_what_a_callback_changes_counts_from_the_next_step_on(action, moment):
    def fitted(compiled, **options):
        loss = functools.partial(nn.cross_entropy, weight=np.ones(3), label_smoothing=0.0)
        return globals()["fitted"](compiled, loss=loss, **options)

    def make():
        if moment == "on_step":
            return [At(7, action)]
        return [lambda run: action(run) if run.epoch == 2 else None]

    assert fitted(None, make=make) == fitted(False, make=make) != fitted(None)


@pytest.mark.parametrize("compiled", [None, True, False])
@pytest.mark.parametrize("step", [0, 7], ids=["capture", "replay"])
def test_weights_that_change_between_forward_and_backward_are_an_error(compiled, step):
    times = []

    class Loads(Callback):
        def on_loss(self, run):
            if run.step == step and not times:
                times.append(step)
                run.model.load_state_dict(noisy().state_dict())

    with pytest.raises(tg.GraphError, match=r"layers.\d.\w+ .* was changed in place"):
        fitted(compiled, make=lambda: [Loads()])
    assert times == [step]


@pytest.mark.parametrize("action", [
    lambda p: setattr(p, "requires_grad", False), lambda p: p.register_hook(lambda g: 2 * g),
], ids=["freeze", "hook"])
def test_a_replay_refuses_what_it_cannot_follow_between_forward_and_backward(action):
    def make():
        def change(run):
            if run.step == 7:
                action(run.model.layers[0].weight)

        return [LambdaCallback(on_loss=change)]

    with pytest.raises(tg.GraphError, match=r"layers.0.weight \(2, 12\) was .* Do so in on_step"):
        fitted(None, make=make)
    fitted(False, make=make)


def test_the_batch_whose_capture_fails_in_the_backward_pass_shows_its_loss_once():
    def run(compiled):
        losses = []
        result = fitted(compiled, model=Listens, make=lambda: [
            LambdaCallback(on_loss=lambda run: losses.append(run.loss))])
        return result, losses

    with pytest.warns(UserWarning, match="not compiled. CaptureError"):
        assert run(True) == run(False)


def test_callbacks_of_all_kinds_see_the_same_run():
    def make():
        seen = []

        class Look(Callback):
            def on_loss(self, run):
                seen.append((run.loss, [p.grad for p in run.model.parameters().values()]))
                assert not any(g is not None for g in seen[-1][1])

        return [Look(), EarlyStopping(1), ReduceOnPlateau(1), StopOnNonFinite()]

    assert fitted(None, make=make, epochs=9) == fitted(False, make=make, epochs=9)


@pytest.mark.parametrize("moment", ["on_loss", "on_step"])
def test_ctrl_c_ends_a_replayed_run_where_it_ends_the_other(moment):
    def make():
        def press(run):
            if run.step == 7:
                signal.raise_signal(signal.SIGINT)

        return [LambdaCallback(**{moment: press})]

    state, told, steps, stopped = fitted(None, make=make)
    assert (state, told, steps, stopped) == fitted(False, make=make)
    assert len(steps["loss"]) == 7 and stopped == "interrupted"


def test_a_non_finite_loss_stops_before_the_backward_pass_of_a_replay_too():
    x = X.copy()
    x[60] = np.nan
    runs = []
    for compiled in (None, False):
        model = nn.MLP([2, 8, 3], rng=0)
        history = fit(model, x, Y, loss=nn.cross_entropy, batch_size=16, seed=0, progress=False,
                      callbacks=[StopOnNonFinite()], compile=compiled)
        runs.append((history.steps, history.stopped, model.layers[0].weight.data.tobytes()))
        assert "the loss was nan" in history.stopped and 0 < len(history.steps["loss"]) < 5
    assert runs[0] == runs[1]


class Own(nn.Module):
    """A model of the user's own, which a capture may freeze something of."""

    def __init__(self):
        self.inner, self.calls = noisy(), 0

    def forward(self, x):
        self.note()
        return self.inner(x)

    def note(self):
        pass


def test_what_is_not_of_this_package_is_captured_only_if_asked_for(monkeypatch):
    def own_loss(prediction, y):
        return nn.cross_entropy(prediction, y)

    square = tg.op("square", lambda x: x * x, lambda g, z, x: 2 * g * x)
    for options in ({"model": Own}, {"loss": own_loss},
                    {"model": lambda: nn.MLP([2, 8, 3], activation=square, rng=0)},
                    {"model": lambda: nn.MLP([2, 8, 3], activation=lambda x: x * x, rng=0)}):
        expected = fitted(False, **options)
        count, result = captures(monkeypatch, compiled=None, **options)
        assert (count, result) == (15, expected)
        count, result = captures(monkeypatch, compiled=True, **options)
        assert (count, result) == (2, expected)


class Looks(Own):
    def forward(self, x):
        x = self.inner(x)
        return x if float(x.sum()) > 1e9 else 2 * x


class Listens(Own):
    def forward(self, x):
        x = self.inner(x)
        x.register_hook(lambda g: 2 * g if g.sum() > 0 else None)
        return x


def test_a_model_that_looks_at_values_is_run_as_it_is_written_with_a_word_why():
    expected = fitted(False, model=Looks)
    with pytest.warns(UserWarning, match=r"not compiled. CaptureError: .*float\(x.sum\(\)\)") as w:
        assert fitted(True, model=Looks) == expected
    assert len(w) == 1 and w[0].filename == __file__


def test_a_parameter_with_a_hook_is_run_as_it_is_written_and_the_hook_sees_every_gradient():
    def hooked():
        model = noisy()
        model.layers[1].bias.register_hook(lambda g: seen.append(g.copy()))
        return model

    runs = []
    for compiled in (False, None):
        seen = []
        runs.append(fitted(compiled, model=hooked))
        assert len(seen) == 15
    assert runs[0] == runs[1]
    with pytest.warns(UserWarning, match="layers.1.bias has a hook"):
        assert fitted(True, model=hooked) == runs[0]


def test_a_hook_that_comes_in_mid_training_sees_every_gradient_from_then_on():
    def make():
        return [At(7, lambda run: run.model.layers[1].bias.register_hook(lambda g: 3 * g))]

    assert fitted(None, make=make) == fitted(False, make=make) != fitted(None)


def test_captures_that_are_never_used_again_are_given_up(monkeypatch):
    class Repoints:
        lr = 0.1

        def __init__(self, parameters):
            self.parameters = parameters

        def step(self):
            for p in self.parameters.values():
                p.data = p.data - self.lr * p.grad

        def zero_grad(self):
            for p in self.parameters.values():
                p.grad = None

    expected = fitted(False, optimizer=Repoints)
    assert fitted(None, optimizer=Repoints) == expected
    with pytest.warns(UserWarning, match="captured anew for most batches"):
        assert fitted(True, optimizer=Repoints) == expected


# ---- every kind of model, of data and of callback ------------------------------------------------

KNOWN = {
    "MLP": noisy,
    "layer norm": lambda: nn.MLP([2, 8, 3], activation=np.tanh, norm="layer", rng=0),
    "batch norm first": lambda: nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3, rng=0)),
    "layer norm first": lambda: nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 3, rng=0)),
    "dropout first": lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(2, 3, rng=0)),
    "activation first": lambda: nn.Sequential(nn.LeakyReLU(), nn.Linear(2, 3, rng=0), np.sin),
    "convolution": lambda: nn.Sequential(nn.Conv1d(1, 3, 2, rng=0), nn.Flatten()),
    "pooling first": lambda: nn.Sequential(nn.AvgPool2d(1), nn.Flatten(), nn.Linear(2, 3, rng=0)),
    "embedding": lambda: nn.Sequential(nn.Embedding(9, 3, rng=0), nn.Flatten(),
                                       nn.Linear(6, 3, rng=1)),
    "own": lambda: Own(),
    "recurrent": lambda: Recurrent(),
}
SHAPES = {"convolution": (-1, 1, 2), "pooling first": (-1, 1, 1, 2), "recurrent": (-1, 2, 1)}
KINDS = ["float16", "float32", "float64", "int64", "uint8"]


class Recurrent(nn.Module):
    def __init__(self):
        self.cell, self.head = nn.GRU(1, 4, rng=0), nn.Linear(4, 3, rng=0)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def halve(run):
    run.optimizer.lr = run.optimizer.current_lr / 2


CALLBACKS = {                            # callbacks in a folder, and other options of a run
    "none": (lambda folder: [], {}),
    "early stopping": (lambda folder: [EarlyStopping(1)], {"epochs": 6}),
    "plateau": (lambda folder: [ReduceOnPlateau(1)], {"epochs": 6}),
    "checkpoint": (lambda folder: [Checkpoint(folder / "best.npz")], {}),
    "on_loss": (lambda folder: [LambdaCallback(on_loss=lambda run: run.loss > 9 and run.stop(""))],
                {}),
    "on_step": (lambda folder: [At(7, halve)], {}),
    "on_epoch": (lambda folder: [halve], {}),
    "log": (lambda folder: [CSVLog(folder / "log.csv")], {"epochs": 2}),
    "all": (lambda folder: [EarlyStopping(3), ReduceOnPlateau(1), StopOnNonFinite(), halve], {}),
    "validation": (lambda folder: [], {"validated": True, "metrics": ["accuracy"]}),
    "schedule": (lambda folder: [], {"settings": {"lr": optim.schedules.one_cycle(0.1, 15)}}),
    "accumulated": (lambda folder: [], {"accumulate": 3, "optimizer": "sgd"}),
    "clipped": (lambda folder: [], {"settings": {"clip_norm": 0.1, "weight_decay": 0.1}}),
    "smoothed": (lambda folder: [], {"loss": functools.partial(nn.cross_entropy,
                                                               label_smoothing=0.1)}),
}
EVERY = [(model, kind, name) for model in KNOWN for kind in KINDS for name in CALLBACKS
         if model != "embedding" or kind in ("int64", "uint8")]


def run_in(folder, compiled, model, kind, name, dtype="float32"):
    tg.seed(0)
    make, options = CALLBACKS[name]
    options = dict(options)
    if isinstance(options.get("settings", {}).get("lr"), optim.schedules.Schedule):
        options["settings"] = copy.deepcopy(options["settings"])

    def prepared(x):
        x = x.reshape(SHAPES.get(model, (-1, 2)))
        return x.astype(kind) if kind.startswith("float") else abs(np.rint(4 * x)).astype(kind)

    if options.pop("validated", False):
        options["validation_data"] = prepared(VALIDATION[0]), VALIDATION[1]
    folder.mkdir(exist_ok=True)
    return fitted(compiled, model=lambda: KNOWN[model]().astype(dtype), make=lambda: make(folder),
                  data=(prepared(X), Y), **options)


@pytest.mark.parametrize(("model", "kind", "name"), EVERY[::9])
def test_models_data_and_callbacks_go_the_same_way(tmp_path, model, kind, name):
    known = model not in ("own", "recurrent")
    expected = run_in(tmp_path / "eager", False, model, kind, name)
    for compiled in (None if known else True, "check"):
        assert run_in(tmp_path / "captured", compiled, model, kind, name) == expected


@pytest.mark.drill
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("model", KNOWN)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")       # of float16, which both runs give
def test_all_models_data_and_callbacks_go_the_same_way(tmp_path, model, dtype):
    for case in EVERY:
        if case[0] == model:
            expected = run_in(tmp_path / "eager", False, *case, dtype)
            assert run_in(tmp_path / "captured", True, *case, dtype) == expected, case


# ---- compile="check": each batch both ways -------------------------------------------------------


@pytest.mark.parametrize("options", [
    {}, {"accumulate": 3, "metrics": ["accuracy"]}, {"model": Own},
    {"loss": lambda prediction, y: nn.cross_entropy(prediction, y)},
    {"make": lambda: [At(7, lambda run: setattr(run.model.dropout, "p", 0.9))]},
], ids=["", "accumulate", "own model", "own loss", "changed"])
def test_a_run_that_passes_its_check_is_the_run_as_it_is_written(options):
    losses = []

    def make():
        return [*options.get("make", list)(),
                LambdaCallback(on_loss=lambda run: losses.append(run.loss))]

    runs = [fitted(compiled, **{**options, "make": make}) for compiled in ("check", False)]
    assert runs[0] == runs[1]
    assert len(losses) % 2 == 0 and losses[:len(losses) // 2] == losses[len(losses) // 2:]


COUNT = [0]


@pytest.mark.parametrize(("factor", "name"), [
    (lambda x, model: x * COUNT[0], "the loss"),
    (lambda x, model: np.concatenate([x, 0 * x[:, :1] - COUNT[0]], axis=1), "the prediction"),
    (lambda x, model: tg.op("same", lambda x: x + 0, _slope(COUNT[0]))(x), "the gradient of"),
    (lambda x, model: _move(x, model.inner.norms[0].running_mean), "a buffer of shape"),
    (lambda x, model: x + 0 * np.float32(model.inner.dropout.rng.random()), "random generator"),
], ids=["loss", "prediction", "gradient", "buffer", "generator"])
def test_a_check_names_what_a_replay_does_otherwise(factor, name):
    class Changes(Own):
        def forward(self, x):
            COUNT[0] += 1
            return factor(self.inner(x), self)

    COUNT[0] = 0
    with pytest.raises(tg.CaptureError, match=rf"step does not do what is written: {name}"):
        fitted("check", model=Changes, metrics=["accuracy"],
               loss=lambda prediction, y: nn.cross_entropy(prediction[:, :3], y))


def _slope(k):
    return lambda g, z, x: g * k


def _move(x, buffer):
    buffer[...] += 1
    return x


def test_a_check_refuses_what_is_not_compiled_rather_than_run_it_as_it_is_written():
    with pytest.raises(tg.CaptureError, match=r"float\(x.sum\(\)\)"):
        fitted("check", model=Looks)

    def hooked():
        model = noisy()
        model.layers[1].bias.register_hook(lambda g: 2 * g)
        return model

    with pytest.raises(tg.CaptureError, match=r"not compiled. layers.1.bias has a hook"):
        fitted("check", model=hooked)
    y = Y.copy()
    y[50] = 7
    with pytest.raises(IndexError, match="7"):
        fit(noisy(), X, y, loss=nn.cross_entropy, progress=False, compile="check")


class Counts(Own):
    def note(self):
        self.calls += 1


def test_a_counter_in_the_model_is_seen_and_never_frozen():
    with pytest.warns(UserWarning, match=r"changes Counts\.calls at each call"):
        assert fitted(True, model=Counts) == fitted(False, model=Own)


def test_errors_of_a_batch_are_those_of_the_pass_as_it_is_written():
    y = Y.copy()
    y[50] = 7
    for compiled in (None, False):
        with pytest.raises(IndexError, match="7"):
            fit(noisy(), X, y, loss=nn.cross_entropy, progress=False, compile=compiled)


def test_an_error_in_a_callback_is_passed_on_as_it_is():
    class Fails(Callback):
        def on_loss(self, run):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fitted(True, make=lambda: [Fails()])


def test_compile_takes_no_other_words():
    with pytest.raises(ValueError, match="True, False, None, 'check' or 'native', got 'yes'"):
        fitted("yes")
