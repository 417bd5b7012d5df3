"""The results that figures are made of: computed once, kept as NetCDF, read back where nothing has changed."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import xarray as xr

from .. import results
from ..checks import ArgumentError
from .base import PaperFigure, Results

_KEY = "figure_parameters"


def computed(
    figure: PaperFigure,
    folder: Path,
    *,
    quick: bool = False,
    recompute: bool = False,
    announce: Callable[[list[str]], Iterable[str]] = iter,
) -> tuple[Results, float]:
    """The results of a figure, from `folder` where it holds them for the same parameters, computed where not.

    Each is written as soon as it is there, so that what an interruption leaves serves the next call.

    **Arguments:** `figure`; `folder`, which is made if need be; `quick`: the small version; `recompute`: nothing is
    read back; `announce` is given the names of what has to be computed and yields each before its turn, and may show
    progress.

    **Returns:** the results by name, and the seconds that their computation took, whenever that was.

    **Raises:** `ArgumentError` if the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ArgumentError(f"{folder} cannot be made a folder, because a file is in its place.") from None
    key = _key(figure, quick)
    runs = figure.runs(figure.at(quick))
    found = {} if recompute else {name: _kept(folder / f"{name}.nc", key) for name in runs}
    for name in announce([name for name in runs if found.get(name) is None]):
        began = time.perf_counter()
        result = runs[name]()
        result = result.assign_attrs({_KEY: key, "seconds": time.perf_counter() - began})
        results.save(result, folder / f"{name}.nc", overwrite=True)
        found[name] = result
    ordered = {name: result for name in runs if (result := found[name]) is not None}
    return ordered, sum(float(result.attrs["seconds"]) for result in ordered.values())


def _key(figure: PaperFigure, quick: bool) -> str:
    """What a kept result has to have been computed with."""
    values = {name: told["value"] for name, told in figure.described(quick).items()}
    return json.dumps({"parameters": values, "widelimit": importlib.metadata.version("widelimit")})


def _kept(path: Path, key: str) -> xr.Dataset | None:
    if not path.is_file():
        return None
    try:
        result = xr.load_dataset(path, engine="h5netcdf", phony_dims="sort")
    except (OSError, ValueError):  # not a whole file: compute it again
        return None
    return result if result.attrs.get(_KEY) == key else None
