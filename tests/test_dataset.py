"""Dataset and batches: wrong input raises an error that names it; the same seed gives the same bits."""
from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from damage import one_line

from tinygrad_relu import checks, data
from tinygrad_relu.data import Dataset

nan, inf = float("nan"), float("inf")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype("u1")
X, Y = np.arange(14.0).reshape(7, 2), np.array([0, 1, 2, 0, 1, 2, 0])
SET = Dataset("seven", X, Y, 3)
LINE = Dataset("line", X.astype("f4"), np.linspace(0, 1, 7)[:, None], None)
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
    "standardise 3": (lambda: SET.standardise(3), TypeError, "standardise got int, expected a Dataset, such as the training set"),
    "shuffle text": (lambda: SET.batches(2, 0, shuffle="no"), TypeError, "shuffle is 'no', expected True or False"),
    "drop_last text": (lambda: SET.batches(2, 0, "yes"), TypeError, "drop_last is 'yes', expected True or False"),
    "stratify text": (lambda: SET.split(0.5, 0, "yes"), TypeError, "split: stratify is 'yes', expected True or False"),
    "a set for an array": (lambda: data.batches(SET, Y, 2, 0), TypeError, "got the Dataset 'seven', expected an array; pass its samples, .x"),
    "row None": (lambda: SET[None], IndexError, "a Dataset has no index None, expected a row, or a slice"),
    "path 3": (lambda: data.csv(3), TypeError, "got 3, expected the path of a CSV file"),
    "path None": (lambda: data.mnist(None), TypeError, "got None, expected the path of the folder with the files of mnist"),
    "row 7": (lambda: SET[7], IndexError, "index 7 is out of bounds"),
    "no row": (lambda: SET[7:], ValueError, "x has shape (0, 2) and is empty"),
    "stratify": (lambda: LINE.split(0.5, 0, stratify=True), ValueError, "'line' has targets of a regression; expected classes"),
    "targets": (lambda: Dataset("line", X, Y[:6], None), ValueError, "y holds 6 targets for 7 samples; expected one for each"),
    "target nan": (lambda: Dataset("line", X, [0, 0, nan, 0, 0, 0, 0], None), ValueError, "y holds nan at row 2, column 0"),
    "targets 3-d": (lambda: Dataset("line", X, np.zeros((7, 1, 1)), None), ValueError, "expected (samples,) or (samples, outputs)"),
    "targets text": (lambda: Dataset("line", X, ["a"] * 7, None), TypeError, "y holds text"),
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
    "objects": (dict(x=[[1.0, {}]]), TypeError, "x holds Python objects (dtype object), expected real numbers"),
    "a DataFrame with a column of booleans": (dict(x=np.array([[1.0, True]] * 7, object)), TypeError,
                                              "expected real numbers: convert these with .astype(float)"),
    "object labels": (dict(y=Y.astype(object)), TypeError, "y holds Python objects (dtype object), expected integer labels, such as"),
    "complex": (dict(x=X + 0j), TypeError, "x holds complex numbers (dtype complex128), expected real numbers"),
    "text": (dict(x=[["1", "2"]]), TypeError, "x holds text"),
    "bytes": (dict(x=[[b"1"]]), TypeError, "x holds bytes"),
    "dates": (dict(x=np.zeros((1, 1), "M8[D]")), TypeError, "x holds dates"),
    "none": (dict(x=None), TypeError, "x is None, expected real numbers"),
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
    "labels of None": (dict(y=[None] * 7), TypeError, "y holds Python objects"),
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


@pytest.mark.parametrize("fraction", [0.5, 0.7, 0.85])
def test_a_stratified_split_keeps_the_classes_in_proportion(fraction):
    """The proportion is exact up to one sample; every sample is in one part, and both parts are in random order."""
    y = np.repeat([0, 1, 2, 3], [100, 30, 7, 1])
    whole = Dataset("rare", np.arange(138.0)[:, None], y, 4)
    train, test = whole.split(fraction, rng=0, stratify=True)
    assert (abs(np.bincount(train.y, minlength=4) - len(train) / 138 * np.bincount(y)) < 1).all() and len(train) == round(fraction * 138)
    assert sorted(np.concatenate([train.x, test.x])[:, 0]) == list(range(138)) and (np.diff(train.y) < 0).any()
    again, other = whole.split(fraction, rng=0, stratify=True)[0], whole.split(fraction, rng=1, stratify=True)[0]
    assert again.x.tobytes() == train.x.tobytes() != other.x.tobytes()


def test_rows():
    x, y = SET[2]
    assert x is not X and x.tolist() == [4.0, 5.0] and y == 2 and SET[np.int64(-1)][1] == 0
    assert [int(label) for _, label in SET] == Y.tolist()
    for rows in (slice(1, 7, 2), [1, 3, 5], np.arange(7) % 2 == 1):
        part = SET[rows]
        assert part.name == "seven" and part.x.tolist() == X[1::2].tolist() and part.y.tolist() == [1, 0, 2] and part.classes == 3
    assert repr(SET[[3]]) == "Dataset('seven': 1 sample, 2 features, 3 classes, float64)"
    assert repr(SET.head(1)) == repr(SET[[3]]) and np.shares_memory(SET.head(3).x, X)


def test_targets_of_a_regression():
    """Targets have the dtype of x and any width; parts and batches keep them."""
    assert repr(LINE) == "Dataset('line': 7 samples, 2 features, 1 target, float32)"
    assert LINE.y.dtype == np.float32 and LINE.y.shape == (7, 1) and LINE.classes is None
    train, test = LINE.split(0.6, rng=0)
    assert train.y.shape == (4, 1) and sorted([*train.y[:, 0], *test.y[:, 0]]) == LINE.y[:, 0].tolist()
    assert [y.shape for _, y in LINE.batches(4, rng=0)] == [(4, 1), (3, 1)]
    assert Dataset("flat", X, Y, None).y.tolist() == Y.tolist() and (LINE.standardise().y == LINE.y).all()


def test_batches_have_a_length_and_can_be_looped_over_again():
    """A loop is an epoch; with a seed, the second one has another order, as if a Generator had been passed twice."""
    for size, drop_last, count in ((2, False, 4), (2, True, 3), (7, True, 1), (9, False, 1)):
        assert len(found := SET.batches(size, rng=0, drop_last=drop_last)) == count == len(list(found))
    assert repr(found) == "Batches(1 batch of up to 9 samples)"
    loader, generator = SET.batches(3, rng=0), np.random.default_rng(0)
    for _ in range(2):
        expected = np.concatenate([x for x, _ in SET.batches(3, generator)])
        np.testing.assert_array_equal(np.concatenate([x for x, _ in loader]), expected)


def test_batches_in_order():
    found = list(SET.batches(3, shuffle=False))
    assert [len(y) for _, y in found] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), X)
    assert [len(y) for _, y in SET.batches(3, shuffle=False, drop_last=True)] == [3, 3]


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
