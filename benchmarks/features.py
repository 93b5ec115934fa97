"""What each library can do, tried: the feature table of the README.

    python benchmarks/features.py [PYTHON ...] [--why]

Every cell is a few lines of that library, as its users would write them, and holds if they run
without an error. A library that is not installed here is looked for in the other interpreters that
are named: DeZero 0.0.13 needs NumPy below 1.24, and so an environment of its own. Where a library
has no word for something the cell asks for the one that it would have, and fails; --why prints how.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

# y = relu(x) for x of shape (1, 2), as an ONNX file
RELU = ("08083a3b0a0c0a0178120179220452656c751201675a130a0178120e0a0c080112080a0208010a0208026213"
        "0a0179120e0a0c080112080a0208010a02080242040a001011")

LIBRARIES = {"tinygrad_opt": "tinygrad-opt", "micrograd": "micrograd", "mygrad": "mygrad",
             "dezero": "dezero", "tinygrad": "tinygrad", "torch": "torch"}

BEFORE = {
    "tinygrad_opt": "import tinygrad_opt as tg",
    "micrograd": "from micrograd import engine, nn",
    "mygrad": "import mygrad as mg, mygrad.nnet",
    "dezero": "import dezero, dezero.functions as F, dezero.layers as L",
    "tinygrad": "import tinygrad; from tinygrad import Tensor, TinyJit, dtypes, nn",
    "torch": "import torch",
}

# lines that several cells begin with: a leaf `x` and what is computed from it
LEAF = {
    "tinygrad_opt": "x = tg.Tensor(np.array([0.5, 2.0]), requires_grad=True)",
    "micrograd": "x = engine.Value(0.5)",
    "mygrad": "x = mg.tensor([0.5, 2.0])",
    "dezero": "x = dezero.Variable(np.array([0.5, 2.0]))",
    "tinygrad": "x = Tensor([0.5, 2.0])",
    "torch": "x = torch.tensor([0.5, 2.0], requires_grad=True)",
}

FEATURES = {
    "gradients of arrays, through broadcasting": {
        "tinygrad_opt": "(x + np.ones((3, 2))).sum().backward(); assert x.grad.shape == (2,)",
        "micrograd": "y = x + np.ones((3, 2)); y.backward(); assert x.grad.shape == (2,)",
        "mygrad": "y = (x + np.ones((3, 2))).sum(); y.backward(); assert x.grad.shape == (2,)",
        "dezero": "y = F.sum(x + np.ones((3, 2))); y.backward(); assert x.grad.shape == (2,)",
        "tinygrad": "y = (x + Tensor.ones(3, 2)).sum(); y.backward(); assert x.grad.shape == (2,)",
        "torch": "y = (x + torch.ones(3, 2)).sum(); y.backward(); assert x.grad.shape == (2,)",
    },
    "NumPy's functions recorded: `np.exp(x)`": {
        "tinygrad_opt": "np.exp(x).sum().backward(); assert x.grad is not None",
        "micrograd": "np.exp(x).backward(); assert x.grad",
        "mygrad": "np.exp(x).sum().backward(); assert x.grad is not None",
        "dezero": "F.sum(np.exp(x)).backward(); assert x.grad is not None",
        "tinygrad": "np.exp(x).sum().backward(); assert x.grad is not None",
        "torch": "np.exp(x).sum().backward(); assert x.grad is not None",
    },
    "`einsum`": {
        "tinygrad_opt": "np.einsum('i,i->', x, x).backward(); assert x.grad[1] == 4",
        "micrograd": "engine.einsum",
        "mygrad": "mg.einsum('i,i->', x, x).backward(); assert x.grad[1] == 4",
        "dezero": "F.einsum('i,i->', x, x)",
        "tinygrad": "Tensor.einsum('i,i->', x, x).backward(); assert x.grad.tolist()[1] == 4",
        "torch": "torch.einsum('i,i->', x, x).backward(); assert x.grad[1] == 4",
    },
    "no wrong gradient after a change in place": {
        "tinygrad_opt": """
y = x * 2; z = (y * y).sum(); y.data = y.data + 1
try: z.backward()
except tg.GraphError: pass
else: raise AssertionError('a wrong gradient')""",
        "micrograd": """
y = x * 2; z = y * y; y.data += 1; z.backward()
assert x.grad == 4, 'a wrong gradient'""",
        "mygrad": """
y = x * 2; z = (y * y).sum()
try: y.data[...] += 1
except ValueError: pass
else: raise AssertionError('a wrong gradient')""",
        "dezero": """
