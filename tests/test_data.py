import gzip
import hashlib
import math
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from tinygrad_opt import data, nn

ROOT = Path(__file__).resolve().parents[1]
DIGITS = Path(data.__file__).with_name("digits.npz")

# Each synthetic data set: a call that draws from rng, and the number of its classes.
SYNTHETIC = {
    "blobs": (lambda rng: data.blobs(40, 4, 3, rng=rng), 4),
    "circles": (lambda rng: data.circles(40, rng=rng), 2),
    "moons": (lambda rng: data.moons(40, rng=rng), 2),
    "spiral": (lambda rng: data.spiral(40, 5, rng=rng), 5),
    "vertical": (lambda rng: data.vertical(40, 4, rng=rng), 4),
    "xor": (lambda rng: data.xor(40, rng=rng), 2),
}


def peak(call):
    """Most bytes held at once while the call ran, and its result."""
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def nearest(x, points):
    """Index of the nearest of the points for each row of x."""
    return ((x[:, None] - points) ** 2).sum(axis=-1).argmin(axis=1)


def test_public_names_are_sorted_and_exist():
    assert data.__all__ == sorted(data.__all__)
    assert all(hasattr(data, name) for name in data.__all__)


def test_the_import_does_not_load_what_only_readers_need():
    # without tinygrad_opt/__init__.py: what the rest of the package loads is not the question
    code = (
        "import sys, types, numpy; package = types.ModuleType('tinygrad_opt');"
        "package.__path__ = sys.argv[1:]; sys.modules['tinygrad_opt'] = package;"
        "before = set(sys.modules); import tinygrad_opt.data;"
        "print(*{'gzip', 'zipfile', 'csv', 'importlib.resources'} & (set(sys.modules) - before))"
    )
    run = [sys.executable, "-c", code, ROOT / "tinygrad_opt"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.split() == []


# ---- synthetic ----


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic_data_are_float32_rows_with_equally_many_int64_labels(name):
    make, n_classes = SYNTHETIC[name]
    x, y = make(0)
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert x.shape == (40 * n_classes, 3 if name == "blobs" else 2)
    assert y.shape == (40 * n_classes,)
    np.testing.assert_array_equal(np.bincount(y), [40] * n_classes)
    assert np.isfinite(x).all()


@pytest.mark.parametrize("name", [*SYNTHETIC, "sine"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name):
    make = SYNTHETIC[name][0] if name in SYNTHETIC else lambda rng: data.sine(40, rng=rng)
    first, again, other = make(7), make(7), make(8)
    assert first[0].tobytes() == again[0].tobytes() and first[1].tobytes() == again[1].tobytes()
    assert b"".join(a.tobytes() for a in first) != b"".join(a.tobytes() for a in other)
    generator = np.random.default_rng(7)
    assert make(generator)[0].tobytes() == first[0].tobytes()
    moved_on = make(generator)
    assert any(a.tobytes() != b.tobytes() for a, b in zip(moved_on, first, strict=True))
    fresh = make(None), make(None)
    assert any(a.tobytes() != b.tobytes() for a, b in zip(*fresh, strict=True))


def test_the_global_random_state_is_neither_read_nor_moved():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  (the state that must not move)
    for make, _ in SYNTHETIC.values():
        make(None)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("n_classes", [1, 3, 5])
def test_a_spiral_without_noise_is_the_published_formula_point_by_point(n_classes):
    n = 100
    x, y = data.spiral(n, n_classes, noise=0)
    for c in range(n_classes):
        for i in range(n):
            r = i / (n - 1)
            t = 4 * c + 4 * i / (n - 1)
            expected = r * math.sin(2.5 * t), r * math.cos(2.5 * t)
            # float32 keeps 24 bits: half a unit in the last place is 6e-8 of at most 1
            assert x[c * n + i] == pytest.approx(expected, abs=6.1e-8)
            assert y[c * n + i] == c


def test_the_noise_of_a_spiral_moves_points_along_circles_by_its_share():
    x, y = data.spiral(20_000, 3, noise=0.2, rng=3)
    u = np.tile(np.linspace(0, 1, 20_000), 3)
    np.testing.assert_allclose(np.hypot(*x.T), u, atol=1e-6)
    away = np.arctan2(*x.T) / 2.5 - 4 * (y + u)
    period = 2 * math.pi / 2.5
    away = (away[u > 0.01] + period / 2) % period - period / 2
    # the mean of n deviates scatters by 0.2/sqrt(n), their spread by 0.2/sqrt(2n)
    assert abs(away.mean()) < 5 * 0.2 / math.sqrt(len(away))
    assert abs(away.std() - 0.2) < 5 * 0.2 / math.sqrt(2 * len(away))


def test_the_default_spiral_is_that_of_the_texts():
    assert data.spiral(rng=1)[0].tobytes() == data.spiral(100, 3, noise=0.2, rng=1)[0].tobytes()


def test_vertical_clouds_stand_side_by_side_at_half_height():
    x, y = data.vertical(5, 3, noise=0)
    np.testing.assert_allclose(x[:, 0], y / 3, atol=3e-8)
    assert (x[:, 1] == 0.5).all()


def test_moons_without_noise_are_two_unit_half_circles():
    x, y = data.moons(101, noise=0)
    upper, lower = x[y == 0], x[y == 1]
    np.testing.assert_allclose(np.hypot(*upper.T), 1, atol=2e-7)
    np.testing.assert_allclose(np.hypot(*(lower - (1, 0.5)).T), 1, atol=2e-7)
    assert (upper[:, 1] >= -1e-7).all() and (lower[:, 1] <= 0.5).all()
    np.testing.assert_allclose(upper[[0, 50, 100]], [[1, 0], [0, 1], [-1, 0]], atol=1e-7)
    np.testing.assert_allclose(lower[[0, 50, 100]], [[0, 0.5], [1, -0.5], [2, 0.5]], atol=1e-7)


def test_circles_without_noise_have_their_radii_and_no_point_twice():
    x, y = data.circles(60, inner=0.3, noise=0)
    np.testing.assert_allclose(np.hypot(*x.T), np.where(y == 0, 1, 0.3), atol=2e-7)
    assert len(np.unique(x.round(5), axis=0)) == 120
    np.testing.assert_allclose(x[y == 0].sum(axis=0), 0, atol=1e-5)


def test_xor_labels_are_one_where_the_signs_differ():
    x, y = data.xor(51, noise=0)
    np.testing.assert_array_equal(y, x[:, 0] * x[:, 1] < 0)
    corners, counts = np.unique(x, axis=0, return_counts=True)
    assert corners.tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    assert sorted(counts) == [25, 25, 26, 26]


def test_blobs_lie_around_centres_that_the_seed_alone_decides():
    centres = data.blobs(1, 4, 3, noise=0, rng=5)[0]
    assert (abs(centres) <= 10).all()
    x, y = data.blobs(10_000, 4, 3, noise=0.5, rng=5)
    for c in range(4):
        own = x[y == c]
        assert (abs(own.mean(axis=0) - centres[c]) < 5 * 0.5 / 100).all()  # 0.5/sqrt(10_000)
        assert (abs(own.std(axis=0) - 0.5) < 5 * 0.5 / math.sqrt(20_000)).all()


def test_sine_gives_columns_for_regression():
    x, y = data.sine(9, noise=0)
    assert x.shape == y.shape == (9, 1) and x.dtype == y.dtype == np.float32
    np.testing.assert_allclose(x[:, 0], np.arange(9) / 8)
    np.testing.assert_allclose(y, np.sin(2 * np.pi * x), atol=1e-6)
    noisy = data.sine(20_000, noise=0.3, rng=0)
    away = noisy[1] - np.sin(2 * np.pi * noisy[0])
    assert abs(away.std() - 0.3) < 5 * 0.3 / math.sqrt(40_000)


@pytest.mark.parametrize(
    "make", [data.spiral, data.vertical, data.moons, data.circles, data.xor, data.blobs, data.sine]
)
def test_synthetic_data_refuse_counts_and_noise_that_make_no_sense(make):
    assert len(make(1, rng=0)[0]) >= 1
    assert len(make(np.int64(2), rng=0)[0]) >= 2
    for wrong in 2.0, True, np.True_, "3", None:
        with pytest.raises(TypeError, match="n_points must be a whole number, got"):
            make(wrong)
    with pytest.raises(ValueError, match=r"n_points must be at least 1, got 0\."):
        make(0)
    for wrong in -0.1, math.nan, math.inf:
        with pytest.raises(ValueError, match=f"noise must be a finite number >= 0, got {wrong}"):
            make(noise=wrong)


@pytest.mark.parametrize("make", [data.spiral, data.vertical, data.blobs])
def test_synthetic_data_refuse_to_have_no_classes(make):
    with pytest.raises(ValueError, match=r"n_classes must be at least 1, got 0\."):
        make(10, 0)
    with pytest.raises(TypeError, match=r"n_classes must be a whole number, got 3\.0\."):
        make(10, 3.0)


def test_blobs_refuse_to_have_no_features():
    with pytest.raises(ValueError, match=r"n_features must be at least 1, got 0\."):
        data.blobs(10, 3, 0)


@pytest.mark.parametrize("inner", [0, 1, 1.5, -0.5, math.nan])
def test_circles_refuse_an_inner_circle_that_is_not_inside(inner):
    with pytest.raises(ValueError, match=r"inner must lie in \(0, 1\), got"):
        data.circles(inner=inner)


# ---- digits ----

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # of scikit-learn's
ZERO = [
    "  .##   ",
    "  ####. ",
    " .#  #. ",
    " .#  .. ",
    " ..  #. ",
    " .#  #. ",
    "  #.##  ",
    "  .##   ",
]


def test_digits_are_the_known_1797_to_the_bit():
    x, y = data.digits()
    assert x.shape == (1797, 64) and x.dtype == np.float32
    assert y.shape == (1797,) and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 16 and x.sum(dtype=np.int64) == 561718
    np.testing.assert_array_equal(
        np.bincount(y), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    )
    content = x.astype(np.uint8).tobytes() + y.astype(np.uint8).tobytes()
    np.testing.assert_array_equal(x, x.round())
    assert hashlib.sha256(content).hexdigest() == SHA256


def test_the_first_digit_looks_like_a_zero():
    image = data.digits()[0][0].reshape(8, 8)
    assert ["".join(" .#"[int(v > 2) + int(v > 8)] for v in row) for row in image] == ZERO


def test_digits_come_fresh_with_each_call():
    x, _ = data.digits()
    x[:] = -1
    assert data.digits()[0].min() == 0


def test_the_split_of_the_digits_takes_the_last_450_and_loses_none():
    x, y = data.digits()
    x_train, x_test, y_train, y_test = data.digits(split=True)
    assert x_train.shape == (1347, 64) and x_test.shape == (450, 64)
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), x)
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), y)
    assert np.bincount(y_test).min() >= 41


