"""What `fit` and `diagnose` say of runs that go wrong, and nothing of healthy ones."""

import re
import warnings

import numpy as np
import pytest

import tinygrad_opt as tg
from demos import going_wrong
from tests.healthy import RUNS, SPIRAL
from tinygrad_opt import nn, optim
from tinygrad_opt.train import Finding, History, LambdaCallback, StopOnNonFinite, TrainingWarning
from tinygrad_opt.train.diagnosis import BY_LOOK, Look, judged, overfitting
from tinygrad_opt.train.probe import probe

# the sentence of each run that goes wrong, and the layer or parameter that it names
SENTENCES = {
    "nan or inf: in the data": ("", r"the loss is nan \(step 2, epoch 1\)\. x holds nan in 1 of 64"
                                    r" entries, first at \[\d+, 1\], in 1 of 32 samples: look at"
                                    r" the data\.$"),
    "nan or inf: forward": ("", r"the loss is inf \(step 2, epoch 1\)\. log gives -inf in \d+ of 32"
                                r" entries.* in the forward pass \(line \d+: return -np\.log.* add"
                                r" 1e-7"),
    "nan or inf: backward": ("", r"the loss is nan \(step 2, epoch 1\)\. step 1 wrote it into"
                                 r" weight; the gradient that sqrt passes back to \(32,\) holds inf"
                                 r".*in the backward pass \(sqrt is in line \d+: return np\.sqrt.*"
                                 r" add 1e-12"),
    "growing loss": ("", r"the loss has grown from [\d.]+ to [\d.]+e\+\d+ \(step 2, epoch 1\)\."
                         r" Try a learning rate 10 times smaller"),
    "growing loss: uphill": ("", r"grown from 1\.22 to [\d.]+ \(step \d+, epoch \d\)\."
                                 r" maximize=True makes the optimizer go uphill: leave it out"),
    "no gradient": ("first.weight", r"does not depend on first\.weight, first\.bias \(step 21,"),
    "squashed twice": ("0", r"ends in softmax, and the loss, which takes scores, applies softmax"
                            r" once more: .* \(step 21, epoch 3\)\. Leave softmax out"),
    "symmetric units": ("layers.0", r"all units of layers\.0 have the same weights .* \(step 21,"
                                    r" epoch 3\)\. Weights begin with random numbers: leave out"),
    "crossed samples": ("", r"every prediction with every label: \(32, 1\) and \(32,\) are"
                            r" broadcast to \(32, 32\) \(step 21, .*\)\. Give both one shape"),
    "dead units": ("layers.0", r"\d\d of the 32 ReLU units of layers\.0 give 0 for all 32 samples.*"
                               r" \(step 21, epoch 1\)\. Try a smaller learning rate"),
    "saturated units": ("layers.0", r"\d\d% of what tanh gives in layers\.0 .* \(step 21,.*init="),
    "saturated output": ("layers.0", r"behind layers\.0 is flat: .* 100% .* of guessing 2\.3"),
    "vanishing gradients": ("layers.0", r"reaches layers\.0 is [\d.]+e-\d+ times that at layers\.8"
                                        r" \(step 21, .* Try relu instead of sigmoid"),
    "exploding gradients": ("layers.0", r"reaches layers\.0 is [\d.]+e\+\d+ times that at"
                                        r" layers\.10 \(step 21,"),
    "large updates": ("weight", r"weight changes by [\d.]+ of its own size in one step; about 0\.00"
                                r"1 is usual \(step 21, .* times smaller"),
    "small updates": ("", r"more than [\d.]+e-\d+ of their own size .* 1000+ times larger"),
    "chance": ("", r"the accuracy is 0\.\d+, and always naming the most frequent class gives 0\.10"
                   r" ± 0\.05; .* guessing 2\.3 \(step 321, epoch 6\)"),
    "overfitting": ("", r"val_loss has risen from [\d.]+ in epoch \d+ to [\d.]+, and loss has"
                        r" fallen on to .* \(step \d+, epoch \d+\)\. Try EarlyStopping"),
}


