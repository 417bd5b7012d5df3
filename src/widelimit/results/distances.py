"""How far two results lie apart, quantity by quantity, beside what chance alone would put between them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..formatting import number
from . import observables
from .combined import OF_TASK, SAME_TASK, run_dims
from .configuration import configuration, versions
from .legal import taking_results
from .outputs import lacking, with_outputs_of
from .registry import COMPARED, TIME, VARIABLES
from .samples import on_common_samples
from .times import places, times_of

MEASURES: dict[str, str] = {
    "absolute": "root mean square over entries of mean(a) - mean(b), in the units of the quantity",
    "relative": "|mean(a) - mean(b)|/|mean(b)|",
    "chance": "sqrt(sum of both squared standard errors)/|mean(b)|, the relative distance expected by chance alone",
    "standard_errors": "relative/chance: about 1 if nothing but chance lies between the two",
}
"""What is said of each quantity. Means and standard errors are over replicates, norms over samples and units."""

ROUNDING = 1e-9
"""Relative distances below this are rounding, of which standard errors say nothing."""


@taking_results
def compare(a: xr.Dataset, b: xr.Dataset, *, over_run: bool = False) -> xr.Dataset:
    """How far two results lie apart: networks from theory, one rule or richness from another, one solver from another.

    With ā and b̄ the means over replicates and s their standard errors, every quantity that both hold (losses,
    outputs, errors, all kernels) gets four numbers, along the dimension `measure`:

    - "absolute": the root mean square over entries of ā − b̄, in the quantity's own units;
    - "relative": |ā − b̄|/|b̄|;
    - "chance": √Σ(s_a² + s_b²)/|b̄|, the relative distance that chance alone is expected to leave;
    - "standard_errors": √(Σ(ā − b̄)²/Σ(s_a² + s_b²)), the ratio of the two: about 1 if nothing but chance lies between
      a and b. See [`discrepancy`].

    Norms and sums are over samples and outputs, and in two-time kernels over the second time. A distance between two
    zeros is 0, and from zero to anything else infinite. Differences of mere rounding can be many standard errors where
    both sides are exact: look at "relative" too.

    **Arguments:**

    - `a`, `b`: results of `train`, `theory` or [`result`], of one task and one depth; of kernels, what both hold of the
      samples. Steps are matched by time = step × step size (to a relative 1e-9), so that step sizes and `record.every`
      may differ, and only times that both hold are compared. Static kernels are the same at all times. Their randomness
      is taken to be independent: networks of one width trained with one seed share their initial weights, and chance
      does less to their difference than "chance" says. Test *inputs* are not part of a result; keeping them the same is
      up to you.
    - `over_run`: norms and sums also run over the times, each with the same weight, as the paper has them in Fig. 3e:
      √(⟨|ā − b̄|²⟩_t/⟨|b̄|²⟩_t).

    **Returns:** a dataset with one variable for each quantity and the dimensions `measure`, `layer` where the quantity
    has it, and, unless `over_run`, `step`. Its coordinate is `time`; `step` itself is numbered where a and b number it
    alike. The attributes `configuration_a` and `configuration_b` say what was compared.

    Replicates that have diverged drop out of the means from there on. A time counts where each side has a finite value
    or, of several replicates, at least two; at other times everything is NaN, and the norms over the run leave them
    out. A deterministic result has no replicates and the standard error zero; of a single replicate it is unknown, and
    "chance" and "standard_errors" are NaN. Losses of two different kinds (squared, logistic) are not compared, all
    else is.

    **Raises:** `ArgumentError` if one of the two is no result of one run, if they have different samples, outputs,
    layers, targets or inputs, or no time or quantity in common.
    """
    for side, result in (("a", a), ("b", b)):
        _check_one_run(side, result)
    a, b = on_common_samples(a, b)
    names = _shared(a, b)
    _check_same_task(a, b, names)
    rows = common_times(a, b)
    distances = {}
    for name in names:
        first, second = _at("a", a, name, rows[0]), _at("b", b, name, rows[1])
        measured = _measured(with_outputs_of(first, second), with_outputs_of(second, first), over_run)
        if not over_run and "step" not in measured.dims:
            measured = measured.expand_dims(step=len(rows[0]))
        measured.attrs["long_name"] = f"distance of a from b: {VARIABLES[name].meaning}"
        distances[name] = measured.transpose("measure", "step", "layer", missing_dims="ignore")
    return _labelled(xr.Dataset(distances), a, b, rows)


def common_times(a: xr.Dataset, b: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Where in a and where in b the times stand that both hold, in the order of a.

    **Raises:** `ArgumentError` if there are none.
    """
    first, second = times_of(a), times_of(b)
    matches = places(first, second)
    rows = np.flatnonzero(matches >= 0)
    if not len(rows):
        raise ArgumentError(
            f"a and b have no recorded time in common: a has {_range(first)}, b has {_range(second)}. "
            "Times are step × step size; choose step sizes and record.every so that some coincide."
        )
    return rows, matches[rows]


