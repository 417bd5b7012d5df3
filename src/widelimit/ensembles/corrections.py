"""`corrections`: what finite width does to every quantity all along training, measured from networks."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .. import checks
from ..checks import ArgumentError
from ..faults import ExpansionWarning, TrainingInterrupted
from ..interrupts import Interrupted
from ..memory import require_memory
from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Batches, Task
from ..results import SCHEMA, VARIABLES, Record, configuration, describe, described, expanded, versions
from ..results.combined import difference_of_tasks
from ..rules import GradientDescent, Rule
from ..simulation import Simulation, initialize, train
from ..weights import Finite
from .expansion import MEASURES, Expansion, Samples, bootstrapped
from .levels import check_distinct
from .quantities import Quantities, Quantity

_NOTICED = 0.2
"""From this share of the leading order on, the next one is said to be large, if it is more than chance."""

_LAZY = 0.1
"""Up to this multiple of the order 1/N, what γ0 adds to the lazy limit is no part of what width adds."""


def corrections(
    net: Architecture,
    task: Task,
    rule: Rule | None = None,
    *,
    optimizer: SGD | Literal["auto"],
    steps: int,
    widths: Sequence[int] = (100, 200, 400),
    replicates: int = 64,
    of: Quantity | Sequence[str] = ("output", "loss", "feature_kernel", "ntk"),
    limit: xr.Dataset | None = None,
    directions: Mapping[str, ArrayLike] | None = None,
    batches: Batches | None = None,
    record: Record | None = None,
    seed: int = 0,
    precision: str = "float64",
    resamples: int = 200,
    progress: bool | None = None,
) -> xr.Dataset:
    """Mean shift and covariance of finite networks to leading order in 1/N, for any rule, all along training.

        ⟨q_N(t)⟩ = q_∞(t) + a(t)/N + b(t)/N² + …,    Cov q_N(t) = C(t)/N + …

    Networks of several widths are trained, as many of each. With the limit as the anchor, a is the weighted regression
    of mean(q_N) − q_∞ on 1/N through zero, whose weights n N are those of a variance C/N; C is the mean of N Var(q_N).
    Each has its next order fitted beside it as a check, and errors, of the limit's replicates too. They are such that
    two of them hold the truth in 95 % of cases: with few replicates, standard errors are widened for that, those of a
    by Student's law (1.65 times for four networks of one width) and those of C by the law of variances, χ² (5 times).

    **Arguments:** `net`, `task`, `rule`, `optimizer`, `steps`, `batches`, `precision` and `progress` as for [`train`].

    - `widths`, `replicates`: N, one or more, and networks of each, 4 or more. The checks need two widths.
    - `of`: the quantities, as for [`limit`].
    - `limit`: the infinite-width result of the same training and recorded steps, of [`limit`], `train` or `theory`;
      four replicates of `train(..., width=math.inf)` unless given. Its error, times N, is one of a, so that two
      replicates of it are needed, unless it is exact.
    - `directions`: for some of the quantities, directions (direction, …) along which also their covariance is
      measured, each of the shape of the quantity without `replicate` and `step`. All else is of single entries:
      covariances of P² entries with each other are P⁴ numbers a step.
    - `record`: [`Record`]; unless given, every step, with what `of` names.
    - `seed`, `resamples`: of the networks' initial weights, and how many resamples the errors of C are from.

    **Returns:** a dataset with the quantities along the dimension `measure`: "limit", "shift" (a), "curvature" (b, from
    the regression with both), "variance" (C of each entry), "variance_curvature" (C' in N Var = C + C'/N), and each
    with "_error". For the quantities in `directions`, also `…_projection` likewise, with the dimension `direction`, and
    `…_projection_covariance` (step, direction, direction2) with its `…_error`.

    **Raises:** `ArgumentError` if an argument cannot serve, before long work unless a run has to show it;
    `TrainingInterrupted` on Ctrl-C, with the corrections from the widths that are complete; before one is, there is
    nothing to keep. `ExpansionWarning` says at which width and for what the next order is a fifth of the leading one or
    more.
    """
    quantities = Quantities.of(of)
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    widths = _widths(widths)
    replicates = checks.integer("replicates", replicates, at_least=4)
    resamples = checks.integer("resamples", resamples, at_least=20)
    record = quantities.record(task, record)
    arguments: dict[str, Any] = {
        "net": net,
        "task": task,
        "rule": rule,
        "optimizer": optimizer,
        "steps": steps,
        "batches": batches,
        "record": record,
        "precision": precision,
    }
    simulation = initialize(**arguments, width=widths[-1], seed=seed, replicates=replicates, progress=progress)
    arguments["optimizer"] = simulation.optimizer
    if limit is not None:
        _check_limit(limit, simulation, max(widths))
    anchor = train(**arguments, width=math.inf, seed=seed, progress=progress) if limit is None else limit
    samples = _Gathered.of(quantities, anchor)
    vectors = _directions(directions, samples)
    _check_memory(samples, len(widths), replicates)
    seeds, interruption = np.random.default_rng([seed, 1]), None
    for width in widths:
        try:
            run = train(
                **arguments,
                width=Finite(width),
                replicates=replicates,
                seed=int(seeds.integers(2**31)),
                progress=progress,
            )
        except TrainingInterrupted as caught:
            interruption = caught
            break
        samples.add(width, run)
    if interruption is not None and not samples.widths:
        raise Interrupted(interruption.code - 128) from interruption
    result = _expansions(samples, vectors, resamples, seed)
    described_run = {
        "solver": "corrections in 1/N",
        **described(net, task, GradientDescent() if rule is None else rule),
        "width": "inf",
        "widths": samples.widths,
        "networks": replicates,
        "step_size": float(simulation.optimizer.step_size),
        "steps": simulation.steps,
        "momentum": float(simulation.optimizer.momentum),
        "weight_decay": float(simulation.optimizer.weight_decay),
        "record_every": int(record.every),
        "seed": int(seed),
        "precision": precision,
        "limit": configuration(anchor).get("limit", {}),
    }
    result = result.assign_attrs(
        schema=SCHEMA, versions=json.dumps(versions()), configuration=json.dumps(describe(described_run))
    )
    if interruption is not None:
        raise TrainingInterrupted(result, interruption.code)
    _warn(result, list(quantities.each), min(samples.widths))
    return result


@dataclasses.dataclass
class _Gathered:
    """The values of all quantities in the runs, at the steps that all of them reached."""

    quantities: Quantities
    anchor: xr.Dataset
    limits: dict[str, xr.DataArray]
    runs: dict[str, list[xr.DataArray]]
    widths: list[int]

    @classmethod
    def of(cls, quantities: Quantities, anchor: xr.Dataset) -> _Gathered:
        if "step" not in anchor.dims or "time" not in anchor.coords:
            raise ArgumentError("limit must be a result with its recorded steps, as widelimit.limit returns it.")
        if "measure" not in anchor.dims:  # the limit that was selected from what a theory of fluctuations returns
            anchor = anchor.drop_vars("measure", errors="ignore")
        limits = quantities.values(expanded(anchor))
        return cls(quantities, anchor, limits, {name: [] for name in limits}, [])

    def add(self, width: int, run: xr.Dataset) -> None:
        """Take in the networks of a width. **Raises:** `ArgumentError` if the limit is of other steps or samples."""
        other = difference_of_tasks(self.anchor, run)
        if other:
            raise ArgumentError(f"limit must be of the task and the samples of the networks; its {other} differs.")
        times, anchored = run["time"].values, self.anchor["time"].values
        steps = min(len(times), len(anchored))  # one that diverged has fewer
        if not np.allclose(times[:steps], anchored[:steps], rtol=1e-9, atol=1e-12):
            raise ArgumentError(
                "limit must have the recorded steps and the step size of the networks: those are at times up to "
                f"{times[-1]:g} ({len(times)} of them), the limit's up to {anchored[-1]:g} ({len(anchored)})."
            )
        for name, values in self.quantities.values(run).items():
            expected = self.limits[name]
            if values.dims != expected.dims or any(
                values.sizes[dim] != expected.sizes[dim] for dim in values.dims if dim not in ("replicate", "step")
            ):
                raise ArgumentError(
                    f"limit: its {name} has {dict(expected.sizes)}, that of the networks {dict(values.sizes)}; record "
                    "the same samples of one task."
                )
            self.runs[name].append(values)
        self.widths.append(width)

    def complete(self, name: str) -> tuple[xr.DataArray, list[xr.DataArray]]:
        """The limit and the runs of a quantity at the steps where all are finite."""
        limit, runs = self.limits[name], self.runs[name]
        if "step" not in limit.dims:
            return limit, runs
        steps = min(values.sizes["step"] for values in (limit, *runs))
        for values in (limit, *runs):
            over = [dim for dim in values.dims if dim != "step"]
            good = xr.DataArray(np.isfinite(values)).all(over).values[:steps]
            steps = steps if good.all() else int(np.argmin(good))
        if not steps:
            raise ArgumentError(f"{name} is finite in all runs at no recorded step: they diverge. Take smaller steps.")
        return limit.isel(step=slice(steps)), [values.isel(step=slice(steps)) for values in runs]


def _expansions(samples: _Gathered, vectors: Mapping[str, np.ndarray], resamples: int, seed: int) -> xr.Dataset:
    """The measured coefficients of all quantities, and of their projections."""
    data: dict[str, xr.DataArray] = {}
    for name in samples.limits:
        limit, runs = samples.complete(name)
        dims = [dim for dim in limit.dims if dim != "replicate"]
        each = Samples(limit.values, [run.values for run in runs], samples.widths)
        expansion = bootstrapped(each, resamples, seed)
        data[name] = _with_measures(expansion, limit.isel(replicate=0, drop=True), dims)
        if name in vectors:
            over = [dim for dim in dims if dim != "step"]
            along = xr.DataArray(vectors[name], dims=["direction", *over])
            parts = [(values.drop_vars(over, errors="ignore") * along).sum(over) for values in (limit, *runs)]
            parts = [part.transpose("replicate", ..., "direction") for part in parts]
            each = Samples(parts[0].values, [part.values for part in parts[1:]], samples.widths)
            template = parts[0].isel(replicate=0, drop=True)
            data[f"{name}_projection"] = _with_measures(
                bootstrapped(each, resamples, seed), template, list(template.dims)
            )
            value, error = each.covariance(resamples, seed)
            dims = (*template.dims, "direction2")
            data[f"{name}_projection_covariance"] = xr.DataArray(value, dims=dims)
            data[f"{name}_projection_covariance_error"] = xr.DataArray(error, dims=dims)
    anchor = samples.anchor
    held = {str(name): anchor[name] for name in ("input_kernel", "target", "test_target") if name in anchor}
    steps = min(
        (values.sizes["step"] for values in data.values() if "step" in values.dims), default=anchor.sizes["step"]
    )
    coordinates = {name: anchor[name][:steps] for name in ("time", "step") if name in anchor.coords}
    data = {name: values.isel(step=slice(steps)) if "step" in values.dims else values for name, values in data.items()}
    return (
        xr.Dataset(data | held)
        .assign_coords(coordinates)
        .assign_coords(measure=("measure", list(MEASURES), dict(MEASURES)))
    )


def _with_measures(expansion: Expansion, template: xr.DataArray, dims: Sequence[Any]) -> xr.DataArray:
    stack = np.stack([getattr(expansion, measure) for measure in MEASURES])
    coordinates = {name: values for name, values in template.coords.items() if name not in ("time", "step")}
    return xr.DataArray(stack, dims=["measure", *dims], coords=coordinates, attrs=template.attrs)


def _warn(result: xr.Dataset, names: Sequence[str], width: int) -> None:
    """Say where the next order is large at the narrowest width."""
    for name in names:
        for leading, following, what in (
            ("shift", "curvature", "mean"),
            ("variance", "variance_curvature", "variance"),
        ):
            of = {key: result[name].sel(measure=key).values for key in (leading, following, f"{following}_error")}
            if not np.isfinite(of[following]).all():
                continue
            squared, noise = np.sum(of[following] ** 2), np.sum(of[f"{following}_error"] ** 2)
            share = math.sqrt(max(squared - noise, 0.0)) / width / max(float(np.linalg.norm(of[leading])), 1e-300)
            if squared > 9 * noise and share > _NOTICED:
                warnings.warn(
                    f"The {what} of {name} at N = {width} is not what the leading order in 1/N says: the next order is "
                    f"{share:.0%} of it. Leave out the narrowest width.",
                    ExpansionWarning,
                    stacklevel=3,
                )


def _check_limit(limit: Any, simulation: Simulation, width: int) -> None:
    """Raise unless this is a limit of what is trained, up to networks of this width, whose error is known."""
    checks.instance("limit", limit, xr.Dataset, "what widelimit.limit returns")
    held = configuration(limit)
    wanted = describe(described(simulation.net, simulation.task, simulation.rule))
    for name in ("net", "rule", "loss"):
        free = {"richness"} if held.get("solver") == "theory.lazy" else set()  # which is that of every small γ0
        own, other = (
            {key: value for key, value in (each.get(name) or {}).items() if key not in free} for each in (wanted, held)
        )
        if other and own != other:
            raise ArgumentError(f"limit must be of the {name} of the networks, {own}; it is of {other}.")
    if held.get("width", "inf") != "inf":
        raise ArgumentError(f"limit must be of infinite width; it is of networks of width {held['width']}.")
    _check_training(held, simulation)
    if held.get("solver") == "theory.lazy":
        _check_lazy(float(wanted["net"]["richness"]), width)
    linear = (held.get("net") or {}).get("nonlinearity", {}).get("type") == "Linear"
    if limit.sizes.get("replicate", 0) == 1 and not linear:
        raise ArgumentError("limit must have two replicates or more, whose scatter is its error; it has one.")


def _check_training(held: Mapping[str, Any], simulation: Simulation) -> None:
    """Raise unless a result, if it says how it was trained, was trained as the networks are."""
    if not held:
        return
    own, samples = simulation.configuration(1), simulation.task.samples
    # Solvers that take plain steps alone say nothing of the rest, and those of continuous time have no step size.
    for name, unsaid in (("step_size", None), ("momentum", 0.0), ("weight_decay", 0.0)):
        value = held.get(name, unsaid)
        if value is None or not math.isclose(float(value), own[name], rel_tol=1e-9, abs_tol=1e-15):
            what = "continuous time" if value is None else f"{float(value):g}"
            raise ArgumentError(f"limit must be of the {name} of the networks, {own[name]:g}; it is of {what}.")
    expected, found = _batches(own, samples), _batches(held, samples)
    if expected != found:
        raise ArgumentError(f"limit must be of the batches of the networks, {expected}; it is of {found}.")


def _batches(about: Mapping[str, Any], samples: int) -> str:
    size = about.get("batch_size")
    if size is None or size >= samples:  # in any order, all of them
        return "all samples at each step"
    return f"Batches({size}, seed={about.get('batch_seed', 0)})"


def _check_lazy(richness: float, width: int) -> None:
    """Raise unless the lazy limit is nearer to the limit of the networks than the networks are."""
    if richness**2 * width > _LAZY:
        raise ArgumentError(
            f"limit: theory.lazy is the limit as γ0 → 0, and that of networks of γ0 = {richness:g} differs from it by "
            f"the order of γ0², which is {richness**2 * width:.2g} times 1/N at N = {width}. Pass "
            "train(..., width=math.inf), or leave it out."
        )


def _widths(widths: Any) -> tuple[int, ...]:
    if isinstance(widths, (str, bytes)) or not isinstance(widths, (Sequence, np.ndarray)) or not len(widths):
        raise ArgumentError(f"widths must be numbers of neurons, one or more; got {checks.shortened(widths)}.")
    sizes = [checks.integer("widths", width, at_least=2) for width in widths]
    check_distinct(sizes, "widths")
    return tuple(sorted(sizes))


def _directions(directions: Mapping[str, ArrayLike] | None, samples: _Gathered) -> dict[str, np.ndarray]:
    if directions is None:
        return {}
    if not isinstance(directions, Mapping):
        raise ArgumentError(
            "directions must be arrays by the names of quantities, as {'ntk': array (direction, sample, sample2)}; got "
            f"{checks.shortened(directions)}."
        )
    vectors = {}
    for name, values in directions.items():
        checks.known("directions", name, samples.limits, VARIABLES)
        array = checks.finite_array(f"directions[{name!r}]", values)
        sizes = {dim: size for dim, size in samples.limits[name].sizes.items() if dim not in ("replicate", "step")}
        if array.shape[1:] != tuple(sizes.values()) or not array.ndim or not len(array):
            raise ArgumentError(
                f"directions[{name!r}] must have the shape (direction, {', '.join(map(str, sizes))}) = "
                f"(…, {', '.join(map(str, sizes.values()))}); got {array.shape}."
            )
        vectors[name] = array
    return vectors


def _check_memory(samples: _Gathered, widths: int, replicates: int) -> None:
    entries = sum(values.size / values.sizes["replicate"] for values in samples.limits.values())
    size = 8.0 * entries * widths * replicates
    require_memory(
        1.5 * size,
        parts={"all networks' values": size},
        remedy="Take fewer networks (replicates), or record fewer samples or steps.",
        what="corrections needs",
    )
