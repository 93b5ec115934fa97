"""Every demo runs, at small size, in a process of its own, and says something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEMOS = sorted((ROOT / "demos").glob("*.py"))


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_the_demo_runs(demo, tmp_path):
    text = demo.read_text()
    if "plot" in text or "animate" in text:
        pytest.importorskip("matplotlib")
    takes_quick = "--quick" in text
    run = subprocess.run(
        [sys.executable, "-W", "error", str(demo), *(["--quick"] if takes_quick else [])],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True, text=True, encoding="utf-8", timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) >= 2


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_the_demo_is_short_and_says_how_it_is_run(demo):
    text = demo.read_text()
    assert f"python demos/{demo.name}" in text
    assert len(text.splitlines()) <= 120


def test_the_list_of_demos_names_each():
    listed = (ROOT / "demos" / "README.md").read_text()
    assert [demo.name for demo in DEMOS if demo.name not in listed] == []
