"""libFuzzer's search for input that runs lines not yet run.

    python tests/fuzz.py npz -runs=200000

Needs ``pip install atheris``. What it finds it writes to a file and stops; ``-help=1`` shows its
options. A folder among the arguments takes the inputs that reached new lines.
"""

import sys
import tempfile
import tracemalloc
from pathlib import Path

import atheris

with atheris.instrument_imports(include=[
    "tinygrad_opt.checkpoint", "tinygrad_opt.data", "tinygrad_opt.viz.steps.formula",
    "tinygrad_opt.optim.state", "numpy.lib._format_impl", "zipfile", "gzip", "ast",
]):
    import hostile


def main():
    reader = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(hostile.sound(reader) + hostile.kept(reader)):
            Path(folder, str(number)).write_bytes(content)
        tracemalloc.start()
        atheris.Setup([*sys.argv, f"-max_len={hostile.LONGEST}", folder],
                      lambda content: hostile.attempt(reader, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
