"""Files: written whole or not at all, with errors in one sentence; and two formats for named arrays and one text.

The contents go to a temporary file in the target's folder, which then replaces the target. If the process is killed or the power
fails, the target is either the old file or the complete new one.

The formats are .npz, NumPy's own, without pickles, and .safetensors. Their files are not trusted: sizes are compared with the
bytes in the file before memory is allocated, nothing is executed, and every defect raises a ValueError that names it.
"""
from __future__ import annotations

import glob
import io
import json
import math
import os
import re
import secrets
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from .checks import Array, said
from .missing import needing
from .states import shown

try:
    import fcntl as fcntl
except ImportError:         # Windows has no such locks
    fcntl = None            # type: ignore[assignment]

AnyPath = str | os.PathLike[str]
Content = tuple[dict[str, Array], str | None]
NOTE = "tinygrad_relu"      # the name of the text in a file


def write_json(path: AnyPath, content: Any) -> None:
    """Write plain dicts, lists and numbers as JSON, whole or not at all. NaN and infinities are an error: JSON has none."""
    text = json.dumps(content, indent=1, allow_nan=False)
    write_through(path, lambda file: file.write(text.encode() + b"\n"))


def write_through(path: AnyPath, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write(file)`` fill a temporary file, and rename it to `path` once it is whole and on the disk.

    Links are followed, and the permissions of a replaced file are kept. Devices and pipes are written to, not replaced. Temporary
    files of killed processes are removed. An OSError names the path.
    """
    try:
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            content = io.BytesIO()          # in memory first: writers may seek, and a failing one must write nothing
            write(content)
            Path(path).write_bytes(content.getvalue())
            return
        target = Path(os.path.realpath(path))
        _sweep(target)
        with _part_of(target) as file:
            if mode is not None:
                os.chmod(file.name, stat.S_IMODE(mode))
            write(file)
            file.flush()
            os.fsync(file.fileno())         # the contents must be on the disk before the rename, in case of a crash
            if fcntl is None:
                file.close()                # Windows cannot rename an open file; elsewhere the lock is held until the rename
            os.replace(file.name, target)
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error
    with suppress(OSError):                 # not every system can open a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(path: AnyPath, what: str) -> Path:
    """`path`, if a file can be written there; otherwise an OSError that names it. To be called before long work starts."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{what}: the path is {path!r}, expected a string or a Path")
    if not os.fspath(path):
        raise OSError(f"{what}: the name is empty, expected the name of a file")
    path, target = Path(path), Path(os.path.realpath(path))
    if path.is_dir():
        raise OSError(f"{what}: {path} is a folder, expected the name of a file")
    if not path.exists() and not target.parent.is_dir():
        raise OSError(f"{what}: the folder {target.parent if path.is_symlink() else path.parent} does not exist")
    try:
        mode = _mode(path)
        if mode is None or stat.S_ISREG(mode):
            with _part_of(target):
                pass
        elif not os.access(path, os.W_OK):
            raise PermissionError(0, "no permission to write to it")
    except OSError as error:
        raise OSError(f"{what}: {path} cannot be written ({error.strerror})") from error
    return path


@contextmanager
def reading(path: AnyPath, what: str) -> Iterator[Path]:
    """Turn an OSError of the with block into one of the same type whose message names the file.

    >>> with reading("no/such/file", "an IDX file") as file:
    ...     file.read_bytes()
    Traceback (most recent call last):
    FileNotFoundError: no/such/file does not exist; expected an IDX file
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"got {said(path)}, expected the path of {what}")
    file = Path(path)
    try:
        yield file
    except OSError as error:
        known = {FileNotFoundError: "does not exist", IsADirectoryError: "is a folder"}.get(type(error))
        problem = f"{known}; expected {what}" if known else f"cannot be read: {error.strerror or error}"
        raise type(error)(f"{file} {problem}") from error


def _mode(path: AnyPath) -> int | None:
    """Kind and permissions of a file, links followed; None if there is no such file."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


@contextmanager
def _part_of(target: Path) -> Iterator[IO[bytes]]:
    """A new file beside the target, locked while it is open, and removed at the end unless it has been renamed."""
    while True:
        file = open(target.parent / f"{_prefix(target)}{secrets.token_hex(4)}.part", "xb")     # noqa: SIM115
        if fcntl is not None:
            with suppress(OSError):     # some file systems have no locks; on them `_sweep` removes nothing
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()                    # it was swept just before it was locked: try another one
    try:
        with file:
            yield file
    finally:
        Path(file.name).unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove the temporary files of killed processes beside the target: those that are not locked."""
    if fcntl is not None:
        for part in target.parent.glob(f"{glob.escape(_prefix(target))}{'[0-9a-f]' * 8}.part"):
            with suppress(OSError), part.open("rb") as file:        # in use, already gone, or without permission
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()


def _prefix(target: Path) -> str:
    return f".{target.name[:50]}."


# -- .npz: a zip archive with one .npy file for each array -------------------------------------------------------------------

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write_npz(file: IO[bytes], arrays: Mapping[str, Array], text: str | None) -> None:
    """Like ``np.savez``, but for any name; the same arrays give the same bytes, as no time is stored."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        if text is not None:
            archive.writestr(zipfile.ZipInfo(f"{NOTE}.json"), text)


