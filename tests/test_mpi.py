"""Training on several ranks: what one process would do, the same bits on all, and no rank waits.

`mpi_programs.py` holds what the ranks run.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.errors import GraphError

pytest.importorskip("mpi4py.MPI", exc_type=ImportError)

HERE = Path(__file__).parent
MPIEXEC = Path(sys.executable).parent / "mpiexec"
pytestmark = pytest.mark.skipif(not MPIEXEC.exists(), reason="mpiexec is not beside this Python")


def started(folder, n, *words, module=("-m", "mpi4py"), timeout=120):
    """A program on n ranks, in a folder."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "MPI", "HYDI"))}
    environment |= {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1", "MPIR_CVAR_CH4_PROGRESS_THROTTLE": "1"}
    return subprocess.run([MPIEXEC, "-n", str(n), sys.executable, *module, HERE / "mpi_programs.py",
                           *map(str, words)], cwd=folder, env=environment, capture_output=True,
                          text=True, timeout=timeout)


def ranks(folder, n, *words, **options):
    """What each rank has told."""
    done = started(folder, n, *words, **options)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank-{r}.json").read_text()) for r in range(n)]


def equal(found):
    first, *others = found
    for other in others:
        assert other == first
    return first


def alone(name, *words):
    """The same program in this process, which is one rank."""
    import mpi_programs

    return json.loads(json.dumps(getattr(mpi_programs, name)(*map(str, words))))


def close(one, other, rtol=1e-12):
    for a, b in zip(one["values"], other["values"], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


# ---- what one process would do -------------------------------------------------------------------


@pytest.mark.parametrize("compile, n, dtype", [
    ("True", 2, "float32"), ("native", 2, "float64"), ("False", 3, "float32")])
def test_parameters_are_the_same_bits_on_all_ranks(tmp_path, compile, n, dtype):
    if compile == "native":
        pytest.importorskip("llvmlite")
    found = equal(ranks(tmp_path, n, "fit", compile, 101, 20, 84 if n == 2 else 10, dtype))
    assert len(found["steps"]["loss"]) == (504 if n == 2 else 60)


@pytest.mark.parametrize("n", [2, 3])
def test_a_step_is_that_of_one_process(tmp_path, n):
    """Shards of 50 and 51 samples, of 3 and 4, of 1 and 0."""
    sizes = [(101, 101), (7, 7), (2, 2), (1, 1)]
    words = "several", "fit", *(
        f"None {samples} {batch} 1 float64 sgd:lr=0.5,clip_value=0.1" for samples, batch in sizes)
    for two, one in zip(equal(ranks(tmp_path, n, *words)), alone(*words), strict=True):
        close(two, one)


@pytest.mark.parametrize("compile", ["False", "True"])
def test_a_whole_training_is_that_of_one_process(tmp_path, compile):
    words = "fit", compile, 101, 20, 3
    one, two = alone(*words), equal(ranks(tmp_path, 2, *words))
    close(one, two, 1e-9)
    assert two["columns"].keys() == one["columns"].keys()
    for name, column in one["columns"].items():
        np.testing.assert_allclose(two["columns"][name], column, rtol=1e-8, err_msg=name)
    np.testing.assert_allclose(two["steps"]["loss"], one["steps"]["loss"], rtol=1e-8)


def test_options_do_what_they_do_in_one_process(tmp_path):
    words = "several", "options", "accumulate=3", "validation_data=(X,Y)", "batch_size=1", (
        "epochs=0"), "optimizer='sgd:lr=0.1,clip_norm=0.01,check_finite=raise'", "compile='check'"
    for two, one in zip(equal(ranks(tmp_path, 2, *words)), alone(*words), strict=True):
        close(one, two, 1e-9)
        for name, column in one["columns"].items():
            np.testing.assert_allclose(two["columns"][name], column, rtol=1e-7, err_msg=name)


@pytest.mark.parametrize("backend", ["no", "numpy", "native"])
def test_a_loop_of_ones_own_is_that_of_one_process(tmp_path, backend):
    """Shards of 7 and 94 samples, clipped."""
    if backend == "native":
        pytest.importorskip("llvmlite")
    found = equal(ranks(tmp_path, 2, "own_loop", backend))
    import mpi_programs as programs

    made = programs.model()
    opt = tg.optim.Adam(made.parameters(), lr=0.02, clip_norm=0.5)
    for _ in range(10):
        opt.zero_grad()
        tg.nn.cross_entropy(made(programs.X), programs.Y).backward()
        opt.step()
    close(found, {"values": [p.data.tolist() for p in made.parameters().values()]}, 1e-11)


# ---- ranks that do not do the same ---------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 16])
def test_ranks_may_use_other_parameters(tmp_path, bits):
    found = equal(ranks(tmp_path, 2, "branches", bits))
    assert found["counts"] == {"a": 4, "b": 4, "c": 2, "d": 0} and found["t"] == 6
    assert found["d"] == [1, 1, 1] and found["grads"] == [False, False, True, False]


def test_ranks_with_other_parameters_are_an_error_on_all(tmp_path):
    said = {"shape": r"a is float64 \(2,\) on rank 0 and float64 \(3,\) on rank",
            "dtype": r"a is float64 \(2,\) on rank 0 and float32 \(2,\) on rank",
            "name": r"b is float64 \(2,\) on rank 0 and missing on rank",
            "order": "order differs on ranks 0 and"}
    for found in ranks(tmp_path, 2, "several", "differ", *said, timeout=60):
        for one, words in zip(found, said.values(), strict=True):
            assert re.search(f"the ranks differ in their parameters: .*{words}", one["error"])


@pytest.mark.parametrize("said", [
    "batch_size is 20 on rank 0 and 21 on rank 1", "compile is False on rank 0 and native on rank",
    "the loss is cross_entropy on rank 0 and l1_loss on rank 1"])
def test_ranks_with_other_options_are_an_error_on_all(tmp_path, said):
    one = said.split(" is ")[0].removeprefix("the ")
    for found in ranks(tmp_path, 2, "differ_in_fit", one, timeout=60):
        assert found["error"].startswith(f"the ranks differ in their training: {said}")


@pytest.mark.parametrize("what", ["lr", "value"])
def test_ranks_that_drift_apart_are_an_error_on_all(tmp_path, what):
    for found in ranks(tmp_path, 2, "drift", what, timeout=60):
        assert re.match(r"the ranks differ in their parameters after epoch 2 .*"
                        r"layers\.0\.weight is \w{8} on rank 0 and \w{8} on rank 1",
                        found["error"])


@pytest.mark.parametrize("words, module", [
    (("bad", "raise"), ()), (("bad", "raise"), ("-m", "mpi4py")), (("bad", "kill"), ()),
    (("own_bad", "raise"), ()), (("own_bad", "kill"), ("-m", "mpi4py")),
    (("bad", "interrupt twice"), ())])
def test_a_rank_that_fails_ends_the_others(tmp_path, words, module):
    done = started(tmp_path, 2, *words, module=module, timeout=60)
    assert done.returncode not in (0, None)
    assert not list(tmp_path.glob("rank-*.json"))
    if "raise" in words:
        assert "RuntimeError: rank failed" in done.stderr


@pytest.mark.parametrize("what, reason", [("interrupt", "interrupted"), ("stop", "enough")])
def test_a_stop_on_one_rank_stops_all_after_the_same_step(tmp_path, what, reason):
    found = equal(ranks(tmp_path, 2, "bad", what, timeout=60))
    assert found["stopped"] == reason and len(found["steps"]["loss"]) == 7
    at_the_end = equal(ranks(tmp_path, 2, "bad", what, 12, timeout=60))    # of an epoch
    assert len(at_the_end["steps"]["loss"]) == 12 and len(at_the_end["columns"]["epoch"]) == 2


def test_early_stopping_stops_all_and_puts_the_best_weights_back(tmp_path):
    found = equal(ranks(tmp_path, 2, "early"))
    assert "has not been better" in found["stopped"]
    one = alone("early")
    assert found["columns"]["epoch"] == one["columns"]["epoch"]


def test_nan_on_one_rank_stops_all_before_the_step(tmp_path):
    first, second = ranks(tmp_path, 2, "nonfinite")
    assert first["digest"] == second["digest"] and first["stopped"] == second["stopped"]
    assert "loss" in first["stopped"] and first["finite"] and not first["steps"]["loss"]


def test_all_know_what_is_wrong_with_the_samples_of_one(tmp_path):
    found = equal(ranks(tmp_path, 2, "noticed"))
    assert len(found["hints"]) == 1 and re.fullmatch(
        "x holds nan in 4 of 404 entries, .* in 1 of 101 samples: look at the data.",
        found["hints"][0])


# ---- files and random numbers --------------------------------------------------------------------


def test_one_rank_writes(tmp_path):
    folder = tmp_path / "run"
    ranks(tmp_path, 2, "files", folder)
    assert len((folder / "log.csv").read_text().splitlines()) == 4
    assert sorted(path.suffix for path in folder.iterdir())[0] == ".csv"


def test_an_interrupted_command_writes_before_all_ranks_end(tmp_path):
    done = started(tmp_path, 2, "interrupted_command", tmp_path / "run", timeout=60)
    assert done.returncode == 130, done.stderr
    assert sorted(os.listdir(tmp_path / "run")) == ["graph.svg", "history.csv", "weights.npz"]


@pytest.mark.parametrize("dropout", ["no", "yes"])
def test_a_run_goes_on_to_the_bit(tmp_path, dropout):
    for found in ranks(tmp_path, 2, "resumed", tmp_path / "run.npz", dropout):
        assert found["digest"] == found["whole"] and found["epochs"] == 3


def test_all_start_from_the_optimizer_of_rank_0(tmp_path):
    found = equal(ranks(tmp_path, 2, "state"))
    assert found["t"] == 3 + 18 and found["lr"] == 0.01


def test_dropout_draws_apart_and_running_statistics_are_the_mean(tmp_path):
    first, second = ranks(tmp_path, 2, "noise")
    assert first["digest"] == second["digest"] and first["buffers"] == second["buffers"]
    assert first["mask"] != second["mask"]
    assert first["columns"] == second["columns"]


# ---- less to send --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2])
def test_local_steps_end_at_the_same_parameters(tmp_path, n):
    found = equal(ranks(tmp_path, n, "variant", 4, 32))
    assert found["columns"]["loss"][-1] < 0.6 * found["columns"]["loss"][0]
    short = equal(ranks(tmp_path, n, "variant", 4, 32, 1))
    assert len(short["steps"]["loss"]) == 6


@pytest.mark.parametrize("n", [3])
def test_sixteen_bits_train_as_well(tmp_path, n):
    half = equal(ranks(tmp_path, n, "variant", 1, 16, 10, "sgd:lr=0.5"))
    whole = equal(ranks(tmp_path, n, "variant", 1, 32, 10, "sgd:lr=0.5"))
    assert half["digest"] != whole["digest"]
    assert half["columns"]["loss"][-1] == pytest.approx(whole["columns"]["loss"][-1], rel=1e-3)


# ---- how it is started ---------------------------------------------------------------------------


def test_a_world_of_another_size_is_refused(tmp_path):
    for found in ranks(tmp_path, 2, "sizes"):
        assert "mpi(size=5): there are 2 ranks" in found["error"]


def test_a_launcher_of_another_mpi_is_noticed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c",
         "from tinygrad_opt.parallel import mpi; mpi.rank"], cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("PMI")} | {
            "OMPI_COMM_WORLD_SIZE": "2", "PYTHONPATH": str(HERE.parent)},
        capture_output=True, text=True, timeout=60)
    assert "belong to different MPIs" in done.stderr


