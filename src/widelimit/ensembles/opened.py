"""A sweep as one result: swept settings are dimensions, and what is missing is NaN."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from ..memory import require_memory
from ..results import configuration
from ..results.combined import OF_TASK
from ..results.configuration import label_of
from ..results.dataset import common_attributes
from ..results.registry import SCHEMA
from . import index, points
from .grid import POINT, Label, named
from .index import Index
from .points import Outcome

Key = tuple[Label, ...]

_SAMPLES = ("recorded_sample", "recorded_sample2")
"""Labelled dimensions along which points of one Dataset may not differ."""


def open_sweep(folder: str | os.PathLike[str]) -> xr.Dataset | xr.DataTree:
    """The results of a sweep as one labelled `xarray.Dataset`, with the swept settings as dimensions.

        sweep = wl.open_sweep("folder")
        sweep["loss"].sel(rule="Hebbian", richness=0.3)

    A point that failed or is still to do is missing (NaN), and so is what a point lacks: steps after a divergence,
    layers, replicates, and whatever else has labels. `time` has the swept dimensions too where points have recorded
    other times, as with other step sizes; what a result holds of its task has them where the tasks differ. The
    coordinates `status` ("done", "diverged", "failed", "to do") and `seconds` say how each point went. Of one point
    that is selected, `results.configuration` says what it was computed from.

    Where points have other numbers of samples, outputs, neurons or the like, the result is an `xarray.DataTree`, with a
    Dataset for each shape: its groups are named "samples=10", by the settings in which the shapes differ.

    Arrays are read from the files when they are needed, if dask is installed, and at once if not. Whether a file is
    what was written is checked when it is opened, for which it is read once, in pieces; a damaged one is missing.

    **Raises:** `ArgumentError` if the folder holds no sweep, if none of its points is computed, or, without dask, if
    they do not fit in memory.
    """
    held, place, outcomes = standing(folder)
    lazy = importlib.util.find_spec("dask") is not None
    runs: dict[Key, xr.Dataset] = {}
    for digest, at in held.points.items():
        if outcomes[digest].status in ("done", "diverged"):
            path = points.result_path(place, digest)
            runs[_key(held, at)] = xr.open_dataset(
                path, engine="h5netcdf", phony_dims="sort", chunks={} if lazy else None
            )
    if not runs:
        raise ArgumentError(f"None of the {len(held.points)} points of {folder} is computed; call the sweep again.")
    if not lazy:
        size = sum(run.nbytes for run in runs.values())
        remedy = "Install widelimit[distributed], with which arrays are read when they are needed."
        require_memory(2 * size, parts={"the results": size, "a copy": size}, remedy=remedy, what=f"{folder} takes")
    states = {_key(held, at): outcomes[digest] for digest, at in held.points.items()}
    shapes = {key: _shape(run) for key, run in runs.items()}
    if len(set(shapes.values())) == 1:
        return _dataset(held.dims, held, runs, states)
    return _tree(held, runs, shapes, states)


def standing(folder: str | os.PathLike[str]) -> tuple[Index, Path, dict[str, Outcome]]:
    """The index of a folder, and how each of its points went. **Raises:** `ArgumentError` if it holds no sweep."""
    if not isinstance(folder, (str, os.PathLike)):
        raise ArgumentError(f"A folder must be named by a string or a path; got {type(folder).__name__}.")
    place = Path(folder)
    held = index.read(place) if place.is_dir() else None
    if held is None:
        raise ArgumentError(f"{folder} holds no sweep: there is no {index.NAME} in it.")
    return held, place, {digest: points.found(place, digest) for digest in held.points}


def _key(held: Index, at: Mapping[str, Label]) -> Key:
    return tuple(at[dim] for dim in held.dims)


def _shape(run: xr.Dataset) -> tuple[Any, ...]:
    """What has to be the same in all points of one Dataset."""
    sizes = {dim: size for dim, size in run.sizes.items() if dim not in _labelled(run)}
    axes = {name: values.dims for name, values in run.data_vars.items()}
    shared = {name for name, dims in axes.items() if set(dims) & {"sample", "test_sample", "recorded_sample"}}
    recorded = run["recorded_sample"].values.tolist() if "recorded_sample" in run.coords else None
    # Points of several rules hold other variables; those that two of them have must have the same dimensions, which the
    # outputs and positions of a task decide.
    outputs = sorted({str(dim) for name in shared for dim in axes[name]} & {"output_unit", "position", "neuron"})
    return tuple(sorted(sizes.items())), tuple(outputs), str(recorded)


def _labelled(run: xr.Dataset) -> list[str]:
    """The dimensions along which points may differ: what one of them lacks is missing there."""
    return [str(dim) for dim in run.dims if dim in run.coords and dim not in _SAMPLES]


def _tree(held: Index, runs: dict[Key, xr.Dataset], shapes: dict[Key, Any], states: dict[Key, Outcome]) -> xr.DataTree:
    """A Dataset for each label of those dimensions along which shapes differ."""
    dims = list(held.dims)
    differing = [dim for place, dim in enumerate(dims) if _differ_along(place, shapes)]
    rest = {dim: labels for dim, labels in held.dims.items() if dim not in differing}
    nodes: dict[str, xr.Dataset] = {}
    for labels in itertools.product(*(held.dims[dim] for dim in differing)):
        fixed = dict(zip(differing, labels, strict=True))

        def within(each: dict[Key, Any], fixed: dict[str, Label] = fixed) -> dict[Key, Any]:
            return {
                tuple(label for dim, label in zip(dims, key, strict=True) if dim not in fixed): value
                for key, value in each.items()
                if all(key[dims.index(dim)] == label for dim, label in fixed.items())
            }

        those = within(runs)
        if those:
            name = "/".join(named({dim: label}) for dim, label in fixed.items())
            node = _dataset(rest, held, those, within(states)) if rest else _alone(those, within(states))
            nodes[f"/{name}"] = node.assign_coords(fixed)
    return xr.DataTree.from_dict(nodes)


def _alone(runs: dict[Key, xr.Dataset], states: dict[Key, Outcome]) -> xr.Dataset:
    run, state = runs[()], states[()]
    return run.assign_coords(status=state.status, seconds=state.seconds)


def _differ_along(place: int, shapes: dict[Key, Any]) -> bool:
    """Whether two points that differ along this dimension alone have other shapes."""
    groups: dict[Key, set[Any]] = {}
    for key, shape in shapes.items():
        groups.setdefault(key[:place] + key[place + 1 :], set()).add(shape)
    return any(len(each) > 1 for each in groups.values())


def _dataset(
    dims: Mapping[str, tuple[Label, ...]],
    held: Index,
    runs: dict[Key, xr.Dataset],
    states: dict[Key, Outcome],
) -> xr.Dataset:
    """Points of one shape, along their dimensions."""
    keys = list(itertools.product(*dims.values()))
    labelled = dict.fromkeys(dim for run in runs.values() for dim in _labelled(run))
    labels = {dim: _union([run[dim].values for run in runs.values() if dim in run.coords]) for dim in labelled}
    variables: dict[str, xr.Variable] = {}
    for name in dict.fromkeys(str(name) for run in runs.values() for name in run.data_vars):
        each = {key: run[name] for key, run in runs.items() if name in run}
        variables[name] = _stacked(dims, keys, each, labels, once=name in OF_TASK)
    coordinates: dict[str, Any] = {name: (name, values) for name, values in labels.items()}
    timed = {key: run["time"] for key, run in runs.items() if "time" in run.coords}
    if timed:
        times = _stacked(dims, keys, timed, labels, once=False).load()
        shared = np.nanmax(times.values, axis=tuple(range(len(dims)))) if times.size else times.values
        agree = np.isclose(times.values, shared, rtol=1e-9, atol=0) | np.isnan(times.values)
        one = xr.Variable(times.dims[len(dims) :], shared, times.attrs)
        coordinates["time"] = one if agree.all() else times
    first = next(iter(runs.values()))
    if "recorded_sample" in first.coords:
        coordinates |= {name: first[name] for name in _SAMPLES if name in first.coords}
    coordinates |= {dim: (dim, np.asarray(each)) for dim, each in dims.items()}
    if POINT in dims:
        coordinates |= {dim: (POINT, np.asarray(each)) for dim, each in held.along_points.items()}
    sizes = tuple(len(each) for each in dims.values())
    status = np.array([states[key].status if key in states else "to do" for key in keys])
    seconds = np.array([states[key].seconds if key in runs else np.nan for key in keys])
    coordinates["status"] = (tuple(dims), status.reshape(sizes))
    coordinates["seconds"] = (tuple(dims), seconds.reshape(sizes))
    of_all = {
        name: value for name, value in first.attrs.items() if all(run.attrs.get(name) == value for run in runs.values())
    }
    described = of_all | {
        "schema": SCHEMA,
        "versions": first.attrs.get("versions", "{}"),
        "configuration": json.dumps({"dims": list(dims), "runs": _configurations(dims, runs)}),
    }
    return xr.Dataset(variables, coordinates, described)


def _union(each: Sequence[np.ndarray]) -> np.ndarray:
    """All labels: numbers in order, words as they come."""
    labels = np.concatenate(each)
    return np.unique(labels) if labels.dtype.kind in "iuf" else np.array(list(dict.fromkeys(labels.tolist())))


def _stacked(
    dims: Mapping[str, tuple[Label, ...]],
    keys: Sequence[Key],
    each: dict[Key, xr.DataArray],
    labels: Mapping[str, np.ndarray],
    *,
    once: bool,
) -> xr.Variable:
    """One variable of all points along the swept dimensions; without these where it is the same for all (`once`)."""
    first = max(each.values(), key=lambda values: values.ndim)
    if once and all(_same(values, first) for values in each.values()):
        return first.variable
    wide = {key: _with_labels(values, labels, first.dims) for key, values in each.items()}
    like = next(iter(wide.values()))
    kind = like.dtype if len(wide) == len(keys) and like.dtype.kind in "fc" else np.result_type(like.dtype, np.float64)
    whole = all(values.dtype == like.dtype for values in wide.values()) and len(wide) == len(keys)
    kind = like.dtype if whole else kind
    stack, full = _builders(like.data)
    missing = full(like.shape, kind)

    def nested(above: Key, left: Sequence[tuple[Label, ...]]) -> Any:
        if not left:
            return wide[above].astype(kind).data if above in wide else missing
        return stack([nested((*above, label), left[1:]) for label in left[0]])

    return xr.Variable((*dims, *like.dims), nested((), list(dims.values())), common_attributes(list(each.values())))


def _builders(data: Any) -> tuple[Callable[[list[Any]], Any], Callable[[tuple[int, ...], Any], Any]]:
    """How arrays of this kind are stacked, and filled with NaN."""
    if isinstance(data, np.ndarray):
        return np.stack, lambda shape, kind: np.full(shape, np.nan, kind)
    import dask.array

    return dask.array.stack, lambda shape, kind: dask.array.full(shape, np.nan, dtype=kind)


def _with_labels(values: xr.DataArray, labels: Mapping[str, np.ndarray], dims: tuple[Any, ...]) -> xr.Variable:
    """A variable of one point with all labels, NaN where it has none, and all dimensions that others have."""
    wanted = {str(dim): labels[str(dim)] for dim in values.dims if dim in labels and dim in values.coords}
    wanted = {dim: each for dim, each in wanted.items() if not np.array_equal(values[dim].values, each)}
    if wanted:
        values = values.reindex(wanted)
    lacking = {dim: len(labels[dim]) for dim in dims if dim not in values.dims and dim in labels}
    return values.drop_vars(list(values.coords)).expand_dims(lacking).transpose(*dims).variable


def _same(values: xr.DataArray, other: xr.DataArray) -> bool:
    return values.sizes == other.sizes and np.allclose(values.values, other.values, rtol=1e-9, atol=1e-12)


def _configurations(dims: Mapping[str, tuple[Label, ...]], runs: dict[Key, xr.Dataset], above: Key = ()) -> Any:
    """The configurations of all points, nested as [`combine`] has them."""
    if len(above) == len(dims):
        return configuration(runs[above]) if above in runs else {}
    labels = list(dims.values())[len(above)]
    return {label_of(label): _configurations(dims, runs, (*above, label)) for label in labels}


__all__ = ["open_sweep", "standing"]