def test_one_nearest_neighbour_reads_the_digits_as_well_as_the_docstring_says():
    x_train, x_test, y_train, y_test = data.digits(split=True)
    squares = (x_train**2).sum(axis=1) - 2 * x_test @ x_train.T  # whole numbers < 2**24: exact
    assert (y_train[squares.argmin(axis=1)] == y_test).mean() == pytest.approx(0.962, abs=5e-4)


def test_the_shipped_digits_hold_no_time_stamp_and_no_pickle():
    with zipfile.ZipFile(DIGITS) as archive:
        assert [entry.filename for entry in archive.infolist()] == ["x.npy", "y.npy"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(DIGITS, allow_pickle=False) as arrays:
        assert {arrays[name].dtype for name in "xy"} == {np.dtype(np.uint8)}
    assert DIGITS.stat().st_size < 50_000


def test_the_digits_name_their_makers_and_their_licence():
    for text in DIGITS.with_suffix(".txt").read_text(encoding="utf-8"), data.digits.__doc__:
        for word in "Alpaydin", "Kaynak", "1998", "CC BY 4.0", "10.24432/C50P49":
            assert word in text


def test_the_script_makes_the_shipped_digits_and_notices_others(tmp_path):
    pytest.importorskip("sklearn")
    script = [sys.executable, ROOT / "scripts" / "make_digits.py"]
    copy = tmp_path / "digits.npz"
    assert subprocess.run([*script, "--check"]).returncode == 0
    subprocess.run([*script, "--file", copy], check=True)
    assert copy.read_bytes() == DIGITS.read_bytes()
    copy.write_bytes(copy.read_bytes()[:-1])
    wrong = subprocess.run([*script, "--check", "--file", copy], capture_output=True, text=True)
    assert wrong.returncode == 1 and "is not what make_digits.py makes" in wrong.stderr


# ---- IDX ----

IDX_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D}
IDX_CODES["float64"] = 0x0E


