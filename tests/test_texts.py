"""What the demos of the origin texts claim, run and looked at."""

import runpy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tinygrad_opt import optim
from tinygrad_opt.cli.spiral import learned
from tinygrad_opt.viz.plots.learning_curves import contrary, plot_batches, plot_history
from tinygrad_opt.viz.plots.races import plot_race, race
from tinygrad_opt.viz.plots.surfaces import SURFACES, sampled

DEMOS = Path(__file__).parents[1] / "demos"


def demo(name):
    return runpy.run_path(str(DEMOS / f"{name}.py"))


def test_nesterovs_published_program_diverges_where_the_method_does_not(tmp_path):
    paths = demo("over_dicts")["main"](tmp_path)
    ends = {name: abs(path[-1][1]) for name, path in paths.items()}
    assert ends["formula, lr 0.6"] < 1e-2 and ends["published program, lr 0.6"] > 1e6
    assert ends["published program, lr 0.1"] < 1e-2


def test_every_optimizer_goes_down_the_valley_over_dicts():
    over_dicts = demo("over_dicts")
    for optimizer in over_dicts["OPTIMIZERS"].values():
        x, y = over_dicts["path"](optimizer, 60)[-1]
        assert x**2 / 20 + y**2 < 0.05 and list(optimizer.state) == ["x", "y"]


def test_on_the_ridge_of_a_saddle_noise_alone_leaves(tmp_path):
    result = demo("saddle")["main"](tmp_path)
    for name in ("SGD", "Momentum"):
        assert np.abs(result[name].points[-1]).max() < 0.01 and result.arrived(name) is None
        assert result.arrived(f"{name} with noise") < 150
    assert result.arrived("Newton, off the ridge") < 10


def test_a_race_by_samples_says_so_on_its_axis():
    f = SURFACES["noisy_neuron"]
    paths = {str(size): sampled(f, optim.SGD(lr=0.25), seen=60, batch=size) for size in (1, 6)}
    curve = plot_race(race(f, paths, steps=60, unit="samples seen")).axes[1]
    assert curve.get_xlabel() == "samples seen" and curve.get_xlim() == (0, 60)


def test_uncorrected_adam_steps_too_far_for_a_thousand_steps():
    bias = demo("bias_correction")
    right, wrong = (bias["steps"](text, 1500) for text in bias["KINDS"].values())
    np.testing.assert_allclose(right, 1, rtol=1e-4)
    assert wrong[0] == pytest.approx(3.162, abs=1e-3) and min(wrong[:1000]) > 1.2


def test_uncorrected_adam_learns_the_spiral_worse():
    ends = [learned(f"adam:lr=0.05,decay=5e-7,eps=1e-7{more}", 0, 1500)["accuracy"][-1]
            for more in ("", ",bias_correction=false")]
    assert ends[0] > ends[1] + 0.15


def test_a_high_rate_is_fast_and_then_level_without_noise():
    rates = demo("learning_rates")
    low, good, high, very_high = (rates["losses"](lr, 50) for lr in rates["RATES"].values())
    assert low[10] > 0.6 * low[0] and good[10] < 0.02 * good[0]
    assert high[5] < low[10] / 2 and high[-1] > 0.8 * high[10] > 5 * good[10]
    assert np.abs(np.diff(high[10:])).max() < 0.01
    assert very_high[-1] > 1e6


def test_the_loss_falls_while_the_accuracy_falls_and_the_picture_marks_it():
    history = learned("sgd:lr=0.85", 1, 100)
    stretches = contrary(history)
    assert max(last - first for first, last in stretches) > 20
    for first, last in stretches:
        assert history["loss"][last - 1] < history["loss"][first - 5]
        assert history["accuracy"][last - 1] < history["accuracy"][first - 5]
    assert contrary({"loss": [1, 2, 3, 4], "accuracy": [0.9, 0.8, 0.7, 0.6]}, over=1) == []
    for marked in (True, False):
        figure = plot_history(history, columns=["loss", "accuracy"], mark_contrary=marked)
        assert [len(ax.patches) for ax in figure.axes] == 2 * [len(stretches) * marked]


def test_what_is_saved_before_an_explosion_goes_on_at_a_lower_rate(tmp_path):
    lost, history = demo("explode_and_go_on")["main"](tmp_path, quick=True)
    assert lost.stopped.startswith("the loss was") and max(lost["lr"]) == 2
    assert history["epoch"] == [*range(1, history.epochs + 1)]
    assert history.epochs < lost.epochs + 100
    assert set(history["lr"][-100:]) <= {0.5, 0.25, 0.125}
    assert history["loss"][-1] < lost["loss"][-1]


def test_smaller_batches_have_noisier_gradients_and_fewer_epochs_to_go():
    sizes = demo("batch_sizes")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((512, 64)).astype("float32"), rng.integers(0, 10, 512)
    noises = {size: sizes["noise"](x, y, size, 6) for size in (1, 16, 256)}
    means = [np.mean(noise) for noise in noises.values()]
    assert means[0] > 2.5 * means[1] > 5 * means[2]
    runs = {size: {"val_error": [0.5, 0.3], "seconds": [0.1, 0.1]} for size in (1, 16, 256, 512)}
    figure = plot_batches(runs, noises)
    assert [ax.get_title() for ax in figure.axes] == [
        "after epochs", "after seconds", "noise of gradients"]
    assert figure.numbers["seconds"].tolist() == pytest.approx(4 * [0.1, 0.2])
    assert all(tick % 1 == 0 for tick in figure.axes[0].get_xticks())       # epochs are whole


def test_conjugate_gradients_take_the_steps_that_are_told():
    second_order = demo("second_order")
    for n, most in ((5, 5), (20, 23), (60, 80)):
        for beta in ("fletcher_reeves", "polak_ribiere", "hessian"):
            assert optim.conjugate_gradient(
                second_order["quadratic"](n), np.zeros(n), beta=beta).steps <= most
