"""A labelled result from plain arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..problem import Task
from .configuration import versions
from .registry import DIMENSIONS, MEANING, SCHEMA


def assemble(
    variables: Mapping[str, np.ndarray],
    *,
    times: np.ndarray,
    steps: np.ndarray | None = None,
    scalar: bool,
    attributes: dict[str, Any],
) -> xr.Dataset:
    """A result from plain arrays whose axes are those of `DIMENSIONS`; unit axes are dropped for scalar tasks.

    An array may lack the axis `replicate` (it is the same for all: deterministic theory), or `replicate` and `step` (it
    is the same at all times too): subtraction of two results then broadcasts. `steps` is None in continuous time.
    """
    data = {}
    for name, array in variables.items():
        dims = DIMENSIONS[name]
        for shared in ("replicate", "step"):
            if array.ndim < len(dims):
                dims = tuple(dim for dim in dims if dim != shared)
        single = {"output_unit", "output_unit2"} if scalar else set()
        single |= {dim for dim, size in zip(dims, array.shape, strict=True) if dim in _POSITIONS and size == 1}
        array = array[tuple(0 if dim in single else slice(None) for dim in dims)]
        dims = tuple(dim for dim in dims if dim not in single)
        data[name] = (dims, array, {"long_name": MEANING[name]})
    dataset = xr.Dataset(data)
    coordinates: dict[str, Any] = {"time": ("step", times, {"long_name": "step × step size"})}
    if steps is not None:
        coordinates["step"] = ("step", steps)
        if "step2" in dataset.sizes:
            coordinates["step2"] = ("step2", steps)
    if "replicate" in dataset.sizes:
        coordinates["replicate"] = ("replicate", np.arange(dataset.sizes["replicate"]))
    for dim, first in _COUNTED_FROM.items():
        if dim in dataset.sizes:
            coordinates[dim] = (dim, np.arange(first, first + dataset.sizes[dim]))
    return dataset.assign_coords(coordinates).assign_attrs(
        {"schema": SCHEMA, "versions": json.dumps(versions()), **attributes}
    )


_POSITIONS = ("position", "position2")
_COUNTED_FROM = {"layer": 1, "layer2": 1, "matrix": 1, "weight": 0}


def expanded(result: xr.Dataset) -> xr.Dataset:
    """The same result with the dimensions `replicate` and `step` wherever the schema has them, as views.

    Deterministic theory has no replicates, and static kernels no steps; whatever wants one shape for all calls this.
    """
    found = {}
    for name, values in result.data_vars.items():
        missing = [
            dim for dim in ("replicate", "step") if dim in DIMENSIONS.get(str(name), ()) and dim not in values.dims
        ]
        values = values.expand_dims({dim: result.sizes.get(dim, 1) for dim in missing})
        order = [dim for dim in DIMENSIONS.get(str(name), ()) if dim in values.dims]
        found[name] = values.transpose(*order, ...).drop_vars([dim for dim in missing if dim in values.coords])
    wide = xr.Dataset(found, attrs=result.attrs).assign_coords(result.coords)
    return (
        wide if "replicate" in wide.coords else wide.assign_coords(replicate=np.arange(wide.sizes.get("replicate", 1)))
    )


def of_task(task: Task) -> dict[str, np.ndarray]:
    """What every result of a task holds of the task itself."""
    found = {"input_kernel": task.x @ task.x.T / task.x.shape[1], "target": task.y}
    return found if task.y_test is None else {**found, "test_target": task.y_test}
