"""What a page draws of a run in time: values with a step dimension, whatever the result itself has."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..results import observables
from ..results.observables import is_classification

_ZERO = 1e-9


def in_time(result: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    """Values along `step` with the coordinate `time`; what does not change in time is repeated."""
    if "step" not in values.dims:
        values = values.expand_dims(step=result.sizes["step"])
    return values.assign_coords(time=("step", np.asarray(result["time"].values, dtype=np.float64)))


def last_step(result: xr.Dataset) -> int:
    """The last step with a loss: a divergence leaves the steps after it without values."""
    loss = result["loss"]
    known = loss.notnull() & (abs(loss) < np.inf)
    known = known.any("replicate") if "replicate" in known.dims else known
    found = np.flatnonzero(known.values)
    return int(found[-1]) if len(found) else 0


def finite_times(values: xr.DataArray) -> xr.DataArray:
    """Without t = ∞, which has no place on an axis."""
    return values.isel(step=np.flatnonzero(np.isfinite(values["time"].values)))


def losses(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """Training loss, test loss and test error, of which the latter two where there are test points."""
    found = {"training loss": result["loss"]}
    if "test_loss" in result:
        found["test loss"] = result["test_loss"]
    if "test_target" in result and "test_output" in result and is_classification(result["test_target"]):
        output = result["test_output"]
        error = observables.classification_error(output, result["test_target"])
        # An output that is zero, as f − f(0) is at the start, has no class; at infinite width it is so up to rounding.
        over = [dim for dim in ("test_sample", "output_unit") if dim in output.dims]
        found["test error"] = error.where(abs(output).max(over) > _ZERO)
    return {name: in_time(result, values) for name, values in found.items()}


def task_alignments(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """A(K, yyᵀ) and A(Φ^ℓ, yyᵀ), by the names of the kernels."""
    found = {}
    if "ntk" in result:
        found["K"] = observables.alignment(result["ntk"], result["target"])
    if "feature_kernel" in result:
        each = observables.alignment(result["feature_kernel"], result["target"])
        found |= {f"Φ^{int(layer)}": each.sel(layer=layer) for layer in each["layer"].values}
    return {name: in_time(result, values) for name, values in found.items()}


def gradient_alignments(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """corr(g, g̃) of each layer."""
    if not {"gradient_kernel", "pseudo_gradient_kernel", "pseudo_gradient_norm"} <= set(result.data_vars):
        return {}
    each = observables.gradient_alignment(result)
    return {f"layer {int(layer)}": in_time(result, each.sel(layer=layer)) for layer in each["layer"].values}
