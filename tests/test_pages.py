"""The site's pages as notebooks: the same cells, which run where nothing but their extras is.

That every page runs is seen by building the site.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("myst_nb")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md"))
         if page.stem != "index"
         and page.read_text("utf-8").startswith("---\nfile_format: mystnb")]
HOW_TO = [page for page in PAGES if page.parent.name == "how_to"]
MODULES = {"viz": ["matplotlib"], "pdf": ["pygraphviz"], "progress": ["tqdm"],
           "safetensors": ["safetensors"], "native": ["llvmlite"], "sklearn": ["sklearn"],
           "scipy": ["scipy"], "onnx": ["onnx"], "mpi": ["mpi4py"],
           "sweep": ["joblib", "distributed", "dask"], "": ["pandas", "torch", "jax"]}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "PATH": os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ["PATH"]])}

# a notebook without Jupyter, without the modules that are named, and without a network
RUN = """
import json, socket, sys
from IPython.core.interactiveshell import InteractiveShell

def refused(*address, **options):
    raise OSError(f"a page asked for {address}")

socket.getaddrinfo = refused
sys.modules.update(dict.fromkeys(sys.argv[2:]))
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
"""


def name(page):
    return page.relative_to(DOCS).with_suffix("").as_posix()


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    subprocess.run([sys.executable, DOCS / "notebooks.py", folder], env=ENVIRONMENT, check=True)
    return folder


def test_each_page_that_runs_has_a_notebook_and_nothing_else_has(notebooks):
    written = [path.relative_to(notebooks).with_suffix("").as_posix()
               for path in sorted(notebooks.rglob("*")) if path.is_file()]
    assert sorted(written) == sorted(map(name, PAGES)) and len(HOW_TO) >= 14


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_notebook_has_the_code_of_its_page_and_links_that_lead_somewhere(page, notebooks):
    path = notebooks / f"{name(page)}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    shown = re.findall(r"^```\{code-cell\}\n(?::[^\n]*\n)*\n?(.*?)\n^```$",
                       page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"] == shown
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.findall(r"^(?:```|:::+)\{|\{\w+\}`", text, re.MULTILINE)      # Sphinx's own
    links = re.findall(r"\]\((\S+?)\)", text)
    assert not [to for to in links if ":" not in to and not (path.parent / to).exists()]


@pytest.mark.parametrize("chosen", ["ten_minutes", "course/neuron", "how_to/early_stopping"])
def test_a_notebook_runs_in_jupyter_beside_nothing(chosen, notebooks, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(notebooks / f"{chosen}.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3",
                                     resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    kinds = {output.output_type for cell in notebook.cells for output in cell.get("outputs", ())}
    assert kinds == {"stream", "execute_result"}
    said = [output.text for cell in notebook.cells for output in cell.get("outputs", ())
            if output.get("name") == "stderr"]
    assert said == []


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_page_needs_no_more_than_the_extras_that_it_names(page, notebooks, tmp_path):
    beginning = page.read_text("utf-8").partition("```")[0]
    named = re.findall(r'`pip install "\.\[(.+?)\]"`', beginning)
    assert len(named) == 1 or "needs nothing but the package" in " ".join(beginning.split())
    extras = named[0].split(",") if named else []
    for module in [module for extra in extras for module in MODULES[extra]]:
        pytest.importorskip({"mpi4py": "mpi4py.MPI"}.get(module, module), exc_type=ImportError)
    others = [module for extra in MODULES if extra not in extras for module in MODULES[extra]]
    run = subprocess.run(
        [sys.executable, "-c", RUN, notebooks / f"{name(page)}.ipynb", *others], cwd=tmp_path,
        env=ENVIRONMENT | {"IPYTHONDIR": str(tmp_path)}, capture_output=True, text=True,
        encoding="utf-8", timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout and "Warning" not in run.stderr


def test_a_page_offers_its_notebook(tmp_path):
    for needed in ("furo", "latex2mathml", "sphinx_copybutton"):
        pytest.importorskip(needed)
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "index.md").write_text("# Site\n\n```{toctree}\nten_minutes\n```\n")
    (source / "ten_minutes.md").write_text("# Ten minutes\n")
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-c", DOCS, source, site],
                   env=ENVIRONMENT, check=True)
    assert '<a class="muted-link" href="ten_minutes.ipynb" download' in (
        site / "ten_minutes.html").read_text("utf-8")
    assert (site / "ten_minutes.ipynb").exists()
    assert ".ipynb" not in (site / "index.html").read_text("utf-8")
