"""Results that take long: computed once, kept as NetCDF, read back where nothing has changed."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from ..checks import ArgumentError
from ..results import describe, save, versions
from ..results.netcdf import read
from .base import PaperFigure, Results

_KEY = "computed_with"
_in_place = functools.partial(save, overwrite=True)


def computed(
    figure: PaperFigure,
    folder: Path,
    *,
    quick: bool = False,
    recompute: bool = False,
    announce: Callable[[list[str]], Iterable[str]] = iter,
    keep: Callable[[xr.Dataset, Path], object] = _in_place,
) -> tuple[Results, float]:
    """The results of a figure, from `folder` where it holds them for the same parameters, computed where not.

    Each is written as soon as it is there, so that what an interruption leaves serves the next call.

    **Arguments:** `figure`; `folder`, which is made if need be; `quick`: the small version; `recompute`: nothing is
    read back; `announce` gets the names of what has to be computed and yields each before its turn, and may show
    progress; `keep` writes a result to a path, and may write it elsewhere where that fails.

    **Returns:** the results by name, and the seconds that their computation took, whenever that was.

    **Raises:** `ArgumentError` if the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ArgumentError(f"{folder} cannot be made a folder, because a file is in its place.") from None
    parameters = {name: parameter["value"] for name, parameter in figure.described(quick).items()}
    runs = figure.runs(figure.at(quick))
    files = {name: folder / f"{name}.nc" for name in runs}
    results = {} if recompute else {name: _kept(path, parameters) for name, path in files.items()}
    for name in announce([name for name in runs if results.get(name) is None]):
        results[name] = _kept_anew(files[name], parameters, runs[name], keep)
    ordered = {name: result for name in runs if (result := results[name]) is not None}
    return ordered, sum(float(result.attrs["seconds"]) for result in ordered.values())


def _kept(path: Path, parameters: Mapping[str, Any]) -> xr.Dataset | None:
    if not path.is_file():
        return None
    try:
        result = read(path)
    except ArgumentError:  # damaged
        return None
    return result if result.attrs.get(_KEY) == _key(parameters) else None


def _kept_anew(
    path: Path,
    parameters: Mapping[str, Any],
    compute: Callable[[], xr.Dataset],
    keep: Callable[[xr.Dataset, Path], object],
) -> xr.Dataset:
    began = time.perf_counter()
    result = compute()
    result = result.assign_attrs({_KEY: _key(parameters), "seconds": time.perf_counter() - began})
    keep(result, path)
    return result


def _key(parameters: Mapping[str, Any]) -> str:
    return json.dumps({"parameters": describe(parameters), "versions": versions()}, sort_keys=True)
