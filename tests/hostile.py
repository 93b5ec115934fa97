"""Hostile input: every reader of what comes from outside, and ways to change what it reads.

    python tests/hostile.py npz 10000             # so many changed inputs; 13 readers, or "all"
    python tests/fuzz.py npz -runs=200000         # guided by coverage; needs atheris

A reader may refuse by the error that its documentation names, and hold at most 64 MB beyond the
bytes that it was given. Both commands stop at the first input that does otherwise, and write it
to a file. Inputs once found, and others that reach far, are kept in ``tests/corpus``.
"""

import gzip
import io
import json
import re
import resource
import struct
import sys
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import data, nn, optim
from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.parallel import sweep
from tinygrad_opt.viz import formula

CORPUS = Path(__file__).with_name("corpus")
MOST = 64 << 20                                    # bytes beyond those of the input
LONGEST = 1 << 16                                  # bytes of an input
FOLDER = tempfile.TemporaryDirectory()


# ---- the readers ---------------------------------------------------------------------------------


def at(name, content):
    """A file of that name with that content."""
    path = Path(FOLDER.name, name)
    path.write_bytes(content)
    return path


def archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name + ".npy", content)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def load_npz(content):
    tg.load(at("x.npz", content))


def load_member(content):
    """An array of an archive that is sound: its checksum is right."""
    load_npz(archive(w=content))


def with_tree(content, arrays):
    return archive(tree=npy(np.frombuffer(content, np.uint8)), **arrays)


def load_tree(content):
    load_npz(with_tree(content, PLAIN_ARRAYS))


def trained():
    model = nn.MLP([2, 3, 1], dropout=0.5, rng=0)
    optimizer = optim.Adam(model.parameters())
    model(np.ones((2, 2), np.float32)).sum().backward()
    optimizer.step()
    return model, optimizer


def state_of(model, optimizer):
    rng = {name: g.bit_generator.state for name, g in model.generators().items()}
    return repr([model.state_dict(), optimizer.state_dict(), rng])


def load_state(content):
    """The tree of a training run, put back into a model and an optimizer: all of it or nothing."""
    model, optimizer, before = UNTOUCHED.pop() if UNTOUCHED else untouched()
    try:
        tg.load(at("x.npz", with_tree(content, RUN_ARRAYS)), model, optimizer)
    except CheckpointError:
        assert state_of(model, optimizer) == before, "a refused checkpoint changed something"
        UNTOUCHED.append((model, optimizer, before))
        raise


def untouched():
    model, optimizer = trained()
    return model, optimizer, state_of(model, optimizer)


UNTOUCHED = []


def rebuild(content):
    """A model from what the tree says of it."""
    nn.rebuild(tg.load(at("x.npz", with_tree(content, RUN_ARRAYS))))


def load_safetensors(content):
    tg.load(at("x.safetensors", content))


def load_header(content):
    """A safetensors file whose header has the length that it claims."""
    load_safetensors(struct.pack("<Q", len(content)) + content + SAFE_DATA)


def read_idx(content):
    data.idx(at("x-idx", content))


def read_gzip(content):
    """An IDX file that was packed rightly."""
    read_idx(gzip.compress(content, 1, mtime=0))


def read_csv(content):
    data.csv(at("x.csv", content))


def read_csv_by_name(content):
    data.csv(at("x.csv", content), "kind", delimiter=";")


def parse_formula(content):
    text = content.decode("utf-8", "replace")
    leaves = {"x": 2.0, "w": np.ones((2, 3))}
    formula.parse(text, **{name: leaves[name] for name in re.findall(r"\b[xw]\b", text)})


def resume_sweep(content):
    """The log of a sweep; a line that is cut short is passed over, which is told as a refusal."""
    path, calls = at("log.jsonl", content), []

    def train(lr, rng):
        calls.append(lr)
        return {"loss": lr, "more": 1 / 3}

    found = sweep(train, GRID, resume=path, progress=False)
    assert len(found) == 2 and str(found) and found.rows()
    if calls:
        raise ValueError(f"{path}: {len(calls)} trials were passed over")


