"""The tables of a result that holds several rules and widths."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ..results import configuration, observables, summary
from ..results.combined import both_widths, has_both_widths
from ..results.summary import table
from ..results.times import recorded_steps


def lines(result: xr.Dataset) -> list[str]:
    """Two tables: what every rule reached at each width, and how far the networks lie from theory."""
    reached, agreement = [], []
    for rule in result["rule"].values:
        name = str(rule).replace("_", " ")
        for width in result["width"].values:
            run = result.sel(rule=rule, width=width)
            seconds = configuration(run).get("seconds")
            reached.append((name, *_reached(run), "" if seconds is None else f"{seconds:.1f}"))
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


def _reached(run: xr.Dataset) -> tuple[str, ...]:
    """The width and, of what the run holds, the last values."""
    if "loss" in run:  # a divergence leaves the last steps without values
        recorded = recorded_steps(run["loss"])
        run = run.isel(step=[recorded[-1]]) if len(recorded) else run
    width = "∞" if math.isinf(float(run["width"])) else f"{int(run['width'])}"
    numbers, last = summary.final(run), summary.at_last(run)
    gradient = observables.gradient_alignment(last).mean("layer") if observables.has_gradient_alignment(last) else None
    values = [numbers.get(name) for name in ("training loss", "test error", "task alignment of K")] + [gradient]
    factors = (1, 100, 1, 1)
    return width, *("" if v is None else summary.plus_minus(v, f) for v, f in zip(values, factors, strict=True))


def _chance(relative: float) -> str:
    """What chance does; unknown of a single replicate, and nothing where both are exact."""
    return "–" if math.isnan(relative) else f"{100 * relative:.1f}" if relative > 0 else ""


def _agreement(widths: xr.Dataset) -> tuple[str, ...]:
    if "ntk" not in widths or not has_both_widths(widths):
        return ("", "", "")
    theory, network = (run["ntk"] for run in both_widths(widths))
    over = tuple(str(dim) for dim in theory.dims if dim != "replicate")
    together = theory.notnull().any("replicate") & network.notnull().any("replicate")
    theory, network = theory.where(together), network.where(together)
    target = observables.mean(theory)
    single = observables.distance(network, target, over) ** 0.5
    mean = float(np.sqrt(observables.distance(observables.mean(network), target, over)))
    chance = math.hypot(*(float(observables.relative_standard_error(side, over)) for side in (theory, network)))
    return (summary.plus_minus(single, 100), f"{100 * mean:.1f}", _chance(chance))
