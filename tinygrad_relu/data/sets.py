"""Data sets: digits from scikit-learn, MNIST and Fashion-MNIST from their files, and random points in the plane."""
from __future__ import annotations

import gzip
import math
import os
import sys
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ..checks import Array, check_count, check_dtype, check_labels, check_name, check_number, check_rng
from ..files import reading
from .dataset import Dataset

PREFIXES = {"train": "train", "test": "t10k"}    # of the file names of the two halves of MNIST
SIDE = 28
CODES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 32    # which every NumPy supports
PIECE = 1 << 20         # bytes read at a time


def digits(dtype: npt.DTypeLike = "float64") -> Dataset:
    """1797 handwritten digits of 8 x 8 pixels, from scikit-learn. A pixel is a count from 0 to 16, divided by 16.

    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its test set),
    https://doi.org/10.24432/C50P49

    >>> data.digits()
    Dataset('digits': 1797 samples, 64 features (8x8 images), 10 classes, float64)
    """
    target = check_dtype(dtype)
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError('data.digits reads the images out of scikit-learn, which is not installed: '
                          'python -m pip install "tinygrad_relu[lab]"') from error
    images, labels = load_digits(return_X_y=True)
    return Dataset("digits", (images / 16.0).astype(target), labels, classes=10, image_shape=(8, 8))


def mnist(path: str | os.PathLike[str], split: str = "train", dtype: npt.DTypeLike = "float32") -> Dataset:
    """MNIST, handwritten digits of 28 x 28 pixels from 0 to 1 (LeCun, Bottou, Bengio & Haffner, Proc. IEEE 86, 1998).

    `path` is the folder with train-images-idx3-ubyte and train-labels-idx1-ubyte (the `split` "train", 60,000 samples), or with
    t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte ("test", 10,000), plain or with .gz.

    >>> data.mnist("no/such/folder")
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder does not exist; expected the folder with the files of mnist
    """
    return _from_idx("mnist", path, split, dtype)


def fashion_mnist(path: str | os.PathLike[str], split: str = "train", dtype: npt.DTypeLike = "float32") -> Dataset:
    """Fashion-MNIST, photographs of clothes, in files as those of `mnist` (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747).

    Debian and Ubuntu have them in the package dataset-fashion-mnist, which puts them into /usr/share/datasets/fashion-mnist.

    >>> data.fashion_mnist(".", split="validation")
    Traceback (most recent call last):
    ValueError: split is 'validation', expected one of: train, test
    """
    return _from_idx("fashion-mnist", path, split, dtype)


def _from_idx(name: str, path: str | os.PathLike[str], split: str, dtype: npt.DTypeLike) -> Dataset:
    target = check_dtype(dtype)
    check_name(split, PREFIXES, "split")
    with reading(path, f"the folder with the files of {name}") as folder:
        if not folder.exists():
            raise FileNotFoundError
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder; expected the folder with the files of {name}")
    image_file = _find(folder, f"{PREFIXES[split]}-images-idx3-ubyte")
    label_file = _find(folder, f"{PREFIXES[split]}-labels-idx1-ubyte")
    labels, images = read_idx(label_file), read_idx(image_file)    # the small one first: an error shows sooner
    for file, found, sides, what in ((image_file, images, (SIDE, SIDE), f"images of shape (n, {SIDE}, {SIDE})"),
                                     (label_file, labels, (), "labels of shape (n,)")):
        if found.dtype != np.uint8 or found.shape[1:] != sides:
            raise ValueError(f"{file} holds {found.dtype} numbers of shape {found.shape}, expected uint8 {what}")
    if len(images) != len(labels):
        raise ValueError(f"{image_file} holds {len(images)} images and {label_file} {len(labels)} labels; "
                         "expected the same number")
    y = check_labels(labels, classes=10, name=str(label_file))
    x = images.reshape(len(images), SIDE * SIDE).astype(target)
    x /= 255    # in place: the training half is 188 MB in float32
    return Dataset(f"{name} {split}", x, y, classes=10, image_shape=(SIDE, SIDE))


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"{folder} has neither {name} nor {name}.gz; expected one of them")


def read_idx(path: str | os.PathLike[str]) -> Array:
    """The array in an IDX file, plain or compressed with gzip (whatever its name), in the machine's byte order.

    MNIST and its relatives are published in this format: a header of a few bytes, then the numbers. ::

        byte 0, 1    zero
        byte 2       code of the number type, see CODES
        byte 3       number of dimensions
        4 bytes each the dimensions, unsigned, most significant byte first
        the rest     the numbers, last dimension fastest, most significant byte first

    A file that is damaged, breaks off, or goes on after its last number is a ValueError.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "three-idx1-ubyte"
    ...     _ = file.write_bytes(bytes([0, 0, 0x08, 1]) + bytes([0, 0, 0, 3]) + bytes([7, 8, 9]))
    ...     data.read_idx(file)
    array([7, 8, 9], dtype=uint8)
    """
    with reading(path, "an IDX file") as file, file.open("rb") as stream:
        start = stream.peek(2)[:2]
        if not start:
            raise ValueError(f"{file} is empty; expected an IDX file")
        if start != b"\x1f\x8b":
            return _parse_idx(stream, file)
        try:
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return _parse_idx(unpacked, file)
        # BadGzipFile is an OSError, but it is about the content.
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{file} is a damaged or incomplete gzip file ({error}); expected a whole one") from error


