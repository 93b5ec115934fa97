"""What the documents say is so: Python runs, command lines are understood, files are there.

The Python blocks of the README run in order, in one namespace.
"""

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tinygrad_opt import cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [path for name in ("README.md", "CONTRIBUTING.md", "demos/README.md",
                               "benchmarks/README.md", *sorted(ROOT.glob("docs/**/*.md")))
             if (path := ROOT / name).exists()]


def test_the_examples_of_the_readme_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    assert (tmp_path / "graph.svg").read_text().startswith("<?xml") or "<svg" in (
        tmp_path / "graph.svg"
    ).read_text()
    assert namespace["accuracy"] > 0.75
    np.testing.assert_allclose(namespace["x"].grad, [[0.0295989, 0.0295989]], rtol=1e-4)
    assert "accuracy" in capsys.readouterr().out


def test_the_examples_of_scaling_run(monkeypatch):
    """Those of a process alone, which is one rank; the recipe for Optuna where it is there."""
    pytest.importorskip("matplotlib")
    text = (ROOT / "docs" / "scaling.md").read_text()
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        needs = [n for n in ("optuna", "mpi") if f"import {n}\n" in block or f"{n}." in block]
        if all(importlib.util.find_spec({"mpi": "mpi4py"}.get(n, n)) for n in needs):
            exec(compile(block, "docs/scaling.md", "exec"), namespace)
    assert namespace["found"].best.values["val_accuracy"] > 0.95
    assert len(namespace["models"]) == 8
    if "study" in namespace:
        states = {trial.state.name for trial in namespace["study"].trials}
        assert states == {"COMPLETE", "PRUNED"} and namespace["study"].best_value < 0.05
    if "history" in namespace:
        assert namespace["history"].epochs == 10


def test_the_first_example_has_twenty_lines():
    first = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    assert len(first.splitlines()) <= 20


def test_there_are_exactly_two_set_up_lines():
    lines = [line for line in README.read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_that_a_document_names_is_there(path):
    text = path.read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r'(?:\]\(|src(?:set)?=")([^)#:"]+)[)"]', prose)
    linked = [path.parent / file for file in links]
    assert not [file for file in linked if not file.exists()]
    named = set(re.findall(r"[`\s]([\w/]+\.py)(?=[`\s])", text)) - {
        "NAME.py", "demos/NAME.py", "script.py", *re.findall(r"^%%writefile (.*)", text, re.M)}
    homes = (ROOT, ROOT / "tinygrad_opt", path.parent)
    assert not [file for file in named if not any((home / file).exists() for home in homes)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_line_of_a_document_is_understood(path):
    text = re.sub(r" \\\n\s*", " ", path.read_text())     # lines that go on
    lines = re.findall(r"^tinygrad-opt (.*)$|`tinygrad-opt ([^`]*)`", text, re.M)
    for typed in (a or b for a, b in lines):
        if "--help" not in typed:
            cli.parser().parse_args(shlex.split(typed, comments=True))


def test_the_readme_shows_every_command():
    shown = set(re.findall(r"^tinygrad-opt ([a-z]+)", README.read_text(), re.M))
    parser = next(a for a in cli.parser()._actions if a.dest == "command" or a.choices)
    assert shown == set(parser.choices)
