"""CSV files: their contents, errors that name the line, and how labels become classes."""
from __future__ import annotations

import re

import numpy as np
import pytest
from damage import one_line

from tinygrad_relu import cli, data

FLOWERS = """petal,sepal,kind
1.5,5,setosa
4.5,7.25,versicolor
-1e-3, 4 ,setosa
"""


def write(folder, text, name="flowers.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder, text, *args, **options):
    return data.csv(write(folder, text), *args, **options)


@pytest.mark.parametrize("text", [FLOWERS, FLOWERS.replace("\n", "\r\n"), "\ufeff" + FLOWERS, FLOWERS.replace("\n", "\n\n") + "  \n",
                                  FLOWERS.replace("setosa", '"setosa"').replace("1.5", '"1.5"'), FLOWERS.rstrip("\n")])
def test_flowers(tmp_path, text):
    found = read(tmp_path, text)
    assert repr(found) == "Dataset('flowers': 3 samples, 2 features, 2 classes, float64)"
    np.testing.assert_array_equal(found.x, [[1.5, 5], [4.5, 7.25], [-0.001, 4]])
    assert found.y.tolist() == [0, 1, 0]


def test_columns(tmp_path):
    text = "id,a,b,class\nx,1,2,0\ny,3,4,2\n"
    for options in (dict(target="class", drop="id"), dict(drop=0), dict(target=3, drop=[-4]), dict(target="class", drop=["id"])):
        found = read(tmp_path, text, **options)
        assert found.x.tolist() == [[1, 2], [3, 4]] and found.y.tolist() == [0, 2] and found.classes == 3
    found = read(tmp_path, text, "a", drop=["id", "class"], dtype="float32")
    assert found.x.tolist() == [[2], [4]] and found.y.tolist() == [1, 3] and found.x.dtype == np.float32
    found = read(tmp_path, text.replace(",", ";"), "class", drop="id", delimiter=";")
    assert found.x.tolist() == [[1, 2], [3, 4]]


def test_header(tmp_path):
    assert len(read(tmp_path, "1,2,0\n3,4,1\n")) == 2
    assert len(read(tmp_path, "1,2,a\n3,4,b\n")) == 2
    assert len(read(tmp_path, "0,1,label\n3,4,1\n", header=True)) == 1              # names that are numbers, as of pandas
    assert len(read(tmp_path, "0,1,2\n3,4,1\n", target="2")) == 1
    assert read(tmp_path, '"multi\nline",b\n3,4\n').x.tolist() == [[3]]


@pytest.mark.parametrize("labels, options, y, classes", [
    ("0 1 1", {}, [0, 1, 1], 2), ("1 2 3", {}, [1, 2, 3], 4), ("2.0 0 1e0", {}, [2, 0, 1], 3), ("-1 1 -1", {}, [0, 1, 0], 2),
    ("1_2 1_1", {}, [1, 0], 2), ("b a c", {}, [1, 0, 2], 3), ("b a c", dict(classes=["c", "b", "a", "d"]), [1, 2, 0], 4), ("5 3 5", dict(classes=[3, 5]), [1, 0, 1], 2)])
def test_labels(tmp_path, labels, options, y, classes):
    found = read(tmp_path, "".join(f"0.5,{label}\n" for label in labels.split()), **options)
    assert found.y.tolist() == y and found.y.dtype == np.int64 and found.classes == classes


REFUSED = {
    "empty": ("", {}, "is empty; expected a CSV file with a line for each sample"),
    "blank": ("\n \n", {}, "is empty"),
    "header only": ("a,b\n", {}, "holds no samples, only a header"),
    "ragged": (FLOWERS + "1,2\n", {}, ", line 5: got 2 cells, expected 3 as in the lines above"),
    "ragged after blank": ("1,2,0\n\n\n1,2,3,4\n", {}, ", line 4: got 4 cells, expected 3"),
    "one column": ("1;2\n3;4\n", {}, ", line 1: got 1 cell, expected at least one feature and the label; is the delimiter ';'?"),
    "nothing left": ("1,2\n", dict(drop=[0]), ", line 1: got 2 cells, expected at least one feature and the label"),
    "text": (FLOWERS.replace("7.25", "seven"), {}, ", line 3, column 'sepal': got 'seven', expected a number"),
    "Python's 1_0": ("1,2,0\n1,1_0,1\n", {}, ", line 2, column 1: got '1_0', expected a number"),
    "no cell": (FLOWERS.replace("7.25", ""), {}, ", line 3, column 'sepal': got '', expected a number"),
    "text, no header": ("1,2,0\n1,x,0\n", {}, ", line 2, column 1: got 'x', expected a number"),
    "nan": (FLOWERS.replace("7.25", "nan"), {}, ", line 3, column 'sepal': got nan, expected a finite number"),
    "infinity": (FLOWERS.replace("7.25", "-1e999"), {}, ", line 3, column 'sepal': got -inf, expected a finite number"),
    "float32": (FLOWERS.replace("7.25", "1e300"), dict(dtype="float32"), ", line 3, column 'sepal': got 1e+300, expected a finite number; the largest float32 is 3.4e+38"),
    "1e400": (FLOWERS.replace("7.25", "1e400"), {}, "got inf, expected a finite number; the largest float64 is 1.8e+308"),
    "one class": (FLOWERS.replace("versicolor", "setosa"), {}, ", line 2, column 'kind': all labels are 'setosa', and one class cannot be learned"),
    "one class, a number": ("1,0\n2,0\n", {}, ", line 1, column 1: all labels are '0', and one class cannot be learned"),
    "dtype": (FLOWERS, dict(dtype="int64"), "dtype is 'int64', expected 'float32' or 'float64'"),
    "target": (FLOWERS, dict(target="king"), "the column is 'king', expected one of: petal, sepal, kind; did you mean 'kind'?"),
    "drop": (FLOWERS, dict(drop=["kind", "x"]), "the column is 'x', expected one of: petal, sepal, kind"),
    "place": (FLOWERS, dict(target=3), "there is no column 3, expected -3 to 2, or a name"),
    "twice": ("a,a,b\n1,2,0\n", dict(target="a"), "two columns are called 'a'; expected the place of one of them"),
    "no label": (FLOWERS.replace("versicolor", ""), {}, ", line 3, column 'kind': got '', expected a label"),
    "mixed labels": (FLOWERS.replace("versicolor", "1"), {}, ", line 3, column 'kind': got '1', expected a label, all of them numbers or none"),
    "half labels": ("1,0.5\n1,1\n", {}, ", line 1, column 1: got '0.5', expected the label of a class, a whole number"),
    "nan label": ("1,nan\n1,1\n", {}, ", line 1, column 1: got 'nan', expected the label of a class"),
    "huge label": ("1,1\n1,9999999999\n", {}, ", line 2, column 1: got '9999999999', expected the label of a class"),
    "years": ("1,1990\n1,1991\n", {}, ", line 2, column 1: got 1991, which makes 1992 classes, but only 2 of them have samples"),
    "delimiter of a named column": ("a;b\n1;2\n", dict(target="b"), ", line 1: got 1 cell, expected at least one feature and the label; is the delimiter ';'?"),
    "unknown label": (FLOWERS, dict(classes=["setosa", "versicolo"]), ", line 3, column 'kind', the label is 'versicolor', expected one of: setosa, versicolo; did you"),
    "class twice": (FLOWERS, dict(classes=["setosa", "versicolor", "setosa"]), "csv: classes holds 'setosa' twice"),
    "quote": (FLOWERS + '1,"2,3\n', {}, ", line 5: unexpected end of data"),
    "after a quote": ('1,"2"3,4\n', {}, ", line 1: ',' expected after '\"'"),
    "long": ("1," + "2" * 200_000 + "\n", {}, ", line 1: field larger than field limit"),
    "latin-1": (FLOWERS.replace("setosa", "s\xe4tosa").encode("latin1"), {}, "is not UTF-8 text (invalid continuation byte at byte"),
    "utf-16": (FLOWERS.encode("utf-16"), {}, "is not UTF-8 text"),
    "delimiter": (FLOWERS, dict(delimiter=", "), "delimiter is ', ', expected one character"),
}


@pytest.mark.parametrize("text, options, sentence", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path, text, options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        read(tmp_path, text, **options)
    assert one_line(caught.value).startswith((str(tmp_path / "flowers.csv"), "dtype", "csv: "))


@pytest.mark.parametrize("options, sentence", [
    (dict(classes=3), "csv: classes is 3, expected the labels in the order of their numbers"),
    (dict(target=None), "csv: a column is None, expected its name or its place"), (dict(target=["kind"]), "csv: a column is ['kind']")])
def test_arguments_of_another_type(tmp_path, options, sentence):
    with pytest.raises(TypeError, match=re.escape(sentence)):
        read(tmp_path, FLOWERS, **options)


def test_a_part_of_the_data_may_hold_one_class(tmp_path):
    found = read(tmp_path, FLOWERS.replace("versicolor", "setosa"), classes=["setosa", "versicolor"])
    assert found.classes == 2 and found.y.tolist() == [0, 0, 0]
    assert read(tmp_path, "1,3\n2,3\n").classes == 4


def test_errors_of_the_file_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; expected a CSV file"):
        data.csv(tmp_path / "nowhere.csv")
    with pytest.raises(IsADirectoryError, match="is a folder; expected a CSV file"):
        data.csv(tmp_path)


def test_the_numbers_are_those_of_numpy(tmp_path):
    """To the bit, whatever way they are written."""
    x = np.random.default_rng(0).standard_normal((50, 4)) * 10.0 ** np.arange(-150, 150, 6)[:, None]
    y = np.arange(50) % 5
    np.savetxt(tmp_path / "a.csv", np.column_stack([x, y]), delimiter=",", fmt=["%.17g"] * 4 + ["%d"])
    found = data.csv(tmp_path / "a.csv")
    assert found.x.tobytes() == x.tobytes() and found.y.tolist() == y.tolist()
    assert found.x.tobytes() == np.ascontiguousarray(np.loadtxt(tmp_path / "a.csv", delimiter=",")[:, :4]).tobytes()


def test_revive_on_a_file(tmp_path, capsys):
    spirals = data.spirals(n=60, rng=0)
    rows = "".join(f"{a},{b},arm {c}\n" for (a, b), c in zip(spirals.x, spirals.y))
    path = write(tmp_path, "x,y,arm\n" + rows)
    quick = ["--widths", "6", "--kill-steps", "5", "--steps", "12", "--treatments", "sgd"]
    assert cli.main(["revive", "--data", "csv", "--path", str(path), "--target", "arm", *quick]) == 0
    assert "flowers" in capsys.readouterr().out
    for arguments, sentence in ((["--data", "csv"], "--data csv needs --path"), (["--target", "arm"], "--target is for csv"),
                                (["--data", "csv", "--path", str(path), "--target", "am"], "did you mean 'arm'?"),
                                (["--data", "csv", "--path", str(write(tmp_path, "1,2,3\n4,5,3\n", "one.csv"))], "one class, which cannot be learned")):
        assert cli.main(["revive", *arguments, *quick]) == 2
        assert sentence in capsys.readouterr().err
