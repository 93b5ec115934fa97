"""Plots: what is drawn, in which colours, and that nothing global is touched."""

import base64
import re
import subprocess
import sys
from itertools import combinations, pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.errors import RenderError, ShapeError, install
from tinygrad_opt.train import Finding, History
from tinygrad_opt.viz.tables import save_numbers
from tinygrad_opt.viz.theme import looks, theme_of

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from tinygrad_opt.viz.plots.decision_regions import class_shares, decision_regions  # noqa: E402
from tinygrad_opt.viz.plots.descents import descend_1d, plot_descent  # noqa: E402
from tinygrad_opt.viz.plots.learning_curves import (  # noqa: E402
    plot_batch_sizes,
    plot_batches,
    plot_compare,
    plot_history,
    plot_steps,
)
from tinygrad_opt.viz.plots.learning_rates import (  # noqa: E402
    lr_find,
    plot_learning_rates,
    plot_schedule,
)
from tinygrad_opt.viz.plots.loss_landscape import Waypoints, loss_landscape  # noqa: E402
from tinygrad_opt.viz.plots.models import (  # noqa: E402
    plot_attention,
    plot_confusion,
    plot_gradient_flow,
    plot_samples,
    plot_weights,
)
from tinygrad_opt.viz.plots.races import animate_race, plot_race, race  # noqa: E402
from tinygrad_opt.viz.plots.sparse_inputs import learn_sparse, plot_sparse  # noqa: E402
from tinygrad_opt.viz.plots.training_animation import TrainingRecorder  # noqa: E402
from tinygrad_opt.viz.plots.training_report import report  # noqa: E402

HISTORY = {"epoch": [1, 2, 3], "loss": [2.0, 1.0, 0.5], "val_loss": [2.1, 1.2, 0.9],
           "accuracy": [0.3, 0.6, 0.8], "lr": [0.1, 0.05, 0.025], "gradient_norm": [3, 2, 1],
           "seconds": [1, 1, 1]}


def model_and_data():
    x, y = tg.data.spiral(20, 3, rng=0)
    return nn.MLP([2, 8, 3], rng=0), x, y


def every_picture(theme):
    """Each function that makes a figure, called once."""
    model, x, y = model_and_data()
    scores = class_shares(model, x)
    yield plot_history(HISTORY, theme=theme)
    yield plot_compare({"SGD": [HISTORY, HISTORY], "Adam": HISTORY}, theme=theme)
    yield plot_schedule(lambda t: 0.1 / (1 + t), 20, theme=theme)
    yield plot_learning_rates({"low": [2, 1.9], "high": [2, 9.0]}, theme=theme)
    yield plot_batch_sizes({1: (3.0, 0.1), 32: (1.0, 0.2)}, theme=theme)
    runs = {size: {"val_error": [0.5, 0.1], "seconds": [1.0, 1.0]} for size in (1, 8)}
    yield plot_batches(runs, {1: [3.0, 4.0], 8: [1.0]}, theme=theme)
    yield plot_confusion(y, scores, theme=theme)
    yield plot_samples(np.zeros((60, 9)), y, scores, theme=theme)
    yield plot_weights(model, theme=theme)
    yield plot_attention(np.full((2, 3, 3), 1 / 3), "abc", theme=theme)
    yield decision_regions(model, x, y, theme=theme, resolution=10)
    nn.cross_entropy(model(x), y).backward()
    yield plot_gradient_flow(model, theme=theme)
    yield loss_landscape(model, nn.cross_entropy, x, y, n=4).plot(theme=theme)
    yield loss_landscape(model, nn.cross_entropy, x, y, n=4, dimensions=1).plot(theme=theme)
    yield lr_find(model, nn.cross_entropy, x, y, lambda p: optim.SGD(p, lr=1)).plot(theme=theme)
    yield plot_race(race("ravine", {"SGD": optim.SGD(lr=0.1)}, steps=5), theme=theme)
    yield plot_descent(descend_1d(np.cos, optim.SGD(lr=0.1), 1.0, 5), theme=theme)
    yield plot_sparse(learn_sparse({"SGD": optim.SGD(lr=0.1)}, steps=20), theme=theme)


