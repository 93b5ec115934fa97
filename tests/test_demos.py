"""Every demo runs, at small size, in a process of its own, and says something; models learn."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEMOS = sorted(set((ROOT / "demos").glob("*.py")) - {ROOT / "demos" / "helpers.py"})


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_the_demo_runs(demo, tmp_path):
    text = demo.read_text()
    if any(word in text for word in ("plot", "animate", "write_names", "drawing", "save_both")):
        pytest.importorskip("matplotlib")
    if "sklearn" in text:
        pytest.importorskip("sklearn")
    takes_quick = "--quick" in text
    run = subprocess.run(
        [sys.executable, "-W", "error", str(demo), *(["--quick"] if takes_quick else [])],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True, text=True, encoding="utf-8", timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) >= 2
    drawn = {file.suffix for file in tmp_path.rglob("*")} & {".svg", ".png", ".gif", ".html"}
    assert drawn or demo.stem.startswith("names_")         # write_names draws all of the ladder


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_the_demo_is_short_and_says_how_it_is_run(demo):
    text = demo.read_text()
    assert f"python demos/{demo.name}" in text
    assert len(text.splitlines()) <= 120


def test_the_list_of_demos_names_each():
    listed = (ROOT / "demos" / "README.md").read_text()
    assert [demo.name for demo in DEMOS if demo.name not in listed] == []


# ---- what is learned -----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Run a demo here, and see what its ``main`` returns."""
    pytest.importorskip("matplotlib")
    return lambda name, quick=True: importlib.import_module(name).main(tmp_path, quick)


def test_each_rung_of_the_ladder_learns_names(run):
    rungs = {rung.name: rung for rung in run("write_names")}
    assert [*rungs] == ["bigrams counted", "bigram network", "MLP", "RNN", "GRU", "convolutions",
                        "GPT"]
    blind = 3.296
    assert all(rung.loss < blind - 0.5 for rung in rungs.values()), rungs
    assert all(len(rung.written) == 5 for rung in rungs.values())


@pytest.mark.drill
def test_at_full_length_what_sees_more_letters_guesses_better(run):
    loss = {rung.name: rung.loss for rung in run("write_names", quick=False)}
    assert abs(loss["bigram network"] - loss["bigrams counted"]) < 0.02
    assert loss["GPT"] < loss["MLP"] < loss["bigram network"]
    assert max(loss["RNN"], loss["GRU"], loss["convolutions"]) < loss["MLP"]


@pytest.mark.parametrize(("name", "share"), [
    ("vae", 0.95), ("gan", 0.5), ("diffusion", 0.5), ("differential_equation", 0.05)])
def test_what_a_demo_learns_is_a_part_of_what_it_started_from(run, name, share):
    learned, before = run(name)
    assert 0 < learned < share * before


def test_a_policy_is_learned_that_is_paid_nearly_as_much_as_the_best(run):
    last, first, best = run("reinforce")
    assert first < 0 and 0.8 * best < last < 1.1 * best


def test_a_learned_rate_takes_an_optimizer_further(run):
    first, *_, last = run("learn_the_rate").values()
    assert last[-1] < 0.2 * first[-1] < first[0]