y = x * 2; z = F.sum(y * y); y.data += 1; z.backward()
assert x.grad.data[0] == 4, 'a wrong gradient'""",
        "tinygrad": """
y = x * 2; z = (y * y).sum(); y.assign(y + 1); z.backward()
assert z.item() == 17 and x.grad.tolist() == [4, 16], 'a wrong gradient'""",
        "torch": """
y = x * 2; z = (y * y).sum(); y += 1
try: z.backward()
except RuntimeError: pass
else: raise AssertionError('a wrong gradient')""",
    },
    "second derivatives": {
        "tinygrad_opt": "assert abs(tg.grad(tg.grad(lambda x: x**3))(2.0) - 12) < 1e-5",
        "micrograd": "y = x**3; y.backward(); g = x.grad; g.backward()",
        "mygrad": "y = (x**3).sum(); y.backward(); x.grad.backward()",
        "dezero": """
y = F.sum(x**3); y.backward(create_graph=True); g = x.grad; x.cleargrad(); F.sum(g).backward()
assert x.grad.data[1] == 12""",
        "tinygrad": """
g, = (x**3).sum().gradient(x); h, = g.sum().gradient(x)
assert abs(h.tolist()[1] - 12) < 1e-4""",
        "torch": """
g, = torch.autograd.grad((x**3).sum(), x, create_graph=True)
h, = torch.autograd.grad(g.sum(), x); assert h[1] == 12""",
    },
    "Hessian, and its product with a vector": {
        "tinygrad_opt": """
f = lambda x: (x**3).sum(); a = np.array([0.5, 2.0])
assert np.allclose(tg.hvp(f)(a, a), tg.hessian(f)(a) @ a)""",
        "micrograd": "engine.hessian",
        "mygrad": "mg.hessian",
        "dezero": "dezero.hessian",
        "tinygrad": "Tensor.hessian",
        "torch": """
from torch.func import hessian, jvp, grad
f = lambda x: (x**3).sum(); a = torch.tensor([0.5, 2.0])
assert torch.allclose(jvp(grad(f), (a,), (a,))[1], hessian(f)(a) @ a)""",
    },
    "forward mode, `vmap`": {
        "tinygrad_opt": "tg.jvp, tg.vmap",
        "micrograd": "engine.jvp, engine.vmap",
        "mygrad": "mg.jvp, mg.vmap",
        "dezero": "dezero.jvp, dezero.vmap",
        "tinygrad": "tinygrad.jvp, tinygrad.vmap",
        "torch": """
from torch.func import jvp, vmap
vmap(lambda v: jvp(torch.sin, (v,), (v,))[1])(torch.ones(3))""",
    },
    "complex numbers: the gradient of `abs(z)`": {
        "tinygrad_opt": "tg.Tensor(np.array([1j]), requires_grad=True)",
        "micrograd": "abs(engine.Value(1j)).backward()",
        "mygrad": "x = mg.tensor([1j]); mg.abs(x).sum().backward(); assert x.grad is not None",
        "dezero": "x = dezero.Variable(np.array([1j])); F.sum(F.abs(x)).backward()",
        "tinygrad": "Tensor([1j]).abs().sum().backward()",
        "torch": "x = torch.tensor([1j], requires_grad=True); x.abs().sum().backward()",
    },
    "gradients checked by finite differences": {
        "tinygrad_opt": "assert tg.gradcheck(lambda x: np.sin(x), np.array([0.5])).ok",
        "micrograd": "engine.gradcheck",
        "mygrad": "mg.gradcheck",
        "dezero": """
from dezero.utils import gradient_check
assert gradient_check(F.sin, np.array([0.5]))""",
        "tinygrad": "Tensor.gradcheck",
        "torch": "assert torch.autograd.gradcheck(torch.sin, x.double())",
    },
    "the first nan, traced to its operation": {
        "tinygrad_opt": """
try:
    with tg.detect_nonfinite(): np.sqrt(x - 1).sum().backward()
except tg.NonFiniteError as error: assert 'sqrt' in str(error)
else: raise AssertionError""",
        "micrograd": "engine.detect_anomaly",
        "mygrad": "mg.detect_anomaly",
        "dezero": "dezero.detect_anomaly",
        "tinygrad": "tinygrad.detect_anomaly",
        "torch": """
try:
    with torch.autograd.detect_anomaly(): torch.sqrt(x - 1).sum().backward()
except RuntimeError as error: assert 'Sqrt' in str(error)
else: raise AssertionError""",
    },
    "convolutions": {
        "tinygrad_opt": "tg.nn.Conv2d(1, 2, 3)(np.ones((1, 1, 4, 4))).sum().backward()",
        "micrograd": "nn.Conv2d",
        "mygrad": """