@pytest.mark.parametrize("theme, page", [("light", "#ffffff"), ("dark", "#14171a")])
def test_every_picture_is_a_figure_in_its_theme_and_leaves_the_settings_alone(theme, page):
    before = dict(matplotlib.rcParams)
    for figure in every_picture(theme):
        assert isinstance(figure, Figure)
        assert to_hex(figure.get_facecolor()) == page
        assert figure._repr_png_().startswith(b"\x89PNG")
        for ax in figure.axes:
            assert ax.title.get_color() != page
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_label_is_cut_off(theme):
    for figure in every_picture(theme):
        figure.canvas.draw()
        box = figure.bbox
        for text in figure.findobj(matplotlib.text.Text):
            if text.get_text() and text.get_visible() and not text.get_clip_on():
                extent = text.get_window_extent()
                if extent.x1 < box.x0 or extent.x0 > box.x1:
                    continue                                # a tick outside the axes, not drawn
                assert extent.x0 >= box.x0 - 1.5 and extent.x1 <= box.x1 + 1.5, text.get_text()


def test_pyplot_is_not_used():
    code = ("import sys; from tinygrad_opt.viz.plots.learning_rates import plot_schedule;"
            "plot_schedule(lambda t: 1.0, 3)._repr_png_();"
            "print('matplotlib.pyplot' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RenderError, match=re.escape(install("viz"))):
        plot_history(HISTORY)


def test_the_look_of_an_optimizer_is_its_own_wherever_it_stands():
    names = ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam", "AdamW"]
    one, two = looks(names), looks(names[::-1])
    assert one == two and one["SGD"].color == "#000000" and one["AdamW"].color == "#0072B2"
    assert len({look.color for look in one.values()}) == len({k.marker for k in one.values()}) == 7
    assert looks(["SGD"], "dark")["SGD"].color == "#FFFFFF"
    assert looks(["adam, lr 0.1"])["adam, lr 0.1"].color == one["Adam"].color
    twins = looks(["Adam lr=1", "Adam lr=2"])
    assert twins["Adam lr=1"].color != twins["Adam lr=2"].color      # no other optimizer is there
    one, two, _ = looks(["Adam lr=1", "Adam lr=2", "SGD"]).values()
    assert one.color == two.color and one.marker != two.marker and one.dashes != two.dashes
    assert len(set(looks(["a", "b", "c"]).values())) == 3


def test_every_optimizer_has_a_look_of_its_own():
    chosen = looks(optim.names())
    assert len(set(chosen.values())) == len(chosen)
    for name, look in chosen.items():
        assert looks([type(optim.get(name)).__name__]) == {type(optim.get(name)).__name__: look}


def test_an_optimizer_has_one_colour_and_marker_on_all_pictures():
    def drawn(figure):
        legend = figure.legends[0]
        return {text.get_text(): (line.get_color(), line.get_marker()) for text, line in
                zip(legend.get_texts(), legend.legend_handles)}

    names = ["Nesterov", "Adam", "RMSprop"]
    made = race("ravine", {n: optim.get(n, lr=0.1) for n in names}, steps=3)
    pictures = [
        plot_compare(dict.fromkeys(names, HISTORY)), plot_race(made),
        animate_race(made, frames=2).figure, plot_schedule(dict.fromkeys(names, float), 4),
        plot_learning_rates({n: [2.0, 1.0] for n in names}),
    ]
    for figure in pictures:
        assert drawn(figure) == {"Nesterov": ("#56B4E9", "^"), "Adam": ("#D55E00", "X"),
                                 "RMSprop": ("#CC79A7", "v")}


def test_losses_below_zero_have_room_and_an_end():
    runs = {"falls": [-1.0, -2.0, -3.0], "explodes": [-1.0, 0.5, np.nan], "stays": [-1.0, -1.0]}
    figure = plot_learning_rates(runs)
    low, high = figure.axes[0].get_ylim()
    assert low < -3 < -1 < high and high == pytest.approx(1.0)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "falls", "explodes: explodes at step 2", "stays"]
    low, high = plot_learning_rates({"flat": [0.0, 0.0]}).axes[0].get_ylim()
    assert low < 0 < high


