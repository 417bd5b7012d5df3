"""What a page draws of a run: what was measured, and the same along `step`, whatever dimensions the result has."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..results import observables
from ..results.registry import IMAGES
from ..results.times import recorded_steps

CURVES = {"loss": "training loss", "test_loss": "test loss"}
"""The losses that a page draws: sums over samples, as they were recorded."""

_ZERO = 1e-9


def in_time(result: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    """Values along `step` with the coordinate `time`; what does not change in time is repeated."""
    if "step" not in values.dims:
        values = values.expand_dims(step=result.sizes["step"])
    return values.assign_coords(time=("step", np.asarray(result["time"].values, dtype=np.float64)))


def last_step(result: xr.Dataset) -> int:
    """The last step with a loss, or where none is held with any other value: what follows a divergence has none."""
    for name in (*CURVES, "test_output", *IMAGES):
        if name in result and "step" in result[name].dims:
            steps = recorded_steps(result[name])
            return int(steps[-1]) if len(steps) else 0
    return 0


def finite_times(values: xr.DataArray) -> xr.DataArray:
    """Without t = ∞, which has no place on an axis."""
    return values.isel(step=np.flatnonzero(np.isfinite(values["time"].values)))


def losses(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """Training loss, test loss and test error: those that there are."""
    measured = {words: result[name] for name, words in CURVES.items() if name in result}
    error = observables.test_error(result)
    if error is not None:
        output = result["test_output"]
        # An output that is zero, as f − f(0) is at the start, has no class; at infinite width it is so up to rounding.
        over = [dim for dim in ("test_sample", "output_unit") if dim in output.dims]
        measured["test error"] = error.where(abs(output).max(over) > _ZERO)
    return measured


def gradient_alignments(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """corr(g, g̃) of each layer."""
    if not observables.has_gradient_alignment(result):
        return {}
    each = observables.gradient_alignment(result)
    return {f"layer {int(layer)}": each.sel(layer=layer) for layer in each["layer"].values}