@pytest.mark.parametrize("case", going_wrong.CASES)
def test_each_way_of_going_wrong_is_said_with_its_number_and_step(case):
    *_, history = going_wrong.run(case)                    # a word of NumPy's would be an error
    kind = case.partition(":")[0]
    finding, = [f for f in history.findings if f.kind == kind]
    where, words = SENTENCES[case]
    assert re.search(words, str(finding)), str(finding)
    if kind != "small updates":
        assert finding.where == where
    assert str(finding) in str(history)
    if "data" in case:
        assert "rate" not in str(finding)


def test_every_kind_is_shown_by_the_demo():
    assert SENTENCES.keys() == going_wrong.CASES.keys()
    assert len(BY_LOOK) + 3 <= len({case.partition(":")[0] for case in SENTENCES})


@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_said_of_a_healthy_run(name):
    assert len(RUNS) >= 30
    history = tg.fit(**RUNS[name]())                       # a warning would be an error here
    assert history.findings == []


def test_a_schedule_that_has_come_to_rest_is_no_fault():
    model, lr = nn.MLP([2, 8, 3], rng=0), optim.schedules.cosine(0.01, 60)
    history = tg.fit(model, *SPIRAL, loss="cross_entropy", optimizer=optim.Adam(lr=lr), seed=0,
                     batch_size=32, epochs=40, progress=False)
    assert history.steps["lr"][-1] == 0 and history.findings == []
    many = nn.stack([nn.MLP([2, 8, 3], rng=k) for k in range(2)])
    history = tg.fit(many, *SPIRAL, loss=many.loss(nn.cross_entropy), epochs=10, seed=0,
                     optimizer=optim.Adam(lr=[0.01, 0.02]), progress=False)
    assert history.findings == []


def fitted(diagnose, **options):
    """All that can be told of a run that goes wrong, and of what was captured in it."""
    model = nn.MLP([2, 32, 3], norm="batch", dropout=0.4, rng=0)
    captures = []
    options = {"epochs": 8, "batch_size": 64, "optimizer": optim.SGD(lr=20.0), "seed": 0,
               "loss": "cross_entropy", "progress": False} | options
    last = LambdaCallback(on_end=lambda run: captures.append(run._gradients.captures))
    with np.errstate(all="ignore"), warnings.catch_warnings():        # or NumPy would, without
        warnings.simplefilter("ignore", TrainingWarning)
        history = tg.fit(model, *SPIRAL, diagnose=diagnose, callbacks=[last], **options)
    told = {name: column for name, column in history.items() if name != "seconds"}
    state = {name: array.tobytes() for name, array in model.state_dict().items()}
    return (state, repr(told), history.steps, captures), history.findings


@pytest.mark.parametrize("options", [
    {}, {"compile": False}, {"compile": True}, {"accumulate": 3}, {"batch_size": 30},
    {"batch_size": 300, "epochs": 40}, {"validation_data": SPIRAL, "metrics": "accuracy"},
], ids=str)
def test_results_and_captures_are_the_same_without(options):
    watched, findings = fitted(True, **options)
    alone, nothing = fitted(False, **options)
    assert watched == alone
    assert findings and not nothing


def explode(lr=1e6, **options):
    x, y = SPIRAL
    return tg.fit(nn.MLP([2, 8, 3], rng=0), x, y, loss="cross_entropy", progress=False, seed=0,
                  optimizer=optim.SGD(lr=lr), **options)


def test_it_is_said_once_at_the_line_that_called_fit():
    with np.errstate(all="ignore"), pytest.warns(TrainingWarning) as seen:
        history = explode()
    assert [str(w.message) for w in seen] == [str(f) for f in history.findings]
    assert {w.filename for w in seen} == {__file__}
    assert len({f.kind for f in history.findings}) == len(history.findings)
    assert history.findings[0].kind == "growing loss"