def idx_bytes(array):
    head = bytes([0, 0, IDX_CODES[array.dtype.name], array.ndim])
    return (
        head
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


@pytest.fixture
def written(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def write(content, name="some-idx-ubyte"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", IDX_CODES)
def test_idx_gives_back_what_was_written(written, dtype, pack):
    rng = np.random.default_rng(0)
    array = (rng.standard_normal((5, 4, 3)) * 50).astype(np.int8).astype(dtype)
    array.flat[0] = -3 if dtype != "uint8" else 253
    back = data.idx(written(pack(idx_bytes(array))))
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype and back.dtype.isnative
    back[0] = 1  # writable


def test_idx_is_exact_beyond_one_byte(written):
    for array in (
        np.array([-32768, 258, 32767], np.int16),
        np.array([-(2**31), 16909060], np.int32),
        np.array([math.pi, -0.0, math.inf], np.float32),
        np.array([math.pi, 5e-324], np.float64),
    ):
        assert data.idx(written(idx_bytes(array))).tobytes() == array.tobytes()


def test_idx_takes_str_paths_and_arrays_longer_than_one_piece(written):
    array = np.arange(3_000_000, dtype=np.int32).astype(np.uint8)
    np.testing.assert_array_equal(data.idx(str(written(idx_bytes(array)))), array)


def test_idx_takes_an_axis_of_no_length(written):
    assert data.idx(written(idx_bytes(np.zeros((0, 28, 28), np.uint8)))).shape == (0, 28, 28)


GOOD = idx_bytes(np.arange(6, dtype=np.int16).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"expected an IDX file, which starts with two zero bytes.*; found nothing\."),
        (GOOD[:3], r"expected an IDX file.*; found 00 00 0b\."),
        (b"PK\3\4" + GOOD, r"expected an IDX file.*; found 50 4b 03 04\."),
        (b"\0\0\x0a" + GOOD[3:], r"expected one of the IDX types 08 09 0b 0c 0d 0e, found 0a\."),
        (b"\0\0\x08\0", r"expected 1 to 32 axes, found 0\."),
        (b"\0\0\x08\xff", r"expected 1 to 32 axes, found 255\."),
        (GOOD[:9], r"expected 8 bytes of sizes, found 5: it is cut short\."),
        (GOOD[:-1], r"expected 12 bytes, int16 of shape \(2, 3\); found 11: it is cut short"),
        (GOOD[:12], r"expected 12 bytes, int16 of shape \(2, 3\); found 0: it is cut short"),
        (GOOD + b"\0", r"expected 12 bytes, int16 of shape \(2, 3\); found more: bytes trail"),
    ],
    ids="empty short magic type no-axes many-axes sizes cut no-data trailing".split(),
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_faulty_idx_file_is_refused_by_name(written, content, message, pack):
    path = written(pack(content), "odd-idx")
    with pytest.raises(ValueError, match=r"odd-idx: " + message) as caught:
        data.idx(path)
    assert str(caught.value).startswith(str(path))


ZIPPED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    "content",
    [
        ZIPPED[:5],
        ZIPPED[:-9],
        ZIPPED[:-1],
        ZIPPED[:-8] + b"1234" + ZIPPED[-4:],
        ZIPPED[:10] + b"\xff" * 20,
        ZIPPED + b"rubbish",
    ],
    ids=["head", "cut data", "cut end", "checksum", "no deflate", "trailing"],
)
def test_damaged_gzip_is_refused_by_name(written, content):
    with pytest.raises(ValueError, match="odd-idx: expected whole gzip data, found damage: "):
        data.idx(written(content, "odd-idx"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "sizes", [(2**20, 2**20, 8), (2**32 - 1,) * 3, (2**32 - 1,) * 32, (2**16,) * 4]
)
def test_a_header_that_claims_terabytes_costs_nothing(written, sizes, pack):
    content = bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(1000)
    path = written(pack(content))

    def read():
        with pytest.raises(ValueError, match=f"expected {math.prod(sizes)} bytes.*found 1000"):
            data.idx(path)

    read()  # what imports and pytest allocate once
    assert peak(read)[0] < 4e6


@pytest.mark.parametrize("claimed", [2**30, 2**31])
def test_a_small_gzip_file_does_not_inflate_without_bound(written, claimed):
    """64 MiB of zeros in 65 kB, and more of them claimed."""
    packer, zeros = zlib.compressobj(9, zlib.DEFLATED, 31), bytes(1 << 20)
    head = b"\0\0\x08\1" + struct.pack(">I", claimed)
    content = [packer.compress(head), *(packer.compress(zeros) for _ in range(64)), packer.flush()]
    path = written(b"".join(content))
    assert path.stat().st_size < 80_000

    def read():
        with pytest.raises(ValueError, match=r"some-idx-ubyte: expected \d+ bytes.*; found a small"
                           r" file that inflates to more than 33554432 bytes: unpack it first"):
            data.idx(path)

    assert peak(read)[0] < 64e6


def test_labels_of_mnist_are_taken_as_they_come(written):
    """Classes stored as big-endian integers are native once read."""
    y = data.idx(written(idx_bytes(np.array([0, 1, 1], np.int32))))
    assert y.dtype == np.int32 and y.dtype.isnative
    loss = nn.cross_entropy(np.zeros((3, 3), np.float32), y)
    assert loss.item() == pytest.approx(math.log(3))


def test_reading_idx_holds_the_data_about_once(written):
    array = np.zeros(30_000_000, np.uint8)
    path = written(gzip.compress(idx_bytes(array), 1))
    most, back = peak(lambda: data.idx(path))
    assert back.nbytes == 30_000_000
    assert most < 1.3 * back.nbytes  # a bytearray grows by an eighth


def test_a_shape_that_numpy_cannot_hold_is_refused_by_name(written):
    path = written(b"\0\0\x08\4" + struct.pack(">4I", 0, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(ValueError, match=r"some-idx-ubyte: expected 0 bytes, .*; NumPy cannot"):
        data.idx(path)


def test_a_missing_idx_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="none-idx"):
        data.idx(tmp_path / "none-idx")


# ---- CSV ----


@pytest.fixture
def table(tmp_path):
    """A function that writes text to table.csv and gives its path."""

    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_text_targets_become_indices_of_sorted_names(table):
    x, y, names = data.csv(table("1,2,pear\n3,4,apple\n5,6,pear\n7,8,fig\n"))
    assert x.dtype == np.float32 and x.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert y.dtype == np.int64 and y.tolist() == [2, 0, 2, 1]
    assert names == ("apple", "fig", "pear")
    assert data.csv(table("size,kind,age\n1,b,2\n3,a,4\n"), "kind").columns == ("size", "age")
    assert all(type(name) is str for name in names)
    x[0] = 0  # writable


def test_one_long_label_does_not_lengthen_the_others(table):
    path = table(f"0,{'a' * 100_000}\n" + "0,b\n" * 10_000)
    most, (_, y, names) = peak(lambda: data.csv(path))      # 4 GB in an array of strings
    assert most < 8e6 and len(names) == 2 and y.tolist() == [0] + [1] * 10_000


def test_whole_targets_stay_int64_and_other_numbers_become_a_column(table):
    _, y, names = data.csv(table("1,2,3\n4,5,-6\n"))
    assert y.dtype == np.int64 and y.tolist() == [3, -6] and names == ()
    _, y, names = data.csv(table("1,2,3\n4,5,0.5\n"))
    assert y.dtype == np.float32 and y.tolist() == [[3], [0.5]] and names == ()
    _, y, _ = data.csv(table(f"1,{10**20}\n2,3\n"))  # more than int64 holds
    assert y.dtype == np.float32 and y.shape == (2, 1)


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0, [1, 4]), (1, [2, 5]), (-1, [3, 6]), (-3, [1, 4]), ("b", [2, 5]), (np.int64(2), [3, 6])],
)
def test_the_target_is_chosen_by_index_or_by_name(table, target, expected):
    read = data.csv(table("a,b,c\n1,2,3\n4,5,6\n"), target)
    assert read.y.tolist() == expected
    rest = [[v for v in row if v not in expected] for row in ([1, 2, 3], [4, 5, 6])]
    assert read.x.tolist() == rest