def read_npz(file: IO[bytes]) -> Content:
    """Compressed files are refused: their arrays could be larger than any memory."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            size = file.seek(0, 2)
            if sum(member.file_size for member in members) > size or any(m.file_size != m.compress_size for m in members):
                raise ValueError("it is compressed, expected a file as np.savez writes it")
            contents = {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(str(error) or "it is truncated") from error
    note = contents.pop(f"{NOTE}.json", None)
    if len(contents) + (note is not None) != len(members) or not all(name.endswith(".npy") for name in contents):
        raise ValueError("expected one .npy file inside for each array")
    arrays = {name[:-4]: _npy(content, shown(name[:-4])) for name, content in contents.items()}
    return arrays, None if note is None else note.decode()


def _npy(content: bytes, name: str) -> Array:
    """The array in a .npy file. NumPy reads the header, a Python literal; the size is checked here."""
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")          # NumPy warns about headers that Python 2 wrote
            shape, transposed, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    except Exception as error:                      # damaged literals raise errors of many types
        raise ValueError(f"{name} is not a .npy file of version 1 or 2") from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"{name} holds {dtype} entries, expected real numbers of at most 64 bits")
    return _array(memoryview(content)[file.tell():], dtype, shape, name, order="F" if transposed else "C")


# -- .safetensors: a header of JSON, and the numbers --------------------------------------------------------------------------

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1", "I64": "<i8", "I32": "<i4", "I16": "<i2",
         "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1"}


def write_safetensors(file: IO[bytes], arrays: Mapping[str, Array], text: str | None) -> None:
    if "__metadata__" in arrays:
        raise ValueError("save: an array is called __metadata__, which .safetensors reserves; expected another name")
    file.write(_package().numpy.save(dict(arrays), None if text is None else {NOTE: text}))


def read_safetensors(file: IO[bytes]) -> Content:
    package = _package()
    content = file.read()
    try:
        tensors = sorted(package.deserialize(content), key=_place)     # they come in another order each time
        header = json.loads(content[8:8 + int.from_bytes(content[:8], "little")])      # checked by the package
    except (package.SafetensorError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return ({name: _tensor(shown(name), **tensor) for name, tensor in tensors}, (header.get("__metadata__") or {}).get(NOTE))


def _place(tensor: tuple[str, Any]) -> tuple[Any, ...]:
    """For sorting as in a state dict: layer 2 before layer 10, its weight before its bias."""
    layer, name = ([int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]
                   for text in tensor[0].rpartition(".")[::2])
    return layer, {"weight": 0, "bias": 1}.get(str(name[0]), 2), name


def _tensor(name: str, dtype: str, shape: list[int], data: Any) -> Array:
    if dtype not in TYPES:
        raise ValueError(f"{name} holds {dtype} numbers, expected one of {', '.join(TYPES)}")
    array = _array(data, TYPES[dtype], tuple(shape), name)
    if dtype == "BF16":             # the upper half of a float32
        array = (array.astype("u4") << 16).view("f4")
    return array


def _package() -> Any:
    with needing("files that end in .safetensors need", "files"):
        import safetensors.numpy
    return safetensors


def _array(content: Any, dtype: Any, shape: tuple[int, ...], name: str, order: Any = "C") -> Array:
    """The array in these bytes: in the machine's byte order, C-contiguous, writable."""
    kind = np.dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(content):
        raise ValueError(f"{name} is of shape {shown(shape)} and type {kind.name}, but has {len(content)} bytes")
    try:
        array: Array = np.ndarray(shape, kind, buffer=content, order=order)
    except (ValueError, OverflowError) as error:        # 65 dimensions; (0, 2**70)
        raise ValueError(f"{name} is of shape {shown(shape)}, which no array can have") from error
    if kind.kind == "b":                                # any byte but 0 is True
        array = array.view("u1") != 0
    return np.require(array, kind.newbyteorder("="), ["C", "A", "W"])


Write = Callable[[IO[bytes], Mapping[str, Array], str | None], None]
FORMATS: dict[str, tuple[Write, Callable[[IO[bytes]], Content]]] = {
    ".npz": (write_npz, read_npz), ".safetensors": (write_safetensors, read_safetensors)}