def same_draw(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether runs of these two configurations draw the same random numbers, and are then not independent."""
    settings = ("seed", "width", "particles", "solver")
    return "seed" in a and all(a.get(name) == b.get(name) for name in settings)


def _measured(a: xr.DataArray, b: xr.DataArray, over_run: bool) -> xr.DataArray:
    """The four measures of one quantity, whose two sides have the same entries and no coordinates."""
    kept = {"replicate", "layer"} if over_run else {"replicate", "layer", "step"}
    over = [str(dim) for dim in dict.fromkeys((*a.dims, *b.dims)) if dim not in kept]
    counted = _known(a) & _known(b)
    # What does not count is zero on both sides, which gives it no part in any sum.
    a, b = (side.where(np.isfinite(side)).where(counted, 0.0) for side in (a, b))
    target = observables.mean(b)
    distance = ((observables.mean(a) - target) ** 2).sum(over)
    noise = observables.standard_error(a) ** 2 + observables.standard_error(b) ** 2
    chance, size, entries = noise.sum(over, skipna=False), (target**2).sum(over), counted.sum(over)
    measures = {
        "absolute": (distance / entries) ** 0.5,
        "relative": _ratio(distance, size) ** 0.5,
        "chance": _ratio(chance, size) ** 0.5,
        "standard_errors": observables.discrepancy(a, b, over),
    }
    stacked = xr.concat([measures[name] for name in MEASURES], "measure", coords="minimal", compat="override")
    return stacked.where(entries > 0)


def _known(values: xr.DataArray) -> xr.DataArray:
    """Where there is a finite value or, of several replicates, at least two, so that there is a standard error."""
    finite = xr.DataArray(np.isfinite(values))
    if "replicate" not in values.dims:
        return finite
    return finite.sum("replicate") >= min(2, values.sizes["replicate"])


def _ratio(above: xr.DataArray, below: xr.DataArray) -> xr.DataArray:
    """A ratio that is 0 where there is nothing above, whatever is below, and infinite where there is nothing below."""
    return xr.where(above == 0, 0.0, above / below)


def _at(side: str, result: xr.Dataset, name: str, rows: np.ndarray) -> xr.DataArray:
    """A quantity at some of its times, in double precision and without coordinates, which would align steps."""
    values = result[name]
    if "step2" in values.dims and values.sizes.get("step") != values.sizes["step2"]:
        raise ArgumentError(
            f"{side}: {name} no longer has the same times in its dimensions step and step2; "
            "compare the whole result, and select afterwards."
        )
    values = values.isel({dim: rows for dim in ("step", "step2") if dim in values.dims})
    return values.drop_vars(list(values.coords)).astype("float64")


def _labelled(distances: xr.Dataset, a: xr.Dataset, b: xr.Dataset, rows: tuple[np.ndarray, np.ndarray]) -> xr.Dataset:
    """The measures with their coordinates and attributes."""
    coordinates: dict[str, Any] = {"measure": ("measure", list(MEASURES), dict(MEASURES))}
    if "layer" in distances.dims:
        coordinates["layer"] = a["layer"].values
    times = times_of(a)[rows[0]]
    if "step" in distances.dims:
        coordinates["time"] = ("step", times, dict(TIME))
        if "step" in a.coords and "step" in b.coords:
            first, second = (np.atleast_1d(result["step"].values) for result in (a, b))
            if np.array_equal(first[rows[0]], second[rows[1]]):
                coordinates["step"] = first[rows[0]]
    return distances.assign_coords(coordinates).assign_attrs(
        title="Distances of a from b, by widelimit.compare",
        times=_range(times),
        configuration_a=json.dumps(configuration(a)),
        configuration_b=json.dumps(configuration(b)),
        versions=json.dumps(versions()),
    )


def _range(times: np.ndarray) -> str:
    if len(times) == 1:
        return f"one time, {number(times[0])}"
    return f"{len(times)} times from {number(times.min())} to {number(times.max())}"


def _shared(a: xr.Dataset, b: xr.Dataset) -> list[str]:
    """The quantities that both hold."""
    kinds = [configuration(result).get("loss") for result in (a, b)]
    apart = ("loss", "test_loss") if None not in kinds and kinds[0] != kinds[1] else ()
    names = [name for name in COMPARED if name in a and name in b and name not in apart]
    if not names:
        held = [", ".join(map(str, result.data_vars)) or "nothing" for result in (a, b)]
        raise ArgumentError(f"a and b hold no quantity that can be compared: a has {held[0]}; b has {held[1]}.")
    return names


def _check_one_run(side: str, result: xr.Dataset) -> None:
    checks.instance(side, result, xr.Dataset, "what widelimit.train returns")
    dims = run_dims(result)
    if dims:
        held = " and ".join(f"the {dim}s {', '.join(map(str, result[dim].values))}" for dim in dims)
        pick = ", ".join(f"{dim}={result[dim].values[0].item()!r}" for dim in dims).replace("=inf", "=math.inf")
        raise ArgumentError(
            f"{side} holds {held}; pick one run, for example {side}.sel({pick}), "
            "which widelimit.save writes to a file of its own."
        )
    if "time" not in result.coords or not result["time"].size:
        raise ArgumentError(
            f"{side} must be a result of train, theory or widelimit.result, with at least one recorded time."
        )


def _check_same_task(a: xr.Dataset, b: xr.Dataset, names: Iterable[str]) -> None:
    for name in (*OF_TASK, *names):
        if name not in a or name not in b:
            continue
        passed_over = {"replicate", "step", "step2", *lacking(a[name], b[name]), *lacking(b[name], a[name])}
        sizes = [
            {str(dim): size for dim, size in result[name].sizes.items() if dim not in passed_over} for result in (a, b)
        ]
        if sizes[0] != sizes[1]:
            raise ArgumentError(
                f"a and b are not of one task and depth: {name} has {_sizes(sizes[0])} in a and {_sizes(sizes[1])} "
                f"in b.{_without_tests(a, b, name)}"
            )
        if name not in COMPARED:
            _check_same_values(a, b, name)
    if "layer" in a.coords and "layer" in b.coords and not np.array_equal(a["layer"], b["layer"]):
        raise ArgumentError(f"a has the layers {a['layer'].values} and b the layers {b['layer'].values}; select alike.")


def _check_same_values(a: xr.Dataset, b: xr.Dataset, name: str) -> None:
    first, second = a[name].values, b[name].transpose(*a[name].dims).values
    scale = max(np.abs(first).max(), np.abs(second).max())
    apart = np.abs(first - second).max()
    if not apart <= SAME_TASK * scale:
        raise ArgumentError(
            f"a and b are not of one task: their {name} ({VARIABLES[name].meaning}) differs by up to "
            f"{number(apart, 3)}, where the largest entry is {number(scale, 3)}.{_without_tests(a, b, name)}"
        )


def _sizes(sizes: dict[str, int]) -> str:
    return ", ".join(f"{dim} {size}" for dim, size in sizes.items()) or "no dimensions"


def _without_tests(a: xr.Dataset, b: xr.Dataset, name: str) -> str:
    """What to do where only the test points differ."""
    if "test_sample" not in a[name].dims:
        return ""
    drop = [other for other in (*COMPARED, "test_target") if other.startswith("test_") and other in a]
    return f" To compare what is not of test points, pass a.drop_vars({drop!r})."
