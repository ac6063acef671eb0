"""A data set from a CSV file: a line for each sample, with its features as numbers and its class."""
from __future__ import annotations

import csv as comma
import operator
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import Array, check_dtype, check_name
from ..files import reading
from .dataset import Dataset, counted

Column = str | int
Line = tuple[int, list[str]]        # the number of a line, from 1, and its cells
HIGHEST = 2**31 - 1                 # larger whole numbers are keys, not classes


def csv(path: str | os.PathLike[str], target: Column = -1, *, drop: Sequence[Column] = (), header: bool | None = None,
        classes: Sequence[str | int] | None = None, delimiter: str = ",", dtype: npt.DTypeLike = "float64") -> Dataset:
    """The samples of a CSV file: one column holds the class, the others are features. Errors name the line.

    The file is text in UTF-8, with quotes as spreadsheets write them; blank lines are skipped. The column `target` holds the
    labels, and the columns `drop` are left out; each is a name from the header, or an index. By default, the first line is a
    header if a column is given by name, or if none of its cells is a number.

    `classes` are the labels in the order of their numbers; give them if the file may lack a class. By default, whole numbers from
    0 on stay, and anything else is numbered in sorted order.

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
                          classes, kind)
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
                                 "before")
            yield number, cells
    except comma.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: {error}") from error     # type: ignore[attr-defined]


def _parse(lines: Iterator[Line], file: Path, target: Column, drop: Sequence[Column], header: bool | None,
           classes: Sequence[str | int] | None, dtype: np.dtype[np.floating]) -> Dataset:
    wanted: list[Column] = [target, *([drop] if isinstance(drop, (str, int)) else drop)]
    start, first = next(lines, (0, []))
    if not first:
        raise ValueError(f"{file} is empty; expected a CSV file with a line for each sample")
    if header is None:
        header = any(isinstance(column, str) for column in wanted) or not any(map(_is_number, first))
    names = [" ".join(cell.split()) for cell in first] if header else []
    label, *dropped = (_place(column, names, len(first), file) for column in wanted)
    features = [place for place in range(len(first)) if place != label and place not in dropped]
    if not features:
        hint = next((f"; is the delimiter {mark!r}?" for mark in ";\t|" if mark in first[0]), "")
        raise ValueError(f"{file}, line {start}: got {counted(len(first), 'cell')}, expected at least one feature and the "
                         f"label{hint}")

    def where(line: int, place: int) -> str:
        return f"{file}, line {line}, column {names[place] if header else place!r}"

    numbers, labels, origins = array("d"), [], []       # 8 bytes a number, where a list would take 32
    for number, cells in lines if header else chain([(start, first)], lines):
        try:
            numbers.extend([float(cells[place]) for place in features])
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
    if not -length <= operator.index(column) < length:
        raise ValueError(f"{file}: there is no column {column}, expected {-length} to {length - 1}, or a name")
    return column % length


def _numbered(labels: list[str], classes: Sequence[str | int] | None, where: Callable[[int], str]) -> tuple[Array, int]:
    """Labels as numbers from 0 on, and how many classes there are."""
    values: list[Any] = labels
    if classes is not None:
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
                    raise ValueError(f"{where(row)}: got {labels[row][:40]!r}, expected the label of a class, a whole number; "
                                     "for a regression, read the file with NumPy and make a data.Dataset with classes=None")
            if min(values) >= 0:
                return np.array(values).astype(np.int64), int(max(values)) + 1
        order = sorted(set(values))
    number = {value: i for i, value in enumerate(order)}
    return np.array([number[value] for value in values], np.int64), len(order)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
