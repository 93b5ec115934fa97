"""Checkpoints: what comes back, and what happens to files that are not what they claim."""

import json
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from interrupts import Burst, bursts, interrupted, usual_time

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.checkpoint import load, save, uninterrupted
from tinygrad_opt.errors import CheckpointError

SAVED = Path(__file__).with_name("saved")

NASTY_KEYS = ["file", "w", "w.npy", "", "/", "../../etc", "a\\b", "a\0b", "\ud800", "ümläut",
              "self", "tree", "__metadata__", "array 0", "x" * 70_000, " ", "a/b", "dict", "array",
              "\n"]
ARRAYS = {
    "float32": np.float32([[1.5, -0.0], [np.nan, np.inf]]),
    "float64": np.linspace(0, 1, 7),
    "float16": np.float16([1, 2]),
    "int": np.arange(-3, 3).reshape(2, 3),
    "bool": np.array([True, False]),
    "zero-d": np.array(4.5),
    "empty": np.empty((0, 5), np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(10.0)[::-3],
}


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture(params=["run.npz", "run.safetensors"])
def path(request, tmp_path):
    if request.param.endswith("safetensors"):
        pytest.importorskip("safetensors")
    return tmp_path / request.param


# ---- what comes back -----------------------------------------------------------------------------


def test_arrays_come_back_with_their_bits_dtypes_and_shapes(path):
    save(path, ARRAYS)
    back = load(path)["model"]
    assert list(back) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert same(back[name], array), name
        assert back[name].flags.writeable
        assert not any(np.shares_memory(back[name], back[other]) for other in back if other != name)


def test_every_string_is_a_key(path):
    arrays = {key: np.full(2, i) for i, key in enumerate(NASTY_KEYS)}
    save(path, arrays, more={key: i for i, key in enumerate(NASTY_KEYS)}, again=arrays)
    back = load(path)
    assert list(back["model"]) == NASTY_KEYS
    assert all(same(back["model"][key], arrays[key]) for key in NASTY_KEYS)
    assert all(same(back["again"][key], arrays[key]) for key in NASTY_KEYS)
    assert back["more"] == {key: i for i, key in enumerate(NASTY_KEYS)}


def test_names_that_the_formats_take_for_themselves_are_free(path):
    names = ["file", "allow_pickle", "tree", "__metadata__", "w.npy", "wnpy"]
    save(path, **{name: np.full(2, i) for i, name in enumerate(names)})
    assert {name: array.tolist() for name, array in load(path).items()} == {
        name: [i, i] for i, name in enumerate(names)}


def test_plain_values_come_back_equal_and_of_their_types(path):
    values = {"n": 3, "x": 0.1 + 0.2, "big": 2**200, "inf": -np.inf, "s": "a\0b",
              "t": (1, [2, None]), "b": True, "d": {"dict": {"array": "model"}}, "e": {}, "l": []}
    save(path, **values)
    assert load(path) == values
    assert type(load(path)["b"]) is bool and type(load(path)["t"]) is tuple


def test_tensors_and_numpy_scalars_are_kept_as_arrays(path):
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    save(path, {"w": w}, rate=np.float32(0.5))
    assert same(load(path)["model"]["w"], w.data)
    assert same(load(path)["rate"], np.array(0.5, np.float32))


def test_what_has_a_state_dict_is_asked_for_it(path):
    class Part:
        def __init__(self, **state):
            self.state_dict = lambda: state

    save(path, Part(w=np.ones(2)), Part(t=3, m={"w": np.zeros(2)}), schedule=Part(at=7))
    back = load(path)
    assert list(back) == ["model", "optimizer", "schedule"]
    assert back["optimizer"]["t"] == 3 and back["schedule"] == {"at": 7}
    assert same(back["optimizer"]["m"]["w"], np.zeros(2))


def test_a_random_generator_goes_on_where_it_was_saved(path):
    rng = np.random.default_rng(5)
    rng.random(3)
    save(path, rng=rng.bit_generator.state)
    expected = rng.random(4)
    other = np.random.default_rng(0)
    other.bit_generator.state = load(path)["rng"]
    np.testing.assert_array_equal(other.random(4), expected)


def test_numpy_reads_the_npz_under_readable_names(tmp_path):
    path = save(tmp_path / "run", {"layers.0.weight": np.ones((2, 3))}, lr=0.1)
    assert path == tmp_path / "run"                          # no .npz is put behind it
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["model/layers.0.weight"], np.ones((2, 3)))


