"""Saving and resuming, explaining, and the table of the spiral."""

import copy
import math

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import Tensor, nn, optim
from tinygrad_opt.cli import spiral
from tinygrad_opt.errors import CheckpointError, GraphError, ShapeError
from tinygrad_opt.optim import schedules
from tinygrad_opt.optim.explain import Formula

SHAPES = {"W": (2, 3), "b": (3,), "scale": ()}


def parameters(names=tuple(SHAPES)):
    return {n: Tensor(np.full(SHAPES[n], 0.5, np.float32), requires_grad=True) for n in names}


def run(opt, first, last):
    """Steps first to last, each with its own gradients, by name."""
    for t in range(first, last):
        rng = np.random.default_rng(t)
        for n in SHAPES:
            opt.parameters[n].grad = rng.standard_normal(SHAPES[n]).astype(np.float32)
        opt.step()


def snapshot(opt):
    return {n: p.data.tobytes() for n, p in opt.parameters.items()}


# ---- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", optim.names())
def test_save_and_resume_is_bit_identical_to_never_having_stopped(name, tmp_path):
    def fresh(order):
        return optim.get(name, parameters(order), lr=schedules.cosine(0.1, 30), decay=0.01)

    whole, first = fresh(tuple(SHAPES)), fresh(tuple(SHAPES))
    run(whole, 0, 20)
    run(first, 0, 7)
    tg.save(tmp_path / "state.npz", optimizer=first)
    resumed = fresh(("scale", "W", "b"))                            # another order
    for n, p in resumed.parameters.items():
        p.data = first.parameters[n].data
    resumed.load_state_dict(tg.load(tmp_path / "state.npz")["optimizer"])
    run(resumed, 7, 20)
    assert snapshot(whole).items() == snapshot(resumed).items()
    assert resumed.t == 20


def test_changed_options_frozen_names_overrides_and_a_plateau_are_resumed_too():
    def fresh(**options):
        return optim.SGD(parameters(), lr=schedules.reduce_on_plateau(0.1, patience=0), **options)

    first = fresh()
    run(first, 0, 3)
    first.lr.feed(1.0)
    first.lr.feed(2.0)
    first.momentum, first.overrides = 0.9, {"b": {"lr": 0.5}}
    first.freeze("W")
    run(first, 3, 5)
    second = fresh()
    for n, p in second.parameters.items():
        p.data = first.parameters[n].data
    second.load_state_dict(first.state_dict())
    assert second.current_lr == pytest.approx(0.01) and second.frozen == ("W",)
    run(first, 5, 8)
    run(second, 5, 8)
    assert snapshot(first) == snapshot(second)


def test_schedules_that_remember_are_resumed_all_or_none():
    def fresh():
        first, second = (schedules.reduce_on_plateau(rate, patience=0) for rate in (0.1, 1.0))
        return optim.SGD(parameters(), lr=first, overrides={"b": {"lr": second}})

    first, second = fresh(), fresh()
    for loss in (1.0, 2.0):
        first.lr.feed(loss)
        first.overrides["b"]["lr"].feed(loss)
    state = first.state_dict()
    assert state["schedules"].keys() == {"lr", "overrides.b.lr"}
    second.load_state_dict(state)
    assert second.lr(0) == pytest.approx(0.01)
    assert second.overrides["b"]["lr"](0) == pytest.approx(0.1)
    third, state["schedules"]["overrides.b.lr"] = fresh(), {"nonsense": 1}
    with pytest.raises(CheckpointError, match="state of the schedule does not fit"):
        third.load_state_dict(state)
    assert third.lr(0) == 0.1
    with pytest.raises(TypeError, match="does not support item assignment"):
        copy.deepcopy(first).overrides["b"]["lr"] = 2.0


