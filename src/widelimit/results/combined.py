"""Results of several runs of one task: how they are put together, and how they are taken apart."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from . import times
from .configuration import configuration, label_of, versions
from .dataset import common_attributes
from .legal import attribute, taking_results
from .outputs import with_outputs_of
from .registry import DIMENSIONS, RECORDED, SCHEMA, VARIABLES
from .samples import recorded_samples

Runs = Mapping[Any, Any] | Sequence[Any]

OF_TASK = ("input_kernel", "target", "test_target")
"""What a result holds of its task, once for all runs."""

SAME_TASK = 1e-6
"""Relative differences of these below it are rounding: far above that of single precision, far below any other data."""

_OF_A_RUN = {dim for dims in DIMENSIONS.values() for dim in dims} | set(RECORDED.values())
# Along these, runs may have different labels; what one of them lacks is missing (NaN) there.
_LABELLED = {"replicate", "layer", "layer2", "matrix", "weight", "sweep"}


@taking_results
def combine(runs: Runs, dim: str | Sequence[str] = "run") -> xr.Dataset:
    """Several runs of one task as one result, along a new dimension.

        wl.combine({0.5: weak, 1.0: strong}, "richness").sel(richness=1.0)
        wl.combine({"Hebbian": {math.inf: limit, 1000: networks}, ...}, ("rule", "width"))

    Runs may differ in what they hold, in their recorded times and in their numbers of replicates; what one of them
    lacks, or did not reach after a divergence, is missing (NaN) there. A run without replicates stands for each of
    those of the others, and so keeps the standard error zero. Observables need no change: they keep the dimensions
    that they do not reduce. A run that is selected has its own [`configuration`].

    **Arguments:**

    - `runs`: results by their labels, or in a sequence, which is numbered; mappings of mappings for several dimensions.
    - `dim`: the name of the new dimension, one for each level of `runs`. It must not be a dimension of a single run.

    **Returns:** a result that [`save`] and [`load`] take. Its times are those of all runs; it has the coordinate `step`
    where they all number their times alike.

    **Raises:** `ArgumentError` if there are no runs, or if they are not of one task.
    """
    dims = (dim,) if isinstance(dim, str) else tuple(dim)
    for name in dims:
        if not isinstance(name, str) or name in _OF_A_RUN | {"time", "measure"} or dims.count(name) > 1:
            raise ArgumentError(f"dim must be new: a name that no run uses, as 'run'; got {name!r}.")
    each = list(_leaves(runs, len(dims)))
    if not each:
        raise ArgumentError("runs must hold at least one result of train or of a solver of theory; got none.")
    _check_one_task(each)
    moments = times.union([times.times_of(run) for run in each])
    # A kernel that one run keeps once for all outputs has blocks where another has them.
    blocks = {name: run[name] for run in each for name in run.data_vars if "output_unit" in run[name].dims}
    joined = _joined(runs, dims, moments, blocks)
    for name, values in joined.data_vars.items():
        values.attrs = common_attributes([run[name] for run in each if name in run])
    coordinates = {"time": ("step", moments, dict(each[0]["time"].attrs))}
    steps = _numbered_alike(each, moments)
    if steps is not None:
        coordinates |= {name: (name, steps) for name in ("step", "step2") if name in ("step", *joined.dims)}
    of_task = {name: run[name] for run in reversed(each) for name in OF_TASK if name in run}
    return (
        joined.assign(of_task)
        .assign_coords(coordinates)
        .assign_attrs(
            schema=SCHEMA,
            versions=each[0].attrs.get("versions", json.dumps(versions())),
            configuration=json.dumps({"dims": list(dims), "runs": _configurations(runs, len(dims))}),
        )
    )


def run_dims(result: xr.Dataset) -> tuple[str, ...]:
    """The dimensions of a result along which there are several runs."""
    named = [dim for dim in configuration(result).get("dims", ()) if dim in result.dims]
    return tuple(dict.fromkeys([*named, *(str(dim) for dim in result.dims if dim not in _OF_A_RUN)]))


def apart(result: xr.Dataset) -> dict[tuple[Any, ...], xr.Dataset]:
    """The runs of a combined result by their labels: what one of them lacks is not there, rather than missing."""
    dims, runs = run_dims(result), {}
    for labels in itertools.product(*(result[dim].values.tolist() for dim in dims)):
        run = _without_missing(result.sel(dict(zip(dims, labels, strict=True))))
        if not set(map(str, run.data_vars)) <= set(OF_TASK):
            run = run.assign_attrs(configuration=json.dumps(configuration(run)))
            runs[labels] = run.drop_vars(dims, errors="ignore")
    return runs


def selected(run: xr.Dataset) -> xr.Dataset:
    """A result, and of one that was selected from a combined one what is its own, as [`apart`] gives it."""
    of_several = "runs" in attribute(run, "configuration") and not run_dims(run)
    return _without_missing(run) if of_several else run


def has_both_widths(result: xr.Dataset) -> bool:
    """Whether a result holds an infinite and a finite width."""
    return bool(np.isinf(result["width"]).any() and np.isfinite(result["width"]).any())


def both_widths(result: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """The infinite and the finite width of a result that holds several."""
    widths = result["width"].values
    if not has_both_widths(result):
        raise ArgumentError(f"result must hold an infinite and a finite width; it holds {list(widths)}.")
    return result.sel(width=math.inf), result.sel(width=widths[np.isfinite(widths)].max())


def _without_missing(run: xr.Dataset) -> xr.Dataset:
    run = run.drop_vars([name for name, values in run.data_vars.items() if not values.notnull().any()])
    for dim in ("replicate", "step", "step2"):
        run = run.dropna(dim, how="all") if dim in run.dims else run
    return run


def _items(runs: Runs) -> list[tuple[Any, Any]]:
    return list(runs.items()) if isinstance(runs, Mapping) else list(enumerate(runs))


def _leaves(runs: Any, depth: int) -> Iterator[xr.Dataset]:
    if not depth:
        checks.instance("runs", runs, xr.Dataset, "what widelimit.train returns")
        if "time" not in runs.coords or runs["time"].dims != ("step",):
            raise ArgumentError(
                "runs must hold results with their times; select with isel(step=[-1]), not isel(step=-1)."
            )
        yield runs
        return
    if isinstance(runs, xr.Dataset) or not isinstance(runs, (Mapping, Sequence)):
        raise ArgumentError(f"runs must hold results by their labels, or a list of results; got {type(runs).__name__}.")
    for _, part in _items(runs):
        yield from _leaves(part, depth - 1)


def _joined(runs: Any, dims: Sequence[str], moments: np.ndarray, blocks: Mapping[Hashable, xr.DataArray]) -> xr.Dataset:
    """All runs at the same times and with the same blocks over outputs, along new dimensions."""
    if not dims:
        run = _at_times(runs.drop_vars(OF_TASK, errors="ignore").drop_attrs(deep=False), moments)
        return run.assign({name: with_outputs_of(run[name], blocks[name]) for name in run if name in blocks})
    labels = [label for label, _ in _items(runs)]
    parts = [_joined(part, dims[1:], moments, blocks) for _, part in _items(runs)]
    coordinate = xr.DataArray(labels, dims=dims[0], name=dims[0])
    return xr.concat(parts, coordinate, join="outer", data_vars="all", coords="minimal", compat="override")


def _at_times(run: xr.Dataset, moments: np.ndarray) -> xr.Dataset:
    places = times.places(moments, times.times_of(run))
    run = run.drop_vars(["time", "step", "step2"], errors="ignore")
    for dim in ("step", "step2"):
        if dim in run.dims and not np.array_equal(places, np.arange(run.sizes[dim])):
            there = xr.DataArray(places >= 0, dims=dim)
            moved = {name: values for name, values in run.data_vars.items() if dim in values.dims}
            run = run.drop_vars(moved).assign(
                {name: values.isel({dim: places}).where(there) for name, values in moved.items()}
            )
    return run


def _numbered_alike(runs: Sequence[xr.Dataset], moments: np.ndarray) -> np.ndarray | None:
    """The numbers of the steps at all times, None where a run has none or numbers them otherwise."""
    numbers = np.full(len(moments), -1)
    for run in runs:
        if "step" not in run.coords:
            return None
        at, own = times.places(times.times_of(run), moments), run["step"].values
        if ((numbers[at] >= 0) & (numbers[at] != own)).any():
            return None
        numbers[at] = own
    return numbers


def _configurations(runs: Any, depth: int) -> dict[str, Any]:
    if not depth:
        return configuration(runs)
    return {label_of(label): _configurations(part, depth - 1) for label, part in _items(runs)}


def difference_of_tasks(first: xr.Dataset, other: xr.Dataset) -> str:
    """What of two results shows that they are of different tasks, or samples of one; empty where they are not."""
    for name in OF_TASK:
        if name in first and name in other and not _same(other[name], first[name]):
            return f"{name} ({VARIABLES[name].meaning})"
    one, two = recorded_samples(first), recorded_samples(other)
    if one is not None and two is not None and not np.array_equal(one, two):
        return "recorded samples (record.samples)"
    return ""


def _same(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Whether what two results hold of a task is the same, up to rounding."""
    return one.sizes == other.sizes and np.allclose(one, other, rtol=0, atol=SAME_TASK * abs(other).max())


