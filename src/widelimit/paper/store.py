"""Runs of figures, computed as the points of a sweep: kept in files, read back where nothing has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from ..checks import ArgumentError
from ..ensembles import cluster, points
from ..ensembles.sweep import completed
from ..results.netcdf import read
from .base import PaperFigure, Results

IN_THIS_PROCESS = cluster.Means(workers=0)
Runs = Callable[[Any], Mapping[str, Callable[[], xr.Dataset]]]


def computed(
    figure: PaperFigure,
    folder: Path,
    *,
    quick: bool = False,
    recompute: bool = False,
    means: cluster.Means = IN_THIS_PROCESS,
    progress: bool | None = None,
) -> tuple[Results, float]:
    """The results of a figure, from `folder` where it holds them for the same parameters, computed where not.

    Each is written as soon as it is there, so that what an interruption leaves serves the next call.

    **Arguments:** `figure`; `folder`, which is made if need be; `quick`: the small version; `recompute`: nothing is
    read back; `means`: the processes that compute, this one by default; `progress`: show a progress bar, by default on
    a terminal only.

    **Returns:** the results by name, and the seconds that all runs took together, whenever that was.

    **Raises:** `ArgumentError` if the folder cannot be made, or a run cannot be computed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ArgumentError(f"{folder} cannot be made a folder, because a file is in its place.") from None
    parameters = figure.at(quick)
    names = list(figure.runs(parameters))
    shared = {"runs": figure.runs, "parameters": parameters}
    jobs = [points.job(run_of, {**shared, "name": name}, {"run": name}) for name in names]
    description = f"runs of figure {figure.number}"
    outcomes = completed(jobs, folder, means, description, progress, anew=recompute)
    results = {name: read(points.result_path(folder, job.digest)) for name, job in zip(names, jobs, strict=True)}
    return results, sum(outcome.seconds for outcome in outcomes)


def run_of(runs: Runs, parameters: Any, name: str) -> xr.Dataset:
    """One of the runs of a figure, by its name."""
    return runs(parameters)[name]()
