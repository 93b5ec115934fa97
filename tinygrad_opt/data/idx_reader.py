"""IDX files, the format of MNIST and its kin, plain or gzip."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_opt.data.arguments import Path
from tinygrad_opt.typing import Array

if TYPE_CHECKING:
    from io import BufferedIOBase

__all__ = ["idx"]

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

INFLATED = 32 << 20                                # bytes that any gzip file may hold, or
RATIO = 100                                        # so many times its own; MNIST holds 5 times


def idx(path: Path) -> Array:
    r"""An array from an IDX file, the format of MNIST and its kin, plain or gzip.

    Two zero bytes, type, number of axes, a 4-byte size for each axis, then the values, last
    axis fastest, all big-endian (Y. LeCun, C. Cortes, C. J. C. Burges, *The MNIST database*).

    Parameters
    ----------
    path : str or path-like
        Gzip is told by the first bytes.

    Returns
    -------
    array of the file's shape and dtype, native byte order, writable

    Raises
    ------
    ValueError
        If there are fewer or more bytes than the header claims, or the gzip data are damaged,
        or inflate to more than 32 MiB and 100 times the file. Memory grows with the bytes that
        are there, not with what the header claims.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(b"\0\0\x08\x01" + b"\0\0\0\x03" + bytes([5, 0, 4]))
    ...     idx(path).tolist()
    [5, 0, 4]
    """
    import gzip
    import zlib

    with open(path, "rb") as file:
        limit = os.fstat(file.fileno()).st_size
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            return _array(file, path, limit)
        try:
            return _array(gzip.GzipFile(fileobj=file), path, max(INFLATED, RATIO * limit))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            why = str(error).rstrip(".")
            raise ValueError(f"{path}: expected whole gzip data, found damage: {why}.") from error


def _array(stream: BufferedIOBase, path: Path, limit: int) -> Array:
    """The array in an open, unzipped stream, of which at most `limit` bytes are taken."""
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ValueError(
            f"{path}: expected an IDX file, which starts with two zero bytes, a type and a "
            f"number of axes; found {head.hex(' ') or 'nothing'}."
        )
    kind, n_axes = head[2:]
    if kind not in DTYPES:
        known = bytes(DTYPES).hex(" ")
        raise ValueError(f"{path}: expected one of the IDX types {known}, found {kind:02x}.")
    if not 1 <= n_axes <= 32:
        raise ValueError(f"{path}: expected 1 to 32 axes, found {n_axes}.")
    sizes = stream.read(4 * n_axes)
    if len(sizes) < 4 * n_axes:
        claim = f"{path}: expected {4 * n_axes} bytes of sizes"
        raise ValueError(f"{claim}, found {len(sizes)}: it is cut short.")

    dtype, shape = np.dtype(DTYPES[kind]), tuple(np.frombuffer(sizes, ">u4").tolist())
    n_bytes = math.prod(shape) * dtype.itemsize  # of Python's numbers: NumPy's would wrap around
    claim = f"{path}: expected {n_bytes} bytes, {dtype.name} of shape {shape}"
    content = bytearray()
    most = min(n_bytes, limit)
    while piece := stream.read(min(most - len(content), 1 << 20)):  # n_bytes may be a lie
        content += piece
    if len(content) == limit < n_bytes:
        raise ValueError(f"{claim}; found a small file that inflates to more than {limit} bytes:"
                         " unpack it first, if it is what it should be.")
    if len(content) < n_bytes:
        raise ValueError(f"{claim}; found {len(content)}: it is cut short, or its header is wrong.")
    if stream.read(1):
        raise ValueError(f"{claim}; found more: bytes trail, or its header is wrong.")
    array = np.frombuffer(content, dtype)
    try:
        return array.reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    except ValueError as error:  # an empty axis beside enormous ones
        raise ValueError(f"{claim}; NumPy cannot hold such a shape: {error}") from error
