"""The estimators, as scikit-learn and its users handle them."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_digits, make_regression  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, train_test_split  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from tinygrad_opt import nn, optim  # noqa: E402
from tinygrad_opt.interop import TinyClassifier, TinyRegressor  # noqa: E402

quietly = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning",
                                     "ignore::tinygrad_opt.train.TrainingWarning")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, test_size=0.3, random_state=0)


# ---- what scikit-learn asks ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [TinyClassifier, TinyRegressor])
def test_every_check_of_scikit_learn_passes(estimator):
    found = check_estimator(estimator(), on_fail=None)
    assert [(c["check_name"], c["exception"]) for c in found if c["status"] == "failed"] == []
    assert sum(c["status"] == "passed" for c in found) >= 54
    assert not [c for c in found if c["status"] == "xfail"]        # none is excused
    assert "check_sample_weight_equivalence_on_dense_data" in {
        c["check_name"] for c in found if c["status"] == "passed"}


@quietly
def test_it_stands_in_pipelines_and_searches(digits):
    X, X_test, y, y_test = digits
    pipe = make_pipeline(StandardScaler(), TinyClassifier(max_iter=15, random_state=0))
    grid = {"tinyclassifier__hidden_layer_sizes": [(8,), (32,)],
            "tinyclassifier__optimizer": ["adam:lr=0.01", "sgd:lr=0.1,momentum=0.9"]}
    search = GridSearchCV(pipe, grid, n_jobs=2, cv=3).fit(X, y)
    assert search.best_params_["tinyclassifier__hidden_layer_sizes"] == (32,)
    assert search.score(X_test, y_test) > 0.93


@quietly
def test_digits_as_well_as_scikit_learns_own(digits):
    X, X_test, y, y_test = digits
    ours = TinyClassifier(random_state=0).fit(X, y)
    theirs = MLPClassifier(random_state=0).fit(X, y)
    assert ours.score(X_test, y_test) >= theirs.score(X_test, y_test) - 0.01


# ---- data ----------------------------------------------------------------------------------------


@quietly
@pytest.mark.parametrize("labels", [
    ["no", "perhaps", "yes"], [-7, 0, 3], [0.0, 1.0, 2.0],
    np.array(["x", "y", "z"], dtype=object),
])
def test_labels_of_any_type(labels):
    rng = np.random.default_rng(0)
    k = np.arange(60) % 3
    X = np.eye(3)[k] + 0.1 * rng.normal(size=(60, 3))
    y = np.asarray(labels)[k]
    model = TinyClassifier(8, lr=0.05, random_state=0).fit(X, y)
    assert model.classes_.tolist() == np.asarray(labels).tolist()
    assert model.predict(X).dtype == y.dtype and model.score(X, y) == 1
    chances = model.predict_proba(X)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    np.testing.assert_allclose(np.log(chances), model.predict_log_proba(X))
    assert (model.classes_[chances.argmax(axis=1)] == model.predict(X)).all()


@quietly
def test_two_truth_values():
    X = np.linspace(-1, 1, 40)[:, None]
    model = TinyClassifier(4, lr=0.05, random_state=0).fit(X, X[:, 0] > 0)
    assert model.predict(X).dtype == bool and model.score(X, X[:, 0] > 0) == 1


@quietly
def test_floats_keep_their_precision():
    X, y = make_regression(50, 3, random_state=0)
    for dtype in np.float32, np.float64:
        model = TinyRegressor(4, random_state=0, max_iter=2).fit(X.astype(dtype), y)
        assert {p.dtype for p in model.model_.parameters().values()} == {np.dtype(dtype)}
        assert model.predict(X.astype(dtype)).dtype == dtype


@quietly
def test_several_outputs_keep_their_shape():
    X, y = make_regression(80, 4, n_targets=3, random_state=0)
    y = y / y.std()
    model = TinyRegressor(32, lr=0.01, max_iter=400, random_state=0).fit(X, y)
    assert model.predict(X).shape == (80, 3) and model.score(X, y) > 0.97
    assert model.fit(X, y[:, 0]).predict(X).shape == (80,)
    assert model.fit(X, y[:, :1]).predict(X).shape == (80, 1)


@quietly
def test_names_of_features():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.linspace(-1, 1, 30), "b": np.linspace(1, 0, 30)})
    model = TinyRegressor(4, max_iter=3).fit(frame, frame.a)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["b", "a"]])


@quietly
@pytest.mark.parametrize("estimator", [TinyClassifier, TinyRegressor])
def test_weights_are_as_if_samples_were_repeated(estimator):
    rng = np.random.default_rng(1)
    X, y, weight = rng.normal(size=(30, 4)), np.arange(30) % 3, rng.integers(0, 4, 30)
    weighted = estimator(8, random_state=0, max_iter=50).fit(X, y, sample_weight=weight)
    repeated = estimator(8, random_state=0, max_iter=50).fit(X.repeat(weight, 0), y.repeat(weight))
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)
    scaled = estimator(8, random_state=0, max_iter=50).fit(X, y, sample_weight=7.5 * weight)
    np.testing.assert_allclose(weighted.loss_curve_, scaled.loss_curve_, rtol=1e-9)
    unweighted = estimator(8, random_state=0, max_iter=50).fit(X, y)
    assert not np.allclose(weighted.loss_curve_, unweighted.loss_curve_, rtol=1e-3)


# ---- training ------------------------------------------------------------------------------------


def test_it_stops_where_the_loss_does_not_fall_any_more(digits):
    X, _, y, _ = digits
    model = TinyClassifier(16, lr=0.01, tol=0.01, n_iter_no_change=3, random_state=0).fit(X, y)
    assert model.n_iter_ < 100 and model.n_iter_ == len(model.loss_curve_)
    assert model.loss_ == model.loss_curve_[-1] < model.loss_curve_[0] / 4
    with pytest.warns(ConvergenceWarning, match="max_iter=3 epochs"):
        TinyClassifier(16, max_iter=3).fit(X, y)


@quietly
def test_early_stopping_goes_back_to_the_best_weights(digits):
    X, X_test, y, y_test = digits
    model = TinyClassifier(32, lr=0.05, early_stopping=True, n_iter_no_change=5, tol=0,
                           random_state=0).fit(X, y)
    losses = model.history_["val_loss"]
    assert model.n_iter_ < 200 and np.argmin(losses) == len(losses) - 6
    assert model.score(X_test, y_test) > 0.93
    then = clone(model).set_params(max_iter=len(losses) - 5).fit(X, y)      # up to the best epoch
    np.testing.assert_array_equal(then.predict_proba(X_test), model.predict_proba(X_test))
    with pytest.raises(ValueError, match="early_stopping"):
        model.partial_fit(X, y)


@quietly
def test_a_warm_start_goes_on_as_one_longer_training_would(digits):
    X, _, y, _ = digits
    twice = TinyClassifier(8, warm_start=True, max_iter=4, random_state=0).fit(X, y).fit(X, y)
    once = TinyClassifier(8, max_iter=8, random_state=0).fit(X, y)
    assert twice.loss_curve_ == once.loss_curve_ and twice.n_iter_ == 8
    cold = TinyClassifier(8, max_iter=4, random_state=0).fit(X, y).fit(X, y)
    assert cold.loss_curve_ == once.loss_curve_[:4]
    with pytest.raises(ValueError, match=r"y holds \[11\].*\[0, 1, 2"):
        twice.fit(X, np.where(y == 3, 11, y))


def test_data_that_come_part_by_part(digits):
    X, X_test, y, y_test = digits
    model = TinyClassifier(32, lr=0.01, random_state=0)
    with pytest.raises(ValueError, match="must name all classes"):
        model.partial_fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    for epoch in range(8):
        for start in range(0, len(X), 200):
            model.partial_fit(X[start:start + 200], y[start:start + 200],
                              classes=np.arange(10) if not epoch else None)
    assert model.score(X_test, y_test) > 0.93
    with pytest.raises(ValueError, match="made for"):
        model.partial_fit(X, y, classes=[1, 2])
    first = TinyClassifier(4).partial_fit(X[:5], y[:5], classes=np.arange(10))
    assert first.classes_.tolist() == list(range(10))              # though five came
    line = TinyRegressor(4, random_state=0).partial_fit(X, y).partial_fit(X, y)
    assert line.n_iter_ == 2
    with pytest.raises(ValueError, match="rows of shape"):
        line.partial_fit(X, np.column_stack([y, y]))


@quietly
def test_the_same_state_gives_the_same_network(digits):
    X, _, y, _ = digits
    first, second, other = (TinyClassifier(8, dropout=0.2, max_iter=3, random_state=state).fit(X, y)
                            for state in (5, 5, 6))
    assert first.loss_curve_ == second.loss_curve_ != other.loss_curve_


@quietly
def test_it_can_be_pickled_and_goes_on(digits):
    X, _, y, _ = digits
    model = TinyClassifier(8, max_iter=3, warm_start=True, random_state=0).fit(X, y)
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert other.fit(X, y).loss_curve_ == model.fit(X, y).loss_curve_


@quietly
def test_an_optimizer_given_is_not_touched(digits):
    X, _, y, _ = digits
    given = optim.Momentum(lr=0.1, momentum=0.8)
    model = TinyClassifier(8, optimizer=given, max_iter=2)
    clone(model).fit(X, y)
    assert model.fit(X, y).optimizer_ is not given and not given.parameters
    assert model.optimizer_.momentum == 0.8
    assert TinyClassifier(8, optimizer=optim.SGD, lr=0.3, weight_decay=0.01, max_iter=1
                          ).fit(X, y).optimizer_.weight_decay == 0.01
    with pytest.raises(TypeError, match="lr is given twice"):
        TinyClassifier(optimizer="sgd:lr=1", lr=0.1).fit(X, y)


@quietly
def test_a_network_of_ones_own(digits):
    X, X_test, y, y_test = digits

    def convolutions(inputs, outputs, rng):
        return nn.Sequential(
            lambda x: x.reshape(-1, 1, 8, 8), nn.Conv2d(1, 4, 3, rng=rng), nn.relu, nn.Flatten(),
            nn.Linear(4 * 6 * 6, outputs, rng=rng))

    model = TinyClassifier(model=convolutions, lr=0.01, batch_size=32, max_iter=5, random_state=0)
    assert model.fit(X, y).score(X_test, y_test) > 0.9


def test_logistic_is_what_scikit_learn_calls_the_sigmoid(digits):
    X, _, y, _ = digits
    with pytest.warns(ConvergenceWarning):
        model = TinyClassifier(8, "logistic", max_iter=1).fit(X, y)
    assert model.model_.activation is nn.sigmoid


# ---- without it ----------------------------------------------------------------------------------


def test_nothing_is_imported_before_it_is_used_and_its_absence_is_one_sentence():
    code = ("import sys; sys.modules['sklearn'] = None\n"
            "import tinygrad_opt as tg, tinygrad_opt.interop\n"
            "try: tg.interop.TinyClassifier\n"
            "except ImportError as error: print(error)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("the estimators need scikit-learn: pip install ")
    assert "[sklearn]" in run.stdout and run.stdout.count("\n") == 1
