"""Sweeps: the same numbers wherever trials run, nothing lost to errors, nan, Ctrl-C or kill -9."""

import concurrent.futures
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.cli import main
from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.parallel import Sweep, Training, Trial, sweep
from tinygrad_opt.train import Callback, fit

REPOSITORY = Path(__file__).parent.parent
X, Y = tg.data.moons(60, rng=0)
GRID = {"lr": [0.001, 0.01, 0.1], "hidden": [4, 8]}


def descent(lr, rng, start=1.0):
    x = start + rng.normal()
    for _ in range(5):
        x -= lr * 2 * x
    return {"loss": x * x, "x": x}


def outcomes(found):
    return [(trial.number, trial.options, trial.status, trial.values) for trial in found]


def training(**options):
    usual = {"loss": "cross_entropy", "epochs": 3, "batch_size": 16, "metrics": "accuracy",
             "validation_data": (X, Y)}
    return Training(lambda rng, hidden=6: nn.MLP([2, hidden, 2], rng=rng, dtype="float64"), X, Y,
                    **usual | options)


# ---- what is tried -------------------------------------------------------------------------------


def test_a_grid_is_tried_whole_and_a_list_as_it_stands():
    found = sweep(descent, {"lr": [0.1, 0.2], "start": [1.0, 2.0, 3.0]}, seed=0, progress=False)
    assert [tuple(trial.options.values()) for trial in found] == [
        (0.1, 1.0), (0.1, 2.0), (0.1, 3.0), (0.2, 1.0), (0.2, 2.0), (0.2, 3.0)]
    given = [{"lr": 0.3}, {"lr": 0.1, "start": 5.0}]
    assert [trial.options for trial in sweep(descent, given, seed=0, progress=False)] == given


def test_a_sampler_draws_the_same_options_for_the_same_seed():
    def sampler(rng):
        return {"lr": float(10 ** rng.uniform(-4, -1))}

    runs = [sweep(descent, sampler, trials=4, seed=seed, progress=False) for seed in (0, 0, 1)]
    assert outcomes(runs[0]) == outcomes(runs[1]) != outcomes(runs[2])
    more = sweep(descent, sampler, trials=6, seed=0, progress=False)
    assert outcomes(more)[:4] == outcomes(runs[0])


@pytest.mark.parametrize("space, options, error, said", [
    ({}, {"trials": 0}, ValueError, "trials"),
    ([], {}, ValueError, "nothing to try"),
    ({"lr": []}, {}, ValueError, "nothing to try"),
    ({"lr": 0.1}, {}, TypeError, "a list of values for 'lr'"),
    ({"lr": "adam"}, {}, TypeError, "a list of values for 'lr'"),
    (lambda rng: {}, {}, ValueError, r"trials=20"),
    ({"lr": [0.1]}, {"jobs": 0}, ValueError, "jobs is a number of processes"),
    ({"lr": [0.1]}, {"backend": "ray"}, TypeError, 'backend is "joblib", a Dask client'),
    ({"lr": [0.1]}, {"mode": "most"}, ValueError, "mode must be"),
    (None, {}, TypeError, "a grid, a list of options or a sampler"),
    ("lr", {}, TypeError, "a grid, a list of options or a sampler"),
    ([0.1], {}, TypeError, "values by name, got 0.1"),
    ({1: [0.1]}, {}, TypeError, "values by name, got {1: 0.1}"),
    (lambda rng: 0.1, {"trials": 1}, TypeError, "values by name, got 0.1"),
])
def test_what_makes_no_sense_is_refused(space, options, error, said):
    ran = []

    def train(rng, **given):
        ran.append(given)
        return descent(rng=rng, **given)

    with pytest.raises(error, match=said):
        sweep(train, space, seed=0, progress=False, **options)
    assert not ran                                         # hours later would be too late


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="train is a function that trains with some options"):
        sweep(3, {"lr": [0.1]}, progress=False)


