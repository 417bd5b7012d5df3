"""One NetCDF file a result, written whole or not at all, and read back only if nothing in it has changed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import xarray as xr

from .. import files
from ..checks import ArgumentError
from ..memory import require_memory
from . import legal
from .registry import SCHEMA

_SEAL = b"widelimit-sha256"
"""What stands behind the NetCDF file proper, with the digest of all before it; readers of NetCDF do not see it."""

_PIECE = 1 << 22  # bytes that are read at once


def save(result: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a result to one NetCDF file, whole or not at all: what was at `path` stays until the new file is complete.

    The file is made in memory first, so that a disk that is full ends neither the process nor the result. A digest
    behind its end lets [`load`] see any change.

    **Raises:** `FileExistsError` if the file exists and `overwrite` is false; `FileNotFoundError` if its folder does
    not; `ArgumentError` if what is there is no regular file, or if the result holds what no NetCDF file can; `OSError`
    if it cannot be written.
    """
    if not isinstance(result, xr.Dataset):
        raise ArgumentError(f"result must be an xarray.Dataset, as train returns it; got {type(result).__name__}.")
    files.destination(path, overwrite)
    # Encodings are those of the file that a result was loaded from, and need not suit what became of it.
    plain = result.drop_encoding()
    checked = [name for name, values in plain.variables.items() if values.ndim and values.size]
    checked = {name: {"fletcher32": True} for name in checked if plain[name].dtype.kind in "iuf"}
    try:
        with _in_this_process():
            content = bytes(plain.to_netcdf(engine="h5netcdf", encoding=checked))
    except Exception as error:  # h5netcdf and xarray have errors of their own
        raise ArgumentError(f"result holds what no NetCDF file can: {error}.") from error
    return files.write(path, content + _SEAL + hashlib.sha256(content).digest(), overwrite=overwrite)


def _in_this_process() -> contextlib.AbstractContextManager[Any]:
    """A context in which arrays of dask are computed here: xarray does not write to memory through a cluster."""
    dask = sys.modules.get("dask")
    return contextlib.nullcontext() if dask is None else dask.config.set(scheduler="threads")


def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a result written by [`save`].

    **Raises:** `FileNotFoundError`; `ArgumentError` if the file is damaged, not a result of this library, of a newer
    release, larger than the memory, or if it refers to other files, of which none is read.
    """
    dataset = read(path)
    schema = dataset.attrs.get("schema")
    if "recording_schema" in dataset.attrs:
        raise ArgumentError(f"{path} is a recording, and no run: widelimit infer and Recording.load read it.")
    if schema is None:
        raise ArgumentError(
            f"{path} is a NetCDF file, but not a run that widelimit wrote: it has no schema attribute. Label arrays of "
            "your own by widelimit.result before you save them."
        )
    try:
        schema = int(schema)
        legal.check(dataset)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{path} is damaged, or was not written by widelimit. {error}") from None
    if schema > SCHEMA:
        raise ArgumentError(f"{path} has schema {schema}, newer than {SCHEMA}; update widelimit.")
    return dataset


def read(path: str | os.PathLike[str]) -> xr.Dataset:
    """The dataset in a NetCDF file, whole in memory. **Raises:** as [`load`], whatever it holds."""
    content = files.read(path)
    end = len(content) - len(_SEAL) - hashlib.sha256().digest_size
    if end > 0 and content[end:].startswith(_SEAL):
        if hashlib.sha256(content[:end]).digest() != content[end + len(_SEAL) :]:
            raise _damaged(path)
        content = content[:end]
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _check(path, file)
        return xr.load_dataset(io.BytesIO(content), engine="h5netcdf", phony_dims="sort")
    except ArgumentError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None


def attribute(path: str | os.PathLike[str], name: str) -> str | None:
    """An attribute of text of a file that [`save`] has written; None where it has none.

    The digest of the whole file is checked, in pieces, so that it may be larger than the memory.

    **Raises:** as [`load`], also if the file has no digest.
    """
    _check_seal(files.existing(path))
    try:
        with h5py.File(path, "r") as file:
            _array_bytes(path, file)
            value = file.attrs.get(name)
    except ArgumentError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None
    return value if isinstance(value, str) else None


def _check_seal(path: Path) -> None:
    """Raise unless a file ends in the digest of what is before."""
    length = len(_SEAL) + hashlib.sha256().digest_size
    left = path.stat().st_size - length
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0:
            piece = file.read(min(left, _PIECE))
            if not piece:
                break
            digest.update(piece)
            left -= len(piece)
        if left or file.read() != _SEAL + digest.digest():
            raise _damaged(path)


def _damaged(path: str | os.PathLike[str]) -> ArgumentError:
    return ArgumentError(f"{path} is damaged: it is not what was written. Restore it from a copy, or run again.")


def _unreadable(path: str | os.PathLike[str], error: Exception) -> ArgumentError:
    """For whatever three libraries raise: what is damaged fails anywhere in them."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ArgumentError(f"{path} is not a readable NetCDF file ({reason}).")


def _check(path: str | os.PathLike[str], file: h5py.File) -> None:
    """Refuse what refers to other files, and what is larger than the memory."""
    size = _array_bytes(path, file)
    require_memory(
        2 * size, parts={"its arrays": size, "a copy": size}, remedy="Load it elsewhere.", what=f"{path} takes"
    )


def _array_bytes(path: str | os.PathLike[str], file: h5py.File) -> int:
    """The bytes of all arrays. **Raises:** `ArgumentError` for what refers to other files."""
    size = 0
    for name, link, item in _links(file):
        if not isinstance(link, h5py.HardLink):
            raise ArgumentError(f"{path} is refused: {name} in it is a link to something else.")
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ArgumentError(f"{path} is refused: {name} in it is stored in another file.")
            size += item.size * item.dtype.itemsize
    return size


def _links(group: h5py.Group, above: str = "", depth: int = 0) -> Iterator[tuple[str, object, object]]:
    """The names, links and objects of all that a group holds, down to a depth that no result has.

    The object of a link to something else is None: to look it up would be to follow the link.
    """
    for name in group:
        link = group.get(name, getlink=True)
        item = group[name] if isinstance(link, h5py.HardLink) else None
        yield f"{above}/{name}", link, item
        if isinstance(item, h5py.Group) and depth < 8:
            yield from _links(item, f"{above}/{name}", depth + 1)