def test_numpy_is_heard_where_nothing_is_diagnosed_and_where_it_is_to_raise():
    with pytest.warns(RuntimeWarning, match="encountered in"):
        explode(1e30, diagnose=False)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        explode(1e30)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.filterwarnings("ignore::tinygrad_opt.train.TrainingWarning")
def test_an_overflow_is_explained_by_what_the_optimizer_was_told(maximize):
    x = going_wrong.RAMP
    history = tg.fit(nn.Linear(1, 1, rng=0), x, 3 * x, loss="mse", batch_size=64, epochs=300,
                     optimizer=optim.SGD(lr=3, maximize=maximize), progress=False)
    overflow, = (f for f in history.findings if f.kind == "nan or inf")
    assert ("maximize=True" in overflow.hint) == maximize
    assert ("learning rate 10 times smaller" in overflow.hint) != maximize


def test_who_stops_a_run_that_goes_uphill_says_so():
    history = tg.fit(nn.MLP([2, 64, 3], rng=0), *SPIRAL, loss="cross_entropy", epochs=99,
                     optimizer=optim.SGD(lr=1, maximize=True), progress=False,
                     callbacks=[StopOnNonFinite(growth=100)])
    assert history.stopped.endswith("; maximize=True makes the optimizer go uphill: leave it out,"
                                    " if the loss is to fall")


def test_a_last_step_that_is_not_finite_is_said_too():
    x = going_wrong.RAMP
    with pytest.warns(TrainingWarning, match=r"the last step was not finite \(step 1, epoch 1\)"):
        history = tg.fit(nn.Linear(1, 1, rng=0), 1e30 * x, x, loss=lambda p, y: (p * y).mean(),
                         optimizer=optim.SGD(lr=1e10), batch_size=64, epochs=1, progress=False)
    assert np.isfinite(history["loss"]).all()
    assert history.findings[0].where == "weight"


def test_nan_in_the_validation_data_is_said():
    with pytest.warns(TrainingWarning, match=r"val_loss is nan \(step 10, epoch 1\)\. x holds nan"):
        history = tg.fit(nn.Linear(2, 3, rng=0), *SPIRAL, loss="cross_entropy", epochs=3, seed=0,
                         validation_data=going_wrong.WITH_A_HOLE, progress=False)
    assert len(history.findings) == 1


@pytest.mark.parametrize(("lr", "grows"), [(1.06, True), (1.012, False)])
@pytest.mark.filterwarnings("ignore::tinygrad_opt.train.TrainingWarning")
def test_a_loss_must_grow_for_long_or_by_much(lr, grows):
    """Above 1 each step goes too far, by a little more than the last one."""
    x = going_wrong.RAMP
    history = tg.fit(nn.Linear(1, 1, rng=0), x, 3 * x, loss="mse", optimizer=optim.SGD(lr=lr),
                     batch_size=64, epochs=24, progress=False)
    losses = history.steps["loss"]
    found = [f for f in history.findings if f.kind == "growing loss"]
    assert (len(found) == 1) == grows == (losses[-1] > 5 * losses[0])
    assert losses[-1] > 1.2 * losses[0]
    for finding in found:
        first = next(i for i, loss in enumerate(losses, 1) if loss > 5 * losses[0])
        assert finding.step == first + 4 and 5 < finding.value < 1000


def test_a_callback_may_end_a_run_that_goes_wrong():
    stop = LambdaCallback(on_finding=lambda run: run.stop(run.history.findings[-1].kind))
    with np.errstate(all="ignore"), pytest.warns(TrainingWarning):
        history = explode(callbacks=[stop])
    assert history.stopped == "growing loss"
    assert len(history.steps["loss"]) < 5


def test_findings_are_saved_and_carried_on(tmp_path):
    with np.errstate(all="ignore"), pytest.warns(TrainingWarning):
        history = explode(epochs=1)
    path = tg.save(tmp_path / "run.npz", history=history)
    again = History(**tg.load(path)["history"])
    assert again.findings == history.findings != []
    assert explode(epochs=0, history=again).findings == history.findings


