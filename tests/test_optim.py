"""Optimizers over a dict: packing, options, names, freezing, errors, interrupts, step cost."""

import math
import os
import signal
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
from interrupts import Burst, bursts, interrupted, usual_time

import tinygrad_opt as tg
from tinygrad_opt import Tensor, nn, optim
from tinygrad_opt.errors import GraphError, NonFiniteError, ShapeError
from tinygrad_opt.optim.plan import BLOCK, REMEMBER

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

SHAPES = {"layers.0.weight": (2, 5), "layers.0.bias": (5,), "layers.1.weight": (5, 3),
          "layers.1.bias": (3,), "scale": ()}


def parameters(dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return {
        n: Tensor(rng.standard_normal(s).astype(dtype), requires_grad=True, name=n)
        for n, s in SHAPES.items()
    }


def give_gradients(params, seed=1):
    rng = np.random.default_rng(seed)
    for p in params.values():
        p.grad = np.asarray(rng.standard_normal(p.shape), p.dtype)


def values(params):
    return {n: p.data.copy() for n, p in params.items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def moved(params, before):
    return [n for n, p in params.items() if not np.array_equal(p.data, before[n])]


def test_public_names_are_sorted_and_exist():
    assert optim.__all__ == sorted(optim.__all__)
    assert all(hasattr(optim, name) for name in optim.__all__)


# ---- the dict ------------------------------------------------------------------------------------


def test_parameters_become_views_of_one_vector_without_changing():
    params = parameters()
    before = values(params)
    optim.Adam(params)
    assert moved(params, before) == []
    base = params["scale"].data.base
    assert base.ndim == 1 and base.size == sum(p.size for p in params.values())
    assert all(p.data.base is base for p in params.values())


def test_a_step_equals_a_step_of_each_parameter_alone():
    together, alone = parameters(), parameters()
    opt = optim.Adam(together, lr=0.1)
    opts = [optim.Adam({n: p}, lr=0.1) for n, p in alone.items()]
    for seed in range(5):
        give_gradients(together, seed)
        give_gradients(alone, seed)
        opt.step()
        for o in opts:
            o.step()
    assert same(values(together), values(alone))


def test_mixed_dtypes_each_keep_theirs():
    params = parameters() | {"double": Tensor(np.ones(3), requires_grad=True)}
    opt = optim.Adam(params, lr=np.float64(0.1))
    give_gradients(params)
    opt.step()
    assert [p.dtype for p in params.values()] == [np.float32] * 5 + [np.float64]
    assert opt.state["double"]["m"].dtype == np.float64
    assert len(moved(params, values(parameters()) | {"double": np.ones(3)})) == 6


@pytest.mark.parametrize("order", ["ew", "we", "e"])
def test_a_parameter_without_entries_is_no_trouble(order):
    e, w = Tensor(np.zeros((0, 3)), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    opt = optim.Momentum({name: {"e": e, "w": w}[name] for name in order}, lr=0.5)
    for _ in range(2):
        e.grad, w.grad = np.zeros((0, 3)), np.ones(2)
        opt.step()
    np.testing.assert_allclose(w.data, 1 - 0.5 - 0.95 if "w" in order else 1)
    with pytest.raises(IndexError, match=r"say which entry$"):
        opt.explain("e")


def test_a_tied_parameter_is_updated_once():
    w = Tensor([1.0], requires_grad=True)
    opt = optim.SGD({"encoder": w, "decoder": w}, lr=0.1)
    w.grad = np.ones(1, np.float32)
    opt.step()
    assert w.item() == pytest.approx(0.9)
    assert list(opt.parameters) == ["encoder"]


def test_a_tensor_that_somebody_re_pointed_is_packed_again():
    params = parameters()
    opt = optim.Momentum(params, lr=0.1)
    give_gradients(params)
    opt.step()
    velocity = opt.state["layers.0.bias"]["v"].copy()
    params["layers.0.bias"].data = np.zeros(5)
    give_gradients(params, 2)
    opt.step()
    expected = 0.9 * velocity - 0.1 * params["layers.0.bias"].grad
    np.testing.assert_allclose(params["layers.0.bias"].data, expected, rtol=1e-6)


def test_two_optimizers_over_the_same_tensors_stay_right_and_share_the_vector():
    params, check = parameters(), parameters()
    first, second = optim.SGD(params, lr=0.1), optim.SGD(params, lr=0.01)
    partial = optim.SGD({"scale": params["scale"]}, lr=1.0)
    base = params["layers.0.weight"].data.base
    for opt, lr in ((first, 0.1), (second, 0.01), (first, 0.1)):
        give_gradients(params)
        opt.step()
        for n, p in check.items():
            p.data = p.data - np.float32(lr) * params[n].grad
    partial.step()
    check["scale"].data = check["scale"].data - params["scale"].grad
    for n, p in params.items():
        np.testing.assert_allclose(p.data, check[n].data, rtol=1e-6)
        assert p.data.base is base


def test_gradients_may_be_tensors_transposed_or_of_another_dtype():
    p = Tensor(np.zeros((2, 3)), requires_grad=True)
    opt = optim.SGD({"p": p}, lr=1.0)
    g = np.arange(6.0).reshape(3, 2).T
    for gradient in (g, Tensor(g), g.astype(np.float32)):
        p.grad = gradient
        opt.step()
    np.testing.assert_array_equal(p.data, -3 * g)


def test_a_gradient_is_neither_changed_nor_kept():
    params = parameters()
    opt = optim.Adam(params, lr=0.1, weight_decay=0.1, clip_norm=0.1, clip_value=0.01)
    give_gradients(params)
    before = {n: p.grad.copy() for n, p in params.items()}
    opt.step()
    assert all(np.array_equal(p.grad, before[n]) for n, p in params.items())
    assert not any(np.shares_memory(p.grad, pack.g)
                   for p in params.values() for pack in opt._packs)


def test_a_parameter_larger_than_a_block_is_updated_like_any_other():
    n = 2 * BLOCK + 17
    start = np.linspace(-1, 1, n)
    p = Tensor(start, requires_grad=True)
    opt = optim.Adam({"p": p}, lr=0.1, weight_decay=0.5)
    p.grad = np.cos(start)
    opt.step()
    g = np.cos(start) + 0.5 * start
    np.testing.assert_allclose(p.data, start - 0.1 * g / (np.abs(g) + 1e-8), rtol=1e-12,
                               atol=1e-15)


def test_a_large_gradient_is_read_where_it_is_and_not_kept():
    params = {"small": Tensor(np.zeros(3), requires_grad=True),
              "large": Tensor(np.zeros(BLOCK + 5), requires_grad=True),
              "other": Tensor(np.zeros(2), requires_grad=True)}
    opt = optim.SGD(params, lr=1.0)
    for p in params.values():
        p.grad = np.arange(p.size, dtype=float)
    opt.step()
    copied = opt._packs[0].g[3:-2]
    copied[:] = np.nan                                              # nobody reads it
    opt.step()
    assert all(np.array_equal(p.data, -2 * p.grad) for p in params.values())
    gone = weakref.ref(params["large"].grad)
    opt.zero_grad()
    assert gone() is None


def large(gradient, **options):
    """One step of SGD at rate 1 from 1, of a parameter whose gradient is not copied if need be."""
    p = Tensor(np.ones((2, BLOCK)), requires_grad=True)
    opt = optim.SGD({"p": p}, lr=1.0, **options)
    p.grad = np.full((2, BLOCK), 0.5)
    opt.step()
    p.data = np.ones((2, BLOCK))
    p._gradient = gradient(p)
    return p, opt


@pytest.mark.parametrize("gradient", [
    lambda p: np.full((BLOCK, 2), 0.25).T, lambda p: np.full((2, BLOCK), 0.25, np.float32),
    lambda p: np.full((2, 2 * BLOCK), 0.25)[:, ::2],
])
def test_a_large_gradient_that_no_rule_can_read_in_place_is_copied(gradient):
    p, opt = large(gradient)
    opt.step()
    assert (p.data == 0.75).all() and (opt._packs[0].g == 0.25).all()


def test_a_large_gradient_may_be_a_tensor():
    p, opt = large(lambda p: Tensor(np.full((2, BLOCK), 0.25)))
    opt.step()
    assert (p.data == 0.75).all()


def test_a_large_gradient_over_the_memory_of_its_parameter_is_copied():
    p = Tensor(np.linspace(1, 2, BLOCK), requires_grad=True)
    opt, check = optim.Nesterov({"p": p}, lr=0.1), {"p": p.data.copy()}
    twin = optim.Nesterov(lr=0.1)
    for _ in range(3):
        p._gradient = p._array
        opt.step()
        twin.update(check, {"p": check["p"].copy()})
    np.testing.assert_array_equal(p.data, check["p"])


@pytest.mark.parametrize("options", [
    dict(clip_norm=1.0), dict(clip_value=0.1), dict(clip_norm_each=1.0), dict(weight_decay=0.5),
    dict(check_finite="raise"),
])
def test_a_large_gradient_is_not_changed_by_a_step(options):
    p, opt = large(lambda p: np.full((2, BLOCK), 0.25), **options)
    opt.step()
    assert (p.grad == 0.25).all() and (p.data < 1).all()


def test_a_large_gradient_that_is_not_finite_or_does_not_fit_changes_nothing():
    p, opt = large(lambda p: np.full((2, BLOCK), 0.25), check_finite="raise")
    before = p.data.copy()
    p.grad[1, -1] = np.nan
    with pytest.raises(NonFiniteError, match="gradient of 'p'"):
        opt.step()
    p._gradient = np.zeros((BLOCK, 2))
    with pytest.raises(ShapeError, match="gradient of 'p'"):
        opt.step()
    assert np.array_equal(p.data, before) and opt.t == 1


@pytest.mark.parametrize("given", [
    [Tensor([1.0], requires_grad=True)], iter([1]), np.ones(3), Tensor([1.0]), {"p": np.ones(3)},
    {"p": Tensor(np.array([1, 2]))}, {0: Tensor([1.0])},
])
def test_what_is_no_dict_of_float_tensors_is_refused(given):
    with pytest.raises(TypeError, match=r"dict name -> Tensor|leaves of floats"):
        optim.Adam(given)


def test_an_empty_dict_and_a_computed_tensor_are_refused():
    with pytest.raises(ValueError, match="got no parameters"):
        optim.SGD({})
    w = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="'double' is computed"):
        optim.SGD({"double": w * 2})


def test_two_tensors_over_the_same_memory_are_refused():
    whole = Tensor(np.arange(4.0), requires_grad=True)
    part = Tensor(np.arange(2.0), requires_grad=True)
    part._array = whole._array[1:3]
    with pytest.raises(ValueError, match="'whole' and 'part' share memory"):
        optim.SGD({"whole": whole, "part": part})


# ---- unbound -------------------------------------------------------------------------------------


def test_update_writes_into_the_arrays_and_keeps_state_by_key():
    params = {"W": np.ones((2, 2)), "b": np.ones(2, np.float32)}
    held = dict(params)
    opt = optim.Momentum(lr=0.1, momentum=0.9)
    for _ in range(2):
        opt.update(params, {"W": np.ones((2, 2)), "b": np.ones(2)})
    assert all(params[k] is held[k] for k in params)
    np.testing.assert_allclose(params["W"], 0.71)
    assert params["b"].dtype == np.float32


def test_update_of_large_arrays_takes_the_steps_of_an_optimizer_that_is_bound():
    shapes = {"large": (2, BLOCK), "small": (3,), "wide": (BLOCK + 7,)}
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal(s) for n, s in shapes.items()}
    params = {n: Tensor(a, requires_grad=True) for n, a in arrays.items()}
    bound, unbound = optim.Adam(params, lr=0.1), optim.Adam(lr=0.1)
    for _ in range(3):
        grads = {n: rng.standard_normal(s) for n, s in shapes.items()}
        for n, p in params.items():
            p.grad = grads[n]
        bound.step()
        arrays = {n: a.copy() for n, a in arrays.items()}           # others under the same keys
        unbound.update(arrays, grads)
        assert all(np.array_equal(a, params[n].data) for n, a in arrays.items())
    gone = weakref.ref(grads.pop("large"))
    bound.zero_grad()
    assert gone() is None


def test_a_new_key_starts_afresh_and_a_resting_one_keeps_its_state():
    opt = optim.Adam(lr=0.1)
    a, b, only = {"a": np.zeros(1)}, {"b": np.zeros(1)}, {"a": np.zeros(1)}
    for _ in range(3):
        opt.update(a, {"a": np.ones(1)})
    opt.update(b, {"b": np.ones(1)})
    assert b["b"][0] == pytest.approx(-0.1)                         # its own first step
    opt.update(a, {"a": np.full(1, -3.0)})
    check = optim.Adam(lr=0.1)
    for g in (1.0, 1.0, 1.0, -3.0):
        check.update(only, {"a": np.full(1, g)})
    assert a["a"][0] == only["a"][0]


def test_keys_that_come_later_leave_the_counts_of_the_others_alone():
    together, alone = optim.Adam(lr=0.1), [optim.Adam(lr=0.1) for _ in "abc"]
    ours, theirs = ([{n: np.zeros(1)} for n in "abc"] for _ in range(2))
    for keys in ["ab", "ab", "a", "abc", "bc", "abc"]:
        given = ["abc".index(n) for n in keys]
        grads = [{n: np.array([i + 1.0])} for i, n in enumerate("abc")]
        together.update({n: ours[i][n] for i, n in zip(given, keys)},
                        {n: grads[i][n] for i, n in zip(given, keys)})
        for i in given:
            alone[i].update(theirs[i], grads[i])
    assert ours == theirs and together.t == 6


def test_update_takes_values_as_they_are_now_and_says_that_they_change():
    w, opt = Tensor(np.zeros(2), requires_grad=True), optim.SGD(lr=1.0)
    for _ in range(2):
        opt.update({"w": w}, {"w": np.ones(2)})
        w.data[...] = 5.0
    y = (w * w).sum()
    opt.update({"w": w}, {"w": np.ones(2)})
    assert w.data.tolist() == [4.0, 4.0]
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()


def test_an_optimizer_whose_patterns_fit_nothing_is_free_for_other_parameters():
    params = parameters()
    for use in (lambda opt: opt.bind(params).step(),
                lambda opt: opt.update({"a": np.zeros(1)}, {"a": np.ones(1)})):
        opt = optim.SGD(frozen="nothing")
        with pytest.raises(ValueError, match="no parameter fits 'nothing'"):
            opt.bind(params)
        opt.frozen = ()
        give_gradients(params)
        use(opt)
        assert opt.t == 1


def test_a_rule_of_ones_own_takes_its_options_by_name():
    class Scaled(optim.Optimizer):
        options = optim.Optimizer.options | {"scale": lambda name, value: float(value)}

        def rule(self, p, g, *, lr, t):
            return p - lr * self.scale * g

    class Empty(optim.Optimizer):
        pass

    w = {"w": np.zeros(1)}
    Scaled(lr=0.5, scale=3).update(w, {"w": np.ones(1)})
    assert w["w"] == -1.5
    with pytest.raises(NotImplementedError, match="Empty defines no rule"):
        Empty().update(w, {"w": np.ones(1)})


def test_who_sets_an_option_that_the_class_does_not_declare_is_told_how():
    class Undeclared(optim.Optimizer):
        def __init__(self, params=None, lr=0.1, *, scale=2.0, **options):
            self.scale = scale
            super().__init__(params, lr, **options)

    with pytest.raises(AttributeError, match=r"no option 'scale'; .* option\(check, default=2"):
        Undeclared()


def test_update_takes_non_contiguous_arrays_and_tensors():
    whole = np.zeros((3, 4))
    t = Tensor(np.zeros(2), requires_grad=True)
    params = {"column": whole[:, 1], "t": t}
    optim.SGD(lr=1.0).update(params, {"column": np.ones(3), "t": np.ones(2)})
    np.testing.assert_array_equal(whole, np.eye(1, 4, 1).repeat(3, axis=0) * -1)
    np.testing.assert_array_equal(t.data, [-1, -1])
    number = {"n": np.zeros((), np.float32)}
    for g in (1.0, 2, np.float64(3.0)):
        optim.SGD(lr=1.0).update(number, {"n": g})
    assert number["n"] == -6 and number["n"].dtype == np.float32


@pytest.mark.parametrize(("params", "grads", "error", "says"), [
    ({"a": (2,)}, {"b": (2,)}, KeyError, r"without gradient \['a'\].*without parameter \['b'\]"),
    ({"a": (2,), "c": (2,)}, {"a": (2,)}, KeyError, r"without gradient \['c'\]"),
    ({"a": (2,)}, {"a": (3,)}, ShapeError, r"gradient of 'a' is \(3,\)"),
    ({"c": (1,), "a": (3,)}, {"c": (1,), "a": (3,)}, ShapeError, r"'a' is float64 \(3,\) but was"),
    ({}, {}, TypeError, "at least one parameter"),
])
def test_a_dict_that_does_not_fit_is_refused_before_anything_is_written(params, grads, error, says):
    opt = optim.Adam(lr=0.1)
    opt.update({"a": np.zeros(2)}, {"a": np.ones(2)})
    params = {k: np.zeros(s) for k, s in params.items()}
    before = opt.state_dict()
    with pytest.raises(error, match=says):
        opt.update(params, {k: np.ones(s) for k, s in grads.items()})
    assert not any(p.any() for p in params.values())
    assert str(opt.state_dict()) == str(before)


def test_arrays_that_cannot_be_updated_are_refused():
    fixed, whole = np.zeros(2), np.zeros(3)
    fixed.flags.writeable = False
    opt = optim.SGD()
    for p in (fixed, np.zeros(2, int), [0.0, 0.0]):
        with pytest.raises(TypeError, match="'p' must be a writeable float array"):
            opt.update({"p": p}, {"p": np.ones(2)})
    with pytest.raises(ValueError, match="share memory"):
        opt.update({"a": whole[:2], "b": whole[1:]}, {"a": np.ones(2), "b": np.ones(2)})


def test_step_and_update_each_say_when_the_other_is_meant():
    with pytest.raises(TypeError, match=r"has no parameters.*update\(params, grads\)"):
        optim.Adam().step()
    with pytest.raises(TypeError, match=r"bound.*step\(\)"):
        optim.Adam(parameters()).update({}, {})


# ---- overrides and frozen names ------------------------------------------------------------------


def test_overrides_apply_by_pattern_and_the_last_pattern_wins():
    params = parameters(np.float64)
    opt = optim.SGD(params, lr=1.0, weight_decay=0.5, overrides={
        "*.bias": {"weight_decay": 0.0}, "layers.0.*": {"lr": 0.1}, "layers.0.bias": {"lr": 0.2}})
    give_gradients(params)
    before = values(params)
    opt.step()
    for n, (lr, decay) in {"layers.0.weight": (0.1, 0.5), "layers.0.bias": (0.2, 0.0),
                           "layers.1.weight": (1.0, 0.5), "layers.1.bias": (1.0, 0.0),
                           "scale": (1.0, 0.5)}.items():
        p = params[n]
        expected = before[n] - lr * (p.grad + decay * before[n])
        np.testing.assert_allclose(p.data, expected, rtol=1e-12)


def test_any_number_of_a_rule_may_be_overridden_also_while_training_runs():
    params, check = parameters(np.float64), parameters(np.float64)
    opt = optim.SGD(params, lr=0.1)
    first = optim.SGD({"scale": check.pop("scale")}, lr=0.1)
    rest = optim.SGD(check, lr=0.1)
    for t in range(4):
        if t == 2:
            opt.overrides = {"scale": {"momentum": 0.9}}
            first.momentum = 0.9
        for o in (opt, first, rest):
            give_gradients(o.parameters, t)
            if o is not opt:
                for n, p in o.parameters.items():
                    p.grad = params[n].grad
        for o in (opt, first, rest):
            o.step()
    assert same(values(params), values(check | first.parameters))


def test_frozen_parameters_rest_with_their_state():
    params = parameters()
    opt = optim.Adam(params, lr=0.1, frozen="layers.0.*")
    give_gradients(params)
    before = values(params)
    opt.step()
    assert moved(params, before) == ["layers.1.weight", "layers.1.bias", "scale"]
    assert not opt.state["layers.0.weight"]["m"].any()
    opt.unfreeze("layers.0.*")
    opt.freeze("scale", "*.bias")
    before = values(params)
    opt.step()
    assert moved(params, before) == ["layers.0.weight", "layers.1.weight"]
    np.testing.assert_allclose(                                      # its own first step: lr
        np.abs(params["layers.0.weight"].data - before["layers.0.weight"]), 0.1, rtol=1e-4)


def test_a_parameter_rests_while_it_has_no_gradient():
    params = parameters()
    opt = optim.Momentum(params, lr=0.1)
    give_gradients(params)
    gradient = params["scale"].grad
    for given in (gradient, None, None, gradient):
        params["scale"].grad = given
        before = values(params)
        opt.step()
        assert ("scale" in moved(params, before)) is (given is not None)
    updates = {n: r["updates"] for n, r in opt.state_dict()["parameters"].items()}
    assert updates == dict.fromkeys(params, 4) | {"scale": 2}


def test_a_pattern_or_an_option_that_fits_nothing_is_refused():
    params = parameters()
    with pytest.raises(ValueError, match=r"no parameter fits 'layer.0.bias'; did you mean"):
        optim.SGD(params, frozen=["layer.0.bias"])
    with pytest.raises(ValueError, match=r"overrides: no parameter fits 'layer.0.bias'"):
        optim.SGD(params, overrides={"layer.0.bias": {"lr": 1.0}})
    with pytest.raises(TypeError, match="cannot set 'learning_rte'"):
        optim.SGD(params, overrides={"*": {"learning_rte": 1.0}})
    with pytest.raises(TypeError, match="cannot set 'clip_norm'"):
        optim.SGD(params, overrides={"*": {"clip_norm": 1.0}})
    with pytest.raises(ValueError, match=r"overrides\['\*'\]\['lr'\] must be a finite number"):
        optim.SGD(params, overrides={"*": {"lr": -1.0}})
    opt = optim.SGD(params, overrides={"*.bias": {"lr": 1.0}})
    with pytest.raises(TypeError, match="does not support item assignment"):
        opt.overrides["*.bias"]["lr"] = 2.0
    with pytest.raises(ValueError, match="'scale' is not frozen"):
        opt.unfreeze("scale")


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["lr", "decay", "weight_decay", "clip_norm", "clip_value",
                                  "clip_norm_each", "beta1", "eps"])
