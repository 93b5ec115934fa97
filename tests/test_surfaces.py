"""Surfaces, races across them and descents of one number: the numbers, without pictures."""

import csv
import math
import runpy
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import optim
from tinygrad_opt.errors import GraphError, ShapeError
from tinygrad_opt.viz.plots.descents import (
    RUNS,
    START,
    VIEW,
    Descent,
    descend_1d,
    outcome,
    valleys,
)
from tinygrad_opt.viz.plots.races import follow, plot_race, race
from tinygrad_opt.viz.plots.surfaces import SURFACES, Surface, sampled, sigmoid_neuron, surface

OPTIMIZERS = {
    "SGD": lambda p=None: optim.SGD(p, lr=0.01),
    "Momentum": lambda p=None: optim.Momentum(p, lr=0.005, momentum=0.9),
    "AdaGrad": lambda p=None: optim.AdaGrad(p, lr=0.4),
    "Adam": lambda p=None: optim.Adam(p, lr=0.1),
}


@pytest.mark.parametrize("name", SURFACES)
def test_the_gradient_of_a_surface_is_its_slope(name):
    s, h = SURFACES[name], 1e-6
    for x, y in np.random.default_rng(0).uniform(-1, 1, (5, 2)):
        slope = [(s(x + h, y) - s(x - h, y)) / (2 * h), (s(x, y + h) - s(x, y - h)) / (2 * h)]
        np.testing.assert_allclose(s.gradient(x, y), slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SURFACES)
def test_the_stars_of_a_surface_are_its_lowest_points(name):
    s = SURFACES[name]
    _, _, z = s.grid(101)
    lowest = [s(*m) for m in s.minima]
    np.testing.assert_allclose(lowest, lowest[0], atol=1e-8)
    assert lowest[0] <= z.min() + 1e-9
    for m in s.minima:
        np.testing.assert_allclose(s.gradient(*m), 0, atol=1e-3)
        assert s.x[0] <= m[0] <= s.x[1] and s.y[0] <= m[1] <= s.y[1]


def test_the_grid_has_a_row_for_each_y():
    *_, z = surface(lambda x, y: x + 10 * y, x=(0, 1), y=(0, 2)).grid(3)
    assert z.tolist() == [[0, 0.5, 1], [10, 10.5, 11], [20, 20.5, 21]]


def test_a_function_of_single_numbers_has_a_grid_too():
    s = surface(lambda x, y: x * x if x > 0 else y * y, x=(-1, 1), y=(-1, 1))
    assert s.grid(3)[2].tolist() == [[1, 1, 1], [0, 0, 1], [1, 1, 1]]


def test_the_error_of_the_sigmoid_neuron_is_that_of_its_formula():
    x, y = [0.5, 2.5], [0.2, 0.9]
    by_hand = sum((1 / (1 + math.exp(-(1.5 * a - 0.5))) - t) ** 2 for a, t in zip(x, y)) / 2
    assert float(sigmoid_neuron(x, y)(1.5, -0.5)) == pytest.approx(by_hand, rel=1e-14)


