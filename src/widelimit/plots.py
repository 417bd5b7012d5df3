"""Pictures of results: each function takes a result and returns a matplotlib figure, which the caller saves or shows.

Nothing here touches a display or matplotlib's global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from . import observables, results
from .checks import ArgumentError

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The colours of Okabe & Ito (2008), which those with any common colour blindness can tell apart."""

_SMALL, _TITLE = 9, 10  # sizes of letters, in points


def run(result: xr.Dataset) -> Figure:
    """One run: loss, task alignment and gradient alignment in time, and kernels at the start and the end.

    **Arguments:** `result`, as `train` returns it.

    **Returns:** a figure. Bands are ± one standard error over replicates.
    """
    figure = Figure(figsize=(10.5, 6.6), layout="constrained")
    figure.suptitle(_title(result), fontsize=11)
    loss, task, gradient, *kernels = figure.subplots(2, 3).flat
    _band(loss, result["loss"], PALETTE[0], "training")
    if "test_loss" in result:
        # The loss is a sum over samples; per sample the two can be compared.
        scale = result.sizes["sample"] / result.sizes["test_sample"]
        _band(loss, scale * result["test_loss"], PALETTE[1], r"test $\times P\,/\,P_\mathrm{test}$")
        loss.legend(frameon=False)
    _decorate(loss, "Loss, summed over samples", "a")
    _log_where_it_helps(loss, result["loss"])
    _band(task, observables.alignment(result["ntk"], result["target"]), PALETTE[0], "eNTK $K$")
    layers = result["layer"].values
    for layer in layers:
        kernel = result["feature_kernel"].sel(layer=layer)
        _band(task, observables.alignment(kernel, result["target"]), _shade(layer, layers), rf"$\Phi^{{{layer}}}$")
    task.legend(frameon=False)
    _decorate(task, r"Task alignment $A(\cdot,\, yy^\top)$", "b")
    alignment = observables.gradient_alignment(result)
    for layer in layers:
        _band(gradient, alignment.sel(layer=layer), _shade(layer, layers), f"layer {layer}")
    gradient.legend(frameon=False)
    gradient.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    _decorate(gradient, r"Gradient alignment corr$(g, \tilde g)$", "c")
    order, edges = _by_class(result["target"])
    top = result["feature_kernel"].isel(layer=-1)
    pictures = (
        (f"$K$ at time {float(result['time'][0]):.3g}", result["ntk"].isel(step=0)),
        (f"$K$ at time {float(result['time'][-1]):.3g}", result["ntk"].isel(step=-1)),
        (rf"$\Phi^{{{int(top.layer)}}}$ at time {float(result['time'][-1]):.3g}", top.isel(step=-1)),
    )
    for axes, letter, (title, kernel) in zip(kernels, "def", pictures, strict=True):
        image = _matrix(axes, _averaged(kernel), order, edges)
        figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02).outline.set_visible(False)
        axes.set_title(rf"$\bf{{{letter}}}$   {title}", loc="left", fontsize=_TITLE)
        axes.set_xlabel("sample, ordered by class")
    return figure


def comparison(result: xr.Dataset, labels: Sequence[str] | None = None) -> Figure:
    """Several rules, theory beside networks: curves in time, and the kernels each rule has learned.

    **Arguments:** `result`, with the dimensions of one run and `rule` and `width` besides, of which one width is
    infinite and one finite, as `widelimit demo` writes it; `labels`, the names of the rules in the picture.

    **Returns:** a figure. Lines are infinite width, points with bars networks ± standard error over networks.
    """
    missing = {"rule", "width"} - set(result.dims)
    if missing:
        raise ArgumentError(f"result lacks the dimension(s) {' and '.join(sorted(missing))}; draw one run with run().")
    theory, network = both_widths(result)
    names = [str(name) for name in result["rule"].values]
    labels = list(labels or [name.replace("_", " ") for name in names])
    figure = Figure(figsize=(11, 9.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.15))  # type: ignore[misc]
    _curves(above, theory, network, names, labels)
    _kernels(below, theory, network, names, labels)
    return figure