def test_a_header_is_told_from_data(table):
    assert len(data.csv(table("a,b,kind\n1,2,x\n")).x) == 1
    assert len(data.csv(table("1,2,x\n3,4,y\n")).x) == 2
    # a lone typing error in the first row does not make it a header
    with pytest.raises(ValueError, match=r"table\.csv, line 1, column 2: .*found '2o'\."):
        data.csv(table("1,2o,x\n3,4,y\n"))
    # names that are numbers, for which one must ask
    path = table("2019,2020,2021\n1,2,3\n")
    assert len(data.csv(path).x) == 2 and len(data.csv(path, header=True).x) == 1
    assert data.csv(path, "2020").y.tolist() == [2]
    with pytest.raises(ValueError, match=r"line 1, column 1: .*found 'a'\."):
        data.csv(table("a,b\n1,2\n"), header=False)


def test_spaces_blank_lines_quotes_marks_and_line_ends_do_not_matter(table):
    text = '\ufeff"a", b ,"the kind"\r\n\r\n 1 ,"2", "x, y"\r\n   \r\n3,4e-1,"z"'
    x, y, names = data.csv(table(text), "the kind")
    np.testing.assert_allclose(x, [[1, 2], [3, 0.4]])
    assert y.tolist() == [0, 1] and names == ("x, y", "z")
    assert data.csv(table("\ufeffa,b\n1,2\n"), "a").y.tolist() == [1]


