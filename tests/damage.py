"""Files as they should be, written the slow way, and what can happen to them."""
from __future__ import annotations

import struct

TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}    # the IDX format, written down again


def idx_bytes(array, shape=None) -> bytes:
    """An IDX file, written with struct: the twin that the reader is held against."""
    shape = array.shape if shape is None else shape
    code, letter = TYPES[array.dtype.str[1:]], array.dtype.char
    return (bytes([0, 0, code, len(shape)]) + b"".join(struct.pack(">I", side) for side in shape)
            + b"".join(struct.pack(">" + letter, value) for value in array.ravel().tolist()))


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text and "\n" not in text and len(text) < 600, repr(text)
    return text
