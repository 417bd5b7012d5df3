"""The page of a sweep: one picks the swept settings, a layer and a time, and sees kernels, curves and alignments."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from ..ensembles.grid import named
from ..ensembles.index import Index
from ..ensembles.opened import standing
from ..ensembles.points import Outcome, result_path
from ..formatting import number, with_error
from ..plots import parts
from ..results import observables, of_recorded_samples
from ..results.combined import run_dims
from ..results.expansions import is_expansion
from ..results.legal import check
from ..results.registry import IMAGES
from . import kernels, markup, series
from .markup import Table

MOST_BYTES = 8_000_000
"""What a page takes at most."""

MOST_POINTS = 4000
"""Of a sweep on one page."""

_KERNEL_NUMBERS = 1_800_000  # on one page; each takes 2.7 letters of it
_CURVE_NUMBERS = 350_000  # each takes 5.3
_TIMES, _FRAMES, _SAMPLES = 60, 20, 40
_FEWEST_FRAMES, _FEWEST_SAMPLES = 3, 6
_ROWS = 400  # of the table of final numbers


@dataclass(frozen=True)
class _Shown:
    """A point as it is on the page."""

    at: Mapping[str, Any]
    outcome: Outcome
    result: xr.Dataset | None

    @property
    def quantities(self) -> dict[str, xr.DataArray]:
        """What has a curve: (replicate, step) by name."""
        if self.result is None:
            return {}
        curves = dict(series.losses(self.result))
        curves |= {f"A({symbol}, yyᵀ)": values for symbol, values in observables.task_alignments(self.result).items()}
        curves |= {f"corr(g, g̃), {layer}": each for layer, each in series.gradient_alignments(self.result).items()}
        in_time = {name: series.in_time(self.result, values) for name, values in curves.items()}
        return {name: values for name, values in in_time.items() if set(values.dims) <= {"replicate", "step"}}


def _of_one_run(result: xr.Dataset) -> xr.Dataset:
    """Of an expansion in 1/N the limit; of several runs, or of what a function of one's own adds, what all share."""
    if is_expansion(result):
        result = result.sel(measure="limit", drop=True)
    several = set(run_dims(result))
    return result.drop_vars([name for name, values in result.data_vars.items() if several & set(values.dims)])


