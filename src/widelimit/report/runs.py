"""The runs of a page: what each is called, which belong together, and how each is drawn."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..results import DIMENSIONS, apart, configuration, of_recorded_samples
from ..results.combined import run_dims, selected
from ..results.expansions import is_expansion
from ..results.registry import IMAGES, RECORDED
from ..results.samples import recorded_samples
from ..results.summary import described
from . import words
from .series import CURVES
from .theme import COLOURS, Look

_DRAWN = (*CURVES, *IMAGES, "test_output", "pseudo_gradient_norm", "final_preactivation")
_OF_TASK = ("target", "test_target", "input_kernel")
_WHOLE = {recorded: dim for dim, recorded in RECORDED.items()}
_REQUIRED = {"sample", "sample2", "test_sample", "neuron"}


@dataclass(frozen=True)
class Run(Look):
    """One run of a page."""

    name: str
    whole: xr.Dataset
    """As it was computed or measured: without `replicate` where it is deterministic, without `step` where it does not
    change, and without what was not measured."""
    configuration: Mapping[str, Any]
    """What it was computed from; empty where the file holds none."""
    group: str
    """The same for runs of one network under one rule."""
    family: str = ""
    """What the runs of a group are called together, where they come from one file; `name` then adds the width."""

    @cached_property
    def result(self) -> xr.Dataset:
        """What is drawn: of the samples whose kernels were recorded."""
        return of_recorded_samples(self.whole)

    @property
    def samples(self) -> np.ndarray:
        """The numbers of these samples."""
        recorded = recorded_samples(self.whole)
        return np.arange(self.whole.sizes.get("sample", 0)) if recorded is None else recorded

    @property
    def member(self) -> str:
        """What sets it apart within its family."""
        return self.name.removeprefix(f"{self.family}, ") if self.family else self.name

    @property
    def infinite(self) -> bool:
        """Whether it is at infinite width."""
        return self.configuration.get("width") == "inf"

    @property
    def solved(self) -> bool:
        """Whether a solver of `theory` made it."""
        return "solver" in self.configuration

    @property
    def trained(self) -> bool:
        """Whether `train` made it, so that it was not measured elsewhere."""
        return not self.solved and isinstance(self.configuration.get("net"), Mapping)

    @property
    def times(self) -> np.ndarray:
        """The recorded times, of which the last may be infinite; none for what was not recorded in time."""
        return np.asarray(self.result["time"].values if "time" in self.result.coords else [], dtype=np.float64)


def gathered(runs: xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset]) -> list[Run]:
    """The runs that were given; what holds several is taken apart.

    **Raises:** `ArgumentError` if there are none, or if one of them is no result or holds no recorded step.
    """
    if isinstance(runs, xr.Dataset):
        runs = [runs]
    pairs = list(runs.items()) if isinstance(runs, Mapping) else [("", run) for run in runs]
    if not pairs:
        raise ArgumentError("runs must hold at least one result of train or of a solver of theory; got none.")
    gathered: list[Run] = []
    for name, result in pairs:
        checks.instance("runs", result, xr.Dataset, "what widelimit.train returns")
        called = str(name) or "a result"
        if is_expansion(result):
            raise ArgumentError(f"{called} holds corrections in 1/N, and is no run: plots.expansion draws them.")
        dims = run_dims(result)
        if dims and set(dims) <= set(result.coords):
            gathered += _taken_apart(str(name), called, result)
        else:
            gathered.append(_run(str(name), _labelled(called, selected(result)), f"result {len(gathered)}"))
    return _drawn(_named(gathered))


def references(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Each run with the one that it is compared with.

    That is the first run at infinite width of the same network and rule; where there is none, the first run at infinite
    width of all; where there is none, the first. Those that others are compared with are left out.
    """
    if len(runs) < 2:
        return []
    overall = next((run for run in runs if run.infinite), runs[0])
    theory: dict[str, Run] = {}
    for run in runs:
        if run.infinite:
            theory.setdefault(run.group, run)
    pairs = [(run, theory.get(run.group, overall)) for run in runs]
    used = {id(reference) for run, reference in pairs if run is not reference}
    pairs = [(run, overall if run is reference else reference) for run, reference in pairs]
    return [(run, reference) for run, reference in pairs if run is not reference and id(run) not in used]


def of_one_task(runs: Sequence[Run]) -> bool | None:
    """Whether all runs have the same samples and targets; None where nothing that they hold says so."""
    known = False
    for name in ("input_kernel", "target"):
        each = [run.whole[name].values for run in runs if name in run.whole]
        if not all(
            values.shape == each[0].shape and np.allclose(values, each[0], rtol=1e-6, atol=1e-6) for values in each
        ):
            return False
        known = known or len(each) == len(runs)
    return True if known else None


