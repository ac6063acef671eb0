"""A data set: a frozen record of samples and labels, and its minibatches."""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..checks import Array, as_numbers, check_count, check_labels, check_number, check_rng, check_samples


def batches(x: npt.ArrayLike, y: npt.ArrayLike, size: int, rng: int | np.random.Generator | None = None,
            drop_last: bool = False) -> Iterator[tuple[Array, Array]]:
    """One epoch of shuffled minibatches: every sample exactly once.

    x and y, of shapes (n, ...), hold real numbers; the batches are new C-contiguous arrays of the same dtypes. With
    `drop_last`, a last batch shorter than `size` is left out. The order is drawn when this function is called: pass one Generator
    to all epochs, and each is shuffled differently; a seed gives the same order every time.

    >>> x = np.arange(5.0).reshape(5, 1)
    >>> [labels.tolist() for _, labels in data.batches(x, np.arange(5), size=2, rng=0)]
    [[2, 4], [3, 0], [1]]
    """
    x, y = np.ascontiguousarray(as_numbers(x, "x")), np.ascontiguousarray(as_numbers(y, "y"))
    size = check_count(size, "size")
    if len(x) != len(y):
        raise ValueError(f"batches got {len(x)} samples in x and {len(y)} in y; expected the same number")
    if len(x) == 0:
        raise ValueError("batches got no samples; expected at least one")
    if drop_last and size > len(x):
        raise ValueError(f"batches of {size} with drop_last leave nothing of {len(x)} samples; expected a smaller size")
    order = check_rng(rng, "batches").permutation(len(x))
    stop = len(x) - len(x) % size if drop_last else len(x)
    # Not a generator function, in which the checks above would not run before the first batch is taken.
    return ((x[rows], y[rows]) for rows in (order[start:start + size] for start in range(0, stop, size)))


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples and their labels, checked when made; methods return new records.

    >>> data.Dataset("xor", x=[[0, 0], [0, 1], [1, 0], [1, 1]], y=[0, 1, 1, 0], classes=2)
    Dataset('xor': 4 samples, 2 features, 2 classes, float64)
    """

    name: str               # for tables and plots
    x: Array                # (n, features): finite numbers, as float32 or else float64, C-contiguous, without a copy if possible
    y: Array                # (n,): labels from 0 to classes - 1, as int64
    classes: int            # some may have no sample here
    image_shape: tuple[int, ...] | None = None      # of a row of x as an image: x[0].reshape(image_shape)

    def __post_init__(self) -> None:
        x = check_samples(self.x)
        classes = check_count(self.classes, "classes")
        y = check_labels(self.y, n=len(x), classes=classes)
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
        return (f"Dataset({self.name!r}: {len(self)} samples, {self.features} features{image}, "
                f"{self.classes} classes, {self.x.dtype})")

    @property
    def features(self) -> int:
        """Numbers per sample."""
        return int(self.x.shape[1])

    def split(self, fraction: float, rng: int | np.random.Generator | None = None) -> tuple[Dataset, Dataset]:
        """Two disjoint random parts, (train, test), the first with about ``fraction`` of the samples.

        >>> train, test = data.Dataset("line", np.arange(10.0).reshape(10, 1), np.arange(10) % 2, 2).split(0.8, rng=0)
        >>> train
        Dataset('line train': 8 samples, 1 features, 2 classes, float64)
        """
        first = round(min(check_number(fraction, "fraction"), 2.0) * len(self))
        if not 0 < first < len(self):
            raise ValueError(f"split at fraction {fraction} puts {min(first, len(self))} of {len(self)} samples into "
                             "the first part; expected a fraction between 0 and 1 that leaves samples in both")
        order = check_rng(rng, "split").permutation(len(self))
        return self._part("train", order[:first]), self._part("test", order[first:])

    def head(self, n: int) -> Dataset:
        """The first n samples, or all if there are fewer."""
        n = check_count(n, "head: n")
        return replace(self, x=self.x[:n], y=self.y[:n])

    def standardise(self, like: Dataset | None = None) -> Dataset:
        """Shift and scale each feature, so that it has mean 0 and standard deviation 1 over `like` (by default, this set).

        A test set is standardised like its training set. A feature that is constant in `like` is only shifted.

        >>> data.Dataset("pair", [[0.0, 5.0], [2.0, 5.0]], [0, 1], 2).standardise().x
        array([[-1.,  0.],
               [ 1.,  0.]])
        """
        source = self if like is None else like
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

    def batches(self, size: int, rng: int | np.random.Generator | None = None,
                drop_last: bool = False) -> Iterator[tuple[Array, Array]]:
        """One epoch of shuffled minibatches (x, y); see `data.batches`."""
        return batches(self.x, self.y, size, rng, drop_last)

    def _part(self, suffix: str, rows: Array) -> Dataset:
        return replace(self, name=f"{self.name} {suffix}", x=self.x[rows], y=self.y[rows])