READERS = {
    "npz": (load_npz, CheckpointError), "member": (load_member, CheckpointError),
    "tree": (load_tree, CheckpointError), "state": (load_state, CheckpointError),
    "rebuild": (rebuild, CheckpointError),
    "safetensors": (load_safetensors, CheckpointError), "header": (load_header, CheckpointError),
    "idx": (read_idx, ValueError), "gzip": (read_gzip, ValueError),
    "csv": (read_csv, ValueError), "table": (read_csv_by_name, ValueError),
    "formula": (parse_formula, ValueError), "log": (resume_sweep, ValueError),
}


# ---- sound input, from which the changes start ---------------------------------------------------


def saved(name, *states, **more):
    return tg.save(Path(FOLDER.name, name), *states, **more).read_bytes()


def taken_apart(content):
    """The tree of an npz file, and its other members."""
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        members = {name.removesuffix(".npy"): zipped.read(name) for name in zipped.namelist()}
    return np.load(io.BytesIO(members.pop("tree"))).tobytes(), members


GRID = {"lr": [0.5, 0.25]}
LOG = Path(FOLDER.name, "sound.jsonl")
sweep(lambda lr, rng: {"loss": lr, "more": 1 / 3}, GRID, seed=0, resume=LOG, progress=False)
VALUES = {"text": "a\0b", "mixed": (1, [2.5, None, True, {"a": np.arange(3)}]), "big": 2**70}
WEIGHTS = {"w": np.eye(2, dtype=np.float32), "b": np.array(1.5)}
RUN, PLAIN = saved("run.npz", *trained(), epoch=3), saved("values.npz", WEIGHTS, **VALUES)
SAFE = saved("x.safetensors", WEIGHTS, **VALUES)
SAFE_HEADER, SAFE_DATA = SAFE[8:8 + SAFE[0] + 256 * SAFE[1]], SAFE[8 + SAFE[0] + 256 * SAFE[1]:]
RUN_TREE, RUN_ARRAYS = taken_apart(RUN)
PLAIN_TREE, PLAIN_ARRAYS = taken_apart(PLAIN)


def sound(name):
    """Inputs that a reader takes."""
    idx = b"\0\0\x0b\2" + struct.pack(">2I", 2, 3) + np.arange(6, dtype=">i2").tobytes()
    return {
        "npz": [PLAIN, RUN], "tree": [PLAIN_TREE], "state": [RUN_TREE], "log": [LOG.read_bytes()],
        "rebuild": [RUN_TREE],
        "safetensors": [SAFE], "header": [SAFE_HEADER],
        "member": [npy(np.arange(6.0).reshape(2, 3)), npy(np.array("text")), npy(np.array(True))],
        "idx": [idx, gzip.compress(idx, mtime=0)], "gzip": [idx],
        "csv": [b'a,b,kind\n1,2,x\n3,4e-1,"y, z"\n', b"1,2,3\n4,5,6\n"],
        "table": [b'\xef\xbb\xbfa;kind\n1;"x"\n2;"y\n z"\n'],
        "formula": [b"tanh(x * w + 1) ** 2", b"sum(where(w > 1, w / x, -x), axis=(0, 1))",
                    b"softmax(w, axis=-1) @ sum(w, axis=0, keepdims=False)",
                    b" + ".join([b"x"] * 900)],
    }[name]


def kept(name):
    """Inputs that were found once, or reach far."""
    return [path.read_bytes() for path in sorted(CORPUS.glob(f"{name}/*"))]


# ---- changes -------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**30, 2**31 - 1, 2**31,
           2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