def test_an_unbound_optimizer_resumes_by_key():
    grads = {"a": np.array([1.0, -2.0])}
    first, p = optim.Adam(lr=0.1), {"a": np.zeros(2)}
    for _ in range(3):
        first.update(p, grads)
    second, q = optim.Adam(lr=0.1), {"a": p["a"].copy()}
    second.load_state_dict(first.state_dict())
    assert second.parameters == {}                                  # none has been seen yet
    first.update(p, grads)
    second.update(q, grads)
    assert np.array_equal(p["a"], q["a"]) and second.t == 4 and second.parameters["a"] is q["a"]


def test_an_unbound_optimizer_that_was_resumed_may_go_on_with_some_keys_only():
    grads = {"a": np.array([1.0, -2.0]), "b": np.ones((2, 3), np.float32)}
    first, p = optim.Adam(lr=0.1), {n: np.zeros_like(g) for n, g in grads.items()}
    for _ in range(2):
        first.update(p, grads)
    second, q = optim.Adam(lr=0.1), {n: a.copy() for n, a in p.items()}
    second.load_state_dict(first.state_dict())
    for keys in ("b", "ab"):
        for opt, arrays in ((first, p), (second, q)):
            opt.update({n: arrays[n] for n in keys}, {n: grads[n] for n in keys})
    assert all(np.array_equal(p[n], q[n]) for n in grads)
    assert str(first.state_dict()) == str(second.state_dict())


def test_a_state_dict_is_a_copy():
    opt = optim.Momentum(parameters())
    run(opt, 0, 1)
    state = opt.state_dict()
    before = state["parameters"]["W"]["state"]["v"].copy()
    run(opt, 1, 2)
    assert np.array_equal(state["parameters"]["W"]["state"]["v"], before)


def summed(vectors, layout):
    """Gradients of two ranks that are the same."""
    for vector in vectors:
        vector *= 2


def test_a_copy_has_the_models_and_the_reduction_of_the_original():
    many = nn.stack([nn.Linear(1, 1, rng=k) for k in range(2)])
    first = optim.SGD(many.parameters(), lr=[0.5, 0.25], reduce=summed)
    for opt in (first, copy.deepcopy(first)):
        for p in opt.parameters.values():
            p.data = np.zeros(p.shape)
            p.grad = np.ones(p.shape)
        opt.step()
        assert [p.data.ravel().tolist() for p in opt.parameters.values()] == [[-1, -0.5]] * 2
        with pytest.raises(ValueError, match="3 rates are for the parameters of as many"):
            opt.lr = [1.0, 2.0, 3.0]
            opt.step()


def spoiled(change):
    opt = optim.Adam(parameters())
    run(opt, 0, 2)
    state = opt.state_dict()
    change(state)
    return state


@pytest.mark.parametrize(("change", "says"), [
    (lambda s: s.pop("t"), "'t' is missing"),
    (lambda s: s.update(rule="SGD"), "saved by SGD"),
    (lambda s: s.update(t=-1), "'t' is -1"),
    (lambda s: s.update(skipped=2**53), "'skipped' is a number of 54 bits"),
    (lambda s: s["parameters"].pop("b"), "'b' is missing"),
    (lambda s: s["parameters"].update(c=s["parameters"]["b"]), "'c' is not a parameter"),
    (lambda s: s["parameters"]["b"].update(shape=[4]), r"'b' was float32 \(4,\)"),
    (lambda s: s["parameters"]["b"]["state"].pop("v"), "'b' has no 'v'"),
    (lambda s: s["parameters"]["b"]["state"].update(v=np.zeros(4)), r"'v' of 'b' is float64"),
    (lambda s: s["parameters"]["b"].pop("state"), "record of 'b' needs"),
    (lambda s: s["parameters"]["b"].update(updates=-1), "-1 updates"),
    (lambda s: s["options"].update(beta1=2.0), "beta1 must be"),
    (lambda s: s["options"].pop("beta1"), "beta1"),
    (lambda s: s["options"].update(lr="schedule"), "lr was a schedule"),
    (lambda s: s.update(frozen=["nothing"]), "no parameter fits 'nothing'"),
])
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_written(change, says):
    opt = optim.Adam(parameters(), lr=0.3)
    run(opt, 5, 6)
    before = str(opt.state_dict())
    with pytest.raises(CheckpointError, match=says):
        opt.load_state_dict(spoiled(change))
    assert str(opt.state_dict()) == before