def test_what_has_a_picture_shows_it_in_notebooks(monkeypatch):
    made = race("ravine", {"SGD": optim.SGD(lr=0.1)}, steps=3)
    model, x, y = model_and_data()
    history = tg.fit(model, x, y, loss=nn.cross_entropy, epochs=2, progress=False)
    things = [made, history, descend_1d(np.cos, optim.SGD(lr=0.1), 1.0, 5),
              learn_sparse({"SGD": optim.SGD(lr=0.1)}, steps=5),
              loss_landscape(model, nn.cross_entropy, x, y, n=3)]
    for thing in things:
        assert thing._repr_png_().startswith(b"\x89PNG")
    assert tg.train.History()._repr_png_() is None         # nothing to be drawn: text is left
    assert "<iframe" in TrainingRecorder(model, x, y, frames=2, resolution=4)._repr_html_()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert [thing._repr_png_() for thing in things] == [None] * len(things)


# ---- what a picture needs to be seen -------------------------------------------------------------

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear light
SEEN_BY = {
    "everybody": np.eye(3),
    "protanopes": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopes": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}


def lab(color, matrix):
    """CIELAB of a colour as somebody sees it."""
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])
    x, y, z = np.cbrt(to_xyz @ linear / [0.95047, 1, 1.08883])     # none is near black but black
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("who", SEEN_BY)
def test_optimizers_can_be_told_apart_by_colour_alone(who, theme):
    """By ΔE of 1976, of which 2.3 is just noticeable; 16.1 is the smallest, tritanopes'."""
    names = ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam", "AdamW"]
    seen = [lab(look.color, SEEN_BY[who]) for look in looks(names, theme).values()]
    page = lab(theme_of(theme).page, SEEN_BY[who])
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 16
    assert min(np.linalg.norm(a - page) for a in seen) > 35


LONG = ["SGD lr=0.05 momentum=0.9", "Nesterov lr=0.05 momentum=0.9", "RMSprop lr=0.001 rho=0.99",
        "Adam lr=0.001 amsgrad=True"]


def pictures_with_long_labels():
    model, x, y = model_and_data()
    yield plot_compare({name: [HISTORY, HISTORY] for name in LONG})
    yield plot_schedule(dict.fromkeys(LONG, lambda t: 1.0), 5)
    yield plot_learning_rates({name: [1.0, 1e9] for name in LONG})
    yield decision_regions(model, x, y, resolution=5, names=LONG)
    yield plot_race(race("ravine", {n: optim.SGD(lr=0.1) for n in LONG}, steps=3), arrows=LONG[0])
    yield plot_sparse(learn_sparse({n: optim.SGD(lr=0.1) for n in LONG}, [1.0, 0.5], steps=9))


def test_a_legend_with_long_labels_is_all_in_the_picture():
    for figure in pictures_with_long_labels():
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert len(figure.legends) == 1


def test_words_and_lines_of_a_slide_grow_with_it():
    small, large = (plot_history(HISTORY, size=size) for size in ((6.4, 4.8), (12.8, 9.6)))
    assert large.bbox.size.round(6).tolist() == [1280, 960]
    grown = large.dpi * large.axes[0].lines[0].get_linewidth()
    assert grown > 1.3 * small.dpi * small.axes[0].lines[0].get_linewidth()


# ---- the numbers behind --------------------------------------------------------------------------


def test_every_picture_has_its_numbers_and_saves_them(tmp_path):
    for i, figure in enumerate(every_picture("light")):
        assert figure.numbers
        path = save_numbers(tmp_path / f"{i}.npz", figure)
        with np.load(path) as arrays:
            assert arrays.files == list(figure.numbers)
    with open(save_numbers(tmp_path / "h.csv", plot_history(HISTORY))) as file:
        rows = [line.rstrip().split(",") for line in file]
    assert rows[0] == ["epoch", "loss", "val_loss", "accuracy", "lr", "gradient_norm"]
    assert rows[1] == ["1", "2.0", "2.1", "0.3", "0.1", "3.0"]


def test_the_numbers_of_several_runs_say_which_is_which(tmp_path):
    numbers = plot_compare({"SGD": [HISTORY, HISTORY], "Adam": HISTORY}).numbers
    assert numbers["run"].tolist() == ["SGD"] * 6 + ["Adam"] * 3
    assert numbers["seed"].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert numbers["loss"].tolist() == 3 * HISTORY["loss"]


# ---- inputs that are rarely seen -----------------------------------------------------------------


