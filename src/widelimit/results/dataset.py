"""A labelled result from plain arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..problem import Task
from .configuration import versions
from .legal import taking_results
from .outputs import OUTPUTS
from .registry import RECORDED, SCHEMA, TIME, VARIABLES

POSITIONS = {"position", "position2"}

_COUNTED_FROM = {"layer": 1, "layer2": 1, "matrix": 1, "weight": 0}


def assemble(
    variables: Mapping[str, np.ndarray],
    *,
    times: np.ndarray,
    steps: np.ndarray | None = None,
    scalar: bool,
    attributes: dict[str, Any],
    recorded_samples: Sequence[int] | np.ndarray | None = None,
) -> xr.Dataset:
    """A result from plain arrays whose axes are those of `VARIABLES`; output axes are dropped for scalar tasks.

    An array may lack the axis `replicate` (it is the same for all: deterministic theory), or `replicate` and `step` (it
    is the same at all times too): subtraction of two results then broadcasts. Of these, a kernel may lack the axes
    over outputs besides, if it is the same for each and nothing passes between two. `steps` is None in continuous time.
    `recorded_samples` are the indices of the samples whose kernels these are, None if they are of all.
    """
    data = {}
    for name, array in variables.items():
        dims = without_shared(VARIABLES[name].dims, array.ndim)
        if array.ndim < len(dims):
            dims = tuple(dim for dim in dims if dim not in OUTPUTS)
        single = OUTPUTS if scalar else frozenset()
        single |= {dim for dim, size in zip(dims, array.shape, strict=True) if dim in POSITIONS and size == 1}
        array = array[tuple(0 if dim in single else slice(None) for dim in dims)]
        data[name] = (tuple(dim for dim in dims if dim not in single), array)
    return labelled(data, times=times, steps=steps, attributes=attributes, recorded_samples=recorded_samples)


def without_shared(dims: tuple[str, ...], axes: int) -> tuple[str, ...]:
    """The dimensions of an array with so many axes: where they are too few, the same for all replicates and steps."""
    for shared in ("replicate", "step"):
        if axes < len(dims):
            dims = tuple(dim for dim in dims if dim != shared)
    return dims


def labelled(
    data: Mapping[str, tuple[tuple[str, ...], np.ndarray]],
    *,
    times: np.ndarray,
    steps: np.ndarray | None,
    attributes: dict[str, Any],
    recorded_samples: Sequence[int] | np.ndarray | None,
) -> xr.Dataset:
    """A result from arrays with their dimensions, with coordinates and attributes."""
    variables, loss = {}, json.loads(attributes.get("configuration", "{}")).get("loss")
    for name, (dims, array) in data.items():
        variable = VARIABLES[name]
        if recorded_samples is not None and variable.of_recorded_samples:
            dims = tuple(RECORDED.get(dim, dim) for dim in dims)
        variables[name] = (dims, array, variable.attributes(loss))
    dataset = xr.Dataset(variables)
    coordinates: dict[str, Any] = {"time": ("step", times, dict(TIME))}
    if steps is not None:
        coordinates["step"] = ("step", steps)
        if "step2" in dataset.sizes:
            coordinates["step2"] = ("step2", steps)
    if "replicate" in dataset.sizes:
        coordinates["replicate"] = ("replicate", np.arange(dataset.sizes["replicate"]))
    for dim, first in _COUNTED_FROM.items():
        if dim in dataset.sizes:
            coordinates[dim] = (dim, np.arange(first, first + dataset.sizes[dim]))
    for dim in RECORDED.values():
        if dim in dataset.sizes:
            coordinates[dim] = (dim, np.asarray(recorded_samples))
    return dataset.assign_coords(coordinates).assign_attrs(
        {"schema": SCHEMA, "versions": json.dumps(versions()), **attributes}
    )


@taking_results
def expanded(result: xr.Dataset) -> xr.Dataset:
    """The same result with the dimensions `replicate` and `step` wherever the schema has them, as views.

    Deterministic theory has no replicates, and static kernels no steps; whatever wants one shape for all calls this.
    """
    wide = {}
    for name, values in result.data_vars.items():
        dims = VARIABLES[str(name)].dims if name in VARIABLES else ()
        missing = {dim: result.sizes.get(dim, 1) for dim in ("replicate", "step") if dim in dims}
        values = values.drop_vars(list(values.coords))
        values = values.expand_dims({dim: size for dim, size in missing.items() if dim not in values.dims})
        order = [axis for dim in dims for axis in (dim, RECORDED.get(dim)) if axis in values.dims]
        wide[name] = values.transpose(*order, ...)
    # Of one step that was selected, the time and the number have no dimension.
    coordinates = {
        name: ("step", np.atleast_1d(values)) if name in ("time", "step") and not values.ndim else values
        for name, values in result.coords.items()
    }
    whole = xr.Dataset(wide, attrs=result.attrs).assign_coords(coordinates)
    if "replicate" in whole.coords:
        return whole
    return whole.assign_coords(replicate=np.arange(whole.sizes.get("replicate", 1)))


def common_attributes(each: Sequence[xr.DataArray]) -> dict[Any, Any]:
    """What is said of a variable that several runs hold: their losses may give it different units."""
    first, name = each[0].attrs, str(each[0].name)
    alike = all(values.attrs.get("units") == first.get("units") for values in each)
    return dict(first) if alike or name not in VARIABLES else {**first, "units": VARIABLES[name].unit}


def of_task(task: Task) -> dict[str, np.ndarray]:
    """What every result of a task holds of the task itself."""
    held = {"input_kernel": task.x @ task.x.T / task.x.shape[1], "target": task.y}
    return held if task.y_test is None else {**held, "test_target": task.y_test}
