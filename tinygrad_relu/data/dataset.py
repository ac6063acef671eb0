"""A data set: a frozen record of samples with their labels or targets; its minibatches; and sets that need no file."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from ..checks import (
    Array,
    as_numbers,
    check_bool,
    check_count,
    check_dtype,
    check_labels,
    check_number,
    check_rng,
    check_samples,
    counted,
)
from ..kernels.loops.reduce import take_rows
from ..kernels.machine.door import launch


class Batches:
    """Minibatches (x, y) in random order: each epoch contains every sample once. ``len(batches)`` is the number of batches.

    x and y, of shapes (n, ...), hold real numbers; the batches are new C-contiguous arrays of the same dtypes. The last batch may
    be shorter than `size`; with `drop_last` it is left out. Without `shuffle` the order is that of the samples, and `rng` is not
    needed. The order of the first epoch is drawn in this call; each further loop over the result draws a new one.

    >>> x = np.arange(5.0).reshape(5, 1)
    >>> [labels.tolist() for _, labels in data.batches(x, np.arange(5), size=2, rng=0)]
    [[2, 4], [3, 0], [1]]
    """

    def __init__(self, x: npt.ArrayLike, y: npt.ArrayLike, size: int, rng: int | np.random.Generator | None = None,
                 drop_last: bool = False, shuffle: bool = True) -> None:
        self._x, self._y = np.ascontiguousarray(as_numbers(x, "x")), np.ascontiguousarray(as_numbers(y, "y"))
        self._size, n = check_count(size, "size"), len(self._x)
        if n != len(self._y):
            raise ValueError(f"batches got {n} samples in x and {len(self._y)} in y; expected the same number")
        if n == 0:
            raise ValueError("batches got no samples; expected at least one")
        drop_last, shuffle = check_bool(drop_last, "drop_last"), check_bool(shuffle, "shuffle")
        if drop_last and size > n:
            raise ValueError(f"batches of {size} with drop_last leave nothing of {n} samples; expected a smaller size")
        self._stop = n - n % size if drop_last else n
        self._rng = check_rng(rng, "batches") if shuffle else None
        self._first: Array | None = self._order()

    def _order(self) -> Array:
        return np.arange(len(self._x)) if self._rng is None else self._rng.permutation(len(self._x))

    def __repr__(self) -> str:
        return f"Batches({counted(len(self), 'batch', 'es')} of up to {counted(self._size, 'sample')})"

    def __len__(self) -> int:
        return math.ceil(self._stop / self._size)

    def _parts(self) -> Iterator[Array]:
        """The rows of each batch of the next epoch."""
        order, self._first = self._order() if self._first is None else self._first, None
        return (order[start:min(start + self._size, self._stop)] for start in range(0, self._stop, self._size))

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return ((self._x[rows], self._y[rows]) for rows in self._parts())

    def refilled(self, skip: int = 0, homes: Callable[..., Any] = lambda x, y: (x, y)) -> Iterator[tuple[Array, Array]]:
        """The batches of an epoch after the first `skip`, those of one size in the same two arrays: each overwrites the last.
        `homes` may give other arrays in place of two new ones."""
        for size, parts in groupby(islice(self._parts(), skip, None), len):
            x, y = homes(*(np.empty((size, *source.shape[1:]), source.dtype) for source in (self._x, self._y)))
            gather_x, gather_y = _gather(self._x, x), _gather(self._y, y)
            for rows in parts:
                gather_x(rows), gather_y(rows)
                yield x, y


def _gather(source: Array, out: Array) -> Callable[[Array], object]:
    """A function of rows that copies them from `source` to `out`."""
    if source.itemsize not in (4, 8):
        return lambda rows: np.take(source, rows, 0, out, "clip")       # "clip" avoids a copy that NumPy makes to check the rows
    bits = f"f{source.itemsize}"        # integers are copied like floating numbers, bit by bit
    x, home = (a.reshape(1, len(a), a[0].size).view(bits) for a in (source, out))
    return lambda rows: launch(take_rows, x, rows, home)


batches = Batches


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples with their labels or targets, checked when made. ``len(d)`` counts them; methods return new records.

    ``d[3]`` is one sample, (x, y). A slice, indices or a mask select rows: ``d[:100]`` is a data set. Targets of a regression are
    real numbers, with ``classes=None``.

    >>> data.Dataset("xor", x=[[0, 0], [0, 1], [1, 0], [1, 1]], y=[0, 1, 1, 0], classes=2)
    Dataset('xor': 4 samples, 2 features, 2 classes, float64)
    >>> data.Dataset("line", x=[[0.0], [0.5], [1.0]], y=[[0.0], [1.0], [2.0]], classes=None)[1]
    (array([0.5]), array([1.]))
    """

    name: str               # for tables and plots
    x: Array                # (n, features): finite numbers, as float32 or else float64, C-contiguous, without a copy if possible
    y: Array                # (n,): labels from 0 to classes - 1, as int64; or targets (n,) or (n, outputs) in the dtype of x
    classes: int | None     # a class may have no sample here; None: y holds targets of a regression
    image_shape: tuple[int, ...] | None = None      # of a row of x as an image: x[0].reshape(image_shape)

    def __post_init__(self) -> None:
        x = check_samples(self.x)
        classes = None if self.classes is None else check_count(self.classes, "classes")
        y = _targets(self.y, x) if classes is None else check_labels(self.y, n=len(x), classes=classes)
        shape = self.image_shape
        if shape is not None:
            shape = tuple(check_count(side, "a side of image_shape") for side in shape)
            if math.prod(shape) != x.shape[1]:
                raise ValueError(f"image_shape {shape} has {math.prod(shape)} pixels and x {x.shape[1]} features; "
                                 "expected the same number")
        for field, value in (("x", x), ("y", y), ("classes", classes), ("image_shape", shape)):
            object.__setattr__(self, field, value)    # the one way to normalise a field of a frozen dataclass

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        image = f" ({'x'.join(map(str, self.image_shape))} images)" if self.image_shape else ""
        outputs = counted(self.classes, "class", "es") if self.classes else counted(self.y[0].size, "target")
        return (f"Dataset({self.name!r}: {counted(len(self), 'sample')}, {counted(self.features, 'feature')}{image}, {outputs}, "
                f"{self.x.dtype})")

    def __array__(self, *arguments: Any, **options: Any) -> NoReturn:
        raise TypeError(f"got the Dataset {self.name!r}, expected an array; pass its samples, .x, or its .y")

    @overload
    def __getitem__(self, index: SupportsIndex) -> tuple[Array, Any]: ...

    @overload
    def __getitem__(self, index: slice | npt.ArrayLike) -> Dataset: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            return self.x[index], self.y[index]
        rows = index if isinstance(index, slice) else np.arange(len(self))[index]       # a slice copies nothing
        if not isinstance(rows, slice) and rows.ndim != 1:
            raise IndexError(f"a Dataset has no index {index!r}, expected a row, or a slice, indices or a mask of rows")
        return self._part("", rows)

    @property
    def features(self) -> int:
        """Numbers per sample."""
        return int(self.x.shape[1])

    def split(self, fraction: float, rng: int | np.random.Generator | None = None,
              stratify: bool = False) -> tuple[Dataset, Dataset]:
        """Two disjoint random parts, (train, test), the first with about `fraction` of the samples.

        With `stratify`, every class is split in this proportion, up to one sample.

        >>> train, test = data.Dataset("line", np.arange(10.0).reshape(10, 1), np.arange(10) % 2, 2).split(0.8, rng=0)
        >>> train
        Dataset('line train': 8 samples, 1 feature, 2 classes, float64)
        """
        first = round(min(check_number(fraction, "fraction"), 2.0) * len(self))
        if not 0 < first < len(self):
            raise ValueError(f"split at fraction {fraction} puts {min(first, len(self))} of {len(self)} samples into "
                             "the first part; expected a fraction between 0 and 1 that leaves samples in both")
        stratify, generator = check_bool(stratify, "split: stratify"), check_rng(rng, "split")
        order = generator.permutation(len(self))
        if stratify:
            if self.classes is None:
                raise ValueError(f"split got stratify, but {self.name!r} has targets of a regression; expected classes")
            order = order[np.argsort(self.y[order], kind="stable")]         # class by class, each in random order
            chosen = np.diff(np.arange(len(self) + 1) * first // len(self)) == 1        # evenly spaced, so in every class
            order = np.concatenate([generator.permutation(order[chosen]), generator.permutation(order[~chosen])])
        return self._part(" train", order[:first]), self._part(" test", order[first:])

    def head(self, n: int) -> Dataset:
        """The first n samples, or all if there are fewer."""
        return self[:check_count(n, "head: n")]

    def standardise(self, like: Dataset | None = None) -> Dataset:
        """Shift and scale each feature, so that it has mean 0 and standard deviation 1 over `like` (by default, this set).

        A test set is standardised like its training set. A feature that is constant in `like` is only shifted.

        >>> data.Dataset("pair", [[0.0, 5.0], [2.0, 5.0]], [0, 1], 2).standardise().x
        array([[-1.,  0.],
               [ 1.,  0.]])
        """
        source = self if like is None else like
        if not isinstance(source, Dataset):
            raise TypeError(f"standardise got {type(source).__name__}, expected a Dataset, such as the training set")
        if source.features != self.features:
            raise ValueError(f"standardise got {source.features} features in {source.name!r} and {self.features} in "
                             f"{self.name!r}; expected the same number")
        mean, spread = source.x.mean(axis=0, dtype=np.float64), source.x.std(axis=0, dtype=np.float64)
        # Rounding gives a constant column of 0.1 a mean near 0.1 and a spread of 1e-17, so constancy is tested exactly.
        # The spread of numbers that differ by 1e-200 underflows to 0.
        lowest = source.x.min(axis=0)
        constant = (lowest == source.x.max(axis=0)) | (spread == 0)
        mean, spread = np.where(constant, lowest, mean), np.where(constant, 1.0, spread)
        x = self.x - mean
        x /= spread    # in place: for Fashion-MNIST this array takes 376 MB
        return replace(self, x=x.astype(self.x.dtype, copy=False))

    def batches(self, size: int, rng: int | np.random.Generator | None = None, drop_last: bool = False,
                shuffle: bool = True) -> Batches:
        """Minibatches (x, y) in random order; see `data.batches`."""
        return Batches(self.x, self.y, size, rng, drop_last, shuffle)

    def _part(self, suffix: str, rows: Array | slice) -> Dataset:
        return replace(self, name=f"{self.name}{suffix}", x=self.x[rows], y=self.y[rows])


def _targets(y: Any, x: Array) -> Array:
    """Targets of a regression: finite numbers, one or several for each sample, in the dtype of x."""
    y = as_numbers(y, "y")
    if y.ndim not in (1, 2):
        raise ValueError(f"y has shape {y.shape}, expected (samples,) or (samples, outputs)")
    if len(y) != len(x):
        raise ValueError(f"y holds {counted(len(y), 'target')} for {counted(len(x), 'sample')}; expected one for each")
    return np.ascontiguousarray(check_samples(y.reshape(len(y), -1), "y").reshape(y.shape), dtype=x.dtype)


# -- sets that need no file ---------------------------------------------------------------------------------------------


def digits(dtype: npt.DTypeLike = "float64") -> Dataset:
    """1797 handwritten digits of 8 x 8 pixels, as in ``sklearn.datasets``. A pixel is a count from 0 to 16, divided by 16.

    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its test set),
    https://doi.org/10.24432/C50P49, licence CC BY 4.0

    >>> data.digits()
    Dataset('digits': 1,797 samples, 64 features (8x8 images), 10 classes, float64)
    """
    target = check_dtype(dtype)
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        pixels, labels = file["images"].reshape(-1, 64), file["labels"].astype(np.int64)
    return Dataset("digits", (pixels / 16.0).astype(target), labels, classes=10, image_shape=(8, 8))


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
    return Dataset("moons", x.astype(target), np.repeat([0, 1], [len(upper), len(lower)]), classes=2)
