"""Real data: handwritten digits from scikit-learn, MNIST and Fashion-MNIST from their published files."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinygrad_relu.checks import check_dtype, check_labels, check_name
from tinygrad_relu.data.dataset import Dataset
from tinygrad_relu.data.idx import read_idx

PREFIXES = {"train": "train", "test": "t10k"}    # what the two halves of MNIST are called on disk
SIDE = 28


def digits(dtype: npt.DTypeLike = "float64") -> Dataset:
    """1797 handwritten digits, 8 x 8 pixels from 0 to 1, out of scikit-learn.

    Parameters
    ----------
    dtype : {"float64", "float32"}
        Of the pixels. Both are exact: a pixel is a count from 0 to 16, divided by 16.

    Returns
    -------
    Dataset
        x (1797, 64), y (1797,), 10 classes.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    References
    ----------
    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its
    test set). https://doi.org/10.24432/C50P49

    Examples
    --------
    >>> digits()
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
    """MNIST, handwritten digits, from its files in the folder ``path``. Nothing is downloaded.

    Parameters
    ----------
    path : path_like
        The folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
        t10k-labels-idx1-ubyte, each plain or with .gz (the plain one is taken if both are there).
    split : {"train", "test"}
        Which half; only its two files need to be there.
    dtype : {"float32", "float64"}
        Of the pixels.

    Returns
    -------
    Dataset
        x (60000, 784) or (10000, 784), pixels from 0 to 1; y labels; 10 classes.

    Raises
    ------
    OSError
        What the file system says: no such folder, no such file ...
    ValueError
        If a file is damaged or is not what its name says, or images and labels differ in number.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proceedings
    of the IEEE 86 (1998) 2278-2324.

    Examples
    --------
    >>> mnist("no/such/folder")
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder does not exist; expected the folder with the files of mnist
    """
    return _from_idx("mnist", path, split, dtype)


def fashion_mnist(path: str | os.PathLike[str], split: str = "train", dtype: npt.DTypeLike = "float32") -> Dataset:
    """Fashion-MNIST, photographs of clothes, from its files in the folder ``path``. Nothing is downloaded.

    Files, arguments, result and errors are those of :func:`mnist`. Debian and Ubuntu have the files in the package
    dataset-fashion-mnist, which puts them into /usr/share/datasets/fashion-mnist.

    References
    ----------
    H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", 2017. https://arxiv.org/abs/1708.07747

    Examples
    --------
    >>> fashion_mnist(".", split="validation")
    Traceback (most recent call last):
    ValueError: split is 'validation', expected one of: train, test
    """
    return _from_idx("fashion-mnist", path, split, dtype)


def _from_idx(name: str, path: str | os.PathLike[str], split: str, dtype: npt.DTypeLike) -> Dataset:
    target = check_dtype(dtype)
    check_name(split, PREFIXES, "split")
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist; expected the folder with the files of {name}")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder; expected the folder with the files of {name}")
    image_file = _find(folder, f"{PREFIXES[split]}-images-idx3-ubyte")
    label_file = _find(folder, f"{PREFIXES[split]}-labels-idx1-ubyte")
    labels, images = read_idx(label_file), read_idx(image_file)    # the small one first: an error shows sooner
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{image_file} holds {images.dtype} numbers of shape {images.shape}, "
                         f"expected uint8 images of shape (n, {SIDE}, {SIDE})")
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise ValueError(f"{label_file} holds {labels.dtype} numbers of shape {labels.shape}, "
                         "expected uint8 labels of shape (n,)")
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
