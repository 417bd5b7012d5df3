"""Densities of the preactivations h^ℓ at the end of a run, beside those it started from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..results import configuration
from .charts import Chart, Curve
from .runs import Run

_BINS = 72  # at most; fewer where there are few neurons
_RANGE = 4.5  # standard deviations
_START = 6  # the colour of the text


def charts(runs: Sequence[Run]) -> list[Chart]:
    """One chart for each layer, of the runs that have recorded the fields."""
    runs = [run for run in runs if "final_preactivation" in run.result]
    layers = sorted({int(layer) for run in runs for layer in run.result["layer"].values})
    found = []
    for layer in layers:
        having = [run for run in runs if layer in run.result["layer"].values]
        fields = [_fields(run.result, layer) for run in having]
        spread = [float(one.std()) for one in fields]
        spread = [one for one in spread if np.isfinite(one) and one > 0]
        if not spread:
            continue
        count = min(one.sizes["replicate"] * one.sizes["neuron"] for one in fields)
        bins = min(_BINS, round(4 * count ** (1 / 3)))
        edges = np.linspace(-_RANGE * max(spread), _RANGE * max(spread), bins + 1)
        curves = [Curve.of(run, density(one, edges), along="h") for run, one in zip(having, fields, strict=True)]
        start = initial(having[0].result, layer, (edges[1:] + edges[:-1]) / 2)
        if start is not None:
            curves.append(Curve("at initialisation", start, _START, 2, along="h"))
        found.append(Chart(f"density-{layer}", f"Density of h^{layer}", curves, within=(0.0, 0.0), xlabel="h"))
    return found


def density(fields: xr.DataArray, edges: np.ndarray) -> xr.DataArray:
    """Histograms (replicate, bin) of all neurons and samples, as densities over h."""
    middle = (edges[1:] + edges[:-1]) / 2
    rows = []
    for one in fields.transpose("replicate", ...).values.reshape(fields.sizes["replicate"], -1):
        one = one[np.isfinite(one)]
        counts = np.histogram(one, edges)[0]
        rows.append(counts / (len(one) * np.diff(edges)) if len(one) else np.full(len(middle), np.nan))
    return xr.DataArray(np.array(rows), dims=("replicate", "bin"), coords={"h": ("bin", middle)})


def initial(result: xr.Dataset, layer: int, at: np.ndarray) -> xr.DataArray | None:
    """The density of h^ℓ at initialisation in the limit of infinite width: Gaussians of variance Φ^{ℓ−1}_μμ(0).

    Of fully connected networks alone: the variances of others are not among what a result holds.
    """
    net = configuration(result)["net"] if "configuration" in result.attrs else {}
    if net.get("type", "MLP") != "MLP" or net.get("residual"):
        return None
    if layer == 1:
        kernel = result["input_kernel"]
    elif "feature_kernel" in result:
        kernel = result["feature_kernel"].sel(layer=layer - 1)
        kernel = kernel.isel({dim: 0 for dim in ("step",) if dim in kernel.dims})
        kernel = kernel.mean("replicate") if "replicate" in kernel.dims else kernel
    else:
        return None
    variance = np.diag(kernel.transpose("sample", "sample2").values)
    variance = variance[variance > 0]
    if not len(variance):
        return None
    each = np.exp(-(at[:, None] ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    return xr.DataArray(each.mean(axis=1), dims="bin", coords={"h": ("bin", at)})


def _fields(result: xr.Dataset, layer: int) -> xr.DataArray:
    fields = result["final_preactivation"].sel(layer=layer)
    return fields if "replicate" in fields.dims else fields.expand_dims("replicate")
