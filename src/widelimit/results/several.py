"""A result that holds several rules and widths: how it is put together, and how it is taken apart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from .configuration import configuration
from .registry import SCHEMA


def stack(runs: Mapping[str, Mapping[float, xr.Dataset]]) -> xr.Dataset:
    """One result from runs[rule][width], all of one task, with the dimensions `rule` and `width` added.

    What one width lacks (the diagnostics of infinite width) or did not reach (after a divergence) is NaN there.
    Observables need no change: they keep the dimensions that they do not reduce. Values are in single precision, far
    below their standard errors. The configuration of each run is in the JSON attribute `configuration`, under
    ["runs"][rule][str(width)].
    """
    shared = ["input_kernel", "target", "test_target"]
    across_rules = []
    for name, by_width in runs.items():
        each = [run.drop_vars(shared, errors="ignore").drop_attrs() for run in by_width.values()]
        widths = xr.DataArray([float(width) for width in by_width], dims="width", name="width")
        joined = xr.concat(each, widths, join="outer", data_vars="all", coords="minimal", compat="override")
        across_rules.append(joined.assign_coords(rule=name))
    result = xr.concat(across_rules, "rule", join="outer", data_vars="all", coords="minimal", compat="override")
    result = result.map(lambda values: values.astype("float32") if values.dtype == "float64" else values)
    first = next(iter(next(iter(runs.values())).values()))
    step_size = configuration(first)["step_size"]
    result = result.assign_coords(time=("step", result["step"].values * step_size, dict(first["time"].attrs)))
    described = {
        name: {str(width): configuration(run) for width, run in by_width.items()} for name, by_width in runs.items()
    }
    return result.assign({name: first[name] for name in shared if name in first}).assign_attrs(
        schema=SCHEMA, versions=first.attrs["versions"], configuration=json.dumps({"runs": described})
    )


def holds_several(result: xr.Dataset) -> bool:
    """Whether a result is one that [`stack`] made."""
    return {"rule", "width"} <= set(result.dims)


def both_widths(result: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """The infinite and the finite width of a result that holds several."""
    widths = result["width"].values
    if not (np.isinf(widths).any() and np.isfinite(widths).any()):
        raise ArgumentError(f"result must hold an infinite and a finite width; it holds {list(widths)}.")
    return result.sel(width=math.inf), result.sel(width=widths[np.isfinite(widths)].max())


def configuration_of(result: xr.Dataset) -> dict[str, Any]:
    """What a result was computed from, also where it was taken out of one that held several rules and widths."""
    told = json.loads(result.attrs.get("configuration", "{}"))
    if "runs" in told and {"rule", "width"} <= set(result.coords):
        by_width = told["runs"][str(result["rule"].item())]
        return next(run for width, run in by_width.items() if float(width) == float(result["width"]))
    return told
