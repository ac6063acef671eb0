"""The IDX reader: every type and shape is read back, and errors name the defect of a file."""
from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from damage import TYPES, idx_bytes, one_line

from tinygrad_relu import data
from tinygrad_relu.data.from_files import PIECE

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype("u1")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (1,) * 32, (0,), (0, 28, 28), (5, 0)])
@pytest.mark.parametrize("kind", TYPES)
def test_idx_round_trip(tmp_path, kind, shape, pack):
    rng = np.random.default_rng(1)
    dtype = np.dtype(kind)
    raw = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max,
                                                                            shape, endpoint=True)
    array = np.asarray(raw, dtype)
    (tmp_path / "file").write_bytes(pack(idx_bytes(array)))
    found = data.read_idx(tmp_path / "file")
    assert found.dtype == dtype and found.dtype.isnative and found.shape == shape
    assert found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, array)


def test_idx_longer_than_one_piece(tmp_path):
    array = np.arange(PIECE // 4 + 1001, dtype="i4")
    head = bytes([0, 0, 0x0C, 1]) + struct.pack(">I", len(array))
    (tmp_path / "file").write_bytes(gzip.compress(head + array.astype(">i4").tobytes(), 1))
    np.testing.assert_array_equal(data.read_idx(str(tmp_path / "file")), array)


GOOD = idx_bytes(np.arange(12, dtype="u1").reshape(3, 4))
GZ = gzip.compress(idx_bytes(IMAGES))
BAD_FILES = {
    "empty": (b"", "is empty; expected an IDX file"),
    "foreign": (b"<!DOCTYPE html>", "is not an IDX file: it begins with b'<!DO', expected two zero bytes"),
    "foreign in gz": (gzip.compress(b"PK\3\4"), "it begins with b'PK"),
    "one foreign byte": (b"A", "it begins with b'A'"),
    "magic cut": (GOOD[:3], "ends after 3 bytes, inside the IDX header"),
    "unknown type": (b"\0\0\x0a\1" + GOOD[4:], "unknown number type 0x0a in its IDX header, expected one of 0x08"),
    "little endian": (b"\3\x08\0\0", "expected two zero bytes"),
    "no dimension": (b"\0\0\x08\0", "claims 0 dimensions in its IDX header, expected 1 to 32"),
    "dimensions": (b"\0\0\x08\xff" + b"\0" * 1020, "claims 255 dimensions"),
    "header cut": (GOOD[:9], "ends inside its IDX header: 5 of the 8 bytes for 2 dimensions"),
    "no data": (GOOD[:12], "promises 3 x 4 numbers of type uint8, 12 bytes, but only 0 follow"),
    "data cut": (GOOD[:-1], "promises 3 x 4 numbers of type uint8, 12 bytes, but only 11 follow"),
    "surplus": (GOOD + b"\0", "is too long: its IDX header promises 3 x 4 numbers of type uint8, 12 bytes"),
    "surplus in gz": (gzip.compress(GOOD + b"\0"), "is too long"),
    "huge": (b"\0\0\x08\1" + b"\xff" * 4 + b"abc", "promises 4294967295 numbers of type uint8, 4294967295 bytes"),
    "huge in gz": (gzip.compress(b"\0\0\x0e\1" + b"\xff" * 4), "34359738360 bytes, but only 0 follow"),
    "overflow": (b"\0\0\x0e\2" + b"\xff" * 8, "4294967295 x 4294967295 numbers of type float64, more than any"),
    "overflow to 0": (b"\0\0\x08\2" + b"\x80\0\0\0" * 2 + b"abc", "is too short"),
    "overflow by 0": (b"\0\0\x08\4" + b"\0" * 4 + b"\xff" * 12, "more than any memory can hold"),
    "gz cut": (GZ[:-300], "is a damaged or incomplete gzip file (Compressed file ended"),
    "gz checksum cut": (GZ[:-5], "is a damaged or incomplete gzip file"),
    "gz checksum": (GZ[:-8] + b"abcd" + GZ[-4:], "is a damaged or incomplete gzip file (CRC check failed"),
    "gz stream": (GZ[:10] + b"\xff" * 50 + GZ[60:], "is a damaged or incomplete gzip file (Error -3"),
    "gz method": (b"\x1f\x8b\x07" + GZ[3:], "is a damaged or incomplete gzip file (Unknown compression method"),
    "gz, then text": (GZ + b"text", "is a damaged or incomplete gzip file (Not a gzipped file"),
    "gz head only": (GZ[:2], "is a damaged or incomplete gzip file"),
}


@pytest.mark.parametrize("content, sentence", BAD_FILES.values(), ids=BAD_FILES)
def test_idx_refuses(tmp_path, content, sentence):
    file = tmp_path / "some-idx"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        data.read_idx(file)
    assert one_line(caught.value).startswith(str(file))


def test_idx_says_what_the_file_system_says(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected an IDX file"):
        data.read_idx(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError, match="is a folder; expected an IDX file"):
        data.read_idx(tmp_path)
    with pytest.raises(NotADirectoryError, match="cannot be read: Not a directory"):
        (tmp_path / "file").write_bytes(GOOD)
        data.read_idx(tmp_path / "file" / "inside")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "open", refuse)    # root may read everything: chmod would not refuse here
    with pytest.raises(PermissionError, match="file cannot be read: Permission denied"):
        data.read_idx(tmp_path / "file")
