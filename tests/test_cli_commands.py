"""The commands that draw, play, check, compare and show: what they print, write and refuse."""

import csv
import json
import os
import re
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tinygrad_opt import cli, data, nn, ops
from tinygrad_opt.checkpoint import load, save
from tinygrad_opt.cli import main
from tinygrad_opt.cli.check import _results
from tinygrad_opt.cli.command import COMMANDS
from tinygrad_opt.cli.learning import TASKS
from tinygrad_opt.errors import install
from tinygrad_opt.train import evaluate
from tinygrad_opt.viz.graph import engines

NEURON = ["tanh(a*b + c)", "a=2", "b=-3", "c=6.5"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def refused(arguments, capsys, code=2):
    """What an error says: one line on standard error, and the exit code, of a wrong usage 2."""
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert err.startswith("tinygrad-opt: error: ") and err.count("\n") == 1
    return err


# ---- draw ----------------------------------------------------------------------------------------


def test_draw_prints_the_file_and_the_tree_with_the_gradients(tmp_path, capsys):
    assert main(["draw", *NEURON, "--grad", "--out", "deep/neuron.svg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == os.path.join("deep", "neuron.svg")
    slope = 1 - np.tanh(0.5) ** 2
    root = next(line for line in lines if line.startswith("tanh  "))
    assert f"data {np.tanh(0.5):.4f}" in root and "grad 1 " in root
    b = next(line for line in lines if "─ b " in line)
    assert f"grad {2 * slope:.4g} " in b.replace("−", "-")
    picture = ElementTree.parse(tmp_path / "deep" / "neuron.svg").getroot()
    assert picture.tag.endswith("svg")


def test_draw_without_grad_shows_no_gradient(capsys):
    assert main(["draw", *NEURON]) == 0
    assert "grad –" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "start"), [
    ("g.gv", b"digraph"), ("g.html", b"<!doctype html>"), ("g.svg", b"<svg")])
def test_the_suffix_chooses_the_format(tmp_path, name, start):
    assert main(["draw", *NEURON, "--out", name]) == 0
    assert start in (tmp_path / name).read_bytes()[:200]


@pytest.mark.filterwarnings("default:Wrote g.gv")
@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_a_picture_that_nothing_here_paints_is_text_and_an_error(monkeypatch, capsys, suffix):
    found = engines.engines
    monkeypatch.setattr(engines, "engines", lambda wanted: [
        engine for engine in found(wanted) if suffix not in engine.formats])
    assert main(["draw", *NEURON, "--out", f"g.{suffix}"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("g.gv  the graph as text") and os.listdir() == ["g.gv"]
    assert f"No {suffix.upper()} engine found" in err
    assert install({"png": "viz", "pdf": "pdf"}[suffix]) in err


def test_the_command_that_installs_an_extra_works_in_a_checkout_too(tmp_path, monkeypatch):
    root = Path(cli.__file__).parents[2]
    assert install("viz") == f'pip install "{root}[viz]"' and (root / "pyproject.toml").is_file()
    installed = tmp_path / "tinygrad_opt" / "errors.py"
    monkeypatch.setattr("tinygrad_opt.errors.__file__", str(installed))
    assert install("viz") == 'pip install "tinygrad-opt[viz]"'


def test_style_and_detail_reach_the_drawing(tmp_path, capsys):
    shown = {}
    for options in (["--style", "merged"], ["--style", "split"], ["--detail", "0"]):
        assert main(["draw", *NEURON, *options, "--out", "g.svg"]) == 0
        shown[options[1]] = capsys.readouterr().out
    assert "6 nodes" in shown["merged"] and "9 nodes" in shown["split"]
    assert "data" in shown["merged"] and "data" not in shown["0"]


def test_values_may_be_lists(capsys):
    assert main(["draw", "sum(w @ x)", "w=[[1,2],[3,4]]", "x=[1,-1]", "--grad"]) == 0
    out = capsys.readouterr().out
    assert "data −2" in out and "(2, 2)" in out


@pytest.mark.parametrize(("arguments", "words"), [
    (["a*b", "a=2"], "'b' in the formula 'a*b' has no value; give it one: b="),
    (["a", "a=2", "b=3"], "'b' has a value but is not in the formula"),
    (["a", "a=2", "a=3"], "a has two values"),
    (["tanh(a", "a=2"], "cannot read the formula 'tanh(a'"),
    (["__import__('os')"], "not a known function"),
    (["a*2", "a=[1,2]", "--grad"], "gradients need one number, such as sum(a*2)"),
    (["2+3", "--grad"], "no names to take gradients by"),
    (["a @ b", "a=[1,2]", "b=[1,2,3]"], "inner sizes 2 and 3 differ"),
])
def test_draw_says_what_is_wrong_with_a_formula(tmp_path, capsys, arguments, words):
    assert words in refused(["draw", *arguments], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["a", "=2", "2=a", "a=", "a=x", "a=__import__('os')", "a=(1,2)"])
def test_what_is_not_a_name_and_a_value_is_refused(capsys, value):
    with pytest.raises(SystemExit) as caught:
        main(["draw", "a*a", value])
    assert caught.value.code == 2
    assert "such as a=2" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["a*b", "--grad", "a=2", "b=3"], ["-a", "a=2"]])
def test_what_stands_in_the_wrong_place_is_named_with_where_to_read_more(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["draw", *arguments])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "unrecognized arguments: " in err and "tinygrad-opt draw --help" in err


# ---- play ----------------------------------------------------------------------------------------


def test_play_writes_a_page_that_needs_nothing_else(tmp_path, capsys):
    assert main(["play", *NEURON, "--out", "lesson/tanh.html"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(os.path.join("lesson", "tanh.html")) and "8 steps" in out
    page = (tmp_path / "lesson" / "tanh.html").read_text(encoding="utf-8")
    assert "tanh(a*b + c)</title>" in page and not re.search(r'(src|href)="https?:', page)


def test_play_refuses_what_it_cannot_play(tmp_path, capsys):
    assert "sum(a*2)" in refused(["play", "a*2", "a=[1,2]"], capsys)
    assert not list(tmp_path.iterdir())


# ---- a saved model -------------------------------------------------------------------------------


def test_play_and_draw_a_model_that_train_has_saved(tmp_path, capsys):
    assert main(["train", "moons", "--epochs", "2", "--quiet", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["play", "run/weights.npz", "--data", "moons", "--rows", "6"]) == 0
    assert "12 steps" in capsys.readouterr().out
    page = (tmp_path / "backprop.html").read_text(encoding="utf-8")
    assert "6 rows of moons" in page and "layers.0.weight" in page
    assert main(["draw", "run/weights.npz", "--data", "moons", "--grad"]) == 0
    tree = capsys.readouterr().out
    model = nn.MLP([2, 16, 2])
    load("run/weights.npz", model)
    x, y = data.moons(rng=1)
    rows = np.linspace(0, len(x) - 1, 4).astype(int)
    expected = nn.cross_entropy(model(x[rows].astype("float32")), y[rows]).item()
    assert f"loss  cross entropy  data {expected:.4g} " in tree and "4 rows of moons" in tree


def test_a_model_without_data_is_given_random_numbers_and_the_picture_says_so(capsys):
    save("m.npz", nn.Sequential(nn.Embedding(7, 3, rng=0), nn.Flatten(), nn.Linear(3, 2, rng=0)))
    assert main(["draw", "m.npz", "--rows", "3", "--out", "g.svg"]) == 0
    out = capsys.readouterr().out
    assert "mean of squares" in out and "(3, 1, 3)" in out
    save("m.safetensors", nn.MLP([5, 4, 1], dropout=0.5, dtype="float64", rng=0))
    assert main(["draw", "m.safetensors", "--out", "g.svg"]) == 0
    out = capsys.readouterr().out
    assert "4 random rows  input  (4, 5)  float64" in out
    assert "mask" not in out and "where" not in out        # nothing is dropped


def test_a_model_with_one_output_has_the_loss_of_two_classes(capsys):
    save("m.npz", nn.MLP([2, 1], rng=0))
    assert main(["draw", "m.npz", "--data", "moons"]) == 0
    assert "(4, 1)" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["draw", "play"])
def test_what_cannot_be_done_with_a_saved_model_is_said(command, capsys):
    def said(*arguments):
        return refused([command, *arguments], capsys)

    assert "no such file" in said("none.npz")
    save("state.npz", nn.Linear(2, 2).state_dict())
    assert re.search(r"state.npz: .*does not tell.*load\(path, model\), then viz.draw\(loss\)",
                     said("state.npz"))
    save("own.npz", nn.Sequential(nn.Linear(2, 2), lambda x: x))
    assert "layers.1 is the function <lambda>" in said("own.npz")
    save("conv.npz", nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()))
    assert "cannot be told from its layers" in said("conv.npz")
    save("rnn.npz", nn.RNN(2, 2, rng=0))
    assert "cannot be told" in said("rnn.npz")
    save("m.npz", nn.MLP([2, 3], rng=0))
    assert "takes no a=" in said("m.npz", "a=2")
    assert "inner sizes 64 and 2 differ" in said("m.npz", "--data", "digits")
    assert "--target names a column" in said("m.npz", "--target", "y")
    save("few.npz", nn.MLP([64, 3], rng=0))
    assert "(4, 3) for 4 rows, digits has 10 classes" in said("few.npz", "--data", "digits")
    assert "are for a saved model" in said("a*b", "a=1", "b=2", "--data", "moons")


def test_draw_shows_the_backward_pass_beside_the_forward_arrows(capsys):
    assert main(["draw", *NEURON, "--flow", "--out", "g.gv"]) == 0
    with open("g.gv", encoding="utf-8") as file:
        assert file.read().count('class="back"') == 5


# ---- check ---------------------------------------------------------------------------------------


def test_check_covers_every_operation_and_finds_all_right(capsys):
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[1:-1]} == set(ops.TABLE)
    assert all(line.endswith("  right") for line in lines[1:-1])
    assert lines[-1] == f"{len(ops.TABLE)} of {len(ops.TABLE)} operations have the right gradient"


@pytest.mark.parametrize("name", ops.TABLE)
def test_the_calls_of_an_operation_are_where_it_is_defined_and_has_no_kink(name):
    results = [result for _, result in _results(name)]
    assert results
    for result in results:
        assert np.isfinite([result.analytic, result.numeric]).all() and not result.kinks


def test_check_of_some_operations_prints_those(capsys):
    assert main(["check", "tanh", "matmul"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["operation", "calls"], ["tanh", "4"], ["matmul", "12"], ["2", "of"]]


def test_check_finds_a_wrong_rule_and_exits_with_1(monkeypatch, capsys):
    wrong = ops.op("tanh", np.tanh, lambda g, z, x: g * (1 + z * z))
    monkeypatch.setitem(ops.TABLE, "tanh", wrong)
    assert main(["check", "exp", "tanh"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("right") and "wrong for (3, 4): " in lines[2]
    assert lines[-1] == "1 of 2 operations have the right gradient; wrong: tanh"


def test_check_names_the_call_in_which_a_rule_is_wrong(monkeypatch, capsys):
    row = ops.op("leaky_relu", ops.leaky_relu.kernel,
                 lambda g, z, x, slope=0.01: g * np.where(x > 0, 1, 0.01))
    monkeypatch.setitem(ops.TABLE, "leaky_relu", row)
    assert main(["check", "leaky_relu"]) == 1
    assert re.search(r"wrong for \(.*\), slope=0.2: ", capsys.readouterr().out)


def test_a_new_operation_is_checked_without_further_words(monkeypatch, capsys):
    cube = ops.op("x³", lambda x: x**3, lambda g, z, x: g * 3 * x**2)
    monkeypatch.setitem(ops.TABLE, "cube", cube)
    assert main(["check", "cube"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("right")


# ---- compare -------------------------------------------------------------------------------------


def test_compare_prints_the_means_of_what_it_writes(tmp_path, capsys):
    assert main(["compare", "moons", "--optimizers", "adam,sgd:0.1,sgd:1", "--seeds", "2",
                 "--epochs", "3", "--quiet", "--out", "c"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    with open(tmp_path / "c" / "compare.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 3
    for label in ("Adam lr=0.02", "SGD lr=0.1", "SGD lr=1"):
        last = [float(r["val_accuracy"]) for r in rows
                if r["optimizer"] == label and r["epoch"] == "3"]
        assert len(last) == 2
        shown = re.search(rf"^{label} +(\S+) \((\S+) to (\S+)\)", out, re.M).groups()
        want = [sum(last) / 2, min(last), max(last)]
        assert [float(s) for s in shown] == pytest.approx(want, abs=1e-4)


def test_compare_takes_a_table_and_options_of_optimizers(table, capsys):
    assert main(["compare", "flowers.csv", "--target", "kind", "--optimizers",
                 "sgd:lr=.5,momentum=.8,adam,rmsprop:defaults=keras", "--seeds", "1", "--epochs",
                 "3", "--quiet", "--size", "900x500", "--title", "T"]) == 0
    out = capsys.readouterr().out
    assert "RMSprop lr=0.001 defaults=keras" in out
    assert "SGD lr=0.5 momentum=0.8" in out and "Adam lr=0.01" in out


def test_a_seed_is_one_start_for_all_optimizers(tmp_path):
    """At a learning rate of almost nothing, what is measured is the start."""
    assert main(["compare", "moons", "--optimizers", "sgd:1e-12,momentum:1e-12", "--seeds", "2",
                 "--epochs", "1", "--quiet", "--out", "c"]) == 0
    with open(tmp_path / "c" / "compare.csv", newline="") as file:
        first, second, *others = (row["val_loss"] for row in csv.DictReader(file))
    assert first != second and [first, second] == others


def test_compare_draws_the_losses(tmp_path):
    pytest.importorskip("matplotlib")
    assert main(["compare", "moons", "--optimizers", "adam", "--seeds", "1", "--epochs", "2",
                 "--quiet", "--out", "c"]) == 0
    assert (tmp_path / "c" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_compare_without_matplotlib_says_how_to_get_it(tmp_path, capsys, no_matplotlib):
    assert main(["compare", "moons", "--optimizers", "sgd", "--seeds", "1", "--epochs", "1",
                 "--quiet"]) == 0
    assert install("viz") in capsys.readouterr().out
    assert os.listdir(tmp_path / "runs" / "compare-moons") == ["compare.csv"]


def test_compare_says_which_runs_exploded_and_goes_on(capsys):
    assert main(["compare", "moons", "--optimizers", "sgd:1e30,adam", "--seeds", "2",
                 "--epochs", "2", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^SGD lr=1e\+30 .* nan .* 2 of 2 exploded", out, re.M) and err == ""
    assert re.search(r"^Adam lr=0.02 +0\.\d+ \(", out, re.M)


def test_compare_shows_each_run_on_standard_error(capsys):
    assert main(["compare", "spiral", "--optimizers", "adam", "--seeds", "2", "--epochs", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "Adam lr=0.05, seed 0", "Adam lr=0.05, seed 1"]


def test_compare_refuses_optimizers_before_it_trains(tmp_path, capsys):
    assert "the same" in refused(["compare", "moons", "--optimizers", "adam,adam:0.02"], capsys)
    assert not list(tmp_path.iterdir())
    assert "the same" in refused(["compare", "moons", "--optimizers", "adam,Adam"], capsys)
    for wrong in ("sgd,adm", "adam:", "adam,,sgd", "adam:x", "adam:-1", "momentum=.8,adam"):
        with pytest.raises(SystemExit):
            main(["compare", "moons", "--optimizers", wrong])


# ---- train a file --------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """Three clouds far apart, on very different scales."""
    x, y = data.blobs(30, 3, noise=0.5, rng=0)
    names = ["rose", "tulip", "iris"]
    lines = [f"{a * 1000:.3f},{names[k]},{b / 1000:.6f}" for (a, b), k in zip(x, y)]
    path = tmp_path / "flowers.csv"
    path.write_text("\n".join(["length,kind,width", *lines]) + "\n")
    return path


@pytest.mark.parametrize("target", ["kind", "1", "-2"])
def test_train_learns_a_table(table, capsys, target):
    assert main(["train", "flowers.csv", "--target", target, "--quiet", "--epochs", "40"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("flowers: 68 samples to learn from, 22 to test on")
    assert "network 2-32-3" in out
    assert float(re.search(r"accuracy (\S+)", out).group(1)) > 0.9


def test_what_is_saved_of_a_table_is_enough_to_use_the_model(table):
    assert main(["train", "flowers.csv", "--target", "kind", "--quiet", "--hidden", "8",
                 "--epochs", "60", "--out", "o"]) == 0
    saved = load("o/weights.npz")
    assert saved["layers"] == [2, 8, 3] and saved["classes"] == ["iris", "rose", "tulip"]
    model = nn.MLP(saved["layers"])
    model.load_state_dict(saved["model"])
    x, y, _ = data.csv(table, "kind")
    x_train = data.train_test_split(x, y, test_size=0.25, rng=0)[0]
    np.testing.assert_allclose((x_train - saved["mean"]) / saved["spread"],
                               data.standardize(x_train), atol=1e-5)
    found = evaluate(model, (x - saved["mean"]) / saved["spread"], y, metrics=["accuracy"])
    assert found["accuracy"] > 0.9


@pytest.mark.parametrize(("text", "options", "words"), [
    ("a,b\n1,2.5\n3,4.5\n5,6.5\n7,8.5\n", [], "which are no classes; name the column of labels"),
    ("a,b\n1,1\n2,1\n3,1\n", [], "has one class only"),
    ("a,b\nx,1\n2,0\n", [], "line 2, column 1"),
    ("a,b\n1,1\n2,0\n", ["--target", "c"], "expected one column 'c'"),
    ("", [], "found none"),
])
def test_a_table_that_cannot_be_learned_is_an_error_that_says_why(
    tmp_path, capsys, text, options, words
):
    (tmp_path / "t.csv").write_text(text)
    assert words in refused(["train", "t.csv", *options], capsys)
    assert os.listdir(tmp_path) == ["t.csv"]


def test_a_table_that_is_not_there_is_named(capsys):
    assert "none.csv: No such file" in refused(["train", "none.csv"], capsys)
    assert "digits has no columns" in refused(["train", "digits", "--target", "x"], capsys)


def test_classes_may_be_any_whole_numbers(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("".join(f"{v},{k}\n" for k in (5, 10) for v in range(k, k + 9)))
    assert main(["train", "t.csv", "--quiet", "--epochs", "1"]) == 0
    assert "network 1-32-2" in capsys.readouterr().out
    assert load("runs/t/weights.npz")["classes"] == [5, 10]


def test_moons_are_learned_by_default(capsys):
    assert main(["train", "moons", "--quiet"]) == 0
    assert float(re.search(r"accuracy (\S+)", capsys.readouterr().out).group(1)) > 0.95


# ---- demo ----------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Every file that a page points to, and no picture that it holds."""

    def __init__(self, text):
        super().__init__()
        self.files = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.files |= {value for key, value in attributes
                       if key in ("href", "src") and not value.startswith("data:image/")}


def test_the_tour_links_all_that_it_made_from_one_page(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["demo", "--epochs", "1", "--out", "my tour"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and os.path.join("my tour", "index.html") in out.splitlines()[-1]
    folder = tmp_path / "my tour"
    files = Links((folder / "index.html").read_text(encoding="utf-8")).files
    assert files == {"digits/graph.svg", "digits/history.csv", "neuron.svg", "backprop.html",
                     "compare/compare.svg", "compare/compare.csv", "race.svg", "race.html",
                     "race.csv"}
    assert all((folder / file).stat().st_size > 100 for file in files)
    for typed in re.findall(r"^\$ tinygrad-opt (.*)$", out, re.M):
        cli.parser().parse_args(shlex.split(typed))


def test_the_tour_without_matplotlib_says_so_and_goes_on(tmp_path, capsys, no_matplotlib):
    assert main(["demo", "--epochs", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.count(install("viz")) == 2
    assert out.index("$ tinygrad-opt compare") < out.index("no picture of the race")
    folder = tmp_path / "runs" / "demo"
    files = Links((folder / "index.html").read_text(encoding="utf-8")).files
    assert files == {"digits/graph.svg", "digits/history.csv", "neuron.svg", "backprop.html",
                     "compare/compare.csv", "race.csv"}
    assert all((folder / file).is_file() for file in files)


def test_a_demo_is_listed_found_and_run_with_the_options_that_it_takes(tmp_path, capfd):
    pytest.importorskip("matplotlib")
    assert main(["demo", "list"]) == 0
    out, _ = capfd.readouterr()
    listed = [line.split()[0] for line in out.splitlines()]
    assert "vae" in listed and "helpers" not in listed and "neuron" in listed
    assert main(["demo", "learn_the_rate", "--quick", "--out", "x y"]) == 0
    assert (tmp_path / "x y" / "learn_the_rate_dark.png").is_file()
    assert main(["demo", "moons", "--quick", "--out", "x"]) == 0       # which draws in letters
    assert "accuracy" in capfd.readouterr().out


def test_a_demo_that_is_not_there_is_said(monkeypatch, tmp_path, capsys):
    assert main(["demo", "vea"]) == 2
    assert "there is no demo 'vea': did you mean" in capsys.readouterr().err
    monkeypatch.setattr("tinygrad_opt.cli.demo.DEMOS", tmp_path)
    assert main(["demo", "vae"]) == 2
    assert "come with the source" in capsys.readouterr().err


# ---- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_every_command_are_right(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    examples = re.findall(r"^  tinygrad-opt (.*?)(?:   .*)?$", capsys.readouterr().out, re.M)
    assert len(examples) >= 2
    for example in examples:
        chosen = cli.parser().parse_args(shlex.split(example))
        if name in ("draw", "play"):
            chosen.out = type(chosen.out)(f"e{chosen.out.suffix}")
            if chosen.formula.endswith(".npz"):
                os.makedirs(os.path.dirname(chosen.formula), exist_ok=True)
                save(chosen.formula, nn.MLP([2, 4, 2], rng=0))
            assert not chosen.run(chosen)


def test_every_task_can_be_trained_and_compared():
    for name, task in TASKS.items():
        samples = task.load()
        assert len(samples.x_train) == len(samples.y_train) > len(samples.layers((1,))), name
        json.dumps(task.rates)
