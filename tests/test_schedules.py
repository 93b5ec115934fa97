"""Learning rate schedules: their numbers, composition, copies and errors."""

import copy
import math
import pickle

import numpy as np
import pytest

from tinygrad_opt import optim
from tinygrad_opt.optim import schedules


@pytest.mark.parametrize(("schedule", "name", "options"), [
    (schedules.step(0.1, 3, 0.5), "StepLR", dict(step_size=3, gamma=0.5)),
    (schedules.exponential(0.1, 0.9), "ExponentialLR", dict(gamma=0.9)),
    (schedules.polynomial(0.1, 9, 2.0), "PolynomialLR", dict(total_iters=9, power=2.0)),
    (schedules.cosine(0.1, 5, 0.01, restarts=True), "CosineAnnealingWarmRestarts",
     dict(T_0=5, eta_min=0.01)),
    (schedules.cosine(0.1, 4, 0.01, restarts=True, growth=2), "CosineAnnealingWarmRestarts",
     dict(T_0=4, T_mult=2, eta_min=0.01)),
])
def test_schedules_equal_those_of_torch(schedule, name, options):
    torch = pytest.importorskip("torch")
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = getattr(torch.optim.lr_scheduler, name)(opt, **options)
    rates = []
    for _ in range(30):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        theirs.step()
    np.testing.assert_allclose(schedule.values(30), rates, rtol=1e-12, atol=1e-15)


def half_cosine(u):
    return 0.01 + 0.09 * (1 + math.cos(math.pi * u)) / 2


@pytest.mark.parametrize(("schedule", "formula"), [
    (schedules.constant(0.3), lambda t: 0.3),
    (schedules.inverse_time(2.0, 0.5), lambda t: 2 / (1 + 0.5 * t)),
    (schedules.step(0.8, 3, 0.5), lambda t: 0.8 * 0.5 ** (t // 3)),
    (schedules.exponential(0.1, 0.9), lambda t: 0.1 * 0.9**t),
    (schedules.polynomial(0.1, 9, 2.0), lambda t: 0.1 * (1 - min(t, 9) / 9) ** 2),
    (schedules.polynomial(1.0, 4, last=0.25), lambda t: 0.25 + 0.75 * (1 - min(t, 4) / 4)),
    (schedules.cosine(0.1, 5, 0.01), lambda t: half_cosine(min(t, 5) / 5)),
    (schedules.cosine(0.1, 5, 0.01, restarts=True), lambda t: half_cosine(t % 5 / 5)),
    (schedules.cosine(0.1, 4, 0.01, restarts=True, growth=2),    # from 0, 4, 12 and 28 on
     lambda t: half_cosine(next((t - s) / n for s, n in [(28, 32), (12, 16), (4, 8), (0, 4)]
                                if t >= s))),
    (schedules.warm_up(0.4, 4), lambda t: 0.1 * min(t, 4)),
    (schedules.one_cycle(1.0, 5, rise=0.01, first=0.0, last=0.0),    # its top is inside
     lambda t: [0, 1, 0.75, 0.25, 0][min(t, 4)]),
], ids=lambda x: repr(x) if isinstance(x, schedules.Schedule) else "formula")
def test_schedules_are_their_formulas(schedule, formula):
    np.testing.assert_allclose(schedule.values(30), [formula(t) for t in range(30)], rtol=1e-12,
                               atol=1e-15)


def test_one_cycle_rises_to_its_top_and_ends_at_the_bottom():
    rates = schedules.one_cycle(1.0, 101, rise=0.3).values(103)
    assert rates[0] == pytest.approx(1 / 25) and rates.argmax() == 30 and rates[30] == 1.0
    assert (np.diff(rates[:31]) > 0).all() and (np.diff(rates[30:101]) < 0).all()
    assert rates[100] == rates[102] == pytest.approx(1 / 250000)


def test_schedules_compose():
    s = schedules.warm_up(schedules.cosine(0.4, 4), 4).then(0.1, after=6) * 0.5
    np.testing.assert_allclose(
        s.values(8), [0.0, 0.05, 0.1, 0.15, 0.2, 0.5 * schedules.cosine(0.4, 4)(1), 0.05, 0.05])
    product = schedules.constant(0.5) * schedules.inverse_time(1.0, 1.0)
    assert product(3) == 0.125
    assert "warm_up" in repr(s)


def test_every_schedule_drives_an_optimizer_by_its_step():
    for s in (schedules.inverse_time(1.0, 0.5), schedules.one_cycle(1.0, 5), lambda t: 1 / (1 + t)):
        p = {"w": np.zeros(1)}
        opt = optim.SGD(lr=s)
        for _ in range(5):
            opt.update(p, {"w": np.ones(1)})
        assert -p["w"][0] == pytest.approx(sum(s(t) for t in range(5)))


def test_a_plateau_cuts_the_rate_when_the_loss_stops_falling():
    lr = schedules.reduce_on_plateau(1.0, factor=0.1, patience=2, lowest=0.05)
    fed = [3, 2, 2, 2, 2, 1, math.nan, 1, 1]
    assert [lr.feed(x) for x in fed] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.05])
    zero = schedules.reduce_on_plateau(1.0, patience=0)
    assert [zero.feed(0.0), zero.feed(0.0)] == pytest.approx([1, 0.1])
    negative = schedules.reduce_on_plateau(1.0, patience=0)
    assert [negative.feed(x) for x in (-1.0, -2.0, -3.0)] == [1, 1, 1]