def test_adagrad_steps_farther_for_what_is_rarely_seen_and_sgd_does_not():
    run = learn_sparse({"SGD": optim.SGD(lr=0.02), "AdaGrad": optim.AdaGrad(lr=0.3)}, rng=0)
    often, sometimes, rarely = np.nanmean(run.rates["AdaGrad"][-200:], axis=0)
    assert rarely > sometimes > 1.5 * often
    np.testing.assert_allclose(run.rates["SGD"][np.isfinite(run.rates["SGD"])], 0.02)
    left = {name: abs(w[-1, 2] - 1) for name, w in run.weights.items()}
    assert left["AdaGrad"] < 0.3 * left["SGD"]
    assert (np.isfinite(run.rates["SGD"]) == run.present).all()


def test_sparse_learning_is_the_optimizers_own():
    run = learn_sparse({"AdaGrad": optim.AdaGrad(lr=0.3)}, [1.0], steps=3, noise=0)
    w, opt = tg.Tensor(np.zeros(1), requires_grad=True), None
    opt = optim.AdaGrad({"w": w}, lr=0.3)
    for seen in run.weights["AdaGrad"][1:, 0]:
        ((w - 1) ** 2 / 2).sum().backward()
        opt.step()
        opt.zero_grad()
        assert seen == w.data[0]


def test_the_picture_of_sparse_inputs_has_a_column_for_each_optimizer():
    run = learn_sparse({"SGD": optim.SGD(lr=0.1), "AdaGrad": optim.AdaGrad(lr=0.3)}, [1, 0.5], 20)
    figure = plot_sparse(run)
    assert [ax.get_title() for ax in figure.axes] == ["SGD", "AdaGrad", "", ""]
    above = figure.axes[1].lines[-1]
    np.testing.assert_array_equal(above.get_ydata(), run.weights["AdaGrad"][:, 1])
    assert len(figure.axes[2].lines[1].get_ydata()) == run.present[:, 1].sum()
    assert figure.numbers["weight_1"][19] == run.weights["SGD"][20, 1]
    assert "50.0%" in str(run)


@pytest.mark.parametrize("wrong, words", [
    ({"shares": [0.0]}, "shares"), ({"shares": 0.5}, "shares"), ({"steps": 0}, "at least 1"),
    ({"optimizers": {"SGD": optim.SGD}}, "unbound"), ({"optimizers": {}}, "dict"),
])
def test_sparse_runs_that_make_no_sense_are_refused(wrong, words):
    with pytest.raises((TypeError, ValueError), match=words):
        learn_sparse(**{"optimizers": {"SGD": optim.SGD(lr=0.1)}, **wrong})


# ---- curves --------------------------------------------------------------------------------------


def test_a_history_has_a_panel_for_each_column_and_one_axis_of_epochs():
    figure = plot_history(HISTORY)
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["loss", "accuracy", "learning rate", "‖gradient‖"]
    training, validation = figure.axes[0].lines
    assert training.get_ydata().tolist() == HISTORY["loss"]
    assert validation.get_ydata().tolist() == HISTORY["val_loss"]
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert [ax.get_ylabel() for ax in plot_history(HISTORY, columns=["lr"]).axes] == [
        "learning rate"]
    with pytest.raises(ValueError, match="no column 'f1'"):
        plot_history(HISTORY, columns=["f1"])
    with pytest.raises(ValueError, match="empty"):
        plot_history(tg.History())


def test_a_loss_over_many_magnitudes_stands_on_a_logarithmic_scale():
    deep = {"loss": [10.0, 0.1]}
    assert plot_history(deep).axes[0].get_yscale() == "log"
    assert plot_history(deep, log=False).axes[0].get_yscale() == "linear"
    assert plot_history(HISTORY).axes[0].get_yscale() == "linear"


def test_a_run_that_is_no_longer_finite_says_from_when():
    figure = plot_history({"epoch": [1, 2, 3], "loss": [1.0, np.nan, np.nan]})
    assert "not finite from epoch 2" in [t.get_text() for t in figure.axes[0].texts]


