"""Several rules, theory beside networks, in a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from ..checks import ArgumentError
from ..formatting import number
from ..results import expanded, observables
from ..results.combined import both_widths
from ..results.legal import taking_results
from ..results.times import recorded_steps
from . import parts

_LETTERS = 120  # in a line as wide as the figure


@taking_results
def comparison(result: xr.Dataset, labels: Sequence[str] | None = None) -> Figure:
    """Several rules, theory beside networks: curves in time, and the kernels each rule has learned.

    **Arguments:** `result`, with the dimensions of one run and `rule` and `width` besides, of which one width is
    infinite and one finite, as `widelimit demo` writes it; `labels`, the names of the rules in the picture.

    **Returns:** a figure. Lines are infinite width, points with bars networks ± standard error over networks, each at
    its own recorded steps. Kernels are those of the last of these, which the picture says where they differ.
    """
    missing = {"rule", "width"} - set(result.dims)
    if missing:
        raise ArgumentError(f"result lacks the dimension(s) {' and '.join(sorted(missing))}; draw one run with run().")
    theory, network = both_widths(expanded(result))
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
        ("a", "Training loss", lambda run: run["loss"]),
        (
            "b",
            r"Task alignment of the eNTK, $A(K,\, yy^\top)$",
            lambda run: observables.alignment(run["ntk"], run["target"]),
        ),
        (
            "c",
            r"Gradient alignment, corr$(g, \tilde g)$",
            lambda run: observables.gradient_alignment(run).mean("layer"),
        ),
    )
    row = part.subplots(1, 3)
    colours = parts.colours(len(names))
    for axes, (letter, title, measure) in zip(row, panels, strict=True):
        for index, name in enumerate(names):
            parts.band(axes, measure(theory.sel(rule=name)), colours[index], labels[index])
            parts.points(axes, measure(network.sel(rule=name)), colours[index], index, len(names))
        parts.decorate(axes, title, letter)
    parts.log_where_it_helps(row[0], theory["loss"])
    row[2].axhline(0, color="0.8", linewidth=0.8, zorder=0)
    lines = [Line2D([], [], color=colour, linewidth=2.5) for colour in colours]
    parts.legend_above(part, lines, labels, fontsize=10)
    kinds = [
        Line2D([], [], color="0.35", linewidth=2),
        Line2D([], [], color="0.35", marker="o", linestyle="", markersize=4),
    ]
    part.legend(kinds, _kinds(network), loc="outside lower center", ncols=2, frameon=False, fontsize=10)


def _kernels(
    part: SubFigure, theory: xr.Dataset, network: xr.Dataset, names: Sequence[str], labels: Sequence[str]
) -> None:
    """The last layer's feature kernels at the end of training: theory above, networks below, on one scale a rule."""
    grid = part.subplots(2, len(names), squeeze=False)
    order, edges = parts.by_class(theory["target"])
    kernels = [[_last(width.sel(rule=name)["feature_kernel"]) for width in (theory, network)] for name in names]
    times = [float(kernel["time"]) for pair in kernels for kernel in pair if kernel is not None]
    together, colours = np.allclose(times, times[:1]), parts.colours(len(names))
    for column, pair in enumerate(kernels):
        shown = [None if kernel is None else parts.averaged(kernel) for kernel in pair]
        limit = max((float(np.nanmax(np.abs(kernel))) for kernel in shown if kernel is not None), default=0.0)
        images = []
        for axes, kernel, values in zip(grid[:, column], pair, shown, strict=True):
            if kernel is None or values is None:
                axes.set(xticks=[], yticks=[], box_aspect=1)
                axes.spines[:].set_color("0.7")
                axes.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axes.transAxes)
                continue
            images.append(parts.matrix(axes, values, order, edges, limit))
            if not together:
                axes.set_xlabel(f"time {number(float(kernel['time']), 3)}", fontsize="small")
        title = parts.wrapped(labels[column], _LETTERS // len(names))
        grid[0, column].set_title(title, color=parts.darker(colours[column]), fontsize="medium")
        if not images:
            continue
        bar = part.colorbar(images[0], ax=list(grid[:, column]), location="bottom", shrink=0.75, pad=0.02, aspect=22)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
        bar.ax.tick_params(labelsize="small", length=0)
    for axes, kind in zip(grid[:, 0], _kinds(network), strict=True):
        axes.set_ylabel(kind, fontsize="medium")
    layer = int(theory["layer"][-1])
    when = "at the end of training" if together else "at the last recorded time of each"
    title = rf"$\bf{{d}}$   Feature kernels $\Phi^{{{layer}}}$ {when}, samples ordered by class"
    part.suptitle(title, x=0.012, ha="left", fontsize="medium")


def _last(kernel: xr.DataArray) -> xr.DataArray | None:
    """The last layer's kernel at the last step that the run recorded; None where it recorded none."""
    steps = recorded_steps(kernel)
    return kernel.isel(layer=-1, step=steps[-1]) if len(steps) else None


def _kinds(network: xr.Dataset) -> tuple[str, str]:
    return "infinite width", f"networks, N = {int(network['width'])}"