def test_numbers_out_of_range_are_refused_when_given_and_when_set(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number in .*got"):
        optim.Adam(**{name: value})
    opt = optim.Adam()
    before = getattr(opt, name)
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        setattr(opt, name, value)
    assert getattr(opt, name) == before


@pytest.mark.parametrize("value", ["0.1", True, None, ["0.1"], float, np.ones((2, 1))])
def test_a_rate_that_is_no_number_and_no_schedule_is_refused(value):
    with pytest.raises(TypeError, match=r"lr(\[0\])? must be a number"):
        optim.SGD(lr=value)


def test_all_of_a_velocity_may_be_kept():
    assert optim.Momentum(momentum=1).momentum == 1.0
    with pytest.raises(ValueError, match=r"momentum must be a finite number in \[0, 1\], got 1.5"):
        optim.Momentum(momentum=1.5)


def test_zero_ints_and_numpy_scalars_are_rates():
    for lr in (0, 1, np.float32(0.5), np.int64(2), np.array(0.5)):
        assert type(optim.SGD(lr=lr).lr) is float


def test_options_that_do_not_go_together_are_refused():
    for options in (dict(nesterov=True), dict(nesterov=True, momentum=0.9, dampening=0.1),
                    dict(dampening=0.1)):
        with pytest.raises(ValueError, match="needs momentum"):
            optim.SGD(**options)
    with pytest.raises(ValueError, match="needs momentum"):
        optim.SGD(parameters(), nesterov=True, momentum=0.9, overrides={"*": {"momentum": 0.0}})


def test_a_misspelt_option_or_attribute_is_refused_with_the_right_spelling():
    with pytest.raises(TypeError, match="Adam has no option 'weight_deca'; did you mean 'weight_d"):
        optim.Adam(weight_deca=0.1)
    for typo, meant in [("overides", "overrides"), ("frosen", "frozen")]:
        with pytest.raises(TypeError, match=f"did you mean '{meant}'"):
            optim.Adam(**{typo: ()})
    with pytest.raises(AttributeError, match="Keras's beta_1 here: beta1"):
        optim.Adam().beta_1 = 0.5
    with pytest.raises(TypeError, match="has no option 'wd'; here: weight_decay"):
        optim.Adam(wd=0.1)


def test_the_rate_can_be_changed_and_read_at_any_time():
    p = {"w": np.array([0.0])}
    opt = optim.SGD(lr=1.0, decay=0.5)
    rates = []
    for t in range(4):
        if t == 2:
            opt.lr = 3
        rates.append(opt.current_lr)
        opt.update(p, {"w": np.ones(1)})
    assert rates == [1.0, 1 / 1.5, 3 / 2.0, 3 / 2.5]
    assert p["w"][0] == pytest.approx(-sum(rates))


def test_a_schedule_that_gives_no_rate_stops_the_step_before_anything_is_touched():
    params = parameters()
    opt = optim.SGD(params, lr=lambda t: 0.1 if t < 1 else math.nan)
    give_gradients(params)
    opt.step()
    before = values(params)
    with pytest.raises(ValueError, match="the rate that the schedule gives at t=1"):
        opt.step()
    assert moved(params, before) == [] and opt.t == 1


def test_clipping_by_value_by_each_norm_and_by_the_norm_of_all():
    def stepped(**options):
        p = {"a": np.zeros(2), "b": np.zeros(1)}
        optim.SGD(lr=1.0, **options).update(p, {"a": np.array([3.0, -4.0]), "b": np.array([12.0])})
        return np.concatenate([-p["a"], -p["b"]])

    np.testing.assert_allclose(stepped(clip_value=3.5), [3.0, -3.5, 3.5])
    np.testing.assert_allclose(stepped(clip_norm_each=10.0), [3.0, -4.0, 10.0])
    np.testing.assert_allclose(stepped(clip_norm=1.3), np.array([3, -4, 12]) / 10)
    np.testing.assert_allclose(stepped(clip_norm=13.1), [3.0, -4.0, 12.0])
    both = stepped(clip_value=3, clip_norm=1e-3)
    np.testing.assert_allclose(both, np.array([1, -1, 1]) * 1e-3 / 3**0.5)


def test_the_common_norm_leaves_out_what_is_frozen_and_survives_overflow():
    params = {n: Tensor(np.zeros(1, np.float32), requires_grad=True) for n in "ab"}
    opt = optim.SGD(params, lr=1.0, clip_norm=1.0, frozen="a")
    for p in params.values():
        p.grad = np.full(1, 3e30, np.float32)                       # its square is not a float32
    opt.step()
    assert params["b"].item() == pytest.approx(-1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_raises_before_anything_is_touched(bad):
    params = parameters()
    opt = optim.Adam(params, check_finite="raise")
    give_gradients(params)
    opt.step()
    params["layers.1.bias"].grad[1] = bad
    before, state = values(params), str(opt.state_dict())
    with pytest.raises(NonFiniteError, match=r"gradient of 'layers.1.bias' holds nan or inf"):
        opt.step()
    assert moved(params, before) == [] and str(opt.state_dict()) == state
    opt.check_finite = "skip"
    opt.step()
    assert moved(params, before) == [] and (opt.t, opt.skipped) == (1, 1)
    opt.check_finite = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opt.step()
    assert moved(params, before)


def test_large_finite_gradients_pass_the_check():
    p = Tensor(np.zeros(2, np.float32), requires_grad=True)
    opt = optim.SGD({"p": p}, lr=1e-30, check_finite="raise")
    p.grad = np.full(2, 1e30, np.float32)
    opt.step()
    np.testing.assert_allclose(p.data, -1)


# ---- by name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rule"), [
    ("adam", optim.Adam), ("ADAM", optim.Adam), ("rms_prop", optim.RMSprop),
    ("nag", optim.Nesterov), ("RMSProp", optim.RMSprop), ("Ada-Grad", optim.AdaGrad),
    ("gd", optim.SGD), (optim.Lion, optim.Lion),
])
def test_optimizers_are_found_by_name(name, rule):
    assert type(optim.get(name)) is rule