def test_numpy_finds_the_right_array_also_where_names_differ_by_npy_only(tmp_path):
    arrays = {"w": np.zeros(1), "w.npy": np.ones(1), "w.npy.npy": np.full(1, 2)}
    path = save(tmp_path / "run.npz", arrays, tree=np.full(1, 3))
    with np.load(path) as file:
        assert sorted(float(file[name][0]) for name in file.files if name != "tree") == [0, 1, 2, 3]
        assert file["model/w"][0] == 0
    assert load(path)["tree"].tolist() == [3]


@pytest.mark.parametrize("more", [{}, {"tree": np.float32(1)}, {"tree": np.ones(3)},
                                  {"tree": np.ones((2, 2), np.uint8)}])
def test_files_from_numpy_are_read_as_a_model(tmp_path, more):
    np.savez(tmp_path / "x.npz", a=np.arange(3), **more)
    back = load(tmp_path / "x.npz")
    assert list(back) == ["model"] and set(back["model"]) == {"a", *more}


def test_arrays_bear_the_names_of_their_places(tmp_path):
    parts = {"w": np.ones(2)}, {"m": {"wnpy": np.ones(2)}}
    assert np.load(save(tmp_path / "x.npz", *parts)).files == ["tree", "model/w",
                                                                "optimizer/m/wnpy"]
    numpy = pytest.importorskip("safetensors.numpy")
    names = set(numpy.load_file(save(tmp_path / "x.safetensors", *parts)))
    assert names == {"w", "optimizer/m/wnpy"}


def test_safetensors_of_a_model_bear_its_names_and_are_aligned(tmp_path):
    pytest.importorskip("safetensors")
    path = save(tmp_path / "m.safetensors", {"b": np.ones(3, "u1"), "w": np.ones((2, 2)),
                                             "c": np.array([1, 2], ">f4")})
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + length])
    assert length % 8 == 0
    assert header["w"] == {"dtype": "F64", "shape": [2, 2], "data_offsets": [0, 32]}
    assert header["c"]["data_offsets"] == [32, 40] and header["b"]["data_offsets"] == [40, 43]
    np.testing.assert_array_equal(load(path)["model"]["c"], [1, 2])


def test_the_safetensors_package_reads_ours_and_we_read_its(tmp_path):
    theirs = pytest.importorskip("safetensors.numpy")
    back = theirs.load_file(save(tmp_path / "m.safetensors", ARRAYS))
    assert back.keys() == ARRAYS.keys() and all(same(back[k], ARRAYS[k]) for k in ARRAYS)
    arrays = {k: v for k, v in ARRAYS.items() if k not in ("fortran", "strided")}
    theirs.save_file(arrays, tmp_path / "t.safetensors", {"by": "them"})
    back = load(tmp_path / "t.safetensors")["model"]
    assert back.keys() == arrays.keys() and all(same(back[k], arrays[k]) for k in arrays)