@pytest.mark.parametrize("progress", ["bar", "lines"])
def test_the_progress_makes_room_for_a_finding(progress, capsys):
    pytest.importorskip("tqdm")
    x, y = going_wrong.WITH_A_HOLE
    with pytest.warns(TrainingWarning, match="x holds nan"), np.errstate(all="ignore"):
        tg.fit(nn.Linear(2, 3, rng=0), x, y, loss="cross_entropy", progress=progress, epochs=1)
    assert "epoch" in capsys.readouterr().err


def test_who_stops_at_nan_says_where_it_comes_from():
    (_, (x, y)), loss, *_ = going_wrong.CASES["nan or inf: forward"]
    with np.errstate(all="ignore"):
        history = tg.fit(nn.MLP([64, 32, 10], rng=0), x, y, loss=loss, optimizer=optim.SGD(lr=1),
                         callbacks=[StopOnNonFinite()], progress=False, seed=0)
    assert re.fullmatch(r"the loss was inf in step 2, epoch 1; log gives -inf .* takes scores",
                        history.stopped)
    assert [f.kind for f in history.findings] == ["nan or inf"]


@pytest.mark.parametrize(("lr", "code", "words"), [
    ("3", 0, r"tinygrad-opt: warning: dead units: \d+ of the 32 ReLU units of layers\.0"),
    ("1e9", 1, r"tinygrad-opt: error: the loss was \S+e\+\d+ in step 2, epoch 1; try a smaller"),
    ("1e30", 1, r"tinygrad-opt: error: the loss was nan in step 2, epoch 1; .* too large: try a"),
])
@pytest.mark.filterwarnings("default::tinygrad_opt.train.TrainingWarning")
def test_the_command_line_speaks_too(lr, code, words, tmp_path, capsys):
    from tinygrad_opt.cli import main

    arguments = ["train", "digits", "--optimizer", "sgd", "--lr", lr, "--epochs", "1", "--quiet"]
    assert main([*arguments, "--out", str(tmp_path)]) == code
    assert re.search(words, capsys.readouterr().err)


# ---- on demand -----------------------------------------------------------------------------------


def test_diagnose_looks_without_touching_anything():
    model = nn.MLP([2, 16, 3], norm="batch", dropout=0.5, rng=0)
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    rng = repr({k: g.bit_generator.state for k, g in model.generators().items()})
    found = tg.diagnose(model, *SPIRAL, "cross_entropy")
    assert [f.kind for f in found.findings] == ["chance"]
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before
    assert repr({k: g.bit_generator.state for k, g in model.generators().items()}) == rng
    assert model.training and all(p.grad is None for p in model.parameters().values())


def test_diagnose_can_be_read_and_drawn():
    pytest.importorskip("matplotlib")
    (model, data), *_ = going_wrong.CASES["vanishing gradients"]
    found = tg.diagnose(model, *data, "cross_entropy")
    text = str(found)
    assert "vanishing gradients: the gradient that reaches layers.0" in text
    assert "(step" not in text
    assert re.search(r"\nlayer +operations +output +gradient there\nlayers\.0 +linear, sigmoid ",
                     text)
    assert found._repr_html_().count("<tr>") == 1 + len(found.probe.layers) == 10
    made = found.plot()
    assert [t.get_text() for t in made.axes[0].get_yticklabels()][:2] == [
        "layers.0\nvanishing gradients", "layers.1"]
    assert np.array_equal(made.numbers["gradient"], [layer.flow for layer in found.probe.layers])


@pytest.mark.parametrize(("spoil", "words"), [
    ("x", r"x holds inf in 1 of 600 entries, first at \[5, 0\], in 1 of 300 samples: look at the"),
    ("weight", r"linear gives nan .* layers\.1\.weight \(8, 3\) held it before"),
])
def test_diagnose_of_a_pass_that_is_not_finite_says_where(spoil, words):
    model, (x, y) = nn.MLP([2, 8, 3], rng=0), SPIRAL
    x = x.copy()
    if spoil == "x":
        x[5, 0] = np.inf
    else:
        model.layers[1].weight.data[2, 2] = np.nan
    found = tg.diagnose(model, x, y, "cross_entropy")
    assert re.search(words, str(found))
    with pytest.raises(ValueError, match="nan or inf"):
        found.plot()