def test_several_seeds_are_a_mean_and_a_range():
    runs = [{"loss": [1.0, 2.0]}, {"loss": [3.0, 6.0]}]
    ax = plot_compare({"Adam": runs}).axes[0]
    assert ax.lines[0].get_ydata().tolist() == [2.0, 4.0]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == 1.0 and band.max() == 6.0
    with pytest.raises(ValueError, match="Adam has no column 'accuracy'"):
        plot_compare({"Adam": runs}, "accuracy")


def test_one_spike_does_not_flatten_the_other_curves():
    smooth = {"loss": np.linspace(2, 1, 200).tolist()}
    spiked = {"loss": [*smooth["loss"][:50], 400.0, *smooth["loss"][51:]]}
    figure = plot_compare({"SGD": spiked, "Adam": smooth}, log=False)
    low, high = figure.axes[0].get_ylim()
    assert low < 1 and 2 < high < 2.5 and max(figure.numbers["loss"]) == 400
    assert plot_compare({"Adam": smooth}).axes[0].get_ylim()[1] > 2
    assert plot_compare({"SGD": spiked}, log=True).axes[0].get_ylim()[1] > 400


def test_every_picture_takes_a_size_dots_and_a_title(tmp_path):
    figure = plot_compare({"SGD": HISTORY}, size=(9.6, 5.4), dpi=200, title="a slide")
    assert figure.bbox.size.tolist() == [1920, 1080] and figure.get_suptitle() == "a slide"
    made = race("ravine", {"SGD": optim.SGD(lr=0.1)}, steps=3)
    film = animate_race(made, frames=2, dpi=50, title="slow")
    assert film.figure.bbox.size.tolist() == [480, 240] and film.title == "slow"
    with pytest.raises(TypeError, match="colour"):
        plot_compare({"SGD": HISTORY}, colour="red")


def test_a_schedule_is_drawn_as_it_is_called():
    ax = plot_schedule({"halves": lambda t: 0.5**t}, 4).axes[0]
    assert ax.lines[0].get_ydata().tolist() == [1.0, 0.5, 0.25, 0.125]
    with pytest.raises(TypeError, match="t -> lr"):
        plot_schedule(0.1, 4)


def test_an_exploding_rate_does_not_break_the_axes():
    figure = plot_learning_rates({"low": [2.0, 1.5, 1.0], "very high": [2.0, 1e30, np.nan]})
    assert figure.axes[0].get_ylim()[1] == 4.0
    assert "very high: explodes at step 1" in [t.get_text() for t in figure.legends[0].get_texts()]


# ---- models --------------------------------------------------------------------------------------


def test_a_confusion_counts_rows_of_the_true_class():
    figure = plot_confusion([0, 0, 1, 2], [0, 1, 1, 1])
    assert figure.numbers["count"].tolist() == [1, 1, 0, 0, 1, 0, 0, 1, 0]
    assert figure.axes[0].get_title() == "50.0% right"
    with pytest.raises(ShapeError, match="equally many"):
        plot_confusion([0, 1], [0])


def test_the_surest_of_the_wrong_samples_comes_first():
    scores = np.array([[9.0, 0], [0, 1.0], [5.0, 0], [0, 3.0]])
    figure = plot_samples(np.arange(16.0).reshape(4, 4), [0, 0, 1, 0], scores)
    assert [ax.get_title() for ax in figure.axes] == ["✗ 0, is 1", "✗ 1, is 0", "✗ 1, is 0", "0"]
    first = figure.axes[0].images[0].get_array()
    assert first.tolist() == [[8, 9], [10, 11]]
    with pytest.raises(ShapeError, match="shape="):
        plot_samples(np.zeros((4, 5)), [0, 0, 1, 0])


def test_regions_show_the_class_that_the_model_predicts():
    def model(points):                                       # class 1 right of 0, class 2 on top
        x, y = points.T
        return np.stack([-10 * x, 10 * x, np.where(y > 0.9, 99, -99)], 1)

    x, y = np.array([[-1.0, -1], [1, 1], [1, -1], [-1, 1]]), np.array([0, 1, 1, 1])
    figure = decision_regions(model, x, y, resolution=6)
    ax = figure.axes[0]
    pixels = ax.images[0].get_array()
    red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
    assert (blue > red)[1:, :3].all() and (red > blue)[1:, 3:].all()      # sky left, orange right
    assert ((green > red) & (green > blue))[0].all()                      # green in the top row
    assert ax.get_title() == "accuracy 50.0%"
    rings = next(c for c in ax.collections if "wrong" in c.get_label())
    assert rings.get_offsets().tolist() == [[1.0, 1.0], [-1.0, 1.0]]