def _check_one_task(runs: Sequence[xr.Dataset]) -> None:
    """Raise unless runs are of one task, and what has no labels is as long in all of them."""
    for name in OF_TASK:
        held = [run[name] for run in runs if name in run]
        if not all(_same(other, held[0]) for other in held[1:]):
            raise ArgumentError(f"runs must be of one task; their {name} ({VARIABLES[name].meaning}) differs.")
    sizes: dict[str, int] = {}
    for run in runs:
        for dim, size in run.sizes.items():
            if dim in _LABELLED or dim in ("step", "step2"):
                continue
            if sizes.setdefault(str(dim), size) != size:
                having = [str(name) for name, values in run.data_vars.items() if dim in values.dims]
                raise ArgumentError(
                    f"runs must be of one task; {dim} is {sizes[str(dim)]} long in one of them and {size} in another. "
                    f"Without what has this dimension they can be combined: run.drop_vars({having})."
                )
    for name in {name for run in runs for name in run.data_vars}:
        kinds = {"recorded_sample" in run[name].dims for run in runs if name in run}
        if len(kinds) > 1:
            raise ArgumentError(
                f"runs must have recorded the same samples (record.samples): {name} is of chosen ones in some of them "
                "and of all in others."
            )
    held = [samples for run in runs if (samples := recorded_samples(run)) is not None]
    if not all(np.array_equal(samples, held[0]) for samples in held):
        raise ArgumentError("runs must have recorded the same samples (record.samples).")
