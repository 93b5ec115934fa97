"""Every benchmark runs, at tiny size, and what it says about figures is computed rightly."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tinygrad_opt import kernels

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
MODELS = ("tanh", "sigmoid", "gelu", "silu", "leaky", "batch norm", "layer norm", "dropout", "cnn",
          "rnn 20", "gru", "lstm", "gpt")
QUICK = ("--rounds", "1", "--fresh", "1", "--seconds", "0.005")


def run(*arguments, timeout=300):
    places = os.pathsep.join([str(ROOT), str(BENCHMARKS)])
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**outside, "PYTHONPATH": places, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"},
        capture_output=True, text=True, encoding="utf-8", timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def load(monkeypatch):
    """Imports a module of the benchmarks, which has all the patience that a busy machine asks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(importlib.import_module("worker"), "PATIENCE", float("inf"))
    return importlib.import_module


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A small comparison: what it printed, and the file of its results."""
    path = tmp_path_factory.mktemp("compare") / "all.json"
    some = "eager,compiled,numpy,torch,jit,scan,autograd,mygrad"
    text = run(str(BENCHMARKS / "compare.py"), *QUICK, "--only", "moons,chain", "--any-core",
               "--contestants", some, "--json", str(path))
    return text, path


def test_the_comparison_measures_whoever_is_there(compared):
    found = json.loads(compared[1].read_text())
    assert [r["job"] for r in found["runs"]] == ["moons", "chain"]
    for results in (r["results"] for r in found["runs"]):
        assert all(v > 0 for v in results["eager"]["values"])
        for row in results.values():
            assert row.get("values") or row["absent"]
    moons = found["runs"][0]["results"]
    assert len(moons["numpy"]["losses"]) == 20
    assert moons["compiled"]["losses"] == moons["eager"]["losses"]


def test_the_comparison_prints_a_ratio_for_each_and_says_where_it_ran(compared):
    text = compared[0]
    assert re.search(r"one thread.*numpy \d", text)
    assert re.search(r"NumPy by hand +[\d.]+ [mµ]s +[\d.]+ \([\d.]+ to [\d.]+\)", text)
    assert "| tinygrad_opt compiled / | tinygrad_opt | NumPy by hand |" in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_is_drawn_from_saved_results(compared, tmp_path, theme):
    pytest.importorskip("matplotlib")
    target = tmp_path / "picture.svg"
    run(str(BENCHMARKS / "compare.py"), "--from", str(compared[1]), "--picture", str(target),
        "--theme", theme)
    assert "<svg" in target.read_text()


def test_import_time_and_memory_are_compared(tmp_path):
    path = tmp_path / "pieces.json"
    only = "import,memory" if sys.platform == "linux" else "import"
    run(str(BENCHMARKS / "compare.py"), *QUICK, "--only", only, "--contestants", "eager,numpy",
        "--allocator", "kept", "--any-core", "--json", str(path))
    for found in json.loads(path.read_text())["runs"]:
        assert all(row["values"][0] > 0 for row in found["results"].values()), found["job"]


@pytest.mark.parametrize(
    "workload", ["spiral", "moons", "digits", "mnist", "deep", "char", "rnn"]
)
def test_our_step_and_the_one_by_hand_have_the_same_losses(load, workload):
    worker, work = load("worker"), load("workloads").WORKLOADS[workload][1]()
    eager, compiled = (load("contestants.ours").training_step(work, v)
                       for v in ("eager", "compiled"))
    losses = worker.first_losses(eager)
    assert losses == worker.first_losses(compiled)
    by_hand = worker.first_losses(load("contestants.by_hand").training_step(work, ""))
    assert losses == pytest.approx(by_hand, rel=1e-4)          # float32, another order of sums
    assert losses[-1] < losses[0]


def kernels_run(step):
    """How often each function of `kernels` runs in a step."""
    counts = Counter()

    def watch(frame, event, arg):
        if event == "call" and frame.f_code.co_filename == kernels.__file__:
            counts[frame.f_code.co_name] += 1

    sys.setprofile(watch)
    try:
        step()
    finally:
        sys.setprofile(None)
    return counts


# What is called in one way here and in another there, as part of a call.
HELPERS = {"called", "single", "constant", "zeros_like", "arange", "<genexpr>", "<lambda>"}


@pytest.mark.parametrize("workload", MODELS)
def test_a_replay_computes_nothing_that_an_eager_step_does_not(load, workload):
    """What a kernel shares with its VJPs, the exponentials of a loss or erf, is computed once."""
    work, ours = load("workloads").WORKLOADS[workload][1](), load("contestants.ours")
    eager, compiled = (ours.training_step(work, v) for v in ("eager", "compiled"))
    for job in (eager, compiled):
        job.call()
    once, replayed = kernels_run(eager.call), kernels_run(compiled.call)
    more = {name: (n, once[name]) for name, n in replayed.items()
            if n > once[name] and name not in HELPERS}
    assert not more
    assert sum(once.values()) > 0


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("workload", MODELS)
def test_our_models_and_pytorchs_have_the_same_losses(load, workload):
    pytest.importorskip("torch")
    if workload == "dropout":
        pytest.skip("everybody draws his own units")
    worker, work = load("worker"), load("workloads").MODELS[workload][1]()
    ours = worker.first_losses(load("contestants.ours").training_step(work, "compiled"))
    theirs = worker.first_losses(load("contestants.with_torch").training_step(work, "eager"))
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_the_fastest_turns_are_compared_if_wanted(tmp_path):
    path = tmp_path / "fastest.json"
    run(str(BENCHMARKS / "compare.py"), "--rounds", "3", "--fresh", "1", "--seconds", "0.005",
        "--only", "silu", "--contestants", "eager,numpy", "--fastest", "--any-core",
        "--json", str(path))
    (found,) = json.loads(path.read_text())["runs"]
    assert len(found["results"]["eager"]["values"]) == 1
    assert "own layers" in found["results"]["numpy"]["absent"]


def test_operations_are_compared_with_pytorch():
    pytest.importorskip("torch")
    text = run(str(BENCHMARKS / "operations.py"), "--rounds", "1", "softmax of", "embedding")
    assert text.splitlines()[-1].startswith("2 operations, PyTorch = 1: median")


def test_a_contestant_with_other_losses_is_called_wrong(load):
    measuring = load("measuring")

    class Fake:
        def __init__(self, **first):
            self.first = first

    workers = {"eager": Fake(losses=[1.0, 0.5]), "numpy": Fake(losses=[1.0, 0.5001]),
               "compiled": Fake(losses=[1.0, 0.5 + 1e-9]), "torch": Fake(losses=[1.0, 0.6]),
               "jit": Fake(absent="not available: no JAX"), "scan": Fake(losses=[float("nan")])}
    results = {name: {"values": []} for name in workers}
    measuring.check("moons", workers, results)
    absent = {name: row["absent"] for name, row in results.items() if "absent" in row}
    assert absent.keys() == {"compiled", "torch", "jit", "scan"}
    assert absent["torch"] == "WRONG: loss 0.6 after 1 steps, not 0.5"


def test_a_ratio_is_the_median_of_the_quotients_within_a_round(load):
    report = load("report")
    results = {"eager": {"values": [1.0, 2.0, 9.0]}, "torch": {"values": [2.0, 8.0, 9.0]},
               "jit": {"absent": "not available"}}
    assert report.ratio(results, "eager", "torch") == (0.5, 0.375, 0.75)
    assert report.ratio(results, "eager", "jit") is None


def test_growth_prints_an_exponent_for_each_axis(tmp_path):
    path = tmp_path / "growth.json"
    text = run(str(BENCHMARKS / "growth.py"), "--seconds", "0.002", "--sweeps", "1",
               "--largest", "100", "--json", str(path))
    assert len(re.findall(r"exponent +(?:-?\d+\.\d\d|nan) ", text)) == 8
    assert json.loads(path.read_text())["curves"]["depth"]["compiled"][0][0] == 2


def test_the_exponent_of_a_power_is_found_on_the_larger_half(load):
    growth = load("growth")
    assert growth.exponent([(n, 3 * n**2) for n in (1, 10, 100)]) == pytest.approx(2)
    assert growth.exponent([(1, 5), (10, 5), (100, 10), (1000, 100)]) == pytest.approx(1)


def test_every_piece_runs_again_and_again(load):
    for setup in load("pieces").PIECES.values():
        piece = setup()
        piece()
        piece()


def test_the_pieces_are_measured_by_pytest_benchmark():
    pytest.importorskip("pytest_benchmark")
    text = run("-m", "pytest", "-q", str(BENCHMARKS / "pieces.py"), "-k", "multiply",
               "--benchmark-max-time", "0.01", "-p", "no:cacheprovider")
    assert "test_piece[multiply]" in text


@pytest.mark.drill
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_instructions_of_a_piece_are_counted():
    text = run(str(BENCHMARKS / "instructions.py"), "multiply")
    assert 3_000 < int(re.search(r"multiply +([\d,]+)", text)[1].replace(",", "")) < 50_000


@pytest.mark.parametrize("code", [
    "import single_op as b; b.NUMBER = b.ROUNDS = 2; b.main()",
    "import optimizers as b; b.WORKLOADS = {'tiny': ([(2, 3)], 2)}; b.main(1)",
    "import fit_loop as b; b.ROUNDS = 1;"
    "b.WORKLOADS = {'tiny': ('spiral', [2, 4, 3], 100, 2)}; b.main()",
], ids=["single_op", "optimizers", "fit_loop"])
def test_the_other_tables_are_printed(code):
    if "fit_loop" in code:
        pytest.importorskip("tqdm")                        # it times the bar too
    assert len(run("-c", code).splitlines()) >= 2


def test_the_animation_is_timed():
    pytest.importorskip("matplotlib")
    assert "gif" in run("-c", "import animation; animation.main(epochs=3, frames=2)")


def test_the_page_lists_every_script():
    page = (BENCHMARKS / "README.md").read_text()
    scripts = [p for p in BENCHMARKS.glob("*.py") if "__main__" in p.read_text()]
    assert [p.name for p in scripts if p.name != "worker.py" and p.name not in page] == []


# ---- the cost model of several ranks -------------------------------------------------------------


def test_the_cost_model_finds_what_times_were_made_of(load):
    scaling = load("scaling")
    best = {"batch": 1024} | {n: 3e-5 + 2e-6 * b for n, b in scaling.parts(1024).items()}
    assert scaling.compute(best) == pytest.approx((3e-5, 2e-6))
    counts = {str(n): scaling.ring(4, 4 * n, 5e-6, 1e-9) for n in scaling.COUNTS}
    assert scaling.network({"ranks": 4, "all-reduce": counts}) == pytest.approx((5e-6, 1e-9))
    assert scaling.ring(1, 100, 1, 1) == scaling.tree(1, 100, 1, 1) == 0
    assert scaling.ring(4, 100, 2, 3) == 2 * 3 * 2 + 1.5 * 100 * 3
    assert scaling.tree(5, 100, 2, 3) == 6 * (2 + 300)


def test_the_curves_of_scaling_are_drawn(load, tmp_path):
    pytest.importorskip("matplotlib")
    scaling = load("scaling")
    scaling.draw(tmp_path / "curves", json.loads((BENCHMARKS / "scaling.json").read_text()))
    assert (tmp_path / "curves_light.png").stat().st_size > 10_000
    assert (tmp_path / "curves_dark.png").exists()


def test_the_feature_table_of_the_readme_is_what_was_tried(load, tmp_path, monkeypatch):
    features = load("features")
    table = re.search(r"\| \| tinygrad_opt \|.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    rows = [line.strip("| ").split(" | ") for line in table[0].strip().splitlines()[2:]]
    assert [row[0] for row in rows] == list(features.FEATURES)
    assert {len(row) for row in rows} == {1 + len(features.LIBRARIES)}
    assert all(set(cells) == set(features.LIBRARIES) for cells in features.FEATURES.values())
    monkeypatch.chdir(tmp_path)
    for (feature, here, *_), said in zip(rows, features.answers("tinygrad_opt").values()):
        if "pip install" not in str(said):                 # what an extra brings that is not here
            shown = "✓" if said is True else "–" if isinstance(said, str) else str(said)
            assert here == shown, f"{feature}: {said}"