def test_all_that_does_not_fit_is_listed_at_once():
    def change(state):
        state["parameters"]["b"]["shape"] = [4]
        state["parameters"].pop("W")

    with pytest.raises(CheckpointError, match=r"'W' is missing(.|\n)*'b' was"):
        optim.Adam(parameters()).load_state_dict(spoiled(change))


# ---- explaining ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", optim.names())
def test_an_explanation_ends_in_the_number_that_the_parameter_holds(name, capsys):
    opt = optim.get(name, parameters(), lr=0.1, weight_decay=0.1)
    run(opt, 0, 3)
    opt.explain("W", (1, 2))
    shown = capsys.readouterr().out
    assert "update 3 of W[1, 2]" in shown
    last = shown.splitlines()[-1].split("= ")[-1]
    assert np.float32(last) == opt.parameters["W"].data[1, 2]
    opt.explain("scale")
    assert "update 3 of scale\n" in capsys.readouterr().out


def test_an_explanation_puts_the_numbers_into_the_formula(capsys):
    w = Tensor(np.array([1.0]), requires_grad=True)
    opt = optim.Momentum({"w": w}, lr=0.1)
    for g in (1.0, 2.0):
        w.grad = np.array([g])
        opt.step()
    opt.explain("w", 0)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "v ← μ · v − η · g" in lines
    assert "= 0.9 · (-0.1) − 0.1 · 2" in lines
    assert "= 0.9 + (-0.29)" in lines
    assert lines[-1] == f"= {w.data[0]}"


WHOLE = """
Nesterov, update 2 of w[0]

with
  η = 0.1   (the rate of this step)
  μ = 0.9
  p = 0.81   (before the step)
  g = 2   (the gradient, clipped if asked for)
  v = -0.1

  p ← p + μ² · v − (1 + μ) · η · g
    = 0.81 + 0.9² · (-0.1) − (1 + 0.9) · 0.1 · 2
    = 0.3490000000000001

  v ← μ · v − η · g
    = 0.9 · (-0.1) − 0.1 · 2
    = -0.29

  p = 0.3490000000000001
"""


def test_an_explanation_is_a_page_of_its_own(capsys):
    w = Tensor(np.array([1.0]), requires_grad=True)
    opt = optim.Nesterov({"w": w}, lr=0.1)
    for g in (1.0, 2.0):
        w.grad = np.array([g])
        opt.step()
    opt.explain("w", 0)
    assert capsys.readouterr().out == WHOLE[1:]
    assert repr(opt.formula) == (
        "Nesterov\np ← p + μ² · v − (1 + μ) · η · g\nv ← μ · v − η · g")
    w.data = np.array([0.5])
    with pytest.raises(GraphError, match=r"'w' has been moved since the last step"):
        opt.explain("w", 0)


def test_what_cannot_be_explained_says_why():
    opt = optim.SGD(parameters(), frozen="b")
    with pytest.raises(GraphError, match="no step has been taken"):
        opt.explain("W", (0, 0))
    run(opt, 0, 1)
    with pytest.raises(GraphError, match="did not update 'b'"):
        opt.explain("b", 0)
    with pytest.raises(KeyError, match="no parameter 'w'"):
        opt.explain("w", 0)
    for index in ((0,), (2, 0), 0, (0.5, 0)):
        with pytest.raises(IndexError, match="W"):
            opt.explain("W", index)
    with pytest.raises(IndexError, match=r"say which entry; the first is explain\('W', \(0, 0\)\)"):
        opt.explain("W")
    opt.parameters["W"].data[0, 0] += 1
    with pytest.raises(GraphError, match="has been changed since the last step"):
        opt.explain("W", (0, 0))


