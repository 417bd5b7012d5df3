"""What the studies here share: runs kept as a sweep, means with errors, where a loss has fallen to, a command line."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

import widelimit as wl

Runs = Callable[[Any], xr.Dataset]
"""The run of a name."""


def mean_and_error(values: Sequence[ArrayLike] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the first axis (draws of the training set, or networks) and its standard error."""
    values = np.asarray(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def with_error(values: Sequence[ArrayLike] | np.ndarray, form: str) -> str:
    """Their mean and its standard error in words; a sign that `form` asks for is that of the mean."""
    middle, error = mean_and_error(values)
    return f"{middle:{form}} ± {error:{form.lstrip('+')}}"


def first_below(values: np.ndarray, bound: float) -> int:
    """The first place at which a series is at or below a bound, or its lowest place."""
    below = np.flatnonzero(values <= bound)
    return int(below[0]) if len(below) else int(np.argmin(values))


def where_fallen(loss: np.ndarray, share: float, values: np.ndarray) -> float:
    """A quantity where the loss has fallen to a share of its first value, or is lowest; linear between records."""
    bound = share * loss[0]
    last = first_below(loss, bound)
    if loss[last] >= bound or last == 0:
        return float(values[last])
    return float(np.interp(bound, loss[[last, last - 1]], values[[last, last - 1]]))


def complete(run: xr.Dataset) -> xr.Dataset:
    """The same run, if it took all its steps."""
    diverged = run["diverged_step"].values if "diverged_step" in run else np.array([-1])
    if np.any(diverged >= 0):
        raise RuntimeError(
            f"a run diverged at step {diverged.max()}, so that it cannot be compared: take smaller steps"
        )
    return run


def kept(calls: Mapping[Any, Mapping[str, Any]], folder: Path, workers: int | None = None) -> Runs:
    """Runs of `train` by the names of their calls: computed as the points of a sweep, and read when asked for.

    **Arguments:** `folder`, where each is in a file of its own and is found by the next call; `workers`, processes, as
    many as there are cores and memory for unless given.
    """
    points = wl.sweep(wl.train, points=list(calls.values()), out=folder, workers=workers).points
    named = dict(zip(calls, points, strict=True))

    def run(name: Any) -> xr.Dataset:
        if named[name].status == "failed":
            raise RuntimeError(f"{name} failed: {named[name].outcome.reason}")
        return complete(wl.load(named[name].file))

    return run


@dataclasses.dataclass(frozen=True)
class Study:
    """Its two plans, the calls of `train` by name, what is measured of these runs, and what is shown of that."""

    full: Any
    quick: Any
    calls: Callable[[Any], Mapping[Any, Mapping[str, Any]]]
    measured: Callable[[Any, Runs], Any]
    table: Callable[[Any, Any], str]
    picture: Callable[[Any, Any], Figure]
    check: Callable[[Any, Runs], str]


def command(description: str | None, study: Study, folder: str) -> None:
    """The command line of a study: its tables are printed and its picture is drawn.

    Whole numbers of the plan are options. Runs are kept in `folder` unless `--out` names another, one folder in it for
    each plan, so that a study goes on where it stopped.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(folder))
    parser.add_argument("--workers", type=int, help="processes; 0 computes in this one")
    for field in dataclasses.fields(study.full):
        if isinstance(field.default, int):
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=int)
    options = vars(parser.parse_args())
    quick, out, workers = (options.pop(name) for name in ("quick", "out", "workers"))
    changed = {name: value for name, value in options.items() if value is not None}
    plan = dataclasses.replace(study.quick if quick else study.full, **changed)
    name = " ".join(["quick" if quick else "full", *(f"{option}={value}" for option, value in changed.items())])
    out.mkdir(parents=True, exist_ok=True)
    runs = kept(study.calls(plan), out / name, workers)
    measured, image = study.measured(plan, runs), out / f"{name}.png"
    print(study.table(plan, measured))
    study.picture(plan, measured).savefig(image, dpi=150)
    print(f"Drawn in {image}.\n")
    print(study.check(plan, runs))