def test_shares_come_from_scores_of_one_or_more_classes():
    np.testing.assert_allclose(class_shares(lambda x: x, np.array([[0.0, np.log(3)]])),
                               [[0.25, 0.75]])
    np.testing.assert_allclose(class_shares(lambda x: x[:, :1], np.array([[np.log(3), 0.0]])),
                               [[0.25, 0.75]])
    shares = np.array([[0.2, 0.8]])
    assert class_shares(lambda x: shares, np.zeros((1, 2))) is not None
    np.testing.assert_array_equal(class_shares(lambda x: shares, np.zeros((1, 2))), shares)


def test_predicting_regions_leaves_no_graph_and_no_mode_behind():
    model, x, y = model_and_data()
    drop = nn.Sequential(model, nn.Dropout(0.5))
    drop.train()
    decision_regions(drop, x, y, resolution=5)
    assert all(m.training for m in drop.named_modules().values())
    assert all(p.grad is None for p in drop.parameters().values())


def test_gradient_flow_marks_zeros_explosions_and_what_is_missing():
    parameters = {n: tg.Tensor([1.0, 1.0], requires_grad=True) for n in "abcde"}
    for name, g in {"a": [1, 2], "b": [0, 0], "c": [1e4, 1e4], "e": [np.nan, 1]}.items():
        parameters[name].grad = np.array(g, np.float32)
    figure = plot_gradient_flow(parameters)
    said = [t.get_text() for t in figure.axes[0].texts]
    assert said == ["1.5, 2", "zero", "explodes", "no gradient", "not finite"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list("abcde")
    with pytest.raises(ValueError, match="backward"):
        plot_gradient_flow({"w": tg.Tensor(1.0, requires_grad=True)})


def test_every_parameter_has_its_squares():
    model, *_ = model_and_data()
    titles = [ax.get_title(loc="left") for ax in plot_weights(model).axes]
    assert [t.split()[0] for t in titles] == list(model.parameters())


# ---- landscapes and rates ------------------------------------------------------------------------


def test_the_landscape_has_the_models_loss_in_its_middle_and_leaves_the_weights():
    model, x, y = model_and_data()
    before = {n: p.data.copy() for n, p in model.parameters().items()}
    seen = []
    land = loss_landscape(model, nn.cross_entropy, x, y, n=5, watch=lambda *a: seen.append(a))
    assert land.loss[2, 2] == pytest.approx(float(nn.cross_entropy(model(x), y)), rel=1e-6)
    assert seen[-1] == (25, 25)
    for name, p in model.parameters().items():
        np.testing.assert_array_equal(p.data, before[name])
    line = loss_landscape(model, nn.cross_entropy, x, y, n=5, dimensions=1)
    assert line.loss.shape == (5,) and line.b is None


def test_directions_are_as_long_as_the_filters_they_move():
    class Sum:
        def __init__(self):
            self.w = tg.Tensor([[3.0, 0.0], [4.0, 0.1]], requires_grad=True)

        def parameters(self):
            return {"w": self.w}

        def __call__(self, x):
            return self.w

    model = Sum()
    start, moved = model.w.data.copy(), []

    def loss(w, y):
        moved.append(w.data - start)
        return w.sum()

    loss_landscape(model, loss, [0], [0], n=2, dimensions=1)
    np.testing.assert_allclose(np.linalg.norm(moved[-1], axis=0), [5.0, 0.1], rtol=1e-5)


def test_a_path_in_a_plane_is_all_of_its_variance_and_ends_at_the_model():
    model, x, y = model_and_data()
    opt = optim.SGD(model.parameters(), lr=0.5)
    way = Waypoints(model, limit=4)
    for _ in range(20):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        way()
    assert len(way.points) <= 8
    rng = np.random.default_rng(0)
    flat = np.concatenate([p.data.ravel() for p in model.parameters().values()]).astype(float)
    plane = flat + rng.standard_normal((6, 2)) @ rng.standard_normal((2, flat.size))
    land = loss_landscape(model, nn.cross_entropy, x, y, n=3, waypoints=np.vstack([plane, flat]))
    assert land.share == pytest.approx(1)
    np.testing.assert_allclose(land.path[-1], 0, atol=1e-9)
    assert 0 < loss_landscape(model, nn.cross_entropy, x, y, n=3, waypoints=way).share <= 1
    opt.zero_grad()
    loss = nn.cross_entropy(model(x), y)
    loss.backward()
    opt.step()                                              # still the optimizer's own memory


def test_the_suggested_rate_lies_where_the_loss_falls_and_all_is_put_back():
    model, x, y = model_and_data()
    before = {n: p.data.copy() for n, p in model.parameters().items()}
    found = lr_find(model, nn.cross_entropy, x, y, lambda p: optim.SGD(p, lr=1.0), high=1e4)
    low = found.rates[found.losses.argmin()]
    assert found.rates[0] < found.suggestion < low
    assert len(found.rates) < 100                           # it ended when the loss exploded
    for name, p in model.parameters().items():
        np.testing.assert_array_equal(p.data, before[name])
        assert p.grad is None
    with pytest.raises(ValueError, match="low < high"):
        lr_find(model, nn.cross_entropy, x, y, optim.SGD, low=1.0, high=0.1)


# ---- the page of a run ---------------------------------------------------------------------------


def test_a_report_holds_everything_and_asks_for_nothing(tmp_path):
    model, x, y = model_and_data()
    opt = optim.Adam(model.parameters(), lr=0.02)
    history = tg.fit(model, x, y, loss=nn.cross_entropy, optimizer=opt, epochs=3, progress=False,
                     metrics=["accuracy"], seed=0)
    path = report(history, model, tmp_path / "new" / "run.html", optimizer=opt, x=x, y=y,
                  title="three <arms>")
    page = path.read_text(encoding="utf-8")
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings == ["Run", "Curves", "Regions", "Confusion", "Graph of the model", "Weights",
                        "Numbers"]
    assert page.count("<section") == len(headings)         # on paper none is torn apart
    assert "section{min-width:0;break-inside:avoid}" in page and "@media print" in page
    assert page.count("three &lt;arms&gt;") == 2 and "<arms>" not in page and "Adam(lr=0.02" in page
    assert f"{history['loss'][1]:.4g}" in page and page.count("<svg") == 1
    images = re.findall(r'<img class="(light|dark)" src="data:image/svg\+xml;base64,([^"]*)"'
                        r' alt="[^"]{20,}"', page)
    assert [scheme for scheme, _ in images] == ["light", "dark"] * 4
    assert len(images) == page.count("<img ") and ".dark{display:none}@media screen and" in page
    assert all(b"<svg" in base64.b64decode(image) for _, image in images)
    fetched = re.findall(r"""(?:src|srcset|href)=["'](?!#|data:)([^"']*)""", page)
    assert fetched == [] and "<script" not in page
    with pytest.raises(ValueError, match=r"\.html"):
        report(history, model, tmp_path / "run.pdf")


def test_a_report_of_images_shows_samples_and_why_it_stopped(tmp_path):
    x, y = tg.data.digits()
    model = nn.MLP([64, 10], rng=0)
    history = tg.History(HISTORY)
    history.stopped = "the loss was nan"
    history.findings.append(Finding("dead units", "layers.0", 0.5, "half < all", "Try less.", 7, 2))
    page = report(history, model, tmp_path / "run.html", x=x[:30] / 16, y=y[:30],
                  theme="dark").read_text(encoding="utf-8")
    assert "<h2>Samples</h2>" in page and "<h2>Regions</h2>" not in page
    assert "dead units: half &lt; all (step 7, epoch 2). Try less.</p>" in page
    assert "Stopped early: the loss was nan" in page and "--page:#14171A" in page
    assert "--page:#FFFFFF" not in page and "display:none" not in page


# ---- attention -----------------------------------------------------------------------------------


def test_attention_is_drawn_head_by_head_with_the_tokens_at_its_axes():
    layer = nn.MultiHeadAttention(8, 2, causal=True, rng=0)
    weights = layer(np.random.default_rng(0).normal(size=(1, 4, 8)), weights=True)[1]
    made = plot_attention(weights[0], "anna")
    *heads, bar = made.axes
    assert [ax.get_title() for ax in heads] == ["head 1", "head 2"] and bar.get_label()
    for ax, cells in zip(heads, weights.data[0], strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), cells)
        assert ax.images[0].get_clim() == (0, 1)           # heads can be compared
        assert [t.get_text() for t in ax.get_yticklabels()] == [*"anna"]
    np.testing.assert_array_equal(made.numbers["weight"], weights.data[0].ravel())
    one = plot_attention(np.full((2, 3), 1 / 3), ["who", "what"], keys="abc")
    assert one.axes[0].images[0].get_clim() == (0, 1)
    assert [t.get_text() for t in one.axes[0].get_xticklabels()] == [*"abc"]
    assert [t.get_text() for t in plot_attention(np.eye(2)).axes[0].get_xticklabels()] == ["0", "1"]