def test_what_is_compared_does_not_depend_on_who_ends_first(monkeypatch):
    monkeypatch.setattr("tinygrad_opt.parallel.trials._completed",
                        lambda run, tasks, jobs, backend: map(run, reversed(tasks)))
    found = sweep(lambda rng, name: {name: 1.0}, {"name": ["a", "b"]}, seed=0, progress=False)
    assert found.by == "a"


# ---- the same numbers everywhere -----------------------------------------------------------------


def test_each_trial_draws_from_its_own_child_of_the_seed():
    found = sweep(descent, {"lr": [0.0, 0.0, 0.0]}, seed=7, progress=False)
    drawn = [np.random.default_rng(child).normal()
             for child in np.random.SeedSequence(7).spawn(3)]
    assert [trial.values["x"] - 1.0 for trial in found] == pytest.approx(drawn, rel=1e-12)


@pytest.mark.parametrize("train", [descent, training(), training(stack=False)],
                         ids=["function", "stacked", "one by one"])
def test_two_jobs_give_what_one_gives(train):
    pytest.importorskip("joblib")
    space = {"lr": [0.1, 0.01]} if train is descent else GRID
    one, two = (sweep(train, space, seed=0, jobs=jobs, progress=False) for jobs in (1, 2))
    assert outcomes(one) == outcomes(two)


def test_executors_give_what_one_process_gives():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = sweep(descent, {"lr": [0.1, 0.01, 0.2]}, seed=0, backend=pool, progress=False)
    assert outcomes(found) == outcomes(
        sweep(descent, {"lr": [0.1, 0.01, 0.2]}, seed=0, progress=False))


def test_dask_gives_what_one_process_gives(tmp_path):
    pytest.importorskip("distributed")
    code = """
from distributed import Client, LocalCluster
from tests.test_sweep import descent, outcomes, training, GRID, sweep
if __name__ == "__main__":
    with LocalCluster(2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        with Client(cluster) as client:
            for train, grid in (descent, {"lr": [0.1, 0.01, 0.2]}), (training(), GRID):
                found = sweep(train, grid, seed=0, backend=client, progress=False)
                assert outcomes(found) == outcomes(sweep(train, grid, seed=0, progress=False))
    print("equal")
"""
    (tmp_path / "run.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "DASK_TEMPORARY_DIRECTORY":
                                str(tmp_path)}
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=240)
    assert "equal" in done.stdout, done.stderr


def test_layers_without_a_generator_draw_from_the_trial_too():
    def train(rng, lr):
        return float(nn.Linear(2, 2).weight.data.sum())

    nn.init.seed(3)
    before = nn.init.generator().bit_generator.state
    one = sweep(train, {"lr": [1, 2]}, seed=0, progress=False)
    assert nn.init.generator().bit_generator.state == before
    nn.init.seed(4)
    assert outcomes(one) == outcomes(sweep(train, {"lr": [1, 2]}, seed=0, progress=False))
    assert one[0].values != one[1].values


# ---- stacked by itself ---------------------------------------------------------------------------


def test_networks_of_equal_shapes_are_trained_as_one_each_as_by_itself():
    together, alone = (sweep(training(stack=stack), GRID, seed=0, progress=False)
                       for stack in (True, False))
    for one, other in zip(together, alone):
        assert one.options == other.options and one.status == other.status
        assert one.values == pytest.approx(other.values, rel=1e-10)


def test_which_trials_are_trained_as_one_depends_on_their_options_alone():
    train = training()
    settings = [{"lr": 0.1}, {"lr": 0.2, "hidden": 5}, {"lr": 0.3}, {"optimizer": "sgd"},
                {"lr": 0.4, "batch_size": 8}, *[{"lr": 1 + k} for k in range(8)]]
    assert train.groups(settings) == [[0, 2, 5, 6, 7, 8, 9, 10], [11, 12], [1], [3], [4]]


