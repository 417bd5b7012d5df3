"""What the studies here share: means with errors, where a loss has fallen to, and their command line."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import ArrayLike


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


@dataclasses.dataclass(frozen=True)
class Study:
    """Its two plans, its runs as measured, their table and picture, and networks beside theory."""

    full: Any
    quick: Any
    measured: Callable[[Any, Path], Any]
    table: Callable[[Any, Any], str]
    picture: Callable[[Any, Any], Figure]
    check: Callable[[Any, Path], str]


def command(description: str | None, study: Study, folder: str) -> None:
    """The command line of a study: its tables are printed and its picture is drawn.

    Whole numbers of the plan are options. Runs are kept in `folder` unless `--out` names another, and read back as long
    as what they depend on is the same, so that a study goes on where it stopped.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(folder))
    for field in dataclasses.fields(study.full):
        if isinstance(field.default, int):
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=int)
    options = vars(parser.parse_args())
    kind, out = "quick" if options.pop("quick") else "full", options.pop("out")
    changed = {name: value for name, value in options.items() if value is not None}
    plan = dataclasses.replace(study.quick if kind == "quick" else study.full, **changed)
    runs, image = out / kind, out / f"{kind}.png"
    runs.mkdir(parents=True, exist_ok=True)
    measured = study.measured(plan, runs)
    print(study.table(plan, measured))
    study.picture(plan, measured).savefig(image, dpi=150)
    print(f"Drawn in {image}.\n")
    print(study.check(plan, runs))