def _curves(
    part: SubFigure, theory: xr.Dataset, network: xr.Dataset, names: Sequence[str], labels: Sequence[str]
) -> None:
    """Loss, task alignment and gradient alignment in time: theory as lines, networks as points."""
    panels = (
        ("a", "Training loss", lambda one: one["loss"]),
        (
            "b",
            r"Task alignment of the eNTK, $A(K,\, yy^\top)$",
            lambda one: observables.alignment(one["ntk"], one["target"]),
        ),
        (
            "c",
            r"Gradient alignment, corr$(g, \tilde g)$",
            lambda one: observables.gradient_alignment(one).mean("layer"),
        ),
    )
    row = part.subplots(1, 3)
    for axes, (letter, title, measure) in zip(row, panels, strict=True):
        for index, name in enumerate(names):
            _band(axes, measure(theory.sel(rule=name)), _colour(index), labels[index])
            _points(axes, measure(network.sel(rule=name)), _colour(index), index, len(names))
        _decorate(axes, title, letter)
    _log_where_it_helps(row[0], theory["loss"])
    row[2].axhline(0, color="0.8", linewidth=0.8, zorder=0)
    lines = [Line2D([], [], color=_colour(index), linewidth=2.5) for index in range(len(names))]
    part.legend(lines, labels, loc="outside upper center", ncols=len(names), frameon=False, fontsize=10)
    kinds = [
        Line2D([], [], color="0.35", linewidth=2),
        Line2D([], [], color="0.35", marker="o", linestyle="", markersize=4),
    ]
    row[0].legend(kinds, _kinds(network), frameon=False, fontsize=_SMALL, loc="upper right")


def _kernels(
    part: SubFigure, theory: xr.Dataset, network: xr.Dataset, names: Sequence[str], labels: Sequence[str]
) -> None:
    """The last layer's feature kernels at the end of training: theory above, networks below, on one scale a rule."""
    grid = part.subplots(2, len(names), squeeze=False)
    order, edges = _by_class(theory["target"])
    for column, name in enumerate(names):
        pair = [_averaged(one.sel(rule=name)["feature_kernel"].isel(layer=-1, step=-1)) for one in (theory, network)]
        limit = max(float(np.nanmax(np.abs(kernel))) for kernel in pair)
        images = [
            _matrix(axes, kernel, order, edges, limit) for axes, kernel in zip(grid[:, column], pair, strict=True)
        ]
        grid[0, column].set_title(labels[column], color=_darker(_colour(column)), fontsize=_TITLE)
        bar = part.colorbar(images[0], ax=list(grid[:, column]), location="bottom", shrink=0.75, pad=0.02, aspect=22)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
        bar.ax.tick_params(labelsize=_SMALL, length=0)
    for axes, kind in zip(grid[:, 0], _kinds(network), strict=True):
        axes.set_ylabel(kind, fontsize=_TITLE)
    layer = int(theory["layer"][-1])
    title = rf"$\bf{{d}}$   Feature kernels $\Phi^{{{layer}}}$ at the end of training, samples ordered by class"
    part.suptitle(title, x=0.012, ha="left", fontsize=_TITLE)