def test_every_rule_has_its_name():
    assert [type(optim.get(n)).__name__.lower() for n in optim.names()] == optim.names()
    assert len(optim.names()) == 11


def test_keras_and_torch_names_of_options_are_understood():
    opt = optim.get("adam", parameters(), learning_rate=0.5, beta_1=0.8, beta_2=0.9, epsilon=1e-3,
                    clipnorm=1, clipvalue=2, global_clipnorm=3)
    assert (opt.lr, opt.beta1, opt.beta2, opt.eps) == (0.5, 0.8, 0.9, 1e-3)
    assert (opt.clip_norm_each, opt.clip_value, opt.clip_norm) == (1, 2, 3)
    assert optim.get("adamw", betas=(0.5, 0.6)).beta2 == 0.6
    assert optim.get("rmsprop", alpha=0.5).rho == 0.5


def test_a_name_may_bring_its_options_along():
    opt = optim.get("sgd:lr=1,decay=1e-3, momentum=.8,nesterov=true", weight_decay=0.1)
    assert repr(opt) == repr(optim.SGD(lr=1, decay=1e-3, momentum=0.8, nesterov=True,
                                       weight_decay=0.1))
    assert optim.get("ADAM:0.5").lr == 0.5
    assert optim.get("adam:amsgrad=false,clip_norm=none").amsgrad is False
    assert optim.get("adam:amsgrad=True").amsgrad is True
    rates = {"adam": False, "adam:.5": True, "adam:learning_rate=1": True, "adam:lr=1": True,
             "adam:beta1=.5": False, "sgd:defaults=nnfs": True}
    assert {text: optim.lookup.says_rate(text) for text in rates} == rates
    assert optim.get("momentum:velocity=mean").velocity == "mean"
    found = optim.minimize(lambda x: (x**2).sum(), [3.0, 1.0], "cg:beta=hessian,restart=2")
    assert found.converged and found.steps == 1
    assert optim.minimize(lambda x: (x**2).sum(), [3.0], "sgd:lr=.5").steps == 1