w = mg.ones((2, 1, 3, 3))
mygrad.nnet.conv_nd(np.ones((1, 1, 4, 4)), w, stride=1).sum().backward(); assert w.grad.any()""",
        "dezero": "F.sum(L.Conv2d(2, 3)(np.ones((1, 1, 4, 4), np.float32))).backward()",
        "tinygrad": "nn.Conv2d(1, 2, 3)(Tensor.ones(1, 1, 4, 4)).sum().backward()",
        "torch": "torch.nn.Conv2d(1, 2, 3)(torch.ones(1, 1, 4, 4)).sum().backward()",
    },
    "LSTM": {
        "tinygrad_opt": "tg.nn.LSTM(2, 3)(np.ones((4, 5, 2), np.float32))",
        "micrograd": "nn.LSTM",
        "mygrad": "mygrad.nnet.LSTM",
        "dezero": "L.LSTM(3)(np.ones((4, 2), np.float32))",
        "tinygrad": "nn.LSTMCell(2, 3)(Tensor.ones(4, 2))",
        "torch": "torch.nn.LSTM(2, 3)(torch.ones(5, 4, 2))",
    },
    "attention": {
        "tinygrad_opt": "tg.nn.MultiHeadAttention(4, 2)(np.ones((1, 3, 4), np.float32))",
        "micrograd": "nn.MultiheadAttention",
        "mygrad": "mygrad.nnet.MultiheadAttention",
        "dezero": "L.MultiheadAttention",
        "tinygrad": "q = Tensor.ones(1, 2, 4, 8); q.scaled_dot_product_attention(q, q).tolist()",
        "torch": "q = torch.ones(1, 3, 4); torch.nn.MultiheadAttention(4, 2)(q, q, q)",
    },
    "number of optimizers": {
        "tinygrad_opt": "answer = number_of(tg.optim, tg.optim.Optimizer)",
        "micrograd": "answer = number_of(nn, nn.Optimizer)",
        "mygrad": "import mygrad.optim",
        "dezero": """
from dezero import optimizers
answer = number_of(optimizers, optimizers.Optimizer)""",
        "tinygrad": """
o = nn.optim
rules = o.SGD, o.Muon, o.Adam, o.AdamW, o.LARS, o.LAMB
answer = len([rule([Tensor([1.0])]) for rule in rules])""",
        "torch": "answer = number_of(torch.optim, torch.optim.Optimizer)",
    },
    "an optimizer step, explained number by number": {
        "tinygrad_opt": """
opt = tg.optim.Adam({'x': x}); (x * x).sum().backward(); opt.step()
with contextlib.redirect_stdout(io.StringIO()) as said: opt.explain('x', 0)
assert 'm̂ ← m / (1 − β₁ᵗ)' in said.getvalue()""",
        "micrograd": "nn.explain", "mygrad": "mg.explain",
        "dezero": "dezero.optimizers.Adam().explain",
        "tinygrad": "nn.optim.Adam([x]).explain",
        "torch": "torch.optim.Adam([x]).explain",
    },
    "the graph as a picture": {
        "tinygrad_opt": "tg.draw((x * x).sum()).save('graph.svg')",
        "micrograd": "engine.draw_dot",
        "mygrad": """
from mygrad.computational_graph import build_graph
y = (x * x).sum(); build_graph(y, names=locals(), render=False)""",
        "dezero": """
from dezero.utils import plot_dot_graph
plot_dot_graph(F.sum(x * x), to_file='graph.svg')""",
        "tinygrad": "Tensor.draw",
        "torch": "torch.autograd.draw",
    },
    "the backward pass, played step by step": {
        "tinygrad_opt": "tg.playback((x * x).sum()).save('steps.html')",
        "micrograd": "engine.playback", "mygrad": "mg.playback", "dezero": "dezero.utils.playback",
        "tinygrad": "Tensor.playback", "torch": "torch.autograd.playback",
    },
    "a training loop: `fit`": {
        "tinygrad_opt": """
h = tg.fit(tg.nn.MLP([2, 4, 2], rng=0), *tg.data.moons(20, rng=0), epochs=2, loss='cross_entropy',
           optimizer=tg.optim.SGD(lr=0.1), progress=False); assert len(h['loss']) == 2""",
        "micrograd": "nn.fit", "mygrad": "mygrad.nnet.fit", "dezero": "dezero.fit",
        "tinygrad": "nn.fit", "torch": "torch.nn.Module().fit",
    },
    "compiled steps": {
        "tinygrad_opt": """
