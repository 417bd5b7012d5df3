"""Files written whole or not at all: what was at a place stays until what replaces it is complete."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import tempfile
import time
from pathlib import Path

from .checks import ArgumentError
from .interrupts import saving

_SUFFIX = ".part"
_ABANDONED = 3600  # seconds after which nothing writes any more to a file that is to take another's place


def destination(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Where a file that is written at `path` goes: there, or where a symbolic link that is there points to.

    **Raises:** `FileNotFoundError` if the folder is missing; `FileExistsError` if a file is there and may not be
    overwritten; `ArgumentError` if what is there is no regular file, or the folder cannot be written to.
    """
    _check_name(path)
    try:
        place = Path(path).resolve()
        mode = place.stat().st_mode if place.exists() else None
        known = place.parent.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name too long, or with a NUL
        raise ArgumentError(f"{str(path)!r} cannot be the name of a file ({error}).") from None
    if not known:
        raise FileNotFoundError(f"The folder {place.parent} does not exist; create it first.")
    if mode is not None and stat.S_ISDIR(mode):
        raise ArgumentError(f"{path} is a folder; name a file in it.")
    if mode is not None and not stat.S_ISREG(mode):
        raise ArgumentError(f"{path} is a device, a pipe or a socket, which are never written over; name a file.")
    if mode is not None and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or pass overwrite=True (--overwrite).")
    if not os.access(place.parent, os.W_OK):
        raise ArgumentError(f"The folder {place.parent} cannot be written to; choose another.")
    return place


def write(path: str | os.PathLike[str], content: bytes | memoryview, *, overwrite: bool = False) -> Path:
    """Write a file whole or not at all.

    The bytes go to a file beside it, which takes its place at once when it is complete, whatever ends the process, and
    however full the disk is. Of several that write one file without `overwrite`, one does, and the others are refused.
    What a process left that was killed while it wrote to the same place, more than an hour ago, is removed.

    **Raises:** as [`destination`]; `OSError` if the bytes cannot be written.
    """
    place = destination(path, overwrite)
    with saving():
        _clear(place)
        _write(path, place, content, overwrite)
    return Path(path)


def _write(path: str | os.PathLike[str], place: Path, content: bytes | memoryview, overwrite: bool) -> None:
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=_prefix(place), suffix=_SUFFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o666 & ~_umask())
        if overwrite:
            os.replace(name, place)
        else:
            _place(name, place, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # as of a disk that is full
            error.filename = os.fspath(path)
        raise
    finally:
        Path(name).unlink(missing_ok=True)


def _prefix(place: Path) -> str:
    return f".{place.name[:50]}."


def _clear(place: Path) -> None:
    """Remove what writers that were killed have left beside a file."""
    with contextlib.suppress(OSError):
        for part in place.parent.glob(f"{glob.escape(_prefix(place))}????????{_SUFFIX}"):
            if time.time() - part.lstat().st_mtime > _ABANDONED:
                part.unlink(missing_ok=True)


def _place(name: str, place: Path, path: str | os.PathLike[str]) -> None:
    """Give a file its name unless there is one of that name by now."""
    try:
        os.link(name, place)
    except FileExistsError:
        raise FileExistsError(f"{path} was written by something else in the meantime; choose another name.") from None
    except OSError:  # there are file systems without links
        os.replace(name, place)


def existing(path: str | os.PathLike[str]) -> Path:
    """The path of a file. **Raises:** `FileNotFoundError`; `ArgumentError` for a folder, a device or a pipe."""
    _check_name(path)
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # a name that no file can have is that of none
        raise FileNotFoundError(f"There is no file {path}.") from None
    if not stat.S_ISREG(mode):
        raise ArgumentError(f"{path} is a folder, a device or a pipe; name a file.")
    return Path(path)


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file. **Raises:** as [`existing`]; `OSError` if it cannot be read."""
    return existing(path).read_bytes()


def _check_name(path: object) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f"A file must be named by a string or a path; got {type(path).__name__}.")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
