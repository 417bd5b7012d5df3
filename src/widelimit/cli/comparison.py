"""The tables of a result that holds several rules and widths."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ..results import observables, summary
from ..results.several import both_widths, configuration_of
from ..results.summary import table


def lines(result: xr.Dataset) -> list[str]:
    """Two tables: what every rule reached at each width, and how far the networks lie from theory."""
    reached, agreement = [], []
    for rule in result["rule"].values:
        name = str(rule).replace("_", " ")
        for width in result["width"].values:
            one = result.sel(rule=rule, width=width)
            run = configuration_of(one)
            reached.append((name, *_reached(one), f"{run['seconds']:.1f}" if "seconds" in run else ""))
            name = ""
        agreement.append((str(rule).replace("_", " "), *_agreement(result.sel(rule=rule))))
    heads = ("rule", "width", "train loss", "test error %", "A(K, yyᵀ)", "corr(g, g̃)", "seconds")
    text = table(heads, reached)
    replicates = result.sizes["replicate"]
    text += [f"(mean ± standard error over {replicates} replicates; corr(g, g̃) is the mean over layers)", ""]
    text += ["Distance of the eNTK K from theory over the whole run, % of its norm:"]
    text += table(("rule", "one network", f"mean of {replicates}", "expected by chance"), agreement)
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
    theory, network = (one["ntk"] for one in both_widths(both))
    over = tuple(str(dim) for dim in theory.dims if dim != "replicate")
    together = theory.notnull().any("replicate") & network.notnull().any("replicate")
    theory, network = theory.where(together), network.where(together)
    target = observables.mean(theory)
    single = observables.distance(network, target, over) ** 0.5
    mean = float(np.sqrt(observables.distance(observables.mean(network), target, over)))
    chance = math.hypot(*(float(observables.relative_standard_error(one, over)) for one in (theory, network)))
    return (summary.plus_minus(single, 100), f"{100 * mean:.1f}", f"{100 * chance:.1f}" if chance > 0 else "")