@pytest.mark.parametrize("layout", [
    lambda a: a.T, lambda a: a[::-1], lambda a: a[:, ::2], lambda a: a.transpose(1, 0, 2),
    lambda a: np.broadcast_to(a[:1], a.shape), lambda a: a.astype(a.dtype.newbyteorder()),
    lambda a: a[1:], lambda a: a[..., 0], lambda a: a[0, 0, 0],
], ids="transposed reversed stepped swapped broadcast byteswapped tail column scalar".split())
def test_every_memory_layout_comes_back_right(path, layout):
    """The safetensors package alone writes the memory of an array in whatever order it lies."""
    array = layout(np.arange(24.0).reshape(2, 3, 4))
    save(path, {"w": array})
    back = load(path)["model"]["w"]
    assert back.shape == np.shape(array)
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files_of_earlier_versions_load_as_they_were_saved(suffix):
    """Written once, by the first version of the format; never to be written again."""
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    back = load(SAVED / f"values-1.{suffix}")
    more = {"big-endian": np.array([1, 2], ">f4"), "complex": np.array([1 + 2j], np.complex64),
            "a/b": np.arange(2), "w.npy": np.arange(3), "ümläut": np.arange(4),
            "tree": np.arange(5), "\ud800": np.arange(6)}
    assert list(back["model"]) == [*ARRAYS, *more]
    for name, array in {**ARRAYS, **more}.items():
        assert back["model"][name].dtype.newbyteorder("=") == array.dtype.newbyteorder("="), name
        np.testing.assert_array_equal(back["model"][name], array)
    assert back["epoch"] == 7 and back["text"] == "a\0b" and back["big"] == 2**200
    assert back["nested"] == {"dict": {"array": "model"}}
    assert back["mixed"][0] == 1 and back["mixed"][1][:3] == [2.5, None, True]
    assert type(back["mixed"]) is tuple and same(back["mixed"][1][3], ARRAYS["int"])

    model = nn.MLP([3, 4, 2], dropout=0.5, rng=5)
    opt = optim.Adam(model.parameters())
    run = load(SAVED / f"run-1.{suffix}", model, opt)
    assert opt.t == run["epoch"] == 3 and opt.lr == 0.01
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, run["model"][name])
    assert list(nn.rebuild(run).parameters()) == list(model.parameters())


def test_equal_content_gives_equal_bytes(path):
    first = save(path, ARRAYS, epoch=3).read_bytes()
    assert save(path, ARRAYS, epoch=3).read_bytes() == first


# ---- what is refused when saving -----------------------------------------------------------------


@pytest.mark.parametrize(("value", "words"), [
    ({"a": {1, 2}}, r"\['extra'\]\['a'\] is set"),
    ([object()], r"\['extra'\]\['0'\] is object"),
    ({3: 1}, r"\['extra'\] has a key that is no string: 3"),
    (np.array([None]), r"dtype object, which only pickle"),
    (np.zeros(2, [("a", "f4")]), "only pickle"),
])
def test_what_only_pickle_could_keep_is_refused_by_its_place(path, value, words):
    save(path, epoch=1)
    with pytest.raises(CheckpointError, match=words) as caught:
        save(path, extra=value)
    assert str(path) in str(caught.value)
    assert load(path) == {"epoch": 1}                        # the file of before
    assert os.listdir(path.parent) == [path.name]            # and nothing beside it


def test_a_dict_that_contains_itself_is_an_error(path):
    loop = {}
    loop["loop"] = loop
    with pytest.raises(CheckpointError, match="recursion"):
        save(path, loop=loop)


def test_a_dtype_without_a_safetensors_code_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"complex128 for 'w'; use \.npz"):
        save(tmp_path / "x.safetensors", {"w": np.zeros(2, complex)})
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_an_error_that_names_the_path(tmp_path):
    with pytest.raises(CheckpointError, match=r"no/x\.npz: no such file or folder"):
        save(tmp_path / "no" / "x.npz", epoch=1)