WORDS = [b"-1", b"1e999", b"nan", b"9" * 40, b"9" * 5000, b"NaN", b"null", b"true", b"{}", b"[]",
         b"(" * 300, b"[" * 3000, b'{"a":' * 2000, b"-" * 300, b"\xff", b"\0", b"\xed\xa0\x80",
         b'"', b",", b";", b"\r", b"\n" * 50, b"None", b"'", b"*", b"**", b"=", b"axis=", b"O8",
         b"|O", b"V", b"<U", b"S0", b"(0,)", b"(-1,)", b"4611686018427387904", b"array", b"dict",
         b"list", b"tuple", b"data_offsets", b"shape", b"F64", b"BF16", b"__metadata__", b" + x"]


def changed(rng, inputs):
    """One of the inputs after a few changes."""
    content = bytearray(inputs[rng.integers(len(inputs))])
    for _ in range(min(rng.geometric(0.5), 9)):
        at, kind = int(rng.integers(len(content) + 1)), rng.integers(8)
        end = at + int(rng.integers(1, 17))
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << rng.integers(8)
        elif kind == 1:
            size = 2 ** int(rng.integers(4))
            number = NUMBERS[rng.integers(len(NUMBERS))] % 256**size
            content[at:at + size] = number.to_bytes(size, "big" if rng.random() < 0.5 else "little")
        elif kind == 2:
            content[at:end] = WORDS[rng.integers(len(WORDS))]
        elif kind == 3:
            content[at:at] = WORDS[rng.integers(len(WORDS))]
        elif kind == 4:
            del content[at:end]
        elif kind == 5:
            content[at:at] = content[at:end] * int(rng.integers(1, 200))
        elif kind == 6:
            other = inputs[rng.integers(len(inputs))]
            start = int(rng.integers(len(other) + 1))
            content[at:] = other[start:]
        else:                                      # a number in text
            found = list(re.finditer(rb"\d+", content))
            if found:
                match = found[rng.integers(len(found))]
                content[slice(*match.span())] = str(NUMBERS[rng.integers(len(NUMBERS))]).encode()
    return bytes(content[:LONGEST])


# ---- what must hold ------------------------------------------------------------------------------


def attempt(name, content):
    """Bytes held beyond the input, and the error; an AssertionError for what must not be."""
    reader, documented = READERS[name]
    tracemalloc.reset_peak()
    before, error = tracemalloc.get_traced_memory()[0], None
    try:
        reader(content)
    except documented as refusal:
        error = str(refusal)
        if name not in ("formula", "rebuild"):
            assert FOLDER.name in error, f"the error does not name the file: {error}"
    except AssertionError:
        raise
    except BaseException as other:
        raise AssertionError(f"{type(other).__name__}, which is not documented: {other}") from other
    held = tracemalloc.get_traced_memory()[1] - before - len(content)
    assert held <= MOST, f"{held} bytes were held for an input of {len(content)}"
    return held, error


def mutate(name, count, seed=0):
    """Figures of `count` changed inputs."""
    rng, good, found = np.random.default_rng(seed), sound(name), kept(name)
    inputs = good + found
    starts = good * (1 + len(found) // len(good)) + found    # as often from sound input
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    refused = most = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for number in range(-len(inputs), count):
            content = inputs[number] if number < 0 else changed(rng, starts)
            try:
                held, error = attempt(name, content)
            except AssertionError as failure:
                path = Path(tempfile.gettempdir(), f"hostile-{name}-{seed}-{number}")
                path.write_bytes(content)
                raise AssertionError(f"{path}: {failure}") from failure
            refused, most = refused + (error is not None and number >= 0), max(most, held)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    finally:
        if not tracing:
            tracemalloc.stop()
    return {"reader": name, "inputs": count, "refused": refused, "most MB": round(most / 1e6, 2),
            "process grew MB": round(grown / 1e3, 1)}


if __name__ == "__main__":
    for reader in READERS if sys.argv[1] == "all" else sys.argv[1:2]:
        print(json.dumps(mutate(reader, *map(int, sys.argv[2:]))), flush=True)
