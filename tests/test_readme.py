"""Every Python block of the README runs, in order, in one namespace."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


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


def test_the_first_example_has_twenty_lines():
    first = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    assert len(first.splitlines()) <= 20


def test_there_are_exactly_two_set_up_lines():
    lines = [line for line in README.read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
