"""Engines: whichever is there draws, and none missing, slow or broken one stops a drawing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import sysconfig

import pytest
from test_viz import ET, SVG, expression, network

import tinygrad_opt as tg
from tinygrad_opt.viz import draw
from tinygrad_opt.viz.graph import engines

SYSTEM_DOT = shutil.which("dot")
PURE = shutil.which("graphviz-pure", path=os.pathsep.join(
    [sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))
HERE = {"builtin": True, "dot": SYSTEM_DOT, "graphviz-pure": PURE,
        "pygraphviz": importlib.util.find_spec("pygraphviz")}
posix = pytest.mark.skipif(sys.platform == "win32", reason="the fake programs are shell scripts")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without any engine; gives the folder where programs can be put."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("TINYGRAD_OPT_DOT", raising=False)
    monkeypatch.setattr(engines.sysconfig, "get_path", lambda _: str(programs))
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _: None)
    return programs


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def view():
    return draw(expression())


@pytest.mark.parametrize("name", HERE)
def test_each_engine_that_is_here_draws(name, tmp_path):
    if not HERE[name]:
        pytest.skip(f"{name} is not installed")
    model, x = network()
    for drawing in (draw(expression(), engine=name), draw(model, x, engine=name, direction="TB")):
        assert drawing.layout.engine == name
        root = ET.fromstring(drawing.svg)
        nodes = [g for g in root.iter(f"{SVG}g") if (g.get("class") or "").startswith("node")]
        assert len(nodes) == len(drawing.graph.nodes)
        assert drawing.svg.count(f"engine: {name}") == 1
    if name != "builtin":
        assert drawing.save(tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    if name in ("dot", "pygraphviz"):
        assert drawing.save(tmp_path / "g.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["dot", "graphviz-pure", "pygraphviz"])
def test_hostile_names_do_not_break_an_engine(name, tmp_path):
    if not HERE[name]:
        pytest.skip(f"{name} is not installed")
    hostile = '"><script>|{}\\n\n&<b> ]]> 中文'
    x = tg.Tensor([1.0], requires_grad=True, name=f"{hostile}.{hostile}")
    drawing = draw(x * x - x, name=hostile, engine=name)
    assert "<script" not in drawing.svg
    assert drawing.save(tmp_path / "g.png").suffix == ".png"


def test_without_any_engine_the_layout_is_built_in(bare):
    assert view().layout.engine == "builtin" and "engine: builtin" in view().svg


def test_without_any_engine_a_picture_becomes_text_with_advice(bare, tmp_path):
    for suffix, extra in (("png", "viz"), ("pdf", "pdf")):
        with pytest.warns(UserWarning, match=rf"No {suffix.upper()} engine found.*\[{extra}\]"):
            written = view().save(tmp_path / f"g.{suffix}")
        assert written == tmp_path / "g.gv" and written.read_text(encoding="utf-8") == view().dot
        assert not (tmp_path / f"g.{suffix}").exists()


@posix
def test_a_slow_dot_is_given_up(bare, monkeypatch):
    given_up, run = [], subprocess.run

    def watched(*command, **options):
        try:
            return run(*command, **options)
        except subprocess.TimeoutExpired as error:
            given_up.append(error.timeout)
            raise

    monkeypatch.setattr(engines, "TIMEOUT", 0.3)
    monkeypatch.setattr(subprocess, "run", watched)
    program(bare / "dot", "exec /bin/sleep 30")
    assert view().layout.engine == "builtin" and given_up == [0.3]


@posix
@pytest.mark.parametrize("script", [
    "exit 1", "echo 'Error: no formats found' >&2", "echo nonsense", "exec /no/such/interpreter",
    "echo 'graph 1 2 3'; echo 'node n0 1 1 1 1 x'; echo stop",
])
def test_a_broken_dot_is_passed_over(bare, script):
    program(bare / "dot", script)
    assert view().layout.engine == "builtin"
    with pytest.raises(tg.RenderError, match="engine 'dot' gave no layout"):
        _ = draw(expression(), engine="dot").svg


@posix
@pytest.mark.skipif(not PURE, reason="graphviz-pure is not installed")
def test_after_a_broken_dot_comes_the_next_engine(bare, tmp_path):
    program(bare / "dot", "exit 1")
    os.symlink(PURE, bare / "graphviz-pure")
    assert view().layout.engine == "graphviz-pure"
    assert view().save(tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


@posix
@pytest.mark.skipif(not (SYSTEM_DOT or PURE), reason="no Graphviz is installed")
def test_the_program_named_by_the_environment_comes_first(bare, tmp_path, monkeypatch):
    log = tmp_path / "used"
    program(tmp_path / "mine", f'echo used >> {log}\nexec "{SYSTEM_DOT or PURE}" "$@"')
    program(bare / "dot", "exit 1")
    monkeypatch.setenv("TINYGRAD_OPT_DOT", str(tmp_path / "mine"))
    assert view().layout.engine == "dot" and log.read_text() == "used\n"


@posix
def test_a_program_in_the_environment_that_is_not_there_is_passed_over(bare, monkeypatch):
    monkeypatch.setenv("TINYGRAD_OPT_DOT", str(bare / "nowhere"))
    assert view().layout.engine == "builtin"


def test_an_engine_that_is_wanted_and_missing_is_an_error(bare):
    for name in ("dot", "graphviz-pure", "pygraphviz"):
        with pytest.raises(tg.RenderError, match=f"'{name}' is not on this machine.*pip install"):
            draw(expression(), engine=name)


def test_engines_see_no_text_from_users(bare, monkeypatch):
    seen = []

    def run(self, text, format):
        seen.append(text)
        raise tg.RenderError("enough")

    monkeypatch.setenv("TINYGRAD_OPT_DOT", "x")
    monkeypatch.setattr(engines.Engine, "run", run)
    x = tg.Tensor(1.0, requires_grad=True, name="secret")
    _ = draw(x * 2, name="secret").svg
    assert seen and "secret" not in seen[0]