step = tg.compile(lambda v: (v * v).sum())
assert [step(np.array([1.0, k])).item() for k in range(4)] == [1, 2, 5, 10]""",
        "micrograd": "engine.compile", "mygrad": "mg.compile", "dezero": "dezero.compile",
        "tinygrad": """
step = TinyJit(lambda v: (v * v).sum().realize())
assert [step(Tensor([1.0, k]).realize()).item() for k in range(4)] == [1, 2, 5, 10]""",
        "torch": "assert torch.compile(lambda v: (v * v).sum())(torch.ones(2)) == 2",
    },
    "ONNX files: written": {
        "tinygrad_opt": "tg.interop.onnx.save('model.onnx', tg.nn.Linear(2, 3), np.ones((1, 2)))",
        "micrograd": "import micrograd.onnx", "mygrad": "import mygrad.onnx",
        "dezero": "import dezero.onnx",
        "tinygrad": "nn.onnx.export",
        "torch": "torch.onnx.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),), 'model.onnx')",
    },
    "ONNX files: read": {
        "tinygrad_opt": """
relu = tg.interop.onnx.load('relu.onnx'); assert relu(np.array([[-1.0, 2.0]])).sum() == 2""",
        "micrograd": "import micrograd.onnx", "mygrad": "import mygrad.onnx",
        "dezero": "import dezero.onnx",
        "tinygrad": """
from tinygrad.nn.onnx import OnnxRunner
assert OnnxRunner('relu.onnx')({'x': Tensor([[-1.0, 2.0]])})['y'].tolist() == [[0, 2]]""",
        "torch": "torch.onnx.load('relu.onnx')",
    },
    "the model as a page that learns in a browser": {
        "tinygrad_opt": "tg.playground(tg.nn.MLP([2, 4, 3], rng=0), 'spiral', 'page.html')",
        "micrograd": "nn.playground", "mygrad": "mygrad.nnet.playground",
        "dezero": "dezero.playground",
        "tinygrad": "nn.playground", "torch": "torch.nn.playground",
    },
}


def number_of(module, base):
    """How many optimizers a module has."""
    return len({c for c in vars(module).values()
                if isinstance(c, type) and issubclass(c, base) and c is not base})


def answers(library):
    """What every feature gives: True or a number, or the error in words."""
    import numpy as np

    Path("relu.onnx").write_bytes(bytes.fromhex(RELU))
    found = {}
    for feature, cells in FEATURES.items():
        names = {"contextlib": contextlib, "io": io, "np": np, "number_of": number_of}
        try:
            exec(BEFORE[library], names)
            exec(LEAF[library], names)
            exec(cells[library].strip(), names)
            found[feature] = names.get("answer", True)
        except Exception as error:
            found[feature] = f"{type(error).__name__}: {error}"
    return found


def report():
    """The answers of every library that is installed here, as JSON."""
    if not shutil.which("clang"):
        os.environ.setdefault("DEV", "PYTHON")             # tinygrad's device without a compiler
    found = {}
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(place)
        for library, package in LIBRARIES.items():
            try:
                version = importlib.metadata.version(package)
                importlib.import_module(library)
            except Exception:                              # absent, or not for this NumPy
                continue
            found[library] = version, answers(library)
        os.chdir(os.sep)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("interpreters", nargs="*", metavar="PYTHON",
                        help="where libraries are installed that are not here")
    parser.add_argument("--why", action="store_true", help="print the error of every empty cell")
    parser.add_argument("--json", action="store_true", help="print the answers of this interpreter")
    options = parser.parse_args()
    if options.json:
        print("\n" + json.dumps(report()))
        return
    found = {}
    for interpreter in (*options.interpreters, sys.executable):
        done = subprocess.run([interpreter, __file__, "--json"], stdout=subprocess.PIPE, text=True,
                              check=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    libraries = [name for name in LIBRARIES if name in found]
    print("| | " + " | ".join(f"{name} {found[name][0]}" for name in libraries) + " |")
    print("|---" + "|:-:" * len(libraries) + "|")
    for feature in FEATURES:
        cells = [found[name][1][feature] for name in libraries]
        words = ["✓" if c is True else "–" if isinstance(c, str) else str(c) for c in cells]
        print(f"| {feature} | " + " | ".join(words) + " |")
    if options.why:
        for name in libraries:
            for feature, cell in found[name][1].items():
                if isinstance(cell, str):
                    print(f"{name}: {feature}: {' '.join(cell.split())[:160]}")


if __name__ == "__main__":
    main()
