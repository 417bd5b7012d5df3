"""Corrections in 1/N in a picture: how far networks are from the limit, all along training."""

from __future__ import annotations

import math

import xarray as xr
from matplotlib.figure import Figure

from ..checks import ArgumentError
from ..results.expansions import WIDTH, expanded_quantities, is_expansion, sizes
from . import parts

_COLUMNS = 3


def expansion(result: xr.Dataset) -> Figure:
    """How far networks of 1000 neurons are from the limit, to leading order in 1/N, in the course of training.

    **Arguments:** `result`, as [`corrections`] and the fluctuations of `theory` return it.

    **Returns:** a figure with a panel for each quantity that has a course: |a|/N, how far the mean over networks is
    off, with its standard error as a band, and √(tr C/N), how far one network scatters; both over all entries and
    relative to the limit, for N = 1000. At another width the first is by 1000/N, the second by √(1000/N) as large.

    **Raises:** `ArgumentError` if it holds no corrections, or none with a course.
    """
    if not is_expansion(result):
        raise ArgumentError("result must be what widelimit.corrections returns, with the dimension measure.")
    courses = [name for name in expanded_quantities(result) if "step" in result[name].dims]
    if not courses:
        raise ArgumentError("result holds no quantity with recorded steps.")
    columns = min(len(courses), _COLUMNS)
    rows = math.ceil(len(courses) / columns)
    figure = Figure(figsize=(3.6 * columns + 0.6, 3.0 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(courses) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, courses, strict=False):
        of, time = sizes(result, name), result["time"].values
        shift, error = 100 * of["shift"].values / WIDTH, 100 * of["shift_error"].values / WIDTH
        scatter = 100 * of["scatter"].values / math.sqrt(WIDTH)
        parts.curve(axes, time, scatter, 0 * scatter, parts.colour(0), "one network")
        if "shift" in result["measure"]:  # it is not known of every theory
            parts.curve(axes, time, shift, error, parts.colour(1), "mean over networks")
        axes.set_ylim(bottom=0)
        parts.decorate(axes, name.replace("_", " "), ylabel=f"per cent of the limit, N = {WIDTH}")
    grid.flat[0].legend(fontsize="small", frameon=False)
    return figure