def test_arrays_are_cut_into_parts(tmp_path):
    found = ranks(tmp_path, 3, "pieces")
    assert [k for f in found for k in f["a"]] == [*range(7)]
    assert [k for f in found for k in f["b"]] == [10 * k for k in range(7)]
    assert [k for f in found for k in f["alone"]] == [0, 1]
    assert [f["share"] for f in found] == [len(f["a"]) / 7 for f in found]


def test_a_pool_of_ranks_runs_a_sweep(tmp_path):
    done = started(tmp_path, 3, "pool", module=("-m", "mpi4py.futures"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "rank-0.json").read_text()) == {"equal": True}


def test_train_on_ranks_as_it_is_typed(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PMI")} | {
        "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [MPIEXEC, "-n", "2", sys.executable, "-m", "mpi4py", "-m", "tinygrad_opt", "train",
         "digits", "--epochs", "2", "--parallel", "mpi"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1
    assert sorted(os.listdir(tmp_path / "runs" / "digits")) == [
        "graph.svg", "history.csv", "weights.npz"]


# ---- the hook ------------------------------------------------------------------------------------


def test_what_reduces_sees_all_gradients_in_one_vector_with_flags():
    w = {n: tg.Tensor(np.ones(2), requires_grad=True, name=n) for n in "abc"}
    w["d"] = tg.Tensor(np.ones(1, "float32"), requires_grad=True, name="d")
    seen = []

    def reduce(vectors, layout):
        seen.append(([v.copy() for v in vectors], layout))
        vectors[0][-1] = 1                                 # somebody else has used c
        vectors[0][4:6] = 7

    opt = tg.optim.SGD(w, 0.5, reduce=reduce, clip_value=3.0)
    (w["a"] * 2).sum().backward()
    opt.step()
    vectors, layout = seen[0]
    assert [v.tolist() for v in vectors] == [[2, 2, 0, 0, 0, 0, 1, 0, 0], [0, 0]]
    assert layout == (("a", (2,), "float64"), ("b", (2,), "float64"), ("c", (2,), "float64"),
                      ("d", (1,), "float32"))
    assert w["a"].data.tolist() == [0, 0] and w["b"].data.tolist() == [1, 1]
    assert w["c"].data.tolist() == [-0.5, -0.5]            # clipped after it was reduced


def test_large_parameters_do_not_bypass_the_vector():
    w = tg.Tensor(np.ones(70_000), requires_grad=True, name="w")

    def double(vectors, layout):
        vectors[0] *= 2

    opt = tg.optim.SGD({"w": w}, 0.5, reduce=double)
    for _ in range(2):
        opt.zero_grad()
        w.sum().backward()
        opt.step()
    assert (w.data == -1).all()


def test_the_hook_is_kept_by_copies_and_refused_where_it_would_do_nothing():
    import copy
    import pickle

    from tinygrad_opt.parallel import mpi

    w = tg.Tensor(np.ones(2), requires_grad=True, name="w")
    opt = tg.optim.SGD({"w": w}, 0.5, reduce=mpi.mean)
    for other in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert other.reduce.__func__ is type(mpi).mean
    with pytest.raises(TypeError, match="reduce must be a function"):
        opt.reduce = "mean"
    free = tg.optim.SGD(reduce=mpi.mean)
    with pytest.raises(TypeError, match="goes with parameters that are bound"):
        free.update({"w": np.ones(2)}, {"w": np.ones(2)})
    with pytest.raises(GraphError, match="no parameter has a gradient"):
        opt.step()


@pytest.mark.parametrize("options", [
    {"every": 0}, {"every": True}, {"bits": 8}, {"every": 2, "bits": 16}])
def test_options_that_make_no_sense_are_refused(options):
    from tinygrad_opt.parallel import mpi

    with pytest.raises(ValueError):
        mpi(**options)


def test_fit_refuses_optimizers_that_cannot_take_part():
    from tinygrad_opt.parallel import mpi

    model, x, y = tg.nn.Linear(2, 2), np.ones((4, 2)), np.zeros(4, int)
    with pytest.raises(ValueError, match="has its own reduce"):
        tg.fit(model, x, y, loss="cross_entropy", progress=False, parallel=mpi(),
               optimizer=tg.optim.SGD(model.parameters(), reduce=mpi.mean))

    class Own:
        def __init__(self, parameters):
            pass

        def step(self):
            pass

        zero_grad = step

    with pytest.raises(TypeError, match="needs an optimizer of tinygrad_opt, got Own"):
        tg.fit(model, x, y, loss="cross_entropy", progress=False, parallel=mpi(), optimizer=Own)


# ---- drills --------------------------------------------------------------------------------------


@pytest.mark.drill
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("compile", ["False", "True", "native"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_parameters_are_the_same_bits_after_five_hundred_steps(tmp_path, n, compile, dtype):
    found = equal(ranks(tmp_path, n, "fit", compile, 101, 20, 84, dtype))
    assert len(found["steps"]["loss"]) == 504


@pytest.mark.drill
@pytest.mark.parametrize("what", ["raise", "kill", "interrupt", "differ"])
def test_twenty_jobs_end_within_ten_seconds(tmp_path, what):
    longest = 0.0
    for k in range(20):
        start = time.perf_counter()
        if what == "differ":
            found = ranks(tmp_path, 2 + k % 2, "differ", "shape")
            assert all(each["error"] for each in found)
        else:
            done = started(tmp_path, 2 + k % 2, "bad", what, 1 + k, timeout=60)
            assert (done.returncode == 0) is (what == "interrupt"), done.stderr
        longest = max(longest, time.perf_counter() - start)
    print(f"\n20 times {what}: the longest took {longest:.1f} s, its start and imports included")
