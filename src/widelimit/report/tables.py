"""The tables of a page: final numbers, diagnostics, configuration, versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ..formatting import number
from ..results import observables, summary
from ..results.legal import attribute
from . import charts, markup, series
from .markup import Section, Table
from .runs import Run, common

FEW = 3  # runs that have a column each, where more have a row each


def final_numbers(runs: Sequence[Run]) -> Table:
    """What every run had reached at the last step that has a loss."""
    each = [_reached(run) for run in runs]
    names = list(dict.fromkeys(name for reached in each for name in reached))
    caption = "Where it ended" + ("; losses are summed over samples" if any("loss" in name for name in names) else "")
    if len(runs) <= FEW:
        rows = [(markup.symbols(name), *(reached.get(name, "") for reached in each)) for name in names]
        alone = "mean ± standard error" if "replicate" in runs[0].result.dims else "value"
        heads = ("", alone) if len(runs) == 1 else ("", *map(markup.named, runs))
        return Table(heads, rows, caption)
    rows = [
        (markup.named(run), *(reached.get(name, "") for name in names))
        for run, reached in zip(runs, each, strict=True)
        if names
    ]
    return Table(("run", *map(markup.symbols, names)), rows, caption)


def diagnostics(runs: Sequence[Run]) -> list[Section]:
    """How much of each hidden matrix was kept, what was dropped, and where runs diverged; nothing if none is known."""
    said, rows = [], []
    for run in runs:
        if cautions(run):
            said.append((f"{run.name}: {cautions(run)}", True))
        rows += _kept(run)
        if "residual" in run.result and "sweep" in run.result["residual"].dims:
            last = float(run.result["residual"].isel(sweep=-1).max())
            said.append(
                (
                    f"{run.name}: after {run.result.sizes['sweep']} sweeps of Algorithm 1, the largest relative "
                    f"change of an order parameter was {number(last, 2)}.",
                    False,
                )
            )
    if any(run.trained or run.solved or "diverged_step" in run.result for run in runs) and not any(map(cautions, runs)):
        said.insert(0, ("No replicate diverged.", False))
    table, below = None, []
    if rows:
        heads = ("hidden matrix", "features kept", "dropped at most", "gradients kept", "dropped at most")
        table = Table(heads, rows, "Directions kept of what passes through each hidden matrix")
    elif all(run.trained or run.solved for run in runs):
        below = ["No basis was truncated: weights are whole matrices, or the theory needs none."]
    name = "diagnostics"
    if not (said or table or below):
        return []
    return [markup.section("tables", name, "Diagnostics", said=said, table=table, below=below)]


def cautions(run: Run) -> str:
    """Sentences on a run that was interrupted, did not reach its accuracy, diverged or rose; empty if none is so."""
    result = run.result
    said = [f"was interrupted: {text}. What had been recorded is shown." for _, text in summary.interruption(result)]
    said += [f"did not reach {text}." for _, text in summary.shortfall(result)]
    said += [f"diverged: {text}. What came before is shown." for _, text in summary.divergence(result)]
    return " ".join(said + [f"its loss rose in {text}." for _, text in summary.rise(result)])


def configuration(runs: Sequence[Run]) -> list[Section]:
    """What the runs were computed from; rows in which they differ are marked."""
    each = [_flat(run.configuration) for run in runs]
    rows = []
    for key in dict.fromkeys(key for flat in each for key in flat):
        values = [flat.get(key) for flat in each]
        name = key.replace("_", " ").replace(".", " · ")
        cells = ("" if value is None else _written(value) for value in values)
        rows.append((name if common(values) else markup.differs(name), *cells))
    if not rows:
        return []
    heads = ("", *(map(markup.named, runs) if len(runs) > 1 else ("value",)))
    table = Table(heads, rows, "Configuration", words=True, quiet=True)
    title = "Configuration"
    return [markup.section("tables", "configuration", title, said=[], table=table, below=[], several=len(runs) > 1)]


def versions(runs: Sequence[Run]) -> list[Section]:
    """What the runs were computed with, and what wrote the page."""
    each = [attribute(run.whole, "versions") for run in runs]
    if common(each):
        runs, each = runs[:1], each[:1]
    names = list(dict.fromkeys(name for versions in each for name in versions))
    rows = [(name, *(str(versions.get(name, "")) for versions in each)) for name in names]
    heads = ("", *(map(markup.named, runs) if len(each) > 1 else ("version",)))
    table = Table(heads, rows, "Versions it was computed with", words=True, quiet=True) if rows else None
    below = [f"Page written by widelimit {importlib.metadata.version('widelimit')}."]
    return [markup.section("tables", "versions", "Versions", said=[], table=table, below=below)]


def _reached(run: Run) -> dict[str, str]:
    last = run.result.isel(step=[series.last_step(run.result)], missing_dims="ignore")
    measured = {
        "test error (%)" if name == "test error" else name: 100 * values if name == "test error" else values
        for name, values in series.losses(last).items()
    }
    aligned = observables.task_alignments(last)
    kept = [name for place, name in enumerate(aligned) if name == "K" or place == len(aligned) - 1]
    measured |= {f"A({name}, yyᵀ)": aligned[name] for name in kept}
    measured |= {f"corr(g, g̃), {layer}": values for layer, values in series.gradient_alignments(last).items()}
    return {
        name: charts.mean_with_error(values.isel(step=-1, missing_dims="ignore")) for name, values in measured.items()
    }


def _kept(run: Run) -> list[tuple[str, ...]]:
    """A row for each hidden matrix of a run that has bases: what is kept and dropped of features and of gradients."""
    last = run.result.isel(step=series.last_step(run.result), missing_dims="ignore")
    rows = []
    for matrix in run.result["matrix"].values if "matrix" in run.result.dims else ():
        cells = []
        for way in ("forward", "backward"):
            size, dropped = f"{way}_basis_size", f"{way}_dropped_fraction"
            count = float(last[size].sel(matrix=matrix).max()) if size in last else None
            share = number(float(run.result[dropped].sel(matrix=matrix).max()), 2) if dropped in run.result else ""
            cells += ["" if count is None else f"{count:.0f}", "nothing is sent" if count == 0 else share]
        if any(cells):
            rows.append((Markup("{}, {} → {}").format(markup.named(run), int(matrix), int(matrix) + 1), *cells))
    return rows


def _flat(configuration: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A nested configuration as one level: net.nonlinearity, net.richness, …"""
    flat: dict[str, Any] = {}
    for key, value in configuration.items():
        if isinstance(value, Mapping):
            if "type" in value:
                flat[f"{above}{key}"] = value["type"]
            flat |= _flat({name: item for name, item in value.items() if name != "type"}, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "∞" if value == "inf" else summary.described(value)
