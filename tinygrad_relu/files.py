"""Files are written whole or not at all: to a temporary file in the target's folder, which then replaces the target.

If the process is killed or the power fails, the target is the old file or the new one, never a part of one.
"""
from __future__ import annotations

import glob
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:         # Windows has no such locks
    fcntl = None            # type: ignore[assignment]


def write_through(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write(file)`` fill a temporary file, and rename it to `path` once it is whole and on the disk.

    Links are followed, and the permissions of a replaced file are kept. Devices and pipes are written to, not replaced. Temporary
    files of killed processes are removed. An OSError names the path.
    """
    try:
        _write(path, write)
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error


def _write(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        content = io.BytesIO()          # complete before its first byte is written; and writers may seek in it
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
        os.fsync(file.fileno())         # the bytes before the name: a crash may come between the two
        if fcntl is None:
            file.close()                # Windows renames no open file; elsewhere the lock is held until the rename
        os.replace(file.name, target)
    with suppress(OSError):             # not every system can open a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(path: str | os.PathLike[str], what: str) -> Path:
    """`path`, if a file can be written there; otherwise an OSError that names it. To be called before long work starts."""
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
def reading(path: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """Reading a file inside gives OSErrors of the same type, with a sentence that names the file.

    >>> with reading("no/such/file", "an IDX file") as file:
    ...     file.read_bytes()
    Traceback (most recent call last):
    FileNotFoundError: no/such/file does not exist; expected an IDX file
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"got {path!r}, expected the path of {what}")
    file = Path(path)
    try:
        yield file
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file} does not exist; expected {what}") from error
    except IsADirectoryError as error:
        raise IsADirectoryError(f"{file} is a folder; expected {what}") from error
    except OSError as error:
        raise type(error)(f"{file} cannot be read: {error.strerror or error}") from error


def _mode(path: str | os.PathLike[str]) -> int | None:
    """Kind and permissions of a file, links followed; None if there is none."""
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
            with suppress(OSError):     # some file systems have no locks; there nothing is swept either
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
