"""One run in a picture."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ..results import configuration, observables
from . import parts


def run(result: xr.Dataset) -> Figure:
    """One run: loss, task alignment and gradient alignment in time, and kernels at the start and the end.

    **Arguments:** `result`, as `train` returns it.

    **Returns:** a figure. Bands are ± one standard error over replicates.
    """
    figure = Figure(figsize=(10.5, 6.6), layout="constrained")
    figure.suptitle(_title(result), fontsize=11)
    loss, task, gradient, *kernels = figure.subplots(2, 3).flat
    parts.band(loss, result["loss"], parts.PALETTE[0], "training")
    if "test_loss" in result:
        # The loss is a sum over samples; per sample the two can be compared.
        scale = result.sizes["sample"] / result.sizes["test_sample"]
        parts.band(loss, scale * result["test_loss"], parts.PALETTE[1], r"test $\times P\,/\,P_\mathrm{test}$")
        loss.legend(frameon=False)
    parts.decorate(loss, "Loss, summed over samples", "a")
    parts.log_where_it_helps(loss, result["loss"])
    parts.band(task, observables.alignment(result["ntk"], result["target"]), parts.PALETTE[0], "eNTK $K$")
    layers = result["layer"].values
    for layer in layers:
        kernel = result["feature_kernel"].sel(layer=layer)
        parts.band(task, observables.alignment(kernel, result["target"]), _shade(layer, layers), rf"$\Phi^{{{layer}}}$")
    task.legend(frameon=False)
    parts.decorate(task, r"Task alignment $A(\cdot,\, yy^\top)$", "b")
    alignment = observables.gradient_alignment(result)
    for layer in layers:
        parts.band(gradient, alignment.sel(layer=layer), _shade(layer, layers), f"layer {layer}")
    gradient.legend(frameon=False)
    gradient.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    parts.decorate(gradient, r"Gradient alignment corr$(g, \tilde g)$", "c")
    order, edges = parts.by_class(result["target"])
    top = result["feature_kernel"].isel(layer=-1)
    pictures = (
        (f"$K$ at time {float(result['time'][0]):.3g}", result["ntk"].isel(step=0)),
        (f"$K$ at time {float(result['time'][-1]):.3g}", result["ntk"].isel(step=-1)),
        (rf"$\Phi^{{{int(top.layer)}}}$ at time {float(result['time'][-1]):.3g}", top.isel(step=-1)),
    )
    for axes, letter, (title, kernel) in zip(kernels, "def", pictures, strict=True):
        image = parts.matrix(axes, parts.averaged(kernel), order, edges)
        figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02).outline.set_visible(False)
        axes.set_title(rf"$\bf{{{letter}}}$   {title}", loc="left", fontsize="medium")
        axes.set_xlabel("sample, ordered by class")
    return figure


def _title(result: xr.Dataset) -> str:
    try:
        told = configuration(result)
        rule, net = told["rule"]["type"], told["net"]
        width = "infinite width" if told["width"] == "inf" else f"width {told['width']}"
        shape = net["nonlinearity"]["type"]
        return f"{rule}, {net['hidden_layers']} hidden layers, {shape}, richness {net['richness']:g}, {width}"
    except (KeyError, TypeError):
        return "A run"


def _shade(layer: int, layers: np.ndarray) -> str:
    """The colour of a layer, so that its curves can be told from the eNTK's, which are the first of the palette."""
    return parts.PALETTE[1 + int(np.flatnonzero(layers == layer)[0]) % (len(parts.PALETTE) - 1)]
