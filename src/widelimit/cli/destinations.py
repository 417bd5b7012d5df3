"""Where results go: checked before the work, and never lost after it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..checks import ArgumentError
from ..interrupts import kept, saving
from .messages import RESCUED, say

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Output:
    """The file that a run is saved in."""

    out: Path = Path("run.nc")
    """The NetCDF file to write."""
    overwrite: bool = False
    """Replace the file if it exists."""


def check(path: Path, overwrite: bool, *, inputs: Sequence[Path | None] = ()) -> None:
    """Raise unless a file can be written at `path`; called before hours of work, not after.

    **Arguments:** `inputs`, files that the command reads, and that nothing may be written over.

    **Raises:** as [`files.destination`]; `ArgumentError` if it is one of the inputs.
    """
    place = files.destination(path, overwrite=True)
    if place in [each.resolve() for each in inputs if each is not None]:
        raise ArgumentError(f"{path} is what this command reads; name another file.")
    files.destination(path, overwrite)


def folder(path: Path) -> None:
    """Make a folder unless it is there; what it lies in has to exist.

    **Raises:** `FileNotFoundError` if it cannot be made for want of the folder above; `ArgumentError` if a file is in
    its place.
    """
    if not path.exists():
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"The folder {path.absolute().parent} does not exist; create it first.")
        path.mkdir()
    if not path.is_dir():
        raise ArgumentError(f"{path} is a file; name a folder.")


def keep(result: xr.Dataset, path: Path, overwrite: bool) -> tuple[Path, int]:
    """Save a result at `path`, or where that fails in the system's temporary folder, and say where it went.

    **Returns:** where it went, and the exit code: 0, or `RESCUED` if that is another place.

    **Raises:** `ArgumentError` if it can be written in neither place.
    """
    from .. import results  # with xarray, which nobody has to wait for who is refused

    return _kept(path, lambda place: results.save(result, place, overwrite=overwrite))


def put(content: bytes, path: Path, overwrite: bool) -> tuple[Path, int]:
    """Write a picture, a page or numbers in the way of [`keep`]."""
    return _kept(path, lambda place: files.write(place, content, overwrite=overwrite))


def _kept(path: Path, write: Callable[[Path], Path]) -> tuple[Path, int]:
    with saving():
        try:
            place, code = write(path), 0
        except (OSError, ArgumentError) as error:
            say(f"{path} could not be written ({_reason(error)}).")
            place, code = _rescued(path, write), RESCUED
        kept(f"{path} is written." if code == 0 else f"what {path} was to hold is in {place}.")
    return place, code


def _rescued(path: Path, write: Callable[[Path], Path]) -> Path:
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="widelimit-"))
        place = write(folder / path.name)
    except (OSError, ArgumentError) as error:
        if folder is not None:
            folder.rmdir()
        raise ArgumentError(
            f"Nor could it be written to the temporary folder ({_reason(error)}), so it is lost: make room, or set "
            "TMPDIR to a folder that has some, and run again."
        ) from error
    say(f"It is in {place} instead.")
    return place


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).rstrip(".")
