"""What editors and type checkers see of the package."""

import ast
import inspect
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import interop, nn, optim, viz
from tinygrad_opt.optim.options import number, option

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tinygrad_opt"
SCRIPTS = sorted((ROOT / "tests/typing").glob("*.py"))

MOST_ANY = 150
RULES = [getattr(optim, name) for name in optim.__all__
         if inspect.isclass(getattr(optim, name)) and issubclass(getattr(optim, name),
                                                                 optim.Optimizer)]

# ---- options of optimizers -----------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_type_checkers_see_every_option_as_an_argument(rule):
    types = get_type_hints(rule)
    for name in inspect.signature(rule).parameters.keys() - {"params"}:
        default = getattr(rule, name)
        assert name in types, name
        assert default is None or type(default) in (float, bool, str, tuple, dict), name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_signature_tells_every_option_and_its_default(rule):
    parameters = inspect.signature(rule).parameters
    assert {*parameters} == {*inspect.signature(optim.Optimizer).parameters, *rule.options}
    opt = rule()
    for name in rule.options:
        assert parameters[name].default == getattr(opt, name), name


def test_a_signature_tells_the_options_of_the_rule_first_and_their_types():
    first = [*inspect.signature(optim.Momentum).parameters.values()][:5]
    assert list(map(str, first)) == [
        "params: 'Params' = None", "lr: 'Rate' = 0.01", "momentum: 'float' = 0.9",
        "velocity: 'str' = 'steps'", "decay: 'float' = 0.0"]


def test_an_option_of_ones_own_is_checked_saved_and_overridden():
    class Scaled(optim.SGD):
        scale: float = option(number(), default=2.0)

        def rule(self, p, g, *, lr, t):
            return p - lr * self.scale * g

    params = {name: tg.Tensor([1.0], requires_grad=True) for name in "ab"}
    opt = Scaled(params, lr=0.25, overrides={"b": {"scale": 4.0}})
    assert Scaled.scale == 2.0 and "scale" not in optim.SGD.options
    for p in params.values():
        p.grad = np.ones(1)
    opt.step()
    assert [p.item() for p in params.values()] == [0.5, 0.0]
    with pytest.raises(TypeError, match="scale must be a number, got 'large'"):
        opt.scale = "large"
    other = Scaled(params)
    other.load_state_dict({**opt.state_dict(), "options": opt.state_dict()["options"] | {
        "scale": 3.0}})
    assert other.scale == 3.0 and repr(other).startswith(
        "Scaled(lr=0.25, scale=3.0, overrides={'b': {'scale': 4.0}};")


def test_a_signature_tells_options_without_an_init_of_their_own():
    class Slow(optim.SGD):
        options = optim.SGD.options | {"extra": lambda name, value: value}

        def rule(self, p, g, *, lr, t):
            return p - lr * g

    assert "extra" in inspect.signature(Slow).parameters


def test_a_signature_stops_where_options_are_not_handed_on():
    class Plain(optim.Adam):
        def __init__(self, params=None, size=3):
            super().__init__(params, lr=1 / size)

    assert [*inspect.signature(Plain).parameters] == ["params", "size"]


# ---- a user's script -----------------------------------------------------------------------------


def checked(*command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *map(str, SCRIPTS)], cwd=ROOT, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_accepts_a_script_that_uses_every_part():
    pytest.importorskip("mypy")
    checked(sys.executable, "-m", "mypy", "--strict", "--no-error-summary")


def test_pyright_accepts_a_script_that_uses_every_part():
    beside = Path(sys.executable).with_name("pyright")
    pyright = str(beside) if beside.exists() else shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    checked(pyright, "--pythonpath", sys.executable)


def test_the_script_runs(capsys):
    pytest.importorskip("matplotlib")
    runpy.run_path(str(ROOT / "tests/typing/every_part.py"))


# ---- the package itself --------------------------------------------------------------------------


@pytest.mark.parametrize("part", [tg, nn, viz, interop], ids=lambda part: part.__name__)
def test_type_checkers_see_the_names_that_are_imported_later(part):
    tree = ast.parse(Path(part.__file__).read_text())
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call)
               and ast.unparse(node.func) == "imported_later"]
    homes, modules = ast.literal_eval(call.args[1]), [m.value.value for m in call.keywords]
    later = " ".join([*homes.values(), *modules]).replace("steps.formula", "").split()
    seen = {alias.asname or alias.name for block in tree.body
            if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
            for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {*later} <= seen and {*later} <= {*part.__all__}
    assert {*part.__all__} <= {*dir(part)}


def test_any_is_rare():
    """Lines that name `Any`: where anything may stand, or what NumPy's stubs do not tell."""
    lines = [f"{path.relative_to(ROOT)}:{i}" for path in sorted(PACKAGE.rglob("*.py"))
             for i, line in enumerate(path.read_text().splitlines(), 1)
             if re.search(r"\bAny\b", line)]
    assert len(lines) <= MOST_ANY, f"{len(lines)} lines; the last: {lines[-1]}"