def _kinds(network: xr.Dataset) -> tuple[str, str]:
    return "infinite width", f"networks, N = {int(network['width'])}"


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def both_widths(result: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """The infinite and the finite width of a result that holds several."""
    widths = result["width"].values
    if not (np.isinf(widths).any() and np.isfinite(widths).any()):
        raise ArgumentError(f"result must hold an infinite and a finite width; it holds {list(widths)}.")
    return result.sel(width=math.inf), result.sel(width=widths[np.isfinite(widths)].max())


def _title(result: xr.Dataset) -> str:
    try:
        told = results.configuration(result)
        rule, net = told["rule"]["type"], told["net"]
        width = "infinite width" if told["width"] == "inf" else f"width {told['width']}"
        shape = net["nonlinearity"]["type"]
        return f"{rule}, {net['hidden_layers']} hidden layers, {shape}, richness {net['richness']:g}, {width}"
    except (KeyError, TypeError):
        return "A run"


def _band(axes: Axes, values: xr.DataArray, colour: str, label: str) -> None:
    """The mean over replicates as a line, and its standard error as a band."""
    time = values["time"].values
    mean, error = observables.mean(values).values, observables.standard_error(values).values
    axes.plot(time, mean, color=colour, linewidth=1.8, label=label)
    if np.isfinite(error).any():
        axes.fill_between(time, mean - error, mean + error, color=colour, alpha=0.22, linewidth=0)


def _points(axes: Axes, values: xr.DataArray, colour: str, index: int, of: int) -> None:
    """Means over replicates as points with standard errors: about a dozen, at times that differ between rules."""
    count = values.sizes["step"]
    stride = max(1, round(count / 9))
    chosen = values.isel(step=slice(index * stride // of, None, stride))
    axes.errorbar(
        chosen["time"].values,
        observables.mean(chosen).values,
        observables.standard_error(chosen).values,
        color=colour,
        marker="o",
        markersize=4,
        markeredgecolor="white",
        markeredgewidth=0.5,
        linestyle="",
        elinewidth=1.1,
        zorder=3,
    )


def _log_where_it_helps(axes: Axes, values: xr.DataArray) -> None:
    mean = observables.mean(values).values
    mean = mean[np.isfinite(mean)]
    if len(mean) and mean.min() > 0 and mean.max() > 20 * mean.min():
        axes.set_yscale("log")
        # Below that, what one sees of a theory is its truncation and of a network its rounding.
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, 1e-4 * mean.max()), top)


def _decorate(axes: Axes, title: str, letter: str) -> None:
    axes.set_title(rf"$\bf{{{letter}}}$   {title}", loc="left", fontsize=_TITLE)
    axes.set_xlabel("time (step × step size)", fontsize=_SMALL)
    axes.tick_params(labelsize=_SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)


def _averaged(kernel: xr.DataArray) -> np.ndarray:
    """The mean over replicates as a matrix over samples; blocks over outputs are averaged along their diagonal."""
    kernel = observables.mean(kernel)
    if "unit" in kernel.dims:
        units = xr.DataArray(np.arange(kernel.sizes["unit"]), dims="diagonal")
        kernel = kernel.isel(unit=units, unit2=units).mean("diagonal")
    return kernel.transpose("sample", "sample2").values


def _by_class(target: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """The samples ordered by class (or by target), and where in that order a class ends."""
    classes = -target.values if target.ndim == 1 else target.argmax("unit").values
    order = np.argsort(classes, kind="stable")
    edges = np.flatnonzero(np.diff(classes[order])) + 0.5
    return order, edges if len(edges) < 12 else edges[:0]


def _matrix(axes: Axes, kernel: np.ndarray, order: np.ndarray, edges: np.ndarray, limit: float | None = None):
    """A kernel as an image, zero in white; fine lines part the classes."""
    kernel = kernel[np.ix_(order, order)]
    limit = float(np.nanmax(np.abs(kernel))) if limit is None else limit
    image = axes.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    for edge in edges:
        axes.axhline(edge, color="0.3", linewidth=0.6)
        axes.axvline(edge, color="0.3", linewidth=0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("0.7")
    return image


def _shade(layer: int, layers: np.ndarray) -> str:
    """The colour of a layer, so that its curves can be told from the eNTK's, which are the first of the palette."""
    return PALETTE[1 + int(np.flatnonzero(layers == layer)[0]) % (len(PALETTE) - 1)]


def _darker(colour: str) -> tuple[float, ...]:
    """A colour dark enough for text on white."""
    return tuple(0.8 * int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
