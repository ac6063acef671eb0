"""Data: what comes in is checked and named when it is wrong; what comes out is the same bits for the same seed."""
from __future__ import annotations

import doctest
import gzip
import importlib
import pkgutil
import re
import struct
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from tinygrad_relu import checks, data
from tinygrad_relu.data import Dataset, idx

nan, inf = float("nan"), float("inf")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}    # the format, written down again
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype("u1")
LABELS = np.array([0, 9, 4, 4, 1, 2], "u1")


def idx_bytes(array, shape=None) -> bytes:
    """An IDX file, written the slow way with struct: the twin that the reader is held against."""
    shape = array.shape if shape is None else shape
    code, letter = TYPES[array.dtype.str[1:]], array.dtype.char
    return (bytes([0, 0, code, len(shape)]) + b"".join(struct.pack(">I", side) for side in shape)
            + b"".join(struct.pack(">" + letter, value) for value in array.ravel().tolist()))


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text and "\n" not in text and len(text) < 600, repr(text)
    return text


# --- the IDX reader -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (1,) * 32, (0,), (0, 28, 28), (5, 0)])
@pytest.mark.parametrize("kind", TYPES)
def test_idx_round_trip(tmp_path, kind, shape, pack):
    rng = np.random.default_rng(1)
    dtype = np.dtype(kind)
    raw = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max,
                                                                            shape, endpoint=True)
    array = np.asarray(raw, dtype)
    (tmp_path / "file").write_bytes(pack(idx_bytes(array)))
    found = data.read_idx(tmp_path / "file")
    assert found.dtype == dtype and found.dtype.isnative and found.shape == shape
    assert found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, array)


