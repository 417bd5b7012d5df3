"""How far runs lie from theory, or from each other: curves in time, and tables over the whole run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from ..results.distances import ROUNDING, compare, same_draw
from ..results.registry import COMPARED
from . import charts, markup
from .charts import Chart, Curve
from .markup import Section
from .runs import Run, common, references

_COLUMNS = {
    "relative": ("relative %", 100.0),
    "chance": ("by chance %", 100.0),
    "standard_errors": ("in s.e.", 1.0),
    "absolute": ("absolute", 1.0),
}
_FEW = 2
_CHANCE = 2  # of the dashes


def section(runs: Sequence[Run]) -> list[Section]:
    """The section on distances; nothing for a single run."""
    pairs = references(runs)
    if not pairs:
        return []
    refused = []
    measured: list[tuple[Run, Run, xr.Dataset, xr.Dataset]] = []
    for run, reference in pairs:
        try:
            over_run = compare(run.result, reference.result, over_run=True)
            measured.append((run, reference, over_run, compare(run.result, reference.result)))
        except ArgumentError as error:
            refused.append((run, reference, str(error)))
    inside = "".join(
        f"<p>{markup.text(run.name)} cannot be subtracted from {markup.text(reference.name)}: "
        f"<q>{markup.text(reason)}</q> Their curves are shown together all the same.</p>"
        for run, reference, reason in refused
    )
    theory = all(reference.infinite and not run.infinite for run, reference in pairs)
    title = "Networks against theory" if theory else "Distances between runs"
    if not measured:
        return [Section("distances", title, "", inside)]
    found = _charts([(run, in_time) for run, _, _, in_time in measured])
    told = (
        "<p>The norm of the difference of two means, in % of the norm of the reference. <em>By chance</em> (dotted) is "
        "what their standard errors alone would leave; <em>in s.e.</em>, the ratio of the two, is near 1 where nothing "
        "but chance lies between them.</p>"
    )
    alike = [run for run, reference, _, _ in measured if same_draw(run.told, reference.told)]
    if alike:
        names = ", ".join(markup.text(run.name) for run in alike)
        told += (
            "<p>Of the same seed and width as the reference, and so with the same initial weights: "
            f"{names}. Chance does less there than it says here.</p>"
        )
    shown = {curve.name: curve for chart in found for curve in chart.curves if curve.name}
    legend = charts.legend(list(shown.values()))
    tables = _table([(run, reference, over_run) for run, reference, over_run, _ in measured])
    drawn = charts.grid(found) if found else ""
    return [Section("distances", title, told + legend, inside + drawn + tables)]


def _table(measured: Sequence[tuple[Run, Run, xr.Dataset]]) -> str:
    """A row for each quantity and layer, some columns for each pair."""
    # What has units of its own says little beside many others.
    columns = {what: told for what, told in _COLUMNS.items() if what != "absolute" or len(measured) <= _FEW}
    rows = []
    for label, name, layer in _rows([over_run for _, _, over_run in measured]):
        cells = [markup.with_symbols(label)]
        for _, _, over_run in measured:
            one = over_run.get(name)
            if one is None or (layer is not None and layer not in one["layer"].values):
                cells += [""] * len(columns)
                continue
            one = one if layer is None else one.sel(layer=layer)
            told = {what: _written(factor * float(one.sel(measure=what))) for what, (_, factor) in columns.items()}
            if 0 < float(one.sel(measure="relative")) < ROUNDING:
                told["standard_errors"] = "rounding"
            cells += told.values()
        rows.append(cells)
    above = [(_pair(run, reference), len(columns)) for run, reference, _ in measured]
    heads = ("", *(head for _ in measured for head, _ in columns.values()))
    times = [over_run.attrs["times"] for _, _, over_run in measured]
    caption = f"Distances over {markup.text(times[0]) if common(times) else 'the times that both have recorded'}"
    return markup.table(heads, rows, caption, above=[("", 1), *above])


def _pair(run: Run, reference: Run) -> str:
    """Which run is compared with which."""
    if run.family and run.family == reference.family:
        names = (run.family, f"{run.member} from {reference.member}")
    else:
        names = (run.name, f"from {reference.name}")
    return f"{charts.swatch(run)} {markup.text(names[0])} <span>{markup.text(names[1])}</span>"


def _rows(measured: Sequence[xr.Dataset]) -> list[tuple[str, str, int | None]]:
    """The quantities that any of the pairs has: what each is called, its name, and its layer."""
    found = []
    for name, words in COMPARED.items():
        having = [one[name] for one in measured if name in one]
        layers = sorted({int(layer) for one in having if "layer" in one.dims for layer in one["layer"].values})
        if layers:
            found += [
                (words.replace("ℓ", str(layer)) if "ℓ" in words else f"{words}, layer {layer}", name, layer)
                for layer in layers
            ]
        elif having:
            found.append((words, name, None))
    return found


def _charts(measured: Sequence[tuple[Run, xr.Dataset]]) -> list[Chart]:
    """Relative distances of K, of the last Φ^ℓ and of the outputs in time, beside what chance would put there."""
    wanted = [("ntk", "K"), ("feature_kernel", "Φ"), ("output", "f")]
    found = []
    for name, symbol in wanted:
        curves, plain = [], symbol
        for run, distance in measured:
            if name not in distance:
                continue
            values = distance[name]
            if "layer" in values.dims:
                plain = f"{symbol}^{int(values['layer'][-1])}"
                values = values.isel(layer=-1)
            values = (100 * values).where(np.isfinite(values))
            if values.sizes["step"] < 2:
                continue
            curves.append(Curve(run.name, values.sel(measure="relative"), run.colour, run.kind, family=run.family))
            curves.append(Curve("", values.sel(measure="chance"), run.colour, _CHANCE))
        if curves:
            found.append(Chart(f"distance-{name}", f"Distance of {plain}, %", curves, within=(0.0, 0.0)))
    return found


def _written(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:#.2g}".rstrip(".") if value < 100 else f"{value:.0f}"