def test_diagnose_of_a_healthy_model_finds_nothing():
    options = RUNS["moons"]()
    tg.fit(**options)
    found = tg.diagnose(options["model"], options["x"], options["y"], "cross_entropy")
    assert found.findings == [] and str(found).startswith("nothing is wrong")


@pytest.mark.parametrize(("scores", "y", "guesses"), [
    (np.zeros((40, 4)), np.arange(40) % 4, True),
    (np.zeros((40, 4)), np.eye(4)[np.arange(40) % 4], True),
    (np.full((40, 1), 0.5), np.arange(40)[:, None] % 2, True),
    (np.zeros(40), 2 * (np.arange(40) % 2) - 1, True),
    (np.zeros((40, 3)), np.linspace(0, 1, 40), False), (np.zeros(40), np.arange(40.0), False),
])
def test_what_is_no_better_than_guessing_is_known_for_every_kind_of_labels(scores, y, guesses):
    shape = scores.shape
    w = tg.Tensor(np.zeros(shape[1:]), requires_grad=True)

    class Constant:
        def parameters(self):
            return {"w": w}

        def __call__(self, x):
            return x + w

    seen = probe(Constant(), lambda p, t: (p * p).sum(), scores, y)
    assert [f.kind for f in judged(Look(seen, y))] == (["chance"] if guesses else [])


def test_a_rare_class_is_compared_on_the_samples_that_were_looked_at():
    """Three in 32 of a class that has 1 in 50: guessing would cost more here than on average."""
    rng = np.random.default_rng(0)
    y = (np.arange(600) % 50 == 0).astype(int)
    y[:32] = np.arange(32) < 3
    x = (y[:, None] + rng.normal(0, 0.3, (600, 2))).astype(np.float32)
    model = nn.Linear(2, 2, init="zeros", rng=0)
    model.bias.data = np.array([2.0, -1.5], np.float32)
    seen = probe(model, nn.cross_entropy, x[:32], y[:32])
    guess = Look(seen, y).guess
    assert guess.of_guessing == pytest.approx(
        -np.log(np.bincount(y) / 600)[y[:32]].mean(), rel=1e-6)
    assert guess.loss < 0.99 * guess.of_guessing


@pytest.mark.parametrize(("rare", "said"), [(4, False), (8, True)])
def test_a_handful_of_a_rare_class_does_not_tell_of_chance(rare, said):
    y = (np.arange(64) < rare).astype(int)
    found = tg.diagnose(nn.Linear(2, 2, init="zeros"), np.ones((64, 2)), y, "cross_entropy")
    assert ("chance" in [f.kind for f in found.findings]) == said


def test_of_one_single_class_nothing_is_to_be_guessed():
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    model = nn.Linear(2, 3, init="zeros")
    model.bias.data = np.array([9.0, 0, 0], np.float32)
    assert tg.diagnose(model, x, np.zeros(64, int), "cross_entropy").findings == []


def test_weights_that_are_nan_before_the_first_step_are_not_blamed_on_the_rate():
    model = nn.Linear(2, 1, rng=0)
    model.weight.data = np.full((2, 1), np.nan, np.float32)
    with pytest.warns(TrainingWarning, match="weight held nan or inf before the first step"):
        history = tg.fit(model, np.ones((8, 2)), np.ones((8, 1)), loss="mse", progress=False,
                         epochs=1)
    assert "rate" not in str(history.findings[0])


def test_numbers_that_are_too_large_at_once_are_a_matter_of_the_data():
    found, = tg.diagnose(nn.Linear(2, 1, rng=0), np.full((8, 2), 1e30), np.ones((8, 1)),
                         "mse").findings
    assert "data scaled to about 1" in str(found)


