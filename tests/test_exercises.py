"""The exercises: solutions pass, gaps and common mistakes are told for what they are."""

import re
from pathlib import Path

import pytest

from tinygrad_opt import cli, exercises
from tinygrad_opt.exercises.checks import CHECKS
from tinygrad_opt.exercises.judge import Wrong, solution

SOLUTIONS = Path(__file__).parent / "solutions"


def verdict(name, text, folder):
    """What the judge says of a text; empty if it is right."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    try:
        CHECKS[name].run(solution(str(path)))
    except Wrong as wrong:
        return str(wrong)
    return ""


def test_each_exercise_has_a_gap_and_a_solution():
    gaps = {path.name.removesuffix(".py.txt") for path in exercises._GAPS.iterdir()}
    assert {*CHECKS} == gaps == {path.stem for path in SOLUTIONS.glob("*.py")}
    assert [chapter for chapter, _ in CHECKS.values()] == sorted(c for c, _ in CHECKS.values())


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_is_right(name, tmp_path):
    assert verdict(name, (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8"), tmp_path) == ""


@pytest.mark.parametrize("name", CHECKS)
def test_the_gap_is_told(name, tmp_path):
    said = verdict(name, exercises.gap(name), tmp_path)
    assert said
    if not name.startswith("bug"):
        assert any(x in said for x in ("gap", "0 steps in", "after one step", "after step 1"))


@pytest.mark.parametrize("name", CHECKS)
def test_an_empty_file_and_one_that_fails(name, tmp_path):
    assert "no longer defines" in verdict(name, "", tmp_path)
    assert verdict(name, "import sys\nsys.exit(3)", tmp_path).startswith("Line 2, `sys.exit(3)`")
    assert verdict(name, "x = (", tmp_path) == (
        "Line 1, `x = (`, is not Python: '(' was never closed.")


# what learners write, and words of what they are told
MISTAKES = [
    ("product", "to_a = g * b", "to_a = g * a", "Your lines say: ∂L/∂a = g · a"),
    ("product", "to_a = g * b", "to_a = b", "g = 5.0; with g = 1.0 it was right"),
    ("quotient", "to_b = -g", "to_b = g", "the sign is turned around"),
    ("quotient", "b**2", "b^2", "a power is written ** in Python"),
    ("chain", "-2 * np.sin", "-np.sin", "it is half of what"),
    ("chain", "np.exp(", "exp(", "NumPy's is np.exp"),
    ("chain", "np.cos(x)", "__import__('math').cos(x)", "those of NumPy whole arrays"),
    ("tanh", "g * (1 - z * z)", "1 - z * z", "g is [ 2.   1.  -3.   0.5]"),
    ("tanh", "z * z", "np.tanh(z) ** 2", "`import numpy as np` belongs"),
    ("tanh", "(1 - z * z)", "(1 - z)", "Your lines say: ∂L/∂x = g · (1 − z)"),
    ("neuron", "g * x", "g * x.sum()", "An axis was lost"),
    ("neuron", "* (1 - y)", "", "∂L/∂w[0] is"),
    ("neuron", "g * x", "g * w", "x = [ 1.5   0.75 -2.  ]"),
    ("least_squares", "2 * x.T", "2 * x", "The shapes given are: x (1, 2), w (2,), y (1,)."),
    ("least_squares", "2 * x.T @ (x @ w - y)",
     "sum(2 * (x[i] @ w - y[i]) * x[i] for i in range(len(y)))",
     "The numbers are right. Now without the loop"),
    ("least_squares", " / len(y)", "", "A sum where a mean"),
    ("least_squares", "(x @ w - y)", "(y - x @ w)", "the sign is turned around"),
    ("paths", "product *= slope", "product += slope", "along a path derivatives multiply"),
    ("paths", "total += product", "total = product", "different paths is added"),
    ("order", "elif node not in seen:", "else:", "twice"),
    ("order", "return found", "return found[::-1]", "before its input"),
    ("order", "return found", "return found[:-1]", "is missing"),
    ("backward", "+= gradients", "= gradients", "is -8, and should be -3, where the slope from x"),
    ("backward", "gradients[node] * slope", "slope", "The gradient of y is 3, and should be -12"),
    ("backward", "reversed(nodes)", "nodes", "The gradient of"),
    ("differences", "(f(right) - f(left)) / (2 * eps)", "(f(right) - f(x)) / eps", "falls with ε,"),
    ("differences", "x.copy(), x.copy()", "x, x.copy()", "x is not as it was"),
    ("differences", "right[index] += eps\n    left[index] -= eps", "right += eps\n    left -= eps",
     "the sum of the derivatives by all entries"),
    ("broadcast", "while g.ndim > len(shape):", "while False:", "sum over its uses"),
    ("broadcast", ", keepdims=True", "", "An axis was lost"),
    ("matmul", "to_x = g @ w.T", "to_x = w @ g.T", "Is something transposed?"),
    ("operation", " ** 2", "", "∂L/∂x"),
    ("operation", "g / (1", "1 / (1", "∂L/∂x"),
    ("operation", "g / (1 + np.abs(x)) ** 2", "g / (1 + np.abs(np.asarray(x.data))) ** 2",
     "The second derivative is wrong"),
    ("initialise", "2 / fan_in", "1 / fan_in", "shrunk"),
    ("initialise", "2 / fan_in", "2 / fan_out", "The standard deviation"),
    ("initialise", "(fan_in, fan_out)", "(fan_out, fan_in)", "The shape of the weights"),
    ("cross_entropy", " - logits.max(axis=1, keepdims=True)", "", "too large for exp"),
    ("cross_entropy", " / len(labels)", "", "A sum where a mean"),
    ("loop", "        optimizer.zero_grad()\n", "", "the gradients of the step before"),
    ("loop", "        optimizer.step()\n", "", "has made 0 steps"),
    ("momentum", "- lr * g", "+ lr * g", "Your rule says"),
    ("momentum", "self.momentum * v - lr", "self.momentum * v - (1 - self.momentum) * lr", "p[0]"),
    ("nesterov", "gradient(p + mu * v)", "gradient(p)", "where the gradient is taken"),
    ("adam", "(1 - self.beta2**t)", "1", "v̂ ← v / 1"),
    ("adam", "np.sqrt(v_hat) + self.eps", "v_hat + self.eps", "after step 1"),
    ("adam", "np.sqrt(v_hat) + self.eps", "np.sqrt(v_hat)", "with gradients of about 1e-08"),
    ("bug_adam", "np.sqrt(v_hat) + eps", "np.sqrt(v_hat)", "with gradients of 1e-09 times p"),
    ("bug_adam", "g = gradient(p)", "g = p", "after step 1, with gradients of 1e-09 times p"),
    ("schedule", "(1 + math.cos", "(1 - math.cos", "at t = 10"),
    ("clip", "min(1, limit / norm)", "limit / norm", "short enough"),
    ("clip", "g * factor", "g.__imul__(factor)", "have changed"),
    ("newton", "np.linalg.solve(tg.hessian(f)(x), tg.grad(f)(x))", "0.1 * tg.grad(f)(x)",
     "after one step"),
    ("conjugate", "range(len(b))", "range(3 * len(b))", ""),
    ("conjugate", "d = r + (r @ r) / (before @ before) * d", "d = r", "(this is b)"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "words"), MISTAKES)
def test_a_mistake_is_told(name, right, wrong, words, tmp_path):
    text = (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")
    assert right in text
    said = verdict(name, text.replace(right, wrong), tmp_path)
    assert words in said
    assert said or (name, right) == ("conjugate", "range(len(b))")       # it stops by itself
    assert right.strip() not in said, "the judge never says the solution"


def test_the_planted_bug_is_not_told_where_it_is(tmp_path):
    said = verdict("bug_gradient", exercises.gap("bug_gradient"), tmp_path)
    assert "∂L/∂b1" in said
    assert "gradients of b2 and w2 are right" in said


@pytest.mark.parametrize("end_of_queue", [0, -1])
def test_nodes_in_the_order_of_a_search_are_no_topological_order(end_of_queue, tmp_path):
    said = verdict("order", f'''
def order(end):
    found, queue = [], [end]
    seen = {{end}}
    while queue:
        node = queue.pop({end_of_queue})
        found.append(node)
        for x in node.inputs:
            if x not in seen:
                seen.add(x)
                queue.append(x)
    return found[::-1]
''', tmp_path)
    assert "stands before its input a in the order of" in said
    assert "in the graph c of [a, b]" in said


def test_endless_paths_are_told_without_waiting(tmp_path):
    said = verdict("backward", '''
def backward(nodes):
    gradients = dict.fromkeys(nodes, 0.0)
    def down(node, g):
        gradients[node] += g
        for x, slope in zip(node.inputs, node.slopes):
            down(x, g * slope)
    down(nodes[-1], 1.0)
    return gradients
''', tmp_path)
    assert "visit each node once" in said


# ---- the command ---------------------------------------------------------------------------------


def test_start_check_and_list(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["exercise", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS)
    assert lines[0] == " 1  product        The derivative of a product"
    assert cli.main(["exercise", "start", "product"]) == 0
    assert capsys.readouterr().out.startswith("exercises/product.py  fill the gap")
    assert cli.main(["exercise", "check"]) == 1
    assert capsys.readouterr().out == (
        "product: ∂L/∂a is still a gap: put your lines where the ... stand.\n")
    done = (SOLUTIONS / "product.py").read_text(encoding="utf-8")
    Path("exercises/product.py").write_text(done, encoding="utf-8")
    assert cli.main(["exercise", "check", "product"]) == 0
    assert capsys.readouterr().out == (
        "product: right\nnext: tinygrad-opt exercise start quotient\n")
    assert cli.main(["exercise", "start", "product"]) == 2             # the work is not overwritten
    assert Path("exercises/product.py").read_text(encoding="utf-8") == done
    cli.main(["exercise", "list"])
    assert "(started)" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(("arguments", "words"), [
    (["start"], "start which one?"), (["start", "prodct"], "did you mean 'product'?"),
    (["check"], "start an exercise first"), (["check", "tanh"], "`start` makes it"),
])
def test_what_makes_no_sense_is_told(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["exercise", *arguments]) != 0
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("name", "result", "words"), [
    ("product", "g * b", "gradients() returns one thing, and should return 2: ∂L/∂a, ∂L/∂b."),
    ("quotient", "g / b, -g * a / b**2, 0", "returns 3 things, and should return 2"),
    ("neuron", "(w,)", "returns 1 thing, and should"),
    ("matmul", "g @ w.T, x.T @ g, g", "should return 2: ∂L/∂x, ∂L/∂w."),
    ("differences", "x", "∂f/∂x[0, 1] has the shape (2, 2), and should have ()."),
    ("differences", "'six'", "is a str, and not an array of numbers"),
    ("order", "3", "order() returns int, and should return a list."),
    ("order", "[[end]]", "cannot be judged (TypeError: unhashable type: 'list')"),
    ("bug_gradient", "x.T @ x, x", "should return 4: ∂L/∂w1, ∂L/∂b1, ∂L/∂w2, ∂L/∂b2."),
    ("nesterov", "p, v, gradient(p)", "should return 2: p, v."),
])
def test_results_of_another_kind_are_told(name, result, words, tmp_path):
    """Results that the judge cannot even compare are wrong, too."""
    text = (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")
    body = r"(?m)(^def (?!loss).*\n)(?:    .*\n|\n)+"
    path = tmp_path / f"{name}.py"
    path.write_text(re.sub(body, rf"\1    return {result}\n", text), encoding="utf-8")
    assert words in exercises.check(name, path)


def test_a_solution_that_never_ends_or_kills_python_is_told(tmp_path, monkeypatch):
    path = tmp_path / "tanh.py"
    for code in (9, 1, 0):
        path.write_text(f"import os\nos._exit({code})")
        assert f"exit code {code}" in exercises.check("tanh", path)
    monkeypatch.setattr(exercises, "PATIENCE", 0.5)
    path.write_text("while True: pass")
    assert "still running" in exercises.check("tanh", path)
