"""The sections of a page that hold curves: losses, task alignment, gradient alignment, densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import xarray as xr

from . import charts, densities, markup, series
from .charts import Chart, Curve
from .markup import Section
from .runs import Run

Measured = Mapping[str, xr.DataArray]

_OUTER = "<math><mi>y</mi><msup><mi>y</mi><mo>⊤</mo></msup></math>"
_CORRELATION = (
    '<math><mi>corr</mi><mo stretchy="false">(</mo><mi>g</mi><mo>,</mo><mover accent="true"><mi>g</mi>'
    '<mo stretchy="false">~</mo></mover><mo stretchy="false">)</mo></math>'
)
_ERRORS = "Bands, and bars on points, are ± one standard error over replicates."


def losses(runs: Sequence[Run]) -> list[Section]:
    """Losses and the test error."""
    each = _measured(runs, series.losses)
    found = []
    for name, title in (
        ("training loss", "Training loss"),
        ("test loss", "Test loss"),
        ("test error", "Test error, %"),
    ):
        factor = 100.0 if name == "test error" else 1.0
        curves = [Curve.of(run, factor * one[name]) for run, one in each if name in one]
        if curves:
            within = (0.0, 1.0) if name == "test error" else None
            found.append(Chart(name.replace(" ", "-"), title, curves, log=name != "test error", within=within))
    told = f"<p>Losses are sums over the samples, or over the test points. {_ERRORS}</p>"
    if any("test error" in one and one["test error"].isnull().any() for _, one in each):
        told += "<p>Where the output is zero, as it is at the start, it has no class and the test error no value.</p>"
    return _section("loss", "Loss" if len(found) == 1 else "Loss and test error", found, told)


def alignments(runs: Sequence[Run]) -> list[Section]:
    """How far kernels point along the task, and pseudo-gradients along gradients."""
    tasks = _alignments(runs, series.task_alignments, markup.alignment, "A({}, yyᵀ)", "task")
    gradients = _alignments(runs, series.gradient_alignments, _correlation, "corr(g, g̃) of {}", "gradient", (0.0, 0.0))
    of_kernel = markup.alignment(markup.symbol("K"))
    task = f"<p>{of_kernel} is the cosine between a kernel and that of the targets, {_OUTER}.</p>"
    gradient = (
        f"<p>{_CORRELATION} is the cosine between the gradients and what the rule sends back in their place: 1 under "
        "gradient descent.</p>"
    )
    if len(runs) == 1:
        return _section("alignment", "Alignment", [*tasks, *gradients], task + gradient)
    return _section("task-alignment", "Task alignment", tasks, task) + _section(
        "gradient-alignment", "Gradient alignment", gradients, gradient
    )


def final_densities(runs: Sequence[Run]) -> list[Section]:
    """Densities of the preactivations at the end, or how to record what they are made of."""
    name, title = "densities", "Final preactivations"
    having = [run for run in runs if "final_preactivation" in run.result]
    how = (
        "<p>The preactivations of single neurons were not recorded. Train with <code>fields=True</code> "
        "(<code>--training.fields</code> on the command line) to see their densities here.</p>"
    )
    if not having:
        return [Section(name, title, "", how)]
    found = densities.charts(having)
    neurons = "neurons or particles" if len(having) > 1 else ("particles" if having[0].infinite else "neurons")
    told = (
        f"<p>Densities of {markup.symbol('h', 'ℓ')} at the last recorded step, over all {neurons} and samples. Dotted: "
        "where they started, which is Gaussian for each sample in the limit of infinite width.</p>"
    )
    without = [run for run in runs if run not in having]
    if without:
        names = ", ".join(markup.text(run.name) for run in without)
        told += f"<p>Not recorded for {names}: train with <code>fields=True</code>.</p>"
    return _section(name, title, found, told, numbers=False)


def _measured(
    runs: Sequence[Run], measure: Callable[[xr.Dataset], dict[str, xr.DataArray]]
) -> list[tuple[Run, Measured]]:
    return [(run, measure(run.result)) for run in runs]


def _alignments(
    runs: Sequence[Run],
    measure: Callable[[xr.Dataset], dict[str, xr.DataArray]],
    write: Callable[[str], str],
    plain: str,
    name: str,
    within: tuple[float, float] | None = None,
) -> list[Chart]:
    """A chart for each quantity with all runs, or one chart with all quantities of a single run."""
    each = _measured(runs, measure)
    if len(runs) > 1:
        return [
            Chart(f"{name}-{index}", plain.format(key), curves, within=within, heading=write(markup.with_symbols(key)))
            for index, (key, curves) in enumerate(_each_apart(each))
        ]
    # What is of the whole network has the first colour, and a layer always the same one.
    curves = [Curve(key, values, _by_layer(key), symbols=True) for key, values in each[0][1].items()]
    heading = write("<math><mo>·</mo></math>" if name == "task" else "each layer")
    title = plain.format("·" if name == "task" else "each layer")
    return [Chart(name, title, curves, within=within, heading=heading)] if curves else []


def _correlation(of: str) -> str:
    return f"{_CORRELATION} of {of}"


def _each_apart(each: Sequence[tuple[Run, Measured]]) -> list[tuple[str, list[Curve]]]:
    """One list of curves for each quantity, of the runs that have it."""
    names = sorted(dict.fromkeys(name for _, measured in each for name in measured), key=_by_layer)
    return [(name, [Curve.of(run, measured[name]) for run, measured in each if name in measured]) for name in names]


def _by_layer(name: str) -> int:
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits) if digits else 0


def _section(name: str, title: str, found: Sequence[Chart], told: str, *, numbers: bool = True) -> list[Section]:
    if not found:
        return []
    shown = {curve.name: curve for chart in found for curve in chart.curves}
    shared = all(set(shown) == {curve.name for curve in chart.curves} for chart in found)
    legend = charts.legend(list(shown.values())) if shared and len(shown) > 1 else ""
    inside = charts.grid(found, legends=not shared)
    if numbers:
        inside += charts.numbers(found, f"{title}: mean ± standard error at some times")
    return [Section(name, title, told + legend, inside)]