def test_a_model_of_ones_own_is_looked_at_too():
    class Pair:
        """Gives more than one Tensor, and shares a weight."""

        def __init__(self):
            self.w = tg.Tensor(np.full((2, 2), 0.1), requires_grad=True, name="w")

        def parameters(self):
            return {"w": self.w}

        def __call__(self, x):
            h = np.tanh(x @ self.w)
            return h, h @ self.w

    x = np.random.default_rng(0).normal(size=(50, 2))
    history = tg.fit(Pair(), x, x, loss=lambda p, y: np.square(p[1] - y).mean() + (p[0]**2).mean(),
                     optimizer=optim.SGD(lr=0.01), epochs=30, progress=False)
    assert history.findings == []


@pytest.mark.parametrize(("batch_size", "step"), [(16, 22), (20, 22), (31, 23)])
def test_two_small_batches_are_looked_at_as_one(batch_size, step):
    """All inputs are positive, 20 of 32 weights are not. ReLU is written by hand."""
    model = nn.Sequential(nn.Linear(1, 32, bias=False, rng=0), lambda x: np.maximum(x, 0),
                          nn.Linear(32, 1, rng=1))
    model[0].weight.data = np.where(np.arange(32) < 20, -0.5, 0.5)[None]
    x = np.linspace(0.1, 1, 200, dtype=np.float32)[:, None]
    with pytest.warns(TrainingWarning, match="20 of the 32 ReLU units of 0 give 0 for all") as seen:
        history = tg.fit(model, x, np.sin(x), loss="mse", batch_size=batch_size, epochs=4,
                         progress=False, seed=0)
    assert f"for all {2 * batch_size} samples" in str(seen[0].message)
    assert history.findings[0].step == step            # the last of an epoch is too small
    assert len(history.findings) == 1


def test_a_finding_reads_as_a_sentence():
    finding = Finding("dead units", "layers.0", 0.5, "half of them", "Try less.", 7, 2)
    assert str(finding) == "dead units: half of them (step 7, epoch 2). Try less."


@pytest.mark.parametrize(("last", "loss", "outputs"), [
    (nn.Identity(), nn.cross_entropy, 3), (nn.Identity(), nn.binary_cross_entropy_with_logits, 1),
    (nn.Sigmoid(), nn.binary_cross_entropy, 1),
    (nn.LogSoftmax(), lambda p, y: -p[np.arange(len(y)), y].mean(), 3),
    (nn.Softmax(), lambda p, y: -np.log(p[np.arange(len(y)), y]).mean(), 3),
])
def test_the_cross_entropy_that_is_told_is_that_of_the_loss(last, loss, outputs):
    model = nn.Sequential(nn.Linear(2, outputs, init=3.0, rng=0), last)
    x, y = SPIRAL
    if outputs == 1:
        y = (y[:, None] == 1).astype(np.float32)
    seen = probe(model, loss, x, y)
    assert Look(seen, y).guess.loss == pytest.approx(seen.loss, rel=1e-4)


def test_one_bad_epoch_of_validation_is_not_overfitting():
    losses, epochs = [*np.linspace(1, 0.1, 12)], [*range(1, 13)]
    one = {"epoch": epochs, "loss": losses, "val_loss": [1.0] * 11 + [2.0]}
    assert overfitting(one, 1.0, 3) is None
    all_later = one | {"val_loss": [1.0] * 7 + [1.9] * 4 + [1.2]}
    assert "from 1 in epoch 3 to 1.9," in str(overfitting(all_later, 1.0, 3))


@pytest.mark.parametrize(("last", "advice"), [
    ("zeros", "weights that are all 0 let nothing through"), (None, "larger weights at the start")])
def test_advice_on_vanishing_gradients_fits_a_relu_network(last, advice):
    x, y = tg.data.spiral(40, 3, rng=0)
    model = nn.MLP([2, *[16] * 4, 3], rng=0, init=0.01)
    if last:
        model.layers[-1].weight.data[...] = 0
    finding, = (f for f in tg.diagnose(model, x, y, "cross_entropy").findings
                if f.kind == "vanishing gradients")
    assert advice in str(finding)


