"""Kernels of some samples alone: how they meet targets, and kernels, of all samples.

Where a run recorded the kernels of some samples, these have the dimension `recorded_sample` in the place of `sample`,
whose coordinate holds the indices of the samples.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from .registry import RECORDED, VARIABLES


def recorded_samples(values: xr.DataArray | xr.Dataset) -> np.ndarray | None:
    """The indices of the samples in kernels of some samples alone; None where these are of all samples."""
    return values.coords["recorded_sample"].values if "recorded_sample" in values.dims else None


def at_samples(values: xr.DataArray, samples: np.ndarray) -> xr.DataArray:
    """`values` at the samples of these indices, with the dimensions `sample` and `sample2` whatever there were."""
    held = recorded_samples(values)
    places = samples if held is None else [int(np.flatnonzero(held == sample)[0]) for sample in samples]
    values = values.isel({dim: places for pair in RECORDED.items() for dim in pair if dim in values.dims})
    renamed = {new: dim for dim, new in RECORDED.items() if new in values.dims}
    return values.drop_vars(renamed, errors="ignore").rename(renamed)


def of_recorded_samples(result: xr.Dataset) -> xr.Dataset:
    """A result as one of the recorded samples alone, where not all were recorded: targets, outputs and kernels have the
    same dimension `sample`. Losses remain those of all samples.
    """
    samples = recorded_samples(result)
    if samples is None:
        return result
    return _replaced(result, {name: at_samples(values, samples) for name, values in result.data_vars.items()})


def on_common_samples(a: xr.Dataset, b: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Two results whose kernels are of the same samples: those that both have, where one or both recorded some alone.

    **Raises:** `ArgumentError` if there are none.
    """
    held = [samples for samples in map(recorded_samples, (a, b)) if samples is not None]
    if not held or (len(held) == 2 and np.array_equal(held[0], held[1])):
        return a, b
    common = held[0][np.isin(held[0], held[-1])]
    if not len(common):
        raise ArgumentError(f"a has the kernels of the samples {held[0]} and b of {held[1]}: none in common.")
    return _with_kernels_at(a, common), _with_kernels_at(b, common)


def _with_kernels_at(result: xr.Dataset, samples: np.ndarray) -> xr.Dataset:
    chosen = {}
    for name, values in result.data_vars.items():
        if name in VARIABLES and VARIABLES[str(name)].of_recorded_samples:
            values = at_samples(values, samples)
            values = values.rename({dim: new for dim, new in RECORDED.items() if dim in values.dims})
        chosen[name] = values
    return _replaced(result, chosen).assign_coords(recorded_sample=samples)


def _replaced(result: xr.Dataset, variables: Mapping[Hashable, xr.DataArray]) -> xr.Dataset:
    """The same result with other variables, and the coordinates that are not of recorded samples."""
    coordinates = {name: values for name, values in result.coords.items() if name not in RECORDED.values()}
    return xr.Dataset({name: values.variable for name, values in variables.items()}, coordinates, result.attrs)
