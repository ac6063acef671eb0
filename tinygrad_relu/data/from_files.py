"""Data sets from files: MNIST and Fashion-MNIST in the IDX format, and CSV, a line for each sample with its class."""
from __future__ import annotations

import csv as comma
import gzip
import math
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..checks import Array, check_bool, check_dtype, check_labels, check_name, counted, said
from ..files import AnyPath, reading
from .dataset import Dataset

PREFIXES = {"train": "train", "test": "t10k"}    # of the file names of the two halves of MNIST
SIDE = 28
CODES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 32    # which every NumPy supports
PIECE = 1 << 20         # bytes read at a time


def mnist(path: AnyPath, split: str = "train", dtype: npt.DTypeLike = "float32") -> Dataset:
    """MNIST, handwritten digits of 28 x 28 pixels from 0 to 1 (LeCun, Bottou, Bengio & Haffner, Proc. IEEE 86, 1998).

    `path` is the folder with train-images-idx3-ubyte and train-labels-idx1-ubyte (the `split` "train", 60,000 samples), or with
    t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte ("test", 10,000), plain or with .gz.

    >>> data.mnist("no/such/folder")
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder does not exist; expected the folder with the files of mnist
    """
    return _from_idx("mnist", path, split, dtype)


def fashion_mnist(path: AnyPath, split: str = "train", dtype: npt.DTypeLike = "float32") -> Dataset:
    """Fashion-MNIST, photographs of clothes, in files like those of `mnist` (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747).

    Debian and Ubuntu have them in the package dataset-fashion-mnist, which puts them into /usr/share/datasets/fashion-mnist.

    >>> data.fashion_mnist(".", split="validation")
    Traceback (most recent call last):
    ValueError: split is 'validation', expected one of: train, test
    """
    return _from_idx("fashion-mnist", path, split, dtype)


def _from_idx(name: str, path: AnyPath, split: str, dtype: npt.DTypeLike) -> Dataset:
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


