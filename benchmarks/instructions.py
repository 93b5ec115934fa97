"""Instructions per repetition of the pieces, counted by callgrind: the same on a busy machine.

    python benchmarks/instructions.py                     every piece, half a minute each
    python benchmarks/instructions.py adam eager_step

A piece runs in two processes with different numbers of repetitions; the difference leaves out
the start. Valgrind emulates no AVX-512, so NumPy and OpenBLAS run their AVX2 kernels.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from measuring import environment, on_one_thread

FEW, MANY = 20, 120


def count(piece, repetitions):
    """Instructions of a whole process."""
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}", sys.executable,
         __file__, piece, "--repeat", str(repetitions)],
        env={**environment(), "PYTHONHASHSEED": "0"}, capture_output=True, text=True,
    )
    found = re.search(r"Collected : (\d+)", run.stderr)
    if not found:
        sys.exit(f"valgrind gave no count for {piece}:\n{run.stderr[-500:]}")
    return int(found[1])


def main():
    on_one_thread()
    from pieces import PIECES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", nargs="*", help=", ".join(PIECES))
    parser.add_argument("--repeat", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.pieces) - set(PIECES)
    if unknown:
        parser.error(f"no piece is called {', '.join(sorted(unknown))}; there are"
                     f" {', '.join(PIECES)}")
    if options.repeat is not None:
        run = PIECES[options.pieces[0]]()
        for _ in range(options.repeat):
            run()
        return
    if not shutil.which("valgrind"):
        sys.exit("this needs valgrind: apt-get install valgrind")
    print(f"{'piece':16}{'instructions each':>18}")
    for piece in options.pieces or PIECES:
        with ThreadPoolExecutor() as pool:
            few, many = pool.map(count, [piece] * 2, [FEW, MANY])
        print(f"{piece:16}{(many - few) // (MANY - FEW):>18,}", flush=True)


if __name__ == "__main__":
    main()