def test_bad_surfaces_are_refused():
    with pytest.raises(ValueError, match="beale"):
        surface("Bealle")
    with pytest.raises(TypeError, match="function of two numbers"):
        surface(3)
    with pytest.raises(ValueError, match="low, high"):
        Surface(lambda x, y: x, x=(1, 1))
    with pytest.raises(GraphError, match="without a graph"):
        surface(lambda x, y: float(x) ** 2).gradient(1, 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("form", ["factory", "unbound"])
def test_a_path_is_what_the_optimizer_does_to_the_bit(name, form):
    make = OPTIMIZERS[name]
    given = make if form == "factory" else make()
    track = race("beale", {name: given}, steps=30)[name]

    x, y = (tg.Tensor(np.float64(v), requires_grad=True) for v in SURFACES["beale"].start)
    opt, points = make({"x": x, "y": y}), []
    for _ in range(31):
        points.append([float(x.data), float(y.data)])
        loss = (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
        loss.backward()
        opt.step()
        opt.zero_grad()
    assert track.points.tolist() == points
    assert track.values[-1] == SURFACES["beale"](*points[-1])
    assert track.gradients[7].tolist() == list(SURFACES["beale"].gradient(*points[7]))


def test_all_start_at_one_point_and_take_as_many_steps():
    result = race("ravine", {n: f() for n, f in OPTIMIZERS.items()}, (3.0, -2.0), 20)
    assert all(t.points[0].tolist() == [3.0, -2.0] and t.steps == 20
               for t in result.tracks.values())


def test_a_diverging_run_ends_early_and_says_when():
    result = race("ravine", {"SGD": optim.SGD(lr=1.5), "slow": optim.SGD(lr=0.1)}, steps=100)
    lost = result["SGD"]
    assert lost.diverged == lost.steps < 30
    assert result["slow"].diverged is None and result["slow"].steps == 100
    assert f"diverged at step {lost.diverged}" in str(result)


def test_a_value_that_is_no_number_ends_a_run():
    track = race(lambda x, y: np.log(x) + y, {"SGD": optim.SGD(lr=1.0)}, (0.5, 0.0), 10)["SGD"]
    assert track.diverged == 1 and not np.isfinite(track.values[-1])


def test_arriving_is_staying_near():
    track = race(lambda x, y: x**2 + y**2, {"SGD": optim.SGD(lr=0.25)}, (1.0, 0.0), 10)["SGD"]
    assert track.points[:4, 0].tolist() == [1.0, 0.5, 0.25, 0.125]
    assert track.reaches((0, 0), 0.25) == 2
    assert track.reaches((0, 0), 2.0) == 0
    assert track.reaches((5, 5), 0.25) is None


def test_races_that_make_no_sense_are_refused():
    used = optim.SGD(lr=0.1)
    race("ravine", {"SGD": used}, steps=1)
    with pytest.raises(ValueError, match="has taken 1 steps"):
        race("ravine", {"SGD": used}, steps=1)
    p = {"w": tg.Tensor(1.0, requires_grad=True)}
    with pytest.raises(ValueError, match="bound"):
        race("ravine", {"SGD": optim.SGD(p, lr=0.1)})
    with pytest.raises(TypeError, match="dict of name"):
        race("ravine", [optim.SGD(lr=0.1)])
    with pytest.raises(TypeError, match="what makes one"):
        race("ravine", {"SGD": "sgd"})
    with pytest.raises(ValueError, match="two numbers"):
        race("ravine", {"SGD": optim.SGD(lr=0.1)}, (1.0,))
    with pytest.raises(ValueError, match="at least 1"):
        race("ravine", {"SGD": optim.SGD(lr=0.1)}, steps=0)


def test_the_numbers_of_a_race_read_back_the_same(tmp_path):
    result = race("saddle", {n: f() for n, f in OPTIMIZERS.items()}, steps=5)
    path = result.save(tmp_path / "new" / "race.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 4 * 6
    adam = [row for row in rows if row["optimizer"] == "Adam"]
    assert [[float(r["x"]), float(r["y"])] for r in adam] == result["Adam"].points.tolist()
    arrays = np.load(result.save(tmp_path / "race.npz"))
    assert arrays["value"][:6].tolist() == result["SGD"].values.tolist()
    with pytest.raises(ValueError, match=r"\.csv or \.npz"):
        result.save(tmp_path / "race.txt")


def test_a_descent_watches_while_it_runs_and_stops_when_it_explodes():
    seen = []
    run = descend_1d(lambda x: x**4, optim.SGD(lr=1.0), 3.0, 50, watch=lambda *a: seen.append(a))
    assert run.track.diverged == run.track.steps == len(seen) - 1 < 5
    assert seen[0] == (0, 3.0, 81.0)
    assert "diverged" in str(run)


def test_a_descent_is_the_optimizers_own():
    run = descend_1d(lambda x: x**2, optim.SGD(lr=0.25), 2.0, 3, label="quarter")
    assert isinstance(run, Descent)
    assert run.track.points.ravel().tolist() == [2.0, 1.0, 0.5, 0.25]
    assert run.track.gradients.ravel().tolist() == [4.0, 2.0, 1.0, 0.5]
    assert str(run).startswith("quarter: after 3 steps x = 0.25")


DEMO = runpy.run_path(str(Path(__file__).parents[1] / "demos" / "optimizer_race.py"))


@pytest.mark.parametrize("name", [n for n in SURFACES if n != "rastrigin"])
def test_at_the_rates_of_a_surface_every_optimizer_arrives_in_its_steps(name):
    result = race(name, DEMO["optimizers"](name), steps=SURFACES[name].steps)
    assert {n: result.arrived(n) for n in result.tracks if result.arrived(n) is None} == {}


@pytest.mark.parametrize(("name", "words"), {
    "stuck": "settled at x = 3.83", "another": "settled at x = -2.03",
    "close": "settled at x = 2.03", "200-steps": "settled at x = 0.01 in 198 steps",
    "100-steps": "settled at x = 0.00 in 99 steps", "50-steps": "settled at x = 0.00 in 45 steps",
    "fairly-fast": "settled at x = 0.00 in 16", "a-few-steps": "settled at x = 0.00 in 4 steps",
    "leaving": "settled at x = -3.83", "jumping": "jumps about", "exploding": "exploded at step 4",
}.items())
def test_each_descent_of_the_valleys_ends_as_it_is_called(name, words):
    run = descend_1d(valleys, optim.get(RUNS[name]), START, 300, x=VIEW)
    assert outcome(run).startswith(words)
    if name == "leaving":
        assert np.abs(run.track.points).min() < 0.2


def test_every_descent_has_its_outcome_tested():
    mark = test_each_descent_of_the_valleys_ends_as_it_is_called.pytestmark[0]
    assert [name for name, _ in mark.args[1]] == [*RUNS]


def test_adagrad_ends_short_and_rmsprop_swings_on_the_neuron():
    demo = runpy.run_path(str(Path(__file__).parents[1] / "demos" / "sigmoid_neuron.py"))
    result = race("neuron", demo["made"](demo["TROUBLES"]), steps=1000)
    sums, mean, swinging, decayed = result.tracks
    assert result.arrived(sums) is None and result.arrived(mean) < 200
    assert np.abs(np.diff(result[swinging].points[-50:, 0])).min() > 0.09
    assert np.abs(np.diff(result[decayed].points[-50:, 0])).max() < 0.01


def test_on_the_plateau_plain_descent_stays_and_momentum_goes():
    demo = runpy.run_path(str(Path(__file__).parents[1] / "demos" / "sigmoid_neuron.py"))
    f = sigmoid_neuron([0.5, 2.5], [0.2, 0.9], view=(-10, 10))
    sgd, momentum = race(f, demo["made"](demo["PLATEAU"]), (-4.0, -6.0), 10_000).tracks.values()
    assert np.abs(sgd.points[-1] - sgd.points[0]).max() < 0.5
    assert momentum.values[-1] < 0.05 < 0.3 < sgd.values[-1]


def test_the_path_by_samples_moves_after_each_batch_by_an_estimate_of_the_gradient():
    f = SURFACES["noisy_neuron"]
    path = sampled(f, optim.SGD(lr=0.1), (1.0, -1.0), 18, 3, rng=0)
    moves = np.abs(np.diff(path, axis=0)).sum(1) > 0
    assert len(path) == 19 and moves.tolist() == 6 * [False, False, True]
    order = np.random.default_rng(0).permutation(6)[:3]
    part = sigmoid_neuron(*np.transpose([f.samples[i] for i in order])).gradient(1.0, -1.0)
    np.testing.assert_allclose(path[3], np.array([1.0, -1.0]) - 0.1 * 2 * np.array(part))
    whole = sampled(f, optim.SGD(lr=0.1), (1.0, -1.0), 12)
    np.testing.assert_allclose(whole[6], np.array([1.0, -1.0]) - 0.1 * np.array(
        f.gradient(1.0, -1.0)))


def test_a_race_says_who_came_to_rest_where_no_minimum_is_known():
    result = race("rastrigin", DEMO["optimizers"]("rastrigin"), steps=100)
    assert str(result).count("rests elsewhere") == len(result.tracks)


def test_where_no_minimum_is_known_none_rests_elsewhere():
    result = race(lambda x, y: x ** 2 + y ** 2, {"SGD": optim.SGD(lr=0.3)}, (1.0, 1.0), steps=60)
    assert "at rest" in str(result) and "elsewhere" not in str(result)



def test_heights_are_told_from_the_minimum_that_the_grid_misses():
    pytest.importorskip("matplotlib")
    [*_, bar] = plot_race(race("himmelblau", {"SGD": optim.SGD(lr=0.01)}, steps=2)).axes
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0.1", "1", "10", "100"]


def test_a_race_tells_how_far_it_is():
    seen = []
    race("ravine", {"SGD": optim.SGD(lr=9.0), "slow": optim.SGD(lr=0.1)}, steps=20,
         watch=lambda *a: seen.append(a))
    assert seen[0] == (0, 40) and seen[-1] == (40, 40)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_points_found_elsewhere_are_a_track_as_well():
    own = race("ravine", {"SGD": optim.SGD(lr=0.3)}, steps=5)["SGD"]
    other = follow("ravine", own.points)
    assert race("ravine", {"found": own.points}, steps=3)["found"].steps == 3
    assert other.values.tolist() == own.values.tolist()
    assert other.gradients.tolist() == own.gradients.tolist() and other.diverged is None
    assert follow("ravine", [(1, 1), (np.nan, 1), (2, 2)]).diverged == 1
    with pytest.raises(ShapeError, match="n_steps"):
        follow("ravine", [1.0, 2.0])


def test_conjugate_gradients_cross_the_ravine_in_two_steps():
    found = optim.conjugate_gradient(lambda p: p[0] ** 2 / 20 + p[1] ** 2, [-7.0, 2.0])
    track = follow("ravine", found.path)
    assert track.steps == 2 and track.values[-1] < 1e-20


def test_newtons_path_over_a_surface_is_a_track_beside_the_others():
    f = surface("rosenbrock")
    found = optim.minimize(lambda p: f(p[0], p[1]), f.start, "newton")
    track = follow(f, found.path)
    assert found and track.steps == found.steps < 30 and track.values[-1] < 1e-12
    assert track.points[0].tolist() == list(f.start)
