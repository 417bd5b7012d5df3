"""Where results go: checked before the work, and never lost after it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import ArgumentError
from .messages import say

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Output:
    """The file that a run is saved in."""

    out: Path = Path("run.nc")
    """The NetCDF file to write."""
    overwrite: bool = False
    """Replace the file if it exists."""


def check(path: Path, overwrite: bool) -> None:
    """Raise unless a file can be written at `path`; called before hours of work, not after.

    **Raises:** `FileNotFoundError` if the folder is missing; `FileExistsError` if the file is there and may not be
    overwritten; `ArgumentError` if the folder cannot be written to.
    """
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder {folder} does not exist; create it first.")
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder; name a file in it.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or pass --overwrite.")
    if not os.access(folder, os.W_OK):
        raise ArgumentError(f"The folder {folder} cannot be written to; choose another.")


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


def keep(result: xr.Dataset, path: Path, overwrite: bool) -> Path:
    """Save a result at `path`, or where that fails in the system's temporary folder, and say where it went.

    **Raises:** `OSError` if it can be written in neither place.
    """
    from .. import results  # with xarray, which nobody has to wait for who is refused

    try:
        return results.save(result, path, overwrite=overwrite)
    except OSError as error:
        folder = Path(tempfile.mkdtemp(prefix="widelimit-"))
        rescued = results.save(result, folder / path.name)
        say(f"{path} could not be written ({error.strerror or error}); the result is in {rescued} instead.")
        return rescued
