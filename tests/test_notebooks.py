"""What a notebook shows: rich where there is something to see, and never an error."""

import re
import warnings
from html import escape

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.errors import RenderError
from tinygrad_opt.markup import html_table, shaded
from tinygrad_opt.train import Finding


def rows_of(html):
    """The cells of all rows, without their marks."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]


def test_a_model_shows_its_summary():
    model = nn.MLP([2, 16, 3], rng=0)
    shown = model._repr_mimebundle_()["text/html"]
    assert rows_of(shown) == [
        ["name", "layer", "parameters"], ["(model)", "MLP(relu)", "99"],
        ["layers.0", "Linear(2, 16)", "48"], ["layers.1", "Linear(16, 3)", "51"]]
    assert "99 parameters, 99 trainable" in shown
    assert "(5, 16)" in model.summary((5, 2))._repr_html_()
    assert str(model.summary()).splitlines()[0].split() == ["name", "layer", "parameters"]


def test_an_optimizer_shows_its_formula_and_its_options():
    class Branching(optim.Optimizer):
        def rule(self, p, g, *, lr, t):
            return p - lr * g if float(g.sum()) > 0 else p

    shown = optim.Momentum(nn.Linear(2, 1).parameters(), lr=0.25)._repr_html_()
    assert "<b>Momentum</b><pre><code>v ← μ · v − η · g" in shown
    assert ["lr", "0.25"] in rows_of(shown) and ["steps so far", "0"] in rows_of(shown)
    assert "<pre>" not in Branching(lr=1)._repr_html_()
    assert "&lt;" in optim.SGD(lr=lambda t: 0.1)._repr_html_()


def test_a_result_shows_where_it_ended_and_why():
    result = optim.minimize(lambda x: (x * x).sum(), np.ones(2))
    shown = dict(rows_of(result._repr_html_())[1:])
    assert shown["converged"] == "True" and shown["message"] == escape(result.message)
    assert "path" not in shown


def test_a_compiled_step_shows_its_calls():
    @tg.compile
    def step(x):
        return (np.tanh(x) ** 2).sum()

    assert "has not been called" in step._repr_html_()
    step(np.ones(3))
    calls = step.explain().splitlines()
    assert f"step, {len(calls) - 1} calls:</p><pre>" in step._repr_html_()
    assert "tanh" in step._repr_html_()


@pytest.mark.parametrize(("values", "first", "cells"), [
    ([1.0, -2.0], "33,102,172,0.60", 2), (3.5, "178,24,43,0.60", 1), ([[1, 0], [0, 1]], "", 4),
    (np.zeros((0, 3)), "", 0), (np.full((2, 3, 4), np.nan), "0.00", 24),
    (np.ones((100, 100)), "178", 24 * 25 + 1),
])
def test_a_leaf_shows_its_values_shaded(values, first, cells):
    t = tg.Tensor(values)
    shown = t._repr_mimebundle_()
    assert shown["text/plain"] == repr(t)
    assert first in shown["text/html"] and shown["text/html"].count("<td") == cells
    assert shown["text/html"] == shaded(t.data)


def test_a_history_shows_its_curves_and_what_went_wrong(monkeypatch):
    history = tg.History({"epoch": [1, 2], "loss": [2.0, 1.0]})
    history.findings.append(Finding("dead units", "a", 0.5, "half < all", "Try less."))
    pytest.importorskip("matplotlib")
    assert history._repr_html_().startswith('<img src="data:image/png;base64,')
    assert "<li>dead units: half &lt; all. Try less.</li>" in history._repr_html_()

    def missing(self):
        raise RenderError("no Matplotlib")

    monkeypatch.setattr(tg.History, "plot", missing)
    assert rows_of(history._repr_html_()) == [["epoch", "loss"], ["1", "2"], ["2", "1"]]
    assert rows_of(tg.History()._repr_html_()) == [[]]


def test_a_race_shows_the_paths_and_where_they_ended():
    pytest.importorskip("matplotlib")
    result = tg.viz.race("ravine", {"sgd": optim.SGD(lr=0.01), "adam": optim.Adam(lr=0.1)}, steps=5)
    assert result._repr_html_().startswith('<img src="data:image/png;base64,')
    head, *rows = rows_of(result._repr_html_())
    assert head[0] == "optimizer" and [row[0] for row in rows] == list(result.tracks)


def test_treescope_shows_models_and_tensors_as_trees():
    treescope = pytest.importorskip("treescope")
    model = nn.MLP([2, 3, 1], rng=0)
    model(np.ones((4, 2))).sum().backward()
    text = treescope.render_to_text(model)
    assert text.startswith("MLP(") and "layers=[" in text and "Linear(" in text
    assert "'layers.0.weight'" in text and "requires_grad=True" in text and "grad=" in text
    text = treescope.render_to_text(np.tanh(tg.Tensor([1.0, 2.0], requires_grad=True)))
    assert text.startswith("Tensor(") and "op=" in text and "name=" not in text
    assert len(treescope.render_to_html(model)) > 1000


# What a reader sees of a notebook, cell by cell, and the richest form of it.
CELLS = {
    "import numpy as np, tinygrad_opt as tg\nfrom tinygrad_opt import nn, optim": None,
    "tg.Tensor([[1.0, -2.0], [0.5, 0.0]], requires_grad=True, name='w')": "text/html",
    "x = tg.Tensor([1.0, 2.0], requires_grad=True, name='x')\n(x * x).sum()": "image/svg+xml",
    "model = nn.MLP([2, 16, 3], rng=0)\nmodel": "text/html",
    "x, y = tg.data.spiral(30, rng=0)\nopt = optim.Adam(model.parameters(), lr=0.02)\n"
    "history = tg.fit(model, x, y, loss=nn.cross_entropy, optimizer=opt, epochs=3)": None,
    "history": "text/html",
    "opt": "text/html",
    "tg.viz.race('ravine', {'sgd': optim.SGD(lr=0.01), 'adam': optim.Adam(lr=0.1)}, steps=20)":
    "text/html",
    "optim.minimize(lambda x: ((x - 3) ** 2).sum(), np.zeros(3))": "text/html",
    "tg.diagnose(model, x, y, loss=nn.cross_entropy)": "text/html",
    "@tg.compile\ndef step(x):\n    return (np.tanh(x) ** 2).sum()\n\nstep(np.ones(3))\nstep":
    "text/html",
}


def test_a_notebook_runs_and_every_cell_shows_its_result(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                    # Jupyter's own
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    for cell, kind in zip(notebook.cells, CELLS.values(), strict=True):
        results = [o for o in cell.outputs if o.output_type == "execute_result"]
        assert [kind in o.data for o in results] == ([] if kind is None else [True]), cell.source
        assert not [o for o in cell.outputs if o.get("name") == "stderr" and "Error" in o.text]
    nbconvert = pytest.importorskip("nbconvert")
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    assert page.count("<table>") >= 6 and "<svg" in page and "data:image/png" in page


def test_a_script_for_another_library_shows_its_lines():
    script = tg.interop.script(nn.MLP([2, 1, 1], rng=0), "sgd:0.1", "mse", "torch")
    shown = script._repr_html_()
    assert shown.startswith("<pre><code>") and "\nmodel = nn.Sequential(\n" in shown
    assert "{name: torch" in shown and "&quot;" in shown


def test_nothing_in_a_table_is_taken_for_html():
    assert html_table([["<b>"], ["a & b"]]) == (
        "<table><tr><th>&lt;b&gt;</th></tr><tr><td>a &amp; b</td></tr></table>")