def test_weights_of_many_sequences_or_other_tokens_are_refused():
    with pytest.raises(ShapeError, match=r"weights\[0\]"):
        plot_attention(np.ones((2, 2, 3, 3)))
    with pytest.raises(ShapeError, match="2 and 2 tokens"):
        plot_attention(np.ones((3, 3)), "ab")


def test_labels_of_a_logarithmic_scale_do_not_overlap():
    values = [0.17, 0.5, 1.0, 3.0, 7.2]
    figure = plot_history({"epoch": [1, 2, 3, 4, 5], "loss": values, "gradient_norm": values},
                          size=(8, 3))
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = sorted((label.get_window_extent() for label in ax.yaxis.get_ticklabels(which="both")
                        if label.get_text() and ax.bbox.y0 <= label.get_window_extent().y1
                        <= ax.bbox.y1), key=lambda box: box.y0)
        assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_the_only_finite_loss_of_many_steps_is_seen():
    history = SimpleNamespace(steps={"loss": [1.5] + 50 * [np.nan]}, findings=[])
    (line,) = plot_steps(history).axes[0].lines
    assert line.get_marker() == "o"
    history.steps["loss"] = 51 * [1.5]
    (line,) = plot_steps(history).axes[0].lines
    assert line.get_marker() == "None"