def test_another_delimiter_can_be_given(table):
    assert data.csv(table("1;2\n3;4\n"), delimiter=";").x.tolist() == [[1], [3]]


def test_labels_are_kept_apart_where_python_would_read_one_number(table):
    assert data.csv(table("1,1_0\n2,10\n")).names == ("10", "1_0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r": expected rows of numbers, found none\."),
        ("\n  \n", r": expected rows of numbers, found none\."),
        ("a,b\n", r": expected rows below the header, found none\."),
        ("1\n2\n", r": expected features and a target, found 1 column\. Is the delimiter right\?"),
        ("a,b\n1,2\n\n1,2,3\n", r", line 4: expected 2 cells, found 3\."),
        ("1,2,3\n1,2\n", r", line 2: expected 3 cells, found 2\."),
        ("1,2,3\n1,x,3\n", r", line 2, column 2: expected a finite number, found 'x'\."),
        ("1,2,3\n1,,3\n", r", line 2, column 2: expected a finite number, found ''\."),
        ("1,2,3\nnan,2,3\n", r", line 2, column 1: expected a finite number, found 'nan'\."),
        ("1,2,3\n-inf,2,3\n", r", line 2, column 1: expected a finite number, found '-inf'\."),
        ("1,2,3\n1e39,2,3\n", r", line 2, column 1: expected a finite number, found '1e39'\."),
        ("1,2,3\n1_0,2,3\n", r", line 2, column 1: expected a finite number, found '1_0'\."),
        ("1,2,3\n1,2,\n", r", line 2, column 3: the target is missing\."),
        ('1,2\n"1\n1",x\n', r", line 3, column 1: expected a finite number"),
        ('1,2\n1,"x\n', r", line 2: unexpected end of data\."),
    ],
)
def test_a_faulty_table_is_refused_with_its_path_and_line(table, text, message):
    path = table(text)
    with pytest.raises(ValueError, match=r"table\.csv" + message) as caught:
        data.csv(path)
    assert str(caught.value).startswith(str(path))


def test_a_table_that_is_not_utf_8_is_refused_by_name(table):
    with pytest.raises(ValueError, match=r"table\.csv, after line 0: not UTF-8 text: "):
        data.csv(table("1,2,größe\n", "latin-1"))


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (3, ValueError, r"table\.csv: expected a column 3, found 3 columns\."),
        (-4, ValueError, r"target must be at least -3, got -4\."),
        (1.0, TypeError, r"target must be a whole number, got 1\.0\."),
        (True, TypeError, r"target must be a whole number, got True\."),
        ("d", ValueError, r"expected one column 'd', found 0 in \['a', 'b', 'b'\]\."),
        ("b", ValueError, r"expected one column 'b', found 2 in \['a', 'b', 'b'\]\."),
    ],
)
def test_a_target_that_is_no_column_is_refused(table, target, error, message):
    with pytest.raises(error, match=message):
        data.csv(table("a,b,b\n1,2,3\n"), target)