def common(values: Iterable[Any]) -> bool:
    """Whether all are the same, as JSON data."""
    return len({json.dumps(value, sort_keys=True) for value in values}) <= 1


def _labelled(called: str, result: xr.Dataset) -> xr.Dataset:
    """The same result with numbered layers and matrices, after its dimensions have been checked."""
    timed = "time" in result.coords and result["time"].dims == ("step",)
    if ("step" in result.dims or "time" in result.coords) and not (timed and result.sizes["step"]):
        raise ArgumentError(
            f"{called} holds no recorded step: a page needs the coordinate time along the dimension step, "
            "which result.isel(step=[-1]) keeps."
        )
    unknown = [name for name in ("target", "test_target") if name in result and result[name].isnull().any()]
    result = result.drop_vars(unknown)
    layerless = {}
    for name in (*_DRAWN, *_OF_TASK):
        if name not in result:
            continue
        dims, known = {_WHOLE.get(str(dim), dim) for dim in result[name].dims}, set(DIMENSIONS[name])
        blocks = {"output_unit", "output_unit2"} & dims
        if dims - known or (_REQUIRED & known) - dims or ("output_unit2" in known and len(blocks) == 1):
            raise ArgumentError(
                f"{called}: {name} has the dimensions {result[name].dims}; a page needs those of {DIMENSIONS[name]}."
            )
        if not result[name].size:
            raise ArgumentError(f"{called}: {name} is empty; leave it out.")
        if "layer" in known - dims:
            layerless[name] = result[name].drop_vars("layer", errors="ignore").expand_dims("layer")
    if layerless and "layer" in result.dims:
        raise ArgumentError(f"{called}: {next(iter(layerless))} has no dimension layer, which other variables have.")
    if layerless:
        only = result["layer"].item() if "layer" in result.coords else 1
        result = result.drop_vars("layer", errors="ignore").assign(layerless).assign_coords(layer=[only])
    unnumbered = [dim for dim in ("layer", "matrix") if dim in result.dims and dim not in result.coords]
    return result.assign_coords({dim: np.arange(1, 1 + result.sizes[dim]) for dim in unnumbered})


def _run(name: str, result: xr.Dataset, group: str, family: str = "") -> Run:
    """A run whose group is that of its network and rule, where it says what these were and has no family."""
    computed_from = configuration(result)
    network_and_rule = [computed_from.get("net"), computed_from.get("rule")]
    if not family and network_and_rule != [None, None]:
        group = json.dumps(network_and_rule, sort_keys=True)
    return Run(name, result, computed_from, group, family)


def _taken_apart(name: str, called: str, result: xr.Dataset) -> list[Run]:
    """The runs of a result that holds several; those that differ in width alone are of one family, theory first."""
    dims = run_dims(result)
    families: dict[str, list[tuple[float, xr.Dataset]]] = {}
    for labels, run in apart(result).items():
        at = dict(zip(dims, labels, strict=True))
        width = at.pop("width") if isinstance(at.get("width"), (int, float)) else math.nan
        family = ", ".join(
            str(label).replace("_", " ") if dim == "rule" else f"{dim} {described(label)}" for dim, label in at.items()
        )
        families.setdefault(family, []).append((width, run))
    if not families:
        raise ArgumentError(f"{called} holds no recorded step: there is nothing but NaN in all of its runs.")
    runs = []
    for family, members in families.items():
        for width, run in sorted(members, key=lambda member: (np.isfinite(member[0]), member[0])):
            at = "" if np.isnan(width) else "infinite width" if np.isinf(width) else f"N = {int(width)}"
            full = ", ".join(filter(None, (family, at)))
            runs.append(_run(full, _labelled(called, run), f"{name}/{family}", family if at else ""))
    return runs


def _named(runs: list[Run]) -> list[Run]:
    """The same runs, each with a name of its own."""
    used: set[str] = set()
    named = []
    for run in runs:
        name = base = run.name or words.short(run.configuration)
        count = 1
        while name in used:
            count += 1
            name = f"{base} ({count})"
        used.add(name)
        named.append(dataclasses.replace(run, name=name))
    return named


def _drawn(runs: list[Run]) -> list[Run]:
    """The same runs with colours: one for each, or one for each network and rule where several runs share these."""
    groups = list(dict.fromkeys(run.group for run in runs))
    by_group = 1 < len(groups) < len(runs)
    theory = {run.group for run in runs if run.infinite}
    drawn: list[Run] = []
    for index, run in enumerate(runs):
        points = not run.infinite and run.group in theory
        colour = groups.index(run.group) if by_group else index
        kind = sum(other.colour % COLOURS == colour % COLOURS and other.points == points for other in drawn)
        drawn.append(dataclasses.replace(run, colour=colour, kind=kind, points=points))
    return drawn
