"""A result that holds several rules and widths: how it is put together, and its table for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from .. import observables
from ..results import SCHEMA, configuration
from . import summary


def stack(runs: Mapping[str, Mapping[float, xr.Dataset]]) -> xr.Dataset:
    """One result from runs[rule][width], all of one task, with the dimensions `rule` and `width` added.

    What one width lacks (the diagnostics of infinite width) or did not reach (after a divergence) is NaN there.
    Observables need no change: they keep the dimensions that they do not reduce. Values are in single precision, far
    below their standard errors. The configuration of each run is in the JSON attribute `configuration`, under
    ["runs"][rule][str(width)].
    """
    shared = ["input_kernel", "target", "test_target"]
    across_rules = []
    for name, by_width in runs.items():
        each = [run.drop_vars(shared, errors="ignore").drop_attrs() for run in by_width.values()]
        widths = xr.DataArray([float(width) for width in by_width], dims="width", name="width")
        joined = xr.concat(each, widths, join="outer", data_vars="all", coords="minimal", compat="override")
        across_rules.append(joined.assign_coords(rule=name))
    result = xr.concat(across_rules, "rule", join="outer", data_vars="all", coords="minimal", compat="override")
    result = result.map(lambda values: values.astype("float32") if values.dtype == "float64" else values)
    first = next(iter(next(iter(runs.values())).values()))
    step_size = configuration(first)["step_size"]
    result = result.assign_coords(time=("step", result["step"].values * step_size, dict(first["time"].attrs)))
    described = {
        name: {str(width): configuration(run) for width, run in by_width.items()} for name, by_width in runs.items()
    }
    return result.assign({name: first[name] for name in shared if name in first}).assign_attrs(
        schema=SCHEMA, versions=first.attrs["versions"], configuration=json.dumps({"runs": described})
    )


def holds_several(result: xr.Dataset) -> bool:
    """Whether a result is one that [`stack`] made."""
    return {"rule", "width"} <= set(result.dims)


def lines(result: xr.Dataset) -> list[str]:
    """Two tables: what every rule reached at each width, and how far the networks lie from theory."""
    told = configuration(result)["runs"]
    reached, agreement = [], []
    for rule in result["rule"].values:
        name = str(rule).replace("_", " ")
        for width in result["width"].values:
            one = result.sel(rule=rule, width=width)
            run = told[str(rule)][str(float(width))]
            reached.append((name, *_reached(one), f"{run['seconds']:.1f}" if "seconds" in run else ""))
            name = ""
        agreement.append((str(rule).replace("_", " "), *_agreement(result.sel(rule=rule))))
    heads = ("rule", "width", "train loss", "test error %", "A(K, yyᵀ)", "corr(g, g̃)", "seconds")
    text = _table(heads, reached)
    replicates = result.sizes["replicate"]
    text += [f"(mean ± standard error over {replicates} replicates; corr(g, g̃) is the mean over layers)", ""]
    text += ["Distance of the eNTK K from theory over the whole run, % of its norm:"]
    text += _table(("rule", "one network", f"mean of {replicates}", "expected by chance"), agreement)
    text += [
        "(chance: the standard errors of the two means; what is beyond it is the networks' correction of order 1/N,",
        " and the theory's of order 1/particles)",
    ]
    return text


def _reached(one: xr.Dataset) -> tuple[str, ...]:
    # A divergence leaves the last steps without values.
    recorded = np.flatnonzero(one["loss"].notnull().any("replicate").values)
    one = one.isel(step=[recorded[-1]]) if len(recorded) else one.isel(step=[-1])
    width = "∞" if math.isinf(float(one["width"])) else f"{int(one['width'])}"
    numbers = summary.final(one)
    gradient = observables.gradient_alignment(one).mean("layer").isel(step=-1)
    error = numbers.get("test error")
    return (
        width,
        summary.plus_minus(numbers["training loss"]),
        "" if error is None else summary.plus_minus(error, 100),
        summary.plus_minus(numbers["task alignment of K"]),
        summary.plus_minus(gradient),
    )


def _agreement(both: xr.Dataset) -> tuple[str, ...]:
    widths = both["width"].values
    if not np.isinf(widths).any() or not np.isfinite(widths).any():
        return ("", "", "")
    theory, network = both["ntk"].sel(width=math.inf), both["ntk"].sel(width=widths[np.isfinite(widths)].max())
    over = tuple(str(dim) for dim in theory.dims if dim != "replicate")
    together = theory.notnull().any("replicate") & network.notnull().any("replicate")
    theory, network = theory.where(together), network.where(together)
    target = observables.mean(theory)
    single = observables.distance(network, target, over) ** 0.5
    mean = float(np.sqrt(observables.distance(observables.mean(network), target, over)))
    chance = math.hypot(*(float(observables.relative_standard_error(one, over)) for one in (theory, network)))
    return (summary.plus_minus(single, 100), f"{100 * mean:.1f}", f"{100 * chance:.1f}" if chance > 0 else "")


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Columns under their heads, the first to the left and the numbers to the right."""
    # A combining tilde takes no room of its own.
    size = lambda text: len(text.replace("\u0303", ""))  # noqa: E731
    widths = [max(size(row[column]) for row in (heads, *rows)) for column in range(len(heads))]

    def line(row: tuple[str, ...]) -> str:
        cells = []
        for column, (text, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - size(text))
            cells.append(text + padding if column == 0 else padding + text)
        return "   ".join(cells).rstrip()

    return [line(heads), "─" * (sum(widths) + 3 * (len(widths) - 1)), *map(line, rows)]