def test_grid_lines_are_behind_bars():
    model, x, y = model_and_data()
    nn.cross_entropy(model(x), y).backward()
    (ax,) = plot_gradient_flow(model).axes
    assert all(ax.xaxis.get_zorder() < bar.get_zorder() for bar in ax.patches)


def test_ranges_of_many_runs_stand_beside_the_curves():
    two = [{"loss": [2.0, 1.0]}, {"loss": [3.0, 2.0]}]
    few, many = (plot_compare({f"run {i}": two for i in range(n)}).axes[0] for n in (5, 6))
    assert len(few.collections) == 5 and "at the end" not in few.get_title()
    bars = [bar.get_segments()[0] for bar in many.collections]
    assert len({bar[0][0] for bar in bars}) == 6               # none hides another
    assert all((bar[:, 1] == [1, 2]).all() and bar[0][0] > 2 for bar in bars)
    assert many.get_title().startswith("mean, and the range at the end, of 2 seeds")


@pytest.mark.parametrize(("losses", "place"), [
    ([1.0] + 49 * [9.0], 0.16), ([5.0] + 49 * [1.0], 0.94)])
def test_what_goes_wrong_is_named_where_the_curve_is_not(losses, place):
    finding = Finding("growing loss", "", 9.0, "it grows", "Try less.", 2, 1)
    history = History(findings=[finding], steps={"loss": losses})
    note, = plot_steps(history).axes[0].texts
    assert note.xy == (2, place)


def test_rates_of_which_none_explodes_fill_the_picture():
    calm, wild = (plot_learning_rates({"a": [2.0, last]}).axes[0].get_ylim()[1]
                  for last in (1.0, 9.0))
    assert calm < 2.1 < wild


@pytest.mark.parametrize("size", [(9.6, 4.8), (8.0, 4.5), (7.0, 4.0), (4.0, 4.0)])
def test_the_formula_above_a_race_is_not_cut_off(size):
    figure = plot_race(race("beale", {"SGD": optim.SGD(lr=0.03)}, steps=3), size=size)
    words = figure.axes[0].title.get_window_extent()
    assert 0 <= words.x0 and words.x1 <= figure.axes[1].title.get_window_extent().x0