def test_a_step_that_was_left_out_is_not_explained():
    p = Tensor([1.0, 2.0], requires_grad=True)
    opt = optim.SGD({"p": p}, lr=0.5, check_finite="skip")
    p.grad = np.ones(2, np.float32)
    opt.step()
    p.grad = np.array([1.0, np.nan], np.float32)
    opt.step()
    with pytest.raises(GraphError, match="the last one was left out"):
        opt.explain("p", 0)
    p.grad = np.ones(2, np.float32)
    opt.step()
    p._gradient = np.ones(3, np.float32)
    with pytest.raises(ShapeError):
        opt.step()
    with pytest.raises(GraphError, match="nothing to explain"):
        opt.explain("p", 0)


def test_a_large_model_is_explained_from_the_next_step_on(capsys):
    p = Tensor(np.zeros(70_000), requires_grad=True)
    opt = optim.Adam({"p": p})
    p.grad = np.ones(70_000)
    opt.step()
    with pytest.raises(GraphError, match="call explain"):
        opt.explain("p", 7)
    opt.step()
    opt.explain("p", 7)
    assert "update 2 of p[7]" in capsys.readouterr().out


def test_formulas_are_typeset_for_notebooks_and_for_terminals():
    formula = optim.Adam(amsgrad=True).formula
    assert isinstance(formula, Formula)
    assert str(formula).splitlines() == [
        "m ← β₁ · m + (1 − β₁) · g", "v ← β₂ · v + (1 − β₂) · g²", "vₘₐₓ ← max(vₘₐₓ, v)",
        "m̂ ← m / (1 − β₁ᵗ)", "v̂ ← vₘₐₓ / (1 − β₂ᵗ)", "p ← p − η · m̂ / (√v̂ + ε)"]
    latex = formula._repr_latex_()
    assert latex.startswith("$$") and r"\frac{\eta\,\hat m}{\sqrt{\hat v} + \varepsilon}" in latex
    decoupled = str(optim.AdamW().formula).splitlines()[0]
    assert decoupled == "p ← p − η · λ · p"


# ---- the table of the textbooks ------------------------------------------------------------------


def test_the_spiral_has_the_nine_rows_and_each_is_learned():
    assert len(spiral.ROWS) == 9
    for row in spiral.ROWS:
        history = spiral.learned(row.optimizer, 0, epochs=60)
        assert history["loss"][0] == pytest.approx(math.log(3), abs=1e-3)    # small first weights
        assert history["loss"][-1] < math.log(3) + 0.01
        assert history["lr"][0] == optim.get(row.optimizer).lr


def test_the_faulty_run_printed_a_rate_that_it_did_not_use():
    """With decay 1e-2 the rate has fallen to a hundredth, and the run is stuck."""
    faulty, undecayed = spiral.ROWS[2], spiral.ROWS[0]
    assert faulty.published[0] in undecayed.published and faulty.rate == pytest.approx(1 / 100.99)
    history = spiral.learned(faulty.optimizer, 0, epochs=2001)
    assert history["lr"][-1] == pytest.approx(1 / 21) and history["accuracy"][-1] < 0.5
    assert spiral.learned(undecayed.optimizer, 0, epochs=2001)["loss"][-1] < 1.0


@pytest.mark.drill
def test_every_published_figure_lies_in_the_range_of_many_seeds_or_is_marked():
    """Adam's is a draw so low that one or two seeds in sixty-four come near it."""
    for row in spiral.ROWS:
        runs = [spiral.learned(row.optimizer, seed) for seed in range(16)]
        for figure, loss in row.published:
            for column, printed, wider in (("accuracy", figure, 0.04), ("loss", loss, 0.1)):
                ends = [run[column][-1] for run in runs]
                inside = min(ends) - wider <= printed <= max(ends) + wider
                assert inside == (not row.remark), (row, column)
