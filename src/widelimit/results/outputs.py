"""Kernels that are the same for every output, and are kept once.

In the lazy limit each of C outputs has the same kernels and nothing passes between two of them: K ⊗ 1, of which K is
kept, without the dimensions over outputs that the variable otherwise has.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from .registry import VARIABLES

OUTPUTS = frozenset({"output_unit", "output_unit2"})


def kept_once(values: xr.DataArray) -> bool:
    """Whether this is a kernel of every output, by its name: a variable with blocks over outputs, and here without."""
    dims = VARIABLES[str(values.name)].dims if values.name in VARIABLES else ()
    of_kernels = "sample2" in dims or "layer" in dims  # and not outputs, errors and targets
    return of_kernels and "output_unit" in dims and "output_unit" not in values.dims


def lacking(values: xr.DataArray, other: xr.DataArray) -> dict[str, int]:
    """The dimensions over outputs that `other` has and `values`, being the same for every output, has not."""
    missing = [dim for dim in OUTPUTS if dim in other.dims and dim not in values.dims]
    return {dim: other.sizes[dim] for dim in missing} if kept_once(values) else {}


def with_outputs_of(values: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """The same with the dimensions over outputs of `other`, if it was kept once for all of them: K as K ⊗ 1."""
    missing = lacking(values, other)
    if len(missing) < 2:
        return values.expand_dims(missing) if missing else values
    return values * xr.DataArray(np.eye(missing["output_unit"]), dims=("output_unit", "output_unit2"))