def test_the_defaults_of_the_texts_are_one_call_away():
    keras = optim.get("rmsprop", defaults="keras")
    assert (keras.lr, keras.rho, keras.eps) == (0.001, 0.9, 1e-7)
    assert optim.get("sgd:defaults=nnfs").lr == optim.get("adagrad", defaults="nnfs").lr == 1
    assert optim.get("rmsprop:rho=.5,defaults=keras").rho == 0.5
    assert optim.get("adadelta", defaults="keras").rho == 0.95
    assert optim.get("adam", epsilon=None).eps == 1e-7 != optim.get("adam").eps
    with pytest.raises(ValueError, match="no defaults are called 'kears'; did you mean 'keras'"):
        optim.get("adam", defaults="kears")


def test_an_optimizer_prints_numbers_and_what_is_not_as_usual():
    assert repr(optim.Adam(bias_correction=False, amsgrad=True)).startswith(
        "Adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08, amsgrad=True, bias_correction=False;")
    assert repr(optim.Nesterov(maximize=True)).startswith(
        "Nesterov(lr=0.01, maximize=True, momentum=0.9; ")


@pytest.mark.parametrize(("call", "says"), [
    (lambda: optim.get("sgd:"), "such as sgd:lr=0.1,momentum=0.9"),
    (lambda: optim.get("sgd:lr=1,0.5"), "such as sgd:lr=0.1,momentum=0.9"),
    (lambda: optim.get("sgd:lr=1,lr=2"), "such as sgd:lr=0.1,momentum=0.9"),
    (lambda: optim.get("sgd:lr=1", lr=2), "lr is given twice"),
    (lambda: optim.get("sgd:lr=fast"), "lr must be a number"),
    (lambda: optim.get("momentum:velocity=step"), "velocity must be one of 'steps'"),
    (lambda: optim.get("sgd", maximize=1), "maximize must be True or False"),
    (lambda: optim.get("adm"), "did you mean 'adam'"),
    (lambda: optim.get("adma"), "did you mean 'adam'"),
    (lambda: optim.get("adamx"), "did you mean 'adamax'"),
    (lambda: optim.get("nesterof"), "did you mean 'nesterov'"),
    (lambda: optim.get("sgd", beta_1=0.5), "SGD has no option 'beta_1'"),
    (lambda: optim.get("adam", learning_rte=0.5), "did you mean 'learning_rate'"),
    (lambda: optim.get("adam", lr=1, learning_rate=0.5), "lr is given twice"),
    (lambda: optim.get(3), "named by a string"),
    (lambda: optim.get(optim.Adam(), lr=1), "set them on it"),
])
def test_a_typo_is_answered_with_the_nearest_right_spelling(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call()


# ---- the engine ----------------------------------------------------------------------------------


def test_training_with_the_engine_lowers_the_loss():
    x, y = tg.data.spiral(30, rng=0)
    rng = np.random.default_rng(0)
    p = {"W": Tensor(rng.standard_normal((2, 32)), requires_grad=True, dtype="float32"),
         "V": Tensor(rng.standard_normal((32, 3)), requires_grad=True, dtype="float32")}
    opt, losses = optim.Adam(p, lr=0.05), []
    for _ in range(100):
        loss = tg.ops.cross_entropy(tg.ops.relu(x @ p["W"]) @ p["V"], y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_no_gradient_at_all_says_to_call_backward():
    opt = optim.Adam(parameters())
    with pytest.raises(GraphError, match=r"no parameter has a gradient: call loss.backward\(\)"):
        opt.step()


def test_a_forgotten_zero_grad_warns_once_and_accumulation_is_silent():
    w = Tensor([1.0], requires_grad=True, name="w")
    opt = optim.SGD({"w": w}, lr=0.1)
    (w * w).sum().backward()
    (w * w).sum().backward()                                        # before the step: accumulation
    opt.step()
    with pytest.warns(UserWarning, match=r"gradient of w .* zero_grad\(\)"):
        (w * w).sum().backward()
    opt.step()
    (w * w).sum().backward()                                        # has been said
    opt.zero_grad()
    assert w.grad is None


def test_a_graph_from_before_the_step_is_stale():
    w = Tensor([1.0], requires_grad=True, name="w")
    opt = optim.SGD({"w": w}, lr=0.1)
    loss = (w * w).sum()
    loss.backward()
    opt.step()
    with pytest.raises(GraphError, match=r"w .* was changed in place"):
        loss.backward()


@pytest.mark.parametrize("bad", [np.ones((5, 2)), np.ones(10), [1.0], "g"])
def test_a_gradient_of_another_shape_is_refused(bad):
    params = parameters()
    give_gradients(params)
    params["layers.0.weight"]._gradient = bad                         # past the door of .grad
    before = values(params)
    opt = optim.SGD(params)
    with pytest.raises((ShapeError, TypeError), match=r"the gradient of 'layers.0.weight'"):
        opt.step()
    assert moved(params, before) == []


# ---- what a step costs, and Ctrl-C ---------------------------------------------------------------


@pytest.mark.parametrize("name", optim.names())
def test_after_the_first_steps_nothing_grows_with_the_number_of_parameters(name):
    peaks = []
    for n in (1_000, 100_000, 400_000):
        p = Tensor(np.ones(n, np.float32), requires_grad=True)
        opt = optim.get(name, {"p": p}, weight_decay=0.1, clip_norm=1.0, check_finite="raise")
        p.grad = np.ones(n, np.float32)
        opt.step()
        opt.step()
        tracemalloc.start()
        opt.step()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 4_000                                       # bytes; 1000 floats are 4000


def interrupted_step(per_parameter, burst):
    """An interrupted step is all there or not at all, for all parameters and for their counts."""
    params = {f"p{i}": Tensor(np.zeros(per_parameter), requires_grad=True) for i in range(6)}
    params |= {f"q{i}": Tensor(np.zeros(50, np.float32), requires_grad=True) for i in range(6)}
    opt = optim.Momentum(params, lr=1.0, momentum=0.5, overrides={"p3": {"lr": 1.0}})
    for p in params.values():
        p.grad = np.ones(p.shape, p.dtype)
    opt.step()
    with interrupted(burst):
        opt.step()
    t, states = opt.t, [s["v"] for s in opt.state.values()]
    assert t in (1, 2)
    assert {float(v) for p in params.values() for v in np.unique(p.data)} == {{1: -1, 2: -2.5}[t]}
    assert {float(x) for v in states for x in np.unique(v)} == {{1: -1, 2: -1.5}[t]}
    assert {r["updates"] for r in opt.state_dict()["parameters"].values()} == {t}
    return t


@posix
@pytest.mark.parametrize("per_parameter", [100, REMEMBER])
@pytest.mark.parametrize("moment, stride", [("line", 1), ("opcode", 3)])
def test_an_interrupted_step_never_leaves_some_parameters_updated_and_others_not(
        per_parameter, moment, stride):
    counts = []
    for n in range(1, 100_000, stride):
        burst = Burst(n, moment=moment)
        counts.append(interrupted_step(per_parameter, burst))
        if not burst.reached:
            break
    assert len(counts) > 20 and {1, 2} == set(counts)       # each was tried, before and after


@posix
@pytest.mark.drill
@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
def test_bursts_of_interrupts_at_random_times_tear_no_step(captured):
    """Four signals each, at some time while a network is trained by one step: 5,000 times."""
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)

    def trained():
        model = nn.MLP([3, 16, 2], rng=0)
        opt = optim.Adam(model.parameters(), lr=optim.schedules.exponential(0.01, 0.999))

        def step(x):
            loss = np.square(model(x)).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()

        return (tg.compile(step) if captured else step), model, opt

    def numbers(model, opt):
        return [a.tobytes() for a in model.state_dict().values()], repr(opt.state_dict())

    (step, *run), (twin_step, *twin) = trained(), trained()
    for each in (step, twin_step):
        usual = usual_time(lambda each=each: each(x))
    code = type(step).__call__.__code__ if captured else step.__code__
    ended = {"interrupted": 0, "stepped": 0, "not stepped": 0}
    with bursts(code, np.random.default_rng(0), usual) as under_a_burst:
        for _ in range(5000):
            old = numbers(*twin)
            twin_step(x)
            ended["interrupted"] += under_a_burst(lambda: step(x))
            now = numbers(*run)
            assert now in (old, numbers(*twin))
            ended["not stepped" if now == old else "stepped"] += 1
            if now == old:
                step(x)
            assert numbers(*run) == numbers(*twin)
    print(ended)
    assert min(ended.values()) > 100


def test_an_error_inside_a_rule_takes_the_step_back():
    class Broken(optim.Momentum):
        def rule(self, p, g, *state, lr, t):
            if t == 2:
                raise RuntimeError("half way")
            return super().rule(p, g, *state, lr=lr, t=t)

    params = parameters()
    opt = Broken(params)
    give_gradients(params)
    opt.step()
    before, state = values(params), str(opt.state_dict())
    with pytest.raises(RuntimeError, match="half way"):
        opt.step()
    assert moved(params, before) == [] and str(opt.state_dict()) == state


@posix
def test_a_held_back_interrupt_arrives_when_the_block_has_ended():
    from tinygrad_opt.checkpoint import uninterrupted

    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("after the signal")
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_tensor_that_requires_no_grad_is_refused_rather_than_never_updated():
    w, fixed = Tensor([1.0], requires_grad=True), Tensor([2.0])
    with pytest.raises(TypeError, match=r"Adam would never update 'b'.*requires_grad=True"):
        optim.Adam({"a": w, "b": fixed})
    with pytest.raises(TypeError, match="would never update 'b'"):
        optim.Adam().bind({"b": fixed})


def test_a_parameter_that_is_frozen_for_a_time_is_taken_and_updated_later():
    model = nn.Linear(2, 1, rng=0).requires_grad_("*", False)
    opt, before = optim.SGD(model.parameters(), lr=1.0), model.weight.data.copy()
    with pytest.raises(GraphError, match=r"none of them requires grad.*requires_grad_\(True\)"):
        opt.step()
    model.requires_grad_("weight")
    model(np.ones((1, 2), np.float32)).sum().backward()
    opt.step()
    np.testing.assert_array_equal(model.weight.data, before - 1)


def test_what_is_printed_tells_options_that_are_no_defaults():
    printed = repr(tg.optim.AdamW(weight_decay=0.0, overrides={"*.weight": {"weight_decay": 0.1}}))
    assert "weight_decay=0.0, " in printed
    assert "overrides={'*.weight': {'weight_decay': 0.1}}" in printed
    assert "overrides" not in repr(tg.optim.AdamW())
