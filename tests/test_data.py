"""Real data are read from files and packages bit for bit; synthetic data follow their seed and their formula."""
from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from damage import idx_bytes, one_line

from tinygrad_relu import data

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype("u1")
LABELS = np.array([0, 9, 4, 4, 1, 2], "u1")


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
    with pytest.raises(ValueError, match="split is 'tset', expected one of: train, test; did you mean 'test'"):
        data.mnist(tmp_path, "tset")


if DEBIAN.is_dir():     # collected where Debian's package dataset-fashion-mnist is installed

    def test_real_fashion_mnist():
        found = data.fashion_mnist(DEBIAN, "test")
        assert found.x.shape == (10000, 784) and np.bincount(found.y).tolist() == [1000] * 10
        assert found.y[:5].tolist() == [9, 2, 1, 1, 6] and abs(found.x.mean(dtype="f8") - 0.28685) < 1e-4


# --- digits and synthetic sets --------------------------------------------------------------------------------------

def test_digits():
    found = data.digits()
    assert repr(found) == "Dataset('digits': 1,797 samples, 64 features (8x8 images), 10 classes, float64)"
    assert found.x.min() == 0 and found.x.max() == 1 and found.y.dtype == np.int64
    np.testing.assert_array_equal(found.x * 16, np.rint(found.x * 16))
    np.testing.assert_array_equal(data.digits("float32").x, found.x.astype("f4"))


def test_digits_are_those_of_sklearn():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    np.testing.assert_array_equal(data.digits().x * 16, x)
    np.testing.assert_array_equal(data.digits().y, y)


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
