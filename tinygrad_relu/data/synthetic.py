"""Small synthetic sets in the plane: fast to train on and easy to look at."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinygrad_relu.checks import check_count, check_dtype, check_number, check_rng
from tinygrad_relu.data.dataset import Dataset


def spirals(n: int = 300, classes: int = 3, noise: float = 0.1, rng: int | np.random.Generator | None = None,
            dtype: npt.DTypeLike = "float64") -> Dataset:
    """Interleaved spiral arms, one per class, that no straight line separates.

    Arm c of K at radius r, 0 < r <= 1, is the point r (cos a, sin a) with a = 2 pi c / K + 4 r + noise N(0, 1).

    Parameters
    ----------
    n : int
        Samples in all; the first classes get one more each if n is not divisible.
    classes : int
        Arms, 2 or more.
    noise : float
        Standard deviation of the angle, in radians.
    rng : int or numpy.random.Generator
        Needed.
    dtype : {"float64", "float32"}
        Of x. Drawn in float64 and then rounded, so both types show the same points.

    Returns
    -------
    Dataset
        x (n, 2), y (n,) sorted by class, radius growing within each.

    Raises
    ------
    TypeError
        If rng is missing or an argument is of the wrong kind.
    ValueError
        If there are fewer than 2 classes, fewer samples than classes, or noise is negative or not finite.

    References
    ----------
    After the spirals of A. Karpathy, CS231n, "Putting it together: Minimal Neural Network Case Study" (4 radians an
    arm). The centre is left out: there one point would carry every label.

    Examples
    --------
    >>> spirals(n=6, noise=0.0, rng=0).y
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

    The points of ``sklearn.datasets.make_moons(n, shuffle=False)`` plus ``noise`` times N(0, 1) in each coordinate.

    Parameters
    ----------
    n : int
        Samples in all, 2 or more; the lower moon gets one more if n is odd.
    noise : float
        Standard deviation of both coordinates.
    rng : int or numpy.random.Generator
        Needed.
    dtype : {"float64", "float32"}
        Of x. Drawn in float64 and then rounded, so both types show the same points.

    Returns
    -------
    Dataset
        x (n, 2), y (n,) sorted by class, 2 classes.

    Raises
    ------
    TypeError
        If rng is missing or an argument is of the wrong kind.
    ValueError
        If there are fewer than 2 samples, or noise is negative or not finite.

    Examples
    --------
    >>> moons(n=4, noise=0.0, rng=0).x.round(1) + 0.0
    array([[ 1. ,  0. ],
           [-1. ,  0. ],
           [ 0. ,  0.5],
           [ 2. ,  0.5]])
    """
    target, n, noise = check_dtype(dtype), check_count(n, "n", 2), check_number(noise, "noise")
    generator = check_rng(rng, "moons")
    upper, lower = np.linspace(0, np.pi, n // 2), np.linspace(0, np.pi, n - n // 2)
    x = np.concatenate([np.column_stack([np.cos(upper), np.sin(upper)]),
                        np.column_stack([1 - np.cos(lower), 0.5 - np.sin(lower)])])
    x += noise * generator.standard_normal(x.shape)
    y = np.repeat([0, 1], [len(upper), len(lower)])
    return Dataset("moons", x.astype(target), y, classes=2)