@pytest.mark.parametrize("call", [
    lambda: schedules.constant(-1), lambda: schedules.step(0.1, 0),
    lambda: schedules.cosine(0.1, 2.5),
    lambda: schedules.exponential(0.1, math.nan), lambda: schedules.one_cycle(0.1, 10, rise=1.0),
    lambda: schedules.reduce_on_plateau(0.1, factor=1.5), lambda: schedules.constant("a"),
])
def test_schedules_refuse_numbers_out_of_range(call):
    with pytest.raises((TypeError, ValueError), match="must be"):
        call()


@pytest.mark.parametrize(("name", "value"), [
    ("factor", 1.5), ("patience", -1), ("better_by", -1), ("lowest", -0.1)])
def test_a_refused_number_of_a_plateau_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        schedules.reduce_on_plateau(0.1, **{name: value})


def again(s):
    """The schedule that its text makes."""
    return eval(repr(s), vars(schedules))


MADE = [
    schedules.constant(0.1), schedules.inverse_time(1.0, 0.5), schedules.step(0.8, 2, factor=0.5),
    schedules.exponential(1, 0.9), schedules.polynomial(1.0, 4, last=0.25),
    schedules.cosine(0.1, 10),
    schedules.cosine(0.1, 10, restarts=True, growth=2), schedules.one_cycle(1.0, 5, first=0.0),
    schedules.warm_up(0.4, 4), schedules.warm_up(schedules.cosine(0.123456789, 9), 3, start=0.01),
    schedules.constant(0.4).then(schedules.step(0.2, every=2), after=2).then(0.01, after=9) * 0.5,
    schedules.cosine(0.1, 10) * schedules.inverse_time(1.0, 0.1),
]


@pytest.mark.parametrize("s", MADE, ids=repr)
def test_a_schedule_prints_as_it_was_made_and_its_copies_equal_it(s):
    for other in (again(s), copy.copy(s), copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert other == s and hash(other) == hash(s) and repr(other) == repr(s)
        assert other.values(20).tolist() == s.values(20).tolist()
    assert s != schedules.constant(7.0)


@pytest.mark.parametrize("copied", [
    copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s)),
], ids=["copy", "deep", "pickle"])
def test_a_copied_plateau_goes_on_by_itself(copied):
    first = schedules.reduce_on_plateau(1.0, factor=0.5, patience=0)
    first.feed(2.0)
    second = copied(first)
    assert [second.feed(2.0), second(0), first(0)] == [0.5, 0.5, 1.0]
    assert repr(second) == repr(first) and again(second).state_dict()["lr"] == 1.0
    assert isinstance(second, schedules.reduce_on_plateau)


def test_a_composed_plateau_is_copied_whole():
    plateau = schedules.reduce_on_plateau(1.0, factor=0.5, patience=0)
    half, inner = copy.deepcopy((0.5 * plateau, plateau))
    for loss in (1.0, 1.0):
        inner.feed(loss)
    assert half(0) == 0.25 and plateau(0) == 1.0


def test_a_schedule_cannot_be_changed_behind_its_optimizer():
    with pytest.raises(AttributeError, match="cannot assign"):
        schedules.cosine(0.1, 10).lr = -1.0


def test_any_function_can_be_given_the_methods_of_a_schedule():
    s = schedules.Schedule(lambda t: 1 / (1 + t), "harmonic").then(0.25, after=2)
    assert s.values(3).tolist() == [1.0, 0.5, 0.25] and repr(s) == "harmonic.then(0.25, after=2)"


def test_first_and_last_rate_of_one_cycle_can_be_chosen():
    s = schedules.one_cycle(1.0, 5, rise=0.5, first=0.5, last=0.25)
    np.testing.assert_allclose(s.values(6), [0.5, 0.75, 1.0, 0.625, 0.25, 0.25])