def test_idx_longer_than_one_piece(tmp_path):
    array = np.arange(idx.PIECE // 4 + 1001, dtype="i4")
    head = bytes([0, 0, 0x0C, 1]) + struct.pack(">I", len(array))
    (tmp_path / "file").write_bytes(gzip.compress(head + array.astype(">i4").tobytes(), 1))
    np.testing.assert_array_equal(data.read_idx(str(tmp_path / "file")), array)


GOOD = idx_bytes(np.arange(12, dtype="u1").reshape(3, 4))
GZ = gzip.compress(idx_bytes(IMAGES))
BAD_FILES = {
    "empty": (b"", "is empty; expected an IDX file"),
    "foreign": (b"<!DOCTYPE html>", "is not an IDX file: it begins with b'<!DO', expected two zero bytes"),
    "foreign in gz": (gzip.compress(b"PK\3\4"), "it begins with b'PK"),
    "one foreign byte": (b"A", "it begins with b'A'"),
    "magic cut": (GOOD[:3], "breaks off after 3 bytes, inside the IDX header"),
    "unknown type": (b"\0\0\x0a\1" + GOOD[4:], "unknown number type 0x0a in its IDX header, expected one of 0x08"),
    "little endian": (b"\3\x08\0\0", "expected two zero bytes"),
    "no dimension": (b"\0\0\x08\0", "claims 0 dimensions in its IDX header, expected 1 to 32"),
    "dimensions": (b"\0\0\x08\xff" + b"\0" * 1020, "claims 255 dimensions"),
    "header cut": (GOOD[:9], "breaks off inside its IDX header: 5 of the 8 bytes for 2 dimensions"),
    "no data": (GOOD[:12], "promises 3 x 4 numbers of type uint8, 12 bytes, but only 0 follow"),
    "data cut": (GOOD[:-1], "promises 3 x 4 numbers of type uint8, 12 bytes, but only 11 follow"),
    "surplus": (GOOD + b"\0", "goes on after its end: its IDX header promises 3 x 4 numbers of type uint8, 12 bytes"),
    "surplus in gz": (gzip.compress(GOOD + b"\0"), "goes on after its end"),
    "huge": (b"\0\0\x08\1" + b"\xff" * 4 + b"abc", "promises 4294967295 numbers of type uint8, 4294967295 bytes"),
    "huge in gz": (gzip.compress(b"\0\0\x0e\1" + b"\xff" * 4), "34359738360 bytes, but only 0 follow"),
    "overflow": (b"\0\0\x0e\2" + b"\xff" * 8, "4294967295 x 4294967295 numbers of type float64, more than any"),
    "overflow to 0": (b"\0\0\x08\2" + b"\x80\0\0\0" * 2 + b"abc", "breaks off"),
    "overflow by 0": (b"\0\0\x08\4" + b"\0" * 4 + b"\xff" * 12, "more than any memory can hold"),
    "gz cut": (GZ[:-300], "is a damaged or incomplete gzip file (Compressed file ended"),
    "gz checksum cut": (GZ[:-5], "is a damaged or incomplete gzip file"),
    "gz checksum": (GZ[:-8] + b"abcd" + GZ[-4:], "is a damaged or incomplete gzip file (CRC check failed"),
    "gz stream": (GZ[:10] + b"\xff" * 50 + GZ[60:], "is a damaged or incomplete gzip file (Error -3"),
    "gz method": (b"\x1f\x8b\x07" + GZ[3:], "is a damaged or incomplete gzip file (Unknown compression method"),
    "gz, then text": (GZ + b"text", "is a damaged or incomplete gzip file (Not a gzipped file"),
    "gz head only": (GZ[:2], "is a damaged or incomplete gzip file"),
}


@pytest.mark.parametrize("content, sentence", BAD_FILES.values(), ids=BAD_FILES)
def test_idx_refuses(tmp_path, content, sentence):
    file = tmp_path / "some-idx"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        data.read_idx(file)
    assert one_line(caught.value).startswith(str(file))


def test_idx_says_what_the_file_system_says(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected an IDX file"):
        data.read_idx(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError, match="is a folder; expected an IDX file"):
        data.read_idx(tmp_path)
    with pytest.raises(NotADirectoryError, match="cannot be read: Not a directory"):
        (tmp_path / "file").write_bytes(GOOD)
        data.read_idx(tmp_path / "file" / "inside")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "open", refuse)    # root may read everything: chmod would not refuse here
    with pytest.raises(PermissionError, match="file cannot be read: Permission denied"):
        data.read_idx(tmp_path / "file")


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three accidents: flipped bytes, a cut, an insertion, a hole, or dimensions of any size."""
    part = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        where = int(rng.integers(len(part) + 1) if rng.random() < 0.5 else min(rng.integers(20), len(part)))
        match rng.integers(5):
            case 0:
                part[where:where + 1] = rng.bytes(1)
            case 1:
                del part[where:]
            case 2:
                part[where:where] = rng.bytes(int(rng.integers(1, 40)))
            case 3:
                del part[where:where + int(rng.integers(1, 9))]
            case 4:
                part[4:8] = struct.pack(">I", int(2 ** rng.uniform(0, 32)))
    return bytes(part)


def test_idx_fuzz(tmp_path):
    """2000 damaged files: an array or one sentence, and no memory for what only the header promises."""
    rng = np.random.default_rng(2)
    file, seen = tmp_path / "file", {"array": 0, "refused": 0}
    tracemalloc.start()
    try:
        for turn in range(2000):
            kind = list(TYPES)[turn % len(TYPES)]
            array = rng.integers(0, 100, rng.integers(1, 9, rng.integers(1, 4))).astype(kind)
            good = idx_bytes(array)
            file.write_bytes([mutate(good, rng), gzip.compress(mutate(good, rng)),
                              mutate(gzip.compress(good), rng)][turn % 3])
            tracemalloc.reset_peak()
            try:
                found = data.read_idx(file)
            except (ValueError, OSError) as error:
                assert one_line(error).startswith(str(file))
                seen["refused"] += 1
            else:
                assert isinstance(found, np.ndarray) and found.nbytes <= 1 << 16
                seen["array"] += 1
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert seen["array"] > 100 and seen["refused"] > 1000, seen


# --- MNIST and its relatives ----------------------------------------------------------------------------------------

def write_folder(folder: Path, images=IMAGES, labels=LABELS, half="train", gz=True) -> Path:
    for name, array in ((f"{half}-images-idx3-ubyte", images), (f"{half}-labels-idx1-ubyte", labels)):
        content = idx_bytes(array)
        (folder / (name + ".gz" * gz)).write_bytes(gzip.compress(content) if gz else content)
    return folder


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("split, half", [("train", "train"), ("test", "t10k")])
@pytest.mark.parametrize("load, name", [(data.mnist, "mnist"), (data.fashion_mnist, "fashion-mnist")])
def test_mnist(tmp_path, load, name, split, half, gz):
    found = load(write_folder(tmp_path, half=half, gz=gz), split)
    assert repr(found) == f"Dataset('{name} {split}': 6 samples, 784 features (28x28 images), 10 classes, float32)"
    np.testing.assert_array_equal(found.x, IMAGES.reshape(6, 784).astype("f4") / np.float32(255))
    np.testing.assert_array_equal(found.y, LABELS)
    assert load(tmp_path, split, dtype="float64").x.dtype == np.float64



BAD_FOLDERS = {
    "counts": (dict(labels=LABELS[:5]), "holds 6 images and {f}/train-labels-idx1-ubyte.gz 5 labels; expected the"),
    "label": (dict(labels=LABELS + np.uint8(1)), "train-labels-idx1-ubyte.gz holds 10 at row 1; expected labels"),
    "not images": (dict(images=LABELS), "holds uint8 numbers of shape (6,), expected uint8 images of shape (n, 28"),
    "size": (dict(images=IMAGES[:, :8, :8]), "of shape (6, 8, 8), expected uint8 images of shape (n, 28, 28)"),
    "not labels": (dict(labels=IMAGES), "holds uint8 numbers of shape (6, 28, 28), expected uint8 labels of shape"),
    "wide labels": (dict(labels=LABELS.astype("i4")), "holds int32 numbers of shape (6,), expected uint8 labels"),
    "no samples": (dict(images=IMAGES[:0], labels=LABELS[:0]), "train-labels-idx1-ubyte.gz is empty; expected at"),
}


@pytest.mark.parametrize("change, sentence", BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_mnist_refuses(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence.format(f=tmp_path))) as caught:
        data.mnist(write_folder(tmp_path, **change))
    one_line(caught.value)


def test_mnist_says_which_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has neither train-images-idx3-ubyte nor train-images-idx3-ubyte\.gz"):
        data.mnist(tmp_path)
    write_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="has neither t10k-images-idx3-ubyte nor"):
        data.mnist(tmp_path, "test")
    with pytest.raises(NotADirectoryError, match="is not a folder; expected the folder with the files of mnist"):
        data.mnist(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(FileNotFoundError, match="does not exist; expected the folder with the files of fashion-mnist"):
        data.fashion_mnist(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="split is 'valid', expected 'train' or 'test'"):
        data.mnist(tmp_path, "valid")


if DEBIAN.is_dir():     # collected where Debian's package dataset-fashion-mnist is installed

    def test_real_fashion_mnist():
        found = data.fashion_mnist(DEBIAN, "test")
        assert found.x.shape == (10000, 784) and np.bincount(found.y).tolist() == [1000] * 10
        assert found.y[:5].tolist() == [9, 2, 1, 1, 6] and abs(found.x.mean(dtype="f8") - 0.28685) < 1e-4


# --- digits and synthetic sets --------------------------------------------------------------------------------------

def test_digits():
    found = data.digits()
    assert repr(found) == "Dataset('digits': 1797 samples, 64 features (8x8 images), 10 classes, float64)"
    assert found.x.min() == 0 and found.x.max() == 1 and found.y.dtype == np.int64
    np.testing.assert_array_equal(found.x * 16, np.rint(found.x * 16))
    np.testing.assert_array_equal(data.digits("float32").x, found.x.astype("f4"))


def test_digits_without_sklearn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=re.escape('python -m pip install "tinygrad_relu[lab]"')) as caught:
        data.digits()
    one_line(caught.value)


def test_import_is_light():
    code = "import sys, tinygrad_relu.data; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


def test_moons_are_those_of_sklearn():
    from sklearn.datasets import make_moons

    for n in (2, 3, 100, 301):
        x, y = make_moons(n, shuffle=False)
        found = data.moons(n, noise=0, rng=0)
        np.testing.assert_allclose(found.x, x, atol=1e-15)
        np.testing.assert_array_equal(found.y, y)


def test_spirals_follow_their_formula():
    found = data.spirals(n=302, classes=3, noise=0, rng=0)
    assert np.bincount(found.y).tolist() == [101, 101, 100]
    radius = np.hypot(*found.x.T)
    assert radius.min() > 0 and radius.max() == pytest.approx(1)
    turn = np.arctan2(found.x[:, 1], found.x[:, 0]) - (2 * np.pi * found.y / 3 + 4 * radius)
    np.testing.assert_allclose(np.exp(1j * turn), 1, atol=1e-12)


@pytest.mark.parametrize("make", [data.spirals, data.moons])
def test_synthetic_sets_follow_their_seed(make):
    one, two, other = make(rng=3), make(rng=np.random.default_rng(3)), make(rng=4)
    assert one.x.tobytes() == two.x.tobytes() and one.x.tobytes() != other.x.tobytes()
    assert len(one) == 300 and one.x.flags.c_contiguous
    np.testing.assert_array_equal(make(rng=3, dtype="float32").x, one.x.astype("f4"))


X, Y = np.arange(14.0).reshape(7, 2), np.array([0, 1, 2, 0, 1, 2, 0])
SET = Dataset("seven", X, Y, 3)
BAD_ARGUMENTS = {
    "spirals without rng": (lambda: data.spirals(), TypeError, "spirals needs rng: an integer seed or a numpy"),
    "moons without rng": (lambda: data.moons(), TypeError, "moons needs rng"),
    "batches without rng": (lambda: data.batches(X, Y, 2), TypeError, "batches needs rng"),
    "split without rng": (lambda: SET.split(0.5), TypeError, "split needs rng"),
    "rng True": (lambda: data.moons(rng=True), TypeError, "got bool"),
    "rng text": (lambda: data.moons(rng="0"), TypeError, "got str"),
    "rng RandomState": (lambda: data.moons(rng=np.random.RandomState(0)), TypeError, "got RandomState"),
    "rng negative": (lambda: data.moons(rng=-1), ValueError, "moons got the seed rng=-1, expected 0 or more"),
    "one arm": (lambda: data.spirals(classes=1, rng=0), ValueError, "classes is 1, expected at least 2"),
    "few samples": (lambda: data.spirals(n=2, classes=3, rng=0), ValueError, "n is 2, expected at least 3"),
    "n float": (lambda: data.moons(n=2.5, rng=0), TypeError, "n is 2.5, expected a whole number"),
    "noise": (lambda: data.moons(noise=-1, rng=0), ValueError, "noise is -1, expected a finite number, 0 or more"),
    "noise nan": (lambda: data.spirals(noise=nan, rng=0), ValueError, "noise is nan, expected a finite number"),
    "noise text": (lambda: data.spirals(noise="1", rng=0), TypeError, "noise is '1', expected a number"),
    "half": (lambda: data.moons(rng=0, dtype="float16"), ValueError, "dtype is 'float16', expected 'float32' or"),
    "dtype none": (lambda: data.moons(rng=0, dtype=None), ValueError, "dtype is None, expected"),
    "dtype nonsense": (lambda: data.moons(rng=0, dtype="real"), ValueError, "dtype is 'real', expected"),
    "size 0": (lambda: SET.batches(0, 0), ValueError, "size is 0, expected at least 1"),
    "size float": (lambda: SET.batches(2.0, 0), TypeError, "size is 2.0, expected a whole number"),
    "size True": (lambda: SET.batches(True, 0), TypeError, "size is True, expected a whole number"),
    "drop all": (lambda: SET.batches(8, 0, True), ValueError, "batches of 8 with drop_last leave nothing of 7"),
    "batches lengths": (lambda: data.batches(X, Y[:6], 2, 0), ValueError, "7 samples in x and 6 in y; expected the"),
    "batches empty": (lambda: data.batches(X[:0], Y[:0], 2, 0), ValueError, "got no samples; expected at least one"),
    "batches objects": (lambda: data.batches(X, [None] * 7, 2, 0), TypeError, "y holds Python objects (dtype object)"),
    "split 0": (lambda: SET.split(0, 0), ValueError, "fraction 0 puts 0 of 7 samples into the first part"),
    "split 1": (lambda: SET.split(1.0, 0), ValueError, "fraction 1.0 puts 7 of 7 samples"),
    "split 1e300": (lambda: SET.split(1e300, 0), ValueError, "fraction 1e+300 puts 7 of 7 samples"),
    "split nan": (lambda: SET.split(nan, 0), ValueError, "fraction is nan, expected a finite number"),
    "standardise": (lambda: SET.standardise(Dataset("one", [[1]], [0], 1)), ValueError, "1 features in 'one' and 2"),
}


@pytest.mark.parametrize("call, kind, sentence", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments(call, kind, sentence):
    with pytest.raises(kind, match=re.escape(sentence)) as caught:
        call()
    one_line(caught.value)


# --- Dataset and its checks -----------------------------------------------------------------------------------------

def spoiled(*entries):
    x = X.copy()
    for row, column, value in entries:
        x[row, column] = value
    return x


BAD_SETS = {
    "nan": (dict(x=spoiled((3, 1, nan))), ValueError, "x holds nan at row 3, column 1; expected finite numbers"),
    "inf": (dict(x=spoiled((2, 0, -inf), (5, 1, nan))), ValueError, "x holds -inf at row 2, column 0 (and 1 more"),
    "opposite infs": (dict(x=spoiled((0, 0, inf), (6, 1, -inf))), ValueError, "x holds inf at row 0, column 0"),
    "nan float32": (dict(x=spoiled((3, 1, nan)).astype("f4")), ValueError, "x holds nan at row 3, column 1"),
    "longdouble": (dict(x=np.full((7, 1), np.longdouble("1e400"))), ValueError, "x holds inf at row 0, column 0"),
    "1-d": (dict(x=X[:, 0]), ValueError, "x has shape (7,), expected two axes: (samples, features); one feature only?"),
    "3-d": (dict(x=IMAGES), ValueError, "x has shape (6, 28, 28), expected two axes: (samples, features); images?"),
    "scalar": (dict(x=3.0), ValueError, "x has shape (), expected two axes"),
    "no rows": (dict(x=X[:0], y=Y[:0]), ValueError, "x has shape (0, 2) and is empty; expected at least one sample"),
    "no columns": (dict(x=X[:, :0]), ValueError, "x has shape (7, 0) and is empty"),
    "objects": (dict(x=X.astype(object)), TypeError, "x holds Python objects (dtype object), expected real numbers"),
    "complex": (dict(x=X + 0j), TypeError, "x holds complex numbers (dtype complex128), expected real numbers"),
    "text": (dict(x=[["1", "2"]]), TypeError, "x holds text"),
    "bytes": (dict(x=[[b"1"]]), TypeError, "x holds bytes"),
    "dates": (dict(x=np.zeros((1, 1), "M8[D]")), TypeError, "x holds dates"),
    "none": (dict(x=None), TypeError, "x holds Python objects"),
    "ragged": (dict(x=[[1, 2], [3]]), ValueError, "x is ragged: its rows differ in length; expected rows of one"),
    "masked": (dict(x=np.ma.masked_equal(X, 4.0)), TypeError, "x is a masked array with masked values, expected"),
    "lengths": (dict(y=Y[:6]), ValueError, "y holds 6 labels for 7 samples; expected one label per sample"),
    "label 3": (dict(y=[0, 0, 0, 0, 3, 4, 0]), ValueError, "y holds 3 at row 4 (and 1 more such labels); expected"),
    "label -1": (dict(y=[0, -1, 0, 0, 0, 0, 0]), ValueError, "y holds -1 at row 1; expected labels from 0 to 2"),
    "label 2**64-1": (dict(y=np.full(7, 2**64 - 1, "u8")), ValueError, "y holds 18446744073709551615 at row 0 (and 6"),
    "whole floats": (dict(y=Y * 1.0), TypeError, 'float64 numbers, expected integer labels; they are whole numbers:'),
    "floats": (dict(y=Y * 0.5), TypeError, "y holds float64 numbers, expected integer labels"),
    "one-hot": (dict(y=np.eye(3)[Y]), ValueError, "y has shape (7, 3), expected one axis: (samples,); one-hot? pass"),
    "column": (dict(y=Y[:, None]), ValueError, "y has shape (7, 1), expected one axis: (samples,); pass y.ravel()"),
    "no labels": (dict(y=[]), ValueError, "y is empty; expected at least one label"),
    "object labels": (dict(y=[None] * 7), TypeError, "y holds Python objects"),
    "ragged labels": (dict(y=[[1], [1, 2]]), ValueError, "y is ragged"),
    "classes 0": (dict(classes=0), ValueError, "classes is 0, expected at least 1"),
    "classes float": (dict(classes=3.0), TypeError, "classes is 3.0, expected a whole number"),
    "image shape": (dict(image_shape=(3, 1)), ValueError, "image_shape (3, 1) has 3 pixels and x 2 features"),
    "image side": (dict(image_shape=(-1, -2)), ValueError, "a side of image_shape is -1, expected at least 1"),
}


@pytest.mark.parametrize("change, kind, sentence", BAD_SETS.values(), ids=BAD_SETS)
def test_dataset_refuses(change, kind, sentence):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(kind, match=re.escape(sentence)) as caught:
            Dataset(**{"name": "bad", "x": X, "y": Y, "classes": 3, **change})
    one_line(caught.value)


GOOD_X = {"float32": (X.astype("f4"), "f4"), "float64": (X, "f8"), "big endian": (X.astype(">f4"), "f4"),
          "int": (X.astype("i2"), "f8"), "bool": (X > 3, "f8"), "half": (X.astype("f2"), "f8"),
          "lists": (X.tolist(), "f8"), "fortran": (np.asfortranarray(X), "f8"),
          "strided": (np.repeat(X, 2, 0)[::2], "f8"),
          "sum overflows": (np.full((7, 2), 1e308), "f8"), "sum overflows float32": (np.full((7, 2), 3e38, "f4"), "f4"),
          "unmasked": (np.ma.array(X), "f8")}


@pytest.mark.parametrize("x, dtype", GOOD_X.values(), ids=GOOD_X)
def test_samples_are_accepted(x, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = checks.check_samples(x)
    assert type(found) is np.ndarray and found.dtype.str[1:] == dtype
    assert found.dtype.isnative and found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.asarray(x))


@pytest.mark.parametrize("kind", ["bool", "u1", "i1", ">i4", "u8", "i8"])
def test_labels_are_accepted(kind):
    y = (Y % 2).astype(kind)
    found = checks.check_labels(y, n=7, classes=2)
    assert found.dtype == np.int64 and found.dtype.isnative and found.tolist() == (Y % 2).tolist()
    assert checks.check_labels(np.repeat(y, 2)[::2]).flags.c_contiguous


def test_good_arrays_are_not_copied():
    assert SET.x is X and SET.y is Y and (len(SET), SET.features) == (7, 2)
    with pytest.raises(AttributeError):
        SET.classes = 4


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_an_epoch_shows_every_sample_once(size):
    for drop_last in (False, True):
        if drop_last and size > 7:
            continue
        found = list(SET.batches(size, rng=5, drop_last=drop_last))
        sizes = [7] if size > 7 else [size] * (7 // size) + [7 % size] * (7 % size > 0 and not drop_last)
        assert [len(y) for _, y in found] == sizes
        rows = np.concatenate([x[:, 0] for x, _ in found]) / 2
        assert len(set(rows)) == sum(sizes) and set(rows) <= set(range(7))
        for x, y in found:
            assert x.flags.c_contiguous and y.flags.c_contiguous and not np.shares_memory(x, X)
            np.testing.assert_array_equal(x, X[(x[:, 0] / 2).astype(int)])    # a row stays a row ...
            np.testing.assert_array_equal(y, Y[(x[:, 0] / 2).astype(int)])    # ... and keeps its label


def test_batches_follow_their_seed():
    def bits(epoch):
        return b"".join(x.tobytes() + y.tobytes() for x, y in epoch)

    assert bits(SET.batches(2, 1)) == bits(SET.batches(2, 1)) == bits(data.batches(X, Y, 2, np.random.default_rng(1)))
    assert bits(SET.batches(2, 1)) != bits(SET.batches(2, 2))
    generator = np.random.default_rng(1)
    first, second = SET.batches(2, generator), SET.batches(2, generator)    # the order is fixed here, not on use
    late, early = bits(second), bits(first)
    assert early == bits(SET.batches(2, 1)) and late != early
    assert [y[0] for _, y in data.batches(np.arange(5.0), np.arange(5), 1, 0)] == [2, 4, 3, 0, 1]    # on any machine


def test_batches_of_regression_targets_and_images():
    for x, y in data.batches(IMAGES.transpose(0, 2, 1), np.linspace(0, 1, 6), 4, rng=0):
        assert x.shape[1:] == (28, 28) and x.dtype == np.uint8 and x.flags.c_contiguous and y.dtype == np.float64


def test_split():
    train, test = SET.split(0.6, rng=1)
    again, _ = SET.split(0.6, rng=1)
    assert (train.name, test.name, len(train), len(test)) == ("seven train", "seven test", 4, 3)
    assert sorted(np.concatenate([train.x, test.x])[:, 0]) == X[:, 0].tolist()
    np.testing.assert_array_equal(train.y, Y[(train.x[:, 0] / 2).astype(int)])
    assert train.x.tobytes() == again.x.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardise(dtype):
    x = np.random.default_rng(0).normal(3, 5, (50, 6)).astype(dtype)
    x[:, 4] = 0.1
    x[:, 5] = np.where(np.arange(50) % 2, 1e-30 if dtype == "float32" else 1e-200, 0)    # the spread may underflow
    whole = Dataset("normal", x, np.zeros(50, int), 1)
    found = whole.standardise().x
    assert found.dtype == dtype and np.isfinite(found).all()
    np.testing.assert_allclose(found[:, :4].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(found[:, :4].std(0), 1, atol=1e-6)
    assert not found[:, 4].any()
    train, test = whole.split(0.5, 0)
    expected = (test.x[:, :4] - train.x[:, :4].mean(0)) / train.x[:, :4].std(0)
    np.testing.assert_allclose(test.standardise(like=train).x[:, :4], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(data.__path__)])
def test_doctests(name):
    result = doctest.testmod(importlib.import_module(f"tinygrad_relu.data.{name}"))
    assert result.failed == 0 and result.attempted > 0
