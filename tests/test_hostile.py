"""What comes from outside may be refused, by the error that is documented, and nothing else."""

import subprocess
import sys
import tempfile
from pathlib import Path

import hostile
import pytest


@pytest.mark.parametrize("reader", hostile.READERS)
def test_sound_input_is_taken(reader):
    for content in hostile.sound(reader):
        assert hostile.attempt(reader, content)[1] is None


@pytest.mark.parametrize("reader", hostile.READERS)
@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.drill)])
def test_changed_input_is_refused_in_words_and_costs_little(reader, count):
    """The kept inputs first, then changes of them and of sound ones."""
    figures = hostile.mutate(reader, count)
    assert figures["refused"] > count / 2                   # else the changes do not matter


def test_every_kept_input_belongs_to_a_reader():
    assert {path.name for path in hostile.CORPUS.iterdir()} <= set(hostile.READERS)


def test_an_error_that_is_not_documented_is_noticed(monkeypatch):
    def careless(content):
        return content[3]

    monkeypatch.setitem(hostile.READERS, "idx", (careless, ValueError))
    with pytest.raises(AssertionError, match=r"IndexError, which is not documented"):
        hostile.attempt("idx", b"")


def test_memory_that_the_input_does_not_explain_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(hostile.READERS, "idx", (lambda content: bytes(65 << 20), ValueError))
    with pytest.raises(AssertionError, match=r"hostile-idx-0--\d+: 6\d+ bytes were held"):
        hostile.mutate("idx", 1)


@pytest.mark.drill
@pytest.mark.parametrize("reader", hostile.READERS)
def test_a_search_guided_by_coverage_finds_nothing(reader, tmp_path):
    pytest.importorskip("atheris")
    fuzz = Path(hostile.__file__).with_name("fuzz.py")
    run = subprocess.run([sys.executable, fuzz, reader, "-runs=20000"], cwd=tmp_path,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
