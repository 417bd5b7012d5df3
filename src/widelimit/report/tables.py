"""The tables of a page: final numbers, diagnostics, configuration, versions."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..results import summary
from . import charts, markup, series
from .markup import Section
from .runs import Run, common

FEW = 3  # runs that have a column each, where more have a row each


def final_numbers(runs: Sequence[Run]) -> str:
    """What every run had reached at the last step that has a loss."""
    each = [_reached(run) for run in runs]
    names = list(dict.fromkeys(name for one in each for name in one))
    if len(runs) <= FEW:
        rows = [(_head(name), *(markup.text(one.get(name, "")) for one in each)) for name in names]
        heads: tuple[str, ...] = ("", "mean ± standard error") if len(runs) == 1 else ("", *map(_named, runs))
    else:
        rows = [
            (_named(run), *(markup.text(one.get(name, "")) for name in names))
            for run, one in zip(runs, each, strict=True)
        ]
        heads = ("run", *map(_head, names))
    return markup.table(heads, rows, "Where it ended: the last recorded step")


def diagnostics(runs: Sequence[Run]) -> list[Section]:
    """How much of each hidden matrix was kept, what was dropped, and where runs diverged."""
    said, rows = [], []
    for run in runs:
        if diverged(run):
            said.append(f'<p class="warning">{markup.text(run.name)}: {markup.text(diverged(run))}</p>')
        rows += _kept(run)
        if "residual" in run.result:
            last = float(run.result["residual"].isel(sweep=-1).max())
            said.append(
                f"<p>{markup.text(run.name)}: after {run.result.sizes['sweep']} sweeps of Algorithm 1, the largest "
                f"relative change of an order parameter was {last:.2g}.</p>"
            )
    if not any(diverged(run) for run in runs):
        said.insert(0, "<p>No replicate diverged.</p>")
    heads = ("hidden matrix", "features kept", "dropped at most", "gradients kept", "dropped at most")
    if rows:
        said.append(markup.table(heads, rows, "Directions kept of what passes through each hidden matrix"))
    else:
        said.append("<p>No basis was truncated: weights are whole matrices, or the theory needs none.</p>")
    told = (
        "<p>At infinite width a hidden matrix is known by what passes through it. <em>Kept</em> is the number of "
        "directions at the last step, <em>dropped</em> the largest share of the power outside them at any step.</p>"
    )
    return [Section("diagnostics", "Diagnostics", told if rows else "", "".join(said))]


def diverged(run: Run) -> str:
    """A sentence on the divergence of a run, empty if there was none."""
    found = dict(summary.divergence(run.result))
    return f"diverged: {next(iter(found.values()))}. What came before is shown." if found else ""


def configuration(runs: Sequence[Run]) -> list[Section]:
    """What the runs were computed from; rows in which they differ are marked."""
    flat = [_flat(run.told) for run in runs]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    rows = []
    for key in keys:
        values = [one.get(key) for one in flat]
        name = markup.text(key.replace("_", " ").replace(".", " · "))
        mark = "" if common(values) else ' <span class="differs" title="differs between runs">≠</span>'
        rows.append((name + mark, *("" if value is None else markup.text(_written(value)) for value in values)))
    heads = ("", *((_named(run) for run in runs) if len(runs) > 1 else ("value",)))
    told = "" if len(runs) == 1 else '<p>Rows marked <span class="differs">≠</span> differ between the runs.</p>'
    inside = (
        markup.table(heads, rows, "Configuration", words=True, quiet=True) if rows else "<p>The file holds none.</p>"
    )
    return [Section("configuration", "Configuration", told, inside)]


def versions(runs: Sequence[Run]) -> list[Section]:
    """What the runs were computed with, and what wrote the page."""
    each = []
    for run in runs:
        told = json.loads(run.result.attrs.get("versions", "{}"))
        each.append(told if isinstance(told, dict) else {})
    if common(each):
        runs, each = runs[:1], each[:1]
    names = list(dict.fromkeys(name for one in each for name in one))
    rows = [(markup.text(name), *(markup.text(one.get(name, "")) for one in each)) for name in names]
    heads = ("", *((_named(run) for run in runs) if len(each) > 1 else ("version",)))
    inside = markup.table(heads, rows, "Versions it was computed with", words=True, quiet=True) if rows else ""
    inside += f"<p>Page written by widelimit {markup.text(importlib.metadata.version('widelimit'))}.</p>"
    return [Section("versions", "Versions", "", inside)]


def _head(name: str) -> str:
    kernel = name.removeprefix("task alignment of ")
    return markup.with_symbols(name) if kernel == name else markup.alignment(markup.with_symbols(kernel))


def _reached(run: Run) -> dict[str, str]:
    last = series.last_step(run.result)
    one = run.result.isel(step=[last])
    found = {}
    for name, value in summary.final(one).items():
        scale = 100 if name == "test error" else 1
        found[f"{name} (%)" if scale == 100 else name] = charts.number(scale * value)
    for name, value in series.gradient_alignments(one).items():
        found[f"corr(g, g̃), {name}"] = charts.number(value.isel(step=-1))
    return found


def _kept(run: Run) -> list[tuple[str, ...]]:
    """A row for each hidden matrix of a run that has bases."""
    result, rows = run.result, []
    if "forward_basis_size" not in result:
        return rows
    for matrix in result["matrix"].values:
        cells = []
        for way in ("forward", "backward"):
            if f"{way}_basis_size" not in result:
                cells += ["", ""]
                continue
            sizes = result[f"{way}_basis_size"].sel(matrix=matrix).isel(step=series.last_step(result))
            dropped = float(result[f"{way}_dropped_fraction"].sel(matrix=matrix).max())
            count = float(sizes.max())
            cells += [f"{count:.0f}", f"{dropped:.2g}" if count else "nothing is sent"]
        rows.append((f"{_named(run)}, {int(matrix)} → {int(matrix) + 1}", *cells))
    return rows


def _flat(told: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A nested configuration as one level: net.nonlinearity, net.richness, …"""
    found: dict[str, Any] = {}
    for key, value in told.items():
        if isinstance(value, Mapping):
            if "type" in value:
                found[f"{above}{key}"] = value["type"]
            found |= _flat({name: item for name, item in value.items() if name != "type"}, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "∞" if value == "inf" else summary.described(value)


def _named(run: Run) -> str:
    return f"{charts.swatch(run)} {markup.text(run.name)}"
