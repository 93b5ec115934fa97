"""How the package hangs together: imports, public names, what an import costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_opt as tg

PACKAGE = Path(tg.__file__).parent

# who may import whom: a part imports only parts that stand before it, and not its siblings
ORDER = [
    {"errors", "typing"},
    {"hints"},
    {"kernels", "markup"},
    {"vjps", "data"},
    {"ops", "recording"},
    {"methods", "outside"},
    {"tensor"},
    {"numpy_functions"},
    {"symbols"},
    {"autograd", "nonfinite", "nn", "optim", "compiler", "viz"},
    {"checkpoint", "cases"},
    {"train"},
    {"exercises", "interop", "live", "parallel"},
    {"cli"},
    {"__init__"},
    {"__main__"},
]
RANK = {part: i for i, parts in enumerate(ORDER) for part in parts}
OUTSIDE = {
    "numpy": "everyone", "graphviz": {"viz"}, "matplotlib": {"viz"}, "PIL": {"viz"},
    "pygraphviz": {"viz"}, "tqdm": {"train", "cli"}, "IPython": {"viz"},
    "safetensors": {"checkpoint"}, "llvmlite": {"compiler"}, "joblib": {"parallel"},
    "distributed": {"parallel"}, "mpi4py": {"parallel"}, "sklearn": {"interop"},
    "onnx": {"interop"}, "treescope": {"markup"},
    "typing_extensions": {"typing"},           # by type checkers alone, which bring it
}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path, for_types=True):
    """Every dotted name that a file imports, inside functions too; for type checkers or not."""
    tree = ast.parse(path.read_text())
    unused = set() if for_types else {
        inner for node in ast.walk(tree) if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in unused:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path):
    part = part_of(path)
    for name in imported(path, for_types=RANK[part] >= RANK["tensor"]):    # below, they name it
        top, *rest = name.split(".")
        if top != "tinygrad_opt":
            allowed = OUTSIDE.get(top)
            anyone = allowed == "everyone" or top in sys.stdlib_module_names
            assert anyone or part in (allowed or ()), f"{part} imports {name}"
            continue
        target = rest[0] if rest and rest[0] in RANK else "__init__"
        assert target == part or RANK[target] < RANK[part], f"{part} imports {name}"


# ---- files ---------------------------------------------------------------------------------------


def test_no_file_name_occurs_twice():
    names = [path.name for path in modules() if path.name not in ("__init__.py", "__main__.py")]
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}


def file_of(dotted):
    """The file of a module, or of the module that a name is in; None if it is not ours."""
    top, *rest = dotted.split(".")
    while top == "tinygrad_opt":
        folder = PACKAGE.joinpath(*rest)
        for path in (folder.with_suffix(".py"), folder / "__init__.py"):
            if path.is_file():
                return path
        rest = rest[:-1]
    return None


def test_no_file_imports_another_in_a_circle():
    """Neither inside a function: what must be imported there may stand in the wrong file."""
    imports = {path: {file_of(name) for name in imported(path, for_types=False)} - {None, path}
               for path in modules()}
    circles = set()
    for path in imports:
        seen, waiting = set(), [*imports[path]]
        while waiting:
            file = waiting.pop()
            if file not in seen:
                seen.add(file)
                waiting += imports[file]
        if path in seen:
            circles.add(path.relative_to(PACKAGE))
    assert not circles


def test_every_part_has_a_place_in_the_order():
    assert {part_of(path) for path in modules()} <= RANK.keys()


@pytest.mark.parametrize("part", ["kernels", "vjps", "ops"])
def test_mathematics_has_never_heard_of_tensors(part):
    names = {name.split(".")[0] for name in imported(PACKAGE / f"{part}.py")}
    assert names - sys.stdlib_module_names <= {"numpy", "tinygrad_opt"}
    assert "Tensor" not in vars(sys.modules[f"tinygrad_opt.{part}"])


def test_public_names_are_sorted_and_exist():
    assert tg.__all__ == sorted(tg.__all__)
    for name in tg.__all__:
        assert getattr(tg, name) is not None, name
    assert set(tg.__all__) <= set(dir(tg))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tg.no_such_name
    with pytest.raises(AttributeError, match=r"has no attribute 'tanh'; .* np\.tanh\(t\)"):
        _ = tg.tanh


def test_nothing_heavy_is_imported_before_it_is_used():
    code = "import sys, tinygrad_opt; print(*sorted(sys.modules))"
    ours = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ours.stdout.split())
    heavy = {"matplotlib", "graphviz", "tqdm", "argparse", "subprocess", "csv", "inspect",
             "tinygrad_opt.viz", "tinygrad_opt.cli", "tinygrad_opt.train"}
    plain = subprocess.run(
        [sys.executable, "-c", "import sys, numpy; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )
    more = loaded - set(plain.stdout.split())
    assert not heavy & more
    ours = {name for name in more if name.split(".")[0] == "tinygrad_opt"}
    assert more - ours <= {"__future__", "copy", "fnmatch"}, "the import takes longer than NumPy's"
    assert len(ours) <= 28, sorted(ours)


def test_no_function_is_longer_than_a_screen():
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 60, f"{path.name}: {node.name} has {lines} lines"


# ---- releases ------------------------------------------------------------------------------------


def test_the_version_is_one():
    """In the package, its metadata and the citation."""
    root = PACKAGE.parent
    written = {re.search(pattern, (root / file).read_text(encoding="utf-8"), re.M).group(1)
               for file, pattern in [("pyproject.toml", r'^version = "(.+)"'),
                                     ("CITATION.cff", r"^version: (.+)")]}
    assert written == {tg.__version__}
