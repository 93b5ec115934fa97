"""What ``import tinygrad_opt`` costs beside ``import numpy``, whole processes in turn.

    python benchmarks/import_time.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 25


def seconds(code):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    env.pop("PYTHONDONTWRITEBYTECODE", None)               # as on a user's machine
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    return time.perf_counter() - begin


def main():
    seconds("import tinygrad_opt")
    pairs = [(seconds("import numpy"), seconds("import tinygrad_opt")) for _ in range(ROUNDS)]
    ratio = statistics.median(ours / numpy for numpy, ours in pairs)
    numpy, ours = (statistics.median(column) * 1e3 for column in zip(*pairs))
    print(f"import numpy {numpy:.1f} ms   import tinygrad_opt {ours:.1f} ms   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
