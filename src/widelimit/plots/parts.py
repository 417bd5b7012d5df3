"""What pictures are made of: curves with errors, points, kernels as images, and how axes look.

Sizes of letters are relative to matplotlib's `font.size`, so that one set of parts serves a screen and a printed page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from ..results import observables

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The colours of Okabe & Ito (2008), which those with any common colour blindness can tell apart."""


def colour(index: int) -> str:
    """The colour of the curve number `index`."""
    return PALETTE[index % len(PALETTE)]


def colours(count: int, first: int = 0) -> list[str]:
    """So many different colours, those of the palette from the number `first` on.

    Where these are too few, they are in the order of a sequential map, in which neighbours are alike.
    """
    if first + count <= len(PALETTE):
        return list(PALETTE[first : first + count])
    return [to_hex(each) for each in colormaps["inferno"](np.linspace(0.12, 0.86, count))]


def darker(colour: str) -> tuple[float, ...]:
    """A colour dark enough for text on white."""
    return tuple(0.8 * int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def band(axes: Axes, values: xr.DataArray, colour: str, label: str | None = None, along: str = "time", **line) -> None:
    """The mean over replicates as a line along a coordinate, and its standard error as a band.

    What is missing is passed over: a run of several has no values at the steps that others alone recorded.
    """
    curve(axes, *_moments(values, along), colour, label, **line)


def curve(
    axes: Axes,
    place: np.ndarray,
    middle: np.ndarray,
    error: np.ndarray,
    colour: str,
    label: str | None = None,
    **line,
) -> None:
    """A line with its errors as a band; of a single value a dash, which no one takes for a point, with its error."""
    if len(place) == 1:
        dash = {"marker": "_", "markersize": 14, "markeredgewidth": 2, "linestyle": "", "elinewidth": 1.1}
        axes.errorbar(place, middle, error, color=colour, label=label, **dash)
        return
    axes.plot(place, middle, color=colour, label=label, **line)
    _shade(axes, place, middle, error, colour)


def shade(axes: Axes, values: xr.DataArray, colour: str) -> None:
    """The standard error over replicates in time as a band, without the line."""
    _shade(axes, *_moments(values, "time"), colour)


def points(
    axes: Axes,
    values: xr.DataArray,
    colour: str,
    index: int = 0,
    of: int = 1,
    *,
    count: int = 10,
    size: float = 4.0,
    marker: str = "o",
    along: str = "time",
) -> None:
    """Means over replicates as points with standard errors, along the time or another coordinate.

    About `count` of them, at places that differ between the curves 0 ≤ `index` < `of`, so that they do not hide each
    other.
    """
    place, middle, error = _moments(values, along)
    stride = max(1, round(len(place) / (count - 1)))
    chosen = slice(index * stride // of, None, stride)
    axes.errorbar(
        place[chosen],
        middle[chosen],
        error[chosen],
        color=colour,
        marker=marker,
        markersize=size,
        markeredgecolor="white",
        markeredgewidth=size / 8,
        linestyle="",
        elinewidth=1.1,
        zorder=3,
    )


def _moments(values: xr.DataArray, along: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places along a coordinate where there are values, their means over replicates and their standard errors."""
    place, middle = values[along].values, observables.mean(values).values
    there = np.isfinite(place) & np.isfinite(middle)
    return place[there], middle[there], observables.standard_error(values).values[there]


def _shade(axes: Axes, place: np.ndarray, middle: np.ndarray, error: np.ndarray, colour: str) -> None:
    if np.isfinite(error).any() and np.any(error > 0):
        axes.fill_between(place, middle - error, middle + error, color=colour, alpha=0.22, linewidth=0)


def log_where_it_helps(axes: Axes, values: xr.DataArray, *, floor: float = 1e-4) -> None:
    """A logarithmic axis, down to `floor` × the largest, for what falls by more than a factor 20 and stays positive."""
    mean = observables.mean(values).values
    mean = mean[np.isfinite(mean)]
    if len(mean) and mean.min() > 0 and mean.max() > 20 * mean.min():
        axes.set_yscale("log")
        # Below that, what one sees of a theory is its truncation and of a network its rounding.
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, floor * mean.max()), top)


def decorate(axes: Axes, title: str, letter: str = "", xlabel: str = "time (step × step size)", **labels: str) -> None:
    """Title with the panel's letter, labels, and no more frame than is needed."""
    letter = rf"$\bf{{{letter}}}$   " if letter else ""
    axes.set_title(f"{letter}{title}", loc="left", fontsize="medium")
    axes.set_xlabel(xlabel, fontsize="small")
    if "ylabel" in labels:
        axes.set_ylabel(labels["ylabel"], fontsize="small")
    axes.tick_params(labelsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)


def legend_below(axes: Axes) -> None:
    """A legend under the axes, where it lies on no curve."""
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": 4, "frameon": False}
    axes.legend(fontsize="small", handlelength=1.3, columnspacing=1.2, **place)


def legend_above(part: Figure | SubFigure, lines: Sequence[Artist], labels: Sequence[str], **options: Any) -> None:
    """A legend over a figure in as few rows as its width allows."""
    for rows in range(1, len(labels) + 1):
        columns = math.ceil(len(labels) / rows)
        legend = part.legend(lines, labels, loc="outside upper center", ncols=columns, frameon=False, **options)
        if columns == 1 or legend.get_window_extent().width <= part.bbox.width:
            return
        legend.remove()


def wrapped(text: str, letters: int) -> str:
    """Text in lines of about so many letters, which break at spaces and within names LikeThis."""
    lines = [""]
    for word in re.split(r"(?<=\s)|(?<=[a-z])(?=[A-Z])", text):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def averaged(kernel: xr.DataArray) -> np.ndarray:
    """The mean over replicates as matrices over samples, other dimensions first, in their order.

    Blocks over outputs are averaged along their diagonal.
    """
    kernel = observables.mean(kernel)
    if "output_unit" in kernel.dims:
        units = xr.DataArray(np.arange(kernel.sizes["output_unit"]), dims="diagonal")
        kernel = kernel.isel(output_unit=units, output_unit2=units).mean("diagonal")
    return kernel.transpose(..., "sample", "sample2").values


def by_class(target: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """The samples ordered by class (or by target), and where in that order a class ends."""
    classes = -target.values if target.ndim == 1 else target.argmax("output_unit").values
    order = np.argsort(classes, kind="stable")
    edges = np.flatnonzero(np.diff(classes[order])) + 0.5
    return order, edges if len(edges) < 12 else edges[:0]


def matrix(
    axes: Axes, kernel: np.ndarray, order: np.ndarray, edges: np.ndarray, limit: float | None = None
) -> AxesImage:
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


def matrices(
    grid: np.ndarray, columns: Mapping[str, Sequence[xr.DataArray]], target: xr.DataArray, rows: Sequence[str]
) -> None:
    """Kernels as images in a grid of axes: a column for each name, in its colour, and a row for each of `rows`.

    A column has one scale, symmetric about zero, with a colour bar below it; samples are ordered by class.
    """
    order, edges = by_class(target)
    for index, (name, kernels) in enumerate(columns.items()):
        shown = [averaged(kernel) for kernel in kernels]
        limit = max(float(np.abs(kernel).max()) for kernel in shown)
        images = [matrix(axes, kernel, order, edges, limit) for axes, kernel in zip(grid[:, index], shown, strict=True)]
        grid[0, index].set_title(name, fontsize="small", color=darker(colour(index)))
        below = grid[-1, index].inset_axes((0, -0.17, 1, 0.09))  # as wide as the images
        bar = grid[-1, index].get_figure(root=False).colorbar(images[0], cax=below, orientation="horizontal")
        bar.ax.xaxis.set_major_locator(MaxNLocator(2, symmetric=True))
        bar.ax.tick_params(labelsize="x-small")
    for axes, row in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(row, fontsize="small")