def test_a_target_name_without_a_header_is_refused(table):
    with pytest.raises(ValueError, match="target 'a' is a name, but header=False says"):
        data.csv(table("a,b\n1,2\n"), "a", header=False)


# ---- train_test_split ----


@pytest.mark.parametrize("test_size", [0.01, 0.1, 0.25, 1 / 3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("seed", range(5))
def test_a_split_loses_no_row_and_keeps_every_share_to_within_one(test_size, seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([-4, 0, 1, 7, 9], [1, 2, 33, 100, 401]))
    x = np.arange(len(y))
    x_train, x_test, y_train, y_test = data.train_test_split(x, y, test_size=test_size, rng=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([x_train, x_test])), x)
    np.testing.assert_array_equal(y_train, y[x_train])
    np.testing.assert_array_equal(y_test, y[x_test])
    assert len(x_test) == min(max(round(test_size * len(y)), 1), len(y) - 1)
    for c in np.unique(y):
        assert abs((y_test == c).sum() - test_size * (y == c).sum()) < 1


def test_a_split_without_strata_does_not_look_at_the_labels():
    y = np.repeat([0, 1], [500, 500])
    counts = {
        int(data.train_test_split(y, y, stratify=False, rng=seed)[3].sum()) for seed in range(20)
    }
    assert len(counts) > 1
    counts = {int(data.train_test_split(y, y, rng=seed)[3].sum()) for seed in range(20)}
    assert counts == {125}
    counts = {int(data.train_test_split(y, y * 1.0, rng=seed)[3].sum()) for seed in range(20)}
    assert len(counts) > 1


def test_both_parts_of_a_split_are_shuffled():
    x, y = data.spiral(100, 3, rng=0)
    for part in data.train_test_split(x, y, rng=0)[2:]:
        changes = (np.diff(part) != 0).mean()
        assert 0.5 < changes < 0.83  # 2/3 in random order, next to nothing class by class


def test_rare_labels_are_drawn_at_random_not_by_their_order():
    # each label once: all remainders tie
    y = np.arange(1000)
    _, _, _, y_test = data.train_test_split(y, y, test_size=0.2, rng=0)
    assert abs(y_test.mean() - 499.5) < 5 * 289 / math.sqrt(200)


def test_float_targets_and_tables_of_targets_are_split_too():
    x, y = data.sine(40, rng=0)
    x_train, x_test, y_train, y_test = data.train_test_split(x, y, rng=0)
    assert y_train.shape == (30, 1) and y_test.shape == (10, 1)
    assert sorted(np.concatenate([x_train, x_test])[:, 0]) == sorted(x[:, 0])
    _, x_test, _, y_test = data.train_test_split([1, 2, 3, 4], [0.5, 1, 1.5, 2], rng=0)
    assert y_test.tolist() == [x_test[0] / 2]


def test_the_same_seed_splits_alike_and_another_does_not():
    x, y = data.digits()
    first = data.train_test_split(x, y, rng=3)
    again, other = data.train_test_split(x, y, rng=3), data.train_test_split(x, y, rng=4)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert first[0].tobytes() != other[0].tobytes()


def test_neither_part_of_a_split_is_empty():
    for test_size in 0.01, 0.99:
        parts = data.train_test_split([1, 2], [0, 1], test_size=test_size, rng=0)
        assert [len(part) for part in parts] == [1, 1, 1, 1]


def test_a_split_refuses_what_it_cannot_split():
    with pytest.raises(ValueError, match=r"x has 3 samples, y has 2: give each sample one target"):
        data.train_test_split([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match=r"a split needs at least 2 samples, got 1\."):
        data.train_test_split([1], [1])
    with pytest.raises(ValueError, match=r"x must have samples as rows, got a single number\."):
        data.train_test_split(1, [1])
    for wrong in 0, 1, -0.1, 30, math.nan:
        with pytest.raises(ValueError, match=rf"test_size must lie in \(0, 1\), got {wrong}\."):
            data.train_test_split([1, 2], [1, 2], test_size=wrong)


# ---- standardize ----


def test_standardized_columns_have_mean_0_and_deviation_1():
    rng = np.random.default_rng(0)
    x = rng.normal([5, -1e4, 1e-3], [2, 300, 1e-5], (1000, 3))
    z = data.standardize(x)
    assert z.dtype == np.float64
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-12)


def test_others_are_moved_by_what_the_training_set_knows():
    train, *others = data.standardize([[1.0], [3.0]], [[2.0], [9.0]], np.zeros((0, 1)))
    assert train.tolist() == [[-1], [1]]
    assert others[0].tolist() == [[0], [7]] and others[1].shape == (0, 1)


@pytest.mark.parametrize("value", [0, 7, 0.1, 1e-320, 3e38])
def test_a_constant_column_becomes_0_not_nan(value):
    x = np.full((1001, 2), value, np.float64)
    x[:, 1] = np.arange(1001)
    z, other = data.standardize(x, x[:5] + 1)
    assert (z[:, 0] == 0).all() and (other[:, 0] == 0).all()
    assert np.isfinite(z).all() and z[:, 1].std() == pytest.approx(1)


def test_constant_columns_of_float32_are_noticed_in_spite_of_rounding():
    # the mean of these differs from 0.1 in the last place, so their deviation is not 0
    assert (data.standardize(np.full((1000, 1), np.float32(0.1))) == 0).all()


def test_a_column_whose_deviation_underflows_becomes_0_not_inf():
    assert data.standardize([[1e-200], [2e-200]]).tolist() == [[0], [0]]


def test_mean_and_deviation_of_float32_are_taken_in_float64():
    x = np.random.default_rng(0).normal(1e4, 1, (100_000, 1)).astype(np.float32)
    z = data.standardize(x)
    assert z.dtype == np.float32
    assert abs(z.mean(dtype=np.float64)) < 1e-6  # 1e-4 and more with a mean in float32
    assert abs(z.std(dtype=np.float64) - 1) < 1e-6


def test_standardize_keeps_shapes_and_floats_and_leaves_its_argument_alone():
    images = np.random.default_rng(0).integers(0, 255, (20, 4, 4)).astype(np.uint8)
    before = images.copy()
    z = data.standardize(images)
    assert z.shape == images.shape and z.dtype == np.float32
    np.testing.assert_array_equal(images, before)
    assert data.standardize(images.astype(np.float32)).dtype == np.float32
    assert data.standardize([1, 3]).tolist() == [-1, 1]
    x, _ = data.digits()
    assert np.isfinite(data.standardize(x)).all()  # the digits' corners are constant


def test_standardize_refuses_arrays_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"array 1 has shape \(2, 2\), x_train \(2, 3\): all axes"):
        data.standardize(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"array 1 has shape \(\), x_train \(2,\)"):
        data.standardize(np.zeros(2), 1.0)
    for wrong in np.zeros((0, 3)), 5.0:
        with pytest.raises(ValueError, match="x_train must hold at least 1 sample, got shape"):
            data.standardize(wrong)