def read_idx(path: AnyPath) -> Array:
    """The array in an IDX file, plain or compressed with gzip (whatever its name), in the machine's byte order.

    MNIST and its relatives are published in this format: two zero bytes, the code of the number type (see CODES), the number of
    dimensions, the dimensions in 4 bytes each, and the numbers, the last dimension fastest, all with the most significant byte
    first.

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
    """Read the header, and exactly as many numbers as the header promises."""
    head = _take(stream, 4)
    if head[:2] != b"\0\0"[:len(head)]:
        raise ValueError(f"{file} is not an IDX file: it begins with {bytes(head)!r}, expected two zero bytes")
    if len(head) < 4:
        raise ValueError(f"{file} ends after {len(head)} bytes, inside the IDX header of 4 bytes and more")
    code, dimensions = head[2], head[3]
    if code not in CODES:
        known = ", ".join(f"0x{known:02x}" for known in CODES)
        raise ValueError(f"{file} has the unknown number type 0x{code:02x} in its IDX header, expected one of {known}")
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise ValueError(f"{file} claims {dimensions} dimensions in its IDX header, expected 1 to {MOST_DIMENSIONS}")
    sizes = _take(stream, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(f"{file} ends inside its IDX header: {len(sizes)} of the {4 * dimensions} bytes for "
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
        raise ValueError(f"{file} is too short: {promise}, {expected} bytes, but only {len(data)} follow")
    if stream.read(1):    # also what makes gzip compare its checksum
        raise ValueError(f"{file} is too long: {promise}, {expected} bytes, but more follow")
    array: Array = np.ndarray(shape, dtype, buffer=data)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _take(stream: IO[bytes] | gzip.GzipFile, count: int) -> bytearray:
    """`count` bytes, or fewer if the stream ends. A damaged header may promise terabytes, so memory grows with the bytes read."""
    taken = bytearray()
    while len(taken) < count and (piece := stream.read(min(PIECE, count - len(taken)))):
        taken += piece
    return taken


# -- CSV --------------------------------------------------------------------------------------------------------------

Column = str | int
Line = tuple[int, list[str]]        # the number of a line, from 1, and its cells
REGRESSION = " for a regression, say regression=True (on the command line: --regression)"
HIGHEST = 2**31 - 1                 # larger whole numbers are keys, not classes


def csv(path: AnyPath, target: Column = -1, *, drop: Sequence[Column] = (), header: bool | None = None,
        classes: Sequence[str | int] | None = None, delimiter: str = ",", dtype: npt.DTypeLike = "float64",
        regression: bool = False) -> Dataset:
    """The samples of a CSV file: one column holds the class, the others are features. Errors name the line.

    The file is text in UTF-8, with quotes as spreadsheets write them; blank lines are skipped. The column `target` holds the
    labels, and the columns `drop` are left out; each is a name from the header, or an index. By default, the first line is a
    header if a column is given by name, or if none of its cells is a number.

    `classes` are the labels in the order of their numbers; give them if the file may lack a class. By default, labels that are
    whole numbers from 0 on are kept, and others are numbered in sorted order. In a `regression` they are numbers: y (samples, 1).

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "flowers.csv"
    ...     _ = file.write_text("petal,sepal,species\\n1.4,5.1,setosa\\n4.7,7.0,versicolor\\n1.3,4.9,setosa\\n")
    ...     flowers = data.csv(file, target="species")
    >>> flowers
    Dataset('flowers': 3 samples, 2 features, 2 classes, float64)
    >>> flowers.y
    array([0, 1, 0])
    """
    kind = check_dtype(dtype)
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"csv: delimiter is {delimiter!r}, expected one character, such as ',' or ';'")
    with reading(path, "a CSV file") as file, file.open(encoding="utf-8-sig", newline="") as stream:
        try:
            return _parse(_lines(comma.reader(stream, delimiter=delimiter, strict=True), file), file, target, drop, header,
                          classes, kind, check_bool(regression, "csv: regression"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text ({error.reason} at byte {error.start}); expected a CSV file") from error


def _lines(reader: Iterator[list[str]], file: Path) -> Iterator[Line]:
    """The lines that are not blank, all of one length."""
    length = 0
    try:
        for cells in reader:
            number: int = reader.line_num       # type: ignore[attr-defined]
            if not any(cell.strip() for cell in cells) and len(cells) < 2:
                continue
            length = length or len(cells)
            if len(cells) != length:
                raise ValueError(f"{file}, line {number}: got {counted(len(cells), 'cell')}, expected {length} as in the lines "
                                 "above")
            yield number, cells
    except comma.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: {error}") from error     # type: ignore[attr-defined]


def _parse(lines: Iterator[Line], file: Path, target: Column, drop: Sequence[Column], header: bool | None,
           classes: Sequence[str | int] | None, dtype: np.dtype[np.floating], regression: bool) -> Dataset:
    wanted: list[Column] = [target, *([drop] if isinstance(drop, (str, int)) else drop)]
    start, first = next(lines, (0, []))
    if not first:
        raise ValueError(f"{file} is empty; expected a CSV file with a line for each sample")
    if header is None:
        header = any(isinstance(column, str) for column in wanted) or not any(map(_is_number, first))
    names = [" ".join(cell.split()) for cell in first] if header else []
    hint = next((f"; is the delimiter {mark!r}?" for mark in ";\t|," if mark in first[0]), "") if len(first) == 1 else ""
    label, *dropped = (-1 if hint else _place(column, names, len(first), file) for column in wanted)
    features = [place for place in range(len(first)) if place != label and place not in dropped]
    if not features or hint:
        raise ValueError(f"{file}, line {start}: got {counted(len(first), 'cell')}, expected at least one feature and the "
                         f"label{hint}")

    def where(line: int, place: int) -> str:
        return f"{file}, line {line}, column {names[place] if header else place!r}"

    numbers, labels, origins = array("d"), [], []       # 8 bytes a number, where a list would take 32
    for number, cells in lines if header else chain([(start, first)], lines):
        given = [cells[place] for place in features]
        try:
            if "_" in "".join(given):
                raise ValueError
            numbers.extend(map(float, given))
        except ValueError:
            place = next(place for place in features if not _is_number(cells[place]))
            raise ValueError(f"{where(number, place)}: got {cells[place][:40]!r}, expected a number") from None
        labels.append(cells[label].strip())
        origins.append(number)
    if not labels:
        raise ValueError(f"{file} holds no samples, only a header; expected a line for each sample")
    wide = np.array(numbers).reshape(len(labels), len(features))
    with np.errstate(over="ignore"):
        x = wide.astype(dtype)
    for row, column in np.argwhere(~np.isfinite(x))[:1]:
        largest = f"; the largest {dtype} is {np.finfo(dtype).max:.2g}" if np.isinf(x[row, column]) else ""
        raise ValueError(f"{where(origins[row], features[column])}: got {wide[row, column]}, expected a finite number{largest}")
    if regression:
        for row, text in enumerate(labels):
            if not (_is_number(text) and np.isfinite(float(text))):
                raise ValueError(f"{where(origins[row], label)}: got {text[:40]!r}, expected a finite number")
        return Dataset(file.stem, x, np.array(labels, np.float64)[:, None], classes=None)
    y, count = _numbered(labels, classes, lambda row: where(origins[row], label))
    if count == 1:
        raise ValueError(f"{where(origins[0], label)}: all labels are {labels[0][:40]!r}, and one class cannot be learned; is it "
                         "the right column? If the file is a part of the data, name all classes=[...]")
    return Dataset(file.stem, x, y, classes=count)


def _place(column: Column, names: list[str], length: int, file: Path) -> int:
    """The place of a column, from 0."""
    if isinstance(column, str):
        check_name(column, names, f"{file}: the column")
        if names.count(column) > 1:
            raise ValueError(f"{file}: two columns are called {column!r}; expected the place of one of them, counted from 0")
        return names.index(column)
    if isinstance(column, bool) or not isinstance(column, (int, np.integer)):
        raise TypeError(f"csv: a column is {said(column)}, expected its name or its place, counted from 0")
    if not -length <= column < length:
        raise ValueError(f"{file}: there is no column {column}, expected {-length} to {length - 1}, or a name")
    return column % length


def _numbered(labels: list[str], classes: Sequence[str | int] | None, where: Callable[[int], str]) -> tuple[Array, int]:
    """Labels as numbers from 0 on, and how many classes there are."""
    values: list[Any] = labels
    if classes is not None:
        if isinstance(classes, str) or not isinstance(classes, Iterable):
            raise TypeError(f"csv: classes is {said(classes)}, expected the labels in the order of their numbers, such as "
                            "range(3) or ['no', 'yes']")
        order: list[Any] = [str(label).strip() for label in classes]
        for label in order:
            if order.count(label) > 1:
                raise ValueError(f"csv: classes holds {label!r} twice, expected each label once")
        for row, value in enumerate(labels):
            check_name(value, order, f"{where(row)}, the label")
    else:
        numeric = [_is_number(label) for label in labels]
        for row, label in enumerate(labels):
            if not label or numeric[row] != numeric[0]:
                raise ValueError(f"{where(row)}: got {label[:40]!r}, expected a label, all of them numbers or none")
        if numeric[0]:
            values = [float(label) for label in labels]
            for row, value in enumerate(values):
                if not (abs(value) <= HIGHEST and value.is_integer()):
                    raise ValueError(f"{where(row)}: got {labels[row][:40]!r}, expected the label of a class, a whole "
                                     f"number;{REGRESSION}")
            if min(values) >= 0:
                count = int(max(values)) + 1
                if count > 10 * (several := len(set(values))):
                    raise ValueError(f"{where(values.index(count - 1))}: got {count - 1}, which makes {count} classes, but only "
                                     f"{several} of them have samples; name the labels with classes=[...], or{REGRESSION}")
                return np.array(values).astype(np.int64), count
        order = sorted(set(values))
    number = {value: i for i, value in enumerate(order)}
    return np.array([number[value] for value in values], np.int64), len(order)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell          # Python reads 1_0 as 10
