"""Files are written whole or not at all: to a temporary name beside the target, which is then renamed.

Whatever happens to the process, or to the machine, the name stands for the old file or for the new one, never for a torn one.
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
except ImportError:         # Windows knows no such locks
    fcntl = None            # type: ignore[assignment]


def write_through(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write(file)`` fill a temporary file, and give it the name `path` once it is whole and on the disk.

    A link is followed: what it points to is replaced, with the permissions that it had. What is no regular file (a device, a
    pipe) is written to, not replaced. What killed processes have left behind is removed.

    Raises
    ------
    OSError
        If it cannot be written, with one sentence that names the path.
    """
    try:
        _write(path, write)
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error


def _write(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        content = io.BytesIO()          # whole before its first byte goes out; and a writer may want to go back in it
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
        os.fsync(file.fileno())         # first the bytes, then the name: a crash may come between the two
        if fcntl is None:
            file.close()                # Windows renames no open file; elsewhere the lock is held until it has its name
        os.replace(file.name, target)
    with suppress(OSError):             # a folder cannot be opened everywhere
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(path: str | os.PathLike[str], what: str) -> Path:
    """`path`, if a file can be written there; the question is asked before the work starts, not after.

    Raises
    ------
    OSError
        With one sentence that names the path.
    """
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
    """Around the reading of a file: what the file system refuses becomes one sentence, of the kind of OSError that it was.

    >>> with reading("no/such/file", "an IDX file") as file:
    ...     file.read_bytes()
    Traceback (most recent call last):
    FileNotFoundError: no/such/file does not exist; expected an IDX file
    """
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
    """Kind and permissions of what is there, at the end of all links."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


@contextmanager
def _part_of(target: Path) -> Iterator[IO[bytes]]:
    """A new file beside the target, locked while it is open; at the end it is gone, unless it has been renamed."""
    while True:
        file = open(target.parent / f"{_prefix(target)}{secrets.token_hex(4)}.part", "xb")     # noqa: SIM115
        if fcntl is not None:
            with suppress(OSError):     # some file systems have no locks; then nothing is swept there either
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()                    # it was swept in the moment before it was locked: another one
    try:
        with file:
            yield file
    finally:
        Path(file.name).unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove what killed processes have left beside the target: temporary files that nobody holds locked."""
    if fcntl is not None:
        for part in target.parent.glob(f"{glob.escape(_prefix(target))}{'[0-9a-f]' * 8}.part"):
            with suppress(OSError), part.open("rb") as file:        # in use, gone meanwhile, or not ours to remove
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()


def _prefix(target: Path) -> str:
    return f".{target.name[:50]}."
