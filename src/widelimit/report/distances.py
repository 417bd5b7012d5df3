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
from .markup import Section, Table
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
            over_run = compare(run.whole, reference.whole, over_run=True)
            measured.append((run, reference, over_run, compare(run.whole, reference.whole)))
        except ArgumentError as error:
            refused.append((run, reference, str(error)))
    theory = all(reference.infinite and not run.infinite for run, reference in pairs)
    alike = [run.name for run, reference, *_ in measured if same_draw(run.configuration, reference.configuration)]
    return [
        markup.section(
            "distances",
            "distances",
            "Networks against theory" if theory else "Distances between runs",
            **charts.drawn(_charts([(run, in_time) for run, _, _, in_time in measured])),
            said=[],
            numbers=None,
            refused=refused,
            alike=alike,
            table=_table([(run, reference, over_run) for run, reference, over_run, _ in measured])
            if measured
            else None,
        )
    ]


def _table(measured: Sequence[tuple[Run, Run, xr.Dataset]]) -> Table:
    """A row for each quantity and layer, some columns for each pair."""
    # What has units of its own says little beside many others.
    columns = {what: head for what, head in _COLUMNS.items() if what != "absolute" or len(measured) <= _FEW}
    rows = []
    for label, name, layer in _rows([over_run for _, _, over_run in measured]):
        cells = [markup.symbols(label)]
        for _, _, over_run in measured:
            values = over_run.get(name)
            if values is None or (layer is not None and layer not in values["layer"].values):
                cells += [""] * len(columns)
                continue
            values = values if layer is None else values.sel(layer=layer)
            written = {
                what: _written(factor * float(values.sel(measure=what))) for what, (_, factor) in columns.items()
            }
            if 0 < float(values.sel(measure="relative")) < ROUNDING:
                written["standard_errors"] = "rounding"
            cells += list(written.values())
        rows.append(cells)
    above = [("", 1), *((_pair(run, reference), len(columns)) for run, reference, _ in measured)]
    heads = ("", *(head for _ in measured for head, _ in columns.values()))
    times = [over_run.attrs["times"] for _, _, over_run in measured]
    caption = f"Distances over {times[0] if common(times) else 'the times that both have recorded'}"
    return Table(heads, rows, caption, above=above)


def _pair(run: Run, reference: Run) -> str:
    """Which run is compared with which."""
    if run.family and run.family == reference.family:
        return markup.pair(run, run.family, f"{run.member} from {reference.member}")
    return markup.pair(run, run.name, f"from {reference.name}")


def _rows(measured: Sequence[xr.Dataset]) -> list[tuple[str, str, int | None]]:
    """The quantities that any of the pairs has: what each is called, its name, and its layer."""
    rows = []
    for name, words in COMPARED.items():
        having = [distances[name] for distances in measured if name in distances]
        layers = sorted({int(layer) for values in having if "layer" in values.dims for layer in values["layer"].values})
        rows += [
            (words.replace("ℓ", str(layer)) if "ℓ" in words else f"{words}, layer {layer}", name, layer)
            for layer in layers
        ]
        if having and not layers:
            rows.append((words, name, None))
    return rows


def _charts(measured: Sequence[tuple[Run, xr.Dataset]]) -> list[Chart]:
    """Relative distances of K, of the last Φ^ℓ and of the outputs in time, beside what chance would put there."""
    drawn = []
    for name, symbol in {"ntk": "K", "feature_kernel": "Φ", "output": "f"}.items():
        curves = []
        for run, distance in measured:
            if name not in distance or distance[name].sizes["step"] < 2:
                continue
            values = distance[name]
            if "layer" in values.dims:
                symbol = f"{symbol[0]}^{int(values['layer'][-1])}"
                values = values.isel(layer=-1)
            values = (100 * values).where(np.isfinite(values))
            look = {"family": run.family, "colour": run.colour, "kind": run.kind}
            curves.append(Curve(run.name, values.sel(measure="relative"), **look))
            curves.append(Curve("", values.sel(measure="chance"), colour=run.colour, kind=_CHANCE))
        if curves:
            drawn.append(Chart(f"distance-{name}", f"Distance of {symbol}, %", curves, within=(0.0, 0.0)))
    return drawn


def _written(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:#.2g}".rstrip(".") if value < 99.5 else f"{value:.0f}"
