"""The command line, as it is typed."""

import csv
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import numpy as np
import pytest

from tinygrad_opt import cli, data, nn
from tinygrad_opt.checkpoint import load
from tinygrad_opt.cli import main
from tinygrad_opt.cli.command import COMMANDS, Argument, command
from tinygrad_opt.cli.kinds import Flag
from tinygrad_opt.train import History, evaluate

REPOSITORY = Path(__file__).parent.parent


def typed(*arguments, folder, **options):
    """``tinygrad-opt ...`` in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, "-m", "tinygrad_opt", *arguments], cwd=folder,
                          env=environment, capture_output=True, text=True, timeout=60, **options)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# ---- train ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return folder, typed("train", "digits", "--epochs", "3", folder=folder)


def test_train_says_what_it_does_and_where_the_files_are(digits):
    folder, done = digits
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "digits: 1348 samples to learn from, 449 to test on"
    assert lines[1].startswith("network 64-32-10, 2,410 parameters, Adam(")
    assert re.fullmatch(r"test accuracy 0\.\d+ \(\d+ of 449 right\) after 3 epochs, .* s", lines[2])
    for line, name in zip(lines[3:], ("graph.svg", "history.csv", "weights.npz"), strict=True):
        assert (folder / line.split()[0]) == folder / "runs" / "digits" / name
        assert (folder / "runs" / "digits" / name).stat().st_size > 100
    assert sorted(os.listdir(folder / "runs" / "digits")) == [
        "graph.svg", "history.csv", "weights.npz"]


def test_train_shows_its_progress_on_standard_error(digits):
    _, done = digits
    lines = done.stderr.splitlines()
    assert [line.split("[")[0] for line in lines] == ["epoch 1/3 ", "epoch 2/3 ", "epoch 3/3 "]
    assert all("val_accuracy" in line for line in lines)


def test_the_history_and_the_reported_accuracy_agree(digits):
    folder, done = digits
    history = rows(folder / "runs" / "digits" / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    reported = float(re.search(r"test accuracy (\S+)", done.stdout).group(1))
    assert float(history[-1]["val_accuracy"]) == pytest.approx(reported, abs=1e-4)
    assert float(history[-1]["loss"]) < float(history[0]["loss"])


def test_the_weights_are_those_that_were_tested(digits):
    folder, done = digits
    saved = load(folder / "runs" / "digits" / "weights.npz")
    model = nn.MLP(saved["layers"])
    model.load_state_dict(saved["model"])
    x, y = data.digits()
    _, x_test, _, y_test = data.train_test_split(x / 16, y, test_size=0.25, rng=0)
    found = evaluate(model, x_test, y_test, metrics=["accuracy"])["accuracy"]
    assert f"test accuracy {found:.4f} " in done.stdout
    assert saved["optimizer"] and saved["history"]["columns"]["epoch"] == [1, 2, 3]


def test_the_graph_is_a_picture_of_the_loss_with_its_parameters(digits):
    folder, _ = digits
    text = (folder / "runs" / "digits" / "graph.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    for name in ("layers.0.weight", "layers.1.bias", "loss", "cross entropy"):
        assert name in text


def test_train_is_repeatable_and_the_seed_matters(tmp_path):
    states = []
    for seed, out in (("1", "a"), ("1", "b"), ("2", "c")):
        assert main(["train", "spiral", "--epochs", "2", "--seed", seed, "--quiet",
                     "--out", str(tmp_path / out)]) == 0
        states.append(load(tmp_path / out / "weights.npz")["model"])
    first, again, other = states
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert not np.array_equal(first["layers.0.weight"], other["layers.0.weight"])


def test_options_reach_the_training(tmp_path, capsys):
    out = str(tmp_path / "deep" / "out")
    code = main(["train", "spiral", "--hidden", "8,4", "--optimizer", "SGD", "--lr", "0.25",
                 "--out", out, "--epochs", "2", "--batch-size", "100", "--quiet"])
    out, err = capsys.readouterr()
    assert code == 0 and err == ""
    assert "network 2-8-4-3" in out and "SGD(" in out
    saved = load(tmp_path / "deep" / "out" / "weights.npz")
    assert saved["layers"] == [2, 8, 4, 3]
    assert len(saved["history"]["steps"]["loss"]) == 6
    assert set(saved["history"]["steps"]["lr"]) == {0.25}


def test_the_learning_can_be_told_all_that_it_takes(tmp_path):
    assert main(["train", "spiral", "--optimizer", "sgd:lr=0.5,momentum=.8", "--init", "normal:"
                 "scale=1e-3", "--schedule", "cosine", "--clip-norm", "1e-3", "--epochs", "4",
                 "--quiet", "--out", str(tmp_path)]) == 0
    saved = load(tmp_path / "weights.npz")
    assert saved["history"]["steps"]["lr"] == pytest.approx(
        [0.5, 0.4267767, 0.25, 0.0732233], abs=1e-6)
    options = saved["optimizer"]["options"]
    assert (options["momentum"], options["clip_norm"]) == (0.8, 1e-3)
    assert 0 < np.abs(saved["model"]["layers.0.weight"]).max() < 0.01


def test_a_rate_falls_on_a_plateau(tmp_path):
    assert main(["train", "moons", "--optimizer", "sgd:1e-9", "--schedule",
                 "plateau:patience=1,factor=.5,min_delta=1", "--epochs", "4", "--quiet", "--out",
                 str(tmp_path)]) == 0
    lr = load(tmp_path / "weights.npz")["history"]["columns"]["lr"]
    assert lr == pytest.approx([1e-9, 1e-9, 5e-10, 2.5e-10])


def test_no_hidden_layer_is_softmax_regression(tmp_path, capsys):
    assert main(["train", "digits", "--hidden", "none", "--epochs", "1", "--quiet",
                 "--out", str(tmp_path)]) == 0
    assert "network 64-10, 650 parameters" in capsys.readouterr().out


def test_the_spiral_is_learned_by_default(tmp_path, capsys):
    """Its noise lets nobody do much better than 0.87 on new points."""
    assert main(["train", "spiral", "--quiet", "--out", str(tmp_path)]) == 0
    assert float(re.search(r"accuracy (\S+)", capsys.readouterr().out).group(1)) > 0.8


# ---- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "words"), [
    (["learn"], "no command is called 'learn'; known: animate, check, "),
    (["trian", "digits"], "no command is called 'trian'; did you mean 'train'?"),
    (["--debug"], "COMMAND"),
    (["train"], "dataset"),
    (["train", "cifar"], "known: digits, moons, spiral, or a file such as iris.csv"),
    (["train", "digits", "--epochs", "0"], "'0' is no whole number of at least 1"),
    (["train", "digits", "--epochs", "1.5"], "'1.5' is no whole number"),
    (["train", "digits", "--lr", "nan"], "'nan' is no number above 0"),
    (["train", "digits", "--lr", "-1"], "'-1' is no number above 0"),
    (["train", "digits", "--lr", "fast"], "'fast' is no number above 0"),
    (["train", "digits", "--hidden", "3,x"], "'3,x' is not sizes such as 32 or 64,32, nor none"),
    (["train", "digits", "--optimizer", "sgd:lr=1,momentm=.8"], "did you mean 'momentum'?"),
    (["train", "digits", "--optimizer", "sgd:lr=1", "--lr", "2"], "--lr 2 says another"),
    (["train", "digits", "--schedule", "cosin"], "did you mean 'cosine'?"),
    (["train", "digits", "--schedule", "step"], "step needs every, such as step:every=100"),
    (["train", "digits", "--schedule", "cosine:lst=1"], "no option 'lst'; did you mean 'last'?"),
    (["train", "digits", "--schedule", "cosine:lr=1"], "cosine has no option 'lr'"),
    (["train", "digits", "--schedule", "plateau:patience=0"], "patience must be at least 1"),
    (["train", "digits", "--schedule", "plateau:patienc=3"], "did you mean 'patience'?"),
    (["train", "digits", "--init", "kaming"], "no initialiser 'kaming'"),
    (["train", "digits", "--init", "normal:scal=1"], "no option 'scal'; did you mean 'scale'?"),
    (["train", "digits", "--init", "0.1:scale=1"], "0.1 has no option 'scale'"),
    (["train", "digits", "--init", "normal:scale=x"], "scale must be a number, got 'x'"),
    (["train", "digits", "--optimizer", "adam:betas=.9"], "or give beta1 and beta2"),
    (["train", "digits", "--optimizer", "adam:overrides=3"], "overrides must be a dict"),
    (["train", "digits", "--optimizer", "adam:frozen=nothing"], "no parameter fits 'nothing'"),
    (["descend", "stuk"], "no run or optimizer is called 'stuk'; did you mean 'stuck'?"),
    (["train", "digits", "--clip-norm", "0"], "'0' is no number above 0"),
    (["animate", "digits"], "digits has 64 features"),
    (["train", "digits", "--target", "x"], "digits has no columns"),
    (["train", "digits", "--seed", "-1"], "'-1' is no whole number of at least 0"),
    (["train", "digits", "--colour"], "--colour"),
    (["train", "digits", "--optimizer", "adamm"], "called 'adamm'; did you mean 'adam'?"),
    (["draw", "a*b", "a=1", "b=2", "--data", "moon"], "called 'moon'; did you mean 'moons'?"),
    (["draw", "a", "a=1", "--out", "g.txt"], "'g.txt' chooses no format; known: .dot, .gv, .htm"),
    (["play", "a", "a=1", "--out", "a.svg"], "'a.svg' chooses no format; known: .htm, .html"),
    (["check", "tahn"], "no operation is called 'tahn'; did you mean 'tanh'?"),
])
def test_a_wrong_usage_exits_with_2_and_says_what_is_right(capsys, arguments, words):
    try:
        code = main(arguments)
    except SystemExit as exit:
        code = exit.code
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and words in err


def test_an_error_is_one_line_and_exit_code_1(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code = main(["train", "digits", "--epochs", "1", "--out", str(tmp_path / "file")])
    out, err = capsys.readouterr()
    assert code == 1 and out == ""
    assert err.startswith("tinygrad-opt: error: ") and "file" in err and err.count("\n") == 1


def test_the_bare_command_lists_its_commands_and_exits_with_2(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and all(re.search(rf"^    {name}\b", err, re.M) for name in COMMANDS)


def test_debug_shows_the_traceback_before_or_after_the_command(tmp_path):
    (tmp_path / "file").write_text("")
    for arguments in (["--debug", "train", "digits"], ["train", "digits", "--debug"]):
        done = typed(*arguments, "--out", "file", folder=tmp_path)
        assert done.returncode == 1 and "Traceback" in done.stderr
    assert "Traceback" not in typed("train", "digits", "--out", "file", folder=tmp_path).stderr


def test_a_run_that_explodes_is_an_error_that_says_where(tmp_path, capsys):
    code = main(["train", "digits", "--optimizer", "sgd", "--lr", "1e30", "--epochs", "2",
                 "--quiet", "--out", str(tmp_path)])
    err = capsys.readouterr().err
    assert code == 1 and err.count("\n") == 1
    assert re.search(r"the loss was (nan|inf) in step \d+, epoch 1; .*try a smaller", err)


@pytest.mark.parametrize("line", [
    "train moons --batch-size 200", "animate moons --out a.npz", "landscape moons --out l.csv",
    "report moons --out r.html"])
def test_an_explosion_that_stays_finite_is_an_error_too(tmp_path, monkeypatch, capsys, line):
    if line.startswith(("animate", "report")):
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    code = main([*line.split(), "--optimizer", "sgd", "--lr", "1e9", "--epochs", "3", "--quiet"])
    assert code == 1
    assert re.search(r"the loss was \d\S+ in step \d+, .* try a smaller", capsys.readouterr().err)


def test_ctrl_c_keeps_what_was_learned_and_exits_with_130(tmp_path, monkeypatch, capsys):
    append = History.append

    def pressed(history, row):
        append(history, row)
        if history.epochs == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(History, "append", pressed)
    assert main(["train", "digits", "--epochs", "9", "--out", str(tmp_path)]) == 130
    out, err = capsys.readouterr()
    assert "stopped: interrupted" in err and "Traceback" not in err
    assert re.search(r"test accuracy 0\.\d+ .* after 3 epochs", out)
    assert len(rows(tmp_path / "history.csv")) == 3 and (tmp_path / "weights.npz").exists()


def test_a_reader_who_goes_away_is_no_traceback(tmp_path):
    done = subprocess.run(
        f"'{sys.executable}' -m tinygrad_opt train spiral --epochs 1 --quiet | true", shell=True,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, text=True,
        capture_output=True, timeout=60)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="closes streams by the shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_nobodys_error(tmp_path, closed):
    line = f'exec "$0" -m tinygrad_opt train moons --epochs 1 --out here {closed}'
    done = subprocess.run(["sh", "-c", line, sys.executable], cwd=tmp_path, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True)
    assert done.returncode == 0 and "error" not in done.stderr
    assert (tmp_path / "here" / "weights.npz").exists()


# ---- the frame -----------------------------------------------------------------------------------


def test_help_teaches_by_examples_that_are_right(capsys):
    for arguments in (["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        text = capsys.readouterr().out
        examples = re.findall(r"^  tinygrad-opt (.*?)(?:  .*)?$", text, re.M)
        assert len(examples) >= 3
        for example in examples:
            if "--help" not in example:
                cli.parser().parse_args(example.split())


def test_every_command_and_option_has_a_line_of_help():
    commands = next(a for a in cli.parser()._actions if a.choices).choices
    assert set(commands) == set(COMMANDS)
    for name, parser in commands.items():
        assert parser.description and "\n  tinygrad-opt " in parser.epilog, name
        assert all(action.help for action in parser._actions), name


def test_help_and_version_need_no_network_data_or_drawing(tmp_path):
    code = ("import sys; from tinygrad_opt.cli import main\n"
            "try: main(['train', '--help'])\n"
            "except SystemExit: pass\n"
            "print(sorted(m for m in sys.modules if m.startswith('tinygrad_opt.')))")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True)
    loaded = done.stdout.splitlines()[-1]
    assert not any(f"'tinygrad_opt.{part}" in loaded for part in ("optim", "viz", "data"))
    version = typed("--version", folder=tmp_path)
    assert re.fullmatch(r"tinygrad-opt \d+\.\d+\.\d+\S*\n", version.stdout)


def test_output_survives_a_terminal_that_knows_only_ascii(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_opt", "train", "--help"], cwd=tmp_path, timeout=60,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "ascii"},
        capture_output=True)
    assert done.returncode == 0 and b"8 ? 8 pixels" in done.stdout


@dataclass(kw_only=True)
class When:
    """When to greet.

    Parameters
    ----------
    time_of_day
        when
    """

    time_of_day: Annotated[str, Argument(choices=("morning", "evening"))] = "evening"


@dataclass(kw_only=True)
class Manners:
    """How to greet.

    Parameters
    ----------
    times
        how often
    """

    when: When
    times: Annotated[int, Argument(type=int, metavar="N")] = 1


def test_a_command_is_one_function(monkeypatch, capsys):
    """Its signature and its docstring are all that there is to say; so are those of options."""
    monkeypatch.setitem(COMMANDS, "greet", None)             # and away with it afterwards

    def greet(name: str, *, how: Manners, loud: Flag = False,
              last: Annotated[str, Argument("none")] | None = None):
        """Greet somebody.

        Parameters
        ----------
        name
            whom,
            by name
        loud
            with a mark
        last
            the family

        Examples
        --------
        tinygrad-opt greet Ada
        """
        import warnings

        warnings.simplefilter("always")                      # pytest makes errors of them
        warnings.warn("it is late", stacklevel=1)
        print(how.times * f"good {how.when.time_of_day}, {name}{'!' * loud}")

    command(greet)
    assert main(["greet", "Ada"]) == 0
    out, err = capsys.readouterr()
    assert out == "good evening, Ada\n" and err == "tinygrad-opt: warning: it is late\n"
    assert main(["greet", "Ada", "--time-of-day", "morning", "--loud", "--times", "2"]) == 0
    assert capsys.readouterr().out == 2 * "good morning, Ada!" + "\n"
    with pytest.raises(SystemExit):
        main(["greet", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for words in ("whom, by name options:", "how often (default: 1)",
                  "--time-of-day {morning,evening} when (default: evening)", "with a mark --",
                  "the family (default: none)", "examples: tinygrad-opt greet Ada"):
        assert words in said