@pytest.mark.parametrize("train", [
    training(stack=False), training(fit={"accumulate": 2}), training(loss=lambda p, y: p.mean()),
    Training(lambda rng: nn.MLP([2, 4, 2], norm="batch", rng=rng), X, Y),
    Training(lambda rng: nn.MLP([2, 4, 2], dropout=0.1), X, Y),
    Training(lambda rng: nn.MLP([2, 200, 200, 2], rng=rng), X, Y),
    training(optimizer="adam:clip_norm=1"),
])
def test_what_cannot_be_trained_as_one_is_trained_alone(train):
    assert train.groups([{"lr": 0.1}, {"lr": 0.2}]) == [[0], [1]]


def test_models_that_diverge_are_told_from_the_others():
    found = sweep(training(optimizer="sgd"), {"lr": [0.01, 1e200]}, seed=0, progress=False)
    assert [trial.status for trial in found] == ["done", "diverged"]


def test_a_group_that_fails_is_run_one_by_one():
    """Models of equal shapes of which one cannot be made."""
    made = []

    def model(rng):
        made.append(rng)
        if len(made) == 4:                                 # the second of the group
            raise RuntimeError("no memory")
        return nn.MLP([2, 4, 2], rng=rng)

    found = sweep(Training(model, X, Y, epochs=1), {"lr": [0.1, 0.2]}, seed=0, progress=False)
    assert [trial.status for trial in found] == ["done", "done"]


# ---- what ends badly -----------------------------------------------------------------------------


def awkward(lr, rng):
    if lr == 1:
        raise ValueError("no such rate")
    return {0: 0.5, 2: math.nan, 3: math.inf, 4: 0.25}[lr]


def test_failed_and_diverged_trials_are_kept_below_the_others():
    found = sweep(awkward, {"lr": range(5)}, seed=0, progress=False)
    assert [trial.status for trial in found] == ["done", "failed", "diverged", "diverged", "done"]
    assert [trial.number for trial in found.ranked()] == [4, 0, 2, 3, 1]
    assert found[1].error == "ValueError: no such rate"
    assert found.best.options == {"lr": 4}
    assert "ValueError: no such rate" in str(found)
    assert repr(found) == "<Sweep of 5 trials: 2 done, 2 diverged, 1 failed>"


def test_without_any_that_is_done_there_is_no_best():
    with pytest.raises(ValueError, match="none of 1 trials is done: ValueError: no such rate"):
        _ = sweep(awkward, {"lr": [1]}, seed=0, progress=False).best


def test_another_value_may_decide():
    found = sweep(descent, {"lr": [0.1, 0.2]}, seed=0, by="x", mode="max", progress=False)
    assert found.best.values["x"] == max(trial.values["x"] for trial in found)
    found = sweep(training(), {"lr": [0.1, 0.001]}, seed=0, by="val_accuracy", progress=False)
    assert found.mode == "max"
    missing = sweep(descent, {"lr": [0.1]}, seed=0, by="score", progress=False)
    assert missing[0].status == "failed" and "it gave no 'score'" in missing[0].error


def test_the_last_row_of_a_history_counts():
    def train(rng, lr):
        return fit(nn.MLP([2, 4, 2], rng=rng), X, Y, loss="cross_entropy", epochs=2, seed=0,
                   progress=False, validation_data=(X, Y))

    values = sweep(train, {"lr": [1]}, seed=0, progress=False)[0].values
    assert {"loss", "val_loss"} <= values.keys() and not {"epoch", "seconds"} & values.keys()


# ---- the log -------------------------------------------------------------------------------------