@dataclass(frozen=True)
class _Bounds:
    """How much of each point is on the page."""

    times: int
    frames: int
    samples: int

    @classmethod
    def of(cls, points: int, curves: int, images: int, samples: int) -> _Bounds:
        """What fits, for so many points with so many curves and kernels each, of so many samples.

        Without frames there are no kernels.
        """
        times = min(_TIMES, max(_CURVE_NUMBERS // (2 * max(points * curves, 1)), 2))
        frames, samples = _FRAMES, min(samples, _SAMPLES)
        budget = _KERNEL_NUMBERS // max(points * images, 1)
        while frames * samples**2 > budget and (frames > _FEWEST_FRAMES or samples > _FEWEST_SAMPLES):
            # In turns, so that neither is bought with all of the other.
            if frames > _FEWEST_FRAMES and (frames * 2 >= samples or samples <= _FEWEST_SAMPLES):
                frames -= 1
            else:
                samples -= 1
        return cls(times, frames if frames * samples**2 <= budget else 0, samples)


def explorer(folder: str | os.PathLike[str], *, title: str | None = None) -> str:
    """A sweep as a self-contained HTML page: its settings are picked there, beside a layer and a time.

    A heat map shows a loss or an alignment over two swept settings, with values and standard errors where one points;
    curves and kernels are shown for all labels of one setting beside each other, at those of the others that are
    picked. Points that failed say why.

    The page needs no network and no other file, and takes at most 8 MB: of up to 60 times of the curves, and 20 times
    and 40 samples of the kernels, it shows fewer where there are many points, and says so.

    **Arguments:** `folder`, as [`sweep`] has left it, whether or not all of it is computed; `title`, made from the
    settings unless given.

    **Returns:** the HTML, to be written to a file in UTF-8.

    **Raises:** `ArgumentError` if the folder holds no sweep, nothing that is computed, or more than 4000 points.
    """
    held, place, outcomes = standing(folder)
    if len(held.points) > MOST_POINTS:
        raise ArgumentError(
            f"{folder} holds {len(held.points)} points, and a page takes {MOST_POINTS}: select from what "
            "widelimit.open_sweep returns."
        )
    shown, said = [], []
    for digest, at in held.points.items():
        result = None
        if outcomes[digest].status in ("done", "diverged"):
            result = xr.open_dataset(result_path(place, digest), engine="h5netcdf")
            check(result)
            said += [sentence for sentence in _left_out(result) if sentence not in said]
            result = _of_one_run(of_recorded_samples(result))
        shown.append(_Shown(at, outcomes[digest], result))
    first = [point for point in shown if point.result is not None]
    if not first:
        raise ArgumentError(f"None of the {len(shown)} points of {folder} is computed; there is nothing to show.")
    having = [point.result for point in first if point.result is not None]
    images = max(len(kernels.matrices(result)) for result in having)
    samples = max(result.sizes.get("sample", 1) for result in having)
    bounds = _Bounds.of(len(first), len(first[0].quantities) + 2, images, samples)
    data, final = _data(held, shown, bounds)
    return markup.page(
        "explorer.html.jinja",
        "explorer.js",
        title=_title(held) if title is None else title,
        lead=_lead(held, shown),
        said=[*_said(having, bounds), *said],
        kernels=bounds.frames > 0 and images > 0,
        failed=[(named(point.at), point.outcome.reason) for point in shown if point.outcome.status == "failed"][:50],
        data=data,
        final=final,
    )


def _data(held: Index, shown: Sequence[_Shown], bounds: _Bounds) -> tuple[dict[str, Any], Table]:
    """What the script is given, and the table of final numbers."""
    names: list[str] = []
    keys: list[str] = []
    points: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    reached: list[dict[str, str]] = []
    for point in shown:
        described: dict[str, Any] = {
            "at": [labels.index(point.at[dim]) for dim, labels in held.dims.items()],
            "status": point.outcome.status,
            "reason": point.outcome.reason,
        }
        if point.result is not None:
            result = point.result.load()
            quantities = point.quantities
            names += [name for name in quantities if name not in names]
            times = np.asarray(result["time"].values, dtype=np.float64) if "time" in result.coords else np.zeros(1)
            steps = np.flatnonzero(np.isfinite(times))
            steps = steps[kernels.evenly(len(steps), min(bounds.times, len(steps)))] if len(steps) else np.array([0])
            described["times"] = [float(f"{time:.6g}") for time in np.where(np.isfinite(times), times, 0)[steps]]
            described["curves"] = {name: _curve(values, steps) for name, values in quantities.items()}
            if bounds.frames:
                described |= _kernels(result, steps, bounds)
                keys += [key for key in described["kernels"] if key not in keys]
            if len(rows) < _ROWS:
                last = series.last_step(result)
                ended = {name: values.isel(step=last) for name, values in quantities.items()}
                reached.append({name: _written(values) for name, values in ended.items()})
                rows.append((_ended(point, last),))
            result.close()
        points.append(described)
    rows = [(*row, *(each.get(name, "") for name in names)) for row, each in zip(rows, reached, strict=True)]
    caption = "Where each point ended: mean ± standard error; losses are summed over samples"
    table = Table(("point", *map(markup.symbols, names)), rows, caption)
    dims = [{"name": dim, "labels": _labels(held, dim)} for dim in held.dims]
    kinds = {name: {"symbol": symbol, "name": words} for name, (symbol, words) in IMAGES.items()}
    data = {"dims": dims, "quantities": names, "kernels": keys, "kinds": kinds, "points": points}
    return data, table


def _labels(held: Index, dim: str) -> list[str]:
    """The labels of a dimension in words; a point of a list by what is set in it."""
    labels = held.dims[dim]
    if not held.along_points:
        return [_label(label) for label in labels]
    settings = [{name: each[place] for name, each in held.along_points.items()} for place in range(len(labels))]
    return [f"{label}: {named(setting)}" for label, setting in zip(labels, settings, strict=True)]


def _label(label: Any) -> str:
    if isinstance(label, float):
        return number(label)
    return str(label)


def _curve(values: xr.DataArray, steps: np.ndarray) -> str:
    """Means and standard errors at some steps, as 32-bit numbers, little end first, in base64; NaN is none."""
    values = values.isel(step=steps)
    numbers = np.concatenate([observables.mean(values).values, observables.standard_error(values).values])
    with np.errstate(over="ignore"):
        return base64.b64encode(numbers.astype("<f4").tobytes()).decode("ascii")


def _kernels(result: xr.Dataset, steps: np.ndarray, bounds: _Bounds) -> dict[str, Any]:
    """The kernels of a point: some frames, by their places among its times, and some samples, ordered by class."""
    chosen = kernels.evenly(len(steps), min(bounds.frames, len(steps)))
    order, edges = np.arange(result.sizes.get("sample", 1)), np.zeros(0)
    if "target" in result:
        order, _ = parts.by_class(result["target"])
    order = order[kernels.evenly(len(order), min(bounds.samples, len(order)))]
    if "target" in result:
        _, edges = parts.by_class(result["target"].isel(sample=order))
    each = {
        key: kernels.quantised(kernels.frames_of(kernel, steps[chosen], order))
        for key, kernel in kernels.matrices(result).items()
    }
    return {
        "frames": chosen.tolist(),
        "samples": order.tolist(),
        "edges": [float(edge) + 0.5 for edge in edges] if len(edges) + 1 < len(order) else [],
        "kernels": each,
    }


def _written(values: xr.DataArray) -> str:
    mean, error = float(observables.mean(values)), float(observables.standard_error(values))
    if "replicate" not in values.dims:
        return number(mean)
    return with_error(mean, error) if np.isfinite(mean) else "–"


def _ended(point: _Shown, last: int) -> str:
    """A point in words, and where it ended if that was not at its last step."""
    if point.outcome.status != "diverged":
        return named(point.at)
    assert point.result is not None
    at = f" after step {int(point.result['step'][last])}" if "step" in point.result.coords else ""
    return f"{named(point.at)} (diverged{at})"


def _title(held: Index) -> str:
    return f"Sweep over {' and '.join(dim.replace('_', ' ') for dim in held.dims)}"


def _lead(held: Index, shown: Sequence[_Shown]) -> str:
    sizes = ", ".join(f"{dim} ({len(labels)})" for dim, labels in held.dims.items())
    states = [(state, sum(point.outcome.status == state for point in shown)) for state in _STATES]
    return f"{len(shown)} points over {sizes}: {', '.join(f'{count} {state}' for state, count in states if count)}."


def _left_out(result: xr.Dataset) -> list[str]:
    """What a result holds that the page has no place for."""
    if is_expansion(result):
        return ["Of expansions in 1/N the limit is shown; widelimit.open_sweep has the rest."]
    several = " and ".join(run_dims(result))
    return [f"What results hold along {several} is not shown; widelimit.open_sweep has it."] if several else []


_STATES = ("done", "diverged", "failed", "to do")


def _said(having: Sequence[xr.Dataset], bounds: _Bounds) -> list[str]:
    """What is shown of the points, and what is left out."""
    said = ["Means over replicates; errors are standard errors."]
    recorded = max(result.sizes.get("step", 1) for result in having)
    samples = max(result.sizes.get("sample", 1) for result in having)
    if bounds.times < recorded:
        said.append(f"Curves show {bounds.times} of up to {recorded} recorded times.")
    if bounds.frames and min(bounds.frames, recorded) < recorded:
        said.append(f"Kernels show {bounds.frames} of them.")
    if bounds.frames and bounds.samples < samples:
        said.append(f"Of up to {samples} samples, kernels show {bounds.samples}, evenly chosen.")
    if not bounds.frames:
        said.append("Kernels are left out, because there are too many points for one page.")
    return said
