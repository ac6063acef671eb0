"""A data set is a frozen record of samples and labels; an epoch of minibatches is a function of it and a seed."""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tinygrad_relu.checks import (
    Array,
    as_numbers,
    check_count,
    check_labels,
    check_number,
    check_rng,
    check_samples,
)


def batches(x: npt.ArrayLike, y: npt.ArrayLike, size: int, rng: int | np.random.Generator | None = None,
            drop_last: bool = False) -> Iterator[tuple[Array, Array]]:
    """One epoch of shuffled minibatches: every sample exactly once.

    Pass one Generator to all epochs, and each is shuffled anew; a seed gives the same order every time.

    Parameters
    ----------
    x, y : array_like, shapes (n, ...)
        Samples and their labels or targets, real numbers of any dtype: the first axis counts the samples.
    size : int
        Samples in a batch.
    rng : int or numpy.random.Generator
        Needed. The order is drawn when this function is called, not when the first batch is taken.
    drop_last : bool
        Leave out the last batch if it is shorter than size. By default it is kept.

    Returns
    -------
    iterator of (ndarray, ndarray)
        Shapes (size, ...), dtypes as given: new C-contiguous arrays that share no memory with x and y.

    Raises
    ------
    TypeError
        If rng is missing, size is not a whole number, or x or y holds something else than numbers.
    ValueError
        If x and y differ in length, are empty, or nothing would be left after drop_last.

    Examples
    --------
    >>> x = np.arange(5.0).reshape(5, 1)
    >>> [labels.tolist() for _, labels in batches(x, np.arange(5), size=2, rng=0)]
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
    # A generator expression, not a generator function: in a function none of the checks above would run before the
    # first batch is asked for, far from the call that was wrong.
    return ((x[rows], y[rows]) for rows in (order[start:start + size] for start in range(0, stop, size)))


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples, their labels, and what they are. Checked when made; methods return new records.

    Parameters
    ----------
    name : str
        What it is called in tables and plots.
    x : array_like, shape (n, features)
        Finite numbers. Kept as float32 if it is, else as float64; C-contiguous. Not copied if it is so already.
    y : array_like, shape (n,)
        Integer labels, 0 to classes - 1. Kept as int64.
    classes : int
        How many classes there are (some may have no sample here).
    image_shape : tuple of int, optional
        How to fold a row of x into an image: ``x[0].reshape(image_shape)``.

    Raises
    ------
    TypeError, ValueError
        One sentence with the row (and column) of the first bad value; see ``checks.py``.

    Examples
    --------
    >>> Dataset("xor", x=[[0, 0], [0, 1], [1, 0], [1, 1]], y=[0, 1, 1, 0], classes=2)
    Dataset('xor': 4 samples, 2 features, 2 classes, float64)
    """

    name: str
    x: Array
    y: Array
    classes: int
    image_shape: tuple[int, ...] | None = None

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
        """Two disjoint random parts: (train, test), the first with about ``fraction`` of the samples.

        Raises
        ------
        TypeError
            If rng is missing or fraction is not a number.
        ValueError
            If a part would be empty.

        Examples
        --------
        >>> train, test = Dataset("line", np.arange(10.0).reshape(10, 1), np.arange(10) % 2, 2).split(0.8, rng=0)
        >>> train, test
        (Dataset('line train': 8 samples, 1 features, 2 classes, float64), \
Dataset('line test': 2 samples, 1 features, 2 classes, float64))
        """
        first = round(min(check_number(fraction, "fraction"), 2.0) * len(self))
        if not 0 < first < len(self):
            raise ValueError(f"split at fraction {fraction} puts {min(first, len(self))} of {len(self)} samples into "
                             "the first part; expected a fraction between 0 and 1 that leaves samples in both")
        order = check_rng(rng, "split").permutation(len(self))
        return self._part("train", order[:first]), self._part("test", order[first:])

    def head(self, n: int) -> Dataset:
        """The first n samples (all of them, if there are no more).

        Examples
        --------
        >>> Dataset("line", np.arange(10.0).reshape(10, 1), np.arange(10) % 2, 2).head(3)
        Dataset('line': 3 samples, 1 features, 2 classes, float64)
        """
        n = check_count(n, "head: n")
        return replace(self, x=self.x[:n], y=self.y[:n])

    def standardise(self, like: Dataset | None = None) -> Dataset:
        """Each feature with mean 0 and standard deviation 1 over ``like`` (this set itself if missing).

        A test set is standardised like its training set. A feature that is constant in ``like`` (a corner pixel of
        the digits) is only shifted: there is no scale to divide by.

        Raises
        ------
        ValueError
            If the two sets differ in their number of features.

        Examples
        --------
        >>> Dataset("pair", [[0.0, 5.0], [2.0, 5.0]], [0, 1], 2).standardise().x
        array([[-1.,  0.],
               [ 1.,  0.]])
        """
        source = self if like is None else like
        if source.features != self.features:
            raise ValueError(f"standardise got {source.features} features in {source.name!r} and {self.features} in "
                             f"{self.name!r}; expected the same number")
        mean, spread = source.x.mean(axis=0, dtype=np.float64), source.x.std(axis=0, dtype=np.float64)
        # Rounding gives a constant column of 0.1 a mean beside 0.1 and a spread of 1e-17: ask for constancy exactly.
        # Numbers that differ by 1e-200 have a spread of 0, by underflow: no scale to divide by either.
        lowest = source.x.min(axis=0)
        constant = (lowest == source.x.max(axis=0)) | (spread == 0)
        mean, spread = np.where(constant, lowest, mean), np.where(constant, 1.0, spread)
        x = self.x - mean
        x /= spread    # in place: for Fashion-MNIST this array takes 376 MB
        return replace(self, x=x.astype(self.x.dtype, copy=False))

    def batches(self, size: int, rng: int | np.random.Generator | None = None,
                drop_last: bool = False) -> Iterator[tuple[Array, Array]]:
        """One epoch of shuffled minibatches (x, y); see the function :func:`batches`.

        Examples
        --------
        >>> pairs = Dataset("line", np.arange(3.0).reshape(3, 1), [0, 1, 1], 2).batches(size=2, rng=0)
        >>> [x.shape for x, y in pairs]
        [(2, 1), (1, 1)]
        """
        return batches(self.x, self.y, size, rng, drop_last)

    def _part(self, suffix: str, rows: Array) -> Dataset:
        return replace(self, name=f"{self.name} {suffix}", x=self.x[rows], y=self.y[rows])
