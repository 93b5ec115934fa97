"""Exercises with a judge: files with a gap, and checks that say what is wrong, never the solution.

    checks    what each solution must do, one function an exercise
    judge     a learner's file run and compared; differences of numbers in words
    gaps      the files themselves
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tinygrad_opt.errors import nearest
from tinygrad_opt.exercises.checks import CHECKS

__all__ = ["CHECKS", "check", "gap", "title"]

_GAPS = Path(__file__).parent / "gaps"
PATIENCE = 20.0                            # seconds that a solution may take


def gap(name: str) -> str:
    """The text of an exercise's file.

    Parameters
    ----------
    name : str
        One of ``CHECKS``.

    Raises
    ------
    ValueError
        If there is no such exercise.

    Examples
    --------
    >>> from tinygrad_opt import exercises
    >>> print(exercises.gap("tanh").splitlines()[0])
    \"\"\"A derivative from the result alone.
    """
    if name not in CHECKS:
        raise ValueError(f"no exercise is called {name!r}; {nearest(name, CHECKS)}")
    return (_GAPS / f"{name}.py.txt").read_text(encoding="utf-8")


def title(name: str) -> str:
    """What an exercise is about, in a line."""
    return (ast.get_docstring(ast.parse(gap(name))) or "").splitlines()[0]


def check(name: str, path: Path) -> str:
    """What is wrong with the solution in a file; empty if nothing is.

    It runs in a process of its own, so that neither an endless loop nor an exit does harm.

    Parameters
    ----------
    name : str
        One of ``CHECKS``.
    path : Path
        The learner's file.

    Raises
    ------
    ValueError, FileNotFoundError
        If there is no such exercise, or no such file.
    """
    gap(name)
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file; `start` makes it", str(path))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tinygrad_opt.exercises", name, str(path)],
            capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"It was still running after {PATIENCE:.0f} s: does each loop come to an end?"
    said = done.stdout.strip()
    if (done.returncode, said) == (0, "right"):
        return ""
    if done.returncode == 1 and said:
        return said
    return f"It ended Python with the exit code {done.returncode}: {done.stderr.strip()}"
