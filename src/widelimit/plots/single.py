"""One run in a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..checks import ArgumentError
from ..formatting import number
from ..results import configuration, expanded, observables, of_recorded_samples, summary
from ..results.combined import run_dims
from ..results.legal import taking_results
from ..results.registry import IMAGES
from ..results.times import recorded_steps
from . import parts

Panel = Callable[[Axes, str], None]
"""Draws on axes, under a letter."""

_MATH = {"ntk": "K", "feature_kernel": r"\Phi", "gradient_kernel": "G", "pseudo_gradient_kernel": r"\tilde G"}


@taking_results
def run(result: xr.Dataset) -> Figure:
    """One run: loss, task alignment and gradient alignment in time, and kernels at the start and the end.

    **Arguments:** `result`, as `train`, `theory` or [`result`] returns it. What it lacks is left out.

    **Returns:** a figure. Bands are ± one standard error over replicates.

    **Raises:** `ArgumentError` if the result holds several runs, or nothing to draw.
    """
    dims = run_dims(result)
    if dims:
        raise ArgumentError(f"result holds several runs, along {' and '.join(dims)}; select one of them.")
    result = of_recorded_samples(expanded(result))
    rows = [panels for panels in (_curves(result), _kernels(result)) if panels]
    if not rows:
        raise ArgumentError(f"result holds no losses or kernels to draw, but {', '.join(map(str, result.data_vars))}.")
    columns = max(map(len, rows))
    figure = Figure(figsize=(3.5 * columns, 3.5 * len(rows)), layout="constrained")
    figure.suptitle(_title(configuration(result), bool(summary.interruption(result))), fontsize=11, wrap=True)
    letters = iter("abcdef")
    for panels, row in zip(rows, figure.subplots(len(rows), columns, squeeze=False), strict=True):
        for axes, draw in zip(row, panels, strict=False):
            draw(axes, next(letters))
        for axes in row[len(panels) :]:
            axes.set_axis_off()
    return figure


def _curves(result: xr.Dataset) -> list[Panel]:
    """Panels of losses, task alignments and gradient alignments, of those that there are."""
    losses = {name: result[name] for name in ("loss", "test_loss") if name in result}
    tasks = observables.task_alignments(result)
    panels: list[Panel] = [partial(_losses, losses)] if losses else []
    panels += [partial(_task_alignments, tasks)] if tasks else []
    if observables.has_gradient_alignment(result):
        panels.append(partial(_gradient_alignments, observables.gradient_alignment(result)))
    return panels


def _losses(losses: Mapping[str, xr.DataArray], axes: Axes, letter: str) -> None:
    for index, (name, values) in enumerate(losses.items()):
        parts.band(axes, values, parts.PALETTE[index], {"loss": "training", "test_loss": "test"}[name])
    parts.decorate(axes, "Loss", letter, ylabel="sum over samples, or over test points")
    parts.log_where_it_helps(axes, losses.get("loss", next(iter(losses.values()))))
    parts.legend_below(axes)


def _task_alignments(alignments: Mapping[str, xr.DataArray], axes: Axes, letter: str) -> None:
    numbers = [0 if symbol == "K" else int(symbol.removeprefix("Φ^")) for symbol in alignments]
    for layer, values in zip(numbers, alignments.values(), strict=True):
        parts.band(axes, values, _shade(layer, max(numbers)), rf"$\Phi^{{{layer}}}$" if layer else "eNTK $K$")
    parts.decorate(axes, r"Task alignment $A(\cdot,\, yy^\top)$", letter)
    parts.legend_below(axes)


def _gradient_alignments(alignment: xr.DataArray, axes: Axes, letter: str) -> None:
    for layer in alignment["layer"].values:
        colour = _shade(int(layer), int(alignment["layer"].max()))
        parts.band(axes, alignment.sel(layer=layer), colour, f"layer {layer}")
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    parts.decorate(axes, r"Gradient alignment corr$(g, \tilde g)$", letter)
    parts.legend_below(axes)


def _kernels(result: xr.Dataset) -> list[Panel]:
    """Panels of the first kernel that there is, at the first and the last time, and of the second at the last one."""
    steps = {name: recorded_steps(result[name]) for name in IMAGES if name in result}
    held = [name for name in steps if len(steps[name])]
    shown = [(name, steps[name][0]) for name in held[:1] if len(steps[name]) > 1]
    shown += [(name, steps[name][-1]) for name in held[:2]]
    return [partial(_kernel, result, name, int(step)) for name, step in shown]


def _kernel(result: xr.Dataset, name: str, step: int, axes: Axes, letter: str) -> None:
    kernel, symbol = result[name].isel(step=step), _MATH[name]
    if "layer" in kernel.dims:
        kernel = kernel.isel(layer=-1)
        symbol = f"{symbol}^{{{int(kernel['layer'])}}}"
    samples = kernel.sizes["sample"]
    order, edges = parts.by_class(result["target"]) if "target" in result else (np.arange(samples), np.zeros(0))
    image = parts.matrix(axes, parts.averaged(kernel), order, edges)
    axes.figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02).outline.set_visible(False)
    time = number(float(result["time"][step]), 3)
    axes.set_title(rf"$\bf{{{letter}}}$   ${symbol}$ at time {time}", loc="left", fontsize="medium")
    axes.set_xlabel("sample, ordered by class" if "target" in result else "sample")


def _shade(layer: int, of: int) -> str:
    """The colour of a layer, the same in all panels; the first of the palette is that of the eNTK, as layer 0."""
    return parts.colours(of, first=1)[layer - 1] if layer else parts.PALETTE[0]


def _title(run: Mapping[str, Any], interrupted: bool) -> str:
    """What is known of the run, in a line."""
    name = lambda value: value.get("type") if isinstance(value, Mapping) else value  # noqa: E731
    words = [name(run.get("rule"))]
    net = run.get("net")
    if isinstance(net, Mapping) and "hidden_layers" in net:
        layers = net["hidden_layers"]
        words += [f"{layers} hidden layer{'' if layers == 1 else 's'}", name(net.get("nonlinearity"))]
        words += [f"richness {number(net['richness'])}"] if "richness" in net else []
    else:
        words.append(name(net))
    words += [summary.at_width(run), "interrupted" if interrupted else ""]
    return ", ".join(str(word) for word in words if word) or "A run"