def _parse_idx(stream: IO[bytes] | gzip.GzipFile, file: Path) -> Array:
    """Header, then exactly the numbers that it promises, then the end."""
    head = _take(stream, 4)
    if head[:2] != b"\0\0"[:len(head)]:
        raise ValueError(f"{file} is not an IDX file: it begins with {bytes(head)!r}, expected two zero bytes")
    if len(head) < 4:
        raise ValueError(f"{file} breaks off after {len(head)} bytes, inside the IDX header of 4 bytes and more")
    code, dimensions = head[2], head[3]
    if code not in CODES:
        known = ", ".join(f"0x{known:02x}" for known in CODES)
        raise ValueError(f"{file} has the unknown number type 0x{code:02x} in its IDX header, expected one of {known}")
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise ValueError(f"{file} claims {dimensions} dimensions in its IDX header, expected 1 to {MOST_DIMENSIONS}")
    sizes = _take(stream, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(f"{file} breaks off inside its IDX header: {len(sizes)} of the {4 * dimensions} bytes for "
                         f"{dimensions} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    dtype = np.dtype(CODES[code])
    promise = f"its IDX header promises {' x '.join(map(str, shape))} numbers of type {dtype.name}"
    # Python integers do not overflow. Zeros are left out of the product, as NumPy refuses (0, 2**32, 2**32) as well.
    if math.prod(size for size in shape if size) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"{file} is damaged: {promise}, more than any memory can hold")
    expected = math.prod(shape) * dtype.itemsize
    data = _take(stream, expected)
    if len(data) < expected:
        raise ValueError(f"{file} breaks off: {promise}, {expected} bytes, but only {len(data)} follow")
    if stream.read(1):    # also what makes gzip compare its checksum
        raise ValueError(f"{file} goes on after its end: {promise}, {expected} bytes, but more follow")
    array: Array = np.ndarray(shape, dtype, buffer=data)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _take(stream: IO[bytes] | gzip.GzipFile, count: int) -> bytearray:
    """Up to `count` bytes, or fewer if the stream ends. A header may promise terabytes, so memory grows with what arrives."""
    taken = bytearray()
    while len(taken) < count and (piece := stream.read(min(PIECE, count - len(taken)))):
        taken += piece
    return taken


def spirals(n: int = 300, classes: int = 3, noise: float = 0.1, rng: int | np.random.Generator | None = None,
            dtype: npt.DTypeLike = "float64") -> Dataset:
    """Interleaved spiral arms, one per class, that no straight line separates.

    Arm c of K at radius r, 0 < r <= 1, is the point r (cos a, sin a) with a = 2 pi c / K + 4 r + noise N(0, 1), in radians.
    Samples are sorted by class, and by radius within each; if n is not divisible, the first classes get one more each. Points are
    drawn in float64 and then rounded to `dtype`. After A. Karpathy, CS231n, "Putting it together: Minimal Neural Network Case
    Study", but without the centre, where one point would carry every label.

    >>> data.spirals(n=6, noise=0.0, rng=0).y
    array([0, 0, 1, 1, 2, 2])
    """
    target, classes, noise = check_dtype(dtype), check_count(classes, "classes", 2), check_number(noise, "noise")
    n, generator = check_count(n, "n", classes), check_rng(rng, "spirals")
    y = np.sort(np.arange(n) % classes)
    radius = np.concatenate([np.arange(1, size + 1) / size for size in np.bincount(y)])
    angle = 2 * np.pi * y / classes + 4 * radius + noise * generator.standard_normal(n)
    x = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return Dataset("spirals", x.astype(target), y, classes=classes)


def moons(n: int = 300, noise: float = 0.1, rng: int | np.random.Generator | None = None,
          dtype: npt.DTypeLike = "float64") -> Dataset:
    """Two interleaved half circles: class 0 the upper one, class 1 the lower one, shifted into it.

    The points of ``sklearn.datasets.make_moons(n, shuffle=False)`` plus ``noise`` times N(0, 1) in each coordinate, drawn in
    float64 and then rounded to `dtype`. If n is odd, the lower moon gets one more.

    >>> data.moons(n=4, rng=0).y
    array([0, 0, 1, 1])
    """
    target, n, noise = check_dtype(dtype), check_count(n, "n", 2), check_number(noise, "noise")
    generator = check_rng(rng, "moons")
    upper, lower = np.linspace(0, np.pi, n // 2), np.linspace(0, np.pi, n - n // 2)
    x = np.concatenate([np.column_stack([np.cos(upper), np.sin(upper)]),
                        np.column_stack([1 - np.cos(lower), 0.5 - np.sin(lower)])])
    x += noise * generator.standard_normal(x.shape)
    y = np.repeat([0, 1], [len(upper), len(lower)])
    return Dataset("moons", x.astype(target), y, classes=2)
