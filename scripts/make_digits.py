"""Make tinygrad_opt/data/digits.npz from scikit-learn's copy of the UCI digits.

    python scripts/make_digits.py            writes the file
    python scripts/make_digits.py --check    exit status 1 if the file is not what this makes

The file holds no time stamp, so the same data give the same bytes, whoever makes it and when.
(Another zlib may pack them differently: the file is made with zlib's own, not zlib-ng.)
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

FILE = Path(__file__).resolve().parents[1] / "tinygrad_opt" / "data" / "digits.npz"


def arrays() -> dict[str, np.ndarray]:
    """Pixels and labels as bytes; nothing may be lost on the way."""
    from sklearn.datasets import load_digits

    result = {}
    for name, values in zip("xy", load_digits(return_X_y=True), strict=True):
        result[name] = values.astype(np.uint8)
        if not np.array_equal(result[name], values):
            raise SystemExit(f"{name} of scikit-learn's digits is not made of bytes")
    return result


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The arrays as an .npz, the same bytes every time (np.savez would write the time)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # not the system that this runs on
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(entry, content.getvalue(), compresslevel=9)
    return file.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--file", type=Path, default=FILE, help="default: the shipped file")
    options = parser.parse_args()
    made = packed(arrays())
    if not options.check:
        options.file.parent.mkdir(exist_ok=True)
        options.file.write_bytes(made)
        return 0
    if options.file.is_file() and options.file.read_bytes() == made:
        return 0
    print(f"{options.file} is not what {Path(__file__).name} makes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
