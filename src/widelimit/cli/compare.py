"""`widelimit compare`: how far two saved runs lie apart, and how far chance alone would put them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
import xarray as xr

from .. import results
from ..formatting import number
from ..results import configuration, distances, summary
from ..results.registry import COMPARED
from . import destinations


@dataclass(frozen=True)
class Compare:
    """Say how far two saved runs of one task lie apart: networks from theory, one rule or solver from another.

    Prints a table of distances over the whole run, beside those that chance alone would leave. Steps are matched by
    time, so that step sizes may differ.
    """

    a: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="a.nc", metavar="A.NC")]
    """A NetCDF file written by widelimit."""
    b: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="b.nc", metavar="B.NC")]
    """Another, whose norm the distances are relative to: theory, where one of the two is theory."""
    out: Path | None = None
    """Save the distances at every time in this NetCDF file."""
    overwrite: bool = False
    """Replace that file if it exists."""

    def run(self) -> int:
        """Compare, print and save; returns the exit code."""
        if self.out is not None:
            destinations.check(self.out, self.overwrite, inputs=[self.a, self.b])
        a, b = results.load(self.a), results.load(self.b)
        at_times, over_run = distances.compare(a, b), distances.compare(a, b, over_run=True)
        sides = [(side, f"{path}: {_described(run)}") for side, path, run in (("a", self.a, a), ("b", self.b, b))]
        path, code = None, 0
        if self.out is not None:
            named = at_times.assign_attrs(file_a=str(self.a), file_b=str(self.b))
            path, code = destinations.keep(named, self.out, self.overwrite)
        print("\n".join(summary.aligned(sides + _cautions(a, b))) + "\n")
        print("\n".join(lines(at_times, over_run)))
        print("\n".join(notes(a, b, at_times, over_run)))
        if path is not None:
            print(f"Saved in {path}; xarray.load_dataset opens it.")
        return code


def lines(at_times: xr.Dataset, over_run: xr.Dataset) -> list[str]:
    """The table: each quantity and layer over the whole run, and where it is worst."""
    numbered = "step" in at_times.coords
    heads = ("quantity", "layer", "absolute", "relative %", "by chance %", "in s.e.")
    heads += ("worst at step (time)" if numbered else "worst at time", "in s.e. there")
    rows, above = [], ""
    for name, layer, each, whole in _entries(at_times, over_run):
        absolute, relative, chance, _ = (float(measure) for measure in whole)
        errors, worst = _standard_errors(whole, each)
        place, there = "", ""
        if worst is not None:
            place, there = number(float(each["time"][worst])), number(float(each[-1, worst]), 3)
            if numbered:
                place = f"{int(each['step'][worst])} ({place})"
        title = COMPARED[name] if name != above else ""
        above = name
        numbers = (number(value, 3) for value in (absolute, 100 * relative, 100 * chance))
        rows.append((title, layer, *numbers, errors, place, there))
    return summary.table(heads, rows)


def notes(a: xr.Dataset, b: xr.Dataset, at_times: xr.Dataset, over_run: xr.Dataset) -> list[str]:
    """What the reader of the table has to know."""
    text = [
        f"(over {at_times.attrs['times']}; relative to the norm of b; s.e.: standard errors of both means over "
        "replicates,",
        " about 1 if nothing but chance lies between a and b)",
    ]
    single = [side for side, run in (("a", a), ("b", b)) if run.sizes.get("replicate") == 1]
    if single:
        whose = "a and b have one replicate each: their" if len(single) == 2 else f"{single[0]} has one replicate: its"
        text.append(f"{whose} standard error is unknown, and with it what chance would do (–).")
    elif "replicate" not in a.dims and "replicate" not in b.dims:
        text.append("Neither a nor b has replicates: both are exact, and differ by more than chance wherever they do.")
    if any(_standard_errors(whole, each)[0] == _BY_ROUNDING for _, _, each, whole in _entries(at_times, over_run)):
        text.append(
            f"({_BY_ROUNDING}: a relative distance below {distances.ROUNDING:g}, of which standard errors say nothing)"
        )
    first = next(_entries(at_times, over_run))[2]
    lost = int(first.sel(measure="absolute").isnull().sum())
    if lost:
        text.append(
            f"Left out: {lost} of these times, at which one side has diverged (all replicates, or all but one)."
        )
    configurations = [configuration(run) for run in (a, b)]
    losses = [described.get("loss") for described in configurations]
    if None not in losses and losses[0] != losses[1]:
        first, second = map(summary.described, losses)
        text.append(f"The losses are not compared: that of a is {first}, that of b {second}.")
    if distances.same_draw(*configurations):
        text.append(
            "a and b have the same seed and width, and with them the same initial weights: they are not independent, "
            "and chance does less than it says here. Train one of them with another seed."
        )
    return text


_BY_ROUNDING = "rounding"


def _entries(at_times: xr.Dataset, over_run: xr.Dataset) -> Iterator[tuple[str, str, xr.DataArray, xr.DataArray]]:
    """Each quantity and layer: its name, the layer, its measures (measure, step) and those of the run (measure)."""
    for name, whole in over_run.data_vars.items():
        each = at_times[name].transpose("measure", "step", ...)
        if "layer" not in whole.dims:
            yield str(name), "", each, whole
            continue
        for layer in whole["layer"].values:
            yield str(name), str(layer), each.sel(layer=layer), whole.sel(layer=layer)


def _standard_errors(whole: xr.DataArray, each: xr.DataArray) -> tuple[str, int | None]:
    """The distance over the run in standard errors, and the place of the worst time, where it is more than rounding.

    The worst time is that of the most standard errors and, where these are all unknown or infinite, of the largest
    distance.
    """
    absolute, relative, _, errors = (float(measure) for measure in whole)
    if not absolute > 0:  # equal everywhere, or compared nowhere
        return number(errors, 3), None
    if relative < distances.ROUNDING:
        return _BY_ROUNDING, None
    distance, known = each.sel(measure="absolute").values, each.sel(measure="standard_errors").values
    candidate = distance > distances.ROUNDING * absolute / relative
    known = np.where(candidate & ~np.isnan(known), known, -np.inf)
    return number(errors, 3), int(np.lexsort((np.where(candidate, distance, -np.inf), known))[-1])


def _described(run: xr.Dataset) -> str:
    setting = summary.setting(configuration(run))
    replicates = run.sizes.get("replicate")
    if replicates is None:
        return setting
    return f"{setting}, {replicates} replicate{'' if replicates == 1 else 's'}"


def _cautions(a: xr.Dataset, b: xr.Dataset) -> list[tuple[str, str]]:
    sides = (("a", a), ("b", b))
    rows = [(side, row) for side, run in sides for row in summary.cautions(run)]
    return [(f"{side} {name}", text) for side, (name, text) in rows]
