"""The tool that breaks the package to see whether a test notices."""

import re
import subprocess
import sys

import mutants
import pytest

SOURCE = '''"""Words."""

HALF = 0.5


@cached(size=3)
def f(x: int, axis=-1):
    """More words."""
    if x is None or axis > 2:
        raise ValueError("told" + x)
    total = x * HALF
    total += g(x, axis, keep=True)
    return total[1:]


rows = {"add": lambda a, b: not a == b}
'''
CHANGES = """
HALF = «0.5→1.0»
@cached(«size=3→»)
@cached(size=«3→4»)
def f(x: int, axis=«-1→(1)»):
def f(x: int, axis=-«1→2»):
if «x is None or axis > 2→not (x is None or axis > 2)»:
if x is None «or→and» axis > 2:
if x «is→is not» None or axis > 2:
if x is None or axis «>→>=» 2:
if x is None or axis > «2→3»:
«raise ValueError("told" + x)→pass»
raise ValueError("told" «+→-» x)
total = x «*→/» HALF
«total += g(x, axis, keep=True)→pass»
total «+→-»= g(x, axis, keep=True)
total += g(«x, axis→axis, x», keep=True)
total += g(x, axis, «keep=True→»)
total += g(x, axis, keep=«True→False»)
return «total[1:]→None»
return total[«1→»:]
return total[«1→2»:]
rows = {«"add"→'dd'»: lambda a, b: not a == b}
rows = {"add": lambda a, b: «not a == b→None»}
rows = {"add": lambda a, b: «not a == b→(a == b)»}
rows = {"add": lambda a, b: not a «==→!=» b}
""".strip().split("\n")


@pytest.fixture
def package(monkeypatch, tmp_path):
    monkeypatch.setattr(mutants, "PACKAGE", tmp_path)
    monkeypatch.setattr(mutants, "EQUIVALENT", tmp_path / "equivalent")
    (tmp_path / "some.py").write_text(SOURCE)
    return tmp_path


def test_each_place_is_broken_once(package):
    made = mutants.File(package / "some.py").mutants
    assert sorted(m.text for m in made) == sorted(CHANGES)
    for m in made:
        compile(m.source, "some", "exec")
        assert m.source != SOURCE.encode()
    assert {m.place for m in made} == {"some", "some.f"}
    at_import = [m.text for m in made if m.runs_at_import]
    assert sorted(at_import) == sorted([*CHANGES[:5], CHANGES[-4]])


def test_a_listed_mutant_that_is_none_any_more_is_noticed(package, monkeypatch, capsys):
    (package / "equivalent").write_text("# why\n\nsome.f: gone «1→2»\n")
    monkeypatch.setattr(sys, "argv", ["mutants.py", "some"])
    assert mutants.main() == 1
    assert "some.f: gone «1→2»" in capsys.readouterr().out


def test_every_listed_mutant_has_a_reason():
    for line, reason in mutants.equivalents().items():
        assert reason and re.fullmatch(r"[\w/]+[.\w]*: .*«.*→.*».*", line), line


@pytest.mark.drill
def test_mutants_run():
    pytest.importorskip("coverage")
    run = subprocess.run([sys.executable, mutants.__file__, "kernels", "--only", "kernels.sigmoid:",
                          "--tests", mutants.ROOT / "tests" / "test_kernels.py"],
                         capture_output=True, text=True)
    assert re.search(r"kernels .* [1-9]\d* run +[1-9]\d* killed", run.stdout), run.stderr
