"""The commands that make pictures of training: what they write, what they refuse."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_opt import optim
from tinygrad_opt.cli import main
from tinygrad_opt.cli.command import COMMANDS
from tinygrad_opt.cli.outputs import Counter
from tinygrad_opt.cli.paths import SURFACES as NAMES
from tinygrad_opt.errors import install
from tinygrad_opt.train import progress
from tinygrad_opt.viz.plots.descents import RUNS
from tinygrad_opt.viz.plots.surfaces import SURFACES

pytest.importorskip("matplotlib")
from PIL import Image

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def done(line):
    assert main([*line.split(), "--quiet"]) == 0


def refused(line, capsys, expected=2):
    """What is said, in one line on standard error; nothing has been written."""
    try:
        code = main(line.split())
    except SystemExit as exit:
        code = exit.code
    out, err = capsys.readouterr()
    assert code == expected and out == "" and not os.listdir()
    return err.splitlines()[-1]


@pytest.mark.parametrize("line, files", [
    ("race beale --steps 3 --frames 3 --out race.gif race.csv", "race.gif race.csv"),
    ("animate moons --epochs 2 --frames 3 --out a.webp", "a.webp"),
    ("landscape moons --epochs 2 --points 3 --out l.png", "l.png"),
    ("report moons --epochs 2 --out r.html", "r.html"),
])
def test_each_runs_as_it_is_typed_and_names_its_files(tmp_path, line, files):
    run = subprocess.run([sys.executable, "-W", "error", "-m", "tinygrad_opt", *line.split()],
                         env=os.environ | {"PYTHONPATH": str(REPOSITORY),
                                           "PYTHONIOENCODING": "utf-8"},
                         capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert run.returncode == 0, run.stderr
    told = [text.split()[0] for text in run.stdout.splitlines()[-len(files.split()):]]
    assert told == files.split()
    assert sorted(os.listdir()) == sorted(files.split())


# ---- race ----------------------------------------------------------------------------------------


def test_a_race_is_run_by_the_optimizers_that_were_named():
    done("race beale --optimizers sgd:0.02,adam --steps 4 --out race.csv")
    with open("race.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["optimizer"] for row in rows] == 5 * ["SGD lr=0.02"] + 5 * ["Adam lr=0.3"]
    p = {"x": np.array(1.0), "y": np.array(1.4)}
    sgd, seen = optim.SGD(lr=0.02), []
    for _ in range(5):
        seen.append([float(v) for v in p.values()])
        sgd.update(p, dict(zip("xy", map(np.float64, SURFACES["beale"].gradient(*seen[-1])))))
    assert [[float(row["x"]), float(row["y"])] for row in rows[:5]] == seen


def test_a_race_starts_where_it_is_told():
    done("race ravine --steps 2 --start=-3,0.5 --out race.npz")
    with np.load("race.npz") as arrays:
        assert arrays["x"][arrays["step"] == 0].tolist() == [-3.0] * 3
        assert arrays["y"][0] == 0.5


def test_a_race_is_written_as_each_suffix_says(capsys):
    done("race saddle --steps 5 --frames 4 --theme dark --out new/a.gif a.webp a.html a.png a.svg")
    for name, frames in (("new/a.gif", 4), ("a.webp", 4), ("a.png", 1)):
        with Image.open(name) as image:
            assert image.n_frames == frames and image.convert("RGB").getpixel((3, 3)) < (40, 40, 40)
    assert b'<svg id="film"' in Path("a.html").read_bytes()
    assert b"<svg" in Path("a.svg").read_bytes()
    out = capsys.readouterr().out
    assert out.startswith("saddle: f(x, y) = x² − y²") and "optimizer" in out


def test_methods_that_know_the_curvature_race_beside_optimizers(capsys):
    done("race rosenbrock --optimizers newton,cg:beta=hessian,line_search,sgd --out race.csv")
    out = capsys.readouterr().out
    steps = {row[0]: int(row[1]) for row in re.findall(r"^(\S+).*?  +(\d+)  ", out, re.M)}
    assert steps["Newton"] < steps["ConjugateGradient"] < steps["SteepestDescent"] < 200
    with open("race.csv", newline="") as file:
        path = [r for r in csv.DictReader(file) if r["optimizer"] == "Newton"]
    assert (float(path[-1]["x"]), float(path[-1]["y"])) == pytest.approx((1, 1), abs=1e-6)


def test_noise_alone_leaves_the_ridge_of_a_saddle(capsys):
    done("race saddle --optimizers sgd,sgd:noise=.05 --start=-1.6,0 --steps 200 --out r.csv")
    assert re.search(r"^SGD lr=\S+ noise=0.05 .* step \d+$", capsys.readouterr().out, re.M)
    with open("r.csv", newline="") as file:
        last = {row["optimizer"]: float(row["y"]) for row in csv.DictReader(file)}
    still, left = last.values()
    assert still == 0 and abs(left) > 1.3


def test_on_a_neuron_smaller_batches_are_sooner_there_and_swing_more():
    done("race noisy_neuron --optimizers sgd,sgd:batch=3,sgd:batch=1 --steps 3000 --out r.npz")
    with np.load("r.npz") as arrays:
        values, w = ({name: arrays[key][arrays["optimizer"] == name]
                      for name in np.unique(arrays["optimizer"])} for key in ("value", "w"))
    near = [int(np.argmax(values[f"SGD lr=0.25{b}"] < 0.2)) for b in (" batch=1", " batch=3", "")]
    spread = [w[f"SGD lr=0.25{b}"][2000:].std() for b in (" batch=1", " batch=3")]
    assert 0 < near[0] < near[1] / 2 and near[1] < near[2] / 1.5
    assert spread[0] > 0.1 and spread[1] < 0.04


@pytest.mark.parametrize("line", [
    "race beale --steps 3", "landscape moons --epochs 1 --points 3"])
def test_every_picture_takes_a_size_dots_and_a_title(line):
    done(f"{line} --size 800x450 --dpi 80 --title T --out a.png a.svg")
    with Image.open("a.png") as image:
        assert image.size == (800, 450)
    text = Path("a.svg").read_text(encoding="utf-8")
    assert text.count(">T</text>") == 2 and "prefers-color-scheme" in text     # light and dark


def test_descents_are_one_picture_or_a_film_of_each(capsys):
    done("descend stuck sgd:lr=.28,momentum=.3 --frames 3 --out d.png d.gif")
    out = capsys.readouterr().out
    assert re.search(r"^stuck +SGD lr=0.01 +settled at x = 3.83 in 23 steps$", out, re.M)
    assert re.search(r"SGD lr=0.28 momentum=0.3 +settled at x = 0.00 in 4 steps$", out, re.M)
    assert sorted(os.listdir()) == ["d.png", "d_sgd-lr-.28-momentum-.3.gif", "d_stuck.gif"]


def test_the_spiral_is_a_table_of_what_is_published_beside_what_came_out(capsys):
    done("spiral 3 4 momentum:velocity=gradients --seeds 2 --epochs 20 --out s.png s.csv")
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"SGD lr=1 decay=0.01  +0.647, 0.874  +0.00990  +0\.\d+ \(0\.\d+ to", lines[1])
    assert lines[1].endswith("0.84034  faulty: the run without decay; it is stuck")
    assert re.search(r" 0.693, 0.693  +0.09092 .* 0.98135$", lines[2])
    assert re.match(r"Momentum lr=0.01 velocity=gradients  +none   ", lines[3])
    with open("s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 20 and float(rows[19]["lr"]) == pytest.approx(1 / 1.19)
    assert lines[-2:] == ["s.png", "s.csv"]


def test_a_race_draws_the_arrows_of_one(capsys):
    done("race ravine --steps 9 --arrows momentum --out a.svg")
    assert "gradient of Momentum lr=0.05" in Path("a.svg").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main("race ravine --steps 9 --arrows nobody --out b.svg --quiet".split()) == 2
    assert "no 'nobody' took part; there were: SGD" in capsys.readouterr().err


def test_a_race_shows_who_diverged(capsys):
    done("race ravine --optimizers sgd:9,adam --steps 50 --out race.csv")
    assert "diverged at step" in capsys.readouterr().out


@pytest.mark.parametrize("name", SURFACES)
def test_on_every_surface_the_usual_rates_lead_down(name):
    done(f"race {name} --optimizers {','.join(optim.names())} --steps 200 --out race.npz")
    with np.load("race.npz") as arrays:
        for optimizer in np.unique(arrays["optimizer"]):
            values = arrays["value"][arrays["optimizer"] == optimizer]
            assert len(values) == 201 and values[-1] < values[0], optimizer


def test_every_surface_and_every_optimizer_has_a_rate():
    assert list(NAMES) == list(SURFACES)
    assert ", ".join(SURFACES) in " ".join((COMMANDS["race"].__doc__ or "").split())
    assert ", ".join(RUNS) in " ".join((COMMANDS["descend"].__doc__ or "").split())
    assert all(set(s.rates) == set(optim.names()) for s in SURFACES.values())


@pytest.mark.parametrize("line, words", [
    ("race bealle", "no surface is called 'bealle'; did you mean 'beale'?"),
    ("race xyz", "known: beale, himmelblau, neuron, noisy_neuron, plateau"),
    ("race beale --optimizers sgd,adm", "no method is called 'adm'; did you mean 'adam'?"),
    ("race beale --optimizers adam,sgd:batch=1", "batch= is for the neurons"),
    ("race neuron --optimizers newton,sgd:batch=1", "let optimizers with batch= race alone"),
    ("race neuron --optimizers newton:noise=.1", "batch= and noise= are for"),
    ("race saddle --optimizers sgd:noise=-1", "noise must be a finite number in [0, inf)"),
    ("race neuron --optimizers sgd:batch=0", "batch must be at least 1, got 0"),
    ("race beale --optimizers cg:beta=x", "beta must be one of 'fletcher_reeves'"),
    ("race beale --optimizers sgd:lr=1,momentum=2", "momentum must be a finite number in [0, 1]"),
    ("race beale --size 1920", "'1920' is no size such as 1920x1080"),
    ("race beale --size 100000x900", "of 100 to 10000 pixels each"),
    ("animate moons --init nan", "scale must be a finite number of at least 0"),
    ("animate spiral --size 9x1080", "of 100 to 10000 pixels each"),
    ("landscape spiral --dpi 0", "'0' is no number above 0"),
    ("landscape spiral --optimizer sgd:lr=1 --lr 2", "sgd:lr=1 has its rate, and --lr 2 says"),
    ("report moons --optimizer sgd:clip_norm=2 --clip-norm 1", "sgd:clip_norm=2 clips gradients"),
    ("descend --start x", "'x' is no number"),
    ("descend stuck sgd:0.01", "is there twice"),
    ("spiral 0", "there are rows 1 to 9"),
    ("spiral adm", "did you mean 'adam'?"),
    ("spiral 1 1", "is there twice"),
    ("race beale --optimizers adam,adam:0.3", "Adam lr=0.3 is there twice"),
    ("race beale --steps -5", "'-5' is no whole number of at least 1"),
    ("race beale --start 1", "'1' is no point such as 1,-2.5"),
    ("race beale --start=1,nan", "is no point"),
    ("race beale --out race.gfi", "did you mean '.gif'?"),
    ("race beale --out race", "'race' chooses no format; known: .csv, .gif, .html"),
    ("animate sprial", "no data set is called 'sprial'; did you mean 'spiral'?"),
    ("animate digits", "digits has 64 features"),
    ("animate spiral --optimizer adm", "did you mean 'adam'?"),
    ("animate spiral --epochs 0", "at least 1"),
    ("animate spiral --out a.csv", "'a.csv' chooses no format"),
    ("landscape spiral --kind 3d", "invalid choice: '3d'"),
    ("landscape spiral --optimizer adm", "did you mean 'adam'?"),
    ("landscape spiral --out l.gif", "'l.gif' chooses no format"),
    ("landscape spiral --points 1", "at least 2"),
    ("landscape spiral --span -1", "no number above 0"),
    ("report digit", "did you mean 'digits'?"),
    ("report foo", "no data set is called 'foo'; known: digits, moons, spiral"),
    ("report digits --optimizer adm", "did you mean 'adam'?"),
    ("report digits --out r.pdf", "'r.pdf' chooses no format; known: .htm, .html"),
])
def test_what_makes_no_sense_is_refused_before_any_work(capsys, line, words):
    assert words in refused(line, capsys)


@pytest.mark.parametrize("line", ["race beale", "animate spiral", "landscape spiral",
                                  "report digits"])
def test_without_matplotlib_one_line_says_how_to_get_it(line, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert install("viz") in refused(line, capsys, 1)


def test_numbers_need_no_matplotlib(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done("race beale --steps 2 --out race.csv")
    done("landscape moons --epochs 1 --points 2 --out l.csv")


# ---- animate, landscape, report ------------------------------------------------------------------


def test_an_animation_shows_the_training_that_train_runs():
    done("animate moons --optimizer sgd --epochs 3 --seed 1 --out a.npz")
    done("train moons --optimizer sgd --epochs 3 --seed 1 --out run")
    with open("run/history.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    with np.load("a.npz") as arrays:
        assert arrays["epoch"].tolist() == [0, 1, 2, 3]
        assert arrays["loss"][1:].tolist() == losses


def test_a_training_that_explodes_is_animated_to_its_end(capsys):
    assert main("animate moons --optimizer sgd --lr 1e5 --epochs 9 --quiet --out a.npz".split())
    assert "try a smaller learning rate" in capsys.readouterr().err
    with np.load("a.npz") as arrays:
        assert arrays["epoch"][0] == 0


@pytest.mark.parametrize("kind, columns, rows", [
    ("1d", ["a", "loss"], 5), ("2d", ["a", "b", "loss"], 25), ("path", ["a", "b", "loss"], 25)])
def test_a_landscape_holds_its_points_in_rows(kind, columns, rows):
    done(f"landscape moons --kind {kind} --epochs 4 --points 5 --out l.csv l.npz")
    with open("l.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == columns and len(table) == rows
    with np.load("l.npz") as arrays:
        assert [float(row["loss"]) for row in table] == arrays["loss"].ravel().tolist()
        assert ("path" in arrays.files) == (kind == "path")


def test_a_landscape_of_a_network_that_exploded_is_an_error(capsys):
    assert main("landscape moons --optimizer sgd --lr 1e30 --epochs 9 --quiet".split()) == 1
    assert "try a smaller learning rate" in capsys.readouterr().err and not os.listdir()


def test_a_report_holds_the_run(capsys):
    done("report digits --optimizer momentum --epochs 2 --theme dark --out new/r.html")
    page = Path("new/r.html").read_text(encoding="utf-8")
    assert "<title>digits, learned by Momentum</title>" in page and "Momentum(lr=0.05" in page
    assert "<h2>Samples</h2>" in page and "--page:#14171A" in page


def test_a_report_names_the_classes_of_a_table():
    rows = [f"{5 * k + i},{'rose' if k else 'tulip'}" for k in (0, 1) for i in range(4)]
    Path("flowers.csv").write_text("\n".join(["length,kind", *rows]))
    done("report flowers.csv --target kind --epochs 1 --out r.html")
    assert Path("r.html").read_text(encoding="utf-8").count("rose") > 0


# ---- progress ------------------------------------------------------------------------------------


class Bar:
    """What is used of tqdm."""

    def __init__(self, total, desc, dynamic_ncols):
        self.total, self.desc, self.n, self.closed = total, desc, 0, False

    def update(self, more):
        self.n += more

    def close(self):
        self.closed = True


def test_in_a_terminal_a_bar_counts_up(monkeypatch):
    monkeypatch.setattr("tinygrad_opt.train.progress.progress_for", lambda on: progress.Bar(Bar))
    with Counter("frames", quiet=False) as watch:
        for i in range(1, 4):
            watch(i, 3)
            assert (watch.bar.n, watch.bar.total, watch.bar.desc) == (i, 3, "frames")
    assert watch.bar.closed


def test_elsewhere_there_is_a_line_now_and_then_and_none_if_quiet(monkeypatch, capsys):
    now = iter(range(100))
    monkeypatch.setattr("tinygrad_opt.cli.outputs.time.perf_counter", lambda: next(now))
    for quiet in (False, True):
        with Counter("frames", quiet) as watch:
            for i in range(1, 7):
                watch(i, 6)
        told = ["frames: 3 of 6 after 3.0 s", "frames: 6 of 6 after 6.0 s"]
        assert capsys.readouterr().err.splitlines() == ([] if quiet else told)


def test_pictures_of_a_csv_file_have_the_names_of_its_columns_and_classes(tmp_path, monkeypatch):
    from tinygrad_opt.viz import TrainingRecorder, decision_regions
    from tinygrad_opt.viz.plots import training_report

    regions, films = [], []
    film = TrainingRecorder.film
    monkeypatch.setattr(training_report, "decision_regions", lambda *args, **options: (
        regions.append(decision_regions(*args, **options)) or regions[-1]))
    monkeypatch.setattr(TrainingRecorder, "film", lambda self, **options: (
        films.append(film(self, **options)) or films[-1]))
    path = tmp_path / "two.csv"
    path.write_text("length,width,kind\n" + "1,2,cat\n3,4,dog\n1.5,2,cat\n3,4.5,dog\n" * 5)
    for command, out in (("report", "r.html"), ("animate", "a.gif")):
        assert main([command, str(path), "--epochs", "2", "--quiet", "--out", out]) == 0
    ax = regions[0].axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("length", "width")
    legend = next(ax.get_legend() for ax in films[0].figure.axes if ax.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == ["cat", "dog"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_drawing_of_one_theme_is_drawn_once(theme):
    done(f"race beale --steps 3 --theme {theme} --title T --out a.svg")
    text = Path("a.svg").read_text(encoding="utf-8")
    assert "prefers-color-scheme" not in text and text.count("<!-- T -->") == 1