def test_a_sweep_goes_on_from_its_log(tmp_path):
    log, calls = tmp_path / "deep" / "log.jsonl", []

    def train(lr, rng):
        calls.append(lr)
        if lr == 0.3 and len(calls) == 3:
            raise OSError("disk full")
        return descent(lr, rng)

    whole = sweep(descent, {"lr": [0.1, 0.2, 0.3]}, seed=5, progress=False)
    first = sweep(train, {"lr": [0.1, 0.2, 0.3]}, seed=5, resume=log, progress=False)
    assert [trial.status for trial in first] == ["done", "done", "failed"]
    again = sweep(train, {"lr": [0.1, 0.2, 0.3]}, resume=log, progress=False)
    assert calls == [0.1, 0.2, 0.3, 0.3]                   # what failed is tried again
    assert outcomes(again) == outcomes(whole)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_short_costs_its_trial_alone(tmp_path, cut):
    log, grid = tmp_path / "log.jsonl", {"lr": [0.1, 0.2, 0.3]}
    whole = sweep(descent, grid, seed=0, resume=log, progress=False)
    log.write_bytes(log.read_bytes()[:-cut])
    assert outcomes(sweep(descent, grid, resume=log, progress=False)) == outcomes(whole)
    lines = log.read_text().splitlines()
    assert json.loads(lines[-1])["number"] == 2
    calls = []
    sweep(lambda lr, rng: calls.append(lr), grid, resume=log, progress=False)
    assert not calls


def test_numbers_come_back_as_they_were(tmp_path):
    log = tmp_path / "log.jsonl"
    space = [{"lr": np.float64(2), "kind": nn.relu}, {"lr": 3}, {"lr": 0}]

    def train(lr, rng, kind=None):
        return {"loss": awkward(int(lr), rng), "third": 1 / 3}

    one = sweep(train, space, seed=0, resume=log, progress=False)
    two = sweep(train, space, seed=0, resume=log, progress=False)
    assert repr(outcomes(one)) == repr(outcomes(two))


@pytest.mark.parametrize("seed, grid, said", [
    (1, {"lr": [0.1, 0.2]}, "with seed 0, not 1"),
    (0, {"lr": [0.1, 0.3]}, "another sweep: its trial 1"),
    (0, {"lr": [0.1]}, "another sweep: its trial 1"),
])
def test_the_log_of_another_sweep_is_refused(tmp_path, seed, grid, said):
    log = tmp_path / "log.jsonl"
    sweep(descent, {"lr": [0.1, 0.2]}, seed=0, resume=log, progress=False)
    before = log.read_bytes()
    with pytest.raises(ValueError, match=said):
        sweep(descent, grid, seed=seed, resume=log, progress=False)
    assert log.read_bytes() == before


@pytest.mark.parametrize("text", [
    '{"a": 1}\n', "[1, 2]\n", '{"number": 0, "other": 1}\n', "3\n", '{"seed": -1}\n',
    '{"seed": "x"}',
    '{"number": 0, "options": {}, "status": "well", "values": {}, "seconds": 0, "error": ""}',
    '{"number": 0, "options": {}, "status": "done", "values": {"a": 1}, "seconds": 0, "error": 2}',
])
def test_a_file_that_is_no_log_is_refused(tmp_path, text):
    log = tmp_path / "log.jsonl"
    log.write_text(text)
    with pytest.raises(CheckpointError, match="is no log of a sweep"):
        sweep(descent, {"lr": [0.1]}, seed=0, resume=log, progress=False)


KILLED = """
import os, signal, sys, time
from tests.test_sweep import descent
from tinygrad_opt.parallel import sweep
def train(lr, rng):
    if lr == 0.3 and "kill" in sys.argv:
        os.kill(os.getppid() if "--jobs" in sys.argv else os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return descent(lr, rng)
found = sweep(train, {"lr": [0.1, 0.2, 0.3, 0.4]}, seed=0, resume="log.jsonl", progress=False)
"""


def test_a_killed_sweep_loses_no_finished_trial(tmp_path):
    (tmp_path / "run.py").write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run([sys.executable, "run.py", "kill"], cwd=tmp_path, env=environment,
                            timeout=120)
    assert killed.returncode == -9
    log = tmp_path / "log.jsonl"
    assert [json.loads(line).get("number") for line in log.read_text().splitlines()] == [None, 0, 1]
    found = sweep(descent, {"lr": [0.1, 0.2, 0.3, 0.4]}, resume=log, progress=False)
    assert outcomes(found) == outcomes(
        sweep(descent, {"lr": [0.1, 0.2, 0.3, 0.4]}, seed=0, progress=False))


