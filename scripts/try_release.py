"""Try an installed package that has its base dependencies only: what a first user does.

    python scripts/try_release.py

It runs in a folder of its own and ends with the exit code 1 at the first thing that is not so.
"""

import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

FIRST_USE = """
import sys
import tinygrad_opt as tg

x, y = tg.data.moons(60, rng=0)
model = tg.nn.MLP([2, 8, 2], rng=0)
history = tg.fit(model, x, y, epochs=30, optimizer=tg.optim.Adam(lr=0.05), loss="cross_entropy",
                 progress=False)
assert history["loss"][-1] < 0.5 * history["loss"][0], history["loss"]
tg.save("model.npz", model)
tg.load("model.npz", model)
tg.draw(tg.nn.cross_entropy(model(x), y)).save("graph.svg")
extras = {"matplotlib", "tqdm", "llvmlite", "sklearn", "scipy", "onnx", "mpi4py", "joblib"}
assert not extras & {*sys.modules}, extras & {*sys.modules}
assert "site-packages" in tg.__file__, tg.__file__
"""


def run(*command: str, code: int = 0) -> str:
    """What a command prints; it must end with the exit code."""
    print("$", " ".join(command[:4]).replace("\n", " ")[:100], flush=True)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != code:
        sys.exit(f"ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def main() -> None:
    tool = str(Path(sys.executable).with_name("tinygrad-opt"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run(sys.executable, "-W", "error", "-c", FIRST_USE)
        run(tool, "train", "spiral", "--epochs", "3", "--quiet")
        run(tool, "draw", "tanh(a*b + c)", "a=2", "b=-3", "c=6.5", "--grad", "--out", "formula.svg")
        run(tool, "play", "a*b", "a=2", "b=-3", "--out", "play.html")
        run(tool, "exercise", "start", "product")
        run(tool, "exercise", "check", "product", code=1)
        for made in ("graph.svg", "formula.svg", "play.html", "runs/spiral/graph.svg"):
            if Path(made).stat().st_size < 1000:
                sys.exit(f"{made} has {Path(made).stat().st_size} bytes")
        said = run(tool, "animate", "spiral", "--out", "film.gif", code=1)
        if 'pip install "tinygrad-opt[viz]"' not in said:
            sys.exit(f"without Matplotlib it says: {said}")
    print(f"tinygrad-opt {metadata.version('tinygrad-opt')} works with its base dependencies")


if __name__ == "__main__":
    main()
