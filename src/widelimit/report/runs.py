"""The runs of a page: what each is called, which belong together, and how each is drawn."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..results import configuration
from ..results.combined import run_dims
from . import words

DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
MARKERS = ("o", "s", "^", "D")


@dataclass(frozen=True)
class Run:
    """One run of a page."""

    name: str
    result: xr.Dataset
    """As it was computed: without `replicate` where it is deterministic, without `step` where it does not change."""
    told: Mapping[str, Any]
    """Its configuration, empty where the file holds none."""
    group: str
    """The same for runs of one network under one rule."""
    family: str = ""
    """What the runs of a group are called together, where they come from one file; `name` then adds the width."""
    colour: int = 0
    kind: int = 0
    """Which of the dashes or markers sets it apart from runs of its colour."""
    points: bool = False
    """Whether it is drawn as points, beside the theory of the same network and rule."""

    @property
    def member(self) -> str:
        """What sets it apart within its family."""
        return self.name.removeprefix(f"{self.family}, ") if self.family else self.name

    @property
    def infinite(self) -> bool:
        """Whether it is at infinite width."""
        return self.told.get("width") == "inf"

    @property
    def times(self) -> np.ndarray:
        """The recorded times, of which the last may be infinite."""
        return np.asarray(self.result["time"].values, dtype=np.float64)


def gathered(runs: xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset]) -> list[Run]:
    """The runs that were given; what holds several rules and widths is taken apart.

    **Raises:** `ArgumentError` if there are none, or if one of them is no result or holds no recorded step.
    """
    if isinstance(runs, xr.Dataset):
        runs = [runs]
    pairs = list(runs.items()) if isinstance(runs, Mapping) else [("", run) for run in runs]
    if not pairs:
        raise ArgumentError("runs must hold at least one result of train or of a solver of theory; got none.")
    found: list[Run] = []
    for name, result in pairs:
        checks.instance("runs", result, xr.Dataset, "what widelimit.train returns")
        many = {"rule", "width"} <= set(run_dims(result))
        _check(str(name) or "a result", result)
        found += _parts(str(name), result) if many else [_run(str(name), result)]
    return _drawn(_named(found))


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


def of_one_task(runs: Sequence[Run]) -> bool:
    """Whether all runs have the same samples and targets."""
    for name in ("input_kernel", "target"):
        each = [run.result[name].values for run in runs if name in run.result]
        if not all(one.shape == each[0].shape and np.allclose(one, each[0], rtol=1e-6, atol=1e-6) for one in each):
            return False
    return True


def common(values: Iterable[Any]) -> bool:
    """Whether all are the same, as JSON data."""
    return len({json.dumps(value, sort_keys=True) for value in values}) <= 1


def _check(name: str, result: xr.Dataset) -> None:
    if "loss" not in result or "time" not in result.coords or not result.sizes.get("step"):
        raise ArgumentError(
            f"{name} holds no recorded step; a page is made of what widelimit.train, a solver of widelimit.theory, or "
            "widelimit demo has returned."
        )


def _run(name: str, result: xr.Dataset, group: str | None = None, family: str = "") -> Run:
    told = json.loads(result.attrs.get("configuration", "{}"))
    told = told if isinstance(told, dict) else {}
    if group is None:
        group = json.dumps([told.get("net"), told.get("rule")], sort_keys=True)
    return Run(name, result, told, group, family)


def _parts(name: str, result: xr.Dataset) -> list[Run]:
    """The runs of a result that holds several; what a width lacks is not there, rather than NaN. Theory is first."""
    found = []
    for rule in result["rule"].values:
        for width in sorted(result["width"].values, key=lambda width: (np.isfinite(width), width)):
            one = result.sel(rule=rule, width=width)
            one = one.drop_vars([key for key, values in one.data_vars.items() if not values.notnull().any()])
            if "loss" not in one:  # this rule has not been run at this width
                continue
            one.attrs["configuration"] = json.dumps(configuration(one))
            one = one.drop_vars(["rule", "width"])
            at = "infinite width" if np.isinf(width) else f"N = {int(width)}"
            family = str(rule).replace("_", " ")
            found.append(_run(f"{family}, {at}", one, f"{name}/{rule}", family))
    return found


def _named(runs: list[Run]) -> list[Run]:
    """The same runs, each with a name of its own."""
    used: set[str] = set()
    found = []
    for run in runs:
        name = base = run.name or words.short(run.told)
        count = 1
        while name in used:
            count += 1
            name = f"{base} ({count})"
        used.add(name)
        found.append(dataclasses.replace(run, name=name))
    return found


def _drawn(runs: list[Run]) -> list[Run]:
    """The same runs with colours: one for each, or one for each network and rule where several runs share these."""
    groups = list(dict.fromkeys(run.group for run in runs))
    by_group = 1 < len(groups) < len(runs)
    theory = {run.group for run in runs if run.infinite}
    found: list[Run] = []
    for index, run in enumerate(runs):
        points = not run.infinite and run.group in theory
        colour = groups.index(run.group) if by_group else index
        kind = sum(other.colour % 7 == colour % 7 and other.points == points for other in found)
        found.append(dataclasses.replace(run, colour=colour, kind=kind, points=points))
    return found
