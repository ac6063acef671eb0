"""The IDX format, in which MNIST and its relatives are published: a header of a few bytes, then the numbers.

    byte 0, 1    zero
    byte 2       code of the number type, see CODES
    byte 3       number of dimensions
    4 bytes each the dimensions, unsigned, most significant byte first
    the rest     the numbers, last dimension fastest, most significant byte first

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "The IDX file format".

Files are not trusted: a header may promise terabytes, so memory grows piece by piece with the bytes that arrive.
"""
from __future__ import annotations

import gzip
import math
import os
import sys
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np

from ..checks import Array
from ..files import reading

CODES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 32    # as many as every NumPy has
PIECE = 1 << 20         # bytes read at a time


class Readable(Protocol):
    """A file, or the contents of a gzip file."""

    def read(self, size: int, /) -> bytes: ...


def read_idx(path: str | os.PathLike[str]) -> Array:
    """The array in an IDX file, plain or compressed with gzip (whatever its name), in the machine's byte order.

    A file that is damaged, breaks off, or goes on after its last number is a ValueError.

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
            return _parse(stream, file)
        try:
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return _parse(unpacked, file)
        # BadGzipFile is an OSError, but it is about the content.
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{file} is a damaged or incomplete gzip file ({error}); expected a whole one") from error


def _parse(stream: Readable, file: Path) -> Array:
    """Header, then exactly the numbers that it promises, then the end."""
    head = _take(stream, 4)
    if head[:2] != b"\0\0"[:len(head)]:
        raise ValueError(f"{file} is not an IDX file: it begins with {bytes(head)!r}, expected two zero bytes")
    if len(head) < 4:
        raise ValueError(f"{file} breaks off after {len(head)} bytes, inside the IDX header of 4 bytes and more")
    code, dimensions = head[2], head[3]
    if code not in CODES:
        known = ", ".join(f"0x{known:02x}" for known in CODES)
        raise ValueError(f"{file} has the unknown number type 0x{code:02x} in its IDX header, expected one of {known}")
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise ValueError(f"{file} claims {dimensions} dimensions in its IDX header, expected 1 to {MOST_DIMENSIONS}")
    sizes = _take(stream, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(f"{file} breaks off inside its IDX header: {len(sizes)} of the {4 * dimensions} bytes for "
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
        raise ValueError(f"{file} breaks off: {promise}, {expected} bytes, but only {len(data)} follow")
    if stream.read(1):    # also what makes gzip compare its checksum
        raise ValueError(f"{file} goes on after its end: {promise}, {expected} bytes, but more follow")
    array: Array = np.ndarray(shape, dtype, buffer=data)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _take(stream: Readable, count: int) -> bytearray:
    """Up to `count` bytes, or fewer if the stream ends; takes at most twice the memory of what it holds."""
    taken = bytearray()
    while len(taken) < count and (piece := stream.read(min(PIECE, count - len(taken)))):
        taken += piece
    return taken