@pytest.mark.parametrize("function", [save, load])
def test_a_model_in_place_of_the_path_is_answered(path, function):
    with pytest.raises(TypeError, match=rf"{function.__name__}\(path, model, optimizer\); got MLP"):
        function(nn.MLP([2, 2]), path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_old_file_and_no_other(path, monkeypatch, error):
    save(path, {"w": np.ones(3)})

    def fail(handle):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((CheckpointError, KeyboardInterrupt)) as caught:
        save(path, {"w": np.zeros(3)})
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot save {path}: No space left on device"
    monkeypatch.undo()
    assert load(path)["model"]["w"].tolist() == [1, 1, 1]
    assert os.listdir(path.parent) == [path.name]


posix = pytest.mark.skipif(os.name != "posix", reason="permissions and signals of POSIX")


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_saved_over_keeps_its_permissions(path, mode):
    save(path, epoch=1)
    path.chmod(mode)
    save(path, epoch=2)
    assert stat.S_IMODE(path.stat().st_mode) == mode and load(path) == {"epoch": 2}


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0, 0o666)])
def test_a_new_file_has_the_permissions_that_the_process_gives(path, umask, mode):
    before = os.umask(umask)
    try:
        save(path, epoch=1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_what_takes_the_place_of_a_private_file_is_private_while_it_is_written(path, monkeypatch):
    save(path, epoch=1).chmod(0o600)
    modes, chmod = [], os.chmod

    def seen(name, mode):
        modes.append(stat.S_IMODE(os.stat(name).st_mode))
        chmod(name, mode)

    monkeypatch.setattr(os, "chmod", seen)
    before = os.umask(0)
    try:
        save(path, epoch=2)
    finally:
        os.umask(before)
    assert modes == [0o600]


@posix
def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_folder_after(path, monkeypatch):
    """And it is locked until then, so that no other process takes it for one that was left."""
    fcntl, steps, replace = pytest.importorskip("fcntl"), [], os.replace

    def fsync(handle):
        found = os.fstat(handle)
        steps.append("folder" if stat.S_ISDIR(found.st_mode) else found.st_size)

    def rename(old, new):
        steps.append("name")
        with open(old, "r+b") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    save(path, epoch=1)
    assert steps == [path.stat().st_size, "name", "folder"]


@posix
def test_no_file_or_folder_is_left_open(path):
    def next_descriptor():                      # the lowest that is free
        handle = os.open(os.devnull, os.O_RDONLY)
        os.close(handle)
        return handle

    load(save(path, epoch=1))
    before = next_descriptor()
    load(save(path, epoch=2))
    assert next_descriptor() == before


@posix
def test_what_killed_processes_leave_is_removed_by_the_next_save(path):
    """Also under names that `glob` would take for patterns."""
    path = path.with_name("[ru]n*" + path.suffix)
    save(path, epoch=1)
    code = ("import os, signal, sys; from tinygrad_opt.checkpoint import save;"
            "os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL); save(sys.argv[1], n=2)")
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", code, path], cwd=Path(tg.__file__).parents[1])
        assert run.returncode == -signal.SIGKILL
    assert load(path) == {"epoch": 1} and len(os.listdir(path.parent)) == 2
    other = save(path.with_name("other.npz"), epoch=3)
    assert len(os.listdir(path.parent)) == 3                # that path's are left alone
    save(path, epoch=2)
    assert sorted(os.listdir(path.parent)) == sorted([path.name, other.name])


@posix
def test_what_another_process_is_writing_is_not_removed(path, monkeypatch):
    started, done = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(handle):
        if threading.current_thread() is writer:
            started.set()
            done.wait()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", slow)
    writer = threading.Thread(target=save, args=(path,), kwargs={"epoch": 1})
    writer.start()
    started.wait()
    save(path, epoch=2)
    assert len(os.listdir(path.parent)) == 2
    done.set()
    writer.join()
    assert load(path) == {"epoch": 1} and os.listdir(path.parent) == [path.name]


def test_a_file_that_is_removed_before_it_is_locked_is_made_anew(path, monkeypatch):
    fcntl, made = pytest.importorskip("fcntl"), []

    def late(file, how):
        made.append(file)
        if len(made) == 1:
            os.unlink(file.name)

    monkeypatch.setattr(fcntl, "flock", late)
    save(path, epoch=1)
    assert len(made) == 2 and made[0].closed and load(path) == {"epoch": 1}


def test_a_name_as_long_as_names_may_be_can_be_saved(tmp_path):
    path = save(tmp_path / ("ü" * 125 + ".npz"), epoch=1)
    assert load(path) == {"epoch": 1}


def test_a_link_goes_on_pointing_at_the_file(tmp_path):
    (tmp_path / "real").mkdir()
    save(tmp_path / "real" / "a.npz", epoch=1)
    (tmp_path / "latest.npz").symlink_to(tmp_path / "real" / "a.npz")
    save(tmp_path / "latest.npz", epoch=2)
    assert (tmp_path / "latest.npz").is_symlink()
    assert load(tmp_path / "real" / "a.npz") == {"epoch": 2}


# ---- what is refused when loading ----------------------------------------------------------------


def test_every_truncation_is_a_checkpoint_error_that_names_the_file(path):
    raw = save(path, {"w": np.arange(5.0)}, epoch=1).read_bytes()
    for length in range(0, len(raw), 7):
        path.write_bytes(raw[:length])
        with pytest.raises(CheckpointError, match=path.name):
            load(path)


def test_a_changed_bit_is_an_error_or_does_not_reach_the_arrays(tmp_path):
    """In npz every byte of an array is under a checksum."""
    path = tmp_path / "run.npz"
    w = np.random.default_rng(0).random(40)
    raw = save(path, {"w": w}).read_bytes()
    refused = 0
    for at in range(0, len(raw), 5):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1:])
        try:
            back = load(path)
        except CheckpointError:
            refused += 1
        else:
            assert all(same(array, w) for array in back["model"].values())
    assert refused > len(raw) / 5 / 2


