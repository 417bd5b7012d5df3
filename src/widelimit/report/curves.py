"""The sections of a page that hold curves in time: losses, task alignment, gradient alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import xarray as xr

from ..results import observables
from . import charts, series
from .charts import Chart, Curve
from .markup import Section
from .runs import Run
from .theme import COLOURS

Measured = Mapping[str, xr.DataArray]

_LOSSES = {
    "training loss": ("Training loss", "summed over samples"),
    "test loss": ("Test loss", "summed over test points"),
    "test error": ("Test error, %", ""),
}


def losses(runs: Sequence[Run]) -> list[Section]:
    """Losses and the test error."""
    measured = _measured(runs, series.losses)
    drawn = []
    for name, (title, unit) in _LOSSES.items():
        percent = name == "test error"
        curves = [
            Curve.of(run, 100.0 * values[name] if percent else values[name])
            for run, values in measured
            if name in values
        ]
        if curves:
            within = (0.0, 1.0) if percent else None
            drawn.append(Chart(name.replace(" ", "-"), title, curves, unit, log=not percent, within=within))
    said = ["Losses are summed over samples, or over test points, as they were recorded."]
    said[0] += " Bands, and bars on points, are ± one standard error over replicates."
    if any("test error" in values and values["test error"].isnull().any() for _, values in measured):
        said.append("Where the output is zero, as it is at the start, it has no class and the test error no value.")
    return charts.section("loss", "Loss" if len(drawn) == 1 else "Loss and test error", drawn, said)


def alignments(runs: Sequence[Run]) -> list[Section]:
    """How far kernels point along the task, and pseudo-gradients along gradients."""
    tasks = _alignments(runs, observables.task_alignments, "A({}, yyᵀ)", "task")
    gradients = _alignments(runs, series.gradient_alignments, "corr(g, g̃) of {}", "gradient", (0.0, 0.0))
    task = ["A(K, yyᵀ) is the cosine between a kernel and that of the targets, yyᵀ."] if tasks else []
    gradient = [
        "corr(g, g̃) is the cosine between the gradients and what the rule sends back in their place: 1 under gradient "
        "descent."
    ]
    gradient = gradient if gradients else []
    if len(runs) == 1:
        return charts.section("alignment", "Alignment", [*tasks, *gradients], [*task, *gradient])
    return [
        *charts.section("task-alignment", "Task alignment", tasks, task),
        *charts.section("gradient-alignment", "Gradient alignment", gradients, gradient),
    ]


def _measured(
    runs: Sequence[Run], measure: Callable[[xr.Dataset], dict[str, xr.DataArray]]
) -> list[tuple[Run, Measured]]:
    """What there is to draw of each run that was recorded in time."""
    return [
        (run, {name: series.in_time(run.result, values) for name, values in measure(run.result).items()})
        for run in runs
        if len(run.times)
    ]


def _alignments(
    runs: Sequence[Run],
    measure: Callable[[xr.Dataset], dict[str, xr.DataArray]],
    title: str,
    name: str,
    within: tuple[float, float] | None = None,
) -> list[Chart]:
    """A chart for each quantity with all runs, or one chart with all quantities of a single run."""
    measured = _measured(runs, measure)
    if len(runs) > 1:
        quantities = sorted(dict.fromkeys(quantity for _, values in measured for quantity in values), key=_layer)
        return [
            Chart(
                f"{name}-{index}",
                title.format(quantity),
                [Curve.of(run, values[quantity]) for run, values in measured if quantity in values],
                within=within,
            )
            for index, quantity in enumerate(quantities)
        ]
    # What is of the whole network has the first colour, and a layer always the same one.
    curves = [
        Curve(quantity, values, symbols=True, colour=_layer(quantity), kind=_layer(quantity) // COLOURS)
        for _, quantities in measured
        for quantity, values in quantities.items()
    ]
    return [Chart(name, title.format("·" if name == "task" else "each layer"), curves, within=within)] if curves else []


def _layer(quantity: str) -> int:
    """The layer in the name of a quantity, and zero for what is of the whole network."""
    digits = "".join(letter for letter in quantity if letter.isdigit())
    return int(digits) if digits else 0
