"""Initialisers: the spread that each promises, and where the random numbers come from."""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.nn import init

SHAPE = (300, 500)
SPREAD = {
    "fan_in_uniform": 1 / np.sqrt(3 * 300),
    "kaiming_normal": np.sqrt(2 / 300),
    "kaiming_uniform": np.sqrt(2 / 300),
    "normal": 1.0,
    "uniform": 1 / np.sqrt(3),
    "orthogonal": 1 / np.sqrt(500),
    "xavier_normal": np.sqrt(2 / 800),
    "xavier_uniform": np.sqrt(2 / 800),
    "zeros": 0.0,
}


@pytest.mark.parametrize("name", init.NAMES)
def test_an_initialiser_has_the_spread_of_its_paper_around_zero(name):
    w = init.get(name)(SHAPE, 0)
    assert w.shape == SHAPE and w.dtype == np.float64
    assert w.std() == pytest.approx(SPREAD[name], rel=0.01)
    assert abs(w.mean()) <= 0.01 * max(SPREAD[name], 1e-9) + 1e-12


@pytest.mark.parametrize("name", [n for n in init.NAMES if "uniform" in n])
def test_a_uniform_initialiser_fills_its_interval_and_does_not_leave_it(name):
    w = init.get(name)(SHAPE, 0)
    bound = SPREAD[name] * np.sqrt(3)
    assert 0.999 * bound < np.abs(w).max() <= bound


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (6, 2, 2)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape):
    q = init.orthogonal(shape, 0, gain=2.0).reshape(shape[0], -1)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(min(q.shape)), atol=1e-12)


def test_a_convolution_counts_its_window_as_fan_in():
    assert init.fans((8, 3, 5, 5)) == (75, 200)
    assert init.fans((3, 8)) == (3, 8)
    w = init.kaiming_normal((64, 32, 3, 3), 0)
    assert w.std() == pytest.approx(np.sqrt(2 / 288), rel=0.02)


def test_an_initialiser_is_given_by_name_by_number_or_as_a_function():
    assert init.get("zeros") is init.zeros
    assert init.get(init.zeros) is init.zeros
    assert nn.Linear(200, 200, init=0.01, rng=0).weight.data.std() == pytest.approx(0.01, rel=0.02)
    twos = nn.Linear(2, 2, init=lambda shape, rng: init.constant(shape, value=2.0))
    assert (twos.weight.data == 2).all()
    for scale in (-1, np.nan, np.inf):
        for made in (init.get, lambda s: init.normal((2, 2), scale=s)):
            with pytest.raises(ValueError, match="scale must be a finite number of at least 0"):
                made(scale)
    for wrong in ("nothing", True, None, [1]):
        with pytest.raises(ValueError, match=r"no initialiser .*; known: fan_in_uniform"):
            init.get(wrong)


def test_gains_are_those_of_the_literature():
    assert init.gain("relu") == init.gain("ReLU") == pytest.approx(np.sqrt(2))
    assert init.gain("leaky_relu", 0.5) == pytest.approx(np.sqrt(2 / 1.25))
    assert init.gain("LeakyReLU", 0.0) == pytest.approx(np.sqrt(2))
    assert init.gain("tanh") == pytest.approx(5 / 3)
    assert init.gain("sigmoid") == 1


def test_seed_starts_the_one_generator_that_everyone_holds():
    held = init.generator()
    tg.seed(11)
    a = held.random(3)
    tg.seed(11)
    assert (init.generator().random(3) == a).all()
    assert init.generator() is held
    given = np.random.default_rng(0)
    assert init.generator(given) is given
    assert (init.generator(7).random(3) == np.random.default_rng(7).random(3)).all()


def test_public_names_of_nn_exist_and_each_stands_once():
    assert len(set(nn.__all__)) == len(nn.__all__)
    assert all(hasattr(nn, name) for name in nn.__all__)