# ---- one_hot ----


def test_one_hot_rows_are_1_at_the_label_alone():
    y = np.random.default_rng(0).integers(0, 5, 50)
    z = data.one_hot(y, 5)
    assert z.shape == (50, 5) and z.dtype == np.float32
    np.testing.assert_array_equal(z.argmax(axis=1), y)
    np.testing.assert_array_equal(z.sum(axis=1), 1)
    assert set(z.ravel().tolist()) == {0, 1}


def test_one_hot_takes_any_shape_and_any_integers():
    assert data.one_hot(2, 4).tolist() == [0, 0, 1, 0]
    assert data.one_hot([[0], [1]]).tolist() == [[[1, 0]], [[0, 1]]]
    assert data.one_hot(np.array([255], np.uint8)).shape == (1, 256)
    assert data.one_hot([], 3).shape == (0, 3)
    assert data.one_hot(np.zeros(3, np.uint64)).tolist() == [[1], [1], [1]]


@pytest.mark.parametrize(
    ("labels", "n_classes", "error", "message"),
    [
        ([0, 3], 3, ValueError, r"label 3 at position 1 lies outside \[0, 3\)\."),
        ([0, 1, -1], 3, ValueError, r"label -1 at position 2 lies outside \[0, 3\)\."),
        ([0, 1, -1], None, ValueError, r"label -1 at position 2 lies outside \[0, 2\)\."),
        ([-1], None, ValueError, r"label -1 at position 0 lies outside \[0, 0\)\."),
        ([], None, ValueError, r"no labels to count the classes by: give n_classes\."),
        ([0.0, 1.0], 2, TypeError, r"labels must be integers, got float64\."),
        ([True, False], 2, TypeError, r"labels must be integers, got bool\."),
        ([0], 0, ValueError, r"n_classes must be at least 1, got 0\."),
        ([0], 2.0, TypeError, r"n_classes must be a whole number, got 2\.0\."),
    ],
)
def test_one_hot_refuses_labels_out_of_range_at_both_ends(labels, n_classes, error, message):
    with pytest.raises(error, match=message):
        data.one_hot(labels, n_classes)


# ---- minibatches ----


def test_50000_samples_at_128_make_391_batches():
    x = np.zeros(50_000, np.uint8)
    sizes = [len(batch) for batch in data.minibatches(x, batch_size=128, rng=0)]
    assert len(sizes) == 391 and sizes[:-1] == [128] * 390 and sizes[-1] == 80
    sizes = [len(b) for b in data.minibatches(x, batch_size=128, drop_last=True, rng=0)]
    assert sizes == [128] * 390


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 50, 101, 102, 10_000])
def test_a_pass_visits_each_sample_once_beside_its_own_target(batch_size, shuffle):
    x, y = np.arange(202).reshape(101, 2), -np.arange(101)
    xs, ys = zip(*data.minibatches(x, y, batch_size, shuffle=shuffle, rng=0), strict=True)
    assert len(xs) == math.ceil(101 / batch_size)
    xs, ys = np.concatenate(xs), np.concatenate(ys)
    np.testing.assert_array_equal(xs[:, 0], -2 * ys)
    np.testing.assert_array_equal(np.sort(xs, axis=0), x)
    assert (xs.tobytes() == x.tobytes()) is not shuffle