def shares(scores):
    """A softmax by hand."""
    z = np.exp(scores)
    return z / z.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("last", "loss", "twice"), [
    (nn.Softmax(), nn.cross_entropy, True), (nn.LogSoftmax(), nn.cross_entropy, False),
    (nn.Softmax(), lambda p, y: nn.cross_entropy(p, y, label_smoothing=0.1), True),
    (nn.Softmax(), lambda p, y: -np.log(p[np.arange(len(y)), y]).mean(), False),
    (nn.Sigmoid(), lambda p, y: nn.binary_cross_entropy_with_logits(p, np.eye(3)[y]), True),
    (nn.Sigmoid(), lambda p, y: nn.binary_cross_entropy(p, np.eye(3)[y]), False),
    (nn.Sigmoid(), nn.cross_entropy, True), (shares, nn.cross_entropy, True),
    (np.exp, nn.cross_entropy, False),
])
def test_probabilities_are_known_where_the_loss_takes_scores(last, loss, twice):
    found = tg.diagnose(nn.Sequential(nn.Linear(2, 3, rng=0), last), *SPIRAL, loss).findings
    assert ("squashed twice" in [finding.kind for finding in found]) == twice


@pytest.mark.parametrize(("shape", "given", "loss", "crossed"), [
    ((1,), (), lambda p, y: (y * p).mean(), True), ((), (1,), lambda p, y: (p - y).mean(), True),
    ((1,), (), lambda p, y: np.square(p[:, 0] - y).mean(), False),
    ((1,), (1,), lambda p, y: np.square(p - y).mean(), False),
    # pairs that are wanted, as in ranking
    ((1,), (), lambda p, y: np.maximum(0, 1 - (p - p.T) * np.sign(y[:, None] - y)).mean(), False),
    ((), (), lambda p, y: np.square(p - y).mean(), False),
])
def test_a_row_of_labels_beside_a_column_of_predictions_is_seen(shape, given, loss, crossed):
    model = nn.Sequential(nn.Linear(2, 1, rng=0), lambda x: x.reshape((-1, *shape)))
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    found = tg.diagnose(model, x, x[:, 0].reshape((-1, *given)), loss).findings
    assert [f.kind for f in found] == (["crossed samples"] if crossed else [])


def conv(init):
    return nn.Sequential(nn.Conv2d(1, 4, 3, init=init, rng=0), nn.Tanh(), nn.Flatten(),
                         nn.Linear(4 * 36, 10, init=init, rng=1))


@pytest.mark.parametrize(("model", "where"), [
    (nn.MLP([64, 16, 10], "tanh", init="zeros"), "layers.0"),
    (nn.MLP([64, 16, 10], init=lambda shape, rng: np.full(shape, 0.1)), "layers.0"),
    (conv("zeros"), "0"), (conv(lambda shape, rng: np.full(shape, 0.1)), "0"),
    (nn.MLP([64, 10], init="zeros"), None),                # what comes out differs
    (nn.Sequential(nn.Linear(64, 16, init="zeros"), nn.Tanh(), nn.Linear(16, 10, rng=0)), None),
    (nn.Sequential(nn.Linear(64, 16, rng=0), nn.Tanh(), nn.Linear(16, 10, init="zeros")), None),
    (nn.MLP([64, 1, 10], rng=0), None),
], ids=str)
def test_units_that_began_alike_are_known_by_weights_and_gradients(model, where):
    x, y = (part[:100] for part in RUNS["cnn"]().values() if isinstance(part, np.ndarray))
    x = x if isinstance(model, nn.Sequential) and isinstance(model[0], nn.Conv2d) else (
        x.reshape(-1, 64))
    found = tg.diagnose(model, x, y, "cross_entropy").findings
    assert [f.where for f in found if f.kind == "symmetric units"] == ([where] if where else [])
    assert where is None or [f.kind for f in found] == ["symmetric units"]
