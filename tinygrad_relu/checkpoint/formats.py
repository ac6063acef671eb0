"""Two file formats for arrays by name and one text: .npz, NumPy's own, without pickles, and .safetensors.

A file is a claim by a stranger. Its sizes are compared with the bytes that are there before any memory is taken, nothing in it
is run, and whatever is wrong with it is a ValueError with a reason.
"""
from __future__ import annotations

import json
import math
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from ..autodiff.node import Array
from ..states import shown

Content = tuple[dict[str, Array], str | None]
NOTE = "tinygrad_relu"      # what the text is called in a file


class Format(NamedTuple):
    """How a kind of file is written and read."""

    write: Callable[[IO[bytes], Mapping[str, Array], str | None], None]
    read: Callable[[IO[bytes]], Content]


# -- .npz: a zip archive with one .npy file for each array -------------------------------------------------------------------

NUMBERS = "[<>|=](?:b1|[iu][1248]|f[248])"
HEADER = re.compile(rf"{{ *'descr': *'({NUMBERS})', *'fortran_order': *(True|False), *'shape': *\(([\d, ]*)\),? *}}")
MAGIC = b"\x93NUMPY"


def write_npz(file: IO[bytes], arrays: Mapping[str, Array], text: str | None) -> None:
    """As ``np.savez`` does, but for any name; the same arrays give the same bytes, as no time is noted."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        if text is not None:
            archive.writestr(zipfile.ZipInfo(f"{NOTE}.json"), text)


def read_npz(file: IO[bytes]) -> Content:
    """Arrays that are stored as they are: what is compressed could be larger than any memory."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            size = file.seek(0, 2)
            if sum(member.file_size for member in members) > size or any(m.file_size != m.compress_size for m in members):
                raise ValueError("it is compressed, expected what np.savez writes")
            contents = {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(str(error) or "it breaks off") from error
    note = contents.pop(f"{NOTE}.json", None)
    if len(contents) + (note is not None) != len(members) or not all(name.endswith(".npy") for name in contents):
        raise ValueError("expected one .npy file inside for each array")
    arrays = {name[:-4]: _npy(content, shown(name[:-4])) for name, content in contents.items()}
    return arrays, None if note is None else note.decode()


def _npy(content: bytes, name: str) -> Array:
    """The array in a .npy file: magic, version, length of the header, header, numbers."""
    width, code = {b"\1\0": (2, "<H"), b"\2\0": (4, "<I")}.get(content[6:8], (0, ""))
    start = 8 + width
    if content[:6] != MAGIC or not width or len(content) < start:
        raise ValueError(f"{name} is no .npy file of version 1 or 2")
    stop = start + struct.unpack(code, content[8:start])[0]
    header = content[start:stop].decode("latin1").strip()
    found = HEADER.fullmatch(header)
    if found is None:
        raise ValueError(f"{name} is described by {shown(header)}, expected an array of real numbers")
    shape = tuple(int(size) for size in found[3].split(",") if size.strip())
    return _array(memoryview(content)[stop:], found[1], shape, name, order="F" if found[2] == "True" else "C")


# -- .safetensors: a header of JSON, and the numbers --------------------------------------------------------------------------

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1", "I64": "<i8", "I32": "<i4", "I16": "<i2",
         "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1"}


def write_safetensors(file: IO[bytes], arrays: Mapping[str, Array], text: str | None) -> None:
    if "__metadata__" in arrays:
        raise ValueError("save: an array is called __metadata__, which .safetensors keeps to itself; expected another name")
    file.write(_package().numpy.save(dict(arrays), None if text is None else {NOTE: text}))


def read_safetensors(file: IO[bytes]) -> Content:
    package = _package()
    content = file.read()
    try:
        tensors = package.deserialize(content)
        header = json.loads(content[8:8 + int.from_bytes(content[:8], "little")])      # which the package has found sound
    except (package.SafetensorError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return ({name: _tensor(shown(name), **tensor) for name, tensor in tensors}, (header.get("__metadata__") or {}).get(NOTE))


def _tensor(name: str, dtype: str, shape: list[int], data: Any) -> Array:
    if dtype not in TYPES:
        raise ValueError(f"{name} holds {dtype} numbers, expected one of {', '.join(TYPES)}")
    array = _array(data, TYPES[dtype], tuple(shape), name)
    if dtype == "BF16":             # the upper half of a float32
        array = (array.astype("u4") << 16).view("f4")
    return array


def _package() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("files that end in .safetensors need the package safetensors, which is not installed: "
                          'python -m pip install "tinygrad_relu[files]"') from error
    return safetensors


def _array(content: Any, dtype: str, shape: tuple[int, ...], name: str, order: Any = "C") -> Array:
    """The array in the bytes: in the machine's order of bytes, C-contiguous, writable."""
    kind = np.dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(content):
        raise ValueError(f"{name} is of shape {shown(shape)} and type {kind.name}, but {len(content)} bytes are there for it")
    try:
        array: Array = np.ndarray(shape, kind, buffer=content, order=order)
    except (ValueError, OverflowError) as error:        # 65 dimensions; (0, 2**70)
        raise ValueError(f"{name} is of shape {shown(shape)}, which no array can have") from error
    if kind.kind == "b":                                # any byte but 0 is True
        array = array.view("u1") != 0
    return np.require(array, kind.newbyteorder("="), ["C", "A", "W"])


FORMATS = {".npz": Format(write_npz, read_npz), ".safetensors": Format(write_safetensors, read_safetensors)}