@pytest.mark.parametrize("returned", [lambda history: history, lambda history: history["loss"][-1]],
                         ids=["a history", "a number"])
def test_ctrl_c_ends_the_sweep_also_inside_of_a_training(tmp_path, returned):
    import signal

    class Interrupt(Callback):
        def on_epoch(self, run):
            signal.raise_signal(signal.SIGINT)

    def train(lr, rng):
        callbacks = [Interrupt()] if lr == 0.2 else []
        return returned(fit(nn.MLP([2, 4, 2], rng=rng), X, Y, loss="cross_entropy", epochs=2,
                            seed=0, callbacks=callbacks, progress=False))

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = sweep(train, {"lr": [0.1, 0.2, 0.3]}, seed=0, resume=tmp_path / "log.jsonl",
                      progress=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert found.stopped == "interrupted" and "stopped: interrupted" in str(found)
    assert [trial.options["lr"] for trial in found] == [0.1]


# ---- what is shown -------------------------------------------------------------------------------


FOUND = Sweep([
    *[Trial(k, {"lr": lr, "optimizer": name}, "done", {"loss": 0.1 + k, "accuracy": 0.5})
      for k, (lr, name) in enumerate([(0.1, "adam"), (0.01, "adam"), (0.1, "sgd")])],
    Trial(3, {"lr": 0.01, "optimizer": "sgd"}, "diverged", {"loss": math.nan}),
    Trial(4, {"lr": 0.01, "optimizer": "sgd"}, "failed", {}, 0.0, "KeyError: 'a'")])


def test_progress_is_a_line_for_each_trial(capsys):
    sweep(awkward, {"lr": [0, 1, 2]}, seed=0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "1/3  lr=0: loss 0.5 ", "2/3  lr=1: ValueError: no such rate ",
        "3/3  lr=2: loss nan  diverged "]


def test_the_table_is_saved_and_shown(tmp_path):
    text = FOUND.save(tmp_path / "new" / "trials.csv").read_text().splitlines()
    assert text[0] == "trial,lr,optimizer,loss,accuracy,status,seconds" and len(text) == 6
    assert FOUND._repr_html_().count("<tr>") == 6
    assert str(FOUND).splitlines()[1].split()[:4] == ["0", "0.1", "adam", "0.1"]
    assert str(Sweep([])) == "no trials"
    assert FOUND[1:3] == list(FOUND)[1:3]


def test_the_heat_map_holds_the_best_value_of_each_pair():
    pytest.importorskip("matplotlib")
    made = FOUND.plot()
    ax, = made.axes
    assert ax.get_xlabel() == "lr" and ax.get_ylabel() == "optimizer"
    assert [t.get_text() for t in ax.texts] == ["1.1", "0.1", "×", "2.1"]
    turned = FOUND.plot(x="optimizer", y="lr", theme="dark").axes[0]
    assert [t.get_text() for t in turned.texts] == ["1.1", "×", "0.1", "2.1"]
    row = FOUND.plot(x="lr").axes[0]
    assert len(row.texts) == 4
    with pytest.raises(ValueError, match="no option is called 'rate'"):
        FOUND.plot(x="rate")
    with pytest.raises(ValueError, match="needs an option that differs"):
        Sweep([Trial(0, {"lr": 1}, "done", {"loss": 1.0})]).plot()


def test_options_that_cannot_be_ordered_are_drawn():
    pytest.importorskip("matplotlib")
    found = sweep(lambda rng, at: rng.random(), {"at": [np.array([1, 2]), np.array([1, 3])]},
                  seed=0, progress=False)
    assert len(found.plot().axes[0].texts) == 2
    assert found.plot_parallel().axes


def test_parallel_coordinates_draw_every_trial_and_cross_out_the_lost():
    pytest.importorskip("matplotlib")
    ax, = FOUND.plot_parallel(theme="dark").axes
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(lines) == 5 and len(crosses) == 2
    thick = max(lines, key=lambda line: line.get_linewidth())
    assert thick.get_ydata()[-1] == 0                      # the best loss is the lowest
    with pytest.raises(ValueError, match="options that differ"):
        Sweep([]).plot_parallel()


# ---- on the command line -------------------------------------------------------------------------


def test_sweep_as_it_is_typed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    typed = ["sweep", "digits", "--lr", "1e-3,1e-2", "--optimizer", "adam,sgd", "--epochs", "2"]
    assert main(typed) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "digits: 4 trials of a network 64-32-10"
    assert out.splitlines()[1].split()[:3] == ["trial", "optimizer", "lr"]
    assert len(err.splitlines()) == 4
    folder = tmp_path / "runs" / "sweep-digits"
    assert (folder / "trials.jsonl").exists() and (folder / "trials.csv").exists()
    before = (folder / "trials.jsonl").read_bytes()
    assert main([*typed, "--resume"]) == 0
    assert capsys.readouterr().err == ""                   # nothing was left to be run
    assert (folder / "trials.jsonl").read_bytes() == before


def test_sweep_says_what_does_not_go_together(tmp_path, capsys):
    assert main(["sweep", "moons", "--lr", "0.1", "--optimizer", "adam:0.2",
                 "--out", str(tmp_path)]) == 2
    assert "adam:0.2 has its rate, and --lr 0.1 says another" in capsys.readouterr().err


def values_of_sweep(tmp_path, *more):
    folder = tmp_path / "-".join(more)
    assert main(["sweep", "moons", "--lr", "0.1", "--epochs", "4", "--quiet", "--out", str(folder),
                 *more]) == 0
    _, line = (folder / "trials.jsonl").read_text().splitlines()
    return json.loads(line)["values"]


@pytest.mark.parametrize("more", [
    ("--init", "0.01"), ("--schedule", "cosine"), ("--schedule", "exponential:rate=.9"),
    ("--schedule", "plateau:patience=1,min_delta=9"), ("--clip-norm", "0.01"),
], ids=" ".join)
def test_sweep_takes_what_train_takes(tmp_path, more):
    plain, told = values_of_sweep(tmp_path), values_of_sweep(tmp_path, *more)
    assert told.keys() == plain.keys() and told["loss"] != plain["loss"]


def test_sweep_says_what_makes_no_sense_before_it_trains(tmp_path, capsys):
    assert main(["sweep", "moons", "--optimizer", "sgd,adam:clip_norm=1", "--clip-norm", "2",
                 "--out", str(tmp_path)]) == 2
    assert "another norm" in capsys.readouterr().err and not (tmp_path / "trials.jsonl").exists()


def test_sweep_tries_usual_rates_and_several_starts(tmp_path):
    assert main(["sweep", "moons", "--optimizer", "adam,sgd:lr=0.5,decay=1e-3", "--seeds", "2",
                 "--epochs", "1", "--quiet", "--out", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["options"] for line in lines[1:]] == [
        {"optimizer": "adam", "lr": 0.02, "start": 0},
        {"optimizer": "adam", "lr": 0.02, "start": 1},
        {"optimizer": "sgd:lr=0.5,decay=1e-3", "start": 0},
        {"optimizer": "sgd:lr=0.5,decay=1e-3", "start": 1}]
    assert lines[1]["values"] != lines[2]["values"]


# ---- drills --------------------------------------------------------------------------------------


def one_second(lr, rng):
    time.sleep(1)
    return descent(lr, rng)


@pytest.mark.drill
def test_two_jobs_take_little_more_than_half_the_time():
    pytest.importorskip("joblib")
    grid = {"lr": np.linspace(0.01, 0.3, 32).tolist()}
    seconds = {}
    for jobs in (2, 1):
        start = time.perf_counter()
        found = sweep(one_second, grid, seed=0, jobs=jobs, progress=False)
        seconds[jobs] = time.perf_counter() - start
    print(f"\n32 trials of a second: {seconds[1]:.1f} s on one job, {seconds[2]:.1f} s on two,"
          f" {seconds[1] / seconds[2]:.2f} times as fast")
    assert len(found) == 32
