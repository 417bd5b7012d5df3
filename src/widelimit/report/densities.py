"""Densities of the preactivations h^ℓ at the end of a run, beside those it started from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..results import configuration
from . import charts, markup
from .charts import Chart, Curve
from .markup import Section
from .runs import Run

_BINS = 72  # at most; fewer where there are few neurons
_RANGE = 4.5  # standard deviations
_START = "at initialisation"


def section(runs: Sequence[Run]) -> list[Section]:
    """The densities, or how to record what they are made of; nothing where no run can have recorded it."""
    having = [run for run in runs if "final_preactivation" in run.result]
    without = [run.name for run in runs if run.trained and "final_preactivation" not in run.result]
    drawn = _charts(having)
    if not drawn and (having or not without):
        return []
    neurons = " or ".join(sorted({"particles" if run.infinite else "neurons" for run in having}))
    said = [f"Densities of h^ℓ at the last recorded step, over all {neurons} and samples."] if drawn else []
    if any(curve.name == _START for chart in drawn for curve in chart.curves):
        said[0] += " Dotted: where they started, which is Gaussian for each sample in the limit of infinite width."
    name, title = "densities", "Final preactivations"
    context = {**charts.drawn(drawn), "said": said, "numbers": None, "without": without}
    return [markup.section(name, name, title, shows=bool(drawn), **context)]


def density(preactivations: xr.DataArray, edges: np.ndarray) -> xr.DataArray:
    """Histograms (replicate, bin) of all neurons and samples, as densities over h."""
    middle = (edges[1:] + edges[:-1]) / 2
    rows = []
    for values in preactivations.transpose("replicate", ...).values.reshape(preactivations.sizes["replicate"], -1):
        values = values[np.isfinite(values)]
        counts = np.histogram(values, edges)[0]
        rows.append(counts / (len(values) * np.diff(edges)) if len(values) else np.full(len(middle), np.nan))
    return xr.DataArray(np.array(rows), dims=("replicate", "bin"), coords={"h": ("bin", middle)})


def initial(result: xr.Dataset, layer: int, at: np.ndarray) -> xr.DataArray | None:
    """The density of h^ℓ at initialisation in the limit of infinite width: Gaussians of variance Φ^{ℓ−1}_μμ(0).

    Of fully connected networks alone: the variances of others are not among what a result holds.
    """
    net = configuration(result).get("net")
    if not isinstance(net, dict) or net.get("type") != "MLP" or net.get("residual"):
        return None
    if layer == 1 and "input_kernel" in result:
        kernel = result["input_kernel"]
    elif "feature_kernel" in result and layer - 1 in result["layer"].values:
        kernel = result["feature_kernel"].sel(layer=layer - 1).isel(step=0, missing_dims="ignore")
        kernel = kernel.mean("replicate") if "replicate" in kernel.dims else kernel
    else:
        return None
    variance = np.diag(kernel.transpose("sample", "sample2").values)
    variance = variance[variance > 0]
    if not len(variance):
        return None
    each = np.exp(-(at[:, None] ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    return xr.DataArray(each.mean(axis=1), dims="bin", coords={"h": ("bin", at)})


def _charts(runs: Sequence[Run]) -> list[Chart]:
    """One chart for each layer, of the runs that have recorded the preactivations."""
    drawn = []
    for layer in sorted({int(layer) for run in runs for layer in run.result["layer"].values}):
        having = [run for run in runs if layer in run.result["layer"].values]
        each = [_preactivations(run.result, layer) for run in having]
        spreads = [float(values.std()) for values in each]
        spread = max((spread for spread in spreads if np.isfinite(spread)), default=0.0)
        if not spread > 0:
            continue
        count = min(values.sizes["replicate"] * values.sizes["neuron"] for values in each)
        bins = min(_BINS, round(4 * count ** (1 / 3)))
        edges = np.linspace(-_RANGE * spread, _RANGE * spread, bins + 1)
        curves = [Curve.of(run, density(values, edges), along="h") for run, values in zip(having, each, strict=True)]
        start = initial(having[0].result, layer, (edges[1:] + edges[:-1]) / 2)
        if start is not None:
            curves.append(Curve(_START, start, "h", colour=6, kind=2))  # in the colour of the text
        drawn.append(Chart(f"density-{layer}", f"Density of h^{layer}", curves, within=(0.0, 0.0), xlabel="h"))
    return drawn


def _preactivations(result: xr.Dataset, layer: int) -> xr.DataArray:
    values = result["final_preactivation"].sel(layer=layer)
    return values if "replicate" in values.dims else values.expand_dims("replicate")