def test_drop_last_never_gives_a_small_batch():
    for n in 9, 10, 11:
        for shuffle in True, False:
            batches = data.minibatches(
                np.arange(n), batch_size=5, shuffle=shuffle, rng=0, drop_last=True
            )
            assert [len(b) for b in batches] == [5] * (n // 5)


def test_one_array_gives_batches_and_two_give_pairs():
    (batch,) = data.minibatches([1, 2, 3], shuffle=False)
    assert type(batch) is np.ndarray and batch.tolist() == [1, 2, 3]
    (pair,) = data.minibatches([1, 2, 3], [4, 5, 6], shuffle=False)
    assert type(pair) is tuple and [part.tolist() for part in pair] == [[1, 2, 3], [4, 5, 6]]
    assert [len(batch) for batch in data.minibatches(range(70))] == [32, 32, 6]


def test_passes_repeat_with_a_seed_and_differ_with_one_generator():
    def one_pass(rng):
        return [batch.tolist() for batch in data.minibatches(np.arange(100), rng=rng)]

    generator = np.random.default_rng(5)
    assert one_pass(5) == one_pass(5) == one_pass(generator)
    assert one_pass(generator) != one_pass(5) != one_pass(6)
    assert one_pass(None) != one_pass(None)


def test_every_order_of_three_samples_is_equally_likely():
    rng = np.random.default_rng(0)
    orders = {}
    for _ in range(6000):
        (batch,) = data.minibatches([0, 1, 2], rng=rng)
        orders[tuple(batch)] = orders.get(tuple(batch), 0) + 1
    assert len(orders) == 6
    assert all(abs(count - 1000) < 5 * math.sqrt(6000 * 5 / 36) for count in orders.values())


def test_without_shuffling_batches_are_views_and_with_it_copies():
    x = np.arange(10)
    assert all(np.shares_memory(b, x) for b in data.minibatches(x, batch_size=4, shuffle=False))
    assert not any(np.shares_memory(b, x) for b in data.minibatches(x, batch_size=4, rng=0))


def test_of_no_samples_no_batches_are_made():
    assert list(data.minibatches(np.zeros((0, 2)))) == []
    assert list(data.minibatches(np.zeros((3, 2)), batch_size=4, drop_last=True)) == []


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1, 2, 3], [1, 2]), {}, ValueError, r"x has 3 samples, y has 2: give each sample one"),
        (([1], [1], 0), {}, ValueError, r"batch_size must be at least 1, got 0\."),
        (([1],), {"batch_size": -5}, ValueError, r"batch_size must be at least 1, got -5\."),
        (([1],), {"batch_size": 2.0}, TypeError, r"batch_size must be a whole number, got 2\.0\."),
        (([1],), {"batch_size": True}, TypeError, r"batch_size must be a whole number, got True"),
        (([1],), {"batch_size": None}, TypeError, r"batch_size must be a whole number, got None"),
        ((3,), {}, ValueError, r"x must have samples as rows, got a single number\."),
        (([1], 3), {}, ValueError, r"y must have samples as rows, got a single number\."),
        (([1],), {"rng": -1}, ValueError, r"non-negative"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call_not_at_the_first_batch(
    arguments, options, error, message
):
    with pytest.raises(error, match=message):
        data.minibatches(*arguments, **options)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_memory_mapped_set_is_never_loaded_whole(tmp_path, shuffle):
    rows, width = 50_000, 1000
    path = tmp_path / "x.dat"
    with path.open("wb") as file:
        file.truncate(4 * rows * width)  # 200 MB, all holes
    x = np.memmap(path, np.float32, "r", shape=(rows, width))
    y = np.arange(rows)

    def one_pass():
        seen = 0
        for xb, yb in data.minibatches(x, y, 128, shuffle=shuffle, rng=0):
            assert xb.shape == (len(yb), width)
            seen += len(yb)
        return seen

    most, seen = peak(one_pass)
    assert seen == rows
    assert most < 4e6  # two batches of 0.5 MB and the order of 0.4 MB


def test_the_order_of_a_pass_is_drawn_at_the_call():
    generator = np.random.default_rng(0)
    first = data.minibatches(np.arange(50), rng=generator)
    second = data.minibatches(np.arange(50), rng=generator)
    late = [batch.tolist() for batch in second], [batch.tolist() for batch in first]
    generator = np.random.default_rng(0)
    early = [
        [batch.tolist() for batch in data.minibatches(np.arange(50), rng=generator)]
        for _ in range(2)
    ]
    assert early == [late[1], late[0]]


# ---- names ----


def test_names_are_sorted_unique_and_made_of_letters():
    names = data.names()
    assert len(names) == 762 and names == sorted(set(names))
    assert set("".join(names)) == set("abcdefghijklmnopqrstuvwxyz")
    assert min(map(len, names)) == 3 and max(map(len, names)) == 11
