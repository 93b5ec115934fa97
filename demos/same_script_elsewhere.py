"""One training, here and as scripts for NumPy and PyTorch: the same losses, step by step.

    python demos/same_script_elsewhere.py [--quick] [--out FOLDER]
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from helpers import command_line, save_drawing

import tinygrad_opt as tg


def main(out="runs", quick=False):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([[0], [1], [1], [0]], np.float32)
    steps = 5 if quick else 20

    def begun():
        model = tg.nn.MLP([2, 3, 1], "tanh", rng=0)
        return model, tg.optim.Momentum(model.parameters(), lr=0.2)

    columns = {}
    for library in ("numpy", "torch"):
        text = tg.interop.script(*begun(), "mse", library, x, y, steps=steps)
        path = text.save(Path(out, f"xor_{library}.py"))
        print("wrote", path)
        if library == "numpy":
            print(text.partition("    # forward\n")[2])
        if find_spec(library):
            run = subprocess.run([sys.executable, str(path)], capture_output=True, text=True,
                                 check=True)
            columns[library] = [line.split()[1] for line in run.stdout.splitlines()]

    model, optimizer = begun()
    columns["here"] = []
    for _ in range(steps):
        loss = tg.nn.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        columns["here"].append(f"{float(loss):.8g}")
    print(*(f"{name:>12}" for name in columns))
    for row in zip(*columns.values()):
        print(*(f"{loss:>12}" for loss in row))
    save_drawing(tg.draw(loss, name="the loss"), out, "same_script_elsewhere")
    return columns


if __name__ == "__main__":
    command_line(main, __doc__)