def npz(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name + ".npy", content)


def npy(descr="<f8", shape="(2,)", data=b"\0" * 16):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(("content", "words"), [
    (npy(shape="(1000000000000,)"), "claims 8000000000000 bytes of data, the file has 16"),
    (npy(shape="(4611686018427387904, 4)"), "claims"),     # 2**64 numbers would overflow to 0
    (npy(descr="S0", shape="(1000000000,)", data=b""), "claims 1000000000 bytes of data"),
    (npy(shape="(-2,)"), r"claims the shape \(-2,\)"),
    (npy(shape="(1,)"), "claims 8 bytes of data, the file has 16"),
    (npy(descr="|O"), "Python objects"),
    (npy(descr="nonsense"), "w: "),
    (npy(shape="__import__('os').system('true')"), "w: "),
    (b"\x93NUMPY\7\0" + npy()[8:], r"npy version \(7, 0\) is not read here"),
    (b"not an array", "w: "),
    (b"", "w: "),
])
def test_a_member_that_lies_is_refused_before_memory_is_asked_for(tmp_path, content, words):
    npz(tmp_path / "x.npz", w=content)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path / "x.npz")


def test_a_directory_that_claims_more_than_the_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("w.npy", npy())
        archive.infolist()[0].file_size = archive.infolist()[0].compress_size = 2**40
    with pytest.raises(CheckpointError, match=r"claim more than the \d+ bytes of the file"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("field", [20, 24], ids=["compressed", "whole"])
def test_a_size_that_a_directory_claims_is_not_asked_for(tmp_path, field):
    """zipfile reads as many bytes as a stored member is said to have compressed."""
    path = tmp_path / "x.npz"
    npz(path, w=npy())
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\1\2") + field                     # a row of the central directory
    raw[at:at + 4] = struct.pack("<I", 1 << 30)
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"claim more than the \d+ bytes"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_pickles_are_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(tmp_path / "x.npz", w=np.array([Trap()], object))
    with pytest.raises(CheckpointError, match="Python objects, which could run code"):
        load(tmp_path / "x.npz")
    assert not (tmp_path / "sprung").exists()


def test_another_pickle_is_no_file_of_torch_save(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("strata.pkl", b"")
    with pytest.raises(CheckpointError, match=r"strata\.pkl: "):
        load(tmp_path / "x.npz")


def test_two_arrays_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("w", npy())
        archive.writestr("w.npy", npy())
    with pytest.raises(CheckpointError, match="two arrays called 'w'"):
        load(tmp_path / "x.npz")


def test_a_file_of_torch_save_is_refused_with_what_to_do(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("model/data.pkl", b"")
    with pytest.raises(CheckpointError, match=r"torch\.save, which runs code: .* nn\.from_torch"):
        load(tmp_path / "x.npz")


def test_a_file_that_is_no_archive_is_refused_in_the_words_of_the_format(tmp_path):
    (tmp_path / "x.npz").write_text("hello")
    with pytest.raises(CheckpointError, match=r"it is no whole \.npz file"):
        load(tmp_path / "x.npz")


def test_compressed_files_are_refused_with_what_to_do(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", w=np.zeros(100_000))
    with pytest.raises(CheckpointError, match=r"compressed; np\.savez writes"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize(("tree", "words"), [
    ({"format": "other"}, "not one of this package"),
    ([], "not one of this package"),
    ({"format": "tinygrad_opt", "version": 99, "tree": {"dict": {}}}, "version is 99"),
    ({"format": "tinygrad_opt", "version": 1}, "does not start with a dict"),
    ({"format": "tinygrad_opt", "version": 1, "tree": {"dict": {"w": {"array": "no"}}}}, "missing"),
    ({"format": "tinygrad_opt", "version": 1, "tree": {"dict": {"w": {"array": [1]}}}}, "damaged"),
    ({"format": "tinygrad_opt", "version": 1, "tree": {"dict": {"w": []}}}, "damaged"),
    ({"format": "tinygrad_opt", "version": 1, "tree": {"a": 1, "b": 2}}, "damaged"),
])
def test_a_damaged_tree_is_refused(tmp_path, tree, words):
    np.savez(tmp_path / "x.npz", tree=np.frombuffer(json.dumps(tree).encode(), np.uint8))
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path / "x.npz")


def entry(dtype="F32", shape=(2,), at=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(at)}


@pytest.mark.parametrize(("header", "data"), [
    ({"a": entry(at=(4, 12))}, 12),
    ({"a": entry(), "b": entry(at=(4, 12))}, 12),
    ({"a": entry(at=(0, 80))}, 8),
    ({"a": entry()}, 9),
    ({"a": entry(dtype="F31")}, 8),
    ({"a": entry(dtype="BF16", shape=(4,))}, 8),
    ({"a": entry(shape=(-2,))}, 8),
    ({"a": entry(shape=(True,))}, 8),
    ({"a": entry(shape=(2**62, 2**62))}, 8),
    ({"a": entry(shape=(2**62, 0), at=(0, 0))}, 0),
    ({"a": entry(shape=(1,) * 99)}, 4),
    ({"a": {"dtype": "F32"}}, 8),
    ({"a": 3}, 8),
    ({"__metadata__": {"tinygrad_opt": 3}}, 0),
    ({"__metadata__": {"tinygrad_opt": "["}}, 0),
    ([1], 0),
    ("{", 0),
], ids=str)
def test_hostile_safetensors_are_refused(tmp_path, header, data):
    pytest.importorskip("safetensors")
    head = (header if isinstance(header, str) else json.dumps(header)).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"\0" * data)
    with pytest.raises(CheckpointError, match=r"cannot load .*x\.safetensors: ."):
        load(path)


def test_safetensors_that_claim_a_long_header_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(CheckpointError, match="header too large"):
        load(path)


def test_without_the_safetensors_package_its_files_are_an_error_that_names_it(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(CheckpointError, match=r"x\.safetensors: .*pip install safetensors"):
        save(tmp_path / "x.safetensors", epoch=1)
    assert os.listdir(tmp_path) == []
    (tmp_path / "x.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"x\.safetensors: .*pip install safetensors"):
        load(tmp_path / "x.safetensors")


def test_what_cannot_be_opened_is_a_checkpoint_error_that_says_why(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot load .*none\.npz: no such file"):
        load(tmp_path / "none.npz")
    with pytest.raises(CheckpointError, match="directory"):
        load(tmp_path)


# ---- what is loaded is loaded whole --------------------------------------------------------------


def all_numbers(model, optimizer):
    state = optimizer.state_dict()
    slots = [array.tobytes() for record in state["parameters"].values()
             for array in record["state"].values()]
    return ([a.tobytes() for a in model.state_dict().values()], state["t"], slots,
            [str(g.bit_generator.state) for g in model.generators().values()])


def trained(seed, steps):
    model = nn.MLP([3, 4, 2], dropout=0.5, rng=seed)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    for _ in range(steps):
        loss = np.square(model(np.ones((4, 3), np.float32))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, optimizer


def test_a_run_is_loaded_whole_also_in_another_thread(path):
    save(path, *trained(0, 3))
    (model, optimizer), (_, alone) = trained(1, 1), trained(1, 1)
    worker = threading.Thread(target=load, args=(path, model, optimizer))
    worker.start()
    worker.join()
    assert all_numbers(model, optimizer) == all_numbers(*trained(0, 3))
    load(path, optimizer=alone)
    assert alone.state_dict()["t"] == 3


def test_what_is_kept_of_a_model_has_its_name_and_fits_such_a_model_only(path):
    model, optimizer = trained(0, 1)
    save(path, model)
    assert list(load(path)) == ["model", "random", "architecture"]
    with pytest.raises(CheckpointError, match="it holds no optimizer, only model, random"):
        load(path, model, optimizer)
    with pytest.raises(CheckpointError, match=r"holds the random generators .* has none"):
        load(path, nn.MLP([3, 4, 2]))
    with pytest.raises(CheckpointError, match="the name 'architecture' is taken"):
        save(path, model, architecture=1)


def test_a_state_that_does_not_fit_the_optimizer_leaves_the_model_as_it_was(path):
    saved, _ = trained(0, 3)
    save(path, saved, {"nonsense": 1})
    model, optimizer = trained(1, 1)
    before = all_numbers(model, optimizer)
    with pytest.raises(CheckpointError, match="cannot load"):
        load(path, model, optimizer)
    with pytest.raises(CheckpointError, match="cannot load"):
        load(path, optimizer=optimizer)
    assert all_numbers(model, optimizer) == before


@posix
def test_an_interrupt_waits_until_the_block_has_ended():
    arrived = []

    def handler(number, frame):
        arrived.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert arrived == []
        assert arrived == [signal.SIGINT] and signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_random_states_that_are_none_load_nothing(path):
    model, optimizer = trained(1, 1)
    before = all_numbers(model, optimizer)
    save(path, trained(0, 3)[0].state_dict(),
         random={name: {"bit_generator": "none"} for name in model.generators()})
    with pytest.raises(CheckpointError, match="cannot load"):
        load(path, model)
    assert all_numbers(model, optimizer) == before


def interrupted_load(path, n, count):
    """Whether the n-th line was reached, after checking that the load was whole or not at all."""
    model, optimizer = trained(1, 1)
    before, burst = all_numbers(model, optimizer), Burst(n, count)
    with interrupted(burst):
        load(path, model, optimizer)
    assert all_numbers(model, optimizer) in (before, all_numbers(*trained(0, 3))), (n, count)
    return burst.reached


@posix
@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.drill)])
@pytest.mark.parametrize("count", [1, 4])
def test_no_number_of_interrupts_loads_a_part(tmp_path, count, step):
    path = save(tmp_path / "run.npz", *trained(0, 3))
    n = 1
    while interrupted_load(path, n, count):
        n += step
    assert n > 400                                          # lines, of which each was tried


@posix
@pytest.mark.drill
def test_bursts_of_interrupts_at_random_times_load_no_part(tmp_path, monkeypatch):
    """Four signals each, at most 50 µs apart, at some time while it loads: 5,000 times."""
    path = save(tmp_path / "run.npz", *trained(0, 3))
    (model, optimizer), rng = trained(1, 1), np.random.default_rng(0)
    old, new = all_numbers(model, optimizer), all_numbers(*trained(0, 3))
    first = save(tmp_path / "first.npz", model, optimizer)
    ended = {"interrupted": 0, "loaded": 0}
    monkeypatch.setattr(sys, "unraisablehook", lambda *_: None)  # files that interrupts left open
    usual = usual_time(lambda: load(first, model, optimizer))
    with bursts(load.__code__, rng, usual) as under_a_burst:
        for _ in range(5000):
            ended["interrupted"] += under_a_burst(lambda: load(path, model, optimizer))
            numbers = all_numbers(model, optimizer)
            assert numbers in (old, new)
            if numbers == new:
                ended["loaded"] += 1
                load(first, model, optimizer)
    print(ended)
    assert min(ended.values()) > 100
