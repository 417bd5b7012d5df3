"""One NetCDF file a result, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import xarray as xr

from ..checks import ArgumentError
from .registry import SCHEMA


def save(result: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a result to one NetCDF file, whole or not at all: what was at `path` stays until the new file is complete.

    **Raises:** `FileExistsError` if the file exists and `overwrite` is false; `OSError` if it cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or pass overwrite=True (--overwrite).")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist; create it first.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        result.to_netcdf(name, engine="h5netcdf")
        mode = 0o666 & ~_umask()
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a result written by [`save`].

    **Raises:** `FileNotFoundError`; `ArgumentError` if the file is not a result of this library.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf", phony_dims="sort")
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path} is not a readable NetCDF file ({error}).") from None
    if "schema" not in dataset.attrs:
        raise ArgumentError(
            f"{path} is a NetCDF file, but not a run that widelimit wrote: it has no schema attribute. Label arrays of "
            "your own by widelimit.result before you save them."
        )
    if dataset.attrs["schema"] > SCHEMA:
        raise ArgumentError(f"{path} has schema {dataset.attrs['schema']}, newer than {SCHEMA}; update widelimit.")
    return dataset


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
