"""Files are written whole or not at all: to a temporary name beside the target, which is then renamed."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_through(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write(file)`` fill a temporary file, and give it the name `path` once it is whole.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    path = Path(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)       # as any other new file: mkstemp's are private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_writable(path: str | Path, what: str) -> Path:
    """`path`, if a file can be written there; the question is asked before the work starts, not after.

    Raises
    ------
    OSError
        With one sentence that names the path.
    """
    path = Path(path)
    if path.is_dir():
        raise OSError(f"{what}: {path} is a folder, expected the name of a file")
    if not path.parent.is_dir():
        raise OSError(f"{what}: the folder {path.parent} does not exist")
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OSError(f"{what}: {path} cannot be written ({error.strerror})") from error
    os.close(descriptor)
    os.unlink(name)
    return path
